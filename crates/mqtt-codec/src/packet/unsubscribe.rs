//! UNSUBSCRIBE and UNSUBACK.

use bytes::BufMut;

use super::subscribe::{filter_len, read_filter};
use super::{AckProperties, check_reason, read_reason};
use crate::error::{DecodeError, EncodeError};
use crate::frame::{PacketType, put_fixed_header};
use crate::property::{
    Place, Properties, Property, PropertySource, UserProperty, block_len, each_user_property,
};
use crate::reason::ReasonCode;
use crate::version::{PacketId, ProtocolVersion, Side};
use crate::wire::{Reader, check_len, put_field};

/// A request to end subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// To be repeated in UNSUBACK.
    pub packet_id: PacketId,
    /// Left out before MQTT 5.
    pub properties: UnsubscribeProperties,
    /// At least one valid topic filter.
    pub filters: Vec<String>,
}

impl Unsubscribe {
    /// Without properties.
    pub fn new(packet_id: PacketId, filters: Vec<String>) -> Self {
        Self { packet_id, properties: UnsubscribeProperties::default(), filters }
    }

    pub(crate) fn decode(r: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = r.packet_id()?;
        let mut properties = UnsubscribeProperties::default();
        if version.is_v5() {
            for property in Properties::decode(r, Place::Header(PacketType::Unsubscribe, Side::Client))? {
                if let Property::UserProperty(n, v) = property {
                    properties.user_properties.push(UserProperty::new(n, v));
                }
            }
        }
        if r.is_empty() {
            return Err(r.protocol_error("payload", r.offset(), "holds no topic filter"));
        }
        let mut filters = Vec::new();
        while !r.is_empty() {
            filters.push(read_filter(r, version)?.to_owned());
        }
        Ok(Self { packet_id, properties, filters })
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`EncodeError`] when a filter or property is not valid, or there is no filter; nothing has been written
    /// then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let packet = PacketType::Unsubscribe;
        if self.filters.is_empty() {
            let problem = "holds no topic filter";
            return Err(EncodeError::Invalid { packet, field: "payload", problem });
        }
        let mut len = 2;
        let properties_len = if version.is_v5() { self.properties.len(packet)? } else { 0 };
        if version.is_v5() {
            len += block_len(properties_len);
        }
        for filter in &self.filters {
            len += filter_len(packet, filter, version)?;
        }
        put_fixed_header(out, packet, packet.fixed_flags(), check_len(len)?)?;
        out.put_u16(self.packet_id.get());
        if version.is_v5() {
            self.properties.put(properties_len, out)?;
        }
        for filter in &self.filters {
            put_field(out, filter.as_bytes());
        }
        Ok(())
    }
}

/// Properties of UNSUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsubscribeProperties {
    /// User properties in order.
    pub user_properties: Vec<UserProperty>,
}

impl PropertySource for UnsubscribeProperties {
    fn for_each<'a>(
        &'a self,
        f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        each_user_property(&self.user_properties, f)
    }
}

/// The answer to UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubAck {
    /// From the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Left out before MQTT 5.
    pub properties: AckProperties,
    /// MQTT 5: one for each filter, in order. Before: left out, and decoded as empty.
    pub reasons: Vec<ReasonCode>,
}

impl UnsubAck {
    /// Without properties.
    pub fn new(packet_id: PacketId, reasons: Vec<ReasonCode>) -> Self {
        Self { packet_id, properties: AckProperties::default(), reasons }
    }

    pub(crate) fn decode(r: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = r.packet_id()?;
        if !version.is_v5() {
            return Ok(Self::new(packet_id, Vec::new()));
        }
        let properties = AckProperties::decode(r, Side::Server)?;
        if r.is_empty() {
            return Err(r.protocol_error("payload", r.offset(), "holds no reason code"));
        }
        let mut reasons = Vec::new();
        while !r.is_empty() {
            reasons.push(read_reason(r)?);
        }
        Ok(Self { packet_id, properties, reasons })
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`EncodeError`] when a reason or property is not valid; nothing has been written then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let packet = PacketType::UnsubAck;
        if !version.is_v5() {
            put_fixed_header(out, packet, 0, 2)?;
            out.put_u16(self.packet_id.get());
            return Ok(());
        }
        if self.reasons.is_empty() {
            let problem = "holds no reason code";
            return Err(EncodeError::Invalid { packet, field: "payload", problem });
        }
        for reason in &self.reasons {
            check_reason(packet, *reason)?;
        }
        let properties_len = self.properties.len(packet)?;
        put_fixed_header(out, packet, 0, check_len(2 + block_len(properties_len) + self.reasons.len())?)?;
        out.put_u16(self.packet_id.get());
        self.properties.put(properties_len, out)?;
        for reason in &self.reasons {
            out.put_u8(reason.as_u8());
        }
        Ok(())
    }
}
