//! Full disks and failing syncs: nothing is acknowledged that is not on stable storage, reads go on, and the error
//! names the partition and the cause.

use std::sync::Arc;

use bytes::Bytes;
use client::door::{Ack, Door, DoorError, Record, StartAt, TopicPartition};
use futures_util::future::join_all;
use kafka_codec::messages::{DescribeLogDirsRequest, DescribeTopicPartitionsRequest};
use kafka_codec::produce::ProduceResponse;
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, frame};
use log::testing::FaultStorage;

use crate::harness::*;

const KAFKA_STORAGE_ERROR: i16 = 56;
/// Small enough for the journal.
const JOURNALED_BYTES: usize = 20_000;
/// Too large for the journal: goes straight to the segment and is synced there. More than is reserved ahead, too.
const DIRECT_BYTES: usize = 200_000;

async fn start(disk: &FaultStorage) -> (TestBroker, Client) {
    let broker = start_in(tempfile::tempdir().unwrap(), disk).await;
    let mut client = broker.client().await;
    for topic in ["t", "other"] {
        assert_eq!(client.create_topic(topic, 1, &[]).await, 0);
    }
    (broker, client)
}

async fn start_in(dir: tempfile::TempDir, disk: &FaultStorage) -> TestBroker {
    TestBroker::start_on(dir, Arc::new(disk.clone())).await
}

/// Pulls the plug: what the broker does from now on no longer reaches the disk; starts anew on what survived.
async fn pull_the_plug(broker: TestBroker, disk: &FaultStorage) -> (TestBroker, Client) {
    let disk = disk.restart();
    let dir = broker.stop().await;
    let broker = start_in(dir, &disk).await;
    let client = broker.client().await;
    (broker, client)
}

fn value(first: char, bytes: usize) -> String {
    first.to_string().repeat(bytes)
}

/// Produces what must be refused; answers the error and its message.
async fn refused(client: &mut Client, acks: i16, topic: &str, batch: &Bytes) -> (i16, String) {
    client.send_produce(9, &produce_request(acks, &Target::new(topic), batch.clone())).await;
    let frame = client.receive().await.expect("connection closed");
    let mut reader = Reader::shared(&frame);
    frame::decode_response_header(&mut reader, ApiKey::Produce, 9).unwrap();
    let response = ProduceResponse::decode(&mut reader, 9).unwrap();
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.base_offset, -1, "refused, yet with an offset");
    (partition.error_code, partition.error_message.unwrap_or_default().to_owned())
}

/// All values, over as many fetches as it takes.
async fn values(client: &mut Client, topic: &str) -> Vec<String> {
    let mut values = Vec::new();
    loop {
        let fetched = client.fetch(&Fetch::new(topic, values.len() as i64)).await;
        assert_eq!(fetched.error, 0);
        let more = fetched.values();
        if more.is_empty() {
            assert_eq!(fetched.high_watermark, values.len() as i64, "offsets without gaps");
            return values;
        }
        values.extend(more);
    }
}

fn record(value: &str) -> Record {
    Record { value: Some(Bytes::copy_from_slice(value.as_bytes())), ..Record::default() }
}

fn first_of(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

/// Topics with their first partition's error and leader, as `kafka-topics --unavailable-partitions` sees them.
async fn leaders(client: &mut Client) -> Vec<(String, i16, i32)> {
    let described = client.call(0, &DescribeTopicPartitionsRequest::default()).await;
    let topics = described.topics.into_iter();
    let mut seen: Vec<_> = topics
        .map(|topic| {
            let partition = &topic.partitions[0];
            let offline = partition.leader_id == -1;
            assert_eq!(partition.offline_replicas.len(), usize::from(offline));
            (topic.name.unwrap(), partition.error_code, partition.leader_id)
        })
        .collect();
    seen.sort();
    seen
}

async fn read(door: &dyn Door, topic: &str) -> usize {
    door.read(&first_of(topic), 0, 64 << 20).await.unwrap().records.len()
}

#[tokio::test]
async fn a_full_disk_refuses_appends_until_there_is_room_again() {
    let disk = FaultStorage::new(1);
    let (broker, mut client) = start(&disk).await;
    let door = broker.handle.door();
    let mut stored = vec!["a".to_owned()];
    assert_eq!(client.produce(&Target::new("t"), &batch(&["a"])).await, (0, 0));

    disk.set_capacity(Some(disk.used()));
    let direct = batch(&[&value('d', DIRECT_BYTES)]);
    for acks in [-1, 1] {
        let (code, message) = refused(&mut client, acks, "t", &direct).await;
        assert_eq!(code, KAFKA_STORAGE_ERROR, "acks={acks}");
        assert!(message.starts_with("no space left for t-0: "), "acks={acks}: {message}");
    }
    // What was reserved ahead can still be filled.
    let journaled = value('j', JOURNALED_BYTES);
    let (code, message) = loop {
        let (code, offset) = client.produce(&Target::new("t"), &batch(&[&journaled])).await;
        if code != 0 {
            break refused(&mut client, 1, "t", &batch(&[&journaled])).await;
        }
        assert_eq!(offset, stored.len() as i64);
        stored.push(journaled.clone());
        assert!(stored.len() < 100, "the disk is not full");
    };
    assert_eq!(code, KAFKA_STORAGE_ERROR);
    assert!(message.starts_with("no space left for t-0: "), "{message}");
    let (_, message) = refused(&mut client, -1, "other", &batch(&["x"])).await;
    assert!(message.starts_with("no space left for other-0: "), "{message}");
    let idempotent = idempotent_batch(&journaled, 7, 0, 0);
    assert_eq!(client.produce(&Target::new("t"), &idempotent).await, (KAFKA_STORAGE_ERROR, -1));
    let mut unanswered = broker.client().await;
    unanswered.send_produce(9, &produce_request(0, &Target::new("t"), direct.clone())).await;
    assert!(unanswered.is_closed().await, "acks=0 has no other way to say it");
    for ack in [Ack::All, Ack::Leader] {
        let full = door.append(&first_of("t"), record(&journaled), ack).await;
        assert!(matches!(&full, Err(DoorError::Unavailable(why)) if why.contains("t-0")), "{full:?}");
    }
    let both = [(first_of("t"), record("x")), (first_of("other"), record("y"))];
    let full = door.append_atomic(both.to_vec()).await;
    assert!(matches!(&full, Err(DoorError::Unavailable(why)) if why.contains("other-0")), "{full:?}");

    assert_eq!(values(&mut client, "t").await, stored, "what was acknowledged, nothing of what was refused");
    assert_eq!(values(&mut client, "other").await, [""; 0]);
    assert_eq!(read(&*door, "t").await, stored.len());
    assert_eq!(client.describe("t").await.map(|(_, partitions)| partitions), Some(1));

    disk.set_capacity(None);
    for batch in [&direct, &idempotent, &batch(&["b"])] {
        assert_eq!(client.produce(&Target::new("t"), batch).await, (0, stored.len() as i64));
        stored.push(String::new());
    }
    let end = stored.len() as i64;
    stored.splice(stored.len() - 3.., [value('d', DIRECT_BYTES), journaled.clone(), "b".into()]);
    assert_eq!(door.append(&first_of("t"), record("c"), Ack::All).await.unwrap(), end);
    assert_eq!(door.append_atomic(both.to_vec()).await.unwrap(), [end + 1, 0]);
    stored.extend(["c".to_owned(), "x".to_owned()]);
    assert_eq!(values(&mut client, "t").await, stored);

    let (_broker, mut client) = pull_the_plug(broker, &disk).await;
    assert_eq!(values(&mut client, "t").await, stored, "after a power failure");
    assert_eq!(values(&mut client, "other").await, ["y"]);
}

#[tokio::test]
async fn a_failed_sync_of_the_journal_takes_the_directory_offline_until_the_next_start() {
    for seed in 0..4 {
        let disk = FaultStorage::new(seed);
        let (broker, mut client) = start(&disk).await;
        let door = broker.handle.door();
        let mut tail = door.tail(&first_of("t"), StartAt::Latest);
        assert_eq!(client.produce(&Target::new("t"), &batch(&["a"])).await, (0, 0));
        assert_eq!(door.append(&first_of("other"), record("b"), Ack::All).await.unwrap(), 0);
        assert_eq!(tail.next().await.unwrap().records.len(), 1);

        disk.fail_sync_of(Some("journal-"));
        let appends: Vec<_> =
            (0..50).map(|i| door.append(&first_of("other"), record(&i.to_string()), Ack::All)).collect();
        let one = batch(&["lost"]);
        let ((code, message), appended) = tokio::time::timeout(
            PATIENCE,
            futures_util::future::join(refused(&mut client, -1, "t", &one), join_all(appends)),
        )
        .await
        .expect("everybody who waits is told");
        assert_eq!(code, KAFKA_STORAGE_ERROR);
        assert!(message.starts_with("t-0 is offline: journal: "), "{message}");
        for appended in appended {
            assert!(
                matches!(&appended, Err(DoorError::Storage(why)) if why.starts_with("other-0 is offline: journal: ")),
                "{appended:?}"
            );
        }

        // From now on syncs would succeed, as Linux lets them: none is tried.
        disk.fail_sync_of(None);
        let operations = disk.operations();
        for (acks, topic) in [(-1, "t"), (1, "t"), (-1, "other"), (1, "other")] {
            for bytes in [1, DIRECT_BYTES] {
                let (code, message) = refused(&mut client, acks, topic, &batch(&[&value('x', bytes)])).await;
                assert_eq!(code, KAFKA_STORAGE_ERROR);
                assert!(message.starts_with(&format!("{topic}-0 is offline: journal: ")), "{message}");
            }
        }
        let again = door.append(&first_of("t"), record("x"), Ack::Leader).await;
        assert!(matches!(again, Err(DoorError::Storage(_))), "{again:?}");
        let both = vec![(first_of("t"), record("x")), (first_of("other"), record("y"))];
        let again = door.append_atomic(both).await;
        assert!(matches!(again, Err(DoorError::Storage(_))), "{again:?}");
        assert_eq!(disk.operations(), operations, "the disk was left alone");

        assert_eq!(values(&mut client, "t").await, ["a"]);
        assert_eq!(values(&mut client, "other").await, ["b"]);
        assert_eq!(read(&*door, "t").await, 1);
        let ended = tokio::time::timeout(PATIENCE, tail.next()).await.expect("a tail sees the failure");
        assert!(matches!(&ended, Err(DoorError::Storage(why)) if why.contains("t-0")), "{ended:?}");
        assert_eq!(client.describe("t").await.map(|(_, partitions)| partitions), Some(1));
        assert_ne!(client.create_topic("more", 1, &[]).await, 0, "the metadata log lies there too");
        assert_eq!(client.describe("more").await, None);

        let (_broker, mut client) = pull_the_plug(broker, &disk).await;
        for (topic, kept) in [("t", "a"), ("other", "b")] {
            let found = values(&mut client, topic).await;
            assert_eq!(found.first().map(String::as_str), Some(kept), "seed {seed}: {topic} lost a record");
            let next = client.produce(&Target::new(topic), &batch(&["next"])).await;
            assert_eq!(next, (0, found.len() as i64), "seed {seed}: {topic} is back");
        }
        assert_eq!(client.create_topic("more", 1, &[]).await, 0);
    }
}

#[tokio::test]
async fn a_failed_sync_of_a_segment_takes_its_partition_offline_and_no_other() {
    for seed in 0..4 {
        let disk = FaultStorage::new(seed);
        let (broker, mut client) = start(&disk).await;
        let door = broker.handle.door();
        let direct = value('d', DIRECT_BYTES);
        assert_eq!(client.produce(&Target::new("t"), &batch(&["a"])).await, (0, 0));
        assert_eq!(client.produce(&Target::new("t"), &batch(&[&direct])).await, (0, 1));
        assert_eq!(client.produce(&Target::new("t"), &batch(&["b"])).await, (0, 2));
        let kept = ["a", direct.as_str(), "b"];

        disk.fail_sync_of(Some("/t-0/"));
        let (code, message) = refused(&mut client, 1, "t", &batch(&[&value('l', DIRECT_BYTES)])).await;
        assert_eq!(code, KAFKA_STORAGE_ERROR);
        assert!(message.starts_with("t-0 is offline: sync of "), "{message}");

        disk.fail_sync_of(None);
        let operations = disk.operations();
        for acks in [-1, 1] {
            for bytes in [1, DIRECT_BYTES] {
                let (code, message) = refused(&mut client, acks, "t", &batch(&[&value('x', bytes)])).await;
                assert_eq!(code, KAFKA_STORAGE_ERROR);
                assert!(message.starts_with("t-0 is offline: sync of "), "{message}");
            }
        }
        let again = door.append(&first_of("t"), record("x"), Ack::All).await;
        assert!(
            matches!(&again, Err(DoorError::Storage(why)) if why.starts_with("t-0 is offline")),
            "{again:?}"
        );
        assert_eq!(disk.operations(), operations, "the disk was left alone");
        assert_eq!(values(&mut client, "t").await, kept);
        assert_eq!(read(&*door, "t").await, kept.len());
        assert_eq!(leaders(&mut client).await, [("other".to_owned(), 0, 1), ("t".to_owned(), 5, -1)]);
        let dirs =
            client.call(4, &DescribeLogDirsRequest { topics: None, ..Default::default() }).await.results;
        assert_eq!(dirs[0].error_code, KAFKA_STORAGE_ERROR);
        let listed: Vec<_> = dirs[0].topics.iter().map(|topic| topic.name.as_str()).collect();
        assert!(listed.contains(&"other") && !listed.contains(&"t"), "{listed:?}");

        assert_eq!(client.produce(&Target::new("other"), &batch(&["c"])).await, (0, 0));
        assert_eq!(client.produce(&Target::new("other"), &batch(&[&direct])).await, (0, 1));
        assert_eq!(client.create_topic("more", 1, &[]).await, 0);

        let (_broker, mut client) = pull_the_plug(broker, &disk).await;
        let found = values(&mut client, "t").await;
        assert!(
            found.iter().map(String::as_str).take(3).eq(kept),
            "seed {seed}: an acknowledged record is gone"
        );
        let next = client.produce(&Target::new("t"), &batch(&["next"])).await;
        assert_eq!(next, (0, found.len() as i64), "seed {seed}: back");
        assert_eq!(values(&mut client, "other").await, ["c", direct.as_str()]);
        assert_eq!(client.describe("more").await.map(|(_, partitions)| partitions), Some(1));
    }
}
