use crate::harness::*;
use mqtt_codec::{Ack, Disconnect, Packet};

#[tokio::test]
async fn an_offline_session_gets_what_was_published_meanwhile() {
    let broker = Broker::start().await;
    for version in [V311, V5] {
        let mut sub = broker.connect(persistent(version, "sub")).await;
        sub.subscribe("a/#", 2).await;
        sub.subscribe("later/#", 1).await;
        sub.disconnect().await;
        let mut publisher = broker.clean(version, "pub").await;
        for qos in 0..3 {
            publisher.publish("a/b", &format!("q{qos}"), qos).await;
        }
        publisher.publish("later/made", "new topic", 1).await;
        let (mut sub, a) = broker.try_connect(persistent(version, "sub")).await;
        assert!(a.session_present);
        let mut got = vec![sub.message().await, sub.message().await, sub.message().await];
        got.iter_mut().for_each(|t| *t = t.replace(['1', '2', '3'], "*"));
        got.sort();
        assert_eq!(
            got,
            ["publish a/b q* #* q*", "publish a/b q* #* q*", "publish later/made q* #* new topic"]
        );
        assert_eq!(sub.until_ping().await, Vec::<String>::new());
        broker.clean(version, "sub").await.disconnect().await;
    }
}

#[tokio::test]
async fn unacknowledged_messages_are_sent_again_with_their_ids() {
    let broker = Broker::start().await;
    for version in [V311, V5] {
        let mut sub = broker.connect(persistent(version, "sub")).await;
        sub.subscribe("a", 2).await;
        let mut publisher = broker.clean(version, "pub").await;
        publisher.publish("a", "one", 1).await;
        publisher.publish("a", "two", 2).await;
        publisher.publish("a", "three", 2).await;
        sub.expect("publish a q1 #1 one").await;
        sub.expect("publish a q2 #2 two").await;
        sub.expect("publish a q2 #3 three").await;
        sub.send(&Packet::PubRec(Ack::new(id(3)))).await;
        sub.expect("pubrel 3").await;
        drop(sub);
        let mut sub = broker.connect(persistent(version, "sub")).await;
        sub.expect("publish a q1 #1 dup one").await;
        sub.expect("publish a q2 #2 dup two").await;
        sub.expect("pubrel 3").await;
        publisher.publish("a", "four", 1).await;
        sub.expect("publish a q1 #4 four").await;
        broker.clean(version, "sub").await.disconnect().await;
    }
}

#[tokio::test]
async fn sessions_end_when_they_should() {
    let broker = Broker::start().await;
    let mut c = persistent(V5, "c");
    c.properties.session_expiry_interval = Some(1);
    let client = broker.connect(c.clone()).await;
    client.disconnect().await;
    eventually("the session to expire", || {
        broker.door.store().all_records("__mqtt_sessions").last().is_some_and(|r| r.value.is_none())
    })
    .await;
    let (client, a) = broker.try_connect(c.clone()).await;
    assert!(!a.session_present);
    drop(client);
    // Clean start ends it.
    let (client, a) = broker.try_connect(clean(V5, "c")).await;
    assert!(!a.session_present);
    drop(client);
    let (mut client, a) = broker.try_connect(c.clone()).await;
    assert!(!a.session_present);
    // DISCONNECT may change the expiry.
    let mut d = Disconnect::default();
    d.properties.session_expiry_interval = Some(0);
    client.send(&Packet::Disconnect(d)).await;
    client.expect("closed").await;
    let (_, a) = broker.try_connect(c).await;
    assert!(!a.session_present);
}

#[tokio::test]
async fn disconnect_cannot_bring_a_session_to_life() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V5, "c").await;
    let mut d = Disconnect::default();
    d.properties.session_expiry_interval = Some(10);
    c.send(&Packet::Disconnect(d)).await;
    c.expect("disconnect 0x82").await;
}

#[tokio::test]
async fn a_resubscription_loses_nothing() {
    let broker = Broker::start().await;
    let mut conf = persistent(V5, "sub");
    conf.properties.receive_maximum = Some(1);
    let mut sub = broker.connect(conf.clone()).await;
    sub.subscribe("a", 1).await;
    let mut publisher = broker.clean(V5, "pub").await;
    for n in 0..10 {
        publisher.publish("a", &n.to_string(), 1).await;
    }
    let Packet::Publish(_) = sub.recv().await else { panic!() };
    sub.subscribe("a", 1).await;
    sub.send(&Packet::PubAck(Ack::new(id(1)))).await;
    assert_eq!(sub.payloads(9).await, (1..10).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_session_cap() {
    let mut conf = config();
    conf.limits.max_sessions = 1;
    let broker = Broker::with(conf, Default::default()).await;
    broker.connect(persistent(V5, "a")).await.disconnect().await;
    let (_, a) = broker.try_connect(persistent(V5, "b")).await;
    assert_eq!(a.reason.as_u8(), 0x97);
    broker.connect(persistent(V5, "a")).await.disconnect().await;
}

#[tokio::test]
async fn a_slow_reader_falls_back_to_its_cursor_and_loses_nothing() {
    let mut conf = config();
    conf.limits.max_queued_messages = 10;
    let broker = Broker::with(conf, Default::default()).await;
    let mut slow = broker.connect(persistent(V311, "slow")).await;
    slow.subscribe("a/#", 1).await;
    let mut fast = broker.clean(V311, "fast").await;
    fast.subscribe("a/#", 1).await;
    let mut publisher = broker.clean(V311, "pub").await;
    for n in 0..500 {
        publisher.publish(&format!("a/{}", n % 4), &n.to_string(), 1).await;
    }
    let expected: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    assert_eq!(fast.payloads(500).await, expected);
    assert_eq!(slow.payloads(500).await, expected);
    publisher.publish("a/0", "live again", 1).await;
    assert!(slow.message().await.ends_with("live again"));
}

#[tokio::test]
async fn what_retention_removed_is_skipped() {
    let broker = Broker::start().await;
    let mut sub = broker.connect(persistent(V311, "sub")).await;
    sub.subscribe("a", 1).await;
    sub.disconnect().await;
    let mut publisher = broker.clean(V311, "pub").await;
    for n in 0..10 {
        publisher.publish("a", &n.to_string(), 1).await;
    }
    broker.door.store().truncate_before("a", 0, 7);
    let mut sub = broker.connect(persistent(V311, "sub")).await;
    assert_eq!(sub.payloads(3).await, ["7", "8", "9"]);
}
