//! `mosquitto_rr`: publishes a request and prints the response.

use bytes::Bytes;
use mqtt_codec::{PropertiesBuf, ReasonCode};

use super::client::{self, Application, Client, Event};
use super::failure::Failure;
use super::format::Printer;
use super::options::Options;
use super::property::{Command, Value};
use super::publish::load;
use super::signal::{Interrupt, Interrupts};
use super::{complain, refusal};

const RESPONSE_TOPIC: u8 = 8;

/// State of `mosquitto_rr`.
#[derive(Debug)]
struct Requester<'a> {
    options: &'a Options,
    payload: Bytes,
    properties: PropertiesBuf,
    printer: Printer,
    interrupts: Interrupts,
    timed_out: bool,
    refused: u8,
    /// The answer is there, or none can come.
    done: bool,
}

/// Sends a request as the options say and waits for the response; gives the exit code.
pub fn run(options: &Options) -> u8 {
    let (Some(response_topic), Some(source)) = (&options.response_topic, &options.source) else { return 1 };
    let payload = match load(source) {
        Ok(payload) => payload,
        Err(texts) => {
            texts.iter().for_each(|text| complain(options, text));
            return 1;
        }
    };
    let mut list = options.publish_properties.clone();
    list.push(RESPONSE_TOPIC, Value::Text(response_topic.clone()));
    let properties = match list.check(Command::Publish).and_then(|()| list.publish()) {
        // An MQTT 3 server is not told where to answer: both sides must know.
        Ok(properties) if options.version.is_v5() => properties,
        Ok(_) => PropertiesBuf::new(),
        Err(_) => {
            complain(options, "Error in PUBLISH properties: Duplicate response topic.\n");
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
    super::block_on(async move {
        let stream = match client::connect(&mut client, options).await {
            Ok(stream) => stream,
            Err(text) => {
                complain(options, &text);
                return 1;
            }
        };
        let interrupts = match Interrupts::listen(false, options.timeout) {
            Ok(interrupts) => interrupts,
            Err(error) => {
                complain(options, &format!("Error: {}\n", super::failure::system_text(&error)));
                return 1;
            }
        };
        let mut requester = Requester {
            options,
            payload,
            properties,
            printer: Printer::new(options),
            interrupts,
            timed_out: false,
            refused: 0,
            done: false,
        };
        let result = client::run(&mut client, &mut requester, options, stream, false).await;
        requester.exit_code(result)
    })
}

impl Requester<'_> {
    fn exit_code(&self, result: Result<(), Failure>) -> u8 {
        if self.timed_out {
            complain(self.options, "Timed out\n");
            return Failure::Timeout.code();
        }
        let code = match result {
            Ok(()) | Err(Failure::NoConnection) => 0,
            Err(_) if self.done => 0,
            Err(failure) => {
                complain(self.options, &format!("Error: {}\n", failure.text()));
                failure.code()
            }
        };
        if self.refused != 0 { self.refused } else { code }
    }

    fn finish(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.done = true;
        client.disconnect(ReasonCode::Success)
    }
}

impl Application for Requester<'_> {
    type Input = Interrupt;

    async fn wait(&mut self) -> Interrupt {
        self.interrupts.next().await
    }

    fn input(&mut self, client: &mut Client, _: Interrupt) -> Result<(), Failure> {
        self.timed_out = true;
        client.disconnect(ReasonCode::DisconnectWithWill)
    }

    fn event(&mut self, client: &mut Client, event: Event) -> Result<(), Failure> {
        match event {
            Event::Connected(0) => {
                let filter = self.options.response_topic.clone().unwrap_or_default();
                client.subscribe(&[filter], self.options).map(|_| ())
            }
            Event::Connected(code) => {
                self.refused = code;
                refusal(self.options, code);
                self.finish(client)
            }
            Event::Subscribed { codes, .. } => match codes.first().copied().and_then(ReasonCode::from_u8) {
                Some(code) if code.is_error() => {
                    complain(self.options, &format!("{}\n", code.name()));
                    self.finish(client)
                }
                _ => {
                    let topic = self.options.topic.as_deref().unwrap_or_default();
                    let payload = self.payload.clone();
                    client.publish(topic, payload, self.options.qos, false, &self.properties).map(|_| ())
                }
            },
            Event::Message(message) if !self.done => {
                super::print_message(self.options, &self.printer, &message);
                self.finish(client)
            }
            Event::Message(_) | Event::Published { .. } | Event::Closed | Event::Lost => Ok(()),
        }
    }
}
