use crate::harness::*;
use mqtt::{ListenerConfig, MqttConfig};
use mqtt_codec::{Packet, ProtocolVersion, ReasonCode};

/// Sends bytes on a fresh connection and gives back what comes until the broker closes it.
async fn bytes_until_closed(broker: &Broker, bytes: &[u8]) -> Vec<String> {
    let mut c = broker.open(V5).await;
    c.send_bytes(bytes).await;
    let mut out = Vec::new();
    while let Some(p) = c.next().await {
        out.push(text(&p));
    }
    out
}

#[tokio::test]
async fn connack_of_version_5_is_mosquittos_byte_for_byte() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let broker = Broker::start().await;
    let mut s = tokio::net::TcpStream::connect(broker.address).await.unwrap();
    s.write_all(b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01x").await.unwrap();
    let mut got = [0u8; 11];
    s.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"\x20\x09\0\0\x06\x22\0\x0a\x21\0\x14");
}

#[tokio::test]
async fn connack_of_version_3_1_1() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let broker = Broker::start().await;
    let mut s = tokio::net::TcpStream::connect(broker.address).await.unwrap();
    s.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01x").await.unwrap();
    let mut got = [0u8; 4];
    s.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"\x20\x02\0\0");
}

#[tokio::test]
async fn what_is_no_connect_is_closed() {
    let broker = Broker::start().await;
    for bytes in [
        &b"\xc0\0"[..],
        b"\x30\x03\0\x01a",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\x7f",
        b"\0\0",
        b"\x10\x0c\0\x04MQTT\x04\x03\0\x3c\0\0",
        b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01\0",
    ] {
        assert_eq!(bytes_until_closed(&broker, bytes).await, Vec::<String>::new(), "{bytes:?}");
    }
    broker.clean(V5, "still-there").await;
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let mut c = config();
    c.limits.connect_timeout = std::time::Duration::from_millis(30);
    let broker = Broker::with(c, Default::default()).await;
    assert_eq!(bytes_until_closed(&broker, b"\x10").await, Vec::<String>::new());
}

#[tokio::test]
async fn client_ids() {
    let broker = Broker::start().await;
    let (_, a) = broker.try_connect(clean(V5, "")).await;
    let given = a.properties.assigned_client_identifier.unwrap();
    assert!(given.starts_with("auto-") && given.len() == 41, "{given}");
    let (_, a) = broker.try_connect(clean(V311, "")).await;
    assert_eq!(a.reason, ReasonCode::Success);
    let (_, a) = broker.try_connect(persistent(V311, "")).await;
    assert_eq!(a.reason, ReasonCode::ClientIdentifierNotValid);
}

#[tokio::test]
async fn without_users_and_anonymous_access_nobody_comes_in() {
    let mut listener = ListenerConfig::new(([127, 0, 0, 1], 0).into());
    listener.allow_anonymous = false;
    let broker = Broker::with(MqttConfig { listeners: vec![listener], ..config() }, Default::default()).await;
    for version in [ProtocolVersion::V31, V311, V5] {
        let (_, a) = broker.try_connect(clean(version, "x")).await;
        assert_eq!(a.reason, ReasonCode::NotAuthorized);
    }
}

#[tokio::test]
async fn takeover() {
    let broker = Broker::start().await;
    for version in [V311, V5] {
        let mut old = broker.connect(persistent(version, "same")).await;
        old.subscribe("a", 1).await;
        let (_new, a) = broker.try_connect(persistent(version, "same")).await;
        assert!(a.session_present);
        old.expect(if version == V5 { "disconnect 0x8e" } else { "closed" }).await;
        broker.clean(version, "same").await;
    }
}

#[tokio::test]
async fn what_was_said_before_a_takeover_counts() {
    let broker = Broker::start().await;
    let mut witness = broker.clean(V311, "witness").await;
    witness.subscribe("#", 0).await;
    for round in 0..20 {
        let mut old = clean(V311, "same");
        old.will = Some(will("will", "bad", 0));
        let mut old = broker.connect(old).await;
        // Each of them has to make its topic first.
        let said = Packet::Publish(publish(&format!("said-{round}"), &round.to_string(), 0));
        let mut bytes = said.to_vec(V311).unwrap();
        bytes.extend(Packet::Disconnect(Default::default()).to_vec(V311).unwrap());
        old.send_bytes(&bytes).await;
        let _new = broker.clean(V311, "same").await;
        assert!(witness.message().await.ends_with(&format!(" {round}")));
    }
    witness.publish("end", "x", 0).await;
    assert!(witness.message().await.ends_with(" x"));
}

#[tokio::test]
async fn keep_alive_is_one_and_a_half_times() {
    let broker = Broker::start().await;
    let mut c = clean(V5, "quiet");
    c.keep_alive = 1;
    let before = std::time::Instant::now();
    let mut c = broker.connect(c).await;
    c.expect("disconnect 0x8d").await;
    assert!(before.elapsed() >= std::time::Duration::from_millis(1500));
}

#[tokio::test]
async fn server_keep_alive() {
    let mut c = config();
    c.limits.max_keepalive = 30;
    let broker = Broker::with(c, Default::default()).await;
    let (_, a) = broker.try_connect(clean(V5, "x")).await;
    assert_eq!(a.properties.server_keep_alive, Some(30));
}

#[tokio::test]
async fn connection_limits() {
    let mut c = config();
    c.limits.max_connections = 2;
    let broker = Broker::with(c, Default::default()).await;
    let _a = broker.clean(V5, "a").await;
    let b = broker.clean(V5, "b").await;
    assert_eq!(broker.open(V5).await.next().await, None);
    b.disconnect().await;
    let mut tries = 0;
    loop {
        let mut c = broker.open(V5).await;
        c.send(&Packet::Connect(Box::new(clean(V5, "c")))).await;
        if c.next().await.is_some() {
            break;
        }
        tries += 1;
        assert!(tries < 1000);
    }
}

#[tokio::test]
async fn errors_of_version_5_clients_are_told() {
    let broker = Broker::start().await;
    for (bytes, expected) in [
        // QoS 3.
        (&b"\x36\x06\0\x01a\0\x01\0"[..], "disconnect 0x81"),
        // Packet identifier 0.
        (b"\x32\x06\0\x01a\0\0\0", "disconnect 0x82"),
        // Topic alias 11, and one that was never set.
        (b"\x30\x07\0\x01a\x03\x23\0\x0b", "disconnect 0x94"),
        (b"\x30\x06\0\0\x03\x23\0\x01", "disconnect 0x82"),
        // Subscription identifier 0.
        (b"\x82\x09\0\x01\x02\x0b\0\0\x01a\0", "disconnect 0x81"),
        // A second CONNECT.
        (b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01x", "closed"),
        // AUTH.
        (b"\xf0\0", "disconnect 0x82"),
    ] {
        let mut c = broker.clean(V5, "bad").await;
        c.send_bytes(bytes).await;
        c.expect(expected).await;
    }
}
