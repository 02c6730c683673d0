//! `kafka-transactions`: transactions, the producers behind them, and those that nobody will end.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use client::admin::{AbortTransaction, ListTransactionsOptions, ProducerState, TransactionDescription};
use client::{Admin, TopicPartition};
use kafka_codec::ErrorCode;

use super::argparse::{Arg, Command, Group, Parsed, Parser, Takes};
use super::run::{self, Failure, Stop};

/// Partitions of one question.
const BATCH: usize = 500;

const TOPIC: &[&str] = &["--topic"];
const PARTITION: &[&str] = &["--partition"];
const BROKER_ID: &[&str] = &["--broker-id"];

const PARSER: Parser = Parser {
    prog: "kafka-transactions.sh",
    about: "This tool is used to analyze the transactional state of producers in the cluster. It can be used to detect \
            and recover from hanging transactions.",
    args: &[
        Arg::switch(&["-v", "--version"], "show the version of this Kafka distribution and exit").version(),
        Arg::text(&["--command-config"], "property file containing configs to be passed to admin client")
            .metavar("FILE"),
        Arg::text(
            &["--bootstrap-server"],
            "hostname and port for the broker to connect to, in the form `host:port`  (multiple comma-separated \
             entries can be given)",
        )
        .metavar("host:port")
        .required(),
    ],
    groups: &[],
    commands: &[
        Command {
            name: "list",
            help: "list transactions",
            about: "",
            args: &[
                Arg::of(
                    Takes::Long,
                    &["--duration-filter"],
                    "Duration (in millis) to filter by: if < 0, all transactions will be returned; otherwise, only \
                     transactions running longer than this duration will be returned",
                ),
                Arg::text(
                    &["--transactional-id-pattern"],
                    "Transactional id regular expression pattern to filter by",
                ),
            ],
            groups: &[],
        },
        Command {
            name: "describe",
            help: "describe the state of an active transactional-id",
            about: "Describe the state of an active transactional-id.",
            args: &[Arg::text(&["--transactional-id"], "transactional id").required()],
            groups: &[],
        },
        Command {
            name: "describe-producers",
            help: "describe the states of active producers for a topic partition",
            about: "",
            args: &[
                Arg::of(
                    Takes::Integer,
                    BROKER_ID,
                    "optional broker id to describe the producer state on a specific replica",
                ),
                Arg::text(TOPIC, "topic name").required(),
                Arg::of(Takes::Integer, PARTITION, "partition number").required(),
            ],
            groups: &[],
        },
        Command {
            name: "abort",
            help: "abort a hanging transaction (requires administrative privileges)",
            about: "",
            args: &[
                Arg::text(TOPIC, "topic name").required(),
                Arg::of(Takes::Integer, PARTITION, "partition number").required(),
                Arg::of(Takes::Long, &["--start-offset"], "start offset of the transaction to abort").group(0),
                Arg::of(Takes::Long, &["--producer-id"], "producer id").group(1),
                Arg::of(Takes::Short, &["--producer-epoch"], "producer epoch").group(1),
                Arg::of(Takes::Integer, &["--coordinator-epoch"], "coordinator epoch").group(1),
            ],
            groups: &[
                Group::section(
                    "Brokers on versions 3.0 and above",
                    "For newer brokers, only the start offset of the transaction to be aborted is required",
                ),
                Group::section(
                    "Brokers on versions older than 3.0",
                    "For older brokers, you must provide all of these arguments",
                ),
            ],
        },
        Command {
            name: "find-hanging",
            help: "find hanging transactions",
            about: "",
            args: &[
                Arg::of(Takes::Integer, BROKER_ID, "broker id to search for hanging transactions"),
                Arg::of(
                    Takes::Integer,
                    &["--max-transaction-timeout"],
                    "maximum transaction timeout in minutes to limit the scope of the search (15 minutes by default)",
                )
                .or("15"),
                Arg::text(TOPIC, "topic name to limit search to (required if --partition is specified)"),
                Arg::of(Takes::Integer, PARTITION, "partition number"),
            ],
            groups: &[],
        },
        Command {
            name: "forceTerminateTransaction",
            help: "Force abort an ongoing transaction on transactionalId (requires administrative privileges)",
            about: "Force abort an ongoing transaction on transactionalId",
            args: &[Arg::text(&["--transactionalId"], "transactional id").required()],
            groups: &[],
        },
    ],
    title: "commands",
    metavar: "COMMAND",
    tells_defaults: false,
    example: "kafka-transactions --bootstrap-server localhost:9092 find-hanging --topic sensors",
};

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match run::commands(&PARSER, args, 1) {
        Ok(parsed) => act(&parsed).await,
        Err(stop) => Err(stop),
    };
    run::finish(outcome, &[], |failure| eprintln!("{}", failure.message))
}

fn stop(message: impl Into<String>) -> Stop {
    Failure::kafka(message).into()
}

/// What the original says of a failed call.
fn failed(what: impl std::fmt::Display) -> impl FnOnce(client::Error) -> Stop {
    move |error| stop(format!("{what}: {error}. Enable debug logging for additional detail."))
}

async fn act(parsed: &Parsed) -> Result<(), Stop> {
    let admin = run::admin_at(parsed.text("--bootstrap-server"), None, parsed.text("--command-config"))?;
    let outcome = match parsed.command {
        "list" => list(&admin, parsed).await,
        "describe" => describe(&admin, parsed).await,
        "describe-producers" => describe_producers(&admin, parsed).await,
        "abort" => abort(&admin, parsed).await,
        "find-hanging" => find_hanging(&admin, parsed).await,
        _ => {
            let id = parsed.text("--transactionalId").unwrap_or_default();
            let fenced = admin.fence_producers(id).await;
            fenced.map_err(failed(format_args!("Failed to force terminate transactionalId `{id}`")))
        }
    };
    admin.close().await;
    outcome
}

async fn list(admin: &Admin, parsed: &Parsed) -> Result<(), Stop> {
    let options = ListTransactionsOptions {
        longer_than_ms: parsed.number("--duration-filter").filter(|ms| *ms >= 0),
        id_pattern: parsed.text("--transactional-id-pattern").map(str::to_owned),
        ..ListTransactionsOptions::default()
    };
    let all = admin.list_transactions(&options).await.map_err(failed("Failed to list transactions"))?;
    let mut rows = Vec::new();
    for (broker, listings) in all {
        rows.extend(listings.into_iter().map(|listing| {
            let producer = listing.producer_id.to_string();
            vec![listing.transactional_id, broker.to_string(), producer, listing.state]
        }));
    }
    run::print_table(&["TransactionalId", "Coordinator", "ProducerId", "TransactionState"], &rows);
    Ok(())
}

async fn describe(admin: &Admin, parsed: &Parsed) -> Result<(), Stop> {
    let id = parsed.text("--transactional-id").unwrap_or_default().to_owned();
    let described = admin.describe_transactions(std::slice::from_ref(&id)).await;
    let described = described.and_then(|each| match each.into_iter().next() {
        Some((_, Err(error))) if error.code() == Some(ErrorCode::TransactionalIdNotFound) => {
            let text = format!(
                "DescribeTransactions request for transactionalId `{id}` failed because the ID could not be found"
            );
            Err(client::BrokerError { code: ErrorCode::TransactionalIdNotFound, message: Some(text) }.into())
        }
        Some((_, outcome)) => outcome,
        None => Err(client::BrokerError::new(ErrorCode::UnknownServerError).into()),
    });
    let transaction = described
        .map_err(failed(format_args!("Failed to describe transaction state of transactional-id `{id}`")))?;
    let (start, duration) = match transaction.start_ms {
        Some(ms) => (ms.to_string(), (run::now_ms() - ms).to_string()),
        None => ("None".to_owned(), "None".to_owned()),
    };
    let partitions: Vec<_> = transaction.partitions.iter().map(ToString::to_string).collect();
    let row = vec![
        transaction.coordinator.to_string(),
        id,
        transaction.producer_id.to_string(),
        transaction.producer_epoch.to_string(),
        transaction.state,
        transaction.timeout_ms.to_string(),
        start,
        duration,
        partitions.join(","),
    ];
    let headers = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    run::print_table(&headers, &[row]);
    Ok(())
}

fn partition_of(parsed: &Parsed) -> TopicPartition {
    let partition = parsed.number("--partition").unwrap_or_default();
    TopicPartition::new(parsed.text("--topic").unwrap_or_default(), partition)
}

/// Producers of one partition.
async fn producers(
    admin: &Admin,
    partition: &TopicPartition,
    broker: Option<i32>,
) -> client::Result<Vec<ProducerState>> {
    match admin.describe_producers(std::slice::from_ref(partition), broker).await?.into_iter().next() {
        Some((_, outcome)) => outcome,
        None => Err(client::BrokerError::new(ErrorCode::UnknownServerError).into()),
    }
}

async fn describe_producers(admin: &Admin, parsed: &Parsed) -> Result<(), Stop> {
    let partition = partition_of(parsed);
    let broker = parsed.number("--broker-id");
    let on = broker.map_or("leader".to_owned(), |id| format!("broker {id}"));
    let states = producers(admin, &partition, broker).await;
    let states = states
        .map_err(failed(format_args!("Failed to describe producers for partition {partition} on {on}")))?;
    let row = |state: ProducerState| {
        vec![
            state.producer_id.to_string(),
            state.producer_epoch.to_string(),
            state.coordinator_epoch.unwrap_or(-1).to_string(),
            state.last_sequence.to_string(),
            state.last_timestamp_ms.to_string(),
            state.transaction_start.map_or("None".to_owned(), |offset| offset.to_string()),
        ]
    };
    let headers = [
        "ProducerId",
        "ProducerEpoch",
        "LatestCoordinatorEpoch",
        "LastSequence",
        "LastTimestamp",
        "CurrentTransactionStartOffset",
    ];
    run::print_table(&headers, &states.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

async fn abort(admin: &Admin, parsed: &Parsed) -> Result<(), Stop> {
    let partition = partition_of(parsed);
    let start: Option<i64> = parsed.number("--start-offset");
    let producer_id: Option<i64> = parsed.number("--producer-id");
    let abort = match (start, producer_id) {
        (Some(start), _) => started_at(admin, partition, start).await?,
        (None, Some(producer_id)) => {
            let missing = |option: &str| stop(format!("Missing required argument {option}"));
            let epoch = parsed.number("--producer-epoch").ok_or_else(|| missing("--producer-epoch"))?;
            let coordinator: i32 =
                parsed.number("--coordinator-epoch").ok_or_else(|| missing("--coordinator-epoch"))?;
            // -1 is shown of a producer that never ended a transaction; no coordinator's epoch is below 0.
            let coordinator_epoch = coordinator.max(0);
            AbortTransaction { partition, producer_id, producer_epoch: epoch, coordinator_epoch }
        }
        (None, None) => {
            return Err(stop(
                "The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) \
                 or with --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)",
            ));
        }
    };
    let text = format!(
        "AbortTransactionSpec(topicPartition={}, producerId={}, producerEpoch={}, coordinatorEpoch={})",
        abort.partition, abort.producer_id, abort.producer_epoch, abort.coordinator_epoch
    );
    let aborted = admin.abort_transaction(&abort).await;
    aborted.map_err(failed(format_args!("Failed to abort transaction {text}")))
}

async fn started_at(admin: &Admin, partition: TopicPartition, start: i64) -> Result<AbortTransaction, Stop> {
    let states = producers(admin, &partition, None).await;
    let states = states
        .map_err(failed(format_args!("Failed to validate producer state for partition {partition}")))?;
    let Some(state) = states.into_iter().find(|state| state.transaction_start == Some(start)) else {
        return Err(stop(format!(
            "Could not find any open transactions starting at offset {start} on partition {partition}"
        )));
    };
    Ok(AbortTransaction {
        partition,
        producer_id: state.producer_id,
        producer_epoch: i16::try_from(state.producer_epoch).unwrap_or(i16::MAX),
        coordinator_epoch: state.coordinator_epoch.unwrap_or(0),
    })
}

type Open = (TopicPartition, ProducerState);

async fn find_hanging(admin: &Admin, parsed: &Parsed) -> Result<(), Stop> {
    let broker: Option<i32> = parsed.number("--broker-id");
    let (topic, partition) = (parsed.text("--topic"), parsed.number::<i32>("--partition"));
    if topic.is_none() && broker.is_none() {
        return Err(stop(
            "The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search",
        ));
    }
    if partition.is_some() && topic.is_none() {
        return Err(stop("The --partition argument requires --topic to be provided"));
    }
    let minutes: i64 = parsed.number("--max-transaction-timeout").unwrap_or(15);
    let partitions = match (topic, partition) {
        (Some(topic), Some(partition)) => vec![TopicPartition::new(topic, partition)],
        _ => partitions_to_search(admin, topic, broker).await?,
    };
    let candidates = long_open(admin, &partitions, broker, minutes.saturating_mul(60_000)).await?;
    let hanging =
        if candidates.is_empty() { candidates } else { unknown_to_coordinators(admin, candidates).await? };
    let now_ms = run::now_ms();
    let row = |(partition, state): Open| {
        vec![
            partition.topic.to_string(),
            partition.partition.to_string(),
            state.producer_id.to_string(),
            state.producer_epoch.to_string(),
            state.coordinator_epoch.unwrap_or(-1).to_string(),
            state.transaction_start.unwrap_or(-1).to_string(),
            state.last_timestamp_ms.to_string(),
            ((now_ms - state.last_timestamp_ms) / 60_000).to_string(),
        ]
    };
    let headers = [
        "Topic",
        "Partition",
        "ProducerId",
        "ProducerEpoch",
        "CoordinatorEpoch",
        "StartOffset",
        "LastTimestamp",
        "Duration(min)",
    ];
    run::print_table(&headers, &hanging.into_iter().map(row).collect::<Vec<_>>());
    Ok(())
}

async fn partitions_to_search(
    admin: &Admin,
    topic: Option<&str>,
    broker: Option<i32>,
) -> Result<Vec<TopicPartition>, Stop> {
    let topics = match topic {
        Some(topic) => vec![topic.to_owned()],
        None => {
            let all = admin.list_topics(true).await.map_err(failed("Failed to list topics"))?;
            all.into_iter().map(|listing| listing.name).collect()
        }
    };
    let mut partitions = Vec::new();
    for batch in topics.chunks(BATCH) {
        let failure = || format!("Failed to describe {} topics", batch.len());
        for (_, description) in admin.describe_topics(batch).await.map_err(failed(failure()))? {
            let description = description.map_err(failed(failure()))?;
            let held = description.partitions.iter().filter(|partition| {
                broker.is_none_or(|id| partition.replicas.iter().any(|node| node.id == id))
            });
            partitions.extend(held.map(|p| TopicPartition::new(description.name.as_str(), p.partition)));
        }
    }
    Ok(partitions)
}

/// Transactions open for longer than `limit_ms`. Says how far it is when there is much to ask.
async fn long_open(
    admin: &Admin,
    partitions: &[TopicPartition],
    broker: Option<i32>,
    limit_ms: i64,
) -> Result<Vec<Open>, Stop> {
    let mut candidates = Vec::new();
    let on = broker.map_or("Optional.empty".to_owned(), |id| format!("Optional[{id}]"));
    let progress = super::progress::Progress::new("partitions searched", partitions.len());
    for (at, batch) in partitions.chunks(BATCH).enumerate() {
        progress.at(at * BATCH);
        let failure =
            || format!("Failed to describe producers for {} partitions on broker {on}", batch.len());
        let now_ms = run::now_ms();
        for (partition, states) in admin.describe_producers(batch, broker).await.map_err(failed(failure()))? {
            let open = states.map_err(failed(failure()))?.into_iter().filter(|state| {
                state.transaction_start.is_some() && now_ms - state.last_timestamp_ms > limit_ms
            });
            candidates.extend(open.map(|state| (partition.clone(), state)));
        }
    }
    progress.done();
    Ok(candidates)
}

/// Those of which no coordinator will write a marker.
async fn unknown_to_coordinators(admin: &Admin, open: Vec<Open>) -> Result<Vec<Open>, Stop> {
    let producers: BTreeSet<i64> = open.iter().map(|(_, state)| state.producer_id).collect();
    let options =
        ListTransactionsOptions { producer_ids: producers.iter().copied().collect(), ..Default::default() };
    let listed = admin.list_transactions(&options).await;
    let listed = listed
        .map_err(failed(format_args!("Failed to list transactions for {} producers", producers.len())))?;
    let ids: BTreeMap<i64, String> = listed
        .into_iter()
        .flat_map(|(_, listings)| listings)
        .map(|listing| (listing.producer_id, listing.transactional_id))
        .collect();
    let names: Vec<String> = ids.values().cloned().collect();
    let failure = || format!("Failed to describe {} transactions", names.len());
    let mut described: BTreeMap<String, TransactionDescription> = BTreeMap::new();
    for (id, outcome) in admin.describe_transactions(&names).await.map_err(failed(failure()))? {
        match outcome {
            Ok(description) => {
                described.insert(id, description);
            }
            Err(error) if error.code() == Some(ErrorCode::TransactionalIdNotFound) => {}
            Err(error) => return Err(failed(failure())(error)),
        }
    }
    let expected = |(partition, state): &Open| {
        let description = ids.get(&state.producer_id).and_then(|id| described.get(id));
        description.is_some_and(|description| description.partitions.contains(partition))
    };
    Ok(open.into_iter().filter(|one| !expected(one)).collect())
}
