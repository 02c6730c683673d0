//! Producing and fetching: what is stored, what is refused, how long one waits.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_codec::frame;
use kafka_codec::messages::{InitProducerIdRequest, MetadataRequest};
use kafka_codec::produce::ProduceResponse;
use kafka_codec::records::{BatchBuilder, BatchHeader, Compression};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, Uuid};

use crate::harness::*;

async fn with_topic(configs: &[(&str, &str)]) -> (TestBroker, Client) {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 1, configs).await, 0);
    (broker, client)
}

#[tokio::test]
async fn batches_come_back_as_they_went_in() {
    let (_broker, mut client) = with_topic(&[]).await;
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut sent = Vec::new();
    for (index, codec) in codecs.into_iter().enumerate() {
        let batch = batch_of(codec, &["one", "two", "three"]);
        assert_eq!(client.produce(&Target::new("t"), &batch).await, (0, 3 * index as i64));
        sent.push(batch);
    }
    let fetched = client.fetch(&Fetch::new("t", 0)).await;
    assert_eq!((fetched.error, fetched.high_watermark, fetched.log_start), (0, 15, 0));
    let mut rest = fetched.records.clone();
    for (index, batch) in sent.iter().enumerate() {
        let header = BatchHeader::parse(&rest).unwrap();
        let stored = rest.split_to(header.size_bytes());
        assert_eq!((header.base_offset, header.leader_epoch), (3 * index as i64, 0));
        assert_eq!(stored[16..], batch[16..], "only offset and leader epoch are written");
    }
    assert!(rest.is_empty());
    let inside = client.fetch(&Fetch::new("t", 4)).await;
    assert_eq!(BatchHeader::parse(&inside.records).unwrap().base_offset, 3, "the batch that holds offset 4");
}

#[tokio::test]
async fn what_may_not_be_stored_is_refused() {
    let (broker, mut client) = with_topic(&[("max.message.bytes", "1000")]).await;
    client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    client.create_topic("replicated", 1, &[("min.insync.replicas", "2")]).await;
    let good = batch(&["a"]);
    let damaged = {
        let mut bytes = BytesMut::from(&*good);
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        bytes.freeze()
    };
    let old_magic = {
        let mut bytes = BytesMut::from(&*good);
        bytes[16] = 1;
        bytes.freeze()
    };
    let large = batch(&["x".repeat(2000).as_str()]);
    let two: Bytes = [&good[..], &good[..]].concat().into();
    let at = |timestamp| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(timestamp, None, Some(b"v"), std::iter::empty()).unwrap();
        Bytes::from(builder.build().unwrap())
    };
    let cases = [
        ("t", 0, damaged, 2, "CORRUPT_MESSAGE"),
        ("t", 0, old_magic, 87, "INVALID_RECORD"),
        ("t", 0, large, 10, "MESSAGE_TOO_LARGE"),
        ("t", 0, two, 87, "INVALID_RECORD"),
        ("t", 0, Bytes::new(), 87, "INVALID_RECORD"),
        ("t", 0, at(now_ms() + 2 * 3_600_000), 32, "INVALID_TIMESTAMP"),
        ("t", 1, good.clone(), 3, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("t", -1, good.clone(), 3, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("none", 0, good.clone(), 3, "UNKNOWN_TOPIC_OR_PARTITION"),
        ("compacted", 0, good.clone(), 87, "INVALID_RECORD"),
        ("replicated", 0, good.clone(), 19, "NOT_ENOUGH_REPLICAS"),
    ];
    for (topic, partition, batch, code, name) in cases {
        let to = Target { partition, ..Target::new(topic) };
        assert_eq!(client.produce(&to, &batch).await, (code, -1), "{name} for {topic}-{partition}");
    }
    for acks in [2, -2] {
        let refused = client.produce_with(9, acks, &Target::new("t"), &good).await;
        assert_eq!(refused, (21, -1), "INVALID_REQUIRED_ACKS");
    }
    let unknown_id = Target { topic: "", id: Uuid([9; 16]), partition: 0 };
    assert_eq!(client.produce_with(13, -1, &unknown_id, &good).await, (100, -1), "UNKNOWN_TOPIC_ID");
    let zstd = batch_of(Compression::Zstd, &["a"]);
    assert_eq!(client.produce_with(6, -1, &Target::new("t"), &zstd).await, (76, -1), "zstd before version 7");
    assert_eq!(client.produce_with(9, 1, &Target::new("replicated"), &good).await, (0, 0));
    assert_eq!(client.fetch(&Fetch::new("t", 0)).await.high_watermark, 0, "nothing was stored");
    drop(broker);
}

#[tokio::test]
async fn errors_carry_their_reason_from_version_8_on() {
    let (_broker, mut client) = with_topic(&[]).await;
    client.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    client.send_produce(8, &produce_request(-1, &Target::new("compacted"), batch(&["a"]))).await;
    let frame = client.receive().await.unwrap();
    let mut reader = Reader::shared(&frame);
    frame::decode_response_header(&mut reader, ApiKey::Produce, 8).unwrap();
    let response = ProduceResponse::decode(&mut reader, 8).unwrap();
    let partition = &response.topics[0].partitions[0];
    let why = "Compacted topic cannot accept message without key in topic partition compacted-0.";
    assert_eq!(partition.record_errors, [(0, Some(why))]);
    let message = format!(
        "One or more records have been rejected due to 1 record errors in total, and only showing the first three \
         errors at most: [RecordError(batchIndex=0, message='{why}')]"
    );
    assert_eq!(partition.error_message, Some(message.as_str()));
}

#[tokio::test]
async fn acks_0_is_not_answered_but_an_error_closes() {
    let (broker, mut client) = with_topic(&[]).await;
    client.send_produce(9, &produce_request(0, &Target::new("t"), batch(&["a"]))).await;
    client.send_produce(9, &produce_request(0, &Target::new("t"), batch(&["b"]))).await;
    // The next answer on this connection belongs to the next request that wants one.
    assert_eq!(client.produce(&Target::new("t"), &batch(&["c"])).await, (0, 2));
    client.send_produce(9, &produce_request(0, &Target::new("none"), batch(&["a"]))).await;
    assert!(client.is_closed().await);
    let fetched = broker.client().await.fetch(&Fetch::new("t", 0)).await;
    assert_eq!(fetched.values(), ["a", "b", "c"]);
}

#[tokio::test]
async fn an_idempotent_producer_stores_once_and_in_order() {
    let (_broker, mut client) = with_topic(&[]).await;
    let idempotent = InitProducerIdRequest { transactional_id: None, ..Default::default() };
    let given = client.call(4, &idempotent).await;
    let other = client.call(4, &idempotent).await;
    assert_eq!((given.error_code, given.producer_epoch), (0, 0));
    assert_ne!(given.producer_id, other.producer_id);
    let id = given.producer_id;
    let to = Target::new("t");
    let first = idempotent_batch("a", id, 0, 0);
    assert_eq!(client.produce(&to, &first).await, (0, 0));
    assert_eq!(client.produce(&to, &first).await, (0, 0), "a repeat is answered with the offset of then");
    assert_eq!(client.produce(&to, &idempotent_batch("c", id, 0, 2)).await, (45, -1), "a gap");
    assert_eq!(client.produce(&to, &idempotent_batch("b", id, 0, 1)).await, (0, 1));
    assert_eq!(client.produce(&to, &idempotent_batch("x", id, 1, 0)).await, (0, 2), "a new epoch");
    assert_eq!(client.produce(&to, &idempotent_batch("y", id, 0, 2)).await.0, 47, "an old epoch");
    assert_eq!(client.fetch(&Fetch::new("t", 0)).await.values(), ["a", "b", "x"]);
}

#[tokio::test]
async fn log_append_time_stamps_the_batch() {
    let (_broker, mut client) = with_topic(&[("message.timestamp.type", "LogAppendTime")]).await;
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(5, None, Some(b"v"), std::iter::empty()).unwrap();
    let before = now_ms();
    assert_eq!(client.produce(&Target::new("t"), &builder.build().unwrap().into()).await, (0, 0));
    let stored = client.fetch(&Fetch::new("t", 0)).await;
    let header = BatchHeader::parse(&stored.records).unwrap();
    assert!((before..=now_ms()).contains(&header.max_timestamp), "{}", header.max_timestamp);
    assert_eq!(stored.values(), ["v"]);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (_broker, mut client) = with_topic(&[]).await;
    let mut ids = Vec::new();
    for index in 0..100 {
        let value = index.to_string();
        let request = produce_request(-1, &Target::new("t"), batch(&[&value]));
        ids.push((client.send_produce(9, &request).await, ApiKey::Produce));
        if index % 10 == 0 {
            ids.push((client.send(9, &MetadataRequest::default()).await, ApiKey::Metadata));
        }
    }
    for (id, api) in ids {
        let frame = client.receive().await.unwrap();
        assert_eq!(frame::decode_response_header(&mut Reader::shared(&frame), api, 9).unwrap(), id);
    }
    let values = client.fetch(&Fetch::new("t", 0)).await.values();
    assert_eq!(values, (0..100).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_long_poll_ends_with_the_first_record() {
    let (broker, mut reader) = with_topic(&[]).await;
    let wanted = Fetch { max_wait_ms: 60_000, ..Fetch::new("t", 0) };
    let id = reader.send_fetch(&wanted).await;
    // Asked on the same connection while the fetch waits: begun, but answered after it.
    reader.send(9, &MetadataRequest::default()).await;
    let mut writer = broker.client().await;
    assert_eq!(writer.produce(&Target::new("t"), &batch(&["x"])).await, (0, 0));
    let fetched = reader.receive_fetch(wanted.version, id).await;
    assert_eq!((fetched.values(), fetched.high_watermark), (vec!["x".to_owned()], 1));
    reader.receive().await.unwrap();
}

#[tokio::test]
async fn a_long_poll_waits_for_min_bytes_or_the_time_to_be_over() {
    let (broker, mut reader) = with_topic(&[]).await;
    let mut writer = broker.client().await;
    let small = batch(&["x"]);
    let wanted = Fetch { max_wait_ms: 60_000, min_bytes: 2 * small.len() as i32, ..Fetch::new("t", 0) };
    let id = reader.send_fetch(&wanted).await;
    writer.produce(&Target::new("t"), &small).await;
    writer.produce(&Target::new("t"), &small).await;
    assert_eq!(reader.receive_fetch(wanted.version, id).await.values().len(), 2);
    let started = Instant::now();
    let wanted = Fetch { max_wait_ms: 50, ..Fetch::new("t", 2) };
    let fetched = reader.fetch(&wanted).await;
    assert_eq!((fetched.error, fetched.values().len()), (0, 0));
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn limits_cut_the_answer_but_never_the_first_batch() {
    let (_broker, mut client) = with_topic(&[]).await;
    let value = "x".repeat(1000);
    for _ in 0..5 {
        client.produce(&Target::new("t"), &batch(&[&value])).await;
    }
    let count = async |client: &mut Client, partition_max_bytes, max_bytes| {
        let wanted = Fetch { partition_max_bytes, max_bytes, ..Fetch::new("t", 0) };
        client.fetch(&wanted).await.values().len()
    };
    assert_eq!(count(&mut client, 10, 1 << 20).await, 1);
    assert_eq!(count(&mut client, 1 << 20, 10).await, 1);
    assert_eq!(count(&mut client, 2500, 1 << 20).await, 2);
    assert_eq!(count(&mut client, 1 << 20, 3500).await, 3);
    assert_eq!(count(&mut client, 1 << 20, 1 << 20).await, 5);
}

#[tokio::test]
async fn a_fetch_from_within_a_batch_gets_all_of_it() {
    let (_broker, mut client) = with_topic(&[]).await;
    for codec in [Compression::None, Compression::Lz4] {
        let (error, base) =
            client.produce(&Target::new("t"), &batch_of(codec, &["a", "b", "c", "d", "e"])).await;
        assert_eq!(error, 0);
        for within in 0..5 {
            let fetched = client.fetch(&Fetch::new("t", base + within)).await;
            let header = BatchHeader::parse(&fetched.records).unwrap();
            assert_eq!((header.base_offset, header.record_count), (base, 5), "from {within}");
        }
    }
}

#[tokio::test]
async fn fetches_of_any_size_leave_nothing_out_at_the_end_of_a_segment() {
    let (_broker, mut client) = with_topic(&[("segment.bytes", "1048576")]).await;
    let wanted: Vec<String> = (0..60).map(|n| format!("{n:<65000}")).collect();
    for value in &wanted {
        assert_eq!(client.produce(&Target::new("t"), &batch(&[value])).await.0, 0);
    }
    for partition_max_bytes in [1, 65_000, 100_000, 500_000, 1 << 20, 3 << 20] {
        let mut found = Vec::new();
        while found.len() < wanted.len() {
            let fetch = Fetch { partition_max_bytes, ..Fetch::new("t", found.len() as i64) };
            let values = client.fetch(&fetch).await.values();
            assert!(!values.is_empty(), "no progress at {} with {partition_max_bytes}", found.len());
            found.extend(values);
        }
        assert!(found == wanted, "with {partition_max_bytes} bytes at a time");
    }
}

#[tokio::test]
async fn large_answers_arrive_whole() {
    let (_broker, mut client) = with_topic(&[("max.message.bytes", "5000000")]).await;
    let mut wanted = Vec::new();
    for index in 0..8u8 {
        let value = char::from(b'a' + index).to_string().repeat(1_000_000);
        assert_eq!(client.produce(&Target::new("t"), &batch(&[&value])).await.0, 0);
        wanted.push(value);
    }
    let fetch = Fetch { partition_max_bytes: 100 << 20, max_bytes: 100 << 20, ..Fetch::new("t", 0) };
    let first = client.send_fetch(&fetch).await;
    let second = client.send_fetch(&fetch).await;
    for id in [first, second] {
        assert!(client.receive_fetch(fetch.version, id).await.values() == wanted);
    }
}

#[tokio::test]
async fn fetch_errors() {
    let (_broker, mut client) = with_topic(&[]).await;
    client.produce(&Target::new("t"), &batch(&["a"])).await;
    let base = Fetch::new("t", 0);
    let cases = [
        (Fetch { offset: 2, ..base }, 1, "OFFSET_OUT_OF_RANGE"),
        (Fetch { offset: -1, ..base }, 1, "OFFSET_OUT_OF_RANGE"),
        (Fetch { topic: "none", ..base }, 3, "UNKNOWN_TOPIC_OR_PARTITION"),
        (Fetch { partition: 7, ..base }, 3, "UNKNOWN_TOPIC_OR_PARTITION"),
        (Fetch { leader_epoch: 1, ..base }, 75, "UNKNOWN_LEADER_EPOCH"),
        (Fetch { topic: "", version: 17, id: Uuid([9; 16]), ..base }, 100, "UNKNOWN_TOPIC_ID"),
        (Fetch { session: (77, 3), ..base }, 70, "FETCH_SESSION_ID_NOT_FOUND"),
    ];
    for (wanted, code, name) in cases {
        let fetched = client.fetch(&Fetch { max_wait_ms: 60_000, ..wanted }).await;
        assert_eq!(fetched.error, code, "{name}, at once");
    }
    let diverging = client.fetch(&Fetch { offset: 5, last_fetched_epoch: 0, ..base }).await;
    assert_eq!((diverging.error, diverging.diverging), (0, (0, 1)));
}

#[tokio::test]
async fn a_topic_made_anew_is_another_one() {
    let (_broker, mut client) = with_topic(&[]).await;
    let old = client.describe("t").await.unwrap().0;
    let by_id = |id| Fetch { topic: "", version: 17, id, ..Fetch::new("t", 0) };
    client.produce(&Target::new("t"), &batch(&["old"])).await;
    assert_eq!(client.fetch(&by_id(old)).await.values(), ["old"]);
    let request =
        kafka_codec::messages::DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() };
    assert_eq!(client.call(5, &request).await.responses[0].error_code, 0);
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    let new = client.describe("t").await.unwrap().0;
    assert_ne!(new, old);
    // What was meant for the old one neither reads from the new one nor writes to it.
    assert_eq!(client.fetch(&by_id(old)).await.error, 100, "UNKNOWN_TOPIC_ID");
    let to_old = Target { topic: "", id: old, partition: 0 };
    assert_eq!(client.produce_with(13, -1, &to_old, &batch(&["late"])).await.0, 100, "UNKNOWN_TOPIC_ID");
    assert_eq!(client.fetch(&by_id(new)).await.values(), Vec::<String>::new());
}

#[tokio::test]
async fn a_deleted_topic_ends_long_polls() {
    let (broker, mut reader) = with_topic(&[]).await;
    let wanted = Fetch { max_wait_ms: 60_000, ..Fetch::new("t", 0) };
    let id = reader.send_fetch(&wanted).await;
    let request =
        kafka_codec::messages::DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() };
    broker.client().await.call(5, &request).await;
    let fetched = reader.receive_fetch(wanted.version, id).await;
    assert!([3, 6].contains(&fetched.error), "error {}", fetched.error);
}
