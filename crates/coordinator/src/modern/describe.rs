//! ConsumerGroupDescribe and ShareGroupDescribe.

use std::collections::BTreeMap;

use kafka_codec::{ErrorCode, Uuid};

use super::assignor;
use super::change::Kind;
use super::group::ModernGroup;
use super::member::{Assignment, plain};
use super::topics::TopicCatalog;
use crate::output::RequestId;
use crate::reply::{DescribedModernGroup, DescribedModernMember, NamedAssignment, Response};
use crate::shard::{Cx, Group, Tables};

impl Tables {
    pub fn describe_modern(&self, request: RequestId, groups: Vec<String>, is_share: bool, cx: &mut Cx<'_>) {
        let kind = if is_share { Kind::Share } else { Kind::Consumer };
        let described = groups
            .into_iter()
            .map(|id| match self.groups.get(&id) {
                Some(Group::Modern(group)) if group.kind == kind => describe(group, &*self.topics, cx),
                found => {
                    let name = if is_share { "share" } else { "consumer" };
                    let message = match found {
                        Some(_) => format!("Group {id} is not a {name} group."),
                        None => format!("Group {id} not found."),
                    };
                    DescribedModernGroup::failed(id, ErrorCode::GroupIdNotFound, Some(message))
                }
            })
            .collect();
        cx.defer(request, Response::DescribeModern(described));
    }
}

fn describe(group: &ModernGroup, topics: &dyn TopicCatalog, cx: &Cx<'_>) -> DescribedModernGroup {
    let default = cx.config.consumer_assignors.first().map_or(assignor::UNIFORM, String::as_str);
    let named = |assignment: &Assignment| name_topics(assignment, topics);
    let members = group
        .members
        .values()
        .map(|member| DescribedModernMember {
            member: member.id.clone(),
            instance: member.metadata.instance.clone(),
            rack: member.metadata.rack.clone(),
            epoch: member.current.epoch,
            client_id: member.metadata.client_id.clone(),
            client_host: member.metadata.client_host.clone(),
            topics: member.metadata.topics.iter().cloned().collect(),
            regex: member.metadata.regex.clone(),
            assignment: named(&plain(&member.current.assigned)),
            target: group.target.get(&member.id).map(|target| named(target)).unwrap_or_default(),
            is_classic: member.is_classic(),
        })
        .collect();
    DescribedModernGroup {
        error: ErrorCode::None,
        message: None,
        group: group.id.clone(),
        state: group.state().as_str(),
        epoch: group.epoch,
        target_epoch: group.target_epoch,
        assignor: match group.kind {
            Kind::Consumer => group.preferred_assignor(None, default),
            Kind::Share => assignor::SIMPLE.to_owned(),
        },
        members,
    }
}

/// Topics that are no more are left out.
fn name_topics(assignment: &Assignment, topics: &dyn TopicCatalog) -> NamedAssignment {
    let mut named: BTreeMap<Uuid, (String, Vec<i32>)> = BTreeMap::new();
    for (id, partitions) in assignment {
        if let Some(topic) = topics.by_id(*id) {
            named.insert(*id, (topic.name.to_string(), partitions.iter().copied().collect()));
        }
    }
    named
}

impl DescribedModernGroup {
    /// A group that cannot be described.
    pub fn failed(group: String, error: ErrorCode, message: Option<String>) -> Self {
        Self {
            error,
            message,
            group,
            state: "",
            epoch: 0,
            target_epoch: 0,
            assignor: String::new(),
            members: Vec::new(),
        }
    }
}
