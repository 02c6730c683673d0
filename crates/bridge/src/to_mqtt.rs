//! Kafka to MQTT: one lane.
//!
//! Records of a consumer group are published in their order; an offset is committed when the MQTT broker has acknowledged
//! the message and all before it. What cannot be published is logged and passed over.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::consumer::RebalanceListener;
use client::{Consumer, ConsumerRecord, OffsetAndMetadata, TopicPartition};
use futures_util::future::BoxFuture;
use mqtt_client::{Client, Event};
use tokio::sync::watch;

use crate::error::BridgeError;
use crate::kafka::{Kafka, is_fatal, pause};
use crate::record::ToMessage;
use crate::stats::RouteStats;

/// Time between two commits.
const COMMIT: Duration = Duration::from_secs(1);
/// Longest wait for records.
const POLL: Duration = Duration::from_millis(500);
/// Time for what is under way when the bridge is stopped.
const FAREWELL: Duration = Duration::from_secs(10);

/// What a lane is made of.
pub(crate) struct Setup {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    pub(crate) kafka: Kafka,
    pub(crate) to: ToMessage,
    pub(crate) in_flight: usize,
    pub(crate) stats: Arc<RouteStats>,
}

/// Which records are through.
#[derive(Debug, Default)]
struct Ledger {
    /// Records under way of each partition in order, and whether they are through.
    partitions: BTreeMap<TopicPartition, VecDeque<(i64, bool)>>,
    tags: HashMap<u64, (TopicPartition, i64)>,
    last_tag: u64,
    /// What may be committed and is not yet.
    ready: BTreeMap<TopicPartition, i64>,
}

impl Ledger {
    fn take(&mut self, partition: TopicPartition, offset: i64) -> u64 {
        self.last_tag += 1;
        self.partitions.entry(partition.clone()).or_default().push_back((offset, false));
        self.tags.insert(self.last_tag, (partition, offset));
        self.last_tag
    }

    fn done(&mut self, tag: u64) {
        let Some((partition, offset)) = self.tags.remove(&tag) else { return };
        let Some(records) = self.partitions.get_mut(&partition) else { return };
        if let Ok(place) = records.binary_search_by_key(&offset, |(offset, _)| *offset)
            && let Some((_, done)) = records.get_mut(place)
        {
            *done = true;
        }
        while let Some((offset, _)) = records.pop_front_if(|(_, done)| *done) {
            self.ready.insert(partition.clone(), offset + 1);
        }
    }

    fn under_way(&self) -> usize {
        self.partitions.values().map(VecDeque::len).sum()
    }

    /// Offsets to commit, of these partitions or of all.
    fn commits(&mut self, of: Option<&[TopicPartition]>) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
        let ready = std::mem::take(&mut self.ready);
        let (now, later) = ready.into_iter().partition(|(p, _)| of.is_none_or(|of| of.contains(p)));
        self.ready = later;
        let now: BTreeMap<TopicPartition, i64> = now;
        now.into_iter().map(|(p, offset)| (p, OffsetAndMetadata::new(offset))).collect()
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.partitions.remove(partition);
            self.ready.remove(partition);
        }
        self.tags.retain(|_, (partition, _)| !partitions.contains(partition));
    }
}

/// Shared with the listener; never held while waiting.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Ledger) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RebalanceListener for Shared {
    fn revoked<'a>(
        &'a mut self,
        consumer: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let offsets = self.with(|ledger| ledger.commits(Some(partitions)));
            if !offsets.is_empty()
                && let Err(error) = consumer.commit_offsets(&offsets).await
            {
                tracing::warn!(%error, "offsets are not committed: their messages come again");
            }
            self.with(|ledger| ledger.forget(partitions));
        })
    }

    fn assigned<'a>(
        &'a mut self,
        _: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move { tracing::info!(?partitions, "assigned") })
    }

    fn lost<'a>(&'a mut self, _: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.with(|ledger| ledger.forget(partitions)) })
    }
}

struct Lane {
    setup: Setup,
    client: Client,
    consumer: Consumer,
    ledger: Shared,
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
    let mut lane = Lane { setup, client, consumer, ledger, waiting: VecDeque::new(), paused: false };
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
        while self.client.outstanding() > 0 {
            let event = self.client.next().await;
            self.handle(event)?;
        }
        let offsets = self.ledger.with(|ledger| ledger.commits(None));
        if !offsets.is_empty() {
            self.consumer.commit_offsets(&offsets).await?;
        }
        self.consumer.close(Duration::from_secs(3)).await?;
        Ok(())
    }

    fn may_publish(&self) -> bool {
        self.client.is_connected() && self.client.outstanding() < self.setup.in_flight
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
        let Some(message) = self.setup.to.message(record, now_ms()) else {
            stats.own.add(1);
            self.ledger.with(|ledger| ledger.done(tag));
            return;
        };
        let (topic, bytes) = (message.topic.clone(), message.payload.len());
        match self.client.publish(tag, message) {
            Ok(()) => stats.delivered_bytes.add(bytes as u64),
            Err(error) => {
                tracing::error!(lane = self.setup.id, %topic, offset, %error, "record cannot be published");
                stats.dead_letters.add(1);
                self.ledger.with(|ledger| ledger.done(tag));
            }
        }
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
            Event::Published { tag, reason } => {
                self.ledger.with(|ledger| ledger.done(tag));
                if reason.is_error() {
                    tracing::error!(lane = self.setup.id, %reason, "the MQTT broker refuses a message");
                    stats.dead_letters.add(1);
                } else {
                    stats.delivered.add(1);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_ready_up_to_the_first_that_is_not_through() {
        let mut ledger = Ledger::default();
        let partition = TopicPartition::new("t", 0);
        let tags: Vec<u64> = [5, 6, 9].into_iter().map(|o| ledger.take(partition.clone(), o)).collect();
        ledger.done(tags[1]);
        assert!(ledger.commits(None).is_empty());
        ledger.done(tags[0]);
        assert_eq!(ledger.commits(None)[&partition].offset, 7);
        assert!(ledger.commits(None).is_empty());
        ledger.done(tags[2]);
        let other = TopicPartition::new("u", 0);
        assert!(ledger.commits(Some(std::slice::from_ref(&other))).is_empty());
        assert_eq!(ledger.commits(Some(std::slice::from_ref(&partition)))[&partition].offset, 10);
        let tag = ledger.take(partition.clone(), 10);
        ledger.forget(std::slice::from_ref(&partition));
        ledger.done(tag);
        assert!(ledger.commits(None).is_empty());
        assert_eq!(ledger.under_way(), 0);
    }
}
