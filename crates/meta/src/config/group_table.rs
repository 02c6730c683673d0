//! Group configurations, by name: Kafka 4.3's for consumer groups. Each has a broker configuration as its default, and
//! limits in two more.

use super::definition::ConfigType::Int;
use super::definition::Update::ClusterWide;
use super::definition::Validator::AtLeast;
use super::definition::{ConfigDef, row};

/// Group configurations, by name.
#[rustfmt::skip]
pub(super) static GROUP_CONFIGS: &[ConfigDef] = &[
    row("consumer.assignment.interval.ms", Int, Some("1000"), AtLeast(0.0), Some("group.consumer.assignment.interval.ms"), ClusterWide, true, "Shortest pause between two assignments of a consumer group, in milliseconds."),
    row("consumer.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1.0), Some("group.consumer.heartbeat.interval.ms"), ClusterWide, true, "How often members of a consumer group are asked to heartbeat, in milliseconds."),
    row("consumer.session.timeout.ms", Int, Some("45000"), AtLeast(1.0), Some("group.consumer.session.timeout.ms"), ClusterWide, true, "Time without a heartbeat after which a member of a consumer group is dropped, in milliseconds."),
];
