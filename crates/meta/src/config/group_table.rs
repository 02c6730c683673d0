//! Group configurations, by name: Kafka 4.3's for consumer and share groups. A number has a broker configuration as its
//! default, and limits in two more.

use super::definition::ConfigType::{Boolean, Int, String};
use super::definition::Update::ClusterWide;
use super::definition::Validator::{Any, AtLeast, AutoOffsetReset, OneOf};
use super::definition::{ConfigDef, row};

/// Group configurations, by name.
#[rustfmt::skip]
pub(super) static GROUP_CONFIGS: &[ConfigDef] = &[
    row("consumer.assignment.interval.ms", Int, Some("1000"), AtLeast(0.0), Some("group.consumer.assignment.interval.ms"), ClusterWide, true, "Shortest pause between two assignments of a consumer group, in milliseconds."),
    row("consumer.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1.0), Some("group.consumer.heartbeat.interval.ms"), ClusterWide, true, "How often members of a consumer group are asked to heartbeat, in milliseconds."),
    row("consumer.session.timeout.ms", Int, Some("45000"), AtLeast(1.0), Some("group.consumer.session.timeout.ms"), ClusterWide, true, "Time without a heartbeat after which a member of a consumer group is dropped, in milliseconds."),
    row("share.assignment.interval.ms", Int, Some("1000"), AtLeast(0.0), Some("group.share.assignment.interval.ms"), ClusterWide, true, "Shortest pause between two assignments of a share group, in milliseconds."),
    row("share.auto.offset.reset", String, Some("latest"), AutoOffsetReset, None, ClusterWide, true, "Where a share group begins with a partition: earliest, latest, or by_duration: and an ISO 8601 duration before now."),
    row("share.delivery.count.limit", Int, Some("5"), AtLeast(2.0), Some("group.share.delivery.count.limit"), ClusterWide, true, "How often a record is delivered to the group before it is given up."),
    row("share.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1.0), Some("group.share.heartbeat.interval.ms"), ClusterWide, true, "How often members of a share group are asked to heartbeat, in milliseconds."),
    row("share.isolation.level", String, Some("read_uncommitted"), OneOf(&["read_committed", "read_uncommitted"]), None, ClusterWide, true, "Whether the group gets records of aborted transactions."),
    row("share.partition.max.record.locks", Int, Some("2000"), AtLeast(100.0), Some("group.share.partition.max.record.locks"), ClusterWide, true, "Records of one partition that may be out with members of the group at a time."),
    row("share.record.lock.duration.ms", Int, Some("30000"), AtLeast(1000.0), Some("group.share.record.lock.duration.ms"), ClusterWide, true, "How long a record is a member's before it is delivered again, in milliseconds."),
    row("share.renew.acknowledge.enable", Boolean, Some("true"), Any, None, ClusterWide, true, "Whether a member may lengthen its time for a record."),
    row("share.session.timeout.ms", Int, Some("45000"), AtLeast(1.0), Some("group.share.session.timeout.ms"), ClusterWide, true, "Time without a heartbeat after which a member of a share group is dropped, in milliseconds."),
];
