//! What records of a log mean: text, numbers, and the records of Kafka's own topics as JSON.

use kafka_codec::json::JsonMessage;
use kafka_codec::messages::group_records::{GroupRecordKey, GroupRecordValue};
use kafka_codec::messages::metadata::MetadataRecord;
use kafka_codec::messages::transaction_records::{TransactionRecordKey, TransactionRecordValue};
use kafka_codec::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupMetadataValue, KRaftVersionRecord,
    LeaderChangeMessage, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};
use kafka_codec::records::Record;
use kafka_codec::wire::Reader;
use kafka_codec::{DecodeError, Message};

use super::super::run::Failure;

/// How keys and values are read.
#[derive(Debug)]
pub enum Parser {
    /// Each by a decoder of its own.
    Plain {
        /// The keys'.
        key: Plain,
        /// The values'.
        value: Plain,
    },
    /// `__consumer_offsets`.
    Offsets,
    /// `__transaction_state`.
    Transactions,
    /// `__cluster_metadata`.
    Metadata,
}

/// Kafka's decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// UTF-8.
    Text,
    /// 32 bits.
    Integer,
    /// 64 bits.
    Long,
    /// Bytes, which Java shows by their identity; here they are hexadecimal.
    Bytes,
}

impl Plain {
    /// The decoder of this class name.
    ///
    /// # Errors
    /// A class that this program does not have.
    pub fn of(class: &str) -> Result<Self, Failure> {
        match class.rsplit('.').next().unwrap_or_default() {
            "StringDecoder" => Ok(Self::Text),
            "IntegerDecoder" => Ok(Self::Integer),
            "LongDecoder" => Ok(Self::Long),
            "DefaultDecoder" => Ok(Self::Bytes),
            _ => Err(Failure::new("java.lang.RuntimeException", "Failed to load decoder class")),
        }
    }

    fn decode(self, bytes: &[u8]) -> Result<String, Failure> {
        let underflow = || Failure::new("java.nio.BufferUnderflowException", "");
        Ok(match self {
            Self::Text => String::from_utf8_lossy(bytes).into_owned(),
            Self::Integer => i32::from_be_bytes(*bytes.first_chunk().ok_or_else(underflow)?).to_string(),
            Self::Long => i64::from_be_bytes(*bytes.first_chunk().ok_or_else(underflow)?).to_string(),
            Self::Bytes => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// Key and value as text.
type Parsed = (Option<String>, Option<String>);

impl Parser {
    /// Reads a record.
    ///
    /// # Errors
    /// A key is missing where there must be one, or a number is too short.
    pub fn parse(&self, record: &Record<'_>) -> Result<Parsed, Failure> {
        match self {
            Self::Plain { key, value } => Ok((
                record.key.map(|bytes| key.decode(bytes)).transpose()?,
                record.value.map(|bytes| value.decode(bytes)).transpose()?,
            )),
            Self::Metadata => {
                let mut reader = Reader::new(record.value.unwrap_or_default());
                let text = match MetadataRecord::decode_value(&mut reader) {
                    Ok((message, version)) => metadata_json(&message, version),
                    Err(error) => format!("Error at {}, skipping. {error}", record.offset),
                };
                Ok((None, Some(text)))
            }
            Self::Offsets => coordinator(record, |key, value| {
                let key = GroupRecordKey::decode(&mut Reader::new(key))?;
                let value =
                    value.map(|bytes| GroupRecordValue::decode(&mut Reader::new(bytes), key.record_type()));
                let value =
                    value.transpose()?.map(|(value, version)| (group_value_json(&value, version), version));
                Ok((key.record_type(), json(|out| key.write_json(out, 0)), value))
            }),
            Self::Transactions => coordinator(record, |key, value| {
                let key = TransactionRecordKey::decode(&mut Reader::new(key))?;
                let value = value
                    .map(|bytes| TransactionRecordValue::decode(&mut Reader::new(bytes), key.record_type()));
                let value = value.transpose()?;
                let value =
                    value.map(|(value, version)| (json(|out| value.write_json(out, version)), version));
                Ok((key.record_type(), json(|out| key.write_json(out, 0)), value))
            }),
        }
    }
}

fn json(write: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    write(&mut out);
    out
}

/// Type and data of a key, data and version of a value.
type Decoded = (i16, String, Option<(String, i16)>);

fn coordinator(
    record: &Record<'_>,
    decode: impl FnOnce(&[u8], Option<&[u8]>) -> Result<Decoded, DecodeError>,
) -> Result<Parsed, Failure> {
    let offset = record.offset;
    let Some(key) = record.key else {
        return Err(Failure::new(
            "java.lang.RuntimeException",
            format!(
                "Failed to decode message at offset {offset} using the specified decoder (message had a missing key)"
            ),
        ));
    };
    Ok(match decode(key, record.value) {
        Ok((kind, key, value)) => {
            let key = format!("{{\"type\":\"{kind}\",\"data\":{key}}}");
            let value = match value {
                Some((data, version)) => format!("{{\"version\":\"{version}\",\"data\":{data}}}"),
                None => "<DELETE>".to_owned(),
            };
            (Some(key), Some(value))
        }
        Err(DecodeError::UnknownKey { key, .. }) => {
            (Some(format!("Unknown record type {key} at offset {offset}, skipping.")), None)
        }
        Err(error) => (Some(format!("Error at offset {offset}, skipping. {error}")), None),
    })
}

fn metadata_json(record: &MetadataRecord, version: i16) -> String {
    let data = json(|out| record.write_json(out, version));
    format!("{{\"type\":\"{}\",\"version\":{version},\"data\":{data}}}", upper_snake(record.name()))
}

/// `TopicRecord` → `TOPIC_RECORD`.
fn upper_snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_uppercase());
    }
    out
}

/// A consumer group's members with their subscriptions and assignments unpacked.
fn group_value_json(value: &GroupRecordValue, version: i16) -> String {
    let plain = json(|out| value.write_json(out, version));
    let GroupRecordValue::GroupMetadata(group) = value else { return plain };
    if group.protocol_type != "consumer" {
        return plain;
    }
    unpacked(group, &plain)
}

fn unpacked(group: &GroupMetadataValue, plain: &str) -> String {
    let mut out = plain.to_owned();
    for member in &group.members {
        out = replace_field::<ConsumerProtocolSubscription>(&out, "subscription", &member.subscription);
        out = replace_field::<ConsumerProtocolAssignment>(&out, "assignment", &member.assignment);
    }
    out
}

/// Puts the message inside `bytes` in the place of their base64; they stay as they are when there is none.
fn replace_field<M: Message + JsonMessage>(text: &str, field: &str, bytes: &[u8]) -> String {
    let mut reader = Reader::new(bytes);
    let message = reader.i16().and_then(|version| Ok((M::decode(&mut reader, version)?, version)));
    let Ok((message, version)) = message else { return text.to_owned() };
    let quoted = json(|out| kafka_codec::json::bytes(out, bytes));
    let unpacked = json(|out| message.write_json(out, version));
    text.replacen(&format!("\"{field}\":{quoted}"), &format!("\"{field}\":{unpacked}"), 1)
}

fn control<M: Message + JsonMessage>(value: &[u8]) -> Result<String, Failure> {
    let invalid = |error: DecodeError| Failure::kafka(error.to_string());
    // The first field is the version in which the rest is written.
    let version = Reader::new(value).i16().map_err(invalid)?;
    let message = M::decode(&mut Reader::new(value), version).map_err(invalid)?;
    Ok(json(|out| message.write_json(out, version)))
}

/// A new leader of the quorum.
///
/// # Errors
/// The value is something else.
pub fn leader_change(value: &[u8]) -> Result<String, Failure> {
    control::<LeaderChangeMessage>(value)
}

/// The first record of a snapshot.
///
/// # Errors
/// The value is something else.
pub fn snapshot_header(value: &[u8]) -> Result<String, Failure> {
    control::<SnapshotHeaderRecord>(value)
}

/// The last record of a snapshot.
///
/// # Errors
/// The value is something else.
pub fn snapshot_footer(value: &[u8]) -> Result<String, Failure> {
    control::<SnapshotFooterRecord>(value)
}

/// The quorum's protocol version.
///
/// # Errors
/// The value is something else.
pub fn kraft_version(value: &[u8]) -> Result<String, Failure> {
    control::<KRaftVersionRecord>(value)
}

/// The quorum's voters.
///
/// # Errors
/// The value is something else.
pub fn voters(value: &[u8]) -> Result<String, Failure> {
    control::<VotersRecord>(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(upper_snake("RegisterBrokerRecord"), "REGISTER_BROKER_RECORD");
        assert_eq!(
            Plain::of("org.apache.kafka.tools.api.LongDecoder").map(|d| d.decode(&[0; 8]).unwrap()),
            Ok("0".into())
        );
        assert!(Plain::of("com.example.Mine").is_err());
    }
}
