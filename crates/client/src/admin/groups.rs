//! Consumer groups and their offsets.

use std::collections::BTreeMap;

use kafka_codec::messages::leave_group_request::MemberIdentity;
use kafka_codec::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_codec::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DeleteGroupsRequest, DescribeGroupsRequest,
    LeaveGroupRequest, ListGroupsRequest, OffsetDeleteRequest, consumer_group_describe_response,
    describe_groups_response,
};
use kafka_codec::wire::Reader;
use kafka_codec::{ApiKey, ErrorCode, Message};

use super::topics::operations;
use super::{
    Admin, Each, GroupDescription, GroupListing, GroupOffsets, ListGroupsOptions, MemberDescription, Node,
    Target, coordinator_moves,
};
use crate::consumer::GroupMetadata;
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::group_offsets;
use crate::record::OffsetAndMetadata;

impl Admin {
    /// Lists the groups of all brokers, sorted by id.
    ///
    /// # Errors
    /// As [`Admin`] says; also when one of the brokers cannot answer, since the list would not be whole.
    pub async fn list_groups(&self, options: &ListGroupsOptions) -> Result<Vec<GroupListing>> {
        let mut all: BTreeMap<String, GroupListing> = BTreeMap::new();
        for broker in self.brokers("listGroups").await? {
            for group in self.retrying("listGroups", || self.groups_of(broker.id, options)).await? {
                all.insert(group.group_id.clone(), group);
            }
        }
        Ok(all.into_values().collect())
    }

    async fn groups_of(&self, broker: i32, options: &ListGroupsOptions) -> Result<Vec<GroupListing>> {
        let connection = self.cluster.broker(broker).await?;
        let least = match (options.types.is_empty(), options.states.is_empty()) {
            (false, _) => 5,
            (true, false) => 4,
            (true, true) => 0,
        };
        let newest = ApiKey::ListGroups.versions().map_or(0, |v| *v.end());
        let version = connection.version(ApiKey::ListGroups, least..=newest)?;
        let request = ListGroupsRequest {
            states_filter: options.states.clone(),
            types_filter: options.types.clone(),
            ..ListGroupsRequest::default()
        };
        let response = connection.call_version(&request, version, self.config.client.request_timeout).await?;
        Error::check(response.error_code, None)?;
        let listing = |g: kafka_codec::messages::list_groups_response::ListedGroup| GroupListing {
            group_id: g.group_id,
            protocol_type: g.protocol_type,
            state: Some(g.group_state).filter(|s| !s.is_empty()),
            group_type: Some(g.group_type).filter(|t| !t.is_empty()),
        };
        Ok(response.groups.into_iter().map(listing).collect())
    }

    /// Describes consumer groups, KIP-848 ones and classic ones. A group that does not exist is
    /// `GroupIdNotFound`, from brokers before 4.0 a description in state `Dead`.
    ///
    /// # Errors
    /// As [`Admin`] says. `GroupIdNotFound` and the like are told per group.
    pub async fn describe_groups(&self, group_ids: &[String]) -> Result<Each<String, GroupDescription>> {
        let mut each = Vec::with_capacity(group_ids.len());
        for id in group_ids {
            let found = self.retrying("describeConsumerGroups", || self.describe_group(id)).await;
            match found {
                Err(error @ (Error::Timeout(_) | Error::UnsupportedVersion(_))) => return Err(error),
                found => each.push((id.clone(), found)),
            }
        }
        Ok(each)
    }

    async fn describe_group(&self, id: &str) -> Result<GroupDescription> {
        let coordinator = self.coordinator_of(id).await?;
        let connection = self.cluster.broker(coordinator.id).await?;
        if let Ok(version) = connection.version(ApiKey::ConsumerGroupDescribe, 0..=1) {
            let request =
                ConsumerGroupDescribeRequest { group_ids: vec![id.to_owned()], ..Default::default() };
            let limit = self.config.client.request_timeout;
            let response = connection.call_version(&request, version, limit).await?;
            if let Some(group) = response.groups.into_iter().find(|g| g.group_id == id) {
                match ErrorCode::from_wire(group.error_code) {
                    // A classic group, or none at all: the older request tells.
                    ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion => {}
                    _ => {
                        Error::check(group.error_code, group.error_message.as_deref())?;
                        return Ok(consumer_group(group, coordinator));
                    }
                }
            }
        }
        let request =
            DescribeGroupsRequest { groups: vec![id.to_owned()], ..DescribeGroupsRequest::default() };
        let response = connection.call(&request).await?;
        let group = response.groups.into_iter().find(|g| g.group_id == id);
        let group = group.ok_or_else(|| Error::broker(ErrorCode::GroupIdNotFound))?;
        Error::check(group.error_code, group.error_message.as_deref())?;
        Ok(classic_group(group, coordinator))
    }

    async fn coordinator_of(&self, group: &str) -> Result<Node> {
        self.cluster.find_coordinator(crate::cluster::CoordinatorKind::Group, group).await
    }

    /// Deletes empty groups.
    ///
    /// # Errors
    /// As [`Admin`] says. `NonEmptyGroup`, `GroupIdNotFound` and the like are told per group.
    pub async fn delete_groups(&self, group_ids: &[String]) -> Result<Each<String, ()>> {
        self.retrying_each("deleteConsumerGroups", group_ids.to_vec(), coordinator_moves, |ids| async move {
            let mut each = Vec::new();
            for id in ids {
                let request = DeleteGroupsRequest { groups_names: vec![id.clone()], ..Default::default() };
                let target = Target::GroupCoordinator(id);
                let response = self.connect(&target).await?.call(&request).await?;
                let results = response.results.into_iter();
                each.extend(
                    results.map(|r| (r.group_id, Error::check(r.error_code, r.error_message.as_deref()))),
                );
            }
            Ok(each)
        })
        .await
    }

    /// Reads the committed offsets of a group; `None` = of all partitions that have one.
    ///
    /// # Errors
    /// As [`Admin`] says, and the group's own errors.
    pub async fn list_group_offsets(
        &self,
        group_id: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<GroupOffsets> {
        let target = Target::GroupCoordinator(group_id.to_owned());
        let target = &target;
        let limit = self.config.client.request_timeout;
        self.retrying("listConsumerGroupOffsets", || async move {
            let connection = self.connect(target).await?;
            let offsets = group_offsets::fetch(&connection, group_id, partitions, false, limit).await?;
            match offsets
                .values()
                .find_map(|o| o.as_ref().err().filter(|e| e.code().is_some_and(coordinator_moves)))
            {
                Some(error) => Err(error.clone()),
                None => Ok(offsets),
            }
        })
        .await
    }

    /// Sets the committed offsets of a group without members.
    ///
    /// # Errors
    /// As [`Admin`] says. `UnknownMemberId` (the group has members) and the like are told per partition.
    pub async fn alter_group_offsets(
        &self,
        group_id: &str,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<Each<TopicPartition, ()>> {
        let keys = offsets.keys().cloned().collect();
        let target = Target::GroupCoordinator(group_id.to_owned());
        let (target, nobody) = (&target, &GroupMetadata::nobody(group_id));
        self.retrying_each("alterConsumerGroupOffsets", keys, coordinator_moves, |keys| async move {
            let chosen = offsets.iter().filter(|(p, _)| keys.contains(p));
            let chosen = chosen.map(|(p, o)| (p.clone(), o.clone())).collect();
            let connection = self.connect(target).await?;
            group_offsets::commit(&connection, nobody, &chosen, self.config.client.request_timeout).await
        })
        .await
    }

    /// Deletes committed offsets of a group.
    ///
    /// # Errors
    /// As [`Admin`] says, and the group's own errors. `GroupSubscribedToTopic` and the like are told per partition.
    pub async fn delete_group_offsets(
        &self,
        group_id: &str,
        partitions: &[TopicPartition],
    ) -> Result<Each<TopicPartition, ()>> {
        let target = Target::GroupCoordinator(group_id.to_owned());
        let target = &target;
        self.retrying_each(
            "deleteConsumerGroupOffsets",
            partitions.to_vec(),
            coordinator_moves,
            |keys| async move {
                let mut topics = Vec::new();
                for (name, indexes) in super::offsets::by_topic(&keys) {
                    let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
                    topics.push(OffsetDeleteRequestTopic {
                        name,
                        partitions: indexes.into_iter().map(partition).collect(),
                    });
                }
                let request = OffsetDeleteRequest { group_id: group_id.to_owned(), topics };
                let response = self.connect(target).await?.call(&request).await?;
                Error::check(response.error_code, None)?;
                let mut each = Vec::new();
                for topic in response.topics {
                    for p in topic.partitions {
                        let partition = TopicPartition::new(topic.name.as_str(), p.partition_index);
                        each.push((partition, Error::check(p.error_code, None)));
                    }
                }
                Ok(each)
            },
        )
        .await
    }

    /// Makes members (by `group.instance.id`, or all when `None`) leave a group; answers by instance or member id.
    ///
    /// # Errors
    /// As [`Admin`] says. `UnknownMemberId` and the like are told per member.
    pub async fn remove_members(
        &self,
        group_id: &str,
        instance_ids: Option<&[String]>,
        reason: &str,
    ) -> Result<Each<String, ()>> {
        let reason = Some(reason.to_owned()).filter(|r| !r.is_empty());
        let identity = |member_id: &str, instance: Option<&String>| MemberIdentity {
            member_id: member_id.to_owned(),
            group_instance_id: instance.cloned(),
            reason: reason.clone(),
            ..MemberIdentity::default()
        };
        let members: Vec<MemberIdentity> = match instance_ids {
            Some(ids) => ids.iter().map(|id| identity("", Some(id))).collect(),
            None => {
                let group = self.retrying("describeConsumerGroups", || self.describe_group(group_id)).await?;
                let all = group.members.iter();
                all.map(|m| match &m.group_instance_id {
                    Some(instance) => identity("", Some(instance)),
                    None => identity(&m.member_id, None),
                })
                .collect()
            }
        };
        let request =
            LeaveGroupRequest { group_id: group_id.to_owned(), members, ..LeaveGroupRequest::default() };
        let target = Target::GroupCoordinator(group_id.to_owned());
        let (target, request) = (&target, &request);
        self.retrying("removeMembersFromConsumerGroup", || async move {
            let connection = self.connect(target).await?;
            let newest = ApiKey::LeaveGroup.versions().map_or(3, |v| *v.end());
            let version = connection.version(ApiKey::LeaveGroup, 3..=newest)?;
            let limit = self.config.client.request_timeout;
            let response = connection.call_version(request, version, limit).await?;
            Error::check(response.error_code, None)?;
            let member = |m: kafka_codec::messages::leave_group_response::MemberResponse| {
                (m.group_instance_id.unwrap_or(m.member_id), Error::check(m.error_code, None))
            };
            Ok(response.members.into_iter().map(member).collect())
        })
        .await
    }
}

fn classic_group(group: describe_groups_response::DescribedGroup, coordinator: Node) -> GroupDescription {
    let consumers = group.protocol_type == "consumer" || group.protocol_type.is_empty();
    let member = |m: describe_groups_response::DescribedGroupMember| MemberDescription {
        member_id: m.member_id,
        group_instance_id: m.group_instance_id,
        client_id: m.client_id,
        host: m.client_host,
        assignment: if consumers {
            read_assignment(&m.member_assignment).unwrap_or_default()
        } else {
            Vec::new()
        },
        target_assignment: None,
        member_epoch: None,
    };
    GroupDescription {
        group_id: group.group_id,
        protocol_type: group.protocol_type,
        group_type: "Classic".to_owned(),
        state: group.group_state,
        assignor: group.protocol_data,
        members: group.members.into_iter().map(member).collect(),
        coordinator,
        group_epoch: None,
        target_assignment_epoch: None,
        authorized_operations: operations(group.authorized_operations),
    }
}

fn consumer_group(
    group: consumer_group_describe_response::DescribedGroup,
    coordinator: Node,
) -> GroupDescription {
    let partitions = |assignment: consumer_group_describe_response::Assignment| {
        let mut all = Vec::new();
        for topic in assignment.topic_partitions {
            all.extend(topic.partitions.iter().map(|p| TopicPartition::new(topic.topic_name.as_str(), *p)));
        }
        all.sort();
        all
    };
    let member = |m: consumer_group_describe_response::Member| MemberDescription {
        member_id: m.member_id,
        group_instance_id: m.instance_id,
        client_id: m.client_id,
        host: m.client_host,
        assignment: partitions(m.assignment),
        target_assignment: Some(partitions(m.target_assignment)),
        member_epoch: Some(m.member_epoch),
    };
    GroupDescription {
        group_id: group.group_id,
        protocol_type: "consumer".to_owned(),
        group_type: "Consumer".to_owned(),
        state: group.group_state,
        assignor: group.assignor_name,
        members: group.members.into_iter().map(member).collect(),
        coordinator,
        group_epoch: Some(group.group_epoch),
        target_assignment_epoch: Some(group.assignment_epoch),
        authorized_operations: operations(group.authorized_operations),
    }
}

/// Reads a member's assignment: a version, then the newest part of the schema that it covers. Sorted.
pub(crate) fn read_assignment(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut reader = Reader::new(bytes);
    let version = reader.i16().ok()?;
    let newest = *ConsumerProtocolAssignment::VERSIONS.end();
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, version.clamp(0, newest)).ok()?;
    let mut all = Vec::new();
    for topic in assignment.assigned_partitions {
        all.extend(topic.partitions.iter().map(|p| TopicPartition::new(topic.topic.as_str(), *p)));
    }
    all.sort();
    Some(all)
}
