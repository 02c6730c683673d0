//! `mosquitto_pub`, `mosquitto_sub` and `mosquitto_rr`: options, output and exit codes as those of Mosquitto 2.0,
//! on our own codec, against any MQTT server.

mod client;
mod connection;
mod ctrl;
mod failure;
mod format;
mod help;
mod json;
mod number;
mod options;
mod passwd;
mod property;
mod publish;
mod request;
mod signal;
mod subscribe;
mod time;
mod tls;

use std::io::Write;
use std::process::ExitCode;

use mqtt_codec::Publish;

pub use ctrl::mosquitto_ctrl;
pub use passwd::mosquitto_passwd;

use format::Printer;
use options::{Options, Stop, Tool};

/// `mosquitto_pub`: publishes messages. `args` is without the program's name.
pub fn mosquitto_pub(args: &[String]) -> ExitCode {
    start(Tool::Publish, args)
}

/// `mosquitto_sub`: prints messages. `args` is without the program's name.
pub fn mosquitto_sub(args: &[String]) -> ExitCode {
    start(Tool::Subscribe, args)
}

/// `mosquitto_rr`: publishes a request and prints the response. `args` is without the program's name.
pub fn mosquitto_rr(args: &[String]) -> ExitCode {
    start(Tool::Request, args)
}

fn start(tool: Tool, args: &[String]) -> ExitCode {
    let options = match Options::load(tool, args) {
        Ok(options) => options,
        Err(stop) => {
            match stop {
                Stop::Help => print(&help::text(tool)),
                Stop::Version => print(&help::version(tool)),
                Stop::Wrong(text) => {
                    complain_always(&format!("{text}\nUse '{} --help' to see usage.\n", tool.name()));
                }
            }
            return ExitCode::FAILURE;
        }
    };
    let missing_topic = options.topic.is_none() || options.source.is_none();
    let code = match tool {
        Tool::Publish if missing_topic => {
            complain_always("Error: Both topic and message must be supplied.\n");
            print(&help::text(tool));
            1
        }
        Tool::Publish => publish::run(&options),
        Tool::Subscribe => subscribe::run(&options),
        Tool::Request if missing_topic || options.response_topic.is_none() => {
            complain_always("Error: All of topic, message, and response topic must be supplied.\n");
            complain_always("\nUse 'mosquitto_rr --help' to see usage.\n");
            1
        }
        Tool::Request => request::run(&options),
        // Has a command line of its own.
        Tool::Control => 1,
    };
    ExitCode::from(code)
}

/// Runs a tool's asynchronous part; gives its exit code.
fn block_on(work: impl Future<Output = u8>) -> u8 {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A name lookup or a read from a terminal may still hang: nobody waits for it.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            complain_always(&format!("Error: {}\n", failure::system_text(&error)));
            1
        }
    }
}

/// Writes to standard error unless `--quiet` is given.
fn complain(options: &Options, text: &str) {
    if !options.quiet {
        complain_always(text);
    }
}

fn complain_always(text: &str) {
    // There is nobody left to tell when this fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away wants no more.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn print_line(text: &str) {
    print(&format!("{text}\n"));
}

/// Prints a message; whether standard output took it.
fn print_message(options: &Options, printer: &Printer, message: &Publish) -> bool {
    let (text, complaint) = printer.print(message);
    if let Some(complaint) = complaint {
        complain(options, &complaint);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&text).and_then(|()| out.flush()).is_ok()
}

/// Tells that the server refused the connection.
fn refusal(options: &Options, code: u8) {
    complain(options, &publish::refusal_text(options, code));
}

/// Whether a message is among the `chance` of 10,000 to show.
fn picked(chance: u32) -> bool {
    chance >= 10_000 || getrandom::u32().map_or(true, |random| random % 10_000 < chance)
}
