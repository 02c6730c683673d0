//! Versions, bootstrap, and brokers that are none.

use std::time::Duration;

use client::{
    Admin, AdminConfig, Consumer, ConsumerConfig, Error, Producer, ProducerConfig, ProducerRecord,
    TopicPartition,
};
use kafka_codec::ApiKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::fake_broker::{FakeBroker, Fault};
use crate::properties;

/// Produces and consumes one record.
async fn round_trip(broker: &FakeBroker, pairs: &[(&str, &str)]) {
    let config = ProducerConfig::from_properties(properties(broker.address, pairs)).unwrap();
    let producer = Producer::new(config).unwrap();
    producer.send(ProducerRecord::new("t", "x")).await.unwrap().await.unwrap();
    let pairs = [("auto.offset.reset", "earliest")];
    let config = ConsumerConfig::from_properties(properties(broker.address, &pairs)).unwrap();
    let mut consumer = Consumer::new(config).unwrap();
    consumer.assign(&[TopicPartition::new("t", 0)]).unwrap();
    let records = consumer.poll(Duration::from_secs(10)).await.unwrap();
    assert_eq!(records[0].value.as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn brokers_of_several_ages_are_understood() {
    // Kafka 1.0, 2.0, 2.4, 3.0: what they offered.
    for (produce, fetch, list, metadata, versions, init) in
        [(5, 6, 2, 5, 1, 0), (6, 8, 3, 6, 2, 0), (8, 11, 5, 9, 3, 2), (9, 12, 7, 11, 3, 4)]
    {
        let broker = FakeBroker::start().await;
        {
            let mut state = broker.state();
            state.newest.extend([
                (ApiKey::Produce, produce),
                (ApiKey::Fetch, fetch),
                (ApiKey::ListOffsets, list),
                (ApiKey::Metadata, metadata),
                (ApiKey::ApiVersions, versions),
                (ApiKey::InitProducerId, init),
            ]);
            state.api_versions_newest = Some(versions);
        }
        round_trip(&broker, &[]).await;
        round_trip(&broker, &[("acks", "1"), ("compression.type", "gzip")]).await;
    }
}

#[tokio::test]
async fn what_the_broker_cannot_do_is_told() {
    let broker = FakeBroker::start().await;
    broker.state().newest.insert(ApiKey::Produce, 6);
    let pairs = [("compression.type", "zstd"), ("linger.ms", "0")];
    let config = ProducerConfig::from_properties(properties(broker.address, &pairs)).unwrap();
    let producer = Producer::new(config).unwrap();
    let error = producer.send(ProducerRecord::new("t", "x")).await.unwrap().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "The node does not support PRODUCE with version in range [7,12]. The supported range is [0,6]."
    );
    let admin = Admin::new(AdminConfig::from_properties(properties(broker.address, &[])).unwrap()).unwrap();
    let error = admin.delete_topics(&["t".to_owned()]).await.unwrap_err();
    assert_eq!(error.to_string(), "The node does not support DELETE_TOPICS");
}

#[tokio::test]
async fn the_next_bootstrap_server_is_tried() {
    let broker = FakeBroker::start().await;
    // A port that nobody listens on any more.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let servers = format!("{dead},{}", broker.address);
    round_trip(&broker, &[("bootstrap.servers", &servers)]).await;
}

#[tokio::test]
async fn trouble_at_the_first_word_is_got_over() {
    let broker = FakeBroker::start().await;
    for fault in [Fault::DropBefore, Fault::DropMidFrame, Fault::Garbage, Fault::Endless] {
        broker.faults(ApiKey::ApiVersions, &[fault]);
    }
    round_trip(&broker, &[]).await;
}

#[tokio::test]
async fn nobody_there_is_a_timeout() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let pairs = [("default.api.timeout.ms", "200"), ("request.timeout.ms", "100")];
    let admin = Admin::new(AdminConfig::from_properties(properties(dead, &pairs)).unwrap()).unwrap();
    let error = admin.list_topics(false).await.unwrap_err();
    assert_eq!(error.to_string(), "Timed out waiting for a node assignment. Call: listTopics");
    assert_eq!(error.java_exception(), "org.apache.kafka.common.errors.TimeoutException");
    let pairs = [("max.block.ms", "200"), ("request.timeout.ms", "100")];
    let producer = Producer::new(ProducerConfig::from_properties(properties(dead, &pairs)).unwrap()).unwrap();
    let error = producer.send(ProducerRecord::new("t", "x")).await.unwrap_err();
    assert_eq!(error.to_string(), "Topic t not present in metadata after 200 ms.");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_configuration_error() {
    let config = AdminConfig::new("no-such-host.invalid:9092").unwrap();
    let admin = Admin::new(config).unwrap();
    let error = admin.list_topics(false).await.unwrap_err();
    assert!(matches!(error, Error::Config(_)), "{error:?}");
    assert_eq!(error.to_string(), "No resolvable bootstrap urls given in bootstrap.servers");
}

#[tokio::test]
async fn something_else_than_a_broker_is_an_error_not_a_crash() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let pairs = [("default.api.timeout.ms", "200"), ("request.timeout.ms", "100")];
    let admin = Admin::new(AdminConfig::from_properties(properties(address, &pairs)).unwrap()).unwrap();
    assert!(admin.describe_cluster().await.is_err());
    server.abort();
}
