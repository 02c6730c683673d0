//! MQTT's settings under Mosquitto's names, and our own `mqtt.*`.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use mqtt::{AckLevel, ListenerConfig, MqttConfig, RouteConfig, RouteKey};

use super::sources::{self, Setting};
use super::{Draft, LOOPBACK, MQTT_PORT, listen};

/// Largest packet the protocol can say, in bytes: what Mosquitto's `max_packet_size 0` means.
const PACKET_BYTES_MAX: u32 = 268_435_460;

/// Our own settings: what Mosquitto has no name for.
const OWN: &[&str] = &[
    "mqtt.auto.create.topics.max",
    "mqtt.auto.create.partitions",
    "mqtt.ack",
    "mqtt.qos0.lag.max",
    "mqtt.overflow.topic",
    "mqtt.sessions.max",
    "mqtt.subscriptions.max",
    "mqtt.retained.max",
    "mqtt.checkpoint.interval.ms",
    "mqtt.connect.timeout.ms",
];
/// `mqtt.route.NAME = FILTER -> TOPIC [key=topic|none|level:N] [partitions=N] [ack=fsync|memory]`
const ROUTE: &str = "mqtt.route.";

/// Whether a setting is one of our own.
pub(super) fn is_own(key: &str) -> bool {
    OWN.contains(&key) || key.starts_with(ROUTE)
}

/// MQTT's configuration with listeners at `addresses`; none of them = MQTT is off.
pub(super) fn build(draft: &mut Draft, addresses: &[String]) -> Option<MqttConfig> {
    if addresses.is_empty() {
        return None;
    }
    let mut listeners = Vec::new();
    for address in addresses {
        match listen::resolve(address, MQTT_PORT) {
            Ok(address) => listeners.push(ListenerConfig::new(address)),
            Err(why) => draft.problem(sources::MQTT, why),
        }
    }
    let settings = draft.mosquitto.clone();
    let mut config = MqttConfig { listeners, ..MqttConfig::default() };
    for setting in &settings {
        let outcome = match setting.key.as_str() {
            "listener" | "port" | "bind_address" => {
                Err(format!("listeners of `serve` are given by {}: use --mqtt ADDR", sources::MQTT))
            }
            _ => set_global(&mut config, setting).and_then(|known| {
                let all: Vec<usize> = if known { Vec::new() } else { (0..config.listeners.len()).collect() };
                all.into_iter().try_for_each(|i| set_listener(&mut config.listeners[i], setting))
            }),
        };
        complain(draft, setting, outcome);
    }
    finish(draft, config)
}

/// MQTT's configuration from a Mosquitto file: `listener` begins a block, `port`/`bind_address` are the default
/// listener, `-p` adds listeners.
pub(super) fn build_from_mosquitto(draft: &mut Draft, ports: &[u16]) -> Option<MqttConfig> {
    let settings = draft.mosquitto.clone();
    let value = |key: &str| settings.iter().rev().find(|s| s.key == key).map(|s| s.value.as_str());
    let per_listener = value("per_listener_settings").is_some_and(|v| v == "true");
    let has_listeners = settings.iter().any(|s| s.key == "listener" || s.key == "port");
    let mut config = MqttConfig::default();
    // Mosquitto 2: without a listener only this machine is served, and then nobody needs to log in.
    let default_open = !has_listeners;
    let mut first = ListenerConfig::new(SocketAddr::new(LOOPBACK, MQTT_PORT));
    first.allow_anonymous = default_open;
    let mut blocks: Vec<ListenerConfig> = Vec::new();
    let mut default_port = None;
    for setting in &settings {
        let outcome = match setting.key.as_str() {
            "port" => {
                parse::<u16>(&setting.value, "a port, 0 to 65535").map(|port| default_port = Some(port))
            }
            "bind_address" => listen::resolve_host(&setting.value, 0).map(|a| first.address.set_ip(a.ip())),
            "listener" => listener(&setting.value, &first, per_listener).map(|l| blocks.push(l)),
            _ => match set_global(&mut config, setting) {
                Ok(true) => Ok(()),
                Ok(false) => set_listener(blocks.last_mut().unwrap_or(&mut first), setting),
                Err(why) => Err(why),
            },
        };
        complain(draft, setting, outcome);
        if setting.key == "allow_anonymous" && !per_listener {
            let allowed = setting.value == "true";
            first.allow_anonymous = allowed;
            blocks.iter_mut().for_each(|l| l.allow_anonymous = allowed);
        }
    }
    let mut listeners = Vec::new();
    // `-p` and `port` replace the default listener; on their own they serve loopback only, as `port` with no
    // bind_address does here until somebody allows anonymous clients.
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    for port in ports.iter().copied().chain(default_port) {
        let mut l = first.clone();
        if l.address.ip() == LOOPBACK && value("bind_address").is_none() && default_port == Some(port) {
            l.address = any;
        }
        l.address.set_port(port);
        listeners.push(l);
    }
    listeners.extend(blocks);
    if listeners.is_empty() {
        listeners.push(first);
    }
    config.listeners = listeners;
    finish(draft, config)
}

/// `listener PORT [ADDRESS]`, beginning with what stands before it in the file.
fn listener(text: &str, first: &ListenerConfig, per_listener: bool) -> Result<ListenerConfig, String> {
    let mut words = text.split_whitespace();
    let port: u16 = parse(words.next().unwrap_or_default(), "a port, 0 to 65535")?;
    if port == 0 && words.clone().next().is_some_and(|w| w.contains('/')) {
        return Err("Unix socket listeners are not in this version".into());
    }
    let host = words.next().unwrap_or("0.0.0.0");
    let address = listen::resolve_host(host, port)?;
    let mut listener = if per_listener { ListenerConfig::new(address) } else { first.clone() };
    listener.address = address;
    listener.allow_anonymous = !per_listener && first.allow_anonymous;
    Ok(listener)
}

/// A setting of the whole server; `false` = it is one of a listener.
fn set_global(config: &mut MqttConfig, setting: &Setting) -> Result<bool, String> {
    let limits = &mut config.limits;
    let value = setting.value.as_str();
    match setting.key.as_str() {
        "max_packet_size" => {
            limits.max_packet_size = match parse(value, "bytes, 20 to 268435460, or 0 for no limit")? {
                0 => PACKET_BYTES_MAX,
                small if small < 20 => return Err(format!("{small} is too small: at least 20 bytes")),
                bytes => bytes,
            };
        }
        "max_inflight_messages" => {
            limits.max_inflight_messages = match parse(value, "a count, 0 to 65535")? {
                0 => u16::MAX,
                n => n,
            };
        }
        "max_queued_messages" => limits.max_queued_messages = unlimited(parse(value, "a count")?),
        "max_queued_bytes" => limits.max_queued_bytes = unlimited(parse(value, "bytes")?),
        "max_keepalive" => limits.max_keepalive = parse(value, "seconds, 0 to 65535")?,
        "persistent_client_expiration" => limits.persistent_client_expiration = Some(duration(value)?),
        "retain_available" => limits.retain_available = boolean(value)?,
        "sys_interval" => {
            let seconds: u64 = parse(value, "seconds")?;
            config.sys_interval = (seconds > 0).then(|| Duration::from_secs(seconds));
        }
        // Read elsewhere.
        "log_dest"
        | "log_type"
        | "log_timestamp"
        | "connection_messages"
        | "pid_file"
        | "persistence_location"
        | "per_listener_settings"
        | "kafka_listener" => {}
        "protocol" if value == "mqtt" => {}
        "protocol" => return Err(format!("{value} listeners are not in this version: only mqtt")),
        "socket_domain" if matches!(value, "ipv4" | "ipv6") => {}
        "socket_domain" => return Err(format!("{value:?} is not ipv4 or ipv6")),
        _ => return Ok(false),
    }
    Ok(true)
}

fn set_listener(listener: &mut ListenerConfig, setting: &Setting) -> Result<(), String> {
    let value = setting.value.as_str();
    match setting.key.as_str() {
        "allow_anonymous" => listener.allow_anonymous = boolean(value)?,
        "allow_zero_length_clientid" => listener.allow_zero_length_clientid = boolean(value)?,
        "auto_id_prefix" => listener.auto_id_prefix = value.to_string(),
        "max_connections" => {
            let n: i64 = parse(value, "a count, or -1 for no limit")?;
            listener.max_connections = usize::try_from(n).ok();
        }
        "max_qos" => {
            listener.max_qos = parse(value, "0, 1 or 2")?;
            if listener.max_qos > 2 {
                return Err(format!("{value} is not 0, 1 or 2"));
            }
        }
        "max_topic_alias" => listener.max_topic_alias = parse(value, "a count, 0 to 65535")?,
        "mount_point" => listener.mount_point = Some(value.to_string()),
        "use_username_as_clientid" => listener.use_username_as_clientid = boolean(value)?,
        // Every name marked as honoured must be taken somewhere: a test goes through the table.
        other => return Err(format!("{other} has no effect here")),
    }
    Ok(())
}

/// Our own settings, and the rule about who may be reached.
fn finish(draft: &mut Draft, mut config: MqttConfig) -> Option<MqttConfig> {
    for setting in draft.own.values().filter(|s| is_own(&s.key)).cloned().collect::<Vec<_>>() {
        let outcome = set_own(&mut config, &setting);
        complain(draft, &setting, outcome);
    }
    let from_serve = draft.own(sources::MQTT).is_some();
    for l in &config.listeners {
        let open = !l.address.ip().is_loopback() && l.allow_anonymous;
        if open && from_serve && !draft.anonymous_is_allowed() {
            let message = format!(
                "{} is reachable from other machines and nobody needs to log in: set allow_anonymous=true if that is \
                 meant, or listen on 127.0.0.1",
                l.address
            );
            draft.problem(sources::MQTT, message);
        }
        if !l.allow_anonymous {
            draft.notes.push(format!(
                "MQTT listener {}: allow_anonymous is not true and there are no users, so every client is refused",
                l.address
            ));
        }
    }
    Some(config)
}

fn set_own(config: &mut MqttConfig, setting: &Setting) -> Result<(), String> {
    let value = setting.value.as_str();
    match setting.key.as_str() {
        "mqtt.auto.create.topics.max" => config.auto_create.max_topics = parse(value, "a count")?,
        "mqtt.auto.create.partitions" => config.auto_create.partitions = Some(positive(value)?),
        "mqtt.ack" => config.auto_create.ack = ack(value)?,
        "mqtt.qos0.lag.max" => config.limits.max_qos0_lag = parse(value, "a count of records")?,
        "mqtt.overflow.topic" => config.auto_create.overflow_topic = value.to_string(),
        "mqtt.sessions.max" => config.limits.max_sessions = parse(value, "a count")?,
        "mqtt.subscriptions.max" => config.limits.max_subscriptions = parse(value, "a count")?,
        "mqtt.retained.max" => config.limits.max_retained = parse(value, "a count")?,
        "mqtt.checkpoint.interval.ms" => {
            config.checkpoint_interval = Duration::from_millis(parse(value, "milliseconds")?)
        }
        "mqtt.connect.timeout.ms" => {
            config.limits.connect_timeout = Duration::from_millis(parse(value, "milliseconds")?)
        }
        _ => config.routes.push(route(value)?),
    }
    Ok(())
}

/// `FILTER -> TOPIC [key=topic|none|level:N] [partitions=N] [ack=fsync|memory]`
fn route(text: &str) -> Result<RouteConfig, String> {
    let form = "expected FILTER -> TOPIC [key=topic|none|level:N] [partitions=N] [ack=fsync|memory]";
    let (filter, rest) = text.split_once("->").ok_or(form)?;
    let mut words = rest.split_whitespace();
    let topic = words.next().ok_or(form)?.to_string();
    let mut route = RouteConfig {
        filter: filter.trim().to_string(),
        topic,
        key: RouteKey::Topic,
        partitions: None,
        ack: None,
    };
    for word in words {
        match word.split_once('=') {
            Some(("key", "topic")) => route.key = RouteKey::Topic,
            Some(("key", "none")) => route.key = RouteKey::None,
            Some(("key", level)) if level.starts_with("level:") => {
                route.key = RouteKey::Level(parse(&level["level:".len()..], "a level, from 0")?);
            }
            Some(("partitions", n)) => route.partitions = Some(positive(n)?),
            Some(("ack", level)) => route.ack = Some(ack(level)?),
            _ => return Err(format!("{word}: {form}")),
        }
    }
    Ok(route)
}

/// What a PUBACK means.
fn ack(text: &str) -> Result<AckLevel, String> {
    match text {
        "fsync" => Ok(AckLevel::Fsync),
        "memory" => Ok(AckLevel::Memory),
        _ => Err(format!("{text:?} is not fsync or memory")),
    }
}

fn complain(draft: &mut Draft, setting: &Setting, outcome: Result<(), String>) {
    if let Err(why) = outcome {
        draft.problems.push(format!("{}: {}: {why}", setting.origin, setting.key));
    }
}

fn parse<T: FromStr>(text: &str, expected: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not {expected}"))
}

fn positive(text: &str) -> Result<i32, String> {
    parse::<i32>(text, "a count, at least 1")
        .and_then(|n| if n >= 1 { Ok(n) } else { Err(format!("{n} is not a count, at least 1")) })
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{text:?} is not true or false")),
    }
}

/// Mosquitto's 0 = no limit.
fn unlimited(n: usize) -> usize {
    if n == 0 { usize::MAX } else { n }
}

/// `10h`, `2d`, `3w`, `4m`, `5y` (Mosquitto's `persistent_client_expiration`).
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: a whole number and h, d, w, m or y");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 24 * 7,
        'm' => 24 * 30,
        'y' => 24 * 365,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(number.saturating_mul(hours * 3600)))
}
