//! WriteTxnMarkers (27), versions 1–2: ends a producer's transaction in single partitions, without its coordinator.
//! Brokers of a cluster tell each other so; here it is an administrator's means (`kafka-transactions abort`).

use std::sync::Arc;

use coordinator::txn::Producer;
use kafka_codec::ErrorCode;
use kafka_codec::messages::write_txn_markers_request::WritableTxnMarker;
use kafka_codec::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_codec::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use kafka_codec::records::end_transaction_marker;
use log::AppendBatches;

use super::error_code::of_log;
use crate::context::Context;
use crate::state_topic::Written;

pub(crate) async fn handle(ctx: Context, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let mut markers = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        let ended =
            (Producer { id: marker.producer_id, epoch: marker.producer_epoch }, marker.transaction_result);
        let mut topics = Vec::with_capacity(marker.topics.len());
        for topic in &marker.topics {
            let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
            for index in &topic.partition_indexes {
                let error = match write(&ctx, &marker, &topic.name, *index) {
                    Ok(written) => finish(&ctx, written, ended).await,
                    Err(error) => error,
                };
                partitions.push(WritableTxnMarkerPartitionResult {
                    partition_index: *index,
                    error_code: error.code(),
                    ..WritableTxnMarkerPartitionResult::default()
                });
            }
            topics.push(WritableTxnMarkerTopicResult {
                name: topic.name.clone(),
                partitions,
                ..WritableTxnMarkerTopicResult::default()
            });
        }
        markers.push(WritableTxnMarkerResult {
            producer_id: marker.producer_id,
            topics,
            ..WritableTxnMarkerResult::default()
        });
    }
    WriteTxnMarkersResponse { markers, ..WriteTxnMarkersResponse::default() }
}

fn write(ctx: &Context, marker: &WritableTxnMarker, topic: &str, index: i32) -> Result<Written, ErrorCode> {
    let partition = ctx.node.replicas.partition(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let log = partition.log().map_err(|error| of_log(&error))?;
    let batch = end_transaction_marker(
        marker.producer_id,
        marker.producer_epoch,
        marker.transaction_result,
        marker.coordinator_epoch,
        super::now_ms(),
    )
    .map_err(|_| ErrorCode::InvalidRequest)?;
    let appended = log
        .append(AppendBatches::coordinator(batch.into(), partition.leader_epoch()))
        .map_err(|error| of_log(&error))?;
    Ok((Arc::clone(&partition), appended.last_offset))
}

async fn finish(ctx: &Context, written: Written, ended: (Producer, bool)) -> ErrorCode {
    if let Err(error) = written.0.durable(written.1).await {
        return of_log(&error);
    }
    crate::txns::tell_groups(&ctx.node, &[written], Some(ended)).await;
    ErrorCode::None
}
