//! DeleteAcls (31): the access control entries that filters mean, in one change.

use std::collections::BTreeSet;

use kafka_codec::acl::{AclOperation, AclPermission, PatternType, ResourceType};
use kafka_codec::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsMatchingAcl};
use kafka_codec::messages::{DeleteAclsRequest, DeleteAclsResponse};
use kafka_codec::{ErrorCode, Uuid};
use meta::acl::{Acl, AclFilter};
use meta::{MetaError, MetaRecord, controller};

use super::describe_acls::NO_AUTHORIZER;
use crate::context::Context;
use crate::metadata::State;

pub(crate) async fn handle(ctx: Context, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let number = request.filters.len();
    let decided = if ctx.node.authorizer.enabled {
        let filters: Vec<AclFilter> = request
            .filters
            .into_iter()
            .map(|filter| AclFilter {
                resource_type: ResourceType::from_code(filter.resource_type_filter),
                name: filter.resource_name_filter,
                pattern: PatternType::from_code(filter.pattern_type_filter),
                principal: filter.principal_filter,
                host: filter.host_filter,
                operation: AclOperation::from_code(filter.operation),
                permission: AclPermission::from_code(filter.permission_type),
            })
            .collect();
        ctx.node.metadata.change(|state| decide(state, &filters)).await
    } else {
        Err(MetaError::refused(ErrorCode::SecurityDisabled, NO_AUTHORIZER))
    };
    let filter_results = decided.unwrap_or_else(|error| vec![refused(&error); number]);
    DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() }
}

fn decide(
    state: &State,
    filters: &[AclFilter],
) -> Result<(Vec<MetaRecord>, Vec<DeleteAclsFilterResult>), MetaError> {
    let mut ids: BTreeSet<Uuid> = BTreeSet::new();
    let mut results = Vec::new();
    for filter in filters {
        results.push(match controller::find_acls(&state.image, filter) {
            Ok(found) => {
                ids.extend(found.iter().map(|(id, _)| *id));
                DeleteAclsFilterResult {
                    matching_acls: found.into_iter().map(|(_, acl)| told(acl)).collect(),
                    ..DeleteAclsFilterResult::default()
                }
            }
            Err(error) => refused(&error),
        });
    }
    if ids.len() > controller::ACL_CHANGES_MAX {
        let message = "Cannot delete more than 10000 ACLs at once.";
        return Err(MetaError::refused(ErrorCode::UnknownServerError, message));
    }
    Ok((ids.into_iter().map(controller::delete_acl).collect(), results))
}

fn told(acl: &Acl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl {
        resource_type: acl.resource_type.code(),
        resource_name: acl.name.clone(),
        pattern_type: acl.pattern.code(),
        principal: acl.principal.clone(),
        host: acl.host.clone(),
        operation: acl.operation.code(),
        permission_type: acl.permission.code(),
        ..DeleteAclsMatchingAcl::default()
    }
}

fn refused(error: &MetaError) -> DeleteAclsFilterResult {
    let (code, message) = error.to_client();
    DeleteAclsFilterResult {
        error_code: code.code(),
        error_message: Some(message),
        ..DeleteAclsFilterResult::default()
    }
}
