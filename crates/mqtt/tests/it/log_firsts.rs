//! What only a log can give: where a publish stands, subscriptions that begin in the past, topics of the log as retained
//! messages.

use std::sync::Arc;

use bytes::Bytes;
use client::door::{Ack as DoorAck, Door, NewTopic, Record, TopicPartition};
use mqtt::{AckLevel, MqttConfig, RouteConfig, RouteKey};
use mqtt_codec::{Connect, Packet, PacketId, QoS, Subscribe, Subscription, UserProperty};

use crate::harness::*;

fn asking(id: &str) -> Connect {
    let mut connect = clean(V5, id);
    connect.properties.user_properties = vec![UserProperty::new("mqtt.position", "1")];
    connect
}

/// User properties of the acknowledgement of a publish.
async fn told(client: &mut Client, topic: &str, qos: u8) -> Vec<(String, String)> {
    let mut packet = publish(topic, "x", qos);
    packet.packet_id = Some(client.id());
    client.send(&Packet::Publish(packet)).await;
    let (Packet::PubAck(ack) | Packet::PubRec(ack)) = client.recv().await else { panic!("no answer") };
    ack.properties.user_properties.into_iter().map(|u| (u.name, u.value)).collect()
}

fn at(position: &str, level: &str) -> Vec<(String, String)> {
    vec![("mqtt.position".to_owned(), position.to_owned()), ("mqtt.ack".to_owned(), level.to_owned())]
}

fn route(filter: &str, topic: &str) -> RouteConfig {
    RouteConfig {
        filter: filter.to_owned(),
        topic: topic.to_owned(),
        key: RouteKey::Topic,
        partitions: None,
        ack: None,
        retained: false,
    }
}

#[tokio::test]
async fn an_acknowledgement_says_where_the_record_stands_to_those_who_ask() {
    let mut config = config();
    config.routes.push(RouteConfig { ack: Some(AckLevel::Memory), ..route("fast/#", "quick") });
    let broker = Broker::with(config, Arc::default()).await;
    let (mut client, connack) = broker.try_connect(asking("asks")).await;
    assert_eq!(connack.properties.user_properties, [UserProperty::new("mqtt.position", "1")]);
    assert_eq!(told(&mut client, "a/b", 1).await, at("a-0-0", "fsync"));
    assert_eq!(told(&mut client, "a/c", 2).await, at("a-0-1", "fsync"));
    assert_eq!(told(&mut client, "fast/x", 1).await, at("quick-0-0", "memory"));
    let mut kept = publish("a/kept", "x", 1);
    (kept.retain, kept.packet_id) = (true, Some(id(9)));
    client.send(&Packet::Publish(kept)).await;
    let Packet::PubAck(ack) = client.recv().await else { panic!("no PUBACK") };
    assert_eq!(ack.properties.user_properties[0].value, "a-0-2");
    // Not to those who do not ask, want no such words, or cannot take them.
    let mut plain = broker.clean(V5, "plain").await;
    assert_eq!(told(&mut plain, "a/b", 1).await, []);
    let mut quiet = asking("quiet");
    quiet.properties.request_problem_information = Some(false);
    let mut quiet = broker.connect(quiet).await;
    assert_eq!(told(&mut quiet, "a/b", 1).await, []);
    let mut small = asking("small");
    small.properties.maximum_packet_size = Some(50);
    let mut small = broker.connect(small).await;
    assert_eq!(told(&mut small, "a/b", 1).await, []);
}

/// A broker with messages 0 to 4 of QoS 0, 1, 1, 1, 1 in topic `s`.
async fn with_history() -> (Broker, Client) {
    let broker = Broker::start().await;
    let mut writer = broker.clean(V5, "writer").await;
    writer.publish("s/1", "0", 0).await;
    for n in 1..5 {
        writer.publish(&format!("s/{}", n % 2 + 1), &n.to_string(), 1).await;
    }
    (broker, writer)
}

fn topics(messages: &[String]) -> String {
    messages.iter().map(|m| m.split(' ').nth(1).unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_replay_begins_where_it_is_asked_to_and_goes_on_live() {
    for version in [V311, V5] {
        for (filter, expected) in [
            ("$replay/earliest/s/#", "0 1 2 3 4"),
            ("$replay/-1h/s/1", "0 2 4"),
            ("$replay/offset:3/+/+", "3 4"),
            ("$replay/offset:999/s/#", ""),
            ("$replay/latest/s/#", ""),
            ("$replay/FIRST/s/#", "0 1 2 3 4"),
            ("$replay/AFTER/s/#", ""),
            ("$replay/1999-12-31T23:59:59Z/s/#", "0 1 2 3 4"),
        ] {
            let (broker, mut writer) = with_history().await;
            let times: Vec<_> = broker.door.store().records("s", 0).iter().map(|r| r.timestamp_ms).collect();
            let filter = filter.replace("FIRST", &times[0].to_string());
            let filter = filter.replace("AFTER", &(times[4] + 1).to_string());
            let mut reader = broker.clean(version, "reader").await;
            reader.subscribe(&filter, 1).await;
            let expected: Vec<_> = expected.split(' ').filter(|e| !e.is_empty()).collect();
            assert_eq!(reader.payloads(expected.len()).await, expected, "{filter}");
            writer.publish("s/1", "live", 1).await;
            assert_eq!(reader.payloads(1).await, ["live"], "{filter}");
            reader.unsubscribe(&filter).await;
            writer.publish("s/1", "after", 0).await;
            assert_eq!(reader.until_ping().await, Vec::<String>::new(), "{filter}");
        }
    }
}

#[tokio::test]
async fn a_user_property_asks_for_a_replay_too() {
    let (broker, mut writer) = with_history().await;
    let mut reader = broker.clean(V5, "reader").await;
    reader.subscribe("s/#", 1).await;
    let mut again = Subscribe::new(PacketId::MIN, vec![Subscription::new("s/#", QoS::ExactlyOnce)]);
    again.properties.user_properties = vec![UserProperty::new("mqtt.start", "offset:2")];
    again.properties.subscription_identifier = Some(7);
    reader.send(&Packet::Subscribe(again)).await;
    // After a kill some of it may come again: at most QoS 1 is granted.
    reader.expect("suback 1 [1]").await;
    for n in 2..5 {
        let message = reader.message().await;
        assert!(
            message.contains("SubscriptionIdentifier(7)") && message.ends_with(&format!(" {n}")),
            "{message}"
        );
    }
    // It stands in for the subscription of before: nothing comes twice.
    writer.publish("s/1", "5", 1).await;
    assert_eq!(reader.payloads(1).await, ["5"]);
    assert_eq!(reader.until_ping().await, Vec::<String>::new());
    // And the other way round.
    reader.subscribe("s/#", 1).await;
    writer.publish("s/1", "6", 1).await;
    assert_eq!(reader.payloads(1).await, ["6"]);
    assert_eq!(reader.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_replay_beside_a_subscription_disturbs_it_not() {
    let (broker, mut writer) = with_history().await;
    let mut reader = broker.clean(V5, "reader").await;
    reader.subscribe("s/1", 1).await;
    reader.subscribe("$replay/offset:3/s/#", 1).await;
    assert_eq!(reader.payloads(2).await, ["3", "4"]);
    writer.publish("s/1", "5", 1).await;
    let mut got = Vec::new();
    for _ in 0..2 {
        got.push(reader.message().await);
    }
    assert_eq!(topics(&got), "s/1 s/1");
    reader.unsubscribe("$replay/offset:3/s/#").await;
    writer.publish("s/1", "6", 1).await;
    assert_eq!(reader.payloads(1).await, ["6"]);
    assert_eq!(reader.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn replays_that_cannot_be_are_refused() {
    let mut config = config();
    config.limits.max_replays = 1;
    let broker = Broker::with(config, Arc::default()).await;
    let mut client = broker.clean(V5, "c").await;
    for filter in [
        "$replay/whenever/s/#",
        "$replay/earliest",
        "$replay/earliest/",
        "$replay/earliest/$SYS/#",
        "$replay//s",
        "$share/g/$replay/earliest/s",
    ] {
        let code = if filter.starts_with("$share") { 1 } else { 0x8f };
        let packet = Subscribe::new(id(5), vec![Subscription::new(filter, QoS::AtLeastOnce)]);
        client.send(&Packet::Subscribe(packet)).await;
        client.expect(&format!("suback 5 [{code}]")).await;
    }
    client.subscribe("$replay/earliest/s/#", 0).await;
    let packet = Subscribe::new(id(5), vec![Subscription::new("$replay/earliest/t/#", QoS::AtLeastOnce)]);
    client.send(&Packet::Subscribe(packet)).await;
    client.expect("suback 5 [151]").await;
    // The same again takes its own place.
    client.subscribe("$replay/earliest/s/#", 0).await;
}

#[tokio::test]
async fn a_session_goes_on_with_its_replay_where_it_was() {
    for killed in [false, true] {
        let (broker, mut writer) = with_history().await;
        let mut connect = persistent(V5, "reader");
        connect.properties.receive_maximum = Some(1);
        let mut reader = broker.connect(connect.clone()).await;
        reader.subscribe("$replay/offset:1/s/#", 1).await;
        assert_eq!(reader.payloads(2).await, ["1", "2"]);
        drop(reader);
        writer.publish("s/1", "5", 1).await;
        let store = if killed { broker.kill() } else { broker.stop().await };
        let broker = Broker::with(config(), store).await;
        let mut reader = broker.connect(connect).await;
        let mut got = Vec::new();
        while got.last().is_none_or(|last| last != "5") {
            got.extend(reader.payloads(1).await);
        }
        // What was under way may come again by QoS 1, and nothing may be left out.
        let first_of = |n: &str| got.iter().position(|g| g == n).expect("all come");
        assert!(first_of("3") < first_of("4") && first_of("4") < first_of("5"), "{got:?}");
        // A clean stop writes where it was.
        assert!(killed || !got.contains(&"1".to_owned()), "{got:?}");
    }
}

async fn write(broker: &Broker, topic: &str, key: &str, value: Option<&str>) {
    let record = Record {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|v| Bytes::copy_from_slice(v.as_bytes())),
        ..Record::default()
    };
    broker.door.append(&TopicPartition::new(topic, 0), record, DoorAck::All).await.unwrap();
}

fn exposing() -> MqttConfig {
    let mut config = config();
    config.routes.push(RouteConfig { retained: true, ..route("prices/#", "prices") });
    config
}

/// What is retained, as a new subscriber is told.
async fn retained(broker: &Broker, filter: &str) -> String {
    let mut reader = broker.clean(V5, "who-asks").await;
    reader.subscribe(filter, 0).await;
    let mut got = reader.until_ping().await;
    got.sort();
    let short = got.iter().map(|m| m.replace("publish ", "").replace(" q0 retain", ""));
    let short = short.collect::<Vec<_>>().join(", ");
    reader.disconnect().await;
    short
}

async fn until(broker: &Broker, filter: &str, expected: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let got = retained(broker, filter).await;
        if got == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{got} instead of {expected}");
    }
}

#[tokio::test]
async fn a_topic_of_the_log_is_read_as_retained_messages() {
    let broker = Broker::with(exposing(), Arc::default()).await;
    let new = NewTopic { name: "prices".to_owned(), partitions: Some(1), configs: Vec::new() };
    broker.door.create_topic(new).await.unwrap();
    write(&broker, "prices", "prices/gold", Some("1")).await;
    // A key that is no MQTT topic of the route stands behind its prefix.
    write(&broker, "prices", "silver", Some("2")).await;
    until(&broker, "prices/#", "prices/gold 1, prices/silver 2").await;
    write(&broker, "prices", "prices/gold", Some("3")).await;
    write(&broker, "prices", "silver", None).await;
    until(&broker, "#", "prices/gold 3").await;
    // What is published over MQTT counts at once, with RETAIN or without.
    let mut writer = broker.clean(V5, "writer").await;
    writer.publish("prices/tin", "4", 1).await;
    let mut tin = publish("prices/tin", "5", 1);
    tin.retain = true;
    writer.publish_packet(tin).await;
    assert_eq!(retained(&broker, "prices/#").await, "prices/gold 3, prices/tin 5");
    let mut gone = publish("prices/tin", "", 1);
    gone.retain = true;
    writer.publish_packet(gone).await;
    writer.publish("prices/gold", "6", 2).await;
    assert_eq!(retained(&broker, "#").await, "prices/gold 6");
    let last = broker.door.store().all_records("prices").into_iter().rev().find(|r| r.value.is_none());
    assert_eq!(last.unwrap().key.as_deref(), Some(&b"prices/tin"[..]));
    assert_eq!(broker.door.store().all_records("__mqtt_retained"), []);
    // Subscribers of before get each change once, without RETAIN.
    let mut live = broker.clean(V5, "live").await;
    live.subscribe("prices/gold", 1).await;
    live.expect("publish prices/gold q1 #1 retain 6").await;
    write(&broker, "prices", "gold", Some("7")).await;
    live.expect("publish prices/gold q1 #2 7").await;
    // The same after a restart, and gone with the topic.
    let broker = Broker::with(exposing(), broker.stop().await).await;
    assert_eq!(retained(&broker, "#").await, "prices/gold 7");
    broker.door.store().delete("prices");
    until(&broker, "#", "").await;
    let mut writer = broker.clean(V5, "writer").await;
    writer.publish("prices/gold", "8", 1).await;
    assert_eq!(retained(&broker, "#").await, "prices/gold 8");
}
