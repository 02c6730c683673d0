//! Configurations of topics, brokers, groups.

use kafka_codec::messages::describe_configs_request::DescribeConfigsResource;
use kafka_codec::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_codec::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    alter_configs_request, incremental_alter_configs_request,
};
use kafka_codec::{ApiKey, ErrorCode};

use super::{
    Admin, AlterConfigOp, ConfigEntry, ConfigResource, ConfigResourceType, ConfigSource, ConfigSynonym, Each,
    Target, controller_moves,
};
use crate::error::{Error, Result};

impl Admin {
    /// Reads configurations; entries sorted by name.
    ///
    /// # Errors
    /// As [`Admin`] says. `UnknownTopicOrPartition` and the like are told per resource.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
        documentation: bool,
    ) -> Result<Each<ConfigResource, Vec<ConfigEntry>>> {
        self.retrying_each("describeConfigs", resources.to_vec(), no_code, |resources| async move {
            let mut each = Vec::new();
            for (target, resources) in by_target(resources) {
                let asked = resources.iter().map(|r| DescribeConfigsResource {
                    resource_type: r.kind as i8,
                    resource_name: r.name.clone(),
                    configuration_keys: None,
                    ..DescribeConfigsResource::default()
                });
                let mut request = DescribeConfigsRequest {
                    resources: asked.collect(),
                    include_synonyms: true,
                    include_documentation: documentation,
                    ..DescribeConfigsRequest::default()
                };
                let connection = self.connect(&target).await?;
                let version = connection.newest::<DescribeConfigsRequest>()?;
                request.include_synonyms &= version >= 1;
                request.include_documentation &= version >= 3;
                let response = connection.call_version(&request, version, self.api_timeout()).await?;
                for r in response.results {
                    let Some(key) = resource(r.resource_type, r.resource_name, &resources) else { continue };
                    let outcome = Error::check(r.error_code, r.error_message.as_deref());
                    each.push((key, outcome.map(|()| entries(r.configs))));
                }
            }
            Ok(each)
        })
        .await
    }

    /// Changes single configuration values (Kafka 2.3 and later).
    ///
    /// # Errors
    /// As [`Admin`] says. `InvalidConfig` and the like are told per resource.
    pub async fn incremental_alter_configs(
        &self,
        changes: &[(ConfigResource, Vec<AlterConfigOp>)],
        validate_only: bool,
    ) -> Result<Each<ConfigResource, ()>> {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let keys = changes.iter().map(|(resource, _)| resource.clone()).collect();
        self.retrying_each("incrementalAlterConfigs", keys, controller_moves, |keys| async move {
            let mut each = Vec::new();
            for (target, keys) in by_target(keys) {
                let chosen = changes.iter().filter(|(resource, _)| keys.contains(resource));
                let config = |op: &AlterConfigOp| {
                    let (name, config_operation, value) = match op {
                        AlterConfigOp::Set(name, value) => (name, 0, Some(value)),
                        AlterConfigOp::Delete(name) => (name, 1, None),
                        AlterConfigOp::Append(name, value) => (name, 2, Some(value)),
                        AlterConfigOp::Subtract(name, value) => (name, 3, Some(value)),
                    };
                    let (name, value) = (name.clone(), value.cloned());
                    AlterableConfig { name, config_operation, value, ..AlterableConfig::default() }
                };
                let request = IncrementalAlterConfigsRequest {
                    resources: chosen
                        .map(|(resource, ops)| AlterConfigsResource {
                            resource_type: resource.kind as i8,
                            resource_name: resource.name.clone(),
                            configs: ops.iter().map(config).collect(),
                            ..AlterConfigsResource::default()
                        })
                        .collect(),
                    validate_only,
                    ..IncrementalAlterConfigsRequest::default()
                };
                let response = self.connect(&target).await?.call(&request).await?;
                for r in response.responses {
                    let Some(key) = resource(r.resource_type, r.resource_name, &keys) else { continue };
                    each.push((key, Error::check(r.error_code, r.error_message.as_deref())));
                }
            }
            Ok(each)
        })
        .await
    }

    /// Replaces the whole configuration of each resource (AlterConfigs).
    ///
    /// # Errors
    /// As [`Admin`] says. `InvalidConfig` and the like are told per resource.
    pub async fn alter_configs(
        &self,
        configs: &[(ConfigResource, Vec<(String, String)>)],
        validate_only: bool,
    ) -> Result<Each<ConfigResource, ()>> {
        use alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let keys = configs.iter().map(|(resource, _)| resource.clone()).collect();
        self.retrying_each("alterConfigs", keys, controller_moves, |keys| async move {
            let mut each = Vec::new();
            for (target, keys) in by_target(keys) {
                let chosen = configs.iter().filter(|(resource, _)| keys.contains(resource));
                let config = |(name, value): &(String, String)| AlterableConfig {
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..AlterableConfig::default()
                };
                let request = AlterConfigsRequest {
                    resources: chosen
                        .map(|(resource, values)| AlterConfigsResource {
                            resource_type: resource.kind as i8,
                            resource_name: resource.name.clone(),
                            configs: values.iter().map(config).collect(),
                            ..AlterConfigsResource::default()
                        })
                        .collect(),
                    validate_only,
                    ..AlterConfigsRequest::default()
                };
                let response = self.connect(&target).await?.call(&request).await?;
                for r in response.responses {
                    let Some(key) = resource(r.resource_type, r.resource_name, &keys) else { continue };
                    each.push((key, Error::check(r.error_code, r.error_message.as_deref())));
                }
            }
            Ok(each)
        })
        .await
    }

    /// Lists the resources of these types that have a configuration of their own (Kafka 4.1 and later; for client
    /// metrics 3.7).
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn list_config_resources(&self, kinds: &[ConfigResourceType]) -> Result<Vec<ConfigResource>> {
        let request = &ListConfigResourcesRequest {
            resource_types: kinds.iter().map(|kind| *kind as i8).collect(),
            ..ListConfigResourcesRequest::default()
        };
        let response = self
            .retrying("listConfigResources", || async move {
                let connection = self.cluster.any().await?;
                let version = connection.newest::<ListConfigResourcesRequest>()?;
                // Version 0 knows client metrics only and has no field to say so.
                let older = ListConfigResourcesRequest::default();
                let metrics_only = kinds == [ConfigResourceType::ClientMetrics];
                let request = if version == 0 && metrics_only { &older } else { request };
                let response = connection.call_version(request, version, self.api_timeout()).await?;
                Error::check(response.error_code, None)?;
                Ok(response)
            })
            .await?;
        let kinds = [
            ConfigResourceType::Topic,
            ConfigResourceType::Broker,
            ConfigResourceType::BrokerLogger,
            ConfigResourceType::ClientMetrics,
            ConfigResourceType::Group,
        ];
        let mut all: Vec<ConfigResource> = response
            .config_resources
            .into_iter()
            .filter_map(|r| {
                let kind = kinds.iter().copied().find(|kind| *kind as i8 == r.resource_type)?;
                Some(ConfigResource { kind, name: r.resource_name })
            })
            .collect();
        all.sort();
        Ok(all)
    }

    /// Whether brokers know IncrementalAlterConfigs (Kafka 2.3 and later).
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn has_incremental_alter_configs(&self) -> Result<bool> {
        let connection = self.retrying("incrementalAlterConfigs", || self.cluster.any()).await?;
        Ok(connection.version(ApiKey::IncrementalAlterConfigs, 0..=1).is_ok())
    }
}

fn no_code(_: ErrorCode) -> bool {
    false
}

/// Brokers answer for themselves; anybody answers for everything else.
fn by_target(resources: Vec<ConfigResource>) -> Vec<(Target, Vec<ConfigResource>)> {
    let mut targets: Vec<(Target, Vec<ConfigResource>)> = Vec::new();
    for resource in resources {
        let own = matches!(resource.kind, ConfigResourceType::Broker | ConfigResourceType::BrokerLogger);
        let target = match resource.name.parse() {
            Ok(id) if own => Target::Broker(id),
            _ => Target::Any,
        };
        match targets.iter_mut().find(|(known, _)| *known == target) {
            Some((_, list)) => list.push(resource),
            None => targets.push((target, vec![resource])),
        }
    }
    targets
}

fn resource(kind: i8, name: String, asked: &[ConfigResource]) -> Option<ConfigResource> {
    asked.iter().find(|r| r.kind as i8 == kind && r.name == name).cloned()
}

fn entries(configs: Vec<DescribeConfigsResourceResult>) -> Vec<ConfigEntry> {
    let entry = |c: DescribeConfigsResourceResult| ConfigEntry {
        name: c.name,
        value: c.value,
        source: ConfigSource::from_code(c.config_source),
        read_only: c.read_only,
        sensitive: c.is_sensitive,
        synonyms: c
            .synonyms
            .into_iter()
            .map(|s| ConfigSynonym {
                name: s.name,
                value: s.value,
                source: ConfigSource::from_code(s.source),
            })
            .collect(),
        config_type: c.config_type,
        documentation: c.documentation,
    };
    let mut entries: Vec<_> = configs.into_iter().map(entry).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}
