//! From a growing buffer to packets.

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;
use crate::frame::{FixedHeader, Framing, PACKET_SIZE_MAX, PacketType, peek};
use crate::packet::{self, Packet, PublishRef};
use crate::version::{ProtocolVersion, Side};

/// Decodes what one side of a connection sends. Remembers the protocol version, nothing else; does no I/O.
#[derive(Clone, Debug)]
pub struct Decoder {
    from: Side,
    version: Option<ProtocolVersion>,
    packet_size_max: u32,
    /// PINGREQ is taken from a server.
    pings: bool,
}

impl Decoder {
    /// For a server: decodes what a client sends. The first packet must be CONNECT, which sets the version.
    ///
    /// `packet_size_max` counts whole packets, in bytes.
    pub fn for_server(packet_size_max: u32) -> Self {
        Self { from: Side::Client, version: None, packet_size_max, pings: false }
    }

    /// For a client that connects with `version`: decodes what a server sends.
    pub fn for_client(version: ProtocolVersion, packet_size_max: u32) -> Self {
        Self { from: Side::Server, version: Some(version), packet_size_max, pings: false }
    }

    /// Takes PINGREQ from a server too: brokers that are bridged may send it, whatever the specification says.
    #[must_use]
    pub fn with_pings(mut self) -> Self {
        self.pings = true;
        self
    }

    /// A decoder without a limit of its own, for `from`'s packets of `version`.
    pub fn unlimited(from: Side, version: ProtocolVersion) -> Self {
        Self { from, version: Some(version), packet_size_max: PACKET_SIZE_MAX, pings: false }
    }

    /// The protocol version, once known.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// Changes the limit, for example when CONNECT has been accepted.
    pub fn set_packet_size_max(&mut self, bytes: u32) {
        self.packet_size_max = bytes;
    }

    /// Looks at the packet at the start of `buf` without consuming it: type, flags and size are checked as soon
    /// as their bytes are there.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes cannot begin a packet that this side may send now.
    pub fn peek(&self, buf: &[u8]) -> Result<Framing, DecodeError> {
        if let Some(packet) = buf.first().and_then(|first| PacketType::from_u8(first >> 4)) {
            self.check_expected(packet)?;
        }
        peek(buf, self.version, self.packet_size_max)
    }

    /// Takes the packet at the start of `buf`; `None` when more bytes are needed. A PUBLISH shares `buf`'s memory.
    ///
    /// # Errors
    /// [`DecodeError`]; the connection cannot go on then.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        match self.peek(buf)? {
            Framing::NeedMore { .. } => Ok(None),
            Framing::Whole(header) => {
                let frame = buf.split_to(header.packet_len()).freeze();
                self.decode_frame(&frame, header).map(Some)
            }
        }
    }

    /// Decodes the whole packet at the start of `frame`, as announced by [`Decoder::peek`].
    ///
    /// # Errors
    /// [`DecodeError`] when a field is invalid.
    pub fn decode_frame(&mut self, frame: &Bytes, header: FixedHeader) -> Result<Packet, DecodeError> {
        let version = self.known_version(header.packet)?;
        let packet = packet::decode(frame, header, version, self.from)?;
        if let Packet::Connect(connect) = &packet
            && self.version.is_none()
        {
            self.version = Some(connect.version);
        }
        Ok(packet)
    }

    /// Decodes the whole PUBLISH at the start of `frame` without allocating.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is invalid or the packet is another one.
    pub fn decode_publish<'a>(
        &self,
        frame: &'a [u8],
        header: FixedHeader,
    ) -> Result<PublishRef<'a>, DecodeError> {
        PublishRef::decode(frame, header, self.known_version(header.packet)?, self.from)
    }

    fn known_version(&self, packet: PacketType) -> Result<ProtocolVersion, DecodeError> {
        match self.version {
            Some(version) => Ok(version),
            // CONNECT brings its own.
            None if packet == PacketType::Connect => Ok(ProtocolVersion::V5),
            None => Err(unexpected(packet, "comes before CONNECT")),
        }
    }

    /// Whether this side may send `packet` at this time.
    fn check_expected(&self, packet: PacketType) -> Result<(), DecodeError> {
        use PacketType as P;
        match (self.from, packet) {
            (Side::Client, P::Connect) if self.version.is_some() => {
                Err(unexpected(packet, "comes a second time"))
            }
            (Side::Client, P::Connect) => Ok(()),
            (Side::Client, _) if self.version.is_none() => Err(unexpected(packet, "comes before CONNECT")),
            (Side::Client, P::ConnAck | P::SubAck | P::UnsubAck | P::PingResp) => {
                Err(unexpected(packet, "may not come from a client"))
            }
            (Side::Server, P::PingReq) if self.pings => Ok(()),
            (Side::Server, P::Connect | P::Subscribe | P::Unsubscribe | P::PingReq) => {
                Err(unexpected(packet, "may not come from a server"))
            }
            (Side::Server, P::Disconnect) if self.version.is_some_and(|v| !v.is_v5()) => {
                Err(unexpected(packet, "may not come from a server before MQTT 5"))
            }
            _ => Ok(()),
        }
    }
}

fn unexpected(packet: PacketType, problem: &'static str) -> DecodeError {
    DecodeError::Unexpected { packet, problem }
}
