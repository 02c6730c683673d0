//! Kafka's small text files: offset checkpoints, leader epochs, `partition.metadata`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::storage::{Storage, read_file, replace_file};
use crate::{TopicId, TopicPartition};

/// `recovery-point-offset-checkpoint`: up to where each log is on stable storage in its segments.
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// `log-start-offset-checkpoint`: first offset of logs whose head was deleted.
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// `replication-offset-checkpoint`: high watermarks.
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// `cleaner-offset-checkpoint`: up to where each log is compacted.
pub(crate) const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";
/// `acknowledged-offset-checkpoint` (ours): up to where logs that were refused at the last opening are known to have
/// been acknowledged.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged-offset-checkpoint";
/// Says that the directory was closed properly.
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub(crate) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";

fn malformed(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
}

/// The lines of a checkpoint file after its version and count; `None` when there is no file.
fn lines(storage: &dyn Storage, path: &Path) -> io::Result<Option<Vec<String>>> {
    let Some(bytes) = read_file(storage, path)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| malformed(path, "not text"))?;
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return Err(malformed(path, "unknown version"));
    }
    let count: usize =
        lines.next().and_then(|l| l.parse().ok()).ok_or_else(|| malformed(path, "no entry count"))?;
    let rest: Vec<String> = lines.map(str::to_owned).collect();
    if rest.len() != count {
        return Err(malformed(path, "entry count does not match"));
    }
    Ok(Some(rest))
}

/// Reads an offset checkpoint; an absent file is an empty one.
pub(crate) fn read_offsets(storage: &dyn Storage, path: &Path) -> io::Result<BTreeMap<TopicPartition, i64>> {
    let mut offsets = BTreeMap::new();
    for line in lines(storage, path)?.unwrap_or_default() {
        let mut words = line.split_whitespace();
        let entry = (|| {
            let topic = words.next()?;
            let partition = words.next()?.parse().ok()?;
            let offset = words.next()?.parse().ok()?;
            Some((TopicPartition::new(topic, partition), offset))
        })();
        let (partition, offset) = entry.ok_or_else(|| malformed(path, "malformed line"))?;
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}

/// Replaces an offset checkpoint.
pub(crate) fn write_offsets(
    storage: &dyn Storage,
    path: &Path,
    offsets: &BTreeMap<TopicPartition, i64>,
) -> io::Result<()> {
    let mut text = format!("0\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    replace_file(storage, path, text.as_bytes())
}

/// Reads `leader-epoch-checkpoint`: pairs of epoch and start offset.
pub(crate) fn read_epochs(storage: &dyn Storage, path: &Path) -> io::Result<Vec<(i32, i64)>> {
    let mut epochs = Vec::new();
    for line in lines(storage, path)?.unwrap_or_default() {
        let pair = line
            .split_once(' ')
            .and_then(|(epoch, start)| Some((epoch.parse().ok()?, start.trim().parse().ok()?)));
        epochs.push(pair.ok_or_else(|| malformed(path, "malformed line"))?);
    }
    Ok(epochs)
}

/// Replaces `leader-epoch-checkpoint`.
pub(crate) fn write_epochs(storage: &dyn Storage, path: &Path, epochs: &[(i32, i64)]) -> io::Result<()> {
    let mut text = format!("0\n{}\n", epochs.len());
    for (epoch, start) in epochs {
        let _ = writeln!(text, "{epoch} {start}");
    }
    replace_file(storage, path, text.as_bytes())
}

/// Contents of `partition.metadata`.
pub(crate) fn partition_metadata(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {}", kafka_codec::Uuid(topic_id))
}

/// Reads the topic id from `partition.metadata`; `None` when there is no file.
pub(crate) fn read_partition_metadata(storage: &dyn Storage, path: &Path) -> io::Result<Option<TopicId>> {
    let Some(bytes) = read_file(storage, path)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    for line in text.lines() {
        if let Some(id) = line.strip_prefix("topic_id:") {
            let id: kafka_codec::Uuid =
                id.trim().parse().map_err(|_| malformed(path, "topic_id is not an id"))?;
            return Ok(Some(id.0));
        }
    }
    Err(malformed(path, "no topic_id"))
}
