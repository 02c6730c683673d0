use crate::harness::*;
use mqtt_codec::{Connect, Disconnect, Packet, ProtocolVersion, ReasonCode};
use std::time::{Duration, Instant};

fn with_will(mut c: Connect, qos: u8) -> Connect {
    c.will = Some(will("will/t", "gone", qos));
    c
}

fn delayed(mut c: Connect, seconds: u32) -> Connect {
    if let Some(w) = &mut c.will {
        w.properties.delay_interval = Some(seconds);
    }
    c
}

async fn watcher(broker: &Broker, version: ProtocolVersion) -> Client {
    let mut w = broker.clean(version, "watcher").await;
    w.subscribe("will/#", 2).await;
    w
}

#[tokio::test]
async fn a_broken_connection_publishes_a_clean_one_does_not() {
    let broker = Broker::start().await;
    for version in [V311, V5] {
        let mut w = watcher(&broker, version).await;
        broker.connect(with_will(clean(version, "c"), 0)).await.disconnect().await;
        drop(broker.connect(with_will(persistent(version, "c"), 1)).await);
        assert_eq!(w.message().await, "publish will/t q1 #1 gone");
        if version == V5 {
            let mut c = broker.connect(with_will(clean(version, "c"), 2)).await;
            c.send(&Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill))).await;
            assert_eq!(w.message().await, "publish will/t q2 #2 gone");
        }
        assert_eq!(w.until_ping().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_malformed_packet_publishes_it() {
    let broker = Broker::start().await;
    let mut w = watcher(&broker, V5).await;
    let mut c = broker.connect(with_will(clean(V5, "c"), 0)).await;
    c.send_bytes(b"\xf1\0").await;
    assert_eq!(w.message().await, "publish will/t q0 gone");
}

#[tokio::test]
async fn a_retained_will_is_retained() {
    let broker = Broker::start().await;
    let mut c = with_will(clean(V311, "c"), 1);
    c.will.as_mut().unwrap().retain = true;
    let mut w = watcher(&broker, V311).await;
    drop(broker.connect(c).await);
    assert_eq!(w.message().await, "publish will/t q1 #1 gone");
    let mut late = broker.clean(V311, "late").await;
    late.subscribe("will/t", 0).await;
    assert_eq!(late.message().await, "publish will/t q0 retain gone");
}

#[tokio::test]
async fn delays() {
    let broker = Broker::start().await;
    let mut w = watcher(&broker, V5).await;
    // Back in time: no will, not then and not later.
    drop(broker.connect(delayed(with_will(persistent(V5, "c"), 0), 1)).await);
    let back = broker.connect(persistent(V5, "c")).await;
    let before = Instant::now();
    drop(broker.connect(delayed(with_will(persistent(V5, "d"), 0), 1)).await);
    assert_eq!(w.message().await, "publish will/t q0 gone");
    assert!(before.elapsed() >= Duration::from_secs(1));
    assert_eq!(w.until_ping().await, Vec::<String>::new());
    drop(back);
    // The end of the session comes first.
    let mut c = delayed(with_will(persistent(V5, "e"), 0), 1000);
    c.properties.session_expiry_interval = Some(1);
    drop(broker.connect(c).await);
    assert_eq!(w.message().await, "publish will/t q0 gone");
}

#[tokio::test]
async fn takeover_as_in_mosquitto() {
    let broker = Broker::start().await;
    let mut w = watcher(&broker, V5).await;
    for (first, second, comes) in [
        (persistent(V5, "c"), persistent(V5, "c"), false),
        (persistent(V5, "c"), clean(V5, "c"), true),
        (clean(V5, "c"), persistent(V5, "c"), true),
    ] {
        let _old = broker.connect(with_will(first, 0)).await;
        let new = broker.connect(second).await;
        let mut marker = broker.clean(V5, "marker").await;
        marker.publish("will/marker", "marker", 1).await;
        if comes {
            assert_eq!(w.message().await, "publish will/t q0 gone");
        }
        assert!(w.message().await.ends_with("marker"));
        new.disconnect().await;
        broker.clean(V5, "c").await.disconnect().await;
    }
}

#[tokio::test]
async fn a_will_survives_the_broker() {
    for (version, persists) in [(V311, true), (V311, false), (V5, true), (V5, false)] {
        let broker = Broker::start().await;
        let connect = if persists { persistent(version, "c") } else { clean(version, "c") };
        let mut watching = broker.connect(persistent(version, "w")).await;
        watching.subscribe("will/#", 1).await;
        let _c = broker.connect(with_will(connect, 1)).await;
        let store = broker.kill();
        let broker = Broker::with(config(), store).await;
        let mut watching = broker.connect(persistent(version, "w")).await;
        assert!(watching.message().await.ends_with("gone"), "{version} {persists}");
        // Once: a further restart brings nothing.
        watching.disconnect().await;
        let store = broker.stop().await;
        let broker = Broker::with(config(), store.clone()).await;
        let mut watching = broker.connect(persistent(version, "w")).await;
        assert_eq!(watching.until_ping().await, Vec::<String>::new());
        assert_eq!(store.all_records("will").len(), 1);
    }
}
