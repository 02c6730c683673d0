//! Reads: single fetches that do not wait, and tails that share long polls.
//!
//! A broker answers the requests of one connection in turn, so each long poll has a connection ("lane") of its own. A
//! poll takes all tails of its broker that wait at that moment. One that brought records for some of them ends for all;
//! the rest are asked for again at once. Polls that end empty gather the tails that are quiet in few lanes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use kafka_codec::fetch::{FetchResponse, PartitionFetchResponse};
use kafka_codec::wire::Reader;
use kafka_codec::{ErrorCode, Uuid};
use tokio::sync::{mpsc, oneshot};

use super::{errors, knows};
use crate::admin::IsolationLevel;
use crate::cluster::{Cluster, Purpose};
use crate::config::ConsumerConfig;
use crate::connection::Connection;
use crate::consumer::fetched::Fetched;
use crate::consumer::tasks::{FetchAnswer, Wanted, fetch_from, passes};
use crate::door::{Chunk, DoorError, StartAt, StoredRecord, Tail, TopicPartition};
use crate::error::{Error, Result};
use crate::list_offsets::{self, Question};

/// Long polls to one broker at once, at most.
const LANES: u8 = 16;
/// Longest wait of a poll: how long a tail may wait for a lane when all are taken.
const POLL: Duration = Duration::from_millis(500);
/// About how much a tail hands out at a time.
const TAIL_BYTES: i32 = 256 << 10;
/// After an error that passes.
const BACKOFF: Duration = Duration::from_millis(100);
/// Kafka's names for the ends of a partition in ListOffsets.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

type Partition = PartitionFetchResponse<bytes::Bytes>;

/// A tail that waits for records from `offset` on.
struct Ask {
    partition: TopicPartition,
    /// Of the topic that is followed; zero where it is not known. One that is made again under the name is another.
    topic_id: Uuid,
    offset: i64,
    reply: oneshot::Sender<Result<Chunk, Failure>>,
}

/// Why a fetch brought no records.
#[derive(Debug)]
enum Failure {
    OutOfRange,
    Other(DoorError),
}

/// Reads from one cluster.
#[derive(Clone)]
pub(super) struct Reads {
    cluster: Arc<Cluster>,
    config: Arc<ConsumerConfig>,
    tails: mpsc::UnboundedSender<Ask>,
}

impl Reads {
    pub(super) fn start(cluster: Arc<Cluster>, config: Arc<ConsumerConfig>) -> Self {
        let (tails, asks) = mpsc::unbounded_channel();
        let polling = Polling {
            cluster: Arc::clone(&cluster),
            config: Arc::clone(&config),
            waiting: Vec::new(),
            taken: HashSet::new(),
            polls: FuturesUnordered::new(),
            later: FuturesUnordered::new(),
        };
        tokio::spawn(polling.run(asks));
        Self { cluster, config, tails }
    }

    pub(super) fn read(
        &self,
        from: TopicPartition,
        offset: i64,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Chunk, DoorError>> + Send + 'static {
        let (cluster, config) = (Arc::clone(&self.cluster), Arc::clone(&self.config));
        async move {
            let max_bytes = i32::try_from(max_bytes).unwrap_or(i32::MAX).max(1);
            let read = || read_once(&cluster, &config, &from, offset, max_bytes);
            match again_while_it_passes(&cluster, &config, &from, read).await? {
                Ok(chunk) => Ok(chunk),
                Err(Failure::Other(error)) => Err(error),
                Err(Failure::OutOfRange) => {
                    Err(DoorError::Invalid(format!("offset {offset} of {from} is out of range")))
                }
            }
        }
    }

    pub(super) fn offset_at(
        &self,
        of: TopicPartition,
        at: StartAt,
    ) -> impl Future<Output = Result<i64, DoorError>> + Send + 'static {
        let (cluster, config) = (Arc::clone(&self.cluster), Arc::clone(&self.config));
        async move {
            let timestamp = match at {
                StartAt::Offset(offset) => return Ok(offset),
                StartAt::Earliest => EARLIEST,
                StartAt::Latest => LATEST,
                StartAt::Timestamp(timestamp_ms) => timestamp_ms.max(0),
            };
            let found = offset_of(&cluster, &config, &of, timestamp).await?;
            match found >= 0 {
                true => Ok(found),
                // No record is that young.
                false => offset_of(&cluster, &config, &of, LATEST).await,
            }
        }
    }

    /// Waits for records; `Err(OutOfRange)` when the offset is not (or no longer) there.
    async fn wait(&self, partition: &TopicPartition, topic_id: Uuid, offset: i64) -> Result<Chunk, Failure> {
        let (reply, answer) = oneshot::channel();
        let closed = || Failure::Other(super::appends::stopped());
        let ask = Ask { partition: partition.clone(), topic_id, offset, reply };
        self.tails.send(ask).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

async fn read_once(
    cluster: &Cluster,
    config: &ConsumerConfig,
    from: &TopicPartition,
    offset: i64,
    max_bytes: i32,
) -> Result<Result<Chunk, Failure>> {
    let (leader, wanted) = wanted(cluster, from, offset, max_bytes)?;
    let connection = cluster.broker(leader).await?;
    let answer = fetch_from(&connection, config, Duration::ZERO, std::slice::from_ref(&wanted)).await?;
    let (_, data) = partitions(&answer)?.pop().ok_or_else(unanswered)?;
    chunk(from, offset, data)
}

async fn offset_of(
    cluster: &Arc<Cluster>,
    config: &ConsumerConfig,
    of: &TopicPartition,
    timestamp: i64,
) -> Result<i64, DoorError> {
    again_while_it_passes(cluster, config, of, || look_up(cluster, config, of, timestamp)).await
}

async fn look_up(
    cluster: &Cluster,
    config: &ConsumerConfig,
    of: &TopicPartition,
    timestamp: i64,
) -> Result<i64> {
    let (leader, wanted) = wanted(cluster, of, 0, 1)?;
    let questions = [Question { partition: of.clone(), timestamp, leader_epoch: wanted.leader_epoch }];
    let connection = cluster.broker(leader).await?;
    let limit = config.client.request_timeout;
    let mut answers =
        list_offsets::ask(&connection, &questions, IsolationLevel::ReadUncommitted, limit).await?;
    let (_, found) = answers.pop().ok_or_else(unanswered)?;
    Ok(found?.offset)
}

/// Tries again after errors that newer metadata or time mends, within `default.api.timeout.ms`.
async fn again_while_it_passes<T, F: Future<Output = Result<T>> + Send>(
    cluster: &Arc<Cluster>,
    config: &ConsumerConfig,
    partition: &TopicPartition,
    mut attempt: impl FnMut() -> F + Send,
) -> Result<T, DoorError> {
    let deadline = tokio::time::Instant::now() + config.client.default_api_timeout;
    loop {
        let error = match tokio::time::timeout_at(deadline, attempt()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error,
            Err(_) => Error::Timeout("no answer".to_owned()),
        };
        if !passes(&error) || tokio::time::Instant::now() + BACKOFF >= deadline {
            return Err(errors::of_topic(&error, &partition.topic));
        }
        cluster.want_refresh();
        tokio::time::sleep(BACKOFF).await;
        knows(&cluster.metadata(), partition)?;
    }
}

fn unanswered() -> Error {
    Error::broker(ErrorCode::NetworkException)
}

/// The leader, and what to ask it.
fn wanted(
    cluster: &Cluster,
    partition: &TopicPartition,
    offset: i64,
    max_bytes: i32,
) -> Result<(i32, Wanted)> {
    let metadata = cluster.metadata();
    let (leader, leader_epoch) =
        metadata.leader(partition).ok_or_else(|| Error::broker(ErrorCode::LeaderNotAvailable))?;
    let topic_id = metadata.topic(&partition.topic).map(|t| t.id).unwrap_or_default();
    Ok((leader, Wanted { partition: partition.clone(), term: 0, offset, leader_epoch, topic_id, max_bytes }))
}

fn is_another(followed: Uuid, found: Uuid) -> bool {
    followed != Uuid::ZERO && found != Uuid::ZERO && followed != found
}

/// The partitions of an answer by topic and index.
fn partitions(answer: &FetchAnswer) -> Result<Vec<(TopicPartition, Partition)>> {
    let mut reader = Reader::shared(&answer.body);
    let response: FetchResponse<'_, bytes::Bytes> = FetchResponse::decode(&mut reader, answer.version)
        .map_err(|error| {
            tracing::warn!(%error, "malformed Fetch response");
            unanswered()
        })?;
    Error::check(response.error_code, None)?;
    let mut found = Vec::new();
    for topic in response.topics {
        let name = match answer.names.get(&topic.topic_id) {
            Some(name) if topic.topic.is_empty() => Arc::clone(name),
            _ => Arc::from(topic.topic),
        };
        for data in topic.partitions {
            found.push((TopicPartition::new(Arc::clone(&name), data.partition_index), data));
        }
    }
    Ok(found)
}

/// The records of one partition's answer; the outer error is one that may pass.
fn chunk(partition: &TopicPartition, offset: i64, data: Partition) -> Result<Result<Chunk, Failure>> {
    match ErrorCode::from_wire(data.error_code) {
        ErrorCode::None => {}
        ErrorCode::OffsetOutOfRange => return Ok(Err(Failure::OutOfRange)),
        code => return Err(Error::broker(code)),
    }
    let end_offset = if data.last_stable_offset >= 0 { data.last_stable_offset } else { data.high_watermark };
    let mut chunk = Chunk {
        next_offset: offset,
        log_start_offset: data.log_start_offset,
        end_offset,
        records: Vec::new(),
    };
    let (records, aborted) =
        (data.records.unwrap_or_default(), data.aborted_transactions.unwrap_or_default());
    let mut fetched =
        Fetched::new(partition.clone(), records, offset, aborted, IsolationLevel::ReadCommitted, true);
    loop {
        match fetched.next() {
            Ok(Some(record)) => chunk.records.push(StoredRecord {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key,
                value: record.value,
                headers: record.headers,
            }),
            Ok(None) => break,
            // What came before it is good; the next read meets it first.
            Err(_) if !chunk.records.is_empty() => break,
            Err(error) => return Ok(Err(Failure::Other(errors::of_topic(&error, &partition.topic)))),
        }
    }
    chunk.next_offset = fetched.position().0;
    Ok(Ok(chunk))
}

/// What a poll was for and what came of it.
struct Polled {
    lane: (i32, u8),
    asks: Vec<Ask>,
    answer: Result<Vec<(TopicPartition, Partition)>>,
}

/// The task that polls for all tails.
struct Polling {
    cluster: Arc<Cluster>,
    config: Arc<ConsumerConfig>,
    waiting: Vec<Ask>,
    /// Broker and number of the lanes in use.
    taken: HashSet<(i32, u8)>,
    polls: FuturesUnordered<BoxFuture<'static, Polled>>,
    /// Asks that wait for an error to pass.
    later: FuturesUnordered<BoxFuture<'static, Ask>>,
}

impl Polling {
    async fn run(mut self, mut asks: mpsc::UnboundedReceiver<Ask>) {
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => {
                        self.waiting.push(ask);
                        while let Ok(more) = asks.try_recv() {
                            self.waiting.push(more);
                        }
                    }
                    None => return,
                },
                Some(polled) = self.polls.next() => self.answered(polled),
                Some(ask) = self.later.next() => self.again(ask),
            }
            self.begin();
        }
    }

    /// An ask whose error may have passed: the topic may also be gone for good.
    fn again(&mut self, ask: Ask) {
        match knows(&self.cluster.metadata(), &ask.partition) {
            Ok(()) => self.waiting.push(ask),
            Err(error) => drop(ask.reply.send(Err(Failure::Other(error)))),
        }
    }

    fn pause(&mut self, ask: Ask) {
        self.cluster.want_refresh();
        self.later.push(
            async move {
                tokio::time::sleep(BACKOFF).await;
                ask
            }
            .boxed(),
        );
    }

    /// Begins polls for everything that waits, as far as there are lanes.
    fn begin(&mut self) {
        let mut by_leader: BTreeMap<i32, (Vec<Ask>, Vec<Wanted>)> = BTreeMap::new();
        for ask in std::mem::take(&mut self.waiting) {
            if ask.reply.is_closed() {
                continue;
            }
            match wanted(&self.cluster, &ask.partition, ask.offset, TAIL_BYTES) {
                Ok((_, wanted)) if is_another(ask.topic_id, wanted.topic_id) => {
                    let error = DoorError::UnknownTopic(ask.partition.to_string());
                    drop(ask.reply.send(Err(Failure::Other(error))));
                }
                Ok((leader, wanted)) => {
                    let (asks, all) = by_leader.entry(leader).or_default();
                    // One partition may be in a request once.
                    if all.iter().any(|w: &Wanted| w.partition == wanted.partition) {
                        self.waiting.push(ask);
                    } else {
                        asks.push(ask);
                        all.push(wanted);
                    }
                }
                Err(_) => self.pause(ask),
            }
        }
        for (leader, (asks, wanted)) in by_leader {
            let Some(number) = (0..LANES).find(|n| !self.taken.contains(&(leader, *n))) else {
                self.waiting.extend(asks);
                continue;
            };
            let lane = (leader, number);
            self.taken.insert(lane);
            let (cluster, config) = (Arc::clone(&self.cluster), Arc::clone(&self.config));
            self.polls.push(
                async move {
                    let answer = async {
                        let connection = lane_connection(&cluster, lane).await?;
                        partitions(&fetch_from(&connection, &config, POLL, &wanted).await?)
                    };
                    let answer = answer.await;
                    Polled { lane, asks, answer }
                }
                .boxed(),
            );
        }
    }

    fn answered(&mut self, Polled { lane, asks, answer }: Polled) {
        self.taken.remove(&lane);
        let mut answers = match answer {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(%error, broker = lane.0, "a poll goes again");
                asks.into_iter().for_each(|ask| self.pause(ask));
                return;
            }
        };
        for ask in asks {
            let found = answers.iter().position(|(partition, _)| *partition == ask.partition);
            let Some((_, data)) = found.map(|at| answers.swap_remove(at)) else {
                self.pause(ask);
                continue;
            };
            match chunk(&ask.partition, ask.offset, data) {
                // Nothing yet, or only what readers do not see.
                Ok(Ok(chunk)) if chunk.records.is_empty() => {
                    self.waiting.push(Ask { offset: chunk.next_offset, ..ask });
                }
                Ok(outcome) => drop(ask.reply.send(outcome)),
                Err(error) if passes(&error) => self.pause(ask),
                Err(error) => {
                    let error = errors::of_topic(&error, &ask.partition.topic);
                    drop(ask.reply.send(Err(Failure::Other(error))));
                }
            }
        }
    }
}

async fn lane_connection(cluster: &Cluster, (leader, number): (i32, u8)) -> Result<Arc<Connection>> {
    let metadata = cluster.metadata();
    let node = metadata.brokers.get(&leader).ok_or_else(|| Error::broker(ErrorCode::BrokerNotAvailable))?;
    cluster.coordinator(node, Purpose::Tail(number)).await
}

/// Follows one partition.
pub(super) struct RemoteTail {
    reads: Reads,
    partition: TopicPartition,
    topic_id: Uuid,
    start: Option<BoxFuture<'static, Result<i64, DoorError>>>,
    offset: i64,
}

impl RemoteTail {
    pub(super) fn new(reads: Reads, partition: TopicPartition, at: StartAt) -> Self {
        let start = match at {
            StartAt::Offset(_) => None,
            // "Latest" means about now, not when the first read comes.
            at => {
                let found = tokio::spawn(reads.offset_at(partition.clone(), at));
                Some(async move { found.await.unwrap_or_else(|_| Err(super::appends::stopped())) }.boxed())
            }
        };
        let offset = if let StartAt::Offset(offset) = at { offset } else { 0 };
        let topic_id = reads.cluster.metadata().topic(&partition.topic).map(|t| t.id).unwrap_or_default();
        Self { reads, partition, topic_id, start, offset }
    }

    async fn follow(&mut self) -> Result<Chunk, DoorError> {
        if let Some(start) = &mut self.start {
            self.offset = start.await?;
            self.start = None;
        }
        loop {
            match self.reads.wait(&self.partition, self.topic_id, self.offset).await {
                Ok(chunk) => {
                    self.offset = chunk.next_offset;
                    return Ok(chunk);
                }
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::OutOfRange) => {
                    let start = self.reads.offset_at(self.partition.clone(), StartAt::Earliest).await?;
                    if self.offset >= start {
                        return Err(DoorError::Storage(format!(
                            "offset {} of {} is beyond the end of the partition: records were lost, or the topic \
                             was deleted and made again",
                            self.offset, self.partition
                        )));
                    }
                    self.offset = start;
                }
            }
        }
    }
}

impl Tail for RemoteTail {
    fn next(&mut self) -> BoxFuture<'_, Result<Chunk, DoorError>> {
        self.follow().boxed()
    }
}
