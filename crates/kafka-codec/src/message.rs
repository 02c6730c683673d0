use std::fmt::Debug;
use std::ops::RangeInclusive;

use crate::wire::Reader;
use crate::{ApiKey, DecodeError, EncodeError};

/// A top-level message of one of Kafka's schemas: request, response, record value or key.
pub trait Message: Clone + Debug + Default + PartialEq + Sized {
    /// Name in the schema, such as `MetadataRequest`.
    const NAME: &'static str;
    /// All versions the schema knows (including a last one that Kafka still calls unstable).
    const VERSIONS: RangeInclusive<i16>;
    /// First version with compact lengths and tagged fields (KIP-482); `None` when there is none.
    const FLEXIBLE_FROM: Option<i16>;

    /// Reads the body of one message. Fields that `version` does not have get the schema's default. Bytes after
    /// the message are left in the reader.
    ///
    /// # Errors
    /// [`DecodeError`] for malformed bytes and for versions outside [`Message::VERSIONS`].
    fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError>;

    /// Appends the body of the message to `w`. On an error `w` may hold a part of it.
    ///
    /// # Errors
    /// [`EncodeError`]: see there.
    fn encode(&self, w: &mut Vec<u8>, version: i16) -> Result<(), EncodeError>;

    /// Whether `version` is flexible.
    fn is_flexible(version: i16) -> bool {
        Self::FLEXIBLE_FROM.is_some_and(|from| version >= from)
    }
}

/// A message that a client sends and a broker answers.
pub trait Request: Message {
    /// Its API key.
    const KEY: ApiKey;
    /// What answers it, in the same version.
    type Response: Message;
}

/// Refuses versions that the schema of `M` does not have.
pub(crate) fn decodable<M: Message>(version: i16) -> Result<(), DecodeError> {
    if M::VERSIONS.contains(&version) {
        return Ok(());
    }
    Err(DecodeError::UnsupportedVersion { message: M::NAME, version })
}

/// Refuses versions that the schema of `M` does not have.
pub(crate) fn encodable<M: Message>(version: i16) -> Result<(), EncodeError> {
    if M::VERSIONS.contains(&version) {
        return Ok(());
    }
    Err(EncodeError::UnsupportedVersion { message: M::NAME, version })
}

/// A field that is not nullable in this version.
pub(crate) fn non_null<'a, T>(
    value: &'a Option<T>,
    field: &'static str,
    version: i16,
) -> Result<&'a T, EncodeError> {
    value.as_ref().ok_or(EncodeError::Null { field, version })
}

/// The answer to a field that this version does not have, although it holds something.
#[cold]
pub(crate) fn unsupported(field: &'static str, version: i16) -> Result<(), EncodeError> {
    Err(EncodeError::UnsupportedField { field, version })
}
