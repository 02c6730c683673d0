//! Persistent subscribers that come back after every kill and remember what they were handed.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mqtt_codec::{Ack, Connect, Packet, PacketId, ProtocolVersion, Publish, QoS, ReasonCode};
use testkit::history::{SubscriberEnd, Value};
use testkit::mqtt_client::MqttClient;
use tokio::task::JoinHandle;

use super::{Drivers, Moments, PATIENCE};

/// After the publishers have ended, nothing for this long means that everything has come.
const QUIET: Duration = Duration::from_secs(3);
/// Most packets that a restless subscriber takes before it goes away.
const STAY_PACKETS: u64 = 200;
/// Longest time that it stays away, milliseconds.
const AWAY_MS: u64 = 400;

/// Who subscribes to what, and how steadily.
#[derive(Clone, Debug)]
pub struct Role {
    /// Client id.
    pub name: String,
    /// Protocol.
    pub version: ProtocolVersion,
    /// Of all its subscriptions.
    pub qos: QoS,
    /// Its subscriptions.
    pub filters: Vec<String>,
    /// Goes away now and then, for a while or to come back on another connection before the first one has ended.
    pub restless: Option<Moments>,
}

/// The running subscriber.
pub struct Subscriber {
    name: String,
    qos: QoS,
    task: JoinHandle<Vec<(Arc<str>, Value)>>,
}

#[derive(Default)]
struct State {
    received: Vec<(Arc<str>, Value)>,
    /// QoS 2 packet identifiers between PUBLISH and PUBREL.
    held: HashSet<PacketId>,
}

/// Subscribes and goes on until [`Subscriber::finish`].
pub async fn start(drivers: &Drivers, mut role: Role) -> Result<Subscriber> {
    let mut client = connect(drivers.mqtt, &role, false).await?;
    for filter in &role.filters {
        client.subscribe(filter, role.qos).await?;
    }
    let drivers = drivers.clone();
    let (name, qos) = (role.name.clone(), role.qos);
    let task = tokio::spawn(async move {
        let mut state = State::default();
        let mut next = Some(client);
        loop {
            let client = match next.take() {
                Some(client) => Ok(client),
                None => connect(drivers.mqtt, &role, true).await,
            };
            match client {
                Ok(client) => match state.receive(client, &drivers, &mut role).await {
                    Ok(true) => break,
                    Ok(false) => {
                        let away = role.restless.as_mut().map_or(0, |moments| moments.next(AWAY_MS));
                        tokio::time::sleep(Duration::from_millis(away)).await;
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                },
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        state.received
    });
    Ok(Subscriber { name, qos, task })
}

impl Subscriber {
    /// Waits until nothing comes any more; `topics` are those that its filters match.
    pub async fn finish(self, topics: Vec<Arc<str>>) -> SubscriberEnd {
        let received = self.task.await.expect("no panic");
        SubscriberEnd { name: self.name, granted_qos: self.qos as u8, topics, since: 0, received }
    }
}

async fn connect(address: SocketAddr, role: &Role, again: bool) -> Result<MqttClient> {
    let mut connect = Connect::new(role.version, role.name.clone());
    connect.clean_start = false;
    if role.version.is_v5() {
        connect.properties.session_expiry_interval = Some(3600);
    }
    let (client, ack) = MqttClient::open(address, connect).await?;
    if ack.reason != ReasonCode::Success {
        bail!("refused: {:?}", ack.reason);
    }
    assert!(ack.session_present || !again, "the session of {} is gone", role.name);
    Ok(client)
}

impl State {
    /// One connection; true when the publishers have ended and all is quiet, false when a restless one leaves.
    async fn receive(&mut self, mut client: MqttClient, drivers: &Drivers, role: &mut Role) -> Result<bool> {
        let mut stays = role.restless.as_mut().map(|moments| 1 + moments.next(STAY_PACKETS));
        loop {
            let packet = match tokio::time::timeout(QUIET, client.receive()).await {
                Ok(packet) => packet?,
                Err(_) if drivers.stopping() => return Ok(true),
                Err(_) => continue,
            };
            self.take(packet, &mut client)?;
            while let Some(packet) = client.reader.buffered()? {
                self.take(packet, &mut client)?;
            }
            client.writer.flush().await?;
            stays = stays.map(|left| left.saturating_sub(1));
            if stays == Some(0) {
                let Some(moments) = role.restless.as_mut() else { continue };
                if moments.next(2) == 0 {
                    return Ok(false);
                }
                stays = Some(1 + moments.next(STAY_PACKETS));
                client = connect(drivers.mqtt, role, true).await?;
            }
        }
    }

    fn take(&mut self, packet: Packet, client: &mut MqttClient) -> Result<()> {
        match packet {
            Packet::Publish(publish) => {
                let (topic, value) = parse(&publish)?;
                match (publish.qos, publish.packet_id) {
                    (QoS::ExactlyOnce, Some(id)) => {
                        if self.held.insert(id) {
                            self.received.push((topic, value));
                        }
                        client.writer.push(&Packet::PubRec(Ack::new(id)))
                    }
                    (QoS::AtLeastOnce, Some(id)) => {
                        self.received.push((topic, value));
                        client.writer.push(&Packet::PubAck(Ack::new(id)))
                    }
                    _ => {
                        self.received.push((topic, value));
                        Ok(())
                    }
                }
            }
            Packet::PubRel(ack) => {
                self.held.remove(&ack.packet_id);
                client.writer.push(&Packet::PubComp(Ack::new(ack.packet_id)))
            }
            other => bail!("unexpected {other:?}"),
        }
    }
}

fn parse(publish: &Publish) -> Result<(Arc<str>, Value)> {
    let value = std::str::from_utf8(&publish.payload)?.parse().context("a payload that is no value")?;
    Ok((publish.topic.as_str().into(), value))
}

/// What a new subscriber gets as the retained message of each topic.
pub async fn retained(address: SocketAddr, topics: &[Arc<str>]) -> Result<Vec<(Arc<str>, Option<Value>)>> {
    let (mut client, _) = MqttClient::open(address, Connect::new(ProtocolVersion::V311, "kill-late")).await?;
    let mut found: Vec<(Arc<str>, Option<Value>)> = topics.iter().map(|t| (t.clone(), None)).collect();
    client.subscribe("kept/#", QoS::AtMostOnce).await?;
    // Retained messages come in the order of the subscription; a ping after it is answered after them.
    client.send(&Packet::PingReq).await?;
    loop {
        match tokio::time::timeout(PATIENCE, client.receive()).await?? {
            Packet::Publish(publish) => {
                let (topic, value) = parse(&publish)?;
                let slot = found.iter_mut().find(|(t, _)| *t == topic).context("an unknown topic")?;
                slot.1 = Some(value);
            }
            Packet::PingResp => return Ok(found),
            other => bail!("unexpected {other:?}"),
        }
    }
}
