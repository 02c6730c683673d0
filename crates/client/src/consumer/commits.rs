//! Commits offsets in the background, in the order they were asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_codec::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use super::GroupMetadata;
use super::group::Membership;
use crate::cluster::Purpose;
use crate::door::TopicPartition;
use crate::error::{Error, Result};
use crate::group_offsets;
use crate::record::OffsetAndMetadata;
use crate::retry::Retry;

/// Commits waiting at once; more are refused.
const QUEUED_MAX: usize = 1_000;

/// Kafka's words when the group has moved on.
const KICKED_OUT: &str = "Offset commit cannot be completed since the consumer is not part of an active group for \
    auto partition assignment; it is likely that the consumer was kicked out of the group.";

struct Commit {
    /// Who the consumer was when it asked: a commit of an older generation must not count for a newer one.
    group: GroupMetadata,
    offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    done: oneshot::Sender<Result<()>>,
}

/// The task's handle; the task ends after the last commit when this is dropped.
#[derive(Debug)]
pub(super) struct Committer {
    queue: mpsc::Sender<Commit>,
}

impl Committer {
    pub(super) fn start(membership: Arc<Membership>) -> Self {
        let (queue, mut commits) = mpsc::channel::<Commit>(QUEUED_MAX);
        tokio::spawn(async move {
            while let Some(commit) = commits.recv().await {
                let outcome = run(&membership, &commit.group, commit.offsets).await;
                if let Err(error) = &outcome {
                    tracing::debug!(%error, "commit failed");
                }
                let _ = commit.done.send(outcome);
            }
        });
        Self { queue }
    }

    /// Queues a commit.
    pub(super) fn commit(
        &self,
        group: GroupMetadata,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let (done, outcome) = oneshot::channel();
        if offsets.is_empty() {
            let _ = done.send(Ok(()));
            return Ok(outcome);
        }
        let commit = Commit { group, offsets, done };
        self.queue.try_send(commit).map_err(|_| {
            Error::Timeout(format!("{QUEUED_MAX} commits are waiting for the coordinator already"))
        })?;
        Ok(outcome)
    }
}

async fn run(
    membership: &Membership,
    group: &GroupMetadata,
    mut offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
) -> Result<()> {
    let config = &membership.config.client;
    let mut retry = Retry::new(config, config.default_api_timeout);
    let mut group = group.clone();
    loop {
        let attempt = async {
            let connection = membership.coordinator(Purpose::Offsets).await?;
            let limit = config.request_timeout.min(retry.remaining());
            let mut passing = None;
            for (partition, outcome) in group_offsets::commit(&connection, &group, &offsets, limit).await? {
                match outcome {
                    Ok(()) => {
                        offsets.remove(&partition);
                    }
                    Err(error)
                        if error.is_retriable() && error.code() != Some(ErrorCode::RebalanceInProgress) =>
                    {
                        passing = Some(error);
                    }
                    Err(error) => return Err(worded(error)),
                }
            }
            passing.map_or(Ok(()), Err)
        };
        match attempt.await {
            Ok(()) => return Ok(()),
            // The epoch has moved on under the commit; the member still holds its partitions.
            Err(error) if error.code() == Some(ErrorCode::StaleMemberEpoch) => {
                let now = membership.metadata();
                if now.generation < 0 || now.generation == group.generation {
                    return Err(Error::CommitFailed(KICKED_OUT.to_owned()));
                }
                group = now;
            }
            Err(error) => {
                membership.heed(&error);
                retry.after(error).await?;
            }
        }
    }
}

/// Errors of membership in the words of Kafka's `CommitFailedException`.
fn worded(error: Error) -> Error {
    match error.code() {
        Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId) => {
            Error::CommitFailed(KICKED_OUT.to_owned())
        }
        Some(ErrorCode::RebalanceInProgress) => Error::CommitFailed(
            "Offset commit cannot be completed since the consumer is undergoing a rebalance for auto partition \
             assignment. You can try completing the rebalance by calling poll() and then retry the operation."
                .to_owned(),
        ),
        _ => error,
    }
}
