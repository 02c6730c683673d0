//! `kafka-console-share-consumer`: records of a topic on standard output, as a member of a share group.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::{AcknowledgeType, ShareConsumer, ShareConsumerConfig, ShareRecord};

use super::formatter::Formatter;
use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};
use super::signals::Signals;

const LOGGER: &str = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
/// One wait for records when no `--timeout-ms` limits it.
const POLL_MAX: Duration = Duration::from_secs(3600);
/// How long leaving the group and closing may take (Kafka's default).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
const GROUP: &str = "console-share-consumer";

macro_rules! formatter_properties {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "The properties to initialize the message formatter. Default properties include: \n \
             print.timestamp=true|false\n print.key=true|false\n print.offset=true|false\n \
             print.delivery=true|false\n print.epoch=true|false\n print.partition=true|false\n \
             print.headers=true|false\n print.value=true|false\n key.separator=<key.separator>\n \
             line.separator=<line.separator>\n headers.separator=<headers.separator>\n \
             null.literal=<null.literal>\n key.deserializer=<key.deserializer>\n \
             value.deserializer=<value.deserializer>\n header.deserializer=<header.deserializer>\n\nUsers can also \
             pass in customized properties for their formatter; more specifically, users can pass in properties keyed \
             with 'key.deserializer.', 'value.deserializer.' and 'headers.deserializer.' prefixes to configure their \
             deserializers.",
            $after
        )
    };
}

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text("topic", "topic", "The topic to consume from."),
    Flag::text(
        "consumer-property",
        "consumer_prop",
        "(DEPRECATED) Consumer config properties in the form key=value. This option will be removed in a future \
         version. Use --command-property instead.",
    ),
    Flag::text("command-property", "consumer_prop", "Consumer config properties in the form key=value."),
    Flag::text(
        "consumer-config",
        "config file",
        "(DEPRECATED) Consumer config properties file. Note that [command-property] takes precedence over this \
         config. This option will be removed in a future version. Use --command-config instead.",
    ),
    Flag::text(
        "command-config",
        "config file",
        "Consumer config properties file. Note that [command-property] takes precedence over this config.",
    ),
    Flag::text("formatter", "class", "The name of a class to use for formatting Kafka messages for display.")
        .or("org.apache.kafka.tools.consumer.DefaultMessageFormatter"),
    Flag::text(
        "property",
        "prop",
        formatter_properties!(
            "(DEPRECATED) ",
            " \nThis option will be removed in a future version. Use --formatter-property instead."
        ),
    ),
    Flag::text("formatter-property", "prop", formatter_properties!("", "")),
    Flag::text(
        "formatter-config",
        "config file",
        "Config properties file to initialize the message formatter. Note that [formatter-property] takes \
         precedence over this config.",
    ),
    Flag::integer(
        "max-messages",
        "num_messages",
        "The maximum number of messages to consume before exiting. If not set, consumption is continual.",
    ),
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
    Flag::text("bootstrap-server", "server to connect to", "REQUIRED: The server(s) to connect to."),
    Flag::text(
        "key-deserializer",
        "deserializer for keys",
        "The name of the class to use for deserializing keys.",
    ),
    Flag::text(
        "value-deserializer",
        "deserializer for values",
        "The name of the class to use for deserializing values.",
    ),
    Flag::text("group", "share group id", "The share group id of the consumer."),
    Flag::switch(
        "enable-systest-events",
        "Log lifecycle events of the share consumer in addition to logging consumed messages. (This is specific for \
         system tests.)",
    ),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(FLAGS, args) {
        Ok(options) => options,
        Err(error) => return run::usage(&super::usage::render(FLAGS), &error.to_string()),
    };
    let plan = match Plan::new(&options) {
        Ok(plan) => plan,
        Err(Stop::Usage(message)) => return run::usage(&options.usage(), &message),
        Err(Stop::Exit(code)) => return ExitCode::from(code),
        Err(Stop::Failed(failure)) => {
            eprintln!("Exception in thread \"main\" {failure}");
            return ExitCode::FAILURE;
        }
    };
    let systest_events = options.has("enable-systest-events");
    match consume(plan).await {
        Ok(code) => {
            if systest_events {
                println!("shutdown_complete");
            }
            ExitCode::from(code)
        }
        Err(failure) => {
            run::log_error("Unknown error when running consumer: ", LOGGER);
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
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
        let max_messages = options.number::<i32>("max-messages")?;
        let timeout = options.number::<i32>("timeout-ms")?;
        Ok(Self {
            properties,
            topic: options.value("topic")?.unwrap_or_default().to_owned(),
            // −1 means no limit; other negative numbers are below the count from the start.
            max_messages: max_messages.filter(|max| *max != -1).map(|max| u64::try_from(max).unwrap_or(0)),
            timeout: timeout.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
            formatter: super::console_consumer::formatter(options)?,
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
    let pairs = [("consumer-property", "command-property"), ("consumer-config", "command-config")];
    for (old, new) in pairs {
        if options.has(old) && options.has(new) {
            return Err(Stop::Usage(format!("Options --{old} and --{new} cannot be specified together.")));
        }
    }
    for (old, new) in pairs {
        if options.has(old) {
            println!(
                "Option --{old} is deprecated and will be removed in a future version. Use --{new} instead."
            );
        }
    }
    Ok(())
}

fn properties(options: &Options) -> Result<BTreeMap<String, String>, Stop> {
    let mut from_file = BTreeMap::new();
    for file in ["command-config", "consumer-config"] {
        if let Some(path) = options.value(file)? {
            from_file.extend(run::load_properties(path)?);
        }
    }
    let mut given = run::key_values(&options.values("command-property"));
    given.extend(run::key_values(&options.values("consumer-property")));
    let mut groups: BTreeSet<String> = options.value("group")?.map(str::to_owned).into_iter().collect();
    groups.extend([&from_file, &given].into_iter().filter_map(|given| given.get("group.id")).cloned());
    if groups.len() > 1 {
        let groups: Vec<_> = groups.iter().map(|group| format!("'{group}'")).collect();
        return Err(Stop::Usage(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via \
             '--consumer-config') do not match. Detected group ids: {}",
            groups.join(", ")
        )));
    }
    let mut properties = from_file;
    properties.extend(given);
    properties.insert(
        "bootstrap.servers".to_owned(),
        options.value("bootstrap-server")?.unwrap_or_default().to_owned(),
    );
    properties.entry("client.id".to_owned()).or_insert_with(|| GROUP.to_owned());
    let group = groups.into_iter().next().unwrap_or_else(|| GROUP.to_owned());
    properties.insert("group.id".to_owned(), group);
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
            received = receive(&mut consumer, plan.timeout) => match received {
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
        closed = consumer.close(CLOSE_TIMEOUT) => closed,
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

/// Waits for records, at most `timeout` (`None` = for ever). May be dropped half-way.
async fn receive(
    consumer: &mut ShareConsumer,
    timeout: Option<Duration>,
) -> Result<Vec<ShareRecord>, Failure> {
    let started = Instant::now();
    loop {
        let left = timeout.map_or(POLL_MAX, |timeout| timeout.saturating_sub(started.elapsed()));
        let records = consumer.poll(left).await?;
        if !records.is_empty() {
            return Ok(records);
        }
        if timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
            return Err(Failure::new("org.apache.kafka.common.errors.TimeoutException", ""));
        }
    }
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
