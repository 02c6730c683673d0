//! Produce (0): appends record batches as they came. Memory: the request's frame until it is answered; a thread's
//! scratch buffer for checking compressed batches, and for one at a time as much as a batch may decompress to.

mod transaction;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coordinator::txn::{Producer, TxnPartition};
use futures_util::FutureExt;
use kafka_codec::acl::AclOperation;
use kafka_codec::produce::{
    LeaderIdAndEpoch, PartitionProduce, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduce, TopicProduceResponse,
};
use kafka_codec::records::{
    BatchFacts, BatchHeader, BatchRules, Compression, RecordError, set_max_timestamp, validate_producer_batch,
};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, DecodeError, ErrorCode};
use log::{AppendBatches, Appended};
use meta::config::TopicConfig;
use meta::quota;
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

use self::transaction::Transaction;
use super::error_code::{of_log, of_records};
use super::record_errors::{self, RecordErrors, TimestampRange};
use crate::authorize::Access;
use crate::context::Context;
use crate::dispatch::{Call, framed};
use crate::net::connection::Handling;
use crate::net::response::Reply;
use crate::replica::{Partition, TopicReplicas};

/// Most bytes that the records of one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
/// Batches that decompress to more are checked one at a time, and not on the threads that serve everybody.
const LARGE_BYTES: usize = 4 << 20;
/// A larger scratch buffer is given back after use.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;
/// First version that may carry zstd.
const ZSTD_FROM: i16 = 7;
/// First version with topic ids.
const TOPIC_IDS_FROM: i16 = 13;

static LARGE: Mutex<()> = Mutex::new(());

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Begins a produce request: batches are appended now, the answer waits for stable storage.
pub(crate) fn begin(call: Call) -> Result<Handling, DecodeError> {
    // Checked here, so that a malformed request is known as such; decoding it again costs next to nothing.
    ProduceRequest::decode(&mut Reader::shared(&call.body), call.version)?;
    Ok(Handling { reply: produce(call).boxed(), pipelined: true })
}

/// Why a partition's batch was not appended.
struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    /// Records at fault: index in the batch, and why.
    records: Vec<(i32, String)>,
}

impl Refusal {
    fn of(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new() }
    }

    fn because(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()), records: Vec::new() }
    }
}

type Outcome = Result<(Arc<Partition>, Appended), Refusal>;

/// The topics asked for, as far as they are there and the client may write to them.
fn resolve(
    ctx: &Context,
    request: &ProduceRequest<'_>,
    version: i16,
) -> Vec<Result<Arc<TopicReplicas>, ErrorCode>> {
    let access = ctx.node.authorizer.enabled.then(|| Access::of(ctx));
    let may_write = |name: &str| access.as_ref().is_none_or(|access| access.topic(AclOperation::Write, name));
    let may_transact = access
        .as_ref()
        .zip(request.transactional_id)
        .is_none_or(|(access, id)| access.transactional_id(AclOperation::Write, id));
    let topic = |topic: &TopicProduce<'_>| {
        if !may_transact {
            return Err(ErrorCode::TransactionalIdAuthorizationFailed);
        }
        if version >= TOPIC_IDS_FROM {
            let found = ctx.node.replicas.topic_by_id(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
            return if may_write(&found.name) { Ok(found) } else { Err(ErrorCode::TopicAuthorizationFailed) };
        }
        // A name that may not be written to is refused whether the topic is there or not.
        if !may_write(topic.name) {
            return Err(ErrorCode::TopicAuthorizationFailed);
        }
        ctx.node.replicas.topic(topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)
    };
    request.topics.iter().map(topic).collect()
}

async fn produce(call: Call) -> Reply {
    let Call { ctx, version, correlation_id, body, .. } = call;
    let request = match ProduceRequest::decode(&mut Reader::shared(&body), version) {
        Ok(request) => request,
        Err(error) => return Reply::Close(error.to_string()),
    };
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let topics = resolve(&ctx, &request, version);
    let appending = Appending {
        ctx: &ctx,
        request: &request,
        version,
        transaction: Transaction::of(&ctx, &request, &topics, version),
    };
    let mut outcomes: Vec<Vec<Outcome>> = Vec::with_capacity(request.topics.len());
    for (topic, replicas) in request.topics.iter().zip(&topics) {
        let append = |wanted| match replicas {
            Ok(topic) => appending.append(topic, wanted),
            Err(code) => Err(Refusal::of(*code)),
        };
        outcomes.push(topic.partitions.iter().map(append).collect());
    }
    // The whole request counts, as in Kafka.
    #[allow(clippy::cast_precision_loss)]
    let throttle_time_ms = ctx.spend(quota::PRODUCER_BYTE_RATE, body.len() as f64);
    if request.acks == 0 {
        return answer_nothing(&outcomes);
    }
    let joined = appending.transaction.as_ref().ok().and_then(|transaction| transaction.as_ref()?.joined());
    for outcome in outcomes.iter_mut().flatten() {
        if let Ok((partition, appended)) = outcome {
            // `acks=1` waits too: one sync serves all who wait, and a record that was acknowledged from memory
            // alone would not survive a kill.
            let durable = async {
                if let Some((state, offset)) = joined {
                    state.durable(*offset).await?;
                }
                partition.durable(appended.last_offset).await
            };
            match tokio::time::timeout_at(deadline, durable).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => *outcome = Err(Refusal::because(of_log(&error), error.to_string())),
                Err(_) => *outcome = Err(Refusal::of(ErrorCode::RequestTimedOut)),
            }
        }
    }
    let topics = request
        .topics
        .iter()
        .zip(&outcomes)
        .map(|(topic, outcomes)| TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .zip(outcomes)
                .map(|(wanted, outcome)| answer(&ctx, wanted.index, outcome))
                .collect(),
        })
        .collect();
    let response = ProduceResponse { topics, throttle_time_ms, ..ProduceResponse::default() };
    framed(ApiKey::Produce, version, response.encode_frame(version, correlation_id))
}

/// With `acks=0` there is no answer; errors can only be told by closing the connection, as Kafka does.
fn answer_nothing(outcomes: &[Vec<Outcome>]) -> Reply {
    let refused = outcomes.iter().flatten().find_map(|outcome| outcome.as_ref().err());
    match refused {
        None => Reply::Nothing,
        Some(refusal) => Reply::Close(format!(
            "a batch sent with acks=0 was refused: {} {}",
            refusal.code.name(),
            refusal.message.as_deref().unwrap_or_default()
        )),
    }
}

fn answer<'a>(ctx: &Context, index: i32, outcome: &'a Outcome) -> PartitionProduceResponse<'a> {
    match outcome {
        Ok((_, appended)) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start_offset,
            ..PartitionProduceResponse::default()
        },
        Err(refusal) => PartitionProduceResponse {
            index,
            error_code: refusal.code.code(),
            base_offset: -1,
            record_errors: refusal.records.iter().map(|(index, why)| (*index, Some(why.as_str()))).collect(),
            error_message: refusal.message.as_deref(),
            current_leader: if refusal.code == ErrorCode::NotLeaderOrFollower {
                LeaderIdAndEpoch { leader_id: ctx.node.id, leader_epoch: -1 }
            } else {
                LeaderIdAndEpoch::default()
            },
            ..PartitionProduceResponse::default()
        },
    }
}

/// What the appends of one request share.
struct Appending<'a> {
    ctx: &'a Context,
    request: &'a ProduceRequest<'a>,
    version: i16,
    transaction: Result<Option<Transaction<'a>>, ErrorCode>,
}

impl Appending<'_> {
    fn append(&self, topic: &TopicReplicas, wanted: &PartitionProduce) -> Outcome {
        let request = self.request;
        if !(-1..=1).contains(&request.acks) {
            return Err(Refusal::of(ErrorCode::InvalidRequiredAcks));
        }
        if self.ctx.node.keeps_for_itself(&topic.name) {
            let message = format!("Cannot append to internal topic {}", topic.name);
            return Err(Refusal::because(ErrorCode::InvalidTopicException, message));
        }
        let partition =
            topic.partition(wanted.index).ok_or_else(|| Refusal::of(ErrorCode::UnknownTopicOrPartition))?;
        let config = partition.config();
        if request.acks == -1 && config.min_insync_replicas > 1 {
            let message = format!(
                "The size of the current ISR Set(1) is insufficient to satisfy the min.isr requirement of {} for \
             partition {}-{}",
                config.min_insync_replicas, topic.name, wanted.index
            );
            return Err(Refusal::because(ErrorCode::NotEnoughReplicas, message));
        }
        let log = partition.log().map_err(|error| Refusal::because(of_log(&error), error.to_string()))?;
        let Checked { batch, transactional } =
            checked(wanted.records.as_ref(), partition, &config, self.version)?;
        let batches =
            AppendBatches { validated: true, ..AppendBatches::client(batch, partition.leader_epoch()) };
        let appended = match transactional {
            None => log.append(batches),
            Some(producer) => {
                let transaction = self
                    .transaction
                    .as_ref()
                    .map_err(|code| Refusal::of(*code))?
                    .as_ref()
                    .ok_or_else(|| Refusal::of(ErrorCode::InvalidTxnState))?;
                let name = TxnPartition::new(Arc::clone(&topic.name), wanted.index);
                transaction
                    .append(self.ctx, producer, &name, || log.append(batches))
                    .map_err(|code| Refusal::because(code, code.message()))?
            }
        };
        match appended {
            Ok(appended) => Ok((Arc::clone(partition), appended)),
            Err(error) => {
                let code = of_log(&error);
                if code == ErrorCode::KafkaStorageError {
                    partition.report_refusal(&error);
                }
                Err(Refusal::because(code, error.to_string()))
            }
        }
    }
}

/// A batch that may be stored.
struct Checked {
    batch: Bytes,
    /// The producer, if the batch is part of a transaction.
    transactional: Option<Producer>,
}

/// Checks what a producer sent for one partition: exactly one batch that may be stored.
fn checked(
    records: Option<&Bytes>,
    partition: &Partition,
    config: &TopicConfig,
    version: i16,
) -> Result<Checked, Refusal> {
    let invalid = |message: &str| Err(Refusal::because(ErrorCode::InvalidRecord, message));
    let Some(bytes) = records.filter(|records| !records.is_empty()) else {
        return invalid("Produce requests must have at least one record batch per partition");
    };
    let rules = BatchRules {
        batch_bytes_max: usize::try_from(config.max_message_bytes).unwrap_or(0),
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        keys_required: config.compact,
    };
    let facts = validate(bytes, &rules);
    // As in Kafka every record at fault is named. (Its keys are looked at only when all else is well.)
    let range = (!config.log_append_time).then(|| TimestampRange::new(config, super::now_ms()));
    let at_fault = match &facts {
        Err(RecordError::KeyMissing { .. }) => true,
        Err(_) => false,
        Ok(facts) => range.is_some_and(|range| {
            !range.allows(facts.min_timestamp_ms) || !range.allows(facts.max_timestamp_ms)
        }),
    };
    if at_fault && let Some(errors) = record_errors(bytes, config, range, partition) {
        return Err(Refusal { code: errors.code, message: Some(errors.message), records: errors.records });
    }
    let facts = facts.map_err(|error| Refusal::because(of_records(&error), error.to_string()))?;
    let header: &BatchHeader = &facts.header;
    if header.size_bytes() != bytes.len() {
        return invalid(
            "Produce requests are only allowed to contain exactly one record batch per partition",
        );
    }
    let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
    let transactional = header.is_transactional().then_some(producer);
    if version < ZSTD_FROM && header.compression() == Ok(Compression::Zstd) {
        let message = format!("Produce requests with version {version} are not allowed to use ZStandard");
        return Err(Refusal::because(ErrorCode::UnsupportedCompressionType, message));
    }
    if header.max_timestamp == facts.max_timestamp_ms {
        return Ok(Checked { batch: bytes.clone(), transactional });
    }
    let mut corrected = BytesMut::from(&**bytes);
    set_max_timestamp(&mut corrected, facts.max_timestamp_ms);
    Ok(Checked { batch: corrected.freeze(), transactional })
}

fn record_errors(
    bytes: &Bytes,
    config: &TopicConfig,
    range: Option<TimestampRange>,
    partition: &Partition,
) -> Option<RecordErrors> {
    let name = format!("{}-{}", partition.topic, partition.index);
    aside(|| {
        let _one_at_a_time = LARGE.lock();
        record_errors::find(bytes, config, range, &name, DECOMPRESSED_BYTES_MAX, &mut large_buffer())
    })
}

/// Room for all that a batch may decompress to, of which the system gives what is used: a buffer that grows is copied
/// each time, and is there twice meanwhile.
fn large_buffer() -> Vec<u8> {
    const PROBED_BYTES: usize = 64;
    Vec::with_capacity(DECOMPRESSED_BYTES_MAX + PROBED_BYTES)
}

/// Checks a batch and every record in it.
fn validate(bytes: &Bytes, rules: &BatchRules) -> Result<BatchFacts, RecordError> {
    let most = BatchRules { decompressed_bytes_max: LARGE_BYTES, ..*rules };
    let facts = SCRATCH.with_borrow_mut(|scratch| {
        let facts = validate_producer_batch(bytes, &most, scratch);
        if scratch.capacity() > SCRATCH_BYTES_KEPT {
            *scratch = Vec::new();
        }
        facts
    });
    match facts {
        Err(RecordError::DecompressedTooLarge { .. }) => aside(|| {
            let _one_at_a_time = LARGE.lock();
            validate_producer_batch(bytes, rules, &mut large_buffer())
        }),
        facts => facts,
    }
}

/// Does what takes long; where the runtime has other threads, they take over what this one would have done meanwhile.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
