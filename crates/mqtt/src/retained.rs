//! Retained messages: the latest per topic. The compacted topic `__mqtt_retained` is the truth, this is its
//! index in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::topic as name;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::message::{Message, PartitionId, Position};

/// Deletions remembered so that a slower, older append cannot bring a deleted message back.
const DELETIONS_KEPT: usize = 10_000;

/// The retained message of every topic.
#[derive(Debug)]
pub(crate) struct Retained {
    topics: RwLock<Topics>,
    writes: Mutex<Writes>,
    /// Number of the first write that is still under way.
    settled: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Topics {
    entries: BTreeMap<Bytes, Entry>,
    messages: usize,
    /// Payloads of the messages.
    bytes: usize,
    deletions: usize,
}

/// The message, or `None` where one was deleted, and the record that said so.
#[derive(Debug)]
struct Entry {
    message: Option<Arc<Message>>,
    at: Position,
}

#[derive(Debug, Default)]
struct Writes {
    next: u64,
    under_way: BTreeSet<u64>,
}

/// A retained write on its way to the log; dropping it says that it arrived or failed.
#[derive(Debug)]
pub(crate) struct WriteUnderWay {
    number: u64,
    retained: Arc<Retained>,
}

impl Drop for WriteUnderWay {
    fn drop(&mut self) {
        let mut writes = self.retained.writes.lock();
        writes.under_way.remove(&self.number);
        let settled = writes.under_way.first().copied().unwrap_or(writes.next);
        self.retained.settled.send_replace(settled);
    }
}

impl Default for Retained {
    fn default() -> Self {
        Self { topics: RwLock::default(), writes: Mutex::default(), settled: watch::channel(0).0 }
    }
}

impl Retained {
    /// Number of topics with a retained message.
    pub(crate) fn len(&self) -> usize {
        self.topics.read().messages
    }

    /// Messages, and bytes of their payloads.
    pub(crate) fn size(&self) -> (usize, usize) {
        let topics = self.topics.read();
        (topics.messages, topics.bytes)
    }

    /// Whether the topic has one.
    pub(crate) fn contains(&self, topic: &[u8]) -> bool {
        self.topics.read().entries.get(topic).is_some_and(|e| e.message.is_some())
    }

    /// Announces a write, so that [`Retained::settle`] waits for it.
    pub(crate) fn begin_write(self: &Arc<Self>) -> WriteUnderWay {
        let mut writes = self.writes.lock();
        let number = writes.next;
        writes.next += 1;
        writes.under_way.insert(number);
        WriteUnderWay { number, retained: self.clone() }
    }

    /// Waits for the writes announced so far: a subscriber must see what was published before it subscribed.
    pub(crate) async fn settle(&self) {
        let upto = {
            let writes = self.writes.lock();
            if writes.under_way.is_empty() {
                return;
            }
            writes.next
        };
        let _ = self.settled.subscribe().wait_for(|settled| *settled >= upto).await;
    }

    /// Takes over what the log says at `at`; older news than what is known is ignored.
    pub(crate) fn apply(&self, topic: Bytes, message: Option<Arc<Message>>, at: Position) {
        let topics = &mut *self.topics.write();
        let is_message = message.is_some();
        let bytes = |m: &Option<Arc<Message>>| m.as_ref().map_or(0, |m| m.publication.payload.len());
        let comes = bytes(&message);
        match topics.entries.get_mut(&topic) {
            Some(known) if known.at.partition == at.partition && known.at.offset > at.offset => return,
            Some(known) => {
                topics.messages -= usize::from(known.message.is_some());
                topics.bytes -= bytes(&known.message);
                topics.deletions -= usize::from(known.message.is_none());
                *known = Entry { message, at };
            }
            None => {
                topics.entries.insert(topic, Entry { message, at });
            }
        }
        topics.messages += usize::from(is_message);
        topics.bytes += comes;
        topics.deletions += usize::from(!is_message);
        if topics.deletions > DELETIONS_KEPT {
            topics.entries.retain(|_, e| e.message.is_some());
            topics.deletions = 0;
        }
    }

    /// Forgets what stood in a partition that is gone.
    pub(crate) fn forget(&self, partition: PartitionId) {
        let topics = &mut *self.topics.write();
        topics.entries.retain(|_, e| e.at.partition != partition);
        topics.messages = topics.entries.values().filter(|e| e.message.is_some()).count();
        topics.deletions = topics.entries.len() - topics.messages;
        let messages = topics.entries.values().filter_map(|e| e.message.as_ref());
        topics.bytes = messages.map(|m| m.publication.payload.len()).sum();
    }

    /// The messages whose topic matches, in topic order.
    pub(crate) fn matching(&self, filter: &str) -> Vec<Arc<Message>> {
        let topics = self.topics.read();
        let literal = filter.split(['+', '#']).next().unwrap_or_default();
        if literal.len() == filter.len() {
            return topics
                .entries
                .get(filter.as_bytes())
                .and_then(|e| e.message.clone())
                .into_iter()
                .collect();
        }
        // "a/#" matches "a" too: the scan begins without the separator.
        let prefix = literal.strip_suffix('/').filter(|_| filter.ends_with('#')).unwrap_or(literal);
        topics
            .entries
            .range::<[u8], _>((Bound::Included(prefix.as_bytes()), Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix.as_bytes()))
            .filter_map(|(_, e)| e.message.as_ref())
            .filter(|m| name::matches(filter, m.topic()))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Publication;
    use mqtt_codec::{PropertiesBuf, QoS};

    fn message(topic: &'static str) -> Arc<Message> {
        Arc::new(Message {
            publication: Publication {
                topic: Bytes::from_static(topic.as_bytes()),
                payload: Bytes::from_static(b"x"),
                qos: QoS::AtMostOnce,
                retain: true,
                properties: PropertiesBuf::new(),
                expiry_s: None,
                client: None,
                source: None,
            },
            stored_ms: 0,
            position: None,
        })
    }

    fn at(offset: i64) -> Position {
        Position { partition: PartitionId(0), offset }
    }

    fn put(r: &Retained, topic: &'static str, offset: i64) {
        r.apply(Bytes::from_static(topic.as_bytes()), Some(message(topic)), at(offset));
    }

    fn found(r: &Retained, filter: &str) -> String {
        r.matching(filter).iter().map(|m| m.topic().to_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn filters_find_what_they_match() {
        let r = Retained::default();
        for t in ["a", "a/b", "a/b/c", "ab", "b/b", "$SYS/x", "/a"] {
            put(&r, t, 1);
        }
        assert_eq!(found(&r, "a"), "a");
        assert_eq!(found(&r, "a/#"), "a a/b a/b/c");
        assert_eq!(found(&r, "+/b"), "a/b b/b");
        assert_eq!(found(&r, "a/+/c"), "a/b/c");
        assert_eq!(found(&r, "#"), "/a a a/b a/b/c ab b/b");
        assert_eq!(found(&r, "$SYS/#"), "$SYS/x");
        assert_eq!(found(&r, "+/+"), "/a a/b b/b");
    }

    #[test]
    fn older_news_never_overtakes_newer() {
        let r = Retained::default();
        put(&r, "a", 5);
        r.apply("a".into(), None, at(7));
        put(&r, "a", 6);
        assert_eq!(found(&r, "#"), "");
        assert_eq!(r.len(), 0);
        put(&r, "a", 8);
        assert_eq!((found(&r, "#").as_str(), r.len()), ("a", 1));
    }

    #[tokio::test]
    async fn settle_waits_for_writes_begun_before_it() {
        let r = Arc::new(Retained::default());
        r.settle().await;
        let first = r.begin_write();
        let second = r.begin_write();
        let waiting = tokio::spawn({
            let r = r.clone();
            async move { r.settle().await }
        });
        tokio::task::yield_now().await;
        drop(second);
        let later = r.begin_write();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        drop(later);
    }
}
