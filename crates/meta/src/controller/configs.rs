//! Changing configurations.

use std::collections::{BTreeMap, BTreeSet};

use kafka_codec::ErrorCode;
use kafka_codec::messages::ConfigRecord;

use crate::config::{
    BrokerProperties, ConfigDef, ConfigType, Update, broker_config, client_metrics_config, group_config,
    refusal, split_list, topic_config,
};
use crate::image::{ConfigResourceKind, Image};
use crate::{MetaError, MetaRecord, client_metrics};

/// What to do with one key (numbers are the protocol's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigOp {
    /// Give it this value.
    Set,
    /// Back to the default.
    Delete,
    /// Add elements to a list.
    Append,
    /// Take elements out of a list.
    Subtract,
}

impl ConfigOp {
    /// The operation of a number on the wire.
    pub fn from_wire(op: i8) -> Option<Self> {
        match op {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }

    /// The number on the wire.
    pub fn wire(self) -> i8 {
        match self {
            Self::Set => 0,
            Self::Delete => 1,
            Self::Append => 2,
            Self::Subtract => 3,
        }
    }
}

/// A change of one resource's configuration.
#[derive(Clone, Debug)]
pub struct ConfigChange {
    /// Kind of the resource.
    pub kind: ConfigResourceKind,
    /// Its name; for brokers the node id, or empty for all.
    pub name: String,
    /// Keys in the order given.
    pub entries: Vec<(String, ConfigOp, Option<String>)>,
    /// Keys that are not named lose their value (AlterConfigs, the old way).
    pub replace: bool,
}

fn invalid(message: impl Into<String>) -> MetaError {
    MetaError::refused(ErrorCode::InvalidConfig, message)
}

/// Checks the configuration of a topic to be created.
///
/// # Errors
/// `INVALID_CONFIG` for unknown keys and invalid values.
pub fn check_topic_configs(configs: &[(String, Option<String>)]) -> Result<(), MetaError> {
    for (key, value) in configs {
        let def = topic_config(key).ok_or_else(|| unknown_topic_key(key))?;
        let Some(value) = value else {
            return Err(invalid(format!("Null value not supported for topic configs: {key}")));
        };
        def.check(value).map_err(invalid)?;
        refuse(def, value)?;
    }
    Ok(())
}

fn refuse(def: &ConfigDef, value: &str) -> Result<(), MetaError> {
    refusal(def, value).map_or(Ok(()), |why| Err(invalid(why)))
}

fn unknown_topic_key(key: &str) -> MetaError {
    invalid(format!("Unknown topic config name: {key}"))
}

/// Plans a change of configuration.
///
/// # Errors
/// [`MetaError::Refused`] with the code and words Kafka has for it.
pub fn alter_configs(
    image: &Image,
    properties: &BrokerProperties,
    node_id: i32,
    change: &ConfigChange,
) -> Result<Vec<MetaRecord>, MetaError> {
    let find: fn(&str) -> Option<&'static ConfigDef> = match change.kind {
        ConfigResourceKind::Topic => {
            if image.topic(&change.name).is_none() {
                let message = format!("The topic '{}' does not exist.", change.name);
                return Err(MetaError::refused(ErrorCode::UnknownTopicOrPartition, message));
            }
            topic_config
        }
        ConfigResourceKind::Broker => {
            if !change.name.is_empty() && change.name != node_id.to_string() {
                let message = format!(
                    "Unexpected broker id, expected {node_id} or empty string, but received {}",
                    change.name
                );
                return Err(MetaError::refused(ErrorCode::InvalidRequest, message));
            }
            broker_config
        }
        ConfigResourceKind::Group => {
            if change.name.is_empty() {
                let message = "Default group resources are not allowed.";
                return Err(MetaError::refused(ErrorCode::InvalidRequest, message));
            }
            group_config
        }
        ConfigResourceKind::ClientMetrics => client_metrics_config,
    };
    let mut seen = BTreeSet::new();
    if !change.entries.iter().all(|(key, ..)| seen.insert(key.as_str())) {
        return Err(MetaError::refused(ErrorCode::InvalidRequest, "Error due to duplicate config keys"));
    }
    let now = image.configs(change.kind, &change.name);
    let mut records = Vec::new();
    for (key, op, value) in &change.entries {
        let def = find(key);
        check_key(change.kind, key, def, &change.name)?;
        let inherited = def.and_then(|def| match change.kind {
            ConfigResourceKind::Topic => properties.effective_topic(def, &BTreeMap::new()).value,
            ConfigResourceKind::Group => properties.effective_group(def, &BTreeMap::new()).value,
            ConfigResourceKind::ClientMetrics => def.default.map(str::to_owned),
            _ => properties.effective(def).value,
        });
        let before = now.get(key).cloned().or(inherited).unwrap_or_default();
        let new = new_value(key, *op, value.as_deref(), def, &before)?;
        if change.kind != ConfigResourceKind::ClientMetrics
            && let (Some(def), Some(new)) = (def, &new)
        {
            def.check(new).map_err(invalid)?;
            if change.kind == ConfigResourceKind::Group {
                check_group_limits(def, new, properties)?;
            }
            refuse(def, new)?;
        }
        if now.get(key) != new.as_ref() {
            records.push(record(change, key, new));
        }
    }
    if change.kind == ConfigResourceKind::Group {
        check_group_timeouts(&now, &records, properties)?;
    }
    if change.kind == ConfigResourceKind::ClientMetrics {
        let before = if change.replace { BTreeMap::new() } else { (*now).clone() };
        client_metrics::check(&change.name, &after(before, &records))?;
    }
    if change.replace {
        for key in now.keys().filter(|key| !seen.contains(key.as_str())) {
            records.push(record(change, key, None));
        }
    }
    Ok(records)
}

/// A group's value must lie between the broker's `group.….min.…` and `group.….max.…`.
fn check_group_limits(def: &ConfigDef, value: &str, properties: &BrokerProperties) -> Result<(), MetaError> {
    let Some((kind, rest)) = def.name.split_once('.') else { return Ok(()) };
    let value: i64 = value.trim().parse().unwrap_or(0);
    let (least, most) = (format!("group.{kind}.min.{rest}"), format!("group.{kind}.max.{rest}"));
    if broker_config(&least).is_some() && value < properties.long(&least) {
        return Err(invalid(format!("{} must be greater than or equal to {least}", def.name)));
    }
    if broker_config(&most).is_some() && value > properties.long(&most) {
        return Err(invalid(format!("{} must be less than or equal to {most}", def.name)));
    }
    Ok(())
}

/// Settings after changes.
fn after(mut configs: BTreeMap<String, String>, changes: &[MetaRecord]) -> BTreeMap<String, String> {
    for record in changes {
        if let MetaRecord::Config(record) = record {
            match &record.value {
                Some(value) => configs.insert(record.name.clone(), value.clone()),
                None => configs.remove(&record.name),
            };
        }
    }
    configs
}

/// A session must outlast the pause between heartbeats.
fn check_group_timeouts(
    now: &BTreeMap<String, String>,
    records: &[MetaRecord],
    properties: &BrokerProperties,
) -> Result<(), MetaError> {
    let after = after(now.clone(), records);
    let of = |key: &str| -> i64 {
        let own = after.get(key).and_then(|text| text.trim().parse().ok());
        own.unwrap_or_else(|| properties.long(&format!("group.{key}")))
    };
    for kind in ["consumer", "share"] {
        let (session, pause) =
            (format!("{kind}.session.timeout.ms"), format!("{kind}.heartbeat.interval.ms"));
        if of(&session) <= of(&pause) {
            return Err(invalid(format!("{session} must be greater than {pause}")));
        }
    }
    Ok(())
}

fn check_key(
    kind: ConfigResourceKind,
    key: &str,
    def: Option<&'static ConfigDef>,
    broker: &str,
) -> Result<(), MetaError> {
    match (kind, def) {
        (ConfigResourceKind::Topic, None) => Err(unknown_topic_key(key)),
        (ConfigResourceKind::Group, None) => Err(invalid(format!("Unknown group config name: {key}"))),
        (ConfigResourceKind::Broker, Some(def)) => match def.update {
            Update::ReadOnly => Err(MetaError::refused(
                ErrorCode::InvalidRequest,
                format!("Cannot update these configs dynamically: Set({key})"),
            )),
            Update::PerBroker if broker.is_empty() => Err(MetaError::refused(
                ErrorCode::InvalidRequest,
                format!(
                    "Cannot update these configs at default cluster level, broker id must be specified: Set({key})"
                ),
            )),
            _ => Ok(()),
        },
        // As in Kafka a broker may carry keys that belong to plugins.
        _ => Ok(()),
    }
}

fn new_value(
    key: &str,
    op: ConfigOp,
    value: Option<&str>,
    def: Option<&'static ConfigDef>,
    before: &str,
) -> Result<Option<String>, MetaError> {
    let given = || {
        value.ok_or_else(|| {
            MetaError::refused(ErrorCode::InvalidRequest, format!("Null value not supported for : {key}"))
        })
    };
    let operation = match op {
        ConfigOp::Delete => return Ok(None),
        ConfigOp::Set => return Ok(Some(given()?.to_owned())),
        ConfigOp::Append => "APPEND to",
        ConfigOp::Subtract => "SUBTRACT from",
    };
    if def.is_none_or(|def| def.kind != ConfigType::List || client_metrics_config(def.name).is_some()) {
        return Err(invalid(format!("Can't {operation} key {key} because its type is not LIST.")));
    }
    let mut words: Vec<&str> = split_list(before).collect();
    let given = given()?;
    for word in split_list(given) {
        if op == ConfigOp::Subtract {
            words.retain(|other| *other != word);
        } else if !words.contains(&word) {
            words.push(word);
        }
    }
    Ok(Some(words.join(",")))
}

fn record(change: &ConfigChange, key: &str, value: Option<String>) -> MetaRecord {
    ConfigRecord {
        resource_type: change.kind.wire(),
        resource_name: change.name.clone(),
        name: key.to_owned(),
        value,
        ..ConfigRecord::default()
    }
    .into()
}
