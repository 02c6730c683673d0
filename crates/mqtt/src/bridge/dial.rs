//! Opens a bridge's connection: socket, TLS, CONNECT.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mqtt_codec::{ConnAck, Connect, Decoder, PACKET_SIZE_MAX, Packet, Password, QoS, ReasonCode, Will};
use rustls::{ClientConfig, ClientConnection};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::BridgeConfig;
use crate::error::MqttError;
use crate::net::{OutBuf, Socket, Stream, read_packet};
use crate::tls;

/// How long one try to connect may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// An accepted connection.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) decoder: Decoder,
    pub(super) input: BytesMut,
    pub(super) connack: ConnAck,
}

/// Reads a bridge's certificates: a mistake shows at the start.
pub(crate) fn tls_of(config: &BridgeConfig) -> Result<Option<Arc<ClientConfig>>, MqttError> {
    let files = &config.tls;
    if files.ca_file.is_none() && files.ca_dir.is_none() {
        return Ok(None);
    }
    let roots = tls::roots(files.ca_file.as_deref(), files.ca_dir.as_deref())?;
    let identity = files.certificate.as_deref().zip(files.key.as_deref());
    let mut client = tls::client_config(roots, identity, files.insecure, files.only_tls_1_3, &[])?;
    client.alpn_protocols.extend(files.alpn.as_ref().map(|p| p.clone().into_bytes()));
    Ok(Some(Arc::new(client)))
}

/// Opens a connection to the address with this number.
pub(super) async fn open(
    config: &BridgeConfig,
    tls: Option<&Arc<ClientConfig>>,
    at: usize,
) -> io::Result<Opened> {
    let opened = async {
        let stream = open_stream(config, tls, at).await?;
        introduce(config, stream).await
    };
    tokio::time::timeout(TIMEOUT, opened).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Finds out whether an address can be reached.
pub(super) async fn reach(
    config: &BridgeConfig,
    tls: Option<&Arc<ClientConfig>>,
    at: usize,
) -> io::Result<()> {
    let opened = tokio::time::timeout(TIMEOUT, open_stream(config, tls, at)).await;
    opened.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(drop)
}

async fn open_stream(
    config: &BridgeConfig,
    tls: Option<&Arc<ClientConfig>>,
    at: usize,
) -> io::Result<Stream> {
    let (host, port) = config.addresses.get(at).ok_or(io::ErrorKind::NotFound)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in lookup_host((host.as_str(), *port)).await? {
        match open_socket(config, address).await {
            Ok(socket) => {
                let mut stream = Stream::new(Socket::Tcp(socket), BytesMut::new());
                if let Some(tls) = tls {
                    let name = host.to_owned().try_into().map_err(io::Error::other)?;
                    let tls = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
                    stream.start_tls(tls.into());
                }
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn open_socket(config: &BridgeConfig, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(from) = config.bind_address {
        socket.bind((from, 0).into())?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    if let Some((idle, interval, count)) = config.tcp_keep_alive {
        let keep_alive = TcpKeepalive::new()
            .with_time(Duration::from_secs(idle.into()))
            .with_interval(Duration::from_secs(interval.into()));
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        let keep_alive = keep_alive.with_retries(count);
        #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
        let _ = count;
        SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    }
    Ok(stream)
}

async fn introduce(config: &BridgeConfig, mut stream: Stream) -> io::Result<Opened> {
    let mut out = OutBuf::default();
    let connect = Packet::Connect(Box::new(remote_connect(config)));
    connect.encode(config.version, out.encode_to()).map_err(io::Error::other)?;
    while !out.is_empty() {
        stream.write(&mut out)?;
        if !out.is_empty() {
            stream.handshake_step().await?;
        }
    }
    let mut decoder = Decoder::for_client(config.version, PACKET_SIZE_MAX).with_pings();
    let mut input = BytesMut::new();
    match read_packet(&mut decoder, &mut input, &mut stream).await? {
        Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success => {
            Ok(Opened { stream, decoder, input, connack: *connack })
        }
        Some(Packet::ConnAck(connack)) => Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("the other broker says: {}", connack.reason),
        )),
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

fn remote_connect(config: &BridgeConfig) -> Connect {
    let mut connect = Connect::new(config.version, config.remote_id());
    connect.bridge = config.try_private && !config.version.is_v5();
    connect.clean_start = config.clean_session;
    connect.keep_alive = config.keep_alive;
    connect.user_name.clone_from(&config.remote_user_name);
    connect.password = config.remote_password.as_ref().map(|p| Password(Bytes::from(p.clone())));
    if config.version.is_v5() {
        connect.properties.receive_maximum = Some(20);
        connect.properties.session_expiry_interval = config.session_expiry;
    }
    if config.notifications && !config.notifications_local_only {
        connect.will = Some(Will {
            topic: config.notification_topic(),
            payload: Bytes::from_static(b"0"),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: Default::default(),
        });
    }
    connect
}
