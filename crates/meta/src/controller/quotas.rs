//! Changing client quotas.

use std::net::IpAddr;

use kafka_codec::ErrorCode;

use crate::image::Image;
use crate::quota::{self, QuotaEntity, QuotaEntityType};
use crate::{MetaError, MetaRecord};

/// A change of the quotas of one entity.
#[derive(Clone, Debug)]
pub struct QuotaChange {
    /// Type and name of each part as they came.
    pub entity: Vec<(String, Option<String>)>,
    /// Keys and their new values; `None` removes.
    pub ops: Vec<(String, Option<f64>)>,
}

fn invalid(message: impl Into<String>) -> MetaError {
    MetaError::refused(ErrorCode::InvalidRequest, message)
}

/// Plans a change.
///
/// # Errors
/// `INVALID_REQUEST` in Kafka's words.
pub fn alter_quotas(image: &Image, change: &QuotaChange) -> Result<Vec<MetaRecord>, MetaError> {
    let entity = checked_entity(&change.entity)?;
    let now = image.quotas.get(&entity);
    let mut records = Vec::new();
    for (key, value) in &change.ops {
        check_key(&entity, key)?;
        if let Some(value) = value {
            check_value(key, *value)?;
        }
        if now.and_then(|quotas| quotas.get(key)) != value.as_ref() {
            records.push(quota::record(&entity, key, *value).into());
        }
    }
    Ok(records)
}

fn checked_entity(parts: &[(String, Option<String>)]) -> Result<QuotaEntity, MetaError> {
    if parts.is_empty() {
        return Err(invalid("Invalid empty client quota entity"));
    }
    let mut entity = QuotaEntity::new();
    for (kind, name) in parts {
        let Some(known) = QuotaEntityType::from_name(kind) else {
            return Err(invalid(format!("Unhandled client quota entity type: {kind}")));
        };
        if name.as_deref() == Some("") {
            return Err(invalid(format!("Empty {kind} not supported")));
        }
        if entity.insert(known, name.clone()).is_some() {
            return Err(invalid(format!("Client quota entity {kind} was specified twice.")));
        }
    }
    if let Some(ip) = entity.get(&QuotaEntityType::Ip) {
        if entity.len() > 1 {
            return Err(invalid(
                "Invalid quota entity combination, IP entity should not be combined with User or ClientId",
            ));
        }
        if let Some(ip) = ip.as_ref().filter(|ip| ip.parse::<IpAddr>().is_err()) {
            return Err(invalid(format!("{ip} is not a valid IP or resolvable host.")));
        }
    }
    Ok(entity)
}

fn check_key(entity: &QuotaEntity, key: &str) -> Result<(), MetaError> {
    let known: &[&str] = if entity.contains_key(&QuotaEntityType::Ip) {
        &[quota::CONNECTION_CREATION_RATE]
    } else {
        &[
            quota::PRODUCER_BYTE_RATE,
            quota::CONSUMER_BYTE_RATE,
            quota::REQUEST_PERCENTAGE,
            quota::CONTROLLER_MUTATION_RATE,
        ]
    };
    if known.contains(&key) {
        return Ok(());
    }
    Err(invalid(format!("Invalid configuration key {key}")))
}

fn check_value(key: &str, value: f64) -> Result<(), MetaError> {
    if value.is_nan() || value <= 0.0 {
        return Err(invalid(format!("Quota {key} must be greater than 0")));
    }
    let (whole, max, type_name) = match key {
        quota::CONNECTION_CREATION_RATE => (true, f64::from(i32::MAX), "Integer"),
        // As a double: the nearest one to 2^63 - 1.
        quota::PRODUCER_BYTE_RATE | quota::CONSUMER_BYTE_RATE => (true, 9_223_372_036_854_775_807.0, "Long"),
        _ => (false, f64::MAX, "Double"),
    };
    // Kafka's tools send 1.0E-6 more or less than a whole number at times.
    if whole && (value - value.round()).abs() > 1e-6 {
        return Err(invalid(format!("Configuration {key} must be a {type_name} value")));
    }
    if value > max {
        return Err(invalid(format!(
            "Proposed value for configuration {key} is too large for a {type_name}."
        )));
    }
    Ok(())
}
