//! Membership by heartbeats (KIP-848, `group.protocol=consumer`): the coordinator assigns, the member gives partitions
//! up and says so, and then is told what it gets.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_codec::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_codec::messages::consumer_group_heartbeat_response::Assignment;
use kafka_codec::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_codec::{ErrorCode, Uuid};
use tokio::time::Instant;

use super::group::{Ended, Event, Task, check_worded, millis};
use super::protocol::OwnSubscription;
use crate::cluster::Purpose;
use crate::door::TopicPartition;
use crate::error::Result;
use crate::retry::backoff;

/// Epochs of the last heartbeat: for good, or for a while as a static member.
const LEAVE: i32 = -1;
const LEAVE_FOR_A_WHILE: i32 = -2;

/// What the task remembers between heartbeats.
struct Said {
    /// Partitions as last told to the coordinator; `None` = say it again.
    owned: Option<Vec<TopicPartition>>,
    /// Say everything: this is the first heartbeat, or the last one's answer did not come.
    everything: bool,
    /// Told by the coordinator, with topics whose names are not known yet.
    target: Option<Assignment>,
    interval: Duration,
}

impl Task {
    /// Joins with this subscription, or goes on with it, until the membership ends.
    pub(super) async fn take_part_by_heartbeats(&self, number: u64, own: &OwnSubscription) -> Ended {
        let config = &self.membership.config;
        let interval = config.heartbeat_interval;
        let mut said = Said { owned: None, everything: true, target: None, interval };
        let mut is_first = true;
        let mut failures = 0;
        let mut last_answer = Instant::now();
        loop {
            if Instant::now() > self.membership.poll_deadline() {
                tracing::warn!(
                    group = self.membership.group_id,
                    "consumer poll timeout has expired: the time between polls was longer than max.poll.interval.ms"
                );
                self.leave_by_heartbeat().await;
                return Ended::Lost;
            }
            match self.beat(own, &mut said).await {
                Ok(()) => {
                    failures = 0;
                    last_answer = Instant::now();
                    if let Some(partitions) = self.named(&mut said).await
                        && (is_first || partitions != *self.membership.held().borrow())
                    {
                        is_first = false;
                        let (assignor, watched) = (config.first_assignor(), None);
                        self.tell(number, Event::Assigned { assignor, partitions, watched }).await;
                    }
                    self.pause(said.interval, &said).await;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(group = self.membership.group_id, %error, "heartbeat failed");
                    said.everything = true;
                    said.owned = None;
                    self.membership.heed(&error);
                    match error.code() {
                        Some(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => {
                            return Ended::Lost;
                        }
                        // Its former self has not left yet.
                        Some(ErrorCode::UnreleasedInstanceId) => {}
                        _ if error.is_retriable() => {
                            if last_answer.elapsed() > config.session_timeout {
                                return Ended::Lost;
                            }
                        }
                        _ => return Ended::Failed(error),
                    }
                }
            }
            let client = &config.client;
            tokio::time::sleep(backoff(client.retry_backoff, client.retry_backoff_max, failures)).await;
            failures += 1;
        }
    }

    /// Waits for the next heartbeat, which is due at once when the member holds something else than it said.
    async fn pause(&self, interval: Duration, said: &Said) {
        let until = Instant::now() + interval;
        let mut held = self.membership.held();
        loop {
            let changed = said.owned.as_ref().is_some_and(|said| *said != *held.borrow_and_update());
            if changed {
                return;
            }
            match tokio::time::timeout_at(until, held.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => tokio::time::sleep_until(until).await,
                Err(_) => return,
            }
        }
    }

    async fn beat(&self, own: &OwnSubscription, said: &mut Said) -> Result<()> {
        let membership = &self.membership;
        let config = &membership.config;
        let connection = membership.coordinator(Purpose::Membership).await?;
        let (member_id, epoch) = membership.identity();
        let held = membership.held().borrow().clone();
        let everything = said.everything || epoch == 0;
        let tells_owned = everything || said.owned.as_ref() != Some(&held);
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: membership.group_id.clone(),
            member_id,
            member_epoch: epoch,
            instance_id: config.group_instance_id.clone(),
            rebalance_timeout_ms: -1,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        if everything {
            request.rack_id = own.rack.clone();
            request.rebalance_timeout_ms = millis(config.max_poll_interval);
            request.subscribed_topic_names = Some(own.topics.clone());
            request.server_assignor = config.remote_assignor.clone();
        }
        if tells_owned {
            request.topic_partitions = Some(self.by_id(if epoch == 0 { &[] } else { &held }));
        }
        let response: ConsumerGroupHeartbeatResponse = connection.call(&request).await?;
        check_worded(response.error_code, response.error_message, &membership.group_id)?;
        if let Some(member_id) = &response.member_id {
            membership.become_member(member_id, response.member_epoch);
        }
        said.everything = false;
        said.owned = Some(held);
        if response.heartbeat_interval_ms > 0 {
            said.interval = Duration::from_millis(response.heartbeat_interval_ms.unsigned_abs().into());
        }
        if response.assignment.is_some() {
            said.target = response.assignment;
        }
        Ok(())
    }

    fn by_id(&self, partitions: &[TopicPartition]) -> Vec<TopicPartitions> {
        let metadata = self.membership.cluster.metadata();
        let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            if let Some(topic) = metadata.topic(&partition.topic) {
                topics.entry(topic.id).or_default().push(partition.partition);
            }
        }
        let topic =
            |(topic_id, partitions)| TopicPartitions { topic_id, partitions, ..TopicPartitions::default() };
        topics.into_iter().map(topic).collect()
    }

    /// The newest target by topic names, once; `None` while there is none, or names are missing.
    async fn named(&self, said: &mut Said) -> Option<Vec<TopicPartition>> {
        let target = said.target.as_ref()?;
        let cluster = &self.membership.cluster;
        let names = |metadata: &crate::metadata::Metadata| {
            let mut partitions = Vec::new();
            for topic in &target.topic_partitions {
                let name = metadata.topics.values().find(|known| known.id == topic.topic_id)?;
                let of = |index: &i32| TopicPartition::new(&*name.name, *index);
                partitions.extend(topic.partitions.iter().map(of));
            }
            partitions.sort();
            Some(partitions)
        };
        let found = match names(&cluster.metadata()) {
            Some(found) => Some(found),
            None => {
                let fresh = cluster.fetch_metadata(None, false).await.ok()?;
                names(&crate::metadata::Metadata::default().next(&fresh))
            }
        };
        if found.is_some() {
            said.target = None;
        }
        found
    }

    /// Says that the member is gone; a static one will come back.
    pub(super) async fn leave_by_heartbeat(&self) {
        let membership = &self.membership;
        let (member_id, epoch) = membership.identity();
        membership.step_back();
        if epoch <= 0 {
            return;
        }
        let leave = async {
            let connection = membership.coordinator(Purpose::Membership).await?;
            let is_static = membership.config.group_instance_id.is_some();
            let request = ConsumerGroupHeartbeatRequest {
                group_id: membership.group_id.clone(),
                member_id,
                member_epoch: if is_static { LEAVE_FOR_A_WHILE } else { LEAVE },
                instance_id: membership.config.group_instance_id.clone(),
                rebalance_timeout_ms: -1,
                ..ConsumerGroupHeartbeatRequest::default()
            };
            connection.call(&request).await
        };
        if let Err(error) = leave.await {
            tracing::debug!(%error, "cannot leave the group; its session will end by itself");
        }
    }
}
