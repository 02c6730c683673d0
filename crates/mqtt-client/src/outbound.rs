//! Messages that go out with QoS 1 and 2, kept until the broker has acknowledged them.

use std::collections::{HashSet, VecDeque};

use mqtt_codec::{PacketId, Publish, QoS};

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Not sent on this connection.
    Waiting,
    /// Sent; PUBACK or PUBREC is awaited.
    Sent,
    /// PUBREL is sent; PUBCOMP is awaited.
    Released,
}

#[derive(Debug)]
struct Outgoing {
    tag: u64,
    id: PacketId,
    message: Publish,
    progress: Progress,
    sent_before: bool,
}

/// What to send next.
#[derive(Debug)]
pub(crate) enum Send {
    Publish(Publish),
    PubRel(PacketId),
}

/// All messages that are not acknowledged, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    messages: VecDeque<Outgoing>,
    ids: HashSet<u16>,
    last: u16,
    /// Messages at the front that were sent on this connection.
    sent: usize,
    quota: usize,
}

impl Outbound {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Takes a message; `false` when all packet identifiers are in use.
    pub(crate) fn push(&mut self, tag: u64, mut message: Publish) -> bool {
        if self.messages.len() >= usize::from(u16::MAX) {
            return false;
        }
        let id = loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if self.ids.insert(self.last) {
                break PacketId::new(self.last).unwrap_or(PacketId::MIN);
            }
        };
        message.packet_id = Some(id);
        self.messages.push_back(Outgoing {
            tag,
            id,
            message,
            progress: Progress::Waiting,
            sent_before: false,
        });
        true
    }

    /// A connection begins. Without a session what was not taken by the broker is sent as new; what it has taken
    /// (PUBREC) is through, and its tags are answered.
    pub(crate) fn begin(&mut self, quota: u16, session_present: bool) -> Vec<u64> {
        self.quota = quota.into();
        self.sent = 0;
        let mut through = Vec::new();
        if !session_present {
            let ids = &mut self.ids;
            self.messages.retain_mut(|m| {
                m.sent_before = false;
                let taken = m.progress == Progress::Released;
                if taken {
                    ids.remove(&m.id.get());
                    through.push(m.tag);
                }
                !taken
            });
        }
        through
    }

    pub(crate) fn connection_lost(&mut self) {
        for m in &mut self.messages {
            if m.progress == Progress::Sent {
                m.progress = Progress::Waiting;
                m.sent_before = true;
            }
        }
        self.sent = 0;
    }

    /// The next packet that the broker's quota allows.
    pub(crate) fn next(&mut self) -> Option<Send> {
        if self.sent >= self.quota {
            return None;
        }
        let next = self.messages.get_mut(self.sent)?;
        self.sent += 1;
        if next.progress == Progress::Released {
            return Some(Send::PubRel(next.id));
        }
        next.progress = Progress::Sent;
        let mut message = next.message.clone();
        message.dup = next.sent_before;
        Some(Send::Publish(message))
    }

    fn find(&self, id: PacketId) -> Option<usize> {
        // Acknowledgements come in order, so it is the first or near it.
        self.messages.iter().take(self.sent).position(|m| m.id == id)
    }

    /// PUBACK, PUBCOMP or a refusing PUBREC: the tag of the message that is through; `Err` when it has another QoS.
    pub(crate) fn finish(&mut self, id: PacketId, qos: QoS) -> Result<Option<u64>, ()> {
        let Some(place) = self.find(id) else { return Ok(None) };
        if self.messages.get(place).is_some_and(|m| m.message.qos != qos) {
            return Err(());
        }
        self.sent -= 1;
        self.ids.remove(&id.get());
        Ok(self.messages.remove(place).map(|m| m.tag))
    }

    /// PUBREC: whether PUBREL is to be sent.
    pub(crate) fn release(&mut self, id: PacketId) -> bool {
        let place = self.find(id);
        match place.and_then(|p| self.messages.get_mut(p)).filter(|m| m.message.qos == QoS::ExactlyOnce) {
            Some(m) => {
                m.progress = Progress::Released;
                // Only its identifier is needed from here on.
                m.message.payload = bytes::Bytes::new();
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(qos: QoS) -> Publish {
        Publish { qos, topic: "t".into(), ..Publish::default() }
    }

    fn sent(outbound: &mut Outbound) -> Vec<String> {
        std::iter::from_fn(|| outbound.next())
            .map(|s| match s {
                Send::Publish(p) => format!("{}{}", p.packet_id.unwrap().get(), if p.dup { "d" } else { "" }),
                Send::PubRel(id) => format!("rel {}", id.get()),
            })
            .collect()
    }

    #[test]
    fn the_quota_holds_and_what_is_unfinished_goes_again() {
        let mut outbound = Outbound::default();
        outbound.begin(2, false);
        for tag in 10..13 {
            assert!(outbound.push(tag, message(QoS::ExactlyOnce)));
        }
        assert_eq!(sent(&mut outbound), ["1", "2"]);
        let [one, two, three] = [1, 2, 3].map(|n| PacketId::new(n).unwrap());
        assert!(outbound.release(one));
        assert!(!outbound.release(three), "not sent yet");
        assert_eq!(outbound.finish(two, QoS::AtLeastOnce), Err(()));
        outbound.connection_lost();
        assert_eq!(outbound.begin(10, true), [0u64; 0]);
        assert_eq!(sent(&mut outbound), ["rel 1", "2d", "3"]);
        assert_eq!(outbound.finish(one, QoS::ExactlyOnce), Ok(Some(10)));
        assert_eq!(outbound.finish(one, QoS::ExactlyOnce), Ok(None));
        assert!(outbound.release(two));
        // The broker has forgotten us: what it had taken is through, the rest is new to it.
        outbound.connection_lost();
        assert_eq!(outbound.begin(10, false), [11]);
        assert_eq!(sent(&mut outbound), ["3"]);
        assert_eq!(outbound.len(), 1);
    }

    #[test]
    fn identifiers_in_use_are_passed_over() {
        let mut outbound = Outbound::default();
        outbound.begin(u16::MAX, false);
        for tag in 0..u64::from(u16::MAX) {
            assert!(outbound.push(tag, message(QoS::AtLeastOnce)));
        }
        assert!(!outbound.push(0, message(QoS::AtLeastOnce)));
        while outbound.next().is_some() {}
        let seven = PacketId::new(7).unwrap();
        assert_eq!(outbound.finish(seven, QoS::AtLeastOnce), Ok(Some(6)));
        assert!(outbound.push(1, message(QoS::AtLeastOnce)));
        assert_eq!(sent(&mut outbound), ["7"]);
    }
}
