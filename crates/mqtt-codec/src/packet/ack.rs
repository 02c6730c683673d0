//! PUBACK, PUBREC, PUBREL, PUBCOMP: one shape.

use bytes::BufMut;

use super::{check_reason, read_reason};
use crate::error::{DecodeError, EncodeError};
use crate::frame::{PacketType, put_fixed_header};
use crate::property::{
    Place, Properties, Property, PropertySource, UserProperty, block_len, each_user_property,
};
use crate::reason::ReasonCode;
use crate::version::{PacketId, ProtocolVersion, Side};
use crate::wire::{Reader, check_len};

/// The contents of a PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ack {
    /// Which PUBLISH is meant.
    pub packet_id: PacketId,
    /// Always success before MQTT 5.
    pub reason: ReasonCode,
    /// Left out before MQTT 5.
    pub properties: AckProperties,
}

impl Ack {
    /// Success, no properties.
    pub fn new(packet_id: PacketId) -> Self {
        Self::with_reason(packet_id, ReasonCode::Success)
    }

    /// With a reason, no properties.
    pub fn with_reason(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: AckProperties::default() }
    }

    pub(crate) fn decode(
        r: &mut Reader<'_>,
        version: ProtocolVersion,
        from: Side,
    ) -> Result<Self, DecodeError> {
        let packet_id = r.packet_id()?;
        let mut ack = Self::new(packet_id);
        if !version.is_v5() || r.is_empty() {
            return Ok(ack);
        }
        ack.reason = read_reason(r)?;
        if !r.is_empty() {
            ack.properties = AckProperties::decode(r, from)?;
        }
        Ok(ack)
    }

    /// Writes it as the packet `packet`, one of the four. Success without properties takes four bytes.
    ///
    /// # Errors
    /// [`EncodeError`] when reason or properties are not valid; nothing has been written then.
    pub fn encode(
        &self,
        packet: PacketType,
        version: ProtocolVersion,
        out: &mut impl BufMut,
    ) -> Result<(), EncodeError> {
        let flags = packet.fixed_flags();
        if !version.is_v5() {
            put_fixed_header(out, packet, flags, 2)?;
            out.put_u16(self.packet_id.get());
            return Ok(());
        }
        check_reason(packet, self.reason)?;
        let properties_len = self.properties.len(packet)?;
        let has_properties = properties_len > 0;
        let has_reason = has_properties || self.reason != ReasonCode::Success;
        let tail = if has_properties { block_len(properties_len) } else { 0 };
        let remaining = check_len(2 + usize::from(has_reason) + tail)?;
        put_fixed_header(out, packet, flags, remaining)?;
        out.put_u16(self.packet_id.get());
        if has_reason {
            out.put_u8(self.reason.as_u8());
        }
        if has_properties {
            self.properties.put(properties_len, out)?;
        }
        Ok(())
    }
}

/// Properties of PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AckProperties {
    /// For people to read.
    pub reason_string: Option<String>,
    /// User properties in order.
    pub user_properties: Vec<UserProperty>,
}

impl AckProperties {
    pub(crate) fn decode(r: &mut Reader<'_>, from: Side) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        for property in Properties::decode(r, Place::Header(r.packet(), from))? {
            match property {
                Property::ReasonString(s) => found.reason_string = Some(s.to_owned()),
                Property::UserProperty(n, v) => found.user_properties.push(UserProperty::new(n, v)),
                _ => {}
            }
        }
        Ok(found)
    }
}

impl PropertySource for AckProperties {
    fn for_each<'a>(
        &'a self,
        f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if let Some(s) = &self.reason_string {
            f(Property::ReasonString(s))?;
        }
        each_user_property(&self.user_properties, f)
    }
}
