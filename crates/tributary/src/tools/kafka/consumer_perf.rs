//! `kafka-consumer-perf-test`: how fast records are consumed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use client::consumer::RebalanceListener;
use client::{Consumer, ConsumerConfig, TopicPartition};
use futures_util::future::BoxFuture;
use regex::Regex;

use super::calendar;
use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

const POLL: Duration = Duration::from_millis(100);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
const MIB: f64 = 1_048_576.0;
const RATES: &str = "rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    Flag::text("bootstrap-server", "server to connect to", "REQUIRED: The server(s) to connect to."),
    Flag::text("topic", "topic", "The topic to consume from."),
    Flag::text(
        "include",
        "Java regex (String)",
        "Regular expression specifying list of topics to include for consumption.",
    ),
    Flag::text("group", "gid", "The group id to consume on. (default: perf-consumer-NNNNN)"),
    Flag::integer(
        "fetch-size",
        "size",
        "The maximum amount of data to fetch from a single partition per request.",
    )
    .or("1048576"),
    Flag::text(
        "command-property",
        "prop1=val1",
        "Kafka consumer related configuration properties like client.id. These configs take precedence over those \
         passed via --command-config or --consumer.config.",
    ),
    Flag::switch(
        "from-latest",
        "If the consumer does not already have an established offset to consume from, start with the latest record \
         present in the log rather than the earliest record.",
    ),
    Flag::integer("socket-buffer-size", "size", "The size of the tcp RECV size.").or("2097152"),
    Flag::text(
        "consumer.config",
        "config file",
        "(DEPRECATED) Consumer config properties file. This option will be removed in a future version. Use \
         --command-config instead.",
    ),
    Flag::text("command-config", "config file", "Config properties file."),
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
    Flag::switch("print-metrics", "Print out the metrics."),
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
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => consume(&options).await,
        Err(error) => Err(Stop::Usage(error.to_string())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(message)) => run::usage(&super::usage::render(FLAGS), &message),
        Err(Stop::Failed(failure)) => {
            eprintln!("{}\n{failure}\n", failure.message);
            ExitCode::FAILURE
        }
    }
}

fn check(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool is used to verify the consumer performance.",
        "kafka-consumer-perf-test --bootstrap-server localhost:9092 --topic sensors --num-records 1000000",
    )?;
    if !run::has_bootstrap_server(options) {
        run::require(options, &["bootstrap-server"])?;
    }
    run::exactly_one(options, &["topic", "include"])?;
    run::exactly_one(options, &["messages", "num-records"])?;
    run::exclude(options, "consumer.config", &["command-config"])?;
    for (old, new) in [("messages", "num-records"), ("consumer.config", "command-config")] {
        if options.has(old) {
            println!("Warning: --{old} is deprecated. Use --{new} instead.");
        }
    }
    Ok(())
}

/// Measures how long the group takes to give partitions.
#[derive(Clone, Default)]
struct JoinTime {
    /// All of it, in ms.
    total: Arc<AtomicI64>,
    /// Since the last report, in ms.
    round: Arc<AtomicI64>,
    /// When the consumer was last without partitions, ms since the epoch.
    since: Arc<AtomicI64>,
    assigned: Arc<AtomicI64>,
}

impl RebalanceListener for JoinTime {
    fn revoked<'a>(&'a mut self, _: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a, ()> {
        let count = i64::try_from(partitions.len()).unwrap_or(i64::MAX);
        if self.assigned.fetch_sub(count, Ordering::Relaxed) <= count {
            self.assigned.store(0, Ordering::Relaxed);
            self.since.store(run::now_ms(), Ordering::Relaxed);
        }
        Box::pin(std::future::ready(()))
    }

    fn assigned<'a>(
        &'a mut self,
        _: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()> {
        let count = i64::try_from(partitions.len()).unwrap_or(i64::MAX);
        if self.assigned.fetch_add(count, Ordering::Relaxed) == 0 {
            let elapsed = run::now_ms() - self.since.load(Ordering::Relaxed);
            self.total.fetch_add(elapsed, Ordering::Relaxed);
            self.round.fetch_add(elapsed, Ordering::Relaxed);
        }
        Box::pin(std::future::ready(()))
    }
}

async fn consume(options: &Options) -> Result<(), Stop> {
    check(options)?;
    let wanted = match options.number::<u64>("messages")? {
        Some(wanted) => wanted,
        None => options.number::<u64>("num-records")?.unwrap_or_default(),
    };
    let timeout_ms = options.number::<i64>("timeout")?.unwrap_or(10_000);
    let interval_ms = options.number::<i64>("reporting-interval")?.unwrap_or(5000);
    if interval_ms <= 0 {
        return Err(Failure::illegal_argument("Reporting interval must be greater than 0.").into());
    }
    let detailed = options.has("show-detailed-stats");
    let pattern = options.value("date-format")?.unwrap_or_default();
    if !options.has("hide-header") {
        let first = if detailed { "time, threadId" } else { "start.time, end.time" };
        println!("{first}, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, {RATES}");
    }

    let mut consumer = Consumer::new(ConsumerConfig::from_properties(properties(options)?)?)?;
    let start_ms = run::now_ms();
    let join = JoinTime::default();
    join.since.store(start_ms, Ordering::Relaxed);
    match (options.value("topic")?, options.value("include")?) {
        (Some(topic), _) => consumer.subscribe(&[topic], Some(Box::new(join.clone())))?,
        (None, include) => {
            let include = Regex::new(include.unwrap_or_default())
                .map_err(|error| Failure::new("java.util.regex.PatternSyntaxException", error.to_string()))?;
            consumer.subscribe_pattern(include, Some(Box::new(join.clone())))?;
        }
    }
    let (mut records, mut bytes) = (0u64, 0u64);
    let (mut reported_records, mut reported_bytes, mut reported_ms) = (0u64, 0u64, start_ms);
    let (mut now_ms, mut consumed_ms) = (start_ms, start_ms);
    while records < wanted && now_ms - consumed_ms <= timeout_ms {
        let polled = consumer.poll(POLL).await?;
        now_ms = run::now_ms();
        if !polled.is_empty() {
            consumed_ms = now_ms;
        }
        let size = |field: &Option<bytes::Bytes>| field.as_ref().map_or(0, bytes::Bytes::len) as u64;
        records += polled.len() as u64;
        bytes += polled.iter().map(|record| size(&record.key) + size(&record.value)).sum::<u64>();
        if now_ms - reported_ms >= interval_ms && !polled.is_empty() {
            let joined = join.round.swap(0, Ordering::Relaxed);
            if detailed {
                let interval =
                    Rates::new(records - reported_records, bytes - reported_bytes, now_ms - reported_ms);
                let fetch = interval.fetching(joined);
                println!(
                    "{}, 0, {:.4}, {:.4}, {records}, {:.4}, {joined}, {}, {:.4}, {:.4}",
                    calendar::format(now_ms, pattern),
                    bytes as f64 / MIB,
                    interval.mib(),
                    interval.records(),
                    fetch.ms,
                    fetch.mib(),
                    fetch.records()
                );
            }
            (reported_records, reported_bytes, reported_ms) = (records, bytes, now_ms);
        }
    }
    if records < wanted {
        println!(
            "WARNING: Exiting before consuming the expected number of records: timeout ({timeout_ms} ms) exceeded. \
             You can use the --timeout option to increase the timeout."
        );
    }
    let end_ms = run::now_ms();
    if !detailed {
        let all = Rates::new(records, bytes, end_ms - start_ms);
        let joined = join.total.load(Ordering::Relaxed);
        let fetch = all.fetching(joined);
        println!(
            "{}, {}, {:.4}, {:.4}, {records}, {:.4}, {joined}, {}, {:.4}, {:.4}",
            calendar::format(start_ms, pattern),
            calendar::format(end_ms, pattern),
            bytes as f64 / MIB,
            all.mib(),
            all.records(),
            fetch.ms,
            fetch.mib(),
            fetch.records()
        );
    }
    consumer.close(CLOSE_TIMEOUT).await?;
    if options.has("print-metrics") {
        eprintln!("Note: this client keeps no metrics to print.");
    }
    Ok(())
}

/// Records and bytes in a time.
struct Rates {
    records: u64,
    bytes: u64,
    ms: i64,
}

impl Rates {
    fn new(records: u64, bytes: u64, ms: i64) -> Self {
        Self { records, bytes, ms }
    }

    /// The same without the time spent joining the group.
    fn fetching(&self, joined_ms: i64) -> Self {
        Self { ms: self.ms - joined_ms, ..*self }
    }

    fn per_second(&self, amount: f64) -> f64 {
        if self.ms <= 0 { 0.0 } else { amount * 1000.0 / self.ms as f64 }
    }

    fn mib(&self) -> f64 {
        self.per_second(self.bytes as f64 / MIB)
    }

    fn records(&self) -> f64 {
        self.per_second(self.records as f64)
    }
}

fn properties(options: &Options) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = BTreeMap::new();
    for file in ["command-config", "consumer.config"] {
        if let Some(path) = options.value(file)? {
            properties.extend(run::load_properties(path)?);
        }
    }
    properties.extend(run::key_values(&options.values("command-property")));
    let group = match options.value("group")? {
        Some(group) => group.to_owned(),
        None => format!("perf-consumer-{}", run::random_below(100_000)?),
    };
    let number = |name: &'static str| options.number::<i32>(name).map(|n| n.unwrap_or_default().to_string());
    let reset = if options.has("from-latest") { "latest" } else { "earliest" };
    properties.extend([
        ("bootstrap.servers".to_owned(), run::bootstrap_server(options)?.unwrap_or_default()),
        ("group.id".to_owned(), group),
        ("receive.buffer.bytes".to_owned(), number("socket-buffer-size")?),
        ("max.partition.fetch.bytes".to_owned(), number("fetch-size")?),
        ("auto.offset.reset".to_owned(), reset.to_owned()),
    ]);
    properties.entry("client.id".to_owned()).or_insert_with(|| "perf-consumer-client".to_owned());
    Ok(properties)
}
