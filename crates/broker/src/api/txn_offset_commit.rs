//! TxnOffsetCommit (28), versions 0–5: offsets that count when the producer's transaction is committed. From version 5
//! on the group joins the transaction on the way.

use coordinator::txn::Producer;
use coordinator::{CommitPartition, CommitTopic, OffsetCommit, Request, Response};
use kafka_codec::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use kafka_codec::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_codec::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use kafka_codec::{ErrorCode, Uuid};

use crate::context::Context;

/// First version of transaction version 2.
const JOINS_FROM: i16 = 5;

pub(crate) async fn handle(ctx: Context, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let topics = commit(&ctx, request).await;
    TxnOffsetCommitResponse { topics, ..TxnOffsetCommitResponse::default() }
}

async fn commit(ctx: &Context, request: TxnOffsetCommitRequest) -> Vec<TxnOffsetCommitResponseTopic> {
    let (mut known, mut answers) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for topic in &request.topics {
        match resolve(ctx, topic) {
            Ok(resolved) => {
                known.push(resolved);
                answers.push(answer(topic, ErrorCode::None));
            }
            Err(error) => answers.push(answer(topic, error)),
        }
    }
    if known.is_empty() {
        return answers;
    }
    let group = request.group_id.clone();
    let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
    let commit = OffsetCommit {
        group: request.group_id,
        member: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
        retention_ms: None,
        knows_group_id_not_found: false,
        topics: known,
    };
    let asked = Request::TxnOffsetCommit(commit, producer);
    let joins = ctx.version >= JOINS_FROM;
    let (node, id) = (&ctx.node, &request.transactional_id);
    let outcome = node.transactions.commit_offsets(node, id, producer, (&group, asked), joins).await;
    let mut outcomes = match outcome {
        Ok(Response::OffsetCommit(committed)) => Ok(committed.topics.into_iter()),
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(error) => Err(to_client(error, ctx.version)),
    };
    // The state machine answers the known topics in the order asked.
    for topic in answers.iter_mut().filter(|topic| topic.partitions.iter().all(|p| p.error_code == 0)) {
        let outcome = outcomes.as_mut().map(Iterator::next);
        for (index, partition) in topic.partitions.iter_mut().enumerate() {
            let error = match &outcome {
                Ok(outcome) => outcome
                    .as_ref()
                    .and_then(|outcome| outcome.partitions.get(index))
                    .map_or(ErrorCode::CoordinatorNotAvailable, |(_, error)| *error),
                Err(error) => **error,
            };
            partition.error_code = error.code();
        }
    }
    answers
}

/// The coordinator's errors in the words of this API.
fn to_client(error: ErrorCode, version: i16) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < JOINS_FROM => ErrorCode::InvalidTxnState,
        // Older clients do not know it here, and try this one again.
        ErrorCode::ConcurrentTransactions if version < JOINS_FROM => ErrorCode::CoordinatorLoadInProgress,
        other => other,
    }
}

fn resolve(ctx: &Context, topic: &TxnOffsetCommitRequestTopic) -> Result<CommitTopic, ErrorCode> {
    let state = ctx.node.state();
    let found = if topic.topic_id == Uuid::ZERO {
        state.image.topic(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?
    } else {
        state.image.topic_by_id(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?
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

fn answer(topic: &TxnOffsetCommitRequestTopic, error: ErrorCode) -> TxnOffsetCommitResponseTopic {
    TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|asked| TxnOffsetCommitResponsePartition {
                partition_index: asked.partition_index,
                error_code: error.code(),
                ..TxnOffsetCommitResponsePartition::default()
            })
            .collect(),
        ..TxnOffsetCommitResponseTopic::default()
    }
}
