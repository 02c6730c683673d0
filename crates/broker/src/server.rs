//! Starting and stopping the broker.

use std::net::SocketAddr;
use std::sync::Arc;

use client::door::Door;

use crate::config::{BrokerConfig, Endpoint};
use crate::error::BrokerError;

/// One listener that accepts connections.
#[derive(Clone, Debug)]
pub struct BoundListener {
    /// Listener name (`PLAINTEXT`, `INTERNAL` …).
    pub name: String,
    /// The address bound; the port is the real one when 0 was asked for.
    pub address: SocketAddr,
    /// What clients of this listener are told to connect to.
    pub advertised: Endpoint,
}

/// Starts brokers.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// Opens the data directory (recovering what a crash left), binds all listeners and begins to serve.
    ///
    /// # Errors
    /// [`BrokerError`] when a listener cannot be bound, or the data directory cannot be used. Nothing keeps
    /// running then.
    pub async fn start(config: BrokerConfig) -> Result<BrokerHandle, BrokerError> {
        let _ = config;
        Err(BrokerError::Config("not built yet".into()))
    }
}

/// A running broker.
pub struct BrokerHandle {
    listeners: Vec<BoundListener>,
    door: Arc<dyn Door>,
    cluster_id: String,
}

impl BrokerHandle {
    /// The listeners in the order of the configuration.
    pub fn listeners(&self) -> &[BoundListener] {
        &self.listeners
    }

    /// The cluster's id: 22 characters of URL-safe base64.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The commit log for code in this process.
    pub fn door(&self) -> Arc<dyn Door> {
        Arc::clone(&self.door)
    }

    /// Stops accepting, closes connections, flushes every log and marks the shutdown as clean.
    pub async fn shutdown(self) {}
}
