//! What a topic's storage settings do, over the wire: compaction, compression, timestamps, retention.

use std::time::Duration;

use bytes::Bytes;
use kafka_codec::messages::*;
use kafka_codec::produce::ProduceResponse;
use kafka_codec::records::{Batch, BatchBuilder, Batches, Compression, TimestampType, records};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, frame};

use crate::harness::*;

const TOPIC: i8 = 2;

/// A batch of pairs of key and value.
fn keyed(pairs: &[(&str, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (key, value) in pairs {
        let value = value.map(str::as_bytes);
        builder.push(now_ms(), Some(key.as_bytes()), value, std::iter::empty()).unwrap();
    }
    builder.build().unwrap().into()
}

/// Everything a consumer reads: offset, key, length of the value (`None`: a tombstone).
async fn read_all(client: &mut Client, topic: &str) -> Vec<(i64, String, Option<usize>)> {
    let mut found = Vec::new();
    let mut offset = 0;
    loop {
        let fetched =
            client.fetch(&Fetch { partition_max_bytes: 50 << 20, ..Fetch::new(topic, offset) }).await;
        assert_eq!(fetched.error, 0);
        if fetched.records.is_empty() {
            assert_eq!(offset, fetched.high_watermark);
            return found;
        }
        for batch in Batches::new(&fetched.records) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            let mut scratch = Vec::new();
            for record in records(&batch, 1 << 24, &mut scratch).unwrap() {
                let record = record.unwrap();
                let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                found.push((record.offset, key, record.value.map(<[u8]>::len)));
            }
            offset = batch.header.next_offset();
        }
    }
}

async fn set(client: &mut Client, topic: &str, key: &str, value: &str) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![incremental_alter_configs_request::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: topic.into(),
            configs: vec![incremental_alter_configs_request::AlterableConfig {
                name: key.into(),
                config_operation: 0,
                value: Some(value.into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(1, &request).await.responses.remove(0);
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
}

/// Asks again and again until the answer is as it should be.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn first_header(client: &mut Client, topic: &str, offset: i64) -> kafka_codec::records::BatchHeader {
    let fetched = client.fetch(&Fetch::new(topic, offset)).await;
    Batch::first(&fetched.records).unwrap().header
}

#[tokio::test]
async fn a_compacted_topic_keeps_the_newest_record_of_each_key_also_over_a_restart() {
    let settings = [("log.cleaner.backoff.ms", "20"), ("log.retention.check.interval.ms", "50")];
    let broker = TestBroker::start(&settings).await;
    let mut client = broker.client().await;
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "86400000"),
    ];
    client.create_topic("c", 1, &configs).await;
    let large = "x".repeat(200_000);
    for round in 0..6 {
        for key in ["a", "b"] {
            let batch = keyed(&[(key, Some(&large)), ("small", Some(&round.to_string()))]);
            assert_eq!(client.produce(&Target::new("c"), &batch).await.0, 0);
        }
    }
    assert_eq!(client.produce(&Target::new("c"), &keyed(&[("a", None)])).await, (0, 24));
    // The end of the log lies in the open segment, which is left alone.
    for _ in 0..5 {
        assert_eq!(client.produce(&Target::new("c"), &keyed(&[("end", Some(&large))])).await.0, 0);
    }
    let cleaned = eventually("compaction", async || {
        let found = read_all(&mut client, "c").await;
        let large_ones = |key: &str| found.iter().filter(|r| r.1 == key && r.2 == Some(200_000)).count();
        (large_ones("a") == 0 && large_ones("b") == 1).then_some(found)
    })
    .await;
    assert!(
        cleaned.contains(&(24, "a".into(), None)),
        "the tombstone stays for delete.retention.ms: {cleaned:?}"
    );
    assert!(cleaned.contains(&(23, "small".into(), Some(1))), "{cleaned:?}");
    assert!(cleaned.windows(2).all(|pair| pair[0].0 < pair[1].0), "offsets rise");
    // A consumer that stands in a gap goes on behind it.
    let fetched = client.fetch(&Fetch::new("c", 1)).await;
    assert_eq!(fetched.error, 0);
    assert!(!fetched.records.is_empty());

    let dir = broker.stop().await;
    let checkpoint = std::fs::read_to_string(dir.path().join("cleaner-offset-checkpoint")).unwrap();
    assert!(checkpoint.lines().any(|line| line.starts_with("c 0 ")), "{checkpoint}");
    let broker = TestBroker::start_in(dir, &settings).await;
    let mut client = broker.client().await;
    let newest = |found: &[(i64, String, Option<usize>)]| {
        let pairs = found.iter().map(|r| (r.1.clone(), (r.0, r.2)));
        pairs.collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(newest(&read_all(&mut client, "c").await), newest(&cleaned));
}

#[tokio::test]
async fn compression_type_decides_what_is_stored() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let cases = [
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    let value = "compressible ".repeat(100);
    for (name, codec) in cases {
        client.create_topic(name, 1, &[("compression.type", name)]).await;
        for (offset, sent) in (0..).zip([Compression::None, Compression::Gzip, Compression::Zstd]) {
            let batch = batch_of(sent, &[&value, "second"]);
            assert_eq!(client.produce(&Target::new(name), &batch).await, (0, offset * 2));
            let header = first_header(&mut client, name, offset * 2).await;
            assert_eq!(header.compression(), Ok(codec), "{sent:?} sent to {name}");
        }
        let stored = client.fetch(&Fetch::new(name, 0)).await.values();
        assert_eq!(stored.len(), 6);
        assert!(stored.chunks(2).all(|pair| pair == [value.as_str(), "second"]));
    }
    set(&mut client, "gzip", "compression.type", "producer").await;
    let batch = batch_of(Compression::Lz4, &[&value]);
    assert_eq!(client.produce(&Target::new("gzip"), &batch).await, (0, 6), "in force at once");
    assert_eq!(first_header(&mut client, "gzip", 6).await.compression(), Ok(Compression::Lz4));

    // What it becomes must fit too.
    set(&mut client, "uncompressed", "max.message.bytes", "1000").await;
    let batch = batch_of(Compression::Gzip, &[&value]);
    assert!(batch.len() < 1000);
    assert_eq!(client.produce(&Target::new("uncompressed"), &batch).await, (10, -1), "MESSAGE_TOO_LARGE");
}

#[tokio::test]
async fn the_brokers_clock_stamps_where_the_topic_says_so() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    set(&mut client, "t", "message.timestamp.type", "LogAppendTime").await;
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(5, None, Some(b"long ago"), std::iter::empty()).unwrap();
    let batch = Bytes::from(builder.build().unwrap());
    let before = now_ms();
    client.send_produce(9, &produce_request(-1, &Target::new("t"), batch)).await;
    let frame = client.receive().await.unwrap();
    let mut reader = Reader::shared(&frame);
    frame::decode_response_header(&mut reader, ApiKey::Produce, 9).unwrap();
    let response = ProduceResponse::decode(&mut reader, 9).unwrap();
    let stamped = response.topics[0].partitions[0].log_append_time_ms;
    assert!((before..=now_ms()).contains(&stamped), "{stamped}");
    let header = first_header(&mut client, "t", 0).await;
    assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, stamped));
}

#[tokio::test]
async fn timestamps_out_of_range_are_refused_record_by_record() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    set(&mut client, "t", "message.timestamp.before.max.ms", "1000").await;
    let mut builder = BatchBuilder::new(Compression::None);
    for timestamp_ms in [now_ms(), 5, now_ms()] {
        builder.push(timestamp_ms, None, Some(b"v"), std::iter::empty()).unwrap();
    }
    let batch = Bytes::from(builder.build().unwrap());
    client.send_produce(9, &produce_request(-1, &Target::new("t"), batch)).await;
    let frame = client.receive().await.unwrap();
    let mut reader = Reader::shared(&frame);
    frame::decode_response_header(&mut reader, ApiKey::Produce, 9).unwrap();
    let response = ProduceResponse::decode(&mut reader, 9).unwrap();
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.error_code, 32, "INVALID_TIMESTAMP");
    let message = "One or more records have been rejected due to invalid timestamp";
    assert_eq!(partition.error_message, Some(message));
    assert_eq!(partition.record_errors.len(), 1);
    let (index, why) = partition.record_errors[0];
    assert_eq!(index, 1);
    assert!(why.unwrap().starts_with("Timestamp 5 of message with offset 1 is out of range."), "{why:?}");
}

#[tokio::test]
async fn settings_changed_while_running_are_in_force() {
    let broker = TestBroker::start(&[("log.retention.check.interval.ms", "50")]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[("segment.bytes", "1048576")]).await;
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(now_ms() - 3_600_000, None, Some(b"an hour old"), std::iter::empty()).unwrap();
    let old = Bytes::from(builder.build().unwrap());
    assert_eq!(client.produce(&Target::new("t"), &old).await, (0, 0));

    set(&mut client, "t", "min.insync.replicas", "2").await;
    assert_eq!(client.produce(&Target::new("t"), &batch(&["x"])).await, (19, -1), "NOT_ENOUGH_REPLICAS");
    set(&mut client, "t", "min.insync.replicas", "1").await;

    // A segment's age counts from its first record.
    set(&mut client, "t", "segment.ms", "1800000").await;
    assert_eq!(client.produce(&Target::new("t"), &batch(&["new"])).await, (0, 1));
    set(&mut client, "t", "retention.ms", "1800000").await;
    eventually("retention", async || {
        let fetched = client.fetch(&Fetch::new("t", 1)).await;
        (fetched.log_start == 1).then_some(())
    })
    .await;
    assert_eq!(client.fetch(&Fetch::new("t", 1)).await.values(), ["new"]);
}

#[tokio::test]
async fn tiered_storage_is_refused_by_name() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 1, &[("remote.storage.enable", "true")]).await, 40);
    assert_eq!(client.create_topic("t", 1, &[("remote.storage.enable", "false")]).await, 0);
}
