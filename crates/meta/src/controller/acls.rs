//! Creating and deleting access control entries.

use kafka_codec::messages::RemoveAccessControlEntryRecord;
use kafka_codec::{ErrorCode, Uuid};

use crate::acl::{Acl, AclFilter, AclOperation, AclPermission, CLUSTER_NAME, PatternType, ResourceType};
use crate::image::Image;
use crate::{MetaError, MetaRecord};

/// Most entries that one request may delete or create, as in Kafka.
pub const ACL_CHANGES_MAX: usize = 10_000;

fn invalid(message: impl Into<String>) -> MetaError {
    MetaError::refused(ErrorCode::InvalidRequest, message)
}

/// Plans a new entry; nothing is to be written for one that is there already.
///
/// # Errors
/// `INVALID_REQUEST` in Kafka's words.
pub fn create_acl(image: &Image, acl: &Acl, id: Uuid) -> Result<Option<MetaRecord>, MetaError> {
    if matches!(acl.resource_type, ResourceType::Unknown | ResourceType::Any) {
        return Err(invalid(format!("Invalid resourceType {}", acl.resource_type)));
    }
    if !matches!(acl.pattern, PatternType::Literal | PatternType::Prefixed) {
        return Err(invalid(format!("Invalid patternType {}", acl.pattern)));
    }
    if matches!(acl.operation, AclOperation::Unknown | AclOperation::Any) {
        return Err(invalid(format!("Invalid operation {}", acl.operation)));
    }
    if !matches!(acl.permission, AclPermission::Allow | AclPermission::Deny) {
        return Err(invalid(format!("Invalid permissionType {}", acl.permission)));
    }
    if acl.name.is_empty() {
        return Err(invalid("Resource name should not be empty"));
    }
    if acl.resource_type == ResourceType::Cluster && acl.name != CLUSTER_NAME {
        return Err(invalid(format!("The only valid name for the CLUSTER resource is {CLUSTER_NAME}")));
    }
    if !acl.principal.contains(':') {
        return Err(invalid(format!(
            "Could not parse principal from `{}` (no colon is present separating the principal type from the \
             principal name)",
            acl.principal
        )));
    }
    Ok((!image.acls.contains(acl)).then(|| acl.to_record(id).into()))
}

/// The entries that a filter means.
///
/// # Errors
/// `INVALID_REQUEST` for a filter with something unknown in it.
pub fn find_acls<'a>(image: &'a Image, filter: &AclFilter) -> Result<Vec<(Uuid, &'a Acl)>, MetaError> {
    if filter.resource_type == ResourceType::Unknown || filter.pattern == PatternType::Unknown {
        return Err(invalid("Unknown patternFilter."));
    }
    if filter.operation == AclOperation::Unknown || filter.permission == AclPermission::Unknown {
        return Err(invalid("Unknown entryFilter."));
    }
    Ok(image.acls.iter().filter(|(_, acl)| filter.matches(acl)).map(|(id, acl)| (*id, &**acl)).collect())
}

/// The record that removes an entry.
pub fn delete_acl(id: Uuid) -> MetaRecord {
    RemoveAccessControlEntryRecord { id, ..RemoveAccessControlEntryRecord::default() }.into()
}
