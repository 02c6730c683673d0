//! Administration of a Kafka cluster: topics, configurations, groups, offsets.

mod acls;
mod configs;
mod groups;
mod nodes;
mod offsets;
mod quorum;
mod quotas;
mod replicas;
mod scram;
mod share_groups;
mod topics;
mod transactions;
mod types;

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kafka_codec::{ErrorCode, Request};
use parking_lot::Mutex;

pub use acls::{
    AclBinding, AclBindingFilter, AclOperation, AclPatternType, AclPermissionType, AclResourceType,
};
pub(crate) use groups::read_assignment;
pub use quorum::{FeatureUpgradeType, QuorumDescription, QuorumReplica, VoterEndpoint};
pub use quotas::{ClientQuotas, QuotaEntity, QuotaMatch};
pub use replicas::{ElectionType, ReplicaPlace};
pub use scram::ScramChange;
pub use transactions::{
    AbortTransaction, ListTransactionsOptions, ProducerState, TransactionDescription, TransactionListing,
};
pub use types::*;

use crate::cluster::{Cluster, CoordinatorKind};
use crate::config::AdminConfig;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::retry::Retry;

/// Answers per item, in the order asked: the item's name and its result.
pub type Each<K, T> = Vec<(K, Result<T>)>;

/// Where a raw request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker.
    Any,
    /// The controller.
    Controller,
    /// The broker with this id.
    Broker(i32),
    /// The coordinator of this group.
    GroupCoordinator(String),
    /// The coordinator of this transactional id.
    TransactionCoordinator(String),
}

/// A client for administration. Cheap to clone; all methods may be called at once from many tasks.
///
/// Calls that concern several items answer per item ([`Each`]); the outer error is for failures of the whole
/// call. Retriable errors are retried until `default.api.timeout.ms`, then the last one is told
/// ([`Error::Timeout`] when no broker answered at all).
#[derive(Clone, Debug)]
pub struct Admin {
    config: Arc<AdminConfig>,
    cluster: Arc<Cluster>,
    controller: Arc<Mutex<Option<i32>>>,
}

impl Admin {
    /// Makes a client; connects lazily.
    ///
    /// # Errors
    /// None today: bad configuration is refused when it is read.
    pub fn new(config: AdminConfig) -> Result<Self> {
        let cluster = Cluster::new(config.client.clone(), false);
        Ok(Self { config: Arc::new(config), cluster, controller: Arc::default() })
    }

    /// Sends any request in the newest version that both sides know and answers the response as it came:
    /// error codes inside are the caller's business. Lost connections are retried, so the request may be carried
    /// out more than once.
    ///
    /// # Errors
    /// [`Error::UnsupportedVersion`], and what keeps the target from answering.
    pub async fn send_to<R: Request + Send + Sync>(&self, target: Target, request: R) -> Result<R::Response>
    where
        R::Response: Send,
    {
        let (target, request) = (&target, &request);
        self.retrying(R::NAME, || async move { self.connect(target).await?.call(request).await }).await
    }

    /// Closes all connections; calls under way fail.
    pub async fn close(&self) {
        self.cluster.close();
    }

    async fn connect(&self, target: &Target) -> Result<Arc<Connection>> {
        let id = match target {
            Target::Any => return self.cluster.any().await,
            Target::Broker(id) => *id,
            Target::Controller => return self.controller().await,
            Target::GroupCoordinator(group) => {
                self.cluster.find_coordinator(CoordinatorKind::Group, group).await?.id
            }
            Target::TransactionCoordinator(id) => {
                self.cluster.find_coordinator(CoordinatorKind::Transaction, id).await?.id
            }
        };
        self.cluster.broker(id).await
    }

    /// The controller (with KRaft: any broker, which forwards).
    async fn controller(&self) -> Result<Arc<Connection>> {
        let known = *self.controller.lock();
        let id = match known {
            Some(id) => id,
            None => {
                let response = self.cluster.fetch_metadata(Some(&[]), false).await?;
                if response.controller_id < 0 {
                    return Err(Error::broker(ErrorCode::NotController));
                }
                *self.controller.lock() = Some(response.controller_id);
                response.controller_id
            }
        };
        let connection = self.cluster.broker(id).await;
        if connection.is_err() {
            *self.controller.lock() = None;
        }
        connection
    }

    /// How long a broker may take for a request, for its `timeout_ms` field.
    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.config.client.request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// Tries until it succeeds, fails for good, or `default.api.timeout.ms` is over.
    async fn retrying<T, F, Fut>(&self, call: &str, mut attempt: F) -> Result<T>
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        let mut retry = Retry::new(&self.config.client, self.config.client.default_api_timeout);
        let mut attempts = 0;
        loop {
            let outcome = tokio::time::timeout_at(retry.deadline(), attempt()).await;
            let error = match outcome {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(timed_out(call)),
            };
            *self.controller.lock() = None;
            attempts += 1;
            if attempts > self.config.retries {
                return Err(error);
            }
            if let Err(error) = retry.after(error).await {
                return Err(match error {
                    Error::Connection { .. } => timed_out(call),
                    other => other,
                });
            }
        }
    }

    /// Like [`Admin::retrying`] for many items: those whose own error `again` calls passing are tried again.
    async fn retrying_each<K, T, F, Fut>(
        &self,
        call: &str,
        keys: Vec<K>,
        again: fn(ErrorCode) -> bool,
        attempt: F,
    ) -> Result<Each<K, T>>
    where
        K: Clone + Debug + PartialEq + Send + Sync,
        T: Send,
        F: Fn(Vec<K>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<Each<K, T>>> + Send,
    {
        let mut retry = Retry::new(&self.config.client, self.config.client.default_api_timeout);
        let mut done: Each<K, T> = Vec::with_capacity(keys.len());
        let mut open = keys.clone();
        while !open.is_empty() {
            let answers = self.retrying_until(call, &mut retry, || attempt(open.clone())).await?;
            let mut last = None;
            let mut still = Vec::new();
            for (key, answer) in answers {
                match answer {
                    Err(error) if error.code().is_some_and(again) => {
                        still.push(key);
                        last = Some(error);
                    }
                    answer => done.push((key, answer)),
                }
            }
            for key in open {
                if !still.contains(&key) && !done.iter().any(|(k, _)| *k == key) {
                    done.push((key.clone(), Err(Error::broker(ErrorCode::UnknownServerError))));
                }
            }
            open = still;
            if let Some(error) = last {
                *self.controller.lock() = None;
                if let Err(error) = retry.after(error).await {
                    done.extend(open.drain(..).map(|key| (key, Err(error.clone()))));
                }
            }
        }
        let order = |key: &K| keys.iter().position(|k| k == key);
        done.sort_by_cached_key(|(key, _)| order(key));
        Ok(done)
    }

    async fn retrying_until<T, F, Fut>(&self, call: &str, retry: &mut Retry, mut attempt: F) -> Result<T>
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        loop {
            let error = match tokio::time::timeout_at(retry.deadline(), attempt()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(timed_out(call)),
            };
            *self.controller.lock() = None;
            if let Err(error) = retry.after(error).await {
                return Err(match error {
                    Error::Connection { .. } => timed_out(call),
                    other => other,
                });
            }
        }
    }

    fn api_timeout(&self) -> Duration {
        self.config.client.default_api_timeout
    }
}

/// Kafka's words when no broker could be asked; `call` is the Java method's name.
fn timed_out(call: &str) -> Error {
    Error::Timeout(format!("Timed out waiting for a node assignment. Call: {call}"))
}

/// Errors that mean "ask somebody else, or later" at a controller.
fn controller_moves(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NotController | ErrorCode::ThrottlingQuotaExceeded)
}

/// The same at a coordinator.
fn coordinator_moves(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress
    )
}

/// The same at a partition's leader.
fn leader_moves(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::OffsetNotAvailable
            | ErrorCode::KafkaStorageError
    )
}
