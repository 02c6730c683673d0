//! `poll`: keeps fetches and look-ups going and hands records out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::StreamExt;
use kafka_codec::ErrorCode;
use kafka_codec::fetch::{FetchResponse, PartitionFetchResponse};
use kafka_codec::wire::Reader;
use tokio::time::Instant;

use super::Consumer;
use super::fetched::Fetched;
use super::offsets::by_leader;
use super::partitions::Position;
use super::tasks::{self, Asked, Done, FetchAnswer, Wanted, passes};
use crate::admin::{GroupOffsets, IsolationLevel, ListedOffset};
use crate::door::TopicPartition;
use crate::error::{BrokerError, Error, Result};
use crate::list_offsets;
use crate::record::ConsumerRecord;

impl Consumer {
    /// Fetches records: answers as soon as there are any, at the latest after `timeout` (then empty), at most
    /// `max.poll.records`. Records of one partition come in order, partitions one after the other. Also drives
    /// the group (joins, rebalances, listeners) and auto-commit.
    ///
    /// # Errors
    /// [`Error::NoOffset`], a corrupt record, missing authorization, a fatal group error. The consumer may be
    /// polled again; a corrupt record stands in the way until a seek passes it.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>> {
        self.check_open()?;
        if matches!(self.source, super::Source::None) {
            return Err(Error::Illegal(
                "Consumer is not subscribed to any topics or assigned any partitions".to_owned(),
            ));
        }
        let deadline = Instant::now() + timeout;
        loop {
            self.auto_commit();
            self.collect_done();
            self.drive_group().await;
            self.look_for_refusals();
            if let Some(error) = self.errors.pop_front() {
                return Err(error);
            }
            self.look_up_positions();
            let records = self.take_records()?;
            // So that the next records travel while the application works on these.
            self.send_fetches();
            if !records.is_empty() {
                return Ok(records);
            }
            if !self.wait(deadline).await {
                return Ok(Vec::new());
            }
        }
    }

    /// Waits until something may have changed; `false` when the deadline has come and nothing is there.
    pub(super) async fn wait(&mut self, deadline: Instant) -> bool {
        self.auto_commit();
        let wake_at = self.wake_at(deadline);
        let mut view = self.cluster.watch();
        let version = view.borrow_and_update().metadata.version;
        if version != self.woken_for {
            // Look at it before waiting for more.
            self.woken_for = version;
            return true;
        }
        tokio::select! {
            biased;
            Some(done) = self.tasks.next() => {
                self.handle(done);
                true
            }
            event = next_event(&mut self.group), if self.event.is_none() => {
                match event {
                    Some((number, event)) if number == self.join => self.event = Some(event),
                    _ => {}
                }
                true
            }
            changed = view.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(wake_at) => wake_at < deadline,
        }
    }

    /// The deadline, or an earlier moment when a partition has waited long enough after an error.
    fn wake_at(&self, deadline: Instant) -> Instant {
        let pauses = self.partitions.iter().filter(|(_, a)| !a.busy).filter_map(|(_, a)| a.not_before);
        let now = Instant::now();
        let mut wake_at = pauses.filter(|at| *at > now).min().map_or(deadline, |at| at.min(deadline));
        if self.config.auto_commit && self.group.is_some() {
            wake_at = wake_at.min(self.next_auto_commit.max(now));
        }
        wake_at
    }

    /// Takes what has been answered already.
    fn collect_done(&mut self) {
        while let Some(Some(done)) = self.tasks.next().now_or_never() {
            self.handle(done);
        }
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::Fetch { node, asked, answer } => {
                self.fetching.remove(&node);
                let partitions: Vec<Asked> = asked.iter().map(|(asked, _)| asked.clone()).collect();
                self.release(&partitions);
                match answer.and_then(|answer| self.fetched(&asked, &answer)) {
                    Ok(()) => {}
                    Err(error) => self.all_failed(&partitions, error),
                }
            }
            Done::Committed { asked, answer } => {
                self.release(&asked);
                match answer {
                    Ok(offsets) => self.found_committed(&asked, &offsets),
                    Err(error) => self.all_failed(&asked, error),
                }
            }
            Done::Lookup { asked, answer } => {
                self.release(&asked);
                match answer {
                    Ok(answers) => {
                        for ((partition, term), (_, answer)) in asked.into_iter().zip(answers) {
                            self.looked_up(&partition, term, answer);
                        }
                    }
                    Err(error) => self.all_failed(&asked, error),
                }
            }
        }
    }

    fn release(&mut self, asked: &[Asked]) {
        for (partition, term) in asked {
            if let Some(assigned) = self.partitions.of_term(partition, *term) {
                assigned.busy = false;
            }
        }
    }

    /// A whole request failed: later again, or to the application when that cannot help.
    fn all_failed(&mut self, asked: &[Asked], error: Error) {
        if passes(&error) || matches!(error, Error::Protocol { .. }) {
            tracing::debug!(%error, "fetch or look-up goes again");
            self.cluster.want_refresh();
            for (partition, term) in asked {
                self.pause_after_error(partition, *term);
            }
        } else {
            for (partition, term) in asked {
                self.pause_after_error(partition, *term);
            }
            self.tell_once(error);
        }
    }

    fn pause_after_error(&mut self, partition: &TopicPartition, term: u64) {
        let pause = self.config.client.retry_backoff;
        if let Some(assigned) = self.partitions.of_term(partition, term) {
            assigned.not_before = Some(Instant::now() + pause);
            assigned.preferred = None;
        }
    }

    /// Topics that this client may not read are told to the application, as each refresh finds them.
    fn look_for_refusals(&mut self) {
        let metadata = self.cluster.metadata();
        if metadata.version == self.refused_in {
            return;
        }
        self.refused_in = metadata.version;
        let refused =
            metadata.errors.iter().filter(|(_, code)| **code == ErrorCode::TopicAuthorizationFailed);
        let refused: Vec<&str> = refused.map(|(name, _)| &**name).collect();
        if !refused.is_empty() {
            self.tell_once(Error::Broker(BrokerError {
                code: ErrorCode::TopicAuthorizationFailed,
                message: Some(format!("Not authorized to access topics: [{}]", refused.join(", "))),
            }));
        }
    }

    /// Bounded: many partitions may fail for one reason.
    fn tell_once(&mut self, error: Error) {
        let text = error.to_string();
        if !self.errors.iter().any(|known| known.to_string() == text) {
            self.errors.push_back(error);
        }
    }

    fn found_committed(&mut self, asked: &[Asked], offsets: &GroupOffsets) {
        let mut without = Vec::new();
        for (partition, term) in asked {
            let reset = self.reset_position();
            let Some(assigned) = self.partitions.of_term(partition, *term) else { continue };
            match offsets.get(partition) {
                Some(Ok(Some(committed))) => {
                    assigned.position =
                        Position::At { offset: committed.offset, leader_epoch: committed.leader_epoch };
                }
                Some(Ok(None)) | None => match reset {
                    Some(position) => assigned.position = position,
                    None => without.push(partition.to_string()),
                },
                Some(Err(error)) => {
                    let error = error.clone();
                    self.partition_failed(partition, *term, error);
                }
            }
        }
        if !without.is_empty() {
            let text =
                format!("Undefined offset with no reset policy for partitions: [{}]", without.join(", "));
            self.pause_all(asked);
            self.tell_once(Error::NoOffset(text));
        }
    }

    fn pause_all(&mut self, asked: &[Asked]) {
        for (partition, term) in asked {
            self.pause_after_error(partition, *term);
        }
    }

    fn looked_up(&mut self, partition: &TopicPartition, term: u64, answer: Result<ListedOffset>) {
        match answer {
            Ok(found) => {
                let Some(assigned) = self.partitions.of_term(partition, term) else { return };
                if found.offset >= 0 {
                    // As in Kafka's client: a position has an epoch only once something was read there.
                    assigned.position = Position::At { offset: found.offset, leader_epoch: None };
                } else {
                    // No record is that young: the end then.
                    assigned.position = Position::Lookup(super::partitions::LATEST);
                }
            }
            Err(error) => self.partition_failed(partition, term, error),
        }
    }

    fn partition_failed(&mut self, partition: &TopicPartition, term: u64, error: Error) {
        self.pause_after_error(partition, term);
        if passes(&error) {
            tracing::debug!(%partition, %error, "partition cannot be read now");
            self.cluster.want_refresh();
            return;
        }
        self.tell_once(match error.code() {
            Some(code @ ErrorCode::TopicAuthorizationFailed) => Error::Broker(BrokerError {
                code,
                message: Some(format!("Not authorized to access topics: [{}]", partition.topic)),
            }),
            _ => error,
        });
    }

    /// Starts look-ups for partitions whose position is not known.
    pub(super) fn look_up_positions(&mut self) {
        let now = Instant::now();
        let mut committed: Vec<Asked> = Vec::new();
        let mut by_time: Vec<(TopicPartition, i64)> = Vec::new();
        let reset = self.reset_position();
        let grouped = self.group.is_some();
        let mut without = Vec::new();
        for (partition, assigned) in self.partitions.iter_mut() {
            if assigned.busy || assigned.not_before.is_some_and(|at| at > now) {
                continue;
            }
            match (assigned.position, reset) {
                (Position::At { .. }, _) => {}
                (Position::Committed, _) if grouped => committed.push((partition.clone(), assigned.term)),
                (Position::Committed, Some(reset)) => assigned.position = reset,
                (Position::Committed, None) => without.push((partition.clone(), assigned.term)),
                (Position::Lookup(time), _) => by_time.push((partition.clone(), time)),
            }
        }
        if !without.is_empty() {
            let names: Vec<_> = without.iter().map(|(p, _)| p.to_string()).collect();
            self.pause_all(&without);
            self.tell_once(Error::NoOffset(format!(
                "Undefined offset with no reset policy for partitions: [{}]",
                names.join(", ")
            )));
        }
        if let (false, Some(group)) = (committed.is_empty(), &self.group) {
            let membership = Arc::clone(&group.membership);
            self.mark_busy(committed.iter().map(|(p, _)| p));
            self.tasks.push(Box::pin(tasks::committed(membership, committed)));
        }
        if by_time.is_empty() {
            return;
        }
        let metadata = self.cluster.metadata();
        let (led, leaderless): (Vec<_>, Vec<_>) =
            by_time.into_iter().partition(|(p, _)| metadata.leader(p).is_some());
        self.without_leader(leaderless.into_iter().map(|(p, _)| p));
        let Ok(leaders) = by_leader(&metadata, &led) else { return };
        for (node, questions) in leaders {
            let term = |q: &list_offsets::Question| {
                (q.partition.clone(), self.partitions.get(&q.partition).map_or(0, |a| a.term))
            };
            let asked: Vec<Asked> = questions.iter().map(term).collect();
            self.mark_busy(asked.iter().map(|(p, _)| p));
            let (cluster, config) = (Arc::clone(&self.cluster), Arc::clone(&self.config));
            self.tasks.push(Box::pin(tasks::lookup(cluster, config, node, asked, questions)));
        }
    }

    fn mark_busy<'a>(&mut self, partitions: impl Iterator<Item = &'a TopicPartition>) {
        for partition in partitions {
            if let Some(assigned) = self.partitions.get_mut(partition) {
                assigned.busy = true;
            }
        }
    }

    /// Partitions without a known leader: metadata will tell, or why not.
    fn without_leader(&mut self, partitions: impl Iterator<Item = TopicPartition>) {
        let metadata = self.cluster.metadata();
        let mut any = false;
        for partition in partitions {
            any = true;
            let fatal = match metadata.errors.get(&partition.topic) {
                Some(code @ ErrorCode::TopicAuthorizationFailed) => {
                    Some((*code, format!("Not authorized to access topics: [{}]", partition.topic)))
                }
                Some(code @ ErrorCode::InvalidTopicException) => {
                    Some((*code, format!("Invalid topics: [{}]", partition.topic)))
                }
                _ => None,
            };
            let term = self.partitions.get(&partition).map_or(0, |a| a.term);
            self.pause_after_error(&partition, term);
            if let Some((code, message)) = fatal {
                self.tell_once(Error::Broker(BrokerError { code, message: Some(message) }));
            }
        }
        if any {
            if let Some(error @ Error::Config(_)) = &self.cluster.watch().borrow().error {
                let error = error.clone();
                self.tell_once(error);
            }
            self.cluster.want_refresh();
        }
    }

    /// Starts fetches from every leader that has none under way, for all partitions that have nothing buffered.
    fn send_fetches(&mut self) {
        let now = Instant::now();
        let metadata = self.cluster.metadata();
        let mut wanted: BTreeMap<i32, Vec<Wanted>> = BTreeMap::new();
        let mut leaderless = Vec::new();
        for (partition, assigned) in self.partitions.iter() {
            let Position::At { offset, .. } = assigned.position else { continue };
            if assigned.paused
                || assigned.busy
                || assigned.fetched.is_some()
                || assigned.not_before.is_some_and(|at| at > now)
            {
                continue;
            }
            let Some((leader, leader_epoch)) = metadata.leader(partition) else {
                leaderless.push(partition.clone());
                continue;
            };
            let node = assigned.preferred.filter(|id| metadata.brokers.contains_key(id)).unwrap_or(leader);
            if self.fetching.contains(&node) {
                continue;
            }
            wanted.entry(node).or_default().push(Wanted {
                partition: partition.clone(),
                term: assigned.term,
                offset,
                leader_epoch,
                topic_id: metadata.topic(&partition.topic).map(|t| t.id).unwrap_or_default(),
                max_bytes: self.config.max_partition_fetch_bytes,
            });
        }
        self.without_leader(leaderless.into_iter());
        for (node, wanted) in wanted {
            self.fetching.insert(node);
            self.mark_busy(wanted.iter().map(|w| &w.partition));
            let (cluster, config) = (Arc::clone(&self.cluster), Arc::clone(&self.config));
            self.tasks.push(Box::pin(tasks::fetch(cluster, config, node, wanted)));
        }
    }

    /// Sorts what a fetch brought to its partitions.
    fn fetched(&mut self, asked: &[(Asked, i64)], answer: &FetchAnswer) -> Result<()> {
        let mut reader = Reader::shared(&answer.body);
        let response = FetchResponse::decode(&mut reader, answer.version).map_err(|error| {
            tracing::warn!(%error, "malformed Fetch response");
            Error::broker(ErrorCode::NetworkException)
        })?;
        Error::check(response.error_code, None)?;
        for topic in response.topics {
            let name = match answer.names.get(&topic.topic_id) {
                Some(name) if topic.topic.is_empty() => Arc::clone(name),
                _ => Arc::from(topic.topic),
            };
            for data in topic.partitions {
                let found =
                    asked.iter().find(|((p, _), _)| p.partition == data.partition_index && p.topic == name);
                if let Some(((partition, term), offset)) = found {
                    self.fetched_partition(partition, *term, *offset, data);
                }
            }
        }
        Ok(())
    }

    fn fetched_partition(
        &mut self,
        partition: &TopicPartition,
        term: u64,
        offset: i64,
        data: PartitionFetchResponse<bytes::Bytes>,
    ) {
        let (isolation, check_crcs) = (self.config.isolation, self.config.check_crcs);
        let Some(assigned) = self.partitions.of_term(partition, term) else { return };
        match ErrorCode::from_wire(data.error_code) {
            ErrorCode::None => {
                assigned.not_before = None;
                assigned.end = Some(match isolation {
                    IsolationLevel::ReadCommitted if data.last_stable_offset >= 0 => data.last_stable_offset,
                    _ => data.high_watermark,
                });
                assigned.preferred = Some(data.preferred_read_replica).filter(|id| *id >= 0);
                if let Some(records) = data.records.filter(|records| !records.is_empty()) {
                    let aborted = data.aborted_transactions.unwrap_or_default();
                    let partition = partition.clone();
                    let fetched =
                        Fetched::new(partition.clone(), records, offset, aborted, isolation, check_crcs);
                    assigned.fetched = Some(fetched);
                    self.partitions.ready.push_back(partition);
                }
            }
            ErrorCode::OffsetOutOfRange if assigned.preferred.is_some() => {
                // The follower may only lag: the leader knows.
                assigned.preferred = None;
            }
            ErrorCode::OffsetOutOfRange => match self.reset_position() {
                Some(position) => {
                    tracing::info!(%partition, offset, "fetch position is out of range, resetting it");
                    self.partitions.set(partition, position);
                }
                None => {
                    self.pause_after_error(partition, term);
                    self.tell_once(Error::NoOffset(format!(
                        "Fetch position {offset} is out of range for partition {partition}"
                    )));
                }
            },
            code => self.partition_failed(partition, term, Error::broker(code)),
        }
    }

    /// Hands out what is fetched, at most `max.poll.records`.
    fn take_records(&mut self) -> Result<Vec<ConsumerRecord>> {
        let most = self.config.max_poll_records;
        let mut records = Vec::new();
        let mut later = Vec::new();
        while records.len() < most {
            let Some(partition) = self.partitions.ready.pop_front() else { break };
            let Some(assigned) = self.partitions.get_mut(&partition) else { continue };
            if assigned.paused {
                later.push(partition);
                continue;
            }
            let Some(fetched) = &mut assigned.fetched else { continue };
            let mut failure = None;
            let done = loop {
                if records.len() >= most {
                    break false;
                }
                match fetched.next() {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => break true,
                    Err(error) => {
                        failure = Some(error);
                        break true;
                    }
                }
            };
            let (offset, leader_epoch) = fetched.position();
            let leader_epoch = match assigned.position {
                Position::At { leader_epoch: known, .. } => leader_epoch.or(known),
                _ => leader_epoch,
            };
            assigned.position = Position::At { offset, leader_epoch };
            if done {
                assigned.fetched = None;
            } else {
                self.partitions.ready.push_front(partition);
            }
            if let Some(error) = failure {
                if records.is_empty() {
                    self.partitions.ready.extend(later);
                    return Err(error);
                }
                // What came before it is good; the next fetch meets it again.
                break;
            }
        }
        self.partitions.ready.extend(later);
        Ok(records)
    }
}

/// The group's next word; never without a group.
async fn next_event(group: &mut Option<super::Group>) -> Option<(u64, super::group::Event)> {
    match group {
        Some(group) => match group.events.recv().await {
            Some(event) => Some(event),
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
