//! Messages that come with QoS 1 and 2: in which order they are acknowledged, and which have come before.

use std::collections::{BTreeMap, HashMap, VecDeque};

use mqtt_codec::{PacketId, Publish, QoS};

/// Names a message that came, to acknowledge it by. Stays good over reconnections; after the broker has lost the
/// session it means nothing any more, and acknowledging it does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub(crate) qos: QoS,
    pub(crate) number: u64,
    id: u16,
    session: u64,
}

impl Token {
    /// QoS the message came with.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Its packet identifier; 0 at QoS 0.
    pub fn packet_id(&self) -> u16 {
        self.id
    }

    /// Which of the broker's sessions with us it belongs to; compare with [`crate::Client::session`].
    pub fn session(&self) -> u64 {
        self.session
    }
}

/// Tells messages under one packet identifier apart.
pub fn fingerprint(message: &Publish) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(message.topic.bytes()), &message.payload)
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    id: u16,
    print: u32,
    done: bool,
}

/// A message of an earlier connection.
#[derive(Clone, Copy, Debug)]
struct Carried {
    number: u64,
    print: u32,
    done: bool,
}

/// Messages of one QoS in the order they came on this connection: acknowledged from the front, since MQTT wants
/// acknowledgements in the order of the messages.
#[derive(Debug, Default)]
struct Ring {
    slots: VecDeque<Slot>,
    /// Number of the first slot.
    base: u64,
    /// Messages of earlier connections that were not acknowledged: when the broker sends one again, it is known.
    carried: HashMap<u16, Carried>,
    /// Under which number a carried message has come again.
    renamed: HashMap<u64, u64>,
}

impl Ring {
    /// A message comes; its number when it is a new one.
    fn receive(&mut self, id: u16, print: u32, dup: bool) -> Option<u64> {
        let number = self.base + self.slots.len() as u64;
        // Without the DUP flag it is another message: the broker has dropped the one that had this identifier. With
        // another content too: a broker that was killed may number anew what it sends again.
        let known = self.carried.remove(&id).filter(|known| dup && known.print == print);
        self.slots.push_back(Slot { id, print, done: known.is_some_and(|known| known.done) });
        let Some(known) = known else { return Some(number) };
        if !known.done {
            self.renamed.insert(known.number, number);
        }
        None
    }

    fn done(&mut self, number: u64) {
        let number = self.renamed.remove(&number).unwrap_or(number);
        match number.checked_sub(self.base) {
            Some(place) => {
                if let Some(slot) = usize::try_from(place).ok().and_then(|p| self.slots.get_mut(p)) {
                    slot.done = true;
                }
            }
            None => {
                if let Some(carried) = self.carried.values_mut().find(|c| c.number == number) {
                    carried.done = true;
                }
            }
        }
    }

    /// The identifier of the next message to acknowledge.
    fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front_if(|slot| slot.done)?;
        self.base += 1;
        Some(slot)
    }

    /// The connection is gone; the session may go on.
    fn carry(&mut self) {
        let back: HashMap<u64, u64> = self.renamed.drain().map(|(old, new)| (new, old)).collect();
        for (number, slot) in (self.base..).zip(self.slots.drain(..)) {
            let first = back.get(&number).copied().unwrap_or(number);
            self.carried.insert(slot.id, Carried { number: first, print: slot.print, done: slot.done });
            self.base += 1;
        }
    }

    /// The session is gone. Numbers given out stay used.
    fn forget(&mut self) {
        self.base += self.slots.len() as u64;
        self.slots.clear();
        self.carried.clear();
        self.renamed.clear();
    }
}

/// What became of a message that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// To be handed out.
    New(Token),
    /// It is with the caller already.
    Pending,
    /// A QoS 2 message that was acknowledged: PUBREC again.
    Recorded,
}

/// All messages that came and are not through.
#[derive(Debug)]
pub(crate) struct Inbound {
    at_least_once: Ring,
    exactly_once: Ring,
    /// QoS 2 messages acknowledged with PUBREC, until PUBCOMP, with their fingerprints.
    recorded: BTreeMap<u16, u32>,
    session: u64,
}

impl Inbound {
    pub(crate) fn new(recorded: BTreeMap<u16, u32>) -> Self {
        Self { at_least_once: Ring::default(), exactly_once: Ring::default(), recorded, session: 0 }
    }

    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    pub(crate) fn receive(&mut self, message: &Publish) -> Received {
        let (qos, dup) = (message.qos, message.dup);
        let id = message.packet_id.map_or(0, PacketId::get);
        let token = |number| Token { qos, number, id, session: self.session };
        match qos {
            QoS::AtMostOnce => Received::New(token(0)),
            QoS::AtLeastOnce => match self.at_least_once.receive(id, fingerprint(message), dup) {
                Some(number) => Received::New(token(number)),
                None => Received::Pending,
            },
            QoS::ExactlyOnce => {
                let print = fingerprint(message);
                // A message of another session may have been recorded under this identifier.
                if self.recorded.get(&id) == Some(&print) {
                    return Received::Recorded;
                }
                match self.exactly_once.receive(id, print, dup) {
                    Some(number) => Received::New(token(number)),
                    None => Received::Pending,
                }
            }
        }
    }

    /// The caller has done with a message.
    pub(crate) fn done(&mut self, token: Token) {
        if token.session != self.session {
            return;
        }
        match token.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.at_least_once.done(token.number),
            QoS::ExactlyOnce => self.exactly_once.done(token.number),
        }
    }

    /// The next PUBACK to send.
    pub(crate) fn pop_puback(&mut self) -> Option<u16> {
        self.at_least_once.pop().map(|slot| slot.id)
    }

    /// The next PUBREC to send.
    pub(crate) fn pop_pubrec(&mut self) -> Option<u16> {
        let slot = self.exactly_once.pop()?;
        self.recorded.insert(slot.id, slot.print);
        Some(slot.id)
    }

    /// PUBREL came: whether there is something to release.
    pub(crate) fn is_recorded(&self, id: u16) -> bool {
        self.recorded.contains_key(&id)
    }

    /// PUBCOMP is sent.
    pub(crate) fn complete(&mut self, id: u16) {
        self.recorded.remove(&id);
    }

    /// Messages of one kind that were not acknowledged, the larger number.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.at_least_once.slots.len().max(self.exactly_once.slots.len())
    }

    pub(crate) fn connection_lost(&mut self) {
        self.at_least_once.carry();
        self.exactly_once.carry();
    }

    pub(crate) fn session_lost(&mut self) {
        self.at_least_once.forget();
        self.exactly_once.forget();
        self.recorded.clear();
        self.session += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(qos: QoS, id: u16, dup: bool, topic: &str) -> Publish {
        Publish { qos, packet_id: PacketId::new(id), dup, topic: topic.into(), ..Publish::default() }
    }

    fn come(inbound: &mut Inbound, qos: QoS, id: u16, dup: bool) -> Received {
        inbound.receive(&message(qos, id, dup, "t"))
    }

    fn new(inbound: &mut Inbound, qos: QoS, id: u16, dup: bool) -> Token {
        match come(inbound, qos, id, dup) {
            Received::New(token) => token,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn acknowledgements_go_in_the_order_of_the_messages() {
        let mut inbound = Inbound::new(BTreeMap::new());
        let [a, b, c] = [7, 8, 9].map(|id| new(&mut inbound, QoS::AtLeastOnce, id, false));
        inbound.done(c);
        inbound.done(b);
        assert_eq!(inbound.pop_puback(), None);
        inbound.done(a);
        assert_eq!([(); 4].map(|()| inbound.pop_puback()), [Some(7), Some(8), Some(9), None]);
    }

    #[test]
    fn a_message_sent_again_is_not_handed_out_while_the_caller_has_it() {
        let mut inbound = Inbound::new(BTreeMap::new());
        let [a, b, c] = [1, 2, 3].map(|id| new(&mut inbound, QoS::AtLeastOnce, id, false));
        inbound.done(b);
        inbound.connection_lost();
        inbound.done(c);
        assert_eq!(come(&mut inbound, QoS::AtLeastOnce, 1, true), Received::Pending);
        assert_eq!(come(&mut inbound, QoS::AtLeastOnce, 2, true), Received::Pending);
        // Lost once more before anything was acknowledged.
        inbound.connection_lost();
        for id in 1..=3 {
            assert_eq!(come(&mut inbound, QoS::AtLeastOnce, id, true), Received::Pending);
        }
        assert_eq!(inbound.pop_puback(), None);
        inbound.done(a);
        assert_eq!([(); 4].map(|()| inbound.pop_puback()), [Some(1), Some(2), Some(3), None]);
        // The identifier is free again.
        new(&mut inbound, QoS::AtLeastOnce, 1, false);
    }

    #[test]
    fn another_message_under_the_same_identifier_is_handed_out() {
        let mut inbound = Inbound::new(BTreeMap::new());
        let old = new(&mut inbound, QoS::AtLeastOnce, 1, false);
        inbound.connection_lost();
        // Whether the flag says so, or the content.
        let other = new(&mut inbound, QoS::AtLeastOnce, 1, false);
        inbound.connection_lost();
        assert_eq!(come(&mut inbound, QoS::AtLeastOnce, 1, true), Received::Pending);
        inbound.connection_lost();
        let renumbered = inbound.receive(&message(QoS::AtLeastOnce, 1, true, "u"));
        let Received::New(renumbered) = renumbered else { panic!("{renumbered:?}") };
        inbound.done(other);
        assert_eq!(inbound.pop_puback(), None);
        inbound.done(renumbered);
        assert_eq!(inbound.pop_puback(), Some(1));
        let other = new(&mut inbound, QoS::AtLeastOnce, 1, false);
        inbound.done(old);
        assert_eq!(inbound.pop_puback(), None);
        inbound.done(other);
        assert_eq!(inbound.pop_puback(), Some(1));
    }

    #[test]
    fn what_was_recorded_is_recorded_until_pubcomp() {
        let print = fingerprint(&message(QoS::ExactlyOnce, 5, true, "t"));
        let mut inbound = Inbound::new(BTreeMap::from([(5, print)]));
        assert_eq!(come(&mut inbound, QoS::ExactlyOnce, 5, true), Received::Recorded);
        inbound.complete(5);
        let token = new(&mut inbound, QoS::ExactlyOnce, 5, true);
        inbound.done(token);
        assert_eq!(inbound.pop_pubrec(), Some(5));
        inbound.connection_lost();
        assert_eq!(come(&mut inbound, QoS::ExactlyOnce, 5, true), Received::Recorded);
        assert!(inbound.is_recorded(5));
    }

    #[test]
    fn a_message_of_another_session_is_not_taken_for_the_recorded_one() {
        let mut inbound = Inbound::new(BTreeMap::from([(5, 99)]));
        let token = new(&mut inbound, QoS::ExactlyOnce, 5, false);
        inbound.done(token);
        assert_eq!(inbound.pop_pubrec(), Some(5));
        // The same content is the same message, whatever the flag says.
        assert_eq!(come(&mut inbound, QoS::ExactlyOnce, 5, false), Received::Recorded);
    }

    #[test]
    fn nothing_outlives_the_session() {
        let mut inbound = Inbound::new(BTreeMap::from([(5, 99)]));
        let old = new(&mut inbound, QoS::AtLeastOnce, 1, false);
        inbound.connection_lost();
        inbound.session_lost();
        assert!(!inbound.is_recorded(5));
        let fresh = new(&mut inbound, QoS::AtLeastOnce, 1, false);
        inbound.done(old);
        assert_eq!(inbound.pop_puback(), None);
        inbound.done(fresh);
        assert_eq!(inbound.pop_puback(), Some(1));
    }
}
