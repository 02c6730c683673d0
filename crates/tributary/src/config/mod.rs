//! From flags and files to what the node is started with. Whatever is wrong is said once, one line a problem,
//! before anything on disk is touched.

mod listen;
mod mosquitto_conf;
mod mqtt_bridges;
mod mqtt_listeners;
mod mqtt_settings;
pub mod properties;
pub mod sources;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use broker::BrokerConfig;
use mqtt::MqttConfig;

use crate::logging::{self, Destination, Verbosity};
use mosquitto_conf::Support;
use sources::{Origin, Setting};

/// Everything a node is started with.
pub struct Plan {
    /// Where the log is.
    pub store: Store,
    /// The MQTT server; `None` = off.
    pub mqtt: Option<MqttConfig>,
    /// Address of the console; `None` = off.
    pub console: Option<SocketAddr>,
    /// Data directory to remove at a clean stop (a Mosquitto file without `persistence true`).
    pub temporary: Option<PathBuf>,
    /// Written at start, removed at stop.
    pub pid_file: Option<PathBuf>,
    /// Where log lines go.
    pub log: Destination,
    /// Log level that the file asks for.
    pub verbosity: Verbosity,
    /// What the operator should know: settings that are not used, addresses that were narrowed.
    pub notes: Vec<String>,
}

/// Where the commit log is.
pub enum Store {
    /// In this process: the log and the Kafka server (with no listeners where Kafka is off).
    Embedded(Box<BrokerConfig>),
    /// In a Kafka cluster.
    Kafka {
        /// How it is reached.
        properties: client::config::Properties,
        /// This node's name among those that share the cluster; `None` = one that is made up.
        node_id: Option<String>,
    },
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Port of the console when none is given.
const CONSOLE_PORT: u16 = 8080;
/// Port of MQTT when none is given.
const MQTT_PORT: u16 = 1883;
/// Longest name of a node.
const NODE_ID_MAX: usize = 64;
/// Port of Kafka when none is given.
const KAFKA_PORT: u16 = 9092;

/// Collects settings by who understands them, and problems.
struct Draft {
    kafka: BTreeMap<String, Setting>,
    mosquitto: Vec<Setting>,
    own: BTreeMap<String, Setting>,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Draft {
    /// Sorts settings by owner; a later setting of the same name replaces an earlier one.
    fn new(settings: Vec<Setting>, problems: Vec<String>) -> Self {
        let mut draft = Self {
            kafka: BTreeMap::new(),
            mosquitto: Vec::new(),
            own: BTreeMap::new(),
            problems,
            notes: Vec::new(),
        };
        for setting in settings {
            draft.add(setting);
        }
        draft
    }

    fn add(&mut self, setting: Setting) {
        let key = setting.key.as_str();
        if sources::OWN.contains(&key) || mqtt_settings::is_own(key) {
            self.own.insert(setting.key.clone(), setting);
        } else if let Some(support) = mosquitto_conf::support(key) {
            self.add_mosquitto(setting, support);
        } else {
            self.kafka.insert(setting.key.clone(), setting);
        }
    }

    fn add_mosquitto(&mut self, setting: Setting, support: Support) {
        match support {
            Support::Honoured => self.mosquitto.push(setting),
            Support::Moot(why) => {
                self.notes.push(format!("{}: {}: not used: {why}", setting.origin, setting.key))
            }
            Support::Refused(why) => {
                self.problems.push(format!("{}: {}: {why}", setting.origin, setting.key))
            }
        }
    }

    fn own(&self, key: &str) -> Option<&Setting> {
        self.own.get(key)
    }

    /// The value of one of our own address lists; `default` where it is not given, none where it is `off`.
    fn addresses(&self, key: &str, default: &str) -> Vec<String> {
        let text = self.own(key).map_or(default, |s| s.value.as_str());
        text.split(',').map(str::trim).filter(|a| !a.is_empty() && *a != "off").map(String::from).collect()
    }

    fn problem(&mut self, key: &str, message: impl std::fmt::Display) {
        let origin = self
            .own
            .get(key)
            .or_else(|| self.kafka.get(key))
            .or_else(|| self.mosquitto.iter().rev().find(|s| s.key == key))
            .map_or_else(|| "default".to_string(), |s| s.origin.to_string());
        self.problems.push(format!("{origin}: {key}: {message}"));
    }

    /// Kafka's listeners from our own `kafka` setting, as Kafka's properties.
    fn kafka_listeners_from_own(&mut self, default: &str) {
        let given = self.own(sources::KAFKA).map(|s| s.origin.clone());
        if let (Some(_), Some(other)) = (&given, self.kafka.get("listeners").map(|s| s.origin.clone())) {
            self.problem(sources::KAFKA, format!("contradicts listeners ({other}): give one of the two"));
            return;
        }
        if given.is_none() && self.kafka.contains_key("listeners") {
            return;
        }
        let origin = given.unwrap_or(Origin::Flag("default"));
        let mut listeners = Vec::new();
        let mut protocols = Vec::new();
        for (index, address) in self.addresses(sources::KAFKA, default).iter().enumerate() {
            let (name, address) = match address.split_once("://") {
                Some((name, address)) => (name.to_uppercase(), address),
                None if index == 0 => ("PLAINTEXT".to_string(), address.as_str()),
                None => (format!("PLAINTEXT{}", index + 1), address.as_str()),
            };
            match listen::host_and_port(address, KAFKA_PORT) {
                Ok((host, port)) => listeners.push(format!("{name}://{}:{port}", listen::bracketed(&host))),
                Err(why) => self.problem(sources::KAFKA, why),
            }
            let protocol = match name.as_str() {
                "SSL" | "SASL_PLAINTEXT" | "SASL_SSL" => name.as_str(),
                _ => "PLAINTEXT",
            };
            protocols.push(format!("{name}:{protocol}"));
        }
        let mut put = |key: &str, value: String| {
            self.kafka.insert(key.into(), Setting { key: key.into(), value, origin: origin.clone() });
        };
        put("listeners", listeners.join(","));
        if !self.kafka.contains_key("listener.security.protocol.map") {
            let mut put = |key: &str, value: String| {
                self.kafka.insert(key.into(), Setting { key: key.into(), value, origin: origin.clone() });
            };
            put("listener.security.protocol.map", protocols.join(","));
        }
    }

    /// Builds the broker's configuration; its problems and notes get the place where the key stands.
    fn broker(&mut self, kafka_off: bool) -> Option<BrokerConfig> {
        let properties: Vec<(String, String)> = self
            .kafka
            .iter()
            .filter(|(key, _)| !(kafka_off && key.contains("listener")))
            .map(|(key, setting)| (key.clone(), setting.value.clone()))
            .collect();
        match BrokerConfig::from_properties(properties) {
            Ok((mut config, notes)) => {
                if kafka_off {
                    config.listeners.clear();
                }
                for note in notes {
                    let origin =
                        self.kafka.get(&note.key).map_or(String::new(), |s| format!("{}: ", s.origin));
                    self.notes.push(format!("{origin}{}: {}", note.key, note.message));
                }
                Some(config)
            }
            Err(problems) => {
                for problem in problems.0 {
                    self.problem(&problem.key, problem.message);
                }
                None
            }
        }
    }

    /// Without users, only loopback is served unless `allow_anonymous` says otherwise.
    fn keep_to_loopback(&mut self, config: &mut BrokerConfig) {
        let open = self.anonymous_is_allowed();
        let mut refused = Vec::new();
        for listener in &mut config.listeners {
            let known = listener.knows_clients();
            let host = &mut listener.bind.host;
            if open || known || listen::is_loopback(host) {
                continue;
            }
            if host.is_empty() {
                *host = LOOPBACK.to_string();
                self.notes.push(format!(
                    "Kafka listener {} serves this machine only (127.0.0.1), because nobody has to log in there. To open it to \
                     other machines let it speak SASL_SSL (docs/security.md), or give its address and set \
                     allow_anonymous=true",
                    listener.name
                ));
            } else {
                refused.push(format!(
                    "{}://{host} is reachable from other machines and nobody needs to log in: set allow_anonymous=true \
                     if that is meant, or listen on 127.0.0.1",
                    listener.name
                ));
            }
        }
        for message in refused {
            let key = if self.own.contains_key(sources::KAFKA) { sources::KAFKA } else { "listeners" };
            self.problem(key, message);
        }
    }

    fn anonymous_is_allowed(&self) -> bool {
        let flag =
            self.mosquitto.iter().any(|s| s.key == "allow_anonymous" && s.value.eq_ignore_ascii_case("true"));
        flag || std::env::var("ALLOW_PLAINTEXT_LISTENER").is_ok_and(|v| v.eq_ignore_ascii_case("yes"))
    }

    fn console(&mut self, default: &str) -> Option<SocketAddr> {
        let text = self.own(sources::CONSOLE).map_or(default.to_string(), |s| s.value.clone());
        if text == "off" {
            return None;
        }
        match listen::resolve(&text, CONSOLE_PORT) {
            Ok(address) if address.ip().is_loopback() => Some(address),
            Ok(address) => {
                self.problem(
                    sources::CONSOLE,
                    format!("{address} is reachable from other machines, and the console has no login yet: use a loopback address or off"),
                );
                None
            }
            Err(why) => {
                self.problem(sources::CONSOLE, why);
                None
            }
        }
    }

    /// Gives a Kafka setting another default than Kafka's code has.
    fn default_kafka(&mut self, key: &str, value: &str) {
        let default = Setting { key: key.into(), value: value.into(), origin: Origin::Flag("default") };
        self.kafka.entry(key.into()).or_insert(default);
    }

    fn set_data_dir(&mut self, default: &str) {
        let both = (self.own(sources::DATA).is_some(), self.kafka.contains_key("log.dirs"));
        if both == (true, true) {
            self.problem(sources::DATA, "contradicts log.dirs: give one of the two");
        }
        if !both.1 && !self.kafka.contains_key("log.dir") {
            let setting = self.own(sources::DATA).cloned();
            let (value, origin) =
                setting.map_or((default.to_string(), Origin::Flag("default")), |s| (s.value, s.origin));
            self.kafka.insert("log.dirs".into(), Setting { key: "log.dirs".into(), value, origin });
        }
    }

    fn finish(
        mut self,
        store: Option<Store>,
        mqtt: Option<MqttConfig>,
        console: Option<SocketAddr>,
    ) -> Result<Plan, Vec<String>> {
        let Some(store) = store.filter(|_| self.problems.is_empty()) else {
            self.problems.dedup();
            return Err(self.problems);
        };
        let pid_file =
            self.mosquitto.iter().rev().find(|s| s.key == "pid_file").map(|s| PathBuf::from(&s.value));
        let verbosity = self.verbosity();
        let log = self.log_destination();
        Ok(Plan { store, mqtt, console, temporary: None, pid_file, log, verbosity, notes: self.notes })
    }

    /// `log_dest` of a Mosquitto file.
    fn log_destination(&mut self) -> Destination {
        let places: Vec<Setting> = self.mosquitto.iter().filter(|s| s.key == "log_dest").cloned().collect();
        let mut log = Destination { stderr: places.is_empty(), ..Destination::default() };
        for place in &places {
            match place.value.split_once([' ', '\t']).unwrap_or((&place.value, "")) {
                ("file", path) if !path.trim().is_empty() => log.file = Some(path.trim().into()),
                ("stderr" | "stdout", _) => log.stderr = true,
                ("none", _) => {}
                ("topic", _) => log.topic = true,
                ("syslog", _) => log.syslog = Some(logging::DAEMON),
                (other, _) => {
                    log.stderr = true;
                    self.notes
                        .push(format!("{}: log_dest {other}: lines go to standard error", place.origin));
                }
            }
        }
        if let Some(setting) = self.mosquitto.iter().rev().find(|s| s.key == "log_facility").cloned() {
            // Mosquitto's 0 to 7 are the system's local0 to local7.
            match setting.value.parse::<u8>() {
                Ok(local) if local < 8 => log.syslog = log.syslog.map(|_| 16 + local),
                _ => self
                    .notes
                    .push(format!("{}: log_facility: {:?} is not 0 to 7", setting.origin, setting.value)),
            }
        }
        log
    }

    /// `log_type` and `log_dest none` of a Mosquitto file.
    fn verbosity(&self) -> Verbosity {
        let has = |key: &str, value: &str| self.mosquitto.iter().any(|s| s.key == key && s.value == value);
        if has("log_dest", "none") || has("log_type", "none") {
            Verbosity::Quiet
        } else if has("log_type", "all") || has("log_type", "debug") {
            Verbosity::Verbose
        } else {
            Verbosity::Normal
        }
    }
}

/// The plan of `tributary serve`: everything on, on loopback.
///
/// # Errors
/// One line per problem.
pub fn for_serve(settings: Vec<Setting>, problems: Vec<String>) -> Result<Plan, Vec<String>> {
    let mut draft = Draft::new(settings, problems);
    match draft.own(sources::STORE).map(|s| s.value.clone()).as_deref() {
        None | Some("embedded") => {}
        Some("kafka") => return for_cluster(draft),
        Some(other) => draft.problem(sources::STORE, format!("{other}: expected embedded or kafka")),
    }
    for key in [sources::BOOTSTRAP, sources::STORE_CONFIG, sources::NODE_ID] {
        if draft.own(key).is_some() {
            draft.problem(key, "means something only with store=kafka");
        }
    }
    draft.set_data_dir("tributary-data");
    // As in the server.properties that Kafka ships: a newcomer's first consumer need not wait for others.
    draft.default_kafka("group.initial.rebalance.delay.ms", "0");
    draft.kafka_listeners_from_own("127.0.0.1:9092");
    let kafka_off = draft.own(sources::KAFKA).is_some_and(|s| s.value == "off");
    let mut broker = draft.broker(kafka_off);
    if let Some(config) = &mut broker {
        draft.keep_to_loopback(config);
    }
    let mqtt = mqtt_settings::build(&mut draft, "127.0.0.1:1883");
    let console = draft.console("127.0.0.1:8080");
    draft.finish(embedded(broker), mqtt, console)
}

fn embedded(broker: Option<BrokerConfig>) -> Option<Store> {
    broker.map(|broker| Store::Embedded(Box::new(broker)))
}

/// The plan of `tributary serve --store kafka`: MQTT and console here, the log in a cluster. Settings with Kafka's names are
/// those of its clients.
fn for_cluster(mut draft: Draft) -> Result<Plan, Vec<String>> {
    if draft.own(sources::KAFKA).is_some_and(|s| s.value != "off") {
        draft.problem(
            sources::KAFKA,
            "with store=kafka the cluster itself serves Kafka clients: leave it out, or off",
        );
    }
    if draft.own(sources::DATA).is_some() {
        draft.problem(sources::DATA, "with store=kafka nothing is stored here: leave it out");
    }
    let mut given: BTreeMap<String, Setting> = BTreeMap::new();
    if let Some(file) = draft.own(sources::STORE_CONFIG).map(|s| PathBuf::from(&s.value)) {
        match sources::from_properties_file(&file) {
            Ok(settings) => given.extend(settings.into_iter().map(|s| (s.key.clone(), s))),
            Err(problems) => draft.problems.extend(problems),
        }
    }
    given.append(&mut draft.kafka);
    let mut properties: client::config::Properties =
        given.values().map(|s| (s.key.clone(), s.value.clone())).collect();
    if let Some(bootstrap) = draft.own(sources::BOOTSTRAP) {
        properties.insert("bootstrap.servers".into(), bootstrap.value.clone());
    }
    if !properties.contains_key("bootstrap.servers") {
        draft.problem(sources::STORE, "kafka: say where it is: --bootstrap host:9092");
    } else {
        match client::ProducerConfig::from_properties(properties.clone()) {
            Ok(config) => {
                for key in &config.client.unknown {
                    let origin = given.get(key).map_or_else(String::new, |s| format!("{}: ", s.origin));
                    draft.notes.push(format!("{origin}{key}: not a property of Kafka's clients, not used"));
                }
            }
            Err(error) => draft.problem(sources::STORE, format!("kafka: {error}")),
        }
    }
    let mqtt = mqtt_settings::build(&mut draft, "127.0.0.1:1883");
    if mqtt.is_none() && draft.problems.is_empty() {
        draft.problem(sources::MQTT, "off: with store=kafka there is nothing else to serve");
    }
    let node_id = draft.own(sources::NODE_ID).map(|s| s.value.clone());
    let is_name = |id: &String| {
        (1..=NODE_ID_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if node_id.as_ref().is_some_and(|id| !is_name(id)) {
        draft.problem(sources::NODE_ID, format!("expected 1 to {NODE_ID_MAX} letters, digits, dots, dashes"));
    }
    let console = draft.console("127.0.0.1:8080");
    draft.finish(Some(Store::Kafka { properties, node_id }), mqtt, console)
}

/// The plan of `kafka-server-start FILE`: Kafka's listeners, and MQTT and console only where a key of ours names them.
///
/// # Errors
/// One line per problem.
pub fn for_kafka_file(settings: Vec<Setting>, problems: Vec<String>) -> Result<Plan, Vec<String>> {
    let mut draft = Draft::new(settings, problems);
    draft.set_data_dir("/tmp/kafka-logs");
    if draft.own(sources::KAFKA).is_some() {
        draft.kafka_listeners_from_own("");
    }
    let mut broker = draft.broker(false);
    if let Some(config) = &mut broker {
        draft.keep_to_loopback(config);
    }
    let mqtt = mqtt_settings::build(&mut draft, "");
    let console = draft.console("off");
    draft.finish(embedded(broker), mqtt, console)
}

/// The plan of `mosquitto [-c FILE] [-p PORT]…`: MQTT listeners; Kafka only by `kafka_listener`.
///
/// # Errors
/// One line per problem.
pub fn for_mosquitto_file(
    file: Option<&Path>,
    ports: &[u16],
    mut problems: Vec<String>,
) -> Result<Plan, Vec<String>> {
    let mut settings = Vec::new();
    match file.map(mosquitto_conf::load) {
        Some(Ok(entries)) => {
            for e in entries {
                let origin = Origin::File(e.file, e.line);
                if mosquitto_conf::support(&e.key).is_none() && !mqtt_settings::is_own(&e.key) {
                    // As Mosquitto does: an unknown name in its file stops the start.
                    problems.push(format!("{origin}: Unknown configuration variable \"{}\".", e.key));
                } else {
                    settings.push(Setting { key: e.key, value: e.value, origin });
                }
            }
        }
        Some(Err(more)) => problems.extend(more),
        None => {}
    }
    let mut draft = Draft::new(settings, problems);
    let value = |draft: &Draft, key: &str| draft.mosquitto.iter().rev().find(|s| s.key == key).cloned();
    let kafka_listener = value(&draft, "kafka_listener");
    if let Some(setting) = &kafka_listener {
        let own = Setting { key: sources::KAFKA.into(), ..setting.clone() };
        draft.own.insert(sources::KAFKA.into(), own);
        draft.kafka_listeners_from_own("");
    }
    let temporary = match persistent_location(file) {
        Some(location) => {
            let location =
                if location.as_os_str().is_empty() { PathBuf::from("tributary-data") } else { location };
            draft.set_data_dir(&location.to_string_lossy());
            None
        }
        None => {
            let dir = std::env::temp_dir().join(format!("tributary-mosquitto-{}", std::process::id()));
            draft.notes.push(format!(
                "persistence is not on in this file: sessions and messages live in {} and are removed at a clean stop",
                dir.display()
            ));
            draft.set_data_dir(&dir.to_string_lossy());
            Some(dir)
        }
    };
    let mut broker = draft.broker(kafka_listener.is_none());
    if let Some(config) = &mut broker {
        draft.keep_to_loopback(config);
    }
    let mqtt = mqtt_settings::build_from_mosquitto(&mut draft, ports);
    let mut plan = draft.finish(embedded(broker), mqtt, None)?;
    plan.temporary = temporary;
    Ok(plan)
}

/// `persistence_location` where `persistence true` stands; empty where only the latter does.
fn persistent_location(file: Option<&Path>) -> Option<PathBuf> {
    let entries = mosquitto_conf::load(file?).ok()?;
    let last = |key: &str| entries.iter().rev().find(|e| e.key == key).map(|e| e.value.clone());
    let on = last("persistence").is_some_and(|v| v == "true" || v == "1");
    on.then(|| PathBuf::from(last("persistence_location").unwrap_or_default()))
}

#[cfg(test)]
mod tests;
