//! The messages of Kafka's schemas.

use crate::api_key::ApiFacts;

/// API of a request and its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
#[non_exhaustive]
pub enum ApiKey {
    /// Produce.
    Produce = 0,
    /// Fetch.
    Fetch = 1,
    /// ListOffsets.
    ListOffsets = 2,
    /// Metadata.
    Metadata = 3,
    /// LeaderAndIsr.
    LeaderAndIsr = 4,
    /// StopReplica.
    StopReplica = 5,
    /// UpdateMetadata.
    UpdateMetadata = 6,
    /// ControlledShutdown.
    ControlledShutdown = 7,
    /// OffsetCommit.
    OffsetCommit = 8,
    /// OffsetFetch.
    OffsetFetch = 9,
    /// FindCoordinator.
    FindCoordinator = 10,
    /// JoinGroup.
    JoinGroup = 11,
    /// Heartbeat.
    Heartbeat = 12,
    /// LeaveGroup.
    LeaveGroup = 13,
    /// SyncGroup.
    SyncGroup = 14,
    /// DescribeGroups.
    DescribeGroups = 15,
    /// ListGroups.
    ListGroups = 16,
    /// SaslHandshake.
    SaslHandshake = 17,
    /// ApiVersions.
    ApiVersions = 18,
    /// CreateTopics.
    CreateTopics = 19,
    /// DeleteTopics.
    DeleteTopics = 20,
    /// DeleteRecords.
    DeleteRecords = 21,
    /// InitProducerId.
    InitProducerId = 22,
    /// OffsetForLeaderEpoch.
    OffsetForLeaderEpoch = 23,
    /// AddPartitionsToTxn.
    AddPartitionsToTxn = 24,
    /// AddOffsetsToTxn.
    AddOffsetsToTxn = 25,
    /// EndTxn.
    EndTxn = 26,
    /// WriteTxnMarkers.
    WriteTxnMarkers = 27,
    /// TxnOffsetCommit.
    TxnOffsetCommit = 28,
    /// DescribeAcls.
    DescribeAcls = 29,
    /// CreateAcls.
    CreateAcls = 30,
    /// DeleteAcls.
    DeleteAcls = 31,
    /// DescribeConfigs.
    DescribeConfigs = 32,
    /// AlterConfigs.
    AlterConfigs = 33,
    /// AlterReplicaLogDirs.
    AlterReplicaLogDirs = 34,
    /// DescribeLogDirs.
    DescribeLogDirs = 35,
    /// SaslAuthenticate.
    SaslAuthenticate = 36,
    /// CreatePartitions.
    CreatePartitions = 37,
    /// CreateDelegationToken.
    CreateDelegationToken = 38,
    /// RenewDelegationToken.
    RenewDelegationToken = 39,
    /// ExpireDelegationToken.
    ExpireDelegationToken = 40,
    /// DescribeDelegationToken.
    DescribeDelegationToken = 41,
    /// DeleteGroups.
    DeleteGroups = 42,
    /// ElectLeaders.
    ElectLeaders = 43,
    /// IncrementalAlterConfigs.
    IncrementalAlterConfigs = 44,
    /// AlterPartitionReassignments.
    AlterPartitionReassignments = 45,
    /// ListPartitionReassignments.
    ListPartitionReassignments = 46,
    /// OffsetDelete.
    OffsetDelete = 47,
    /// DescribeClientQuotas.
    DescribeClientQuotas = 48,
    /// AlterClientQuotas.
    AlterClientQuotas = 49,
    /// DescribeUserScramCredentials.
    DescribeUserScramCredentials = 50,
    /// AlterUserScramCredentials.
    AlterUserScramCredentials = 51,
    /// Vote.
    Vote = 52,
    /// BeginQuorumEpoch.
    BeginQuorumEpoch = 53,
    /// EndQuorumEpoch.
    EndQuorumEpoch = 54,
    /// DescribeQuorum.
    DescribeQuorum = 55,
    /// AlterPartition.
    AlterPartition = 56,
    /// UpdateFeatures.
    UpdateFeatures = 57,
    /// Envelope.
    Envelope = 58,
    /// FetchSnapshot.
    FetchSnapshot = 59,
    /// DescribeCluster.
    DescribeCluster = 60,
    /// DescribeProducers.
    DescribeProducers = 61,
    /// BrokerRegistration.
    BrokerRegistration = 62,
    /// BrokerHeartbeat.
    BrokerHeartbeat = 63,
    /// UnregisterBroker.
    UnregisterBroker = 64,
    /// DescribeTransactions.
    DescribeTransactions = 65,
    /// ListTransactions.
    ListTransactions = 66,
    /// AllocateProducerIds.
    AllocateProducerIds = 67,
    /// ConsumerGroupHeartbeat.
    ConsumerGroupHeartbeat = 68,
    /// ConsumerGroupDescribe.
    ConsumerGroupDescribe = 69,
    /// ControllerRegistration.
    ControllerRegistration = 70,
    /// GetTelemetrySubscriptions.
    GetTelemetrySubscriptions = 71,
    /// PushTelemetry.
    PushTelemetry = 72,
    /// AssignReplicasToDirs.
    AssignReplicasToDirs = 73,
    /// ListConfigResources.
    ListConfigResources = 74,
    /// DescribeTopicPartitions.
    DescribeTopicPartitions = 75,
    /// ShareGroupHeartbeat.
    ShareGroupHeartbeat = 76,
    /// ShareGroupDescribe.
    ShareGroupDescribe = 77,
    /// ShareFetch.
    ShareFetch = 78,
    /// ShareAcknowledge.
    ShareAcknowledge = 79,
    /// AddRaftVoter.
    AddRaftVoter = 80,
    /// RemoveRaftVoter.
    RemoveRaftVoter = 81,
    /// UpdateRaftVoter.
    UpdateRaftVoter = 82,
    /// InitializeShareGroupState.
    InitializeShareGroupState = 83,
    /// ReadShareGroupState.
    ReadShareGroupState = 84,
    /// WriteShareGroupState.
    WriteShareGroupState = 85,
    /// DeleteShareGroupState.
    DeleteShareGroupState = 86,
    /// ReadShareGroupStateSummary.
    ReadShareGroupStateSummary = 87,
    /// StreamsGroupHeartbeat.
    StreamsGroupHeartbeat = 88,
    /// StreamsGroupDescribe.
    StreamsGroupDescribe = 89,
    /// DescribeShareGroupOffsets.
    DescribeShareGroupOffsets = 90,
    /// AlterShareGroupOffsets.
    AlterShareGroupOffsets = 91,
    /// DeleteShareGroupOffsets.
    DeleteShareGroupOffsets = 92,
    /// StreamsGroupTopologyDescriptionUpdate.
    StreamsGroupTopologyDescriptionUpdate = 93,
    /// UnregisterController.
    UnregisterController = 94,
}
impl ApiKey {
    /// All, ascending.
    pub const ALL: &'static [Self] = &[
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::LeaderAndIsr,
        Self::StopReplica,
        Self::UpdateMetadata,
        Self::ControlledShutdown,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::FindCoordinator,
        Self::JoinGroup,
        Self::Heartbeat,
        Self::LeaveGroup,
        Self::SyncGroup,
        Self::DescribeGroups,
        Self::ListGroups,
        Self::SaslHandshake,
        Self::ApiVersions,
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::DeleteRecords,
        Self::InitProducerId,
        Self::OffsetForLeaderEpoch,
        Self::AddPartitionsToTxn,
        Self::AddOffsetsToTxn,
        Self::EndTxn,
        Self::WriteTxnMarkers,
        Self::TxnOffsetCommit,
        Self::DescribeAcls,
        Self::CreateAcls,
        Self::DeleteAcls,
        Self::DescribeConfigs,
        Self::AlterConfigs,
        Self::AlterReplicaLogDirs,
        Self::DescribeLogDirs,
        Self::SaslAuthenticate,
        Self::CreatePartitions,
        Self::CreateDelegationToken,
        Self::RenewDelegationToken,
        Self::ExpireDelegationToken,
        Self::DescribeDelegationToken,
        Self::DeleteGroups,
        Self::ElectLeaders,
        Self::IncrementalAlterConfigs,
        Self::AlterPartitionReassignments,
        Self::ListPartitionReassignments,
        Self::OffsetDelete,
        Self::DescribeClientQuotas,
        Self::AlterClientQuotas,
        Self::DescribeUserScramCredentials,
        Self::AlterUserScramCredentials,
        Self::Vote,
        Self::BeginQuorumEpoch,
        Self::EndQuorumEpoch,
        Self::DescribeQuorum,
        Self::AlterPartition,
        Self::UpdateFeatures,
        Self::Envelope,
        Self::FetchSnapshot,
        Self::DescribeCluster,
        Self::DescribeProducers,
        Self::BrokerRegistration,
        Self::BrokerHeartbeat,
        Self::UnregisterBroker,
        Self::DescribeTransactions,
        Self::ListTransactions,
        Self::AllocateProducerIds,
        Self::ConsumerGroupHeartbeat,
        Self::ConsumerGroupDescribe,
        Self::ControllerRegistration,
        Self::GetTelemetrySubscriptions,
        Self::PushTelemetry,
        Self::AssignReplicasToDirs,
        Self::ListConfigResources,
        Self::DescribeTopicPartitions,
        Self::ShareGroupHeartbeat,
        Self::ShareGroupDescribe,
        Self::ShareFetch,
        Self::ShareAcknowledge,
        Self::AddRaftVoter,
        Self::RemoveRaftVoter,
        Self::UpdateRaftVoter,
        Self::InitializeShareGroupState,
        Self::ReadShareGroupState,
        Self::WriteShareGroupState,
        Self::DeleteShareGroupState,
        Self::ReadShareGroupStateSummary,
        Self::StreamsGroupHeartbeat,
        Self::StreamsGroupDescribe,
        Self::DescribeShareGroupOffsets,
        Self::AlterShareGroupOffsets,
        Self::DeleteShareGroupOffsets,
        Self::StreamsGroupTopologyDescriptionUpdate,
        Self::UnregisterController,
    ];
    pub(crate) const fn facts(self) -> ApiFacts {
        match self {
            Self::Produce => ApiFacts {
                name: "Produce",
                versions: Some((3, 13)),
                latest_unstable: false,
                flexible_from: Some(9),
                broker: true,
            },
            Self::Fetch => ApiFacts {
                name: "Fetch",
                versions: Some((4, 18)),
                latest_unstable: false,
                flexible_from: Some(12),
                broker: true,
            },
            Self::ListOffsets => ApiFacts {
                name: "ListOffsets",
                versions: Some((1, 11)),
                latest_unstable: false,
                flexible_from: Some(6),
                broker: true,
            },
            Self::Metadata => ApiFacts {
                name: "Metadata",
                versions: Some((0, 13)),
                latest_unstable: false,
                flexible_from: Some(9),
                broker: true,
            },
            Self::LeaderAndIsr => ApiFacts {
                name: "LeaderAndIsr",
                versions: None,
                latest_unstable: false,
                flexible_from: None,
                broker: false,
            },
            Self::StopReplica => ApiFacts {
                name: "StopReplica",
                versions: None,
                latest_unstable: false,
                flexible_from: None,
                broker: false,
            },
            Self::UpdateMetadata => ApiFacts {
                name: "UpdateMetadata",
                versions: None,
                latest_unstable: false,
                flexible_from: None,
                broker: false,
            },
            Self::ControlledShutdown => ApiFacts {
                name: "ControlledShutdown",
                versions: None,
                latest_unstable: false,
                flexible_from: None,
                broker: false,
            },
            Self::OffsetCommit => ApiFacts {
                name: "OffsetCommit",
                versions: Some((2, 10)),
                latest_unstable: false,
                flexible_from: Some(8),
                broker: true,
            },
            Self::OffsetFetch => ApiFacts {
                name: "OffsetFetch",
                versions: Some((1, 10)),
                latest_unstable: false,
                flexible_from: Some(6),
                broker: true,
            },
            Self::FindCoordinator => ApiFacts {
                name: "FindCoordinator",
                versions: Some((0, 6)),
                latest_unstable: false,
                flexible_from: Some(3),
                broker: true,
            },
            Self::JoinGroup => ApiFacts {
                name: "JoinGroup",
                versions: Some((0, 9)),
                latest_unstable: false,
                flexible_from: Some(6),
                broker: true,
            },
            Self::Heartbeat => ApiFacts {
                name: "Heartbeat",
                versions: Some((0, 4)),
                latest_unstable: false,
                flexible_from: Some(4),
                broker: true,
            },
            Self::LeaveGroup => ApiFacts {
                name: "LeaveGroup",
                versions: Some((0, 5)),
                latest_unstable: false,
                flexible_from: Some(4),
                broker: true,
            },
            Self::SyncGroup => ApiFacts {
                name: "SyncGroup",
                versions: Some((0, 5)),
                latest_unstable: false,
                flexible_from: Some(4),
                broker: true,
            },
            Self::DescribeGroups => ApiFacts {
                name: "DescribeGroups",
                versions: Some((0, 6)),
                latest_unstable: false,
                flexible_from: Some(5),
                broker: true,
            },
            Self::ListGroups => ApiFacts {
                name: "ListGroups",
                versions: Some((0, 5)),
                latest_unstable: false,
                flexible_from: Some(3),
                broker: true,
            },
            Self::SaslHandshake => ApiFacts {
                name: "SaslHandshake",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: None,
                broker: true,
            },
            Self::ApiVersions => ApiFacts {
                name: "ApiVersions",
                versions: Some((0, 5)),
                latest_unstable: false,
                flexible_from: Some(3),
                broker: true,
            },
            Self::CreateTopics => ApiFacts {
                name: "CreateTopics",
                versions: Some((2, 7)),
                latest_unstable: false,
                flexible_from: Some(5),
                broker: true,
            },
            Self::DeleteTopics => ApiFacts {
                name: "DeleteTopics",
                versions: Some((1, 6)),
                latest_unstable: false,
                flexible_from: Some(4),
                broker: true,
            },
            Self::DeleteRecords => ApiFacts {
                name: "DeleteRecords",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::InitProducerId => ApiFacts {
                name: "InitProducerId",
                versions: Some((0, 6)),
                latest_unstable: true,
                flexible_from: Some(2),
                broker: true,
            },
            Self::OffsetForLeaderEpoch => ApiFacts {
                name: "OffsetForLeaderEpoch",
                versions: Some((2, 4)),
                latest_unstable: false,
                flexible_from: Some(4),
                broker: true,
            },
            Self::AddPartitionsToTxn => ApiFacts {
                name: "AddPartitionsToTxn",
                versions: Some((0, 5)),
                latest_unstable: false,
                flexible_from: Some(3),
                broker: true,
            },
            Self::AddOffsetsToTxn => ApiFacts {
                name: "AddOffsetsToTxn",
                versions: Some((0, 4)),
                latest_unstable: false,
                flexible_from: Some(3),
                broker: true,
            },
            Self::EndTxn => ApiFacts {
                name: "EndTxn",
                versions: Some((0, 5)),
                latest_unstable: false,
                flexible_from: Some(3),
                broker: true,
            },
            Self::WriteTxnMarkers => ApiFacts {
                name: "WriteTxnMarkers",
                versions: Some((1, 2)),
                latest_unstable: false,
                flexible_from: Some(1),
                broker: true,
            },
            Self::TxnOffsetCommit => ApiFacts {
                name: "TxnOffsetCommit",
                versions: Some((0, 6)),
                latest_unstable: false,
                flexible_from: Some(3),
                broker: true,
            },
            Self::DescribeAcls => ApiFacts {
                name: "DescribeAcls",
                versions: Some((1, 3)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::CreateAcls => ApiFacts {
                name: "CreateAcls",
                versions: Some((1, 3)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::DeleteAcls => ApiFacts {
                name: "DeleteAcls",
                versions: Some((1, 3)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::DescribeConfigs => ApiFacts {
                name: "DescribeConfigs",
                versions: Some((1, 4)),
                latest_unstable: false,
                flexible_from: Some(4),
                broker: true,
            },
            Self::AlterConfigs => ApiFacts {
                name: "AlterConfigs",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::AlterReplicaLogDirs => ApiFacts {
                name: "AlterReplicaLogDirs",
                versions: Some((1, 2)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::DescribeLogDirs => ApiFacts {
                name: "DescribeLogDirs",
                versions: Some((1, 5)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::SaslAuthenticate => ApiFacts {
                name: "SaslAuthenticate",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::CreatePartitions => ApiFacts {
                name: "CreatePartitions",
                versions: Some((0, 3)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::CreateDelegationToken => ApiFacts {
                name: "CreateDelegationToken",
                versions: Some((1, 3)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::RenewDelegationToken => ApiFacts {
                name: "RenewDelegationToken",
                versions: Some((1, 2)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::ExpireDelegationToken => ApiFacts {
                name: "ExpireDelegationToken",
                versions: Some((1, 2)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::DescribeDelegationToken => ApiFacts {
                name: "DescribeDelegationToken",
                versions: Some((1, 3)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::DeleteGroups => ApiFacts {
                name: "DeleteGroups",
                versions: Some((0, 3)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::ElectLeaders => ApiFacts {
                name: "ElectLeaders",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(2),
                broker: true,
            },
            Self::IncrementalAlterConfigs => ApiFacts {
                name: "IncrementalAlterConfigs",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(1),
                broker: true,
            },
            Self::AlterPartitionReassignments => ApiFacts {
                name: "AlterPartitionReassignments",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ListPartitionReassignments => ApiFacts {
                name: "ListPartitionReassignments",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::OffsetDelete => ApiFacts {
                name: "OffsetDelete",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: None,
                broker: true,
            },
            Self::DescribeClientQuotas => ApiFacts {
                name: "DescribeClientQuotas",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(1),
                broker: true,
            },
            Self::AlterClientQuotas => ApiFacts {
                name: "AlterClientQuotas",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(1),
                broker: true,
            },
            Self::DescribeUserScramCredentials => ApiFacts {
                name: "DescribeUserScramCredentials",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::AlterUserScramCredentials => ApiFacts {
                name: "AlterUserScramCredentials",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::Vote => ApiFacts {
                name: "Vote",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::BeginQuorumEpoch => ApiFacts {
                name: "BeginQuorumEpoch",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(1),
                broker: false,
            },
            Self::EndQuorumEpoch => ApiFacts {
                name: "EndQuorumEpoch",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(1),
                broker: false,
            },
            Self::DescribeQuorum => ApiFacts {
                name: "DescribeQuorum",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::AlterPartition => ApiFacts {
                name: "AlterPartition",
                versions: Some((2, 3)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::UpdateFeatures => ApiFacts {
                name: "UpdateFeatures",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::Envelope => ApiFacts {
                name: "Envelope",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::FetchSnapshot => ApiFacts {
                name: "FetchSnapshot",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::DescribeCluster => ApiFacts {
                name: "DescribeCluster",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::DescribeProducers => ApiFacts {
                name: "DescribeProducers",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::BrokerRegistration => ApiFacts {
                name: "BrokerRegistration",
                versions: Some((0, 4)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::BrokerHeartbeat => ApiFacts {
                name: "BrokerHeartbeat",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::UnregisterBroker => ApiFacts {
                name: "UnregisterBroker",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::DescribeTransactions => ApiFacts {
                name: "DescribeTransactions",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ListTransactions => ApiFacts {
                name: "ListTransactions",
                versions: Some((0, 2)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::AllocateProducerIds => ApiFacts {
                name: "AllocateProducerIds",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::ConsumerGroupHeartbeat => ApiFacts {
                name: "ConsumerGroupHeartbeat",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ConsumerGroupDescribe => ApiFacts {
                name: "ConsumerGroupDescribe",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ControllerRegistration => ApiFacts {
                name: "ControllerRegistration",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::GetTelemetrySubscriptions => ApiFacts {
                name: "GetTelemetrySubscriptions",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::PushTelemetry => ApiFacts {
                name: "PushTelemetry",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::AssignReplicasToDirs => ApiFacts {
                name: "AssignReplicasToDirs",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::ListConfigResources => ApiFacts {
                name: "ListConfigResources",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::DescribeTopicPartitions => ApiFacts {
                name: "DescribeTopicPartitions",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ShareGroupHeartbeat => ApiFacts {
                name: "ShareGroupHeartbeat",
                versions: Some((1, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ShareGroupDescribe => ApiFacts {
                name: "ShareGroupDescribe",
                versions: Some((1, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ShareFetch => ApiFacts {
                name: "ShareFetch",
                versions: Some((1, 2)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ShareAcknowledge => ApiFacts {
                name: "ShareAcknowledge",
                versions: Some((1, 2)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::AddRaftVoter => ApiFacts {
                name: "AddRaftVoter",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::RemoveRaftVoter => ApiFacts {
                name: "RemoveRaftVoter",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::UpdateRaftVoter => ApiFacts {
                name: "UpdateRaftVoter",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: false,
            },
            Self::InitializeShareGroupState => ApiFacts {
                name: "InitializeShareGroupState",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ReadShareGroupState => ApiFacts {
                name: "ReadShareGroupState",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::WriteShareGroupState => ApiFacts {
                name: "WriteShareGroupState",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::DeleteShareGroupState => ApiFacts {
                name: "DeleteShareGroupState",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::ReadShareGroupStateSummary => ApiFacts {
                name: "ReadShareGroupStateSummary",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::StreamsGroupHeartbeat => ApiFacts {
                name: "StreamsGroupHeartbeat",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::StreamsGroupDescribe => ApiFacts {
                name: "StreamsGroupDescribe",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::DescribeShareGroupOffsets => ApiFacts {
                name: "DescribeShareGroupOffsets",
                versions: Some((0, 1)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::AlterShareGroupOffsets => ApiFacts {
                name: "AlterShareGroupOffsets",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::DeleteShareGroupOffsets => ApiFacts {
                name: "DeleteShareGroupOffsets",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::StreamsGroupTopologyDescriptionUpdate => ApiFacts {
                name: "StreamsGroupTopologyDescriptionUpdate",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
            Self::UnregisterController => ApiFacts {
                name: "UnregisterController",
                versions: Some((0, 0)),
                latest_unstable: false,
                flexible_from: Some(0),
                broker: true,
            },
        }
    }
}
