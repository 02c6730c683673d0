//! CONNACK.

use bytes::{BufMut, Bytes};

use super::{check_reason, read_reason};
use crate::error::{DecodeError, EncodeError};
use crate::frame::{PacketType, put_fixed_header};
use crate::property::{
    Place, Properties, Property, PropertySource, UserProperty, block_len, each_user_property,
};
use crate::reason::ReasonCode;
use crate::version::{ProtocolVersion, QoS, Side};
use crate::wire::{Reader, check_len};

/// The server's answer to CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server kept a session of this client. Not told by MQTT 3.1.
    pub session_present: bool,
    /// Success or why not; [`ReasonCode::to_v3_connack`] tells what MQTT 3 clients get.
    pub reason: ReasonCode,
    /// Left out before MQTT 5.
    pub properties: ConnAckProperties,
}

impl ConnAck {
    /// With a reason, no session and no properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    pub(crate) fn decode(r: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let flags_at = r.offset();
        let flags = r.u8("acknowledge flags")?;
        // The byte is "reserved, not used" in MQTT 3.1.
        if flags & !1 != 0 && version != ProtocolVersion::V31 {
            return Err(r.malformed("acknowledge flags", flags_at, "reserved bits are set"));
        }
        let session_present = flags & 1 != 0 && version != ProtocolVersion::V31;
        let reason_at = r.offset();
        let mut properties = ConnAckProperties::default();
        let reason = if version.is_v5() && r.remaining() > 1 {
            let reason = read_reason(r)?;
            properties = ConnAckProperties::decode(r)?;
            reason
        } else {
            // Also how a server that only knows MQTT 3 refuses a CONNECT of MQTT 5.
            let code = r.u8("return code")?;
            let reason = ReasonCode::from_v3_connack(code)
                .ok_or_else(|| r.protocol_error("return code", reason_at, "is not between 0 and 5"))?;
            if version.is_v5() && reason != ReasonCode::UnsupportedProtocolVersion {
                return Err(r.malformed("property length", r.offset(), "is missing"));
            }
            reason
        };
        if session_present && reason != ReasonCode::Success {
            return Err(r.protocol_error("acknowledge flags", flags_at, "session present in a refusal"));
        }
        Ok(Self { session_present, reason, properties })
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`EncodeError`] when reason or properties are not valid; nothing has been written then.
    pub fn encode(&self, version: ProtocolVersion, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let packet = PacketType::ConnAck;
        if self.session_present && self.reason != ReasonCode::Success {
            return Err(EncodeError::Invalid {
                packet,
                field: "acknowledge flags",
                problem: "session present in a refusal",
            });
        }
        if !version.is_v5() {
            put_fixed_header(out, packet, 0, 2)?;
            out.put_u8(u8::from(self.session_present && version == ProtocolVersion::V311));
            out.put_u8(self.reason.to_v3_connack());
            return Ok(());
        }
        check_reason(packet, self.reason)?;
        let properties_len = self.properties.len(packet)?;
        put_fixed_header(out, packet, 0, check_len(2 + block_len(properties_len))?)?;
        out.put_u8(u8::from(self.session_present));
        out.put_u8(self.reason.as_u8());
        self.properties.put(properties_len, out)
    }
}

/// Properties of CONNACK. `None` leaves the property out; the specification's default then holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAckProperties {
    /// Seconds; when the server does not use what the client asked for.
    pub session_expiry_interval: Option<u32>,
    /// Unacknowledged QoS 1 and 2 publishes the server accepts at once; default 65535.
    pub receive_maximum: Option<u16>,
    /// The highest QoS the server accepts; `None` (default) means QoS 2.
    pub maximum_qos: Option<QoS>,
    /// Default true.
    pub retain_available: Option<bool>,
    /// Bytes of a whole packet the server accepts; default no limit.
    pub maximum_packet_size: Option<u32>,
    /// The client identifier the server chose.
    pub assigned_client_identifier: Option<String>,
    /// Highest topic alias the server accepts; default 0.
    pub topic_alias_maximum: Option<u16>,
    /// For people to read.
    pub reason_string: Option<String>,
    /// User properties in order.
    pub user_properties: Vec<UserProperty>,
    /// Default true.
    pub wildcard_subscription_available: Option<bool>,
    /// Default true.
    pub subscription_identifier_available: Option<bool>,
    /// Default true.
    pub shared_subscription_available: Option<bool>,
    /// Seconds the client must use instead of its own.
    pub server_keep_alive: Option<u16>,
    /// Basis for response topics.
    pub response_information: Option<String>,
    /// Another server to use.
    pub server_reference: Option<String>,
    /// Name of the authentication method.
    pub authentication_method: Option<String>,
    /// The method's own bytes.
    pub authentication_data: Option<Bytes>,
}

impl ConnAckProperties {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        use Property as P;
        let mut found = Self::default();
        for property in Properties::decode(r, Place::Header(PacketType::ConnAck, Side::Server))? {
            match property {
                P::SessionExpiryInterval(n) => found.session_expiry_interval = Some(n),
                P::ReceiveMaximum(n) => found.receive_maximum = Some(n),
                P::MaximumQoS(n) => found.maximum_qos = QoS::from_u8(n),
                P::RetainAvailable(b) => found.retain_available = Some(b),
                P::MaximumPacketSize(n) => found.maximum_packet_size = Some(n),
                P::AssignedClientIdentifier(s) => found.assigned_client_identifier = Some(s.to_owned()),
                P::TopicAliasMaximum(n) => found.topic_alias_maximum = Some(n),
                P::ReasonString(s) => found.reason_string = Some(s.to_owned()),
                P::UserProperty(n, v) => found.user_properties.push(UserProperty::new(n, v)),
                P::WildcardSubscriptionAvailable(b) => found.wildcard_subscription_available = Some(b),
                P::SubscriptionIdentifierAvailable(b) => found.subscription_identifier_available = Some(b),
                P::SharedSubscriptionAvailable(b) => found.shared_subscription_available = Some(b),
                P::ServerKeepAlive(n) => found.server_keep_alive = Some(n),
                P::ResponseInformation(s) => found.response_information = Some(s.to_owned()),
                P::ServerReference(s) => found.server_reference = Some(s.to_owned()),
                P::AuthenticationMethod(s) => found.authentication_method = Some(s.to_owned()),
                P::AuthenticationData(b) => found.authentication_data = Some(Bytes::copy_from_slice(b)),
                _ => {}
            }
        }
        Ok(found)
    }
}

impl PropertySource for ConnAckProperties {
    fn for_each<'a>(
        &'a self,
        f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        use Property as P;
        // Mosquitto's order: its own test suite compares bytes.
        let ready = [
            self.topic_alias_maximum.map(P::TopicAliasMaximum),
            self.server_keep_alive.map(P::ServerKeepAlive),
            self.assigned_client_identifier.as_deref().map(P::AssignedClientIdentifier),
            self.authentication_method.as_deref().map(P::AuthenticationMethod),
            self.authentication_data.as_deref().map(P::AuthenticationData),
            self.retain_available.map(P::RetainAvailable),
            self.maximum_packet_size.map(P::MaximumPacketSize),
            self.receive_maximum.map(P::ReceiveMaximum),
            // 2 is not a legal value: the property is left out then.
            self.maximum_qos.filter(|q| *q != QoS::ExactlyOnce).map(|q| P::MaximumQoS(q.as_u8())),
            self.session_expiry_interval.map(P::SessionExpiryInterval),
            self.reason_string.as_deref().map(P::ReasonString),
            self.wildcard_subscription_available.map(P::WildcardSubscriptionAvailable),
            self.subscription_identifier_available.map(P::SubscriptionIdentifierAvailable),
            self.shared_subscription_available.map(P::SharedSubscriptionAvailable),
            self.response_information.as_deref().map(P::ResponseInformation),
            self.server_reference.as_deref().map(P::ServerReference),
        ];
        ready.into_iter().flatten().try_for_each(&mut *f)?;
        each_user_property(&self.user_properties, f)
    }
}
