//! QoS 2: each message one record, whatever dies when.
//!
//! What came since the last transaction is the next one: its records, and the record of [`StateTopic`] with the packet
//! identifiers that the broker may still send again. PUBREC goes out when it is committed; PUBCOMP when a transaction
//! has taken the identifier out again. After a crash the state says which messages are in Kafka
//! (`docs/adr/0007-exactly-once-from-mqtt-to-kafka.md`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{Admin, Error, Producer, ProducerRecord};
use futures_util::future::BoxFuture;
use kafka_codec::ErrorCode;
use mqtt_client::{Client, Message, Token, fingerprint};
use mqtt_codec::{PacketId, Publish};

use super::state::{StateTopic, Taken};
use crate::dead_letter::{self, DeadLetters};
use crate::error::BridgeError;
use crate::kafka::{Kafka, TopicState, is_fatal, is_poison, lasting_topic_state, pause};
use crate::record::ToRecord;
use crate::stats::RouteStats;

/// Messages in one transaction.
const MESSAGES_MAX: usize = 5_000;
/// Bytes of payload in one transaction, unless one message has more.
const BYTES_MAX: usize = 16 << 20;
/// Time after which a transaction that does not end is asked why.
const PATIENCE: Duration = Duration::from_secs(15);

/// What transactions need.
pub(crate) struct Context {
    pub(crate) kafka: Kafka,
    pub(crate) admin: Admin,
    pub(crate) transactional_id: String,
    pub(crate) state: StateTopic,
    pub(crate) to: ToRecord,
    pub(crate) letters: DeadLetters,
    pub(crate) stats: Arc<RouteStats>,
}

/// A message that is to be written.
struct Item {
    token: Token,
    publish: Publish,
    topic: Arc<str>,
    /// Why it is to become a dead letter.
    letter: Option<String>,
}

/// Which messages cannot be written.
enum Bad {
    One(usize),
    Topic(Arc<str>),
    /// One of them, nobody says which.
    Some,
}

enum Outcome {
    Committed,
    /// Nothing was written; perhaps for the sake of a message.
    Aborted(Option<(Bad, String)>),
    Fatal(BridgeError),
}

/// A transaction that has ended.
pub(crate) struct Ran {
    producer: Producer,
    items: Vec<Item>,
    released: BTreeSet<u16>,
    session: u64,
    next: Taken,
    outcome: Outcome,
}

/// The QoS 2 messages of a lane.
pub(crate) struct Exact {
    context: Arc<Context>,
    /// `None` while a transaction runs.
    producer: Option<Producer>,
    /// What is durable.
    taken: Taken,
    waiting: VecDeque<Item>,
    /// Messages in the running transaction.
    running_items: usize,
    bytes: usize,
    released: BTreeSet<u16>,
    /// The broker's session that `taken` and `released` are of.
    session: u64,
    /// What is durable is of a session that is gone.
    stale: bool,
    /// Messages in the next transaction at most: fewer while one of them cannot be written and nobody says which.
    most: usize,
    pub(crate) running: Option<BoxFuture<'static, Ran>>,
}

impl Exact {
    /// Ends what an earlier process left open, and learns what it wrote.
    pub(crate) async fn start(context: Context) -> Result<Self, BridgeError> {
        let context = Arc::new(context);
        let (producer, taken) = open(&context).await?;
        Ok(Self {
            context,
            producer: Some(producer),
            taken,
            waiting: VecDeque::new(),
            running_items: 0,
            bytes: 0,
            released: BTreeSet::new(),
            session: 0,
            stale: false,
            most: MESSAGES_MAX,
            running: None,
        })
    }

    /// Messages of earlier processes, for [`mqtt_client::Config::received`].
    pub(crate) fn received(&self) -> BTreeMap<u16, u32> {
        self.taken.open.clone()
    }

    /// Messages that are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.running_items
    }

    /// Bytes of those.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is to be done.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty() && self.released.is_empty()
    }

    pub(crate) fn push(&mut self, message: Message) {
        let Message { publish, token } = message;
        self.bytes += publish.payload.len();
        let topic = self.context.to.topic(&publish);
        self.waiting.push_back(Item { token, publish, topic, letter: None });
    }

    pub(crate) fn release(&mut self, id: PacketId) {
        self.released.insert(id.get());
    }

    /// A connection stands. Whether we may subscribe: not before the packet identifiers of a session that is gone are
    /// forgotten for good, since the new session uses them anew.
    pub(crate) fn connected(&mut self, session_present: bool, session: u64) -> bool {
        if !session_present {
            self.session = session;
            self.released.clear();
            self.stale = !self.taken.open.is_empty() || self.running.is_some();
        }
        !self.stale
    }

    /// Begins the next transaction when there is something to do and none runs.
    pub(crate) fn begin(&mut self) {
        let nothing = self.waiting.is_empty() && self.released.is_empty() && !self.stale;
        if self.running.is_some() || nothing {
            return;
        }
        let Some(producer) = self.producer.take() else { return };
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < self.most && bytes < BYTES_MAX {
            let Some(item) = self.waiting.pop_front() else { break };
            bytes += item.publish.payload.len();
            items.push(item);
        }
        let released = std::mem::take(&mut self.released);
        let mut next = Taken { number: self.taken.number + 1, open: BTreeMap::new() };
        if !self.stale {
            next.open = self.taken.open.clone();
            next.open.retain(|id, _| !released.contains(id));
        }
        for item in items.iter().filter(|i| i.token.session() == self.session) {
            next.open.insert(item.token.packet_id(), fingerprint(&item.publish));
        }
        self.running_items = items.len();
        let run = run(Arc::clone(&self.context), producer, items, released, self.session, next);
        self.running = Some(Box::pin(run));
    }

    /// A transaction has ended: acknowledges, or puts its messages back.
    pub(crate) fn ended(&mut self, ran: Ran, client: &mut Client) -> Result<(), BridgeError> {
        let Ran { producer, mut items, released, session, next, outcome } = ran;
        self.running = None;
        self.running_items = 0;
        self.producer = Some(producer);
        let stats = &self.context.stats;
        match outcome {
            Outcome::Fatal(error) => return Err(error),
            Outcome::Committed => {
                stats.kafka_up.store(true, Ordering::Relaxed);
                stats.transactions.add(1);
                self.taken = next;
                self.most = self.most.saturating_mul(2).min(MESSAGES_MAX);
                for item in items {
                    let bytes = item.publish.payload.len();
                    self.bytes -= bytes;
                    let count = if item.letter.is_some() { &stats.dead_letters } else { &stats.delivered };
                    count.add(1);
                    stats.delivered_bytes.add(bytes as u64);
                    acknowledge(client, item.token);
                }
                if session == self.session {
                    for id in released.into_iter().filter_map(PacketId::new) {
                        if let Err(error) = client.complete(id) {
                            tracing::error!(%error, "PUBCOMP cannot be sent");
                        }
                    }
                    if std::mem::take(&mut self.stale)
                        && let Err(error) = client.subscribe()
                    {
                        return Err(BridgeError::Mqtt { address: client.address(), source: error });
                    }
                }
            }
            Outcome::Aborted(bad) => {
                if session == self.session {
                    self.released.extend(released);
                }
                match bad {
                    Some((Bad::One(at), why)) => {
                        if let Some(item) = items.get_mut(at) {
                            item.letter = Some(why);
                        }
                    }
                    Some((Bad::Topic(topic), why)) => {
                        for item in items.iter_mut().chain(&mut self.waiting).filter(|i| i.topic == topic) {
                            item.letter = Some(why.clone());
                        }
                    }
                    Some((Bad::Some, why)) => match items.as_mut_slice() {
                        [only] => only.letter = Some(why),
                        many => self.most = (many.len() / 2).max(1),
                    },
                    None => {}
                }
                for item in items.into_iter().rev() {
                    self.waiting.push_front(item);
                }
            }
        }
        Ok(())
    }
}

fn acknowledge(client: &mut Client, token: Token) {
    if let Err(error) = client.acknowledge(token) {
        tracing::error!(%error, "an acknowledgement cannot be sent");
    }
}

fn may_not_use_topic(error: &Error) -> bool {
    error.code() == Some(ErrorCode::TopicAuthorizationFailed)
}

/// A producer that has fenced off all earlier ones of its name, and what they wrote.
async fn open(context: &Context) -> Result<(Producer, Taken), BridgeError> {
    let mut failures = 0;
    loop {
        let attempt = async {
            context.state.create(&context.admin).await?;
            let producer = context.kafka.transactional(&context.transactional_id)?;
            producer.init_transactions().await?;
            let taken = context.state.load(&context.kafka, &context.admin).await?;
            // Written once more: whether it may be is better known now than with the first message.
            producer.begin_transaction()?;
            let written = producer.send(context.state.record(&taken)).await?;
            producer.commit_transaction().await?;
            written.await?;
            Ok((producer, taken))
        };
        match attempt.await {
            Err(BridgeError::Kafka(source)) if may_not_use_topic(&source) => {
                return Err(BridgeError::StateTopic { topic: context.state.topic().to_owned(), source });
            }
            Err(BridgeError::Kafka(error)) if !is_fatal(&error) => {
                context.stats.kafka_up.store(false, Ordering::Relaxed);
                tracing::warn!(%error, "Kafka cannot begin transactions yet");
                tokio::time::sleep(pause(failures)).await;
                failures += 1;
            }
            other => return other,
        }
    }
}

async fn run(
    context: Arc<Context>,
    producer: Producer,
    items: Vec<Item>,
    released: BTreeSet<u16>,
    session: u64,
    next: Taken,
) -> Ran {
    let ended = transact(&context, &producer, &items, &next).await;
    let (producer, outcome) = match ended {
        Ok(()) => (producer, Outcome::Committed),
        Err(Failed::Aborted(bad)) => (producer, Outcome::Aborted(bad)),
        Err(Failed::Broken(error, _)) if is_fatal(&error) => (producer, Outcome::Fatal(error.into())),
        Err(Failed::Broken(error, bad)) => {
            tracing::warn!(%error, "the transaction is in doubt: asking Kafka what became of it");
            producer.close(Duration::ZERO).await;
            match open(&context).await {
                Ok((fresh, found)) if found.number == next.number => (fresh, Outcome::Committed),
                Ok((fresh, _)) => (fresh, Outcome::Aborted(bad)),
                Err(error) => (producer, Outcome::Fatal(error)),
            }
        }
    };
    Ran { producer, items, released, session, next, outcome }
}

enum Failed {
    /// The transaction is aborted, and another may begin.
    Aborted(Option<(Bad, String)>),
    /// The producer cannot go on, and whether the transaction was committed is not known.
    Broken(Error, Option<(Bad, String)>),
}

async fn transact(
    context: &Context,
    producer: &Producer,
    items: &[Item],
    next: &Taken,
) -> Result<(), Failed> {
    let letters = items.iter().filter(|item| item.letter.is_some());
    let topics: BTreeSet<_> = letters.map(|item| context.letters.topic(&item.topic)).collect();
    for topic in topics {
        dead_letter::prepare(&context.admin, &topic).await;
    }
    producer.begin_transaction().map_err(|e| Failed::Broken(e, None))?;
    for (at, item) in items.iter().enumerate() {
        for record in records(context, producer, item).await {
            let topic = Arc::clone(&record.topic);
            if let Err(error) = producer.send(record).await {
                let bad = blame(context, at, item, &topic, &error).await;
                return Err(abort(producer, error, bad).await);
            }
        }
    }
    if let Err(error) = producer.send(context.state.record(next)).await {
        // It is told here how the records before it have fared.
        let bad = (is_poison(&error) && !items.is_empty()).then(|| (Bad::Some, error.to_string()));
        if bad.is_none() {
            tracing::warn!(%error, "a transaction failed, trying again");
            tokio::time::sleep(pause(0)).await;
        }
        return Err(abort(producer, error, bad).await);
    }
    let mut failures = 0;
    loop {
        let committed = tokio::select! {
            committed = producer.commit_transaction() => committed,
            topic = missing(context, items) => {
                let why = format!("the topic {topic} does not exist");
                let error = Error::Timeout(why.clone());
                return Err(Failed::Broken(error, Some((Bad::Topic(topic), why))));
            }
        };
        match committed {
            Ok(()) => return Ok(()),
            // The outcome is not known yet: asked again, Kafka answers as it did the first time.
            Err(error @ Error::Timeout(_)) => {
                context.stats.kafka_up.store(false, Ordering::Relaxed);
                tracing::warn!(%error, "the end of a transaction is not confirmed yet");
                tokio::time::sleep(pause(failures)).await;
                failures += 1;
            }
            Err(error) => {
                let bad = match items {
                    [only] if only.letter.is_some() => {
                        letter_failed(&context.letters.topic(&only.topic), &error).await;
                        None
                    }
                    _ => is_poison(&error).then(|| (Bad::Some, error.to_string())),
                };
                return Err(abort(producer, error, bad).await);
            }
        }
    }
}

async fn letter_failed(topic: &str, error: &Error) {
    tracing::error!(topic, %error, "a dead letter cannot be written: its message is not acknowledged");
    tokio::time::sleep(pause(2)).await;
}

async fn records(context: &Context, producer: &Producer, item: &Item) -> Vec<ProducerRecord> {
    if let Some(why) = &item.letter {
        return context.letters.records(&item.publish, &item.topic, why);
    }
    // Without the number of partitions the send will say what is wrong with the topic.
    let partitions = match context.to.wants_partitions() {
        true => producer.partitions_for(&item.topic).await.ok(),
        false => None,
    };
    vec![context.to.record(&item.publish, Arc::clone(&item.topic), partitions)]
}

/// Whether a record that could not be sent is to blame.
async fn blame(
    context: &Context,
    at: usize,
    item: &Item,
    topic: &str,
    error: &Error,
) -> Option<(Bad, String)> {
    // The producer may tell here how an earlier record of the transaction has fared.
    if at > 0 && is_poison(error) && !matches!(error, Error::RecordTooLarge(_)) {
        return Some((Bad::Some, error.to_string()));
    }
    if item.letter.is_some() {
        letter_failed(topic, error).await;
        return None;
    }
    if is_poison(error) {
        return Some((Bad::One(at), error.to_string()));
    }
    let missing = lasting_topic_state(&context.admin, topic).await == TopicState::Missing;
    missing.then(|| (Bad::Topic(topic.into()), format!("the topic {topic} does not exist")))
}

async fn abort(producer: &Producer, error: Error, bad: Option<(Bad, String)>) -> Failed {
    match producer.abort_transaction().await {
        Ok(()) => Failed::Aborted(bad),
        Err(_) => Failed::Broken(error, bad),
    }
}

/// Ends when one of the topics is not there.
async fn missing(context: &Context, items: &[Item]) -> Arc<str> {
    loop {
        tokio::time::sleep(PATIENCE).await;
        let topics: BTreeSet<_> = items.iter().filter(|i| i.letter.is_none()).map(|i| &i.topic).collect();
        for topic in topics {
            if lasting_topic_state(&context.admin, topic).await == TopicState::Missing {
                return Arc::clone(topic);
            }
        }
    }
}
