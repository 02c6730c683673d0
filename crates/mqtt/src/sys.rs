//! `$SYS`: what the server says about itself, under Mosquitto's names. Delivered here and retained in memory, never
//! logged.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use mqtt_codec::{PropertiesBuf, QoS};

use crate::broker::Broker;
use crate::message::{Message, PartitionId, Position, Publication, now_ms};

/// Publishes until the server stops.
pub(crate) async fn run(broker: Arc<Broker>, interval: Duration) {
    let mut said = Said::default();
    let mut loads = Loads::default();
    said.say(&broker, "$SYS/broker/version", broker.config.version.clone());
    let mut last = Instant::now();
    loop {
        report(&broker, &mut said);
        tokio::time::sleep(interval).await;
        let now = Instant::now();
        loads.update(&broker, &mut said, now.duration_since(last));
        last = now;
    }
}

fn report(broker: &Broker, said: &mut Said) {
    let stats = &broker.stats;
    let connected = stats.connected.load(Ordering::Relaxed).max(0);
    let total = i64::try_from(broker.registry.len()).unwrap_or(i64::MAX);
    let away = (total - connected).max(0);
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed).to_string();
    let (retained, retained_bytes) = broker.retained.size();
    let heap = memory()
        .into_iter()
        .flat_map(|(now, most)| [("heap/current", now.to_string()), ("heap/maximum", most.to_string())]);
    let values = [
        ("uptime", format!("{} seconds", broker.started.elapsed().as_secs())),
        ("clients/total", total.max(connected).to_string()),
        ("clients/maximum", stats.connected_max.load(Ordering::Relaxed).to_string()),
        ("clients/inactive", away.to_string()),
        ("clients/disconnected", away.to_string()),
        ("clients/active", connected.to_string()),
        ("clients/connected", connected.to_string()),
        ("clients/expired", count(&stats.expired)),
        ("subscriptions/count", broker.hub.subscriptions.len().to_string()),
        (
            "shared_subscriptions/count",
            broker.hub.shares().iter().map(|g| g.members()).sum::<usize>().to_string(),
        ),
        ("retained messages/count", retained.to_string()),
        // What waits for sessions that are away stands in the log once, and is not counted again here.
        ("messages/stored", retained.to_string()),
        ("store/messages/count", retained.to_string()),
        ("store/messages/bytes", retained_bytes.to_string()),
        ("messages/received", count(&stats.packets_received)),
        ("messages/sent", count(&stats.packets_sent)),
        ("bytes/received", count(&stats.bytes_received)),
        ("bytes/sent", count(&stats.bytes_sent)),
        ("publish/messages/received", count(&stats.publish_received)),
        ("publish/messages/sent", count(&stats.publish_sent)),
        ("publish/messages/dropped", count(&stats.publish_dropped)),
        ("publish/messages/lost-to-retention", count(&stats.lost_to_retention)),
        ("publish/bytes/received", count(&stats.publish_bytes_received)),
        ("publish/bytes/sent", count(&stats.publish_bytes_sent)),
    ];
    for (name, value) in values.into_iter().chain(heap) {
        said.say(broker, &format!("$SYS/broker/{name}"), value);
    }
}

/// Bytes of memory that the process uses now and has used at most; `None` where the system does not tell.
fn memory() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kibibytes("VmRSS")? * 1024, kibibytes("VmHWM")? * 1024))
}

/// What was said last: only news are published.
#[derive(Default)]
struct Said {
    values: HashMap<String, String>,
    count: i64,
}

impl Said {
    fn say(&mut self, broker: &Broker, topic: &str, value: String) {
        if self.values.get(topic) == Some(&value) {
            return;
        }
        let topic_bytes = Bytes::copy_from_slice(topic.as_bytes());
        let message = Arc::new(Message {
            publication: Publication {
                topic: topic_bytes.clone(),
                payload: Bytes::copy_from_slice(value.as_bytes()),
                qos: QoS::ExactlyOnce,
                retain: true,
                properties: PropertiesBuf::new(),
                expiry_s: None,
                client: None,
                source: None,
            },
            stored_ms: now_ms(),
            position: None,
        });
        self.count += 1;
        let at = Position { partition: PartitionId::NONE, offset: self.count };
        broker.retained.apply(topic_bytes, Some(message.clone()), at);
        broker.hub.deliver_local(&message);
        self.values.insert(topic.to_owned(), value);
    }
}

/// Moving averages per minute over 1, 5 and 15 minutes.
#[derive(Default)]
struct Loads {
    seen: [u64; 9],
    averages: [[f64; 3]; 9],
}

impl Loads {
    fn update(&mut self, broker: &Broker, said: &mut Said, elapsed: Duration) {
        let s = &broker.stats;
        let counters = [
            ("messages/received", &s.packets_received),
            ("messages/sent", &s.packets_sent),
            ("publish/dropped", &s.publish_dropped),
            ("publish/received", &s.publish_received),
            ("publish/sent", &s.publish_sent),
            ("bytes/received", &s.bytes_received),
            ("bytes/sent", &s.bytes_sent),
            ("sockets", &s.sockets),
            ("connections", &s.connects),
        ];
        let seconds = elapsed.as_secs_f64().max(0.001);
        let rows = counters.into_iter().zip(&mut self.seen).zip(&mut self.averages);
        for (((name, counter), seen), averages) in rows {
            let now = counter.load(Ordering::Relaxed);
            let per_minute = now.saturating_sub(*seen) as f64 * 60.0 / seconds;
            *seen = now;
            for (average, minutes) in averages.iter_mut().zip([1u32, 5, 15]) {
                let keep = (-seconds / (60.0 * f64::from(minutes))).exp();
                *average = per_minute + keep * (*average - per_minute);
                said.say(broker, &format!("$SYS/broker/load/{name}/{minutes}min"), format!("{average:.2}"));
            }
        }
    }
}
