//! Two hundred MQTT sessions over SIGKILLs: devices at every quality of service, subscribers that go away and come back,
//! or come back before they have gone, clients that die and leave a will, retained messages. QoS 1 loses nothing, QoS 2
//! loses and doubles nothing, wills come once, and not from those who took their leave.
//!
//! `TRIBUTARY_FLEET_KILLS` and `TRIBUTARY_SEED` set the number of kills and the seed of their moments.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use mqtt_codec::{Connect, Disconnect, Packet, ProtocolVersion, QoS, ReasonCode, Will, WillProperties};
use testkit::history::{MqttEnd, Partition, Process, Publish, check_log, check_mqtt};
use testkit::mqtt_client::MqttClient;
use testkit::node::Node;

use super::publisher::{self, Device};
use super::subscriber::{self, Role};
use super::{Drivers, Moments, PATIENCE, read_all};
use crate::from_env;

const ROOT: &str = "fleet";
const DEVICES: u32 = 90;
const SUBSCRIBERS: u32 = 90;
const MORTALS: u32 = 20;
/// Topics of devices that one subscriber takes.
const TAKES: u32 = 3;
/// A will that did not come so long after its client's farewell will not come any more.
const FAREWELL: Duration = Duration::from_millis(300);

/// Wills that were left, and kills so far.
#[derive(Clone, Default)]
struct Wills {
    topics: Arc<Mutex<Vec<Arc<str>>>>,
    kills: Arc<AtomicU64>,
}

#[test]
fn two_hundred_sessions_get_what_they_are_owed_over_kills() {
    let (kills, seed) = (from_env("TRIBUTARY_FLEET_KILLS", 8), from_env("TRIBUTARY_SEED", 20_261_127).max(1));
    println!("TRIBUTARY_FLEET_KILLS={kills} TRIBUTARY_SEED={seed}");
    let dir = tempfile::tempdir().expect("tempdir");
    let mut node = Node::start(crate::options(dir.path())).expect("starts");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let drivers = Drivers::new(&node);
    let wills = Wills::default();
    let subscribers = runtime.block_on(subscribe(&drivers, seed));
    let device = |process| Device {
        process,
        qos: (process % 3) as u8,
        root: ROOT,
        window: 4,
        pause: Duration::from_millis(40),
    };
    let mut tasks: Vec<_> =
        (0..DEVICES).map(|process| runtime.spawn(publisher::run(drivers.clone(), device(process)))).collect();
    tasks.extend(
        (0..MORTALS).map(|number| runtime.spawn(die(drivers.clone(), 1000 + number, wills.clone(), seed))),
    );
    let retainer = runtime.spawn(publisher::run_retained(drivers.clone(), 2000));
    let mut moments = Moments(seed);
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(300 + moments.next(700)));
        wills.kills.fetch_add(1, Ordering::SeqCst);
        node.kill().expect("kills");
        node.restart().expect("comes back");
    }
    std::thread::sleep(Duration::from_millis(500));
    drivers.stop.store(true, Ordering::Relaxed);
    let (log, end) = runtime.block_on(async {
        for task in tasks {
            tokio::time::timeout(PATIENCE, task).await.expect("ends in time").expect("no panic");
        }
        let kept = tokio::time::timeout(PATIENCE, retainer).await.expect("ends in time").expect("no panic");
        let mut ends = Vec::new();
        for (index, subscriber) in subscribers.into_iter().enumerate() {
            let topics = match u32::try_from(index) {
                Ok(index) if index < SUBSCRIBERS => taken(index).map(Arc::from).collect(),
                _ => wills.topics.lock().expect("no panic").clone(),
            };
            ends.push(tokio::time::timeout(PATIENCE, subscriber.finish(topics)).await.expect("ends in time"));
        }
        let retained = subscriber::retained(drivers.mqtt, &kept).await.expect("retained messages");
        let log = read_all(drivers.kafka, Partition::new(ROOT, 0)).await;
        (log, MqttEnd { subscribers: ends, retained })
    });
    let history = drivers.recorder.history();
    let report = check_log(&history, &[log]);
    println!("log: {report}");
    assert!(report.is_valid(), "seed {seed}: log: {report}");
    let report = check_mqtt(&history, &end);
    println!("mqtt: {report}; {} wills", wills.topics.lock().expect("no panic").len());
    assert!(report.is_valid(), "seed {seed}: mqtt: {report}");
    assert!(report.acknowledged > 500, "hardly anything happened");
    let (status, said) = node.terminate().expect("stops");
    assert!(status.success(), "{status}: {said}");
}

/// Topics that subscriber `index` takes.
fn taken(index: u32) -> impl Iterator<Item = String> {
    (0..TAKES).map(move |n| format!("{ROOT}/{}", (index + n) % DEVICES))
}

async fn subscribe(drivers: &Drivers, seed: u64) -> Vec<subscriber::Subscriber> {
    let mut subscribers = Vec::new();
    for index in 0..SUBSCRIBERS {
        let role = Role {
            name: format!("fleet-subscriber-{index}"),
            version: if index % 2 == 0 { ProtocolVersion::V5 } else { ProtocolVersion::V311 },
            qos: QoS::from_u8((index / 3 % 3) as u8).expect("0 to 2"),
            filters: taken(index).collect(),
            restless: (index % 4 != 0).then_some(Moments(seed ^ (u64::from(index) << 20) | 1)),
        };
        subscribers.push(subscriber::start(drivers, role).await.expect("subscribes"));
    }
    let heir = Role {
        name: "fleet-heir".into(),
        version: ProtocolVersion::V5,
        qos: QoS::ExactlyOnce,
        filters: vec!["wills/#".into()],
        restless: None,
    };
    subscribers.push(subscriber::start(drivers, heir).await.expect("subscribes"));
    subscribers
}

/// Clients, one after the other, that leave a will: each dies, or takes its leave.
async fn die(drivers: Drivers, process: Process, wills: Wills, seed: u64) {
    let mut moments = Moments((seed ^ u64::from(process) << 24) | 1);
    while !drivers.stopping() {
        let value = drivers.next_value();
        let topic: Arc<str> = format!("wills/{value}").into();
        wills.topics.lock().expect("no panic").push(topic.clone());
        let qos = 1 + moments.next(2) as u8;
        let op = Publish { topic: topic.clone(), value, qos, retain: false, clear: false };
        let op = drivers.recorder.publish(process, op);
        let kills = wills.kills.load(Ordering::SeqCst);
        let Ok(client) = connect(&drivers, &topic, value, qos).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        tokio::time::sleep(Duration::from_millis(moments.next(200))).await;
        if moments.next(2) == 0 {
            drop(client);
            drivers.recorder.sent(op, None);
        } else if leave(client).await.is_ok() {
            tokio::time::sleep(FAREWELL).await;
            // (A kill right after the farewell may have undone it.)
            if wills.kills.load(Ordering::SeqCst) == kills {
                drivers.recorder.failed(op);
            }
        }
    }
}

async fn connect(drivers: &Drivers, topic: &str, value: u64, qos: u8) -> Result<MqttClient> {
    let mut connect = Connect::new(ProtocolVersion::V311, format!("fleet-mortal-{value}"));
    connect.will = Some(Will {
        topic: topic.to_owned(),
        payload: Bytes::from(value.to_string()),
        qos: QoS::from_u8(qos).unwrap_or_default(),
        retain: false,
        properties: WillProperties::default(),
    });
    let (client, ack) = MqttClient::open(drivers.mqtt, connect).await?;
    if ack.reason != ReasonCode::Success {
        bail!("refused: {:?}", ack.reason);
    }
    Ok(client)
}

/// Says goodbye and waits until the broker has heard it.
async fn leave(mut client: MqttClient) -> Result<()> {
    client.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success))).await?;
    while client.receive().await.is_ok() {}
    Ok(())
}
