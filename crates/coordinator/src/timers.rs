//! Deadlines, in order; at most one for each key.

use std::collections::{BTreeMap, HashMap};

/// What happens when a deadline passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TimerKey {
    /// A member (or a member to be) was not heard of for its session timeout.
    Session { group: String, member: String },
    /// The join phase of a rebalance ends.
    Join { group: String },
    /// Members that joined but never sent SyncGroup are dropped.
    Sync { group: String },
    /// A member that was told to give partitions up has not confirmed it.
    Revoke { group: String, member: String },
    /// A classic member of a consumer group that was told to rejoin has not come.
    Rejoin { group: String, member: String },
    /// A classic member of a consumer group that joined has not sent SyncGroup.
    SyncMember { group: String, member: String },
    /// The pause between two target assignments is over.
    Assign { group: String },
    /// Look for offsets and groups that nobody used for the retention time.
    Retention,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeMap<(i64, u64), TimerKey>,
    by_key: HashMap<TimerKey, (i64, u64)>,
    sequence: u64,
}

impl Timers {
    /// Sets or moves the deadline of `key`.
    pub fn arm(&mut self, key: TimerKey, at_mono_ms: i64) {
        self.cancel(&key);
        self.sequence += 1;
        let slot = (at_mono_ms, self.sequence);
        self.by_time.insert(slot, key.clone());
        self.by_key.insert(key, slot);
    }

    pub fn cancel(&mut self, key: &TimerKey) {
        if let Some(slot) = self.by_key.remove(key) {
            self.by_time.remove(&slot);
        }
    }

    pub fn is_armed(&self, key: &TimerKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub fn next_deadline(&self) -> Option<i64> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the earliest deadline that is not after `now`.
    pub fn pop_due(&mut self, now_mono_ms: i64) -> Option<TimerKey> {
        let entry = self.by_time.first_entry()?;
        if entry.key().0 > now_mono_ms {
            return None;
        }
        let key = entry.remove();
        self.by_key.remove(&key);
        Some(key)
    }

    #[cfg(test)]
    pub fn for_each(&self, see: impl FnMut(&TimerKey)) {
        self.by_key.keys().for_each(see);
    }
}
