//! An MQTT client for programs that pass messages on: acknowledgements are the caller's, and nothing is acknowledged
//! before the caller says so.
//!
//! - [`Client`] holds one connection to one broker, makes a new one when it is lost (with a jittered, growing pause),
//!   resumes or renews the session and its subscriptions, keeps it alive, and hands out [`Event`]s.
//! - [`Config`] says who connects, with which session, and how much may be in flight.
//! - [`Dial`] opens the connection: [`Tcp`] with or without TLS, or whatever the caller brings.
//!
//! Bounded: the peer may have at most [`Config::in_flight_max`] unacknowledged messages on the way to us, a packet at
//! most [`Config::packet_size_max`] bytes, and reading stops while the caller does not ask for more. What is published
//! is kept until it is acknowledged; the caller bounds it by [`Client::outstanding`].
//!
//! Not here: what messages mean. The protocol side does no I/O and is tested without any.
//!
//! ```no_run
//! # use mqtt_client::{Client, Config, Event, Tcp};
//! # use mqtt_codec::{QoS, Subscription};
//! # async fn example() -> Result<(), mqtt_client::Error> {
//! let config = Config::new("me").subscribe(Subscription::new("sensors/#", QoS::AtLeastOnce));
//! let mut client = Client::new(config, std::sync::Arc::new(Tcp::new("localhost", 1883)));
//! loop {
//!     if let Event::Message(message) = client.next().await {
//!         println!("{}", message.publish.topic);
//!         client.acknowledge(message.token)?;
//!     }
//! }
//! # }
//! ```

mod backoff;
mod client;
mod config;
mod dial;
mod error;
mod inbound;
mod outbound;
mod session;

pub use client::Client;
pub use config::Config;
pub use dial::{Dial, Duplex, Stream, Tcp};
pub use error::Error;
pub use inbound::{Token, fingerprint};
pub use session::{Event, Message};
