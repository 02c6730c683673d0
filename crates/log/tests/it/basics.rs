//! On real files, with the threads of the directory.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use kafka_codec::records::{BatchBuilder, Compression};
use log::{
    AppendBatches, Log, LogConfig, LogDir, LogDirConfig, LogError, LogEvents, NewLog, ReadLimit, ReadRequest,
    RealStorage, RecoveryReport, SystemClock, TopicPartition,
};

#[derive(Default)]
struct Ends {
    changed: Condvar,
    round: Mutex<u64>,
}

impl LogEvents for Ends {
    fn advanced(&self, _log: &Arc<Log>, _durable_end: i64) {
        *self.round.lock().unwrap() += 1;
        self.changed.notify_all();
    }
    fn failed(&self, log: &Arc<Log>, error: &LogError) {
        panic!("{} failed: {error}", log.partition());
    }
}

impl Ends {
    fn wait(&self, log: &Log, end: i64) {
        let mut round = self.round.lock().unwrap();
        while log.durable_end() < end {
            let (guard, timeout) =
                self.changed.wait_timeout(round, std::time::Duration::from_secs(20)).unwrap();
            assert!(!timeout.timed_out(), "{} never became durable up to {end}", log.partition());
            round = guard;
        }
    }
}

fn open(path: &Path, config: LogDirConfig) -> (LogDir, RecoveryReport, Arc<Ends>) {
    let events = Arc::new(Ends::default());
    let (dir, report) =
        LogDir::open(path, config, Arc::new(RealStorage), Arc::new(SystemClock), events.clone()).unwrap();
    (dir, report, events)
}

fn batch(values: &[&[u8]], timestamp_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (i, value) in values.iter().enumerate() {
        builder
            .push(
                timestamp_ms + i as i64,
                Some(b"key".as_slice()),
                Some(*value),
                std::iter::empty::<(&[u8], Option<&[u8]>)>(),
            )
            .unwrap();
    }
    Bytes::from(builder.build().unwrap())
}

fn new_log(name: &str, partition: i32, config: LogConfig) -> NewLog {
    let mut topic_id = [7u8; 16];
    for (to, from) in topic_id.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    NewLog { partition: TopicPartition::new(name, partition), topic_id, config }
}

fn values(log: &Log, from: i64) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut offset = from;
    loop {
        let request =
            ReadRequest { offset, max_bytes: 1000, at_least_one: true, limit: ReadLimit::HighWatermark };
        let (slice, bytes) = log.read_bytes(&request).unwrap();
        if slice.len == 0 {
            return found;
        }
        for batch in kafka_codec::records::Batches::new(&bytes) {
            let batch = batch.unwrap();
            let mut scratch = Vec::new();
            for record in kafka_codec::records::records(&batch, 1 << 20, &mut scratch).unwrap() {
                let record = record.unwrap();
                if record.offset >= offset {
                    found.push((record.offset, record.value.unwrap().to_vec()));
                }
            }
            offset = batch.header.next_offset();
        }
    }
}

#[test]
fn appends_are_durable_readable_and_survive_close_and_crash() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("data");
    let big = vec![b'x'; 100_000];
    {
        let (dir, report, events) = open(&path, LogDirConfig::default());
        assert!(report.recovered.is_empty() && report.refused.is_empty());
        let log = dir.create_log(new_log("a", 0, LogConfig::default())).unwrap();
        let appended = log.append(AppendBatches::client(batch(&[b"one", b"two"], 1000), 0)).unwrap();
        assert_eq!((appended.base_offset, appended.last_offset), (0, 1));
        let appended = log.append(AppendBatches::client(batch(&[&big], 2000), 0)).unwrap();
        assert_eq!((appended.base_offset, appended.last_offset), (2, 2));
        log.append(AppendBatches::client(batch(&[b"four"], 3000), 1)).unwrap();
        events.wait(&log, 4);
        log.append(AppendBatches::client(batch(&[b"five"], 4000), 1)).unwrap();
        events.wait(&log, 5);
        assert_eq!(values(&log, 0).len(), 5);
        assert_eq!(values(&log, 1)[0], (1, b"two".to_vec()));
        // Dropped without a close: as after a crash.
    }
    {
        let (dir, report, _events) = open(&path, LogDirConfig::default());
        assert!(!report.clean);
        assert!(report.refused.is_empty(), "{report:?}");
        let log = dir.log(&TopicPartition::new("a", 0)).unwrap();
        assert_eq!(log.log_end(), 5);
        let all = values(&log, 0);
        assert_eq!(all.iter().map(|v| v.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(all[4].1, b"five");
        assert_eq!(log.epoch_at(3), Some(1));
        dir.close().unwrap();
    }
    let (dir, report, events) = open(&path, LogDirConfig::default());
    assert!(report.clean, "{report:?}");
    let log = dir.log(&TopicPartition::new("a", 0)).unwrap();
    assert_eq!(log.log_end(), 5);
    assert_eq!(values(&log, 0).len(), 5);
    let found = log.offset_for_timestamp(2500, ReadLimit::HighWatermark).unwrap().unwrap();
    assert_eq!((found.timestamp_ms, found.offset, found.leader_epoch), (3000, 3, 1));
    let newest = log.max_timestamp().unwrap().unwrap();
    assert_eq!((newest.timestamp_ms, newest.offset), (4000, 4));
    log.append(AppendBatches::client(batch(&[b"six"], 5000), 2)).unwrap();
    events.wait(&log, 6);
    assert_eq!(values(&log, 5), [(5, b"six".to_vec())]);
}

#[test]
fn a_second_process_is_kept_out() {
    let tmp = tempfile::tempdir().unwrap();
    let (_dir, _, _) = open(tmp.path(), LogDirConfig::default());
    let second = LogDir::open(
        tmp.path(),
        LogDirConfig::default(),
        Arc::new(RealStorage),
        Arc::new(SystemClock),
        Arc::new(Ends::default()),
    );
    assert!(matches!(second.map(|_| ()), Err(LogError::Locked { .. })));
}
