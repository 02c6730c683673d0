use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kafka_codec::Uuid;

use super::change::{GroupChange, Kind, ResolvedRegex, ShareStateTopics};
use super::member::{Assignment, CurrentAssignment, LEAVE_EPOCH, MemberState, ModernMember};
use super::topics::TopicCatalog;
use crate::shard::Cx;
use crate::timers::TimerKey;

/// A group whose members heartbeat and are assigned by the coordinator: a consumer group (KIP-848) or a share
/// group (KIP-932).
#[derive(Clone, Debug)]
pub(crate) struct ModernGroup {
    pub id: String,
    pub kind: Kind,
    pub epoch: i32,
    /// Hash of the topics that the members subscribe to, as of the last change of the epoch.
    pub metadata_hash: i64,
    pub members: BTreeMap<String, Arc<ModernMember>>,
    /// Static member's name → member id.
    pub static_members: BTreeMap<String, String>,
    pub target: BTreeMap<String, Arc<Assignment>>,
    pub target_epoch: i32,
    /// Wall time of the target assignment.
    pub target_ms: i64,
    pub regexes: BTreeMap<String, Arc<ResolvedRegex>>,
    pub share_state: Arc<ShareStateTopics>,
    /// Who holds a partition, as the epoch of the member.
    holders: HashMap<(Uuid, i32), i32>,
    /// Version of the topics at the last look; not stored.
    pub seen_topics: i64,
}

/// State names of consumer and share groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModernState {
    Empty,
    Assigning,
    Reconciling,
    Stable,
}

impl ModernState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

impl ModernGroup {
    pub fn new(id: String, kind: Kind) -> Self {
        Self {
            id,
            kind,
            epoch: 0,
            metadata_hash: 0,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            target: BTreeMap::new(),
            target_epoch: 0,
            target_ms: 0,
            regexes: BTreeMap::new(),
            share_state: Arc::default(),
            holders: HashMap::new(),
            seen_topics: i64::MIN,
        }
    }

    pub fn state(&self) -> ModernState {
        if self.members.is_empty() {
            ModernState::Empty
        } else if self.kind == Kind::Share {
            ModernState::Stable
        } else if self.epoch > self.target_epoch {
            ModernState::Assigning
        } else if self
            .members
            .values()
            .any(|m| m.current.state != MemberState::Stable || m.current.epoch != self.target_epoch)
        {
            ModernState::Reconciling
        } else {
            ModernState::Stable
        }
    }

    pub fn static_member(&self, instance: &str) -> Option<&Arc<ModernMember>> {
        self.static_members.get(instance).and_then(|id| self.members.get(id))
    }

    /// The epoch of the member that holds a partition.
    pub fn holder_epoch(&self, topic: Uuid, partition: i32) -> Option<i32> {
        self.holders.get(&(topic, partition)).copied()
    }

    /// Topics a member subscribes to by name and by its regular expression, with `fresh` ones laid over what the
    /// group knows.
    pub fn topics_of(&self, member: &ModernMember, fresh: &[(String, ResolvedRegex)]) -> BTreeSet<String> {
        let mut topics = member.metadata.topics.clone();
        if let Some(regex) = &member.metadata.regex {
            let known = || self.regexes.get(regex).map(|known| &**known);
            let resolved = fresh.iter().find(|(pattern, _)| pattern == regex).map(|(_, resolved)| resolved);
            if let Some(resolved) = resolved.or_else(known) {
                topics.extend(resolved.topics.iter().cloned());
            }
        }
        topics
    }

    /// Whether a member subscribes to `topic`.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| {
            member.metadata.topics.contains(topic)
                || member
                    .metadata
                    .regex
                    .as_ref()
                    .and_then(|regex| self.regexes.get(regex))
                    .is_some_and(|resolved| resolved.topics.contains(topic))
        })
    }

    /// Takes a change in.
    pub fn apply(&mut self, change: GroupChange) {
        match change {
            GroupChange::Epoch(Some((epoch, hash))) => {
                self.epoch = epoch;
                self.metadata_hash = hash;
            }
            GroupChange::Epoch(None) | GroupChange::PartitionMetadata => {}
            GroupChange::Member(id, Some(metadata)) => {
                if let Some(instance) = &metadata.instance {
                    self.static_members.insert(instance.clone(), id.clone());
                }
                let member =
                    self.members.entry(id.clone()).or_insert_with(|| Arc::new(ModernMember::new(&id)));
                Arc::make_mut(member).metadata = Arc::unwrap_or_clone(metadata);
            }
            GroupChange::Member(id, None) => {
                if let Some(member) = self.members.remove(&id) {
                    self.release(&member);
                    if let Some(instance) = &member.metadata.instance
                        && self.static_members.get(instance) == Some(&id)
                    {
                        self.static_members.remove(instance);
                    }
                }
            }
            GroupChange::TargetEpoch(Some((epoch, at_ms))) => {
                self.target_epoch = epoch;
                self.target_ms = at_ms;
            }
            GroupChange::TargetEpoch(None) => {
                self.target_epoch = -1;
                self.target_ms = 0;
            }
            GroupChange::Target(id, Some(target)) => {
                self.target.insert(id, target);
            }
            GroupChange::Target(id, None) => {
                self.target.remove(&id);
            }
            GroupChange::Current(id, current) => {
                let Some(member) = self.members.get(&id).cloned() else { return };
                self.release(&member);
                let mut member = Arc::unwrap_or_clone(member);
                member.current = match current {
                    Some(current) => Arc::unwrap_or_clone(current),
                    None => CurrentAssignment {
                        epoch: LEAVE_EPOCH,
                        previous_epoch: LEAVE_EPOCH,
                        ..CurrentAssignment::default()
                    },
                };
                if self.kind == Kind::Consumer {
                    for held in member.current.held() {
                        self.holders.insert(held, member.current.epoch);
                    }
                }
                self.members.insert(id, Arc::new(member));
            }
            GroupChange::Regex(regex, Some(resolved)) => {
                self.regexes.insert(regex, resolved);
            }
            GroupChange::Regex(regex, None) => {
                self.regexes.remove(&regex);
            }
            GroupChange::ShareState(state) => self.share_state = state.unwrap_or_default(),
        }
    }

    fn release(&mut self, member: &ModernMember) {
        for held in member.current.held() {
            // Another member may hold it by now: a static member's successor takes over under a new id.
            if self.holders.get(&held) == Some(&member.current.epoch) {
                self.holders.remove(&held);
            }
        }
    }

    /// After loading: sessions of all members start now.
    pub fn begin_sessions(&self, cx: &mut Cx<'_>) {
        for member in self.members.values() {
            let timeout = match (&member.metadata.classic, self.kind) {
                (Some(classic), _) => classic.session_timeout_ms,
                (None, Kind::Consumer) => cx.config.consumer_session_timeout_ms,
                (None, Kind::Share) => cx.config.share_session_timeout_ms,
            };
            let (group, member_id) = (self.id.clone(), member.id.clone());
            let key = TimerKey::Session { group: group.clone(), member: member_id.clone() };
            cx.timers.arm(key, cx.now.mono_ms + i64::from(timeout));
            if member.current.state == MemberState::UnrevokedPartitions {
                let key = TimerKey::Revoke { group, member: member_id };
                cx.timers.arm(key, cx.now.mono_ms + i64::from(member.metadata.rebalance_timeout_ms));
            }
        }
    }

    #[cfg(test)]
    pub fn holders_sorted(&self) -> BTreeMap<(Uuid, i32), i32> {
        self.holders.iter().map(|(place, epoch)| (*place, *epoch)).collect()
    }

    /// Tombstones for everything the group has stored, its epoch last.
    pub fn tombstones(&self) -> Vec<GroupChange> {
        let mut changes = Vec::new();
        changes.extend(self.members.keys().map(|id| GroupChange::Current(id.clone(), None)));
        changes.extend(self.target.keys().map(|id| GroupChange::Target(id.clone(), None)));
        changes.push(GroupChange::TargetEpoch(None));
        changes.extend(self.members.keys().map(|id| GroupChange::Member(id.clone(), None)));
        match self.kind {
            Kind::Consumer => {
                changes.extend(self.regexes.keys().map(|regex| GroupChange::Regex(regex.clone(), None)));
                changes.push(GroupChange::PartitionMetadata);
            }
            Kind::Share => changes.push(GroupChange::ShareState(None)),
        }
        changes.push(GroupChange::Epoch(None));
        changes
    }

    /// The assignor that most members prefer; equal votes go to the first name, none to the default.
    pub fn preferred_assignor(&self, changed: Option<(&str, Option<&str>)>, default: &str) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        let others = self.members.values().filter(|m| changed.is_none_or(|(id, _)| m.id != id));
        let names = others.filter_map(|m| m.metadata.assignor.as_deref());
        for name in names.chain(changed.and_then(|(_, name)| name)) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().max().copied();
        let winner = votes.iter().find(|(_, count)| Some(**count) == most).map(|(name, _)| *name);
        winner.unwrap_or(default).to_owned()
    }
}

/// A hash of topics, as far as assignments depend on them: names, ids and numbers of partitions.
pub(crate) fn metadata_hash(topics: &BTreeSet<String>, catalog: &dyn TopicCatalog) -> i64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let known: Vec<_> = topics.iter().filter_map(|name| catalog.by_name(name)).collect();
    if known.is_empty() {
        return 0;
    }
    let mut hash = OFFSET;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    };
    for topic in known {
        feed(topic.name.as_bytes());
        feed(&[0]);
        feed(&topic.id.0);
        feed(&topic.partitions.to_be_bytes());
    }
    i64::from_be_bytes(hash.to_be_bytes())
}
