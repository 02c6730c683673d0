//! The newest offset of each key, in bounded memory.

use std::hash::{BuildHasher, RandomState};

/// Bytes of one place of the table.
const SLOT_BYTES: usize = 24;
const FREE: i64 = -1;

#[derive(Clone, Copy)]
struct Slot {
    digest: [u64; 2],
    offset: i64,
}

/// Digest of a key → newest offset. Keys are kept as 128 bits of keyed SipHash (the keys are random and never leave
/// the process), so that two keys are taken for one with a probability that need not be thought about.
pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    len: usize,
    limit: usize,
    hashers: [RandomState; 2],
    latest: i64,
}

impl OffsetMap {
    /// A map for about `expected` records in at most `bytes_max` bytes.
    pub fn new(bytes_max: usize, expected: u64) -> Self {
        let most = (bytes_max / SLOT_BYTES).max(2);
        let wanted = usize::try_from(expected.saturating_add(expected / 3).saturating_add(16));
        let places = wanted.unwrap_or(usize::MAX).min(most);
        Self {
            slots: vec![Slot { digest: [0; 2], offset: FREE }; places],
            len: 0,
            limit: (places * 9 / 10).max(1),
            hashers: [RandomState::new(), RandomState::new()],
            latest: FREE,
        }
    }

    fn digest(&self, key: &[u8]) -> [u64; 2] {
        let [first, second] = &self.hashers;
        [first.hash_one(key), second.hash_one(key)]
    }

    /// Index of the key's place, or of the free one where it belongs.
    fn place(&self, digest: [u64; 2]) -> usize {
        let count = self.slots.len();
        let mut at = usize::try_from(digest[0] % count as u64).unwrap_or(0);
        loop {
            match self.slots.get(at) {
                Some(slot) if slot.offset != FREE && slot.digest != digest => at = (at + 1) % count,
                _ => return at,
            }
        }
    }

    /// Notes a record; `false` when there is no room for another key.
    pub fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let digest = self.digest(key);
        let at = self.place(digest);
        let (len, limit) = (self.len, self.limit);
        let Some(slot) = self.slots.get_mut(at) else { return false };
        if slot.offset == FREE {
            if len >= limit {
                return false;
            }
            self.len += 1;
        }
        *slot = Slot { digest, offset };
        self.latest = self.latest.max(offset);
        true
    }

    /// Everything up to and including `offset` has been noted, as far as it has keys.
    pub fn passed(&mut self, offset: i64) {
        self.latest = self.latest.max(offset);
    }

    /// The newest offset of a key.
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots.get(self.place(self.digest(key)))?;
        (slot.offset != FREE).then_some(slot.offset)
    }

    /// Last offset that the map speaks for, -1 = none.
    pub fn latest(&self) -> i64 {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_offset_of_each_key_and_says_when_it_is_full() {
        let mut map = OffsetMap::new(24 * 100, 1_000_000);
        let mut taken = 0;
        while map.put(format!("key-{taken}").as_bytes(), taken) {
            taken += 1;
        }
        assert_eq!(taken, 90, "nine tenths of its places");
        assert!(map.put(b"key-3", 500), "a key it has needs no room");
        assert_eq!(map.get(b"key-3"), Some(500));
        assert_eq!(map.get(b"key-4"), Some(4));
        assert_eq!(map.get(b"other"), None);
        assert_eq!(map.latest(), 500);
    }

    #[test]
    fn takes_no_more_memory_than_the_records_need() {
        assert!(OffsetMap::new(128 << 20, 3).slots.len() < 32);
    }
}
