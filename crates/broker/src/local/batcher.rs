//! Gathers single records into batches: what comes while an append to a partition is on its way to stable storage
//! goes into the next one, so that batches grow with the load and an idle broker adds no delay.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use client::door::{Ack, DoorError, Record};
use kafka_codec::records::{BatchBuilder, Compression};
use log::{AppendBatches, Log};
use parking_lot::Mutex;

use super::errors::{of_log, of_records};
use crate::replica::Partition;

/// Records that may wait for their append, of one partition; further ones wait outside.
pub(crate) const GATHERED_RECORDS_MAX: usize = 16 << 10;
/// Bytes that may wait for their append, of one partition.
pub(crate) const GATHERED_BYTES_MAX: usize = 8 << 20;
/// A batch is closed before it grows past this.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// What a record takes in a batch besides key, value and headers, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;
/// What a header takes besides name and value, at most.
const HEADER_OVERHEAD_BYTES: usize = 10;
/// What a batch takes besides its records.
const BATCH_OVERHEAD_BYTES: usize = 61;

/// Bytes that a record takes alone in a batch, at most.
pub(crate) fn batch_bytes(record: &Record) -> usize {
    BATCH_OVERHEAD_BYTES + record_bytes(record)
}

fn record_bytes(record: &Record) -> usize {
    let part = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers = record.headers.iter().map(|h| HEADER_OVERHEAD_BYTES + h.key.len() + part(&h.value));
    RECORD_OVERHEAD_BYTES + part(&record.key) + part(&record.value) + headers.sum::<usize>()
}

/// Puts records into one batch.
///
/// # Errors
/// More than a batch can hold.
pub(crate) fn build<'a>(
    records: impl Iterator<Item = &'a Record>,
    now_ms: i64,
) -> Result<bytes::Bytes, DoorError> {
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        let headers = record.headers.iter().map(|header| (&*header.key, header.value.as_deref()));
        let timestamp_ms = record.timestamp_ms.unwrap_or(now_ms);
        builder
            .push(timestamp_ms, record.key.as_deref(), record.value.as_deref(), headers)
            .map_err(|error| of_records(&error))?;
    }
    Ok(builder.build().map_err(|error| of_records(&error))?.into())
}

/// What became of the records gathered into one batch; each appender holds it with its place in the batch.
#[derive(Debug, Default)]
struct Fate {
    state: Mutex<FateState>,
}

#[derive(Debug, Default)]
struct FateState {
    /// Base offset once appended.
    appended: Option<Result<i64, DoorError>>,
    durable: bool,
    wakers: Vec<Waker>,
    /// How often the wakers were taken: a place among them holds for one round only.
    round: u32,
}

impl Fate {
    fn settle(&self, change: impl FnOnce(&mut FateState)) {
        let wakers = {
            let mut state = self.state.lock();
            change(&mut state);
            state.round += 1;
            std::mem::take(&mut state.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }
}

/// Waits for one record's append.
pub(crate) struct Appending {
    fate: Arc<Fate>,
    index: i64,
    ack: Ack,
    /// Round and place of this appender's waker.
    place: Option<(u32, usize)>,
}

impl Future for Appending {
    type Output = Result<i64, DoorError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.fate.state.lock();
        match &state.appended {
            Some(Err(error)) => return Poll::Ready(Err(error.clone())),
            Some(Ok(base)) if this.ack == Ack::Leader || state.durable => {
                return Poll::Ready(Ok(base + this.index));
            }
            _ => {}
        }
        let round = state.round;
        let place = this.place.filter(|(of, _)| *of == round).map(|(_, place)| place);
        match place.and_then(|place| state.wakers.get_mut(place)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                this.place = Some((round, state.wakers.len()));
                state.wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// One partition's gathering.
#[derive(Default)]
pub(crate) struct Batcher {
    state: Mutex<BatcherState>,
}

#[derive(Default)]
struct BatcherState {
    /// Records of the next batch.
    gathered: Vec<Record>,
    gathered_bytes: usize,
    fate: Arc<Fate>,
    /// Batches appended and not yet durable: offset of their last record, and whom to tell.
    under_way: Vec<(i64, Arc<Fate>)>,
}

/// The gathering is full; try again when something was appended.
pub(crate) struct Full(pub(crate) Record);

impl Batcher {
    /// Takes a record; appends at once when nothing is under way.
    pub(crate) fn push(&self, partition: &Partition, record: Record, ack: Ack) -> Result<Appending, Full> {
        let mut state = self.state.lock();
        if state.gathered.len() >= GATHERED_RECORDS_MAX || state.gathered_bytes >= GATHERED_BYTES_MAX {
            return Err(Full(record));
        }
        let bytes = record_bytes(&record);
        if !state.gathered.is_empty() && state.batch_bytes() + bytes > batch_limit(partition) {
            // Another batch of this size would be too large for the topic.
            state.append(partition);
        }
        let index = i64::try_from(state.gathered.len()).unwrap_or(i64::MAX);
        let appending = Appending { fate: Arc::clone(&state.fate), index, ack, place: None };
        state.gathered_bytes += bytes;
        state.gathered.push(record);
        if state.under_way.is_empty() {
            state.append(partition);
        }
        Ok(appending)
    }

    /// Appends what is gathered now, whatever is under way: something else must come after it.
    pub(crate) fn flush(&self, partition: &Partition) {
        let mut state = self.state.lock();
        if !state.gathered.is_empty() {
            state.append(partition);
        }
    }

    /// The durable end has moved: tells those whom it concerns and begins the next batch.
    pub(crate) fn advanced(&self, partition: &Partition) {
        let Ok(log) = partition.log() else { return };
        let end = log.durable_end();
        let failure = partition.failure();
        let mut done = Vec::new();
        {
            let mut state = self.state.lock();
            state.under_way.retain(|(last, fate)| {
                let waits = *last >= end && failure.is_none();
                if !waits {
                    done.push((*last < end, Arc::clone(fate)));
                }
                waits
            });
            if state.under_way.is_empty() && !state.gathered.is_empty() {
                state.append(partition);
            }
        }
        for (durable, fate) in done {
            fate.settle(|state| match &failure {
                _ if durable => state.durable = true,
                Some(error) => state.appended = Some(Err(of_log(error))),
                None => {}
            });
        }
    }

    /// Whether anything waits for the durable end. Called on the log's committing thread, for which an appender
    /// may be waiting with the lock in its hand: never blocks, and says yes when it cannot look.
    pub(crate) fn waits(&self) -> bool {
        self.state.try_lock().is_none_or(|state| !state.under_way.is_empty())
    }
}

/// Largest batch that may be gathered for a partition.
fn batch_limit(partition: &Partition) -> usize {
    usize::try_from(partition.config().max_message_bytes).unwrap_or(0).min(BATCH_BYTES_MAX)
}

impl BatcherState {
    fn batch_bytes(&self) -> usize {
        BATCH_OVERHEAD_BYTES + self.gathered_bytes
    }

    fn append(&mut self, partition: &Partition) {
        let records = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let fate = std::mem::take(&mut self.fate);
        let appended = append(partition, &records);
        // The allocation serves the next batch.
        self.gathered = records;
        self.gathered.clear();
        match appended {
            Ok((base, last, durable)) => {
                fate.settle(|state| {
                    state.appended = Some(Ok(base));
                    state.durable = durable;
                });
                if !durable {
                    self.under_way.push((last, fate));
                }
            }
            Err(error) => fate.settle(|state| state.appended = Some(Err(error))),
        }
    }
}

fn append(partition: &Partition, records: &[Record]) -> Result<(i64, i64, bool), DoorError> {
    let log: &Arc<Log> = partition.log().map_err(|error| of_log(&error))?;
    let bytes = build(records.iter(), crate::api::now_ms())?;
    let batches = AppendBatches { validated: true, ..AppendBatches::client(bytes, partition.leader_epoch()) };
    match log.append(batches) {
        Ok(appended) => {
            let durable = log.durable_end() > appended.last_offset;
            Ok((appended.base_offset, appended.last_offset, durable))
        }
        Err(error) => {
            partition.report_refusal(&error);
            Err(of_log(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts its wake-ups.
    #[derive(Default)]
    struct Wakes(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn every_appender_is_woken_at_the_append_and_again_when_it_is_durable_whatever_the_order_they_poll_in() {
        let fate = Arc::new(Fate::default());
        let wakes: Vec<Arc<Wakes>> = (0..3).map(|_| Arc::default()).collect();
        let mut appenders: Vec<Appending> = (0..3)
            .map(|index| Appending { fate: Arc::clone(&fate), index, ack: Ack::All, place: None })
            .collect();
        let poll = |appender: &mut Appending, wakes: &Arc<Wakes>| {
            let waker = Waker::from(Arc::clone(wakes));
            Pin::new(appender).poll(&mut Context::from_waker(&waker)).map(|offset| offset.expect("appended"))
        };
        for (appender, wakes) in appenders.iter_mut().zip(&wakes) {
            assert_eq!(poll(appender, wakes), Poll::Pending);
        }
        fate.settle(|state| state.appended = Some(Ok(10)));
        for (appender, wakes) in appenders.iter_mut().zip(&wakes).rev() {
            assert_eq!(poll(appender, wakes), Poll::Pending);
        }
        fate.settle(|state| state.durable = true);
        for (index, (appender, wakes)) in appenders.iter_mut().zip(&wakes).enumerate() {
            assert_eq!(wakes.0.load(std::sync::atomic::Ordering::Relaxed), 2, "appender {index}");
            assert_eq!(poll(appender, wakes), Poll::Ready(10 + index as i64));
        }
    }
}
