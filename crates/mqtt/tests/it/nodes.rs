//! Several nodes on one log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::harness::*;
use mqtt::testing::Store;
use mqtt_codec::{Ack, Connect, Packet, PacketId, QoS};

async fn nodes<const N: usize>() -> (Arc<Store>, [Broker; N]) {
    let store: Arc<Store> = Arc::default();
    let mut all = Vec::new();
    for n in 0..N {
        all.push(Broker::node(&store, &format!("n{n}")).await);
    }
    (store, all.try_into().unwrap_or_else(|_| unreachable!()))
}

fn with_will(mut c: Connect, delay_s: u32) -> Connect {
    let mut w = will("will/t", "gone", 1);
    w.properties.delay_interval = (delay_s > 0).then_some(delay_s);
    c.will = Some(w);
    c
}

/// Connects, again and again while the node answers that it cannot have the session yet.
async fn connect_in_time(broker: &Broker, connect: Connect) -> (Client, bool) {
    loop {
        let (client, connack) = broker.try_connect(connect.clone()).await;
        if connack.reason.as_u8() == 0 {
            return (client, connack.session_present);
        }
    }
}

#[tokio::test]
async fn what_one_takes_in_the_others_give_out() {
    let (_, [a, b]) = nodes().await;
    let mut s = b.clean(V5, "s").await;
    s.subscribe("t/#", 2).await;
    let mut p = a.clean(V311, "p").await;
    for qos in 0..3 {
        p.publish("t/x", &qos.to_string(), qos).await;
    }
    assert_eq!(s.payloads(3).await, ["0", "1", "2"]);
    let mut retained = publish("r/x", "kept", 1);
    retained.retain = true;
    p.publish_packet(retained).await;
    let mut late = b.clean(V311, "late").await;
    late.subscribe("r/#", 0).await;
    late.expect("publish r/x q0 retain kept").await;
    let mut cleared = publish("r/x", "", 1);
    cleared.retain = true;
    p.publish_packet(cleared).await;
    let mut later = b.clean(V311, "later").await;
    later.subscribe("r/#", 0).await;
    assert_eq!(later.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_subscription_begins_at_the_end_wherever_others_wrote() {
    let (_, [a, b]) = nodes().await;
    b.clean(V311, "first").await.publish("t/x", "b", 1).await;
    let mut p = a.clean(V311, "p").await;
    for n in 0..20 {
        p.publish("t/x", &n.to_string(), 1).await;
    }
    let mut s = b.clean(V311, "s").await;
    s.subscribe("t/#", 1).await;
    p.publish("t/x", "after", 1).await;
    assert_eq!(s.payloads(1).await, ["after"]);
}

#[tokio::test]
async fn a_session_moves_with_its_client() {
    let (_, [a, b]) = nodes().await;
    for version in [V311, V5] {
        let mut c = a.connect(persistent(version, "c")).await;
        c.subscribe("t", 1).await;
        let mut p = b.clean(V5, "p").await;
        p.publish("t", "1", 1).await;
        p.publish("t", "2", 1).await;
        let Packet::Publish(first) = c.recv().await else { panic!() };
        let Packet::Publish(second) = c.recv().await else { panic!() };
        c.send(&Packet::PubAck(Ack::new(first.packet_id.unwrap()))).await;
        c.until_ping().await;
        // Taken over from a live connection.
        let (mut moved, connack) = b.try_connect(persistent(version, "c")).await;
        assert!(connack.session_present);
        if version == V5 {
            c.expect("disconnect 0x8e").await;
        }
        assert_eq!(c.next().await, None);
        let again = second.packet_id.unwrap();
        assert_eq!(moved.message().await, format!("publish t q1 #{again} dup 2"));
        p.publish("t", "3", 1).await;
        assert_eq!(moved.payloads(1).await, ["3"]);
        moved.disconnect().await;
        // Taken up where nobody is connected.
        p.publish("t", "4", 1).await;
        let (mut back, connack) = a.try_connect(persistent(version, "c")).await;
        assert!(connack.session_present);
        assert_eq!(back.payloads(1).await, ["4"]);
        back.disconnect().await;
        // And ended for good.
        a.clean(version, "c").await.disconnect().await;
        let (_, connack) = b.try_connect(persistent(version, "c")).await;
        assert!(!connack.session_present);
    }
}

#[tokio::test]
async fn a_client_id_is_connected_once_in_all() {
    let (_, [a, b]) = nodes().await;
    let mut at_a = a.clean(V5, "c").await;
    let mut at_b = b.clean(V5, "c").await;
    at_a.expect("disconnect 0x8e").await;
    let mut again = a.clean(V5, "c").await;
    at_b.expect("disconnect 0x8e").await;
    again.until_ping().await;
    let mut within = a.clean(V5, "c").await;
    again.expect("disconnect 0x8e").await;
    within.until_ping().await;
}

#[tokio::test]
async fn an_exchange_of_qos_2_goes_on_at_another_node() {
    let (store, [a, b]) = nodes().await;
    let mut p = a.connect(persistent(V311, "p")).await;
    let mut s = b.connect(persistent(V311, "s")).await;
    s.subscribe("t", 2).await;
    let mut out = publish("t", "once", 2);
    out.packet_id = Some(id(7));
    p.send(&Packet::Publish(out.clone())).await;
    p.expect("pubrec 7").await;
    let Packet::Publish(m) = s.recv().await else { panic!() };
    let got = m.packet_id.unwrap();
    // Both change sides before they have acknowledged.
    let mut p = b.connect(persistent(V311, "p")).await;
    out.dup = true;
    p.send(&Packet::Publish(out)).await;
    p.expect("pubrec 7").await;
    p.send(&Packet::PubRel(Ack::new(id(7)))).await;
    p.expect("pubcomp 7").await;
    let mut s = a.connect(persistent(V311, "s")).await;
    s.expect(&format!("publish t q2 #{got} dup once")).await;
    s.send(&Packet::PubRec(Ack::new(got))).await;
    s.expect(&format!("pubrel {got}")).await;
    let mut s = b.connect(persistent(V311, "s")).await;
    s.expect(&format!("pubrel {got}")).await;
    s.send(&Packet::PubComp(Ack::new(got))).await;
    assert_eq!(s.until_ping().await, Vec::<String>::new());
    assert_eq!(store.all_records("t").len(), 1);
}

#[tokio::test]
async fn what_a_killed_node_had_others_have() {
    let (store, [a, b, c]) = nodes().await;
    let mut watcher = c.clean(V5, "watcher").await;
    watcher.subscribe("will/#", 1).await;
    let mut s = a.connect(persistent(V5, "s")).await;
    s.subscribe("t/#", 1).await;
    let gone = a.connect(with_will(persistent(V5, "gone"), 0)).await;
    let returns = a.connect(with_will(persistent(V5, "returns"), 60)).await;
    a.kill();
    let mut p = b.clean(V311, "p").await;
    p.publish("t/x", "1", 1).await;
    let (mut s, present) = connect_in_time(&b, persistent(V5, "s")).await;
    assert!(present);
    assert_eq!(s.payloads(1).await, ["1"]);
    // One of the two that are left publishes the will, once.
    assert_eq!(watcher.message().await, "publish will/t q1 #1 gone");
    let (_returned, present) = connect_in_time(&c, with_will(persistent(V5, "returns"), 60)).await;
    assert!(present);
    assert_eq!(store.all_records("will").len(), 1);
    drop((gone, returns));
    // A new node under the old name finds all in order.
    let a = Broker::node(&store, "n0").await;
    p.publish("t/x", "2", 1).await;
    let (mut s, present) = connect_in_time(&a, persistent(V5, "s")).await;
    assert!(present);
    assert_eq!(s.payloads(1).await, ["2"]);
}

#[tokio::test]
async fn a_will_waits_as_long_as_it_shall_when_its_node_dies() {
    let (store, [a, b]) = nodes().await;
    let mut watcher = b.clean(V5, "watcher").await;
    watcher.subscribe("will/#", 1).await;
    let _gone = a.connect(with_will(persistent(V5, "gone"), 1)).await;
    a.kill();
    assert_eq!(watcher.message().await, "publish will/t q1 #1 gone");
    assert_eq!(store.all_records("will").len(), 1);
}

#[tokio::test]
async fn a_node_that_ends_leaves_its_sessions_at_once() {
    let (store, [a, b]) = nodes().await;
    let mut c = a.connect(persistent(V5, "c")).await;
    c.subscribe("t", 1).await;
    a.stop().await;
    b.clean(V5, "p").await.publish("t", "1", 1).await;
    let (mut c, connack) = b.try_connect(persistent(V5, "c")).await;
    assert!(connack.session_present, "{connack:?}");
    assert_eq!(c.payloads(1).await, ["1"]);
    drop(c);
    // The last one, too.
    b.stop().await;
    let last = Broker::node(&store, "x").await;
    let (_, connack) = last.try_connect(persistent(V5, "c")).await;
    assert!(connack.session_present, "{connack:?}");
}

#[tokio::test]
async fn sessions_of_before_there_were_nodes_go_on() {
    let store: Arc<Store> = Arc::default();
    let alone = Broker::with(config(), store.clone()).await;
    let mut c = alone.connect(persistent(V5, "c")).await;
    c.subscribe("t", 1).await;
    c.disconnect().await;
    let gone = alone.connect(with_will(persistent(V5, "gone"), 0)).await;
    alone.kill();
    drop(gone);
    let a = Broker::node(&store, "a").await;
    a.clean(V5, "p").await.publish("t", "1", 1).await;
    let (mut c, present) = connect_in_time(&a, persistent(V5, "c")).await;
    assert!(present);
    assert_eq!(c.payloads(1).await, ["1"]);
    eventually("the will is published", || store.all_records("will").len() == 1).await;
    // And back: an embedded node reads what nodes wrote.
    a.stop().await;
    let alone = Broker::with(config(), store).await;
    let (_, connack) = alone.try_connect(persistent(V5, "c")).await;
    assert!(connack.session_present);
}

#[tokio::test]
async fn a_node_that_is_taken_for_dead_knows_it_and_writes_nothing_more() {
    let (store, [a, b]) = nodes().await;
    let mut c = a.connect(with_will(persistent(V5, "c"), 0)).await;
    c.subscribe("t", 1).await;
    // It cannot reach the log for a while.
    a.door.faults.unavailable.store(true, Ordering::SeqCst);
    let (mut moved, present) = connect_in_time(&b, persistent(V5, "c")).await;
    assert!(present);
    a.door.faults.unavailable.store(false, Ordering::SeqCst);
    tokio::time::timeout(PATIENCE, a.handle.lost()).await.expect("it learns that it was taken for dead");
    let before = store.all_records("__mqtt_sessions").len();
    drop(a);
    c.until_closed().await;
    moved.until_ping().await;
    let after = store.all_records("__mqtt_sessions").len();
    assert_eq!((before, store.all_records("will").len()), (after, 0));
}

/// What has come to any of these.
async fn drain(members: &mut [&mut Client]) -> Vec<u32> {
    let mut got = Vec::new();
    for m in members {
        m.send(&Packet::PingReq).await;
        let Packet::PingResp = m.recv_past_publishes(&mut got).await else { panic!() };
    }
    got
}

/// Takes from all members until everything has come.
async fn until_all(members: &mut [&mut Client], upto: u32) -> Vec<u32> {
    let mut got = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while got.len() < upto as usize && tokio::time::Instant::now() < deadline {
        got.extend(drain(members).await);
    }
    got.extend(drain(members).await);
    got.sort_unstable();
    got
}

#[tokio::test]
async fn a_share_group_spans_nodes_and_each_message_goes_to_one_member() {
    let (_, [a, b, c]) = nodes().await;
    let mut at_a = a.clean(V5, "at-a").await;
    let mut at_b = b.clean(V5, "at-b").await;
    let mut also_b = b.clean(V5, "also-b").await;
    for m in [&mut at_a, &mut at_b, &mut also_b] {
        m.subscribe("$share/g/t/#", 1).await;
    }
    let mut p = c.clean(V311, "p").await;
    for n in 0..30 {
        p.publish(&format!("t/{}", n % 3), &n.to_string(), 1).await;
    }
    let got = until_all(&mut [&mut at_a, &mut at_b, &mut also_b], 30).await;
    assert_eq!(got, (0..30).collect::<Vec<_>>());
    // The one that serves it leaves: the others go on where it was.
    at_a.disconnect().await;
    for n in 0..30 {
        p.publish(&format!("t/{}", n % 3), &n.to_string(), 1).await;
    }
    let got = until_all(&mut [&mut at_b, &mut also_b], 30).await;
    assert_eq!(got, (0..30).collect::<Vec<_>>());
    // It dies: likewise.
    let mut at_c = c.clean(V5, "at-c").await;
    at_c.subscribe("$share/g/t/#", 1).await;
    b.kill();
    for n in 0..30 {
        p.publish(&format!("t/{}", n % 3), &n.to_string(), 1).await;
    }
    let mut got = until_all(&mut [&mut at_c], 30).await;
    got.dedup();
    assert_eq!(got, (0..30).collect::<Vec<_>>());
    // It is over, and another of that name begins at the end.
    at_c.disconnect().await;
    p.publish("t/0", "99", 1).await;
    let mut new = a.clean(V5, "new").await;
    new.subscribe("$share/g/t/#", 1).await;
    p.publish("t/0", "1", 1).await;
    assert_eq!(until_all(&mut [&mut new], 1).await, [1]);
}

#[tokio::test]
async fn a_share_group_whose_members_are_away_goes_on_at_any_node() {
    let (_, [a, b]) = nodes().await;
    let mut m = a.connect(persistent(V5, "m")).await;
    m.subscribe("$share/g/t", 1).await;
    let mut p = b.clean(V311, "p").await;
    p.publish("t", "0", 1).await;
    assert_eq!(until_all(&mut [&mut m], 1).await, [0]);
    m.disconnect().await;
    for n in 1..5 {
        p.publish("t", &n.to_string(), 1).await;
    }
    let mut m = b.connect(persistent(V5, "m")).await;
    assert_eq!(until_all(&mut [&mut m], 4).await, [1, 2, 3, 4]);
}

/// A publisher and a subscriber with QoS 2 that change nodes all the time, at any step of an exchange.
#[tokio::test]
async fn exactly_once_and_in_order_whatever_the_clients_do() {
    let (_, all) = nodes::<3>().await;
    let mut s = all[0].connect(persistent(V5, "s")).await;
    s.subscribe("t", 2).await;
    drop(s);
    let publishing = async {
        let mut at = 0;
        let mut c = all[0].connect(persistent(V5, "p")).await;
        for n in 0..40u16 {
            let mut p = publish("t", &n.to_string(), 2);
            p.packet_id = Some(id(n + 1));
            c.send(&Packet::Publish(p.clone())).await;
            if n % 3 == 0 {
                // Without waiting for an answer.
                at += 1;
                c = connect_in_time(&all[at % 3], persistent(V5, "p")).await.0;
                p.dup = true;
                c.send(&Packet::Publish(p)).await;
            }
            c.expect(&format!("pubrec {}", n + 1)).await;
            c.send(&Packet::PubRel(Ack::new(id(n + 1)))).await;
            if n % 5 == 0 {
                at += 2;
                c = connect_in_time(&all[at % 3], persistent(V5, "p")).await.0;
                c.send(&Packet::PubRel(Ack::new(id(n + 1)))).await;
            }
            c.expect(&format!("pubcomp {}", n + 1)).await;
        }
    };
    let receiving = async {
        let mut got = Vec::new();
        let mut open: std::collections::HashSet<PacketId> = Default::default();
        let (mut at, mut steps) = (0, 0);
        let mut c = all[0].connect(persistent(V5, "s")).await;
        while got.len() < 40 || !open.is_empty() {
            steps += 1;
            if steps % 7 == 0 {
                at += 1;
                c = connect_in_time(&all[at % 3], persistent(V5, "s")).await.0;
            }
            match c.recv().await {
                Packet::Publish(p) => {
                    assert_eq!(p.qos, QoS::ExactlyOnce);
                    let n = p.packet_id.unwrap();
                    if open.insert(n) {
                        got.push(String::from_utf8_lossy(&p.payload).into_owned());
                    }
                    c.send(&Packet::PubRec(Ack::new(n))).await;
                }
                Packet::PubRel(a) => {
                    open.remove(&a.packet_id);
                    c.send(&Packet::PubComp(Ack::new(a.packet_id))).await;
                }
                other => panic!("{}", text(&other)),
            }
        }
        got
    };
    let both = async { tokio::join!(publishing, receiving) };
    let ((), got) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it ends");
    assert_eq!(got, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
}
