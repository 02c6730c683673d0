//! Random packets survive the round trip, random bytes do no harm, and the pieces in which bytes arrive do not matter.

use bytes::{Bytes, BytesMut};
use mqtt_codec::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::decode;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z]{0,8}", 1 => "[^\\x00]{0,40}", 1 => Just("x".repeat(300))]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z$][a-z/]{0,12}", 1 => "[^\\x00+#]{1,30}"]
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof!["[a-z]{0,4}", Just("+".to_owned())];
    let plain = (vec(level, 1..4), any::<bool>()).prop_map(|(levels, hash)| {
        let mut filter = levels.join("/");
        if hash {
            filter.push_str("/#");
        }
        if filter.is_empty() { "#".to_owned() } else { filter }
    });
    (plain, option::weighted(0.2, "[a-z]{1,4}")).prop_map(|(plain, group)| match group {
        Some(group) => format!("$share/{group}/{plain}"),
        None => plain,
    })
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..50).prop_map(Bytes::from)
}

fn users() -> impl Strategy<Value = Vec<UserProperty>> {
    vec((text(), text()).prop_map(|(n, v)| UserProperty::new(n, v)), 0..3)
}

fn qos() -> impl Strategy<Value = QoS> {
    (0u8..3).prop_map(|n| QoS::from_u8(n).expect("0 to 2"))
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1u16..).prop_map(|n| PacketId::new(n).expect("not 0"))
}

fn reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let codes: Vec<_> = ReasonCode::ALL.iter().copied().filter(|c| c.allowed_in(packet)).collect();
    proptest::sample::select(codes)
}

fn will() -> impl Strategy<Value = Will> {
    let properties = (
        option::of(any::<u32>()),
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(text()),
        option::of(name()),
        option::of(binary()),
        users(),
    )
        .prop_map(|p| WillProperties {
            delay_interval: p.0,
            payload_format_indicator: p.1,
            message_expiry_interval: p.2,
            content_type: p.3,
            response_topic: p.4,
            correlation_data: p.5,
            user_properties: p.6,
        });
    (name(), binary(), qos(), any::<bool>(), properties).prop_map(
        |(topic, payload, qos, retain, properties)| Will { topic, payload, qos, retain, properties },
    )
}

fn connect() -> impl Strategy<Value = Packet> {
    let auth = option::of((text(), option::of(binary())));
    let properties = (
        option::of(any::<u32>()),
        option::of(1u16..),
        option::of(1u32..),
        option::of(any::<u16>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        users(),
        auth,
    )
        .prop_map(|p| ConnectProperties {
            session_expiry_interval: p.0,
            receive_maximum: p.1,
            maximum_packet_size: p.2,
            topic_alias_maximum: p.3,
            request_response_information: p.4,
            request_problem_information: p.5,
            user_properties: p.6,
            authentication_data: p.7.as_ref().and_then(|a| a.1.clone()),
            authentication_method: p.7.map(|a| a.0),
        });
    let head =
        (any::<bool>(), any::<u16>(), text(), option::of(will()), option::of(text()), option::of(binary()));
    (head, properties).prop_map(
        |((clean_start, keep_alive, client_id, will, user_name, password), properties)| {
            Packet::Connect(Box::new(Connect {
                version: ProtocolVersion::V5,
                bridge: false,
                clean_start,
                keep_alive,
                client_id,
                will,
                user_name,
                password: password.map(Password),
                properties,
            }))
        },
    )
}

fn connack() -> impl Strategy<Value = Packet> {
    let a = (
        option::of(any::<u32>()),
        option::of(1u16..),
        option::of(prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce)]),
        option::of(any::<bool>()),
        option::of(1u32..),
        option::of(text()),
        option::of(any::<u16>()),
        option::of(text()),
        users(),
    );
    let b = (
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<u16>()),
        option::of(text()),
        option::of(text()),
        option::of((text(), option::of(binary()))),
    );
    (any::<bool>(), reason(PacketType::ConnAck), a, b).prop_map(|(session, reason, a, b)| {
        Packet::ConnAck(Box::new(ConnAck {
            session_present: session && reason == ReasonCode::Success,
            reason,
            properties: ConnAckProperties {
                session_expiry_interval: a.0,
                receive_maximum: a.1,
                maximum_qos: a.2,
                retain_available: a.3,
                maximum_packet_size: a.4,
                assigned_client_identifier: a.5,
                topic_alias_maximum: a.6,
                reason_string: a.7,
                user_properties: a.8,
                wildcard_subscription_available: b.0,
                subscription_identifier_available: b.1,
                shared_subscription_available: b.2,
                server_keep_alive: b.3,
                response_information: b.4,
                server_reference: b.5,
                authentication_data: b.6.as_ref().and_then(|a| a.1.clone()),
                authentication_method: b.6.map(|a| a.0),
            },
        }))
    })
}

fn publish() -> impl Strategy<Value = Packet> {
    let properties = (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(text()),
        option::of(name()),
        option::of(binary()),
        option::of(1u16..),
        users(),
    );
    let head = (any::<bool>(), qos(), any::<bool>(), option::weighted(0.9, name()), packet_id());
    (head, properties, vec(any::<u8>(), 0..300)).prop_map(|((dup, qos, retain, topic, id), p, payload)| {
        let mut list = Vec::new();
        list.extend(p.0.map(Property::PayloadFormatIndicator));
        list.extend(p.1.map(Property::MessageExpiryInterval));
        list.extend(p.2.as_deref().map(Property::ContentType));
        list.extend(p.3.as_deref().map(Property::ResponseTopic));
        list.extend(p.4.as_deref().map(Property::CorrelationData));
        list.extend(p.6.iter().map(|u| Property::UserProperty(&u.name, &u.value)));
        let alias = p.5.or(if topic.is_none() { Some(1) } else { None });
        list.extend(alias.map(Property::TopicAlias));
        Packet::Publish(Publish {
            dup: dup && qos != QoS::AtMostOnce,
            qos,
            retain,
            topic: topic.unwrap_or_default().into(),
            packet_id: Some(id).filter(|_| qos != QoS::AtMostOnce),
            properties: PropertiesBuf::from_properties(list).expect("valid"),
            payload: payload.into(),
        })
    })
}

fn ack_properties() -> impl Strategy<Value = AckProperties> {
    (option::of(text()), users())
        .prop_map(|(reason_string, user_properties)| AckProperties { reason_string, user_properties })
}

fn ack(packet: PacketType, wrap: fn(Ack) -> Packet) -> impl Strategy<Value = Packet> {
    (packet_id(), reason(packet), ack_properties())
        .prop_map(move |(packet_id, reason, properties)| wrap(Ack { packet_id, reason, properties }))
}

fn subscribe() -> impl Strategy<Value = Packet> {
    let handling = prop_oneof![
        Just(RetainHandling::Send),
        Just(RetainHandling::SendIfNew),
        Just(RetainHandling::DoNotSend)
    ];
    let one = (filter(), qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        |(filter, qos, local, rap, rh)| Subscription {
            no_local: local && !topic::is_shared(&filter),
            filter,
            qos,
            retain_as_published: rap,
            retain_handling: rh,
        },
    );
    (packet_id(), option::of(1..=VARINT_MAX), users(), vec(one, 1..4)).prop_map(
        |(packet_id, subscription_identifier, user_properties, subscriptions)| {
            let properties = SubscribeProperties { subscription_identifier, user_properties };
            Packet::Subscribe(Subscribe { packet_id, properties, subscriptions })
        },
    )
}

fn rest() -> impl Strategy<Value = Packet> {
    let suback = (packet_id(), ack_properties(), vec(reason(PacketType::SubAck), 1..5)).prop_map(
        |(packet_id, properties, reasons)| Packet::SubAck(SubAck { packet_id, properties, reasons }),
    );
    let unsuback = (packet_id(), ack_properties(), vec(reason(PacketType::UnsubAck), 1..5)).prop_map(
        |(packet_id, properties, reasons)| Packet::UnsubAck(UnsubAck { packet_id, properties, reasons }),
    );
    let unsubscribe =
        (packet_id(), users(), vec(filter(), 1..4)).prop_map(|(packet_id, user_properties, filters)| {
            let properties = UnsubscribeProperties { user_properties };
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
        });
    let disconnect = (reason(PacketType::Disconnect), option::of(text()), users(), option::of(text()))
        .prop_map(|(reason, reason_string, user_properties, server_reference)| {
            let properties = DisconnectProperties {
                session_expiry_interval: None,
                reason_string,
                user_properties,
                server_reference,
            };
            Packet::Disconnect(Disconnect { reason, properties })
        });
    let auth =
        (text(), option::of(binary()), option::of(text()), users()).prop_map(|(m, d, r, user_properties)| {
            Packet::Auth(Auth {
                reason: ReasonCode::ContinueAuthentication,
                properties: AuthProperties {
                    authentication_method: Some(m),
                    authentication_data: d,
                    reason_string: r,
                    user_properties,
                },
            })
        });
    prop_oneof![
        suback,
        unsuback,
        unsubscribe,
        disconnect,
        auth,
        Just(Packet::PingReq),
        Just(Packet::PingResp)
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        2 => connect(),
        2 => connack(),
        3 => publish(),
        1 => ack(PacketType::PubAck, Packet::PubAck),
        1 => ack(PacketType::PubRec, Packet::PubRec),
        1 => ack(PacketType::PubRel, Packet::PubRel),
        1 => ack(PacketType::PubComp, Packet::PubComp),
        2 => subscribe(),
        4 => rest(),
    ]
}

/// Who may send the packet as generated here.
fn sender(packet: &Packet) -> Side {
    match packet {
        Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => Side::Server,
        _ => Side::Client,
    }
}

/// What is left of a packet in MQTT 3.
fn as_v3(packet: &Packet, version: ProtocolVersion) -> Option<Packet> {
    let mut packet = packet.clone();
    match &mut packet {
        Packet::Connect(p) => {
            p.version = version;
            p.properties = ConnectProperties::default();
            if let Some(will) = &mut p.will {
                will.properties = WillProperties::default();
            }
            if p.user_name.is_none() {
                p.password = None;
            }
        }
        Packet::ConnAck(p) => {
            p.properties = ConnAckProperties::default();
            p.session_present &= version == ProtocolVersion::V311;
            p.reason = ReasonCode::from_v3_connack(p.reason.to_v3_connack())?;
        }
        Packet::Publish(p) => {
            if p.topic.is_empty() {
                return None;
            }
            p.properties = PropertiesBuf::new();
        }
        Packet::PubAck(p) | Packet::PubRec(p) | Packet::PubRel(p) | Packet::PubComp(p) => {
            *p = Ack::new(p.packet_id);
        }
        Packet::Subscribe(p) => {
            p.properties = SubscribeProperties::default();
            for s in &mut p.subscriptions {
                *s = Subscription::new(s.filter.clone(), s.qos);
            }
        }
        Packet::SubAck(p) => {
            p.properties = AckProperties::default();
            for reason in p.reasons.iter_mut().filter(|r| r.is_error()) {
                *reason = ReasonCode::UnspecifiedError;
            }
        }
        Packet::Unsubscribe(p) => p.properties = UnsubscribeProperties::default(),
        Packet::UnsubAck(p) => *p = UnsubAck::new(p.packet_id, vec![]),
        Packet::Disconnect(p) => *p = Disconnect::default(),
        Packet::Auth(_) => return None,
        Packet::PingReq | Packet::PingResp => {}
    }
    Some(packet)
}

fn decoder(first: &Packet, version: ProtocolVersion) -> Decoder {
    match first {
        Packet::Connect(_) => Decoder::for_server(PACKET_SIZE_MAX),
        _ => Decoder::unlimited(sender(first), version),
    }
}

/// Everything a decoder makes of `wire` when it comes in pieces of `step` bytes.
fn feed(mut decoder: Decoder, wire: &[u8], step: usize) -> (Vec<Packet>, Option<DecodeError>) {
    let mut buf = BytesMut::new();
    let mut packets = Vec::new();
    for piece in wire.chunks(step) {
        buf.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(e) => return (packets, Some(e)),
            }
        }
    }
    (packets, None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_of_5_comes_back(packet in packet()) {
        let wire = packet.to_vec(ProtocolVersion::V5).expect("encodes");
        prop_assert_eq!(decode(ProtocolVersion::V5, sender(&packet), &wire), Ok(Some(packet)));
    }

    #[test]
    fn a_packet_of_3_comes_back_without_what_3_lacks(packet in packet(), old in any::<bool>()) {
        let version = if old { ProtocolVersion::V31 } else { ProtocolVersion::V311 };
        if let Some(expected) = as_v3(&packet, version) {
            // CONNECT is written in its own version; all others are cut down by the encoder.
            let source = if matches!(packet, Packet::Connect(_)) { &expected } else { &packet };
            let wire = source.to_vec(version).expect("encodes");
            prop_assert_eq!(decode(version, sender(&packet), &wire), Ok(Some(expected)));
        }
    }

    #[test]
    fn bytes_may_come_in_any_pieces(first in packet(), pings in 0usize..3, step in 1usize..7) {
        let mut wire = first.to_vec(ProtocolVersion::V5).expect("encodes");
        let ping = if sender(&first) == Side::Client { Packet::PingReq } else { Packet::PingResp };
        for _ in 0..pings {
            ping.encode(ProtocolVersion::V5, &mut wire).expect("encodes");
        }
        let whole = feed(decoder(&first, ProtocolVersion::V5), &wire, wire.len());
        prop_assert_eq!(whole.0.len(), 1 + pings);
        prop_assert_eq!(feed(decoder(&first, ProtocolVersion::V5), &wire, step), whole);
    }

    #[test]
    fn damaged_bytes_do_no_harm_in_any_pieces(
        first in packet(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        version in prop_oneof![Just(ProtocolVersion::V31), Just(ProtocolVersion::V311), Just(ProtocolVersion::V5)],
    ) {
        let mut wire = first.to_vec(ProtocolVersion::V5).expect("encodes");
        let at = at.index(wire.len());
        wire[at] = byte;
        wire.truncate(cut.index(wire.len()) + 1);
        let whole = feed(decoder(&first, version), &wire, wire.len());
        prop_assert_eq!(feed(decoder(&first, version), &wire, 1), whole);
    }

    #[test]
    fn what_is_decoded_can_be_encoded_and_decoded_again(wire in vec(any::<u8>(), 0..64), fix in any::<bool>()) {
        let mut wire = wire;
        if fix && wire.len() > 1 {
            // A remaining length that fits lets random bytes reach the field decoders.
            wire[1] = (wire.len() - 2) as u8;
        }
        for from in [Side::Client, Side::Server] {
            for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
                let (packets, _) = feed(Decoder::unlimited(from, version), &wire, wire.len().max(1));
                for packet in packets {
                    // DUP at QoS 0, which only MQTT 3.1 lets pass, is not written.
                    if let Ok(again) = packet.to_vec(version) {
                        prop_assert_eq!(decode(version, from, &again), Ok(Some(packet)));
                    } else {
                        prop_assert!(version == ProtocolVersion::V31, "{:?}", packet);
                    }
                }
            }
        }
    }

    #[test]
    fn borrowed_and_shared_publish_agree(publish in publish()) {
        let wire = Bytes::from(publish.to_vec(ProtocolVersion::V5).expect("encodes"));
        let decoder = Decoder::unlimited(Side::Client, ProtocolVersion::V5);
        let Ok(Framing::Whole(header)) = decoder.peek(&wire) else { panic!("whole") };
        let borrowed = decoder.decode_publish(&wire, header).expect("decodes");
        prop_assert_eq!(Packet::Publish(borrowed.to_publish(&wire)), publish);
    }

    #[test]
    fn matching_agrees_with_a_plain_rule(filter in "[ab+#/$]{1,6}", name in "[ab/$]{1,6}") {
        // The rule as the specification words it, on lists of levels.
        fn rule(filter: &[&str], name: &[&str]) -> bool {
            match (filter.split_first(), name.split_first()) {
                (Some((&"#", _)), _) => true,
                (Some((f, fs)), Some((n, ns))) => (*f == "+" || f == n) && rule(fs, ns),
                (None, None) => true,
                _ => false,
            }
        }
        if topic::validate_filter(&filter).is_ok() && !topic::is_shared(&filter) {
            let f: Vec<_> = filter.split('/').collect();
            let n: Vec<_> = name.split('/').collect();
            let hidden = name.starts_with('$') && (f[0] == "+" || f[0] == "#");
            prop_assert_eq!(topic::matches(&filter, &name), !hidden && rule(&f, &n));
        }
    }
}
