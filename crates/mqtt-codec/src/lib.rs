//! MQTT 3.1, 3.1.1 and 5 packets: bytes to structs and back, in both directions, by hand and validating.
//!
//! Main types: [`Decoder`] turns a growing buffer into [`Packet`]s (or [`PublishRef`]s, which borrow);
//! [`Packet::encode`] and each packet's own `encode` write them; [`PublishHead`] writes a PUBLISH without its
//! payload, so that a fan-out shares it; [`ReasonCode`] names every code and its MQTT 3 form; [`topic`] checks and
//! matches topic names and filters.
//!
//! Duties: every rule of the specification that one packet can break by itself is checked here, with a
//! [`DecodeError`] that names packet, field, byte and reason code. A length on the wire is believed only when
//! that many bytes are there; the maximum packet size is checked from the fixed header.
//!
//! Not here: sockets, timers, and rules that need more than one packet (topic aliases in use, packet identifiers,
//! receive maximum, keep alive).
//!
//! ```
//! use bytes::BytesMut;
//! use mqtt_codec::{Connect, Decoder, Packet, ProtocolVersion};
//! let connect = Packet::Connect(Box::new(Connect::new(ProtocolVersion::V5, "me")));
//! let mut wire = BytesMut::from(&connect.to_vec(ProtocolVersion::V5)?[..]);
//! assert_eq!(Decoder::for_server(1024).decode(&mut wire)?, Some(connect));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decoder;
mod error;
mod frame;
mod packet;
mod property;
mod reason;
mod text;
pub mod topic;
mod version;
mod wire;

pub use decoder::Decoder;
pub use error::{DecodeError, EncodeError};
pub use frame::{FixedHeader, Framing, PACKET_SIZE_MAX, PacketType, VARINT_MAX, peek};
pub use packet::{
    Ack, AckProperties, Auth, AuthProperties, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Disconnect, DisconnectProperties, Packet, Password, Publish, PublishHead, PublishRef, RetainHandling,
    SubAck, Subscribe, SubscribeProperties, Subscription, UnsubAck, Unsubscribe, UnsubscribeProperties, Will,
    WillProperties,
};
pub use property::{Properties, PropertiesBuf, Property, PropertyIter, UserProperty};
pub use reason::ReasonCode;
pub use text::Utf8Bytes;
pub use version::{PacketId, ProtocolVersion, QoS, Side};
