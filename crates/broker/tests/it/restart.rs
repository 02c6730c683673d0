//! What outlives a restart.

use std::fs;

use kafka_codec::messages::{DeleteTopicsRequest, InitProducerIdRequest};

use crate::harness::*;

#[tokio::test]
async fn topics_records_ids_and_cluster_stay() {
    let broker = TestBroker::start(&[]).await;
    let cluster = broker.handle.cluster_id().to_owned();
    let mut client = broker.client().await;
    client.create_topic("t", 3, &[("retention.ms", "86400000")]).await;
    let described = client.describe("t").await;
    client.produce(&Target::new("t"), &batch(&["a", "b"])).await;
    let producer = client
        .call(4, &InitProducerIdRequest { transactional_id: None, ..Default::default() })
        .await
        .producer_id;
    client.produce(&Target::new("t"), &idempotent_batch("c", producer, 0, 0)).await;
    let dir = broker.stop().await;
    assert!(client.is_closed().await, "a clean stop closes connections");

    let broker = TestBroker::start_in(dir, &[]).await;
    assert_eq!(broker.handle.cluster_id(), cluster);
    let mut client = broker.client().await;
    assert_eq!(client.describe("t").await, described);
    assert_eq!(client.fetch(&Fetch::new("t", 0)).await.values(), ["a", "b", "c"]);
    let repeat = idempotent_batch("c", producer, 0, 0);
    assert_eq!(client.produce(&Target::new("t"), &repeat).await, (0, 2), "still known as a repeat");
    let next = client
        .call(4, &InitProducerIdRequest { transactional_id: None, ..Default::default() })
        .await
        .producer_id;
    assert!(next > producer, "{next} after {producer}");
}

#[tokio::test]
async fn a_deletion_cut_short_is_completed() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    client.produce(&Target::new("t"), &batch(&["a"])).await;
    let dir = broker.stop().await;
    let (log, aside) = (dir.path().join("t-0"), dir.path().join("aside"));
    fs::create_dir(&aside).unwrap();
    for file in fs::read_dir(&log).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), aside.join(file.file_name())).unwrap();
    }
    let broker = TestBroker::start_in(dir, &[]).await;
    let request = DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() };
    broker.client().await.call(5, &request).await;
    let dir = broker.stop().await;
    assert!(!log.exists());
    // As if the broker had died after the record of the deletion and before the directory was gone.
    fs::rename(&aside, &log).unwrap();
    let broker = TestBroker::start_in(dir, &[]).await;
    assert!(!log.exists());
    let mut client = broker.client().await;
    assert_eq!(client.describe("t").await, None);
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    assert_eq!(client.fetch(&Fetch::new("t", 0)).await.high_watermark, 0, "nothing of the old topic");
}

#[tokio::test]
async fn a_directory_belongs_to_one_node_and_one_process() {
    let broker = TestBroker::start(&[]).await;
    let second = start(broker.dir.path(), &[]).await.err().expect("two brokers in one directory").to_string();
    assert!(second.contains("is used by another process"), "{second}");
    let dir = broker.stop().await;
    let other =
        start(dir.path(), &[("node.id", "2")]).await.err().expect("another node's directory").to_string();
    assert!(other.contains("belongs to node 1"), "{other}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let broker = TestBroker::start(&[]).await;
    let listeners = format!("PLAINTEXT://{}", broker.address());
    let dir = tempfile::tempdir().unwrap();
    let error = start(dir.path(), &[("listeners", &listeners)]).await.err().expect("bound twice");
    assert_eq!(error.to_string(), format!("listener PLAINTEXT cannot listen on {}", broker.address()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing changed on disk");
}
