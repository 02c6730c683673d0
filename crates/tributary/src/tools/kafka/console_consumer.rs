//! `kafka-console-consumer`: records of topics on standard output.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use client::{Consumer, ConsumerConfig, ConsumerRecord, TopicPartition};
use regex::Regex;

use super::console::{self, Given, formatter_properties};
use super::formatter::Formatter;
use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION, ZOOKEEPER};
use super::run::{self, Failure, Stop};
use super::signals::Signals;

const LOGGER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
/// Names of groups made up when none is given: `console-consumer-` and a number below this.
const GROUP_NUMBERS: u32 = 100_000;

/// Old options and their successors.
const DEPRECATED: [(&str, &str); 2] =
    [("consumer-property", "command-property"), ("consumer.config", "command-config")];

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    ZOOKEEPER,
    Flag::switch("new-consumer", "").hidden(),
    Flag::text("whitelist", "", "").hidden(),
    Flag::text("topic", "topic", "The topic to consume from."),
    Flag::text(
        "include",
        "Java regex (String)",
        "Regular expression specifying list of topics to include for consumption.",
    ),
    Flag::integer(
        "partition",
        "partition",
        "The partition to consume from. Consumption starts from the end of the partition unless '--offset' is \
         specified.",
    ),
    Flag::text(
        "offset",
        "consume offset",
        "The offset to consume from (a non-negative number), or 'earliest' which means from beginning, or 'latest' \
         which means from end",
    )
    .or("latest"),
    console::CONSUMER_PROPERTY,
    console::COMMAND_PROPERTY,
    console::consumer_config("consumer.config"),
    console::COMMAND_CONFIG,
    Flag::text("formatter", "class", "The name of a class to use for formatting kafka messages for display.")
        .or("org.apache.kafka.tools.consumer.DefaultMessageFormatter"),
    Flag::text(
        "property",
        "prop",
        formatter_properties!(
            "(DEPRECATED) ",
            "",
            " \nThis option will be removed in a future version. Use --formatter-property instead."
        ),
    ),
    Flag::text("formatter-property", "prop", formatter_properties!("", "", "")),
    console::FORMATTER_CONFIG,
    Flag::switch(
        "from-beginning",
        "If the consumer does not already have an established offset to consume from, start with the earliest \
         message present in the log rather than the latest message.",
    ),
    console::MAX_MESSAGES,
    Flag::long(
        "timeout-ms",
        "timeout_ms",
        "If specified, exit if no message is available for consumption for the specified interval.",
    ),
    Flag::switch(
        "skip-message-on-error",
        "If there is an error when processing a message, skip it instead of halt.",
    ),
    console::BOOTSTRAP_SERVER,
    console::KEY_DESERIALIZER,
    console::VALUE_DESERIALIZER,
    Flag::switch(
        "enable-systest-events",
        "Log lifecycle events of the consumer in addition to logging consumed messages. (This is specific for \
         system tests.)",
    ),
    Flag::text(
        "isolation-level",
        "",
        "Set to read_committed in order to filter out transactional messages which are not committed. Set to \
         read_uncommitted to read all messages.",
    )
    .or("read_uncommitted"),
    Flag::text("group", "consumer group id", "The consumer group id of the consumer."),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    console::main(FLAGS, args, LOGGER, Plan::new, consume).await
}

/// Where to start in the one partition asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Earliest,
    Latest,
    At(i64),
}

/// What the command line asks for.
struct Plan {
    properties: BTreeMap<String, String>,
    topic: Option<String>,
    include: Option<String>,
    partition: Option<i32>,
    start: Start,
    max_messages: Option<u64>,
    timeout: Option<Duration>,
    formatter: Formatter,
    skip_errors: bool,
}

impl Plan {
    fn new(options: &Options) -> Result<Self, Stop> {
        run::help_or_version(
            options,
            "This tool helps to read data from Kafka topics and outputs it to standard output.",
            "kafka-console-consumer --bootstrap-server localhost:9092 --topic sensors --from-beginning",
        )?;
        let include =
            if options.has("whitelist") && !options.has("include") { "whitelist" } else { "include" };
        check(options, include)?;
        console::tell_deprecated(options, &DEPRECATED);
        let properties = consumer_properties(options)?;
        let timeout = options.number::<i64>("timeout-ms")?;
        let start = start(options)?;
        Ok(Self {
            properties,
            topic: options.value("topic")?.map(str::to_owned),
            include: options.value(include)?.map(str::to_owned),
            partition: options.number("partition")?,
            start,
            max_messages: console::max_messages(options)?,
            timeout: timeout.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
            formatter: console::formatter(options)?,
            skip_errors: options.has("skip-message-on-error"),
        })
    }
}

fn check(options: &Options, include: &str) -> Result<(), Stop> {
    if options.count(&["topic", include]) != 1 {
        return run::exactly_one(options, &["topic", "include"]);
    }
    if options.has("partition") {
        if !options.has("topic") {
            return Err(Stop::Usage("The topic is required when partition is specified.".to_owned()));
        }
        if options.has("from-beginning") && options.has("offset") {
            return Err(Stop::Usage(
                "Options from-beginning and offset cannot be specified together.".to_owned(),
            ));
        }
    } else if options.has("offset") {
        return Err(Stop::Usage("The partition is required when offset is specified.".to_owned()));
    }
    if !run::has_bootstrap(options) {
        run::require(options, &["bootstrap-server"])?;
    }
    console::refuse_both(options, &DEPRECATED)
}

fn start(options: &Options) -> Result<Start, Stop> {
    if !options.has("offset") {
        return Ok(if options.has("from-beginning") { Start::Earliest } else { Start::Latest });
    }
    let text = options.value("offset")?.unwrap_or_default();
    match text.to_lowercase().as_str() {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => match text.parse::<i64>() {
            Ok(offset) if offset >= 0 => Ok(Start::At(offset)),
            _ => Err(Stop::Usage(format!(
                "The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a \
                 non-negative long."
            ))),
        },
    }
}

fn consumer_properties(options: &Options) -> Result<BTreeMap<String, String>, Stop> {
    let given = Given::new(options, "consumer.config")?;
    let group = given.group(options)?;
    if group.is_some() && options.has("partition") {
        return Err(Stop::Usage("Options group and partition cannot be specified together.".to_owned()));
    }
    let mut properties = given.properties();
    let from_beginning = options.has("from-beginning");
    match properties.get("auto.offset.reset") {
        Some(reset) if from_beginning && reset != "earliest" => {
            eprintln!(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one option"
            );
            return Err(Stop::Exit(1));
        }
        Some(_) => {}
        None => {
            let reset = if from_beginning { "earliest" } else { "latest" };
            properties.insert("auto.offset.reset".to_owned(), reset.to_owned());
        }
    }
    properties.insert("bootstrap.servers".to_owned(), run::bootstrap(options)?.unwrap_or_default());
    properties.entry("client.id".to_owned()).or_insert_with(|| "console-consumer".to_owned());
    if options.has("isolation-level") || !properties.contains_key("isolation.level") {
        let level = options.value("isolation-level")?.unwrap_or_default().to_owned();
        properties.insert("isolation.level".to_owned(), level);
    }
    match group {
        Some(group) => properties.insert("group.id".to_owned(), group),
        None => {
            // A group that nobody will come back to: its offsets need not be kept.
            properties.entry("enable.auto.commit".to_owned()).or_insert_with(|| "false".to_owned());
            properties.insert(
                "group.id".to_owned(),
                format!("console-consumer-{}", run::random_below(GROUP_NUMBERS)?),
            )
        }
    };
    Ok(properties)
}

/// Consumes until the limit, the time-out or a signal; gives the exit code.
async fn consume(plan: Plan) -> Result<u8, Failure> {
    let mut signals = Signals::new()?;
    let mut consumer = Consumer::new(ConsumerConfig::from_properties(plan.properties.clone())?)?;
    begin(&plan, &mut consumer)?;
    let mut printer = Printer { plan: &plan, waiting: VecDeque::new(), count: 0, out: Vec::new() };
    let outcome = loop {
        if plan.max_messages.is_some_and(|max| printer.count >= max) {
            break Ok(0);
        }
        tokio::select! {
            biased;
            code = signals.next() => break Ok(code),
            received = console::receive(plan.timeout, async |left| consumer.poll(left).await) => match received {
                Ok(records) => printer.waiting.extend(records),
                Err(failure) => {
                    run::log_error("Error processing message, terminating consumer process: ", LOGGER);
                    eprintln!("{failure}");
                    break Ok(0);
                }
            },
        }
        match printer.print() {
            Ok(true) => {}
            Ok(false) => break Ok(0),
            Err(failure) => break Err(failure),
        }
    };
    let Printer { waiting, count, .. } = printer;
    let closed = close(&mut consumer, &waiting, &mut signals).await;
    eprintln!("Processed a total of {count} messages");
    if let Err(error) = closed {
        // Everything consumed is printed: worth a word, not a failure.
        run::log_warn(&format!("The consumer was not closed cleanly: {error}"), LOGGER);
    }
    outcome
}

fn begin(plan: &Plan, consumer: &mut Consumer) -> Result<(), Failure> {
    match (&plan.topic, plan.partition, &plan.include) {
        (Some(topic), Some(partition), _) => {
            let partition = TopicPartition::new(topic.as_str(), partition);
            let partitions = std::slice::from_ref(&partition);
            consumer.assign(partitions)?;
            match plan.start {
                Start::Earliest => consumer.seek_to_beginning(partitions)?,
                Start::Latest => consumer.seek_to_end(partitions)?,
                Start::At(offset) => consumer.seek(&partition, offset)?,
            }
        }
        (Some(topic), None, _) => consumer.subscribe(&[topic], None)?,
        (None, _, Some(pattern)) => {
            let pattern = Regex::new(pattern)
                .map_err(|error| Failure::new("java.util.regex.PatternSyntaxException", error.to_string()))?;
            consumer.subscribe_pattern(pattern, None)?;
        }
        (None, _, None) => {}
    }
    Ok(())
}

/// Goes back to what was fetched but not printed, so that a group's offsets are those of what was seen, then closes.
async fn close(
    consumer: &mut Consumer,
    unprinted: &VecDeque<ConsumerRecord>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut positions: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for record in unprinted {
        let partition = TopicPartition::new(record.topic.clone(), record.partition);
        positions.entry(partition).or_insert(record.offset);
    }
    for (partition, offset) in &positions {
        consumer.seek(partition, *offset)?;
    }
    tokio::select! {
        closed = consumer.close(console::CLOSE_TIMEOUT) => Ok(closed?),
        // A second signal is impatience.
        _ = signals.next() => Ok(()),
    }
}

/// Records on their way to standard output.
struct Printer<'a> {
    plan: &'a Plan,
    waiting: VecDeque<ConsumerRecord>,
    count: u64,
    out: Vec<u8>,
}

impl Printer<'_> {
    /// Prints what waits, up to the limit; false when nobody reads any more.
    fn print(&mut self) -> Result<bool, Failure> {
        let mut failed = Ok(());
        while failed.is_ok()
            && self.plan.max_messages.is_none_or(|max| self.count < max)
            && let Some(record) = self.waiting.pop_front()
        {
            self.count += 1;
            if let Err(failure) = self.plan.formatter.write(&record, &mut self.out) {
                if self.plan.skip_errors {
                    run::log_error("Error processing message, skipping this message: ", LOGGER);
                    eprintln!("{failure}");
                } else {
                    failed = Err(failure);
                }
            }
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&self.out).and_then(|()| stdout.flush());
        self.out.clear();
        failed?;
        if written.is_err() {
            eprintln!("Unable to write to standard out, closing consumer.");
        }
        Ok(written.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &str) -> Result<Plan, String> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let options = Options::parse(FLAGS, &args).expect("parses");
        Plan::new(&options).map_err(|stop| match stop {
            Stop::Usage(message) => message,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn command_lines_are_checked_as_in_the_original() {
        let refused = |args: &str| plan(args).err().unwrap_or_default();
        const B: &str = "--bootstrap-server h:1";
        assert_eq!(refused(B), "Exactly one of the following arguments is required: [topic], [include]");
        assert_eq!(refused("--topic t"), "Missing required argument \"[bootstrap-server]\"");
        assert_eq!(
            refused(&format!("{B} --topic t --offset 3")),
            "The partition is required when offset is specified."
        );
        assert_eq!(
            refused(&format!("{B} --topic t --partition 0 --group g")),
            "Options group and partition cannot be specified together."
        );
        assert!(
            refused(&format!("{B} --topic t --partition 0 --offset -3"))
                .starts_with("The provided offset value '-3'")
        );
        let plan =
            plan(&format!("{B} --topic t --partition 0 --offset EARLIEST --max-messages 5")).expect("fine");
        assert_eq!((plan.start, plan.max_messages, plan.timeout), (Start::Earliest, Some(5), None));
    }

    #[test]
    fn a_group_of_ones_own_commits_and_a_made_up_one_does_not() {
        let made_up = plan("--broker-list h:1 --topic t --from-beginning").expect("fine").properties;
        assert!(made_up.get("group.id").is_some_and(|group| group.starts_with("console-consumer-")));
        assert_eq!(made_up.get("enable.auto.commit").map(String::as_str), Some("false"));
        assert_eq!(made_up.get("auto.offset.reset").map(String::as_str), Some("earliest"));
        let own =
            plan("--bootstrap-server h:1 --topic t --command-property group.id=g").expect("fine").properties;
        assert_eq!(own.get("group.id").map(String::as_str), Some("g"));
        assert!(!own.contains_key("enable.auto.commit"));
        ConsumerConfig::from_properties(own).expect("usable");
    }
}
