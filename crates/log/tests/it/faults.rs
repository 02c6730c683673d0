//! Random work on a disk that crashes at any operation: what was durable is there, in order, once.
//!
//! A failure names its seed; `FAULT_SEED=n` runs that one alone, `FAULT_RUNS=n` sets how many are run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::records::{BatchBuilder, Compression};
use log::testing::{FaultStorage, ManualClock, Rng};
use log::{
    AppendBatches, Log, LogConfig, LogDir, LogDirConfig, LogError, LogEvents, NewLog, ReadLimit, ReadRequest,
    RecoveryReport, Threads, TopicPartition,
};

struct Quiet;

impl LogEvents for Quiet {
    fn advanced(&self, _log: &Arc<Log>, _durable_end: i64) {}
    fn failed(&self, _log: &Arc<Log>, _error: &LogError) {}
}

const PARTITIONS: i32 = 3;
const PRODUCERS: i64 = 2;

/// A batch as it was handed in.
#[derive(Clone, Debug)]
struct Issued {
    base_offset: i64,
    records: i64,
    /// First record's number in its partition's history; every record holds one.
    id: u64,
    producer: Option<(i64, i32)>,
}

/// The dumb log: what was appended, and how much of it must be there.
#[derive(Default)]
struct Model {
    topic_id: [u8; 16],
    issued: Vec<Issued>,
    durable_end: i64,
    log_start: i64,
    sequences: BTreeMap<i64, i32>,
    /// Its deletion was begun.
    doomed: bool,
}

impl Model {
    fn end(&self) -> i64 {
        self.issued.last().map_or(self.log_start, |b| b.base_offset + b.records)
    }
}

struct World {
    rng: Rng,
    disk: FaultStorage,
    clock: Arc<ManualClock>,
    models: BTreeMap<i32, Model>,
    next_id: u64,
    next_topic: u8,
    next_group: u64,
    groups: BTreeMap<u64, Vec<(i32, [u8; 16], i64)>>,
    seed: u64,
}

fn config() -> LogDirConfig {
    LogDirConfig {
        journal_bytes: 256 << 10,
        journal_batch_bytes_max: 600,
        checkpoint_bytes: 5000,
        threads: Threads::Manual,
        log_defaults: log_config(),
        ..LogDirConfig::default()
    }
}

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 6000,
        index_interval_bytes: 300,
        retention_ms: 100_000,
        file_delete_delay_ms: 1000,
        ..LogConfig::default()
    }
}

fn name(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn build(id: u64, records: i64, fill: usize, producer: Option<(i64, i32)>, now_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some((producer_id, sequence)) = producer {
        builder = builder.producer(producer_id, 0, sequence);
    }
    for i in 0..records {
        let mut value = (id + i as u64).to_be_bytes().to_vec();
        value.resize(8 + fill, b'.');
        builder.push(now_ms, None, Some(&value), std::iter::empty::<(&[u8], Option<&[u8]>)>()).unwrap();
    }
    Bytes::from(builder.build().unwrap())
}

fn read_ids(log: &Log) -> Result<Vec<(i64, u64)>, LogError> {
    let mut found = Vec::new();
    let mut offset = log.log_start();
    loop {
        let request =
            ReadRequest { offset, max_bytes: 500, at_least_one: true, limit: ReadLimit::HighWatermark };
        let (slice, bytes) = log.read_bytes(&request)?;
        if slice.len == 0 {
            return Ok(found);
        }
        let before = offset;
        for batch in kafka_codec::records::Batches::new(&bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            let mut scratch = Vec::new();
            for record in kafka_codec::records::records(&batch, 1 << 20, &mut scratch).unwrap() {
                let record = record.unwrap();
                let id = u64::from_be_bytes(record.value.unwrap()[..8].try_into().unwrap());
                if record.offset >= offset {
                    found.push((record.offset, id));
                }
            }
            offset = batch.header.next_offset();
        }
        assert!(offset > before, "a read at {before} answered {slice:?}, in which that offset is not");
    }
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            disk: FaultStorage::new(seed ^ 0xd15c),
            clock: Arc::new(ManualClock::new(1_000_000)),
            models: BTreeMap::new(),
            next_id: 0,
            next_topic: 1,
            next_group: 0,
            groups: BTreeMap::new(),
            seed,
        }
    }

    fn open(&self) -> Result<(LogDir, RecoveryReport), LogError> {
        LogDir::open(
            Path::new("/data"),
            config(),
            Arc::new(self.disk.clone()),
            self.clock.clone(),
            Arc::new(Quiet),
        )
    }

    fn create_missing(&mut self, dir: &LogDir) -> Result<(), LogError> {
        for partition in 0..PARTITIONS {
            if let Some(log) = dir.log(&name(partition)) {
                self.models.entry(partition).or_insert_with(|| {
                    assert_eq!(log.log_end(), 0);
                    Model { topic_id: log.topic_id(), ..Model::default() }
                });
            } else {
                let topic_id = [self.next_topic; 16];
                self.next_topic = self.next_topic.wrapping_add(1).max(1);
                dir.create_log(NewLog { partition: name(partition), topic_id, config: log_config() })?;
                self.models.insert(partition, Model { topic_id, ..Model::default() });
            }
        }
        Ok(())
    }

    /// A batch for a partition, not appended yet.
    fn next_batch(&mut self, partition: i32, may_be_large: bool) -> (Bytes, Issued) {
        let records = 1 + self.rng.below(4) as i64;
        let fill = if may_be_large && self.rng.chance(25) { 900 } else { self.rng.below(120) as usize };
        let id = self.next_id;
        self.next_id += records as u64;
        let model = self.models.get(&partition).unwrap();
        let producer = self.rng.chance(60).then(|| {
            let producer_id = 100 + self.rng.below(PRODUCERS as u64) as i64;
            (producer_id, model.sequences.get(&producer_id).map_or(0, |last| last + 1))
        });
        let bytes = build(id, records, fill, producer, log::Clock::now_ms(&*self.clock));
        (bytes, Issued { base_offset: model.end(), records, id, producer })
    }

    fn issue(&mut self, partition: i32, issued: Issued) {
        let model = self.models.get_mut(&partition).unwrap();
        if let Some((producer_id, sequence)) = issued.producer {
            model.sequences.insert(producer_id, sequence + issued.records as i32 - 1);
        }
        model.issued.push(issued);
    }

    fn step(&mut self, dir: &LogDir) -> Result<(), LogError> {
        let partition = self.rng.below(PARTITIONS as u64) as i32;
        let log = dir.log(&name(partition)).expect("open");
        match self.rng.below(100) {
            0..45 => {
                let (bytes, issued) = self.next_batch(partition, true);
                let base_offset = issued.base_offset;
                // The outcome of a failed append is unknown: it may be in the log after the crash.
                self.issue(partition, issued);
                let appended = log.append(AppendBatches::client(bytes, 0))?;
                assert_eq!(appended.base_offset, base_offset);
                assert!(!appended.duplicate);
            }
            45..55 => {
                let group = self.next_group;
                self.next_group += 1;
                let count = 2 + self.rng.below(2) as i32;
                let mut appends = Vec::new();
                let mut members = Vec::new();
                for i in 0..count {
                    let partition = (partition + i) % PARTITIONS;
                    let (bytes, issued) = self.next_batch(partition, false);
                    members.push((partition, self.models[&partition].topic_id, issued.base_offset));
                    self.issue(partition, issued);
                    appends.push((dir.log(&name(partition)).expect("open"), AppendBatches::client(bytes, 0)));
                }
                self.groups.insert(group, members);
                dir.append_atomic(appends)?;
            }
            55..70 => {
                dir.commit_pending();
            }
            70..80 => {
                dir.flush_pending();
            }
            80..88 => {
                dir.housekeep_pending();
            }
            88 => dir.checkpoint(),
            89 => dir.close_idle_files(),
            90..94 => {
                self.clock.advance(5000);
                if let Some(e) = dir.run_maintenance().into_iter().next() {
                    return Err(e);
                }
            }
            94..96 => {
                let start = log.log_start();
                let end = log.high_watermark();
                let offset = start + self.rng.below((end - start) as u64 + 1) as i64;
                log.delete_records_before(offset)?;
                let model = self.models.get_mut(&partition).unwrap();
                model.log_start = model.log_start.max(offset);
            }
            96 => {
                self.models.get_mut(&partition).unwrap().doomed = true;
                dir.delete_log(&name(partition))?;
                self.models.remove(&partition);
                self.create_missing(dir)?;
            }
            _ => {
                // Retry of one of the newest batches of a producer.
                let model = &self.models[&partition];
                let newest: Vec<&Issued> =
                    model.issued.iter().rev().filter(|b| b.producer.is_some()).collect();
                if let Some(old) = newest.first() {
                    let bytes = build(old.id, old.records, 0, old.producer, 0);
                    let again = log.append(AppendBatches::client(bytes, 0))?;
                    assert!(again.duplicate, "a retry was appended again");
                    assert_eq!(again.base_offset, old.base_offset);
                }
            }
        }
        for (partition, model) in &mut self.models {
            if let Some(log) = dir.log(&name(*partition)) {
                assert!(log.durable_end() >= model.durable_end, "the durable end fell");
                model.durable_end = log.durable_end();
                model.log_start = model.log_start.max(log.log_start());
            }
        }
        Ok(())
    }

    /// After a start: everything durable is there, in order, once, and what is more is a prefix of what was issued.
    fn check(&mut self, dir: &LogDir, report: &RecoveryReport) {
        let seed = self.seed;
        assert!(report.refused.is_empty(), "seed {seed}: {report:?}");
        assert!(report.notes.is_empty(), "seed {seed}: {report:?}");
        let mut gone = Vec::new();
        for (partition, model) in &mut self.models {
            let Some(log) = dir.log(&name(*partition)).filter(|l| l.topic_id() == model.topic_id) else {
                // Its creation or deletion was under way.
                assert!(model.doomed || model.durable_end == 0, "seed {seed}: partition {partition} is gone");
                gone.push(*partition);
                continue;
            };
            let end = log.log_end();
            assert!(
                end >= model.durable_end,
                "seed {seed}: partition {partition} ends at {end}, acknowledged up to {}",
                model.durable_end
            );
            assert!(log.log_start() >= model.log_start, "seed {seed}: deleted records are back");
            model.log_start = log.log_start();
            assert_eq!(log.durable_end(), end);
            let found = read_ids(&log).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            let expected: Vec<(i64, u64)> = model
                .issued
                .iter()
                .flat_map(|b| (0..b.records).map(|i| (b.base_offset + i, b.id + i as u64)))
                .filter(|(offset, _)| *offset >= log.log_start() && *offset < end)
                .collect();
            assert_eq!(found, expected, "seed {seed}: partition {partition}");
            model.issued.retain(|b| b.base_offset < end);
            assert!(model.end().max(model.log_start) == end, "seed {seed}: a batch was torn");
            model.durable_end = end;
            model.sequences.clear();
            for issued in &model.issued {
                if let Some((producer_id, sequence)) = issued.producer {
                    model.sequences.insert(producer_id, sequence + issued.records as i32 - 1);
                }
            }
            let rebuilt: BTreeMap<i64, i32> =
                log.active_producers().iter().map(|p| (p.producer_id, p.last_sequence)).collect();
            assert_eq!(rebuilt, model.sequences, "seed {seed}: producers of partition {partition}");
        }
        for partition in gone {
            self.models.remove(&partition);
        }
        for (group, members) in &self.groups {
            let present: Vec<bool> = members
                .iter()
                .filter_map(|(partition, topic_id, offset)| {
                    let model = self.models.get(partition).filter(|m| m.topic_id == *topic_id)?;
                    Some(*offset < model.end().max(model.log_start))
                })
                .collect();
            assert!(present.windows(2).all(|w| w[0] == w[1]), "seed {seed}: atomic append {group} is torn");
        }
        self.groups.clear();
    }

    /// Opens, and again after each crash during the opening itself.
    fn open_and_check(&mut self) -> LogDir {
        loop {
            match self.open().and_then(|(dir, report)| {
                if self.disk.has_crashed() {
                    return Err(LogError::Invalid("crashed".into()));
                }
                self.check(&dir, &report);
                self.create_missing(&dir)?;
                Ok(dir)
            }) {
                Ok(dir) => return dir,
                Err(e) => {
                    assert!(self.disk.has_crashed(), "seed {}: cannot open: {e}", self.seed);
                    self.restart();
                }
            }
        }
    }

    fn restart(&mut self) {
        self.disk = self.disk.restart();
    }

    fn run(&mut self) {
        for _life in 0..6 {
            if self.rng.chance(30) {
                let during_opening = self.rng.below(60);
                self.disk.crash_in(during_opening);
            }
            let dir = self.open_and_check();
            let crash_in = self.rng.below(400);
            self.disk.crash_in(crash_in);
            let steps = 20 + self.rng.below(300);
            let mut result = Ok(());
            for _ in 0..steps {
                result = self.step(&dir);
                if result.is_err() || self.disk.has_crashed() {
                    break;
                }
            }
            if let Err(e) = result {
                assert!(self.disk.has_crashed(), "seed {}: {e}", self.seed);
            }
            if !self.disk.has_crashed() && self.rng.chance(50) {
                // The close may crash too.
                let closed = dir.close();
                assert!(closed.is_ok() || self.disk.has_crashed(), "seed {}: {closed:?}", self.seed);
            }
            drop(dir);
            self.restart();
        }
        self.open_and_check();
    }
}

#[test]
fn whatever_crashes_what_was_durable_is_there_in_order_once() {
    if let Some(seed) = std::env::var("FAULT_SEED").ok().and_then(|s| s.parse().ok()) {
        World::new(seed).run();
        return;
    }
    let runs = std::env::var("FAULT_RUNS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    for seed in 0..runs {
        World::new(seed).run();
    }
}
