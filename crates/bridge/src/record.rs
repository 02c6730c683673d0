//! Messages and records, by the rules of `docs/mqtt-kafka-mapping.md`.

use std::sync::Arc;

use bytes::Bytes;
use client::door::{Header, partition_for_key};
use client::{ConsumerRecord, ProducerRecord};
use mqtt::RouteKey;
use mqtt::mapping::{default_topic, described_by, headers_of, record_key};
use mqtt_codec::{PropertiesBuf, Property, Publish, QoS, topic as name};

use crate::config::{ToKafkaRoute, ToMqttRoute};

/// Names, in a record, the bridge that wrote it, and in a message the bridge that published it: neither goes back.
pub(crate) const MARK: &str = "tributary.bridge";

/// Where messages go whose topic's first level is no name for a Kafka topic.
const OVERFLOW: &str = "mqtt-overflow";

/// Payload bytes of a dead letter; larger messages become several.
const LETTER_PART: usize = 512 << 10;

/// How a route makes records.
#[derive(Clone, Debug)]
pub(crate) struct ToRecord {
    topic: Option<Arc<str>>,
    key: RouteKey,
    mark: Option<Bytes>,
}

impl ToRecord {
    /// `mark`: the bridge's name when messages may come back to it.
    pub(crate) fn new(route: &ToKafkaRoute, mark: Option<&str>) -> Self {
        Self {
            topic: route.topic.as_deref().map(Arc::from),
            key: route.key,
            mark: mark.map(|name| Bytes::copy_from_slice(name.as_bytes())),
        }
    }

    /// Whether a message came from this bridge.
    pub(crate) fn is_own(&self, message: &Publish) -> bool {
        let Some(mark) = &self.mark else { return false };
        let named =
            |p: Property<'_>| matches!(p, Property::UserProperty(MARK, by) if by.as_bytes() == &mark[..]);
        message.properties.iter().any(named)
    }

    /// The Kafka topic of a message.
    pub(crate) fn topic(&self, message: &Publish) -> Arc<str> {
        match &self.topic {
            Some(topic) => Arc::clone(topic),
            None => default_topic(&message.topic).map_or_else(|| OVERFLOW.into(), |t| t.as_ref().into()),
        }
    }

    /// The record of a message. `partitions` of its topic, where the partition is not left to the key.
    pub(crate) fn record(
        &self,
        message: &Publish,
        topic: Arc<str>,
        partitions: Option<i32>,
    ) -> ProducerRecord {
        let mqtt_topic = message.topic.bytes();
        let key = record_key(self.key, mqtt_topic);
        let named = Some(mqtt_topic).filter(|t| key.as_ref() != Some(*t));
        let mut record = ProducerRecord {
            topic,
            partition: partitions.map(|n| partition_for_key(mqtt_topic, n)),
            timestamp_ms: None,
            key,
            value: Some(message.payload.clone()),
            headers: self.headers(message, named),
        };
        if let Some(mark) = &self.mark {
            record.headers.push(header(MARK, mark.clone()));
        }
        record
    }

    /// Whether [`ToRecord::record`] wants to know the number of partitions.
    pub(crate) fn wants_partitions(&self) -> bool {
        self.key == RouteKey::None
    }

    fn headers(&self, message: &Publish, topic: Option<&Bytes>) -> Vec<Header> {
        let expiry = message.properties.iter().find_map(|p| match p {
            Property::MessageExpiryInterval(seconds) => Some(seconds),
            _ => None,
        });
        headers_of(message.qos, message.retain, topic, None, expiry, message.properties.properties())
    }

    /// The dead letters of a message: its headers and what went wrong; a large payload comes in parts.
    pub(crate) fn letters(
        &self,
        message: &Publish,
        to: &Arc<str>,
        topic: &str,
        error: &str,
    ) -> Vec<ProducerRecord> {
        let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let count = message.payload.len().div_ceil(LETTER_PART).max(1);
        let part = |n: usize| {
            let from = n * LETTER_PART;
            let payload = message.payload.slice(from..message.payload.len().min(from + LETTER_PART));
            let mut record = ProducerRecord::new(Arc::clone(to), payload);
            record.key = Some(message.topic.bytes().clone());
            record.headers = self.headers(message, None);
            record.headers.push(header("tributary.error", text(error)));
            record.headers.push(header("tributary.topic", text(topic)));
            if count > 1 {
                record.headers.push(header("tributary.part", text(&format!("{}/{count}", n + 1))));
            }
            record
        };
        (0..count).map(part).collect()
    }
}

/// How a route makes messages.
#[derive(Clone, Debug)]
pub(crate) struct ToMessage {
    filters: Vec<String>,
    prefix: String,
    qos: QoS,
    mark: Option<String>,
}

impl ToMessage {
    /// `mark`: the bridge's name when messages may come back to it.
    pub(crate) fn new(route: &ToMqttRoute, mark: Option<&str>) -> Self {
        Self {
            filters: route.filter.clone(),
            prefix: route.prefix.clone(),
            qos: route.qos,
            mark: mark.map(str::to_owned),
        }
    }

    /// The message of a record; `None` when this bridge has written it, or its time is over.
    pub(crate) fn message(&self, record: ConsumerRecord, now_ms: i64) -> Option<Publish> {
        let mark = self.mark.as_deref();
        let own = |h: &Header| &h.key[..] == MARK.as_bytes() && h.value.as_deref() == mark.map(str::as_bytes);
        if mark.is_some() && record.headers.iter().any(own) {
            return None;
        }
        let described = described_by(&record.headers);
        let topic = described
            .topic
            .as_ref()
            .and_then(|t| self.admitted(t))
            .or_else(|| record.key.as_ref().and_then(|k| self.admitted(k)))
            .unwrap_or(&record.topic);
        let topic = format!("{}{topic}", self.prefix);
        let age_s = now_ms.saturating_sub(record.timestamp_ms).max(0) / 1000;
        let left = match described.expiry_s {
            Some(expiry) => Some(u32::try_from(i64::from(expiry) - age_s).ok().filter(|left| *left > 0)?),
            None => None,
        };
        let list = described.properties.iter().chain(left.map(Property::MessageExpiryInterval));
        let list = list.chain(mark.map(|mark| Property::UserProperty(MARK, mark)));
        Some(Publish {
            qos: described.qos.min(self.qos),
            retain: described.retain,
            topic: topic.as_str().into(),
            properties: PropertiesBuf::from_properties(list).unwrap_or_default(),
            payload: record.value.unwrap_or_default(),
            ..Publish::default()
        })
    }

    /// The MQTT topic that a record names, when it is one and the route has it.
    fn admitted<'a>(&self, topic: &'a Bytes) -> Option<&'a str> {
        let topic = std::str::from_utf8(topic).ok()?;
        let valid = name::validate_name(topic).is_ok() && !topic.starts_with('$');
        (valid && self.filters.iter().any(|f| name::matches(f, topic))).then_some(topic)
    }
}

/// The dead letters of a record: key, headers and value, where it stood, and what went wrong.
pub(crate) fn letters_of(record: &ConsumerRecord, to: &Arc<str>, error: &str) -> Vec<ProducerRecord> {
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let length = record.value.as_ref().map_or(0, Bytes::len);
    let count = length.div_ceil(LETTER_PART).max(1);
    let part = |n: usize| {
        let from = n * LETTER_PART;
        let value = record.value.as_ref().map(|v| v.slice(from..length.min(from + LETTER_PART)));
        let mut headers = record.headers.clone();
        headers.push(header("tributary.error", text(error)));
        headers.push(header("tributary.topic", text(&record.topic)));
        headers.push(header("tributary.partition", text(&record.partition.to_string())));
        headers.push(header("tributary.offset", text(&record.offset.to_string())));
        if count > 1 {
            headers.push(header("tributary.part", text(&format!("{}/{count}", n + 1))));
        }
        let (topic, key) = (Arc::clone(to), record.key.clone());
        ProducerRecord { topic, partition: None, timestamp_ms: None, key, value, headers }
    };
    (0..count).map(part).collect()
}

fn header(name: &'static str, value: Bytes) -> Header {
    Header { key: Bytes::from_static(name.as_bytes()), value: Some(value) }
}

#[cfg(test)]
mod tests {
    use mqtt_codec::{PropertiesBuf, QoS};

    use super::*;

    fn message(topic: &str, payload: &[u8]) -> Publish {
        let list = [Property::MessageExpiryInterval(9), Property::UserProperty("unit", "C")];
        Publish {
            qos: QoS::AtLeastOnce,
            topic: topic.into(),
            payload: Bytes::copy_from_slice(payload),
            properties: PropertiesBuf::from_properties(list).unwrap(),
            ..Publish::default()
        }
    }

    fn shown(record: &ProducerRecord) -> String {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let headers =
            record.headers.iter().map(|h| format!(" {}={}", text(&h.key), text(h.value.as_ref().unwrap())));
        let key = record.key.as_ref().map_or("null".to_owned(), |k| text(k));
        format!("{}[{:?}] {key}:{}", record.topic, record.partition, headers.collect::<String>())
    }

    fn made(topic: Option<&str>, key: RouteKey, mark: Option<&str>, from: &str) -> String {
        let route = ToKafkaRoute { key, ..ToKafkaRoute::new(vec!["#".into()], topic.map(str::to_owned)) };
        let to = ToRecord::new(&route, mark);
        let message = message(from, b"21");
        let partitions = to.wants_partitions().then_some(8);
        shown(&to.record(&message, to.topic(&message), partitions))
    }

    #[test]
    fn records_follow_the_mapping() {
        assert_eq!(
            made(Some("t"), RouteKey::Topic, None, "a/b"),
            "t[None] a/b: mqtt.qos=1 mqtt.expiry=9 unit=C"
        );
        assert_eq!(
            made(None, RouteKey::Level(1), None, "a/b"),
            "a[None] b: mqtt.qos=1 mqtt.topic=a/b mqtt.expiry=9 unit=C"
        );
        // The partition is that of the whole topic: foobar is in partition 6 of 8 in Kafka's own tests.
        assert_eq!(
            made(None, RouteKey::None, Some("me"), "foobar"),
            "foobar[Some(6)] null: mqtt.qos=1 mqtt.topic=foobar mqtt.expiry=9 unit=C tributary.bridge=me"
        );
        assert!(made(None, RouteKey::Topic, None, "/x").starts_with("mqtt-overflow[None] /x:"));
    }

    fn consumed(key: Option<&str>, headers: &[(&str, &str)]) -> ConsumerRecord {
        let bytes = |s: &str| Bytes::copy_from_slice(s.as_bytes());
        let header = |(k, v): &(&str, &str)| Header { key: bytes(k), value: Some(bytes(v)) };
        ConsumerRecord {
            topic: "commands".into(),
            partition: 0,
            offset: 0,
            timestamp_ms: 1_000,
            timestamp_type: client::TimestampType::CreateTime,
            key: key.map(bytes),
            value: Some(bytes("on")),
            headers: headers.iter().map(header).collect(),
            leader_epoch: None,
        }
    }

    #[test]
    fn records_become_messages() {
        let route = ToMqttRoute {
            name: None,
            topic: vec!["commands".into()],
            group: None,
            filter: vec!["devices/#".into()],
            prefix: "site/".into(),
            qos: QoS::AtLeastOnce,
            dead_letter: None,
            in_flight: 1,
        };
        let to = ToMessage::new(&route, Some("me"));
        let topic = |key, headers: &[(&str, &str)]| {
            to.message(consumed(key, headers), 2_000).map(|m| m.topic.to_string())
        };
        assert_eq!(topic(Some("devices/7"), &[]).as_deref(), Some("site/devices/7"));
        assert_eq!(topic(Some("x"), &[("mqtt.topic", "devices/8")]).as_deref(), Some("site/devices/8"));
        for key in [None, Some("other/7"), Some("devices/+"), Some("$SYS/x")] {
            assert_eq!(topic(key, &[]).as_deref(), Some("site/commands"), "{key:?}");
        }
        // Written by this bridge; over; not over yet.
        assert_eq!(topic(None, &[(MARK, "me")]), None);
        assert!(topic(None, &[(MARK, "you")]).is_some());
        assert_eq!(topic(None, &[("mqtt.expiry", "1")]), None);
        let message = to
            .message(consumed(None, &[("mqtt.expiry", "9"), ("mqtt.qos", "2"), ("unit", "C")]), 2_000)
            .unwrap();
        assert_eq!(message.qos, QoS::AtLeastOnce);
        let properties: Vec<_> = message.properties.iter().map(|p| format!("{p:?}")).collect();
        assert_eq!(
            properties,
            [
                "UserProperty(\"unit\", \"C\")",
                "MessageExpiryInterval(8)",
                "UserProperty(\"tributary.bridge\", \"me\")"
            ]
        );
    }

    #[test]
    fn own_messages_are_known() {
        let route = ToKafkaRoute::new(vec!["#".into()], None);
        let list = [Property::UserProperty(MARK, "me")];
        let properties = PropertiesBuf::from_properties(list).unwrap();
        let own = Publish { properties, ..message("a", b"") };
        assert!(ToRecord::new(&route, Some("me")).is_own(&own));
        assert!(!ToRecord::new(&route, Some("you")).is_own(&own));
        assert!(!ToRecord::new(&route, None).is_own(&own));
    }

    #[test]
    fn large_dead_letters_come_in_parts() {
        let route = ToKafkaRoute::new(vec!["#".into()], None);
        let payload = vec![7; LETTER_PART + 1];
        let letters =
            ToRecord::new(&route, None).letters(&message("a", &payload), &"dead".into(), "t", "too large");
        let sizes: Vec<_> = letters.iter().map(|l| l.value.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [LETTER_PART, 1]);
        assert_eq!(
            shown(&letters[1]),
            "dead[None] a: mqtt.qos=1 mqtt.expiry=9 unit=C tributary.error=too large tributary.topic=t tributary.part=2/2"
        );
    }

    #[test]
    fn dead_letters_of_records_say_where_they_stood() {
        let record = ConsumerRecord { value: None, ..consumed(Some("devices/7"), &[("unit", "C")]) };
        let letters = letters_of(&record, &"dead".into(), "refused");
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].value, None);
        assert_eq!(
            shown(&letters[0]),
            "dead[None] devices/7: unit=C tributary.error=refused tributary.topic=commands \
             tributary.partition=0 tributary.offset=0"
        );
        let value = Some(Bytes::from(vec![7; 2 * LETTER_PART]));
        let letters = letters_of(&ConsumerRecord { value, ..record }, &"dead".into(), "refused");
        assert_eq!(letters.iter().map(|l| l.value.as_ref().unwrap().len()).sum::<usize>(), 2 * LETTER_PART);
    }
}
