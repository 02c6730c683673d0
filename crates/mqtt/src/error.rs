//! Why the server did not start, or a session could not be kept.

use client::door::DoorError;

use crate::config::ListenAddress;
use crate::tls::TlsError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MqttError {
    /// The configuration contradicts itself or the protocol.
    #[error("invalid MQTT configuration: {0}")]
    Config(String),
    /// A listening socket could not be opened.
    #[error("cannot listen for MQTT on {address}")]
    Listen {
        /// The address asked for.
        address: ListenAddress,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A listener's TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The log behind the door failed.
    #[error("commit log")]
    Door(#[from] DoorError),
    /// A record of ours in the log cannot be understood.
    #[error("corrupt record in {topic}: {what}")]
    Corrupt {
        /// Internal topic.
        topic: &'static str,
        /// What is wrong.
        what: String,
    },
}
