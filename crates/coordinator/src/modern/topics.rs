use std::fmt::Debug;
use std::sync::Arc;

use kafka_codec::Uuid;

/// A topic as groups need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: i32,
}

/// The topics of the cluster, for assignments made by the coordinator.
pub trait TopicCatalog: Debug + Send + Sync {
    /// Grows with every change of the topics.
    fn version(&self) -> i64;
    /// A topic by its name.
    fn by_name(&self, name: &str) -> Option<Topic>;
    /// A topic by its id.
    fn by_id(&self, id: Uuid) -> Option<Topic>;
    /// Calls `see` with every topic's name, in any order.
    fn for_each_name(&self, see: &mut dyn FnMut(&str));
}

/// No topics at all: what a shard knows before it is told.
#[derive(Debug)]
pub(crate) struct NoTopics;

impl TopicCatalog for NoTopics {
    fn version(&self) -> i64 {
        -1
    }

    fn by_name(&self, _name: &str) -> Option<Topic> {
        None
    }

    fn by_id(&self, _id: Uuid) -> Option<Topic> {
        None
    }

    fn for_each_name(&self, _see: &mut dyn FnMut(&str)) {}
}
