//! Batches, compression, acknowledgements, order.

use std::time::Duration;

use client::admin::{IsolationLevel, OffsetSpec};
use client::{Error, Header, Producer, ProducerConfig, ProducerRecord, TopicPartition};

use crate::admin::create_topic;
use crate::harness::{Checks, Outcome};
use crate::{expect, expect_eq};

pub async fn run(checks: &Checks) {
    checks.check("producer one record", |name| one_record(checks, name)).await;
    for acks in ["0", "1", "all"] {
        checks.check(&format!("producer acks {acks}"), |name| with_acks(checks, name, acks)).await;
    }
    checks.check("producer keys and partitions", |name| keys(checks, name)).await;
    checks.check("producer limits", |name| limits(checks, name)).await;
    checks.check("producer creates topics", |name| creates_topics(checks, name)).await;
    checks.check("producer throughput", |name| throughput(checks, name)).await;
}

pub fn producer(checks: &Checks, pairs: &[(&str, &str)]) -> Result<Producer, Error> {
    Producer::new(ProducerConfig::from_properties(checks.properties(pairs))?)
}

/// Ends of all partitions, added up.
pub async fn count(checks: &Checks, topic: &str, partitions: i32) -> Result<i64, Error> {
    let all: Vec<_> = (0..partitions).map(|p| (TopicPartition::new(topic, p), OffsetSpec::Latest)).collect();
    let mut sum = 0;
    for (_, end) in checks.admin()?.list_offsets(&all, IsolationLevel::ReadUncommitted).await? {
        sum += end?.offset;
    }
    Ok(sum)
}

async fn one_record(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 1, &[]).await?;
    let producer = producer(checks, &[])?;
    for expected in 0..3 {
        let mut record = ProducerRecord::new(name.as_str(), "value").key("key");
        record.timestamp_ms = Some(1_700_000_000_000);
        record.headers.push(Header { key: "h".into(), value: None });
        let written = producer.send(record).await?.await?;
        expect_eq!((written.partition, written.offset), (0, expected));
        expect_eq!(written.timestamp_ms, 1_700_000_000_000);
        expect_eq!((written.serialized_key_size, written.serialized_value_size), (3, 5));
    }
    producer.close(Duration::from_secs(5)).await;
    let refused = producer.send(ProducerRecord::new(name.as_str(), "late")).await;
    expect_eq!(
        refused.err().map(|e| e.to_string()).unwrap_or_default(),
        "Cannot perform operation after producer has been closed"
    );
    Ok(())
}

async fn with_acks(checks: &Checks, name: String, acks: &str) -> Outcome {
    create_topic(&checks.admin()?, &name, 3, &[]).await?;
    let producer = producer(checks, &[("acks", acks), ("batch.size", "400"), ("linger.ms", "1")])?;
    let mut deliveries = Vec::new();
    for n in 0..500 {
        deliveries.push(producer.send(ProducerRecord::new(name.as_str(), format!("value {n}"))).await?);
    }
    producer.flush().await?;
    for delivery in deliveries {
        let written = delivery.await?;
        expect_eq!(written.offset >= 0, acks != "0");
    }
    // Nobody says when records without acknowledgement have arrived.
    while count(checks, &name, 3).await? < 500 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    expect_eq!(count(checks, &name, 3).await?, 500);
    producer.close(Duration::from_secs(5)).await;
    Ok(())
}

async fn keys(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 12, &[]).await?;
    let producer = producer(checks, &[])?;
    for key in ["21", "foobar", "a-little-bit-long-string", ""] {
        let expected = client::door::partition_for_key(key.as_bytes(), 12);
        let written = producer.send(ProducerRecord::new(name.as_str(), "v").key(key)).await?.await?;
        expect_eq!(written.partition, expected, "key {key}");
    }
    let written =
        producer.send(ProducerRecord::new(name.as_str(), "v").key("21").partition(7)).await?.await?;
    expect_eq!(written.partition, 7);
    let bad = producer.send(ProducerRecord::new(name.as_str(), "v").partition(-1)).await;
    expect!(matches!(bad, Err(Error::Illegal(_))), "partition -1 was taken");
    producer.close(Duration::from_secs(5)).await;
    Ok(())
}

async fn limits(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 1, &[("max.message.bytes", "2000")]).await?;
    let producer =
        producer(checks, &[("max.request.size", "10000"), ("linger.ms", "50"), ("max.block.ms", "1500")])?;
    let large = producer.send(ProducerRecord::new(name.as_str(), vec![b'x'; 20_000])).await;
    let text = large.err().map(|e| e.to_string()).unwrap_or_default();
    expect_eq!(
        text,
        "The message is 20087 bytes when serialized which is larger than 10000, which is the value of the max.request.size configuration."
    );
    let refused = producer.send(ProducerRecord::new(name.as_str(), vec![b'x'; 5_000])).await?.await;
    let refused = refused.err().ok_or("a record over max.message.bytes was taken")?;
    expect_eq!(refused.code(), Some(kafka_codec::ErrorCode::MessageTooLarge), "{refused}");
    // Five records of 900 bytes fit one by one, but not in one batch: it is split until they do.
    let mut deliveries = Vec::new();
    for _ in 0..5 {
        deliveries.push(producer.send(ProducerRecord::new(name.as_str(), vec![b'y'; 900])).await?);
    }
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.await?.offset);
    }
    expect_eq!(offsets, [0, 1, 2, 3, 4]);
    // The partition goes on in order after all that.
    expect_eq!(producer.send(ProducerRecord::new(name.as_str(), "z")).await?.await?.offset, 5);
    let missing = producer.send(ProducerRecord::new(name.as_str(), "v").partition(3)).await;
    expect_eq!(
        missing.err().map(|e| e.to_string()).unwrap_or_default(),
        format!(
            "Partition 3 of topic {name} with partition count 1 is not present in metadata after 1500 ms."
        )
    );
    let invalid = producer.send(ProducerRecord::new("no/slash", "v")).await;
    expect_eq!(invalid.err().map(|e| e.to_string()).unwrap_or_default(), "Invalid topics: [no/slash]");
    producer.close(Duration::from_secs(5)).await;
    Ok(())
}

async fn creates_topics(checks: &Checks, name: String) -> Outcome {
    let producer = producer(checks, &[])?;
    let written = producer.send(ProducerRecord::new(name.as_str(), "v")).await?.await?;
    expect_eq!(written.offset, 0);
    expect!(producer.partitions_for(&name).await? >= 1, "no partitions");
    producer.close(Duration::from_secs(5)).await;
    Ok(())
}

async fn throughput(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 4, &[]).await?;
    // Little memory, so that back-pressure is part of it.
    let producer = producer(checks, &[("buffer.memory", "400000"), ("compression.type", "lz4")])?;
    let mut last = Vec::new();
    for n in 0..50_000 {
        let delivery = producer.send(ProducerRecord::new(name.as_str(), vec![b'a'; 200])).await?;
        if n % 1000 == 0 {
            last.push(delivery);
        }
    }
    producer.flush().await?;
    for delivery in last {
        delivery.await?;
    }
    expect_eq!(count(checks, &name, 4).await?, 50_000);
    producer.close(Duration::from_secs(5)).await;
    Ok(())
}
