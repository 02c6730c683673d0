//! Finding and ending broker processes of this same program.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::tools;

/// Arguments that make this program a broker.
const SERVER_COMMANDS: [&str; 3] = ["serve", "kafka-server-start", "mosquitto"];
const POLL: Duration = Duration::from_millis(20);

/// A process that runs a broker from the same file as this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Process id.
    pub pid: u32,
    /// Which command made it a broker: `serve`, `kafka-server-start` or `mosquitto`.
    pub command: &'static str,
}

/// All brokers that run from this program's file.
///
/// # Errors
/// The process list cannot be read.
pub fn servers() -> io::Result<Vec<Server>> {
    let own = program()?;
    let mut servers = Vec::new();
    for (pid, file, args) in list()? {
        if pid != std::process::id()
            && same_program(&file, &own)
            && let Some(command) = server_command(&args)
        {
            servers.push(Server { pid, command });
        }
    }
    Ok(servers)
}

/// Whether `pid` is a broker of this program.
pub fn is_server(pid: u32) -> bool {
    servers().is_ok_and(|servers| servers.iter().any(|server| server.pid == pid))
}

/// This program's file.
///
/// # Errors
/// The system does not tell.
pub fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(path.canonicalize().unwrap_or(path))
}

/// Asks a process to end, as Ctrl-C or a service manager does.
///
/// # Errors
/// No such process, or not ours to end.
pub fn terminate(pid: u32) -> io::Result<()> {
    let pid = pid.to_string();
    let output = if cfg!(windows) {
        Command::new("taskkill").args(["/PID", &pid]).output()?
    } else {
        Command::new("kill").args(["-TERM", &pid]).output()?
    };
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Waits until the broker is gone; false when it is still there after `timeout`.
pub fn wait_gone(pid: u32, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    while is_server(pid) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Which broker command a command line is.
fn server_command(args: &[String]) -> Option<&'static str> {
    let named = |text: Option<&String>| {
        let name = tools::plain_name(text?);
        SERVER_COMMANDS.into_iter().find(|command| *command == name)
    };
    // `serve` is known as an argument only.
    named(args.first()).filter(|command| *command != "serve").or_else(|| named(args.get(1)))
}

fn same_program(file: &Path, own: &Path) -> bool {
    // After an upgrade the old file is gone, and Linux says so behind its name.
    let text = file.to_string_lossy();
    Path::new(text.strip_suffix(" (deleted)").unwrap_or(&text)) == own
}

type Process = (u32, PathBuf, Vec<String>);

/// Processes whose file and command line can be read.
#[cfg(target_os = "linux")]
fn list() -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Processes come and go, and other users' are not readable.
        let (Ok(file), Ok(line)) =
            (std::fs::read_link(entry.path().join("exe")), std::fs::read(entry.path().join("cmdline")))
        else {
            continue;
        };
        let args = line.split(|byte| *byte == 0).filter(|arg| !arg.is_empty());
        processes.push((pid, file, args.map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()));
    }
    Ok(processes)
}

/// Processes as `ps` lists them; the file is told from the command line.
#[cfg(all(unix, not(target_os = "linux")))]
fn list() -> io::Result<Vec<Process>> {
    let output = Command::new("ps").args(["-axo", "pid=,command="]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| {
            let (pid, command) = line.trim().split_once(' ')?;
            let args: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            let file = PathBuf::from(args.first()?);
            let file = file.canonicalize().unwrap_or(file);
            Some((pid.parse().ok()?, file, args))
        })
        .collect())
}

/// Processes as Windows' management interface lists them.
#[cfg(windows)]
fn list() -> io::Result<Vec<Process>> {
    let query = "Get-CimInstance Win32_Process | ForEach-Object { \"$($_.ProcessId)`t$($_.ExecutablePath)`t$($_.CommandLine)\" }";
    let output = Command::new("powershell").args(["-NoProfile", "-Command", query]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, '\t');
            let pid = fields.next()?.parse().ok()?;
            let file = PathBuf::from(fields.next()?);
            let file = file.canonicalize().unwrap_or(file);
            let args =
                fields.next()?.split_whitespace().map(|arg| arg.trim_matches('"').to_owned()).collect();
            Some((pid, file, args))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_told_from_other_commands() {
        let of = |line: &str| server_command(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("/opt/tributary serve --data x"), Some("serve"));
        assert_eq!(of("tributary kafka-server-start.sh f"), Some("kafka-server-start"));
        assert_eq!(of("/opt/bin/kafka-server-start f"), Some("kafka-server-start"));
        assert_eq!(of("mosquitto -c f"), Some("mosquitto"));
        assert_eq!(of("tributary kafka-topics --topic serve"), None);
        assert_eq!(of("kafka-topics --list"), None);
        assert_eq!(of("serve x"), None);
    }

    #[test]
    fn an_upgraded_program_is_still_the_same() {
        let own = Path::new("/opt/tributary");
        assert!(same_program(Path::new("/opt/tributary (deleted)"), own));
        assert!(!same_program(Path::new("/opt/other"), own));
    }

    #[test]
    fn this_test_is_in_the_list_and_is_no_broker() {
        let own = std::process::id();
        assert!(list().expect("lists").iter().any(|(pid, ..)| *pid == own));
        assert!(!is_server(own));
    }
}
