//! One fault at a time: full disk, failing sync, rotten bits, torn tails.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kafka_codec::records::{BatchBuilder, Compression};
use log::testing::{FaultStorage, ManualClock};
use log::{
    AppendBatches, Log, LogConfig, LogDir, LogDirConfig, LogError, LogEvents, NewLog, ReadLimit, ReadRequest,
    RecoveryReport, Storage, Threads, TopicPartition,
};

#[derive(Default)]
struct Failures(Mutex<Vec<String>>);

impl LogEvents for Failures {
    fn advanced(&self, _log: &Arc<Log>, _durable_end: i64) {}
    fn failed(&self, _log: &Arc<Log>, error: &LogError) {
        self.0.lock().unwrap().push(error.to_string());
    }
}

fn config() -> LogDirConfig {
    LogDirConfig {
        journal_bytes: 256 << 10,
        journal_batch_bytes_max: 1000,
        checkpoint_bytes: 100_000,
        threads: Threads::Manual,
        ..LogDirConfig::default()
    }
}

fn open(disk: &FaultStorage) -> (LogDir, RecoveryReport, Arc<Failures>) {
    let events = Arc::new(Failures::default());
    let clock = Arc::new(ManualClock::new(1_000_000));
    let (dir, report) =
        LogDir::open(Path::new("/data"), config(), Arc::new(disk.clone()), clock, events.clone()).unwrap();
    (dir, report, events)
}

fn create(dir: &LogDir, topic: &str) -> Arc<Log> {
    let mut topic_id = [1; 16];
    topic_id[0] = topic.as_bytes()[0];
    dir.create_log(NewLog {
        partition: TopicPartition::new(topic, 0),
        topic_id,
        config: LogConfig::default(),
    })
    .unwrap()
}

fn batch(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1000, None, Some(value), std::iter::empty::<(&[u8], Option<&[u8]>)>()).unwrap();
    Bytes::from(builder.build().unwrap())
}

fn append(log: &Arc<Log>, value: &[u8]) -> Result<i64, LogError> {
    log.append(AppendBatches::client(batch(value), 0)).map(|a| a.base_offset)
}

fn visible_records(log: &Log) -> i64 {
    let mut offset = log.log_start();
    let mut count = 0;
    loop {
        let request =
            ReadRequest { offset, max_bytes: 1 << 20, at_least_one: true, limit: ReadLimit::HighWatermark };
        let (slice, bytes) = log.read_bytes(&request).unwrap();
        if slice.len == 0 {
            return count;
        }
        for batch in kafka_codec::records::Batches::new(&bytes) {
            let header = batch.unwrap().header;
            count += i64::from(header.record_count);
            offset = header.next_offset();
        }
    }
}

#[test]
fn a_log_that_grows_fast_leaves_little_to_check_after_a_crash() {
    let disk = FaultStorage::new(1);
    let (dir, _, _) = open(&disk);
    let log = create(&dir, "a");
    for _ in 0..50 {
        append(&log, &[b'x'; 10_000]).unwrap();
        dir.run_pending();
    }
    let unchecked = log.log_end() - log.recovery_point();
    assert!(
        unchecked <= 10,
        "{unchecked} records of 10 KB, though 100 KB are enough to move the recovery point"
    );
    let (_dir, report, _) = open(&disk.restart());
    assert!(!report.clean && report.refused.is_empty(), "{report:?}");
}

#[test]
fn a_full_disk_refuses_appends_changes_nothing_and_passes() {
    let disk = FaultStorage::new(1);
    let (dir, _, events) = open(&disk);
    let log = create(&dir, "a");
    append(&log, b"first").unwrap();
    dir.run_pending();
    disk.set_capacity(Some(disk.used() + 2000));
    let mut refused = 0;
    for size in [60_000, 300, 60_000, 300] {
        for _ in 0..400 {
            let end = log.log_end();
            match append(&log, &vec![b'x'; size]) {
                Ok(_) => {}
                Err(LogError::NoSpace { partition, .. }) => {
                    assert_eq!(partition.to_string(), "a-0");
                    assert_eq!(log.log_end(), end);
                    refused += 1;
                    break;
                }
                Err(e) => panic!("{e}"),
            }
        }
        dir.run_pending();
        assert_eq!(log.durable_end(), log.log_end());
        assert_eq!(visible_records(&log), log.log_end());
    }
    assert_eq!(refused, 4);
    disk.set_capacity(None);
    let offset = append(&log, &vec![b'y'; 60_000]).unwrap();
    append(&log, b"last").unwrap();
    dir.run_pending();
    assert_eq!(log.durable_end(), offset + 2);
    assert!(events.0.lock().unwrap().is_empty());
    drop(dir);
    let (dir, report, _) = open(&disk.restart());
    assert!(report.refused.is_empty());
    assert_eq!(dir.logs()[0].log_end(), offset + 2);
}

#[test]
fn a_failed_sync_of_a_segment_takes_that_log_offline_and_is_not_retried() {
    let disk = FaultStorage::new(2);
    let (dir, _, events) = open(&disk);
    let (a, b) = (create(&dir, "a"), create(&dir, "b"));
    append(&a, b"small").unwrap();
    dir.run_pending();
    disk.fail_sync_of(Some("a-0/"));
    append(&a, &[b'x'; 5000]).unwrap();
    dir.run_pending();
    disk.fail_sync_of(None);
    dir.run_pending();
    assert_eq!(a.durable_end(), 1, "what was not synced must not be acknowledged");
    let refused = append(&a, b"more").unwrap_err().to_string();
    assert!(refused.contains("a-0 is offline") && refused.contains("sync of 000"), "{refused}");
    assert_eq!(*events.0.lock().unwrap(), [refused]);
    assert_eq!(visible_records(&a), 1, "reads go on");
    append(&b, b"the other log").unwrap();
    dir.run_pending();
    assert_eq!(b.durable_end(), 1);
    assert!(dir.close().is_err(), "not a clean close");
    let (dir, report, _) = open(&disk.restart());
    assert!(!report.clean && report.refused.is_empty());
    assert!(dir.log(&TopicPartition::new("a", 0)).unwrap().log_end() >= 1);
    assert_eq!(dir.log(&TopicPartition::new("b", 0)).unwrap().log_end(), 1);
}

#[test]
fn a_failed_sync_of_the_journal_takes_the_directory_offline() {
    let disk = FaultStorage::new(3);
    let (dir, _, events) = open(&disk);
    let (a, b) = (create(&dir, "a"), create(&dir, "b"));
    append(&a, b"one").unwrap();
    dir.run_pending();
    disk.fail_sync_of(Some("journal-"));
    append(&a, b"two").unwrap();
    dir.run_pending();
    disk.fail_sync_of(None);
    assert_eq!(a.durable_end(), 1);
    assert!(matches!(append(&a, b"three"), Err(LogError::Offline { .. })));
    assert!(matches!(append(&b, b"three"), Err(LogError::Offline { .. })));
    assert!(dir.failure().is_some());
    assert_eq!(events.0.lock().unwrap().len(), 2);
    assert_eq!(visible_records(&a), 1);
}

#[test]
fn a_rotten_acknowledged_batch_keeps_its_log_closed_and_named_others_open() {
    let disk = FaultStorage::new(4);
    let (dir, _, _) = open(&disk);
    let (a, b) = (create(&dir, "a"), create(&dir, "b"));
    for i in 0..20 {
        append(&a, &[i; 100]).unwrap();
        append(&b, &[i; 100]).unwrap();
    }
    // Large ones go past the journal, so that no replay can mend them.
    append(&a, &[b'x'; 5000]).unwrap();
    dir.run_pending();
    append(&a, b"after").unwrap();
    dir.run_pending();
    drop(dir);
    let mut disk = disk.restart();
    disk.rot(Path::new("/data/a-0/00000000000000000000.log"), 5000);
    // Refused the first time, and every time after.
    for _ in 0..3 {
        let (dir, report, _) = open(&disk);
        let refused = report.refused.first().expect("refused").error.to_string();
        assert!(refused.starts_with("a-0 is corrupt: 00000000000000000000.log at byte "), "{refused}");
        assert!(dir.log(&TopicPartition::new("a", 0)).is_none());
        assert_eq!(dir.log(&TopicPartition::new("b", 0)).unwrap().log_end(), 20);
        drop(dir);
        disk = disk.restart();
    }
    disk.rot(Path::new("/data/a-0/00000000000000000000.log"), 5000);
    let (dir, report, _) = open(&disk);
    assert!(report.refused.is_empty(), "healed: {report:?}");
    assert_eq!(dir.log(&TopicPartition::new("a", 0)).unwrap().log_end(), 22);
}

#[test]
fn a_torn_tail_is_cut_to_the_last_whole_batch_and_reported() {
    let disk = FaultStorage::new(5);
    let (dir, _, _) = open(&disk);
    let log = create(&dir, "a");
    append(&log, b"kept").unwrap();
    dir.run_pending();
    drop(dir);
    let disk = disk.restart();
    let path = Path::new("/data/a-0/00000000000000000000.log");
    let whole = batch(b"torn");
    let file = Storage::open(&disk, path, log::OpenMode::Write).unwrap();
    let end = batch(b"kept").len() as u64;
    file.write_at(end, &[&whole[..40]]).unwrap();
    file.sync_data().unwrap();
    let (dir, report, _) = open(&disk);
    let recovered = report.recovered.first().expect("reported");
    assert_eq!((recovered.partition.to_string().as_str(), recovered.truncated_bytes), ("a-0", 40));
    assert!(recovered.reason.contains("at byte"), "{}", recovered.reason);
    let log = dir.log(&TopicPartition::new("a", 0)).unwrap();
    assert_eq!(log.log_end(), 1);
    assert_eq!(append(&log, b"next").unwrap(), 1);
}

#[test]
fn producers_are_held_to_their_sequences() {
    let disk = FaultStorage::new(6);
    let (dir, _, _) = open(&disk);
    let log = create(&dir, "a");
    let send = |epoch: i16, sequence: i32| {
        let mut builder = BatchBuilder::new(Compression::None).producer(9, epoch, sequence);
        for _ in 0..2 {
            builder.push(1000, None, Some(b"v"), std::iter::empty::<(&[u8], Option<&[u8]>)>()).unwrap();
        }
        log.append(AppendBatches::client(Bytes::from(builder.build().unwrap()), 0))
    };
    for i in 0..6 {
        assert_eq!(send(0, i * 2).unwrap().base_offset, i64::from(i) * 2);
    }
    let again = send(0, 4).unwrap();
    assert!(again.duplicate);
    assert_eq!((again.base_offset, again.last_offset), (4, 5));
    assert!(matches!(send(0, 0), Err(LogError::OutOfOrderSequence { expected: 12, .. })), "too old to know");
    assert!(matches!(send(0, 14), Err(LogError::OutOfOrderSequence { expected: 12, got: 14, .. })));
    assert!(matches!(send(1, 3), Err(LogError::OutOfOrderSequence { expected: 0, .. })));
    assert_eq!(send(1, 0).unwrap().base_offset, 12);
    assert!(matches!(send(0, 12), Err(LogError::InvalidProducerEpoch { got: 0, current: 1, .. })));
    assert_eq!(log.log_end(), 14);
    dir.close().unwrap();
    let (dir, report, _) = open(&disk.restart());
    assert!(report.clean);
    let log = dir.log(&TopicPartition::new("a", 0)).unwrap();
    let mut builder = BatchBuilder::new(Compression::None).producer(9, 1, 0);
    for _ in 0..2 {
        builder.push(1000, None, Some(b"v"), std::iter::empty::<(&[u8], Option<&[u8]>)>()).unwrap();
    }
    let again = log.append(AppendBatches::client(Bytes::from(builder.build().unwrap()), 0)).unwrap();
    assert!(again.duplicate && again.base_offset == 12);
}

#[test]
fn a_cut_log_stays_cut() {
    let disk = FaultStorage::new(7);
    let (dir, _, _) = open(&disk);
    let log = create(&dir, "a");
    for i in 0..10 {
        append(&log, &[i; 50]).unwrap();
    }
    dir.run_pending();
    assert_eq!(dir.truncate(&log, 4).unwrap(), 4);
    assert_eq!((log.log_end(), log.durable_end()), (4, 4));
    assert_eq!(append(&log, b"other").unwrap(), 4);
    dir.run_pending();
    assert_eq!(visible_records(&log), 5);
    drop((log, dir));
    let (dir, report, _) = open(&disk.restart());
    assert!(report.refused.is_empty(), "{report:?}");
    let log = dir.log(&TopicPartition::new("a", 0)).unwrap();
    assert_eq!((log.log_end(), visible_records(&log)), (5, 5));
}

#[test]
fn idle_logs_give_their_files_back_and_go_on_when_needed() {
    let disk = FaultStorage::new(1);
    let (dir, _, _) = open(&disk);
    let before = disk.open_files();
    let logs: Vec<Arc<Log>> = ('A'..='Y').map(|name| create(&dir, &name.to_string())).collect();
    for log in &logs {
        append(log, b"small, by the journal").unwrap();
        append(log, &[b'x'; 5000]).unwrap();
    }
    dir.run_pending();
    disk.set_open_files_max(before + 10);
    assert!(dir.files_run_short());
    // What is written and not synced yet keeps its file.
    append(&logs[0], b"third").unwrap();
    dir.close_idle_files();
    assert!(!dir.files_run_short(), "{} files are open", disk.open_files() - before);
    dir.run_pending();
    for log in &logs[1..] {
        append(log, b"third").unwrap();
    }
    dir.run_pending();
    for log in &logs {
        assert_eq!((log.durable_end(), visible_records(log)), (3, 3), "{}", log.partition());
    }
    dir.close_idle_files();
    let (dir, report, _) = open(&disk.restart());
    assert!(report.refused.is_empty(), "{report:?}");
    for log in dir.logs() {
        assert_eq!(visible_records(&log), 3, "{}", log.partition());
    }
}

#[test]
fn more_logs_than_files_that_may_be_open_are_recovered() {
    let disk = FaultStorage::new(1);
    let (dir, _, _) = open(&disk);
    let before = disk.open_files();
    for name in 'A'..='Y' {
        let log = create(&dir, &name.to_string());
        append(&log, b"by the journal").unwrap();
        append(&log, &[b'x'; 5000]).unwrap();
        dir.run_pending();
    }
    let restarted = |disk: &FaultStorage| {
        disk.set_open_files_limit(before + 6);
        let (dir, report, _) = open(disk);
        assert!(report.refused.is_empty(), "{report:?}");
        assert_eq!(dir.logs().len(), 25);
        for log in dir.logs() {
            assert_eq!(visible_records(&log), 2, "{}", log.partition());
            dir.close_idle_files();
        }
        dir
    };
    let dir = restarted(&disk.restart());
    // Closed properly, it is opened by another road.
    dir.close().unwrap();
    restarted(&disk.restart());
}

#[test]
fn what_was_on_its_way_to_a_deleted_log_never_reaches_one_of_the_same_name() {
    let disk = FaultStorage::new(1);
    let (dir, _, _) = open(&disk);
    let partition = TopicPartition::new("a", 0);
    let old = create(&dir, "a");
    append(&old, b"old").unwrap();
    dir.run_pending();
    dir.close_idle_files();
    append(&old, b"late").unwrap();
    dir.delete_log(&partition).unwrap();
    let topic_id = [9; 16];
    let new = dir.create_log(NewLog { partition, topic_id, config: LogConfig::default() }).unwrap();
    append(&new, b"n").unwrap();
    append(&new, b"e").unwrap();
    append(&new, b"w").unwrap();
    dir.run_pending();
    assert_eq!(visible_records(&new), 3);
    let (dir, report, _) = open(&disk.restart());
    assert!(report.refused.is_empty(), "{report:?}");
    assert_eq!(visible_records(&dir.logs()[0]), 3);
}
