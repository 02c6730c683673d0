//! Runs a node: log and Kafka server first, then what stands on its door.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use client::door::Door;
use client::remote::RemoteDoor;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Plan, Store};

/// Reads flags and files once more.
type Again = dyn Fn() -> Result<Plan, Vec<String>> + Send;

/// Starts all that `plan` names, prints what listens where and `ready`, and stops cleanly on SIGTERM or Ctrl-C. On
/// SIGHUP `again` says what users, rights and certificates are from now on.
pub fn run(plan: Plan, again: impl Fn() -> Result<Plan, Vec<String>> + Send + 'static) -> ExitCode {
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("tributary").build() {
            Ok(runtime) => runtime,
            Err(e) => {
                eprintln!("Error: cannot start the async runtime: {e}");
                return ExitCode::FAILURE;
            }
        };
    raise_file_limit();
    let temporary = plan.temporary.clone();
    let outcome = runtime.block_on(serve(plan, &again));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    if let Some(dir) = temporary
        && let Err(e) = std::fs::remove_dir_all(&dir)
    {
        tracing::warn!("temporary data directory {} cannot be removed: {e}", dir.display());
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("Error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Lets the process open as many files as its system allows it at most, as a JVM does by itself: every partition and
/// every connection takes one, and what shells give (1,024) is soon used up.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => tracing::debug!(limit = ?limit.maximum, "open files allowed"),
        Err(error) => tracing::warn!(%error, "the limit on open files cannot be raised"),
    }
}

async fn serve(plan: Plan, again: &Again) -> Result<()> {
    // Handlers stand before anything is opened, so that a stop during start-up is a clean one too.
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let log = Log::open(plan.store).await?;
    let outcome = serve_on(plan.mqtt, plan.console, plan.pid_file, &log, again, async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
        }
    });
    let outcome = outcome.await;
    log.close().await;
    tracing::info!("stopped");
    outcome
}

/// Names the gateway to the cluster; each of its nodes adds a name of its own.
const SERVICE: &str = "tributary-mqtt";

/// The log that everything stands on.
enum Log {
    Embedded { broker: broker::BrokerHandle, data_dir: std::path::PathBuf },
    Kafka { door: Arc<RemoteDoor>, bootstrap: String },
}

impl Log {
    async fn open(store: Store) -> Result<Self> {
        match store {
            Store::Embedded(config) => {
                let data_dir = config.data_dir.clone();
                let broker = broker::Broker::start(*config)
                    .await
                    .with_context(|| format!("cannot start on data directory {}", data_dir.display()))?;
                Ok(Self::Embedded { broker, data_dir })
            }
            Store::Kafka { properties, node_id } => {
                let bootstrap = properties.get("bootstrap.servers").cloned().unwrap_or_default();
                let node_id = node_id.map_or_else(random_name, Ok)?;
                tracing::info!(node = %node_id, "one of the nodes of the cluster at {bootstrap}");
                let door = RemoteDoor::open(&properties, SERVICE, &node_id)
                    .await
                    .with_context(|| format!("cannot use the Kafka cluster at {bootstrap}"))?;
                Ok(Self::Kafka { door, bootstrap })
            }
        }
    }

    fn door(&self) -> Arc<dyn Door> {
        match self {
            Self::Embedded { broker, .. } => broker.door(),
            Self::Kafka { door, .. } => Arc::clone(door) as Arc<dyn Door>,
        }
    }

    async fn close(self) {
        if let Self::Embedded { broker, .. } = self {
            broker.shutdown().await;
        }
    }

    /// Lines that tell where it is, and an address for Kafka clients.
    fn told(&self) -> (String, Option<String>) {
        match self {
            Self::Embedded { broker, data_dir } => {
                let address = broker.listeners().first().map(|l| l.address.to_string());
                (format!("data {}\n", data_dir.display()), address)
            }
            Self::Kafka { bootstrap, .. } => (format!("store kafka {bootstrap}\n"), Some(bootstrap.clone())),
        }
    }
}

/// A name that no other node has.
fn random_name() -> Result<String> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("no randomness: {e}"))?;
    Ok(random.iter().map(|b| format!("{b:02x}")).collect())
}

/// Runs what stands on the log's door until `stop`; ended from the devices inwards, so that what MQTT still has
/// to write finds the log open.
async fn serve_on(
    mqtt: Option<mqtt::MqttConfig>,
    console: Option<std::net::SocketAddr>,
    pid_file: Option<std::path::PathBuf>,
    log: &Log,
    again: &Again,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let mqtt = match mqtt {
        Some(config) => Some(mqtt::Server::start(config, log.door()).await.context("cannot start MQTT")?),
        None => None,
    };
    let console = match console {
        Some(address) => match console::Console::start(address, log.door()).await {
            Ok(console) => Some(console),
            Err(e) => {
                if let Some(mqtt) = mqtt {
                    mqtt.shutdown().await;
                }
                return Err(e.into());
            }
        },
        None => None,
    };
    if let (Some(mqtt), Some(mut lines)) = (&mqtt, crate::logging::published()) {
        let log = mqtt.log();
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                log.publish(line.severity, line.text);
            }
        });
    }
    let written = pid_file.map(PidFile::write).transpose();
    if written.is_ok() {
        announce(log, mqtt.as_ref(), console.as_ref());
        let reload = async {
            while hangup.recv().await.is_some() {
                reload(mqtt.as_ref(), again).await;
            }
        };
        let lost = async {
            match &mqtt {
                Some(mqtt) => mqtt.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop => {}
            () = reload => {}
            // Its sessions are others' now: there is nothing to be stopped cleanly.
            () = lost => anyhow::bail!("another node has taken this one's place in the cluster"),
        }
    }
    if let Some(console) = console {
        console.shutdown().await;
    }
    if let Some(mqtt) = mqtt {
        mqtt.shutdown().await;
    }
    written.map(drop)
}

/// Takes users, rights and certificates from the files as they are now; when they are wrong all stays as it was.
async fn reload(mqtt: Option<&mqtt::MqttHandle>, again: &Again) {
    crate::logging::reopen();
    tracing::info!("SIGHUP: reading the configuration again");
    let plan = match again() {
        Ok(plan) => plan,
        Err(problems) => {
            problems.iter().for_each(|problem| tracing::error!("{problem}"));
            tracing::error!("the configuration is wrong: everything stays as it was");
            return;
        }
    };
    plan.notes.iter().for_each(|note| tracing::warn!("{note}"));
    if let (Some(mqtt), Some(config)) = (mqtt, plan.mqtt)
        && let Err(error) = mqtt.reload(&config.listeners).await
    {
        tracing::error!("{error}: everything stays as it was");
    }
}

fn announce(log: &Log, mqtt: Option<&mqtt::MqttHandle>, console: Option<&console::ConsoleHandle>) {
    use std::io::Write;
    let (mut text, kafka) = log.told();
    let plain = mqtt.iter().flat_map(|m| m.listening()).filter(|l| l.protocol == "mqtt");
    let mqtt_addresses: Vec<_> = plain.filter_map(|l| l.address.tcp()).collect();
    for listener in mqtt.iter().flat_map(|m| m.listening()) {
        text.push_str(&format!("listening {} {}\n", listener.protocol, listener.address));
    }
    if let Log::Embedded { broker, .. } = log {
        for listener in broker.listeners() {
            text.push_str(&format!("listening kafka {} {}\n", listener.address, listener.name));
        }
    }
    if let Some(console) = console {
        text.push_str(&format!("listening console {}  http://{0}\n", console.address()));
    }
    if let (Some(mqtt), Some(kafka)) = (mqtt_addresses.first(), kafka) {
        let exe = std::env::args().next().unwrap_or_else(|| "tributary".into());
        let port = if mqtt.port() == 1883 { String::new() } else { format!(" -p {}", mqtt.port()) };
        text.push_str(&format!(
            "try     {exe} mosquitto_pub{port} -t sensors/1/temp -m 21\n\
             then    {exe} kafka-console-consumer --bootstrap-server {kafka} --topic sensors --from-beginning\n"
        ));
    }
    text.push_str("ready\n");
    let mut out = std::io::stdout().lock();
    // Nobody may be reading: a closed pipe is no reason not to serve.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A file that holds the process id while the node runs.
struct PidFile(std::path::PathBuf);

impl PidFile {
    fn write(path: std::path::PathBuf) -> Result<Self> {
        std::fs::write(&path, format!("{}\n", std::process::id()))
            .with_context(|| format!("pid_file {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
