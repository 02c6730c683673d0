//! How one sync serves many partitions: the measurement behind ADR 1.
//!
//! `cargo run --release -p tributary-log --example durable_appends -- DIR [seconds per case]`
//!
//! Every partition has one append under way and sends the next when that is durable, as so many devices that wait
//! for their acknowledgement do. Printed: appends a second, latency (p50, p99), CPU time of this process for each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_codec::records::{BatchBuilder, Compression};
use log::{
    AppendBatches, Log, LogConfig, LogDir, LogDirConfig, LogError, LogEvents, NewLog, RealStorage,
    SystemClock, TopicPartition,
};

struct Acks(std::sync::Mutex<Sender<usize>>);

impl LogEvents for Acks {
    fn advanced(&self, log: &Arc<Log>, _durable_end: i64) {
        let _ = self.0.lock().map(|sender| sender.send(log.tag() as usize));
    }
    fn failed(&self, log: &Arc<Log>, error: &LogError) {
        eprintln!("{} failed: {error}", log.partition());
        std::process::exit(1);
    }
}

/// CPU time of the process so far, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = after_name.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
    (fields.get(11).unwrap_or(&0.0) + fields.get(12).unwrap_or(&0.0)) / 100.0
}

fn payload(size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![b'v'; size.saturating_sub(80)];
    let headers = std::iter::empty::<(&[u8], Option<&[u8]>)>();
    builder.push(1_700_000_000_000, Some(b"key"), Some(&value), headers).unwrap_or_default();
    Bytes::from(builder.build().unwrap_or_default())
}

struct Measured {
    latencies_us: Vec<u64>,
    wall_s: f64,
    cpu_s: f64,
}

impl Measured {
    fn print(mut self, what: &str, partitions: usize, size: usize) {
        self.latencies_us.sort_unstable();
        let count = self.latencies_us.len().max(1);
        let at = |p: usize| self.latencies_us.get(count * p / 100).copied().unwrap_or(0);
        println!(
            "{what:22} {partitions:4} partitions {size:7} B: {:8.0}/s  p50 {:6} us  p99 {:6} us  cpu {:6.1} us",
            count as f64 / self.wall_s,
            at(50),
            at(99),
            self.cpu_s * 1e6 / count as f64,
        );
    }
}

/// Drives one outstanding append per partition for a while.
fn drive(
    partitions: usize,
    time: Duration,
    acks: &Receiver<usize>,
    mut append: impl FnMut(usize),
) -> Measured {
    let mut started = vec![Instant::now(); partitions];
    let mut latencies_us = Vec::new();
    let cpu = cpu_seconds();
    let begin = Instant::now();
    for (i, at) in started.iter_mut().enumerate() {
        *at = Instant::now();
        append(i);
    }
    let mut under_way = partitions;
    while under_way > 0 {
        let Ok(i) = acks.recv() else { break };
        let Some(at) = started.get_mut(i) else { continue };
        latencies_us.push(at.elapsed().as_micros() as u64);
        if begin.elapsed() < time {
            *at = Instant::now();
            append(i);
        } else {
            under_way -= 1;
        }
    }
    Measured { latencies_us, wall_s: begin.elapsed().as_secs_f64(), cpu_s: cpu_seconds() - cpu }
}

fn through_the_log(
    dir: &Path,
    partitions: usize,
    size: usize,
    journal_max: usize,
    time: Duration,
) -> Measured {
    let _ = std::fs::remove_dir_all(dir);
    let (sender, acks) = channel();
    let config = LogDirConfig { journal_batch_bytes_max: journal_max, ..LogDirConfig::default() };
    let events = Arc::new(Acks(std::sync::Mutex::new(sender)));
    let opened = LogDir::open(dir, config, Arc::new(RealStorage), Arc::new(SystemClock), events);
    let (log_dir, _) = opened.unwrap_or_else(|e| fail(&e));
    let new: Vec<NewLog> = (0..partitions)
        .map(|i| NewLog {
            partition: TopicPartition::new("bench", i as i32),
            topic_id: [1; 16],
            config: LogConfig { max_message_bytes: 16 << 20, ..LogConfig::default() },
        })
        .collect();
    let logs = log_dir.create_logs(&new).unwrap_or_else(|e| fail(&e));
    for (i, log) in logs.iter().enumerate() {
        log.set_tag(i as u64);
    }
    let bytes = payload(size);
    let measured = drive(partitions, time, &acks, |i| {
        if let Some(log) = logs.get(i) {
            log.append(AppendBatches::client(bytes.clone(), 0)).unwrap_or_else(|e| fail(&e));
        }
    });
    drop(log_dir);
    let _ = std::fs::remove_dir_all(dir);
    measured
}

fn fail(error: &LogError) -> ! {
    eprintln!("{error}");
    std::process::exit(1)
}

/// The plain way: each partition's file is written and synced by one of `threads` threads.
fn sync_per_file(dir: &Path, partitions: usize, size: usize, threads: usize, time: Duration) -> Measured {
    use std::os::unix::fs::FileExt;
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).unwrap_or_default();
    let files: Arc<Vec<_>> = Arc::new(
        (0..partitions).filter_map(|i| std::fs::File::create(dir.join(format!("{i}.log"))).ok()).collect(),
    );
    let (ack_sender, acks) = channel();
    let bytes = Arc::new(payload(size));
    let mut queues = Vec::new();
    let mut workers = Vec::new();
    for _ in 0..threads {
        let (sender, receiver) = channel::<(usize, u64)>();
        queues.push(sender);
        let (files, bytes, acks) = (Arc::clone(&files), Arc::clone(&bytes), ack_sender.clone());
        workers.push(std::thread::spawn(move || {
            while let Ok((i, position)) = receiver.recv() {
                if let Some(file) = files.get(i) {
                    let _ = file.write_all_at(&bytes, position).and_then(|()| file.sync_data());
                }
                let _ = acks.send(i);
            }
        }));
    }
    let mut positions = vec![0u64; partitions];
    let measured = drive(partitions, time, &acks, |i| {
        if let (Some(position), Some(queue)) = (positions.get_mut(i), queues.get(i % threads)) {
            let _ = queue.send((i, *position));
            *position += bytes.len() as u64;
        }
    });
    drop(queues);
    for worker in workers {
        let _ = worker.join();
    }
    let _ = std::fs::remove_dir_all(dir);
    measured
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().unwrap_or_else(|| "bench-data".into())).join("durable-appends");
    let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(3.0);
    let time = Duration::from_secs_f64(seconds);
    for partitions in [1, 10, 100] {
        for size in [300, 4096] {
            sync_per_file(&dir, partitions, size, 1, time).print("file sync, 1 thread", partitions, size);
            if partitions > 1 {
                let threads = partitions.min(16);
                sync_per_file(&dir, partitions, size, threads, time).print(
                    &format!("file sync, {threads} threads"),
                    partitions,
                    size,
                );
            }
            through_the_log(&dir, partitions, size, usize::MAX, time).print("journal", partitions, size);
        }
    }
    println!("Where the journal stops paying: everything through it, or straight to the segments");
    for partitions in [1, 16] {
        for size in [16 << 10, 32 << 10, 64 << 10, 128 << 10, 512 << 10] {
            through_the_log(&dir, partitions, size, usize::MAX, time).print("journal", partitions, size);
            through_the_log(&dir, partitions, size, 0, time).print("segment", partitions, size);
        }
    }
}
