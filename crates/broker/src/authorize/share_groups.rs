//! Share groups: records and offsets (KIP-932).

use std::ops::ControlFlow;

use kafka_codec::ErrorCode;
use kafka_codec::acl::AclOperation::{ClusterAction, Delete, Describe, Read};
use kafka_codec::messages::*;

use super::{Access, Guarded, no_throttle_time, take_out, throttle_time, words};

const GROUP_REFUSED: ErrorCode = ErrorCode::GroupAuthorizationFailed;
const TOPIC_REFUSED: ErrorCode = ErrorCode::TopicAuthorizationFailed;

/// ShareFetch and ShareAcknowledge: the same rule on different types.
macro_rules! records {
    ($request:ident, $response:ident, $topic:path, $answer:path, $partition:path) => {
        impl Guarded for $request {
            type Withheld = Vec<$topic>;

            fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
                if !access.group(Read, self.group_id.as_deref().unwrap_or_default()) {
                    return ControlFlow::Break($response {
                        error_code: GROUP_REFUSED.code(),
                        error_message: words(GROUP_REFUSED),
                        ..$response::default()
                    });
                }
                ControlFlow::Continue(take_out(&mut self.topics, |t| access.topic_by_id(Read, t.topic_id)))
            }

            fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
                type Answer = $answer;
                type Partition = $partition;
                if response.error_code != 0 {
                    return;
                }
                for topic in refused {
                    let partition = |index: i32| Partition {
                        partition_index: index,
                        error_code: TOPIC_REFUSED.code(),
                        error_message: words(TOPIC_REFUSED),
                        ..Partition::default()
                    };
                    response.responses.push(Answer {
                        topic_id: topic.topic_id,
                        partitions: topic.partitions.iter().map(|p| partition(p.partition_index)).collect(),
                        ..Answer::default()
                    });
                }
            }

            throttle_time!(Self::Response);
        }
    };
}

records!(
    ShareFetchRequest,
    ShareFetchResponse,
    share_fetch_request::FetchTopic,
    share_fetch_response::ShareFetchableTopicResponse,
    share_fetch_response::PartitionData
);
records!(
    ShareAcknowledgeRequest,
    ShareAcknowledgeResponse,
    share_acknowledge_request::AcknowledgeTopic,
    share_acknowledge_response::ShareAcknowledgeTopicResponse,
    share_acknowledge_response::PartitionData
);

mod describe {
    use super::*;
    use describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestTopic;
    use describe_share_group_offsets_response::{
        DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition,
        DescribeShareGroupOffsetsResponseTopic,
    };

    /// Groups refused, and topics of the others.
    type Withheld = (Vec<String>, Vec<(String, Vec<DescribeShareGroupOffsetsRequestTopic>)>);

    fn failed(topic: DescribeShareGroupOffsetsRequestTopic) -> DescribeShareGroupOffsetsResponseTopic {
        let partition = |index: i32| DescribeShareGroupOffsetsResponsePartition {
            partition_index: index,
            start_offset: -1,
            error_code: TOPIC_REFUSED.code(),
            error_message: words(TOPIC_REFUSED),
            ..DescribeShareGroupOffsetsResponsePartition::default()
        };
        DescribeShareGroupOffsetsResponseTopic {
            topic_name: topic.topic_name,
            partitions: topic.partitions.into_iter().map(partition).collect(),
            ..DescribeShareGroupOffsetsResponseTopic::default()
        }
    }

    impl Guarded for DescribeShareGroupOffsetsRequest {
        type Withheld = Withheld;

        fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Withheld> {
            let refused = take_out(&mut self.groups, |group| access.group(Describe, &group.group_id));
            let mut topics = Vec::new();
            for group in &mut self.groups {
                if let Some(wanted) = &mut group.topics {
                    let refused = take_out(wanted, |topic| access.topic(Describe, &topic.topic_name));
                    topics.push((group.group_id.clone(), refused));
                }
            }
            ControlFlow::Continue((refused.into_iter().map(|group| group.group_id).collect(), topics))
        }

        fn complete(response: &mut Self::Response, (groups, topics): Withheld, access: &Access) {
            for group in &mut response.groups {
                group.topics.retain(|topic| access.topic_quietly(Describe, &topic.topic_name));
            }
            for (id, refused) in topics {
                if let Some(group) = response.groups.iter_mut().find(|group| group.group_id == id) {
                    group.topics.extend(refused.into_iter().map(failed));
                }
            }
            response.groups.extend(groups.into_iter().map(|group_id| {
                DescribeShareGroupOffsetsResponseGroup {
                    group_id,
                    error_code: GROUP_REFUSED.code(),
                    error_message: words(GROUP_REFUSED),
                    ..DescribeShareGroupOffsetsResponseGroup::default()
                }
            }));
        }

        throttle_time!(Self::Response);
    }
}

impl Guarded for AlterShareGroupOffsetsRequest {
    type Withheld = Vec<alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        if !access.group(Read, &self.group_id) {
            return ControlFlow::Break(AlterShareGroupOffsetsResponse {
                error_code: GROUP_REFUSED.code(),
                error_message: words(GROUP_REFUSED),
                ..AlterShareGroupOffsetsResponse::default()
            });
        }
        ControlFlow::Continue(take_out(&mut self.topics, |topic| access.topic(Read, &topic.topic_name)))
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
        use alter_share_group_offsets_response::{
            AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
        };
        for topic in refused {
            let partition = |index: i32| AlterShareGroupOffsetsResponsePartition {
                partition_index: index,
                error_code: TOPIC_REFUSED.code(),
                error_message: words(TOPIC_REFUSED),
                ..AlterShareGroupOffsetsResponsePartition::default()
            };
            response.responses.push(AlterShareGroupOffsetsResponseTopic {
                topic_name: topic.topic_name,
                partitions: topic.partitions.iter().map(|p| partition(p.partition_index)).collect(),
                ..AlterShareGroupOffsetsResponseTopic::default()
            });
        }
    }

    throttle_time!(Self::Response);
}

impl Guarded for DeleteShareGroupOffsetsRequest {
    type Withheld = Vec<delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        if !access.group(Delete, &self.group_id) {
            return ControlFlow::Break(DeleteShareGroupOffsetsResponse {
                error_code: GROUP_REFUSED.code(),
                error_message: words(GROUP_REFUSED),
                ..DeleteShareGroupOffsetsResponse::default()
            });
        }
        ControlFlow::Continue(take_out(&mut self.topics, |topic| access.topic(Read, &topic.topic_name)))
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
        use delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
        response.responses.extend(refused.into_iter().map(|topic| DeleteShareGroupOffsetsResponseTopic {
            topic_name: topic.topic_name,
            error_code: TOPIC_REFUSED.code(),
            error_message: words(TOPIC_REFUSED),
            ..DeleteShareGroupOffsetsResponseTopic::default()
        }));
    }

    throttle_time!(Self::Response);
}

/// What brokers ask each other about a share group's state: refused, every partition gets the code.
macro_rules! state {
    ($request:ident, $response:ident, $module:ident, $result:ident) => {
        impl Guarded for $request {
            type Withheld = ();

            fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, ()> {
                use $module::{PartitionResult, $result};
                if access.cluster(ClusterAction) {
                    return ControlFlow::Continue(());
                }
                let code = ErrorCode::ClusterAuthorizationFailed;
                let results = self
                    .topics
                    .iter()
                    .map(|topic| $result {
                        topic_id: topic.topic_id,
                        partitions: topic
                            .partitions
                            .iter()
                            .map(|partition| PartitionResult {
                                partition: partition.partition,
                                error_code: code.code(),
                                error_message: words(code),
                                ..PartitionResult::default()
                            })
                            .collect(),
                        ..$result::default()
                    })
                    .collect();
                ControlFlow::Break($response { results, ..$response::default() })
            }

            fn complete(_: &mut Self::Response, (): (), _: &Access) {}

            no_throttle_time!(Self::Response);
        }
    };
}

state!(
    InitializeShareGroupStateRequest,
    InitializeShareGroupStateResponse,
    initialize_share_group_state_response,
    InitializeStateResult
);
state!(
    ReadShareGroupStateRequest,
    ReadShareGroupStateResponse,
    read_share_group_state_response,
    ReadStateResult
);
state!(
    WriteShareGroupStateRequest,
    WriteShareGroupStateResponse,
    write_share_group_state_response,
    WriteStateResult
);
state!(
    DeleteShareGroupStateRequest,
    DeleteShareGroupStateResponse,
    delete_share_group_state_response,
    DeleteStateResult
);
state!(
    ReadShareGroupStateSummaryRequest,
    ReadShareGroupStateSummaryResponse,
    read_share_group_state_summary_response,
    ReadStateSummaryResult
);
