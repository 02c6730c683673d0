//! SASL on the broker's side: mechanisms, exchanges, and what a session is held to.

mod config;
mod endpoint;
mod jwks;
mod oauthbearer;
mod plain;
mod scram;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use meta::scram::ScramMechanism;

pub(crate) use config::SaslConfig;
pub(crate) use scram::credential;
pub(crate) use session::{SaslSession, Turn};

use crate::metadata::State;

/// A mechanism that this broker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    Scram(ScramMechanism),
    OauthBearer,
}

impl Mechanism {
    const ALL: [Self; 4] = [
        Self::Plain,
        Self::Scram(ScramMechanism::Sha256),
        Self::Scram(ScramMechanism::Sha512),
        Self::OauthBearer,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(scram) => scram.name(),
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }
}

/// Where an exchange stands after a message of the client.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Send this and wait for more.
    Continue(Bytes),
    /// The client is who it says.
    Done { answer: Bytes, user: String, expires_ms: Option<i64> },
    /// It is not; the words are for the client.
    Failed(String),
}

/// One exchange.
#[derive(Debug)]
enum Exchange {
    Plain,
    Scram(Box<scram::ScramServer>),
    OauthBearer(oauthbearer::OauthServer),
}

impl Exchange {
    fn new(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::Scram(scram) => Self::Scram(Box::new(scram::ScramServer::new(scram))),
            Mechanism::OauthBearer => Self::OauthBearer(oauthbearer::OauthServer::default()),
        }
    }

    fn step(&mut self, config: &Arc<SaslConfig>, state: &State, message: &[u8], now_ms: i64) -> Step {
        match self {
            Self::Plain => plain::check(&config.plain_users, message),
            Self::Scram(server) => server.step(&state.image, &config.secret, message),
            Self::OauthBearer(server) => match &config.oauth {
                Some(oauth) => server.step(oauth, message, now_ms),
                None => Step::Failed("OAUTHBEARER is not configured".into()),
            },
        }
    }
}
