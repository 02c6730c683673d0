//! Shared subscriptions: a group is a consumer of its own, with a queue and cursors, out of which its members take
//! what they have room for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use mqtt_codec::QoS;
use parking_lot::Mutex;

use super::consumer::{Consumer, Cursor, Delivery};
use crate::message::Position;
use crate::subscriptions::Subscription;

/// The members that share one filter under one name.
#[derive(Debug)]
pub(crate) struct ShareGroup {
    /// `$share/{group}/{filter}`; of a replay see [`ShareGroup::name_of`].
    pub(crate) name: Box<str>,
    /// The filter under which its members keep their subscription.
    pub(crate) filter: Box<str>,
    /// It is a replay of one session's, not a group of several.
    pub(crate) replays: bool,
    /// Its queue and cursors.
    pub(crate) consumer: Arc<Consumer>,
    members: Mutex<Members>,
    /// QoS 1 and 2 messages that members took and have not acknowledged.
    taken: Mutex<BTreeMap<Position, usize>>,
    /// Members that were called one after the other and took nothing.
    passed: AtomicUsize,
    /// All were called in vain: the next that has room may take without being called.
    stalled: AtomicBool,
    /// Its cursors when its last member left.
    last: OnceLock<Vec<Cursor>>,
}

#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    next: usize,
}

#[derive(Debug)]
struct Member {
    consumer: Arc<Consumer>,
    online: bool,
    persistent: bool,
    /// It is this member's turn.
    called: bool,
}

impl ShareGroup {
    /// The name of the group behind a subscription to `filter`; a replay's is nobody else's.
    pub(super) fn name_of(member: &Consumer, filter: &str, s: &Subscription) -> Box<str> {
        if s.replays {
            return format!("{filter}\u{1}{}", String::from_utf8_lossy(&member.client_id)).into();
        }
        filter.into()
    }

    pub(super) fn new(name: Box<str>, filter: &str, consumer: Arc<Consumer>) -> Arc<Self> {
        let group = Arc::new(Self {
            name,
            filter: filter.into(),
            replays: consumer.replays,
            consumer,
            members: Mutex::default(),
            taken: Mutex::default(),
            passed: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            last: OnceLock::new(),
        });
        group.consumer.set_share(&group);
        group
    }

    /// Adds a member, or notes whether it is online now; `true` when it is the first that is.
    pub(super) fn enter(&self, consumer: &Arc<Consumer>, online: bool, persistent: bool) -> bool {
        let mut members = self.members.lock();
        let first = online && !members.list.iter().any(|m| m.online);
        match members.list.iter_mut().find(|m| m.consumer.id == consumer.id) {
            Some(m) => {
                m.online = online;
                m.persistent |= persistent;
            }
            None => {
                members.list.push(Member { consumer: consumer.clone(), online, persistent, called: false })
            }
        }
        first
    }

    /// A member's connection ended; `true` when no other member is online.
    pub(super) fn pause(&self, consumer: &Consumer) -> bool {
        let mut members = self.members.lock();
        if let Some(m) = members.list.iter_mut().find(|m| m.consumer.id == consumer.id) {
            m.online = false;
            m.called = false;
        }
        let last = !members.list.iter().any(|m| m.online);
        drop(members);
        self.wake();
        last
    }

    /// A member leaves for good; `true` when the group is empty.
    pub(super) fn leave(&self, consumer: &Consumer) -> bool {
        let mut members = self.members.lock();
        members.list.retain(|m| m.consumer.id != consumer.id);
        let empty = members.list.is_empty();
        drop(members);
        self.wake();
        empty
    }

    /// Number of members, connected or not.
    pub(crate) fn members(&self) -> usize {
        self.members.lock().list.len()
    }

    /// Whether some member is there to take messages.
    pub(crate) fn is_attended(&self) -> bool {
        self.members.lock().list.iter().any(|m| m.online)
    }

    /// Whether some member's session outlives its connection: then the group's cursors belong in the log.
    pub(crate) fn is_persistent(&self) -> bool {
        self.members.lock().list.iter().any(|m| m.persistent)
    }

    /// Something is in the queue: wakes one member, each in its turn.
    pub(super) fn wake(&self) {
        self.passed.store(0, Ordering::SeqCst);
        self.stalled.store(false, Ordering::SeqCst);
        self.call_next();
    }

    fn call_next(&self) {
        let members = &mut *self.members.lock();
        let count = members.list.len();
        for _ in 0..count {
            let at = members.next % count;
            members.next = at + 1;
            if let Some(m) = members.list.get_mut(at).filter(|m| m.online) {
                m.called = true;
                m.consumer.ready.notify_one();
                return;
            }
        }
    }

    /// A member that cannot send now leaves its turn to the next one.
    pub(crate) fn decline(&self, member: &Consumer) {
        let mut members = self.members.lock();
        let online = members.list.iter().filter(|m| m.online).count();
        let own = members.list.iter_mut().find(|m| m.consumer.id == member.id);
        let called = own.is_some_and(|m| std::mem::take(&mut m.called));
        drop(members);
        if called {
            self.pass_on(online);
        }
    }

    fn pass_on(&self, online: usize) {
        if self.passed.fetch_add(1, Ordering::SeqCst) < online {
            self.call_next();
        } else {
            self.stalled.store(true, Ordering::SeqCst);
        }
    }

    /// A member whose turn it is takes its part of what is queued; the next one is called for the rest.
    pub(crate) fn take(&self, member: &Consumer, window: usize, out: &mut Vec<Delivery>) {
        let (called, online) = {
            let members = &mut *self.members.lock();
            let own = members.list.iter_mut().find(|m| m.consumer.id == member.id);
            let called = own.is_some_and(|m| std::mem::take(&mut m.called));
            (called, members.list.iter().filter(|m| m.online).count().max(1))
        };
        let takes_over = !called && window > 0 && self.stalled.swap(false, Ordering::SeqCst);
        if !called && !takes_over {
            return;
        }
        let waiting = self.consumer.queued();
        if waiting == 0 {
            return;
        }
        let before = out.len();
        self.consumer.take(waiting.div_ceil(online), window, out);
        let took = out.len() - before;
        for d in out.iter().skip(before) {
            if let Some(at) = d.message.position.filter(|_| d.qos != QoS::AtMostOnce) {
                *self.taken.lock().entry(at).or_insert(0) += 1;
            }
        }
        if took == waiting {
            return;
        }
        if took > 0 {
            self.wake();
        } else {
            self.pass_on(online);
        }
    }

    /// A message that a member took is done with.
    pub(crate) fn done(&self, at: Position) {
        let mut taken = self.taken.lock();
        if let Some(n) = taken.get_mut(&at) {
            *n -= 1;
            if *n == 0 {
                taken.remove(&at);
            }
        }
    }

    /// Messages that a member took and will not acknowledge, oldest first: for the others.
    pub(crate) fn give_back(&self, deliveries: Vec<Delivery>) {
        for d in &deliveries {
            if let Some(at) = d.message.position {
                self.done(at);
            }
        }
        self.consumer.put_back(deliveries);
        self.wake();
    }

    /// Its last member left: keeps the cursors before the consumer forgets them.
    pub(super) fn note_end(&self) {
        let _ = self.last.set(self.cursors());
    }

    /// The group's cursors: nothing that is not acknowledged lies before them.
    pub(crate) fn cursors(&self) -> Vec<Cursor> {
        if let Some(last) = self.last.get() {
            return last.clone();
        }
        let mut cursors = self.consumer.cursors();
        let taken = self.taken.lock();
        for c in &mut cursors {
            let first = Position { partition: c.partition, offset: i64::MIN };
            if let Some((at, _)) = taken.range(first..).next().filter(|(at, _)| at.partition == c.partition) {
                c.next = c.next.min(at.offset);
            }
        }
        cursors
    }
}
