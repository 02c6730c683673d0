//! What pages and JSON show, read through the door.

use client::door::{Door, DoorError, StartAt, TopicInfo, TopicPartition};
use serde::Serialize;

/// Records shown at a time.
const PAGE_RECORDS: i64 = 50;
/// Bytes read for one page.
const PAGE_BYTES: usize = 256 * 1024;
/// Bytes of a key or value that are shown.
const TEXT_BYTES_MAX: usize = 2048;

/// A topic.
#[derive(Clone, Debug, Serialize)]
pub struct TopicView {
    /// Name.
    pub name: String,
    /// Made by the system itself.
    pub internal: bool,
    /// Records stored, by offsets.
    pub records: i64,
    /// Its partitions.
    pub partitions: Vec<PartitionView>,
}

/// A partition.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionView {
    /// Index.
    pub partition: i32,
    /// First offset stored.
    pub start: i64,
    /// Next offset.
    pub end: i64,
}

/// A record, its bytes as text.
#[derive(Clone, Debug, Serialize)]
pub struct RecordView {
    /// Offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Key, or none.
    pub key: Option<String>,
    /// Value, or none (a tombstone).
    pub value: Option<String>,
    /// Headers in order.
    pub headers: Vec<(String, Option<String>)>,
}

/// All topics, in the order of their names.
pub(crate) async fn topics(door: &dyn Door) -> Result<Vec<TopicView>, DoorError> {
    let image = door.topics().borrow().clone();
    let mut out = Vec::with_capacity(image.topics.len());
    for info in &image.topics {
        match describe(door, info).await {
            Ok(topic) => out.push(topic),
            // Deleted since the list was taken.
            Err(DoorError::UnknownTopic(_)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

/// One topic.
pub(crate) async fn topic(door: &dyn Door, name: &str) -> Result<TopicView, DoorError> {
    let info = door.topics().borrow().get(name).cloned();
    let info = info.ok_or_else(|| DoorError::UnknownTopic(name.to_string()))?;
    describe(door, &info).await
}

async fn describe(door: &dyn Door, info: &TopicInfo) -> Result<TopicView, DoorError> {
    let mut partitions = Vec::new();
    for partition in 0..info.partitions {
        let of = TopicPartition::new(info.name.clone(), partition);
        let start = door.offset_at(&of, StartAt::Earliest).await?;
        let end = door.offset_at(&of, StartAt::Latest).await?;
        partitions.push(PartitionView { partition, start, end });
    }
    let records = partitions.iter().map(|p| p.end - p.start).sum();
    Ok(TopicView { name: info.name.to_string(), internal: info.internal, records, partitions })
}

/// A page of records from `offset` on, or the newest ones.
pub(crate) async fn records(
    door: &dyn Door,
    topic: &str,
    partition: i32,
    offset: Option<i64>,
) -> Result<Vec<RecordView>, DoorError> {
    let of = TopicPartition::new(topic, partition);
    let start = door.offset_at(&of, StartAt::Earliest).await?;
    let end = door.offset_at(&of, StartAt::Latest).await?;
    let mut next = offset.unwrap_or(end - PAGE_RECORDS).clamp(start, end);
    let mut out = Vec::new();
    while next < end && (out.len() as i64) < PAGE_RECORDS {
        let chunk = door.read(&of, next, PAGE_BYTES).await?;
        if chunk.next_offset <= next {
            break;
        }
        next = chunk.next_offset;
        out.extend(chunk.records.iter().map(|r| RecordView {
            offset: r.offset,
            timestamp_ms: r.timestamp_ms,
            key: r.key.as_deref().map(text),
            value: r.value.as_deref().map(text),
            headers: r.headers.iter().map(|h| (text(&h.key), h.value.as_deref().map(text))).collect(),
        }));
    }
    out.truncate(PAGE_RECORDS as usize);
    Ok(out)
}

fn text(bytes: &[u8]) -> String {
    let shown = bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes);
    let mut text = String::from_utf8_lossy(shown).into_owned();
    if shown.len() < bytes.len() {
        text.push_str(&format!(" … ({} bytes)", bytes.len()));
    }
    text
}
