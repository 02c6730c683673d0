//! Looking partitions and their offsets up for `kafka-consumer-groups`.

use std::collections::BTreeMap;

use client::admin::{IsolationLevel, OffsetSpec, TopicDescription};
use client::{Admin, OffsetAndMetadata, TopicPartition};

use super::super::run::{self, Failure};
use super::in_runtime;

const LOGGER: &str = "org.apache.kafka.tools.OffsetsUtils";

/// Offsets by partition.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// Reads `topic:0,1,2`.
///
/// # Errors
/// The original's texts.
pub fn parse_partitions(text: &str) -> Result<Vec<TopicPartition>, Failure> {
    let parts: Vec<_> = text.trim_end_matches(':').split(':').collect();
    let [topic, partitions] = parts.as_slice() else {
        return Err(Failure::illegal_argument(format!(
            "Invalid topic arg '{text}', expected topic name and partitions"
        )));
    };
    let number = |partition: &str| {
        partition.parse::<i32>().map(|partition| TopicPartition::new(*topic, partition)).map_err(|_| {
            Failure::illegal_argument(format!(
                "Invalid partition '{partition}' specified in topic arg '{text}''"
            ))
        })
    };
    partitions.trim_end_matches(',').split(',').map(number).collect()
}

/// All partitions of a topic.
pub fn all_partitions(topic: &TopicDescription) -> Vec<TopicPartition> {
    let name: std::sync::Arc<str> = topic.name.as_str().into();
    topic.partitions.iter().map(|info| TopicPartition::new(name.clone(), info.partition)).collect()
}

/// Describes the topics of `partitions`.
///
/// # Errors
/// The first topic that cannot be described.
pub async fn describe_topics_of(
    admin: &Admin,
    partitions: &[TopicPartition],
) -> Result<Vec<TopicDescription>, Failure> {
    let mut names: Vec<String> = partitions.iter().map(|partition| partition.topic.to_string()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let answers = admin.describe_topics(&names).await.map_err(in_runtime)?;
    answers.into_iter().map(|(_, topic)| topic.map_err(in_runtime)).collect()
}

/// Looks the same kind of offset up for all `partitions`; −1 where no record matches.
///
/// # Errors
/// The first partition that fails.
pub async fn list(
    admin: &Admin,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<Offsets, Failure> {
    if partitions.is_empty() {
        return Ok(Offsets::new());
    }
    let wanted: Vec<_> = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
    let answers = admin.list_offsets(&wanted, IsolationLevel::ReadUncommitted).await.map_err(in_runtime)?;
    answers.into_iter().map(|(partition, found)| Ok((partition, found.map_err(in_runtime)?.offset))).collect()
}

/// First offset at or after `time_ms`; the end, with a word about it, where there is none.
///
/// # Errors
/// The first partition that fails.
pub async fn list_by_time(
    admin: &Admin,
    partitions: &[TopicPartition],
    time_ms: i64,
) -> Result<Offsets, Failure> {
    let mut offsets = list(admin, partitions, OffsetSpec::Timestamp(time_ms)).await?;
    let without: Vec<_> =
        offsets.iter().filter(|(_, offset)| **offset == -1).map(|(partition, _)| partition.clone()).collect();
    for partition in &without {
        println!(
            "\nWarn: Partition {} from topic {} is empty. Falling back to latest known offset.",
            partition.partition, partition.topic
        );
    }
    offsets.extend(list(admin, &without, OffsetSpec::Latest).await?);
    Ok(offsets)
}

/// Moves offsets outside the log to its nearest end, with a warning.
///
/// # Errors
/// Partitions whose bounds cannot be told.
pub async fn clamp(admin: &Admin, wanted: Offsets) -> Result<Offsets, Failure> {
    let partitions: Vec<_> = wanted.keys().cloned().collect();
    let starts = list(admin, &partitions, OffsetSpec::Earliest).await?;
    let ends = list(admin, &partitions, OffsetSpec::Latest).await?;
    let mut clamped = Offsets::new();
    for (partition, offset) in wanted {
        let (Some(&start), Some(&end)) = (starts.get(&partition), ends.get(&partition)) else {
            return Err(Failure::new(
                "java.lang.IllegalStateException",
                format!("Unexpected non-existing offset value for topic partition {partition}"),
            ));
        };
        let (bound, compared) = if offset > end {
            (end, "higher than latest")
        } else if offset < start {
            (start, "lower than earliest")
        } else {
            clamped.insert(partition, offset);
            continue;
        };
        run::log_warn(
            &format!(
                "New offset ({offset}) is {compared} offset for topic partition {partition}. Value will be set to {bound}"
            ),
            LOGGER,
        );
        clamped.insert(partition, bound);
    }
    Ok(clamped)
}

/// The committed offsets of a group.
///
/// # Errors
/// The coordinator's refusal, also of one partition.
pub async fn committed(
    admin: &Admin,
    group: &str,
) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, Failure> {
    let offsets = admin.list_group_offsets(group, None).await.map_err(in_runtime)?;
    let mut committed = BTreeMap::new();
    for (partition, offset) in offsets {
        if let Some(offset) = offset.map_err(in_runtime)? {
            committed.insert(partition, offset);
        }
    }
    Ok(committed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_argument() {
        let of = |text: &str| {
            parse_partitions(text)
                .map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
                .map_err(|e| e.message)
        };
        assert_eq!(of("o1:0,1"), Ok("o1-0 o1-1".into()));
        assert_eq!(of("o1:x"), Err("Invalid partition 'x' specified in topic arg 'o1:x''".into()));
        assert_eq!(
            of("o1:0:1"),
            Err("Invalid topic arg 'o1:0:1', expected topic name and partitions".into())
        );
        assert_eq!(of("o1:"), Err("Invalid topic arg 'o1:', expected topic name and partitions".into()));
    }
}
