use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_codec::ErrorCode;

use super::{ClassicState, Member};
use crate::output::RequestId;
use crate::records::subscribed_topics;
use crate::reply::{Joined, JoinedMember, Response, Synced};
use crate::shard::Cx;
use crate::timers::TimerKey;

/// Protocol type of ordinary consumers, whose metadata the coordinator understands.
pub(crate) const CONSUMER_PROTOCOL: &str = "consumer";

/// One classic group: its membership and where its rebalance stands.
#[derive(Clone, Debug)]
pub(crate) struct ClassicGroup {
    pub id: String,
    pub state: ClassicState,
    pub previous_state: ClassicState,
    /// Wall time of the last change of state; unknown when loaded from an old record.
    pub state_since_ms: Option<i64>,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub generation: i32,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    /// Static member's name → member id.
    pub static_members: BTreeMap<String, String>,
    /// Ids given out with MEMBER_ID_REQUIRED whose owners have not come back yet.
    pub pending_join: BTreeSet<String>,
    /// Members of this generation that have not sent SyncGroup yet.
    pub pending_sync: BTreeSet<String>,
    /// The leader's assignment for this generation is on its way to the log; another one would contradict it.
    pub is_assigning: bool,
    /// Union of the members' subscriptions, if the coordinator can read them.
    pub subscribed_topics: Option<BTreeSet<String>>,
    /// Somebody joined during the initial delay: wait once more.
    pub new_member_added: bool,
    /// The initial rebalance's present delay and the time it may still be prolonged, milliseconds.
    pub initial_delay: Option<(i64, i64)>,
}

impl ClassicGroup {
    pub fn new(id: String, wall_ms: i64) -> Self {
        Self {
            id,
            state: ClassicState::Empty,
            previous_state: ClassicState::Dead,
            state_since_ms: Some(wall_ms),
            protocol_type: None,
            protocol_name: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            is_assigning: false,
            subscribed_topics: None,
            new_member_added: false,
            initial_delay: None,
        }
    }

    pub fn is(&self, state: ClassicState) -> bool {
        self.state == state
    }

    pub fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL)
    }

    /// Whether `topic`'s offsets are in use. A consumer group whose subscriptions cannot be read is taken to
    /// be subscribed to everything.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    pub fn transition(&mut self, next: ClassicState, wall_ms: i64) {
        debug_assert!(self.state.may_become(next), "{:?} -> {next:?}", self.state);
        self.previous_state = self.state;
        self.state = next;
        self.is_assigning = false;
        self.state_since_ms = Some(wall_ms);
    }

    /// Adds a member that is not there yet. The first one becomes leader and sets the protocol type.
    pub fn add(&mut self, member: Member, protocol_type: &str) {
        if let Some(instance) = &member.instance {
            self.static_members.insert(instance.clone(), member.id.clone());
        }
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_join.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    /// Forgets a member or a member to be, and its session deadline. Its waiting request, if any, has been
    /// answered by the caller.
    pub fn remove(&mut self, member: &str, cx: &mut Cx<'_>) {
        if let Some(removed) = self.members.remove(member) {
            debug_assert!(
                removed.awaiting_join.is_none(),
                "a waiting member is answered before it is removed"
            );
            if let Some(waiting) = removed.awaiting_sync {
                cx.reply(waiting, Response::Sync(Synced::failed(ErrorCode::UnknownMemberId)));
            }
            if let Some(instance) = &removed.instance {
                self.static_members.remove(instance);
            }
        }
        if self.is_leader(member) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(member);
        self.pending_sync.remove(member);
        cx.timers.cancel(&self.session_key(member));
    }

    pub fn session_key(&self, member: &str) -> TimerKey {
        TimerKey::Session { group: self.id.clone(), member: member.to_owned() }
    }

    pub fn join_key(&self) -> TimerKey {
        TimerKey::Join { group: self.id.clone() }
    }

    pub fn sync_key(&self) -> TimerKey {
        TimerKey::Sync { group: self.id.clone() }
    }

    /// Starts the member's session anew.
    pub fn touch(&self, member: &str, cx: &mut Cx<'_>) {
        if let Some(found) = self.members.get(member) {
            let at = cx.now.mono_ms + i64::from(found.session_timeout_ms);
            cx.timers.arm(self.session_key(member), at);
        }
    }

    pub fn touch_all(&self, cx: &mut Cx<'_>) {
        for member in self.members.keys() {
            self.touch(member, cx);
        }
    }

    /// Checks that `member` (and, for a static one, its name) belongs to the group.
    pub fn validate_member(&self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(owner) if owner != member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    pub fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    pub fn awaiting_join_count(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    pub fn has_all_joined(&self) -> bool {
        self.pending_join.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    /// Whether a member with these protocols fits with all others.
    pub fn supports_protocols(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.is(ClassicState::Empty) {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| self.members.values().all(|member| member.supports(name)))
    }

    /// The protocol most members prefer among those all support; equal votes go to the leader's order.
    pub fn select_protocol(&self) -> Option<String> {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let first = leader.or_else(|| self.members.values().next())?;
        let candidates: Vec<&str> = first
            .protocols
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| self.members.values().all(|member| member.supports(name)))
            .collect();
        let mut votes = vec![0_usize; candidates.len()];
        for member in self.members.values() {
            let choice =
                member.protocols.iter().find_map(|(name, _)| candidates.iter().position(|c| c == name));
            if let Some(count) = choice.and_then(|index| votes.get_mut(index)) {
                *count += 1;
            }
        }
        let most = votes.iter().max().copied()?;
        let winner = votes.iter().position(|count| *count == most)?;
        candidates.get(winner).map(|name| (*name).to_owned())
    }

    pub fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol_name.as_deref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            all.extend(subscribed_topics(&member.metadata(protocol)?)?);
        }
        Some(all)
    }

    /// Begins the generation of the members that joined: with none the group becomes empty.
    pub fn begin_generation(&mut self, wall_ms: i64) {
        self.generation = self.generation.wrapping_add(1).max(1);
        self.protocol_name = self.select_protocol();
        let next =
            if self.members.is_empty() { ClassicState::Empty } else { ClassicState::CompletingRebalance };
        self.subscribed_topics = self.compute_subscribed_topics();
        self.transition(next, wall_ms);
        self.pending_sync.clear();
    }

    /// The members as told to the leader.
    pub fn members_for_leader(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or("");
        self.members
            .values()
            .map(|member| JoinedMember {
                member: member.id.clone(),
                instance: member.instance.clone(),
                metadata: member.metadata(protocol).unwrap_or_default(),
            })
            .collect()
    }

    /// A JoinGroup answer for the present generation.
    pub fn joined(&self, member: &str, members: Vec<JoinedMember>) -> Joined {
        Joined {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member: member.to_owned(),
            members,
        }
    }

    pub fn answer_join(&mut self, member: &str, answer: Joined, cx: &mut Cx<'_>) {
        if let Some(waiting) = self.members.get_mut(member).and_then(|found| found.awaiting_join.take()) {
            cx.reply(waiting, Response::Join(answer));
        }
    }

    pub fn answer_sync(&mut self, member: &str, answer: Synced, cx: &mut Cx<'_>) -> bool {
        match self.members.get_mut(member).and_then(|found| found.awaiting_sync.take()) {
            Some(waiting) => {
                cx.reply(waiting, Response::Sync(answer));
                true
            }
            None => false,
        }
    }

    /// Lets `member` wait for the end of the join phase with `request`. A request of the same member that
    /// waits already belongs to a connection given up: it is told to try again.
    pub fn await_join(&mut self, member: &str, request: RequestId, cx: &mut Cx<'_>) {
        if let Some(found) = self.members.get_mut(member)
            && let Some(older) = found.awaiting_join.replace(request)
        {
            cx.reply(older, Response::Join(Joined::failed(ErrorCode::RebalanceInProgress, member)));
        }
    }

    /// All member ids, so that members may change while they are visited.
    pub fn member_ids(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }
}

impl Joined {
    pub(crate) fn failed(error: ErrorCode, member: &str) -> Self {
        Self {
            error,
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member: member.to_owned(),
            members: Vec::new(),
        }
    }
}

impl Synced {
    pub(crate) fn failed(error: ErrorCode) -> Self {
        Self { error, protocol_type: None, protocol_name: None, assignment: Bytes::new() }
    }
}
