//! The door of a Kafka cluster: what stands on a door runs the same on any Apache Kafka from 4.0 on.
//!
//! - Appends go through one idempotent producer with `acks=all`; whatever [`Ack`] was asked for, they are answered
//!   when every in-sync replica has them.
//! - Atomic appends are transactions. Those that come while one is under way share the next one (`appends`).
//! - Several nodes may have a door of one cluster, each with a transactional id of its own (`nodes`).
//! - Reads are `read_committed`. Tails share long polls, one connection for each (`reads`).
//! - Topics are looked up every two seconds.

mod appends;
mod errors;
mod nodes;
mod reads;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kafka_codec::ErrorCode;
use tokio::sync::{mpsc, watch};

use crate::admin::{Admin, CreateTopicsOptions, NewTopic as KafkaTopic};
use crate::cluster::{Cluster, Interest};
use crate::config::{AdminConfig, ConsumerConfig, ProducerConfig, Properties};
use crate::door::{
    Ack, Chunk, Door, DoorError, NewTopic, Nodes, Record, StartAt, Tail, TopicImage, TopicInfo,
    TopicPartition,
};
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use appends::{Appending, Command, Unanswered};
use nodes::ClusterNodes;
use reads::{Reads, RemoteTail};

/// Room for records that wait for the cluster.
const PRODUCER_BYTES: usize = 256 << 20;
/// How old what is known of topics may be.
const TOPICS_AGE: Duration = Duration::from_secs(2);
/// Limit of a topic's creation, until it has leaders.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// A topic configuration that only our own broker has; on a cluster every append waits for all replicas.
const OWN_TOPIC_CONFIGS: &[&str] = &["write.caching"];

/// The door of one cluster.
pub struct RemoteDoor {
    admin: Admin,
    cluster: Arc<Cluster>,
    topics: watch::Sender<Arc<TopicImage>>,
    appends: mpsc::UnboundedSender<Command>,
    unanswered: Unanswered,
    reads: Reads,
    nodes: Arc<ClusterNodes>,
}

impl RemoteDoor {
    /// Connects with a client's properties (`bootstrap.servers`, `security.protocol` …). `service` and `node` name this
    /// node to the cluster, as the transactional id `service-node`: whoever opens a door with the same later fences this
    /// one's atomic appends.
    ///
    /// # Errors
    /// Bad properties, no broker that answers, or one that has no transactions of version 2.
    pub async fn open(properties: &Properties, service: &str, node: &str) -> Result<Arc<Self>> {
        let lazily = |defaults: &[(&str, &str)]| {
            let mut all = properties.clone();
            for (name, value) in defaults {
                all.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
            }
            all
        };
        let admin = Admin::new(AdminConfig::from_properties(properties.clone())?)?;
        let mut reading = properties.clone();
        reading.insert("isolation.level".to_owned(), "read_committed".to_owned());
        let mut consumer = ConsumerConfig::from_properties(reading)?;
        consumer.client.metadata_max_age = TOPICS_AGE;
        // More than what stands on the door has under way at a time: one topic that takes nothing shall not block others.
        let memory = PRODUCER_BYTES.to_string();
        let mut producer =
            ProducerConfig::from_properties(lazily(&[("linger.ms", "0"), ("buffer.memory", &memory)]))?;
        producer.acks = crate::config::Acks::All;
        let nodes = ClusterNodes::new(properties.clone(), service, node);
        let transactions = nodes.begin_own().await?;
        let cluster = Cluster::new(consumer.client.clone(), false);
        cluster.set_interest(Interest::All);
        cluster.keep_fresh();
        let topics = watch::Sender::new(Arc::default());
        let mut view = cluster.watch();
        let first = async {
            loop {
                {
                    let view = view.borrow_and_update();
                    if view.metadata.version > 0 {
                        topics.send_replace(Arc::new(image(&view.metadata)));
                        return Ok(());
                    }
                    if let Some(error @ (Error::Config(_) | Error::Broker(_))) = &view.error {
                        return Err(error.clone());
                    }
                }
                view.changed().await.map_err(|_| Error::Closed("client"))?;
            }
        };
        let limit = consumer.client.default_api_timeout;
        tokio::time::timeout(limit, first).await.map_err(|_| {
            Error::Timeout(format!("no broker told its topics within {} ms", limit.as_millis()))
        })??;
        let (appends, commands) = mpsc::unbounded_channel();
        let producer = crate::Producer::new(producer)?;
        tokio::spawn(Appending::new(producer, transactions, Arc::clone(&cluster)).run(commands));
        let reads = Reads::start(Arc::clone(&cluster), Arc::new(consumer));
        let door = Arc::new(Self {
            admin,
            cluster,
            topics,
            appends,
            unanswered: Unanswered::default(),
            reads,
            nodes,
        });
        tokio::spawn(announce_topics(Arc::downgrade(&door), view));
        Ok(door)
    }

    fn knows(&self, partition: &TopicPartition) -> Result<(), DoorError> {
        knows(&self.cluster.metadata(), partition)
    }
}

impl Drop for RemoteDoor {
    fn drop(&mut self) {
        self.cluster.close();
    }
}

fn knows(metadata: &Metadata, partition: &TopicPartition) -> Result<(), DoorError> {
    match metadata.partition(partition) {
        Some(_) => Ok(()),
        None => Err(DoorError::UnknownTopic(partition.to_string())),
    }
}

/// Tells every change of the topics, as long as somebody holds the door.
async fn announce_topics(door: std::sync::Weak<RemoteDoor>, mut view: watch::Receiver<crate::cluster::View>) {
    while view.changed().await.is_ok() {
        let new = image(&view.borrow_and_update().metadata);
        let Some(door) = door.upgrade() else { return };
        door.topics.send_if_modified(|topics| {
            let changed = topics.topics != new.topics;
            if changed {
                *topics = Arc::new(new);
            }
            changed
        });
    }
}

/// The topics with their partitions; names that begin with `__` are internal, as they are in our own broker.
fn image(metadata: &Metadata) -> TopicImage {
    let mut topics: Vec<_> = metadata
        .topics
        .values()
        .filter(|topic| !topic.partitions.is_empty())
        .map(|topic| TopicInfo {
            name: Arc::clone(&topic.name),
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            internal: topic.internal || topic.name.starts_with("__"),
            caching: false,
        })
        .collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    TopicImage { topics }
}

impl Door for RemoteDoor {
    fn nodes(&self) -> Option<Arc<dyn Nodes>> {
        Some(Arc::clone(&self.nodes) as Arc<dyn Nodes>)
    }

    fn topics(&self) -> watch::Receiver<Arc<TopicImage>> {
        self.topics.subscribe()
    }

    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'static, Result<(), DoorError>> {
        let (admin, cluster, mut topics) = (self.admin.clone(), Arc::clone(&self.cluster), self.topics());
        async move {
            let name = topic.name.clone();
            let mut new = KafkaTopic::new(topic.name, topic.partitions, None);
            new.configs = topic.configs;
            new.configs.retain(|(name, _)| !OWN_TOPIC_CONFIGS.contains(&name.as_str()));
            if name.starts_with("__") {
                new = new.kept_by(cluster.metadata().brokers.len());
            }
            let created = admin.create_topics(&[new], CreateTopicsOptions::default()).await;
            let created =
                created.and_then(|each| each.into_iter().next().map_or(Ok(()), |(_, c)| c.map(drop)));
            match created {
                Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
                other => other.map_err(|error| errors::of_topic(&error, &name))?,
            }
            let ready = async {
                loop {
                    cluster.want_refresh();
                    let metadata = cluster.metadata();
                    let led = metadata.topic(&name).is_some_and(|t| t.available.len() == t.partitions.len());
                    if led && topics.borrow_and_update().get(&name).is_some() {
                        return;
                    }
                    // The refresh itself is announced, too; this is for brokers that have not heard yet.
                    let _ = tokio::time::timeout(Duration::from_millis(50), topics.changed()).await;
                }
            };
            tokio::time::timeout(CREATE_TIMEOUT, ready)
                .await
                .map_err(|_| DoorError::Unavailable(format!("topic {name} has no leaders yet")))
        }
        .boxed()
    }

    fn append(
        &self,
        to: &TopicPartition,
        record: Record,
        ack: Ack,
    ) -> BoxFuture<'static, Result<i64, DoorError>> {
        let all = self.append_all(to, vec![record], ack);
        async move { all.await.pop().unwrap_or_else(|| Err(appends::stopped())) }.boxed()
    }

    fn append_all(
        &self,
        to: &TopicPartition,
        records: Vec<Record>,
        _ack: Ack,
    ) -> BoxFuture<'static, Vec<Result<i64, DoorError>>> {
        let count = records.len();
        let refuse = move |error: DoorError| {
            std::future::ready((0..count).map(|_| Err(error.clone())).collect::<Vec<_>>()).boxed()
        };
        if let Err(error) = self.knows(to) {
            return refuse(error);
        }
        let part = match self.unanswered.enter(records.iter()) {
            Ok(part) => part,
            Err(error) => return refuse(error),
        };
        let (command, answer) = Command::append(to.clone(), records, part);
        if self.appends.send(command).is_err() {
            return refuse(appends::stopped());
        }
        async move { answer.await.unwrap_or_else(|_| (0..count).map(|_| Err(appends::stopped())).collect()) }
            .boxed()
    }

    fn append_atomic(
        &self,
        records: Vec<(TopicPartition, Record)>,
    ) -> BoxFuture<'static, Result<Vec<i64>, DoorError>> {
        let metadata = self.cluster.metadata();
        if let Some(error) = records.iter().find_map(|(to, _)| knows(&metadata, to).err()) {
            return std::future::ready(Err(error)).boxed();
        }
        let part = match self.unanswered.enter(records.iter().map(|(_, record)| record)) {
            Ok(part) => part,
            Err(error) => return std::future::ready(Err(error)).boxed(),
        };
        let (command, answer) = Command::atomic(records, part);
        let sent = self.appends.send(command);
        async move {
            sent.map_err(|_| appends::stopped())?;
            answer.await.unwrap_or_else(|_| Err(appends::stopped()))
        }
        .boxed()
    }

    fn read(
        &self,
        from: &TopicPartition,
        offset: i64,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Chunk, DoorError>> {
        self.reads.read(from.clone(), offset, max_bytes).boxed()
    }

    fn offset_at(&self, of: &TopicPartition, at: StartAt) -> BoxFuture<'static, Result<i64, DoorError>> {
        self.reads.offset_at(of.clone(), at).boxed()
    }

    fn tail(&self, of: &TopicPartition, at: StartAt) -> Box<dyn Tail> {
        Box::new(RemoteTail::new(self.reads.clone(), of.clone(), at))
    }
}
