//! DescribeLogDirs (35): sizes of the partitions in the data directory, and whether any of it is offline.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kafka_codec::ErrorCode;
use kafka_codec::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_codec::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::context::Context;

pub(crate) async fn handle(ctx: Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let node = &ctx.node;
    let wanted: Option<BTreeMap<String, BTreeSet<i32>>> = request.topics.map(|topics| {
        topics.into_iter().map(|topic| (topic.topic, topic.partitions.into_iter().collect())).collect()
    });
    let mut topics = Vec::new();
    for topic in node.replicas.all() {
        let chosen = match &wanted {
            None => None,
            Some(wanted) => match wanted.get(&*topic.name) {
                Some(chosen) => Some(chosen),
                None => continue,
            },
        };
        let partitions: Vec<_> = topic
            .partitions
            .iter()
            .filter(|partition| chosen.is_none_or(|chosen| chosen.contains(&partition.index)))
            .filter_map(|partition| {
                let log = partition.log().ok().filter(|_| !partition.is_offline())?;
                Some(DescribeLogDirsPartition {
                    partition_index: partition.index,
                    partition_size: i64::try_from(log.size()).unwrap_or(i64::MAX),
                    offset_lag: 0,
                    is_future_key: false,
                    ..DescribeLogDirsPartition::default()
                })
            })
            .collect();
        if !partitions.is_empty() {
            topics.push(DescribeLogDirsTopic {
                name: topic.name.to_string(),
                partitions,
                ..DescribeLogDirsTopic::default()
            });
        }
    }
    // The directory's state is that of its worst partition: one whose log failed must be noticed. The healthy ones
    // are listed all the same.
    let failed = node.replicas.dir.failure().is_some()
        || node.replicas.all().iter().any(|topic| topic.partitions.iter().any(|p| p.is_offline()));
    let error = if failed { ErrorCode::KafkaStorageError } else { ErrorCode::None };
    let (total_bytes, usable_bytes) = volume(&node.config.data_dir);
    let path = std::path::absolute(&node.config.data_dir).unwrap_or_else(|_| node.config.data_dir.clone());
    DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            error_code: error.code(),
            log_dir: path.display().to_string(),
            topics,
            total_bytes,
            usable_bytes,
            ..DescribeLogDirsResult::default()
        }],
        ..DescribeLogDirsResponse::default()
    }
}

/// Size and room of the volume in bytes; -1 = unknown.
#[cfg(unix)]
fn volume(path: &Path) -> (i64, i64) {
    let Ok(stat) = rustix::fs::statvfs(path) else { return (-1, -1) };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    (bytes(stat.f_blocks), bytes(stat.f_bavail))
}

#[cfg(not(unix))]
fn volume(_path: &Path) -> (i64, i64) {
    (-1, -1)
}
