//! What this process knows of one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use client::door::{Door, DoorError, StartAt, TopicPartition};
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::OnceCell;

use crate::message::PartitionId;

/// One partition of a routed topic, or of `__mqtt_retained`.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Our number for it.
    pub(crate) id: PartitionId,
    /// Its name.
    pub(crate) name: TopicPartition,
    /// One past the last record known to be appended.
    appended: AtomicI64,
    /// Last offset that the tail began to work on. Written before the tail looks at the subscriptions.
    position: AtomicI64,
    /// Set once `appended` has been asked for.
    known: OnceCell<()>,
    /// The tail, while there is one.
    pub(super) tail: Mutex<TailSlot>,
}

/// How many follow a partition, and whether its tail runs. A tail nobody follows any more ends by itself after
/// its next records, so there are never two.
#[derive(Debug, Default)]
pub(super) struct TailSlot {
    pub(super) followers: usize,
    pub(super) runs: bool,
}

impl Partition {
    /// Asks for the end of the log, once or `anew`. Must come before [`Partition::end`].
    pub(crate) async fn learn_end(&self, door: &dyn Door, anew: bool) -> Result<(), DoorError> {
        let ask = || async {
            let end = door.offset_at(&self.name, StartAt::Latest).await?;
            self.note_end(end);
            Ok(())
        };
        if anew && self.known.initialized() {
            return ask().await;
        }
        self.known.get_or_try_init(ask).await.copied()
    }

    /// One past the last record that was acknowledged or seen by now.
    pub(crate) fn end(&self) -> i64 {
        self.appended.load(Ordering::SeqCst)
    }

    /// Takes note that records before `end` exist.
    pub(crate) fn note_end(&self, end: i64) {
        self.appended.fetch_max(end, Ordering::SeqCst);
    }

    /// Last offset the tail began to work on.
    pub(crate) fn position(&self) -> i64 {
        self.position.load(Ordering::SeqCst)
    }

    /// Called by the tail between two chunks: whether it is to end.
    pub(super) fn end_unfollowed_tail(&self) -> bool {
        let mut slot = self.tail.lock();
        if slot.followers == 0 {
            slot.runs = false;
        }
        !slot.runs
    }

    pub(super) fn set_position(&self, offset: i64) {
        self.position.store(offset, Ordering::SeqCst);
    }
}

/// All partitions met so far.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<TopicPartition, Arc<Partition>>,
    by_id: Vec<Arc<Partition>>,
}

impl Partitions {
    /// The partition with this name.
    pub(crate) fn get(&self, name: &TopicPartition) -> Arc<Partition> {
        if let Some(p) = self.known.read().by_name.get(name) {
            return p.clone();
        }
        let known = &mut *self.known.write();
        let id = PartitionId(u32::try_from(known.by_id.len()).unwrap_or(u32::MAX));
        known
            .by_name
            .entry(name.clone())
            .or_insert_with(|| {
                let partition = Arc::new(Partition {
                    id,
                    name: name.clone(),
                    appended: AtomicI64::new(0),
                    position: AtomicI64::new(-1),
                    known: OnceCell::new(),
                    tail: Mutex::default(),
                });
                known.by_id.push(partition.clone());
                partition
            })
            .clone()
    }

    /// The partition with this number.
    pub(crate) fn by_id(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.known.read().by_id.get(id.0 as usize).cloned()
    }

    /// Forgets the name of a deleted partition, so that a new one of that name starts afresh.
    pub(crate) fn forget(&self, name: &TopicPartition) -> Option<Arc<Partition>> {
        self.known.write().by_name.remove(name)
    }

    /// Names of all topics that partitions are known of.
    pub(crate) fn names(&self) -> Vec<TopicPartition> {
        self.known.read().by_name.keys().cloned().collect()
    }
}
