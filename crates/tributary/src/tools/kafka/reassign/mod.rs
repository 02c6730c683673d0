//! `kafka-reassign-partitions`: moves partitions between brokers and between their log directories.

mod plan;
mod throttles;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::admin::{Reassignment, ReplicaPlace};
use client::{Admin, TopicPartition};
use kafka_codec::ErrorCode;

use super::options::{Flag, HELP, Options, VERSION, ZOOKEEPER};
use super::run::{self, Failure, Stop};
use plan::{Plan, Replicas, joined};

const TERSE: &str = "org.apache.kafka.tools.TerseException";
const FAILED: &str = "org.apache.kafka.tools.AdminCommandFailedException";
/// Pause between attempts to start moves between directories.
const MOVE_PAUSE: Duration = Duration::from_millis(100);

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    ZOOKEEPER,
    Flag::switch(
        "verify",
        "Verify if the reassignment completed as specified by the --reassignment-json-file option. If there is a \
         throttle engaged for the replicas specified, and the rebalance has completed, the throttle will be removed",
    ),
    Flag::switch(
        "generate",
        "Generate a candidate partition reassignment configuration. Note that this only generates a candidate \
         assignment, it does not execute it.",
    ),
    Flag::switch(
        "execute",
        "Kick off the reassignment as specified by the --reassignment-json-file option.",
    ),
    Flag::switch("cancel", "Cancel an active reassignment."),
    Flag::switch("list", "List all active partition reassignments."),
    Flag::optional(
        "bootstrap-server",
        "Server(s) to use for bootstrapping",
        "the server(s) to use for bootstrapping.",
    ),
    Flag::text(
        "command-config",
        "Admin client property file",
        "Property file containing configs to be passed to Admin Client.",
    ),
    Flag::text(
        "reassignment-json-file",
        "manual assignment json file path",
        "The JSON file with the partition reassignment configurationThe format to use is - \n{\"partitions\":\n\t\
         [{\"topic\": \"foo\",\n\t  \"partition\": 1,\n\t  \"replicas\": [1,2,3],\n\t  \"log_dirs\": \
         [\"dir1\",\"dir2\",\"dir3\"] }],\n\"version\":1\n}\nNote that \"log_dirs\" is optional. When it is specified, \
         its length must equal the length of the replicas list. The value in this list can be either \"any\" or the \
         absolution path of the log directory on the broker. If absolute log directory path is specified, the replica \
         will be moved to the specified log directory on the broker.",
    ),
    Flag::text(
        "topics-to-move-json-file",
        "topics to reassign json file path",
        "Generate a reassignment configuration to move the partitions of the specified topics to the list of brokers \
         specified by the --broker-list option. The format to use is - \n{\"topics\":\n\t[{\"topic\": \
         \"foo\"},{\"topic\": \"foo1\"}],\n\"version\":1\n}",
    ),
    Flag::text(
        "broker-list",
        "brokerlist",
        "The list of brokers to which the partitions need to be reassigned in the form \"0,1,2\". This is required if \
         --topics-to-move-json-file is used to generate reassignment configuration",
    ),
    Flag::optional(
        "bootstrap-controller",
        "bootstrap controller to connect to",
        "The controller to use for reassignment. By default, the tool will get the quorum controller. This option \
         supports the actions --cancel and --list.",
    ),
    Flag::switch("disable-rack-aware", "Disable rack aware replica assignment"),
    Flag::long(
        "throttle",
        "throttle",
        "The movement of partitions between brokers will be throttled to this value (bytes/sec). This option can be \
         included with --execute when a reassignment is started, and it can be altered by resubmitting the current \
         reassignment along with the --additional flag. The throttle rate should be at least 1 KB/s.",
    )
    .or("-1"),
    Flag::long(
        "replica-alter-log-dirs-throttle",
        "replicaAlterLogDirsThrottle",
        "The movement of replicas between log directories on the same broker will be throttled to this value \
         (bytes/sec). This option can be included with --execute when a reassignment is started, and it can be altered \
         by resubmitting the current reassignment along with the --additional flag. The throttle rate should be at \
         least 1 KB/s.",
    )
    .or("-1"),
    Flag::long(
        "timeout",
        "timeout",
        "The maximum time in ms to wait for log directory replica assignment to begin.",
    )
    .or("10000"),
    Flag::switch(
        "additional",
        "Execute this reassignment in addition to any other ongoing ones. This option can also be used to change the \
         throttle of an ongoing reassignment.",
    ),
    Flag::switch("preserve-throttles", "Do not modify broker or topic throttles."),
    Flag::switch(
        "disallow-replication-factor-change",
        "Denies the ability to change a partition's replication factor as part of this reassignment through adding \
         validation against it.",
    ),
];

/// What each action needs and allows besides itself, the brokers and the properties.
const ACTIONS: [(&str, &[&str], &[&str]); 5] = [
    ("generate", &["topics-to-move-json-file", "broker-list"], &["disable-rack-aware"]),
    (
        "execute",
        &["reassignment-json-file"],
        &[
            "additional",
            "throttle",
            "replica-alter-log-dirs-throttle",
            "timeout",
            "disallow-replication-factor-change",
        ],
    ),
    ("verify", &["reassignment-json-file"], &["preserve-throttles"]),
    ("cancel", &["reassignment-json-file"], &["preserve-throttles", "timeout"]),
    ("list", &[], &[]),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(FLAGS, args) {
        Ok(options) => options,
        Err(error) => {
            let failure = Failure::from(error);
            eprintln!("Exception in thread \"main\" {failure}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match check(&options) {
        Ok(action) => act(&options, action).await,
        Err(stop) => Err(stop),
    };
    run::finish(outcome, FLAGS, |failure| match failure.exception.as_str() {
        TERSE => println!("{}", failure.message),
        _ => println!("Error: {}\n{failure}\n", failure.message),
    })
}

fn check(options: &Options) -> Result<&'static str, Stop> {
    run::help_or_version(
        options,
        "This tool helps to move topic partitions between replicas.",
        "kafka-reassign-partitions --bootstrap-server localhost:9092 --reassignment-json-file plan.json --execute",
    )?;
    let usage = |text: &str| Err(Stop::Usage(text.to_owned()));
    let given: Vec<_> = ACTIONS.iter().filter(|(action, ..)| options.has(action)).collect();
    let [(action, required, allowed)] = given.as_slice() else {
        return usage(
            "Command must include exactly one action: --generate, --execute, --verify, --cancel, --list",
        );
    };
    match options.count(&["bootstrap-server", "bootstrap-controller"]) {
        2 => return usage("Please don't specify both --bootstrap-server and --bootstrap-controller"),
        0 if !options.has("zookeeper") => {
            return usage("Please specify either --bootstrap-server or --bootstrap-controller");
        }
        _ => {}
    }
    run::require(options, required)?;
    let always = match options.has("bootstrap-controller") && matches!(*action, "cancel" | "list") {
        true => "bootstrap-controller",
        false => "bootstrap-server",
    };
    let known = |name: &str| {
        [*action, always, "command-config", "zookeeper"].contains(&name)
            || required.contains(&name)
            || allowed.contains(&name)
    };
    match FLAGS.iter().find(|flag| options.has(flag.name) && !known(flag.name)) {
        Some(flag) => usage(&format!("Option \"[{}]\" can't be used with action \"[{action}]\"", flag.name)),
        None => Ok(*action),
    }
}

fn terse(message: impl Into<String>) -> Stop {
    Failure::new(TERSE, message).into()
}

fn read(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|_| Failure::new("java.io.IOException", format!("Unable to read file {path}")))
}

async fn act(options: &Options, action: &str) -> Result<(), Stop> {
    let controllers = options.value("bootstrap-controller")?;
    let servers = match controllers {
        Some(_) => None,
        None => run::bootstrap_or_zookeeper(options, None)?,
    };
    let admin = run::admin_at(servers.as_deref(), controllers, options.value("command-config")?)?;
    let file = |option: &'static str| -> Result<String, Failure> {
        read(options.value(option)?.unwrap_or_default())
    };
    let outcome = match action {
        "generate" => {
            let topics = plan::topics(&file("topics-to-move-json-file")?);
            let brokers = plan::broker_list(options.value("broker-list")?.unwrap_or_default())?;
            generate(&admin, &topics?, &brokers, !options.has("disable-rack-aware")).await
        }
        "execute" => execute(&admin, options, &Plan::parse(&file("reassignment-json-file")?)?).await,
        "verify" => {
            let plan = Plan::parse(&file("reassignment-json-file")?)?;
            verify(&admin, &plan, options.has("preserve-throttles")).await
        }
        "cancel" => cancel(&admin, options, &Plan::parse(&file("reassignment-json-file")?)?).await,
        _ => list(&admin).await,
    };
    admin.close().await;
    outcome
}

async fn list(admin: &Admin) -> Result<(), Stop> {
    let all = admin.list_reassignments(None).await.map_err(Failure::execution)?;
    if all.is_empty() {
        println!("No partition reassignments found.");
        return Ok(());
    }
    println!("Current partition reassignments:");
    for Reassignment { partition, replicas, adding, removing } in all {
        let part = |what: &str, ids: &[i32]| match ids {
            [] => String::new(),
            ids => format!(" {what}: {}.", joined(ids, ",")),
        };
        let (adding, removing) = (part("adding", &adding), part("removing", &removing));
        println!("{partition}: replicas: {}.{adding}{removing}", joined(replicas, ","));
    }
    Ok(())
}

/// Current replicas of whole topics.
async fn replicas_of(admin: &Admin, topics: &[String]) -> Result<Replicas, Failure> {
    let mut all = Replicas::new();
    for (topic, description) in admin.describe_topics(topics).await.map_err(Failure::execution)? {
        let description = description.map_err(|error| match error.code() {
            Some(ErrorCode::UnknownTopicOrPartition) => Failure::new(
                "java.util.concurrent.ExecutionException",
                format!(
                    "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Topic {topic} not found."
                ),
            ),
            _ => Failure::execution(error),
        })?;
        for info in description.partitions {
            let ids = info.replicas.iter().map(|node| node.id).collect();
            all.push((TopicPartition::new(topic.as_str(), info.partition), ids));
        }
    }
    all.sort();
    Ok(all)
}

/// Where replicas are now and, when they move to another directory of their broker, where to.
type Dirs = BTreeMap<(TopicPartition, i32), (Option<String>, Option<String>)>;

async fn dirs_of(admin: &Admin, brokers: &BTreeSet<i32>) -> Result<Dirs, Failure> {
    let brokers: Vec<i32> = brokers.iter().copied().collect();
    let mut all = Dirs::new();
    for (broker, dirs) in admin.describe_log_dirs(&brokers).await.map_err(Failure::execution)? {
        for dir in dirs.map_err(Failure::execution)? {
            for replica in dir.replicas {
                let (current, future) = all.entry((replica.partition, broker)).or_default();
                *(if replica.is_future { future } else { current }) = Some(dir.path.clone());
            }
        }
    }
    Ok(all)
}

async fn generate(admin: &Admin, topics: &[String], brokers: &[i32], by_rack: bool) -> Result<(), Stop> {
    let current = replicas_of(admin, topics).await?;
    let holders = current.iter().flat_map(|(_, replicas)| replicas).copied().collect();
    let dirs = dirs_of(admin, &holders).await?;
    let mut nodes = admin.describe_cluster().await.map_err(Failure::execution)?.nodes;
    nodes.retain(|node| brokers.contains(&node.id));
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (partition, replicas) in &current {
        let (partitions, factor) = counts.entry(partition.topic.to_string()).or_insert((0, replicas.len()));
        *partitions += 1;
        *factor = (*factor).min(replicas.len());
    }
    let proposed = plan::spread(&counts, &nodes, by_rack, run::random_below)?;
    let dir =
        |partition: &TopicPartition, id| dirs.get(&(partition.clone(), id)).and_then(|(now, _)| now.clone());
    println!("Current partition replica assignment\n{}\n", plan::to_json(&current, dir)?);
    println!("Proposed partition reassignment configuration\n{}", plan::to_json(&proposed, |_, _| None)?);
    Ok(())
}

async fn execute(admin: &Admin, options: &Options, plan: &Plan) -> Result<(), Stop> {
    plan.check()?;
    let under_way = admin.list_reassignments(None).await.map_err(Failure::execution)?;
    if !options.has("additional") && !under_way.is_empty() {
        return Err(terse(
            "Cannot execute because there is an existing partition assignment.  Use --additional to override this and \
             create a new partition assignment in addition to the existing one. The --additional flag can also be used \
             to change the throttle by resubmitting the current reassignment.",
        ));
    }
    let nodes = admin.describe_cluster().await.map_err(Failure::execution)?.nodes;
    let wanted: BTreeSet<i32> = plan.replicas.iter().flat_map(|(_, replicas)| replicas).copied().collect();
    if let Some(unknown) = wanted.iter().find(|id| !nodes.iter().any(|node| node.id == **id)) {
        return Err(Failure::new(FAILED, format!("Unknown broker id {unknown}")).into());
    }
    let current = current_replicas(admin, plan).await?;
    let holders = current.iter().flat_map(|(_, replicas)| replicas).copied().collect();
    let dirs = dirs_of(admin, &holders).await?;
    let dir =
        |partition: &TopicPartition, id| dirs.get(&(partition.clone(), id)).and_then(|(now, _)| now.clone());
    println!("Current partition replica assignment\n\n{}\n", plan::to_json(&current, dir)?);
    println!("Save this to use as the --reassignment-json-file option during rollback");

    let between_brokers: i64 = options.number("throttle")?.unwrap_or(-1);
    let between_dirs: i64 = options.number("replica-alter-log-dirs-throttle")?.unwrap_or(-1);
    if between_brokers >= 0 || between_dirs >= 0 {
        println!(
            "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is \
             removed."
        );
    }
    if between_brokers >= 0 {
        throttles::between_brokers(admin, &under_way, plan, &current, between_brokers).await?;
    }
    if between_dirs >= 0 {
        throttles::between_dirs(admin, plan, between_dirs).await?;
    }
    if options.has("disallow-replication-factor-change") {
        check_factors(plan, &current)?;
    }
    let targets: Vec<_> =
        plan.replicas.iter().map(|(p, replicas)| (p.clone(), Some(replicas.clone()))).collect();
    let outcomes = admin.alter_reassignments(&targets).await.map_err(Failure::execution)?;
    let mut errors: Vec<_> =
        outcomes.into_iter().filter_map(|(partition, outcome)| Some((partition, outcome.err()?))).collect();
    errors.sort_by(|(a, _), (b, _)| a.cmp(b));
    if !errors.is_empty() {
        let lines: Vec<_> = errors.iter().map(|(partition, error)| format!("{partition}: {error}")).collect();
        return Err(terse(format!("Error reassigning partition(s):\n{}", lines.join("\n"))));
    }
    let mut partitions: Vec<_> = plan.replicas.iter().map(|(partition, _)| partition).collect();
    partitions.sort();
    let plural = if partitions.len() == 1 { "" } else { "s" };
    println!("Successfully started partition reassignment{plural} for {}", joined(partitions, ","));
    move_between_dirs(admin, plan.places.clone(), timeout(options)?).await
}

fn timeout(options: &Options) -> Result<Duration, Failure> {
    let ms: i64 = options.number("timeout")?.unwrap_or(10_000);
    Ok(Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
}

fn check_factors(plan: &Plan, current: &Replicas) -> Result<(), Stop> {
    let differs = |(partition, replicas): &&(TopicPartition, Vec<i32>)| {
        current.iter().any(|(known, now)| known == partition && now.len() != replicas.len())
    };
    let lines: Vec<_> = plan
        .replicas
        .iter()
        .filter(differs)
        .map(|(partition, _)| format!("{partition}: The replication factor is changed from the current one"))
        .collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(terse(format!("Error reassigning partition(s):\n{}", lines.join("\n")))),
    }
}

/// Current replicas of the plan's partitions, all of which must exist.
async fn current_replicas(admin: &Admin, plan: &Plan) -> Result<Replicas, Failure> {
    let topics: BTreeSet<String> = plan.replicas.iter().map(|(p, _)| p.topic.to_string()).collect();
    let topics: Vec<String> = topics.into_iter().collect();
    let planned: BTreeSet<&TopicPartition> = plan.replicas.iter().map(|(partition, _)| partition).collect();
    let mut current = replicas_of(admin, &topics).await?;
    current.retain(|(partition, _)| planned.contains(partition));
    let missing: Vec<_> =
        planned.into_iter().filter(|wanted| !current.iter().any(|(known, _)| known == *wanted)).collect();
    if missing.is_empty() {
        return Ok(current);
    }
    Err(Failure::new(
        "java.util.concurrent.ExecutionException",
        format!(
            "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Unable to find partition: {}",
            joined(missing, ", ")
        ),
    ))
}

fn replica_text((partition, broker, _): &ReplicaPlace) -> String {
    format!("{partition}-{broker}")
}

/// Sorted by broker, then partition.
fn sort_places(places: &mut [ReplicaPlace]) {
    places.sort_by(|(a, broker_a, _), (b, broker_b, _)| broker_a.cmp(broker_b).then_with(|| a.cmp(b)));
}

/// Starts moves between directories; a broker that has no such replica yet is asked again until the time is up.
async fn move_between_dirs(
    admin: &Admin,
    mut places: Vec<ReplicaPlace>,
    limit: Duration,
) -> Result<(), Stop> {
    let started = Instant::now();
    while !places.is_empty() {
        let mut done = Vec::new();
        for (place, outcome) in admin.alter_replica_log_dirs(&places).await.map_err(Failure::execution)? {
            match outcome {
                Ok(()) => done.push(place),
                Err(error) if error.code() == Some(ErrorCode::ReplicaNotAvailable) => {}
                Err(_) => {
                    let text = format!("Failed to alter dir for {}", replica_text(&place));
                    return Err(Failure::new(FAILED, text).into());
                }
            }
        }
        sort_places(&mut done);
        for (partition, broker, dir) in &done {
            println!(
                "Successfully started moving log directory to {dir} for replica {partition} with broker {broker} "
            );
        }
        places.retain(|place| !done.contains(place));
        if places.is_empty() {
            break;
        }
        if started.elapsed() >= limit {
            sort_places(&mut places);
            let plural = if places.len() == 1 { "" } else { "s" };
            let list = joined(places.iter().map(replica_text), ",");
            return Err(terse(format!(
                "Timed out before log directory move{plural} could be started for: {list}"
            )));
        }
        tokio::time::sleep(MOVE_PAUSE).await;
    }
    Ok(())
}

async fn verify(admin: &Admin, plan: &Plan, preserve_throttles: bool) -> Result<(), Stop> {
    let under_way = admin.list_reassignments(None).await.map_err(Failure::execution)?;
    let topics: BTreeSet<String> = plan.replicas.iter().map(|(p, _)| p.topic.to_string()).collect();
    let topics: Vec<String> = topics.into_iter().collect();
    let mut current: BTreeMap<TopicPartition, Vec<i32>> = BTreeMap::new();
    for (topic, description) in admin.describe_topics(&topics).await.map_err(Failure::execution)? {
        match description {
            Ok(description) => current.extend(description.partitions.into_iter().map(|info| {
                let ids = info.replicas.iter().map(|node| node.id).collect();
                (TopicPartition::new(topic.as_str(), info.partition), ids)
            })),
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {}
            Err(error) => return Err(Failure::execution(error).into()),
        }
    }
    println!("Status of partition reassignment:");
    let mut planned: Vec<_> = plan.replicas.iter().collect();
    planned.sort();
    for (partition, target) in planned {
        let now = current.get(partition).cloned().unwrap_or_default();
        if under_way.iter().any(|reassignment| reassignment.partition == *partition) {
            println!("Reassignment of partition {partition} is still in progress.");
        } else if now == *target {
            println!("Reassignment of partition {partition} is completed.");
        } else {
            println!(
                "There is no active reassignment of partition {partition}, but replica set is {} rather than {}.",
                joined(now, ","),
                joined(target, ",")
            );
        }
    }
    let (lines, moving) = move_states(admin, plan).await?;
    println!("{}", lines.join("\n"));
    if under_way.is_empty() && !moving && !preserve_throttles {
        throttles::clear(admin, plan).await?;
    }
    Ok(())
}

/// What became of each planned move between directories, and whether one is still under way.
async fn move_states(admin: &Admin, plan: &Plan) -> Result<(Vec<String>, bool), Failure> {
    let brokers: BTreeSet<i32> = plan.places.iter().map(|(_, broker, _)| *broker).collect();
    let dirs = if brokers.is_empty() { Dirs::new() } else { dirs_of(admin, &brokers).await? };
    let mut places = plan.places.clone();
    sort_places(&mut places);
    let mut moving = false;
    let mut lines = Vec::new();
    for place in &places {
        let (partition, broker, target) = place;
        let replica = replica_text(place);
        lines.push(match dirs.get(&(partition.clone(), *broker)) {
            None | Some((None, _)) => format!(
                "Partition {partition} is not found in any live log dir on broker {broker}. There is likely an \
                 offline log directory on the broker."
            ),
            Some((Some(now), None)) if now == target => {
                format!("Reassignment of replica {replica} completed successfully.")
            }
            Some((Some(now), None)) => format!(
                "Partition {partition} on broker {broker} is not being moved from log dir {now} to {target}."
            ),
            Some((Some(_), Some(future))) => {
                moving = true;
                match future == target {
                    true => format!("Reassignment of replica {replica} is still in progress."),
                    false => format!(
                        "Partition {partition} on broker {broker} is being moved to log dir {future} instead of \
                         {target}."
                    ),
                }
            }
        });
    }
    Ok((lines, moving))
}

async fn cancel(admin: &Admin, options: &Options, plan: &Plan) -> Result<(), Stop> {
    let planned: Vec<_> = plan.replicas.iter().map(|(partition, _)| partition.clone()).collect();
    let under_way = admin.list_reassignments(Some(&planned)).await.map_err(Failure::execution)?;
    let active: Vec<_> = under_way
        .into_iter()
        .filter(|reassignment| !reassignment.adding.is_empty() || !reassignment.removing.is_empty())
        .map(|reassignment| reassignment.partition)
        .collect();
    if active.is_empty() {
        println!("None of the specified partition reassignments are active.");
    } else {
        let targets: Vec<_> = active.iter().map(|partition| (partition.clone(), None)).collect();
        let outcomes = admin.alter_reassignments(&targets).await.map_err(Failure::execution)?;
        let errors: Vec<_> = outcomes
            .into_iter()
            .filter_map(|(partition, outcome)| Some(format!("{partition}: {}", outcome.err()?)))
            .collect();
        if !errors.is_empty() {
            let plural = if errors.len() == 1 { "" } else { "s" };
            let lines = errors.join("\n");
            return Err(terse(format!("Error cancelling partition reassignment{plural} for:\n{lines}")));
        }
        let plural = if active.len() == 1 { "" } else { "s" };
        println!("Successfully cancelled partition reassignment{plural} for: {}", joined(active, ","));
    }
    let brokers: BTreeSet<i32> = plan.places.iter().map(|(_, broker, _)| *broker).collect();
    let dirs = if brokers.is_empty() { Dirs::new() } else { dirs_of(admin, &brokers).await? };
    let back: Vec<ReplicaPlace> = plan
        .places
        .iter()
        .filter_map(|(partition, broker, _)| match dirs.get(&(partition.clone(), *broker)) {
            Some((Some(now), Some(_))) => Some((partition.clone(), *broker, now.clone())),
            _ => None,
        })
        .collect();
    if back.is_empty() {
        print!("None of the specified partition moves are active.");
    } else {
        move_between_dirs(admin, back, timeout(options)?).await?;
    }
    if !options.has("preserve-throttles") {
        throttles::clear(admin, plan).await?;
    }
    Ok(())
}
