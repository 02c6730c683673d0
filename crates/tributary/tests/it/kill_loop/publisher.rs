//! MQTT publishers with a persistent session, as devices are: what was not acknowledged is sent again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use mqtt_codec::{Ack, Connect, Packet, PacketId, ProtocolVersion, Publish, QoS, ReasonCode, Utf8Bytes};
use testkit::history::{self, Delivery, OpId, Partition, Process, Send, Value};
use testkit::mqtt_client::MqttClient;

use super::Drivers;

/// A packet that is waited for this long never comes.
const PACKET_WAIT: Duration = Duration::from_secs(10);

/// One message that is not yet fully acknowledged.
struct Pending {
    packet_id: PacketId,
    value: Value,
    /// The record it becomes, and the message subscribers get.
    ops: [OpId; 2],
    /// PUBREC came: from now on only PUBREL is sent.
    received: bool,
}

/// How a publisher goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Its number.
    pub process: Process,
    /// At which quality of service it publishes.
    pub qos: u8,
    /// First level of its topic, and the Kafka topic.
    pub root: &'static str,
    /// Most messages under way.
    pub window: usize,
    /// Pause after each message (at QoS 0 at least two milliseconds).
    pub pause: Duration,
}

struct Publisher {
    drivers: Drivers,
    device: Device,
    process: Process,
    qos: QoS,
    topic: Utf8Bytes,
    version: ProtocolVersion,
    pending: VecDeque<Pending>,
    packet_id: PacketId,
    session_seen: bool,
}

/// Publishes to `ROOT/PROCESS` until told to stop, then until everything is acknowledged.
pub async fn run(drivers: Drivers, device: Device) {
    let Device { process, qos, root, .. } = device;
    let version = if process.is_multiple_of(2) { ProtocolVersion::V311 } else { ProtocolVersion::V5 };
    let qos = QoS::from_u8(qos).expect("0 to 2");
    let topic = format!("{root}/{process}").into();
    let mut publisher = Publisher {
        drivers,
        device,
        process,
        qos,
        topic,
        version,
        pending: VecDeque::new(),
        packet_id: PacketId::MIN,
        session_seen: false,
    };
    loop {
        match publisher.connection().await {
            Ok(()) => return,
            // The node was killed: come back with what is pending.
            Err(e) => {
                if publisher.drivers.stopping() {
                    println!(
                        "publisher {process} after the kills: {e:#}, {} pending",
                        publisher.pending.len()
                    );
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

impl Publisher {
    /// One connection; `Ok` when all is done.
    async fn connection(&mut self) -> Result<()> {
        let mut connect =
            Connect::new(self.version, format!("{}-publisher-{}", self.device.root, self.process));
        connect.clean_start = false;
        if self.version.is_v5() {
            connect.properties.session_expiry_interval = Some(3600);
        }
        let (mut client, ack) = MqttClient::open(self.drivers.mqtt, connect).await?;
        if ack.reason != ReasonCode::Success {
            bail!("refused: {:?}", ack.reason);
        }
        assert!(
            ack.session_present || !self.session_seen,
            "the session of publisher {} is gone",
            self.process
        );
        self.session_seen = true;
        for index in 0..self.pending.len() {
            let again = match &self.pending[index] {
                p if p.received => Packet::PubRel(Ack::new(p.packet_id)),
                p => Packet::Publish(self.message(p.packet_id, p.value, true)),
            };
            client.writer.push(&again)?;
        }
        client.writer.flush().await?;
        loop {
            while self.pending.len() < self.device.window && !self.drivers.stopping() {
                self.publish(&mut client)?;
                let least = Duration::from_millis(if self.qos == QoS::AtMostOnce { 2 } else { 0 });
                let pause = self.device.pause.max(least);
                if !pause.is_zero() {
                    client.writer.flush().await?;
                    tokio::time::sleep(pause).await;
                }
            }
            client.writer.flush().await?;
            if self.pending.is_empty() {
                client.send(&Packet::Disconnect(mqtt_codec::Disconnect::new(ReasonCode::Success))).await?;
                return Ok(());
            }
            let packet = tokio::time::timeout(PACKET_WAIT, client.receive()).await??;
            self.take(packet, &mut client)?;
        }
    }

    fn publish(&mut self, client: &mut MqttClient) -> Result<()> {
        let value = self.drivers.next_value();
        let delivery = match self.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce,
            QoS::ExactlyOnce => Delivery::ExactlyOnce,
        };
        let partition = Partition::new(self.device.root, 0);
        let recorder = &self.drivers.recorder;
        let record = recorder.send(self.process, Send { partition, value, delivery, ordered: true });
        let topic: Arc<str> = self.topic.as_str().into();
        let publish = history::Publish { topic, value, qos: self.qos as u8, retain: false, clear: false };
        let message = recorder.publish(self.process, publish);
        client.writer.push(&Packet::Publish(self.message(self.packet_id, value, false)))?;
        if self.qos != QoS::AtMostOnce {
            let pending =
                Pending { packet_id: self.packet_id, value, ops: [record, message], received: false };
            self.pending.push_back(pending);
            self.packet_id = self.packet_id.next();
        }
        Ok(())
    }

    fn message(&self, packet_id: PacketId, value: Value, dup: bool) -> Publish {
        Publish {
            dup: dup && self.qos != QoS::AtMostOnce,
            qos: self.qos,
            topic: self.topic.clone(),
            packet_id: (self.qos != QoS::AtMostOnce).then_some(packet_id),
            payload: Bytes::from(value.to_string()),
            ..Publish::default()
        }
    }

    fn take(&mut self, packet: Packet, client: &mut MqttClient) -> Result<()> {
        match packet {
            Packet::PubAck(ack) if (ack.reason as u8) < 0x80 => self.acknowledged(ack.packet_id),
            Packet::PubRec(ack) if (ack.reason as u8) < 0x80 => {
                if let Some(p) = self.pending.iter_mut().find(|p| p.packet_id == ack.packet_id) {
                    p.received = true;
                    p.ops.iter().for_each(|op| self.drivers.recorder.sent(*op, None));
                }
                client.writer.push(&Packet::PubRel(Ack::new(ack.packet_id)))?;
            }
            Packet::PubComp(ack) => self.acknowledged(ack.packet_id),
            other => bail!("unexpected {other:?}"),
        }
        Ok(())
    }

    fn acknowledged(&mut self, packet_id: PacketId) {
        if let Some(at) = self.pending.iter().position(|p| p.packet_id == packet_id)
            && let Some(done) = self.pending.remove(at)
        {
            done.ops.iter().for_each(|op| self.drivers.recorder.sent(*op, None));
        }
    }
}

/// Sets and clears retained messages on a few topics, one at a time; answers the topics.
pub async fn run_retained(drivers: Drivers, process: Process) -> Vec<Arc<str>> {
    let topics: Vec<Arc<str>> = (0..4).map(|n| format!("kept/{n}").into()).collect();
    let mut number = 0;
    let mut waiting: Option<(Publish, OpId)> = None;
    while waiting.is_some() || !drivers.stopping() {
        let connect = Connect::new(ProtocolVersion::V311, format!("kill-retainer-{process}"));
        let Ok((mut client, _)) = MqttClient::open(drivers.mqtt, connect).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while waiting.is_some() || !drivers.stopping() {
            // After a kill the same message is sent again: until its ack nobody knows whether it was taken.
            let (publish, op) = waiting.take().unwrap_or_else(|| {
                number += 1;
                let (topic, clear) = (topics[number % topics.len()].clone(), number.is_multiple_of(7));
                let value = drivers.next_value();
                let payload = if clear { Bytes::new() } else { Bytes::from(value.to_string()) };
                let op = history::Publish { topic: topic.clone(), value, qos: 1, retain: true, clear };
                let op = drivers.recorder.publish(process, op);
                let packet_id = PacketId::new((number % 60_000) as u16 + 1);
                let topic = topic.to_string().into();
                (
                    Publish {
                        qos: QoS::AtLeastOnce,
                        retain: true,
                        topic,
                        packet_id,
                        payload,
                        ..Publish::default()
                    },
                    op,
                )
            });
            let sent = client.send(&Packet::Publish(publish.clone())).await;
            let acked = match sent {
                Ok(()) => tokio::time::timeout(PACKET_WAIT, client.receive()).await,
                Err(e) => Ok(Err(e)),
            };
            match acked {
                Ok(Ok(Packet::PubAck(_))) => drivers.recorder.sent(op, None),
                _ => {
                    waiting = Some((publish, op));
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    topics
}
