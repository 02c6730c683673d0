//! QoS 1 and 2 publishes on their way out: packet identifiers, the window, and what to send again.

use std::collections::VecDeque;
use std::sync::Arc;

use mqtt_codec::{PacketId, QoS};

use crate::deliver::{Delivery, ShareGroup};
use crate::message::{Message, Position};

/// What is being sent. The message of one restored from the log is read when the session resumes.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The message, once read.
    pub(crate) message: Option<Arc<Message>>,
    /// Its place in the log; `None` for `$SYS`.
    pub(crate) position: Option<Position>,
    /// QoS it is sent with: 1 or 2.
    pub(crate) qos: QoS,
    /// RETAIN as sent.
    pub(crate) retain: bool,
    /// Subscription identifiers sent with it.
    pub(crate) subscription_ids: Vec<u32>,
    /// Its position is in `__mqtt_retained`.
    pub(crate) from_retained: bool,
    /// It was taken from this share group.
    pub(crate) share: Option<Arc<ShareGroup>>,
}

impl From<Delivery> for Origin {
    fn from(d: Delivery) -> Self {
        Self {
            position: d.message.position,
            message: Some(d.message),
            qos: d.qos,
            retain: d.retain,
            subscription_ids: d.subscription_ids,
            from_retained: d.from_retained,
            share: None,
        }
    }
}

/// Where an outbound publish stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its packet identifier is being written to the log; nothing was sent.
    Storing,
    /// PUBLISH was sent, the acknowledgement (PUBACK or PUBREC) is awaited.
    Published,
    /// PUBREC came and is being written to the log.
    StoringRelease,
    /// PUBREL was sent, PUBCOMP is awaited.
    Released,
}

/// One publish under way.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Packet identifier.
    pub(crate) id: PacketId,
    /// What is sent.
    pub(crate) origin: Origin,
    /// How far it got.
    pub(crate) state: State,
    /// Number of its record in the log, for QoS 2 of a persistent session.
    pub(crate) slot: Option<u16>,
}

/// What comes next after a delivery was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send PUBLISH.
    Send,
    /// Write this slot first.
    Store(u16),
}

/// What an acknowledgement meant.
#[derive(Debug)]
pub(crate) enum Acked {
    /// The delivery is over.
    Done,
    /// PUBREC: send PUBREL.
    Release,
    /// PUBREC: write this slot, then send PUBREL.
    StoreRelease(u16),
    /// Already being taken care of.
    Wait,
    /// No such packet identifier.
    Unknown,
    /// The identifier belongs to a publish of the other QoS, or of another step: a protocol error.
    Wrong,
}

/// What to send again on a new connection.
#[derive(Clone, Debug)]
pub(crate) enum Resend {
    /// PUBLISH, with DUP if it may have been sent before.
    Publish { id: PacketId, origin: Origin, dup: bool },
    /// PUBREL.
    Release { id: PacketId },
    /// PUBLISH, once this slot is in the log.
    Store { id: PacketId, slot: u16, origin: Origin },
    /// PUBREL, once this slot is in the log.
    StoreRelease { id: PacketId, slot: u16 },
}

/// All publishes under way to one client, in the order they were begun.
#[derive(Debug)]
pub(crate) struct Outbound {
    under_way: VecDeque<Entry>,
    next_id: PacketId,
    window: usize,
    slots_used: Vec<bool>,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { under_way: VecDeque::new(), next_id: PacketId::MIN, window: 0, slots_used: Vec::new() }
    }
}

impl Outbound {
    /// Sets how many may be under way at once on this connection.
    pub(crate) fn set_window(&mut self, window: usize) {
        self.window = window.max(1);
    }

    /// How many more may be begun.
    pub(crate) fn room(&self) -> usize {
        self.window.saturating_sub(self.under_way.len())
    }

    /// Publishes under way.
    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Takes out QoS 1 publishes that came from share groups: the session ends, and others shall get them.
    pub(crate) fn give_back_shared(&mut self) {
        let entries = std::mem::take(&mut self.under_way);
        for e in &entries {
            // One of QoS 2 may have arrived; the specification says that nobody else gets it.
            if let (Some(group), Some(at), QoS::ExactlyOnce) =
                (&e.origin.share, e.origin.position, e.origin.qos)
            {
                group.done(at);
            }
        }
        give_back(entries);
    }

    /// Gives QoS 1 publishes to other members of their groups, where there are any now: the connection is lost, and
    /// nobody knows when the client is back.
    pub(crate) fn hand_over_shared(&mut self) {
        let leaves = |e: &Entry| {
            e.origin.qos == QoS::AtLeastOnce
                && e.origin.message.is_some()
                && e.origin.share.as_ref().is_some_and(|group| group.is_attended())
        };
        let (leaving, staying) = std::mem::take(&mut self.under_way).into_iter().partition(leaves);
        self.under_way = staying;
        give_back(leaving);
    }

    /// Whether a slot is in use.
    pub(crate) fn uses_slot(&self, slot: u16) -> bool {
        self.slots_used.get(usize::from(slot)).copied().unwrap_or(false)
    }

    /// Publishes under way, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.under_way.iter()
    }

    /// The identifier that would be handed out next.
    pub(crate) fn next_id(&self) -> PacketId {
        self.next_id
    }

    /// Begins a delivery; `durable` when QoS 2 steps must be in the log first.
    pub(crate) fn admit(&mut self, origin: Origin, durable: bool) -> (PacketId, Next) {
        let id = self.free_id();
        self.next_id = id.next();
        let slot = (durable && origin.qos == QoS::ExactlyOnce).then(|| self.free_slot());
        let state = if slot.is_some() { State::Storing } else { State::Published };
        self.under_way.push_back(Entry { id, origin, state, slot });
        (id, slot.map_or(Next::Send, Next::Store))
    }

    /// Takes an identifier for a request of our own (a bridge's SUBSCRIBE).
    pub(crate) fn reserve_id(&mut self) -> PacketId {
        let id = self.free_id();
        self.next_id = id.next();
        id
    }

    /// Leaves out an identifier: for a delivery that was dropped before it was sent.
    pub(crate) fn skip_id(&mut self) {
        self.next_id = self.free_id().next();
    }

    fn free_id(&self) -> PacketId {
        let mut id = self.next_id;
        // The window is below 65,535, so there is a free one.
        while self.under_way.iter().any(|e| e.id == id) && self.under_way.len() < usize::from(u16::MAX) {
            id = id.next();
        }
        id
    }

    fn free_slot(&mut self) -> u16 {
        let free = self.slots_used.iter().position(|used| !used);
        let at = free.unwrap_or_else(|| {
            self.slots_used.push(false);
            self.slots_used.len() - 1
        });
        if let Some(used) = self.slots_used.get_mut(at) {
            *used = true;
        }
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    fn find(&mut self, id: PacketId) -> Option<&mut Entry> {
        self.under_way.iter_mut().find(|e| e.id == id)
    }

    fn finish(&mut self, id: PacketId) -> Acked {
        let Some(at) = self.under_way.iter().position(|e| e.id == id) else { return Acked::Unknown };
        let Some(entry) = self.under_way.remove(at) else { return Acked::Unknown };
        if let (Some(group), Some(at)) = (&entry.origin.share, entry.origin.position) {
            group.done(at);
        }
        if let Some(used) = entry.slot.and_then(|s| self.slots_used.get_mut(usize::from(s))) {
            *used = false;
        }
        Acked::Done
    }

    /// The slot of a delivery is in the log: PUBLISH may go out. `None` when there is no such delivery.
    pub(crate) fn stored(&mut self, id: PacketId) -> Option<&Entry> {
        let entry = self.find(id).filter(|e| e.state == State::Storing)?;
        entry.state = State::Published;
        Some(entry)
    }

    /// A delivery cannot be sent at all (too large for the receiver): as if it were done.
    pub(crate) fn give_up(&mut self, id: PacketId) {
        self.finish(id);
    }

    /// PUBACK came.
    pub(crate) fn puback(&mut self, id: PacketId) -> Acked {
        match self.find(id) {
            None => Acked::Unknown,
            Some(e) if e.origin.qos == QoS::AtLeastOnce => self.finish(id),
            Some(_) => Acked::Wrong,
        }
    }

    /// PUBREC came; with an error reason the delivery is over.
    pub(crate) fn pubrec(&mut self, id: PacketId, refused: bool) -> Acked {
        let Some(e) = self.find(id) else { return Acked::Unknown };
        if e.origin.qos != QoS::ExactlyOnce || e.state == State::Storing {
            return Acked::Wrong;
        }
        if refused {
            return self.finish(id);
        }
        match (e.state, e.slot) {
            (State::Published, Some(slot)) => {
                e.state = State::StoringRelease;
                Acked::StoreRelease(slot)
            }
            (State::StoringRelease, _) => Acked::Wait,
            _ => {
                e.state = State::Released;
                // The payload is not needed any more.
                e.origin.message = None;
                Acked::Release
            }
        }
    }

    /// PUBREC is in the log: PUBREL may go out. `false` when there is no such delivery.
    pub(crate) fn release_stored(&mut self, id: PacketId) -> bool {
        let Some(e) = self.find(id).filter(|e| e.state == State::StoringRelease) else { return false };
        e.state = State::Released;
        e.origin.message = None;
        true
    }

    /// PUBCOMP came.
    pub(crate) fn pubcomp(&mut self, id: PacketId) -> Acked {
        match self.find(id) {
            None => Acked::Unknown,
            Some(e) if e.state == State::Released => self.finish(id),
            Some(_) => Acked::Wrong,
        }
    }

    /// What a new connection has to send again, in order.
    pub(crate) fn resume(&mut self) -> Vec<Resend> {
        self.under_way
            .iter_mut()
            .map(|e| match (e.state, e.slot) {
                // Whether an interrupted write arrived is not known here: it is written again.
                (State::Storing, Some(slot)) => Resend::Store { id: e.id, slot, origin: e.origin.clone() },
                (State::StoringRelease, Some(slot)) => Resend::StoreRelease { id: e.id, slot },
                (State::Storing | State::Published, _) => {
                    Resend::Publish { id: e.id, origin: e.origin.clone(), dup: true }
                }
                (State::StoringRelease | State::Released, _) => {
                    e.state = State::Released;
                    Resend::Release { id: e.id }
                }
            })
            .collect()
    }

    /// Restores a delivery read from the log.
    pub(crate) fn restore(&mut self, entry: Entry) {
        if self.under_way.iter().any(|e| e.id == entry.id) {
            return;
        }
        if let Some(slot) = entry.slot {
            let slot = usize::from(slot);
            if self.slots_used.len() <= slot {
                self.slots_used.resize(slot + 1, false);
            }
            if let Some(used) = self.slots_used.get_mut(slot) {
                *used = true;
            }
        }
        self.under_way.push_back(entry);
    }

    /// Restores the next identifier.
    pub(crate) fn restore_next_id(&mut self, id: PacketId) {
        self.next_id = id;
    }

    /// Gives restored deliveries their messages; those that `read` cannot find are given up.
    pub(crate) fn restore_messages(&mut self, mut read: impl FnMut(&Position) -> Option<Arc<Message>>) {
        let mut lost = Vec::new();
        for e in &mut self.under_way {
            let needs = matches!(e.state, State::Storing | State::Published) && e.origin.message.is_none();
            if !needs {
                continue;
            }
            e.origin.message = e.origin.position.as_ref().and_then(&mut read);
            if e.origin.message.is_none() {
                lost.push(e.id);
            }
        }
        for id in lost {
            self.finish(id);
        }
    }

    /// Positions of restored deliveries whose messages have to be read.
    pub(crate) fn missing_messages(&self) -> Vec<Position> {
        self.under_way
            .iter()
            .filter(|e| matches!(e.state, State::Storing | State::Published) && e.origin.message.is_none())
            .filter_map(|e| e.origin.position)
            .collect()
    }
}

/// Gives QoS 1 publishes back to the share groups they came from, in their order.
fn give_back(entries: VecDeque<Entry>) {
    let mut by_group: Vec<(Arc<ShareGroup>, Vec<Delivery>)> = Vec::new();
    for e in entries.into_iter().filter(|e| e.origin.qos == QoS::AtLeastOnce) {
        let (Some(group), Some(message)) = (e.origin.share, e.origin.message) else { continue };
        let d = Delivery {
            qos: message.publication.qos,
            retain: message.publication.retain,
            message,
            subscription_ids: Vec::new(),
            from_retained: false,
        };
        match by_group.iter_mut().find(|(g, _)| Arc::ptr_eq(g, &group)) {
            Some((_, list)) => list.push(d),
            None => by_group.push((group, vec![d])),
        }
    }
    for (group, list) in by_group {
        group.give_back(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    fn origin(qos: QoS) -> Origin {
        Origin {
            message: None,
            position: None,
            qos,
            retain: false,
            subscription_ids: Vec::new(),
            from_retained: false,
            share: None,
        }
    }

    fn text(resend: &[Resend]) -> String {
        resend
            .iter()
            .map(|r| match r {
                Resend::Publish { id, dup, .. } => format!("publish {id}{}", if *dup { " dup" } else { "" }),
                Resend::Release { id } => format!("pubrel {id}"),
                Resend::Store { id, slot, .. } => format!("store {id} in {slot}"),
                Resend::StoreRelease { id, slot } => format!("store release {id} in {slot}"),
            })
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[test]
    fn ids_count_from_one_and_skip_those_in_use() {
        let mut s = Outbound::default();
        s.set_window(10);
        assert_eq!(s.admit(origin(QoS::AtLeastOnce), true), (id(1), Next::Send));
        assert_eq!(s.admit(origin(QoS::AtLeastOnce), true), (id(2), Next::Send));
        assert!(matches!(s.puback(id(1)), Acked::Done));
        s.restore_next_id(id(65_535));
        assert_eq!(s.admit(origin(QoS::AtLeastOnce), true).0, id(65_535));
        assert_eq!(s.admit(origin(QoS::AtLeastOnce), true).0, id(1));
        assert_eq!(s.admit(origin(QoS::AtLeastOnce), true).0, id(3));
        assert_eq!(s.room(), 6);
    }

    #[test]
    fn qos2_waits_for_the_log_twice() {
        let mut s = Outbound::default();
        s.set_window(10);
        assert_eq!(s.admit(origin(QoS::ExactlyOnce), true), (id(1), Next::Store(0)));
        assert_eq!(s.admit(origin(QoS::ExactlyOnce), true), (id(2), Next::Store(1)));
        assert!(matches!(s.pubrec(id(1), false), Acked::Wrong));
        assert!(s.stored(id(1)).is_some());
        assert!(s.stored(id(1)).is_none());
        assert!(matches!(s.pubcomp(id(1)), Acked::Wrong));
        assert!(matches!(s.pubrec(id(1), false), Acked::StoreRelease(0)));
        assert!(matches!(s.pubrec(id(1), false), Acked::Wait));
        assert_eq!(text(&s.resume()), "store release 1 in 0, store 2 in 1");
        assert!(s.release_stored(id(1)));
        assert!(matches!(s.pubrec(id(1), false), Acked::Release));
        assert_eq!(text(&s.resume()), "pubrel 1, store 2 in 1");
        assert!(matches!(s.pubcomp(id(1)), Acked::Done));
        assert!(matches!(s.pubcomp(id(1)), Acked::Unknown));
        assert_eq!(s.admit(origin(QoS::ExactlyOnce), true), (id(3), Next::Store(0)));
    }

    #[test]
    fn without_a_log_qos2_goes_straight_through() {
        let mut s = Outbound::default();
        s.set_window(1);
        assert_eq!(s.admit(origin(QoS::ExactlyOnce), false), (id(1), Next::Send));
        assert_eq!(s.room(), 0);
        assert_eq!(text(&s.resume()), "publish 1 dup");
        assert!(matches!(s.pubrec(id(1), false), Acked::Release));
        assert!(matches!(s.pubcomp(id(1)), Acked::Done));
    }

    #[test]
    fn a_refusing_pubrec_ends_the_delivery() {
        let mut s = Outbound::default();
        s.set_window(1);
        s.admit(origin(QoS::ExactlyOnce), false);
        assert!(matches!(s.pubrec(id(1), true), Acked::Done));
        assert_eq!(s.len(), 0);
    }

    #[test]
    fn acknowledgements_of_the_other_qos_are_errors() {
        let mut s = Outbound::default();
        s.set_window(5);
        s.admit(origin(QoS::AtLeastOnce), false);
        s.admit(origin(QoS::ExactlyOnce), false);
        assert!(matches!(s.pubrec(id(1), false), Acked::Wrong));
        assert!(matches!(s.pubcomp(id(1)), Acked::Wrong));
        assert!(matches!(s.puback(id(2)), Acked::Wrong));
        assert!(matches!(s.puback(id(3)), Acked::Unknown));
    }
}
