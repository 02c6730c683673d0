//! TLS and SASL on the client's side, by Kafka's own property names.

mod ec_key;
pub mod jaas;
mod sasl;
pub mod scram;
pub mod store;
mod tls;

pub(crate) use sasl::{Login, SaslSettings};
pub(crate) use tls::TlsSettings;
pub use tls::system_authorities;

use crate::config::Values;
use crate::error::ConfigError;

/// How connections are protected, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecuritySettings {
    /// TLS, where it is spoken.
    pub(crate) tls: Option<TlsSettings>,
    /// SASL, where it is asked for.
    pub(crate) sasl: Option<SaslSettings>,
}

impl SecuritySettings {
    pub(crate) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let protocol = values
            .one_of_any_case(
                "security.protocol",
                "PLAINTEXT",
                &["SASL_SSL", "PLAINTEXT", "SSL", "SASL_PLAINTEXT"],
            )?
            .to_ascii_uppercase();
        // Asked for in any case, so that keys that are not needed are no unknown ones.
        let tls = TlsSettings::read(values)?;
        let sasl = if protocol.starts_with("SASL") { Some(SaslSettings::read(values)?) } else { None };
        Ok(Self { tls: protocol.ends_with("SSL").then_some(tls), sasl })
    }
}

/// TLS as a Kafka client with these properties speaks it (`ssl.truststore.location`, `ssl.keystore.key` …), for other
/// protocols' connections. The files are read now.
///
/// # Errors
/// What is wrong with a property or a file.
pub fn tls_client(properties: crate::config::Properties) -> Result<rustls::ClientConfig, ConfigError> {
    let settings = TlsSettings::read(&mut Values::new(properties))?;
    settings.client_config().map_err(|error| ConfigError::Message(error.to_string()))
}

/// One SASL exchange as its client sees it, apart from any connection.
#[derive(Debug)]
pub struct Exchange {
    login: Option<Login>,
    first: Vec<u8>,
}

impl Exchange {
    /// Begins the exchange that a client with these properties would have.
    ///
    /// # Errors
    /// [`ConfigError`] when they ask for none.
    pub fn from_properties(properties: crate::config::Properties) -> Result<Self, ConfigError> {
        let client = crate::ClientConfig::from_properties(properties)?;
        let settings = client
            .security
            .sasl
            .ok_or_else(|| ConfigError::Message("security.protocol asks for no SASL".to_owned()))?;
        let (login, first) = settings.begin().map_err(ConfigError::Message)?;
        Ok(Self { login: Some(login), first })
    }

    /// The first message.
    pub fn first(&self) -> Vec<u8> {
        self.first.clone()
    }

    /// What the server said leads to the next message, or to the end.
    ///
    /// # Errors
    /// The server did not prove itself, or makes no sense.
    pub fn answer(&mut self, answer: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let login = self.login.take().ok_or("the exchange is over")?;
        Ok(login.next(answer)?.map(|(login, message)| {
            self.login = Some(login);
            message
        }))
    }
}
