//! `kafka-share-groups`: lists, describes, resets and deletes share groups.

mod describe;
mod options;

use std::collections::BTreeMap;
use std::process::ExitCode;

use client::admin::{GroupListing, ListGroupsOptions, OffsetSpec};
use client::{Admin, Error, TopicPartition};
use kafka_codec::ErrorCode;

use super::calendar;
use super::consumer_groups::offsets::{self, Offsets};
use super::consumer_groups::reset;
use super::options::Options;
use super::run::{self, Failure, Stop};

/// States of share groups by Kafka's names.
const STATES: [&str; 3] = ["Empty", "Stable", "Dead"];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(options::FLAGS, args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("Exception in thread \"main\" {}", Failure::from(error));
            return ExitCode::FAILURE;
        }
    };
    let outcome = match options::check(&options) {
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
            print_error(&format!("Executing share group command failed due to {}", failure.message));
            eprintln!("{failure}");
            ExitCode::SUCCESS
        }
    }
}

async fn act(options: &Options) -> Result<(), Stop> {
    let admin = admin(options)?;
    let outcome = if options.has("list") {
        list(options, &admin).await
    } else if options.has("describe") {
        describe::describe(options, &admin).await
    } else if options.has("delete") {
        delete(options, &admin).await
    } else if options.has("reset-offsets") {
        reset_offsets(options, &admin).await
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
    let servers = options.value("bootstrap-server")?.unwrap_or_default();
    properties.insert("bootstrap.servers".to_owned(), servers.to_owned());
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

async fn share_groups(admin: &Admin, states: Vec<String>) -> Result<Vec<GroupListing>, Error> {
    let filter = ListGroupsOptions { states, types: vec!["share".to_owned()] };
    admin.list_groups(&filter).await
}

async fn all_groups(admin: &Admin) -> Result<Vec<GroupListing>, Failure> {
    let groups = share_groups(admin, Vec::new()).await;
    groups.map_err(|error| Failure::execution(error).wrapped_in("java.lang.RuntimeException"))
}

/// The groups named by `--group`, or all.
async fn chosen_groups(options: &Options, admin: &Admin) -> Result<Vec<String>, Failure> {
    if options.has("all-groups") {
        return Ok(all_groups(admin).await?.into_iter().map(|group| group.group_id).collect());
    }
    let mut groups: Vec<String> = Vec::new();
    for group in options.values("group") {
        if !groups.iter().any(|known| known == group) {
            groups.push(group.to_owned());
        }
    }
    Ok(groups)
}

async fn list(options: &Options, admin: &Admin) -> Result<(), Stop> {
    if !options.has("state") {
        for group in all_groups(admin).await? {
            println!("{}", group.group_id);
        }
        return Ok(());
    }
    let states = match options.value("state")?.filter(|list| !list.is_empty()) {
        None => Vec::new(),
        Some(list) => states(list)?,
    };
    let groups = share_groups(admin, states).await.map_err(Failure::execution)?;
    let width = groups.iter().map(|group| group.group_id.chars().count()).fold(15, usize::max);
    println!("{:<width$} STATE", "GROUP");
    for group in groups {
        println!("{:<width$} {}", group.group_id, group.state.as_deref().unwrap_or("Unknown"));
    }
    Ok(())
}

fn states(list: &str) -> Result<Vec<String>, Stop> {
    let known = |name: &str| STATES.into_iter().find(|known| known.eq_ignore_ascii_case(name.trim()));
    let states: Option<Vec<String>> = list.split(',').map(|name| known(name).map(str::to_owned)).collect();
    states.ok_or_else(|| {
        Stop::Usage(format!("Invalid state list '{list}'. Valid states are: {}", STATES.join(", ")))
    })
}

async fn delete(options: &Options, admin: &Admin) -> Result<(), Stop> {
    let known = all_groups(admin).await?;
    let mut failed: Vec<(String, Failure)> = Vec::new();
    let mut wanted = Vec::new();
    for group in chosen_groups(options, admin).await? {
        let state =
            known.iter().find(|listed| listed.group_id == group).map(|listed| listed.state.as_deref());
        let refusal = match state {
            None => Some(Failure::illegal_argument(format!("Group '{group}' is not a share group."))),
            Some(Some("Dead")) => Some(Failure::new(
                "java.lang.IllegalStateException",
                format!("Share group '{group}' group state is DEAD."),
            )),
            Some(Some("Empty") | None) => None,
            Some(Some(_)) => Some(Failure::new(
                "org.apache.kafka.common.errors.GroupNotEmptyException",
                format!("Share group '{group}' is not EMPTY."),
            )),
        };
        match refusal {
            Some(refusal) => failed.push((group, refusal)),
            None => wanted.push(group),
        }
    }
    let mut deleted = Vec::new();
    if !wanted.is_empty() {
        for (group, outcome) in admin.delete_groups(&wanted).await.map_err(Failure::execution)? {
            match outcome {
                Ok(()) => deleted.push(format!("'{group}'")),
                Err(error) => failed.push((group, error.into())),
            }
        }
    }
    let deleted = deleted.join(", ");
    if failed.is_empty() {
        println!("Deletion of requested share groups ({deleted}) was successful.");
        return Ok(());
    }
    print_error("Deletion of some share groups failed:");
    for (group, failure) in failed {
        println!("* Group '{group}' could not be deleted due to: {failure}");
    }
    if !deleted.is_empty() {
        println!("\nThese share groups were deleted successfully: {deleted}");
    }
    Ok(())
}

async fn reset_offsets(options: &Options, admin: &Admin) -> Result<(), Stop> {
    let group = options.value("group")?.unwrap_or_default().to_owned();
    let described = admin.describe_share_groups(std::slice::from_ref(&group)).await.map_err(Failure::from)?;
    for (_, described) in described {
        match described {
            Ok(described) if matches!(described.state.as_str(), "Empty" | "Dead") => {}
            Ok(_) => {
                eprintln!("Share group '{group}' is not empty.");
                return Err(Stop::Exit(1));
            }
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {}
            Err(error) => {
                eprintln!("{error}");
                return Err(Stop::Exit(1));
            }
        }
    }
    let partitions: Vec<TopicPartition> = if options.has("topic") {
        reset::partitions_of_topics(&options.values("topic"), admin).await?
    } else {
        admin.list_share_group_offsets(&group).await.map_err(Failure::from)?.into_keys().collect()
    };
    reset::check_partitions(admin, &partitions).await?;
    let offsets = new_offsets(options, admin, &partitions).await?;
    if options.has("execute") && !offsets.is_empty() {
        for (_, outcome) in admin.alter_share_group_offsets(&group, &offsets).await.map_err(Failure::from)? {
            outcome.map_err(Failure::from)?;
        }
    }
    reset::print_offsets(&BTreeMap::from([(group, offsets)]));
    Ok(())
}

async fn new_offsets(
    options: &Options,
    admin: &Admin,
    partitions: &[TopicPartition],
) -> Result<Offsets, Stop> {
    if options.has("to-earliest") {
        return Ok(offsets::list(admin, partitions, OffsetSpec::Earliest).await?);
    }
    if options.has("to-latest") {
        return Ok(offsets::list(admin, partitions, OffsetSpec::Latest).await?);
    }
    let datetime = options.values("to-datetime").first().copied().unwrap_or_default();
    let time_ms = calendar::parse_datetime(datetime).map_err(|message| {
        Failure::new("java.text.ParseException", message).wrapped_in("java.lang.RuntimeException")
    })?;
    Ok(offsets::list_by_time(admin, partitions, time_ms).await?)
}

async fn delete_offsets(options: &Options, admin: &Admin) -> Result<(), Stop> {
    let group = options.value("group")?.unwrap_or_default();
    let mut topics: Vec<String> = options.values("topic").into_iter().map(str::to_owned).collect();
    topics.sort();
    topics.dedup();
    let (whole, outcomes) = match admin.delete_share_group_offsets(group, &topics).await {
        Ok(outcomes) => {
            let first = outcomes.iter().find_map(|(_, outcome)| outcome.as_ref().err().cloned());
            (first, outcomes)
        }
        Err(error) => {
            let all = topics.into_iter().map(|topic| (topic, Err(error.clone()))).collect();
            (Some(error), all)
        }
    };
    match whole.map(|error| (error.code(), error)) {
        None | Some((Some(ErrorCode::TopicAuthorizationFailed | ErrorCode::UnknownTopicOrPartition), _)) => {}
        Some((
            Some(
                ErrorCode::InvalidGroupId
                | ErrorCode::GroupIdNotFound
                | ErrorCode::GroupAuthorizationFailed
                | ErrorCode::NonEmptyGroup,
            ),
            error,
        )) => print_error(&error.to_string()),
        Some((_, error)) => {
            print_error(&format!("Encounter some unknown error: {}", Failure::from(error)));
        }
    }
    let width = outcomes.iter().map(|(topic, _)| topic.chars().count()).fold(15, usize::max);
    if !outcomes.is_empty() {
        print!("\n{:<width$} STATUS", "TOPIC");
    }
    for (topic, outcome) in outcomes {
        let status = outcome.err().map_or_else(|| "Successful".to_owned(), |error| format!("Error: {error}"));
        print!("\n{topic:<width$} {status}");
    }
    println!();
    Ok(())
}
