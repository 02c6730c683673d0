//! CreateAcls (30): access control entries, each granted or refused on its own, all granted ones in one change.

use kafka_codec::ErrorCode;
use kafka_codec::acl::{AclOperation, AclPermission, PatternType, ResourceType};
use kafka_codec::messages::create_acls_response::AclCreationResult;
use kafka_codec::messages::{CreateAclsRequest, CreateAclsResponse};
use meta::acl::Acl;
use meta::{MetaError, controller};

use super::describe_acls::NO_AUTHORIZER;
use crate::context::Context;
use crate::node::random_uuid;

pub(crate) async fn handle(ctx: Context, request: CreateAclsRequest) -> CreateAclsResponse {
    let number = request.creations.len();
    let decided = if ctx.node.authorizer.enabled {
        let acls: Vec<Acl> = request
            .creations
            .into_iter()
            .map(|creation| Acl {
                resource_type: ResourceType::from_code(creation.resource_type),
                name: creation.resource_name,
                pattern: PatternType::from_code(creation.resource_pattern_type),
                principal: creation.principal,
                host: creation.host,
                operation: AclOperation::from_code(creation.operation),
                permission: AclPermission::from_code(creation.permission_type),
            })
            .collect();
        ctx.node
            .metadata
            .change(|state| {
                if acls.len() > controller::ACL_CHANGES_MAX {
                    let message = "Cannot create more than 10000 ACLs at once.";
                    return Err(MetaError::refused(ErrorCode::UnknownServerError, message));
                }
                let mut records = Vec::new();
                let mut results = Vec::new();
                let mut new = std::collections::BTreeSet::new();
                for acl in &acls {
                    let planned = controller::create_acl(&state.image, acl, random_uuid());
                    results.push(result(planned.as_ref().err()));
                    if let Ok(Some(record)) = planned
                        && new.insert(acl)
                    {
                        records.push(record);
                    }
                }
                Ok((records, results))
            })
            .await
    } else {
        Err(MetaError::refused(ErrorCode::SecurityDisabled, NO_AUTHORIZER))
    };
    let results = decided.unwrap_or_else(|error| vec![result(Some(&error)); number]);
    CreateAclsResponse { results, ..CreateAclsResponse::default() }
}

fn result(refusal: Option<&MetaError>) -> AclCreationResult {
    let Some((code, message)) = refusal.map(MetaError::to_client) else {
        return AclCreationResult::default();
    };
    AclCreationResult {
        error_code: code.code(),
        error_message: Some(message),
        ..AclCreationResult::default()
    }
}
