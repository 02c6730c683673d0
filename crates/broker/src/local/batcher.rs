//! Gathers single records into batches: what comes while an append to a partition is on its way to stable storage
//! goes into the next one, so that batches grow with the load and an idle broker adds no delay.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use client::door::{Ack, DoorError, Record};
use kafka_codec::records::{BatchBuilder, Compression};
use log::{AppendBatches, Log};
use parking_lot::Mutex;

use super::errors::{of_log, of_records};
use crate::replica::Partition;

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
    /// Those who wait for the append only.
    leaders: Vec<Waker>,
    /// Those who wait until it is durable.
    all: Vec<Waker>,
}

impl FateState {
    fn waiting(&mut self, ack: Ack) -> &mut Vec<Waker> {
        match ack {
            Ack::Leader => &mut self.leaders,
            Ack::All => &mut self.all,
        }
    }

    fn is_over(&self) -> bool {
        self.durable || matches!(self.appended, Some(Err(_)))
    }
}

impl Fate {
    /// Changes the state and wakes those who have an answer now, each once.
    fn settle(&self, change: impl FnOnce(&mut FateState)) {
        let (leaders, all) = {
            let mut state = self.state.lock();
            change(&mut state);
            let all = if state.is_over() { std::mem::take(&mut state.all) } else { Vec::new() };
            (std::mem::take(&mut state.leaders), all)
        };
        for waker in leaders.into_iter().chain(all) {
            waker.wake();
        }
    }
}

/// Waits for the append of records that stand side by side in one batch.
pub(crate) struct Appending {
    fate: Arc<Fate>,
    /// Place of the first record in the batch.
    index: i64,
    count: i64,
    ack: Ack,
    /// Place of this appender's waker.
    place: Option<usize>,
}

impl Future for Appending {
    type Output = Result<i64, DoorError>;

    /// The offset of the first record.
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
        let wakers = state.waiting(this.ack);
        match this.place.and_then(|place| wakers.get_mut(place)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                this.place = Some(wakers.len());
                wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// Waits for records of one appender: runs of them in one batch each, and refused ones between.
pub(crate) struct AppendingAll {
    runs: VecDeque<Run>,
    results: Vec<Result<i64, DoorError>>,
}

enum Run {
    Taken(Appending),
    Refused(DoorError),
}

impl AppendingAll {
    pub(crate) fn new(count: usize) -> Self {
        Self { runs: VecDeque::with_capacity(1), results: Vec::with_capacity(count) }
    }

    pub(crate) fn refuse(&mut self, error: DoorError) {
        self.runs.push_back(Run::Refused(error));
    }
}

impl Future for AppendingAll {
    type Output = Vec<Result<i64, DoorError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(run) = this.runs.front_mut() {
            match run {
                Run::Refused(error) => this.results.push(Err(error.clone())),
                Run::Taken(appending) => {
                    let count = appending.count;
                    match Pin::new(appending).poll(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(first)) => this.results.extend((first..first + count).map(Ok)),
                        Poll::Ready(Err(error)) => {
                            this.results.extend((0..count).map(|_| Err(error.clone())));
                        }
                    }
                }
            }
            this.runs.pop_front();
        }
        Poll::Ready(std::mem::take(&mut this.results))
    }
}

/// One partition's gathering.
#[derive(Default)]
pub(crate) struct Batcher {
    state: Mutex<BatcherState>,
    /// The durable end moved while somebody held the lock, who has to look again.
    missed: AtomicBool,
}

#[derive(Default)]
struct BatcherState {
    /// Records of the next batch; never more than one batch may hold.
    gathered: Vec<Record>,
    gathered_bytes: usize,
    fate: Arc<Fate>,
    /// Batches appended and not yet durable: offset of their last record, and whom to tell.
    under_way: Vec<(i64, Arc<Fate>)>,
}

impl Batcher {
    /// Takes a record; appends at once when nothing is under way.
    pub(crate) fn push(&self, partition: &Partition, record: Record, ack: Ack) -> Appending {
        let mut state = self.state.lock();
        let limit = batch_limit(partition);
        state.make_room(partition, &record, limit);
        let appending = state.gather(record, ack);
        state.append_if_idle(partition);
        drop(state);
        self.look_again(partition);
        appending
    }

    /// Takes records that stand together unless a batch would grow too large; appends at once when nothing is
    /// under way.
    pub(crate) fn push_all(
        &self,
        partition: &Partition,
        records: impl Iterator<Item = Result<Record, DoorError>>,
        ack: Ack,
        appending: &mut AppendingAll,
    ) {
        let limit = batch_limit(partition);
        let mut state = self.state.lock();
        for record in records {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    appending.refuse(error);
                    continue;
                }
            };
            state.make_room(partition, &record, limit);
            let one = state.gather(record, ack);
            match appending.runs.back_mut() {
                Some(Run::Taken(run)) if Arc::ptr_eq(&run.fate, &one.fate) => run.count += 1,
                _ => appending.runs.push_back(Run::Taken(one)),
            }
        }
        state.append_if_idle(partition);
        drop(state);
        self.look_again(partition);
    }

    /// Appends what is gathered now, whatever is under way: something else must come after it.
    pub(crate) fn flush(&self, partition: &Partition) {
        let mut state = self.state.lock();
        if !state.gathered.is_empty() {
            state.append(partition);
        }
        drop(state);
        self.look_again(partition);
    }

    /// The durable end has moved: tells those whom it concerns and begins the next batch.
    pub(crate) fn advanced(&self, partition: &Partition) {
        let mut state = self.state.lock();
        let done = state.take_done(partition);
        state.append_if_idle(partition);
        drop(state);
        settle(done, partition);
        self.look_again(partition);
    }

    /// The durable end has moved, as the log's committing thread tells, for which an appender may be waiting with
    /// the lock in its hand: never blocks. `true`: there is a batch to be begun, by [`Batcher::advanced`].
    pub(crate) fn advanced_now(&self, partition: &Partition) -> bool {
        loop {
            if let Some(mut state) = self.state.try_lock() {
                let done = state.take_done(partition);
                let next = state.under_way.is_empty() && !state.gathered.is_empty();
                drop(state);
                settle(done, partition);
                return next;
            }
            // Whoever holds the lock looks after letting go; if that was before this store, the lock is free.
            if self.missed.swap(true, Ordering::SeqCst) {
                return false;
            }
        }
    }

    /// Does what [`Batcher::advanced_now`] could not do because the lock was taken.
    fn look_again(&self, partition: &Partition) {
        while self.missed.swap(false, Ordering::SeqCst) {
            let mut state = self.state.lock();
            let done = state.take_done(partition);
            state.append_if_idle(partition);
            drop(state);
            settle(done, partition);
        }
    }
}

/// Batches whose wait is over, and whether they are durable.
type Done = Vec<(bool, Arc<Fate>)>;

fn settle(done: Done, partition: &Partition) {
    if done.is_empty() {
        return;
    }
    let failure = partition.failure();
    for (durable, fate) in done {
        fate.settle(|state| match &failure {
            _ if durable => state.durable = true,
            Some(error) => state.appended = Some(Err(of_log(error))),
            None => {}
        });
    }
}

/// Largest batch that may be gathered for a partition.
fn batch_limit(partition: &Partition) -> usize {
    usize::try_from(partition.config().max_message_bytes).unwrap_or(0).min(BATCH_BYTES_MAX)
}

impl BatcherState {
    /// Begins the batch that waits when `record` would make it larger than `limit`.
    fn make_room(&mut self, partition: &Partition, record: &Record, limit: usize) {
        let bytes = BATCH_OVERHEAD_BYTES + self.gathered_bytes + record_bytes(record);
        if !self.gathered.is_empty() && bytes > limit {
            self.append(partition);
        }
    }

    fn gather(&mut self, record: Record, ack: Ack) -> Appending {
        let index = i64::try_from(self.gathered.len()).unwrap_or(i64::MAX);
        self.gathered_bytes += record_bytes(&record);
        self.gathered.push(record);
        Appending { fate: Arc::clone(&self.fate), index, count: 1, ack, place: None }
    }

    fn append_if_idle(&mut self, partition: &Partition) {
        if self.under_way.is_empty() && !self.gathered.is_empty() {
            self.append(partition);
        }
    }

    fn take_done(&mut self, partition: &Partition) -> Done {
        let mut done = Vec::new();
        if self.under_way.is_empty() {
            return done;
        }
        let Ok(log) = partition.log() else { return done };
        let end = log.durable_end();
        let failed = partition.failure().is_some();
        self.under_way.retain(|(last, fate)| {
            let waits = *last >= end && !failed;
            if !waits {
                done.push((*last < end, Arc::clone(fate)));
            }
            waits
        });
        done
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
    fn every_appender_is_woken_once_when_its_ack_holds_whatever_the_order_they_poll_in() {
        let fate = Arc::new(Fate::default());
        let wakes: Vec<Arc<Wakes>> = (0..3).map(|_| Arc::default()).collect();
        let mut appenders: Vec<Appending> = (0..3)
            .map(|index| Appending { fate: Arc::clone(&fate), index, count: 1, ack: Ack::All, place: None })
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
            assert_eq!(wakes.0.load(std::sync::atomic::Ordering::Relaxed), 1, "appender {index}");
            assert_eq!(poll(appender, wakes), Poll::Ready(10 + index as i64));
        }
    }
}
