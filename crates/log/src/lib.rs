//! One partition on disk, and one journal for all partitions of a data directory.
//!
//! **Duty.** Takes record batches as producers sent them, gives them offsets, makes them durable with few syncs
//! (ADR 1: `docs/adr/0001-one-journal-for-all-partitions.md`), hands out ranges of files to readers, deletes what
//! retention allows, and after a crash brings back what was acknowledged. Files are Kafka's own (`docs/formats.md`).
//!
//! **Main types.** [`LogDir`] (a data directory: opening, creation, deletion, atomic appends, maintenance), [`Log`] (one
//! partition: append, read, offsets, epochs, producers), [`LogEvents`] (what became durable), [`Storage`] and [`Clock`]
//! (the world, passed in; [`testing`] has faulty ones).
//!
//! **Not here.** No network, no cluster, no MQTT, no topics' metadata, no waiting: an append returns when it has its
//! offsets, [`LogEvents::advanced`] tells when it is durable.
//!
//! ```
//! # use std::sync::Arc;
//! # use log::*;
//! # struct Events;
//! # impl LogEvents for Events {
//! #     fn advanced(&self, _: &Arc<Log>, _: i64) {}
//! #     fn failed(&self, _: &Arc<Log>, _: &LogError) {}
//! # }
//! # fn example(path: &std::path::Path, batch: bytes::Bytes) -> Result<(), LogError> {
//! let (storage, clock) = (Arc::new(RealStorage), Arc::new(SystemClock));
//! let (dir, _report) = LogDir::open(path, LogDirConfig::default(), storage, clock, Arc::new(Events))?;
//! let partition = TopicPartition::new("sensors", 0);
//! let log = dir.create_log(NewLog { partition, topic_id: [1; 16], config: LogConfig::default() })?;
//! let appended = log.append(AppendBatches::client(batch, 0))?; // durable when durable_end() > last_offset
//! # let _ = appended;
//! dir.close()
//! # }
//! ```
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
pub use config::{
    CleanerConfig, CleanupPolicy, LogConfig, LogDirConfig, Thousandths, Threads, TimestampType,
};
pub use dir::{LogDir, LogEvents, NewLog, RecoveredLog, RecoveryReport, RefusedLog};
pub use error::LogError;
pub use log::Log;
pub use storage::{DirEntry, OpenMode, RealStorage, Storage, StorageFile, StorageLock};
pub use types::{
    AbortedTxn, ActiveProducer, AppendBatches, Appended, EpochEnd, Origin, ReadLimit, ReadRequest, ReadSlice,
    TimestampOffset, TopicId, TopicPartition,
};
