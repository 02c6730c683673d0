//! A partition of state that is read to its end and on: each record once, in order.

use std::sync::Arc;
use std::time::Duration;

use client::door::{Chunk, Door, DoorError, StartAt, StoredRecord, TopicPartition};
use parking_lot::Mutex;

/// Read at a time.
const READ_BYTES: usize = 4 << 20;
/// Pause after a failure of the log.
const RETRY: Duration = Duration::from_millis(200);
/// Between two looks at an end that others have not settled yet.
const UNSETTLED: Duration = Duration::from_millis(10);

/// What a record means.
type Apply = Box<dyn Fn(StoredRecord) + Send + Sync>;

/// See the module's text.
pub(crate) struct Follower {
    door: Arc<dyn Door>,
    of: TopicPartition,
    next: Mutex<i64>,
    apply: Apply,
}

impl Follower {
    pub(crate) fn new(
        door: Arc<dyn Door>,
        of: TopicPartition,
        apply: impl Fn(StoredRecord) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { door, of, next: Mutex::new(0), apply: Box::new(apply) })
    }

    /// The next offset to be read: what lies before it has been applied.
    pub(crate) fn next(&self) -> i64 {
        *self.next.lock()
    }

    fn take(&self, chunk: Chunk) {
        // Held while applying, so that whoever sees the position sees what came before it.
        let mut next = self.next.lock();
        for record in chunk.records {
            if record.offset >= *next {
                *next = record.offset + 1;
                (self.apply)(record);
            }
        }
        *next = (*next).max(chunk.next_offset);
    }

    /// Reads what is decided by now.
    pub(crate) async fn load(&self) -> Result<(), DoorError> {
        let first = self.door.offset_at(&self.of, StartAt::Earliest).await?;
        {
            let mut next = self.next.lock();
            *next = (*next).max(first);
        }
        let end = self.door.offset_at(&self.of, StartAt::Latest).await?;
        while self.step(end).await? {}
        Ok(())
    }

    /// Reads everything that was appended before this was called, waiting for what is not decided yet.
    pub(crate) async fn catch_up(&self) -> Result<(), DoorError> {
        let end = self.door.offset_at(&self.of, StartAt::Latest).await?;
        while self.next() < end {
            if !self.step(end).await? {
                tokio::time::sleep(UNSETTLED).await;
            }
        }
        Ok(())
    }

    /// Reads once; `false` when there is nothing more before `end` for now.
    async fn step(&self, end: i64) -> Result<bool, DoorError> {
        let from = self.next();
        if from >= end {
            return Ok(false);
        }
        let chunk = self.door.read(&self.of, from, READ_BYTES).await?;
        let moved = chunk.next_offset > from;
        self.take(chunk);
        Ok(moved)
    }

    /// Follows it for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let mut tail = self.door.tail(&self.of, StartAt::Offset(self.next()));
            loop {
                match tail.next().await {
                    Ok(chunk) => self.take(chunk),
                    Err(error) => {
                        tracing::warn!(partition = %self.of, %error, "cannot follow the partition, trying again");
                        break;
                    }
                }
                tokio::task::consume_budget().await;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
