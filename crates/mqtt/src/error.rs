//! Why the server did not start, or a session could not be kept.

use std::net::SocketAddr;

use client::door::DoorError;

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
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
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
