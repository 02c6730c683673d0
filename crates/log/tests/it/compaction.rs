//! The cleaner against a dumb map, under random work and crashes at any operation: of each key the newest committed
//! record is there, nothing else below the cleaned offset, everything above it; producers and transactions are known.
//!
//! A failure names its seed; `COMPACTION_SEED=n` runs that one alone, `COMPACTION_RUNS=n` sets how many are run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::records::{BatchBuilder, Batches, Compression, end_transaction_marker, records};
use log::testing::{FaultStorage, ManualClock, Rng};
use log::{
    AppendBatches, CleanerConfig, CleanupPolicy, Clock, Log, LogConfig, LogDir, LogDirConfig, LogError,
    LogEvents, NewLog, ReadLimit, ReadRequest, RecoveryReport, Threads, TopicPartition,
};

struct Quiet;

impl LogEvents for Quiet {
    fn advanced(&self, _log: &Arc<Log>, _durable_end: i64) {}
    fn failed(&self, _log: &Arc<Log>, _error: &LogError) {}
}

const KEYS: u64 = 12;
const DELETE_RETENTION_MS: i64 = 20_000;
/// Producers of transactions; idempotent ones have the ids before.
const TXN_PRODUCER: i64 = 200;
const EPOCH: i16 = 3;

#[derive(Clone, Debug)]
struct Record {
    offset: i64,
    key: u8,
    /// `None`: a tombstone.
    id: Option<u64>,
    txn: Option<i64>,
    appended_ms: i64,
}

#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    end: i64,
    /// Producer and last sequence.
    producer: Option<(i64, i32)>,
    records: Vec<Record>,
    /// A marker: its producer, and whether it commits.
    marker: Option<(i64, bool)>,
}

#[derive(Default)]
struct Model {
    batches: Vec<Batch>,
    durable_end: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |b| b.end)
    }

    fn sequences(&self) -> BTreeMap<i64, i32> {
        self.batches.iter().filter_map(|b| b.producer).collect()
    }

    /// First offsets of open transactions, by producer.
    fn open(&self) -> BTreeMap<i64, i64> {
        let mut open = BTreeMap::new();
        for batch in &self.batches {
            if let Some((producer, _)) = batch.marker {
                open.remove(&producer);
            } else if let Some(producer) = batch.records.first().and_then(|r| r.txn) {
                open.entry(producer).or_insert(batch.base);
            }
        }
        open
    }

    /// What a `read_committed` reader may see, and the offsets of aborted records.
    fn committed(&self) -> (Vec<Record>, BTreeSet<i64>) {
        let stable = self.open().values().min().copied().unwrap_or(i64::MAX);
        let mut seen = Vec::new();
        let mut aborted = BTreeSet::new();
        for (i, batch) in self.batches.iter().enumerate() {
            let outcome = |producer: i64| {
                let later = self.batches.get(i..).unwrap_or_default();
                later.iter().filter_map(|b| b.marker).find(|m| m.0 == producer).map(|m| m.1)
            };
            for record in &batch.records {
                match record.txn.map(outcome) {
                    Some(Some(false)) => {
                        aborted.insert(record.offset);
                    }
                    Some(None) => {}
                    _ if record.offset < stable => seen.push(record.clone()),
                    _ => {}
                }
            }
        }
        (seen, aborted)
    }
}

struct World {
    rng: Rng,
    disk: FaultStorage,
    clock: Arc<ManualClock>,
    model: Model,
    next_id: u64,
    cleanings: u64,
    /// Nothing from here on was cleaned.
    cleaned_to: i64,
    seed: u64,
}

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 2500,
        index_interval_bytes: 200,
        retention_ms: -1,
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        delete_retention_ms: DELETE_RETENTION_MS,
        min_cleanable_dirty_ratio: 200,
        file_delete_delay_ms: 3000,
        ..LogConfig::default()
    }
}

fn name() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// Offset, key and value of each record that a reader sees.
fn read(log: &Log) -> Vec<(i64, u8, Option<u64>)> {
    let mut found = Vec::new();
    let mut offset = log.log_start();
    loop {
        let request =
            ReadRequest { offset, max_bytes: 700, at_least_one: true, limit: ReadLimit::LastStable };
        let (slice, bytes) = log.read_bytes(&request).unwrap();
        if slice.len == 0 {
            return found;
        }
        let aborted = log.aborted_txns(offset, slice.end_offset).unwrap();
        let before = offset;
        for batch in Batches::new(&bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            let header = batch.header;
            let hidden = header.is_control()
                || header.is_transactional()
                    && aborted.iter().any(|t| {
                        t.producer_id == header.producer_id
                            && (t.first_offset..=t.last_offset).contains(&header.base_offset)
                    });
            let mut scratch = Vec::new();
            for record in records(&batch, 1 << 20, &mut scratch).unwrap() {
                let record = record.unwrap();
                if record.offset >= before && !hidden {
                    let id = record.value.map(|v| u64::from_be_bytes(v[..8].try_into().unwrap()));
                    found.push((record.offset, record.key.unwrap()[0], id));
                }
            }
            offset = header.next_offset();
        }
        assert!(offset > before, "no progress at {before}");
    }
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            disk: FaultStorage::new(seed ^ 0xc1ea),
            clock: Arc::new(ManualClock::new(1_000_000)),
            model: Model::default(),
            next_id: 0,
            cleanings: 0,
            cleaned_to: 0,
            seed,
        }
    }

    fn open(&mut self) -> Result<(LogDir, RecoveryReport), LogError> {
        // Sometimes the map has no room for all keys.
        let dedupe_buffer_bytes = if self.rng.chance(30) { 24 * 6 } else { 1 << 20 };
        let config = LogDirConfig {
            journal_bytes: 256 << 10,
            journal_batch_bytes_max: 400,
            threads: Threads::Manual,
            log_defaults: log_config(),
            cleaner: CleanerConfig { dedupe_buffer_bytes, ..CleanerConfig::default() },
            ..LogDirConfig::default()
        };
        let disk = Arc::new(self.disk.clone());
        LogDir::open(Path::new("/data"), config, disk, self.clock.clone(), Arc::new(Quiet))
    }

    fn append(&mut self, log: &Arc<Log>) -> Result<(), LogError> {
        let now_ms = self.clock.now_ms();
        let codec = [Compression::None, Compression::Lz4, Compression::Gzip][self.rng.below(3) as usize];
        let mut builder = BatchBuilder::new(codec);
        let base = self.model.end();
        let count = 1 + self.rng.below(6) as i64;
        let txn = self.rng.chance(35).then(|| TXN_PRODUCER + self.rng.below(2) as i64);
        let producer = txn.or_else(|| self.rng.chance(50).then(|| 100 + self.rng.below(3) as i64));
        let mut last_sequence = None;
        if let Some(id) = producer {
            let first = self.model.sequences().get(&id).map_or(0, |last| last + 1);
            builder.set_producer(id, EPOCH, first);
            last_sequence = Some((id, first + count as i32 - 1));
        }
        if txn.is_some() {
            builder = builder.transactional();
        }
        let mut written = Vec::new();
        for i in 0..count {
            let key = self.rng.below(KEYS) as u8;
            let id = (!self.rng.chance(20)).then_some(self.next_id);
            self.next_id += 1;
            let mut value = self.next_id.to_be_bytes().to_vec();
            if let Some(id) = id {
                value[..8].copy_from_slice(&id.to_be_bytes());
            }
            value.resize(8 + self.rng.below(60) as usize, b'.');
            let headers = [(&b"h"[..], Some(&b"v"[..]))];
            let value = id.map(|_| value.as_slice());
            builder.push(now_ms + i, Some(&[key]), value, headers.into_iter()).unwrap();
            written.push(Record { offset: base + i, key, id, txn, appended_ms: now_ms });
        }
        // The outcome of a failed append is unknown: it may be in the log after the crash.
        self.model.batches.push(Batch {
            base,
            end: base + count,
            producer: last_sequence,
            records: written,
            marker: None,
        });
        let bytes = Bytes::from(builder.build().unwrap());
        let appended = log.append(AppendBatches::client(bytes, 0))?;
        assert_eq!(appended.base_offset, base, "seed {}", self.seed);
        Ok(())
    }

    fn end_txn(&mut self, log: &Arc<Log>) -> Result<(), LogError> {
        let Some(producer) = self.model.open().keys().next().copied() else { return Ok(()) };
        let commit = self.rng.chance(50);
        let base = self.model.end();
        let marker = Some((producer, commit));
        self.model.batches.push(Batch { base, end: base + 1, producer: None, records: Vec::new(), marker });
        let bytes = end_transaction_marker(producer, EPOCH, commit, 1, self.clock.now_ms()).unwrap();
        log.append(AppendBatches::coordinator(Bytes::from(bytes), 0))?;
        Ok(())
    }

    fn step(&mut self, dir: &LogDir) -> Result<(), LogError> {
        let log = dir.log(&name()).expect("open");
        match self.rng.below(100) {
            0..45 => self.append(&log)?,
            45..58 => self.end_txn(&log)?,
            58..70 => {
                dir.commit_pending();
            }
            70..76 => {
                dir.flush_pending();
            }
            76..86 => {
                dir.housekeep_pending();
            }
            86..88 => dir.checkpoint(),
            88..91 => {
                self.clock.advance(4000);
                if let Some(e) = dir.run_maintenance().into_iter().next() {
                    return Err(e);
                }
            }
            _ => {
                let mut reader = Reader::start(&log);
                let cleaned = dir.clean_pending();
                // What a cleaning that crashed has done is not in the checkpoint.
                let upto = if cleaned.is_ok() { log.compacted_to() } else { log.log_end() };
                self.cleaned_to = self.cleaned_to.max(upto);
                self.cleanings += u64::from(cleaned?);
                reader.finish(&log);
                self.check_view(&log);
            }
        }
        self.model.durable_end = self.model.durable_end.max(log.durable_end());
        Ok(())
    }

    /// What readers see is what the dumb map says.
    fn check_view(&self, log: &Log) {
        let seed = self.seed;
        let found = read(log);
        let stable = log.last_stable_offset();
        let compacted_to = log.compacted_to();
        let now_ms = self.clock.now_ms();
        let (committed, aborted) = self.model.committed();
        let by_offset: BTreeMap<i64, &Record> = committed.iter().map(|r| (r.offset, r)).collect();
        let there: BTreeSet<i64> = found.iter().map(|f| f.0).collect();
        assert_eq!(there.len(), found.len(), "seed {seed}: an offset twice");
        for (offset, key, id) in &found {
            assert!(
                !aborted.contains(offset),
                "seed {seed}: aborted record at {offset}; compacted to {compacted_to}, index {:?}, {:?}",
                log.aborted_txns(0, i64::MAX),
                self.model.batches.iter().filter(|b| b.end > *offset).take(9).collect::<Vec<_>>()
            );
            let record = by_offset.get(offset).unwrap_or_else(|| panic!("seed {seed}: {offset} unknown"));
            assert_eq!((record.key, record.id), (*key, *id), "seed {seed}: record at {offset}");
        }
        let mut newest: BTreeMap<u8, &Record> = BTreeMap::new();
        for record in committed.iter().filter(|r| r.offset < stable) {
            newest.insert(record.key, record);
            if record.offset >= self.cleaned_to {
                assert!(there.contains(&record.offset), "seed {seed}: {record:?} is gone");
            }
        }
        for record in newest.values() {
            let may_be_gone = record.id.is_none() && now_ms >= record.appended_ms + DELETE_RETENTION_MS;
            assert!(may_be_gone || there.contains(&record.offset), "seed {seed}: newest {record:?} is gone");
        }
        let mut keys = BTreeSet::new();
        for (offset, key, _) in found.iter().filter(|f| f.0 < compacted_to) {
            assert!(
                keys.insert(*key),
                "seed {seed}: key {key} more than once below {compacted_to}, at {offset}"
            );
        }
    }

    fn check(&mut self, log: &Log, report: &RecoveryReport) {
        let seed = self.seed;
        assert!(report.refused.is_empty() && report.notes.is_empty(), "seed {seed}: {report:?}");
        let end = log.log_end();
        let durable_end = self.model.durable_end;
        assert!(end >= durable_end, "seed {seed}: ends at {end}, acknowledged up to {durable_end}");
        self.model.batches.retain(|b| b.end <= end);
        assert_eq!(self.model.end(), end, "seed {seed}: a batch was torn");
        self.model.durable_end = end;
        self.check_view(log);
        let producers = log.active_producers();
        let sequences: BTreeMap<i64, i32> = producers
            .iter()
            .filter(|p| p.last_sequence >= 0)
            .map(|p| (p.producer_id, p.last_sequence))
            .collect();
        assert_eq!(sequences, self.model.sequences(), "seed {seed}: producers");
        let open: BTreeMap<i64, i64> =
            producers.iter().filter_map(|p| Some((p.producer_id, p.current_txn_first_offset?))).collect();
        assert_eq!(open, self.model.open(), "seed {seed}: open transactions");
    }

    /// Opens, and again after each crash during the opening itself.
    fn open_and_check(&mut self) -> LogDir {
        loop {
            let opened = self.open().and_then(|(dir, report)| {
                let log = match dir.log(&name()) {
                    Some(log) => log,
                    None => {
                        let config = log_config();
                        dir.create_log(NewLog { partition: name(), topic_id: [1; 16], config })?
                    }
                };
                if self.disk.has_crashed() {
                    return Err(LogError::Invalid("crashed".into()));
                }
                self.check(&log, &report);
                Ok(dir)
            });
            match opened {
                Ok(dir) => return dir,
                Err(e) => {
                    assert!(self.disk.has_crashed(), "seed {}: cannot open: {e}", self.seed);
                    self.disk = self.disk.restart();
                }
            }
        }
    }

    fn run(&mut self) -> u64 {
        for _life in 0..6 {
            if self.rng.chance(30) {
                let during_opening = self.rng.below(60);
                self.disk.crash_in(during_opening);
            }
            let dir = self.open_and_check();
            let crash_in = 100 + self.rng.below(900);
            self.disk.crash_in(crash_in);
            let mut result = Ok(());
            for _ in 0..100 + self.rng.below(500) {
                result = self.step(&dir);
                if result.is_err() || self.disk.has_crashed() {
                    break;
                }
            }
            if let Err(e) = result {
                assert!(self.disk.has_crashed(), "seed {}: {e}", self.seed);
            }
            if !self.disk.has_crashed() && self.rng.chance(40) {
                let closed = dir.close();
                assert!(closed.is_ok() || self.disk.has_crashed(), "seed {}: {closed:?}", self.seed);
            }
            drop(dir);
            self.disk = self.disk.restart();
        }
        self.open_and_check();
        self.cleanings
    }
}

/// A reader that was handed a range before a cleaning and reads it afterwards.
struct Reader {
    slice: Option<log::ReadSlice>,
    before: Vec<u8>,
}

impl Reader {
    fn bytes(slice: &log::ReadSlice) -> Vec<u8> {
        let mut bytes = vec![0; slice.len];
        let n = slice.file.read_at(slice.position, &mut bytes).unwrap();
        bytes.truncate(n);
        bytes
    }

    fn start(log: &Log) -> Self {
        let request = ReadRequest {
            offset: log.log_start(),
            max_bytes: 1200,
            at_least_one: true,
            limit: ReadLimit::HighWatermark,
        };
        let slice = log.read(&request).ok();
        let before = slice.as_ref().map(Self::bytes).unwrap_or_default();
        Self { slice, before }
    }

    fn finish(&mut self, _log: &Log) {
        if let Some(slice) = &self.slice {
            assert!(Self::bytes(slice) == self.before, "a range changed under its reader");
        }
    }
}

#[test]
fn whatever_crashes_of_each_key_the_newest_committed_record_stays() {
    if let Some(seed) = std::env::var("COMPACTION_SEED").ok().and_then(|s| s.parse().ok()) {
        World::new(seed).run();
        return;
    }
    let runs = std::env::var("COMPACTION_RUNS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let cleanings: u64 = (0..runs).map(|seed| World::new(seed).run()).sum();
    assert!(cleanings > runs, "only {cleanings} cleanings in {runs} runs");
}

/// A log with several closed segments of the same few keys.
fn dirty_log(disk: &FaultStorage) -> (LogDir, Arc<Log>) {
    let mut world = World::new(1);
    world.disk = disk.clone();
    let (dir, _) = world.open().unwrap();
    let config = LogConfig { min_cleanable_dirty_ratio: 0, ..log_config() };
    let log = dir.create_log(NewLog { partition: name(), topic_id: [1; 16], config }).unwrap();
    append_some(&dir, &log, 0..60);
    assert!(log.segment_count() > 3);
    (dir, log)
}

fn append_some(dir: &LogDir, log: &Arc<Log>, ids: std::ops::Range<u64>) {
    for i in ids {
        let mut builder = BatchBuilder::new(Compression::None);
        let mut value = i.to_be_bytes().to_vec();
        value.resize(200, b'.');
        builder
            .push(
                1_000_000,
                Some(&[(i % 3) as u8]),
                Some(&value),
                std::iter::empty::<(&[u8], Option<&[u8]>)>(),
            )
            .unwrap();
        log.append(AppendBatches::client(Bytes::from(builder.build().unwrap()), 0)).unwrap();
        dir.run_pending();
    }
}

fn files(disk: &FaultStorage, suffix: &str) -> usize {
    let entries = log::Storage::list(disk, Path::new("/data/t-0")).unwrap();
    entries.iter().filter(|e| e.name.ends_with(suffix)).count()
}

#[test]
fn small_segments_become_one_and_the_open_one_is_left_alone() {
    let disk = FaultStorage::new(1);
    let (dir, log) = dirty_log(&disk);
    let before = log.size();
    assert!(dir.clean_pending().unwrap());
    assert!(!dir.clean_pending().unwrap(), "there is nothing left to do");
    assert!(log.size() < before / 2, "{} of {before} bytes remain", log.size());
    assert!((1..60).contains(&log.compacted_to()), "the open segment is not part of it");
    assert_eq!((files(&disk, ".swap"), files(&disk, ".cleaned")), (0, 0));
    let found = read(&log);
    assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(found.last().map(|r| r.0), Some(59));
    // What has become small fits one segment the next time.
    append_some(&dir, &log, 60..90);
    let segments = log.segment_count();
    assert!(dir.clean_pending().unwrap());
    assert!(log.segment_count() < segments, "{} of {segments} segments remain", log.segment_count());
    assert_eq!(read(&log).last().map(|r| r.0), Some(89));
    dir.close().unwrap();
}

#[test]
fn a_damaged_batch_stops_the_cleaner_at_its_log_and_destroys_nothing() {
    let disk = FaultStorage::new(2);
    let (dir, log) = dirty_log(&disk);
    let before = log.size();
    disk.rot(Path::new("/data/t-0/00000000000000000000.log"), 300);
    let error = dir.clean_pending().unwrap_err();
    assert!(matches!(&error, LogError::Corrupt { position: 1.., .. }), "{error}");
    assert!(!dir.clean_pending().unwrap(), "it is not tried again");
    assert_eq!((log.size(), files(&disk, ".cleaned")), (before, 0));
    assert_eq!(log.failure().map(|e| e.to_string()), None, "appends go on");
}

#[test]
fn a_full_disk_ends_a_cleaning_without_a_trace() {
    let disk = FaultStorage::new(3);
    let (dir, log) = dirty_log(&disk);
    disk.set_capacity(Some(disk.used() + 600));
    let error = dir.clean_pending().unwrap_err();
    assert!(matches!(error, LogError::NoSpace { .. }), "{error}");
    assert_eq!(files(&disk, ".cleaned"), 0);
    assert_eq!(log.failure().map(|e| e.to_string()), None);
    disk.set_capacity(None);
    assert!(dir.clean_pending().unwrap());
    let newest: BTreeMap<u8, Option<u64>> = read(&log).into_iter().map(|r| (r.1, r.2)).collect();
    assert_eq!(newest, BTreeMap::from([(0, Some(57)), (1, Some(58)), (2, Some(59))]));
}
