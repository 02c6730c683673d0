//! What a bridge does, as its TOML file says it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mqtt::RouteKey;
use mqtt_codec::{QoS, topic as name};
use serde::Deserialize;
use serde::de::{self, Deserializer};

use crate::error::BridgeError;

/// A whole bridge.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeConfig {
    /// Begins the names of MQTT sessions, transactional ids and groups: two bridges need two names.
    #[serde(default = "default_name")]
    pub name: String,
    /// The MQTT broker.
    pub mqtt: MqttSide,
    /// Properties of the Kafka clients, by Kafka's names.
    #[serde(deserialize_with = "properties")]
    pub kafka: BTreeMap<String, String>,
    /// What goes where.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
    /// Where metrics and health are served.
    #[serde(default)]
    pub metrics: Option<String>,
    /// Compacted topic with the packet identifiers of QoS 2 messages on their way.
    #[serde(default = "default_state_topic")]
    pub state_topic: String,
}

/// How to reach the MQTT broker.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSide {
    /// `host:port`, or a URL: `mqtt://`, `mqtts://` (TLS; port 8883 when none is given), `ws://` or `wss://` (WebSocket).
    pub address: String,
    /// `5` (falls back to 3.1.1 when the broker does not know it), `"5 only"` or `"3.1.1"`.
    #[serde(default)]
    pub version: MqttVersion,
    /// User name.
    #[serde(default)]
    pub user: Option<String>,
    /// Password.
    #[serde(default)]
    pub password: Option<String>,
    /// File whose first line is the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificates that the broker's may come from, PEM; the system's otherwise.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Take a certificate whatever host it names.
    #[serde(default)]
    pub insecure: bool,
    /// Seconds.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: u16,
    /// Seconds that the broker keeps our session while we are away; for ever when not given.
    #[serde(default)]
    pub session_expiry: Option<u32>,
}

/// Which MQTT to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// 5, or 3.1.1 when the broker does not know it.
    #[default]
    Newest,
    /// 5.
    V5,
    /// 3.1.1.
    V311,
}

/// One way.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Route {
    /// MQTT to Kafka.
    Mqtt(ToKafkaRoute),
    /// Kafka to MQTT.
    Kafka(ToMqttRoute),
}

/// Kafka to MQTT.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToMqttRoute {
    /// Name; the Kafka topic's when not given.
    #[serde(default)]
    pub name: Option<String>,
    /// Kafka topics: one or several.
    #[serde(deserialize_with = "one_or_more")]
    pub topic: Vec<String>,
    /// Consumer group; the bridge's name and the route's when not given.
    #[serde(default)]
    pub group: Option<String>,
    /// MQTT topics that a record may name; others are published under the Kafka topic's name.
    #[serde(default = "every_topic", deserialize_with = "one_or_more")]
    pub filter: Vec<String>,
    /// Put before the MQTT topic.
    #[serde(default)]
    pub prefix: String,
    /// Highest QoS to publish with.
    #[serde(default = "default_publish_qos", deserialize_with = "qos")]
    pub qos: QoS,
    /// Topic for records that the MQTT broker will not take; `<topic>.dead-letter` when not given; `"none"`: they are
    /// passed over.
    #[serde(default)]
    pub dead_letter: Option<String>,
    /// Unacknowledged messages on the way to the broker.
    #[serde(default = "default_publish_in_flight")]
    pub in_flight: u16,
}

fn every_topic() -> Vec<String> {
    vec!["#".to_owned()]
}

fn default_publish_qos() -> QoS {
    QoS::AtLeastOnce
}

fn default_publish_in_flight() -> u16 {
    1_000
}

/// MQTT to Kafka.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToKafkaRoute {
    /// Name; the Kafka topic's, or the first filter's, when not given.
    #[serde(default)]
    pub name: Option<String>,
    /// What to subscribe to: one filter or several.
    #[serde(deserialize_with = "one_or_more")]
    pub filter: Vec<String>,
    /// Kafka topic; the first level of the MQTT topic when not given.
    #[serde(default)]
    pub topic: Option<String>,
    /// Highest QoS to subscribe with.
    #[serde(default = "default_qos", deserialize_with = "qos")]
    pub qos: QoS,
    /// Key of the records: `"topic"` (the whole MQTT topic), `"none"`, or the number of one of its levels.
    #[serde(default = "default_key", deserialize_with = "key")]
    pub key: RouteKey,
    /// Name of a shared subscription.
    #[serde(default)]
    pub share: Option<String>,
    /// Connections that share the subscription.
    #[serde(default = "one")]
    pub connections: u16,
    /// Unacknowledged messages on the way to us.
    #[serde(default = "default_in_flight")]
    pub in_flight: u16,
    /// Bytes of messages on the way to Kafka after which the connection is not read.
    #[serde(default = "default_buffer_bytes")]
    pub buffer_bytes: usize,
    /// Topic for messages that Kafka will not take; `<topic>.dead-letter` when not given.
    #[serde(default)]
    pub dead_letter: Option<String>,
}

fn default_name() -> String {
    "tributary-bridge".to_owned()
}

fn default_state_topic() -> String {
    "tributary-bridge-state".to_owned()
}

fn default_keep_alive() -> u16 {
    60
}

fn default_qos() -> QoS {
    QoS::ExactlyOnce
}

fn default_key() -> RouteKey {
    RouteKey::Topic
}

fn one() -> u16 {
    1
}

fn default_in_flight() -> u16 {
    10_000
}

fn default_buffer_bytes() -> usize {
    64 << 20
}

impl ToKafkaRoute {
    /// A route with the defaults.
    pub fn new(filter: Vec<String>, topic: Option<String>) -> Self {
        Self {
            name: None,
            filter,
            topic,
            qos: default_qos(),
            key: default_key(),
            share: None,
            connections: one(),
            in_flight: default_in_flight(),
            buffer_bytes: default_buffer_bytes(),
            dead_letter: None,
        }
    }
}

impl Route {
    /// Its name, unless one is made up for it.
    fn name(&self) -> String {
        match self {
            Self::Mqtt(route) => {
                let default = || route.topic.clone().or_else(|| route.filter.first().cloned());
                route.name.clone().or_else(default).unwrap_or_default()
            }
            Self::Kafka(route) => {
                let default = || route.topic.first().map(|topic| format!("from-{topic}"));
                route.name.clone().or_else(default).unwrap_or_default()
            }
        }
    }

    fn set_name(&mut self, name: String) {
        match self {
            Self::Mqtt(route) => route.name = Some(name),
            Self::Kafka(route) => route.name = Some(name),
        }
    }
}

impl BridgeConfig {
    /// A bridge from `mqtt` to `kafka` that has no route yet.
    pub fn new(mqtt: impl Into<String>, bootstrap_servers: impl Into<String>) -> Self {
        Self {
            name: default_name(),
            mqtt: MqttSide { address: mqtt.into(), keep_alive: default_keep_alive(), ..MqttSide::default() },
            kafka: BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap_servers.into())]),
            routes: Vec::new(),
            metrics: None,
            state_topic: default_state_topic(),
        }
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`BridgeError::Config`] with line and column, or with what is wrong.
    pub fn from_toml(text: &str) -> Result<Self, BridgeError> {
        let config: Self = toml::from_str(text).map_err(|e| BridgeError::Config(e.to_string()))?;
        config.checked()
    }

    /// Lets all subscriptions have this highest QoS.
    pub fn set_qos(&mut self, qos: QoS) {
        for route in &mut self.routes {
            match route {
                Route::Mqtt(route) => route.qos = qos,
                Route::Kafka(route) => route.qos = qos,
            }
        }
    }

    /// Gives every route a name and checks what the types cannot.
    ///
    /// # Errors
    /// [`BridgeError::Config`]
    pub fn checked(mut self) -> Result<Self, BridgeError> {
        let wrong = |what: String| Err(BridgeError::Config(what));
        if self.routes.is_empty() {
            return wrong("there is no [[route]]".to_owned());
        }
        if !self.kafka.contains_key("bootstrap.servers") {
            return wrong("[kafka] needs bootstrap.servers".to_owned());
        }
        let mut names = Vec::new();
        for route in &mut self.routes {
            let mut unique = route.name();
            if names.contains(&unique) {
                unique = format!("{unique}-{}", names.len() + 1);
            }
            names.push(unique.clone());
            route.set_name(unique.clone());
            let problem = match route {
                Route::Mqtt(route) => route.problem(),
                Route::Kafka(route) => route.problem(),
            };
            if let Some(problem) = problem {
                return wrong(format!("route {unique:?}: {problem}"));
            }
        }
        if self.goes_both_ways() && self.mqtt.version == MqttVersion::V311 {
            return wrong(
                "routes in both directions need MQTT 5: messages of 3.1.1 cannot say where they come from"
                    .to_owned(),
            );
        }
        Ok(self)
    }

    /// Whether messages may come back: then each carries the name of the bridge that sent it.
    pub(crate) fn goes_both_ways(&self) -> bool {
        let to_mqtt = self.routes.iter().filter(|r| matches!(r, Route::Kafka(_))).count();
        to_mqtt > 0 && to_mqtt < self.routes.len()
    }
}

impl ToKafkaRoute {
    fn problem(&self) -> Option<String> {
        if self.filter.is_empty() {
            return Some("filter is missing".to_owned());
        }
        for filter in &self.filter {
            if let Err(error) = name::validate_unshared_filter(filter) {
                return Some(format!("the filter {filter:?} {error}"));
            }
            if name::is_shared(filter) {
                return Some(format!("write share = \"NAME\" instead of {filter:?}"));
            }
            if filter.starts_with('$') {
                return Some(format!("{filter:?}: topics that begin with '$' are not forwarded"));
            }
        }
        if self.connections == 0 || self.in_flight == 0 || self.buffer_bytes == 0 {
            return Some("connections, in_flight and buffer_bytes are at least 1".to_owned());
        }
        if self.connections > 1 && self.share.is_none() {
            return Some("several connections need share = \"NAME\"".to_owned());
        }
        if self.share.as_ref().is_some_and(|s| s.is_empty() || s.contains(['/', '+', '#'])) {
            return Some("the name of a share is not empty and has no /, + or #".to_owned());
        }
        None
    }
}

impl ToMqttRoute {
    fn problem(&self) -> Option<String> {
        if self.topic.is_empty() || self.topic.iter().any(|t| t.trim().is_empty()) {
            return Some("topic is missing".to_owned());
        }
        if let Some(filter) = self.filter.iter().find(|f| name::validate_unshared_filter(f).is_err()) {
            return Some(format!("{filter:?} is not a topic filter"));
        }
        if !self.prefix.is_empty()
            && (name::validate_name(&self.prefix).is_err() || self.prefix.starts_with('$'))
        {
            return Some(format!("the prefix {:?} cannot begin an MQTT topic", self.prefix));
        }
        (self.in_flight == 0).then(|| "in_flight is at least 1".to_owned())
    }
}

/// Values of any scalar type; tables of tables are names with dots.
fn properties<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    fn flatten(prefix: &str, value: toml::Value, into: &mut BTreeMap<String, String>) -> Result<(), String> {
        let text = match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                    flatten(&key, value, into)?;
                }
                return Ok(());
            }
            toml::Value::String(text) => text,
            toml::Value::Integer(n) => n.to_string(),
            toml::Value::Boolean(b) => b.to_string(),
            other => return Err(format!("{prefix}: a {} is no property", other.type_str())),
        };
        into.insert(prefix.to_owned(), text);
        Ok(())
    }
    let table = toml::Value::deserialize(from)?;
    let mut found = BTreeMap::new();
    flatten("", table, &mut found).map_err(de::Error::custom)?;
    Ok(found)
}

pub(crate) fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(String),
        More(Vec<String>),
    }
    Ok(match Given::deserialize(from)? {
        Given::One(text) => vec![text],
        Given::More(list) => list,
    })
}

pub(crate) fn qos<'de, D: Deserializer<'de>>(from: D) -> Result<QoS, D::Error> {
    let n = u8::deserialize(from)?;
    QoS::from_u8(n).ok_or_else(|| de::Error::custom("qos is 0, 1 or 2"))
}

fn key<'de, D: Deserializer<'de>>(from: D) -> Result<RouteKey, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Level(usize),
        Name(String),
    }
    match Given::deserialize(from)? {
        Given::Level(n) => Ok(RouteKey::Level(n)),
        Given::Name(text) => match text.as_str() {
            "topic" => Ok(RouteKey::Topic),
            "none" => Ok(RouteKey::None),
            _ => Err(de::Error::custom("key is \"topic\", \"none\" or the number of a level, from 0")),
        },
    }
}

impl<'de> Deserialize<'de> for MqttVersion {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::Integer(5) => Ok(Self::Newest),
            toml::Value::String(text) if text == "5" => Ok(Self::Newest),
            toml::Value::String(text) if text == "5 only" => Ok(Self::V5),
            toml::Value::String(text) if text == "3.1.1" => Ok(Self::V311),
            _ => Err(de::Error::custom("version is 5, \"5 only\" or \"3.1.1\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        name = "plant"
        [mqtt]
        address = "mqtts://broker:8883"
        version = "3.1.1"
        [kafka]
        bootstrap.servers = "a:9092,b:9092"
        "security.protocol" = "SASL_SSL"
        linger.ms = 3
        [[route]]
        from = "mqtt"
        filter = ["sensors/#", "meters/+"]
        topic = "readings"
        key = 1
        qos = 1
        [[route]]
        from = "mqtt"
        filter = "events/#"
    "#;

    const BACK: &str = "\n[[route]]\nfrom = \"kafka\"\ntopic = \"commands\"\n";

    #[test]
    fn both_directions_need_mqtt_5() {
        let error = BridgeConfig::from_toml(&format!("{FILE}{BACK}")).unwrap_err().to_string();
        assert!(error.contains("need MQTT 5"), "{error}");
        let config = BridgeConfig::from_toml(&format!("{}{BACK}", FILE.replace("\"3.1.1\"", "5"))).unwrap();
        assert!(config.goes_both_ways());
        assert_eq!(config.routes.last().map(Route::name).as_deref(), Some("from-commands"));
    }

    #[test]
    fn a_file_is_read() {
        let config = BridgeConfig::from_toml(FILE).unwrap();
        assert_eq!(config.mqtt.version, MqttVersion::V311);
        let kafka: Vec<_> = config.kafka.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(kafka, ["bootstrap.servers=a:9092,b:9092", "linger.ms=3", "security.protocol=SASL_SSL"]);
        let names: Vec<_> = config.routes.iter().map(Route::name).collect();
        assert_eq!(names, ["readings", "events/#"]);
        let Route::Mqtt(first) = &config.routes[0] else { panic!("{:?}", config.routes[0]) };
        assert_eq!((first.qos, first.key, first.in_flight), (QoS::AtLeastOnce, RouteKey::Level(1), 10_000));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, said) in [
            ("name = \"plant\"", "nam = \"plant\"", "unknown field `nam`"),
            ("qos = 1", "qos = 3", "qos is 0, 1 or 2"),
            ("key = 1", "key = \"x\"", "the number of a level"),
            ("key = 1", "keys = 1", "unknown field `keys`"),
            ("bootstrap.servers = \"a:9092,b:9092\"", "", "needs bootstrap.servers"),
            ("\"sensors/#\"", "\"sensors/#/x\"", "the filter \"sensors/#/x\""),
            ("\"sensors/#\"", "\"$SYS/#\"", "are not forwarded"),
            ("topic = \"readings\"", "connections = 2", "several connections need share"),
        ] {
            assert!(FILE.contains(from));
            let error = BridgeConfig::from_toml(&FILE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(said), "{to}: {error}");
        }
    }
}
