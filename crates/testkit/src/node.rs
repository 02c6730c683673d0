//! A real `tributary` process: started on free ports, killed, restarted, stopped when the test ends.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A node has this long to print `ready`, and to stop after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to start a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The `tributary` binary (`env!("CARGO_BIN_EXE_tributary")` in an integration test).
    pub binary: PathBuf,
    /// Data directory.
    pub data: PathBuf,
    /// More arguments of `serve`.
    pub arguments: Vec<String>,
}

/// A running (or killed) node with one MQTT and one Kafka listener.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    process: Option<Running>,
    mqtt: SocketAddr,
    kafka: SocketAddr,
    /// What killed processes wrote to standard error.
    said: String,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Everything the process wrote to standard error, once it has ended.
    errors: Receiver<String>,
}

impl Node {
    /// Starts a node on free loopback ports and waits for `ready`.
    ///
    /// # Errors
    /// When it ends before `ready`, with what it said.
    pub fn start(options: NodeOptions) -> Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (process, mqtt, kafka) = launch(&options, any, any)?;
        Ok(Self { options, process: Some(process), mqtt, kafka, said: String::new() })
    }

    /// Address of MQTT; the same after a restart.
    pub fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Address of Kafka; the same after a restart.
    pub fn kafka(&self) -> SocketAddr {
        self.kafka
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.options.data
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|p| p.child.id())
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut running) = self.process.take() {
            running.child.kill()?;
            running.child.wait()?;
            self.said.push_str(&running.errors.recv().unwrap_or_default());
        }
        Ok(())
    }

    /// Warnings and errors of the processes killed so far.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// SIGTERM, and waits for the end; answers the exit status and what was written to standard error.
    ///
    /// # Errors
    /// When it does not end in time (it is killed then).
    pub fn terminate(&mut self) -> Result<(ExitStatus, String)> {
        let mut running = self.process.take().context("the node does not run")?;
        terminate(&running.child)?;
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            if let Some(status) = running.child.try_wait()? {
                return Ok((status, running.errors.recv().unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        running.child.kill()?;
        running.child.wait()?;
        bail!("the node did not stop within {PATIENCE:?} of SIGTERM")
    }

    /// Starts it again on the same data and the same ports.
    ///
    /// # Errors
    /// When it still runs, or ends before `ready`.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the node still runs");
        }
        let (process, mqtt, kafka) = launch(&self.options, self.mqtt, self.kafka)?;
        if (mqtt, kafka) != (self.mqtt, self.kafka) {
            bail!("restarted on other ports: {mqtt}, {kafka}");
        }
        self.process = Some(process);
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn terminate(child: &Child) -> Result<()> {
    // The standard library has no way to send SIGTERM; `kill` is on every Unix.
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    if !status.success() {
        bail!("kill -TERM {}: {status}", child.id());
    }
    Ok(())
}

fn launch(
    options: &NodeOptions,
    mqtt: SocketAddr,
    kafka: SocketAddr,
) -> Result<(Running, SocketAddr, SocketAddr)> {
    let mut child = Command::new(&options.binary)
        .args(["serve", "--console", "off", "--data"])
        .arg(&options.data)
        .args(["--mqtt", &mqtt.to_string(), "--kafka", &kafka.to_string()])
        .args(&options.arguments)
        .env("TRIBUTARY_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", options.binary.display()))?;
    let errors = collect(child.stderr.take().context("stderr")?);
    let out = child.stdout.take().context("stdout")?;
    match read_until_ready(out) {
        Ok((mqtt, kafka)) => Ok((Running { child, errors }, mqtt, kafka)),
        Err(e) => {
            child.kill().ok();
            let status = child.wait()?;
            let said = errors.recv().unwrap_or_default();
            Err(e.context(format!("the node ended with {status}; it said: {said}")))
        }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = from.read_to_end(&mut text);
        let _ = send.send(String::from_utf8_lossy(&text).into_owned());
    });
    receive
}

/// Reads `listening …` lines until `ready`; a thread goes on emptying the pipe afterwards.
fn read_until_ready(out: ChildStdout) -> Result<(SocketAddr, SocketAddr)> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            // The receiver is gone after `ready`: lines are read on and dropped.
            let _ = send.send(line);
        }
    });
    let (mut mqtt, mut kafka) = (None, None);
    loop {
        let line = match lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(e) => bail!("no `ready` on standard output: {e}"),
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["listening", "mqtt", address, ..] => mqtt = Some(address.parse()?),
            ["listening", "kafka", address, ..] => kafka = Some(address.parse()?),
            ["ready"] => return Ok((mqtt.context("no MQTT listener")?, kafka.context("no Kafka listener")?)),
            _ => {}
        }
    }
}
