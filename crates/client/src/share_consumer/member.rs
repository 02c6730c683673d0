//! Membership of a share group by heartbeats (KIP-932): the coordinator says which partitions to fetch from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kafka_codec::messages::ShareGroupHeartbeatRequest;
use kafka_codec::{ErrorCode, Uuid};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admin::Node;
use crate::cluster::{Cluster, CoordinatorKind, Purpose};
use crate::config::ShareConsumerConfig;
use crate::consumer::check_worded;
use crate::error::{Error, Result};
use crate::retry::backoff;

/// A partition by its topic's id.
pub(super) type Id = (Uuid, i32);

/// Epoch of the last heartbeat.
const LEAVE: i32 = -1;
/// Pause between heartbeats until the coordinator says another.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);

/// What the application wants.
#[derive(Clone, Debug)]
struct Wish {
    /// Topics; none = no member.
    topics: Vec<String>,
    /// When the application polled last.
    polled: Instant,
    /// Counts the times it wants to leave.
    leaves: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
struct Told {
    assignment: Arc<BTreeSet<Id>>,
    /// The last failure that waiting does not mend, and its number.
    failure: Option<(u64, Error)>,
    left: u64,
}

/// The consumer's end of its membership.
#[derive(Debug)]
pub(super) struct Member {
    /// Chosen by this client.
    pub(super) id: String,
    wish: watch::Sender<Wish>,
    told: watch::Receiver<Told>,
    heard: u64,
}

impl Member {
    pub(super) fn start(config: Arc<ShareConsumerConfig>, cluster: Arc<Cluster>) -> Self {
        let id = random_id().to_string();
        let (wish, wished) = watch::channel(Wish { topics: Vec::new(), polled: Instant::now(), leaves: 0 });
        let (tell, told) = watch::channel(Told::default());
        let task = Task {
            member_id: id.clone(),
            config,
            cluster,
            wish: wished,
            told: tell,
            coordinator: None,
            epoch: 0,
            failures: 0,
        };
        tokio::spawn(task.run());
        Self { id, wish, told, heard: 0 }
    }

    pub(super) fn subscribe(&self, topics: Vec<String>) {
        self.wish.send_modify(|wish| {
            wish.topics = topics;
            wish.polled = Instant::now();
        });
    }

    pub(super) fn polled(&self) {
        // Nobody need wake up for this.
        self.wish.send_if_modified(|wish| {
            wish.polled = Instant::now();
            false
        });
    }

    /// Partitions to fetch from now.
    pub(super) fn assignment(&mut self) -> Arc<BTreeSet<Id>> {
        Arc::clone(&self.told.borrow_and_update().assignment)
    }

    /// A failure that was not told yet.
    pub(super) fn failure(&mut self) -> Option<Error> {
        let (number, error) = self.told.borrow().failure.clone()?;
        let fresh = number > self.heard;
        self.heard = number;
        fresh.then_some(error)
    }

    /// Waits for another assignment or a failure.
    pub(super) async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            // The task is gone: nothing will change any more.
            std::future::pending::<()>().await;
        }
    }

    /// Leaves the group.
    pub(super) async fn leave(&mut self) {
        let mut leaves = 0;
        self.wish.send_modify(|wish| {
            wish.topics.clear();
            wish.leaves += 1;
            leaves = wish.leaves;
        });
        let _ = self.told.wait_for(|told| told.left >= leaves).await;
    }
}

/// Sends the heartbeats.
struct Task {
    member_id: String,
    config: Arc<ShareConsumerConfig>,
    cluster: Arc<Cluster>,
    wish: watch::Receiver<Wish>,
    told: watch::Sender<Told>,
    coordinator: Option<Node>,
    epoch: i32,
    failures: u32,
}

/// Why a membership ended.
enum Ended {
    /// The application has gone.
    Gone,
    /// It has other wishes now.
    Again,
}

impl Task {
    async fn run(mut self) {
        loop {
            let wish = self.wish.borrow_and_update().clone();
            if wish.topics.is_empty() {
                self.told.send_modify(|told| told.left = wish.leaves);
                if self.wish.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.take_part().await {
                Ended::Gone => return,
                Ended::Again => {}
            }
        }
    }

    /// Joins, and stays as long as the application wants to.
    async fn take_part(&mut self) -> Ended {
        self.epoch = 0;
        let mut said: Option<Vec<String>> = None;
        let mut interval = FIRST_INTERVAL;
        loop {
            let wish = self.wish.borrow_and_update().clone();
            if wish.topics.is_empty() {
                self.leave().await;
                self.forget();
                return Ended::Again;
            }
            if wish.polled.elapsed() > self.config.max_poll_interval {
                tracing::warn!(
                    group = self.config.group_id,
                    "consumer poll timeout has expired: the time between polls was longer than max.poll.interval.ms"
                );
                self.leave().await;
                self.forget();
                return self.await_poll().await;
            }
            let pause = match self.beat(&wish.topics, &mut said, &mut interval).await {
                Ok(()) => {
                    self.failures = 0;
                    interval
                }
                Err(error) => {
                    tracing::debug!(group = self.config.group_id, %error, "heartbeat failed");
                    said = None;
                    match error.code() {
                        Some(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => {
                            self.forget();
                            self.epoch = 0;
                        }
                        _ if error.is_retriable() => self.coordinator = None,
                        _ => {
                            self.forget();
                            return self.fail(error).await;
                        }
                    }
                    let client = &self.config.client;
                    self.failures = self.failures.saturating_add(1);
                    backoff(client.retry_backoff, client.retry_backoff_max, self.failures)
                }
            };
            if let Ok(Err(_)) = tokio::time::timeout(pause, self.wish.changed()).await {
                return Ended::Gone;
            }
        }
    }

    async fn beat(
        &mut self,
        topics: &[String],
        said: &mut Option<Vec<String>>,
        interval: &mut Duration,
    ) -> Result<()> {
        let config = &self.config;
        let node = match &self.coordinator {
            Some(node) => node.clone(),
            None => self.cluster.find_coordinator(CoordinatorKind::Group, &config.group_id).await?,
        };
        self.coordinator = Some(node.clone());
        let connection = self.cluster.coordinator(&node, Purpose::Membership).await?;
        let everything = said.as_deref() != Some(topics);
        let rack = Some(config.client.client_rack.clone()).filter(|rack| !rack.is_empty());
        let request = ShareGroupHeartbeatRequest {
            group_id: config.group_id.clone(),
            member_id: self.member_id.clone(),
            member_epoch: self.epoch,
            rack_id: rack.filter(|_| everything),
            subscribed_topic_names: everything.then(|| topics.to_vec()),
            ..ShareGroupHeartbeatRequest::default()
        };
        let response = connection.call(&request).await?;
        check_worded(response.error_code, response.error_message, &config.group_id)?;
        *said = Some(topics.to_vec());
        self.epoch = response.member_epoch;
        if response.heartbeat_interval_ms > 0 {
            *interval = Duration::from_millis(response.heartbeat_interval_ms.unsigned_abs().into());
        }
        if let Some(assignment) = response.assignment {
            let mut partitions = BTreeSet::new();
            for topic in assignment.topic_partitions {
                partitions.extend(topic.partitions.iter().map(|index| (topic.topic_id, *index)));
            }
            self.told.send_if_modified(|told| {
                let changed = *told.assignment != partitions;
                if changed {
                    told.assignment = Arc::new(partitions);
                }
                changed
            });
        }
        Ok(())
    }

    /// Nothing is assigned any more.
    fn forget(&self) {
        self.told.send_modify(|told| told.assignment = Arc::default());
    }

    /// Tells the application; goes on when it wants something else.
    async fn fail(&mut self, error: Error) -> Ended {
        self.told.send_modify(|told| {
            let number = told.failure.as_ref().map_or(1, |(number, _)| number + 1);
            told.failure = Some((number, error));
        });
        if self.wish.changed().await.is_err() { Ended::Gone } else { Ended::Again }
    }

    /// Waits until the application polls again.
    async fn await_poll(&mut self) -> Ended {
        loop {
            let idle = self.wish.borrow().polled.elapsed();
            if idle < self.config.max_poll_interval {
                return Ended::Again;
            }
            match tokio::time::timeout(Duration::from_millis(100), self.wish.changed()).await {
                Ok(Err(_)) => return Ended::Gone,
                Ok(Ok(())) => return Ended::Again,
                Err(_) => {}
            }
        }
    }

    async fn leave(&mut self) {
        if self.epoch <= 0 {
            return;
        }
        let leave = async {
            let node = match &self.coordinator {
                Some(node) => node.clone(),
                None => self.cluster.find_coordinator(CoordinatorKind::Group, &self.config.group_id).await?,
            };
            let connection = self.cluster.coordinator(&node, Purpose::Membership).await?;
            let request = ShareGroupHeartbeatRequest {
                group_id: self.config.group_id.clone(),
                member_id: self.member_id.clone(),
                member_epoch: LEAVE,
                ..ShareGroupHeartbeatRequest::default()
            };
            connection.call(&request).await
        };
        if let Err(error) = leave.await {
            tracing::debug!(%error, "cannot leave the group; its session will end by itself");
        }
        self.epoch = 0;
    }
}

fn random_id() -> Uuid {
    loop {
        let mut bytes = [0; 16];
        for quarter in bytes.chunks_exact_mut(4) {
            quarter.copy_from_slice(&getrandom::u32().unwrap_or_default().to_be_bytes());
        }
        if let Some(id) = Uuid::from_random(bytes) {
            return id;
        }
    }
}
