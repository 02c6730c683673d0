//! Share groups: records shared one by one, and every kind of acknowledgement.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::admin::{AlterConfigOp, ConfigResource, ConfigResourceType};
use client::{AcknowledgeType, Error, ShareConsumer, ShareConsumerConfig, ShareRecord, TopicPartition};
use kafka_codec::ErrorCode;

use crate::admin::create_topic;
use crate::consumer::fill;
use crate::harness::{Checks, Outcome};
use crate::{expect, expect_eq};

const CLOSE: Duration = Duration::from_secs(10);
const EXPLICIT: (&str, &str) = ("share.acknowledgement.mode", "explicit");

pub async fn run(checks: &Checks) {
    if !offered(checks).await {
        println!("the broker has no share groups");
        return;
    }
    checks.check("share implicit", |name| implicit(checks, name)).await;
    checks.check("share explicit", |name| explicit(checks, name)).await;
    checks.check("share renews", |name| renews(checks, name)).await;
    checks.check("share one partition among two", |name| among_two(checks, name)).await;
    checks.check("share record limit", |name| record_limit(checks, name)).await;
    checks.check("share commit", |name| commits(checks, name)).await;
    checks.check("share administration", |name| administration(checks, name)).await;
    checks.check("share misuse", |name| misuse(checks, name)).await;
}

async fn offered(checks: &Checks) -> bool {
    let Ok(admin) = checks.admin() else { return false };
    let described = admin.describe_share_groups(&["nobody".to_owned()]).await;
    !matches!(described, Err(Error::UnsupportedVersion(_)))
}

/// A topic with records, and a group of the same name that begins at the first one.
async fn prepare(checks: &Checks, name: &str, partitions: i32, records: usize) -> Outcome {
    let admin = checks.admin()?;
    create_topic(&admin, name, partitions, &[]).await?;
    for partition in 0..partitions {
        fill(checks, name, partition, records).await?;
    }
    let resource = ConfigResource { kind: ConfigResourceType::Group, name: name.to_owned() };
    let ops = vec![AlterConfigOp::Set("share.auto.offset.reset".to_owned(), "earliest".to_owned())];
    for (_, altered) in admin.incremental_alter_configs(&[(resource, ops)], false).await? {
        altered?;
    }
    Ok(())
}

fn member(checks: &Checks, name: &str, more: &[(&str, &str)]) -> Result<ShareConsumer, Error> {
    let mut pairs = vec![("group.id", name)];
    pairs.extend_from_slice(more);
    let mut consumer = ShareConsumer::new(ShareConsumerConfig::from_properties(checks.properties(&pairs))?)?;
    consumer.subscribe(&[name])?;
    Ok(consumer)
}

/// Polls until there is something.
async fn some(consumer: &mut ShareConsumer) -> Result<Vec<ShareRecord>, Error> {
    loop {
        let records = consumer.poll(Duration::from_millis(500)).await?;
        if !records.is_empty() {
            return Ok(records);
        }
    }
}

fn offsets(records: &[ShareRecord]) -> Vec<(i64, i16)> {
    records.iter().map(|record| (record.record.offset, record.delivery_count)).collect()
}

async fn implicit(checks: &Checks, name: String) -> Outcome {
    prepare(checks, &name, 1, 5).await?;
    let mut first = member(checks, &name, &[])?;
    let got = some(&mut first).await?;
    expect_eq!(offsets(&got), [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]);
    expect!(first.acquisition_lock_timeout().is_some(), "the lock has no end");
    // Not accepted: nothing was polled or committed since.
    first.close(CLOSE).await?;
    let mut second = member(checks, &name, &[])?;
    let got = some(&mut second).await?;
    expect_eq!(offsets(&got), [(0, 2), (1, 2), (2, 2), (3, 2), (4, 2)]);
    expect!(second.poll(Duration::from_millis(500)).await?.is_empty(), "there is more");
    second.close(CLOSE).await?;
    fill(checks, &name, 0, 1).await?;
    let mut third = member(checks, &name, &[])?;
    expect_eq!(offsets(&some(&mut third).await?), [(5, 1)], "the others were accepted");
    third.close(CLOSE).await?;
    Ok(())
}

async fn explicit(checks: &Checks, name: String) -> Outcome {
    prepare(checks, &name, 1, 4).await?;
    let mut consumer = member(checks, &name, &[EXPLICIT])?;
    let got = some(&mut consumer).await?;
    expect_eq!(got.len(), 4);
    let early = consumer.poll(Duration::ZERO).await;
    expect!(matches!(early, Err(Error::Illegal(_))), "polled with open records: {early:?}");
    for (record, kind) in got.iter().zip([
        AcknowledgeType::Accept,
        AcknowledgeType::Release,
        AcknowledgeType::Reject,
        AcknowledgeType::Release,
    ]) {
        consumer.acknowledge(record, kind)?;
    }
    let again = some(&mut consumer).await?;
    let mut seen = offsets(&again);
    let mut open = again;
    while seen.len() < 2 {
        for record in &open {
            consumer.acknowledge(record, AcknowledgeType::Accept)?;
        }
        open = some(&mut consumer).await?;
        seen.extend(offsets(&open));
    }
    expect_eq!(seen, [(1, 2), (3, 2)]);
    for record in &open {
        consumer.acknowledge(record, AcknowledgeType::Accept)?;
    }
    expect!(consumer.poll(Duration::from_millis(500)).await?.is_empty(), "there is more");
    consumer.close(CLOSE).await?;
    Ok(())
}

async fn renews(checks: &Checks, name: String) -> Outcome {
    prepare(checks, &name, 1, 2).await?;
    let mut consumer = member(checks, &name, &[EXPLICIT])?;
    let got = some(&mut consumer).await?;
    expect_eq!(got.len(), 2);
    consumer.acknowledge(&got[0], AcknowledgeType::Accept)?;
    consumer.acknowledge(&got[1], AcknowledgeType::Renew)?;
    let again = some(&mut consumer).await?;
    expect_eq!(offsets(&again), [(1, 1)], "the renewed record is still this consumer's");
    consumer.acknowledge(&again[0], AcknowledgeType::Accept)?;
    for (partition, outcome) in consumer.commit().await? {
        expect!(outcome.is_ok(), "{partition}: {outcome:?}");
    }
    consumer.close(CLOSE).await?;
    Ok(())
}

async fn among_two(checks: &Checks, name: String) -> Outcome {
    prepare(checks, &name, 1, 40).await?;
    let few = ("max.poll.records", "5");
    let mut first = member(checks, &name, &[EXPLICIT, few, ("share.acquire.mode", "record_limit")])?;
    let mut second = member(checks, &name, &[EXPLICIT, few, ("share.acquire.mode", "record_limit")])?;
    let (mut seen, mut had, mut sent) = (BTreeSet::new(), [0, 0], 40);
    while seen.len() < sent || had.contains(&0) {
        if seen.len() == sent {
            // One of them joined when everything was done.
            fill(checks, &name, 0, 20).await?;
            sent += 20;
        }
        for (consumer, had) in [&mut first, &mut second].into_iter().zip(&mut had) {
            for record in consumer.poll(Duration::from_millis(300)).await? {
                expect!(seen.insert(record.record.offset), "twice: {}", record.record.offset);
                *had += 1;
                consumer.acknowledge(&record, AcknowledgeType::Accept)?;
            }
        }
    }
    first.close(CLOSE).await?;
    second.close(CLOSE).await?;
    Ok(())
}

async fn record_limit(checks: &Checks, name: String) -> Outcome {
    prepare(checks, &name, 3, 10).await?;
    let settings = [("max.poll.records", "4"), ("share.acquire.mode", "record_limit")];
    let mut consumer = member(checks, &name, &settings)?;
    let mut seen = BTreeSet::new();
    while seen.len() < 30 {
        let records = some(&mut consumer).await?;
        expect!(records.len() <= 4, "{} records at once", records.len());
        for record in records {
            expect!(seen.insert((record.record.partition, record.record.offset)), "twice: {record:?}");
        }
    }
    consumer.close(CLOSE).await?;
    Ok(())
}

async fn commits(checks: &Checks, name: String) -> Outcome {
    prepare(checks, &name, 1, 6).await?;
    let mut consumer = member(checks, &name, &[EXPLICIT])?;
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    consumer.on_acknowledged(move |answer| {
        if let Ok(mut told) = heard.lock() {
            told.push((answer.offsets.clone(), answer.outcome.is_ok()));
        }
    });
    let got = some(&mut consumer).await?;
    for record in got.iter().take(3) {
        consumer.acknowledge(record, AcknowledgeType::Accept)?;
    }
    let outcome = consumer.commit().await?;
    expect_eq!(outcome.len(), 1);
    expect!(outcome.iter().all(|(_, outcome)| outcome.is_ok()), "{outcome:?}");
    for record in got.iter().skip(3) {
        consumer.acknowledge(record, AcknowledgeType::Accept)?;
    }
    consumer.commit_in_background()?;
    expect!(consumer.poll(Duration::from_millis(500)).await?.is_empty(), "there is more");
    consumer.close(CLOSE).await?;
    let told = told.lock().map_err(|error| error.to_string())?;
    expect_eq!(*told, [(vec![0, 1, 2], true), (vec![3, 4, 5], true)]);
    Ok(())
}

async fn administration(checks: &Checks, name: String) -> Outcome {
    let admin = checks.admin()?;
    prepare(checks, &name, 1, 3).await?;
    let ids = [name.clone()];
    let mut consumer = member(checks, &name, &[EXPLICIT])?;
    let got = some(&mut consumer).await?;
    expect_eq!(got.len(), 3);
    let (_, described) = admin.describe_share_groups(&ids).await?.remove(0);
    let described = described?;
    expect_eq!((described.state.as_str(), described.members.len()), ("Stable", 1));
    expect_eq!(described.members[0].assignment, [TopicPartition::new(name.as_str(), 0)]);
    consumer.acknowledge(&got[0], AcknowledgeType::Accept)?;
    consumer.acknowledge(&got[1], AcknowledgeType::Accept)?;
    consumer.commit().await?;
    // Kafka writes a new beginning down with the acknowledgement after the one that moved it.
    consumer.acknowledge(&got[2], AcknowledgeType::Release)?;
    consumer.commit().await?;
    consumer.close(CLOSE).await?;
    let partition = TopicPartition::new(name.as_str(), 0);
    let offset = admin.list_share_group_offsets(&name).await?.get(&partition).copied().flatten();
    expect_eq!(offset.map(|offset| offset.start_offset), Some(2));
    let back = [(partition.clone(), 1)].into_iter().collect();
    for (_, outcome) in admin.alter_share_group_offsets(&name, &back).await? {
        outcome?;
    }
    let mut consumer = member(checks, &name, &[])?;
    expect_eq!(some(&mut consumer).await?.first().map(|record| record.record.offset), Some(1));
    consumer.close(CLOSE).await?;
    for (_, outcome) in admin.delete_share_group_offsets(&name, &ids).await? {
        outcome?;
    }
    for (_, outcome) in admin.delete_groups(&ids).await? {
        outcome?;
    }
    let (_, gone) = admin.describe_share_groups(&ids).await?.remove(0);
    let code = gone.err().and_then(|error| error.code());
    expect_eq!(code, Some(ErrorCode::GroupIdNotFound));
    Ok(())
}

async fn misuse(checks: &Checks, name: String) -> Outcome {
    prepare(checks, &name, 1, 1).await?;
    let mut consumer = member(checks, &name, &[])?;
    let got = some(&mut consumer).await?;
    let refused = consumer.acknowledge(&got[0], AcknowledgeType::Accept);
    expect!(matches!(refused, Err(Error::Illegal(_))), "acknowledged in the implicit mode");
    consumer.close(CLOSE).await?;
    expect!(consumer.poll(Duration::ZERO).await.is_err(), "polled when closed");
    let unsupported = checks.properties(&[("group.id", &name), ("auto.offset.reset", "earliest")]);
    let refused = ShareConsumerConfig::from_properties(unsupported).map_err(|error| error.to_string());
    expect_eq!(refused, Err("auto.offset.reset cannot be set when using a share group.".to_owned()));
    Ok(())
}
