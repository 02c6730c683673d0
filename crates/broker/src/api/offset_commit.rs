//! OffsetCommit (8), versions 2–10; topics by id since version 10. Answered when the offsets are durable.

use coordinator::{CommitPartition, CommitTopic, ErrorCode, OffsetCommit, Request, Response};
use kafka_codec::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_codec::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_codec::messages::{OffsetCommitRequest, OffsetCommitResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let (mut known, mut answers) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for topic in request.topics {
        match resolve(&ctx, &topic) {
            Ok(resolved) => {
                known.push(resolved);
                answers.push(answer(&topic, ErrorCode::None));
            }
            Err(error) => answers.push(answer(&topic, error)),
        }
    }
    if known.is_empty() && !answers.is_empty() {
        return OffsetCommitResponse { topics: answers, ..OffsetCommitResponse::default() };
    }
    let group = request.group_id.clone();
    let commit = OffsetCommit {
        group: request.group_id,
        member: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
        retention_ms: Some(request.retention_time_ms).filter(|keep| *keep >= 0),
        knows_group_id_not_found: ctx.version >= 9,
        topics: known,
    };
    let mut outcomes = match ctx.node.groups.ask(&group, Request::OffsetCommit(commit)).await {
        Some(Response::OffsetCommit(committed)) => Some(committed.topics.into_iter()),
        _ => None,
    };
    // The state machine answers the known topics in the order asked.
    let known = answers.iter_mut().filter(|topic| topic.partitions.iter().all(|p| p.error_code == 0));
    for topic in known {
        let outcome = outcomes.as_mut().and_then(Iterator::next);
        for (index, partition) in topic.partitions.iter_mut().enumerate() {
            let error =
                outcome.as_ref().and_then(|outcome| outcome.partitions.get(index)).map(|(_, error)| *error);
            partition.error_code = error.unwrap_or(ErrorCode::CoordinatorNotAvailable).code();
        }
    }
    OffsetCommitResponse { topics: answers, ..OffsetCommitResponse::default() }
}

/// The topic as it is now. Its id is stored with the offsets, whichever version asks.
fn resolve(ctx: &Context, topic: &OffsetCommitRequestTopic) -> Result<CommitTopic, ErrorCode> {
    let state = ctx.node.state();
    let found = if ctx.version >= 10 {
        state.image.topic_by_id(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?
    } else {
        state.image.topic(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    let partitions = topic
        .partitions
        .iter()
        .map(|asked| CommitPartition {
            partition: asked.partition_index,
            offset: asked.committed_offset,
            leader_epoch: asked.committed_leader_epoch,
            metadata: asked.committed_metadata.clone(),
        })
        .collect();
    Ok(CommitTopic { name: found.name.to_string(), id: Some(found.id), partitions })
}

fn answer(topic: &OffsetCommitRequestTopic, error: ErrorCode) -> OffsetCommitResponseTopic {
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|asked| OffsetCommitResponsePartition {
                partition_index: asked.partition_index,
                error_code: error.code(),
                ..OffsetCommitResponsePartition::default()
            })
            .collect(),
        ..OffsetCommitResponseTopic::default()
    }
}
