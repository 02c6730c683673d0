//! A worker of a share group: run it as often as there is work; the workers share even one partition.
//!
//! ```sh
//! cargo run -p tributary-client --example share_consumer -- localhost:9092 jobs workers
//! ```
//! Each job is acknowledged by itself: done, to be tried again by whoever comes next, or never to be tried again. A
//! worker that dies keeps nothing: its jobs are delivered again when their lock ends.

use std::process::ExitCode;
use std::time::Duration;

use client::{AcknowledgeType, ShareConsumer, ShareConsumerConfig, ShareRecord};

/// How often a job is tried.
const TRIES: i16 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, topic, group] = arguments.as_slice() else {
        eprintln!("usage: share_consumer HOST:PORT TOPIC GROUP");
        return ExitCode::from(2);
    };
    match work(servers, topic, group).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn work(servers: &str, topic: &str, group: &str) -> client::Result<()> {
    let properties = [
        ("bootstrap.servers", servers),
        ("group.id", group),
        ("share.acknowledgement.mode", "explicit"),
        ("max.poll.records", "10"),
    ];
    let properties =
        properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut consumer = ShareConsumer::new(ShareConsumerConfig::from_properties(properties)?)?;
    consumer.on_acknowledged(|answer| {
        if let Err(error) = &answer.outcome {
            eprintln!("{} {:?}: {error}; they come again", answer.partition, answer.offsets);
        }
    });
    consumer.subscribe(&[topic])?;
    let outcome = tokio::select! {
        outcome = process_all(&mut consumer) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // What was acknowledged is sent, what was not goes to another worker at once.
    consumer.close(Duration::from_secs(10)).await?;
    outcome
}

async fn process_all(consumer: &mut ShareConsumer) -> client::Result<()> {
    loop {
        for job in consumer.poll(Duration::from_millis(500)).await? {
            let kind = match process(&job) {
                Ok(()) => AcknowledgeType::Accept,
                Err(_) if job.delivery_count < TRIES => AcknowledgeType::Release,
                Err(_) => AcknowledgeType::Reject,
            };
            consumer.acknowledge(&job, kind)?;
        }
    }
}

fn process(job: &ShareRecord) -> Result<(), String> {
    let value = job.record.value.as_deref().unwrap_or_default();
    let text = std::str::from_utf8(value).map_err(|error| error.to_string())?;
    println!("{}-{} @{}: {text}", job.record.topic, job.record.partition, job.record.offset);
    Ok(())
}
