//! What MQTT 5 lets a server offer: topic aliases, reason strings, response information, another server.

use std::sync::Arc;

use mqtt::{ListenerConfig, MqttConfig, Redirect};
use mqtt_codec::{Packet, PropertiesBuf, Property, QoS, ReasonCode, Subscribe, Subscription};

use crate::harness::*;

fn alias_of(p: &PropertiesBuf) -> Option<u16> {
    p.iter().find_map(|p| if let Property::TopicAlias(n) = p { Some(n) } else { None })
}

/// Topic and alias of the next message.
async fn named(client: &mut Client) -> (String, Option<u16>) {
    let Packet::Publish(p) = client.recv().await else { panic!("no message") };
    (p.topic.as_str().to_owned(), alias_of(&p.properties))
}

#[tokio::test]
async fn topics_are_sent_as_numbers_to_clients_that_take_them() {
    let broker = Broker::start().await;
    let mut connect = clean(V5, "reader");
    connect.properties.topic_alias_maximum = Some(1);
    let mut reader = broker.connect(connect.clone()).await;
    reader.subscribe("#", 0).await;
    let mut plain = broker.clean(V5, "plain").await;
    plain.subscribe("#", 0).await;
    let mut writer = broker.clean(V311, "writer").await;
    for (topic, expected) in [
        ("sensors/one", ("sensors/one", Some(1))),
        ("sensors/one", ("", Some(1))),
        // The one number is given to another name.
        ("sensors/two", ("sensors/two", Some(1))),
        ("sensors/two", ("", Some(1))),
        ("sensors/one", ("sensors/one", Some(1))),
        // Shorter than its number.
        ("abc", ("abc", None)),
    ] {
        writer.publish(topic, "x", 1).await;
        let (name, alias) = named(&mut reader).await;
        assert_eq!((&*name, alias), expected, "{topic}");
        assert_eq!(named(&mut plain).await, (topic.to_owned(), None));
    }
    // Numbers end with the connection.
    reader.disconnect().await;
    let mut reader = broker.connect(connect).await;
    reader.subscribe("#", 0).await;
    writer.publish("sensors/one", "x", 1).await;
    assert_eq!(named(&mut reader).await, ("sensors/one".to_owned(), Some(1)));
}

#[tokio::test]
async fn a_message_that_was_too_large_gives_no_number_away() {
    let broker = Broker::start().await;
    let mut connect = clean(V5, "reader");
    connect.properties.topic_alias_maximum = Some(1);
    connect.properties.maximum_packet_size = Some(60);
    let mut reader = broker.connect(connect).await;
    reader.subscribe("#", 0).await;
    let mut writer = broker.clean(V311, "writer").await;
    writer.publish("sensors/one", &"x".repeat(60), 1).await;
    writer.publish("sensors/one", "x", 1).await;
    assert_eq!(named(&mut reader).await, ("sensors/one".to_owned(), Some(1)));
}

#[tokio::test]
async fn reasons_in_words_come_to_those_who_ask_for_them() {
    let mut config = config();
    config.message_size_limit = Some(3);
    config.limits.max_subscriptions = 0;
    let broker = Broker::with(config, Arc::default()).await;
    for (asks, words) in [(None, false), (Some(true), true), (Some(false), false)] {
        let mut connect = clean(V5, "c");
        connect.properties.request_problem_information = asks;
        let mut client = broker.connect(connect).await;
        let mut packet = publish("$x", "x", 1);
        packet.packet_id = Some(client.id());
        client.send(&Packet::Publish(packet)).await;
        let Packet::PubAck(ack) = client.recv().await else { panic!("no PUBACK") };
        let expected = words.then(|| "topics that begin with $ are the server's own".to_owned());
        assert_eq!(ack.properties.reason_string, expected);
        let packet = Subscribe::new(client.id(), vec![Subscription::new("a/#", QoS::AtMostOnce)]);
        client.send(&Packet::Subscribe(packet)).await;
        let Packet::SubAck(ack) = client.recv().await else { panic!("no SUBACK") };
        assert_eq!(ack.properties.reason_string, words.then(|| "a/#: Quota exceeded".to_owned()));
        let mut bad = publish("a", "x", 0);
        bad.properties = PropertiesBuf::from_properties([Property::TopicAlias(0xffff)]).unwrap();
        client.send(&Packet::Publish(bad)).await;
        let Packet::Disconnect(d) = client.recv().await else { panic!("no DISCONNECT") };
        assert_eq!(d.properties.reason_string, words.then(|| "topic alias out of range".to_owned()));
    }
    let mut anonymous = clean(V5, "");
    anonymous.properties.request_problem_information = Some(true);
    anonymous.will = Some(will("a", "too large", 0));
    let (_, connack) = broker.try_connect(anonymous.clone()).await;
    assert_eq!(connack.properties.reason_string.as_deref(), Some("will over message_size_limit"));
    anonymous.properties.maximum_packet_size = Some(30);
    let (_, connack) = broker.try_connect(anonymous).await;
    assert_eq!(connack.properties.reason_string, None);
    let mut small = clean(V5, "small");
    small.properties.request_problem_information = Some(true);
    small.properties.maximum_packet_size = Some(30);
    let mut small = broker.connect(small).await;
    let mut packet = publish("$x", "x", 1);
    packet.packet_id = Some(small.id());
    small.send(&Packet::Publish(packet)).await;
    let Packet::PubAck(ack) = small.recv().await else { panic!("no PUBACK") };
    assert_eq!((ack.reason, ack.properties.reason_string), (ReasonCode::NotAuthorized, None));
}

#[tokio::test]
async fn response_information_is_told_to_those_who_ask() {
    let config = MqttConfig { response_information: Some("answers/%c".to_owned()), ..config() };
    let broker = Broker::with(config, Arc::default()).await;
    for (asks, expected) in [(None, None), (Some(false), None), (Some(true), Some("answers/me"))] {
        let mut connect = clean(V5, "me");
        connect.properties.request_response_information = asks;
        let (_, connack) = broker.try_connect(connect).await;
        assert_eq!(connack.properties.response_information.as_deref(), expected);
    }
}

#[tokio::test]
async fn clients_are_told_of_another_server() {
    let redirect = |moved| Some(Redirect { reference: "other:1883".to_owned(), moved });
    let one = ListenerConfig { max_connections: Some(1), ..ListenerConfig::new(([127, 0, 0, 1], 0).into()) };
    let full = MqttConfig { redirect: redirect(false), listeners: vec![one], ..config() };
    let broker = Broker::with(full, Arc::default()).await;
    let mut first = broker.clean(V5, "first").await;
    let (_, connack) = broker.try_connect(clean(V5, "second")).await;
    assert_eq!(connack.reason, ReasonCode::UseAnotherServer);
    assert_eq!(connack.properties.server_reference.as_deref(), Some("other:1883"));
    // Version 3 has no word for it: the server is not available.
    let (_, connack) = broker.try_connect(clean(V311, "third")).await;
    assert_eq!(connack.reason.as_u8(), ReasonCode::ServerUnavailable.as_u8());
    let stopped = tokio::spawn(broker.stop());
    let Packet::Disconnect(d) = first.recv().await else { panic!("no DISCONNECT") };
    assert_eq!(d.reason, ReasonCode::UseAnotherServer);
    assert_eq!(d.properties.server_reference.as_deref(), Some("other:1883"));
    stopped.await.unwrap();
    let broker = Broker::with(MqttConfig { redirect: redirect(true), ..config() }, Arc::default()).await;
    let (_, connack) = broker.try_connect(clean(V5, "c")).await;
    assert_eq!(connack.reason, ReasonCode::ServerMoved);
    assert_eq!(connack.properties.server_reference.as_deref(), Some("other:1883"));
}
