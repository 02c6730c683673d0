//! Reading `__transaction_state` back, and ending what it knows nothing of.

use std::collections::HashSet;
use std::sync::Arc;

use coordinator::txn::{Producer, TxnConfig, TxnPartition, TxnShard};
use coordinator::{ErrorCode, Now};
use kafka_codec::records::end_transaction_marker;
use log::{AppendBatches, Log, LogError};

use super::settle;
use super::shard::Shard;
use crate::node::Node;
use crate::replica::Partition;
use crate::state_topic;

/// Loads all shards, ends transactions that lie open in logs without the coordinator's knowledge, then lets the
/// shards answer.
pub(super) async fn load_all(node: Arc<Node>, shards: Vec<Arc<Shard>>, config: TxnConfig) {
    let now = node.groups.now();
    let reading: Vec<_> = shards.iter().map(|shard| Arc::clone(&shard.partition)).collect();
    let loading = tokio::task::spawn_blocking(move || {
        reading.iter().map(|partition| load(partition, config.clone(), now)).collect::<Vec<_>>()
    });
    let Ok(loaded) = loading.await else {
        for shard in &shards {
            shard.close(ErrorCode::NotCoordinator);
        }
        return;
    };
    let mut complete = true;
    let mut known = HashSet::new();
    for (shard, loaded) in shards.iter().zip(&loaded) {
        match loaded {
            Ok(machine) => {
                known.extend(machine.open_partitions().map(|(producer, p)| (producer, p.clone())));
            }
            Err(error) => {
                complete = false;
                tracing::error!(
                    topic = %shard.partition.topic, partition = shard.partition.index, %error,
                    "transactions of this partition cannot be loaded and are offline"
                );
            }
        }
    }
    if complete {
        // What the coordinator does not know can never be committed.
        let sweeping = Arc::clone(&node);
        if let Ok(told) = tokio::task::spawn_blocking(move || sweep(&sweeping, &known, now)).await {
            for (producer, partition, offset) in told {
                settle::tell_groups(&node, &[(partition, offset)], Some((producer, false))).await;
            }
        }
    }
    for (shard, loaded) in shards.iter().zip(loaded) {
        match loaded {
            Ok(machine) => shard.begin(machine),
            Err(_) => shard.close(ErrorCode::NotCoordinator),
        }
    }
    // Ends that a crash left half done.
    for shard in &shards {
        settle::complete_ending(&node, shard).await;
    }
}

/// Aborts every open transaction that is not in `known`. They come from a crash between an append and the state record
/// that was on its way beside it; their producers were never told that the append succeeded.
fn sweep(
    node: &Node,
    known: &HashSet<(i64, TxnPartition)>,
    now: Now,
) -> Vec<(Producer, Arc<Partition>, i64)> {
    let mut told = Vec::new();
    for topic in node.replicas.all() {
        for partition in &topic.partitions {
            let Ok(log) = partition.log() else { continue };
            if log.last_stable_offset() >= log.high_watermark() {
                continue;
            }
            let name = TxnPartition::new(Arc::clone(&topic.name), partition.index);
            for found in log.active_producers() {
                if found.current_txn_first_offset.is_none()
                    || known.contains(&(found.producer_id, name.clone()))
                {
                    continue;
                }
                let producer = Producer { id: found.producer_id, epoch: found.epoch };
                match abort(log, partition, producer, found.coordinator_epoch.max(0), now) {
                    Ok(offset) => {
                        tracing::info!(
                            topic = %topic.name, partition = partition.index, producer_id = producer.id,
                            "aborted a transaction that the coordinator does not know"
                        );
                        told.push((producer, Arc::clone(partition), offset));
                    }
                    Err(error) => tracing::error!(
                        topic = %topic.name, partition = partition.index, producer_id = producer.id, %error,
                        "a transaction hangs: it cannot be aborted"
                    ),
                }
            }
        }
    }
    told
}

fn abort(
    log: &Arc<Log>,
    partition: &Partition,
    producer: Producer,
    coordinator_epoch: i32,
    now: Now,
) -> Result<i64, LogError> {
    let marker = end_transaction_marker(producer.id, producer.epoch, false, coordinator_epoch, now.wall_ms)
        .map_err(|error| LogError::Invalid(error.to_string()))?;
    let appended = log.append(AppendBatches::coordinator(marker.into(), partition.leader_epoch()))?;
    Ok(appended.last_offset)
}

/// Replays one partition.
fn load(partition: &Partition, config: TxnConfig, now: Now) -> Result<TxnShard, LogError> {
    let mut shard = TxnShard::new(config);
    state_topic::replay(partition.log()?, |batch, record, key| {
        if batch.is_control() { Ok(()) } else { shard.replay(key, record.value, now) }
    })?;
    Ok(shard)
}
