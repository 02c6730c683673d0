//! Positions of readers that are no members of a group, kept as a group's offsets for tools to see.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::door::{DoorError, TopicPartition};
use coordinator::{CommitPartition, CommitTopic, ErrorCode, OffsetCommit, Request, Response};

use super::errors::of_meta;
use crate::groups::OFFSETS_TOPIC;
use crate::node::Node;

fn unavailable(group: &str, error: ErrorCode) -> DoorError {
    DoorError::Unavailable(format!("group {group}: {error:?}"))
}

/// Commits offsets as a consumer does that assigns partitions to itself.
pub(super) async fn commit(
    node: Arc<Node>,
    group: String,
    offsets: Vec<(TopicPartition, i64)>,
) -> Result<(), DoorError> {
    node.ensure_topic(OFFSETS_TOPIC).await.map_err(|error| of_meta(&error))?;
    let mut topics: BTreeMap<Arc<str>, Vec<CommitPartition>> = BTreeMap::new();
    for (of, offset) in offsets {
        let metadata = Some(String::new());
        let partition = CommitPartition { partition: of.partition, offset, leader_epoch: -1, metadata };
        topics.entry(of.topic).or_default().push(partition);
    }
    let state = node.state();
    let topics: Vec<CommitTopic> = topics
        .into_iter()
        .filter_map(|(name, partitions)| {
            let id = state.image.topic(&name)?.id;
            Some(CommitTopic { name: name.to_string(), id: Some(id), partitions })
        })
        .collect();
    if topics.is_empty() {
        return Ok(());
    }
    let commit = OffsetCommit {
        group: group.clone(),
        member: String::new(),
        instance: None,
        generation: -1,
        retention_ms: None,
        knows_group_id_not_found: true,
        topics,
    };
    let Some(Response::OffsetCommit(done)) = node.groups.ask(&group, Request::OffsetCommit(commit)).await
    else {
        return Err(unavailable(&group, ErrorCode::CoordinatorNotAvailable));
    };
    let mut errors = done.topics.iter().flat_map(|topic| &topic.partitions).map(|(_, error)| *error);
    match errors.find(|error| *error != ErrorCode::None) {
        Some(error) => Err(unavailable(&group, error)),
        None => Ok(()),
    }
}

/// Deletes a group's offsets; one that is not there is as good.
pub(super) async fn forget(node: Arc<Node>, group: String) -> Result<(), DoorError> {
    let answer = node.groups.ask(&group, Request::Delete(vec![group.clone()])).await;
    let error = match answer {
        Some(Response::Delete(groups)) => groups.first().map_or(ErrorCode::None, |(_, error)| *error),
        _ => ErrorCode::CoordinatorNotAvailable,
    };
    match error {
        ErrorCode::None | ErrorCode::GroupIdNotFound => Ok(()),
        error => Err(unavailable(&group, error)),
    }
}
