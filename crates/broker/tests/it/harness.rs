//! Starting brokers and speaking to them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerConfig, BrokerHandle};
use bytes::Bytes;
use kafka_codec::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use kafka_codec::frame::{self, RequestHeader};
use kafka_codec::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_codec::messages::metadata_request::MetadataRequestTopic;
use kafka_codec::messages::{CreateTopicsRequest, MetadataRequest};
use kafka_codec::produce::{PartitionProduce, ProduceRequest, ProduceResponse, TopicProduce};
use kafka_codec::records::{BatchBuilder, Compression};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, Message, Request, Uuid};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A broker in a directory of its own.
pub struct TestBroker {
    pub handle: BrokerHandle,
    pub dir: TempDir,
}

impl TestBroker {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings).await
    }

    pub async fn start_in(dir: TempDir, settings: &[(&str, &str)]) -> Self {
        let handle = start(dir.path(), settings).await.unwrap();
        Self { handle, dir }
    }

    /// A broker whose logs lie on `storage`; only `meta.properties` is in `dir`.
    pub async fn start_on(dir: TempDir, storage: Arc<dyn log::Storage>) -> Self {
        let handle = Broker::start_on(config(dir.path(), &[]), storage).await.unwrap();
        Self { handle, dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.listeners()[0].address
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// Stops the broker cleanly and keeps its directory.
    pub async fn stop(self) -> TempDir {
        self.handle.shutdown().await;
        self.dir
    }
}

pub async fn start(dir: &Path, settings: &[(&str, &str)]) -> Result<BrokerHandle, broker::BrokerError> {
    Broker::start(config(dir, settings)).await
}

fn config(dir: &Path, settings: &[(&str, &str)]) -> BrokerConfig {
    let mut all = vec![
        ("log.dirs", dir.to_str().unwrap()),
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("journal.bytes", "4194304"),
    ];
    all.extend_from_slice(settings);
    let (config, _notes) = BrokerConfig::from_properties(all).unwrap();
    config
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    next_id: i32,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), next_id: 1 }
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// One frame without its length; `None` when the broker closed the connection.
    pub async fn receive(&mut self) -> Option<Bytes> {
        let reading = async {
            let len = self.stream.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(len).unwrap()];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("no answer in time")
    }

    /// Sends a request; answers its correlation id.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let frame = frame::request(request, version, id, Some("test")).unwrap();
        self.send_raw(&frame).await;
        id
    }

    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request).await;
        let frame = self.receive().await.expect("connection closed");
        let mut reader = Reader::shared(&frame);
        assert_eq!(frame::decode_response_header(&mut reader, R::KEY, version).unwrap(), id);
        let response = R::Response::decode(&mut reader, version).unwrap();
        reader.finish().unwrap();
        response
    }

    pub async fn send_produce(&mut self, version: i16, request: &ProduceRequest<'_>) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        for part in request.encode_frame(version, id, Some("test")).unwrap() {
            self.send_raw(&part).await;
        }
        id
    }

    /// Produces one batch; answers (error code, base offset).
    pub async fn produce(&mut self, to: &Target<'_>, batch: &Bytes) -> (i16, i64) {
        self.produce_with(9, -1, to, batch).await
    }

    pub async fn produce_with(
        &mut self,
        version: i16,
        acks: i16,
        to: &Target<'_>,
        batch: &Bytes,
    ) -> (i16, i64) {
        let request = produce_request(acks, to, batch.clone());
        self.send_produce(version, &request).await;
        let frame = self.receive().await.expect("connection closed");
        let mut reader = Reader::shared(&frame);
        frame::decode_response_header(&mut reader, ApiKey::Produce, version).unwrap();
        let response = ProduceResponse::decode(&mut reader, version).unwrap();
        reader.finish().unwrap();
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.base_offset)
    }

    /// Fetches; answers (error code, high watermark, records) of the first partition.
    pub async fn fetch(&mut self, wanted: &Fetch<'_>) -> Fetched {
        let id = self.send_fetch(wanted).await;
        self.receive_fetch(wanted.version, id).await
    }

    pub async fn send_fetch(&mut self, wanted: &Fetch<'_>) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let header = RequestHeader {
            key: ApiKey::Fetch,
            version: wanted.version,
            correlation_id: id,
            client_id: None,
        };
        let mut bytes = frame::begin_request(&header).unwrap();
        wanted.request().encode(&mut bytes, wanted.version).unwrap();
        self.send_raw(&frame::finish(bytes).unwrap()).await;
        id
    }

    pub async fn receive_fetch(&mut self, version: i16, id: i32) -> Fetched {
        let frame = self.receive().await.expect("connection closed");
        let mut reader = Reader::shared(&frame);
        assert_eq!(frame::decode_response_header(&mut reader, ApiKey::Fetch, version).unwrap(), id);
        let response = FetchResponse::<Bytes>::decode(&mut reader, version).unwrap();
        reader.finish().unwrap();
        let Some(partition) = response.topics.first().and_then(|topic| topic.partitions.first()) else {
            return Fetched { error: response.error_code, ..Fetched::default() };
        };
        Fetched {
            error: partition.error_code,
            high_watermark: partition.high_watermark,
            log_start: partition.log_start_offset,
            records: partition.records.clone().unwrap_or_default(),
            diverging: (partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset),
        }
    }

    /// Creates a topic; answers its error code.
    pub async fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: partitions,
                replication_factor: 1,
                configs: configs
                    .iter()
                    .map(|(key, value)| CreatableTopicConfig {
                        name: (*key).into(),
                        value: Some((*value).into()),
                        ..CreatableTopicConfig::default()
                    })
                    .collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: 5000,
            ..CreateTopicsRequest::default()
        };
        self.call(7, &request).await.topics[0].error_code
    }

    /// Topic id and number of partitions.
    pub async fn describe(&mut self, name: &str) -> Option<(Uuid, usize)> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(name.into()),
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = self.call(12, &request).await;
        let topic = &response.topics[0];
        (topic.error_code == 0).then_some((topic.topic_id, topic.partitions.len()))
    }

    /// Whether the broker closes the connection without a word.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut byte)).await;
        matches!(read.expect("still open"), Ok(0) | Err(_))
    }
}

/// Where to produce.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub topic: &'a str,
    pub id: Uuid,
    pub partition: i32,
}

impl<'a> Target<'a> {
    pub fn new(topic: &'a str) -> Self {
        Self { topic, id: Uuid::ZERO, partition: 0 }
    }
}

pub fn produce_request<'a>(acks: i16, to: &Target<'a>, batch: Bytes) -> ProduceRequest<'a> {
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 10_000,
        topics: vec![TopicProduce {
            name: to.topic,
            topic_id: to.id,
            partitions: vec![PartitionProduce { index: to.partition, records: Some(batch) }],
        }],
    }
}

/// A fetch of one partition.
#[derive(Clone, Copy)]
pub struct Fetch<'a> {
    pub version: i16,
    pub topic: &'a str,
    pub id: Uuid,
    pub partition: i32,
    pub offset: i64,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    pub leader_epoch: i32,
    pub last_fetched_epoch: i32,
    pub session: (i32, i32),
}

impl<'a> Fetch<'a> {
    pub fn new(topic: &'a str, offset: i64) -> Self {
        Self {
            version: 12,
            topic,
            id: Uuid::ZERO,
            partition: 0,
            offset,
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            leader_epoch: -1,
            last_fetched_epoch: -1,
            session: (0, -1),
        }
    }

    fn request(&self) -> FetchRequest<'a> {
        FetchRequest {
            max_wait_ms: self.max_wait_ms,
            min_bytes: self.min_bytes,
            max_bytes: self.max_bytes,
            session_id: self.session.0,
            session_epoch: self.session.1,
            topics: vec![FetchTopic {
                topic: self.topic,
                topic_id: self.id,
                partitions: vec![FetchPartition {
                    partition: self.partition,
                    fetch_offset: self.offset,
                    partition_max_bytes: self.partition_max_bytes,
                    current_leader_epoch: self.leader_epoch,
                    last_fetched_epoch: self.last_fetched_epoch,
                    ..FetchPartition::default()
                }],
            }],
            ..FetchRequest::default()
        }
    }
}

/// What a fetch gave.
#[derive(Debug, Default)]
pub struct Fetched {
    pub error: i16,
    pub high_watermark: i64,
    pub log_start: i64,
    pub records: Bytes,
    pub diverging: (i32, i64),
}

impl Fetched {
    /// Values in order.
    pub fn values(&self) -> Vec<String> {
        let mut values = Vec::new();
        for batch in kafka_codec::records::Batches::new(&self.records) {
            let mut scratch = Vec::new();
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            for record in kafka_codec::records::records(&batch, 1 << 24, &mut scratch).unwrap() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
        values
    }
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A batch of values without keys.
pub fn batch(values: &[&str]) -> Bytes {
    batch_of(Compression::None, values)
}

pub fn batch_of(compression: Compression, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for value in values {
        builder.push(now_ms(), None, Some(value.as_bytes()), std::iter::empty()).unwrap();
    }
    builder.build().unwrap().into()
}

/// A batch of one value with a producer's id, epoch and sequence.
pub fn idempotent_batch(value: &str, producer: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer, epoch, sequence);
    builder.push(now_ms(), None, Some(value.as_bytes()), std::iter::empty()).unwrap();
    builder.build().unwrap().into()
}
