//! Consumes records: partitions assigned by hand or by a group.

pub mod assignor;
mod commits;
pub(crate) mod fetched;
mod group;
mod heartbeats;
mod membership;
mod offsets;
mod partitions;
mod poll;
mod protocol;
pub(crate) mod tasks;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use regex::Regex;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use assignor::AssignorKind;

use crate::cluster::{Cluster, Interest};
use crate::config::ConsumerConfig;
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::record::OffsetAndTimestamp;
use commits::Committer;
use group::{Group, Membership};
pub(crate) use group::{check_worded, millis};
use partitions::{Partitions, Position};
use tasks::Done;

/// What a consumer is told when its group moves partitions. Called inside [`Consumer::poll`] (and
/// `close`/`unsubscribe`) with the consumer itself, so that it may commit or seek.
pub trait RebalanceListener: Send {
    /// The consumer is about to lose these; commit here.
    fn revoked<'a>(
        &'a mut self,
        consumer: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()>;

    /// The consumer got these in addition to what it kept.
    fn assigned<'a>(
        &'a mut self,
        consumer: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()>;

    /// The consumer has lost these already (session expired): commits would fail.
    fn lost<'a>(
        &'a mut self,
        consumer: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()> {
        self.revoked(consumer, partitions)
    }
}

/// Who the consumer is in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Group id.
    pub group_id: String,
    /// Generation, −1 outside the group.
    pub generation: i32,
    /// Member id, empty outside the group.
    pub member_id: String,
    /// `group.instance.id`.
    pub group_instance_id: Option<String>,
}

impl GroupMetadata {
    /// Not a member: may commit to groups without members only.
    pub(crate) fn nobody(group_id: &str) -> Self {
        let group_id = group_id.to_owned();
        Self { group_id, generation: -1, member_id: String::new(), group_instance_id: None }
    }
}

type Listener = Arc<tokio::sync::Mutex<Box<dyn RebalanceListener>>>;

/// Where the assignment comes from.
#[derive(Debug)]
enum Source {
    /// Nothing yet.
    None,
    /// [`Consumer::assign`].
    Manual,
    /// [`Consumer::subscribe`].
    Topics,
    /// [`Consumer::subscribe_pattern`].
    Pattern(Regex),
}

/// Where the consumer stands in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not taking part.
    Outside,
    /// Has to join at the next poll.
    MustJoin,
    /// Waits for an assignment.
    Joining,
    /// Has one.
    Stable,
}

/// A consumer. One owner; every call may be dropped half-way (a dropped [`Consumer::poll`] loses no record), so
/// `tokio::select!` replaces Java's `wakeup()`. Heartbeats go on in the background between calls.
pub struct Consumer {
    config: Arc<ConsumerConfig>,
    cluster: Arc<Cluster>,
    source: Source,
    /// Topics subscribed to; for a pattern those that match now.
    topics: BTreeSet<String>,
    listener: Option<Listener>,
    partitions: Partitions,
    tasks: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Brokers with a fetch under way.
    fetching: HashSet<i32>,
    /// Told by the next polls, in order.
    errors: VecDeque<Error>,
    group: Option<Group>,
    committer: Option<Committer>,
    phase: Phase,
    /// Number of the last Join.
    join: u64,
    /// An event that is being carried out: again, should the poll be dropped in the middle.
    event: Option<group::Event>,
    /// What was assigned last and in which generation, for sticky assignors.
    held: (Vec<TopicPartition>, i32),
    /// As the group's leader: topics of all members with their partition counts.
    watched: BTreeMap<String, i32>,
    /// Metadata already looked at.
    seen_metadata: u64,
    /// Metadata that a wait has ended for.
    woken_for: u64,
    /// The metadata of which topics that may not be read were told.
    refused_in: u64,
    next_auto_commit: Instant,
    closed: bool,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("config", &self.config)
            .field("source", &self.source)
            .field("phase", &self.phase)
            .field("partitions", &self.partitions.names())
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// Makes a consumer on the current tokio runtime; connects lazily.
    ///
    /// # Errors
    /// None today: bad configuration is refused when it is read.
    pub fn new(config: ConsumerConfig) -> Result<Self> {
        let cluster = Cluster::new(config.client.clone(), config.allow_auto_create_topics);
        cluster.keep_fresh();
        let config = Arc::new(config);
        let group = config
            .group_id
            .clone()
            .map(|id| Group::start(Arc::new(Membership::new(Arc::clone(&config), Arc::clone(&cluster), id))));
        let committer = group.as_ref().map(|group| Committer::start(Arc::clone(&group.membership)));
        Ok(Self {
            next_auto_commit: Instant::now() + config.auto_commit_interval,
            config,
            cluster,
            source: Source::None,
            topics: BTreeSet::new(),
            listener: None,
            partitions: Partitions::default(),
            tasks: FuturesUnordered::new(),
            fetching: HashSet::new(),
            errors: VecDeque::new(),
            group,
            committer,
            phase: Phase::Outside,
            join: 0,
            event: None,
            held: (Vec::new(), -1),
            watched: BTreeMap::new(),
            seen_metadata: 0,
            woken_for: 0,
            refused_in: 0,
            closed: false,
        })
    }

    fn check_open(&self) -> Result<()> {
        if self.closed {
            Err(Error::Illegal("This consumer has already been closed.".to_owned()))
        } else {
            Ok(())
        }
    }

    fn needs_group(&self) -> Result<&Group> {
        self.group.as_ref().ok_or_else(|| {
            Error::Illegal(
                "To use the group management or offset commit APIs, you must provide a valid group.id in the \
                 consumer configuration."
                    .to_owned(),
            )
        })
    }

    /// Joins the group for these topics at the next poll; replaces the former subscription. With an empty list the
    /// consumer gives everything up at the next poll.
    ///
    /// # Errors
    /// [`Error::Illegal`] without `group.id`, after [`Consumer::assign`], or for an empty name.
    pub fn subscribe(&mut self, topics: &[&str], listener: Option<Box<dyn RebalanceListener>>) -> Result<()> {
        if topics.iter().any(|topic| topic.trim().is_empty()) {
            return Err(Error::Illegal(
                "Topic collection to subscribe to cannot contain null or empty topic".to_owned(),
            ));
        }
        self.subscribe_to(Source::Topics, listener)?;
        self.topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.renew_interest();
        Ok(())
    }

    /// Joins the group for all topics, now and later, whose whole name matches.
    ///
    /// # Errors
    /// [`Error::Illegal`] without `group.id` or after [`Consumer::assign`].
    pub fn subscribe_pattern(
        &mut self,
        pattern: Regex,
        listener: Option<Box<dyn RebalanceListener>>,
    ) -> Result<()> {
        self.subscribe_to(Source::Pattern(pattern), listener)?;
        self.topics.clear();
        self.seen_metadata = 0;
        self.renew_interest();
        Ok(())
    }

    fn subscribe_to(&mut self, source: Source, listener: Option<Box<dyn RebalanceListener>>) -> Result<()> {
        self.check_open()?;
        self.needs_group()?;
        if matches!(self.source, Source::Manual) && !self.partitions.is_empty() {
            return Err(Error::Illegal(
                "Subscription to topics, partitions and pattern are mutually exclusive".to_owned(),
            ));
        }
        self.source = source;
        self.listener = listener.map(|listener| Arc::new(tokio::sync::Mutex::new(listener)));
        self.phase = Phase::MustJoin;
        Ok(())
    }

    /// Leaves the group and drops every assignment.
    ///
    /// # Errors
    /// None but a closed consumer.
    pub async fn unsubscribe(&mut self) -> Result<()> {
        self.check_open()?;
        self.give_up_all().await;
        self.leave_group().await;
        self.source = Source::None;
        self.topics.clear();
        self.listener = None;
        self.renew_interest();
        Ok(())
    }

    /// Takes exactly these partitions, without a group's coordination. Those kept keep their position.
    ///
    /// # Errors
    /// [`Error::Illegal`] while subscribed.
    pub fn assign(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.check_open()?;
        if matches!(self.source, Source::Topics | Source::Pattern(_)) {
            return Err(Error::Illegal(
                "Subscription to topics, partitions and pattern are mutually exclusive".to_owned(),
            ));
        }
        self.source = Source::Manual;
        let start = self.start_position();
        self.partitions.replace(partitions, start);
        self.renew_interest();
        Ok(())
    }

    /// Where a partition starts that has just been assigned.
    fn start_position(&self) -> Position {
        if self.group.is_some() {
            Position::Committed
        } else {
            self.reset_position().unwrap_or(Position::Committed)
        }
    }

    /// Tells the cluster for which topics metadata is needed.
    fn renew_interest(&self) {
        let interest = match self.source {
            Source::Pattern(_) => Interest::All,
            _ => {
                let own = self.topics.iter().chain(self.watched.keys()).map(|t| Arc::from(t.as_str()));
                Interest::Topics(
                    own.chain(self.partitions.iter().map(|(p, _)| Arc::clone(&p.topic))).collect(),
                )
            }
        };
        self.cluster.set_interest(interest);
    }

    /// Partitions assigned now, sorted.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.partitions.names()
    }

    /// Topics subscribed to (for a pattern: those that match now), sorted.
    pub fn subscription(&self) -> Vec<String> {
        self.topics.iter().cloned().collect()
    }

    fn assigned(&mut self, partition: &TopicPartition) -> Result<&mut partitions::Assigned> {
        let missing = || Error::Illegal(format!("No current assignment for partition {partition}"));
        self.partitions.get_mut(partition).ok_or_else(missing)
    }

    /// Moves the position of an assigned partition.
    ///
    /// # Errors
    /// [`Error::Illegal`] for a negative offset or a partition that is not assigned.
    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        if offset < 0 {
            return Err(Error::Illegal("seek offset must not be a negative number".to_owned()));
        }
        self.move_to(partition, Position::At { offset, leader_epoch: None })
    }

    fn move_to(&mut self, partition: &TopicPartition, position: Position) -> Result<()> {
        self.check_open()?;
        self.assigned(partition)?;
        self.partitions.set(partition, position);
        Ok(())
    }

    /// Moves the position to the first offset (all assigned partitions when the list is empty).
    ///
    /// # Errors
    /// [`Error::Illegal`] for a partition that is not assigned.
    pub fn seek_to_beginning(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.move_all(partitions, Position::Lookup(partitions::EARLIEST))
    }

    /// Moves the position to the end (all assigned partitions when the list is empty).
    ///
    /// # Errors
    /// [`Error::Illegal`] for a partition that is not assigned.
    pub fn seek_to_end(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.move_all(partitions, Position::Lookup(partitions::LATEST))
    }

    fn move_all(&mut self, partitions: &[TopicPartition], position: Position) -> Result<()> {
        let all = if partitions.is_empty() { self.assignment() } else { partitions.to_vec() };
        all.iter().try_for_each(|partition| self.move_to(partition, position))
    }

    /// Stops fetching these until [`Consumer::resume`].
    ///
    /// # Errors
    /// [`Error::Illegal`] for a partition that is not assigned.
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        partitions.iter().try_for_each(|partition| self.assigned(partition).map(|a| a.paused = true))
    }

    /// Fetches these again.
    ///
    /// # Errors
    /// [`Error::Illegal`] for a partition that is not assigned.
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        partitions.iter().try_for_each(|partition| self.assigned(partition).map(|a| a.paused = false))
    }

    /// Partitions paused now, sorted.
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.partitions.iter().filter(|(_, a)| a.paused).map(|(p, _)| p.clone()).collect()
    }

    /// Records between the position and the end as last seen in a fetch; `None` before the first fetch.
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        let assigned = self.partitions.get(partition)?;
        match assigned.position {
            Position::At { offset, .. } => assigned.end.map(|end| (end - offset).max(0)),
            _ => None,
        }
    }

    /// Who this consumer is in its group; `None` without `group.id`.
    pub fn group_metadata(&self) -> Option<GroupMetadata> {
        self.group.as_ref().map(|group| group.membership.metadata())
    }

    /// Asks for a new rebalance at the next poll.
    pub fn enforce_rebalance(&mut self, reason: &str) {
        tracing::info!(reason, "rebalance enforced by the application");
        if self.phase == Phase::Stable {
            self.phase = Phase::MustJoin;
        }
    }

    /// Commits (with auto-commit), leaves the group (dynamic members) and closes the connections, within `timeout`.
    ///
    /// # Errors
    /// The last commit's failure; the consumer is closed all the same.
    pub async fn close(&mut self, timeout: Duration) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        let orderly = async {
            let committed = match self.config.auto_commit && self.phase == Phase::Stable {
                true => self.commit().await,
                false => Ok(()),
            };
            self.give_up_all().await;
            self.leave_group().await;
            committed
        };
        let committed = tokio::time::timeout(timeout, orderly).await;
        self.closed = true;
        self.cluster.close();
        match committed {
            Ok(committed) => committed,
            Err(_) => Err(Error::Timeout("the consumer could not be closed in order in time".to_owned())),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Without the orderly close the group finds out when the session ends.
        self.cluster.close();
    }
}
