//! What the broker is told at start: Kafka's `server.properties` names, checked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use meta::acl::Authorizer;
use meta::config::{BrokerProperties, broker_config, refusal, split_list};

use crate::security::ListenerSecurity;

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Host name or address, without brackets; empty = all interfaces (listening side only).
    pub host: String,
    /// TCP port; 0 = any free one.
    pub port: u16,
}

/// How a listener talks (`listener.security.protocol.map`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecurityProtocol {
    /// Plain TCP without authentication.
    Plaintext,
    /// TLS; clients may have to show a certificate.
    Ssl,
    /// Plain TCP; clients log in.
    SaslPlaintext,
    /// TLS; clients log in.
    SaslSsl,
}

impl SecurityProtocol {
    /// The protocol of a name in capitals.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "PLAINTEXT" => Some(Self::Plaintext),
            "SSL" => Some(Self::Ssl),
            "SASL_PLAINTEXT" => Some(Self::SaslPlaintext),
            "SASL_SSL" => Some(Self::SaslSsl),
            _ => None,
        }
    }

    /// Whether it speaks TLS.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether clients log in.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Kafka's number for it.
    pub fn code(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }
}

/// One listener.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Name in capitals: `PLAINTEXT`, `EXTERNAL` …
    pub name: String,
    /// Protocol spoken.
    pub protocol: SecurityProtocol,
    /// Address to bind.
    pub bind: Endpoint,
    /// Address told to clients of this listener; `None` = the bound one.
    pub advertised: Option<Endpoint>,
    /// Certificates, users.
    pub(crate) security: ListenerSecurity,
}

impl ListenerConfig {
    /// Whether nobody is served who did not show who it is: by logging in, or by a certificate.
    pub fn knows_clients(&self) -> bool {
        self.protocol.has_sasl() || self.security.tls.as_ref().is_some_and(|tls| tls.requires_certificate())
    }
}

/// Everything a broker needs to start.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// `node.id` (or `broker.id`).
    pub node_id: i32,
    /// Data directory (`log.dirs`, `log.dir`).
    pub data_dir: PathBuf,
    /// Listeners; may be empty (door only).
    pub listeners: Vec<ListenerConfig>,
    /// Every setting given, by Kafka's name.
    pub properties: BTreeMap<String, String>,
}

/// A setting that is not used, and why: worth a warning, not a refusal.
#[derive(Clone, Debug)]
pub struct ConfigNote {
    /// The key.
    pub key: String,
    /// What to tell the operator.
    pub message: String,
}

/// One thing wrong with the settings.
#[derive(Clone, Debug)]
pub struct ConfigProblem {
    /// The key at fault.
    pub key: String,
    /// What is wrong, in one line, without the key.
    pub message: String,
}

/// All that is wrong with the settings; `Display` gives one line per problem.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigProblems(pub Vec<ConfigProblem>);

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: {}", problem.key, problem.message)?;
        }
        Ok(())
    }
}

/// Kafka settings of a multi-node or JVM world that do no harm here: taken without a word.
const QUIET: &[&str] = &[
    "controller.listener.names",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "group.coordinator.rebalance.protocols",
    "inter.broker.listener.name",
    "sasl.mechanism.controller.protocol",
    "sasl.mechanism.inter.broker.protocol",
    "ssl.keymanager.algorithm",
    "ssl.protocol",
    "ssl.trustmanager.algorithm",
    "log.cleaner.enable",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "offsets.topic.replication.factor",
    "process.roles",
    "security.inter.broker.protocol",
    "share.coordinator.state.topic.min.isr",
    "share.coordinator.state.topic.replication.factor",
    "transaction.state.log.min.isr",
    "transaction.state.log.replication.factor",
];

/// Kafka settings that would silently mean less safety or reach than asked for when ignored.
const REFUSED: &[(&str, &str)] = &[
    ("create.topic.policy.class.name", "policies written in Java cannot be loaded"),
    ("alter.config.policy.class.name", "policies written in Java cannot be loaded"),
    ("principal.builder.class", "classes written in Java cannot be loaded"),
    ("client.quota.callback.class", "classes written in Java cannot be loaded"),
];

impl BrokerConfig {
    /// Checks settings given under Kafka's names (`log.dirs`, `listeners` …) and builds the configuration.
    /// Also answers notes about keys that are known but not used, or not known at all.
    ///
    /// # Errors
    /// [`ConfigProblems`] with one entry for each wrong key.
    pub fn from_properties<K: Into<String>, V: Into<String>>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(Self, Vec<ConfigNote>), ConfigProblems> {
        let fixed: BTreeMap<String, String> =
            properties.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let mut problems = Vec::new();
        let mut notes = Vec::new();
        for (key, value) in &fixed {
            check_setting(key, value, &mut problems, &mut notes);
        }
        let broker = BrokerProperties { fixed: fixed.clone(), ..BrokerProperties::default() };
        let node_id = node_id(&broker, &mut problems);
        let data_dir = data_dir(&broker, &mut problems);
        let listeners = listeners(&broker, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigProblems(problems));
        }
        Ok((Self { node_id, data_dir, listeners, properties: fixed }, notes))
    }

    /// The settings as a source of values.
    pub(crate) fn broker_properties(&self) -> BrokerProperties {
        BrokerProperties { fixed: self.properties.clone(), ..BrokerProperties::default() }
    }
}

fn problem(key: &str, message: impl Into<String>) -> ConfigProblem {
    ConfigProblem { key: key.to_owned(), message: message.into() }
}

fn check_setting(key: &str, value: &str, problems: &mut Vec<ConfigProblem>, notes: &mut Vec<ConfigNote>) {
    let note = |message: &str| ConfigNote { key: key.to_owned(), message: message.to_owned() };
    if key.starts_with("zookeeper.") {
        notes.push(note("not needed: coordination is built in, there is no ZooKeeper"));
        return;
    }
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == key)
        && !value.trim().is_empty()
    {
        problems.push(problem(key, *why));
        return;
    }
    if key == "authorizer.class.name" && !value.trim().is_empty() && !Authorizer::knows_class(value.trim()) {
        let message = format!(
            "{} is not known; the authorizer here is org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            value.trim()
        );
        problems.push(problem(key, message));
        return;
    }
    let Some(def) = broker_config(unprefixed(key)) else {
        notes.push(note("unknown setting, not used"));
        return;
    };
    if let Err(reason) = def.check(value) {
        problems.push(problem(key, reason));
    } else if let Some(why) = refusal(def, value) {
        problems.push(problem(key, why));
    } else if !def.honoured && !QUIET.contains(&key) && def.default != Some(value.trim()) {
        notes.push(note("known to Kafka, not used by this broker"));
    }
}

/// A key without the listener and the mechanism that it is for.
fn unprefixed(key: &str) -> &str {
    let own = key.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.'));
    let key = own.map_or(key, |(_, key)| key);
    let mechanisms = ["plain.", "scram-sha-256.", "scram-sha-512.", "oauthbearer."];
    mechanisms.iter().find_map(|prefix| key.strip_prefix(prefix)).unwrap_or(key)
}

fn node_id(broker: &BrokerProperties, problems: &mut Vec<ConfigProblem>) -> i32 {
    let given = |key: &str| broker.fixed.get(key).and_then(|value| value.trim().parse::<i32>().ok());
    match (given("node.id"), given("broker.id").filter(|id| *id >= 0)) {
        (Some(node), Some(broker)) if node != broker => {
            problems.push(problem("broker.id", format!("{broker} contradicts node.id={node}")));
            node
        }
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => 1,
    }
}

fn data_dir(broker: &BrokerProperties, problems: &mut Vec<ConfigProblem>) -> PathBuf {
    let key = if broker.fixed.contains_key("log.dirs") { "log.dirs" } else { "log.dir" };
    let given = broker.text(key).unwrap_or_default();
    let mut dirs = split_list(&given);
    let Some(dir) = dirs.next() else {
        problems.push(problem(key, "names no directory"));
        return PathBuf::new();
    };
    if dirs.next().is_some() {
        problems.push(problem(key, "names several directories; this broker keeps all logs in one"));
    }
    PathBuf::from(dir)
}

fn listeners(broker: &BrokerProperties, problems: &mut Vec<ConfigProblem>) -> Vec<ListenerConfig> {
    let protocols = protocol_map(broker, problems);
    let controllers = broker.text("controller.listener.names").unwrap_or_default();
    let is_controller =
        |name: &str| split_list(&controllers).any(|controller| controller.eq_ignore_ascii_case(name));
    let mut advertised = BTreeMap::new();
    for (name, endpoint) in endpoints(broker, "advertised.listeners", problems) {
        if matches!(endpoint.host.as_str(), "0.0.0.0" | "::") {
            problems.push(problem(
                "advertised.listeners",
                format!(
                    "cannot use the nonroutable meta-address {}. Use a routable IP address.",
                    endpoint.host
                ),
            ));
        }
        if advertised.insert(name.clone(), endpoint).is_some() {
            problems.push(problem("advertised.listeners", format!("names listener {name} twice")));
        }
    }
    let mut listeners: Vec<ListenerConfig> = Vec::new();
    for (name, bind) in endpoints(broker, "listeners", problems) {
        if is_controller(&name) {
            // Nobody has to reach the controller from outside: it is in this process.
            advertised.remove(&name);
            continue;
        }
        if listeners.iter().any(|other| other.name == name) {
            problems.push(problem("listeners", format!("names listener {name} twice")));
            continue;
        }
        if bind.port != 0 && listeners.iter().any(|other| other.bind == bind) {
            problems.push(problem("listeners", format!("uses port {} twice", bind.port)));
        }
        let protocol = protocols.get(&name).and_then(|protocol| SecurityProtocol::from_name(protocol));
        match protocol {
            Some(_) => {}
            None => problems.push(problem(
                "listeners",
                format!("no security protocol defined for listener {name} in listener.security.protocol.map"),
            )),
        }
        let advertised = advertised.remove(&name);
        let protocol = protocol.unwrap_or(SecurityProtocol::Plaintext);
        let security = ListenerSecurity::default();
        let mut listener = ListenerConfig { name, protocol, bind, advertised, security };
        match ListenerSecurity::new(&listener, broker) {
            Ok(security) => listener.security = security,
            Err(more) => problems.extend(more),
        }
        listeners.push(listener);
    }
    for name in advertised.keys() {
        problems.push(problem("advertised.listeners", format!("advertises {name}, which does not listen")));
    }
    listeners
}

fn protocol_map(broker: &BrokerProperties, problems: &mut Vec<ConfigProblem>) -> BTreeMap<String, String> {
    const KEY: &str = "listener.security.protocol.map";
    let text = broker.text(KEY).unwrap_or_default();
    let mut map = BTreeMap::new();
    for entry in split_list(&text) {
        let Some((name, protocol)) = entry.split_once(':') else {
            problems.push(problem(KEY, format!("{entry:?} is not NAME:PROTOCOL")));
            continue;
        };
        let protocol = protocol.trim().to_ascii_uppercase();
        if !matches!(protocol.as_str(), "PLAINTEXT" | "SSL" | "SASL_PLAINTEXT" | "SASL_SSL") {
            problems.push(problem(KEY, format!("{protocol} is not a security protocol")));
        }
        map.insert(name.trim().to_ascii_uppercase(), protocol);
    }
    map
}

fn endpoints(
    broker: &BrokerProperties,
    key: &str,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<(String, Endpoint)> {
    let text = broker.text(key).unwrap_or_default();
    let mut endpoints = Vec::new();
    for entry in split_list(&text) {
        match parse_endpoint(entry) {
            Some(endpoint) => endpoints.push(endpoint),
            None => problems.push(problem(key, format!("{entry:?} is not NAME://host:port"))),
        }
    }
    endpoints
}

fn parse_endpoint(text: &str) -> Option<(String, Endpoint)> {
    let (name, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let name = name.trim().to_ascii_uppercase();
    if name.is_empty() {
        return None;
    }
    Some((name, Endpoint { host: host.to_owned(), port: port.trim().parse().ok()? }))
}

#[cfg(test)]
mod tests;
