//! Topics: their description, creation, deletion, and questions about their partitions.

use std::ops::ControlFlow;
use std::sync::Arc;

use kafka_codec::acl::AclOperation::{Alter, Create, Delete, Describe, DescribeConfigs, Read};
use kafka_codec::messages::*;
use kafka_codec::{ErrorCode, Uuid};
use meta::controller;

use super::{Access, Guarded, Metered, NOT_ASKED, take_out, throttle_time, words};
use crate::metadata::State;

const REFUSED: ErrorCode = ErrorCode::TopicAuthorizationFailed;
const OVER_QUOTA: ErrorCode = ErrorCode::ThrottlingQuotaExceeded;

/// Requests that name topics with partitions, each of which gets the code.
macro_rules! partitions {
    ($request:ident, $operation:ident, $topic:path, $name:ident, $answer:path, |$partition:ident| $refused:expr) => {
        impl Guarded for $request {
            type Withheld = Vec<$topic>;

            fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
                ControlFlow::Continue(take_out(&mut self.topics, |topic| {
                    access.topic($operation, &topic.$name)
                }))
            }

            fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
                type Answer = $answer;
                for topic in refused {
                    response.topics.push(Answer {
                        $name: topic.$name,
                        partitions: topic.partitions.iter().map(|$partition| $refused).collect(),
                        ..Answer::default()
                    });
                }
            }

            throttle_time!(Self::Response);
        }
    };
}

partitions!(
    ListOffsetsRequest,
    Describe,
    list_offsets_request::ListOffsetsTopic,
    name,
    list_offsets_response::ListOffsetsTopicResponse,
    |partition| list_offsets_response::ListOffsetsPartitionResponse {
        partition_index: partition.partition_index,
        error_code: REFUSED.code(),
        timestamp: -1,
        offset: -1,
        ..list_offsets_response::ListOffsetsPartitionResponse::default()
    }
);
partitions!(
    OffsetForLeaderEpochRequest,
    Describe,
    offset_for_leader_epoch_request::OffsetForLeaderTopic,
    topic,
    offset_for_leader_epoch_response::OffsetForLeaderTopicResult,
    |partition| offset_for_leader_epoch_response::EpochEndOffset {
        partition: partition.partition,
        error_code: REFUSED.code(),
        ..offset_for_leader_epoch_response::EpochEndOffset::default()
    }
);
partitions!(
    DeleteRecordsRequest,
    Delete,
    delete_records_request::DeleteRecordsTopic,
    name,
    delete_records_response::DeleteRecordsTopicResult,
    |partition| delete_records_response::DeleteRecordsPartitionResult {
        partition_index: partition.partition_index,
        low_watermark: -1,
        error_code: REFUSED.code(),
        ..delete_records_response::DeleteRecordsPartitionResult::default()
    }
);

impl Guarded for DescribeProducersRequest {
    type Withheld = Vec<describe_producers_request::TopicRequest>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        ControlFlow::Continue(take_out(&mut self.topics, |topic| access.topic(Read, &topic.name)))
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
        use describe_producers_response::{PartitionResponse, TopicResponse};
        for topic in refused {
            let partition = |index: i32| PartitionResponse {
                partition_index: index,
                error_code: REFUSED.code(),
                error_message: words(REFUSED),
                ..PartitionResponse::default()
            };
            response.topics.push(TopicResponse {
                name: topic.name,
                partitions: topic.partition_indexes.into_iter().map(partition).collect(),
                ..TopicResponse::default()
            });
        }
    }

    throttle_time!(Self::Response);
}

mod metadata {
    use super::*;
    use crate::api::metadata::drop_names_beside_ids;
    use metadata_response::MetadataResponseTopic;

    /// What was taken out, and what the client wants to know of its rights.
    pub(crate) struct Withheld {
        refused: Vec<MetadataResponseTopic>,
        /// Nothing is left of a list that is not to mean "all" for that.
        nothing_left: bool,
        topic_operations: bool,
        cluster_operations: bool,
    }

    fn refused(name: Option<String>, topic_id: Uuid) -> MetadataResponseTopic {
        MetadataResponseTopic {
            error_code: REFUSED.code(),
            is_internal: name.as_deref().is_some_and(controller::is_internal),
            name,
            topic_id,
            ..MetadataResponseTopic::default()
        }
    }

    impl Guarded for MetadataRequest {
        type Withheld = Withheld;

        fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Withheld> {
            drop_names_beside_ids(self, access.version);
            let may_create = |name: &str| access.cluster_quietly(Create) || access.topic(Create, name);
            let creates =
                self.allow_auto_topic_creation && access.state.properties.flag("auto.create.topics.enable");
            let mut withheld = Withheld {
                refused: Vec::new(),
                nothing_left: false,
                topic_operations: self.include_topic_authorized_operations,
                cluster_operations: self.include_cluster_authorized_operations,
            };
            // Version 0 has no null: there an empty list means all.
            let all =
                |topics: &[metadata_request::MetadataRequestTopic]| access.version == 0 && topics.is_empty();
            if let Some(topics) = self.topics.as_mut().filter(|topics| !all(topics)) {
                let removed = take_out(topics, |topic| match &topic.name {
                    Some(name) => {
                        access.topic(Describe, name)
                            && (!creates || access.state.image.topic(name).is_some() || may_create(name))
                    }
                    None => access.topic_by_id(Describe, topic.topic_id),
                });
                withheld.nothing_left = all(topics);
                // Ids are no secret, names are: neither leads to the other.
                withheld.refused = removed
                    .into_iter()
                    .map(|topic| match topic.name {
                        Some(name) => refused(Some(name), Uuid::ZERO),
                        None => refused(None, topic.topic_id),
                    })
                    .collect();
            }
            ControlFlow::Continue(withheld)
        }

        fn complete(response: &mut Self::Response, withheld: Withheld, access: &Access) {
            if withheld.nothing_left {
                response.topics.clear();
            }
            response.topics.retain(|topic| {
                topic.error_code != 0
                    || topic.name.as_ref().is_none_or(|name| access.topic_quietly(Describe, name))
            });
            for topic in &mut response.topics {
                topic.topic_authorized_operations = match &topic.name {
                    Some(name) if withheld.topic_operations && topic.error_code == 0 => {
                        access.topic_operations(name)
                    }
                    _ => NOT_ASKED,
                };
            }
            response.topics.extend(withheld.refused);
            response.cluster_authorized_operations =
                if withheld.cluster_operations { access.cluster_operations() } else { NOT_ASKED };
        }

        throttle_time!(Self::Response);
    }
}

mod describe {
    use super::*;
    use describe_topic_partitions_request::TopicRequest;
    use describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;

    fn refused(topic: TopicRequest) -> DescribeTopicPartitionsResponseTopic {
        DescribeTopicPartitionsResponseTopic {
            error_code: REFUSED.code(),
            is_internal: controller::is_internal(&topic.name),
            name: Some(topic.name),
            ..DescribeTopicPartitionsResponseTopic::default()
        }
    }

    impl Guarded for DescribeTopicPartitionsRequest {
        type Withheld = Vec<TopicRequest>;

        fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
            let removed = if self.topics.is_empty() {
                // All that the client may know: a cursor must not tell the name of another one.
                let known = access.state.image.topics().map(|topic| topic.name.to_string());
                self.topics = known
                    .filter(|name| access.topic_quietly(Describe, name))
                    .map(|name| TopicRequest { name, ..TopicRequest::default() })
                    .collect();
                Vec::new()
            } else {
                take_out(&mut self.topics, |topic| access.topic(Describe, &topic.name))
            };
            if self.topics.is_empty() {
                return ControlFlow::Break(DescribeTopicPartitionsResponse {
                    topics: removed.into_iter().map(refused).collect(),
                    ..DescribeTopicPartitionsResponse::default()
                });
            }
            ControlFlow::Continue(removed)
        }

        fn complete(response: &mut Self::Response, removed: Self::Withheld, access: &Access) {
            for topic in &mut response.topics {
                if let Some(name) = topic.name.as_ref().filter(|_| topic.error_code == 0) {
                    topic.topic_authorized_operations = access.topic_operations(name);
                }
            }
            response.topics.extend(removed.into_iter().map(refused));
        }

        throttle_time!(Self::Response);
    }
}

impl Guarded for CreateTopicsRequest {
    type Withheld = Vec<String>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        if access.cluster_quietly(Create) {
            return ControlFlow::Continue(Vec::new());
        }
        let refused = take_out(&mut self.topics, |topic| access.topic(Create, &topic.name));
        ControlFlow::Continue(refused.into_iter().map(|topic| topic.name).collect())
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, access: &Access) {
        for topic in response.topics.iter_mut().filter(|topic| topic.error_code == 0) {
            if !access.topic_quietly(DescribeConfigs, &topic.name) {
                topic.topic_config_error_code = REFUSED.code();
                topic.num_partitions = -1;
                topic.replication_factor = -1;
                topic.configs = Some(Vec::new());
            }
        }
        response.topics.extend(refused.into_iter().map(|name| {
            create_topics_response::CreatableTopicResult {
                name,
                error_code: REFUSED.code(),
                error_message: words(REFUSED),
                num_partitions: -1,
                replication_factor: -1,
                configs: None,
                ..create_topics_response::CreatableTopicResult::default()
            }
        }));
    }

    const STRICT_FROM: Option<i16> = Some(6);

    fn meter(&mut self, state: &State, take: &mut dyn FnMut(f64) -> bool) -> Vec<Metered> {
        if self.validate_only {
            return Vec::new();
        }
        let refused = take_out(&mut self.topics, |topic| {
            let partitions = match topic.num_partitions {
                _ if !topic.assignments.is_empty() => {
                    i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX)
                }
                -1 => state.properties.int("num.partitions"),
                given => given.max(0),
            };
            take(f64::from(partitions))
        });
        refused.into_iter().map(|topic| (Some(topic.name), Uuid::ZERO)).collect()
    }

    fn tell_metered(response: &mut Self::Response, refused: Vec<Metered>) {
        response.topics.extend(refused.into_iter().map(|(name, _)| {
            create_topics_response::CreatableTopicResult {
                name: name.unwrap_or_default(),
                error_code: OVER_QUOTA.code(),
                error_message: words(OVER_QUOTA),
                num_partitions: -1,
                replication_factor: -1,
                configs: None,
                ..create_topics_response::CreatableTopicResult::default()
            }
        }));
    }

    throttle_time!(Self::Response);
}

impl Guarded for DeleteTopicsRequest {
    type Withheld = Vec<(Option<String>, Uuid)>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        let mut refused: Vec<(Option<String>, Uuid)> =
            take_out(&mut self.topic_names, |name| access.topic(Delete, name))
                .into_iter()
                .map(|name| (Some(name), Uuid::ZERO))
                .collect();
        let removed = take_out(&mut self.topics, |topic| match &topic.name {
            Some(name) => access.topic(Delete, name),
            None => access.topic_by_id(Delete, topic.topic_id),
        });
        refused.extend(removed.into_iter().map(|topic| {
            let known = access.topic_name(topic.topic_id);
            let told = known.filter(|name| access.topic_quietly(Describe, name)).map(|name| name.to_string());
            (topic.name.or(told), topic.topic_id)
        }));
        ControlFlow::Continue(refused)
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
        for (name, topic_id) in refused {
            response.responses.push(delete_topics_response::DeletableTopicResult {
                name,
                topic_id,
                error_code: REFUSED.code(),
                error_message: words(REFUSED),
                ..delete_topics_response::DeletableTopicResult::default()
            });
        }
    }

    const STRICT_FROM: Option<i16> = Some(5);

    fn meter(&mut self, state: &State, take: &mut dyn FnMut(f64) -> bool) -> Vec<Metered> {
        let partitions = |topic: Option<&Arc<meta::Topic>>| {
            f64::from(u32::try_from(topic.map_or(0, |topic| topic.partitions.len())).unwrap_or(u32::MAX))
        };
        let image = &state.image;
        let mut refused: Vec<Metered> =
            take_out(&mut self.topic_names, |name| take(partitions(image.topic(name))))
                .into_iter()
                .map(|name| (Some(name), Uuid::ZERO))
                .collect();
        let removed = take_out(&mut self.topics, |topic| {
            let known = match &topic.name {
                Some(name) => image.topic(name),
                None => image.topic_by_id(topic.topic_id),
            };
            take(partitions(known))
        });
        refused.extend(removed.into_iter().map(|topic| (topic.name, topic.topic_id)));
        refused
    }

    fn tell_metered(response: &mut Self::Response, refused: Vec<Metered>) {
        response.responses.extend(refused.into_iter().map(|(name, topic_id)| {
            delete_topics_response::DeletableTopicResult {
                name,
                topic_id,
                error_code: OVER_QUOTA.code(),
                error_message: words(OVER_QUOTA),
                ..delete_topics_response::DeletableTopicResult::default()
            }
        }));
    }

    throttle_time!(Self::Response);
}

impl Guarded for CreatePartitionsRequest {
    type Withheld = Vec<String>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        let refused = take_out(&mut self.topics, |topic| access.topic(Alter, &topic.name));
        ControlFlow::Continue(refused.into_iter().map(|topic| topic.name).collect())
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
        for name in refused {
            response.results.push(create_partitions_response::CreatePartitionsTopicResult {
                name,
                error_code: REFUSED.code(),
                error_message: words(REFUSED),
                ..create_partitions_response::CreatePartitionsTopicResult::default()
            });
        }
    }

    const STRICT_FROM: Option<i16> = Some(3);

    fn meter(&mut self, state: &State, take: &mut dyn FnMut(f64) -> bool) -> Vec<Metered> {
        if self.validate_only {
            return Vec::new();
        }
        let refused = take_out(&mut self.topics, |topic| {
            let now = state.image.topic(&topic.name).map_or(0, |topic| topic.partitions.len());
            let now = i32::try_from(now).unwrap_or(i32::MAX);
            take(f64::from(topic.count.saturating_sub(now).max(0)))
        });
        refused.into_iter().map(|topic| (Some(topic.name), Uuid::ZERO)).collect()
    }

    fn tell_metered(response: &mut Self::Response, refused: Vec<Metered>) {
        response.results.extend(refused.into_iter().map(|(name, _)| {
            create_partitions_response::CreatePartitionsTopicResult {
                name: name.unwrap_or_default(),
                error_code: OVER_QUOTA.code(),
                error_message: words(OVER_QUOTA),
                ..create_partitions_response::CreatePartitionsTopicResult::default()
            }
        }));
    }

    throttle_time!(Self::Response);
}
