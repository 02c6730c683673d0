//! Which command was meant: by the name the program was called as, or by its first argument.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::sources::{self, Origin, Setting};
use crate::config::{self, Plan};
use crate::logging::{self, Verbosity};
use crate::{bridge_command, daemon, serve, tools};

/// Exit code of a command line or configuration that cannot be used.
pub const EXIT_USAGE: u8 = 2;

/// Runs what `program` and `args` name.
pub fn run(program: &str, args: &[String]) -> ExitCode {
    let name = Path::new(program).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(command) = lookup(&name) {
        return command(&with_plain_hyphens(&name, args));
    }
    if let Some((first, rest)) = args.split_first()
        && let Some(command) = lookup(first)
    {
        return command(&with_plain_hyphens(first, rest));
    }
    own_commands(args)
}

/// Commands of Mosquitto's are often copied out of documents whose editor has made dashes of their hyphens
/// (`mosquitto_pub –h host –t topic`): a dash and one letter is that option.
fn with_plain_hyphens(name: &str, args: &[String]) -> Vec<String> {
    if !tools::plain_name(name).starts_with("mosquitto_") {
        return args.to_vec();
    }
    let plain = |arg: &String| match arg.strip_prefix(['\u{2013}', '\u{2014}']) {
        Some(letter) if letter.len() == 1 && letter.is_ascii() => format!("-{letter}"),
        _ => arg.clone(),
    };
    args.iter().map(plain).collect()
}

type Command = fn(&[String]) -> ExitCode;

fn lookup(name: &str) -> Option<Command> {
    match tools::plain_name(name) {
        "kafka-server-start" => Some(kafka_server_start),
        "mosquitto" => Some(mosquitto),
        _ => tools::lookup(name),
    }
}

#[derive(Parser)]
#[command(name = "tributary", version, about = "MQTT and Kafka over one commit log, in one program", after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Own,
}

const AFTER: &str = "\
Called by another name (a link, or the first argument) it is that tool: kafka-topics, kafka-console-producer,
kafka-console-consumer, kafka-consumer-groups, kafka-server-start, mosquitto, mosquitto_pub, mosquitto_sub …
`tributary links DIR` writes a link for each.

Example:
  tributary serve
  tributary mosquitto_pub -t sensors/1/temp -m 21
  tributary kafka-console-consumer --bootstrap-server localhost:9092 --topic sensors --from-beginning";

#[derive(Subcommand)]
enum Own {
    /// Start the broker: MQTT, Kafka and console over one log
    Serve(ServeArgs),
    /// Forward between an MQTT broker and a Kafka cluster that you run already
    Bridge(bridge_command::BridgeArgs),
}

#[derive(Args)]
#[command(after_help = "\
Example:
  tributary serve --data /var/lib/tributary --mqtt 127.0.0.1:1883 --kafka 127.0.0.1:9092
  tributary serve --set log.retention.hours=24 --set max_packet_size=65536 --console off
  tributary serve --store kafka --bootstrap kafka-1:9092,kafka-2:9092")]
struct ServeArgs {
    /// TOML file with the same names as these flags, other settings under [settings]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory [default: ./tributary-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// MQTT listener, may be repeated; port 0 picks a free one; off = none [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    mqtt: Vec<String>,
    /// MQTT listener with TLS, may be repeated (port 8883 when none is given)
    #[arg(long, value_name = "ADDR")]
    mqtt_tls: Vec<String>,
    /// MQTT listener in WebSocket, may be repeated (port 9001 when none is given)
    #[arg(long, value_name = "ADDR")]
    mqtt_ws: Vec<String>,
    /// MQTT listener in WebSocket in TLS, may be repeated (port 9002 when none is given)
    #[arg(long, value_name = "ADDR")]
    mqtt_wss: Vec<String>,
    /// Certificate of the TLS listeners, PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Certificates that clients' certificates may come from, PEM; --set require_certificate=true asks for one
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// Kafka listener, [NAME://]ADDR, may be repeated; port 0 picks a free one; off = none [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR")]
    kafka: Vec<String>,
    /// Console (web page, health, metrics) or off [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR|off")]
    console: Option<String>,
    /// Where messages are kept: embedded (here), or kafka: in an existing cluster [default: embedded]
    #[arg(long, value_name = "embedded|kafka")]
    store: Option<String>,
    /// With --store kafka: its brokers
    #[arg(long, value_name = "HOST:PORT,…")]
    bootstrap: Option<String>,
    /// With --store kafka: file with properties of Kafka's clients (security.protocol=SASL_SSL …)
    #[arg(long, value_name = "FILE")]
    store_config: Option<String>,
    /// With --store kafka: this node's name among those that share the cluster; one that restarts under the same name takes
    /// up its clients' sessions at once [default: another one each time]
    #[arg(long, value_name = "NAME")]
    node_id: Option<String>,
    /// Any setting by Kafka's, Mosquitto's or our own name, may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Log every connection and request
    #[arg(short, long)]
    verbose: bool,
}

fn own_commands(args: &[String]) -> ExitCode {
    let argv = std::iter::once("tributary".to_string()).chain(args.iter().cloned());
    match Cli::try_parse_from(argv) {
        Ok(Cli { command: Own::Serve(args) }) => serve_command(args),
        Ok(Cli { command: Own::Bridge(args) }) => bridge_command::run(args),
        Err(e) => {
            let _ = e.print();
            ExitCode::from(if e.use_stderr() { EXIT_USAGE } else { 0 })
        }
    }
}

fn serve_command(args: ServeArgs) -> ExitCode {
    let verbosity = if args.verbose { Verbosity::Verbose } else { Verbosity::Normal };
    start(verbosity, move || {
        let mut problems = Vec::new();
        let mut settings = sources::from_environment(std::env::vars());
        if let Some(path) = &args.config {
            match sources::from_toml_file(path) {
                Ok(more) => settings.extend(more),
                Err(more) => problems.extend(more),
            }
        }
        let mut flag = |key: &str, value: String, flag: &'static str| {
            settings.push(Setting { key: key.into(), value, origin: Origin::Flag(flag) });
        };
        if let Some(dir) = &args.data {
            flag(sources::DATA, dir.clone(), "--data");
        }
        for (key, addresses, name) in [
            (sources::MQTT, &args.mqtt, "--mqtt"),
            (sources::MQTT_TLS, &args.mqtt_tls, "--mqtt-tls"),
            (sources::MQTT_WS, &args.mqtt_ws, "--mqtt-ws"),
            (sources::MQTT_WSS, &args.mqtt_wss, "--mqtt-wss"),
            (sources::KAFKA, &args.kafka, "--kafka"),
        ] {
            if !addresses.is_empty() {
                flag(key, addresses.join(","), name);
            }
        }
        for (key, value, name) in [
            (sources::TLS_CERT, &args.tls_cert, "--tls-cert"),
            (sources::TLS_KEY, &args.tls_key, "--tls-key"),
            (sources::TLS_CA, &args.tls_ca, "--tls-ca"),
            (sources::CONSOLE, &args.console, "--console"),
            (sources::STORE, &args.store, "--store"),
            (sources::BOOTSTRAP, &args.bootstrap, "--bootstrap"),
            (sources::STORE_CONFIG, &args.store_config, "--store-config"),
            (sources::NODE_ID, &args.node_id, "--node-id"),
        ] {
            if let Some(value) = value {
                flag(key, value.clone(), name);
            }
        }
        for text in &args.set {
            match sources::from_flag(text, "--set") {
                Ok(setting) => settings.push(setting),
                Err(problem) => problems.push(problem),
            }
        }
        config::for_serve(settings, problems)
    })
}

const KAFKA_SERVER_START_USAGE: &str = "\
USAGE: kafka-server-start [-daemon] server.properties [--override property=value]*

Starts this broker from a Kafka configuration file. It opens the listeners that the file names (default
PLAINTEXT://:9092) and keeps its data in log.dirs. MQTT is off unless the file says so: mqtt=127.0.0.1:1883

Example:
  kafka-server-start config/server.properties --override log.retention.hours=24";

fn kafka_server_start(args: &[String]) -> ExitCode {
    let mut file = None;
    let mut settings = Vec::new();
    let mut problems = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => {
                println!("{KAFKA_SERVER_START_USAGE}");
                return ExitCode::SUCCESS;
            }
            "-daemon" => problems.push(
                "-daemon: run it in the background with your service manager or `nohup … &`; it stays in the foreground".into(),
            ),
            "--override" => match args.next().map(|text| sources::from_flag(text, "--override")) {
                Some(Ok(setting)) => settings.push(setting),
                Some(Err(problem)) => problems.push(problem),
                None => problems.push("--override: expected key=value".into()),
            },
            other if file.is_none() && !other.starts_with('-') => file = Some(PathBuf::from(other)),
            other => problems.push(format!("{other}: unexpected argument")),
        }
    }
    let Some(file) = file else {
        eprintln!("{KAFKA_SERVER_START_USAGE}");
        return ExitCode::FAILURE;
    };
    start(Verbosity::Normal, move || {
        let mut problems = problems.clone();
        let mut all = sources::from_environment(std::env::vars());
        match sources::from_properties_file(&file) {
            Ok(more) => all.extend(more),
            Err(more) => problems.extend(more),
        }
        all.extend(settings.iter().cloned());
        config::for_kafka_file(all, problems)
    })
}

const MOSQUITTO_USAGE: &str = "\
Usage: mosquitto [-c config_file] [-d] [-p port] [-v]

 -c : specify the broker config file.
 -d : put the broker into the background after starting.
 -h : display this help.
 -p : start the broker listening on the specified port.
      Not recommended in conjunction with the -c option.
 -v : verbose mode - enable all logging types. This overrides
      any logging options given in the config file.

Starts this broker from a Mosquitto configuration file. Kafka clients are not served unless the file says so:
kafka_listener 127.0.0.1:9092

Example:
  mosquitto -c /etc/mosquitto/mosquitto.conf -v";

fn mosquitto(args: &[String]) -> ExitCode {
    let mut file = None;
    let mut ports = Vec::new();
    let mut verbosity = Verbosity::Normal;
    let mut problems = Vec::new();
    let mut background = false;
    let all = args;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => {
                println!("{MOSQUITTO_USAGE}");
                return ExitCode::SUCCESS;
            }
            "-v" | "--verbose" => verbosity = Verbosity::Verbose,
            "-d" | "--daemon" => background = true,
            "-c" | "--config-file" => match args.next() {
                Some(path) => file = Some(PathBuf::from(path)),
                None => problems.push("-c argument given, but no config file specified".into()),
            },
            "-p" | "--port" => match args.next().and_then(|p| p.parse::<u16>().ok()) {
                Some(port) => ports.push(port),
                None => problems.push("-p argument given, but no valid port specified (0 to 65535)".into()),
            },
            other => problems.push(format!("Unknown option '{other}'.")),
        }
    }
    if background {
        let rest: Vec<String> =
            all.iter().filter(|a| !["-d", "--daemon"].contains(&a.as_str())).cloned().collect();
        return daemon::start(&rest);
    }
    start(verbosity, move || config::for_mosquitto_file(file.as_deref(), &ports, problems.clone()))
}

/// Builds the plan, says what is wrong with it or runs it.
fn start(verbosity: Verbosity, plan: impl Fn() -> Result<Plan, Vec<String>> + Send + 'static) -> ExitCode {
    let again = plan;
    match again() {
        Ok(plan) => {
            let verbosity = if verbosity == Verbosity::Normal { plan.verbosity } else { verbosity };
            if let Err(error) = logging::start(verbosity, &plan.log) {
                eprintln!("Error: the log file cannot be written: {error}");
                return ExitCode::FAILURE;
            }
            for note in &plan.notes {
                tracing::warn!("{note}");
            }
            serve::run(plan, again)
        }
        Err(problems) => {
            for problem in problems {
                eprintln!("Error: {problem}");
            }
            ExitCode::from(EXIT_USAGE)
        }
    }
}
