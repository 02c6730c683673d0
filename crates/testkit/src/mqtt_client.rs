//! A bare MQTT client: packets in, packets out, nothing done behind the caller's back.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use mqtt_codec::{
    ConnAck, Connect, Decoder, PACKET_SIZE_MAX, Packet, PacketId, ProtocolVersion, QoS, Subscribe,
    Subscription,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// One connection.
#[derive(Debug)]
pub struct MqttClient {
    /// Receives packets.
    pub reader: PacketReader,
    /// Sends packets.
    pub writer: PacketWriter,
}

/// The receiving half.
#[derive(Debug)]
pub struct PacketReader {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    decoder: Decoder,
}

/// The sending half; packets gather until [`PacketWriter::flush`].
#[derive(Debug)]
pub struct PacketWriter {
    socket: OwnedWriteHalf,
    buffer: Vec<u8>,
    version: ProtocolVersion,
}

impl MqttClient {
    /// Connects, sends `connect` and waits for the CONNACK, whatever it says.
    ///
    /// # Errors
    /// When the connection fails or the first packet is not a CONNACK.
    pub async fn open(address: SocketAddr, connect: Connect) -> Result<(Self, ConnAck)> {
        let version = connect.version;
        let socket = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        socket.set_nodelay(true)?;
        let (read, write) = socket.into_split();
        let mut client = Self {
            reader: PacketReader {
                socket: read,
                buffer: BytesMut::with_capacity(64 * 1024),
                decoder: Decoder::for_client(version, PACKET_SIZE_MAX),
            },
            writer: PacketWriter { socket: write, buffer: Vec::new(), version },
        };
        client.send(&Packet::Connect(Box::new(connect))).await?;
        match client.reader.next().await? {
            Some(Packet::ConnAck(ack)) => Ok((client, *ack)),
            other => bail!("expected CONNACK, got {other:?}"),
        }
    }

    /// Sends one packet now.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn send(&mut self, packet: &Packet) -> Result<()> {
        self.writer.push(packet)?;
        Ok(self.writer.flush().await?)
    }

    /// Waits for the next packet; an error when the connection ends instead.
    ///
    /// # Errors
    /// When the connection ends or what comes is malformed.
    pub async fn receive(&mut self) -> Result<Packet> {
        self.reader.next().await?.context("connection closed by the server")
    }

    /// Subscribes to one filter and waits for the SUBACK; other packets before it are an error.
    ///
    /// # Errors
    /// When the server refuses or the connection fails.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<()> {
        let packet = Packet::Subscribe(Subscribe::new(PacketId::MIN, vec![Subscription::new(filter, qos)]));
        self.send(&packet).await?;
        match self.receive().await? {
            Packet::SubAck(ack) if ack.reasons.iter().all(|r| (*r as u8) < 0x80) => Ok(()),
            other => bail!("expected SUBACK, got {other:?}"),
        }
    }
}

impl PacketReader {
    /// The next packet; `None` when the server closed the connection between two packets.
    ///
    /// # Errors
    /// When the connection fails or what comes is malformed.
    pub async fn next(&mut self) -> Result<Option<Packet>> {
        loop {
            if let Some(packet) = self.buffered()? {
                return Ok(Some(packet));
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    bail!("connection cut inside a packet")
                };
            }
        }
    }

    /// A packet that has already arrived whole.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn buffered(&mut self) -> Result<Option<Packet>> {
        Ok(self.decoder.decode(&mut self.buffer)?)
    }
}

impl PacketWriter {
    /// Adds a packet to what the next flush sends.
    ///
    /// # Errors
    /// When the packet cannot be encoded.
    pub fn push(&mut self, packet: &Packet) -> Result<()> {
        Ok(packet.encode(self.version, &mut self.buffer)?)
    }

    /// Bytes that wait for a flush.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Sends what was pushed.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.buffer).await?;
        self.buffer.clear();
        Ok(())
    }
}
