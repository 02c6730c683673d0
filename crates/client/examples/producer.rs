//! A producer with one of the predefined balancers, or with one of its own.
//!
//! ```sh
//! cargo run -p tributary-client --example producer -- localhost:9092 sensors              # Kafka's default
//! cargo run -p tributary-client --example producer -- localhost:9092 sensors least-bytes  # any of those below
//! cargo run -p tributary-client --example producer -- localhost:9092 sensors custom
//! ```
//! Predefined: `default` (murmur2, sticky without key), `round-robin`, `sticky`, `least-bytes`, `hash` and
//! `reference-hash` (FNV-1a), `fnv1a`, `crc32` and `consistent`, `murmur2` and `murmur2_random`, `random`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use client::producer::{Choice, Partitioner, PartitionerKind, partitioner};
use client::{Producer, ProducerConfig, ProducerRecord};

/// A balancer as a type: alarms have partition 0 for themselves, everything else is spread by its key.
#[derive(Debug)]
struct AlarmsFirst {
    others: Arc<dyn Partitioner>,
}

impl Partitioner for AlarmsFirst {
    fn partition(&self, choice: &Choice<'_>) -> Option<i32> {
        if choice.key.is_some_and(|key| key.starts_with(b"alarm")) || choice.partitions == 1 {
            return Some(0);
        }
        let rest = Choice { partitions: choice.partitions - 1, available: &[], ..*choice };
        self.others.partition(&rest).map(|partition| partition + 1)
    }
}

fn balancer(name: &str) -> Option<Arc<dyn Partitioner>> {
    match name {
        "custom" => Some(Arc::new(AlarmsFirst { others: PartitionerKind::Default.build() })),
        // A balancer as a closure: by the length of the value.
        "by-length" => Some(partitioner::from_fn(|choice| {
            let length = i32::try_from(choice.value.map_or(0, <[u8]>::len)).unwrap_or(i32::MAX);
            Some(length % choice.partitions)
        })),
        predefined => PartitionerKind::from_name(predefined).map(PartitionerKind::build),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (servers, topic, name) = match arguments.as_slice() {
        [servers, topic] => (servers, topic, "default"),
        [servers, topic, name] => (servers, topic, name.as_str()),
        _ => {
            eprintln!("usage: producer HOST:PORT TOPIC [BALANCER]");
            return ExitCode::from(2);
        }
    };
    let Some(balancer) = balancer(name) else {
        eprintln!("{name}: no such balancer");
        return ExitCode::from(2);
    };
    match produce(servers, topic, balancer).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn produce(servers: &str, topic: &str, balancer: Arc<dyn Partitioner>) -> client::Result<()> {
    let producer = Producer::with_partitioner(ProducerConfig::new(servers)?, balancer)?;
    // All are on their way before the first answer is awaited.
    let mut deliveries = Vec::new();
    for number in 0..20 {
        let key = if number % 5 == 0 { format!("alarm-{number}") } else { format!("sensor-{}", number % 4) };
        let record = ProducerRecord::new(topic, format!("{{\"reading\":{number}}}")).key(key.clone());
        deliveries.push((key, producer.send(record).await?));
    }
    // One record to a partition of our choice, whatever the balancer says.
    let explicit = ProducerRecord::new(topic, "to partition 0").partition(0);
    deliveries.push(("(explicit)".to_owned(), producer.send(explicit).await?));
    for (key, delivery) in deliveries {
        let written = delivery.await?;
        println!("{key:12} -> partition {} offset {}", written.partition, written.offset);
    }
    producer.close(Duration::from_secs(10)).await;
    Ok(())
}
