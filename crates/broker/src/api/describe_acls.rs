//! DescribeAcls (29): the access control entries that a filter means, by resource. Memory: the entries found.

use std::collections::BTreeMap;

use kafka_codec::ErrorCode;
use kafka_codec::acl::{AclOperation, AclPermission, PatternType, ResourceType};
use kafka_codec::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use kafka_codec::messages::{DescribeAclsRequest, DescribeAclsResponse};
use meta::acl::AclFilter;
use meta::controller;

use crate::context::Context;

/// What Kafka says without an authorizer.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured.";

pub(crate) async fn handle(ctx: Context, request: DescribeAclsRequest) -> DescribeAclsResponse {
    let refuse = |code: ErrorCode, message: String| DescribeAclsResponse {
        error_code: code.code(),
        error_message: Some(message),
        ..DescribeAclsResponse::default()
    };
    if !ctx.node.authorizer.enabled {
        return refuse(ErrorCode::SecurityDisabled, NO_AUTHORIZER.to_owned());
    }
    let filter = AclFilter {
        resource_type: ResourceType::from_code(request.resource_type_filter),
        name: request.resource_name_filter,
        pattern: PatternType::from_code(request.pattern_type_filter),
        principal: request.principal_filter,
        host: request.host_filter,
        operation: AclOperation::from_code(request.operation),
        permission: AclPermission::from_code(request.permission_type),
    };
    let state = ctx.node.state();
    let found = match controller::find_acls(&state.image, &filter) {
        Ok(found) => found,
        Err(error) => {
            let (code, message) = error.to_client();
            return refuse(code, message);
        }
    };
    let mut resources: BTreeMap<_, Vec<AclDescription>> = BTreeMap::new();
    for (_, acl) in found {
        resources.entry((acl.resource_type, &acl.name, acl.pattern)).or_default().push(AclDescription {
            principal: acl.principal.clone(),
            host: acl.host.clone(),
            operation: acl.operation.code(),
            permission_type: acl.permission.code(),
            ..AclDescription::default()
        });
    }
    let resources = resources
        .into_iter()
        .map(|((kind, name, pattern), acls)| DescribeAclsResource {
            resource_type: kind.code(),
            resource_name: name.clone(),
            pattern_type: pattern.code(),
            acls,
            ..DescribeAclsResource::default()
        })
        .collect();
    DescribeAclsResponse { resources, ..DescribeAclsResponse::default() }
}
