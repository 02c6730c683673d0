//! Deciding changes: pure functions from the image and a request to the records that carry it out.
//!
//! Nothing here changes anything. The caller appends the records to the metadata log and applies them to the
//! image when they are durable.

mod broker;
mod configs;
mod topics;

pub use broker::{PRODUCER_ID_BLOCK, next_producer_ids, register_broker};
pub use configs::{ConfigChange, ConfigOp, alter_configs, check_topic_configs};
pub use topics::{
    INTERNAL_TOPICS, NewPartitions, NewTopic, Placement, TopicPlan, check_topic_name, create_partitions,
    create_topic, delete_topic, is_internal,
};

#[cfg(test)]
mod tests;
