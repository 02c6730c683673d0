//! `kafka-console-producer`: lines of standard input become records.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use client::producer::Delivery;
use client::{Producer, ProducerConfig, ProducerRecord};
use tokio::sync::mpsc;

use super::line_reader::{LineReader, Lines};
use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION, ZOOKEEPER};
use super::run::{self, Failure, Stop};
use super::signals::Signals;

const LINE_READER: &str = "org.apache.kafka.tools.LineMessageReader";
const ERROR_LOGGER: &str = "org.apache.kafka.clients.producer.internals.ErrorLoggingCallback";
/// Lines read ahead of the producer.
const LINES_AHEAD: usize = 1000;
/// Records whose fate is not known yet; past it, reading waits.
const DELIVERIES_MAX: usize = 100_000;
/// `close` waits as long as Kafka's does: until everything is delivered or failed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

macro_rules! reader_properties {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "A mechanism to pass user-defined properties in the form key=value to the message reader. This allows \
             custom configuration for a user-defined message reader.\nDefault properties include:\n \
             parse.key=false\n parse.headers=false\n ignore.error=false\n key.separator=\\t\n \
             headers.delimiter=\\t\n headers.separator=,\n headers.key.separator=:\n null.marker=   When set, any \
             fields (key, value and headers) equal to this will be replaced by null\nDefault parsing pattern \
             when:\n parse.headers=true and parse.key=true:\n  \"h1:v1,h2:v2...\\tkey\\tvalue\"\n \
             parse.key=true:\n  \"key\\tvalue\"\n parse.headers=true:\n  \"h1:v1,h2:v2...\\tvalue\"",
            $after
        )
    };
}

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    ZOOKEEPER,
    Flag::text("topic", "topic", "REQUIRED: The topic name to produce messages to."),
    Flag::text(
        "bootstrap-server",
        "server to connect to",
        "REQUIRED: The server(s) to connect to. The broker list string in the form HOST1:PORT1,HOST2:PORT2.",
    ),
    Flag::switch(
        "sync",
        "If set message send requests to the brokers are synchronously, one at a time as they arrive.",
    ),
    Flag::optional(
        "compression-codec",
        "compression-codec",
        "The compression codec: either 'none', 'gzip', 'snappy', 'lz4', or 'zstd'.If specified without value, then \
         it defaults to 'gzip'",
    ),
    Flag::integer(
        "batch-size",
        "size",
        "The buffer size in bytes allocated for a partition. When records are received which are smaller than this \
         size the producer will attempt to optimistically group them together until this size is reached. This is \
         the option to control batch.size in producer configs. Please note that this option will be replaced if \
         max-partition-memory-bytes is also set.",
    )
    .or("16384"),
    Flag::integer(
        "message-send-max-retries",
        "",
        "Brokers can fail receiving the message for multiple reasons, and being unavailable transiently is just one \
         of them. This property specifies the number of retries before the producer give up and drop this message. \
         This is the option to control `retries` in producer configs.",
    )
    .or("3"),
    Flag::long(
        "retry-backoff-ms",
        "",
        "Before each retry, the producer refreshes the metadata of relevant topics. Since leader election takes a \
         bit of time, this property specifies the amount of time that the producer waits before refreshing the \
         metadata. This is the option to control `retry.backoff.ms` in producer configs.",
    )
    .or("100"),
    Flag::long(
        "timeout",
        "timeout_ms",
        "If set and the producer is running in asynchronous mode, this gives the maximum amount of time a message \
         will queue awaiting sufficient batch size. The value is given in ms. This is the option to control \
         `linger.ms` in producer configs.",
    )
    .or("1000"),
    Flag::text("request-required-acks", "request required acks", "The required `acks` of the producer requests")
        .or("-1"),
    Flag::integer(
        "request-timeout-ms",
        "request timeout ms",
        "The ack timeout of the producer requests. Value must be non-negative and non-zero.",
    )
    .or("1500"),
    Flag::long(
        "metadata-expiry-ms",
        "metadata expiration interval",
        "The period of time in milliseconds after which we force a refresh of metadata even if we haven't seen any \
         leadership changes. This is the option to control `metadata.max.age.ms` in producer configs.",
    )
    .or("300000"),
    Flag::long(
        "max-block-ms",
        "max block on send",
        "The max time that the producer will block for during a send request.",
    )
    .or("60000"),
    Flag::long(
        "max-memory-bytes",
        "total memory in bytes",
        "The total memory used by the producer to buffer records waiting to be sent to the server. This is the \
         option to control `buffer.memory` in producer configs.",
    )
    .or("33554432"),
    Flag::integer(
        "max-partition-memory-bytes",
        "memory in bytes per partition",
        "(Deprecated) The buffer size in bytes allocated for a partition. When records are received which are \
         smaller than this size the producer will attempt to optimistically group them together until this size is \
         reached. This is the option to control batch.size in producer configs. This option will be removed in \
         Apache Kafka 5.0. Use --batch-size instead.",
    )
    .or("16384"),
    Flag::text(
        "line-reader",
        "reader_class",
        "The class name of the class to use for reading lines from standard in. By default each line is read as a \
         separate message.",
    )
    .or(LINE_READER),
    Flag::integer(
        "socket-buffer-size",
        "size",
        "The size of the tcp RECV size. This is the option to control `send.buffer.bytes` in producer configs.",
    )
    .or("102400"),
    Flag::text(
        "property",
        "prop",
        reader_properties!(
            "(DEPRECATED) ",
            "\n This option will be removed in a future version. Use --reader-property instead."
        ),
    ),
    Flag::text("reader-property", "prop", reader_properties!("", "")),
    Flag::text(
        "reader-config",
        "config file",
        "Config properties file for the message reader. Note that [reader-property] takes precedence over this \
         config.",
    ),
    Flag::text(
        "producer-property",
        "producer_prop",
        "(DEPRECATED) Producer config properties in the form key=value. This option will be removed in a future \
         version. Use --command-property instead.",
    ),
    Flag::text("command-property", "producer_prop", "Producer config properties in the form key=value."),
    Flag::text(
        "producer.config",
        "config file",
        "(DEPRECATED) Producer config properties file. Note that [command-property] takes precedence over this \
         config. This option will be removed in a future version. Use --command-config instead.",
    ),
    Flag::text(
        "command-config",
        "config file",
        "Producer config properties file. Note that [command-property] takes precedence over this config.",
    ),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(FLAGS, args) {
        Ok(options) => options,
        Err(error) => return run::usage(&super::usage::render(FLAGS), &error.to_string()),
    };
    match produce(&options).await {
        Ok(code) => code,
        Err(Stop::Usage(message)) => run::usage(&options.usage(), &message),
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Failed(failure)) => {
            // Errors of the command line come without the exception's name.
            if failure.exception.starts_with("joptsimple.") {
                eprintln!("{}", failure.message);
            } else {
                eprintln!("{failure}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn produce(options: &Options) -> Result<ExitCode, Stop> {
    let brokers = check(options)?;
    let mut reader = line_reader(options)?;
    let config = ProducerConfig::from_properties(producer_properties(options, brokers)?)?;
    let producer = Producer::new(config)?;
    let mut signals = Signals::new()?;
    let mut lines = spawn_line_thread();
    let sync = options.has("sync");
    let mut sent = Sent::default();
    let ended = loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(Ok(line)) => {
                    if let Err(failure) = send(&producer, &mut reader, &line.bytes, sync, &mut sent).await {
                        break Err(failure);
                    }
                    line.done();
                }
                Some(Err(error)) => break Err(Failure::kafka(error.to_string()).wrapped_in("java.io.IOException")),
                None => break Ok(ExitCode::SUCCESS),
            },
            () = sent.settle_first(), if !sent.is_empty() => {}
            code = signals.next() => break Ok(ExitCode::from(code)),
        }
    };
    producer.close(CLOSE_TIMEOUT).await;
    while !sent.is_empty() {
        sent.settle_first().await;
    }
    Ok(ended?)
}

async fn send(
    producer: &Producer,
    reader: &mut LineReader,
    line: &[u8],
    sync: bool,
    sent: &mut Sent,
) -> Result<(), Failure> {
    let record = reader.record(line)?;
    let label = Label::of(&record);
    let outcome = producer.send(record).await;
    if sync {
        let outcome = match outcome {
            Ok(delivery) => delivery.await.map(|_| ()),
            Err(error) => Err(error),
        };
        return outcome
            .map_err(|error| Failure::from(error).wrapped_in("java.util.concurrent.ExecutionException"));
    }
    match outcome {
        Ok(delivery) => sent.waiting.push_back((delivery, label)),
        Err(error) => label.log(&error.into()),
    }
    while sent.waiting.len() > DELIVERIES_MAX {
        sent.settle_first().await;
    }
    Ok(())
}

/// What an error about a record says of it.
struct Label {
    topic: std::sync::Arc<str>,
    key: Option<usize>,
    value: Option<usize>,
}

impl Label {
    fn of(record: &ProducerRecord) -> Self {
        Self {
            topic: record.topic.clone(),
            key: record.key.as_ref().map(Bytes::len),
            value: record.value.as_ref().map(Bytes::len),
        }
    }

    fn log(&self, failure: &Failure) {
        let size =
            |bytes: Option<usize>| bytes.map_or_else(|| "null".to_owned(), |bytes| format!("{bytes} bytes"));
        let message = format!(
            "Error when sending message to topic {} with key: {}, value: {} with error:",
            self.topic,
            size(self.key),
            size(self.value)
        );
        run::log_error(&message, ERROR_LOGGER);
        eprintln!("{failure}");
    }
}

/// Records handed to the producer, in order; failures are logged, as the exit code does not tell of them.
#[derive(Default)]
struct Sent {
    waiting: VecDeque<(Delivery, Label)>,
}

impl Sent {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Waits for the first record's fate. May be dropped half-way.
    async fn settle_first(&mut self) {
        let Some((delivery, _)) = self.waiting.front_mut() else { return };
        let outcome = delivery.await;
        if let Some((_, label)) = self.waiting.pop_front()
            && let Err(error) = outcome
        {
            label.log(&error.into());
        }
    }
}

/// A line, and who waits until it is dealt with.
struct Line {
    bytes: Vec<u8>,
    prompt: Option<std::sync::mpsc::SyncSender<()>>,
}

impl Line {
    fn done(self) {
        if let Some(prompt) = self.prompt {
            let _ = prompt.send(());
        }
    }
}

/// Reads standard input on a thread of its own, prompting with `>` when a person types.
fn spawn_line_thread() -> mpsc::Receiver<std::io::Result<Line>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let mut lines = Lines::new(std::io::stdin().lock());
        let mut bytes = Vec::new();
        loop {
            if interactive {
                print!(">");
                let _ = std::io::stdout().flush();
            }
            let line = match lines.next(&mut bytes) {
                Ok(true) => Ok(()),
                Ok(false) => return,
                Err(error) => Err(error),
            };
            let failed = line.is_err();
            let (done, prompt) = std::sync::mpsc::sync_channel(1);
            let line = line
                .map(|()| Line { bytes: std::mem::take(&mut bytes), prompt: interactive.then_some(done) });
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
            // The next prompt comes when this line is with the producer, so that errors stand before it.
            if interactive && prompt.recv().is_err() {
                return;
            }
        }
    });
    receiver
}

/// Checks the command line and gives the brokers.
fn check(options: &Options) -> Result<String, Stop> {
    run::help_or_version(
        options,
        "This tool helps to read data from standard input and publish it to Kafka.",
        "kafka-console-producer --bootstrap-server localhost:9092 --topic sensors",
    )?;
    run::require(options, &["topic"])?;
    for (new, old) in [
        ("command-config", "producer.config"),
        ("command-property", "producer-property"),
        ("reader-property", "property"),
    ] {
        if options.has(new) && options.has(old) {
            return Err(Stop::Usage(format!("Options --{new} and --{old} cannot be specified together.")));
        }
    }
    for (old, new) in [
        ("producer-property", "command-property"),
        ("producer.config", "command-config"),
        ("property", "reader-property"),
    ] {
        if options.has(old) {
            println!(
                "Warning: --{old} is deprecated and will be removed in a future version. Use --{new} instead."
            );
        }
    }
    if options.has("max-partition-memory-bytes") {
        println!(
            "Warning: --max-partition-memory-bytes is deprecated and will be removed in Apache Kafka 5.0. Use \
             --batch-size instead."
        );
    }
    let brokers = run::bootstrap(options)?.unwrap_or_default();
    run::check_brokers(&brokers)?;
    Ok(brokers)
}

fn line_reader(options: &Options) -> Result<LineReader, Failure> {
    let class = options.value("line-reader")?.unwrap_or(LINE_READER);
    if !matches!(class, LINE_READER | "kafka.tools.ConsoleProducer$LineMessageReader") {
        return Err(Failure::new("java.lang.ClassNotFoundException", class));
    }
    let mut properties = match options.value("reader-config")? {
        Some(path) => run::load_properties(path)?,
        None => BTreeMap::new(),
    };
    properties.extend(run::key_values(&options.values("reader-property")));
    properties.extend(run::key_values(&options.values("property")));
    LineReader::new(options.value("topic")?.unwrap_or_default(), &properties)
}

fn producer_properties(options: &Options, brokers: String) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = BTreeMap::new();
    for file in ["command-config", "producer.config"] {
        if let Some(path) = options.value(file)? {
            properties.extend(run::load_properties(path)?);
        }
    }
    properties.extend(run::key_values(&options.values("command-property")));
    properties.extend(run::key_values(&options.values("producer-property")));
    properties.insert("bootstrap.servers".to_owned(), brokers);
    if options.has("compression-codec") {
        let codec = options.value("compression-codec")?.filter(|codec| !codec.is_empty()).unwrap_or("gzip");
        properties.insert("compression.type".to_owned(), codec.to_owned());
    }
    properties.entry("client.id".to_owned()).or_insert_with(|| "console-producer".to_owned());
    // An option beats a property, a property beats an option's default.
    let mut merge = |property: &str, option: &'static str, value: String| {
        if options.has(option) || !properties.contains_key(property) {
            properties.insert(property.to_owned(), value);
        }
    };
    for (property, option) in [
        ("linger.ms", "timeout"),
        ("retry.backoff.ms", "retry-backoff-ms"),
        ("buffer.memory", "max-memory-bytes"),
        ("metadata.max.age.ms", "metadata-expiry-ms"),
        ("max.block.ms", "max-block-ms"),
    ] {
        merge(property, option, options.number::<i64>(option)?.unwrap_or_default().to_string());
    }
    for (property, option) in [
        ("request.timeout.ms", "request-timeout-ms"),
        ("retries", "message-send-max-retries"),
        ("send.buffer.bytes", "socket-buffer-size"),
        ("batch.size", "batch-size"),
        ("batch.size", "max-partition-memory-bytes"),
    ] {
        merge(property, option, options.number::<i32>(option)?.unwrap_or_default().to_string());
    }
    merge(
        "acks",
        "request-required-acks",
        options.value("request-required-acks")?.unwrap_or("-1").to_owned(),
    );
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(args: &str) -> BTreeMap<String, String> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let options = Options::parse(FLAGS, &args).expect("parses");
        producer_properties(&options, "h:1".to_owned()).expect("valid")
    }

    #[test]
    fn options_beat_properties_beat_defaults() {
        let got = properties("--topic t");
        let value = |got: &BTreeMap<String, String>, name: &str| got.get(name).cloned().unwrap_or_default();
        assert_eq!(value(&got, "linger.ms"), "1000");
        assert_eq!(value(&got, "acks"), "-1");
        assert_eq!(value(&got, "client.id"), "console-producer");
        let got =
            properties("--command-property linger.ms=7 --command-property acks=1 --request-required-acks 0");
        assert_eq!(value(&got, "linger.ms"), "7");
        assert_eq!(value(&got, "acks"), "0");
        assert_eq!(value(&properties("--compression-codec --topic t"), "compression.type"), "gzip");
        assert_eq!(value(&properties("--compression-codec zstd --topic t"), "compression.type"), "zstd");
        assert_eq!(value(&properties("--batch-size 5 --max-partition-memory-bytes 6"), "batch.size"), "6");
        ProducerConfig::from_properties(properties("--topic t")).expect("usable");
    }
}
