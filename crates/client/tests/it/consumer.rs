//! Reading under faults.

use std::time::Duration;

use client::{Consumer, ConsumerConfig, Error, Producer, ProducerConfig, ProducerRecord, TopicPartition};
use kafka_codec::{ApiKey, ErrorCode};

use crate::fake_broker::{FakeBroker, Fault};
use crate::properties;

async fn filled() -> FakeBroker {
    let broker = FakeBroker::start().await;
    let config = properties(broker.address, &[("batch.size", "100")]);
    let producer = Producer::new(ProducerConfig::from_properties(config).unwrap()).unwrap();
    for n in 0..30 {
        drop(producer.send(ProducerRecord::new("t", n.to_string())).await.unwrap());
    }
    producer.flush().await.unwrap();
    broker
}

fn consumer(broker: &FakeBroker, pairs: &[(&str, &str)]) -> Consumer {
    let config = ConsumerConfig::from_properties(properties(broker.address, pairs)).unwrap();
    let mut consumer = Consumer::new(config).unwrap();
    consumer.assign(&[TopicPartition::new("t", 0)]).unwrap();
    consumer
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let records = consumer.poll(Duration::from_secs(10)).await.unwrap();
        offsets.extend(records.iter().map(|r| r.offset));
    }
    offsets
}

const EARLIEST: &[(&str, &str)] = &[("auto.offset.reset", "earliest")];

#[tokio::test]
async fn passing_trouble_loses_and_doubles_nothing() {
    let broker = filled().await;
    broker.faults(
        ApiKey::Fetch,
        &[
            Fault::Refuse(ErrorCode::NotLeaderOrFollower),
            Fault::DropBefore,
            Fault::DropMidFrame,
            Fault::Garbage,
            Fault::Endless,
            Fault::Refuse(ErrorCode::UnknownLeaderEpoch),
        ],
    );
    broker.faults(ApiKey::ListOffsets, &[Fault::Refuse(ErrorCode::NotLeaderOrFollower), Fault::DropAfter]);
    broker.faults(ApiKey::Metadata, &[Fault::Refuse(ErrorCode::LeaderNotAvailable), Fault::DropBefore]);
    let mut consumer = consumer(&broker, &[("auto.offset.reset", "earliest"), ("max.poll.records", "7")]);
    assert_eq!(take(&mut consumer, 30).await, (0..30).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_corrupt_batch_stands_in_the_way_until_it_is_passed() {
    let broker = filled().await;
    broker.state().corrupt_last();
    let mut consumer = consumer(&broker, EARLIEST);
    let mut good = Vec::new();
    let error = loop {
        match consumer.poll(Duration::from_secs(10)).await {
            Ok(records) => good.extend(records.iter().map(|r| r.offset)),
            Err(error) => break error,
        }
    };
    let next = i64::try_from(good.len()).unwrap();
    assert!(
        matches!(&error, Error::CorruptRecord { offset, .. } if *offset == next),
        "{error} after {good:?}"
    );
    assert!(consumer.poll(Duration::from_secs(10)).await.is_err(), "still there");
    broker.state().repair_last();
    assert_eq!(take(&mut consumer, 30 - good.len()).await, (next..30).collect::<Vec<i64>>());
}

#[tokio::test]
async fn retention_that_overtakes_the_position_resets_it() {
    let broker = filled().await;
    let mut consumer = consumer(&broker, EARLIEST);
    consumer.seek(&TopicPartition::new("t", 0), 3).unwrap();
    broker.state().start = 12;
    let offsets = take(&mut consumer, 18).await;
    assert!(offsets.iter().all(|o| *o >= 10) && offsets.contains(&29), "{offsets:?}");
}

#[tokio::test]
async fn missing_authorization_is_told() {
    let broker = filled().await;
    broker.faults(ApiKey::Fetch, &[Fault::Refuse(ErrorCode::TopicAuthorizationFailed)]);
    let mut consumer = consumer(&broker, EARLIEST);
    let error = consumer.poll(Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error.to_string(), "Not authorized to access topics: [t]");
    assert_eq!(take(&mut consumer, 30).await.len(), 30, "and the consumer goes on once it is there");
}
