//! Kafka's wire protocol and record format as plain data: bytes in, structs out, and back.
//!
//! **Duty.** [`messages`] holds every request, response, metadata record and coordinator record in all the
//! versions that Kafka's own schemas know, generated from them (`cargo xtask codegen`). [`produce`] and
//! [`fetch`] are the two hot requests written by hand, so that record batches are passed through as slices.
//! [`records`] checks, walks, reads and builds v2 record batches. [`frame`] reads and writes the headers in front
//! of requests and responses. [`ApiKey`], [`ErrorCode`] and [`Uuid`] are the vocabulary all of them share.
//!
//! **Main types.** [`wire::Reader`], [`Message`], [`Request`], [`ApiKey`], [`ErrorCode`].
//!
//! **Not here.** No I/O, no clocks, no policy: which versions are offered, what a limit is and which error
//! answers what are the callers' decisions. Nothing here panics or allocates more than a small multiple of its
//! input, whatever bytes it gets.
//!
//! ```
//! use kafka_codec::{Message, messages::MetadataRequest, wire::Reader};
//! let request = MetadataRequest { topics: None, ..Default::default() };
//! let mut bytes = Vec::new();
//! request.encode(&mut bytes, 12)?;
//! assert_eq!(MetadataRequest::decode(&mut Reader::new(&bytes), 12)?, request);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod acl;
mod api_key;
mod error;
mod error_code;
pub mod fetch;
pub mod frame;
pub mod json;
mod leader;
mod message;
pub mod messages;
pub mod produce;
pub mod records;
mod uuid;
pub mod wire;

pub use api_key::ApiKey;
pub use error::{DecodeError, EncodeError};
pub use error_code::ErrorCode;
pub use message::{Message, Request};
pub use uuid::{ParseUuidError, Uuid};
