//! Every API in every version it is offered in; what is not offered.

use std::collections::BTreeMap;

use kafka_codec::messages::*;
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, Message, Request};

use crate::harness::{Client, Fetch, Target, TestBroker, batch};

async fn offered(client: &mut Client, version: i16) -> BTreeMap<i16, (i16, i16)> {
    let request = ApiVersionsRequest {
        client_software_name: "it".into(),
        client_software_version: "1.0".into(),
        ..ApiVersionsRequest::default()
    };
    let response = client.call(version, &request).await;
    assert_eq!(response.error_code, 0);
    response.api_keys.iter().map(|key| (key.api_key, (key.min_version, key.max_version))).collect()
}

/// Sends `request` in all versions offered; every answer must be readable in that version.
async fn all_versions<R: Request>(broker: &TestBroker, request: impl Fn(i16) -> R) {
    let mut client = broker.client().await;
    let versions = offered(&mut client, 0).await;
    let (first, last) = versions[&R::KEY.as_i16()];
    for version in first..=last {
        client.call(version, &request(version)).await;
    }
}

#[tokio::test]
async fn every_answer_is_readable_in_its_version() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 2, &[("retention.ms", "1000")]).await, 0);
    let broker = &broker;
    all_versions(broker, |_| ApiVersionsRequest {
        client_software_name: "it".into(),
        client_software_version: "1".into(),
        ..Default::default()
    })
    .await;
    all_versions(broker, |version| MetadataRequest {
        topics: Some(vec![metadata_request::MetadataRequestTopic {
            name: Some("t".into()),
            ..Default::default()
        }]),
        include_topic_authorized_operations: version >= 8,
        include_cluster_authorized_operations: (8..=10).contains(&version),
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| MetadataRequest { topics: Some(Vec::new()), ..Default::default() }).await;
    all_versions(broker, |_| ListOffsetsRequest {
        topics: vec![list_offsets_request::ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![list_offsets_request::ListOffsetsPartition {
                partition_index: 0,
                timestamp: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| DescribeClusterRequest::default()).await;
    all_versions(broker, |_| DescribeTopicPartitionsRequest::default()).await;
    all_versions(broker, |version| CreateTopicsRequest {
        topics: vec![create_topics_request::CreatableTopic {
            name: format!("created-in-v{version}"),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |version| {
        let name = format!("created-in-v{version}");
        if version >= 6 {
            let topic = delete_topics_request::DeleteTopicState { name: Some(name), ..Default::default() };
            DeleteTopicsRequest { topics: vec![topic], ..Default::default() }
        } else {
            DeleteTopicsRequest { topic_names: vec![name, "none".into()], ..Default::default() }
        }
    })
    .await;
    all_versions(broker, |_| DeleteRecordsRequest {
        topics: vec![delete_records_request::DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![delete_records_request::DeleteRecordsPartition {
                partition_index: 0,
                offset: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| InitProducerIdRequest { transactional_id: None, ..Default::default() }).await;
    all_versions(broker, |_| OffsetForLeaderEpochRequest {
        topics: vec![offset_for_leader_epoch_request::OffsetForLeaderTopic {
            topic: "t".into(),
            partitions: vec![Default::default()],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    for (resource_type, name) in [(2, "t"), (4, "1"), (4, ""), (2, "none"), (99, "x")] {
        all_versions(broker, |version| DescribeConfigsRequest {
            resources: vec![describe_configs_request::DescribeConfigsResource {
                resource_type,
                resource_name: name.into(),
                configuration_keys: None,
                ..Default::default()
            }],
            include_synonyms: true,
            include_documentation: version >= 3,
            ..Default::default()
        })
        .await;
    }
    all_versions(broker, |_| AlterConfigsRequest::default()).await;
    all_versions(broker, |_| IncrementalAlterConfigsRequest::default()).await;
    all_versions(broker, |_| DescribeLogDirsRequest { topics: None, ..Default::default() }).await;
    all_versions(broker, |version| CreatePartitionsRequest {
        topics: vec![create_partitions_request::CreatePartitionsTopic {
            name: "t".into(),
            count: 3 + i32::from(version),
            assignments: None,
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| ElectLeadersRequest {
        topic_partitions: Some(vec![elect_leaders_request::TopicPartitions {
            topic: "t".into(),
            partitions: vec![0, 9],
            ..Default::default()
        }]),
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| DescribeQuorumRequest {
        topics: vec![describe_quorum_request::TopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![Default::default()],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| AlterPartitionReassignmentsRequest {
        topics: vec![alter_partition_reassignments_request::ReassignableTopic {
            name: "t".into(),
            partitions: vec![alter_partition_reassignments_request::ReassignablePartition {
                partition_index: 0,
                replicas: Some(vec![1]),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| DescribeProducersRequest {
        topics: vec![describe_producers_request::TopicRequest {
            name: "t".into(),
            partition_indexes: vec![0],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| DescribeUserScramCredentialsRequest {
        users: Some(vec![describe_user_scram_credentials_request::UserName {
            name: "u".into(),
            ..Default::default()
        }]),
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| DescribeClientQuotasRequest::default()).await;
    all_versions(broker, |_| DescribeAclsRequest::default()).await;
    all_versions(broker, |_| CreateAclsRequest::default()).await;
    all_versions(broker, |_| DeleteAclsRequest::default()).await;
    all_versions(broker, |_| ListTransactionsRequest::default()).await;
    all_versions(broker, |_| DescribeTransactionsRequest {
        transactional_ids: vec!["none".into()],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| EndTxnRequest { transactional_id: "none".into(), ..Default::default() }).await;
    all_versions(broker, |_| AddOffsetsToTxnRequest {
        transactional_id: "none".into(),
        group_id: "g".into(),
        ..Default::default()
    })
    .await;
    all_versions(broker, |version| {
        let topics = vec![add_partitions_to_txn_request::AddPartitionsToTxnTopic {
            name: "t".into(),
            partitions: vec![0, 99],
            ..Default::default()
        }];
        if version < 4 {
            return AddPartitionsToTxnRequest { v3_and_below_topics: topics, ..Default::default() };
        }
        let transactions = vec![add_partitions_to_txn_request::AddPartitionsToTxnTransaction {
            transactional_id: "none".into(),
            topics,
            ..Default::default()
        }];
        AddPartitionsToTxnRequest { transactions, ..Default::default() }
    })
    .await;
    all_versions(broker, |_| TxnOffsetCommitRequest {
        transactional_id: "none".into(),
        group_id: "g".into(),
        topics: vec![txn_offset_commit_request::TxnOffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![Default::default()],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| WriteTxnMarkersRequest {
        markers: vec![write_txn_markers_request::WritableTxnMarker {
            producer_id: 1,
            topics: vec![write_txn_markers_request::WritableTxnMarkerTopic {
                name: "t".into(),
                partition_indexes: vec![0],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| UpdateFeaturesRequest {
        feature_updates: vec![update_features_request::FeatureUpdateKey {
            feature: "transaction.version".into(),
            max_version_level: 2,
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
    all_versions(broker, |_| ListPartitionReassignmentsRequest { topics: None, ..Default::default() }).await;
    all_versions(broker, |_| ListConfigResourcesRequest::default()).await;
    all_versions(broker, |_| CreateDelegationTokenRequest::default()).await;
    all_versions(broker, |_| RenewDelegationTokenRequest::default()).await;
    all_versions(broker, |_| ExpireDelegationTokenRequest::default()).await;
    all_versions(broker, |_| DescribeDelegationTokenRequest::default()).await;
    all_versions(broker, |version| {
        if version >= 4 {
            FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() }
        } else {
            FindCoordinatorRequest { key: "g".into(), ..Default::default() }
        }
    })
    .await;
    all_versions(broker, |_| HeartbeatRequest { group_id: "g".into(), ..Default::default() }).await;
    all_versions(broker, |_| SyncGroupRequest { group_id: "g".into(), ..Default::default() }).await;
    all_versions(broker, |_| JoinGroupRequest { group_id: String::new(), ..Default::default() }).await;
    all_versions(broker, |version| {
        if version >= 3 {
            let member = leave_group_request::MemberIdentity { member_id: "m".into(), ..Default::default() };
            LeaveGroupRequest { group_id: "g".into(), members: vec![member], ..Default::default() }
        } else {
            LeaveGroupRequest { group_id: "g".into(), member_id: "m".into(), ..Default::default() }
        }
    })
    .await;
    all_versions(broker, |_| DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() }).await;
    all_versions(broker, |_| ListGroupsRequest::default()).await;
    all_versions(broker, |_| DeleteGroupsRequest { groups_names: vec!["g".into()], ..Default::default() })
        .await;
}

#[tokio::test]
async fn produce_and_fetch_work_in_every_version() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    let (id, _) = client.describe("t").await.unwrap();
    let versions = offered(&mut client, 4).await;
    assert_eq!(versions[&0], (0, 13), "as in Kafka, although 0 to 2 are refused");
    assert_eq!(versions[&1], (4, 18));
    let mut sent = Vec::new();
    for version in 3..=13 {
        let value = format!("v{version}");
        let batch = batch(&[&value]);
        let to = Target { topic: if version < 13 { "t" } else { "" }, id, partition: 0 };
        let base = sent.len() as i64;
        assert_eq!(client.produce_with(version, -1, &to, &batch).await, (0, base));
        sent.push(value);
    }
    for version in 4..=18 {
        let topic = if version < 13 { "t" } else { "" };
        let fetched = client.fetch(&Fetch { version, id, ..Fetch::new(topic, 0) }).await;
        assert_eq!((fetched.error, fetched.values()), (0, sent.clone()), "version {version}");
    }
    let mut old = broker.client().await;
    old.send_raw(&[0, 0, 0, 14, 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0]).await;
    assert!(old.is_closed().await, "Produce v2");
}

#[tokio::test]
async fn an_unknown_apiversions_version_is_answered_in_version_0() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    // ApiVersions v5, as franz-go sends it first.
    client.send_raw(&[0, 0, 0, 11, 0, 18, 0, 5, 0, 0, 0, 9, 0xff, 0xff, 0]).await;
    let frame = client.receive().await.unwrap();
    assert_eq!(frame[..4], [0, 0, 0, 9]);
    let response = ApiVersionsResponse::decode(&mut Reader::shared(&frame.slice(4..)), 0).unwrap();
    assert_eq!(response.error_code, 35);
    let range: Vec<_> = response.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
    assert_eq!(range, [(18, 0, 4)]);
    offered(&mut client, 4).await;
}

#[tokio::test]
async fn features_with_level_0_are_kept_from_old_clients() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let request = ApiVersionsRequest {
        client_software_name: "it".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    for (version, wanted) in [(3, 1), (4, 5)] {
        let response = client.call(version, &request).await;
        assert_eq!(response.supported_features.len(), wanted, "version {version}");
        let finalized = response.finalized_features.iter().find(|f| f.name == "metadata.version").unwrap();
        assert_eq!(finalized.max_version_level, 30);
        assert!(response.finalized_features_epoch >= 0);
    }
    let nameless = client.call(4, &ApiVersionsRequest::default()).await;
    assert_eq!(nameless.error_code, 42, "INVALID_REQUEST");
}

#[tokio::test]
async fn what_is_not_offered_closes_the_connection() {
    let broker = TestBroker::start(&[]).await;
    let key = |api: ApiKey| api.as_i16();
    for (api, version) in [(key(ApiKey::Metadata), 99), (key(ApiKey::Vote), 0), (999, 0), (-1, 0), (4, 0)] {
        let mut client = broker.client().await;
        let mut frame = vec![0, 0, 0, 10];
        frame.extend_from_slice(&i16::to_be_bytes(api));
        frame.extend_from_slice(&i16::to_be_bytes(version));
        frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        client.send_raw(&frame).await;
        assert!(client.is_closed().await, "API {api} v{version}");
    }
    offered(&mut broker.client().await, 0).await;
}
