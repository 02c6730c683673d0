//! Counters behind `$SYS`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// Counters of one server. Each is only ever added to, but for the gauges.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Packets received and sent.
    pub(crate) packets_received: AtomicU64,
    pub(crate) packets_sent: AtomicU64,
    /// Bytes received and sent.
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    /// PUBLISH packets received, sent, dropped, and their payload bytes.
    pub(crate) publish_received: AtomicU64,
    pub(crate) publish_sent: AtomicU64,
    pub(crate) publish_dropped: AtomicU64,
    pub(crate) publish_bytes_received: AtomicU64,
    pub(crate) publish_bytes_sent: AtomicU64,
    /// Network connections accepted, and CONNECTs.
    pub(crate) sockets: AtomicU64,
    pub(crate) connects: AtomicU64,
    /// Clients connected now (gauge), and most at one time.
    pub(crate) connected: AtomicI64,
    pub(crate) connected_max: AtomicI64,
    /// Persistent sessions removed because they expired.
    pub(crate) expired: AtomicU64,
    /// Records that retention removed before they were delivered.
    pub(crate) lost_to_retention: AtomicU64,
    /// Bytes of publishes on their way to the log (gauge).
    under_way: AtomicUsize,
}

impl Stats {
    /// Adds to a counter.
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Notes a client that connected.
    pub(crate) fn client_connected(&self) {
        let now = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        self.connected_max.fetch_max(now, Ordering::Relaxed);
    }

    /// Bytes of publishes that the log has not answered.
    pub(crate) fn bytes_under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Counts bytes as under way until what is answered is dropped.
    pub(crate) fn begin_bytes(self: &Arc<Self>, bytes: usize) -> BytesUnderWay {
        self.under_way.fetch_add(bytes, Ordering::Relaxed);
        BytesUnderWay { stats: Arc::clone(self), bytes }
    }
}

/// Bytes on their way to the log.
pub(crate) struct BytesUnderWay {
    stats: Arc<Stats>,
    bytes: usize,
}

impl Drop for BytesUnderWay {
    fn drop(&mut self) {
        self.stats.under_way.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_under_way_until_their_end() {
        let stats = Arc::new(Stats::default());
        let first = stats.begin_bytes(3);
        let second = stats.begin_bytes(4);
        drop(first);
        assert_eq!(stats.bytes_under_way(), 4);
        drop(second);
        assert_eq!(stats.bytes_under_way(), 0);
    }
}
