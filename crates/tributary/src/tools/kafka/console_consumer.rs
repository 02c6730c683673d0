//! `kafka-console-consumer`: records of topics on standard output.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::{Consumer, ConsumerConfig, ConsumerRecord, TopicPartition};
use regex::Regex;

use super::formatter::Formatter;
use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION, ZOOKEEPER};
use super::run::{self, Failure, Stop};
use super::signals::Signals;

const LOGGER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
/// One wait for records when no `--timeout-ms` limits it.
const POLL_MAX: Duration = Duration::from_secs(3600);
/// How long leaving the group and closing may take (Kafka's default).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Names of groups made up when none is given: `console-consumer-` and a number below this.
const GROUP_NUMBERS: u32 = 100_000;

macro_rules! formatter_properties {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "The properties to initialize the message formatter. Default properties include: \n \
             print.timestamp=true|false\n print.key=true|false\n print.offset=true|false\n \
             print.epoch=true|false\n print.partition=true|false\n print.headers=true|false\n \
             print.value=true|false\n key.separator=<key.separator>\n line.separator=<line.separator>\n \
             headers.separator=<headers.separator>\n null.literal=<null.literal>\n \
             key.deserializer=<key.deserializer>\n value.deserializer=<value.deserializer>\n \
             header.deserializer=<header.deserializer>\n\nUsers can also pass in customized properties for their \
             formatter; more specifically, users can pass in properties keyed with 'key.deserializer.', \
             'value.deserializer.' and 'headers.deserializer.' prefixes to configure their deserializers.",
            $after
        )
    };
}

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
    Flag::text(
        "consumer-property",
        "consumer_prop",
        "(DEPRECATED) Consumer config properties in the form key=value. This option will be removed in a future \
         version. Use --command-property instead.",
    ),
    Flag::text("command-property", "consumer_prop", "Consumer config properties in the form key=value."),
    Flag::text(
        "consumer.config",
        "config file",
        "(DEPRECATED) Consumer config properties file. Note that [command-property] takes precedence over this \
         config. This option will be removed in a future version. Use --command-config instead.",
    ),
    Flag::text(
        "command-config",
        "config file",
        "Consumer config properties file. Note that [command-property] takes precedence over this config.",
    ),
    Flag::text("formatter", "class", "The name of a class to use for formatting kafka messages for display.")
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
    Flag::switch(
        "from-beginning",
        "If the consumer does not already have an established offset to consume from, start with the earliest \
         message present in the log rather than the latest message.",
    ),
    Flag::integer(
        "max-messages",
        "num_messages",
        "The maximum number of messages to consume before exiting. If not set, consumption is continual.",
    ),
    Flag::long(
        "timeout-ms",
        "timeout_ms",
        "If specified, exit if no message is available for consumption for the specified interval.",
    ),
    Flag::switch(
        "skip-message-on-error",
        "If there is an error when processing a message, skip it instead of halt.",
    ),
    Flag::text(
        "bootstrap-server",
        "server to connect to",
        "REQUIRED: The server(s) to connect to.",
    ),
    Flag::text("key-deserializer", "deserializer for keys", "The name of the class to use for deserializing keys."),
    Flag::text(
        "value-deserializer",
        "deserializer for values",
        "The name of the class to use for deserializing values.",
    ),
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
        for (old, new) in [("consumer-property", "command-property"), ("consumer.config", "command-config")] {
            if options.has(old) {
                println!(
                    "Option --{old} is deprecated and will be removed in a future version. Use --{new} instead."
                );
            }
        }
        let properties = consumer_properties(options)?;
        let max_messages = options.number::<i32>("max-messages")?;
        let timeout = options.number::<i64>("timeout-ms")?;
        let start = start(options)?;
        Ok(Self {
            properties,
            topic: options.value("topic")?.map(str::to_owned),
            include: options.value(include)?.map(str::to_owned),
            partition: options.number("partition")?,
            start,
            // −1 means no limit; other negative numbers are below the count from the start.
            max_messages: max_messages.filter(|max| *max != -1).map(|max| u64::try_from(max).unwrap_or(0)),
            timeout: timeout.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
            formatter: formatter(options)?,
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
    for (old, new) in [("consumer-property", "command-property"), ("consumer.config", "command-config")] {
        if options.has(old) && options.has(new) {
            return Err(Stop::Usage(format!("Options --{old} and --{new} cannot be specified together.")));
        }
    }
    Ok(())
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

pub(super) fn formatter(options: &Options) -> Result<Formatter, Stop> {
    if options.has("property") && options.has("formatter-property") {
        return Err(Stop::Usage(
            "Options --property and --formatter-property cannot be specified together.".to_owned(),
        ));
    }
    if options.has("property") {
        println!(
            "Option --property is deprecated and will be removed in a future version. Use --formatter-property instead."
        );
    }
    let mut properties = match options.value("formatter-config")? {
        Some(path) => run::load_properties(path)?,
        None => BTreeMap::new(),
    };
    for (option, property) in
        [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")]
    {
        if let Some(class) = options.value(option)?.filter(|class| !class.is_empty()) {
            properties.insert(property.to_owned(), class.to_owned());
        }
    }
    properties.extend(run::key_values(&options.values("property")));
    properties.extend(run::key_values(&options.values("formatter-property")));
    let class = options.value("formatter")?.unwrap_or_default();
    Formatter::new(class, &properties).map_err(|failure| Stop::Usage(failure.message))
}

fn consumer_properties(options: &Options) -> Result<BTreeMap<String, String>, Stop> {
    let mut from_file = BTreeMap::new();
    for file in ["command-config", "consumer.config"] {
        if let Some(path) = options.value(file)? {
            from_file.extend(run::load_properties(path)?);
        }
    }
    let mut given = run::key_values(&options.values("command-property"));
    given.extend(run::key_values(&options.values("consumer-property")));
    let group = group(options, &[&from_file, &given])?;

    let mut properties = from_file;
    properties.extend(given);
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

fn group(options: &Options, properties: &[&BTreeMap<String, String>]) -> Result<Option<String>, Stop> {
    let mut groups: BTreeSet<&str> = options.value("group")?.into_iter().collect();
    groups.extend(properties.iter().filter_map(|given| given.get("group.id")).map(String::as_str));
    if groups.len() > 1 {
        let groups: Vec<_> = groups.iter().map(|group| format!("'{group}'")).collect();
        return Err(Stop::Usage(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via \
             '--consumer.config') do not match. Detected group ids: {}",
            groups.join(", ")
        )));
    }
    if !groups.is_empty() && options.has("partition") {
        return Err(Stop::Usage("Options group and partition cannot be specified together.".to_owned()));
    }
    Ok(groups.first().map(|group| (*group).to_owned()))
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
            received = receive(&mut consumer, plan.timeout) => match received {
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

/// Waits for records, at most `timeout` (`None` = for ever). May be dropped half-way.
async fn receive(consumer: &mut Consumer, timeout: Option<Duration>) -> Result<Vec<ConsumerRecord>, Failure> {
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
        closed = consumer.close(CLOSE_TIMEOUT) => Ok(closed?),
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
