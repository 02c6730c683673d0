//! What all connections share, and how a publication gets into the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::door::{Ack, DoorError, NewTopic, Record, TopicImage, TopicPartition, partition_for_key};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mqtt_codec::{PropertiesBuf, QoS, ReasonCode};

use crate::auth::{Access, Rights};
use crate::config::{AckLevel, MqttConfig, RouteKey};
use crate::dead_letter;
use crate::deliver::{Hub, Partition, QueueLimits};
use crate::exposed::Exposed;
use crate::mapping;
use crate::message::{Message, Position, Publication, now_ms};
use crate::net::Listener;
use crate::nodes::Nodes;
use crate::retained::Retained;
use crate::route::Target;
use crate::session::Registry;
use crate::session::store::{RETAINED, SessionStore};
use crate::stats::Stats;
use crate::timers::Timers;

/// How long a publish waits for its Kafka topic to be created.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);

/// The server's shared state.
pub(crate) struct Broker {
    pub(crate) config: MqttConfig,
    pub(crate) hub: Arc<Hub>,
    pub(crate) retained: Arc<Retained>,
    pub(crate) exposed: Arc<Exposed>,
    pub(crate) retained_partitions: i32,
    pub(crate) registry: Registry,
    /// The other nodes, where several share the log.
    pub(crate) nodes: Option<Arc<Nodes>>,
    pub(crate) store: SessionStore,
    pub(crate) stats: Arc<Stats>,
    /// Bounds of every consumer's queue.
    pub(crate) queue_limits: QueueLimits,
    pub(crate) timers: Timers,
    pub(crate) started: Instant,
    pub(crate) listeners: Vec<Arc<Listener>>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

/// A publication's place in the log.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) partition: Arc<Partition>,
    target: Target,
    /// What an ack of a record means there.
    pub(crate) level: AckLevel,
}

impl Located {
    /// The record of a publication at this place.
    pub(crate) fn record_of(&self, publication: &Publication) -> Record {
        let mut record = mapping::record_of(publication, &self.target);
        if self.target.retained && publication.retain && publication.payload.is_empty() {
            // Compaction removes it for good.
            record.value = None;
        }
        record
    }

    /// Whether a publication needs a record of its own in the store of retained messages.
    pub(crate) fn retains(&self, publication: &Publication) -> bool {
        publication.retain && !self.target.retained
    }
}

impl Broker {
    /// Where a topic's messages go, if its Kafka topic exists.
    pub(crate) fn locate_now(&self, topic: &str, image: &TopicImage) -> Option<Located> {
        self.located(self.hub.routes.target(topic), topic, image)
    }

    fn located(&self, target: Target, topic: &str, image: &TopicImage) -> Option<Located> {
        let info = image.get(&target.topic)?;
        // Whatever the record's key is: messages of one MQTT topic stay together, in order.
        let key = match target.key {
            RouteKey::Level(n) => topic.split('/').nth(n).unwrap_or(topic),
            RouteKey::Topic | RouteKey::None => topic,
        };
        let partition = partition_for_key(key.as_bytes(), info.partitions);
        let name = TopicPartition::new(info.name.clone(), partition);
        let level = if info.caching { AckLevel::Memory } else { target.ack };
        Some(Located { partition: self.hub.partitions.get(&name), target, level })
    }

    /// Where a topic's messages go; creates its Kafka topic if it may, else takes the overflow topic.
    ///
    /// # Errors
    /// When neither topic can be created.
    pub(crate) async fn locate(&self, topic: &str) -> Result<Located, DoorError> {
        let mut target = self.hub.routes.target(topic);
        let image = self.hub.image();
        if image.get(&target.topic).is_none() {
            if !target.explicit && !self.hub.routes.may_create(&image) {
                target = self.hub.routes.overflow();
            }
            let created = self.create(&target).await;
            if let Err(DoorError::Invalid(_) | DoorError::Limit(_)) = created {
                target = self.hub.routes.overflow();
                self.create(&target).await?;
            } else {
                created?;
            }
        }
        let image = self.hub.image();
        self.located(target, topic, &image).ok_or_else(|| DoorError::UnknownTopic(topic.to_owned()))
    }

    async fn create(&self, target: &Target) -> Result<(), DoorError> {
        let mut configs = match target.ack {
            AckLevel::Fsync => Vec::new(),
            AckLevel::Memory => vec![("write.caching".to_owned(), "true".to_owned())],
        };
        if target.retained {
            configs.push(("cleanup.policy".to_owned(), "compact".to_owned()));
        }
        let new = NewTopic { name: target.topic.to_string(), partitions: target.partitions, configs };
        let mut topics = self.hub.door.topics();
        let create = async {
            self.hub.door.create_topic(new).await?;
            let known = topics.wait_for(|image| image.get(&target.topic).is_some()).await;
            known.map(|_| ()).map_err(|_| DoorError::Unavailable("the log was closed".to_owned()))
        };
        tokio::time::timeout(CREATE_TIMEOUT, create).await.unwrap_or_else(|_| {
            Err(DoorError::Unavailable(format!("topic {} was not created", target.topic)))
        })
    }

    /// Appends a publication, together with `with` and, when it is retained, with the retained record: all or
    /// nothing. The append is under way when this returns; its offset is answered.
    pub(crate) fn append(
        self: &Arc<Self>,
        publication: &Publication,
        to: &Located,
        ack: Ack,
        with: Vec<(TopicPartition, Record)>,
    ) -> BoxFuture<'static, Result<i64, DoorError>> {
        let record = to.record_of(publication);
        let partition = to.partition.clone();
        if !to.retains(publication) && with.is_empty() {
            let done = self.hub.door.append(&partition.name, record, ack);
            return done.map(move |r| r.inspect(|offset| partition.note_end(offset + 1))).boxed();
        }
        let mut records = Vec::with_capacity(2 + with.len());
        records.push((partition.name.clone(), record));
        let retained = to.retains(publication).then(|| {
            let n = partition_for_key(&publication.topic, self.retained_partitions);
            let to = TopicPartition::new(RETAINED, n);
            records.push((to.clone(), mapping::retained_record_of(publication)));
            (self.hub.partitions.get(&to), owned(publication), self.retained.begin_write())
        });
        records.extend(with);
        let done = self.hub.door.append_atomic(records);
        let broker = self.clone();
        async move {
            let offsets = done.await?;
            let at = offsets.first().copied().unwrap_or(-1);
            partition.note_end(at + 1);
            if let (Some((of, publication, under_way)), Some(offset)) = (retained, offsets.get(1)) {
                let topic = publication.topic.clone();
                let message = (!publication.payload.is_empty()).then(|| {
                    let position = Some(Position { partition: of.id, offset: *offset });
                    Arc::new(Message { publication, stored_ms: now_ms(), position })
                });
                broker.retained.apply(topic, message, Position { partition: of.id, offset: *offset });
                drop(under_way);
            }
            Ok(at)
        }
        .boxed()
    }

    /// Keeps a message that the log refuses for good as a dead letter, if the configuration says so.
    pub(crate) async fn keep_refused(
        &self,
        publication: &Publication,
        refused_by: &str,
        error: DoorError,
        with: Vec<(TopicPartition, Record)>,
    ) -> Result<i64, DoorError> {
        let (door, letters) = (Arc::clone(&self.hub.door), &self.config.dead_letters);
        dead_letter::keep(door, letters, publication, refused_by, error, with).await
    }

    /// Whether the listener's rules and the log let a client publish this on its own account (a will).
    pub(crate) fn may_publish(&self, rights: &mut Rights, publication: &Publication) -> bool {
        if !rights.allow(Access::Write, &publication.topic) {
            return false;
        }
        let Some(kafka) = &mut rights.kafka else { return true };
        let Ok(topic) = std::str::from_utf8(&publication.topic) else { return false };
        kafka.may_write(&self.hub.routes.target(topic).topic)
    }

    /// Gives subscribers a message of the server's own, which is not logged.
    pub(crate) fn tell(&self, topic: &str, payload: Vec<u8>) {
        let publication = Publication {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: PropertiesBuf::new(),
            expiry_s: None,
            client: None,
            source: None,
        };
        self.hub.deliver_local(&Arc::new(Message { publication, stored_ms: now_ms(), position: None }));
    }

    /// Ends the connections of these users.
    pub(crate) async fn kick_users(&self, users: &[Option<String>]) {
        if users.is_empty() {
            return;
        }
        for seat in self.registry.all() {
            let mut state = seat.state.lock().await;
            if let Some(live) = &mut state.live
                && users.contains(&live.login.user_name)
            {
                crate::server::kick(live, ReasonCode::AdministrativeAction);
            }
        }
    }

    /// Whether one more retained message is allowed.
    pub(crate) fn may_retain(&self, publication: &Publication) -> bool {
        publication.payload.is_empty()
            || self.retained.len() < self.config.limits.max_retained
            || self.retained.contains(&publication.topic)
    }

    /// Publishes on the server's own account (wills), trying again while the log is unavailable. `false`: it is
    /// refused for good.
    pub(crate) async fn publish_until_stored(
        self: &Arc<Self>,
        publication: &Publication,
        with: impl Fn() -> Vec<(TopicPartition, Record)>,
    ) -> bool {
        let topic = String::from_utf8_lossy(&publication.topic).into_owned();
        if topic.starts_with('$') {
            return false;
        }
        let mut publication = publication.clone();
        if publication.retain && !self.may_retain(&publication) {
            publication.retain = false;
        }
        let mut pause = Duration::from_millis(50);
        loop {
            let stored = match self.locate(&topic).await {
                Ok(to) => self.append(&publication, &to, Ack::All, with()).await.map(|_| ()),
                Err(e) => Err(e),
            };
            match stored {
                Ok(()) => return true,
                Err(error @ DoorError::Unavailable(_)) => {
                    tracing::warn!(%topic, %error, "cannot publish yet, trying again");
                }
                Err(error) => {
                    tracing::error!(%topic, %error, "cannot publish");
                    return false;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

/// A copy that does not keep the buffer it was received in.
pub(crate) fn owned(p: &Publication) -> Publication {
    let copy = |b: &Bytes| Bytes::copy_from_slice(b);
    Publication {
        topic: copy(&p.topic),
        payload: copy(&p.payload),
        properties: PropertiesBuf::from_properties(p.properties.iter()).unwrap_or_default(),
        client: None,
        ..p.clone()
    }
}

/// The reason code for what the log refused.
pub(crate) fn reason_of(error: &DoorError) -> ReasonCode {
    match error {
        // "Packet too large" is not among the reasons of PUBACK and PUBREC.
        DoorError::TooLarge { .. } | DoorError::Unavailable(_) | DoorError::Limit(_) => {
            ReasonCode::QuotaExceeded
        }
        DoorError::Unauthorized(_) => ReasonCode::NotAuthorized,
        DoorError::Invalid(_) => ReasonCode::TopicNameInvalid,
        _ => ReasonCode::ImplementationSpecificError,
    }
}
