//! `mosquitto_pub`: one message, a message repeated, or a message for each line of standard input.

use std::io::{BufRead, Read};

use bytes::Bytes;
use mqtt_codec::{PropertiesBuf, ReasonCode};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use super::client::{self, Application, Client, Event};
use super::failure::{Failure, connack_text};
use super::options::{Options, PAYLOAD_MAX, Source};
use super::{complain, refusal};

/// Lines that wait between the reading thread and the connection.
const LINES_QUEUED_MAX: usize = 64;

/// Messages of lines that are not done yet, before more are read.
const OUTSTANDING_MAX: usize = 1000;

/// What the publisher waits for.
#[derive(Debug)]
pub enum Input {
    /// A line without its end, or the end of input.
    Line(Option<Bytes>),
    /// Time for the next repetition.
    Repeat,
}

/// State of `mosquitto_pub`.
#[derive(Debug)]
struct Publisher<'a> {
    options: &'a Options,
    payload: Bytes,
    properties: PropertiesBuf,
    /// Lines of standard input, with `-l`.
    lines: Option<mpsc::Receiver<Bytes>>,
    lines_ended: bool,
    connected: bool,
    /// Sent and not done.
    outstanding: usize,
    published: u32,
    first: bool,
    repeat_at: Option<Instant>,
    /// CONNACK's code when it refuses.
    refused: u8,
    closed: bool,
}

/// Publishes as the options say; gives the exit code.
pub fn run(options: &Options) -> u8 {
    let (Some(_), Some(source)) = (&options.topic, &options.source) else { return 1 };
    let payload = match load(source) {
        Ok(payload) => payload,
        Err(texts) => {
            texts.iter().for_each(|text| complain(options, text));
            return 1;
        }
    };
    let properties = match client::publish_properties(options) {
        Ok(properties) => properties,
        Err(failure) => {
            complain(options, &format!("Error in PUBLISH properties: {}\n", failure.text()));
            return 1;
        }
    };
    let mut client = match Client::new(options) {
        Ok(client) => client,
        Err(text) => {
            complain(options, &text);
            return 1;
        }
    };
    let lines = matches!(source, Source::Lines);
    super::block_on(async move {
        let stream = match client::connect(&mut client, options).await {
            Ok(stream) => stream,
            Err(text) => {
                complain(options, &text);
                return 1;
            }
        };
        let mut publisher = Publisher {
            options,
            payload,
            properties,
            lines: lines.then(read_lines),
            lines_ended: false,
            connected: false,
            outstanding: 0,
            published: 0,
            first: true,
            repeat_at: None,
            refused: 0,
            closed: false,
        };
        // A line may come long after the last: only then is a lost connection made anew.
        let result = client::run(&mut client, &mut publisher, options, stream, lines).await;
        publisher.exit_code(result)
    })
}

/// The payload of all but `-l`.
pub fn load(source: &Source) -> Result<Bytes, Vec<String>> {
    match source {
        Source::Text(text) => Ok(text.clone()),
        Source::Nothing | Source::Lines => Ok(Bytes::new()),
        Source::Stdin => {
            let mut all = Vec::new();
            let failed = |text: &str| vec![text.to_owned(), "Error loading input from stdin.\n".to_owned()];
            if let Err(error) = std::io::stdin().lock().take(PAYLOAD_MAX as u64 + 1).read_to_end(&mut all) {
                return Err(failed(&format!("Error: {}\n", super::failure::system_text(&error))));
            }
            if all.len() > PAYLOAD_MAX {
                return Err(failed(&format!(
                    "Error: Message length must be less than {PAYLOAD_MAX} bytes.\n\n"
                )));
            }
            if all.is_empty() {
                return Err(failed("Error: Zero length input.\n"));
            }
            Ok(all.into())
        }
        Source::File(name) => {
            let failed = |text: String| vec![text, format!("Error loading input file \"{name}\".\n")];
            let unable = |_| failed(format!("Error: Unable to open file \"{name}\".\n"));
            let file = std::fs::File::open(name).map_err(unable)?;
            let mut all = Vec::new();
            if file.take(PAYLOAD_MAX as u64 + 1).read_to_end(&mut all).is_err() {
                return Err(failed(format!("Error: Unable to determine size of file \"{name}\".\n")));
            }
            if all.len() > PAYLOAD_MAX {
                return Err(failed(format!("Error: File must be less than {PAYLOAD_MAX} bytes.\n\n")));
            }
            Ok(all.into())
        }
    }
}

/// Starts a thread that reads standard input line by line, as fast as lines are taken.
fn read_lines() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(LINES_QUEUED_MAX);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match input.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if sender.blocking_send(line.into()).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Publisher<'_> {
    fn exit_code(&self, result: Result<(), Failure>) -> u8 {
        let result = match result {
            // The server that refuses MQTT 5 is told of as the one that refuses MQTT 3.
            Err(Failure::Protocol) if self.refused != 0 && self.lines.is_some() => {
                Err(Failure::ConnectionRefused)
            }
            other => other,
        };
        let code = match &result {
            Ok(()) => 0,
            Err(_) if self.closed => 0,
            Err(failure) => {
                complain(self.options, &format!("Error: {}\n", failure.text()));
                failure.code()
            }
        };
        if self.refused != 0 { self.refused } else { code }
    }

    fn send(&mut self, client: &mut Client, payload: Bytes) -> Result<(), Failure> {
        self.repeat_at = None;
        let by_alias = self.properties.properties().topic_alias().is_some() && !self.first;
        let topic = if by_alias { "" } else { self.options.topic.as_deref().unwrap_or_default() };
        client.publish(topic, payload, self.options.qos, self.options.retain, &self.properties)?;
        self.first = false;
        self.outstanding += 1;
        Ok(())
    }

    fn connected(&mut self, client: &mut Client, code: u8) -> Result<(), Failure> {
        if code != 0 {
            self.refused = code;
            refusal(self.options, code);
            return Ok(());
        }
        self.connected = true;
        if self.lines.is_some() || self.published > 0 || self.outstanding > 0 {
            return Ok(());
        }
        let payload = self.payload.clone();
        if let Err(failure) = self.send(client, payload) {
            let text = match failure {
                Failure::Invalid => "Error: Invalid input. Does your topic contain '+' or '#'?\n",
                Failure::NoConnection => "Error: Client not connected when trying to publish.\n",
                Failure::Protocol => "Error: Protocol error when communicating with broker.\n",
                Failure::PayloadSize => "Error: Message payload is too large.\n",
                Failure::QosNotSupported => "Error: Message QoS not supported on broker, try a lower QoS.\n",
                other => return client.disconnect(ReasonCode::Success).and(Err(other)),
            };
            complain(self.options, text);
            client.disconnect(ReasonCode::Success)?;
        }
        Ok(())
    }

    fn published(
        &mut self,
        client: &mut Client,
        id: u16,
        reason: ReasonCode,
        why: Option<&str>,
    ) -> Result<(), Failure> {
        if reason.is_error() {
            complain(self.options, &format!("Warning: Publish {id} failed: {}.\n", reason.name()));
            if let Some(why) = why {
                complain(self.options, &format!("{why}\n"));
            }
        }
        self.outstanding = self.outstanding.saturating_sub(1);
        self.published = self.published.saturating_add(1);
        if self.lines.is_some() {
            return self.finish_lines(client);
        }
        if self.published < self.options.repeat {
            self.repeat_at = Some(Instant::now() + Duration::from_micros(self.options.repeat_delay_us));
            return Ok(());
        }
        client.disconnect(ReasonCode::Success)
    }

    fn finish_lines(&mut self, client: &mut Client) -> Result<(), Failure> {
        if self.lines_ended && self.outstanding == 0 {
            client.disconnect(ReasonCode::Success)?;
        }
        Ok(())
    }
}

impl Application for Publisher<'_> {
    type Input = Input;

    async fn wait(&mut self) -> Input {
        let room = self.connected && !self.lines_ended && self.outstanding < OUTSTANDING_MAX;
        match (&mut self.lines, self.repeat_at) {
            (Some(lines), _) if room => Input::Line(lines.recv().await),
            (_, Some(moment)) => {
                tokio::time::sleep_until(moment).await;
                Input::Repeat
            }
            _ => std::future::pending().await,
        }
    }

    fn input(&mut self, client: &mut Client, input: Input) -> Result<(), Failure> {
        match input {
            Input::Line(Some(line)) => match self.send(client, line) {
                Ok(()) | Err(Failure::NoConnection) => Ok(()),
                Err(failure) => Err(failure),
            },
            Input::Line(None) => {
                self.lines_ended = true;
                self.finish_lines(client)
            }
            Input::Repeat => {
                let payload = self.payload.clone();
                match self.send(client, payload) {
                    Ok(()) | Err(Failure::NoConnection) => Ok(()),
                    Err(failure) => {
                        complain(self.options, &format!("Error sending repeat publish: {}", failure.text()));
                        Err(failure)
                    }
                }
            }
        }
    }

    fn event(&mut self, client: &mut Client, event: Event) -> Result<(), Failure> {
        match event {
            Event::Connected(code) => self.connected(client, code),
            Event::Published { id, reason, reason_string } => {
                self.published(client, id, reason, reason_string.as_deref())
            }
            Event::Lost => {
                self.connected = false;
                // What was acknowledged by nobody is sent again; QoS 0 is gone with the connection.
                self.outstanding = client.outstanding();
                Ok(())
            }
            Event::Closed => {
                self.closed = true;
                Ok(())
            }
            Event::Message(_) | Event::Subscribed { .. } => Ok(()),
        }
    }
}

/// The words for a refused connection.
pub fn refusal_text(options: &Options, code: u8) -> String {
    if !options.version.is_v5() {
        return format!("Connection error: {}\n", connack_text(code));
    }
    let reason = ReasonCode::from_u8(code).map_or("Unknown reason", ReasonCode::name);
    let hint = match (code, options.tool) {
        (0x84, super::options::Tool::Request) => {
            ". mosquitto_rr only supports connecting to an MQTT v5 broker"
        }
        (0x84, _) => ". Try connecting to an MQTT v5 broker, or use MQTT v3.x mode.",
        _ => "",
    };
    format!("Connection error: {reason}{hint}\n")
}
