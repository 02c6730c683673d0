//! PUBREL: the sender of a QoS 2 publish forgets it; once we have, PUBCOMP.

use mqtt_codec::{Ack, ReasonCode};

use crate::net::{Close, Connection, Step};
use crate::session::Rel;
use crate::session::record::Key;

impl Connection {
    pub(super) fn handle_pubrel(&mut self, ack: &Ack) -> Result<(), Close> {
        let id = ack.packet_id;
        match self.session.inbound.pubrel(id) {
            Rel::Release if self.session.is_persistent() => {
                let part = (Key::Inbound(id.get()), None);
                let written = self.broker.store.write(&self.session.client_id, vec![part]);
                self.later(async move { Step::Released { id, result: written.await } });
            }
            Rel::Release => self.later(std::future::ready(Step::Released { id, result: Ok(()) })),
            // Released before, and PUBCOMP was lost: no error during recovery, and we cannot tell it from one.
            Rel::Unknown => {
                self.later(std::future::ready(Step::Unreleased { id, reason: ReasonCode::Success }))
            }
            Rel::Wait => {}
        }
        Ok(())
    }
}
