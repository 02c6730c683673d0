//! `transact`: producers that send one record in each transaction, by the protocol of KIP-890 (the broker adds the
//! partition, and bumps the epoch at each end), at a rate or as fast as the answers come.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use kafka_codec::messages::{
    EndTxnRequest, EndTxnResponse, FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdRequest,
    InitProducerIdResponse,
};
use kafka_codec::produce::{PartitionProduce, ProduceRequest, ProduceResponse, TopicProduce};
use kafka_codec::records::{BatchBuilder, Compression};
use kafka_codec::wire::Reader;
use kafka_codec::{ErrorCode, Message, Request, frame};

use crate::{Options, percentile, receive};

const PRODUCE_VERSION: i16 = 12;
const END_VERSION: i16 = 5;
const INIT_VERSION: i16 = 5;
const FIND_VERSION: i16 = 4;
/// `FindCoordinator`'s key type of transactional ids.
const TRANSACTION: i8 = 1;
/// How long after an error that passes the request is sent again.
const BACKOFF: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints one JSON line; a latency is from before the record is sent to after the commit is answered.
pub fn transact(options: &Options) -> Result<()> {
    let producers: u32 = options.number("connections", 8)?;
    let transactions: u32 = options.number("messages", 10_000)?;
    let rate: u32 = options.number("rate", 0)?;
    let began = Instant::now();
    let mut latencies = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..producers)
            .map(|number| {
                scope.spawn(move || -> Result<Vec<Duration>> {
                    let mut producer = Producer::start(options, number)?;
                    // Each begins at another moment, as producers that know nothing of each other do.
                    let began = Instant::now();
                    let each = transactions / producers;
                    let mut latencies = Vec::new();
                    for i in 0..each {
                        if rate > 0 {
                            let due = Duration::from_secs(1) / rate * (i * producers + number);
                            std::thread::sleep((began + due).saturating_duration_since(Instant::now()));
                        }
                        let sent = Instant::now();
                        producer.transaction()?;
                        latencies.push(sent.elapsed());
                    }
                    Ok(latencies)
                })
            })
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow::anyhow!("a producer's thread panicked"))??);
        }
        anyhow::Ok(all)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    println!(
        "{{\"messages\": {}, \"per_second\": {:.0}, \"p50_ms\": {:.3}, \"p99_ms\": {:.3}}}",
        latencies.len(),
        latencies.len() as f64 / seconds,
        percentile(&latencies, 0.5),
        percentile(&latencies, 0.99),
    );
    Ok(())
}

struct Producer<'a> {
    stream: TcpStream,
    transactional_id: String,
    producer_id: i64,
    epoch: i16,
    topic: &'a str,
    partition: i32,
    record: Vec<u8>,
}

impl<'a> Producer<'a> {
    fn start(options: &'a Options, number: u32) -> Result<Self> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let partitions: i32 = options.number("partitions", 1)?;
        let mut producer = Self {
            stream: options.connect()?,
            transactional_id: format!("load-{now_ms}-{number}"),
            producer_id: -1,
            epoch: -1,
            topic: options.text("topic")?,
            partition: i32::try_from(number)? % partitions.max(1),
            record: vec![b'x'; options.number("record-bytes", 100)?],
        };
        let find = FindCoordinatorRequest {
            key_type: TRANSACTION,
            coordinator_keys: vec![producer.transactional_id.clone()],
            ..Default::default()
        };
        producer.until_done(|p| {
            let found: FindCoordinatorResponse = p.ask(&find, FIND_VERSION)?;
            Ok(found.coordinators.first().context("no coordinator in the answer")?.error_code)
        })?;
        let init = InitProducerIdRequest {
            transactional_id: Some(producer.transactional_id.clone()),
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        producer.until_done(|p| {
            let answer: InitProducerIdResponse = p.ask(&init, INIT_VERSION)?;
            (p.producer_id, p.epoch) = (answer.producer_id, answer.producer_epoch);
            Ok(answer.error_code)
        })?;
        Ok(producer)
    }

    /// One record, committed.
    fn transaction(&mut self) -> Result<()> {
        let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let mut batch =
            BatchBuilder::new(Compression::None).producer(self.producer_id, self.epoch, 0).transactional();
        batch.push(now_ms, None, Some(&self.record), std::iter::empty())?;
        let records = batch.build()?;
        self.until_done(|p| p.produce(records.clone()))?;
        let end = EndTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            committed: true,
            ..Default::default()
        };
        self.until_done(|p| {
            let answer: EndTxnResponse = p.ask(&end, END_VERSION)?;
            if answer.error_code == 0 {
                (p.producer_id, p.epoch) = (answer.producer_id, answer.producer_epoch);
            }
            Ok(answer.error_code)
        })
    }

    /// The error code that the partition answered.
    fn produce(&mut self, records: Vec<u8>) -> Result<i16> {
        let partitions = vec![PartitionProduce { index: self.partition, records: Some(records.into()) }];
        let request = ProduceRequest {
            transactional_id: Some(&self.transactional_id),
            acks: -1,
            timeout_ms: 30_000,
            topics: vec![TopicProduce { name: self.topic, partitions, ..Default::default() }],
        };
        let frame = request.encode_frame(PRODUCE_VERSION, 0, Some("load"))?.concat();
        self.stream.write_all(&frame)?;
        let body = receive(&mut self.stream)?;
        let mut reader = Reader::shared(&body);
        frame::decode_response_header(&mut reader, kafka_codec::ApiKey::Produce, PRODUCE_VERSION)?;
        let response = ProduceResponse::decode(&mut reader, PRODUCE_VERSION)?;
        let mut partitions = response.topics.iter().flat_map(|t| &t.partitions);
        Ok(partitions.next().context("no partition in the answer")?.error_code)
    }

    fn ask<R: Request + Message>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.stream.write_all(&frame::request(request, version, 0, Some("load"))?)?;
        let body = receive(&mut self.stream)?;
        let mut reader = Reader::shared(&body);
        frame::decode_response_header(&mut reader, R::KEY, version)?;
        Ok(R::Response::decode(&mut reader, version)?)
    }

    /// Asks again while the answer is that the coordinator is not there yet, or still ends the last transaction.
    fn until_done(&mut self, mut step: impl FnMut(&mut Self) -> Result<i16>) -> Result<()> {
        let began = Instant::now();
        loop {
            let code = step(self)?;
            if code == 0 {
                return Ok(());
            }
            let passes = [
                ErrorCode::ConcurrentTransactions,
                ErrorCode::CoordinatorNotAvailable,
                ErrorCode::CoordinatorLoadInProgress,
                ErrorCode::NotCoordinator,
            ];
            if !passes.iter().any(|e| i16::from(*e) == code) {
                bail!("{}: error {code}", self.transactional_id);
            }
            ensure!(began.elapsed() < PATIENCE, "{}: error {code} does not pass", self.transactional_id);
            std::thread::sleep(BACKOFF);
        }
    }
}
