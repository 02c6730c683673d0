//! Classic clients in a consumer group: JoinGroup, SyncGroup, Heartbeat and LeaveGroup mean the same steps as
//! heartbeats of new clients. A member's generation is its epoch, and nobody leads.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_codec::{ErrorCode, Uuid};

use super::change::Kind;
use super::convert::{by_id, classic_assignment, downgrade, may_downgrade, subscription};
use super::group::{ModernGroup, metadata_hash};
use super::heartbeat::{Beat, Beaten, Says, check_instance, step, unknown_member};
use super::member::{ClassicSide, MemberState, ModernMember, plain};
use super::{GroupChange, Refusal};
use crate::classic::CONSUMER_PROTOCOL;
use crate::config::MigrationPolicy;
use crate::output::RequestId;
use crate::reply::{Joined, Left, Response, Synced};
use crate::request::{GroupSettings, Heartbeat, JoinGroup, LeaveGroup, SyncGroup};
use crate::shard::{Cx, Effect, Group, Tables};
use crate::timers::TimerKey;

impl Tables {
    /// JoinGroup to a consumer group with members.
    pub fn join_modern(&mut self, request: RequestId, join: JoinGroup, cx: &mut Cx<'_>) {
        let mark = cx.mark();
        let member = join.member.clone();
        match self.try_join_modern(join, cx) {
            Ok(joined) if joined.error == ErrorCode::None => cx.defer(request, Response::Join(joined)),
            Ok(asked_back) => cx.reply(request, Response::Join(asked_back)),
            Err(refusal) => {
                cx.rewind(mark);
                cx.reply(request, Response::Join(Joined::failed(refusal.code, &member)));
            }
        }
    }

    fn try_join_modern(&mut self, join: JoinGroup, cx: &mut Cx<'_>) -> Result<Joined, Refusal> {
        let Some(Group::Modern(group)) = self.groups.get(&join.group) else {
            return Err(Refusal::new(ErrorCode::UnknownMemberId, ""));
        };
        let topics = Arc::clone(&self.topics);
        let is_unknown = join.member.is_empty();
        let id = if is_unknown { join.fresh_id.clone() } else { join.member.clone() };
        if cx.config.migration == MigrationPolicy::Disabled {
            let message = format!(
                "Cannot join the consumer group {} with the classic protocol because the group migration is disabled.",
                group.id
            );
            return Err(Refusal::new(ErrorCode::InconsistentGroupProtocol, message));
        }
        if !supports(group, &join, &id) {
            let message = format!("Member {id}'s protocols are not supported.");
            return Err(Refusal::new(ErrorCode::InconsistentGroupProtocol, message));
        }
        if is_unknown && join.require_known_member && join.instance.is_none() {
            return Ok(Joined::failed(ErrorCode::MemberIdRequired, &id));
        }
        let Some((protocol, metadata)) = join.protocols.first().cloned() else {
            return Err(Refusal::new(ErrorCode::InconsistentGroupProtocol, ""));
        };
        let malformed =
            |_| Refusal::new(ErrorCode::UnknownServerError, "malformed embedded consumer protocol");
        let subscription = subscription(&metadata).map_err(malformed)?;
        let owned = subscription.owned_partitions.into_iter().map(|topic| (topic.topic, topic.partitions));
        let beat = Beat {
            kind: Kind::Consumer,
            group: join.group,
            member: id,
            // A static member under its own id is known, or else unknown; all others may be new.
            epoch: if join.instance.is_none() || is_unknown { 0 } else { i32::MAX },
            instance: join.instance,
            says: Says {
                rack: subscription.rack_id.filter(|rack| !rack.is_empty()),
                rebalance_timeout_ms: Some(join.rebalance_timeout_ms),
                topics: Some(subscription.topics.into_iter().collect()),
                regex: Some(String::new()),
                assignor: None,
                client_id: join.client_id,
                client_host: join.client_host,
                classic: Some(ClassicSide {
                    session_timeout_ms: join.session_timeout_ms,
                    protocols: join.protocols,
                }),
            },
            owned: Some(by_id(owned, &*topics)),
            settings: GroupSettings {
                session_timeout_ms: join.session_timeout_ms,
                assignment_interval_ms: cx.config.consumer_assignment_interval_ms,
                ..GroupSettings::default()
            },
        };
        let replaces = beat.instance.as_ref().is_some_and(|instance| {
            is_unknown && group.static_member(instance).is_some_and(|member| !member.is_classic())
        });
        let mark = cx.mark();
        let Beaten { after, .. } = step(Cow::Borrowed(group), &beat, &*topics, cx)?;
        let timer = |key: fn(String, String) -> TimerKey| key(beat.group.clone(), after.id.clone());
        cx.timers.cancel(&timer(|group, member| TimerKey::Rejoin { group, member }));
        let session = timer(|group, member| TimerKey::Session { group, member });
        cx.timers.arm(session, cx.now.mono_ms + i64::from(join.session_timeout_ms));
        let mut downgraded = false;
        if replaces {
            let mut view = group.clone();
            cx.changes_since(mark).for_each(|change| view.apply(change.clone()));
            if may_downgrade(&view, &BTreeSet::new(), view.members.len(), cx) {
                downgrade(&view, &BTreeSet::new(), Some(&after.id), &*topics, cx);
                downgraded = true;
            }
        }
        if !downgraded {
            let sync = timer(|group, member| TimerKey::SyncMember { group, member });
            cx.timers.arm(sync, cx.now.mono_ms + i64::from(join.rebalance_timeout_ms));
        }
        self.saw_topics(&beat.group, &*topics, cx);
        Ok(Joined {
            error: ErrorCode::None,
            generation: after.current.epoch,
            protocol_type: Some(CONSUMER_PROTOCOL.to_owned()),
            protocol_name: Some(protocol),
            leader: String::new(),
            skip_assignment: false,
            member: after.id,
            members: Vec::new(),
        })
    }

    /// SyncGroup in a consumer group.
    pub fn sync_modern(&mut self, request: RequestId, sync: SyncGroup, cx: &mut Cx<'_>) {
        let outcome = self.try_sync_modern(sync, cx);
        match outcome {
            Ok(synced) => cx.defer(request, Response::Sync(synced)),
            Err(refusal) => cx.reply(request, Response::Sync(Synced::failed(refusal.code))),
        }
    }

    fn try_sync_modern(&self, sync: SyncGroup, cx: &mut Cx<'_>) -> Result<Synced, Refusal> {
        let Some(Group::Modern(group)) = self.groups.get(&sync.group) else {
            return Err(unknown_member(&sync.member, &sync.group));
        };
        let (member, side) = classic_member(group, &sync.member, sync.instance.as_deref())?;
        check_generation(member, sync.generation)?;
        let (protocol, metadata) = side.protocols.first().cloned().unwrap_or_default();
        if sync.protocol_type.as_ref().is_some_and(|name| name != CONSUMER_PROTOCOL)
            || sync.protocol_name.as_ref().is_some_and(|name| *name != protocol)
        {
            return Err(Refusal::new(ErrorCode::InconsistentGroupProtocol, ""));
        }
        if member.current.epoch < group.epoch {
            rejoin_deadline(group, member, cx);
            return Err(Refusal::new(ErrorCode::RebalanceInProgress, ""));
        }
        let (id, name) = (group.id.clone(), member.id.clone());
        cx.timers.cancel(&TimerKey::SyncMember { group: id.clone(), member: name.clone() });
        let session = TimerKey::Session { group: id, member: name };
        cx.timers.arm(session, cx.now.mono_ms + i64::from(side.session_timeout_ms));
        Ok(Synced {
            error: ErrorCode::None,
            protocol_type: sync.protocol_type,
            protocol_name: sync.protocol_name,
            assignment: classic_assignment(&plain(&member.current.assigned), &metadata, &*self.topics),
        })
    }

    /// Heartbeat in a consumer group.
    pub fn heartbeat_modern(&mut self, request: RequestId, beat: &Heartbeat, cx: &mut Cx<'_>) {
        let error = self.try_heartbeat_modern(beat, cx).unwrap_or_else(|refusal| refusal.code);
        cx.defer(request, Response::Heartbeat(error));
    }

    fn try_heartbeat_modern(&mut self, beat: &Heartbeat, cx: &mut Cx<'_>) -> Result<ErrorCode, Refusal> {
        let topics = Arc::clone(&self.topics);
        let Some(Group::Modern(group)) = self.groups.get(&beat.group) else {
            return Err(unknown_member(&beat.member, &beat.group));
        };
        let (member, side) = classic_member(group, &beat.member, beat.instance.as_deref())?;
        check_generation(member, beat.generation)?;
        let session = TimerKey::Session { group: group.id.clone(), member: member.id.clone() };
        cx.timers.arm(session, cx.now.mono_ms + i64::from(side.session_timeout_ms));
        let mut epoch = group.epoch;
        if group.seen_topics != topics.version() {
            let hash = metadata_hash(&super::heartbeat::all_topics(group, None), &*topics);
            if hash != group.metadata_hash {
                epoch += 1;
                cx.change(group, GroupChange::Epoch(Some((epoch, hash))));
            }
        }
        let must_rejoin = member.current.epoch < epoch
            || member.current.state == MemberState::UnrevokedPartitions
            || (member.current.state == MemberState::UnreleasedPartitions && !waits(group, member));
        if must_rejoin {
            rejoin_deadline(group, member, cx);
        }
        let id = group.id.clone();
        self.saw_topics(&id, &*topics, cx);
        Ok(if must_rejoin { ErrorCode::RebalanceInProgress } else { ErrorCode::None })
    }

    /// LeaveGroup in a consumer group.
    pub fn leave_modern(&mut self, leave: LeaveGroup, cx: &mut Cx<'_>) -> Left {
        let Some(Group::Modern(group)) = self.groups.get(&leave.group) else {
            return Left { error: ErrorCode::UnknownMemberId, members: Vec::new() };
        };
        let mut leaving = BTreeSet::new();
        let mut members = Vec::with_capacity(leave.members.len());
        for (id, instance) in leave.members {
            // As Kafka does it, members of either protocol: administrators remove them like this.
            let found = match instance.as_deref() {
                None => group.members.get(&id).ok_or(ErrorCode::UnknownMemberId),
                Some(instance) => match group.static_member(instance) {
                    None => Err(ErrorCode::UnknownMemberId),
                    // An administrator names the instance alone.
                    Some(owner) if id.is_empty() => Ok(owner),
                    Some(owner) => {
                        check_instance(owner, &id, instance).map(|()| owner).map_err(|refusal| refusal.code)
                    }
                },
            };
            let error = match found {
                Ok(member) => {
                    leaving.insert(member.id.as_str());
                    ErrorCode::None
                }
                Err(error) => error,
            };
            members.push((id, instance, error));
        }
        if !leaving.is_empty() {
            super::leave::fence(group, &leaving, &*self.topics, cx);
        }
        Left { error: ErrorCode::None, members }
    }

    /// A classic member joins a consumer group that has no members: the group becomes a classic one.
    pub fn replace_empty(&mut self, id: &str, cx: &mut Cx<'_>) {
        let Some(Group::Modern(group)) = self.groups.get(id) else { return };
        let changes = group.tombstones();
        let before = Box::new(group.clone());
        let mut changes = changes.into_iter();
        if let Some(first) = changes.next() {
            let record = super::record(before.kind, id, &first);
            cx.record(record, Effect::EmptyReplaced(before.clone()));
        }
        for change in changes {
            cx.change(&before, change);
        }
        cx.timers.cancel(&TimerKey::Assign { group: id.to_owned() });
        self.groups.remove(id);
    }
}

fn supports(group: &ModernGroup, join: &JoinGroup, member: &str) -> bool {
    let others: Vec<&ClassicSide> = group
        .members
        .values()
        .filter(|other| other.id != member)
        .filter_map(|other| other.metadata.classic.as_ref())
        .collect();
    let all_have =
        |name: &str| others.iter().all(|side| side.protocols.iter().any(|(other, _)| other == name));
    join.protocol_type == CONSUMER_PROTOCOL && join.protocols.iter().any(|(name, _)| all_have(name))
}

fn classic_member<'a>(
    group: &'a ModernGroup,
    id: &str,
    instance: Option<&str>,
) -> Result<(&'a ModernMember, &'a ClassicSide), Refusal> {
    let member = match instance {
        None => group.members.get(id).ok_or_else(|| unknown_member(id, &group.id))?,
        Some(instance) => {
            let owner = group.static_member(instance).ok_or_else(|| unknown_member(id, &group.id))?;
            check_instance(owner, id, instance)?;
            owner
        }
    };
    match &member.metadata.classic {
        Some(side) => Ok((member, side)),
        None => {
            let message = format!("Member {id} does not use the classic protocol.");
            Err(Refusal::new(ErrorCode::UnknownMemberId, message))
        }
    }
}

fn check_generation(member: &ModernMember, generation: i32) -> Result<(), Refusal> {
    if member.current.epoch == generation {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::IllegalGeneration, ""))
}

/// Sets a deadline for coming back, if there is none yet.
fn rejoin_deadline(group: &ModernGroup, member: &ModernMember, cx: &mut Cx<'_>) {
    let key = TimerKey::Rejoin { group: group.id.clone(), member: member.id.clone() };
    if !cx.timers.is_armed(&key) {
        cx.timers.arm(key, cx.now.mono_ms + i64::from(member.metadata.rebalance_timeout_ms));
    }
}

/// Whether a partition of the member's target is still held by another.
fn waits(group: &ModernGroup, member: &ModernMember) -> bool {
    let Some(target) = group.target.get(&member.id) else { return false };
    let has = |topic: &Uuid, index: &i32| {
        member.current.assigned.get(topic).is_some_and(|assigned| assigned.contains_key(index))
    };
    target.iter().any(|(topic, partitions)| {
        partitions.iter().any(|index| !has(topic, index) && group.holder_epoch(*topic, *index).is_some())
    })
}
