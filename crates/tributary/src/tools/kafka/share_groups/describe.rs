//! `--describe`: offsets, members or state of share groups.

use std::collections::BTreeMap;

use client::admin::{GroupDescription, MemberDescription, ShareOffset};
use client::{Admin, TopicPartition};

use super::super::options::Options;
use super::super::run::{Failure, Stop};
use super::{chosen_groups, print_error};

/// Column value for what is not known.
const MISSING: &str = "-";

/// Describes the groups.
///
/// # Errors
/// The first group that cannot be described.
pub async fn describe(options: &Options, admin: &Admin) -> Result<(), Stop> {
    let ids = chosen_groups(options, admin).await?;
    let mut groups = BTreeMap::new();
    for (id, group) in admin.describe_share_groups(&ids).await.map_err(Failure::execution)? {
        groups.insert(id, group.map_err(Failure::execution)?);
    }
    let verbose = options.has("verbose");
    if options.has("members") {
        groups.iter().for_each(|(id, group)| members(id, group, verbose));
    } else if options.has("state") {
        groups.iter().for_each(|(id, group)| state(id, group, verbose));
    } else {
        let mut all = Vec::new();
        for id in groups.keys() {
            let found = admin.list_share_group_offsets(id).await;
            let found =
                found.map_err(|error| Failure::execution(error).wrapped_in("java.lang.RuntimeException"))?;
            all.push((id, found));
        }
        all.iter().for_each(|(id, found)| offsets(id, found, verbose));
    }
    Ok(())
}

/// Says so when a group is empty; answers whether its details are worth a table.
fn has_details(id: &str, state: &str, rows: usize) -> bool {
    match state {
        "Dead" => print_error(&format!("Share group '{id}' does not exist.")),
        "Empty" => eprintln!("\nShare group '{id}' has no active members."),
        _ => {}
    }
    state != "Dead" && rows > 0
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| MISSING.to_owned(), |value| value.to_string())
}

fn offsets(id: &str, found: &BTreeMap<TopicPartition, Option<ShareOffset>>, verbose: bool) {
    if found.is_empty() {
        println!("\nShare group '{id}' has no offset information.");
        return;
    }
    let group_width = id.chars().count().max(15);
    let topic_width = found.keys().map(|p| p.topic.chars().count()).fold(15, usize::max);
    let line = |group: &str, topic: &str, partition: &str, epoch: &str, start: &str, lag: &str| {
        print!("\n{group:<group_width$} {topic:<topic_width$} {partition:<10} ");
        if verbose {
            print!("{epoch:<13} ");
        }
        print!("{start:<13} {lag}");
    };
    line("GROUP", "TOPIC", "PARTITION", "LEADER-EPOCH", "START-OFFSET", "LAG");
    for (partition, offset) in found {
        line(
            id,
            &partition.topic,
            &partition.partition.to_string(),
            &shown(offset.as_ref().and_then(|offset| offset.leader_epoch)),
            &shown(offset.as_ref().map(|offset| offset.start_offset)),
            &shown(offset.as_ref().and_then(|offset| offset.lag)),
        );
    }
    println!();
}

fn state(id: &str, group: &GroupDescription, verbose: bool) {
    has_details(id, &group.state, 1);
    let group_width = id.chars().count().max(15);
    let node = &group.coordinator;
    let coordinator = format!("{}:{}  ({})", node.host, node.port, node.id);
    let width = coordinator.chars().count().max(25);
    let line = |group: &str, coordinator: &str, state: &str, epoch: &str, target: &str, members: &str| {
        print!("\n{group:<group_width$} {coordinator:<width$} {state:<15} ");
        if verbose {
            print!("{epoch:<12} {target:<17} ");
        }
        print!("{members}");
    };
    line("GROUP", "COORDINATOR (ID)", "STATE", "GROUP-EPOCH", "ASSIGNMENT-EPOCH", "#MEMBERS");
    line(
        id,
        &coordinator,
        &group.state,
        &shown(group.group_epoch),
        &shown(group.target_assignment_epoch),
        &group.members.len().to_string(),
    );
    println!();
}

fn members(id: &str, group: &GroupDescription, verbose: bool) {
    if !has_details(id, &group.state, group.members.len()) {
        return;
    }
    let mut members: Vec<&MemberDescription> = group.members.iter().collect();
    members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    let group_width = id.chars().count().max(15);
    let widest = |of: fn(&MemberDescription) -> &str| {
        members.iter().map(|member| of(member).chars().count()).fold(15, usize::max)
    };
    let (id_width, host_width, client_width) =
        (widest(|m| &m.member_id), widest(|m| &m.host), widest(|m| &m.client_id));
    let line = |[group, member, host, client, count, epoch, assignment]: [&str; 7]| {
        print!(
            "\n{group:<group_width$} {member:<id_width$} {host:<host_width$} {client:<client_width$} {count:<12} "
        );
        if verbose {
            print!("{epoch:<13} ");
        }
        print!("{assignment}");
    };
    line(["GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "MEMBER-EPOCH", "ASSIGNMENT"]);
    for member in members {
        line([
            id,
            &member.member_id,
            &member.host,
            &member.client_id,
            &member.assignment.len().to_string(),
            &shown(member.member_epoch),
            &assignment(&member.assignment),
        ]);
    }
    println!();
}

/// `topic:0,1;topic2:0`.
fn assignment(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topic = |(name, mut indexes): (&str, Vec<i32>)| {
        indexes.sort_unstable();
        let indexes: Vec<_> = indexes.iter().map(i32::to_string).collect();
        format!("{name}:{}", indexes.join(","))
    };
    topics.into_iter().map(topic).collect::<Vec<_>>().join(";")
}
