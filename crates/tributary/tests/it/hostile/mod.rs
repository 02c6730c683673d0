//! A crowd of hostile Kafka clients: seeded malformed requests, while well-behaved clients work on. The node neither
//! ends nor grows beyond a bound, nobody else notices, and nothing that is not whole gets into a log.
//!
//! `TRIBUTARY_REQUESTS` and `TRIBUTARY_SEED` set the number of hostile requests and what they are.

mod attack;
mod batches;
mod mqtt;
mod soup;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::admin::{CreateTopicsOptions, NewTopic};
use client::{Consumer, ConsumerConfig, Producer, ProducerConfig, ProducerRecord, TopicPartition};
use kafka_codec::records::{Batches, records};
use testkit::node::Node;

use self::soup::Dice;
use crate::from_env;

/// Topic of the well-behaved clients; hostile ones do not know its name.
const TOPIC: &str = "undisturbed";
const HOSTILE_CONNECTIONS: u64 = 8;
/// What a node with these settings may take. (It holds at most 64 MB of requests and, per thread, one batch that
/// is being decompressed.)
const RSS_BYTES_MAX: u64 = 400 << 20;
/// An answer to a well-behaved client takes no longer.
const PATIENCE: Duration = Duration::from_secs(20);
const SET: [&str; 3] = ["queued.max.request.bytes=67108864", "max.partitions=1500", "num.partitions=2"];

#[test]
fn hostile_requests_harm_nobody_and_leave_nothing_behind() {
    let (requests, seed) =
        (from_env("TRIBUTARY_REQUESTS", 3_000), from_env("TRIBUTARY_SEED", 20_261_127).max(1));
    println!("TRIBUTARY_REQUESTS={requests} TRIBUTARY_SEED={seed}");
    let dir = tempfile::tempdir().expect("tempdir");
    let mut options = crate::options(dir.path());
    options.arguments = SET.iter().flat_map(|set| ["--set".to_string(), set.to_string()]).collect();
    let mut node = Node::start(options).expect("starts");
    let (kafka, pid) = (node.kafka(), node.pid().expect("runs"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let (sent, peak, produced) = runtime.block_on(async {
        create_topics(kafka).await;
        let neighbour = tokio::spawn(neighbour(kafka, stop.clone()));
        let peak = tokio::spawn(watch_memory(pid, stop.clone()));
        let sent = Arc::new(AtomicU64::new(0));
        let hostile: Vec<_> = (0..HOSTILE_CONNECTIONS)
            .map(|number| {
                let dice = Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number + 1));
                tokio::spawn(attack::run(kafka, dice, sent.clone(), requests))
            })
            .collect();
        let mut told = attack::Told::default();
        for task in hostile {
            told.add(&task.await.expect("no panic"));
        }
        stop.store(true, Ordering::Relaxed);
        let produced =
            tokio::time::timeout(PATIENCE * 3, neighbour).await.expect("answers").expect("no panic");
        (told, peak.await.expect("no panic"), produced)
    });
    println!("{sent:?} in {:?}; RSS at most {} MB", began.elapsed(), peak >> 20);
    println!("neighbour: {} records, slowest answer {:?}", produced.records, produced.slowest);
    assert!(sent.answered > 0 && sent.closed > 0, "{sent:?}");
    assert!(produced.records > 10, "the neighbour hardly got anything done");
    assert!(peak < RSS_BYTES_MAX, "RSS rose to {peak} bytes");
    runtime.block_on(check_neighbour(kafka, produced.records));
    let (status, said) = node.terminate().expect("stops");
    assert!(status.success(), "{status}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let (batches, records) = check_logs(dir.path());
    println!("{batches} batches with {records} records on disk, all whole");
    node.restart().expect("starts again");
    runtime.block_on(check_neighbour(node.kafka(), produced.records));
    let (status, said) = node.terminate().expect("stops");
    assert!(status.success() && !said.contains("panicked"), "{status}: {said}");
}

/// What the well-behaved client did.
struct Produced {
    records: u64,
    slowest: Duration,
}

async fn create_topics(kafka: SocketAddr) {
    let admin =
        client::Admin::new(client::AdminConfig::new(&kafka.to_string()).expect("config")).expect("admin");
    let names = attack::TOPICS.iter().chain([&TOPIC]);
    let topics: Vec<_> = names.map(|name| NewTopic::new(*name, Some(2), Some(1))).collect();
    let created = admin.create_topics(&topics, CreateTopicsOptions::default()).await.expect("created");
    assert!(created.iter().all(|(_, outcome)| outcome.is_ok()), "{created:?}");
    admin.close().await;
}

/// Produces number after number and waits for each; all must be taken.
async fn neighbour(kafka: SocketAddr, stop: Arc<AtomicBool>) -> Produced {
    let mut config = ProducerConfig::new(&kafka.to_string()).expect("config");
    config.linger = Duration::ZERO;
    let producer = Producer::new(config).expect("producer");
    let mut produced = Produced { records: 0, slowest: Duration::ZERO };
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let record = ProducerRecord::new(TOPIC, Bytes::from(produced.records.to_string())).partition(0);
        let delivery = producer.send(record).await.expect("sends");
        let metadata = tokio::time::timeout(PATIENCE, delivery).await.expect("an answer in time");
        assert_eq!(metadata.expect("taken").offset, produced.records as i64);
        produced.records += 1;
        produced.slowest = produced.slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    producer.close(PATIENCE).await;
    produced
}

/// The topic holds exactly the numbers below `count`.
async fn check_neighbour(kafka: SocketAddr, count: u64) {
    let mut consumer =
        Consumer::new(ConsumerConfig::new(&kafka.to_string(), None).expect("config")).expect("consumer");
    let of = TopicPartition::new(TOPIC, 0);
    consumer.assign(std::slice::from_ref(&of)).expect("assigned");
    consumer.seek_to_beginning(std::slice::from_ref(&of)).expect("sought");
    assert_eq!(consumer.end_offsets(std::slice::from_ref(&of)).await.expect("an end")[&of], count as i64);
    let mut next = 0;
    while next < count {
        let records = tokio::time::timeout(PATIENCE, consumer.poll(Duration::from_secs(1))).await;
        for record in records.expect("records in time").expect("polls") {
            assert_eq!(record.value.as_deref(), Some(next.to_string().as_bytes()));
            next += 1;
        }
    }
}

async fn watch_memory(pid: u32, stop: Arc<AtomicBool>) -> u64 {
    let mut peak = 0;
    while !stop.load(Ordering::Relaxed) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        peak = peak.max(rss.and_then(|kb| kb.trim().parse::<u64>().ok()).unwrap_or_default() << 10);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    peak
}

/// Reads every segment of a stopped node as anybody might who knows Kafka's format: whole batches only, each with
/// its checksum right and as many records as it says, offsets going up.
fn check_logs(data: &Path) -> (usize, usize) {
    let (mut batches, mut all) = (0, 0);
    let mut directories = vec![data.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let bytes = std::fs::read(&path).expect("a segment");
            let mut walk = Batches::new(&bytes);
            let (mut next, mut scratch) = (i64::MIN, Vec::new());
            for batch in &mut walk {
                let batch = batch.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                let at = batch.header.base_offset;
                batch.check_crc().unwrap_or_else(|e| panic!("{} at {at}: {e}", path.display()));
                assert!(at >= next, "{}: offset {at} after {next}", path.display());
                next = batch.header.next_offset();
                scratch.clear();
                let read = records(&batch, 256 << 20, &mut scratch)
                    .and_then(|records| records.collect::<Result<Vec<_>, _>>())
                    .unwrap_or_else(|e| panic!("{} at {at}: {e}", path.display()));
                assert_eq!(read.len(), batch.header.record_count as usize, "{} at {at}", path.display());
                batches += 1;
                all += read.len();
            }
            assert!(walk.rest().iter().all(|byte| *byte == 0), "{} ends in a torn batch", path.display());
        }
    }
    (batches, all)
}
