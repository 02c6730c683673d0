//! Produce (API 0), versions 3 to 13, by hand: records are slices of the frame, never copied.
//!
//! Names borrow from the frame, so a request or response must not outlive the [`Bytes`] it was decoded from; the
//! records in it are [`Bytes`] of their own and may. Unknown tagged fields are dropped.
//!
//! Kafka advertises versions 0 to 13 because old librdkafka clients look at the lower end, and refuses 0 to 2.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::frame::{self, PartWriter, RequestHeader};
use crate::leader::{read_node_endpoints, write_node_endpoints};
use crate::wire::{self, Reader, TagWriter, TaggedFields};
use crate::{ApiKey, DecodeError, EncodeError, Uuid};

pub use crate::leader::{LeaderIdAndEpoch, NodeEndpoint};

/// Versions this module reads and writes.
pub const VERSIONS: RangeInclusive<i16> = 3..=13;

const FLEXIBLE_FROM: i16 = 9;
const TOPIC_IDS_FROM: i16 = 13;
const NAME: &str = "ProduceRequest";

/// A produce request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProduceRequest<'a> {
    /// Id of the transactional producer.
    pub transactional_id: Option<&'a str>,
    /// 0 = answer nothing, 1 = the leader has it, -1 = all in-sync replicas have it; others are errors.
    pub acks: i16,
    /// How long to wait for `acks`, in milliseconds.
    pub timeout_ms: i32,
    /// What to append, by topic.
    pub topics: Vec<TopicProduce<'a>>,
}

/// The records for one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicProduce<'a> {
    /// Topic name, up to version 12; empty in later ones.
    pub name: &'a str,
    /// Topic id, from version 13 on; zero in earlier ones.
    pub topic_id: Uuid,
    /// What to append, by partition.
    pub partitions: Vec<PartitionProduce>,
}

/// The records for one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionProduce {
    /// Partition index.
    pub index: i32,
    /// Record batches, as the producer made them.
    pub records: Option<Bytes>,
}

fn check_version(version: i16) -> Result<bool, DecodeError> {
    if !VERSIONS.contains(&version) {
        return Err(DecodeError::UnsupportedVersion { message: NAME, version });
    }
    Ok(version >= FLEXIBLE_FROM)
}

fn encodable(version: i16) -> Result<bool, EncodeError> {
    check_version(version).map_err(|_| EncodeError::UnsupportedVersion { message: NAME, version })
}

fn end_struct(r: &mut Reader<'_>, flexible: bool) -> Result<(), DecodeError> {
    if flexible {
        r.untagged()?;
    }
    Ok(())
}

impl<'a> ProduceRequest<'a> {
    /// Reads a request's body; use [`Reader::shared`] so that records are not copied.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let flexible = check_version(version)?;
        let request = Self {
            transactional_id: r.nullable_str(flexible)?,
            acks: r.i16()?,
            timeout_ms: r.i32()?,
            topics: r.array(flexible, if flexible { 3 } else { 6 }, |r| {
                let mut topic = TopicProduce::default();
                if version >= TOPIC_IDS_FROM {
                    topic.topic_id = r.uuid()?;
                } else {
                    topic.name = r.str(flexible)?;
                }
                topic.partitions = r.array(flexible, if flexible { 6 } else { 8 }, |r| {
                    let partition =
                        PartitionProduce { index: r.i32()?, records: r.nullable_bytes(flexible)? };
                    end_struct(r, flexible)?;
                    Ok(partition)
                })?;
                end_struct(r, flexible)?;
                Ok(topic)
            })?,
        };
        end_struct(r, flexible)?;
        Ok(request)
    }

    /// A whole request frame in pieces, to be sent one after the other: the records are not copied.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn encode_frame(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
    ) -> Result<Vec<Bytes>, EncodeError> {
        let flexible = encodable(version)?;
        let header = RequestHeader { key: ApiKey::Produce, version, correlation_id, client_id };
        let mut parts = PartWriter::new(frame::begin_request(&header)?);
        let w = &mut parts.w;
        wire::put_nullable_string(w, self.transactional_id, flexible)?;
        wire::put_i16(w, self.acks);
        wire::put_i32(w, self.timeout_ms);
        wire::put_len(w, "topics", Some(self.topics.len()), flexible)?;
        for topic in &self.topics {
            if version >= TOPIC_IDS_FROM {
                wire::put_uuid(&mut parts.w, topic.topic_id);
            } else {
                wire::put_string(&mut parts.w, topic.name, flexible)?;
            }
            wire::put_len(&mut parts.w, "partitions", Some(topic.partitions.len()), flexible)?;
            for partition in &topic.partitions {
                wire::put_i32(&mut parts.w, partition.index);
                parts.records(partition.records.as_ref().map(Bytes::len), flexible)?;
                put_no_tags(&mut parts.w, flexible);
            }
            put_no_tags(&mut parts.w, flexible);
        }
        put_no_tags(&mut parts.w, flexible);
        let records: Vec<&Bytes> =
            self.topics.iter().flat_map(|t| &t.partitions).filter_map(|p| p.records.as_ref()).collect();
        Ok(frame::fill(parts.finish()?, &records))
    }
}

fn put_no_tags(w: &mut Vec<u8>, flexible: bool) {
    if flexible {
        w.push(0);
    }
}

/// A produce response. (Requests with `acks` = 0 get none.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProduceResponse<'a> {
    /// Results, by topic.
    pub topics: Vec<TopicProduceResponse<'a>>,
    /// How long the request was held back by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Addresses of the leaders named in the results; dropped before version 10.
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// Results for one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicProduceResponse<'a> {
    /// Topic name, up to version 12.
    pub name: &'a str,
    /// Topic id, from version 13 on.
    pub topic_id: Uuid,
    /// Results, by partition.
    pub partitions: Vec<PartitionProduceResponse<'a>>,
}

/// Result for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionProduceResponse<'a> {
    /// Partition index.
    pub index: i32,
    /// Error, 0 = none.
    pub error_code: i16,
    /// Offset of the first record, -1 on errors.
    pub base_offset: i64,
    /// Append time in milliseconds since the epoch if the topic uses it, else -1.
    pub log_append_time_ms: i64,
    /// First offset of the log, -1 = not known; dropped before version 5.
    pub log_start_offset: i64,
    /// Records that made the batch invalid: index in the batch and message; dropped before version 8.
    pub record_errors: Vec<(i32, Option<&'a str>)>,
    /// What is wrong with them; dropped before version 8.
    pub error_message: Option<&'a str>,
    /// The leader, for a client that asked another broker; dropped before version 10.
    pub current_leader: LeaderIdAndEpoch,
}

impl Default for PartitionProduceResponse<'_> {
    fn default() -> Self {
        Self {
            index: 0,
            error_code: 0,
            base_offset: 0,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: LeaderIdAndEpoch::default(),
        }
    }
}

impl<'a> ProduceResponse<'a> {
    /// Reads a response's body.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let flexible = check_version(version)?;
        let mut response = Self {
            topics: r.array(flexible, if flexible { 3 } else { 6 }, |r| {
                let mut topic = TopicProduceResponse::default();
                if version >= TOPIC_IDS_FROM {
                    topic.topic_id = r.uuid()?;
                } else {
                    topic.name = r.str(flexible)?;
                }
                topic.partitions = r.array(flexible, 22, |r| PartitionProduceResponse::read(r, version))?;
                end_struct(r, flexible)?;
                Ok(topic)
            })?,
            throttle_time_ms: r.i32()?,
            node_endpoints: Vec::new(),
        };
        if flexible {
            r.tagged(&mut |tag, r| {
                match tag {
                    0 if version >= 10 => response.node_endpoints = read_node_endpoints(r)?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(response)
    }

    /// Appends the response's body.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn encode(&self, w: &mut Vec<u8>, version: i16) -> Result<(), EncodeError> {
        let flexible = encodable(version)?;
        wire::put_array(w, &self.topics, flexible, |w, topic| {
            if version >= TOPIC_IDS_FROM {
                wire::put_uuid(w, topic.topic_id);
            } else {
                wire::put_string(w, topic.name, flexible)?;
            }
            wire::put_array(w, &topic.partitions, flexible, |w, p| p.write(w, version))?;
            put_no_tags(w, flexible);
            Ok(())
        })?;
        wire::put_i32(w, self.throttle_time_ms);
        if flexible {
            let mut tags = TagWriter::new();
            if version >= 10 && !self.node_endpoints.is_empty() {
                tags.add(0, &mut |w| write_node_endpoints(w, &self.node_endpoints))?;
            }
            tags.finish(w, &TaggedFields::default())?;
        }
        Ok(())
    }

    /// A whole response frame, length included.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn encode_frame(&self, version: i16, correlation_id: i32) -> Result<Bytes, EncodeError> {
        let mut w = frame::begin_response(ApiKey::Produce, version, correlation_id);
        self.encode(&mut w, version)?;
        frame::finish(w)
    }
}

impl<'a> PartitionProduceResponse<'a> {
    fn read(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= FLEXIBLE_FROM;
        let mut p = Self {
            index: r.i32()?,
            error_code: r.i16()?,
            base_offset: r.i64()?,
            log_append_time_ms: r.i64()?,
            ..Self::default()
        };
        if version >= 5 {
            p.log_start_offset = r.i64()?;
        }
        if version >= 8 {
            p.record_errors = r.array(flexible, 6, |r| {
                let error = (r.i32()?, r.nullable_str(flexible)?);
                end_struct(r, flexible)?;
                Ok(error)
            })?;
            p.error_message = r.nullable_str(flexible)?;
        }
        if flexible {
            r.tagged(&mut |tag, r| {
                match tag {
                    0 if version >= 10 => p.current_leader = LeaderIdAndEpoch::read(r)?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(p)
    }

    fn write(&self, w: &mut Vec<u8>, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= FLEXIBLE_FROM;
        wire::put_i32(w, self.index);
        wire::put_i16(w, self.error_code);
        wire::put_i64(w, self.base_offset);
        wire::put_i64(w, self.log_append_time_ms);
        if version >= 5 {
            wire::put_i64(w, self.log_start_offset);
        }
        if version >= 8 {
            wire::put_array(w, &self.record_errors, flexible, |w, (index, message)| {
                wire::put_i32(w, *index);
                wire::put_nullable_string(w, *message, flexible)?;
                put_no_tags(w, flexible);
                Ok(())
            })?;
            wire::put_nullable_string(w, self.error_message, flexible)?;
        }
        if flexible {
            let mut tags = TagWriter::new();
            if version >= 10 && self.current_leader != LeaderIdAndEpoch::default() {
                tags.add(0, &mut |w| {
                    self.current_leader.write(w);
                    Ok(())
                })?;
            }
            tags.finish(w, &TaggedFields::default())?;
        }
        Ok(())
    }
}
