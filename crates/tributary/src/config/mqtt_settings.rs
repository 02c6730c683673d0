//! MQTT's settings under Mosquitto's names, and our own `mqtt.*`.

use std::str::FromStr;
use std::time::Duration;

use mqtt::{AckLevel, DeadLetters, MqttConfig, Redirect, RouteConfig, RouteKey, Transport};

use super::mqtt_bridges;
use super::mqtt_listeners::{self, ListenerDraft, SecurityDraft};
use super::sources::{self, Setting};
use super::{Draft, MQTT_PORT};

/// Largest packet the protocol can say, in bytes: what Mosquitto's `max_packet_size 0` means.
const PACKET_BYTES_MAX: u32 = 268_435_460;

/// Our own settings: what Mosquitto has no name for.
const OWN: &[&str] = &[
    "mqtt.auto.create.topics.max",
    "mqtt.auto.create.partitions",
    "mqtt.ack",
    "mqtt.dead.letter",
    "mqtt.qos0.lag.max",
    "mqtt.overflow.topic",
    "mqtt.sessions.max",
    "mqtt.subscriptions.max",
    "mqtt.replays.max",
    "mqtt.topic.alias.out.max",
    "mqtt.response.information",
    "mqtt.server.reference",
    "mqtt.server.moved",
    "mqtt.retained.max",
    "mqtt.checkpoint.interval.ms",
    "mqtt.connect.timeout.ms",
    "mqtt.connect.rate.max",
    "mqtt.topic.levels.max",
    "mqtt.sessions.anonymous",
];
/// `mqtt.route.NAME = FILTER -> TOPIC [key=topic|none|level:N] [partitions=N] [ack=fsync|memory] [retained=true]`
const ROUTE: &str = "mqtt.route.";

/// Whether a setting is one of our own.
pub(super) fn is_own(key: &str) -> bool {
    OWN.contains(&key) || key.starts_with(ROUTE)
}

/// Our listener settings: what is spoken, whether in TLS, the usual port.
const LISTENERS: &[(&str, Transport, bool, u16)] = &[
    (sources::MQTT, Transport::Mqtt, false, MQTT_PORT),
    (sources::MQTT_TLS, Transport::Mqtt, true, 8883),
    (sources::MQTT_WS, Transport::WebSocket, false, 9001),
    (sources::MQTT_WSS, Transport::WebSocket, true, 9002),
];

/// MQTT's configuration with listeners at our own addresses, `default` where none is given; none of them = MQTT is
/// off.
pub(super) fn build(draft: &mut Draft, default: &str) -> Option<MqttConfig> {
    let tls = [("certfile", sources::TLS_CERT), ("keyfile", sources::TLS_KEY), ("cafile", sources::TLS_CA)];
    let mut settings = draft.mosquitto.clone();
    for (key, ours) in tls {
        settings.extend(draft.own(ours).cloned().map(|s| Setting { key: key.to_owned(), ..s }));
    }
    let mut listeners: Vec<(bool, ListenerDraft)> = Vec::new();
    let mut is_off = true;
    for &(key, transport, with_tls, port) in LISTENERS {
        let default = if key == sources::MQTT { default } else { "" };
        for address in draft.addresses(key, default) {
            is_off = false;
            match ListenerDraft::at(&address, transport, port) {
                Ok(listener) => listeners.push((with_tls, listener)),
                Err(why) => draft.problem(key, why),
            }
        }
    }
    if is_off {
        return None;
    }
    let mut config = MqttConfig::default();
    if draft.own(sources::STORE).is_some_and(|s| s.value == "kafka") {
        config.dead_letters = DeadLetters::OfEachTopic;
    }
    let mut security = SecurityDraft::default();
    for setting in &settings {
        let outcome = match setting.key.as_str() {
            "listener" | "port" | "bind_address" | "protocol" | "per_listener_settings" => {
                Err(format!("listeners of `serve` are given by {}: use --mqtt ADDR", sources::MQTT))
            }
            _ => set_everywhere(&mut config, &mut security, setting, &mut listeners),
        };
        complain(draft, setting, outcome);
    }
    for (with_tls, listener) in &listeners {
        if *with_tls && !listener.has_tls() {
            draft.problems.push("TLS listeners need --tls-cert FILE and --tls-key FILE".to_owned());
            break;
        }
    }
    let listeners = listeners.into_iter().map(|(_, l)| l).collect();
    config.listeners = mqtt_listeners::finish(listeners, Some(&security), false, true, draft);
    finish(draft, config)
}

fn dead_letters(value: &str) -> DeadLetters {
    match value {
        "none" => DeadLetters::Off,
        "each" => DeadLetters::OfEachTopic,
        topic => DeadLetters::To(topic.to_owned()),
    }
}

fn set_everywhere(
    config: &mut MqttConfig,
    security: &mut SecurityDraft,
    setting: &Setting,
    listeners: &mut [(bool, ListenerDraft)],
) -> Result<(), String> {
    if security.set(setting)? || set_global(config, setting)? {
        return Ok(());
    }
    let mut probe = ListenerDraft::new();
    if !probe.set(setting)? {
        return Err("has no effect here".to_owned());
    }
    for (with_tls, listener) in listeners {
        if *with_tls || !probe.has_tls() {
            listener.set(setting)?;
        }
    }
    Ok(())
}

/// MQTT's configuration from a Mosquitto file: `listener` begins a block, what stands before the first one is about
/// the default listener, `-p` adds listeners.
pub(super) fn build_from_mosquitto(draft: &mut Draft, ports: &[u16]) -> Option<MqttConfig> {
    let settings = draft.mosquitto.clone();
    let value = |key: &str| settings.iter().rev().find(|s| s.key == key).map(|s| s.value.as_str());
    let per_listener = value("per_listener_settings").is_some_and(|v| v == "true");
    let mut config = MqttConfig::default();
    let mut first = ListenerDraft::new();
    let mut blocks: Vec<ListenerDraft> = Vec::new();
    let mut shared = SecurityDraft::default();
    let mut in_bridge = false;
    for setting in &settings {
        in_bridge = (in_bridge || setting.key == "connection") && setting.key != "listener";
        if in_bridge {
            let outcome = bridge_line(&mut config, &mut first, setting, per_listener, &mut shared);
            complain(draft, setting, outcome);
            continue;
        }
        let block = blocks.last_mut().unwrap_or(&mut first);
        let security = if per_listener { &mut block.security } else { &mut shared };
        let outcome = match setting.key.as_str() {
            "port" => parse::<u16>(&setting.value, "a port, 0 to 65535").map(|port| first.set_port(port)),
            "listener" => ListenerDraft::from_line(&setting.value).map(|l| blocks.push(l)),
            _ => security.set(setting).and_then(|done| {
                if done || set_global(&mut config, setting)? || block.set(setting)? {
                    return Ok(());
                }
                // Every name marked as honoured must be taken somewhere: a test goes through the table.
                Err("has no effect here".to_owned())
            }),
        };
        complain(draft, setting, outcome);
    }
    // Mosquitto 2: without a listener only this machine is served, and then nobody needs to log in.
    let local_only = blocks.is_empty() && !first.touched;
    let mut listeners = Vec::new();
    for port in ports {
        let mut listener = first.clone();
        listener.set_port(*port);
        listeners.push(listener);
    }
    if first.touched || blocks.is_empty() && listeners.is_empty() {
        listeners.push(first);
    }
    listeners.extend(blocks);
    let shared = (!per_listener).then_some(&shared);
    config.listeners = mqtt_listeners::finish(listeners, shared, !local_only, local_only, draft);
    finish(draft, config)
}

/// A line after `connection`: of that bridge, or of the whole server.
fn bridge_line(
    config: &mut MqttConfig,
    first: &mut ListenerDraft,
    setting: &Setting,
    per_listener: bool,
    shared: &mut SecurityDraft,
) -> Result<(), String> {
    if setting.key == "connection" {
        if config.bridges.iter().any(|b| b.name == setting.value) {
            return Err(format!("{} stands there twice", setting.value));
        }
        config.bridges.push(mqtt::BridgeConfig::new(&setting.value));
        return Ok(());
    }
    if let Some(bridge) = config.bridges.last_mut()
        && mqtt_bridges::set(bridge, setting)?
    {
        return Ok(());
    }
    if setting.key == "port" {
        return parse::<u16>(&setting.value, "a port, 0 to 65535").map(|port| first.set_port(port));
    }
    let security = if per_listener { &mut first.security } else { shared };
    if security.set(setting)? || set_global(config, setting)? || first.set(setting)? {
        return Ok(());
    }
    Err("has no effect here".to_owned())
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
        "message_size_limit" => {
            let bytes: usize = parse(value, "bytes, or 0 for no limit")?;
            config.message_size_limit = (bytes > 0).then_some(bytes);
        }
        "check_retain_source" => config.check_retain_source = boolean(value)?,
        "upgrade_outgoing_qos" => config.upgrade_outgoing_qos = boolean(value)?,
        // Given to each listener at the end.
        "clientid_prefixes" => {}
        "global_max_clients" | "global_max_connections" => {
            limits.max_connections = unlimited(parse(value, "a count")?)
        }
        // Read elsewhere.
        "log_dest"
        | "log_facility"
        | "log_type"
        | "log_timestamp"
        | "connection_messages"
        | "pid_file"
        | "persistence_location"
        | "per_listener_settings"
        | "kafka_listener" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

/// Our own settings, and the rule about who may be reached.
fn finish(draft: &mut Draft, mut config: MqttConfig) -> Option<MqttConfig> {
    for setting in draft.own.values().filter(|s| is_own(&s.key)).cloned().collect::<Vec<_>>() {
        let outcome = set_own(&mut config, &setting);
        complain(draft, &setting, outcome);
    }
    if config.redirect.as_ref().is_some_and(|r| r.reference.is_empty()) {
        draft.problem("mqtt.server.moved", "mqtt.server.reference says where to".to_owned());
    }
    for bridge in &config.bridges {
        if let Some(why) = mqtt_bridges::missing(bridge) {
            draft.problems.push(format!("connection {}: {why}", bridge.name));
        }
    }
    let prefixes =
        draft.mosquitto.iter().rev().find(|s| s.key == "clientid_prefixes").map(|s| s.value.clone());
    config.listeners.iter_mut().for_each(|l| l.client_id_prefixes.clone_from(&prefixes));
    let from_serve = LISTENERS.iter().any(|(key, ..)| draft.own(key).is_some());
    for l in &config.listeners {
        let open = !l.address.is_local() && l.allow_anonymous;
        if open && from_serve && !draft.anonymous_is_allowed() {
            let message = format!(
                "{} is reachable from other machines and nobody needs to log in: set allow_anonymous=true if that is \
                 meant, name users with password_file, or listen on 127.0.0.1",
                l.address
            );
            draft.problem(sources::MQTT, message);
        }
        let by_certificate = l.use_identity_as_username || l.use_subject_as_username;
        if !l.allow_anonymous && l.authenticator.is_none() && !by_certificate {
            draft.notes.push(format!(
                "MQTT listener {}: allow_anonymous is not true and there is no password_file: only users made by kafka-configs are let in",
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
        "mqtt.dead.letter" => config.dead_letters = dead_letters(value),
        "mqtt.qos0.lag.max" => config.limits.max_qos0_lag = parse(value, "a count of records")?,
        "mqtt.overflow.topic" => config.auto_create.overflow_topic = value.to_string(),
        "mqtt.sessions.max" => config.limits.max_sessions = parse(value, "a count")?,
        "mqtt.subscriptions.max" => config.limits.max_subscriptions = parse(value, "a count")?,
        "mqtt.topic.alias.out.max" => {
            config.limits.max_outgoing_aliases = parse(value, "a count, 0 to 65535")?;
        }
        "mqtt.response.information" => config.response_information = Some(value.to_owned()),
        "mqtt.server.reference" => {
            let moved = config.redirect.as_ref().is_some_and(|r| r.moved);
            config.redirect = Some(Redirect { reference: value.to_owned(), moved });
        }
        "mqtt.server.moved" => {
            let moved = boolean(value)?;
            let reference = config.redirect.take().map(|r| r.reference).unwrap_or_default();
            config.redirect = (moved || !reference.is_empty()).then_some(Redirect { reference, moved });
        }
        "mqtt.replays.max" => config.limits.max_replays = parse(value, "a count")?,
        "mqtt.retained.max" => config.limits.max_retained = parse(value, "a count")?,
        "mqtt.checkpoint.interval.ms" => {
            config.checkpoint_interval = Duration::from_millis(parse(value, "milliseconds")?)
        }
        "mqtt.connect.timeout.ms" => {
            config.limits.connect_timeout = Duration::from_millis(parse(value, "milliseconds")?)
        }
        "mqtt.connect.rate.max" => {
            let rate: u32 = parse(value, "connections a second, or 0 for no limit")?;
            config.listeners.iter_mut().for_each(|l| l.max_connect_rate = (rate > 0).then_some(rate));
        }
        "mqtt.topic.levels.max" => config.limits.max_topic_levels = parse(value, "a count")?,
        "mqtt.sessions.anonymous" => config.limits.anonymous_sessions = boolean(value)?,
        _ => config.routes.push(route(value)?),
    }
    Ok(())
}

/// `FILTER -> TOPIC [key=topic|none|level:N] [partitions=N] [ack=fsync|memory] [retained=true]`
fn route(text: &str) -> Result<RouteConfig, String> {
    let form =
        "expected FILTER -> TOPIC [key=topic|none|level:N] [partitions=N] [ack=fsync|memory] [retained=true]";
    let (filter, rest) = text.split_once("->").ok_or(form)?;
    let mut words = rest.split_whitespace();
    let topic = words.next().ok_or(form)?.to_string();
    let mut route = RouteConfig {
        filter: filter.trim().to_string(),
        topic,
        key: RouteKey::Topic,
        partitions: None,
        ack: None,
        retained: false,
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
            Some(("retained", text)) => route.retained = boolean(text)?,
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

pub(super) fn parse<T: FromStr>(text: &str, expected: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not {expected}"))
}

fn positive(text: &str) -> Result<i32, String> {
    parse::<i32>(text, "a count, at least 1")
        .and_then(|n| if n >= 1 { Ok(n) } else { Err(format!("{n} is not a count, at least 1")) })
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
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
