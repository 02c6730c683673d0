//! Reading by hand-assigned partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{
    Consumer, ConsumerConfig, ConsumerRecord, Error, Header, OffsetAndMetadata, ProducerRecord,
    TopicPartition,
};

use crate::admin::create_topic;
use crate::harness::{Checks, Outcome};
use crate::producer::producer;
use crate::{expect, expect_eq};

pub async fn run(checks: &Checks) {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        checks.check(&format!("consumer {codec}"), |name| compressed(checks, name, codec)).await;
    }
    checks.check("consumer seeks", |name| seeks(checks, name)).await;
    checks.check("consumer pauses", |name| pauses(checks, name)).await;
    checks.check("consumer resets", |name| resets(checks, name)).await;
    checks.check("consumer offsets by time", |name| by_time(checks, name)).await;
    checks.check("consumer commits by hand", |name| commits(checks, name)).await;
    checks.check("consumer poll dropped half-way", |name| dropped_polls(checks, name)).await;
    checks.check("consumer waits for a topic", |name| later_topic(checks, name)).await;
}

pub fn consumer(checks: &Checks, pairs: &[(&str, &str)]) -> Result<Consumer, Error> {
    Consumer::new(ConsumerConfig::from_properties(checks.properties(pairs))?)
}

/// Polls until there are `count` records.
pub async fn take(consumer: &mut Consumer, count: usize) -> Result<Vec<ConsumerRecord>, Error> {
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(consumer.poll(Duration::from_millis(500)).await?);
    }
    Ok(records)
}

/// Writes `count` numbered records to one partition.
pub async fn fill(checks: &Checks, topic: &str, partition: i32, count: usize) -> Outcome {
    let producer = producer(checks, &[("batch.size", "500")])?;
    for n in 0..count {
        let mut record = ProducerRecord::new(topic, n.to_string()).partition(partition);
        record.timestamp_ms = Some(1_000_000 + i64::try_from(n)? * 10);
        drop(producer.send(record).await?);
    }
    producer.flush().await?;
    producer.close(Duration::from_secs(5)).await;
    Ok(())
}

pub fn values(records: &[ConsumerRecord]) -> Vec<String> {
    let text =
        |r: &ConsumerRecord| String::from_utf8_lossy(r.value.as_deref().unwrap_or_default()).into_owned();
    records.iter().map(text).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn compressed(checks: &Checks, name: String, codec: &str) -> Outcome {
    create_topic(&checks.admin()?, &name, 1, &[]).await?;
    let producer = producer(checks, &[("compression.type", codec), ("linger.ms", "20")])?;
    let mut sent = Vec::new();
    for n in 0..300 {
        let mut record = ProducerRecord::new(name.as_str(), format!("{n} {}", "x".repeat(n % 97)));
        record.key = (n % 3 > 0).then(|| format!("key {n}").into());
        if n % 7 == 0 {
            record.value = None;
        }
        record.timestamp_ms = Some(1_600_000_000_000 + i64::from(u16::try_from(n)?));
        record.headers.push(Header { key: "n".into(), value: Some(n.to_string().into()) });
        record.headers.push(Header { key: "n".into(), value: None });
        sent.push(record.clone());
        drop(producer.send(record).await?);
    }
    producer.flush().await?;
    let mut consumer = consumer(checks, &[("auto.offset.reset", "earliest"), ("max.poll.records", "70")])?;
    consumer.assign(&[TopicPartition::new(name.as_str(), 0)])?;
    let got = take(&mut consumer, sent.len()).await?;
    expect_eq!(got.len(), sent.len());
    for (offset, (sent, got)) in (0..).zip(sent.iter().zip(&got)) {
        expect_eq!(got.offset, offset);
        expect_eq!((&got.key, &got.value, &got.headers), (&sent.key, &sent.value, &sent.headers));
        expect_eq!(Some(got.timestamp_ms), sent.timestamp_ms);
    }
    producer.close(Duration::from_secs(5)).await;
    consumer.close(Duration::from_secs(5)).await?;
    Ok(())
}

async fn seeks(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 2, &[]).await?;
    fill(checks, &name, 1, 200).await?;
    let partition = TopicPartition::new(name.as_str(), 1);
    let mut consumer = consumer(checks, &[("max.poll.records", "25")])?;
    consumer.assign(std::slice::from_ref(&partition))?;
    consumer.seek(&partition, 57)?;
    let got = take(&mut consumer, 50).await?;
    expect_eq!(values(&got), numbers(57..107));
    expect_eq!(consumer.position(&partition).await?, 107);
    // In the middle of what is buffered, and back.
    consumer.seek(&partition, 3)?;
    expect_eq!(values(&take(&mut consumer, 25).await?), numbers(3..28));
    consumer.seek_to_end(&[])?;
    expect_eq!(consumer.position(&partition).await?, 200);
    consumer.seek_to_beginning(std::slice::from_ref(&partition))?;
    expect_eq!(consumer.position(&partition).await?, 0);
    expect_eq!(values(&take(&mut consumer, 200).await?), numbers(0..200));
    expect_eq!(consumer.lag(&partition), Some(0));
    let other = TopicPartition::new(name.as_str(), 0);
    expect_eq!(
        consumer.seek(&other, 0).err().map(|e| e.to_string()).unwrap_or_default(),
        format!("No current assignment for partition {other}")
    );
    Ok(())
}

async fn pauses(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 2, &[]).await?;
    fill(checks, &name, 0, 40).await?;
    fill(checks, &name, 1, 40).await?;
    let both = [TopicPartition::new(name.as_str(), 0), TopicPartition::new(name.as_str(), 1)];
    let mut consumer = consumer(checks, &[("auto.offset.reset", "earliest"), ("max.poll.records", "7")])?;
    consumer.assign(&both)?;
    consumer.pause(&both[..1])?;
    let got = take(&mut consumer, 40).await?;
    expect!(got.iter().all(|r| r.partition == 1), "a paused partition was read");
    expect_eq!(consumer.paused(), both[..1].to_vec());
    expect_eq!(consumer.poll(Duration::from_millis(300)).await?.len(), 0);
    consumer.resume(&both[..1])?;
    expect_eq!(values(&take(&mut consumer, 40).await?), numbers(0..40));
    Ok(())
}

async fn resets(checks: &Checks, name: String) -> Outcome {
    let admin = checks.admin()?;
    create_topic(&admin, &name, 1, &[]).await?;
    fill(checks, &name, 0, 30).await?;
    let partition = TopicPartition::new(name.as_str(), 0);
    let deleted = admin.delete_records(&[(partition.clone(), 10)]).await?.remove(0).1?;
    expect_eq!(deleted, 10);
    let mut latest = consumer(checks, &[])?;
    latest.assign(std::slice::from_ref(&partition))?;
    expect_eq!(latest.position(&partition).await?, 30);
    let mut earliest = consumer(checks, &[("auto.offset.reset", "earliest")])?;
    earliest.assign(std::slice::from_ref(&partition))?;
    // Out of range on either side.
    for outside in [3, 5_000] {
        earliest.seek(&partition, outside)?;
        expect_eq!(values(&take(&mut earliest, 20).await?), numbers(10..30));
    }
    let mut none = consumer(checks, &[("auto.offset.reset", "none")])?;
    none.assign(std::slice::from_ref(&partition))?;
    let refused = none.poll(Duration::from_secs(5)).await;
    expect_eq!(
        refused.err().map(|e| e.to_string()).unwrap_or_default(),
        format!("Undefined offset with no reset policy for partitions: [{partition}]")
    );
    none.seek(&partition, 12)?;
    expect_eq!(values(&take(&mut none, 18).await?), numbers(12..30));
    none.seek(&partition, 2)?;
    expect!(
        matches!(none.poll(Duration::from_secs(5)).await, Err(Error::NoOffset(_))),
        "out of range was read"
    );
    Ok(())
}

async fn by_time(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 1, &[]).await?;
    fill(checks, &name, 0, 100).await?;
    let partition = TopicPartition::new(name.as_str(), 0);
    let mut consumer = consumer(checks, &[])?;
    let mut at = async |time: i64| -> Result<Option<(i64, i64)>, Error> {
        let found = consumer.offsets_for_times(&BTreeMap::from([(partition.clone(), time)])).await?;
        Ok(found[&partition].map(|f| (f.offset, f.timestamp_ms)))
    };
    expect_eq!(at(0).await?, Some((0, 1_000_000)));
    expect_eq!(at(1_000_005).await?, Some((1, 1_000_010)));
    expect_eq!(at(1_000_500).await?, Some((50, 1_000_500)));
    expect_eq!(at(2_000_000).await?, None);
    let one = std::slice::from_ref(&partition);
    expect_eq!(consumer.beginning_offsets(one).await?[&partition], 0);
    expect_eq!(consumer.end_offsets(one).await?[&partition], 100);
    expect_eq!(consumer.partitions_for(&name).await?, Some(1));
    expect_eq!(consumer.list_topics().await?.get(&name).copied(), Some(1));
    Ok(())
}

async fn commits(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 1, &[]).await?;
    fill(checks, &name, 0, 50).await?;
    let partition = TopicPartition::new(name.as_str(), 0);
    let properties = [
        ("group.id", name.as_str()),
        ("enable.auto.commit", "false"),
        ("max.poll.records", "10"),
        ("auto.offset.reset", "earliest"),
    ];
    let mut first = consumer(checks, &properties)?;
    first.assign(std::slice::from_ref(&partition))?;
    expect!(first.committed(std::slice::from_ref(&partition)).await?.is_empty(), "something was committed");
    take(&mut first, 20).await?;
    first.commit().await?;
    first.close(Duration::from_secs(5)).await?;

    let mut second = consumer(checks, &properties)?;
    second.assign(std::slice::from_ref(&partition))?;
    expect_eq!(values(&take(&mut second, 10).await?), numbers(20..30));
    let mine = OffsetAndMetadata { offset: 5, leader_epoch: None, metadata: "five".to_owned() };
    let one = |o: &OffsetAndMetadata| BTreeMap::from([(partition.clone(), o.clone())]);
    // The order of commits is kept, waited for or not.
    let unwaited = second.commit_async(Some(one(&OffsetAndMetadata::new(44))))?;
    second.commit_offsets(&one(&mine)).await?;
    unwaited.await??;
    expect_eq!(second.committed(std::slice::from_ref(&partition)).await?, one(&mine));
    let listed = checks.admin()?.list_group_offsets(&name, None).await?;
    expect_eq!(listed.get(&partition).and_then(|r| r.as_ref().ok()).cloned().flatten(), Some(mine));
    let mut groupless = consumer(checks, &[])?;
    groupless.assign(std::slice::from_ref(&partition))?;
    expect!(matches!(groupless.commit().await, Err(Error::Illegal(_))), "committed without a group");
    Ok(())
}

async fn dropped_polls(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 1, &[]).await?;
    fill(checks, &name, 0, 2_000).await?;
    let mut consumer =
        consumer(checks, &[("auto.offset.reset", "earliest"), ("max.partition.fetch.bytes", "2000")])?;
    consumer.assign(&[TopicPartition::new(name.as_str(), 0)])?;
    let mut got = Vec::new();
    let mut round = 0_u64;
    while got.len() < 2_000 {
        round += 1;
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_micros(50 * (round % 40))) => {}
            records = consumer.poll(Duration::from_millis(200)) => got.extend(records?),
        }
    }
    expect_eq!(values(&got), numbers(0..2_000));
    // Without any patience it comes forward as well.
    consumer.seek_to_beginning(&[])?;
    let mut got = Vec::new();
    while got.len() < 2_000 {
        got.extend(consumer.poll(Duration::ZERO).await?);
        tokio::task::yield_now().await;
    }
    expect_eq!(values(&got), numbers(0..2_000));
    Ok(())
}

async fn later_topic(checks: &Checks, name: String) -> Outcome {
    let mut consumer =
        consumer(checks, &[("auto.offset.reset", "earliest"), ("allow.auto.create.topics", "false")])?;
    let partition = TopicPartition::new(name.as_str(), 0);
    consumer.assign(std::slice::from_ref(&partition))?;
    expect_eq!(consumer.poll(Duration::from_millis(300)).await?.len(), 0);
    expect_eq!(consumer.partitions_for(&name).await?, None);
    let missing = [TopicPartition::new(name.as_str(), 77)];
    let end = consumer.end_offsets(&missing);
    let end = tokio::time::timeout(Duration::from_millis(500), end).await;
    expect!(!matches!(end, Ok(Ok(_))), "an end of what does not exist");
    create_topic(&checks.admin()?, &name, 1, &[]).await?;
    fill(checks, &name, 0, 5).await?;
    expect_eq!(values(&take(&mut consumer, 5).await?), numbers(0..5));
    Ok(())
}
