//! `kafka-storage`: identities of data directories.
//!
//! This broker makes and identifies its directories itself when it first starts; formatting one beforehand decides
//! the cluster's id.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use kafka_codec::Uuid;
use meta::MetaProperties;

use super::argparse::{Arg, Command, Group, Parsed, Parser};
use super::client_metrics::random_uuid;
use super::features;
use super::run::{self, Failure, Stop};

const TERSE: &str = "kafka.tools.TerseFailure";

const CONFIG: Arg = Arg::text(&["--config", "-c"], "The Kafka configuration file to use.").required();
const RELEASE: &str = "The release version to use for the initial feature settings. The minimum is 3.3-IV3; the default \
                       is 4.3-IV0";

const PARSER: Parser = Parser {
    prog: "kafka-storage",
    about: "The Kafka storage tool.",
    args: &[],
    groups: &[],
    commands: &[
        Command {
            name: "info",
            help: "Get information about the Kafka log directories on this node.",
            about: "",
            args: &[CONFIG],
            groups: &[],
        },
        Command {
            name: "format",
            help: "Format the Kafka log directories on this node.",
            about: "",
            args: &[
                CONFIG,
                Arg::text(&["--cluster-id", "-t"], "The cluster ID to use.").required(),
                Arg::text(
                    &["--add-scram", "-S"],
                    "A SCRAM_CREDENTIAL to add to the __cluster_metadata log e.g.\n\
                     'SCRAM-SHA-256=[name=alice,password=alice-secret]'\n\
                     'SCRAM-SHA-512=[name=alice,iterations=8192,salt=\"N3E=\",saltedpassword=\"YCE=\"]'",
                ),
                Arg::switch(
                    &["--ignore-formatted", "-g"],
                    "When this option is passed, the format command will skip over already formatted directories \
                     rather than failing.",
                ),
                Arg::text(&["--release-version", "-r"], RELEASE),
                Arg::text(
                    &["--feature", "-f"],
                    "The setting to use for a specific feature, in feature=level format. For example: \
                     `kraft.version=1`.",
                ),
                Arg::switch(
                    &["--standalone", "-s"],
                    "Used to initialize a controller as a single-node dynamic quorum. When setting this flag, the \
                     controller.quorum.voters config must not be set, and controller.quorum.bootstrap.servers is set \
                     instead.",
                )
                .group(0),
                Arg::switch(
                    &["--no-initial-controllers", "-N"],
                    "Used to initialize a server without specifying a dynamic quorum. When setting this flag, the \
                     controller.quorum.voters config should not be set, and controller.quorum.bootstrap.servers is set \
                     instead.",
                )
                .group(0),
                Arg::text(
                    &["--initial-controllers", "-I"],
                    "Used to initialize a server with the specified dynamic quorum. The argument is a comma-separated \
                     list of id@hostname:port:directory. The same values must be used to format all nodes. For \
                     example:\n0@example.com:8082:JEXY6aqzQY-32P5TStzaFg,1@example.com:8083:MvDxzVmcRsaTz33bUuRU6A,\
                     2@example.com:8084:07R5amHmR32VDA6jHkGbTA\n. When setting this flag, the controller.quorum.voters \
                     config must not be set, and controller.quorum.bootstrap.servers is set instead.",
                )
                .group(0),
            ],
            groups: &[Group::EITHER],
        },
        features::VERSION_MAPPING,
        features::FEATURE_DEPENDENCIES,
        Command { name: "random-uuid", help: "Print a random UUID.", about: "", args: &[], groups: &[] },
    ],
    title: "",
    metavar: "",
    tells_defaults: false,
    example: "kafka-storage format --cluster-id $(kafka-storage random-uuid) --config config/server.properties",
};

/// Runs the tool.
pub fn main(args: &[String]) -> ExitCode {
    let outcome = run::commands(&PARSER, args, 0).and_then(|parsed| match parsed.command {
        "info" => info(&directories(&parsed)?),
        "format" => format(&parsed),
        "version-mapping" => features::version_mapping(&parsed),
        "feature-dependencies" => features::dependencies(&parsed),
        _ => {
            println!("{}", random_uuid()?);
            Ok(())
        }
    });
    run::finish(outcome, &[], |failure| match failure.exception.as_str() {
        TERSE | features::TERSE => eprintln!("{}", failure.message),
        _ => eprintln!("Exception in thread \"main\" {failure}"),
    })
}

fn terse(message: impl Into<String>) -> Failure {
    Failure::new(TERSE, message)
}

/// `log.dirs` or `log.dir` of the configuration, and where metadata is kept.
fn directories(parsed: &Parsed) -> Result<BTreeSet<String>, Failure> {
    let properties = run::load_properties(parsed.text("--config").unwrap_or_default())?;
    let get = |name: &str| properties.get(name).map(String::as_str).filter(|value| !value.trim().is_empty());
    let dirs = get("log.dirs").or(get("log.dir")).unwrap_or("/tmp/kafka-logs");
    let all = dirs.split(',').chain(get("metadata.log.dir"));
    Ok(all.map(|dir| dir.trim().to_owned()).filter(|dir| !dir.is_empty()).collect())
}

fn info(directories: &BTreeSet<String>) -> Result<(), Stop> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let mut first: Option<MetaProperties> = None;
    for directory in directories {
        let path = Path::new(directory);
        if !path.is_dir() {
            let what = if path.exists() { "is not a directory" } else { "does not exist" };
            problems.push(format!("{directory} {what}"));
            continue;
        }
        found.push(directory);
        match MetaProperties::load(path) {
            Ok(None) => problems.push(format!("{directory} is not formatted.")),
            Err(error) => problems.push(format!("Error loading {directory}/meta.properties: {error}")),
            Ok(Some(properties)) => match &first {
                None => first = Some(properties),
                Some(known) if known.cluster_id != properties.cluster_id => {
                    problems.push("Mismatched cluster IDs between storage directories.".to_owned());
                }
                Some(known) if known.node_id != properties.node_id => {
                    problems.push("Mismatched node IDs between storage directories.".to_owned());
                }
                Some(_) => {}
            },
        }
    }
    if !found.is_empty() {
        println!("Found log {}:", if found.len() == 1 { "directory" } else { "directories" });
        found.iter().for_each(|directory| println!("  {directory}"));
        println!();
    }
    if let Some(MetaProperties { cluster_id, node_id, directory_id }) = first {
        let directory = match directory_id {
            Uuid::ZERO => String::new(),
            id => format!(", directory.id={id}"),
        };
        println!("Found metadata: {{cluster.id={cluster_id}{directory}, node.id={node_id}, version=1}}\n");
    }
    if problems.is_empty() {
        return Ok(());
    }
    println!("Found {}:", if problems.len() == 1 { "problem" } else { "problems" });
    problems.iter().for_each(|problem| println!("  {problem}"));
    println!();
    Err(Stop::Exit(1))
}

fn format(parsed: &Parsed) -> Result<(), Stop> {
    if parsed.has("--add-scram") || parsed.has("--feature") || parsed.has("--release-version") {
        return Err(terse(
            "This broker writes its metadata log itself when it first starts: --add-scram, --feature and \
             --release-version have nothing to write to here. Start it, then use kafka-configs and kafka-features.",
        )
        .into());
    }
    if parsed.has("--initial-controllers") {
        return Err(
            terse("One node is its own quorum: use --standalone instead of --initial-controllers.").into()
        );
    }
    let properties = run::load_properties(parsed.text("--config").unwrap_or_default())?;
    let node_id = match properties.get("node.id").or(properties.get("broker.id")) {
        Some(id) => id.trim().parse().map_err(|_| terse(format!("node.id {id} is not a number")))?,
        None => 1,
    };
    let cluster_id = parsed.text("--cluster-id").unwrap_or_default();
    let all = directories(parsed)?;
    let mut fresh = Vec::new();
    for directory in &all {
        match MetaProperties::load(Path::new(directory)).map_err(|error| terse(error.to_string()))? {
            None => fresh.push(directory),
            Some(_) if parsed.has("--ignore-formatted") => {}
            Some(_) => {
                return Err(terse(format!(
                    "Log directory {directory} is already formatted. Use --ignore-formatted to ignore this directory \
                     and format the others."
                ))
                .into());
            }
        }
    }
    if fresh.is_empty() {
        println!("All of the log directories are already formatted.");
    }
    for directory in fresh {
        let failed = |error: &dyn std::fmt::Display| terse(format!("Unable to format {directory}: {error}"));
        std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
        let identity =
            MetaProperties { cluster_id: cluster_id.to_owned(), node_id, directory_id: random_uuid()? };
        identity.store(Path::new(directory)).map_err(|error| failed(&error))?;
        println!("Formatting data directory {directory} with cluster.id {cluster_id}.");
    }
    Ok(())
}
