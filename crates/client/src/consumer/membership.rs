//! The consumer's side of its group: when to join, what to give up, what to take.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::group::{Command, Event, is_cooperative};
use super::partitions::Position;
use super::protocol::OwnSubscription;
use super::{Consumer, Phase, Source};
use crate::door::TopicPartition;

/// What a listener is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Revoked,
    Assigned,
    Lost,
}

impl Consumer {
    /// Carries out what the group has told, and joins when it is time. Safe to be dropped and called again.
    pub(super) async fn drive_group(&mut self) {
        if self.group.is_none() || matches!(self.source, Source::None | Source::Manual) {
            return;
        }
        if let Some(group) = &self.group {
            group.membership.polled();
        }
        self.look_at_metadata();
        loop {
            while self.event.is_none() {
                let Some(group) = &mut self.group else { return };
                match group.events.try_recv() {
                    Ok((number, event)) if number == self.join => self.event = Some(event),
                    // About a Join that a newer one has replaced.
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            if self.event.is_some() {
                self.carry_out().await;
                continue;
            }
            if self.phase != Phase::MustJoin || !self.join_group().await {
                return;
            }
        }
    }

    async fn carry_out(&mut self) {
        match &self.event {
            Some(Event::Rebalance) => self.phase = Phase::MustJoin,
            Some(Event::Assigned { partitions, watched, assignor }) => {
                let (partitions, watched) = (partitions.clone(), watched.clone());
                tracing::debug!(assignor = assignor.name(), ?partitions, "assigned");
                self.watched = watched.unwrap_or_default();
                self.take(partitions).await;
            }
            Some(Event::Lost) => {
                let all = self.partitions.names();
                self.tell(Change::Lost, &all).await;
                self.partitions.replace(&[], Position::Committed);
                self.tell_held(&[]);
                self.phase = Phase::MustJoin;
            }
            Some(Event::Failed(error)) => {
                self.errors.push_back(error.clone());
                self.phase = Phase::MustJoin;
            }
            None => {}
        }
        self.event = None;
    }

    /// Takes a new assignment.
    async fn take(&mut self, new: Vec<TopicPartition>) {
        let old = self.partitions.names();
        let revoked: Vec<_> = old.iter().filter(|p| !new.contains(p)).cloned().collect();
        if !revoked.is_empty() {
            self.commit_before_revocation().await;
            self.tell(Change::Revoked, &revoked).await;
        }
        let added: Vec<_> = new.iter().filter(|p| !old.contains(p)).cloned().collect();
        let start = self.start_position();
        self.partitions.replace(&new, start);
        self.renew_interest();
        self.tell_held(&new);
        let generation = self.group.as_ref().map_or(-1, |group| group.membership.metadata().generation);
        self.held = (new, generation);
        // What a cooperative member gives up can be assigned only in the next round.
        let is_settled = revoked.is_empty() || self.config.by_heartbeats;
        self.phase = if is_settled { Phase::Stable } else { Phase::MustJoin };
        self.tell(Change::Assigned, &added).await;
    }

    /// Gives up what the protocol asks for and joins; `false` when it has to wait for metadata first.
    async fn join_group(&mut self) -> bool {
        if matches!(self.source, Source::Pattern(_)) && self.seen_metadata == 0 {
            return false;
        }
        let cooperative = is_cooperative(&self.config.assignors);
        let given_up: Vec<_> = match cooperative {
            // The coordinator says what to give up.
            _ if self.config.by_heartbeats => Vec::new(),
            true => {
                self.partitions.names().into_iter().filter(|p| !self.topics.contains(&*p.topic)).collect()
            }
            false => self.partitions.names(),
        };
        if !given_up.is_empty() {
            self.commit_before_revocation().await;
            self.tell(Change::Revoked, &given_up).await;
            let kept: Vec<_> =
                self.partitions.names().into_iter().filter(|p| !given_up.contains(p)).collect();
            self.partitions.replace(&kept, Position::Committed);
        }
        let own = OwnSubscription {
            topics: self.topics.iter().cloned().collect(),
            owned: if cooperative { self.partitions.names() } else { Vec::new() },
            held: self.held.0.clone(),
            generation: self.held.1,
            rack: Some(self.config.client.client_rack.clone()).filter(|rack| !rack.is_empty()),
        };
        let Some(group) = &self.group else { return false };
        let number = self.join + 1;
        // Waits only if the task is still busy with the last command.
        if group.commands.send(Command::Join(number, own)).await.is_ok() {
            self.join = number;
            self.phase = Phase::Joining;
            true
        } else {
            false
        }
    }

    /// Looks whether topics have come, gone or grown, which calls for a new assignment.
    fn look_at_metadata(&mut self) {
        let metadata = self.cluster.metadata();
        if metadata.version == self.seen_metadata {
            return;
        }
        self.seen_metadata = metadata.version;
        if let Source::Pattern(pattern) = &self.source {
            let whole = |name: &str| pattern.find_iter(name).any(|m| m.start() == 0 && m.end() == name.len());
            let wanted =
                metadata.topics.values().filter(|t| !(t.internal && self.config.exclude_internal_topics));
            let topics: BTreeSet<String> =
                wanted.filter(|t| whole(&t.name)).map(|t| t.name.to_string()).collect();
            if topics != self.topics {
                self.topics = topics;
                self.phase = Phase::MustJoin;
            }
        }
        let grown = self.watched.iter().any(|(name, count)| {
            let now = metadata.topic(name).map_or(0, |t| t.partitions.len());
            i32::try_from(now).is_ok_and(|now| now > *count)
        });
        if grown && self.phase == Phase::Stable {
            self.phase = Phase::MustJoin;
        }
    }

    fn tell_held(&self, partitions: &[TopicPartition]) {
        if let Some(group) = &self.group {
            group.membership.set_held(partitions.to_vec());
        }
    }

    async fn commit_before_revocation(&mut self) {
        if !self.config.auto_commit {
            return;
        }
        // A commit that cannot be made must not hold the whole group up for long.
        let limit = self.config.client.request_timeout.min(self.config.session_timeout);
        match tokio::time::timeout(limit, self.commit()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot commit before a rebalance"),
            Err(_) => tracing::warn!("cannot commit in time before a rebalance"),
        }
    }

    async fn tell(&mut self, change: Change, partitions: &[TopicPartition]) {
        // Like Java: no word of nothing lost, but of an empty assignment.
        if partitions.is_empty() && change != Change::Assigned {
            return;
        }
        let Some(listener) = self.listener.as_ref().map(Arc::clone) else { return };
        let mut listener = listener.lock().await;
        match change {
            Change::Revoked => listener.revoked(self, partitions).await,
            Change::Assigned => listener.assigned(self, partitions).await,
            Change::Lost => listener.lost(self, partitions).await,
        }
    }

    /// Tells the listener that everything is given up, and drops it.
    pub(super) async fn give_up_all(&mut self) {
        if matches!(self.source, Source::Topics | Source::Pattern(_)) {
            let all = self.partitions.names();
            self.tell(Change::Revoked, &all).await;
        }
        self.partitions.replace(&[], Position::Committed);
        self.tell_held(&[]);
    }

    /// Leaves the group.
    pub(super) async fn leave_group(&mut self) {
        self.phase = Phase::Outside;
        // Whatever the group still says of the last Join is void.
        self.join += 1;
        self.event = None;
        self.watched.clear();
        let Some(group) = &self.group else { return };
        let (done, left) = oneshot::channel();
        if group.commands.send(Command::Leave(done)).await.is_ok() {
            let _ = left.await;
        }
    }
}
