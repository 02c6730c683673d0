//! The broker is killed at every single append, with the append done and not done, and started again on what is
//! left; clients go on as the specification says.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::harness::*;
use mqtt::testing::Store;
use mqtt_codec::{Ack, Packet, PacketId, ProtocolVersion, QoS};

const MESSAGES: usize = 4;

/// A publisher that remembers across connections what it owes.
struct Publisher {
    version: ProtocolVersion,
    qos: u8,
    done: usize,
    /// The current publish: its identifier, whether PUBLISH may have been sent, whether PUBREC came.
    current: Option<(PacketId, bool, bool)>,
    next: u16,
}

impl Publisher {
    async fn run(&mut self, broker: &Broker) {
        let (mut c, a) = broker.try_connect(persistent(self.version, "pub")).await;
        assert!(a.session_present || self.current.is_none(), "the session was lost");
        while self.done < MESSAGES {
            let (n, sent, received) = *self.current.get_or_insert_with(|| {
                self.next += 1;
                (id(self.next), false, false)
            });
            if received {
                c.send(&Packet::PubRel(Ack::new(n))).await;
                let Some(Packet::PubComp(a)) = c.next().await else { return };
                assert_eq!(a.packet_id, n);
                self.over();
                continue;
            }
            let mut p = publish("t/x", &self.done.to_string(), self.qos);
            p.packet_id = Some(n);
            p.dup = sent;
            self.current = Some((n, true, false));
            c.send(&Packet::Publish(p)).await;
            match c.next().await {
                Some(Packet::PubAck(a)) if self.qos == 1 => {
                    assert_eq!(a.packet_id, n);
                    self.over();
                }
                Some(Packet::PubRec(a)) if self.qos == 2 => {
                    assert_eq!(a.packet_id, n);
                    self.current = Some((n, true, true));
                }
                None => return,
                Some(other) => panic!("{}", text(&other)),
            }
        }
    }

    fn over(&mut self) {
        self.current = None;
        self.done += 1;
    }
}

/// A subscriber that remembers what it got.
struct Subscriber {
    version: ProtocolVersion,
    got: Vec<String>,
    /// QoS 2 identifiers received and not released.
    unreleased: HashSet<PacketId>,
}

impl Subscriber {
    /// Goes on until the last message is there and everything is acknowledged.
    async fn run(&mut self, broker: &Broker) {
        let (mut c, a) = broker.try_connect(persistent(self.version, "sub")).await;
        assert!(a.session_present, "the session was lost");
        let last = (MESSAGES - 1).to_string();
        while !(self.got.contains(&last) && self.unreleased.is_empty()) {
            match c.next().await {
                None => return,
                Some(Packet::Publish(p)) => {
                    let (Some(n), payload) = (p.packet_id, String::from_utf8_lossy(&p.payload).into_owned())
                    else {
                        panic!("QoS 0")
                    };
                    if p.qos == QoS::ExactlyOnce {
                        if self.unreleased.insert(n) {
                            self.got.push(payload);
                        }
                        c.send(&Packet::PubRec(Ack::new(n))).await;
                    } else {
                        self.got.push(payload);
                        c.send(&Packet::PubAck(Ack::new(n))).await;
                    }
                }
                Some(Packet::PubRel(a)) => {
                    self.unreleased.remove(&a.packet_id);
                    c.send(&Packet::PubComp(Ack::new(a.packet_id))).await;
                }
                Some(other) => panic!("{}", text(&other)),
            }
        }
        // Whatever still comes must be known already.
        for t in c.until_ping().await {
            let known = self.got.iter().any(|p| t.ends_with(&format!(" {p}")));
            let repeated = t.contains(" q1 ") && known;
            assert!(!t.starts_with("publish") || t.contains(" dup ") || repeated, "{t}");
        }
    }
}

/// One life with a kill at append number `kill_at`; `false` when it came to its end without.
async fn life(version: ProtocolVersion, qos: u8, kill_at: i64, written: bool) -> bool {
    let broker = Broker::start().await;
    let mut sub = broker.connect(persistent(version, "sub")).await;
    sub.subscribe("t/#", 2).await;
    sub.disconnect().await;
    let mut store: Arc<Store> = broker.stop().await;

    let mut publisher = Publisher { version, qos, done: 0, current: None, next: 0 };
    let mut subscriber = Subscriber { version, got: Vec::new(), unreleased: HashSet::new() };
    let mut killed = false;
    loop {
        let broker = Broker::with(config(), store).await;
        if !killed {
            broker.door.faults.write_the_killing_append.store(written, Ordering::SeqCst);
            broker.door.faults.appends_until_kill.store(kill_at, Ordering::SeqCst);
        }
        let door = broker.door.clone();
        let over = tokio::select! {
            _ = async { tokio::join!(publisher.run(&broker), subscriber.run(&broker)) } => true,
            () = door.killed() => false,
        };
        store = broker.kill();
        if over {
            break;
        }
        assert!(!killed, "killed once only");
        killed = true;
    }
    let context = format!("{version}, QoS {qos}, killed at {kill_at}, written: {written}");
    assert_eq!(publisher.done, MESSAGES, "{context}");
    let log: Vec<String> = store
        .all_records("t")
        .into_iter()
        .filter_map(|r| r.value)
        .map(|v| String::from_utf8_lossy(&v).into_owned())
        .collect();
    let expected: Vec<String> = (0..MESSAGES).map(|n| n.to_string()).collect();
    if qos == 2 {
        assert_eq!(log, expected, "the log: {context}");
        assert_eq!(subscriber.got, expected, "the subscriber: {context}");
    } else {
        for list in [&log, &subscriber.got] {
            let mut firsts: Vec<String> = Vec::new();
            list.iter().for_each(|p| {
                if !firsts.contains(p) {
                    firsts.push(p.clone());
                }
            });
            assert_eq!(firsts, expected, "{context}: {list:?}");
        }
    }
    killed
}

async fn at_every_append(version: ProtocolVersion, qos: u8) {
    for written in [false, true] {
        let mut kills = 0;
        while life(version, qos, kills, written).await {
            kills += 1;
            assert!(kills < 500, "it never ends");
        }
        // Sessions of two clients, and each message in several steps.
        assert!(kills >= MESSAGES as i64, "only {kills} appends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_2_is_exactly_once_in_and_out_version_3() {
    at_every_append(V311, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_2_is_exactly_once_in_and_out_version_5() {
    at_every_append(V5, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_1_loses_nothing_and_keeps_order() {
    at_every_append(V311, 1).await;
    at_every_append(V5, 1).await;
}

#[tokio::test]
async fn everything_is_there_after_a_clean_stop() {
    let broker = Broker::start().await;
    let mut sub = broker.connect(persistent(V5, "sub")).await;
    sub.subscribe("a/#", 2).await;
    let mut publisher = broker.clean(V5, "pub").await;
    publisher.publish_packet(mqtt_codec::Publish { retain: true, ..publish("a/r", "kept", 1) }).await;
    sub.expect("publish a/r q1 #1 kept").await;
    publisher.publish("a/x", "two", 2).await;
    sub.expect("publish a/x q2 #2 two").await;
    let store = broker.stop().await;
    sub.expect("disconnect 0x8b").await;
    let broker = Broker::with(config(), store).await;
    let (mut sub, a) = broker.try_connect(persistent(V5, "sub")).await;
    assert!(a.session_present);
    sub.expect("publish a/r q1 #1 dup kept").await;
    sub.expect("publish a/x q2 #2 dup two").await;
    let mut publisher = broker.clean(V5, "pub").await;
    publisher.publish("a/y", "three", 1).await;
    sub.expect("publish a/y q1 #3 three").await;
    let mut late = broker.clean(V311, "late").await;
    late.subscribe("a/r", 1).await;
    assert_eq!(late.message().await, "publish a/r q1 #1 retain kept");
}

#[tokio::test]
async fn cleared_retained_messages_stay_cleared() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V5, "c").await;
    for payload in ["one", "two", ""] {
        c.publish_packet(mqtt_codec::Publish { retain: true, ..publish("r", payload, 1) }).await;
    }
    c.publish_packet(mqtt_codec::Publish { retain: true, ..publish("s", "stays", 2) }).await;
    let broker = Broker::with(config(), broker.kill()).await;
    let mut c = broker.clean(V5, "c").await;
    c.subscribe("#", 0).await;
    c.expect("publish s q0 retain stays").await;
    assert_eq!(c.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn subscriptions_do_not_reach_back_before_they_were_made() {
    let broker = Broker::start().await;
    let mut publisher = broker.clean(V311, "pub").await;
    publisher.publish("a", "before", 1).await;
    let mut sub = broker.connect(persistent(V311, "sub")).await;
    sub.subscribe("a", 1).await;
    sub.subscribe("b", 1).await;
    publisher.publish("a", "after", 1).await;
    let broker = Broker::with(config(), broker.kill()).await;
    let mut sub = broker.connect(persistent(V311, "sub")).await;
    assert!(sub.message().await.ends_with(" after"));
}
