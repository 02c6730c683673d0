//! Transactions over raw frames: both protocols, fencing, visibility, offsets, restarts in every state.

use std::time::Duration;

use bytes::Bytes;
use kafka_codec::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use kafka_codec::frame;
use kafka_codec::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_codec::messages::describe_producers_request::TopicRequest;
use kafka_codec::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_codec::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_codec::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_codec::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_codec::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest,
    ListTransactionsRequest, OffsetFetchRequest, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};
use kafka_codec::produce::{PartitionProduce, ProduceRequest, ProduceResponse, TopicProduce};
use kafka_codec::records::{BatchBuilder, Compression};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, ErrorCode, Uuid};

use crate::harness::{Client, PATIENCE, TestBroker, now_ms};
use log::testing::FaultStorage;
use std::sync::Arc;

const NONE: i16 = 0;
const SETTINGS: &[(&str, &str)] = &[
    ("transaction.state.log.num.partitions", "3"),
    ("offsets.topic.num.partitions", "3"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "20"),
];

/// A producer as a client sees itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Producer {
    id: i64,
    epoch: i16,
}

fn transactional(values: &[&str], producer: Producer, sequence: i32) -> Bytes {
    let mut builder =
        BatchBuilder::new(Compression::None).producer(producer.id, producer.epoch, sequence).transactional();
    for value in values {
        builder.push(now_ms(), None, Some(value.as_bytes()), std::iter::empty()).unwrap();
    }
    builder.build().unwrap().into()
}

struct Session {
    client: Client,
    id: &'static str,
    topic: (&'static str, Uuid),
}

impl Session {
    /// A client of a topic `t` with two partitions, and a transactional id.
    async fn open(broker: &TestBroker, id: &'static str) -> Self {
        let mut client = broker.client().await;
        client.create_topic("t", 2, &[]).await;
        let topic = client.describe("t").await.unwrap().0;
        for key_type in [0, 1] {
            let find = FindCoordinatorRequest {
                key_type,
                coordinator_keys: vec![id.into()],
                ..FindCoordinatorRequest::default()
            };
            let found = client.call(6, &find).await;
            assert_eq!(found.coordinators[0].error_code, NONE);
        }
        Self { client, id, topic: ("t", topic) }
    }

    async fn try_init(&mut self, expected: Option<Producer>) -> Result<Producer, i16> {
        let expected = expected.unwrap_or(Producer { id: -1, epoch: -1 });
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id.into()),
            transaction_timeout_ms: 60_000,
            producer_id: expected.id,
            producer_epoch: expected.epoch,
            ..InitProducerIdRequest::default()
        };
        let response = self.client.call(5, &request).await;
        match response.error_code {
            NONE => Ok(Producer { id: response.producer_id, epoch: response.producer_epoch }),
            error => Err(error),
        }
    }

    async fn init(&mut self) -> Producer {
        self.try_init(None).await.unwrap()
    }

    /// Produces one batch of the transaction; answers (error code, base offset).
    async fn write(
        &mut self,
        version: i16,
        partition: i32,
        producer: Producer,
        sequence: i32,
        values: &[&str],
    ) -> (i16, i64) {
        let request = ProduceRequest {
            transactional_id: Some(self.id),
            acks: -1,
            timeout_ms: 10_000,
            topics: vec![TopicProduce {
                name: self.topic.0,
                topic_id: self.topic.1,
                partitions: vec![PartitionProduce {
                    index: partition,
                    records: Some(transactional(values, producer, sequence)),
                }],
            }],
        };
        self.client.send_produce(version, &request).await;
        let frame = self.client.receive().await.expect("connection closed");
        let mut reader = Reader::shared(&frame);
        frame::decode_response_header(&mut reader, ApiKey::Produce, version).unwrap();
        let response = ProduceResponse::decode(&mut reader, version).unwrap();
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.base_offset)
    }

    async fn end(&mut self, version: i16, producer: Producer, committed: bool) -> Result<Producer, i16> {
        let request = EndTxnRequest {
            transactional_id: self.id.into(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            committed,
            ..EndTxnRequest::default()
        };
        let response = self.client.call(version, &request).await;
        match response.error_code {
            NONE => Ok(Producer { id: response.producer_id, epoch: response.producer_epoch }),
            error => Err(error),
        }
    }

    async fn add_partitions(&mut self, producer: Producer, partitions: &[i32]) -> Vec<i16> {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.into(),
            v3_and_below_producer_id: producer.id,
            v3_and_below_producer_epoch: producer.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: "t".into(),
                partitions: partitions.to_vec(),
                ..AddPartitionsToTxnTopic::default()
            }],
            ..AddPartitionsToTxnRequest::default()
        };
        let response = self.client.call(3, &request).await;
        let results = &response.results_by_topic_v3_and_below[0].results_by_partition;
        results.iter().map(|result| result.partition_error_code).collect()
    }

    async fn commit_offset(&mut self, version: i16, producer: Producer, offset: i64) -> i16 {
        let request = TxnOffsetCommitRequest {
            transactional_id: self.id.into(),
            group_id: "g".into(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            generation_id_or_member_epoch: -1,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    partition_index: 0,
                    committed_offset: offset,
                    ..TxnOffsetCommitRequestPartition::default()
                }],
                ..TxnOffsetCommitRequestTopic::default()
            }],
            ..TxnOffsetCommitRequest::default()
        };
        self.client.call(version, &request).await.topics[0].partitions[0].error_code
    }

    /// The group's offset of partition 0: error code and offset.
    async fn offset(&mut self, require_stable: bool) -> (i16, i64) {
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: "g".into(),
                topics: Some(vec![OffsetFetchRequestTopics {
                    name: "t".into(),
                    partition_indexes: vec![0],
                    ..OffsetFetchRequestTopics::default()
                }]),
                ..OffsetFetchRequestGroup::default()
            }],
            require_stable,
            ..OffsetFetchRequest::default()
        };
        let response = self.client.call(9, &request).await;
        let partition = &response.groups[0].topics[0].partitions[0];
        (partition.error_code, partition.committed_offset)
    }

    async fn end_offset(&mut self, partition: i32, committed: bool) -> i64 {
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: i8::from(committed),
            topics: vec![ListOffsetsTopic {
                name: "t".into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: partition,
                    timestamp: -1,
                    ..ListOffsetsPartition::default()
                }],
                ..ListOffsetsTopic::default()
            }],
            ..ListOffsetsRequest::default()
        };
        self.client.call(9, &request).await.topics[0].partitions[0].offset
    }

    /// What a `read_committed` consumer makes of a partition: the values whose transaction was committed.
    async fn committed(&mut self, partition: i32) -> Vec<String> {
        let (values, aborted) = self.fetch(partition, 1).await;
        let aborted = aborted.expect("a list, perhaps an empty one");
        committed_values(&values, &aborted)
    }

    /// Fetches a partition from its start: the bytes, and producer ids with first offsets of aborted transactions.
    async fn fetch(&mut self, partition: i32, isolation_level: i8) -> (Bytes, Option<Vec<(i64, i64)>>) {
        const VERSION: i16 = 12;
        let request = FetchRequest {
            min_bytes: 0,
            max_bytes: 50 << 20,
            session_epoch: -1,
            isolation_level,
            topics: vec![FetchTopic {
                topic: "t",
                topic_id: Uuid::ZERO,
                partitions: vec![FetchPartition {
                    partition,
                    partition_max_bytes: 1 << 20,
                    ..FetchPartition::default()
                }],
            }],
            ..FetchRequest::default()
        };
        let header = frame::RequestHeader {
            key: ApiKey::Fetch,
            version: VERSION,
            correlation_id: 77,
            client_id: None,
        };
        let mut bytes = frame::begin_request(&header).unwrap();
        request.encode(&mut bytes, VERSION).unwrap();
        self.client.send_raw(&frame::finish(bytes).unwrap()).await;
        let frame = self.client.receive().await.expect("connection closed");
        let mut reader = Reader::shared(&frame);
        frame::decode_response_header(&mut reader, ApiKey::Fetch, VERSION).unwrap();
        let response = FetchResponse::<Bytes>::decode(&mut reader, VERSION).unwrap();
        let partition = &response.topics[0].partitions[0];
        assert_eq!(partition.error_code, NONE);
        let aborted = partition
            .aborted_transactions
            .as_ref()
            .map(|list| list.iter().map(|txn| (txn.producer_id, txn.first_offset)).collect());
        (partition.records.clone().unwrap_or_default(), aborted)
    }

    async fn state(&mut self) -> String {
        let request = DescribeTransactionsRequest {
            transactional_ids: vec![self.id.into()],
            ..DescribeTransactionsRequest::default()
        };
        self.client.call(0, &request).await.transaction_states[0].transaction_state.clone()
    }

    /// First offset of the open transaction of each producer in partition 0.
    async fn open_in_log(&mut self) -> Vec<(i64, i64)> {
        let request = DescribeProducersRequest {
            topics: vec![TopicRequest {
                name: "t".into(),
                partition_indexes: vec![0],
                ..TopicRequest::default()
            }],
            ..DescribeProducersRequest::default()
        };
        let response = self.client.call(0, &request).await;
        let producers = &response.topics[0].partitions[0].active_producers;
        producers
            .iter()
            .filter(|p| p.current_txn_start_offset >= 0)
            .map(|p| (p.producer_id, p.current_txn_start_offset))
            .collect()
    }
}

/// The rule of Kafka's consumers (`CompletedFetch`).
fn committed_values(records: &Bytes, aborted: &[(i64, i64)]) -> Vec<String> {
    let mut aborted = aborted.to_vec();
    aborted.sort_by_key(|(_, first)| *first);
    let mut skipping = std::collections::HashSet::new();
    let mut values = Vec::new();
    for batch in kafka_codec::records::Batches::new(records) {
        let batch = batch.unwrap();
        let producer = batch.header.producer_id;
        while aborted.first().is_some_and(|(_, first)| *first < batch.header.next_offset()) {
            skipping.insert(aborted.remove(0).0);
        }
        if batch.header.is_control() {
            skipping.remove(&producer);
            continue;
        }
        if batch.header.is_transactional() && skipping.contains(&producer) {
            continue;
        }
        let mut scratch = Vec::new();
        for record in kafka_codec::records::records(&batch, 1 << 20, &mut scratch).unwrap() {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_seen_whole_or_not_at_all() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "tx").await;
    let first = s.init().await;
    assert_eq!(s.write(13, 0, first, 0, &["a"]).await, (NONE, 0));
    assert_eq!(s.write(13, 1, first, 0, &["b"]).await, (NONE, 0));
    assert_eq!(s.state().await, "Ongoing");
    assert_eq!(s.open_in_log().await, [(first.id, 0)]);
    assert_eq!((s.end_offset(0, true).await, s.end_offset(0, false).await), (0, 1));
    assert_eq!(s.committed(0).await, Vec::<String>::new());
    let second = s.end(5, first, true).await.unwrap();
    assert_eq!(second, Producer { id: first.id, epoch: first.epoch + 1 });
    assert_eq!(s.state().await, "CompleteCommit");
    assert_eq!((s.end_offset(0, true).await, s.end_offset(0, false).await), (2, 2));
    assert_eq!(s.write(13, 0, second, 0, &["c"]).await, (NONE, 2));
    let third = s.end(5, second, false).await.unwrap();
    assert_eq!(s.state().await, "CompleteAbort");
    assert_eq!(s.write(13, 0, third, 0, &["d"]).await, (NONE, 4));
    s.end(5, third, true).await.unwrap();
    assert_eq!(s.committed(0).await, ["a", "d"]);
    assert_eq!(s.committed(1).await, ["b"]);
    let (_, aborted) = s.fetch(0, 1).await;
    assert_eq!(aborted.unwrap(), [(first.id, 2)]);
    let (_, aborted) = s.fetch(0, 0).await;
    assert_eq!(aborted, None, "read_uncommitted");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_clients_add_partitions_first() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "old").await;
    let who = s.init().await;
    assert_eq!(
        s.write(9, 0, who, 0, &["early"]).await.0,
        ErrorCode::InvalidTxnState.code(),
        "not in the transaction"
    );
    assert_eq!(s.write(11, 0, who, 0, &["early"]).await.0, ErrorCode::TransactionAbortable.code());
    assert_eq!(
        s.add_partitions(who, &[0, 7]).await,
        [ErrorCode::OperationNotAttempted.code(), ErrorCode::UnknownTopicOrPartition.code()]
    );
    assert_eq!(s.add_partitions(who, &[0]).await, [NONE]);
    assert_eq!(s.write(9, 0, who, 0, &["a"]).await, (NONE, 0));
    assert_eq!(s.write(9, 1, who, 0, &["a"]).await.0, ErrorCode::InvalidTxnState.code());
    s.end(3, who, true).await.unwrap();
    s.end(3, who, true).await.unwrap();
    assert_eq!(s.end(3, who, false).await, Err(ErrorCode::InvalidTxnState.code()));
    assert_eq!(
        s.write(9, 0, who, 1, &["late"]).await.0,
        ErrorCode::InvalidTxnState.code(),
        "after the end nothing is appended: it would hang"
    );
    assert_eq!(s.add_partitions(who, &[0]).await, [NONE]);
    assert_eq!(s.write(9, 0, who, 1, &["b"]).await, (NONE, 2));
    s.end(1, who, false).await.unwrap();
    assert_eq!(s.committed(0).await, ["a"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_used_again_after_an_abort_is_no_duplicate() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "again").await;
    let who = s.init().await;
    s.add_partitions(who, &[0]).await;
    assert_eq!(s.write(9, 0, who, 0, &["a"]).await, (NONE, 0));
    assert_eq!(s.write(9, 0, who, 0, &["a"]).await, (NONE, 0), "a retry within the transaction");
    s.end(3, who, false).await.unwrap();
    s.add_partitions(who, &[0]).await;
    let (error, _) = s.write(9, 0, who, 0, &["b"]).await;
    assert_eq!(
        error,
        ErrorCode::OutOfOrderSequenceNumber.code(),
        "never answered with the aborted record's offset"
    );
    assert_eq!(s.write(9, 0, who, 1, &["b"]).await.0, NONE);
    s.end(3, who, true).await.unwrap();
    assert_eq!(s.committed(0).await, ["b"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_or_twice_changes_nothing() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "late").await;
    let mut other = Session::open(&broker, "late").await;
    let first = s.init().await;
    s.write(13, 0, first, 0, &["a"]).await;
    let second = s.end(5, first, true).await.unwrap();
    assert_eq!(other.end(5, first, true).await, Ok(second), "repeated: the same answer");
    assert_eq!(other.end(5, first, false).await, Err(ErrorCode::InvalidTxnState.code()));
    s.write(13, 0, second, 0, &["b"]).await;
    let fenced = ErrorCode::ProducerFenced.code();
    assert_eq!(other.end(5, first, true).await, Err(fenced), "a delayed EndTxn");
    let (error, _) = other.write(13, 0, first, 1, &["z"]).await;
    assert_eq!(error, ErrorCode::InvalidProducerEpoch.code(), "a delayed Produce");
    assert_eq!(other.commit_offset(5, first, 3).await, ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(s.state().await, "Ongoing");
    s.end(5, second, true).await.unwrap();
    assert_eq!(s.committed(0).await, ["a", "b"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_aborts_and_fences_the_old_one() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "fence").await;
    let old = s.init().await;
    s.write(13, 0, old, 0, &["old"]).await;
    let mut successor = Session::open(&broker, "fence").await;
    let new = successor.init().await;
    assert!(new.id == old.id && new.epoch > old.epoch);
    assert_eq!(s.write(13, 0, old, 1, &["zombie"]).await.0, ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(s.end(5, old, true).await, Err(ErrorCode::ProducerFenced.code()));
    assert_eq!(s.try_init(Some(old)).await, Err(ErrorCode::ProducerFenced.code()));
    assert_eq!(successor.write(13, 0, new, 0, &["new"]).await.0, NONE);
    successor.end(5, new, true).await.unwrap();
    assert_eq!(s.committed(0).await, ["new"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_past_its_timeout_is_aborted() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "slow").await;
    let request = InitProducerIdRequest {
        transactional_id: Some("slow".into()),
        transaction_timeout_ms: 100,
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdRequest::default()
    };
    let given = s.client.call(5, &request).await;
    let who = Producer { id: given.producer_id, epoch: given.producer_epoch };
    assert_eq!(s.write(13, 0, who, 0, &["never"]).await.0, NONE);
    let end = tokio::time::Instant::now() + PATIENCE;
    while s.end_offset(0, true).await < 2 {
        assert!(tokio::time::Instant::now() < end, "the transaction hangs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(s.state().await, "CompleteAbort");
    for commit in [true, false] {
        assert_eq!(s.end(5, who, commit).await, Err(ErrorCode::ProducerFenced.code()));
    }
    assert_eq!(s.write(13, 0, who, 1, &["late"]).await.0, ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(s.committed(0).await, Vec::<String>::new());
    let too_long = InitProducerIdRequest { transaction_timeout_ms: 900_001, ..request };
    assert_eq!(s.client.call(5, &too_long).await.error_code, ErrorCode::InvalidTransactionTimeout.code());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_count_when_their_transaction_is_committed() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "offsets").await;
    let unstable = ErrorCode::UnstableOffsetCommit.code();
    let mut who = s.init().await;
    assert_eq!(s.commit_offset(5, who, 10).await, NONE);
    assert_eq!(s.offset(true).await, (unstable, -1));
    assert_eq!(s.offset(false).await, (NONE, -1));
    who = s.end(5, who, false).await.unwrap();
    assert_eq!(s.offset(true).await, (NONE, -1));
    assert_eq!(s.commit_offset(5, who, 20).await, NONE);
    who = s.end(5, who, true).await.unwrap();
    assert_eq!(s.offset(true).await, (NONE, 20));
    // The older way.
    let add = AddOffsetsToTxnRequest {
        transactional_id: "offsets".into(),
        producer_id: who.id,
        producer_epoch: who.epoch,
        group_id: "g".into(),
        ..AddOffsetsToTxnRequest::default()
    };
    assert_eq!(s.commit_offset(3, who, 30).await, ErrorCode::InvalidTxnState.code(), "not added");
    assert_eq!(s.client.call(3, &add).await.error_code, NONE);
    assert_eq!(s.commit_offset(3, who, 30).await, NONE);
    assert_eq!(s.offset(true).await, (unstable, -1));
    assert_eq!(s.offset(false).await, (NONE, 20));
    // They wait over a restart too.
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, SETTINGS).await;
    let mut s = Session::open(&broker, "offsets").await;
    assert_eq!(s.offset(true).await, (unstable, -1));
    s.end(3, who, true).await.unwrap();
    assert_eq!(s.offset(true).await, (NONE, 30));
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, SETTINGS).await;
    let mut s = Session::open(&broker, "offsets").await;
    assert_eq!(s.offset(true).await, (NONE, 30));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_neither_lose_nor_end_a_transaction() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "restart").await;
    let first = s.init().await;
    s.write(13, 0, first, 0, &["a"]).await;
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, SETTINGS).await;
    let mut s = Session::open(&broker, "restart").await;
    assert_eq!(s.state().await, "Ongoing");
    assert_eq!(s.end_offset(0, true).await, 0);
    assert_eq!(s.write(13, 1, first, 0, &["b"]).await, (NONE, 0));
    let second = s.end(5, first, true).await.unwrap();
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, SETTINGS).await;
    let mut s = Session::open(&broker, "restart").await;
    assert_eq!(s.end(5, first, true).await, Ok(second), "the answer was lost with the broker");
    assert_eq!((s.committed(0).await, s.committed(1).await), (vec!["a".to_owned()], vec!["b".to_owned()]));
    s.write(13, 0, second, 0, &["c"]).await;
    let third = s.end(5, second, false).await.unwrap();
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, SETTINGS).await;
    let mut s = Session::open(&broker, "restart").await;
    assert_eq!(s.committed(0).await, ["a"], "aborted stays aborted");
    s.write(13, 0, third, 0, &["d"]).await;
    s.end(5, third, true).await.unwrap();
    assert_eq!(s.committed(0).await, ["a", "d"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_writes_do_not_mix_into_a_transaction() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "mix").await;
    let who = s.init().await;
    s.write(13, 0, who, 0, &["a"]).await;
    let plain = crate::harness::idempotent_batch("x", who.id, who.epoch, 1);
    let target = crate::harness::Target::new("t");
    assert_eq!(s.client.produce(&target, &plain).await.0, ErrorCode::InvalidTxnState.code());
    let without_id = transactional(&["x"], who, 1);
    assert_eq!(
        s.client.produce(&target, &without_id).await.0,
        ErrorCode::TransactionalIdAuthorizationFailed.code()
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_and_end_transactions() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "seen").await;
    let who = s.init().await;
    s.write(13, 0, who, 0, &["a"]).await;
    let list = ListTransactionsRequest { duration_filter: -1, ..ListTransactionsRequest::default() };
    let listed = s.client.call(2, &list).await.transaction_states;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].transactional_id.as_str(), listed[0].producer_id), ("seen", who.id));
    let filtered =
        ListTransactionsRequest { state_filters: vec!["Empty".into(), "Nonsense".into()], ..list.clone() };
    let answer = s.client.call(2, &filtered).await;
    assert_eq!(
        (answer.transaction_states.len(), answer.unknown_state_filters),
        (0, vec!["Nonsense".to_owned()])
    );
    for (pattern, count) in [("se.*", 1), ("se", 0), (".*n", 1)] {
        let by_name =
            ListTransactionsRequest { transactional_id_pattern: Some(pattern.into()), ..list.clone() };
        assert_eq!(s.client.call(2, &by_name).await.transaction_states.len(), count, "{pattern}");
    }
    let broken = ListTransactionsRequest { transactional_id_pattern: Some("(".into()), ..list };
    assert_eq!(s.client.call(2, &broken).await.error_code, ErrorCode::InvalidRegularExpression.code());
    let unknown = DescribeTransactionsRequest {
        transactional_ids: vec!["nobody".into()],
        ..DescribeTransactionsRequest::default()
    };
    let described = s.client.call(0, &unknown).await;
    assert_eq!(described.transaction_states[0].error_code, ErrorCode::TransactionalIdNotFound.code());
    let abort = WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: who.id,
            producer_epoch: who.epoch,
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic {
                name: "t".into(),
                partition_indexes: vec![0, 9],
                ..WritableTxnMarkerTopic::default()
            }],
            coordinator_epoch: 0,
            ..WritableTxnMarker::default()
        }],
        ..WriteTxnMarkersRequest::default()
    };
    let answer = s.client.call(1, &abort).await;
    let codes: Vec<i16> = answer.markers[0].topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [NONE, ErrorCode::UnknownTopicOrPartition.code()]);
    assert_eq!(s.open_in_log().await, []);
    assert_eq!(s.committed(0).await, Vec::<String>::new());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_does_not_hold_its_transaction_up() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut s = Session::open(&broker, "deleted").await;
    let who = s.init().await;
    assert_eq!(s.commit_offset(5, who, 1).await, NONE);
    s.write(13, 0, who, 0, &["a"]).await;
    let delete = kafka_codec::messages::DeleteTopicsRequest {
        topic_names: vec!["t".into()],
        timeout_ms: 5_000,
        ..kafka_codec::messages::DeleteTopicsRequest::default()
    };
    assert_eq!(s.client.call(5, &delete).await.responses[0].error_code, NONE);
    s.end(5, who, true).await.unwrap();
    assert_eq!(s.state().await, "CompleteCommit");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_race_and_nothing_hangs() {
    let broker = TestBroker::start(SETTINGS).await;
    let mut setup = Session::open(&broker, "race").await;
    let mut tasks = tokio::task::JoinSet::new();
    // Two connections of one older producer: one writes on, the other ends. What got in behind an end would hang.
    let who = setup.init().await;
    let mut writer = Session::open(&broker, "race").await;
    let mut ender = Session::open(&broker, "race").await;
    tasks.spawn(async move {
        let mut sequence = 0;
        for round in 0..200 {
            writer.add_partitions(who, &[0]).await;
            if writer.write(9, 0, who, sequence, &[&round.to_string()]).await.0 == NONE {
                sequence += 1;
            }
        }
    });
    tasks.spawn(async move {
        for round in 0..200 {
            let _ = ender.end(3, who, round % 2 == 0).await;
        }
    });
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let _ = setup.end(3, who, false).await;
    assert_ne!(setup.state().await, "Ongoing");
    assert_eq!(setup.open_in_log().await, []);
    assert_eq!(setup.end_offset(0, true).await, setup.end_offset(0, false).await);
    broker.stop().await;
}

/// Pulls the plug: what was not synced may be gone in part; starts anew on what survived.
async fn pull_the_plug(broker: TestBroker, disk: &FaultStorage) -> (TestBroker, FaultStorage) {
    let disk = disk.restart();
    let dir = broker.stop().await;
    let broker = TestBroker::start_on(dir, Arc::new(disk.clone())).await;
    (broker, disk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_could_not_be_told_everywhere_is_completed_after_the_restart() {
    /// Goes straight to the segment, and is synced there.
    const DIRECT_BYTES: usize = 200_000;
    for commit in [true, false] {
        let disk = FaultStorage::new(7);
        let dir = tempfile::tempdir().unwrap();
        let broker = TestBroker::start_on(dir, Arc::new(disk.clone())).await;
        let mut s = Session::open(&broker, "half").await;
        let who = s.init().await;
        assert_eq!(s.write(13, 0, who, 0, &["a"]).await.0, NONE);
        assert_eq!(s.write(13, 1, who, 0, &["b"]).await.0, NONE);
        disk.fail_sync_of(Some("/t-1/"));
        let lost = "x".repeat(DIRECT_BYTES);
        assert_eq!(s.write(13, 1, who, 1, &[&lost]).await.0, ErrorCode::KafkaStorageError.code());
        disk.fail_sync_of(None);
        let next = s.end(5, who, commit).await.unwrap();
        assert_eq!(s.state().await, if commit { "PrepareCommit" } else { "PrepareAbort" });
        assert_eq!(s.try_init(None).await, Err(ErrorCode::ConcurrentTransactions.code()));
        assert_eq!(s.end(5, who, commit).await, Err(ErrorCode::ConcurrentTransactions.code()));
        // The partition that can be told is not held up.
        let end = tokio::time::Instant::now() + PATIENCE;
        while s.end_offset(0, true).await < 2 {
            assert!(tokio::time::Instant::now() < end, "the transaction hangs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (broker, _disk) = pull_the_plug(broker, &disk).await;
        let mut s = Session::open(&broker, "half").await;
        let end = tokio::time::Instant::now() + PATIENCE;
        while s.state().await != if commit { "CompleteCommit" } else { "CompleteAbort" } {
            assert!(tokio::time::Instant::now() < end, "the end is never completed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let again = loop {
            // Completed, and perhaps not durable yet.
            match s.end(5, who, commit).await {
                Err(code) if code == ErrorCode::ConcurrentTransactions.code() => {}
                other => break other,
            }
            assert!(tokio::time::Instant::now() < end, "the end is never durable");
        };
        assert_eq!(again, Ok(next));
        assert_eq!(s.open_in_log().await, []);
        assert_eq!(s.end_offset(1, true).await, s.end_offset(1, false).await);
        let seen = (s.committed(0).await, s.committed(1).await);
        if commit {
            assert_eq!(seen.0, ["a"]);
            assert_eq!(seen.1.first().map(String::as_str), Some("b"));
        } else {
            assert_eq!(seen, (Vec::new(), Vec::new()));
        }
        broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn power_failures_tear_no_transaction() {
    /// One goes through the journal, one does not.
    const SIZES: [usize; 2] = [10, 60_000];
    for seed in 0..12 {
        let disk = FaultStorage::new(seed);
        let dir = tempfile::tempdir().unwrap();
        let broker = TestBroker::start_on(dir, Arc::new(disk.clone())).await;
        let mut s = Session::open(&broker, "torn").await;
        let mut who = s.init().await;
        let mut acknowledged = Vec::new();
        for round in 0..4 + seed % 3 {
            let commit = round % 3 != 2;
            for partition in [0, 1] {
                let text =
                    format!("{round}:{}", "x".repeat(SIZES[(round + partition as u64 + seed) as usize % 2]));
                assert_eq!(s.write(13, partition, who, 0, &[&text]).await.0, NONE);
            }
            who = s.end(5, who, commit).await.unwrap();
            if commit {
                acknowledged.push(round);
            }
        }
        // The last one is on its way when the power goes: begun, written, ended, nobody waits for any answer.
        let mut late = Session::open(&broker, "torn").await;
        let hurry = tokio::spawn(async move {
            for partition in [0, 1] {
                let text = format!("99:{}", "x".repeat(SIZES[partition as usize]));
                late.write(13, partition, who, 0, &[&text]).await;
            }
            let _ = late.end(5, who, true).await;
        });
        for _ in 0..seed * 3 {
            tokio::task::yield_now().await;
        }
        let survived = disk.restart();
        hurry.abort();
        let dir = broker.stop().await;
        let broker = TestBroker::start_on(dir, Arc::new(survived)).await;
        let mut s = Session::open(&broker, "torn").await;
        s.init().await;
        assert_eq!(s.open_in_log().await, [], "seed {seed}: hangs");
        let mut seen = Vec::new();
        for partition in [0, 1] {
            assert_eq!(
                s.end_offset(partition, true).await,
                s.end_offset(partition, false).await,
                "seed {seed}"
            );
            let values = s.committed(partition).await;
            let rounds = values.iter().map(|v| v.split(':').next().unwrap().parse::<u64>().unwrap());
            seen.push(rounds.collect::<Vec<u64>>());
        }
        assert_eq!(seen[0], seen[1], "seed {seed}: torn");
        let last = seen[0].iter().filter(|round| **round != 99).copied().collect::<Vec<_>>();
        assert_eq!(last, acknowledged, "seed {seed}: lost, or aborted and seen");
        broker.stop().await;
    }
}
