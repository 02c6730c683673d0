//! Share groups and their offsets (KIP-932).

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;
use kafka_codec::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use kafka_codec::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use kafka_codec::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_codec::messages::{
    AlterShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequest,
    ShareGroupDescribeRequest, share_group_describe_response,
};

use super::topics::operations;
use super::{Admin, Each, GroupDescription, MemberDescription, Node, ShareOffset, Target, coordinator_moves};
use crate::cluster::CoordinatorKind;
use crate::door::TopicPartition;
use crate::error::{Error, Result};

impl Admin {
    /// Describes share groups.
    ///
    /// # Errors
    /// As [`Admin`] says. `GroupIdNotFound` and the like are told per group.
    pub async fn describe_share_groups(
        &self,
        group_ids: &[String],
    ) -> Result<Each<String, GroupDescription>> {
        let mut each = Vec::with_capacity(group_ids.len());
        for id in group_ids {
            match self.retrying("describeShareGroups", || self.describe_share_group(id)).await {
                Err(error @ (Error::Timeout(_) | Error::UnsupportedVersion(_))) => return Err(error),
                found => each.push((id.clone(), found)),
            }
        }
        Ok(each)
    }

    async fn describe_share_group(&self, id: &str) -> Result<GroupDescription> {
        let coordinator = self.cluster.find_coordinator(CoordinatorKind::Group, id).await?;
        let connection = self.cluster.broker(coordinator.id).await?;
        let request = ShareGroupDescribeRequest {
            group_ids: vec![id.to_owned()],
            ..ShareGroupDescribeRequest::default()
        };
        let response = connection.call(&request).await?;
        let group = response.groups.into_iter().find(|group| group.group_id == id);
        let group = group.ok_or_else(|| Error::broker(ErrorCode::GroupIdNotFound))?;
        Error::check(group.error_code, group.error_message.as_deref())?;
        Ok(description(group, coordinator))
    }

    /// Reads where a share group stands in all partitions that it knows; `None` where it has not begun.
    ///
    /// # Errors
    /// As [`Admin`] says, and the group's own errors. Partitions that cannot be told are left out.
    pub async fn list_share_group_offsets(
        &self,
        group_id: &str,
    ) -> Result<BTreeMap<TopicPartition, Option<ShareOffset>>> {
        let target = Target::GroupCoordinator(group_id.to_owned());
        let target = &target;
        self.retrying("listShareGroupOffsets", || async move {
            let connection = self.connect(target).await?;
            let group = DescribeShareGroupOffsetsRequestGroup {
                group_id: group_id.to_owned(),
                topics: None,
                ..DescribeShareGroupOffsetsRequestGroup::default()
            };
            let request = DescribeShareGroupOffsetsRequest {
                groups: vec![group],
                ..DescribeShareGroupOffsetsRequest::default()
            };
            let response = connection.call(&request).await?;
            let mut offsets = BTreeMap::new();
            for group in response.groups.into_iter().filter(|group| group.group_id == group_id) {
                Error::check(group.error_code, group.error_message.as_deref())?;
                for topic in group.topics {
                    for told in topic.partitions {
                        let partition = TopicPartition::new(topic.topic_name.as_str(), told.partition_index);
                        if let Err(error) = Error::check(told.error_code, told.error_message.as_deref()) {
                            tracing::warn!(%partition, %error, "cannot tell the share group's offset");
                            continue;
                        }
                        let offset = (told.start_offset >= 0).then_some(ShareOffset {
                            start_offset: told.start_offset,
                            leader_epoch: Some(told.leader_epoch),
                            lag: Some(told.lag).filter(|lag| *lag >= 0),
                        });
                        offsets.insert(partition, offset);
                    }
                }
            }
            Ok(offsets)
        })
        .await
    }

    /// Sets where a share group without members begins.
    ///
    /// # Errors
    /// As [`Admin`] says, and the group's own errors (`NonEmptyGroup` …). `UnknownTopicOrPartition` and the like are
    /// told per partition.
    pub async fn alter_share_group_offsets(
        &self,
        group_id: &str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Each<TopicPartition, ()>> {
        let target = Target::GroupCoordinator(group_id.to_owned());
        let target = &target;
        let keys: Vec<TopicPartition> = offsets.keys().cloned().collect();
        self.retrying_each("alterShareGroupOffsets", keys, coordinator_moves, |keys| async move {
            let mut topics: BTreeMap<&str, Vec<AlterShareGroupOffsetsRequestPartition>> = BTreeMap::new();
            for (partition, start_offset) in offsets.iter().filter(|(p, _)| keys.contains(p)) {
                topics.entry(&partition.topic).or_default().push(AlterShareGroupOffsetsRequestPartition {
                    partition_index: partition.partition,
                    start_offset: *start_offset,
                    ..AlterShareGroupOffsetsRequestPartition::default()
                });
            }
            let topic = |(name, partitions): (&str, Vec<_>)| AlterShareGroupOffsetsRequestTopic {
                topic_name: name.to_owned(),
                partitions,
                ..AlterShareGroupOffsetsRequestTopic::default()
            };
            let request = AlterShareGroupOffsetsRequest {
                group_id: group_id.to_owned(),
                topics: topics.into_iter().map(topic).collect(),
                ..AlterShareGroupOffsetsRequest::default()
            };
            let response = self.connect(target).await?.call(&request).await?;
            Error::check(response.error_code, response.error_message.as_deref())?;
            let mut each = Vec::new();
            for topic in response.responses {
                for told in topic.partitions {
                    let partition = TopicPartition::new(topic.topic_name.as_str(), told.partition_index);
                    each.push((partition, Error::check(told.error_code, told.error_message.as_deref())));
                }
            }
            Ok(each)
        })
        .await
    }

    /// Deletes what a share group without members knows of topics.
    ///
    /// # Errors
    /// As [`Admin`] says, and the group's own errors. `UnknownTopicOrPartition` and the like are told per topic.
    pub async fn delete_share_group_offsets(
        &self,
        group_id: &str,
        topics: &[String],
    ) -> Result<Each<String, ()>> {
        let target = Target::GroupCoordinator(group_id.to_owned());
        let target = &target;
        self.retrying_each(
            "deleteShareGroupOffsets",
            topics.to_vec(),
            coordinator_moves,
            |topics| async move {
                let topic = |topic_name| DeleteShareGroupOffsetsRequestTopic {
                    topic_name,
                    ..DeleteShareGroupOffsetsRequestTopic::default()
                };
                let request = DeleteShareGroupOffsetsRequest {
                    group_id: group_id.to_owned(),
                    topics: topics.into_iter().map(topic).collect(),
                    ..DeleteShareGroupOffsetsRequest::default()
                };
                let response = self.connect(target).await?.call(&request).await?;
                Error::check(response.error_code, response.error_message.as_deref())?;
                let each = response.responses.into_iter().map(|told| {
                    (told.topic_name, Error::check(told.error_code, told.error_message.as_deref()))
                });
                Ok(each.collect())
            },
        )
        .await
    }
}

fn description(group: share_group_describe_response::DescribedGroup, coordinator: Node) -> GroupDescription {
    let partitions = |assignment: share_group_describe_response::Assignment| {
        let mut all = Vec::new();
        for topic in assignment.topic_partitions {
            all.extend(topic.partitions.iter().map(|p| TopicPartition::new(topic.topic_name.as_str(), *p)));
        }
        all.sort();
        all
    };
    let member = |m: share_group_describe_response::Member| MemberDescription {
        member_id: m.member_id,
        group_instance_id: None,
        client_id: m.client_id,
        host: m.client_host,
        assignment: partitions(m.assignment),
        target_assignment: None,
        member_epoch: Some(m.member_epoch),
    };
    GroupDescription {
        group_id: group.group_id,
        protocol_type: "share".to_owned(),
        group_type: "Share".to_owned(),
        state: group.group_state,
        assignor: group.assignor_name,
        members: group.members.into_iter().map(member).collect(),
        coordinator,
        group_epoch: Some(group.group_epoch),
        target_assignment_epoch: Some(group.assignment_epoch),
        authorized_operations: operations(group.authorized_operations),
    }
}
