//! Log lines on standard error, in a file, or both.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `log_dest file`
    pub file: Option<PathBuf>,
    /// `log_dest stderr`, and where nothing is said.
    pub stderr: bool,
}

/// The file in use.
static LOG_FILE: OnceLock<Arc<LogFile>> = OnceLock::new();

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// Writes each line to its places.
struct Lines {
    file: Option<Arc<LogFile>>,
    stderr: bool,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.stderr {
            io::stderr().write_all(line)?;
        }
        if let Some(log) = &self.file {
            log.file.lock().write_all(line)?;
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
/// When the file cannot be written.
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
    let ansi = to.file.is_none() && io::IsTerminal::is_terminal(&io::stderr());
    let stderr = to.stderr;
    // A second start (tests call commands in one process) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Lines { file: LOG_FILE.get().cloned(), stderr })
        .with_ansi(ansi)
        .try_init();
    Ok(())
}

/// Opens the log file anew, after somebody has moved it away.
pub fn reopen() {
    let Some(log) = LOG_FILE.get() else { return };
    match open(&log.path) {
        Ok(file) => *log.file.lock() = file,
        Err(error) => tracing::error!(path = %log.path.display(), %error, "cannot open the log file again"),
    }
}
