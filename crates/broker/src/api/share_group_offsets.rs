//! DescribeShareGroupOffsets (90), AlterShareGroupOffsets (91) and DeleteShareGroupOffsets (92): where share groups
//! stand with their partitions.

use coordinator::share::{ShareKey, UNINITIALIZED};
use coordinator::{ErrorCode, NamedAssignment, Request, Response, ShareTopics};
use futures_util::future::join_all;
use kafka_codec::Uuid;
use kafka_codec::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use kafka_codec::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use kafka_codec::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_codec::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition,
    DescribeShareGroupOffsetsResponseTopic,
};
use kafka_codec::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, DeleteShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsResponse, DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse,
};

use super::share_group_state::summary_of;
use crate::context::Context;

/// Nothing is known of where the group stands, or of how many records are before it.
const UNKNOWN: i64 = -1;

async fn ask(ctx: &Context, group: &str, request: Request) -> ShareTopics {
    match ctx.node.groups.ask(group, request).await {
        Some(Response::ShareTopics(answer)) => answer,
        _ => ShareTopics::failed(ErrorCode::CoordinatorNotAvailable),
    }
}

pub(crate) async fn describe(
    ctx: Context,
    request: DescribeShareGroupOffsetsRequest,
) -> DescribeShareGroupOffsetsResponse {
    let groups = join_all(request.groups.into_iter().map(|group| describe_group(&ctx, group))).await;
    DescribeShareGroupOffsetsResponse { groups, ..DescribeShareGroupOffsetsResponse::default() }
}

async fn describe_group(
    ctx: &Context,
    asked: DescribeShareGroupOffsetsRequestGroup,
) -> DescribeShareGroupOffsetsResponseGroup {
    let group = asked.group_id;
    let mut topics = Vec::new();
    match asked.topics {
        Some(asked) => {
            for topic in asked {
                let id = ctx.node.replicas.topic(&topic.topic_name).map_or(Uuid::ZERO, |topic| topic.id);
                topics.push((id, topic.topic_name, topic.partitions));
            }
        }
        None => {
            let request = Request::ShareTopics { group: group.clone(), must_be_empty: false };
            let known = ask(ctx, &group, request).await;
            // Kafka says nothing of a group that it does not know.
            if !matches!(known.error, ErrorCode::None | ErrorCode::GroupIdNotFound) {
                return DescribeShareGroupOffsetsResponseGroup {
                    group_id: group,
                    error_code: known.error.code(),
                    error_message: Some(known.message.unwrap_or_else(|| known.error.message().to_owned())),
                    ..DescribeShareGroupOffsetsResponseGroup::default()
                };
            }
            topics.extend(known.topics.into_iter().map(|(id, (name, partitions))| (id, name, partitions)));
        }
    }
    let mut answers = Vec::with_capacity(topics.len());
    for (id, name, indexes) in topics {
        let mut partitions = Vec::with_capacity(indexes.len());
        for index in indexes {
            partitions.push(describe_partition(ctx, &group, id, index).await);
        }
        answers.push(DescribeShareGroupOffsetsResponseTopic {
            topic_name: name,
            topic_id: id,
            partitions,
            ..DescribeShareGroupOffsetsResponseTopic::default()
        });
    }
    DescribeShareGroupOffsetsResponseGroup {
        group_id: group,
        topics: answers,
        ..DescribeShareGroupOffsetsResponseGroup::default()
    }
}

async fn describe_partition(
    ctx: &Context,
    group: &str,
    topic: Uuid,
    index: i32,
) -> DescribeShareGroupOffsetsResponsePartition {
    let mut told = DescribeShareGroupOffsetsResponsePartition {
        partition_index: index,
        start_offset: UNKNOWN,
        lag: UNKNOWN,
        ..DescribeShareGroupOffsetsResponsePartition::default()
    };
    let replicas = ctx.node.replicas.topic_by_id(topic);
    let Some(partition) = replicas.and_then(|replicas| replicas.partition(index).cloned()) else {
        return told;
    };
    let key = ShareKey { group: group.to_owned(), topic, partition: index };
    let Ok(summary) = summary_of(&ctx.node, &key).await else { return told };
    told.start_offset = summary.start_offset;
    told.leader_epoch = summary.leader_epoch;
    if summary.start_offset != UNINITIALIZED && summary.completed >= 0 {
        match partition.log() {
            Ok(log) => {
                told.lag = log.high_watermark() - summary.start_offset - i64::from(summary.completed);
            }
            Err(error) => {
                let code = super::error_code::of_log(&error);
                told.error_code = code.code();
                told.error_message = Some(code.message().to_owned());
            }
        }
    }
    told
}

pub(crate) async fn alter(
    ctx: Context,
    request: AlterShareGroupOffsetsRequest,
) -> AlterShareGroupOffsetsResponse {
    let refused = |code: ErrorCode, message: Option<String>| AlterShareGroupOffsetsResponse {
        error_code: code.code(),
        error_message: Some(message.unwrap_or_else(|| code.message().to_owned())),
        ..AlterShareGroupOffsetsResponse::default()
    };
    if request.group_id.is_empty() {
        return refused(ErrorCode::InvalidGroupId, None);
    }
    let mut listed = NamedAssignment::new();
    for topic in &request.topics {
        let Some(replicas) = ctx.node.replicas.topic(&topic.topic_name) else { continue };
        let known = topic.partitions.iter().map(|partition| partition.partition_index);
        let known = known.filter(|index| replicas.partition(*index).is_some()).collect();
        listed.insert(replicas.id, (replicas.name.to_string(), known));
    }
    let group = request.group_id;
    let state_topic = ctx.node.shares.ensure_topic(&ctx.node).await;
    let offsets_topic = ctx.node.groups.ensure_topic(&ctx.node).await;
    if state_topic.is_err() || offsets_topic.is_err() {
        return refused(ErrorCode::CoordinatorNotAvailable, None);
    }
    let known = ask(&ctx, &group, Request::ShareAdd { group: group.clone(), topics: listed }).await;
    if known.error != ErrorCode::None {
        return refused(known.error, known.message);
    }
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let replicas = ctx.node.replicas.topic(&topic.topic_name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition_index;
            let there = replicas.as_ref().filter(|replicas| replicas.partition(index).is_some());
            let outcome = match there {
                Some(replicas) => {
                    let key = ShareKey { group: group.clone(), topic: replicas.id, partition: index };
                    ctx.node.shares.set_start(&key, known.epoch, partition.start_offset).await
                }
                None => Err(ErrorCode::UnknownTopicOrPartition.into()),
            };
            let (error_code, error_message) = super::share_acknowledge::told(outcome);
            partitions.push(AlterShareGroupOffsetsResponsePartition {
                partition_index: index,
                error_code,
                error_message,
                ..AlterShareGroupOffsetsResponsePartition::default()
            });
        }
        responses.push(AlterShareGroupOffsetsResponseTopic {
            topic_id: replicas.map_or(Uuid::ZERO, |replicas| replicas.id),
            topic_name: topic.topic_name,
            partitions,
            ..AlterShareGroupOffsetsResponseTopic::default()
        });
    }
    AlterShareGroupOffsetsResponse { responses, ..AlterShareGroupOffsetsResponse::default() }
}

pub(crate) async fn delete(
    ctx: Context,
    request: DeleteShareGroupOffsetsRequest,
) -> DeleteShareGroupOffsetsResponse {
    let refused = |code: ErrorCode, message: Option<String>| DeleteShareGroupOffsetsResponse {
        error_code: code.code(),
        error_message: Some(message.unwrap_or_else(|| code.message().to_owned())),
        ..DeleteShareGroupOffsetsResponse::default()
    };
    if request.group_id.is_empty() {
        return refused(ErrorCode::InvalidGroupId, None);
    }
    let group = request.group_id;
    let asked = Request::ShareTopics { group: group.clone(), must_be_empty: true };
    let known = ask(&ctx, &group, asked).await;
    if known.error != ErrorCode::None {
        return refused(known.error, known.message);
    }
    let mut gone = Vec::new();
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let id = ctx.node.replicas.topic(&topic.topic_name).map(|topic| topic.id);
        let stored = id.and_then(|id| known.topics.get(&id).map(|(_, partitions)| (id, partitions)));
        let (code, message) = match (id, stored) {
            (None, _) => (
                ErrorCode::UnknownTopicOrPartition.code(),
                Some(ErrorCode::UnknownTopicOrPartition.message().to_owned()),
            ),
            (_, None) => (
                ErrorCode::UnknownTopicOrPartition.code(),
                Some("There is no offset information to delete.".to_owned()),
            ),
            (_, Some((id, partitions))) => {
                let partitions = partitions.iter().map(|index| (id, *index));
                let outcome = ctx.node.shares.forget(&group, partitions).await;
                if outcome.is_ok() {
                    gone.push(id);
                }
                super::share_acknowledge::told(outcome)
            }
        };
        responses.push(DeleteShareGroupOffsetsResponseTopic {
            topic_name: topic.topic_name,
            topic_id: stored.map_or(Uuid::ZERO, |(id, _)| id),
            error_code: code,
            error_message: message,
            ..DeleteShareGroupOffsetsResponseTopic::default()
        });
    }
    if !gone.is_empty() {
        let answer = ask(&ctx, &group, Request::ShareRemove { group: group.clone(), topics: gone }).await;
        if answer.error != ErrorCode::None {
            return refused(answer.error, answer.message);
        }
    }
    DeleteShareGroupOffsetsResponse { responses, ..DeleteShareGroupOffsetsResponse::default() }
}

/// Forgets the state of a share group that is about to be deleted; a group of another type, or with members, keeps what
/// it has.
pub(super) async fn forget_group(ctx: &Context, group: &str) -> Result<(), ErrorCode> {
    let asked = Request::ShareTopics { group: group.to_owned(), must_be_empty: true };
    let known = ask(ctx, group, asked).await;
    if known.error != ErrorCode::None {
        // Deleting it will say what is wrong.
        return Ok(());
    }
    let partitions: Vec<_> = known
        .topics
        .iter()
        .flat_map(|(id, (_, indexes))| indexes.iter().map(|index| (*id, *index)))
        .collect();
    ctx.node.shares.forget(group, partitions.into_iter()).await.map_err(|refusal| refusal.code)
}
