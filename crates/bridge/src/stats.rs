//! What a bridge counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A number that only grows, or a level that is set.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of one lane: one connection of a route.
#[derive(Debug, Default)]
pub struct RouteStats {
    /// Name of the route, and of the lane where it has several.
    pub name: String,
    /// `mqtt-to-kafka` or `kafka-to-mqtt`.
    pub direction: &'static str,
    /// Messages that came.
    pub received: Count,
    /// Messages that the other side has acknowledged.
    pub delivered: Count,
    /// Bytes of their payloads.
    pub delivered_bytes: Count,
    /// Messages that could not be written and went to the dead-letter topic.
    pub dead_letters: Count,
    /// Messages left out because this bridge itself had sent them the other way.
    pub own: Count,
    /// Messages that came and are not acknowledged yet.
    pub in_flight: Count,
    /// Bytes of those.
    pub in_flight_bytes: Count,
    /// Transactions committed.
    pub transactions: Count,
    /// MQTT connections that were lost or could not be made.
    pub connections_lost: Count,
    /// Whether the MQTT side is connected and subscribed.
    pub mqtt_up: AtomicBool,
    /// Whether Kafka has taken or given what was asked of it lately.
    pub kafka_up: AtomicBool,
}

impl RouteStats {
    /// Whether both sides work.
    pub fn is_ready(&self) -> bool {
        self.mqtt_up.load(Ordering::Relaxed) && self.kafka_up.load(Ordering::Relaxed)
    }
}

/// Counts of all lanes.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// One for each lane.
    pub routes: Vec<Arc<RouteStats>>,
}

impl Stats {
    /// Whether all lanes work.
    pub fn is_ready(&self) -> bool {
        self.routes.iter().all(|r| r.is_ready())
    }
}
