//! A crowd of hostile MQTT clients: packets of every type and both versions, whole, odd, cut and damaged, while a
//! well-behaved client works on. The node neither ends nor grows beyond a bound, and nobody else notices.
//!
//! `TRIBUTARY_PACKETS` and `TRIBUTARY_SEED` set the number of hostile packets and what they are.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mqtt_codec::{Ack, Connect, Packet, PacketId, ProtocolVersion, Publish, QoS};
use testkit::mqtt_client::MqttClient;
use testkit::node::Node;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::soup::Dice;
use super::{PATIENCE, RSS_BYTES_MAX, watch_memory};
use crate::from_env;

const HOSTILE_CONNECTIONS: u64 = 8;
/// Most packets of one connection: it then goes away without a word.
const CONNECTION_PACKETS_MAX: usize = 60;
/// Topic of the well-behaved client; hostile ones cannot hit upon it, and `#` of theirs may well get it.
const TOPIC: &str = "undisturbed/one";
const TOPICS: [&str; 12] =
    ["a", "a/b", "b/c/d", "$SYS/x", "$share/g/a", "", "/", "a//b", "a/+/c", "#", "a/#/b", "$replay/0/a"];

#[test]
fn hostile_packets_harm_nobody() {
    let (packets, seed) =
        (from_env("TRIBUTARY_PACKETS", 200_000), from_env("TRIBUTARY_SEED", 20_261_127).max(1));
    println!("TRIBUTARY_PACKETS={packets} TRIBUTARY_SEED={seed}");
    let dir = tempfile::tempdir().expect("tempdir");
    let mut node = Node::start(crate::options(dir.path())).expect("starts");
    let (mqtt, pid) = (node.mqtt(), node.pid().expect("runs"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let (connections, peak, neighbour) = runtime.block_on(async {
        let neighbour = tokio::spawn(neighbour(mqtt, stop.clone()));
        let peak = tokio::spawn(watch_memory(pid, stop.clone()));
        let sent = Arc::new(AtomicU64::new(0));
        let hostile: Vec<_> = (0..HOSTILE_CONNECTIONS)
            .map(|number| {
                let dice = Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number + 1));
                tokio::spawn(attack(mqtt, dice, sent.clone(), packets))
            })
            .collect();
        let mut connections = 0;
        for task in hostile {
            connections += task.await.expect("no panic");
        }
        stop.store(true, Ordering::Relaxed);
        let neighbour = tokio::time::timeout(PATIENCE, neighbour).await.expect("answers").expect("no panic");
        (connections, peak.await.expect("no panic"), neighbour)
    });
    println!(
        "{connections} connections in {:?}; RSS at most {} MB; neighbour: {} messages, slowest {:?}",
        began.elapsed(),
        peak >> 20,
        neighbour.0,
        neighbour.1
    );
    assert!(connections > packets / 100, "{connections} connections");
    assert!(neighbour.0 > 10, "the neighbour hardly got anything done");
    assert!(peak < RSS_BYTES_MAX, "RSS rose to {peak} bytes");
    node.kill().expect("kills");
    node.restart().expect("starts again");
    let (status, said) = node.terminate().expect("stops");
    assert!(status.success() && !said.contains("panicked"), "{status}: {said}");
    let (batches, records) = super::check_logs(dir.path());
    println!("{batches} batches with {records} records on disk, all whole");
}

/// Publishes number after number to itself and waits for each; answers how many, and the longest wait.
async fn neighbour(mqtt: SocketAddr, stop: Arc<AtomicBool>) -> (u64, Duration) {
    let connect = Connect::new(ProtocolVersion::V5, "neighbour");
    let (mut client, _) = MqttClient::open(mqtt, connect).await.expect("in");
    client.subscribe(TOPIC, QoS::AtLeastOnce).await.expect("subscribed");
    let id = PacketId::new(1).expect("an id");
    let (mut number, mut slowest) = (0u64, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            topic: TOPIC.into(),
            packet_id: Some(id),
            payload: Bytes::from(number.to_string()),
            ..Publish::default()
        };
        client.send(&Packet::Publish(publish)).await.expect("sends");
        let (mut acknowledged, mut come) = (false, false);
        while !(acknowledged && come) {
            let packet = tokio::time::timeout(PATIENCE, client.receive()).await.expect("in time");
            match packet.expect("a packet") {
                Packet::PubAck(_) => acknowledged = true,
                Packet::Publish(publish) => {
                    assert_eq!(publish.payload, number.to_string().as_bytes());
                    come = true;
                    let ack = Ack::new(publish.packet_id.expect("QoS 1"));
                    client.send(&Packet::PubAck(ack)).await.expect("sends");
                }
                other => panic!("{other:?}"),
            }
        }
        number += 1;
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (number, slowest)
}

/// One connection after the other until `packets` were sent in all; answers how many connections it took.
async fn attack(mqtt: SocketAddr, mut dice: Dice, sent: Arc<AtomicU64>, packets: u64) -> u64 {
    let mut connections = 0;
    while sent.load(Ordering::Relaxed) < packets {
        connections += 1;
        let Ok(mut socket) = TcpStream::connect(mqtt).await else { continue };
        let version = *dice.one(&[3, 4, 5]);
        if !dice.once_in(20) && write(&mut socket, &connect(&mut dice, version)).await.is_err() {
            continue;
        }
        sent.fetch_add(1, Ordering::Relaxed);
        for _ in 0..dice.below(CONNECTION_PACKETS_MAX) {
            let mut bytes = packet(&mut dice, version);
            if dice.once_in(12) {
                damage(&mut dice, &mut bytes);
            }
            if write(&mut socket, &bytes).await.is_err() {
                break;
            }
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
    connections
}

/// Writes, and takes what there is to read; an error when the connection is over.
async fn write(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes).await?;
    let mut rest = [0; 16 << 10];
    loop {
        match socket.try_read(&mut rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    let at = dice.below(bytes.len());
    match dice.below(4) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, dice.byte()),
        // Any type with another's contents, or a length that is not so.
        2 => bytes[at.min(1)] = dice.byte(),
        _ => bytes[at] ^= 1 << dice.below(8),
    }
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut left = body.len();
    loop {
        let low = (left & 0x7f) as u8;
        left >>= 7;
        out.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text);
}

fn topic(dice: &mut Dice, out: &mut Vec<u8>) {
    match dice.below(30) {
        0 => text(out, &[0xff, 0xfe]),
        1 => text(out, "a\0b".as_bytes()),
        2 => text(out, "a/".repeat(300).as_bytes()),
        _ => text(out, dice.one(&TOPICS[..]).as_bytes()),
    }
}

/// Properties: known ones for the most part, some where they do not belong, some twice.
fn properties(dice: &mut Dice, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    for _ in 0..if dice.once_in(3) { dice.below(4) } else { 0 } {
        let id = *dice.one(&[
            0x01u8, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x11, 0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1c,
            0x1f, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x7f,
        ]);
        body.push(id);
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => body.push(dice.below(4) as u8),
            0x13 | 0x21 | 0x22 | 0x23 => body.extend([dice.byte() & 1, dice.byte()]),
            0x02 | 0x11 | 0x18 | 0x27 => body.extend([0, 0, dice.byte() & 3, dice.byte()]),
            0x0b => body.push(dice.byte()),
            0x26 => {
                text(&mut body, b"start-offset");
                text(&mut body, b"0");
            }
            _ => text(&mut body, b"property"),
        }
    }
    out.push(body.len() as u8);
    out.extend(body);
}

fn connect(dice: &mut Dice, version: u8) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, if version == 3 { b"MQIsdp" } else { b"MQTT" });
    let will = dice.once_in(4);
    let clean = dice.below(2) as u8;
    let flags = clean << 1 | u8::from(will) << 2 | if will { (dice.below(4) as u8) << 3 } else { 0 };
    body.extend([version, flags, 0, dice.byte()]);
    if version == 5 {
        properties(dice, &mut body);
    }
    text(&mut body, format!("hostile-{}", dice.below(40)).as_bytes());
    if will {
        if version == 5 {
            properties(dice, &mut body);
        }
        topic(dice, &mut body);
        text(&mut body, b"gone");
    }
    let mut bytes = frame(0x10, &body);
    if dice.once_in(10) {
        damage(dice, &mut bytes);
    }
    bytes
}

fn packet(dice: &mut Dice, version: u8) -> Vec<u8> {
    let mut body = Vec::new();
    let id = [0, dice.below(8) as u8];
    let kind = match dice.below(20) {
        0..8 => 3,
        8..12 => 8,
        12 => dice.below(16) as u8,
        _ => *dice.one(&[4, 5, 6, 6, 7, 10, 12, 14, 15]),
    };
    let mut flags = 0;
    match kind {
        3 => {
            let kinds = if dice.once_in(40) { 4 } else { 3 };
            let qos = dice.below(kinds) as u8;
            flags =
                qos << 1 | u8::from(dice.once_in(4)) | if qos > 0 { (dice.below(2) as u8) << 3 } else { 0 };
            topic(dice, &mut body);
            if qos > 0 {
                body.extend(id);
            }
            if version == 5 {
                properties(dice, &mut body);
            }
            body.extend(vec![b'x'; dice.below(200)]);
        }
        8 | 10 => {
            flags = 2;
            body.extend(id);
            if version == 5 {
                properties(dice, &mut body);
            }
            for _ in 0..1 + dice.below(3) {
                topic(dice, &mut body);
                if kind == 8 {
                    body.push(if dice.once_in(10) { dice.byte() } else { dice.below(3) as u8 });
                }
            }
        }
        4..=7 => {
            flags = if kind == 6 { 2 } else { 0 };
            body.extend(id);
            if version == 5 && dice.once_in(2) {
                body.push(if dice.once_in(4) { 0x92 } else { 0 });
                properties(dice, &mut body);
            }
        }
        14 | 15 if version == 5 => {
            body.push(if kind == 15 { 0x18 } else { 0 });
            properties(dice, &mut body);
        }
        12 | 14 => {}
        _ => body.extend(vec![dice.byte(); dice.below(20)]),
    }
    if dice.once_in(60) {
        flags = dice.byte() & 0x0f;
    }
    frame(kind << 4 | flags, &body)
}
