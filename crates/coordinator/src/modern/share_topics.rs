//! Which share partitions of a share group have state: it is kept by what reads their records (`crate::share`), and
//! listed here, so that a group can be described and deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_codec::{ErrorCode, Uuid};

use super::Refusal;
use super::change::{GroupChange, Kind, ShareStateTopics, StateTopic};
use super::group::ModernGroup;
use super::topics::TopicCatalog;
use crate::output::RequestId;
use crate::reply::{NamedAssignment, Response, ShareTopics};
use crate::shard::{Cx, Group, Tables};

impl Tables {
    pub fn share_topics(&self, request: RequestId, group: &str, must_be_empty: bool, cx: &mut Cx<'_>) {
        let answer = match self.share_group(group, must_be_empty) {
            Ok(group) => told(group),
            Err(refusal) => refused(refusal),
        };
        cx.defer(request, Response::ShareTopics(answer));
    }

    /// Lists partitions whose state is about to be set; the group must be without members, and is made if need be.
    pub fn share_add(&self, request: RequestId, group: &str, topics: &NamedAssignment, cx: &mut Cx<'_>) {
        let fresh = ModernGroup::new(group.to_owned(), Kind::Share);
        let found = if self.groups.contains_key(group) { self.share_group(group, true) } else { Ok(&fresh) };
        let answer = match found {
            Ok(group) => {
                let mut state = (*group.share_state).clone();
                for (id, (name, partitions)) in topics {
                    state.add(*id, name, partitions.iter().copied());
                }
                if state != *group.share_state {
                    cx.change(group, GroupChange::ShareState(Some(Arc::new(state))));
                }
                told(group)
            }
            Err(refusal) => refused(refusal),
        };
        cx.defer(request, Response::ShareTopics(answer));
    }

    /// Takes topics whose state was deleted off the list; the group must be without members.
    pub fn share_remove(&self, request: RequestId, group: &str, topics: &[Uuid], cx: &mut Cx<'_>) {
        let answer = match self.share_group(group, true) {
            Ok(group) => {
                let gone = topics.iter().copied().collect();
                without(group, &gone, cx);
                told(group)
            }
            Err(refusal) => refused(refusal),
        };
        cx.defer(request, Response::ShareTopics(answer));
    }

    fn share_group(&self, id: &str, must_be_empty: bool) -> Result<&ModernGroup, Refusal> {
        match self.groups.get(id) {
            Some(Group::Modern(group)) if group.kind == Kind::Share => {
                if must_be_empty && !group.members.is_empty() {
                    let code = ErrorCode::NonEmptyGroup;
                    return Err(Refusal::new(code, code.message()));
                }
                Ok(group)
            }
            Some(_) => {
                Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} is not a share group.")))
            }
            None => Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {id} not found."))),
        }
    }

    /// Topics were deleted: no share partition of them has state any more.
    pub fn share_topics_deleted(&self, names: &[String], cx: &mut Cx<'_>) {
        for group in self.groups.values() {
            let Group::Modern(group) = group else { continue };
            if group.kind != Kind::Share {
                continue;
            }
            let listed = group.share_state.initialized.iter().chain(&group.share_state.initializing);
            let gone: BTreeSet<Uuid> = listed
                .filter(|(id, topic)| names.contains(&topic.name) && self.topics.by_id(**id).is_none())
                .map(|(id, _)| *id)
                .collect();
            without(group, &gone, cx);
        }
    }
}

fn without(group: &ModernGroup, gone: &BTreeSet<Uuid>, cx: &mut Cx<'_>) {
    let mut state = (*group.share_state).clone();
    state.initialized.retain(|id, _| !gone.contains(id));
    state.initializing.retain(|id, _| !gone.contains(id));
    state.deleting.retain(|id, _| !gone.contains(id));
    if state != *group.share_state {
        cx.change(group, GroupChange::ShareState(Some(Arc::new(state))));
    }
}

/// The list with all partitions of the topics subscribed to; `None` when they are on it already.
pub(super) fn with_subscribed(
    group: &ModernGroup,
    names: &BTreeSet<String>,
    topics: &dyn TopicCatalog,
) -> Option<ShareStateTopics> {
    let mut state = (*group.share_state).clone();
    for topic in names.iter().filter_map(|name| topics.by_name(name)) {
        state.add(topic.id, &topic.name, 0..topic.partitions);
    }
    (state != *group.share_state).then_some(state)
}

impl ShareStateTopics {
    fn add(&mut self, id: Uuid, name: &str, partitions: impl Iterator<Item = i32>) {
        let topic = self
            .initialized
            .entry(id)
            .or_insert_with(|| StateTopic { name: name.to_owned(), partitions: BTreeSet::new() });
        topic.partitions.extend(partitions);
        if let Some(unfinished) = self.initializing.remove(&id) {
            topic.partitions.extend(unfinished.partitions);
        }
        self.deleting.remove(&id);
    }
}

fn told(group: &ModernGroup) -> ShareTopics {
    let topics = group.share_state.initialized.iter();
    ShareTopics {
        error: ErrorCode::None,
        message: None,
        epoch: group.epoch,
        topics: topics
            .map(|(id, topic)| (*id, (topic.name.clone(), topic.partitions.iter().copied().collect())))
            .collect(),
    }
}

fn refused(refusal: Refusal) -> ShareTopics {
    ShareTopics { message: Some(refusal.message), ..ShareTopics::failed(refusal.code) }
}

impl ShareTopics {
    /// An answer that only says what went wrong.
    pub fn failed(error: ErrorCode) -> Self {
        Self { error, message: None, epoch: 0, topics: NamedAssignment::new() }
    }
}
