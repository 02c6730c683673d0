//! The forwarder between any MQTT broker and any Kafka cluster: `tributary bridge`.
//!
//! - [`BridgeConfig`] says which broker, which cluster, and which [`Route`]s between them; it is read from a TOML file.
//! - [`run`] forwards until it is told to stop. Each connection of a route is a lane: a thread with an MQTT session
//!   and a Kafka client of its own, so that lanes do not hold each other up.
//! - [`Stats`] counts; [`http`] tells it to Prometheus and to health checks.
//!
//! MQTT to Kafka (`to_kafka`): a message is acknowledged to the MQTT broker when Kafka has acknowledged the record with
//! `acks=all`; a QoS 2 message becomes one record exactly, by a transaction that holds the record and the packet
//! identifier. Kafka to MQTT (`to_mqtt`): an offset is committed when the MQTT broker has acknowledged the message.
//! The mapping is that of `docs/mqtt-kafka-mapping.md`.
//!
//! Not here: command lines and the terminal.

mod config;
mod dead_letter;
mod dial;
mod error;
pub mod http;
mod kafka;
mod record;
mod run;
mod stats;
mod to_kafka;
mod to_mqtt;

pub use config::{BridgeConfig, MqttSide, Route, ToKafkaRoute, ToMqttRoute};
pub use error::BridgeError;
pub use run::{Running, Stop, run};
pub use stats::{RouteStats, Stats};
