//! Topics in which coordinators keep their state: how they are made and read back, and the gate before a state machine
//! that is still being read.

use std::sync::Arc;
use std::time::Duration;

use coordinator::{CoordinatorError, ErrorCode};
use kafka_codec::records::{self, BatchHeader, Batches, Record};
use log::{Log, LogError, ReadLimit, ReadRequest};
use meta::MetaError;
use meta::config::BrokerProperties;
use meta::controller::{self, NewTopic};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::node::{Node, random_uuid};
use crate::replica::Partition;

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Most that one batch may decompress to. This broker writes its own batches uncompressed; others' files may not be.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Where something was written: durable when the partition is past the offset.
pub(crate) type Written = (Arc<Partition>, i64);

/// Waits until something is on stable storage.
///
/// # Errors
/// COORDINATOR_NOT_AVAILABLE: the log failed.
pub(crate) async fn durable((partition, offset): &Written) -> Result<(), ErrorCode> {
    partition.durable(*offset).await.map_err(|_| ErrorCode::CoordinatorNotAvailable)
}

/// Makes a topic of the broker's own unless it is there.
///
/// # Errors
/// Why the topic cannot be created.
pub(crate) async fn ensure(
    node: &Arc<Node>,
    name: &str,
    describe: impl FnOnce(&BrokerProperties) -> NewTopic,
) -> Result<(), MetaError> {
    if node.state().image.topic(name).is_some() {
        return Ok(());
    }
    node.metadata
        .change(|state| {
            if state.image.topic(name).is_some() {
                return Ok((Vec::new(), ()));
            }
            let placement = node.placement(&state.properties);
            let topic = describe(&state.properties);
            let plan = controller::create_topic(&state.image, &placement, &topic, random_uuid())?;
            Ok((plan.records, ()))
        })
        .await
}

/// Hands every record with a key to `each`, in order, with its batch's header.
///
/// # Errors
/// [`LogError`] when the log cannot be read to its end. A record that makes no sense is passed over with a warning: one
/// group or transactional id must not hide all others.
pub(crate) fn replay(
    log: &Log,
    mut each: impl FnMut(&BatchHeader, &Record<'_>, &[u8]) -> Result<(), CoordinatorError>,
) -> Result<(), LogError> {
    let mut offset = log.log_start();
    let end = log.durable_end();
    let mut scratch = Vec::new();
    while offset < end {
        let request =
            ReadRequest { offset, max_bytes: READ_BYTES, at_least_one: true, limit: ReadLimit::DurableEnd };
        let (_, bytes) = log.read_bytes(&request)?;
        let before = offset;
        for batch in Batches::new(&bytes) {
            let invalid = |error: &dyn std::fmt::Display| LogError::InvalidBatch {
                partition: log.partition().clone(),
                reason: error.to_string(),
            };
            let batch = batch.map_err(|error| invalid(&error))?;
            offset = batch.header.next_offset();
            let records =
                records::records(&batch, BATCH_BYTES_MAX, &mut scratch).map_err(|error| invalid(&error))?;
            for record in records {
                let record = record.map_err(|error| invalid(&error))?;
                let Some(key) = record.key else { continue };
                if let Err(error) = each(&batch.header, &record, key) {
                    tracing::warn!(
                        partition = %log.partition(), offset = record.offset, %error,
                        "coordinator record passed over"
                    );
                }
            }
        }
        if offset == before {
            let reason = format!("nothing can be read at offset {offset}, before the end at {end}");
            return Err(LogError::InvalidBatch { partition: log.partition().clone(), reason });
        }
    }
    Ok(())
}

/// What the client is told of a failure of a coordinator's log.
pub(crate) fn to_client(error: &LogError) -> ErrorCode {
    match error {
        LogError::NoSpace { .. } => ErrorCode::CoordinatorNotAvailable,
        LogError::Offline { .. } | LogError::Closed(_) | LogError::UnknownLog(_) => ErrorCode::NotCoordinator,
        _ => ErrorCode::UnknownServerError,
    }
}

/// A lock around a state machine that first has to be read, and is given up at the end.
pub(crate) struct Gate<T> {
    phase: Mutex<Phase<T>>,
    loaded: watch::Sender<bool>,
}

enum Phase<T> {
    Loading,
    Open(Box<T>),
    Closed(ErrorCode),
}

impl<T> Gate<T> {
    /// Still being read.
    pub(crate) fn new() -> Self {
        Self { phase: Mutex::new(Phase::Loading), loaded: watch::Sender::new(false) }
    }

    /// Whether it was given up.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.phase.lock(), Phase::Closed(_))
    }

    /// Waits until it has been read or given up; false if that takes too long.
    pub(crate) async fn wait_loaded(&self, patience: Duration) -> bool {
        if *self.loaded.borrow() {
            return true;
        }
        let mut loaded = self.loaded.subscribe();
        tokio::time::timeout(patience, loaded.wait_for(|loaded| *loaded)).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Begins to answer.
    pub(crate) fn open(&self, machine: T) {
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Loading) {
            *phase = Phase::Open(Box::new(machine));
        }
        drop(phase);
        self.loaded.send_replace(true);
    }

    /// Gives it up: whoever asks from now on is told `error`.
    pub(crate) fn close(&self, error: ErrorCode) {
        *self.phase.lock() = Phase::Closed(error);
        self.loaded.send_replace(true);
    }

    /// Runs `work` on the open state machine.
    ///
    /// # Errors
    /// What `work` says, COORDINATOR_LOAD_IN_PROGRESS, or why it was given up.
    pub(crate) fn with<R, E: From<ErrorCode>>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        match &mut *self.phase.lock() {
            Phase::Open(open) => work(open),
            Phase::Loading => Err(ErrorCode::CoordinatorLoadInProgress.into()),
            Phase::Closed(error) => Err((*error).into()),
        }
    }
}
