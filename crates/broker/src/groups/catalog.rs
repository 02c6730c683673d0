//! The topics as the groups' state machines see them.

use std::fmt;
use std::sync::Arc;

use coordinator::{Topic, TopicCatalog};
use kafka_codec::Uuid;

use crate::metadata::State;

/// The topics of one state of the cluster.
pub(super) struct Catalog(pub(super) Arc<State>);

fn seen(topic: &meta::Topic) -> Topic {
    Topic {
        id: topic.id,
        name: Arc::clone(&topic.name),
        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
    }
}

impl TopicCatalog for Catalog {
    fn version(&self) -> i64 {
        self.0.image.end_offset
    }

    fn by_name(&self, name: &str) -> Option<Topic> {
        self.0.image.topic(name).map(|topic| seen(topic))
    }

    fn by_id(&self, id: Uuid) -> Option<Topic> {
        self.0.image.topic_by_id(id).map(|topic| seen(topic))
    }

    fn for_each_name(&self, see: &mut dyn FnMut(&str)) {
        self.0.image.topics().for_each(|topic| see(&topic.name));
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Catalog").field(&self.version()).finish()
    }
}
