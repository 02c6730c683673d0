//! A broker of one partition per topic in memory, that can be told to misbehave. It keeps Kafka's rules for
//! idempotent producers, so that a test can see whether records really arrive once and in order.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kafka_codec::messages::api_versions_response::ApiVersion;
use kafka_codec::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_codec::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_codec::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_codec::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_codec::messages::{
    ApiVersionsResponse, FetchRequest, FetchResponse, InitProducerIdResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
};
use kafka_codec::records::{Batch, records, set_base_offset};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, ErrorCode, Message, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is served.
    Serve,
    /// Refused with this error, nothing is written.
    Refuse(ErrorCode),
    /// Served, but the connection ends before the answer.
    DropAfter,
    /// The connection ends before it is served.
    DropBefore,
    /// Served, and the connection ends inside the answer.
    DropMidFrame,
    /// Served, and never answered.
    Silence,
    /// Answered with bytes that mean nothing.
    Garbage,
    /// Answered with a frame that says it is 2 GiB long.
    Endless,
}

/// The producer state of the partition.
#[derive(Clone, Debug)]
struct ProducerEntry {
    epoch: i16,
    next: i32,
    /// Base sequence and offset of the last five batches.
    recent: VecDeque<(i32, i64)>,
}

#[derive(Default)]
pub struct State {
    /// Batches with their base offsets.
    log: Vec<(i64, Vec<u8>)>,
    end: i64,
    producers: HashMap<i64, ProducerEntry>,
    pub faults: HashMap<ApiKey, VecDeque<Fault>>,
    /// Requests seen.
    pub seen: HashMap<ApiKey, usize>,
    /// Highest versions to offer, where not Kafka 4's.
    pub newest: HashMap<ApiKey, i16>,
    /// Highest ApiVersions that is understood.
    pub api_versions_newest: Option<i16>,
    /// First offset that is still there.
    pub start: i64,
}

impl State {
    /// Values of all records, in log order.
    pub fn values(&self) -> Vec<String> {
        let mut values = Vec::new();
        for (_, bytes) in &self.log {
            let batch = Batch::first(bytes).unwrap();
            let mut scratch = Vec::new();
            for record in records(&batch, 1 << 24, &mut scratch).unwrap() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
        values
    }

    /// Loses the last batches and what is known of their producers, as an unclean leader election does.
    pub fn lose_last(&mut self, batches: usize) {
        let keep = self.log.len().saturating_sub(batches);
        self.log.truncate(keep);
        let all = std::mem::take(&mut self.log);
        self.producers.clear();
        self.end = 0;
        for (_, batch) in all {
            assert_eq!(self.append(&batch).0, ErrorCode::None);
        }
    }

    /// Flips a bit in the last batch.
    pub fn corrupt_last(&mut self) {
        if let Some(byte) = self.log.last_mut().and_then(|(_, batch)| batch.last_mut()) {
            *byte ^= 1;
        }
    }

    pub fn repair_last(&mut self) {
        self.corrupt_last();
    }

    /// Kafka's `ProducerStateManager`, shortened.
    fn append(&mut self, bytes: &[u8]) -> (ErrorCode, i64) {
        let batch = Batch::first(bytes).unwrap();
        batch.check_crc().unwrap();
        let header = batch.header;
        if header.producer_id >= 0 {
            let next = header.base_sequence + header.record_count;
            match self.producers.get_mut(&header.producer_id) {
                None => {
                    let recent = VecDeque::from([(header.base_sequence, self.end)]);
                    let entry = ProducerEntry { epoch: header.producer_epoch, next, recent };
                    self.producers.insert(header.producer_id, entry);
                }
                Some(entry) if header.producer_epoch < entry.epoch => {
                    return (ErrorCode::InvalidProducerEpoch, -1);
                }
                Some(entry) if header.producer_epoch > entry.epoch => {
                    if header.base_sequence != 0 {
                        return (ErrorCode::OutOfOrderSequenceNumber, -1);
                    }
                    let recent = VecDeque::from([(0, self.end)]);
                    *entry = ProducerEntry { epoch: header.producer_epoch, next, recent };
                }
                Some(entry) => {
                    if let Some((_, offset)) =
                        entry.recent.iter().find(|(base, _)| *base == header.base_sequence)
                    {
                        return (ErrorCode::None, *offset);
                    }
                    if header.base_sequence != entry.next {
                        return (ErrorCode::OutOfOrderSequenceNumber, -1);
                    }
                    entry.next = next;
                    entry.recent.push_back((header.base_sequence, self.end));
                    if entry.recent.len() > 5 {
                        entry.recent.pop_front();
                    }
                }
            }
        }
        let offset = self.end;
        let mut bytes = bytes.to_vec();
        set_base_offset(&mut bytes, offset);
        self.end += i64::from(header.record_count);
        self.log.push((offset, bytes));
        (ErrorCode::None, offset)
    }

    fn fault(&mut self, api: ApiKey) -> Fault {
        *self.seen.entry(api).or_default() += 1;
        self.faults.get_mut(&api).and_then(VecDeque::pop_front).unwrap_or(Fault::Serve)
    }
}

/// A running broker; ends when it is dropped.
pub struct FakeBroker {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeBroker {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                connections.spawn(serve(stream, Arc::clone(&shared), address));
            }
        });
        Self { address, state, task }
    }

    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Faults for the next requests of one kind.
    pub fn faults(&self, api: ApiKey, faults: &[Fault]) {
        self.state().faults.entry(api).or_default().extend(faults);
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, address: SocketAddr) {
    loop {
        let mut size = [0; 4];
        if stream.read_exact(&mut size).await.is_err() {
            return;
        }
        let mut bytes = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        if stream.read_exact(&mut bytes).await.is_err() {
            return;
        }
        let bytes = Bytes::from(bytes);
        let mut reader = Reader::shared(&bytes);
        let header = frame::RequestHeader::decode(&mut reader).unwrap();
        let (api, version, id) = (header.key, header.version, header.correlation_id);
        let fault = state.lock().unwrap_or_else(PoisonError::into_inner).fault(api);
        if fault == Fault::DropBefore {
            return;
        }
        let answer = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let refuse = match fault {
                Fault::Refuse(code) => Some(code),
                _ => None,
            };
            answer(&mut state, &mut reader, api, version, id, address, refuse)
        };
        let (answer, acks_none) = match answer {
            Some(answer) => (answer, false),
            None => (Bytes::new(), true),
        };
        let sent = match fault {
            _ if acks_none => Ok(()),
            Fault::DropAfter => return,
            Fault::Silence => Ok(()),
            Fault::DropMidFrame => {
                let _ = stream.write_all(&answer[..answer.len() / 2]).await;
                return;
            }
            Fault::Garbage => {
                let mut garbage = 12_i32.to_be_bytes().to_vec();
                garbage.extend(id.to_be_bytes());
                garbage.extend([0xff; 8]);
                stream.write_all(&garbage).await
            }
            Fault::Endless => stream.write_all(&i32::MAX.to_be_bytes()).await,
            Fault::Serve | Fault::Refuse(_) | Fault::DropBefore => stream.write_all(&answer).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

const OFFERED: [(ApiKey, i16); 6] = [
    (ApiKey::Produce, 12),
    (ApiKey::Fetch, 12),
    (ApiKey::ListOffsets, 10),
    (ApiKey::Metadata, 13),
    (ApiKey::ApiVersions, 4),
    (ApiKey::InitProducerId, 5),
];

fn answer(
    state: &mut State,
    reader: &mut Reader<'_>,
    api: ApiKey,
    version: i16,
    id: i32,
    address: SocketAddr,
    refuse: Option<ErrorCode>,
) -> Option<Bytes> {
    let code = refuse.unwrap_or(ErrorCode::None).code();
    let reply = match api {
        ApiKey::ApiVersions => {
            let newest = state.api_versions_newest.unwrap_or(4);
            let offer = |(key, most): &(ApiKey, i16)| ApiVersion {
                api_key: key.as_i16(),
                min_version: 0,
                max_version: state.newest.get(key).copied().unwrap_or(*most),
                ..ApiVersion::default()
            };
            let mut body =
                ApiVersionsResponse { api_keys: OFFERED.iter().map(offer).collect(), ..Default::default() };
            if version > newest {
                body.error_code = ErrorCode::UnsupportedVersion.code();
                // Kafka before 2.4 told nothing more.
                body.api_keys.clear();
                return Some(frame::response(api, &body, 0, id).unwrap());
            }
            frame::response(api, &body, version, id)
        }
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(reader, version).unwrap();
            let partition = MetadataResponsePartition {
                leader_id: 1,
                leader_epoch: 0,
                replica_nodes: vec![1],
                isr_nodes: vec![1],
                ..Default::default()
            };
            let topic = |name: Option<String>| MetadataResponseTopic {
                name,
                error_code: code,
                partitions: vec![partition.clone()],
                ..Default::default()
            };
            let topics = request.topics.unwrap_or_default().into_iter().map(|t| topic(t.name)).collect();
            let broker = MetadataResponseBroker {
                node_id: 1,
                host: address.ip().to_string(),
                port: i32::from(address.port()),
                ..Default::default()
            };
            let body =
                MetadataResponse { brokers: vec![broker], controller_id: 1, topics, ..Default::default() };
            frame::response(api, &body, version, id)
        }
        ApiKey::InitProducerId => {
            let body = InitProducerIdResponse {
                error_code: code,
                producer_id: 4_000,
                producer_epoch: 0,
                ..Default::default()
            };
            frame::response(api, &body, version, id)
        }
        ApiKey::Produce => {
            let request = ProduceRequest::decode(reader, version).unwrap();
            let mut topics = Vec::new();
            for topic in request.topic_data {
                let mut partitions = Vec::new();
                for data in topic.partition_data {
                    let (code, offset) = match refuse {
                        Some(code) => (code, -1),
                        None => state.append(&data.records.unwrap()),
                    };
                    partitions.push(PartitionProduceResponse {
                        index: data.index,
                        error_code: code.code(),
                        base_offset: offset,
                        ..Default::default()
                    });
                }
                topics.push(TopicProduceResponse {
                    name: topic.name,
                    partition_responses: partitions,
                    ..Default::default()
                });
            }
            if request.acks == 0 {
                return None;
            }
            let body = ProduceResponse { responses: topics, ..Default::default() };
            frame::response(api, &body, version, id)
        }
        ApiKey::ListOffsets => {
            let request = ListOffsetsRequest::decode(reader, version).unwrap();
            let topic = |t: kafka_codec::messages::list_offsets_request::ListOffsetsTopic| {
                let partition = |p: kafka_codec::messages::list_offsets_request::ListOffsetsPartition| {
                    ListOffsetsPartitionResponse {
                        partition_index: p.partition_index,
                        error_code: code,
                        offset: if p.timestamp == -2 { state.start } else { state.end },
                        ..Default::default()
                    }
                };
                ListOffsetsTopicResponse {
                    name: t.name,
                    partitions: t.partitions.into_iter().map(partition).collect(),
                    ..Default::default()
                }
            };
            let body = ListOffsetsResponse {
                topics: request.topics.into_iter().map(topic).collect(),
                ..Default::default()
            };
            frame::response(api, &body, version, id)
        }
        ApiKey::Fetch => {
            let request = FetchRequest::decode(reader, version).unwrap();
            let mut responses = Vec::new();
            for topic in request.topics {
                let mut partitions = Vec::new();
                for p in topic.partitions {
                    let outside = p.fetch_offset < state.start || p.fetch_offset > state.end;
                    let code = match refuse {
                        Some(code) => code,
                        None if outside => ErrorCode::OffsetOutOfRange,
                        None => ErrorCode::None,
                    };
                    let wanted = state.log.iter().filter(|(base, batch)| {
                        base + i64::from(Batch::first(batch).unwrap().header.record_count) > p.fetch_offset
                    });
                    let records: Vec<u8> = match code {
                        ErrorCode::None => wanted.flat_map(|(_, batch)| batch.iter().copied()).collect(),
                        _ => Vec::new(),
                    };
                    partitions.push(PartitionData {
                        partition_index: p.partition,
                        error_code: code.code(),
                        high_watermark: state.end,
                        last_stable_offset: state.end,
                        records: Some(records.into()),
                        ..Default::default()
                    });
                }
                responses.push(FetchableTopicResponse {
                    topic: topic.topic,
                    partitions,
                    ..Default::default()
                });
            }
            let body = FetchResponse { responses, ..Default::default() };
            frame::response(api, &body, version, id)
        }
        other => panic!("a fake broker does not know {other}"),
    };
    Some(reply.unwrap())
}
