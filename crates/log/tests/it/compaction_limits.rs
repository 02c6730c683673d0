//! When the cleaner has to wait, when it must not wait longer, and how much of the disk it may take.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_codec::records::{BatchBuilder, Compression};
use log::testing::{FaultStorage, ManualClock};
use log::{
    AppendBatches, CleanerConfig, CleanupPolicy, Clock, Log, LogConfig, LogDir, LogDirConfig, LogError,
    LogEvents, NewLog, Threads, TopicPartition,
};

struct Quiet;

impl LogEvents for Quiet {
    fn advanced(&self, _log: &Arc<Log>, _durable_end: i64) {}
    fn failed(&self, _log: &Arc<Log>, _error: &LogError) {}
}

struct World {
    dir: LogDir,
    log: Arc<Log>,
    clock: Arc<ManualClock>,
}

fn world(threads: Threads, cleaner: CleanerConfig, config: LogConfig) -> World {
    let clock = Arc::new(ManualClock::new(1_000_000));
    let config_of = LogDirConfig { journal_bytes: 256 << 10, threads, cleaner, ..LogDirConfig::default() };
    let disk = Arc::new(FaultStorage::new(1));
    let (dir, _) = LogDir::open(
        Path::new("/data"),
        config_of,
        disk,
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::new(Quiet),
    )
    .unwrap();
    let config = LogConfig {
        segment_bytes: 2500,
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        retention_ms: -1,
        ..config
    };
    let partition = TopicPartition::new("t", 0);
    let log = dir.create_log(NewLog { partition, topic_id: [1; 16], config }).unwrap();
    World { dir, log, clock }
}

impl World {
    /// Appends `count` records of three keys, 250 bytes each, that were made now.
    fn append(&self, count: usize) {
        for i in 0..count {
            let mut builder = BatchBuilder::new(Compression::None);
            let key = [(i % 3) as u8];
            builder
                .push(
                    self.clock.now_ms(),
                    Some(&key),
                    Some(&[b'.'; 200]),
                    std::iter::empty::<(&[u8], Option<&[u8]>)>(),
                )
                .unwrap();
            self.log.append(AppendBatches::client(Bytes::from(builder.build().unwrap()), 0)).unwrap();
            self.dir.run_pending();
        }
    }
}

#[test]
fn records_stay_uncompacted_for_the_shortest_lag() {
    let config =
        LogConfig { min_compaction_lag_ms: 10_000, min_cleanable_dirty_ratio: 0, ..LogConfig::default() };
    let world = world(Threads::Manual, CleanerConfig::default(), config);
    world.append(60);
    let before = world.log.size();
    world.clock.advance(9_999);
    assert!(!world.dir.clean_pending().unwrap(), "the records are too young");
    assert_eq!(world.log.size(), before);
    world.clock.advance(2);
    assert!(world.dir.clean_pending().unwrap());
    let cleaned_to = world.log.compacted_to();
    assert!(world.log.size() < before / 2);
    // What comes later has its own time to wait.
    world.append(60);
    assert!(!world.dir.clean_pending().unwrap());
    assert_eq!(world.log.compacted_to(), cleaned_to);
    world.clock.advance(10_001);
    assert!(world.dir.clean_pending().unwrap());
    assert!(world.log.compacted_to() > cleaned_to);
}

#[test]
fn after_the_longest_lag_a_log_is_compacted_however_clean_it_is() {
    let config =
        LogConfig { max_compaction_lag_ms: 10_000, min_cleanable_dirty_ratio: 1000, ..LogConfig::default() };
    let world = world(Threads::Manual, CleanerConfig::default(), config);
    world.append(60);
    assert!(!world.dir.clean_pending().unwrap(), "never dirty enough");
    world.clock.advance(10_000);
    assert!(!world.dir.clean_pending().unwrap());
    world.clock.advance(1);
    assert!(world.dir.clean_pending().unwrap());
    assert!(world.log.compacted_to() > 0);
}

fn limited(io_bytes_per_second: u64) -> World {
    let cleaner = CleanerConfig { enabled: false, io_bytes_per_second, ..CleanerConfig::default() };
    let world =
        world(Threads::Own, cleaner, LogConfig { min_cleanable_dirty_ratio: 0, ..LogConfig::default() });
    world.append(60);
    // The housekeeper seals closed segments in its own time.
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.log.recovery_point() < 40 {
        assert!(Instant::now() < deadline, "the segments are not sealed");
        std::thread::yield_now();
    }
    world
}

#[test]
fn the_cleaner_takes_no_more_of_the_disk_than_it_may() {
    const BYTES_PER_SECOND: u64 = 50_000;
    let world = limited(BYTES_PER_SECOND);
    let closed = world.log.size() - 2500;
    let began = Instant::now();
    assert!(world.dir.clean_pending().unwrap());
    // At least the closed segments were read, twice: for the map of keys, and to be written anew.
    let least = Duration::from_secs_f64(closed as f64 / BYTES_PER_SECOND as f64);
    assert!(began.elapsed() >= least, "{:?} for {closed} bytes", began.elapsed());
    world.dir.close().unwrap();
}

#[test]
fn a_cleaning_that_waits_for_its_share_does_not_hold_up_a_stop() {
    let World { dir, log, clock: _ } = limited(1);
    let dir = Arc::new(dir);
    let cleaning = {
        let dir = Arc::clone(&dir);
        std::thread::spawn(move || dir.clean_pending())
    };
    dir.close().unwrap();
    assert!(!cleaning.join().unwrap().unwrap(), "abandoned");
    assert_eq!(log.compacted_to(), 0);
}
