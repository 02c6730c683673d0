//! What the verifiable producer and consumer have in common: events as JSON lines.

use std::io::Write;

use serde::Serialize;

use super::argparse::{Arg, Group};
use super::run::{self, Failure};

/// The group of options that name the brokers.
pub const CONNECTION: Group = Group {
    title: "Connection Group",
    about: "Group of arguments for connection to brokers",
    exclusive: true,
    required: true,
};

/// `--command-config`.
pub const COMMAND_CONFIG: Arg = Arg::text(
    &["--command-config"],
    "Config properties file (config options shared with command line parameters will be overridden).",
)
.metavar("CONFIG-FILE");

#[derive(Serialize)]
struct Event<'a, T> {
    timestamp: i64,
    name: &'a str,
    #[serde(flatten)]
    data: T,
}

/// Prints an event as one line.
///
/// # Errors
/// Standard output is gone.
pub fn print(name: &str, data: impl Serialize) -> Result<(), Failure> {
    let event = Event { timestamp: run::now_ms(), name, data };
    let text = serde_json::to_string(&event).map_err(|error| Failure::kafka(error.to_string()))?;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// An event without data.
#[derive(Serialize)]
pub struct Nothing {}
