//! Creating, growing and deleting topics.

use std::collections::{BTreeMap, BTreeSet};

use kafka_codec::messages::{ConfigRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};
use kafka_codec::{ErrorCode, Uuid};

use super::configs::check_topic_configs;
use crate::config::BrokerProperties;
use crate::image::{ConfigResourceKind, Image, Topic};
use crate::{MetaError, MetaRecord};

/// Longest topic name: with `-` and a partition number it must still be a directory name.
const NAME_BYTES_MAX: usize = 249;

/// Kafka's own internal topics.
pub const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// The topic of what clients tell about themselves.
pub const CLIENT_TELEMETRY_TOPIC: &str = "__client_telemetry";

/// How the names of the topics begin that MQTT keeps its state in.
pub const MQTT_PREFIX: &str = "__mqtt_";

/// Whether a topic belongs to the broker itself: Kafka's internal topics, and ours.
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name) || name == CLIENT_TELEMETRY_TOPIC || name.starts_with(MQTT_PREFIX)
}

/// A topic to create.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Name.
    pub name: String,
    /// Partitions; -1 = `num.partitions`, or as many as there are assignments.
    pub partitions: i32,
    /// Replication factor; -1 = `default.replication.factor`, or that of the assignments.
    pub replication_factor: i16,
    /// Replicas by partition, when the client chooses them.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Configuration.
    pub configs: Vec<(String, Option<String>)>,
}

/// Partitions to add to a topic.
#[derive(Clone, Debug, Default)]
pub struct NewPartitions {
    /// Name.
    pub name: String,
    /// Partitions the topic shall have in all.
    pub count: i32,
    /// Replicas of the new ones, when the client chooses them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// What placing replicas needs to know.
#[derive(Clone, Debug)]
pub struct Placement<'a> {
    /// Nodes that can hold replicas.
    pub nodes: &'a [i32],
    /// Id of the nodes' log directory.
    pub directory: Uuid,
    /// The broker's settings.
    pub properties: &'a BrokerProperties,
}

/// A topic that can be created, and the records that do it.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    /// Id it will have.
    pub id: Uuid,
    /// Number of partitions.
    pub partitions: i32,
    /// Replication factor.
    pub replication_factor: i16,
    /// The records.
    pub records: Vec<MetaRecord>,
}

/// Checks a topic's name.
///
/// # Errors
/// `INVALID_TOPIC_EXCEPTION` in Kafka's words.
pub fn check_topic_name(name: &str) -> Result<(), MetaError> {
    let fault = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > NAME_BYTES_MAX {
        format!("the length of '{name}' is longer than the max allowed length {NAME_BYTES_MAX}")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(MetaError::refused(ErrorCode::InvalidTopicException, format!("Topic name is invalid: {fault}")))
}

/// Plans a topic. `id` becomes its id.
///
/// # Errors
/// [`MetaError::Refused`] with the code and words Kafka has for it.
pub fn create_topic(
    image: &Image,
    placement: &Placement<'_>,
    new: &NewTopic,
    id: Uuid,
) -> Result<TopicPlan, MetaError> {
    let name = new.name.as_str();
    if name == "__cluster_metadata" {
        let message = format!("Creation of internal topic {name} is prohibited.");
        return Err(MetaError::refused(ErrorCode::InvalidRequest, message));
    }
    check_topic_name(name)?;
    if image.topic(name).is_some() {
        let message = format!("Topic '{name}' already exists.");
        return Err(MetaError::refused(ErrorCode::TopicAlreadyExists, message));
    }
    if name.contains(['.', '_'])
        && let Some(other) = image.topics().find(|topic| collides(&topic.name, name))
    {
        let message = format!("Topic '{name}' collides with existing topic: {}", other.name);
        return Err(MetaError::refused(ErrorCode::InvalidTopicException, message));
    }
    check_topic_configs(&new.configs)?;
    let replicas =
        if new.assignments.is_empty() { place(placement, new)? } else { assigned(placement, new)? };
    check_room(image, placement, replicas.len())?;
    let replication_factor = replicas.first().map_or(0, Vec::len);
    let partitions = i32::try_from(replicas.len()).unwrap_or(i32::MAX);
    let mut records: Vec<MetaRecord> =
        vec![TopicRecord { name: new.name.clone(), topic_id: id, ..TopicRecord::default() }.into()];
    for (key, value) in &new.configs {
        records.push(topic_config_record(name, key, value.clone()));
    }
    for (index, replicas) in (0..).zip(replicas) {
        records.push(partition_record(placement, id, index, replicas));
    }
    Ok(TopicPlan {
        id,
        partitions,
        replication_factor: i16::try_from(replication_factor).unwrap_or(i16::MAX),
        records,
    })
}

/// Plans more partitions for a topic.
///
/// # Errors
/// [`MetaError::Refused`] with the code and words Kafka has for it.
pub fn create_partitions(
    image: &Image,
    placement: &Placement<'_>,
    new: &NewPartitions,
) -> Result<Vec<MetaRecord>, MetaError> {
    let name = new.name.as_str();
    let topic = image.topic(name).ok_or_else(unknown_topic)?;
    let has = topic.partitions.len();
    let wanted = usize::try_from(new.count).unwrap_or(0);
    if wanted == has {
        let message = format!("Topic already has {has} partition(s).");
        return Err(MetaError::refused(ErrorCode::InvalidPartitions, message));
    }
    if wanted < has {
        let message = format!(
            "The topic {name} currently has {has} partition(s); {} would not be an increase.",
            new.count
        );
        return Err(MetaError::refused(ErrorCode::InvalidPartitions, message));
    }
    let more = wanted - has;
    let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
    let replicas = match &new.assignments {
        Some(assignments) => {
            if assignments.len() != more {
                let message = format!(
                    "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                );
                return Err(MetaError::refused(ErrorCode::InvalidReplicaAssignment, message));
            }
            for replicas in assignments {
                check_replicas(placement, replicas, Some(factor))?;
            }
            assignments.clone()
        }
        None => vec![spread(placement, factor)?; more],
    };
    check_room(image, placement, more)?;
    let mut records = Vec::with_capacity(more);
    for (index, replicas) in (has..).zip(replicas) {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        records.push(partition_record(placement, topic.id, index, replicas));
    }
    Ok(records)
}

/// Plans the removal of a topic.
pub fn delete_topic(topic: &Topic) -> Vec<MetaRecord> {
    vec![RemoveTopicRecord { topic_id: topic.id, ..RemoveTopicRecord::default() }.into()]
}

pub(super) fn topic_config_record(topic: &str, key: &str, value: Option<String>) -> MetaRecord {
    ConfigRecord {
        resource_type: ConfigResourceKind::Topic.wire(),
        resource_name: topic.to_owned(),
        name: key.to_owned(),
        value,
        ..ConfigRecord::default()
    }
    .into()
}

fn unknown_topic() -> MetaError {
    MetaError::refused(ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicOrPartition.message())
}

/// Names that differ only in `.` and `_` would share metrics' names.
fn collides(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .all(|(a, b)| a == b || (matches!(a, b'.' | b'_') && matches!(b, b'.' | b'_')))
}

fn check_room(image: &Image, placement: &Placement<'_>, more: usize) -> Result<(), MetaError> {
    let max = usize::try_from(placement.properties.long("max.partitions")).unwrap_or(usize::MAX);
    let has = image.partition_count();
    if has.saturating_add(more) > max {
        let message =
            format!("{more} more partition(s) than the {has} there are would exceed max.partitions={max}");
        return Err(MetaError::refused(ErrorCode::PolicyViolation, message));
    }
    Ok(())
}

/// Replicas for each partition, chosen here.
fn place(placement: &Placement<'_>, new: &NewTopic) -> Result<Vec<Vec<i32>>, MetaError> {
    if new.replication_factor < -1 || new.replication_factor == 0 {
        return Err(MetaError::refused(
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ));
    }
    if new.partitions < -1 || new.partitions == 0 {
        return Err(MetaError::refused(
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        ));
    }
    let partitions =
        if new.partitions == -1 { placement.properties.int("num.partitions") } else { new.partitions };
    let factor = match usize::try_from(new.replication_factor) {
        Ok(factor) => factor,
        Err(_) => usize::try_from(placement.properties.long("default.replication.factor")).unwrap_or(1),
    };
    let replicas = spread(placement, factor)?;
    let count = usize::try_from(partitions).unwrap_or(1);
    let max = usize::try_from(placement.properties.long("max.partitions")).unwrap_or(usize::MAX);
    if count > max {
        let message = format!("{count} partitions are more than max.partitions={max}");
        return Err(MetaError::refused(ErrorCode::PolicyViolation, message));
    }
    Ok(vec![replicas; count])
}

fn spread(placement: &Placement<'_>, factor: usize) -> Result<Vec<i32>, MetaError> {
    match placement.nodes.get(..factor) {
        Some(nodes) if factor > 0 => Ok(nodes.to_vec()),
        _ => {
            let message = format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} \
                 cannot be reached because only {} broker(s) are registered.",
                placement.nodes.len()
            );
            Err(MetaError::refused(ErrorCode::InvalidReplicationFactor, message))
        }
    }
}

/// Replicas for each partition, chosen by the client.
fn assigned(placement: &Placement<'_>, new: &NewTopic) -> Result<Vec<Vec<i32>>, MetaError> {
    if new.replication_factor != -1 {
        return Err(MetaError::refused(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        ));
    }
    if new.partitions != -1 {
        return Err(MetaError::refused(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ));
    }
    let mut by_index = BTreeMap::new();
    let mut factor = None;
    for (index, replicas) in &new.assignments {
        if by_index.insert(*index, replicas.clone()).is_some() {
            let message = format!("Found multiple manual partition assignments for partition {index}");
            return Err(MetaError::refused(ErrorCode::InvalidReplicaAssignment, message));
        }
        check_replicas(placement, replicas, factor)?;
        factor = Some(replicas.len());
    }
    let consecutive = by_index.keys().zip(0..).all(|(index, place)| *index == place);
    if !consecutive {
        return Err(MetaError::refused(
            ErrorCode::InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence",
        ));
    }
    Ok(by_index.into_values().collect())
}

fn check_replicas(
    placement: &Placement<'_>,
    replicas: &[i32],
    factor: Option<usize>,
) -> Result<(), MetaError> {
    let refuse = |message: String| Err(MetaError::refused(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".into());
    }
    let mut seen = BTreeSet::new();
    for node in replicas {
        if !placement.nodes.contains(node) {
            return refuse(format!(
                "The manual partition assignment includes broker {node}, but no such broker is registered."
            ));
        }
        if !seen.insert(*node) {
            return refuse(format!(
                "The manual partition assignment includes the broker {node} more than once."
            ));
        }
    }
    match factor {
        Some(factor) if factor != replicas.len() => refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not \
             consistent with previous partitions, which have {factor} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

fn partition_record(placement: &Placement<'_>, topic_id: Uuid, index: i32, replicas: Vec<i32>) -> MetaRecord {
    PartitionRecord {
        partition_id: index,
        topic_id,
        isr: replicas.clone(),
        leader: replicas.first().copied().unwrap_or(-1),
        directories: vec![placement.directory; replicas.len()],
        replicas,
        leader_epoch: 0,
        partition_epoch: 0,
        ..PartitionRecord::default()
    }
    .into()
}
