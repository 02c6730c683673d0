//! A blocking connection for the examples: packets out and in.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use mqtt_codec::{Connect, Decoder, Packet, ProtocolVersion, ReasonCode};

const VERSION: ProtocolVersion = ProtocolVersion::V5;
const PACKET_SIZE_MAX: u32 = 1 << 20;

/// A session with a broker.
pub struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Connection {
    /// Connects and waits for the broker's consent.
    pub fn open(address: &str, client_id: &str) -> Result<Self, Box<dyn Error>> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let decoder = Decoder::for_client(VERSION, PACKET_SIZE_MAX);
        let mut connection = Self { stream, decoder, buffer: BytesMut::new() };
        // Without a keep alive no pings are needed.
        connection.send(&Packet::Connect(Box::new(Connect::new(VERSION, client_id))))?;
        match connection.receive()? {
            Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => Ok(connection),
            other => Err(format!("not accepted: {other:?}").into()),
        }
    }

    /// Sends a packet.
    pub fn send(&mut self, packet: &Packet) -> Result<(), Box<dyn Error>> {
        Ok(self.stream.write_all(&packet.to_vec(VERSION)?)?)
    }

    /// Waits for the next packet.
    pub fn receive(&mut self) -> Result<Packet, Box<dyn Error>> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.buffer)? {
                return Ok(packet);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk)? {
                0 => return Err("the broker closed the connection".into()),
                count => self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            }
        }
    }
}
