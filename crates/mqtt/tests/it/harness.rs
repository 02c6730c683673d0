//! A broker on a log in memory, and a client that speaks packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqtt::testing::{MemoryDoor, Store};
use mqtt::{ListenerConfig, MqttConfig, MqttHandle, Server};
use mqtt_codec::{
    Ack, ConnAck, Connect, Decoder, Disconnect, Packet, PacketId, ProtocolVersion, Publish, QoS, Subscribe,
    Subscription, Unsubscribe, Will,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub use mqtt_codec::ProtocolVersion::{V5, V311};

pub const PATIENCE: Duration = Duration::from_secs(10);

/// A running broker.
pub struct Broker {
    pub door: MemoryDoor,
    pub address: SocketAddr,
    pub handle: MqttHandle,
}

/// What a client's bytes go through.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

pub fn config() -> MqttConfig {
    MqttConfig { sys_interval: None, checkpoint_interval: Duration::from_millis(20), ..MqttConfig::default() }
}

impl Broker {
    pub async fn start() -> Self {
        Self::with(config(), Arc::default()).await
    }

    /// With one listener added to `config`, on what `store` holds.
    pub async fn with(mut config: MqttConfig, store: Arc<Store>) -> Self {
        if config.listeners.is_empty() {
            config.listeners.push(ListenerConfig::new(([127, 0, 0, 1], 0).into()));
        }
        Self::on(config, MemoryDoor::open(store)).await
    }

    /// One of several on the same store.
    pub async fn node(store: &Arc<Store>, name: &str) -> Self {
        let mut config = config();
        config.listeners.push(ListenerConfig::new(([127, 0, 0, 1], 0).into()));
        Self::on(config, MemoryDoor::open_node(store.clone(), name)).await
    }

    /// On a door, `config` having listeners.
    pub async fn on(config: MqttConfig, door: MemoryDoor) -> Self {
        let handle = Server::start(config, Arc::new(door.clone())).await.unwrap();
        let address = handle.addresses().first().copied().unwrap_or(([127, 0, 0, 1], 0).into());
        Self { door, address, handle }
    }

    /// A clean stop; what stays is the store.
    pub async fn stop(self) -> Arc<Store> {
        let store = self.door.store().clone();
        self.handle.shutdown().await;
        store
    }

    /// What a SIGKILL leaves.
    pub fn kill(self) -> Arc<Store> {
        self.door.kill();
        self.door.store().clone()
    }

    pub async fn connect(&self, connect: Connect) -> Client {
        let (client, connack) = self.try_connect(connect).await;
        assert_eq!(connack.reason.as_u8(), 0, "{connack:?}");
        client
    }

    pub async fn try_connect(&self, connect: Connect) -> (Client, ConnAck) {
        let mut client = self.open(connect.version).await;
        client.send(&Packet::Connect(Box::new(connect))).await;
        let Packet::ConnAck(connack) = client.recv().await else { panic!("no CONNACK") };
        (client, *connack)
    }

    /// A connection without CONNECT.
    pub async fn open(&self, version: ProtocolVersion) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client::on(Box::new(stream), version)
    }

    /// A clean client of that name.
    pub async fn clean(&self, version: ProtocolVersion, id: &str) -> Client {
        self.connect(clean(version, id)).await
    }
}

/// CONNECT of a session that ends with its connection.
pub fn clean(version: ProtocolVersion, id: &str) -> Connect {
    Connect { clean_start: true, keep_alive: 60, ..Connect::new(version, id) }
}

/// CONNECT of a session that stays, taken up if it is there.
pub fn persistent(version: ProtocolVersion, id: &str) -> Connect {
    let mut c = Connect { clean_start: false, keep_alive: 60, ..Connect::new(version, id) };
    if version == V5 {
        c.properties.session_expiry_interval = Some(3600);
    }
    c
}

pub fn will(topic: &str, payload: &str, qos: u8) -> Will {
    Will {
        topic: topic.to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::from_u8(qos).unwrap(),
        retain: false,
        properties: Default::default(),
    }
}

pub fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

/// One client.
pub struct Client {
    pub stream: Box<dyn Duplex>,
    decoder: Decoder,
    input: BytesMut,
    pub version: ProtocolVersion,
    next: u16,
}

impl Client {
    /// A client on any stream, before CONNECT.
    pub fn on(stream: Box<dyn Duplex>, version: ProtocolVersion) -> Self {
        let decoder = Decoder::for_client(version, u32::MAX);
        Self { stream, decoder, input: BytesMut::new(), version, next: 1 }
    }

    /// Sends CONNECT; the CONNACK, or `None` when the broker closed the connection.
    pub async fn enter(&mut self, connect: Connect) -> Option<ConnAck> {
        self.send(&Packet::Connect(Box::new(connect))).await;
        match self.next().await? {
            Packet::ConnAck(connack) => Some(*connack),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    pub async fn send(&mut self, packet: &Packet) {
        let bytes = packet.to_vec(self.version).unwrap();
        self.send_bytes(&bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next packet; `None` when the broker closed the connection.
    pub async fn next(&mut self) -> Option<Packet> {
        let read = async {
            loop {
                if let Some(packet) = self.decoder.decode(&mut self.input).unwrap() {
                    return Some(packet);
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("nothing came")
    }

    pub async fn recv(&mut self) -> Packet {
        self.next().await.expect("closed")
    }

    /// The next packet as text.
    pub async fn text(&mut self) -> String {
        self.next().await.map_or("closed".to_owned(), |p| text(&p))
    }

    pub async fn expect(&mut self, expected: &str) {
        assert_eq!(self.text().await, expected);
    }

    /// The next packet that is no message; messages of QoS 1 are acknowledged and noted.
    pub async fn recv_past_publishes(&mut self, got: &mut Vec<u32>) -> Packet {
        loop {
            match self.recv().await {
                Packet::Publish(p) => {
                    got.push(String::from_utf8_lossy(&p.payload).parse().unwrap());
                    if let Some(n) = p.packet_id {
                        self.send(&Packet::PubAck(Ack::new(n))).await;
                    }
                }
                other => return other,
            }
        }
    }

    /// Waits for the broker to close the connection.
    pub async fn until_closed(&mut self) {
        while self.next().await.is_some() {}
    }

    /// What comes before the answer to a PINGREQ sent now.
    pub async fn until_ping(&mut self) -> Vec<String> {
        self.send(&Packet::PingReq).await;
        let mut out = Vec::new();
        loop {
            match self.text().await {
                t if t == "pingresp" => return out,
                t => out.push(t),
            }
        }
    }

    pub fn id(&mut self) -> PacketId {
        let n = id(self.next);
        self.next = n.next().get();
        n
    }

    pub async fn subscribe(&mut self, filter: &str, qos: u8) {
        let s = Subscription::new(filter, QoS::from_u8(qos).unwrap());
        self.subscribe_with(s, None).await;
    }

    pub async fn subscribe_with(&mut self, s: Subscription, subscription_id: Option<u32>) {
        let granted = s.qos.as_u8();
        let packet_id = self.id();
        let mut packet = Subscribe::new(packet_id, vec![s]);
        packet.properties.subscription_identifier = subscription_id;
        self.send(&Packet::Subscribe(packet)).await;
        self.expect(&format!("suback {packet_id} [{granted}]")).await;
    }

    pub async fn unsubscribe(&mut self, filter: &str) {
        let packet_id = self.id();
        self.send(&Packet::Unsubscribe(Unsubscribe::new(packet_id, vec![filter.to_owned()]))).await;
        let Packet::UnsubAck(a) = self.recv().await else { panic!("no UNSUBACK") };
        assert_eq!(a.packet_id, packet_id);
    }

    /// Publishes and goes through the whole exchange; nothing else may arrive meanwhile.
    pub async fn publish(&mut self, topic: &str, payload: &str, qos: u8) {
        self.publish_packet(publish(topic, payload, qos)).await;
    }

    pub async fn publish_packet(&mut self, mut p: Publish) {
        if p.qos != QoS::AtMostOnce {
            p.packet_id = Some(self.id());
        }
        let (qos, packet_id) = (p.qos, p.packet_id);
        self.send(&Packet::Publish(p)).await;
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(n)) => {
                let Packet::PubAck(a) = self.recv().await else { panic!("no PUBACK") };
                assert_eq!((a.packet_id, a.reason.is_error()), (n, false));
            }
            (QoS::ExactlyOnce, Some(n)) => {
                self.expect(&format!("pubrec {n}")).await;
                self.send(&Packet::PubRel(Ack::new(n))).await;
                self.expect(&format!("pubcomp {n}")).await;
            }
            _ => {}
        }
    }

    /// The next message, acknowledged to its end, as text.
    pub async fn message(&mut self) -> String {
        let packet = self.recv().await;
        let t = text(&packet);
        let Packet::Publish(p) = packet else { panic!("{t} instead of a message") };
        match (p.qos, p.packet_id) {
            (QoS::AtLeastOnce, Some(n)) => self.send(&Packet::PubAck(Ack::new(n))).await,
            (QoS::ExactlyOnce, Some(n)) => {
                self.send(&Packet::PubRec(Ack::new(n))).await;
                self.expect(&format!("pubrel {n}")).await;
                self.send(&Packet::PubComp(Ack::new(n))).await;
            }
            _ => {}
        }
        t
    }

    /// Payloads of the next `n` messages, acknowledged.
    pub async fn payloads(&mut self, n: usize) -> Vec<String> {
        let mut out = Vec::new();
        for _ in 0..n {
            let m = self.message().await;
            out.push(m.rsplit(' ').next().unwrap_or_default().to_owned());
        }
        out
    }

    pub async fn disconnect(mut self) {
        self.send(&Packet::Disconnect(Disconnect::default())).await;
        assert_eq!(self.next().await, None);
    }
}

pub fn publish(topic: &str, payload: &str, qos: u8) -> Publish {
    Publish {
        topic: mqtt_codec::Utf8Bytes::from_utf8(Bytes::copy_from_slice(topic.as_bytes())).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::from_u8(qos).unwrap(),
        ..Publish::default()
    }
}

/// A packet as text: what tests compare.
pub fn text(packet: &Packet) -> String {
    let ack = |name: &str, a: &Ack| match a.reason.as_u8() {
        0 => format!("{name} {}", a.packet_id),
        r => format!("{name} {} 0x{r:02x}", a.packet_id),
    };
    match packet {
        Packet::Publish(p) => {
            let mut t = format!("publish {} q{}", p.topic.as_str(), p.qos.as_u8());
            if let Some(n) = p.packet_id {
                t += &format!(" #{n}");
            }
            if p.dup {
                t += " dup";
            }
            if p.retain {
                t += " retain";
            }
            for property in p.properties.iter() {
                t += &format!(" {property:?}");
            }
            t + " " + &String::from_utf8_lossy(&p.payload)
        }
        Packet::PubAck(a) => ack("puback", a),
        Packet::PubRec(a) => ack("pubrec", a),
        Packet::PubRel(a) => ack("pubrel", a),
        Packet::PubComp(a) => ack("pubcomp", a),
        Packet::SubAck(s) => {
            let codes: Vec<_> = s.reasons.iter().map(|r| r.as_u8()).collect();
            format!("suback {} {codes:?}", s.packet_id)
        }
        Packet::Disconnect(d) => format!("disconnect 0x{:02x}", d.reason.as_u8()),
        Packet::PingResp => "pingresp".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Polls until `done`, with a deadline.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
