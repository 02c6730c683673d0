//! Classic groups.

use std::ops::ControlFlow;

use kafka_codec::ErrorCode;
use kafka_codec::acl::AclOperation::{Delete, Describe, Read};
use kafka_codec::messages::*;

use super::{Access, Guarded, NOT_ASKED, take_out, throttle_time, unless, whole, words};

const REFUSED: ErrorCode = ErrorCode::GroupAuthorizationFailed;

whole!(JoinGroupRequest, |asked, access| unless(access.group(Read, &asked.group_id), REFUSED), |code| {
    JoinGroupResponse { error_code: code.code(), generation_id: -1, ..JoinGroupResponse::default() }
});
whole!(SyncGroupRequest, |asked, access| unless(access.group(Read, &asked.group_id), REFUSED), |code| {
    SyncGroupResponse { error_code: code.code(), ..SyncGroupResponse::default() }
});
whole!(HeartbeatRequest, |asked, access| unless(access.group(Read, &asked.group_id), REFUSED), |code| {
    HeartbeatResponse { error_code: code.code(), ..HeartbeatResponse::default() }
});
whole!(LeaveGroupRequest, |asked, access| unless(access.group(Read, &asked.group_id), REFUSED), |code| {
    LeaveGroupResponse { error_code: code.code(), ..LeaveGroupResponse::default() }
});

impl Guarded for DescribeGroupsRequest {
    /// The groups refused, and whether the client wants to know what it may do.
    type Withheld = (Vec<String>, bool);

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        let refused = take_out(&mut self.groups, |group| access.group(Describe, group));
        ControlFlow::Continue((refused, self.include_authorized_operations))
    }

    fn complete(response: &mut Self::Response, (refused, asked): Self::Withheld, access: &Access) {
        for group in &mut response.groups {
            group.authorized_operations = if asked && group.error_code == 0 {
                access.group_operations(&group.group_id)
            } else {
                NOT_ASKED
            };
        }
        for group_id in refused {
            response.groups.push(describe_groups_response::DescribedGroup {
                error_code: REFUSED.code(),
                group_id,
                ..describe_groups_response::DescribedGroup::default()
            });
        }
    }

    throttle_time!(Self::Response);
}

impl Guarded for ListGroupsRequest {
    type Withheld = ();

    fn check(&mut self, _: &Access) -> ControlFlow<Self::Response, ()> {
        ControlFlow::Continue(())
    }

    fn complete(response: &mut Self::Response, (): (), access: &Access) {
        // With an overview of the cluster come all groups, else those that may be described.
        if !access.cluster_quietly(Describe) {
            response.groups.retain(|group| access.group_quietly(Describe, &group.group_id));
        }
    }

    throttle_time!(Self::Response);
}

impl Guarded for DeleteGroupsRequest {
    type Withheld = Vec<String>;

    fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
        ControlFlow::Continue(take_out(&mut self.groups_names, |group| access.group(Delete, group)))
    }

    fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
        for group_id in refused {
            response.results.push(delete_groups_response::DeletableGroupResult {
                group_id,
                error_code: REFUSED.code(),
                ..delete_groups_response::DeletableGroupResult::default()
            });
        }
    }

    throttle_time!(Self::Response);
}

/// Descriptions of groups of other kinds: they differ in their answers' types only.
macro_rules! described {
    ($request:ident, $group:path) => {
        impl Guarded for $request {
            /// The groups refused, and whether the client wants to know what it may do.
            type Withheld = (Vec<String>, bool);

            fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
                let refused = take_out(&mut self.group_ids, |group| access.group(Describe, group));
                ControlFlow::Continue((refused, self.include_authorized_operations))
            }

            fn complete(response: &mut Self::Response, (refused, asked): Self::Withheld, access: &Access) {
                for group in &mut response.groups {
                    group.authorized_operations = if asked && group.error_code == 0 {
                        access.group_operations(&group.group_id)
                    } else {
                        NOT_ASKED
                    };
                }
                for group_id in refused {
                    type Described = $group;
                    response.groups.push(Described {
                        error_code: REFUSED.code(),
                        error_message: words(REFUSED),
                        group_id,
                        ..Described::default()
                    });
                }
            }

            throttle_time!(Self::Response);
        }
    };
}

described!(ConsumerGroupDescribeRequest, consumer_group_describe_response::DescribedGroup);
described!(ShareGroupDescribeRequest, share_group_describe_response::DescribedGroup);
described!(StreamsGroupDescribeRequest, streams_group_describe_response::DescribedGroup);
