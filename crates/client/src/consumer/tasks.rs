//! Requests of a consumer that run beside the application: fetches and look-ups of positions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_codec::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kafka_codec::{ApiKey, Uuid};

use super::group::Membership;
use crate::admin::{GroupOffsets, IsolationLevel, ListedOffset};
use crate::cluster::{Cluster, Purpose};
use crate::config::ConsumerConfig;
use crate::connection::Connection;
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::group_offsets;
use crate::list_offsets::{self, Question};

/// Newest version of Fetch that names topics instead of their ids.
const NEWEST_BY_NAME: i16 = 12;

/// A partition in a question, with the term in which it was asked.
pub(super) type Asked = (TopicPartition, u64);

/// What came of a task.
pub(super) enum Done {
    /// A fetch from one broker.
    Fetch { node: i32, asked: Vec<(Asked, i64)>, answer: Result<FetchAnswer> },
    /// Committed offsets.
    Committed { asked: Vec<Asked>, answer: Result<GroupOffsets> },
    /// Offsets by time from one broker.
    Lookup { asked: Vec<Asked>, answer: Result<Vec<(TopicPartition, Result<ListedOffset>)>> },
}

/// An answer with what is needed to read it.
pub(crate) struct FetchAnswer {
    pub(crate) body: Bytes,
    pub(crate) version: i16,
    pub(crate) names: HashMap<Uuid, Arc<str>>,
}

/// One partition of a fetch.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) partition: TopicPartition,
    pub(crate) term: u64,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) topic_id: Uuid,
    pub(crate) max_bytes: i32,
}

/// Fetches from one broker.
pub(super) async fn fetch(
    cluster: Arc<Cluster>,
    config: Arc<ConsumerConfig>,
    node: i32,
    wanted: Vec<Wanted>,
) -> Done {
    let asked = wanted.iter().map(|w| ((w.partition.clone(), w.term), w.offset)).collect();
    let answer = async {
        let connection = cluster.broker(node).await?;
        fetch_from(&connection, &config, config.fetch_max_wait, &wanted).await
    };
    Done::Fetch { node, asked, answer: answer.await }
}

/// Fetches over one connection; the broker waits at most `max_wait` for records.
pub(crate) async fn fetch_from(
    connection: &Connection,
    config: &ConsumerConfig,
    max_wait: Duration,
    wanted: &[Wanted],
) -> Result<FetchAnswer> {
    let by_id = wanted.iter().all(|w| !w.topic_id.is_zero());
    let newest = ApiKey::Fetch.versions().map_or(NEWEST_BY_NAME, |v| *v.end());
    let version = connection.version(ApiKey::Fetch, 4..=if by_id { newest } else { NEWEST_BY_NAME })?;
    let by_id = version > NEWEST_BY_NAME;
    let mut topics: BTreeMap<&Arc<str>, (Uuid, Vec<FetchPartition>)> = BTreeMap::new();
    let mut names = HashMap::new();
    for w in wanted {
        let id = if by_id { w.topic_id } else { Uuid::ZERO };
        names.insert(id, Arc::clone(&w.partition.topic));
        let (_, partitions) = topics.entry(&w.partition.topic).or_insert_with(|| (id, Vec::new()));
        partitions.push(FetchPartition {
            partition: w.partition.partition,
            current_leader_epoch: w.leader_epoch,
            fetch_offset: w.offset,
            partition_max_bytes: w.max_bytes,
            ..FetchPartition::default()
        });
    }
    let topics = topics.into_iter().map(|(name, (topic_id, partitions))| FetchTopic {
        topic: if by_id { "" } else { name },
        topic_id,
        partitions,
    });
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: config.fetch_min_bytes,
        max_bytes: config.fetch_max_bytes,
        isolation_level: i8::from(config.isolation == IsolationLevel::ReadCommitted),
        session_id: 0,
        session_epoch: -1,
        topics: topics.collect(),
        rack_id: &config.client.client_rack,
        ..FetchRequest::default()
    };
    let frame = connection.frame_with(ApiKey::Fetch, version, |correlation_id, client_id| {
        request.encode_frame(version, correlation_id, Some(client_id)).map(|frame| vec![frame])
    })?;
    let body = connection.exchange(frame, config.client.request_timeout + max_wait).await?;
    Ok(FetchAnswer { body, version, names })
}

/// Looks committed offsets up.
pub(super) async fn committed(membership: Arc<Membership>, asked: Vec<Asked>) -> Done {
    let answer = async {
        let connection = membership.coordinator(Purpose::Offsets).await?;
        let partitions: Vec<_> = asked.iter().map(|(partition, _)| partition.clone()).collect();
        let stable = membership.config.isolation == IsolationLevel::ReadCommitted;
        let limit = membership.config.client.request_timeout;
        group_offsets::fetch(&connection, &membership.group_id, Some(&partitions), stable, limit).await
    };
    let answer = answer.await;
    if let Err(error) = &answer {
        membership.heed(error);
    }
    Done::Committed { asked, answer }
}

/// Looks offsets up at one leader.
pub(super) async fn lookup(
    cluster: Arc<Cluster>,
    config: Arc<ConsumerConfig>,
    node: i32,
    asked: Vec<Asked>,
    questions: Vec<Question>,
) -> Done {
    let answer = async {
        let connection = cluster.broker(node).await?;
        list_offsets::ask(&connection, &questions, config.isolation, config.client.request_timeout).await
    };
    Done::Lookup { asked, answer: answer.await }
}

/// Whether an error of a partition will pass after a look at newer metadata.
pub(crate) fn passes(error: &Error) -> bool {
    use kafka_codec::ErrorCode as E;
    matches!(
        error.code(),
        Some(
            E::NotLeaderOrFollower
                | E::LeaderNotAvailable
                | E::ReplicaNotAvailable
                | E::KafkaStorageError
                | E::FencedLeaderEpoch
                | E::UnknownLeaderEpoch
                | E::OffsetNotAvailable
                | E::UnknownTopicOrPartition
                | E::UnknownTopicId
                | E::InconsistentTopicId
                | E::UnknownServerError
        )
    ) || error.is_retriable()
}
