//! `-D command property value`: MQTT 5 properties from the command line.

use bytes::Bytes;
use mqtt_codec::{
    ConnectProperties, DisconnectProperties, PropertiesBuf, Property, SubscribeProperties,
    UnsubscribeProperties, UserProperty, WillProperties,
};

use super::failure::Failure;

/// A packet that properties can be given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Connect,
    Connack,
    Publish,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP: known, but nothing can be given for them.
    Ack,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
    Will,
}

impl Command {
    /// The command with this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "connect" => Self::Connect,
            "connack" => Self::Connack,
            "publish" => Self::Publish,
            "puback" | "pubrec" | "pubrel" | "pubcomp" => Self::Ack,
            "subscribe" => Self::Subscribe,
            "unsubscribe" => Self::Unsubscribe,
            "disconnect" => Self::Disconnect,
            "auth" => Self::Auth,
            "will" => Self::Will,
            _ => return None,
        })
    }
}

/// The type of a property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Byte,
    Short,
    Long,
    Varint,
    Binary,
    Text,
    Pair,
}

/// A property as MQTT 5 defines it.
#[derive(Debug)]
pub struct Definition {
    /// Name on the command line, any case.
    pub name: &'static str,
    /// Identifier on the wire.
    pub id: u8,
    /// Type of the value.
    pub kind: Kind,
    /// Where it may stand.
    commands: &'static [Command],
}

impl Definition {
    /// The property with this name, in any case.
    pub fn find(name: &str) -> Option<&'static Self> {
        DEFINITIONS.iter().find(|d| d.name.eq_ignore_ascii_case(name))
    }

    /// Whether the property exists in this packet.
    pub fn allowed_in(&self, command: Command) -> bool {
        self.commands.contains(&command)
    }
}

const fn define(name: &'static str, id: u8, kind: Kind, commands: &'static [Command]) -> Definition {
    Definition { name, id, kind, commands }
}

const USER_PROPERTY: u8 = 38;

const DEFINITIONS: &[Definition] = {
    use Command as C;
    const MESSAGE: &[Command] = &[C::Publish, C::Will];
    const BOTH: &[Command] = &[C::Connect, C::Connack];
    const AUTH: &[Command] = &[C::Connect, C::Connack, C::Auth];
    const SERVER: &[Command] = &[C::Connack];
    const ALL: &[Command] = &[
        C::Connect,
        C::Connack,
        C::Publish,
        C::Ack,
        C::Subscribe,
        C::Unsubscribe,
        C::Disconnect,
        C::Auth,
        C::Will,
    ];
    &[
        define("payload-format-indicator", 1, Kind::Byte, MESSAGE),
        define("message-expiry-interval", 2, Kind::Long, MESSAGE),
        define("content-type", 3, Kind::Text, MESSAGE),
        define("response-topic", 8, Kind::Text, MESSAGE),
        define("correlation-data", 9, Kind::Binary, MESSAGE),
        define("subscription-identifier", 11, Kind::Varint, &[C::Publish, C::Subscribe]),
        define("session-expiry-interval", 17, Kind::Long, &[C::Connect, C::Connack, C::Disconnect]),
        define("assigned-client-identifier", 18, Kind::Text, SERVER),
        define("server-keep-alive", 19, Kind::Short, SERVER),
        define("authentication-method", 21, Kind::Text, AUTH),
        define("authentication-data", 22, Kind::Binary, AUTH),
        define("request-problem-information", 23, Kind::Byte, &[C::Connect]),
        define("will-delay-interval", 24, Kind::Long, &[C::Will]),
        define("request-response-information", 25, Kind::Byte, &[C::Connect]),
        define("response-information", 26, Kind::Text, SERVER),
        define("server-reference", 28, Kind::Text, &[C::Connack, C::Disconnect]),
        define("reason-string", 31, Kind::Text, &[C::Connack, C::Ack, C::Disconnect, C::Auth, C::Will]),
        define("receive-maximum", 33, Kind::Short, BOTH),
        define("topic-alias-maximum", 34, Kind::Short, BOTH),
        define("topic-alias", 35, Kind::Short, &[C::Publish]),
        define("maximum-qos", 36, Kind::Byte, SERVER),
        define("retain-available", 37, Kind::Byte, SERVER),
        define("user-property", USER_PROPERTY, Kind::Pair, ALL),
        define("maximum-packet-size", 39, Kind::Long, BOTH),
        define("wildcard-subscription-available", 40, Kind::Byte, SERVER),
        define("subscription-identifier-available", 41, Kind::Byte, SERVER),
        define("shared-subscription-available", 42, Kind::Byte, SERVER),
    ]
};

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Number(u32),
    Binary(Bytes),
    Text(String),
    Pair(String, String),
}

/// The properties given for one packet, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyList(Vec<(u8, Value)>);

impl PropertyList {
    /// Adds a property.
    pub fn push(&mut self, id: u8, value: Value) {
        self.0.push((id, value));
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks values and repetition.
    ///
    /// # Errors
    /// [`Failure::Protocol`] or [`Failure::DuplicateProperty`].
    pub fn check(&self, command: Command) -> Result<(), Failure> {
        for (i, (id, value)) in self.0.iter().enumerate() {
            let bad_value = match (id, value) {
                (23 | 25 | 36 | 37 | 40..=42, Value::Number(n)) => *n > 1,
                (33 | 35 | 39, Value::Number(n)) => *n == 0,
                _ => false,
            };
            let allowed = DEFINITIONS.iter().any(|d| d.id == *id && d.allowed_in(command));
            if bad_value || !allowed {
                return Err(Failure::Protocol);
            }
            if *id != USER_PROPERTY && self.0.iter().skip(i + 1).any(|(other, _)| other == id) {
                return Err(Failure::DuplicateProperty);
            }
        }
        Ok(())
    }

    fn number(&self, id: u8) -> Option<u32> {
        self.0.iter().find_map(|(known, value)| match value {
            Value::Number(n) if *known == id => Some(*n),
            _ => None,
        })
    }

    /// The two-byte number with this identifier.
    pub fn short(&self, id: u8) -> Option<u16> {
        self.number(id).and_then(|n| u16::try_from(n).ok())
    }

    fn flag(&self, id: u8) -> Option<bool> {
        self.number(id).map(|n| n != 0)
    }

    fn text(&self, id: u8) -> Option<String> {
        self.0.iter().find_map(|(known, value)| match value {
            Value::Text(s) if *known == id => Some(s.clone()),
            _ => None,
        })
    }

    fn binary(&self, id: u8) -> Option<Bytes> {
        self.0.iter().find_map(|(known, value)| match value {
            Value::Binary(b) if *known == id => Some(b.clone()),
            _ => None,
        })
    }

    fn users(&self) -> Vec<UserProperty> {
        let pair = |(_, value): &(u8, Value)| match value {
            Value::Pair(n, v) => Some(UserProperty::new(n.clone(), v.clone())),
            _ => None,
        };
        self.0.iter().filter_map(pair).collect()
    }

    /// For CONNECT.
    pub fn connect(&self) -> ConnectProperties {
        ConnectProperties {
            session_expiry_interval: self.number(17),
            receive_maximum: self.short(33),
            maximum_packet_size: self.number(39),
            topic_alias_maximum: self.short(34),
            request_response_information: self.flag(25),
            request_problem_information: self.flag(23),
            user_properties: self.users(),
            authentication_method: self.text(21),
            authentication_data: self.binary(22),
        }
    }

    /// For the will.
    pub fn will(&self) -> WillProperties {
        WillProperties {
            delay_interval: self.number(24),
            payload_format_indicator: self.flag(1),
            message_expiry_interval: self.number(2),
            content_type: self.text(3),
            response_topic: self.text(8),
            correlation_data: self.binary(9),
            user_properties: self.users(),
        }
    }

    /// For DISCONNECT.
    pub fn disconnect(&self) -> DisconnectProperties {
        DisconnectProperties {
            session_expiry_interval: self.number(17),
            reason_string: self.text(31),
            user_properties: self.users(),
            server_reference: self.text(28),
        }
    }

    /// For SUBSCRIBE.
    pub fn subscribe(&self) -> SubscribeProperties {
        SubscribeProperties { subscription_identifier: self.number(11), user_properties: self.users() }
    }

    /// For UNSUBSCRIBE.
    pub fn unsubscribe(&self) -> UnsubscribeProperties {
        UnsubscribeProperties { user_properties: self.users() }
    }

    /// For PUBLISH.
    ///
    /// # Errors
    /// [`Failure::Protocol`] when a server must refuse one of them.
    pub fn publish(&self) -> Result<PropertiesBuf, Failure> {
        let list = self.0.iter().filter_map(|(id, value)| as_publish_property(*id, value));
        PropertiesBuf::from_properties(list).map_err(|_| Failure::Protocol)
    }
}

fn as_publish_property(id: u8, value: &Value) -> Option<Property<'_>> {
    Some(match (id, value) {
        (1, Value::Number(n)) => Property::PayloadFormatIndicator(*n != 0),
        (2, Value::Number(n)) => Property::MessageExpiryInterval(*n),
        (3, Value::Text(s)) => Property::ContentType(s),
        (8, Value::Text(s)) => Property::ResponseTopic(s),
        (9, Value::Binary(b)) => Property::CorrelationData(b),
        (35, Value::Number(n)) => Property::TopicAlias(u16::try_from(*n).ok()?),
        (USER_PROPERTY, Value::Pair(n, v)) => Property::UserProperty(n, v),
        _ => return None,
    })
}
