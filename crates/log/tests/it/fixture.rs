//! A data directory written by format version 1, kept for ever: every later version must open it.
//!
//! `FIXTURE_BLESS=1 cargo test -p tributary-log fixture` writes it anew (only for a new format version, into a
//! directory of its own).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kafka_codec::records::{BatchBuilder, Compression, end_transaction_marker};
use log::testing::ManualClock;
use log::{
    AppendBatches, Log, LogConfig, LogDir, LogDirConfig, LogError, LogEvents, NewLog, ReadLimit, ReadRequest,
    RealStorage, RecoveryReport, Threads, TopicPartition,
};

struct Quiet;

impl LogEvents for Quiet {
    fn advanced(&self, _log: &Arc<Log>, _durable_end: i64) {}
    fn failed(&self, log: &Arc<Log>, error: &LogError) {
        panic!("{} failed: {error}", log.partition());
    }
}

fn open(path: &Path) -> (LogDir, RecoveryReport) {
    let config =
        LogDirConfig { journal_bytes: 256 << 10, threads: Threads::Manual, ..LogDirConfig::default() };
    let clock = Arc::new(ManualClock::new(1_700_000_100_000));
    LogDir::open(path, config, Arc::new(RealStorage), clock, Arc::new(Quiet)).unwrap()
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn batch(i: i64, compression: Compression, producer: Option<(i64, i32, bool)>) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    if let Some((id, sequence, transactional)) = producer {
        builder = builder.producer(id, 0, sequence);
        if transactional {
            builder = builder.transactional();
        }
    }
    for k in 0..3 {
        let value = format!("value {i}.{k} {}", "x".repeat(150));
        builder
            .push(
                1_700_000_000_000 + i * 1000 + k,
                Some(format!("key {k}").as_bytes()),
                Some(value.as_bytes()),
                std::iter::empty::<(&[u8], Option<&[u8]>)>(),
            )
            .unwrap();
    }
    Bytes::from(builder.build().unwrap())
}

/// Writes the fixture's contents: several segments, every codec, an idempotent and a transactional producer with an
/// aborted transaction, two leader epochs, one clean close, then appends that only the journal is sure to have.
fn write(path: &Path) {
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let config = LogConfig { segment_bytes: 4000, index_interval_bytes: 700, ..LogConfig::default() };
    {
        let (dir, _) = open(path);
        let log = dir
            .create_log(NewLog { partition: TopicPartition::new("kept", 0), topic_id: [42; 16], config })
            .unwrap();
        for i in 0..20 {
            let codec = codecs[i as usize % codecs.len()];
            let producer = (i % 2 == 0).then_some((1000, (i as i32 / 2) * 3, false));
            log.append(AppendBatches::client(batch(i, codec, producer), i as i32 / 10)).unwrap();
        }
        log.append(AppendBatches::client(batch(20, Compression::None, Some((2000, 0, true))), 1)).unwrap();
        let marker = end_transaction_marker(2000, 0, false, 7, 1_700_000_050_000).unwrap();
        log.append(AppendBatches::coordinator(Bytes::from(marker), 1)).unwrap();
        dir.run_pending();
        dir.close().unwrap();
    }
    let (dir, report) = open(path);
    assert!(report.clean);
    let log = dir.log(&TopicPartition::new("kept", 0)).unwrap();
    for i in 21..24 {
        log.append(AppendBatches::client(
            batch(i, Compression::None, Some((1000, (i as i32 - 11) * 3, false))),
            1,
        ))
        .unwrap();
    }
    dir.run_pending();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The zeros that a fresh journal slot is filled with need not be kept.
fn trim_journals(path: &Path) {
    for name in ["journal-0000", "journal-0001"] {
        let bytes = std::fs::read(path.join(name)).unwrap();
        let len = bytes.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1);
        std::fs::write(path.join(name), &bytes[..len]).unwrap();
    }
}

#[test]
fn version_1_opens_for_ever() {
    if std::env::var_os("FIXTURE_BLESS").is_some() {
        let tmp = tempfile::tempdir().unwrap();
        write(tmp.path());
        let _ = std::fs::remove_dir_all(fixture());
        copy(tmp.path(), &fixture());
        trim_journals(&fixture());
        // As a power failure leaves it: the last appends are in the journal only.
        let newest = fixture().join("kept-0/00000000000000000045.log");
        let len = std::fs::metadata(&newest).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&newest).unwrap().set_len(len - 1000).unwrap();
    }
    let tmp = tempfile::tempdir().unwrap();
    copy(&fixture(), tmp.path());
    let (dir, report) = open(tmp.path());
    assert!(!report.clean && report.refused.is_empty() && report.notes.is_empty(), "{report:?}");
    assert!(report.recovered[0].replayed_bytes > 1000, "{report:?}");
    let log = dir.log(&TopicPartition::new("kept", 0)).unwrap();
    assert_eq!((log.topic_id(), log.log_start(), log.log_end()), ([42; 16], 0, 73));
    assert!(log.segment_count() > 1);
    let mut offset = 0;
    let mut values = 0;
    while offset < log.log_end() {
        let request =
            ReadRequest { offset, max_bytes: 2000, at_least_one: true, limit: ReadLimit::HighWatermark };
        let (_, bytes) = log.read_bytes(&request).unwrap();
        for batch in kafka_codec::records::Batches::new(&bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            assert_eq!(batch.header.base_offset, offset);
            let mut scratch = Vec::new();
            for record in kafka_codec::records::records(&batch, 1 << 20, &mut scratch).unwrap() {
                let record = record.unwrap();
                values += usize::from(record.value.unwrap().starts_with(b"value "));
            }
            offset = batch.header.next_offset();
        }
    }
    assert_eq!(values, 72);
    assert_eq!((log.epoch_at(0), log.epoch_at(30), log.latest_epoch()), (Some(0), Some(1), Some(1)));
    let aborted = log.aborted_txns(0, 73).unwrap();
    assert_eq!((aborted.len(), aborted[0].first_offset, aborted[0].last_offset), (1, 60, 63));
    let producers: Vec<(i64, i32)> =
        log.active_producers().iter().map(|p| (p.producer_id, p.last_sequence)).collect();
    assert_eq!(producers, [(1000, 38), (2000, 2)]);
    let found = log.offset_for_timestamp(1_700_000_010_000, ReadLimit::HighWatermark).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp_ms), (30, 1_700_000_010_000));
    assert_eq!(log.last_stable_offset(), 73);
    dir.close().unwrap();
    let (_, report) = open(tmp.path());
    assert!(report.clean);
}
