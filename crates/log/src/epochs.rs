//! Which leader epoch starts where (KIP-101).

use crate::EpochEnd;

/// Epochs with their start offsets, both rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochs {
    entries: Vec<(i32, i64)>,
    /// Changed since it was last written to its file.
    pub dirty: bool,
}

impl LeaderEpochs {
    /// From a file; drops what is not rising.
    pub fn new(entries: Vec<(i32, i64)>) -> Self {
        let mut epochs = Self::default();
        for (epoch, start) in entries {
            epochs.assign(epoch, start);
        }
        epochs.dirty = false;
        epochs
    }

    pub fn entries(&self) -> &[(i32, i64)] {
        &self.entries
    }

    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|e| e.0)
    }

    /// Notes that `epoch` writes from `start` on; nothing new if it is the latest already.
    pub fn assign(&mut self, epoch: i32, start: i64) {
        if epoch < 0 || self.latest().is_some_and(|latest| latest >= epoch) {
            return;
        }
        // An epoch that wrote nothing gives its place to the next one.
        while self.entries.last().is_some_and(|e| e.1 >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
        self.dirty = true;
    }

    /// Forgets epochs that start at `end` or later.
    pub fn truncate_end(&mut self, end: i64) {
        let before = self.entries.len();
        self.entries.retain(|e| e.1 < end);
        self.dirty |= before != self.entries.len();
    }

    /// Forgets epochs that ended before `start`; the one in force there now starts there.
    pub fn truncate_start(&mut self, start: i64) {
        let in_force = self.entries.iter().rposition(|e| e.1 <= start);
        if let Some(i) = in_force {
            if i > 0 {
                self.entries.drain(..i);
                self.dirty = true;
            }
            if let Some(first) = self.entries.first_mut().filter(|e| e.1 < start) {
                first.1 = start;
                self.dirty = true;
            }
        }
    }

    /// Epoch in force at `offset`.
    pub fn at(&self, offset: i64) -> Option<i32> {
        self.entries.iter().rev().find(|e| e.1 <= offset).map(|e| e.0)
    }

    /// Largest epoch not above `epoch`, and where it ended, `log_end` being the end of the newest.
    pub fn end_of(&self, epoch: i32, log_end: i64) -> Option<EpochEnd> {
        let latest = self.latest()?;
        if epoch == latest {
            return Some(EpochEnd { epoch, end_offset: log_end });
        }
        if epoch > latest {
            // Asked for an epoch this log has not seen: nothing can be said.
            return None;
        }
        let next = self.entries.iter().position(|e| e.0 > epoch)?;
        let end_offset = self.entries.get(next)?.1;
        match next.checked_sub(1).and_then(|i| self.entries.get(i)) {
            Some(&(found, _)) => Some(EpochEnd { epoch: found, end_offset }),
            // Before the first known epoch: the request's own epoch ends where the first one starts.
            None => Some(EpochEnd { epoch, end_offset }),
        }
    }
}
