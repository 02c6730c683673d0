//! From a frame to the handler of its API, and from the handler's answer to a frame.
//!
//! One file per API under [`crate::api`]. A handler is `pub(crate) async fn handle(ctx: Context, request: R) ->
//! R::Response`; it answers errors in the response, and does what must keep the connection's order before it
//! first waits.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use kafka_codec::frame::{self, RequestHeader};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, DecodeError, EncodeError, Request};

use crate::api;
use crate::context::{Connection, Context};
use crate::net::connection::{FrameHandler, Handling};
use crate::net::response::{Part, Reply};
use crate::node::Node;

/// Handles the frames of one connection.
pub(crate) struct Dispatcher {
    node: Arc<Node>,
    connection: Arc<Connection>,
    /// The last client id seen: nearly always the same again.
    client_id: Option<Arc<str>>,
}

impl Dispatcher {
    pub(crate) fn new(node: Arc<Node>, connection: Connection) -> Self {
        Self { node, connection: Arc::new(connection), client_id: None }
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

    fn begin(&mut self, frame: Bytes) -> Result<Handling, String> {
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
        let malformed = |error: DecodeError| format!("malformed {} v{version}: {error}", api.name());
        let mut reader = Reader::shared(&frame);
        let header = RequestHeader::decode(&mut reader).map_err(malformed)?;
        let ctx = Context {
            node: Arc::clone(&self.node),
            connection: Arc::clone(&self.connection),
            version,
            client_id: self.client_id(header.client_id),
        };
        tracing::trace!(peer = %ctx.connection.peer, api = api.name(), version, "request");
        let (correlation_id, body_at) = (header.correlation_id, reader.position());
        let body = frame.slice(body_at..);
        api::route(Call { ctx, api, version, correlation_id, body }).map_err(malformed)
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
    /// Reads the body and hands it to `handler`; the next request of the connection waits for its end.
    pub(crate) fn serial<R, H, F>(self, handler: H) -> Result<Handling, DecodeError>
    where
        R: Request,
        H: FnOnce(Context, R) -> F,
        F: Future<Output = R::Response> + Send + 'static,
    {
        self.with(handler, false)
    }

    /// Like [`Call::serial`], but later requests may begin while this one waits.
    pub(crate) fn pipelined<R, H, F>(self, handler: H) -> Result<Handling, DecodeError>
    where
        R: Request,
        H: FnOnce(Context, R) -> F,
        F: Future<Output = R::Response> + Send + 'static,
    {
        self.with(handler, true)
    }

    fn with<R, H, F>(self, handler: H, pipelined: bool) -> Result<Handling, DecodeError>
    where
        R: Request,
        H: FnOnce(Context, R) -> F,
        F: Future<Output = R::Response> + Send + 'static,
    {
        let request = R::decode(&mut Reader::shared(&self.body), self.version)?;
        let (api, version, correlation_id) = (self.api, self.version, self.correlation_id);
        let answer = handler(self.ctx, request);
        let reply = async move {
            let response = answer.await;
            framed(api, version, frame::response(api, &response, version, correlation_id))
        };
        Ok(Handling { reply: reply.boxed(), pipelined })
    }
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
