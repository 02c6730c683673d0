//! What can be wrong with bytes that came in, and with a packet that should go out.

use crate::frame::PacketType;
use crate::reason::ReasonCode;

/// Why bytes are not an MQTT packet we accept. "More bytes are needed" is no error: see
/// [`Framing::NeedMore`](crate::Framing).
///
/// After any of these the connection cannot go on: the sender's framing or state is not ours.
/// [`DecodeError::reason`] is what a CONNACK or DISCONNECT should carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A field breaks the specification.
    #[error("{packet}: {field} at byte {at}: {problem}")]
    Invalid {
        /// The packet.
        packet: PacketType,
        /// The field, in the specification's words.
        field: &'static str,
        /// Where the field begins, in bytes from the packet's first byte.
        at: usize,
        /// What is wrong with it.
        problem: &'static str,
        /// Malformed Packet, Protocol Error or a more exact code.
        reason: ReasonCode,
    },
    /// The packet's fixed header announces more than the receiver accepts.
    #[error("{packet}: {size} bytes are more than the {limit} allowed")]
    PacketTooLarge {
        /// The packet.
        packet: PacketType,
        /// Size of the whole packet, fixed header included, in bytes.
        size: u32,
        /// The receiver's maximum packet size, in bytes.
        limit: u32,
    },
    /// The packet type is 0, or AUTH (15) before MQTT 5.
    #[error("packet type {number} is reserved")]
    ReservedPacketType {
        /// The upper four bits of the first byte.
        number: u8,
    },
    /// CONNECT asks for a protocol we do not speak.
    #[error("CONNECT: protocol {name:?} level {level} is not supported")]
    UnsupportedProtocol {
        /// The protocol name.
        name: String,
        /// The protocol level.
        level: u8,
    },
    /// A packet that this end may not send, or not now.
    #[error("{packet}: {problem}")]
    Unexpected {
        /// The packet.
        packet: PacketType,
        /// Why it is unexpected.
        problem: &'static str,
    },
}

impl DecodeError {
    /// The reason code that tells the peer.
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::Invalid { reason, .. } => *reason,
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::ReservedPacketType { .. } => ReasonCode::MalformedPacket,
            Self::UnsupportedProtocol { .. } => ReasonCode::UnsupportedProtocolVersion,
            Self::Unexpected { .. } => ReasonCode::ProtocolError,
        }
    }
}

/// Why a packet cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary field is over 65,535 bytes.
    #[error("{field} of {len} bytes is over 65535")]
    FieldTooLong {
        /// The field.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// The packet is over 268,435,455 bytes (plus fixed header).
    #[error("a packet of {0} bytes is over what MQTT can carry")]
    PacketTooLong(usize),
    /// The packet does not exist in this protocol version.
    #[error("{packet} does not exist in MQTT {version}")]
    NotInVersion {
        /// The packet.
        packet: PacketType,
        /// The protocol version.
        version: crate::ProtocolVersion,
    },
    /// A field holds what its peer would refuse.
    #[error("{packet}: {field}: {problem}")]
    Invalid {
        /// The packet.
        packet: PacketType,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}
