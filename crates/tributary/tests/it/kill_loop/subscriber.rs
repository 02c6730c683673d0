//! A persistent QoS 2 subscriber that comes back after every kill and remembers what it was handed.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mqtt_codec::{Ack, Connect, Packet, PacketId, ProtocolVersion, Publish, QoS, ReasonCode};
use testkit::history::{SubscriberEnd, Value};
use testkit::mqtt_client::MqttClient;
use tokio::task::JoinHandle;

use super::{Drivers, MQTT_TOPIC, PATIENCE};

const CLIENT_ID: &str = "kill-subscriber";
/// After the publishers have ended, nothing for this long means that everything has come.
const QUIET: Duration = Duration::from_secs(3);

/// The running subscriber.
pub struct Subscriber(JoinHandle<SubscriberEnd>);

#[derive(Default)]
struct State {
    received: Vec<(Arc<str>, Value)>,
    /// QoS 2 packet identifiers between PUBLISH and PUBREL.
    held: HashSet<PacketId>,
}

/// Subscribes to everything the publishers send and goes on until [`Subscriber::finish`].
pub async fn start(drivers: &Drivers) -> Result<Subscriber> {
    let mut client = connect(drivers.mqtt, false).await?;
    client.subscribe(&format!("{MQTT_TOPIC}/#"), QoS::ExactlyOnce).await?;
    let drivers = drivers.clone();
    Ok(Subscriber(tokio::spawn(async move {
        let mut state = State::default();
        let mut next = Some(client);
        loop {
            let client = match next.take() {
                Some(client) => Ok(client),
                None => connect(drivers.mqtt, true).await,
            };
            match client {
                Ok(client) => match state.receive(client, &drivers).await {
                    Ok(()) => break,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                },
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        let topics = (0..9).map(|process| format!("{MQTT_TOPIC}/{process}").into()).collect();
        SubscriberEnd { name: CLIENT_ID.into(), granted_qos: 2, topics, since: 0, received: state.received }
    })))
}

impl Subscriber {
    /// Waits until nothing comes any more.
    pub async fn finish(self) -> SubscriberEnd {
        self.0.await.expect("no panic")
    }
}

async fn connect(address: SocketAddr, again: bool) -> Result<MqttClient> {
    let mut connect = Connect::new(ProtocolVersion::V311, CLIENT_ID);
    connect.clean_start = false;
    let (client, ack) = MqttClient::open(address, connect).await?;
    if ack.reason != ReasonCode::Success {
        bail!("refused: {:?}", ack.reason);
    }
    assert!(ack.session_present || !again, "the subscriber's session is gone");
    Ok(client)
}

impl State {
    /// One connection; `Ok` when the publishers have ended and all is quiet.
    async fn receive(&mut self, mut client: MqttClient, drivers: &Drivers) -> Result<()> {
        loop {
            let packet = match tokio::time::timeout(QUIET, client.receive()).await {
                Ok(packet) => packet?,
                Err(_) if drivers.stopping() => return Ok(()),
                Err(_) => continue,
            };
            self.take(packet, &mut client)?;
            while let Some(packet) = client.reader.buffered()? {
                self.take(packet, &mut client)?;
            }
            client.writer.flush().await?;
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
