//! `kafka-producer-perf-test`: how fast records are produced, and how long each took.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::producer::Delivery;
use client::{Producer, ProducerConfig, ProducerRecord};
use tokio::sync::mpsc;

use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

/// Latencies kept for the percentiles.
const SAMPLES_MAX: u64 = 500_000;
/// Records on their way whose latency is still to be measured.
const IN_FLIGHT_MAX: usize = 200_000;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
const ABOUT: &str = "This tool is used to verify the producer performance.";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text(
        "bootstrap-server",
        "BOOTSTRAP-SERVER",
        "The server(s) to connect to. This config takes precedence over bootstrap.servers specified via \
         --command-property or --command-config.",
    ),
    Flag::text("topic", "TOPIC", "Produce records to this topic.").required(),
    Flag::long("num-records", "NUM-RECORDS", "Number of records to produce.").required(),
    Flag::integer(
        "record-size",
        "RECORD-SIZE",
        "Record size in bytes. Note that you must provide exactly one of --record-size, --payload-file or \
         --payload-monotonic.",
    ),
    Flag::text(
        "payload-file",
        "PAYLOAD-FILE",
        "File to read the record payloads from; a payload is randomly selected when sending records. Note that you \
         must provide exactly one of --record-size, --payload-file or --payload-monotonic.",
    ),
    Flag::switch(
        "payload-monotonic",
        "Payload is a monotonically increasing integer. Note that you must provide exactly one of --record-size, \
         --payload-file or --payload-monotonic.",
    ),
    Flag::text(
        "payload-delimiter",
        "PAYLOAD-DELIMITER",
        "Provides the delimiter to be used when --payload-file is provided.",
    )
    .or("\\n"),
    Flag::double(
        "throughput",
        "THROUGHPUT",
        "Throttle maximum record throughput to *approximately* THROUGHPUT records/sec. Set this to -1 to disable \
         throttling.",
    )
    .required(),
    Flag::many(
        "producer-props",
        "PROP-NAME=PROP-VALUE",
        "(DEPRECATED) Kafka producer related configuration properties like client.id. Use --command-property instead.",
    ),
    Flag::many(
        "command-property",
        "PROP-NAME=PROP-VALUE",
        "Kafka producer related configuration properties like client.id. These configs take precedence over those \
         passed via --command-config. Example: --command-property linger.ms=10 batch.size=32768",
    ),
    Flag::text(
        "producer.config",
        "CONFIG-FILE",
        "(DEPRECATED) Producer config properties file. Use --command-config instead.",
    ),
    Flag::text("command-config", "CONFIG-FILE", "Producer config properties file."),
    Flag::long(
        "warmup-records",
        "WARMUP-RECORDS",
        "The number of records to treat as warmup. These initial records will not be included in steady-state \
         statistics. An additional summary line will be printed describing the steady-state statistics.",
    )
    .or("0"),
    Flag::long("reporting-interval", "INTERVAL-MS", "Interval in milliseconds at which to print progress info.")
        .or("5000"),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    if args.is_empty() {
        print!("{ABOUT}\n{}", super::usage::render(FLAGS));
        return ExitCode::SUCCESS;
    }
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => produce(&options).await,
        Err(error) => Err(Stop::Usage(format!("kafka-producer-perf-test: error: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(message)) => run::usage(&super::usage::render(FLAGS), &message),
        Err(Stop::Failed(failure)) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// What each record holds.
enum Payload {
    Random(usize),
    OneOf(Vec<Bytes>),
    Number,
}

impl Payload {
    fn next(&self, record: u64, random: &mut Random) -> Bytes {
        match self {
            Self::Random(size) => (0..*size).map(|_| b'A' + random.below(26) as u8).collect(),
            Self::OneOf(list) => {
                list.get(random.below(list.len() as u64) as usize).cloned().unwrap_or_default()
            }
            Self::Number => record.to_string().into(),
        }
    }
}

/// A small generator with a fixed seed: runs are alike. (SplitMix64, Steele et al. 2014.)
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(bound)) >> 64) as u64
    }
}

async fn produce(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        ABOUT,
        "kafka-producer-perf-test --bootstrap-server localhost:9092 --topic sensors --num-records 1000000 \
         --record-size 1024 --throughput -1",
    )?;
    let error = |message: &str| Stop::Usage(format!("kafka-producer-perf-test: error: {message}"));
    let positive = |name: &'static str| match options.number::<i64>(name)? {
        Some(number) if number <= 0 => Err(error(&format!("--{name} should be greater than zero."))),
        number => Ok(number.and_then(|number| u64::try_from(number).ok())),
    };
    let records = positive("num-records")?.unwrap_or_default();
    let warmup = options.number::<u64>("warmup-records")?.unwrap_or_default();
    if warmup >= records {
        return Err(error(
            "The value for --warmup-records must be strictly fewer than the number of records in the test, --num-records.",
        ));
    }
    let interval = Duration::from_millis(positive("reporting-interval")?.unwrap_or(5000));
    let throughput = options.number::<f64>("throughput")?.unwrap_or(-1.0);
    if options.count(&["record-size", "payload-file", "payload-monotonic"]) != 1 {
        return Err(error("exactly one of --record-size, --payload-file or --payload-monotonic is required"));
    }
    let payload = match positive("record-size")? {
        Some(size) => Payload::Random(usize::try_from(size).unwrap_or(usize::MAX)),
        None if options.has("payload-file") => Payload::OneOf(payload_file(options)?),
        None => Payload::Number,
    };
    let topic: std::sync::Arc<str> = options.value("topic")?.unwrap_or_default().into();
    let producer = Producer::new(ProducerConfig::from_properties(properties(options)?)?)?;

    if warmup > 0 {
        println!(
            "Warmup first {warmup} records. Steady state results will print after the complete test summary."
        );
    }
    let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
    let measuring = tokio::spawn(measure(receiver, records, warmup, interval));
    let started = Instant::now();
    let mut random = Random(0);
    for record in 0..records {
        let value = payload.next(record, &mut random);
        let size = value.len();
        let sent = Instant::now();
        let delivery = producer.send(ProducerRecord::new(topic.clone(), value)).await;
        let sample = match delivery {
            Ok(delivery) => Sample { delivery, sent, size, steady: warmup > 0 && record >= warmup },
            Err(failure) => {
                eprintln!("{}", Failure::from(failure));
                continue;
            }
        };
        if sender.send(sample).await.is_err() {
            break;
        }
        if throughput > 0.0 {
            let due = started + Duration::from_secs_f64((record + 1) as f64 / throughput);
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                tokio::time::sleep(early).await;
            }
        }
    }
    drop(sender);
    producer.close(CLOSE_TIMEOUT).await;
    measuring.await.map_err(|error| Failure::kafka(error.to_string()))?;
    Ok(())
}

fn payload_file(options: &Options) -> Result<Vec<Bytes>, Failure> {
    let path = options.value("payload-file")?.unwrap_or_default();
    println!("Reading payloads from: {path}");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    if text.is_empty() {
        return Err(Failure::illegal_argument("File does not exist or empty file provided."));
    }
    let delimiter = options.value("payload-delimiter")?.unwrap_or("\\n");
    let delimiter = if delimiter == "\\n" { "\n" } else { delimiter };
    let text = text.strip_suffix(delimiter).unwrap_or(&text);
    let payloads: Vec<_> = text.split(delimiter).map(|payload| Bytes::from(payload.to_owned())).collect();
    println!("Number of records read: {}", payloads.len());
    Ok(payloads)
}

fn properties(options: &Options) -> Result<BTreeMap<String, String>, Stop> {
    let mut properties = BTreeMap::new();
    let mut given = false;
    for file in ["producer.config", "command-config"] {
        if let Some(path) = options.value(file)? {
            properties.extend(run::load_properties(path)?);
            given = true;
        }
    }
    if options.has("producer-props") {
        println!(
            "Option --producer-props has been deprecated and will be removed in a future version. Use \
             --command-property instead."
        );
    }
    if options.has("producer.config") {
        println!(
            "Option --producer.config has been deprecated and will be removed in a future version. Use \
             --command-config instead."
        );
    }
    for property in options.values("producer-props").into_iter().chain(options.values("command-property")) {
        let (name, value) = property
            .split_once('=')
            .ok_or_else(|| Failure::illegal_argument(format!("Invalid property: {property}")))?;
        properties.insert(name.to_owned(), value.to_owned());
        given = true;
    }
    if let Some(brokers) = options.value("bootstrap-server")? {
        properties.insert("bootstrap.servers".to_owned(), brokers.to_owned());
        given = true;
    }
    if !given {
        return Err(Stop::Usage(
            "kafka-producer-perf-test: error: At least one of --bootstrap-server, --command-property, \
             --producer-props, --producer.config or --command-config must be specified."
                .to_owned(),
        ));
    }
    properties.entry("client.id".to_owned()).or_insert_with(|| "perf-producer-client".to_owned());
    Ok(properties)
}

/// A record on its way.
struct Sample {
    delivery: Delivery,
    sent: Instant,
    size: usize,
    steady: bool,
}

/// Awaits the records in order and prints what they took.
async fn measure(mut samples: mpsc::Receiver<Sample>, records: u64, warmup: u64, interval: Duration) {
    let mut all = Stats::new(records, false);
    let mut steady: Option<Stats> = None;
    while let Some(sample) = samples.recv().await {
        if sample.steady && steady.is_none() {
            steady = Some(Stats::new(records - warmup, true));
            println!("In steady state.");
        }
        match sample.delivery.await {
            Ok(_) => {
                let latency = sample.sent.elapsed();
                all.record(latency, sample.size);
                if let Some(steady) = steady.as_mut().filter(|_| sample.steady) {
                    steady.record(latency, sample.size);
                }
            }
            Err(error) => eprintln!("{}", Failure::from(error)),
        }
        all.print_window_after(interval);
    }
    all.print_total();
    if let Some(steady) = &mut steady {
        steady.print_total();
    }
}

struct Stats {
    steady: bool,
    started: Instant,
    window: Window,
    total: Window,
    sampling: u64,
    latencies_ms: Vec<u32>,
}

/// What happened in a stretch of time.
struct Window {
    started: Instant,
    count: u64,
    bytes: u64,
    latency_ms: u64,
    latency_max_ms: u32,
}

impl Window {
    fn new() -> Self {
        Self { started: Instant::now(), count: 0, bytes: 0, latency_ms: 0, latency_max_ms: 0 }
    }

    fn record(&mut self, latency_ms: u32, size: usize) {
        self.count += 1;
        self.bytes += size as u64;
        self.latency_ms += u64::from(latency_ms);
        self.latency_max_ms = self.latency_max_ms.max(latency_ms);
    }

    /// Records and MiB per second, mean latency in ms.
    fn rates(&self, elapsed: Duration) -> (f64, f64, f64) {
        let seconds = elapsed.as_secs_f64();
        let mean = self.latency_ms as f64 / self.count as f64;
        (self.count as f64 / seconds, self.bytes as f64 / seconds / 1_048_576.0, mean)
    }
}

impl Stats {
    fn new(records: u64, steady: bool) -> Self {
        let sampling = (records / records.clamp(1, SAMPLES_MAX)).max(1);
        Self {
            steady,
            started: Instant::now(),
            window: Window::new(),
            total: Window::new(),
            sampling,
            latencies_ms: Vec::new(),
        }
    }

    fn record(&mut self, latency: Duration, size: usize) {
        let ms = u32::try_from(latency.as_millis()).unwrap_or(u32::MAX);
        if self.total.count.is_multiple_of(self.sampling) {
            self.latencies_ms.push(ms);
        }
        self.window.record(ms, size);
        self.total.record(ms, size);
    }

    fn print_window_after(&mut self, interval: Duration) {
        let elapsed = self.window.started.elapsed();
        if elapsed < interval {
            return;
        }
        let (records, mib, mean) = self.window.rates(elapsed);
        println!(
            "{} records sent, {records:.1} records/sec ({mib:.2} MB/sec), {mean:.1} ms avg latency, {:.1} ms max latency.",
            self.window.count,
            f64::from(self.window.latency_max_ms)
        );
        self.window = Window::new();
    }

    fn print_total(&mut self) {
        let (records, mib, mean) = self.total.rates(self.started.elapsed());
        self.latencies_ms.sort_unstable();
        let [p50, p95, p99, p999] = [0.5, 0.95, 0.99, 0.999].map(|share| {
            let at = (share * self.latencies_ms.len() as f64) as usize;
            self.latencies_ms.get(at).copied().unwrap_or_default()
        });
        println!(
            "{}{} records sent, {records:.6} records/sec ({mib:.2} MB/sec), {mean:.2} ms avg latency, {:.2} ms max \
             latency, {p50} ms 50th, {p95} ms 95th, {p99} ms 99th, {p999} ms 99.9th.",
            self.total.count,
            if self.steady { " steady state" } else { "" },
            f64::from(self.total.latency_max_ms)
        );
    }
}
