//! Members of a share group that ride over kills, spoken by hand so that every answer is seen as it came: they accept
//! most records, release some, and now and then go away without a word.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use client::ProducerRecord;
use kafka_codec::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_codec::messages::metadata_request::MetadataRequestTopic;
use kafka_codec::messages::share_fetch_request::{AcknowledgementBatch, FetchPartition, FetchTopic};
use kafka_codec::messages::*;
use kafka_codec::records::Batches;
use kafka_codec::wire::Reader;
use kafka_codec::{Message, Request, Uuid, frame};
use testkit::history::{Accept, HandOut, Partition, ShareRecorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Drivers, PATIENCE};

/// Kafka topic of the share group.
pub const TOPIC: &str = "shared";
/// Its partitions.
pub const PARTITIONS: i32 = 2;
/// The group.
pub const GROUP: &str = "workers";
/// Deliveries after which the broker would give a record up.
pub const DELIVERIES_MAX: i16 = 10;

const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;

/// One connection.
struct Connection {
    stream: TcpStream,
    next_id: i32,
}

impl Connection {
    async fn open(kafka: SocketAddr) -> Result<Self> {
        let stream = tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(kafka)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, next_id: 1 })
    }

    async fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        let id = self.next_id;
        self.next_id += 1;
        self.stream.write_all(&frame::request(request, version, id, Some("sharer"))?).await?;
        let reading = async {
            let len = self.stream.read_i32().await?;
            let mut frame = vec![0; usize::try_from(len)?];
            self.stream.read_exact(&mut frame).await?;
            Ok::<_, anyhow::Error>(Bytes::from(frame))
        };
        let frame = tokio::time::timeout(Duration::from_secs(10), reading).await.context("no answer")??;
        let mut reader = Reader::shared(&frame);
        frame::decode_response_header(&mut reader, R::KEY, version)?;
        Ok(R::Response::decode(&mut reader, version)?)
    }
}

/// Says how the group works: it begins with the first record, and gives nothing up.
pub async fn prepare(kafka: SocketAddr) -> Result<Uuid> {
    let mut connection = Connection::open(kafka).await?;
    let entry = |name: &str, value: &str| AlterableConfig {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let configs = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 32,
            resource_name: GROUP.to_owned(),
            configs: vec![
                entry("share.auto.offset.reset", "earliest"),
                entry("share.delivery.count.limit", &DELIVERIES_MAX.to_string()),
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = connection.call(1, &configs).await?;
    if answer.responses.iter().any(|resource| resource.error_code != 0) {
        bail!("{:?}", answer.responses);
    }
    let metadata = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(TOPIC.to_owned()), ..Default::default() }]),
        ..Default::default()
    };
    let answer = connection.call(12, &metadata).await?;
    answer.topics.first().map(|topic| topic.topic_id).context("no topic")
}

/// Writes what is to be worked on, until told to stop.
pub async fn produce(drivers: Drivers) {
    let producer = drivers.producer(&[("acks", "all")]);
    let mut number = 0;
    while !drivers.stopping() {
        let mut pending = Vec::new();
        for _ in 0..10 {
            number += 1;
            let record = ProducerRecord::new(TOPIC, Bytes::from(format!("work {number}")))
                .partition(number % PARTITIONS);
            pending.push(producer.send(record).await.expect("sends"));
        }
        for delivery in pending {
            let _ = delivery.await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    producer.close(PATIENCE).await;
}

/// Works until told to stop, and then until nothing more comes.
pub async fn work(drivers: Drivers, topic: Uuid, number: u32, recorder: ShareRecorder) {
    let mut round = 0u32;
    let mut idle = 0;
    // All that the group began with is worked off when nothing has come for longer than any lock lasts.
    while idle < 3 {
        let member = format!("sharer-{number}-{round}");
        round += 1;
        match session(&drivers, topic, &member, &recorder).await {
            Ok(got) => idle = if got || !drivers.stopping() { 0 } else { idle + 1 },
            // Killed, or not there yet.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// One member's life; answers whether it got anything.
async fn session(drivers: &Drivers, topic: Uuid, member: &str, recorder: &ShareRecorder) -> Result<bool> {
    let mut connection = Connection::open(drivers.kafka).await?;
    let mut held: Vec<(i32, i64, i64)> = Vec::new();
    let mut got = false;
    for epoch in 0..30 {
        let mut partitions = Vec::new();
        let mut saying: Vec<(i32, i64, i8)> = Vec::new();
        for index in 0..PARTITIONS {
            let mut batches = Vec::new();
            for (_, first, last) in held.iter().filter(|(partition, ..)| *partition == index) {
                let types: Vec<i8> = (*first..=*last)
                    .map(|offset| if (offset + epoch) % 7 == 0 { RELEASE } else { ACCEPT })
                    .collect();
                saying.extend((*first..=*last).zip(&types).map(|(offset, said)| (index, offset, *said)));
                batches.push(AcknowledgementBatch {
                    first_offset: *first,
                    last_offset: *last,
                    acknowledge_types: types,
                    ..Default::default()
                });
            }
            partitions.push(FetchPartition {
                partition_index: index,
                acknowledgement_batches: batches,
                ..Default::default()
            });
        }
        held.clear();
        let request = ShareFetchRequest {
            group_id: Some(GROUP.to_owned()),
            member_id: Some(member.to_owned()),
            share_session_epoch: i32::try_from(epoch)?,
            max_wait_ms: 200,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 20,
            batch_size: 20,
            topics: vec![FetchTopic { topic_id: topic, partitions, ..Default::default() }],
            ..Default::default()
        };
        let asked_at = recorder.moment();
        let answer = connection.call(2, &request).await?;
        if answer.error_code != 0 {
            bail!("{:?}", answer.error_message);
        }
        let answered_at = recorder.moment();
        for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            let index = partition.partition_index;
            let place = Partition::new(TOPIC, index);
            // What is accepted together with a fetch was accepted when its answer is there.
            if partition.acknowledge_error_code == 0 {
                for (_, offset, _) in saying.iter().filter(|(p, _, said)| *p == index && *said == ACCEPT) {
                    recorder.accepted(Accept { partition: place.clone(), offset: *offset, answered_at });
                }
            }
            for part in &partition.acquired_records {
                got = true;
                held.push((index, part.first_offset, part.last_offset));
                for offset in part.first_offset..=part.last_offset {
                    recorder.handed_out(HandOut {
                        partition: place.clone(),
                        offset,
                        deliveries: part.delivery_count,
                        asked_at,
                    });
                }
            }
        }
        if epoch > 0 && held.is_empty() && saying.is_empty() {
            break;
        }
    }
    // The rest is given back by the connection's end.
    Ok(got)
}

/// The offsets of all records of a partition.
pub async fn offsets(kafka: SocketAddr, topic: Uuid, index: i32) -> Result<BTreeSet<i64>> {
    use kafka_codec::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
    let mut connection = Connection::open(kafka).await?;
    let mut found = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let from = found.last().map_or(0, |last: &i64| last + 1);
        let request = FetchRequest {
            max_bytes: 8 << 20,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: "",
                topic_id: topic,
                partitions: vec![FetchPartition {
                    partition: index,
                    fetch_offset: from,
                    partition_max_bytes: 8 << 20,
                    current_leader_epoch: -1,
                    last_fetched_epoch: -1,
                    ..FetchPartition::default()
                }],
            }],
            ..FetchRequest::default()
        };
        let header = frame::RequestHeader {
            key: kafka_codec::ApiKey::Fetch,
            version: 13,
            correlation_id: connection.next_id,
            client_id: None,
        };
        connection.next_id += 1;
        let mut bytes = frame::begin_request(&header)?;
        request.encode(&mut bytes, 13)?;
        connection.stream.write_all(&frame::finish(bytes)?).await?;
        let len = connection.stream.read_i32().await?;
        let mut answer = vec![0; usize::try_from(len)?];
        connection.stream.read_exact(&mut answer).await?;
        let answer = Bytes::from(answer);
        let mut reader = Reader::shared(&answer);
        frame::decode_response_header(&mut reader, kafka_codec::ApiKey::Fetch, 13)?;
        let response = FetchResponse::<Bytes>::decode(&mut reader, 13)?;
        let partition =
            response.topics.first().and_then(|topic| topic.partitions.first()).context("nothing")?;
        let records = partition.records.clone().unwrap_or_default();
        for batch in Batches::new(&records) {
            let header = batch?.header;
            found.extend(header.base_offset..=header.last_offset());
        }
        if found.last().map_or(0, |last| last + 1) >= partition.high_watermark {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("partition {index} has no end");
        }
    }
}
