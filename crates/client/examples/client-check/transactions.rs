//! Transactions: commits, aborts, fencing, offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::{Consumer, ConsumerConfig, Error, OffsetAndMetadata, Producer, ProducerRecord, TopicPartition};
use kafka_codec::ErrorCode;

use crate::admin::create_topic;
use crate::harness::{Checks, Outcome};
use crate::producer::producer;
use crate::{expect, expect_eq};

pub async fn run(checks: &Checks) {
    checks.check("transactions commit and abort", |name| commit_and_abort(checks, name)).await;
    checks.check("transactions fence", |name| fence(checks, name)).await;
    checks.check("transactions with offsets", |name| with_offsets(checks, name)).await;
    checks.check("transactions used wrongly", |name| used_wrongly(checks, name)).await;
}

fn transactional(checks: &Checks, id: &str) -> Result<Producer, Error> {
    producer(checks, &[("transactional.id", id), ("max.block.ms", "30000")])
}

/// What a `read_committed` consumer finds in all partitions of a topic.
async fn committed(checks: &Checks, topic: &str, partitions: i32) -> Result<BTreeSet<String>, Error> {
    let pairs = [("isolation.level", "read_committed")];
    let mut consumer = Consumer::new(ConsumerConfig::from_properties(checks.properties(&pairs))?)?;
    let all: Vec<_> = (0..partitions).map(|p| TopicPartition::new(topic, p)).collect();
    consumer.assign(&all)?;
    consumer.seek_to_beginning(&all)?;
    let ends = consumer.end_offsets(&all).await?;
    let mut found = BTreeSet::new();
    for (partition, end) in ends {
        while consumer.position(&partition).await? < end {
            for record in consumer.poll(Duration::from_millis(200)).await? {
                found.insert(
                    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned(),
                );
            }
        }
    }
    Ok(found)
}

async fn commit_and_abort(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 3, &[]).await?;
    let producer = transactional(checks, &name)?;
    producer.init_transactions().await?;
    let mut expected = BTreeSet::new();
    for round in 0..20 {
        producer.begin_transaction()?;
        for i in 0..30 {
            let value = format!("{round}.{i}");
            if round % 2 == 0 {
                expected.insert(value.clone());
            }
            producer.send(ProducerRecord::new(name.as_str(), value).partition(i % 3)).await?;
        }
        if round % 2 == 0 {
            producer.commit_transaction().await?;
        } else {
            producer.abort_transaction().await?;
        }
    }
    // Empty ones are ended without a word.
    producer.begin_transaction()?;
    producer.commit_transaction().await?;
    producer.begin_transaction()?;
    producer.abort_transaction().await?;
    expect_eq!(committed(checks, &name, 3).await?, expected);
    // What is open is not seen.
    producer.begin_transaction()?;
    producer.send(ProducerRecord::new(name.as_str(), "open").partition(0)).await?.await?;
    expect_eq!(committed(checks, &name, 3).await?.len(), expected.len());
    producer.commit_transaction().await?;
    expect!(committed(checks, &name, 3).await?.contains("open"), "committed and not seen");
    producer.close(Duration::from_secs(5)).await;
    Ok(())
}

async fn fence(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 1, &[]).await?;
    let old = transactional(checks, &name)?;
    old.init_transactions().await?;
    old.begin_transaction()?;
    old.send(ProducerRecord::new(name.as_str(), "old")).await?.await?;
    let new = transactional(checks, &name)?;
    new.init_transactions().await?;
    let refused = old.commit_transaction().await.err().and_then(|error| error.code());
    expect_eq!(refused, Some(ErrorCode::ProducerFenced));
    expect!(old.begin_transaction().is_err(), "a fenced producer goes on");
    new.begin_transaction()?;
    new.send(ProducerRecord::new(name.as_str(), "new")).await?;
    new.commit_transaction().await?;
    expect_eq!(committed(checks, &name, 1).await?, BTreeSet::from(["new".to_owned()]));
    new.close(Duration::from_secs(5)).await;
    Ok(())
}

/// Consumes, transforms, produces; an abort sends the consumer back.
async fn with_offsets(checks: &Checks, name: String) -> Outcome {
    let (from, to) = (format!("{name}-in"), format!("{name}-out"));
    create_topic(&checks.admin()?, &from, 1, &[]).await?;
    create_topic(&checks.admin()?, &to, 1, &[]).await?;
    let plain = producer(checks, &[])?;
    for i in 0..50 {
        plain.send(ProducerRecord::new(from.as_str(), i.to_string())).await?;
    }
    plain.flush().await?;
    let producer = transactional(checks, &name)?;
    producer.init_transactions().await?;
    for commit in [false, true] {
        let pairs = [
            ("group.id", name.as_str()),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
        ];
        let mut consumer = Consumer::new(ConsumerConfig::from_properties(checks.properties(&pairs))?)?;
        consumer.subscribe(&[&from], None)?;
        let mut seen = 0;
        producer.begin_transaction()?;
        while seen < 50 {
            for record in consumer.poll(Duration::from_millis(200)).await? {
                seen += 1;
                let value = record.value.unwrap_or_default();
                producer.send(ProducerRecord::new(to.as_str(), value)).await?;
            }
        }
        let next = OffsetAndMetadata { offset: 50, leader_epoch: None, metadata: "done".into() };
        let offsets = BTreeMap::from([(TopicPartition::new(from.as_str(), 0), next)]);
        let group = consumer.group_metadata().ok_or("no group")?;
        producer.send_offsets_to_transaction(&offsets, &group).await?;
        if commit {
            producer.commit_transaction().await?;
        } else {
            producer.abort_transaction().await?;
        }
        consumer.close(Duration::from_secs(5)).await?;
        let committed_offset = checks.admin()?.list_group_offsets(&name, None).await?;
        expect_eq!(committed_offset.is_empty(), !commit, "{committed_offset:?}");
    }
    expect_eq!(committed(checks, &to, 1).await?.len(), 50);
    producer.close(Duration::from_secs(5)).await;
    Ok(())
}

async fn used_wrongly(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 1, &[]).await?;
    let plain = producer(checks, &[])?;
    expect!(plain.init_transactions().await.is_err(), "transactions without a transactional.id");
    let producer = transactional(checks, &name)?;
    expect!(producer.begin_transaction().is_err(), "a transaction before init_transactions");
    producer.init_transactions().await?;
    expect!(producer.init_transactions().await.is_err(), "init_transactions twice");
    let record = || ProducerRecord::new(name.as_str(), "x");
    expect!(producer.send(record()).await.is_err(), "a record outside of a transaction");
    expect!(producer.commit_transaction().await.is_err(), "a commit of nothing");
    expect!(producer.abort_transaction().await.is_err(), "an abort of nothing");
    producer.begin_transaction()?;
    expect!(producer.begin_transaction().is_err(), "two at a time");
    producer.send(record()).await?;
    producer.commit_transaction().await?;
    producer.close(Duration::from_secs(5)).await;
    Ok(())
}
