//! What is known of the cluster: brokers, topics, leaders.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kafka_codec::messages::MetadataResponse;
use kafka_codec::messages::metadata_response::MetadataResponseTopic;
use kafka_codec::{ErrorCode, Uuid};

use crate::admin::Node;
use crate::door::TopicPartition;

/// One partition as metadata tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    /// Broker id of the leader; `None` while there is none.
    pub(crate) leader: Option<i32>,
    /// Epoch of the leader, −1 when unknown.
    pub(crate) leader_epoch: i32,
}

/// One topic as metadata tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicState {
    pub(crate) name: Arc<str>,
    /// Zero from brokers before 2.8.
    pub(crate) id: Uuid,
    pub(crate) internal: bool,
    /// By index.
    pub(crate) partitions: Vec<PartitionState>,
    /// Partitions with a leader, ascending.
    pub(crate) available: Vec<i32>,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    /// Counts the refreshes; 0 = nothing known yet.
    pub(crate) version: u64,
    pub(crate) brokers: BTreeMap<i32, Node>,
    pub(crate) topics: HashMap<Arc<str>, Arc<TopicState>>,
    /// Topics asked for that have an error instead of partitions.
    pub(crate) errors: HashMap<Arc<str>, ErrorCode>,
}

impl Metadata {
    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicState>> {
        self.topics.get(name)
    }

    pub(crate) fn partition(&self, partition: &TopicPartition) -> Option<&PartitionState> {
        let index = usize::try_from(partition.partition).ok()?;
        self.topics.get(&*partition.topic)?.partitions.get(index)
    }

    /// Leader and its epoch.
    pub(crate) fn leader(&self, partition: &TopicPartition) -> Option<(i32, i32)> {
        let state = self.partition(partition)?;
        state.leader.map(|leader| (leader, state.leader_epoch))
    }

    /// The next state after `response` answered a request for the topics of interest. A leader of an older epoch
    /// than the one known is a late word of a broker that has not heard yet, and is not believed (KIP-320).
    pub(crate) fn next(&self, response: &MetadataResponse) -> Self {
        let mut topics = HashMap::new();
        let mut errors = HashMap::new();
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            let known = self.topics.get(name.as_str());
            let name: Arc<str> = known.map_or_else(|| name.as_str().into(), |known| Arc::clone(&known.name));
            match ErrorCode::from_wire(topic.error_code) {
                ErrorCode::None => {
                    topics.insert(Arc::clone(&name), Arc::new(topic_state(name, topic, known)));
                }
                error => {
                    errors.insert(name, error);
                }
            }
        }
        Self { version: self.version + 1, brokers: nodes(response), topics, errors }
    }
}

/// The brokers that a response names.
pub(crate) fn nodes(response: &MetadataResponse) -> BTreeMap<i32, Node> {
    let node = |b: &kafka_codec::messages::metadata_response::MetadataResponseBroker| {
        (b.node_id, Node { id: b.node_id, host: b.host.clone(), port: b.port, rack: b.rack.clone() })
    };
    response.brokers.iter().map(node).collect()
}

fn topic_state(name: Arc<str>, topic: &MetadataResponseTopic, known: Option<&Arc<TopicState>>) -> TopicState {
    let known = known.filter(|known| known.id == topic.topic_id);
    // Indexes come from the peer: a partition far beyond the count of partitions is not believed.
    let count = topic.partitions.len();
    let mut partitions = vec![PartitionState { leader: None, leader_epoch: -1 }; count];
    for told in &topic.partitions {
        let Ok(index) = usize::try_from(told.partition_index) else { continue };
        let Some(state) = partitions.get_mut(index) else { continue };
        let usable =
            matches!(ErrorCode::from_wire(told.error_code), ErrorCode::None | ErrorCode::ReplicaNotAvailable);
        *state = PartitionState {
            leader: Some(told.leader_id).filter(|leader| *leader >= 0 && usable),
            leader_epoch: told.leader_epoch,
        };
        if let Some(before) = known.and_then(|known| known.partitions.get(index))
            && told.leader_epoch >= 0
            && before.leader_epoch > told.leader_epoch
        {
            *state = before.clone();
        }
    }
    let available =
        (0..).zip(&partitions).filter(|(_, state)| state.leader.is_some()).map(|(index, _)| index).collect();
    TopicState { name, id: topic.topic_id, internal: topic.is_internal, partitions, available }
}
