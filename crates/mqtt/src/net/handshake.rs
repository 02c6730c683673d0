//! Bytes before there is a session, and after there is a connection.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use mqtt_codec::{Decoder, Packet, ProtocolVersion};

use super::close::Close;
use super::connection::READ_BYTES;
use super::outbuf::OutBuf;
use super::stream::Stream;
use crate::broker::Broker;
use crate::stats::Stats;

/// How long a last word (DISCONNECT, CONNACK with an error) may take to be written.
const FAREWELL: Duration = Duration::from_millis(500);

/// Reads packets before there is a session.
pub(crate) struct ReadStep<'a> {
    pub(super) broker: &'a Broker,
    pub(super) decoder: &'a mut Decoder,
    pub(super) input: &'a mut BytesMut,
    pub(super) stream: &'a mut Stream,
    pub(super) deadline: tokio::time::Instant,
}

impl ReadStep<'_> {
    /// Sends AUTH and waits for what the client says to it; `None` when it says nothing (any more).
    pub(crate) async fn ask(&mut self, packet: &Packet) -> Option<Packet> {
        let mut out = OutBuf::default();
        packet.encode(ProtocolVersion::V5, out.encode_to()).ok()?;
        let exchange = async {
            while !out.is_empty() {
                self.stream.writable().await.ok()?;
                self.stream.write(&mut out).ok()?;
            }
            read_connect(self.broker, self.decoder, self.input, self.stream).await.ok().flatten()
        };
        tokio::time::timeout_at(self.deadline, exchange).await.ok().flatten()
    }
}

pub(super) async fn read_connect(
    broker: &Broker,
    decoder: &mut Decoder,
    input: &mut BytesMut,
    stream: &mut Stream,
) -> Result<Option<Packet>, Close> {
    loop {
        if let mqtt_codec::Framing::Whole(_) = decoder.peek(input)? {
            // A copy, because a refusal has to look at the bytes once more.
            let mut bytes = input.clone();
            let packet = decoder.decode(&mut bytes)?;
            Stats::add(&broker.stats.packets_received, 1);
            *input = bytes;
            return Ok(packet);
        }
        wait_to_read(stream).await.map_err(|e| Close::io(&e))?;
        input.reserve(if input.is_empty() { 512 } else { READ_BYTES });
        match stream.read(input) {
            Ok(0) => return Ok(None),
            Ok(n) => Stats::add(&broker.stats.bytes_received, n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(Close::io(&e)),
        }
    }
}

/// The next packet of a stream; `None` when it ends.
pub(crate) async fn read_packet(
    decoder: &mut Decoder,
    input: &mut BytesMut,
    stream: &mut Stream,
) -> io::Result<Option<Packet>> {
    loop {
        match decoder.decode(input) {
            Ok(Some(packet)) => return Ok(Some(packet)),
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        wait_to_read(stream).await?;
        input.reserve(READ_BYTES);
        match stream.read(input) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// Waits until there may be something to read; what the layers still have to write goes out meanwhile.
pub(super) async fn wait_to_read(stream: &mut Stream) -> io::Result<()> {
    loop {
        if !stream.is_pending() {
            return stream.readable().await;
        }
        tokio::select! {
            ready = stream.readable() => return ready,
            ready = stream.writable() => ready?,
        }
        stream.flush()?;
    }
}

/// Writes what is left, for a short time.
pub(super) async fn farewell(out: &mut OutBuf, stream: &mut Stream) {
    let write = async {
        let mut closing = false;
        while !out.is_empty() || stream.is_pending() || !closing {
            if out.is_empty() && !closing {
                closing = true;
                stream.close();
                continue;
            }
            if stream.writable().await.is_err() || stream.write(out).is_err() || stream.flush().is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(FAREWELL, write).await;
}
