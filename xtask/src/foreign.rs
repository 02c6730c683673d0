//! Foreign clients: gets them from the package registries into `target/foreign` and runs the tests that use them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::test::build_tributary;
use crate::{command, root};

/// Where scripts, lock files and sources of foreign clients stand.
const SOURCES: &str = "crates/tributary/tests/foreign";

/// A broker with access control, and whose clients without a name may do everything.
const ACCESS_CONTROL: &[&str] = &[
    "--set",
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "--set",
    "super.users=User:ANONYMOUS",
];

/// A broker that does not wait for a group's first members to be more, and lets members of the consumer protocol report often.
const QUICK_GROUPS: &[&str] = &[
    "--set",
    "group.initial.rebalance.delay.ms=0",
    "--set",
    "group.consumer.min.heartbeat.interval.ms=100",
    "--set",
    "group.consumer.heartbeat.interval.ms=200",
];

/// Tests that need foreign clients, in order.
pub const STAGES: &[crate::test::Stage] = &[
    ("mission flow in every mix", |foreign| {
        foreign.debian()?;
        python3("flow.py", &["--ours", &build_tributary()?.to_string_lossy()])
    }),
    ("bridge between any two brokers", |foreign| {
        foreign.debian()?;
        python3("bridge.py", &["--ours", &build_tributary()?.to_string_lossy()])
    }),
    ("compacted topics as Kafka's tools see them", |_| {
        python3("compaction.py", &["--ours", &build_tributary()?.to_string_lossy()])
    }),
    ("share groups with Kafka's consumer and tools", |_| {
        python3("share_groups.py", &["--ours", &build_tributary()?.to_string_lossy()])
    }),
    ("commands from the notes", |_| python3("seeds.py", &["--ours", &build_tributary()?.to_string_lossy()])),
    ("mosquitto tools against Mosquitto and ours", mosquitto_tools),
    ("our mosquitto beside Mosquitto: $SYS, dynamic security, bridges", mosquitto_broker),
    ("MQTT over TLS and WebSocket, with users, against Mosquitto and ours", |foreign| {
        foreign.debian()?;
        let (python, script) = (foreign.python()?, Foreign::source("mqtt_transports.py"));
        command(Command::new(python).arg(script).arg(build_tributary()?))
    }),
    ("kafka tools against Kafka and ours", |_| {
        let ours = build_tributary()?;
        let ours = ours.to_string_lossy();
        let real = RealKafka::start()?;
        python3("kafka_tools.py", &["--bootstrap", &real.bootstrap, "--ours", &ours])?;
        drop(real);
        let node = Node::start_with(ACCESS_CONTROL)?;
        python3("kafka_tools.py", &["--bootstrap", &node.kafka, "--ours", &ours])
    }),
    ("kafka client against Kafka and ours", |_| {
        let real = RealKafka::start()?;
        client_check(&real.bootstrap)?;
        drop(real);
        client_check(&Node::start()?.kafka)
    }),
    ("go clients", |foreign| {
        let clients = foreign.go("clients")?;
        let node = Node::start_with(QUICK_GROUPS)?;
        command(Command::new(clients).arg(&node.kafka))
    }),
    ("java clients", |_| {
        let node = Node::start_with(QUICK_GROUPS)?;
        python3("real_kafka.py", &["java", "Clients", &node.kafka])
    }),
    ("kafka streams, connect and mirrormaker, killed and restarted", applications),
    ("python clients", |foreign| {
        let python = foreign.python()?;
        let node = Node::start()?;
        let script = Foreign::source("py_clients.py");
        command(Command::new(python).arg(script).args(["--kafka", &node.kafka, "--mqtt", &node.mqtt]))
    }),
    ("python clients in groups", |foreign| {
        let (python, script) = (foreign.python()?, Foreign::source("py_groups.py"));
        let node = Node::start_with(QUICK_GROUPS)?;
        command(Command::new(python).arg(script).args(["--kafka", &node.kafka]))
    }),
    ("mqtt gateway on kafka, killed under load", |foreign| {
        foreign.debian()?;
        let (python, script) = (foreign.python()?, Foreign::source("gateway.py"));
        let mut gateway = Command::new(python);
        gateway.arg("-B").arg(script).arg("--ours").arg(build_tributary()?);
        command(gateway.arg("--door").arg(test_program("tributary-broker", "it")?))
    }),
    ("outages of kafka, and messages it refuses", |foreign| {
        foreign.debian()?;
        let (python, script) = (foreign.python()?, Foreign::source("outages.py"));
        command(Command::new(python).arg("-B").arg(script).arg("--ours").arg(build_tributary()?))
    }),
    ("mqtt nodes side by side on kafka", |foreign| {
        let (python, script) = (foreign.python()?, Foreign::source("gateway_nodes.py"));
        command(Command::new(python).arg("-B").arg(script).arg("--ours").arg(build_tributary()?))
    }),
    ("security", |foreign| {
        let script = Foreign::source("security.py");
        command(Command::new(foreign.python()?).arg(script).arg("--ours").arg(build_tributary()?))
    }),
    ("node clients", |foreign| {
        let modules = foreign.node()?;
        let node = Node::start_with(QUICK_GROUPS)?;
        let script = Foreign::source("node/clients.mjs");
        command(Command::new("node").env("FOREIGN_NODE", modules).arg(script).args([&node.kafka, &node.mqtt]))
    }),
];

/// The folder of installed foreign clients.
pub struct Foreign {
    dir: PathBuf,
}

impl Foreign {
    /// Names the folder; installs nothing yet.
    pub fn new() -> Result<Self> {
        let dir = root().join("target/foreign");
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// A file or folder of the sources.
    pub fn source(name: &str) -> PathBuf {
        root().join(SOURCES).join(name)
    }

    /// The Python of an environment with `requirements.txt` installed.
    pub fn python(&self) -> Result<PathBuf> {
        let home = self.dir.join("python");
        let python = home.join("bin/python");
        let requirements = Self::source("requirements.txt");
        if self.stale("python", &requirements)? {
            command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
            command(
                Command::new(&python)
                    .args(["-m", "pip", "install", "--quiet", "--requirement"])
                    .arg(&requirements),
            )?;
            self.done("python", &requirements)?;
        }
        Ok(python)
    }

    /// A folder with `node_modules` as `package-lock.json` says.
    pub fn node(&self) -> Result<PathBuf> {
        let home = self.dir.join("node");
        let lock = Self::source("node/package-lock.json");
        if self.stale("node", &lock)? {
            std::fs::create_dir_all(&home)?;
            for file in ["package.json", "package-lock.json"] {
                std::fs::copy(Self::source("node").join(file), home.join(file))?;
            }
            command(
                Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(&home),
            )?;
            self.done("node", &lock)?;
        }
        Ok(home)
    }

    /// The program built from a folder of the Go sources.
    pub fn go(&self, name: &str) -> Result<PathBuf> {
        let program = self.dir.join(format!("go-{name}"));
        let package = format!("./{name}");
        command(
            Command::new("go")
                .args(["build", "-o"])
                .arg(&program)
                .arg(package)
                .current_dir(Self::source("go")),
        )?;
        Ok(program)
    }

    /// Debian's packages that the tests run beside ours, installed when one of `programs` is missing.
    pub fn debian(&self) -> Result<()> {
        let found = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path)
                .chain([PathBuf::from("/usr/sbin")])
                .any(|dir| dir.join(name).is_file())
        };
        let wanted = [("mosquitto", "mosquitto"), ("mosquitto_pub", "mosquitto-clients"), ("kcat", "kcat")];
        let missing: Vec<&str> =
            wanted.iter().filter(|(program, _)| !found(program)).map(|(_, p)| *p).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let apt = |args: &[&str]| {
            // RUNLEVEL=1: a package's service is installed, not started.
            command(
                Command::new("apt-get")
                    .args(args)
                    .env("DEBIAN_FRONTEND", "noninteractive")
                    .env("RUNLEVEL", "1"),
            )
        };
        let install: Vec<&str> = ["install", "--yes", "--quiet", "--no-install-recommends"]
            .into_iter()
            .chain(missing.iter().copied())
            .collect();
        apt(&["update", "--quiet"]).and_then(|()| apt(&install)).with_context(|| {
            format!(
                "install Debian's {} (as root: apt-get install {})",
                missing.join(", "),
                missing.join(" ")
            )
        })
    }

    /// Whether `what` must be installed (again): its lock file changed, or it was never finished.
    fn stale(&self, what: &str, lock: &Path) -> Result<bool> {
        let wanted = std::fs::read(lock).with_context(|| format!("read {}", lock.display()))?;
        let missing = !self.dir.join(what).is_dir();
        Ok(missing || std::fs::read(self.stamp(what)).map_or(true, |had| had != wanted))
    }

    fn done(&self, what: &str, lock: &Path) -> Result<()> {
        std::fs::copy(lock, self.stamp(what)).map(drop).context("note what was installed")
    }

    fn stamp(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{what}.installed"))
    }
}

/// The same commands by Mosquitto's tools and by ours, against Mosquitto's broker and against ours.
fn mosquitto_tools(foreign: &Foreign) -> Result<()> {
    foreign.debian()?;
    let ours = build_tributary()?;
    let links = foreign.dir.join("links");
    command(Command::new(&ours).arg("links").arg(&links).stdout(Stdio::null()))?;
    let compare =
        |address: &str| python3("mosquitto_tools.py", &[&links.to_string_lossy(), "/usr/bin", address]);
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let broker = if Path::new("/usr/sbin/mosquitto").is_file() { "/usr/sbin/mosquitto" } else { "mosquitto" };
    let broker = Command::new(broker).args(["-p", &port.to_string()]).stderr(Stdio::null()).spawn();
    let broker = Killed(broker.context("start mosquitto")?);
    let address = format!("127.0.0.1:{port}");
    while std::net::TcpStream::connect(&address).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    compare(&address)?;
    drop(broker);
    compare(&Node::start()?.mqtt)
}

/// Our broker with a Mosquitto file, and Mosquitto with the same.
fn mosquitto_broker(foreign: &Foreign) -> Result<()> {
    foreign.debian()?;
    python3("mosquitto_broker.py", &[&build_tributary()?.to_string_lossy(), "/usr/bin"])
}

/// Kafka's own applications on nodes that their scripts start and kill; side by side, as most of it is waiting.
fn applications(foreign: &Foreign) -> Result<()> {
    let (python, ours) = (foreign.python()?, build_tributary()?);
    let run = &|script: &str| {
        Command::new(&python).arg("-B").arg(Foreign::source(script)).arg("--ours").arg(&ours).output()
    };
    let scripts = ["streams.py", "connect.py", "mirror.py"];
    let finished = std::thread::scope(|scope| {
        let running = scripts.map(|script| (script, scope.spawn(move || run(script))));
        running.map(|(script, thread)| (script, thread.join()))
    });
    let mut failed = Vec::new();
    for (script, done) in finished {
        let done = done.map_err(|_| anyhow::anyhow!("running {script}"))??;
        println!("-- {script}\n{}", String::from_utf8_lossy(&done.stdout).trim_end());
        if !done.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&done.stderr).trim_end());
            failed.push(script);
        }
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// The program of a crate's integration test.
fn test_program(package: &str, test: &str) -> Result<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let args =
        ["test", "--locked", "--package", package, "--test", test, "--no-run", "--message-format=json"];
    let built = Command::new(cargo).args(args).current_dir(root()).stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(built.status.success(), "building the tests of {package}");
    let told = String::from_utf8_lossy(&built.stdout);
    let program = told.lines().rev().find_map(|line| {
        let path = line.split_once("\"executable\":\"")?.1.split('"').next()?;
        Some(PathBuf::from(path))
    });
    program.with_context(|| format!("no test {test} in {package}"))
}

/// Our Kafka client's own check against the Kafka at `bootstrap`.
fn client_check(bootstrap: &str) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let args = ["run", "--quiet", "--locked", "--package", "tributary-client", "--example", "client-check"];
    command(Command::new(cargo).args(args).args(["--", bootstrap]).current_dir(root()))
}

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One node of Apache Kafka; ends with its standard input.
struct RealKafka {
    child: Child,
    bootstrap: String,
}

impl RealKafka {
    fn start() -> Result<Self> {
        let mut child = Command::new("python3")
            .arg("-B")
            .arg(Foreign::source("real_kafka.py"))
            .arg("run")
            // So that there are rules to add, list and remove.
            .args(ACCESS_CONTROL)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start real Kafka")?;
        let out = child.stdout.take().context("standard output")?;
        let mut real = Self { child, bootstrap: String::new() };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        real.bootstrap =
            line.trim().strip_prefix("bootstrap ").context("real Kafka did not start")?.to_string();
        Ok(real)
    }
}

impl Drop for RealKafka {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs a script of the sources with the system's Python (standard library only).
fn python3(script: &str, args: &[&str]) -> Result<()> {
    command(Command::new("python3").arg("-B").arg(Foreign::source(script)).args(args).current_dir(root()))
}

/// A node with an empty data directory; stopped when dropped.
struct Node {
    child: Child,
    data: PathBuf,
    kafka: String,
    mqtt: String,
}

impl Node {
    fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    fn start_with(args: &[&str]) -> Result<Self> {
        let binary = build_tributary()?;
        let data = std::env::temp_dir().join(format!("tributary-test-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        let mut child = Command::new(&binary)
            .args(["serve", "--console", "off", "--mqtt", "127.0.0.1:0", "--kafka", "127.0.0.1:0"])
            .args(args)
            .arg("--data")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let out = child.stdout.take().context("standard output")?;
        let mut node = Self { child, data, kafka: String::new(), mqtt: String::new() };
        for line in BufReader::new(out).lines() {
            let line = line?;
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["listening", "mqtt", address, ..] => node.mqtt = (*address).into(),
                ["listening", "kafka", address, ..] => node.kafka = (*address).into(),
                ["ready"] => return Ok(node),
                _ => {}
            }
        }
        anyhow::bail!("the node ended before it was ready")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
