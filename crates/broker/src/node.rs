//! The broker as its handlers see it.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use client::security::scram::{ScramMechanism, ScramSecret};
use kafka_codec::Uuid;
use meta::MetaError;
use meta::acl::{AclOperation, Authorizer, Resource, ResourceType};
use meta::config::BrokerProperties;
use meta::controller::{self, NewTopic, Placement};

use crate::config::{BrokerConfig, Endpoint};
use crate::context::Context;
use crate::groups::{Groups, OFFSETS_TOPIC};
use crate::metadata::{Metadata, State};
use crate::producer_ids::ProducerIds;
use crate::quota::QuotaManager;
use crate::replica::Replicas;
use crate::shares::{SHARE_STATE_TOPIC, Shares};
use crate::telemetry::Telemetry;
use crate::txns::{TRANSACTIONS_TOPIC, Transactions};

/// One running broker.
pub(crate) struct Node {
    /// `node.id`.
    pub(crate) id: i32,
    /// Cluster id.
    pub(crate) cluster_id: String,
    /// Id of the data directory.
    pub(crate) directory_id: Uuid,
    /// What it was started with.
    pub(crate) config: BrokerConfig,
    /// Addresses told to clients, by listener; set once all are bound.
    pub(crate) advertised: OnceLock<Vec<Advertised>>,
    /// Its partitions.
    pub(crate) replicas: Arc<Replicas>,
    /// Cluster state.
    pub(crate) metadata: Metadata,
    /// Consumer groups.
    pub(crate) groups: Groups,
    /// Transactions.
    pub(crate) transactions: Transactions,
    /// Share groups' records.
    pub(crate) shares: Shares,
    /// Who may do what.
    pub(crate) authorizer: Authorizer,
    /// Measures clients against their quotas.
    pub(crate) quotas: QuotaManager,
    /// Producer ids to hand out.
    pub(crate) producer_ids: ProducerIds,
    /// Clients that tell metrics.
    pub(crate) telemetry: Telemetry,
    /// MQTT runs in this process and keeps its state in topics of ours.
    pub(crate) serves_mqtt: AtomicBool,
}

/// What clients of one listener are told to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Advertised {
    /// Listener name.
    pub(crate) listener: String,
    /// The address; without a host the one by which the client came is told.
    pub(crate) endpoint: Endpoint,
}

impl Node {
    /// Whether clients may not write to the topic. Those of MQTT are the broker's own only while MQTT runs in it: for a
    /// gateway in another process they are topics like any other.
    pub(crate) fn keeps_for_itself(&self, topic: &str) -> bool {
        let of_mqtt = topic.starts_with(controller::MQTT_PREFIX);
        controller::is_internal(topic) && (!of_mqtt || self.serves_mqtt.load(Ordering::Acquire))
    }

    /// What is true now.
    pub(crate) fn state(&self) -> Arc<State> {
        self.metadata.state()
    }

    /// The address told to the client of a request.
    pub(crate) fn endpoint_for(&self, ctx: &Context) -> Endpoint {
        let connection = &ctx.connection;
        let advertised =
            self.advertised.get().and_then(|advertised| advertised.get(connection.listener.index));
        match advertised {
            Some(Advertised { endpoint, .. }) if !endpoint.host.is_empty() => endpoint.clone(),
            _ => Endpoint {
                host: connection.local.ip().to_canonical().to_string(),
                port: connection.local.port(),
            },
        }
    }

    /// Makes sure that a topic is there, creating it with the broker's defaults if need be; internal topics get
    /// the settings that their use asks for.
    ///
    /// # Errors
    /// The topic may not be created, or the metadata log failed.
    pub(crate) async fn ensure_topic(self: &Arc<Self>, name: &str) -> Result<(), MetaError> {
        if name == OFFSETS_TOPIC {
            return self.groups.ensure_topic(self).await;
        }
        if name == TRANSACTIONS_TOPIC {
            return self.transactions.ensure_topic(self).await;
        }
        if name == SHARE_STATE_TOPIC {
            return self.shares.ensure_topic(self).await;
        }
        let new =
            NewTopic { name: name.to_owned(), partitions: -1, replication_factor: -1, ..NewTopic::default() };
        self.create_topic(new).await
    }

    /// Creates a topic; succeeds when it is there already.
    ///
    /// # Errors
    /// The topic may not be created, or the metadata log failed.
    pub(crate) async fn create_topic(&self, new: NewTopic) -> Result<(), MetaError> {
        if self.state().image.topic(&new.name).is_some() {
            return Ok(());
        }
        self.metadata
            .change(|state| {
                if state.image.topic(&new.name).is_some() {
                    return Ok((Vec::new(), ()));
                }
                let placement = self.placement(&state.properties);
                let plan = controller::create_topic(&state.image, &placement, &new, random_uuid())?;
                Ok((plan.records, ()))
            })
            .await
    }

    /// What placing replicas needs to know.
    pub(crate) fn placement<'a>(&'a self, properties: &'a BrokerProperties) -> Placement<'a> {
        Placement { nodes: std::slice::from_ref(&self.id), directory: self.directory_id, properties }
    }
}

impl client::door::Access for Node {
    fn allows(
        &self,
        principal: &str,
        host: std::net::IpAddr,
        operation: AclOperation,
        kind: ResourceType,
        name: &str,
    ) -> bool {
        if !self.authorizer.enabled {
            return true;
        }
        let host = host.to_canonical().to_string();
        self.authorizer.allows(&self.state().image.acls, principal, &host, operation, Resource { kind, name })
    }

    fn is_enforced(&self) -> bool {
        self.authorizer.enabled
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.metadata.access_changes()
    }

    fn scram_secret(&self, user: &str, mechanism: ScramMechanism) -> Option<ScramSecret> {
        let ours = meta::scram::ScramMechanism::from_code(mechanism.code())?;
        let state = self.state();
        let kept = state.image.scram.get(&(user.to_owned(), ours))?;
        Some(ScramSecret {
            mechanism,
            salt: kept.salt.to_vec(),
            iterations: u32::try_from(kept.iterations).ok().and_then(NonZeroU32::new)?,
            stored_key: kept.stored_key.to_vec(),
            server_key: kept.server_key.to_vec(),
        })
    }
}

/// Draws a random id.
pub(crate) fn random_uuid() -> Uuid {
    loop {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // No entropy source at all: the clock and a counter still keep ids apart on this node.
            bytes = fallback_entropy();
        }
        if let Some(id) = Uuid::from_random(bytes) {
            return id;
        }
    }
}

fn fallback_entropy() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher};
    let word = || std::collections::hash_map::RandomState::new().build_hasher().finish().to_be_bytes();
    let mut bytes = [0; 16];
    for (half, word) in bytes.chunks_exact_mut(8).zip([word(), word()]) {
        half.copy_from_slice(&word);
    }
    bytes
}
