//! Consumer groups and committed offsets, over the wire and over restarts.

use std::path::Path;

use bytes::Bytes;
use kafka_codec::Uuid;
use kafka_codec::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_codec::messages::leave_group_request::MemberIdentity;
use kafka_codec::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_codec::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_codec::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_codec::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_codec::messages::*;

use crate::harness::{Client, TestBroker, start};

const NONE: i16 = 0;
const UNKNOWN_TOPIC: i16 = 3;
const NOT_COORDINATOR: i16 = 16;
const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// No waiting for more members: one node, one test.
const AT_ONCE: (&str, &str) = ("group.initial.rebalance.delay.ms", "0");

async fn find(client: &mut Client, group: &str) -> i16 {
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    client.call(6, &request).await.coordinators[0].error_code
}

fn join_request(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        member_id: member.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Joins as a client does since version 4: once for an id, once with it.
async fn join(client: &mut Client, group: &str) -> JoinGroupResponse {
    let first = client.call(9, &join_request(group, "")).await;
    assert_eq!(first.error_code, MEMBER_ID_REQUIRED);
    assert!(first.member_id.starts_with("test-"), "{}", first.member_id);
    client.call(9, &join_request(group, &first.member_id)).await
}

fn sync_request(
    group: &str,
    joined: &JoinGroupResponse,
    assignments: &[(&str, &'static [u8])],
) -> SyncGroupRequest {
    let assignment = |(member, bytes): &(&str, &'static [u8])| SyncGroupRequestAssignment {
        member_id: (*member).into(),
        assignment: Bytes::from_static(bytes),
        ..Default::default()
    };
    SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.iter().map(assignment).collect(),
        ..Default::default()
    }
}

async fn beat(client: &mut Client, group: &str, joined: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..Default::default()
    };
    client.call(4, &request).await.error_code
}

fn commit_request(group: &str, topic: &str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partition = |(partition_index, committed_offset): &(i32, i64)| OffsetCommitRequestPartition {
        partition_index: *partition_index,
        committed_offset: *committed_offset,
        committed_leader_epoch: 3,
        committed_metadata: Some("note".into()),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: offsets.iter().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn commit(client: &mut Client, group: &str, topic: &str, offsets: &[(i32, i64)]) -> i16 {
    let response = client.call(8, &commit_request(group, topic, offsets)).await;
    response.topics[0].partitions[0].error_code
}

/// Partition, offset and metadata of all that `group` committed for `topic`.
async fn committed(client: &mut Client, group: &str, topic: &str) -> Vec<(i32, i64, String)> {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..Default::default() }],
        ..Default::default()
    };
    let response = client.call(9, &request).await;
    let group = &response.groups[0];
    assert_eq!(group.error_code, NONE);
    let topics = group.topics.iter().filter(|found| found.name == topic);
    topics
        .flat_map(|found| &found.partitions)
        .map(|p| (p.partition_index, p.committed_offset, p.metadata.clone().unwrap_or_default()))
        .collect()
}

async fn broker_with_topic() -> (TestBroker, Client) {
    let broker = TestBroker::start(&[AT_ONCE]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 3, &[]).await, NONE);
    (broker, client)
}

#[tokio::test]
async fn offsets_topic_is_made_when_a_coordinator_is_asked_for() {
    let (broker, mut client) = broker_with_topic().await;
    assert_eq!(client.describe("__consumer_offsets").await, None);
    assert_eq!(client.call(9, &join_request("g", "")).await.error_code, NOT_COORDINATOR);
    assert_eq!(find(&mut client, "g").await, NONE);
    assert_eq!(client.describe("__consumer_offsets").await.map(|(_, partitions)| partitions), Some(50));
    let request = FindCoordinatorRequest { key: "g".into(), ..Default::default() };
    for version in 0..=3 {
        let found = client.call(version, &request).await;
        let address = broker.address();
        assert_eq!(
            (found.error_code, found.node_id, found.host, found.port),
            (NONE, 1, address.ip().to_string(), i32::from(address.port()))
        );
    }
}

#[tokio::test]
async fn two_members_share_a_group() {
    let (broker, mut first) = broker_with_topic().await;
    let mut second = broker.client().await;
    find(&mut first, "g").await;
    let led = join(&mut first, "g").await;
    assert_eq!((led.error_code, led.generation_id), (NONE, 1));
    assert_eq!((&led.leader, led.members.len()), (&led.member_id, 1));
    let synced = first.call(5, &sync_request("g", &led, &[(&led.member_id, b"all")])).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (NONE, &b"all"[..]));

    let asked = second.call(9, &join_request("g", "")).await;
    second.send(9, &join_request("g", &asked.member_id)).await;
    // The first member learns of the rebalance by its heartbeat, as soon as the second one's join has come.
    let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
    while beat(&mut first, "g", &led).await != REBALANCE_IN_PROGRESS {
        assert!(tokio::time::Instant::now() < deadline, "no rebalance");
        tokio::task::yield_now().await;
    }
    let led = first.call(9, &join_request("g", &led.member_id)).await;
    assert_eq!((led.generation_id, led.members.len()), (2, 2));
    let frame = second.receive().await.expect("the answer to the join");
    let mut reader = kafka_codec::wire::Reader::shared(&frame);
    kafka_codec::frame::decode_response_header(&mut reader, kafka_codec::ApiKey::JoinGroup, 9).unwrap();
    let followed = <JoinGroupResponse as kafka_codec::Message>::decode(&mut reader, 9).unwrap();
    assert_eq!((followed.generation_id, followed.members.len()), (2, 0));
    assert_eq!(followed.leader, led.member_id);

    let assignments: [(&str, &'static [u8]); 2] = [(&led.member_id, b"x"), (&followed.member_id, b"y")];
    let synced = first.call(5, &sync_request("g", &led, &assignments)).await;
    assert_eq!(&synced.assignment[..], b"x");
    let synced = second.call(5, &sync_request("g", &followed, &[])).await;
    assert_eq!(&synced.assignment[..], b"y");

    let described =
        first.call(6, &DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() }).await;
    let group = &described.groups[0];
    assert_eq!((group.group_state.as_str(), group.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!((group.members.len(), group.members[0].client_host.as_str()), (2, "/127.0.0.1"));
    let listed = first
        .call(5, &ListGroupsRequest { states_filter: vec!["stable".into()], ..Default::default() })
        .await;
    assert_eq!((listed.groups[0].group_id.as_str(), listed.groups[0].group_type.as_str()), ("g", "classic"));

    let leaving = LeaveGroupRequest {
        group_id: "g".into(),
        members: vec![
            MemberIdentity { member_id: followed.member_id.clone(), ..Default::default() },
            MemberIdentity { member_id: "nobody".into(), ..Default::default() },
        ],
        ..Default::default()
    };
    let left = second.call(5, &leaving).await;
    let errors: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
    assert_eq!((left.error_code, errors), (NONE, vec![NONE, UNKNOWN_MEMBER_ID]));
    assert_eq!(beat(&mut first, "g", &led).await, REBALANCE_IN_PROGRESS);
}

#[tokio::test]
async fn offsets_are_committed_by_name_and_by_id() {
    let (broker, mut client) = broker_with_topic().await;
    find(&mut client, "g").await;
    assert_eq!(commit(&mut client, "g", "t", &[(0, 5), (2, 7)]).await, NONE);
    assert_eq!(commit(&mut client, "g", "missing", &[(0, 1)]).await, UNKNOWN_TOPIC);
    assert_eq!(
        committed(&mut client, "g", "t").await,
        [(0, 5, "note".to_owned()), (2, 7, "note".to_owned())]
    );
    let (id, _) = client.describe("t").await.unwrap();
    let mut by_id = commit_request("g", "", &[(0, 9)]);
    by_id.topics[0].topic_id = id;
    by_id.topics.push(OffsetCommitRequestTopic { topic_id: Uuid([7; 16]), ..by_id.topics[0].clone() });
    let response = client.call(10, &by_id).await;
    let outcome: Vec<_> = response.topics.iter().map(|t| (t.topic_id, t.partitions[0].error_code)).collect();
    assert_eq!(outcome, [(id, NONE), (Uuid([7; 16]), UNKNOWN_TOPIC_ID)]);
    let topic =
        |topic_id| OffsetFetchRequestTopics { topic_id, partition_indexes: vec![0, 1], ..Default::default() };
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![topic(Uuid([7; 16])), topic(id)]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(10, &request).await;
    let told: Vec<_> = response.groups[0]
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(move |p| (t.topic_id, p.error_code, p.committed_offset)))
        .collect();
    assert_eq!(
        told,
        [
            (Uuid([7; 16]), UNKNOWN_TOPIC_ID, -1),
            (Uuid([7; 16]), UNKNOWN_TOPIC_ID, -1),
            (id, NONE, 9),
            (id, NONE, -1)
        ]
    );
    drop(broker);
}

#[tokio::test]
async fn offsets_do_not_pass_to_a_topic_made_anew() {
    let (_broker, mut client) = broker_with_topic().await;
    find(&mut client, "g").await;
    assert_eq!(client.create_topic("u", 1, &[]).await, NONE);
    assert_eq!(commit(&mut client, "g", "t", &[(0, 5)]).await, NONE);
    assert_eq!(commit(&mut client, "g", "u", &[(0, 6)]).await, NONE);
    let delete =
        DeleteTopicsRequest { topic_names: vec!["t".into()], timeout_ms: 5000, ..Default::default() };
    assert_eq!(client.call(5, &delete).await.responses[0].error_code, NONE);
    assert_eq!(client.create_topic("t", 3, &[]).await, NONE);
    assert_eq!(committed(&mut client, "g", "t").await, []);
    let request = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: "t".into(),
            partition_indexes: vec![0],
            ..Default::default()
        }]),
        ..Default::default()
    };
    let response = client.call(7, &request).await;
    let told = &response.topics[0].partitions[0];
    assert_eq!((response.error_code, told.error_code, told.committed_offset), (NONE, NONE, -1));
    assert_eq!(committed(&mut client, "g", "u").await, [(0, 6, "note".to_owned())]);
}

#[tokio::test]
async fn groups_and_offsets_are_deleted() {
    let (_broker, mut client) = broker_with_topic().await;
    find(&mut client, "g").await;
    commit(&mut client, "g", "t", &[(0, 5), (1, 6)]).await;
    let topic = |name: &str| OffsetDeleteRequestTopic {
        name: name.into(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    };
    let request = OffsetDeleteRequest { group_id: "g".into(), topics: vec![topic("t"), topic("none")] };
    let response = client.call(0, &request).await;
    let mut outcome: Vec<_> =
        response.topics.iter().map(|t| (t.name.as_str(), t.partitions[0].error_code)).collect();
    outcome.sort();
    assert_eq!((response.error_code, outcome), (NONE, vec![("none", UNKNOWN_TOPIC), ("t", NONE)]));
    assert_eq!(committed(&mut client, "g", "t").await, [(1, 6, "note".to_owned())]);
    let request = DeleteGroupsRequest { groups_names: vec!["g".into(), "none".into()], ..Default::default() };
    let response = client.call(2, &request).await;
    let outcome: Vec<_> = response.results.iter().map(|r| (r.group_id.as_str(), r.error_code)).collect();
    assert_eq!(outcome, [("g", NONE), ("none", GROUP_ID_NOT_FOUND)]);
    assert_eq!(committed(&mut client, "g", "t").await, []);
    let described =
        client.call(6, &DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() }).await;
    assert_eq!(described.groups[0].error_code, GROUP_ID_NOT_FOUND);
    let described =
        client.call(5, &DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() }).await;
    assert_eq!((described.groups[0].error_code, described.groups[0].group_state.as_str()), (NONE, "Dead"));
}

/// What SIGKILL leaves: the files as they are at this moment.
fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_files(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn members_and_offsets_are_there_after_a_kill() {
    let (broker, mut client) = broker_with_topic().await;
    find(&mut client, "g").await;
    let joined = join(&mut client, "g").await;
    client.call(5, &sync_request("g", &joined, &[(&joined.member_id, b"mine")])).await;
    let mut request = commit_request("g", "t", &[(0, 41), (1, 42)]);
    request.generation_id_or_member_epoch = joined.generation_id;
    request.member_id = joined.member_id.clone();
    assert_eq!(client.call(9, &request).await.topics[0].partitions[1].error_code, NONE);
    commit(&mut client, "simple", "t", &[(2, 7)]).await;

    let killed = tempfile::tempdir().unwrap();
    copy_files(broker.dir.path(), killed.path());
    broker.stop().await;

    let handle = start(killed.path(), &[AT_ONCE]).await.unwrap();
    let mut client = Client::connect(handle.listeners()[0].address).await;
    // The member goes on as if nothing had happened.
    assert_eq!(beat(&mut client, "g", &joined).await, NONE);
    let synced = client.call(5, &sync_request("g", &joined, &[])).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (NONE, &b"mine"[..]));
    assert_eq!(
        committed(&mut client, "g", "t").await,
        [(0, 41, "note".to_owned()), (1, 42, "note".to_owned())]
    );
    assert_eq!(committed(&mut client, "simple", "t").await, [(2, 7, "note".to_owned())]);
    request.generation_id_or_member_epoch += 1;
    assert_eq!(client.call(9, &request).await.topics[0].partitions[0].error_code, ILLEGAL_GENERATION);
    handle.shutdown().await;
}

#[tokio::test]
async fn every_version_is_answered() {
    let (_broker, mut client) = broker_with_topic().await;
    find(&mut client, "g").await;
    for version in 0..=9 {
        let group = format!("join-{version}");
        let first = client.call(version, &join_request(&group, "")).await;
        let joined = match version {
            0..=3 => first,
            _ => {
                assert_eq!(first.error_code, MEMBER_ID_REQUIRED, "v{version}");
                client.call(version, &join_request(&group, &first.member_id)).await
            }
        };
        assert_eq!((joined.error_code, joined.generation_id), (NONE, 1), "v{version}");
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        let mut sync = sync_request(&group, &joined, &[(&joined.member_id, b"x")]);
        let synced = client.call(version.min(5), &sync).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (NONE, &b"x"[..]), "v{version}");
        if version >= 5 {
            sync.protocol_name = None;
            assert_eq!(client.call(5, &sync).await.error_code, INCONSISTENT_GROUP_PROTOCOL);
        }
        let request = HeartbeatRequest {
            group_id: group.clone(),
            generation_id: 1,
            member_id: joined.member_id.clone(),
            ..Default::default()
        };
        assert_eq!(client.call(version.min(4), &request).await.error_code, NONE, "v{version}");
        let mut request = LeaveGroupRequest { group_id: group, ..Default::default() };
        if version <= 2 {
            request.member_id = joined.member_id;
        } else {
            request.members = vec![MemberIdentity { member_id: joined.member_id, ..Default::default() }];
        }
        let version = version.min(5);
        assert_eq!(client.call(version, &request).await.error_code, NONE);
        // The second time there is nobody to leave.
        let left = client.call(version, &request).await;
        let told = left.members.first().map_or(left.error_code, |member| member.error_code);
        assert_eq!(told, UNKNOWN_MEMBER_ID, "v{version}");
    }
    for version in 2..=9 {
        let offset = i64::from(version);
        let response = client.call(version, &commit_request("g", "t", &[(0, offset)])).await;
        assert_eq!(response.topics[0].partitions[0].error_code, NONE, "v{version}");
        assert_eq!(committed(&mut client, "g", "t").await, [(0, offset, "note".to_owned())]);
    }
    for version in 1..=7 {
        let request = OffsetFetchRequest {
            group_id: "g".into(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: "t".into(),
                partition_indexes: vec![0, 1],
                ..Default::default()
            }]),
            ..Default::default()
        };
        let response = client.call(version, &request).await;
        let told: Vec<_> = response.topics[0]
            .partitions
            .iter()
            .map(|p| (p.error_code, p.committed_offset, p.metadata.clone()))
            .collect();
        assert_eq!(told, [(NONE, 9, Some("note".into())), (NONE, -1, Some(String::new()))], "v{version}");
    }
    for version in 0..=6 {
        let request = DescribeGroupsRequest {
            groups: vec!["g".into(), "none".into()],
            include_authorized_operations: version >= 3,
            ..Default::default()
        };
        let groups = client.call(version, &request).await.groups;
        let states: Vec<_> = groups.iter().map(|group| group.group_state.as_str()).collect();
        assert_eq!(states, ["Empty", "Dead"], "v{version}");
        assert_eq!(groups[0].authorized_operations, if version >= 3 { 3400 } else { i32::MIN });
    }
    for version in 0..=5 {
        let listed = client.call(version, &ListGroupsRequest::default()).await;
        assert!(listed.groups.iter().any(|group| group.group_id == "g"), "v{version}");
    }
    for version in 0..=2 {
        let request = DeleteGroupsRequest { groups_names: vec!["none".into()], ..Default::default() };
        assert_eq!(client.call(version, &request).await.results[0].error_code, GROUP_ID_NOT_FOUND);
    }
}
