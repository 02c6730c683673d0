//! Load for benchmarks of a Kafka broker over raw sockets, so that the server is what is measured: requests are
//! encoded once and sent again and again. Prints one JSON line.
//!
//! ```sh
//! kafka_load create  --kafka 127.0.0.1:9092 --topic t --partitions 6 [--config write.caching=true]
//! kafka_load produce --kafka 127.0.0.1:9092 --topic t --partitions 6 --connections 2 --in-flight 5 \
//!                    --batch-bytes 16384 --record-bytes 1024 --compression lz4 --acks -1 --requests 100000
//! kafka_load fetch   --kafka 127.0.0.1:9092 --topic t --partitions 6 --bytes-max 1048576
//! kafka_load tail    --kafka 127.0.0.1:9092 --topic t --rate 1000 --messages 15000 --acks -1
//! kafka_load transact --kafka 127.0.0.1:9092 --topic t --partitions 8 --connections 8 --rate 1000 --messages 10000
//! kafka_load idle    --kafka 127.0.0.1:9092 --connections 5000 --seconds 5
//! kafka_load first   --kafka 127.0.0.1:9092 --topic t [--create true]
//! ```
//! `produce` sends to partition 0, 1, … in turn per request, with `--rate` that many a second over all connections (its
//! latencies then count from when a request was due); `tail` is one producer and one long-polling consumer;
//! `transact` commits each record in a transaction of its own; `first` tries until a broker that may still be starting
//! has acknowledged one record.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use kafka_codec::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use kafka_codec::frame;
use kafka_codec::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_codec::messages::{ApiVersionsRequest, CreateTopicsRequest, CreateTopicsResponse};
use kafka_codec::produce::{PartitionProduce, ProduceRequest, ProduceResponse, TopicProduce};
use kafka_codec::records::{BatchBuilder, Batches, Compression};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, ErrorCode, Message};

mod transact;

const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 11;
const CREATE_VERSION: i16 = 5;
/// Where the correlation id stands in a request frame: after length, key and version.
const CORRELATION_AT: usize = 8;

struct Options(HashMap<String, String>);

impl Options {
    fn text(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("--{name} is missing"))
    }

    fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T> {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        text.parse().ok().with_context(|| format!("--{name} {text}: not a number"))
    }

    /// A connection on which the versions were asked for, as any client does first.
    fn connect(&self) -> Result<TcpStream> {
        let address: SocketAddr = self.text("kafka")?.parse().context("--kafka")?;
        let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(&frame::request(&ApiVersionsRequest::default(), 0, 0, Some("load"))?)?;
        receive(&mut stream)?;
        Ok(stream)
    }
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mode = args.next().context("create, produce, fetch, tail, transact, idle or first?")?;
    let mut options = HashMap::new();
    while let Some(name) = args.next() {
        let name = name.strip_prefix("--").with_context(|| format!("{name}: expected --option"))?.to_string();
        options.insert(name, args.next().context("an option lacks its value")?);
    }
    let options = Options(options);
    match mode.as_str() {
        "create" => create(&options),
        "produce" => produce(&options),
        "fetch" => fetch(&options),
        "tail" => tail(&options),
        "transact" => transact::transact(&options),
        "idle" => idle(&options),
        "first" => first(&options),
        other => bail!("{other}: expected create, produce, fetch, tail, transact, idle or first"),
    }
}

/// The next response frame without its length.
fn receive(stream: &mut TcpStream) -> Result<Bytes> {
    let mut length = [0; frame::LENGTH_BYTES];
    stream.read_exact(&mut length).context("read a response")?;
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(length))?];
    stream.read_exact(&mut body)?;
    Ok(body.into())
}

/// Tries until one record is acknowledged.
fn first(options: &Options) -> Result<()> {
    let topic = options.text("topic")?;
    let frame = produce_frame(topic, 0, options.number("acks", -1)?, batch(options, 100, 100)?)?;
    let create: bool = options.number("create", false)?;
    let began = Instant::now();
    loop {
        match first_try(options, create, &frame) {
            Ok(()) => break,
            Err(error) if began.elapsed() > Duration::from_secs(60) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    println!("{{\"ms\": {:.3}}}", began.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

fn first_try(options: &Options, create: bool, frame: &[u8]) -> Result<()> {
    let mut stream = options.connect()?;
    if create {
        create_on(&mut stream, options)?;
    }
    stream.write_all(frame)?;
    check_produced(&receive(&mut stream)?)
}

fn create_on(stream: &mut TcpStream, options: &Options) -> Result<()> {
    let configs = match options.0.get("config") {
        None => Vec::new(),
        Some(text) => {
            let (name, value) = text.split_once('=').context("--config NAME=VALUE")?;
            vec![CreatableTopicConfig { name: name.into(), value: Some(value.into()), ..Default::default() }]
        }
    };
    let topic = CreatableTopic {
        name: options.text("topic")?.into(),
        num_partitions: options.number("partitions", 1)?,
        replication_factor: 1,
        configs,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    stream.write_all(&frame::request(&request, CREATE_VERSION, 1, Some("load"))?)?;
    let body = receive(stream)?;
    let mut reader = Reader::shared(&body);
    frame::decode_response_header(&mut reader, ApiKey::CreateTopics, CREATE_VERSION)?;
    let response = CreateTopicsResponse::decode(&mut reader, CREATE_VERSION)?;
    for topic in &response.topics {
        let is_there = topic.error_code == 0 || topic.error_code == ErrorCode::TopicAlreadyExists.code();
        ensure!(is_there, "create {}: error {}", topic.name, topic.error_code);
    }
    Ok(())
}

fn create(options: &Options) -> Result<()> {
    let mut stream = options.connect()?;
    let began = Instant::now();
    create_on(&mut stream, options)?;
    // A broker may answer before all partitions have their leader.
    let offsets = vec![0; usize::try_from(options.number("partitions", 1)?)?];
    let leads = fetch_frame(options.text("topic")?, &offsets, 1, 0)?;
    loop {
        stream.write_all(&leads)?;
        match fetched(&receive(&mut stream)?, |_, _, _| Ok(())) {
            Ok(()) => break,
            Err(error) if began.elapsed() > Duration::from_secs(30) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    println!("{{\"ms\": {:.3}}}", began.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

/// One record batch of about `bytes` bytes; the records' values look like text, so that compression has work.
fn batch(options: &Options, bytes: usize, record_bytes: usize) -> Result<Bytes> {
    let compression = match options.0.get("compression").map_or("none", String::as_str) {
        "none" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        other => bail!("--compression {other}"),
    };
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let mut builder = BatchBuilder::new(compression);
    for i in 0..(bytes / record_bytes).max(1) {
        let mut value = format!("{{\"device\": \"sensor-{}\", \"value\": {}, \"pad\": \"", i % 17, i * 7919);
        while value.len() < record_bytes {
            value.push_str(&(value.len() * 31 + i).to_string());
        }
        value.truncate(record_bytes);
        builder.push(now_ms, None, Some(value.as_bytes()), std::iter::empty())?;
    }
    Ok(builder.build()?.into())
}

fn produce_frame(topic: &str, partition: i32, acks: i16, records: Bytes) -> Result<Vec<u8>> {
    let partitions = vec![PartitionProduce { index: partition, records: Some(records) }];
    let topics = vec![TopicProduce { name: topic, partitions, ..Default::default() }];
    let request = ProduceRequest { acks, timeout_ms: 30_000, topics, ..Default::default() };
    Ok(request.encode_frame(PRODUCE_VERSION, 0, Some("load"))?.concat())
}

fn check_produced(body: &Bytes) -> Result<()> {
    let mut reader = Reader::shared(body);
    frame::decode_response_header(&mut reader, ApiKey::Produce, PRODUCE_VERSION)?;
    let response = ProduceResponse::decode(&mut reader, PRODUCE_VERSION)?;
    for partition in response.topics.iter().flat_map(|t| &t.partitions) {
        ensure!(partition.error_code == 0, "produce: error {}", partition.error_code);
    }
    Ok(())
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |d| d.as_secs_f64() * 1000.0)
}

fn produce(options: &Options) -> Result<()> {
    let topic = options.text("topic")?;
    let partitions: i32 = options.number("partitions", 1)?;
    let connections: usize = options.number("connections", 1)?;
    let in_flight: usize = options.number("in-flight", 1)?;
    let requests: usize = options.number("requests", 10_000)?;
    let record_bytes: usize = options.number("record-bytes", 1024)?;
    let acks = options.number("acks", -1)?;
    let rate: u32 = options.number("rate", 0)?;
    let records = batch(options, options.number("batch-bytes", 16_384)?, record_bytes)?;
    let began = Instant::now();
    let mut latencies = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|connection| {
                let records = records.clone();
                scope.spawn(move || -> Result<Vec<Duration>> {
                    let frames = (0..partitions)
                        .map(|p| produce_frame(topic, p, acks, records.clone()))
                        .collect::<Result<Vec<_>>>()?;
                    let pace = Pace { connection, connections, rate };
                    produce_on(options.connect()?, frames, &pace, in_flight, requests / connections)
                })
            })
            .collect();
        let mut all = Vec::with_capacity(requests);
        for worker in workers {
            let latencies =
                worker.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??;
            all.extend(latencies);
        }
        anyhow::Ok(all)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let sent = latencies.len();
    let payload = sent as f64 * batch_payload(options)?;
    println!(
        "{{\"requests\": {sent}, \"per_second\": {:.0}, \"wire_gb\": {:.6}, \"payload_gb\": {:.6}, \"p50_ms\": {:.3}, \"p99_ms\": {:.3}}}",
        sent as f64 / seconds,
        sent as f64 * records.len() as f64 / 1e9,
        payload / 1e9,
        percentile(&latencies, 0.5),
        percentile(&latencies, 0.99),
    );
    Ok(())
}

fn batch_payload(options: &Options) -> Result<f64> {
    let record: usize = options.number("record-bytes", 1024)?;
    let batch: usize = options.number("batch-bytes", 16_384)?;
    Ok(((batch / record).max(1) * record) as f64)
}

/// When the requests of one of many connections are due.
struct Pace {
    connection: usize,
    connections: usize,
    /// Requests a second over all connections; 0: as fast as they are answered.
    rate: u32,
}

impl Pace {
    /// Waits until request `number` is due, and says since when it is.
    fn wait(&self, began: Instant, number: usize) -> Instant {
        if self.rate == 0 {
            return Instant::now();
        }
        let before = number * self.connections + self.connection;
        let due = began + Duration::from_secs_f64(before as f64 / f64::from(self.rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

/// Sends the frames in turn with at most `in_flight` unanswered; how long each answer took.
fn produce_on(
    mut stream: TcpStream,
    mut frames: Vec<Vec<u8>>,
    pace: &Pace,
    in_flight: usize,
    requests: usize,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(requests);
    let mut sent_at = VecDeque::with_capacity(in_flight);
    let mut sent = 0;
    let began = Instant::now();
    while latencies.len() < requests {
        while sent < requests && sent_at.len() < in_flight {
            let at = (pace.connection + sent) % frames.len();
            let frame = frames.get_mut(at).context("a frame")?;
            let correlation = (sent as i32).to_be_bytes();
            frame
                .get_mut(CORRELATION_AT..CORRELATION_AT + 4)
                .context("a header")?
                .copy_from_slice(&correlation);
            sent_at.push_back(pace.wait(began, sent));
            stream.write_all(frame)?;
            sent += 1;
        }
        check_produced(&receive(&mut stream)?)?;
        latencies.push(sent_at.pop_front().context("an answer nobody waits for")?.elapsed());
    }
    Ok(latencies)
}

fn fetch_frame(topic: &str, offsets: &[i64], bytes_max: i32, min_bytes: i32) -> Result<Bytes> {
    let partitions = (0..)
        .zip(offsets)
        .map(|(partition, &fetch_offset)| FetchPartition {
            partition,
            fetch_offset,
            partition_max_bytes: bytes_max,
            ..Default::default()
        })
        .collect();
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes,
        max_bytes: 50 << 20,
        topics: vec![FetchTopic { topic, partitions, ..Default::default() }],
        ..Default::default()
    };
    Ok(request.encode_frame(FETCH_VERSION, 0, Some("load"))?)
}

/// Calls `each(partition, high watermark, records)` for all of a response.
fn fetched(body: &Bytes, mut each: impl FnMut(usize, i64, &Bytes) -> Result<()>) -> Result<()> {
    let mut reader = Reader::shared(body);
    frame::decode_response_header(&mut reader, ApiKey::Fetch, FETCH_VERSION)?;
    let response: FetchResponse<'_, Bytes> = FetchResponse::decode(&mut reader, FETCH_VERSION)?;
    for partition in response.topics.iter().flat_map(|t| &t.partitions) {
        ensure!(partition.error_code == 0, "fetch: error {}", partition.error_code);
        let records = partition.records.clone().unwrap_or_default();
        each(usize::try_from(partition.partition_index)?, partition.high_watermark, &records)?;
    }
    Ok(())
}

/// Reads the whole topic once.
fn fetch(options: &Options) -> Result<()> {
    let topic = options.text("topic")?;
    let partitions: usize = options.number("partitions", 1)?;
    let bytes_max = options.number("bytes-max", 1 << 20)?;
    let mut stream = options.connect()?;
    let mut offsets = vec![0i64; partitions];
    let mut ends = vec![i64::MAX; partitions];
    let (mut requests, mut bytes) = (0u64, 0u64);
    let began = Instant::now();
    while offsets.iter().zip(&ends).any(|(offset, end)| offset < end) {
        stream.write_all(&fetch_frame(topic, &offsets, bytes_max, 1)?)?;
        let body = receive(&mut stream)?;
        requests += 1;
        bytes += body.len() as u64;
        fetched(&body, |partition, high_watermark, records| {
            let offset = offsets.get_mut(partition).context("a partition not asked for")?;
            for batch in Batches::new(records) {
                *offset = batch?.header.next_offset();
            }
            *ends.get_mut(partition).context("a partition not asked for")? = high_watermark;
            Ok(())
        })?;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{{\"requests\": {requests}, \"wire_gb\": {:.6}, \"gb_per_second\": {:.3}, \"records\": {}}}",
        bytes as f64 / 1e9,
        bytes as f64 / 1e9 / seconds,
        offsets.iter().sum::<i64>(),
    );
    Ok(())
}

/// One producer at a fixed rate, one consumer that waits for it: from before the send to after the receipt.
fn tail(options: &Options) -> Result<()> {
    let topic = options.text("topic")?;
    let rate: u32 = options.number("rate", 1000)?;
    let messages: usize = options.number("messages", 10_000)?;
    let acks = options.number("acks", -1)?;
    let record = options.number("record-bytes", 100)?;
    let frame = produce_frame(topic, 0, acks, batch(options, record, record)?)?;
    let (sent, mut latencies) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || -> Result<Vec<Instant>> {
            let mut stream = options.connect()?;
            let mut arrivals = Vec::with_capacity(messages);
            let mut offsets = [0i64];
            while arrivals.len() < messages {
                stream.write_all(&fetch_frame(topic, &offsets, 1 << 20, 1)?)?;
                let body = receive(&mut stream)?;
                let now = Instant::now();
                fetched(&body, |_, _, records| {
                    for batch in Batches::new(records) {
                        let next = batch?.header.next_offset();
                        let count = usize::try_from(next - offsets.first().copied().unwrap_or(0))?;
                        arrivals.extend(std::iter::repeat_n(now, count));
                        offsets = [next];
                    }
                    Ok(())
                })?;
            }
            Ok(arrivals)
        });
        let mut stream = options.connect()?;
        let mut answers = stream.try_clone()?;
        let acknowledged = scope.spawn(move || -> Result<()> {
            for _ in 0..messages {
                check_produced(&receive(&mut answers)?)?;
            }
            Ok(())
        });
        let mut sent = Vec::with_capacity(messages);
        let began = Instant::now();
        for i in 0..messages {
            let due = began + Duration::from_secs(1) / rate * u32::try_from(i)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            sent.push(Instant::now());
            stream.write_all(&frame)?;
        }
        acknowledged.join().map_err(|_| anyhow::anyhow!("the producer's reader panicked"))??;
        let arrivals = reader.join().map_err(|_| anyhow::anyhow!("the consumer panicked"))??;
        let latencies: Vec<_> = arrivals.iter().zip(&sent).map(|(a, s)| a.duration_since(*s)).collect();
        anyhow::Ok((sent, latencies))
    })?;
    latencies.sort_unstable();
    println!(
        "{{\"messages\": {}, \"p50_ms\": {:.3}, \"p99_ms\": {:.3}}}",
        sent.len(),
        percentile(&latencies, 0.5),
        percentile(&latencies, 0.99)
    );
    Ok(())
}

/// Opens connections that say who they are and then nothing, prints `open`, holds them.
fn idle(options: &Options) -> Result<()> {
    let connections: usize = options.number("connections", 1000)?;
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(options.connect()?);
    }
    println!("open");
    std::thread::sleep(Duration::from_secs(options.number("seconds", 5)?));
    drop(open);
    Ok(())
}
