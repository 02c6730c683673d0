//! Writing the end of a transaction: to its state, to all its partitions, to the groups whose offsets are in it.

use std::sync::Arc;
use std::time::Duration;

use coordinator::txn::{Change, Markers, Producer, TxnPartition};
use coordinator::{ErrorCode, Now};
use kafka_codec::records::end_transaction_marker;
use log::{AppendBatches, Log, LogError};
use tokio::sync::oneshot;

use super::shard::{Open, Shard};
use crate::groups::OFFSETS_TOPIC;
use crate::node::Node;
use crate::replica::Partition;
use crate::state_topic::{Written, durable, to_client};

/// How often an end that could not be told to all partitions is tried again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Partitions told in one atomic append. More are told in several, before the last one completes the end.
const MARKERS_MAX: usize = 5_000;

/// Told when the end of a transaction is durable.
pub(super) type Done = oneshot::Receiver<Result<(), ErrorCode>>;

/// Writes an end as one step, or, when a partition cannot be told now, its decision; the rest then follows by
/// [`complete_ending`].
///
/// # Errors
/// Nothing was written.
pub(super) fn end(
    node: &Arc<Node>,
    shard: &Arc<Shard>,
    open: &mut Open,
    change: Change,
    now: Now,
) -> Result<Done, ErrorCode> {
    let transactional_id = change.transactional_id.clone();
    let markers = change.markers.clone();
    let whole = match &markers {
        Some(markers) => write_whole(node, shard, open, &change, markers, now)?,
        None => None,
    };
    let follow_up = match whole {
        Some(whole) => whole,
        None => {
            let decision = change.decision_only().ok_or(ErrorCode::CoordinatorNotAvailable)?;
            FollowUp { state: shard.write(open, decision, now)?, told: Vec::new(), ended: None }
        }
    };
    open.settle(&transactional_id);
    Ok(follow_up.spawn(node, shard, transactional_id))
}

/// What has to happen once an append is durable.
struct FollowUp {
    state: Written,
    told: Vec<Written>,
    /// The transaction that ended: what the groups' shards must hear.
    ended: Option<(Producer, bool)>,
}

impl FollowUp {
    /// Waits for durability, tells the groups, lets the next transaction begin. Goes on when the client is gone.
    fn spawn(self, node: &Arc<Node>, shard: &Arc<Shard>, transactional_id: String) -> Done {
        let (sender, receiver) = oneshot::channel();
        let (node, shard) = (Arc::clone(node), Arc::clone(shard));
        tokio::spawn(async move {
            let done = durable(&self.state).await;
            tell_groups(&node, &self.told, self.ended).await;
            shard.settled(&transactional_id);
            // Whoever asked may have gone.
            let _ = sender.send(done);
        });
        receiver
    }
}

/// Waits until markers are durable, then tells the groups whose offsets they decide about.
pub(crate) async fn tell_groups(node: &Node, told: &[Written], ended: Option<(Producer, bool)>) {
    for (partition, offset) in told {
        // A log that failed keeps its marker in the journal: it is there after the next start.
        let durable = partition.durable(*offset).await;
        if let Some((producer, commit)) = ended.filter(|_| durable.is_ok() && is_of_groups(partition)) {
            node.groups.transaction_ended(partition.index, producer.id, commit);
        }
    }
}

fn is_of_groups(partition: &Partition) -> bool {
    *partition.topic == *OFFSETS_TOPIC
}

/// A partition of a transaction as it is now.
enum Target {
    Writable(Arc<Partition>, Arc<Log>),
    /// Its topic was deleted: nobody is left to be told.
    Gone,
    /// Its log failed or could not be opened.
    Offline,
}

fn target(node: &Node, partition: &TxnPartition) -> Target {
    let Some(found) = node.replicas.partition(&partition.topic, partition.partition) else {
        return if node.state().image.topic(&partition.topic).is_some() {
            Target::Offline
        } else {
            Target::Gone
        };
    };
    match found.log() {
        Ok(log) if log.failure().is_none() => Target::Writable(Arc::clone(&found), Arc::clone(log)),
        _ if found.is_deleted() => Target::Gone,
        _ => Target::Offline,
    }
}

/// The whole end in one atomic append; `None` if that is not possible now.
fn write_whole(
    node: &Node,
    shard: &Shard,
    open: &mut Open,
    change: &Change,
    markers: &Markers,
    now: Now,
) -> Result<Option<FollowUp>, ErrorCode> {
    let mut partitions = Vec::with_capacity(markers.partitions.len());
    for wanted in &markers.partitions {
        match target(node, wanted) {
            Target::Writable(partition, log) => partitions.push((partition, log)),
            Target::Gone => {}
            Target::Offline => return Ok(None),
        }
    }
    if partitions.len() > MARKERS_MAX {
        return Ok(None);
    }
    let state_log = shard.partition.log().map_err(|error| to_client(&error))?;
    let mut appends = Vec::with_capacity(partitions.len() + 1);
    appends.push((Arc::clone(state_log), shard.batch(change, now)?));
    for (partition, log) in &partitions {
        let marker = marker(shard, markers, partition, now)?;
        appends.push((Arc::clone(log), marker));
    }
    match node.replicas.dir.append_atomic(appends) {
        Ok(appended) => {
            let mut offsets = appended.into_iter().map(|appended| appended.last_offset);
            let state = (Arc::clone(&shard.partition), offsets.next().unwrap_or(-1));
            let told = partitions.into_iter().map(|(partition, _)| partition).zip(offsets).collect();
            open.machine.apply(change.clone());
            open.told.remove(&change.transactional_id);
            Ok(Some(FollowUp { state, told, ended: Some((markers.producer, markers.commit)) }))
        }
        Err(error) => {
            tracing::warn!(
                transactional_id = change.transactional_id, %error,
                "the end of a transaction cannot be written to all its partitions at once"
            );
            Ok(None)
        }
    }
}

fn marker(
    shard: &Shard,
    markers: &Markers,
    partition: &Partition,
    now: Now,
) -> Result<AppendBatches, ErrorCode> {
    let Producer { id, epoch } = markers.producer;
    let bytes =
        end_transaction_marker(id, epoch, markers.commit, shard.partition.leader_epoch(), now.wall_ms)
            .map_err(|_| ErrorCode::UnknownServerError)?;
    Ok(AppendBatches::coordinator(bytes.into(), partition.leader_epoch()))
}

/// Ends transactions that have been open for longer than their timeout; their producers are fenced.
pub(super) fn abort_timed_out(node: &Arc<Node>, shard: &Arc<Shard>) {
    let now = node.groups.now();
    let _ = shard.with_open(|open| {
        for id in open.machine.timed_out(now) {
            if open.is_settling(&id) {
                continue;
            }
            let Some(change) = open.machine.fence(&id, now) else { continue };
            match end(node, shard, open, change, now) {
                Ok(_) => tracing::info!(transactional_id = id, "transaction aborted: its timeout is over"),
                Err(error) => tracing::warn!(
                    transactional_id = id,
                    error = error.name(),
                    "a transaction past its timeout cannot be aborted yet"
                ),
            }
        }
        Ok(())
    });
}

/// Goes on with ends that were decided and not completed.
pub(super) async fn complete_ending(node: &Arc<Node>, shard: &Arc<Shard>) {
    let now = node.groups.now();
    let ending = shard.with_open(|open| Ok(open.machine.ending())).unwrap_or_default();
    for id in ending {
        while let Some(step) = complete_step(node, shard, &id, now) {
            let Step { partitions, told, ended } = step;
            tell_groups(node, &told, ended).await;
            let _ = shard.with_open(|open| {
                open.told.entry(id.clone()).or_default().extend(partitions);
                Ok(())
            });
        }
    }
}

/// Partitions that were told apart from the end's completion.
struct Step {
    partitions: Vec<TxnPartition>,
    told: Vec<Written>,
    ended: Option<(Producer, bool)>,
}

/// Completes an end if all partitions that are left can be told with it; else tells those that can be told. `None`:
/// nothing (more) can be done now.
fn complete_step(node: &Arc<Node>, shard: &Arc<Shard>, id: &str, now: Now) -> Option<Step> {
    let step = shard.with_open(|open| {
        if open.is_settling(id) {
            return Ok(None);
        }
        let Some(mut change) = open.machine.complete(id, now) else { return Ok(None) };
        let Some(mut markers) = change.markers.take() else { return Ok(None) };
        let told = open.told.get(id);
        markers.partitions.retain(|partition| told.is_none_or(|told| !told.contains(partition)));
        if let Some(follow_up) = write_whole(node, shard, open, &change, &markers, now)? {
            open.settle(id);
            follow_up.spawn(node, shard, id.to_owned());
            return Ok(None);
        }
        tell_some(node, shard, &markers, now)
    });
    step.unwrap_or_default()
}

fn tell_some(node: &Node, shard: &Shard, markers: &Markers, now: Now) -> Result<Option<Step>, ErrorCode> {
    let mut step =
        Step { partitions: Vec::new(), told: Vec::new(), ended: Some((markers.producer, markers.commit)) };
    for wanted in &markers.partitions {
        if step.partitions.len() >= MARKERS_MAX {
            break;
        }
        let Target::Writable(partition, log) = target(node, wanted) else { continue };
        match log.append(marker(shard, markers, &partition, now)?) {
            Ok(appended) => {
                step.partitions.push(wanted.clone());
                step.told.push((partition, appended.last_offset));
            }
            Err(LogError::InvalidProducerEpoch { .. } | LogError::CoordinatorFenced { .. }) => {
                // A newer end has been told to it before (an administrator's).
                step.partitions.push(wanted.clone());
            }
            Err(error) => partition.report_refusal(&error),
        }
    }
    Ok((!step.partitions.is_empty()).then_some(step))
}
