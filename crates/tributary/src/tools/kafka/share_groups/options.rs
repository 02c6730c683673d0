//! The command line of `kafka-share-groups`.

use super::super::options::{Flag, HELP, Options, VERSION};
use super::super::run::{self, Stop};

/// Its options.
pub const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text("bootstrap-server", "server to connect to", "REQUIRED: The server(s) to connect to."),
    Flag::text("group", "share group", "The share group we wish to act on."),
    Flag::text(
        "topic",
        "topic",
        "The topic whose offset information should be deleted or included in the reset offset process. When resetting \
         offsets, partitions can be specified using this format: 'topic1:0,1,2', where 0,1,2 are the partitions to be \
         included.",
    ),
    Flag::switch(
        "all-topics",
        "Consider all topics assigned to a share group in the 'reset-offsets' process.",
    ),
    Flag::switch("list", "List all share groups."),
    Flag::switch("describe", "Describe share group, members and offset information."),
    Flag::switch("all-groups", "Apply to all share groups."),
    Flag::switch("delete", "Delete share group."),
    Flag::long(
        "timeout",
        "timeout (ms)",
        "The timeout that can be set for some use cases. For example, it can be used when describing the group to \
         specify the maximum amount of time in milliseconds to wait before the group stabilizes.",
    )
    .or("30000"),
    Flag::text(
        "command-config",
        "command config property file",
        "Property file containing configs to be passed to Admin Client.",
    ),
    Flag::switch(
        "reset-offsets",
        "Reset offsets of share group. Supports one share group at the time, and instances must be inactive.\nHas 2 \
         execution options: --dry-run to plan which offsets to reset, and --execute to reset the offsets. \nYou must \
         choose one of the following reset specifications: --to-datetime, --to-earliest, --to-latest.\nTo define the \
         scope use --all-topics or --topic.\nFails if neither '--dry-run' nor '--execute' is specified.",
    ),
    Flag::switch(
        "delete-offsets",
        "Delete offsets of share group. Supports one share group at the time, and multiple topics.",
    ),
    Flag::switch(
        "dry-run",
        "Only show results without executing changes on share groups. Supported operations: reset-offsets.",
    ),
    Flag::switch("execute", "Execute operation. Supported operations: reset-offsets."),
    Flag::text(
        "to-datetime",
        "datetime",
        "Reset offsets to offset from datetime. Format: 'YYYY-MM-DDThh:mm:ss.sss'",
    ),
    Flag::switch("to-earliest", "Reset offsets to earliest offset."),
    Flag::switch("to-latest", "Reset offsets to latest offset."),
    Flag::switch(
        "members",
        "Describe members of the group. This option may be used with the '--describe' option only.",
    )
    .only_with(&["describe"]),
    Flag::switch(
        "offsets",
        "Describe the group and list all topic partitions in the group along with their offset information. This is the \
         default sub-action and may be used with the '--describe' option only.",
    )
    .only_with(&["describe"]),
    Flag::optional(
        "state",
        "",
        "When specified with '--describe', includes the state of the group.\nWhen specified with '--list', it displays \
         the state of all groups. It can also be used to list groups with specific states. Valid values are Empty, Stable \
         and Dead.",
    )
    .only_with(&["describe", "list"]),
    Flag::switch(
        "verbose",
        "Provide additional information, if any, when describing the group. This option may be used with the '--describe' \
         option only.",
    )
    .only_with(&["describe"]),
];

const ACTIONS: [&str; 5] = ["list", "describe", "delete", "reset-offsets", "delete-offsets"];
const SCENARIOS: [&str; 3] = ["to-datetime", "to-earliest", "to-latest"];

fn usage<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Usage(text.into()))
}

/// Checks combinations as the original does.
///
/// # Errors
/// What stands in the way.
pub fn check(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool helps to list, describe, reset and delete share groups.",
        "kafka-share-groups --bootstrap-server localhost:9092 --describe --group workers",
    )?;
    run::require(options, &["bootstrap-server"])?;
    let (group, all_groups) = (options.has("group"), options.has("all-groups"));
    if options.has("describe") {
        if !group && !all_groups {
            return usage("Option [describe] takes one of these options: [all-groups], [group]");
        }
        if options.count(&["members", "offsets", "state"]) > 1 {
            return usage(
                "Option [describe] takes at most one of these options: [members], [offsets], [state]",
            );
        }
        if options.value("state")?.is_some() {
            return usage("Option [describe] does not take a value for [state]");
        }
    }
    if options.has("delete") {
        if !group && !all_groups {
            return usage("Option [delete] takes the options [group] or [all-groups]");
        }
        if group && all_groups {
            return usage("Option [delete] takes either [group] or [all-groups], not both.");
        }
        if options.has("topic") {
            return usage("Option [delete] does not take the option: [topic]");
        }
    }
    if options.has("delete-offsets") && !(group && options.has("topic")) {
        return usage("Option [delete-offsets] takes the following options: [group], [topic]");
    }
    if options.has("reset-offsets") {
        check_reset(options)?;
    }
    run::exclude(options, "group", &["all-groups"])?;
    run::exclude(options, "group", &["list"])?;
    run::exclude(options, "topic", &["list", "describe"])?;
    if options.count(&ACTIONS) == 1 {
        return Ok(());
    }
    let actions: Vec<_> = ACTIONS.iter().map(|action| format!("--{action}")).collect();
    usage(format!("Command must include exactly one action: {}.", actions.join(", ")))
}

fn check_reset(options: &Options) -> Result<(), Stop> {
    match options.count(&["dry-run", "execute"]) {
        2 => return usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]"),
        0 => return usage("Option [reset-offsets] takes the option: [execute] or [dry-run]"),
        _ => {}
    }
    if !options.has("group") {
        return usage("Option [reset-offsets] takes the option: [group]");
    }
    if options.count(&["topic", "all-topics"]) == 0 {
        return usage("Option [reset-offsets] takes one of these options: [all-topics], [topic]");
    }
    if options.count(&SCENARIOS) == 0 {
        return usage(
            "Option [reset-offsets] takes one of these options: [to-datetime], [to-earliest], [to-latest]",
        );
    }
    for scenario in SCENARIOS {
        let others: Vec<_> = SCENARIOS.into_iter().filter(|other| *other != scenario).collect();
        run::exclude(options, scenario, &others)?;
    }
    Ok(())
}
