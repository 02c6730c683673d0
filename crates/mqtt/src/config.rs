//! What the MQTT server can be told, with Mosquitto's own names wherever Mosquitto has one.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Authenticator, Authorizer};
use crate::bridge::BridgeConfig;
use crate::dead_letter::DeadLetters;
use crate::tls::TlsFiles;

/// Everything [`Server::start`](crate::Server::start) needs besides the door.
#[derive(Clone, Debug)]
pub struct MqttConfig {
    /// Where to listen; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// Bounds that hold for the whole server or for each client.
    pub limits: Limits,
    /// Explicit routes in order of precedence; what none of them matches takes the default route.
    pub routes: Vec<RouteConfig>,
    /// Which Kafka topics may be created on the way.
    pub auto_create: AutoCreate,
    /// Mosquitto's `sys_interval`: pause between two publications of `$SYS`; `None` switches `$SYS` off.
    pub sys_interval: Option<Duration>,
    /// What `$SYS/broker/version` says.
    pub version: String,
    /// Partitions of `__mqtt_sessions` and `__mqtt_retained` when they are created.
    pub internal_partitions: i32,
    /// Connections to other brokers.
    pub bridges: Vec<BridgeConfig>,
    /// `upgrade_outgoing_qos`: deliver with the subscription's QoS even what was published with a lower one.
    pub upgrade_outgoing_qos: bool,
    /// `message_size_limit`: largest payload accepted, bytes; larger ones are refused one by one. `None` = any.
    pub message_size_limit: Option<usize>,
    /// What becomes of messages of MQTT 3 clients that the log refuses for good.
    pub dead_letters: DeadLetters,
    /// `check_retain_source`: a retained message is delivered as long as its publisher may publish it.
    pub check_retain_source: bool,
    /// What CONNACK says to clients that ask for response information; `%c` stands for the client id. `None` = nothing.
    pub response_information: Option<String>,
    /// Another server for clients that are not served here.
    pub redirect: Option<Redirect>,
    /// How often cursors of QoS 1 sessions reach the log at the latest.
    pub checkpoint_interval: Duration,
    /// How long `shutdown` lets connections finish before it drops them.
    pub shutdown_grace: Duration,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            limits: Limits::default(),
            routes: Vec::new(),
            auto_create: AutoCreate::default(),
            sys_interval: Some(Duration::from_secs(10)),
            version: concat!("tributary version ", env!("CARGO_PKG_VERSION")).to_owned(),
            internal_partitions: 4,
            bridges: Vec::new(),
            upgrade_outgoing_qos: false,
            message_size_limit: None,
            dead_letters: DeadLetters::default(),
            check_retain_source: true,
            response_information: None,
            redirect: None,
            checkpoint_interval: Duration::from_millis(500),
            shutdown_grace: Duration::from_secs(2),
        }
    }
}

/// Where clients are sent that are not served here: version 5 clients when there are too many, or when the server stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The server reference they are told, e.g. `other.example.org:1883`.
    pub reference: String,
    /// All clients are sent there for good.
    pub moved: bool,
}

/// One listening socket and the rules that hold for clients that come through it.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Where to listen; port 0 picks a free one ([`MqttHandle::addresses`](crate::MqttHandle::addresses) says which).
    pub address: ListenAddress,
    /// `protocol`: MQTT as it is, or in WebSocket.
    pub transport: Transport,
    /// `websockets_headers_size`: largest WebSocket request, bytes.
    pub websocket_header_max: usize,
    /// `certfile`, `keyfile` …; `None` = no TLS.
    pub tls: Option<TlsFiles>,
    /// `use_identity_as_username`: the common name in the client's certificate is its user name.
    pub use_identity_as_username: bool,
    /// `use_subject_as_username`: the whole subject of the client's certificate is its user name.
    pub use_subject_as_username: bool,
    /// A proxy says first for whom it connects (PROXY protocol, version 1 or 2).
    pub proxy_protocol: bool,
    /// Connections accepted in one second; `None` = any number.
    pub max_connect_rate: Option<u32>,
    /// `max_connections`: clients of this listener at one time; `None` = only the server's limit.
    pub max_connections: Option<usize>,
    /// `max_qos`: highest QoS a client may publish with (0, 1 or 2).
    pub max_qos: u8,
    /// `max_topic_alias`: aliases a v5 client may set; 0 switches them off.
    pub max_topic_alias: u16,
    /// `mount_point`: prefix put before every topic of these clients, e.g. `site1/`.
    pub mount_point: Option<String>,
    /// Checks user names and passwords; `None` = there are no users (see [`ListenerConfig::allow_anonymous`]).
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// Decides what clients may do; `None` = everything.
    pub authorizer: Option<Arc<dyn Authorizer>>,
    /// `clientid_prefixes`: what client ids must begin with.
    pub client_id_prefixes: Option<String>,
    /// `allow_anonymous`: clients without a user name may connect. With no authenticator a user name is not
    /// checked when this is set, and every client is refused when it is not.
    pub allow_anonymous: bool,
    /// `allow_zero_length_clientid`: the server makes up an id for a client that gives none.
    pub allow_zero_length_clientid: bool,
    /// `auto_id_prefix`: what made-up ids begin with.
    pub auto_id_prefix: String,
    /// `use_username_as_clientid`.
    pub use_username_as_clientid: bool,
}

impl ListenerConfig {
    /// Mosquitto's defaults on `address`, with `allow_anonymous` set.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address: ListenAddress::Tcp(address),
            transport: Transport::Mqtt,
            websocket_header_max: 4096,
            tls: None,
            use_identity_as_username: false,
            use_subject_as_username: false,
            proxy_protocol: false,
            max_connect_rate: None,
            authenticator: None,
            authorizer: None,
            client_id_prefixes: None,
            max_connections: None,
            max_qos: 2,
            max_topic_alias: 10,
            mount_point: None,
            allow_anonymous: true,
            allow_zero_length_clientid: true,
            auto_id_prefix: "auto-".to_owned(),
            use_username_as_clientid: false,
        }
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// Over TCP.
    Tcp(SocketAddr),
    /// At a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The address over TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        self.tcp().is_none_or(|a| a.ip().is_loopback())
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// What is spoken on a listener's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// MQTT.
    Mqtt,
    /// MQTT in WebSocket's binary frames.
    WebSocket,
}

/// Bounds; where a peer can run into one, it gets the protocol's own answer.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `global_max_clients`: network connections of all listeners at one time.
    pub max_connections: usize,
    /// `max_packet_size`: largest packet accepted, bytes of the whole packet. Mosquitto's 0 (no limit) is the
    /// protocol's 268,435,460.
    pub max_packet_size: u32,
    /// Largest first packet (CONNECT) accepted, bytes: it comes before any authentication.
    pub max_connect_size: u32,
    /// How long a new connection may take to send its CONNECT.
    pub connect_timeout: Duration,
    /// `max_inflight_messages`: QoS 1 and 2 messages under way to a client (its own receive maximum may lower
    /// it), and the receive maximum told to v5 clients. Mosquitto's 0 is 65,535.
    pub max_inflight_messages: u16,
    /// `max_queued_messages`: messages held in memory for one client (of QoS 0 four times as many). What is beyond
    /// it stays in the log and is read from there; of QoS 0 at most [`Limits::max_qos0_lag`] of it. Mosquitto's 0
    /// is [`usize::MAX`].
    pub max_queued_messages: usize,
    /// `max_queued_bytes`: payload bytes held in memory for one client; beyond it as above.
    pub max_queued_bytes: usize,
    /// How many records a client that does not keep up may lie behind the end of a partition before QoS 0 messages
    /// of it are dropped.
    pub max_qos0_lag: u32,
    /// Publishes of one client that wait for the log; past it the socket is not read.
    pub max_publishes_under_way: usize,
    /// Bytes of all clients' publishes that wait for the log; past it no client is read that waits for an answer.
    pub max_publish_bytes_under_way: usize,
    /// `max_keepalive`: longest keep alive granted to v5 clients, seconds; 0 = any, none included.
    pub max_keepalive: u16,
    /// `persistent_client_expiration`: a persistent session without a connection is removed after this.
    /// `None` = only what the client asked for.
    pub persistent_client_expiration: Option<Duration>,
    /// Persistent sessions kept, connected or not; past it CONNECT is refused with "quota exceeded".
    pub max_sessions: usize,
    /// Clients without a user name may have persistent sessions; else theirs end with their connection.
    pub anonymous_sessions: bool,
    /// Subscriptions of one session; past it SUBSCRIBE answers "quota exceeded".
    pub max_subscriptions: usize,
    /// Replays of one session at one time; past it SUBSCRIBE answers "quota exceeded".
    pub max_replays: usize,
    /// Topic aliases that the server gives to a v5 client, as far as that takes them.
    pub max_outgoing_aliases: u16,
    /// Levels of a topic name or filter.
    pub max_topic_levels: usize,
    /// Retained messages kept; past it a new one is refused with "quota exceeded".
    pub max_retained: usize,
    /// `retain_available`: retained messages are accepted.
    pub retain_available: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 65_536,
            max_packet_size: 268_435_460,
            max_connect_size: 1 << 20,
            connect_timeout: Duration::from_secs(10),
            max_inflight_messages: 20,
            max_queued_messages: 1000,
            max_queued_bytes: 8 << 20,
            max_qos0_lag: 1_000_000,
            max_publishes_under_way: 1024,
            max_publish_bytes_under_way: 64 << 20,
            max_keepalive: 0,
            persistent_client_expiration: None,
            max_sessions: 1_000_000,
            anonymous_sessions: true,
            max_subscriptions: 100_000,
            max_replays: 16,
            max_outgoing_aliases: 16,
            max_topic_levels: 200,
            max_retained: 1_000_000,
            retain_available: true,
        }
    }
}

/// `filter → topic, key, partitions`.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// MQTT topic filter, e.g. `plant/+/press/#`.
    pub filter: String,
    /// Kafka topic for what the filter matches.
    pub topic: String,
    /// What becomes the record's key.
    pub key: RouteKey,
    /// Partitions when the topic is created by this route; `None` = the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// What an ack means in the topic when it is created by this route; `None` = [`AutoCreate::ack`].
    pub ack: Option<AckLevel>,
    /// The latest record of each MQTT topic is its retained message: the Kafka topic is compacted when it is created by
    /// this route, and everything in it counts, whoever wrote it.
    pub retained: bool,
}

/// When a QoS 1 or 2 publish is acknowledged, and readers see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckLevel {
    /// When it is on stable storage.
    #[default]
    Fsync,
    /// When it is in the page cache: a killed process loses nothing, a power cut may take the newest. The topic is
    /// created with `write.caching=true`.
    Memory,
}

/// What becomes the key of a routed record. Whatever it is, records of one MQTT topic go to one partition, so
/// their order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKey {
    /// The whole MQTT topic (the default).
    Topic,
    /// One level of the MQTT topic, from 0; the whole topic when it has fewer levels.
    Level(usize),
    /// No key.
    None,
}

/// Automatic creation of Kafka topics.
#[derive(Clone, Debug)]
pub struct AutoCreate {
    /// Topics that the default route may create, counted over all topics that are not internal; what would
    /// need one more goes to [`AutoCreate::overflow_topic`].
    pub max_topics: usize,
    /// Kafka topic of last resort.
    pub overflow_topic: String,
    /// Partitions of a topic created by the default route; `None` = the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// What an ack means in topics created here, unless their route says otherwise.
    pub ack: AckLevel,
}

impl Default for AutoCreate {
    fn default() -> Self {
        Self {
            max_topics: 1000,
            overflow_topic: "mqtt-overflow".to_owned(),
            partitions: None,
            ack: AckLevel::default(),
        }
    }
}
