//! Configurations of client metrics subscriptions (KIP-714), by name: Kafka 4.3's.

use super::definition::ConfigType::{Int, List};
use super::definition::Update::ClusterWide;
use super::definition::Validator::Any;
use super::definition::{ConfigDef, row};

/// Configurations of a subscription, by name.
#[rustfmt::skip]
pub(super) static CLIENT_METRICS_CONFIGS: &[ConfigDef] = &[
    row("interval.ms", Int, Some("300000"), Any, None, ClusterWide, true, "Metrics push interval in milliseconds"),
    row("match", List, Some(""), Any, None, ClusterWide, true, "Client match criteria"),
    row("metrics", List, Some(""), Any, None, ClusterWide, true, "Telemetry metric name prefix list"),
];
