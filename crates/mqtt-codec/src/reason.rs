//! Reason codes (MQTT 5 section 2.4) and their MQTT 3 forms.

use std::fmt;

use crate::frame::PacketType;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// A reason code. One variant per number; where the specification gives one number several names, the
        /// others are constants (`NORMAL_DISCONNECTION`, `GRANTED_QOS_0`).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $value,)*
        }

        impl ReasonCode {
            /// All codes in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code with this number, if MQTT 5 defines it.
            pub const fn from_u8(n: u8) -> Option<Self> {
                match n {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name in the specification.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    /// Success; also Normal disconnection and Granted QoS 0.
    #[default]
    Success = 0x00, "Success";
    /// SUBACK: the maximum QoS granted is 1.
    GrantedQos1 = 0x01, "Granted QoS 1";
    /// SUBACK: the maximum QoS granted is 2.
    GrantedQos2 = 0x02, "Granted QoS 2";
    /// DISCONNECT from a client: publish the will nevertheless.
    DisconnectWithWill = 0x04, "Disconnect with Will Message";
    /// PUBACK, PUBREC: accepted, nobody subscribed.
    NoMatchingSubscribers = 0x10, "No matching subscribers";
    /// UNSUBACK: there was no such subscription.
    NoSubscriptionExisted = 0x11, "No subscription existed";
    /// AUTH: another step follows.
    ContinueAuthentication = 0x18, "Continue authentication";
    /// AUTH from a client: authenticate anew.
    ReAuthenticate = 0x19, "Re-authenticate";
    /// No better reason, or none to be told.
    UnspecifiedError = 0x80, "Unspecified error";
    /// The bytes are not a packet.
    MalformedPacket = 0x81, "Malformed Packet";
    /// A packet that is not allowed, or not now.
    ProtocolError = 0x82, "Protocol Error";
    /// Valid but not accepted by this implementation.
    ImplementationSpecificError = 0x83, "Implementation specific error";
    /// CONNACK: not a protocol version of ours.
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version";
    /// CONNACK: the client identifier is not allowed.
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid";
    /// CONNACK: wrong user name or password.
    BadUserNameOrPassword = 0x86, "Bad User Name or Password";
    /// Not authorized for this.
    NotAuthorized = 0x87, "Not authorized";
    /// CONNACK: the server is not available.
    ServerUnavailable = 0x88, "Server unavailable";
    /// The server is busy; try later.
    ServerBusy = 0x89, "Server busy";
    /// CONNACK: banned by an administrator.
    Banned = 0x8A, "Banned";
    /// DISCONNECT: the server stops.
    ServerShuttingDown = 0x8B, "Server shutting down";
    /// The authentication method is not supported or not the current one.
    BadAuthenticationMethod = 0x8C, "Bad authentication method";
    /// DISCONNECT: nothing came for one and a half keep-alive times.
    KeepAliveTimeout = 0x8D, "Keep Alive timeout";
    /// DISCONNECT: another connection uses the same client identifier.
    SessionTakenOver = 0x8E, "Session taken over";
    /// The topic filter is well formed but not accepted.
    TopicFilterInvalid = 0x8F, "Topic Filter invalid";
    /// The topic name is well formed but not accepted.
    TopicNameInvalid = 0x90, "Topic Name invalid";
    /// The packet identifier is in use.
    PacketIdentifierInUse = 0x91, "Packet Identifier in use";
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found";
    /// DISCONNECT: more unacknowledged publishes than the receive maximum.
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded";
    /// DISCONNECT: a topic alias of 0, or over the maximum.
    TopicAliasInvalid = 0x94, "Topic Alias invalid";
    /// A packet over the maximum packet size.
    PacketTooLarge = 0x95, "Packet too large";
    /// DISCONNECT: too many messages a second.
    MessageRateTooHigh = 0x96, "Message rate too high";
    /// A limit set by the administrator is reached.
    QuotaExceeded = 0x97, "Quota exceeded";
    /// DISCONNECT: an administrator closed the connection.
    AdministrativeAction = 0x98, "Administrative action";
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99, "Payload format invalid";
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A, "Retain not supported";
    /// The QoS is over the maximum QoS.
    QosNotSupported = 0x9B, "QoS not supported";
    /// Use another server, this time.
    UseAnotherServer = 0x9C, "Use another server";
    /// Use another server from now on.
    ServerMoved = 0x9D, "Server moved";
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported";
    /// Too many connections a second.
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded";
    /// DISCONNECT: the connection has lasted the longest time allowed.
    MaximumConnectTime = 0xA0, "Maximum connect time";
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1, "Subscription Identifiers not supported";
    /// Wildcard subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported";
}

impl ReasonCode {
    /// DISCONNECT's name for 0x00.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// SUBACK's name for 0x00.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether this says that something failed (0x80 and above).
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The SUBACK code that grants `qos`.
    pub const fn granted(qos: crate::QoS) -> Self {
        match qos {
            crate::QoS::AtMostOnce => Self::Success,
            crate::QoS::AtLeastOnce => Self::GrantedQos1,
            crate::QoS::ExactlyOnce => Self::GrantedQos2,
        }
    }

    /// The CONNACK return code (0 to 5) that MQTT 3.1 and 3.1.1 have for this.
    ///
    /// Codes without a counterpart become 3 (server unavailable) when trying again may help and 5 (not
    /// authorized) when it will not.
    pub const fn to_v3_connack(self) -> u8 {
        match self {
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => 5,
            c if !c.is_error() => 0,
            _ => 3,
        }
    }

    /// The reason code for a CONNACK return code of MQTT 3.1 and 3.1.1; `None` for 6 and above.
    pub const fn from_v3_connack(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// Whether MQTT 5 lets this code stand in this packet (table 2-6).
    pub const fn allowed_in(self, packet: PacketType) -> bool {
        use PacketType as P;
        let n = self.as_u8();
        match packet {
            P::ConnAck => matches!(n, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F),
            P::PubAck | P::PubRec => {
                matches!(n, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            P::PubRel | P::PubComp => matches!(n, 0x00 | 0x92),
            P::SubAck => {
                matches!(n, 0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
            }
            P::UnsubAck => matches!(n, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            P::Disconnect => {
                matches!(
                    n,
                    0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2
                ) || n == 0x8C
            }
            P::Auth => matches!(n, 0x00 | 0x18 | 0x19),
            _ => false,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
