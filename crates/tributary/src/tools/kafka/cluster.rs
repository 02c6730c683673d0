//! `kafka-cluster`: the cluster's id, its endpoints, and brokers that are gone for good.

use std::process::ExitCode;

use client::admin::Target;
use kafka_codec::messages::DescribeClusterRequest;

use super::argparse::{Arg, Command, Group, Parsed, Parser, Takes};
use super::run::{self, Failure, Stop};

const SERVER: Arg = Arg::text(
    &["--bootstrap-server", "-b"],
    "A list of host/port pairs to use for establishing the connection to the Kafka cluster.",
)
.group(0);
const CONTROLLER: Arg = Arg::text(
    &["--bootstrap-controller", "-C"],
    "A list of host/port pairs to use for establishing the connection to the KRaft controllers.",
)
.group(0);
const CONFIG: Arg = Arg::text(
    &["--config"],
    "(DEPRECATED) A property file containing configurations for the Admin client. This option will be removed in a \
     future version. Use --command-config instead.",
);
const COMMAND_CONFIG: Arg =
    Arg::text(&["--command-config", "-c"], "Config properties file for the Admin client.");
const GROUPS: &[Group] = &[Group::EXACTLY_ONE];

const PARSER: Parser = Parser {
    prog: "kafka-cluster",
    about: "The Kafka cluster tool.",
    args: &[],
    groups: &[],
    commands: &[
        Command {
            name: "cluster-id",
            help: "Get information about the ID of a cluster.",
            about: "",
            args: &[SERVER, CONTROLLER, CONFIG, COMMAND_CONFIG],
            groups: GROUPS,
        },
        Command {
            name: "unregister",
            help: "Unregister a broker.",
            about: "",
            args: &[
                SERVER,
                CONTROLLER,
                CONFIG,
                COMMAND_CONFIG,
                Arg::of(Takes::Integer, &["--id", "-i"], "The ID of the broker to unregister.").required(),
            ],
            groups: GROUPS,
        },
        Command {
            name: "list-endpoints",
            help: "List endpoints",
            about: "",
            args: &[
                SERVER,
                CONTROLLER,
                CONFIG,
                COMMAND_CONFIG,
                Arg::switch(
                    &["--include-fenced-brokers"],
                    "Whether to include fenced brokers when listing broker endpoints",
                ),
            ],
            groups: GROUPS,
        },
    ],
    title: "",
    metavar: "",
    tells_defaults: true,
    example: "kafka-cluster cluster-id --bootstrap-server localhost:9092",
};

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match run::commands(&PARSER, args, 1) {
        Ok(parsed) => act(&parsed).await,
        Err(stop) => Err(stop),
    };
    run::finish(outcome, &[], run::trace)
}

async fn act(parsed: &Parsed) -> Result<(), Stop> {
    let config = match (parsed.text("--config"), parsed.text("--command-config")) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                "net.sourceforge.argparse4j.inf.ArgumentParserException",
                "--config and --command-config cannot be specified together.",
            )
            .into());
        }
        (Some(config), None) => {
            println!(
                "Option --config has been deprecated and will be removed in a future version. Use --command-config \
                 instead."
            );
            Some(config)
        }
        (None, config) => config,
    };
    let controllers = parsed.text("--bootstrap-controller");
    let admin = run::admin_at(parsed.text("--bootstrap-server"), controllers, config)?;
    match parsed.command {
        "cluster-id" => match admin.describe_cluster().await.map_err(Failure::execution)?.cluster_id {
            Some(id) => println!("Cluster ID: {id}"),
            None => println!("No cluster ID found. The Kafka version is probably too old."),
        },
        "unregister" => {
            let id = parsed.number("--id").unwrap_or_default();
            match admin.unregister_broker(id).await {
                Ok(()) => println!("Broker {id} is no longer registered."),
                Err(client::Error::UnsupportedVersion(_)) => {
                    println!("The target cluster does not support the broker unregistration API.");
                }
                Err(error) => return Err(Failure::execution(error).into()),
            }
        }
        _ => {
            let fenced = parsed.has("--include-fenced-brokers");
            if fenced && controllers.is_some() {
                return Err(Failure::illegal_argument(
                    "The option --include-fenced-brokers is only supported with --bootstrap-server option",
                )
                .into());
            }
            match endpoints(&admin, controllers.is_some(), fenced).await {
                Ok(()) => {}
                Err(error @ client::Error::UnsupportedVersion(_)) => println!("{error}"),
                Err(error) => return Err(Failure::execution(error).into()),
            }
        }
    }
    admin.close().await;
    Ok(())
}

async fn endpoints(admin: &client::Admin, controllers: bool, fenced: bool) -> client::Result<()> {
    let request = DescribeClusterRequest {
        endpoint_type: if controllers { 2 } else { 1 },
        include_fenced_brokers: fenced,
        ..DescribeClusterRequest::default()
    };
    let response = admin.send_to(Target::Any, request).await?;
    let code = kafka_codec::ErrorCode::from_wire(response.error_code);
    if code != kafka_codec::ErrorCode::None {
        return Err(client::BrokerError { code, message: response.error_message }.into());
    }
    let host_width = response.brokers.iter().map(|b| b.host.len()).max().unwrap_or(100);
    let rack_width =
        response.brokers.iter().filter_map(|b| b.rack.as_ref()).map(String::len).max().unwrap_or(10);
    let mut rows = vec![["ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE"].map(str::to_owned)];
    rows.extend(response.brokers.into_iter().map(|broker| {
        let state = if broker.is_fenced { "fenced" } else { "unfenced" };
        let kind = if controllers { "controller" } else { "broker" };
        [
            broker.broker_id.to_string(),
            broker.host,
            broker.port.to_string(),
            broker.rack.unwrap_or_else(|| "null".to_owned()),
            state.to_owned(),
            kind.to_owned(),
        ]
    }));
    for [id, host, port, rack, state, kind] in rows {
        let state = if controllers { String::new() } else { format!("{state:<10} ") };
        println!("{id:<10} {host:<host_width$} {port:<10} {rack:<rack_width$} {state}{kind:<15}");
    }
    Ok(())
}
