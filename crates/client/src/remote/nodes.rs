//! Nodes of one cluster, told apart by transactional ids: the coordinator of transactions lets one producer at a time use
//! an id, so whoever begins with it has the place of its node, and everybody before it is fenced.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, watch};

use super::appends::Transactions;
use super::errors;
use crate::config::{ProducerConfig, Properties};
use crate::door::{DoorError, InPlace, Nodes, Record, TopicPartition};
use crate::error::Result;

/// Kafka aborts a transaction that is open for longer, and takes the producer's name from it: a cluster that is away for
/// some minutes shall not cost a node its place. What a dead node leaves open is aborted by the next that takes its place.
const TRANSACTION_TIMEOUT_MS: u32 = 300_000;

/// See the module's text.
pub(super) struct ClusterNodes {
    properties: Properties,
    service: String,
    name: Arc<str>,
    lost: watch::Sender<bool>,
}

impl ClusterNodes {
    pub(super) fn new(properties: Properties, service: &str, name: &str) -> Arc<Self> {
        Arc::new(Self {
            properties,
            service: service.to_owned(),
            name: name.into(),
            lost: watch::Sender::new(false),
        })
    }

    /// The producer of this node's own atomic appends.
    pub(super) async fn begin_own(&self) -> Result<Transactions> {
        begin(&self.properties, self.id_of(&self.name), self.lost.clone()).await
    }

    fn id_of(&self, name: &str) -> String {
        match name {
            "" => self.service.clone(),
            name => format!("{}-{name}", self.service),
        }
    }
}

async fn begin(properties: &Properties, id: String, tell: watch::Sender<bool>) -> Result<Transactions> {
    let mut all = properties.clone();
    all.insert("transactional.id".to_owned(), id);
    all.insert("linger.ms".to_owned(), "0".to_owned());
    all.entry("transaction.timeout.ms".to_owned()).or_insert_with(|| TRANSACTION_TIMEOUT_MS.to_string());
    Transactions::begin(ProducerConfig::from_properties(all)?, tell).await
}

impl Nodes for ClusterNodes {
    fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    fn lost(&self) -> watch::Receiver<bool> {
        self.lost.subscribe()
    }

    fn replace(&self, name: &str) -> BoxFuture<'static, Result<Arc<dyn InPlace>, DoorError>> {
        let (properties, id) = (self.properties.clone(), self.id_of(name));
        async move {
            let of = id.clone();
            let transactions = begin(&properties, id, watch::Sender::new(false)).await;
            let transactions = transactions.map_err(|error| errors::of_topic(&error, &of))?;
            Ok(Arc::new(ClusterPlace(Arc::new(Mutex::new(transactions)))) as Arc<dyn InPlace>)
        }
        .boxed()
    }
}

/// The place of another node.
struct ClusterPlace(Arc<Mutex<Transactions>>);

impl InPlace for ClusterPlace {
    fn append_atomic(
        &self,
        records: Vec<(TopicPartition, Record)>,
    ) -> BoxFuture<'static, Result<Vec<i64>, DoorError>> {
        let transactions = Arc::clone(&self.0);
        async move { transactions.lock().await.commit(records).await }.boxed()
    }
}
