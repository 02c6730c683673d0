//! `kafka-verifiable-share-consumer`: says what a member of a share group reads and acknowledges.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::admin::{AlterConfigOp, ConfigResource, ConfigResourceType};
use client::{Acknowledged, Admin, AdminConfig, ShareConsumer, ShareConsumerConfig, ShareRecord};
use serde::Serialize;

use super::argparse::{Arg, NotParsed, Parsed, Parser, Takes};
use super::run::{self, Failure, Stop};
use super::signals::Signals;
use super::verifiable::{self, Nothing};

const POLL: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
const LOGGER: &str = "org.apache.kafka.tools.VerifiableShareConsumer";
/// Setting of a group: where it begins in a partition.
const RESET: &str = "share.auto.offset.reset";

const PARSER: Parser = Parser {
    prog: "verifiable-share-consumer",
    about: "This tool creates a share group and consumes messages from a specific topic and emits share consumer events \
            (e.g. share consumer startup, received messages, and offsets acknowledged) as JSON objects to STDOUT.",
    args: &[
        Arg::text(
            &["--bootstrap-server"],
            "The server(s) to connect to. Comma-separated list of Kafka brokers in the form HOST1:PORT1,HOST2:PORT2,...",
        )
        .metavar("HOST1:PORT1[,HOST2:PORT2[...]]")
        .group(0),
        Arg::text(&["--topic"], "Consumes messages from this topic.").required(),
        Arg::text(&["--group-id"], "The group id of the share group").metavar("GROUP-ID").required(),
        Arg::of(
            Takes::Integer,
            &["--max-messages"],
            "Consume this many messages. If -1 (the default), the share consumers will consume until the process is \
             killed externally",
        )
        .metavar("MAX-MESSAGES")
        .or("-1"),
        Arg::switch(&["--verbose"], "Enable to log individual consumed records"),
        Arg::text(
            &["--acknowledgement-mode"],
            "Acknowledgement mode for the share consumers (must be either 'auto', 'sync' or 'async')",
        )
        .metavar("ACKNOWLEDGEMENT-MODE")
        .or("auto"),
        Arg::text(
            &["--offset-reset-strategy"],
            "Share group offset reset strategy (must be either 'earliest' or 'latest')",
        )
        .metavar("OFFSET-RESET-STRATEGY")
        .or(""),
        verifiable::COMMAND_CONFIG,
    ],
    groups: &[verifiable::CONNECTION],
    commands: &[],
    title: "",
    metavar: "",
    tells_defaults: true,
    example: "kafka-verifiable-share-consumer --bootstrap-server localhost:9092 --topic jobs --group-id workers",
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

/// When acknowledgements are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// With the next poll.
    Auto,
    /// At once, without a wait.
    Async,
    /// At once, and the answer is awaited.
    Sync,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Strategy<'a> {
    offset_reset_strategy: &'a str,
}

#[derive(Serialize)]
struct Data<'a> {
    key: Option<String>,
    value: Option<String>,
    topic: &'a str,
    partition: i32,
    offset: i64,
}

/// Offsets of one partition.
#[derive(Serialize)]
struct Offsets<'a> {
    topic: &'a str,
    partition: i32,
    count: u64,
    offsets: BTreeSet<i64>,
}

#[derive(Serialize)]
struct Consumed<'a> {
    count: u64,
    partitions: Vec<Offsets<'a>>,
}

#[derive(Serialize)]
struct Answered<'a> {
    count: u64,
    partitions: [Offsets<'a>; 1],
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn mode(parsed: &Parsed) -> Result<Mode, Failure> {
    let name = parsed.text("--acknowledgement-mode").unwrap_or("auto").to_uppercase();
    match name.as_str() {
        "AUTO" => Ok(Mode::Auto),
        "ASYNC" => Ok(Mode::Async),
        "SYNC" => Ok(Mode::Sync),
        other => {
            Err(Failure::illegal_argument(format!("No enum constant {LOGGER}.AcknowledgementMode.{other}")))
        }
    }
}

fn properties(parsed: &Parsed) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = match parsed.text("--command-config") {
        Some(file) => run::load_properties(file)?,
        None => BTreeMap::new(),
    };
    let servers = parsed.text("--bootstrap-server").unwrap_or_default();
    properties.insert("bootstrap.servers".to_owned(), servers.to_owned());
    Ok(properties)
}

async fn consume(parsed: &Parsed) -> Result<(), Stop> {
    let mode = mode(parsed)?;
    let group = parsed.text("--group-id").unwrap_or_default();
    let mut own = properties(parsed)?;
    own.insert("group.id".to_owned(), group.to_owned());
    let mut consumer = ShareConsumer::new(ShareConsumerConfig::from_properties(own)?)?;
    let mut signals = Signals::new()?;
    verifiable::print("startup_complete", Nothing {})?;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let outcome = tokio::select! {
        outcome = work(&mut consumer, parsed, mode, &acknowledged) => outcome.map(|()| 0),
        code = signals.next() => Ok(code),
    };
    if let Err(failure) = &outcome {
        run::log_error(
            &format!("Error during processing, terminating share consumer process: \n{failure}"),
            LOGGER,
        );
    }
    if let Err(error) = consumer.close(CLOSE_TIMEOUT).await {
        run::log_warn(&format!("The consumer was not closed cleanly: {error}"), LOGGER);
    }
    verifiable::print("shutdown_complete", Nothing {})?;
    match outcome {
        Ok(0) | Err(_) => Ok(()),
        Ok(code) => Err(Stop::Exit(code)),
    }
}

async fn work(
    consumer: &mut ShareConsumer,
    parsed: &Parsed,
    mode: Mode,
    acknowledged: &Arc<AtomicU64>,
) -> Result<(), Failure> {
    let strategy = parsed.text("--offset-reset-strategy").unwrap_or_default().to_lowercase();
    if !strategy.is_empty() {
        set_strategy(parsed, &strategy).await?;
        verifiable::print("offset_reset_strategy_set", Strategy { offset_reset_strategy: &strategy })?;
    }
    consumer.subscribe(&[parsed.text("--topic").unwrap_or_default()])?;
    let total = Arc::clone(acknowledged);
    consumer.on_acknowledged(move |answer| {
        if answer.outcome.is_ok() {
            total.fetch_add(answer.offsets.len() as u64, Ordering::Relaxed);
        }
        tell_answer(answer);
    });
    let most = parsed.number::<i64>("--max-messages").filter(|count| *count >= 0).map(i64::unsigned_abs);
    while most.is_none_or(|most| acknowledged.load(Ordering::Relaxed) < most) {
        let records = consumer.poll(POLL).await?;
        if records.is_empty() {
            continue;
        }
        tell_records(&records, parsed.has("--verbose"))?;
        match mode {
            Mode::Auto => {}
            Mode::Async => consumer.commit_in_background()?,
            Mode::Sync => {
                for (partition, outcome) in consumer.commit().await? {
                    if outcome.is_err() {
                        let text = "Failed to commit offset synchronously for topic partition: ";
                        run::log_error(&format!("{text}{partition}"), LOGGER);
                    }
                }
            }
        }
    }
    Ok(())
}

async fn set_strategy(parsed: &Parsed, strategy: &str) -> Result<(), Failure> {
    let admin = Admin::new(AdminConfig::from_properties(properties(parsed)?)?)?;
    let name = parsed.text("--group-id").unwrap_or_default().to_owned();
    let resource = ConfigResource { kind: ConfigResourceType::Group, name };
    let ops = vec![AlterConfigOp::Set(RESET.to_owned(), strategy.to_owned())];
    let outcome = admin.incremental_alter_configs(&[(resource, ops)], false).await;
    admin.close().await;
    for (_, altered) in outcome.map_err(Failure::execution)? {
        altered.map_err(Failure::execution)?;
    }
    Ok(())
}

fn tell_records(records: &[ShareRecord], verbose: bool) -> Result<(), Failure> {
    let mut offsets: BTreeMap<(&str, i32), BTreeSet<i64>> = BTreeMap::new();
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    for ShareRecord { record, .. } in records {
        offsets.entry((&*record.topic, record.partition)).or_default().insert(record.offset);
        if verbose {
            let (partition, offset) = (record.partition, record.offset);
            let (key, value) = (record.key.as_ref().map(text), record.value.as_ref().map(text));
            verifiable::print("record_data", Data { key, value, topic: &record.topic, partition, offset })?;
        }
    }
    let partitions = offsets
        .into_iter()
        .map(|((topic, partition), offsets)| Offsets {
            topic,
            partition,
            count: offsets.len() as u64,
            offsets,
        })
        .collect();
    verifiable::print("records_consumed", Consumed { count: records.len() as u64, partitions })
}

fn tell_answer(answer: &Acknowledged) {
    let offsets: BTreeSet<i64> = answer.offsets.iter().copied().collect();
    let count = offsets.len() as u64;
    let (topic, partition) = (&*answer.partition.topic, answer.partition.partition);
    let error = answer.outcome.as_ref().err().map(ToString::to_string);
    let partitions = [Offsets { topic, partition, count, offsets }];
    // Without standard output the next event ends the tool.
    let _ = verifiable::print(
        "offsets_acknowledged",
        Answered { count, partitions, success: error.is_none(), error },
    );
}
