//! `mosquitto_sub`: prints messages until it has enough.

use mqtt_codec::{Publish, ReasonCode, topic};

use super::client::{self, Application, Client, Event};
use super::failure::Failure;
use super::format::Printer;
use super::options::Options;
use super::signal::{Interrupt, Interrupts};
use super::{complain, refusal};

/// Exit code when interrupted before the server has answered.
const INTERRUPTED: u8 = 255;

/// State of `mosquitto_sub`.
#[derive(Debug)]
struct Subscriber<'a> {
    options: &'a Options,
    printer: Printer,
    interrupts: Interrupts,
    answered: bool,
    /// Whether messages are still shown.
    showing: bool,
    shown: u32,
    /// Messages that remove retained ones and are not acknowledged yet.
    removing: u32,
    timed_out: bool,
    interrupted_early: bool,
    /// CONNACK's code when it refuses.
    refused: u8,
}

/// Subscribes as the options say; gives the exit code.
pub fn run(options: &Options) -> u8 {
    if options.no_retain && options.retained_only {
        super::complain_always("\nError: Combining '-R' and '--retained-only' makes no sense.\n");
        return 1;
    }
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
        let interrupts = match Interrupts::listen(true, options.timeout) {
            Ok(interrupts) => interrupts,
            Err(error) => {
                complain(options, &format!("Error: {}\n", super::failure::system_text(&error)));
                return 1;
            }
        };
        let mut subscriber = Subscriber {
            options,
            printer: Printer::new(options),
            interrupts,
            answered: false,
            showing: true,
            shown: 0,
            removing: 0,
            timed_out: false,
            interrupted_early: false,
            refused: 0,
        };
        let result = client::run(&mut client, &mut subscriber, options, stream, true).await;
        subscriber.exit_code(result)
    })
}

impl Subscriber<'_> {
    fn exit_code(&self, result: Result<(), Failure>) -> u8 {
        if self.interrupted_early {
            return INTERRUPTED;
        }
        if self.timed_out {
            complain(self.options, "Timed out\n");
            return Failure::Timeout.code();
        }
        let code = match result {
            Ok(()) => 0,
            Err(failure) => {
                complain(self.options, &format!("Error: {}\n", failure.text()));
                failure.code()
            }
        };
        if self.refused != 0 { self.refused } else { code }
    }

    fn connected(&mut self, client: &mut Client, code: u8) -> Result<(), Failure> {
        self.answered = true;
        if code != 0 {
            self.refused = code;
            refusal(self.options, code);
            return client.disconnect(ReasonCode::Success);
        }
        client.subscribe(&self.options.topics, self.options)?;
        for filter in &self.options.unsubscribe {
            client.unsubscribe(filter, self.options)?;
        }
        Ok(())
    }

    fn subscribed(&self, client: &mut Client, id: u16, codes: &[u8]) -> Result<(), Failure> {
        if self.options.debug && !self.options.quiet {
            let codes: Vec<String> = codes.iter().map(u8::to_string).collect();
            super::print_line(&format!("Subscribed (mid: {id}): {}", codes.join(", ")));
        }
        if codes.iter().all(|code| *code >= 0x80) {
            client.disconnect(ReasonCode::Success)?;
            complain(self.options, "All subscription requests were denied.\n");
        }
        if self.options.exit_after_subscribe {
            client.disconnect(ReasonCode::Success)?;
        }
        Ok(())
    }

    fn message(&mut self, client: &mut Client, message: &Publish) -> Result<(), Failure> {
        if !self.showing {
            return Ok(());
        }
        if self.options.retained_only && !message.retain {
            return self.enough(client);
        }
        if message.retain && self.options.no_retain {
            return Ok(());
        }
        if self.options.filter_out.iter().any(|filter| topic::matches(filter, &message.topic)) {
            return Ok(());
        }
        if self.options.remove_retained && message.retain {
            let none = mqtt_codec::PropertiesBuf::new();
            let qos = mqtt_codec::QoS::AtLeastOnce;
            client.publish(&message.topic, bytes::Bytes::new(), qos, true, &none)?;
            self.removing += 1;
        }
        if super::picked(self.options.random_filter)
            && !super::print_message(self.options, &self.printer, message)
        {
            return client.disconnect(ReasonCode::Success);
        }
        self.shown += 1;
        if self.options.message_count == Some(self.shown) {
            return self.enough(client);
        }
        Ok(())
    }

    /// No more messages are wanted: ends when everything sent is acknowledged.
    fn enough(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.showing = false;
        if self.removing == 0 { client.disconnect(ReasonCode::Success) } else { Ok(()) }
    }
}

impl Application for Subscriber<'_> {
    type Input = Interrupt;

    async fn wait(&mut self) -> Interrupt {
        self.interrupts.next().await
    }

    fn input(&mut self, client: &mut Client, input: Interrupt) -> Result<(), Failure> {
        if !self.answered {
            self.interrupted_early = true;
            return Err(Failure::Invalid);
        }
        self.timed_out |= input == Interrupt::Timeout;
        self.showing = false;
        client.disconnect(ReasonCode::DisconnectWithWill)
    }

    fn event(&mut self, client: &mut Client, event: Event) -> Result<(), Failure> {
        match event {
            Event::Connected(code) => self.connected(client, code),
            Event::Subscribed { id, codes } => self.subscribed(client, id, &codes),
            Event::Message(message) => self.message(client, &message),
            Event::Published { .. } => {
                self.removing = self.removing.saturating_sub(1);
                if !self.showing && self.removing == 0 {
                    client.disconnect(ReasonCode::Success)?;
                }
                Ok(())
            }
            Event::Closed | Event::Lost => Ok(()),
        }
    }
}
