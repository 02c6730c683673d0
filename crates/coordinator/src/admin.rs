//! DescribeGroups, ListGroups, DeleteGroups.

use kafka_codec::ErrorCode;

use crate::classic::{CONSUMER_PROTOCOL, ClassicGroup, ClassicState};
use crate::modern::Kind;
use crate::output::RequestId;
use crate::records::{group_tombstone, offset_record};
use crate::reply::{DescribedGroup, DescribedMember, Listed, ListedGroup, Response};
use crate::request::ListGroups;
use crate::shard::{Cx, Effect, Group, Tables};
use crate::timers::TimerKey;

/// Type name of classic groups in ListGroups.
const CLASSIC_TYPE: &str = "classic";
/// Type name of consumer groups.
const CONSUMER_TYPE: &str = "consumer";
/// Type name, and protocol type, of share groups.
const SHARE_TYPE: &str = "share";

impl Tables {
    pub fn describe(&self, request: RequestId, groups: Vec<String>, cx: &mut Cx<'_>) {
        let described = groups
            .into_iter()
            .map(|id| match self.groups.get(&id) {
                Some(Group::Classic(group)) => describe_classic(group),
                Some(Group::Modern(_)) | None => DescribedGroup::failed(id, ErrorCode::GroupIdNotFound),
            })
            .collect();
        cx.defer(request, Response::Describe(described));
    }

    pub fn list(&self, request: RequestId, filter: &ListGroups, cx: &mut Cx<'_>) {
        let passes = |filter: &[String], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        let groups = self
            .groups
            .values()
            .map(listed)
            .filter(|group| passes(&filter.states, &group.state) && passes(&filter.types, group.group_type))
            .collect();
        cx.defer(request, Response::List(Listed { error: ErrorCode::None, groups }));
    }

    pub fn delete_groups(&mut self, request: RequestId, groups: Vec<String>, cx: &mut Cx<'_>) {
        let mut outcomes: Vec<(String, ErrorCode)> = Vec::with_capacity(groups.len());
        for id in groups {
            let error = match self.groups.get(&id) {
                None => ErrorCode::GroupIdNotFound,
                // Named twice in one request.
                Some(_) if outcomes.iter().any(|(done, _)| *done == id) => ErrorCode::GroupIdNotFound,
                Some(Group::Classic(group)) if !group.is(ClassicState::Empty) => ErrorCode::NonEmptyGroup,
                Some(Group::Modern(group)) if !group.members.is_empty() => ErrorCode::NonEmptyGroup,
                Some(Group::Classic(_) | Group::Modern(_)) => {
                    self.delete_group(&id, cx);
                    ErrorCode::None
                }
            };
            outcomes.push((id, error));
        }
        cx.defer(request, Response::Delete(outcomes));
    }

    fn delete_group(&self, id: &str, cx: &mut Cx<'_>) {
        for (topic, partition, _) in self.offsets.of_group(id) {
            let effect = Effect::offset_removed(id, topic, partition);
            cx.record(offset_record(id, topic, partition, None), effect);
        }
        for (topic, partition) in self.pending.of_group(id) {
            if self.offsets.get(id, topic, partition).is_none() {
                let effect = Effect::offset_removed(id, topic, partition);
                cx.record(offset_record(id, topic, partition, None), effect);
            }
        }
        self.remove_group(id, cx);
    }

    /// The group's own tombstones.
    pub fn remove_group(&self, id: &str, cx: &mut Cx<'_>) {
        match self.groups.get(id) {
            Some(Group::Modern(group)) => {
                for change in group.tombstones() {
                    cx.change(group, change);
                }
                cx.timers.cancel(&TimerKey::Assign { group: id.to_owned() });
            }
            _ => cx.record(group_tombstone(id), Effect::GroupRemoved(id.to_owned())),
        }
    }
}

fn listed(group: &Group) -> ListedGroup {
    match group {
        Group::Classic(group) => ListedGroup {
            group: group.id.clone(),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            state: group.state.as_str().to_owned(),
            group_type: CLASSIC_TYPE,
        },
        Group::Modern(group) => {
            let (protocol_type, group_type) = match group.kind {
                Kind::Consumer => (CONSUMER_PROTOCOL, CONSUMER_TYPE),
                Kind::Share => (SHARE_TYPE, SHARE_TYPE),
            };
            ListedGroup {
                group: group.id.clone(),
                protocol_type: protocol_type.to_owned(),
                state: group.state().as_str().to_owned(),
                group_type,
            }
        }
    }
}

fn describe_classic(group: &ClassicGroup) -> DescribedGroup {
    let protocol = group.protocol_name.as_deref().filter(|_| group.is(ClassicState::Stable));
    let members = group
        .members
        .values()
        .map(|member| DescribedMember {
            member: member.id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.and_then(|protocol| member.metadata(protocol)).unwrap_or_default(),
            assignment: member.assignment.clone(),
        })
        .collect();
    DescribedGroup {
        error: ErrorCode::None,
        group: group.id.clone(),
        state: group.state.as_str().to_owned(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol: protocol.unwrap_or_default().to_owned(),
        members,
    }
}

impl DescribedGroup {
    /// A group that cannot be described; GROUP_ID_NOT_FOUND shows as state `Dead`.
    pub fn failed(group: String, error: ErrorCode) -> Self {
        let state = if error == ErrorCode::GroupIdNotFound { ClassicState::Dead.as_str() } else { "" };
        Self {
            error,
            group,
            state: state.to_owned(),
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}
