//! Access control lists.

pub use kafka_codec::acl::{
    AclOperation, AclPermission as AclPermissionType, PatternType as AclPatternType,
    ResourceType as AclResourceType,
};
use kafka_codec::messages::create_acls_request::AclCreation;
use kafka_codec::messages::delete_acls_request::DeleteAclsFilter;
use kafka_codec::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};

use super::Admin;
use crate::error::{Error, Result};

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
