//! A group changes its protocol while its members work on: a classic group becomes a consumer group when the first
//! new client joins, and goes back when the last one leaves (KIP-848, online migration).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::messages::consumer_protocol_assignment::TopicPartition;
use kafka_codec::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use kafka_codec::wire::Reader;
use kafka_codec::{DecodeError, ErrorCode, Message};

use super::Refusal;
use super::change::{GroupChange, Kind};
use super::group::{ModernGroup, ModernState, metadata_hash};
use super::member::{
    Assignment, ClassicSide, CurrentAssignment, EpochAssignment, MemberMetadata, MemberState, ModernMember,
};
use super::topics::TopicCatalog;
use crate::classic::{ClassicGroup, ClassicState, Member};
use crate::records::{group_record, group_tombstone};
use crate::shard::{Cx, Effect};
use crate::timers::TimerKey;

/// Reads the version in front and then the message; newer versions are read as the newest known one.
fn decode<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    M::decode(&mut reader, version.clamp(*M::VERSIONS.start(), *M::VERSIONS.end()))
}

/// A classic member's subscription.
pub(super) fn subscription(metadata: &[u8]) -> Result<ConsumerProtocolSubscription, DecodeError> {
    decode(metadata)
}

/// Partitions by topic id, of topics that exist.
pub(super) fn by_id(
    topics: impl IntoIterator<Item = (String, Vec<i32>)>,
    catalog: &dyn TopicCatalog,
) -> Assignment {
    let mut assignment = Assignment::new();
    for (name, partitions) in topics {
        if let Some(topic) = catalog.by_name(&name) {
            assignment.entry(topic.id).or_default().extend(partitions);
        }
    }
    assignment
}

/// An assignment as a classic member with this subscription reads it.
pub(super) fn classic_assignment(
    assignment: &Assignment,
    subscription: &[u8],
    catalog: &dyn TopicCatalog,
) -> Bytes {
    let told = Reader::new(subscription).i16().unwrap_or(0);
    let versions = ConsumerProtocolAssignment::VERSIONS;
    let version = told.clamp(*versions.start(), *versions.end());
    let topic = |(id, partitions): (&kafka_codec::Uuid, &BTreeSet<i32>)| {
        catalog.by_id(*id).map(|topic| TopicPartition {
            topic: topic.name.to_string(),
            partitions: partitions.iter().copied().collect(),
        })
    };
    let message = ConsumerProtocolAssignment {
        assigned_partitions: assignment.iter().filter_map(topic).collect(),
        ..ConsumerProtocolAssignment::default()
    };
    let mut bytes = version.to_be_bytes().to_vec();
    match message.encode(&mut bytes, version) {
        Ok(()) => bytes.into(),
        Err(_) => Bytes::new(),
    }
}

/// Turns a classic group with members into a consumer group; who waits in it is told to start again.
pub(super) fn upgrade(
    classic: &mut ClassicGroup,
    topics: &dyn TopicCatalog,
    cx: &mut Cx<'_>,
) -> Result<ModernGroup, Refusal> {
    let id = classic.id.clone();
    let refuse = |why: &str| {
        let message = format!("Cannot upgrade classic group {id} to consumer group because {why}");
        Err(Refusal::new(ErrorCode::GroupIdNotFound, message))
    };
    if !cx.config.migration.upgrade() {
        return refuse("online upgrade is disabled.");
    }
    if !classic.uses_consumer_protocol() {
        return refuse("the group does not use the consumer embedded protocol.");
    }
    if classic.members.len() > cx.config.consumer_max_size {
        return refuse("the group size exceeds the consumer group maximum size.");
    }
    let mut members = Vec::with_capacity(classic.members.len());
    for member in classic.members.values() {
        let Ok((modern, uses_own_assignor)) = upgraded(member, classic, topics) else {
            return refuse("the embedded consumer protocol is malformed.");
        };
        if uses_own_assignor {
            let message = format!(
                "Cannot upgrade classic group {id} to consumer group because an unsupported custom assignor is in \
                 use. Please refer to the documentation or switch to a default assignor before re-attempting the \
                 upgrade."
            );
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        members.push(modern);
    }
    classic.send_back(cx);
    cx.record(group_tombstone(&id), Effect::Upgraded(id.clone()));

    let mut group = ModernGroup::new(id.clone(), Kind::Consumer);
    let mut changes = Vec::new();
    for member in &members {
        changes.push(GroupChange::Member(member.id.clone(), Some(Arc::new(member.metadata.clone()))));
    }
    let names: BTreeSet<String> =
        members.iter().flat_map(|member| member.metadata.topics.iter().cloned()).collect();
    let epoch = classic.generation;
    changes.push(GroupChange::Epoch(Some((epoch, metadata_hash(&names, topics)))));
    for member in &members {
        let target = super::member::plain(&member.current.assigned);
        changes.push(GroupChange::Target(member.id.clone(), Some(Arc::new(target))));
    }
    // Without a time: the new member's arrival is assigned at once.
    changes.push(GroupChange::TargetEpoch(Some((epoch, 0))));
    for member in members {
        if let Some(classic) = &member.metadata.classic {
            let key = TimerKey::Session { group: id.clone(), member: member.id.clone() };
            cx.timers.arm(key, cx.now.mono_ms + i64::from(classic.session_timeout_ms));
        }
        changes.push(GroupChange::Current(member.id, Some(Arc::new(member.current))));
    }
    for change in changes {
        cx.change(&group, change.clone());
        group.apply(change);
    }
    Ok(group)
}

/// A classic member as a member of a consumer group, and whether its assignor adds data of its own.
fn upgraded(
    member: &Member,
    group: &ClassicGroup,
    topics: &dyn TopicCatalog,
) -> Result<(ModernMember, bool), DecodeError> {
    let protocol = group.protocol_name.as_deref().filter(|name| member.supports(name));
    let first = member.protocols.first().map(|(name, _)| name.as_str());
    let metadata = protocol.or(first).and_then(|name| member.metadata(name)).unwrap_or_default();
    let subscription = subscription(&metadata)?;
    let (assigned, uses_own_assignor) = if member.assignment.is_empty() {
        (Assignment::new(), false)
    } else {
        let assignment: ConsumerProtocolAssignment = decode(&member.assignment)?;
        let has_data = assignment.user_data.as_ref().is_some_and(|data| !data.is_empty());
        let assigned = assignment.assigned_partitions.into_iter();
        (by_id(assigned.map(|topic| (topic.topic, topic.partitions)), topics), has_data)
    };
    let epoch = group.generation;
    let assigned: EpochAssignment = assigned
        .into_iter()
        .map(|(topic, partitions)| (topic, partitions.into_iter().map(|index| (index, epoch)).collect()))
        .collect();
    let modern = ModernMember {
        id: member.id.clone(),
        metadata: MemberMetadata {
            instance: member.instance.clone(),
            rack: subscription.rack_id.filter(|rack| !rack.is_empty()),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: subscription.topics.into_iter().collect(),
            regex: None,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            assignor: None,
            classic: Some(ClassicSide {
                session_timeout_ms: member.session_timeout_ms,
                protocols: member.protocols.clone(),
            }),
        },
        current: CurrentAssignment {
            epoch,
            previous_epoch: epoch,
            state: MemberState::Stable,
            assigned,
            pending_revocation: EpochAssignment::new(),
        },
    };
    Ok((modern, uses_own_assignor))
}

/// Whether the group has only classic members but for `leaving`, and may become a classic group.
pub(super) fn may_downgrade(
    group: &ModernGroup,
    leaving: &BTreeSet<&str>,
    staying: usize,
    cx: &Cx<'_>,
) -> bool {
    group.kind == Kind::Consumer
        && staying > 0
        && cx.config.migration.downgrade()
        && staying <= cx.config.group_max_size
        && group.members.values().all(|member| member.is_classic() || leaving.contains(member.id.as_str()))
}

/// What a member may be using: what it was given and what it has not yet said to have given up.
fn in_use(current: &CurrentAssignment) -> Assignment {
    let mut in_use = super::member::plain(&current.assigned);
    for (topic, partitions) in super::member::plain(&current.pending_revocation) {
        in_use.entry(topic).or_default().extend(partitions);
    }
    in_use
}

/// Turns a consumer group into a classic one. It rebalances, unless a static member has just joined a settled group.
pub(super) fn downgrade(
    group: &ModernGroup,
    leaving: &BTreeSet<&str>,
    joining: Option<&str>,
    topics: &dyn TopicCatalog,
    cx: &mut Cx<'_>,
) {
    for change in group.tombstones() {
        cx.change(group, change);
    }
    cx.timers.cancel(&TimerKey::Assign { group: group.id.clone() });
    for id in group.members.keys() {
        super::leave::cancel_timers(&group.id, id, cx);
    }
    // Targets that not everybody has reached yet must not be handed out as assignments: the group rebalances, and
    // until then each member counts as the user of what it may still hold.
    let settled = joining.is_some() && group.state() == ModernState::Stable;
    let mut classic = ClassicGroup::new(group.id.clone(), cx.now.wall_ms);
    classic.state = ClassicState::Stable;
    classic.generation = group.epoch;
    let mut assignments = BTreeMap::new();
    for member in group.members.values().filter(|member| !leaving.contains(member.id.as_str())) {
        let Some(side) = &member.metadata.classic else { continue };
        let assignment = if settled {
            group.target.get(&member.id).map(|target| Assignment::clone(target)).unwrap_or_default()
        } else {
            in_use(&member.current)
        };
        assignments.insert(member.id.clone(), assignment);
        classic.add(
            Member {
                id: member.id.clone(),
                instance: member.metadata.instance.clone(),
                client_id: member.metadata.client_id.clone(),
                client_host: member.metadata.client_host.clone(),
                rebalance_timeout_ms: member.metadata.rebalance_timeout_ms,
                session_timeout_ms: side.session_timeout_ms,
                protocols: side.protocols.clone(),
                assignment: Bytes::new(),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            },
            crate::classic::CONSUMER_PROTOCOL,
        );
    }
    classic.protocol_name = classic.select_protocol();
    classic.subscribed_topics = classic.compute_subscribed_topics();
    let protocol = classic.protocol_name.clone().unwrap_or_default();
    for member in classic.members.values_mut() {
        let subscription = member.metadata(&protocol).unwrap_or_default();
        if let Some(target) = assignments.get(&member.id) {
            member.assignment = classic_assignment(target, &subscription, topics);
        }
    }
    classic.touch_all(cx);
    let record = if settled {
        group_record(&classic, None)
    } else {
        // A record without a leader tells whoever loads the group to rebalance, too.
        let leader = classic.leader.take();
        let record = group_record(&classic, None);
        classic.leader = leader;
        classic.prepare_rebalance(cx);
        record
    };
    cx.record(record, Effect::Downgraded(Box::new(classic)));
}
