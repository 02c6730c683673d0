//! PUBLISH: the one packet decoded without a copy or an allocation.

use bytes::{BufMut, Bytes};

use crate::error::{DecodeError, EncodeError};
use crate::frame::{FixedHeader, PacketType, put_fixed_header};
use crate::property::{Place, Properties, PropertiesBuf, Property, block_len, extra_len, put_extra};
use crate::text::Utf8Bytes;
use crate::topic::{self, TopicError};
use crate::version::{PacketId, ProtocolVersion, QoS, Side};
use crate::wire::{Reader, check_len, put_field};

/// A PUBLISH whose parts are slices of the received bytes. Decoding it allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishRef<'a> {
    /// Sent before, perhaps.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name; empty only when a topic alias stands for it (MQTT 5).
    pub topic: &'a str,
    /// Packet identifier; present exactly when QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Checked properties (always empty before MQTT 5).
    pub properties: Properties<'a>,
    /// Application message.
    pub payload: &'a [u8],
}

impl<'a> PublishRef<'a> {
    /// Decodes a whole PUBLISH at the start of `frame`, as announced by `header` (from
    /// [`Decoder::peek`](crate::Decoder::peek)).
    ///
    /// # Errors
    /// [`DecodeError`] when a field is invalid or `header` is not a PUBLISH's.
    pub fn decode(
        frame: &'a [u8],
        header: FixedHeader,
        version: ProtocolVersion,
        from: Side,
    ) -> Result<Self, DecodeError> {
        if header.packet != PacketType::Publish {
            return Err(DecodeError::Unexpected { packet: header.packet, problem: "PUBLISH was expected" });
        }
        let body = frame.get(header.header_len..header.packet_len()).unwrap_or_default();
        let mut r = Reader::new(header.packet, header.header_len, body);
        Self::decode_body(&mut r, header.flags, version, from)
    }

    pub(crate) fn decode_body(
        r: &mut Reader<'a>,
        flags: u8,
        version: ProtocolVersion,
        from: Side,
    ) -> Result<Self, DecodeError> {
        let qos = QoS::from_u8((flags >> 1) & 0b11)
            .ok_or_else(|| r.malformed("fixed header flags", 0, "QoS is 3"))?;
        let topic_at = r.offset();
        let topic = r.string("topic name")?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(r.packet_id()?) };
        let properties = if version.is_v5() {
            Properties::decode(r, Place::Header(PacketType::Publish, from))?
        } else {
            Properties::EMPTY
        };
        match topic::validate_name(topic) {
            Ok(()) => {}
            Err(TopicError::Empty) if version.is_v5() => {
                if properties.topic_alias().is_none() {
                    return Err(r.protocol_error(
                        "topic name",
                        topic_at,
                        "is empty and there is no topic alias",
                    ));
                }
            }
            Err(TopicError::Empty) => return Err(r.malformed("topic name", topic_at, "is empty")),
            Err(_) => return Err(r.malformed("topic name", topic_at, "holds a wildcard")),
        }
        let payload = r.rest();
        Ok(Self {
            dup: flags & 0b1000 != 0,
            qos,
            retain: flags & 1 != 0,
            topic,
            packet_id,
            properties,
            payload,
        })
    }

    /// The same as slices of `buffer`, out of which it was decoded: reference counts, no copy.
    ///
    /// # Panics
    /// When it was not decoded out of `buffer` (see [`Bytes::slice_ref`]).
    pub fn to_publish(&self, buffer: &Bytes) -> Publish {
        let payload = if self.payload.is_empty() { Bytes::new() } else { buffer.slice_ref(self.payload) };
        Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: Utf8Bytes::slice_of(buffer, self.topic),
            packet_id: self.packet_id,
            properties: PropertiesBuf::slice_of(buffer, self.properties),
            payload,
        }
    }
}

/// A PUBLISH that keeps its parts alive by reference count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Publish {
    /// Sent before, perhaps.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name; empty only when a topic alias stands for it (MQTT 5).
    pub topic: Utf8Bytes,
    /// Packet identifier; present exactly when QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Properties; left out when encoded for a version before 5.
    pub properties: PropertiesBuf,
    /// Application message.
    pub payload: Bytes,
}

impl Publish {
    /// Everything but the payload.
    pub fn head(&self) -> PublishHead<'_> {
        PublishHead {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic.as_str(),
            packet_id: self.packet_id,
            properties: self.properties.properties(),
            extra: &[],
        }
    }

    /// Writes the packet, payload included.
    ///
    /// # Errors
    /// [`EncodeError`]; nothing has been written then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut impl BufMut) -> Result<(), EncodeError> {
        self.head().encode(version, self.payload.len(), out)?;
        out.put_slice(&self.payload);
        Ok(())
    }
}

/// A PUBLISH without its payload, for fan-out: each receiver gets a head of its own, all share the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishHead<'a> {
    /// Sent before, perhaps.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name; empty only when a topic alias stands for it (MQTT 5).
    pub topic: &'a str,
    /// Packet identifier; present exactly when QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Properties all receivers get, encoded once.
    pub properties: Properties<'a>,
    /// Properties of this receiver, written behind the shared ones: subscription identifiers, topic alias, the
    /// expiry that is left. Must not repeat what `properties` has.
    pub extra: &'a [Property<'a>],
}

impl PublishHead<'_> {
    /// Size of the whole packet with a payload of `payload_len` bytes: to compare with the receiver's maximum
    /// packet size before anything is written.
    ///
    /// # Errors
    /// As [`PublishHead::encode`].
    pub fn packet_len(&self, version: ProtocolVersion, payload_len: usize) -> Result<usize, EncodeError> {
        let (remaining, _) = self.lengths(version, payload_len)?;
        Ok(block_len(remaining) + 1)
    }

    /// Writes everything up to the payload; `payload_len` bytes of payload must follow.
    ///
    /// # Errors
    /// [`EncodeError`] when topic, properties or packet identifier are not valid, or the packet is too long;
    /// nothing has been written then.
    pub fn encode(
        &self,
        version: ProtocolVersion,
        payload_len: usize,
        out: &mut impl BufMut,
    ) -> Result<(), EncodeError> {
        let (remaining, properties_len) = self.lengths(version, payload_len)?;
        let flags = u8::from(self.dup) << 3 | self.qos.as_u8() << 1 | u8::from(self.retain);
        put_fixed_header(out, PacketType::Publish, flags, remaining)?;
        put_field(out, self.topic.as_bytes());
        if let Some(id) = self.packet_id {
            out.put_u16(id.get());
        }
        if version.is_v5() {
            crate::frame::put_varint(out, properties_len);
            out.put_slice(self.properties.as_bytes());
            put_extra(self.extra, out);
        }
        Ok(())
    }

    /// Checks everything; gives the remaining length and the length of the properties.
    fn lengths(&self, version: ProtocolVersion, payload_len: usize) -> Result<(usize, usize), EncodeError> {
        let invalid = |field, problem| EncodeError::Invalid { packet: PacketType::Publish, field, problem };
        if self.packet_id.is_some() != (self.qos != QoS::AtMostOnce) {
            return Err(invalid("packet identifier", "must be there exactly when QoS is above 0"));
        }
        if self.dup && self.qos == QoS::AtMostOnce {
            return Err(invalid("fixed header flags", "DUP is set at QoS 0"));
        }
        match topic::validate_name(self.topic) {
            Ok(()) => {}
            Err(TopicError::TooLong) => {
                return Err(EncodeError::FieldTooLong { field: "topic name", len: self.topic.len() });
            }
            Err(TopicError::Empty) if version.is_v5() => {
                let has_alias = self.properties.topic_alias().is_some()
                    || self.extra.iter().any(|p| matches!(p, Property::TopicAlias(_)));
                if !has_alias {
                    return Err(invalid("topic name", "is empty and there is no topic alias"));
                }
            }
            Err(_) => return Err(invalid("topic name", "is empty, or holds a wildcard or U+0000")),
        }
        let packet_id_len = if self.packet_id.is_some() { 2 } else { 0 };
        let mut len = 2 + self.topic.len() + packet_id_len;
        let mut properties_len = 0;
        if version.is_v5() {
            properties_len =
                check_len(self.properties.as_bytes().len() + extra_len(PacketType::Publish, self.extra)?)?;
            len += block_len(properties_len);
        }
        Ok((check_len(len.saturating_add(payload_len))?, properties_len))
    }
}
