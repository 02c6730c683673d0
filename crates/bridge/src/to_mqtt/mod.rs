//! Kafka to MQTT: one lane.
//!
//! Records of a consumer group are published in their order; an offset is committed when the MQTT broker has acknowledged
//! the message and all before it. A record that cannot be published becomes a dead letter; the others do not wait for it.

mod ledger;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{Admin, Consumer, ConsumerRecord, Producer, TopicPartition};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use mqtt_client::{Client, Event};
use tokio::sync::watch;

use crate::dead_letter;
use crate::error::BridgeError;
use crate::kafka::{Kafka, is_fatal, pause};
use crate::record::{ToMessage, letters_of};
use crate::stats::RouteStats;
use ledger::Shared;

/// Time between two commits.
const COMMIT: Duration = Duration::from_secs(1);
/// Longest wait for records.
const POLL: Duration = Duration::from_millis(500);
/// Records behind one that is not through, at most: a dead letter that cannot be written may take long.
const BEHIND_MAX: usize = 100_000;
/// Time for what is under way when the bridge is stopped.
const FAREWELL: Duration = Duration::from_secs(10);

/// What a lane is made of.
pub(crate) struct Setup {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    pub(crate) kafka: Kafka,
    pub(crate) to: ToMessage,
    pub(crate) dead_letter: DeadLetter,
    pub(crate) in_flight: usize,
    pub(crate) stats: Arc<RouteStats>,
}

/// What becomes of records that cannot be published.
#[derive(Clone, Debug)]
pub(crate) enum DeadLetter {
    /// They go to this topic; `None`: `<topic>.dead-letter`.
    To(Option<Arc<str>>),
    /// They stay where they are, and are passed over.
    PassOver,
}

struct Lane {
    setup: Setup,
    client: Client,
    consumer: Consumer,
    ledger: Shared,
    /// Records under way, by tag: what the MQTT broker refuses is written from here.
    under_way: HashMap<u64, ConsumerRecord>,
    /// Dead letters that are being written; answers tags.
    letters: FuturesUnordered<BoxFuture<'static, u64>>,
    /// Made for the first dead letter.
    kafka: Option<(Producer, Admin)>,
    waiting: VecDeque<ConsumerRecord>,
    paused: bool,
}

/// Forwards until `stop`, or until something only people can mend.
pub(crate) async fn run(
    setup: Setup,
    config: mqtt_client::Config,
    dial: Arc<dyn mqtt_client::Dial>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BridgeError> {
    let mut consumer = setup.kafka.consumer(&[
        ("group.id", &setup.group),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
    ])?;
    let ledger = Shared::default();
    let topics: Vec<&str> = setup.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics, Some(Box::new(ledger.clone())))?;
    let client = Client::new(config, dial);
    let mut lane = Lane {
        setup,
        client,
        consumer,
        ledger,
        under_way: HashMap::new(),
        letters: FuturesUnordered::new(),
        kafka: None,
        waiting: VecDeque::new(),
        paused: false,
    };
    tokio::select! {
        outcome = lane.forward() => return outcome,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let _ = tokio::time::timeout(FAREWELL, lane.finish()).await;
    lane.client.disconnect().await;
    Ok(())
}

impl Lane {
    async fn forward(&mut self) -> Result<(), BridgeError> {
        let mut commit = tokio::time::interval(COMMIT);
        let mut failures = 0;
        loop {
            self.publish_waiting();
            self.pause_or_resume()?;
            tokio::select! {
                event = self.client.next() => self.handle(event)?,
                polled = self.consumer.poll(POLL) => match polled {
                    Ok(records) => {
                        failures = 0;
                        self.setup.stats.kafka_up.store(true, Ordering::Relaxed);
                        self.setup.stats.received.add(records.len() as u64);
                        self.waiting.extend(records);
                    }
                    Err(error) if is_fatal(&error) => return Err(error.into()),
                    Err(error) => {
                        self.setup.stats.kafka_up.store(false, Ordering::Relaxed);
                        tracing::warn!(lane = self.setup.id, %error, "no records");
                        tokio::time::sleep(pause(failures)).await;
                        failures += 1;
                    }
                },
                Some(tag) = self.letters.next() => self.written(tag),
                _ = commit.tick() => self.commit(),
            }
            while let Some(event) = self.client.try_next() {
                self.handle(event)?;
            }
        }
    }

    fn commit(&mut self) {
        let offsets = self.ledger.with(|ledger| ledger.commits(None));
        if !offsets.is_empty()
            && let Err(error) = self.consumer.commit_async(Some(offsets))
        {
            tracing::warn!(lane = self.setup.id, %error, "offsets are not committed yet");
        }
    }

    /// Waits for what is under way and commits it.
    async fn finish(&mut self) -> Result<(), BridgeError> {
        self.waiting.clear();
        while self.client.outstanding() > 0 || !self.letters.is_empty() {
            tokio::select! {
                event = self.client.next() => self.handle(event)?,
                Some(tag) = self.letters.next() => self.written(tag),
            }
        }
        let offsets = self.ledger.with(|ledger| ledger.commits(None));
        if !offsets.is_empty() {
            self.consumer.commit_offsets(&offsets).await?;
        }
        self.consumer.close(Duration::from_secs(3)).await?;
        Ok(())
    }

    fn may_publish(&self) -> bool {
        self.client.is_connected()
            && self.client.outstanding() + self.letters.len() < self.setup.in_flight
            && self.ledger.with(|ledger| ledger.under_way()) < BEHIND_MAX
    }

    fn publish_waiting(&mut self) {
        while self.may_publish() {
            let Some(record) = self.waiting.pop_front() else { break };
            self.publish(record);
        }
        let count = self.ledger.with(|ledger| ledger.under_way());
        self.setup.stats.in_flight.set(count as u64);
    }

    fn publish(&mut self, record: ConsumerRecord) {
        let partition = TopicPartition::new(Arc::clone(&record.topic), record.partition);
        if !self.consumer.assignment().contains(&partition) {
            return;
        }
        let offset = record.offset;
        let tag = self.ledger.with(|ledger| ledger.take(partition, offset));
        let stats = &self.setup.stats;
        let Some(message) = self.setup.to.message(record.clone(), now_ms()) else {
            stats.own.add(1);
            self.ledger.with(|ledger| ledger.done(tag));
            return;
        };
        let bytes = message.payload.len();
        self.under_way.insert(tag, record);
        match self.client.publish(tag, message) {
            Ok(()) => stats.delivered_bytes.add(bytes as u64),
            Err(error) => self.refused(tag, &error.to_string()),
        }
    }

    /// The MQTT broker will not have it.
    fn refused(&mut self, tag: u64, why: &str) {
        let Some(record) = self.under_way.remove(&tag) else { return };
        let (topic, partition, offset) = (&*record.topic, record.partition, record.offset);
        let lane = &self.setup.id;
        let to = match &self.setup.dead_letter {
            DeadLetter::PassOver => {
                tracing::error!(lane, topic, partition, offset, why, "record is passed over");
                self.written(tag);
                return;
            }
            DeadLetter::To(Some(to)) => Arc::clone(to),
            DeadLetter::To(None) => format!("{topic}.dead-letter").into(),
        };
        tracing::warn!(lane, topic, partition, offset, why, "record becomes a dead letter");
        let letters = letters_of(&record, &to, why);
        let made = match &self.kafka {
            Some(made) => Ok(made.clone()),
            None => self.setup.kafka.producer(0).and_then(|p| Ok((p, self.setup.kafka.admin()?))),
        };
        match made {
            Ok((producer, admin)) => {
                self.kafka = Some((producer.clone(), admin.clone()));
                self.letters.push(Box::pin(async move {
                    dead_letter::write(producer, admin, letters).await;
                    tag
                }));
            }
            // The properties were good enough for the consumer. Without an offset the record comes again.
            Err(error) => tracing::error!(lane, %error, "no producer for dead letters"),
        }
    }

    fn written(&mut self, tag: u64) {
        self.setup.stats.dead_letters.add(1);
        self.ledger.with(|ledger| ledger.done(tag));
    }

    /// Nothing is fetched while the MQTT broker does not take more; the membership goes on.
    fn pause_or_resume(&mut self) -> Result<(), BridgeError> {
        let pause = !self.waiting.is_empty() || !self.may_publish();
        let assigned = self.consumer.assignment();
        if pause {
            self.consumer.pause(&assigned)?;
        } else if self.paused {
            self.consumer.resume(&assigned)?;
        }
        self.paused = pause;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), BridgeError> {
        let stats = &self.setup.stats;
        match event {
            Event::Published { tag, reason } if reason.is_error() => {
                self.refused(tag, &format!("the MQTT broker refuses it: {reason}"));
            }
            Event::Published { tag, .. } => {
                self.under_way.remove(&tag);
                self.ledger.with(|ledger| ledger.done(tag));
                stats.delivered.add(1);
            }
            Event::Connected { session_present } => {
                tracing::info!(
                    lane = self.setup.id,
                    session_present,
                    "connected to {}",
                    self.client.address()
                );
                stats.mqtt_up.store(true, Ordering::Relaxed);
            }
            Event::Lost(error) => {
                stats.mqtt_up.store(false, Ordering::Relaxed);
                stats.connections_lost.add(1);
                if error.is_final() {
                    return Err(BridgeError::Mqtt { address: self.client.address(), source: error });
                }
                tracing::warn!(lane = self.setup.id, %error, "no connection to {}", self.client.address());
            }
            Event::Message(message) => {
                // Of a subscription that an earlier use of this client id has left.
                let _ = self.client.acknowledge(message.token);
            }
            Event::Release(id) => {
                let _ = self.client.complete(id);
            }
            Event::Subscribed(_) => {}
        }
        Ok(())
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
