//! The tail of a partition: reads each record once and hands it to everybody who subscribes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::door::{Chunk, DoorError, StartAt};
use hashbrown::HashMap;

use super::consumer::{Consumer, Delivery, Offered, Wake};
use super::hub::Hub;
use super::partition::Partition;
use crate::mapping;
use crate::message::Position;
use crate::subscriptions::Recipient;

/// Topics whose recipients are remembered.
const REMEMBERED_MAX: usize = 4096;
/// How long the tail waits for a consumer whose queue is full: as long as it drains, waiting is cheaper than its
/// reading the log on its own. It happens at most once in ten seconds that this wait is in vain.
const PATIENCE: Duration = Duration::from_millis(20);
/// Pause after a failure of the log.
const RETRY: Duration = Duration::from_millis(200);

/// Follows the partition from `from` on until its topic is gone or nobody follows it any more.
pub(super) async fn run(hub: Arc<Hub>, partition: Arc<Partition>, from: i64) {
    let mut recipients = Remembered::default();
    let mut next = from;
    loop {
        let mut tail = hub.door.tail(&partition.name, StartAt::Offset(next));
        loop {
            match tail.next().await {
                Ok(chunk) => {
                    next = hand_out(&hub, &partition, &mut recipients, chunk, next).await;
                    if partition.end_unfollowed_tail() {
                        return;
                    }
                    tokio::task::consume_budget().await;
                }
                Err(DoorError::UnknownTopic(_)) => {
                    hub.topic_gone(&partition);
                    return;
                }
                Err(error) => {
                    tracing::warn!(partition = %partition.name, %error, "cannot follow the partition, trying again");
                    break;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn hand_out(
    hub: &Arc<Hub>,
    partition: &Arc<Partition>,
    remembered: &mut Remembered,
    chunk: Chunk,
    expected: i64,
) -> i64 {
    if chunk.log_start_offset > expected {
        hub.count_lost(&partition.name, expected, chunk.log_start_offset);
    }
    let next = chunk.next_offset;
    let mut readers: Vec<Arc<Consumer>> = Vec::new();
    for record in chunk.records {
        let offset = record.offset;
        // Before the subscriptions are looked at: see `Followed::join`.
        partition.set_position(offset);
        let at = Position { partition: partition.id, offset };
        let message = Arc::new(mapping::message_of(record, &partition.name.topic, &hub.routes, at));
        for r in remembered.of(hub, &message.publication.topic).iter() {
            if !r.consumer.is_online() {
                continue;
            }
            let place = Some((partition.id, offset));
            let Some(delivery) = r.consumer.delivery(&message, place, r.subscriptions.iter()) else {
                continue;
            };
            let wake = match r.consumer.offer(partition.id, offset, delivery, true) {
                Offered::Taken(wake) => wake,
                Offered::Full(delivery) => {
                    readers.drain(..).for_each(|reader| reader.wake());
                    offer_again(&r.consumer, partition, offset, delivery).await
                }
            };
            match wake {
                Wake::Reader => readers.push(r.consumer.clone()),
                Wake::Pump => hub.start_pump(&r.consumer),
                Wake::Nobody => {}
            }
        }
    }
    partition.set_position(next - 1);
    partition.note_end(next);
    for reader in readers {
        reader.wake();
    }
    next
}

/// Waits for room in a consumer's queue, for a while.
async fn offer_again(
    consumer: &Consumer,
    partition: &Partition,
    offset: i64,
    mut delivery: Delivery,
) -> Wake {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut patient = true;
    loop {
        // Before the offer, so that room made after it is noticed.
        let room = consumer.room_for_tail.notified();
        match consumer.offer(partition.id, offset, delivery, patient) {
            Offered::Taken(wake) => return wake,
            Offered::Full(back) => delivery = back,
        }
        patient = tokio::time::timeout_at(deadline, room).await.is_ok();
    }
}

/// Recipients by topic, as long as no subscription changes.
#[derive(Default)]
struct Remembered {
    version: u64,
    topics: HashMap<Bytes, Arc<[Recipient]>>,
}

impl Remembered {
    fn of(&mut self, hub: &Hub, topic: &Bytes) -> Arc<[Recipient]> {
        let version = hub.subscriptions.version();
        if version != self.version || self.topics.len() >= REMEMBERED_MAX {
            self.topics.clear();
            self.version = version;
        }
        if let Some(known) = self.topics.get(topic) {
            return known.clone();
        }
        let name = std::str::from_utf8(topic).unwrap_or_default();
        let found: Arc<[Recipient]> = hub.subscriptions.matching(name).into();
        // A key of its own: a slice would keep the whole fetched chunk in memory.
        self.topics.insert(Bytes::copy_from_slice(topic), found.clone());
        found
    }
}
