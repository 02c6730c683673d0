//! From a frame to the handler of its API, and from the handler's answer to a frame.
//!
//! One file per API under [`crate::api`]. A handler is `pub(crate) async fn handle(ctx: Context, request: R) ->
//! R::Response`; it answers errors in the response, and does what must keep the connection's order before it
//! first waits. Whether the client may ask what it asks is decided here, before the handler
//! ([`crate::authorize`]).

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use kafka_codec::frame::{self, RequestHeader};
use kafka_codec::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, DecodeError, EncodeError, ErrorCode, Message};
use meta::quota;
use tokio::time::Instant;

use crate::api;
use crate::authorize::{Access, Guarded, Metered};
use crate::context::{ANONYMOUS, Connection, Context};
use crate::net::connection::{FrameHandler, Handling};
use crate::net::response::{Part, Reply};
use crate::node::Node;
use crate::security::sasl::{SaslSession, Turn};

/// Handles the frames of one connection.
pub(crate) struct Dispatcher {
    node: Arc<Node>,
    connection: Arc<Connection>,
    /// The last client id seen: nearly always the same again.
    client_id: Option<Arc<str>>,
    /// Who the client is where SASL does not say it.
    principal: Arc<str>,
    sasl: Option<SaslSession>,
}

impl Dispatcher {
    /// Handles a connection of `principal`, or of nobody in particular.
    pub(crate) fn new(node: Arc<Node>, connection: Connection, principal: Option<String>) -> Self {
        let sasl = connection.listener.security.sasl.clone().map(SaslSession::new);
        let principal = Arc::from(principal.as_deref().unwrap_or(ANONYMOUS));
        Self { node, connection: Arc::new(connection), client_id: None, principal, sasl }
    }

    fn client_id(&mut self, given: Option<&str>) -> Option<Arc<str>> {
        let given = given?;
        if let Some(known) = self.client_id.as_ref().filter(|known| ***known == *given) {
            return Some(Arc::clone(known));
        }
        let fresh: Arc<str> = Arc::from(given);
        self.client_id = Some(Arc::clone(&fresh));
        Some(fresh)
    }

    /// Who the client is, as far as it is known.
    fn principal(&self) -> Arc<str> {
        let known = self.sasl.as_ref().map_or(Some(&self.principal), SaslSession::principal);
        Arc::clone(known.unwrap_or(&self.principal))
    }

    /// Whether a client may ask this now, with regard to who it is.
    fn admit(&self, api: ApiKey) -> Result<(), String> {
        let Some(sasl) = &self.sasl else { return Ok(()) };
        if matches!(api, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate) {
            return Ok(());
        }
        if sasl.principal().is_none() {
            return Err(format!("Unexpected Kafka request of type {} during SASL handshake.", api.name()));
        }
        if sasl.is_over(api::now_ms()) {
            return Err(format!(
                "its session is over, and it sent {} instead of logging in again",
                api.name()
            ));
        }
        Ok(())
    }

    /// A token of a client that speaks version 0 of SaslHandshake.
    fn bare_token(&mut self, token: &Bytes) -> Result<Handling, String> {
        let state = self.node.state();
        let sasl = self.sasl.as_mut().ok_or("no SASL here")?;
        let answer = sasl.bare_token(&state, token, api::now_ms())?;
        let mut framed = Vec::with_capacity(4 + answer.len());
        framed.extend_from_slice(&u32::try_from(answer.len()).unwrap_or(0).to_be_bytes());
        framed.extend_from_slice(&answer);
        let reply = Reply::Frame { parts: vec![Part::Bytes(framed.into())] };
        Ok(Handling { reply: std::future::ready(reply).boxed(), pipelined: false })
    }

    fn handshake(&mut self, call: &Call) -> Result<Handling, DecodeError> {
        let request = SaslHandshakeRequest::decode(&mut Reader::shared(&call.body), call.version)?;
        let turn = match &mut self.sasl {
            Some(sasl) => sasl.handshake(call.version, &request),
            None => Turn::Answer(SaslHandshakeResponse {
                error_code: ErrorCode::IllegalSaslState.code(),
                ..SaslHandshakeResponse::default()
            }),
        };
        Ok(call.turn(turn))
    }

    fn authenticate(&mut self, call: &Call) -> Result<Handling, DecodeError> {
        let request = SaslAuthenticateRequest::decode(&mut Reader::shared(&call.body), call.version)?;
        let turn = match &mut self.sasl {
            Some(sasl) => sasl.authenticate(&self.node.state(), &request, api::now_ms()),
            None => Turn::Answer(SaslAuthenticateResponse {
                error_code: ErrorCode::IllegalSaslState.code(),
                error_message: Some(
                    "SaslAuthenticate request received after successful authentication".to_owned(),
                ),
                ..SaslAuthenticateResponse::default()
            }),
        };
        Ok(call.turn(turn))
    }

    fn begin(&mut self, frame: Bytes) -> Result<Handling, String> {
        if self.sasl.as_ref().is_some_and(SaslSession::takes_bare_token) {
            return self.bare_token(&frame);
        }
        let (Some(key), Some(version)) = (frame_i16(&frame, 0), frame_i16(&frame, 2)) else {
            return Err(format!("a request of {} bytes has no header", frame.len()));
        };
        let Some(api) = ApiKey::from_i16(key).filter(|api| api::versions(*api).is_some()) else {
            return Err(format!("API key {key} is not supported"));
        };
        if !api::versions(api).is_some_and(|versions| versions.contains(&version)) {
            return match (api, frame.get(4..8).map(<[u8; 4]>::try_from)) {
                // Of a header in an unknown version only the start is sure.
                (ApiKey::ApiVersions, Some(Ok(id))) => {
                    Ok(api::api_versions::unsupported(i32::from_be_bytes(id)))
                }
                _ => Err(format!("version {version} of {} is not supported", api.name())),
            };
        }
        self.admit(api)?;
        let malformed = |error: DecodeError| format!("malformed {} v{version}: {error}", api.name());
        let mut reader = Reader::shared(&frame);
        let header = RequestHeader::decode(&mut reader).map_err(malformed)?;
        let ctx = Context {
            node: Arc::clone(&self.node),
            connection: Arc::clone(&self.connection),
            version,
            client_id: self.client_id(header.client_id),
            principal: self.principal(),
        };
        tracing::trace!(peer = %ctx.connection.peer, api = api.name(), version, "request");
        let (correlation_id, body_at) = (header.correlation_id, reader.position());
        let body = frame.slice(body_at..);
        let call = Call { ctx, api, version, correlation_id, body };
        match api {
            ApiKey::SaslHandshake => self.handshake(&call),
            ApiKey::SaslAuthenticate => self.authenticate(&call),
            _ => api::route(call),
        }
        .map_err(malformed)
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if let Some(id) = self.connection.telemetry.get() {
            self.node.telemetry.forget(*id);
        }
        self.node.shares.disconnected(&self.node, self.connection.id);
    }
}

fn frame_i16(frame: &Bytes, at: usize) -> Option<i16> {
    let bytes = frame.get(at..at + 2)?;
    bytes.try_into().ok().map(i16::from_be_bytes)
}

impl FrameHandler for Dispatcher {
    fn handle(&mut self, frame: Bytes) -> Handling {
        self.begin(frame).unwrap_or_else(|reason| Handling {
            reply: std::future::ready(Reply::Close(reason)).boxed(),
            pipelined: true,
        })
    }

    fn knows_client(&self) -> bool {
        self.sasl.as_ref().is_none_or(|sasl| sasl.principal().is_some())
    }

    fn held_until(&self) -> Option<Instant> {
        self.connection.mute.until()
    }
}

/// A request whose header was read.
pub(crate) struct Call {
    /// Its surroundings.
    pub(crate) ctx: Context,
    /// Which API.
    pub(crate) api: ApiKey,
    /// Its version.
    pub(crate) version: i16,
    /// What the answer must repeat.
    pub(crate) correlation_id: i32,
    /// The body.
    pub(crate) body: Bytes,
}

impl Call {
    /// The reply of a turn of SASL.
    fn turn<R: Message + Send + 'static>(&self, turn: Turn<R>) -> Handling {
        let (api, version, correlation_id) = (self.api, self.version, self.correlation_id);
        let framed =
            move |response: &R| framed(api, version, frame::response(api, response, version, correlation_id));
        let reply = match turn {
            Turn::Answer(response) => std::future::ready(framed(&response)).boxed(),
            Turn::Last(response, delay, reason) => async move {
                // Who guesses passwords waits for each.
                tokio::time::sleep(delay).await;
                match framed(&response) {
                    Reply::Frame { parts } => Reply::Last { parts, reason },
                    other => other,
                }
            }
            .boxed(),
        };
        Handling { reply, pipelined: false }
    }

    /// Reads the body and hands it to `handler`; the next request of the connection waits for its end.
    pub(crate) fn serial<R, H, F>(self, handler: H) -> Result<Handling, DecodeError>
    where
        R: Guarded,
        H: FnOnce(Context, R) -> F + Send + 'static,
        F: Future<Output = R::Response> + Send + 'static,
    {
        self.with(handler, false)
    }

    /// Like [`Call::serial`], but later requests may begin while this one waits.
    pub(crate) fn pipelined<R, H, F>(self, handler: H) -> Result<Handling, DecodeError>
    where
        R: Guarded,
        H: FnOnce(Context, R) -> F + Send + 'static,
        F: Future<Output = R::Response> + Send + 'static,
    {
        self.with(handler, true)
    }

    fn with<R, H, F>(self, handler: H, pipelined: bool) -> Result<Handling, DecodeError>
    where
        R: Guarded,
        H: FnOnce(Context, R) -> F + Send + 'static,
        F: Future<Output = R::Response> + Send + 'static,
    {
        let mut request = R::decode(&mut Reader::shared(&self.body), self.version)?;
        let (api, version, correlation_id) = (self.api, self.version, self.correlation_id);
        let framed = move |response: &R::Response| {
            framed(api, version, frame::response(api, response, version, correlation_id))
        };
        let ctx = self.ctx;
        let withheld = if ctx.node.authorizer.enabled {
            match request.check(&Access::of(&ctx)) {
                ControlFlow::Continue(withheld) => Some(withheld),
                ControlFlow::Break(refusal) => {
                    return Ok(Handling { reply: std::future::ready(framed(&refusal)).boxed(), pipelined });
                }
            }
        } else {
            None
        };
        let metered = !ctx.node.state().image.quotas.is_empty();
        let (refused, wait_ms) = if metered { meter(&ctx, &mut request) } else { (Vec::new(), 0) };
        let answer = handler(ctx.clone(), request);
        let reply = async move {
            let (mut response, spent) = timed(answer).await;
            if metered {
                let time = ctx.spend(quota::REQUEST_PERCENTAGE, spent.as_secs_f64() * 100.0);
                R::tell_metered(&mut response, refused);
                R::throttle(&mut response, ctx.hold(wait_ms).max(time));
            }
            if let Some(withheld) = withheld {
                // Asked again: a topic may have been made on the way.
                R::complete(&mut response, withheld, &Access::of(&ctx));
            }
            framed(&response)
        };
        Ok(Handling { reply: reply.boxed(), pipelined })
    }
}

/// Takes partitions that are made or removed from the client's quota (KIP-599); answers what was refused and for how
/// long the client has to wait.
fn meter<R: Guarded>(ctx: &Context, request: &mut R) -> (Vec<Metered>, i64) {
    let state = ctx.node.state();
    let mut longest = 0;
    let strict = R::STRICT_FROM.is_some_and(|from| ctx.version >= from);
    let refused = request.meter(&state, &mut |partitions| {
        let now_ms = api::now_ms();
        match ctx.node.quotas.mutate(&state, ctx.quota_client(), partitions, strict, now_ms) {
            Ok(wait) => {
                longest = longest.max(wait);
                true
            }
            Err(wait) => {
                longest = longest.max(wait);
                false
            }
        }
    });
    (refused, longest)
}

/// Runs a future and measures the time it took, without its waits.
async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let mut future = std::pin::pin!(future);
    let mut spent = Duration::ZERO;
    let output = std::future::poll_fn(|cx| {
        let began = std::time::Instant::now();
        let polled = future.as_mut().poll(cx);
        spent += began.elapsed();
        polled
    })
    .await;
    (output, spent)
}

/// A reply of one frame, or the end of the connection when the frame could not be written.
pub(crate) fn framed(api: ApiKey, version: i16, frame: Result<Bytes, EncodeError>) -> Reply {
    match frame {
        Ok(head) => Reply::Frame { parts: vec![Part::Bytes(head)] },
        Err(error) => unwritable(api, version, &error),
    }
}

/// A response that the protocol's version cannot carry: a fault of ours, which costs the connection.
pub(crate) fn unwritable(api: ApiKey, version: i16, error: &EncodeError) -> Reply {
    tracing::error!(api = api.name(), version, %error, "cannot write a response");
    Reply::Close(format!("the answer to {} v{version} cannot be written: {error}", api.name()))
}
