//! DISCONNECT.

use mqtt_codec::{Disconnect, ReasonCode};

use crate::net::{Close, Connection};

impl Connection {
    pub(super) fn handle_disconnect(&mut self, d: &Disconnect) -> Result<(), Close> {
        if let Some(expiry) = d.properties.session_expiry_interval {
            if self.session.expiry_s == 0 && expiry != 0 {
                return Err(Close::protocol("DISCONNECT gives a session expiry that CONNECT had not"));
            }
            self.session.expiry_s = expiry;
        }
        if d.reason == ReasonCode::DisconnectWithWill || d.reason.is_error() {
            return Err(Close::Gone("DISCONNECT with will".to_owned()));
        }
        Err(Close::Disconnected)
    }
}
