//! The options of `kafka-consumer-groups` and which of them go together.

use super::super::options::{BROKER_LIST, Flag, HELP, Options, VERSION, ZOOKEEPER};
use super::super::run::{self, Stop};

/// Every option.
pub const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    BROKER_LIST,
    ZOOKEEPER,
    Flag::switch("new-consumer", "").hidden(),
    Flag::text(
        "bootstrap-server",
        "server to connect to",
        "The server(s) to connect to. REQUIRED for all options except for --validate-regex.",
    ),
    Flag::text("group", "consumer group", "The consumer group we wish to act on."),
    Flag::text(
        "topic",
        "topic",
        "The topic whose consumer group information should be deleted or topic whose should be included in the reset \
         offset process. In `reset-offsets` case, partitions can be specified using this format: `topic1:0,1,2`, \
         where 0,1,2 are the partition to be included in the process. Reset-offsets also supports multiple topic \
         inputs.",
    ),
    Flag::switch("all-topics", "Consider all topics assigned to a group in the `reset-offsets` process."),
    Flag::switch("list", "List all consumer groups."),
    Flag::switch(
        "describe",
        "Describe consumer group and list offset lag (number of messages not yet processed) related to given group.",
    ),
    Flag::switch("all-groups", "Apply to all consumer groups."),
    Flag::switch(
        "delete",
        "Pass in groups to delete topic partition offsets and ownership information over the entire consumer group. \
         For instance --group g1 --group g2",
    ),
    Flag::long(
        "timeout",
        "timeout (ms)",
        "The timeout that can be set for some use cases. For example, it can be used when describing the group to \
         specify the maximum amount of time in milliseconds to wait before the group stabilizes (when the group is \
         just created, or is going through some changes).",
    )
    .or("30000"),
    Flag::text(
        "command-config",
        "command config property file",
        "Property file containing configs to be passed to Admin Client and Consumer.",
    ),
    Flag::switch(
        "reset-offsets",
        "Reset offsets of consumer group. Supports one consumer group at the time, and instances should be \
         inactive\nHas 2 execution options: --dry-run (the default) to plan which offsets to reset, and --execute to \
         update the offsets. Additionally, the --export option is used to export the results to a CSV format.\nYou \
         must choose one of the following reset specifications: --to-datetime, --by-duration, --to-earliest, \
         --to-latest, --shift-by, --from-file, --to-current, --to-offset.\nTo define the scope use --all-topics or \
         --topic. One scope must be specified unless you use '--from-file'.",
    ),
    Flag::switch(
        "delete-offsets",
        "Delete offsets of consumer group. Supports one consumer group at the time, and multiple topics.",
    ),
    Flag::switch(
        "dry-run",
        "Only show results without executing changes on Consumer Groups. Supported operations: reset-offsets.",
    ),
    Flag::switch("execute", "Execute operation. Supported operations: reset-offsets."),
    Flag::switch("export", "Export operation execution to a CSV file. Supported operations: reset-offsets."),
    Flag::long("to-offset", "offset", "Reset offsets to a specific offset."),
    Flag::text("from-file", "path to CSV file", "Reset offsets to values defined in CSV file."),
    Flag::text(
        "to-datetime",
        "datetime",
        "Reset offsets to offset from datetime. Format: 'YYYY-MM-DDThh:mm:ss.sss'",
    ),
    Flag::text(
        "by-duration",
        "duration",
        "Reset offsets to offset by duration from current timestamp. Format: 'PnDTnHnMnS'",
    ),
    Flag::switch("to-earliest", "Reset offsets to earliest offset."),
    Flag::switch("to-latest", "Reset offsets to latest offset."),
    Flag::switch("to-current", "Reset offsets to current offset."),
    Flag::long(
        "shift-by",
        "number-of-offsets",
        "Reset offsets shifting current offset by 'n', where 'n' can be positive or negative.",
    ),
    Flag::switch(
        "members",
        "Describe members of the group. This option may be used with '--describe' and '--bootstrap-server' options \
         only.\nExample: --bootstrap-server localhost:9092 --describe --group group1 --members",
    )
    .only_with(&["describe"]),
    Flag::switch(
        "verbose",
        "Provide additional information, if any, when describing the group. This option may be used with \
         '--offsets'/'--members'/'--state' and '--bootstrap-server' options only.\nExample: --bootstrap-server \
         localhost:9092 --describe --group group1 --members --verbose",
    )
    .only_with(&["describe"]),
    Flag::switch(
        "offsets",
        "Describe the group and list all topic partitions in the group along with their offset lag. This is the \
         default sub-action of and may be used with '--describe' and '--bootstrap-server' options only.\nExample: \
         --bootstrap-server localhost:9092 --describe --group group1 --offsets",
    )
    .only_with(&["describe"]),
    Flag::optional(
        "state",
        "",
        "When specified with '--describe', includes the state of the group.\nExample: --bootstrap-server \
         localhost:9092 --describe --group group1 --state\nWhen specified with '--list', it displays the state of \
         all groups. It can also be used to list groups with specific states.\nExample: --bootstrap-server \
         localhost:9092 --list --state stable,empty\nThis option may be used with '--describe', '--list' and \
         '--bootstrap-server' options only.",
    )
    .only_with(&["describe", "list"]),
    Flag::optional(
        "type",
        "",
        "When specified with '--list', it displays the types of all the groups. It can also be used to list groups \
         with specific types.\nExample: --bootstrap-server localhost:9092 --list --type classic,consumer\nThis \
         option may be used with the '--list' option only.",
    )
    .only_with(&["list"]),
    Flag::text(
        "validate-regex",
        "regex",
        "Validate that the syntax of the provided regular expression is valid according to the RE2 format.",
    ),
];

/// Ways to choose the new offsets.
pub const SCENARIOS: [&str; 8] = [
    "to-offset",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "to-current",
    "shift-by",
    "from-file",
];
const SCOPE: &str = "[group], [all-groups]";

/// Checks the combination of options.
///
/// # Errors
/// [`Stop`] with what the original says.
pub fn check(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset \
         consumer group offsets.",
        "kafka-consumer-groups --bootstrap-server localhost:9092 --describe --all-groups",
    )?;
    if !options.has("validate-regex") && !run::has_bootstrap(options) {
        run::require(options, &["bootstrap-server"])?;
    }
    let usage = |message: String| Err(Stop::Usage(message));
    let no_scope = options.count(&["group", "all-groups"]) == 0;
    if options.has("describe") {
        if no_scope {
            return usage(format!("Option [describe] takes one of these options: {SCOPE}"));
        }
        if options.count(&["members", "offsets", "state"]) > 1 {
            return usage(
                "Option [describe] takes at most one of these options: [members], [offsets], [state]"
                    .to_owned(),
            );
        }
        if options.value("state")?.is_some() {
            return usage("Option [describe] does not take a value for [state]".to_owned());
        }
    }
    if options.has("delete") {
        if no_scope {
            return usage(format!("Option [delete] takes one of these options: {SCOPE}"));
        }
        if options.has("topic") {
            return usage(
                "The consumer does not support topic-specific offset deletion from a consumer group."
                    .to_owned(),
            );
        }
    }
    if options.has("delete-offsets") && options.count(&["group", "topic"]) != 2 {
        return usage("Option [delete-offsets] takes the following options: [group], [topic]".to_owned());
    }
    if options.has("reset-offsets") {
        check_reset(options, no_scope)?;
    }
    run::exclude(options, "group", &["all-groups"])?;
    run::exclude(options, "group", &["list"])?;
    run::exclude(options, "topic", &["list", "describe"])
}

fn check_reset(options: &Options, no_scope: bool) -> Result<(), Stop> {
    match options.count(&["dry-run", "execute"]) {
        2 => {
            return Err(Stop::Usage(
                "Option [reset-offsets] only accepts one of [execute] and [dry-run]".to_owned(),
            ));
        }
        0 => eprintln!(
            "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will \
             require either --dry-run or --execute to be specified. You should add the --dry-run option explicitly if \
             you are scripting this command and want to keep the current default behavior without prompting."
        ),
        _ => {}
    }
    if no_scope {
        return Err(Stop::Usage(format!("Option [reset-offsets] takes one of these options: {SCOPE}")));
    }
    for scenario in SCENARIOS {
        let others: Vec<_> = SCENARIOS.into_iter().filter(|other| *other != scenario).collect();
        run::exclude(options, scenario, &others)?;
    }
    Ok(())
}
