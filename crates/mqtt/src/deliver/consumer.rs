//! A consumer: the bounded queue of messages for one session (or one share group) and, for each partition it
//! follows, whether the tail feeds it or it reads on its own from a cursor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use mqtt_codec::QoS;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::followed::{Followed, Mode, NO_CURSOR};
use super::partition::Partition;
use super::ready::Ready;
use super::share::ShareGroup;
use crate::message::{Message, PartitionId};
use crate::subscriptions::Subscription;

/// QoS 0 messages that may wait for each QoS 1 or 2 message that may: they come from the log a batch at a time.
/// `max_queued_bytes` bounds them all the same.
const QOS0_BURST: usize = 4;
/// A consumer the tail waited for in vain is not waited for again so soon.
const IMPATIENCE: Duration = Duration::from_secs(10);

/// One message for one consumer.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// The message, shared by all who get it.
    pub(crate) message: Arc<Message>,
    /// QoS it is sent with.
    pub(crate) qos: QoS,
    /// RETAIN as it is sent.
    pub(crate) retain: bool,
    /// Identifiers of the subscriptions it is sent for.
    pub(crate) subscription_ids: Vec<u32>,
    /// Sent because it was retained when the subscription was made; its position is in `__mqtt_retained`.
    pub(crate) from_retained: bool,
}

/// Bounds of a consumer's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    /// Messages.
    pub(crate) messages: usize,
    /// Payload bytes.
    pub(crate) bytes: usize,
    /// Records that a consumer with a full queue may lie behind the end of a partition before it loses QoS 0
    /// messages of it.
    pub(crate) qos0_lag: i64,
    /// `upgrade_outgoing_qos`: send with the subscription's QoS even when published with a lower one.
    pub(crate) upgrade_qos: bool,
}

/// Whether somebody has to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The queue was empty (or its reader was not told yet).
    Reader,
    /// The consumer fell behind and needs its pump.
    Pump,
    /// Nobody.
    Nobody,
}

/// What became of a record that the tail offered.
#[derive(Debug)]
pub(super) enum Offered {
    /// It is in the queue, or the consumer will read it itself, or does not need it.
    Taken(Wake),
    /// The queue is full; [`Consumer::room_for_tail`] tells when it is not any more.
    Full(Delivery),
}

/// Retained messages to be sent for one subscription.
#[derive(Debug)]
struct RetainedBatch {
    seq: u64,
    subscription: Arc<Subscription>,
    messages: std::vec::IntoIter<Arc<Message>>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    seq: u64,
    /// QoS 0, dropped first.
    unacked: VecDeque<(u64, Delivery)>,
    /// QoS 1 and 2.
    acked: VecDeque<(u64, Delivery)>,
    retained: VecDeque<RetainedBatch>,
    bytes: usize,
    pub(super) followed: HashMap<PartitionId, Followed>,
    /// The reader was told and has not emptied the queue since.
    told: bool,
    pub(super) pump: bool,
    /// The pump waits for room for a message of this QoS.
    pump_waits: Option<QoS>,
    /// A tail waits for room.
    tail_waits: bool,
    slow_until: Option<Instant>,
    /// Counts connections, so that a pump of an earlier one stops.
    pub(super) epoch: u64,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// Unique in this process.
    pub(crate) id: u64,
    /// Client id, or empty for a share group.
    pub(crate) client_id: Bytes,
    limits: QueueLimits,
    online: AtomicBool,
    subscriptions: RwLock<HashMap<Box<str>, Arc<Subscription>>>,
    subscriptions_version: AtomicU64,
    pub(super) inner: Mutex<Inner>,
    /// Wakes the connection.
    pub(crate) ready: Ready,
    /// Wakes the pump.
    pub(super) room: Notify,
    /// Wakes the tails that wait.
    pub(super) room_for_tail: Notify,
    /// Messages dropped for this consumer.
    pub(crate) dropped: AtomicU64,
    /// It reads the past: QoS 0 messages count from the start on, and are not dropped.
    pub(super) replays: bool,
    /// Set when this is the consumer of a share group.
    share: OnceLock<Weak<ShareGroup>>,
}

/// What a consumer had still to get from a partition, for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Which partition.
    pub(crate) partition: PartitionId,
    /// Next offset.
    pub(crate) next: i64,
}

impl Consumer {
    /// A consumer that follows nothing and is offline.
    pub(crate) fn new(client_id: Bytes, limits: QueueLimits) -> Arc<Self> {
        Self::with(client_id, limits, false)
    }

    /// The consumer of a replay.
    pub(super) fn for_replay(client_id: Bytes, limits: QueueLimits) -> Arc<Self> {
        Self::with(client_id, QueueLimits { qos0_lag: i64::MAX, ..limits }, true)
    }

    fn with(client_id: Bytes, limits: QueueLimits, replays: bool) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            client_id,
            limits,
            online: AtomicBool::new(false),
            subscriptions: RwLock::default(),
            subscriptions_version: AtomicU64::new(0),
            inner: Mutex::default(),
            ready: Ready::default(),
            room: Notify::new(),
            room_for_tail: Notify::new(),
            dropped: AtomicU64::new(0),
            replays,
            share: OnceLock::new(),
        })
    }

    pub(super) fn set_share(&self, group: &Arc<ShareGroup>) {
        let _ = self.share.set(Arc::downgrade(group));
    }

    /// Tells the reader that there is something to take.
    pub(super) fn wake(&self) {
        match self.share.get() {
            None => self.ready.notify_one(),
            Some(group) => {
                if let Some(group) = group.upgrade() {
                    group.wake();
                }
            }
        }
    }

    /// Messages that wait.
    pub(crate) fn queued(&self) -> usize {
        let inner = self.inner.lock();
        inner.acked.len() + inner.unacked.len()
    }

    /// Puts messages back that were taken, before all others.
    pub(super) fn put_back(&self, deliveries: Vec<Delivery>) {
        let inner = &mut *self.inner.lock();
        for d in deliveries.into_iter().rev() {
            inner.bytes += d.message.publication.payload.len();
            inner.acked.push_front((0, d));
        }
        inner.told = true;
    }

    /// Whether somebody reads the queue.
    pub(crate) fn is_online(&self) -> bool {
        // Sequentially consistent with the tail's position: see `Followed::join`.
        self.online.load(Ordering::SeqCst)
    }

    /// All subscriptions; the key is the filter as subscribed (with `$share/group/`).
    pub(crate) fn subscriptions(&self) -> Vec<(Box<str>, Arc<Subscription>)> {
        self.subscriptions.read().iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Number of subscriptions.
    pub(crate) fn subscription_count(&self) -> usize {
        self.subscriptions.read().len()
    }

    /// Number of replays.
    pub(crate) fn replays(&self) -> usize {
        self.subscriptions.read().values().filter(|s| s.replays).count()
    }

    /// The subscription with this filter.
    pub(crate) fn subscription(&self, filter: &str) -> Option<Arc<Subscription>> {
        self.subscriptions.read().get(filter).cloned()
    }

    /// Whether any subscription is a no-local one.
    pub(crate) fn has_no_local(&self) -> bool {
        self.subscriptions.read().values().any(|s| s.no_local)
    }

    pub(super) fn put_subscription(&self, filter: &str, subscription: Arc<Subscription>) {
        self.subscriptions.write().insert(filter.into(), subscription);
        self.subscriptions_version.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn take_subscription(&self, filter: &str) -> Option<Arc<Subscription>> {
        let taken = self.subscriptions.write().remove(filter);
        self.subscriptions_version.fetch_add(1, Ordering::SeqCst);
        taken
    }

    pub(super) fn subscriptions_version(&self) -> u64 {
        self.subscriptions_version.load(Ordering::SeqCst)
    }

    /// What this consumer gets of a record at `offset` because of `subscriptions`.
    pub(super) fn delivery<'s>(
        &self,
        message: &Arc<Message>,
        partition: Option<(PartitionId, i64)>,
        subscriptions: impl Iterator<Item = &'s Arc<Subscription>>,
    ) -> Option<Delivery> {
        let p = &message.publication;
        let mut found: Option<Delivery> = None;
        for s in subscriptions {
            if s.no_local && p.client.as_ref() == Some(&self.client_id) {
                continue;
            }
            if partition.is_some_and(|(id, offset)| offset < s.start(id)) {
                continue;
            }
            let qos = if self.limits.upgrade_qos { s.qos } else { p.qos.min(s.qos) };
            let retain = s.retain_as_published && p.retain;
            let d = found.get_or_insert_with(|| Delivery {
                message: message.clone(),
                qos,
                retain,
                subscription_ids: Vec::new(),
                from_retained: false,
            });
            d.qos = d.qos.max(qos);
            d.retain |= retain;
            d.subscription_ids.extend(s.id);
        }
        found
    }

    /// The tail offers a record. When the queue is full, a patient tail gets it back and waits for room; the
    /// consumer of an impatient one reads on from its cursor.
    pub(super) fn offer(
        &self,
        partition: PartitionId,
        offset: i64,
        delivery: Delivery,
        patient: bool,
    ) -> Offered {
        let inner = &mut *self.inner.lock();
        let full = self.is_full(inner, &delivery);
        // Not followed yet: whoever is about to follow it starts at or before this record.
        let Some(followed) = inner.followed.get_mut(&partition) else { return Offered::Taken(Wake::Nobody) };
        match followed.mode {
            Mode::Behind { .. } => return Offered::Taken(Wake::Nobody),
            Mode::Live { from } if offset < from => return Offered::Taken(Wake::Nobody),
            Mode::Live { .. } => {}
        }
        if full {
            let now = Instant::now();
            if patient && inner.slow_until.is_none_or(|until| until <= now) {
                inner.tail_waits = true;
                return Offered::Full(delivery);
            }
            followed.mode = Mode::Behind { next: offset };
            if !patient {
                inner.slow_until = now.checked_add(IMPATIENCE);
            }
            let runs = std::mem::replace(&mut inner.pump, true);
            return Offered::Taken(if runs { Wake::Nobody } else { Wake::Pump });
        }
        followed.last_pushed = offset;
        Offered::Taken(self.push(inner, delivery))
    }

    /// A message that is not in the log (`$SYS`): dropped when there is no room.
    pub(super) fn offer_local(&self, delivery: Delivery) -> Wake {
        let inner = &mut *self.inner.lock();
        if self.is_full(inner, &delivery) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Wake::Nobody;
        }
        self.push(inner, delivery)
    }

    fn is_full(&self, inner: &Inner, delivery: &Delivery) -> bool {
        let (count, max) = match delivery.qos {
            QoS::AtMostOnce => (inner.unacked.len(), self.qos0_messages()),
            _ => (inner.acked.len(), self.limits.messages),
        };
        count >= max
            || (count > 0 && inner.bytes + delivery.message.publication.payload.len() > self.limits.bytes)
    }

    fn qos0_messages(&self) -> usize {
        self.limits.messages.saturating_mul(QOS0_BURST)
    }

    /// Tells those who wait for room, once there is enough of it to be worth their while.
    fn call_writers(&self, inner: &mut Inner) {
        let acked = inner.acked.len() <= self.limits.messages / 2;
        let unacked = inner.unacked.len() <= self.qos0_messages() / 2;
        let for_pump = match inner.pump_waits {
            None => false,
            Some(QoS::AtMostOnce) => unacked,
            Some(_) => acked,
        };
        if for_pump {
            inner.pump_waits = None;
            self.room.notify_one();
        }
        if inner.tail_waits && acked && unacked && inner.bytes <= self.limits.bytes / 2 {
            inner.tail_waits = false;
            self.room_for_tail.notify_waiters();
        }
    }

    fn push(&self, inner: &mut Inner, delivery: Delivery) -> Wake {
        inner.bytes += delivery.message.publication.payload.len();
        inner.seq += 1;
        let queue = if delivery.qos == QoS::AtMostOnce { &mut inner.unacked } else { &mut inner.acked };
        queue.push_back((inner.seq, delivery));
        if std::mem::replace(&mut inner.told, true) { Wake::Nobody } else { Wake::Reader }
    }

    /// Queues retained messages for a new subscription.
    pub(crate) fn push_retained(&self, subscription: &Arc<Subscription>, messages: Vec<Arc<Message>>) {
        if messages.is_empty() {
            return;
        }
        let inner = &mut *self.inner.lock();
        inner.seq += 1;
        let seq = inner.seq;
        inner.retained.push_back(RetainedBatch {
            seq,
            subscription: subscription.clone(),
            messages: messages.into_iter(),
        });
        inner.told = true;
        self.ready.notify_one();
    }

    /// Retained messages that wait to be sent.
    pub(crate) fn retained_waiting(&self) -> usize {
        self.inner.lock().retained.iter().map(|b| b.messages.len()).sum()
    }

    /// Takes up to `max` messages, of which at most `window` with QoS 1 or 2, oldest first; a QoS 0 message
    /// overtakes those that have no room in the window. With nothing left to take, the reader will be woken
    /// by the next message.
    pub(crate) fn take(&self, max: usize, mut window: usize, out: &mut Vec<Delivery>) {
        let inner = &mut *self.inner.lock();
        let upto = out.len() + max;
        while out.len() < upto {
            let qos0 = inner.unacked.front().map(|(seq, _)| *seq);
            let qos12 = inner.acked.front().map(|(seq, _)| *seq).filter(|_| window > 0);
            while inner.retained.front().is_some_and(|b| b.messages.as_slice().is_empty()) {
                inner.retained.pop_front();
            }
            let retained = inner.retained.front().and_then(|b| {
                let qos = self.retained_qos(b)?;
                (qos == QoS::AtMostOnce || window > 0).then_some(b.seq)
            });
            let first = [qos0, qos12, retained].into_iter().flatten().min();
            let Some(first) = first else {
                inner.told = false;
                break;
            };
            let delivery = if retained == Some(first) {
                inner.retained.front_mut().and_then(|b| {
                    let message = b.messages.next()?;
                    let qos = if self.limits.upgrade_qos {
                        b.subscription.qos
                    } else {
                        message.publication.qos.min(b.subscription.qos)
                    };
                    Some(Delivery {
                        message,
                        qos,
                        retain: true,
                        subscription_ids: b.subscription.id.into_iter().collect(),
                        from_retained: true,
                    })
                })
            } else {
                let queue = if qos0 == Some(first) { &mut inner.unacked } else { &mut inner.acked };
                let taken = queue.pop_front().map(|(_, d)| d);
                if let Some(d) = &taken {
                    inner.bytes = inner.bytes.saturating_sub(d.message.publication.payload.len());
                }
                taken
            };
            let Some(delivery) = delivery else { continue };
            if delivery.qos != QoS::AtMostOnce {
                window -= 1;
            }
            out.push(delivery);
        }
        if inner.acked.is_empty() && inner.unacked.is_empty() && inner.retained.is_empty() {
            inner.told = false;
        }
        self.call_writers(inner);
    }

    fn retained_qos(&self, batch: &RetainedBatch) -> Option<QoS> {
        let message = batch.messages.as_slice().first()?;
        Some(if self.limits.upgrade_qos {
            batch.subscription.qos
        } else {
            message.publication.qos.min(batch.subscription.qos)
        })
    }

    /// Starts a connection.
    pub(crate) fn go_online(&self) {
        let inner = &mut *self.inner.lock();
        inner.epoch += 1;
        inner.told = !(inner.retained.is_empty() && inner.acked.is_empty());
        let wake = inner.told;
        self.online.store(true, Ordering::SeqCst);
        if wake {
            self.ready.notify_one();
        }
    }

    /// Ends a connection: what was queued goes back to the cursors (QoS 0 is dropped), and the tail feeds it no
    /// more. Answers the partitions it followed.
    pub(super) fn go_offline(&self) -> Vec<Arc<Partition>> {
        let inner = &mut *self.inner.lock();
        self.online.store(false, Ordering::SeqCst);
        inner.epoch += 1;
        inner.pump = false;
        inner.pump_waits = None;
        inner.tail_waits = false;
        inner.slow_until = None;
        inner.told = false;
        let mut followed = Vec::new();
        for f in inner.followed.values_mut() {
            f.mode = Mode::Behind { next: f.next() };
            if std::mem::take(&mut f.follows) {
                followed.push(f.partition.clone());
            }
        }
        inner.unacked.clear();
        inner.bytes = 0;
        let queued = std::mem::take(&mut inner.acked);
        for (_, d) in queued {
            let Some(at) = d.message.position else { continue };
            if let Some(f) = inner.followed.get_mut(&at.partition) {
                f.mode = Mode::Behind { next: f.next().min(at.offset) };
            }
        }
        self.room.notify_one();
        self.room_for_tail.notify_waiters();
        followed
    }

    /// Forgets everything: the session ends.
    pub(super) fn clear(&self) {
        let inner = &mut *self.inner.lock();
        inner.followed.clear();
        inner.retained.clear();
        inner.acked.clear();
        inner.unacked.clear();
        inner.bytes = 0;
    }

    /// Where the consumer stands, leaving out what is queued but not taken: those offsets are still to get.
    pub(crate) fn cursors(&self) -> Vec<Cursor> {
        let inner = self.inner.lock();
        let mut cursors: HashMap<PartitionId, i64> = inner
            .followed
            .iter()
            .map(|(id, f)| (*id, f.next()))
            .filter(|(_, next)| *next != NO_CURSOR)
            .collect();
        for (_, d) in &inner.acked {
            let Some(at) = d.message.position else { continue };
            if let Some(next) = cursors.get_mut(&at.partition) {
                *next = (*next).min(at.offset);
            }
        }
        let mut out: Vec<Cursor> =
            cursors.into_iter().map(|(partition, next)| Cursor { partition, next }).collect();
        out.sort_unstable_by_key(|c| c.partition);
        out
    }

    /// The next offset needed of a partition, if it was ever followed.
    pub(crate) fn cursor(&self, partition: PartitionId) -> Option<i64> {
        self.inner.lock().followed.get(&partition).map(Followed::next)
    }

    /// Restores a cursor that was read from the log.
    pub(crate) fn restore_cursor(&self, partition: Arc<Partition>, next: i64) {
        let id = partition.id;
        let restored = Followed::behind(partition, next, next);
        self.inner.lock().followed.insert(id, restored);
    }

    /// Restores how far QoS 2 messages of a partition were handed out.
    pub(crate) fn restore_qos2(&self, partition: &Arc<Partition>, from: i64) {
        let inner = &mut *self.inner.lock();
        let f = inner
            .followed
            .entry(partition.id)
            .or_insert_with(|| Followed::behind(partition.clone(), NO_CURSOR, 0));
        f.qos2_from = f.qos2_from.max(from);
    }

    /// Notes that QoS 2 messages before `floor` were handed out.
    pub(crate) fn note_qos2(&self, partition: PartitionId, floor: i64) {
        if let Some(f) = self.inner.lock().followed.get_mut(&partition) {
            f.qos2_from = f.qos2_from.max(floor);
        }
    }

    /// How far QoS 2 messages were handed out, where that is past the cursor.
    pub(crate) fn qos2_floors(&self) -> Vec<(PartitionId, i64)> {
        let inner = self.inner.lock();
        inner.followed.iter().filter(|(_, f)| f.qos2_from > 0).map(|(id, f)| (*id, f.qos2_from)).collect()
    }

    /// Begins to follow a partition at its cursor, or at `start` when it has none; `history` ends where QoS 0
    /// messages begin to count. Answers whether it was not followed before, and whether the pump is needed.
    pub(super) fn follow(&self, partition: &Arc<Partition>, start: i64, history: i64) -> (bool, Wake) {
        let inner = &mut *self.inner.lock();
        let f = inner
            .followed
            .entry(partition.id)
            .or_insert_with(|| Followed::behind(partition.clone(), start, history));
        if std::mem::replace(&mut f.follows, true) {
            return (false, Wake::Nobody);
        }
        if f.mode == (Mode::Behind { next: NO_CURSOR }) {
            f.mode = Mode::Behind { next: start };
        }
        f.qos0_from = history;
        f.join();
        let behind = matches!(f.mode, Mode::Behind { .. });
        let wake =
            if behind && !std::mem::replace(&mut inner.pump, true) { Wake::Pump } else { Wake::Nobody };
        (true, wake)
    }

    /// Stops following a partition (its topic was deleted, or no subscription needs it any more).
    pub(super) fn unfollow(&self, partition: PartitionId) -> bool {
        self.inner.lock().followed.remove(&partition).is_some_and(|f| f.follows)
    }

    /// Partitions followed or with a cursor.
    pub(super) fn known_partitions(&self) -> Vec<Arc<Partition>> {
        self.inner.lock().followed.values().map(|f| f.partition.clone()).collect()
    }

    /// The pump puts in a record it read, unless the queue is full (`Err` gives it back) or the connection
    /// `epoch` is over (`Ok(None)`). A QoS 0 message for which there is no room is dropped when the consumer lies
    /// too far behind.
    pub(super) fn pump_in(
        &self,
        epoch: u64,
        partition: PartitionId,
        offset: i64,
        delivery: Option<Delivery>,
    ) -> Result<Option<Wake>, Delivery> {
        let inner = &mut *self.inner.lock();
        if inner.epoch != epoch {
            return Ok(None);
        }
        let full = delivery.as_ref().is_some_and(|d| self.is_full(inner, d));
        let Some(f) = inner.followed.get_mut(&partition) else { return Ok(Some(Wake::Nobody)) };
        let wanted = delivery.filter(|d| match d.qos {
            QoS::AtMostOnce => offset >= f.qos0_from,
            QoS::AtLeastOnce => true,
            QoS::ExactlyOnce => offset >= f.qos2_from,
        });
        let Some(delivery) = wanted else {
            f.mode = Mode::Behind { next: offset + 1 };
            return Ok(Some(Wake::Nobody));
        };
        let lag = f.partition.end().saturating_sub(offset);
        if full && (delivery.qos != QoS::AtMostOnce || lag <= self.limits.qos0_lag) {
            inner.pump_waits = Some(delivery.qos);
            return Err(delivery);
        }
        f.mode = Mode::Behind { next: offset + 1 };
        if full {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(Wake::Nobody));
        }
        Ok(Some(self.push(inner, delivery)))
    }

    /// The pump moved a cursor past records that do not concern it, and tries to hand the partition back to the
    /// tail. `None`: the connection is over.
    pub(super) fn pump_to(&self, epoch: u64, partition: PartitionId, next: i64) -> Option<()> {
        let inner = &mut *self.inner.lock();
        if inner.epoch != epoch {
            return None;
        }
        if let Some(f) = inner.followed.get_mut(&partition) {
            f.mode = Mode::Behind { next };
            f.join();
        }
        Some(())
    }

    /// Partitions the pump has to read, each with its next offset; with none left the pump is over.
    pub(super) fn lagging(&self, epoch: u64) -> Vec<(Arc<Partition>, i64)> {
        let inner = &mut *self.inner.lock();
        if inner.epoch != epoch {
            return Vec::new();
        }
        let lagging: Vec<_> = inner
            .followed
            .values()
            .filter_map(|f| match f.mode {
                Mode::Behind { next } if f.follows => Some((f.partition.clone(), next)),
                _ => None,
            })
            .collect();
        if lagging.is_empty() {
            inner.pump = false;
        }
        lagging
    }

    /// The number of the current connection.
    pub(super) fn epoch(&self) -> u64 {
        self.inner.lock().epoch
    }
}
