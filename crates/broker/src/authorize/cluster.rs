//! Requests about the cluster as a whole.

use std::ops::ControlFlow;

use kafka_codec::ErrorCode;
use kafka_codec::acl::AclOperation::{Alter, AlterConfigs, ClusterAction, Describe, DescribeConfigs};
use kafka_codec::messages::create_acls_response::AclCreationResult;
use kafka_codec::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_codec::messages::{alter_client_quotas_response, alter_user_scram_credentials_response, *};

use super::{
    Access, Guarded, NOT_ASKED, no_throttle_time, open, take_out, throttle_time, unless, whole, words,
};

const REFUSED: ErrorCode = ErrorCode::ClusterAuthorizationFailed;

/// A request that one operation on the cluster allows.
macro_rules! cluster {
    ($request:ident, $operation:ident, |$asked:ident, $code:ident| $answer:expr) => {
        impl Guarded for $request {
            type Withheld = ();

            fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, ()> {
                if access.cluster($operation) {
                    return ControlFlow::Continue(());
                }
                let ($asked, $code) = (self, REFUSED.code());
                ControlFlow::Break($answer)
            }

            fn complete(_: &mut Self::Response, (): (), _: &Access) {}

            throttle_time!(Self::Response);
        }
    };
}

open!(ApiVersionsRequest, throttle_time);
open!(SaslHandshakeRequest, no_throttle_time);
open!(SaslAuthenticateRequest, no_throttle_time);
open!(GetTelemetrySubscriptionsRequest, throttle_time);
open!(PushTelemetryRequest, throttle_time);
// Delegation tokens are refused to everybody alike.
open!(CreateDelegationTokenRequest, throttle_time);
open!(RenewDelegationTokenRequest, throttle_time);
open!(ExpireDelegationTokenRequest, throttle_time);
open!(DescribeDelegationTokenRequest, throttle_time);

cluster!(DescribeAclsRequest, Describe, |_asked, error_code| DescribeAclsResponse {
    error_code,
    error_message: words(REFUSED),
    ..DescribeAclsResponse::default()
});
cluster!(CreateAclsRequest, Alter, |asked, error_code| CreateAclsResponse {
    results: vec![
        AclCreationResult {
            error_code,
            error_message: words(REFUSED),
            ..AclCreationResult::default()
        };
        asked.creations.len()
    ],
    ..CreateAclsResponse::default()
});
cluster!(DeleteAclsRequest, Alter, |asked, error_code| DeleteAclsResponse {
    filter_results: vec![
        DeleteAclsFilterResult {
            error_code,
            error_message: words(REFUSED),
            ..DeleteAclsFilterResult::default()
        };
        asked.filters.len()
    ],
    ..DeleteAclsResponse::default()
});
cluster!(DescribeClientQuotasRequest, DescribeConfigs, |_asked, error_code| DescribeClientQuotasResponse {
    error_code,
    error_message: words(REFUSED),
    entries: None,
    ..DescribeClientQuotasResponse::default()
});
cluster!(AlterClientQuotasRequest, AlterConfigs, |asked, error_code| {
    use alter_client_quotas_response::{EntityData, EntryData};
    let entries = std::mem::take(&mut asked.entries)
        .into_iter()
        .map(|entry| EntryData {
            error_code,
            error_message: words(REFUSED),
            entity: entry
                .entity
                .into_iter()
                .map(|part| EntityData {
                    entity_type: part.entity_type,
                    entity_name: part.entity_name,
                    ..EntityData::default()
                })
                .collect(),
            ..EntryData::default()
        })
        .collect();
    AlterClientQuotasResponse { entries, ..AlterClientQuotasResponse::default() }
});
cluster!(DescribeUserScramCredentialsRequest, Describe, |_asked, error_code| {
    DescribeUserScramCredentialsResponse {
        error_code,
        error_message: words(REFUSED),
        ..DescribeUserScramCredentialsResponse::default()
    }
});
cluster!(AlterUserScramCredentialsRequest, Alter, |asked, error_code| {
    use alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
    let mut users: Vec<&str> = asked.upsertions.iter().map(|upsertion| upsertion.name.as_str()).collect();
    users.extend(asked.deletions.iter().map(|deletion| deletion.name.as_str()));
    users.sort_unstable();
    users.dedup();
    let results = users
        .into_iter()
        .map(|user| AlterUserScramCredentialsResult {
            user: user.to_owned(),
            error_code,
            error_message: words(REFUSED),
            ..AlterUserScramCredentialsResult::default()
        })
        .collect();
    AlterUserScramCredentialsResponse { results, ..AlterUserScramCredentialsResponse::default() }
});
cluster!(ElectLeadersRequest, Alter, |_asked, error_code| ElectLeadersResponse {
    error_code,
    ..ElectLeadersResponse::default()
});
cluster!(AlterPartitionReassignmentsRequest, Alter, |_asked, error_code| {
    AlterPartitionReassignmentsResponse {
        error_code,
        error_message: words(REFUSED),
        ..AlterPartitionReassignmentsResponse::default()
    }
});
cluster!(ListPartitionReassignmentsRequest, Describe, |_asked, error_code| {
    ListPartitionReassignmentsResponse {
        error_code,
        error_message: words(REFUSED),
        ..ListPartitionReassignmentsResponse::default()
    }
});
cluster!(ListConfigResourcesRequest, DescribeConfigs, |_asked, error_code| ListConfigResourcesResponse {
    error_code,
    ..ListConfigResourcesResponse::default()
});
cluster!(DescribeLogDirsRequest, Describe, |_asked, error_code| DescribeLogDirsResponse {
    error_code,
    ..DescribeLogDirsResponse::default()
});
cluster!(AlterReplicaLogDirsRequest, Alter, |asked, error_code| {
    use alter_replica_log_dirs_response::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
    let mut results = Vec::new();
    for topic in asked.dirs.iter().flat_map(|dir| &dir.topics) {
        let partitions = topic
            .partitions
            .iter()
            .map(|index| AlterReplicaLogDirPartitionResult {
                partition_index: *index,
                error_code,
                ..AlterReplicaLogDirPartitionResult::default()
            })
            .collect();
        results.push(AlterReplicaLogDirTopicResult {
            topic_name: topic.name.clone(),
            partitions,
            ..AlterReplicaLogDirTopicResult::default()
        });
    }
    AlterReplicaLogDirsResponse { results, ..AlterReplicaLogDirsResponse::default() }
});
cluster!(UpdateFeaturesRequest, Alter, |_asked, error_code| UpdateFeaturesResponse {
    error_code,
    error_message: words(REFUSED),
    ..UpdateFeaturesResponse::default()
});
cluster!(UnregisterBrokerRequest, Alter, |_asked, error_code| UnregisterBrokerResponse {
    error_code,
    error_message: words(REFUSED),
    ..UnregisterBrokerResponse::default()
});
cluster!(AddRaftVoterRequest, Alter, |_asked, error_code| AddRaftVoterResponse {
    error_code,
    error_message: words(REFUSED),
    ..AddRaftVoterResponse::default()
});
cluster!(RemoveRaftVoterRequest, Alter, |_asked, error_code| RemoveRaftVoterResponse {
    error_code,
    error_message: words(REFUSED),
    ..RemoveRaftVoterResponse::default()
});
cluster!(AllocateProducerIdsRequest, ClusterAction, |_asked, error_code| AllocateProducerIdsResponse {
    error_code,
    ..AllocateProducerIdsResponse::default()
});

impl Guarded for DescribeQuorumRequest {
    type Withheld = ();

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, ()> {
        if access.cluster(Describe) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(DescribeQuorumResponse {
            error_code: REFUSED.code(),
            error_message: words(REFUSED),
            ..DescribeQuorumResponse::default()
        })
    }

    fn complete(_: &mut Self::Response, (): (), _: &Access) {}

    no_throttle_time!(Self::Response);
}

impl Guarded for DescribeClusterRequest {
    /// Whether the client wants to know what it may do.
    type Withheld = bool;

    fn check(&mut self, _: &Access) -> ControlFlow<Self::Response, bool> {
        ControlFlow::Continue(self.include_cluster_authorized_operations)
    }

    fn complete(response: &mut Self::Response, asked: bool, access: &Access) {
        response.cluster_authorized_operations = if asked { access.cluster_operations() } else { NOT_ASKED };
    }

    throttle_time!(Self::Response);
}

whole!(
    InitProducerIdRequest,
    |asked, access| match &asked.transactional_id {
        Some(id) => {
            let code = ErrorCode::TransactionalIdAuthorizationFailed;
            let granted = access.transactional_id(kafka_codec::acl::AclOperation::Write, id);
            let two_phase = kafka_codec::acl::AclOperation::TwoPhaseCommit;
            unless(granted && (!asked.keep_prepared_txn || access.transactional_id(two_phase, id)), code)
        }
        None => {
            let idempotent = kafka_codec::acl::AclOperation::IdempotentWrite;
            let granted = access.cluster_quietly(idempotent)
                || access.any_topic(kafka_codec::acl::AclOperation::Write)
                || access.cluster(idempotent);
            unless(granted, REFUSED)
        }
    },
    |code| InitProducerIdResponse {
        error_code: code.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    }
);

impl Guarded for FindCoordinatorRequest {
    type Withheld = Vec<(String, ErrorCode)>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        let (kind, by_cluster) = (self.key_type, access.version >= 4);
        let refusal = |key: &str| match kind {
            0 => unless(access.group(Describe, key), ErrorCode::GroupAuthorizationFailed),
            1 => {
                unless(access.transactional_id(Describe, key), ErrorCode::TransactionalIdAuthorizationFailed)
            }
            _ => unless(access.cluster(ClusterAction), REFUSED),
        };
        if by_cluster {
            let mut refused = Vec::new();
            for key in take_out(&mut self.coordinator_keys, |key| refusal(key).is_none()) {
                let code = match kind {
                    0 => ErrorCode::GroupAuthorizationFailed,
                    1 => ErrorCode::TransactionalIdAuthorizationFailed,
                    _ => REFUSED,
                };
                refused.push((key, code));
            }
            return ControlFlow::Continue(refused);
        }
        match refusal(&self.key) {
            None => ControlFlow::Continue(Vec::new()),
            Some(code) => ControlFlow::Break(FindCoordinatorResponse {
                error_code: code.code(),
                error_message: words(code),
                node_id: -1,
                port: -1,
                ..FindCoordinatorResponse::default()
            }),
        }
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
        for (key, code) in refused {
            response.coordinators.push(find_coordinator_response::Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code: code.code(),
                error_message: words(code),
                ..find_coordinator_response::Coordinator::default()
            });
        }
    }

    throttle_time!(Self::Response);
}
