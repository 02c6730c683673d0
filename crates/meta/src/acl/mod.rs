//! Access control lists: the entries, filters over them, and the set of all that hold.

mod authorizer;
mod set;
#[cfg(test)]
mod tests;

pub use authorizer::{Authorizer, Resource};
pub use kafka_codec::acl::{AclOperation, AclPermission, CLUSTER_NAME, PatternType, ResourceType};
pub use set::AclSet;

use kafka_codec::Uuid;
use kafka_codec::messages::AccessControlEntryRecord;

/// Stands for every resource name, every host.
pub const WILDCARD: &str = "*";
/// Stands for every user.
pub const EVERYBODY: &str = "User:*";

/// One entry: who may, or may not, do what to which resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Acl {
    /// Kind of the resource.
    pub resource_type: ResourceType,
    /// Its name, a prefix of it, or `*`.
    pub name: String,
    /// How the name is meant: literal or prefixed.
    pub pattern: PatternType,
    /// `User:alice`, or `User:*` for everybody.
    pub principal: String,
    /// Address, or `*`.
    pub host: String,
    /// What is done.
    pub operation: AclOperation,
    /// Granted or refused.
    pub permission: AclPermission,
}

impl Acl {
    /// The entry of a metadata record.
    ///
    /// # Errors
    /// A sentence when the record says what no entry can.
    pub fn from_record(record: &AccessControlEntryRecord) -> Result<Self, String> {
        let acl = Self {
            resource_type: ResourceType::from_code(record.resource_type),
            name: record.resource_name.clone(),
            pattern: PatternType::from_code(record.pattern_type),
            principal: record.principal.clone(),
            host: record.host.clone(),
            operation: AclOperation::from_code(record.operation),
            permission: AclPermission::from_code(record.permission_type),
        };
        if !matches!(acl.pattern, PatternType::Literal | PatternType::Prefixed)
            || !matches!(acl.permission, AclPermission::Allow | AclPermission::Deny)
        {
            return Err(format!("access control entry {} is not one", record.id));
        }
        Ok(acl)
    }

    /// The metadata record of the entry.
    pub fn to_record(&self, id: Uuid) -> AccessControlEntryRecord {
        AccessControlEntryRecord {
            id,
            resource_type: self.resource_type.code(),
            resource_name: self.name.clone(),
            pattern_type: self.pattern.code(),
            principal: self.principal.clone(),
            host: self.host.clone(),
            operation: self.operation.code(),
            permission_type: self.permission.code(),
            ..AccessControlEntryRecord::default()
        }
    }
}

/// Which entries are meant; `None` and `Any` are all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclFilter {
    /// Kind of the resource.
    pub resource_type: ResourceType,
    /// Name of the resource or of the pattern.
    pub name: Option<String>,
    /// How the name is meant.
    pub pattern: PatternType,
    /// Principal.
    pub principal: Option<String>,
    /// Host.
    pub host: Option<String>,
    /// Operation.
    pub operation: AclOperation,
    /// Permission.
    pub permission: AclPermission,
}

impl AclFilter {
    /// Whether an entry is meant.
    pub fn matches(&self, acl: &Acl) -> bool {
        self.matches_pattern(acl)
            && self.principal.as_ref().is_none_or(|principal| *principal == acl.principal)
            && self.host.as_ref().is_none_or(|host| *host == acl.host)
            && (self.operation == AclOperation::Any || self.operation == acl.operation)
            && (self.permission == AclPermission::Any || self.permission == acl.permission)
    }

    fn matches_pattern(&self, acl: &Acl) -> bool {
        if self.resource_type != ResourceType::Any && self.resource_type != acl.resource_type {
            return false;
        }
        if !matches!(self.pattern, PatternType::Any | PatternType::Match) && self.pattern != acl.pattern {
            return false;
        }
        let Some(name) = &self.name else { return true };
        match (self.pattern, acl.pattern) {
            (PatternType::Match, PatternType::Literal) => acl.name == *name || acl.name == WILDCARD,
            (PatternType::Match, _) => name.starts_with(&acl.name),
            _ => acl.name == *name,
        }
    }
}
