//! Mapping v1 between MQTT messages and Kafka records. `docs/mqtt-kafka-mapping.md` is the text; its rules are
//! numbered, and the tests below carry the numbers.

use std::sync::Arc;

use bytes::Bytes;
use client::door::{Header, Record, StoredRecord};
use mqtt_codec::{Properties, PropertiesBuf, Property, QoS, topic as name};

use crate::config::{AckLevel, RouteKey};
use crate::message::{Message, Position, Publication};
pub use crate::route::{default_topic, record_key};

use crate::route::{Routes, Target};

const QOS: &[u8] = b"mqtt.qos";
const RETAIN: &[u8] = b"mqtt.retain";
const TOPIC: &[u8] = b"mqtt.topic";
const CLIENT: &[u8] = b"mqtt.client";
const EXPIRY: &[u8] = b"mqtt.expiry";
/// Who retained a message (only in `__mqtt_retained`).
const SOURCE: &[u8] = b"mqtt.source";
const PAYLOAD_FORMAT: &[u8] = b"mqtt.payload-format";
const CONTENT_TYPE: &[u8] = b"mqtt.content-type";
const RESPONSE_TOPIC: &[u8] = b"mqtt.response-topic";
const CORRELATION_DATA: &[u8] = b"mqtt.correlation-data";
const RESERVED: &[u8] = b"mqtt.";
const ESCAPED_USER: &[u8] = b"mqtt.user.";

/// What stands in a message's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Rule 6; QoS 1 for what did not come over MQTT.
    pub qos: QoS,
    /// Rule 7.
    pub retain: bool,
    /// Rule 8, unchecked.
    pub topic: Option<Bytes>,
    /// Rule 9.
    pub client: Option<Bytes>,
    /// Rule 10, counted from the record's timestamp.
    pub expiry_s: Option<u32>,
    /// Rules 11 to 13.
    pub properties: PropertiesBuf,
}

/// The headers of a message (rules 6 to 14); `topic` and `client` where rules 8 and 9 want them.
pub fn headers_of(
    qos: QoS,
    retain: bool,
    topic: Option<&Bytes>,
    client: Option<&Bytes>,
    expiry_s: Option<u32>,
    properties: Properties<'_>,
) -> Vec<Header> {
    let mut headers = vec![header(QOS, digit(qos.as_u8()))];
    if retain {
        headers.push(header(RETAIN, Bytes::from_static(b"1")));
    }
    headers.extend(topic.map(|topic| header(TOPIC, topic.clone())));
    headers.extend(client.map(|client| header(CLIENT, client.clone())));
    headers.extend(expiry_s.map(|expiry| header(EXPIRY, Bytes::from(expiry.to_string()))));
    headers.extend(properties.iter().filter_map(header_of));
    headers
}

/// What the headers of a record say (rules 6 to 18).
pub fn described_by(headers: &[Header]) -> Described {
    let mut found = Described {
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: None,
        client: None,
        expiry_s: None,
        properties: PropertiesBuf::new(),
    };
    let mut properties = Vec::new();
    for h in headers {
        let Some(value) = &h.value else { continue };
        match &*h.key {
            QOS => found.qos = qos_of(value).unwrap_or(found.qos),
            RETAIN => found.retain = &**value == b"1",
            TOPIC => found.topic = Some(value.clone()),
            CLIENT => found.client = Some(value.clone()),
            EXPIRY => found.expiry_s = text(value).and_then(|t| t.parse().ok()).or(found.expiry_s),
            _ => {}
        }
        if let Some(property) = property_of(&h.key, value) {
            keep(&mut properties, property);
        }
    }
    found.properties = PropertiesBuf::from_properties(properties).unwrap_or_default();
    found
}

/// The record of a publication under its route.
pub(crate) fn record_of(publication: &Publication, target: &Target) -> Record {
    let key = record_key(target.key, &publication.topic);
    let topic = Some(&publication.topic).filter(|topic| key.as_ref() != Some(*topic));
    let headers = headers_of(
        publication.qos,
        publication.retain,
        topic,
        publication.client.as_ref(),
        publication.expiry_s,
        publication.properties.properties(),
    );
    Record { key, value: Some(publication.payload.clone()), headers, timestamp_ms: None }
}

/// The record that keeps a publication as the retained message of its topic (`__mqtt_retained`).
pub(crate) fn retained_record_of(publication: &Publication) -> Record {
    let key = Some(publication.topic.clone());
    if publication.payload.is_empty() {
        return Record { key, value: None, headers: Vec::new(), timestamp_ms: None };
    }
    let mut record = keyed_record_of(&Publication { client: None, ..publication.clone() });
    record.key = key;
    record.headers.extend(publication.source.as_ref().map(|s| header(SOURCE, Bytes::copy_from_slice(s))));
    record
}

/// The record of a publication whose key is the whole MQTT topic, whatever its route says.
pub(crate) fn keyed_record_of(publication: &Publication) -> Record {
    let target = Target {
        topic: "".into(),
        partitions: None,
        ack: AckLevel::default(),
        key: RouteKey::Topic,
        explicit: true,
        retained: false,
    };
    record_of(publication, &target)
}

/// The message in a record of the Kafka topic `kafka_topic`.
pub(crate) fn message_of(
    record: StoredRecord,
    kafka_topic: &str,
    routes: &Routes,
    position: Position,
) -> Message {
    let admitted = |t: &Bytes| {
        std::str::from_utf8(t).is_ok_and(|t| name::validate_name(t).is_ok() && routes.admits(kafka_topic, t))
    };
    let given = record.headers.iter().rev().find(|h| h.key == TOPIC).and_then(|h| h.value.clone());
    let topic = given
        .filter(admitted)
        .or_else(|| record.key.clone().filter(admitted))
        .or_else(|| {
            let key = std::str::from_utf8(record.key.as_ref()?).ok()?;
            routes.keyed(kafka_topic, key).map(Bytes::from)
        })
        .unwrap_or_else(|| Bytes::copy_from_slice(kafka_topic.as_bytes()));
    message_with_topic(record, topic, position)
}

/// The retained message in a record of `__mqtt_retained`: its topic is the key. `None` for a tombstone or a
/// record that is none of ours.
pub(crate) fn retained_message_of(record: StoredRecord, position: Position) -> Option<Message> {
    let topic = record.key.clone()?;
    let valid = std::str::from_utf8(&topic).is_ok_and(|t| name::validate_name(t).is_ok());
    let source =
        record.headers.iter().rev().find(|h| h.key == SOURCE).and_then(|h| h.value.as_deref().map(Arc::from));
    (valid && record.value.is_some()).then(|| {
        let mut message = message_with_topic(record, topic, position);
        message.publication.source = source;
        message
    })
}

fn message_with_topic(record: StoredRecord, topic: Bytes, position: Position) -> Message {
    let Described { qos, retain, client, expiry_s, properties, .. } = described_by(&record.headers);
    Message {
        publication: Publication {
            topic,
            payload: record.value.unwrap_or_default(),
            qos,
            retain,
            properties,
            expiry_s,
            client,
            source: None,
        },
        stored_ms: record.timestamp_ms,
        position: Some(position),
    }
}

/// Adds a property; of those that may stand only once the last one counts.
fn keep<'a>(properties: &mut Vec<Property<'a>>, property: Property<'a>) {
    if !matches!(property, Property::UserProperty(..))
        && let Some(known) = properties.iter_mut().find(|p| p.id() == property.id())
    {
        *known = property;
        return;
    }
    properties.push(property);
}

fn header(key: &'static [u8], value: Bytes) -> Header {
    Header { key: Bytes::from_static(key), value: Some(value) }
}

fn digit(n: u8) -> Bytes {
    Bytes::from_static(match n {
        0 => b"0",
        1 => b"1",
        _ => b"2",
    })
}

fn qos_of(value: &[u8]) -> Option<QoS> {
    match value {
        b"0" => Some(QoS::AtMostOnce),
        b"1" => Some(QoS::AtLeastOnce),
        b"2" => Some(QoS::ExactlyOnce),
        _ => None,
    }
}

fn header_of(property: Property<'_>) -> Option<Header> {
    let copied = |s: &[u8]| Bytes::copy_from_slice(s);
    Some(match property {
        Property::PayloadFormatIndicator(utf8) => header(PAYLOAD_FORMAT, digit(u8::from(utf8))),
        Property::ContentType(s) => header(CONTENT_TYPE, copied(s.as_bytes())),
        Property::ResponseTopic(s) => header(RESPONSE_TOPIC, copied(s.as_bytes())),
        Property::CorrelationData(b) => header(CORRELATION_DATA, copied(b)),
        Property::UserProperty(n, v) => Header { key: user_header(n), value: Some(copied(v.as_bytes())) },
        _ => return None,
    })
}

fn user_header(name: &str) -> Bytes {
    if name.as_bytes().starts_with(RESERVED) {
        [ESCAPED_USER, name.as_bytes()].concat().into()
    } else {
        Bytes::copy_from_slice(name.as_bytes())
    }
}

/// A string as MQTT allows it: UTF-8 without U+0000 and at most 65,535 bytes.
fn text(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?;
    (value.len() <= usize::from(u16::MAX) && !value.contains('\0')).then_some(value)
}

fn property_of<'a>(key: &'a [u8], value: &'a [u8]) -> Option<Property<'a>> {
    if key.starts_with(RESERVED) {
        return match key {
            PAYLOAD_FORMAT => match value {
                b"0" => Some(Property::PayloadFormatIndicator(false)),
                b"1" => Some(Property::PayloadFormatIndicator(true)),
                _ => None,
            },
            CONTENT_TYPE => Some(Property::ContentType(text(value)?)),
            RESPONSE_TOPIC => {
                let topic = text(value).filter(|t| name::validate_name(t).is_ok())?;
                Some(Property::ResponseTopic(topic))
            }
            CORRELATION_DATA => {
                (value.len() <= usize::from(u16::MAX)).then_some(Property::CorrelationData(value))
            }
            _ => {
                let name = text(key.strip_prefix(ESCAPED_USER)?)?;
                name.as_bytes().starts_with(RESERVED).then_some(())?;
                Some(Property::UserProperty(name, text(value)?))
            }
        };
    }
    Some(Property::UserProperty(text(key)?, text(value)?))
}

#[cfg(test)]
mod tests;
