//! What a group answers, free of wire versions.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_codec::{ErrorCode, Uuid};

use crate::modern::Assignment;
use crate::offsets::CommittedOffset;
use crate::output::RequestId;

/// An answer and the request it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The request.
    pub to: RequestId,
    /// The answer.
    pub body: Response,
}

/// The answer to a [`crate::Request`] of the same name.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Response {
    /// JoinGroup.
    Join(Joined),
    /// SyncGroup.
    Sync(Synced),
    /// Heartbeat.
    Heartbeat(ErrorCode),
    /// LeaveGroup.
    Leave(Left),
    /// OffsetCommit.
    OffsetCommit(Committed),
    /// OffsetFetch.
    OffsetFetch(Fetched),
    /// OffsetDelete.
    OffsetDelete(OffsetsDeleted),
    /// DescribeGroups.
    Describe(Vec<DescribedGroup>),
    /// ListGroups.
    List(Listed),
    /// DeleteGroups: group and outcome.
    Delete(Vec<(String, ErrorCode)>),
    /// ConsumerGroupHeartbeat and ShareGroupHeartbeat.
    ModernHeartbeat(HeartbeatAnswer),
    /// ConsumerGroupDescribe and ShareGroupDescribe.
    DescribeModern(Vec<DescribedModernGroup>),
    /// Which share partitions of a share group have state.
    ShareTopics(ShareTopics),
}

/// Which share partitions of a share group have state.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareTopics {
    /// Outcome.
    pub error: ErrorCode,
    /// What went wrong.
    pub message: Option<String>,
    /// Epoch of the group.
    pub epoch: i32,
    /// As they were when asked.
    pub topics: NamedAssignment,
}

/// Answer to ConsumerGroupHeartbeat or ShareGroupHeartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatAnswer {
    /// Outcome.
    pub error: ErrorCode,
    /// What went wrong.
    pub message: Option<String>,
    /// Member id.
    pub member: Option<String>,
    /// Member epoch.
    pub epoch: i32,
    /// When to heartbeat next.
    pub interval_ms: i32,
    /// What the member is to own, if that changed or it said everything about itself.
    pub assignment: Option<Assignment>,
}

impl HeartbeatAnswer {
    /// An answer that only says what went wrong.
    pub fn failed(error: ErrorCode) -> Self {
        Self { error, message: None, member: None, epoch: 0, interval_ms: 0, assignment: None }
    }
}

/// Topic id → name and partitions.
pub type NamedAssignment = BTreeMap<Uuid, (String, Vec<i32>)>;

/// A group in the answer to ConsumerGroupDescribe or ShareGroupDescribe.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedModernGroup {
    /// Outcome.
    pub error: ErrorCode,
    /// What went wrong.
    pub message: Option<String>,
    /// Group id.
    pub group: String,
    /// State name.
    pub state: &'static str,
    /// Group epoch.
    pub epoch: i32,
    /// Epoch of the target assignment.
    pub target_epoch: i32,
    /// Assignor.
    pub assignor: String,
    /// Members sorted by id.
    pub members: Vec<DescribedModernMember>,
}

/// A member in [`DescribedModernGroup`].
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedModernMember {
    /// Member id.
    pub member: String,
    /// Static member's name.
    pub instance: Option<String>,
    /// Rack.
    pub rack: Option<String>,
    /// Member epoch.
    pub epoch: i32,
    /// Client id.
    pub client_id: String,
    /// Client's address.
    pub client_host: String,
    /// Topics subscribed to by name.
    pub topics: Vec<String>,
    /// Regular expression subscribed to.
    pub regex: Option<String>,
    /// What it owns.
    pub assignment: NamedAssignment,
    /// What it is to own.
    pub target: NamedAssignment,
    /// It speaks the classic protocol.
    pub is_classic: bool,
}

/// Answer to JoinGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// Outcome.
    pub error: ErrorCode,
    /// Generation, -1 on error.
    pub generation: i32,
    /// Protocol type of the group.
    pub protocol_type: Option<String>,
    /// Protocol chosen.
    pub protocol_name: Option<String>,
    /// Leader's member id, empty on error.
    pub leader: String,
    /// The leader need not assign: nothing changed (KIP-814).
    pub skip_assignment: bool,
    /// The member's id.
    pub member: String,
    /// For the leader: all members.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedMember {
    /// Member id.
    pub member: String,
    /// Static member's name.
    pub instance: Option<String>,
    /// Metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// Answer to SyncGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct Synced {
    /// Outcome.
    pub error: ErrorCode,
    /// Protocol type of the group.
    pub protocol_type: Option<String>,
    /// Protocol of the generation.
    pub protocol_name: Option<String>,
    /// What the leader assigned to this member.
    pub assignment: Bytes,
}

/// Answer to LeaveGroup.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// Outcome of the whole request.
    pub error: ErrorCode,
    /// Member id, static member's name, outcome; in the order asked.
    pub members: Vec<(String, Option<String>, ErrorCode)>,
}

/// Answer to OffsetCommit.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Topics in the order asked.
    pub topics: Vec<CommittedTopic>,
}

/// A topic in [`Committed`].
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedTopic {
    /// Topic name.
    pub name: String,
    /// Topic id of the request.
    pub id: Option<Uuid>,
    /// Partition and outcome.
    pub partitions: Vec<(i32, ErrorCode)>,
}

/// Answer to OffsetFetch.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Outcome for the group.
    pub error: ErrorCode,
    /// Topics: those asked for in their order, or all, sorted by name.
    pub topics: Vec<FetchedTopic>,
}

/// A topic in [`Fetched`].
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedTopic {
    /// Topic name.
    pub name: String,
    /// Topic id asked for, or stored with the newest offset.
    pub id: Option<Uuid>,
    /// Partition, outcome, offset (`None`: nothing is committed).
    pub partitions: Vec<(i32, ErrorCode, Option<CommittedOffset>)>,
}

/// Answer to OffsetDelete.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetsDeleted {
    /// Outcome of the whole request.
    pub error: ErrorCode,
    /// Topic, then partition and outcome.
    pub topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
}

/// A group in the answer to DescribeGroups.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedGroup {
    /// GROUP_ID_NOT_FOUND when there is none; versions before 6 show it as state `Dead` without error.
    pub error: ErrorCode,
    /// Group id.
    pub group: String,
    /// State name: `Stable` …
    pub state: String,
    /// Protocol type or empty.
    pub protocol_type: String,
    /// Protocol chosen or empty.
    pub protocol: String,
    /// Members sorted by id.
    pub members: Vec<DescribedMember>,
}

/// A member in [`DescribedGroup`].
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedMember {
    /// Member id.
    pub member: String,
    /// Static member's name.
    pub instance: Option<String>,
    /// Client id.
    pub client_id: String,
    /// Client's address.
    pub client_host: String,
    /// Metadata for the chosen protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// Assignment.
    pub assignment: Bytes,
}

/// Answer to ListGroups.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Outcome.
    pub error: ErrorCode,
    /// Groups sorted by id.
    pub groups: Vec<ListedGroup>,
}

/// A group in the answer to ListGroups.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedGroup {
    /// Group id.
    pub group: String,
    /// Protocol type or empty.
    pub protocol_type: String,
    /// State name.
    pub state: String,
    /// Group type: `classic`.
    pub group_type: &'static str,
}

impl Response {
    /// The answer to the same request when it failed as a whole.
    #[must_use]
    pub fn failed(self, error: ErrorCode) -> Self {
        match self {
            Self::Join(joined) => Self::Join(Joined::failed(error, &joined.member)),
            Self::Sync(_) => Self::Sync(Synced::failed(error)),
            Self::Heartbeat(_) => Self::Heartbeat(error),
            Self::Leave(_) => Self::Leave(Left { error, members: Vec::new() }),
            Self::OffsetCommit(mut committed) => {
                for (_, outcome) in committed.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    *outcome = if *outcome == ErrorCode::None { error } else { *outcome };
                }
                Self::OffsetCommit(committed)
            }
            Self::OffsetFetch(_) => Self::OffsetFetch(Fetched { error, topics: Vec::new() }),
            Self::OffsetDelete(_) => Self::OffsetDelete(OffsetsDeleted { error, topics: Vec::new() }),
            Self::Describe(groups) => Self::Describe(
                groups.into_iter().map(|group| DescribedGroup::failed(group.group, error)).collect(),
            ),
            Self::List(_) => Self::List(Listed { error, groups: Vec::new() }),
            Self::ModernHeartbeat(_) => Self::ModernHeartbeat(HeartbeatAnswer::failed(error)),
            Self::DescribeModern(groups) => Self::DescribeModern(
                groups
                    .into_iter()
                    .map(|group| DescribedModernGroup::failed(group.group, error, None))
                    .collect(),
            ),
            Self::ShareTopics(_) => Self::ShareTopics(ShareTopics::failed(error)),
            Self::Delete(mut groups) => {
                for (_, outcome) in &mut groups {
                    *outcome = if *outcome == ErrorCode::None { error } else { *outcome };
                }
                Self::Delete(groups)
            }
        }
    }
}
