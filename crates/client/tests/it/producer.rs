//! Order, once-only and failure of records under faults.

use std::time::Duration;

use client::producer::Delivery;
use client::{Error, Producer, ProducerConfig, ProducerRecord};
use kafka_codec::{ApiKey, ErrorCode};
use proptest::prelude::*;

use crate::fake_broker::{FakeBroker, Fault};
use crate::properties;

fn producer(broker: &FakeBroker, pairs: &[(&str, &str)]) -> Producer {
    let config = ProducerConfig::from_properties(properties(broker.address, pairs)).unwrap();
    Producer::new(config).unwrap()
}

/// Numbered records, a few per batch, many batches in flight.
async fn send(producer: &Producer, range: std::ops::Range<usize>) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for n in range {
        deliveries.push(producer.send(ProducerRecord::new("t", n.to_string())).await.unwrap());
    }
    deliveries
}

/// All succeed; answers their offsets.
async fn offsets(deliveries: Vec<Delivery>) -> Vec<i64> {
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.await.unwrap().offset);
    }
    offsets
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

const SMALL_BATCHES: &[(&str, &str)] = &[("batch.size", "120"), ("linger.ms", "0")];

#[tokio::test]
async fn a_refused_batch_does_not_change_the_order() {
    let broker = FakeBroker::start().await;
    broker.faults(ApiKey::Produce, &[Fault::Refuse(ErrorCode::NotLeaderOrFollower)]);
    broker.faults(
        ApiKey::Produce,
        &[Fault::Serve, Fault::Refuse(ErrorCode::NotLeaderOrFollower), Fault::Serve, Fault::Serve],
    );
    let producer = producer(&broker, SMALL_BATCHES);
    let deliveries = send(&producer, 0..200).await;
    let offsets = offsets(deliveries).await;
    assert_eq!(offsets, (0..200).collect::<Vec<i64>>());
    assert_eq!(broker.state().values(), numbers(0..200));
}

#[tokio::test]
async fn what_was_written_without_an_answer_is_not_written_again() {
    let broker = FakeBroker::start().await;
    broker.faults(ApiKey::Produce, &[Fault::Serve, Fault::DropAfter, Fault::Serve, Fault::DropMidFrame]);
    let producer = producer(&broker, SMALL_BATCHES);
    let deliveries = send(&producer, 0..100).await;
    let offsets = offsets(deliveries).await;
    assert_eq!(offsets, (0..100).collect::<Vec<i64>>());
    assert_eq!(broker.state().values(), numbers(0..100));
}

#[tokio::test]
async fn a_broker_that_lost_its_state_is_met_with_a_new_epoch() {
    let broker = FakeBroker::start().await;
    let producer = producer(&broker, SMALL_BATCHES);
    offsets(send(&producer, 0..50).await).await;
    broker.state().lose_last(3);
    let left = broker.state().values();
    assert!(left.len() < 50);
    offsets(send(&producer, 50..100).await).await;
    let expected: Vec<String> = left.into_iter().chain(numbers(50..100)).collect();
    assert_eq!(broker.state().values(), expected);
}

#[tokio::test]
async fn after_a_batch_that_failed_for_good_the_rest_goes_on_in_order() {
    let broker = FakeBroker::start().await;
    let producer = producer(&broker, SMALL_BATCHES);
    offsets(send(&producer, 0..10).await).await;
    broker.faults(ApiKey::Produce, &[Fault::Refuse(ErrorCode::InvalidRecord)]);
    let deliveries = send(&producer, 10..100).await;
    let mut failed = Vec::new();
    for (n, delivery) in (10..).zip(deliveries) {
        match delivery.await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.code(), Some(ErrorCode::InvalidRecord), "{error}");
                failed.push(n.to_string());
            }
        }
    }
    assert!(!failed.is_empty());
    let expected: Vec<String> = numbers(0..100).into_iter().filter(|n| !failed.contains(n)).collect();
    assert_eq!(broker.state().values(), expected);
}

#[tokio::test]
async fn records_expire_when_nobody_answers() {
    let broker = FakeBroker::start().await;
    broker.faults(ApiKey::Produce, &[Fault::Silence; 50]);
    let quick = [("request.timeout.ms", "60"), ("delivery.timeout.ms", "250"), ("linger.ms", "0")];
    let producer = producer(&broker, &quick);
    let delivery = producer.send(ProducerRecord::new("t", "x")).await.unwrap();
    let error = delivery.await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
    assert!(error.to_string().starts_with("Expiring 1 record(s) for t-0:"), "{error}");
    broker.state().faults.clear();
    // The producer is not stuck, and the fenced copies do not come back.
    let delivery = producer.send(ProducerRecord::new("t", "y")).await.unwrap();
    delivery.await.unwrap();
    let values = broker.state().values();
    assert_eq!(values.iter().filter(|v| *v == "y").count(), 1, "{values:?}");
    assert!(values.iter().filter(|v| *v == "x").count() <= 1, "{values:?}");
    assert_eq!(values.last().map(String::as_str), Some("y"));
}

#[tokio::test]
async fn retries_are_counted() {
    let broker = FakeBroker::start().await;
    broker.faults(ApiKey::Produce, &[Fault::Refuse(ErrorCode::NotEnoughReplicas); 3]);
    let producer = producer(&broker, &[("retries", "2"), ("linger.ms", "0")]);
    let refused = producer.send(ProducerRecord::new("t", "x")).await.unwrap().await;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::NotEnoughReplicas));
    assert_eq!(broker.state().seen[&ApiKey::Produce], 3);
    producer.send(ProducerRecord::new("t", "y")).await.unwrap().await.unwrap();
    assert_eq!(broker.state().values(), ["y"]);
}

#[tokio::test]
async fn memory_holds_the_sender_back() {
    let broker = FakeBroker::start().await;
    broker.faults(ApiKey::Produce, &[Fault::Silence]);
    let pairs = [("buffer.memory", "1000"), ("max.block.ms", "150"), ("max.request.size", "900")];
    let producer = producer(&broker, &pairs);
    let mut held = Vec::new();
    let full = loop {
        match producer.send(ProducerRecord::new("t", vec![b'x'; 100])).await {
            Ok(delivery) => held.push(delivery),
            Err(error) => break error,
        }
        assert!(held.len() < 20, "the buffer never fills");
    };
    assert!(full.to_string().starts_with("Failed to allocate"), "{full}");
    producer.close(Duration::from_millis(10)).await;
    for delivery in held {
        assert!(delivery.await.is_err());
    }
}

#[tokio::test]
async fn an_unauthorized_producer_says_so() {
    let broker = FakeBroker::start().await;
    broker.faults(ApiKey::InitProducerId, &[Fault::Refuse(ErrorCode::ClusterAuthorizationFailed)]);
    let producer = producer(&broker, &[]);
    let refused = producer.send(ProducerRecord::new("t", "x")).await.unwrap().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::ClusterAuthorizationFailed));
    let later = producer.send(ProducerRecord::new("t", "y")).await.unwrap_err();
    assert_eq!(later.code(), Some(ErrorCode::ClusterAuthorizationFailed));
}

#[tokio::test]
async fn dropping_the_producer_still_sends_what_it_holds() {
    let broker = FakeBroker::start().await;
    let producer = producer(&broker, &[("linger.ms", "60000"), ("delivery.timeout.ms", "120000")]);
    let deliveries = send(&producer, 0..5).await;
    drop(producer);
    assert_eq!(offsets(deliveries).await, [0, 1, 2, 3, 4]);
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::Serve),
        1 => Just(Fault::Refuse(ErrorCode::NotLeaderOrFollower)),
        1 => Just(Fault::Refuse(ErrorCode::NotEnoughReplicas)),
        1 => Just(Fault::Refuse(ErrorCode::CorruptMessage)),
        1 => Just(Fault::DropAfter),
        1 => Just(Fault::DropBefore),
        1 => Just(Fault::DropMidFrame),
        1 => Just(Fault::Garbage),
        1 => Just(Fault::Endless),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// Whatever goes wrong on the way, an idempotent producer's records are there once and in order.
    #[test]
    fn once_and_in_order_under_any_faults(faults in proptest::collection::vec(any_fault(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let values = runtime.block_on(async {
            let broker = FakeBroker::start().await;
            broker.faults(ApiKey::Produce, &faults);
            let producer = producer(&broker, SMALL_BATCHES);
            let deliveries = send(&producer, 0..150).await;
            let limit = Duration::from_secs(30);
            let offsets = tokio::time::timeout(limit, offsets(deliveries)).await.expect("all are delivered");
            assert_eq!(offsets, (0..150).collect::<Vec<i64>>());
            broker.state().values()
        });
        prop_assert_eq!(values, numbers(0..150));
    }
}
