//! OffsetDelete (47), version 0: offsets of topics that the group does not subscribe to.

use coordinator::{ErrorCode, OffsetDelete, OffsetsDeleted, Request, Response};
use kafka_codec::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_codec::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    if request.group_id.is_empty() {
        let error_code = ErrorCode::InvalidGroupId.code();
        return OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() };
    }
    let state = ctx.node.state();
    let asked = request.topics.into_iter().map(|topic| {
        let partitions: Vec<i32> =
            topic.partitions.iter().map(|partition| partition.partition_index).collect();
        (topic.name, partitions)
    });
    let (known, unknown): (Vec<_>, Vec<_>) = asked.partition(|(name, _)| state.image.topic(name).is_some());
    let mut topics: Vec<OffsetDeleteResponseTopic> = unknown
        .into_iter()
        .map(|(name, partitions)| {
            let error = ErrorCode::UnknownTopicOrPartition;
            answer(name, partitions.into_iter().map(|partition| (partition, error)).collect())
        })
        .collect();
    let delete = OffsetDelete { group: request.group_id.clone(), topics: known };
    let deleted = match ctx.node.groups.ask(&request.group_id, Request::OffsetDelete(delete)).await {
        Some(Response::OffsetDelete(deleted)) => deleted,
        _ => OffsetsDeleted { error: ErrorCode::CoordinatorNotAvailable, topics: Vec::new() },
    };
    if deleted.error != ErrorCode::None {
        return OffsetDeleteResponse { error_code: deleted.error.code(), ..OffsetDeleteResponse::default() };
    }
    topics.extend(deleted.topics.into_iter().map(|(name, partitions)| answer(name, partitions)));
    OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() }
}

fn answer(name: String, partitions: Vec<(i32, ErrorCode)>) -> OffsetDeleteResponseTopic {
    let partition = |(partition_index, error): (i32, ErrorCode)| OffsetDeleteResponsePartition {
        partition_index,
        error_code: error.code(),
    };
    OffsetDeleteResponseTopic { name, partitions: partitions.into_iter().map(partition).collect() }
}
