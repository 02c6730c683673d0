use crate::{DecodeError, ErrorCode};

/// Why bytes are not a record batch one may accept, or why one cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Fewer bytes than the header or the length in it asks for. More bytes may come.
    #[error("record batch of {needed} bytes, only {available} there")]
    Truncated {
        /// Bytes that the batch (or its header) takes.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// Bytes after the batch where exactly one batch was expected.
    #[error("{0} bytes after the record batch")]
    Trailing(usize),
    /// A length field smaller than the header.
    #[error("record batch length {0} is impossible")]
    BatchLength(i32),
    /// The batch is larger than allowed.
    #[error("record batch of {size} bytes is larger than the allowed {max}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// A message set of magic 0 or 1, from before Kafka 0.11.
    #[error("message format {0} of Kafka before 0.11 is not supported")]
    OldMagic(i8),
    /// A format nobody knows.
    #[error("unknown record batch format {0}")]
    UnknownMagic(i8),
    /// The checksum is wrong.
    #[error("record batch checksum {computed:#010x} differs from the stored {stored:#010x}")]
    Crc {
        /// CRC-32C in the header.
        stored: u32,
        /// CRC-32C of the bytes.
        computed: u32,
    },
    /// Attribute bits that a producer may not set.
    #[error("attributes {attributes:#06x} are not allowed: {why}")]
    Attributes {
        /// The attributes.
        attributes: i16,
        /// What is wrong with them.
        why: &'static str,
    },
    /// A codec number that Kafka does not have.
    #[error("unknown compression codec {0}")]
    UnknownCompression(u8),
    /// Compressed bytes that their codec refuses.
    #[error("corrupt {codec} data: {why}")]
    Decompression {
        /// Name of the codec.
        codec: &'static str,
        /// What the codec said.
        why: String,
    },
    /// The records take more than the allowed bytes once decompressed.
    #[error("records decompress to more than {max} bytes")]
    DecompressedTooLarge {
        /// The limit.
        max: usize,
    },
    /// Record count and last offset delta in the header do not fit together or to the records.
    #[error("record count {count} and last offset delta {last_offset_delta} do not fit the records")]
    Count {
        /// Record count in the header.
        count: i32,
        /// Last offset delta in the header.
        last_offset_delta: i32,
    },
    /// A record whose offset delta is not its index.
    #[error("record {index} has offset delta {delta}")]
    OffsetDelta {
        /// Index in the batch.
        index: i32,
        /// Its offset delta.
        delta: i32,
    },
    /// A record that cannot be read.
    #[error("record {index} is malformed")]
    Record {
        /// Index in the batch.
        index: i32,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A record without key where every record needs one (compacted topics).
    #[error("record {index} has no key")]
    KeyMissing {
        /// Index in the batch.
        index: i32,
    },
    /// Producer id, epoch and sequence that do not fit together.
    #[error("producer id {producer_id}, epoch {producer_epoch}, sequence {base_sequence}: {why}")]
    Producer {
        /// Producer id in the header.
        producer_id: i64,
        /// Producer epoch in the header.
        producer_epoch: i16,
        /// Base sequence in the header.
        base_sequence: i32,
        /// What is wrong.
        why: &'static str,
    },
    /// More or larger records than the format can say.
    #[error("too much for one record batch: {0}")]
    Unrepresentable(&'static str),
}

impl RecordError {
    /// The code with which Kafka answers such a batch.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::OldMagic(_) => ErrorCode::UnsupportedForMessageFormat,
            Self::TooLarge { .. } | Self::DecompressedTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Attributes { .. }
            | Self::Count { .. }
            | Self::OffsetDelta { .. }
            | Self::Record { .. }
            | Self::KeyMissing { .. }
            | Self::Producer { .. } => ErrorCode::InvalidRecord,
            Self::UnknownCompression(_) => ErrorCode::UnsupportedCompressionType,
            _ => ErrorCode::CorruptMessage,
        }
    }
}
