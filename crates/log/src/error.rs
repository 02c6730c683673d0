//! What can go wrong in a log, split by what the caller does about it.

use std::io;
use std::sync::Arc;

use crate::TopicPartition;

/// Why an operation on a log or log directory did not happen.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another process uses the directory.
    #[error("{path} is used by another process (its .lock is held)")]
    Locked {
        /// The log directory.
        path: String,
    },
    /// There is no such log.
    #[error("no log for {0}")]
    UnknownLog(TopicPartition),
    /// There is such a log already, with another topic id.
    #[error("{0} exists already")]
    Exists(TopicPartition),
    /// The log was deleted or its directory closed while the caller still held it.
    #[error("{0} is closed")]
    Closed(TopicPartition),
    /// The bytes are not whole, valid v2 record batches, or must not come from this origin.
    #[error("invalid record batch for {partition}: {reason}")]
    InvalidBatch {
        /// Log appended to.
        partition: TopicPartition,
        /// What is wrong with it.
        reason: String,
    },
    /// A batch, or a record in it, that Kafka's format does not allow; the source names the wire's error code.
    #[error("invalid record batch for {partition}: {source}")]
    Batch {
        /// Log appended to.
        partition: TopicPartition,
        /// What is wrong with it.
        source: kafka_codec::records::RecordError,
    },
    /// A batch is larger than `max.message.bytes`, or the whole append than a segment.
    #[error("{size} bytes are more than the {max} allowed for {partition}")]
    TooLarge {
        /// Log appended to.
        partition: TopicPartition,
        /// Bytes handed in.
        size: usize,
        /// Most that is allowed.
        max: usize,
    },
    /// The producer's sequence number does not follow its last one.
    #[error(
        "out of order sequence for producer {producer_id} in {partition}: got {got}, expected {expected}"
    )]
    OutOfOrderSequence {
        /// Log appended to.
        partition: TopicPartition,
        /// Producer id.
        producer_id: i64,
        /// First sequence of the refused batch.
        got: i32,
        /// The sequence that would have been right.
        expected: i32,
    },
    /// The producer's epoch is older than the newest known.
    #[error("producer {producer_id} of {partition} is fenced: epoch {got}, newest {current}")]
    InvalidProducerEpoch {
        /// Log appended to.
        partition: TopicPartition,
        /// Producer id.
        producer_id: i64,
        /// Epoch in the batch.
        got: i16,
        /// Newest epoch in the log.
        current: i16,
    },
    /// A batch outside of the transaction that its producer has open in this log.
    #[error("producer {producer_id} has a transaction open in {partition}; a batch outside of it is refused")]
    InvalidTxnState {
        /// Log appended to.
        partition: TopicPartition,
        /// Producer id.
        producer_id: i64,
    },
    /// A marker from a transaction coordinator that was replaced.
    #[error(
        "transaction coordinator of producer {producer_id} in {partition} is fenced: epoch {got}, newest {current}"
    )]
    CoordinatorFenced {
        /// Log appended to.
        partition: TopicPartition,
        /// Producer id.
        producer_id: i64,
        /// Coordinator epoch in the marker.
        got: i32,
        /// Newest coordinator epoch in the log.
        current: i32,
    },
    /// A replica's batch does not continue this log.
    #[error("batch at offset {got} does not continue {partition} at {expected}")]
    OffsetsNotContinuous {
        /// Log appended to.
        partition: TopicPartition,
        /// Base offset of the batch.
        got: i64,
        /// End of the log.
        expected: i64,
    },
    /// The offset is not in the log.
    #[error("offset {offset} is outside {start}..{end} of {partition}")]
    OffsetOutOfRange {
        /// Log read from.
        partition: TopicPartition,
        /// Offset asked for.
        offset: i64,
        /// First offset stored.
        start: i64,
        /// End of what this reader may see.
        end: i64,
    },
    /// No room on the device. Nothing was changed; the same append may succeed later.
    #[error("no space left for {partition}: {source}")]
    NoSpace {
        /// Log appended to.
        partition: TopicPartition,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The log takes no more appends until the process starts anew: a sync or write failed, so what is on the
    /// device is not known.
    #[error("{partition} is offline: {cause}")]
    Offline {
        /// The log.
        partition: TopicPartition,
        /// What failed.
        cause: Arc<str>,
    },
    /// Acknowledged bytes are damaged; the log was not opened, and nothing in it was changed.
    #[error("{partition} is corrupt: {file} at byte {position}: {reason}")]
    Corrupt {
        /// The log.
        partition: TopicPartition,
        /// File name.
        file: String,
        /// Byte position in the file.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// An argument out of range, a name Kafka forbids.
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// The system refused.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, to which file.
        context: String,
        /// The system's error.
        source: Arc<io::Error>,
    },
}

impl LogError {
    /// Wraps a system error with what was being done.
    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source: Arc::new(source) }
    }
}
