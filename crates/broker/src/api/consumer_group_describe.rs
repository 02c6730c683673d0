//! ConsumerGroupDescribe (69), versions 0–1.

use coordinator::{
    DescribedModernGroup, DescribedModernMember, ErrorCode, NamedAssignment, Request, Response,
};
use futures_util::future::join_all;
use kafka_codec::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use kafka_codec::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use crate::api::describe_groups::ALL_OPERATIONS;
use crate::context::Context;

/// `member_type` of classic members and of others; version 0 has none.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

pub(crate) async fn handle(
    ctx: Context,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let with_operations = request.include_authorized_operations;
    let groups =
        join_all(request.group_ids.into_iter().map(|group| describe(&ctx, group, with_operations))).await;
    ConsumerGroupDescribeResponse { groups, ..ConsumerGroupDescribeResponse::default() }
}

async fn describe(ctx: &Context, group: String, with_operations: bool) -> DescribedGroup {
    if group.is_empty() {
        return failed(DescribedModernGroup::failed(group, ErrorCode::InvalidGroupId, None));
    }
    let asked = Request::ConsumerDescribe(vec![group.clone()]);
    let described = match ctx.node.groups.ask(&group, asked).await {
        Some(Response::DescribeModern(mut groups)) => groups.pop(),
        _ => None,
    };
    let described = described
        .unwrap_or_else(|| DescribedModernGroup::failed(group, ErrorCode::CoordinatorNotAvailable, None));
    if described.error != ErrorCode::None {
        return failed(described);
    }
    let mut answer = DescribedGroup {
        group_id: described.group,
        group_state: described.state.to_owned(),
        group_epoch: described.epoch,
        assignment_epoch: described.target_epoch,
        assignor_name: described.assignor,
        members: described.members.into_iter().map(|member| told(member, ctx.version)).collect(),
        ..DescribedGroup::default()
    };
    if with_operations {
        answer.authorized_operations = ALL_OPERATIONS;
    }
    answer
}

fn failed(group: DescribedModernGroup) -> DescribedGroup {
    DescribedGroup {
        error_code: group.error.code(),
        error_message: group.message,
        group_id: group.group,
        ..DescribedGroup::default()
    }
}

fn told(member: DescribedModernMember, version: i16) -> Member {
    let kind = if member.is_classic { CLASSIC_MEMBER } else { CONSUMER_MEMBER };
    Member {
        member_id: member.member,
        instance_id: member.instance,
        rack_id: member.rack,
        member_epoch: member.epoch,
        client_id: member.client_id,
        client_host: member.client_host,
        subscribed_topic_names: member.topics,
        subscribed_topic_regex: member.regex,
        assignment: named(member.assignment),
        target_assignment: named(member.target),
        member_type: if version >= 1 { kind } else { Member::default().member_type },
        ..Member::default()
    }
}

fn named(assignment: NamedAssignment) -> Assignment {
    let topic = |(topic_id, (topic_name, partitions))| TopicPartitions {
        topic_id,
        topic_name,
        partitions,
        ..TopicPartitions::default()
    };
    Assignment { topic_partitions: assignment.into_iter().map(topic).collect(), ..Assignment::default() }
}
