//! Share sessions: one for each broker, whose requests follow each other one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_codec::messages::share_acknowledge_request::{AcknowledgePartition, AcknowledgeTopic};
use kafka_codec::messages::share_fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_codec::messages::{
    ShareAcknowledgeRequest, ShareAcknowledgeResponse, ShareFetchRequest, ShareFetchResponse,
};
use kafka_codec::{ApiKey, ErrorCode, Uuid};
use tokio::time::Instant;

use super::acknowledge::{Codes, RENEW, acknowledge_batches, fetch_batches};
use super::member::Id;
use crate::cluster::Cluster;
use crate::config::{AcquireMode, ShareConsumerConfig};
use crate::consumer::millis;
use crate::error::{Error, Result};

/// Epoch of a request that opens a session.
const OPEN: i32 = 0;
/// Epoch of a request that closes it.
const CLOSE: i32 = -1;
/// First version of ShareAcknowledge that knows renewals.
const RENEWALS_FROM: i16 = 2;

/// What a request acknowledges.
pub(super) type Sent = BTreeMap<Id, Codes>;

/// The session with one broker.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Of the next request; 0 = there is no session yet.
    epoch: i32,
    partitions: BTreeSet<Id>,
    /// A request is under way.
    pub(super) busy: bool,
    /// No request before this, after an error.
    pub(super) not_before: Option<Instant>,
}

/// An answer.
pub(super) enum Done {
    Fetch { node: i32, sent: Sent, answer: Result<ShareFetchResponse> },
    Acknowledge { node: i32, sent: Sent, answer: Result<ShareAcknowledgeResponse> },
}

impl Session {
    pub(super) fn is_open(&self) -> bool {
        self.epoch != OPEN
    }

    /// Whether a request may be sent now.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        !self.busy && self.not_before.is_none_or(|at| at <= now)
    }

    /// The request was carried out, or refused without harm to the session.
    pub(super) fn advance(&mut self) {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
    }

    /// The broker knows no such session: the next request opens one.
    pub(super) fn reset(&mut self) {
        self.epoch = OPEN;
        self.partitions.clear();
    }

    /// A fetch from `wanted`, with acknowledgements (none when the session is new).
    pub(super) fn fetch(
        &mut self,
        config: &ShareConsumerConfig,
        member_id: &str,
        wanted: &BTreeSet<Id>,
        sent: &Sent,
    ) -> ShareFetchRequest {
        let mut topics: BTreeMap<Uuid, BTreeMap<i32, Vec<_>>> = BTreeMap::new();
        for (topic, index) in wanted.difference(&self.partitions) {
            topics.entry(*topic).or_default().insert(*index, Vec::new());
        }
        for ((topic, index), codes) in sent {
            topics.entry(*topic).or_default().insert(*index, fetch_batches(codes));
        }
        let mut forgotten: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic, index) in self.partitions.difference(wanted) {
            forgotten.entry(*topic).or_default().push(*index);
        }
        self.partitions.clone_from(wanted);
        let partition = |(partition_index, acknowledgement_batches)| FetchPartition {
            partition_index,
            acknowledgement_batches,
            ..FetchPartition::default()
        };
        ShareFetchRequest {
            group_id: Some(config.group_id.clone()),
            member_id: Some(member_id.to_owned()),
            share_session_epoch: self.epoch,
            max_wait_ms: millis(config.fetch_max_wait),
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_max_bytes,
            max_records: config.max_poll_records,
            batch_size: config.max_poll_records,
            share_acquire_mode: config.acquire_mode as i8,
            topics: topics
                .into_iter()
                .map(|(topic_id, partitions)| FetchTopic {
                    topic_id,
                    partitions: partitions.into_iter().map(partition).collect(),
                    ..FetchTopic::default()
                })
                .collect(),
            forgotten_topics_data: forgotten
                .into_iter()
                .map(|(topic_id, partitions)| ForgottenTopic {
                    topic_id,
                    partitions,
                    ..ForgottenTopic::default()
                })
                .collect(),
            ..ShareFetchRequest::default()
        }
    }

    /// Acknowledgements alone; the last ones close the session.
    pub(super) fn acknowledge(
        &self,
        config: &ShareConsumerConfig,
        member_id: &str,
        sent: &Sent,
        last: bool,
    ) -> ShareAcknowledgeRequest {
        let mut topics: BTreeMap<Uuid, Vec<AcknowledgePartition>> = BTreeMap::new();
        for ((topic, partition_index), codes) in sent {
            topics.entry(*topic).or_default().push(AcknowledgePartition {
                partition_index: *partition_index,
                acknowledgement_batches: acknowledge_batches(codes),
                ..AcknowledgePartition::default()
            });
        }
        ShareAcknowledgeRequest {
            group_id: Some(config.group_id.clone()),
            member_id: Some(member_id.to_owned()),
            share_session_epoch: if last { CLOSE } else { self.epoch },
            is_renew_ack: has_renewals(sent),
            topics: topics
                .into_iter()
                .map(|(topic_id, partitions)| AcknowledgeTopic {
                    topic_id,
                    partitions,
                    ..AcknowledgeTopic::default()
                })
                .collect(),
            ..ShareAcknowledgeRequest::default()
        }
    }
}

/// Whether some of the acknowledgements are renewals.
pub(super) fn has_renewals(sent: &Sent) -> bool {
    sent.values().any(|codes| codes.values().any(|code| *code == RENEW))
}

/// Whether an error means that there is no such session any more.
pub(super) fn ends_session(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ShareSessionNotFound
            | ErrorCode::InvalidShareSessionEpoch
            | ErrorCode::ShareSessionLimitReached
    )
}

pub(super) async fn send_fetch(
    cluster: Arc<Cluster>,
    config: Arc<ShareConsumerConfig>,
    node: i32,
    request: ShareFetchRequest,
    sent: Sent,
) -> Done {
    let answer = async {
        let connection = cluster.broker(node).await?;
        let least = if config.acquire_mode == AcquireMode::RecordLimit { 2 } else { 1 };
        let newest = ApiKey::ShareFetch.versions().map_or(least, |versions| *versions.end());
        let version = connection.version(ApiKey::ShareFetch, least..=newest)?;
        let limit = config.client.request_timeout + config.fetch_max_wait;
        connection.call_version(&request, version, limit).await
    };
    Done::Fetch { node, sent, answer: answer.await }
}

pub(super) async fn send_acknowledge(
    cluster: Arc<Cluster>,
    limit: Duration,
    node: i32,
    request: ShareAcknowledgeRequest,
    sent: Sent,
) -> Done {
    let answer = async {
        let connection = cluster.broker(node).await?;
        let least = if request.is_renew_ack { RENEWALS_FROM } else { 1 };
        let newest = ApiKey::ShareAcknowledge.versions().map_or(least, |versions| *versions.end());
        let version = connection.version(ApiKey::ShareAcknowledge, least..=newest)?;
        connection.call_version(&request, version, limit).await
    };
    Done::Acknowledge { node, sent, answer: answer.await }
}

/// The answer to acknowledgements that no longer can be sent.
pub(super) fn not_leader() -> Error {
    Error::broker(ErrorCode::NotLeaderOrFollower)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Id = (Uuid([1; 16]), 0);
    const B: Id = (Uuid([1; 16]), 1);

    fn asked(request: &ShareFetchRequest) -> (i32, Vec<(i32, usize)>, Vec<i32>) {
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions = partitions.map(|p| (p.partition_index, p.acknowledgement_batches.len())).collect();
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.clone());
        (request.share_session_epoch, partitions, forgotten.collect())
    }

    #[test]
    fn a_session_tells_only_what_changed() {
        let config = ShareConsumerConfig::new("localhost:9092", "g").unwrap();
        let mut session = Session::default();
        let both = BTreeSet::from([A, B]);
        let nothing = Sent::new();
        assert_eq!(asked(&session.fetch(&config, "m", &both, &nothing)), (0, vec![(0, 0), (1, 0)], vec![]));
        session.advance();
        assert_eq!(asked(&session.fetch(&config, "m", &both, &nothing)), (1, vec![], vec![]));
        session.advance();
        let sent = Sent::from([(A, Codes::from([(5, 1)]))]);
        assert_eq!(
            asked(&session.fetch(&config, "m", &BTreeSet::from([A]), &sent)),
            (2, vec![(0, 1)], vec![1])
        );
        session.reset();
        assert_eq!(asked(&session.fetch(&config, "m", &both, &nothing)), (0, vec![(0, 0), (1, 0)], vec![]));
    }

    #[test]
    fn epochs_begin_again_at_one() {
        let mut session = Session { epoch: i32::MAX, ..Session::default() };
        session.advance();
        assert_eq!(session.epoch, 1);
    }
}
