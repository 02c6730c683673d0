//! `kafka-share-consumer-perf-test`: how fast records are consumed in a share group.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{ShareConsumer, ShareConsumerConfig};

use super::calendar;
use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

const POLL: Duration = Duration::from_millis(100);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
const MIB: f64 = 1_048_576.0;

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text("bootstrap-server", "server to connect to", "REQUIRED. The server(s) to connect to."),
    Flag::text("topic", "topic", "REQUIRED: The topic to consume from."),
    Flag::text("group", "gid", "The group id to consume on.").or("perf-share-consumer"),
    Flag::integer("fetch-size", "size", "The amount of data to fetch in a single request.").or("1048576"),
    Flag::text(
        "command-property",
        "prop1=val1",
        "Kafka share consumer related configuration properties like client.id. These configs take precedence over \
         those passed via --command-config or --consumer.config.",
    ),
    Flag::integer("socket-buffer-size", "size", "The size of the tcp RECV size.").or("2097152"),
    Flag::text(
        "consumer.config",
        "config file",
        "(DEPRECATED) Share consumer config properties file. This option will be removed in a future version. Use \
         --command-config instead.",
    ),
    Flag::text("command-config", "config file", "Config properties file."),
    Flag::switch("print-metrics", "Print out the metrics."),
    Flag::switch(
        "show-detailed-stats",
        "If set, stats are reported for each reporting interval as configured by reporting-interval.",
    ),
    Flag::optional_long(
        "timeout",
        "milliseconds",
        "The maximum allowed time in milliseconds between returned records.",
    )
    .or("10000"),
    Flag::long(
        "messages",
        "count",
        "(DEPRECATED) The number of records to consume. This option will be removed in a future version. Use \
         --num-records instead.",
    ),
    Flag::long("num-records", "count", "REQUIRED: The number of records to consume."),
    Flag::long(
        "reporting-interval",
        "interval_ms",
        "Interval in milliseconds at which to print progress info.",
    )
    .or("5000"),
    Flag::text(
        "date-format",
        "date format",
        "The date format to use for formatting the time field. See java.text.SimpleDateFormat for options.",
    )
    .or("yyyy-MM-dd HH:mm:ss:SSS"),
    Flag::switch("hide-header", "If set, skips printing the header for the stats."),
    Flag::integer("threads", "count", "The number of share consumers to use for sharing the load.").or("1"),
    Flag::switch(
        "show-consumer-stats",
        "If set, stats are reported for each share consumer depending on the no. of threads.",
    ),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => measure(&options).await,
        Err(error) => Err(Stop::Usage(error.to_string())),
    };
    run::finish(outcome, FLAGS, run::trace)
}

fn check(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool is used to verify the share consumer performance.",
        "kafka-share-consumer-perf-test --bootstrap-server localhost:9092 --topic jobs --num-records 1000000",
    )?;
    run::require(options, &["topic", "bootstrap-server"])?;
    run::exactly_one(options, &["messages", "num-records"])?;
    run::exclude(options, "consumer.config", &["command-config"])?;
    for (old, new) in [("messages", "num-records"), ("consumer.config", "command-config")] {
        if options.has(old) {
            println!("Warning: --{old} is deprecated. Use --{new} instead.");
        }
    }
    Ok(())
}

/// What all share consumers have read together, and how the run is limited and reported.
struct Run {
    wanted: u64,
    timeout_ms: i64,
    interval_ms: i64,
    detailed: bool,
    date_format: String,
    records: AtomicU64,
    bytes: AtomicU64,
}

/// What one of them has read.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    records: u64,
    bytes: u64,
}

async fn measure(options: &Options) -> Result<(), Stop> {
    check(options)?;
    let wanted = match options.number::<u64>("messages")? {
        Some(wanted) => wanted,
        None => options.number::<u64>("num-records")?.unwrap_or_default(),
    };
    let interval_ms = options.number::<i64>("reporting-interval")?.unwrap_or(5000);
    let threads = options.number::<u32>("threads")?.unwrap_or(1);
    if !options.has("hide-header") {
        println!(
            "start.time, end.time, data.consumed.in.MB, MB.sec, nMsg.sec, data.consumed.in.nMsg, fetch.time.ms"
        );
    }
    let properties = properties(options)?;
    let client_id = properties.get("client.id").cloned().unwrap_or_default();
    let mut consumers = Vec::new();
    for number in 1..=threads {
        let mut own = properties.clone();
        if threads > 1 {
            own.insert("client.id".to_owned(), format!("{client_id}-{number}"));
        }
        consumers.push(ShareConsumer::new(ShareConsumerConfig::from_properties(own)?)?);
    }
    if interval_ms <= 0 {
        return Err(Failure::illegal_argument("Reporting interval must be greater than 0.").into());
    }
    let topic = options.value("topic")?.unwrap_or_default();
    let start_ms = run::now_ms();
    let shared = Arc::new(Run {
        wanted,
        timeout_ms: options.number::<i64>("timeout")?.unwrap_or(10_000),
        interval_ms,
        detailed: options.has("show-detailed-stats"),
        date_format: options.value("date-format")?.unwrap_or_default().to_owned(),
        records: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    });
    let mut tasks = Vec::new();
    for (number, mut consumer) in (1..).zip(consumers) {
        consumer.subscribe(&[topic])?;
        let shared = Arc::clone(&shared);
        tasks.push(tokio::spawn(async move {
            let read = consume(&mut consumer, &shared, number).await;
            (consumer, read)
        }));
    }
    let mut done = Vec::new();
    for task in tasks {
        let (consumer, read) =
            task.await.map_err(|error| Failure::new("java.lang.RuntimeException", error.to_string()))?;
        done.push((consumer, read.map_err(Failure::execution)?));
    }
    let end_ms = run::now_ms();
    if options.has("show-consumer-stats") {
        for (number, (_, read)) in (1..).zip(&done) {
            let id = if threads > 1 { format!("{client_id}-{number}") } else { client_id.clone() };
            println!(
                "Share consumer {number} having client id {id} consumption metrics- {}",
                stats(*read, start_ms, end_ms, &shared.date_format)
            );
        }
    }
    let all =
        Read { records: shared.records.load(Ordering::Relaxed), bytes: shared.bytes.load(Ordering::Relaxed) };
    if all.records < wanted {
        println!(
            "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) exceeded. You can use \
             the --timeout option to increase the timeout.",
            shared.timeout_ms
        );
    }
    for (consumer, _) in &mut done {
        consumer.commit().await?;
    }
    println!("{}", stats(all, start_ms, end_ms, &shared.date_format));
    if options.has("print-metrics") {
        eprintln!("Note: this client keeps no metrics to print.");
    }
    for (mut consumer, _) in done {
        consumer.close(CLOSE_TIMEOUT).await?;
    }
    Ok(())
}

fn stats(read: Read, start_ms: i64, end_ms: i64, date_format: &str) -> String {
    let mib = read.bytes as f64 / MIB;
    let per_second = |amount: f64| {
        let seconds = (end_ms - start_ms) as f64 / 1000.0;
        if seconds > 0.0 { amount / seconds } else { 0.0 }
    };
    format!(
        "{}, {}, {mib:.4}, {:.4}, {:.4}, {}, {}",
        calendar::format(start_ms, date_format),
        calendar::format(end_ms, date_format),
        per_second(mib),
        per_second(read.records as f64),
        read.records,
        end_ms - start_ms
    )
}

async fn consume(consumer: &mut ShareConsumer, shared: &Run, number: u32) -> Result<Read, client::Error> {
    let (mut read, mut reported) = (Read::default(), Read::default());
    let mut now_ms = run::now_ms();
    let (mut consumed_ms, mut reported_ms) = (now_ms, now_ms);
    while shared.records.load(Ordering::Relaxed) < shared.wanted && now_ms - consumed_ms <= shared.timeout_ms
    {
        let polled = consumer.poll(POLL).await?;
        now_ms = run::now_ms();
        if polled.is_empty() {
            continue;
        }
        consumed_ms = now_ms;
        let size = |field: &Option<bytes::Bytes>| field.as_ref().map_or(0, bytes::Bytes::len) as u64;
        let bytes: u64 = polled.iter().map(|r| size(&r.record.key) + size(&r.record.value)).sum();
        read.records += polled.len() as u64;
        read.bytes += bytes;
        shared.records.fetch_add(polled.len() as u64, Ordering::Relaxed);
        shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        if now_ms - reported_ms >= shared.interval_ms {
            if shared.detailed {
                let elapsed = (now_ms - reported_ms).max(1) as f64;
                let mib = (read.bytes - reported.bytes) as f64 / MIB;
                println!(
                    "{}, {}, {:.4}, {:.4}, {:.4}, {}, {} for share consumer {number}",
                    calendar::format(reported_ms, &shared.date_format),
                    calendar::format(now_ms, &shared.date_format),
                    read.bytes as f64 / MIB,
                    mib * 1000.0 / elapsed,
                    (read.records - reported.records) as f64 * 1000.0 / elapsed,
                    read.records,
                    now_ms - reported_ms
                );
            }
            (reported, reported_ms) = (read, now_ms);
        }
    }
    Ok(read)
}

fn properties(options: &Options) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = BTreeMap::new();
    for file in ["command-config", "consumer.config"] {
        if let Some(path) = options.value(file)? {
            properties.extend(run::load_properties(path)?);
        }
    }
    properties.extend(run::key_values(&options.values("command-property")));
    let number = |name: &'static str| options.number::<i32>(name).map(|n| n.unwrap_or_default().to_string());
    properties.extend([
        ("bootstrap.servers".to_owned(), options.value("bootstrap-server")?.unwrap_or_default().to_owned()),
        ("group.id".to_owned(), options.value("group")?.unwrap_or_default().to_owned()),
        ("receive.buffer.bytes".to_owned(), number("socket-buffer-size")?),
        ("fetch.max.bytes".to_owned(), number("fetch-size")?),
        ("check.crcs".to_owned(), "false".to_owned()),
    ]);
    properties.entry("client.id".to_owned()).or_insert_with(|| "perf-share-consumer-client".to_owned());
    Ok(properties)
}
