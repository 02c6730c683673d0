//! An MQTT publisher: connects, publishes once for each argument with QoS 1, and waits for each acknowledgement.
//!
//! ```sh
//! cargo run -p mqtt-codec --example mqtt_publisher -- localhost:1883 sensors/1/temp 21.5 21.7
//! ```

#[path = "shared/connection.rs"]
mod connection;

use std::error::Error;
use std::process::ExitCode;

use bytes::Bytes;
use connection::Connection;
use mqtt_codec::{Disconnect, Packet, PacketId, Publish, QoS, ReasonCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, topic, messages @ ..] = arguments.as_slice() else {
        eprintln!("usage: mqtt_publisher HOST:PORT TOPIC MESSAGE...");
        return ExitCode::from(2);
    };
    match publish(address, topic, messages) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn publish(address: &str, topic: &str, messages: &[String]) -> Result<(), Box<dyn Error>> {
    let mut connection = Connection::open(address, "example-publisher")?;
    let mut packet_id = PacketId::MIN;
    for message in messages {
        connection.send(&Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: topic.into(),
            packet_id: Some(packet_id),
            properties: Default::default(),
            payload: Bytes::copy_from_slice(message.as_bytes()),
        }))?;
        // The acknowledgement says that the message is on stable storage.
        match connection.receive()? {
            Packet::PubAck(ack) if ack.packet_id == packet_id => println!("{message}: {:?}", ack.reason),
            other => return Err(format!("expected PUBACK, got {other:?}").into()),
        }
        packet_id = packet_id.next();
    }
    connection.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)))
}
