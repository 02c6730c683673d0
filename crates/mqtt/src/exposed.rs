//! Kafka topics whose latest records are the retained messages of their MQTT topics (routes with `retained=true`): read
//! from their beginning at start, followed from then on.

use std::sync::Arc;
use std::time::Duration;

use client::door::{DoorError, StartAt, StoredRecord, TopicPartition};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::broker::owned;
use crate::deliver::{Hub, Partition};
use crate::mapping;
use crate::message::{Message, Position};
use crate::retained::Retained;
use crate::session::store::read_all;

/// Pause after a failure of the log.
const RETRY: Duration = Duration::from_millis(200);
/// How long a subscriber waits for what was acknowledged before.
const SETTLE: Duration = Duration::from_secs(2);

/// A partition and how far it was read.
type Followed = (Arc<Partition>, watch::Sender<i64>);

/// See the module's text.
pub(crate) struct Exposed {
    hub: Arc<Hub>,
    retained: Arc<Retained>,
    messages_max: usize,
    topics: Vec<Arc<str>>,
    /// How far each partition was read.
    followed: Mutex<HashMap<TopicPartition, Followed>>,
    /// One ended; its topic may be there anew.
    ended: Notify,
}

impl std::fmt::Debug for Exposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exposed").field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl Exposed {
    pub(crate) fn new(hub: Arc<Hub>, retained: Arc<Retained>, messages_max: usize) -> Arc<Self> {
        let topics = hub.routes.exposed();
        Arc::new(Self {
            hub,
            retained,
            messages_max,
            topics,
            followed: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// Reads what is there and goes on following it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn load(self: &Arc<Self>) -> Result<(), DoorError> {
        for name in self.unfollowed() {
            let partition = self.hub.partitions.get(&name);
            let mut next = 0;
            read_all(&*self.hub.door, &name, |record| {
                next = record.offset + 1;
                self.apply(&partition, record);
            })
            .await?;
            self.follow(name, partition, next);
        }
        Ok(())
    }

    /// Begins with topics and partitions that come later.
    pub(crate) async fn watch(self: Arc<Self>) {
        if self.topics.is_empty() {
            return;
        }
        let mut topics = self.hub.door.topics();
        loop {
            topics.borrow_and_update();
            for name in self.unfollowed() {
                let partition = self.hub.partitions.get(&name);
                self.follow(name, partition, 0);
            }
            tokio::select! {
                () = self.ended.notified() => {}
                changed = topics.changed() => if changed.is_err() {
                    return;
                }
            }
        }
    }

    /// Waits until what was acknowledged by now is known.
    pub(crate) async fn settle(&self) {
        let waiting: Vec<_> = self
            .followed
            .lock()
            .values()
            .filter(|(partition, read)| *read.borrow() < partition.end())
            .map(|(partition, read)| (partition.end(), read.subscribe()))
            .collect();
        for (end, mut read) in waiting {
            let _ = tokio::time::timeout(SETTLE, read.wait_for(|next| *next >= end)).await;
        }
    }

    fn unfollowed(&self) -> Vec<TopicPartition> {
        let image = self.hub.image();
        let followed = self.followed.lock();
        let there = self.topics.iter().filter_map(|name| image.get(name));
        let all = there.flat_map(|t| (0..t.partitions).map(|n| TopicPartition::new(t.name.clone(), n)));
        all.filter(|name| !followed.contains_key(name)).collect()
    }

    fn follow(self: &Arc<Self>, name: TopicPartition, partition: Arc<Partition>, from: i64) {
        let (read, _) = watch::channel(from);
        self.followed.lock().insert(name.clone(), (partition.clone(), read.clone()));
        let exposed = self.clone();
        self.hub.spawn(async move {
            exposed.run(&partition, &read, from).await;
            exposed.followed.lock().remove(&name);
            exposed.retained.forget(partition.id);
            exposed.ended.notify_one();
        });
    }

    /// Follows a partition until its topic is gone.
    async fn run(&self, partition: &Partition, read: &watch::Sender<i64>, from: i64) {
        let mut next = from;
        loop {
            let mut tail = self.hub.door.tail(&partition.name, StartAt::Offset(next));
            loop {
                match tail.next().await {
                    Ok(chunk) => {
                        chunk.records.into_iter().for_each(|record| self.apply(partition, record));
                        next = chunk.next_offset;
                        partition.note_end(next);
                        read.send_replace(next);
                        tokio::task::consume_budget().await;
                    }
                    Err(DoorError::UnknownTopic(_)) => return,
                    Err(error) => {
                        tracing::warn!(partition = %partition.name, %error, "cannot follow the partition, trying again");
                        break;
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn apply(&self, partition: &Partition, record: StoredRecord) {
        let at = Position { partition: partition.id, offset: record.offset };
        let cleared = record.value.as_ref().is_none_or(|v| v.is_empty());
        let message = mapping::message_of(record, &partition.name.topic, &self.hub.routes, at);
        let publication = owned(&message.publication);
        let topic = publication.topic.clone();
        if !cleared && self.retained.len() >= self.messages_max && !self.retained.contains(&topic) {
            tracing::warn!(partition = %partition.name, offset = at.offset,
                "there are as many retained messages as may be: one is left out");
            return;
        }
        let message = (!cleared).then(|| Arc::new(Message { publication, ..message }));
        self.retained.apply(topic, message, at);
    }
}
