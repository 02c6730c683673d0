//! Who connects, and how much may be in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use mqtt_codec::{Connect, PACKET_SIZE_MAX, ProtocolVersion, Subscription};

/// Configuration of a [`Client`](crate::Client).
#[derive(Clone, Debug)]
pub struct Config {
    /// What CONNECT says: version, client id, clean start, keep alive, will, user, properties. The receive maximum is
    /// set from [`Config::in_flight_max`].
    pub connect: Connect,
    /// When the broker knows no MQTT 5, go on with 3.1.1.
    pub fall_back: bool,
    /// What to subscribe to, on the first connection and whenever the broker has no session.
    pub subscriptions: Vec<Subscription>,
    /// Unacknowledged QoS 1 and QoS 2 messages of each kind, in each direction.
    pub in_flight_max: u16,
    /// Bytes of a packet that comes.
    pub packet_size_max: u32,
    /// From the start of an attempt to CONNACK.
    pub connect_timeout: Duration,
    /// Shortest and longest pause between attempts.
    pub reconnect: (Duration, Duration),
    /// Whether to subscribe as soon as it is needed; else when [`Client::subscribe`](crate::Client::subscribe) is called.
    pub subscribe_at_once: bool,
    /// QoS 2 messages that an earlier process has taken, and whose PUBREL has not come, by packet identifier with
    /// [`fingerprint`](crate::fingerprint): sent again, they are acknowledged and not handed out.
    pub received: BTreeMap<u16, u32>,
}

impl Config {
    /// A persistent session of this name over MQTT 5, with nothing subscribed.
    pub fn new(client_id: impl Into<String>) -> Self {
        let mut connect = Connect::new(ProtocolVersion::V5, client_id);
        connect.clean_start = false;
        connect.keep_alive = 60;
        connect.properties.session_expiry_interval = Some(u32::MAX);
        Self {
            connect,
            fall_back: true,
            subscriptions: Vec::new(),
            in_flight_max: 1000,
            packet_size_max: PACKET_SIZE_MAX,
            connect_timeout: Duration::from_secs(10),
            reconnect: (Duration::from_millis(100), Duration::from_secs(10)),
            subscribe_at_once: true,
            received: BTreeMap::new(),
        }
    }

    /// Adds a subscription.
    #[must_use]
    pub fn subscribe(mut self, subscription: Subscription) -> Self {
        self.subscriptions.push(subscription);
        self
    }
}
