//! Connections to other brokers, as Mosquitto's `connection` blocks ask for them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::*;
use bytes::BytesMut;
use mqtt::testing::Store;
use mqtt::{BridgeConfig, BridgeDirection, BridgeStart, BridgeTopic, ListenerConfig, MqttConfig};
use mqtt_codec::{Ack, ConnAck, Decoder, Packet, Publish, QoS, ReasonCode, SubAck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_millis(20);

fn topic(filter: &str, direction: BridgeDirection, qos: u8, local: &str, remote: &str) -> BridgeTopic {
    let qos = QoS::from_u8(qos).unwrap();
    let (local_prefix, remote_prefix) = (local.to_owned(), remote.to_owned());
    BridgeTopic { filter: filter.to_owned(), direction, qos, local_prefix, remote_prefix }
}

fn bridge(to: SocketAddr, topics: Vec<BridgeTopic>) -> BridgeConfig {
    BridgeConfig {
        addresses: vec![(to.ip().to_string(), to.port())],
        topics,
        restart: (SOON, SOON),
        remote_client_id: Some("edge".to_owned()),
        ..BridgeConfig::new("b")
    }
}

async fn bridged(store: Arc<Store>, bridge: BridgeConfig) -> Broker {
    Broker::with(MqttConfig { bridges: vec![bridge], ..config() }, store).await
}

/// On a port that was used before.
async fn again(address: SocketAddr, store: Arc<Store>) -> Broker {
    Broker::with(MqttConfig { listeners: vec![ListenerConfig::new(address)], ..config() }, store).await
}

/// Waits until the bridge's subscriptions at `core` are made: then it gets what is retained there.
async fn subscribed(core: &Broker, edge: &Broker, remote: &str, local: &str) {
    let mut watcher = edge.clean(V5, "watcher").await;
    watcher.subscribe(local, 0).await;
    let mut marker = core.clean(V5, "marker").await;
    let mut packet = publish(remote, "here", 0);
    packet.retain = true;
    marker.publish_packet(packet).await;
    assert!(watcher.message().await.ends_with("here"));
    let mut packet = publish(remote, "", 0);
    packet.retain = true;
    marker.publish_packet(packet).await;
    assert!(watcher.message().await.ends_with(' '));
}

#[tokio::test]
async fn messages_go_both_ways_under_other_names_and_never_round() {
    use BridgeDirection::{Both, In, Out};
    let core = Broker::start().await;
    let topics = vec![
        topic("in/#", In, 2, "", ""),
        topic("#", Out, 1, "plant/", "core/plant/"),
        topic("#", Both, 1, "shared/", "all/"),
    ];
    let edge = bridged(Arc::default(), bridge(core.address, topics)).await;
    subscribed(&core, &edge, "in/ready", "in/ready").await;
    let mut at_core = core.clean(V5, "at-core").await;
    at_core.subscribe("core/#", 2).await;
    at_core.subscribe("all/#", 2).await;
    let mut at_edge = edge.clean(V5, "at-edge").await;
    at_edge.subscribe("in/#", 2).await;
    at_edge.subscribe("shared/#", 2).await;

    at_edge.publish("plant/1", "up", 2).await;
    assert_eq!(at_core.message().await, "publish core/plant/1 q1 #1 up");
    at_core.publish("in/1", "down", 2).await;
    assert_eq!(at_edge.message().await, "publish in/1 q2 #1 down");
    let mut from_edge = edge.clean(V5, "from-edge").await;
    from_edge.publish("shared/x", "once", 1).await;
    assert_eq!(at_edge.message().await, "publish shared/x q1 #2 once");
    assert_eq!(at_core.message().await, "publish all/x q1 #2 once");
    let mut from_core = core.clean(V5, "from-core").await;
    from_core.publish("all/y", "once", 1).await;
    assert_eq!(at_core.message().await, "publish all/y q1 #3 once");
    assert_eq!(at_edge.message().await, "publish shared/y q1 #3 once");
    // Had anything gone round, it would stand before these.
    from_edge.publish("shared/z", "last", 1).await;
    assert_eq!(at_edge.message().await, "publish shared/z q1 #4 last");
    assert_eq!(at_core.message().await, "publish all/z q1 #4 last");
    assert_eq!(at_edge.until_ping().await, Vec::<String>::new());
    assert_eq!(at_core.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_state_of_a_bridge_is_told_on_both_sides() {
    let core = Broker::start().await;
    let address = core.address;
    let topics = vec![topic("out/#", BridgeDirection::Out, 1, "", "")];
    let mut config = bridge(address, topics);
    config.notification_topic = Some("bridges/edge".to_owned());
    let mut at_core = core.clean(V5, "at-core").await;
    at_core.subscribe("bridges/#", 0).await;
    let edge = bridged(Arc::default(), config).await;
    assert_eq!(at_core.message().await, "publish bridges/edge q0 1");
    let mut at_edge = edge.clean(V5, "at-edge").await;
    at_edge.subscribe("bridges/#", 0).await;
    assert_eq!(at_edge.message().await, "publish bridges/edge q0 retain 1");
    edge.kill();
    assert_eq!(at_core.message().await, "publish bridges/edge q0 0");
    core.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_either_side_is_away() {
    let topics = || {
        vec![topic("up/#", BridgeDirection::Out, 2, "", ""), topic("down/#", BridgeDirection::In, 2, "", "")]
    };
    let core = Broker::start().await;
    let address = core.address;
    let edge = bridged(Arc::default(), bridge(address, topics())).await;
    subscribed(&core, &edge, "down/ready", "down/ready").await;
    core.connect(persistent(V311, "core-app")).await.subscribe("up/#", 2).await;
    edge.connect(persistent(V311, "edge-app")).await.subscribe("down/#", 2).await;

    let mut sensor = edge.clean(V311, "sensor").await;
    for n in 0..5 {
        sensor.publish("up/x", &n.to_string(), 2).await;
    }
    // The core goes, hard, and comes back on what it had.
    let store = core.kill();
    for n in 5..10 {
        sensor.publish("up/x", &n.to_string(), 2).await;
    }
    let core = again(address, store).await;
    for n in 10..15 {
        sensor.publish("up/x", &n.to_string(), 2).await;
    }
    let mut app = core.connect(persistent(V311, "core-app")).await;
    let expected: Vec<String> = (0..15).map(|n| n.to_string()).collect();
    assert_eq!(taken(&mut app, 15).await, expected);
    assert_eq!(app.until_ping().await, Vec::<String>::new());

    // The edge goes, hard; what the core has for it waits there.
    let mut command = core.clean(V311, "command").await;
    command.publish("down/x", "0", 2).await;
    let mut app = edge.connect(persistent(V311, "edge-app")).await;
    assert_eq!(taken(&mut app, 1).await, ["0"]);
    app.disconnect().await;
    let store = edge.kill();
    for n in 1..6 {
        command.publish("down/x", &n.to_string(), 2).await;
    }
    let edge = bridged(store, bridge(address, topics())).await;
    let mut app = edge.connect(persistent(V311, "edge-app")).await;
    assert_eq!(taken(&mut app, 5).await, ["1", "2", "3", "4", "5"]);
    assert_eq!(app.until_ping().await, Vec::<String>::new());
}

/// Payloads of the next `n` QoS 2 messages, each taken to its end.
async fn taken(client: &mut Client, n: usize) -> Vec<String> {
    let (mut payloads, mut ended) = (Vec::new(), 0);
    while ended < n {
        match client.recv().await {
            Packet::Publish(p) => {
                payloads.push(String::from_utf8_lossy(&p.payload).into_owned());
                client.send(&Packet::PubRec(Ack::new(p.packet_id.expect("QoS 2")))).await;
            }
            Packet::PubRel(a) => {
                client.send(&Packet::PubComp(Ack::new(a.packet_id))).await;
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    payloads
}

/// Another broker, as far as a test plays it.
struct Remote {
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
}

impl Remote {
    /// Takes the next connection and says yes to it.
    async fn accept(listener: &TcpListener, session_present: bool) -> Self {
        let (stream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.expect("a bridge").unwrap();
        let mut remote = Self { stream, decoder: Decoder::for_server(u32::MAX), input: BytesMut::new() };
        let Packet::Connect(_) = remote.recv().await else { panic!("no CONNECT") };
        let mut connack = ConnAck::new(ReasonCode::Success);
        connack.session_present = session_present;
        remote.send(&Packet::ConnAck(Box::new(connack))).await;
        remote
    }

    async fn send(&mut self, packet: &Packet) {
        self.stream.write_all(&packet.to_vec(V311).unwrap()).await.unwrap();
    }

    async fn recv(&mut self) -> Packet {
        let read = async {
            loop {
                if let Some(packet) = self.decoder.decode(&mut self.input).unwrap() {
                    return packet;
                }
                assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0, "closed");
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("nothing came")
    }

    /// The next packet that is no request about subscriptions, which are granted.
    async fn text(&mut self) -> String {
        loop {
            match self.recv().await {
                Packet::Subscribe(s) => {
                    let granted = s.subscriptions.iter().map(|a| ReasonCode::granted(a.qos)).collect();
                    self.send(&Packet::SubAck(SubAck::new(s.packet_id, granted))).await;
                }
                Packet::Unsubscribe(_) => {}
                other => return text(&other),
            }
        }
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_broker_that_lost_its_session_numbers_its_messages_anew() {
    let (listener, address) = listen().await;
    let mut config = bridge(address, vec![topic("in/#", BridgeDirection::In, 2, "", "")]);
    config.notifications = false;
    let edge = bridged(Arc::default(), config).await;
    let mut app = edge.clean(V311, "app").await;
    app.subscribe("in/#", 2).await;
    let message =
        |payload| Packet::Publish(Publish { packet_id: Some(id(1)), ..publish("in/x", payload, 2) });
    for (payload, has_session) in [("first", false), ("second", false)] {
        let mut remote = Remote::accept(&listener, has_session).await;
        remote.send(&message(payload)).await;
        assert_eq!(remote.text().await, "pubrec 1");
        // Gone before PUBREL.
    }
    // With its session it means the same message.
    let mut remote = Remote::accept(&listener, true).await;
    remote.send(&message("second")).await;
    assert_eq!(remote.text().await, "pubrec 1");
    remote.send(&Packet::PubRel(Ack::new(id(1)))).await;
    assert_eq!(remote.text().await, "pubcomp 1");
    assert_eq!(taken(&mut app, 2).await, ["first", "second"]);
    assert_eq!(app.until_ping().await, Vec::<String>::new());
}

#[tokio::test]
async fn another_address_is_taken_when_the_first_does_not_answer() {
    let (first, first_address) = listen().await;
    let (second, second_address) = listen().await;
    let mut config = bridge(first_address, vec![topic("#", BridgeDirection::Out, 1, "", "")]);
    config.addresses.push((second_address.ip().to_string(), second_address.port()));
    config.round_robin = true;
    config.notifications = false;
    drop(first);
    let _edge = bridged(Arc::default(), config).await;
    Remote::accept(&second, false).await;
    // And again after it was lost there, with the first still away.
    Remote::accept(&second, false).await;
}

#[tokio::test]
async fn a_lazy_bridge_comes_for_messages_and_goes_without() {
    let (listener, address) = listen().await;
    let mut config = bridge(address, vec![topic("#", BridgeDirection::Out, 1, "", "")]);
    config.notifications = false;
    config.attempt_unsubscribe = false;
    (config.start, config.threshold, config.idle_timeout) = (BridgeStart::Lazy, 2, SOON);
    let edge = bridged(Arc::default(), config).await;
    let mut app = edge.clean(V311, "app").await;
    app.publish("a", "1", 1).await;
    app.publish("a", "2", 1).await;
    let mut remote = Remote::accept(&listener, false).await;
    for n in 1..3 {
        assert_eq!(remote.text().await, format!("publish a q1 #{n} {n}"));
        remote.send(&Packet::PubAck(Ack::new(id(n)))).await;
    }
    assert_eq!(remote.text().await, "disconnect 0x00");
}

#[tokio::test]
async fn a_broker_that_is_bridged_may_not_ask_for_anything() {
    let (listener, address) = listen().await;
    let mut config = bridge(address, vec![topic("#", BridgeDirection::Out, 1, "", "")]);
    config.notifications = false;
    config.attempt_unsubscribe = false;
    let edge = bridged(Arc::default(), config).await;
    let mut remote = Remote::accept(&listener, false).await;
    let asked = mqtt_codec::Subscription::new("secret/#", QoS::AtMostOnce);
    remote.send(&Packet::Subscribe(mqtt_codec::Subscribe::new(id(1), vec![asked]))).await;
    // It is closed, and tried again.
    let mut remote = Remote::accept(&listener, false).await;
    remote.send(&Packet::PingReq).await;
    let mut answer = [0; 2];
    remote.stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0xd0, 0], "PINGRESP");
    drop(edge);
}
