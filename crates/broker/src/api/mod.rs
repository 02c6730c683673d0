//! One file per API: which versions are offered, and who handles them.

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod alter_client_quotas;
pub(crate) mod alter_configs;
pub(crate) mod alter_partition_reassignments;
pub(crate) mod alter_user_scram_credentials;
pub(crate) mod api_versions;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod create_acls;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delegation_tokens;
pub(crate) mod delete_acls;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_acls;
pub(crate) mod describe_client_quotas;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_quorum;
pub(crate) mod describe_topic_partitions;
pub(crate) mod describe_transactions;
pub(crate) mod describe_user_scram_credentials;
pub(crate) mod elect_leaders;
pub(crate) mod end_txn;
pub(crate) mod error_code;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod get_telemetry_subscriptions;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_config_resources;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod list_partition_reassignments;
pub(crate) mod list_transactions;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod push_telemetry;
mod record_errors;
pub(crate) mod share_acknowledge;
pub(crate) mod share_fetch;
pub(crate) mod share_group_describe;
pub(crate) mod share_group_heartbeat;
pub(crate) mod share_group_offsets;
pub(crate) mod share_group_state;
pub(crate) mod sync_group;
pub(crate) mod txn_offset_commit;
pub(crate) mod update_features;
pub(crate) mod write_txn_markers;

use std::ops::RangeInclusive;

use kafka_codec::{ApiKey, DecodeError, ErrorCode};

use crate::dispatch::Call;
use crate::net::connection::Handling;
use crate::replica::Partition;

/// Isolation level of Fetch and ListOffsets: only committed transactions.
pub(crate) const READ_COMMITTED: i8 = 1;

/// APIs this broker implements, with the versions it offers (those of Kafka 4.3).
const OFFERED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 11),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::OffsetCommit, 2, 10),
    (ApiKey::OffsetFetch, 1, 10),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::SaslHandshake, 0, 1),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::AddPartitionsToTxn, 0, 5),
    (ApiKey::AddOffsetsToTxn, 0, 4),
    (ApiKey::EndTxn, 0, 5),
    (ApiKey::WriteTxnMarkers, 1, 2),
    (ApiKey::TxnOffsetCommit, 0, 5),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::DescribeLogDirs, 1, 5),
    (ApiKey::SaslAuthenticate, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::CreateDelegationToken, 1, 3),
    (ApiKey::RenewDelegationToken, 1, 2),
    (ApiKey::ExpireDelegationToken, 1, 2),
    (ApiKey::DescribeDelegationToken, 1, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::ListPartitionReassignments, 0, 0),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::UpdateFeatures, 0, 2),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::ListConfigResources, 0, 1),
    (ApiKey::DescribeAcls, 1, 3),
    (ApiKey::CreateAcls, 1, 3),
    (ApiKey::DeleteAcls, 1, 3),
    (ApiKey::ElectLeaders, 0, 2),
    (ApiKey::AlterPartitionReassignments, 0, 1),
    (ApiKey::DescribeClientQuotas, 0, 1),
    (ApiKey::AlterClientQuotas, 0, 1),
    (ApiKey::DescribeUserScramCredentials, 0, 0),
    (ApiKey::AlterUserScramCredentials, 0, 0),
    (ApiKey::DescribeQuorum, 0, 2),
    (ApiKey::DescribeProducers, 0, 0),
    (ApiKey::DescribeTransactions, 0, 0),
    (ApiKey::ListTransactions, 0, 2),
    (ApiKey::ConsumerGroupHeartbeat, 0, 1),
    (ApiKey::ConsumerGroupDescribe, 0, 1),
    (ApiKey::GetTelemetrySubscriptions, 0, 0),
    (ApiKey::PushTelemetry, 0, 0),
    (ApiKey::DescribeTopicPartitions, 0, 0),
    (ApiKey::ShareGroupHeartbeat, 1, 1),
    (ApiKey::ShareGroupDescribe, 1, 1),
    (ApiKey::ShareFetch, 1, 2),
    (ApiKey::ShareAcknowledge, 1, 2),
    (ApiKey::InitializeShareGroupState, 0, 0),
    (ApiKey::ReadShareGroupState, 0, 0),
    (ApiKey::WriteShareGroupState, 0, 1),
    (ApiKey::DeleteShareGroupState, 0, 0),
    (ApiKey::ReadShareGroupStateSummary, 0, 1),
    (ApiKey::DescribeShareGroupOffsets, 0, 1),
    (ApiKey::AlterShareGroupOffsets, 0, 0),
    (ApiKey::DeleteShareGroupOffsets, 0, 0),
];

/// The versions offered of an API; `None` = not implemented.
pub(crate) fn versions(api: ApiKey) -> Option<RangeInclusive<i16>> {
    OFFERED.iter().find(|(key, ..)| *key == api).map(|(_, first, last)| *first..=*last)
}

/// Everything offered, by key.
pub(crate) fn offered() -> impl Iterator<Item = (ApiKey, i16, i16)> {
    OFFERED.iter().copied()
}

/// Hands a request to its handler. Later requests of a connection may begin before a `pipelined` one is
/// answered; a `serial` one is answered first.
pub(crate) fn route(call: Call) -> Result<Handling, DecodeError> {
    match call.api {
        ApiKey::Produce => produce::begin(call),
        ApiKey::Fetch => fetch::begin(call),
        ApiKey::ListOffsets => call.serial(list_offsets::handle),
        ApiKey::Metadata => call.serial(metadata::handle),
        ApiKey::OffsetCommit => call.pipelined(offset_commit::handle),
        ApiKey::OffsetFetch => call.pipelined(offset_fetch::handle),
        ApiKey::FindCoordinator => call.serial(find_coordinator::handle),
        ApiKey::JoinGroup => call.serial(join_group::handle),
        ApiKey::Heartbeat => call.serial(heartbeat::handle),
        ApiKey::LeaveGroup => call.serial(leave_group::handle),
        ApiKey::SyncGroup => call.serial(sync_group::handle),
        ApiKey::DescribeGroups => call.serial(describe_groups::handle),
        ApiKey::ListGroups => call.serial(list_groups::handle),
        ApiKey::DeleteGroups => call.serial(delete_groups::handle),
        ApiKey::OffsetDelete => call.serial(offset_delete::handle),
        ApiKey::ApiVersions => call.serial(api_versions::handle),
        ApiKey::CreateTopics => call.serial(create_topics::handle),
        ApiKey::DeleteTopics => call.serial(delete_topics::handle),
        ApiKey::DeleteRecords => call.serial(delete_records::handle),
        ApiKey::InitProducerId => call.pipelined(init_producer_id::handle),
        ApiKey::AddPartitionsToTxn => call.pipelined(add_partitions_to_txn::handle),
        ApiKey::AddOffsetsToTxn => call.pipelined(add_offsets_to_txn::handle),
        ApiKey::EndTxn => call.pipelined(end_txn::handle),
        ApiKey::WriteTxnMarkers => call.pipelined(write_txn_markers::handle),
        ApiKey::TxnOffsetCommit => call.pipelined(txn_offset_commit::handle),
        ApiKey::DescribeTransactions => call.serial(describe_transactions::handle),
        ApiKey::UpdateFeatures => call.serial(update_features::handle),
        ApiKey::OffsetForLeaderEpoch => call.serial(offset_for_leader_epoch::handle),
        ApiKey::DescribeConfigs => call.serial(describe_configs::handle),
        ApiKey::AlterConfigs => call.serial(alter_configs::handle),
        ApiKey::DescribeLogDirs => call.serial(describe_log_dirs::handle),
        ApiKey::CreatePartitions => call.serial(create_partitions::handle),
        ApiKey::IncrementalAlterConfigs => call.serial(incremental_alter_configs::handle),
        ApiKey::ListPartitionReassignments => call.serial(list_partition_reassignments::handle),
        ApiKey::DescribeCluster => call.serial(describe_cluster::handle),
        ApiKey::ListConfigResources => call.serial(list_config_resources::handle),
        ApiKey::DescribeTopicPartitions => call.serial(describe_topic_partitions::handle),
        ApiKey::DescribeAcls => call.serial(describe_acls::handle),
        ApiKey::CreateAcls => call.serial(create_acls::handle),
        ApiKey::DeleteAcls => call.serial(delete_acls::handle),
        ApiKey::ElectLeaders => call.serial(elect_leaders::handle),
        ApiKey::AlterPartitionReassignments => call.serial(alter_partition_reassignments::handle),
        ApiKey::DescribeClientQuotas => call.serial(describe_client_quotas::handle),
        ApiKey::AlterClientQuotas => call.serial(alter_client_quotas::handle),
        ApiKey::AlterUserScramCredentials => call.serial(alter_user_scram_credentials::handle),
        ApiKey::DescribeUserScramCredentials => call.serial(describe_user_scram_credentials::handle),
        ApiKey::DescribeQuorum => call.serial(describe_quorum::handle),
        ApiKey::DescribeProducers => call.serial(describe_producers::handle),
        ApiKey::ListTransactions => call.serial(list_transactions::handle),
        ApiKey::ConsumerGroupHeartbeat => call.serial(consumer_group_heartbeat::handle),
        ApiKey::ConsumerGroupDescribe => call.serial(consumer_group_describe::handle),
        ApiKey::GetTelemetrySubscriptions => call.serial(get_telemetry_subscriptions::handle),
        ApiKey::PushTelemetry => call.serial(push_telemetry::handle),
        ApiKey::CreateDelegationToken => call.serial(delegation_tokens::create),
        ApiKey::RenewDelegationToken => call.serial(delegation_tokens::renew),
        ApiKey::ExpireDelegationToken => call.serial(delegation_tokens::expire),
        ApiKey::DescribeDelegationToken => call.serial(delegation_tokens::describe),
        ApiKey::ShareGroupHeartbeat => call.serial(share_group_heartbeat::handle),
        ApiKey::ShareGroupDescribe => call.serial(share_group_describe::handle),
        ApiKey::ShareFetch => call.pipelined(share_fetch::handle),
        ApiKey::ShareAcknowledge => call.pipelined(share_acknowledge::handle),
        ApiKey::InitializeShareGroupState => call.serial(share_group_state::initialize),
        ApiKey::ReadShareGroupState => call.serial(share_group_state::read),
        ApiKey::WriteShareGroupState => call.serial(share_group_state::write),
        ApiKey::DeleteShareGroupState => call.serial(share_group_state::delete),
        ApiKey::ReadShareGroupStateSummary => call.serial(share_group_state::summary),
        ApiKey::DescribeShareGroupOffsets => call.serial(share_group_offsets::describe),
        ApiKey::AlterShareGroupOffsets => call.serial(share_group_offsets::alter),
        ApiKey::DeleteShareGroupOffsets => call.serial(share_group_offsets::delete),
        other => Err(DecodeError::UnknownKey { what: "API key", key: i32::from(other.as_i16()) }),
    }
}

/// Operations on a cluster (codes of `AclOperation`): all of them, as long as nobody is refused anything.
const CLUSTER_OPERATIONS: [u8; 7] = [5, 7, 8, 9, 10, 11, 12];
/// Operations on a topic.
const TOPIC_OPERATIONS: [u8; 8] = [3, 4, 5, 6, 7, 8, 10, 11];

fn bits(operations: &[u8], asked: bool) -> i32 {
    if asked { operations.iter().fold(0, |bits, operation| bits | 1 << operation) } else { i32::MIN }
}

/// What the client may do with the cluster, when it asked.
pub(crate) fn authorized_cluster_operations(asked: bool) -> i32 {
    bits(&CLUSTER_OPERATIONS, asked)
}

/// What the client may do with a topic, when it asked.
pub(crate) fn authorized_topic_operations(asked: bool) -> i32 {
    bits(&TOPIC_OPERATIONS, asked)
}

/// Compares the leader epoch that a client knows (-1 = does not say) with ours (KIP-320).
pub(crate) fn check_leader_epoch(partition: &Partition, current: i32) -> Result<(), ErrorCode> {
    match current.cmp(&partition.leader_epoch()) {
        _ if current < 0 => Ok(()),
        std::cmp::Ordering::Less => Err(ErrorCode::FencedLeaderEpoch),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(ErrorCode::UnknownLeaderEpoch),
    }
}

/// PRODUCER_FENCED as clients know it that are older than that code.
pub(crate) fn older_fencing(error: ErrorCode, older: bool) -> ErrorCode {
    if older && error == ErrorCode::ProducerFenced { ErrorCode::InvalidProducerEpoch } else { error }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    log::Clock::now_ms(&log::SystemClock)
}
