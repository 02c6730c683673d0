//! InitializeShareGroupState (83), ReadShareGroupState (84), WriteShareGroupState (85), DeleteShareGroupState (86) and
//! ReadShareGroupStateSummary (87): what brokers ask the share coordinator, which on this node is the next room. Whoever
//! has the rights of a broker may ask it, too.

use coordinator::ErrorCode;
use coordinator::share::{
    DeliveryState, ShareKey, ShareRefusal, StateBatch, StateSummary, StateWrite, UNINITIALIZED,
};
use kafka_codec::Uuid;
use kafka_codec::messages::*;

use crate::context::Context;
use crate::node::Node;
use crate::state_topic::durable;

/// The key of a request for one partition, if there is such a partition.
fn key(node: &Node, group: &str, topic: Uuid, partition: i32) -> Result<ShareKey, ShareRefusal> {
    if partition < 0 {
        let message = "The partition id cannot be a negative number.";
        return Err(ShareRefusal { code: ErrorCode::InvalidRequest, message });
    }
    let state = node.state();
    let known = state.image.topic_by_id(topic).map_or(0, |topic| topic.partitions.len());
    if !usize::try_from(partition).is_ok_and(|index| index < known) {
        return Err(ErrorCode::UnknownTopicOrPartition.into());
    }
    Ok(ShareKey { group: group.to_owned(), topic, partition })
}

/// Answers every partition of a request with what `one` says, or with a code.
macro_rules! answer {
    ($ctx:ident, $request:ident, $response:ident, $module:ident, $result:ident, |$key:ident, $partition:ident| $one:expr) => {{
        use $module::{PartitionResult, $result};
        let mut results = Vec::with_capacity($request.topics.len());
        for topic in $request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for $partition in topic.partitions {
                let index = $partition.partition;
                let answered: Result<PartitionResult, ShareRefusal> = async {
                    let $key = key(&$ctx.node, &$request.group_id, topic.topic_id, index)?;
                    $one
                }
                .await;
                let mut result = answered.unwrap_or_else(|refusal| PartitionResult {
                    error_code: refusal.code.code(),
                    error_message: Some(refusal.message.to_owned()),
                    ..PartitionResult::default()
                });
                result.partition = index;
                partitions.push(result);
            }
            results.push($result { topic_id: topic.topic_id, partitions, ..$result::default() });
        }
        $response { results, ..$response::default() }
    }};
}

pub(crate) async fn initialize(
    ctx: Context,
    request: InitializeShareGroupStateRequest,
) -> InitializeShareGroupStateResponse {
    answer!(
        ctx,
        request,
        InitializeShareGroupStateResponse,
        initialize_share_group_state_response,
        InitializeStateResult,
        |key, partition| {
            ctx.node.shares.set_start(&key, partition.state_epoch, partition.start_offset).await?;
            Ok(PartitionResult::default())
        }
    )
}

pub(crate) async fn read(ctx: Context, request: ReadShareGroupStateRequest) -> ReadShareGroupStateResponse {
    answer!(
        ctx,
        request,
        ReadShareGroupStateResponse,
        read_share_group_state_response,
        ReadStateResult,
        |key, partition| {
            let store = ctx.node.shares.store(&key).await?;
            let now_ms = crate::api::now_ms();
            let (state, written) = store.with(|stored| {
                let (state, change) = stored.read(&key, partition.leader_epoch, now_ms)?;
                let written = change.map(|change| store.append(stored, change, now_ms)).transpose()?;
                Ok((state, written))
            })?;
            if let Some(written) = written {
                durable(&written).await?;
            }
            Ok(PartitionResult {
                state_epoch: state.state_epoch,
                start_offset: state.start_offset,
                state_batches: state
                    .batches
                    .iter()
                    .map(|batch| read_share_group_state_response::StateBatch {
                        first_offset: batch.first,
                        last_offset: batch.last,
                        delivery_state: batch.state.wire(),
                        delivery_count: batch.deliveries,
                        ..read_share_group_state_response::StateBatch::default()
                    })
                    .collect(),
                ..PartitionResult::default()
            })
        }
    )
}

pub(crate) async fn write(
    ctx: Context,
    request: WriteShareGroupStateRequest,
) -> WriteShareGroupStateResponse {
    answer!(
        ctx,
        request,
        WriteShareGroupStateResponse,
        write_share_group_state_response,
        WriteStateResult,
        |key, partition| {
            let store = ctx.node.shares.store(&key).await?;
            let write = StateWrite {
                state_epoch: partition.state_epoch,
                leader_epoch: partition.leader_epoch,
                start_offset: partition.start_offset,
                completed: partition.delivery_complete_count,
                batches: partition
                    .state_batches
                    .iter()
                    .map(|batch| StateBatch {
                        first: batch.first_offset,
                        last: batch.last_offset,
                        state: DeliveryState::from_wire(batch.delivery_state),
                        deliveries: batch.delivery_count,
                    })
                    .collect(),
            };
            // Whoever works on it knows nothing of this, and begins anew with it.
            ctx.node.shares.put_to_rest(|other| *other == key);
            let now_ms = crate::api::now_ms();
            let written = store.with(|stored| {
                let change = stored.write(&key, &write, now_ms)?;
                store.append(stored, change, now_ms)
            })?;
            durable(&written).await?;
            Ok(PartitionResult::default())
        }
    )
}

pub(crate) async fn delete(
    ctx: Context,
    request: DeleteShareGroupStateRequest,
) -> DeleteShareGroupStateResponse {
    answer!(
        ctx,
        request,
        DeleteShareGroupStateResponse,
        delete_share_group_state_response,
        DeleteStateResult,
        |key, partition| {
            ctx.node.shares.store(&key).await?;
            let one = std::iter::once((key.topic, partition.partition));
            ctx.node.shares.forget(&key.group, one).await?;
            Ok(PartitionResult::default())
        }
    )
}

/// What is told of a share partition of which nothing is stored.
const NOTHING: StateSummary =
    StateSummary { state_epoch: 0, leader_epoch: 0, start_offset: UNINITIALIZED, completed: -1 };

/// The short form of a share partition's state.
pub(super) async fn summary_of(node: &Node, key: &ShareKey) -> Result<StateSummary, ShareRefusal> {
    let store = node.shares.store(key).await?;
    store.with(|stored| Ok(stored.summary(key).unwrap_or(NOTHING)))
}

pub(crate) async fn summary(
    ctx: Context,
    request: ReadShareGroupStateSummaryRequest,
) -> ReadShareGroupStateSummaryResponse {
    answer!(
        ctx,
        request,
        ReadShareGroupStateSummaryResponse,
        read_share_group_state_summary_response,
        ReadStateSummaryResult,
        |key, partition| {
            let _ = partition.leader_epoch;
            let summary = summary_of(&ctx.node, &key).await?;
            Ok(PartitionResult {
                state_epoch: summary.state_epoch,
                leader_epoch: summary.leader_epoch,
                start_offset: summary.start_offset,
                delivery_complete_count: summary.completed,
                ..PartitionResult::default()
            })
        }
    )
}
