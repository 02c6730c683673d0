//! An MQTT subscriber: prints what is published to a filter, with QoS 1, until it is stopped.
//!
//! ```sh
//! cargo run -p mqtt-codec --example mqtt_subscriber -- localhost:1883 'sensors/#'
//! ```

#[path = "shared/connection.rs"]
mod connection;

use std::error::Error;
use std::process::ExitCode;

use connection::Connection;
use mqtt_codec::{Ack, Packet, PacketId, QoS, Subscribe, Subscription};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, filter] = arguments.as_slice() else {
        eprintln!("usage: mqtt_subscriber HOST:PORT FILTER");
        return ExitCode::from(2);
    };
    match subscribe(address, filter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn subscribe(address: &str, filter: &str) -> Result<(), Box<dyn Error>> {
    let mut connection = Connection::open(address, "example-subscriber")?;
    let wanted = vec![Subscription::new(filter, QoS::AtLeastOnce)];
    connection.send(&Packet::Subscribe(Subscribe::new(PacketId::MIN, wanted)))?;
    loop {
        match connection.receive()? {
            Packet::Publish(publish) => {
                println!("{} {}", publish.topic.as_str(), String::from_utf8_lossy(&publish.payload));
                // Acknowledged after it was processed: what is not acknowledged comes again.
                if let Some(packet_id) = publish.packet_id {
                    connection.send(&Packet::PubAck(Ack::new(packet_id)))?;
                }
            }
            Packet::SubAck(granted) => println!("subscribed: {:?}", granted.reasons),
            other => return Err(format!("did not expect {other:?}").into()),
        }
    }
}
