//! Why a connection ends.

use std::io;

use client::door::DoorError;
use mqtt_codec::{DecodeError, PacketType, ReasonCode};

use crate::broker::reason_of;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Close {
    /// DISCONNECT without a will.
    Disconnected,
    /// A bridge that is wanted only when there is something to send has had nothing for long.
    Idle,
    /// The client is gone, or asked for its will.
    Gone(String),
    /// We end it: reason for the client, words for the log.
    Error(ReasonCode, String),
    /// We end it without a word to the client, as Mosquitto does for wrong acknowledgements and packets that no
    /// client sends.
    Quiet(String),
}

impl Close {
    /// We end it.
    pub(crate) fn error(reason: ReasonCode, why: &str) -> Self {
        Self::Error(reason, why.to_owned())
    }

    /// The log failed where nothing weaker than closing keeps what was promised.
    pub(crate) fn storage(error: &DoorError) -> Self {
        Self::Error(reason_of(error), format!("the commit log failed: {error}"))
    }

    pub(super) fn io(error: &io::Error) -> Self {
        Self::Gone(error.to_string())
    }
}

impl From<DecodeError> for Close {
    fn from(e: DecodeError) -> Self {
        use PacketType as P;
        let packet = match &e {
            DecodeError::Invalid { packet, .. } | DecodeError::Unexpected { packet, .. } => Some(*packet),
            _ => None,
        };
        // Where the specification leaves a choice, Mosquitto's.
        let reason = match (packet, &e) {
            (Some(P::Subscribe | P::Unsubscribe), _) => ReasonCode::MalformedPacket,
            (Some(P::Publish), DecodeError::Invalid { problem: "holds a wildcard", .. }) => {
                ReasonCode::ProtocolError
            }
            (Some(P::Publish | P::Disconnect | P::Auth), _) | (None, _) => e.reason(),
            _ => return Self::Quiet(e.to_string()),
        };
        Self::Error(reason, e.to_string())
    }
}
