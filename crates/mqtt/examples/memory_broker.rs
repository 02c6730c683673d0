//! An MQTT broker whose log is this process's memory: `memory_broker [ADDRESS…]`. Stops when standard input ends.

use std::sync::Arc;
use std::time::Duration;

use mqtt::testing::{MemoryDoor, Store};
use mqtt::{ListenerConfig, MqttConfig, Server};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = MqttConfig { sys_interval: Some(Duration::from_secs(1)), ..MqttConfig::default() };
    for address in std::env::args().skip(1) {
        config.listeners.push(ListenerConfig::new(address.parse()?));
    }
    if config.listeners.is_empty() {
        config.listeners.push(ListenerConfig::new(([127, 0, 0, 1], 1883).into()));
    }
    let door = MemoryDoor::open(Arc::new(Store::default()));
    let server = Server::start(config, Arc::new(door)).await?;
    println!("{:?}", server.addresses());
    let mut end = Vec::new();
    tokio::io::stdin().read_to_end(&mut end).await?;
    server.shutdown().await;
    Ok(())
}
