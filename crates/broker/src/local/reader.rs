//! Records out of the log for code in this process.

use std::sync::Arc;

use client::door::{Chunk, DoorError, Header, StartAt, StoredRecord, Tail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kafka_codec::records::{Batches, DecodedBatch, RecordError};
use log::{AbortedTxn, Log, LogError, ReadLimit, ReadRequest};

use super::errors::{of_log, of_records};
use crate::node::Node;
use crate::replica::Partition;
use crate::replica::waiters::WakeSlot;

/// Most bytes that one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
/// About how much a tail hands out at a time.
const TAIL_BYTES: usize = 256 << 10;

/// Reads records from `offset` on.
pub(crate) fn read(log: &Log, offset: i64, max_bytes: usize) -> Result<Chunk, LogOrRecordError> {
    let request = ReadRequest { offset, max_bytes, at_least_one: true, limit: ReadLimit::LastStable };
    let (slice, bytes) = log.read_bytes(&request)?;
    let mut chunk = Chunk {
        records: Vec::new(),
        next_offset: offset,
        log_start_offset: slice.log_start_offset,
        end_offset: slice.end_offset,
    };
    if bytes.is_empty() {
        return Ok(chunk);
    }
    let aborted = log.aborted_txns(offset, slice.end_offset)?;
    for batch in Batches::new(&bytes) {
        let batch = batch?;
        let header = batch.header;
        chunk.next_offset = chunk.next_offset.max(header.next_offset());
        let hidden = header.is_control()
            || (header.is_transactional()
                && aborted.iter().any(|txn| covers(txn, header.producer_id, header.base_offset)));
        if hidden {
            continue;
        }
        let decoded = DecodedBatch::decode(&bytes.slice_ref(batch.bytes), DECOMPRESSED_BYTES_MAX)?;
        for record in decoded.records() {
            let record = record?;
            if record.offset < offset {
                continue;
            }
            let share = |part: Option<&[u8]>| part.map(|part| decoded.share(part));
            chunk.records.push(StoredRecord {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: share(record.key),
                value: share(record.value),
                headers: record
                    .headers
                    .map(|(name, value)| Header { key: decoded.share(name), value: share(value) })
                    .collect(),
            });
        }
    }
    Ok(chunk)
}

fn covers(txn: &AbortedTxn, producer_id: i64, offset: i64) -> bool {
    txn.producer_id == producer_id && (txn.first_offset..=txn.last_offset).contains(&offset)
}

/// What can go wrong in a read.
#[derive(Debug)]
pub(crate) enum LogOrRecordError {
    Log(LogError),
    Record(RecordError),
}

impl From<LogError> for LogOrRecordError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<RecordError> for LogOrRecordError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl LogOrRecordError {
    pub(crate) fn into_door(self) -> DoorError {
        match self {
            Self::Log(error) => of_log(&error),
            Self::Record(error) => of_records(&error),
        }
    }
}

/// Resolves a start position.
pub(crate) async fn offset_at(partition: &Partition, at: StartAt) -> Result<i64, DoorError> {
    let log = partition.log().map_err(|error| of_log(&error))?;
    match at {
        StartAt::Earliest => Ok(log.log_start()),
        StartAt::Latest => Ok(log.high_watermark()),
        StartAt::Offset(offset) => Ok(offset),
        StartAt::Timestamp(timestamp_ms) => {
            let end = log.high_watermark();
            let log = Arc::clone(log);
            // Looks into segment files: off the runtime's own threads.
            let found = tokio::task::spawn_blocking(move || {
                log.offset_for_timestamp(timestamp_ms, ReadLimit::LastStable)
            })
            .await
            .map_err(|error| DoorError::Storage(error.to_string()))?
            .map_err(|error| of_log(&error))?;
            Ok(found.map_or(end, |found| found.offset))
        }
    }
}

enum Position {
    At(StartAt),
    Offset(i64),
}

/// Follows one partition.
pub(crate) struct LocalTail {
    node: Arc<Node>,
    topic: Arc<str>,
    index: i32,
    partition: Option<Arc<Partition>>,
    position: Position,
    slot: Arc<WakeSlot>,
    /// The slot is on the partition's waiting list (a caller may drop a wait half-way).
    registered: bool,
}

impl LocalTail {
    pub(crate) fn new(node: Arc<Node>, topic: Arc<str>, index: i32, at: StartAt) -> Self {
        let partition = node.replicas.partition(&topic, index);
        // "Latest" means at the moment of the call, not of the first read.
        let position = match (&partition, at) {
            (Some(partition), StartAt::Latest) => match partition.log() {
                Ok(log) => Position::Offset(log.high_watermark()),
                Err(_) => Position::At(at),
            },
            (_, StartAt::Offset(offset)) => Position::Offset(offset),
            _ => Position::At(at),
        };
        Self { node, topic, index, partition, position, slot: Arc::default(), registered: false }
    }

    fn partition(&mut self) -> Result<Arc<Partition>, DoorError> {
        let unknown = || DoorError::UnknownTopic(format!("{}-{}", self.topic, self.index));
        if let Some(partition) = &self.partition {
            return Ok(Arc::clone(partition));
        }
        let partition = self.node.replicas.partition(&self.topic, self.index).ok_or_else(unknown)?;
        self.partition = Some(Arc::clone(&partition));
        Ok(partition)
    }

    async fn follow(&mut self) -> Result<Chunk, DoorError> {
        let partition = self.partition()?;
        let mut offset = match self.position {
            Position::Offset(offset) => offset,
            Position::At(at) => offset_at(&partition, at).await?,
        };
        let log = partition.log().map_err(|error| of_log(&error))?;
        loop {
            self.position = Position::Offset(offset);
            let waits = offset >= log.last_stable_offset();
            if waits {
                if !self.registered {
                    partition.waiters.wait_change(Arc::clone(&self.slot));
                    self.registered = true;
                }
                if offset < log.last_stable_offset() {
                    continue;
                }
                // Deleted or failed: everything there is was read, and nothing more will come.
                if let Some(failure) = partition.failure() {
                    return Err(of_log(&failure));
                }
                self.slot.woken().await;
                self.registered = false;
                continue;
            }
            match read(log, offset, TAIL_BYTES) {
                Ok(chunk) => {
                    offset = chunk.next_offset;
                    if !chunk.records.is_empty() {
                        self.position = Position::Offset(offset);
                        return Ok(chunk);
                    }
                }
                Err(LogOrRecordError::Log(LogError::OffsetOutOfRange { start, .. })) if offset < start => {
                    offset = start;
                }
                Err(error) => return Err(error.into_door()),
            }
        }
    }
}

impl Drop for LocalTail {
    fn drop(&mut self) {
        if let Some(partition) = &self.partition {
            partition.waiters.forget(&self.slot);
        }
    }
}

impl Tail for LocalTail {
    fn next(&mut self) -> BoxFuture<'_, Result<Chunk, DoorError>> {
        self.follow().boxed()
    }
}
