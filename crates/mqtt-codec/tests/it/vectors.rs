//! Every packet in every version as literal bytes: decoding gives the struct, encoding gives the bytes.

use bytes::Bytes;
use mqtt_codec::ProtocolVersion::{V5, V31, V311};
use mqtt_codec::Side::{Client, Server};
use mqtt_codec::*;

use crate::{bytes, decode, hex};

fn check(version: ProtocolVersion, from: Side, wire: &str, packet: Packet) {
    let wire = bytes(wire);
    assert_eq!(decode(version, from, &wire), Ok(Some(packet.clone())), "decoding {}", hex(&wire));
    let encoded = packet.to_vec(version).unwrap_or_else(|e| panic!("{packet:?}: {e}"));
    assert_eq!(hex(&encoded), hex(&wire), "encoding {packet:?}");
}

/// Bytes that are legal but not how we would write them.
fn check_decodes(version: ProtocolVersion, from: Side, wire: &str, packet: Packet) {
    let wire = bytes(wire);
    assert_eq!(decode(version, from, &wire), Ok(Some(packet)), "decoding {}", hex(&wire));
}

fn id(n: u16) -> PacketId {
    PacketId::new(n).expect("not 0")
}

fn connect(connect: Connect) -> Packet {
    Packet::Connect(Box::new(connect))
}

fn user(name: &str, value: &str) -> UserProperty {
    UserProperty::new(name, value)
}

#[test]
fn connect_3_1() {
    let plain = Connect { keep_alive: 60, ..Connect::new(V31, "me") };
    check(V31, Client, "10 10 0006 'MQIsdp' 03 02 003c 0002 'me'", connect(plain.clone()));
    let full = Connect {
        will: Some(Will {
            topic: "w".into(),
            payload: Bytes::from_static(b"gone"),
            qos: QoS::AtLeastOnce,
            retain: true,
            ..Will::default()
        }),
        user_name: Some("u".into()),
        password: Some("p".into()),
        clean_start: false,
        ..plain.clone()
    };
    let wire = "10 1f 0006 'MQIsdp' 03 ec 003c 0002 'me' 0001 'w' 0004 'gone' 0001 'u' 0001 'p'";
    check(V31, Client, wire, connect(full.clone()));
    let bridge = Connect { bridge: true, ..plain.clone() };
    check(V31, Client, "10 10 0006 'MQIsdp' 83 02 003c 0002 'me'", connect(bridge));
    // The flags promise a user name and a password; the remaining length takes precedence.
    check_decodes(V31, Client, "10 10 0006 'MQIsdp' 03 c2 003c 0002 'me'", connect(plain.clone()));
    let named = Connect { user_name: Some("u".into()), ..plain };
    check_decodes(V31, Client, "10 13 0006 'MQIsdp' 03 c2 003c 0002 'me' 0001 'u'", connect(named));
}

#[test]
fn connect_3_1_1() {
    let plain = Connect { keep_alive: 10, ..Connect::new(V311, "") };
    check(V311, Client, "10 0c 0004 'MQTT' 04 02 000a 0000", connect(plain.clone()));
    let bridge = Connect { bridge: true, ..plain.clone() };
    check(V311, Client, "10 0c 0004 'MQTT' 84 02 000a 0000", connect(bridge));
    let will = Will { topic: "a/b".into(), qos: QoS::ExactlyOnce, ..Will::default() };
    let full = Connect {
        will: Some(will),
        user_name: Some("user".into()),
        password: Some(Password(Bytes::from_static(b"\x00\xff"))),
        ..plain
    };
    let wire = "10 1d 0004 'MQTT' 04 d6 000a 0000 0003 'a/b' 0000 0004 'user' 0002 00 ff";
    check(V311, Client, wire, connect(full));
}

#[test]
fn connect_5() {
    let plain = Connect::new(V5, "c");
    check(V5, Client, "10 0e 0004 'MQTT' 05 02 0000 00 0001 'c'", connect(plain.clone()));
    let password_only = Connect { password: Some("s".into()), ..plain.clone() };
    check(V5, Client, "10 11 0004 'MQTT' 05 42 0000 00 0001 'c' 0001 's'", connect(password_only));
    let full = Connect {
        clean_start: false,
        keep_alive: 65535,
        properties: ConnectProperties {
            session_expiry_interval: Some(u32::MAX),
            receive_maximum: Some(10),
            maximum_packet_size: Some(65536),
            topic_alias_maximum: Some(5),
            request_response_information: Some(true),
            request_problem_information: Some(false),
            user_properties: vec![user("k", "v"), user("k", "")],
            authentication_method: Some("m".into()),
            authentication_data: Some(Bytes::from_static(&[0, 1])),
        },
        will: Some(Will {
            topic: "w".into(),
            payload: Bytes::from_static(b"x"),
            qos: QoS::AtMostOnce,
            retain: true,
            properties: WillProperties {
                delay_interval: Some(30),
                payload_format_indicator: Some(true),
                message_expiry_interval: Some(0),
                content_type: Some("t".into()),
                response_topic: Some("r".into()),
                correlation_data: Some(Bytes::from_static(&[7])),
                user_properties: vec![user("", "")],
            },
        }),
        user_name: Some("u".into()),
        ..plain
    };
    let wire = "10 5f 0004 'MQTT' 05 a4 ffff
        2a 11 ffffffff 21 000a 27 00010000 22 0005 19 01 17 00 15 0001 'm' 16 0002 0001
           26 0001 'k' 0001 'v' 26 0001 'k' 0000
        0001 'c'
        1d 18 0000001e 01 01 02 00000000 03 0001 't' 08 0001 'r' 09 0001 07 26 0000 0000
        0001 'w' 0001 'x' 0001 'u'";
    check(V5, Client, wire, connect(full));
}

fn connack(packet: ConnAck) -> Packet {
    Packet::ConnAck(Box::new(packet))
}

#[test]
fn connack_3() {
    let session = ConnAck { session_present: true, ..ConnAck::default() };
    check(V311, Server, "20 02 00 00", connack(ConnAck::default()));
    check(V311, Server, "20 02 01 00", connack(session.clone()));
    check(V31, Server, "20 02 00 00", connack(ConnAck::default()));
    // The first byte is reserved in MQTT 3.1 and tells nothing.
    check_decodes(V31, Server, "20 02 ff 00", connack(ConnAck::default()));
    assert_eq!(connack(session).to_vec(V31).expect("valid"), bytes("20 02 00 00"));
    let codes = [
        (1, ReasonCode::UnsupportedProtocolVersion),
        (2, ReasonCode::ClientIdentifierNotValid),
        (3, ReasonCode::ServerUnavailable),
        (4, ReasonCode::BadUserNameOrPassword),
        (5, ReasonCode::NotAuthorized),
    ];
    for (code, reason) in codes {
        for version in [V31, V311] {
            check(version, Server, &format!("20 02 00 {code:02x}"), connack(ConnAck::new(reason)));
        }
    }
    for (reason, code) in [
        (ReasonCode::Banned, 5),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::QuotaExceeded, 3),
        (ReasonCode::BadAuthenticationMethod, 5),
        (ReasonCode::ProtocolError, 3),
    ] {
        let wire = connack(ConnAck::new(reason)).to_vec(V311).expect("valid");
        assert_eq!(wire, bytes(&format!("20 02 00 {code:02x}")), "{reason:?}");
    }
}

#[test]
fn connack_5() {
    check(V5, Server, "20 03 00 00 00", connack(ConnAck::default()));
    check(V5, Server, "20 03 00 87 00", connack(ConnAck::new(ReasonCode::NotAuthorized)));
    // A server of MQTT 3 refuses the version in its own words.
    let refused = ConnAck::new(ReasonCode::UnsupportedProtocolVersion);
    check_decodes(V5, Server, "20 02 00 01", connack(refused));
    let properties = ConnAckProperties {
        session_expiry_interval: Some(60),
        receive_maximum: Some(1),
        maximum_qos: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: Some(1),
        assigned_client_identifier: Some("a".into()),
        topic_alias_maximum: Some(0),
        reason_string: Some("r".into()),
        user_properties: vec![user("n", "v")],
        wildcard_subscription_available: Some(true),
        subscription_identifier_available: Some(false),
        shared_subscription_available: Some(true),
        server_keep_alive: Some(30),
        response_information: Some("i".into()),
        server_reference: Some("s".into()),
        authentication_method: Some("m".into()),
        authentication_data: Some(Bytes::new()),
    };
    let wire = "20 3e 01 00 3b
        22 0000 13 001e 12 0001 'a' 15 0001 'm' 16 0000 25 00 27 00000001 21 0001 24 01 11 0000003c 1f 0001 'r'
        28 01 29 00 2a 01 1a 0001 'i' 1c 0001 's' 26 0001 'n' 0001 'v'";
    check(
        V5,
        Server,
        wire,
        connack(ConnAck { session_present: true, reason: ReasonCode::Success, properties }),
    );
}

#[test]
fn publish_3() {
    for version in [V31, V311] {
        let plain = Publish { topic: "a/b".into(), payload: Bytes::from_static(b"hi"), ..Publish::default() };
        check(version, Client, "30 07 0003 'a/b' 'hi'", Packet::Publish(plain.clone()));
        check(
            version,
            Server,
            "31 07 0003 'a/b' 'hi'",
            Packet::Publish(Publish { retain: true, ..plain.clone() }),
        );
        let empty = Publish { payload: Bytes::new(), ..plain.clone() };
        check(version, Client, "30 05 0003 'a/b'", Packet::Publish(empty));
        let once = Publish { qos: QoS::AtLeastOnce, packet_id: Some(id(10)), ..plain.clone() };
        check(version, Client, "32 09 0003 'a/b' 000a 'hi'", Packet::Publish(once.clone()));
        check(version, Client, "3a 09 0003 'a/b' 000a 'hi'", Packet::Publish(Publish { dup: true, ..once }));
        let exactly = Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(65535)), retain: true, ..plain };
        check(version, Client, "35 09 0003 'a/b' ffff 'hi'", Packet::Publish(exactly));
    }
}

#[test]
fn publish_5() {
    let plain = Publish { topic: "t".into(), payload: Bytes::from_static(b"hi"), ..Publish::default() };
    check(V5, Client, "30 06 0001 't' 00 'hi'", Packet::Publish(plain.clone()));
    let properties = PropertiesBuf::from_properties([
        Property::PayloadFormatIndicator(true),
        Property::MessageExpiryInterval(0),
        Property::ContentType("c"),
        Property::ResponseTopic("r/s"),
        Property::CorrelationData(&[1, 2]),
        Property::UserProperty("k", "v"),
    ]);
    let full = Publish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: true,
        packet_id: Some(id(1)),
        properties: properties.expect("valid"),
        ..plain
    };
    let wire = "3d 25 0001 't' 0001
        1d 01 01 02 00000000 03 0001 'c' 08 0003 'r/s' 09 0002 0102 26 0001 'k' 0001 'v' 'hi'";
    check(V5, Client, wire, Packet::Publish(full));

    let alias = PropertiesBuf::from_properties([Property::TopicAlias(3)]).expect("valid");
    let aliased = Publish { properties: alias, payload: Bytes::from_static(b"hi"), ..Publish::default() };
    check(V5, Client, "30 08 0000 03 23 0003 'hi'", Packet::Publish(aliased));

    let ids = [Property::SubscriptionIdentifier(1), Property::SubscriptionIdentifier(268_435_455)];
    let ids = PropertiesBuf::from_properties(ids).expect("valid");
    let delivered = Publish { topic: "t".into(), properties: ids, ..Publish::default() };
    check(V5, Server, "30 0b 0001 't' 07 0b 01 0b ffffff7f", Packet::Publish(delivered));
}

#[test]
fn a_head_and_a_shared_payload_make_the_same_packet() {
    let shared = PropertiesBuf::from_properties([Property::ContentType("c")]).expect("valid");
    let extra = [Property::SubscriptionIdentifier(7), Property::MessageExpiryInterval(9)];
    let head = PublishHead {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "t",
        packet_id: Some(id(2)),
        properties: shared.properties(),
        extra: &extra,
    };
    let mut wire = Vec::new();
    head.encode(V5, 300, &mut wire).expect("valid");
    assert_eq!(hex(&wire), hex(&bytes("32 bd02 0001 't' 0002 0b 03 0001 'c' 0b 07 02 00000009")));
    assert_eq!(head.packet_len(V5, 300), Ok(wire.len() + 300));
    wire.clear();
    head.encode(V311, 3, &mut wire).expect("valid");
    assert_eq!(hex(&wire), hex(&bytes("32 08 0001 't' 0002")));
    assert_eq!(head.packet_len(V311, 3), Ok(wire.len() + 3));
}

#[test]
fn acknowledgements() {
    type Wrap = fn(Ack) -> Packet;
    let kinds: [(&str, Wrap, ReasonCode); 4] = [
        ("40", Packet::PubAck, ReasonCode::NoMatchingSubscribers),
        ("50", Packet::PubRec, ReasonCode::QuotaExceeded),
        ("62", Packet::PubRel, ReasonCode::PacketIdentifierNotFound),
        ("70", Packet::PubComp, ReasonCode::PacketIdentifierNotFound),
    ];
    for (first, wrap, reason) in kinds {
        let code = format!("{:02x}", reason.as_u8());
        for from in [Client, Server] {
            for version in [V31, V311, V5] {
                check(version, from, &format!("{first} 02 0005"), wrap(Ack::new(id(5))));
            }
            check(V5, from, &format!("{first} 03 0005 {code}"), wrap(Ack::with_reason(id(5), reason)));
            check_decodes(V5, from, &format!("{first} 03 0005 00"), wrap(Ack::new(id(5))));
            check_decodes(V5, from, &format!("{first} 04 0005 00 00"), wrap(Ack::new(id(5))));
            let properties =
                AckProperties { reason_string: Some("no".into()), user_properties: vec![user("a", "b")] };
            let wire = format!("{first} 10 0005 {code} 0c 1f 0002 'no' 26 0001 'a' 0001 'b'");
            check(V5, from, &wire, wrap(Ack { packet_id: id(5), reason, properties }));
        }
    }
}

#[test]
fn subscribe_and_suback() {
    let two = vec![Subscription::new("a/+", QoS::AtMostOnce), Subscription::new("#", QoS::ExactlyOnce)];
    for version in [V31, V311] {
        let wire = "82 0c 0001 0003 'a/+' 00 0001 '#' 02";
        check(version, Client, wire, Packet::Subscribe(Subscribe::new(id(1), two.clone())));
    }
    // DUP marks a SUBSCRIBE sent again in MQTT 3.1.
    check_decodes(
        V31,
        Client,
        "8a 06 0001 0001 'a' 01",
        Packet::Subscribe(Subscribe::new(id(1), vec![Subscription::new("a", QoS::AtLeastOnce)])),
    );
    let options = Subscription {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
        ..Subscription::new("t", QoS::AtLeastOnce)
    };
    let shared = Subscription {
        retain_handling: RetainHandling::SendIfNew,
        ..Subscription::new("$share/g/t/#", QoS::AtMostOnce)
    };
    let packet = Subscribe {
        packet_id: id(2),
        properties: SubscribeProperties {
            subscription_identifier: Some(128),
            user_properties: vec![user("a", "b")],
        },
        subscriptions: vec![options, shared],
    };
    let wire = "82 20 0002 0a 0b 8001 26 0001 'a' 0001 'b' 0001 't' 2d 000c '$share/g/t/#' 10";
    check(V5, Client, wire, Packet::Subscribe(packet));

    use ReasonCode as R;
    let granted = vec![R::Success, R::GrantedQos1, R::GrantedQos2, R::UnspecifiedError];
    for version in [V31, V311] {
        check(version, Server, "90 06 0001 00 01 02 80", Packet::SubAck(SubAck::new(id(1), granted.clone())));
        let other = Packet::SubAck(SubAck::new(id(1), vec![R::NotAuthorized]));
        assert_eq!(other.to_vec(version).expect("valid"), bytes("90 03 0001 80"));
    }
    let properties = AckProperties { reason_string: Some("r".into()), user_properties: vec![] };
    let packet =
        SubAck { packet_id: id(1), properties, reasons: vec![R::NotAuthorized, R::TopicFilterInvalid] };
    check(V5, Server, "90 09 0001 04 1f 0001 'r' 87 8f", Packet::SubAck(packet));
}

#[test]
fn unsubscribe_and_unsuback() {
    let filters = vec!["a/+".to_owned(), "#".to_owned()];
    for version in [V31, V311] {
        check(
            version,
            Client,
            "a2 0a 0001 0003 'a/+' 0001 '#'",
            Packet::Unsubscribe(Unsubscribe::new(id(1), filters.clone())),
        );
        check(version, Server, "b0 02 0001", Packet::UnsubAck(UnsubAck::new(id(1), vec![])));
    }
    let properties = UnsubscribeProperties { user_properties: vec![user("a", "b")] };
    let packet = Unsubscribe { packet_id: id(1), properties, filters };
    check(V5, Client, "a2 12 0001 07 26 0001 'a' 0001 'b' 0003 'a/+' 0001 '#'", Packet::Unsubscribe(packet));
    let reasons = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
    check(V5, Server, "b0 05 0001 00 00 11", Packet::UnsubAck(UnsubAck::new(id(1), reasons)));
}

#[test]
fn ping_disconnect_auth() {
    for version in [V31, V311, V5] {
        check(version, Client, "c0 00", Packet::PingReq);
        check(version, Server, "d0 00", Packet::PingResp);
        check(version, Client, "e0 00", Packet::Disconnect(Disconnect::default()));
    }
    check(V5, Server, "e0 01 8e", Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver)));
    check(V5, Client, "e0 01 04", Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill)));
    check_decodes(V5, Client, "e0 02 00 00", Packet::Disconnect(Disconnect::default()));
    let expiry = DisconnectProperties { session_expiry_interval: Some(1), ..DisconnectProperties::default() };
    let packet = Disconnect { reason: ReasonCode::Success, properties: expiry };
    check(V5, Client, "e0 07 00 05 11 00000001", Packet::Disconnect(packet));
    let moved = DisconnectProperties {
        reason_string: Some("r".into()),
        server_reference: Some("s".into()),
        user_properties: vec![user("a", "b")],
        session_expiry_interval: None,
    };
    let packet = Disconnect { reason: ReasonCode::ServerMoved, properties: moved };
    check(V5, Server, "e0 11 9d 0f 1f 0001 'r' 1c 0001 's' 26 0001 'a' 0001 'b'", Packet::Disconnect(packet));

    let auth = Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties: AuthProperties {
            authentication_method: Some("m".into()),
            authentication_data: Some(Bytes::from_static(&[1])),
            reason_string: Some("r".into()),
            user_properties: vec![user("a", "b")],
        },
    };
    let wire = "f0 15 18 13 15 0001 'm' 16 0001 01 1f 0001 'r' 26 0001 'a' 0001 'b'";
    check(V5, Client, wire, Packet::Auth(auth));
    check(V5, Server, "f0 00", Packet::Auth(Auth::default()));
    assert!(Packet::Auth(Auth::default()).to_vec(V311).is_err());
}
