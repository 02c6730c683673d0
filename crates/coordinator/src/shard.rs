//! A shard: the groups of one partition of `__consumer_offsets`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::messages::GroupMetadataValue;
use kafka_codec::{EncodeError, ErrorCode};

use crate::classic::{ClassicGroup, ClassicState, Member, StaticReplacement};
use crate::config::GroupCoordinatorConfig;
use crate::error::CoordinatorError;
use crate::modern::{self, GroupChange, Kind, MemberState, ModernGroup, NoTopics, TopicCatalog};
use crate::offsets::{CommittedOffset, OffsetStore};
use crate::output::{Now, Output, Record, RequestId, Ticket};
use crate::pending::PendingOffsets;
use crate::records::{self, Parsed};
use crate::reply::{Joined, Left, Reply, Response, Synced};
use crate::request::{Heartbeat, JoinGroup, LeaveGroup, Request, SyncGroup};
use crate::timers::{TimerKey, Timers};

/// A group of any type.
#[derive(Clone, Debug)]
pub(crate) enum Group {
    Classic(ClassicGroup),
    /// A consumer group (KIP-848) or share group (KIP-932).
    Modern(ModernGroup),
}

/// What a shard knows: groups, and their offsets beside them.
#[derive(Debug)]
pub(crate) struct Tables {
    pub groups: BTreeMap<String, Group>,
    pub offsets: OffsetStore,
    /// Offsets in open transactions.
    pub pending: PendingOffsets,
    /// The topics of the cluster.
    pub topics: Arc<dyn TopicCatalog>,
    /// Where the present round of retention goes on.
    pub retention_cursor: Option<String>,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            offsets: OffsetStore::default(),
            pending: PendingOffsets::default(),
            topics: Arc::new(NoTopics),
            retention_cursor: None,
        }
    }
}

/// What the log's answer to a record does to the state.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Accepted: this is the group's offset now (`None`: it has none).
    Offset { group: String, topic: String, partition: i32, value: Option<CommittedOffset> },
    /// Accepted: this waits for the end of the producer's transaction.
    PendingOffset { producer_id: i64, group: String, topic: String, partition: i32, value: CommittedOffset },
    /// Accepted: the group is gone.
    GroupRemoved(String),
    /// Refused: the group never was.
    GroupCreated(String),
    /// The last member left; memory is ahead of the log if refused, which harms nobody: a generation without
    /// members binds no one.
    Emptied,
    /// Durable: hand out the assignment. Refused: rebalance again.
    Assigned { group: String, generation: i32, assignments: BTreeMap<String, Bytes> },
    /// Durable: answer the member. Refused: undo.
    StaticReplaced(StaticReplacement),
    /// Accepted: a consumer or share group changes.
    Changed { kind: Kind, group: String, change: GroupChange },
    /// Accepted: the classic group gives way to a consumer group of the same members.
    Upgraded(String),
    /// Accepted: a consumer group is a classic one now.
    Downgraded(Box<ClassicGroup>),
    /// A consumer group without members gave way to a classic one. Refused: it is back.
    EmptyReplaced(Box<ModernGroup>),
}

impl Effect {
    pub fn offset_removed(group: &str, topic: &str, partition: i32) -> Self {
        Self::Offset { group: group.to_owned(), topic: topic.to_owned(), partition, value: None }
    }

    /// Whether this hands something out to members of `id`.
    fn is_assignment_of(&self, id: &str) -> bool {
        match self {
            Self::Assigned { group, .. } => group == id,
            Self::StaticReplaced(replacement) => replacement.group == id,
            _ => false,
        }
    }
}

/// What one event works with.
pub(crate) struct Cx<'a> {
    pub config: &'a GroupCoordinatorConfig,
    pub timers: &'a mut Timers,
    pub now: Now,
    pub out: Output,
    /// One for each record of `out`, in order.
    pub effects: Vec<Effect>,
    unencodable: bool,
}

impl Cx<'_> {
    pub fn reply(&mut self, to: RequestId, body: Response) {
        self.out.replies.push(Reply { to, body });
    }

    pub fn defer(&mut self, to: RequestId, body: Response) {
        self.out.deferred.push(Reply { to, body });
    }

    /// Adds a change of a consumer or share group.
    pub fn change(&mut self, group: &ModernGroup, change: GroupChange) {
        let record = modern::record(group.kind, &group.id, &change);
        self.record(record, Effect::Changed { kind: group.kind, group: group.id.clone(), change });
    }

    /// How many records and effects there are, for [`Cx::rewind`].
    pub fn mark(&self) -> (usize, usize) {
        (self.out.records.len(), self.effects.len())
    }

    /// Takes back what was added since.
    pub fn rewind(&mut self, (records, effects): (usize, usize)) {
        self.out.records.truncate(records);
        self.effects.truncate(effects);
    }

    /// The changes added since.
    pub fn changes_since(&self, (_, effects): (usize, usize)) -> impl Iterator<Item = &GroupChange> {
        self.effects.iter().skip(effects).filter_map(|effect| match effect {
            Effect::Changed { change, .. } => Some(change),
            _ => None,
        })
    }

    /// Adds a record and what follows from it. A text too long for the format fails the whole event.
    pub fn record(&mut self, record: Result<Record, EncodeError>, effect: Effect) {
        match record {
            Ok(record) => self.out.records.push(record),
            Err(_) => self.unencodable = true,
        }
        self.effects.push(effect);
    }
}

/// The groups of one partition of `__consumer_offsets`. See the crate's page for the rules of use.
#[derive(Debug)]
pub struct GroupShard {
    config: GroupCoordinatorConfig,
    pub(crate) tables: Tables,
    pub(crate) timers: Timers,
    /// Of the last output, until the log has accepted or refused it.
    staged: Option<(Ticket, Vec<Effect>)>,
    /// Accepted, with something left to do when durable.
    in_flight: VecDeque<(Ticket, Vec<Effect>)>,
    next_ticket: u64,
}

impl GroupShard {
    /// An empty shard.
    pub fn new(config: GroupCoordinatorConfig) -> Self {
        Self {
            config,
            tables: Tables::default(),
            timers: Timers::default(),
            staged: None,
            in_flight: VecDeque::new(),
            next_ticket: 0,
        }
    }

    /// Takes in one record of the partition, in log order, before [`GroupShard::loaded`]. Records of types this
    /// coordinator does not know are passed over.
    ///
    /// # Errors
    /// [`CoordinatorError`] for a record that cannot be read; the state is as before then.
    pub fn replay(
        &mut self,
        record_offset: i64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), CoordinatorError> {
        match records::parse(record_offset, key, value)? {
            Parsed::Offset { group, topic, partition, value: Some(value) } => {
                self.tables.put_offset(&group, &topic, partition, value);
            }
            Parsed::Offset { group, topic, partition, value: None } => {
                self.tables.offsets.remove(&group, &topic, partition);
                self.tables.pending.remove(&group, &topic, partition);
            }
            Parsed::Group { group, value: Some(value) } => {
                let loaded = load_classic(group.clone(), value)?;
                self.tables.groups.insert(group, Group::Classic(loaded));
            }
            Parsed::Group { group, value: None } => {
                if let Some(Group::Classic(_)) = self.tables.groups.get(&group) {
                    self.tables.groups.remove(&group);
                }
            }
            Parsed::Modern { kind, group, change } => self.tables.change(kind, group, change)?,
            Parsed::Other => {}
        }
        Ok(())
    }

    /// Ends the replay: sessions of all members start now, and requests may come.
    pub fn loaded(&mut self, now: Now) -> Output {
        self.run(now, |tables, cx| {
            for group in tables.groups.values_mut() {
                match group {
                    Group::Classic(group) => {
                        group.touch_all(cx);
                        // A consumer group that became a classic one has not agreed on an assignment yet.
                        let is_unsettled = group.leader.is_none() && !group.members.is_empty();
                        if is_unsettled {
                            group.leader = group.members.keys().next().cloned();
                        }
                        if is_unsettled || group.members.len() > cx.config.group_max_size {
                            group.prepare_rebalance(cx);
                        }
                    }
                    Group::Modern(group) => group.begin_sessions(cx),
                }
            }
            let at = cx.now.mono_ms + cx.config.offsets_retention_check_interval_ms;
            cx.timers.arm(TimerKey::Retention, at);
        })
    }

    /// Takes a request. Its reply comes in this or a later output under the same id.
    pub fn handle(&mut self, id: RequestId, request: Request, now: Now) -> Output {
        self.run(now, |tables, cx| match request {
            Request::Join(join) => tables.join(id, join, cx),
            Request::Sync(sync) => tables.sync(id, sync, cx),
            Request::Heartbeat(beat) => tables.heartbeat(id, &beat, cx),
            Request::Leave(leave) => tables.leave(id, leave, cx),
            Request::OffsetCommit(commit) => tables.commit(id, commit, cx),
            Request::TxnOffsetCommit(commit, producer) => {
                tables.commit_in_transaction(id, commit, producer, cx);
            }
            Request::OffsetFetch(fetch) => tables.fetch(id, fetch, cx),
            Request::OffsetDelete(delete) => tables.delete_offsets(id, delete, cx),
            Request::Describe(groups) => tables.describe(id, groups, cx),
            Request::List(filter) => tables.list(id, &filter, cx),
            Request::Delete(groups) => tables.delete_groups(id, groups, cx),
            Request::ConsumerHeartbeat(beat) => tables.consumer_heartbeat(id, beat, cx),
            Request::ConsumerDescribe(groups) => tables.describe_modern(id, groups, false, cx),
            Request::ShareHeartbeat(beat) => tables.share_heartbeat(id, beat, cx),
            Request::ShareDescribe(groups) => tables.describe_modern(id, groups, true, cx),
            Request::ShareTopics { group, must_be_empty } => {
                tables.share_topics(id, &group, must_be_empty, cx);
            }
            Request::ShareAdd { group, topics } => tables.share_add(id, &group, &topics, cx),
            Request::ShareRemove { group, topics } => tables.share_remove(id, &group, &topics, cx),
        })
    }

    /// The topics as they are from now on. Groups look at them with their members' next heartbeats.
    pub fn topics_changed(&mut self, topics: Arc<dyn TopicCatalog>) {
        self.tables.topics = topics;
    }

    /// Topics were deleted: their offsets go too.
    pub fn topics_deleted(&mut self, topics: &[String], now: Now) -> Output {
        self.run(now, |tables, cx| {
            tables.topics_deleted(topics, cx);
            tables.share_topics_deleted(topics, cx);
        })
    }

    /// When [`GroupShard::tick`] has something to do, on the monotonic clock.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.timers.next_deadline()
    }

    /// Does what the earliest passed deadline asks for; `None` if none has passed. Call until then.
    pub fn tick(&mut self, now: Now) -> Option<Output> {
        let due = self.timers.pop_due(now.mono_ms)?;
        Some(self.run(now, |tables, cx| match due {
            TimerKey::Session { group, member } => match tables.groups.get_mut(&group) {
                Some(Group::Classic(group)) => group.session_deadline(&member, cx),
                Some(Group::Modern(_)) => tables.member_deadline(&group, &member, |_| true, cx),
                None => {}
            },
            TimerKey::Revoke { group, member } => {
                let is_late = |state| state == MemberState::UnrevokedPartitions;
                tables.member_deadline(&group, &member, is_late, cx);
            }
            TimerKey::Rejoin { group, member } | TimerKey::SyncMember { group, member } => {
                tables.member_deadline(&group, &member, |_| true, cx);
            }
            TimerKey::Assign { group } => tables.assign_deadline(&group, cx),
            TimerKey::Join { group } => {
                if let Some(Group::Classic(group)) = tables.groups.get_mut(&group) {
                    group.join_deadline(cx);
                }
            }
            TimerKey::Sync { group } => {
                if let Some(Group::Classic(group)) = tables.groups.get_mut(&group) {
                    group.sync_deadline(cx);
                }
            }
            TimerKey::Retention => tables.retention(cx),
        }))
    }

    /// The log took the records of the last output; the first has offset `base_offset`.
    pub fn accepted(&mut self, base_offset: i64) {
        let Some((ticket, effects)) = self.staged.take() else { return };
        let mut later = Vec::new();
        for (index, effect) in effects.into_iter().enumerate() {
            match effect {
                Effect::Offset { group, topic, partition, value: Some(value) } => {
                    let record_offset = base_offset.saturating_add(index as i64);
                    let value = CommittedOffset { record_offset, ..value };
                    self.tables.put_offset(&group, &topic, partition, value);
                }
                Effect::Offset { group, topic, partition, value: None } => {
                    self.tables.offsets.remove(&group, &topic, partition);
                    self.tables.pending.remove(&group, &topic, partition);
                }
                Effect::PendingOffset { producer_id, group, topic, partition, value } => {
                    let record_offset = base_offset.saturating_add(index as i64);
                    let value = CommittedOffset { record_offset, ..value };
                    self.tables.put_pending(producer_id, (group, topic, partition), value);
                }
                Effect::GroupRemoved(group) => self.remove_group(&group),
                Effect::GroupCreated(_) | Effect::Emptied | Effect::EmptyReplaced(_) => {}
                Effect::Changed { kind, group, change } => {
                    let applied = self.tables.change(kind, group, change);
                    debug_assert!(applied.is_ok(), "{applied:?}");
                }
                Effect::Upgraded(group) => self.give_way(&group),
                Effect::Downgraded(group) => {
                    self.tables.groups.insert(group.id.clone(), Group::Classic(*group));
                }
                Effect::Assigned { .. } | Effect::StaticReplaced(_) => later.push(effect),
            }
        }
        if !later.is_empty() {
            self.in_flight.push_back((ticket, later));
        }
    }

    /// The log did not take the records of `output`, the last one: nothing of it is in the log and never will
    /// be. Answers the output to perform in its place, with `error` for those who asked.
    pub fn refused(&mut self, output: Output, error: ErrorCode, now: Now) -> Output {
        let effects = self.staged.take().map(|(_, effects)| effects).unwrap_or_default();
        let mut undone = self.run(now, |tables, cx| {
            let mut restored = None;
            for effect in effects {
                match effect {
                    Effect::EmptyReplaced(group) => restored = Some(group),
                    Effect::GroupCreated(id) => {
                        if let Some(Group::Classic(mut group)) = tables.groups.remove(&id) {
                            group.not_created(error, cx);
                        }
                    }
                    Effect::Assigned { group, generation, .. } => {
                        if let Some(group) = tables.completing(&group, generation) {
                            group.fail_assignment(error, cx);
                            group.rebalance_or_complete_join(cx);
                        }
                    }
                    Effect::StaticReplaced(failed) => {
                        if let Some(Group::Classic(group)) = tables.groups.get_mut(&failed.group) {
                            group.static_not_replaced(failed, error, cx);
                        }
                    }
                    Effect::Offset { .. }
                    | Effect::PendingOffset { .. }
                    | Effect::GroupRemoved(_)
                    | Effect::Emptied
                    | Effect::Changed { .. }
                    | Effect::Upgraded(_)
                    | Effect::Downgraded(_) => {}
                }
            }
            if let Some(group) = restored {
                tables.groups.insert(group.id.clone(), Group::Modern(*group));
            }
        });
        let failed =
            output.deferred.into_iter().map(|reply| Reply { to: reply.to, body: reply.body.failed(error) });
        undone.replies.splice(0..0, output.replies.into_iter().chain(failed));
        undone
    }

    /// All records up to the batch named `ticket` are durable. (The runtime itself sends the deferred replies.)
    pub fn durable(&mut self, ticket: Ticket, now: Now) -> Output {
        let mut effects = Vec::new();
        while self.in_flight.front().is_some_and(|(front, _)| *front <= ticket) {
            effects.extend(self.in_flight.pop_front().into_iter().flat_map(|(_, effects)| effects));
        }
        self.run(now, |tables, cx| {
            for effect in effects {
                match effect {
                    Effect::Assigned { group, generation, assignments } => {
                        if let Some(group) = tables.completing(&group, generation) {
                            group.assign(assignments, cx);
                        }
                    }
                    Effect::StaticReplaced(done) => {
                        if let Some(Group::Classic(group)) = tables.groups.get_mut(&done.group) {
                            group.static_replaced(&done, cx);
                        }
                    }
                    _ => {}
                }
            }
        })
    }

    /// This node no longer coordinates these groups: everybody who waits is told `error`. The shard is of no
    /// further use.
    pub fn unload(&mut self, error: ErrorCode, now: Now) -> Output {
        self.run(now, |tables, cx| {
            for group in tables.groups.values_mut() {
                // Members of the other groups never wait.
                if let Group::Classic(group) = group {
                    group.unload(error, cx);
                }
            }
        })
    }

    fn run(&mut self, now: Now, event: impl FnOnce(&mut Tables, &mut Cx<'_>)) -> Output {
        debug_assert!(self.staged.is_none(), "the last output was neither accepted nor refused");
        let mut cx = Cx {
            config: &self.config,
            timers: &mut self.timers,
            now,
            out: Output::default(),
            effects: Vec::new(),
            unencodable: false,
        };
        event(&mut self.tables, &mut cx);
        let Cx { mut out, effects, unencodable, .. } = cx;
        if effects.is_empty() {
            return out;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.staged = Some((ticket, effects));
        if unencodable {
            out.records.clear();
            return self.refused(out, ErrorCode::UnknownServerError, now);
        }
        out.ticket = Some(ticket);
        out
    }

    fn remove_group(&mut self, id: &str) {
        let Some(Group::Classic(group)) = self.tables.groups.get(id) else { return };
        for member in group.members.keys().chain(&group.pending_join) {
            self.timers.cancel(&group.session_key(member));
        }
        self.give_way(id);
    }

    /// Forgets a classic group, but not its members' sessions.
    fn give_way(&mut self, id: &str) {
        let Some(Group::Classic(group)) = self.tables.groups.remove(id) else { return };
        // A group of the same name may come into being, and reach the same generation, before they are durable.
        for (_, effects) in &mut self.in_flight {
            effects.retain(|effect| !effect.is_assignment_of(id));
        }
        self.timers.cancel(&group.join_key());
        self.timers.cancel(&group.sync_key());
        for member in &group.pending_join {
            self.timers.cancel(&group.session_key(member));
        }
    }
}

impl Tables {
    /// Stores an offset. A group nobody joined comes into being with its first offset (a "simple" group).
    pub fn put_offset(&mut self, group: &str, topic: &str, partition: i32, value: CommittedOffset) {
        if !self.groups.contains_key(group) {
            let simple = ClassicGroup::new(group.to_owned(), value.commit_ms);
            self.groups.insert(group.to_owned(), Group::Classic(simple));
        }
        self.offsets.put(group, topic, partition, value);
    }

    /// Applies a change of a consumer or share group; the first one makes the group, in place of a classic one
    /// without members if there is one.
    fn change(&mut self, kind: Kind, id: String, change: GroupChange) -> Result<(), CoordinatorError> {
        let creates = change.creates();
        match self.groups.get_mut(&id) {
            Some(Group::Modern(group)) if group.kind == kind => {
                if matches!(change, GroupChange::Epoch(None)) {
                    self.groups.remove(&id);
                } else {
                    group.apply(change);
                }
                return Ok(());
            }
            _ if !creates => return Ok(()),
            Some(Group::Classic(group)) if !group.is(ClassicState::Empty) => {
                return Err(CoordinatorError::Inconsistent { group: id, why: "of two types" });
            }
            Some(Group::Modern(_)) => {
                return Err(CoordinatorError::Inconsistent { group: id, why: "of two types" });
            }
            Some(Group::Classic(_)) | None => {}
        }
        let mut group = ModernGroup::new(id.clone(), kind);
        group.apply(change);
        self.groups.insert(id, Group::Modern(group));
        Ok(())
    }

    fn completing(&mut self, group: &str, generation: i32) -> Option<&mut ClassicGroup> {
        let Some(Group::Classic(group)) = self.groups.get_mut(group) else { return None };
        (group.is(ClassicState::CompletingRebalance) && group.generation == generation).then_some(group)
    }

    fn join(&mut self, request: RequestId, join: JoinGroup, cx: &mut Cx<'_>) {
        if join.group.is_empty() {
            let answer = Joined::failed(ErrorCode::InvalidGroupId, &join.member);
            return cx.reply(request, Response::Join(answer));
        }
        if join.session_timeout_ms < cx.config.session_timeout_min_ms
            || join.session_timeout_ms > cx.config.session_timeout_max_ms
        {
            let answer = Joined::failed(ErrorCode::InvalidSessionTimeout, &join.member);
            return cx.reply(request, Response::Join(answer));
        }
        match self.groups.get_mut(&join.group) {
            Some(Group::Classic(group)) => return group.join(request, join, cx),
            Some(Group::Modern(group)) if group.kind == Kind::Share => {
                let answer = Joined::failed(ErrorCode::InconsistentGroupProtocol, &join.member);
                return cx.reply(request, Response::Join(answer));
            }
            Some(Group::Modern(group)) if !group.members.is_empty() => {
                return self.join_modern(request, join, cx);
            }
            // Without members it may become a classic group, as if it were not there.
            Some(Group::Modern(_)) | None => {}
        }
        if !join.member.is_empty() {
            let answer = Joined::failed(ErrorCode::UnknownMemberId, &join.member);
            return cx.reply(request, Response::Join(answer));
        }
        let id = join.group.clone();
        let mut group = ClassicGroup::new(id.clone(), cx.now.wall_ms);
        if !group.supports_protocols(&join.protocol_type, &join.protocols) {
            let answer = Joined::failed(ErrorCode::InconsistentGroupProtocol, "");
            return cx.reply(request, Response::Join(answer));
        }
        self.replace_empty(&id, cx);
        let record = records::new_group_record(&id, group.state_since_ms);
        group.join(request, join, cx);
        cx.record(record, Effect::GroupCreated(id.clone()));
        self.groups.insert(id, Group::Classic(group));
    }

    fn sync(&mut self, request: RequestId, sync: SyncGroup, cx: &mut Cx<'_>) {
        match self.groups.get_mut(&sync.group) {
            _ if sync.group.is_empty() => {
                cx.reply(request, Response::Sync(Synced::failed(ErrorCode::InvalidGroupId)));
            }
            Some(Group::Classic(group)) if !group.is(ClassicState::Empty) => group.sync(request, sync, cx),
            Some(Group::Modern(group)) if group.kind == Kind::Consumer => self.sync_modern(request, sync, cx),
            _ => cx.reply(request, Response::Sync(Synced::failed(ErrorCode::UnknownMemberId))),
        }
    }

    fn heartbeat(&mut self, request: RequestId, beat: &Heartbeat, cx: &mut Cx<'_>) {
        let error = match self.groups.get_mut(&beat.group) {
            _ if beat.group.is_empty() => ErrorCode::InvalidGroupId,
            Some(Group::Classic(group)) => group.heartbeat(beat, cx),
            Some(Group::Modern(group)) if group.kind == Kind::Consumer => {
                return self.heartbeat_modern(request, beat, cx);
            }
            _ => ErrorCode::UnknownMemberId,
        };
        cx.reply(request, Response::Heartbeat(error));
    }

    fn leave(&mut self, request: RequestId, leave: LeaveGroup, cx: &mut Cx<'_>) {
        let left = match self.groups.get_mut(&leave.group) {
            _ if leave.group.is_empty() => Left { error: ErrorCode::InvalidGroupId, members: Vec::new() },
            Some(Group::Classic(group)) => group.leave(leave, cx),
            Some(Group::Modern(group)) if group.kind == Kind::Consumer => self.leave_modern(leave, cx),
            _ => {
                let unknown = |(id, instance)| (id, instance, ErrorCode::UnknownMemberId);
                Left { error: ErrorCode::None, members: leave.members.into_iter().map(unknown).collect() }
            }
        };
        cx.defer(request, Response::Leave(left));
    }
}

/// A group as its record tells it.
fn load_classic(id: String, value: GroupMetadataValue) -> Result<ClassicGroup, CoordinatorError> {
    let mut group = ClassicGroup::new(id, 0);
    group.generation = value.generation;
    group.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty());
    group.protocol_name = value.protocol;
    group.state_since_ms = Some(value.current_state_timestamp).filter(|at| *at >= 0);
    if !value.members.is_empty() {
        group.state = ClassicState::Stable;
    }
    let protocol = group.protocol_name.clone().unwrap_or_default();
    for loaded in value.members {
        if let Some(instance) = &loaded.group_instance_id
            && let Some(_twice) = group.static_members.insert(instance.clone(), loaded.member_id.clone())
        {
            return Err(CoordinatorError::Inconsistent { group: group.id, why: "a static member twice" });
        }
        let member = Member {
            id: loaded.member_id.clone(),
            instance: loaded.group_instance_id,
            client_id: loaded.client_id,
            client_host: loaded.client_host,
            rebalance_timeout_ms: match loaded.rebalance_timeout {
                -1 => loaded.session_timeout,
                given => given,
            },
            session_timeout_ms: loaded.session_timeout,
            protocols: vec![(protocol.clone(), loaded.subscription)],
            assignment: loaded.assignment,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        };
        if group.members.insert(loaded.member_id, member).is_some() {
            return Err(CoordinatorError::Inconsistent { group: group.id, why: "a member twice" });
        }
    }
    group.leader = match value.leader {
        Some(leader) if !group.members.contains_key(&leader) => group.members.keys().next().cloned(),
        leader => leader,
    };
    group.subscribed_topics = group.compute_subscribed_topics();
    Ok(group)
}
