//! Records of the metadata log: Kafka's own types, in the versions this broker writes.

pub use kafka_codec::messages::metadata::MetadataRecord as MetaRecord;
use kafka_codec::wire::Reader;

use crate::MetaError;

/// The version each record type is written in: those of `metadata.version` 30 (Kafka 4.3), but without the
/// fields that are about several nodes.
fn written_version(record: &MetaRecord) -> i16 {
    match record {
        MetaRecord::Partition(_) => 1,
        MetaRecord::RegisterBroker(_) => 3,
        _ => 0,
    }
}

/// The bytes of a record's value.
///
/// # Errors
/// [`MetaError::Encode`] for strings longer than the format allows.
pub fn encode(record: &MetaRecord) -> Result<Vec<u8>, MetaError> {
    let mut bytes = Vec::new();
    record.encode_value(&mut bytes, written_version(record))?;
    Ok(bytes)
}

/// Reads a record's value.
///
/// # Errors
/// [`MetaError::Decode`] for bytes that are no record, and for types Kafka does not know.
pub fn decode(bytes: &[u8]) -> Result<MetaRecord, MetaError> {
    let mut reader = Reader::new(bytes);
    let (record, _version) = MetaRecord::decode_value(&mut reader)?;
    reader.finish()?;
    Ok(record)
}
