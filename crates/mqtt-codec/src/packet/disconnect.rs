//! DISCONNECT.

use bytes::BufMut;

use super::{check_reason, read_reason};
use crate::error::{DecodeError, EncodeError};
use crate::frame::{PacketType, put_fixed_header};
use crate::property::{
    Place, Properties, Property, PropertySource, UserProperty, block_len, each_user_property,
};
use crate::reason::ReasonCode;
use crate::version::{ProtocolVersion, Side};
use crate::wire::{Reader, check_len};

/// The end of a connection, announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// Always normal before MQTT 5.
    pub reason: ReasonCode,
    /// Left out before MQTT 5.
    pub properties: DisconnectProperties,
}

impl Disconnect {
    /// With a reason, no properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    pub(crate) fn decode(
        r: &mut Reader<'_>,
        version: ProtocolVersion,
        from: Side,
    ) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        if !version.is_v5() || r.is_empty() {
            return Ok(found);
        }
        let at = r.offset();
        found.reason = read_reason(r)?;
        if from == Side::Server && found.reason == ReasonCode::DisconnectWithWill {
            return Err(r.protocol_error("reason code", at, "may not come from a server"));
        }
        if !r.is_empty() {
            found.properties = DisconnectProperties::decode(r, from)?;
        }
        Ok(found)
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`EncodeError`] when reason or properties are not valid; nothing has been written then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let packet = PacketType::Disconnect;
        if !version.is_v5() {
            return put_fixed_header(out, packet, 0, 0);
        }
        check_reason(packet, self.reason)?;
        let properties_len = self.properties.len(packet)?;
        if properties_len == 0 && self.reason == ReasonCode::Success {
            return put_fixed_header(out, packet, 0, 0);
        }
        let tail = if properties_len > 0 { block_len(properties_len) } else { 0 };
        put_fixed_header(out, packet, 0, check_len(1 + tail)?)?;
        out.put_u8(self.reason.as_u8());
        if properties_len > 0 {
            self.properties.put(properties_len, out)?;
        }
        Ok(())
    }
}

/// Properties of DISCONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisconnectProperties {
    /// From a client: seconds; replaces what CONNECT said.
    pub session_expiry_interval: Option<u32>,
    /// For people to read.
    pub reason_string: Option<String>,
    /// User properties in order.
    pub user_properties: Vec<UserProperty>,
    /// From a server: another server to use.
    pub server_reference: Option<String>,
}

impl DisconnectProperties {
    fn decode(r: &mut Reader<'_>, from: Side) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        for property in Properties::decode(r, Place::Header(PacketType::Disconnect, from))? {
            match property {
                Property::SessionExpiryInterval(n) => found.session_expiry_interval = Some(n),
                Property::ReasonString(s) => found.reason_string = Some(s.to_owned()),
                Property::UserProperty(n, v) => found.user_properties.push(UserProperty::new(n, v)),
                Property::ServerReference(s) => found.server_reference = Some(s.to_owned()),
                _ => {}
            }
        }
        Ok(found)
    }
}

impl PropertySource for DisconnectProperties {
    fn for_each<'a>(
        &'a self,
        f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let ready = [
            self.session_expiry_interval.map(Property::SessionExpiryInterval),
            self.reason_string.as_deref().map(Property::ReasonString),
            self.server_reference.as_deref().map(Property::ServerReference),
        ];
        ready.into_iter().flatten().try_for_each(&mut *f)?;
        each_user_property(&self.user_properties, f)
    }
}
