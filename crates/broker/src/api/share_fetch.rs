//! ShareFetch (78), versions 1–2: records for a member of a share group, theirs until they are acknowledged or their lock
//! runs out; with acknowledgements of earlier ones on the way. Memory: what is handed out, at most a mebibyte for each
//! partition and `max_bytes` in all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator::ErrorCode;
use coordinator::share::{Acquired, ShareKey, ShareRefusal, TopicPartitionId};
use kafka_codec::Uuid;
use kafka_codec::acl::AclOperation;
use kafka_codec::messages::share_fetch_response::{
    AcquiredRecords, PartitionData, ShareFetchableTopicResponse,
};
use kafka_codec::messages::{ShareFetchRequest, ShareFetchResponse};
use meta::quota;
use tokio::time::Instant;

use super::share_acknowledge::{self, RENEW_FROM, Word};
use crate::authorize::Access;
use crate::context::Context;
use crate::replica::waiters::WakeSlot;
use crate::shares::settings::{self, ShareSettings};
use crate::shares::{Ask, Live, Taken, readable, take};

/// `share_acquire_mode`: never more records than asked for.
const RECORD_LIMIT: i8 = 1;
/// Epoch of the request that begins a session.
const INITIAL_EPOCH: i32 = 0;
/// Length of a member id.
const MEMBER_ID_MAX: usize = 36;
/// Most bytes in one answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Whether a member may call itself so.
pub(super) fn is_member_id(member: &str) -> bool {
    !member.trim().is_empty() && member.len() <= MEMBER_ID_MAX
}

/// INVALID_REQUEST with words.
pub(super) fn invalid(message: &'static str) -> ShareRefusal {
    ShareRefusal { code: ErrorCode::InvalidRequest, message }
}

/// Groups answers by topic.
pub(super) fn by_topic<T>(answers: impl Iterator<Item = (Uuid, T)>) -> BTreeMap<Uuid, Vec<T>> {
    let mut topics: BTreeMap<Uuid, Vec<T>> = BTreeMap::new();
    for (topic, answer) in answers {
        topics.entry(topic).or_default().push(answer);
    }
    topics
}

fn refused(code: ErrorCode, message: &str) -> ShareFetchResponse {
    ShareFetchResponse {
        error_code: code.code(),
        error_message: Some(message.to_owned()),
        ..ShareFetchResponse::default()
    }
}

pub(crate) async fn handle(ctx: Context, request: ShareFetchRequest) -> ShareFetchResponse {
    let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let deadline = Instant::now() + Duration::from_millis(wait_ms);
    let Some(group) = request.group_id.clone() else {
        return refused(ErrorCode::InvalidRequest, "Invalid group id in the request.");
    };
    let Some(member) = request.member_id.clone().filter(|member| is_member_id(member)) else {
        return refused(ErrorCode::InvalidRequest, "Invalid member id in the request.");
    };
    let renews = ctx.version >= RENEW_FROM && request.is_renew_ack;
    if renews && let Some(message) = not_alone(&request) {
        return refused(ErrorCode::InvalidRequest, &message);
    }
    let (added, words) = named(&request);
    let forgotten: Vec<TopicPartitionId> = request
        .forgotten_topics_data
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index)))
        .collect();
    let opened = ctx.node.shares.sessions.lock().fetch(
        (&group, &member),
        request.share_session_epoch,
        ctx.connection.id,
        (&added, &forgotten),
        !words.is_empty(),
    );
    let opened = match opened {
        Ok(opened) => opened,
        Err(code) => {
            if code == ErrorCode::ShareSessionLimitReached {
                // A client that is turned away comes again at once.
                tokio::time::sleep_until(deadline).await;
            }
            return refused(code, code.message());
        }
    };
    let settings = settings::of(&ctx.node.state(), &group);
    let acknowledged = share_acknowledge::acknowledge(&ctx, &group, &member, words, renews, &settings).await;
    let mut answer = Answer { partitions: BTreeMap::new(), bytes: 0 };
    if opened.is_last {
        share_acknowledge::close(&ctx, &group, &member);
    } else if !renews {
        let partitions = rotated(opened.partitions, request.share_session_epoch);
        let found = awake(&ctx, &group, &partitions, &mut answer).await;
        fetch(&ctx, &request, &Arc::from(member), &found, &settings, deadline, &mut answer).await;
        if request.share_session_epoch == INITIAL_EPOCH {
            for partition in partitions {
                answer.of(partition);
            }
        }
    }
    for (partition, outcome) in acknowledged {
        let (code, message) = share_acknowledge::told(outcome);
        let told = answer.of(partition);
        told.acknowledge_error_code = code;
        told.acknowledge_error_message = message;
    }
    #[allow(clippy::cast_precision_loss)]
    let throttle_time_ms = ctx.spend(quota::CONSUMER_BYTE_RATE, answer.bytes as f64);
    let answers = answer.partitions.into_iter().map(|((topic, _), told)| (topic, told));
    ShareFetchResponse {
        throttle_time_ms,
        acquisition_lock_timeout_ms: i32::try_from(settings.limits.lock_ms).unwrap_or(i32::MAX),
        responses: by_topic(answers)
            .into_iter()
            .map(|(topic_id, partitions)| ShareFetchableTopicResponse {
                topic_id,
                partitions,
                ..ShareFetchableTopicResponse::default()
            })
            .collect(),
        ..ShareFetchResponse::default()
    }
}

/// A request that renews locks fetches nothing; what is wrong with one that would.
fn not_alone(request: &ShareFetchRequest) -> Option<String> {
    let wrong: String = [
        ("maxBytes", request.max_bytes),
        ("minBytes", request.min_bytes),
        ("maxRecords", request.max_records),
        ("maxWaitMs", request.max_wait_ms),
    ]
    .iter()
    .filter(|(_, value)| *value != 0)
    .map(|(name, _)| format!("{name} must be set to 0, "))
    .collect();
    (!wrong.is_empty()).then(|| format!("{wrong}if isRenewAck is true."))
}

/// The partitions named in a request, and what is acknowledged of them.
fn named(request: &ShareFetchRequest) -> (Vec<TopicPartitionId>, Vec<Word>) {
    let mut added = Vec::new();
    let mut words = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let id = (topic.topic_id, partition.partition_index);
            added.push(id);
            if !partition.acknowledgement_batches.is_empty() {
                let batches = partition
                    .acknowledgement_batches
                    .iter()
                    .map(|batch| (batch.first_offset, batch.last_offset, batch.acknowledge_types.clone()));
                words.push(Word { partition: id, batches: batches.collect() });
            }
        }
    }
    (added, words)
}

/// So that no partition is always the last.
fn rotated(mut partitions: Vec<TopicPartitionId>, epoch: i32) -> Vec<TopicPartitionId> {
    if !partitions.is_empty() {
        let by = usize::try_from(epoch).unwrap_or(0) % partitions.len();
        partitions.rotate_left(by);
    }
    partitions
}

/// What is told of each partition.
struct Answer {
    partitions: BTreeMap<TopicPartitionId, PartitionData>,
    bytes: usize,
}

impl Answer {
    fn of(&mut self, partition: TopicPartitionId) -> &mut PartitionData {
        self.partitions
            .entry(partition)
            .or_insert_with(|| PartitionData { partition_index: partition.1, ..PartitionData::default() })
    }

    fn fail(&mut self, partition: TopicPartitionId, refusal: ShareRefusal) {
        let told = self.of(partition);
        told.error_code = refusal.code.code();
        told.error_message = Some(refusal.message.to_owned());
    }

    fn put(&mut self, partition: TopicPartitionId, taken: Taken) {
        self.bytes += taken.records.len();
        let told = self.of(partition);
        told.records = taken.records;
        told.acquired_records = taken
            .acquired
            .into_iter()
            .map(|part| AcquiredRecords {
                first_offset: part.first,
                last_offset: part.last,
                delivery_count: part.deliveries,
                ..AcquiredRecords::default()
            })
            .collect();
    }
}

/// The share partitions of a session, those that cannot be worked on with a word why.
async fn awake(
    ctx: &Context,
    group: &str,
    partitions: &[TopicPartitionId],
    answer: &mut Answer,
) -> Vec<Arc<Live>> {
    let access = ctx.node.authorizer.enabled.then(|| Access::of(ctx));
    let mut found = Vec::with_capacity(partitions.len());
    for (topic, index) in partitions {
        let partition = match ctx.node.replicas.topic_by_id(*topic) {
            None => Err(ErrorCode::UnknownTopicId),
            Some(replicas)
                if access
                    .as_ref()
                    .is_some_and(|access| !access.topic(AclOperation::Read, &replicas.name)) =>
            {
                Err(ErrorCode::TopicAuthorizationFailed)
            }
            Some(replicas) => replicas.partition(*index).cloned().ok_or(ErrorCode::UnknownTopicOrPartition),
        };
        let live = match partition {
            Ok(partition) => {
                let key = ShareKey { group: group.to_owned(), topic: *topic, partition: *index };
                ctx.node.shares.awake(&ctx.node, &key, &partition).await
            }
            Err(code) => Err(code.into()),
        };
        match live {
            Ok(live) => found.push(live),
            Err(refusal) => answer.fail((*topic, *index), refusal),
        }
    }
    found
}

/// Hands out records, and waits for some if there are none.
async fn fetch(
    ctx: &Context,
    request: &ShareFetchRequest,
    member: &Arc<str>,
    found: &[Arc<Live>],
    settings: &ShareSettings,
    deadline: Instant,
    answer: &mut Answer,
) {
    let limit = usize::try_from(ctx.node.state().properties.long("fetch.max.bytes")).unwrap_or(usize::MAX);
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(limit).min(ANSWER_BYTES_MAX);
    if found.is_empty() || max_bytes == 0 || request.max_records <= 0 {
        return;
    }
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes);
    let mut urgent = !answer.partitions.is_empty();
    let registered = Registered { slot: Arc::default(), found };
    loop {
        registered.everywhere();
        let is_over = urgent || Instant::now() >= deadline;
        let ask = Ask {
            max_bytes: (max_bytes / found.len()).max(1),
            at_least_one: true,
            records_max: i64::from(request.max_records),
            batch_size: i64::from(request.batch_size.max(1)),
            strict: ctx.version >= RENEW_FROM && request.share_acquire_mode == RECORD_LIMIT,
        };
        // What is handed out is out: whether it is enough has to be known before.
        let enough = is_over || min_bytes <= 1 || {
            let sum: usize =
                found.iter().map(|live| readable(live, &ask, settings).unwrap_or(min_bytes)).sum();
            sum >= min_bytes
        };
        if enough {
            urgent |= hand_out(ctx, member, found, ask, max_bytes, settings, answer);
        }
        if is_over || urgent || answer.bytes > 0 {
            return;
        }
        // Timed out: what is there by then goes out.
        let _ = tokio::time::timeout_at(deadline, registered.slot.woken()).await;
        registered.nowhere();
    }
}

/// Hands out what there is; answers whether something went wrong with a partition.
fn hand_out(
    ctx: &Context,
    member: &Arc<str>,
    found: &[Arc<Live>],
    mut ask: Ask,
    max_bytes: usize,
    settings: &ShareSettings,
    answer: &mut Answer,
) -> bool {
    let mut failed = false;
    let now_ms = ctx.node.groups.now().mono_ms;
    for live in found {
        if ask.records_max <= 0 || answer.bytes >= max_bytes {
            break;
        }
        ask.at_least_one = answer.bytes == 0;
        let id = (live.key.topic, live.key.partition);
        match take(live, member, &ask, settings, now_ms) {
            Ok(taken) if taken.acquired.is_empty() => {}
            Ok(taken) => {
                ask.records_max -= count(&taken.acquired);
                ctx.node.shares.arm(live);
                answer.put(id, taken);
            }
            // The group was without members for a moment, or was set anew: the next fetch finds it as it is now.
            Err(ErrorCode::UnknownTopicOrPartition) if !live.partition.is_deleted() => failed = true,
            Err(code) => {
                failed = true;
                answer.fail(id, code.into());
            }
        }
    }
    failed
}

fn count(acquired: &[Acquired]) -> i64 {
    acquired.iter().map(|part| part.last - part.first + 1).sum()
}

/// A slot on the waiting lists of the share partitions and of their logs; taken off them when dropped (the client may
/// go away in the middle of a wait).
struct Registered<'a> {
    slot: Arc<WakeSlot>,
    found: &'a [Arc<Live>],
}

impl Registered<'_> {
    fn everywhere(&self) {
        for live in self.found {
            live.waiters.wait_change(Arc::clone(&self.slot));
            live.partition.waiters.wait_change(Arc::clone(&self.slot));
        }
    }

    fn nowhere(&self) {
        for live in self.found {
            live.waiters.forget(&self.slot);
            live.partition.waiters.forget(&self.slot);
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.nowhere();
    }
}
