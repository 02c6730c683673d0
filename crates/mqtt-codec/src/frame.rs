//! The fixed header: packet type, flags, remaining length.

use std::fmt;

use bytes::BufMut;

use crate::error::{DecodeError, EncodeError};
use crate::reason::ReasonCode;
use crate::version::ProtocolVersion;

/// The largest value of a variable byte integer, and so of a packet's remaining length.
pub const VARINT_MAX: u32 = 268_435_455;

/// The largest packet MQTT can carry, fixed header included, in bytes.
pub const PACKET_SIZE_MAX: u32 = VARINT_MAX + 5;

/// The control packet types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PacketType {
    /// Client asks to connect.
    Connect = 1,
    /// Server answers CONNECT.
    ConnAck = 2,
    /// A message.
    Publish = 3,
    /// QoS 1: accepted.
    PubAck = 4,
    /// QoS 2, step 1: accepted.
    PubRec = 5,
    /// QoS 2, step 2: release.
    PubRel = 6,
    /// QoS 2, step 3: complete.
    PubComp = 7,
    /// Client subscribes.
    Subscribe = 8,
    /// Server answers SUBSCRIBE.
    SubAck = 9,
    /// Client unsubscribes.
    Unsubscribe = 10,
    /// Server answers UNSUBSCRIBE.
    UnsubAck = 11,
    /// Client asks for a sign of life.
    PingReq = 12,
    /// Server answers PINGREQ.
    PingResp = 13,
    /// The connection ends (server: MQTT 5 only).
    Disconnect = 14,
    /// Extended authentication (MQTT 5).
    Auth = 15,
}

impl PacketType {
    /// The type with this number, 1 to 15.
    pub const fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The name in the specification, in capitals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The flags the specification demands; PUBLISH has its own.
    pub(crate) const fn fixed_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A checked fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// Packet type.
    pub packet: PacketType,
    /// The lower four bits of the first byte.
    pub flags: u8,
    /// Length of the fixed header itself, 2 to 5 bytes.
    pub header_len: usize,
    /// Bytes that follow the fixed header.
    pub remaining_len: usize,
}

impl FixedHeader {
    /// Size of the whole packet in bytes.
    pub const fn packet_len(&self) -> usize {
        self.header_len + self.remaining_len
    }
}

/// What the first bytes of a buffer say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing is wrong so far; the packet needs at least this many bytes in all. A hint for reading, bounded by
    /// the maximum packet size: not a reason to allocate them in advance.
    NeedMore {
        /// Bytes from the packet's first, not from the end of the buffer.
        at_least: usize,
    },
    /// The packet is whole: the first `packet_len()` bytes of the buffer.
    Whole(FixedHeader),
}

/// Reads the fixed header at the start of `buf` and checks type, flags and size, before anything else arrives.
///
/// `version` is `None` while CONNECT is awaited; `max_packet_size` counts whole packets, in bytes.
///
/// # Errors
/// [`DecodeError`] as soon as the bytes that are there cannot begin an acceptable packet.
pub fn peek(
    buf: &[u8],
    version: Option<ProtocolVersion>,
    max_packet_size: u32,
) -> Result<Framing, DecodeError> {
    let Some(&first) = buf.first() else { return Ok(Framing::NeedMore { at_least: 2 }) };
    let number = first >> 4;
    let packet = PacketType::from_u8(number)
        .filter(|p| *p != PacketType::Auth || version.is_none_or(ProtocolVersion::is_v5))
        .ok_or(DecodeError::ReservedPacketType { number })?;
    let flags = first & 0x0F;
    check_flags(packet, flags, version)?;

    let mut remaining_len = 0u32;
    for at in 1..=4usize {
        let Some(&byte) = buf.get(at) else { return Ok(Framing::NeedMore { at_least: at + 1 }) };
        remaining_len |= u32::from(byte & 0x7F) << (7 * (at - 1));
        if byte & 0x80 != 0 {
            continue;
        }
        if byte == 0 && at > 1 {
            return Err(invalid(packet, "remaining length", 1, "is not in its shortest form"));
        }
        let header_len = at + 1;
        let size = remaining_len + header_len as u32;
        if size > max_packet_size {
            return Err(DecodeError::PacketTooLarge { packet, size, limit: max_packet_size });
        }
        let header = FixedHeader { packet, flags, header_len, remaining_len: remaining_len as usize };
        return Ok(if buf.len() >= header.packet_len() {
            Framing::Whole(header)
        } else {
            Framing::NeedMore { at_least: header.packet_len() }
        });
    }
    Err(invalid(packet, "remaining length", 1, "is longer than four bytes"))
}

fn check_flags(packet: PacketType, flags: u8, version: Option<ProtocolVersion>) -> Result<(), DecodeError> {
    if packet == PacketType::Publish {
        if flags & 0b0110 == 0b0110 {
            return Err(invalid(packet, "fixed header flags", 0, "QoS is 3"));
        }
        // MQTT 3.1 does not say that DUP must be 0 at QoS 0.
        if flags & 0b1110 == 0b1000 && version != Some(ProtocolVersion::V31) {
            return Err(invalid(packet, "fixed header flags", 0, "DUP is set at QoS 0"));
        }
        return Ok(());
    }
    // In MQTT 3.1 the flags other packets have no use for are "not used", and DUP marks a re-sent SUBSCRIBE,
    // UNSUBSCRIBE or PUBREL.
    let checked = if version == Some(ProtocolVersion::V31) { packet.fixed_flags() } else { 0b1111 };
    if flags & checked != packet.fixed_flags() {
        return Err(invalid(packet, "fixed header flags", 0, "are not the ones this packet must have"));
    }
    Ok(())
}

fn invalid(packet: PacketType, field: &'static str, at: usize, problem: &'static str) -> DecodeError {
    DecodeError::Invalid { packet, field, at, problem, reason: ReasonCode::MalformedPacket }
}

/// Bytes a variable byte integer takes.
pub(crate) const fn varint_len(n: usize) -> usize {
    match n {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer; the caller has checked that it is at most [`VARINT_MAX`].
pub(crate) fn put_varint(out: &mut impl BufMut, mut n: usize) {
    loop {
        let low = (n & 0x7F) as u8;
        n >>= 7;
        if n == 0 {
            out.put_u8(low);
            return;
        }
        out.put_u8(low | 0x80);
    }
}

/// Writes a fixed header.
pub(crate) fn put_fixed_header(
    out: &mut impl BufMut,
    packet: PacketType,
    flags: u8,
    remaining_len: usize,
) -> Result<(), EncodeError> {
    if remaining_len > VARINT_MAX as usize {
        return Err(EncodeError::PacketTooLong(remaining_len));
    }
    out.put_u8((packet as u8) << 4 | flags);
    put_varint(out, remaining_len);
    Ok(())
}
