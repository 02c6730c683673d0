//! From an accepted socket to a stream of MQTT: PROXY header, TLS handshake, WebSocket upgrade, all within the time
//! for CONNECT.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use client::security::scram::ScramMechanism;
use rustls::ServerConnection;
use tokio::time::Instant;

use super::handshake::{farewell, wait_to_read};
use super::listener::Listener;
use super::outbuf::OutBuf;
use super::stream::{Socket, Stream};
use super::{proxy, websocket};
use crate::config::Transport;
use crate::tls::der;

/// Bytes read at a time before there is MQTT.
const READ_BYTES: usize = 2048;

/// Who has connected; counted as long as it lives.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Address, the one that a proxy named if there is one.
    pub(crate) peer: SocketAddr,
    /// Until when a CONNECT must be there.
    pub(crate) deadline: Instant,
    /// There are too many already: it is told of another server.
    pub(crate) is_beyond: bool,
    /// The user name that the client's certificate stands for.
    pub(crate) identity: Identity,
    pub(crate) listener: Arc<Listener>,
    pub(crate) all: Arc<AtomicUsize>,
}

/// What the certificate says of a client's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The listener does not take names from certificates.
    NotAsked,
    /// It does, but there is no certificate or no name in it.
    Missing,
    /// The user name.
    Name(String),
    /// The user name, proven with SCRAM against this stored key.
    Scram(String, ScramMechanism, Vec<u8>),
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.listener.leave();
        self.all.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Brings a socket up to its first byte of MQTT.
pub(super) async fn establish(
    listener: &Listener,
    socket: Socket,
    guest: &mut Guest,
) -> Result<Stream, io::Error> {
    let mut early = BytesMut::new();
    if listener.config.proxy_protocol {
        let source = read_proxy_header(&socket, &mut early).await?;
        guest.peer = source.unwrap_or(guest.peer);
    }
    let mut stream = Stream::new(socket, early);
    let security = listener.security.load_full();
    if let Some(config) = &security.tls {
        let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        stream.start_tls(tls.into());
    }
    let mut input = BytesMut::new();
    if security.tls.is_some() {
        while stream.tls().is_some_and(|t| t.is_handshaking()) {
            if read_some(&mut stream, &mut input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        guest.identity = identity(listener, &stream);
    }
    if listener.config.transport == Transport::WebSocket {
        upgrade(listener, &mut stream, input).await?;
    } else {
        stream.unread(input);
    }
    Ok(stream)
}

async fn read_proxy_header(socket: &Socket, early: &mut BytesMut) -> io::Result<Option<SocketAddr>> {
    loop {
        match proxy::read(early) {
            Ok(Some(header)) => {
                let _ = early.split_to(header.length);
                return Ok(header.source);
            }
            Ok(None) => {}
            Err(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
        }
        socket.readable().await?;
        early.reserve(READ_BYTES);
        match socket.try_read_buf(early) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// Reads once; a TLS handshake may go on without a byte for us (answered by 1: something happened).
async fn read_some(stream: &mut Stream, input: &mut BytesMut) -> io::Result<usize> {
    wait_to_read(stream).await?;
    input.reserve(READ_BYTES);
    match stream.read(input) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            stream.flush()?;
            Ok(1)
        }
        other => other,
    }
}

async fn upgrade(listener: &Listener, stream: &mut Stream, mut input: BytesMut) -> io::Result<()> {
    let refuse = |why: websocket::HandshakeError| {
        let text = format!("no WebSocket: {why:?}");
        (why.response(), io::Error::new(io::ErrorKind::InvalidData, text))
    };
    let mut out = OutBuf::default();
    let accepted = loop {
        match websocket::accept(&input, listener.config.websocket_header_max) {
            Ok(Some(accepted)) => break accepted,
            Ok(None) => {}
            Err(why) => {
                let (response, error) = refuse(why);
                out.encode_to().extend_from_slice(&response);
                farewell(&mut out, stream).await;
                return Err(error);
            }
        }
        if read_some(stream, &mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    out.encode_to().extend_from_slice(&accepted.response);
    while !out.is_empty() {
        stream.writable().await?;
        stream.write(&mut out)?;
    }
    let _ = input.split_to(accepted.consumed);
    stream.start_frames(input);
    Ok(())
}

fn identity(listener: &Listener, stream: &Stream) -> Identity {
    let rules = &listener.config;
    let name_of = match (rules.use_identity_as_username, rules.use_subject_as_username) {
        (false, false) => return Identity::NotAsked,
        (_, true) => der::subject_name,
        _ => der::common_name,
    };
    let certificate = stream.tls().and_then(|t| t.peer_certificates()).and_then(<[_]>::first);
    certificate.and_then(|c| name_of(c)).map_or(Identity::Missing, Identity::Name)
}
