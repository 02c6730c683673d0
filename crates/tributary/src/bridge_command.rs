//! `tributary bridge`: the forwarder on the command line and on the terminal.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bridge::{BridgeConfig, BridgeError, Route, Running, Stats, ToKafkaRoute};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::EXIT_USAGE;
use crate::config::sources;
use crate::logging::{self, Destination, Verbosity};

/// Time between two reports of progress.
const REPORT: Duration = Duration::from_secs(10);
/// The same on a terminal, where one line is written over and over.
const REPORT_ON_TERMINAL: Duration = Duration::from_secs(1);
/// Time in which lanes end when the bridge is stopped.
const FAREWELL: Duration = Duration::from_secs(15);

const AFTER: &str = "\
A message of QoS 1 or 2 is acknowledged to the MQTT broker when Kafka has it on all in-sync replicas; one of QoS 2 is
in Kafka exactly once for consumers that read_committed. While Kafka is away messages wait at the MQTT broker. Its
session keeps them while the bridge is away: keep the name.

Environment: KAFKA_CFG_SASL_MECHANISM=PLAIN is sasl.mechanism=PLAIN among the properties of the Kafka clients, where
neither the file nor --kafka-property says it.

Exit codes: 0 stopped by SIGTERM or Ctrl-C; 1 a broker refuses us for good; 2 the configuration cannot be used.

Example:
  tributary bridge --mqtt host:1883 --filter 'sensors/#' --kafka host:9092 --topic kafka-topic
  tributary bridge --config bridge.toml --metrics 127.0.0.1:9400";

/// Arguments of `tributary bridge`.
#[derive(Args)]
#[command(after_help = AFTER)]
pub struct BridgeArgs {
    /// TOML file with routes in both directions (docs/bridge.md); flags come on top of it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// MQTT broker: host:port, or mqtt://, mqtts://, ws:// or wss://host:port[/path]
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<String>,
    /// What to subscribe to, may be repeated
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Kafka brokers to start from: host:port,…
    #[arg(long, value_name = "ADDR,…")]
    kafka: Option<String>,
    /// Kafka topic [default: the first level of the MQTT topic]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Highest QoS to subscribe with [default: 2]
    #[arg(long, value_name = "0|1|2", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// Name of this bridge: begins the names of its sessions; two bridges need two [default: tributary-bridge]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// MQTT user name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File whose first line is the MQTT password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Property of the Kafka clients, may be repeated (security.protocol, sasl.jaas.config, compression.type …)
    #[arg(long, value_name = "KEY=VALUE")]
    kafka_property: Vec<String>,
    /// Where to serve /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// Say more
    #[arg(short, long)]
    verbose: bool,
    /// Report progress never
    #[arg(short, long)]
    quiet: bool,
}

impl BridgeArgs {
    fn config(&self) -> Result<BridgeConfig, String> {
        let mut config = match &self.config {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
                BridgeConfig::from_toml(&text).map_err(|e| format!("{}: {e}", path.display()))?
            }
            None => {
                let need = |value: &Option<String>, flag: &str| {
                    value.clone().ok_or_else(|| format!("{flag} (or --config FILE) is needed"))
                };
                BridgeConfig::new(need(&self.mqtt, "--mqtt")?, need(&self.kafka, "--kafka")?)
            }
        };
        if self.config.is_some() {
            config.mqtt.address = self.mqtt.clone().unwrap_or(config.mqtt.address);
            if let Some(servers) = &self.kafka {
                config.kafka.insert("bootstrap.servers".to_owned(), servers.clone());
            }
        }
        if !self.filter.is_empty() {
            config.routes.push(Route::Mqtt(ToKafkaRoute::new(self.filter.clone(), self.topic.clone())));
        } else if self.topic.is_some() || self.config.is_none() {
            return Err("--filter is needed: what to subscribe to, for example 'sensors/#'".to_owned());
        }
        if let Some(qos) = self.qos.and_then(mqtt_codec::QoS::from_u8) {
            config.set_qos(qos);
        }
        config.name = self.name.clone().unwrap_or(config.name);
        config.mqtt.user = self.user.clone().or(config.mqtt.user);
        config.mqtt.password_file = self.password_file.clone().or(config.mqtt.password_file);
        config.metrics = self.metrics.clone().or(config.metrics);
        for property in &self.kafka_property {
            let (key, value) = property
                .split_once('=')
                .ok_or_else(|| format!("--kafka-property {property}: expected KEY=VALUE"))?;
            config.kafka.insert(key.to_owned(), value.to_owned());
        }
        for setting in sources::from_environment(std::env::vars()) {
            config.kafka.entry(setting.key).or_insert(setting.value);
        }
        config.checked().map_err(|e| e.to_string())
    }
}

/// Runs the bridge until it is stopped.
pub fn run(args: BridgeArgs) -> ExitCode {
    let verbosity = match (args.verbose, args.quiet) {
        (true, _) => Verbosity::Verbose,
        (_, true) => Verbosity::Quiet,
        _ => Verbosity::Normal,
    };
    let _ = logging::start(verbosity, &Destination { stderr: true, ..Destination::default() });
    let config = match args.config() {
        Ok(config) => config,
        Err(problem) => {
            eprintln!("Error: {problem}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(bridge(config, args.quiet)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::from(if matches!(error, BridgeError::Config(_)) { EXIT_USAGE } else { 1 })
        }
    }
}

async fn bridge(config: BridgeConfig, quiet: bool) -> Result<(), BridgeError> {
    let system = |source| BridgeError::System { what: "signals cannot be handled".to_owned(), source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let metrics = config.metrics.clone();
    let mut running = bridge::run(config).await?;
    if let Some(address) = metrics {
        let bound = bridge::http::serve(&address, running.stats.clone()).await?;
        say(&format!("listening metrics {bound}"));
    }
    let mut progress = Progress::new(running.stats.clone(), quiet);
    let mut ready = false;
    loop {
        let wait = if ready { progress.interval } else { Duration::from_millis(20) };
        tokio::select! {
            outcome = running.ended() => return outcome,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = tokio::time::sleep(wait) => {
                if ready {
                    progress.report();
                } else if mqtt_up(&running) {
                    ready = true;
                    say("ready");
                }
            }
        }
    }
    progress.end();
    running.stop();
    match tokio::time::timeout(FAREWELL, running.ended()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            tracing::warn!("stopped with messages under way: they are not acknowledged and come again");
            Ok(())
        }
    }
}

/// Whether every route is subscribed.
fn mqtt_up(running: &Running) -> bool {
    running.stats.routes.iter().all(|r| r.mqtt_up.load(std::sync::atomic::Ordering::Relaxed))
}

/// Writes a line for programs that start us.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Rates on standard error.
struct Progress {
    stats: Stats,
    interval: Duration,
    quiet: bool,
    terminal: bool,
    last: (u64, Instant),
}

impl Progress {
    fn new(stats: Stats, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let interval = if terminal { REPORT_ON_TERMINAL } else { REPORT };
        Self { stats, interval, quiet, terminal, last: (0, Instant::now()) }
    }

    fn report(&mut self) {
        if self.quiet {
            return;
        }
        let sum = |of: fn(&bridge::RouteStats) -> u64| self.stats.routes.iter().map(|r| of(r)).sum::<u64>();
        let delivered = sum(|r| r.delivered.get());
        let now = Instant::now();
        let seconds = now.duration_since(self.last.1).as_secs_f64().max(0.001);
        let rate = delivered.saturating_sub(self.last.0) as f64 / seconds;
        let changed = delivered != self.last.0;
        self.last = (delivered, now);
        let line = format!(
            "{delivered} delivered, {rate:.0} a second, {} in flight, {} dead letters",
            sum(|r| r.in_flight.get()),
            sum(|r| r.dead_letters.get()),
        );
        if self.terminal {
            eprint!("\r\x1b[K{line}");
        } else if changed {
            tracing::info!("{line}");
        }
    }

    fn end(&self) {
        if self.terminal && !self.quiet {
            eprintln!();
        }
    }
}
