//! `kafka-client-metrics`: which metrics clients are asked to push.

use std::process::ExitCode;

use client::Admin;
use client::admin::{AlterConfigOp, ConfigEntry, ConfigResource, ConfigResourceType};
use kafka_codec::Uuid;

use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

const ABOUT: &str = "This tool helps to manipulate and describe client metrics configurations.";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text("bootstrap-server", "server to connect to", "REQUIRED: The Kafka server to connect to."),
    Flag::text(
        "command-config",
        "command config property file",
        "Property file containing configs to be passed to Admin Client.",
    ),
    Flag::switch("alter", "Alter the configuration for the client metrics resource."),
    Flag::switch("delete", "Delete the configuration for the client metrics resource."),
    Flag::switch("describe", "List configurations for the client metrics resource."),
    Flag::switch("list", "List the client metrics resources."),
    Flag::text("name", "name", "Name of client metrics configuration resource."),
    Flag::switch("generate-name", "Generate a UUID to use as the name."),
    Flag::text(
        "interval",
        "push interval",
        "The metrics push interval in milliseconds.\nLeave empty to reset the interval.",
    ),
    Flag::text(
        "match",
        "k1=v1,k2=v2",
        "Matching selector 'k1=v1,k2=v2'. The following is a list of valid selector names: \n\tclient_id\n\t\
         client_instance_id\n\tclient_software_name\n\tclient_software_version\n\tclient_source_address\n\t\
         client_source_port",
    ),
    Flag::text("metrics", "m1,m2", "Telemetry metric name prefixes 'm1,m2'."),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(FLAGS, args) {
        Ok(options) => options,
        Err(error) => return run::usage(&super::usage::render(FLAGS), &error.to_string()),
    };
    if let Err(stop) = check(&options) {
        return run::finish(Err(stop), FLAGS, run::trace);
    }
    match act(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("Error while executing client metrics command : {}", failure.message);
            run::log_error(&format!("{failure}\n"), "org.apache.kafka.tools.ClientMetricsCommand");
            ExitCode::FAILURE
        }
    }
}

fn check(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        ABOUT,
        "kafka-client-metrics --bootstrap-server localhost:9092 --alter --generate-name --metrics \
         org.apache.kafka.producer. --interval 60000",
    )?;
    if options.count(&["alter", "delete", "describe", "list"]) != 1 {
        let text = "Command must include exactly one action: --alter, --delete, --describe or --list.";
        return Err(Stop::Usage(text.to_owned()));
    }
    let illegal = |text: &str| Err(Failure::illegal_argument(text).into());
    if !options.has("bootstrap-server") {
        return illegal("--bootstrap-server must be specified.");
    }
    run::exclude(options, "delete", &["generate-name", "interval", "match", "metrics"])?;
    run::exclude(options, "describe", &["generate-name", "interval", "match", "metrics"])?;
    run::exclude(options, "list", &["name", "generate-name", "interval", "match", "metrics"])?;
    if options.has("alter") {
        if options.has("name") == options.has("generate-name") {
            return illegal("One of --name or --generate-name must be specified with --alter.");
        }
        let interval = options.value("interval")?.filter(|text| !text.is_empty());
        if interval.is_some_and(|text| text.parse::<i32>().is_err()) {
            return illegal("Invalid interval value. Enter an integer, or leave empty to reset.");
        }
    }
    if options.has("delete") && !options.has("name") {
        return illegal("A client metrics resource name must be specified with --delete.");
    }
    Ok(())
}

async fn act(options: &Options) -> Result<(), Failure> {
    let admin = run::admin_at(options.value("bootstrap-server")?, None, options.value("command-config")?)?;
    let name = options.value("name")?;
    let outcome = if options.has("alter") {
        alter(&admin, options, name).await
    } else if options.has("describe") {
        describe(&admin, name).await
    } else if let Some(name) = name.filter(|_| options.has("delete")) {
        delete(&admin, name).await
    } else {
        resources(&admin).await.map(|names| println!("{}", names.join("\n")))
    };
    admin.close().await;
    outcome
}

fn resource(name: &str) -> ConfigResource {
    ConfigResource { kind: ConfigResourceType::ClientMetrics, name: name.to_owned() }
}

async fn change(admin: &Admin, name: &str, ops: Vec<AlterConfigOp>) -> Result<(), Failure> {
    for (_, outcome) in admin.incremental_alter_configs(&[(resource(name), ops)], false).await? {
        outcome?;
    }
    Ok(())
}

async fn alter(admin: &Admin, options: &Options, name: Option<&str>) -> Result<(), Failure> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => random_uuid()?.to_string(),
    };
    let mut ops = Vec::new();
    for (option, config) in [("interval", "interval.ms"), ("metrics", "metrics"), ("match", "match")] {
        if options.has(option) {
            let value = options.values(option).join(",");
            ops.push(match value.is_empty() {
                true => AlterConfigOp::Delete(config.to_owned()),
                false => AlterConfigOp::Set(config.to_owned(), value),
            });
        }
    }
    change(admin, &name, ops).await?;
    println!("Altered client metrics config for {name}.");
    Ok(())
}

async fn delete(admin: &Admin, name: &str) -> Result<(), Failure> {
    let old = entries(admin, name).await?;
    change(admin, name, old.into_iter().map(|entry| AlterConfigOp::Delete(entry.name)).collect()).await?;
    println!("Deleted client metrics config for {name}.");
    Ok(())
}

async fn describe(admin: &Admin, name: Option<&str>) -> Result<(), Failure> {
    let mut names = resources(admin).await?;
    if let Some(name) = name {
        if !names.iter().any(|known| known == name) {
            println!("The client metric resource {name} doesn't exist and doesn't have dynamic config.");
            return Ok(());
        }
        names = vec![name.to_owned()];
    }
    for name in names {
        println!("Client metrics configs for {name} are:");
        for entry in entries(admin, &name).await? {
            println!("  {}={}", entry.name, entry.value.as_deref().unwrap_or("null"));
        }
    }
    Ok(())
}

async fn resources(admin: &Admin) -> Result<Vec<String>, Failure> {
    let all = admin.list_config_resources(&[ConfigResourceType::ClientMetrics]).await?;
    Ok(all.into_iter().map(|resource| resource.name).collect())
}

async fn entries(admin: &Admin, name: &str) -> Result<Vec<ConfigEntry>, Failure> {
    let mut all = Vec::new();
    for (_, entries) in admin.describe_configs(&[resource(name)], false).await? {
        all.extend(entries?);
    }
    Ok(all)
}

/// A random UUID in Kafka's text form, never with a dash in front.
///
/// # Errors
/// The system has no random numbers.
pub fn random_uuid() -> Result<Uuid, Failure> {
    loop {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| Failure::kafka(format!("no random numbers: {error}")))?;
        if let Some(uuid) = Uuid::from_random(bytes) {
            return Ok(uuid);
        }
    }
}
