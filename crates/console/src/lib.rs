//! The console: a page in the browser that shows topics and their newest records, and the health of the node.
//!
//! Duty: HTTP on one address: pages for people, the same as JSON under `/api`, `/healthz` and `/readyz`.
//! Main types: [`Console`], [`ConsoleHandle`]. Everything shown comes through the [`Door`].
//!
//! Not its duty: logging people in (it refuses to be asked under another host name than its own), changing anything.
//!
//! ```no_run
//! # async fn run(door: std::sync::Arc<dyn client::door::Door>) -> Result<(), console::ConsoleError> {
//! let console = console::Console::start("127.0.0.1:8080".parse().unwrap(), door).await?;
//! println!("http://{}", console.address());
//! console.shutdown().await;
//! # Ok(()) }
//! ```

mod page;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use client::door::{Door, DoorError};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use view::{PartitionView, RecordView, TopicView};

/// Why the console could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsoleError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; choose another with --console ADDR, or --console off")]
    Bind {
        /// Address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Starts consoles.
#[derive(Debug)]
pub struct Console;

/// A running console.
#[derive(Debug)]
pub struct ConsoleHandle {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Console {
    /// Binds `address` (port 0 picks a free one) and serves.
    ///
    /// # Errors
    /// [`ConsoleError::Bind`] when the address cannot be listened on.
    pub async fn start(address: SocketAddr, door: Arc<dyn Door>) -> Result<ConsoleHandle, ConsoleError> {
        let bind = |source| ConsoleError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (stop, stopped) = oneshot::channel();
        let app = router(door);
        let task = tokio::spawn(async move {
            let served = axum::serve(listener, app).with_graceful_shutdown(async {
                let _ = stopped.await;
            });
            if let Err(e) = served.await {
                tracing::error!("console stopped: {e}");
            }
        });
        Ok(ConsoleHandle { address, stop, task })
    }
}

impl ConsoleHandle {
    /// The address bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving; requests under way are cut off, they change nothing.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.task.abort();
        let _ = self.task.await;
    }
}

type Shared = State<Arc<dyn Door>>;

fn router(door: Arc<dyn Door>) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/topics/{topic}", get(topic))
        .route("/api/topics", get(api_topics))
        .route("/api/topics/{topic}", get(api_topic))
        .route("/api/topics/{topic}/records", get(api_records))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(
            "/style.css",
            get(|| async { ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE) }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page\n") })
        .layer(middleware::from_fn(guard))
        .with_state(door)
}

/// Refuses foreign host names (a page elsewhere could otherwise read this one by DNS rebinding) and forbids scripts.
async fn guard(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    if !host_is_local(host) {
        return (StatusCode::MISDIRECTED_REQUEST, "this console answers to localhost only\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; frame-ancestors 'none'; object-src 'none'; base-uri 'none'",
        ),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn host_is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A failed look-up as an answer.
struct Failure(DoorError);

impl From<DoorError> for Failure {
    fn from(e: DoorError) -> Self {
        Self(e)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0 {
            DoorError::UnknownTopic(_) => StatusCode::NOT_FOUND,
            DoorError::Invalid(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, format!("{}\n", self.0)).into_response()
    }
}

#[derive(Deserialize)]
struct Which {
    /// Partition to show; default 0.
    partition: Option<i32>,
    /// First offset to show; default: the newest records.
    offset: Option<i64>,
}

async fn overview(State(door): Shared) -> Result<Html<String>, Failure> {
    Ok(Html(page::overview(&view::topics(&*door).await?)))
}

async fn topic(
    State(door): Shared,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Html<String>, Failure> {
    let partition = which.partition.unwrap_or(0);
    let topic = view::topic(&*door, &name).await?;
    let records = view::records(&*door, &name, partition, which.offset).await?;
    Ok(Html(page::topic(&topic, partition, &records)))
}

async fn api_topics(State(door): Shared) -> Result<Json<Vec<TopicView>>, Failure> {
    Ok(Json(view::topics(&*door).await?))
}

async fn api_topic(State(door): Shared, Path(name): Path<String>) -> Result<Json<TopicView>, Failure> {
    Ok(Json(view::topic(&*door, &name).await?))
}

async fn api_records(
    State(door): Shared,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<RecordView>>, Failure> {
    Ok(Json(view::records(&*door, &name, which.partition.unwrap_or(0), which.offset).await?))
}

async fn ready(State(door): Shared) -> Response {
    // Ready means that the log answers, not only that the process lives.
    match view::topics(&*door).await {
        Ok(_) => "ready\n".into_response(),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_host_names_are_served() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080"] {
            assert!(host_is_local(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:8080", "192.0.2.7"] {
            assert!(!host_is_local(host), "{host}");
        }
    }
}
