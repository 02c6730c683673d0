//! One partition on disk, and one journal per data directory.
#![forbid(unsafe_code)]

mod append;
mod batch;
mod checkpoint;
mod cleaner;
mod clock;
mod committer;
mod config;
mod dir;
mod epochs;
mod error;
mod index;
mod journal;
mod log;
mod producer;
mod read;
mod records;
mod recovery;
mod retention;
mod segment;
mod shared;
mod storage;
pub mod testing;
mod txn_index;
mod types;

pub use clock::{Clock, SystemClock};
pub use config::{CleanupPolicy, LogConfig, LogDirConfig, Thousandths, Threads, TimestampType};
pub use dir::{LogDir, LogEvents, NewLog, RecoveredLog, RecoveryReport, RefusedLog};
pub use error::LogError;
pub use log::Log;
pub use storage::{DirEntry, OpenMode, RealStorage, Storage, StorageFile, StorageLock};
pub use types::{
    AbortedTxn, ActiveProducer, AppendBatches, Appended, EpochEnd, Origin, ReadLimit, ReadRequest, ReadSlice,
    TimestampOffset, TopicId, TopicPartition,
};
