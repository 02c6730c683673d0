//! Bad input and bad neighbours.

use crate::harness::*;
use mqtt_codec::{Ack, Connect, Packet, Subscribe, Subscription};

/// A small generator of pseudo-random numbers: a failure is a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn valid_packets(version: mqtt_codec::ProtocolVersion) -> Vec<Vec<u8>> {
    let mut with_id = publish("t/fuzz", "x", 2);
    with_id.packet_id = Some(id(3));
    let subscribe = Subscribe::new(id(4), vec![Subscription::new("t/+", mqtt_codec::QoS::AtLeastOnce)]);
    let unsubscribe = mqtt_codec::Unsubscribe::new(id(5), vec!["t/+".to_owned()]);
    let packets = [
        Packet::Publish(publish("t/fuzz", "x", 0)),
        Packet::Publish(with_id),
        Packet::PubAck(Ack::new(id(1))),
        Packet::PubRec(Ack::new(id(1))),
        Packet::PubRel(Ack::new(id(3))),
        Packet::PubComp(Ack::new(id(1))),
        Packet::Subscribe(subscribe),
        Packet::Unsubscribe(unsubscribe),
        Packet::PingReq,
        Packet::Disconnect(Default::default()),
        Packet::Connect(Box::new(Connect::new(version, "again"))),
    ];
    packets.iter().map(|p| p.to_vec(version).unwrap()).collect()
}

#[tokio::test]
async fn random_bytes_cost_one_connection_each() {
    let mut conf = config();
    conf.limits.max_packet_size = 4096;
    let broker = Broker::with(conf, Default::default()).await;
    let mut witness = broker.clean(V311, "witness").await;
    witness.subscribe("witness", 1).await;
    let mut random = Random(0x1234_5678_9abc_def1);
    for round in 0..150 {
        let version = if round % 2 == 0 { V311 } else { V5 };
        let valid = valid_packets(version);
        let mut bytes = Vec::new();
        for _ in 0..30 {
            let mut one = valid[random.below(valid.len())].clone();
            match random.below(4) {
                0 => {
                    let at = random.below(one.len());
                    one[at] ^= 1 << random.below(8);
                }
                1 => one.truncate(random.below(one.len()) + 1),
                _ => {}
            }
            bytes.extend(one);
        }
        let mut c = broker.clean(version, "fuzz").await;
        c.send_bytes(&bytes).await;
        drop(c);
        if round % 30 == 0 {
            witness.publish_and_read_back("witness", &round.to_string()).await;
        }
    }
    witness.publish_and_read_back("witness", "still here").await;
}

impl Client {
    async fn publish_and_read_back(&mut self, topic: &str, payload: &str) {
        let mut p = publish(topic, payload, 1);
        p.packet_id = Some(self.id());
        self.send(&Packet::Publish(p)).await;
        let mut got = vec![self.text().await, self.text().await];
        got.sort();
        assert!(got[0].starts_with("puback"), "{got:?}");
        assert!(got[1].ends_with(payload), "{got:?}");
        let packet_id: u16 =
            got[1].split('#').nth(1).and_then(|t| t.split(' ').next()).unwrap().parse().unwrap();
        self.send(&Packet::PubAck(Ack::new(id(packet_id)))).await;
    }
}

#[tokio::test]
async fn a_subscriber_that_never_reads_slows_nobody_and_is_bounded() {
    let mut conf = config();
    conf.limits.max_queued_messages = 50;
    let broker = Broker::with(conf, Default::default()).await;
    // It subscribes with QoS 0 and 1 and reads nothing but the acknowledgements.
    let mut stuck = broker.clean(V311, "stuck").await;
    stuck.subscribe("t/0", 0).await;
    stuck.subscribe("t/1", 1).await;
    let mut good = broker.clean(V311, "good").await;
    good.subscribe("t/1", 1).await;
    let mut publisher = broker.clean(V311, "pub").await;
    let big = "x".repeat(20_000);
    for n in 0..300 {
        publisher.publish("t/0", &big, 0).await;
        publisher.publish("t/1", &n.to_string(), 1).await;
        assert!(good.message().await.ends_with(&format!(" {n}")));
    }
}

#[tokio::test]
async fn a_session_whose_log_does_not_answer_is_not_given_twice() {
    let broker = Broker::start().await;
    let mut c = broker.connect(persistent(V5, "c")).await;
    c.publish("t", "there", 1).await;
    broker.door.faults.append_delay_ms.store(300, std::sync::atomic::Ordering::SeqCst);
    let mut p = publish("t", "x", 2);
    p.packet_id = Some(id(9));
    c.send(&Packet::Publish(p.clone())).await;
    c.until_ping().await;
    // Gone while the write is under way; the next connection finds its result.
    drop(c);
    let (mut c, a) = broker.try_connect(persistent(V5, "c")).await;
    assert!(a.session_present);
    p.dup = true;
    c.send(&Packet::Publish(p)).await;
    c.expect("pubrec 9").await;
    assert_eq!(broker.door.store().all_records("t").len(), 2);
}

#[tokio::test]
async fn a_corrupt_session_record_is_named_and_stops_the_start() {
    use client::door::{Door, Record, TopicPartition};
    let broker = Broker::start().await;
    let bad = Record { key: Some("c".into()), value: Some("nonsense".into()), ..Record::default() };
    let to = TopicPartition::new("__mqtt_sessions", 2);
    broker.door.append(&to, bad, client::door::Ack::All).await.unwrap();
    let door = mqtt::testing::MemoryDoor::open(broker.stop().await);
    let error = mqtt::Server::start(config(), std::sync::Arc::new(door)).await.unwrap_err();
    assert_eq!(error.to_string(), "corrupt record in __mqtt_sessions: partition 2, offset 0");
}

#[tokio::test]
async fn bad_configuration_is_refused() {
    for change in [
        |c: &mut mqtt::MqttConfig| c.limits.max_inflight_messages = 0,
        |c: &mut mqtt::MqttConfig| c.limits.max_queued_messages = 0,
        |c: &mut mqtt::MqttConfig| c.internal_partitions = 0,
        |c: &mut mqtt::MqttConfig| c.listeners[0].max_qos = 3,
        |c: &mut mqtt::MqttConfig| c.listeners[0].mount_point = Some("a/#".to_owned()),
        |c: &mut mqtt::MqttConfig| c.auto_create.overflow_topic = "__x".to_owned(),
    ] {
        let mut c = config();
        c.listeners.push(mqtt::ListenerConfig::new(([127, 0, 0, 1], 0).into()));
        change(&mut c);
        let door = mqtt::testing::MemoryDoor::open(Default::default());
        let error = mqtt::Server::start(c, std::sync::Arc::new(door)).await.unwrap_err();
        assert!(matches!(error, mqtt::MqttError::Config(_)), "{error}");
    }
}
