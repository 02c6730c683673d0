//! `kafka-consumer-groups`: lists, describes, resets and deletes consumer groups.

mod describe;
pub(super) mod offsets;
mod options;
mod plan_file;
pub(super) mod reset;

use std::collections::BTreeMap;
use std::process::ExitCode;

use client::admin::{GroupListing, ListGroupsOptions};
use client::{Admin, BrokerError, Error, TopicPartition};
use kafka_codec::ErrorCode;

use super::options::Options;
use super::run::{self, Failure, Stop};

const ACTIONS: [&str; 6] =
    ["list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"];
/// States of consumer groups by Kafka's names.
const STATES: [&str; 7] =
    ["Assigning", "CompletingRebalance", "Dead", "Empty", "PreparingRebalance", "Reconciling", "Stable"];
const TYPES: [&str; 2] = ["Classic", "Consumer"];
/// Column value for what is not known.
const MISSING: &str = "-";
const EXECUTION: &str = "java.util.concurrent.ExecutionException";
const RUNTIME: &str = "java.lang.RuntimeException";

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(options::FLAGS, args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("Exception in thread \"main\" {}", Failure::from(error));
            return ExitCode::FAILURE;
        }
    };
    let outcome = match options::check(&options).and_then(|()| exactly_one_action(&options)) {
        Ok(()) => act(&options).await,
        Err(stop) => Err(stop),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(message)) => run::usage(&options.usage(), &message),
        Err(Stop::Failed(failure)) if failure.exception == "java.lang.IllegalArgumentException" => {
            run::usage(&options.usage(), &failure.message)
        }
        // The original ends with 0 here, and scripts know it.
        Err(Stop::Failed(failure)) => {
            print_error(&format!("Executing consumer group command failed due to {}", failure.message));
            eprintln!("{failure}");
            ExitCode::SUCCESS
        }
    }
}

fn exactly_one_action(options: &Options) -> Result<(), Stop> {
    if options.count(&ACTIONS) == 1 {
        return Ok(());
    }
    let actions: Vec<_> = ACTIONS.iter().map(|action| format!("--{action}")).collect();
    Err(Stop::Usage(format!("Command must include exactly one action: {}", actions.join(", "))))
}

async fn act(options: &Options) -> Result<(), Stop> {
    if let Some(regex) = options.value("validate-regex")? {
        validate_regex(regex);
        return Ok(());
    }
    let admin = admin(options)?;
    let outcome = if options.has("list") {
        list(options, &admin).await
    } else if options.has("describe") {
        describe::describe(options, &admin).await
    } else if options.has("delete") {
        delete(options, &admin).await
    } else if options.has("reset-offsets") {
        reset::reset(options, &admin).await
    } else {
        delete_offsets(options, &admin).await
    };
    admin.close().await;
    outcome
}

/// An admin client whose calls end after `--timeout`.
fn admin(options: &Options) -> Result<Admin, Failure> {
    let timeout = options.number::<i64>("timeout")?.unwrap_or_default().max(1);
    let mut properties = match options.value("command-config")? {
        Some(path) => run::load_properties(path)?,
        None => BTreeMap::new(),
    };
    properties.insert("bootstrap.servers".to_owned(), run::bootstrap(options)?.unwrap_or_default());
    properties.insert("default.api.timeout.ms".to_owned(), timeout.to_string());
    properties.entry("request.timeout.ms".to_owned()).or_insert_with(|| timeout.min(30_000).to_string());
    let config = client::AdminConfig::from_properties(properties);
    config
        .map_err(Error::from)
        .and_then(Admin::new)
        .map_err(|error| Failure::kafka(format!("Failed to create new KafkaAdminClient: {error}")))
}

fn print_error(message: &str) {
    println!("\nError: {message}");
}

fn validate_regex(text: &str) {
    match regex::Regex::new(text) {
        Ok(_) => println!("The regular expression `{text}` is valid."),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            println!("The regular expression `{text}` is invalid: {reason}.");
        }
    }
}

/// Consumer groups (also those that only keep offsets), not other users of group membership.
async fn consumer_groups(admin: &Admin, filter: &ListGroupsOptions) -> Result<Vec<GroupListing>, Error> {
    let mut groups = admin.list_groups(filter).await?;
    groups.retain(|group| matches!(group.protocol_type.as_str(), "" | "consumer"));
    groups.retain_mut(|group| {
        // Brokers write the type in small letters.
        let kind = |name: &String| TYPES.iter().find(|known| known.eq_ignore_ascii_case(name));
        match group.group_type.as_ref().map(kind) {
            Some(Some(known)) => group.group_type = Some((*known).to_owned()),
            Some(None) => return false,
            None => {}
        }
        true
    });
    Ok(groups)
}

/// The groups named by `--group`, or all.
async fn chosen_groups(options: &Options, admin: &Admin) -> Result<Vec<String>, Failure> {
    if !options.has("all-groups") {
        let mut groups: Vec<String> = Vec::new();
        for group in options.values("group") {
            if !groups.iter().any(|known| known == group) {
                groups.push(group.to_owned());
            }
        }
        return Ok(groups);
    }
    let groups = consumer_groups(admin, &ListGroupsOptions::default()).await.map_err(in_runtime)?;
    Ok(groups.into_iter().map(|group| group.group_id).collect())
}

/// As Java wraps what a future tells.
fn in_execution(error: Error) -> Failure {
    Failure::from(error).wrapped_in(EXECUTION)
}

/// As Java wraps what a future tells where checked exceptions are not wanted.
fn in_runtime(error: Error) -> Failure {
    in_execution(error).wrapped_in(RUNTIME)
}

async fn list(options: &Options, admin: &Admin) -> Result<(), Stop> {
    let (with_type, with_state) = (options.has("type"), options.has("state"));
    if !with_type && !with_state {
        let groups = consumer_groups(admin, &ListGroupsOptions::default()).await.map_err(in_runtime)?;
        for group in groups {
            println!("{}", group.group_id);
        }
        return Ok(());
    }
    let types = pick(options.value("type")?, "types", &TYPES)?;
    let filter = ListGroupsOptions {
        states: pick(options.value("state")?, "state", &STATES)?,
        types: types.iter().map(|kind| kind.to_lowercase()).collect(),
    };
    let groups = consumer_groups(admin, &filter).await.map_err(in_execution)?;
    let width = groups.iter().map(|group| group.group_id.chars().count().max(15)).max().unwrap_or(15) + 10;
    let line = |group: &str, kind: &str, state: &str| {
        let mut line = format!("{group:<width$}");
        if with_type {
            line += &format!(" {kind:<20}");
        }
        if with_state {
            line += &format!(" {state:<20}");
        }
        println!("{line}");
    };
    line("GROUP", "TYPE", "STATE");
    for group in &groups {
        line(
            &group.group_id,
            group.group_type.as_deref().unwrap_or("Unknown"),
            group.state.as_deref().unwrap_or("Unknown"),
        );
    }
    Ok(())
}

/// Reads a comma-separated list of known names, in any case.
fn pick(list: Option<&str>, what: &str, known: &[&str]) -> Result<Vec<String>, Stop> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(Vec::new()) };
    let names: Option<Vec<String>> = list
        .split(',')
        .map(|name| {
            known
                .iter()
                .find(|known| known.eq_ignore_ascii_case(name.trim()))
                .map(|known| (*known).to_owned())
        })
        .collect();
    names.ok_or_else(|| {
        let plural = if what == "state" { "states" } else { what };
        Stop::Usage(format!("Invalid {what} list '{list}'. Valid {plural} are: {}", known.join(", ")))
    })
}

async fn delete(options: &Options, admin: &Admin) -> Result<(), Stop> {
    let groups = chosen_groups(options, admin).await?;
    let answers = admin.delete_groups(&groups).await.map_err(in_execution)?;
    let quoted: Vec<_> =
        answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(group, _)| format!("'{group}'")).collect();
    let deleted = quoted.join(", ");
    let failed: Vec<_> =
        answers.iter().filter_map(|(group, answer)| Some((group, answer.as_ref().err()?.clone()))).collect();
    if failed.is_empty() {
        println!("Deletion of requested consumer groups ({deleted}) was successful.");
        return Ok(());
    }
    print_error("Deletion of some consumer groups failed:");
    for (group, error) in failed {
        println!("* Group '{group}' could not be deleted due to: {}", Failure::from(error));
    }
    if !deleted.is_empty() {
        println!("\nThese consumer groups were deleted successfully: {deleted}");
    }
    Ok(())
}

async fn delete_offsets(options: &Options, admin: &Admin) -> Result<(), Stop> {
    let group = options.value("group")?.unwrap_or_default();
    let (mut rows, partitions) = partitions_of(&options.values("topic"), admin).await?;
    let mut first_error = None;
    match admin.delete_group_offsets(group, &partitions).await {
        Ok(answers) => {
            for (partition, answer) in answers {
                if let Err(error) = &answer {
                    first_error.get_or_insert_with(|| error.clone());
                }
                rows.push((partition.topic.to_string(), Some(partition.partition), answer));
            }
        }
        Err(error) => {
            first_error = Some(error.clone());
            rows.extend(
                partitions.iter().map(|p| (p.topic.to_string(), Some(p.partition), Err(error.clone()))),
            );
        }
    }
    match first_error.map(|error| (error.code(), error)) {
        None => println!("Request succeeded for deleting offsets from group {group}."),
        Some((
            Some(
                code @ (ErrorCode::InvalidGroupId
                | ErrorCode::GroupIdNotFound
                | ErrorCode::GroupAuthorizationFailed
                | ErrorCode::NonEmptyGroup),
            ),
            _,
        )) => print_error(BrokerError::new(code).text()),
        Some((
            Some(
                ErrorCode::GroupSubscribedToTopic
                | ErrorCode::TopicAuthorizationFailed
                | ErrorCode::UnknownTopicOrPartition,
            ),
            _,
        )) => print_error("Encountered some partition-level error, see the follow-up details."),
        Some((_, error)) => print_error(&format!("Encountered some unknown error: {error}")),
    }
    rows.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let width = rows.iter().map(|(topic, ..)| topic.chars().count()).max().unwrap_or_default().max(15);
    print!("\n{:<width$} {:<10} {:<15}", "TOPIC", "PARTITION", "STATUS");
    for (topic, partition, answer) in rows {
        let partition = partition.map_or_else(|| MISSING.to_owned(), |partition| partition.to_string());
        let status = match answer {
            Ok(()) => "Successful".to_owned(),
            Err(error) => format!("Error: {}", Failure::from(error)),
        };
        print!("\n{topic:<width$} {partition:<10} {status:<15}");
    }
    println!();
    Ok(())
}

type Row = (String, Option<i32>, Result<(), Error>);

/// The partitions that `topics` (`name` or `name:0,1`) mean, and a row for each topic that does not exist.
async fn partitions_of(topics: &[&str], admin: &Admin) -> Result<(Vec<Row>, Vec<TopicPartition>), Failure> {
    let mut partitions = Vec::new();
    let mut whole: Vec<String> = Vec::new();
    for topic in topics {
        if topic.contains(':') {
            partitions.extend(offsets::parse_partitions(topic)?);
        } else {
            whole.push((*topic).to_owned());
        }
    }
    let mut rows = Vec::new();
    if !whole.is_empty() {
        for (topic, described) in admin.describe_topics(&whole).await.map_err(in_execution)? {
            match described {
                Ok(described) => partitions.extend(offsets::all_partitions(&described)),
                Err(error) => rows.push((topic, None, Err(error))),
            }
        }
    }
    partitions.sort();
    partitions.dedup();
    Ok((rows, partitions))
}
