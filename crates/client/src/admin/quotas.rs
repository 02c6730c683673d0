//! Client quotas (KIP-546).

use kafka_codec::messages::{
    AlterClientQuotasRequest, DescribeClientQuotasRequest, alter_client_quotas_request,
    describe_client_quotas_request,
};

use super::{Admin, Target, controller_moves};
use crate::error::{Error, Result};

/// Whose a quota is: type (`user`, `client-id`, `ip`) and name of each part; without a name the default of its type.
pub type QuotaEntity = Vec<(String, Option<String>)>;

/// What is to be found in one part of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaMatch {
    /// This name.
    Name(String),
    /// The default of its type.
    Default,
    /// Any name, and the default.
    Any,
}

/// Quotas of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientQuotas {
    /// Whose.
    pub entity: QuotaEntity,
    /// Key and value of each.
    pub values: Vec<(String, f64)>,
}

impl Admin {
    /// Reads the quotas whose entities match all of `filter`; `strict`: and have no other part.
    ///
    /// # Errors
    /// As [`Admin`] says.
    pub async fn describe_client_quotas(
        &self,
        filter: &[(&str, QuotaMatch)],
        strict: bool,
    ) -> Result<Vec<ClientQuotas>> {
        use describe_client_quotas_request::ComponentData;
        let components = filter
            .iter()
            .map(|(kind, wanted)| {
                let (match_type, name) = match wanted {
                    QuotaMatch::Name(name) => (0, Some(name.clone())),
                    QuotaMatch::Default => (1, None),
                    QuotaMatch::Any => (2, None),
                };
                ComponentData {
                    entity_type: (*kind).to_owned(),
                    match_type,
                    r#match: name,
                    ..ComponentData::default()
                }
            })
            .collect();
        let request =
            DescribeClientQuotasRequest { components, strict, ..DescribeClientQuotasRequest::default() };
        let response = self
            .retrying("describeClientQuotas", || async {
                let response = self.connect(&Target::Any).await?.call(&request).await?;
                Error::check(response.error_code, response.error_message.as_deref())?;
                Ok(response)
            })
            .await?;
        let found = response.entries.unwrap_or_default().into_iter().map(|entry| ClientQuotas {
            entity: entry.entity.into_iter().map(|part| (part.entity_type, part.entity_name)).collect(),
            values: entry.values.into_iter().map(|value| (value.key, value.value)).collect(),
        });
        Ok(found.collect())
    }

    /// Sets quotas of one entity, or removes those whose value is `None`.
    ///
    /// # Errors
    /// As [`Admin`] says; what the broker refuses.
    pub async fn alter_client_quotas(
        &self,
        entity: &QuotaEntity,
        changes: &[(String, Option<f64>)],
        validate_only: bool,
    ) -> Result<()> {
        use alter_client_quotas_request::{EntityData, EntryData, OpData};
        let part = |(kind, name): &(String, Option<String>)| EntityData {
            entity_type: kind.clone(),
            entity_name: name.clone(),
            ..EntityData::default()
        };
        let op = |(key, value): &(String, Option<f64>)| OpData {
            key: key.clone(),
            value: value.unwrap_or_default(),
            remove: value.is_none(),
            ..OpData::default()
        };
        let request = AlterClientQuotasRequest {
            entries: vec![EntryData {
                entity: entity.iter().map(part).collect(),
                ops: changes.iter().map(op).collect(),
                ..EntryData::default()
            }],
            validate_only,
            ..AlterClientQuotasRequest::default()
        };
        let answers = self
            .retrying_each("alterClientQuotas", vec![()], controller_moves, |_| async {
                let response = self.connect(&Target::Controller).await?.call(&request).await?;
                let outcome = |entry: kafka_codec::messages::alter_client_quotas_response::EntryData| {
                    ((), Error::check(entry.error_code, entry.error_message.as_deref()))
                };
                Ok(response.entries.into_iter().map(outcome).collect())
            })
            .await?;
        answers.into_iter().try_for_each(|((), outcome)| outcome)
    }
}
