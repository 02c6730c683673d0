//! Transactional producers that ride over kills: each transaction writes to two partitions, then is committed or
//! aborted.

use std::time::Duration;

use bytes::Bytes;
use client::{Error, Producer, ProducerRecord};
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
    let id = format!("transactor-{process}");
    let producer =
        drivers.producer(&[("transactional.id", &id), ("max.block.ms", "60000"), ("linger.ms", "0")]);
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
