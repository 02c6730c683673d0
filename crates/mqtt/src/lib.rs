//! The MQTT broker: MQTT 3.1, 3.1.1 and 5 over the commit log.
//!
//! Duty: listeners, sessions, subscriptions, retained messages and wills; every message published becomes a
//! record behind the [`Door`](client::door::Door), every message delivered comes from there. Main types:
//! [`Server`], [`MqttHandle`], [`MqttConfig`].
//!
//! Not its duty: storing anything itself, speaking Kafka, reading configuration files, printing.
//!
//! ```no_run
//! # async fn example(door: std::sync::Arc<dyn client::door::Door>) -> Result<(), mqtt::MqttError> {
//! let mut config = mqtt::MqttConfig::default();
//! config.listeners.push(mqtt::ListenerConfig::new(([127, 0, 0, 1], 1883).into()));
//! let server = mqtt::Server::start(config, door).await?;
//! println!("listening on {:?}", server.addresses());
//! server.shutdown().await;
//! # Ok(()) }
//! ```

mod auth;
mod bridge;
mod broker;
mod config;
mod dead_letter;
mod deliver;
mod dynsec;
mod error;
mod exposed;
pub mod mapping;
mod message;
mod net;
mod nodes;
mod packet;
mod retained;
mod route;
mod server;
mod session;
mod shares;
mod stats;
mod subscriptions;
mod sys;
pub mod testing;
mod timers;
pub mod tls;
mod will;

pub use auth::{
    Access, AclFile, Authenticator, Authorizer, Credentials, Hashing, PasswordFile, PasswordHash, Principal,
    ScramSecret, Verdict,
};
pub use bridge::{BridgeConfig, BridgeDirection, BridgeStart, BridgeTls, BridgeTopic};
pub use config::{
    AckLevel, AutoCreate, Limits, ListenAddress, ListenerConfig, MqttConfig, Redirect, RouteConfig, RouteKey,
    Transport,
};
pub use dead_letter::DeadLetters;
pub use dynsec::{DynamicRights, DynamicSecurity, DynamicSecurityError, DynamicUsers};
pub use error::MqttError;
pub use net::websocket;
pub use server::{Listening, LogTopic, MqttHandle, Server};
