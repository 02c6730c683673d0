//! `kafka-broker-api-versions`: which APIs brokers offer, and which versions of them this client would use.

use std::collections::BTreeMap;
use std::process::ExitCode;

use kafka_codec::ApiKey;
use kafka_codec::messages::ApiVersionsResponse;

use super::options::{BROKER_LIST, Flag, HELP, Options, VERSION};
use super::run::{self, Stop};

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    Flag::text(
        "command-config",
        "command config property file",
        "A property file containing configs to be passed to Admin Client.",
    ),
    Flag::text(
        "bootstrap-server",
        "server(s) to use for bootstrapping",
        "REQUIRED: The server to connect to.",
    ),
];

/// Last API that the release has whose tools these are; our codec knows drafts behind it.
const LAST_KEY: i16 = 92;

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => list(&options).await,
        Err(error) => Err(error.into()),
    };
    run::finish(outcome, FLAGS, run::trace)
}

async fn list(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool helps to retrieve broker version information.",
        "kafka-broker-api-versions --bootstrap-server localhost:9092",
    )?;
    if !run::has_bootstrap_server(options) {
        run::require(options, &["bootstrap-server"])?;
    }
    let brokers = run::bootstrap_server(options)?;
    let admin = run::admin_at(brokers.as_deref(), None, options.value("command-config")?)?;
    for (node, versions) in admin.api_versions().await? {
        let rack = node.rack.as_deref().unwrap_or("null");
        print!("{}:{} (id: {} rack: {rack} isFenced: false) -> ", node.host, node.port, node.id);
        match versions {
            Ok(versions) => println!("{}", text(&versions)),
            Err(error) => println!("ERROR: {error}"),
        }
    }
    admin.close().await;
    Ok(())
}

/// The APIs, each on a line, ascending by key.
fn text(offered: &ApiVersionsResponse) -> String {
    let mut lines: BTreeMap<i16, String> = BTreeMap::new();
    for api in &offered.api_keys {
        lines.insert(api.api_key, line(api.api_key, api.min_version, api.max_version));
    }
    let known = ApiKey::ALL.iter().filter(|api| api.is_broker_api() && api.as_i16() <= LAST_KEY);
    for api in known.filter(|api| api.versions().is_some()) {
        lines.entry(api.as_i16()).or_insert_with(|| format!("{}({}): UNSUPPORTED", api.name(), api.as_i16()));
    }
    format!("(\n\t{}\n)", lines.into_values().collect::<Vec<_>>().join(",\n\t"))
}

fn line(key: i16, first: i16, last: i16) -> String {
    let range = if first == last { first.to_string() } else { format!("{first} to {last}") };
    let Some(api) = ApiKey::from_i16(key) else { return format!("UNKNOWN({key}): {range}") };
    let usable = match api.versions() {
        Some(ours) if *ours.end() < first => "unusable: node too new".to_owned(),
        Some(ours) if last < *ours.start() => "unusable: node too old".to_owned(),
        Some(ours) => format!("usable: {}", last.min(*ours.end())),
        None => "unusable: node too old".to_owned(),
    };
    format!("{}({key}): {range} [{usable}]", api.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_can_be_used() {
        assert_eq!(
            line(3, 0, 99),
            format!("Metadata(3): 0 to 99 [usable: {}]", ApiKey::Metadata.versions().unwrap().end())
        );
        assert_eq!(line(8, 2, 2), "OffsetCommit(8): 2 [usable: 2]");
        assert_eq!(line(3, 90, 99), "Metadata(3): 90 to 99 [unusable: node too new]");
        assert_eq!(line(999, 1, 2), "UNKNOWN(999): 1 to 2");
    }
}
