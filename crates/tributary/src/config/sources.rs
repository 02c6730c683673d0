//! Where settings come from: flags, environment, a TOML file, `server.properties`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::properties;

/// Where a setting stands, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command-line flag, as typed: `--set`.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// A line of a file.
    File(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// One setting under its own, Kafka's or Mosquitto's name.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Name.
    pub key: String,
    /// Value as text.
    pub value: String,
    /// Where it stands.
    pub origin: Origin,
}

/// Keys of this program that stand beside Kafka's and Mosquitto's: addresses and the data directory.
pub const DATA: &str = "data";
/// MQTT listener addresses (repeatable, or a comma-separated list).
pub const MQTT: &str = "mqtt";
/// Kafka listener addresses.
pub const KAFKA: &str = "kafka";
/// Console address or `off`.
pub const CONSOLE: &str = "console";

/// MQTT listeners with TLS, in WebSocket, and both.
pub const MQTT_TLS: &str = "mqtt-tls";
/// See [`MQTT_TLS`].
pub const MQTT_WS: &str = "mqtt-ws";
/// See [`MQTT_TLS`].
pub const MQTT_WSS: &str = "mqtt-wss";
/// Certificate, key and certificate authorities of the TLS listeners.
pub const TLS_CERT: &str = "tls-cert";
/// See [`TLS_CERT`].
pub const TLS_KEY: &str = "tls-key";
/// See [`TLS_CERT`].
pub const TLS_CA: &str = "tls-ca";
/// Where the log is: `embedded` or `kafka`.
pub const STORE: &str = "store";
/// With `store=kafka`, the cluster's `host:port,…`.
pub const BOOTSTRAP: &str = "bootstrap";
/// With `store=kafka`, a file with properties of Kafka's clients (security).
pub const STORE_CONFIG: &str = "store-config";
/// With `store=kafka`, this node's name among those that share the cluster.
pub const NODE_ID: &str = "node-id";
/// All of them.
pub const OWN: &[&str] = &[
    DATA,
    MQTT,
    MQTT_TLS,
    MQTT_WS,
    MQTT_WSS,
    TLS_CERT,
    TLS_KEY,
    TLS_CA,
    KAFKA,
    CONSOLE,
    STORE,
    BOOTSTRAP,
    STORE_CONFIG,
    NODE_ID,
];

/// `key=value` from `--set` or `--override`.
///
/// # Errors
/// The text to print when there is no `=` or no key.
pub fn from_flag(text: &str, flag: &'static str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok(Setting {
            key: key.trim().to_string(),
            value: value.trim().to_string(),
            origin: Origin::Flag(flag),
        }),
        _ => Err(format!("{flag} {text}: expected key=value")),
    }
}

/// Settings from `KAFKA_CFG_LOG_RETENTION_HOURS=24` (Bitnami's form; `_` stands for `.`, `___` for `-`, `__` for `_`).
pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Setting> {
    let mut settings: Vec<Setting> = variables
        .filter_map(|(name, value)| {
            let rest = name.strip_prefix("KAFKA_CFG_")?;
            let key = rest.replace("___", "-").replace("__", "\u{0}").replace('_', ".").replace('\u{0}', "_");
            Some(Setting { key: key.to_lowercase(), value, origin: Origin::Environment(name) })
        })
        .collect();
    settings.sort_by(|a, b| a.key.cmp(&b.key));
    settings
}

/// Reads Kafka's `server.properties`.
///
/// # Errors
/// One line per problem.
pub fn from_properties_file(path: &Path) -> Result<Vec<Setting>, Vec<String>> {
    let text = read(path)?;
    let entries = properties::parse(&text).map_err(|problems| {
        problems.iter().map(|(line, why)| format!("{}:{line}: {why}", path.display())).collect::<Vec<_>>()
    })?;
    Ok(entries
        .into_iter()
        .map(|e| Setting {
            key: e.key,
            value: e.value.trim().to_string(),
            origin: Origin::File(path.into(), e.line),
        })
        .collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlFile {
    data: Option<toml::Spanned<toml::Value>>,
    mqtt: Option<toml::Spanned<toml::Value>>,
    #[serde(rename = "mqtt-tls")]
    mqtt_tls: Option<toml::Spanned<toml::Value>>,
    #[serde(rename = "mqtt-ws")]
    mqtt_ws: Option<toml::Spanned<toml::Value>>,
    #[serde(rename = "mqtt-wss")]
    mqtt_wss: Option<toml::Spanned<toml::Value>>,
    #[serde(rename = "tls-cert")]
    tls_cert: Option<toml::Spanned<toml::Value>>,
    #[serde(rename = "tls-key")]
    tls_key: Option<toml::Spanned<toml::Value>>,
    #[serde(rename = "tls-ca")]
    tls_ca: Option<toml::Spanned<toml::Value>>,
    kafka: Option<toml::Spanned<toml::Value>>,
    console: Option<toml::Spanned<toml::Value>>,
    store: Option<toml::Spanned<toml::Value>>,
    bootstrap: Option<toml::Spanned<toml::Value>>,
    #[serde(rename = "store-config")]
    store_config: Option<toml::Spanned<toml::Value>>,
    #[serde(rename = "node-id")]
    node_id: Option<toml::Spanned<toml::Value>>,
    #[serde(default)]
    settings: BTreeMap<String, toml::Spanned<toml::Value>>,
}

/// Reads our own TOML file: `data`, `mqtt`, `kafka`, `console`, and `[settings]` with quoted names.
///
/// # Errors
/// One line per problem.
pub fn from_toml_file(path: &Path) -> Result<Vec<Setting>, Vec<String>> {
    let text = read(path)?;
    let line_of = |offset: usize| text.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
    let file: TomlFile = toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(1, |s| line_of(s.start));
        vec![format!("{}:{line}: {}", path.display(), e.message().lines().next().unwrap_or_default())]
    })?;
    let own = [
        (DATA, file.data),
        (MQTT, file.mqtt),
        (MQTT_TLS, file.mqtt_tls),
        (MQTT_WS, file.mqtt_ws),
        (MQTT_WSS, file.mqtt_wss),
        (TLS_CERT, file.tls_cert),
        (TLS_KEY, file.tls_key),
        (TLS_CA, file.tls_ca),
        (KAFKA, file.kafka),
        (CONSOLE, file.console),
        (STORE, file.store),
        (BOOTSTRAP, file.bootstrap),
        (STORE_CONFIG, file.store_config),
        (NODE_ID, file.node_id),
    ];
    let own = own.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?)));
    let mut settings = Vec::new();
    let mut problems = Vec::new();
    for (key, value) in own.chain(file.settings) {
        let line = line_of(value.span().start);
        match plain(value.get_ref()) {
            Some(value) => settings.push(Setting { key, value, origin: Origin::File(path.into(), line) }),
            None => problems.push(format!(
                "{}:{line}: {key}: expected a text, a number, true, false or a list of them",
                path.display()
            )),
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(i) => Some(i.to_string()),
        toml::Value::Float(x) => Some(x.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(plain).collect();
            Some(items?.join(","))
        }
        _ => None,
    }
}

fn read(path: &Path) -> Result<String, Vec<String>> {
    let bytes = std::fs::read(path).map_err(|e| vec![format!("{}: cannot be read: {e}", path.display())])?;
    String::from_utf8(bytes).map_err(|_| vec![format!("{}: is not UTF-8 text", path.display())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("f");
        std::fs::write(&path, text).expect("write");
        (dir, path)
    }

    #[test]
    fn toml_names_lines() {
        let (_dir, path) = file(
            "data = \"d\"\nmqtt = [\"1883\", \"1884\"]\n[settings]\n\"log.retention.hours\" = 24\nmax_qos = 1\n",
        );
        let got = from_toml_file(&path).expect("reads");
        let got: Vec<_> = got.iter().map(|s| format!("{}={} {}", s.key, s.value, s.origin)).collect();
        let p = path.display();
        assert_eq!(
            got,
            [
                format!("data=d {p}:1"),
                format!("mqtt=1883,1884 {p}:2"),
                format!("log.retention.hours=24 {p}:4"),
                format!("max_qos=1 {p}:5"),
            ]
        );
    }

    #[test]
    fn toml_refuses_unknown_names_and_wrong_shapes() {
        let (_dir, path) = file("data = \"d\"\nqtt = 1\n");
        let problems = from_toml_file(&path).expect_err("refused");
        assert!(problems[0].contains(":2: unknown field `qtt`"), "{problems:?}");
        let (_dir, path) = file("[settings]\na = {b = 1}\n");
        let problems = from_toml_file(&path).expect_err("refused");
        assert!(problems[0].contains(":2: a: expected a text"), "{problems:?}");
    }

    #[test]
    fn environment_names_become_keys() {
        let variables = [("KAFKA_CFG_LOG_RETENTION_HOURS", "24"), ("KAFKA_CFG_A__B___C", "x"), ("HOME", "/")];
        let got = from_environment(variables.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        let got: Vec<_> = got.iter().map(|s| (s.key.as_str(), s.value.as_str())).collect();
        assert_eq!(got, [("a_b-c", "x"), ("log.retention.hours", "24")]);
    }

    #[test]
    fn flags_need_a_key() {
        assert!(from_flag("a=b=c", "--set").is_ok_and(|s| s.key == "a" && s.value == "b=c"));
        assert_eq!(from_flag("=b", "--set").expect_err("refused"), "--set =b: expected key=value");
    }
}
