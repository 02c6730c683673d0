//! `kafka-features`: feature levels of a cluster.

use std::collections::BTreeMap;
use std::process::ExitCode;

use client::admin::FeatureUpgradeType;

use super::argparse::{Arg, Command, Group, NotParsed, Parsed, Parser, Takes};
use super::feature_levels::{self, FEATURES, METADATA_VERSION};
use super::run::{self, Failure, Stop};

/// Exception whose message is all that is told.
pub(super) const TERSE: &str = "org.apache.kafka.tools.TerseException";

const FEATURE: &[&str] = &["--feature"];
const DRY_RUN: &[&str] = &["--dry-run"];

/// The command `version-mapping`, which `kafka-storage` has too.
pub const VERSION_MAPPING: Command = Command {
    name: "version-mapping",
    help: "Look up the corresponding features for a given metadata version. Using the command with no \
           --release-version  argument will return the mapping for the latest stable metadata version",
    about: "",
    args: &[Arg::text(
        &["--release-version"],
        "The release version to use for the corresponding feature mapping. The minimum is 3.3-IV3; the default is \
         4.3-IV0",
    )],
    groups: &[],
};

/// The command `feature-dependencies`, which `kafka-storage` has too.
pub const FEATURE_DEPENDENCIES: Command = Command {
    name: "feature-dependencies",
    help: "Look up dependencies for a given feature version. If the feature is not known or the version not yet \
           defined, an error is thrown. Multiple features can be specified.",
    about: "",
    args: &[Arg::text(
        FEATURE,
        "The feature and version to look up dependencies for, in feature=version format. For example: \
         `metadata.version=5`.",
    )
    .required()],
    groups: &[],
};

const PARSER: Parser = Parser {
    prog: "kafka-features",
    about: "This tool manages feature flags in Kafka.",
    args: &[
        Arg::text(
            &["--bootstrap-server"],
            "A comma-separated list of host:port pairs to use for establishing the connection to the Kafka cluster.",
        )
        .group(0),
        Arg::text(
            &["--bootstrap-controller"],
            "A comma-separated list of host:port pairs to use for establishing the connection to the KRaft quorum.",
        )
        .group(0),
        Arg::text(&["--command-config"], "Property file containing configs to be passed to Admin Client."),
    ],
    groups: &[Group::EITHER],
    commands: &[
        Command {
            name: "describe",
            help: "Describes the current active feature flags.",
            about: "",
            args: &[Arg::of(
                Takes::Integer,
                &["--node-id"],
                "The node id to which the requests should be sent. If not specified, the requests will be sent to an \
                 arbitrary controller/broker.",
            )],
            groups: &[],
        },
        Command {
            name: "upgrade",
            help: "Upgrade one or more feature flags.",
            about: "",
            args: &[
                Arg::text(
                    &["--metadata"],
                    "DEPRECATED -- The level to which we should upgrade the metadata. For example, 3.3-IV3.",
                ),
                Arg::text(
                    &["--release-version"],
                    "The release version to update all features to. For example, 3.9-IV0 will set metadata.version=21 \
                     and kraft.version=1. Use the version-mapping command to learn which features will be set for any \
                     given version.",
                ),
                Arg::text(
                    FEATURE,
                    "A feature upgrade we should perform, in feature=level format. For example: `metadata.version=5`.",
                ),
                Arg::switch(DRY_RUN, "Validate this upgrade, but do not perform it."),
            ],
            groups: &[],
        },
        Command {
            name: "downgrade",
            help: "Downgrade one or more feature flags.",
            about: "",
            args: &[
                Arg::text(
                    &["--metadata"],
                    "DEPRECATED -- The level to which we should downgrade the metadata. For example, 3.3-IV0.",
                ),
                Arg::text(
                    &["--release-version"],
                    "The release version to downgrade all features to. For example, 3.9-IV0 will set \
                     metadata.version=21 and kraft.version=1. Use the version-mapping command to learn which features \
                     will be set for any given version.",
                ),
                Arg::text(
                    FEATURE,
                    "A feature downgrade we should perform, in feature=level format. For example: \
                     `metadata.version=5`.",
                ),
                Arg::switch(
                    &["--unsafe"],
                    "Perform this downgrade even if it may irreversibly destroy metadata.",
                ),
                Arg::switch(DRY_RUN, "Validate this downgrade, but do not perform it."),
            ],
            groups: &[],
        },
        Command {
            name: "disable",
            help: "Disable one or more feature flags. This is the same as downgrading the version to zero.",
            about: "",
            args: &[
                Arg::text(FEATURE, "A feature flag to disable."),
                Arg::switch(
                    &["--unsafe"],
                    "Disable this feature flag even if it may irreversibly destroy metadata.",
                ),
                Arg::switch(DRY_RUN, "Perform a dry-run of this disable operation."),
            ],
            groups: &[],
        },
        VERSION_MAPPING,
        FEATURE_DEPENDENCIES,
    ],
    title: "",
    metavar: "",
    tells_defaults: true,
    example: "kafka-features --bootstrap-server localhost:9092 describe",
};

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let parsed = match PARSER.parse(args) {
        Ok(parsed) => parsed,
        Err(NotParsed::Wrong { message, .. }) => return wrong(&message),
        Err(NotParsed::Help(help)) => {
            print!("{help}");
            return ExitCode::SUCCESS;
        }
        Err(NotParsed::Version) => return ExitCode::SUCCESS,
    };
    let outcome = match parsed.command {
        "version-mapping" => version_mapping(&parsed),
        "feature-dependencies" => dependencies(&parsed),
        _ => match (parsed.text("--bootstrap-server"), parsed.text("--bootstrap-controller")) {
            (None, None) => {
                return wrong("You must specify either --bootstrap-controller or --bootstrap-server.");
            }
            _ => act(&parsed).await,
        },
    };
    run::finish(outcome, &[], |failure| eprintln!("{}", failure.message))
}

/// Without a line feed, as the original.
fn wrong(message: &str) -> ExitCode {
    eprint!("Command line error: {message}. Type --help for help.");
    ExitCode::FAILURE
}

fn terse(message: impl Into<String>) -> Failure {
    Failure::new(TERSE, message)
}

/// Prints the level of each feature that goes with a metadata version.
///
/// # Errors
/// An unknown version.
pub fn version_mapping(parsed: &Parsed) -> Result<(), Stop> {
    let latest = feature_levels::version_name(feature_levels::LATEST_PRODUCTION).unwrap_or_default();
    let version = parsed.text("--release-version").unwrap_or(latest);
    let level = feature_levels::level_of(version).map_err(terse)?;
    println!("{METADATA_VERSION}={level} ({version})");
    for feature in FEATURES {
        println!("{}={}", feature.name, feature.default_level(level));
    }
    Ok(())
}

/// Prints what levels of features need.
///
/// # Errors
/// An unknown feature or level.
pub fn dependencies(parsed: &Parsed) -> Result<(), Stop> {
    for text in parsed.all("--feature") {
        let (name, level) = name_and_level(text)?;
        if name == METADATA_VERSION {
            let version = feature_levels::version_name(level);
            let version = version.ok_or_else(|| terse(format!("Unknown metadata.version {level}")))?;
            println!("{name}={level} ({version}) has no dependencies.");
            continue;
        }
        let feature = FEATURES.iter().find(|feature| feature.name == name);
        let feature = feature.ok_or_else(|| terse(format!("Unknown feature: {name}")))?;
        let needs = feature.needs(level).ok_or_else(|| {
            Failure::illegal_argument(format!("No feature:{name} with feature level {level}"))
        })?;
        if needs.is_empty() {
            println!("{name}={level} has no dependencies.");
            continue;
        }
        println!("{name}={level} requires:");
        for (needed, level) in needs {
            match feature_levels::version_name(*level).filter(|_| *needed == METADATA_VERSION) {
                Some(version) => println!("    {needed}={level} ({version})"),
                None => println!("    {needed}={level}"),
            }
        }
    }
    Ok(())
}

fn name_and_level(text: &str) -> Result<(&str, i16), Failure> {
    let wrong = |what: String| {
        Failure::new("java.lang.RuntimeException", format!("Can't parse feature=level string {text}: {what}"))
    };
    let (name, level) = text.split_once('=').ok_or_else(|| wrong("equals sign not found.".to_owned()))?;
    let level = level.trim();
    let number = level.parse().map_err(|_| wrong(format!("unable to parse {level} as a short.")))?;
    Ok((name.trim(), number))
}

async fn act(parsed: &Parsed) -> Result<(), Stop> {
    let (servers, controllers) = (parsed.text("--bootstrap-server"), parsed.text("--bootstrap-controller"));
    let admin = run::admin_at(servers, controllers, parsed.text("--command-config"))?;
    let unsafe_too = match parsed.has("--unsafe") {
        true => FeatureUpgradeType::UnsafeDowngrade,
        false => FeatureUpgradeType::SafeDowngrade,
    };
    let outcome = match parsed.command {
        "describe" => describe(&admin, parsed).await,
        "upgrade" => change(&admin, parsed, FeatureUpgradeType::Upgrade).await,
        "downgrade" => change(&admin, parsed, unsafe_too).await,
        _ => {
            let mut updates = BTreeMap::new();
            for feature in parsed.all("--feature") {
                put(&mut updates, feature, 0)?;
            }
            update(&admin, parsed, updates, unsafe_too).await
        }
    };
    admin.close().await;
    outcome
}

async fn describe(admin: &client::Admin, parsed: &Parsed) -> Result<(), Stop> {
    let node: Option<i32> = parsed.number("--node-id");
    if let Some(id) = node.filter(|id| *id < 0) {
        return Err(Failure::illegal_argument(format!("Invalid node id {id}: must be non-negative.")).into());
    }
    let told = admin.describe_features(node).await.map_err(Failure::execution)?;
    let level_text = |feature: &str, level: i16| match feature {
        METADATA_VERSION => match feature_levels::version_name(level) {
            Some(version) => version.to_owned(),
            None => format!("UNKNOWN {level}"),
        },
        _ => level.to_string(),
    };
    let mut supported = told.supported_features;
    supported.sort_by(|a, b| a.name.cmp(&b.name));
    let epoch = match told.finalized_features_epoch {
        epoch if epoch >= 0 => epoch.to_string(),
        _ => "-".to_owned(),
    };
    for feature in supported {
        let finalized = told.finalized_features.iter().find(|f| f.name == feature.name);
        let level = finalized.map_or(0, |f| f.max_version_level);
        let [lowest, highest, level] =
            [feature.min_version, feature.max_version, level].map(|level| level_text(&feature.name, level));
        println!(
            "Feature: {:<40}  SupportedMinVersion: {lowest:<15}  SupportedMaxVersion: {highest:<15}  \
             FinalizedVersionLevel: {level:<15}  Epoch: {epoch}",
            feature.name
        );
    }
    Ok(())
}

type Updates = BTreeMap<String, i16>;

fn put(updates: &mut Updates, feature: &str, level: i16) -> Result<(), Failure> {
    match updates.insert(feature.to_owned(), level) {
        None => Ok(()),
        Some(_) => Err(Failure::new(
            "java.lang.RuntimeException",
            format!("Feature {feature} was specified more than once."),
        )),
    }
}

async fn change(admin: &client::Admin, parsed: &Parsed, direction: FeatureUpgradeType) -> Result<(), Stop> {
    let (metadata, release) = (parsed.text("--metadata"), parsed.text("--release-version"));
    let features = parsed.all("--feature");
    let mut updates = Updates::new();
    if let Some(release) = release {
        if metadata.is_some() || !features.is_empty() {
            return Err(terse("Can not specify `release-version` with other feature flags.").into());
        }
        let version = feature_levels::level_of(release).map_err(terse)?;
        updates.insert(METADATA_VERSION.to_owned(), version);
        for feature in FEATURES {
            let level = feature.default_level(version);
            // Nobody upgrades to nothing.
            if direction != FeatureUpgradeType::Upgrade || level > 0 {
                updates.insert(feature.name.to_owned(), level);
            }
        }
    } else {
        if let Some(metadata) = metadata {
            println!(" `metadata` flag is deprecated and may be removed in a future release.");
            let version = feature_levels::level_of(metadata).map_err(terse)?;
            updates.insert(METADATA_VERSION.to_owned(), version);
        }
        for feature in features {
            let (name, level) = name_and_level(feature)?;
            put(&mut updates, name, level)?;
        }
    }
    update(admin, parsed, updates, direction).await
}

async fn update(
    admin: &client::Admin,
    parsed: &Parsed,
    updates: Updates,
    direction: FeatureUpgradeType,
) -> Result<(), Stop> {
    let operation = parsed.command;
    if updates.is_empty() {
        return Err(terse(format!("You must specify at least one feature to {operation}")).into());
    }
    let dry_run = parsed.has("--dry-run");
    let list: Vec<_> = updates.iter().map(|(name, level)| (name.clone(), *level, direction)).collect();
    let outcomes = match admin.update_features(&list, dry_run).await {
        Ok(each) => each,
        Err(error) => updates.keys().map(|name| (name.clone(), Err(error.clone()))).collect(),
    };
    let mut failures = 0;
    for (feature, outcome) in outcomes {
        let level = updates.get(&feature).copied().unwrap_or_default();
        match outcome {
            Err(error) => {
                failures += 1;
                let could = if dry_run { "Can not" } else { "Could not" };
                let what = match operation {
                    "disable" => format!("disable {feature}"),
                    _ => format!("{operation} {feature} to {level}"),
                };
                println!("{could} {what}. {error}");
            }
            Ok(()) => {
                let was = if dry_run { "can be" } else { "was" };
                match operation {
                    "disable" => println!("{feature} {was} disabled."),
                    _ => println!("{feature} {was} {operation}d to {level}."),
                }
            }
        }
    }
    if failures > 0 {
        return Err(terse(format!("{failures} out of {} operation(s) failed.", updates.len())).into());
    }
    Ok(())
}
