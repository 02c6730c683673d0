//! Share groups (KIP-932) over the wire and over restarts.

use bytes::Bytes;
use kafka_codec::Uuid;
use kafka_codec::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use kafka_codec::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use kafka_codec::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_codec::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_codec::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch as AckBatch,
};
use kafka_codec::messages::share_fetch_request::{AcknowledgementBatch, FetchPartition, FetchTopic};
use kafka_codec::messages::*;
use kafka_codec::records::{BatchBuilder, Compression};

use crate::harness::{Client, Fetch, Target, TestBroker, batch, now_ms};

const NONE: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const INVALID_REQUEST: i16 = 42;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const UNKNOWN_TOPIC_ID: i16 = 100;
const INVALID_RECORD_STATE: i16 = 121;
const SHARE_SESSION_NOT_FOUND: i16 = 122;
const INVALID_SHARE_SESSION_EPOCH: i16 = 123;
const SHARE_SESSION_LIMIT_REACHED: i16 = 133;

const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;
const RENEW: i8 = 4;

/// Locks that a test can wait for.
const SHORT_LOCKS: [(&str, &str); 2] =
    [("group.share.min.record.lock.duration.ms", "1000"), ("group.share.record.lock.duration.ms", "1000")];

async fn configure(client: &mut Client, group: &str, key: &str, value: &str) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 32,
            resource_name: group.into(),
            configs: vec![AlterableConfig {
                name: key.into(),
                value: Some(value.into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(1, &request).await.responses.remove(0);
    assert_eq!(response.error_code, NONE, "{:?}", response.error_message);
}

/// A topic, and a group that begins with its first record.
async fn prepare(client: &mut Client, values: &[&str]) -> Uuid {
    assert_eq!(client.create_topic("t", 1, &[]).await, NONE);
    configure(client, "g", "share.auto.offset.reset", "earliest").await;
    if !values.is_empty() {
        assert_eq!(client.produce(&Target::new("t"), &batch(values)).await.0, NONE);
    }
    client.describe("t").await.unwrap().0
}

/// A member with its session.
struct Member {
    name: &'static str,
    epoch: i32,
    topic: Uuid,
    /// Applied to each request.
    version: i16,
    max_records: i32,
    mode: i8,
    wait_ms: i32,
}

#[derive(Debug, PartialEq)]
struct Got {
    error: i16,
    acknowledged: i16,
    /// First, last, deliveries.
    acquired: Vec<(i64, i64, i16)>,
    values: Vec<String>,
    lock_ms: i32,
}

fn values(records: &Bytes) -> Vec<String> {
    crate::harness::Fetched { records: records.clone(), ..Default::default() }.values()
}

impl Member {
    fn new(name: &'static str, topic: Uuid) -> Self {
        Self { name, epoch: 0, topic, version: 2, max_records: 500, mode: 0, wait_ms: 0 }
    }

    fn request(&mut self, acks: &[(i64, i64, &[i8])]) -> ShareFetchRequest {
        let partition = FetchPartition {
            partition_index: 0,
            acknowledgement_batches: acks
                .iter()
                .map(|(first, last, types)| AcknowledgementBatch {
                    first_offset: *first,
                    last_offset: *last,
                    acknowledge_types: types.to_vec(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let request = ShareFetchRequest {
            group_id: Some("g".into()),
            member_id: Some(self.name.into()),
            share_session_epoch: self.epoch,
            max_wait_ms: self.wait_ms,
            min_bytes: 1,
            max_bytes: 50 << 20,
            max_records: self.max_records,
            batch_size: self.max_records.max(1),
            share_acquire_mode: self.mode,
            topics: vec![FetchTopic {
                topic_id: self.topic,
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.epoch += 1;
        request
    }

    async fn fetch_with(&mut self, client: &mut Client, acks: &[(i64, i64, &[i8])]) -> Got {
        let request = self.request(acks);
        let response = client.call(self.version, &request).await;
        got(&response)
    }

    async fn fetch(&mut self, client: &mut Client) -> Got {
        self.fetch_with(client, &[]).await
    }

    async fn acknowledge(&mut self, client: &mut Client, first: i64, last: i64, types: &[i8]) -> i16 {
        let request = ShareAcknowledgeRequest {
            group_id: Some("g".into()),
            member_id: Some(self.name.into()),
            share_session_epoch: self.epoch,
            is_renew_ack: types.contains(&RENEW),
            topics: vec![AcknowledgeTopic {
                topic_id: self.topic,
                partitions: vec![AcknowledgePartition {
                    partition_index: 0,
                    acknowledgement_batches: vec![AckBatch {
                        first_offset: first,
                        last_offset: last,
                        acknowledge_types: types.to_vec(),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.epoch += 1;
        let response = client.call(self.version, &request).await;
        if response.error_code != NONE {
            return response.error_code;
        }
        response.responses[0].partitions[0].error_code
    }

    /// Ends the session.
    async fn leave(&mut self, client: &mut Client) {
        let request = ShareFetchRequest {
            group_id: Some("g".into()),
            member_id: Some(self.name.into()),
            share_session_epoch: -1,
            ..Default::default()
        };
        assert_eq!(client.call(self.version, &request).await.error_code, NONE);
        self.epoch = 0;
    }
}

fn got(response: &ShareFetchResponse) -> Got {
    let partition = response.responses.first().and_then(|topic| topic.partitions.first());
    Got {
        error: if response.error_code != NONE {
            response.error_code
        } else {
            partition.map_or(NONE, |partition| partition.error_code)
        },
        acknowledged: partition.map_or(NONE, |partition| partition.acknowledge_error_code),
        acquired: partition
            .into_iter()
            .flat_map(|partition| &partition.acquired_records)
            .map(|part| (part.first_offset, part.last_offset, part.delivery_count))
            .collect(),
        values: partition.map(|partition| values(&partition.records)).unwrap_or_default(),
        lock_ms: response.acquisition_lock_timeout_ms,
    }
}

async fn start_offset(client: &mut Client) -> (i64, i64) {
    let request = DescribeShareGroupOffsetsRequest {
        groups: vec![DescribeShareGroupOffsetsRequestGroup {
            group_id: "g".into(),
            topics: Some(vec![describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestTopic {
                topic_name: "t".into(),
                partitions: vec![0],
                ..Default::default()
            }]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let group = client.call(1, &request).await.groups.remove(0);
    assert_eq!(group.error_code, NONE);
    let partition = &group.topics[0].partitions[0];
    (partition.start_offset, partition.lag)
}

async fn heartbeat(client: &mut Client, member: &str, epoch: i32) -> ShareGroupHeartbeatResponse {
    let request = ShareGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: member.into(),
        member_epoch: epoch,
        subscribed_topic_names: (epoch == 0).then(|| vec!["t".into()]),
        ..Default::default()
    };
    client.call(1, &request).await
}

async fn find_group(client: &mut Client) {
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    assert_eq!(client.call(6, &request).await.coordinators[0].error_code, NONE);
}

#[tokio::test]
async fn records_are_handed_out_once_until_they_are_released() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let topic = prepare(&mut client, &["a", "b", "c", "d"]).await;
    let (mut one, mut two) = (Member::new("one", topic), Member::new("two", topic));
    let first = one.fetch(&mut client).await;
    assert_eq!((first.error, first.lock_ms), (NONE, 30_000));
    assert_eq!(first.acquired, [(0, 3, 1)]);
    assert_eq!(first.values, ["a", "b", "c", "d"]);
    assert_eq!(two.fetch(&mut client).await.acquired, []);
    assert_eq!(two.acknowledge(&mut client, 0, 3, &[ACCEPT]).await, INVALID_RECORD_STATE);
    // Piggybacked on a fetch: accepted, released, accepted, rejected.
    let next = one.fetch_with(&mut client, &[(0, 3, &[ACCEPT, RELEASE, ACCEPT, REJECT])]).await;
    assert_eq!((next.acknowledged, next.acquired), (NONE, vec![(1, 1, 2)]));
    assert_eq!(start_offset(&mut client).await, (1, 1));
    assert_eq!(one.acknowledge(&mut client, 1, 1, &[ACCEPT]).await, NONE);
    assert_eq!(start_offset(&mut client).await, (4, 0));
    broker.stop().await;
}

#[tokio::test]
async fn a_fetch_waits_for_records_and_for_those_that_come_back() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let topic = prepare(&mut client, &[]).await;
    let (mut one, mut two) = (Member::new("one", topic), Member::new("two", topic));
    one.wait_ms = 15_000;
    two.wait_ms = 15_000;
    let mut other = broker.client().await;
    let request = one.request(&[]);
    let id = client.send(2, &request).await;
    assert_eq!(other.produce(&Target::new("t"), &batch(&["a"])).await.0, NONE);
    let frame = client.receive().await.unwrap();
    let answer = read_answer(&frame, id);
    assert_eq!(got(&answer).acquired, [(0, 0, 1)]);
    let request = two.request(&[]);
    let id = other.send(2, &request).await;
    assert_eq!(one.acknowledge(&mut client, 0, 0, &[RELEASE]).await, NONE);
    let frame = other.receive().await.unwrap();
    assert_eq!(got(&read_answer(&frame, id)).acquired, [(0, 0, 2)]);
    // A member that goes away gives back what it holds.
    drop(other);
    one.wait_ms = 15_000;
    assert_eq!(one.fetch(&mut client).await.acquired, [(0, 0, 3)]);
    broker.stop().await;
}

fn read_answer(frame: &Bytes, id: i32) -> ShareFetchResponse {
    use kafka_codec::{ApiKey, Message};
    let mut reader = kafka_codec::wire::Reader::shared(frame);
    let header = kafka_codec::frame::decode_response_header(&mut reader, ApiKey::ShareFetch, 2).unwrap();
    assert_eq!(header, id);
    ShareFetchResponse::decode(&mut reader, 2).unwrap()
}

#[tokio::test]
async fn what_was_accepted_stays_accepted_over_restarts() {
    let mut broker =
        TestBroker::start(&[("share.coordinator.snapshot.update.records.per.snapshot", "2")]).await;
    let mut client = broker.client().await;
    let topic = prepare(&mut client, &["a", "b", "c", "d", "e"]).await;
    let mut one = Member::new("one", topic);
    assert_eq!(one.fetch(&mut client).await.acquired, [(0, 4, 1)]);
    for offset in [4, 2, 0] {
        assert_eq!(one.acknowledge(&mut client, offset, offset, &[ACCEPT]).await, NONE);
    }
    assert_eq!(one.acknowledge(&mut client, 3, 3, &[RELEASE]).await, NONE);
    for _ in 0..2 {
        broker = TestBroker::start_in(broker.stop().await, &[]).await;
        client = broker.client().await;
        assert_eq!(start_offset(&mut client).await, (1, 2));
    }
    let mut one = Member::new("one", topic);
    // What was out and never acknowledged had its delivery stored only if the member's connection ended before the broker.
    let again = one.fetch(&mut client).await.acquired;
    assert!([[(1, 1, 1), (3, 3, 2)], [(1, 1, 2), (3, 3, 2)]].contains(&[again[0], again[1]]), "{again:?}");
    assert_eq!(again.len(), 2);
    assert_eq!(one.acknowledge(&mut client, 1, 1, &[ACCEPT]).await, NONE);
    assert_eq!(one.acknowledge(&mut client, 3, 3, &[ACCEPT]).await, NONE);
    assert_eq!(start_offset(&mut client).await, (5, 0));
    broker.stop().await;
}

#[tokio::test]
async fn locks_run_out_may_be_renewed_and_a_record_comes_only_so_often() {
    let broker = TestBroker::start(&SHORT_LOCKS).await;
    let mut client = broker.client().await;
    let topic = prepare(&mut client, &["a"]).await;
    configure(&mut client, "g", "share.delivery.count.limit", "2").await;
    let (mut one, mut two) = (Member::new("one", topic), Member::new("two", topic));
    let first = one.fetch(&mut client).await;
    assert_eq!((first.acquired, first.lock_ms), (vec![(0, 0, 1)], 1_000));
    assert_eq!(one.acknowledge(&mut client, 0, 0, &[RENEW]).await, NONE);
    two.wait_ms = 15_000;
    assert_eq!(two.fetch(&mut client).await.acquired, [(0, 0, 2)]);
    assert_eq!(one.acknowledge(&mut client, 0, 0, &[ACCEPT]).await, INVALID_RECORD_STATE);
    // The second time was the last: the record is given up, and the next one comes.
    assert_eq!(client.produce(&Target::new("t"), &batch(&["b"])).await.0, NONE);
    one.wait_ms = 15_000;
    assert_eq!(one.fetch(&mut client).await.acquired, [(1, 1, 1)]);
    two.wait_ms = 3_000;
    let _ = two.fetch(&mut client).await;
    assert_eq!(start_offset(&mut client).await.0, 1);
    broker.stop().await;
}

#[tokio::test]
async fn sessions_have_epochs_and_limits() {
    let broker = TestBroker::start(&[("group.share.max.share.sessions", "1")]).await;
    let mut client = broker.client().await;
    let topic = prepare(&mut client, &["a"]).await;
    let mut one = Member::new("one", topic);
    one.epoch = 3;
    assert_eq!(one.fetch(&mut client).await.error, SHARE_SESSION_NOT_FOUND);
    one.epoch = 0;
    assert_eq!(one.fetch_with(&mut client, &[(0, 0, &[ACCEPT])]).await.error, INVALID_REQUEST);
    one.epoch = 0;
    assert_eq!(one.fetch(&mut client).await.acquired, [(0, 0, 1)]);
    assert_eq!(Member::new("two", topic).fetch(&mut client).await.error, SHARE_SESSION_LIMIT_REACHED);
    one.epoch = 7;
    assert_eq!(one.fetch(&mut client).await.error, INVALID_SHARE_SESSION_EPOCH);
    one.epoch = 1;
    assert_eq!(one.acknowledge(&mut client, 0, 5, &[ACCEPT]).await, INVALID_REQUEST);
    one.leave(&mut client).await;
    let mut two = Member::new("two", topic);
    assert_eq!(two.fetch(&mut client).await.acquired, [(0, 0, 2)]);
    let mut lost = Member::new("two", Uuid([9; 16]));
    assert_eq!(lost.fetch(&mut client).await.error, UNKNOWN_TOPIC_ID);
    let nameless =
        ShareFetchRequest { group_id: Some("g".into()), member_id: Some("".into()), ..Default::default() };
    assert_eq!(client.call(2, &nameless).await.error_code, INVALID_REQUEST);
    broker.stop().await;
}

#[tokio::test]
async fn as_many_records_as_asked_for_and_no_more_in_flight_than_allowed() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let topic = prepare(&mut client, &many).await;
    configure(&mut client, "g", "share.partition.max.record.locks", "100").await;
    for _ in 0..2 {
        assert_eq!(client.produce(&Target::new("t"), &batch(&many)).await.0, NONE);
    }
    let mut strict = Member { max_records: 30, mode: 1, ..Member::new("one", topic) };
    assert_eq!(strict.fetch(&mut client).await.acquired, [(0, 29, 1)]);
    // By batches: the one that crosses the limit is taken whole.
    let mut two = Member { max_records: 30, ..Member::new("two", topic) };
    assert_eq!(two.fetch(&mut client).await.acquired, [(30, 99, 1)]);
    assert_eq!(two.fetch(&mut client).await.acquired, []);
    assert_eq!(strict.acknowledge(&mut client, 0, 29, &[ACCEPT]).await, NONE);
    assert_eq!(two.fetch(&mut client).await.acquired, [(100, 199, 1)]);
    let mut old = Member { version: 1, mode: 1, max_records: 3, ..Member::new("old", topic) };
    assert_eq!(old.fetch(&mut client).await.acquired, []);
    broker.stop().await;
}

#[tokio::test]
async fn aborted_records_are_not_handed_out_to_those_who_want_committed_ones() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let topic = prepare(&mut client, &["a"]).await;
    configure(&mut client, "g", "share.isolation.level", "read_committed").await;
    let find =
        FindCoordinatorRequest { key_type: 1, coordinator_keys: vec!["x".into()], ..Default::default() };
    assert_eq!(client.call(6, &find).await.coordinators[0].error_code, NONE);
    let init = InitProducerIdRequest {
        transactional_id: Some("x".into()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let init = client.call(5, &init).await;
    assert_eq!(init.error_code, NONE);
    let add = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "x".into(),
        v3_and_below_producer_id: init.producer_id,
        v3_and_below_producer_epoch: init.producer_epoch,
        v3_and_below_topics: vec![add_partitions_to_txn_request::AddPartitionsToTxnTopic {
            name: "t".into(),
            partitions: vec![0],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(
        client.call(3, &add).await.results_by_topic_v3_and_below[0].results_by_partition[0]
            .partition_error_code,
        NONE
    );
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(init.producer_id, init.producer_epoch, 0)
        .transactional();
    builder.push(now_ms(), None, Some(b"aborted"), std::iter::empty()).unwrap();
    let transactional: Bytes = builder.build().unwrap().into();
    let mut request = crate::harness::produce_request(-1, &Target::new("t"), transactional);
    request.transactional_id = Some("x");
    client.send_produce(9, &request).await;
    assert!(client.receive().await.is_some());
    assert_eq!(client.produce(&Target::new("t"), &batch(&["b"])).await.0, NONE);
    let mut one = Member::new("one", topic);
    // What follows an open transaction is not seen yet.
    assert_eq!(one.fetch(&mut client).await.acquired, [(0, 0, 1)]);
    assert_eq!(one.fetch(&mut client).await.acquired, []);
    let end = EndTxnRequest {
        transactional_id: "x".into(),
        producer_id: init.producer_id,
        producer_epoch: init.producer_epoch,
        committed: false,
        ..Default::default()
    };
    assert_eq!(client.call(3, &end).await.error_code, NONE);
    let rest = one.fetch(&mut client).await;
    // The marker is for the client to pass over.
    assert_eq!(rest.acquired, [(2, 3, 1)]);
    assert_eq!(one.acknowledge(&mut client, 0, 0, &[ACCEPT]).await, NONE);
    assert_eq!(one.acknowledge(&mut client, 2, 3, &[ACCEPT, 0]).await, NONE);
    assert_eq!(start_offset(&mut client).await, (4, 0));
    broker.stop().await;
}

#[tokio::test]
async fn groups_are_listed_described_altered_and_deleted() {
    let mut broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let topic = prepare(&mut client, &["a", "b"]).await;
    find_group(&mut client).await;
    let joined = heartbeat(&mut client, "one", 0).await;
    assert_eq!((joined.error_code, joined.member_epoch), (NONE, 1));
    assert_eq!(joined.assignment.unwrap().topic_partitions[0].partitions, [0]);
    let types = ListGroupsRequest { types_filter: vec!["share".into()], ..Default::default() };
    let listed = client.call(5, &types).await.groups;
    assert_eq!(
        listed
            .iter()
            .map(|g| (g.group_id.as_str(), g.group_type.as_str(), g.group_state.as_str()))
            .collect::<Vec<_>>(),
        [("g", "share", "Stable")]
    );
    let describe =
        ShareGroupDescribeRequest { group_ids: vec!["g".into(), "none".into()], ..Default::default() };
    let described = client.call(1, &describe).await.groups;
    assert_eq!((described[0].error_code, described[0].members.len()), (NONE, 1));
    assert_eq!(described[0].members[0].assignment.topic_partitions[0].topic_name, "t");
    assert_eq!(described[1].error_code, GROUP_ID_NOT_FOUND);
    // All offsets: known by the subscription alone, and not begun.
    let all = DescribeShareGroupOffsetsRequest {
        groups: vec![DescribeShareGroupOffsetsRequestGroup {
            group_id: "g".into(),
            topics: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    let begun = client.call(1, &all).await.groups.remove(0);
    assert_eq!((begun.error_code, begun.topics.len()), (NONE, 1));
    let mut one = Member::new("one", topic);
    assert_eq!(one.fetch_with(&mut client, &[]).await.acquired, [(0, 1, 1)]);
    assert_eq!(one.acknowledge(&mut client, 0, 1, &[ACCEPT]).await, NONE);
    let alter = AlterShareGroupOffsetsRequest {
        group_id: "g".into(),
        topics: vec![AlterShareGroupOffsetsRequestTopic {
            topic_name: "t".into(),
            partitions: vec![AlterShareGroupOffsetsRequestPartition {
                partition_index: 0,
                start_offset: 1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let forget = DeleteShareGroupOffsetsRequest {
        group_id: "g".into(),
        topics: vec![
            DeleteShareGroupOffsetsRequestTopic { topic_name: "t".into(), ..Default::default() },
            DeleteShareGroupOffsetsRequestTopic { topic_name: "u".into(), ..Default::default() },
        ],
        ..Default::default()
    };
    let delete = DeleteGroupsRequest { groups_names: vec!["g".into()], ..Default::default() };
    assert_eq!(client.call(0, &alter).await.error_code, NON_EMPTY_GROUP);
    assert_eq!(client.call(0, &forget).await.error_code, NON_EMPTY_GROUP);
    assert_eq!(client.call(2, &delete).await.results[0].error_code, NON_EMPTY_GROUP);
    assert_eq!(heartbeat(&mut client, "one", -1).await.error_code, NONE);
    let altered = client.call(0, &alter).await;
    assert_eq!((altered.error_code, altered.responses[0].partitions[0].error_code), (NONE, NONE));
    assert_eq!(start_offset(&mut client).await, (1, 1));
    broker = TestBroker::start_in(broker.stop().await, &[]).await;
    client = broker.client().await;
    assert_eq!(start_offset(&mut client).await, (1, 1));
    let mut one = Member::new("one", topic);
    assert_eq!(one.fetch(&mut client).await.acquired, [(1, 1, 1)]);
    let forgotten = client.call(0, &forget).await;
    assert_eq!(forgotten.responses.iter().map(|t| t.error_code).collect::<Vec<_>>(), [NONE, 3]);
    assert_eq!(start_offset(&mut client).await, (-1, -1));
    assert_eq!(client.call(2, &delete).await.results[0].error_code, NONE);
    assert_eq!(client.call(2, &delete).await.results[0].error_code, GROUP_ID_NOT_FOUND);
    assert_eq!(client.call(0, &forget).await.error_code, GROUP_ID_NOT_FOUND);
    broker.stop().await;
}

#[tokio::test]
async fn a_deleted_topic_takes_its_state_along_and_retention_the_records() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let topic = prepare(&mut client, &["a", "b", "c"]).await;
    let mut one = Member::new("one", topic);
    assert_eq!(one.fetch(&mut client).await.acquired, [(0, 2, 1)]);
    assert_eq!(one.acknowledge(&mut client, 1, 2, &[RELEASE]).await, NONE);
    let trim = DeleteRecordsRequest {
        topics: vec![delete_records_request::DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![delete_records_request::DeleteRecordsPartition {
                partition_index: 0,
                offset: 2,
                ..Default::default()
            }],
            ..Default::default()
        }],
        timeout_ms: 5_000,
        ..Default::default()
    };
    assert_eq!(client.call(2, &trim).await.topics[0].partitions[0].error_code, NONE);
    assert_eq!(one.fetch(&mut client).await.acquired, [(2, 2, 2)]);
    assert_eq!(one.acknowledge(&mut client, 0, 2, &[ACCEPT]).await, NONE);
    assert_eq!(start_offset(&mut client).await, (3, 0));
    let delete = DeleteTopicsRequest {
        topics: vec![delete_topics_request::DeleteTopicState {
            name: Some("t".into()),
            ..Default::default()
        }],
        timeout_ms: 5_000,
        ..Default::default()
    };
    assert_eq!(client.call(6, &delete).await.responses[0].error_code, NONE);
    assert_eq!(one.fetch(&mut client).await.error, UNKNOWN_TOPIC_ID);
    assert_eq!(client.create_topic("t", 1, &[]).await, NONE);
    assert_eq!(client.produce(&Target::new("t"), &batch(&["new"])).await.0, NONE);
    let topic = client.describe("t").await.unwrap().0;
    let mut one = Member::new("one", topic);
    assert_eq!(one.fetch(&mut client).await.values, ["new"]);
    broker.stop().await;
}

#[tokio::test]
async fn state_that_nobody_needs_is_deleted_and_the_rest_survives() {
    let settings = [
        ("share.coordinator.state.topic.num.partitions", "1"),
        ("share.coordinator.state.topic.prune.interval.ms", "20"),
        ("share.coordinator.cold.partition.snapshot.interval.ms", "1"),
    ];
    let broker = TestBroker::start(&settings).await;
    let mut client = broker.client().await;
    let records: Vec<String> = (0..20).map(|i| i.to_string()).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let topic = prepare(&mut client, &records).await;
    let mut one = Member::new("one", topic);
    assert_eq!(one.fetch(&mut client).await.acquired, [(0, 19, 1)]);
    for offset in (0..20).step_by(2) {
        assert_eq!(one.acknowledge(&mut client, offset, offset, &[ACCEPT]).await, NONE);
    }
    let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
    while client.fetch(&Fetch::new("__share_group_state", 5)).await.error != OFFSET_OUT_OF_RANGE {
        assert!(tokio::time::Instant::now() < deadline, "nothing is deleted");
    }
    one.leave(&mut client).await;
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, &settings).await;
    let mut client = broker.client().await;
    find_group(&mut client).await;
    let mut two = Member::new("two", topic);
    let left: Vec<(i64, i64, i16)> = (1..20).step_by(2).map(|offset| (offset, offset, 2)).collect();
    assert_eq!(two.fetch(&mut client).await.acquired, left);
    broker.stop().await;
}

#[tokio::test]
async fn a_group_may_begin_with_the_records_of_a_duration() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 1, &[]).await, NONE);
    configure(&mut client, "g", "share.auto.offset.reset", "by_duration:PT1H").await;
    for (age_ms, value) in [(7_200_000, "old"), (600_000, "young")] {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(now_ms() - age_ms, None, Some(value.as_bytes()), std::iter::empty()).unwrap();
        let batch = Bytes::from(builder.build().unwrap());
        assert_eq!(client.produce(&Target::new("t"), &batch).await.0, NONE);
    }
    let topic = client.describe("t").await.unwrap().0;
    let mut one = Member::new("one", topic);
    assert_eq!(one.fetch(&mut client).await.values, ["young"]);
    broker.stop().await;
}

#[tokio::test]
async fn the_share_coordinator_answers_as_kafkas_does() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let topic = prepare(&mut client, &["a"]).await;
    let key = format!("g:{topic}:0");
    let find = |key: &str| FindCoordinatorRequest {
        key_type: 2,
        coordinator_keys: vec![key.into()],
        ..Default::default()
    };
    assert_eq!(client.call(6, &find("g")).await.coordinators[0].error_code, INVALID_REQUEST);
    assert_eq!(client.call(6, &find(&key)).await.coordinators[0].error_code, NONE);
    let read = |epoch| ReadShareGroupStateRequest {
        group_id: "g".into(),
        topics: vec![read_share_group_state_request::ReadStateData {
            topic_id: topic,
            partitions: vec![read_share_group_state_request::PartitionData {
                partition: 0,
                leader_epoch: epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(client.call(0, &read(0)).await.results[0].partitions[0].error_code, INVALID_REQUEST);
    let initialize = InitializeShareGroupStateRequest {
        group_id: "g".into(),
        topics: vec![initialize_share_group_state_request::InitializeStateData {
            topic_id: topic,
            partitions: vec![initialize_share_group_state_request::PartitionData {
                partition: 0,
                state_epoch: 4,
                start_offset: 0,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(client.call(0, &initialize).await.results[0].partitions[0].error_code, NONE);
    let write = WriteShareGroupStateRequest {
        group_id: "g".into(),
        topics: vec![write_share_group_state_request::WriteStateData {
            topic_id: topic,
            partitions: vec![write_share_group_state_request::PartitionData {
                partition: 0,
                state_epoch: 4,
                leader_epoch: 0,
                start_offset: 0,
                delivery_complete_count: 1,
                state_batches: vec![write_share_group_state_request::StateBatch {
                    first_offset: 0,
                    last_offset: 0,
                    delivery_state: 2,
                    delivery_count: 1,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(client.call(1, &write).await.results[0].partitions[0].error_code, NONE);
    let state = client.call(0, &read(0)).await.results.remove(0).partitions.remove(0);
    assert_eq!((state.error_code, state.state_epoch, state.state_batches.len()), (NONE, 4, 1));
    assert_eq!(Member::new("one", topic).fetch(&mut client).await.acquired, []);
    let delete = DeleteShareGroupStateRequest {
        group_id: "g".into(),
        topics: vec![delete_share_group_state_request::DeleteStateData {
            topic_id: topic,
            partitions: vec![delete_share_group_state_request::PartitionData {
                partition: 0,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(client.call(0, &delete).await.results[0].partitions[0].error_code, NONE);
    assert_eq!(client.call(0, &read(0)).await.results[0].partitions[0].error_code, INVALID_REQUEST);
    broker.stop().await;
}
