//! Consumes records as a member of a share group (KIP-932): the members share partitions record by record. A record is
//! locked for one member, who says what became of it; what nobody accepts or rejects in time is delivered again.

mod acknowledge;
mod acquired;
mod member;
mod poll;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kafka_codec::Uuid;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use acknowledge::{AcknowledgeType, Acknowledged};

use crate::cluster::{Cluster, Interest, View};
use crate::config::{AcknowledgementMode, ShareConsumerConfig};
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::record::ConsumerRecord;
use acknowledge::Codes;
use acquired::Acquired;
use member::{Id, Member};
use sessions::{Done, Session};

/// A record of a share group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareRecord {
    /// The record.
    pub record: ConsumerRecord,
    /// How often it was delivered, this time included.
    pub delivery_count: i16,
}

/// Called with every answer to acknowledgements.
type Callback = Box<dyn FnMut(&Acknowledged) + Send>;

/// What was locked at one broker in one partition.
#[derive(Debug)]
struct Ready {
    node: i32,
    id: Id,
    partition: TopicPartition,
    acquired: Acquired,
}

/// Records of one partition that the application has.
#[derive(Debug)]
struct Delivered {
    node: i32,
    id: Id,
    records: BTreeMap<i64, (ShareRecord, Option<AcknowledgeType>)>,
}

/// A consumer in a share group. One owner; every call may be dropped half-way. Heartbeats and requests under way go on
/// in the background between calls.
///
/// In the implicit mode (the default) the next [`ShareConsumer::poll`] or [`ShareConsumer::commit`] accepts all records
/// of the last poll. In the explicit mode (`share.acknowledgement.mode=explicit`) the application says of each record
/// what became of it before it polls again. Records that are not acknowledged when the consumer is closed, or when
/// their lock ends, are delivered again.
///
/// ```no_run
/// # async fn example() -> Result<(), client::Error> {
/// use client::{AcknowledgeType, ShareConsumer, ShareConsumerConfig};
/// let mut consumer = ShareConsumer::new(ShareConsumerConfig::new("localhost:9092", "workers")?)?;
/// consumer.subscribe(&["jobs"])?;
/// loop {
///     for job in consumer.poll(std::time::Duration::from_millis(500)).await? {
///         println!("{:?}, delivery {}", job.record.value, job.delivery_count);
///     }
/// }
/// # }
/// ```
pub struct ShareConsumer {
    config: Arc<ShareConsumerConfig>,
    cluster: Arc<Cluster>,
    member: Member,
    topics: BTreeSet<String>,
    view: watch::Receiver<View>,
    /// Names of topics that were assigned.
    names: HashMap<Uuid, Arc<str>>,
    sessions: BTreeMap<i32, Session>,
    tasks: JoinSet<Done>,
    /// Locked and not handed out yet.
    ready: VecDeque<Ready>,
    /// Handed out and not acknowledged, or acknowledged and not taken yet.
    delivered: BTreeMap<TopicPartition, Delivered>,
    /// Acknowledgements to be sent, by broker.
    pending: BTreeMap<i32, BTreeMap<Id, Codes>>,
    /// Records whose renewal is under way.
    renewing: BTreeMap<Id, BTreeMap<i64, ShareRecord>>,
    /// Records whose lock began anew, to be handed out again.
    renewed: Vec<(i32, Id, ShareRecord)>,
    /// The broker that was asked for records last.
    last_node: i32,
    lock: Option<Duration>,
    callback: Option<Callback>,
    /// Answers that a commit waits for.
    answers: Option<Vec<Acknowledged>>,
    errors: VecDeque<Error>,
    /// Metadata whose refusals were told.
    refused_in: u64,
    closed: bool,
}

impl std::fmt::Debug for ShareConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShareConsumer")
            .field("config", &self.config)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

impl ShareConsumer {
    /// Makes a share consumer on the current tokio runtime; connects lazily.
    ///
    /// # Errors
    /// None today: bad configuration is refused when it is read.
    pub fn new(config: ShareConsumerConfig) -> Result<Self> {
        let cluster = Cluster::new(config.client.clone(), false);
        cluster.keep_fresh();
        let config = Arc::new(config);
        let member = Member::start(Arc::clone(&config), Arc::clone(&cluster));
        Ok(Self {
            view: cluster.watch(),
            config,
            cluster,
            member,
            topics: BTreeSet::new(),
            names: HashMap::new(),
            sessions: BTreeMap::new(),
            tasks: JoinSet::new(),
            ready: VecDeque::new(),
            delivered: BTreeMap::new(),
            pending: BTreeMap::new(),
            renewing: BTreeMap::new(),
            renewed: Vec::new(),
            last_node: -1,
            lock: None,
            callback: None,
            answers: None,
            errors: VecDeque::new(),
            refused_in: 0,
            closed: false,
        })
    }

    fn check_open(&self) -> Result<()> {
        if self.closed {
            Err(Error::Illegal("This consumer has already been closed.".to_owned()))
        } else {
            Ok(())
        }
    }

    /// Joins the group for these topics; replaces the former subscription. With an empty list the consumer leaves the
    /// group in the background.
    ///
    /// # Errors
    /// [`Error::Illegal`] for an empty name.
    pub fn subscribe(&mut self, topics: &[&str]) -> Result<()> {
        self.check_open()?;
        if topics.iter().any(|topic| topic.trim().is_empty()) {
            return Err(Error::Illegal(
                "Topic collection to subscribe to cannot contain null or empty topic".to_owned(),
            ));
        }
        self.topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let interest = self.topics.iter().map(|topic| Arc::from(topic.as_str())).collect();
        self.cluster.set_interest(Interest::Topics(interest));
        self.member.subscribe(self.topics.iter().cloned().collect());
        Ok(())
    }

    /// Topics subscribed to, sorted.
    pub fn subscription(&self) -> Vec<String> {
        self.topics.iter().cloned().collect()
    }

    /// Leaves the group. Records that were handed out may still be acknowledged.
    ///
    /// # Errors
    /// None but a closed consumer.
    pub async fn unsubscribe(&mut self) -> Result<()> {
        self.check_open()?;
        self.topics.clear();
        self.member.leave().await;
        Ok(())
    }

    /// Calls `callback` with every answer to acknowledgements, from inside of [`ShareConsumer::poll`],
    /// [`ShareConsumer::commit`] and [`ShareConsumer::close`].
    pub fn on_acknowledged(&mut self, callback: impl FnMut(&Acknowledged) + Send + 'static) {
        self.callback = Some(Box::new(callback));
    }

    /// How long records are locked for this consumer; `None` before the first ones came.
    pub fn acquisition_lock_timeout(&self) -> Option<Duration> {
        self.lock
    }

    /// Says what became of a record of the last poll. It is sent with the next poll or commit.
    ///
    /// # Errors
    /// [`Error::Illegal`] in the implicit mode, and for a record that is not one of the last poll.
    pub fn acknowledge(&mut self, record: &ShareRecord, kind: AcknowledgeType) -> Result<()> {
        let partition = TopicPartition::new(&*record.record.topic, record.record.partition);
        self.acknowledge_offset(&partition, record.record.offset, kind)
    }

    /// The same for a record by its place.
    ///
    /// # Errors
    /// As [`ShareConsumer::acknowledge`].
    pub fn acknowledge_offset(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        kind: AcknowledgeType,
    ) -> Result<()> {
        self.check_open()?;
        if self.config.acknowledgement_mode == AcknowledgementMode::Implicit {
            return Err(Error::Illegal("Implicit acknowledgement of delivery is being used.".to_owned()));
        }
        let delivered = self.delivered.get_mut(partition);
        let Some((_, acknowledged)) = delivered.and_then(|delivered| delivered.records.get_mut(&offset))
        else {
            return Err(Error::Illegal("The record cannot be acknowledged.".to_owned()));
        };
        *acknowledged = Some(kind);
        Ok(())
    }

    /// Sends the acknowledgements and waits for the brokers' answers, by partition. In the implicit mode it accepts
    /// all records of the last poll.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `default.api.timeout.ms`. What a broker refused is told per partition.
    pub async fn commit(&mut self) -> Result<Vec<(TopicPartition, Result<()>)>> {
        self.check_open()?;
        self.accept_if_implicit();
        self.take_acknowledged();
        self.answers = Some(Vec::new());
        let limit = self.config.client.default_api_timeout;
        let settled = tokio::time::timeout(limit, self.settle()).await;
        let answers = self.answers.take().unwrap_or_default();
        if settled.is_err() {
            return Err(Error::Timeout(
                "Timed out while waiting for the acknowledgements to be answered".to_owned(),
            ));
        }
        let mut outcomes: BTreeMap<TopicPartition, Result<()>> = BTreeMap::new();
        for answer in answers {
            let outcome = outcomes.entry(answer.partition).or_insert(Ok(()));
            if outcome.is_ok() {
                *outcome = answer.outcome;
            }
        }
        Ok(outcomes.into_iter().collect())
    }

    /// Sends the acknowledgements and does not wait: [`ShareConsumer::on_acknowledged`] hears of the answers.
    ///
    /// # Errors
    /// None but a closed consumer.
    pub fn commit_in_background(&mut self) -> Result<()> {
        self.check_open()?;
        self.accept_if_implicit();
        self.take_acknowledged();
        self.collect_done();
        self.send_acknowledgements();
        Ok(())
    }

    /// Sends what was acknowledged, releases the rest, leaves the group and closes the connections, within `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`]; the consumer is closed all the same.
    pub async fn close(&mut self, timeout: Duration) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        let deadline = Instant::now() + timeout;
        let orderly = async {
            self.take_acknowledged();
            self.settle().await;
            self.close_sessions().await;
            self.member.leave().await;
        };
        let closed = tokio::time::timeout_at(deadline, orderly).await;
        self.closed = true;
        self.cluster.close();
        closed.map_err(|_| Error::Timeout("the consumer could not be closed in order in time".to_owned()))
    }

    fn accept_if_implicit(&mut self) {
        if self.config.acknowledgement_mode == AcknowledgementMode::Explicit {
            return;
        }
        for delivered in self.delivered.values_mut() {
            for (_, acknowledged) in delivered.records.values_mut() {
                *acknowledged = Some(AcknowledgeType::Accept);
            }
        }
    }

    /// Moves what the application has acknowledged to what is to be sent.
    fn take_acknowledged(&mut self) {
        for delivered in self.delivered.values_mut() {
            let done: Vec<(i64, AcknowledgeType)> = delivered
                .records
                .iter()
                .filter_map(|(offset, (_, acknowledged))| acknowledged.map(|kind| (*offset, kind)))
                .collect();
            for (offset, kind) in done {
                let taken = delivered.records.remove(&offset);
                if let (AcknowledgeType::Renew, Some((record, _))) = (kind, taken) {
                    self.renewing.entry(delivered.id).or_default().insert(offset, record);
                }
                let of_node = self.pending.entry(delivered.node).or_default();
                of_node.entry(delivered.id).or_default().insert(offset, kind as i8);
            }
        }
        self.delivered.retain(|_, delivered| !delivered.records.is_empty());
    }
}

impl Drop for ShareConsumer {
    fn drop(&mut self) {
        // Without the orderly close the group finds out when the session ends.
        self.cluster.close();
    }
}
