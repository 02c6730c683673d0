//! Membership in a classic group: joins, leads, sends heartbeats, in a task of its own.
//!
//! The consumer decides *when* to join (after its listener has given partitions up) and what to do with an assignment;
//! the task does the talking, so that a group lives on while the application works between two polls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_codec::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_codec::messages::leave_group_request::MemberIdentity;
use kafka_codec::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_codec::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_codec::{ErrorCode, Uuid};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::GroupMetadata;
use super::assignor::{self, AssignorKind};
use super::protocol::{self, OwnSubscription};
use crate::admin::{Node, read_assignment};
use crate::cluster::{Cluster, CoordinatorKind, Purpose};
use crate::config::ConsumerConfig;
use crate::connection::Connection;
use crate::door::TopicPartition;
use crate::error::{BrokerError, Error, Result};
use crate::metadata::Metadata;
use crate::retry::backoff;

/// What the consumer tells the task.
#[derive(Debug)]
pub(super) enum Command {
    /// Join, or join again, with this subscription. Events about it carry the number.
    Join(u64, OwnSubscription),
    /// Leave the group; answered when done or given up.
    Leave(oneshot::Sender<()>),
}

/// What the task tells the consumer.
#[derive(Debug)]
pub(super) enum Event {
    /// The group rebalances: give up what the protocol asks for and join.
    Rebalance,
    /// A new generation with this member's partitions.
    Assigned {
        assignor: AssignorKind,
        partitions: Vec<TopicPartition>,
        /// For the leader: partition counts of all the group's topics, to be watched.
        watched: Option<BTreeMap<String, i32>>,
    },
    /// This member is no longer one; all it had belongs to others.
    Lost,
    /// The group cannot be joined.
    Failed(Error),
}

/// The group as consumer and task both see it.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) config: Arc<ConsumerConfig>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) group_id: String,
    state: Mutex<State>,
    /// What the consumer holds, for the heartbeats of a member that is assigned by the coordinator.
    held: watch::Sender<Vec<TopicPartition>>,
}

#[derive(Debug)]
struct State {
    member_id: String,
    generation: i32,
    coordinator: Option<Node>,
    last_poll: Instant,
}

impl Membership {
    pub(super) fn new(config: Arc<ConsumerConfig>, cluster: Arc<Cluster>, group_id: String) -> Self {
        let state =
            State { member_id: String::new(), generation: -1, coordinator: None, last_poll: Instant::now() };
        Self { config, cluster, group_id, state: Mutex::new(state), held: watch::Sender::default() }
    }

    /// Who this consumer is now.
    pub(super) fn metadata(&self) -> GroupMetadata {
        let state = self.state.lock();
        GroupMetadata {
            group_id: self.group_id.clone(),
            generation: state.generation,
            member_id: if state.generation >= 0 { state.member_id.clone() } else { String::new() },
            group_instance_id: self.config.group_instance_id.clone(),
        }
    }

    /// The application is alive.
    pub(super) fn polled(&self) {
        self.state.lock().last_poll = Instant::now();
    }

    pub(super) fn poll_deadline(&self) -> Instant {
        self.state.lock().last_poll + self.config.max_poll_interval
    }

    /// A connection to the coordinator, which is looked up when it is not known.
    pub(super) async fn coordinator(&self, purpose: Purpose) -> Result<Arc<Connection>> {
        let known = self.state.lock().coordinator.clone();
        let node = match known {
            Some(node) => node,
            None => {
                let node = self.cluster.find_coordinator(CoordinatorKind::Group, &self.group_id).await?;
                self.state.lock().coordinator = Some(node.clone());
                node
            }
        };
        let connection = self.cluster.coordinator(&node, purpose).await;
        if connection.is_err() {
            self.forget_coordinator();
        }
        connection
    }

    /// Looks the coordinator up again next time.
    pub(super) fn forget_coordinator(&self) {
        self.state.lock().coordinator = None;
    }

    /// Forgets the coordinator where an error says that it is another one.
    pub(super) fn heed(&self, error: &Error) {
        let moved = matches!(error, Error::Connection { .. } | Error::Timeout(_))
            || matches!(error.code(), Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable));
        if moved {
            self.forget_coordinator();
        }
    }

    /// Tells the task what the consumer holds now.
    pub(super) fn set_held(&self, mut partitions: Vec<TopicPartition>) {
        partitions.sort();
        self.held.send_if_modified(|held| {
            let changed = *held != partitions;
            *held = partitions;
            changed
        });
    }

    pub(super) fn held(&self) -> watch::Receiver<Vec<TopicPartition>> {
        self.held.subscribe()
    }

    /// Member id, made if there is none yet, and epoch: 0 to join.
    pub(super) fn identity(&self) -> (String, i32) {
        let mut state = self.state.lock();
        if state.member_id.is_empty() {
            let mut bytes = [0; 16];
            for quarter in bytes.chunks_exact_mut(4) {
                quarter.copy_from_slice(&getrandom::u32().unwrap_or_default().to_be_bytes());
            }
            state.member_id = Uuid(bytes).to_string();
        }
        (state.member_id.clone(), state.generation.max(0))
    }

    /// The member has no place in its group, but keeps its id: the coordinator may still know it.
    pub(super) fn step_back(&self) {
        self.state.lock().generation = -1;
    }

    fn member_id(&self) -> String {
        self.state.lock().member_id.clone()
    }

    pub(super) fn become_member(&self, member_id: &str, generation: i32) {
        let mut state = self.state.lock();
        member_id.clone_into(&mut state.member_id);
        state.generation = generation;
    }

    /// The member id is worthless now.
    fn become_stranger(&self) {
        self.become_member("", -1);
    }
}

/// The task's handle.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) membership: Arc<Membership>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) events: mpsc::Receiver<(u64, Event)>,
}

impl Group {
    /// Starts the task; it joins nothing before it is told. Ends when the handle is dropped.
    pub(super) fn start(membership: Arc<Membership>) -> Self {
        let (commands, command_receiver) = mpsc::channel(4);
        let (event_sender, events) = mpsc::channel(4);
        let task = Task { membership: Arc::clone(&membership), events: event_sender };
        tokio::spawn(task.run(command_receiver));
        Self { membership, commands, events }
    }
}

pub(super) struct Task {
    pub(super) membership: Arc<Membership>,
    events: mpsc::Sender<(u64, Event)>,
}

/// Why a member stops being one.
pub(super) enum Ended {
    Rebalance,
    Lost,
    Failed(Error),
}

impl Task {
    async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let mut next = commands.recv().await;
        while let Some(command) = next {
            next = match command {
                Command::Leave(done) => {
                    self.leave().await;
                    let _ = done.send(());
                    commands.recv().await
                }
                Command::Join(number, own) => {
                    tokio::select! {
                        biased;
                        // A newer wish ends whatever is going on.
                        command = commands.recv() => command,
                        // Ends only when the consumer is gone.
                        () = self.take_part(number, own) => None,
                    }
                }
            };
        }
    }

    pub(super) async fn tell(&self, number: u64, event: Event) {
        // Nobody to tell: the consumer is being dropped, and with it the channel that ends this task.
        let _ = self.events.send((number, event)).await;
    }

    /// Joins and stays, until the group says otherwise; then waits for the consumer's next word.
    async fn take_part(&self, number: u64, own: OwnSubscription) {
        let by_heartbeats = self.membership.config.by_heartbeats;
        let ended = if by_heartbeats {
            self.take_part_by_heartbeats(number, &own).await
        } else {
            match self.join(number, &own).await {
                Ok(()) => self.stay().await,
                Err(ended) => ended,
            }
        };
        match ended {
            Ended::Rebalance => {
                self.tell(number, Event::Rebalance).await;
                // Still a member until it joins again: others may take a while too.
                self.keep_alive().await;
            }
            Ended::Lost => {
                if by_heartbeats {
                    self.membership.step_back();
                } else {
                    self.membership.become_stranger();
                }
                self.tell(number, Event::Lost).await;
            }
            Ended::Failed(error) => self.tell(number, Event::Failed(error)).await,
        }
        std::future::pending().await
    }

    /// JoinGroup and SyncGroup, again and again until there is an assignment.
    async fn join(&self, number: u64, own: &OwnSubscription) -> Result<(), Ended> {
        let config = &self.membership.config;
        let mut failures = 0;
        loop {
            let error = match self.join_once(own).await {
                Ok((assignor, partitions, watched)) => {
                    self.tell(number, Event::Assigned { assignor, partitions, watched }).await;
                    return Ok(());
                }
                Err(error) => error,
            };
            tracing::debug!(group = self.membership.group_id, %error, "cannot join yet");
            self.membership.heed(&error);
            match error.code() {
                // The id is there now; Kafka wants to see it used (KIP-394).
                Some(ErrorCode::MemberIdRequired) => continue,
                Some(ErrorCode::RebalanceInProgress) => {}
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    self.membership.become_stranger();
                    if !own.owned.is_empty() {
                        return Err(Ended::Lost);
                    }
                }
                _ if error.is_retriable() => {}
                _ => return Err(Ended::Failed(error)),
            }
            let client = &config.client;
            tokio::time::sleep(backoff(client.retry_backoff, client.retry_backoff_max, failures)).await;
            failures += 1;
        }
    }

    async fn join_once(
        &self,
        own: &OwnSubscription,
    ) -> Result<(AssignorKind, Vec<TopicPartition>, Option<BTreeMap<String, i32>>)> {
        let membership = &self.membership;
        let config = &membership.config;
        let connection = membership.coordinator(Purpose::Membership).await?;
        let newest = connection.newest::<JoinGroupRequest>()?;
        let mut protocols = Vec::with_capacity(config.assignors.len());
        for assignor in &config.assignors {
            let metadata =
                protocol::subscription(own, *assignor).map_err(|e| Error::Illegal(e.to_string()))?;
            let name = assignor.name().to_owned();
            protocols.push(JoinGroupRequestProtocol {
                name,
                metadata,
                ..JoinGroupRequestProtocol::default()
            });
        }
        let request = JoinGroupRequest {
            group_id: membership.group_id.clone(),
            session_timeout_ms: millis(config.session_timeout),
            rebalance_timeout_ms: millis(config.max_poll_interval),
            member_id: membership.member_id(),
            group_instance_id: config.group_instance_id.clone(),
            protocol_type: "consumer".to_owned(),
            protocols,
            ..JoinGroupRequest::default()
        };
        // The coordinator answers when all members have come, or the slowest has had its time.
        let limit = config.client.request_timeout.max(config.max_poll_interval + Duration::from_secs(5));
        let response = connection.call_version(&request, newest, limit).await?;
        if response.error_code == ErrorCode::MemberIdRequired.code() {
            membership.become_member(&response.member_id, -1);
        }
        check(response.error_code, &membership.group_id)?;
        membership.become_member(&response.member_id, response.generation_id);
        let chosen = response.protocol_name.as_deref().and_then(AssignorKind::from_name);
        let Some(assignor) = chosen.filter(|chosen| config.assignors.contains(chosen)) else {
            return Err(Error::broker(ErrorCode::InconsistentGroupProtocol));
        };
        let leads = response.leader == response.member_id;
        let (assignments, watched) =
            if leads { self.lead(&response, assignor).await? } else { (Vec::new(), None) };
        let request = SyncGroupRequest {
            group_id: membership.group_id.clone(),
            generation_id: response.generation_id,
            member_id: response.member_id.clone(),
            group_instance_id: config.group_instance_id.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some(assignor.name().to_owned()),
            assignments,
            ..SyncGroupRequest::default()
        };
        let response = connection.call(&request).await?;
        check(response.error_code, &membership.group_id)?;
        let partitions = read_assignment(&response.assignment)
            .ok_or_else(|| Error::Illegal("the group's leader sent an unreadable assignment".to_owned()))?;
        Ok((assignor, partitions, watched))
    }

    /// Divides the partitions among the members, as their leader.
    async fn lead(
        &self,
        response: &JoinGroupResponse,
        assignor: AssignorKind,
    ) -> Result<(Vec<SyncGroupRequestAssignment>, Option<BTreeMap<String, i32>>)> {
        let member = |m: &kafka_codec::messages::join_group_response::JoinGroupResponseMember| {
            protocol::read_subscription(&m.member_id, m.group_instance_id.as_deref(), &m.metadata, assignor)
        };
        let members: Vec<_> = response.members.iter().map(member).collect();
        let topics: BTreeSet<&String> = members.iter().flat_map(|m| &m.topics).collect();
        let topics: Vec<String> = topics.into_iter().cloned().collect();
        let create = self.membership.config.allow_auto_create_topics;
        let metadata = self.membership.cluster.fetch_metadata(Some(&topics), create).await?;
        let metadata = Metadata::default().next(&metadata);
        let count = |name: &String| {
            let partitions = metadata.topic(name).map_or(0, |t| t.partitions.len());
            (name.clone(), i32::try_from(partitions).unwrap_or(i32::MAX))
        };
        let counts: BTreeMap<String, i32> = topics.iter().map(count).collect();
        // A static leader that comes back gets its old assignment; it only looks after the topics (KIP-814).
        if response.skip_assignment {
            return Ok((Vec::new(), Some(counts)));
        }
        let mut assignments = Vec::with_capacity(members.len());
        for (member_id, partitions) in assignor::assign(assignor, &counts, &members) {
            let assignment = protocol::assignment(&partitions).map_err(|e| Error::Illegal(e.to_string()))?;
            assignments.push(SyncGroupRequestAssignment {
                member_id,
                assignment,
                ..SyncGroupRequestAssignment::default()
            });
        }
        Ok((assignments, Some(counts)))
    }

    /// Sends heartbeats until the group has news.
    async fn stay(&self) -> Ended {
        let config = &self.membership.config;
        let mut last_answer = Instant::now();
        loop {
            tokio::time::sleep(config.heartbeat_interval).await;
            if Instant::now() > self.membership.poll_deadline() {
                tracing::warn!(
                    group = self.membership.group_id,
                    "consumer poll timeout has expired: the time between polls was longer than max.poll.interval.ms"
                );
                self.leave().await;
                return Ended::Lost;
            }
            let error = match self.heartbeat().await {
                Ok(()) => {
                    last_answer = Instant::now();
                    continue;
                }
                Err(error) => error,
            };
            self.membership.heed(&error);
            match error.code() {
                Some(ErrorCode::RebalanceInProgress) => return Ended::Rebalance,
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => return Ended::Lost,
                _ if error.is_retriable() => {
                    if last_answer.elapsed() > config.session_timeout {
                        return Ended::Lost;
                    }
                }
                _ => return Ended::Failed(error),
            }
        }
    }

    /// Sends heartbeats while the consumer makes up its mind, whatever the answers.
    async fn keep_alive(&self) {
        loop {
            tokio::time::sleep(self.membership.config.heartbeat_interval).await;
            if Instant::now() > self.membership.poll_deadline() {
                self.leave().await;
                return;
            }
            if let Err(error) = self.heartbeat().await {
                self.membership.heed(&error);
            }
        }
    }

    async fn heartbeat(&self) -> Result<()> {
        let me = self.membership.metadata();
        let connection = self.membership.coordinator(Purpose::Membership).await?;
        let request = HeartbeatRequest {
            group_id: me.group_id,
            generation_id: me.generation,
            member_id: me.member_id,
            group_instance_id: me.group_instance_id,
            ..HeartbeatRequest::default()
        };
        let response = connection.call(&request).await?;
        check(response.error_code, &self.membership.group_id)
    }

    /// Leaves the group if it is in one. A static member stays: it may come back before its session ends.
    async fn leave(&self) {
        if self.membership.config.by_heartbeats {
            return self.leave_by_heartbeat().await;
        }
        let member_id = self.membership.member_id();
        self.membership.become_stranger();
        if member_id.is_empty() || self.membership.config.group_instance_id.is_some() {
            return;
        }
        let leave = async {
            let connection = self.membership.coordinator(Purpose::Membership).await?;
            let version = connection.newest::<LeaveGroupRequest>()?;
            let mut request = LeaveGroupRequest {
                group_id: self.membership.group_id.clone(),
                ..LeaveGroupRequest::default()
            };
            if version >= 3 {
                request.members.push(MemberIdentity { member_id, ..MemberIdentity::default() });
            } else {
                request.member_id = member_id;
            }
            let limit = self.membership.config.client.request_timeout;
            connection.call_version(&request, version, limit).await
        };
        if let Err(error) = leave.await {
            tracing::debug!(%error, "cannot leave the group; its session will end by itself");
        }
    }
}

/// A group's error with the words of Kafka's client where it has its own.
fn check(code: i16, group_id: &str) -> Result<()> {
    check_worded(code, None, group_id)
}

/// The same, with the coordinator's own words if there are any.
pub(crate) fn check_worded(code: i16, words: Option<String>, group_id: &str) -> Result<()> {
    let code = ErrorCode::from_wire(code);
    let message = match code {
        ErrorCode::None => return Ok(()),
        ErrorCode::GroupAuthorizationFailed => Some(format!("Not authorized to access group: {group_id}")),
        _ => words,
    };
    Err(Error::Broker(BrokerError { code, message }))
}

pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Whether a set of assignors rebalances cooperatively: all of them must be able to.
pub(super) fn is_cooperative(assignors: &[AssignorKind]) -> bool {
    !assignors.is_empty() && assignors.iter().all(|a| *a == AssignorKind::CooperativeSticky)
}
