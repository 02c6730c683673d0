//! Positions, commits and look-ups of offsets.

use std::collections::BTreeMap;
use std::time::SystemTime;

use kafka_codec::ErrorCode;
use tokio::time::Instant;

use super::partitions::{EARLIEST, LATEST, Position};
use super::tasks::passes;
use super::{Consumer, GroupMetadata, OffsetAndTimestamp, Result, Source, oneshot};
use crate::admin::{IsolationLevel, ListedOffset};
use crate::cluster::Purpose;
use crate::config::OffsetReset;
use crate::door::TopicPartition;
use crate::error::Error;
use crate::group_offsets;
use crate::list_offsets::{self, Question};
use crate::metadata::Metadata;
use crate::record::OffsetAndMetadata;
use crate::retry::Retry;

impl Consumer {
    /// What `auto.offset.reset` says; `None` = refuse.
    pub(super) fn reset_position(&self) -> Option<Position> {
        let ms = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Some(Position::Lookup(match self.config.offset_reset {
            OffsetReset::Earliest => EARLIEST,
            OffsetReset::Latest => LATEST,
            OffsetReset::None => return None,
            OffsetReset::ByDuration(age) => {
                let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, ms);
                now.saturating_sub(ms(age)).max(0)
            }
        }))
    }

    /// Offset of the next record that poll will give; looks it up where it is not known yet.
    ///
    /// # Errors
    /// [`Error::Illegal`] for a partition that is not assigned; [`Error::Timeout`] after `default.api.timeout.ms`;
    /// [`Error::NoOffset`].
    pub async fn position(&mut self, partition: &TopicPartition) -> Result<i64> {
        self.check_open()?;
        let limit = self.config.client.default_api_timeout;
        let deadline = Instant::now() + limit;
        loop {
            let assigned = self.partitions.get(partition).ok_or_else(|| {
                Error::Illegal(
                    "You can only check the position for partitions assigned to this consumer.".to_owned(),
                )
            })?;
            if let Position::At { offset, .. } = assigned.position {
                return Ok(offset);
            }
            if let Some(error) = self.errors.pop_front() {
                return Err(error);
            }
            self.look_up_positions();
            if !self.wait(deadline).await {
                return Err(Error::Timeout(format!(
                    "Timeout of {}ms expired before the position for partition {partition} could be determined",
                    limit.as_millis()
                )));
            }
        }
    }

    /// As whom to commit: with partitions assigned by hand as nobody.
    fn committing_as(&self) -> Result<GroupMetadata> {
        let me = self.needs_group()?.membership.metadata();
        Ok(match self.source {
            Source::Topics | Source::Pattern(_) => me,
            Source::None | Source::Manual => GroupMetadata::nobody(&me.group_id),
        })
    }

    /// Commits the positions of all assigned partitions and waits.
    ///
    /// # Errors
    /// [`Error::CommitFailed`] when the group has moved on; [`Error::Illegal`] without `group.id`.
    pub async fn commit(&mut self) -> Result<()> {
        let positions = self.partitions.positions();
        self.commit_offsets(&positions).await
    }

    /// Commits these offsets and waits.
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub async fn commit_offsets(
        &mut self,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<()> {
        let outcome = self.commit_async(Some(offsets.clone()))?;
        outcome.await.unwrap_or(Err(Error::Closed("consumer")))
    }

    /// Commits these offsets (the positions of all assigned partitions when `None`) in the background; order among
    /// commits is kept. The receiver tells the outcome and may be dropped.
    ///
    /// # Errors
    /// [`Error::Illegal`] without `group.id`; [`Error::Timeout`] when too many commits wait already.
    pub fn commit_async(
        &mut self,
        offsets: Option<BTreeMap<TopicPartition, OffsetAndMetadata>>,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        self.check_open()?;
        let me = self.committing_as()?;
        let offsets = offsets.unwrap_or_else(|| self.partitions.positions());
        let committer = self.committer.as_ref().ok_or(Error::Closed("consumer"))?;
        committer.commit(me, offsets)
    }

    /// Commits in the background when `auto.commit.interval.ms` has passed.
    pub(super) fn auto_commit(&mut self) {
        if !self.config.auto_commit || self.group.is_none() || Instant::now() < self.next_auto_commit {
            return;
        }
        self.next_auto_commit = Instant::now() + self.config.auto_commit_interval;
        // The committer logs failures; the next one commits more anyway.
        let _ = self.commit_async(None);
    }

    /// Committed offsets; partitions without one are left out.
    ///
    /// # Errors
    /// [`Error::Illegal`] without `group.id`; what the coordinator refuses.
    pub async fn committed(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        self.check_open()?;
        let membership = std::sync::Arc::clone(&self.needs_group()?.membership);
        let config = &membership.config.client;
        let stable = membership.config.isolation == IsolationLevel::ReadCommitted;
        let mut retry = Retry::new(config, config.default_api_timeout);
        loop {
            let attempt = async {
                let connection = membership.coordinator(Purpose::Offsets).await?;
                let limit = config.request_timeout;
                let id = &membership.group_id;
                let all = group_offsets::fetch(&connection, id, Some(partitions), stable, limit).await?;
                let mut found = BTreeMap::new();
                for (partition, offset) in all {
                    if let Some(offset) = offset? {
                        found.insert(partition, offset);
                    }
                }
                Ok(found)
            };
            match attempt.await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    membership.heed(&error);
                    retry.after(error).await?;
                }
            }
        }
    }

    /// First offset at or after each time (milliseconds since the epoch); `None` where there is no such record.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `default.api.timeout.ms`; what the leaders refuse.
    pub async fn offsets_for_times(
        &mut self,
        times: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, Option<OffsetAndTimestamp>>> {
        if let Some((partition, time)) = times.iter().find(|(_, time)| **time < 0) {
            return Err(Error::Illegal(format!(
                "The target time for partition {partition} is {time}. The target time cannot be negative."
            )));
        }
        let found = self.offsets_at(times.iter().map(|(p, time)| (p.clone(), *time)).collect()).await?;
        let answer = |(partition, o): (TopicPartition, ListedOffset)| {
            let found = OffsetAndTimestamp {
                offset: o.offset,
                timestamp_ms: o.timestamp_ms,
                leader_epoch: o.leader_epoch,
            };
            (partition, (o.offset >= 0).then_some(found))
        };
        Ok(found.into_iter().map(answer).collect())
    }

    /// First offset stored of each partition.
    ///
    /// # Errors
    /// As [`Consumer::offsets_for_times`].
    pub async fn beginning_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let found = self.offsets_at(partitions.iter().map(|p| (p.clone(), EARLIEST)).collect()).await?;
        Ok(found.into_iter().map(|(partition, o)| (partition, o.offset)).collect())
    }

    /// End of each partition (last stable offset under `read_committed`).
    ///
    /// # Errors
    /// As [`Consumer::offsets_for_times`].
    pub async fn end_offsets(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let found = self.offsets_at(partitions.iter().map(|p| (p.clone(), LATEST)).collect()).await?;
        Ok(found.into_iter().map(|(partition, o)| (partition, o.offset)).collect())
    }

    async fn offsets_at(
        &mut self,
        mut asked: Vec<(TopicPartition, i64)>,
    ) -> Result<BTreeMap<TopicPartition, ListedOffset>> {
        self.check_open()?;
        let (cluster, config) = (&self.cluster, &self.config);
        let mut retry = Retry::new(&config.client, config.client.default_api_timeout);
        let mut found = BTreeMap::new();
        loop {
            let attempt = async {
                let mut names: Vec<_> = asked.iter().map(|(p, _)| p.topic.to_string()).collect();
                names.sort();
                names.dedup();
                let response = cluster.fetch_metadata(Some(&names), config.allow_auto_create_topics).await?;
                let metadata = Metadata::default().next(&response);
                let mut passing = None;
                for (node, questions) in by_leader(&metadata, &asked)? {
                    let connection = cluster.broker(node).await?;
                    let limit = config.client.request_timeout;
                    for (partition, answer) in
                        list_offsets::ask(&connection, &questions, config.isolation, limit).await?
                    {
                        match answer {
                            Ok(offset) => {
                                found.insert(partition, offset);
                            }
                            Err(error) if passes(&error) => passing = Some(error),
                            Err(error) => return Err(error),
                        }
                    }
                }
                passing.map_or(Ok(()), Err)
            };
            match attempt.await {
                Ok(()) => return Ok(found),
                Err(error) => retry.after(error).await?,
            }
            asked.retain(|(partition, _)| !found.contains_key(partition));
        }
    }

    /// Partition count of a topic; `None` when it does not exist.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `default.api.timeout.ms`.
    pub async fn partitions_for(&mut self, topic: &str) -> Result<Option<i32>> {
        let metadata = self.metadata_of(Some(&[topic.to_owned()])).await?;
        let count = metadata.topic(topic).map(|t| i32::try_from(t.partitions.len()).unwrap_or(i32::MAX));
        match metadata.errors.get(topic) {
            None | Some(ErrorCode::UnknownTopicOrPartition) => Ok(count),
            Some(code) => Err(Error::broker(*code)),
        }
    }

    /// All topics with their partition counts, sorted by name.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `default.api.timeout.ms`.
    pub async fn list_topics(&mut self) -> Result<BTreeMap<String, i32>> {
        let metadata = self.metadata_of(None).await?;
        let count = |t: &std::sync::Arc<crate::metadata::TopicState>| {
            (t.name.to_string(), i32::try_from(t.partitions.len()).unwrap_or(i32::MAX))
        };
        Ok(metadata.topics.values().map(count).collect())
    }

    async fn metadata_of(&mut self, topics: Option<&[String]>) -> Result<Metadata> {
        self.check_open()?;
        let mut retry = Retry::new(&self.config.client, self.config.client.default_api_timeout);
        let create = self.config.allow_auto_create_topics && topics.is_some();
        loop {
            let error = match self.cluster.fetch_metadata(topics, create).await {
                Ok(response) => {
                    let metadata = Metadata::default().next(&response);
                    // A topic that is just being created.
                    if !metadata.errors.values().any(|code| *code == ErrorCode::LeaderNotAvailable) {
                        return Ok(metadata);
                    }
                    Error::broker(ErrorCode::LeaderNotAvailable)
                }
                Err(error) => error,
            };
            if let Err(error) = retry.after(error).await {
                return Err(match error {
                    Error::Connection { .. } => {
                        Error::Timeout("Timeout expired while fetching topic metadata".to_owned())
                    }
                    other => other,
                });
            }
        }
    }
}

/// Questions by leader.
pub(super) fn by_leader(
    metadata: &Metadata,
    asked: &[(TopicPartition, i64)],
) -> Result<BTreeMap<i32, Vec<Question>>> {
    let mut leaders: BTreeMap<i32, Vec<Question>> = BTreeMap::new();
    for (partition, timestamp) in asked {
        let Some((leader, leader_epoch)) = metadata.leader(partition) else {
            let code = metadata.errors.get(&partition.topic).copied();
            return Err(Error::broker(code.unwrap_or(ErrorCode::UnknownTopicOrPartition)));
        };
        let question = Question { partition: partition.clone(), timestamp: *timestamp, leader_epoch };
        leaders.entry(leader).or_default().push(question);
    }
    Ok(leaders)
}
