//! `kafka-leader-election`: elects leaders of partitions.

use std::collections::BTreeSet;
use std::process::ExitCode;

use client::admin::ElectionType;
use client::{Admin, TopicPartition};
use kafka_codec::ErrorCode;
use serde::Deserialize;

use super::options::{BROKER_LIST, Flag, HELP, OptionError, Options, VERSION};
use super::run::{self, Failure, Stop};

const FAILED: &str = "org.apache.kafka.tools.AdminCommandFailedException";
const OPERATION: &str = "org.apache.kafka.tools.AdminOperationException";
/// Limit of the whole election unless the properties say otherwise.
const TIMEOUT_MS: u32 = 30_000;

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    Flag::text(
        "bootstrap-server",
        "host:port",
        "A hostname and port for the broker to connect to, in the form host:port. Multiple comma separated URLs can be \
         given. REQUIRED.",
    ),
    Flag::text(
        "admin.config",
        "config file",
        "(DEPRECATED) Configuration properties files to pass to the admin client. This option will be removed in a \
         future version. Use --command-config instead.",
    ),
    Flag::text("command-config", "Config file", "Config properties file to pass to the admin client."),
    Flag::text(
        "path-to-json-file",
        "Path to JSON file",
        "The JSON file with the list  of partition for which leader elections should be performed. This is an example \
         format. \n{\"partitions\":\n\t[{\"topic\": \"foo\", \"partition\": 1},\n\t {\"topic\": \"foobar\", \
         \"partition\": 2}]\n}\nNot allowed if --all-topic-partitions or --topic flags are specified.",
    ),
    Flag::text(
        "topic",
        "topic name",
        "Name of topic for which to perform an election. Not allowed if --path-to-json-file or --all-topic-partitions \
         is specified.",
    ),
    Flag::integer(
        "partition",
        "partition id",
        "Partition id for which to perform an election. REQUIRED if --topic is specified.",
    ),
    Flag::switch(
        "all-topic-partitions",
        "Perform election on all of the eligible topic partitions based on the type of election (see the \
         --election-type flag). Not allowed if --topic or --path-to-json-file is specified.",
    ),
    Flag::untyped(
        "election-type",
        "[PREFERRED,UNCLEAN]: election type",
        "Type of election to attempt. Possible values are \"preferred\" for preferred leader election or \"unclean\" \
         for unclean leader election. If preferred election is selection, the election is only performed if the \
         current leader is not the preferred leader for the topic partition. If unclean election is selected, the \
         election is only performed if there are no leader for the topic partition. REQUIRED.",
    ),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => elect(&options).await,
        Err(error) => Err(error.into()),
    };
    run::finish(outcome, FLAGS, run::trace)
}

/// Runs the tool under the name it had before there were kinds of elections: preferred leaders, of all partitions
/// unless a file names some.
pub async fn main_of_older_name(args: &[String]) -> ExitCode {
    let mut now = args.to_vec();
    now.extend(["--election-type".to_owned(), "preferred".to_owned()]);
    if !args.iter().any(|arg| arg.starts_with("--path-to-json-file")) {
        now.push("--all-topic-partitions".to_owned());
    }
    main(&now).await
}

fn failed(message: impl Into<String>) -> Stop {
    Failure::new(FAILED, message).into()
}

fn check(options: &Options) -> Result<(), Stop> {
    let mut missing = Vec::new();
    if !run::has_bootstrap_server(options) {
        missing.push("bootstrap-server");
    }
    if !options.has("election-type") {
        missing.push("election-type");
    }
    if !missing.is_empty() {
        return Err(failed(format!("Missing required option(s): {}", missing.join(", "))));
    }
    run::exclude(options, "admin.config", &["command-config"])?;
    let exclusive = ["topic", "all-topic-partitions", "path-to-json-file"];
    if options.count(&exclusive) != 1 {
        let list = exclusive.join(", ");
        return Err(failed(format!("One and only one of the following options is required: {list}")));
    }
    match (options.has("topic"), options.has("partition")) {
        (true, false) => Err(failed("Missing required option(s): partition")),
        (false, true) => Err(failed("Option partition is only allowed if topic is used")),
        _ => Ok(()),
    }
}

async fn elect(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are \
         preferred replicas and unclean replicas.",
        "kafka-leader-election --bootstrap-server localhost:9092 --election-type preferred --all-topic-partitions",
    )?;
    check(options)?;
    let text = options.value("election-type")?.unwrap_or_default();
    let (election, name) = match text.to_lowercase().as_str() {
        "preferred" => (ElectionType::Preferred, "PREFERRED"),
        "unclean" => (ElectionType::Unclean, "UNCLEAN"),
        _ => return Err(OptionError::BadArgument("election-type", text.to_owned()).into()),
    };
    let partitions = match (options.value("path-to-json-file")?, options.value("topic")?) {
        (Some(path), _) => Some(from_file(path)?),
        (None, Some(topic)) => {
            let partition = options.number("partition")?.unwrap_or_default();
            Some(vec![TopicPartition::new(topic, partition)])
        }
        (None, None) => None,
    };
    let config = match options.value("admin.config")? {
        Some(config) => {
            println!(
                "Option --admin.config has been deprecated and will be removed in a future version. Use \
                 --command-config instead."
            );
            Some(config)
        }
        None => options.value("command-config")?,
    };
    let mut properties = config.map(run::load_properties).transpose()?.unwrap_or_default();
    properties.insert("bootstrap.servers".to_owned(), run::bootstrap_server(options)?.unwrap_or_default());
    properties.entry("default.api.timeout.ms".to_owned()).or_insert_with(|| TIMEOUT_MS.to_string());
    properties.entry("request.timeout.ms".to_owned()).or_insert_with(|| (TIMEOUT_MS / 2).to_string());
    let admin = Admin::new(client::AdminConfig::from_properties(properties)?)?;
    let outcomes = admin.elect_leaders(election, partitions.as_deref()).await;
    admin.close().await;
    let outcomes = outcomes.map_err(|error| {
        let said = match &error {
            client::Error::Timeout(_) => "Timeout waiting for election results",
            error if error.code() == Some(ErrorCode::ClusterAuthorizationFailed) => {
                "Not authorized to perform leader election"
            }
            _ => return Failure::execution(error).wrapped_in("java.lang.RuntimeException"),
        };
        println!("{said}");
        Failure::new(FAILED, said)
    })?;
    report(name, outcomes)
}

fn report(election: &str, outcomes: Vec<(TopicPartition, client::Result<()>)>) -> Result<(), Stop> {
    let (mut elected, mut not_needed, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (partition, outcome) in outcomes {
        match outcome {
            Ok(()) => elected.push(partition.to_string()),
            Err(error) if error.code() == Some(ErrorCode::ElectionNotNeeded) => {
                not_needed.push(partition.to_string());
            }
            Err(error) => failures.push((partition, Failure::from(error))),
        }
    }
    if !elected.is_empty() {
        println!("Successfully completed leader election ({election}) for partitions {}", elected.join(", "));
    }
    if !not_needed.is_empty() {
        println!("Valid replica already elected for partitions {}", not_needed.join(", "));
    }
    for (partition, failure) in &failures {
        println!("Error completing leader election ({election}) for partition: {partition}: {failure}");
    }
    match failures.len() {
        0 => Ok(()),
        count => Err(failed(format!("{count} replica(s) could not be elected"))),
    }
}

#[derive(Deserialize)]
struct File {
    partitions: Option<Vec<Partition>>,
}

#[derive(Deserialize)]
struct Partition {
    topic: String,
    partition: i32,
}

fn from_file(path: &str) -> Result<Vec<TopicPartition>, Failure> {
    let unreadable = |_| {
        Failure::new("java.lang.RuntimeException", format!("java.io.IOException: Unable to read file {path}"))
    };
    parse(&std::fs::read_to_string(path).map_err(unreadable)?)
}

fn parse(text: &str) -> Result<Vec<TopicPartition>, Failure> {
    let file: File = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Failure::new("java.lang.RuntimeException", error.to_string()),
        _ => Failure::new(OPERATION, "Replica election data is empty"),
    })?;
    let missing = || Failure::new(OPERATION, "Replica election data is missing \"partitions\" field");
    let partitions = file.partitions.ok_or_else(missing)?;
    let list: Vec<_> = partitions.into_iter().map(|p| TopicPartition::new(p.topic, p.partition)).collect();
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<_> = list.iter().filter(|p| !seen.insert(*p)).map(ToString::to_string).collect();
    if repeated.is_empty() {
        return Ok(list);
    }
    let repeated: Vec<_> = repeated.into_iter().collect();
    Err(Failure::new(
        OPERATION,
        format!("Replica election data contains duplicate partitions: [{}]", repeated.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_name_partitions() {
        let of =
            |text: &str| parse(text).map(|l| l.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        let message = |text: &str| of(text).map_err(|e| e.message);
        assert_eq!(
            message(r#"{"partitions":[{"topic":"a","partition":1},{"topic":"b","partition":0}]}"#),
            Ok("a-1 b-0".into())
        );
        assert_eq!(message("{}"), Err("Replica election data is missing \"partitions\" field".into()));
        assert_eq!(message("nothing"), Err("Replica election data is empty".into()));
        assert_eq!(
            message(r#"{"partitions":[{"topic":"a","partition":1},{"topic":"a","partition":1}]}"#),
            Err("Replica election data contains duplicate partitions: [a-1]".into())
        );
    }
}
