//! What clients ask of a group, free of wire versions: the broker's edge maps API versions to these.

use bytes::Bytes;
use kafka_codec::{ErrorCode, Uuid};

use crate::modern::Assignment;
use crate::reply::{
    Committed, DescribedGroup, DescribedModernGroup, Fetched, HeartbeatAnswer, Joined, Left, Listed,
    NamedAssignment, OffsetsDeleted, Response, ShareTopics, Synced,
};
use crate::txn::Producer;

/// One request to the groups of a shard. All groups named in it belong to this shard.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// JoinGroup.
    Join(JoinGroup),
    /// SyncGroup.
    Sync(SyncGroup),
    /// Heartbeat.
    Heartbeat(Heartbeat),
    /// LeaveGroup.
    Leave(LeaveGroup),
    /// OffsetCommit.
    OffsetCommit(OffsetCommit),
    /// TxnOffsetCommit: counts when the producer's transaction is committed.
    TxnOffsetCommit(OffsetCommit, Producer),
    /// OffsetFetch of one group.
    OffsetFetch(OffsetFetch),
    /// OffsetDelete.
    OffsetDelete(OffsetDelete),
    /// DescribeGroups.
    Describe(Vec<String>),
    /// ListGroups.
    List(ListGroups),
    /// DeleteGroups.
    Delete(Vec<String>),
    /// ConsumerGroupHeartbeat.
    ConsumerHeartbeat(ConsumerHeartbeat),
    /// ConsumerGroupDescribe.
    ConsumerDescribe(Vec<String>),
    /// ShareGroupHeartbeat.
    ShareHeartbeat(ShareHeartbeat),
    /// ShareGroupDescribe.
    ShareDescribe(Vec<String>),
    /// Which share partitions of a group have state.
    ShareTopics {
        /// Group id.
        group: String,
        /// Refused when the group has members.
        must_be_empty: bool,
    },
    /// Lists partitions whose state is about to be set (AlterShareGroupOffsets); the group must be without members.
    ShareAdd {
        /// Group id.
        group: String,
        /// Topics and partitions.
        topics: NamedAssignment,
    },
    /// Takes topics whose state was deleted off the list (DeleteShareGroupOffsets).
    ShareRemove {
        /// Group id.
        group: String,
        /// Ids of the topics.
        topics: Vec<Uuid>,
    },
}

/// Settings of one consumer or share group: its own, or the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// After so long without a heartbeat a member is dropped.
    pub session_timeout_ms: i32,
    /// How often members are asked to heartbeat.
    pub heartbeat_interval_ms: i32,
    /// Shortest pause between two target assignments.
    pub assignment_interval_ms: i32,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self { session_timeout_ms: 45_000, heartbeat_interval_ms: 5_000, assignment_interval_ms: 1_000 }
    }
}

/// ConsumerGroupHeartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerHeartbeat {
    /// Group id.
    pub group: String,
    /// Member id.
    pub member: String,
    /// Version ≥ 1: the member chooses its id itself.
    pub member_id_required: bool,
    /// Epoch; 0 to join, -1 to leave, -2 for a static member that leaves for a while.
    pub epoch: i32,
    /// Static member's name.
    pub instance: Option<String>,
    /// Rack.
    pub rack: Option<String>,
    /// Rebalance timeout, -1 = as before.
    pub rebalance_timeout_ms: i32,
    /// Topics subscribed to, `None` = as before.
    pub topics: Option<Vec<String>>,
    /// Regular expression subscribed to, `None` = as before, empty = none.
    pub regex: Option<String>,
    /// Assignor wished for.
    pub assignor: Option<String>,
    /// Partitions the member has, `None` = as before.
    pub owned: Option<Assignment>,
    /// Client id of the connection.
    pub client_id: String,
    /// Client's address as Kafka writes it.
    pub client_host: String,
    /// Random id from the runtime, used if a member id must be made.
    pub fresh_id: String,
    /// The group's settings.
    pub settings: GroupSettings,
}

/// ShareGroupHeartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareHeartbeat {
    /// Group id.
    pub group: String,
    /// Member id.
    pub member: String,
    /// Epoch; 0 to join, -1 to leave.
    pub epoch: i32,
    /// Rack.
    pub rack: Option<String>,
    /// Topics subscribed to, `None` = as before.
    pub topics: Option<Vec<String>>,
    /// Client id of the connection.
    pub client_id: String,
    /// Client's address as Kafka writes it.
    pub client_host: String,
    /// The group's settings.
    pub settings: GroupSettings,
}

/// JoinGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinGroup {
    /// Group id.
    pub group: String,
    /// Member id; empty on the first join.
    pub member: String,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance: Option<String>,
    /// Session timeout.
    pub session_timeout_ms: i32,
    /// Rebalance timeout; equal to the session timeout for version 0.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect` …
    pub protocol_type: String,
    /// Protocols (assignors) in order of preference with their metadata.
    pub protocols: Vec<(String, Bytes)>,
    /// Client id of the connection, part of new member ids.
    pub client_id: String,
    /// Client's address as Kafka writes it: `/127.0.0.1`.
    pub client_host: String,
    /// Version ≥ 4: a first join is answered with MEMBER_ID_REQUIRED and the new id (KIP-394).
    pub require_known_member: bool,
    /// Version ≥ 9: the client understands `skip_assignment` (KIP-814).
    pub supports_skip_assignment: bool,
    /// Random id from the runtime, used if a new member id must be made.
    pub fresh_id: String,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncGroup {
    /// Group id.
    pub group: String,
    /// Member id.
    pub member: String,
    /// Static member's name.
    pub instance: Option<String>,
    /// Generation the member got from JoinGroup.
    pub generation: i32,
    /// Protocol type the member believes in (version ≥ 5).
    pub protocol_type: Option<String>,
    /// Protocol the member believes in (version ≥ 5).
    pub protocol_name: Option<String>,
    /// From the leader: member id and assignment.
    pub assignments: Vec<(String, Bytes)>,
}

/// Heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Group id.
    pub group: String,
    /// Member id.
    pub member: String,
    /// Static member's name.
    pub instance: Option<String>,
    /// The member's generation.
    pub generation: i32,
}

/// LeaveGroup, single (one entry) or batch.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaveGroup {
    /// Group id.
    pub group: String,
    /// Member id (empty to remove a static member by name) and static member's name.
    pub members: Vec<(String, Option<String>)>,
}

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetCommit {
    /// Group id.
    pub group: String,
    /// Member id; empty for a consumer without group membership.
    pub member: String,
    /// Static member's name.
    pub instance: Option<String>,
    /// Generation or -1.
    pub generation: i32,
    /// Versions 2–4: keep for so many milliseconds; `None` = `offsets.retention.minutes`.
    pub retention_ms: Option<i64>,
    /// Version ≥ 9 (a missing group is GROUP_ID_NOT_FOUND instead of ILLEGAL_GENERATION).
    pub knows_group_id_not_found: bool,
    /// Topics.
    pub topics: Vec<CommitTopic>,
}

/// A topic in [`OffsetCommit`].
#[derive(Clone, Debug, PartialEq)]
pub struct CommitTopic {
    /// Topic name.
    pub name: String,
    /// Topic id if known, stored beside the offset: an offset of a deleted and re-created topic is not given out.
    pub id: Option<Uuid>,
    /// Partitions.
    pub partitions: Vec<CommitPartition>,
}

/// A partition in [`OffsetCommit`].
#[derive(Clone, Debug, PartialEq)]
pub struct CommitPartition {
    /// Partition index.
    pub partition: i32,
    /// Offset to store.
    pub offset: i64,
    /// Leader epoch of the last record consumed, or -1.
    pub leader_epoch: i32,
    /// Text to store with it.
    pub metadata: Option<String>,
}

/// OffsetFetch of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetFetch {
    /// Group id.
    pub group: String,
    /// Member that asks (version ≥ 9).
    pub member: Option<String>,
    /// Its epoch, or -1.
    pub epoch: i32,
    /// Topics asked for; `None` = all with a committed offset.
    pub topics: Option<Vec<FetchTopic>>,
    /// An offset that an open transaction is about to change is answered with UNSTABLE_OFFSET_COMMIT.
    pub require_stable: bool,
}

/// A topic in [`OffsetFetch`].
#[derive(Clone, Debug, PartialEq)]
pub struct FetchTopic {
    /// Topic name.
    pub name: String,
    /// Present topic id if known.
    pub id: Option<Uuid>,
    /// Partition indexes.
    pub partitions: Vec<i32>,
}

/// OffsetDelete.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetDelete {
    /// Group id.
    pub group: String,
    /// Topic name and partition indexes.
    pub topics: Vec<(String, Vec<i32>)>,
}

/// ListGroups; empty filters let everything through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListGroups {
    /// State names, any case.
    pub states: Vec<String>,
    /// Group types (`classic`, `consumer` …), any case.
    pub types: Vec<String>,
}

impl Request {
    /// The answer when no shard can take the request: not yet loaded, not the coordinator, stopped.
    pub fn failed(&self, error: ErrorCode) -> Response {
        match self {
            Self::Join(join) => Response::Join(Joined::failed(error, &join.member)),
            Self::Sync(_) => Response::Sync(Synced::failed(error)),
            // A member that is alive is not made to leave by a coordinator that is still reading.
            Self::Heartbeat(_) if error == ErrorCode::CoordinatorLoadInProgress => {
                Response::Heartbeat(ErrorCode::None)
            }
            Self::Heartbeat(_) => Response::Heartbeat(error),
            Self::Leave(_) => Response::Leave(Left { error, members: Vec::new() }),
            Self::TxnOffsetCommit(commit, _) => crate::pending::failed(commit, error),
            Self::OffsetCommit(commit) => Response::OffsetCommit(Committed::failed(commit, error)),
            Self::OffsetFetch(_) => Response::OffsetFetch(Fetched { error, topics: Vec::new() }),
            Self::OffsetDelete(_) => Response::OffsetDelete(OffsetsDeleted { error, topics: Vec::new() }),
            Self::Describe(groups) => Response::Describe(
                groups.iter().map(|group| DescribedGroup::failed(group.clone(), error)).collect(),
            ),
            Self::List(_) => Response::List(Listed { error, groups: Vec::new() }),
            Self::ConsumerHeartbeat(_) | Self::ShareHeartbeat(_) => {
                Response::ModernHeartbeat(HeartbeatAnswer::failed(error))
            }
            Self::ConsumerDescribe(groups) | Self::ShareDescribe(groups) => Response::DescribeModern(
                groups.iter().map(|group| DescribedModernGroup::failed(group.clone(), error, None)).collect(),
            ),
            Self::ShareTopics { .. } | Self::ShareAdd { .. } | Self::ShareRemove { .. } => {
                Response::ShareTopics(ShareTopics::failed(error))
            }
            Self::Delete(groups) => {
                Response::Delete(groups.iter().map(|group| (group.clone(), error)).collect())
            }
        }
    }
}
