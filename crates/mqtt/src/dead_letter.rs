//! Messages of MQTT 3 clients that the log refuses for good. Such a client cannot be told no, and would send them, and hold up
//! what is behind them, for ever: they are kept in another topic, and acknowledged.

use std::sync::Arc;

use bytes::Bytes;
use client::door::{Door, DoorError, Header, NewTopic, Record, TopicPartition, partition_for_key};

use crate::mapping;
use crate::message::Publication;

/// Payload bytes of a dead letter; larger messages become several.
const LETTER_PART: usize = 512 << 10;

/// Where dead letters go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeadLetters {
    /// Nowhere: the client's connection is closed, without an acknowledgement.
    #[default]
    Off,
    /// To `<Kafka topic>.dead-letter`.
    OfEachTopic,
    /// To this Kafka topic.
    To(String),
}

impl DeadLetters {
    fn topic(&self, refused_by: &str) -> Option<String> {
        match self {
            Self::Off => None,
            Self::OfEachTopic => Some(format!("{refused_by}.dead-letter")),
            Self::To(topic) => Some(topic.clone()),
        }
    }
}

/// Whether the same message would be refused again.
fn is_for_good(error: &DoorError) -> bool {
    matches!(
        error,
        DoorError::TooLarge { .. } | DoorError::Limit(_) | DoorError::Invalid(_) | DoorError::Unauthorized(_)
    )
}

/// Keeps a message that `refused_by` has refused with `error`, together with `with`.
///
/// # Errors
/// `error`, when it is not for good, nothing is to be kept, or the dead letter is refused as well.
pub(crate) async fn keep(
    door: Arc<dyn Door>,
    letters: &DeadLetters,
    publication: &Publication,
    refused_by: &str,
    error: DoorError,
    with: Vec<(TopicPartition, Record)>,
) -> Result<i64, DoorError> {
    let Some(topic) = letters.topic(refused_by).filter(|_| is_for_good(&error)) else { return Err(error) };
    let records = records(publication, refused_by, &error.to_string());
    match write(&*door, &topic, publication, records, with).await {
        Ok(offset) => {
            tracing::warn!(topic, %error, "a message was not accepted and became a dead letter");
            Ok(offset)
        }
        Err(failure) => {
            tracing::error!(topic, error = %failure, "a dead letter cannot be written: its message is not acknowledged");
            Err(error)
        }
    }
}

async fn write(
    door: &dyn Door,
    topic: &str,
    publication: &Publication,
    records: Vec<Record>,
    with: Vec<(TopicPartition, Record)>,
) -> Result<i64, DoorError> {
    if door.topics().borrow().get(topic).is_none() {
        let new = NewTopic { name: topic.to_owned(), partitions: None, configs: Vec::new() };
        door.create_topic(new).await?;
    }
    let partitions = door.topics().borrow().get(topic).map_or(1, |t| t.partitions);
    let to = TopicPartition::new(topic, partition_for_key(&publication.topic, partitions));
    let all = records.into_iter().map(|record| (to.clone(), record)).chain(with).collect();
    Ok(door.append_atomic(all).await?.first().copied().unwrap_or(-1))
}

/// The message under its MQTT topic, with what went wrong; a large payload comes in parts.
fn records(publication: &Publication, refused_by: &str, error: &str) -> Vec<Record> {
    let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    let header = |key: &'static str, value| Header { key: Bytes::from_static(key.as_bytes()), value };
    let payload = &publication.payload;
    let count = payload.len().div_ceil(LETTER_PART).max(1);
    let part = |n: usize| {
        let from = n * LETTER_PART;
        let mut record = mapping::keyed_record_of(publication);
        record.value = Some(payload.slice(from..payload.len().min(from + LETTER_PART)));
        record.headers.push(header("tributary.error", text(error)));
        record.headers.push(header("tributary.topic", text(refused_by)));
        if count > 1 {
            record.headers.push(header("tributary.part", text(&format!("{}/{count}", n + 1))));
        }
        record
    };
    (0..count).map(part).collect()
}

#[cfg(test)]
mod tests {
    use mqtt_codec::QoS;

    use super::*;

    #[test]
    fn letters_say_what_went_wrong_and_large_ones_come_in_parts() {
        let publication = |bytes: usize| Publication {
            topic: Bytes::from_static(b"a/b"),
            payload: vec![7; bytes].into(),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Default::default(),
            expiry_s: None,
            client: None,
            source: None,
        };
        let shown = |record: &Record| {
            let text = |b: &Bytes| String::from_utf8_lossy(b).into_owned();
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|h| format!("{}={}", text(&h.key), h.value.as_ref().map_or("null".to_owned(), text)))
                .collect();
            format!("{} {}", record.key.as_ref().map_or("null".to_owned(), text), headers.join(" "))
        };
        let one = records(&publication(3), "t", "no");
        assert_eq!(
            one.iter().map(shown).collect::<Vec<_>>(),
            ["a/b mqtt.qos=1 tributary.error=no tributary.topic=t"]
        );
        let two = records(&publication(LETTER_PART + 1), "t", "no");
        let sizes: Vec<_> = two.iter().map(|r| r.value.as_ref().map(Bytes::len)).collect();
        assert_eq!(sizes, [Some(LETTER_PART), Some(1)]);
        assert!(shown(&two[1]).ends_with("tributary.part=2/2"));
    }

    #[test]
    fn only_what_is_refused_for_good_is_kept() {
        assert!(is_for_good(&DoorError::Limit(String::new())));
        assert!(is_for_good(&DoorError::Unauthorized(String::new())));
        assert!(!is_for_good(&DoorError::Unavailable(String::new())));
        assert!(!is_for_good(&DoorError::UnknownTopic(String::new())));
        assert_eq!(DeadLetters::OfEachTopic.topic("t").as_deref(), Some("t.dead-letter"));
        assert_eq!(DeadLetters::To("dead".into()).topic("t").as_deref(), Some("dead"));
        assert_eq!(DeadLetters::Off.topic("t"), None);
    }
}
