//! Deciding changes: pure functions from the image and a request to the records that carry it out.
//!
//! Nothing here changes anything. The caller appends the records to the metadata log and applies them to the
//! image when they are durable.

mod acls;
mod broker;
mod configs;
mod quotas;
mod scram;
mod topics;

pub use acls::{ACL_CHANGES_MAX, create_acl, delete_acl, find_acls};
pub use broker::{PRODUCER_ID_BLOCK, RegisteredEndpoint, next_producer_ids, register_broker};
pub use configs::{ConfigChange, ConfigOp, alter_configs, check_topic_configs};
pub use quotas::{QuotaChange, alter_quotas};
pub use scram::{check_scram_upsertion, delete_scram, upsert_scram};
pub use topics::{
    CLIENT_TELEMETRY_TOPIC, INTERNAL_TOPICS, MQTT_PREFIX, NewPartitions, NewTopic, Placement, TopicPlan,
    check_topic_name, create_partitions, create_topic, delete_topic, is_internal,
};

#[cfg(test)]
mod tests;
