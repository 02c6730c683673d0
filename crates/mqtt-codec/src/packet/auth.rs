//! AUTH (MQTT 5).

use bytes::{BufMut, Bytes};

use super::{check_reason, read_reason};
use crate::error::{DecodeError, EncodeError};
use crate::frame::{PacketType, put_fixed_header};
use crate::property::{
    Place, Properties, Property, PropertySource, UserProperty, block_len, each_user_property,
};
use crate::reason::ReasonCode;
use crate::version::{ProtocolVersion, Side};
use crate::wire::{Reader, check_len};

/// One step of an extended authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// Success (server), continue, or re-authenticate (client).
    pub reason: ReasonCode,
    /// Properties; the method must be there unless this is a bare success.
    pub properties: AuthProperties,
}

impl Auth {
    pub(crate) fn decode(r: &mut Reader<'_>, from: Side) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        if r.is_empty() {
            return Ok(found);
        }
        let at = r.offset();
        found.reason = read_reason(r)?;
        let from_wrong_side = match found.reason {
            ReasonCode::Success => from == Side::Client,
            ReasonCode::ReAuthenticate => from == Side::Server,
            _ => false,
        };
        if from_wrong_side {
            return Err(r.protocol_error("reason code", at, "may not come from this side"));
        }
        let properties_at = r.offset();
        if !r.is_empty() {
            found.properties = AuthProperties::decode(r, from)?;
        }
        if found.properties.authentication_method.is_none() {
            return Err(r.protocol_error("authentication method", properties_at, "is missing"));
        }
        Ok(found)
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`EncodeError`] when reason or properties are not valid, or the version is before 5; nothing has been
    /// written then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let packet = PacketType::Auth;
        if !version.is_v5() {
            return Err(EncodeError::NotInVersion { packet, version });
        }
        check_reason(packet, self.reason)?;
        let properties_len = self.properties.len(packet)?;
        if properties_len == 0 && self.reason == ReasonCode::Success {
            return put_fixed_header(out, packet, 0, 0);
        }
        if self.properties.authentication_method.is_none() {
            return Err(EncodeError::Invalid {
                packet,
                field: "authentication method",
                problem: "is missing",
            });
        }
        put_fixed_header(out, packet, 0, check_len(1 + block_len(properties_len))?)?;
        out.put_u8(self.reason.as_u8());
        self.properties.put(properties_len, out)
    }
}

/// Properties of AUTH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthProperties {
    /// Name of the method.
    pub authentication_method: Option<String>,
    /// The method's own bytes.
    pub authentication_data: Option<Bytes>,
    /// For people to read.
    pub reason_string: Option<String>,
    /// User properties in order.
    pub user_properties: Vec<UserProperty>,
}

impl AuthProperties {
    fn decode(r: &mut Reader<'_>, from: Side) -> Result<Self, DecodeError> {
        let mut found = Self::default();
        for property in Properties::decode(r, Place::Header(PacketType::Auth, from))? {
            match property {
                Property::AuthenticationMethod(s) => found.authentication_method = Some(s.to_owned()),
                Property::AuthenticationData(b) => {
                    found.authentication_data = Some(Bytes::copy_from_slice(b));
                }
                Property::ReasonString(s) => found.reason_string = Some(s.to_owned()),
                Property::UserProperty(n, v) => found.user_properties.push(UserProperty::new(n, v)),
                _ => {}
            }
        }
        Ok(found)
    }
}

impl PropertySource for AuthProperties {
    fn for_each<'a>(
        &'a self,
        f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let ready = [
            self.authentication_method.as_deref().map(Property::AuthenticationMethod),
            self.authentication_data.as_deref().map(Property::AuthenticationData),
            self.reason_string.as_deref().map(Property::ReasonString),
        ];
        ready.into_iter().flatten().try_for_each(&mut *f)?;
        each_user_property(&self.user_properties, f)
    }
}
