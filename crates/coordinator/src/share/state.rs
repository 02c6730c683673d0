//! What of share partitions is stored: one partition of `__share_group_state`.
//!
//! A snapshot record holds a share partition's whole state, the update records after it what changed since. The state
//! is what replaying them gives. As in Kafka the topic is not compacted (an update does not replace the one before it):
//! the runtime deletes what lies before every newest snapshot.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_codec::messages::{
    ShareSnapshotKey, ShareSnapshotValue, ShareUpdateKey, ShareUpdateValue, share_snapshot_value,
    share_update_value,
};
use kafka_codec::wire::Reader;
use kafka_codec::{EncodeError, ErrorCode, Message, Uuid};

use super::runs::Runs;
use super::{DeliveryState, ShareRefusal, StateBatch};
use crate::error::CoordinatorError;
use crate::output::Record;
use crate::records::{decode_key, decode_value, encode_key, encode_value};

/// Start offset of a share partition of which nothing is known yet.
pub const UNINITIALIZED: i64 = -1;

/// Record types: the first two bytes of a key.
const SNAPSHOT: i16 = 0;
const UPDATE: i16 = 1;

/// A share partition: one partition as one group works on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareKey {
    /// Group id.
    pub group: String,
    /// Topic id.
    pub topic: Uuid,
    /// Partition index.
    pub partition: i32,
}

impl ShareKey {
    /// As FindCoordinator names it; which partition of the state topic it lies in comes from this.
    pub fn coordinator_key(&self) -> String {
        format!("{}:{}:{}", self.group, self.topic, self.partition)
    }

    /// Reads a key of FindCoordinator.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, partition) = text.rsplit_once(':')?;
        let (group, topic) = rest.rsplit_once(':')?;
        let partition = partition.parse().ok().filter(|index: &i32| *index >= 0)?;
        if group.is_empty() {
            return None;
        }
        Some(Self { group: group.to_owned(), topic: topic.parse().ok()?, partition })
    }
}

/// The stored state of a share partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareState {
    /// Counts snapshots.
    pub snapshot_epoch: i32,
    /// Epoch of the initialization.
    pub state_epoch: i32,
    /// Leader epoch of the partition.
    pub leader_epoch: i32,
    /// The first offset that is not done with, or [`UNINITIALIZED`].
    pub start_offset: i64,
    /// Offsets past the start that are done with; -1 = not known.
    pub completed: i32,
    /// What is known of offsets from the start on.
    pub batches: Vec<StateBatch>,
    /// Update records since the snapshot.
    updates: i32,
    /// Where the newest snapshot lies; `None` while it is being appended.
    snapshot_offset: Option<i64>,
    written_ms: i64,
}

/// What an initialized share partition reads as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// Epoch of the initialization.
    pub state_epoch: i32,
    /// The first offset that is not done with, or [`UNINITIALIZED`].
    pub start_offset: i64,
    /// What is known of offsets from there on.
    pub batches: Vec<StateBatch>,
}

/// The short form of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSummary {
    /// Epoch of the initialization.
    pub state_epoch: i32,
    /// Leader epoch.
    pub leader_epoch: i32,
    /// The first offset that is not done with, or [`UNINITIALIZED`].
    pub start_offset: i64,
    /// Offsets past the start that are done with; -1 = not known.
    pub completed: i32,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateWrite {
    /// Epoch of the writer; -1 = does not say.
    pub state_epoch: i32,
    /// Leader epoch of the writer; -1 = does not say.
    pub leader_epoch: i32,
    /// Start; [`UNINITIALIZED`] = as before.
    pub start_offset: i64,
    /// Offsets past the start that are done with.
    pub completed: i32,
    /// What changed.
    pub batches: Vec<StateBatch>,
}

/// A change of one share partition's state: a record, and what is true when the log has it.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct StateChange {
    key: ShareKey,
    /// `None`: it is gone.
    state: Option<ShareState>,
    /// For `__share_group_state`.
    pub record: Record,
    is_snapshot: bool,
}

/// The share partitions of one partition of `__share_group_state`.
#[derive(Debug)]
pub struct ShareStateShard {
    updates_per_snapshot: i32,
    states: BTreeMap<ShareKey, ShareState>,
}

impl ShareStateShard {
    /// Nothing stored. Every `updates_per_snapshot` updates
    /// (`share.coordinator.snapshot.update.records.per.snapshot`) a snapshot is written.
    pub fn new(updates_per_snapshot: i32) -> Self {
        Self { updates_per_snapshot, states: BTreeMap::new() }
    }

    /// Takes in one record of the partition, in log order. Records of unknown types are passed over.
    ///
    /// # Errors
    /// [`CoordinatorError`] for a record that cannot be read; the state is as before then.
    pub fn replay(&mut self, offset: i64, key: &[u8], value: Option<&[u8]>) -> Result<(), CoordinatorError> {
        let malformed = |what| move |source| CoordinatorError::Malformed { what, source };
        let mut reader = Reader::new(key);
        match reader.i16().map_err(malformed("record key"))? {
            SNAPSHOT => {
                let key: ShareSnapshotKey =
                    decode_key(&mut reader).map_err(malformed(ShareSnapshotKey::NAME))?;
                let value: Option<ShareSnapshotValue> =
                    value.map(decode_value).transpose().map_err(malformed(ShareSnapshotValue::NAME))?;
                let key = ShareKey { group: key.group_id, topic: key.topic_id, partition: key.partition };
                match value {
                    None => self.states.remove(&key),
                    Some(value) => self.states.insert(key, loaded(value, offset)),
                };
            }
            UPDATE => {
                let key: ShareUpdateKey = decode_key(&mut reader).map_err(malformed(ShareUpdateKey::NAME))?;
                let value: Option<ShareUpdateValue> =
                    value.map(decode_value).transpose().map_err(malformed(ShareUpdateValue::NAME))?;
                let key = ShareKey { group: key.group_id, topic: key.topic_id, partition: key.partition };
                // Without its snapshot an update says nothing: its partition was deleted.
                if let (Some(state), Some(value)) = (self.states.get_mut(&key), value) {
                    state.updates += 1;
                    state.leader_epoch = state.leader_epoch.max(value.leader_epoch);
                    let batches: Vec<StateBatch> = value.state_batches.iter().map(updated).collect();
                    state.merge(value.start_offset, value.delivery_complete_count, &batches);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What is stored of a share partition.
    pub fn get(&self, key: &ShareKey) -> Option<&ShareState> {
        self.states.get(key)
    }

    /// Initializes a share partition, or sets it anew.
    ///
    /// # Errors
    /// FENCED_STATE_EPOCH for an epoch older than the known one; INVALID_REQUEST for what cannot be written.
    pub fn initialize(
        &self,
        key: &ShareKey,
        state_epoch: i32,
        start_offset: i64,
        now_ms: i64,
    ) -> Result<StateChange, ShareRefusal> {
        let known = self.states.get(key);
        if known.is_some_and(|known| state_epoch != -1 && known.state_epoch > state_epoch) {
            return Err(ErrorCode::FencedStateEpoch.into());
        }
        let state = ShareState {
            snapshot_epoch: known.map_or(0, |known| known.snapshot_epoch.wrapping_add(1)),
            state_epoch,
            leader_epoch: known.map_or(0, |known| known.leader_epoch),
            start_offset,
            completed: if start_offset == UNINITIALIZED { -1 } else { 0 },
            batches: Vec::new(),
            updates: 0,
            snapshot_offset: None,
            written_ms: now_ms,
        };
        snapshot(key, state)
    }

    /// Writes what changed of an initialized share partition.
    ///
    /// # Errors
    /// INVALID_REQUEST, FENCED_LEADER_EPOCH or FENCED_STATE_EPOCH.
    pub fn write(
        &self,
        key: &ShareKey,
        write: &StateWrite,
        now_ms: i64,
    ) -> Result<StateChange, ShareRefusal> {
        let known = self.states.get(key).ok_or_else(|| {
            ShareRefusal::new(
                ErrorCode::InvalidRequest,
                "Write operation on uninitialized share partition not allowed.",
            )
        })?;
        if write.leader_epoch != -1 && known.leader_epoch > write.leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch.into());
        }
        if write.state_epoch != -1 && known.state_epoch > write.state_epoch {
            return Err(ErrorCode::FencedStateEpoch.into());
        }
        let mut state = known.clone();
        state.leader_epoch = state.leader_epoch.max(write.leader_epoch);
        state.merge(write.start_offset, write.completed, &write.batches);
        if known.updates >= self.updates_per_snapshot {
            state.snapshot_epoch = known.snapshot_epoch.wrapping_add(1);
            state.updates = 0;
            state.snapshot_offset = None;
            state.written_ms = now_ms;
            return snapshot(key, state);
        }
        state.updates += 1;
        let value = ShareUpdateValue {
            snapshot_epoch: state.snapshot_epoch,
            leader_epoch: state.leader_epoch,
            start_offset: write.start_offset,
            delivery_complete_count: write.completed,
            state_batches: write
                .batches
                .iter()
                .map(|batch| share_update_value::StateBatch {
                    first_offset: batch.first,
                    last_offset: batch.last,
                    delivery_state: batch.state.wire(),
                    delivery_count: batch.deliveries,
                    ..share_update_value::StateBatch::default()
                })
                .collect(),
            ..ShareUpdateValue::default()
        };
        let wire_key =
            ShareUpdateKey { group_id: key.group.clone(), topic_id: key.topic, partition: key.partition };
        let record = (|| -> Result<Record, EncodeError> {
            Ok(Record { key: encode_key(UPDATE, &wire_key)?, value: Some(encode_value(0, &value)?) })
        })();
        let record = record.map_err(|_| ShareRefusal::from(ErrorCode::InvalidRequest))?;
        Ok(StateChange { key: key.clone(), state: Some(state), record, is_snapshot: false })
    }

    /// Reads an initialized share partition. A reader that tells a newer leader epoch than the known one changes it.
    ///
    /// # Errors
    /// INVALID_REQUEST or FENCED_LEADER_EPOCH.
    pub fn read(
        &self,
        key: &ShareKey,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<(ReadState, Option<StateChange>), ShareRefusal> {
        let known = self.states.get(key).ok_or_else(|| {
            ShareRefusal::new(
                ErrorCode::InvalidRequest,
                "Read operation on uninitialized share partition not allowed.",
            )
        })?;
        if leader_epoch != -1 && known.leader_epoch > leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch.into());
        }
        let read = ReadState {
            state_epoch: known.state_epoch,
            start_offset: known.start_offset,
            batches: known.batches.clone(),
        };
        if leader_epoch == -1 || leader_epoch == known.leader_epoch {
            return Ok((read, None));
        }
        let write = StateWrite {
            state_epoch: known.state_epoch,
            leader_epoch,
            start_offset: known.start_offset,
            completed: known.completed,
            batches: Vec::new(),
        };
        let change = self.write(key, &write, now_ms)?;
        Ok((read, Some(change)))
    }

    /// The short form of a state; `None` = nothing is stored.
    pub fn summary(&self, key: &ShareKey) -> Option<StateSummary> {
        self.states.get(key).map(|state| StateSummary {
            state_epoch: state.state_epoch,
            leader_epoch: state.leader_epoch,
            start_offset: state.start_offset,
            completed: state.completed,
        })
    }

    /// Forgets a share partition; `None` when there is nothing to forget.
    pub fn delete(&self, key: &ShareKey) -> Option<StateChange> {
        self.states.contains_key(key).then(|| tombstone(key)).flatten()
    }

    /// What to forget of topics that were deleted.
    pub fn of_topics(&self, is_gone: impl Fn(Uuid) -> bool) -> Vec<StateChange> {
        self.states.keys().filter(|key| is_gone(key.topic)).filter_map(tombstone).collect()
    }

    /// New snapshots of partitions whose last one is older than `age_ms`, so that the log before them can go.
    pub fn cold(&self, age_ms: i64, now_ms: i64, at_most: usize) -> Vec<StateChange> {
        self.states
            .iter()
            .filter(|(_, state)| now_ms.saturating_sub(state.written_ms) >= age_ms)
            .filter(|(_, state)| state.snapshot_offset.is_some())
            .take(at_most)
            .filter_map(|(key, state)| {
                let fresh = ShareState {
                    snapshot_epoch: state.snapshot_epoch.wrapping_add(1),
                    updates: 0,
                    snapshot_offset: None,
                    written_ms: now_ms,
                    ..state.clone()
                };
                snapshot(key, fresh).ok()
            })
            .collect()
    }

    /// Whether there is any state that takes more than its snapshot.
    pub fn has_updates(&self) -> bool {
        self.states.values().any(|state| state.updates > 0)
    }

    /// Where the log may begin: nothing before is needed. `end` is the log's end.
    pub fn needed_from(&self, end: i64) -> i64 {
        self.states.values().map(|state| state.snapshot_offset.unwrap_or(0)).min().unwrap_or(end)
    }

    /// The log has the change's record at `offset`.
    pub fn apply(&mut self, change: StateChange, offset: i64) {
        match change.state {
            None => {
                self.states.remove(&change.key);
            }
            Some(mut state) => {
                if change.is_snapshot {
                    state.snapshot_offset = Some(offset);
                }
                self.states.insert(change.key, state);
            }
        }
    }
}

impl ShareState {
    fn merge(&mut self, start_offset: i64, completed: i32, batches: &[StateBatch]) {
        if start_offset != UNINITIALIZED {
            self.start_offset = start_offset;
        }
        self.completed = completed;
        self.batches = combine(&self.batches, batches, self.start_offset);
    }
}

/// Lays `fresh` over what is known, from `start` on.
fn combine(known: &[StateBatch], fresh: &[StateBatch], start: i64) -> Vec<StateBatch> {
    let mut runs: Runs<(DeliveryState, i16)> = Runs::default();
    for batch in known.iter().chain(fresh).filter(|batch| batch.last >= start) {
        runs.set(batch.first.max(start), batch.last, (batch.state, batch.deliveries));
    }
    runs.iter()
        .map(|(first, last, (state, deliveries))| StateBatch {
            first,
            last,
            state: *state,
            deliveries: *deliveries,
        })
        .collect()
}

fn loaded(value: ShareSnapshotValue, offset: i64) -> ShareState {
    let batches: Vec<StateBatch> = value
        .state_batches
        .iter()
        .map(|batch| StateBatch {
            first: batch.first_offset,
            last: batch.last_offset,
            state: DeliveryState::from_wire(batch.delivery_state),
            deliveries: batch.delivery_count,
        })
        .collect();
    ShareState {
        snapshot_epoch: value.snapshot_epoch,
        state_epoch: value.state_epoch,
        leader_epoch: value.leader_epoch,
        start_offset: value.start_offset,
        completed: value.delivery_complete_count,
        batches: combine(&[], &batches, value.start_offset),
        updates: 0,
        snapshot_offset: Some(offset),
        written_ms: value.write_timestamp,
    }
}

fn updated(batch: &share_update_value::StateBatch) -> StateBatch {
    StateBatch {
        first: batch.first_offset,
        last: batch.last_offset,
        state: DeliveryState::from_wire(batch.delivery_state),
        deliveries: batch.delivery_count,
    }
}

fn snapshot_key(key: &ShareKey) -> Result<Bytes, EncodeError> {
    let wire =
        ShareSnapshotKey { group_id: key.group.clone(), topic_id: key.topic, partition: key.partition };
    encode_key(SNAPSHOT, &wire)
}

fn snapshot(key: &ShareKey, state: ShareState) -> Result<StateChange, ShareRefusal> {
    let value = ShareSnapshotValue {
        snapshot_epoch: state.snapshot_epoch,
        state_epoch: state.state_epoch,
        leader_epoch: state.leader_epoch,
        start_offset: state.start_offset,
        delivery_complete_count: state.completed,
        create_timestamp: state.written_ms,
        write_timestamp: state.written_ms,
        state_batches: state
            .batches
            .iter()
            .map(|batch| share_snapshot_value::StateBatch {
                first_offset: batch.first,
                last_offset: batch.last,
                delivery_state: batch.state.wire(),
                delivery_count: batch.deliveries,
                ..share_snapshot_value::StateBatch::default()
            })
            .collect(),
        ..ShareSnapshotValue::default()
    };
    let record = (|| -> Result<Record, EncodeError> {
        Ok(Record { key: snapshot_key(key)?, value: Some(encode_value(0, &value)?) })
    })();
    let record = record.map_err(|_| ShareRefusal::from(ErrorCode::InvalidRequest))?;
    Ok(StateChange { key: key.clone(), state: Some(state), record, is_snapshot: true })
}

fn tombstone(key: &ShareKey) -> Option<StateChange> {
    // A key that was written once can be written again.
    let record = Record { key: snapshot_key(key).ok()?, value: None };
    Some(StateChange { key: key.clone(), state: None, record, is_snapshot: false })
}
