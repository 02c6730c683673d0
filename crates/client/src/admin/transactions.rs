//! Transactions and the producers behind them.

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_producers_request::TopicRequest;
use kafka_codec::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_codec::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, InitProducerIdRequest, ListTransactionsRequest,
    WriteTxnMarkersRequest,
};

use super::{Admin, Each, Target, coordinator_moves, leader_moves};
use crate::door::TopicPartition;
use crate::error::{Error, Result};

/// Which transactions to list; empty and `None` = all.
#[derive(Clone, Debug, Default)]
pub struct ListTransactionsOptions {
    /// Only in these states, as Kafka names them (`Ongoing` …).
    pub states: Vec<String>,
    /// Only of these producers.
    pub producer_ids: Vec<i64>,
    /// Only those that run for longer than this, milliseconds.
    pub longer_than_ms: Option<i64>,
    /// Only of transactional ids that match this regular expression.
    pub id_pattern: Option<String>,
}

/// A transaction in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    /// Transactional id.
    pub transactional_id: String,
    /// Producer id.
    pub producer_id: i64,
    /// State as Kafka names it.
    pub state: String,
}

/// A transaction's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    /// Broker that coordinates it.
    pub coordinator: i32,
    /// State as Kafka names it.
    pub state: String,
    /// Producer id.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// Its timeout in milliseconds.
    pub timeout_ms: i32,
    /// When it began, milliseconds since the epoch; `None` when there is none.
    pub start_ms: Option<i64>,
    /// Partitions that take part.
    pub partitions: Vec<TopicPartition>,
}

/// A producer that a partition's leader remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Producer id.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i32,
    /// Its last sequence number.
    pub last_sequence: i32,
    /// Timestamp of its last batch.
    pub last_timestamp_ms: i64,
    /// Coordinator epoch of the last marker, if there was one.
    pub coordinator_epoch: Option<i32>,
    /// First offset of the open transaction, if there is one.
    pub transaction_start: Option<i64>,
}

/// Which open transaction of a partition to abort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortTransaction {
    /// Partition.
    pub partition: TopicPartition,
    /// Producer id.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// Coordinator epoch for the marker.
    pub coordinator_epoch: i32,
}

impl Admin {
    /// Lists transactions by the broker that coordinates them.
    ///
    /// # Errors
    /// As [`Admin`] says; also when one of the brokers cannot answer.
    pub async fn list_transactions(
        &self,
        options: &ListTransactionsOptions,
    ) -> Result<Vec<(i32, Vec<TransactionListing>)>> {
        let request = &ListTransactionsRequest {
            state_filters: options.states.clone(),
            producer_id_filters: options.producer_ids.clone(),
            duration_filter: options.longer_than_ms.unwrap_or(-1),
            transactional_id_pattern: options.id_pattern.clone(),
            ..ListTransactionsRequest::default()
        };
        let mut all = Vec::new();
        for broker in self.brokers("listTransactions").await? {
            let response = self
                .retrying("listTransactions", || async move {
                    let response = self.cluster.broker(broker.id).await?.call(request).await?;
                    Error::check(response.error_code, None)?;
                    Ok(response)
                })
                .await?;
            let listing =
                |t: kafka_codec::messages::list_transactions_response::TransactionState| TransactionListing {
                    transactional_id: t.transactional_id,
                    producer_id: t.producer_id,
                    state: t.transaction_state,
                };
            all.push((broker.id, response.transaction_states.into_iter().map(listing).collect()));
        }
        Ok(all)
    }

    /// Describes transactions.
    ///
    /// # Errors
    /// As [`Admin`] says. `TransactionalIdNotFound` is told per id.
    pub async fn describe_transactions(
        &self,
        ids: &[String],
    ) -> Result<Each<String, TransactionDescription>> {
        self.retrying_each("describeTransactions", ids.to_vec(), coordinator_moves, |ids| async move {
            let mut each = Vec::new();
            for id in ids {
                let found =
                    self.cluster.find_coordinator(crate::cluster::CoordinatorKind::Transaction, &id).await;
                let coordinator = match found {
                    Ok(node) => node.id,
                    Err(error) if error.is_retriable() => return Err(error),
                    Err(error) => {
                        each.push((id, Err(error)));
                        continue;
                    }
                };
                let request = DescribeTransactionsRequest {
                    transactional_ids: vec![id],
                    ..DescribeTransactionsRequest::default()
                };
                let response = self.cluster.broker(coordinator).await?.call(&request).await?;
                for t in response.transaction_states {
                    let mut partitions = Vec::new();
                    for topic in &t.topics {
                        let of = topic.partitions.iter();
                        partitions.extend(of.map(|p| TopicPartition::new(topic.topic.as_str(), *p)));
                    }
                    let outcome = Error::check(t.error_code, None).map(|()| TransactionDescription {
                        coordinator,
                        state: t.transaction_state,
                        producer_id: t.producer_id,
                        producer_epoch: t.producer_epoch,
                        timeout_ms: t.transaction_timeout_ms,
                        start_ms: (t.transaction_start_time_ms >= 0).then_some(t.transaction_start_time_ms),
                        partitions,
                    });
                    each.push((t.transactional_id, outcome));
                }
            }
            Ok(each)
        })
        .await
    }

    /// Producers that partitions remember, asked of the leaders or of one broker.
    ///
    /// # Errors
    /// As [`Admin`] says. `UnknownTopicOrPartition` and the like are told per partition.
    pub async fn describe_producers(
        &self,
        partitions: &[TopicPartition],
        broker: Option<i32>,
    ) -> Result<Each<TopicPartition, Vec<ProducerState>>> {
        self.retrying_each("describeProducers", partitions.to_vec(), leader_moves, |keys| async move {
            let (leaders, mut each) = match broker {
                Some(id) => {
                    let all = keys.into_iter().map(|partition| (partition, -1)).collect();
                    (std::iter::once((id, all)).collect(), Vec::new())
                }
                None => self.leaders(keys).await?,
            };
            for (leader, partitions) in leaders {
                let partitions: Vec<TopicPartition> =
                    partitions.into_iter().map(|(partition, _)| partition).collect();
                let topic = |(name, partition_indexes)| TopicRequest {
                    name,
                    partition_indexes,
                    ..Default::default()
                };
                let request = DescribeProducersRequest {
                    topics: super::offsets::by_topic(&partitions).into_iter().map(topic).collect(),
                    ..DescribeProducersRequest::default()
                };
                let response = self.cluster.broker(leader).await?.call(&request).await?;
                for topic in response.topics {
                    for p in topic.partitions {
                        let partition = TopicPartition::new(topic.name.as_str(), p.partition_index);
                        let outcome = Error::check(p.error_code, p.error_message.as_deref());
                        let producers = p.active_producers.into_iter().map(|s| ProducerState {
                            producer_id: s.producer_id,
                            producer_epoch: s.producer_epoch,
                            last_sequence: s.last_sequence,
                            last_timestamp_ms: s.last_timestamp,
                            coordinator_epoch: (s.coordinator_epoch >= 0).then_some(s.coordinator_epoch),
                            transaction_start: (s.current_txn_start_offset >= 0)
                                .then_some(s.current_txn_start_offset),
                        });
                        each.push((partition, outcome.map(|()| producers.collect())));
                    }
                }
            }
            Ok(each)
        })
        .await
    }

    /// Ends an open transaction of one partition by a marker, without its coordinator: for those that nobody else
    /// will end.
    ///
    /// # Errors
    /// As [`Admin`] says, and the partition's own.
    pub async fn abort_transaction(&self, abort: &AbortTransaction) -> Result<()> {
        let keys = vec![abort.partition.clone()];
        let each = self.retrying_each("abortTransaction", keys, leader_moves, |keys| async move {
            let (leaders, mut each) = self.leaders(keys).await?;
            for (leader, partitions) in leaders {
                let topic = |(partition, _): (TopicPartition, i32)| WritableTxnMarkerTopic {
                    name: partition.topic.to_string(),
                    partition_indexes: vec![partition.partition],
                    ..WritableTxnMarkerTopic::default()
                };
                let marker = WritableTxnMarker {
                    producer_id: abort.producer_id,
                    producer_epoch: abort.producer_epoch,
                    transaction_result: false,
                    topics: partitions.into_iter().map(topic).collect(),
                    coordinator_epoch: abort.coordinator_epoch,
                    ..WritableTxnMarker::default()
                };
                let request =
                    WriteTxnMarkersRequest { markers: vec![marker], ..WriteTxnMarkersRequest::default() };
                let response = self.cluster.broker(leader).await?.call(&request).await?;
                for topic in response.markers.into_iter().flat_map(|marker| marker.topics) {
                    for p in topic.partitions {
                        let partition = TopicPartition::new(topic.name.as_str(), p.partition_index);
                        each.push((partition, Error::check(p.error_code, None)));
                    }
                }
            }
            Ok(each)
        });
        match each.await?.into_iter().next() {
            Some((_, outcome)) => outcome,
            None => Err(Error::broker(ErrorCode::UnknownServerError)),
        }
    }

    /// Fences the producers of a transactional id: its open transaction is aborted, its epoch raised.
    ///
    /// # Errors
    /// As [`Admin`] says, and the coordinator's own.
    pub async fn fence_producers(&self, transactional_id: &str) -> Result<()> {
        let request = &InitProducerIdRequest {
            transactional_id: Some(transactional_id.to_owned()),
            // Not used: no transaction begins.
            transaction_timeout_ms: self.timeout_ms(),
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        let target = &Target::TransactionCoordinator(transactional_id.to_owned());
        self.retrying("fenceProducers", || async move {
            let response = self.connect(target).await?.call(request).await?;
            Error::check(response.error_code, None)
        })
        .await
    }
}
