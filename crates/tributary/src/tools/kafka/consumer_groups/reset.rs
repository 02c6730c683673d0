//! `--reset-offsets`: chooses new offsets, shows them, and sets them with `--execute`.

use std::collections::BTreeMap;

use client::admin::OffsetSpec;
use client::{Admin, OffsetAndMetadata, TopicPartition};
use kafka_codec::ErrorCode;

use super::super::calendar;
use super::super::options::Options;
use super::super::run::{self, Failure, Stop};
use super::offsets::{self, Offsets};
use super::options::SCENARIOS;
use super::{RUNTIME, chosen_groups, in_execution, in_runtime, plan_file, print_error};

/// Resets, and prints the new offsets.
pub async fn reset(options: &Options, admin: &Admin) -> Result<(), Stop> {
    let groups = chosen_groups(options, admin).await?;
    let mut result: BTreeMap<String, Offsets> = BTreeMap::new();
    for (group, described) in admin.describe_groups(&groups).await.map_err(in_execution)? {
        let inactive = match described {
            Ok(described) if matches!(described.state.as_str(), "Empty" | "Dead") => true,
            Ok(described) => {
                print_error(&format!(
                    "Assignments can only be reset if the group '{group}' is inactive, but the current state is {}.",
                    described.state
                ));
                false
            }
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => true,
            Err(error) => return Err(in_runtime(error).into()),
        };
        let offsets = if inactive { reset_group(options, admin, &group).await? } else { Offsets::new() };
        result.insert(group, offsets);
    }
    if options.has("export") {
        let several = options.values("group").len() != 1;
        let lines: String = result
            .iter()
            .flat_map(|(group, offsets)| {
                offsets.iter().map(move |(partition, offset)| {
                    plan_file::line(several.then_some(group.as_str()), partition, *offset)
                })
            })
            .collect();
        println!("{lines}");
    } else {
        print_offsets(&result);
    }
    Ok(())
}

/// Prints new offsets as a table.
pub fn print_offsets(result: &BTreeMap<String, Offsets>) {
    let widest = |names: &mut dyn Iterator<Item = &str>| {
        names.map(|name| name.chars().count()).max().unwrap_or(0).max(15)
    };
    let group_width = widest(&mut result.keys().map(String::as_str));
    let topic_width =
        widest(&mut result.values().flat_map(|offsets| offsets.keys().map(|partition| &*partition.topic)));
    let line = |group: &str, topic: &str, partition: &str, offset: &str| {
        print!("\n{group:<group_width$} {topic:<topic_width$} {partition:<10} {offset}");
    };
    if !result.is_empty() {
        line("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
    }
    for (group, offsets) in result {
        for (partition, offset) in offsets {
            line(group, &partition.topic, &partition.partition.to_string(), &offset.to_string());
        }
    }
    println!();
}

async fn reset_group(options: &Options, admin: &Admin, group: &str) -> Result<Offsets, Stop> {
    let partitions = partitions_to_reset(options, admin, group).await?;
    check_partitions(admin, &partitions).await?;
    let offsets = new_offsets(options, admin, group, partitions).await?;
    if options.has("execute") && !offsets.is_empty() {
        let commits: BTreeMap<_, _> = offsets
            .iter()
            .map(|(partition, offset)| (partition.clone(), OffsetAndMetadata::new(*offset)))
            .collect();
        for (_, answer) in admin.alter_group_offsets(group, &commits).await.map_err(Failure::from)? {
            answer.map_err(Failure::from)?;
        }
    }
    Ok(offsets)
}

async fn partitions_to_reset(
    options: &Options,
    admin: &Admin,
    group: &str,
) -> Result<Vec<TopicPartition>, Stop> {
    if options.has("all-topics") {
        return Ok(offsets::committed(admin, group).await?.into_keys().collect());
    }
    if !options.has("topic") {
        if options.has("from-file") {
            return Ok(Vec::new());
        }
        return Err(Stop::Usage(
            "One of the reset scopes should be defined: --all-topics, --topic.".to_owned(),
        ));
    }
    partitions_of_topics(&options.values("topic"), admin).await
}

/// Partitions of arguments like `topic` and `topic:0,1,2`.
///
/// # Errors
/// The original's texts, and topics that cannot be described.
pub async fn partitions_of_topics(topics: &[&str], admin: &Admin) -> Result<Vec<TopicPartition>, Stop> {
    let mut partitions = Vec::new();
    let mut whole: Vec<String> = Vec::new();
    for topic in topics {
        if topic.contains(':') {
            partitions.extend(offsets::parse_partitions(topic)?);
        } else {
            whole.push((*topic).to_owned());
        }
    }
    if !whole.is_empty() {
        for (_, topic) in admin.describe_topics(&whole).await.map_err(Failure::from)? {
            partitions.extend(offsets::all_partitions(&topic.map_err(Failure::from)?));
        }
    }
    Ok(partitions)
}

/// Refuses partitions that do not exist or have no leader.
///
/// # Errors
/// The original's texts.
pub async fn check_partitions(admin: &Admin, partitions: &[TopicPartition]) -> Result<(), Failure> {
    let topics = offsets::describe_topics_of(admin, partitions).await?;
    let info = |wanted: &TopicPartition| {
        let topic = topics.iter().find(|topic| topic.name == *wanted.topic)?;
        topic.partitions.iter().find(|info| info.partition == wanted.partition)
    };
    let names = |list: Vec<&TopicPartition>| {
        let names: Vec<_> = list.iter().map(ToString::to_string).collect();
        names.join(",")
    };
    let absent: Vec<_> = partitions.iter().filter(|wanted| info(wanted).is_none()).collect();
    if !absent.is_empty() {
        return Err(Failure::new(
            "org.apache.kafka.common.errors.UnknownTopicOrPartitionException",
            format!("The partitions \"{}\" do not exist", names(absent)),
        ));
    }
    let leaderless: Vec<_> =
        partitions.iter().filter(|wanted| info(wanted).is_some_and(|info| info.leader.is_none())).collect();
    if !leaderless.is_empty() {
        return Err(Failure::new(
            "org.apache.kafka.common.errors.LeaderNotAvailableException",
            format!("The partitions \"{}\" have no leader", names(leaderless)),
        ));
    }
    Ok(())
}

async fn new_offsets(
    options: &Options,
    admin: &Admin,
    group: &str,
    partitions: Vec<TopicPartition>,
) -> Result<Offsets, Stop> {
    if let Some(&offset) = options.values("to-offset").first() {
        let offset: i64 = offset
            .parse()
            .map_err(|_| super::super::options::OptionError::BadArgument("to-offset", offset.to_owned()))?;
        let wanted = partitions.into_iter().map(|partition| (partition, offset)).collect();
        return Ok(offsets::clamp(admin, wanted).await?);
    }
    if options.has("to-earliest") {
        return Ok(offsets::list(admin, &partitions, OffsetSpec::Earliest).await?);
    }
    if options.has("to-latest") {
        return Ok(offsets::list(admin, &partitions, OffsetSpec::Latest).await?);
    }
    if let Some(shift) = options.number::<i64>("shift-by")? {
        let committed = offsets::committed(admin, group).await?;
        let mut wanted = Offsets::new();
        for partition in partitions {
            let Some(current) = committed.get(&partition) else {
                return Err(Failure::illegal_argument(format!(
                    "Cannot shift offset for partition {partition} since there is no current committed offset"
                ))
                .into());
            };
            wanted.insert(partition, current.offset.saturating_add(shift));
        }
        return Ok(offsets::clamp(admin, wanted).await?);
    }
    if let Some(&datetime) = options.values("to-datetime").first() {
        let time_ms = calendar::parse_datetime(datetime)
            .map_err(|message| Failure::new("java.text.ParseException", message).wrapped_in(RUNTIME))?;
        return Ok(offsets::list_by_time(admin, &partitions, time_ms).await?);
    }
    if let Some(duration) = options.value("by-duration")? {
        let ms = calendar::parse_duration(duration)
            .map_err(|message| Failure::new("java.time.format.DateTimeParseException", message))?;
        return Ok(offsets::list_by_time(admin, &partitions, run::now_ms().saturating_sub(ms)).await?);
    }
    if let Some(&path) = options.values("from-file").first() {
        return Ok(from_file(options, admin, group, path).await?);
    }
    if options.has("to-current") {
        return Ok(current(admin, group, &partitions).await?);
    }
    let scenarios: Vec<_> = SCENARIOS.iter().map(|scenario| format!("[{scenario}]")).collect();
    Err(Stop::Usage(format!(
        "Option '[reset-offsets]' requires one of the following scenarios: [{}]",
        scenarios.join(", ")
    )))
}

async fn from_file(options: &Options, admin: &Admin, group: &str, path: &str) -> Result<Offsets, Failure> {
    let text = std::fs::read_to_string(path).map_err(|_| {
        Failure::new("java.io.IOException", format!("Unable to read file {path}")).wrapped_in(RUNTIME)
    })?;
    let groups = options.values("group");
    let only_group = match groups.as_slice() {
        [group] => Some(*group),
        _ => None,
    };
    match plan_file::parse(&text, only_group)?.remove(group) {
        Some(wanted) => offsets::clamp(admin, wanted).await,
        None => {
            print_error(&format!("No reset plan for group {group} found"));
            Ok(Offsets::new())
        }
    }
}

/// The committed offsets, and the end where there is none.
async fn current(admin: &Admin, group: &str, partitions: &[TopicPartition]) -> Result<Offsets, Failure> {
    let committed = offsets::committed(admin, group).await?;
    let (with, without): (Vec<_>, Vec<_>) =
        partitions.iter().cloned().partition(|partition| committed.contains_key(partition));
    let mut current = offsets::list(admin, &without, OffsetSpec::Latest).await?;
    for partition in with {
        if let Some(offset) = committed.get(&partition) {
            current.insert(partition, offset.offset);
        }
    }
    Ok(current)
}
