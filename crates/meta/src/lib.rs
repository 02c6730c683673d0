//! Cluster state: metadata records, the image they add up to, and the controller that decides changes.
//!
//! Duty: what exists (topics, partitions, configurations, access control
//! entries, quotas, SCRAM credentials, the broker, producer id blocks), kept as records of
//! `__cluster_metadata-0` in Kafka's own format and replayed into an immutable [`Image`]. [`controller`] turns
//! requests into records without changing anything; [`store`] reads and writes the metadata log; [`config`] is
//! the one table of what can be configured.
//!
//! Main types: [`Image`], [`MetaRecord`], [`config::ConfigDef`], [`MetaProperties`].
//!
//! Not its duty: the partitions' data (`log`, `broker`), sockets, waiting for durability.
//!
//! ```
//! use meta::{Image, controller};
//! let properties = meta::config::BrokerProperties::default();
//! let place = controller::Placement { nodes: &[1], directory: kafka_codec::Uuid([1; 16]), properties: &properties };
//! let new = controller::NewTopic { name: "t".into(), partitions: 3, replication_factor: -1, ..Default::default() };
//! let plan = controller::create_topic(&Image::default(), &place, &new, kafka_codec::Uuid([2; 16])).unwrap();
//! assert_eq!(plan.partitions, 3);
//! ```

pub mod acl;
pub mod client_metrics;
pub mod config;
pub mod controller;
mod error;
mod image;
mod properties;
pub mod quota;
mod record;
pub mod scram;
pub mod store;

pub use error::MetaError;
pub use image::{ConfigResource, ConfigResourceKind, Image, PartitionState, Registration, Topic};
pub use properties::{META_PROPERTIES, MetaProperties};
pub use record::{MetaRecord, decode, encode};
