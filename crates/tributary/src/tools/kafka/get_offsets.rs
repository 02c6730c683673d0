//! `kafka-get-offsets`: first, last or timed offsets of partitions.

use std::process::ExitCode;

use client::admin::{IsolationLevel, OffsetSpec};
use client::{Admin, AdminConfig, TopicPartition};
use regex::Regex;

use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};
use super::topics::topic_pattern;

/// Errors of use, which the original tells without a stack trace.
const TERSE: &str = "org.apache.kafka.tools.TerseException";
const ABOUT: &str = "An interactive shell for getting topic-partition offsets.";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    Flag::text(
        "bootstrap-server",
        "HOST1:PORT1,...,HOST3:PORT3",
        "REQUIRED. The server(s) to connect to in the form HOST1:PORT1,HOST2:PORT2.",
    ),
    Flag::text(
        "topic-partitions",
        "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3",
        "Comma separated list of topic-partition patterns to get the offsets for, with the format of \
         '([^:,]*)(?::(?:([0-9]*)|(?:([0-9]*)-([0-9]*))))?'. The first group is an optional regex for the topic name, \
         if omitted, it matches any topic name. The section after ':' describes a 'partition' pattern, which can be: \
         a number, a range in the format of 'NUMBER-NUMBER' (lower inclusive, upper exclusive), an inclusive lower \
         bound in the format of 'NUMBER-', an exclusive upper bound in the format of '-NUMBER' or may be omitted to \
         accept all partitions.",
    ),
    Flag::text(
        "topic",
        "topic",
        "The topic to get the offsets for. It also accepts a regular expression. If not present, all authorized \
         topics are queried. Cannot be used if --topic-partitions is present.",
    ),
    Flag::text(
        "partitions",
        "partition ids",
        "Comma separated list of partition ids to get the offsets for. If not present, all partitions of the \
         authorized topics are queried. Cannot be used if --topic-partitions is present.",
    ),
    Flag::text(
        "time",
        "<timestamp> / -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or \
         latest-tiered / -6 or earliest-pending-upload",
        "timestamp of the offsets before that. [Note: No offset is returned, if the timestamp greater than recently \
         committed record timestamp is given.]",
    )
    .or("latest"),
    Flag::text("command-config", "config file", "Property file containing configs to be passed to Admin Client."),
    Flag::switch(
        "exclude-internal-topics",
        "By default, internal topics are included. If specified, internal topics are excluded.",
    ),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => get(&options).await,
        Err(error) => Err(Failure::new(TERSE, error.to_string()).into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(message)) => run::usage(&super::usage::render(FLAGS), &message),
        Err(Stop::Failed(failure)) => {
            eprintln!("Error occurred: {}", failure.message);
            if failure.exception != TERSE {
                eprintln!("{failure}\n");
            }
            ExitCode::FAILURE
        }
    }
}

async fn get(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        ABOUT,
        "kafka-get-offsets --bootstrap-server localhost:9092 --topic sensors",
    )?;
    if !run::has_bootstrap_server(options) {
        run::require(options, &["bootstrap-server"])?;
    }
    let brokers = run::bootstrap_server(options)?.unwrap_or_default();
    run::check_brokers(&brokers)?;
    if options.has("topic-partitions") && options.count(&["topic", "partitions"]) > 0 {
        return Err(terse("--topic-partitions cannot be used with --topic or --partitions").into());
    }
    let spec = offset_spec(options.value("time")?.unwrap_or_default())?;
    let rules = rules(options)?;
    let mut properties = match options.value("command-config")? {
        Some(path) => run::load_properties(path)?,
        None => Default::default(),
    };
    properties.insert("bootstrap.servers".to_owned(), brokers);
    properties.insert("client.id".to_owned(), "GetOffsetShell".to_owned());
    let admin = Admin::new(AdminConfig::from_properties(properties)?)?;
    let outcome = print(options, &admin, &rules, spec).await;
    admin.close().await;
    Ok(outcome?)
}

async fn print(options: &Options, admin: &Admin, rules: &[Rule], spec: OffsetSpec) -> Result<(), Failure> {
    let topics = admin.list_topics(!options.has("exclude-internal-topics")).await?;
    let names: Vec<String> = topics
        .into_iter()
        .map(|topic| topic.name)
        .filter(|name| rules.iter().any(|rule| rule.topic.is_match(name)))
        .collect();
    let mut wanted = Vec::new();
    if !names.is_empty() {
        for (name, topic) in admin.describe_topics(&names).await? {
            for info in topic?.partitions {
                if rules
                    .iter()
                    .any(|rule| rule.topic.is_match(&name) && rule.partitions.holds(info.partition))
                {
                    wanted.push((TopicPartition::new(name.as_str(), info.partition), spec));
                }
            }
        }
    }
    if wanted.is_empty() {
        return Err(terse("Could not match any topic-partitions with the specified filters"));
    }
    wanted.sort_by_key(|(partition, _)| partition.to_string());
    let mut found = admin.list_offsets(&wanted, IsolationLevel::ReadUncommitted).await?;
    found.sort_by_key(|(partition, _)| partition.to_string());
    for (partition, offset) in found {
        match offset {
            Ok(offset) if offset.offset == -1 => {}
            Ok(offset) => println!("{}:{}:{}", partition.topic, partition.partition, offset.offset),
            Err(error) => eprintln!(
                "Skip getting offsets for topic-partition {partition} due to error: {}",
                Failure::from(error)
            ),
        }
    }
    Ok(())
}

fn terse(message: impl Into<String>) -> Failure {
    Failure::new(TERSE, message)
}

fn offset_spec(text: &str) -> Result<OffsetSpec, Failure> {
    Ok(match text {
        "earliest" | "-2" => OffsetSpec::Earliest,
        "latest" | "-1" => OffsetSpec::Latest,
        "max-timestamp" | "-3" => OffsetSpec::MaxTimestamp,
        "earliest-local" | "-4" => OffsetSpec::EarliestLocal,
        "latest-tiered" | "-5" => OffsetSpec::LatestTiered,
        "earliest-pending-upload" | "-6" => OffsetSpec::EarliestPendingUpload,
        _ => OffsetSpec::Timestamp(text.parse().map_err(|_| {
            terse(format!(
                "Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 \
                 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format \
                 timestamp"
            ))
        })?),
    })
}

/// Topics by pattern, and some of their partitions.
#[derive(Debug)]
struct Rule {
    topic: Regex,
    partitions: Partitions,
}

#[derive(Debug, PartialEq, Eq)]
enum Partitions {
    /// These; empty = all.
    Set(Vec<i32>),
    /// From the first up to, not including, the second.
    Range(i32, i32),
}

impl Partitions {
    fn holds(&self, partition: i32) -> bool {
        match self {
            Self::Set(set) => set.is_empty() || set.contains(&partition),
            Self::Range(low, high) => (*low..*high).contains(&partition),
        }
    }
}

fn rules(options: &Options) -> Result<Vec<Rule>, Failure> {
    if let Some(list) = options.value("topic-partitions")? {
        return list.split(',').map(rule).collect();
    }
    let text = options.value("partitions")?.unwrap_or_default();
    let partitions: Result<Vec<i32>, _> =
        if text.is_empty() { Ok(Vec::new()) } else { text.split(',').map(str::parse).collect() };
    let partitions = partitions.map_err(|_| {
        terse(format!(
            "--partitions expects a comma separated list of numeric partition ids, but received: {text}"
        ))
    })?;
    let topic = topic_pattern(options.value("topic")?.unwrap_or(".*"))?;
    Ok(vec![Rule { topic, partitions: Partitions::Set(partitions) }])
}

/// `topic`, `topic:1`, `topic:1-3`, `topic:1-`, `topic:-3`; without a topic any.
fn rule(text: &str) -> Result<Rule, Failure> {
    let invalid = || terse(format!("Invalid rule specification: {text}"));
    let (topic, partitions) = text.split_once(':').unwrap_or((text, ""));
    let bound = |text: &str, default: i32| match text {
        "" => Ok(default),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| invalid()),
        _ => Err(invalid()),
    };
    let partitions = match partitions.split_once('-') {
        Some((low, high)) => Partitions::Range(bound(low, 0)?, bound(high, i32::MAX)?),
        None if partitions.is_empty() => Partitions::Set(Vec::new()),
        None => Partitions::Set(vec![bound(partitions, 0)?]),
    };
    let topic = topic_pattern(if topic.is_empty() { ".*" } else { topic })?;
    Ok(Rule { topic, partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_choose_partitions() {
        let holds = |text: &str, topic: &str, partition: i32| {
            let rule = rule(text).expect("valid");
            rule.topic.is_match(topic) && rule.partitions.holds(partition)
        };
        assert!(holds("t", "t", 7) && !holds("t", "tt", 7));
        assert!(holds("t.:1", "t2", 1) && !holds("t.:1", "t2", 0));
        assert!(holds("t:1-3", "t", 2) && !holds("t:1-3", "t", 3));
        assert!(holds("t:1-", "t", 9) && !holds("t:1-", "t", 0));
        assert!(holds("t:-3", "t", 0) && !holds("t:-3", "t", 3));
        assert!(holds(":1", "any", 1) && holds("", "any", 1));
        assert_eq!(rule("t:x").expect_err("no number").message, "Invalid rule specification: t:x");
        assert_eq!(rule("t:1:2").expect_err("two").message, "Invalid rule specification: t:1:2");
    }
}
