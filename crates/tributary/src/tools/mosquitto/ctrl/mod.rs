//! `mosquitto_ctrl`: administers dynamic security (`dynsec`) of a running broker.

mod command;
mod init;
mod print;

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use mqtt_codec::{PropertiesBuf, QoS, ReasonCode};
use tokio::time::Instant;

use super::client::{self, Application, Client, Event};
use super::failure::Failure;
use super::options::{Options, Stop, Tool};
use super::publish::refusal_text;
use super::{block_on, complain_always, help, print};

const REQUEST_TOPIC: &str = "$CONTROL/dynamic-security/v1";
const RESPONSE_TOPIC: &str = "$CONTROL/dynamic-security/v1/response";
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Mosquitto's "unknown error".
const UNKNOWN: u8 = 13;

const NO_ENCRYPTION: &str = "Warning: You are running mosquitto_ctrl without encryption.\nThis means all of the configuration \
                             changes you are making are visible on the network, including passwords.\n\n";

/// Options that take a value; others that are known stand in [`FLAGS`].
const VALUES: &[&str] = &[
    "-A",
    "--cafile",
    "--capath",
    "--cert",
    "--ciphers",
    "-h",
    "--host",
    "-i",
    "--id",
    "--key",
    "--keyform",
    "-L",
    "--url",
    "-p",
    "--port",
    "-P",
    "--pw",
    "--proxy",
    "--psk",
    "--psk-identity",
    "-q",
    "--qos",
    "--tls-alpn",
    "--tls-engine",
    "--tls-engine-kpass-sha1",
    "--tls-version",
    "-u",
    "--username",
];
const FLAGS: &[&str] = &["-d", "--debug", "--help", "--insecure", "--quiet"];

/// Why there is no answer to wait for.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// It is done, or the text says what was wrong; the exit code is 0 all the same.
    Done(String),
    /// A code, after a text of its own.
    Code(u8, String),
    /// Wrong arguments.
    Invalid(String),
}

/// Administers dynamic security. `args` is without the program's name.
pub fn mosquitto_ctrl(args: &[String]) -> ExitCode {
    let mut options = Vec::new();
    let rest = match split(args, &mut options) {
        Ok(rest) => rest,
        Err(text) => {
            complain_always(&text);
            print(&usage());
            return ExitCode::FAILURE;
        }
    };
    let [module, command, arguments @ ..] = rest else {
        print(&usage());
        return ExitCode::FAILURE;
    };
    if !module.eq_ignore_ascii_case("dynsec") {
        complain_always(&format!("Error: Module '{module}' not supported.\n"));
        return ExitCode::from(Failure::NotSupported.code());
    }
    let has_qos = options.iter().any(|o| o == "-q" || o == "--qos");
    let mut options = match Options::load(Tool::Control, &options) {
        Ok(options) => options,
        Err(Stop::Wrong(text)) => {
            complain_always(&text);
            return ExitCode::FAILURE;
        }
        Err(Stop::Help | Stop::Version) => {
            print(&usage());
            return ExitCode::FAILURE;
        }
    };
    if !has_qos {
        options.qos = QoS::AtLeastOnce;
    }
    let payload = match command::payload(command, arguments) {
        Ok(payload) => payload,
        Err(Ended::Done(text)) => {
            complain_always(&text);
            return ExitCode::SUCCESS;
        }
        Err(Ended::Code(code, text)) => {
            complain_always(&text);
            return ExitCode::from(code);
        }
        Err(Ended::Invalid(text)) => {
            complain_always(&format!("{text}Error: {}\n", Failure::Invalid.text()));
            return ExitCode::from(Failure::Invalid.code());
        }
    };
    if options.tls.ca_file.is_none() && options.tls.ca_path.is_none() {
        complain_always(NO_ENCRYPTION);
    }
    ExitCode::from(ask(&options, payload.into()))
}

fn usage() -> String {
    format!(
        "mosquitto_ctrl is a tool for administering certain Mosquitto features.\n{}\nGeneral usage: mosquitto_ctrl \
         <module> <module-command> <command-options>\nFor module specific help use: mosquitto_ctrl <module> help\n\n\
         Modules available: dynsec\n\nFor more information see:\n    https://mosquitto.org/man/mosquitto_ctrl-1.html\n\n",
        help::version(Tool::Control)
    )
}

/// Takes the options that stand before the module; `-o FILE` holds more of them, one a line.
fn split<'a>(args: &'a [String], options: &mut Vec<String>) -> Result<&'a [String], String> {
    let mut at = 0;
    while let Some(option) = args.get(at).filter(|a| a.starts_with('-')) {
        let value = args.get(at + 1);
        let needed = || format!("Error: {option} argument given but no value specified.\n\n");
        if option == "-o" {
            let path = value.ok_or_else(needed)?;
            let text = std::fs::read_to_string(path)
                .map_err(|_| format!("Error: Unable to open options file \"{path}\".\n"))?;
            for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
                let (name, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
                options.push(name.to_owned());
                options.extend(Some(rest.trim()).filter(|r| !r.is_empty()).map(str::to_owned));
            }
            at += 2;
        } else if VALUES.contains(&option.as_str()) {
            options.push(option.clone());
            options.push(value.ok_or_else(needed)?.clone());
            at += 2;
        } else if FLAGS.contains(&option.as_str()) {
            options.push(option.clone());
            at += 1;
        } else {
            return Err(format!("Error: Unknown option '{option}'.\n"));
        }
    }
    Ok(args.get(at..).unwrap_or_default())
}

/// One request and its answer.
struct Request<'a> {
    options: &'a Options,
    payload: Bytes,
    deadline: Instant,
    done: bool,
}

fn ask(options: &Options, payload: Bytes) -> u8 {
    let mut client = match Client::new(options) {
        Ok(client) => client,
        Err(text) => {
            complain_always(&text);
            return 1;
        }
    };
    block_on(async move {
        let stream = match client::connect(&mut client, options).await {
            Ok(stream) => stream,
            Err(text) => {
                complain_always(&text);
                let system = text.starts_with("Error:");
                return if system { 14 } else { Failure::Lookup.code() };
            }
        };
        let mut request = Request { options, payload, deadline: Instant::now() + PATIENCE, done: false };
        // Mosquitto's tool tells by its words only how it went.
        let _ = client::run(&mut client, &mut request, options, stream, false).await;
        0
    })
}

impl Request<'_> {
    fn finish(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.done = true;
        client.disconnect(ReasonCode::Success)
    }
}

impl Application for Request<'_> {
    type Input = ();

    async fn wait(&mut self) {
        tokio::time::sleep_until(self.deadline).await;
    }

    fn input(&mut self, client: &mut Client, (): ()) -> Result<(), Failure> {
        self.finish(client)
    }

    fn event(&mut self, client: &mut Client, event: Event) -> Result<(), Failure> {
        match event {
            Event::Connected(0) => client.subscribe(&[RESPONSE_TOPIC.to_owned()], self.options).map(|_| ()),
            Event::Connected(code) => {
                complain_always(&refusal_text(self.options, code));
                self.finish(client)
            }
            Event::Subscribed { codes, .. } => match codes.first().copied().and_then(ReasonCode::from_u8) {
                Some(code) if code.is_error() => {
                    complain_always(&format!("Subscribe error: {}\n", code.name()));
                    self.finish(client)
                }
                _ => {
                    let payload = self.payload.clone();
                    let none = PropertiesBuf::new();
                    client.publish(REQUEST_TOPIC, payload, self.options.qos, false, &none).map(|_| ())
                }
            },
            Event::Published { reason, .. } if reason.is_error() && !self.done => {
                complain_always(&format!("Publish error: {}\n", reason.name()));
                self.finish(client)
            }
            Event::Message(message) if !self.done => {
                let (out, complaint) = print::answer(&message.payload);
                super::print(&out);
                complain_always(&complaint);
                self.finish(client)
            }
            Event::Message(_) | Event::Published { .. } | Event::Closed | Event::Lost => Ok(()),
        }
    }
}
