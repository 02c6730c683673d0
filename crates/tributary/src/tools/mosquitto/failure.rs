//! Exit codes and messages: the numbers and words of libmosquitto, which scripts rely on.

use std::io;

/// Why a tool ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The peer broke the protocol, or refused an MQTT 5 connection.
    Protocol,
    /// An argument cannot be sent.
    Invalid,
    /// There is no connection.
    NoConnection,
    /// The server refused an MQTT 3 connection.
    ConnectionRefused,
    /// The connection broke.
    ConnectionLost,
    /// The payload is longer than MQTT allows.
    PayloadSize,
    /// The protocol version has no such thing.
    NotSupported,
    /// The operating system says so.
    System(io::Error),
    /// No TLS with this server: why.
    Tls(String),
    /// The host name has no address.
    Lookup,
    /// Nothing came for a keep-alive time.
    KeepAlive,
    /// A property stands there twice.
    DuplicateProperty,
    /// The server accepts no such QoS.
    QosNotSupported,
    /// The packet is larger than the server accepts.
    PacketTooLarge,
    /// The time given with `-W` is over.
    Timeout,
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Protocol => 2,
            Self::Invalid => 3,
            Self::NoConnection => 4,
            Self::ConnectionRefused => 5,
            Self::ConnectionLost => 7,
            Self::Tls(_) => 8,
            Self::PayloadSize => 9,
            Self::NotSupported => 10,
            Self::System(_) => 14,
            Self::Lookup => 15,
            Self::KeepAlive => 19,
            Self::DuplicateProperty => 22,
            Self::QosNotSupported => 24,
            Self::PacketTooLarge => 25,
            Self::Timeout => 27,
        }
    }

    /// The message, as `mosquitto_pub` and `mosquitto_sub` print it.
    pub fn text(&self) -> String {
        match self {
            Self::Protocol => "A network protocol error occurred when communicating with the broker.".into(),
            Self::Invalid => "Invalid function arguments provided.".into(),
            Self::NoConnection => "The client is not currently connected.".into(),
            Self::ConnectionRefused => "The connection was refused.".into(),
            Self::ConnectionLost => "The connection was lost.".into(),
            Self::PayloadSize => "Payload too large.".into(),
            Self::NotSupported => "This feature is not supported.".into(),
            // Mosquitto says no more than the first sentence.
            Self::Tls(why) => format!("A TLS error occurred. ({why})"),
            Self::System(e) => system_text(e),
            Self::Lookup => "Lookup error.".into(),
            Self::KeepAlive | Self::Timeout => "Unknown error.".into(),
            Self::DuplicateProperty => "Duplicate property in property list".into(),
            Self::QosNotSupported => "Requested QoS not supported on server.".into(),
            Self::PacketTooLarge => "Packet larger than supported by the server.".into(),
        }
    }

    /// Whether connecting again cannot help.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Protocol
                | Self::Invalid
                | Self::ConnectionRefused
                | Self::PayloadSize
                | Self::NotSupported
                | Self::Lookup
                | Self::Tls(_)
        )
    }
}

/// What the operating system calls an error, without the number Rust adds.
pub fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// The words for a refused MQTT 3 connection.
pub fn connack_text(code: u8) -> &'static str {
    match code {
        0 => "Connection Accepted.",
        1 => "Connection Refused: unacceptable protocol version.",
        2 => "Connection Refused: identifier rejected.",
        3 => "Connection Refused: broker unavailable.",
        4 => "Connection Refused: bad user name or password.",
        5 => "Connection Refused: not authorised.",
        _ => "Connection Refused: unknown reason.",
    }
}
