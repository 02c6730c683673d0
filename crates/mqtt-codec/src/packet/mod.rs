//! The control packets, one file each.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod publish;
mod subscribe;
mod unsubscribe;

pub use ack::{Ack, AckProperties};
pub use auth::{Auth, AuthProperties};
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Password, Will, WillProperties};
pub use disconnect::{Disconnect, DisconnectProperties};
pub use publish::{Publish, PublishHead, PublishRef};
pub use subscribe::{RetainHandling, SubAck, Subscribe, SubscribeProperties, Subscription};
pub use unsubscribe::{UnsubAck, Unsubscribe, UnsubscribeProperties};

use bytes::{BufMut, Bytes};

use crate::error::{DecodeError, EncodeError};
use crate::frame::{FixedHeader, PacketType, put_fixed_header};
use crate::version::{ProtocolVersion, Side};
use crate::wire::Reader;

/// Any control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// CONNECT.
    Connect(Box<Connect>),
    /// CONNACK.
    ConnAck(Box<ConnAck>),
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK.
    PubAck(Ack),
    /// PUBREC.
    PubRec(Ack),
    /// PUBREL.
    PubRel(Ack),
    /// PUBCOMP.
    PubComp(Ack),
    /// SUBSCRIBE.
    Subscribe(Subscribe),
    /// SUBACK.
    SubAck(SubAck),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe),
    /// UNSUBACK.
    UnsubAck(UnsubAck),
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(Disconnect),
    /// AUTH.
    Auth(Auth),
}

impl Packet {
    /// Which packet it is.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Writes the packet. Properties and reason codes a version does not have are left out.
    ///
    /// CONNECT is written in its own [`Connect::version`].
    ///
    /// # Errors
    /// [`EncodeError`]; nothing has been written then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut impl BufMut) -> Result<(), EncodeError> {
        match self {
            Self::Connect(p) => p.encode(out),
            Self::ConnAck(p) => p.encode(version, out),
            Self::Publish(p) => p.encode(version, out),
            Self::PubAck(p) => p.encode(PacketType::PubAck, version, out),
            Self::PubRec(p) => p.encode(PacketType::PubRec, version, out),
            Self::PubRel(p) => p.encode(PacketType::PubRel, version, out),
            Self::PubComp(p) => p.encode(PacketType::PubComp, version, out),
            Self::Subscribe(p) => p.encode(version, out),
            Self::SubAck(p) => p.encode(version, out),
            Self::Unsubscribe(p) => p.encode(version, out),
            Self::UnsubAck(p) => p.encode(version, out),
            Self::PingReq => put_fixed_header(out, PacketType::PingReq, 0, 0),
            Self::PingResp => put_fixed_header(out, PacketType::PingResp, 0, 0),
            Self::Disconnect(p) => p.encode(version, out),
            Self::Auth(p) => p.encode(version, out),
        }
    }

    /// The packet as a vector of its own.
    ///
    /// # Errors
    /// As [`Packet::encode`].
    pub fn to_vec(&self, version: ProtocolVersion) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode(version, &mut out)?;
        Ok(out)
    }
}

/// Decodes one whole packet whose fixed header is `header`. `version` is ignored for CONNECT.
pub(crate) fn decode(
    frame: &Bytes,
    header: FixedHeader,
    version: ProtocolVersion,
    from: Side,
) -> Result<Packet, DecodeError> {
    let body = frame.get(header.header_len..header.packet_len()).unwrap_or_default();
    let mut r = Reader::new(header.packet, header.header_len, body);
    let r = &mut r;
    let packet = match header.packet {
        PacketType::Connect => Packet::Connect(Box::new(Connect::decode(r)?)),
        PacketType::ConnAck => Packet::ConnAck(Box::new(ConnAck::decode(r, version)?)),
        PacketType::Publish => {
            let publish = PublishRef::decode_body(r, header.flags, version, from)?;
            Packet::Publish(publish.to_publish(frame))
        }
        PacketType::PubAck => Packet::PubAck(Ack::decode(r, version, from)?),
        PacketType::PubRec => Packet::PubRec(Ack::decode(r, version, from)?),
        PacketType::PubRel => Packet::PubRel(Ack::decode(r, version, from)?),
        PacketType::PubComp => Packet::PubComp(Ack::decode(r, version, from)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(r, version)?),
        PacketType::SubAck => Packet::SubAck(SubAck::decode(r, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(r, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(UnsubAck::decode(r, version)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(r, version, from)?),
        PacketType::Auth => Packet::Auth(Auth::decode(r, from)?),
    };
    r.finish()?;
    Ok(packet)
}

/// Reads a reason code and checks that it may stand in this packet.
fn read_reason(r: &mut Reader<'_>) -> Result<crate::ReasonCode, DecodeError> {
    let at = r.offset();
    let n = r.u8("reason code")?;
    crate::ReasonCode::from_u8(n)
        .filter(|code| code.allowed_in(r.packet()))
        .ok_or_else(|| r.protocol_error("reason code", at, "is not one of this packet's"))
}

/// Checks a reason code that is to be sent.
fn check_reason(packet: PacketType, reason: crate::ReasonCode) -> Result<(), EncodeError> {
    if reason.allowed_in(packet) {
        Ok(())
    } else {
        Err(EncodeError::Invalid { packet, field: "reason code", problem: "is not one of this packet's" })
    }
}
