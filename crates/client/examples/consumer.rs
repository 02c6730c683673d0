//! A member of a consumer group: run it several times, start and stop members, and no record is processed twice.
//!
//! ```sh
//! cargo run -p tributary-client --example consumer -- localhost:9092 sensors readers
//! ```
//! Each record is processed, then its offset is committed; before the group takes a partition away, what was
//! processed of it is committed. So the next owner begins exactly behind the last record that was processed. Only a
//! member that is killed between processing and committing leaves records that its successor processes again: at
//! least once, never lost.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::consumer::RebalanceListener;
use client::{Consumer, ConsumerConfig, ConsumerRecord, OffsetAndMetadata, TopicPartition};
use futures_util::future::BoxFuture;

/// Offsets behind what was processed and is not committed yet.
type Processed = Arc<Mutex<BTreeMap<TopicPartition, OffsetAndMetadata>>>;

struct CommitBeforeLosing(Processed);

impl RebalanceListener for CommitBeforeLosing {
    fn revoked<'a>(
        &'a mut self,
        consumer: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()> {
        println!("-- losing {}", list(partitions));
        Box::pin(async move {
            if let Err(error) = commit(consumer, &self.0).await {
                eprintln!("cannot commit: {error}");
            }
        })
    }

    fn assigned<'a>(
        &'a mut self,
        _: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()> {
        println!("-- got {}", list(partitions));
        Box::pin(std::future::ready(()))
    }
}

fn list(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn commit(consumer: &mut Consumer, processed: &Processed) -> client::Result<()> {
    let offsets = match processed.lock() {
        Ok(mut offsets) => std::mem::take(&mut *offsets),
        Err(_) => return Ok(()),
    };
    if offsets.is_empty() { Ok(()) } else { consumer.commit_offsets(&offsets).await }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, topic, group] = arguments.as_slice() else {
        eprintln!("usage: consumer HOST:PORT TOPIC GROUP");
        return ExitCode::from(2);
    };
    match consume(servers, topic, group).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn consume(servers: &str, topic: &str, group: &str) -> client::Result<()> {
    let properties = [
        ("bootstrap.servers", servers),
        ("group.id", group),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
    ];
    let properties =
        properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut consumer = Consumer::new(ConsumerConfig::from_properties(properties)?)?;
    let processed = Processed::default();
    consumer.subscribe(&[topic], Some(Box::new(CommitBeforeLosing(Arc::clone(&processed)))))?;
    let outcome = tokio::select! {
        outcome = process_all(&mut consumer, &processed) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // Leaving: commit what was processed, and let the others have the partitions at once.
    let committed = commit(&mut consumer, &processed).await;
    consumer.close(Duration::from_secs(10)).await?;
    outcome.and(committed)
}

async fn process_all(consumer: &mut Consumer, processed: &Processed) -> client::Result<()> {
    loop {
        for record in consumer.poll(Duration::from_millis(500)).await? {
            process(&record);
            let next = OffsetAndMetadata::new(record.offset + 1);
            if let Ok(mut offsets) = processed.lock() {
                offsets.insert(TopicPartition::new(&*record.topic, record.partition), next);
            }
        }
        commit(consumer, processed).await?;
    }
}

fn process(record: &ConsumerRecord) {
    let text = |bytes: &Option<bytes::Bytes>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "(none)".to_owned(),
    };
    println!(
        "{}-{} @{}: {} = {}",
        record.topic,
        record.partition,
        record.offset,
        text(&record.key),
        text(&record.value)
    );
}
