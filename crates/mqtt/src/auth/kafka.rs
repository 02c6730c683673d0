//! Rights that the log itself keeps (`kafka-acls`), as far as one connection has asked for them.

use std::net::IpAddr;
use std::sync::Arc;

use client::door::{self, AclOperation, CLUSTER_NAME, ResourceType};
use hashbrown::HashMap;
use tokio::sync::watch;

use super::Login;

/// Answers that a connection remembers.
const REMEMBERED_MAX: usize = 256;

/// See the module's text.
pub(crate) struct KafkaRights {
    access: Arc<dyn door::Access>,
    changes: watch::Receiver<u64>,
    principal: String,
    host: IpAddr,
    answers: HashMap<(AclOperation, ResourceType, Box<str>), bool>,
}

impl std::fmt::Debug for KafkaRights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaRights").field("principal", &self.principal).finish_non_exhaustive()
    }
}

impl KafkaRights {
    /// The rights of a login; `None` where the log has no authorizer.
    pub(crate) fn of(login: &Login) -> Option<Self> {
        let access = login.listener.access.as_ref().filter(|a| a.is_enforced())?;
        Some(Self {
            access: access.clone(),
            changes: access.changes(),
            principal: login.principal(),
            host: login.peer.ip(),
            answers: HashMap::new(),
        })
    }

    fn may(&mut self, operation: AclOperation, resource: ResourceType, name: &str) -> bool {
        if self.changes.has_changed().unwrap_or(true) {
            self.changes.borrow_and_update();
            self.answers.clear();
        }
        let key = (operation, resource, name.into());
        if let Some(answer) = self.answers.get(&key) {
            return *answer;
        }
        let answer = self.access.allows(&self.principal, self.host, operation, resource, name);
        if self.answers.len() >= REMEMBERED_MAX {
            self.answers.clear();
        }
        self.answers.insert(key, answer);
        answer
    }

    pub(crate) fn may_write(&mut self, topic: &str) -> bool {
        self.may(AclOperation::Write, ResourceType::Topic, topic)
    }

    pub(crate) fn may_read(&mut self, topic: &str) -> bool {
        self.may(AclOperation::Read, ResourceType::Topic, topic)
    }

    pub(crate) fn may_create(&mut self, topic: &str) -> bool {
        self.may(AclOperation::Create, ResourceType::Cluster, CLUSTER_NAME)
            || self.may(AclOperation::Create, ResourceType::Topic, topic)
    }

    /// A share group counts as a consumer group of its whole name.
    pub(crate) fn may_join(&mut self, group: &str) -> bool {
        self.may(AclOperation::Read, ResourceType::Group, group)
    }

    /// `$SYS` tells of the whole broker.
    pub(crate) fn may_watch(&mut self) -> bool {
        self.may(AclOperation::Describe, ResourceType::Cluster, CLUSTER_NAME)
    }

    /// A bridge tells of itself under `$SYS`.
    pub(crate) fn may_bridge(&mut self) -> bool {
        self.may(AclOperation::ClusterAction, ResourceType::Cluster, CLUSTER_NAME)
    }
}
