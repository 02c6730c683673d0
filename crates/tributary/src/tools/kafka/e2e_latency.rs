//! `kafka-e2e-latency`: how long a record takes from a producer to a consumer, one at a time.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::admin::{CreateTopicsOptions, NewTopic};
use client::{
    Admin, AdminConfig, Consumer, ConsumerConfig, ConsumerRecord, Producer, ProducerConfig, ProducerRecord,
    TopicPartition,
};

use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

const TERSE: &str = "org.apache.kafka.tools.TerseException";
/// How long to wait for a record.
const POLL: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// A line for each so many records.
const REPORT_EVERY: usize = 1000;

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    Flag::text(
        "bootstrap-server",
        "bootstrap-server",
        "REQUIRED: The Kafka broker list string in the form HOST1:PORT1,HOST2:PORT2.",
    ),
    Flag::text("topic", "topic-name", "REQUIRED: The topic to use for the test."),
    Flag::integer("num-records", "count", "REQUIRED: The number of messages to send."),
    Flag::text(
        "producer-acks",
        "producer-acks",
        "REQUIRED: Producer acknowledgements. Must be '1' or 'all'.",
    ),
    Flag::integer("record-size", "bytes", "REQUIRED: The size of each message payload in bytes."),
    Flag::optional_integer(
        "record-key-size",
        "bytes",
        "Optional: The size of the message key in bytes. If not set, messages are sent without a key.",
    )
    .or("0"),
    Flag::optional_integer(
        "record-header-key-size",
        "bytes",
        "Optional: The size of the message header key in bytes. Used together with record-header-size.",
    )
    .or("0"),
    Flag::optional_integer(
        "record-header-size",
        "bytes",
        "Optional: The size of message header value in bytes. Use -1 for null header value.",
    )
    .or("0"),
    Flag::optional_integer(
        "num-headers",
        "count",
        "Optional: The number of headers to include in each message.",
    )
    .or("0"),
    Flag::optional(
        "command-config",
        "config-file",
        "Optional: A property file for Kafka producer/consumer/admin client configuration.",
    ),
];

/// Options that the first arguments of older command lines stand for.
const POSITIONAL: [&str; 6] = [
    "--bootstrap-server",
    "--topic",
    "--num-records",
    "--producer-acks",
    "--record-size",
    "--command-config",
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match with_names(args) {
        Ok(args) => match Options::parse(FLAGS, &args) {
            Ok(options) => measure(&options).await,
            Err(error) => Err(Stop::Usage(error.to_string())),
        },
        Err(failure) => Err(failure.into()),
    };
    run::finish(outcome, FLAGS, |failure| match failure.exception.as_str() {
        TERSE => eprintln!("{}", failure.message),
        _ => run::trace(failure),
    })
}

/// Gives the arguments of older command lines their names.
fn with_names(args: &[String]) -> Result<Vec<String>, Failure> {
    let named =
        |arg: &String| arg.starts_with("--help") || arg == "--version" || POSITIONAL.contains(&arg.as_str());
    if args.is_empty() || args.iter().any(named) {
        return Ok(args.to_vec());
    }
    if !matches!(args.len(), 5 | 6) {
        return Err(Failure::new(
            TERSE,
            format!(
                "Invalid number of arguments. Expected 5 or 6 positional arguments, but got {}. Usage: \
                 bootstrap-server topic num-records producer-acks record-size [optional] command-config",
                args.len()
            ),
        ));
    }
    println!(
        "WARNING: Positional argument usage is deprecated and will be removed in Apache Kafka 5.0. Please use named \
         arguments instead: --bootstrap-server, --topic, --num-records, --producer-acks, --record-size, \
         --command-config"
    );
    Ok(POSITIONAL.iter().zip(args).flat_map(|(name, value)| [(*name).to_owned(), value.clone()]).collect())
}

/// Sizes of what is sent.
struct Shape {
    value: usize,
    key: usize,
    headers: usize,
    header_name: usize,
    /// `None` = null.
    header_value: Option<usize>,
}

fn shape(options: &Options) -> Result<Shape, Stop> {
    run::help_or_version(
        options,
        "This tool measures end-to-end latency in Kafka by sending messages and timing their reception.",
        "kafka-e2e-latency --bootstrap-server localhost:9092 --topic latency --num-records 10000 --producer-acks all \
         --record-size 100",
    )?;
    if !run::has_bootstrap_server(options) {
        run::require(options, &["bootstrap-server"])?;
    }
    run::require(options, &["topic", "num-records", "producer-acks", "record-size"])?;
    if !matches!(options.value("producer-acks")?, Some("1" | "all")) {
        return Err(Stop::Usage(
            "Invalid value for --producer-acks. Latency testing requires synchronous acknowledgement. Please use '1' \
             or 'all'."
                .to_owned(),
        ));
    }
    let number = |name: &'static str| options.number::<i32>(name).map(Option::unwrap_or_default);
    if number("num-records")? <= 0 {
        return Err(Stop::Usage("Value for --num-records must be a positive integer.".to_owned()));
    }
    for (name, least, text) in [
        ("record-size", 0, "Value for --record-size must be a non-negative integer."),
        ("record-key-size", 0, "Value for --record-key-size must be a non-negative integer."),
        ("record-header-key-size", 0, "Value for --record-header-key-size must be a non-negative integer."),
        ("record-header-size", -1, "Value for --record-header-size must be a non-negative integer or -1."),
        ("num-headers", 0, "Value for --num-headers must be a non-negative integer."),
    ] {
        if number(name)? < least {
            return Err(Stop::Usage(text.to_owned()));
        }
    }
    let size = |name| number(name).map(|n| usize::try_from(n).unwrap_or_default());
    Ok(Shape {
        value: size("record-size")?,
        key: size("record-key-size")?,
        headers: size("num-headers")?,
        header_name: size("record-header-key-size")?,
        header_value: usize::try_from(number("record-header-size")?).ok(),
    })
}

fn properties(options: &Options, more: &[(&str, &str)]) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = match options.value("command-config")? {
        Some(path) => run::load_properties(path)?,
        None => BTreeMap::new(),
    };
    properties.insert("bootstrap.servers".to_owned(), run::bootstrap_server(options)?.unwrap_or_default());
    properties.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Ok(properties)
}

async fn measure(options: &Options) -> Result<(), Stop> {
    let shape = shape(options)?;
    let topic = options.value("topic")?.unwrap_or_default();
    let count: usize = options.number("num-records")?.unwrap_or_default();
    let group = format!("test-group-{}", run::now_ms());
    let mut consumer = Consumer::new(ConsumerConfig::from_properties(properties(
        options,
        &[
            ("group.id", &group),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "latest"),
            ("fetch.max.wait.ms", "0"),
        ],
    )?)?)?;
    let acks = options.value("producer-acks")?.unwrap_or("all");
    let producer = Producer::new(ProducerConfig::from_properties(properties(
        options,
        &[("linger.ms", "0"), ("max.block.ms", "9223372036854775807"), ("acks", acks)],
    )?)?)?;
    if !consumer.list_topics().await?.contains_key(topic) {
        create(options, topic).await?;
    }
    let partitions = consumer.partitions_for(topic).await?.unwrap_or_default();
    let partitions: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
    consumer.assign(&partitions)?;
    consumer.seek_to_end(&partitions)?;
    for partition in &partitions {
        consumer.position(partition).await?;
    }

    let mut latencies = Vec::with_capacity(count);
    for number in 0..count {
        let record = record(topic, &shape)?;
        let begun = Instant::now();
        producer.send(record.clone()).await?.await?;
        let records = consumer.poll(POLL).await?;
        let elapsed = begun.elapsed();
        if let Err(text) = check(&record, &records) {
            consumer.commit().await?;
            return Err(Failure::new("java.lang.RuntimeException", text).into());
        }
        if number % REPORT_EVERY == 0 {
            println!("{number}\t{}", elapsed.as_nanos() as f64 / 1e6);
        }
        latencies.push(elapsed);
    }
    let total: Duration = latencies.iter().sum();
    println!("Avg latency: {:.4} ms", total.as_nanos() as f64 / count as f64 / 1e6);
    latencies.sort_unstable();
    let percentile = |part: f64| latencies.get((count as f64 * part) as usize).map_or(0, Duration::as_millis);
    println!(
        "Percentiles: 50th = {}, 99th = {}, 99.9th = {}",
        percentile(0.5),
        percentile(0.99),
        percentile(0.999)
    );
    consumer.commit().await?;
    consumer.close(CLOSE_TIMEOUT).await?;
    producer.close(CLOSE_TIMEOUT).await;
    Ok(())
}

async fn create(options: &Options, topic: &str) -> Result<(), Failure> {
    println!(
        "Topic \"{topic}\" does not exist. Will create topic with 1 partition(s) and replication factor = 1"
    );
    let admin = Admin::new(AdminConfig::from_properties(properties(options, &[])?)?)?;
    let created =
        admin.create_topics(&[NewTopic::new(topic, Some(1), Some(1))], CreateTopicsOptions::default()).await;
    admin.close().await;
    let outcome = created.and_then(|each| each.into_iter().try_for_each(|(_, outcome)| outcome.map(|_| ())));
    outcome.map_err(|error| {
        println!("Creation of topic {topic} failed");
        Failure::execution(error).wrapped_in("java.lang.RuntimeException")
    })
}

/// One letter, `length` times.
fn letters(length: usize) -> Result<Bytes, Failure> {
    let letter = b'A' + u8::try_from(run::random_below(26)?).unwrap_or_default();
    Ok(vec![letter; length].into())
}

fn record(topic: &str, shape: &Shape) -> Result<ProducerRecord, Failure> {
    let mut record = ProducerRecord::new(topic, letters(shape.value)?).key(letters(shape.key)?);
    for _ in 0..shape.headers {
        let value = shape.header_value.map(letters).transpose()?;
        record = record.header(letters(shape.header_name)?, value);
    }
    Ok(record)
}

fn check(sent: &ProducerRecord, read: &[ConsumerRecord]) -> Result<(), String> {
    let text =
        |bytes: &Option<Bytes>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    let Some(first) = read.first() else {
        return Err(format!("poll() timed out before finding a result (timeout:[{}ms])", POLL.as_millis()));
    };
    for (what, got, wanted) in [("value", &first.value, &sent.value), ("key", &first.key, &sent.key)] {
        if got != wanted {
            return Err(format!(
                "The message {what} read [{}] did not match the message {what} sent [{}]",
                text(got),
                text(wanted)
            ));
        }
    }
    if first.headers != sent.headers {
        return Err("Header count mismatch between sent and received messages".to_owned());
    }
    match read.len() {
        1 => Ok(()),
        count => Err(format!("Only one result was expected during this test. We found [{count}]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_command_lines_get_names() {
        let args = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            with_names(&args("b:1 t 10 all 100")),
            Ok(args(
                "--bootstrap-server b:1 --topic t --num-records 10 --producer-acks all --record-size 100"
            ))
        );
        assert_eq!(with_names(&args("--topic t")), Ok(args("--topic t")));
        assert!(with_names(&args("b:1 t")).is_err_and(|e| e.message.contains("but got 2.")));
    }

    #[test]
    fn only_the_record_that_was_sent_counts() {
        let shape = Shape { value: 3, key: 0, headers: 1, header_name: 1, header_value: None };
        let sent = record("t", &shape).expect("a record");
        let read = ConsumerRecord {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            timestamp_type: client::TimestampType::CreateTime,
            key: sent.key.clone(),
            value: sent.value.clone(),
            headers: sent.headers.clone(),
            leader_epoch: None,
        };
        assert_eq!(check(&sent, std::slice::from_ref(&read)), Ok(()));
        assert!(check(&sent, &[]).is_err_and(|e| e.starts_with("poll() timed out")));
        assert!(check(&sent, &[read.clone(), read.clone()]).is_err());
        assert!(check(&sent, &[ConsumerRecord { value: None, ..read }]).is_err());
    }
}
