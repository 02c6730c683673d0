//! `kafka-groups`: lists groups of all types.

use std::process::ExitCode;

use client::admin::{GroupListing, ListGroupsOptions};

use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

const ABOUT: &str = "This tool helps to list groups of all types.";
/// Least width of the columns.
const COLUMN: usize = 20;

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text("bootstrap-server", "server to connect to", "REQUIRED: The Kafka server to connect to.")
        .required(),
    Flag::text(
        "command-config",
        "command config property file",
        "Property file containing configs to be passed to Admin Client.",
    ),
    Flag::switch("list", "List the groups."),
    Flag::text(
        "group-type",
        "type",
        "Filter the groups based on group type. Valid types are: 'classic', 'consumer', 'share' and 'streams'.",
    ),
    Flag::text("protocol", "protocol", "Filter the groups based on protocol type."),
    Flag::switch(
        "consumer",
        "Filter the groups to show all kinds of consumer groups, including classic and simple consumer groups. This \
         matches group type 'consumer', and group type 'classic' where the protocol type is 'consumer' or empty.",
    ),
    Flag::switch("share", "Filter the groups to show share groups."),
    Flag::switch("streams", "Filter the groups to show streams groups."),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(FLAGS, args) {
        Ok(options) => options,
        Err(error) => return run::usage(&super::usage::render(FLAGS), &error.to_string()),
    };
    match check(&options) {
        Ok(filter) => match list(&options, &filter).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                println!("Error while executing groups command : {}", failure.message);
                run::log_error(&format!("{failure}\n"), "org.apache.kafka.tools.GroupsCommand");
                ExitCode::FAILURE
            }
        },
        Err(stop) => run::finish(Err(stop), FLAGS, run::trace),
    }
}

/// Which groups to show.
#[derive(Debug, Default)]
struct Filter {
    group_type: Option<String>,
    protocol: Option<String>,
    consumer: bool,
    share: bool,
    streams: bool,
}

impl Filter {
    fn passes(&self, group: &GroupListing) -> bool {
        let group_type = group.group_type.as_deref().unwrap_or_default().to_lowercase();
        let protocol_passes = self.protocol.as_ref().is_none_or(|wanted| *wanted == group.protocol_type);
        match &self.group_type {
            Some(wanted) => group_type == *wanted && protocol_passes,
            None if self.protocol.is_some() => protocol_passes,
            None if self.consumer => {
                matches!(group.protocol_type.as_str(), "consumer" | "") || group_type == "consumer"
            }
            None if self.share => group_type == "share",
            None if self.streams => group_type == "streams",
            None => true,
        }
    }
}

fn check(options: &Options) -> Result<Filter, Stop> {
    run::help_or_version(options, ABOUT, "kafka-groups --bootstrap-server localhost:9092 --list")?;
    if !options.has("list") {
        return Err(Stop::Usage("Command must include exactly one action: --list.".to_owned()));
    }
    let group_type = options.value("group-type")?.map(str::to_lowercase);
    if group_type.as_ref().is_some_and(|t| !["classic", "consumer", "share", "streams"].contains(&t.as_str()))
    {
        return Err(Failure::illegal_argument("--group-type must be a valid group type.").into());
    }
    run::exclude(options, "consumer", &["group-type", "protocol", "share", "streams"])?;
    run::exclude(options, "share", &["consumer", "group-type", "protocol", "streams"])?;
    run::exclude(options, "streams", &["consumer", "group-type", "protocol", "share"])?;
    Ok(Filter {
        group_type,
        protocol: options.value("protocol")?.map(str::to_owned),
        consumer: options.has("consumer"),
        share: options.has("share"),
        streams: options.has("streams"),
    })
}

/// Brokers say `classic`, the original shows `Classic`.
fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

async fn list(options: &Options, filter: &Filter) -> Result<(), Failure> {
    let admin = run::admin_at(options.value("bootstrap-server")?, None, options.value("command-config")?)?;
    let groups = admin.list_groups(&ListGroupsOptions::default()).await;
    admin.close().await;
    let rows: Vec<[String; 3]> = groups?
        .into_iter()
        .filter(|group| filter.passes(group))
        .map(|group| {
            [group.group_id, capitalized(&group.group_type.unwrap_or_default()), group.protocol_type]
        })
        .collect();
    let width = rows.iter().flatten().map(|cell| cell.chars().count()).fold(COLUMN, usize::max);
    println!("{:width$} {:width$} {:width$}", "GROUP", "TYPE", "PROTOCOL");
    for [group, group_type, protocol] in rows {
        println!("{group:width$} {group_type:width$} {protocol:width$} ");
    }
    Ok(())
}
