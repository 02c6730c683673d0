//! The hand-written produce and fetch against the generated ones.

use bytes::Bytes;
use kafka_codec::fetch::{
    self, AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    ForgottenTopic, Part, PartitionFetchResponse, TopicFetchResponse,
};
use kafka_codec::frame::{self, RequestHeader};
use kafka_codec::produce::{
    self, LeaderIdAndEpoch, NodeEndpoint, PartitionProduce, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduce, TopicProduceResponse,
};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, DecodeError, Message, Uuid, messages};

use super::bounded::peak_bytes;
use super::random::Random;

const NAMES: [&str; 4] = ["", "a", "topic-name", "köln"];
const ROUNDS: u64 = 300;

fn name(random: &mut Random) -> &'static str {
    NAMES[random.below(NAMES.len())]
}

fn some<T>(random: &mut Random, value: T) -> Option<T> {
    if random.chance(3) { None } else { Some(value) }
}

fn list<T>(random: &mut Random, mut element: impl FnMut(&mut Random) -> T) -> Vec<T> {
    (0..random.below(4)).map(|_| element(random)).collect()
}

fn topic_key(random: &mut Random, version: i16) -> (&'static str, Uuid) {
    match version >= 13 {
        true => ("", Uuid(random.next().to_be_bytes().repeat(2).try_into().unwrap())),
        false => (name(random), Uuid::ZERO),
    }
}

fn leader(random: &mut Random, present: bool) -> LeaderIdAndEpoch {
    if !present || random.chance(2) {
        return LeaderIdAndEpoch::default();
    }
    LeaderIdAndEpoch { leader_id: random.next() as i32, leader_epoch: 4 }
}

fn endpoints(random: &mut Random, present: bool) -> Vec<NodeEndpoint<'static>> {
    if !present {
        return Vec::new();
    }
    list(random, |r| NodeEndpoint {
        node_id: 3,
        host: name(r),
        port: 9092,
        rack: {
            let n = name(r);
            some(r, n)
        },
    })
}

fn records(random: &mut Random) -> Option<Bytes> {
    let len = random.below(40);
    let bytes = random.bytes(len).into();
    some(random, bytes)
}

/// What the generated codec makes of these bytes must be the same bytes again.
fn generated_agrees<M: Message>(body: &[u8], version: i16) {
    let mut r = Reader::new(body);
    let message = M::decode(&mut r, version).unwrap_or_else(|e| panic!("{} v{version}: {e}", M::NAME));
    r.finish().unwrap();
    let mut again = Vec::new();
    message.encode(&mut again, version).unwrap();
    assert_eq!(again, body, "{} v{version}", M::NAME);
}

/// Damaged bytes: both codecs take or refuse them alike, and memory stays bounded.
fn damage_is_treated_alike<M: Message>(
    body: &[u8],
    version: i16,
    random: &mut Random,
    by_hand: impl Fn(&Bytes) -> Result<(), DecodeError>,
) {
    for _ in 0..20 {
        let mut damaged = body.to_vec();
        random.mutate(&mut damaged);
        let damaged = Bytes::from(damaged);
        let (hand, bytes) = peak_bytes(|| by_hand(&damaged));
        assert!(
            bytes <= damaged.len() * 100 + 512,
            "{} v{version}: {bytes} bytes for {}",
            M::NAME,
            damaged.len()
        );
        let generated = M::decode(&mut Reader::shared(&damaged), version).map(drop);
        assert_eq!(hand.is_ok(), generated.is_ok(), "{} v{version}: {hand:?}, {generated:?}", M::NAME);
    }
}

fn body_of(frame: &[u8], key: ApiKey, version: i16) -> Bytes {
    let (length, rest) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(i32::from_be_bytes(*length) as usize, rest.len(), "length of the frame");
    let mut r = Reader::new(rest);
    let header = RequestHeader::decode(&mut r).unwrap();
    assert_eq!((header.key, header.version, header.correlation_id), (key, version, 77));
    Bytes::copy_from_slice(r.rest())
}

fn response_body_of(frame: &[u8], key: ApiKey, version: i16) -> Bytes {
    let (length, rest) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(i32::from_be_bytes(*length) as usize, rest.len(), "length of the frame");
    let mut r = Reader::new(rest);
    assert_eq!(frame::decode_response_header(&mut r, key, version).unwrap(), 77);
    Bytes::copy_from_slice(r.rest())
}

#[test]
fn produce_requests() {
    for version in produce::VERSIONS {
        let mut random = Random::new(1 + version as u64);
        for _ in 0..ROUNDS {
            let random = &mut random;
            let request = ProduceRequest {
                transactional_id: {
                    let n = name(random);
                    some(random, n)
                },
                acks: random.next() as i16,
                timeout_ms: random.next() as i32,
                topics: list(random, |r| {
                    let (name, topic_id) = topic_key(r, version);
                    let partitions =
                        list(r, |r| PartitionProduce { index: r.next() as i32, records: records(r) });
                    TopicProduce { name, topic_id, partitions }
                }),
            };
            let pieces = request.encode_frame(version, 77, Some("c")).unwrap();
            let body = body_of(&pieces.concat(), ApiKey::Produce, version);
            generated_agrees::<messages::ProduceRequest>(&body, version);
            let mut r = Reader::shared(&body);
            assert_eq!(ProduceRequest::decode(&mut r, version).unwrap(), request);
            r.finish().unwrap();
            damage_is_treated_alike::<messages::ProduceRequest>(&body, version, random, |b| {
                ProduceRequest::decode(&mut Reader::shared(b), version).map(drop)
            });
        }
    }
}

#[test]
fn records_are_slices_of_the_frame() {
    let request = ProduceRequest {
        topics: vec![TopicProduce {
            name: "t",
            partitions: vec![PartitionProduce { index: 0, records: Some(vec![9; 100_000].into()) }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = body_of(&request.encode_frame(9, 77, None).unwrap().concat(), ApiKey::Produce, 9);
    let (decoded, bytes) = peak_bytes(|| ProduceRequest::decode(&mut Reader::shared(&body), 9).unwrap());
    let records = decoded.topics[0].partitions[0].records.clone().unwrap();
    assert!(body.as_ptr_range().contains(&records.as_ptr()));
    assert!(bytes < 1000, "{bytes}");
}

#[test]
fn produce_responses() {
    for version in produce::VERSIONS {
        let mut random = Random::new(2 + version as u64);
        for _ in 0..ROUNDS {
            let random = &mut random;
            let response = ProduceResponse {
                topics: list(random, |r| {
                    let (name, topic_id) = topic_key(r, version);
                    let partitions = list(r, |r| produce_result(r, version));
                    TopicProduceResponse { name, topic_id, partitions }
                }),
                throttle_time_ms: random.next() as i32,
                node_endpoints: endpoints(random, version >= 10),
            };
            let frame = response.encode_frame(version, 77).unwrap();
            let body = response_body_of(&frame, ApiKey::Produce, version);
            generated_agrees::<messages::ProduceResponse>(&body, version);
            assert_eq!(ProduceResponse::decode(&mut Reader::new(&body), version).unwrap(), response);
            damage_is_treated_alike::<messages::ProduceResponse>(&body, version, random, |b| {
                ProduceResponse::decode(&mut Reader::shared(b), version).map(drop)
            });
        }
    }
}

fn produce_result(random: &mut Random, version: i16) -> PartitionProduceResponse<'static> {
    let mut p = PartitionProduceResponse {
        index: random.next() as i32,
        error_code: random.next() as i16,
        base_offset: random.next() as i64,
        log_append_time_ms: random.next() as i64,
        current_leader: leader(random, version >= 10),
        ..Default::default()
    };
    if version >= 5 {
        p.log_start_offset = random.next() as i64;
    }
    if version >= 8 {
        p.record_errors = list(random, |r| {
            (r.next() as i32, {
                let n = name(r);
                some(r, n)
            })
        });
        p.error_message = {
            let n = name(random);
            some(random, n)
        };
    }
    p
}

#[test]
fn fetch_requests() {
    for version in fetch::VERSIONS {
        let mut random = Random::new(3 + version as u64);
        for _ in 0..ROUNDS {
            let request = fetch_request(&mut random, version);
            let frame = request.encode_frame(version, 77, None).unwrap();
            let body = body_of(&frame, ApiKey::Fetch, version);
            generated_agrees::<messages::FetchRequest>(&body, version);
            assert_eq!(FetchRequest::decode(&mut Reader::new(&body), version).unwrap(), request);
            damage_is_treated_alike::<messages::FetchRequest>(&body, version, &mut random, |b| {
                FetchRequest::decode(&mut Reader::shared(b), version).map(drop)
            });
        }
    }
}

fn fetch_request(random: &mut Random, version: i16) -> FetchRequest<'static> {
    let mut request = FetchRequest {
        replica_id: if random.chance(2) { -1 } else { 5 },
        max_wait_ms: random.next() as i32,
        min_bytes: random.next() as i32,
        max_bytes: random.next() as i32,
        isolation_level: random.next() as i8,
        topics: list(random, |r| {
            let (topic, topic_id) = topic_key(r, version);
            FetchTopic { topic, topic_id, partitions: list(r, |r| fetch_partition(r, version)) }
        }),
        ..Default::default()
    };
    if version >= 7 {
        (request.session_id, request.session_epoch) = (random.next() as i32, 3);
        request.forgotten = list(random, |r| {
            let (topic, topic_id) = topic_key(r, version);
            ForgottenTopic { topic, topic_id, partitions: list(r, |r| r.next() as i32) }
        });
    }
    if version >= 11 {
        request.rack_id = name(random);
    }
    if version >= 12 {
        request.cluster_id = {
            let n = name(random);
            some(random, n)
        };
    }
    if version >= 15 && random.chance(2) {
        request.replica_epoch = random.next() as i64;
    }
    request
}

fn fetch_partition(random: &mut Random, version: i16) -> FetchPartition {
    let mut p = FetchPartition {
        partition: random.next() as i32,
        fetch_offset: random.next() as i64,
        partition_max_bytes: random.next() as i32,
        ..Default::default()
    };
    if version >= 5 {
        p.log_start_offset = random.next() as i64;
    }
    if version >= 9 {
        p.current_leader_epoch = random.next() as i32;
    }
    if version >= 12 {
        p.last_fetched_epoch = random.next() as i32;
    }
    if version >= 17 && random.chance(2) {
        p.replica_directory_id = Uuid([6; 16]);
    }
    if version >= 18 && random.chance(2) {
        p.high_watermark = random.next() as i64;
    }
    p
}

#[test]
fn fetch_responses() {
    for version in fetch::VERSIONS {
        let mut random = Random::new(4 + version as u64);
        for _ in 0..ROUNDS {
            let random = &mut random;
            let response = fetch_response(random, version);
            // In memory, …
            let frame = filled(&response.encode_frame(version, 77).unwrap(), &response);
            let body = response_body_of(&frame, ApiKey::Fetch, version);
            generated_agrees::<messages::FetchResponse>(&body, version);
            let mut r = Reader::shared(&body);
            assert_eq!(FetchResponse::decode(&mut r, version).unwrap(), response);
            // … and with lengths only: the same frame.
            assert_eq!(filled(&lengths(&response).encode_frame(version, 77).unwrap(), &response), frame);
            damage_is_treated_alike::<messages::FetchResponse>(&body, version, random, |b| {
                FetchResponse::decode(&mut Reader::shared(b), version).map(drop)
            });
        }
    }
}

fn fetch_response(random: &mut Random, version: i16) -> FetchResponse<'static, Bytes> {
    let mut response = FetchResponse {
        throttle_time_ms: random.next() as i32,
        topics: list(random, |r| {
            let (topic, topic_id) = topic_key(r, version);
            TopicFetchResponse { topic, topic_id, partitions: list(r, |r| fetch_result(r, version)) }
        }),
        node_endpoints: endpoints(random, version >= 16),
        ..Default::default()
    };
    if version >= 7 {
        (response.error_code, response.session_id) = (random.next() as i16, random.next() as i32);
    }
    response
}

fn fetch_result(random: &mut Random, version: i16) -> PartitionFetchResponse<Bytes> {
    let aborted = list(random, |r| AbortedTransaction { producer_id: r.next() as i64, first_offset: 8 });
    let epoch = |random: &mut Random| match version >= 12 && random.chance(2) {
        true => EpochEndOffset { epoch: 3, end_offset: random.next() as i64 },
        false => EpochEndOffset::default(),
    };
    PartitionFetchResponse {
        partition_index: random.next() as i32,
        error_code: random.next() as i16,
        high_watermark: random.next() as i64,
        last_stable_offset: random.next() as i64,
        log_start_offset: if version >= 5 { random.next() as i64 } else { -1 },
        diverging_epoch: epoch(random),
        current_leader: leader(random, version >= 12),
        snapshot_id: epoch(random),
        aborted_transactions: some(random, aborted),
        preferred_read_replica: if version >= 11 { random.next() as i32 } else { -1 },
        records: records(random),
    }
}

/// The same response with lengths in the place of records.
fn lengths<'a>(response: &FetchResponse<'a, Bytes>) -> FetchResponse<'a, usize> {
    let topics = response.topics.iter().map(|t| TopicFetchResponse {
        topic: t.topic,
        topic_id: t.topic_id,
        partitions: t
            .partitions
            .iter()
            .map(|p| PartitionFetchResponse {
                partition_index: p.partition_index,
                error_code: p.error_code,
                high_watermark: p.high_watermark,
                last_stable_offset: p.last_stable_offset,
                log_start_offset: p.log_start_offset,
                diverging_epoch: p.diverging_epoch,
                current_leader: p.current_leader,
                snapshot_id: p.snapshot_id,
                aborted_transactions: p.aborted_transactions.clone(),
                preferred_read_replica: p.preferred_read_replica,
                records: p.records.as_ref().map(Bytes::len),
            })
            .collect(),
    });
    FetchResponse {
        throttle_time_ms: response.throttle_time_ms,
        error_code: response.error_code,
        session_id: response.session_id,
        topics: topics.collect(),
        node_endpoints: response.node_endpoints.clone(),
    }
}

/// What goes over the wire when the records are sent where the parts say.
fn filled(parts: &[Part], response: &FetchResponse<'_, Bytes>) -> Vec<u8> {
    let records: Vec<&Bytes> =
        response.topics.iter().flat_map(|t| &t.partitions).filter_map(|p| p.records.as_ref()).collect();
    let mut frame = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) => frame.extend_from_slice(bytes),
            Part::Records { index, bytes } => {
                assert_eq!(records[*index].len(), *bytes);
                frame.extend_from_slice(records[*index]);
            }
        }
    }
    frame
}

#[test]
fn versions_outside_the_range_are_refused() {
    for version in [-1, 2, 14] {
        assert!(ProduceRequest::decode(&mut Reader::new(&[0; 50]), version).is_err());
        assert!(ProduceResponse::default().encode(&mut Vec::new(), version).is_err());
    }
    for version in [3, 19] {
        assert!(FetchRequest::decode(&mut Reader::new(&[0; 50]), version).is_err());
        assert!(FetchRequest::default().encode(&mut Vec::new(), version).is_err());
    }
    let forgotten = FetchRequest { forgotten: vec![ForgottenTopic::default()], ..Default::default() };
    assert!(forgotten.encode(&mut Vec::new(), 6).is_err());
}
