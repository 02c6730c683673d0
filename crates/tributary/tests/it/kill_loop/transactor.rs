//! Transactional producers that ride over kills: each transaction writes to two partitions, then is committed or
//! aborted.

use std::time::Duration;

use bytes::Bytes;
use client::{Error, Producer, ProducerConfig, ProducerRecord};
use testkit::history::{Op, OpId, Outcome, Partition, Process, Value};

use super::{Drivers, PATIENCE};

/// Kafka topic of the transactions.
pub const TOPIC: &str = "transacted";
/// Its partitions.
pub const PARTITIONS: i32 = 2;
/// Records of one transaction in each partition.
const RECORDS: usize = 3;

/// Runs transactions until told to stop; the last one is ended.
pub async fn run(drivers: Drivers, process: Process) {
    let mut producer = None;
    let mut round = 0u64;
    while !drivers.stopping() {
        let ready = match producer.take() {
            Some(ready) => ready,
            None => ready_producer(&drivers, process).await,
        };
        round += 1;
        let commit = !round.is_multiple_of(3);
        let records: Vec<(Partition, Value)> = (0..RECORDS)
            .flat_map(|_| (0..PARTITIONS).map(|index| Partition::new(TOPIC, index)))
            .map(|partition| (partition, drivers.next_value()))
            .collect();
        let op = drivers.recorder.begin(process, Op::Transaction(records.clone()));
        if let Err(error) = transaction(&drivers, &ready, &records, commit, op).await {
            // Whether it was committed is not known for certain; a new instance fences this one off.
            println!("transactor {process}: {error}");
            ready.close(Duration::ZERO).await;
        } else {
            producer = Some(ready);
        }
    }
    // What a failed instance left open is ended by the next one.
    let last = ready_producer(&drivers, process).await;
    last.close(PATIENCE).await;
}

async fn ready_producer(drivers: &Drivers, process: Process) -> Producer {
    let properties = [
        ("bootstrap.servers", drivers.kafka.to_string()),
        ("transactional.id", format!("transactor-{process}")),
        ("max.block.ms", "60000".into()),
        ("delivery.timeout.ms", "120000".into()),
        ("request.timeout.ms", "5000".into()),
        ("linger.ms", "0".into()),
        ("reconnect.backoff.ms", "20".into()),
        ("reconnect.backoff.max.ms", "100".into()),
        ("retry.backoff.ms", "20".into()),
        ("retry.backoff.max.ms", "100".into()),
    ];
    let properties = properties.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
    let config = ProducerConfig::from_properties(properties).expect("config");
    let producer = Producer::new(config).expect("producer");
    producer.init_transactions().await.expect("initialised");
    producer
}

async fn transaction(
    drivers: &Drivers,
    producer: &Producer,
    records: &[(Partition, Value)],
    commit: bool,
    op: OpId,
) -> Result<(), Error> {
    producer.begin_transaction()?;
    let mut failed = None;
    for (partition, value) in records {
        let record = ProducerRecord::new(TOPIC, Bytes::from(value.to_string())).partition(partition.index);
        if let Err(error) = producer.send(record).await {
            failed = Some(error);
            break;
        }
    }
    if commit && failed.is_none() {
        match producer.commit_transaction().await {
            Ok(()) => {
                drivers.recorder.sent(op, None);
                return Ok(());
            }
            // The coordinator may have done it all the same.
            Err(error @ Error::Timeout(_)) => return Err(error),
            Err(error) => failed = Some(error),
        }
    }
    match producer.abort_transaction().await {
        Ok(()) => {
            drivers.recorder.end(op, Outcome::Fail);
            Ok(())
        }
        Err(error) => Err(failed.unwrap_or(error)),
    }
}
