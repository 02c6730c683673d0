//! What members and leader of a consumer group tell each other inside JoinGroup and SyncGroup: a version, then
//! ConsumerProtocolSubscription or ConsumerProtocolAssignment.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_codec::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment,
    consumer_protocol_subscription,
};
use kafka_codec::wire::Reader;
use kafka_codec::{EncodeError, Message};

use super::assignor::{
    AssignorKind, Subscription, cooperative_user_data, read_cooperative_user_data, read_sticky_user_data,
    sticky_user_data,
};
use crate::door::TopicPartition;

/// What this member says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnSubscription {
    pub(super) topics: Vec<String>,
    /// What it holds while it joins (cooperative only).
    pub(super) owned: Vec<TopicPartition>,
    /// What it held last, for the sticky assignor.
    pub(super) held: Vec<TopicPartition>,
    pub(super) generation: i32,
    pub(super) rack: Option<String>,
}

fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics
}

/// The metadata for one assignor in a JoinGroup.
pub(super) fn subscription(own: &OwnSubscription, assignor: AssignorKind) -> Result<Bytes, EncodeError> {
    let version = *ConsumerProtocolSubscription::VERSIONS.end();
    let user_data = match assignor {
        AssignorKind::Sticky if !own.held.is_empty() => Some(sticky_user_data(&own.held, own.generation)),
        AssignorKind::CooperativeSticky => Some(cooperative_user_data(own.generation)),
        _ => None,
    };
    let owned = by_topic(&own.owned).into_iter().map(|(topic, partitions)| {
        consumer_protocol_subscription::TopicPartition { topic: topic.to_owned(), partitions }
    });
    let message = ConsumerProtocolSubscription {
        topics: own.topics.clone(),
        user_data,
        owned_partitions: owned.collect(),
        generation_id: own.generation,
        rack_id: own.rack.clone(),
    };
    let mut bytes = version.to_be_bytes().to_vec();
    message.encode(&mut bytes, version)?;
    Ok(bytes.into())
}

/// Reads another member's metadata. What cannot be read counts as no topics: one bad member must not stop a group.
pub(super) fn read_subscription(
    member_id: &str,
    group_instance_id: Option<&str>,
    metadata: &Bytes,
    assignor: AssignorKind,
) -> Subscription {
    let mut member = Subscription {
        member_id: member_id.to_owned(),
        group_instance_id: group_instance_id.map(str::to_owned),
        generation: -1,
        ..Subscription::default()
    };
    let mut reader = Reader::shared(metadata);
    let Ok(version) = reader.i16() else { return member };
    let newest = *ConsumerProtocolSubscription::VERSIONS.end();
    let Ok(told) = ConsumerProtocolSubscription::decode(&mut reader, version.clamp(0, newest)) else {
        tracing::warn!(member_id, "unreadable subscription");
        return member;
    };
    member.topics = told.topics.into_iter().collect();
    member.generation = told.generation_id;
    for topic in &told.owned_partitions {
        member.owned.extend(topic.partitions.iter().map(|p| TopicPartition::new(topic.topic.as_str(), *p)));
    }
    match (assignor, &told.user_data) {
        (AssignorKind::Sticky, Some(data)) => {
            if let Some((held, generation)) = read_sticky_user_data(data) {
                member.owned = held;
                member.generation = generation;
            }
        }
        (AssignorKind::CooperativeSticky, Some(data)) if member.generation < 0 => {
            member.generation = read_cooperative_user_data(data).unwrap_or(-1);
        }
        _ => {}
    }
    member
}

/// What the leader tells a member in SyncGroup.
pub(super) fn assignment(partitions: &[TopicPartition]) -> Result<Bytes, EncodeError> {
    // Version 0 and 3 differ in nothing but the number; old members read any.
    let version = *ConsumerProtocolAssignment::VERSIONS.end();
    let assigned = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        consumer_protocol_assignment::TopicPartition { topic: topic.to_owned(), partitions }
    });
    let message = ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), user_data: None };
    let mut bytes = version.to_be_bytes().to_vec();
    message.encode(&mut bytes, version)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let own = OwnSubscription {
            topics: vec!["a".to_owned(), "b".to_owned()],
            owned: vec![TopicPartition::new("a", 1)],
            held: vec![TopicPartition::new("b", 2)],
            generation: 4,
            rack: None,
        };
        let read = |kind| read_subscription("m", Some("i"), &subscription(&own, kind).unwrap(), kind);
        let range = read(AssignorKind::Range);
        assert_eq!((range.owned, range.generation), (own.owned.clone(), 4));
        assert_eq!(range.topics.into_iter().collect::<Vec<_>>(), own.topics);
        let sticky = read(AssignorKind::Sticky);
        assert_eq!((sticky.owned, sticky.generation), (own.held.clone(), 4));

        let partitions =
            [TopicPartition::new("a", 0), TopicPartition::new("a", 3), TopicPartition::new("b", 1)];
        let bytes = assignment(&partitions).unwrap();
        assert_eq!(crate::admin::read_assignment(&bytes).unwrap(), partitions);
    }

    #[test]
    fn subscription_bytes_are_javas() {
        // ConsumerProtocol.serializeSubscription(new Subscription(List.of("t")), version 1) of Kafka.
        let v1 = b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0";
        let member = read_subscription("m", None, &Bytes::from_static(v1), AssignorKind::Range);
        assert_eq!(member.topics.into_iter().collect::<Vec<_>>(), ["t"]);
        // Version 0 has no owned partitions; newer than known is read as the newest known.
        let v0 = b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff";
        assert_eq!(
            read_subscription("m", None, &Bytes::from_static(v0), AssignorKind::Range).topics.len(),
            1
        );
        let garbage = Bytes::from_static(b"\0\x03\xff\xff");
        assert_eq!(read_subscription("m", None, &garbage, AssignorKind::Range).topics.len(), 0);
    }
}
