//! Kafka's side of it: what is in the log, and what a Kafka client puts there.

use crate::harness::*;
use bytes::Bytes;
use client::door::{Ack, Door, Header, NewTopic, Record, TopicPartition};
use mqtt::{AutoCreate, MqttConfig, RouteConfig, RouteKey};

fn record(key: Option<&str>, value: &str) -> Record {
    Record {
        key: key.map(|k| Bytes::copy_from_slice(k.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..Record::default()
    }
}

#[tokio::test]
async fn a_publish_is_a_record() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V5, "c").await;
    c.publish("sensors/1/temp", "21", 1).await;
    let records = broker.door.store().all_records("sensors");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].key.as_deref(), Some(&b"sensors/1/temp"[..]));
    assert_eq!(records[0].value.as_deref(), Some(&b"21"[..]));
    assert_eq!(records[0].headers, [Header { key: "mqtt.qos".into(), value: Some("1".into()) }]);
}

#[tokio::test]
async fn records_of_kafka_clients_reach_subscribers() {
    let broker = Broker::start().await;
    let mut sub = broker.clean(V5, "sub").await;
    sub.subscribe("orders/#", 2).await;
    let topic = NewTopic { name: "orders".to_owned(), partitions: Some(2), configs: Vec::new() };
    broker.door.create_topic(topic).await.unwrap();
    let mut r = record(Some("orders/7"), "a");
    r.headers.push(Header { key: "trace".into(), value: Some("x".into()) });
    for (partition, record) in [(0, r), (0, record(Some("42"), "b")), (0, record(None, "c"))] {
        broker.door.append(&TopicPartition::new("orders", partition), record, Ack::All).await.unwrap();
    }
    assert_eq!(sub.message().await, "publish orders/7 q1 #1 UserProperty(\"trace\", \"x\") a");
    assert_eq!(sub.message().await, "publish orders q1 #2 b");
    assert_eq!(sub.message().await, "publish orders q1 #3 c");
    let other = TopicPartition::new("orders", 1);
    broker.door.append(&other, record(None, "other partition"), Ack::All).await.unwrap();
    assert!(sub.message().await.ends_with("other partition"));
}

#[tokio::test]
async fn routes_and_keys() {
    let route = |filter: &str, topic: &str, key, partitions| RouteConfig {
        filter: filter.to_owned(),
        topic: topic.to_owned(),
        key,
        partitions,
        ack: None,
        retained: false,
    };
    let routes = vec![
        route("plant/+/press/#", "presses", RouteKey::Level(1), Some(3)),
        route("raw/#", "raw-data", RouteKey::None, None),
    ];
    let broker = Broker::with(MqttConfig { routes, ..config() }, Default::default()).await;
    let mut sub = broker.clean(V5, "sub").await;
    sub.subscribe("plant/#", 1).await;
    sub.subscribe("raw/+", 1).await;
    let mut c = broker.clean(V5, "c").await;
    c.publish("plant/7/press/force", "1", 1).await;
    assert_eq!(sub.message().await, "publish plant/7/press/force q1 #1 1");
    c.publish("plant/7/oven", "2", 1).await;
    assert_eq!(sub.message().await, "publish plant/7/oven q1 #2 2");
    c.publish("raw/x", "3", 1).await;
    assert_eq!(sub.message().await, "publish raw/x q1 #3 3");
    let store = broker.door.store();
    assert_eq!(store.all_records("presses")[0].key.as_deref(), Some(&b"7"[..]));
    assert_eq!(store.all_records("raw-data")[0].key, None);
    assert_eq!(store.all_records("plant")[0].key.as_deref(), Some(&b"plant/7/oven"[..]));
}

#[tokio::test]
async fn past_the_cap_everything_goes_to_the_overflow_topic() {
    let auto_create = AutoCreate { max_topics: 2, ..AutoCreate::default() };
    let broker = Broker::with(MqttConfig { auto_create, ..config() }, Default::default()).await;
    let mut sub = broker.clean(V5, "sub").await;
    sub.subscribe("+/x", 1).await;
    sub.subscribe("three/#", 1).await;
    let mut c = broker.clean(V5, "c").await;
    let mut ids = Vec::new();
    for (n, topic) in ["one/x", "two/x", "three/x", "/x", "one/x"].into_iter().enumerate() {
        c.publish(topic, &n.to_string(), 1).await;
        ids.push(sub.message().await);
    }
    assert_eq!(ids[2], "publish three/x q1 #3 2");
    assert_eq!(ids[3], "publish /x q1 #4 3");
    let store = broker.door.store();
    assert_eq!(store.topic_names(), ["__mqtt_retained", "__mqtt_sessions", "mqtt-overflow", "one", "two"]);
    assert_eq!(store.all_records("mqtt-overflow").len(), 2);
}

#[tokio::test]
async fn a_topic_that_the_log_refuses_goes_to_the_overflow_topic() {
    let broker = Broker::start().await;
    let refused = client::door::DoorError::Invalid("collides with another".to_owned());
    broker.door.faults.refuse_topics.lock().insert("bad".to_owned(), refused);
    let mut c = broker.clean(V5, "c").await;
    c.publish("bad/x", "1", 1).await;
    assert_eq!(broker.door.store().all_records("mqtt-overflow").len(), 1);
}

#[tokio::test]
async fn internal_topics_are_out_of_reach() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V5, "c").await;
    c.subscribe("#", 0).await;
    c.subscribe("__mqtt_sessions/#", 0).await;
    // A session's records are in the log now.
    broker.connect(persistent(V5, "p")).await.disconnect().await;
    c.publish("__mqtt_sessions/x", "mine", 1).await;
    c.expect("publish __mqtt_sessions/x q0 mine").await;
    assert_eq!(broker.door.store().all_records("mqtt-overflow").len(), 1);
    assert_eq!(c.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn mount_points() {
    let mut listener = mqtt::ListenerConfig::new(([127, 0, 0, 1], 0).into());
    listener.mount_point = Some("site1/".to_owned());
    let broker = Broker::with(MqttConfig { listeners: vec![listener], ..config() }, Default::default()).await;
    let mut c = broker.clean(V5, "c").await;
    c.subscribe("a/#", 1).await;
    c.publish_packet(publish("a/b", "x", 0)).await;
    c.expect("publish a/b q0 x").await;
    assert_eq!(broker.door.store().all_records("site1")[0].key.as_deref(), Some(&b"site1/a/b"[..]));
}

#[tokio::test]
async fn a_topic_deleted_and_made_again_is_followed_again() {
    let broker = Broker::start().await;
    let mut sub = broker.clean(V5, "sub").await;
    sub.subscribe("a/#", 1).await;
    let mut c = broker.clean(V5, "c").await;
    c.publish("a/x", "old", 1).await;
    assert!(sub.message().await.ends_with("old"));
    broker.door.store().delete("a");
    c.publish("a/x", "new", 1).await;
    assert!(sub.message().await.ends_with("new"));
}
