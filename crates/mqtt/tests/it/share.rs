//! Shared subscriptions.

use crate::harness::*;
use mqtt_codec::{Ack, Packet};

#[tokio::test]
async fn each_message_goes_to_one_member() {
    let broker = Broker::start().await;
    let mut all = broker.clean(V5, "all").await;
    all.subscribe("t/#", 1).await;
    let mut members = Vec::new();
    for n in 0..3 {
        let mut m = broker.clean(V5, &format!("m{n}")).await;
        m.subscribe("$share/g/t/#", 1).await;
        members.push(m);
    }
    let mut publisher = broker.clean(V5, "pub").await;
    for n in 0..30 {
        publisher.publish("t/x", &n.to_string(), 1).await;
        all.message().await;
    }
    let mut got = Vec::new();
    for m in &mut members {
        let own = m.until_ping().await;
        assert!(!own.is_empty(), "everybody has a turn");
        got.extend(own.into_iter().filter_map(|t| t.rsplit(' ').next().and_then(|p| p.parse::<u32>().ok())));
    }
    got.sort_unstable();
    assert_eq!(got, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_leaving_member_did_not_acknowledge_goes_to_another() {
    let broker = Broker::start().await;
    let mut a = broker.clean(V5, "a").await;
    a.subscribe("$share/g/t", 1).await;
    let mut publisher = broker.clean(V5, "pub").await;
    for n in 0..5 {
        publisher.publish("t", &n.to_string(), 1).await;
    }
    for _ in 0..5 {
        let Packet::Publish(_) = a.recv().await else { panic!() };
    }
    a.send(&Packet::PubAck(Ack::new(id(1)))).await;
    a.until_ping().await;
    let mut b = broker.clean(V5, "b").await;
    b.subscribe("$share/g/t", 1).await;
    a.disconnect().await;
    assert_eq!(b.payloads(4).await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_persistent_member_that_is_gone_leaves_what_it_did_not_acknowledge_to_those_who_are_there() {
    let broker = Broker::start().await;
    let mut a = broker.connect(persistent(V5, "a")).await;
    a.subscribe("$share/g/t", 1).await;
    let mut publisher = broker.clean(V5, "pub").await;
    for n in 0..3 {
        publisher.publish("t", &n.to_string(), 1).await;
    }
    for _ in 0..3 {
        let Packet::Publish(_) = a.recv().await else { panic!() };
    }
    // Nobody else is there: they wait for it.
    drop(a);
    let mut a = broker.connect(persistent(V5, "a")).await;
    for n in 0..3 {
        assert_eq!(a.text().await, format!("publish t q1 #{} dup {n}", n + 1));
    }
    let mut b = broker.clean(V5, "b").await;
    b.subscribe("$share/g/t", 1).await;
    drop(a);
    assert_eq!(b.payloads(3).await, ["0", "1", "2"]);
    let mut a = broker.connect(persistent(V5, "a")).await;
    assert_eq!(a.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_group_s_position_is_shown_as_a_consumer_group_s() {
    let broker = Broker::start().await;
    let mut publisher = broker.clean(V5, "pub").await;
    publisher.publish("t/x", "before", 1).await;
    let mut member = broker.clean(V5, "m").await;
    member.subscribe("$share/g/t/#", 1).await;
    let at = |offset| Some(vec![(client::door::TopicPartition::new("t", 0), offset)]);
    let shown = |offset| broker.door.committed("$share/g/t/#") == at(offset);
    eventually("it begins at the end", || shown(1)).await;
    publisher.publish("t/x", "one", 1).await;
    publisher.publish("t/x", "two", 1).await;
    assert_eq!(member.message().await, "publish t/x q1 #1 one");
    let Packet::Publish(_) = member.recv().await else { panic!("no message") };
    // The one that is not acknowledged is still to be read.
    eventually("it moves with acknowledgements", || shown(2)).await;
    member.send(&Packet::PubAck(Ack::new(id(2)))).await;
    eventually("it reaches the end", || shown(3)).await;
    member.unsubscribe("$share/g/t/#").await;
    eventually("it goes with its last member", || broker.door.committed("$share/g/t/#").is_none()).await;
}

#[tokio::test]
async fn what_retention_took_from_a_group_is_counted() {
    let mut config = config();
    config.sys_interval = Some(std::time::Duration::from_millis(20));
    let broker = Broker::with(config, std::sync::Arc::default()).await;
    let mut m = broker.connect(persistent(V5, "m")).await;
    m.subscribe("$share/g/t", 1).await;
    m.disconnect().await;
    let mut publisher = broker.clean(V5, "pub").await;
    for n in 0..10 {
        publisher.publish("t", &n.to_string(), 1).await;
    }
    broker.door.store().truncate_before("t", 0, 7);
    let mut m = broker.connect(persistent(V5, "m")).await;
    assert_eq!(m.payloads(3).await, ["7", "8", "9"]);
    let mut watcher = broker.clean(V311, "w").await;
    watcher.subscribe("$SYS/broker/publish/messages/lost-to-retention", 0).await;
    while !watcher.message().await.ends_with(" 7") {}
}

#[tokio::test]
async fn a_full_member_does_not_hold_up_the_others() {
    let broker = Broker::start().await;
    let mut connect = clean(V5, "full");
    connect.properties.receive_maximum = Some(1);
    let mut full = broker.connect(connect).await;
    full.subscribe("$share/g/t", 1).await;
    let mut free = broker.clean(V5, "free").await;
    free.subscribe("$share/g/t", 1).await;
    let mut publisher = broker.clean(V5, "pub").await;
    for n in 0..40 {
        publisher.publish("t", &n.to_string(), 1).await;
    }
    assert_eq!(free.payloads(39).await.len(), 39);
}

#[tokio::test]
async fn a_group_of_persistent_sessions_keeps_its_messages_over_a_restart() {
    let broker = Broker::start().await;
    let mut m = broker.connect(persistent(V5, "m")).await;
    m.subscribe("$share/g/t", 1).await;
    let mut publisher = broker.clean(V5, "pub").await;
    publisher.publish("t", "first", 1).await;
    assert!(m.message().await.ends_with("first"));
    m.disconnect().await;
    publisher.publish("t", "second", 1).await;
    let broker = Broker::with(config(), broker.stop().await).await;
    let mut publisher = broker.clean(V5, "pub").await;
    publisher.publish("t", "third", 1).await;
    let mut m = broker.connect(persistent(V5, "m")).await;
    let mut got = Vec::new();
    while got.last().is_none_or(|l| l != "third") {
        got.extend(m.payloads(1).await);
    }
    // Nothing is missing; what was acknowledged just before the stop may come again.
    assert!(got.ends_with(&["second".to_owned(), "third".to_owned()]), "{got:?}");
}

#[tokio::test]
async fn to_mqtt_3_it_is_a_filter_that_matches_nothing() {
    let broker = Broker::start().await;
    let mut c = broker.clean(V311, "c").await;
    c.subscribe("$share/g/t", 0).await;
    c.subscribe("t", 0).await;
    c.publish("t", "x", 0).await;
    c.expect("publish t q0 x").await;
    assert_eq!(c.until_ping().await, Vec::<String>::new());
}
