//! One hostile client after the other on one address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_codec::frame::{self, RequestHeader};
use kafka_codec::messages::ApiVersionsRequest;
use kafka_codec::produce::{PartitionProduce, ProduceRequest, TopicProduce};
use kafka_codec::{ApiKey, Uuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::batches;
use super::soup::{Api, Dice, apis, mutate, soup};

/// Some requests are not answered for long (a fetch that waits): the client goes away.
const ANSWER_WAIT: Duration = Duration::from_millis(100);
/// Clients that leave a request half sent and stay.
const LINGERING_MAX: usize = 50;
/// Topics that hostile clients write to.
pub const TOPICS: [&str; 4] = ["a", "b", "soup", "t"];

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Requests sent.
    pub sent: u64,
    /// Answered.
    pub answered: u64,
    /// Not answered: the node closed the connection.
    pub closed: u64,
    /// Neither while the client waited.
    pub waited: u64,
}

impl Told {
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.closed += other.closed;
        self.waited += other.waited;
    }
}

/// Sends requests until all clients together have sent `total`.
pub async fn run(kafka: SocketAddr, dice: Dice, sent: Arc<AtomicU64>, total: u64) -> Told {
    let mut client =
        Attacker { kafka, dice, apis: apis(), stream: None, lingering: Vec::new(), told: Told::default() };
    while sent.fetch_add(1, Ordering::Relaxed) < total {
        client.strike().await;
    }
    client.told
}

struct Attacker {
    kafka: SocketAddr,
    dice: Dice,
    apis: Vec<Api>,
    stream: Option<TcpStream>,
    lingering: Vec<TcpStream>,
    told: Told,
}

impl Attacker {
    async fn strike(&mut self) {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await,
        };
        let bytes = self.bytes();
        self.told.sent += 1;
        // The node may close while this is being sent.
        let whole = stream.write_all(&bytes).await.is_ok();
        let mut length = [0; 4];
        match tokio::time::timeout(ANSWER_WAIT, stream.read_exact(&mut length)).await {
            Ok(Ok(_)) if whole => {
                let length = usize::try_from(i32::from_be_bytes(length)).expect("a length");
                let mut answer = vec![0; length];
                if stream.read_exact(&mut answer).await.is_ok() {
                    self.told.answered += 1;
                    self.stream = Some(stream);
                } else {
                    self.told.closed += 1;
                }
            }
            Ok(_) => self.told.closed += 1,
            Err(_) => {
                self.told.waited += 1;
                if self.dice.once_in(4) {
                    let at = self.lingering.len();
                    if at < LINGERING_MAX {
                        self.lingering.push(stream);
                    } else {
                        let at = self.dice.below(at);
                        self.lingering[at] = stream;
                    }
                }
            }
        }
    }

    /// A connection; on most of them a good first request opens the way for large ones.
    async fn connect(&mut self) -> TcpStream {
        let connected = tokio::time::timeout(Duration::from_secs(20), TcpStream::connect(self.kafka)).await;
        let mut stream = connected.expect("accepted in time").expect("connects");
        if !self.dice.once_in(4) {
            let hello = frame::request(&ApiVersionsRequest::default(), 0, 0, None).expect("small");
            stream.write_all(&hello).await.expect("sends");
            let length = stream.read_i32().await.expect("an answer");
            let mut answer = vec![0; usize::try_from(length).expect("a length")];
            stream.read_exact(&mut answer).await.expect("an answer");
        }
        stream
    }

    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = match self.dice.below(10) {
            0 => {
                let size = 1 + self.dice.below(300);
                soup(&mut self.dice, size)
            }
            1..=3 => self.produce(),
            _ => self.request(),
        };
        match self.dice.below(12) {
            // A length that is not the frame's.
            0 => {
                let wrong =
                    *self.dice.one(&[-1, 0, 1, 3, 100, 1 << 19, 1 << 26, 100 << 20, i32::MAX, i32::MIN]);
                bytes.splice(..4.min(bytes.len()), wrong.to_be_bytes());
            }
            // Half a request.
            1 => {
                let at = self.dice.below(bytes.len());
                bytes.truncate(at);
            }
            // The same many times, without waiting.
            2 => bytes = bytes.repeat(20),
            _ => {}
        }
        bytes
    }

    fn framed(&mut self, key: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
        let header = RequestHeader { key, version, correlation_id: 7, client_id: Some("soup") };
        let mut bytes = frame::begin_request(&header).expect("small");
        bytes.extend_from_slice(body);
        let mut bytes = frame::finish(bytes).expect("small").to_vec();
        if self.dice.once_in(30) {
            let key = *self.dice.one(&[-1, 94, 1000, i16::MAX, i16::MIN]);
            bytes[4..6].copy_from_slice(&key.to_be_bytes());
        }
        if self.dice.once_in(20) {
            let version = *self.dice.one(&[-1, 99, i16::MAX, i16::MIN]);
            bytes[6..8].copy_from_slice(&version.to_be_bytes());
        }
        bytes
    }

    fn request(&mut self) -> Vec<u8> {
        let at = self.dice.below(self.apis.len());
        let api = self.apis[at].clone();
        let versions: Vec<i16> = api.versions.clone().collect();
        let version = *self.dice.one(&versions);
        let mut body = api.body(&mut self.dice, version);
        if !body.is_empty() && !self.dice.once_in(4) {
            mutate(&mut self.dice, &mut body);
        }
        self.framed(api.key, version, &body)
    }

    fn produce(&mut self) -> Vec<u8> {
        let version = 3 + self.dice.below(10) as i16;
        let partitions = (0..1 + self.dice.below(2))
            .map(|_| PartitionProduce {
                index: self.dice.below(3) as i32 - 1,
                records: (!self.dice.once_in(20)).then(|| batches::records(&mut self.dice).into()),
            })
            .collect();
        let topic = *self.dice.one(&TOPICS);
        let request = ProduceRequest {
            transactional_id: self.dice.once_in(4).then_some("x"),
            acks: *self.dice.one(&[-1, -1, -1, 1, 0, 2, i16::MIN]),
            timeout_ms: *self.dice.one(&[1000, 0, -1, i32::MAX]),
            topics: vec![TopicProduce { name: topic, topic_id: Uuid::ZERO, partitions }],
        };
        let parts = request.encode_frame(version, 7, Some("soup")).expect("small");
        parts.into_iter().flat_map(|part| part.to_vec()).collect()
    }
}
