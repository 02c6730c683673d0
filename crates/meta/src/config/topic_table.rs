//! Topic configurations: Kafka 4.3's names, types, defaults and limits, and our own.

use super::definition::ConfigType::{Boolean, Double, Int, List, Long, String};
use super::definition::Update::ClusterWide;
use super::definition::Validator::{Any, AtLeast, OneOf, Range};
use super::definition::{ConfigDef, row};

/// Topic configurations, by name.
// One row a line: a table reads better than 300 struct literals.
#[rustfmt::skip]
pub(super) static TOPIC_CONFIGS: &[ConfigDef] = &[
    row("cleanup.policy", List, Some("delete"), OneOf(&["compact", "delete"]), Some("log.cleanup.policy"), ClusterWide, true, "What happens to old segments: delete them, compact them to the latest record per key, or both."),
    row("compression.gzip.level", Int, Some("-1"), Range(-1.0, 9.0), Some("compression.gzip.level"), ClusterWide, true, "Level of gzip where compression.type is gzip; -1 is gzip's own default."),
    row("compression.lz4.level", Int, Some("9"), Range(1.0, 17.0), Some("compression.lz4.level"), ClusterWide, false, "Level of LZ4; this broker's LZ4 has one level, the fast one."),
    row("compression.type", String, Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Some("compression.type"), ClusterWide, true, "Codec that stored batches must have; producer keeps what the producer chose."),
    row("compression.zstd.level", Int, Some("3"), Range(-131072.0, 22.0), Some("compression.zstd.level"), ClusterWide, true, "Level of Zstandard where compression.type is zstd."),
    row("delete.retention.ms", Long, Some("86400000"), AtLeast(0.0), Some("log.cleaner.delete.retention.ms"), ClusterWide, true, "How long a compacted topic keeps delete markers (tombstones), in milliseconds."),
    row("file.delete.delay.ms", Long, Some("60000"), AtLeast(0.0), Some("log.segment.delete.delay.ms"), ClusterWide, true, "How long a segment's files stay after the log gave them up, in milliseconds."),
    row("flush.messages", Long, Some("9223372036854775807"), AtLeast(1.0), Some("log.flush.interval.messages"), ClusterWide, true, "Kafka's fsync interval in records. Every record is synced before it is acknowledged, whatever stands here; only with write.caching is it not, and there 1 brings the sync back and larger numbers have no effect."),
    row("flush.ms", Long, Some("9223372036854775807"), AtLeast(0.0), Some("log.flush.interval.ms"), ClusterWide, false, "Kafka's fsync interval in milliseconds. Every record is synced before it is acknowledged, whatever stands here; with write.caching none is, but for closed segments."),
    row("follower.replication.throttled.replicas", List, Some(""), Any, None, ClusterWide, false, "Replicas whose replication is throttled on the follower's side; one broker replicates nothing."),
    row("index.interval.bytes", Int, Some("4096"), AtLeast(0.0), Some("log.index.interval.bytes"), ClusterWide, true, "Bytes of log between two entries of the offset index."),
    row("leader.replication.throttled.replicas", List, Some(""), Any, None, ClusterWide, false, "Replicas whose replication is throttled on the leader's side; one broker replicates nothing."),
    row("local.retention.bytes", Long, Some("-2"), AtLeast(-2.0), Some("log.local.retention.bytes"), ClusterWide, false, "Size kept locally of a topic in tiered storage; there is none here."),
    row("local.retention.ms", Long, Some("-2"), AtLeast(-2.0), Some("log.local.retention.ms"), ClusterWide, false, "Time kept locally of a topic in tiered storage; there is none here."),
    row("max.compaction.lag.ms", Long, Some("9223372036854775807"), AtLeast(1.0), Some("log.cleaner.max.compaction.lag.ms"), ClusterWide, true, "Longest time a record may stay uncompacted in a compacted topic, in milliseconds."),
    row("max.message.bytes", Int, Some("1048588"), AtLeast(0.0), Some("message.max.bytes"), ClusterWide, true, "Largest record batch accepted, in bytes, as it came (after compression)."),
    row("message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0.0), Some("log.message.timestamp.after.max.ms"), ClusterWide, true, "How far a record's timestamp may lie in the future, in milliseconds."),
    row("message.timestamp.before.max.ms", Long, Some("9223372036854775807"), AtLeast(0.0), Some("log.message.timestamp.before.max.ms"), ClusterWide, true, "How far a record's timestamp may lie in the past, in milliseconds."),
    row("message.timestamp.type", String, Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Some("log.message.timestamp.type"), ClusterWide, true, "Whether records keep the producer's time (CreateTime) or get the broker's (LogAppendTime)."),
    row("min.cleanable.dirty.ratio", Double, Some("0.5"), Range(0.0, 1.0), Some("log.cleaner.min.cleanable.ratio"), ClusterWide, true, "Share of a compacted log that must be dirty before it is compacted."),
    row("min.compaction.lag.ms", Long, Some("0"), AtLeast(0.0), Some("log.cleaner.min.compaction.lag.ms"), ClusterWide, true, "Shortest time a record stays uncompacted in a compacted topic, in milliseconds."),
    row("min.insync.replicas", Int, Some("1"), AtLeast(1.0), Some("min.insync.replicas"), ClusterWide, true, "Replicas that must have a record before acks=all is answered."),
    row("preallocate", Boolean, Some("false"), Any, Some("log.preallocate"), ClusterWide, true, "Whether the room of a new segment is reserved on disk whole at once."),
    row("remote.log.copy.disable", Boolean, Some("false"), Any, None, ClusterWide, false, "Whether a topic in tiered storage becomes read-only there; there is none here."),
    row("remote.log.delete.on.disable", Boolean, Some("false"), Any, None, ClusterWide, false, "Whether tiered data goes when tiering is turned off; there is none here."),
    row("remote.storage.enable", Boolean, Some("false"), Any, None, ClusterWide, false, "Whether old segments move to tiered storage; there is none here: true is refused."),
    row("retention.bytes", Long, Some("-1"), Any, Some("log.retention.bytes"), ClusterWide, true, "Size of a partition beyond which its oldest segments are deleted, in bytes; -1 is no limit."),
    row("retention.ms", Long, Some("604800000"), AtLeast(-1.0), Some("log.retention.ms"), ClusterWide, true, "Age beyond which segments are deleted, in milliseconds; -1 is no limit."),
    row("segment.bytes", Int, Some("1073741824"), AtLeast(1048576.0), Some("log.segment.bytes"), ClusterWide, true, "Size at which a new segment is begun, in bytes."),
    row("segment.index.bytes", Int, Some("10485760"), AtLeast(4.0), Some("log.index.size.max.bytes"), ClusterWide, true, "Size of an index at which a new segment is begun, in bytes."),
    row("segment.jitter.ms", Long, Some("0"), AtLeast(0.0), Some("log.roll.jitter.ms"), ClusterWide, true, "Largest random amount taken from segment.ms, in milliseconds."),
    row("segment.ms", Long, Some("604800000"), AtLeast(1.0), Some("log.roll.ms"), ClusterWide, true, "Age at which a new segment is begun, in milliseconds."),
    row("unclean.leader.election.enable", Boolean, Some("false"), Any, Some("unclean.leader.election.enable"), ClusterWide, false, "Whether a replica that is not in sync may become leader when no other is left; with one broker there is no other."),
    row("write.caching", Boolean, Some("false"), Any, Some("log.write.caching"), ClusterWide, true, "Whether a record may be acknowledged once it is in the page cache (Kafka's own habit) instead of on stable storage."),
];
