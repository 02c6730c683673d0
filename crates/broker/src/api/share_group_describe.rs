//! ShareGroupDescribe (77), version 1.

use coordinator::{
    DescribedModernGroup, DescribedModernMember, ErrorCode, NamedAssignment, Request, Response,
};
use futures_util::future::join_all;
use kafka_codec::messages::share_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use kafka_codec::messages::{ShareGroupDescribeRequest, ShareGroupDescribeResponse};

use crate::api::describe_groups::ALL_OPERATIONS;
use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: ShareGroupDescribeRequest) -> ShareGroupDescribeResponse {
    let with_operations = request.include_authorized_operations;
    let groups =
        join_all(request.group_ids.into_iter().map(|group| describe(&ctx, group, with_operations))).await;
    ShareGroupDescribeResponse { groups, ..ShareGroupDescribeResponse::default() }
}

async fn describe(ctx: &Context, group: String, with_operations: bool) -> DescribedGroup {
    if group.is_empty() {
        return failed(DescribedModernGroup::failed(group, ErrorCode::InvalidGroupId, None));
    }
    let asked = Request::ShareDescribe(vec![group.clone()]);
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
        members: described.members.into_iter().map(told).collect(),
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

fn told(member: DescribedModernMember) -> Member {
    Member {
        member_id: member.member,
        rack_id: member.rack,
        member_epoch: member.epoch,
        client_id: member.client_id,
        client_host: member.client_host,
        subscribed_topic_names: member.topics,
        assignment: named(member.assignment),
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
