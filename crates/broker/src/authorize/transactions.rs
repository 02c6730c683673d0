//! Transactions.

use std::ops::ControlFlow;

use kafka_codec::ErrorCode;
use kafka_codec::acl::AclOperation::{Alter, ClusterAction, Describe, Read, Write};
use kafka_codec::messages::*;

use super::{Access, Guarded, no_throttle_time, take_out, throttle_time, unless, whole};

const REFUSED: ErrorCode = ErrorCode::TransactionalIdAuthorizationFailed;

whole!(
    AddOffsetsToTxnRequest,
    |asked, access| unless(access.transactional_id(Write, &asked.transactional_id), REFUSED)
        .or_else(|| unless(access.group(Read, &asked.group_id), ErrorCode::GroupAuthorizationFailed)),
    |code| AddOffsetsToTxnResponse { error_code: code.code(), ..AddOffsetsToTxnResponse::default() }
);
whole!(
    EndTxnRequest,
    |asked, access| unless(access.transactional_id(Write, &asked.transactional_id), REFUSED),
    |code| EndTxnResponse {
        error_code: code.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..EndTxnResponse::default()
    }
);

mod add_partitions {
    use super::*;
    use add_partitions_to_txn_response::{AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult};

    /// First version that brokers speak among themselves.
    const BROKERS_FROM: i16 = 4;

    impl Guarded for AddPartitionsToTxnRequest {
        type Withheld = ();

        fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, ()> {
            if access.version >= BROKERS_FROM {
                if access.cluster(ClusterAction) {
                    return ControlFlow::Continue(());
                }
                return ControlFlow::Break(AddPartitionsToTxnResponse {
                    error_code: ErrorCode::ClusterAuthorizationFailed.code(),
                    ..AddPartitionsToTxnResponse::default()
                });
            }
            let topics = &self.v3_and_below_topics;
            let granted = access.transactional_id(Write, &self.v3_and_below_transactional_id);
            let refused: Vec<bool> = topics.iter().map(|t| !access.topic(Write, &t.name)).collect();
            if granted && !refused.contains(&true) {
                return ControlFlow::Continue(());
            }
            // All or nothing: a partition that may be added is not, because another may not.
            let code = |refused: bool| match (granted, refused) {
                (false, _) => REFUSED,
                (true, true) => ErrorCode::TopicAuthorizationFailed,
                (true, false) => ErrorCode::OperationNotAttempted,
            };
            let results = topics
                .iter()
                .zip(refused)
                .map(|(topic, refused)| AddPartitionsToTxnTopicResult {
                    name: topic.name.clone(),
                    results_by_partition: topic
                        .partitions
                        .iter()
                        .map(|index| AddPartitionsToTxnPartitionResult {
                            partition_index: *index,
                            partition_error_code: code(refused).code(),
                            ..AddPartitionsToTxnPartitionResult::default()
                        })
                        .collect(),
                    ..AddPartitionsToTxnTopicResult::default()
                })
                .collect();
            ControlFlow::Break(AddPartitionsToTxnResponse {
                results_by_topic_v3_and_below: results,
                ..AddPartitionsToTxnResponse::default()
            })
        }

        fn complete(_: &mut Self::Response, (): (), _: &Access) {}

        throttle_time!(Self::Response);
    }
}

impl Guarded for WriteTxnMarkersRequest {
    type Withheld = ();

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, ()> {
        use write_txn_markers_response::{
            WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
        };
        if access.cluster_quietly(Alter) || access.cluster(ClusterAction) {
            return ControlFlow::Continue(());
        }
        let partition = |index: &i32| WritableTxnMarkerPartitionResult {
            partition_index: *index,
            error_code: ErrorCode::ClusterAuthorizationFailed.code(),
            ..WritableTxnMarkerPartitionResult::default()
        };
        let topic =
            |topic: &write_txn_markers_request::WritableTxnMarkerTopic| WritableTxnMarkerTopicResult {
                name: topic.name.clone(),
                partitions: topic.partition_indexes.iter().map(partition).collect(),
                ..WritableTxnMarkerTopicResult::default()
            };
        let markers = self
            .markers
            .iter()
            .map(|marker| WritableTxnMarkerResult {
                producer_id: marker.producer_id,
                topics: marker.topics.iter().map(topic).collect(),
                ..WritableTxnMarkerResult::default()
            })
            .collect();
        ControlFlow::Break(WriteTxnMarkersResponse { markers, ..WriteTxnMarkersResponse::default() })
    }

    fn complete(_: &mut Self::Response, (): (), _: &Access) {}

    no_throttle_time!(Self::Response);
}

impl Guarded for DescribeTransactionsRequest {
    type Withheld = Vec<String>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        let refused = take_out(&mut self.transactional_ids, |id| access.transactional_id(Describe, id));
        ControlFlow::Continue(refused)
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, access: &Access) {
        for state in &mut response.transaction_states {
            state.topics.retain(|topic| access.topic_quietly(Describe, &topic.topic));
        }
        for transactional_id in refused {
            response.transaction_states.push(describe_transactions_response::TransactionState {
                error_code: REFUSED.code(),
                transactional_id,
                ..describe_transactions_response::TransactionState::default()
            });
        }
    }

    throttle_time!(Self::Response);
}

impl Guarded for ListTransactionsRequest {
    type Withheld = ();

    fn check(&mut self, _: &Access) -> ControlFlow<Self::Response, ()> {
        ControlFlow::Continue(())
    }

    fn complete(response: &mut Self::Response, (): (), access: &Access) {
        response
            .transaction_states
            .retain(|state| access.transactional_id_quietly(Describe, &state.transactional_id));
    }

    throttle_time!(Self::Response);
}
