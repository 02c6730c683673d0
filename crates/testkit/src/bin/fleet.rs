//! Many sessions at once, for benchmarks: drives any MQTT broker, prints one JSON line.
//!
//! ```sh
//! fleet idle     --mqtt 127.0.0.1:1883 --count 10000            # connects, prints, waits for the end of stdin
//! fleet filters  --mqtt 127.0.0.1:1883 --count 50000            # wildcard subscriptions, prints, waits
//! fleet retained --mqtt 127.0.0.1:1883 --count 100000           # retains, prints, then drains them into one `#`
//! fleet offline  --mqtt 127.0.0.1:1883 --count 100 --messages 10000
//! ```

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mqtt_codec::{
    Ack, Connect, Disconnect, Packet, PacketId, ProtocolVersion, Publish, QoS, Subscribe, Subscription,
};
use testkit::mqtt_client::MqttClient;

/// Unacknowledged publishes.
const WINDOW: usize = 500;
/// Filters in one SUBSCRIBE.
const FILTERS: usize = 200;
/// Nothing arrives for this long: what is missing counts as lost.
const QUIET: Duration = Duration::from_secs(10);

struct Options(HashMap<String, String>);

impl Options {
    fn number(&self, name: &str, default: usize) -> Result<usize> {
        self.0.get(name).map_or(Ok(default), |v| v.parse().with_context(|| format!("--{name} {v}")))
    }
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mode = args.next().context("idle, filters, retained or offline?")?;
    let mut options = HashMap::new();
    while let Some(name) = args.next() {
        let name = name.strip_prefix("--").with_context(|| format!("{name}: expected --option"))?.to_string();
        options.insert(name, args.next().context("an option lacks its value")?);
    }
    let options = Options(options);
    let address: SocketAddr = options.0.get("mqtt").context("--mqtt is missing")?.parse()?;
    let (count, messages) = (options.number("count", 1000)?, options.number("messages", 1000)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match mode.as_str() {
            "idle" => idle(address, count).await,
            "filters" => filters(address, count, messages).await,
            "retained" => retained(address, count).await,
            "offline" => offline(address, count, messages).await,
            other => bail!("{other}: expected idle, filters, retained or offline"),
        }
    })
}

fn wait_for_end_of_input() -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn idle(address: SocketAddr, count: usize) -> Result<()> {
    let began = Instant::now();
    let mut clients = Vec::with_capacity(count);
    for n in 0..count {
        clients.push(open(address, &format!("idle-{n}"), true).await?);
    }
    println!("{{\"mode\":\"idle\",\"per_second\":{:.0}}}", count as f64 / began.elapsed().as_secs_f64());
    wait_for_end_of_input()
}

/// One client with many filters of which each message matches one.
async fn filters(address: SocketAddr, count: usize, messages: usize) -> Result<()> {
    let mut sub = open(address, "filters", true).await?;
    let all: Vec<String> = (0..count).map(|n| format!("fleet/+/{n}/#")).collect();
    for part in all.chunks(FILTERS) {
        let asked = part.iter().map(|f| Subscription::new(f, QoS::AtMostOnce)).collect();
        sub.send(&Packet::Subscribe(Subscribe::new(PacketId::MIN, asked))).await?;
        let Packet::SubAck(_) = sub.receive().await? else { bail!("no SUBACK") };
    }
    println!("{{\"mode\":\"filters\",\"subscribed\":{count}}}");
    let began = Instant::now();
    let mut pub_ = open(address, "publisher", true).await?;
    let publishing = publish(&mut pub_, messages, false, |n| format!("fleet/x/{}/y", n % count.max(1)));
    let (sent, received) = tokio::join!(publishing, receive(&mut sub, messages));
    sent?;
    let (received, last) = received?;
    println!(
        "{{\"mode\":\"filters\",\"delivered\":{received},\"expected\":{messages},\"per_second\":{:.0}}}",
        received as f64 / (last - began).as_secs_f64().max(1e-9)
    );
    wait_for_end_of_input()
}

async fn retained(address: SocketAddr, count: usize) -> Result<()> {
    let mut publisher = open(address, "publisher", true).await?;
    publish(&mut publisher, count, true, |n| format!("fleet/{n}")).await?;
    println!("{{\"mode\":\"retained\",\"retained\":{count}}}");
    let mut sub = open(address, "drain", true).await?;
    let began = Instant::now();
    sub.subscribe("#", QoS::AtMostOnce).await?;
    let (received, last) = receive(&mut sub, count).await?;
    println!(
        "{{\"mode\":\"retained\",\"delivered\":{received},\"expected\":{count},\"per_second\":{:.0}}}",
        received as f64 / (last - began).as_secs_f64().max(1e-9)
    );
    wait_for_end_of_input()
}

/// Sessions that are away while messages are published; one of them comes back.
async fn offline(address: SocketAddr, count: usize, messages: usize) -> Result<()> {
    for n in 0..count {
        let mut client = open(address, &format!("away-{n}"), false).await?;
        client.subscribe("fleet/#", QoS::AtLeastOnce).await?;
        client.send(&Packet::Disconnect(Disconnect::default())).await?;
    }
    println!("{{\"mode\":\"offline\",\"sessions\":{count}}}");
    let mut publisher = open(address, "publisher", true).await?;
    publish(&mut publisher, messages, false, |n| format!("fleet/{}", n % 10)).await?;
    println!("{{\"mode\":\"offline\",\"published\":{messages}}}");
    let began = Instant::now();
    let mut back = open(address, "away-0", false).await?;
    let (received, last) = receive(&mut back, messages).await?;
    println!(
        "{{\"mode\":\"offline\",\"delivered\":{received},\"expected\":{messages},\"per_second\":{:.0}}}",
        received as f64 / (last - began).as_secs_f64().max(1e-9)
    );
    wait_for_end_of_input()
}

async fn open(address: SocketAddr, id: &str, clean_start: bool) -> Result<MqttClient> {
    let connect = Connect { clean_start, ..Connect::new(ProtocolVersion::V311, id) };
    Ok(MqttClient::open(address, connect).await?.0)
}

/// Publishes with QoS 1, all acknowledged when this returns.
async fn publish(
    client: &mut MqttClient,
    count: usize,
    retain: bool,
    topic: impl Fn(usize) -> String,
) -> Result<()> {
    let (mut sent, mut acked) = (0, 0);
    let mut packet_id = PacketId::MIN;
    while acked < count {
        while sent < count && sent - acked < WINDOW {
            client.writer.push(&Packet::Publish(Publish {
                qos: QoS::AtLeastOnce,
                retain,
                topic: topic(sent).into(),
                packet_id: Some(packet_id),
                payload: vec![b'x'; 64].into(),
                ..Publish::default()
            }))?;
            packet_id = packet_id.next();
            sent += 1;
        }
        client.writer.flush().await?;
        let mut packet = Some(client.receive().await?);
        while let Some(Packet::PubAck(_)) = packet {
            acked += 1;
            packet = client.reader.buffered()?;
        }
        if let Some(other) = packet {
            bail!("unexpected {other:?}");
        }
    }
    Ok(())
}

/// Counts messages, acknowledging them, until all are there or nothing comes any more.
async fn receive(client: &mut MqttClient, count: usize) -> Result<(usize, Instant)> {
    let (mut received, mut last) = (0, Instant::now());
    while received < count {
        let Ok(packet) = tokio::time::timeout(QUIET, client.reader.next()).await else { break };
        let mut packet = Some(packet?.context("the server closed a subscriber's connection")?);
        while let Some(one) = packet {
            if let Packet::Publish(p) = one {
                received += 1;
                if let Some(id) = p.packet_id {
                    client.writer.push(&Packet::PubAck(Ack::new(id)))?;
                }
            }
            packet = client.reader.buffered()?;
        }
        last = Instant::now();
        client.writer.flush().await?;
    }
    Ok((received, last))
}
