//! Consumes records: partitions assigned by hand or by a group.

pub mod assignor;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use regex::Regex;

pub use assignor::AssignorKind;

use crate::config::ConsumerConfig;
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::record::{ConsumerRecord, OffsetAndMetadata, OffsetAndTimestamp};

/// What a consumer is told when its group moves partitions. Called inside [`Consumer::poll`] (and
/// `close`/`unsubscribe`) with the consumer itself, so that it may commit or seek.
pub trait RebalanceListener: Send {
    /// The consumer is about to lose these; commit here.
    fn revoked<'a>(
        &'a mut self,
        consumer: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()>;

    /// The consumer got these in addition to what it kept.
    fn assigned<'a>(
        &'a mut self,
        consumer: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()>;

    /// The consumer has lost these already (session expired): commits would fail.
    fn lost<'a>(
        &'a mut self,
        consumer: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()> {
        self.revoked(consumer, partitions)
    }
}

/// Who the consumer is in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Group id.
    pub group_id: String,
    /// Generation, −1 outside the group.
    pub generation: i32,
    /// Member id, empty outside the group.
    pub member_id: String,
    /// `group.instance.id`.
    pub group_instance_id: Option<String>,
}

impl GroupMetadata {
    /// Not a member: may commit to groups without members only.
    pub(crate) fn nobody(group_id: &str) -> Self {
        let group_id = group_id.to_owned();
        Self { group_id, generation: -1, member_id: String::new(), group_instance_id: None }
    }
}

/// A consumer. One owner; every call may be dropped half-way (a dropped [`Consumer::poll`] loses no record), so
/// `tokio::select!` replaces Java's `wakeup()`. Heartbeats go on in the background between calls.
pub struct Consumer {
    #[allow(dead_code)]
    config: Arc<ConsumerConfig>,
}

impl Consumer {
    /// Makes a consumer on the current tokio runtime; connects lazily.
    pub fn new(config: ConsumerConfig) -> Result<Self> {
        Ok(Self { config: Arc::new(config) })
    }

    /// Joins the group for these topics; replaces the former subscription. An empty list unsubscribes at the next poll.
    pub fn subscribe(&mut self, topics: &[&str], listener: Option<Box<dyn RebalanceListener>>) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Joins the group for all topics, now and later, whose whole name matches.
    pub fn subscribe_pattern(
        &mut self,
        pattern: Regex,
        listener: Option<Box<dyn RebalanceListener>>,
    ) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Leaves the group and drops every assignment.
    pub async fn unsubscribe(&mut self) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Takes exactly these partitions, without a group's coordination.
    pub fn assign(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Partitions assigned now, sorted.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        Vec::new()
    }

    /// Topics subscribed to, sorted.
    pub fn subscription(&self) -> Vec<String> {
        Vec::new()
    }

    /// Fetches records: answers as soon as there are any, at the latest after `timeout` (then empty), at most
    /// `max.poll.records`. Records of one partition come in order, partitions one after the other. Also drives
    /// the group (joins, rebalances, listeners) and auto-commit.
    ///
    /// # Errors
    /// [`Error::NoOffset`], a corrupt record, missing authorization, a fatal group error. The consumer may be
    /// polled again; a corrupt record stands in the way until a seek passes it.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>> {
        Err(Error::Closed("consumer"))
    }

    /// Moves the position of an assigned partition.
    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Moves the position to the first offset (all assigned partitions when the list is empty).
    pub fn seek_to_beginning(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Moves the position to the end (all assigned partitions when the list is empty).
    pub fn seek_to_end(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Stops fetching these until [`Consumer::resume`].
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Fetches these again.
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Partitions paused now.
    pub fn paused(&self) -> Vec<TopicPartition> {
        Vec::new()
    }

    /// Offset of the next record that poll will give; looks it up where it is not known yet.
    pub async fn position(&mut self, partition: &TopicPartition) -> Result<i64> {
        Err(Error::Closed("consumer"))
    }

    /// Records between the position and the end as last seen in a fetch; `None` before the first fetch.
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        None
    }

    /// Commits the positions of all assigned partitions and waits.
    pub async fn commit(&mut self) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Commits these offsets and waits.
    pub async fn commit_offsets(
        &mut self,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<()> {
        Err(Error::Closed("consumer"))
    }

    /// Commits these offsets (the positions of all assigned partitions when `None`) in the background; order among commits is kept. The receiver tells the outcome and may be dropped.
    pub fn commit_async(
        &mut self,
        offsets: Option<BTreeMap<TopicPartition, OffsetAndMetadata>>,
    ) -> Result<tokio::sync::oneshot::Receiver<Result<()>>> {
        Err(Error::Closed("consumer"))
    }

    /// Committed offsets; partitions without one are left out.
    pub async fn committed(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        Err(Error::Closed("consumer"))
    }

    /// First offset at or after each time (milliseconds since the epoch); `None` where there is no such record.
    pub async fn offsets_for_times(
        &mut self,
        times: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, Option<OffsetAndTimestamp>>> {
        Err(Error::Closed("consumer"))
    }

    /// First offset stored of each partition.
    pub async fn beginning_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        Err(Error::Closed("consumer"))
    }

    /// End of each partition (last stable offset under `read_committed`).
    pub async fn end_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        Err(Error::Closed("consumer"))
    }

    /// Partition count of a topic; `None` when it does not exist.
    pub async fn partitions_for(&mut self, topic: &str) -> Result<Option<i32>> {
        Err(Error::Closed("consumer"))
    }

    /// All topics with their partition counts, sorted by name.
    pub async fn list_topics(&mut self) -> Result<BTreeMap<String, i32>> {
        Err(Error::Closed("consumer"))
    }

    /// Who this consumer is in its group; `None` without `group.id`.
    pub fn group_metadata(&self) -> Option<GroupMetadata> {
        None
    }

    /// Asks for a new rebalance at the next poll.
    pub fn enforce_rebalance(&mut self, reason: &str) {}

    /// Commits (with auto-commit), leaves the group (dynamic members) and closes the connections, within `timeout`.
    pub async fn close(&mut self, timeout: Duration) -> Result<()> {
        Err(Error::Closed("consumer"))
    }
}
