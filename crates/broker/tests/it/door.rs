//! The door: what it promises, in process, over a Kafka client to the same broker, and over it to the cluster that
//! `DOOR_BOOTSTRAP` names, Apache Kafka for example (`--ignored`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::door::{Ack, Door, DoorError, Header, NewTopic, Record, StartAt, Tail, TopicPartition};
use client::remote::RemoteDoor;
use futures_util::future::{join_all, poll_immediate};
use kafka_codec::messages::MetadataRequest;
use kafka_codec::messages::metadata_request::MetadataRequestTopic;

use crate::harness::*;

fn record(value: &str) -> Record {
    Record { value: Some(Bytes::copy_from_slice(value.as_bytes())), ..Record::default() }
}

/// Which implementation stands before which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    InProcess,
    Remote,
    Cluster,
}

/// A door, a topic of the test's own, and a way around the door.
struct Stage {
    side: Side,
    /// `None`: somebody else's cluster.
    _broker: Option<TestBroker>,
    addresses: Vec<SocketAddr>,
    door: Arc<dyn Door>,
    topic: String,
}

impl Stage {
    async fn new(side: Side, partitions: i32, configs: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let topic = format!("t-{}-{}", now_ms(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut broker = None;
        let addresses = match side {
            Side::InProcess | Side::Remote => {
                let broker = broker.insert(TestBroker::start(&[]).await);
                vec![broker.address()]
            }
            Side::Cluster => {
                let bootstrap = std::env::var("DOOR_BOOTSTRAP").expect("DOOR_BOOTSTRAP=host:port,…");
                bootstrap.split(',').map(|address| address.parse().unwrap()).collect()
            }
        };
        let door: Arc<dyn Door> = match &broker {
            Some(broker) if side == Side::InProcess => broker.handle.door(),
            _ => {
                let all: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                let bootstrap = [("bootstrap.servers".to_owned(), all.join(","))];
                RemoteDoor::open(&bootstrap.into_iter().collect(), &format!("door-{topic}"), "one")
                    .await
                    .unwrap()
            }
        };
        let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let new = NewTopic { name: topic.clone(), partitions: Some(partitions), configs };
        door.create_topic(new).await.unwrap();
        Self { side, _broker: broker, addresses, door, topic }
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), partition)
    }

    fn t0(&self) -> TopicPartition {
        self.partition(0)
    }

    /// A connection to the leader of a topic's first partition.
    async fn client(&self, topic: &str) -> Client {
        self.try_client(topic).await.expect("a leader")
    }

    async fn try_client(&self, topic: &str) -> Option<Client> {
        let mut client = Client::connect(self.addresses[0]).await;
        let name = Some(topic.into());
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name, ..MetadataRequestTopic::default() }]),
            ..MetadataRequest::default()
        };
        let answer = client.call(12, &request).await;
        let leader = answer.topics[0].partitions.first()?.leader_id;
        let leader = answer.brokers.iter().find(|b| b.node_id == leader)?;
        let port = u16::try_from(leader.port).unwrap();
        Some(Client::connect(SocketAddr::new(leader.host.parse().unwrap(), port)).await)
    }
}

/// Each promise as a test of each implementation.
macro_rules! everywhere {
    ($($promise:ident)*) => {
        mod in_process {
            $(#[tokio::test] async fn $promise() { super::$promise(super::Side::InProcess).await })*
        }
        mod remote {
            $(#[tokio::test] async fn $promise() { super::$promise(super::Side::Remote).await })*
        }
        mod cluster {
            $(
                #[tokio::test]
                #[ignore = "needs DOOR_BOOTSTRAP"]
                async fn $promise() { super::$promise(super::Side::Cluster).await }
            )*
        }
    };
}

everywhere! {
    appends_keep_their_order_and_are_read_by_kafka_clients
    records_come_back_as_they_went_in
    atomic_appends_answer_in_the_order_given_and_after_earlier_ones
    many_atomic_appends_are_each_whole_and_in_order
    a_tail_sees_what_both_sides_write
    many_tails_follow_at_once
    a_topic_that_is_made_again_is_another
    a_tail_behind_retention_goes_on_at_the_start
    topics_are_announced_and_created_once
    what_cannot_be_stored_is_refused_by_kind
    more_than_the_gathering_holds_waits_and_arrives
    positions_are_resolved
}

async fn appends_keep_their_order_and_are_read_by_kafka_clients(side: Side) {
    let stage = Stage::new(side, 1, &[]).await;
    let (door, t0) = (&stage.door, stage.t0());
    let appends: Vec<_> = (0..1000).map(|i| door.append(&t0, record(&i.to_string()), Ack::All)).collect();
    let offsets: Vec<_> = join_all(appends).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(offsets, (0..1000).collect::<Vec<_>>());
    let fetched = stage.client(&stage.topic).await.fetch(&Fetch::new(&stage.topic, 0)).await;
    assert_eq!(fetched.values(), (0..1000).map(|i| i.to_string()).collect::<Vec<_>>());
    let batches = kafka_codec::records::Batches::new(&fetched.records).count();
    assert!(batches < 1000, "{batches} batches: appends under way share them");
}

async fn records_come_back_as_they_went_in(side: Side) {
    let timestamp = now_ms() - 3_600_000;
    let stage = Stage::new(side, 1, &[]).await;
    let (door, t0) = (&stage.door, stage.t0());
    let full = Record {
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::from_static(b"v")),
        headers: vec![
            Header { key: Bytes::from_static(b"a"), value: Some(Bytes::from_static(b"1")) },
            Header { key: Bytes::from_static(b"a"), value: None },
        ],
        timestamp_ms: Some(timestamp),
    };
    let tombstone = Record { key: Some(Bytes::from_static(b"k")), ..Record::default() };
    assert_eq!(door.append(&t0, full.clone(), Ack::All).await.unwrap(), 0);
    assert_eq!(door.append(&t0, tombstone, Ack::All).await.unwrap(), 1);
    let chunk = door.read(&t0, 0, 1 << 20).await.unwrap();
    assert_eq!((chunk.next_offset, chunk.log_start_offset, chunk.end_offset), (2, 0, 2));
    let first = &chunk.records[0];
    assert_eq!((&first.key, &first.value, &first.headers), (&full.key, &full.value, &full.headers));
    assert_eq!((first.offset, first.timestamp_ms), (0, timestamp));
    let second = &chunk.records[1];
    assert_eq!((second.offset, second.value.as_ref()), (1, None));
    assert!((second.timestamp_ms - now_ms()).abs() < 60_000, "now");
    let end = door.read(&t0, 2, 1 << 20).await.unwrap();
    assert!(end.records.is_empty());
    let inside = door.read(&t0, 1, 1 << 20).await.unwrap();
    assert_eq!(inside.records.iter().map(|r| r.offset).collect::<Vec<_>>(), [1]);
}

async fn atomic_appends_answer_in_the_order_given_and_after_earlier_ones(side: Side) {
    let stage = Stage::new(side, 2, &[]).await;
    let (door, t0) = (&stage.door, stage.t0());
    let t1 = stage.partition(1);
    let before = door.append(&t0, record("before"), Ack::All);
    let atomic = door.append_atomic(vec![
        (t1.clone(), record("x")),
        (t0.clone(), record("y")),
        (t1.clone(), record("z")),
    ]);
    let after = door.append(&t0, record("after"), Ack::All);
    let offsets = atomic.await.unwrap();
    assert_eq!(offsets[..2], [0, 1], "before, y / x");
    assert!(offsets[2] > offsets[0], "{offsets:?}: x, z");
    assert_eq!(before.await.unwrap(), 0);
    assert!(after.await.unwrap() > offsets[1]);
    assert_eq!(values(&mut *door.tail(&t0, StartAt::Earliest), 3).await, ["before", "y", "after"]);
    assert_eq!(values(&mut *door.tail(&t1, StartAt::Earliest), 2).await, ["x", "z"]);
    let end = door.offset_at(&t0, StartAt::Latest).await.unwrap();
    let refused =
        door.append_atomic(vec![(t0.clone(), record("a")), (TopicPartition::new("none", 0), record("b"))]);
    assert!(matches!(refused.await, Err(DoorError::UnknownTopic(_))));
    assert_eq!(door.offset_at(&t0, StartAt::Latest).await.unwrap(), end, "all or nothing");
}

/// The next `count` values that a tail brings.
async fn values(tail: &mut dyn Tail, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let chunk = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap();
        let text = |value: &Bytes| String::from_utf8(value.to_vec()).unwrap();
        values.extend(chunk.records.iter().filter_map(|r| r.value.as_ref().map(text)));
    }
    values
}

async fn many_atomic_appends_are_each_whole_and_in_order(side: Side) {
    let stage = Stage::new(side, 2, &[]).await;
    let (door, t0) = (&stage.door, stage.t0());
    let t1 = stage.partition(1);
    let mut plain = Vec::new();
    let mut atomic = Vec::new();
    for i in 0..200 {
        if i % 10 == 0 {
            plain.push(door.append(&t0, record(&i.to_string()), Ack::All));
        } else {
            let both = vec![(t0.clone(), record(&i.to_string())), (t1.clone(), record(&i.to_string()))];
            atomic.push(door.append_atomic(both));
        }
    }
    assert!(join_all(plain).await.iter().all(Result::is_ok));
    let offsets: Vec<_> = join_all(atomic).await.into_iter().map(Result::unwrap).collect();
    assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "{offsets:?}");
    let all: Vec<_> = (0..200).map(|i| i.to_string()).collect();
    assert_eq!(values(&mut *door.tail(&t0, StartAt::Earliest), 200).await, all);
    let atomic: Vec<_> = (0..200).filter(|i| i % 10 != 0).map(|i| i.to_string()).collect();
    assert_eq!(values(&mut *door.tail(&t1, StartAt::Earliest), atomic.len()).await, atomic);
}

async fn many_tails_follow_at_once(side: Side) {
    const PARTITIONS: i32 = 40;
    let stage = Stage::new(side, PARTITIONS, &[]).await;
    let door = &stage.door;
    let partition = |i: i32| stage.partition(i);
    let tails = (0..PARTITIONS).map(|i| {
        let mut tail = door.tail(&partition(i), StartAt::Earliest);
        async move { values(&mut *tail, 30).await }
    });
    let writes = async {
        for round in 0..30 {
            let appends = (0..PARTITIONS)
                .filter(|i| i % 3 != round % 3)
                .map(|i| door.append(&partition(i), record(&round.to_string()), Ack::All));
            assert!(join_all(appends).await.iter().all(Result::is_ok));
        }
        for i in 0..PARTITIONS {
            let missing = (0..30).filter(|round| i % 3 == round % 3).count();
            for _ in 0..missing {
                door.append(&partition(i), record("end"), Ack::All).await.unwrap();
            }
        }
    };
    let (seen, ()) = tokio::join!(join_all(tails), writes);
    for (i, seen) in (0..).zip(seen) {
        let rounds: Vec<_> = (0..30).filter(|round| i % 3 != round % 3).map(|r| r.to_string()).collect();
        assert_eq!(seen[..rounds.len()], rounds, "partition {i}");
        assert!(seen[rounds.len()..].iter().all(|value| value == "end"));
    }
}

async fn a_tail_sees_what_both_sides_write(side: Side) {
    let stage = Stage::new(side, 1, &[]).await;
    let (door, t0) = (&stage.door, stage.t0());
    door.append(&t0, record("old"), Ack::All).await.unwrap();
    let mut latest = door.tail(&t0, StartAt::Latest);
    let mut earliest = door.tail(&t0, StartAt::Earliest);
    assert_eq!(earliest.next().await.unwrap().records.len(), 1);
    assert!(poll_immediate(latest.next()).await.is_none(), "nothing new yet");
    if stage.side != Side::InProcess {
        // "Latest" is asked of the broker: let it answer before something new comes.
        assert_eq!(door.offset_at(&t0, StartAt::Latest).await.unwrap(), 1);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut client = stage.client(&stage.topic).await;
    client.produce(&Target::new(&stage.topic), &batch(&["from kafka"])).await;
    for tail in [&mut latest, &mut earliest] {
        let chunk = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap();
        assert_eq!(chunk.records[0].value.as_deref(), Some(&b"from kafka"[..]));
        assert_eq!((chunk.records[0].offset, chunk.next_offset), (1, 2));
    }
    door.append(&t0, record("from here"), Ack::All).await.unwrap();
    let chunk = tokio::time::timeout(PATIENCE, latest.next()).await.unwrap().unwrap();
    assert_eq!(chunk.records[0].value.as_deref(), Some(&b"from here"[..]));
    let delete = kafka_codec::messages::DeleteTopicsRequest {
        topic_names: vec![stage.topic.as_str().into()],
        timeout_ms: 10_000,
        ..Default::default()
    };
    assert_eq!(client.call(5, &delete).await.responses[0].error_code, 0);
    let ended = tokio::time::timeout(PATIENCE, latest.next()).await.unwrap();
    assert!(matches!(ended, Err(DoorError::UnknownTopic(_))), "{ended:?}");
}

async fn a_topic_that_is_made_again_is_another(side: Side) {
    let stage = Stage::new(side, 1, &[]).await;
    let (door, t0) = (&stage.door, stage.t0());
    for value in ["a", "b"] {
        door.append(&t0, record(value), Ack::All).await.unwrap();
    }
    let mut tail = door.tail(&t0, StartAt::Offset(0));
    assert_eq!(values(&mut *tail, 2).await, ["a", "b"]);
    let mut client = stage.client(&stage.topic).await;
    let delete = kafka_codec::messages::DeleteTopicsRequest {
        topic_names: vec![stage.topic.as_str().into()],
        timeout_ms: 10_000,
        ..Default::default()
    };
    assert_eq!(client.call(5, &delete).await.responses[0].error_code, 0);
    // Made again by somebody else, with as many records.
    while client.create_topic(&stage.topic, 1, &[]).await != 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut client = loop {
        match stage.try_client(&stage.topic).await {
            Some(client) => break client,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let two = batch(&["c", "d"]);
    while client.produce(&Target::new(&stage.topic), &two).await.0 != 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ended = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap();
    assert!(matches!(ended, Err(DoorError::UnknownTopic(_))), "{ended:?}");
    let again = || async { values(&mut *door.tail(&t0, StartAt::Earliest), 2).await };
    assert_eq!(tokio::time::timeout(PATIENCE, again()).await.unwrap(), ["c", "d"]);
}

async fn a_tail_behind_retention_goes_on_at_the_start(side: Side) {
    let stage = Stage::new(side, 1, &[]).await;
    let (door, t0) = (&stage.door, stage.t0());
    for value in ["a", "b", "c"] {
        door.append(&t0, record(value), Ack::All).await.unwrap();
    }
    let mut tail = door.tail(&t0, StartAt::Offset(0));
    let request = kafka_codec::messages::DeleteRecordsRequest {
        topics: vec![kafka_codec::messages::delete_records_request::DeleteRecordsTopic {
            name: stage.topic.as_str().into(),
            partitions: vec![kafka_codec::messages::delete_records_request::DeleteRecordsPartition {
                offset: 2,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    stage.client(&stage.topic).await.call(2, &request).await;
    let chunk = tail.next().await.unwrap();
    assert_eq!(chunk.records.iter().map(|r| r.offset).collect::<Vec<_>>(), [2]);
}

async fn topics_are_announced_and_created_once(side: Side) {
    let stage = Stage::new(side, 2, &[]).await;
    let door = &stage.door;
    let mut topics = door.topics();
    assert_eq!(
        topics.borrow_and_update().get(&stage.topic).map(|t| (t.partitions, t.internal)),
        Some((2, false))
    );
    door.create_topic(NewTopic { name: stage.topic.clone(), partitions: Some(9), configs: Vec::new() })
        .await
        .unwrap();
    let internal = [("cleanup.policy".to_owned(), "compact".to_owned())].to_vec();
    let name = format!("__mqtt_{}", stage.topic);
    let new = NewTopic { name: name.clone(), partitions: None, configs: internal };
    door.create_topic(new).await.unwrap();
    let known = topics.wait_for(|image| image.get(&name).is_some());
    let image = tokio::time::timeout(PATIENCE, known).await.unwrap().unwrap().clone();
    assert_eq!(image.get(&stage.topic).unwrap().partitions, 2);
    assert!(image.get(&name).unwrap().internal);
    let refused =
        door.create_topic(NewTopic { name: "bad name".into(), partitions: None, configs: Vec::new() });
    assert!(matches!(refused.await, Err(DoorError::Invalid(_))));
    let mut client = stage.client(&name).await;
    // INVALID_TOPIC_EXCEPTION; or INVALID_RECORD, as a record of a compacted topic needs a key.
    let expected = if side == Side::InProcess { 17 } else { 87 };
    let code = client.produce(&Target::new(&name), &batch(&["x"])).await.0;
    assert_eq!(code, expected, "not for clients when this node's MQTT uses it");
}

async fn what_cannot_be_stored_is_refused_by_kind(side: Side) {
    let stage = Stage::new(side, 1, &[("cleanup.policy", "compact"), ("max.message.bytes", "500")]).await;
    let (door, t0) = (&stage.door, stage.t0());
    let keyed = |bytes: usize| Record { key: Some(Bytes::from_static(b"k")), ..record(&"x".repeat(bytes)) };
    assert!(matches!(door.append(&t0, record("keyless"), Ack::All).await, Err(DoorError::Invalid(_))));
    assert!(matches!(
        door.append(&t0, keyed(600), Ack::All).await,
        Err(DoorError::TooLarge { max: 500, .. } | DoorError::Limit(_))
    ));
    let none = stage.partition(1);
    assert!(matches!(door.append(&none, keyed(1), Ack::All).await, Err(DoorError::UnknownTopic(_))));
    // Many that fit singly but not in one batch.
    let appends: Vec<_> = (0..50).map(|_| door.append(&t0, keyed(300), Ack::All)).collect();
    let offsets: Vec<_> = join_all(appends).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(offsets, (0..50).collect::<Vec<_>>());
}

async fn more_than_the_gathering_holds_waits_and_arrives(side: Side) {
    let stage = Stage::new(side, 1, &[]).await;
    let (door, t0) = (&stage.door, stage.t0());
    let value = "x".repeat(100_000);
    let count = 300;
    let appends: Vec<_> = (0..count).map(|_| door.append(&t0, record(&value), Ack::All)).collect();
    let all = tokio::time::timeout(Duration::from_secs(60), join_all(appends)).await.unwrap();
    let mut offsets: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..count).collect::<Vec<_>>());
}

async fn positions_are_resolved(side: Side) {
    let stage = Stage::new(side, 1, &[]).await;
    let (door, t0) = (&stage.door, stage.t0());
    let at = |timestamp_ms| Record { timestamp_ms: Some(timestamp_ms), ..record("v") };
    let now = now_ms();
    for delta in [0, 10, 20] {
        door.append(&t0, at(now + delta), Ack::All).await.unwrap();
    }
    for (start, want) in [
        (StartAt::Earliest, 0),
        (StartAt::Latest, 3),
        (StartAt::Offset(7), 7),
        (StartAt::Timestamp(now + 5), 1),
        (StartAt::Timestamp(now + 21), 3),
    ] {
        assert_eq!(door.offset_at(&t0, start).await.unwrap(), want, "{start:?}");
    }
}
