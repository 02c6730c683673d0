//! Which records of a consumer group are through, and which offsets may be committed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use client::consumer::RebalanceListener;
use client::{Consumer, OffsetAndMetadata, TopicPartition};
use futures_util::future::BoxFuture;

/// Which records are through.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Records under way of each partition in order, and whether they are through.
    partitions: BTreeMap<TopicPartition, VecDeque<(i64, bool)>>,
    tags: HashMap<u64, (TopicPartition, i64)>,
    last_tag: u64,
    /// What may be committed and is not yet.
    ready: BTreeMap<TopicPartition, i64>,
}

impl Ledger {
    pub(super) fn take(&mut self, partition: TopicPartition, offset: i64) -> u64 {
        self.last_tag += 1;
        self.partitions.entry(partition.clone()).or_default().push_back((offset, false));
        self.tags.insert(self.last_tag, (partition, offset));
        self.last_tag
    }

    pub(super) fn done(&mut self, tag: u64) {
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

    pub(super) fn under_way(&self) -> usize {
        self.partitions.values().map(VecDeque::len).sum()
    }

    /// Offsets to commit, of these partitions or of all.
    pub(super) fn commits(
        &mut self,
        of: Option<&[TopicPartition]>,
    ) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
        let ready = std::mem::take(&mut self.ready);
        let (now, later) = ready.into_iter().partition(|(p, _)| of.is_none_or(|of| of.contains(p)));
        self.ready = later;
        let now: BTreeMap<TopicPartition, i64> = now;
        now.into_iter().map(|(p, offset)| (p, OffsetAndMetadata::new(offset))).collect()
    }

    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.partitions.remove(partition);
            self.ready.remove(partition);
        }
        self.tags.retain(|_, (partition, _)| !partitions.contains(partition));
    }
}

/// Shared with the listener; never held while waiting.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Ledger) -> T) -> T {
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
