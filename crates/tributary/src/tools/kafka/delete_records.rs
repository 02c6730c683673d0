//! `kafka-delete-records`: drops the records of partitions before given offsets.

use std::collections::BTreeSet;
use std::process::ExitCode;

use client::{Admin, TopicPartition};
use serde::Deserialize;

use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

const OPERATION: &str = "org.apache.kafka.tools.AdminOperationException";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    Flag::text(
        "bootstrap-server",
        "server(s) to use for bootstrapping",
        "REQUIRED: The server to connect to.",
    ),
    Flag::text(
        "offset-json-file",
        "Offset json file path",
        "REQUIRED: The JSON file with offset per partition. The format to use is:\n{\"partitions\":\n  [{\"topic\": \
         \"foo\", \"partition\": 1, \"offset\": 1}],\n \"version\":1\n}",
    ),
    Flag::text(
        "command-config",
        "command config property file path",
        "A property file containing configs to be passed to Admin Client.",
    ),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => delete(&options).await,
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(message)) => run::usage(&super::usage::render(FLAGS), &message),
        Err(Stop::Failed(failure)) => {
            eprintln!("{}\n{failure}\n", failure.message);
            ExitCode::FAILURE
        }
    }
}

/// The file of `--offset-json-file`.
#[derive(Deserialize)]
struct File {
    #[serde(default = "first_version")]
    version: i32,
    partitions: Option<Vec<Before>>,
}

#[derive(Deserialize)]
struct Before {
    topic: String,
    partition: i32,
    offset: i64,
}

fn first_version() -> i32 {
    1
}

async fn delete(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool helps to delete records of the given partitions down to the specified offset.",
        "kafka-delete-records --bootstrap-server localhost:9092 --offset-json-file before.json",
    )?;
    if !run::has_bootstrap_server(options) {
        run::require(options, &["bootstrap-server"])?;
    }
    run::require(options, &["offset-json-file"])?;
    let mut properties = match options.value("command-config")? {
        Some(path) => run::load_properties(path)?,
        None => Default::default(),
    };
    properties.insert("bootstrap.servers".to_owned(), run::bootstrap_server(options)?.unwrap_or_default());
    let admin = Admin::new(client::AdminConfig::from_properties(properties)?)?;
    let path = options.value("offset-json-file")?.unwrap_or_default();
    let text = std::fs::read_to_string(path)
        .map_err(|_| Failure::new("java.io.IOException", format!("Unable to read file {path}")))?;
    let before = parse(&text)?;
    println!("Executing records delete operation");
    let answers = admin.delete_records(&before).await;
    admin.close().await;
    let answers = answers.map_err(Failure::from)?;
    println!("Records delete operation completed:");
    for (partition, answer) in answers {
        match answer {
            Ok(low_watermark) => println!("partition: {partition}\tlow_watermark: {low_watermark}"),
            Err(error) => println!("partition: {partition}\terror: {}", Failure::from(error)),
        }
    }
    Ok(())
}

/// Offsets before which records go, by partition.
fn parse(text: &str) -> Result<Vec<(TopicPartition, i64)>, Failure> {
    let file: File = serde_json::from_str(text)
        .map_err(|error| Failure::new(OPERATION, format!("The input string is not a valid JSON: {error}")))?;
    if file.version != 1 {
        return Err(Failure::new(OPERATION, format!("Not supported version field value {}", file.version)));
    }
    let partitions = file.partitions.ok_or_else(|| Failure::new(OPERATION, "Missing partitions field"))?;
    let before: Vec<_> = partitions
        .into_iter()
        .map(|one| (TopicPartition::new(one.topic, one.partition), one.offset))
        .collect();
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<_> = before
        .iter()
        .filter(|(partition, _)| !seen.insert(partition))
        .map(|(partition, _)| partition.to_string())
        .collect();
    if repeated.is_empty() {
        return Ok(before);
    }
    let repeated: Vec<_> = repeated.into_iter().collect();
    Err(Failure::new(
        "org.apache.kafka.tools.AdminCommandFailedException",
        format!("Offset json file contains duplicate topic partitions: {}", repeated.join(",")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_name_partitions_and_offsets() {
        let of = |text: &str| {
            parse(text)
                .map(|list| list.iter().map(|(p, o)| format!("{p}<{o}")).collect::<Vec<_>>().join(" "))
                .map_err(|e| e.message.split(':').next().unwrap_or_default().to_owned())
        };
        assert_eq!(
            of(
                r#"{"partitions":[{"topic":"a","partition":1,"offset":5},{"topic":"b","partition":0,"offset":-1}],"version":1}"#
            ),
            Ok("a-1<5 b-0<-1".into())
        );
        assert_eq!(of(r#"{"partitions":[]}"#), Ok(String::new()));
        assert_eq!(of(r#"{"version":2,"partitions":[]}"#), Err("Not supported version field value 2".into()));
        assert_eq!(of("{}"), Err("Missing partitions field".into()));
        assert_eq!(of("nothing"), Err("The input string is not a valid JSON".into()));
        assert_eq!(
            parse(r#"{"partitions":[{"topic":"a","partition":1,"offset":5},{"topic":"a","partition":1,"offset":6}]}"#)
                .map_err(|e| e.message),
            Err("Offset json file contains duplicate topic partitions: a-1".into())
        );
    }
}
