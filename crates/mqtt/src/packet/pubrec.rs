//! PUBREC: a QoS 2 delivery has arrived; once that is in the log, PUBREL.

use mqtt_codec::{Ack, PacketId, ReasonCode};

use crate::net::{Close, Connection, Step};
use crate::session::Acked;
use crate::session::record::SlotState;

impl Connection {
    pub(super) fn handle_pubrec(&mut self, ack: &Ack) -> Result<(), Close> {
        match self.session.outbound.pubrec(ack.packet_id, ack.reason.is_error()) {
            Acked::Wrong => Err(Close::Quiet("PUBREC for a publish that has none".to_owned())),
            Acked::Done => {
                self.session.dirty = true;
                Ok(())
            }
            Acked::Release => {
                self.send_pubrel(ack.packet_id, ReasonCode::Success);
                Ok(())
            }
            Acked::StoreRelease(slot) => {
                self.store_release(ack.packet_id, slot);
                Ok(())
            }
            Acked::Wait => Ok(()),
            Acked::Unknown => {
                // A bridge may have forgotten what the other broker remembers, and that is no error.
                let expected = self.link.is_some();
                let reason =
                    if expected { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
                self.send_pubrel(ack.packet_id, reason);
                Ok(())
            }
        }
    }

    /// Writes that PUBREC came; PUBREL follows.
    pub(crate) fn store_release(&mut self, id: PacketId, slot: u16) {
        let origin = self.session.outbound.entries().find(|e| e.id == id).map(|e| e.origin.clone());
        let part = origin.and_then(|origin| {
            self.broker.store.slot(&mut self.session, slot, id, &origin, SlotState::Release)
        });
        let Some(part) = part else { return };
        let written = self.broker.store.write(&self.session.client_id, vec![part]);
        self.later(async move { Step::ReleaseStored { id, result: written.await } });
    }
}
