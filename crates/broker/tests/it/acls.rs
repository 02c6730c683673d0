//! Access control: entries are kept, listed, removed; each kind of request is held to them.

use kafka_codec::acl::{AclOperation, AclPermission, PatternType, ResourceType};
use kafka_codec::messages::create_acls_request::AclCreation;
use kafka_codec::messages::delete_acls_request::DeleteAclsFilter;
use kafka_codec::messages::metadata_request::MetadataRequestTopic;
use kafka_codec::messages::*;
use kafka_codec::{ErrorCode, Uuid};

use crate::harness::{Client, Fetch, Target, TestBroker, batch};

const ON: (&str, &str) = ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
const OPEN: (&str, &str) = ("allow.everyone.if.no.acl.found", "true");

fn creation(
    kind: ResourceType,
    name: &str,
    operation: AclOperation,
    permission: AclPermission,
) -> AclCreation {
    AclCreation {
        resource_type: kind.code(),
        resource_name: name.into(),
        resource_pattern_type: PatternType::Literal.code(),
        principal: "User:ANONYMOUS".into(),
        host: "*".into(),
        operation: operation.code(),
        permission_type: permission.code(),
        ..AclCreation::default()
    }
}

async fn create(client: &mut Client, creations: Vec<AclCreation>) -> Vec<i16> {
    let request = CreateAclsRequest { creations, ..CreateAclsRequest::default() };
    client.call(3, &request).await.results.iter().map(|result| result.error_code).collect()
}

async fn deny(client: &mut Client, kind: ResourceType, name: &str, operation: AclOperation) {
    // An entry about a resource ends what holds for those without one.
    let rest = creation(kind, name, AclOperation::All, AclPermission::Allow);
    let denied = creation(kind, name, operation, AclPermission::Deny);
    assert_eq!(create(client, vec![rest, denied]).await, [0, 0]);
}

/// Removes every entry about a resource.
async fn forget(client: &mut Client, kind: ResourceType, name: &str) -> usize {
    let filter = DeleteAclsFilter {
        resource_type_filter: kind.code(),
        resource_name_filter: Some(name.into()),
        pattern_type_filter: PatternType::Any.code(),
        principal_filter: None,
        host_filter: None,
        operation: AclOperation::Any.code(),
        permission_type: AclPermission::Any.code(),
        ..DeleteAclsFilter::default()
    };
    let request = DeleteAclsRequest { filters: vec![filter], ..DeleteAclsRequest::default() };
    let result = client.call(3, &request).await.filter_results.remove(0);
    assert_eq!(result.error_code, 0);
    result.matching_acls.len()
}

async fn described(client: &mut Client) -> Vec<(String, usize)> {
    let request = DescribeAclsRequest {
        resource_type_filter: ResourceType::Any.code(),
        resource_name_filter: None,
        pattern_type_filter: PatternType::Any.code(),
        principal_filter: None,
        host_filter: None,
        operation: AclOperation::Any.code(),
        permission_type: AclPermission::Any.code(),
        ..DescribeAclsRequest::default()
    };
    let response = client.call(3, &request).await;
    assert_eq!(response.error_code, 0);
    response.resources.into_iter().map(|resource| (resource.resource_name, resource.acls.len())).collect()
}

#[tokio::test]
async fn without_an_authorizer_there_are_no_entries() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let allow = creation(ResourceType::Topic, "t", AclOperation::Read, AclPermission::Allow);
    assert_eq!(create(&mut client, vec![allow]).await, [ErrorCode::SecurityDisabled.code()]);
}

#[tokio::test]
async fn entries_survive_a_restart_and_are_refused_in_kafkas_words() {
    let broker = TestBroker::start(&[ON, OPEN]).await;
    let mut client = broker.client().await;
    let read = creation(ResourceType::Topic, "t", AclOperation::Read, AclPermission::Allow);
    let write = creation(ResourceType::Topic, "t", AclOperation::Write, AclPermission::Allow);
    let wrong = [
        AclCreation { resource_name: String::new(), ..read.clone() },
        AclCreation { operation: AclOperation::Any.code(), ..read.clone() },
        AclCreation { resource_pattern_type: PatternType::Match.code(), ..read.clone() },
        AclCreation { resource_type: ResourceType::Cluster.code(), ..read.clone() },
        AclCreation { principal: "anonymous".into(), ..read.clone() },
    ];
    let mut all = vec![read.clone(), write, read];
    all.extend(wrong);
    let invalid = ErrorCode::InvalidRequest.code();
    assert_eq!(create(&mut client, all).await, [0, 0, 0, invalid, invalid, invalid, invalid, invalid]);
    assert_eq!(described(&mut client).await, [("t".to_owned(), 2)]);
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, &[ON, OPEN]).await;
    let mut client = broker.client().await;
    assert_eq!(described(&mut client).await, [("t".to_owned(), 2)]);
    assert_eq!(forget(&mut client, ResourceType::Topic, "t").await, 2);
    assert_eq!(described(&mut client).await, []);
}

#[tokio::test]
async fn topics_are_held_to_their_entries_and_changes_hold_at_once() {
    let broker = TestBroker::start(&[ON, OPEN]).await;
    let mut client = broker.client().await;
    let refused = ErrorCode::TopicAuthorizationFailed.code();
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    assert_eq!(client.create_topic("u", 1, &[]).await, 0);
    let (id, _) = client.describe("t").await.unwrap();
    let to = Target::new("t");
    assert_eq!(client.produce(&to, &batch(&["a"])).await.0, 0);

    deny(&mut client, ResourceType::Topic, "t", AclOperation::Write).await;
    assert_eq!(client.produce(&to, &batch(&["a"])).await.0, ErrorCode::TopicAuthorizationFailed.code());
    let by_id = Target { id, ..to };
    assert_eq!(client.produce_with(13, -1, &by_id, &batch(&["a"])).await.0, refused);
    forget(&mut client, ResourceType::Topic, "t").await;

    deny(&mut client, ResourceType::Topic, "t", AclOperation::Read).await;
    assert_eq!(client.fetch(&Fetch::new("t", 0)).await.error, refused);
    assert_eq!(client.fetch(&Fetch::new("u", 0)).await.error, 0);
    forget(&mut client, ResourceType::Topic, "t").await;
    assert_eq!(client.fetch(&Fetch::new("t", 0)).await.error, 0);

    deny(&mut client, ResourceType::Topic, "t", AclOperation::Describe).await;
    let offsets = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![list_offsets_request::ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![list_offsets_request::ListOffsetsPartition::default()],
            ..list_offsets_request::ListOffsetsTopic::default()
        }],
        ..ListOffsetsRequest::default()
    };
    assert_eq!(client.call(7, &offsets).await.topics[0].partitions[0].error_code, refused);
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let names: Vec<_> = client.call(12, &all).await.topics.into_iter().filter_map(|t| t.name).collect();
    assert_eq!(names, ["u"], "a name that may not be known is not told");
    let pages = DescribeTopicPartitionsRequest { response_partition_limit: 1, ..Default::default() };
    let page = client.call(0, &pages).await;
    assert_eq!((page.topics.len(), page.next_cursor.is_none()), (1, true));
    let named = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some("t".into()), ..Default::default() }]),
        ..MetadataRequest::default()
    };
    let told = client.call(12, &named).await.topics.remove(0);
    assert_eq!((told.error_code, told.topic_id), (refused, Uuid::ZERO));
    // Version 0: a list of which nothing is left does not become "all".
    let told = client.call(0, &named).await.topics;
    assert_eq!((told.len(), told[0].error_code), (1, refused));
    forget(&mut client, ResourceType::Topic, "t").await;

    deny(&mut client, ResourceType::Topic, "new", AclOperation::Create).await;
    deny(&mut client, ResourceType::Cluster, "kafka-cluster", AclOperation::Create).await;
    assert_eq!(client.create_topic("new", 1, &[]).await, refused);
    let missing = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some("new".into()), ..Default::default() }]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    assert_eq!(client.call(12, &missing).await.topics[0].error_code, refused);
}

#[tokio::test]
async fn rights_are_told_as_bits() {
    let broker = TestBroker::start(&[ON, OPEN]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    let read = creation(ResourceType::Topic, "t", AclOperation::Read, AclPermission::Allow);
    assert_eq!(create(&mut client, vec![read]).await, [0]);
    let request = MetadataRequest {
        topics: None,
        include_topic_authorized_operations: true,
        ..MetadataRequest::default()
    };
    let bits = client.call(12, &request).await.topics[0].topic_authorized_operations;
    assert_eq!(bits, 1 << AclOperation::Read.code() | 1 << AclOperation::Describe.code());
    let request = DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        endpoint_type: 1,
        ..Default::default()
    };
    let cluster = client.call(1, &request).await.cluster_authorized_operations;
    assert_eq!(cluster.count_ones(), 7);
    let request = DescribeClusterRequest { endpoint_type: 1, ..Default::default() };
    assert_eq!(client.call(1, &request).await.cluster_authorized_operations, i32::MIN);
}

#[tokio::test]
async fn groups_transactions_and_the_cluster_have_their_own_codes() {
    let broker = TestBroker::start(&[ON, OPEN]).await;
    let mut client = broker.client().await;
    deny(&mut client, ResourceType::Group, "g", AclOperation::Describe).await;
    deny(&mut client, ResourceType::TransactionalId, "x", AclOperation::Write).await;
    let find = FindCoordinatorRequest {
        coordinator_keys: vec!["g".into(), "h".into()],
        ..FindCoordinatorRequest::default()
    };
    let mut found = client.call(4, &find).await.coordinators;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let codes: Vec<_> = found.iter().map(|c| c.error_code).collect();
    assert_eq!(codes, [ErrorCode::GroupAuthorizationFailed.code(), 0]);
    let describe = DescribeGroupsRequest { groups: vec!["g".into()], ..DescribeGroupsRequest::default() };
    let group = client.call(5, &describe).await.groups.remove(0);
    assert_eq!(group.error_code, ErrorCode::GroupAuthorizationFailed.code());
    let init =
        InitProducerIdRequest { transactional_id: Some("x".into()), ..InitProducerIdRequest::default() };
    let refused = ErrorCode::TransactionalIdAuthorizationFailed.code();
    assert_eq!(client.call(4, &init).await.error_code, refused);

    deny(&mut client, ResourceType::Cluster, "kafka-cluster", AclOperation::IdempotentWrite).await;
    deny(&mut client, ResourceType::Topic, "*", AclOperation::Write).await;
    let init = InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() };
    let refused = ErrorCode::ClusterAuthorizationFailed.code();
    assert_eq!(client.call(4, &init).await.error_code, refused);

    deny(&mut client, ResourceType::Cluster, "kafka-cluster", AclOperation::Alter).await;
    let more = creation(ResourceType::Topic, "t", AclOperation::Read, AclPermission::Allow);
    assert_eq!(
        create(&mut client, vec![more]).await,
        [refused],
        "who may not alter the cluster gets no entries"
    );
}

#[tokio::test]
async fn share_groups_are_held_to_entries_about_groups_and_topics() {
    let broker = TestBroker::start(&[ON, OPEN]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    let topic = client.describe("t").await.unwrap().0;
    let group = ErrorCode::GroupAuthorizationFailed.code();
    let group_id = || "g".to_owned();
    let heartbeat = ShareGroupHeartbeatRequest {
        group_id: group_id(),
        member_id: "m".into(),
        subscribed_topic_names: Some(vec!["t".into()]),
        ..Default::default()
    };
    let fetch = ShareFetchRequest {
        group_id: Some(group_id()),
        member_id: Some("m".into()),
        max_records: 1,
        batch_size: 1,
        max_bytes: 1000,
        topics: vec![share_fetch_request::FetchTopic {
            topic_id: topic,
            partitions: vec![share_fetch_request::FetchPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let acknowledge = ShareAcknowledgeRequest {
        group_id: Some(group_id()),
        member_id: Some("m".into()),
        share_session_epoch: 1,
        ..Default::default()
    };
    let describe = ShareGroupDescribeRequest { group_ids: vec![group_id()], ..Default::default() };
    let offsets = DescribeShareGroupOffsetsRequest {
        groups: vec![describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup {
            group_id: group_id(),
            topics: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    let alter = AlterShareGroupOffsetsRequest { group_id: group_id(), ..Default::default() };
    let delete = DeleteShareGroupOffsetsRequest { group_id: group_id(), ..Default::default() };

    deny(&mut client, ResourceType::Group, "g", AclOperation::Read).await;
    assert_eq!(client.call(1, &heartbeat).await.error_code, group);
    assert_eq!(client.call(2, &fetch).await.error_code, group);
    assert_eq!(client.call(2, &acknowledge).await.error_code, group);
    assert_eq!(client.call(0, &alter).await.error_code, group);
    assert_ne!(client.call(1, &describe).await.groups[0].error_code, group);
    forget(&mut client, ResourceType::Group, "g").await;

    deny(&mut client, ResourceType::Group, "g", AclOperation::Delete).await;
    assert_eq!(client.call(0, &delete).await.error_code, group);
    forget(&mut client, ResourceType::Group, "g").await;

    deny(&mut client, ResourceType::Group, "g", AclOperation::Describe).await;
    assert_eq!(client.call(1, &describe).await.groups[0].error_code, group);
    assert_eq!(client.call(1, &offsets).await.groups[0].error_code, group);
    forget(&mut client, ResourceType::Group, "g").await;

    deny(&mut client, ResourceType::Topic, "t", AclOperation::Read).await;
    let answer = client.call(2, &fetch).await;
    assert_eq!(answer.error_code, 0);
    assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::TopicAuthorizationFailed.code());
    forget(&mut client, ResourceType::Topic, "t").await;

    deny(&mut client, ResourceType::Cluster, "kafka-cluster", AclOperation::ClusterAction).await;
    let refused = ErrorCode::ClusterAuthorizationFailed.code();
    let state = ReadShareGroupStateRequest {
        group_id: group_id(),
        topics: vec![read_share_group_state_request::ReadStateData {
            topic_id: topic,
            partitions: vec![read_share_group_state_request::PartitionData::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(client.call(0, &state).await.results[0].partitions[0].error_code, refused);
}
