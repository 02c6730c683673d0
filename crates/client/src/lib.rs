//! The door's traits, and a Kafka client in pure Rust on `kafka-codec`.
pub mod door;
