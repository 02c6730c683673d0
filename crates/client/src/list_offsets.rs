//! Asking a leader for offsets by time, for admin clients and consumers.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_codec::messages::ListOffsetsRequest;
use kafka_codec::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_codec::{ApiKey, ErrorCode};

use crate::admin::{IsolationLevel, ListedOffset};
use crate::connection::Connection;
use crate::door::TopicPartition;
use crate::error::{Error, Result};

/// One partition's question.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) partition: TopicPartition,
    /// Milliseconds, or one of Kafka's negative constants.
    pub(crate) timestamp: i64,
    /// Epoch of the leader that is asked, −1 when unknown.
    pub(crate) leader_epoch: i32,
}

/// Asks one leader; every partition asked for has an answer.
pub(crate) async fn ask(
    connection: &Connection,
    questions: &[Question],
    isolation: IsolationLevel,
    limit: Duration,
) -> Result<Vec<(TopicPartition, Result<ListedOffset>)>> {
    // Each special timestamp came with a version of its own.
    let least = questions.iter().map(|q| match q.timestamp {
        -3 => 7,
        -4 => 8,
        -5 => 9,
        _ => 1,
    });
    let least = least.max().unwrap_or(1);
    let newest = ApiKey::ListOffsets.versions().map_or(1, |v| *v.end());
    let version = connection.version(ApiKey::ListOffsets, least..=newest)?;
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for question in questions {
        topics.entry(&question.partition.topic).or_default().push(ListOffsetsPartition {
            partition_index: question.partition.partition,
            current_leader_epoch: question.leader_epoch,
            timestamp: question.timestamp,
            ..ListOffsetsPartition::default()
        });
    }
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: if version >= 2 { i8::from(isolation == IsolationLevel::ReadCommitted) } else { 0 },
        topics: topics
            .into_iter()
            .map(|(name, partitions)| ListOffsetsTopic {
                name: name.to_owned(),
                partitions,
                ..ListOffsetsTopic::default()
            })
            .collect(),
        timeout_ms: i32::try_from(limit.as_millis()).unwrap_or(i32::MAX),
        ..ListOffsetsRequest::default()
    };
    let response = connection.call_version(&request, version, limit).await?;
    let mut answers: BTreeMap<(String, i32), Result<ListedOffset>> = BTreeMap::new();
    for topic in response.topics {
        for p in topic.partitions {
            let outcome = Error::check(p.error_code, None).map(|()| ListedOffset {
                offset: p.offset,
                timestamp_ms: p.timestamp,
                leader_epoch: (p.leader_epoch >= 0).then_some(p.leader_epoch),
            });
            answers.insert((topic.name.clone(), p.partition_index), outcome);
        }
    }
    let mut answer = |q: &Question| {
        let found = answers.remove(&(q.partition.topic.to_string(), q.partition.partition));
        let missing = || Err(Error::broker(ErrorCode::UnknownServerError));
        (q.partition.clone(), found.unwrap_or_else(missing))
    };
    Ok(questions.iter().map(&mut answer).collect())
}
