//! A network that delivers requests of transactions a second time, later, and on another connection: what was meant
//! for one transaction must not reach into the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kafka_codec::ApiKey;
use testkit::history::{Partition, Recorder, check_transactions};
use testkit::node::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Drivers, Moments, end_of, read_all, transactor};
use crate::from_env;

/// What is copied. (A second InitProducerId is a new producer's, and fences the first one rightly.)
const COPIED: [ApiKey; 5] = [
    ApiKey::Produce,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::TxnOffsetCommit,
];
/// A copy comes up to so much later.
const LATE_MS: u64 = 40;
const FRAME_BYTES_MAX: usize = 8 << 20;

#[test]
fn requests_that_come_again_later_tear_no_transaction() {
    let (seconds, seed) = (from_env("TRIBUTARY_SECONDS", 5), from_env("TRIBUTARY_SEED", 20_261_127).max(1));
    println!("TRIBUTARY_SECONDS={seconds} TRIBUTARY_SEED={seed}");
    let dir = tempfile::tempdir().expect("tempdir");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("binds");
    let between = listener.local_addr().expect("an address");
    let mut options = crate::options(dir.path());
    options.arguments = vec!["--set".into(), format!("advertised.listeners=PLAINTEXT://{between}")];
    let mut node = Node::start(options).expect("starts");
    let copies = Arc::new(AtomicU64::new(0));
    runtime.spawn(meddle(listener, node.kafka(), seed, copies.clone()));
    let drivers = Drivers {
        mqtt: node.mqtt(),
        kafka: between,
        recorder: Recorder::default(),
        values: Arc::new(AtomicU64::new(1)),
        stop: Arc::new(AtomicBool::new(false)),
    };
    runtime.block_on(async {
        super::create_topic(&drivers).await;
        let tasks: Vec<_> =
            (40..44).map(|process| tokio::spawn(transactor::run(drivers.clone(), process))).collect();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        drivers.stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.expect("no panic");
        }
        // The last copies are still to come.
        tokio::time::sleep(Duration::from_millis(2 * LATE_MS)).await;
        let (mut transacted, mut ends) = (Vec::new(), Vec::new());
        for index in 0..transactor::PARTITIONS {
            let partition = Partition::new(transactor::TOPIC, index);
            transacted.push(read_all(drivers.kafka, partition.clone()).await);
            ends.push((partition.clone(), end_of(drivers.kafka, &partition).await));
        }
        let report = check_transactions(&drivers.recorder.history(), &transacted, &ends);
        println!("{} copies; transactions: {report}", copies.load(Ordering::Relaxed));
        assert!(report.is_valid(), "seed {seed}: {report}");
        assert!(report.acknowledged > 20, "hardly any transaction was committed");
        assert!(copies.load(Ordering::Relaxed) > 20, "hardly anything was copied");
    });
    let (status, said) = node.terminate().expect("stops");
    assert!(status.success() && !said.contains("panicked"), "{status}: {said}");
}

/// Stands between clients and the node.
async fn meddle(listener: TcpListener, node: SocketAddr, seed: u64, copies: Arc<AtomicU64>) {
    let mut moments = Moments(seed);
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(node).await else { continue };
        let (from_client, mut to_client) = client.into_split();
        let (mut from_server, to_server) = server.into_split();
        let moments = Moments(moments.next(u64::MAX - 1) + 1);
        let copies = copies.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = forward(from_client, to_server, node, moments, copies) => {}
                _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
            }
        });
    }
}

async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    node: SocketAddr,
    mut moments: Moments,
    copies: Arc<AtomicU64>,
) -> std::io::Result<()> {
    let (late, frames) = mpsc::unbounded_channel();
    tokio::spawn(deliver(frames, node, copies));
    loop {
        let length = from.read_i32().await?;
        let size = usize::try_from(length).ok().filter(|size| (4..FRAME_BYTES_MAX).contains(size));
        let mut frame = length.to_be_bytes().to_vec();
        frame.resize(4 + size.expect("a frame of a client"), 0);
        from.read_exact(&mut frame[4..]).await?;
        let key = ApiKey::from_i16(i16::from_be_bytes([frame[4], frame[5]]));
        to.write_all(&frame).await?;
        if key.is_some_and(|key| COPIED.contains(&key)) && moments.next(2) == 0 {
            let _ = late.send((Duration::from_millis(moments.next(LATE_MS)), frame));
        }
    }
}

/// Sends copies on a connection of their own and hears none of the answers.
async fn deliver(
    mut frames: mpsc::UnboundedReceiver<(Duration, Vec<u8>)>,
    node: SocketAddr,
    copies: Arc<AtomicU64>,
) {
    let Ok(stream) = TcpStream::connect(node).await else { return };
    let (mut answers, mut requests) = stream.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
    while let Some((wait, frame)) = frames.recv().await {
        tokio::time::sleep(wait).await;
        if requests.write_all(&frame).await.is_err() {
            return;
        }
        copies.fetch_add(1, Ordering::Relaxed);
    }
}
