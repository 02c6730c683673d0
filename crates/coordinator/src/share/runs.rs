//! Offsets in runs of one value each.

use std::collections::BTreeMap;

/// A map from offsets to values, as runs: first offset → last offset and value. Neighbours differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Runs<V> {
    by_first: BTreeMap<i64, (i64, V)>,
}

impl<V> Default for Runs<V> {
    fn default() -> Self {
        Self { by_first: BTreeMap::new() }
    }
}

impl<V: Clone + PartialEq> Runs<V> {
    /// First offset, last offset and value of each run.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64, &V)> {
        self.by_first.iter().map(|(first, (last, value))| (*first, *last, value))
    }

    /// The runs that touch `first..=last`, cut to it.
    pub fn within(&self, first: i64, last: i64) -> impl Iterator<Item = (i64, i64, &V)> {
        let begin = self.by_first.range(..=first).next_back().map_or(first, |(begin, _)| *begin);
        let range = if begin <= last { Some(self.by_first.range(begin..=last)) } else { None };
        range
            .into_iter()
            .flatten()
            .filter(move |(_, (end, _))| *end >= first)
            .map(move |(begin, (end, value))| ((*begin).max(first), (*end).min(last), value))
    }

    /// Cuts a run in two so that one begins at `at`.
    fn split(&mut self, at: i64) {
        let Some((_, (last, value))) = self.by_first.range_mut(..at).next_back() else { return };
        if *last < at {
            return;
        }
        let tail = (*last, value.clone());
        *last = at - 1;
        self.by_first.insert(at, tail);
    }

    /// Sets a range, whatever was there.
    pub fn set(&mut self, first: i64, last: i64, value: V) {
        if first > last {
            return;
        }
        self.remove(first, last);
        let (mut begin, mut end) = (first, last);
        if let Some((before, (before_last, other))) = self.by_first.range(..first).next_back()
            && *before_last + 1 == first
            && *other == value
        {
            begin = *before;
        }
        if let Some(after) = last.checked_add(1)
            && let Some((after_last, other)) = self.by_first.get(&after)
            && *other == value
        {
            end = *after_last;
            self.by_first.remove(&after);
        }
        self.by_first.insert(begin, (end, value));
    }

    /// Takes a range out.
    pub fn remove(&mut self, first: i64, last: i64) {
        if first > last {
            return;
        }
        self.split(first);
        if let Some(after) = last.checked_add(1) {
            self.split(after);
        }
        // Mostly one run, or none.
        while let Some(begin) = self.by_first.range(first..=last).next().map(|(begin, _)| *begin) {
            self.by_first.remove(&begin);
        }
    }

    /// The first run.
    pub fn first(&self) -> Option<(i64, i64, &V)> {
        self.by_first.first_key_value().map(|(first, (last, value))| (*first, *last, value))
    }
}
