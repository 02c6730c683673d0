//! A message as it travels inside the broker: one allocation shared by all who get it.

use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::{PropertiesBuf, QoS};

/// A partition, numbered in the order this process met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PartitionId(pub(crate) u32);

impl PartitionId {
    /// Of what is in no log.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// A record's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Which partition.
    pub(crate) partition: PartitionId,
    /// Offset in it.
    pub(crate) offset: i64,
}

/// What somebody published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    /// Topic name, valid UTF-8.
    pub(crate) topic: Bytes,
    /// Payload.
    pub(crate) payload: Bytes,
    /// QoS it was published with.
    pub(crate) qos: QoS,
    /// RETAIN as published.
    pub(crate) retain: bool,
    /// Properties that are passed on, in the publisher's order; no expiry, alias or subscription identifier.
    pub(crate) properties: PropertiesBuf,
    /// Message expiry interval, seconds.
    pub(crate) expiry_s: Option<u32>,
    /// The publisher's client id, when it holds a no-local subscription.
    pub(crate) client: Option<Bytes>,
    /// Who retained it, where somebody may ask: see [`Source`](crate::auth::Source).
    pub(crate) source: Option<Arc<[u8]>>,
}

/// A message on its way to subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// What is delivered.
    pub(crate) publication: Publication,
    /// When it was stored, milliseconds since the epoch; expiry counts from here.
    pub(crate) stored_ms: i64,
    /// Where it stands in the log; `None` for what is never logged (`$SYS`).
    pub(crate) position: Option<Position>,
}

impl Message {
    /// The topic name.
    pub(crate) fn topic(&self) -> &str {
        std::str::from_utf8(&self.publication.topic).unwrap_or_default()
    }

    /// Seconds of life left: `Some(None)` = lives for ever, `None` = expired.
    #[allow(clippy::option_option)]
    pub(crate) fn life_left(&self, now_ms: i64) -> Option<Option<u32>> {
        let Some(expiry_s) = self.publication.expiry_s else { return Some(None) };
        // A clock that went backwards must not make the message live longer than it was given.
        let age_s = now_ms.saturating_sub(self.stored_ms).max(0) / 1000;
        let left = i64::from(expiry_s) - age_s;
        (left > 0 || expiry_s == 0 && age_s == 0).then(|| Some(u32::try_from(left.max(0)).unwrap_or(0)))
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
