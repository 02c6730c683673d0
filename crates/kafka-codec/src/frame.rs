//! Frames: a 4-byte length, a header, a body.
//!
//! Request headers: version 0 (ControlledShutdown v0 only) has no client id, version 1 has one, version 2 adds
//! tagged fields; the client id keeps its 2-byte length in all of them. Response headers: version 0 is the
//! correlation id, version 1 adds tagged fields.
//!
//! **ApiVersions is special** (KIP-511), because it is asked before the client knows what the broker speaks:
//! its response header is always version 0; and a request of a version that the broker does not have is not refused
//! by closing the connection as any other is, but answered by [`refuse_api_versions`]: a *version 0* body with
//! `UNSUPPORTED_VERSION` and the range of ApiVersions itself, so that the client can ask again. Only the header of
//! such a request may be read: nobody knows what its body looks like.

use bytes::Bytes;

use crate::messages::ApiVersionsResponse;
use crate::messages::api_versions_response::ApiVersion;
use crate::wire::{self, Reader, TaggedFields};
use crate::{ApiKey, DecodeError, EncodeError, ErrorCode, Message, Request};

/// Bytes of the length in front of each frame.
pub const LENGTH_BYTES: usize = 4;

/// The header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// What is asked for.
    pub key: ApiKey,
    /// In which version; may be one that [`ApiKey::versions`] does not have.
    pub version: i16,
    /// Number by which the client finds the response.
    pub correlation_id: i32,
    /// Name the client gives itself.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Reads a header and leaves the reader at the body.
    ///
    /// # Errors
    /// [`DecodeError::UnknownKey`] for an API that Kafka does not have, to which there is no answer but closing
    /// the connection; others for malformed bytes.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let number = r.i16()?;
        let key = ApiKey::from_i16(number)
            .ok_or(DecodeError::UnknownKey { what: "API key", key: i32::from(number) })?;
        let version = r.i16()?;
        let correlation_id = r.i32()?;
        let header_version = key.request_header_version(version);
        let client_id = if header_version >= 1 { r.nullable_str(false)? } else { None };
        if header_version >= 2 {
            r.untagged()?;
        }
        Ok(Self { key, version, correlation_id, client_id })
    }

    /// Appends the header.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for the client id.
    pub fn encode(&self, w: &mut Vec<u8>) -> Result<(), EncodeError> {
        wire::put_i16(w, self.key.as_i16());
        wire::put_i16(w, self.version);
        wire::put_i32(w, self.correlation_id);
        let header_version = self.key.request_header_version(self.version);
        if header_version >= 1 {
            wire::put_nullable_string(w, self.client_id, false)?;
        }
        if header_version >= 2 {
            wire::put_untagged(w, &TaggedFields::default())?;
        }
        Ok(())
    }
}

/// Reads a response's header and leaves the reader at the body; answers the correlation id.
///
/// # Errors
/// [`DecodeError`] for malformed bytes.
pub fn decode_response_header(r: &mut Reader<'_>, key: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = r.i32()?;
    if key.response_header_version(version) >= 1 {
        r.untagged()?;
    }
    Ok(correlation_id)
}

/// Starts a response frame: room for the length (see [`finish`]), then the header.
pub fn begin_response(key: ApiKey, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut w = vec![0; LENGTH_BYTES];
    wire::put_i32(&mut w, correlation_id);
    if key.response_header_version(version) >= 1 {
        w.push(0);
    }
    w
}

/// Starts a request frame: room for the length (see [`finish`]), then the header.
///
/// # Errors
/// [`EncodeError::TooLong`] for the client id.
pub fn begin_request(header: &RequestHeader<'_>) -> Result<Vec<u8>, EncodeError> {
    let mut w = vec![0; LENGTH_BYTES];
    header.encode(&mut w)?;
    Ok(w)
}

/// Writes the length into a finished frame.
///
/// # Errors
/// [`EncodeError::TooLong`] from 2 GiB on.
pub fn finish(mut frame: Vec<u8>) -> Result<Bytes, EncodeError> {
    let length = frame.len().saturating_sub(LENGTH_BYTES);
    put_length(&mut frame, length)?;
    Ok(frame.into())
}

fn put_length(frame: &mut [u8], length: usize) -> Result<(), EncodeError> {
    let number = i32::try_from(length).map_err(|_| EncodeError::TooLong { what: "frame", length })?;
    if let Some(room) = frame.first_chunk_mut::<LENGTH_BYTES>() {
        *room = number.to_be_bytes();
    }
    Ok(())
}

/// A whole request frame, length included.
///
/// # Errors
/// Those of encoding.
pub fn request<R: Request>(
    body: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Bytes, EncodeError> {
    let mut w = begin_request(&RequestHeader { key: R::KEY, version, correlation_id, client_id })?;
    body.encode(&mut w, version)?;
    finish(w)
}

/// A whole response frame, length included.
///
/// # Errors
/// Those of encoding.
pub fn response<M: Message>(
    key: ApiKey,
    body: &M,
    version: i16,
    correlation_id: i32,
) -> Result<Bytes, EncodeError> {
    let mut w = begin_response(key, version, correlation_id);
    body.encode(&mut w, version)?;
    finish(w)
}

/// The answer to an ApiVersions request of a version outside `first..=last`, which are the broker's: version 0 with
/// `UNSUPPORTED_VERSION` (KIP-511).
///
/// # Errors
/// None that these few bytes could cause.
pub fn refuse_api_versions(correlation_id: i32, first: i16, last: i16) -> Result<Bytes, EncodeError> {
    let own = ApiVersion {
        api_key: ApiKey::ApiVersions.as_i16(),
        min_version: first,
        max_version: last,
        ..ApiVersion::default()
    };
    let body = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![own],
        ..ApiVersionsResponse::default()
    };
    response(ApiKey::ApiVersions, &body, 0, correlation_id)
}

/// A piece of a frame whose records are sent from somewhere else (a file, a producer's buffer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Bytes(Bytes),
    /// The records of the partition with this index, counting those that have records in the order of the frame.
    Records {
        /// Which records.
        index: usize,
        /// How many bytes must be sent for them; exactly as many as were announced.
        bytes: usize,
    },
}

impl Part {
    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Records { bytes, .. } => *bytes,
        }
    }

    /// True when nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Collects the parts of a frame: bytes are appended to `w` until records come between.
pub(crate) struct PartWriter {
    /// The bytes since the last records.
    pub(crate) w: Vec<u8>,
    parts: Vec<Part>,
    records: usize,
}

impl PartWriter {
    /// Starts with what [`begin_response`] or [`begin_request`] gave.
    pub(crate) fn new(begun: Vec<u8>) -> Self {
        Self { w: begun, parts: Vec::new(), records: 0 }
    }

    /// Adds records of `bytes` bytes (`None` = null), their length included.
    pub(crate) fn records(&mut self, bytes: Option<usize>, flexible: bool) -> Result<(), EncodeError> {
        wire::put_len(&mut self.w, "records", bytes, flexible)?;
        let Some(bytes) = bytes else { return Ok(()) };
        if bytes > 0 {
            self.parts.push(Part::Bytes(std::mem::take(&mut self.w).into()));
            self.parts.push(Part::Records { index: self.records, bytes });
        }
        self.records += 1;
        Ok(())
    }

    /// Writes the length into the first part.
    pub(crate) fn finish(mut self) -> Result<Vec<Part>, EncodeError> {
        if !self.w.is_empty() {
            self.parts.push(Part::Bytes(self.w.into()));
        }
        let total: usize = self.parts.iter().map(Part::len).sum();
        if let Some(Part::Bytes(first)) = self.parts.first_mut() {
            // The only handle: no copy.
            let mut head = Vec::from(std::mem::take(first));
            put_length(&mut head, total.saturating_sub(LENGTH_BYTES))?;
            *first = head.into();
        }
        Ok(self.parts)
    }
}

/// Fills the records into the parts of a frame; `records` are those that are not null, in the frame's order.
pub(crate) fn fill(parts: Vec<Part>, records: &[&Bytes]) -> Vec<Bytes> {
    parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Bytes(bytes) => Some(bytes),
            Part::Records { index, .. } => records.get(index).map(|b| (*b).clone()),
        })
        .collect()
}
