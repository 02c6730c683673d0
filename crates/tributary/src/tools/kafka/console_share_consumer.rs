//! `kafka-console-share-consumer`: records of a topic on standard output, as a member of a share group.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use client::{AcknowledgeType, ShareConsumer, ShareConsumerConfig, ShareRecord};

use super::console::{self, Given, formatter_properties};
use super::formatter::Formatter;
use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};
use super::signals::Signals;

const LOGGER: &str = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
const GROUP: &str = "console-share-consumer";

/// Old options and their successors.
const DEPRECATED: [(&str, &str); 2] =
    [("consumer-property", "command-property"), ("consumer-config", "command-config")];

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text("topic", "topic", "The topic to consume from."),
    console::CONSUMER_PROPERTY,
    console::COMMAND_PROPERTY,
    console::consumer_config("consumer-config"),
    console::COMMAND_CONFIG,
    Flag::text("formatter", "class", "The name of a class to use for formatting Kafka messages for display.")
        .or("org.apache.kafka.tools.consumer.DefaultMessageFormatter"),
    Flag::text(
        "property",
        "prop",
        formatter_properties!(
            "(DEPRECATED) ",
            "print.delivery=true|false\n ",
            " \nThis option will be removed in a future version. Use --formatter-property instead."
        ),
    ),
    Flag::text("formatter-property", "prop", formatter_properties!("", "print.delivery=true|false\n ", "")),
    console::FORMATTER_CONFIG,
    console::MAX_MESSAGES,
    Flag::integer(
        "timeout-ms",
        "timeout_ms",
        "If specified, exit if no message is available for consumption for the specified interval.",
    ),
    Flag::switch("reject", "If specified, messages are rejected as they are consumed."),
    Flag::switch("release", "If specified, messages are released as they are consumed."),
    Flag::switch(
        "reject-message-on-error",
        "If there is an error when processing a message, reject it instead of halting.",
    ),
    console::BOOTSTRAP_SERVER,
    console::KEY_DESERIALIZER,
    console::VALUE_DESERIALIZER,
    Flag::text("group", "share group id", "The share group id of the consumer."),
    Flag::switch(
        "enable-systest-events",
        "Log lifecycle events of the share consumer in addition to logging consumed messages. (This is specific for \
         system tests.)",
    ),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    console::main(FLAGS, args, LOGGER, Plan::new, consume).await
}

/// What the command line asks for.
struct Plan {
    properties: BTreeMap<String, String>,
    topic: String,
    max_messages: Option<u64>,
    timeout: Option<Duration>,
    formatter: Formatter,
    acknowledge: AcknowledgeType,
    reject_errors: bool,
}

impl Plan {
    fn new(options: &Options) -> Result<Self, Stop> {
        run::help_or_version(
            options,
            "This tool helps to read data from Kafka topics using share groups and outputs it to standard output.",
            "kafka-console-share-consumer --bootstrap-server localhost:9092 --topic jobs --group workers",
        )?;
        check(options)?;
        let properties = properties(options)?;
        let timeout = options.number::<i32>("timeout-ms")?;
        Ok(Self {
            properties,
            topic: options.value("topic")?.unwrap_or_default().to_owned(),
            max_messages: console::max_messages(options)?,
            timeout: timeout.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
            formatter: console::formatter(options)?,
            acknowledge: match (options.has("reject"), options.has("release")) {
                (true, _) => AcknowledgeType::Reject,
                (_, true) => AcknowledgeType::Release,
                _ => AcknowledgeType::Accept,
            },
            reject_errors: options.has("reject-message-on-error"),
        })
    }
}

fn check(options: &Options) -> Result<(), Stop> {
    if !options.has("topic") {
        return Err(Stop::Usage("--topic is a required argument".to_owned()));
    }
    run::require(options, &["bootstrap-server"])?;
    if options.has("reject") && options.has("release") {
        return Err(Stop::Usage("At most one of --reject and --release may be specified.".to_owned()));
    }
    console::refuse_both(options, &DEPRECATED)?;
    console::tell_deprecated(options, &DEPRECATED);
    Ok(())
}

fn properties(options: &Options) -> Result<BTreeMap<String, String>, Stop> {
    let given = Given::new(options, "consumer-config")?;
    let group = given.group(options)?;
    let mut properties = given.properties();
    properties.insert(
        "bootstrap.servers".to_owned(),
        options.value("bootstrap-server")?.unwrap_or_default().to_owned(),
    );
    properties.entry("client.id".to_owned()).or_insert_with(|| GROUP.to_owned());
    properties.insert("group.id".to_owned(), group.unwrap_or_else(|| GROUP.to_owned()));
    properties.insert("share.acknowledgement.mode".to_owned(), "explicit".to_owned());
    Ok(properties)
}

/// Consumes until the limit, the time-out or a signal; gives the exit code.
async fn consume(plan: Plan) -> Result<u8, Failure> {
    let mut signals = Signals::new()?;
    let config = ShareConsumerConfig::from_properties(plan.properties.clone())?;
    let mut consumer = ShareConsumer::new(config)?;
    consumer.subscribe(&[&plan.topic])?;
    let mut count = 0;
    let outcome = loop {
        if plan.max_messages.is_some_and(|max| count >= max) {
            break Ok(0);
        }
        let records = tokio::select! {
            biased;
            code = signals.next() => break Ok(code),
            received = console::receive(plan.timeout, async |left| consumer.poll(left).await) => match received {
                Ok(records) => records,
                Err(failure) => {
                    run::log_error("Error processing message, terminating consumer process: ", LOGGER);
                    eprintln!("{failure}");
                    break Ok(0);
                }
            },
        };
        match process(&plan, &mut consumer, &records, &mut count) {
            Ok(true) => {}
            Ok(false) => break Ok(0),
            Err(failure) => break Err(failure),
        }
    };
    let closed = tokio::select! {
        closed = consumer.close(console::CLOSE_TIMEOUT) => closed,
        // A second signal is impatience.
        _ = signals.next() => Ok(()),
    };
    eprintln!("Processed a total of {count} messages");
    if let Err(error) = closed {
        // Everything consumed is printed: worth a word, not a failure.
        run::log_warn(&format!("The consumer was not closed cleanly: {error}"), LOGGER);
    }
    outcome
}

/// Prints records up to the limit and acknowledges those that were printed; false when nobody reads any more.
fn process(
    plan: &Plan,
    consumer: &mut ShareConsumer,
    records: &[ShareRecord],
    count: &mut u64,
) -> Result<bool, Failure> {
    let mut out = Vec::new();
    let mut processed = Vec::new();
    let mut failed = Ok(());
    for record in records {
        if failed.is_err() || plan.max_messages.is_some_and(|max| *count >= max) {
            break;
        }
        *count += 1;
        let written = plan.formatter.write_delivered(&record.record, Some(record.delivery_count), &mut out);
        match written {
            Ok(()) => processed.push((record, plan.acknowledge)),
            Err(failure) if plan.reject_errors => {
                run::log_error("Error processing message, rejecting this message: ", LOGGER);
                eprintln!("{failure}");
                processed.push((record, AcknowledgeType::Reject));
            }
            Err(failure) => failed = Err(failure),
        }
    }
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&out).and_then(|()| stdout.flush());
    if written.is_err() {
        failed?;
        eprintln!("Unable to write to standard out, closing consumer.");
        return Ok(false);
    }
    for (record, kind) in processed {
        consumer.acknowledge(record, kind)?;
    }
    failed?;
    Ok(true)
}
