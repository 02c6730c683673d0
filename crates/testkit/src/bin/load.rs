//! Load for benchmarks: drives any MQTT broker and any Kafka, measures at the far end, prints one JSON line.
//!
//! ```sh
//! load pubsub --mqtt 127.0.0.1:1883 --publishers 1 --subscribers 1 --messages 200000 --qos 1 --size 64
//! load relay  --mqtt 127.0.0.1:1883 --kafka 127.0.0.1:9092 --topic load --messages 20000 --rate 1000 --qos 1
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::{Consumer, ConsumerConfig, TopicPartition};
use mqtt_codec::{Ack, Connect, Packet, PacketId, ProtocolVersion, Publish, QoS, Utf8Bytes};
use testkit::mqtt_client::{MqttClient, PacketReader, PacketWriter};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Nothing arrives for this long: what is missing counts as lost.
const QUIET: Duration = Duration::from_secs(10);

struct Options(HashMap<String, String>);

impl Options {
    fn text(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("--{name} is missing"))
    }

    fn number(&self, name: &str, default: u64) -> Result<u64> {
        self.0.get(name).map_or(Ok(default), |v| v.parse().with_context(|| format!("--{name} {v}")))
    }

    fn address(&self, name: &str) -> Result<SocketAddr> {
        self.text(name)?.parse().with_context(|| format!("--{name}"))
    }
}

/// What publishers do.
#[derive(Clone)]
struct Publishing {
    address: SocketAddr,
    publishers: u64,
    messages: u64,
    /// Messages a second over all publishers; 0 = as fast as acks allow.
    rate: u64,
    qos: QoS,
    size: usize,
    in_flight: usize,
    topic: String,
    /// Time zero of the stamps in payloads.
    zero: Instant,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mode = args.next().context("pubsub or relay?")?;
    let mut options = HashMap::new();
    while let Some(name) = args.next() {
        let name = name.strip_prefix("--").with_context(|| format!("{name}: expected --option"))?.to_string();
        options.insert(name, args.next().context("an option lacks its value")?);
    }
    let options = Options(options);
    let publishing = Publishing {
        address: options.address("mqtt")?,
        publishers: options.number("publishers", 1)?.max(1),
        messages: options.number("messages", 10_000)?,
        rate: options.number("rate", 0)?,
        qos: QoS::from_u8(options.number("qos", 1)? as u8).context("--qos 0, 1 or 2")?,
        size: options.number("size", 64)?.max(16) as usize,
        in_flight: options.number("in-flight", 100)?.max(1) as usize,
        topic: options.text("mqtt-topic").unwrap_or("load/device").to_string(),
        zero: Instant::now(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match mode.as_str() {
            "pubsub" => pubsub(publishing, options.number("subscribers", 1)?).await,
            "relay" => relay(publishing, options.text("kafka")?, options.text("topic")?).await,
            other => bail!("{other}: expected pubsub or relay"),
        }
    })
}

async fn pubsub(publishing: Publishing, subscribers: u64) -> Result<()> {
    let mut receivers = JoinSet::new();
    for n in 0..subscribers {
        let (mut client, _) = MqttClient::open(
            publishing.address,
            Connect::new(ProtocolVersion::V311, format!("load-sub-{n}")),
        )
        .await?;
        client.subscribe(&format!("{}/#", publishing.topic), publishing.qos).await?;
        receivers.spawn(receive(client, publishing.clone()));
    }
    let began = Instant::now();
    let sent = publish_all(&publishing).await?;
    let mut delivered = 0;
    let mut latencies = Vec::new();
    let mut last = began;
    while let Some(outcome) = receivers.join_next().await {
        let (count, times, until) = outcome??;
        delivered += count;
        latencies.extend(times);
        last = last.max(until);
    }
    report("pubsub", sent, publishing.messages * subscribers, delivered, last.max(began) - began, latencies);
    Ok(())
}

async fn relay(publishing: Publishing, kafka: &str, topic: &str) -> Result<()> {
    let mut consumer = Consumer::new(ConsumerConfig::new(kafka, None)?)?;
    let partitions = consumer.partitions_for(topic).await?.with_context(|| format!("no topic {topic}"))?;
    let all: Vec<TopicPartition> = (0..partitions).map(|p| TopicPartition::new(topic, p)).collect();
    consumer.assign(&all)?;
    consumer.seek_to_end(&all)?;
    for partition in &all {
        consumer.position(partition).await?;
    }
    let expected = publishing.messages;
    let zero = publishing.zero;
    let began = Instant::now();
    let publisher = tokio::spawn(async move { publish_all(&publishing).await });
    let mut latencies = Vec::with_capacity(expected as usize);
    let mut last = began;
    while (latencies.len() as u64) < expected && last.elapsed() < QUIET {
        for record in consumer.poll(Duration::from_millis(100)).await? {
            last = Instant::now();
            latencies.push(stamp_age(zero, record.value.as_deref().unwrap_or_default())?);
        }
    }
    let sent = publisher.await??;
    report("relay", sent, expected, latencies.len() as u64, last - began, latencies);
    Ok(())
}

/// Publishes everything, answers how many messages were acknowledged (QoS 0: sent).
async fn publish_all(publishing: &Publishing) -> Result<u64> {
    let mut tasks = JoinSet::new();
    for n in 0..publishing.publishers {
        let share = publishing.messages / publishing.publishers
            + u64::from(n < publishing.messages % publishing.publishers);
        tasks.spawn(publish(publishing.clone(), n, share));
    }
    let mut acked = 0;
    while let Some(outcome) = tasks.join_next().await {
        acked += outcome??;
    }
    Ok(acked)
}

async fn publish(p: Publishing, number: u64, messages: u64) -> Result<u64> {
    let connect = Connect::new(ProtocolVersion::V311, format!("load-pub-{number}"));
    let (client, _) = MqttClient::open(p.address, connect).await?;
    let window = Arc::new(Semaphore::new(p.in_flight));
    let (release, mut releases) = tokio::sync::mpsc::unbounded_channel();
    let acks = tokio::spawn(read_acks(client.reader, Arc::clone(&window), release, p.qos, messages));
    let mut writer = client.writer;
    let topic: Utf8Bytes = format!("{}/{number}", p.topic).into();
    let interval = (p.rate > 0).then(|| Duration::from_secs_f64(p.publishers as f64 / p.rate as f64));
    let began = tokio::time::Instant::now();
    let mut packet_id = PacketId::MIN;
    for n in 0..messages {
        if let Some(interval) = interval {
            writer.flush().await?;
            tokio::time::sleep_until(began + interval * n as u32).await;
        }
        if p.qos != QoS::AtMostOnce {
            if window.available_permits() == 0 || writer.pending() > 60_000 {
                writer.flush().await?;
            }
            // QoS 2: the second half of earlier exchanges goes out with the next message.
            while let Ok(id) = releases.try_recv() {
                writer.push(&Packet::PubRel(Ack::new(id)))?;
            }
            loop {
                tokio::select! {
                    biased;
                    permit = window.acquire() => { permit?.forget(); break; }
                    Some(id) = releases.recv() => {
                        writer.push(&Packet::PubRel(Ack::new(id)))?;
                        writer.flush().await?;
                    }
                }
            }
        } else if writer.pending() > 60_000 {
            writer.flush().await?;
        }
        writer.push(&Packet::Publish(message(&p, n, topic.clone(), packet_id)))?;
        packet_id = packet_id.next();
    }
    writer.flush().await?;
    while let Some(id) = releases.recv().await {
        writer.push(&Packet::PubRel(Ack::new(id)))?;
        while let Ok(id) = releases.try_recv() {
            writer.push(&Packet::PubRel(Ack::new(id)))?;
        }
        writer.flush().await?;
    }
    let acked = acks.await??;
    Ok(if p.qos == QoS::AtMostOnce { messages } else { acked })
}

fn message(p: &Publishing, n: u64, topic: Utf8Bytes, packet_id: PacketId) -> Publish {
    let mut payload = vec![b'x'; p.size];
    payload[..8].copy_from_slice(&(p.zero.elapsed().as_nanos() as u64).to_be_bytes());
    payload[8..16].copy_from_slice(&n.to_be_bytes());
    Publish {
        qos: p.qos,
        topic,
        packet_id: (p.qos != QoS::AtMostOnce).then_some(packet_id),
        payload: payload.into(),
        ..Publish::default()
    }
}

async fn read_acks(
    mut reader: PacketReader,
    window: Arc<Semaphore>,
    release: tokio::sync::mpsc::UnboundedSender<PacketId>,
    qos: QoS,
    messages: u64,
) -> Result<u64> {
    let mut acked = 0;
    while qos != QoS::AtMostOnce && acked < messages {
        match reader.next().await?.context("the server closed a publisher's connection")? {
            Packet::PubAck(_) | Packet::PubComp(_) => {
                acked += 1;
                window.add_permits(1);
            }
            Packet::PubRec(ack) => release.send(ack.packet_id)?,
            other => bail!("unexpected {other:?}"),
        }
    }
    Ok(acked)
}

/// Counts deliveries until all are there or nothing comes any more.
async fn receive(client: MqttClient, p: Publishing) -> Result<(u64, Vec<u64>, Instant)> {
    let MqttClient { mut reader, mut writer } = client;
    let mut latencies = Vec::with_capacity(p.messages as usize);
    let mut last = Instant::now();
    while (latencies.len() as u64) < p.messages {
        let Ok(packet) = tokio::time::timeout(QUIET, reader.next()).await else { break };
        let mut packet = packet?.context("the server closed a subscriber's connection")?;
        loop {
            take(&packet, &mut writer, &mut latencies, p.zero)?;
            match reader.buffered()? {
                Some(next) => packet = next,
                None => break,
            }
        }
        last = Instant::now();
        writer.flush().await?;
    }
    Ok((latencies.len() as u64, latencies, last))
}

fn take(packet: &Packet, writer: &mut PacketWriter, latencies: &mut Vec<u64>, zero: Instant) -> Result<()> {
    match packet {
        Packet::Publish(publish) => {
            latencies.push(stamp_age(zero, &publish.payload)?);
            match (publish.qos, publish.packet_id) {
                (QoS::AtLeastOnce, Some(id)) => writer.push(&Packet::PubAck(Ack::new(id)))?,
                (QoS::ExactlyOnce, Some(id)) => writer.push(&Packet::PubRec(Ack::new(id)))?,
                _ => {}
            }
        }
        Packet::PubRel(ack) => writer.push(&Packet::PubComp(Ack::new(ack.packet_id)))?,
        other => bail!("unexpected {other:?}"),
    }
    Ok(())
}

/// Nanoseconds since the stamp at the start of a payload.
fn stamp_age(zero: Instant, payload: &[u8]) -> Result<u64> {
    let stamp: [u8; 8] =
        payload.get(..8).and_then(|b| b.try_into().ok()).context("a payload without its stamp")?;
    Ok((zero.elapsed().as_nanos() as u64).saturating_sub(u64::from_be_bytes(stamp)))
}

fn report(mode: &str, sent: u64, expected: u64, delivered: u64, wall: Duration, mut latencies: Vec<u64>) {
    latencies.sort_unstable();
    let quantile = |q: f64| {
        let at = ((latencies.len() as f64 * q) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(at).map_or(0.0, |ns| *ns as f64 / 1e6)
    };
    let seconds = wall.as_secs_f64();
    println!(
        "{{\"mode\":\"{mode}\",\"acknowledged\":{sent},\"expected\":{expected},\"delivered\":{delivered},\
         \"seconds\":{seconds:.3},\"per_second\":{:.0},\"p50_ms\":{:.3},\"p99_ms\":{:.3},\"max_ms\":{:.3}}}",
        delivered as f64 / seconds.max(1e-9),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
}
