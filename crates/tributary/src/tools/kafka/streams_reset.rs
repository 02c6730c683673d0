//! `kafka-streams-application-reset`: brings an application of Kafka Streams back to where it began.

use std::collections::BTreeMap;
use std::process::ExitCode;

use client::admin::OffsetSpec;
use client::{Admin, AdminConfig, OffsetAndMetadata, TopicPartition};
use kafka_codec::ErrorCode;
use regex::Regex;

use super::calendar;
use super::consumer_groups::offsets::{self, Offsets};
use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};

const ABOUT: &str = "\
This tool helps to quickly reset an application in order to reprocess its data from scratch.
* This tool resets offsets of input topics to the earliest available offset (by default), or to a specific defined \
position* This tool deletes the internal topics that were created by Kafka Streams (topics starting with \
\"<application.id>-\").
The tool finds these internal topics automatically. If the topics flagged automatically for deletion by the dry-run are \
unsuitable, you can specify a subset with the \"--internal-topics\" option.
* This tool will not delete output topics (if you want to delete them, you need to do it yourself with the \
bin/kafka-topics.sh command).
* This tool will not clean up the local state on the stream application instances (the persisted stores used to cache \
aggregation results).
You need to call KafkaStreams#cleanUp() in your application or manually delete them from the directory specified by \
\"state.dir\" configuration (${java.io.tmpdir}/kafka-streams/<application.id> by default).
* When long session timeout has been configured, active members could take longer to get expired on the broker thus \
blocking the reset job to complete. Use the \"--force\" option could remove those left-over members immediately. Make \
sure to stop all stream applications when this option is specified to avoid unexpected disruptions.

*** Important! You will get wrong output if you don't clean up the local stores after running the reset tool!

*** Warning! This tool makes irreversible changes to your application. It is strongly recommended that you run this once \
with \"--dry-run\" to preview your changes before making them.

";

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text("application-id", "id", "REQUIRED: The Kafka Streams application ID (application.id).")
        .required(),
    Flag::text(
        "bootstrap-server",
        "server to connect to",
        "The server(s) to connect to. The broker list string in the form HOST1:PORT1,HOST2:PORT2. (default: \
         localhost:9092)",
    ),
    Flag::text(
        "input-topics",
        "list",
        "Comma-separated list of user input topics. For these topics, the tool by default will reset the offset to the \
         earliest available offset. Reset to other offset position by appending other reset offset option, ex: \
         --input-topics foo --shift-by 5",
    ),
    Flag::text(
        "intermediate-topics",
        "list",
        "[deprecated] Comma-separated list of intermediate user topics (topics that are input and output topics). For \
         these topics, the tool will skip to the end.",
    ),
    Flag::text(
        "internal-topics",
        "list",
        "Comma-separated list of internal topics to delete. Must be a subset of the internal topics marked for deletion \
         by the default behaviour (do a dry-run without this option to view these topics).",
    ),
    Flag::long("to-offset", "", "Reset offsets to a specific offset."),
    Flag::text("to-datetime", "", "Reset offsets to offset from datetime. Format: 'YYYY-MM-DDThh:mm:ss.sss'"),
    Flag::text(
        "by-duration",
        "",
        "Reset offsets to offset by duration from current timestamp. Format: 'PnDTnHnMnS'",
    ),
    Flag::switch("to-earliest", "Reset offsets to earliest offset."),
    Flag::switch("to-latest", "Reset offsets to latest offset."),
    Flag::text("from-file", "", "Reset offsets to values defined in CSV file."),
    Flag::long(
        "shift-by",
        "number-of-offsets",
        "Reset offsets shifting current offset by 'n', where 'n' can be positive or negative",
    ),
    Flag::text(
        "config-file",
        "file name",
        "(DEPRECATED) Property file containing configs to be passed to admin clients and embedded consumer. This option \
         will be removed in a future version. Use --command-config instead.",
    ),
    Flag::text(
        "command-config",
        "file name",
        "Config properties file to be passed to admin clients and embedded consumer.",
    ),
    Flag::switch(
        "force",
        "Force the removal of members of the consumer group (intended to remove stopped members if a long session \
         timeout was used). Make sure to shut down all stream applications when this option is specified to avoid \
         unexpected rebalances.",
    ),
    Flag::switch(
        "dry-run",
        "Display the actions that would be performed without executing the reset commands.",
    ),
];

const SCENARIOS: [&str; 7] =
    ["to-offset", "to-datetime", "by-duration", "to-earliest", "to-latest", "from-file", "shift-by"];
/// How often members that are leaving by themselves are asked for again.
const ATTEMPTS: u32 = 4;
const PARSE: &str = "java.text.ParseException";

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    let options = match Options::parse(FLAGS, args) {
        Ok(options) => options,
        Err(error) => return run::usage(&super::usage::render(FLAGS), &error.to_string()),
    };
    let outcome = match check(&options) {
        Ok(()) => reset(&options).await.map_err(Stop::from),
        Err(stop) => Err(stop),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(message)) => run::usage(&options.usage(), &message),
        Err(Stop::Failed(failure)) => {
            eprintln!("ERROR: {failure}\n{failure}");
            ExitCode::FAILURE
        }
    }
}

fn check(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        ABOUT,
        "kafka-streams-application-reset --bootstrap-server localhost:9092 --application-id counts --input-topics \
         sensors --dry-run",
    )?;
    for scenario in SCENARIOS {
        let others: Vec<_> = SCENARIOS.into_iter().filter(|other| *other != scenario).collect();
        run::exclude(options, scenario, &others)?;
    }
    run::exclude(options, "config-file", &["command-config"])
}

/// Comma-separated words of all values of an option.
fn list(options: &Options, name: &str) -> Vec<String> {
    options.values(name).iter().flat_map(|value| value.split(',')).map(str::to_owned).collect()
}

/// What the command line asks for.
struct Reset<'a> {
    options: &'a Options,
    admin: Admin,
    group: &'a str,
    topics: Vec<String>,
    input: Vec<String>,
    intermediate: Vec<String>,
    dry_run: bool,
}

/// Resets; false when a topic was not found.
async fn reset(options: &Options) -> Result<bool, Failure> {
    let file = match options.value("config-file")? {
        Some(file) => {
            println!(
                "Option --config-file has been deprecated and will be removed in a future version. Use --command-config \
                 instead."
            );
            Some(file)
        }
        None => options.value("command-config")?,
    };
    let mut properties = match file {
        Some(path) => run::load_properties(path)?,
        None => BTreeMap::new(),
    };
    let servers = options.value("bootstrap-server")?.unwrap_or("localhost:9092");
    properties.insert("bootstrap.servers".to_owned(), servers.to_owned());
    let mut work = Reset {
        options,
        admin: Admin::new(AdminConfig::from_properties(properties)?)?,
        group: options.value("application-id")?.unwrap_or_default(),
        topics: Vec::new(),
        input: list(options, "input-topics"),
        intermediate: list(options, "intermediate-topics"),
        dry_run: options.has("dry-run"),
    };
    let outcome = work.run().await;
    work.admin.close().await;
    outcome
}

impl Reset<'_> {
    async fn run(&mut self) -> Result<bool, Failure> {
        self.remove_members().await?;
        let topics = self.admin.list_topics(false).await.map_err(Failure::execution)?;
        self.topics = topics.into_iter().map(|topic| topic.name).collect();
        if self.dry_run {
            println!(
                "----Dry run displays the actions which will be performed when running Streams Reset Tool----"
            );
        }
        let all_found = self.reset_offsets().await?;
        self.delete_internal_topics().await?;
        Ok(all_found)
    }

    /// Makes sure that nobody is a member of the group any more.
    async fn remove_members(&self) -> Result<(), Failure> {
        let ids = [self.group.to_owned()];
        for attempt in 1..=ATTEMPTS {
            let described = self.admin.describe_groups(&ids).await.map_err(Failure::execution)?;
            let Some((_, described)) = described.into_iter().next() else { return Ok(()) };
            let members = match described {
                Ok(group) => group.members,
                Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => return Ok(()),
                Err(error) => return Err(Failure::execution(error)),
            };
            if members.is_empty() {
                return Ok(());
            }
            if !self.options.has("force") {
                let names: Vec<_> = members.iter().map(|member| member.member_id.as_str()).collect();
                return Err(Failure::new(
                    "java.lang.IllegalStateException",
                    format!(
                        "Consumer group '{}' is still active and has following members: [{}]. Make sure to stop all \
                         running application instances before running the reset tool. You can use option '--force' to \
                         remove active members from the group.",
                        self.group,
                        names.join(", ")
                    ),
                ));
            }
            println!("Force deleting all active members in the group: {}", self.group);
            let reason = "member was removed by an admin";
            let removed =
                self.admin.remove_members(self.group, None, reason).await.map_err(Failure::execution)?;
            let failed = removed.into_iter().find_map(|(_, outcome)| outcome.err());
            match failed {
                None => return Ok(()),
                // It may have left by itself.
                Some(error) if error.code() == Some(ErrorCode::UnknownMemberId) && attempt < ATTEMPTS => {}
                Some(error) => return Err(Failure::execution(error)),
            }
        }
        Ok(())
    }

    async fn reset_offsets(&self) -> Result<bool, Failure> {
        if self.options.has("intermediate-topics") {
            println!("WARN: `--intermediate-topics` is deprecated and will be removed in a future release");
        }
        if self.input.is_empty() && self.intermediate.is_empty() {
            println!("No input or intermediate topics specified. Skipping seek.");
            return Ok(true);
        }
        for (what, topics) in [
            ("Reset-offsets for input topics", &self.input),
            ("Seek-to-end for intermediate topics", &self.intermediate),
        ] {
            if !topics.is_empty() {
                println!("{what} [{}]", topics.join(", "));
            }
        }
        let unknown = |topics: &[String]| {
            topics.iter().filter(|topic| !self.topics.contains(topic)).cloned().collect::<Vec<_>>()
        };
        let mut all_found = true;
        for (what, colon, topics) in [
            ("Following input topics are not found, skipping them", "Topic: ", unknown(&self.input)),
            (
                "Following intermediate topics are not found, skipping them",
                "Topic:",
                unknown(&self.intermediate),
            ),
        ] {
            if !topics.is_empty() {
                println!("{what}");
                topics.iter().for_each(|topic| println!("{colon}{topic}"));
                all_found = false;
            }
        }
        let input = self.partitions(&self.input).await?;
        let intermediate: Vec<_> = self
            .partitions(&self.intermediate)
            .await?
            .into_iter()
            .filter(|partition| !input.contains(partition))
            .collect();
        if input.is_empty() && intermediate.is_empty() {
            return Ok(all_found);
        }
        let mut positions = Offsets::new();
        if !input.is_empty() {
            println!("Following input topics offsets will be reset to (for consumer group {})", self.group);
            positions = self.positions(&input).await.inspect_err(|failure| {
                if failure.exception == PARSE || failure.exception.starts_with("java.io.") {
                    eprintln!("ERROR: Resetting offsets failed.");
                }
            })?;
            for (partition, offset) in &positions {
                println!("Topic: {} Partition: {} Offset: {offset}", partition.topic, partition.partition);
            }
        }
        if !intermediate.is_empty() {
            println!(
                "Following intermediate topics offsets will be reset to end (for consumer group {})",
                self.group
            );
            intermediate.iter().for_each(|partition| println!("Topic: {}", partition.topic));
            positions.extend(offsets::list(&self.admin, &intermediate, OffsetSpec::Latest).await?);
        }
        if !self.dry_run {
            let commits = positions
                .into_iter()
                .map(|(partition, offset)| (partition, OffsetAndMetadata::new(offset)))
                .collect();
            for (_, outcome) in self.admin.alter_group_offsets(self.group, &commits).await? {
                outcome?;
            }
        }
        println!("Done.");
        Ok(all_found)
    }

    /// All partitions of those of `topics` that exist.
    async fn partitions(&self, topics: &[String]) -> Result<Vec<TopicPartition>, Failure> {
        let mut known: Vec<String> =
            topics.iter().filter(|topic| self.topics.contains(topic)).cloned().collect();
        known.sort();
        known.dedup();
        let mut partitions = Vec::new();
        if !known.is_empty() {
            for (_, topic) in self.admin.describe_topics(&known).await? {
                partitions.extend(offsets::all_partitions(&topic?));
            }
        }
        Ok(partitions)
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Offsets, Failure> {
        let (admin, options) = (&self.admin, self.options);
        if let Some(offset) = options.number::<i64>("to-offset")? {
            let wanted = partitions.iter().map(|partition| (partition.clone(), offset)).collect();
            return self.bounded(wanted).await;
        }
        if options.has("to-latest") {
            return offsets::list(admin, partitions, OffsetSpec::Latest).await;
        }
        if let Some(shift) = options.number::<i64>("shift-by")? {
            let committed = offsets::committed(admin, self.group).await?;
            let ends = offsets::list(admin, partitions, OffsetSpec::Latest).await?;
            let from = |partition: &TopicPartition| {
                let end = ends.get(partition).copied().unwrap_or_default();
                committed.get(partition).map_or(end, |committed| committed.offset)
            };
            let shifted =
                |partition: &TopicPartition| (partition.clone(), from(partition).saturating_add(shift));
            return self.bounded(partitions.iter().map(shifted).collect()).await;
        }
        if let Some(text) = options.value("to-datetime")? {
            let time_ms = calendar::parse_datetime(text).map_err(|message| Failure::new(PARSE, message))?;
            return self.at(partitions, time_ms).await;
        }
        if let Some(text) = options.value("by-duration")? {
            let ms = calendar::parse_duration(text)
                .map_err(|message| Failure::new("java.time.format.DateTimeParseException", message))?;
            return self.at(partitions, run::now_ms().saturating_sub(ms)).await;
        }
        if let Some(path) = options.value("from-file")? {
            return self.bounded(plan(path, partitions)?).await;
        }
        offsets::list(admin, partitions, OffsetSpec::Earliest).await
    }

    /// First offsets at or after a time; the end where there is none.
    async fn at(&self, partitions: &[TopicPartition], time_ms: i64) -> Result<Offsets, Failure> {
        let mut found = offsets::list(&self.admin, partitions, OffsetSpec::Timestamp(time_ms)).await?;
        let without: Vec<TopicPartition> =
            found.iter().filter(|(_, offset)| **offset < 0).map(|(partition, _)| partition.clone()).collect();
        for partition in &without {
            println!(
                "Partition {} from topic {} is empty, without a committed record. Falling back to latest known offset.",
                partition.partition, partition.topic
            );
        }
        found.extend(offsets::list(&self.admin, &without, OffsetSpec::Latest).await?);
        Ok(found)
    }

    /// Moves offsets outside of the log to its nearest end, with a word about it.
    async fn bounded(&self, wanted: Offsets) -> Result<Offsets, Failure> {
        let partitions: Vec<_> = wanted.keys().cloned().collect();
        let starts = offsets::list(&self.admin, &partitions, OffsetSpec::Earliest).await?;
        let ends = offsets::list(&self.admin, &partitions, OffsetSpec::Latest).await?;
        let bound = |(partition, offset): (TopicPartition, i64)| {
            let start = starts.get(&partition).copied().unwrap_or_default();
            let end = ends.get(&partition).copied().unwrap_or_default();
            if offset >= end {
                println!("New offset ({offset}) is higher than latest offset. Value will be set to {end}");
                (partition, end)
            } else if offset <= start {
                println!("New offset ({offset}) is lower than earliest offset. Value will be set to {start}");
                (partition, start)
            } else {
                (partition, offset)
            }
        };
        Ok(wanted.into_iter().map(bound).collect())
    }

    async fn delete_internal_topics(&self) -> Result<(), Failure> {
        let inferred: Vec<String> =
            self.topics.iter().filter(|topic| self.is_internal(topic)).cloned().collect();
        let specified = list(self.options, "internal-topics");
        let chosen = if specified.is_empty() {
            println!("Deleting inferred internal topics [{}]", inferred.join(", "));
            inferred
        } else {
            if !specified.iter().all(|topic| inferred.contains(topic)) {
                return Err(Failure::illegal_argument(
                    "Invalid topic specified in the --internal-topics option. Ensure that the topics specified are all \
                     internal topics. Do a dry run without the --internal-topics option to see the list of all internal \
                     topics that can be deleted.",
                ));
            }
            println!("Deleting specified internal topics [{}]", specified.join(", "));
            specified
        };
        if !self.dry_run && !chosen.is_empty() {
            let mut failed = false;
            for (topic, outcome) in self.admin.delete_topics(&chosen).await? {
                if let Err(error) = outcome {
                    eprintln!("ERROR: deleting topic {topic}\n{}", Failure::execution(error));
                    failed = true;
                }
            }
            if failed {
                return Err(Failure::new(
                    "java.lang.RuntimeException",
                    "Encountered an error deleting one or more topics",
                ));
            }
        }
        println!("Done.");
        Ok(())
    }

    fn is_internal(&self, topic: &str) -> bool {
        let given = self.input.iter().chain(&self.intermediate).any(|given| given == topic);
        let own = topic.strip_prefix(self.group).is_some_and(|rest| rest.starts_with('-'));
        !given && own && has_internal_form(topic)
    }
}

/// Whether Kafka Streams names its own topics so.
fn has_internal_form(topic: &str) -> bool {
    let suffixes =
        ["-changelog", "-repartition", "-subscription-registration-topic", "-subscription-response-topic"];
    let joins = Regex::new(r"^.+-KTABLE-FK-JOIN-SUBSCRIPTION-(REGISTRATION|RESPONSE)-\d+-topic$");
    suffixes.iter().any(|suffix| topic.ends_with(suffix)) || joins.is_ok_and(|joins| joins.is_match(topic))
}

/// Reads `TOPIC,PARTITION,OFFSET` lines, one for each of `partitions`.
fn plan(path: &str, partitions: &[TopicPartition]) -> Result<Offsets, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|_| Failure::new("java.io.IOException", format!("Unable to read file {path}")))?;
    if text.is_empty() {
        return Err(Failure::new(PARSE, "Error parsing reset plan CSV file. It is empty,"));
    }
    let mut plan = Offsets::new();
    for line in text.trim_end_matches('\n').split('\n') {
        let parts: Vec<&str> = line.split(',').collect();
        let [topic, partition, offset] = parts.as_slice() else {
            let message = "Reset plan CSV file is not following the format `TOPIC,PARTITION,OFFSET`.";
            return Err(Failure::new(PARSE, message));
        };
        let number = |text: &str| {
            Failure::new("java.lang.NumberFormatException", format!("For input string: \"{text}\""))
        };
        let partition: i32 = partition.parse().map_err(|_| number(partition))?;
        let offset: i64 = offset.parse().map_err(|_| number(offset))?;
        plan.insert(TopicPartition::new(*topic, partition), offset);
    }
    let missing = partitions.iter().find(|partition| !plan.contains_key(partition));
    let strange = plan.keys().find(|partition| !partitions.contains(partition));
    if let Some(partition) = missing.or(strange) {
        return Err(Failure::new(
            "java.lang.NullPointerException",
            format!("the reset plan and the input topics do not agree about {partition}"),
        ));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_streams_are_known_by_their_names() {
        for name in [
            "app-store-changelog",
            "app-KSTREAM-1-repartition",
            "app-x-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-0000000012-topic",
            "app-x-subscription-registration-topic",
        ] {
            assert!(has_internal_form(name), "{name}");
        }
        assert!(!has_internal_form("app-output"));
    }
}
