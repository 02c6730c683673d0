//! `kafka-topics`: creates, lists, describes, grows and deletes topics.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;

use client::Admin;
use client::admin::{
    ConfigEntry, ConfigResource, ConfigSource, CreateTopicsOptions, NewPartitions, NewTopic, PartitionInfo,
    Reassignment, TopicDescription, TopicListing,
};
use client::door::TopicPartition;
use kafka_codec::{ErrorCode, Uuid};
use regex::Regex;

use super::config_names::topic_configs;
use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION, ZOOKEEPER};
use super::run::{self, Failure, Stop};

const LOGGER: &str = "org.apache.kafka.tools.TopicCommand";
const ACTIONS: [&str; 5] = ["alter", "create", "delete", "describe", "list"];
const MIN_ISR: &str = "min.insync.replicas";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    ZOOKEEPER,
    Flag::text("bootstrap-server", "server to connect to", "REQUIRED: The Kafka server to connect to."),
    Flag::text(
        "command-config",
        "command config property file",
        "Property file containing configs to be passed to Admin Client.",
    ),
    Flag::switch("list", "List all available topics."),
    Flag::switch("create", "Create a new topic."),
    Flag::switch("delete", "Delete a topic."),
    Flag::switch(
        "alter",
        "Alter the number of partitions and replica assignment. (To alter topic configurations, the kafka-configs \
         tool can be used.)",
    ),
    Flag::switch("describe", "List details for the given topics."),
    Flag::text(
        "topic",
        "topic",
        "The topic to create, alter, describe or delete. It also accepts a regular expression, except for --create \
         option.",
    ),
    Flag::text("topic-id", "topic-id", "The topic-id to describe."),
    Flag::text(
        "config",
        "name=value",
        concat!(
            "A topic configuration override for the topic being created. The following is a list of valid \
             configurations: \n",
            topic_configs!(),
            "See the Kafka documentation for full details on the topic configs. It is supported only in combination \
             with --create. (To alter topic configurations, the kafka-configs tool can be used.)"
        ),
    ),
    Flag::text(
        "delete-config",
        "name",
        "This option is no longer supported and has been deprecated since 4.0",
    ),
    Flag::integer(
        "partitions",
        "# of partitions",
        "The number of partitions for the topic being created or altered. If not supplied with --create, the topic \
         uses the cluster default. (WARNING: If partitions are increased for a topic that has a key, the partition \
         logic or ordering of the messages will be affected).",
    ),
    Flag::integer(
        "replication-factor",
        "replication factor",
        "The replication factor for each partition in the topic being created. If not supplied, the topic uses the \
         cluster default.",
    ),
    Flag::text(
        "replica-assignment",
        "broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , broker_id_for_part2_replica1 : \
         broker_id_for_part2_replica2 , ...",
        "A list of manual partition-to-broker assignments for the topic being created or altered.",
    ),
    Flag::switch(
        "under-replicated-partitions",
        "If set when describing topics, only show under-replicated partitions.",
    ),
    Flag::switch(
        "unavailable-partitions",
        "If set when describing topics, only show partitions whose leader is not available.",
    ),
    Flag::switch(
        "under-min-isr-partitions",
        "If set when describing topics, only show partitions whose isr count is less than the configured minimum.",
    ),
    Flag::switch(
        "at-min-isr-partitions",
        "If set when describing topics, only show partitions whose isr count is equal to the configured minimum.",
    ),
    Flag::switch(
        "topics-with-overrides",
        "If set when describing topics, only show topics that have overridden configs.",
    ),
    Flag::switch(
        "if-exists",
        "If set when altering or deleting or describing topics, the action will only execute if the topic exists.",
    ),
    Flag::switch(
        "if-not-exists",
        "If set when creating topics, the create request will not fail if the topic already exists, but the request \
         will still be sent.",
    ),
    Flag::switch(
        "exclude-internal",
        "Exclude internal topics when listing or describing topics. By default, the internal topics are included.",
    ),
    Flag::integer(
        "partition-size-limit-per-response",
        "maximum number of partitions per response",
        "The maximum partition size to be included in one DescribeTopicPartitions response.",
    ),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(FLAGS, args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{}\n", Failure::from(error.clone()));
            return ExitCode::FAILURE;
        }
    };
    let prepared = check(&options).and_then(|()| run::admin(&options).map_err(Stop::from));
    let admin = match prepared {
        Ok(admin) => admin,
        Err(Stop::Usage(message)) => return run::usage(&options.usage(), &message),
        Err(Stop::Exit(code)) => return ExitCode::from(code),
        Err(Stop::Failed(failure)) => {
            eprintln!("{}\n{failure}\n", failure.message);
            return ExitCode::FAILURE;
        }
    };
    let outcome = act(&options, &admin).await;
    admin.close().await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("Error while executing topic command : {}", failure.message);
            run::log_error(&format!("{failure}\n"), LOGGER);
            ExitCode::FAILURE
        }
    }
}

fn check(options: &Options) -> Result<(), Stop> {
    if options.is_empty() {
        return Err(Stop::Usage("Create, delete, describe, or change a topic.".to_owned()));
    }
    run::help_or_version(
        options,
        "This tool helps to create, delete, describe, or change a topic.",
        "kafka-topics --bootstrap-server localhost:9092 --create --topic sensors --partitions 4",
    )?;
    if options.count(&ACTIONS) != 1 {
        return Err(Stop::Usage(
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete"
                .to_owned(),
        ));
    }
    if options.has("delete-config") {
        eprintln!(
            "delete-config option is no longer supported and deprecated since version 4.0. The config will be fully \
             removed in future releases."
        );
    }
    check_required(options)?;
    check_excluded(options)
}

fn check_required(options: &Options) -> Result<(), Stop> {
    if !run::has_bootstrap(options) {
        return Err(Failure::illegal_argument("--bootstrap-server must be specified").into());
    }
    if options.has("describe") && options.has("if-exists") {
        match options.count(&["topic", "topic-id"]) {
            0 => return Err(Stop::Usage("--topic or --topic-id is required to describe a topic".to_owned())),
            1 => {}
            _ => println!(
                "Only topic id will be used when both --topic and --topic-id are specified and topicId is not \
                 Uuid.ZERO_UUID"
            ),
        }
    }
    if !options.has("list") && !options.has("describe") {
        run::require(options, &["topic"])?;
    }
    if options.has("alter") {
        if options.has("config") {
            return Err(Stop::Usage(
                "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" (To \
                 alter topic configurations, the kafka-configs tool can be used.)"
                    .to_owned(),
            ));
        }
        run::require(options, &["partitions"])?;
    }
    Ok(())
}

fn check_excluded(options: &Options) -> Result<(), Stop> {
    let actions_except = |allowed: &[&str], more: &[&'static str]| -> Vec<&'static str> {
        ACTIONS.into_iter().filter(|action| !allowed.contains(action)).chain(more.iter().copied()).collect()
    };
    let with = |used: &str, allowed: &[&str], more: &[&'static str]| {
        run::exclude(options, used, &actions_except(allowed, more))
    };
    with("config", &["alter", "create"], &[])?;
    with("partitions", &["alter", "create"], &[])?;
    with("replication-factor", &["create"], &[])?;
    with("replica-assignment", &["alter", "create"], &[])?;
    if options.has("create") {
        run::exclude(options, "replica-assignment", &["partitions", "replication-factor"])?;
    }
    const REPORTS: [&str; 4] = [
        "under-replicated-partitions",
        "under-min-isr-partitions",
        "at-min-isr-partitions",
        "unavailable-partitions",
    ];
    for report in REPORTS {
        with(report, &["describe"], &["topics-with-overrides"])?;
    }
    with("topics-with-overrides", &["describe"], &REPORTS)?;
    with("if-exists", &["alter", "delete", "describe"], &[])?;
    with("if-not-exists", &["create"], &[])?;
    with("exclude-internal", &["list", "describe"], &[])
}

async fn act(options: &Options, admin: &Admin) -> Result<(), Failure> {
    if options.has("create") {
        create(options, admin).await
    } else if options.has("alter") {
        alter(options, admin).await
    } else if options.has("list") {
        let topics = find_topics(options, admin).await?;
        let names: Vec<_> = topics.into_iter().map(|topic| topic.name).collect();
        println!("{}", names.join("\n"));
        Ok(())
    } else if options.has("describe") {
        describe(options, admin).await
    } else {
        delete(options, admin).await
    }
}

async fn create(options: &Options, admin: &Admin) -> Result<(), Failure> {
    let name = options.value("topic")?.unwrap_or_default().to_owned();
    let partitions = options.number::<i32>("partitions")?;
    let replication_factor = options.number::<i32>("replication-factor")?;
    let assignments = replica_assignment(options)?;
    let configs = topic_configs(options)?;
    if name.contains(['.', '_']) {
        println!(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could \
             collide. To avoid issues it is best to use either, but not both."
        );
    }
    let replication_factor = match replication_factor.map(i16::try_from) {
        None => None,
        Some(Ok(factor)) if factor >= 1 => Some(factor),
        Some(_) => {
            return Err(Failure::illegal_argument(
                "The replication factor must be between 1 and 32767 inclusive",
            ));
        }
    };
    if partitions.is_some_and(|count| count < 1) {
        return Err(Failure::illegal_argument("The partitions must be greater than 0"));
    }
    let assignments: BTreeMap<i32, Vec<i32>> = (0..).zip(assignments).collect();
    let topic = NewTopic { name: name.clone(), partitions, replication_factor, assignments, configs };
    let answers = admin.create_topics(&[topic], CreateTopicsOptions::default()).await?;
    for (_, answer) in answers {
        match answer {
            Err(error)
                if error.code() == Some(ErrorCode::TopicAlreadyExists) && options.has("if-not-exists") => {}
            answer => {
                answer?;
                println!("Created topic {name}.");
            }
        }
    }
    Ok(())
}

async fn alter(options: &Options, admin: &Admin) -> Result<(), Failure> {
    let total_count = options.number::<i32>("partitions")?.unwrap_or_default();
    let assignments = replica_assignment(options)?;
    let topics = find_topics(options, admin).await?;
    ensure_exists(options, &topics)?;
    if topics.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = topics.into_iter().map(|topic| topic.name).collect();
    let mut changes = Vec::with_capacity(names.len());
    for (name, described) in admin.describe_topics(&names).await? {
        let existing = described?.partitions.len();
        let assignments =
            (!assignments.is_empty()).then(|| assignments.iter().skip(existing).cloned().collect::<Vec<_>>());
        changes.push((name, NewPartitions { total_count, assignments }));
    }
    for (_, answer) in admin.create_partitions(&changes, false).await? {
        answer?;
    }
    Ok(())
}

async fn delete(options: &Options, admin: &Admin) -> Result<(), Failure> {
    let topics = find_topics(options, admin).await?;
    ensure_exists(options, &topics)?;
    let names: Vec<String> = topics.into_iter().map(|topic| topic.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    for (_, answer) in admin.delete_topics(&names).await? {
        answer?;
    }
    Ok(())
}

/// The topics that `--topic` (a regular expression) matches, or all, sorted by name.
async fn find_topics(options: &Options, admin: &Admin) -> Result<Vec<TopicListing>, Failure> {
    let pattern = options.value("topic")?.map(topic_pattern).transpose()?;
    let exclude_internal = options.has("exclude-internal");
    let mut topics = admin.list_topics(!exclude_internal).await?;
    topics.retain(|topic| {
        pattern.as_ref().is_none_or(|pattern| pattern.is_match(&topic.name))
            && !(exclude_internal && topic.internal)
    });
    Ok(topics)
}

/// Kafka's topic filters: a regular expression over the whole name, `,` as good as `|`, blanks and outer quotes
/// ignored.
///
/// # Errors
/// An expression that cannot be used.
pub fn topic_pattern(raw: &str) -> Result<Regex, Failure> {
    let text = raw.trim().replace(',', "|").replace(' ', "");
    let text = text.trim_matches(['"', '\'']);
    Regex::new(&format!("^(?:{text})$"))
        .map_err(|_| Failure::new("java.lang.RuntimeException", format!("{text} is an invalid regex.")))
}

fn ensure_exists(options: &Options, found: &[TopicListing]) -> Result<(), Failure> {
    match options.value("topic")? {
        Some(topic) if !topic.is_empty() && found.is_empty() && !options.has("if-exists") => {
            Err(Failure::illegal_argument(format!("Topic '{topic}' does not exist as expected")))
        }
        _ => Ok(()),
    }
}

/// `--config name=value …`; the last value of a name counts.
fn topic_configs(options: &Options) -> Result<Vec<(String, String)>, Failure> {
    let mut configs = BTreeMap::new();
    for text in options.values("config") {
        let parts: Vec<_> = text.split('=').map(str::trim).collect();
        let [name, value] = parts.as_slice() else { return Err(bad_config()) };
        if value.is_empty() {
            return Err(bad_config());
        }
        configs.insert((*name).to_owned(), (*value).to_owned());
    }
    Ok(configs.into_iter().collect())
}

fn bad_config() -> Failure {
    Failure::illegal_argument(
        "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".",
    )
}

/// `--replica-assignment`: the brokers of each partition; empty when it was not given.
fn replica_assignment(options: &Options) -> Result<Vec<Vec<i32>>, Failure> {
    let text = options.value("replica-assignment")?.unwrap_or_default().trim_end_matches(',');
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    for (index, replicas) in text.split(',').enumerate() {
        let mut brokers = Vec::new();
        for id in replicas.split(':').map(str::trim) {
            brokers.push(id.parse::<i32>().map_err(|_| {
                Failure::new("java.lang.NumberFormatException", format!("For input string: \"{id}\""))
            })?);
        }
        let mut seen = BTreeSet::new();
        let repeated: BTreeSet<i32> = brokers.iter().copied().filter(|id| !seen.insert(*id)).collect();
        if !repeated.is_empty() {
            return Err(Failure::new(
                "org.apache.kafka.tools.AdminCommandFailedException",
                format!("Partition replica lists may not contain duplicate entries: {}", join(&repeated)),
            ));
        }
        if partitions.first().is_some_and(|first| first.len() != brokers.len()) {
            let brokers: Vec<_> = brokers.iter().map(i32::to_string).collect();
            return Err(Failure::new(
                "org.apache.kafka.tools.AdminOperationException",
                format!("Partition {index} has different replication factor: [{}]", brokers.join(", ")),
            ));
        }
        partitions.push(brokers);
    }
    Ok(partitions)
}

fn join<'a>(ids: impl IntoIterator<Item = &'a i32>) -> String {
    let ids: Vec<_> = ids.into_iter().map(i32::to_string).collect();
    ids.join(",")
}

/// Reads `--topic-id`; the zero id counts as none.
fn topic_id(options: &Options) -> Result<Option<Uuid>, Failure> {
    let Some(text) = options.value("topic-id")? else { return Ok(None) };
    match text.parse::<Uuid>() {
        Ok(id) if id == Uuid::default() => Ok(None),
        Ok(id) => Ok(Some(id)),
        Err(_) if text.len() > 24 => {
            let prefix: String = text.chars().take(24).collect();
            Err(Failure::illegal_argument(format!(
                "Input string with prefix `{prefix}` is too long to be decoded as a base64 UUID"
            )))
        }
        Err(_) => Err(Failure::illegal_argument(format!(
            "Input string `{text}` decoded as {} bytes, which is not equal to the expected 16 bytes of a \
             base64-encoded UUID",
            text.trim_end_matches('=').len() * 3 / 4
        ))),
    }
}

async fn describe(options: &Options, admin: &Admin) -> Result<(), Failure> {
    // The client asks for as many partitions at a time as fit; the option is only checked.
    options.number::<i32>("partition-size-limit-per-response")?;
    let topics = match topic_id(options)? {
        Some(id) => {
            let mut topics = admin.list_topics(!options.has("exclude-internal")).await?;
            topics.retain(|topic| topic.id == id);
            if topics.is_empty() && !options.has("if-exists") {
                return Err(Failure::illegal_argument(format!("TopicId '{id}' does not exist as expected")));
            }
            topics
        }
        None => {
            let topics = find_topics(options, admin).await?;
            ensure_exists(options, &topics)?;
            topics
        }
    };
    let names: Vec<String> = topics.into_iter().map(|topic| topic.name).collect();
    let mut described = Vec::with_capacity(names.len());
    if !names.is_empty() {
        for (_, topic) in admin.describe_topics(&names).await? {
            described.push(topic?);
        }
    }
    let resources: Vec<_> = names.iter().map(ConfigResource::topic).collect();
    let mut configs = HashMap::new();
    if !resources.is_empty() {
        for (resource, entries) in admin.describe_configs(&resources, false).await? {
            configs.insert(resource.name, entries);
        }
    }
    let live_brokers: BTreeSet<i32> =
        admin.describe_cluster().await?.nodes.iter().map(|node| node.id).collect();
    let moving = reassignments(admin, &described).await?;
    for topic in described {
        let config = match configs.remove(&topic.name) {
            Some(config) => config?,
            None => Vec::new(),
        };
        print_topic(options, &topic, &config, &moving, &live_brokers);
    }
    Ok(())
}

type Moving = HashMap<TopicPartition, Reassignment>;

async fn reassignments(admin: &Admin, topics: &[TopicDescription]) -> Result<Moving, Failure> {
    let partitions: Vec<_> = topics
        .iter()
        .flat_map(|topic| {
            let name: std::sync::Arc<str> = topic.name.as_str().into();
            topic
                .partitions
                .iter()
                .map(move |info| TopicPartition::new(std::sync::Arc::clone(&name), info.partition))
        })
        .collect();
    if partitions.is_empty() {
        return Ok(Moving::new());
    }
    match admin.list_reassignments(Some(&partitions)).await {
        Ok(list) => Ok(list.into_iter().map(|moving| (moving.partition.clone(), moving)).collect()),
        // Older brokers and clients without the right to ask: then there is nothing to show.
        Err(client::Error::UnsupportedVersion(_)) => Ok(Moving::new()),
        Err(error) if error.code() == Some(ErrorCode::ClusterAuthorizationFailed) => Ok(Moving::new()),
        Err(error) => Err(error.into()),
    }
}

fn print_topic(
    options: &Options,
    topic: &TopicDescription,
    config: &[ConfigEntry],
    moving: &Moving,
    live_brokers: &BTreeSet<i32>,
) {
    let reports = [
        "under-replicated-partitions",
        "unavailable-partitions",
        "under-min-isr-partitions",
        "at-min-isr-partitions",
    ];
    let whole = options.count(&reports) == 0;
    let overrides: Vec<_> = in_java_order(config)
        .into_iter()
        .filter(|entry| entry.source != ConfigSource::Default)
        .map(|entry| format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("null")))
        .collect();
    let only_overrides = options.has("topics-with-overrides");
    let move_of =
        |info: &PartitionInfo| moving.get(&TopicPartition::new(topic.name.as_str(), info.partition));
    if whole && (!only_overrides || !overrides.is_empty()) {
        let factor = topic.partitions.first().map_or(0, |first| replication_factor(first, move_of(first)));
        let mut line = format!("Topic: {}", topic.name);
        if topic.id != Uuid::default() {
            line += &format!("\tTopicId: {}", topic.id);
        }
        println!(
            "{line}\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}",
            topic.partitions.len(),
            overrides.join(",")
        );
    }
    if only_overrides {
        return;
    }
    let min_isr = config
        .iter()
        .find(|entry| entry.name == MIN_ISR)
        .and_then(|entry| entry.value.as_deref()?.parse().ok());
    let min_isr: usize = min_isr.unwrap_or(1);
    for info in &topic.partitions {
        let in_sync = info.isr.len();
        let leader_is_live = info.leader.as_ref().is_some_and(|leader| live_brokers.contains(&leader.id));
        let shown = whole
            || options.has("under-replicated-partitions")
                && replication_factor(info, move_of(info)) > in_sync
            || options.has("unavailable-partitions") && !leader_is_live
            || options.has("under-min-isr-partitions") && (info.leader.is_none() || in_sync < min_isr)
            || options.has("at-min-isr-partitions") && in_sync == min_isr;
        if shown {
            println!("{}", partition_line(&topic.name, info, move_of(info)));
        }
    }
}

/// The order in which Java's `HashMap` holds the entries by name: that of the original's output.
fn in_java_order(config: &[ConfigEntry]) -> Vec<&ConfigEntry> {
    // The table doubles, from 16, when it is more than three quarters full.
    let mut buckets = 16;
    while config.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    let bucket = |name: &str| {
        let hash =
            name.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    };
    let mut entries: Vec<_> = config.iter().collect();
    entries.sort_by_key(|entry| bucket(&entry.name));
    entries
}

fn partition_line(topic: &str, info: &PartitionInfo, moving: Option<&Reassignment>) -> String {
    let ids = |nodes: &[client::admin::Node]| join(nodes.iter().map(|node| &node.id));
    let leader = info.leader.as_ref().map_or_else(|| "none".to_owned(), |leader| leader.id.to_string());
    let mut line = format!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}",
        info.partition,
        ids(&info.replicas),
        ids(&info.isr)
    );
    if let Some(moving) = moving {
        line += &format!(
            "\tAdding Replicas: {}\tRemoving Replicas: {}",
            join(&moving.adding),
            join(&moving.removing)
        );
    }
    let eligible =
        |nodes: &Option<Vec<client::admin::Node>>| nodes.as_deref().map_or_else(|| "N/A".to_owned(), ids);
    line + &format!("\tElr: {}\tLastKnownElr: {}", eligible(&info.elr), eligible(&info.last_known_elr))
}

/// Replicas that the partition is meant to have: while it moves, those being added do not count.
fn replication_factor(info: &PartitionInfo, moving: Option<&Reassignment>) -> usize {
    match moving {
        Some(moving)
            if info
                .replicas
                .iter()
                .any(|node| moving.adding.contains(&node.id) || moving.removing.contains(&node.id)) =>
        {
            moving.replicas.len().saturating_sub(moving.adding.len())
        }
        _ => info.replicas.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Options {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Options::parse(FLAGS, &args).expect("parses")
    }

    #[test]
    fn patterns_match_whole_names() {
        let matches = |pattern: &str, topic: &str| topic_pattern(pattern).expect("valid").is_match(topic);
        assert!(matches("a.*", "a1"));
        assert!(!matches("a", "ab"));
        assert!(matches(" a1, ass ", "ass"));
        assert!(matches("\"a1\"", "a1"));
        assert!(matches("a|b", "b") && !matches("a|b", "ab"));
        assert_eq!(topic_pattern("[").expect_err("invalid").message, "[ is an invalid regex.");
    }

    #[test]
    fn assignments_name_brokers_per_partition() {
        let of =
            |text: &str| replica_assignment(&parse(&["--replica-assignment", text])).map_err(|e| e.message);
        assert_eq!(of("1:2,2:1"), Ok(vec![vec![1, 2], vec![2, 1]]));
        assert_eq!(of("1:1"), Err("Partition replica lists may not contain duplicate entries: 1".into()));
        assert_eq!(of("1,1:2"), Err("Partition 1 has different replication factor: [1, 2]".into()));
        assert_eq!(of("x"), Err("For input string: \"x\"".into()));
    }

    #[test]
    fn configs_stand_in_the_originals_order() {
        let entry = |name: &str| ConfigEntry {
            name: name.to_owned(),
            value: None,
            source: ConfigSource::Default,
            read_only: false,
            sensitive: false,
            synonyms: Vec::new(),
            config_type: 0,
            documentation: None,
        };
        let mut config: Vec<_> = (0..30).map(|n| entry(&format!("x{n}"))).collect();
        config.extend(["cleanup.policy", "min.insync.replicas", "retention.ms"].map(entry));
        let order: Vec<_> =
            in_java_order(&config).iter().map(|e| e.name.as_str()).filter(|n| n.contains('.')).collect();
        assert_eq!(order, ["min.insync.replicas", "cleanup.policy", "retention.ms"]);
    }

    #[test]
    fn configs_are_name_and_value() {
        let of = |texts: &[&str]| {
            let args: Vec<_> = texts.iter().flat_map(|text| ["--config", text]).collect();
            topic_configs(&parse(&args)).map_err(|_| ())
        };
        assert_eq!(
            of(&["b = 2", "a=1", "a=3"]),
            Ok(vec![("a".into(), "3".into()), ("b".into(), "2".into())])
        );
        for bad in ["a", "a=", "a=b=c"] {
            assert_eq!(of(&[bad]), Err(()), "{bad}");
        }
    }
}
