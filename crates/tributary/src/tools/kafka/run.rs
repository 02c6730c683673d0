//! What every Kafka tool shares: running to an exit code, errors and log lines in the originals' shape, properties,
//! and finding the broker.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::argparse::{NotParsed, Parsed, Parser};
use super::calendar;
use super::options::{OptionError, Options};
use crate::config::properties;

/// Kafka's release whose tools these are the same as; what `--version` prints.
pub const KAFKA_VERSION: &str = "4.3.1";
/// The commit that release was made of, which some of the tools tell too.
const KAFKA_COMMIT: &str = "26b251a451ce941d";

/// Environment variable with the brokers that `--zookeeper` is to be replaced by.
const BOOTSTRAP_VARIABLE: &str = "KAFKA_BOOTSTRAP_SERVERS";
/// Port that Kafka has when a ZooKeeper address is all there is to go by.
const KAFKA_PORT: u16 = 9092;

/// An error in the terms of the originals: the Java exception they would throw, and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Fully qualified name of the exception.
    pub exception: String,
    /// Message; may be empty, as with some of Java's.
    pub message: String,
}

impl Failure {
    /// Any exception.
    pub fn new(exception: &str, message: impl Into<String>) -> Self {
        Self { exception: exception.to_owned(), message: message.into() }
    }

    /// An `IllegalArgumentException`.
    pub fn illegal_argument(message: impl Into<String>) -> Self {
        Self::new("java.lang.IllegalArgumentException", message)
    }

    /// A `KafkaException`.
    pub fn kafka(message: impl Into<String>) -> Self {
        Self::new("org.apache.kafka.common.KafkaException", message)
    }

    /// What waiting for a Java future throws when the work behind it failed.
    pub fn execution(error: impl Into<Self>) -> Self {
        error.into().wrapped_in("java.util.concurrent.ExecutionException")
    }

    /// Wraps it in another exception without a message of its own, as Java does between threads.
    #[must_use]
    pub fn wrapped_in(self, exception: &str) -> Self {
        Self::new(exception, self.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => f.write_str(&self.exception),
            message => write!(f, "{}: {message}", self.exception),
        }
    }
}

impl std::error::Error for Failure {}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self { exception: error.java_exception(), message: error.to_string() }
    }
}

impl From<client::ConfigError> for Failure {
    fn from(error: client::ConfigError) -> Self {
        client::Error::from(error).into()
    }
}

impl From<OptionError> for Failure {
    fn from(error: OptionError) -> Self {
        Self::new(error.java_exception(), error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new("java.io.IOException", error.to_string())
    }
}

/// Why a tool ends before its work is done.
#[derive(Debug)]
pub enum Stop {
    /// Everything is said: end with this code.
    Exit(u8),
    /// The command line is wrong: this message, the help, code 1.
    Usage(String),
    /// An error.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs a tool's work on a runtime of its own.
pub fn block_on<F: Future<Output = ExitCode>>(work: F) -> ExitCode {
    log_warnings();
    match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A thread may still wait for standard input; nobody waits for it.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints `message` and the help, and gives the code that goes with it.
pub fn usage(options: &str, message: &str) -> ExitCode {
    eprint!("{message}\n{options}");
    ExitCode::FAILURE
}

/// Answers `--help` (or an empty command line) and `--version`. `--help` ends with `example`, which is ours.
///
/// # Errors
/// [`Stop`] when it did.
pub fn help_or_version(options: &Options, about: &str, example: &str) -> Result<(), Stop> {
    if options.has("help") {
        eprint!("{about}\n{}\nExample:\n  {example}\n", options.usage());
        return Err(Stop::Exit(1));
    }
    if options.is_empty() {
        return Err(Stop::Usage(about.to_owned()));
    }
    if options.has("version") {
        println!("{KAFKA_VERSION}");
        return Err(Stop::Exit(0));
    }
    Ok(())
}

/// Checks that all of `names` were given.
///
/// # Errors
/// [`Stop::Usage`] naming the first that is missing.
pub fn require(options: &Options, names: &[&str]) -> Result<(), Stop> {
    match names.iter().find(|name| !options.has(name)) {
        Some(missing) => Err(Stop::Usage(format!("Missing required argument \"[{missing}]\""))),
        None => Ok(()),
    }
}

/// Checks that with `used` none of `excluded` was given.
///
/// # Errors
/// [`Stop::Usage`] naming the first that was.
pub fn exclude(options: &Options, used: &str, excluded: &[&str]) -> Result<(), Stop> {
    match excluded.iter().find(|name| options.has(used) && options.has(name)) {
        Some(name) => Err(Stop::Usage(format!("Option \"[{used}]\" can't be used with option \"[{name}]\""))),
        None => Ok(()),
    }
}

/// Checks that exactly one of `names` was given.
///
/// # Errors
/// [`Stop::Usage`] naming them all.
pub fn exactly_one(options: &Options, names: &[&str]) -> Result<(), Stop> {
    if options.count(names) == 1 {
        return Ok(());
    }
    let names: Vec<_> = names.iter().map(|name| format!("[{name}]")).collect();
    Err(Stop::Usage(format!("Exactly one of the following arguments is required: {}", names.join(", "))))
}

/// The brokers to talk to: `--bootstrap-server` or its older name `--broker-list`.
///
/// # Errors
/// An option given twice.
pub fn bootstrap_server(options: &Options) -> Result<Option<String>, OptionError> {
    let name = if options.has("bootstrap-server") { "bootstrap-server" } else { "broker-list" };
    Ok(options.value(name)?.map(str::to_owned))
}

/// The same, or what stands in for `--zookeeper`.
///
/// # Errors
/// An option given twice.
pub fn bootstrap(options: &Options) -> Result<Option<String>, OptionError> {
    if has_bootstrap_server(options) {
        return bootstrap_server(options);
    }
    let Some(zookeeper) = options.value("zookeeper")? else { return Ok(None) };
    let brokers = std::env::var(BOOTSTRAP_VARIABLE).unwrap_or_else(|_| brokers_beside(zookeeper));
    eprintln!(
        "Note: no ZooKeeper is needed; talking to the broker at {brokers} (--bootstrap-server {brokers})."
    );
    Ok(Some(brokers))
}

/// The same for tools that have no `--broker-list`, or one that means something else; `other` is a ZooKeeper address
/// that an older option gave.
///
/// # Errors
/// An option given twice.
pub fn bootstrap_or_zookeeper(options: &Options, other: Option<&str>) -> Result<Option<String>, OptionError> {
    if let Some(servers) = options.value("bootstrap-server")? {
        return Ok(Some(servers.to_owned()));
    }
    let Some(zookeeper) = options.value("zookeeper")?.or(other) else { return Ok(None) };
    let brokers = std::env::var(BOOTSTRAP_VARIABLE).unwrap_or_else(|_| brokers_beside(zookeeper));
    eprintln!(
        "Note: no ZooKeeper is needed; talking to the broker at {brokers} (--bootstrap-server {brokers})."
    );
    Ok(Some(brokers))
}

/// Whether the command line names brokers.
pub fn has_bootstrap_server(options: &Options) -> bool {
    options.count(&["bootstrap-server", "broker-list"]) > 0
}

/// Whether the command line says, in any way, where the brokers are.
pub fn has_bootstrap(options: &Options) -> bool {
    has_bootstrap_server(options) || options.has("zookeeper")
}

/// Checks that brokers are given as `host:port,…`.
///
/// # Errors
/// [`Stop::Usage`] when they are not.
pub fn check_brokers(brokers: &str) -> Result<(), Stop> {
    if brokers.trim().is_empty() {
        return Err(Stop::Usage("Error while validating the bootstrap address\n".to_owned()));
    }
    let has_port =
        |address: &str| address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if brokers.split(',').all(has_port) {
        return Ok(());
    }
    Err(Stop::Usage("Please provide valid host:port like host1:9091,host2:9092\n".to_owned()))
}

/// A number below `bound` for a name that nobody else has.
///
/// # Errors
/// The system has no random numbers.
pub fn random_below(bound: u32) -> Result<u32, Failure> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| Failure::kafka(format!("no random numbers: {error}")))?;
    Ok(u32::from_le_bytes(bytes) % bound)
}

/// Brokers on the hosts of a ZooKeeper connection string (`host:port,…/chroot`).
fn brokers_beside(zookeeper: &str) -> String {
    let hosts = zookeeper.split_once('/').map_or(zookeeper, |(hosts, _)| hosts);
    let brokers: Vec<_> = hosts
        .split(',')
        .map(|address| address.rsplit_once(':').map_or(address, |(host, _)| host))
        .map(|host| format!("{}:{KAFKA_PORT}", if host.is_empty() { "localhost" } else { host }))
        .collect();
    brokers.join(",")
}

/// Reads a properties file.
///
/// # Errors
/// Java's exceptions for a missing file or a malformed escape.
pub fn load_properties(path: &str) -> Result<BTreeMap<String, String>, Failure> {
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new("java.nio.file.NoSuchFileException", path),
        _ => Failure::new("java.io.IOException", format!("{path}: {error}")),
    })?;
    let entries = properties::parse(&String::from_utf8_lossy(&text)).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(|(line, why)| format!("{path}:{line}: {why}")).collect();
        Failure::illegal_argument(problems.join("; "))
    })?;
    Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

/// `key=value` arguments; a value that is missing is empty.
pub fn key_values(args: &[&str]) -> BTreeMap<String, String> {
    args.iter()
        .map(|arg| arg.split_once('=').unwrap_or((arg, "")))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Properties of an admin client: `--command-config` and the brokers.
///
/// # Errors
/// An unreadable file, an option given twice, bad configuration.
pub fn admin(options: &Options) -> Result<client::Admin, Failure> {
    let mut properties = match options.value("command-config")? {
        Some(path) => load_properties(path)?,
        None => BTreeMap::new(),
    };
    if let Some(brokers) = bootstrap(options)? {
        properties.insert("bootstrap.servers".to_owned(), brokers);
    }
    Ok(client::Admin::new(client::AdminConfig::from_properties(properties)?)?)
}

/// The same for tools that take their brokers, or controllers, from either of two options.
///
/// # Errors
/// Both or none given, an unreadable file, bad configuration.
pub fn admin_at(
    servers: Option<&str>,
    controllers: Option<&str>,
    config: Option<&str>,
) -> Result<client::Admin, Failure> {
    let refused = |text: &str| {
        let exception = "org.apache.kafka.server.util.CommandLineUtils$InitializeBootstrapException";
        Failure::new(exception, text)
    };
    let mut properties = match config {
        Some(path) => load_properties(path)?,
        None => BTreeMap::new(),
    };
    let (name, other, address) = match (servers, controllers) {
        (Some(servers), None) => ("bootstrap.servers", "bootstrap.controllers", servers),
        (None, Some(controllers)) => ("bootstrap.controllers", "bootstrap.servers", controllers),
        (Some(_), Some(_)) => {
            return Err(refused("You cannot specify both --bootstrap-controller and --bootstrap-server."));
        }
        (None, None) => {
            return Err(refused("You must specify either --bootstrap-controller or --bootstrap-server."));
        }
    };
    properties.remove(other);
    properties.insert(name.to_owned(), address.to_owned());
    Ok(client::Admin::new(client::AdminConfig::from_properties(properties)?)?)
}

/// Parses the command line of a tool with sub-commands; `help_code` is its exit code for `--help`.
///
/// # Errors
/// [`Stop::Exit`] when there is nothing to do, with everything said.
pub fn commands(parser: &Parser, args: &[String], help_code: u8) -> Result<Parsed, Stop> {
    parser.parse(args).map_err(|reason| match reason {
        NotParsed::Help(help) => {
            print!("{help}");
            Stop::Exit(help_code)
        }
        NotParsed::Version => {
            println!("{KAFKA_VERSION} (Commit:{KAFKA_COMMIT})");
            Stop::Exit(0)
        }
        NotParsed::Wrong { text, .. } => {
            eprint!("{text}");
            Stop::Exit(1)
        }
    })
}

/// Turns a tool's outcome into its exit code; `report` says what failed.
pub fn finish(
    outcome: Result<(), Stop>,
    table: &'static [super::options::Flag],
    report: impl FnOnce(&Failure),
) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Exit(code)) => ExitCode::from(code),
        Err(Stop::Usage(message)) => usage(&super::usage::render(table), &message),
        Err(Stop::Failed(failure)) => {
            report(&failure);
            ExitCode::FAILURE
        }
    }
}

/// Says what failed as most tools do: the message, then what Java begins a trace with.
pub fn trace(failure: &Failure) {
    eprintln!("{}\n{failure}\n", failure.message);
}

/// Prints a table with columns as wide as their widest cell.
pub fn print_table(headers: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize, header: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.fold(header.len(), usize::max)
    };
    let widths: Vec<usize> = headers.iter().enumerate().map(|(at, header)| width(at, header)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}\t")).collect::<String>()
    };
    println!("{}", line(&mut headers.iter().copied()));
    for row in rows {
        println!("{}", line(&mut row.iter().map(String::as_str)));
    }
}

/// Writes an error line as Kafka's tools log it.
pub fn log_error(message: &str, logger: &str) {
    eprintln!("[{}] ERROR {message} ({logger})", calendar::log_time(now_ms()));
}

/// Writes a warning line as Kafka's tools log it.
pub fn log_warn(message: &str, logger: &str) {
    eprintln!("[{}] WARN {message} ({logger})", calendar::log_time(now_ms()));
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// The client's warnings and errors go to standard error in the shape of Kafka's log lines.
struct KafkaLines;

impl<S, N> FormatEvent<S, N> for KafkaLines
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        write!(writer, "[{}] {} ", calendar::log_time(now_ms()), metadata.level())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer, " ({})", metadata.target())
    }
}

fn log_warnings() {
    // Fails only when a test or an embedding program logs already.
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .event_format(KafkaLines)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_stand_in_for_zookeeper() {
        assert_eq!(brokers_beside("localhost:2181"), "localhost:9092");
        assert_eq!(brokers_beside("zk1:2181,zk2:2181/kafka"), "zk1:9092,zk2:9092");
        assert_eq!(brokers_beside("zk"), "zk:9092");
    }

    #[test]
    fn values_may_hold_equals_signs() {
        let got = key_values(&["a=b=c", "flag", "a2="]);
        let got: Vec<_> = got.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(got, [("a", "b=c"), ("a2", ""), ("flag", "")]);
    }
}
