//! The one road on which cluster state changes: decide, append, wait until durable, build, publish.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use client::door::{TopicImage, TopicInfo};
use kafka_codec::ErrorCode;
use log::{LogError, TopicPartition};
use meta::config::{BrokerProperties, TopicConfig};
use meta::{ConfigResourceKind, Image, MetaError, MetaRecord, controller, store};
use tokio::sync::{Mutex, watch};

use crate::replica::{Partition, Replicas, WantedTopic};

/// The metadata log's topic.
pub(crate) const METADATA_TOPIC: &str = "__cluster_metadata";

/// What is true now; replaced whole at each change.
pub(crate) struct State {
    /// The cluster state.
    pub(crate) image: Image,
    /// The broker's settings from all places.
    pub(crate) properties: BrokerProperties,
}

/// Keeps the cluster state of a quorum of one.
pub(crate) struct Metadata {
    node_id: i32,
    fixed: BTreeMap<String, String>,
    log: Arc<Partition>,
    replicas: Arc<Replicas>,
    refused: BTreeMap<TopicPartition, LogError>,
    state: ArcSwap<State>,
    topics: watch::Sender<Arc<TopicImage>>,
    /// Counts changes of rights and users.
    access: watch::Sender<u64>,
    /// Held from the decision to the publication of a change.
    changing: Mutex<()>,
}

impl Metadata {
    /// Reads the metadata log and opens the partitions it speaks of; logs of topics that are no more are
    /// deleted (a delete that a crash cut short).
    ///
    /// # Errors
    /// The metadata log cannot be read, or a partition's directory cannot be made.
    pub(crate) fn load(
        node_id: i32,
        fixed: BTreeMap<String, String>,
        log: Arc<Partition>,
        replicas: Arc<Replicas>,
        refused: BTreeMap<TopicPartition, LogError>,
    ) -> Result<Self, MetaError> {
        let image = store::replay(log.log()?)?;
        let properties = effective_properties(node_id, &fixed, &image);
        let (topics, _) = watch::channel(Arc::default());
        let metadata = Self {
            node_id,
            fixed,
            log,
            replicas,
            refused,
            state: ArcSwap::from_pointee(State { image: Image::default(), properties: properties.clone() }),
            topics,
            access: watch::channel(0).0,
            changing: Mutex::new(()),
        };
        metadata.delete_strays(&image);
        let fresh = metadata.fresh_topics(&Image::default(), &image, &properties);
        metadata.install(&image, properties, &fresh);
        Ok(metadata)
    }

    /// What is true now.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Leader epoch and end of the metadata log.
    pub(crate) fn log_position(&self) -> (i32, i64) {
        (self.log.leader_epoch(), self.log.log().map_or(-1, |log| log.durable_end()))
    }

    /// The topics, for the door.
    pub(crate) fn topics(&self) -> watch::Receiver<Arc<TopicImage>> {
        self.topics.subscribe()
    }

    /// Told of each change of rights and users, once it is in force.
    pub(crate) fn access_changes(&self) -> watch::Receiver<u64> {
        self.access.subscribe()
    }

    /// Makes one change: `decide` sees the newest state and answers the records that carry the change out and
    /// what to tell the caller. Answers when the change is durable and in force.
    ///
    /// # Errors
    /// What `decide` refuses; a failure of the metadata log or of a partition's creation.
    pub(crate) async fn change<T>(
        &self,
        decide: impl FnOnce(&State) -> Result<(Vec<MetaRecord>, T), MetaError>,
    ) -> Result<T, MetaError> {
        let _changing = self.changing.lock().await;
        let state = self.state();
        let (records, answer) = decide(&state)?;
        if records.is_empty() {
            return Ok(answer);
        }
        let log = self.log.log()?;
        let mut image = state.image.clone();
        for (offset, record) in (log.log_end()..).zip(&records) {
            if let Err(reason) = image.apply(offset, record) {
                // The decision was made on this very image.
                debug_assert!(false, "{reason}");
                return Err(MetaError::refused(ErrorCode::UnknownServerError, reason));
            }
        }
        let batch = store::batch(&records, crate::api::now_ms())?;
        let properties = effective_properties(self.node_id, &self.fixed, &image);
        // New partitions get their directories first: a crash or refusal from here on leaves strays, which the
        // next start removes, and never a topic without its logs.
        let fresh = self.fresh_topics(&state.image, &image, &properties);
        for wanted in &fresh {
            self.replicas.create_logs(wanted, &self.refused)?;
        }
        let append = async {
            let appended = log.append(log::AppendBatches::coordinator(batch, self.log.leader_epoch()))?;
            self.log.durable(appended.last_offset).await
        };
        if let Err(error) = append.await {
            tracing::error!(%error, "cannot write the metadata log; the change is refused");
            return Err(error.into());
        }
        self.install(&image, properties, &fresh);
        Ok(answer)
    }

    /// Topics of `after` that have partitions which `before` has not.
    fn fresh_topics(&self, before: &Image, after: &Image, properties: &BrokerProperties) -> Vec<WantedTopic> {
        after
            .topics()
            .filter(|topic| before.topic(&topic.name).is_none_or(|old| !Arc::ptr_eq(old, topic)))
            .map(|topic| {
                let configs = after.configs(ConfigResourceKind::Topic, &topic.name);
                WantedTopic {
                    name: Arc::clone(&topic.name),
                    id: topic.id,
                    leader_epochs: topic.partitions.iter().map(|state| state.leader_epoch).collect(),
                    config: TopicConfig::of(properties, &configs),
                }
            })
            .collect()
    }

    /// Brings partitions in line with `image`, then publishes it.
    fn install(&self, image: &Image, properties: BrokerProperties, fresh: &[WantedTopic]) {
        let before = self.state();
        for old in before.image.topics() {
            if image.topic(&old.name).is_none_or(|new| new.id != old.id) {
                self.replicas.delete(&old.name);
            }
        }
        for wanted in fresh {
            self.replicas.open(wanted, &self.refused);
        }
        let defaults_changed = before.properties.dynamic != properties.dynamic
            || before.properties.dynamic_default != properties.dynamic_default;
        if defaults_changed {
            self.replicas.dir.set_cleaner_config(crate::server::cleaner_config(&properties));
        }
        for topic in image.topics() {
            let changed = before.image.topic_config_changed(image, &topic.name);
            if (changed || defaults_changed)
                && let Some(replicas) = self.replicas.topic(&topic.name)
            {
                let configs = image.configs(ConfigResourceKind::Topic, &topic.name);
                let config = TopicConfig::of(&properties, &configs);
                for partition in &replicas.partitions {
                    partition.set_config(config.clone());
                }
            }
        }
        let topics = topic_image(image, &properties);
        self.state.store(Arc::new(State { image: image.clone(), properties }));
        if !Arc::ptr_eq(&before.image.acls, &image.acls) || !Arc::ptr_eq(&before.image.scram, &image.scram) {
            self.access.send_modify(|number| *number += 1);
        }
        self.topics.send_if_modified(|current| {
            let changed = current.topics != topics.topics;
            if changed {
                *current = Arc::new(topics);
            }
            changed
        });
    }

    fn delete_strays(&self, image: &Image) {
        let own = self.log.topic.clone();
        let mut strays = Vec::new();
        for log in self.replicas.dir.logs() {
            let name = log.partition();
            let wanted = image.topic(&name.topic).is_some_and(|topic| {
                topic.id.0 == log.topic_id()
                    && usize::try_from(name.partition).is_ok_and(|index| index < topic.partitions.len())
            });
            if !wanted && name.topic != own {
                tracing::info!(partition = %name, "removing the log of a deleted topic");
                strays.push(name.clone());
            }
        }
        if !strays.is_empty()
            && let Err(error) = self.replicas.dir.delete_logs(&strays)
        {
            tracing::error!(%error, "cannot remove the logs of deleted topics");
        }
    }
}

fn effective_properties(node_id: i32, fixed: &BTreeMap<String, String>, image: &Image) -> BrokerProperties {
    let of = |name: &str| (*image.configs(ConfigResourceKind::Broker, name)).clone();
    BrokerProperties { fixed: fixed.clone(), dynamic: of(&node_id.to_string()), dynamic_default: of("") }
}

fn topic_image(image: &Image, properties: &BrokerProperties) -> TopicImage {
    let topics = image
        .topics()
        .map(|topic| TopicInfo {
            name: Arc::clone(&topic.name),
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            internal: topic.name.starts_with("__") || controller::is_internal(&topic.name),
            caching: {
                let configs = image.configs(ConfigResourceKind::Topic, &topic.name);
                TopicConfig::of(properties, &configs).write_caching
            },
        })
        .collect();
    TopicImage { topics }
}
