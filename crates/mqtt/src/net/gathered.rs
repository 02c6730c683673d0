//! Publishes of one connection that came together and go into the log together.

use std::sync::Arc;

use client::door::{Ack, DoorError, Record};
use mqtt_codec::{PacketId, QoS};

use super::{Close, Connection, Step};
use crate::config::AckLevel;
use crate::deliver::Partition;
use crate::message::Publication;
use crate::session::Session;

/// A publish on its way to the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) id: Option<PacketId>,
    pub(crate) qos: QoS,
    /// Somebody subscribes to its topic.
    pub(crate) matched: bool,
    /// What an ack means where it goes.
    pub(crate) level: AckLevel,
}

/// Records for one partition with one kind of acknowledgement.
#[derive(Debug)]
pub(super) struct Gathered {
    partition: Arc<Partition>,
    ack: Ack,
    records: Vec<Record>,
    publishes: Vec<Sent>,
    /// The messages again, where what is refused is kept: one for each record, or none.
    originals: Vec<Publication>,
}

impl Connection {
    /// Gathers a publish; it is on its way at the latest when [`Connection::flush`] returns.
    pub(crate) fn gather(
        &mut self,
        partition: &Arc<Partition>,
        ack: Ack,
        record: Record,
        sent: Sent,
        original: Option<Publication>,
    ) {
        let fits = |g: &Gathered| {
            let keeps = !g.originals.is_empty();
            Arc::ptr_eq(&g.partition, partition) && g.ack == ack && keeps == original.is_some()
        };
        if self.gathered.as_ref().is_some_and(|g| !fits(g)) {
            self.flush();
        }
        self.unanswered += 1;
        let gathered = self.gathered.get_or_insert_with(|| Gathered {
            partition: partition.clone(),
            ack,
            records: Vec::with_capacity(16),
            publishes: Vec::with_capacity(16),
            originals: Vec::new(),
        });
        gathered.originals.extend(original);
        gathered.records.push(record);
        gathered.publishes.push(sent);
    }

    /// Sends what is gathered on its way to the log.
    pub(crate) fn flush(&mut self) {
        let Some(Gathered { partition, ack, records, publishes, originals }) = self.gathered.take() else {
            return;
        };
        let broker = Arc::clone(&self.broker);
        let bytes = self.broker.stats.begin_bytes(records.iter().map(bytes_of).sum());
        let written = self.broker.hub.door.append_all(&partition.name, records, ack);
        self.under_way.push(Box::pin(async move {
            let mut results = written.await;
            if let Some(last) = results.iter().rev().find_map(|r| r.as_ref().ok()) {
                partition.note_end(last + 1);
            }
            for (result, original) in results.iter_mut().zip(&originals) {
                if let Err(error) = result.clone() {
                    let topic = &partition.name.topic;
                    *result = broker.keep_refused(original, topic, error, Vec::new()).await;
                }
            }
            drop(bytes);
            Step::AllPublished { partition, publishes, results }
        }));
    }

    /// Answers publishes that were gathered. An error ends the connection, but not what the session has to know.
    pub(super) fn all_published(
        &mut self,
        partition: &Partition,
        publishes: Vec<Sent>,
        results: Vec<Result<i64, DoorError>>,
    ) -> Result<(), Close> {
        self.unanswered = self.unanswered.saturating_sub(publishes.len());
        let mut outcome = Ok(());
        for (sent, result) in publishes.into_iter().zip(results) {
            if outcome.is_ok() {
                outcome = self.published(sent, result.map(|offset| Some((partition, offset))));
            } else {
                settle_published(&mut self.session, sent, result.is_ok());
            }
        }
        outcome
    }
}

fn bytes_of(record: &Record) -> usize {
    [&record.key, &record.value].into_iter().flatten().map(bytes::Bytes::len).sum()
}

/// Takes note of how a publish ended that nobody is there to be told of.
pub(super) fn settle_published(session: &mut Session, sent: Sent, accepted: bool) {
    if let (Some(id), QoS::ExactlyOnce) = (sent.id, sent.qos) {
        session.inbound.stored(id, accepted);
    }
}
