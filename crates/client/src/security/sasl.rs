//! SASL: as whom the client logs in, and the exchange.

use std::fmt;
use std::path::PathBuf;

use super::jaas::JaasEntry;
use super::scram::{ScramClient, ScramMechanism};
use crate::config::Values;
use crate::error::ConfigError;

/// As whom the client logs in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SaslSettings {
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Plain {
        user: String,
        password: String,
    },
    Scram {
        mechanism: ScramMechanism,
        user: String,
        password: String,
    },
    /// The token is read for each connection: somebody else keeps it fresh.
    OauthBearer {
        token_file: PathBuf,
    },
}

/// Without what is secret.
impl fmt::Debug for SaslSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslSettings").field("mechanism", &self.mechanism()).finish_non_exhaustive()
    }
}

const JAAS: &str = "sasl.jaas.config";
const TOKEN: &str = "sasl.oauthbearer.token.endpoint.url";

fn invalid(name: &str, value: &str, reason: &str) -> ConfigError {
    ConfigError::Invalid { name: name.into(), value: value.into(), reason: reason.into() }
}

impl SaslSettings {
    pub(super) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let mechanism = values.string("sasl.mechanism", "GSSAPI")?.trim().to_owned();
        if mechanism == "OAUTHBEARER" {
            let url = values.string(TOKEN, "")?;
            values.optional(JAAS)?;
            let Some(path) = url.trim().strip_prefix("file:") else {
                return Err(invalid(TOKEN, &url, "this client reads tokens from files: file:/path/to/token"));
            };
            let token_file = PathBuf::from(format!("/{}", path.trim_start_matches('/')));
            return Ok(Self { kind: Kind::OauthBearer { token_file } });
        }
        let scram = ScramMechanism::from_name(&mechanism);
        if mechanism != "PLAIN" && scram.is_none() {
            let reason = "this client knows PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER";
            return Err(invalid("sasl.mechanism", &mechanism, reason));
        }
        let Some(text) = values.optional(JAAS)? else {
            return Err(ConfigError::Message(
                "Could not find a 'KafkaClient' entry in the JAAS configuration. System property \
                 'java.security.auth.login.config' is not set: give sasl.jaas.config"
                    .to_owned(),
            ));
        };
        // The value is a secret and stays out of the message.
        let entry = JaasEntry::parse(&text).map_err(|why| {
            ConfigError::Message(format!("Invalid value for configuration {JAAS}: it {why}"))
        })?;
        let option = |name: &str| {
            entry.options.get(name).cloned().ok_or_else(|| {
                ConfigError::Message(format!("Invalid value for configuration {JAAS}: it has no {name}"))
            })
        };
        let (user, password) = (option("username")?, option("password")?);
        let kind = match scram {
            Some(mechanism) => Kind::Scram { mechanism, user, password },
            None => Kind::Plain { user, password },
        };
        Ok(Self { kind })
    }

    /// Name of the mechanism.
    pub(crate) fn mechanism(&self) -> &'static str {
        match &self.kind {
            Kind::Plain { .. } => "PLAIN",
            Kind::Scram { mechanism, .. } => mechanism.name(),
            Kind::OauthBearer { .. } => "OAUTHBEARER",
        }
    }

    /// Begins an exchange: the state, and the first message.
    pub(crate) fn begin(&self) -> Result<(Login, Vec<u8>), String> {
        match &self.kind {
            Kind::Plain { user, password } => Ok((Login::Done, format!("\0{user}\0{password}").into_bytes())),
            Kind::Scram { mechanism, user, password } => {
                let client = ScramClient::new(*mechanism, user, password)?;
                let first = client.first();
                Ok((Login::ScramFirst(client), first))
            }
            Kind::OauthBearer { token_file } => {
                let token = std::fs::read_to_string(token_file)
                    .map_err(|error| format!("{}: {error}", token_file.display()))?;
                let first = format!("n,,\u{1}auth=Bearer {}\u{1}\u{1}", token.trim());
                Ok((Login::Token, first.into_bytes()))
            }
        }
    }
}

/// Where an exchange stands.
#[derive(Debug)]
pub(crate) enum Login {
    /// The server's answer ends it.
    Done,
    /// The server will tell salt and iterations.
    ScramFirst(ScramClient),
    /// The server will prove itself.
    ScramLast(ScramClient),
    /// The server says nothing to a good token, and why to a bad one.
    Token,
}

impl Login {
    /// What the server said leads to the next message, or to the end.
    pub(crate) fn next(self, answer: &[u8]) -> Result<Option<(Self, Vec<u8>)>, String> {
        match self {
            Self::Done => Ok(None),
            Self::ScramFirst(mut client) => {
                let message = client.last(answer)?;
                Ok(Some((Self::ScramLast(client), message)))
            }
            Self::ScramLast(client) => client.check(answer).map(|()| None),
            Self::Token if answer.is_empty() => Ok(None),
            // RFC 7628: the client says that it has heard, and the server ends it.
            Self::Token => Ok(Some((Self::Done, vec![1]))),
        }
    }
}
