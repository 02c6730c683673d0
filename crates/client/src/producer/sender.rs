//! The task that sends batches: what goes when to whom, and what an answer means for it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use kafka_codec::messages::InitProducerIdRequest;
use kafka_codec::produce::{
    PartitionProduce, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduce,
};
use kafka_codec::records::Compression;
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, ErrorCode, Uuid};
use tokio::time::Instant;

use super::batch::{Batch, Refused, Written};
use super::queues::{Discipline, Key, Verdict};
use super::shared::{InFlight, Shared};
use super::transactions;
use crate::config::Acks;
use crate::connection::{Connection, Frame};
use crate::error::{BrokerError, Error, Result};
use crate::metadata::Metadata;
use crate::retry::backoff;

/// Newest version of Produce that names topics instead of their ids.
const NEWEST_BY_NAME: i16 = 12;

/// What the sender waits for.
enum Event {
    /// A request is answered or lost.
    Answered { request: u64, node: i32, batches: Vec<(Key, Batch)>, answer: Result<Answer> },
    /// A connection is open now, or cannot be had.
    Connected { node: i32, outcome: Result<()> },
    /// The producer id that was asked for.
    ProducerId(Result<(i64, i16)>),
}

/// An answer with what is needed to read it.
struct Answer {
    body: Bytes,
    version: i16,
    names: HashMap<Uuid, Arc<str>>,
}

/// One broker as the sender sees it.
#[derive(Default)]
struct Node {
    in_flight: usize,
    /// The broker asked for a pause until then.
    paused_until: Option<Instant>,
}

/// One Produce about to be sent.
struct Request {
    /// Under this number its batches are known as in flight.
    number: u64,
    node: i32,
    connection: Arc<Connection>,
    batches: Vec<(Key, Batch)>,
}

pub(super) struct Sender {
    shared: Arc<Shared>,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    nodes: HashMap<i32, Node>,
    connecting: HashSet<i32>,
    producer_id: Option<(i64, i16)>,
    asking_id: bool,
    id_failures: u32,
    discipline: Discipline,
    next_request: u64,
    turn: usize,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let discipline = Discipline {
            idempotent: shared.config.idempotence,
            one_at_a_time: shared.config.client.max_in_flight == 1,
            transactional: shared.config.transactional_id.is_some(),
        };
        Self {
            shared,
            events: FuturesUnordered::new(),
            nodes: HashMap::new(),
            connecting: HashSet::new(),
            producer_id: None,
            asking_id: false,
            id_failures: 0,
            discipline,
            next_request: 0,
            turn: 0,
        }
    }

    /// Runs until the producer is closed, or nobody can send and all is decided.
    pub(super) async fn run(mut self) {
        let mut view = self.shared.cluster.watch();
        loop {
            if self.is_over() {
                break;
            }
            let wake_at = self.send_ready();
            let shared = Arc::clone(&self.shared);
            let sleep = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(event) = self.events.next() => {
                    self.handle(event);
                    // Whatever else has come meanwhile belongs to the same round.
                    while let Some(Some(event)) = futures_util::FutureExt::now_or_never(self.events.next()) {
                        self.handle(event);
                    }
                }
                () = shared.wake.notified() => {}
                changed = view.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = sleep => {}
            }
        }
        self.shared.abort("Producer is closed forcefully.");
        self.shared.cluster.close();
    }

    fn is_over(&self) -> bool {
        let state = self.shared.state.lock();
        let idle =
            || state.in_flight.is_empty() && state.queues.partitions.values().all(|q| q.waiting.is_empty());
        state.closed || (state.closing && idle())
    }

    /// Expires what is too old, sends what is ready, and says when to look again.
    fn send_ready(&mut self) -> Option<Instant> {
        loop {
            let now = Instant::now();
            self.expire(now);
            let (requests, wake_at) = self.collect(now);
            if requests.is_empty() {
                return wake_at;
            }
            for request in requests {
                self.send(request, now);
            }
        }
    }

    /// Fails batches older than `delivery.timeout.ms`, in flight or not.
    fn expire(&self, now: Instant) {
        let limit = self.shared.config.delivery_timeout;
        let mut expired = Vec::new();
        {
            let mut state = self.shared.state.lock();
            for (key, queue) in &mut state.queues.partitions {
                let old = queue.expire(now, limit).into_iter();
                expired.extend(old.map(|b| (key.clone(), b.count, b.created, Arc::clone(&b.outcome))));
            }
            for sent in state.in_flight.values().flatten().filter(|b| b.created + limit <= now) {
                expired.push((sent.key.clone(), sent.count, sent.created, Arc::clone(&sent.outcome)));
            }
        }
        for ((topic, partition), count, created, outcome) in expired {
            let ms = now.saturating_duration_since(created).as_millis();
            let text = format!(
                "Expiring {count} record(s) for {topic}-{partition}:{ms} ms has passed since batch creation"
            );
            let error = Error::Timeout(text);
            if self.discipline.transactional {
                self.shared.fail_transaction(&error);
            }
            outcome.fail(error.into());
        }
    }

    /// Takes the batches that may go now, by broker, and the moment when others may.
    fn collect(&mut self, now: Instant) -> (Vec<Request>, Option<Instant>) {
        let shared = Arc::clone(&self.shared);
        let metadata = shared.cluster.metadata();
        let hurry = shared.in_hurry();
        let mut state = shared.state.lock();
        if self.discipline.transactional {
            self.producer_id = state.transaction.producer;
        }
        let hurry = hurry || state.closing;
        let mut wake_at: Option<Instant> = None;
        let mut look_again = |at: Instant| wake_at = Some(wake_at.map_or(at, |known| known.min(at)));
        let mut ready: BTreeMap<i32, Vec<Key>> = BTreeMap::new();
        let (mut leaderless, mut needs_id) = (false, false);
        for sent in state.in_flight.values().flatten().filter(|b| !b.outcome.is_done()) {
            look_again(sent.created + shared.config.delivery_timeout);
        }
        for (key, queue) in &state.queues.partitions {
            let Some(front) = queue.waiting.front() else { continue };
            look_again(front.created + shared.config.delivery_timeout);
            if let Some(at) = shared.ready_at(queue, hurry, now) {
                look_again(at);
                continue;
            }
            if !queue.may_send(self.discipline) {
                continue;
            }
            if self.discipline.idempotent && self.producer_id.is_none() && queue.needs_producer_id() {
                needs_id = true;
                continue;
            }
            match leader(&metadata, key) {
                Some(node) => ready.entry(node).or_default().push(key.clone()),
                None => leaderless = true,
            }
        }
        if leaderless {
            shared.cluster.want_refresh();
            look_again(now + shared.config.client.retry_backoff);
        }
        let mut requests = Vec::new();
        for (node, mut keys) in ready {
            let state_of_node = self.nodes.entry(node).or_default();
            if state_of_node.in_flight >= shared.config.client.max_in_flight {
                continue;
            }
            if let Some(until) = state_of_node.paused_until.filter(|until| *until > now) {
                look_again(until);
                continue;
            }
            let Some(connection) = shared.cluster.open_broker(node) else {
                self.connect(node);
                continue;
            };
            // Start with another partition each time, so that none starves when a request is full.
            self.turn = self.turn.wrapping_add(1);
            let first = self.turn % keys.len().max(1);
            keys.rotate_left(first);
            let mut batches: Vec<(Key, Batch)> = Vec::new();
            let mut bytes = 0;
            for key in keys {
                let Some(queue) = state.queues.partitions.get_mut(&key) else { continue };
                let size = queue.waiting.front().map_or(0, Batch::size);
                if !batches.is_empty() && bytes + size > shared.config.max_request_size {
                    continue;
                }
                if let Some(batch) = queue.take(self.discipline, self.producer_id) {
                    bytes += size;
                    batches.push((key, batch));
                }
            }
            if !batches.is_empty() {
                let number = self.next_request;
                self.next_request += 1;
                state.transaction.dirty = true;
                state.in_flight.insert(number, batches.iter().map(InFlight::of).collect());
                requests.push(Request { number, node, connection, batches });
            }
        }
        drop(state);
        if needs_id && !self.discipline.transactional {
            self.ask_producer_id();
        }
        (requests, wake_at)
    }

    fn connect(&mut self, node: i32) {
        if !self.connecting.insert(node) {
            return;
        }
        let cluster = Arc::clone(&self.shared.cluster);
        let pause = cluster.config.reconnect_backoff;
        self.events.push(Box::pin(async move {
            let outcome = cluster.broker(node).await.map(drop);
            if outcome.is_err() {
                // The slot's own back-off begins with its next attempt only.
                tokio::time::sleep(pause).await;
            }
            Event::Connected { node, outcome }
        }));
    }

    fn ask_producer_id(&mut self) {
        if std::mem::replace(&mut self.asking_id, true) {
            return;
        }
        let cluster = Arc::clone(&self.shared.cluster);
        let failures = self.id_failures;
        self.events.push(Box::pin(async move {
            if failures > 0 {
                let config = &cluster.config;
                tokio::time::sleep(backoff(config.retry_backoff, config.retry_backoff_max, failures)).await;
            }
            let ask = async {
                let request = InitProducerIdRequest {
                    transactional_id: None,
                    transaction_timeout_ms: i32::MAX,
                    ..InitProducerIdRequest::default()
                };
                let response = cluster.any().await?.call(&request).await?;
                Error::check(response.error_code, None)?;
                Ok((response.producer_id, response.producer_epoch))
            };
            Event::ProducerId(ask.await)
        }));
    }

    /// Builds the batches and queues the request on its connection.
    fn send(&mut self, request: Request, now: Instant) {
        let Request { number, node, connection, batches } = request;
        let mut built = Vec::with_capacity(batches.len());
        for (key, mut batch) in batches {
            match batch.bytes() {
                Ok(bytes) => built.push((key, batch, bytes)),
                Err(error) => self.fail(&key, batch, Error::RecordTooLarge(error.to_string()).into()),
            }
        }
        if built.is_empty() {
            self.shared.state.lock().in_flight.remove(&number);
            return;
        }
        let (frame, version, names) = match self.frame(&connection, &built) {
            Ok(frame) => frame,
            Err(error) => {
                for (key, batch, _) in built {
                    self.fail(&key, batch, error.clone().into());
                }
                self.shared.state.lock().in_flight.remove(&number);
                return;
            }
        };
        let batches: Vec<(Key, Batch)> = built.into_iter().map(|(key, batch, _)| (key, batch)).collect();
        let answered = self.shared.config.acks != Acks::None;
        let Some(exchange) = connection.begin(frame, answered, self.shared.config.client.request_timeout)
        else {
            // No room in the connection, or it has just ended: as if it had not been tried.
            let mut state = self.shared.state.lock();
            state.in_flight.remove(&number);
            for ((topic, partition), mut batch) in batches {
                batch.attempts -= 1;
                batch.not_before = now + self.shared.config.client.retry_backoff;
                state.queues.partition(&topic, partition).put_back(batch);
            }
            return;
        };
        self.nodes.entry(node).or_default().in_flight += 1;
        self.events.push(Box::pin(async move {
            let answer = exchange.await.map(|body| Answer { body, version, names });
            Event::Answered { request: number, node, batches, answer }
        }));
    }

    /// Encodes the request without copying the records.
    fn frame(
        &self,
        connection: &Connection,
        built: &[(Key, Batch, Bytes)],
    ) -> Result<(Frame, i16, HashMap<Uuid, Arc<str>>)> {
        let metadata = self.shared.cluster.metadata();
        let id = |topic: &str| metadata.topic(topic).map(|t| t.id).filter(|id| !id.is_zero());
        let mut topics: BTreeMap<&Arc<str>, Vec<PartitionProduce>> = BTreeMap::new();
        for ((topic, index), _, bytes) in built {
            let partition = PartitionProduce { index: *index, records: Some(bytes.clone()) };
            topics.entry(topic).or_default().push(partition);
        }
        let newest = ApiKey::Produce.versions().map_or(NEWEST_BY_NAME, |v| *v.end());
        let newest = newest.min(*kafka_codec::produce::VERSIONS.end());
        let by_id = topics.keys().all(|topic| id(topic).is_some());
        let least = match self.shared.compression {
            _ if self.discipline.transactional => transactions::PRODUCE_FROM,
            Compression::Zstd => 7,
            _ => 3,
        };
        let version =
            connection.version(ApiKey::Produce, least..=if by_id { newest } else { NEWEST_BY_NAME })?;
        let mut names = HashMap::new();
        let mut request = ProduceRequest {
            transactional_id: self.shared.config.transactional_id.as_deref(),
            acks: self.shared.config.acks as i16,
            timeout_ms: i32::try_from(self.shared.config.client.request_timeout.as_millis())
                .unwrap_or(i32::MAX),
            topics: Vec::with_capacity(topics.len()),
        };
        for (topic, partitions) in topics {
            let topic_id = id(topic).filter(|_| version > NEWEST_BY_NAME).unwrap_or_default();
            names.insert(topic_id, Arc::clone(topic));
            let name = if version > NEWEST_BY_NAME { "" } else { topic };
            request.topics.push(TopicProduce { name, topic_id, partitions });
        }
        let frame = connection.frame_with(ApiKey::Produce, version, |correlation_id, client_id| {
            request.encode_frame(version, correlation_id, Some(client_id))
        })?;
        Ok((frame, version, names))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Answered { request, node, batches, answer } => {
                self.shared.state.lock().in_flight.remove(&request);
                let state = self.nodes.entry(node).or_default();
                state.in_flight = state.in_flight.saturating_sub(1);
                match answer {
                    Ok(answer) if self.shared.config.acks != Acks::None => {
                        self.answered(node, batches, &answer)
                    }
                    Ok(_) => {
                        for (key, batch) in batches {
                            self.succeed(&key, &batch, Written { base_offset: -1, log_append_time_ms: -1 });
                        }
                    }
                    Err(error) => {
                        self.shared.cluster.want_refresh();
                        for (key, batch) in batches {
                            self.refused(&key, batch, error.clone().into());
                        }
                    }
                }
            }
            Event::Connected { node, outcome } => {
                self.connecting.remove(&node);
                if outcome.is_err() {
                    self.shared.cluster.want_refresh();
                }
            }
            Event::ProducerId(Ok(id)) => {
                self.asking_id = false;
                self.id_failures = 0;
                self.producer_id = Some(id);
            }
            Event::ProducerId(Err(error)) => {
                self.asking_id = false;
                self.id_failures += 1;
                if !error.is_retriable() {
                    self.fatal(error);
                }
            }
        }
    }

    /// Nothing can be sent any more.
    fn fatal(&self, error: Error) {
        tracing::error!(%error, "the producer cannot go on");
        let open = self.shared.outcomes();
        {
            let mut state = self.shared.state.lock();
            state.fatal = Some(error.clone());
            state.queues.partitions.clear();
        }
        for outcome in open {
            outcome.fail(error.clone().into());
        }
    }

    fn answered(&mut self, node: i32, batches: Vec<(Key, Batch)>, answer: &Answer) {
        let mut reader = Reader::shared(&answer.body);
        let response = match ProduceResponse::decode(&mut reader, answer.version) {
            Ok(response) => response,
            Err(reason) => {
                // The batches may have been written; only another attempt can tell.
                tracing::warn!(node, %reason, "malformed Produce response");
                if let Some(connection) = self.shared.cluster.open_broker(node) {
                    connection.close();
                }
                let error = Error::broker(ErrorCode::NetworkException);
                for (key, batch) in batches {
                    self.refused(&key, batch, error.clone().into());
                }
                return;
            }
        };
        if let Ok(pause @ 1..) = u64::try_from(response.throttle_time_ms) {
            let until = Instant::now() + Duration::from_millis(pause.min(60_000));
            self.nodes.entry(node).or_default().paused_until = Some(until);
        }
        let mut results: HashMap<Key, &PartitionProduceResponse<'_>> = HashMap::new();
        for topic in &response.topics {
            let name = if topic.name.is_empty() {
                answer.names.get(&topic.topic_id).map(Arc::clone)
            } else {
                Some(Arc::from(topic.name))
            };
            let Some(name) = name else { continue };
            for result in &topic.partitions {
                results.insert((Arc::clone(&name), result.index), result);
            }
        }
        for (key, batch) in batches {
            match results.get(&key) {
                Some(result) => self.judge(&key, batch, result),
                None => self.refused(&key, batch, Error::broker(ErrorCode::NetworkException).into()),
            }
        }
    }

    fn judge(&mut self, key: &Key, mut batch: Batch, result: &PartitionProduceResponse<'_>) {
        let code = ErrorCode::from_wire(result.error_code);
        match code {
            ErrorCode::None => {
                let written = Written {
                    base_offset: result.base_offset,
                    log_append_time_ms: result.log_append_time_ms,
                };
                self.succeed(key, &batch, written);
            }
            // It was written before, so long ago that the broker does not know where.
            ErrorCode::DuplicateSequenceNumber => {
                self.succeed(key, &batch, Written { base_offset: -1, log_append_time_ms: -1 });
            }
            ErrorCode::MessageTooLarge if batch.count > 1 && !batch.outcome.is_done() => {
                let parts = batch.split(self.shared.compression, self.shared.config.compression_level);
                match parts {
                    Some(parts) => {
                        let mut state = self.shared.state.lock();
                        state.queues.partition(&key.0, key.1).put_back_split(parts);
                    }
                    None => self.fail(key, batch, Error::broker(code).into()),
                }
            }
            _ => {
                let message = result.error_message.map(str::to_owned);
                let record = |(index, text): &(i32, Option<&str>)| {
                    (*index, text.or(result.error_message).unwrap_or_else(|| code.message()).to_owned())
                };
                let records = result.record_errors.iter().map(record).collect();
                if means_stale_metadata(code) {
                    self.shared.cluster.want_refresh();
                }
                let error = Error::Broker(BrokerError { code, message });
                self.refused(key, batch, Refused { error, records });
            }
        }
    }

    fn succeed(&self, key: &Key, batch: &Batch, written: Written) {
        self.shared.state.lock().queues.partition(&key.0, key.1).acknowledge(batch);
        batch.outcome.succeed(written);
    }

    /// A batch that was in flight was not written, or nobody knows: again, or never.
    fn refused(&self, key: &Key, mut batch: Batch, refused: Refused) {
        let config = &self.shared.config;
        let code = refused.error.code();
        let mut state = self.shared.state.lock();
        if state.closed || state.fatal.is_some() {
            return;
        }
        let queue = state.queues.partition(&key.0, key.1);
        // After an unreadable answer nobody knows either.
        let retriable = refused.error.is_retriable() || matches!(refused.error, Error::Protocol { .. });
        let verdict = queue.judge(&batch, code, retriable);
        let exhausted = batch.attempts > config.retries || batch.outcome.is_done();
        // In a transaction that has failed nothing is sent any more.
        let over = self.discipline.transactional && (queue.is_broken() || state.transaction.failed.is_some());
        let queue = state.queues.partition(&key.0, key.1);
        if verdict == Verdict::Retry && !exhausted && !over {
            tracing::debug!(topic = &*key.0, partition = key.1, error = %refused.error, "batch goes again");
            let failures = u32::try_from(batch.attempts).unwrap_or(1).saturating_sub(1);
            let wait = backoff(config.client.retry_backoff, config.client.retry_backoff_max, failures);
            batch.not_before = Instant::now() + wait;
            queue.put_back(batch);
        } else {
            queue.give_up(&batch, true);
            drop(state);
            if self.discipline.transactional {
                self.shared.fail_transaction(&refused.error);
            }
            batch.outcome.fail(refused);
        }
    }

    /// A batch that was taken can never be written.
    fn fail(&self, key: &Key, batch: Batch, refused: Refused) {
        self.shared.state.lock().queues.partition(&key.0, key.1).give_up(&batch, true);
        if self.discipline.transactional {
            self.shared.fail_transaction(&refused.error);
        }
        batch.outcome.fail(refused);
    }
}

fn leader(metadata: &Metadata, (topic, partition): &Key) -> Option<i32> {
    let index = usize::try_from(*partition).ok()?;
    metadata.topic(topic)?.partitions.get(index)?.leader
}

/// Errors that a look at newer metadata may mend.
fn means_stale_metadata(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::KafkaStorageError
            | ErrorCode::ReplicaNotAvailable
    )
}
