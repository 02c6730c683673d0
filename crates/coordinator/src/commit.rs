//! OffsetCommit, OffsetFetch, OffsetDelete, and what retention does to offsets.

use kafka_codec::{EncodeError, ErrorCode, Uuid};

use crate::classic::{ClassicGroup, ClassicState};
use crate::modern::{Kind, ModernGroup, TopicCatalog};
use crate::offsets::CommittedOffset;
use crate::output::{Record, RequestId};
use crate::records::offset_record;
use crate::reply::{Committed, CommittedTopic, Fetched, FetchedTopic, OffsetsDeleted, Response};
use crate::request::{CommitPartition, FetchTopic, OffsetCommit, OffsetDelete, OffsetFetch};
use crate::shard::{Cx, Effect, Group, Tables};
use crate::timers::TimerKey;

/// Records written by one round of retention; the rest follows in the next round at once.
const RETENTION_RECORDS_MAX: usize = 1_000;

impl ClassicGroup {
    /// Whether this member may commit offsets now.
    fn validate_commit(&self, commit: &OffsetCommit, transactional: bool) -> Result<(), ErrorCode> {
        if self.is(ClassicState::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if commit.generation < 0 && self.is(ClassicState::Empty) {
            // An administrator, or a consumer that assigns its partitions itself.
            return Ok(());
        }
        if commit.generation >= 0 || !commit.member.is_empty() || commit.instance.is_some() {
            self.validate_member(&commit.member, commit.instance.as_deref())?;
            if commit.generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !transactional && !self.is(ClassicState::Empty) {
            // (Older transactional clients do not say which member they are.)
            return Err(ErrorCode::UnknownMemberId);
        }
        if !transactional && self.is(ClassicState::CompletingRebalance) {
            // The member knows the new generation and not yet what it owns in it.
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// From when on the retention time of an offset counts; `None` while the offset is in use.
    fn retention_start_ms(&self, offset: &CommittedOffset) -> Option<i64> {
        if self.protocol_type.is_none() {
            return Some(offset.commit_ms);
        }
        match self.state {
            ClassicState::Empty => Some(self.state_since_ms.unwrap_or(offset.commit_ms)),
            ClassicState::Stable if self.uses_consumer_protocol() && self.subscribed_topics.is_some() => {
                Some(offset.commit_ms)
            }
            _ => None,
        }
    }
}

impl Tables {
    pub fn commit(&mut self, request: RequestId, commit: OffsetCommit, cx: &mut Cx<'_>) {
        if let Err(error) = self.validate_commit(&commit, false) {
            return cx.reply(request, Response::OffsetCommit(Committed::failed(&commit, error)));
        }
        if let Some(Group::Classic(group)) = self.groups.get(&commit.group)
            && matches!(group.state, ClassicState::Stable | ClassicState::PreparingRebalance)
        {
            group.touch(&commit.member, cx);
        }
        self.write_offsets(request, &commit, cx, |effect| effect);
    }

    /// Writes the offsets of a commit that may be made.
    pub fn write_offsets(
        &self,
        request: RequestId,
        commit: &OffsetCommit,
        cx: &mut Cx<'_>,
        effect: impl Fn(Effect) -> Effect,
    ) {
        let expire_ms = commit.retention_ms.map(|keep| cx.now.wall_ms.saturating_add(keep));
        let mut topics = Vec::with_capacity(commit.topics.len());
        for topic in &commit.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let error = match commit_one(&commit.group, &topic.name, topic.id, asked, expire_ms, cx) {
                    Ok((record, value)) => {
                        cx.record(record, effect(value));
                        ErrorCode::None
                    }
                    Err(error) => error,
                };
                partitions.push((asked.partition, error));
            }
            topics.push(CommittedTopic { name: topic.name.clone(), id: topic.id, partitions });
        }
        cx.defer(request, Response::OffsetCommit(Committed { topics }));
    }

    pub fn validate_commit(&self, commit: &OffsetCommit, transactional: bool) -> Result<(), ErrorCode> {
        match self.groups.get(&commit.group) {
            Some(Group::Classic(group)) => group.validate_commit(commit, transactional),
            Some(Group::Modern(group)) => group.validate_commit(commit, transactional, &*self.topics),
            None if commit.generation < 0 => Ok(()),
            None if commit.knows_group_id_not_found => Err(ErrorCode::GroupIdNotFound),
            None => Err(ErrorCode::IllegalGeneration),
        }
    }

    pub fn fetch(&self, request: RequestId, fetch: OffsetFetch, cx: &mut Cx<'_>) {
        if let Err(error) = self.validate_fetch(&fetch) {
            let answer = Fetched { error, topics: Vec::new() };
            return cx.reply(request, Response::OffsetFetch(answer));
        }
        let topics = match fetch.topics {
            Some(topics) => topics
                .into_iter()
                .map(|topic| self.fetch_topic(&fetch.group, topic, fetch.require_stable))
                .collect(),
            None => self.fetch_all(&fetch.group, fetch.require_stable),
        };
        cx.defer(request, Response::OffsetFetch(Fetched { error: ErrorCode::None, topics }));
    }

    /// Members of a consumer group show their epoch, so that one that was fenced learns it here.
    fn validate_fetch(&self, fetch: &OffsetFetch) -> Result<(), ErrorCode> {
        let Some(Group::Modern(group)) = self.groups.get(&fetch.group) else { return Ok(()) };
        let member = match &fetch.member {
            None if fetch.epoch < 0 => return Ok(()),
            member => member.as_deref().unwrap_or_default(),
        };
        let member = group.members.get(member).ok_or(ErrorCode::UnknownMemberId)?;
        match fetch.epoch == member.current.epoch {
            true => Ok(()),
            false if member.is_classic() => Err(ErrorCode::IllegalGeneration),
            false => Err(ErrorCode::StaleMemberEpoch),
        }
    }

    fn fetch_topic(&self, group: &str, topic: FetchTopic, require_stable: bool) -> FetchedTopic {
        let partitions = topic
            .partitions
            .iter()
            .map(|partition| {
                if require_stable && self.pending.waits(group, &topic.name, *partition) {
                    return (*partition, ErrorCode::UnstableOffsetCommit, None);
                }
                let found = self.offsets.get(group, &topic.name, *partition);
                let valid = found.filter(|found| !is_of_another_topic(found.topic_id, topic.id));
                (*partition, ErrorCode::None, valid.cloned())
            })
            .collect();
        FetchedTopic { name: topic.name, id: topic.id, partitions }
    }

    fn fetch_all(&self, group: &str, require_stable: bool) -> Vec<FetchedTopic> {
        let mut topics: Vec<FetchedTopic> = Vec::new();
        for (name, partition, value) in self.offsets.of_group(group) {
            let entry = if require_stable && self.pending.waits(group, name, partition) {
                (partition, ErrorCode::UnstableOffsetCommit, None)
            } else {
                (partition, ErrorCode::None, Some(value.clone()))
            };
            match topics.last_mut().filter(|last| last.name == name) {
                Some(last) => {
                    last.id = last.id.or(value.topic_id);
                    last.partitions.push(entry);
                }
                None => topics.push(FetchedTopic {
                    name: name.to_owned(),
                    id: value.topic_id,
                    partitions: vec![entry],
                }),
            }
        }
        topics
    }

    pub fn delete_offsets(&mut self, request: RequestId, delete: OffsetDelete, cx: &mut Cx<'_>) {
        let answer = match self.delete_offsets_of(&delete, cx) {
            Ok(topics) => OffsetsDeleted { error: ErrorCode::None, topics },
            Err(error) => OffsetsDeleted { error, topics: Vec::new() },
        };
        cx.defer(request, Response::OffsetDelete(answer));
    }

    #[allow(clippy::type_complexity)]
    fn delete_offsets_of(
        &self,
        delete: &OffsetDelete,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<(String, Vec<(i32, ErrorCode)>)>, ErrorCode> {
        let Some(group) = self.groups.get(&delete.group) else {
            return Err(ErrorCode::GroupIdNotFound);
        };
        match group {
            Group::Classic(group) if !group.is(ClassicState::Empty) && !group.uses_consumer_protocol() => {
                return Err(ErrorCode::NonEmptyGroup);
            }
            Group::Modern(group) if group.kind == Kind::Share => return Err(ErrorCode::GroupIdNotFound),
            Group::Classic(_) | Group::Modern(_) => {}
        }
        let mut topics = Vec::with_capacity(delete.topics.len());
        for (topic, partitions) in &delete.topics {
            let in_use = group.is_subscribed_to(topic);
            let outcome = if in_use { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
            for partition in partitions {
                let known = self.offsets.get(&delete.group, topic, *partition).is_some()
                    || self.pending.waits(&delete.group, topic, *partition);
                if !in_use && known {
                    let effect = Effect::offset_removed(&delete.group, topic, *partition);
                    cx.record(offset_record(&delete.group, topic, *partition, None), effect);
                }
            }
            topics.push((topic.clone(), partitions.iter().map(|partition| (*partition, outcome)).collect()));
        }
        Ok(topics)
    }

    /// Tombstones for every offset of deleted topics.
    pub fn topics_deleted(&mut self, topics: &[String], cx: &mut Cx<'_>) {
        for topic in topics {
            for (group, partition) in self.offsets.of_topic(topic) {
                let effect = Effect::offset_removed(group, topic, partition);
                cx.record(offset_record(group, topic, partition, None), effect);
            }
        }
    }

    /// Removes what nobody used for the retention time: offsets, then groups left without members and offsets.
    pub fn retention(&mut self, cx: &mut Cx<'_>) {
        let from = self.retention_cursor.take().unwrap_or_default();
        for (id, group) in self.groups.range(from..) {
            if cx.out.records.len() >= RETENTION_RECORDS_MAX {
                self.retention_cursor = Some(id.clone());
                break;
            }
            let mut all_expired = true;
            for (topic, partition, offset) in self.offsets.of_group(id) {
                if group.is_subscribed_to(topic)
                    || !is_expired(group, offset, cx)
                    || self.pending.waits(id, topic, partition)
                {
                    all_expired = false;
                    continue;
                }
                let effect = Effect::offset_removed(id, topic, partition);
                cx.record(offset_record(id, topic, partition, None), effect);
            }
            if all_expired && group.is_unused() && !self.pending.waits_for_group(id) {
                self.remove_group(id, cx);
            }
        }
        let pause =
            if self.retention_cursor.is_some() { 0 } else { cx.config.offsets_retention_check_interval_ms };
        cx.timers.arm(TimerKey::Retention, cx.now.mono_ms + pause);
    }
}

fn commit_one(
    group: &str,
    topic: &str,
    topic_id: Option<Uuid>,
    asked: &CommitPartition,
    expire_ms: Option<i64>,
    cx: &Cx<'_>,
) -> Result<(Result<Record, EncodeError>, Effect), ErrorCode> {
    let metadata = asked.metadata.clone().unwrap_or_default();
    if metadata.len() > cx.config.offset_metadata_bytes_max {
        return Err(ErrorCode::OffsetMetadataTooLarge);
    }
    let value = CommittedOffset {
        offset: asked.offset,
        leader_epoch: Some(asked.leader_epoch).filter(|epoch| *epoch >= 0),
        metadata,
        commit_ms: cx.now.wall_ms,
        expire_ms,
        // The record version with an expiry time has no room for the id.
        topic_id: topic_id.filter(|id| *id != Uuid::ZERO && expire_ms.is_none()),
        record_offset: -1,
    };
    let record = offset_record(group, topic, asked.partition, Some(&value));
    let (group, topic) = (group.to_owned(), topic.to_owned());
    Ok((record, Effect::Offset { group, topic, partition: asked.partition, value: Some(value) }))
}

/// An offset stored for a topic that was deleted and made anew says nothing about the new one.
fn is_of_another_topic(stored: Option<Uuid>, asked: Option<Uuid>) -> bool {
    matches!((stored, asked), (Some(stored), Some(asked)) if asked != Uuid::ZERO && stored != asked)
}

impl Group {
    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Modern(group) => group.is_subscribed_to(topic),
        }
    }

    /// Whether it may go once it has no offsets.
    fn is_unused(&self) -> bool {
        match self {
            Self::Classic(group) => group.is(ClassicState::Empty) && group.pending_join.is_empty(),
            // A share group's place in its topics is kept elsewhere and is no offset here: it stays until deleted.
            Self::Modern(group) => group.members.is_empty() && group.kind == Kind::Consumer,
        }
    }
}

impl ModernGroup {
    /// Whether this member may commit offsets now. One that does not know its newest epoch yet still may for
    /// partitions that it has had since (KIP-1251).
    fn validate_commit(
        &self,
        commit: &OffsetCommit,
        transactional: bool,
        topics: &dyn TopicCatalog,
    ) -> Result<(), ErrorCode> {
        if self.kind == Kind::Share {
            return Err(ErrorCode::GroupIdNotFound);
        }
        if commit.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&commit.member).ok_or(ErrorCode::UnknownMemberId)?;
        let (told, current) = (commit.generation, &member.current);
        if member.is_classic() {
            return if told == current.epoch { Ok(()) } else { Err(ErrorCode::IllegalGeneration) };
        }
        if !commit.knows_group_id_not_found && !transactional {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if told == current.epoch {
            return Ok(());
        }
        let had_since = |topic: &str, id: Option<Uuid>, partition: i32| {
            let id = id.or_else(|| topics.by_name(topic).map(|topic| topic.id))?;
            let held = [&current.assigned, &current.pending_revocation];
            let since = held.into_iter().find_map(|held| held.get(&id)?.get(&partition))?;
            (*since <= told).then_some(())
        };
        let all_held = commit.topics.iter().all(|topic| {
            topic.partitions.iter().all(|asked| had_since(&topic.name, topic.id, asked.partition).is_some())
        });
        if told >= 0 && told < current.epoch && all_held { Ok(()) } else { Err(ErrorCode::StaleMemberEpoch) }
    }
}

fn is_expired(group: &Group, offset: &CommittedOffset, cx: &Cx<'_>) -> bool {
    let start = match group {
        Group::Classic(group) => group.retention_start_ms(offset),
        Group::Modern(_) => Some(offset.commit_ms),
    };
    let Some(start) = start else { return false };
    match offset.expire_ms {
        Some(expire_ms) => cx.now.wall_ms >= expire_ms,
        None => cx.now.wall_ms - start >= cx.config.offsets_retention_ms,
    }
}

impl Committed {
    /// The same error for every partition of a commit.
    pub fn failed(commit: &OffsetCommit, error: ErrorCode) -> Self {
        let topic = |topic: &crate::request::CommitTopic| CommittedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic.partitions.iter().map(|asked| (asked.partition, error)).collect(),
        };
        Self { topics: commit.topics.iter().map(topic).collect() }
    }
}
