//! Starts the lanes, each on a thread of its own, and ends them.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Error;
use mqtt_client::{Dial, Tcp};
use mqtt_codec::{Password, ProtocolVersion, Subscription};
use tokio::sync::{mpsc, watch};

use crate::config::{BridgeConfig, MqttVersion, Route, ToKafkaRoute, ToMqttRoute};
use crate::error::BridgeError;
use crate::kafka::{Kafka, is_fatal};
use crate::record::{ToMessage, ToRecord};
use crate::stats::{RouteStats, Stats};
use crate::{to_kafka, to_mqtt};

/// Ends a bridge when it is dropped or told to.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Lanes finish what is under way and end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// A bridge that runs.
#[derive(Debug)]
pub struct Running {
    /// What it counts.
    pub stats: Stats,
    stop: Stop,
    ended: mpsc::Receiver<Result<(), BridgeError>>,
    lanes: usize,
}

impl Running {
    /// Waits until a lane cannot go on, or all have ended.
    ///
    /// # Errors
    /// Why the lane could not go on.
    pub async fn ended(&mut self) -> Result<(), BridgeError> {
        while self.lanes > 0 {
            let Some(outcome) = self.ended.recv().await else { break };
            self.lanes -= 1;
            outcome?;
        }
        Ok(())
    }

    /// Tells all lanes to finish and end.
    pub fn stop(&self) {
        self.stop.stop();
    }
}

/// Asks Kafka who it is, and starts all lanes. A Kafka that does not answer yet is waited for by the lanes.
///
/// # Errors
/// A configuration that cannot be used, or a Kafka that refuses us.
pub async fn run(config: BridgeConfig) -> Result<Running, BridgeError> {
    let kafka = Kafka::new(&config.kafka);
    let cluster = kafka.admin()?;
    match cluster.describe_cluster().await {
        Ok(_) => {}
        Err(error) if is_fatal(&error) => return Err(error.into()),
        Err(error @ Error::Broker(_)) if !error.is_retriable() => return Err(error.into()),
        Err(error) => tracing::warn!(%error, "Kafka does not answer yet: waiting for it"),
    }
    cluster.close().await;
    let dial = dial(&config)?;
    let (stop, stopped) = watch::channel(false);
    let (tell, ended) = mpsc::channel(64);
    let mut stats = Stats::default();
    let mut lanes = 0;
    let mark = config.goes_both_ways().then_some(config.name.as_str());
    for route in &config.routes {
        let route = match route {
            Route::Mqtt(route) => route,
            Route::Kafka(route) => {
                let name = route.name.clone().unwrap_or_default();
                let direction = "kafka-to-mqtt";
                let counts = Arc::new(RouteStats { name: name.clone(), direction, ..RouteStats::default() });
                stats.routes.push(Arc::clone(&counts));
                let id = format!("{}-{name}", config.name);
                let mqtt = publisher(&config, &id, route)?;
                let setup = to_mqtt::Setup {
                    id: id.clone(),
                    group: route.group.clone().unwrap_or_else(|| id.clone()),
                    topics: route.topic.clone(),
                    kafka: kafka.clone(),
                    to: ToMessage::new(route, mark),
                    in_flight: route.in_flight.into(),
                    stats: counts,
                };
                let (dial, stopped, tell) = (Arc::clone(&dial), stopped.clone(), tell.clone());
                spawn(&id, tell, move || to_mqtt::run(setup, mqtt, dial, stopped))?;
                lanes += 1;
                continue;
            }
        };
        for n in 1..=route.connections {
            let name = route.name.clone().unwrap_or_default();
            let name = if route.connections > 1 { format!("{name}-{n}") } else { name };
            let counts = Arc::new(RouteStats {
                name: name.clone(),
                direction: "mqtt-to-kafka",
                ..RouteStats::default()
            });
            stats.routes.push(Arc::clone(&counts));
            let id = format!("{}-{name}", config.name);
            let mqtt = mqtt(&config, &id, route)?;
            let setup = to_kafka::Setup {
                id: id.clone(),
                kafka: kafka.clone(),
                to: ToRecord::new(route, mark),
                dead_letter: route.dead_letter.clone(),
                state_topic: config.state_topic.clone(),
                qos: route.qos,
                in_flight: route.in_flight,
                buffer_bytes: route.buffer_bytes,
                stats: counts,
            };
            let (dial, stopped, tell) = (Arc::clone(&dial), stopped.clone(), tell.clone());
            spawn(&id, tell, move || to_kafka::run(setup, mqtt, dial, stopped))?;
            lanes += 1;
        }
    }
    Ok(Running { stats, stop: Stop(stop), ended, lanes })
}

/// Runs a lane on a thread of its own.
fn spawn<F>(
    id: &str,
    tell: mpsc::Sender<Result<(), BridgeError>>,
    lane: impl FnOnce() -> F + Send + 'static,
) -> Result<(), BridgeError>
where
    F: Future<Output = Result<(), BridgeError>>,
{
    let failed = |source| BridgeError::System { what: "a lane cannot be started".to_owned(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let work = move || {
        let outcome = runtime.block_on(lane());
        let _ = tell.blocking_send(outcome);
    };
    std::thread::Builder::new().name(id.chars().take(15).collect()).spawn(work).map_err(failed)?;
    Ok(())
}

/// What CONNECT of a lane says.
fn connect(config: &BridgeConfig, id: &str) -> Result<mqtt_client::Config, BridgeError> {
    let side = &config.mqtt;
    let mut mqtt = mqtt_client::Config::new(id);
    // In MQTT 3.1.1 messages cannot say where they come from.
    mqtt.fall_back = side.version == MqttVersion::Newest && !config.goes_both_ways();
    if side.version == MqttVersion::V311 {
        mqtt.connect.version = ProtocolVersion::V311;
    }
    mqtt.connect.keep_alive = side.keep_alive;
    mqtt.connect.user_name = side.user.clone();
    mqtt.connect.password = password(config)?.map(|p| Password::from(p.as_str()));
    mqtt.connect.properties.session_expiry_interval = Some(side.session_expiry.unwrap_or(u32::MAX));
    Ok(mqtt)
}

/// A lane that publishes.
fn publisher(
    config: &BridgeConfig,
    id: &str,
    route: &ToMqttRoute,
) -> Result<mqtt_client::Config, BridgeError> {
    let mut mqtt = connect(config, id)?;
    mqtt.in_flight_max = route.in_flight;
    Ok(mqtt)
}

/// A lane that subscribes.
fn mqtt(config: &BridgeConfig, id: &str, route: &ToKafkaRoute) -> Result<mqtt_client::Config, BridgeError> {
    let mut mqtt = connect(config, id)?;
    mqtt.in_flight_max = route.in_flight;
    for filter in &route.filter {
        let filter = match &route.share {
            Some(share) => format!("$share/{share}/{filter}"),
            None => filter.clone(),
        };
        let mut subscription = Subscription::new(filter, route.qos);
        subscription.retain_as_published = true;
        if route.share.is_none() {
            // Retained messages come once, not with every start.
            subscription.retain_handling = mqtt_codec::RetainHandling::SendIfNew;
        }
        mqtt = mqtt.subscribe(subscription);
    }
    Ok(mqtt)
}

fn password(config: &BridgeConfig) -> Result<Option<String>, BridgeError> {
    let Some(path) = &config.mqtt.password_file else { return Ok(config.mqtt.password.clone()) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| BridgeError::System { what: path.display().to_string(), source })?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

/// How to reach the MQTT broker.
fn dial(config: &BridgeConfig) -> Result<Arc<dyn Dial>, BridgeError> {
    let given = config.mqtt.address.as_str();
    let (scheme, rest) = given.split_once("://").unwrap_or(("mqtt", given));
    let wrong = |what: &str| BridgeError::Config(format!("mqtt address {given:?}: {what}"));
    let (default_port, tls) = match scheme {
        "mqtt" | "tcp" => (1883, false),
        "mqtts" | "ssl" | "tls" => (8883, true),
        other => return Err(wrong(&format!("{other}:// is not known: mqtt:// or mqtts://"))),
    };
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
    let tcp = Tcp::new(host, port);
    if tls {
        return Ok(Arc::new(tcp.tls(Arc::new(tls_of(config)?))));
    }
    let side = &config.mqtt;
    if side.insecure || [&side.ca_file, &side.cert_file, &side.key_file].iter().any(|file| file.is_some()) {
        return Err(wrong("ca_file, cert_file, key_file and insecure need an address with mqtts://"));
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
    fn addresses_say_whether_tls_is_spoken_and_files_must_fit() {
        let reach = |address: &str, change: fn(&mut BridgeConfig)| {
            let mut config = BridgeConfig::new(address, "kafka:9092");
            change(&mut config);
            dial(&config).map(|dial| dial.address()).map_err(|error| error.to_string())
        };
        assert_eq!(reach("broker", |_| {}).unwrap(), "broker:1883");
        assert_eq!(reach("mqtt://[::1]:1884", |_| {}).unwrap(), "::1:1884");
        let refused = reach("ws://broker", |_| {}).unwrap_err();
        assert!(refused.contains("ws:// is not known"), "{refused}");
        let refused = reach("broker:1883", |c| c.mqtt.ca_file = Some("ca.pem".into())).unwrap_err();
        assert!(refused.contains("mqtts://"), "{refused}");
        let refused =
            reach("mqtts://broker", |c| c.mqtt.ca_file = Some("no/such/ca.pem".into())).unwrap_err();
        assert!(refused.contains("no/such/ca.pem"), "{refused}");
        let refused = reach("mqtts://broker", |c| c.mqtt.cert_file = Some("c.pem".into())).unwrap_err();
        assert!(refused.contains("go together"), "{refused}");
    }
}
