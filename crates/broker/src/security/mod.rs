//! Who is at the other end of a connection: TLS and SASL, by listener.

pub(crate) mod distinguished_name;
pub(crate) mod sasl;
pub(crate) mod tls;

use std::sync::Arc;

use meta::config::BrokerProperties;

use crate::config::{ConfigProblem, ListenerConfig};
use sasl::SaslConfig;
use tls::TlsConfig;

/// How a listener knows its clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerSecurity {
    /// TLS, where the listener speaks it.
    pub(crate) tls: Option<Arc<TlsConfig>>,
    /// SASL, where the listener asks for it.
    pub(crate) sasl: Option<Arc<SaslConfig>>,
}

impl ListenerSecurity {
    /// Reads what the settings say about a listener, and the certificates they name.
    ///
    /// # Errors
    /// One entry for each wrong key.
    pub(crate) fn new(
        listener: &ListenerConfig,
        properties: &BrokerProperties,
    ) -> Result<Self, Vec<ConfigProblem>> {
        let values = ListenerValues::of(&listener.name, properties);
        let mut problems = Vec::new();
        let mut take = |result: Result<_, Vec<ConfigProblem>>| match result {
            Ok(found) => Some(found),
            Err(more) => {
                problems.extend(more);
                None
            }
        };
        let tls =
            if listener.protocol.has_tls() { take(TlsConfig::new(&values).map(Some)) } else { Some(None) };
        let sasl = if listener.protocol.has_sasl() {
            match SaslConfig::new(&values, listener.protocol.has_tls()) {
                Ok(sasl) => Some(Some(sasl)),
                Err(more) => {
                    problems.extend(more);
                    None
                }
            }
        } else {
            Some(None)
        };
        match (tls, sasl) {
            (Some(tls), Some(sasl)) => Ok(Self { tls: tls.map(Arc::new), sasl: sasl.map(Arc::new) }),
            _ => Err(problems),
        }
    }
}

/// Settings as a listener sees them: its own (`listener.name.<name>.<key>`) before everybody's.
pub(crate) struct ListenerValues<'a> {
    name: String,
    properties: &'a BrokerProperties,
}

impl<'a> ListenerValues<'a> {
    /// The settings of the listener of that name.
    pub(crate) fn of(listener: &str, properties: &'a BrokerProperties) -> Self {
        Self { name: listener.to_ascii_lowercase(), properties }
    }

    /// A value, and the key under which it was found; blank ones count as absent, as in files of environment variables.
    pub(crate) fn find(&self, key: &str) -> Option<(String, String)> {
        let own = format!("listener.name.{}.{key}", self.name);
        let of = |key: String| self.properties.text(&key).filter(|value| !value.is_empty()).map(|v| (key, v));
        of(own).or_else(|| of(key.to_owned()))
    }

    /// The listener's own value (`listener.name.<name>.<key>`), where everybody's is another limit.
    pub(crate) fn own(&self, key: &str) -> Option<String> {
        let key = format!("listener.name.{}.{key}", self.name);
        self.properties.text(&key).filter(|value| !value.is_empty())
    }

    /// A value of a mechanism: `listener.name.<name>.<mechanism>.<key>` before the others.
    pub(crate) fn find_of(&self, mechanism: &str, key: &str) -> Option<(String, String)> {
        self.find(&format!("{}.{key}", mechanism.to_ascii_lowercase())).or_else(|| self.find(key))
    }

    /// A text, or the built-in default.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.find(key).map(|(_, value)| value)
    }

    /// A whole number, or the built-in default.
    pub(crate) fn long(&self, key: &str) -> i64 {
        self.text(key).and_then(|text| text.parse().ok()).unwrap_or_else(|| self.properties.long(key))
    }
}

/// One wrong key.
pub(crate) fn problem(key: &str, message: impl Into<String>) -> ConfigProblem {
    ConfigProblem { key: key.to_owned(), message: message.into() }
}
