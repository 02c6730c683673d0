//! Cluster state: metadata records, the image they add up to, and the controller that is the only writer.
//!
//! Duty: what exists (topics, partitions, configurations, the broker, producer id blocks), kept as records of
//! `__cluster_metadata-0` in Kafka's own format and replayed into an immutable image.
//!
//! Not its duty: the partitions' data (`log`, `broker`), sockets.

pub mod config;
