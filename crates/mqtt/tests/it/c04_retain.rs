use crate::harness::*;
use mqtt_codec::{Publish, QoS, RetainHandling, Subscription};

fn retained(topic: &str, payload: &str, qos: u8) -> Publish {
    Publish { retain: true, ..publish(topic, payload, qos) }
}

#[tokio::test]
async fn kept_replaced_and_cleared() {
    let broker = Broker::start().await;
    for version in [V311, V5] {
        let mut c = broker.clean(version, "c").await;
        for qos in 0..3 {
            c.publish_packet(retained("r/1", &format!("v{qos}"), qos)).await;
        }
        c.publish_packet(retained("r/2", "two", 0)).await;
        c.subscribe("r/#", 2).await;
        c.expect("publish r/1 q2 #1 retain v2").await;
        c.expect("publish r/2 q0 retain two").await;
        assert_eq!(c.until_ping().await, Vec::<String>::new());
        // To those who are subscribed it is a message like any other.
        c.publish_packet(retained("r/2", "", 0)).await;
        assert_eq!(c.message().await, "publish r/2 q0 ");
        c.unsubscribe("r/#").await;
        c.subscribe("r/2", 0).await;
        assert_eq!(c.until_ping().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn retained_with_qos_0_is_seen_by_who_subscribes_after_it() {
    let broker = Broker::start().await;
    broker.door.faults.append_delay_ms.store(20, std::sync::atomic::Ordering::SeqCst);
    let mut publisher = broker.clean(V311, "pub").await;
    publisher.publish_packet(retained("r", "x", 0)).await;
    // The broker has read it when it answers this.
    publisher.until_ping().await;
    let mut sub = broker.clean(V311, "sub").await;
    sub.subscribe("r", 0).await;
    assert_eq!(sub.message().await, "publish r q0 retain x");
    assert_eq!(sub.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn retain_handling() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V5, "c").await;
    c.publish_packet(retained("r", "x", 1)).await;
    let with = |retain_handling| Subscription { retain_handling, ..Subscription::new("r", QoS::AtMostOnce) };
    c.subscribe_with(with(RetainHandling::DoNotSend), None).await;
    assert_eq!(c.until_ping().await, Vec::<String>::new());
    c.subscribe_with(with(RetainHandling::SendIfNew), None).await;
    assert_eq!(c.until_ping().await, Vec::<String>::new());
    c.unsubscribe("r").await;
    c.subscribe_with(with(RetainHandling::SendIfNew), None).await;
    c.expect("publish r q0 retain x").await;
    c.subscribe_with(with(RetainHandling::Send), None).await;
    c.expect("publish r q0 retain x").await;
}

#[tokio::test]
async fn switched_off() {
    let mut conf = config();
    conf.limits.retain_available = false;
    let broker = Broker::with(conf, Default::default()).await;
    let (mut c, a) = broker.try_connect(clean(V5, "c")).await;
    assert_eq!(a.properties.retain_available, Some(false));
    c.publish_packet(retained("r", "x", 0)).await;
    c.expect("disconnect 0x9a").await;
}

#[tokio::test]
async fn a_full_store_refuses_new_topics_only() {
    let mut conf = config();
    conf.limits.max_retained = 1;
    let broker = Broker::with(conf, Default::default()).await;
    let mut c = broker.clean(V5, "c").await;
    c.publish_packet(retained("r/1", "x", 1)).await;
    c.publish_packet(retained("r/1", "y", 1)).await;
    c.send(&mqtt_codec::Packet::Publish(Publish { packet_id: Some(id(9)), ..retained("r/2", "z", 1) })).await;
    c.expect("puback 9 0x97").await;
}

#[tokio::test]
async fn many_retained_through_a_small_window() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V311, "c").await;
    for n in 0..200 {
        c.publish_packet(retained(&format!("r/{n:03}"), &n.to_string(), 1)).await;
    }
    c.subscribe("r/#", 1).await;
    let got = c.payloads(200).await;
    assert_eq!(got, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}
