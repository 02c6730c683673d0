//! Messages and records, by the rules of `docs/mqtt-kafka-mapping.md`.

use std::sync::Arc;

use bytes::Bytes;
use client::ProducerRecord;
use client::door::{Header, partition_for_key};
use mqtt::RouteKey;
use mqtt::mapping::{default_topic, headers_of, record_key};
use mqtt_codec::{Property, Publish};

use crate::config::ToKafkaRoute;

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
}
