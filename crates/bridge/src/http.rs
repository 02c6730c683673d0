//! Metrics and health over HTTP.

use std::fmt::Write;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::error::BridgeError;
use crate::stats::{RouteStats, Stats};

/// Opens the port and answers on it: `/metrics` for Prometheus, `/healthz` (the process runs), `/readyz` (both sides of
/// every route work). Answers the address.
///
/// # Errors
/// When the port cannot be had.
pub async fn serve(address: &str, stats: Stats) -> Result<SocketAddr, BridgeError> {
    let failed = |source| BridgeError::System { what: format!("cannot listen on {address}"), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let app = Router::new()
        .route("/metrics", get(|State(stats): State<Stats>| async move { metrics(&stats) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(|State(stats): State<Stats>| async move {
                match stats.is_ready() {
                    true => (StatusCode::OK, "ready\n".to_owned()),
                    false => (StatusCode::SERVICE_UNAVAILABLE, not_ready(&stats)),
                }
            }),
        )
        .with_state(stats);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics are not served any more");
        }
    });
    Ok(bound)
}

fn not_ready(stats: &Stats) -> String {
    let mut text = String::new();
    for route in stats.routes.iter().filter(|r| !r.is_ready()) {
        let down = |up: &std::sync::atomic::AtomicBool| {
            if up.load(std::sync::atomic::Ordering::Relaxed) { "up" } else { "down" }
        };
        let (mqtt, kafka) = (down(&route.mqtt_up), down(&route.kafka_up));
        let _ = writeln!(text, "route {}: MQTT {mqtt}, Kafka {kafka}", route.name);
    }
    text
}

/// In Prometheus' text format.
fn metrics(stats: &Stats) -> String {
    type Value = fn(&RouteStats) -> u64;
    let of: [(&str, &str, &str, Value); 10] = [
        ("received_total", "counter", "Messages that came", |r| r.received.get()),
        ("delivered_total", "counter", "Messages that the other side has acknowledged", |r| {
            r.delivered.get()
        }),
        ("delivered_bytes_total", "counter", "Bytes of their payloads", |r| r.delivered_bytes.get()),
        ("dead_letters_total", "counter", "Messages in the dead-letter topic", |r| r.dead_letters.get()),
        ("own_total", "counter", "Messages of this bridge that were left out", |r| r.own.get()),
        ("transactions_total", "counter", "Transactions committed", |r| r.transactions.get()),
        ("connections_lost_total", "counter", "MQTT connections lost or not made", |r| {
            r.connections_lost.get()
        }),
        ("in_flight", "gauge", "Messages that came and are not acknowledged", |r| r.in_flight.get()),
        ("in_flight_bytes", "gauge", "Bytes of those", |r| r.in_flight_bytes.get()),
        ("up", "gauge", "Whether both sides work", |r| u64::from(r.is_ready())),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in of {
        let _ =
            writeln!(text, "# HELP tributary_bridge_{name} {help}\n# TYPE tributary_bridge_{name} {kind}");
        for route in &stats.routes {
            let label = route.name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let direction = route.direction;
            let n = value(route);
            let _ =
                writeln!(text, "tributary_bridge_{name}{{route=\"{label}\",direction=\"{direction}\"}} {n}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn metrics_name_each_route() {
        let route =
            RouteStats { name: "a \"b\"".to_owned(), direction: "mqtt-to-kafka", ..RouteStats::default() };
        route.received.add(3);
        let text = metrics(&Stats { routes: vec![Arc::new(route)] });
        let line = "tributary_bridge_received_total{route=\"a \\\"b\\\"\",direction=\"mqtt-to-kafka\"} 3\n";
        assert!(text.contains(line), "{text}");
    }
}
