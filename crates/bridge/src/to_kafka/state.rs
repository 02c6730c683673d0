//! Which QoS 2 messages are in Kafka while the MQTT broker may still send them again: one record for each lane in a
//! compacted topic, written in the transaction that changes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use client::admin::{IsolationLevel, OffsetSpec};
use client::{Admin, Error, ProducerRecord, TopicPartition};

use crate::error::BridgeError;
use crate::kafka::{Kafka, create_topic};

/// First byte of a value.
const FORMAT: u8 = 1;

/// What a lane has written for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Number of the transaction.
    pub(crate) number: u64,
    /// Packet identifiers of messages whose PUBREL has not come, with their fingerprints.
    pub(crate) open: BTreeMap<u16, u32>,
}

impl Taken {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(9 + self.open.len() * 6);
        out.put_u8(FORMAT);
        out.put_u64(self.number);
        for (id, print) in &self.open {
            out.put_u16(*id);
            out.put_u32(*print);
        }
        out.freeze()
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < 9 || !(bytes.len() - 9).is_multiple_of(6) || bytes.get_u8() != FORMAT {
            return None;
        }
        let number = bytes.get_u64();
        let mut open = BTreeMap::new();
        while bytes.has_remaining() {
            open.insert(bytes.get_u16(), bytes.get_u32());
        }
        Some(Self { number, open })
    }
}

/// Where a lane's record stands.
#[derive(Clone, Debug)]
pub(crate) struct StateTopic {
    topic: Arc<str>,
    key: Bytes,
}

impl StateTopic {
    pub(crate) fn new(topic: &str, key: &str) -> Self {
        Self { topic: topic.into(), key: Bytes::copy_from_slice(key.as_bytes()) }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn record(&self, taken: &Taken) -> ProducerRecord {
        ProducerRecord::new(Arc::clone(&self.topic), taken.encode()).key(self.key.clone()).partition(0)
    }

    /// Makes the topic unless it is there.
    pub(crate) async fn create(&self, admin: &Admin) -> Result<(), Error> {
        let configs = [
            ("cleanup.policy", "compact"),
            // Only the last record of each key is ever read.
            ("segment.bytes", "16777216"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ];
        create_topic(admin, &self.topic, &configs).await
    }

    /// The last committed record. To be called after `init_transactions`, which has ended what an earlier process left
    /// open.
    pub(crate) async fn load(&self, kafka: &Kafka, admin: &Admin) -> Result<Taken, BridgeError> {
        let partition = TopicPartition::new(Arc::clone(&self.topic), 0);
        let ends = [(partition.clone(), OffsetSpec::Latest)];
        let mut listed = admin.list_offsets(&ends, IsolationLevel::ReadUncommitted).await?;
        let end = listed.pop().map_or(Ok(0), |(_, answer)| answer.map(|found| found.offset))?;
        let mut consumer = kafka.consumer(&[
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("max.poll.records", "5000"),
        ])?;
        consumer.assign(std::slice::from_ref(&partition))?;
        let mut found = Taken::default();
        // Another lane's open transaction may hold the end back for a moment.
        while consumer.position(&partition).await? < end {
            for record in consumer.poll(Duration::from_millis(500)).await? {
                if record.key.as_ref() != Some(&self.key) {
                    continue;
                }
                let Some(value) = record.value else { continue };
                found = Taken::decode(value).ok_or_else(|| {
                    let at = format!("{} offset {}", self.topic, record.offset);
                    BridgeError::Config(format!("{at}: not a record of this version of the bridge"))
                })?;
            }
        }
        let _ = consumer.close(Duration::from_secs(1)).await;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_as_they_were() {
        let taken = Taken { number: 7, open: BTreeMap::from([(1, 9), (u16::MAX, u32::MAX)]) };
        assert_eq!(Taken::decode(taken.encode()), Some(taken.clone()));
        assert_eq!(Taken::decode(taken.encode().slice(..20)), None);
        assert_eq!(Taken::decode(Bytes::new()), None);
        let mut other = BytesMut::from(&taken.encode()[..]);
        other[0] = 2;
        assert_eq!(Taken::decode(other.freeze()), None);
    }
}
