//! CONNECT.

use std::fmt;

use bytes::{BufMut, Bytes};

use crate::error::{DecodeError, EncodeError};
use crate::frame::{PacketType, put_fixed_header};
use crate::property::{
    Place, Properties, Property, PropertySource, UserProperty, block_len, each_user_property,
};
use crate::topic;
use crate::version::{ProtocolVersion, QoS, Side};
use crate::wire::{Reader, check_len, field_len, put_field, string_len};

const BRIDGE_BIT: u8 = 0x80;

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Protocol version, from name and level.
    pub version: ProtocolVersion,
    /// The level's top bit, with which Mosquitto's and other bridges ask not to get their own messages back
    /// (MQTT 3 only).
    pub bridge: bool,
    /// MQTT 5: clean start; before: clean session.
    pub clean_start: bool,
    /// Seconds; 0 turns it off.
    pub keep_alive: u16,
    /// Client identifier; may be empty.
    pub client_id: String,
    /// Message to publish when the connection ends without DISCONNECT.
    pub will: Option<Will>,
    /// User name.
    pub user_name: Option<String>,
    /// Password; before MQTT 5 only together with a user name.
    pub password: Option<Password>,
    /// Left out before MQTT 5.
    pub properties: ConnectProperties,
}

impl Connect {
    /// A clean start with nothing else, keep alive off.
    pub fn new(version: ProtocolVersion, client_id: impl Into<String>) -> Self {
        Self {
            version,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id: client_id.into(),
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name_at = r.offset();
        let name = r.string("protocol name")?;
        if name != "MQTT" && name != "MQIsdp" {
            return Err(r.protocol_error("protocol name", name_at, "is neither MQTT nor MQIsdp"));
        }
        let level = r.u8("protocol level")?;
        let (version, bridge) = match (name, level & !BRIDGE_BIT, level & BRIDGE_BIT != 0) {
            ("MQIsdp", 3, bridge) => (ProtocolVersion::V31, bridge),
            ("MQTT", 4, bridge) => (ProtocolVersion::V311, bridge),
            ("MQTT", 5, false) => (ProtocolVersion::V5, false),
            _ => return Err(DecodeError::UnsupportedProtocol { name: name.to_owned(), level }),
        };

        let flags_at = r.offset();
        let flags = r.u8("connect flags")?;
        if flags & RESERVED != 0 {
            return Err(r.malformed("connect flags", flags_at, "the reserved bit is set"));
        }
        let will_qos = QoS::from_u8((flags >> 3) & 0b11)
            .ok_or_else(|| r.malformed("connect flags", flags_at, "will QoS is 3"))?;
        let has_will = flags & WILL != 0;
        if !has_will && (flags & WILL_RETAIN != 0 || will_qos != QoS::AtMostOnce) {
            return Err(r.malformed("connect flags", flags_at, "will QoS or will retain without a will"));
        }
        if !version.is_v5() && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
            return Err(r.malformed("connect flags", flags_at, "a password without a user name"));
        }
        let keep_alive = r.u16("keep alive")?;
        let properties =
            if version.is_v5() { ConnectProperties::decode(r)? } else { ConnectProperties::default() };

        let client_id = r.string("client identifier")?.to_owned();
        let will =
            if has_will { Some(Will::decode(r, version, will_qos, flags & WILL_RETAIN != 0)?) } else { None };
        // MQTT 3.1 lets the remaining length decide: a flag may be set and the field missing at the end.
        let missing = |r: &Reader<'_>| version == ProtocolVersion::V31 && r.is_empty();
        let user_name = if flags & USER_NAME != 0 && !missing(r) {
            Some(r.string("user name")?.to_owned())
        } else {
            None
        };
        let password = if flags & PASSWORD != 0 && !missing(r) {
            Some(Password(Bytes::copy_from_slice(r.binary("password")?)))
        } else {
            None
        };
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self {
            version,
            bridge,
            clean_start,
            keep_alive,
            client_id,
            will,
            user_name,
            password,
            properties,
        })
    }

    /// Writes the packet in its own version.
    ///
    /// # Errors
    /// [`EncodeError`] when a field is not valid; nothing has been written then.
    pub fn encode(&self, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let packet = PacketType::Connect;
        let v5 = self.version.is_v5();
        let invalid = |field, problem| EncodeError::Invalid { packet, field, problem };
        if self.bridge && v5 {
            return Err(invalid("protocol level", "the bridge bit does not exist in MQTT 5"));
        }
        if self.password.is_some() && self.user_name.is_none() && !v5 {
            return Err(invalid("password", "comes without user name"));
        }
        let mut len = 2 + self.version.protocol_name().len() + 1 + 1 + 2;
        let properties_len = if v5 { self.properties.checked_len()? } else { 0 };
        if v5 {
            len += block_len(properties_len);
        }
        len += string_len(packet, "client identifier", &self.client_id)?;
        let will_properties_len = match &self.will {
            Some(will) => {
                let (will_len, properties_len) = will.lengths(v5)?;
                len += will_len;
                properties_len
            }
            None => 0,
        };
        if let Some(name) = &self.user_name {
            len += string_len(packet, "user name", name)?;
        }
        if let Some(password) = &self.password {
            len += field_len("password", &password.0)?;
        }

        put_fixed_header(out, packet, 0, check_len(len)?)?;
        put_field(out, self.version.protocol_name().as_bytes());
        out.put_u8(self.version.level() | if self.bridge { BRIDGE_BIT } else { 0 });
        out.put_u8(self.flags());
        out.put_u16(self.keep_alive);
        if v5 {
            self.properties.put(properties_len, out)?;
        }
        put_field(out, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if v5 {
                will.properties.put(will_properties_len, out)?;
            }
            put_field(out, will.topic.as_bytes());
            put_field(out, &will.payload);
        }
        if let Some(name) = &self.user_name {
            put_field(out, name.as_bytes());
        }
        if let Some(password) = &self.password {
            put_field(out, &password.0);
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | will.qos.as_u8() << 3;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.user_name.is_some() {
            flags |= USER_NAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }
}

/// A password. Its bytes do not appear in `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Bytes);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl From<&str> for Password {
    fn from(s: &str) -> Self {
        Self(Bytes::copy_from_slice(s.as_bytes()))
    }
}

/// Properties of CONNECT. `None` leaves the property out; the specification's default then holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Seconds the session outlives the connection; default 0; 0xFFFFFFFF = for ever.
    pub session_expiry_interval: Option<u32>,
    /// Unacknowledged QoS 1 and 2 publishes the client accepts at once; default 65535.
    pub receive_maximum: Option<u16>,
    /// Bytes of a whole packet the client accepts; default no limit.
    pub maximum_packet_size: Option<u32>,
    /// Highest topic alias the client accepts; default 0.
    pub topic_alias_maximum: Option<u16>,
    /// Whether CONNACK should carry response information; default false.
    pub request_response_information: Option<bool>,
    /// Whether reason strings and user properties may come with any packet; default true.
    pub request_problem_information: Option<bool>,
    /// User properties in order.
    pub user_properties: Vec<UserProperty>,
    /// Name of the authentication method.
    pub authentication_method: Option<String>,
    /// The method's own bytes; only together with a method.
    pub authentication_data: Option<Bytes>,
}

impl ConnectProperties {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        use Property as P;
        let mut found = Self::default();
        for property in Properties::decode(r, Place::Header(PacketType::Connect, Side::Client))? {
            match property {
                P::SessionExpiryInterval(n) => found.session_expiry_interval = Some(n),
                P::ReceiveMaximum(n) => found.receive_maximum = Some(n),
                P::MaximumPacketSize(n) => found.maximum_packet_size = Some(n),
                P::TopicAliasMaximum(n) => found.topic_alias_maximum = Some(n),
                P::RequestResponseInformation(b) => found.request_response_information = Some(b),
                P::RequestProblemInformation(b) => found.request_problem_information = Some(b),
                P::UserProperty(n, v) => found.user_properties.push(UserProperty::new(n, v)),
                P::AuthenticationMethod(s) => found.authentication_method = Some(s.to_owned()),
                P::AuthenticationData(b) => found.authentication_data = Some(Bytes::copy_from_slice(b)),
                _ => {}
            }
        }
        Ok(found)
    }

    fn checked_len(&self) -> Result<usize, EncodeError> {
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(EncodeError::Invalid {
                packet: PacketType::Connect,
                field: "authentication data",
                problem: "comes without authentication method",
            });
        }
        self.len(PacketType::Connect)
    }
}

impl PropertySource for ConnectProperties {
    fn for_each<'a>(
        &'a self,
        f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        use Property as P;
        let ready = [
            self.session_expiry_interval.map(P::SessionExpiryInterval),
            self.receive_maximum.map(P::ReceiveMaximum),
            self.maximum_packet_size.map(P::MaximumPacketSize),
            self.topic_alias_maximum.map(P::TopicAliasMaximum),
            self.request_response_information.map(P::RequestResponseInformation),
            self.request_problem_information.map(P::RequestProblemInformation),
            self.authentication_method.as_deref().map(P::AuthenticationMethod),
            self.authentication_data.as_deref().map(P::AuthenticationData),
        ];
        ready.into_iter().flatten().try_for_each(&mut *f)?;
        each_user_property(&self.user_properties, f)
    }
}

/// The message a server publishes for a client whose connection ends without DISCONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Will {
    /// Topic name.
    pub topic: String,
    /// Application message, at most 65,535 bytes.
    pub payload: Bytes,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Left out before MQTT 5.
    pub properties: WillProperties,
}

impl Will {
    fn decode(
        r: &mut Reader<'_>,
        version: ProtocolVersion,
        qos: QoS,
        retain: bool,
    ) -> Result<Self, DecodeError> {
        let properties = if version.is_v5() { WillProperties::decode(r)? } else { WillProperties::default() };
        let topic_at = r.offset();
        let topic = r.string("will topic")?;
        if topic::validate_name(topic).is_err() {
            return Err(r.malformed("will topic", topic_at, "is empty or holds a wildcard"));
        }
        let payload = Bytes::copy_from_slice(r.binary("will payload")?);
        Ok(Self { topic: topic.to_owned(), payload, qos, retain, properties })
    }

    /// Checks everything; gives the length in the payload of CONNECT and that of the properties alone.
    fn lengths(&self, v5: bool) -> Result<(usize, usize), EncodeError> {
        let packet = PacketType::Connect;
        if topic::validate_name(&self.topic).is_err() {
            let problem = "is empty, too long, or holds a wildcard or U+0000";
            return Err(EncodeError::Invalid { packet, field: "will topic", problem });
        }
        let len = string_len(packet, "will topic", &self.topic)? + field_len("will payload", &self.payload)?;
        if !v5 {
            return Ok((len, 0));
        }
        let properties_len = self.properties.len(packet)?;
        Ok((len + block_len(properties_len), properties_len))
    }
}

/// Properties of a will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WillProperties {
    /// Seconds between the end of the connection and the will; default 0.
    pub delay_interval: Option<u32>,
    /// Whether the payload is UTF-8 text.
    pub payload_format_indicator: Option<bool>,
    /// Lifetime in seconds.
    pub message_expiry_interval: Option<u32>,
    /// The payload's type, free text.
    pub content_type: Option<String>,
    /// The topic to answer on.
    pub response_topic: Option<String>,
    /// What an answer has to repeat.
    pub correlation_data: Option<Bytes>,
    /// User properties in order.
    pub user_properties: Vec<UserProperty>,
}

impl WillProperties {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        use Property as P;
        let mut found = Self::default();
        for property in Properties::decode(r, Place::Will)? {
            match property {
                P::WillDelayInterval(n) => found.delay_interval = Some(n),
                P::PayloadFormatIndicator(b) => found.payload_format_indicator = Some(b),
                P::MessageExpiryInterval(n) => found.message_expiry_interval = Some(n),
                P::ContentType(s) => found.content_type = Some(s.to_owned()),
                P::ResponseTopic(s) => found.response_topic = Some(s.to_owned()),
                P::CorrelationData(b) => found.correlation_data = Some(Bytes::copy_from_slice(b)),
                P::UserProperty(n, v) => found.user_properties.push(UserProperty::new(n, v)),
                _ => {}
            }
        }
        Ok(found)
    }
}

impl PropertySource for WillProperties {
    fn for_each<'a>(
        &'a self,
        f: &mut dyn FnMut(Property<'a>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        use Property as P;
        let ready = [
            self.delay_interval.map(P::WillDelayInterval),
            self.payload_format_indicator.map(P::PayloadFormatIndicator),
            self.message_expiry_interval.map(P::MessageExpiryInterval),
            self.content_type.as_deref().map(P::ContentType),
            self.response_topic.as_deref().map(P::ResponseTopic),
            self.correlation_data.as_deref().map(P::CorrelationData),
        ];
        ready.into_iter().flatten().try_for_each(&mut *f)?;
        each_user_property(&self.user_properties, f)
    }
}
