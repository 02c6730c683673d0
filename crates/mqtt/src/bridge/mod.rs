//! Bridges: connections that this broker opens to others, as Mosquitto's `connection` blocks ask for them.
//!
//! After its handshake a bridge is a [`Connection`](crate::net::Connection) like a client's: what it subscribes to
//! here goes out, what the other broker sends comes in, with the same sessions, windows and exchanges. [`Link`] holds
//! what differs: names of topics, and who pings whom.

mod dial;
mod link;
mod run;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mqtt_codec::{ProtocolVersion, QoS};

pub(crate) use dial::tls_of;
pub(crate) use link::Link;
pub(crate) use run::run;

/// Which way messages of a topic go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeDirection {
    /// From the other broker to this one.
    In,
    /// From this broker to the other one.
    Out,
    /// Both.
    Both,
}

/// One `topic` line of a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeTopic {
    /// Filter; may be empty where the prefixes are whole topics.
    pub filter: String,
    /// Which way.
    pub direction: BridgeDirection,
    /// QoS of the subscriptions.
    pub qos: QoS,
    /// Put before the filter on this broker.
    pub local_prefix: String,
    /// Put before the filter on the other broker.
    pub remote_prefix: String,
}

impl BridgeTopic {
    /// The filter on this broker.
    pub fn local(&self) -> String {
        format!("{}{}", self.local_prefix, self.filter)
    }

    /// The filter on the other broker.
    pub fn remote(&self) -> String {
        format!("{}{}", self.remote_prefix, self.filter)
    }

    /// Whether names differ on the two sides.
    pub(crate) fn is_renamed(&self) -> bool {
        !(self.local_prefix.is_empty() && self.remote_prefix.is_empty())
    }

    /// Whether messages go to the other broker.
    pub(crate) fn goes_out(&self) -> bool {
        self.direction != BridgeDirection::In
    }

    /// Whether messages come from the other broker.
    pub(crate) fn comes_in(&self) -> bool {
        self.direction != BridgeDirection::Out
    }
}

/// TLS of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeTls {
    /// `bridge_cafile`
    pub ca_file: Option<PathBuf>,
    /// `bridge_capath`
    pub ca_dir: Option<PathBuf>,
    /// `bridge_certfile`
    pub certificate: Option<PathBuf>,
    /// `bridge_keyfile`
    pub key: Option<PathBuf>,
    /// `bridge_insecure`: the certificate need not name the host.
    pub insecure: bool,
    /// `bridge_tls_version tlsv1.3`
    pub only_tls_1_3: bool,
    /// `bridge_alpn`
    pub alpn: Option<String>,
}

/// When a bridge connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeStart {
    /// At the start, and whenever the connection is lost.
    Automatic,
    /// At the start, once.
    Once,
    /// When messages wait, until none has come or gone for a while.
    Lazy,
}

/// One bridge, with Mosquitto's names and defaults.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// `connection`
    pub name: String,
    /// `address`: tried in turn.
    pub addresses: Vec<(String, u16)>,
    /// `topic`
    pub topics: Vec<BridgeTopic>,
    /// `remote_clientid`; `None` = host name, point, name.
    pub remote_client_id: Option<String>,
    /// `local_clientid`; `None` = `local.` and the remote one.
    pub local_client_id: Option<String>,
    /// `remote_username`
    pub remote_user_name: Option<String>,
    /// `remote_password`
    pub remote_password: Option<String>,
    /// `cleansession`
    pub clean_session: bool,
    /// `local_cleansession`; `None` = as `cleansession`.
    pub local_clean_session: Option<bool>,
    /// `keepalive_interval`, seconds.
    pub keep_alive: u16,
    /// `restart_timeout`: the shortest pause before another try, and the longest.
    pub restart: (Duration, Duration),
    /// `start_type`
    pub start: BridgeStart,
    /// `threshold`: how many messages must wait for a lazy bridge to connect.
    pub threshold: usize,
    /// `idle_timeout`: how long a lazy bridge stays without a message.
    pub idle_timeout: Duration,
    /// `round_robin`: all addresses are equal; else the first is the one to be on.
    pub round_robin: bool,
    /// `bridge_bind_address`
    pub bind_address: Option<IpAddr>,
    /// `bridge_tcp_keepalive`: idle seconds, seconds between probes, probes.
    pub tcp_keep_alive: Option<(u32, u32, u32)>,
    /// `local_username`: as whom it is known here.
    pub local_user_name: Option<String>,
    /// `try_private`: tells the other broker that this is a bridge.
    pub try_private: bool,
    /// `notifications`
    pub notifications: bool,
    /// `notifications_local_only`
    pub notifications_local_only: bool,
    /// `notification_topic`; `None` = `$SYS/broker/connection/REMOTE-CLIENT-ID/state`.
    pub notification_topic: Option<String>,
    /// `bridge_attempt_unsubscribe`
    pub attempt_unsubscribe: bool,
    /// `bridge_outgoing_retain`
    pub outgoing_retain: bool,
    /// `bridge_max_packet_size`, bytes; 0 = any.
    pub max_packet_size: u32,
    /// `bridge_protocol_version`
    pub version: ProtocolVersion,
    /// `bridge_session_expiry_interval`, seconds: how long a version 5 broker keeps the session while the bridge is away.
    pub session_expiry: Option<u32>,
    /// `bridge_cafile` …; TLS where there is a root.
    pub tls: BridgeTls,
}

impl BridgeConfig {
    /// Mosquitto's defaults.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            addresses: Vec::new(),
            topics: Vec::new(),
            remote_client_id: None,
            local_client_id: None,
            remote_user_name: None,
            remote_password: None,
            clean_session: false,
            local_clean_session: None,
            keep_alive: 60,
            restart: (Duration::from_secs(5), Duration::from_secs(30)),
            start: BridgeStart::Automatic,
            threshold: 10,
            idle_timeout: Duration::from_secs(60),
            round_robin: false,
            bind_address: None,
            tcp_keep_alive: None,
            local_user_name: None,
            try_private: true,
            notifications: true,
            notifications_local_only: false,
            notification_topic: None,
            attempt_unsubscribe: true,
            outgoing_retain: true,
            max_packet_size: 0,
            version: ProtocolVersion::V311,
            session_expiry: None,
            tls: BridgeTls::default(),
        }
    }

    /// The client id on the other broker.
    pub(crate) fn remote_id(&self) -> String {
        self.remote_client_id.clone().unwrap_or_else(|| format!("{}.{}", host_name(), self.name))
    }

    /// The client id on this broker.
    pub(crate) fn local_id(&self) -> String {
        self.local_client_id.clone().unwrap_or_else(|| format!("local.{}", self.remote_id()))
    }

    /// Where the state of the connection is told.
    pub(crate) fn notification_topic(&self) -> String {
        let default = || format!("$SYS/broker/connection/{}/state", self.remote_id());
        self.notification_topic.clone().unwrap_or_else(default)
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
