//! How to reach the MQTT broker: TCP, TLS, WebSocket, as its address says.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use mqtt::websocket::WebSocket;
use mqtt_client::{Dial, Stream, Tcp};

use crate::config::BridgeConfig;
use crate::error::BridgeError;

/// Where brokers serve WebSocket, when an address does not say.
const WEBSOCKET_PATH: &str = "/mqtt";

/// WebSocket on a connection.
struct OverWebSocket {
    below: Tcp,
    path: String,
}

impl Dial for OverWebSocket {
    fn dial(&self) -> BoxFuture<'static, io::Result<Stream>> {
        let (opening, host, path) = (self.below.dial(), self.below.address(), self.path.clone());
        Box::pin(async move { Ok(Box::new(WebSocket::open(opening.await?, &host, &path).await?) as Stream) })
    }

    fn address(&self) -> String {
        format!("{}{}", self.below.address(), self.path)
    }
}

/// How to reach the broker that `config` names.
pub(crate) fn dial(config: &BridgeConfig) -> Result<Arc<dyn Dial>, BridgeError> {
    let given = config.mqtt.address.as_str();
    let (scheme, rest) = given.split_once("://").unwrap_or(("mqtt", given));
    let wrong = |what: &str| BridgeError::Config(format!("mqtt address {given:?}: {what}"));
    let (default_port, tls, websocket) = match scheme {
        "mqtt" | "tcp" => (1883, false, false),
        "mqtts" | "ssl" | "tls" => (8883, true, false),
        "ws" => (80, false, true),
        "wss" => (443, true, true),
        other => return Err(wrong(&format!("{other}:// is not known: mqtt://, mqtts://, ws:// or wss://"))),
    };
    let (rest, path) = match rest.find('/') {
        Some(_) if !websocket => return Err(wrong("only ws:// and wss:// have a path")),
        Some(at) => rest.split_at(at),
        None => (rest, WEBSOCKET_PATH),
    };
    if path.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(wrong("a path has no spaces"));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong("the port is not a number up to 65535"))?)
        }
        _ => (rest, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong("there is no host"));
    }
    let mut tcp = Tcp::new(host, port);
    let side = &config.mqtt;
    if tls {
        tcp = tcp.tls(Arc::new(tls_of(config)?));
    } else if side.insecure
        || [&side.ca_file, &side.cert_file, &side.key_file].iter().any(|file| file.is_some())
    {
        let why = "ca_file, cert_file, key_file and insecure need an address with mqtts:// or wss://";
        return Err(wrong(why));
    }
    if websocket {
        return Ok(Arc::new(OverWebSocket { below: tcp, path: path.to_owned() }));
    }
    Ok(Arc::new(tcp))
}

/// TLS by the files that `[mqtt]` names.
fn tls_of(config: &BridgeConfig) -> Result<rustls::ClientConfig, BridgeError> {
    let side = &config.mqtt;
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path)
            .map_err(|source| BridgeError::System { what: path.display().to_string(), source })
    };
    let mut properties = BTreeMap::new();
    let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
    if let Some(path) = &side.ca_file {
        set("ssl.truststore.certificates", read(path)?);
    }
    match (&side.cert_file, &side.key_file) {
        (Some(chain), Some(key)) => {
            set("ssl.keystore.certificate.chain", read(chain)?);
            set("ssl.keystore.key", read(key)?);
        }
        (None, None) => {}
        _ => return Err(BridgeError::Config("[mqtt] cert_file and key_file go together".to_owned())),
    }
    if side.insecure {
        set("ssl.endpoint.identification.algorithm", String::new());
    }
    client::security::tls_client(properties)
        .map_err(|error| BridgeError::Config(format!("[mqtt] TLS: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_what_is_spoken_and_files_must_fit() {
        let reach = |address: &str, change: fn(&mut BridgeConfig)| {
            let mut config = BridgeConfig::new(address, "kafka:9092");
            change(&mut config);
            dial(&config).map(|dial| dial.address()).map_err(|error| error.to_string())
        };
        assert_eq!(reach("broker", |_| {}).unwrap(), "broker:1883");
        assert_eq!(reach("mqtt://[::1]:1884", |_| {}).unwrap(), "::1:1884");
        assert_eq!(reach("ws://broker:8083", |_| {}).unwrap(), "broker:8083/mqtt");
        assert_eq!(reach("wss://[::1]/a/b?c=d", |_| {}).unwrap(), "::1:443/a/b?c=d");
        let refused = |address: &str, change: fn(&mut BridgeConfig), why: &str| {
            let refused = reach(address, change).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        };
        refused("http://broker", |_| {}, "http:// is not known");
        refused("mqtt://broker/path", |_| {}, "only ws:// and wss:// have a path");
        refused("ws://broker/a b", |_| {}, "no spaces");
        refused("ws:///path", |_| {}, "no host");
        refused("ws://broker", |c| c.mqtt.ca_file = Some("ca.pem".into()), "wss://");
        refused("broker:1883", |c| c.mqtt.ca_file = Some("ca.pem".into()), "mqtts://");
        refused("mqtts://broker", |c| c.mqtt.ca_file = Some("no/such/ca.pem".into()), "no/such/ca.pem");
        refused("wss://broker", |c| c.mqtt.cert_file = Some("c.pem".into()), "go together");
    }
}
