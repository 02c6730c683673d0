//! ConsumerGroupHeartbeat and ShareGroupHeartbeat: how members join, are reconciled and learn their assignment.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_codec::{ErrorCode, Uuid};

use super::change::{GroupChange, Kind, ResolvedRegex};
use super::group::{ModernGroup, metadata_hash};
use super::member::{
    Assignment, CurrentAssignment, EpochAssignment, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, MemberMetadata,
    MemberState, ModernMember, plain,
};
use super::reconcile::{self, Surroundings};
use super::share_topics::with_subscribed;
use super::target::{self, Update};
use super::topics::TopicCatalog;
use super::{Refusal, regex};
use crate::classic::ClassicState;
use crate::output::RequestId;
use crate::records::group_tombstone;
use crate::reply::{HeartbeatAnswer, Response};
use crate::request::{ConsumerHeartbeat, GroupSettings, ShareHeartbeat};
use crate::shard::{Cx, Effect, Group, Tables};
use crate::timers::TimerKey;

/// A heartbeat of either kind of group, and what a classic member's JoinGroup amounts to.
pub(super) struct Beat {
    pub kind: Kind,
    pub group: String,
    pub member: String,
    pub epoch: i32,
    pub instance: Option<String>,
    /// What the member says about itself, laid over what is known.
    pub says: Says,
    pub owned: Option<Assignment>,
    pub settings: GroupSettings,
}

/// What a heartbeat says about the member; `None` = as before.
#[derive(Default)]
pub(super) struct Says {
    pub rack: Option<String>,
    pub rebalance_timeout_ms: Option<i32>,
    pub topics: Option<BTreeSet<String>>,
    pub regex: Option<String>,
    pub assignor: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub classic: Option<super::member::ClassicSide>,
}

/// What became of a member.
pub(super) struct Beaten {
    pub before: Arc<ModernMember>,
    pub after: ModernMember,
}

impl Tables {
    pub fn consumer_heartbeat(&mut self, request: RequestId, beat: ConsumerHeartbeat, cx: &mut Cx<'_>) {
        let settings = beat.settings;
        let mark = cx.mark();
        let outcome = check_consumer(&beat, cx).and_then(|()| {
            if beat.epoch < 0 {
                return self.consumer_leave(&beat, cx);
            }
            let is_full = beat.epoch == 0
                || (beat.rebalance_timeout_ms >= 0
                    && (beat.topics.is_some() || beat.regex.is_some())
                    && beat.owned.is_some());
            let member = if beat.member.is_empty() { beat.fresh_id } else { beat.member };
            let beat = Beat {
                kind: Kind::Consumer,
                group: beat.group,
                member,
                epoch: beat.epoch,
                instance: beat.instance,
                says: Says {
                    rack: beat.rack,
                    rebalance_timeout_ms: Some(beat.rebalance_timeout_ms).filter(|timeout| *timeout >= 0),
                    topics: beat.topics.map(|topics| topics.into_iter().collect()),
                    regex: beat.regex,
                    assignor: beat.assignor,
                    client_id: beat.client_id,
                    client_host: beat.client_host,
                    classic: None,
                },
                owned: beat.owned,
                settings,
            };
            self.beat(&beat, is_full, cx)
        });
        finish(request, outcome, settings, mark, cx);
    }

    pub fn share_heartbeat(&mut self, request: RequestId, beat: ShareHeartbeat, cx: &mut Cx<'_>) {
        let settings = beat.settings;
        let mark = cx.mark();
        let outcome = check_share(&beat).and_then(|()| {
            if beat.epoch == LEAVE_EPOCH {
                return self.share_leave(&beat, cx);
            }
            let is_full = beat.epoch == 0 || beat.topics.is_some();
            let beat = Beat {
                kind: Kind::Share,
                group: beat.group,
                member: beat.member,
                epoch: beat.epoch,
                instance: None,
                says: Says {
                    rack: beat.rack,
                    topics: beat.topics.map(|topics| topics.into_iter().collect()),
                    client_id: beat.client_id,
                    client_host: beat.client_host,
                    ..Says::default()
                },
                owned: None,
                settings,
            };
            self.beat(&beat, is_full, cx)
        });
        finish(request, outcome, settings, mark, cx);
    }

    fn beat(&mut self, beat: &Beat, is_full: bool, cx: &mut Cx<'_>) -> Result<HeartbeatAnswer, Refusal> {
        let topics = Arc::clone(&self.topics);
        let group = self.group_for(beat, cx)?;
        let Beaten { before, after } = step(group, beat, &*topics, cx)?;
        let id = &beat.group;
        self.saw_topics(id, &*topics, cx);
        let key = TimerKey::Session { group: id.clone(), member: after.id.clone() };
        cx.timers.arm(key, cx.now.mono_ms + i64::from(beat.settings.session_timeout_ms));
        let tells = is_full || before.current.assigned != after.current.assigned;
        Ok(HeartbeatAnswer {
            error: ErrorCode::None,
            message: None,
            member: Some(after.id.clone()),
            epoch: after.current.epoch,
            interval_ms: beat.settings.heartbeat_interval_ms,
            assignment: tells.then(|| plain(&after.current.assigned)),
        })
    }

    /// The group a heartbeat belongs to: as it is, newly made, or converted from a classic one.
    fn group_for(&mut self, beat: &Beat, cx: &mut Cx<'_>) -> Result<Cow<'_, ModernGroup>, Refusal> {
        let id = &beat.group;
        let joins = beat.epoch == 0;
        let kind_name = if beat.kind == Kind::Consumer { "consumer" } else { "share" };
        let other =
            || Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} is not a {kind_name} group."));
        let fresh = || Cow::Owned(ModernGroup::new(id.clone(), beat.kind));
        let is_empty_classic = matches!(self.groups.get(id),
            Some(Group::Classic(group)) if group.is(ClassicState::Empty) && group.pending_join.is_empty());
        match self.groups.get_mut(id) {
            None if joins => Ok(fresh()),
            None => Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} not found."))),
            Some(Group::Classic(_)) if is_empty_classic && joins && beat.kind == Kind::Consumer => {
                cx.record(group_tombstone(id), Effect::GroupRemoved(id.clone()));
                Ok(fresh())
            }
            Some(Group::Classic(classic)) if joins && beat.kind == Kind::Consumer => {
                let topics = Arc::clone(&self.topics);
                super::convert::upgrade(classic, &*topics, cx).map(Cow::Owned)
            }
            Some(Group::Modern(group)) if group.kind == beat.kind => Ok(Cow::Borrowed(group)),
            Some(_) => Err(other()),
        }
    }

    /// Remembers that the group has looked at the topics as they are, if that changed nothing.
    pub(super) fn saw_topics(&mut self, id: &str, topics: &dyn TopicCatalog, cx: &Cx<'_>) {
        if cx.out.records.is_empty()
            && let Some(Group::Modern(group)) = self.groups.get_mut(id)
        {
            group.seen_topics = topics.version();
        }
    }
}

fn finish(
    request: RequestId,
    outcome: Result<HeartbeatAnswer, Refusal>,
    settings: GroupSettings,
    mark: (usize, usize),
    cx: &mut Cx<'_>,
) {
    match outcome {
        Ok(answer) => cx.defer(request, Response::ModernHeartbeat(answer)),
        Err(Refusal { code, message }) => {
            cx.rewind(mark);
            let answer = HeartbeatAnswer {
                error: code,
                message: Some(message),
                member: None,
                epoch: 0,
                interval_ms: settings.heartbeat_interval_ms,
                assignment: None,
            };
            cx.reply(request, Response::ModernHeartbeat(answer));
        }
    }
}

/// One member's step: it joins or changes, the group's epoch and target follow, and the member moves towards them.
pub(super) fn step(
    mut group: Cow<'_, ModernGroup>,
    beat: &Beat,
    topics: &dyn TopicCatalog,
    cx: &mut Cx<'_>,
) -> Result<Beaten, Refusal> {
    let size_max = match beat.kind {
        Kind::Consumer => cx.config.consumer_max_size,
        Kind::Share => cx.config.share_max_size,
    };
    let takes_over =
        beat.instance.as_ref().is_some_and(|instance| group.static_members.contains_key(instance));
    if !group.members.contains_key(&beat.member) && !takes_over && group.members.len() >= size_max {
        let kind = if beat.kind == Kind::Consumer { "consumer" } else { "share" };
        let message = format!("The {kind} group has reached its maximum capacity of {size_max} members.");
        return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message));
    }
    let before = find_member(&mut group, beat, cx)?;
    let group = &*group;
    let is_new = !group.members.contains_key(&before.id);

    let mut after = ModernMember { metadata: updated(&before.metadata, beat), ..(*before).clone() };
    let metadata_changed = is_new || after.metadata != before.metadata;
    if metadata_changed {
        let metadata = Some(Arc::new(after.metadata.clone()));
        cx.change(group, GroupChange::Member(after.id.clone(), metadata));
    }
    let subscription_changed =
        after.metadata.topics != before.metadata.topics || after.metadata.regex != before.metadata.regex;
    let resolved = resolve_regexes(group, &before, &after, topics, cx)?;
    let update = Update { member: &after, regexes: &resolved };

    let mut epoch = group.epoch;
    if is_new || subscription_changed || !resolved.is_empty() || group.seen_topics != topics.version() {
        let hash = metadata_hash(&all_topics(group, Some(update)), topics);
        if is_new || subscription_changed || hash != group.metadata_hash {
            epoch += 1;
            cx.change(group, GroupChange::Epoch(Some((epoch, hash))));
        }
        if beat.kind == Kind::Share
            && let Some(state) = with_subscribed(group, &all_topics(group, Some(update)), topics)
        {
            cx.change(group, GroupChange::ShareState(Some(Arc::new(state))));
        }
    }
    let mut target_epoch = group.target_epoch;
    let mut target = group.target.get(&after.id).cloned().unwrap_or_default();
    if epoch > target_epoch
        && let Some(fresh) =
            target::update(group, Some(update), epoch, beat.settings.assignment_interval_ms, topics, cx)
    {
        target_epoch = epoch;
        target = fresh;
    }
    let current = match beat.kind {
        Kind::Consumer => {
            let settled = after.current.state == MemberState::Stable && after.current.epoch == target_epoch;
            if settled && !subscription_changed {
                after.current.clone()
            } else {
                reconcile_consumer(
                    group,
                    update,
                    beat,
                    (target_epoch, &target),
                    subscription_changed,
                    topics,
                )?
            }
        }
        Kind::Share => {
            reconcile_share(&after.current, target_epoch, &target, &subscribed_ids(group, update, topics))
        }
    };
    if is_new || current != after.current {
        let key = TimerKey::Revoke { group: group.id.clone(), member: after.id.clone() };
        if current.state == MemberState::UnrevokedPartitions {
            cx.timers.arm(key, cx.now.mono_ms + i64::from(after.metadata.rebalance_timeout_ms));
        } else {
            cx.timers.cancel(&key);
        }
        after.current = current;
        cx.change(group, GroupChange::Current(after.id.clone(), Some(Arc::new(after.current.clone()))));
    }
    Ok(Beaten { before, after })
}

fn updated(known: &MemberMetadata, beat: &Beat) -> MemberMetadata {
    let says = &beat.says;
    MemberMetadata {
        instance: beat.instance.clone().or_else(|| known.instance.clone()),
        rack: says.rack.clone().or_else(|| known.rack.clone()),
        client_id: says.client_id.clone(),
        client_host: says.client_host.clone(),
        topics: says.topics.clone().unwrap_or_else(|| known.topics.clone()),
        regex: match &says.regex {
            Some(regex) => Some(regex.clone()).filter(|regex| !regex.is_empty()),
            None => known.regex.clone(),
        },
        rebalance_timeout_ms: says.rebalance_timeout_ms.unwrap_or(known.rebalance_timeout_ms),
        assignor: says.assignor.clone().or_else(|| known.assignor.clone()),
        classic: says.classic.clone(),
    }
}

/// The member that heartbeats; one that joins is made, one that takes a static member's place replaces it.
fn find_member(
    group: &mut Cow<'_, ModernGroup>,
    beat: &Beat,
    cx: &mut Cx<'_>,
) -> Result<Arc<ModernMember>, Refusal> {
    let is_classic = beat.says.classic.is_some();
    // A classic member shows its generation in other ways.
    let joins = beat.epoch == 0;
    let Some(instance) = &beat.instance else {
        return match group.members.get(&beat.member) {
            Some(member) => {
                if !is_classic {
                    check_epoch(member, beat)?;
                }
                Ok(Arc::clone(member))
            }
            None if joins => Ok(Arc::new(ModernMember::new(&beat.member))),
            None => Err(unknown_member(&beat.member, &group.id)),
        };
    };
    let Some(existing) = group.static_member(instance).cloned() else {
        if joins {
            return Ok(Arc::new(ModernMember::new(&beat.member)));
        }
        return Err(Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown.")));
    };
    if !joins {
        check_instance(&existing, &beat.member, instance)?;
        if !is_classic {
            check_epoch(&existing, beat)?;
        }
        return Ok(existing);
    }
    if !is_classic && !existing.is_classic() && existing.current.epoch != LEAVE_STATIC_EPOCH {
        let message = format!(
            "Static member {} with instance id {instance} cannot join the group because the instance id is \
             owned by {} member.",
            beat.member, existing.id
        );
        return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, message));
    }
    let successor = ModernMember {
        id: beat.member.clone(),
        metadata: existing.metadata.clone(),
        current: CurrentAssignment { epoch: 0, previous_epoch: 0, ..existing.current.clone() },
    };
    let target = group.target.get(&existing.id).cloned().unwrap_or_default();
    let id = successor.id.clone();
    let mut changes: Vec<GroupChange> = super::leave::removal(&existing.id).into();
    changes.push(GroupChange::Member(id.clone(), Some(Arc::new(successor.metadata.clone()))));
    changes.push(GroupChange::Target(id.clone(), Some(target)));
    changes.push(GroupChange::Current(id, Some(Arc::new(successor.current.clone()))));
    super::leave::cancel_timers(&group.id, &existing.id, cx);
    for change in changes {
        cx.change(group, change.clone());
        group.to_mut().apply(change);
    }
    Ok(Arc::new(successor))
}

pub(super) fn unknown_member(member: &str, group: &str) -> Refusal {
    let message = format!("Member {member} is not a member of group {group}.");
    Refusal::new(ErrorCode::UnknownMemberId, message)
}

pub(super) fn check_instance(owner: &ModernMember, member: &str, instance: &str) -> Result<(), Refusal> {
    if owner.id == member {
        return Ok(());
    }
    let message =
        format!("Static member {member} with instance id {instance} was fenced by member {}.", owner.id);
    Err(Refusal::new(ErrorCode::FencedInstanceId, message))
}

/// A member must know its epoch; the one before is good enough if its last answer may have been lost.
fn check_epoch(member: &ModernMember, beat: &Beat) -> Result<(), Refusal> {
    let (told, current) = (beat.epoch, &member.current);
    if told == 0 || told == current.epoch {
        return Ok(());
    }
    let kind = if beat.kind == Kind::Consumer { "consumer" } else { "share" };
    if told < current.epoch && told == current.previous_epoch {
        let owns_no_more = || {
            beat.owned.as_ref().is_some_and(|owned| {
                owned.iter().all(|(topic, partitions)| {
                    let assigned = current.assigned.get(topic);
                    partitions.iter().all(|index| assigned.is_some_and(|own| own.contains_key(index)))
                })
            })
        };
        if beat.kind == Kind::Share || owns_no_more() {
            return Ok(());
        }
    }
    let than = if told > current.epoch { "greater" } else { "smaller" };
    let message = format!(
        "The {kind} group member has a {than} member epoch ({told}) than the one known by the group coordinator \
         ({}). The member must abandon all its partitions and rejoin.",
        current.epoch
    );
    Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
}

/// Resolves a regular expression that is new, and all of them when the topics changed; forgets one that nobody uses
/// any more.
fn resolve_regexes(
    group: &ModernGroup,
    before: &ModernMember,
    after: &ModernMember,
    topics: &dyn TopicCatalog,
    cx: &mut Cx<'_>,
) -> Result<Vec<(String, ResolvedRegex)>, Refusal> {
    let (old, new) = (&before.metadata.regex, &after.metadata.regex);
    if let Some(old) = old.as_ref().filter(|_| old != new) {
        forget_regex(group, old, &BTreeSet::from([before.id.as_str()]), cx);
    }
    let mut patterns: BTreeSet<&String> = BTreeSet::new();
    patterns.extend(new.as_ref().filter(|new| !group.regexes.contains_key(*new)));
    if group.seen_topics != topics.version() {
        let others = group.members.values().filter(|member| member.id != after.id);
        patterns.extend(others.filter_map(|member| member.metadata.regex.as_ref()).chain(new));
    }
    let mut resolved = Vec::new();
    for pattern in patterns {
        let fresh = regex::resolve(pattern, topics, cx.now.wall_ms)?;
        if group.regexes.get(pattern).is_none_or(|known| known.topics != fresh.topics) {
            cx.change(group, GroupChange::Regex(pattern.clone(), Some(Arc::new(fresh.clone()))));
            resolved.push((pattern.clone(), fresh));
        }
    }
    Ok(resolved)
}

/// Takes a regular expression away unless a member other than `but` uses it.
pub(super) fn forget_regex(group: &ModernGroup, pattern: &str, but: &BTreeSet<&str>, cx: &mut Cx<'_>) {
    let used = group
        .members
        .values()
        .any(|member| !but.contains(member.id.as_str()) && member.metadata.regex.as_deref() == Some(pattern));
    if !used && group.regexes.contains_key(pattern) {
        cx.change(group, GroupChange::Regex(pattern.to_owned(), None));
    }
}

/// Names of all topics subscribed to.
pub(super) fn all_topics(group: &ModernGroup, update: Option<Update<'_>>) -> BTreeSet<String> {
    let others = group.members.values().map(|member| &**member);
    let others = others.filter(|member| update.is_none_or(|update| update.member.id != member.id));
    let regexes = update.map_or(&[][..], |update| update.regexes);
    others
        .chain(update.map(|update| update.member))
        .flat_map(|member| group.topics_of(member, regexes))
        .collect()
}

fn subscribed_ids(group: &ModernGroup, update: Update<'_>, topics: &dyn TopicCatalog) -> BTreeSet<Uuid> {
    let names = group.topics_of(update.member, update.regexes);
    names.iter().filter_map(|name| topics.by_name(name)).map(|topic| topic.id).collect()
}

fn reconcile_consumer(
    group: &ModernGroup,
    update: Update<'_>,
    beat: &Beat,
    (target_epoch, target): (i32, &Assignment),
    subscription_changed: bool,
    topics: &dyn TopicCatalog,
) -> Result<CurrentAssignment, Refusal> {
    let current = &update.member.current;
    if current.state == MemberState::Unknown && beat.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
        let message = "The consumer group member is in a unknown state. The member must abandon all its \
                       partitions and rejoin.";
        return Err(Refusal::new(ErrorCode::FencedMemberEpoch, message));
    }
    let around = Surroundings {
        target_epoch,
        target,
        subscribed: &subscribed_ids(group, update, topics),
        subscription_changed,
        owned: beat.owned.as_ref(),
        is_held: &|topic, partition| group.holder_epoch(topic, partition).is_some(),
    };
    Ok(reconcile::next(current, &around))
}

/// A share group's member gets its target at once: partitions need not be given up first.
fn reconcile_share(
    current: &CurrentAssignment,
    target_epoch: i32,
    target: &Assignment,
    subscribed: &BTreeSet<Uuid>,
) -> CurrentAssignment {
    let is_there = current.epoch == target_epoch && current.state == MemberState::Stable;
    let wanted: EpochAssignment = target
        .iter()
        .filter(|(topic, _)| subscribed.contains(*topic))
        .map(|(topic, partitions)| (*topic, partitions.iter().map(|index| (*index, target_epoch)).collect()))
        .collect();
    if is_there && plain(&current.assigned) == plain(&wanted) {
        return current.clone();
    }
    CurrentAssignment {
        epoch: target_epoch,
        previous_epoch: current.epoch,
        state: MemberState::Stable,
        assigned: wanted,
        pending_revocation: EpochAssignment::new(),
    }
}

fn check_consumer(beat: &ConsumerHeartbeat, cx: &Cx<'_>) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let is_empty = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
    if (beat.member_id_required || beat.epoch != 0) && beat.member.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if beat.group.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&beat.instance) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&beat.rack) {
        return invalid("RackId can't be empty.");
    }
    match beat.epoch {
        0 => {
            if beat.rebalance_timeout_ms < 0 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if beat.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if beat.topics.is_none() && beat.regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        LEAVE_STATIC_EPOCH if beat.instance.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < LEAVE_STATIC_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    let assignors = &cx.config.consumer_assignors;
    if let Some(wanted) = beat.assignor.as_ref().filter(|wanted| !assignors.contains(wanted)) {
        let message = format!(
            "ServerAssignor {wanted} is not supported. Supported assignors: {}.",
            assignors.join(", ")
        );
        return Err(Refusal::new(ErrorCode::UnsupportedAssignor, message));
    }
    Ok(())
}

fn check_share(beat: &ShareHeartbeat) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    if beat.member.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if beat.group.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if beat.rack.as_ref().is_some_and(|rack| rack.trim().is_empty()) {
        return invalid("RackId can't be empty.");
    }
    if beat.epoch == 0 && beat.topics.as_ref().is_none_or(Vec::is_empty) {
        return invalid("SubscribedTopicNames must be set in first request.");
    }
    if beat.epoch < LEAVE_EPOCH {
        return invalid("MemberEpoch is invalid.");
    }
    Ok(())
}
