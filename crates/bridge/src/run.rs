//! Starts the lanes, each on a thread of its own, and ends them.

use std::sync::Arc;

use client::Error;
use mqtt_codec::{Password, ProtocolVersion, Subscription};
use tokio::sync::{mpsc, watch};

use crate::config::{BridgeConfig, MqttVersion, Route, ToKafkaRoute, ToMqttRoute};
use crate::dial::dial;
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
                    dead_letter: match route.dead_letter.as_deref() {
                        Some("none") => to_mqtt::DeadLetter::PassOver,
                        topic => to_mqtt::DeadLetter::To(topic.map(Arc::from)),
                    },
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
