//! `kafka-metadata-quorum`: who keeps the cluster's metadata, and how far each of them is.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use client::admin::{QuorumDescription, QuorumReplica, VoterEndpoint};
use kafka_codec::Uuid;

use super::argparse::{Arg, Command, Group, Parsed, Parser, Takes};
use super::run::{self, Failure, Stop};

const TERSE: &str = "org.apache.kafka.tools.TerseException";

const PARSER: Parser = Parser {
    prog: "kafka-metadata-quorum",
    about: "This tool describes kraft metadata quorum status.",
    args: &[
        Arg::text(
            &["--bootstrap-server"],
            "A comma-separated list of host:port pairs to use for establishing the connection to the Kafka cluster.",
        )
        .group(0),
        Arg::text(
            &["--bootstrap-controller"],
            "A comma-separated list of host:port pairs to use for establishing the connection to the Kafka \
             controllers.",
        )
        .group(0),
        Arg::text(
            &["--command-config"],
            "Property file containing configs to be passed to Admin Client. For add-controller, the file is used to \
             specify the controller properties as well.",
        ),
    ],
    groups: &[Group::EXACTLY_ONE],
    commands: &[
        Command {
            name: "describe",
            help: "Describe the metadata quorum info",
            about: "",
            args: &[
                Arg::switch(
                    &["--status"],
                    "A short summary of the quorum status and the other provides detailed information about the \
                     status of replication.",
                )
                .group(0),
                Arg::switch(&["--replication"], "Detailed information about the status of replication").group(1),
                Arg::switch(&["--human-readable"], "Human-readable output").group(1),
            ],
            groups: &[Group::section("Status", ""), Group::section("Replication", "")],
        },
        Command {
            name: "add-controller",
            help: "Add a controller to the KRaft controller cluster",
            about: "",
            args: &[Arg::switch(&["--dry-run"], "True if we should print what would be done, but not do it.")],
            groups: &[],
        },
        Command {
            name: "remove-controller",
            help: "Remove a controller from the KRaft controller cluster",
            about: "",
            args: &[
                Arg::of(Takes::Integer, &["--controller-id", "-i"], "The id of the controller to remove.").required(),
                Arg::text(
                    &["--controller-directory-id", "-d"],
                    "The directory ID of the controller to remove.",
                )
                .required(),
                Arg::switch(&["--dry-run"], "True if we should print what would be done, but not do it."),
            ],
            groups: &[],
        },
    ],
    title: "",
    metavar: "",
    tells_defaults: true,
    example: "kafka-metadata-quorum --bootstrap-server localhost:9092 describe --status",
};

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match run::commands(&PARSER, args, 0) {
        Ok(parsed) => act(&parsed).await,
        Err(stop) => Err(stop),
    };
    run::finish(outcome, &[], |failure| match failure.exception.as_str() {
        TERSE => eprintln!("{}", failure.message),
        _ => run::trace(failure),
    })
}

fn terse(message: impl Into<String>) -> Stop {
    Failure::new(TERSE, message).into()
}

async fn act(parsed: &Parsed) -> Result<(), Stop> {
    let config = parsed.text("--command-config");
    if let Some(path) = config.filter(|path| !Path::new(path).exists()) {
        return Err(terse(format!("Properties file {path} does not exists!")));
    }
    let admin =
        run::admin_at(parsed.text("--bootstrap-server"), parsed.text("--bootstrap-controller"), config)?;
    match parsed.command {
        "describe" => match (parsed.has("--status"), parsed.has("--replication")) {
            (true, true) => {
                return Err(terse(
                    "Only one of --status or --replication should be specified with describe sub-command",
                ));
            }
            (false, true) => {
                let quorum = admin.describe_quorum().await.map_err(Failure::execution)?;
                print_replication(&quorum, parsed.has("--human-readable"))?;
            }
            (true, false) if parsed.has("--human-readable") => {
                return Err(terse("The option --human-readable is only supported along with --replication"));
            }
            (true, false) => {
                let cluster = admin.describe_cluster().await.map_err(Failure::execution)?;
                let quorum = admin.describe_quorum().await.map_err(Failure::execution)?;
                print_status(&cluster.cluster_id.unwrap_or_else(|| "null".to_owned()), &quorum)?;
            }
            (false, false) => {
                return Err(terse(
                    "One of --status or --replication must be specified with describe sub-command",
                ));
            }
        },
        "add-controller" => add_controller(&admin, parsed, config).await?,
        _ => remove_controller(&admin, parsed).await?,
    }
    admin.close().await;
    Ok(())
}

fn leader(quorum: &QuorumDescription) -> Result<&QuorumReplica, Failure> {
    let leader = quorum.voters.iter().find(|voter| voter.id == quorum.leader_id);
    leader.ok_or_else(|| Failure::new("java.util.NoSuchElementException", "No value present"))
}

fn print_replication(quorum: &QuorumDescription, for_people: bool) -> Result<(), Failure> {
    let leader = leader(quorum)?;
    let followers = quorum.voters.iter().filter(|voter| voter.id != quorum.leader_id);
    let replicas = std::iter::once((leader, "Leader"))
        .chain(followers.map(|replica| (replica, "Follower")))
        .chain(quorum.observers.iter().map(|replica| (replica, "Observer")));
    let mut rows = Vec::new();
    for (replica, status) in replicas {
        rows.push(vec![
            replica.id.to_string(),
            replica.directory_id.to_string(),
            replica.log_end_offset.to_string(),
            (leader.log_end_offset - replica.log_end_offset).to_string(),
            time(replica.last_fetch_ms, for_people, "last fetch")?,
            time(replica.last_caught_up_ms, for_people, "last caught up")?,
            status.to_owned(),
        ]);
    }
    let headers = [
        "NodeId",
        "DirectoryId",
        "LogEndOffset",
        "Lag",
        "LastFetchTimestamp",
        "LastCaughtUpTimestamp",
        "Status",
    ];
    run::print_table(&headers, &rows);
    Ok(())
}

fn time(at_ms: Option<i64>, for_people: bool, what: &str) -> Result<String, Failure> {
    let Some(at_ms) = at_ms else { return Ok("-1".to_owned()) };
    if !for_people {
        return Ok(at_ms.to_string());
    }
    let now_ms = run::now_ms();
    if at_ms <= 0 || at_ms > now_ms {
        return Err(Failure::kafka(format!(
            "Error while computing relative time, possible drift in system clock.\nCurrent timestamp is {now_ms}, \
             {what} timestamp is {at_ms}"
        )));
    }
    Ok(format!("{} ms ago", now_ms - at_ms))
}

fn print_status(cluster_id: &str, quorum: &QuorumDescription) -> Result<(), Failure> {
    let leader = leader(quorum)?;
    let slowest = quorum.voters.iter().min_by_key(|voter| voter.log_end_offset).unwrap_or(leader);
    let lag_ms = match (leader.last_caught_up_ms, slowest.last_caught_up_ms) {
        _ if slowest == leader => 0,
        (Some(leader), Some(slowest)) => leader - slowest,
        _ => -1,
    };
    println!("ClusterId:              {cluster_id}");
    println!("LeaderId:               {}", quorum.leader_id);
    println!("LeaderEpoch:            {}", quorum.leader_epoch);
    println!("HighWatermark:          {}", quorum.high_watermark);
    println!("MaxFollowerLag:         {}", leader.log_end_offset - slowest.log_end_offset);
    println!("MaxFollowerLagTimeMs:   {lag_ms}");
    println!("CurrentVoters:          {}", replicas_text(quorum, &quorum.voters));
    println!("CurrentObservers:       {}", replicas_text(quorum, &quorum.observers));
    Ok(())
}

fn replicas_text(quorum: &QuorumDescription, replicas: &[QuorumReplica]) -> String {
    let text = |replica: &QuorumReplica| {
        let mut text = format!("{{\"id\": {}", replica.id);
        if !replica.directory_id.is_zero() {
            let _ = write!(text, ", \"directoryId\": \"{}\"", replica.directory_id);
        }
        let endpoints = quorum.endpoints.get(&replica.id).map(Vec::as_slice).unwrap_or_default();
        if !endpoints.is_empty() {
            let quoted: Vec<_> = endpoints.iter().map(|e| format!("\"{}\"", endpoint_text(e))).collect();
            let _ = write!(text, ", \"endpoints\": [{}]", quoted.join(", "));
        }
        text + "}"
    };
    format!("[{}]", replicas.iter().map(text).collect::<Vec<_>>().join(", "))
}

fn endpoint_text(endpoint: &VoterEndpoint) -> String {
    match endpoint.host.contains(':') {
        true => format!("{}://[{}]:{}", endpoint.listener, endpoint.host, endpoint.port),
        false => format!("{}://{}:{}", endpoint.listener, endpoint.host, endpoint.port),
    }
}

/// What Java's `Uuid.fromString` says of a text that is none.
fn not_a_uuid(text: &str) -> String {
    let digits = text.trim_end_matches('=');
    if text.len() > 24 {
        let prefix: String = text.chars().take(24).collect();
        return format!("Input string with prefix `{prefix}` is too long to be decoded as a base64 UUID");
    }
    let strange = digits.bytes().find(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'-' | b'_'));
    match strange {
        Some(byte) => format!("Illegal base64 character {byte:x}"),
        None => format!(
            "Input string `{text}` decoded as {} bytes, which is not equal to the expected 16 bytes of a \
             base64-encoded UUID",
            digits.len() * 6 / 8
        ),
    }
}

async fn remove_controller(admin: &client::Admin, parsed: &Parsed) -> Result<(), Stop> {
    let id: i32 = parsed.number("--controller-id").unwrap_or_default();
    if id < 0 {
        return Err(terse(format!("Invalid negative --controller-id: {id}")));
    }
    let text = parsed.text("--controller-directory-id").unwrap_or_default();
    let directory: Uuid = text
        .parse()
        .map_err(|_| terse(format!("Failed to parse --controller-directory-id: {}", not_a_uuid(text))))?;
    let dry_run = parsed.has("--dry-run");
    if !dry_run {
        admin.remove_raft_voter(id, directory).await.map_err(Failure::execution)?;
    }
    // The two spaces are the original's.
    let done = if dry_run { "DRY RUN of removing " } else { "Removed " };
    println!("{done} KRaft controller {id} with directory id {directory}");
    Ok(())
}

async fn add_controller(admin: &client::Admin, parsed: &Parsed, config: Option<&str>) -> Result<(), Stop> {
    let Some(path) = config else {
        return Err(terse(
            "You must supply the configuration file of the controller you are adding when using add-controller.",
        ));
    };
    let properties = run::load_properties(path)?;
    let invalid = |name: &str, what: &str| {
        terse(format!("{name} {what} configuration file. Is this a valid controller configuration file?"))
    };
    let id: i32 = match properties.get("node.id") {
        None => return Err(invalid("node.id", "not found in")),
        Some(id) => id.trim().parse().map_err(|_| {
            Failure::new("java.lang.NumberFormatException", format!("For input string: \"{id}\""))
        })?,
    };
    if id < 0 {
        return Err(invalid("node.id", "was negative in"));
    }
    if !properties.get("process.roles").is_some_and(|roles| roles.contains("controller")) {
        return Err(invalid("process.roles", "did not contain 'controller' in"));
    }
    let log_dirs = properties.get("log.dirs").and_then(|dirs| dirs.split(',').next());
    let directory = properties.get("metadata.log.dir").map(String::as_str).or(log_dirs).ok_or_else(|| {
        terse("Neither metadata.log.dir nor log.dirs were found. Is this a valid controller configuration file?")
    })?;
    let directory_id = directory_id(directory.trim())?;
    let endpoints = advertised(&properties)?;
    let dry_run = parsed.has("--dry-run");
    if !dry_run {
        admin.add_raft_voter(id, directory_id, &endpoints).await.map_err(Failure::execution)?;
    }
    let done = if dry_run { "DRY RUN of adding" } else { "Added" };
    let endpoints: Vec<_> = endpoints.iter().map(endpoint_text).collect();
    println!(
        "{done} controller {id} with directory id {directory_id} and endpoints: {}",
        endpoints.join(", ")
    );
    Ok(())
}

fn directory_id(directory: &str) -> Result<Uuid, Stop> {
    let path = Path::new(directory).join("meta.properties");
    let unreadable = || terse(format!("Unable to read meta.properties from {directory}"));
    let properties = path.to_str().and_then(|path| run::load_properties(path).ok()).ok_or_else(unreadable)?;
    let id = properties.get("directory.id").and_then(|id| id.parse().ok());
    id.ok_or_else(|| terse(format!("No directory id found in {directory}")))
}

/// The controller listeners' addresses: advertised ones before bound ones.
fn advertised(properties: &std::collections::BTreeMap<String, String>) -> Result<Vec<VoterEndpoint>, Stop> {
    let mut listeners = std::collections::BTreeMap::new();
    for property in ["listeners", "advertised.listeners"] {
        let list = properties.get(property).map(String::as_str).unwrap_or_default();
        for url in list.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            let parts = url.split_once("://").and_then(|(name, address)| {
                let (host, port) = address.rsplit_once(':')?;
                Some((
                    name.to_uppercase(),
                    host.trim_matches(['[', ']']).to_owned(),
                    port.parse::<u16>().ok()?,
                ))
            });
            let (listener, host, port) = parts.ok_or_else(|| {
                Failure::illegal_argument(format!("Unable to parse {url} to a broker endpoint"))
            })?;
            let host = if host.is_empty() { "localhost".to_owned() } else { host };
            listeners.insert(listener.clone(), VoterEndpoint { listener, host, port });
        }
    }
    let names = properties.get("controller.listener.names").ok_or_else(|| {
        terse("controller.listener.names was not found. Is this a valid controller configuration file?")
    })?;
    let endpoint = |name: &str| {
        let name = name.trim().to_uppercase();
        let found = listeners.get(&name).cloned();
        found.ok_or_else(|| terse(format!("Cannot find information about controller listener name: {name}")))
    };
    names.split(',').map(endpoint).collect()
}
