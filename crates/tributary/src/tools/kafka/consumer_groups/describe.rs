//! `--describe`: offsets and lag, members, or state of groups.

use std::collections::{BTreeMap, BTreeSet};

use client::admin::{GroupDescription, MemberDescription, OffsetSpec};
use client::{Admin, OffsetAndMetadata, TopicPartition};

use super::super::options::Options;
use super::super::run::{Failure, Stop};
use super::{MISSING, chosen_groups, in_execution, offsets, print_error};

/// Columns are at least this wide.
const COLUMN_MIN: usize = 15;

/// Describes the chosen groups, sorted by name.
pub async fn describe(options: &Options, admin: &Admin) -> Result<(), Stop> {
    let names = chosen_groups(options, admin).await?;
    let mut groups: BTreeMap<String, GroupDescription> = BTreeMap::new();
    if !names.is_empty() {
        for (name, group) in admin.describe_groups(&names).await.map_err(in_execution)? {
            groups.insert(name, group.map_err(in_execution)?);
        }
    }
    let verbose = options.has("verbose");
    if options.has("members") {
        for group in groups.values() {
            print_members(group, verbose)?;
        }
    } else if options.has("state") {
        for group in groups.values() {
            print_state(group, verbose)?;
        }
    } else {
        let mut described = Vec::with_capacity(groups.len());
        for group in groups.values() {
            described.push((group, offset_rows(admin, group).await?));
        }
        for (group, rows) in described {
            print_offsets(group, &rows, verbose)?;
        }
    }
    Ok(())
}

/// Says what the state means for the table; whether there is one to print.
fn announce(group: &GroupDescription, rows: usize) -> Result<bool, Failure> {
    let name = &group.group_id;
    match group.state.as_str() {
        "Dead" => print_error(&format!("Consumer group '{name}' does not exist.")),
        "Empty" => eprintln!("\nConsumer group '{name}' has no active members."),
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            eprintln!("\nWarning: Consumer group '{name}' is rebalancing.");
        }
        "Stable" => {}
        other => {
            return Err(Failure::kafka(format!(
                "Expected a valid consumer group state, but found '{other}'."
            )));
        }
    }
    Ok(group.state != "Dead" && rows > 0)
}

/// One line of the offsets table.
struct OffsetRow {
    partition: TopicPartition,
    committed: Option<OffsetAndMetadata>,
    end: Option<i64>,
    consumer_id: String,
    host: String,
    client_id: String,
}

/// The partitions of members, busiest member first, then those that nobody has.
async fn offset_rows(admin: &Admin, group: &GroupDescription) -> Result<Vec<OffsetRow>, Failure> {
    let committed = offsets::committed(admin, &group.group_id).await?;
    let mut members: Vec<&MemberDescription> =
        group.members.iter().filter(|member| !member.assignment.is_empty()).collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let mut assigned = BTreeSet::new();
    let mut rows = Vec::new();
    for member in members {
        let mut partitions = member.assignment.clone();
        partitions.sort();
        assigned.extend(partitions.iter().cloned());
        let ends = ends(admin, &partitions).await?;
        rows.extend(partitions.into_iter().map(|partition| OffsetRow {
            committed: committed.get(&partition).cloned(),
            end: ends.get(&partition).copied(),
            consumer_id: member.member_id.clone(),
            host: member.host.clone(),
            client_id: member.client_id.clone(),
            partition,
        }));
    }
    let unassigned: Vec<_> =
        committed.keys().filter(|partition| !assigned.contains(*partition)).cloned().collect();
    let ends = ends(admin, &unassigned).await?;
    rows.extend(unassigned.into_iter().map(|partition| OffsetRow {
        committed: committed.get(&partition).cloned(),
        end: ends.get(&partition).copied(),
        consumer_id: MISSING.to_owned(),
        host: MISSING.to_owned(),
        client_id: MISSING.to_owned(),
        partition,
    }));
    Ok(rows)
}

/// End offsets of those partitions that have a leader.
async fn ends(admin: &Admin, partitions: &[TopicPartition]) -> Result<offsets::Offsets, Failure> {
    let topics = offsets::describe_topics_of(admin, partitions).await?;
    let leaderless: BTreeSet<(&str, i32)> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |info| (topic, info)))
        .filter(|(_, info)| info.leader.is_none())
        .map(|(topic, info)| (topic.name.as_str(), info.partition))
        .collect();
    let led: Vec<_> = partitions
        .iter()
        .filter(|partition| !leaderless.contains(&(&*partition.topic, partition.partition)))
        .cloned()
        .collect();
    offsets::list(admin, &led, OffsetSpec::Latest).await
}

fn width<'a>(texts: impl Iterator<Item = &'a str>, least: usize) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or_default().max(least)
}

fn or_missing<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| MISSING.to_owned(), |value| value.to_string())
}

fn print_offsets(group: &GroupDescription, rows: &[OffsetRow], verbose: bool) -> Result<(), Failure> {
    if !announce(group, rows.len())? {
        return Ok(());
    }
    let group_width = width(std::iter::once(group.group_id.as_str()), COLUMN_MIN);
    let topic_width = width(rows.iter().map(|row| &*row.partition.topic), COLUMN_MIN);
    let consumer_width = width(rows.iter().map(|row| row.consumer_id.as_str()), COLUMN_MIN);
    let host_width = width(rows.iter().map(|row| row.host.as_str()), COLUMN_MIN);
    let line = |[name, topic, partition, epoch, offset, end, lag, consumer, host, client]: [&str; 10]| {
        let epoch = if verbose { format!("{epoch:<15} ") } else { String::new() };
        print!(
            "\n{name:<group_width$} {topic:<topic_width$} {partition:<10} {epoch}{offset:<15} {end:<15} {lag:<15} \
             {consumer:<consumer_width$} {host:<host_width$} {client}"
        );
    };
    line([
        "GROUP",
        "TOPIC",
        "PARTITION",
        "LEADER-EPOCH",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ]);
    for row in rows {
        let offset = row.committed.as_ref().map(|committed| committed.offset);
        let epoch = row.committed.as_ref().and_then(|committed| committed.leader_epoch);
        let lag = offset.filter(|offset| *offset != -1).zip(row.end).map(|(offset, end)| end - offset);
        line([
            &group.group_id,
            &row.partition.topic,
            &row.partition.partition.to_string(),
            &or_missing(epoch),
            &or_missing(offset),
            &or_missing(row.end),
            &or_missing(lag),
            &row.consumer_id,
            &row.host,
            &row.client_id,
        ]);
    }
    println!();
    Ok(())
}

fn print_members(group: &GroupDescription, verbose: bool) -> Result<(), Failure> {
    // Without members the header stands alone.
    let members: &[MemberDescription] =
        if announce(group, group.members.len())? { &group.members } else { &[] };
    let with_instance =
        members.iter().any(|member| member.group_instance_id.as_deref().is_some_and(|id| !id.is_empty()));
    let current: Vec<_> = members.iter().map(|member| assignment_text(&member.assignment)).collect();
    let target: Vec<_> = members
        .iter()
        .map(|member| assignment_text(member.target_assignment.as_deref().unwrap_or_default()))
        .collect();
    let instance = |member: &MemberDescription| member.group_instance_id.clone().unwrap_or_default();
    let instances: Vec<_> = members.iter().map(instance).collect();

    let group_width = match members {
        [] => COLUMN_MIN,
        _ => width(std::iter::once(group.group_id.as_str()), COLUMN_MIN),
    };
    let consumer_width = width(members.iter().map(|member| member.member_id.as_str()), COLUMN_MIN);
    let instance_width = width(instances.iter().map(String::as_str), 17);
    let host_width = width(members.iter().map(|member| member.host.as_str()), COLUMN_MIN);
    let client_width = width(members.iter().map(|member| member.client_id.as_str()), COLUMN_MIN);
    let current_width = width(current.iter().map(String::as_str), 20);
    let target_width = width(target.iter().map(String::as_str), 20);

    let line = |[name, consumer, instance, host, client, partitions]: [&str; 6],
                [epoch, has, wanted_at, wants]: [&str; 4]| {
        let instance = if with_instance { format!("{instance:<instance_width$} ") } else { String::new() };
        print!(
            "{name:<group_width$} {consumer:<consumer_width$} {instance}{host:<host_width$} {client:<client_width$} \
             {partitions:<15} "
        );
        if verbose {
            print!("{epoch:<15} {has:<current_width$} {wanted_at:<15} {wants:<target_width$}");
        }
        println!();
    };
    println!();
    line(
        ["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS"],
        ["CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT"],
    );
    let texts = instances.iter().zip(&current).zip(&target);
    for (member, ((instance, current), target)) in members.iter().zip(texts) {
        line(
            [
                &group.group_id,
                &member.member_id,
                instance,
                &member.host,
                &member.client_id,
                &member.assignment.len().to_string(),
            ],
            [&or_missing(member.member_epoch), current, &or_missing(group.target_assignment_epoch), target],
        );
    }
    Ok(())
}

/// `topic:0,1;other:2`, sorted; `-` for none.
fn assignment_text(partitions: &[TopicPartition]) -> String {
    if partitions.is_empty() {
        return MISSING.to_owned();
    }
    let mut by_topic: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.topic).or_default().insert(partition.partition);
    }
    let topics: Vec<_> = by_topic
        .iter()
        .map(|(topic, partitions)| {
            let partitions: Vec<_> = partitions.iter().map(i32::to_string).collect();
            format!("{topic}:{}", partitions.join(","))
        })
        .collect();
    topics.join(";")
}

fn print_state(group: &GroupDescription, verbose: bool) -> Result<(), Failure> {
    if !announce(group, 1)? {
        return Ok(());
    }
    let coordinator =
        format!("{}:{}  ({})", group.coordinator.host, group.coordinator.port, group.coordinator.id);
    let coordinator_width = width(std::iter::once(coordinator.as_str()), 25);
    let group_width = width(std::iter::once(group.group_id.as_str()), COLUMN_MIN);
    let assignor = if group.assignor.is_empty() { MISSING } else { &group.assignor };
    let line = |[name, coordinator, assignor, state, epoch, target_epoch, members]: [&str; 7]| {
        let epochs = if verbose { format!("{epoch:<15} {target_epoch:<25} ") } else { String::new() };
        print!(
            "\n{name:<group_width$} {coordinator:<coordinator_width$} {assignor:<20} {state:<20} {epochs}{members}"
        );
    };
    line([
        "GROUP",
        "COORDINATOR (ID)",
        "ASSIGNMENT-STRATEGY",
        "STATE",
        "GROUP-EPOCH",
        "TARGET-ASSIGNMENT-EPOCH",
        "#MEMBERS",
    ]);
    line([
        &group.group_id,
        &coordinator,
        assignor,
        &group.state,
        &or_missing(group.group_epoch),
        &or_missing(group.target_assignment_epoch),
        &group.members.len().to_string(),
    ]);
    println!();
    Ok(())
}
