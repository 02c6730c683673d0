//! Consumer groups whose assignments the broker makes (KIP-848), over the wire and over restarts.

use kafka_codec::Uuid;
use kafka_codec::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_codec::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_codec::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_codec::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_codec::messages::*;

use crate::harness::{Client, TestBroker};

const NONE: i16 = 0;
const INVALID_CONFIG: i16 = 40;
const GROUP_ID_NOT_FOUND: i16 = 69;
const FENCED_MEMBER_EPOCH: i16 = 110;
const STALE_MEMBER_EPOCH: i16 = 113;
const INVALID_REGULAR_EXPRESSION: i16 = 128;

/// Target assignments without a pause between them.
const AT_ONCE: (&str, &str) = ("group.consumer.assignment.interval.ms", "0");

async fn find(client: &mut Client, group: &str) {
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    assert_eq!(client.call(6, &request).await.coordinators[0].error_code, NONE);
}

fn joining(group: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn beat(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: -1,
        ..Default::default()
    }
}

fn owning(
    request: ConsumerGroupHeartbeatRequest,
    topic: Uuid,
    partitions: &[i32],
) -> ConsumerGroupHeartbeatRequest {
    let owned = TopicPartitions { topic_id: topic, partitions: partitions.to_vec(), ..Default::default() };
    ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![owned]), ..request }
}

/// Partitions told, sorted; `None` = nothing was told.
fn told(response: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    assert_eq!(response.error_code, NONE, "{:?}", response.error_message);
    let topics = &response.assignment.as_ref()?.topic_partitions;
    let mut all: Vec<i32> = topics.iter().flat_map(|topic| topic.partitions.iter().copied()).collect();
    all.sort_unstable();
    Some(all)
}

async fn commit(client: &mut Client, member: &str, epoch: i32, offset: i64) -> i16 {
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        member_id: member.into(),
        generation_id_or_member_epoch: epoch,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    client.call(9, &request).await.topics[0].partitions[0].error_code
}

async fn fetch(client: &mut Client, member: Option<&str>, epoch: i32) -> (i16, i64) {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".into(),
            member_id: member.map(str::to_owned),
            member_epoch: epoch,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".into(),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let group = client.call(9, &request).await.groups.remove(0);
    let offset = group.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset);
    (group.error_code, offset)
}

#[tokio::test]
async fn two_members_share_a_topic_over_a_restart() {
    let broker = TestBroker::start(&[AT_ONCE]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 2, &[]).await, NONE);
    let (topic, _) = client.describe("t").await.unwrap();
    find(&mut client, "g").await;

    let a = client.call(1, &joining("g", "a")).await;
    assert_eq!((a.member_epoch, told(&a)), (1, Some(vec![0, 1])));
    assert_eq!(a.heartbeat_interval_ms, 5_000);
    let b = client.call(1, &joining("g", "b")).await;
    assert_eq!((b.member_epoch, told(&b)), (2, Some(vec![])));
    let a = client.call(1, &owning(beat("g", "a", 1), topic, &[0, 1])).await;
    assert_eq!((a.member_epoch, told(&a)), (1, Some(vec![0])));
    let b = client.call(1, &beat("g", "b", 2)).await;
    assert_eq!(told(&b), None, "the partition is still held");
    assert_eq!(commit(&mut client, "a", 1, 7).await, NONE);

    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, &[AT_ONCE]).await;
    let mut client = broker.client().await;
    find(&mut client, "g").await;
    let a = client.call(1, &owning(beat("g", "a", 1), topic, &[0])).await;
    assert_eq!(a.member_epoch, 2);
    let b = client.call(1, &beat("g", "b", 2)).await;
    assert_eq!(told(&b), Some(vec![1]));
    assert_eq!(commit(&mut client, "b", 1, 9).await, STALE_MEMBER_EPOCH);
    assert_eq!(fetch(&mut client, Some("a"), 2).await, (NONE, 7));
    assert_eq!(fetch(&mut client, Some("a"), 3).await, (STALE_MEMBER_EPOCH, -1));
    assert_eq!(fetch(&mut client, None, -1).await, (NONE, 7));

    let request = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
    let group = client.call(1, &request).await.groups.remove(0);
    assert_eq!(
        (group.group_state.as_str(), group.group_epoch, group.assignor_name.as_str()),
        ("Stable", 2, "uniform")
    );
    assert_eq!(group.members.len(), 2);
    assert_eq!(group.members[0].assignment.topic_partitions[0].topic_name, "t");
    let listed = client.call(5, &ListGroupsRequest::default()).await;
    let group = &listed.groups[0];
    assert_eq!((group.group_id.as_str(), group.group_type.as_str()), ("g", "consumer"));

    let late = client.call(1, &beat("g", "a", 1)).await;
    assert_eq!(late.error_code, FENCED_MEMBER_EPOCH);
    let left = client.call(1, &beat("g", "a", -1)).await;
    assert_eq!((left.error_code, left.member_epoch), (NONE, -1));
    let b = client.call(1, &beat("g", "b", 2)).await;
    assert_eq!((b.member_epoch, told(&b)), (3, Some(vec![0, 1])));
}

#[tokio::test]
async fn new_topics_reach_members_that_subscribe_by_expression() {
    let broker = TestBroker::start(&[AT_ONCE]).await;
    let mut client = broker.client().await;
    find(&mut client, "g").await;
    let by_regex = |regex: &str| ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex.into()),
        ..joining("g", "a")
    };
    let bad = client.call(1, &by_regex("t(")).await;
    assert_eq!(bad.error_code, INVALID_REGULAR_EXPRESSION);
    let a = client.call(1, &by_regex("t.*")).await;
    assert_eq!(told(&a), Some(vec![]));
    assert_eq!(client.create_topic("t1", 1, &[]).await, NONE);
    let mut epoch = a.member_epoch;
    // The group hears of new topics soon after they are there.
    let assigned = loop {
        let a = client.call(1, &beat("g", "a", epoch)).await;
        epoch = a.member_epoch;
        if let Some(assigned) = told(&a) {
            break assigned;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(assigned, vec![0]);
}

#[tokio::test]
async fn groups_have_settings_of_their_own() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 1, &[]).await, NONE);
    find(&mut client, "g").await;
    let alter = |value: &str| IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 32,
            resource_name: "g".into(),
            configs: vec![AlterableConfig {
                name: "consumer.heartbeat.interval.ms".into(),
                config_operation: 0,
                value: Some(value.into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(client.call(1, &alter("1")).await.responses[0].error_code, INVALID_CONFIG);
    assert_eq!(client.call(1, &alter("7000")).await.responses[0].error_code, NONE);
    let a = client.call(1, &joining("g", "a")).await;
    assert_eq!(a.heartbeat_interval_ms, 7_000);
    let missing = client.call(1, &beat("other", "a", 3)).await;
    assert_eq!(missing.error_code, GROUP_ID_NOT_FOUND);
}
