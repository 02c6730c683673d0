//! Writers and readers of a compacted topic that is cleaned all the time: whoever reads it from its beginning finds
//! the latest value of every key, and none that was replaced or deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::admin::NewTopic;
use client::{Consumer, ConsumerConfig, ProducerRecord, TopicPartition};
use testkit::history::{Op, Outcome, Process, Value};

use super::{Drivers, PATIENCE};

/// Kafka topic.
pub const TOPIC: &str = "latest";
/// Keys of one writer.
const KEYS: u64 = 40;
/// Enough that segments fill up.
const VALUE_BYTES: usize = 2_000;

/// A topic whose segments are small, always worth cleaning, and whose delete markers go at once.
pub fn topic() -> NewTopic {
    let mut topic = NewTopic::new(TOPIC, Some(1), Some(1));
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
        ("file.delete.delay.ms", "200"),
    ];
    topic.configs = configs.map(|(name, value)| (name.to_string(), value.to_string())).to_vec();
    topic
}

fn name(process: Process, key: u64) -> Arc<str> {
    format!("{TOPIC}/{process}/{key}").into()
}

/// Every name that `writers` write.
pub fn names(writers: impl Iterator<Item = Process>) -> Vec<Arc<str>> {
    writers.flat_map(|process| (0..KEYS).map(move |key| name(process, key))).collect()
}

/// Sets and deletes keys until told to stop.
pub async fn write(drivers: Drivers, process: Process) {
    let producer = drivers.producer(&[("acks", "all"), ("enable.idempotence", "true"), ("linger.ms", "1")]);
    let mut number = u64::from(process);
    while !drivers.stopping() {
        let mut pending = Vec::new();
        for _ in 0..10 {
            number += 1;
            let name = name(process, (number * 7) % KEYS);
            let value = (!number.is_multiple_of(5)).then(|| drivers.next_value());
            let op = drivers.recorder.begin(process, Op::Set { name: name.clone(), value });
            let payload = value.map(|value| Bytes::from(format!("{value:<VALUE_BYTES$}")));
            let key = Some(Bytes::copy_from_slice(name.as_bytes()));
            let record = ProducerRecord {
                topic: TOPIC.into(),
                partition: Some(0),
                key,
                value: payload,
                ..Default::default()
            };
            pending.push((op, producer.send(record).await.expect("sends")));
        }
        for (op, delivery) in pending {
            if let Ok(metadata) = delivery.await {
                drivers.recorder.sent(op, Some(metadata.offset));
            }
        }
    }
    producer.close(PATIENCE).await;
}

/// Reads the topic from its beginning again and again until told to stop, and once more after that.
pub async fn read(drivers: Drivers, process: Process, names: Vec<Arc<str>>) -> i64 {
    let mut config = ConsumerConfig::new(&drivers.kafka.to_string(), None).expect("config");
    config.client.reconnect_backoff_max = Duration::from_millis(100);
    let mut consumer = Consumer::new(config).expect("consumer");
    let of = TopicPartition::new(TOPIC, 0);
    consumer.assign(std::slice::from_ref(&of)).expect("assigned");
    loop {
        let last = drivers.stopping();
        let id = drivers.recorder.begin(process, Op::Look);
        match scan(&mut consumer, &of).await {
            Ok((mut found, records)) => {
                let found = names.iter().map(|name| (name.clone(), found.remove(name).flatten())).collect();
                drivers.recorder.end(id, Outcome::Found(found));
                if last {
                    return records;
                }
            }
            Err(e) => assert!(!last, "the last read: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The latest value of each key, and how many records there were.
async fn scan(
    consumer: &mut Consumer,
    of: &TopicPartition,
) -> Result<(BTreeMap<Arc<str>, Option<Value>>, i64), client::Error> {
    let all = std::slice::from_ref(of);
    let end = consumer.end_offsets(all).await?[of];
    consumer.seek_to_beginning(all)?;
    let (mut found, mut records) = (BTreeMap::new(), 0);
    while consumer.position(of).await? < end {
        for record in consumer.poll(Duration::from_millis(200)).await? {
            records += 1;
            let name = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()).expect("a key");
            let value = record.value.as_deref().map(|v| std::str::from_utf8(v).expect("text").trim().parse());
            found.insert(name.into(), value.transpose().expect("a value"));
        }
    }
    Ok((found, records))
}
