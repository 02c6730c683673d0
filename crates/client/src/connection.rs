//! One connection to one broker: frames, correlation, pipelining, version negotiation.
//!
//! A task per connection writes what is queued and reads what comes back. Kafka answers in order, so the front of
//! the queue of waiting callers is always whose answer comes next. Whatever goes wrong ends the connection and
//! fails everybody who waits on it; making a new one is the cluster's affair.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_codec::messages::{
    ApiVersionsRequest, ApiVersionsResponse, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, EncodeError, ErrorCode, Message, Request};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use crate::config::ClientConfig;
use crate::error::{BrokerError, Error, Result};
use crate::security::SaslSettings;

/// Largest answer that is accepted, bytes. A fetch may exceed `fetch.max.bytes` by one batch, and a batch may be as
/// large as the broker's `message.max.bytes`; beyond this the peer is taken to be no Kafka broker.
pub(crate) const RESPONSE_BYTES_MAX: usize = 512 << 20;

/// Answers up to this size are allocated at once, larger ones grow as their bytes arrive.
const PREALLOCATED_MAX: usize = 4 << 20;

/// Places in flight beyond the configured ones: metadata and the like must not wait behind produce requests that
/// the producer counts itself.
const IN_FLIGHT_SPARE: usize = 16;

/// A request on its way, in pieces that are written one after the other.
#[derive(Debug)]
pub(crate) struct Frame {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    parts: Vec<Bytes>,
}

/// A request waiting to be written.
struct Outgoing {
    frame: Frame,
    /// `None` for a Produce with `acks=0`, which is not answered: told when written.
    reply: Reply,
    permit: OwnedSemaphorePermit,
}

enum Reply {
    Answer(oneshot::Sender<Bytes>),
    Written(oneshot::Sender<Bytes>),
}

/// A caller waiting for an answer; holds one of the places in flight.
struct Waiting {
    correlation_id: i32,
    reply: oneshot::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
}

/// A live connection to one broker.
#[derive(Debug)]
pub(crate) struct Connection {
    /// `host:port`.
    pub(crate) address: String,
    client_id: String,
    request_timeout: Duration,
    outgoing: mpsc::Sender<Outgoing>,
    in_flight: Arc<Semaphore>,
    /// What the broker offers, as it said itself.
    offered: ApiVersionsResponse,
    next_id: AtomicI32,
    max_in_flight: usize,
    ranges: BTreeMap<i16, RangeInclusive<i16>>,
    ended: watch::Receiver<Option<Arc<io::Error>>>,
    stop: watch::Sender<bool>,
    /// When the session that the broker granted ends.
    over: Option<Instant>,
}

impl Connection {
    /// Connects and negotiates versions.
    pub(crate) async fn open(
        host: &str,
        port: u16,
        config: &ClientConfig,
        max_in_flight: usize,
    ) -> Result<Self> {
        let address = join_address(host, port);
        let stream = match timeout(config.connect_timeout, transport(host, port, config)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(Error::Connection { address, source: Arc::new(source) }),
            Err(_) => {
                let source = io::Error::new(io::ErrorKind::TimedOut, "connection setup timed out");
                return Err(Error::Connection { address, source: Arc::new(source) });
            }
        };
        Self::start(stream, address, config, max_in_flight).await
    }

    async fn start(
        stream: Transport,
        address: String,
        config: &ClientConfig,
        max_in_flight: usize,
    ) -> Result<Self> {
        // The semaphore bounds this queue too.
        let max_in_flight = max_in_flight.clamp(1, 10_000) + IN_FLIGHT_SPARE;
        let (outgoing, requests) = mpsc::channel(max_in_flight);
        let (ended_sender, ended) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let task = Task { requests, stopped, idle: config.connections_max_idle };
        tokio::spawn(async move {
            let error = task.run(stream).await;
            ended_sender.send_replace(Some(Arc::new(error)));
        });
        let mut connection = Self {
            address,
            client_id: config.client_id.clone(),
            request_timeout: config.request_timeout,
            outgoing,
            in_flight: Arc::new(Semaphore::new(max_in_flight)),
            offered: ApiVersionsResponse::default(),
            next_id: AtomicI32::new(0),
            max_in_flight,
            ranges: BTreeMap::new(),
            ended,
            stop,
            over: None,
        };
        let offered = connection.negotiate().await?;
        connection.ranges =
            offered.api_keys.iter().map(|k| (k.api_key, k.min_version..=k.max_version)).collect();
        connection.offered = offered;
        if let Some(sasl) = &config.security.sasl {
            let outcome = connection.log_in(sasl).await;
            if outcome.is_err() {
                connection.close();
            }
            outcome?;
        }
        tracing::debug!(address = connection.address, "connected");
        Ok(connection)
    }

    /// Asks for the versions that the broker offers. A broker that does not know our version of the question
    /// answers UNSUPPORTED_VERSION in version 0, since Kafka 2.4 with the range it knows (KIP-511).
    async fn negotiate(&self) -> Result<ApiVersionsResponse> {
        let newest = ApiKey::ApiVersions.versions().map_or(0, |v| *v.end());
        let request = ApiVersionsRequest {
            client_software_name: "tributary".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ApiVersionsRequest::default()
        };
        let mut version = newest;
        loop {
            let frame = self.frame(&request, version)?;
            let body = self.exchange(frame, self.request_timeout).await?;
            // The error code comes first in every version.
            let code = body.first_chunk::<2>().map_or(0, |code| i16::from_be_bytes(*code));
            let refused = code == ErrorCode::UnsupportedVersion.code();
            let response: ApiVersionsResponse =
                self.decode(ApiKey::ApiVersions, &body, if refused { 0 } else { version })?;
            if refused && version > 0 {
                let known = response.api_keys.iter().find(|k| k.api_key == ApiKey::ApiVersions.as_i16());
                version = known.map_or(0, |k| k.max_version.clamp(0, version - 1));
                continue;
            }
            Error::check(response.error_code, None)?;
            return Ok(response);
        }
    }

    /// Says who we are.
    async fn log_in(&mut self, sasl: &SaslSettings) -> Result<()> {
        let failed = |message: String| {
            Error::Broker(BrokerError { code: ErrorCode::SaslAuthenticationFailed, message: Some(message) })
        };
        let mechanism = sasl.mechanism();
        let handshake = SaslHandshakeRequest { mechanism: mechanism.to_owned() };
        let version = self.version(ApiKey::SaslHandshake, 1..=1)?;
        let offered = self.call_version(&handshake, version, self.request_timeout).await?;
        if offered.error_code == ErrorCode::UnsupportedSaslMechanism.code() {
            let message = format!(
                "Client SASL mechanism '{mechanism}' not enabled in the server, enabled mechanisms are [{}]",
                offered.mechanisms.join(", ")
            );
            return Err(Error::Broker(BrokerError {
                code: ErrorCode::UnsupportedSaslMechanism,
                message: Some(message),
            }));
        }
        Error::check(offered.error_code, None)?;
        let version = self.newest::<SaslAuthenticateRequest>()?;
        let (mut login, mut message) = sasl.begin().map_err(failed)?;
        loop {
            let request =
                SaslAuthenticateRequest { auth_bytes: message.into(), ..SaslAuthenticateRequest::default() };
            let response = self.call_version(&request, version, self.request_timeout).await?;
            Error::check(response.error_code, response.error_message.as_deref())?;
            match login.next(&response.auth_bytes).map_err(failed)? {
                Some((next, more)) => (login, message) = (next, more),
                None => {
                    // A fresh connection is made in good time before the session is over (KIP-368).
                    if let Ok(lifetime @ 1..) = u64::try_from(response.session_lifetime_ms) {
                        self.over = Instant::now().checked_add(Duration::from_millis(lifetime / 100 * 85));
                    }
                    return Ok(());
                }
            }
        }
    }

    /// What the broker said it offers.
    pub(crate) fn offered(&self) -> &ApiVersionsResponse {
        &self.offered
    }

    /// The newest version of `api` within `ours` that the broker offers too.
    pub(crate) fn version(&self, api: ApiKey, ours: RangeInclusive<i16>) -> Result<i16> {
        let Some(theirs) = self.ranges.get(&api.as_i16()) else {
            return Err(Error::UnsupportedVersion(format!("The node does not support {}", shout(api))));
        };
        let newest = *ours.end().min(theirs.end());
        if newest < *ours.start().max(theirs.start()) {
            return Err(Error::UnsupportedVersion(format!(
                "The node does not support {} with version in range [{},{}]. The supported range is [{},{}].",
                shout(api),
                ours.start(),
                ours.end(),
                theirs.start(),
                theirs.end()
            )));
        }
        Ok(newest)
    }

    /// The newest version of `R` that both sides know.
    pub(crate) fn newest<R: Request>(&self) -> Result<i16> {
        self.version(R::KEY, R::KEY.versions().unwrap_or(R::VERSIONS))
    }

    /// Sends `request` in the newest version both sides know.
    pub(crate) async fn call<R: Request>(&self, request: &R) -> Result<R::Response> {
        self.call_version(request, self.newest::<R>()?, self.request_timeout).await
    }

    /// Sends `request` in a certain version and waits for the answer at most `limit`.
    pub(crate) async fn call_version<R: Request>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response> {
        let frame = self.frame(request, version)?;
        let body = self.exchange(frame, limit).await?;
        self.decode(R::KEY, &body, version)
    }

    /// Encodes a request.
    pub(crate) fn frame<R: Request>(&self, request: &R, version: i16) -> Result<Frame> {
        self.frame_with(R::KEY, version, |id, client_id| {
            kafka_codec::frame::request(request, version, id, Some(client_id)).map(|frame| vec![frame])
        })
    }

    /// Makes a frame of what `encode` makes of a correlation id and this client's id.
    pub(crate) fn frame_with(
        &self,
        api: ApiKey,
        version: i16,
        encode: impl FnOnce(i32, &str) -> Result<Vec<Bytes>, EncodeError>,
    ) -> Result<Frame> {
        let correlation_id = self.next_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let parts = encode(correlation_id, &self.client_id)
            .map_err(|error| Error::UnsupportedVersion(error.to_string()))?;
        Ok(Frame { api, version, correlation_id, parts })
    }

    /// Decodes the body of an answer; payloads share its memory.
    pub(crate) fn decode<M: Message>(&self, api: ApiKey, body: &Bytes, version: i16) -> Result<M> {
        let mut reader = Reader::shared(body);
        M::decode(&mut reader, version).map_err(|error| self.malformed(api, &error))
    }

    fn malformed(&self, api: ApiKey, reason: &dyn std::fmt::Display) -> Error {
        // Whatever else this peer sends cannot be trusted.
        self.close();
        Error::Protocol { api, address: self.address.clone(), reason: reason.to_string() }
    }

    /// Sends a frame and answers the body of the response. After `limit` the connection is given up, because all
    /// later answers would have to wait behind the missing one.
    pub(crate) async fn exchange(&self, frame: Frame, limit: Duration) -> Result<Bytes> {
        let (api, version) = (frame.api, frame.version);
        let (sender, receiver) = oneshot::channel();
        let exchange = async {
            let permit = Arc::clone(&self.in_flight).acquire_owned().await.ok()?;
            self.outgoing.send(Outgoing { frame, reply: Reply::Answer(sender), permit }).await.ok()?;
            receiver.await.ok()
        };
        let outcome = timeout(limit, exchange).await;
        self.received(api, version, outcome.ok(), limit).await
    }

    /// Queues a frame at once, so that frames queued one after the other are written in that order; `None` when
    /// there is no room. The future waits for the answer as [`Connection::exchange`] does; an unanswered frame
    /// (Produce with `acks=0`) is done when it is written.
    pub(crate) fn begin(
        self: &Arc<Self>,
        frame: Frame,
        answered: bool,
        limit: Duration,
    ) -> Option<impl Future<Output = Result<Bytes>> + Send + use<>> {
        let (api, version) = (frame.api, frame.version);
        let (sender, receiver) = oneshot::channel();
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().ok()?;
        let reply = if answered { Reply::Answer(sender) } else { Reply::Written(sender) };
        self.outgoing.try_send(Outgoing { frame, reply, permit }).ok()?;
        let this = Arc::clone(self);
        Some(async move {
            let outcome = timeout(limit, receiver).await;
            let outcome = outcome.ok().map(Result::ok);
            match outcome {
                Some(Some(_)) if !answered => Ok(Bytes::new()),
                outcome => this.received(api, version, outcome, limit).await,
            }
        })
    }

    /// Takes the header off an answer, or says why there is none: outer `None` = too late, inner = connection ended.
    async fn received(
        &self,
        api: ApiKey,
        version: i16,
        outcome: Option<Option<Bytes>>,
        limit: Duration,
    ) -> Result<Bytes> {
        match outcome {
            Some(Some(mut body)) => {
                if api.response_header_version(version) >= 1 {
                    let mut reader = Reader::shared(&body);
                    reader.untagged().map_err(|error| self.malformed(api, &error))?;
                    let header = reader.position();
                    body.advance(header.min(body.len()));
                }
                Ok(body)
            }
            Some(None) => Err(self.end_cause().await),
            None => {
                self.close();
                let (address, ms) = (&self.address, limit.as_millis());
                Err(Error::Timeout(format!("no answer from {address} within {ms} ms")))
            }
        }
    }

    /// Why the connection ended; waits for the task to say so.
    async fn end_cause(&self) -> Error {
        let mut ended = self.ended.clone();
        let source = match ended.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone(),
            Err(_) => None,
        };
        let source = source.unwrap_or_else(|| Arc::new(io::ErrorKind::ConnectionAborted.into()));
        Error::Connection { address: self.address.clone(), source }
    }

    /// Ends the connection; everybody who waits on it gets an error.
    pub(crate) fn close(&self) {
        self.stop.send_replace(true);
    }

    /// Whether requests can still be sent.
    pub(crate) fn is_open(&self) -> bool {
        self.ended.borrow().is_none()
            && !*self.stop.borrow()
            && self.over.is_none_or(|over| Instant::now() < over)
    }

    /// Requests sent and not answered.
    pub(crate) fn load(&self) -> usize {
        self.max_in_flight.saturating_sub(self.in_flight.available_permits())
    }
}

/// `UPPER_SNAKE`, as Kafka names its APIs.
fn shout(api: ApiKey) -> String {
    let mut name = String::new();
    for c in api.name().chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_uppercase());
    }
    name
}

pub(crate) fn join_address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A connected socket, with TLS or without.
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

async fn transport(host: &str, port: u16, config: &ClientConfig) -> io::Result<Transport> {
    let socket = dial(host, port, config).await?;
    match &config.security.tls {
        None => Ok(Transport::Plain(socket)),
        Some(tls) => Ok(Transport::Tls(Box::new(tls.connect(host, socket).await?))),
    }
}

/// Tries all addresses of the name.
async fn dial(host: &str, port: u16, config: &ClientConfig) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match dial_address(address, config).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn dial_address(address: SocketAddr, config: &ClientConfig) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    if let Some(bytes) = config.send_buffer_bytes.filter(|&bytes| bytes > 0) {
        socket.set_send_buffer_size(size(bytes))?;
    }
    if let Some(bytes) = config.receive_buffer_bytes.filter(|&bytes| bytes > 0) {
        socket.set_recv_buffer_size(size(bytes))?;
    }
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.connect(address).await
}

/// The two halves of a connection's work, ended by the first that ends.
struct Task {
    requests: mpsc::Receiver<Outgoing>,
    stopped: watch::Receiver<bool>,
    idle: Option<Duration>,
}

type WaitingList = Mutex<VecDeque<Waiting>>;

impl Task {
    async fn run(self, stream: Transport) -> io::Error {
        match stream {
            Transport::Plain(socket) => {
                let (reading, writing) = socket.into_split();
                self.run_on(reading, writing).await
            }
            Transport::Tls(stream) => {
                let (reading, writing) = tokio::io::split(*stream);
                self.run_on(reading, writing).await
            }
        }
    }

    async fn run_on(self, reading: impl AsyncRead + Unpin, writing: impl AsyncWrite + Unpin) -> io::Error {
        let Self { requests, mut stopped, idle } = self;
        let waiting = WaitingList::default();
        let closed = |what: &str| io::Error::new(io::ErrorKind::ConnectionAborted, what.to_owned());
        tokio::select! {
            biased;
            error = read_answers(reading, &waiting) => error,
            written = write_requests(requests, writing, &waiting, idle) => match written {
                Ok(()) => closed("no longer used"),
                Err(error) => error,
            },
            // Also when every handle is gone.
            _ = stopped.wait_for(|stop| *stop) => closed("closed by this client"),
        }
        // The waiting list is dropped here, which tells everybody who waits.
    }
}

/// Writes queued requests, several at once when they are there. Ends quietly when there is nobody left to send, or
/// nothing to do for the idle time.
async fn write_requests(
    mut requests: mpsc::Receiver<Outgoing>,
    mut writing: impl AsyncWrite + Unpin,
    waiting: &WaitingList,
    idle: Option<Duration>,
) -> io::Result<()> {
    const AT_ONCE: usize = 16;
    let mut queued = Vec::with_capacity(AT_ONCE);
    loop {
        match idle {
            None => {
                if requests.recv_many(&mut queued, AT_ONCE).await == 0 {
                    return Ok(());
                }
            }
            Some(idle) => match timeout(idle, requests.recv_many(&mut queued, AT_ONCE)).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(_) if waiting.lock().is_empty() => return Ok(()),
                Err(_) => continue,
            },
        }
        let mut parts = Vec::with_capacity(queued.len());
        let mut unanswered = Vec::new();
        for Outgoing { frame, reply, permit } in queued.drain(..) {
            match reply {
                Reply::Answer(reply) => {
                    let correlation_id = frame.correlation_id;
                    waiting.lock().push_back(Waiting { correlation_id, reply, _permit: permit });
                }
                Reply::Written(reply) => unanswered.push((reply, permit)),
            }
            parts.extend(frame.parts);
        }
        write_all(&mut writing, parts).await?;
        writing.flush().await?;
        for (reply, _permit) in unanswered {
            let _ = reply.send(Bytes::new());
        }
    }
}

/// Writes all parts with as few calls as possible.
async fn write_all(writing: &mut (impl AsyncWrite + Unpin), mut parts: Vec<Bytes>) -> io::Result<()> {
    let mut first = 0;
    while let Some(rest) = parts.get(first..).filter(|rest| !rest.is_empty()) {
        let slices: Vec<IoSlice<'_>> = rest.iter().take(64).map(|part| IoSlice::new(part)).collect();
        let mut written = writing.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(part) = parts.get_mut(first) {
            if written < part.len() {
                part.advance(written);
                break;
            }
            written -= part.len();
            first += 1;
        }
    }
    Ok(())
}

/// Hands each answer to whom it belongs, until the peer closes or misbehaves.
async fn read_answers(mut reading: impl AsyncRead + Unpin, waiting: &WaitingList) -> io::Error {
    loop {
        match read_frame(&mut reading).await {
            Err(error) => return error,
            Ok(mut frame) => {
                let Some(id) = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id)) else {
                    return io::Error::new(io::ErrorKind::InvalidData, "answer without correlation id");
                };
                frame.advance(4);
                let Some(next) = waiting.lock().pop_front() else {
                    return io::Error::new(io::ErrorKind::InvalidData, "answer that nobody asked for");
                };
                if next.correlation_id != id {
                    let text = format!("answer to request {id} where {} was expected", next.correlation_id);
                    return io::Error::new(io::ErrorKind::InvalidData, text);
                }
                // The caller may have gone; its answer is then read for nothing.
                let _ = next.reply.send(frame);
            }
        }
    }
}

/// Reads one frame: size, then that many bytes.
async fn read_frame(reading: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut size = [0; 4];
    reading.read_exact(&mut size).await?;
    let size = usize::try_from(i32::from_be_bytes(size)).ok().filter(|size| *size <= RESPONSE_BYTES_MAX);
    let Some(size) = size else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "impossible frame size"));
    };
    let mut frame = BytesMut::with_capacity(size.min(PREALLOCATED_MAX));
    let mut body = (&mut *reading).take(size as u64);
    while frame.len() < size {
        if frame.len() == frame.capacity() {
            frame.reserve(frame.len().min(size - frame.len()));
        }
        if body.read_buf(&mut frame).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed inside an answer"));
        }
    }
    Ok(frame.freeze())
}
