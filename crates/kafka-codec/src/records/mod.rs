//! Record batches, format v2 (magic 2): what producers send, logs store and consumers fetch.
//!
//! A batch is a 61-byte header ([`BatchHeader`]) and records, the latter compressed or not. Walking batches
//! ([`Batches`]), stamping them ([`set_base_offset`] …) and passing them on needs no look at the records;
//! [`validate_producer_batch`], [`records`] and [`DecodedBatch`] look inside, with a bound on what decompression
//! may produce. [`BatchBuilder`] writes batches.
//!
//! The message sets of Kafka before 0.11 (magic 0 and 1) are recognised and refused ([`RecordError::OldMagic`]).

mod batch;
mod builder;
mod compression;
mod control;
mod error;
mod lz4;
mod record;
mod validate;

pub use batch::{
    BATCH_HEADER_BYTES, BATCH_OVERHEAD_BYTES, Batch, BatchHeader, Batches, TimestampType, set_base_offset,
    set_leader_epoch, set_log_append_time, set_max_timestamp,
};
pub use builder::{BatchBuilder, RecordHeader, without_records};
pub use compression::{Compression, compress, decompress, recompress};
pub use control::{
    ControlRecordType, control_record_key, end_transaction_marker, parse_end_transaction_marker,
};
pub use error::RecordError;
pub use record::{DecodedBatch, Headers, Record, RecordIter, records};
pub use validate::{BatchFacts, BatchRules, validate_producer_batch};
