//! OffsetFetch (9), versions 1–10: one group up to version 7, several since 8, topics by id since 10.
//!
//! Every offset told is durable. With `require_stable` (version 7 and up) one that an open transaction is about to
//! change is answered with UNSTABLE_OFFSET_COMMIT.

use coordinator::{
    CommittedOffset, ErrorCode, FetchTopic, Fetched, FetchedTopic, OffsetFetch, Request, Response,
};
use futures_util::future::join_all;
use kafka_codec::Uuid;
use kafka_codec::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_codec::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_codec::messages::{OffsetFetchRequest, OffsetFetchResponse};

use crate::context::Context;

/// Told where nothing is committed.
const NO_OFFSET: i64 = -1;

pub(crate) async fn handle(ctx: Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if ctx.version >= 8 {
        let groups = join_all(
            request.groups.into_iter().map(|group| fetch_group(&ctx, group, request.require_stable)),
        )
        .await;
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() };
    }
    let by_name = |topic: kafka_codec::messages::offset_fetch_request::OffsetFetchRequestTopic| {
        OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..OffsetFetchRequestTopics::default()
        }
    };
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        member_epoch: -1,
        topics: request.topics.map(|topics| topics.into_iter().map(by_name).collect()),
        ..OffsetFetchRequestGroup::default()
    };
    let asked = group.topics.clone();
    let answer = fetch_group(&ctx, group, request.require_stable).await;
    // Version 1 has no place for an error but the partitions.
    if ctx.version < 2 && answer.error_code != 0 {
        return OffsetFetchResponse {
            topics: failed_partitions(asked.unwrap_or_default(), answer.error_code),
            ..OffsetFetchResponse::default()
        };
    }
    OffsetFetchResponse {
        topics: answer.topics.into_iter().map(single_group_topic).collect(),
        error_code: answer.error_code,
        ..OffsetFetchResponse::default()
    }
}

async fn fetch_group(
    ctx: &Context,
    asked: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let wanted: Option<Vec<Result<FetchTopic, OffsetFetchRequestTopics>>> =
        asked.topics.map(|topics| topics.into_iter().map(|topic| resolve(ctx, topic)).collect());
    let known = wanted
        .as_ref()
        .map(|wanted| wanted.iter().filter_map(|topic| topic.as_ref().ok()).cloned().collect());
    let fetch = OffsetFetch {
        group: asked.group_id.clone(),
        member: asked.member_id,
        epoch: asked.member_epoch,
        topics: known,
        require_stable,
    };
    let fetched = match ctx.node.groups.ask(&asked.group_id, Request::OffsetFetch(fetch)).await {
        Some(Response::OffsetFetch(fetched)) => fetched,
        _ => Fetched { error: ErrorCode::CoordinatorNotAvailable, topics: Vec::new() },
    };
    let group = OffsetFetchResponseGroup {
        group_id: asked.group_id,
        error_code: fetched.error.code(),
        ..OffsetFetchResponseGroup::default()
    };
    if fetched.error != ErrorCode::None {
        return group;
    }
    let topics = match wanted {
        None => fetched.topics.into_iter().filter_map(|topic| whole_topic(ctx, topic)).collect(),
        Some(wanted) => {
            // The state machine answers the known topics in the order asked.
            let mut answers = fetched.topics.into_iter();
            wanted
                .into_iter()
                .filter_map(|topic| match topic {
                    Ok(_) => answers.next().map(|topic| {
                        let id = topic.id.unwrap_or_default();
                        told(topic, id)
                    }),
                    Err(unknown) => Some(unknown_topic(unknown)),
                })
                .collect()
        }
    };
    OffsetFetchResponseGroup { topics, ..group }
}

/// The topic as it is now. By name also one that is no more may be asked for: its offsets may still be there.
fn resolve(ctx: &Context, asked: OffsetFetchRequestTopics) -> Result<FetchTopic, OffsetFetchRequestTopics> {
    let state = ctx.node.state();
    let found = if ctx.version >= 10 {
        state.image.topic_by_id(asked.topic_id)
    } else {
        state.image.topic(&asked.name)
    };
    match found {
        Some(topic) => Ok(FetchTopic {
            name: topic.name.to_string(),
            id: Some(topic.id),
            partitions: asked.partition_indexes,
        }),
        None if ctx.version >= 10 => Err(asked),
        None => Ok(FetchTopic { name: asked.name, id: None, partitions: asked.partition_indexes }),
    }
}

/// A topic in the answer to "all": without what was committed for an earlier topic of the same name.
fn whole_topic(ctx: &Context, mut topic: FetchedTopic) -> Option<OffsetFetchResponseTopics> {
    let now = ctx.node.state().image.topic(&topic.name).map(|topic| topic.id);
    if let Some(now) = now {
        topic.partitions.retain(|(_, _, offset)| {
            offset.as_ref().and_then(|offset| offset.topic_id).is_none_or(|stored| stored == now)
        });
    }
    if topic.partitions.is_empty() || (ctx.version >= 10 && now.is_none()) {
        return None;
    }
    Some(told(topic, now.unwrap_or_default()))
}

fn told(topic: FetchedTopic, topic_id: Uuid) -> OffsetFetchResponseTopics {
    let partitions = topic
        .partitions
        .into_iter()
        .map(|(index, error, offset)| told_partition(index, error, offset))
        .collect();
    OffsetFetchResponseTopics {
        name: topic.name,
        topic_id,
        partitions,
        ..OffsetFetchResponseTopics::default()
    }
}

fn told_partition(
    index: i32,
    error: ErrorCode,
    offset: Option<CommittedOffset>,
) -> OffsetFetchResponsePartitions {
    let (committed_offset, committed_leader_epoch, metadata) = match offset {
        Some(offset) => (offset.offset, offset.leader_epoch.unwrap_or(-1), offset.metadata),
        None => (NO_OFFSET, -1, String::new()),
    };
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset,
        committed_leader_epoch,
        metadata: Some(metadata),
        error_code: error.code(),
        ..OffsetFetchResponsePartitions::default()
    }
}

fn unknown_topic(asked: OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
    let partitions = asked
        .partition_indexes
        .iter()
        .map(|index| told_partition(*index, ErrorCode::UnknownTopicId, None))
        .collect();
    OffsetFetchResponseTopics {
        name: asked.name,
        topic_id: asked.topic_id,
        partitions,
        ..OffsetFetchResponseTopics::default()
    }
}

fn failed_partitions(asked: Vec<OffsetFetchRequestTopics>, error_code: i16) -> Vec<OffsetFetchResponseTopic> {
    let error = ErrorCode::from_wire(error_code);
    asked
        .into_iter()
        .map(|topic| {
            let partitions =
                topic.partition_indexes.iter().map(|index| told_partition(*index, error, None)).collect();
            OffsetFetchResponseTopics { name: topic.name, partitions, ..OffsetFetchResponseTopics::default() }
        })
        .map(single_group_topic)
        .collect()
}

fn single_group_topic(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..OffsetFetchResponsePartition::default()
    };
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
        ..OffsetFetchResponseTopic::default()
    }
}
