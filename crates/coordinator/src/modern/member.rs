use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_codec::Uuid;

/// Partitions by topic id.
pub type Assignment = BTreeMap<Uuid, BTreeSet<i32>>;

/// Partitions by topic id, each with the member epoch at which the member got it (KIP-1251).
pub(crate) type EpochAssignment = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// Told by a member that leaves for good.
pub(crate) const LEAVE_EPOCH: i32 = -1;
/// Told by a static member that will come back; also its epoch while it is away.
pub(crate) const LEAVE_STATIC_EPOCH: i32 = -2;

/// How far a member is on its way to the target assignment; numbers as in the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum MemberState {
    /// Has its target.
    #[default]
    Stable,
    /// Was told to give partitions up and has not confirmed it yet.
    UnrevokedPartitions,
    /// Waits for partitions that other members still hold.
    UnreleasedPartitions,
    /// Written by a newer coordinator.
    Unknown,
}

impl MemberState {
    pub fn from_wire(value: i8) -> Self {
        match value {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }

    pub fn wire(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }
}

/// What a member of a classic client brings into a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassicSide {
    pub session_timeout_ms: i32,
    /// In the member's order of preference.
    pub protocols: Vec<(String, Bytes)>,
}

/// What a member says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberMetadata {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: BTreeSet<String>,
    pub regex: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
    /// Set while the member speaks the classic protocol.
    pub classic: Option<ClassicSide>,
}

/// Where a member stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CurrentAssignment {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: EpochAssignment,
    pub pending_revocation: EpochAssignment,
}

impl CurrentAssignment {
    /// Partitions this member holds: assigned ones and those it still has to give up.
    pub fn held(&self) -> impl Iterator<Item = (Uuid, i32)> {
        [&self.assigned, &self.pending_revocation].into_iter().flat_map(|assignment| {
            assignment
                .iter()
                .flat_map(|(topic, partitions)| partitions.keys().map(move |partition| (*topic, *partition)))
        })
    }
}

/// Drops the epochs.
pub(crate) fn plain(assignment: &EpochAssignment) -> Assignment {
    assignment.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}

/// A member of a consumer or share group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModernMember {
    pub id: String,
    pub metadata: MemberMetadata,
    pub current: CurrentAssignment,
}

impl ModernMember {
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    pub fn is_classic(&self) -> bool {
        self.metadata.classic.is_some()
    }
}
