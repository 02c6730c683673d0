//! The Kafka server: listeners, one handler per API, partitions on the log, and the door in process.
//!
//! Duty: speak the Kafka protocol to unmodified clients over the commit log of this node, and offer the same
//! log to code in this process through [`client::door::Door`].
//!
//! Main types: [`BrokerConfig`] (everything `server.properties` can say that this broker honours),
//! [`Broker::start`], [`BrokerHandle`].
//!
//! Not its duty: how bytes lie on disk (`log`), what the cluster state is (`meta`), what a consumer group
//! decides (`coordinator`), MQTT.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let (config, _notes) = broker::BrokerConfig::from_properties([
//!     ("log.dirs", "/var/lib/tributary"), ("listeners", "PLAINTEXT://127.0.0.1:9092")])?;
//! let handle = broker::Broker::start(config).await?;
//! println!("Kafka listens on {}", handle.listeners()[0].address);
//! handle.shutdown().await;
//! # Ok(()) }
//! ```

mod api;
mod authorize;
pub mod config;
mod context;
mod dispatch;
mod error;
mod groups;
mod local;
mod metadata;
mod net;
mod node;
mod producer_ids;
mod quota;
mod replica;
mod security;
mod server;
mod shares;
mod state_topic;
mod telemetry;
mod txns;

pub use config::{
    BrokerConfig, ConfigNote, ConfigProblem, ConfigProblems, Endpoint, ListenerConfig, SecurityProtocol,
};
pub use error::BrokerError;
pub use server::{BoundListener, Broker, BrokerHandle};
