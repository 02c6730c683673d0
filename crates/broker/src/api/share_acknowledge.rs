//! ShareAcknowledge (79), versions 1–2: what became of records, without fetching more.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::ErrorCode;
use coordinator::share::{AckBatch, AckType, ShareKey, ShareRefusal, TopicPartitionId};
use futures_util::future::join_all;
use kafka_codec::acl::AclOperation;
use kafka_codec::messages::share_acknowledge_response::{PartitionData, ShareAcknowledgeTopicResponse};
use kafka_codec::messages::{ShareAcknowledgeRequest, ShareAcknowledgeResponse};

use super::share_fetch::{by_topic, invalid, is_member_id};
use crate::authorize::Access;
use crate::context::Context;
use crate::shares::settings::{self, ShareSettings};
use crate::state_topic::durable;

/// First version with renewals, and with the time of locks in the answer.
pub(super) const RENEW_FROM: i16 = 2;

/// Acknowledgements of one partition, as the client wrote them.
pub(super) struct Word {
    pub partition: TopicPartitionId,
    /// First offset, last offset, types.
    pub batches: Vec<(i64, i64, Vec<i8>)>,
}

pub(crate) async fn handle(ctx: Context, request: ShareAcknowledgeRequest) -> ShareAcknowledgeResponse {
    let refused = |refusal: ShareRefusal| ShareAcknowledgeResponse {
        error_code: refusal.code.code(),
        error_message: Some(refusal.message.to_owned()),
        ..ShareAcknowledgeResponse::default()
    };
    let Some(group) = request.group_id else { return refused(invalid("Invalid group id in the request.")) };
    let Some(member) = request.member_id.filter(|member| is_member_id(member)) else {
        return refused(invalid("Invalid member id in the request."));
    };
    let session = ctx.node.shares.sessions.lock().acknowledge((&group, &member), request.share_session_epoch);
    let is_last = match session {
        Ok(is_last) => is_last,
        Err(code) => return refused(code.into()),
    };
    let words = request.topics.into_iter().flat_map(|topic| {
        let topic_id = topic.topic_id;
        topic.partitions.into_iter().map(move |partition| Word {
            partition: (topic_id, partition.partition_index),
            batches: partition
                .acknowledgement_batches
                .into_iter()
                .map(|batch| (batch.first_offset, batch.last_offset, batch.acknowledge_types))
                .collect(),
        })
    });
    let settings = settings::of(&ctx.node.state(), &group);
    let outcomes = acknowledge(&ctx, &group, &member, words.collect(), request.is_renew_ack, &settings).await;
    if is_last {
        close(&ctx, &group, &member);
    }
    let answers = outcomes.into_iter().map(|((topic, index), outcome)| {
        let (error_code, error_message) = told(outcome);
        (
            topic,
            PartitionData { partition_index: index, error_code, error_message, ..PartitionData::default() },
        )
    });
    ShareAcknowledgeResponse {
        acquisition_lock_timeout_ms: if ctx.version >= RENEW_FROM {
            i32::try_from(settings.limits.lock_ms).unwrap_or(i32::MAX)
        } else {
            0
        },
        responses: by_topic(answers)
            .into_iter()
            .map(|(topic_id, partitions)| ShareAcknowledgeTopicResponse {
                topic_id,
                partitions,
                ..ShareAcknowledgeTopicResponse::default()
            })
            .collect(),
        ..ShareAcknowledgeResponse::default()
    }
}

/// An outcome as the protocol tells it.
pub(super) fn told(outcome: Result<(), ShareRefusal>) -> (i16, Option<String>) {
    match outcome {
        Ok(()) => (0, None),
        Err(refusal) => (refusal.code.code(), Some(refusal.message.to_owned())),
    }
}

/// Ends a member's session.
pub(super) fn close(ctx: &Context, group: &str, member: &str) {
    let partitions = ctx.node.shares.sessions.lock().close(group, member);
    if let Some(partitions) = partitions {
        ctx.node.shares.release(&ctx.node, group, member, &partitions);
    }
}

/// Takes a member's word on many partitions; answers when it is durable.
pub(super) async fn acknowledge(
    ctx: &Context,
    group: &str,
    member: &str,
    words: Vec<Word>,
    renews: bool,
    settings: &ShareSettings,
) -> BTreeMap<TopicPartitionId, Result<(), ShareRefusal>> {
    let access = ctx.node.authorizer.enabled.then(|| Access::of(ctx));
    let member: Arc<str> = Arc::from(member);
    let now_ms = ctx.node.groups.now().mono_ms;
    let mut begun = Vec::with_capacity(words.len());
    for word in words {
        let outcome = checked(word.batches, ctx.version >= RENEW_FROM, renews).and_then(|batches| {
            let (topic, index) = word.partition;
            let replicas = ctx.node.replicas.topic_by_id(topic).ok_or(ErrorCode::UnknownTopicId)?;
            if access.as_ref().is_some_and(|access| !access.topic(AclOperation::Read, &replicas.name)) {
                return Err(ErrorCode::TopicAuthorizationFailed.into());
            }
            replicas.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            if batches.is_empty() {
                return Ok(None);
            }
            let key = ShareKey { group: group.to_owned(), topic, partition: index };
            // Only who has fetched can have something to acknowledge.
            let live = ctx.node.shares.at_work(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let written = live.acknowledge(&member, &batches, now_ms, &settings.limits)?;
            if renews {
                ctx.node.shares.arm(&live);
            }
            Ok(written)
        });
        begun.push((word.partition, outcome));
    }
    let settled = begun.into_iter().map(|(partition, outcome)| async move {
        let outcome = match outcome {
            Ok(Some(written)) => durable(&written).await.map_err(ShareRefusal::from),
            Ok(None) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        (partition, outcome)
    });
    join_all(settled).await.into_iter().collect()
}

/// Reads a client's acknowledgements.
fn checked(
    batches: Vec<(i64, i64, Vec<i8>)>,
    may_renew: bool,
    renews: bool,
) -> Result<Vec<AckBatch>, ShareRefusal> {
    let mut before = -1;
    let mut checked = Vec::with_capacity(batches.len());
    for (first, last, types) in batches {
        let types: Option<Vec<AckType>> = types.into_iter().map(AckType::from_wire).collect();
        let types = types.filter(|types| !types.is_empty()).ok_or(ErrorCode::InvalidRequest)?;
        let length =
            last.checked_sub(first).filter(|length| *length >= 0).ok_or(ErrorCode::InvalidRequest)?;
        let fits = types.len() == 1 || usize::try_from(length).is_ok_and(|length| length + 1 == types.len());
        let renewed = types.contains(&AckType::Renew);
        if first < before || !fits || (renewed && !(may_renew && renews)) {
            return Err(ErrorCode::InvalidRequest.into());
        }
        before = last;
        checked.push(AckBatch { first, last, types });
    }
    Ok(checked)
}
