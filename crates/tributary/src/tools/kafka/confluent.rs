//! `confluent local services start|stop|status`: one broker of this program in the background, its process id and
//! log under a state folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use super::processes;

const USAGE: &str = "\
Usage:
  confluent local services (start | stop | status) [-- OPTION...]

Starts, stops or looks at one local broker (MQTT and Kafka) in the background. Its data, log and process id are
kept in $CONFLUENT_CURRENT, by default a folder in your home. Options after `start --` go to `tributary serve`.

Example:
  confluent local services start
  confluent local services stop";

/// A broker that recovers a large log may take its time.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
/// The line that a broker prints when all listeners accept.
const READY: &str = "ready";
/// Lines of the log shown when a start fails.
const LOG_TAIL: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Start,
    Stop,
    Status,
}

/// Runs the command.
pub fn main(args: &[String]) -> ExitCode {
    let (action, more) = match parse(args) {
        Some(parsed) => parsed,
        None if args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h" | "help")) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        None => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = Place::find().and_then(|place| {
        println!("Using CONFLUENT_CURRENT: {}", place.folder.display());
        match action {
            Action::Start => place.start(more),
            Action::Stop => place.stop(),
            Action::Status => {
                say(place.running().is_some());
                Ok(ExitCode::SUCCESS)
            }
        }
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("Error: {error}");
        ExitCode::FAILURE
    })
}

/// `local service start`, `local services kafka stop`, `local start` …
fn parse(args: &[String]) -> Option<(Action, &[String])> {
    let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let (words, more) = args.split_at_checked(end)?;
    let more = more.get(1..).unwrap_or_default();
    let (first, rest) = words.split_first()?;
    let (action, between) = rest.split_last()?;
    let known = |word: &String| matches!(word.as_str(), "service" | "services" | "kafka" | "zookeeper");
    if first != "local" || !between.iter().all(known) {
        return None;
    }
    let action = match action.as_str() {
        "start" => Action::Start,
        "stop" => Action::Stop,
        "status" => Action::Status,
        _ => return None,
    };
    Some((action, more))
}

fn say(up: bool) {
    let state = if up { "UP" } else { "DOWN" };
    println!("Kafka is [{state}]");
    println!("MQTT is [{state}]");
}

/// The folder with the broker's data, log and process id.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn find() -> io::Result<Self> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = variable("CONFLUENT_CURRENT")
            .or_else(|| variable("XDG_STATE_HOME").map(|state| state.join("tributary")))
            .or_else(|| variable("HOME").map(|home| home.join(".local/state/tributary")))
            .or_else(|| variable("LOCALAPPDATA").map(|local| local.join("tributary")));
        let folder =
            folder.ok_or_else(|| io::Error::other("set CONFLUENT_CURRENT to a folder of your own"))?;
        fs::create_dir_all(&folder)?;
        Ok(Self { folder: folder.canonicalize()? })
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("server.pid")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The broker's process id, if it runs.
    fn running(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        processes::is_server(pid).then_some(pid)
    }

    fn start(&self, more: &[String]) -> io::Result<ExitCode> {
        if self.running().is_some() {
            say(true);
            return Ok(ExitCode::SUCCESS);
        }
        println!("Starting Kafka and MQTT (ZooKeeper's job is built in)");
        let log = File::create(self.log_file())?;
        let mut command = Command::new(processes::program()?);
        command.arg("serve").arg("--data").arg(self.folder.join("data")).args(more);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        apart(&mut command);
        let mut child = command.spawn()?;
        fs::write(self.pid_file(), child.id().to_string())?;
        if wait_ready(&mut child, &self.log_file())? {
            say(true);
            return Ok(ExitCode::SUCCESS);
        }
        let _ = fs::remove_file(self.pid_file());
        say(false);
        eprintln!("Error: the broker did not start; its log {}:", self.log_file().display());
        let log = String::from_utf8_lossy(&fs::read(self.log_file())?).into_owned();
        let lines: Vec<_> = log.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(LOG_TAIL)) {
            eprintln!("  {line}");
        }
        Ok(ExitCode::FAILURE)
    }

    fn stop(&self) -> io::Result<ExitCode> {
        let Some(pid) = self.running() else {
            say(false);
            return Ok(ExitCode::SUCCESS);
        };
        println!("Stopping Kafka and MQTT");
        processes::terminate(pid)?;
        if !processes::wait_gone(pid, STOP_TIMEOUT) {
            return Err(io::Error::other(format!(
                "process {pid} is still there after {} s",
                STOP_TIMEOUT.as_secs()
            )));
        }
        let _ = fs::remove_file(self.pid_file());
        say(false);
        Ok(ExitCode::SUCCESS)
    }
}

/// Keeps the terminal's Ctrl-C from the broker.
fn apart(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    {
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        const DETACHED_PROCESS: u32 = 0x8;
        std::os::windows::process::CommandExt::creation_flags(
            command,
            CREATE_NEW_PROCESS_GROUP | DETACHED_PROCESS,
        );
    }
}

/// Waits for the broker's `ready`; false when it ended or took too long (then it is ended).
fn wait_ready(child: &mut Child, log: &Path) -> io::Result<bool> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let text = fs::read(log)?;
        if String::from_utf8_lossy(&text).lines().any(|line| line == READY) {
            return Ok(true);
        }
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singular_and_plural_are_understood() {
        let of = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            parse(&args).map(|(action, more)| (action, more.join(" ")))
        };
        assert_eq!(of("local service start"), Some((Action::Start, String::new())));
        assert_eq!(of("local services stop"), Some((Action::Stop, String::new())));
        assert_eq!(of("local services kafka status"), Some((Action::Status, String::new())));
        assert_eq!(
            of("local services start -- --kafka 127.0.0.1:0"),
            Some((Action::Start, "--kafka 127.0.0.1:0".into()))
        );
        for bad in ["", "local", "start", "local services restart", "cloud services start", "local x start"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
