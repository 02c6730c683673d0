//! The decision: may this principal, from this host, do this to that resource?

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Acl, AclOperation, AclPermission, AclSet, EVERYBODY, PatternType, ResourceType, WILDCARD};
use crate::config::BrokerProperties;

/// Names of Kafka's authorizers, all of which mean this one.
const CLASSES: &[&str] = &[
    "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "kafka.security.authorizer.AclAuthorizer",
    "kafka.security.auth.SimpleAclAuthorizer",
];

/// What somebody wants to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Its kind.
    pub kind: ResourceType,
    /// Its name.
    pub name: &'a str,
}

/// Kafka's standard authorizer: entries about a resource decide, a refusal wins over every grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorizer {
    /// `authorizer.class.name` is set.
    pub enabled: bool,
    super_users: BTreeSet<String>,
    allow_without_acl: bool,
}

impl Authorizer {
    /// Whether a value of `authorizer.class.name` is understood.
    pub fn knows_class(class: &str) -> bool {
        CLASSES.contains(&class)
    }

    /// The authorizer that the broker's settings ask for.
    pub fn from_properties(properties: &BrokerProperties) -> Self {
        let class = properties.text("authorizer.class.name").unwrap_or_default();
        let users = properties.text("super.users").unwrap_or_default();
        Self {
            enabled: !class.is_empty(),
            super_users: users.split(';').map(str::trim).filter(|u| !u.is_empty()).map(Into::into).collect(),
            allow_without_acl: properties.flag("allow.everyone.if.no.acl.found"),
        }
    }

    /// Whether `principal` (`User:alice`), connected from `host`, may.
    pub fn allows(
        &self,
        acls: &AclSet,
        principal: &str,
        host: &str,
        operation: AclOperation,
        resource: Resource<'_>,
    ) -> bool {
        if !self.enabled || self.super_users.contains(principal) {
            return true;
        }
        let (mut granted, mut any) = (false, false);
        for acl in acls.about(resource.kind, resource.name) {
            any = true;
            if !concerns(acl, principal, host) || !covers(acl, operation) {
                continue;
            }
            if acl.permission == AclPermission::Deny {
                return false;
            }
            granted = true;
        }
        granted || (!any && self.allow_without_acl)
    }

    /// Whether `principal` may do `operation` to at least one resource of a kind.
    pub fn allows_any(
        &self,
        acls: &AclSet,
        principal: &str,
        host: &str,
        operation: AclOperation,
        kind: ResourceType,
    ) -> bool {
        // A name that nobody uses: super users and those whom no entry concerns.
        if self.allows(acls, principal, host, operation, Resource { kind, name: "hardcode" }) {
            return true;
        }
        let of = |permission: AclPermission| {
            acls.of_kind(kind).filter(move |acl| {
                acl.permission == permission && concerns(acl, principal, host) && covers(acl, operation)
            })
        };
        let refused: Vec<&Arc<Acl>> = of(AclPermission::Deny).collect();
        let is_literal = |acl: &Acl| acl.pattern == PatternType::Literal;
        if refused.iter().any(|deny| is_literal(deny) && deny.name == WILDCARD) {
            return false;
        }
        of(AclPermission::Allow).any(|allow| {
            if is_literal(allow) && allow.name == WILDCARD {
                return true;
            }
            !refused.iter().any(|deny| match (is_literal(deny), is_literal(allow)) {
                (true, true) => deny.name == allow.name,
                (true, false) => false,
                (false, _) => allow.name.starts_with(&deny.name),
            })
        })
    }
}

fn concerns(acl: &Acl, principal: &str, host: &str) -> bool {
    (acl.principal == principal || acl.principal == EVERYBODY) && (acl.host == host || acl.host == WILDCARD)
}

/// Whether an entry is about an operation. Grants imply weaker ones, refusals do not.
fn covers(acl: &Acl, operation: AclOperation) -> bool {
    use AclOperation::{All, Alter, AlterConfigs, Delete, Describe, DescribeConfigs, Read, Write};
    if acl.operation == operation || acl.operation == All {
        return true;
    }
    acl.permission == AclPermission::Allow
        && match operation {
            Describe => matches!(acl.operation, Read | Write | Delete | Alter),
            DescribeConfigs => acl.operation == AlterConfigs,
            _ => false,
        }
}
