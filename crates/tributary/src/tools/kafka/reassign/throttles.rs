//! Limits on what reassignments may copy each second: configurations of brokers and topics.

use std::collections::{BTreeMap, BTreeSet};

use client::Admin;
use client::admin::{AlterConfigOp, ConfigResource, Reassignment};

use super::super::run::Failure;
use super::plan::{Plan, Replicas, joined};

const BROKER_RATES: [&str; 3] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];
const TOPIC_REPLICAS: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Sources and destinations of a partition's copying.
type Sides = (BTreeSet<i32>, BTreeSet<i32>);
/// By topic and partition.
type Moves = BTreeMap<String, BTreeMap<i32, Sides>>;

async fn change(admin: &Admin, changes: &[(ConfigResource, Vec<AlterConfigOp>)]) -> Result<(), Failure> {
    for (_, outcome) in admin.incremental_alter_configs(changes, false).await.map_err(Failure::execution)? {
        outcome.map_err(Failure::execution)?;
    }
    Ok(())
}

/// Limits copying between brokers, of the plan's partitions and of those already moving.
///
/// # Errors
/// The cluster's own.
pub async fn between_brokers(
    admin: &Admin,
    under_way: &[Reassignment],
    plan: &Plan,
    current: &Replicas,
    rate: i64,
) -> Result<(), Failure> {
    let moves = moves(under_way, plan, current);
    let set = |name: &str, value: String| AlterConfigOp::Set(name.to_owned(), value);
    let mut topics = Vec::new();
    for (topic, partitions) in &moves {
        let list = |of: &dyn Fn(&Sides) -> BTreeSet<i32>| {
            let pairs = partitions
                .iter()
                .flat_map(|(p, moved)| of(moved).into_iter().map(move |id| format!("{p}:{id}")));
            pairs.collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>().join(",")
        };
        let leaders = list(&|(sources, _)| sources.clone());
        let followers = list(&|(sources, destinations)| destinations - sources);
        let [leader_name, follower_name] = TOPIC_REPLICAS;
        topics.push((
            ConfigResource::topic(topic.as_str()),
            vec![set(leader_name, leaders), set(follower_name, followers)],
        ));
    }
    change(admin, &topics).await?;
    let brokers: BTreeSet<i32> =
        moves.values().flat_map(BTreeMap::values).flat_map(|(from, to)| from.union(to)).copied().collect();
    let [leader_rate, follower_rate, _] = BROKER_RATES;
    let ops = || vec![set(leader_rate, rate.to_string()), set(follower_rate, rate.to_string())];
    let changes: Vec<_> = brokers.into_iter().map(|id| (ConfigResource::broker(Some(id)), ops())).collect();
    change(admin, &changes).await?;
    println!("The inter-broker throttle limit was set to {rate} B/s");
    Ok(())
}

fn moves(under_way: &[Reassignment], plan: &Plan, current: &Replicas) -> Moves {
    let mut moves = Moves::new();
    for moving in under_way {
        let destinations: BTreeSet<i32> = moving.adding.iter().copied().collect();
        let sources = moving.replicas.iter().copied().filter(|id| !destinations.contains(id)).collect();
        let of_topic = moves.entry(moving.partition.topic.to_string()).or_default();
        of_topic.insert(moving.partition.partition, (sources, destinations));
    }
    for (partition, replicas) in &plan.replicas {
        let now = current
            .iter()
            .find(|(known, _)| known == partition)
            .map(|(_, now)| now.iter().copied().collect());
        let of_topic = moves.entry(partition.topic.to_string()).or_default();
        let moving = of_topic.get(&partition.partition).map(|(sources, _)| sources.clone());
        let sources: BTreeSet<i32> = moving.or(now).unwrap_or_default();
        let destinations = replicas.iter().copied().filter(|id| !sources.contains(id)).collect();
        of_topic.insert(partition.partition, (sources, destinations));
    }
    moves
}

/// Limits copying between directories of one broker.
///
/// # Errors
/// The cluster's own.
pub async fn between_dirs(admin: &Admin, plan: &Plan, rate: i64) -> Result<(), Failure> {
    let brokers: BTreeSet<i32> = plan.places.iter().map(|(_, broker, _)| *broker).collect();
    let [_, _, dir_rate] = BROKER_RATES;
    let op = || vec![AlterConfigOp::Set(dir_rate.to_owned(), rate.to_string())];
    let changes: Vec<_> = brokers.into_iter().map(|id| (ConfigResource::broker(Some(id)), op())).collect();
    change(admin, &changes).await?;
    println!("The replica-alter-dir throttle limit was set to {rate} B/s");
    Ok(())
}

/// Takes all limits away.
///
/// # Errors
/// The cluster's own.
pub async fn clear(admin: &Admin, plan: &Plan) -> Result<(), Failure> {
    let nodes = admin.describe_cluster().await.map_err(Failure::execution)?.nodes;
    let planned = plan.replicas.iter().flat_map(|(_, replicas)| replicas).copied();
    let brokers: BTreeSet<i32> = nodes.iter().map(|node| node.id).chain(planned).collect();
    let delete =
        |names: &[&str]| names.iter().map(|name| AlterConfigOp::Delete((*name).to_owned())).collect();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    println!("Clearing broker-level throttles on broker{} {}", plural(brokers.len()), joined(&brokers, ","));
    let changes: Vec<_> =
        brokers.iter().map(|id| (ConfigResource::broker(Some(*id)), delete(&BROKER_RATES))).collect();
    change(admin, &changes).await?;
    let topics: BTreeSet<String> = plan.replicas.iter().map(|(p, _)| p.topic.to_string()).collect();
    println!("Clearing topic-level throttles on topic{} {}", plural(topics.len()), joined(&topics, ","));
    let changes: Vec<_> =
        topics.iter().map(|topic| (ConfigResource::topic(topic.as_str()), delete(&TOPIC_REPLICAS))).collect();
    change(admin, &changes).await
}

#[cfg(test)]
mod tests {
    use client::TopicPartition;

    use super::*;

    #[test]
    fn new_replicas_copy_from_old_ones() {
        let partition = TopicPartition::new("t", 0);
        let plan = Plan { replicas: vec![(partition.clone(), vec![2, 3])], places: Vec::new() };
        let got = moves(&[], &plan, &vec![(partition.clone(), vec![1, 2])]);
        let (sources, destinations) = &got["t"][&0];
        assert_eq!((sources, destinations), (&BTreeSet::from([1, 2]), &BTreeSet::from([3])));
        let moving = Reassignment { partition, replicas: vec![1, 4], adding: vec![4], removing: vec![] };
        let got = moves(&[moving], &plan, &Vec::new());
        assert_eq!(got["t"][&0], (BTreeSet::from([1]), BTreeSet::from([2, 3])));
    }
}
