//! MQTT to Kafka: one lane.
//!
//! Messages of QoS 0 and 1 go to an idempotent producer and are acknowledged in their order, as their records are;
//! those of QoS 2 go through [`exact`]. When enough is under way the connection is not read, and the MQTT broker keeps
//! what it has.

mod exact;
mod state;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{Admin, Producer, producer::Delivery};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mqtt_client::{Client, Event, Message, Token};
use mqtt_codec::{Publish, QoS, ReasonCode};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::dead_letter::{self, DeadLetters};
use crate::error::BridgeError;
use crate::kafka::{Kafka, TopicState, is_fatal, is_poison, lasting_topic_state, pause, topic_state};
use crate::record::ToRecord;
use crate::stats::RouteStats;
use exact::{Context, Exact};
use state::StateTopic;

/// Time after which a record that is not acknowledged makes us ask for its topic.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Time for what is under way when the bridge is stopped.
const FAREWELL: Duration = Duration::from_secs(10);

/// What a lane is made of.
pub(crate) struct Setup {
    /// The lane's name among all of all bridges: client id, transactional id, key of its state.
    pub(crate) id: String,
    pub(crate) kafka: Kafka,
    pub(crate) to: ToRecord,
    pub(crate) dead_letter: Option<String>,
    pub(crate) state_topic: String,
    pub(crate) qos: QoS,
    pub(crate) in_flight: u16,
    pub(crate) buffer_bytes: usize,
    pub(crate) stats: Arc<RouteStats>,
}

/// What becomes of a message.
enum Fate {
    Delivery(Delivery),
    /// Sent once more, or for the first time while its topic is not known.
    Resend(BoxFuture<'static, Result<(), Refused>>),
    DeadLetter(BoxFuture<'static, ()>),
}

enum Refused {
    Poison(String),
    Missing,
    Fatal(client::Error),
}

struct Pending {
    token: Token,
    publish: Publish,
    topic: Arc<str>,
    fate: Fate,
    since: Instant,
}

/// What the cluster says of topics.
type Found = Vec<(Arc<str>, TopicState)>;

enum Settled {
    Acknowledged,
    DeadLetter,
    Failed(client::Error),
    Refused(Refused),
}

struct Lane {
    setup: Setup,
    client: Client,
    admin: Admin,
    producer: Producer,
    letters: DeadLetters,
    /// In the order in which they came.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// How many of them are to be sent again: nothing may overtake those.
    resends: usize,
    /// Topics that are not there: their messages are dead letters at once.
    missing: BTreeSet<Arc<str>>,
    probe: Option<BoxFuture<'static, Found>>,
    exact: Option<Exact>,
}

/// Forwards until `stop`, or until something only people can mend. `config` and `dial` say to whom.
pub(crate) async fn run(
    setup: Setup,
    mut config: mqtt_client::Config,
    dial: Arc<dyn mqtt_client::Dial>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BridgeError> {
    let admin = setup.kafka.admin()?;
    let letters = DeadLetters::new(setup.dead_letter.as_deref(), setup.to.clone());
    config.subscribe_at_once = false;
    let mut exact = None;
    if setup.qos == QoS::ExactlyOnce {
        let context = Context {
            kafka: setup.kafka.clone(),
            admin: admin.clone(),
            transactional_id: setup.id.clone(),
            state: StateTopic::new(&setup.state_topic, &setup.id),
            to: setup.to.clone(),
            letters: letters.clone(),
            stats: Arc::clone(&setup.stats),
        };
        let started = tokio::select! {
            started = Exact::start(context) => started?,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        config.received = started.received();
        exact = Some(started);
    }
    let mut lane = Lane {
        client: Client::new(config, dial),
        producer: setup.kafka.producer(setup.buffer_bytes)?,
        admin,
        letters,
        pending: VecDeque::new(),
        pending_bytes: 0,
        resends: 0,
        missing: BTreeSet::new(),
        probe: None,
        exact,
        setup,
    };
    lane.forward(&mut stop).await?;
    let _ = tokio::time::timeout(FAREWELL, lane.finish()).await;
    lane.client.disconnect().await;
    lane.producer.close(Duration::from_secs(1)).await;
    Ok(())
}

impl Lane {
    async fn forward(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), BridgeError> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.begin();
            let readable = self.may_read();
            tokio::select! {
                settled = front(&mut self.pending) => self.settle(settled)?,
                ran = running(&mut self.exact) => {
                    if let Some(exact) = &mut self.exact {
                        exact.ended(ran, &mut self.client)?;
                    }
                }
                event = self.client.drive(readable) => event.map_or(Ok(()), |e| self.handle(e))?,
                found = probing(&mut self.probe) => self.found(found)?,
                _ = look.tick() => self.look(),
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
            // Whatever else has come meanwhile belongs to the same round.
            while self.may_read() {
                let Some(event) = self.client.try_next() else { break };
                self.handle(event)?;
            }
        }
    }

    /// Waits for what is under way; takes nothing new.
    async fn finish(&mut self) -> Result<(), BridgeError> {
        loop {
            self.begin();
            if self.pending.is_empty() && self.exact.as_ref().is_none_or(Exact::is_idle) {
                return Ok(());
            }
            tokio::select! {
                settled = front(&mut self.pending) => self.settle(settled)?,
                ran = running(&mut self.exact) => {
                    if let Some(exact) = &mut self.exact {
                        exact.ended(ran, &mut self.client)?;
                    }
                }
                () = self.client.stay() => {}
            }
        }
    }

    fn begin(&mut self) {
        let (mut count, mut bytes) = (self.pending.len(), self.pending_bytes);
        if let Some(exact) = &mut self.exact {
            exact.begin();
            count += exact.len();
            bytes += exact.bytes();
        }
        self.setup.stats.in_flight.set(count as u64);
        self.setup.stats.in_flight_bytes.set(bytes as u64);
    }

    fn may_read(&self) -> bool {
        let most = usize::from(self.setup.in_flight);
        let (count, bytes) = self.exact.as_ref().map_or((0, 0), |e| (e.len(), e.bytes()));
        self.resends == 0
            && self.pending.len() < most
            && count < most
            && self.pending_bytes + bytes < self.setup.buffer_bytes
    }

    fn handle(&mut self, event: Event) -> Result<(), BridgeError> {
        let stats = &self.setup.stats;
        match event {
            Event::Message(message) => return self.take(message),
            Event::Connected { session_present } => {
                tracing::info!(
                    lane = self.setup.id,
                    session_present,
                    "connected to {}",
                    self.client.address()
                );
                let session = self.client.session();
                let may_subscribe = self.exact.as_mut().is_none_or(|e| e.connected(session_present, session));
                if may_subscribe {
                    self.client.subscribe().map_err(|e| self.mqtt(e))?;
                }
                // Without SUBACK to come it is as before.
                stats.mqtt_up.store(session_present, Ordering::Relaxed);
            }
            Event::Subscribed(answers) => {
                for (filter, reason) in answers {
                    if reason.is_error() {
                        let address = self.client.address();
                        return Err(BridgeError::Subscription { address, filter, reason });
                    }
                    if reason < ReasonCode::granted(self.setup.qos) {
                        tracing::warn!(filter, granted = %reason, "the broker grants less than was asked for");
                    }
                }
                stats.mqtt_up.store(true, Ordering::Relaxed);
            }
            Event::Release(id) => match &mut self.exact {
                Some(exact) => exact.release(id),
                None => self.client.complete(id).map_err(|e| self.mqtt(e))?,
            },
            Event::Lost(error) => {
                stats.mqtt_up.store(false, Ordering::Relaxed);
                stats.connections_lost.add(1);
                if error.is_final() {
                    return Err(self.mqtt(error));
                }
                tracing::warn!(lane = self.setup.id, %error, "no connection to {}", self.client.address());
            }
            Event::Published { .. } => {}
        }
        Ok(())
    }

    fn mqtt(&self, source: mqtt_client::Error) -> BridgeError {
        BridgeError::Mqtt { address: self.client.address(), source }
    }

    /// A message has come.
    fn take(&mut self, message: Message) -> Result<(), BridgeError> {
        let stats = &self.setup.stats;
        stats.received.add(1);
        if self.setup.to.is_own(&message.publish) {
            stats.own.add(1);
            // In its place among the others.
            return self.push(message, Fate::DeadLetter(Box::pin(std::future::ready(()))), true);
        }
        if let (QoS::ExactlyOnce, Some(exact)) = (message.publish.qos, &mut self.exact) {
            exact.push(message);
            return Ok(());
        }
        let topic = self.setup.to.topic(&message.publish);
        if self.missing.contains(&topic) {
            let fate = self.dead_letter(&message.publish, &topic, &missing_text(&topic));
            return self.push(message, fate, false);
        }
        let partitions = match self.setup.to.wants_partitions() {
            true => match self.producer.partitions_for(&topic).now_or_never() {
                Some(Ok(n)) => Some(n),
                _ => {
                    let fate = self.resend(&message.publish, &topic);
                    return self.push(message, fate, false);
                }
            },
            false => None,
        };
        let record = self.setup.to.record(&message.publish, Arc::clone(&topic), partitions);
        // Almost always there is nothing to wait for.
        let fate = match self.producer.send(record).now_or_never() {
            Some(Ok(delivery)) => Fate::Delivery(delivery),
            Some(Err(error)) if is_poison(&error) => {
                self.dead_letter(&message.publish, &topic, &error.to_string())
            }
            Some(Err(error)) if is_fatal(&error) => return Err(error.into()),
            _ => self.resend(&message.publish, &topic),
        };
        self.push(message, fate, false)
    }

    fn push(&mut self, message: Message, fate: Fate, own: bool) -> Result<(), BridgeError> {
        let Message { publish, token } = message;
        if own {
            self.client.acknowledge(token).map_err(|e| self.mqtt(e))?;
            return Ok(());
        }
        self.pending_bytes += publish.payload.len();
        self.resends += usize::from(matches!(fate, Fate::Resend(_)));
        let topic = self.setup.to.topic(&publish);
        self.pending.push_back(Pending { token, publish, topic, fate, since: Instant::now() });
        Ok(())
    }

    fn dead_letter(&self, publish: &Publish, topic: &str, why: &str) -> Fate {
        tracing::warn!(lane = self.setup.id, mqtt_topic = %publish.topic, topic, why, "message becomes a dead letter");
        let letters = self.letters.records(publish, topic, why);
        Fate::DeadLetter(Box::pin(dead_letter::write(self.producer.clone(), self.admin.clone(), letters)))
    }

    fn resend(&self, publish: &Publish, topic: &Arc<str>) -> Fate {
        let (producer, admin) = (self.producer.clone(), self.admin.clone());
        let (to, publish, topic) = (self.setup.to.clone(), publish.clone(), Arc::clone(topic));
        Fate::Resend(Box::pin(send_stubbornly(producer, admin, to, publish, topic)))
    }

    /// The message at the front is through, or needs something else.
    fn settle(&mut self, settled: Settled) -> Result<(), BridgeError> {
        let stats = Arc::clone(&self.setup.stats);
        match settled {
            Settled::Acknowledged | Settled::DeadLetter => {
                let Some(done) = self.pending.pop_front() else { return Ok(()) };
                let bytes = done.publish.payload.len();
                self.pending_bytes -= bytes;
                self.resends -= usize::from(matches!(done.fate, Fate::Resend(_)));
                stats.kafka_up.store(true, Ordering::Relaxed);
                let dead = matches!(settled, Settled::DeadLetter);
                if dead { &stats.dead_letters } else { &stats.delivered }.add(1);
                stats.delivered_bytes.add(bytes as u64);
                self.client.acknowledge(done.token).map_err(|e| self.mqtt(e))
            }
            Settled::Failed(error) if is_fatal(&error) => Err(error.into()),
            Settled::Failed(error) if is_poison(&error) => {
                self.bury(&error.to_string());
                Ok(())
            }
            Settled::Failed(error) => {
                tracing::warn!(lane = self.setup.id, %error, "sending again");
                self.restart()
            }
            Settled::Refused(Refused::Fatal(error)) => Err(error.into()),
            Settled::Refused(Refused::Poison(why)) => {
                self.bury(&why);
                Ok(())
            }
            Settled::Refused(Refused::Missing) => match self.pending.front().map(|p| Arc::clone(&p.topic)) {
                Some(topic) => self.declare_missing(topic),
                None => Ok(()),
            },
        }
    }

    /// The message at the front becomes a dead letter.
    fn bury(&mut self, why: &str) {
        let Some(front) = self.pending.front() else { return };
        let fate = self.dead_letter(&front.publish, &front.topic, why);
        if let Some(front) = self.pending.front_mut() {
            self.resends -= usize::from(matches!(front.fate, Fate::Resend(_)));
            front.fate = fate;
        }
    }

    /// Nothing of what was sent can be relied on: a new producer sends all of it again, in order.
    fn restart(&mut self) -> Result<(), BridgeError> {
        let fresh = self.setup.kafka.producer(self.setup.buffer_bytes)?;
        let old = std::mem::replace(&mut self.producer, fresh);
        tokio::spawn(async move { old.close(Duration::ZERO).await });
        let mut fates = Vec::with_capacity(self.pending.len());
        for p in &self.pending {
            fates.push(match &p.fate {
                _ if self.missing.contains(&p.topic) => {
                    self.dead_letter(&p.publish, &p.topic, &missing_text(&p.topic))
                }
                Fate::DeadLetter(_) => self.dead_letter(&p.publish, &p.topic, "see the first letter"),
                Fate::Delivery(_) | Fate::Resend(_) => self.resend(&p.publish, &p.topic),
            });
        }
        self.resends = fates.iter().filter(|f| matches!(f, Fate::Resend(_))).count();
        for (p, fate) in self.pending.iter_mut().zip(fates) {
            p.fate = fate;
            p.since = Instant::now();
        }
        Ok(())
    }

    fn declare_missing(&mut self, topic: Arc<str>) -> Result<(), BridgeError> {
        tracing::error!(lane = self.setup.id, %topic, "the topic does not exist: its messages are dead letters");
        self.missing.insert(topic);
        self.restart()
    }

    /// Looks whether something takes too long.
    fn look(&mut self) {
        let stuck = self.pending.front().filter(|p| p.since.elapsed() >= PATIENCE);
        let mut topics: BTreeSet<Arc<str>> = self.missing.clone();
        if let Some(stuck) = stuck.filter(|p| !matches!(p.fate, Fate::DeadLetter(_))) {
            topics.insert(Arc::clone(&stuck.topic));
        }
        if topics.is_empty() || self.probe.is_some() {
            return;
        }
        let (admin, missing) = (self.admin.clone(), self.missing.clone());
        self.probe = Some(Box::pin(async move {
            let mut found = Vec::new();
            for topic in topics {
                let state = match missing.contains(&topic) {
                    true => topic_state(&admin, &topic).await,
                    false => lasting_topic_state(&admin, &topic).await,
                };
                found.push((topic, state));
            }
            found
        }));
    }

    fn found(&mut self, found: Found) -> Result<(), BridgeError> {
        self.probe = None;
        for (topic, state) in found {
            match state {
                TopicState::There if self.missing.remove(&topic) => {
                    tracing::info!(lane = self.setup.id, %topic, "the topic is there again");
                }
                TopicState::Missing if !self.missing.contains(&topic) => self.declare_missing(topic)?,
                TopicState::Unknown => {
                    if self.setup.stats.kafka_up.swap(false, Ordering::Relaxed) {
                        tracing::warn!(
                            lane = self.setup.id,
                            "Kafka does not answer: messages wait here and at the MQTT broker"
                        );
                    }
                }
                TopicState::There | TopicState::Missing => {}
            }
        }
        Ok(())
    }
}

fn missing_text(topic: &str) -> String {
    format!("the topic {topic} does not exist")
}

/// What becomes of the message at the front.
async fn front(pending: &mut VecDeque<Pending>) -> Settled {
    match pending.front_mut().map(|p| &mut p.fate) {
        None => std::future::pending().await,
        Some(Fate::Delivery(delivery)) => match delivery.await {
            Ok(_) => Settled::Acknowledged,
            Err(error) => Settled::Failed(error),
        },
        Some(Fate::Resend(sending)) => match sending.await {
            Ok(()) => Settled::Acknowledged,
            Err(refused) => Settled::Refused(refused),
        },
        Some(Fate::DeadLetter(writing)) => {
            writing.await;
            Settled::DeadLetter
        }
    }
}

async fn running(exact: &mut Option<Exact>) -> exact::Ran {
    match exact.as_mut().and_then(|e| e.running.as_mut()) {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}

async fn probing<T>(probe: &mut Option<BoxFuture<'static, T>>) -> T {
    match probe {
        Some(probe) => probe.await,
        None => std::future::pending().await,
    }
}

/// Sends a message until Kafka has it, or will never take it.
async fn send_stubbornly(
    producer: Producer,
    admin: Admin,
    to: ToRecord,
    publish: Publish,
    topic: Arc<str>,
) -> Result<(), Refused> {
    let mut failures = 0;
    loop {
        let attempt = async {
            let partitions = match to.wants_partitions() {
                true => Some(producer.partitions_for(&topic).await?),
                false => None,
            };
            producer.send(to.record(&publish, Arc::clone(&topic), partitions)).await?.await
        };
        let error = match attempt.await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if is_poison(&error) {
            return Err(Refused::Poison(error.to_string()));
        }
        if is_fatal(&error) {
            return Err(Refused::Fatal(error));
        }
        if lasting_topic_state(&admin, &topic).await == TopicState::Missing {
            return Err(Refused::Missing);
        }
        tracing::warn!(%topic, %error, "sending again");
        tokio::time::sleep(pause(failures)).await;
        failures += 1;
    }
}
