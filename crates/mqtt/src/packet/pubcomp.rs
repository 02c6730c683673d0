//! PUBCOMP: a QoS 2 delivery is over.

use mqtt_codec::Ack;

use crate::net::{Close, Connection};
use crate::session::Acked;

impl Connection {
    pub(super) fn handle_pubcomp(&mut self, ack: &Ack) -> Result<(), Close> {
        match self.session.outbound.pubcomp(ack.packet_id) {
            Acked::Wrong => Err(Close::Quiet("PUBCOMP before PUBREL".to_owned())),
            Acked::Unknown => {
                tracing::debug!(client = %self.name(), id = %ack.packet_id, "PUBCOMP for an unknown packet identifier");
                Ok(())
            }
            _ => {
                self.session.dirty = true;
                Ok(())
            }
        }
    }
}
