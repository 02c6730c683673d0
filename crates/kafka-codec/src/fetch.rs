//! Fetch (API 1), versions 4 to 18, by hand: records are not copied, and need not be in memory at all.
//!
//! Names borrow from the frame they were decoded from. A response is generic over its records: `Response<usize>`
//! holds lengths only and is encoded into [`Part`]s between which the broker sends file ranges;
//! `Response<Bytes>` is what a client decodes. Unknown tagged fields are dropped.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::frame::{self, PartWriter, RequestHeader};
use crate::leader::{read_node_endpoints, write_node_endpoints};
use crate::wire::{self, Reader, TagWriter, TaggedFields};
use crate::{ApiKey, DecodeError, EncodeError, Uuid};

pub use crate::frame::Part;
pub use crate::leader::{LeaderIdAndEpoch, NodeEndpoint};

/// Versions this module reads and writes.
pub const VERSIONS: RangeInclusive<i16> = 4..=18;

const FLEXIBLE_FROM: i16 = 12;
const TOPIC_IDS_FROM: i16 = 13;
const NAME: &str = "FetchRequest";

fn check_version(version: i16) -> Result<bool, DecodeError> {
    if !VERSIONS.contains(&version) {
        return Err(DecodeError::UnsupportedVersion { message: NAME, version });
    }
    Ok(version >= FLEXIBLE_FROM)
}

fn encodable(version: i16) -> Result<bool, EncodeError> {
    check_version(version).map_err(|_| EncodeError::UnsupportedVersion { message: NAME, version })
}

/// A fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest<'a> {
    /// Cluster the sender believes to talk to (metadata quorum only); from version 12.
    pub cluster_id: Option<&'a str>,
    /// Broker id of a follower, -1 for consumers.
    pub replica_id: i32,
    /// Epoch of the follower, -1 = none; from version 15.
    pub replica_epoch: i64,
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// Fewest bytes to answer with before the time is over.
    pub min_bytes: i32,
    /// Most bytes to answer with; the first batch comes even if it is larger.
    pub max_bytes: i32,
    /// 0 = read uncommitted, 1 = read committed.
    pub isolation_level: i8,
    /// Fetch session, 0 = none; from version 7.
    pub session_id: i32,
    /// Epoch in the session, 0 = begin one, -1 = full fetch without or at the end of one; from version 7.
    pub session_epoch: i32,
    /// What to fetch, in this order.
    pub topics: Vec<FetchTopic<'a>>,
    /// What to remove from the session; from version 7.
    pub forgotten: Vec<ForgottenTopic<'a>>,
    /// Rack of the consumer, empty = none; from version 11.
    pub rack_id: &'a str,
}

impl Default for FetchRequest<'_> {
    fn default() -> Self {
        Self {
            cluster_id: None,
            replica_id: -1,
            replica_epoch: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten: Vec::new(),
            rack_id: "",
        }
    }
}

/// What to fetch of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchTopic<'a> {
    /// Topic name, up to version 12; empty in later ones.
    pub topic: &'a str,
    /// Topic id, from version 13 on; zero in earlier ones.
    pub topic_id: Uuid,
    /// What to fetch, by partition.
    pub partitions: Vec<FetchPartition>,
}

/// What to fetch of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// Partition index.
    pub partition: i32,
    /// Leader epoch the sender knows, -1 = none; from version 9.
    pub current_leader_epoch: i32,
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Epoch of the last record the sender has, -1 = none; from version 12.
    pub last_fetched_epoch: i32,
    /// First offset of the follower's log, -1 for consumers; from version 5.
    pub log_start_offset: i64,
    /// Most bytes of this partition; the first batch comes even if it is larger.
    pub partition_max_bytes: i32,
    /// Directory of the follower's log; from version 17.
    pub replica_directory_id: Uuid,
    /// High watermark the follower knows, -1 = none, `i64::MAX` = does not tell; from version 18.
    pub high_watermark: i64,
}

impl Default for FetchPartition {
    fn default() -> Self {
        Self {
            partition: 0,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 0,
            replica_directory_id: Uuid::ZERO,
            high_watermark: i64::MAX,
        }
    }
}

/// Partitions to remove from a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgottenTopic<'a> {
    /// Topic name, up to version 12.
    pub topic: &'a str,
    /// Topic id, from version 13 on.
    pub topic_id: Uuid,
    /// Partition indexes.
    pub partitions: Vec<i32>,
}

fn read_topic_key<'a>(r: &mut Reader<'a>, version: i16) -> Result<(&'a str, Uuid), DecodeError> {
    if version >= TOPIC_IDS_FROM {
        Ok(("", r.uuid()?))
    } else {
        Ok((r.str(version >= FLEXIBLE_FROM)?, Uuid::ZERO))
    }
}

fn write_topic_key(w: &mut Vec<u8>, topic: &str, id: Uuid, version: i16) -> Result<(), EncodeError> {
    if version >= TOPIC_IDS_FROM {
        wire::put_uuid(w, id);
        return Ok(());
    }
    wire::put_string(w, topic, version >= FLEXIBLE_FROM)
}

fn end_struct(r: &mut Reader<'_>, flexible: bool) -> Result<(), DecodeError> {
    if flexible {
        r.untagged()?;
    }
    Ok(())
}

fn put_no_tags(w: &mut Vec<u8>, flexible: bool) {
    if flexible {
        w.push(0);
    }
}

impl<'a> FetchRequest<'a> {
    /// Reads a request's body.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let flexible = check_version(version)?;
        let mut request = Self::default();
        if version < 15 {
            request.replica_id = r.i32()?;
        }
        request.max_wait_ms = r.i32()?;
        request.min_bytes = r.i32()?;
        request.max_bytes = r.i32()?;
        request.isolation_level = r.i8()?;
        if version >= 7 {
            request.session_id = r.i32()?;
            request.session_epoch = r.i32()?;
        }
        request.topics = r.array(flexible, if flexible { 3 } else { 6 }, |r| {
            let (topic, topic_id) = read_topic_key(r, version)?;
            let partitions =
                r.array(flexible, FetchPartition::bytes_min(version), |r| FetchPartition::read(r, version))?;
            end_struct(r, flexible)?;
            Ok(FetchTopic { topic, topic_id, partitions })
        })?;
        if version >= 7 {
            request.forgotten = r.array(flexible, if flexible { 3 } else { 6 }, |r| {
                let (topic, topic_id) = read_topic_key(r, version)?;
                let partitions = r.array(flexible, 4, Reader::i32)?;
                end_struct(r, flexible)?;
                Ok(ForgottenTopic { topic, topic_id, partitions })
            })?;
        }
        if version >= 11 {
            request.rack_id = r.str(flexible)?;
        }
        if flexible {
            r.tagged(&mut |tag, r| {
                match tag {
                    0 => request.cluster_id = r.nullable_str(true)?,
                    1 if version >= 15 => {
                        request.replica_id = r.i32()?;
                        request.replica_epoch = r.i64()?;
                        r.untagged()?;
                    }
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(request)
    }

    /// Appends the request's body. What the version does not have is dropped, except that it must not change the
    /// request's meaning.
    ///
    /// # Errors
    /// [`EncodeError::UnsupportedField`] for forgotten topics before version 7, a replica epoch before version 15 and
    /// a last fetched epoch before version 12.
    pub fn encode(&self, w: &mut Vec<u8>, version: i16) -> Result<(), EncodeError> {
        let flexible = encodable(version)?;
        if version < 15 {
            if self.replica_epoch != -1 {
                return Err(EncodeError::UnsupportedField { field: "FetchRequest.ReplicaEpoch", version });
            }
            wire::put_i32(w, self.replica_id);
        }
        wire::put_i32(w, self.max_wait_ms);
        wire::put_i32(w, self.min_bytes);
        wire::put_i32(w, self.max_bytes);
        wire::put_i8(w, self.isolation_level);
        if version >= 7 {
            wire::put_i32(w, self.session_id);
            wire::put_i32(w, self.session_epoch);
        }
        wire::put_array(w, &self.topics, flexible, |w, topic| {
            write_topic_key(w, topic.topic, topic.topic_id, version)?;
            wire::put_array(w, &topic.partitions, flexible, |w, p| p.write(w, version))?;
            put_no_tags(w, flexible);
            Ok(())
        })?;
        if version >= 7 {
            wire::put_array(w, &self.forgotten, flexible, |w, topic| {
                write_topic_key(w, topic.topic, topic.topic_id, version)?;
                wire::put_array(w, &topic.partitions, flexible, |w, p| {
                    wire::put_i32(w, *p);
                    Ok(())
                })?;
                put_no_tags(w, flexible);
                Ok(())
            })?;
        } else if !self.forgotten.is_empty() {
            return Err(EncodeError::UnsupportedField { field: "FetchRequest.ForgottenTopicsData", version });
        }
        if version >= 11 {
            wire::put_string(w, self.rack_id, flexible)?;
        }
        if flexible {
            let mut tags = TagWriter::new();
            if self.cluster_id.is_some() {
                tags.add(0, &mut |w| wire::put_nullable_string(w, self.cluster_id, true))?;
            }
            if version >= 15 && (self.replica_id, self.replica_epoch) != (-1, -1) {
                tags.add(1, &mut |w| {
                    wire::put_i32(w, self.replica_id);
                    wire::put_i64(w, self.replica_epoch);
                    w.push(0);
                    Ok(())
                })?;
            }
            tags.finish(w, &TaggedFields::default())?;
        }
        Ok(())
    }

    /// A whole request frame, length included.
    ///
    /// # Errors
    /// As [`FetchRequest::encode`].
    pub fn encode_frame(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&str>,
    ) -> Result<Bytes, EncodeError> {
        let header = RequestHeader { key: ApiKey::Fetch, version, correlation_id, client_id };
        let mut w = frame::begin_request(&header)?;
        self.encode(&mut w, version)?;
        frame::finish(w)
    }
}

impl FetchPartition {
    fn bytes_min(version: i16) -> usize {
        let since = |first: i16, bytes| if version >= first { bytes } else { 0 };
        16 + since(5, 8) + since(9, 4) + since(12, 5)
    }

    fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        let mut p = Self { partition: r.i32()?, ..Self::default() };
        if version >= 9 {
            p.current_leader_epoch = r.i32()?;
        }
        p.fetch_offset = r.i64()?;
        if version >= 12 {
            p.last_fetched_epoch = r.i32()?;
        }
        if version >= 5 {
            p.log_start_offset = r.i64()?;
        }
        p.partition_max_bytes = r.i32()?;
        if version >= FLEXIBLE_FROM {
            r.tagged(&mut |tag, r| {
                match tag {
                    0 if version >= 17 => p.replica_directory_id = r.uuid()?,
                    1 if version >= 18 => p.high_watermark = r.i64()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(p)
    }

    fn write(&self, w: &mut Vec<u8>, version: i16) -> Result<(), EncodeError> {
        wire::put_i32(w, self.partition);
        if version >= 9 {
            wire::put_i32(w, self.current_leader_epoch);
        }
        wire::put_i64(w, self.fetch_offset);
        if version >= 12 {
            wire::put_i32(w, self.last_fetched_epoch);
        } else if self.last_fetched_epoch != -1 {
            return Err(EncodeError::UnsupportedField { field: "FetchPartition.LastFetchedEpoch", version });
        }
        if version >= 5 {
            wire::put_i64(w, self.log_start_offset);
        }
        wire::put_i32(w, self.partition_max_bytes);
        if version >= FLEXIBLE_FROM {
            let mut tags = TagWriter::new();
            if version >= 17 && !self.replica_directory_id.is_zero() {
                tags.add(0, &mut |w| {
                    wire::put_uuid(w, self.replica_directory_id);
                    Ok(())
                })?;
            }
            if version >= 18 && self.high_watermark != i64::MAX {
                tags.add(1, &mut |w| {
                    wire::put_i64(w, self.high_watermark);
                    Ok(())
                })?;
            }
            tags.finish(w, &TaggedFields::default())?;
        }
        Ok(())
    }
}

/// A fetch response; `R` is what stands for a partition's records: their length (`usize`) or themselves
/// ([`Bytes`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse<'a, R> {
    /// How long the request was held back by a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Error of the whole request (session errors), 0 = none; dropped before version 7.
    pub error_code: i16,
    /// Fetch session, 0 = none; from version 7.
    pub session_id: i32,
    /// Results, by topic.
    pub topics: Vec<TopicFetchResponse<'a, R>>,
    /// Addresses of the leaders named in the results; dropped before version 16.
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

impl<R> Default for FetchResponse<'_, R> {
    fn default() -> Self {
        Self {
            throttle_time_ms: 0,
            error_code: 0,
            session_id: 0,
            topics: Vec::new(),
            node_endpoints: Vec::new(),
        }
    }
}

/// Results for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFetchResponse<'a, R> {
    /// Topic name, up to version 12.
    pub topic: &'a str,
    /// Topic id, from version 13 on.
    pub topic_id: Uuid,
    /// Results, by partition.
    pub partitions: Vec<PartitionFetchResponse<R>>,
}

/// Epoch and end offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// Leader epoch, -1 = none.
    pub epoch: i32,
    /// First offset after the epoch's records, -1 = none.
    pub end_offset: i64,
}

impl Default for EpochEndOffset {
    fn default() -> Self {
        Self { epoch: -1, end_offset: -1 }
    }
}

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
}

/// Result for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFetchResponse<R> {
    /// Partition index.
    pub partition_index: i32,
    /// Error, 0 = none.
    pub error_code: i16,
    /// High watermark.
    pub high_watermark: i64,
    /// Last stable offset: transactions before it are decided.
    pub last_stable_offset: i64,
    /// First offset of the log; from version 5.
    pub log_start_offset: i64,
    /// Where the follower's log and this one part ways; dropped before version 12.
    pub diverging_epoch: EpochEndOffset,
    /// The leader, for a client that asked another broker; dropped before version 12.
    pub current_leader: LeaderIdAndEpoch,
    /// Snapshot to fetch instead (metadata quorum only); dropped before version 12.
    pub snapshot_id: EpochEndOffset,
    /// Aborted transactions in the range, for read committed; `None` = null.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Replica that the consumer should read from, -1 = this one; dropped before version 11.
    pub preferred_read_replica: i32,
    /// Record batches as they stand in the log; `None` = null.
    pub records: Option<R>,
}

impl<R> Default for PartitionFetchResponse<R> {
    fn default() -> Self {
        Self {
            partition_index: 0,
            error_code: 0,
            high_watermark: 0,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: EpochEndOffset::default(),
            current_leader: LeaderIdAndEpoch::default(),
            snapshot_id: EpochEndOffset::default(),
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: None,
        }
    }
}

/// What a response can hold for a partition's records.
pub trait RecordsLen {
    /// Bytes on the wire.
    fn records_len(&self) -> usize;
}

impl RecordsLen for usize {
    fn records_len(&self) -> usize {
        *self
    }
}

impl RecordsLen for Bytes {
    fn records_len(&self) -> usize {
        self.len()
    }
}

impl<R: RecordsLen> FetchResponse<'_, R> {
    /// A whole response frame in parts, length included: where [`Part::Records`] stands, the caller sends the records
    /// of that partition. Partitions whose records are null are not counted; those whose records are empty are
    /// counted, but have no part.
    ///
    /// # Errors
    /// [`EncodeError`]; [`EncodeError::UnsupportedField`] for a session before version 7 and a preferred replica before
    /// version 11.
    pub fn encode_frame(&self, version: i16, correlation_id: i32) -> Result<Vec<Part>, EncodeError> {
        let flexible = encodable(version)?;
        let mut parts = PartWriter::new(frame::begin_response(ApiKey::Fetch, version, correlation_id));
        let w = &mut parts.w;
        wire::put_i32(w, self.throttle_time_ms);
        if version >= 7 {
            wire::put_i16(w, self.error_code);
            wire::put_i32(w, self.session_id);
        } else if self.session_id != 0 {
            return Err(EncodeError::UnsupportedField { field: "FetchResponse.SessionId", version });
        }
        wire::put_len(w, "topics", Some(self.topics.len()), flexible)?;
        for topic in &self.topics {
            write_topic_key(&mut parts.w, topic.topic, topic.topic_id, version)?;
            wire::put_len(&mut parts.w, "partitions", Some(topic.partitions.len()), flexible)?;
            for partition in &topic.partitions {
                partition.write(&mut parts, version)?;
            }
            put_no_tags(&mut parts.w, flexible);
        }
        if flexible {
            let mut tags = TagWriter::new();
            if version >= 16 && !self.node_endpoints.is_empty() {
                tags.add(0, &mut |w| write_node_endpoints(w, &self.node_endpoints))?;
            }
            tags.finish(&mut parts.w, &TaggedFields::default())?;
        }
        parts.finish()
    }
}

impl<'a> FetchResponse<'a, Bytes> {
    /// Reads a response's body; use [`Reader::shared`] so that records are not copied.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let flexible = check_version(version)?;
        let mut response = Self { throttle_time_ms: r.i32()?, ..Self::default() };
        if version >= 7 {
            response.error_code = r.i16()?;
            response.session_id = r.i32()?;
        }
        response.topics = r.array(flexible, if flexible { 3 } else { 6 }, |r| {
            let (topic, topic_id) = read_topic_key(r, version)?;
            let partitions = r.array(flexible, 25, |r| PartitionFetchResponse::read(r, version))?;
            end_struct(r, flexible)?;
            Ok(TopicFetchResponse { topic, topic_id, partitions })
        })?;
        if flexible {
            r.tagged(&mut |tag, r| {
                match tag {
                    0 if version >= 16 => response.node_endpoints = read_node_endpoints(r)?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(response)
    }
}

impl PartitionFetchResponse<Bytes> {
    fn read(r: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        let flexible = version >= FLEXIBLE_FROM;
        let mut p = Self {
            partition_index: r.i32()?,
            error_code: r.i16()?,
            high_watermark: r.i64()?,
            last_stable_offset: r.i64()?,
            ..Self::default()
        };
        if version >= 5 {
            p.log_start_offset = r.i64()?;
        }
        p.aborted_transactions = r.nullable_array(flexible, 16, |r| {
            let aborted = AbortedTransaction { producer_id: r.i64()?, first_offset: r.i64()? };
            end_struct(r, flexible)?;
            Ok(aborted)
        })?;
        if version >= 11 {
            p.preferred_read_replica = r.i32()?;
        }
        p.records = r.nullable_bytes(flexible)?;
        if flexible {
            r.tagged(&mut |tag, r| {
                match tag {
                    0 => {
                        p.diverging_epoch = EpochEndOffset { epoch: r.i32()?, end_offset: r.i64()? };
                        r.untagged()?;
                    }
                    1 => p.current_leader = LeaderIdAndEpoch::read(r)?,
                    2 => {
                        p.snapshot_id.end_offset = r.i64()?;
                        p.snapshot_id.epoch = r.i32()?;
                        r.untagged()?;
                    }
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
        }
        Ok(p)
    }
}

impl<R: RecordsLen> PartitionFetchResponse<R> {
    fn write(&self, parts: &mut PartWriter, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= FLEXIBLE_FROM;
        let w = &mut parts.w;
        wire::put_i32(w, self.partition_index);
        wire::put_i16(w, self.error_code);
        wire::put_i64(w, self.high_watermark);
        wire::put_i64(w, self.last_stable_offset);
        if version >= 5 {
            wire::put_i64(w, self.log_start_offset);
        }
        wire::put_nullable_array(w, self.aborted_transactions.as_deref(), flexible, |w, aborted| {
            wire::put_i64(w, aborted.producer_id);
            wire::put_i64(w, aborted.first_offset);
            put_no_tags(w, flexible);
            Ok(())
        })?;
        if version >= 11 {
            wire::put_i32(w, self.preferred_read_replica);
        } else if self.preferred_read_replica != -1 {
            return Err(EncodeError::UnsupportedField {
                field: "PartitionData.PreferredReadReplica",
                version,
            });
        }
        parts.records(self.records.as_ref().map(R::records_len), flexible)?;
        if flexible {
            self.tags()?.finish(&mut parts.w, &TaggedFields::default())?;
        }
        Ok(())
    }

    fn tags(&self) -> Result<TagWriter, EncodeError> {
        let none = EpochEndOffset::default();
        let mut tags = TagWriter::new();
        if self.diverging_epoch != none {
            tags.add(0, &mut |w| {
                wire::put_i32(w, self.diverging_epoch.epoch);
                wire::put_i64(w, self.diverging_epoch.end_offset);
                w.push(0);
                Ok(())
            })?;
        }
        if self.current_leader != LeaderIdAndEpoch::default() {
            tags.add(1, &mut |w| {
                self.current_leader.write(w);
                Ok(())
            })?;
        }
        if self.snapshot_id != none {
            tags.add(2, &mut |w| {
                wire::put_i64(w, self.snapshot_id.end_offset);
                wire::put_i32(w, self.snapshot_id.epoch);
                w.push(0);
                Ok(())
            })?;
        }
        Ok(tags)
    }
}
