//! The cluster state at one moment: what all records of the metadata log so far add up to.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_codec::Uuid;

use crate::acl::{Acl, AclSet};
use crate::quota::{self, QuotaEntity, Quotas};
use crate::record::MetaRecord;
use crate::scram::{ScramCredential, ScramMechanism};

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Name.
    pub name: Arc<str>,
    /// Id: a re-created topic has another one.
    pub id: Uuid,
    /// Partitions by index.
    pub partitions: Vec<PartitionState>,
}

/// A partition's placement.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionState {
    /// Node ids of the replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Node ids of the in-sync replicas.
    pub isr: Vec<i32>,
    /// Node id of the leader, -1 = none.
    pub leader: i32,
    /// Grows with each change of the leader.
    pub leader_epoch: i32,
    /// Grows with each change.
    pub partition_epoch: i32,
}

/// A broker's registration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registration {
    /// Epoch of this registration: the offset of its record.
    pub epoch: i64,
    /// Id of the process that registered.
    pub incarnation: Uuid,
    /// Rack.
    pub rack: Option<String>,
}

/// Whom a configuration belongs to; names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfigResourceKind {
    /// A topic.
    Topic,
    /// A broker by id, or all (empty name).
    Broker,
    /// A client-metrics subscription.
    ClientMetrics,
    /// A consumer or share group.
    Group,
}

impl ConfigResourceKind {
    /// The number on the wire.
    pub fn wire(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }

    /// The kind of a number on the wire.
    pub fn from_wire(kind: i8) -> Option<Self> {
        [Self::Topic, Self::Broker, Self::ClientMetrics, Self::Group]
            .into_iter()
            .find(|known| known.wire() == kind)
    }
}

/// A configuration's owner.
pub type ConfigResource = (ConfigResourceKind, String);

/// The cluster state. Cheap to clone: what did not change is shared.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Offset after the last record applied.
    pub end_offset: i64,
    topics: Arc<BTreeMap<Arc<str>, Arc<Topic>>>,
    names: Arc<BTreeMap<Uuid, Arc<str>>>,
    configs: Arc<BTreeMap<ConfigResource, Arc<BTreeMap<String, String>>>>,
    /// Registered brokers by node id.
    pub brokers: Arc<BTreeMap<i32, Registration>>,
    /// First producer id that was never handed out in a block.
    pub next_producer_id: i64,
    /// Finalized feature levels.
    pub features: Arc<BTreeMap<String, i16>>,
    /// Access control entries.
    pub acls: Arc<AclSet>,
    /// Client quotas.
    pub quotas: Arc<BTreeMap<QuotaEntity, Quotas>>,
    /// Credentials of SCRAM users.
    pub scram: Arc<BTreeMap<(String, ScramMechanism), ScramCredential>>,
}

impl Image {
    /// All topics, sorted by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// Looks a topic up by name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// Looks a topic up by id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// Number of partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }

    /// What is configured on a resource.
    pub fn configs(&self, kind: ConfigResourceKind, name: &str) -> Arc<BTreeMap<String, String>> {
        self.configs.get(&(kind, name.to_owned())).cloned().unwrap_or_default()
    }

    /// Whether a topic's configuration is another one in `newer`.
    pub fn topic_config_changed(&self, newer: &Self, name: &str) -> bool {
        if Arc::ptr_eq(&self.configs, &newer.configs) {
            return false;
        }
        let resource = (ConfigResourceKind::Topic, name.to_owned());
        self.configs.get(&resource) != newer.configs.get(&resource)
    }

    /// Names of the resources of a kind that have a configuration.
    pub fn configured(&self, kind: ConfigResourceKind) -> impl Iterator<Item = &str> {
        self.configs.keys().filter(move |(other, _)| *other == kind).map(|(_, name)| name.as_str())
    }

    /// The state after `record`, which stands at `offset` of the metadata log.
    ///
    /// # Errors
    /// A sentence when the record refers to what does not exist.
    pub fn apply(&mut self, offset: i64, record: &MetaRecord) -> Result<(), String> {
        match record {
            MetaRecord::Topic(record) => {
                let name: Arc<str> = Arc::from(record.name.as_str());
                let topic = Topic { name: Arc::clone(&name), id: record.topic_id, partitions: Vec::new() };
                Arc::make_mut(&mut self.names).insert(record.topic_id, Arc::clone(&name));
                Arc::make_mut(&mut self.topics).insert(name, Arc::new(topic));
            }
            MetaRecord::Partition(record) => {
                let name = self.names.get(&record.topic_id);
                let topics = Arc::make_mut(&mut self.topics);
                let Some(topic) = name.and_then(|name| topics.get_mut(name)) else {
                    return Err(format!("partition of unknown topic {}", record.topic_id));
                };
                let topic = Arc::make_mut(topic);
                let state = PartitionState {
                    replicas: record.replicas.clone(),
                    isr: record.isr.clone(),
                    leader: record.leader,
                    leader_epoch: record.leader_epoch,
                    partition_epoch: record.partition_epoch,
                };
                match usize::try_from(record.partition_id) {
                    Ok(index) if index < topic.partitions.len() => {
                        if let Some(place) = topic.partitions.get_mut(index) {
                            *place = state;
                        }
                    }
                    Ok(index) if index == topic.partitions.len() => topic.partitions.push(state),
                    _ => {
                        return Err(format!(
                            "partition {} of topic {} does not follow partition {}",
                            record.partition_id,
                            topic.name,
                            topic.partitions.len()
                        ));
                    }
                }
            }
            MetaRecord::RemoveTopic(record) => {
                let Some(name) = Arc::make_mut(&mut self.names).remove(&record.topic_id) else {
                    return Err(format!("removal of unknown topic {}", record.topic_id));
                };
                Arc::make_mut(&mut self.topics).remove(&name);
                let resource = (ConfigResourceKind::Topic, name.to_string());
                if self.configs.contains_key(&resource) {
                    Arc::make_mut(&mut self.configs).remove(&resource);
                }
            }
            MetaRecord::Config(record) => {
                let Some(kind) = ConfigResourceKind::from_wire(record.resource_type) else {
                    return Err(format!("configuration of unknown resource type {}", record.resource_type));
                };
                let resource = (kind, record.resource_name.clone());
                let configs = Arc::make_mut(&mut self.configs);
                let of = Arc::make_mut(configs.entry(resource.clone()).or_default());
                match &record.value {
                    Some(value) => drop(of.insert(record.name.clone(), value.clone())),
                    None => drop(of.remove(&record.name)),
                }
                if of.is_empty() {
                    configs.remove(&resource);
                }
            }
            MetaRecord::RegisterBroker(record) => {
                let registration = Registration {
                    epoch: record.broker_epoch,
                    incarnation: record.incarnation_id,
                    rack: record.rack.clone(),
                };
                Arc::make_mut(&mut self.brokers).insert(record.broker_id, registration);
            }
            MetaRecord::ProducerIds(record) => self.next_producer_id = record.next_producer_id,
            MetaRecord::FeatureLevel(record) => {
                Arc::make_mut(&mut self.features).insert(record.name.clone(), record.feature_level);
            }
            MetaRecord::AccessControlEntry(record) => {
                Arc::make_mut(&mut self.acls).insert(record.id, Acl::from_record(record)?);
            }
            MetaRecord::RemoveAccessControlEntry(record) => {
                let removed = Arc::make_mut(&mut self.acls).remove(&record.id);
                removed.ok_or_else(|| format!("removal of unknown access control entry {}", record.id))?;
            }
            MetaRecord::ClientQuota(record) => {
                let entity = quota::entity_of(record)?;
                let quotas = Arc::make_mut(&mut self.quotas);
                let of = quotas.entry(entity.clone()).or_default();
                if record.remove {
                    of.remove(&record.key);
                } else {
                    of.insert(record.key.clone(), record.value);
                }
                if of.is_empty() {
                    quotas.remove(&entity);
                }
            }
            MetaRecord::UserScramCredential(record) => {
                let Some(mechanism) = ScramMechanism::from_code(record.mechanism) else {
                    return Err(format!("credential of unknown SCRAM mechanism {}", record.mechanism));
                };
                let credential = ScramCredential {
                    salt: record.salt.clone(),
                    stored_key: record.stored_key.clone(),
                    server_key: record.server_key.clone(),
                    iterations: record.iterations,
                };
                Arc::make_mut(&mut self.scram).insert((record.name.clone(), mechanism), credential);
            }
            MetaRecord::RemoveUserScramCredential(record) => {
                if let Some(mechanism) = ScramMechanism::from_code(record.mechanism) {
                    Arc::make_mut(&mut self.scram).remove(&(record.name.clone(), mechanism));
                }
            }
            // What several nodes need is not kept yet, but a log that has it can be read.
            _ => {}
        }
        self.end_offset = offset + 1;
        Ok(())
    }
}
