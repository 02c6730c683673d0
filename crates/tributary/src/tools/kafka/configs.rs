//! `kafka-configs`: shows and changes configurations of topics, brokers, brokers' loggers, groups and client metrics;
//! quotas and credentials of users, clients and addresses are [`super::client_entities`].

use std::collections::BTreeSet;
use std::process::ExitCode;

use client::Admin;
use client::admin::{
    AlterConfigOp, ConfigEntry, ConfigResource, ConfigResourceType, ConfigSource, ListGroupsOptions,
};

use super::client_entities::{Changes, ClientEntities};
use super::config_names::{broker_configs, group_configs, topic_configs};
use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION, ZOOKEEPER};
use super::run::{self, Failure, Stop};

const EXECUTION: &str = "java.util.concurrent.ExecutionException";
const ABOUT: &str = "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, \
                     client-metrics or group";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    ZOOKEEPER,
    Flag::switch("force", "").hidden(),
    Flag::text("bootstrap-server", "server to connect to", "The Kafka servers to connect to."),
    Flag::text("bootstrap-controller", "controller to connect to", "The Kafka controllers to connect to."),
    Flag::text(
        "command-config",
        "command config property file",
        "Property file containing configs to be passed to Admin Client. This is used only with --bootstrap-server \
         option for describing and altering broker configs.",
    ),
    Flag::switch("alter", "Alter the configuration for the entity."),
    Flag::switch("describe", "List configs for the given entity."),
    Flag::switch("all", "List all configs for the given entity, including static configs if available."),
    Flag::text(
        "entity-type",
        "",
        "Type of entity (topics/clients/users/brokers/broker-loggers/ips/client-metrics/groups)",
    ),
    Flag::text(
        "entity-name",
        "",
        "Name of entity (topic name/client id/user principal name/broker id/ip/client metrics/group id)",
    ),
    Flag::switch(
        "entity-default",
        "Default entity name for clients/users/brokers/ips (applies to corresponding entity type)",
    ),
    Flag::text(
        "add-config",
        "",
        concat!(
            "Key Value pairs of configs to add. Square brackets can be used to group values which contain commas: \
             'k1=v1,k2=[v1,v2,v2],k3=v3'. The following is a list of valid configurations: For entity-type \
             'topics': \n",
            topic_configs!(),
            "For entity-type 'brokers': \n",
            broker_configs!(),
            "For entity-type 'users': \n\tSCRAM-SHA-256\n\tSCRAM-SHA-512\n\tconsumer_byte_rate\n\t\
             controller_mutation_rate\n\tproducer_byte_rate\n\trequest_percentage\nFor entity-type 'clients': \n\t\
             consumer_byte_rate\n\tcontroller_mutation_rate\n\tproducer_byte_rate\n\trequest_percentage\nFor \
             entity-type 'ips': \n\tconnection_creation_rate\nFor entity-type 'client-metrics': \n\tinterval.ms\n\t\
             match\n\tmetrics\nFor entity-type 'groups': \n",
            group_configs!(),
            "Entity types 'users' and 'clients' may be specified together to update config for clients of a specific \
             user."
        ),
    ),
    Flag::text(
        "add-config-file",
        "",
        "Path to a properties file with configs to add. See add-config for a list of valid configurations.",
    ),
    Flag::text("delete-config", "", "config keys to remove 'k1,k2'"),
    Flag::text("topic", "", "The topic's name."),
    Flag::text("client", "", "The client's ID."),
    Flag::switch("client-defaults", "The config defaults for all clients."),
    Flag::text("user", "", "The user's principal name."),
    Flag::switch("user-defaults", "The config defaults for all users."),
    Flag::text("broker", "", "The broker's ID."),
    Flag::switch("broker-defaults", "The config defaults for all brokers."),
    Flag::text("broker-logger", "", "The broker's ID for its logger config."),
    Flag::switch("ip-defaults", "The config defaults for all IPs."),
    Flag::text("ip", "", "The IP address."),
    Flag::text("group", "", "The group's ID."),
    Flag::text("client-metrics", "", "The client metrics config resource name."),
];

/// Entity types by the option that names one of them, and by the option for all of them.
const ENTITIES: [(&str, &str, Option<&str>); 8] = [
    ("topics", "topic", None),
    ("clients", "client", Some("client-defaults")),
    ("users", "user", Some("user-defaults")),
    ("brokers", "broker", Some("broker-defaults")),
    ("ips", "ip", Some("ip-defaults")),
    ("client-metrics", "client-metrics", None),
    ("groups", "group", None),
    ("broker-loggers", "broker-logger", None),
];
/// Types that have a default entity.
const WITH_DEFAULT: [&str; 4] = ["users", "clients", "brokers", "ips"];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(FLAGS, args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match entity(&options) {
        Ok(entity) => act(&options, &entity).await,
        Err(stop) => Err(stop),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(message)) => run::usage(&options.usage(), &message),
        Err(Stop::Failed(failure)) => {
            let use_error = failure.exception == "java.lang.IllegalArgumentException"
                || failure.exception.starts_with("joptsimple.");
            if use_error {
                eprintln!("{}", failure.message);
            } else {
                eprintln!("Error while executing config command with args '{}'\n{failure}", args.join(" "));
            }
            ExitCode::FAILURE
        }
    }
}

fn illegal(message: impl Into<String>) -> Stop {
    Failure::illegal_argument(message).into()
}

/// What is to be shown or changed.
#[derive(Debug, PartialEq, Eq)]
struct Entity {
    /// `topics`, `brokers` …
    kind: &'static str,
    /// Its name; empty for the default of all; `None` for each of them.
    name: Option<String>,
    /// Where it is about users, clients or addresses: all parts.
    clients: Option<ClientEntities>,
}

impl Entity {
    fn singular(&self) -> &'static str {
        self.kind.strip_suffix('s').unwrap_or(self.kind)
    }
}

/// Checks the command line and finds the entity.
fn entity(options: &Options) -> Result<Entity, Stop> {
    run::help_or_version(
        options,
        ABOUT,
        "kafka-configs --bootstrap-server localhost:9092 --alter --topic sensors --add-config retention.ms=3600000",
    )?;
    if options.count(&["alter", "describe"]) != 1 {
        return Err(Stop::Usage("Command must include exactly one action: --describe, --alter".to_owned()));
    }
    run::exclude(options, "describe", &["alter", "add-config", "delete-config"])?;
    let entity = named_entity(options)?;
    if !run::has_bootstrap(options) && !options.has("bootstrap-controller") {
        return Err(illegal("Either --bootstrap-server or --bootstrap-controller must be specified."));
    }
    let name = entity.name.as_deref().unwrap_or_default();
    if matches!(entity.kind, "brokers" | "broker-loggers") && !name.is_empty() && name.parse::<i32>().is_err()
    {
        return Err(illegal(format!(
            "The entity name for {} must be a valid integer broker id, but it is: {name}",
            entity.kind
        )));
    }
    if options.has("describe") {
        if !WITH_DEFAULT.contains(&entity.kind) && options.has("entity-default") {
            return Err(illegal(format!(
                "--entity-default must not be specified with --describe of {}",
                entity.kind
            )));
        }
        if entity.kind == "broker-loggers" && name.is_empty() {
            return Err(illegal("An entity name must be specified with --describe of broker-loggers"));
        }
    } else {
        check_alter(options, &entity)?;
    }
    Ok(entity)
}

fn check_alter(options: &Options, entity: &Entity) -> Result<(), Stop> {
    if WITH_DEFAULT.contains(&entity.kind) {
        let parts = entity.clients.iter().flat_map(|clients| &clients.0);
        if entity.name.is_none() || parts.clone().any(|(_, name)| name.is_none()) {
            return Err(illegal(
                "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips",
            ));
        }
    } else if entity.name.as_deref().unwrap_or_default().is_empty() {
        return Err(illegal(format!("An entity name must be specified with --alter of {}", entity.kind)));
    }
    match options.count(&["add-config", "add-config-file"]) {
        2 => Err(illegal("Only one of --add-config or --add-config-file must be specified")),
        0 if !options.has("delete-config") => Err(illegal(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter",
        )),
        _ => Ok(()),
    }
}

fn named_entity(options: &Options) -> Result<Entity, Stop> {
    let own_flags: Vec<&str> = ENTITIES
        .iter()
        .flat_map(|(_, one, all)| [Some(*one), *all])
        .flatten()
        .filter(|flag| options.has(flag))
        .collect();
    let mut kinds: Vec<&str> = options.values("entity-type");
    for (kind, one, all) in ENTITIES {
        kinds.extend([Some(one), all].into_iter().flatten().filter(|flag| options.has(flag)).map(|_| kind));
    }
    let mut seen = BTreeSet::new();
    let repeated: Vec<_> = kinds.iter().filter(|kind| !seen.insert(**kind)).copied().collect();
    if !repeated.is_empty() {
        return Err(illegal(format!("Duplicate entity type(s) specified: {}", repeated.join(","))));
    }
    let known = |wanted: &&str| ENTITIES.iter().any(|(kind, ..)| kind == wanted);
    if let Some(unknown) = kinds.iter().find(|kind| !known(kind)) {
        let all: Vec<_> = ENTITIES.iter().map(|(kind, ..)| *kind).collect();
        return Err(illegal(format!(
            "Invalid entity type {unknown}, the entity type must be one of {} with a --bootstrap-server or \
             --bootstrap-controller argument",
            all.join(", ")
        )));
    }
    let kind = match kinds.as_slice() {
        [] => return Err(illegal("At least one entity type must be specified")),
        [kind] => kind,
        [first, ..] if kinds.iter().all(|kind| matches!(*kind, "users" | "clients")) => first,
        _ => return Err(illegal("Only 'users' and 'clients' entity types may be specified together")),
    };
    if options.count(&["entity-name", "entity-type", "entity-default"]) > 0 && !own_flags.is_empty() {
        return Err(illegal(
            "--entity-{type,name,default} should not be used in conjunction with specific entity flags",
        ));
    }
    let Some((kind, one, all)) = ENTITIES.iter().find(|(known, ..)| known == kind) else {
        return Err(illegal(format!("Invalid entity type: {kind}")));
    };
    if matches!(*kind, "users" | "clients" | "ips") {
        let clients = client_entities(&kinds, options)?;
        let name = clients.0.first().and_then(|(_, name)| name.clone());
        return Ok(Entity { kind, name, clients: Some(clients) });
    }
    let default = options.has("entity-default") || all.is_some_and(|all| options.has(all));
    let name = match options.value("entity-name")? {
        Some(name) => Some(name),
        None => options.value(one)?,
    };
    let name = name.map(str::to_owned).or_else(|| default.then(String::new));
    Ok(Entity { kind, name, clients: None })
}

/// Users, clients or addresses with their names, by either way of naming them.
fn client_entities(kinds: &[&str], options: &Options) -> Result<ClientEntities, Stop> {
    let mut known = Vec::new();
    let mut own = Vec::new();
    for wanted in kinds {
        let Some((kind, one, all)) = ENTITIES.iter().find(|(kind, ..)| kind == wanted) else { continue };
        let default = all.is_some_and(|all| options.has(all)).then(String::new);
        known.push(*kind);
        own.push(options.value(one)?.map(str::to_owned).or(default));
    }
    Ok(ClientEntities::named(&known, &own, options))
}

async fn act(options: &Options, entity: &Entity) -> Result<(), Stop> {
    let changes = if options.has("alter") { Some(changes(options)?) } else { None };
    let admin = match options.value("bootstrap-controller")? {
        Some(controllers) => {
            let mut properties = match options.value("command-config")? {
                Some(path) => run::load_properties(path)?,
                None => Default::default(),
            };
            properties.insert("bootstrap.controllers".to_owned(), controllers.to_owned());
            Admin::new(client::AdminConfig::from_properties(properties)?)?
        }
        None => run::admin(options)?,
    };
    let outcome = match (changes, &entity.clients) {
        (Some(changes), Some(clients)) => clients.alter(&admin, of_clients(changes)).await,
        (None, Some(clients)) => clients.describe(&admin).await,
        (Some(changes), None) => alter(&admin, entity, changes).await,
        (None, None) => describe(&admin, entity, options.has("all")).await,
    };
    admin.close().await;
    outcome
}

fn of_clients(changes: Vec<AlterConfigOp>) -> Changes {
    let mut sorted = Changes::default();
    for change in changes {
        match change {
            AlterConfigOp::Set(name, value) => sorted.add.push((name, value)),
            AlterConfigOp::Delete(name) => sorted.delete.push(name),
            AlterConfigOp::Append(..) | AlterConfigOp::Subtract(..) => {}
        }
    }
    sorted
}

/// What `--add-config`, `--add-config-file` and `--delete-config` ask for.
fn changes(options: &Options) -> Result<Vec<AlterConfigOp>, Stop> {
    let mut add: Vec<(String, String)> = match options.value("add-config-file")? {
        Some(path) => run::load_properties(path)?.into_iter().collect(),
        None => Vec::new(),
    };
    if let Some(text) = options.value("add-config")? {
        for pair in split_outside_brackets(text) {
            let parts: Vec<_> = split_value(&pair);
            let [name, value] = parts.as_slice() else {
                return Err(illegal(
                    "requirement failed: Invalid entity config: all configs to be added must be in the format \
                     \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.",
                ));
            };
            add.push((name.trim().to_owned(), value.replace(['[', ']'], "").trim().to_owned()));
        }
    }
    let allowed =
        |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if let Some((name, _)) = add.iter().find(|(name, _)| !allowed(name)) {
        return Err(illegal(format!("Invalid character found for config key: {name}")));
    }
    let delete = options.values("delete-config").into_iter().flat_map(|list| list.split(',')).map(str::trim);
    let delete = delete.filter(|name| !name.is_empty()).map(|name| AlterConfigOp::Delete(name.to_owned()));
    Ok(delete.chain(add.into_iter().map(|(name, value)| AlterConfigOp::Set(name, value))).collect())
}

/// Parts between commas, of which those in square brackets do not count.
fn split_outside_brackets(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match parts.last_mut() {
            Some(part) if c != ',' || depth > 0 => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts
}

/// `name` and `value`; an equals sign counts only outside square brackets.
fn split_value(pair: &str) -> Vec<&str> {
    let bracket = pair.find('[').unwrap_or(pair.len());
    let (head, _) = pair.split_at(bracket);
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in head.match_indices('=') {
        parts.extend(pair.get(start..at));
        start = at + 1;
    }
    parts.extend(pair.get(start..));
    parts
}

fn resource(entity: &Entity, name: &str) -> ConfigResource {
    let kind = match entity.kind {
        "topics" => ConfigResourceType::Topic,
        "groups" => ConfigResourceType::Group,
        "client-metrics" => ConfigResourceType::ClientMetrics,
        "broker-loggers" => ConfigResourceType::BrokerLogger,
        _ => ConfigResourceType::Broker,
    };
    ConfigResource { kind, name: name.to_owned() }
}

/// Where the values come from that are the entity's own; `None` = all count.
fn own_source(entity: &Entity, name: &str) -> Option<ConfigSource> {
    match entity.kind {
        "topics" => Some(ConfigSource::DynamicTopic),
        "groups" => Some(ConfigSource::Group),
        "client-metrics" => Some(ConfigSource::ClientMetrics),
        "broker-loggers" => None,
        _ if name.is_empty() => Some(ConfigSource::DynamicDefaultBroker),
        _ => Some(ConfigSource::DynamicBroker),
    }
}

async fn alter(admin: &Admin, entity: &Entity, changes: Vec<AlterConfigOp>) -> Result<(), Stop> {
    let name = entity.name.as_deref().unwrap_or_default();
    let answers =
        admin.incremental_alter_configs(&[(resource(entity, name), changes)], false).await.map_err(thrown)?;
    for (_, answer) in answers {
        answer.map_err(thrown)?;
    }
    if name.is_empty() {
        println!("Completed updating default config for {} in the cluster.", entity.kind);
    } else {
        println!("Completed updating config for {} {name}.", entity.singular());
    }
    Ok(())
}

/// As Java's futures tell errors.
fn thrown(error: client::Error) -> Failure {
    Failure::from(error).wrapped_in(EXECUTION)
}

async fn describe(admin: &Admin, entity: &Entity, all: bool) -> Result<(), Stop> {
    let names = match &entity.name {
        Some(name) => {
            if !all && !exists(admin, entity, name).await? {
                println!("The {} '{name}' doesn't exist and doesn't have dynamic config.", entity.singular());
                return Ok(());
            }
            vec![name.clone()]
        }
        None => every_name(admin, entity).await?,
    };
    for name in names {
        match name.as_str() {
            "" => println!("Default configs for {} in the cluster are:", entity.kind),
            name => {
                println!(
                    "{} configs for {} {name} are:",
                    if all { "All" } else { "Dynamic" },
                    entity.singular()
                );
            }
        }
        for entry in configs(admin, entity, &name, all).await? {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
            let synonyms: Vec<_> = entry
                .synonyms
                .iter()
                .map(|synonym| {
                    format!("{}:{}={}", synonym.source.name(), synonym.name, value(&synonym.value))
                })
                .collect();
            println!(
                "  {}={} sensitive={} synonyms={{{}}}",
                entry.name,
                value(&entry.value),
                entry.sensitive,
                synonyms.join(", ")
            );
        }
    }
    Ok(())
}

/// Configurations of one entity, sorted by name.
async fn configs(admin: &Admin, entity: &Entity, name: &str, all: bool) -> Result<Vec<ConfigEntry>, Failure> {
    let source = if all { None } else { own_source(entity, name) };
    let mut entries = Vec::new();
    for (_, answer) in admin.describe_configs(&[resource(entity, name)], false).await.map_err(thrown)? {
        entries.extend(answer.map_err(thrown)?);
    }
    entries.retain(|entry| source.is_none_or(|source| entry.source == source));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Whether there is anything to show of the entity.
async fn exists(admin: &Admin, entity: &Entity, name: &str) -> Result<bool, Failure> {
    Ok(match entity.kind {
        "topics" => admin.list_topics(true).await.map_err(thrown)?.iter().any(|topic| topic.name == name),
        "brokers" | "broker-loggers" if !name.is_empty() => admin
            .describe_cluster()
            .await
            .map_err(thrown)?
            .nodes
            .iter()
            .any(|node| node.id.to_string() == name),
        "groups" => {
            let groups = admin.list_groups(&ListGroupsOptions::default()).await.map_err(thrown)?;
            groups.iter().any(|group| group.group_id == name)
                || !configs(admin, entity, name, false).await?.is_empty()
        }
        "client-metrics" => !configs(admin, entity, name, false).await?.is_empty(),
        _ => true,
    })
}

async fn every_name(admin: &Admin, entity: &Entity) -> Result<Vec<String>, Stop> {
    Ok(match entity.kind {
        "topics" => {
            admin.list_topics(true).await.map_err(thrown)?.into_iter().map(|topic| topic.name).collect()
        }
        "groups" => {
            let groups = admin.list_groups(&ListGroupsOptions::default()).await.map_err(thrown)?;
            groups.into_iter().map(|group| group.group_id).collect()
        }
        "client-metrics" => {
            return Err(illegal("An entity name must be specified with --describe of client-metrics"));
        }
        _ => {
            let nodes = admin.describe_cluster().await.map_err(thrown)?.nodes;
            nodes.iter().map(|node| node.id.to_string()).chain([String::new()]).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Options {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        Options::parse(FLAGS, &args).expect("parses")
    }

    #[test]
    fn entities_are_named_in_two_ways() {
        let of = |args: &str| match entity(&parse(&format!("--bootstrap-server h:1 {args}"))) {
            Ok(Entity { kind, name, .. }) => format!("{kind} {name:?}"),
            Err(Stop::Failed(failure)) => failure.message,
            Err(other) => format!("{other:?}"),
        };
        assert_eq!(of("--describe --topic t"), "topics Some(\"t\")");
        assert_eq!(of("--describe --entity-type topics --entity-name t"), "topics Some(\"t\")");
        assert_eq!(of("--describe --entity-type brokers"), "brokers None");
        assert_eq!(of("--describe --broker-defaults"), "brokers Some(\"\")");
        assert_eq!(of("--describe"), "At least one entity type must be specified");
        assert_eq!(
            of("--describe --topic t --entity-type topics"),
            "Duplicate entity type(s) specified: topics"
        );
        assert_eq!(
            of("--describe --topic t --group g"),
            "Only 'users' and 'clients' entity types may be specified together"
        );
        assert_eq!(
            of("--describe --broker x"),
            "The entity name for brokers must be a valid integer broker id, but it is: x"
        );
        assert_eq!(
            of("--alter --entity-type topics"),
            "An entity name must be specified with --alter of topics"
        );
        assert!(of("--alter --topic t").starts_with("At least one of --add-config"));
    }

    #[test]
    fn changes_keep_lists_together() {
        let of = |args: &str| {
            changes(&parse(args)).map(|list| format!("{list:?}")).map_err(|stop| format!("{stop:?}"))
        };
        assert_eq!(
            of("--add-config a=1,b=[x,y],c= --delete-config d,e"),
            Ok("[Delete(\"d\"), Delete(\"e\"), Set(\"a\", \"1\"), Set(\"b\", \"x,y\"), Set(\"c\", \"\")]"
                .to_owned())
        );
        assert_eq!(of("--add-config m=[k=v,l=w]"), Ok("[Set(\"m\", \"k=v,l=w\")]".to_owned()));
        assert!(of("--add-config bogus").is_err_and(|e| e.contains("requirement failed")));
        assert!(of("--add-config a=b=c").is_err_and(|e| e.contains("requirement failed")));
        assert!(
            of("--add-config a$=b").is_err_and(|e| e.contains("Invalid character found for config key: a$"))
        );
    }
}
