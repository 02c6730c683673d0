//! Fifty SIGKILLs at random moments under mixed MQTT and Kafka load, with consumer groups, share groups, transactions,
//! compaction and administration under way; then the history checker compares what was acknowledged with what the log, a
//! persistent subscriber, the groups and the settings hold.
//!
//! `TRIBUTARY_KILLS` and `TRIBUTARY_SEED` set the number of kills and the seed of their moments.

mod compacted;
mod fleet;
mod groups;
mod meddler;
mod publisher;
mod settings;
mod sharer;
mod subscriber;
mod transactor;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::{Consumer, ConsumerConfig, Producer, ProducerConfig, ProducerRecord, TopicPartition};
use mqtt_codec::{ProtocolVersion, QoS};
use testkit::history::{
    Delivery, FinalRead, History, MqttEnd, Op, Partition, Process, Recorder, Send, ShareRecorder, Value,
    check_log, check_mqtt, check_registers, check_shares, check_transactions,
};
use testkit::node::Node;

use self::publisher::Device;
use self::subscriber::Role;

use crate::from_env;

/// Kafka topic of the MQTT publishers (first level of their topics).
const MQTT_TOPIC: &str = "kill";
/// Kafka topic of the Kafka producers.
const KAFKA_TOPIC: &str = "direct";
const KAFKA_PARTITIONS: i32 = 3;
/// Nothing may take longer than this between two kills or at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Access control that lets everybody in (so that there are entries to change), and a cleaner that hardly rests.
const SET: [&str; 3] = [
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found=true",
    "log.cleaner.backoff.ms=50",
];
/// Writers of the compacted topic.
const COMPACTED: std::ops::Range<Process> = 60..62;

/// What every driver shares.
#[derive(Clone)]
struct Drivers {
    mqtt: SocketAddr,
    kafka: SocketAddr,
    recorder: Recorder,
    values: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Drivers {
    fn new(node: &Node) -> Self {
        Self {
            mqtt: node.mqtt(),
            kafka: node.kafka(),
            recorder: Recorder::default(),
            values: Arc::new(AtomicU64::new(1)),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Properties of a Kafka client that soon comes back after a kill, and `own` ones.
    fn properties(&self, own: &[(&str, &str)]) -> BTreeMap<String, String> {
        let kafka = self.kafka.to_string();
        let patient = [
            ("bootstrap.servers", kafka.as_str()),
            ("request.timeout.ms", "5000"),
            ("reconnect.backoff.ms", "20"),
            ("reconnect.backoff.max.ms", "100"),
            ("retry.backoff.ms", "20"),
            ("retry.backoff.max.ms", "100"),
        ];
        patient.iter().chain(own).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// A producer that rides over kills by its own retries.
    fn producer(&self, own: &[(&str, &str)]) -> Producer {
        let mut properties = self.properties(own);
        properties.insert("delivery.timeout.ms".to_owned(), "120000".to_owned());
        Producer::new(ProducerConfig::from_properties(properties).expect("config")).expect("producer")
    }

    fn next_value(&self) -> Value {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A small deterministic generator: the moments of the kills follow from the seed.
#[derive(Clone, Debug)]
pub struct Moments(u64);

impl Moments {
    /// The next number below `below`.
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_over_kills() {
    let (kills, seed) = (from_env("TRIBUTARY_KILLS", 50), from_env("TRIBUTARY_SEED", 20_261_121).max(1));
    println!("TRIBUTARY_KILLS={kills} TRIBUTARY_SEED={seed}");
    let dir = tempfile::tempdir().expect("tempdir");
    let mut options = crate::options(dir.path());
    options.arguments = SET.iter().flat_map(|set| ["--set".to_string(), set.to_string()]).collect();
    let mut node = Node::start(options).expect("starts");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let drivers = Drivers::new(&node);
    runtime.block_on(create_topic(&drivers));
    let role = Role {
        name: "kill-subscriber".into(),
        version: ProtocolVersion::V311,
        qos: QoS::ExactlyOnce,
        filters: vec![format!("{MQTT_TOPIC}/#")],
        restless: None,
    };
    let subscriber = runtime.block_on(subscriber::start(&drivers, role)).expect("subscribes");
    let mut tasks = Vec::new();
    for process in 0..9u32 {
        let qos = (process % 3) as u8;
        let device = Device { process, qos, root: MQTT_TOPIC, window: 10, pause: Duration::ZERO };
        let task = runtime.spawn(publisher::run(drivers.clone(), device));
        tasks.push((format!("MQTT publisher {process} at QoS {qos}"), task));
    }
    let retainer = runtime.spawn(publisher::run_retained(drivers.clone(), 20));
    for (process, acks, idempotent) in
        [(30, "1", false), (31, "all", false), (32, "all", true), (33, "all", true)]
    {
        let task = runtime.spawn(produce(drivers.clone(), process, acks, idempotent));
        tasks.push((format!("Kafka producer {process}, acks={acks}, idempotent: {idempotent}"), task));
    }
    for process in 40..43 {
        let task = runtime.spawn(transactor::run(drivers.clone(), process));
        tasks.push((format!("transactional producer {process}"), task));
    }
    for (process, group) in groups::GROUPS.into_iter().enumerate() {
        for (member, restless) in [(0, false), (1, true)] {
            let process = 50 + 2 * process as Process + member;
            let task = runtime.spawn(groups::run(drivers.clone(), process, group, restless));
            tasks.push((format!("member {process} of {}", group.0), task));
        }
    }
    tasks.push(("watcher of groups".to_string(), runtime.spawn(groups::watch(drivers.clone(), 54))));
    for process in COMPACTED {
        let task = runtime.spawn(compacted::write(drivers.clone(), process));
        tasks.push((format!("writer {process} of a compacted topic"), task));
    }
    let scanned = runtime.spawn(compacted::read(drivers.clone(), 62, compacted::names(COMPACTED)));
    let shares = ShareRecorder::default();
    let shared = runtime.block_on(sharer::prepare(drivers.kafka)).expect("share group");
    tasks.push(("producer for the share group".to_string(), runtime.spawn(sharer::produce(drivers.clone()))));
    for number in 0..2 {
        let task = runtime.spawn(sharer::work(drivers.clone(), shared, number, shares.clone()));
        tasks.push((format!("member {number} of the share group"), task));
    }
    tasks.push(("administrator".to_string(), runtime.spawn(settings::run(drivers.clone(), 70))));
    let mut moments = Moments(seed);
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(30 + moments.next(400)));
        node.kill().expect("kills");
        node.restart().expect("comes back");
    }
    std::thread::sleep(Duration::from_millis(500));
    drivers.stop.store(true, Ordering::Relaxed);
    let (finals, end, transacted, ends, kept, shared_logs) = runtime.block_on(async {
        for (name, task) in tasks {
            let ended = tokio::time::timeout(PATIENCE, task).await;
            ended.unwrap_or_else(|_| panic!("{name} does not end")).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        tokio::time::timeout(PATIENCE, scanned).await.expect("ends in time").expect("no panic");
        let kept_records = compacted::read(drivers.clone(), 63, compacted::names(COMPACTED)).await;
        groups::watch(drivers.clone(), 55).await;
        let kept = tokio::time::timeout(PATIENCE, retainer).await.expect("ends in time").expect("no panic");
        let topics = (0..9).map(|process| format!("{MQTT_TOPIC}/{process}").into()).collect();
        let subscriber =
            tokio::time::timeout(PATIENCE, subscriber.finish(topics)).await.expect("ends in time");
        let retained = subscriber::retained(drivers.mqtt, &kept).await.expect("retained messages");
        let mut finals = vec![read_all(drivers.kafka, Partition::new(MQTT_TOPIC, 0)).await];
        for index in 0..KAFKA_PARTITIONS {
            finals.push(read_all(drivers.kafka, Partition::new(KAFKA_TOPIC, index)).await);
        }
        let (mut transacted, mut ends) = (Vec::new(), Vec::new());
        for index in 0..transactor::PARTITIONS {
            let partition = Partition::new(transactor::TOPIC, index);
            transacted.push(read_all(drivers.kafka, partition.clone()).await);
            ends.push((partition.clone(), end_of(drivers.kafka, &partition).await));
        }
        let mut shared_logs = Vec::new();
        for index in 0..sharer::PARTITIONS {
            let offsets = sharer::offsets(drivers.kafka, shared, index).await.expect("offsets");
            shared_logs.push((Partition::new(sharer::TOPIC, index), offsets));
        }
        let end = MqttEnd { subscribers: vec![subscriber], retained };
        (finals, end, transacted, ends, kept_records, shared_logs)
    });
    let history = drivers.recorder.history();
    let log = check_log(&history, &finals);
    let mqtt = check_mqtt(&history, &end);
    let transactions = check_transactions(&history, &transacted, &ends);
    let registers = check_registers(&history);
    let worked = shares.history();
    let share_violations = check_shares(&worked, &shared_logs, sharer::DELIVERIES_MAX);
    let (commits, sets) = counts(&history);
    println!(
        "log: {log}\nmqtt: {mqtt}\ntransactions: {transactions}\nsettings and keys: {registers}\n\
         share group: {} records, {} handed out, {} accepted\n\
         {commits:?} commits of groups, {sets:?} changes; the compacted topic keeps {kept} records",
        shared_logs.iter().map(|(_, offsets)| offsets.len()).sum::<usize>(),
        worked.0.len(),
        worked.1.len(),
    );
    assert!(log.is_valid(), "seed {seed}: log: {log}");
    assert!(mqtt.is_valid(), "seed {seed}: mqtt: {mqtt}");
    assert!(transactions.is_valid(), "seed {seed}: transactions: {transactions}");
    assert!(registers.is_valid(), "seed {seed}: settings and keys: {registers}");
    assert!(share_violations.is_empty(), "seed {seed}: share group: {share_violations:?}");
    assert!(worked.1.len() > 100, "hardly anything was accepted in the share group");
    for (what, number) in commits.iter().chain(&sets) {
        assert!(*number > 10, "hardly anything happened: {what}, {number}");
    }
    let written = registers.acknowledged as i64;
    assert!(kept < written / 2, "nothing was compacted: {kept} records of {written}");
    assert!(transactions.acknowledged > 20, "hardly any transaction was committed");
    assert!(log.acknowledged > 100 && mqtt.acknowledged > 100, "hardly anything happened");
    let (status, said) = node.terminate().expect("stops");
    assert!(status.success(), "{status}: {said}");
}

/// Acknowledged commits of each group, and changes of each kind of name (`Acl`, …; `latest` for keys).
fn counts(history: &History) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
    let (mut commits, mut sets) = (BTreeMap::new(), BTreeMap::new());
    for operation in history.operations.iter().filter(|o| o.ok_at().is_some()) {
        match &operation.op {
            Op::GroupOffset(group) if group.offset.is_some() => {
                *commits.entry(group.group.to_string()).or_default() += 1;
            }
            Op::Set { name, .. } => {
                let kind = name.split('/').next().unwrap_or_default();
                *sets.entry(kind.to_string()).or_default() += 1;
            }
            _ => {}
        }
    }
    (commits, sets)
}

async fn create_topic(drivers: &Drivers) {
    let admin = client::Admin::new(client::AdminConfig::new(&drivers.kafka.to_string()).expect("config"))
        .expect("admin");
    let topics = [
        (MQTT_TOPIC, 1),
        (KAFKA_TOPIC, KAFKA_PARTITIONS),
        (transactor::TOPIC, transactor::PARTITIONS),
        (settings::CONFIGURED, 1),
        (sharer::TOPIC, sharer::PARTITIONS),
    ];
    let mut topics: Vec<_> =
        topics.map(|(name, n)| client::admin::NewTopic::new(name, Some(n), Some(1))).into();
    topics.push(compacted::topic());
    let created =
        admin.create_topics(&topics, client::admin::CreateTopicsOptions::default()).await.expect("created");
    assert!(created.iter().all(|(_, outcome)| outcome.is_ok()), "{created:?}");
    admin.close().await;
}

/// A Kafka producer.
async fn produce(drivers: Drivers, process: Process, acks: &str, idempotent: bool) {
    let idempotence = idempotent.to_string();
    let producer =
        drivers.producer(&[("acks", acks), ("enable.idempotence", &idempotence), ("linger.ms", "2")]);
    let mut pending = Vec::new();
    let mut number = 0;
    while !drivers.stopping() {
        for _ in 0..20 {
            number += 1;
            let partition = Partition::new(KAFKA_TOPIC, number % KAFKA_PARTITIONS);
            let value = drivers.next_value();
            let delivery = if idempotent { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce };
            let send = Send { partition: partition.clone(), value, delivery, ordered: idempotent };
            let op = drivers.recorder.send(process, send);
            let record =
                ProducerRecord::new(KAFKA_TOPIC, Bytes::from(value.to_string())).partition(partition.index);
            match producer.send(record).await {
                Ok(delivery) => pending.push((op, delivery)),
                Err(e) => panic!("send: {e}"),
            }
        }
        for (op, delivery) in pending.drain(..) {
            if let Ok(metadata) = delivery.await {
                drivers.recorder.sent(op, (metadata.offset >= 0).then_some(metadata.offset));
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    producer.close(PATIENCE).await;
}

/// Where a partition ends for readers who do not mind open transactions.
async fn end_of(kafka: SocketAddr, partition: &Partition) -> i64 {
    let config = ConsumerConfig::new(&kafka.to_string(), None).expect("config");
    let mut consumer = Consumer::new(config).expect("consumer");
    let of = TopicPartition::new(partition.topic.clone(), partition.index);
    consumer.end_offsets(std::slice::from_ref(&of)).await.expect("end")[&of]
}

/// Everything a partition holds.
async fn read_all(kafka: SocketAddr, partition: Partition) -> FinalRead {
    let mut config = ConsumerConfig::new(&kafka.to_string(), None).expect("config");
    config.isolation = client::admin::IsolationLevel::ReadCommitted;
    let mut consumer = Consumer::new(config).expect("consumer");
    let of = TopicPartition::new(partition.topic.clone(), partition.index);
    let all = [of.clone()];
    consumer.assign(&all).expect("assigned");
    let log_start = consumer.beginning_offsets(&all).await.expect("start")[&of];
    let log_end = consumer.end_offsets(&all).await.expect("end")[&of];
    consumer.seek_to_beginning(&all).expect("sought");
    let mut records = Vec::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // (Behind the last record may stand a transaction's marker.)
    while consumer.position(&of).await.expect("position") < log_end {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{partition}: read up to {:?} of {log_end}",
            records.last()
        );
        for record in consumer.poll(Duration::from_millis(200)).await.expect("polls") {
            let value = record
                .value
                .as_deref()
                .and_then(|v| std::str::from_utf8(v).ok())
                .and_then(|v| v.parse().ok());
            records.push((record.offset, value));
        }
    }
    FinalRead { partition, log_start, log_end, records }
}
