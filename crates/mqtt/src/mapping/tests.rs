//! Each test carries the number of the rule in `docs/mqtt-kafka-mapping.md` that it holds.

use super::*;
use crate::config::{AutoCreate, RouteConfig, RouteKey};
use crate::message::PartitionId;
use client::door::partition_for_key;
use proptest::prelude::*;

const AT: Position = Position { partition: PartitionId(0), offset: 5 };

fn routes() -> Routes {
    let route = |filter: &str, topic: &str, key| RouteConfig {
        filter: filter.to_owned(),
        topic: topic.to_owned(),
        key,
        partitions: None,
        ack: None,
        retained: false,
    };
    let list = [
        route("plant/+/press/#", "presses", RouteKey::Level(1)),
        route("raw/#", "raw-data", RouteKey::None),
        route("named/#", "names", RouteKey::Topic),
    ];
    Routes::new(&list, &AutoCreate::default()).unwrap()
}

fn publication(topic: &str, properties: &[Property<'_>]) -> Publication {
    Publication {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        payload: Bytes::from_static(b"21"),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: PropertiesBuf::from_properties(properties.iter().copied()).unwrap(),
        expiry_s: None,
        client: None,
        source: None,
    }
}

fn record(publication: &Publication) -> Record {
    record_of(publication, &routes().target(std::str::from_utf8(&publication.topic).unwrap()))
}

/// Headers as text: `name=value`, in order.
fn headers(record: &Record) -> String {
    let text = |b: &Bytes| String::from_utf8_lossy(b).into_owned();
    let one = |h: &Header| format!("{}={}", text(&h.key), h.value.as_ref().map_or("null".into(), text));
    record.headers.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn stored(key: Option<&str>, value: Option<&str>, headers: &[(&str, Option<&[u8]>)]) -> StoredRecord {
    StoredRecord {
        offset: AT.offset,
        timestamp_ms: 1_000,
        key: key.map(|k| Bytes::copy_from_slice(k.as_bytes())),
        value: value.map(|v| Bytes::copy_from_slice(v.as_bytes())),
        headers: headers
            .iter()
            .map(|(k, v)| Header {
                key: Bytes::copy_from_slice(k.as_bytes()),
                value: v.map(Bytes::copy_from_slice),
            })
            .collect(),
    }
}

fn read(kafka_topic: &str, record: StoredRecord) -> Message {
    message_of(record, kafka_topic, &routes(), AT)
}

fn written_and_read(p: &Publication) -> Message {
    let target = routes().target(std::str::from_utf8(&p.topic).unwrap());
    let r = record_of(p, &target);
    let s = StoredRecord { offset: 5, timestamp_ms: 1_000, key: r.key, value: r.value, headers: r.headers };
    read(&target.topic, s)
}

fn properties(m: &Message) -> String {
    m.publication.properties.iter().map(|p| format!("{p:?}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn rule_1_default_route() {
    for (topic, kafka) in [
        ("sensors/1/temp", "sensors"),
        ("sensors", "sensors"),
        ("a b/c", "a_b"),
        ("größe", "gr__e"),
        ("x/y", "x"),
        ("/x", "mqtt-overflow"),
        ("./x", "mqtt-overflow"),
        ("..", "mqtt-overflow"),
        ("__x/y", "mqtt-overflow"),
        (" _/y", "mqtt-overflow"),
    ] {
        assert_eq!(&*routes().target(topic).topic, kafka, "{topic}");
    }
}

#[test]
fn rule_2_explicit_routes_first_match_wins() {
    for (topic, kafka) in [("plant/7/press", "presses"), ("plant/7/oven", "plant"), ("raw/x", "raw-data")] {
        assert_eq!(&*routes().target(topic).topic, kafka, "{topic}");
    }
}

#[test]
fn rule_3_key() {
    for (topic, key) in [
        ("sensors/1/temp", Some("sensors/1/temp")),
        ("plant/7/press/force", Some("7")),
        ("raw/x", None),
        ("named/x", Some("named/x")),
    ] {
        let key = key.map(|k| Bytes::copy_from_slice(k.as_bytes()));
        assert_eq!(record(&publication(topic, &[])).key, key, "{topic}");
    }
}

#[test]
fn rule_4_partition_is_kafkas_default_for_the_key() {
    // From the hashes in Kafka's own tests of murmur2, for eight partitions.
    for (key, partition) in [("21", 4), ("foobar", 6), ("a-little-bit-long-string", 0)] {
        assert_eq!(partition_for_key(key.as_bytes(), 8), partition, "{key}");
    }
}

#[test]
fn rule_5_value_is_the_payload() {
    assert_eq!(record(&publication("a", &[])).value.as_deref(), Some(&b"21"[..]));
    let empty = Publication { payload: Bytes::new(), ..publication("a", &[]) };
    assert_eq!(record(&empty).value.as_deref(), Some(&b""[..]));
    assert_eq!(read("a", stored(None, None, &[])).publication.payload, Bytes::new());
}

#[test]
fn rule_6_qos_header() {
    for (qos, text) in [(QoS::AtMostOnce, "0"), (QoS::AtLeastOnce, "1"), (QoS::ExactlyOnce, "2")] {
        let p = Publication { qos, ..publication("a", &[]) };
        assert_eq!(headers(&record(&p)), format!("mqtt.qos={text}"));
        assert_eq!(
            read("a", stored(None, Some(""), &[("mqtt.qos", Some(text.as_bytes()))])).publication.qos,
            qos
        );
    }
    for bad in [&b"3"[..], b"", b"00"] {
        assert_eq!(
            read("a", stored(None, None, &[("mqtt.qos", Some(bad))])).publication.qos,
            QoS::AtLeastOnce
        );
    }
}

#[test]
fn rule_7_retain_header() {
    let p = Publication { retain: true, ..publication("a", &[]) };
    assert_eq!(headers(&record(&p)), "mqtt.qos=1 mqtt.retain=1");
    assert!(written_and_read(&p).publication.retain);
    assert!(!read("a", stored(None, None, &[("mqtt.retain", Some(b"0"))])).publication.retain);
}

#[test]
fn rule_8_topic_header_when_the_key_is_not_the_topic() {
    assert_eq!(headers(&record(&publication("raw/x", &[]))), "mqtt.qos=1 mqtt.topic=raw/x");
    assert_eq!(headers(&record(&publication("plant/7/press", &[]))), "mqtt.qos=1 mqtt.topic=plant/7/press");
    assert_eq!(headers(&record(&publication("named/x", &[]))), "mqtt.qos=1");
}

#[test]
fn rule_9_client_header() {
    let p = Publication { client: Some(Bytes::from_static(b"me")), ..publication("a", &[]) };
    assert_eq!(headers(&record(&p)), "mqtt.qos=1 mqtt.client=me");
    assert_eq!(written_and_read(&p).publication.client.as_deref(), Some(&b"me"[..]));
}

#[test]
fn rule_10_expiry_header() {
    let p = Publication { expiry_s: Some(90), ..publication("a", &[]) };
    assert_eq!(headers(&record(&p)), "mqtt.qos=1 mqtt.expiry=90");
    let m = written_and_read(&p);
    assert_eq!(m.life_left(1_000), Some(Some(90)));
    assert_eq!(m.life_left(31_500), Some(Some(60)));
    assert_eq!(m.life_left(90_999), Some(Some(1)));
    assert_eq!(m.life_left(91_000), None);
    for bad in ["", "-1", "4294967296", "x"] {
        let m = read("a", stored(None, None, &[("mqtt.expiry", Some(bad.as_bytes()))]));
        assert_eq!(m.publication.expiry_s, None, "{bad}");
    }
}

#[test]
fn rule_11_property_headers() {
    let list = [
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("answers/7"),
        Property::CorrelationData(b"\x00\xff"),
    ];
    let p = publication("a", &list);
    let r = record(&p);
    let names: Vec<_> = r.headers.iter().map(|h| String::from_utf8_lossy(&h.key).into_owned()).collect();
    assert_eq!(
        names,
        [
            "mqtt.qos",
            "mqtt.payload-format",
            "mqtt.content-type",
            "mqtt.response-topic",
            "mqtt.correlation-data"
        ]
    );
    let values: Vec<_> = r.headers.iter().skip(1).filter_map(|h| h.value.clone()).collect();
    assert_eq!(values, [&b"1"[..], b"text/plain", b"answers/7", b"\x00\xff"]);
    assert_eq!(written_and_read(&p).publication, p);
}

#[test]
fn rule_12_user_properties_are_headers_of_their_own_name() {
    let list = [
        Property::UserProperty("unit", "C"),
        Property::UserProperty("unit", "K"),
        Property::UserProperty("", ""),
    ];
    let p = publication("a", &list);
    assert_eq!(headers(&record(&p)), "mqtt.qos=1 unit=C unit=K =");
    assert_eq!(written_and_read(&p).publication, p);
}

#[test]
fn rule_13_user_properties_in_our_name_space_are_escaped() {
    let list = [Property::UserProperty("mqtt.qos", "9"), Property::UserProperty("mqtt.user.mqtt.x", "y")];
    let p = publication("a", &list);
    assert_eq!(headers(&record(&p)), "mqtt.qos=1 mqtt.user.mqtt.qos=9 mqtt.user.mqtt.user.mqtt.x=y");
    assert_eq!(written_and_read(&p).publication, p);
}

#[test]
fn rule_14_order_of_properties_is_kept() {
    let list = [
        Property::UserProperty("a", "1"),
        Property::ContentType("t"),
        Property::UserProperty("b", "2"),
        Property::PayloadFormatIndicator(false),
    ];
    let p = publication("x", &list);
    assert_eq!(headers(&record(&p)), "mqtt.qos=1 a=1 mqtt.content-type=t b=2 mqtt.payload-format=0");
    assert_eq!(written_and_read(&p).publication, p);
}

#[test]
fn rule_15_topic_on_the_way_back() {
    let topic = |kafka: &str, key: Option<&str>, header: Option<&str>| {
        let headers: Vec<_> = header.iter().map(|h| ("mqtt.topic", Some(h.as_bytes()))).collect();
        read(kafka, stored(key, Some("x"), &headers)).topic().to_owned()
    };
    // The header, if a message of that topic would go to this Kafka topic.
    assert_eq!(topic("raw-data", Some("k"), Some("raw/7")), "raw/7");
    assert_eq!(topic("raw-data", Some("raw/8"), Some("other/7")), "raw/8");
    // Else the key, under the same condition.
    assert_eq!(topic("sensors", Some("sensors/1"), None), "sensors/1");
    assert_eq!(topic("mqtt-overflow", Some("any/thing"), None), "any/thing");
    // Else the Kafka topic's name.
    for key in
        [None, Some("42"), Some("other/1"), Some("sensors/+"), Some(""), Some("$SYS/x"), Some("sensors/\0")]
    {
        assert_eq!(topic("sensors", key, None), "sensors", "{key:?}");
    }
    assert_eq!(topic("mqtt-overflow", Some("$SYS/x"), None), "mqtt-overflow");
}

#[test]
fn rule_16_records_of_kafka_clients() {
    let m = read("sensors", stored(Some("42"), Some("x"), &[("trace", Some(b"1"))]));
    assert_eq!(m.publication.qos, QoS::AtLeastOnce);
    assert!(!m.publication.retain);
    assert_eq!(properties(&m), r#"UserProperty("trace", "1")"#);
}

#[test]
fn rule_17_headers_that_mqtt_cannot_carry_are_left_out() {
    let long = vec![b'x'; 65_536];
    let m = read(
        "sensors",
        stored(
            None,
            Some("x"),
            &[
                ("null", None),
                ("binary", Some(b"\xff\xfe")),
                ("zero", Some(b"a\0b")),
                ("long", Some(&long)),
                ("mqtt.unknown", Some(b"1")),
                ("mqtt.user.free", Some(b"1")),
                ("mqtt.payload-format", Some(b"7")),
                ("mqtt.response-topic", Some(b"a/#")),
                ("kept", Some(b"1")),
            ],
        ),
    );
    assert_eq!(properties(&m), r#"UserProperty("kept", "1")"#);
}

#[test]
fn rule_18_of_repeated_reserved_headers_the_last_counts() {
    let m = read(
        "sensors",
        stored(
            None,
            Some("x"),
            &[
                ("mqtt.qos", Some(b"0")),
                ("mqtt.content-type", Some(b"a")),
                ("mqtt.qos", Some(b"2")),
                ("mqtt.content-type", Some(b"b")),
            ],
        ),
    );
    assert_eq!(m.publication.qos, QoS::ExactlyOnce);
    assert_eq!(properties(&m), r#"ContentType("b")"#);
}

#[test]
fn rule_19_retained_records() {
    let p = Publication {
        retain: true,
        client: Some(Bytes::from_static(b"me")),
        expiry_s: Some(9),
        ..publication("raw/x", &[Property::ContentType("t")])
    };
    let r = retained_record_of(&p);
    assert_eq!(r.key.as_deref(), Some(&b"raw/x"[..]));
    assert_eq!(r.value.as_deref(), Some(&b"21"[..]));
    assert_eq!(headers(&r), "mqtt.qos=1 mqtt.retain=1 mqtt.expiry=9 mqtt.content-type=t");
    let s = StoredRecord { offset: 5, timestamp_ms: 0, key: r.key, value: r.value, headers: r.headers };
    assert_eq!(retained_message_of(s, AT).unwrap().publication, Publication { client: None, ..p.clone() });
    let cleared = retained_record_of(&Publication { payload: Bytes::new(), ..p });
    assert_eq!(
        (cleared.key.as_deref(), cleared.value, cleared.headers.len()),
        (Some(&b"raw/x"[..]), None, 0)
    );
}

#[test]
fn rule_20_dollar_topics_are_not_routed() {
    assert!(!routes().admits("mqtt-overflow", "$SYS/broker/uptime"));
    let image = client::door::TopicImage {
        topics: vec![client::door::TopicInfo {
            name: "sensors".into(),
            partitions: 1,
            internal: false,
            caching: false,
        }],
    };
    routes().followed("$SYS/#", &image, &mut |t| panic!("{t:?}"));
    routes().followed("#", &image, &mut |t| assert_eq!(&*t.name, "sensors"));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-zA-Z0-9./ -]{0,12}",
        1 => "mqtt\\.(user\\.)?(mqtt\\.)?[a-z]{0,5}",
        1 => "[^\\x00]{0,6}",
    ]
}

proptest! {
    /// Everything that MQTT can say comes back out of the log as it went in.
    #[test]
    fn every_publication_comes_back(
        topic in "(plant/[a-z]{0,3}/press|raw|named|[a-z]{1,5}|/|größe)(/[a-z0-9 ]{0,4}){0,3}",
        payload in prop::collection::vec(any::<u8>(), 0..20),
        qos in 0u8..3,
        retain: bool,
        expiry_s in prop::option::of(any::<u32>()),
        client in prop::option::of(text()),
        users in prop::collection::vec((text(), text()), 0..5),
        content_type in prop::option::of(text()),
        format in prop::option::of(any::<bool>()),
    ) {
        let mut list: Vec<Property<'_>> = users.iter().map(|(n, v)| Property::UserProperty(n, v)).collect();
        list.extend(content_type.as_deref().map(Property::ContentType));
        list.extend(format.map(Property::PayloadFormatIndicator));
        let p = Publication {
            payload: payload.into(),
            qos: QoS::from_u8(qos).unwrap(),
            retain,
            expiry_s,
            client: client.map(Bytes::from),
            ..publication(&topic, &list)
        };
        prop_assert_eq!(written_and_read(&p).publication, p);
    }

    /// Whatever a Kafka client writes: a message comes out, and it is one that can be sent.
    #[test]
    fn any_record_becomes_a_message(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..12)),
        headers in prop::collection::vec(
            (prop_oneof![text(), Just("mqtt.qos".to_owned()), Just("mqtt.topic".to_owned())],
             prop::option::of(prop::collection::vec(any::<u8>(), 0..12))), 0..6),
    ) {
        let record = StoredRecord {
            offset: 0,
            timestamp_ms: 0,
            key: key.map(Bytes::from),
            value: None,
            headers: headers
                .into_iter()
                .map(|(k, v)| Header { key: Bytes::from(k), value: v.map(Bytes::from) })
                .collect(),
        };
        let m = read("sensors", record);
        prop_assert!(name::validate_name(m.topic()).is_ok());
        prop_assert!(routes().admits("sensors", m.topic()));
    }
}
