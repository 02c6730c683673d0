//! Offsets of groups, also as part of a transaction.

use std::ops::ControlFlow;

use kafka_codec::ErrorCode;
use kafka_codec::acl::AclOperation::{Delete, Describe, Read, Write};
use kafka_codec::messages::*;

use super::{Access, Guarded, take_out, throttle_time};

const GROUP_REFUSED: ErrorCode = ErrorCode::GroupAuthorizationFailed;
const TOPIC_REFUSED: ErrorCode = ErrorCode::TopicAuthorizationFailed;
/// First versions in which topics are named by id.
const COMMIT_IDS_FROM: i16 = 10;
const FETCH_IDS_FROM: i16 = 10;

mod commit {
    use super::*;
    use offset_commit_request::OffsetCommitRequestTopic;
    use offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};

    fn failed(topic: OffsetCommitRequestTopic, code: ErrorCode) -> OffsetCommitResponseTopic {
        let partition = |index: i32| OffsetCommitResponsePartition {
            partition_index: index,
            error_code: code.code(),
            ..OffsetCommitResponsePartition::default()
        };
        OffsetCommitResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(|p| partition(p.partition_index)).collect(),
            ..OffsetCommitResponseTopic::default()
        }
    }

    impl Guarded for OffsetCommitRequest {
        type Withheld = Vec<OffsetCommitRequestTopic>;

        fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
            if !access.group(Read, &self.group_id) {
                let topics = std::mem::take(&mut self.topics);
                return ControlFlow::Break(OffsetCommitResponse {
                    topics: topics.into_iter().map(|topic| failed(topic, GROUP_REFUSED)).collect(),
                    ..OffsetCommitResponse::default()
                });
            }
            ControlFlow::Continue(take_out(&mut self.topics, |topic| {
                if access.version >= COMMIT_IDS_FROM {
                    access.topic_by_id(Read, topic.topic_id)
                } else {
                    access.topic(Read, &topic.name)
                }
            }))
        }

        fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
            response.topics.extend(refused.into_iter().map(|topic| failed(topic, TOPIC_REFUSED)));
        }

        throttle_time!(Self::Response);
    }
}

mod transactional {
    use super::*;
    use txn_offset_commit_request::TxnOffsetCommitRequestTopic;
    use txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};

    fn failed(topic: TxnOffsetCommitRequestTopic, code: ErrorCode) -> TxnOffsetCommitResponseTopic {
        let partition = |index: i32| TxnOffsetCommitResponsePartition {
            partition_index: index,
            error_code: code.code(),
            ..TxnOffsetCommitResponsePartition::default()
        };
        TxnOffsetCommitResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(|p| partition(p.partition_index)).collect(),
            ..TxnOffsetCommitResponseTopic::default()
        }
    }

    impl Guarded for TxnOffsetCommitRequest {
        type Withheld = Vec<TxnOffsetCommitRequestTopic>;

        fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
            let refusal = if !access.transactional_id(Write, &self.transactional_id) {
                Some(ErrorCode::TransactionalIdAuthorizationFailed)
            } else if !access.group(Read, &self.group_id) {
                Some(GROUP_REFUSED)
            } else {
                None
            };
            if let Some(code) = refusal {
                let topics = std::mem::take(&mut self.topics);
                return ControlFlow::Break(TxnOffsetCommitResponse {
                    topics: topics.into_iter().map(|topic| failed(topic, code)).collect(),
                    ..TxnOffsetCommitResponse::default()
                });
            }
            ControlFlow::Continue(take_out(&mut self.topics, |topic| {
                if topic.topic_id.is_zero() {
                    access.topic(Read, &topic.name)
                } else {
                    access.topic_by_id(Read, topic.topic_id)
                }
            }))
        }

        fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
            response.topics.extend(refused.into_iter().map(|topic| failed(topic, TOPIC_REFUSED)));
        }

        throttle_time!(Self::Response);
    }
}

mod fetch {
    use super::*;
    use kafka_codec::Uuid;
    use offset_fetch_request::{OffsetFetchRequestTopic, OffsetFetchRequestTopics};
    use offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    };

    /// What was taken out.
    #[derive(Default)]
    pub(crate) struct Withheld {
        /// Groups as a whole.
        groups: Vec<String>,
        /// Topics of groups that may be asked for.
        topics: Vec<(String, Vec<OffsetFetchRequestTopics>)>,
        /// Topics of the one group that older versions ask for.
        single: Vec<OffsetFetchRequestTopic>,
    }

    fn failed(topic: OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
        let partition = |index: i32| OffsetFetchResponsePartitions {
            partition_index: index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(String::new()),
            error_code: TOPIC_REFUSED.code(),
            ..OffsetFetchResponsePartitions::default()
        };
        OffsetFetchResponseTopics {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: topic.partition_indexes.into_iter().map(partition).collect(),
            ..OffsetFetchResponseTopics::default()
        }
    }

    fn failed_single(topic: OffsetFetchRequestTopic, code: ErrorCode) -> OffsetFetchResponseTopic {
        let partition = |index: i32| OffsetFetchResponsePartition {
            partition_index: index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(String::new()),
            error_code: code.code(),
            ..OffsetFetchResponsePartition::default()
        };
        OffsetFetchResponseTopic {
            name: topic.name,
            partitions: topic.partition_indexes.into_iter().map(partition).collect(),
            ..OffsetFetchResponseTopic::default()
        }
    }

    fn may_describe(access: &Access, name: &str, id: Uuid) -> bool {
        if access.version >= FETCH_IDS_FROM {
            access.topic_by_id(Describe, id)
        } else {
            access.topic(Describe, name)
        }
    }

    impl Guarded for OffsetFetchRequest {
        type Withheld = Withheld;

        fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Withheld> {
            let mut withheld = Withheld::default();
            if access.version < 8 {
                if !access.group(Describe, &self.group_id) {
                    let topics = self.topics.take().unwrap_or_default().into_iter();
                    return ControlFlow::Break(OffsetFetchResponse {
                        error_code: GROUP_REFUSED.code(),
                        topics: if access.version < 2 {
                            topics.map(|topic| failed_single(topic, GROUP_REFUSED)).collect()
                        } else {
                            Vec::new()
                        },
                        ..OffsetFetchResponse::default()
                    });
                }
                if let Some(topics) = &mut self.topics {
                    withheld.single = take_out(topics, |topic| access.topic(Describe, &topic.name));
                }
                return ControlFlow::Continue(withheld);
            }
            let refused = take_out(&mut self.groups, |group| access.group(Describe, &group.group_id));
            withheld.groups = refused.into_iter().map(|group| group.group_id).collect();
            for group in &mut self.groups {
                if let Some(topics) = &mut group.topics {
                    let refused = take_out(topics, |topic| may_describe(access, &topic.name, topic.topic_id));
                    if !refused.is_empty() {
                        withheld.topics.push((group.group_id.clone(), refused));
                    }
                }
            }
            ControlFlow::Continue(withheld)
        }

        fn complete(response: &mut Self::Response, withheld: Withheld, access: &Access) {
            // Where all topics were asked for, those that may not be known are left out.
            response.topics.retain(|topic| access.topic_quietly(Describe, &topic.name));
            for group in &mut response.groups {
                group.topics.retain(|topic| match access.topic_name(topic.topic_id) {
                    Some(name) => access.topic_quietly(Describe, &name),
                    None => topic.name.is_empty() || access.topic_quietly(Describe, &topic.name),
                });
            }
            response.topics.extend(withheld.single.into_iter().map(|t| failed_single(t, TOPIC_REFUSED)));
            for (id, topics) in withheld.topics {
                if let Some(group) =
                    response.groups.iter_mut().find(|group| group.group_id == id && group.error_code == 0)
                {
                    group.topics.extend(topics.into_iter().map(failed));
                }
            }
            response.groups.extend(withheld.groups.into_iter().map(|group_id| OffsetFetchResponseGroup {
                group_id,
                error_code: GROUP_REFUSED.code(),
                ..OffsetFetchResponseGroup::default()
            }));
        }

        throttle_time!(Self::Response);
    }
}

impl Guarded for OffsetDeleteRequest {
    type Withheld = Vec<offset_delete_request::OffsetDeleteRequestTopic>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        if !access.group(Delete, &self.group_id) {
            return ControlFlow::Break(OffsetDeleteResponse {
                error_code: GROUP_REFUSED.code(),
                ..OffsetDeleteResponse::default()
            });
        }
        ControlFlow::Continue(take_out(&mut self.topics, |topic| access.topic(Read, &topic.name)))
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
        use offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
        for topic in refused {
            let partition = |index: i32| OffsetDeleteResponsePartition {
                partition_index: index,
                error_code: TOPIC_REFUSED.code(),
            };
            response.topics.push(OffsetDeleteResponseTopic {
                name: topic.name,
                partitions: topic.partitions.iter().map(|p| partition(p.partition_index)).collect(),
            });
        }
    }

    throttle_time!(Self::Response);
}
