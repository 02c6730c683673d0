//! PUBACK: a QoS 1 delivery is over.

use mqtt_codec::Ack;

use crate::net::{Close, Connection};
use crate::session::Acked;

impl Connection {
    pub(super) fn handle_puback(&mut self, ack: &Ack) -> Result<(), Close> {
        match self.session.outbound.puback(ack.packet_id) {
            Acked::Wrong => Err(Close::Quiet("PUBACK for a QoS 2 publish".to_owned())),
            Acked::Unknown => {
                tracing::debug!(client = %self.name(), id = %ack.packet_id, "PUBACK for an unknown packet identifier");
                Ok(())
            }
            _ => {
                self.session.dirty = true;
                Ok(())
            }
        }
    }
}
