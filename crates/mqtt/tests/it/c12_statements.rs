//! Statements of the specifications that no other chapter holds, and the page that names a test for each.

use bytes::Bytes;
use mqtt::{ListenerConfig, MqttConfig};
use mqtt_codec::{
    Packet, PropertiesBuf, Property, Publish, QoS, ReasonCode, Subscribe, Subscription, Unsubscribe,
    UserProperty,
};

use crate::harness::*;

#[tokio::test]
async fn many_filters_in_one_packet_are_answered_one_by_one_in_order() {
    let broker = Broker::start().await;
    for version in [V5, V311] {
        let mut c = broker.clean(version, "c").await;
        let asked = [("b", 1), ("a/+", 2), ("c", 0), ("b", 0)];
        let asked = asked.map(|(filter, qos)| Subscription::new(filter, QoS::from_u8(qos).unwrap()));
        c.send(&Packet::Subscribe(Subscribe::new(id(7), asked.to_vec()))).await;
        c.expect("suback 7 [1, 2, 0, 0]").await;
        // The second subscription to "b" has replaced the first.
        c.publish("b", "x", 0).await;
        c.expect("publish b q0 x").await;
        let filters = ["a/+", "never", "a/1", "c"].map(str::to_owned).to_vec();
        c.send(&Packet::Unsubscribe(Unsubscribe::new(id(9), filters))).await;
        let Packet::UnsubAck(ack) = c.recv().await else { panic!("no UNSUBACK") };
        let reasons: Vec<u8> = ack.reasons.iter().map(|r| r.as_u8()).collect();
        assert_eq!(ack.packet_id, id(9));
        assert_eq!(reasons, if version == V5 { vec![0, 0x11, 0x11, 0] } else { vec![] });
        c.publish("a/1", "gone", 0).await;
        assert_eq!(c.until_ping().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn requests_without_a_filter_close() {
    let broker = Broker::start().await;
    for bytes in [&b"\x82\x03\0\x01\0"[..], b"\xa2\x03\0\x01\0"] {
        let mut c = broker.clean(V5, "c").await;
        c.send_bytes(bytes).await;
        let said = c.text().await;
        assert!(["disconnect 0x81", "disconnect 0x82", "closed"].contains(&&*said), "{said}");
    }
    for bytes in [&b"\x82\x02\0\x01"[..], b"\xa2\x02\0\x01"] {
        let mut c = broker.clean(V311, "c").await;
        c.send_bytes(bytes).await;
        c.expect("closed").await;
    }
}

#[tokio::test]
async fn a_lower_maximum_qos_is_told_and_kept() {
    let listener = ListenerConfig { max_qos: 1, ..ListenerConfig::new(([127, 0, 0, 1], 0).into()) };
    let broker = Broker::with(MqttConfig { listeners: vec![listener], ..config() }, Default::default()).await;
    let (mut c, connack) = broker.try_connect(clean(V5, "c")).await;
    assert_eq!(connack.properties.maximum_qos, Some(QoS::AtLeastOnce));
    let subscription = Subscription::new("a", QoS::ExactlyOnce);
    c.send(&Packet::Subscribe(Subscribe::new(id(1), vec![subscription]))).await;
    c.expect("suback 1 [1]").await;
    let mut too_high = publish("a", "x", 2);
    too_high.packet_id = Some(id(2));
    c.send(&Packet::Publish(too_high)).await;
    c.expect("disconnect 0x9b").await;
    let mut with_will = clean(V5, "w");
    with_will.will = Some(will("a", "x", 2));
    let (_, connack) = broker.try_connect(with_will).await;
    assert_eq!(connack.reason, ReasonCode::QosNotSupported);
}

#[tokio::test]
async fn correlation_data_and_a_will_s_properties_are_passed_on() {
    let broker = Broker::start().await;
    let mut sub = broker.clean(V5, "sub").await;
    sub.subscribe("#", 0).await;
    let mut publisher = broker.clean(V5, "pub").await;
    let list = [Property::CorrelationData(b"\0\xff"), Property::PayloadFormatIndicator(true)];
    let properties = PropertiesBuf::from_properties(list).unwrap();
    publisher.publish_packet(Publish { properties, ..publish("a", "x", 0) }).await;
    sub.expect("publish a q0 CorrelationData([0, 255]) PayloadFormatIndicator(true) x").await;
    let mut connect = clean(V5, "w");
    let mut message = will("w", "gone", 0);
    message.properties.user_properties =
        ["b", "a", "b"].map(|name| UserProperty { name: name.to_owned(), value: "v".to_owned() }).to_vec();
    message.properties.correlation_data = Some(Bytes::from_static(b"c"));
    connect.will = Some(message);
    drop(broker.connect(connect).await);
    sub.expect(
        "publish w q0 CorrelationData([99]) UserProperty(\"b\", \"v\") UserProperty(\"a\", \"v\") \
         UserProperty(\"b\", \"v\") gone",
    )
    .await;
}

/// All functions of the sources, by the name of their file (or of its directory, for `mod.rs` and `tests.rs`).
fn sources() -> String {
    fn read(dir: &std::path::Path, all: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                read(&path, all);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let stem = path.file_stem().unwrap().to_str().unwrap();
                let parent = path.parent().and_then(|p| p.file_name()).unwrap().to_str().unwrap();
                let module = if ["mod", "tests"].contains(&stem) { parent } else { stem };
                for line in std::fs::read_to_string(&path).unwrap().lines() {
                    let line = line.trim_start().trim_start_matches("async ");
                    if let Some((name, _)) = line.strip_prefix("fn ").and_then(|l| l.split_once('(')) {
                        all.push_str(&format!(" {module}::{name} "));
                    }
                }
            }
        }
    }
    let mut all = String::new();
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for dir in ["mqtt/src", "mqtt/tests", "mqtt-codec/src", "mqtt-codec/tests"] {
        read(&crates.join(dir), &mut all);
    }
    all
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = include_str!("../../../../docs/mqtt-conformance.md");
    let sources = sources();
    let named = page.split('`').filter(|t| t.contains("::") && !t.contains(char::is_whitespace));
    let mut count = 0;
    for name in named.filter(|n| *n != "file::function") {
        assert!(sources.contains(&format!(" {name} ")), "{name} does not exist");
        count += 1;
    }
    assert!(count > 300, "{count}");
    let mut rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| MQTT-")).collect();
    for row in &rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert!(cells.len() >= 3 && cells[2].len() > 5, "{row}");
    }
    let (of_5, of_3) = page.split_once("## MQTT 3.1.1").unwrap();
    for half in [of_5, of_3] {
        rows = half
            .lines()
            .filter_map(|l| l.strip_prefix("| ")?.split(' ').next())
            .filter(|l| l.starts_with("MQTT-"))
            .collect();
        let all = rows.len();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), all, "a statement stands there twice");
    }
}

#[tokio::test]
async fn a_bridge_of_version_3_does_not_get_its_own_messages_back() {
    let broker = Broker::start().await;
    let mut bridge = broker.connect(mqtt_codec::Connect { bridge: true, ..clean(V311, "bridge") }).await;
    bridge.subscribe("a", 1).await;
    let mut kept = publish("a", "own", 1);
    kept.retain = true;
    bridge.publish_packet(kept).await;
    assert_eq!(bridge.until_ping().await, Vec::<String>::new());
    let mut other = broker.clean(V311, "other").await;
    let mut kept = publish("a", "theirs", 0);
    kept.retain = true;
    other.publish_packet(kept).await;
    // As it was published.
    bridge.expect("publish a q0 retain theirs").await;
}
