//! What each packet from a client does, one file per verb.

pub(crate) mod auth;
pub(crate) mod connect;
mod disconnect;
mod puback;
mod pubcomp;
mod publish;
mod pubrec;
mod pubrel;
pub(crate) mod replay;
mod subscribe;
mod unsubscribe;

use mqtt_codec::{Packet, ReasonCode};

use crate::net::{Close, Connection};

impl Connection {
    /// Acts on one packet.
    pub(crate) async fn handle(&mut self, packet: Packet) -> Result<(), Close> {
        if !matches!(packet, Packet::Publish(_) | Packet::PubAck(_) | Packet::PubComp(_)) {
            // Whatever it is, it comes after what was published before.
            self.flush();
        }
        if self.link.is_some() {
            return self.handle_as_bridge(packet).await;
        }
        match packet {
            Packet::Publish(p) => self.handle_publish(p).await,
            Packet::PubAck(a) => self.handle_puback(&a),
            Packet::PubRec(a) => self.handle_pubrec(&a),
            Packet::PubRel(a) => self.handle_pubrel(&a),
            Packet::PubComp(a) => self.handle_pubcomp(&a),
            // Boxed: what is rare shall not make every connection larger.
            Packet::Subscribe(s) => Box::pin(self.handle_subscribe(s)).await,
            Packet::Unsubscribe(u) => Box::pin(self.handle_unsubscribe(u)).await,
            Packet::PingReq => {
                self.send(&Packet::PingResp);
                Ok(())
            }
            Packet::Disconnect(d) => self.handle_disconnect(&d),
            Packet::Auth(a) => self.handle_auth(&a),
            Packet::Connect(_) => Err(Close::Quiet("a second CONNECT".to_owned())),
            other => Err(Close::Quiet(format!("{} from a client", other.packet_type()))),
        }
    }

    /// Acts on one packet from a broker that this one has connected to.
    async fn handle_as_bridge(&mut self, packet: Packet) -> Result<(), Close> {
        match packet {
            Packet::Publish(p) => {
                if let Some(link) = &mut self.link {
                    link.moved();
                }
                self.handle_publish(p).await
            }
            Packet::PubAck(a) => self.handle_puback(&a),
            Packet::PubRec(a) => self.handle_pubrec(&a),
            Packet::PubRel(a) => self.handle_pubrel(&a),
            Packet::PubComp(a) => self.handle_pubcomp(&a),
            Packet::SubAck(s) => {
                if s.reasons.iter().any(|r| r.is_error()) {
                    tracing::warn!(client = %self.name(), reasons = ?s.reasons, "the other broker refuses a subscription");
                }
                Ok(())
            }
            Packet::UnsubAck(_) | Packet::PingResp => Ok(()),
            Packet::PingReq => {
                self.send(&Packet::PingResp);
                Ok(())
            }
            Packet::Disconnect(d) => Err(Close::Gone(format!("the other broker says {}", d.reason))),
            other => Err(Close::Quiet(format!("{} from a broker", other.packet_type()))),
        }
    }
}

impl Close {
    /// A protocol error.
    pub(crate) fn protocol(why: &str) -> Self {
        Self::error(ReasonCode::ProtocolError, why)
    }
}
