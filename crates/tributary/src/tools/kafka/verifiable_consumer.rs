//! `kafka-verifiable-consumer`: says what a member of a group is given, reads and commits.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use client::consumer::RebalanceListener;
use client::{Consumer, ConsumerConfig, ConsumerRecord, OffsetAndMetadata, TopicPartition};
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::argparse::{Arg, NotParsed, Parsed, Parser, Takes};
use super::run::{self, Failure, Stop};
use super::signals::Signals;
use super::verifiable::{self, Nothing};

const POLL: Duration = Duration::from_secs(1);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

const PARSER: Parser = Parser {
    prog: "verifiable-consumer",
    about: "This tool consumes messages from a specific topic and emits consumer events (e.g. group rebalances, received \
            messages, and offsets committed) as JSON objects to STDOUT.",
    args: &[
        Arg::text(
            &["--bootstrap-server"],
            "The server(s) to connect to. Comma-separated list of Kafka brokers in the form HOST1:PORT1,HOST2:PORT2,...",
        )
        .metavar("HOST1:PORT1[,HOST2:PORT2[...]]")
        .group(0),
        Arg::text(&["--topic"], "Consumes messages from this topic.").required(),
        Arg::text(&["--group-protocol"], "Group protocol (must be one of CLASSIC, CONSUMER)")
            .metavar("GROUP-PROTOCOL")
            .or("classic"),
        Arg::text(
            &["--group-remote-assignor"],
            "Group remote assignor; only used if the group protocol is CONSUMER",
        )
        .metavar("GROUP-REMOTE-ASSIGNOR"),
        Arg::text(&["--group-id"], "The group id of the consumer group").metavar("GROUP-ID").required(),
        Arg::text(&["--group-instance-id"], "A unique identifier of the consumer instance")
            .metavar("GROUP-INSTANCE-ID"),
        Arg::of(
            Takes::Integer,
            &["--max-messages"],
            "Consume this many messages. If -1 (the default), the consumer will consume until the process is killed \
             externally",
        )
        .metavar("MAX-MESSAGES")
        .or("-1"),
        Arg::of(
            Takes::Integer,
            &["--session-timeout"],
            "Set the consumer's session timeout, note that this configuration is not supported when group protocol is \
             consumer",
        )
        .metavar("TIMEOUT-MS"),
        Arg::switch(&["--verbose"], "Enable to log individual consumed records"),
        Arg::switch(&["--enable-autocommit"], "Enable offset auto-commit on consumer"),
        Arg::text(&["--reset-policy"], "Set reset policy (must be either 'earliest', 'latest', or 'none')")
            .metavar("RESET-POLICY")
            .or("earliest"),
        Arg::text(
            &["--assignment-strategy"],
            "Set assignment strategy (e.g. org.apache.kafka.clients.consumer.RoundRobinAssignor); only used if the \
             group protocol is CLASSIC",
        )
        .metavar("ASSIGNMENT-STRATEGY")
        .or("org.apache.kafka.clients.consumer.RangeAssignor"),
        Arg::text(
            &["--consumer.config"],
            "(DEPRECATED) Consumer config properties file. This option will be removed in a future version. Use \
             --command-config instead",
        )
        .metavar("CONFIG-FILE"),
        verifiable::COMMAND_CONFIG,
    ],
    groups: &[verifiable::CONNECTION],
    commands: &[],
    title: "",
    metavar: "",
    tells_defaults: true,
    example: "kafka-verifiable-consumer --bootstrap-server localhost:9092 --topic sensors --group-id readers",
};

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    if args.is_empty() {
        if let Err(NotParsed::Help(help)) = PARSER.parse(&["--help".to_owned()]) {
            print!("{help}");
        }
        return ExitCode::SUCCESS;
    }
    let outcome = match run::commands(&PARSER, args, 1) {
        Ok(parsed) => consume(&parsed).await,
        Err(stop) => Err(stop),
    };
    run::finish(outcome, &[], |failure| eprintln!("Exception in thread \"main\" {failure}"))
}

#[derive(Serialize)]
struct Partition<'a> {
    topic: &'a str,
    partition: i32,
}

#[derive(Serialize)]
struct Partitions<'a> {
    partitions: Vec<Partition<'a>>,
}

fn told(name: &str, partitions: &[TopicPartition]) {
    let partitions =
        partitions.iter().map(|p| Partition { topic: &p.topic, partition: p.partition }).collect();
    // Without standard output the next event ends the tool.
    let _ = verifiable::print(name, Partitions { partitions });
}

/// Tells what the group gives and takes.
struct Told;

impl RebalanceListener for Told {
    fn revoked<'a>(&'a mut self, _: &'a mut Consumer, partitions: &'a [TopicPartition]) -> BoxFuture<'a, ()> {
        told("partitions_revoked", partitions);
        Box::pin(std::future::ready(()))
    }

    fn assigned<'a>(
        &'a mut self,
        _: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()> {
        told("partitions_assigned", partitions);
        Box::pin(std::future::ready(()))
    }
}

#[derive(Serialize)]
struct Data<'a> {
    key: Option<String>,
    value: Option<String>,
    topic: &'a str,
    partition: i32,
    offset: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    topic: &'a str,
    partition: i32,
    count: u64,
    min_offset: i64,
    max_offset: i64,
}

#[derive(Serialize)]
struct Consumed<'a> {
    count: u64,
    partitions: Vec<Summary<'a>>,
}

#[derive(Serialize)]
struct CommittedOffset<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

#[derive(Serialize)]
struct Committed<'a> {
    offsets: Vec<CommittedOffset<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    success: bool,
}

fn config(parsed: &Parsed) -> Result<ConsumerConfig, Stop> {
    let file = match (parsed.text("--consumer.config"), parsed.text("--command-config")) {
        (Some(_), Some(_)) => {
            eprintln!("Options --consumer.config and --command-config are mutually exclusive.");
            return Err(Stop::Exit(1));
        }
        (Some(file), None) => {
            println!(
                "Option --consumer.config has been deprecated and will be removed in a future version. Use \
                 --command-config instead."
            );
            Some(file)
        }
        (None, file) => file,
    };
    let mut properties = match file {
        Some(file) => run::load_properties(file)?,
        None => BTreeMap::new(),
    };
    let mut set = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            properties.insert(name.to_owned(), value.to_owned());
        }
    };
    let protocol = parsed.text("--group-protocol").unwrap_or("classic");
    set("group.protocol", Some(protocol));
    set("group.id", parsed.text("--group-id"));
    set("group.instance.id", parsed.text("--group-instance-id"));
    set("bootstrap.servers", parsed.text("--bootstrap-server"));
    set("enable.auto.commit", Some(if parsed.has("--enable-autocommit") { "true" } else { "false" }));
    set("auto.offset.reset", parsed.text("--reset-policy"));
    if protocol.eq_ignore_ascii_case("consumer") {
        set("group.remote.assignor", parsed.text("--group-remote-assignor"));
    } else {
        set("partition.assignment.strategy", parsed.text("--assignment-strategy"));
        set("session.timeout.ms", parsed.text("--session-timeout"));
    }
    Ok(ConsumerConfig::from_properties(properties)?)
}

async fn consume(parsed: &Parsed) -> Result<(), Stop> {
    let mut consumer = Consumer::new(config(parsed)?)?;
    let topic = parsed.text("--topic").unwrap_or_default();
    let mut signals = Signals::new()?;
    verifiable::print("startup_complete", Nothing {})?;
    consumer.subscribe(&[topic], Some(Box::new(Told)))?;
    let outcome = tokio::select! {
        outcome = read_all(&mut consumer, parsed) => outcome.map(|()| 0),
        code = signals.next() => {
            verifiable::print("shutdown_requested", Nothing {})?;
            Ok(code)
        }
    };
    let asked_to_stop = matches!(outcome, Ok(code) if code != 0);
    let closed = consumer.close(CLOSE_TIMEOUT).await.map_err(Failure::from);
    let failure = outcome.as_ref().err().or(closed.as_ref().err());
    if let Some(failure) = failure {
        run::log_error(
            &format!("Error during processing, terminating consumer process:  {failure}\n"),
            "org.apache.kafka.tools.VerifiableConsumer",
        );
    }
    verifiable::print("shutdown_complete", Nothing {})?;
    if !asked_to_stop {
        // The original's hook for the end of the process says so also when it ends by itself.
        verifiable::print("shutdown_requested", Nothing {})?;
    }
    match outcome {
        Ok(0) | Err(_) => Ok(()),
        Ok(code) => Err(Stop::Exit(code)),
    }
}

async fn read_all(consumer: &mut Consumer, parsed: &Parsed) -> Result<(), Failure> {
    let most = parsed.number::<i64>("--max-messages").filter(|count| *count >= 0).map(i64::unsigned_abs);
    let mut seen = 0;
    while most.is_none_or(|most| seen < most) {
        let mut records = consumer.poll(POLL).await?;
        if records.is_empty() {
            continue;
        }
        if let Some(most) = most {
            records.truncate(usize::try_from(most - seen).unwrap_or(usize::MAX));
        }
        seen += records.len() as u64;
        let offsets = tell(&records, parsed.has("--verbose"))?;
        if !parsed.has("--enable-autocommit") {
            let outcome = consumer.commit_offsets(&offsets).await;
            committed(&offsets, outcome.err().map(|error| error.to_string()))?;
        }
    }
    Ok(())
}

/// Tells what was read; answers the offsets to commit.
fn tell(
    records: &[ConsumerRecord],
    verbose: bool,
) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, Failure> {
    let mut summaries: BTreeMap<(&str, i32), (u64, i64, i64)> = BTreeMap::new();
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    for record in records {
        let summary = summaries.entry((&*record.topic, record.partition)).or_insert((0, record.offset, 0));
        *summary = (summary.0 + 1, summary.1, record.offset);
        if verbose {
            let (partition, offset) = (record.partition, record.offset);
            let (key, value) = (record.key.as_ref().map(text), record.value.as_ref().map(text));
            verifiable::print("record_data", Data { key, value, topic: &record.topic, partition, offset })?;
        }
    }
    let partitions = summaries
        .iter()
        .map(|((topic, partition), (count, min_offset, max_offset))| Summary {
            topic,
            partition: *partition,
            count: *count,
            min_offset: *min_offset,
            max_offset: *max_offset,
        })
        .collect();
    verifiable::print("records_consumed", Consumed { count: records.len() as u64, partitions })?;
    let next = summaries.iter().map(|((topic, partition), (_, _, last))| {
        (TopicPartition::new(*topic, *partition), OffsetAndMetadata::new(last + 1))
    });
    Ok(next.collect())
}

fn committed(
    offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    error: Option<String>,
) -> Result<(), Failure> {
    let offsets = offsets
        .iter()
        .map(|(of, committed)| CommittedOffset {
            topic: &of.topic,
            partition: of.partition,
            offset: committed.offset,
        })
        .collect();
    verifiable::print("offsets_committed", Committed { offsets, success: error.is_none(), error })
}
