//! The pump of a consumer that is behind: reads its partitions from their cursors into its queue as room
//! allows, until the tail can take over again.

use std::sync::Arc;
use std::time::Duration;

use client::door::{DoorError, StartAt};

use super::consumer::{Consumer, Wake};
use super::hub::Hub;
use super::partition::Partition;
use crate::mapping;
use crate::message::Position;
use crate::subscriptions::{Subscription, Trie};

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// Pause after a failure of the log.
const RETRY: Duration = Duration::from_millis(200);
/// Between two looks at an end that others have not settled yet.
const UNSETTLED: Duration = Duration::from_millis(10);

/// Runs until every partition of the consumer is live, or its connection is over.
pub(super) async fn run(hub: Arc<Hub>, consumer: Arc<Consumer>, epoch: u64) {
    let mut filters = Filters::of(&consumer);
    loop {
        let lagging = consumer.lagging(epoch);
        if lagging.is_empty() {
            return;
        }
        for (partition, next) in lagging {
            if filters.version != consumer.subscriptions_version() {
                filters = Filters::of(&consumer);
            }
            match step(&hub, &consumer, epoch, &filters, &partition, next).await {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(DoorError::UnknownTopic(_)) => hub.topic_gone(&partition),
                Err(error) => {
                    tracing::warn!(partition = %partition.name, %error, "cannot read, trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        tokio::task::consume_budget().await;
    }
}

struct Filters {
    version: u64,
    trie: Trie<u32, Arc<Subscription>>,
}

impl Filters {
    fn of(consumer: &Consumer) -> Self {
        let version = consumer.subscriptions_version();
        let mut trie = Trie::default();
        for (n, (_, s)) in consumer.subscriptions().into_iter().enumerate() {
            let filter = s.filter.clone();
            trie.insert(&filter, u32::try_from(n).unwrap_or(u32::MAX), s);
        }
        Self { version, trie }
    }
}

/// Reads one chunk of one partition. `None`: the connection is over.
async fn step(
    hub: &Arc<Hub>,
    consumer: &Arc<Consumer>,
    epoch: u64,
    filters: &Filters,
    partition: &Arc<Partition>,
    next: i64,
) -> Result<Option<()>, DoorError> {
    let chunk = hub.door.read(&partition.name, next, READ_BYTES).await?;
    if next > chunk.end_offset && next <= hub.door.offset_at(&partition.name, StartAt::Latest).await? {
        // What others append there is not decided yet.
        tokio::time::sleep(UNSETTLED).await;
        return Ok(Some(()));
    }
    if next > chunk.end_offset {
        // The log ends before the cursor: the topic was deleted and made anew.
        tracing::warn!(partition = %partition.name, next, end = chunk.end_offset,
            "the partition is shorter than a session's cursor; reading it from its start");
        return Ok(consumer.pump_to(epoch, partition.id, chunk.log_start_offset));
    }
    if chunk.log_start_offset > next {
        hub.count_lost(&partition.name, next, chunk.log_start_offset);
    }
    let mut matched = Vec::new();
    for record in chunk.records {
        let offset = record.offset;
        let at = Position { partition: partition.id, offset };
        let message = Arc::new(mapping::message_of(record, &partition.name.topic, &hub.routes, at));
        matched.clear();
        filters.trie.matches(message.topic(), &mut |_, s| matched.push(s));
        let place = Some((partition.id, offset));
        let mut delivery = consumer.delivery(&message, place, matched.iter().copied());
        loop {
            match consumer.pump_in(epoch, partition.id, offset, delivery) {
                Ok(None) => return Ok(None),
                Ok(Some(Wake::Reader)) => consumer.wake(),
                Ok(Some(_)) => {}
                Err(back) => {
                    consumer.room.notified().await;
                    delivery = Some(back);
                    continue;
                }
            }
            break;
        }
    }
    if chunk.next_offset == next {
        tokio::time::sleep(UNSETTLED).await;
    }
    hub.count_dropped(consumer);
    Ok(consumer.pump_to(epoch, partition.id, chunk.next_offset))
}
