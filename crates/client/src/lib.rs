//! The door's traits, and a Kafka client in pure Rust on `kafka-codec`, for any Kafka cluster.
//!
//! - [`door`]: what everything above the commit log asks of it.
//! - [`remote`]: the door of any Kafka cluster.
//! - [`Producer`], [`Consumer`], [`ShareConsumer`], [`Admin`]: Kafka's clients, with Kafka's property names, defaults
//!   and error texts; configured by [`ProducerConfig`], [`ConsumerConfig`], [`ShareConsumerConfig`], [`AdminConfig`].
//!
//! It does not know which broker it talks to: versions are negotiated per connection. Payloads are bytes;
//! serializers are the caller's.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::Error> {
//! let producer = client::Producer::new(client::ProducerConfig::new("localhost:9092")?)?;
//! let delivery = producer.send(client::ProducerRecord::new("sensors", "21.5").key("kitchen")).await?;
//! println!("written at offset {}", delivery.await?.offset);
//! # Ok(()) }
//! ```

pub mod admin;
mod cluster;
pub mod config;
mod connection;
pub mod consumer;
pub mod door;
mod error;
mod group_offsets;
mod list_offsets;
mod metadata;
pub mod producer;
mod record;
pub mod remote;
mod retry;
pub mod security;
pub mod share_consumer;

pub use admin::Admin;
pub use config::{
    AcknowledgementMode, AcquireMode, AdminConfig, ClientConfig, ConsumerConfig, ProducerConfig,
    ShareConsumerConfig,
};
pub use consumer::Consumer;
pub use door::{Header, TopicPartition};
pub use error::{BrokerError, ConfigError, Error, Result};
pub use producer::Producer;
pub use record::{
    ConsumerRecord, OffsetAndMetadata, OffsetAndTimestamp, ProducerRecord, RecordMetadata, TimestampType,
};
pub use share_consumer::{AcknowledgeType, Acknowledged, ShareConsumer, ShareRecord};
