//! Members that leave or are fenced, and the deadlines of members.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_codec::ErrorCode;

use super::Refusal;
use super::change::{GroupChange, Kind};
use super::group::{ModernGroup, metadata_hash};
use super::heartbeat::{check_instance, forget_regex, unknown_member};
use super::member::{CurrentAssignment, EpochAssignment, LEAVE_STATIC_EPOCH, MemberState};
use super::topics::TopicCatalog;
use crate::reply::HeartbeatAnswer;
use crate::request::{ConsumerHeartbeat, ShareHeartbeat};
use crate::shard::{Cx, Group, Tables};
use crate::timers::TimerKey;

/// What takes a member away.
pub(super) fn removal(id: &str) -> [GroupChange; 3] {
    [
        GroupChange::Current(id.to_owned(), None),
        GroupChange::Target(id.to_owned(), None),
        GroupChange::Member(id.to_owned(), None),
    ]
}

pub(super) fn cancel_timers(group: &str, member: &str, cx: &mut Cx<'_>) {
    let (group, member) = (group.to_owned(), member.to_owned());
    cx.timers.cancel(&TimerKey::Session { group: group.clone(), member: member.clone() });
    cx.timers.cancel(&TimerKey::Revoke { group: group.clone(), member: member.clone() });
    cx.timers.cancel(&TimerKey::Rejoin { group: group.clone(), member: member.clone() });
    cx.timers.cancel(&TimerKey::SyncMember { group, member });
}

impl Tables {
    fn modern(&self, id: &str, kind: Kind) -> Result<&ModernGroup, Refusal> {
        match self.groups.get(id) {
            Some(Group::Modern(group)) if group.kind == kind => Ok(group),
            Some(_) => {
                let kind = if kind == Kind::Consumer { "consumer" } else { "share" };
                let message = format!("Group {id} is not a {kind} group.");
                Err(Refusal::new(ErrorCode::GroupIdNotFound, message))
            }
            None => Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} not found."))),
        }
    }

    pub(super) fn consumer_leave(
        &mut self,
        beat: &ConsumerHeartbeat,
        cx: &mut Cx<'_>,
    ) -> Result<HeartbeatAnswer, Refusal> {
        let group = self.modern(&beat.group, Kind::Consumer)?;
        let member = match &beat.instance {
            None => group.members.get(&beat.member).ok_or_else(|| unknown_member(&beat.member, &group.id))?,
            Some(instance) => {
                let owner = group.static_member(instance).ok_or_else(|| {
                    Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."))
                })?;
                check_instance(owner, &beat.member, instance)?;
                owner
            }
        };
        if beat.epoch == LEAVE_STATIC_EPOCH {
            // It keeps its place and its partitions until it comes back or its session ends.
            let away = CurrentAssignment {
                epoch: LEAVE_STATIC_EPOCH,
                state: match member.current.state {
                    MemberState::UnrevokedPartitions => MemberState::Stable,
                    state => state,
                },
                pending_revocation: EpochAssignment::new(),
                ..member.current.clone()
            };
            cx.change(group, GroupChange::Current(member.id.clone(), Some(Arc::new(away))));
            let key = TimerKey::Revoke { group: group.id.clone(), member: member.id.clone() };
            cx.timers.cancel(&key);
        } else {
            fence(group, &BTreeSet::from([member.id.as_str()]), &*self.topics, cx);
        }
        Ok(left(&beat.member, beat.epoch))
    }

    pub(super) fn share_leave(
        &mut self,
        beat: &ShareHeartbeat,
        cx: &mut Cx<'_>,
    ) -> Result<HeartbeatAnswer, Refusal> {
        let group = self.modern(&beat.group, Kind::Share)?;
        let member =
            group.members.get(&beat.member).ok_or_else(|| unknown_member(&beat.member, &group.id))?;
        fence(group, &BTreeSet::from([member.id.as_str()]), &*self.topics, cx);
        Ok(left(&beat.member, beat.epoch))
    }

    /// A deadline of a member passed; `also` says whether it still means something.
    pub fn member_deadline(
        &mut self,
        group: &str,
        member: &str,
        also: impl FnOnce(MemberState) -> bool,
        cx: &mut Cx<'_>,
    ) {
        if let Some(Group::Modern(group)) = self.groups.get(group)
            && let Some(found) = group.members.get(member)
            && also(found.current.state)
        {
            fence(group, &BTreeSet::from([member]), &*self.topics, cx);
        }
    }

    /// The pause between two target assignments is over.
    pub fn assign_deadline(&mut self, group: &str, cx: &mut Cx<'_>) {
        if let Some(Group::Modern(group)) = self.groups.get(group)
            && !group.members.is_empty()
            && group.epoch > group.target_epoch
        {
            super::target::update(group, None, group.epoch, 0, &*self.topics, cx);
        }
    }
}

fn left(member: &str, epoch: i32) -> HeartbeatAnswer {
    HeartbeatAnswer {
        error: ErrorCode::None,
        message: None,
        member: Some(member.to_owned()),
        epoch,
        interval_ms: 0,
        assignment: None,
    }
}

/// Removes members. If only classic ones stay, the group becomes a classic one.
pub(super) fn fence(
    group: &ModernGroup,
    members: &BTreeSet<&str>,
    topics: &dyn TopicCatalog,
    cx: &mut Cx<'_>,
) {
    if super::convert::may_downgrade(group, members, group.members.len() - members.len(), cx) {
        super::convert::downgrade(group, members, None, topics, cx);
        return;
    }
    for id in members {
        for change in removal(id) {
            cx.change(group, change);
        }
        cancel_timers(&group.id, id, cx);
    }
    let patterns: BTreeSet<&String> = members
        .iter()
        .filter_map(|id| group.members.get(*id))
        .filter_map(|member| member.metadata.regex.as_ref())
        .collect();
    for pattern in patterns {
        forget_regex(group, pattern, members, cx);
    }
    let staying = group.members.values().filter(|member| !members.contains(member.id.as_str()));
    let names = staying.flat_map(|member| group.topics_of(member, &[])).collect();
    let hash = metadata_hash(&names, topics);
    cx.change(group, GroupChange::Epoch(Some((group.epoch + 1, hash))));
}
