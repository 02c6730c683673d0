use crate::harness::*;
use mqtt_codec::{Ack, Packet, PropertiesBuf, Property, Publish, QoS, Subscription};
use std::sync::atomic::Ordering;

#[tokio::test]
async fn every_qos_to_every_qos() {
    let broker = Broker::start().await;
    for version in [V311, V5] {
        for granted in 0..3u8 {
            let mut sub = broker.clean(version, "sub").await;
            sub.subscribe("t/#", granted).await;
            let mut publisher = broker.clean(version, "pub").await;
            let mut packet_id = 0;
            for qos in 0..3u8 {
                publisher.publish("t/x", "hello", qos).await;
                let effective = qos.min(granted);
                let id = if effective > 0 {
                    packet_id += 1;
                    format!(" #{packet_id}")
                } else {
                    String::new()
                };
                assert_eq!(sub.message().await, format!("publish t/x q{effective}{id} hello"));
            }
        }
    }
}

#[tokio::test]
async fn order_per_topic_with_many_in_flight() {
    let broker = Broker::start().await;
    let mut sub = broker.clean(V311, "sub").await;
    sub.subscribe("#", 2).await;
    let mut publisher = broker.clean(V311, "pub").await;
    for n in 1..=300u16 {
        let mut p = publish(&format!("t/{}", n % 3), &n.to_string(), 1);
        p.packet_id = Some(id(n));
        publisher.send(&Packet::Publish(p)).await;
    }
    for n in 1..=300 {
        publisher.expect(&format!("puback {n}")).await;
    }
    let got = sub.payloads(300).await;
    for topic in 0..3 {
        let of: Vec<u32> = got.iter().map(|p| p.parse().unwrap()).filter(|n| n % 3 == topic).collect();
        assert!(of.is_sorted() && of.len() == 100, "{of:?}");
    }
}

#[tokio::test]
async fn a_publish_that_nobody_subscribes_to() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V5, "c").await;
    let mut p = publish("lonely", "x", 1);
    p.packet_id = Some(id(9));
    c.send(&Packet::Publish(p)).await;
    c.expect("puback 9 0x10").await;
}

#[tokio::test]
async fn qos_2_duplicates_are_stored_once() {
    let broker = Broker::start().await;
    for version in [V311, V5] {
        let topic = format!("once-{}", version.level());
        let mut c = broker.clean(version, "c").await;
        let mut p = publish(&topic, "x", 2);
        p.packet_id = Some(id(5));
        c.send(&Packet::Publish(p.clone())).await;
        c.expect("pubrec 5").await;
        p.dup = true;
        c.send(&Packet::Publish(p)).await;
        c.expect("pubrec 5").await;
        for _ in 0..2 {
            c.send(&Packet::PubRel(Ack::new(id(5)))).await;
            c.expect("pubcomp 5").await;
        }
        assert_eq!(broker.door.store().all_records(&topic).len(), 1);
    }
}

#[tokio::test]
async fn properties_are_passed_on_as_they_came() {
    let broker = Broker::start().await;
    let mut sub = broker.clean(V5, "sub").await;
    sub.subscribe("a", 0).await;
    let mut old = broker.clean(V311, "old").await;
    old.subscribe("a", 0).await;
    let list = [
        Property::UserProperty("k", "v"),
        Property::MessageExpiryInterval(100),
        Property::ContentType("c"),
        Property::ResponseTopic("r"),
        Property::UserProperty("k", "w"),
        Property::TopicAlias(3),
    ];
    let mut publisher = broker.clean(V5, "pub").await;
    let p = Publish { properties: PropertiesBuf::from_properties(list).unwrap(), ..publish("a", "x", 0) };
    publisher.publish_packet(p).await;
    let alias = PropertiesBuf::from_properties([Property::TopicAlias(3)]).unwrap();
    publisher.publish_packet(Publish { properties: alias, ..publish("", "y", 0) }).await;
    sub.expect(
        "publish a q0 UserProperty(\"k\", \"v\") ContentType(\"c\") ResponseTopic(\"r\") UserProperty(\"k\", \"w\") \
         MessageExpiryInterval(100) x",
    )
    .await;
    sub.expect("publish a q0 y").await;
    old.expect("publish a q0 x").await;
}

#[tokio::test]
async fn subscription_identifiers_and_overlapping_filters() {
    let broker = Broker::start().await;
    let mut sub = broker.clean(V5, "sub").await;
    sub.subscribe_with(Subscription::new("a/#", QoS::AtMostOnce), Some(7)).await;
    sub.subscribe_with(Subscription::new("a/+", QoS::AtLeastOnce), Some(300)).await;
    sub.subscribe("+/b", 0).await;
    let mut publisher = broker.clean(V5, "pub").await;
    publisher.publish("a/b", "x", 2).await;
    let Packet::Publish(p) = sub.recv().await else { panic!() };
    assert_eq!(p.qos, QoS::AtLeastOnce);
    let mut ids: Vec<_> = p.properties.iter().map(|p| format!("{p:?}")).collect();
    ids.sort();
    assert_eq!(ids, ["SubscriptionIdentifier(300)", "SubscriptionIdentifier(7)"]);
    assert_eq!(sub.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn no_local_and_retain_as_published() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V5, "c").await;
    c.subscribe_with(Subscription { no_local: true, ..Subscription::new("a", QoS::AtLeastOnce) }, None).await;
    let rap = Subscription { retain_as_published: true, ..Subscription::new("b", QoS::AtLeastOnce) };
    c.subscribe_with(rap, None).await;
    let mut other = broker.clean(V5, "other").await;
    c.publish("a", "own", 1).await;
    other.publish_packet(Publish { retain: true, ..publish("a", "other", 1) }).await;
    other.publish_packet(Publish { retain: true, ..publish("b", "kept", 1) }).await;
    assert_eq!(c.message().await, "publish a q1 #1 other");
    assert_eq!(c.message().await, "publish b q1 #2 retain kept");
}

#[tokio::test]
async fn wildcards_unsubscribe_and_topics_made_later() {
    let broker = Broker::start().await;
    let mut sub = broker.clean(V311, "sub").await;
    sub.subscribe("+/late", 1).await;
    sub.subscribe("gone/#", 1).await;
    sub.unsubscribe("gone/#").await;
    let mut publisher = broker.clean(V311, "pub").await;
    for topic in ["new1/late", "gone/x", "new2/early", "new2/late", "$dollar/late"] {
        publisher.publish(topic, topic, 1).await;
    }
    let mut got = sub.payloads(2).await;
    got.sort();
    assert_eq!(got, ["new1/late", "new2/late"]);
}

#[tokio::test]
async fn receive_maximum_of_the_client_is_kept() {
    let broker = Broker::start().await;
    let mut connect = clean(V5, "sub");
    connect.properties.receive_maximum = Some(2);
    let mut sub = broker.connect(connect).await;
    sub.subscribe("a", 2).await;
    let mut publisher = broker.clean(V5, "pub").await;
    for n in 1..=4 {
        publisher.publish("a", &n.to_string(), 1).await;
    }
    publisher.publish("a", "unacknowledged", 0).await;
    sub.expect("publish a q1 #1 1").await;
    sub.expect("publish a q1 #2 2").await;
    // QoS 0 needs no room in the window.
    sub.expect("publish a q0 unacknowledged").await;
    assert_eq!(sub.until_ping().await, Vec::<String>::new());
    sub.send(&Packet::PubAck(Ack::new(id(1)))).await;
    sub.expect("publish a q1 #3 3").await;
}

#[tokio::test]
async fn receive_maximum_of_the_broker_is_enforced() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V5, "c").await;
    for n in 1..=21u16 {
        let mut p = publish("a", "x", 2);
        p.packet_id = Some(id(n));
        c.send(&Packet::Publish(p)).await;
    }
    let mut answered = 0;
    loop {
        let t = c.text().await;
        if t == "disconnect 0x93" {
            break;
        }
        answered += 1;
        assert_eq!(t, format!("pubrec {answered}"));
    }
    assert!(answered <= 20);
}

#[tokio::test]
async fn maximum_packet_sizes() {
    let mut conf = config();
    conf.limits.max_packet_size = 100;
    let broker = Broker::with(conf, Default::default()).await;
    let mut connect = clean(V5, "sub");
    connect.properties.maximum_packet_size = Some(30);
    let (mut sub, a) = broker.try_connect(connect).await;
    assert_eq!(a.properties.maximum_packet_size, Some(100));
    sub.subscribe("a", 1).await;
    let mut publisher = broker.clean(V5, "pub").await;
    publisher.publish("a", &"x".repeat(40), 1).await;
    publisher.publish("a", "small", 1).await;
    assert_eq!(sub.message().await, "publish a q1 #2 small");
    publisher.send(&Packet::Publish(publish("a", &"x".repeat(120), 0))).await;
    publisher.expect("disconnect 0x95").await;
}

#[tokio::test]
async fn expired_messages_are_not_delivered() {
    let broker = Broker::start().await;
    let mut sub = broker.connect(persistent(V5, "sub")).await;
    sub.subscribe("a", 1).await;
    sub.disconnect().await;
    let mut publisher = broker.clean(V5, "pub").await;
    for (payload, seconds) in [("short", 1), ("long", 100)] {
        let list = [Property::MessageExpiryInterval(seconds)];
        let properties = PropertiesBuf::from_properties(list).unwrap();
        publisher.publish_packet(Publish { properties, ..publish("a", payload, 1) }).await;
    }
    let stored = broker.door.store().all_records("a")[0].timestamp_ms;
    eventually("a second to pass", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_millis() as i64 >= stored + 1000
    })
    .await;
    let mut sub = broker.connect(persistent(V5, "sub")).await;
    let Packet::Publish(p) = sub.recv().await else { panic!() };
    assert_eq!(&*p.payload, b"long");
    let left = p.properties.iter().find_map(|p| match p {
        Property::MessageExpiryInterval(s) => Some(s),
        _ => None,
    });
    assert!(left.is_some_and(|s| (50..100).contains(&s)), "{left:?}");
}

#[tokio::test]
async fn dollar_topics_are_refused() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V5, "c").await;
    let mut p = publish("$SYS/broker/uptime", "x", 1);
    p.packet_id = Some(id(1));
    c.send(&Packet::Publish(p)).await;
    c.expect("puback 1 0x87").await;
    assert_eq!(broker.door.store().topic_names(), ["__mqtt_retained", "__mqtt_sessions"]);
}

#[tokio::test]
async fn what_the_log_refuses_is_never_acknowledged() {
    let broker = Broker::start().await;
    let mut v5 = broker.clean(V5, "v5").await;
    v5.publish("a", "before", 1).await;
    broker.door.faults.unavailable.store(true, Ordering::SeqCst);
    for (qos, answer) in [(1, "puback 50 0x97"), (2, "pubrec 51 0x97")] {
        let mut p = publish("a", "lost", qos);
        p.packet_id = Some(id(49 + u16::from(qos)));
        v5.send(&Packet::Publish(p)).await;
        v5.expect(answer).await;
    }
    let mut v3 = broker.clean(V311, "v3").await;
    let mut p = publish("a", "lost", 1);
    p.packet_id = Some(id(1));
    v3.send(&Packet::Publish(p)).await;
    v3.expect("closed").await;
    broker.door.faults.unavailable.store(false, Ordering::SeqCst);
    broker.door.faults.max_value_bytes.store(10, Ordering::SeqCst);
    let mut p = publish("a", "more than ten bytes", 1);
    p.packet_id = Some(id(60));
    v5.send(&Packet::Publish(p)).await;
    v5.expect("puback 60 0x97").await;
    v5.publish("a", "after", 1).await;
    let values: Vec<_> = broker.door.store().all_records("a").into_iter().filter_map(|r| r.value).collect();
    assert_eq!(values, [&b"before"[..], b"after"]);
}

#[tokio::test]
async fn acknowledgements_wait_for_the_log_and_keep_their_order() {
    let broker = Broker::start().await;
    broker.door.faults.append_delay_ms.store(30, Ordering::SeqCst);
    let mut c = broker.clean(V311, "c").await;
    for n in 1..=3u16 {
        let mut p = publish("a", "x", if n == 2 { 2 } else { 1 });
        p.packet_id = Some(id(n));
        c.send(&Packet::Publish(p)).await;
    }
    // The answer to PINGREQ overtakes: nothing of the above is answered before the log has it.
    assert_eq!(c.until_ping().await, Vec::<String>::new());
    for expected in ["puback 1", "pubrec 2", "puback 3"] {
        c.expect(expected).await;
    }
}

#[tokio::test]
async fn limits_of_topics_and_subscriptions() {
    let mut conf = config();
    conf.limits.max_topic_levels = 3;
    conf.limits.max_subscriptions = 2;
    let broker = Broker::with(conf, Default::default()).await;
    let mut c = broker.clean(V5, "c").await;
    c.subscribe("a", 0).await;
    c.subscribe("b", 0).await;
    c.subscribe("b", 1).await;
    let s = mqtt_codec::Subscribe::new(id(40), vec![Subscription::new("c", QoS::AtMostOnce)]);
    c.send(&Packet::Subscribe(s)).await;
    c.expect("suback 40 [151]").await;
    c.send(&Packet::Publish(publish("a/b/c/d/e", "x", 0))).await;
    c.expect("disconnect 0x82").await;
}
