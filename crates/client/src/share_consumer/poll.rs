//! `poll`: keeps the sessions going and hands records out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_codec::messages::share_acknowledge_response::ShareAcknowledgeTopicResponse;
use kafka_codec::messages::share_fetch_response::ShareFetchableTopicResponse;
use kafka_codec::messages::{ShareAcknowledgeResponse, ShareFetchResponse};
use kafka_codec::{ApiKey, ErrorCode};
use tokio::time::Instant;

use super::acknowledge::{GAP, RENEW};
use super::member::Id;
use super::sessions::{self, Done, Sent, ends_session, has_renewals, not_leader};
use super::{Acknowledged, Delivered, Ready, ShareConsumer, ShareRecord, acquired};
use crate::config::{AcknowledgementMode, AcquireMode};
use crate::door::TopicPartition;
use crate::error::{BrokerError, Error, Result};

/// Failures that wait for a poll to tell them.
const ERRORS_MAX: usize = 100;

impl ShareConsumer {
    /// Answers records as soon as there are any, at the latest after `timeout` (then empty). In the implicit mode it
    /// accepts all records of the last poll.
    ///
    /// # Errors
    /// [`Error::Illegal`] without a subscription, and in the explicit mode when records of the last poll are not
    /// acknowledged; [`Error::CorruptRecord`] (the records were rejected); missing authorization, and what else the
    /// group's coordinator refuses. The consumer may be polled again.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ShareRecord>> {
        self.check_open()?;
        self.accept_if_implicit();
        self.check_all_acknowledged()?;
        if self.topics.is_empty() {
            return Err(Error::Illegal("Consumer is not subscribed to any topics.".to_owned()));
        }
        self.take_acknowledged();
        self.member.polled();
        let deadline = Instant::now() + timeout;
        loop {
            self.collect_done();
            if let Some(error) = self.member.failure() {
                self.tell_once(error);
            }
            self.look_at_metadata();
            if let Some(error) = self.errors.pop_front() {
                return Err(error);
            }
            let records = self.hand_out();
            if !records.is_empty() {
                self.send_acknowledgements();
                return Ok(records);
            }
            if self.renewing.is_empty() {
                self.send_fetches();
            }
            self.send_acknowledgements();
            if !self.wait(deadline).await {
                return Ok(Vec::new());
            }
        }
    }

    fn check_all_acknowledged(&self) -> Result<()> {
        let mut open = self.delivered.values().flat_map(|delivered| delivered.records.values());
        let all = open.all(|(_, acknowledged)| acknowledged.is_some());
        if all || self.config.acknowledgement_mode == AcknowledgementMode::Implicit {
            return Ok(());
        }
        Err(Error::Illegal("All records must be acknowledged in explicit acknowledgement mode.".to_owned()))
    }

    /// Waits until something may have changed; `false` when the deadline has come and nothing is there.
    async fn wait(&mut self, deadline: Instant) -> bool {
        let now = Instant::now();
        let pauses = self.sessions.values().filter(|s| !s.busy).filter_map(|s| s.not_before);
        let wake_at = pauses.filter(|at| *at > now).min().map_or(deadline, |at| at.min(deadline));
        tokio::select! {
            biased;
            Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                if let Ok(done) = done {
                    self.handle(done);
                }
                true
            }
            () = self.member.changed() => true,
            changed = self.view.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(wake_at) => wake_at < deadline,
        }
    }

    /// Takes what has been answered already.
    pub(super) fn collect_done(&mut self) {
        while let Some(done) = self.tasks.try_join_next() {
            if let Ok(done) = done {
                self.handle(done);
            }
        }
    }

    /// Sends all acknowledgements, and waits for the answers to everything.
    pub(super) async fn settle(&mut self) {
        loop {
            self.send_acknowledgements();
            if self.pending.is_empty() && self.tasks.is_empty() {
                return;
            }
            let now = Instant::now();
            let pauses = self.sessions.values().filter(|s| !s.busy).filter_map(|s| s.not_before);
            match pauses.filter(|at| *at > now).min() {
                Some(at) if self.tasks.is_empty() => tokio::time::sleep_until(at).await,
                _ => {
                    if let Some(Ok(done)) = self.tasks.join_next().await {
                        self.handle(done);
                    }
                }
            }
        }
    }

    /// Closes the sessions, so that what was locked goes to others at once.
    pub(super) async fn close_sessions(&mut self) {
        let open: Vec<i32> =
            self.sessions.iter().filter(|(_, session)| session.is_open()).map(|(node, _)| *node).collect();
        for node in open {
            let pending = self.pending.remove(&node).unwrap_or_default();
            self.spawn_acknowledge(node, pending, true);
        }
        while let Some(done) = self.tasks.join_next().await {
            if let Ok(done) = done {
                self.handle(done);
            }
        }
    }

    /// Records to hand out now, as whole answers up to `max.poll.records`.
    fn hand_out(&mut self) -> Vec<ShareRecord> {
        let mut records = Vec::new();
        for (node, id, record) in std::mem::take(&mut self.renewed) {
            let partition = TopicPartition::new(&*record.record.topic, record.record.partition);
            self.deliver(node, id, partition, vec![record], &mut records);
        }
        let most = usize::try_from(self.config.max_poll_records).unwrap_or(usize::MAX);
        while records.len() < most
            && self.renewing.is_empty()
            && let Some(Ready { node, id, partition, acquired }) = self.ready.pop_front()
        {
            if !acquired.settled.is_empty() {
                self.pending.entry(node).or_default().entry(id).or_default().extend(acquired.settled);
            }
            if let Some(error) = acquired.corrupt {
                self.tell_once(error);
            }
            self.deliver(node, id, partition, acquired.records, &mut records);
        }
        records
    }

    fn deliver(
        &mut self,
        node: i32,
        id: Id,
        partition: TopicPartition,
        records: Vec<ShareRecord>,
        out: &mut Vec<ShareRecord>,
    ) {
        if records.is_empty() {
            return;
        }
        let delivered = self.delivered.entry(partition).or_insert_with(|| Delivered {
            node,
            id,
            records: BTreeMap::new(),
        });
        (delivered.node, delivered.id) = (node, id);
        for record in &records {
            delivered.records.insert(record.record.offset, (record.clone(), None));
        }
        out.extend(records);
    }

    /// Topics that this client may not read are told to the application.
    fn look_at_metadata(&mut self) {
        let metadata = Arc::clone(&self.view.borrow_and_update().metadata);
        let refused: Vec<&str> = metadata
            .errors
            .iter()
            .filter(|(_, code)| **code == ErrorCode::TopicAuthorizationFailed)
            .map(|(name, _)| &**name)
            .collect();
        if !refused.is_empty() && metadata.version != self.refused_in {
            self.refused_in = metadata.version;
            self.tell_once(Error::Broker(BrokerError {
                code: ErrorCode::TopicAuthorizationFailed,
                message: Some(format!("Not authorized to access topics: [{}]", refused.join(", "))),
            }));
        }
    }

    fn send_fetches(&mut self) {
        let metadata = Arc::clone(&self.view.borrow_and_update().metadata);
        let topics: BTreeMap<_, _> = metadata.topics.values().map(|topic| (topic.id, topic)).collect();
        let assignment = self.member.assignment();
        let mut wanted: BTreeMap<i32, BTreeSet<Id>> = BTreeMap::new();
        let mut leaderless = false;
        for (topic_id, index) in assignment.iter() {
            let topic = topics.get(topic_id);
            if let Some(topic) = topic {
                self.names.insert(*topic_id, Arc::clone(&topic.name));
            }
            let state = topic
                .zip(usize::try_from(*index).ok())
                .and_then(|(topic, index)| topic.partitions.get(index));
            match state.and_then(|state| state.leader) {
                Some(leader) => {
                    wanted.entry(leader).or_default().insert((*topic_id, *index));
                }
                None => leaderless = true,
            }
        }
        if leaderless {
            self.cluster.want_refresh();
        }
        if self.config.acquire_mode == AcquireMode::RecordLimit {
            // One broker at a time, in turn: two answers together could bring too much.
            if self.sessions.values().any(|session| session.busy) {
                return;
            }
            let next = wanted.keys().find(|node| **node > self.last_node).or_else(|| wanted.keys().next());
            let Some(next) = next.copied() else { return };
            wanted.retain(|node, _| *node == next);
        }
        let now = Instant::now();
        for (node, partitions) in wanted {
            let session = self.sessions.entry(node).or_default();
            if !session.is_free(now) {
                continue;
            }
            // Renewals go alone: they are not to wait for records.
            let sent = match self.pending.get(&node) {
                Some(pending) if session.is_open() && has_renewals(pending) => continue,
                Some(_) => self.pending.remove(&node).unwrap_or_default(),
                None => Sent::new(),
            };
            let piggybacked = session.is_open();
            let sent_now = if piggybacked { sent.clone() } else { Sent::new() };
            let request = session.fetch(&self.config, &self.member.id, &partitions, &sent_now);
            session.busy = true;
            self.last_node = node;
            let (cluster, config) = (Arc::clone(&self.cluster), Arc::clone(&self.config));
            self.tasks.spawn(sessions::send_fetch(cluster, config, node, request, sent_now));
            if !piggybacked {
                // What was locked in another session is not locked any more.
                self.answer_all(node, sent, &not_leader());
            }
        }
    }

    /// Sends acknowledgements that do not go with a fetch.
    pub(super) fn send_acknowledgements(&mut self) {
        let now = Instant::now();
        let nodes: Vec<i32> = self.pending.keys().copied().collect();
        for node in nodes {
            let session = self.sessions.entry(node).or_default();
            if session.busy || session.is_open() && !session.is_free(now) {
                continue;
            }
            let open = session.is_open();
            let Some(sent) = self.pending.remove(&node) else { continue };
            if open {
                self.spawn_acknowledge(node, sent, false);
            } else {
                self.answer_all(node, sent, &not_leader());
            }
        }
    }

    fn spawn_acknowledge(&mut self, node: i32, sent: Sent, last: bool) {
        let session = self.sessions.entry(node).or_default();
        let request = session.acknowledge(&self.config, &self.member.id, &sent, last);
        session.busy = true;
        let (cluster, limit) = (Arc::clone(&self.cluster), self.config.client.request_timeout);
        self.tasks.spawn(sessions::send_acknowledge(cluster, limit, node, request, sent));
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::Fetch { node, sent, answer } => {
                let answer = answer.and_then(|answer| {
                    Error::check(answer.error_code, answer.error_message.as_deref()).map(|()| answer)
                });
                if self.end_request(node, answer.as_ref().err()) {
                    match answer {
                        Ok(answer) => self.fetched(node, sent, answer),
                        Err(error) => self.request_failed(node, sent, error),
                    }
                }
            }
            Done::Acknowledge { node, sent, answer } => {
                let answer = answer.and_then(|answer| {
                    Error::check(answer.error_code, answer.error_message.as_deref()).map(|()| answer)
                });
                if self.end_request(node, answer.as_ref().err()) {
                    match answer {
                        Ok(answer) => self.acknowledged(node, sent, answer),
                        Err(error) => self.request_failed(node, sent, error),
                    }
                }
            }
        }
    }

    /// Takes note of the end of a request; `false` when nobody knows the session.
    fn end_request(&mut self, node: i32, error: Option<&Error>) -> bool {
        let Some(session) = self.sessions.get_mut(&node) else { return false };
        session.busy = false;
        match error.map(Error::code) {
            None => {
                session.not_before = None;
                session.advance();
            }
            Some(Some(code)) if !ends_session(code) => session.advance(),
            // Also when the connection broke: nobody knows what the broker knows.
            Some(_) => session.reset(),
        }
        true
    }

    fn request_failed(&mut self, node: i32, sent: Sent, error: Error) {
        tracing::debug!(node, %error, "share request failed");
        let pause = self.config.client.retry_backoff;
        if let Some(session) = self.sessions.get_mut(&node) {
            session.not_before = Some(Instant::now() + pause);
        }
        self.cluster.want_refresh();
        self.answer_all(node, sent, &error);
        let passes = error.is_retriable()
            || matches!(error, Error::Connection { .. } | Error::Closed(_))
            || error.code().is_some_and(|code| {
                ends_session(code)
                    || matches!(
                        code,
                        // The heartbeats mend this.
                        ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch
                    )
            });
        if !passes {
            self.tell_once(error);
        }
    }

    fn fetched(&mut self, node: i32, mut sent: Sent, answer: ShareFetchResponse) {
        self.note_lock(answer.acquisition_lock_timeout_ms);
        for ShareFetchableTopicResponse { topic_id, partitions, .. } in answer.responses {
            for told in partitions {
                let id = (topic_id, told.partition_index);
                if let Some(codes) = sent.remove(&id) {
                    let message = told.acknowledge_error_message.as_deref();
                    self.answer(node, id, codes, Error::check(told.acknowledge_error_code, message));
                }
                let Some(partition) = self.partition(id) else { continue };
                if let Err(error) = Error::check(told.error_code, told.error_message.as_deref()) {
                    self.partition_failed(&partition, error);
                }
                if told.acquired_records.is_empty() {
                    continue;
                }
                match acquired::read(
                    &partition,
                    &told.records,
                    &told.acquired_records,
                    self.config.check_crcs,
                ) {
                    Ok(acquired) => self.ready.push_back(Ready { node, id, partition, acquired }),
                    Err(reason) => {
                        let address = format!("broker {node}");
                        self.tell_once(Error::Protocol { api: ApiKey::ShareFetch, address, reason });
                    }
                }
            }
        }
        self.unanswered(node, sent);
    }

    fn acknowledged(&mut self, node: i32, mut sent: Sent, answer: ShareAcknowledgeResponse) {
        self.note_lock(answer.acquisition_lock_timeout_ms);
        for ShareAcknowledgeTopicResponse { topic_id, partitions, .. } in answer.responses {
            for told in partitions {
                let id = (topic_id, told.partition_index);
                let Some(codes) = sent.remove(&id) else { continue };
                let outcome = Error::check(told.error_code, told.error_message.as_deref());
                if outcome.is_err() {
                    self.cluster.want_refresh();
                }
                self.answer(node, id, codes, outcome);
            }
        }
        self.unanswered(node, sent);
    }

    fn note_lock(&mut self, ms: i32) {
        if let Some(ms) = u64::try_from(ms).ok().filter(|ms| *ms > 0) {
            self.lock = Some(Duration::from_millis(ms));
        }
    }

    fn unanswered(&mut self, node: i32, sent: Sent) {
        let error = Error::Broker(BrokerError {
            code: ErrorCode::InvalidRecordState,
            message: Some("Acknowledgement not successful due to invalid response from broker".to_owned()),
        });
        self.answer_all(node, sent, &error);
    }

    fn answer_all(&mut self, node: i32, sent: Sent, error: &Error) {
        for (id, codes) in sent {
            self.answer(node, id, codes, Err(error.clone()));
        }
    }

    /// Tells whoever wants to know what a broker said to acknowledgements of one partition.
    fn answer(&mut self, node: i32, id: Id, codes: super::Codes, outcome: Result<()>) {
        if let Some(renewing) = self.renewing.get_mut(&id) {
            for offset in codes.iter().filter(|(_, code)| **code == RENEW).map(|(offset, _)| offset) {
                if let Some(record) = renewing.remove(offset)
                    && outcome.is_ok()
                {
                    self.renewed.push((node, id, record));
                }
            }
            if renewing.is_empty() {
                self.renewing.remove(&id);
            }
        }
        let Some(partition) = self.partition(id) else { return };
        let offsets: Vec<i64> =
            codes.into_iter().filter(|(_, code)| *code != GAP).map(|(offset, _)| offset).collect();
        if offsets.is_empty() {
            return;
        }
        let acknowledged = Acknowledged { partition, offsets, outcome };
        if let Some(callback) = &mut self.callback {
            callback(&acknowledged);
        }
        if let Some(answers) = &mut self.answers {
            answers.push(acknowledged);
        }
    }

    fn partition(&self, (topic_id, index): Id) -> Option<TopicPartition> {
        self.names.get(&topic_id).map(|name| TopicPartition::new(&**name, index))
    }

    fn partition_failed(&mut self, partition: &TopicPartition, error: Error) {
        tracing::debug!(%partition, %error, "partition cannot be read now");
        self.cluster.want_refresh();
        if error.code() == Some(ErrorCode::TopicAuthorizationFailed) {
            self.tell_once(Error::Broker(BrokerError {
                code: ErrorCode::TopicAuthorizationFailed,
                message: Some(format!("Not authorized to access topics: [{}]", partition.topic)),
            }));
        }
    }

    /// Bounded: many partitions may fail for one reason.
    fn tell_once(&mut self, error: Error) {
        let text = error.to_string();
        if self.errors.len() < ERRORS_MAX && !self.errors.iter().any(|known| known.to_string() == text) {
            self.errors.push_back(error);
        }
    }
}
