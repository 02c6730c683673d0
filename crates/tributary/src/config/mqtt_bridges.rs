//! `connection` blocks of a Mosquitto file: bridges to other brokers.

use std::time::Duration;

use mqtt::{BridgeConfig, BridgeDirection, BridgeStart, BridgeTopic};

use super::mqtt_settings::{boolean, parse};
use super::sources::Setting;

/// Takes a line of a bridge's block; `false` = it is no option of bridges.
pub(super) fn set(bridge: &mut BridgeConfig, setting: &Setting) -> Result<bool, String> {
    let value = setting.value.as_str();
    let text = || Some(value.to_owned());
    match setting.key.as_str() {
        "address" | "addresses" => {
            for address in value.split_whitespace() {
                bridge.addresses.push(host_and_port(address)?);
            }
        }
        "topic" => bridge.topics.push(topic(value)?),
        "clientid" | "remote_clientid" => bridge.remote_client_id = text(),
        "local_clientid" => bridge.local_client_id = text(),
        "username" | "remote_username" => bridge.remote_user_name = text(),
        "password" | "remote_password" => bridge.remote_password = text(),
        "cleansession" => bridge.clean_session = boolean(value)?,
        "local_cleansession" => bridge.local_clean_session = Some(boolean(value)?),
        "keepalive_interval" => {
            bridge.keep_alive = parse(value, "seconds, 5 to 65535")?;
            if bridge.keep_alive < 5 {
                return Err(format!("{value} is less than 5 seconds"));
            }
        }
        "restart_timeout" => {
            let mut seconds = value.split_whitespace().map(|s| parse::<u64>(s, "seconds"));
            let base = seconds.next().ok_or("expected seconds, or the least and the most")??;
            let cap = seconds.next().transpose()?.unwrap_or(base);
            if base == 0 || cap < base {
                return Err("the first number is at least 1, the second at least the first".to_owned());
            }
            bridge.restart = (Duration::from_secs(base), Duration::from_secs(cap));
        }
        "start_type" => match value {
            "automatic" => bridge.start = BridgeStart::Automatic,
            "once" => bridge.start = BridgeStart::Once,
            "lazy" => bridge.start = BridgeStart::Lazy,
            _ => return Err(format!("{value:?} is not automatic, lazy or once")),
        },
        "threshold" => bridge.threshold = parse(value, "a count of messages")?,
        "idle_timeout" => bridge.idle_timeout = Duration::from_secs(parse(value, "seconds")?),
        "round_robin" => bridge.round_robin = boolean(value)?,
        "bridge_bind_address" => bridge.bind_address = Some(parse(value, "an IP address")?),
        "bridge_tcp_keepalive" => bridge.tcp_keep_alive = Some(tcp_keep_alive(value)?),
        "bridge_session_expiry_interval" => bridge.session_expiry = Some(parse(value, "seconds")?),
        "local_username" => bridge.local_user_name = text(),
        "local_password" => {}
        "try_private" => bridge.try_private = boolean(value)?,
        "notifications" => bridge.notifications = boolean(value)?,
        "notifications_local_only" => bridge.notifications_local_only = boolean(value)?,
        "notification_topic" => bridge.notification_topic = text(),
        "bridge_attempt_unsubscribe" => bridge.attempt_unsubscribe = boolean(value)?,
        "bridge_outgoing_retain" => bridge.outgoing_retain = boolean(value)?,
        "bridge_max_packet_size" => bridge.max_packet_size = parse(value, "bytes, or 0 for no limit")?,
        "bridge_protocol_version" => {
            bridge.version = match value {
                "mqttv31" => mqtt_codec::ProtocolVersion::V31,
                "mqttv311" => mqtt_codec::ProtocolVersion::V311,
                "mqttv50" => mqtt_codec::ProtocolVersion::V5,
                _ => return Err(format!("{value:?} is not mqttv31, mqttv311 or mqttv50")),
            }
        }
        "bridge_cafile" => bridge.tls.ca_file = Some(value.into()),
        "bridge_capath" => bridge.tls.ca_dir = Some(value.into()),
        "bridge_certfile" => bridge.tls.certificate = Some(value.into()),
        "bridge_keyfile" => bridge.tls.key = Some(value.into()),
        "bridge_insecure" => bridge.tls.insecure = boolean(value)?,
        "bridge_alpn" => bridge.tls.alpn = text(),
        "bridge_tls_version" => match value {
            "tlsv1.3" => bridge.tls.only_tls_1_3 = true,
            "tlsv1.2" => bridge.tls.only_tls_1_3 = false,
            _ => return Err(format!("{value:?} is not tlsv1.3 or tlsv1.2")),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// What a block lacks.
pub(super) fn missing(bridge: &BridgeConfig) -> Option<&'static str> {
    if bridge.addresses.is_empty() {
        return Some("address is missing");
    }
    if bridge.topics.is_empty() {
        return Some("there is no topic");
    }
    if bridge.tls.certificate.is_some() != bridge.tls.key.is_some() {
        return Some("bridge_certfile and bridge_keyfile are needed together");
    }
    if bridge.remote_password.is_some() && bridge.remote_user_name.is_none() {
        return Some("remote_password without remote_username");
    }
    None
}

/// `IDLE INTERVAL COUNTER`.
fn tcp_keep_alive(text: &str) -> Result<(u32, u32, u32), String> {
    let numbers: Vec<u32> =
        text.split_whitespace().map(|n| parse(n, "a number")).collect::<Result<_, _>>()?;
    match numbers[..] {
        [idle, interval, count] if idle > 0 && interval > 0 && count > 0 => Ok((idle, interval, count)),
        _ => Err("expected idle seconds, seconds between probes and their number".to_owned()),
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = super::listen::host_and_port(text, super::MQTT_PORT)?;
    if host.is_empty() { Err(format!("{text:?} names no host")) } else { Ok((host, port)) }
}

/// `FILTER [DIRECTION [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]`; `""` is an empty word.
fn topic(text: &str) -> Result<BridgeTopic, String> {
    let mut words = text.split_whitespace().map(|w| if w == "\"\"" { "" } else { w });
    let filter = words.next().unwrap_or_default().to_owned();
    let direction = match words.next() {
        None | Some("out") => BridgeDirection::Out,
        Some("in") => BridgeDirection::In,
        Some("both") => BridgeDirection::Both,
        Some(other) => return Err(format!("{other:?} is not in, out or both")),
    };
    let qos = parse::<u8>(words.next().unwrap_or("0"), "a QoS, 0 to 2")?;
    let qos = mqtt_codec::QoS::from_u8(qos).ok_or_else(|| format!("{qos} is not a QoS, 0 to 2"))?;
    let local_prefix = words.next().unwrap_or_default().to_owned();
    let remote_prefix = words.next().unwrap_or_default().to_owned();
    if words.next().is_some() {
        return Err("expected FILTER [in|out|both [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]".to_owned());
    }
    let topic = BridgeTopic { filter, direction, qos, local_prefix, remote_prefix };
    for side in [topic.local(), topic.remote()] {
        if mqtt_codec::topic::validate_filter(&side).is_err() {
            return Err(format!("{side:?} is not a topic filter"));
        }
    }
    Ok(topic)
}
