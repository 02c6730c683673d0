//! `kafka-log-dirs`: what brokers have in their log directories.

use std::collections::BTreeSet;
use std::process::ExitCode;

use client::admin::LogDir;
use serde::Serialize;

use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text(
        "bootstrap-server",
        "The server(s) to use for bootstrapping",
        "REQUIRED: the server(s) to use for bootstrapping",
    ),
    Flag::text(
        "command-config",
        "Admin client property file",
        "Property file containing configs to be passed to Admin Client.",
    ),
    Flag::switch("describe", "Describe the specified log directories on the specified brokers."),
    Flag::text(
        "topic-list",
        "Topic list",
        "The list of topics to be queried in the form \"topic1,topic2,topic3\". All topics will be queried if no topic \
         list is specified",
    )
    .or(""),
    Flag::text(
        "broker-list",
        "Broker list",
        "The list of brokers to be queried in the form \"0,1,2\". All brokers in the cluster will be queried if no \
         broker list is specified",
    )
    .or(""),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => describe(&options).await,
        Err(error) => Err(error.into()),
    };
    run::finish(outcome, FLAGS, |failure| match failure.exception.as_str() {
        TERSE => eprintln!("{}", failure.message),
        _ => run::trace(failure),
    })
}

const TERSE: &str = "org.apache.kafka.tools.TerseException";

// Fields in the order in which the original's hash maps give them.

#[derive(Serialize)]
struct Report {
    brokers: Vec<Broker>,
    version: u8,
}

#[derive(Serialize)]
struct Broker {
    broker: i32,
    #[serde(rename = "logDirs")]
    log_dirs: Vec<Directory>,
}

#[derive(Serialize)]
struct Directory {
    partitions: Vec<Partition>,
    error: Option<String>,
    #[serde(rename = "logDir")]
    log_dir: String,
}

#[derive(Serialize)]
struct Partition {
    partition: String,
    size: i64,
    #[serde(rename = "offsetLag")]
    offset_lag: i64,
    #[serde(rename = "isFuture")]
    is_future: bool,
}

async fn describe(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool helps to query log directory usage on the specified brokers.",
        "kafka-log-dirs --bootstrap-server localhost:9092 --describe --topic-list sensors",
    )?;
    run::require(options, &["bootstrap-server", "describe"])?;
    let list = |text: Option<&str>| {
        let parts = text.unwrap_or_default().split(',').filter(|part| !part.is_empty()).map(str::to_owned);
        parts.collect::<BTreeSet<String>>()
    };
    let topics = list(options.value("topic-list")?);
    let mut wanted = BTreeSet::new();
    for id in list(options.value("broker-list")?) {
        let number = id.parse::<i32>();
        wanted.insert(number.map_err(|_| {
            Failure::new("java.lang.NumberFormatException", format!("For input string: \"{id}\""))
        })?);
    }
    let admin = run::admin_at(options.value("bootstrap-server")?, None, options.value("command-config")?)?;
    let cluster = admin.describe_cluster().await.map_err(Failure::execution)?;
    let existing: BTreeSet<i32> = cluster.nodes.iter().map(|node| node.id).collect();
    let unknown: Vec<_> = wanted.difference(&existing).collect();
    if !unknown.is_empty() {
        return Err(Failure::new(
            TERSE,
            format!(
                "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
                joined(unknown),
                joined(&existing)
            ),
        )
        .into());
    }
    let asked: Vec<i32> = if wanted.is_empty() { existing } else { wanted }.into_iter().collect();
    println!("Querying brokers for log directories information");
    let mut brokers = Vec::new();
    for (broker, dirs) in admin.describe_log_dirs(&asked).await.map_err(Failure::execution)? {
        let dirs = dirs.map_err(Failure::execution)?;
        brokers
            .push(Broker { broker, log_dirs: dirs.into_iter().map(|dir| directory(dir, &topics)).collect() });
    }
    admin.close().await;
    println!("Received log directory information from brokers {}", joined(&asked));
    let json = serde_json::to_string(&Report { brokers, version: 1 });
    println!("{}", json.map_err(|error| Failure::kafka(error.to_string()))?);
    Ok(())
}

fn joined<'a>(ids: impl IntoIterator<Item = &'a i32>) -> String {
    ids.into_iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

fn directory(dir: LogDir, topics: &BTreeSet<String>) -> Directory {
    let chosen =
        dir.replicas.into_iter().filter(|r| topics.is_empty() || topics.contains(&*r.partition.topic));
    let mut partitions: Vec<_> = chosen
        .map(|replica| Partition {
            partition: replica.partition.to_string(),
            size: replica.size,
            offset_lag: replica.offset_lag,
            is_future: replica.is_future,
        })
        .collect();
    partitions.sort_by(|a, b| a.partition.cmp(&b.partition));
    Directory { partitions, error: dir.error.map(|error| error.java_exception()), log_dir: dir.path }
}
