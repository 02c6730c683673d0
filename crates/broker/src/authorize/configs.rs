//! Configurations of topics, groups and the cluster.

use std::ops::ControlFlow;

use kafka_codec::ErrorCode;
use kafka_codec::acl::AclOperation::{self, AlterConfigs, DescribeConfigs};
use kafka_codec::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, alter_configs_response,
    describe_configs_response, incremental_alter_configs_response,
};

use super::{Access, Guarded, take_out, throttle_time, words};

const TOPIC: i8 = 2;
const GROUP: i8 = 32;

/// The code of a refusal for a kind of resource.
fn refusal(kind: i8) -> ErrorCode {
    match kind {
        TOPIC => ErrorCode::TopicAuthorizationFailed,
        GROUP => ErrorCode::GroupAuthorizationFailed,
        _ => ErrorCode::ClusterAuthorizationFailed,
    }
}

fn may(access: &Access, operation: AclOperation, kind: i8, name: &str) -> bool {
    match kind {
        TOPIC => access.topic(operation, name),
        GROUP => access.group(operation, name),
        _ => access.cluster(operation),
    }
}

macro_rules! configs {
    ($request:ident, $operation:ident, $results:ident, $result:path) => {
        impl Guarded for $request {
            /// Kind and name of the resources refused.
            type Withheld = Vec<(i8, String)>;

            fn check(&mut self, access: &Access) -> ControlFlow<Self::Response, Self::Withheld> {
                let refused = take_out(&mut self.resources, |resource| {
                    may(access, $operation, resource.resource_type, &resource.resource_name)
                });
                ControlFlow::Continue(
                    refused.into_iter().map(|r| (r.resource_type, r.resource_name)).collect(),
                )
            }

            fn complete(response: &mut Self::Response, refused: Self::Withheld, _: &Access) {
                for (resource_type, resource_name) in refused {
                    let code = refusal(resource_type);
                    type Refused = $result;
                    response.$results.push(Refused {
                        error_code: code.code(),
                        error_message: words(code),
                        resource_type,
                        resource_name,
                        ..Refused::default()
                    });
                }
            }

            throttle_time!(Self::Response);
        }
    };
}

configs!(DescribeConfigsRequest, DescribeConfigs, results, describe_configs_response::DescribeConfigsResult);
configs!(AlterConfigsRequest, AlterConfigs, responses, alter_configs_response::AlterConfigsResourceResponse);
configs!(
    IncrementalAlterConfigsRequest,
    AlterConfigs,
    responses,
    incremental_alter_configs_response::AlterConfigsResourceResponse
);
