//! Log lines on standard error, in a file, to the system's log and as messages under `$SYS/broker/log`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How much to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// What an operator wants to know of a running node.
    Normal,
    /// Every connection and what it asks for (`-v`).
    Verbose,
}

/// Where to say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// `log_dest file`
    pub file: Option<PathBuf>,
    /// `log_dest stderr`, and where nothing is said.
    pub stderr: bool,
    /// `log_dest syslog`, with `log_facility`.
    pub syslog: Option<u8>,
    /// `log_dest topic`
    pub topic: bool,
}

/// The facility of daemons.
pub const DAEMON: u8 = 3;
/// Lines that wait to be published; what is beyond them is not published.
const LINES_MAX: usize = 1024;
/// Where the system takes log lines.
#[cfg(unix)]
const SYSLOG: &str = "/dev/log";

/// A line for subscribers of `$SYS/broker/log`.
#[derive(Debug)]
pub struct Published {
    /// Mosquitto's letter for how grave it is.
    pub severity: char,
    /// The line.
    pub text: String,
}

/// The file in use.
static LOG_FILE: OnceLock<Arc<LogFile>> = OnceLock::new();
/// Where lines to be published go, and where they come out.
type Channel = (mpsc::Sender<Published>, Mutex<Option<mpsc::Receiver<Published>>>);
static PUBLISHED: OnceLock<Channel> = OnceLock::new();

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// Knows where lines go.
struct Places {
    stderr: bool,
    #[cfg(unix)]
    syslog: Option<(std::os::unix::net::UnixDatagram, u8)>,
}

/// Writes one line to its places.
struct Line<'a> {
    places: &'a Places,
    level: Level,
}

impl Places {
    #[cfg(unix)]
    fn syslog(&self, level: Level, line: &[u8]) {
        let Some((socket, facility)) = &self.syslog else { return };
        let severity = match level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 5,
            _ => 7,
        };
        let head = format!("<{}>tributary[{}]: ", facility * 8 + severity, std::process::id());
        // Nobody is left to tell when the system takes no lines.
        let _ = socket.send_to(&[head.as_bytes(), line.trim_ascii_end()].concat(), SYSLOG);
    }

    #[cfg(not(unix))]
    fn syslog(&self, _: Level, _: &[u8]) {}
}

impl<'a> MakeWriter<'a> for Places {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { places: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Line<'a> {
        Line { places: self, level: *meta.level() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.places.stderr {
            io::stderr().write_all(line)?;
        }
        if let Some(log) = LOG_FILE.get() {
            log.file.lock().write_all(line)?;
        }
        self.places.syslog(self.level, line);
        if let Some((lines, _)) = PUBLISHED.get() {
            let severity = match self.level {
                Level::ERROR => 'E',
                Level::WARN => 'W',
                Level::INFO => 'N',
                _ => 'D',
            };
            let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            // A log that is read too slowly must not hold up what it tells of.
            let _ = lines.try_send(Published { severity, text });
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Starts logging; `TRIBUTARY_LOG` (a `tracing` filter) overrides `verbosity`.
///
/// # Errors
/// When the file cannot be written, or there is no system log.
pub fn start(verbosity: Verbosity, to: &Destination) -> io::Result<()> {
    let default = match verbosity {
        Verbosity::Quiet => "warn",
        Verbosity::Normal => "info",
        Verbosity::Verbose => "debug",
    };
    let filter = std::env::var("TRIBUTARY_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    if let Some(path) = &to.file {
        let file = Mutex::new(open(path)?);
        let _ = LOG_FILE.set(Arc::new(LogFile { path: path.clone(), file }));
    }
    if to.topic {
        let (send, receive) = mpsc::channel(LINES_MAX);
        let _ = PUBLISHED.set((send, Mutex::new(Some(receive))));
    }
    let only_stderr = to.file.is_none() && to.syslog.is_none() && !to.topic;
    let ansi = only_stderr && io::IsTerminal::is_terminal(&io::stderr());
    #[cfg(unix)]
    let syslog = match to.syslog {
        Some(facility) => {
            let socket = std::os::unix::net::UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Some((socket, facility))
        }
        None => None,
    };
    let places = Places {
        stderr: to.stderr,
        #[cfg(unix)]
        syslog,
    };
    // A second start (tests call commands in one process) keeps the first subscriber.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(places).with_ansi(ansi).try_init();
    Ok(())
}

/// Lines to be published, for the one who does.
pub fn published() -> Option<mpsc::Receiver<Published>> {
    PUBLISHED.get()?.1.lock().take()
}

/// Opens the log file anew, after somebody has moved it away.
pub fn reopen() {
    let Some(log) = LOG_FILE.get() else { return };
    match open(&log.path) {
        Ok(file) => *log.file.lock() = file,
        Err(error) => tracing::error!(path = %log.path.display(), %error, "cannot open the log file again"),
    }
}
