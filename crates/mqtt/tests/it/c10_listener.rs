//! Listeners: WebSocket, Unix sockets, the PROXY protocol, several with rules of their own, limits.

use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use mqtt::websocket::{self, Frames, Role};
use mqtt::{Authenticator, Credentials, ListenAddress, ListenerConfig, MqttConfig, Transport, Verdict};
use mqtt_codec::Packet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::c08_tls;
use crate::harness::*;

fn listener() -> ListenerConfig {
    ListenerConfig::new(([127, 0, 0, 1], 0).into())
}

async fn start(listeners: Vec<ListenerConfig>) -> Broker {
    Broker::with(MqttConfig { listeners, ..config() }, Arc::default()).await
}

/// Asks for WebSocket; what came in answer.
async fn upgrade(stream: &mut dyn Duplex, request: &[u8]) -> BytesMut {
    stream.write_all(request).await.unwrap();
    let mut answer = BytesMut::new();
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await.unwrap() == 0 {
            break;
        }
    }
    answer
}

/// CONNECT in WebSocket frames of `cut` bytes; the first frames that come back, as bytes of MQTT.
async fn connect_in_frames(stream: &mut dyn Duplex, cut: usize) -> Vec<u8> {
    let request = websocket::request("localhost", "/mqtt", &[]).unwrap();
    let mut answer = upgrade(stream, &request.bytes).await;
    websocket::check_response(&request, &mut answer).unwrap().expect("an answer");
    let mut frames = Frames::new(Role::Client);
    let connect = Packet::Connect(Box::new(clean(V311, "ws"))).to_vec(V311).unwrap();
    let mut out = BytesMut::new();
    for piece in connect.chunks(cut) {
        frames.binary(&[IoSlice::new(piece)], &mut out);
    }
    stream.write_all(&out).await.unwrap();
    let (mut raw, mut payload, mut answers) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    while payload.len() < 4 {
        assert_ne!(stream.read_buf(&mut raw).await.unwrap(), 0, "closed");
        frames.decode(&mut raw, &mut payload, &mut answers).unwrap();
    }
    payload.to_vec()
}

#[tokio::test]
async fn mqtt_in_websocket_however_it_is_cut_into_frames() {
    let broker = start(vec![ListenerConfig { transport: Transport::WebSocket, ..listener() }]).await;
    for cut in [1, 3, 1000] {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        assert_eq!(connect_in_frames(&mut stream, cut).await, [0x20, 2, 0, 0], "{cut}");
    }
    let secure = ListenerConfig { transport: Transport::WebSocket, ..c08_tls::tls_listener() };
    let broker = start(vec![secure]).await;
    let mut stream = c08_tls::dial(&broker, None).await.unwrap();
    assert_eq!(connect_in_frames(&mut stream, 5).await, [0x20, 2, 0, 0]);
}

#[tokio::test]
async fn a_websocket_request_that_is_none_is_refused_in_http() {
    let broker = start(vec![ListenerConfig { transport: Transport::WebSocket, ..listener() }]).await;
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000));
    for (request, answer) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 "),
        (long.as_str(), "HTTP/1.1 431 "),
        ("\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0", ""),
    ] {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("closed");
        assert!(got.starts_with(answer.as_bytes()) && (answer.is_empty() == got.is_empty()), "{request:.20}");
    }
}

#[tokio::test]
async fn a_unix_socket_takes_the_place_of_a_dead_one_and_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let at =
        |path: &std::path::Path| ListenerConfig { address: ListenAddress::Unix(path.into()), ..listener() };
    let broker = start(vec![at(&path)]).await;
    assert_eq!(
        broker.handle.listening().map(|l| l.address.to_string()).collect::<Vec<_>>(),
        [path.display().to_string()]
    );
    let mut client = Client::on(Box::new(UnixStream::connect(&path).await.unwrap()), V5);
    assert_eq!(client.enter(clean(V5, "u")).await.unwrap().reason.as_u8(), 0);
    client.publish("a", "x", 1).await;
    // One that is in use is not taken away, and neither is anything that is no socket.
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for taken in [&path, &file] {
        let config = MqttConfig { listeners: vec![at(taken)], ..config() };
        let door = mqtt::testing::MemoryDoor::open(Arc::default());
        assert!(mqtt::Server::start(config, Arc::new(door)).await.is_err());
    }
    assert!(path.exists() && file.exists());
    broker.stop().await;
    eventually("the socket file is removed", || !path.exists()).await;
}

/// Remembers where clients came from.
#[derive(Debug, Default)]
struct Peers(Mutex<Vec<String>>);

impl Authenticator for Peers {
    fn check(&self, credentials: &Credentials<'_>) -> Verdict {
        self.0.lock().unwrap().push(credentials.peer.to_string());
        Verdict::Accept
    }
}

#[tokio::test]
async fn a_proxy_says_for_whom_it_connects() {
    let peers = Arc::new(Peers::default());
    let rules = ListenerConfig {
        proxy_protocol: true,
        authenticator: Some(peers.clone()),
        allow_anonymous: false,
        ..listener()
    };
    let secure = ListenerConfig { tls: c08_tls::tls_listener().tls, ..rules.clone() };
    let broker = start(vec![rules, secure]).await;
    let v2 =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 9, 127, 0, 0, 1, 0, 7, 7, 91]].concat();
    for header in [&b"PROXY TCP4 192.0.2.1 127.0.0.1 5 1883\r\n"[..], &v2, b"PROXY UNKNOWN\r\n"] {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        // Header and CONNECT in one piece.
        let mut connect = clean(V311, "p");
        (connect.user_name, connect.password) = (Some("u".into()), None);
        let packet = Packet::Connect(Box::new(connect)).to_vec(V311).unwrap();
        stream.write_all(&[header, &packet].concat()).await.unwrap();
        let mut client = Client::on(Box::new(stream), V311);
        assert!(matches!(client.recv().await, Packet::ConnAck(_)));
    }
    let seen = peers.0.lock().unwrap().clone();
    assert_eq!(seen.iter().take(2).collect::<Vec<_>>(), ["192.0.2.1:5", "192.0.2.9:7"]);
    assert!(seen[2].starts_with("127.0.0.1:"), "{seen:?}");
    // Without a header nobody is let in.
    let mut plain = broker.open(V311).await;
    assert_eq!(plain.enter(clean(V311, "x")).await, None);
}

#[tokio::test]
async fn each_listener_has_its_own_rules() {
    let strict = ListenerConfig { allow_anonymous: false, max_qos: 1, ..listener() };
    let prefixed = ListenerConfig { client_id_prefixes: Some("ok-".into()), ..listener() };
    let broker = start(vec![listener(), strict, prefixed]).await;
    let reason = async |at: usize, id: &str| {
        let stream = TcpStream::connect(broker.handle.addresses()[at]).await.unwrap();
        Client::on(Box::new(stream), V5).enter(clean(V5, id)).await.unwrap().reason.as_u8()
    };
    assert_eq!(reason(0, "a").await, 0);
    assert_eq!(reason(1, "a").await, 0x87);
    assert_eq!(reason(2, "a").await, 0x87);
    assert_eq!(reason(2, "ok-a").await, 0);
}

#[tokio::test]
async fn connections_beyond_a_limit_are_closed() {
    let few = ListenerConfig { max_connections: Some(2), ..listener() };
    let slow = ListenerConfig { max_connect_rate: Some(3), ..listener() };
    let broker = start(vec![few, slow]).await;
    let first = broker.clean(V311, "a").await;
    let _second = broker.clean(V311, "b").await;
    assert_eq!(broker.open(V311).await.next().await, None);
    first.disconnect().await;
    eventually("the place is free", || broker.handle.connections() == 1).await;
    broker.clean(V311, "c").await;
    // More than three at once to the second listener: some are closed, and a second later there is room again.
    let address = broker.handle.addresses()[1];
    let mut closed = 0;
    let mut kept = Vec::new();
    for n in 0..9 {
        let mut client = Client::on(Box::new(TcpStream::connect(address).await.unwrap()), V311);
        match client.enter(clean(V311, &format!("r{n}"))).await {
            None => closed += 1,
            Some(_) => kept.push(client),
        }
    }
    assert!(closed >= 3 && kept.len() >= 3, "{closed} closed");
    let again = async {
        loop {
            let mut client = Client::on(Box::new(TcpStream::connect(address).await.unwrap()), V311);
            if client.enter(clean(V311, "later")).await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("room again");
}

#[tokio::test]
async fn the_time_for_connect_holds_for_handshakes_too() {
    let mut config = config();
    config.limits.connect_timeout = Duration::from_millis(100);
    config.listeners = vec![
        c08_tls::tls_listener(),
        ListenerConfig { transport: Transport::WebSocket, ..listener() },
        ListenerConfig { proxy_protocol: true, ..listener() },
    ];
    let broker = Broker::with(config, Arc::default()).await;
    for address in broker.handle.addresses() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "{address} is still open");
    }
    assert_eq!(broker.handle.connections(), 0);
}
