//! QoS 2 publishes on their way in: from PUBLISH to PUBCOMP.

use hashbrown::{HashMap, HashSet};
use mqtt_codec::PacketId;

/// Where an inbound QoS 2 publish stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Record and packet identifier are being written.
    Storing,
    /// PUBREC was (or will be) sent.
    Received,
    /// The release is being written.
    Releasing,
}

/// What to do with a QoS 2 PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step2 {
    /// It is new: write it, then send PUBREC.
    Store,
    /// It was stored before: send PUBREC again.
    Again,
    /// It is being stored: PUBREC will come.
    Wait,
    /// It came too often on one connection, on which nothing may be sent again at all.
    TooOften,
}

/// What to do with a PUBREL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rel {
    /// Write the release, then send PUBCOMP.
    Release,
    /// Not known: send PUBCOMP with reason 0x92.
    Unknown,
    /// It is being released: PUBCOMP will come.
    Wait,
}

/// Packet identifiers of QoS 2 publishes received and not released. At most 65,535 by their nature; a v5 client is
/// held to the receive maximum before it comes to this.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    packets: HashMap<PacketId, State>,
    /// Those that were answered again on this connection.
    repeated: HashSet<PacketId>,
}

impl Inbound {
    /// A new connection begins.
    pub(crate) fn new_connection(&mut self) {
        self.repeated.clear();
    }

    /// A QoS 2 PUBLISH came.
    pub(crate) fn publish(&mut self, id: PacketId) -> Step2 {
        match self.packets.get(&id) {
            None => {
                self.packets.insert(id, State::Storing);
                Step2::Store
            }
            Some(State::Storing) => Step2::Wait,
            // A release in progress means the sender reused the id too early; it stays one publish.
            Some(State::Received | State::Releasing) => {
                if self.repeated.insert(id) {
                    Step2::Again
                } else {
                    Step2::TooOften
                }
            }
        }
    }

    /// The write of a PUBLISH ended; a refused one is forgotten (PUBREC carries an error, the flow is over).
    pub(crate) fn stored(&mut self, id: PacketId, accepted: bool) {
        if accepted {
            self.packets.insert(id, State::Received);
        } else {
            self.packets.remove(&id);
        }
    }

    /// The sender has lost its session: what it sends from now on is new. Answers what was known.
    pub(crate) fn sender_forgot(&mut self) -> Vec<PacketId> {
        self.packets.drain().map(|(id, _)| id).collect()
    }

    /// The connection ended and nothing is under way any more: what is not stored by now never will be.
    pub(crate) fn forget_unstored(&mut self) {
        self.packets.retain(|_, state| *state != State::Storing);
    }

    /// PUBREL came.
    pub(crate) fn pubrel(&mut self, id: PacketId) -> Rel {
        match self.packets.get_mut(&id) {
            None | Some(State::Storing) => Rel::Unknown,
            Some(state @ State::Received) => {
                *state = State::Releasing;
                Rel::Release
            }
            Some(State::Releasing) => Rel::Wait,
        }
    }

    /// The release is written; PUBCOMP goes out.
    pub(crate) fn released(&mut self, id: PacketId) {
        self.repeated.remove(&id);
        self.packets.remove(&id);
    }

    /// The release could not be written.
    pub(crate) fn release_failed(&mut self, id: PacketId) {
        self.packets.insert(id, State::Received);
    }

    /// Publishes not released.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    /// A packet identifier read from the log.
    pub(crate) fn restore(&mut self, id: PacketId) {
        self.packets.insert(id, State::Received);
    }

    /// All packet identifiers.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PacketId> + '_ {
        self.packets.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn a_duplicate_is_answered_and_not_stored_again() {
        let mut s = Inbound::default();
        assert_eq!(s.publish(id(7)), Step2::Store);
        assert_eq!(s.publish(id(7)), Step2::Wait);
        s.stored(id(7), true);
        assert_eq!(s.publish(id(7)), Step2::Again);
        assert_eq!(s.publish(id(7)), Step2::TooOften);
        s.new_connection();
        assert_eq!(s.publish(id(7)), Step2::Again);
        assert_eq!(s.pubrel(id(7)), Rel::Release);
        assert_eq!(s.pubrel(id(7)), Rel::Wait);
        s.released(id(7));
        assert_eq!(s.pubrel(id(7)), Rel::Unknown);
        assert_eq!(s.publish(id(7)), Step2::Store);
    }

    #[test]
    fn a_refused_publish_frees_its_id() {
        let mut s = Inbound::default();
        assert_eq!(s.publish(id(1)), Step2::Store);
        assert_eq!(s.pubrel(id(1)), Rel::Unknown);
        s.stored(id(1), false);
        assert_eq!(s.len(), 0);
        assert_eq!(s.publish(id(1)), Step2::Store);
    }

    #[test]
    fn what_was_never_stored_is_new_to_the_next_connection() {
        let mut s = Inbound::default();
        s.publish(id(1));
        s.publish(id(2));
        s.stored(id(2), true);
        s.forget_unstored();
        assert_eq!(s.publish(id(1)), Step2::Store);
        assert_eq!(s.publish(id(2)), Step2::Again);
    }

    #[test]
    fn restored_ids_are_known() {
        let mut s = Inbound::default();
        s.restore(id(9));
        assert_eq!(s.publish(id(9)), Step2::Again);
        assert_eq!(s.pubrel(id(9)), Rel::Release);
        s.release_failed(id(9));
        assert_eq!(s.pubrel(id(9)), Rel::Release);
    }
}
