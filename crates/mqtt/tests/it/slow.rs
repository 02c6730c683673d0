//! Subscribers that do not keep up: they read from the log what their queue has no room for.

use crate::harness::*;
use mqtt::MqttConfig;
use mqtt_codec::{Packet, QoS};

/// Queues of a few messages only.
fn narrow() -> MqttConfig {
    let mut conf = config();
    conf.limits.max_queued_messages = 10;
    conf
}

impl Client {
    /// Publishes without waiting for anything.
    async fn burst(&mut self, topic: &str, numbers: std::ops::Range<usize>, qos: u8) {
        let mut bytes = Vec::new();
        for n in numbers {
            let mut p = publish(topic, &n.to_string(), qos);
            p.packet_id = (p.qos != QoS::AtMostOnce).then(|| self.id());
            bytes.extend(Packet::Publish(p).to_vec(self.version).unwrap());
        }
        self.send_bytes(&bytes).await;
    }
}

fn texts(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn a_burst_of_qos0_reaches_a_subscriber_that_reads() {
    for (conf, qos) in [(narrow(), 0), (narrow(), 1), (config(), 0), (config(), 1)] {
        let broker = Broker::with(conf, Default::default()).await;
        let mut sub = broker.clean(V311, "sub").await;
        sub.subscribe("a/#", qos).await;
        let mut publisher = broker.clean(V311, "pub").await;
        // The output fills up before the queue is empty.
        let topic = format!("a/{}", "b".repeat(100));
        let burst = publisher.burst(&topic, 0..20_000, 0);
        let (_, got) = tokio::join!(burst, sub.payloads(20_000));
        assert_eq!(got, texts(0..20_000), "subscription with QoS {qos}");
    }
}

#[tokio::test]
async fn a_subscriber_that_pauses_gets_all_qos0_later_in_order_and_is_live_again() {
    let broker = Broker::with(narrow(), Default::default()).await;
    let mut slow = broker.clean(V311, "slow").await;
    slow.subscribe("a/#", 0).await;
    let mut good = broker.clean(V311, "good").await;
    good.subscribe("a/#", 0).await;
    let mut publisher = broker.clean(V311, "pub").await;
    // More than the sockets hold.
    let filler = "x".repeat(2000);
    for _ in 0..3000 {
        publisher.publish("a/filler", &filler, 0).await;
    }
    publisher.burst("a/b", 0..5000, 0).await;
    let got = good.payloads(8000).await;
    assert_eq!(got[3000..], texts(0..5000));
    let got = slow.payloads(8000).await;
    assert_eq!(got[3000..], texts(0..5000));
    publisher.publish("a/b", "live", 0).await;
    assert_eq!(slow.payloads(1).await, ["live"]);
    assert_eq!(good.payloads(1).await, ["live"]);
}

#[tokio::test]
async fn qos0_is_dropped_and_counted_past_the_lag_and_qos1_is_not() {
    let mut conf = narrow();
    conf.limits.max_qos0_lag = 100;
    conf.sys_interval = Some(std::time::Duration::from_millis(20));
    let broker = Broker::with(conf, Default::default()).await;
    let mut slow = broker.clean(V311, "slow").await;
    slow.subscribe("a/#", 1).await;
    let mut publisher = broker.clean(V311, "pub").await;
    let filler = "x".repeat(2000);
    for n in 0..4000 {
        publisher.publish("a/zero", &filler, 0).await;
        if n % 40 == 0 {
            publisher.publish("a/one", &n.to_string(), 1).await;
        }
    }
    publisher.publish("a/one", "end", 1).await;
    let (mut zero, mut one) = (0, Vec::new());
    while one.last().is_none_or(|last| last != "end") {
        let m = slow.message().await;
        let payload = m.rsplit(' ').next().unwrap().to_owned();
        if m.starts_with("publish a/zero") { zero += 1 } else { one.push(payload) }
    }
    let mut expected: Vec<String> = (0..4000).step_by(40).map(|n| n.to_string()).collect();
    expected.push("end".to_owned());
    assert_eq!(one, expected);
    assert!((100..4000).contains(&zero), "{zero}");
    let mut sys = broker.clean(V311, "sys").await;
    sys.subscribe("$SYS/broker/publish/messages/dropped", 0).await;
    while sys.payloads(1).await != [(4000 - zero).to_string()] {}
}

#[tokio::test]
async fn mixed_qos_of_a_burst_stays_complete_and_in_order_for_each_qos() {
    let broker = Broker::with(narrow(), Default::default()).await;
    let mut sub = broker.connect(persistent(V5, "sub")).await;
    sub.subscribe("a/#", 2).await;
    let mut publisher = broker.clean(V5, "pub").await;
    for round in 0..40 {
        publisher.burst("a/0", round * 50..round * 50 + 50, 0).await;
        publisher.publish("a/1", &round.to_string(), 1).await;
        publisher.publish("a/2", &round.to_string(), 2).await;
    }
    let mut got = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..40 * 52 {
        let m = sub.next_message().await;
        let of: usize = m["publish a/".len()..][..1].parse().unwrap();
        got[of].push(m.rsplit(' ').next().unwrap().to_owned());
    }
    assert_eq!(got, [texts(0..2000), texts(0..40), texts(0..40)]);
}

impl Client {
    /// The next message; exchanges of others go on meanwhile.
    async fn next_message(&mut self) -> String {
        loop {
            let packet = self.recv().await;
            match &packet {
                Packet::Publish(p) => {
                    match (p.qos, p.packet_id) {
                        (QoS::AtLeastOnce, Some(n)) => {
                            self.send(&Packet::PubAck(mqtt_codec::Ack::new(n))).await
                        }
                        (QoS::ExactlyOnce, Some(n)) => {
                            self.send(&Packet::PubRec(mqtt_codec::Ack::new(n))).await
                        }
                        _ => {}
                    }
                    return text(&packet);
                }
                Packet::PubRel(a) => {
                    self.send(&Packet::PubComp(mqtt_codec::Ack::new(a.packet_id))).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
