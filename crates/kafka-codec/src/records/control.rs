//! Control records: transaction markers and what the metadata log says about itself.

use super::{BatchBuilder, Compression, RecordError};
use crate::messages::EndTxnMarker;
use crate::wire::Reader;
use crate::{DecodeError, Message};

/// Version of a control record's key.
const KEY_VERSION: i16 = 0;
/// Version of a transaction marker's value.
const MARKER_VERSION: i16 = 0;

/// What a control record says; its key is a version and this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlRecordType {
    /// The producer's transaction was aborted.
    Abort,
    /// The producer's transaction was committed.
    Commit,
    /// A new leader of the metadata quorum.
    LeaderChange,
    /// First record of a metadata snapshot.
    SnapshotHeader,
    /// Last record of a metadata snapshot.
    SnapshotFooter,
    /// The quorum's protocol version.
    KraftVersion,
    /// The quorum's voters.
    KraftVoters,
    /// A number of a newer Kafka.
    Unknown(i16),
}

impl ControlRecordType {
    /// Reads a control record's key.
    ///
    /// # Errors
    /// [`DecodeError`] for fewer than 4 bytes or a negative version. Newer versions may be longer.
    pub fn from_key(key: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(key);
        let version = r.i16()?;
        if version < 0 {
            return Err(DecodeError::UnsupportedVersion { message: "control record key", version });
        }
        Ok(match r.i16()? {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KraftVersion,
            6 => Self::KraftVoters,
            other => Self::Unknown(other),
        })
    }

    fn number(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KraftVersion => 5,
            Self::KraftVoters => 6,
            Self::Unknown(other) => other,
        }
    }
}

/// The key of a control record.
pub fn control_record_key(kind: ControlRecordType) -> [u8; 4] {
    let ([a, b], [c, d]) = (KEY_VERSION.to_be_bytes(), kind.number().to_be_bytes());
    [a, b, c, d]
}

/// The batch that ends a producer's transaction in one partition.
///
/// # Errors
/// None that a marker's few bytes could cause.
pub fn end_transaction_marker(
    producer_id: i64,
    producer_epoch: i16,
    commit: bool,
    coordinator_epoch: i32,
    timestamp_ms: i64,
) -> Result<Vec<u8>, RecordError> {
    let kind = if commit { ControlRecordType::Commit } else { ControlRecordType::Abort };
    let marker = EndTxnMarker { coordinator_epoch };
    let mut value = MARKER_VERSION.to_be_bytes().to_vec();
    marker
        .encode(&mut value, MARKER_VERSION)
        .map_err(|_| RecordError::Unrepresentable("transaction marker"))?;
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(producer_id, producer_epoch, -1)
        .transactional()
        .control();
    builder.push(timestamp_ms, Some(&control_record_key(kind)), Some(&value), std::iter::empty())?;
    builder.build()
}

/// Reads the value of a transaction marker: the coordinator's epoch.
///
/// # Errors
/// [`DecodeError`].
pub fn parse_end_transaction_marker(value: &[u8]) -> Result<i32, DecodeError> {
    let mut r = Reader::new(value);
    let version = r.i16()?;
    if version < 0 {
        return Err(DecodeError::UnsupportedVersion { message: EndTxnMarker::NAME, version });
    }
    // Newer versions begin like the newest known one.
    Ok(EndTxnMarker::decode(&mut r, version.min(*EndTxnMarker::VERSIONS.end()))?.coordinator_epoch)
}
