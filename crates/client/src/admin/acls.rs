//! Access control lists.

use kafka_codec::messages::create_acls_request::AclCreation;
use kafka_codec::messages::delete_acls_request::DeleteAclsFilter;
use kafka_codec::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};

use super::Admin;
use crate::error::{Error, Result};

/// An enum of Kafka's with its codes and its constants' names.
macro_rules! coded {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $variant:ident = $code:literal $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i8)]
        pub enum $name {
            /// A code that this client does not know.
            Unknown = 0,
            $($(#[$what])* $variant = $code,)+
        }

        impl $name {
            /// All but the unknown one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Kafka's constant name (`UPPER_SNAKE`).
            pub fn name(self) -> &'static str {
                match self {
                    Self::Unknown => "UNKNOWN",
                    $(Self::$variant => $text,)+
                }
            }

            /// The one with this constant name.
            pub fn from_name(name: &str) -> Self {
                Self::ALL.iter().copied().find(|one| one.name() == name).unwrap_or(Self::Unknown)
            }

            fn from_code(code: i8) -> Self {
                Self::ALL.iter().copied().find(|one| *one as i8 == code).unwrap_or(Self::Unknown)
            }
        }
    };
}

coded! {
    /// What is protected.
    AclResourceType {
        /// Any, in filters.
        Any = 1 "ANY",
        /// A topic.
        Topic = 2 "TOPIC",
        /// A group.
        Group = 3 "GROUP",
        /// The cluster.
        Cluster = 4 "CLUSTER",
        /// A transactional id.
        TransactionalId = 5 "TRANSACTIONAL_ID",
        /// A delegation token.
        DelegationToken = 6 "DELEGATION_TOKEN",
        /// A user.
        User = 7 "USER",
    }
}

coded! {
    /// How a resource's name is meant.
    AclPatternType {
        /// Any, in filters.
        Any = 1 "ANY",
        /// Whatever applies to the name, in filters.
        Match = 2 "MATCH",
        /// Exactly this name, or all when it is `*`.
        Literal = 3 "LITERAL",
        /// Every name that begins like this.
        Prefixed = 4 "PREFIXED",
    }
}

coded! {
    /// What is done.
    AclOperation {
        /// Any, in filters.
        Any = 1 "ANY",
        /// All operations.
        All = 2 "ALL",
        /// Read.
        Read = 3 "READ",
        /// Write.
        Write = 4 "WRITE",
        /// Create.
        Create = 5 "CREATE",
        /// Delete.
        Delete = 6 "DELETE",
        /// Alter.
        Alter = 7 "ALTER",
        /// Describe.
        Describe = 8 "DESCRIBE",
        /// What brokers do among themselves.
        ClusterAction = 9 "CLUSTER_ACTION",
        /// Describe configurations.
        DescribeConfigs = 10 "DESCRIBE_CONFIGS",
        /// Alter configurations.
        AlterConfigs = 11 "ALTER_CONFIGS",
        /// Write idempotently.
        IdempotentWrite = 12 "IDEMPOTENT_WRITE",
        /// Create delegation tokens.
        CreateTokens = 13 "CREATE_TOKENS",
        /// Describe delegation tokens.
        DescribeTokens = 14 "DESCRIBE_TOKENS",
        /// Take part in two-phase commits.
        TwoPhaseCommit = 15 "TWO_PHASE_COMMIT",
    }
}

coded! {
    /// Whether it may be done.
    AclPermissionType {
        /// Any, in filters.
        Any = 1 "ANY",
        /// It must not.
        Deny = 2 "DENY",
        /// It may.
        Allow = 3 "ALLOW",
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclBinding {
    /// What is protected.
    pub resource_type: AclResourceType,
    /// Its name.
    pub resource_name: String,
    /// How the name is meant.
    pub pattern_type: AclPatternType,
    /// Who (`User:alice`).
    pub principal: String,
    /// From where (`*` = everywhere).
    pub host: String,
    /// What is done.
    pub operation: AclOperation,
    /// Whether it may be done.
    pub permission: AclPermissionType,
}

/// Which rules; `None` and `Any` match everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclBindingFilter {
    /// What is protected.
    pub resource_type: AclResourceType,
    /// Its name.
    pub resource_name: Option<String>,
    /// How the name is meant.
    pub pattern_type: AclPatternType,
    /// Who.
    pub principal: Option<String>,
    /// From where.
    pub host: Option<String>,
    /// What is done.
    pub operation: AclOperation,
    /// Whether it may be done.
    pub permission: AclPermissionType,
}

impl AclBindingFilter {
    /// Matches every rule.
    pub const ANY: Self = Self {
        resource_type: AclResourceType::Any,
        resource_name: None,
        pattern_type: AclPatternType::Any,
        principal: None,
        host: None,
        operation: AclOperation::Any,
        permission: AclPermissionType::Any,
    };
}

impl Admin {
    /// Lists the rules that `filter` matches.
    ///
    /// # Errors
    /// As [`Admin`] says; `SecurityDisabled` from brokers without an authorizer.
    pub async fn describe_acls(&self, filter: &AclBindingFilter) -> Result<Vec<AclBinding>> {
        let request = &DescribeAclsRequest {
            resource_type_filter: filter.resource_type as i8,
            resource_name_filter: filter.resource_name.clone(),
            pattern_type_filter: filter.pattern_type as i8,
            principal_filter: filter.principal.clone(),
            host_filter: filter.host.clone(),
            operation: filter.operation as i8,
            permission_type: filter.permission as i8,
            ..DescribeAclsRequest::default()
        };
        let response = self
            .retrying("describeAcls", || async move {
                let response = self.cluster.any().await?.call(request).await?;
                Error::check(response.error_code, response.error_message.as_deref())?;
                Ok(response)
            })
            .await?;
        let mut all = Vec::new();
        for resource in response.resources {
            all.extend(resource.acls.into_iter().map(|acl| AclBinding {
                resource_type: AclResourceType::from_code(resource.resource_type),
                resource_name: resource.resource_name.clone(),
                pattern_type: AclPatternType::from_code(resource.pattern_type),
                principal: acl.principal,
                host: acl.host,
                operation: AclOperation::from_code(acl.operation),
                permission: AclPermissionType::from_code(acl.permission_type),
            }));
        }
        Ok(all)
    }

    /// Adds rules; answers for each in the order given.
    ///
    /// # Errors
    /// As [`Admin`] says. What is wrong with a rule is told for the rule.
    pub async fn create_acls(&self, bindings: &[AclBinding]) -> Result<Vec<Result<()>>> {
        let creation = |binding: &AclBinding| AclCreation {
            resource_type: binding.resource_type as i8,
            resource_name: binding.resource_name.clone(),
            resource_pattern_type: binding.pattern_type as i8,
            principal: binding.principal.clone(),
            host: binding.host.clone(),
            operation: binding.operation as i8,
            permission_type: binding.permission as i8,
            ..AclCreation::default()
        };
        let request = &CreateAclsRequest {
            creations: bindings.iter().map(creation).collect(),
            ..CreateAclsRequest::default()
        };
        let response = self
            .retrying("createAcls", || async move { self.cluster.any().await?.call(request).await })
            .await?;
        let results = response.results.into_iter();
        Ok(results.map(|r| Error::check(r.error_code, r.error_message.as_deref())).collect())
    }

    /// Removes the rules that filters match; answers what each filter removed, in the order given.
    ///
    /// # Errors
    /// As [`Admin`] says. What is wrong with a filter is told for the filter.
    pub async fn delete_acls(&self, filters: &[AclBindingFilter]) -> Result<Vec<Result<Vec<AclBinding>>>> {
        let filter = |filter: &AclBindingFilter| DeleteAclsFilter {
            resource_type_filter: filter.resource_type as i8,
            resource_name_filter: filter.resource_name.clone(),
            pattern_type_filter: filter.pattern_type as i8,
            principal_filter: filter.principal.clone(),
            host_filter: filter.host.clone(),
            operation: filter.operation as i8,
            permission_type: filter.permission as i8,
            ..DeleteAclsFilter::default()
        };
        let request = &DeleteAclsRequest {
            filters: filters.iter().map(filter).collect(),
            ..DeleteAclsRequest::default()
        };
        let response = self
            .retrying("deleteAcls", || async move { self.cluster.any().await?.call(request).await })
            .await?;
        let removed = |result: kafka_codec::messages::delete_acls_response::DeleteAclsFilterResult| {
            Error::check(result.error_code, result.error_message.as_deref())?;
            let mut removed = Vec::with_capacity(result.matching_acls.len());
            for acl in result.matching_acls {
                Error::check(acl.error_code, acl.error_message.as_deref())?;
                removed.push(AclBinding {
                    resource_type: AclResourceType::from_code(acl.resource_type),
                    resource_name: acl.resource_name,
                    pattern_type: AclPatternType::from_code(acl.pattern_type),
                    principal: acl.principal,
                    host: acl.host,
                    operation: AclOperation::from_code(acl.operation),
                    permission: AclPermissionType::from_code(acl.permission_type),
                });
            }
            Ok(removed)
        };
        Ok(response.filter_results.into_iter().map(removed).collect())
    }
}
