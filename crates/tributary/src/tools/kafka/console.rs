//! What the console consumers of a group and of a share group have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::formatter::Formatter;
use super::options::{Flag, Options};
use super::run::{self, Failure, Stop};

/// One wait for records when no `--timeout-ms` limits it.
const POLL_MAX: Duration = Duration::from_secs(3600);
/// How long leaving the group and closing may take (Kafka's default).
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) const CONSUMER_PROPERTY: Flag = Flag::text(
    "consumer-property",
    "consumer_prop",
    "(DEPRECATED) Consumer config properties in the form key=value. This option will be removed in a future version. \
     Use --command-property instead.",
);
pub(super) const COMMAND_PROPERTY: Flag =
    Flag::text("command-property", "consumer_prop", "Consumer config properties in the form key=value.");
pub(super) const COMMAND_CONFIG: Flag = Flag::text(
    "command-config",
    "config file",
    "Consumer config properties file. Note that [command-property] takes precedence over this config.",
);
pub(super) const FORMATTER_CONFIG: Flag = Flag::text(
    "formatter-config",
    "config file",
    "Config properties file to initialize the message formatter. Note that [formatter-property] takes precedence over \
     this config.",
);
pub(super) const MAX_MESSAGES: Flag = Flag::integer(
    "max-messages",
    "num_messages",
    "The maximum number of messages to consume before exiting. If not set, consumption is continual.",
);
pub(super) const BOOTSTRAP_SERVER: Flag =
    Flag::text("bootstrap-server", "server to connect to", "REQUIRED: The server(s) to connect to.");
pub(super) const KEY_DESERIALIZER: Flag = Flag::text(
    "key-deserializer",
    "deserializer for keys",
    "The name of the class to use for deserializing keys.",
);
pub(super) const VALUE_DESERIALIZER: Flag = Flag::text(
    "value-deserializer",
    "deserializer for values",
    "The name of the class to use for deserializing values.",
);

/// The deprecated option for a file of consumer properties, under the name a tool gives it.
pub(super) const fn consumer_config(name: &'static str) -> Flag {
    Flag::text(
        name,
        "config file",
        "(DEPRECATED) Consumer config properties file. Note that [command-property] takes precedence over this config. \
         This option will be removed in a future version. Use --command-config instead.",
    )
}

/// The help of an option for a formatter's properties; `$delivery` is one that only share groups have.
macro_rules! formatter_properties {
    ($before:literal, $delivery:literal, $after:literal) => {
        concat!(
            $before,
            "The properties to initialize the message formatter. Default properties include: \n \
             print.timestamp=true|false\n print.key=true|false\n print.offset=true|false\n ",
            $delivery,
            "print.epoch=true|false\n print.partition=true|false\n print.headers=true|false\n \
             print.value=true|false\n key.separator=<key.separator>\n line.separator=<line.separator>\n \
             headers.separator=<headers.separator>\n null.literal=<null.literal>\n \
             key.deserializer=<key.deserializer>\n value.deserializer=<value.deserializer>\n \
             header.deserializer=<header.deserializer>\n\nUsers can also pass in customized properties for their \
             formatter; more specifically, users can pass in properties keyed with 'key.deserializer.', \
             'value.deserializer.' and 'headers.deserializer.' prefixes to configure their deserializers.",
            $after
        )
    };
}
pub(super) use formatter_properties;

/// Runs a console consumer: `plan` reads the command line, `consume` carries it out and gives the exit code.
pub(super) async fn main<P, C>(
    flags: &'static [Flag],
    args: &[String],
    logger: &str,
    plan: impl FnOnce(&Options) -> Result<P, Stop>,
    consume: impl FnOnce(P) -> C,
) -> ExitCode
where
    C: Future<Output = Result<u8, Failure>>,
{
    let options = match Options::parse(flags, args) {
        Ok(options) => options,
        Err(error) => return run::usage(&super::usage::render(flags), &error.to_string()),
    };
    let plan = match plan(&options) {
        Ok(plan) => plan,
        Err(Stop::Usage(message)) => return run::usage(&options.usage(), &message),
        Err(Stop::Exit(code)) => return ExitCode::from(code),
        Err(Stop::Failed(failure)) => {
            eprintln!("Exception in thread \"main\" {failure}");
            return ExitCode::FAILURE;
        }
    };
    let systest_events = options.has("enable-systest-events");
    match consume(plan).await {
        Ok(code) => {
            if systest_events {
                println!("shutdown_complete");
            }
            ExitCode::from(code)
        }
        Err(failure) => {
            run::log_error("Unknown error when running consumer: ", logger);
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Refuses old options beside their successors.
pub(super) fn refuse_both(options: &Options, old_and_new: &[(&str, &str)]) -> Result<(), Stop> {
    match old_and_new.iter().find(|(old, new)| options.has(old) && options.has(new)) {
        Some((old, new)) => {
            Err(Stop::Usage(format!("Options --{old} and --{new} cannot be specified together.")))
        }
        None => Ok(()),
    }
}

/// Says of each old option that it will go.
pub(super) fn tell_deprecated(options: &Options, old_and_new: &[(&str, &str)]) {
    for (old, new) in old_and_new.iter().filter(|(old, _)| options.has(old)) {
        println!(
            "Option --{old} is deprecated and will be removed in a future version. Use --{new} instead."
        );
    }
}

/// The most messages to print: −1 means no limit; other negative numbers are below the count from the start.
pub(super) fn max_messages(options: &Options) -> Result<Option<u64>, Stop> {
    let max = options.number::<i32>("max-messages")?;
    Ok(max.filter(|max| *max != -1).map(|max| u64::try_from(max).unwrap_or(0)))
}

/// Consumer properties from files and from the command line.
pub(super) struct Given {
    from_file: BTreeMap<String, String>,
    from_line: BTreeMap<String, String>,
    consumer_config: &'static str,
}

impl Given {
    /// Reads them; `consumer_config` is the name of the deprecated option for a file.
    pub(super) fn new(options: &Options, consumer_config: &'static str) -> Result<Self, Stop> {
        let mut from_file = BTreeMap::new();
        for file in ["command-config", consumer_config] {
            if let Some(path) = options.value(file)? {
                from_file.extend(run::load_properties(path)?);
            }
        }
        let mut from_line = run::key_values(&options.values("command-property"));
        from_line.extend(run::key_values(&options.values("consumer-property")));
        Ok(Self { from_file, from_line, consumer_config })
    }

    /// The one group that is named, wherever.
    pub(super) fn group(&self, options: &Options) -> Result<Option<String>, Stop> {
        let mut groups: BTreeSet<&str> = options.value("group")?.into_iter().collect();
        let named = [&self.from_file, &self.from_line].into_iter().filter_map(|given| given.get("group.id"));
        groups.extend(named.map(String::as_str));
        if groups.len() > 1 {
            let groups: Vec<_> = groups.iter().map(|group| format!("'{group}'")).collect();
            return Err(Stop::Usage(format!(
                "The group ids provided in different places (directly using '--group', via '--consumer-property', or \
                 via '--{}') do not match. Detected group ids: {}",
                self.consumer_config,
                groups.join(", ")
            )));
        }
        Ok(groups.first().map(|group| (*group).to_owned()))
    }

    /// All of them: the command line goes before files.
    pub(super) fn properties(self) -> BTreeMap<String, String> {
        let mut properties = self.from_file;
        properties.extend(self.from_line);
        properties
    }
}

/// The formatter asked for.
pub(super) fn formatter(options: &Options) -> Result<Formatter, Stop> {
    let old_and_new = [("property", "formatter-property")];
    refuse_both(options, &old_and_new)?;
    tell_deprecated(options, &old_and_new);
    let mut properties = match options.value("formatter-config")? {
        Some(path) => run::load_properties(path)?,
        None => BTreeMap::new(),
    };
    for (option, property) in
        [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")]
    {
        if let Some(class) = options.value(option)?.filter(|class| !class.is_empty()) {
            properties.insert(property.to_owned(), class.to_owned());
        }
    }
    properties.extend(run::key_values(&options.values("property")));
    properties.extend(run::key_values(&options.values("formatter-property")));
    let class = options.value("formatter")?.unwrap_or_default();
    Formatter::new(class, &properties).map_err(|failure| Stop::Usage(failure.message))
}

/// Waits for records that `poll` brings within a time, at most `timeout` (`None` = for ever). May be dropped half-way.
pub(super) async fn receive<R>(
    timeout: Option<Duration>,
    mut poll: impl AsyncFnMut(Duration) -> Result<Vec<R>, client::Error>,
) -> Result<Vec<R>, Failure> {
    let started = Instant::now();
    loop {
        let left = timeout.map_or(POLL_MAX, |timeout| timeout.saturating_sub(started.elapsed()));
        let records = poll(left).await?;
        if !records.is_empty() {
            return Ok(records);
        }
        if timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
            return Err(Failure::new("org.apache.kafka.common.errors.TimeoutException", ""));
        }
    }
}
