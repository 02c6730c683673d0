//! A hundred devices at once at each quality of service: every message reaches the Kafka consumer and the MQTT
//! subscriber, as often as its quality of service promises.
//!
//! `TRIBUTARY_MESSAGES` sets how many each device sends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use client::{Consumer, ConsumerConfig, TopicPartition};
use mqtt_codec::{Ack, Connect, Packet, PacketId, ProtocolVersion, Publish, QoS};
use testkit::mqtt_client::MqttClient;
use testkit::node::Node;

use crate::from_env;

const DEVICES: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_hundred_devices_are_counted_exactly_at_both_ends() {
    let messages = from_env("TRIBUTARY_MESSAGES", 20);
    let dir = tempfile::tempdir().expect("tempdir");
    let mut node = Node::start(crate::options(dir.path())).expect("starts");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(async {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let topic = format!("fleet{}", qos as u8);
            let subscriber = subscribe(node.mqtt(), &topic).await;
            let total = DEVICES * messages;
            let seen = tokio::spawn(receive(subscriber, total));
            let devices: Vec<_> = (0..DEVICES)
                .map(|device| tokio::spawn(publish(node.mqtt(), format!("{topic}/{device}"), qos, messages)))
                .collect();
            for device in devices {
                tokio::time::timeout(PATIENCE, device).await.expect("ends in time").expect("no panic");
            }
            let at_subscriber =
                tokio::time::timeout(PATIENCE, seen).await.expect("all come").expect("no panic");
            let at_consumer = consume(node.kafka(), &topic, total).await;
            for counts in [at_subscriber, at_consumer] {
                assert_eq!(counts.len() as u64, total, "{topic}");
                assert!(counts.values().all(|times| *times == 1), "{topic}: something came twice");
            }
        }
        // Nobody asked for anything to be retained.
        let mut late =
            MqttClient::open(node.mqtt(), Connect::new(ProtocolVersion::V311, "late")).await.expect("in").0;
        late.subscribe("#", QoS::AtMostOnce).await.expect("subscribed");
        late.send(&Packet::PingReq).await.expect("sent");
        let next = tokio::time::timeout(PATIENCE, late.receive()).await.expect("in time").expect("a packet");
        assert!(matches!(next, Packet::PingResp), "retained: {next:?}");
    });
    let (status, said) = node.terminate().expect("stops");
    assert!(status.success(), "{status}: {said}");
}

async fn subscribe(mqtt: SocketAddr, topic: &str) -> MqttClient {
    let connect = Connect::new(ProtocolVersion::V311, format!("subscriber-{topic}"));
    let (mut client, _) = MqttClient::open(mqtt, connect).await.expect("connects");
    client.subscribe(&format!("{topic}/#"), QoS::ExactlyOnce).await.expect("subscribed");
    client
}

/// Takes messages until there are `total`, and a moment longer; how often each payload came.
async fn receive(mut client: MqttClient, total: u64) -> HashMap<String, u32> {
    let mut counts: HashMap<String, u32> = HashMap::new();
    let mut received = 0;
    loop {
        let wait = if received < total { PATIENCE } else { Duration::from_millis(300) };
        let Ok(packet) = tokio::time::timeout(wait, client.receive()).await else { return counts };
        match packet.expect("a packet") {
            Packet::Publish(publish) => {
                match (publish.qos, publish.packet_id) {
                    (QoS::AtLeastOnce, Some(id)) => client.writer.push(&Packet::PubAck(Ack::new(id))),
                    (QoS::ExactlyOnce, Some(id)) => client.writer.push(&Packet::PubRec(Ack::new(id))),
                    _ => Ok(()),
                }
                .expect("encodes");
                received += 1;
                let payload = std::str::from_utf8(&publish.payload).expect("text").to_owned();
                *counts.entry(payload).or_default() += 1;
            }
            Packet::PubRel(ack) => {
                client.writer.push(&Packet::PubComp(Ack::new(ack.packet_id))).expect("encodes");
            }
            other => panic!("unexpected {other:?}"),
        }
        client.writer.flush().await.expect("sent");
    }
}

async fn publish(mqtt: SocketAddr, topic: String, qos: QoS, messages: u64) {
    let connect = Connect::new(ProtocolVersion::V311, topic.replace('/', "-"));
    let (mut client, _) = MqttClient::open(mqtt, connect).await.expect("connects");
    let mut packet_id = PacketId::MIN;
    for number in 0..messages {
        let publish = Publish {
            qos,
            topic: topic.as_str().into(),
            packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
            payload: Bytes::from(format!("{topic}/{number}")),
            ..Publish::default()
        };
        client.send(&Packet::Publish(publish)).await.expect("sent");
        if qos == QoS::AtLeastOnce {
            assert!(matches!(client.receive().await.expect("an answer"), Packet::PubAck(_)));
        } else if qos == QoS::ExactlyOnce {
            assert!(matches!(client.receive().await.expect("an answer"), Packet::PubRec(_)));
            client.send(&Packet::PubRel(Ack::new(packet_id))).await.expect("sent");
            assert!(matches!(client.receive().await.expect("an answer"), Packet::PubComp(_)));
        }
        packet_id = packet_id.next();
    }
    // What was sent with QoS 0 was taken when this is answered.
    client.send(&Packet::PingReq).await.expect("sent");
    assert!(matches!(client.receive().await.expect("an answer"), Packet::PingResp));
}

/// Reads the topic; how often each value is in it.
async fn consume(kafka: SocketAddr, topic: &str, total: u64) -> HashMap<String, u32> {
    let mut consumer =
        Consumer::new(ConsumerConfig::new(&kafka.to_string(), None).expect("config")).expect("consumer");
    let of = TopicPartition::new(topic, 0);
    consumer.assign(std::slice::from_ref(&of)).expect("assigned");
    consumer.seek_to_beginning(std::slice::from_ref(&of)).expect("sought");
    let mut counts: HashMap<String, u32> = HashMap::new();
    let mut read = 0;
    while read < total {
        let records = tokio::time::timeout(PATIENCE, consumer.poll(Duration::from_secs(1))).await;
        for record in records.expect("records in time").expect("polls") {
            read += 1;
            let value = record.value.expect("a value");
            *counts.entry(std::str::from_utf8(&value).expect("text").to_owned()).or_default() += 1;
        }
    }
    let end = consumer.end_offsets(std::slice::from_ref(&of)).await.expect("an end")[&of];
    assert_eq!(end, total as i64);
    counts
}
