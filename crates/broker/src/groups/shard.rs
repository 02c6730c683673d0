//! One partition of `__consumer_offsets`: its state machine, those who wait for it, its task.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coordinator::{
    ErrorCode, GroupCoordinatorConfig, GroupShard, Now, Output, Reply, Request, RequestId, Response, Ticket,
    TopicCatalog,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, OptionFuture};
use kafka_codec::records::{BatchBuilder, Compression};
use log::{AppendBatches, Appended, LogError};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use super::catalog::Catalog;
use super::load;
use crate::node::Node;
use crate::replica::Partition;

/// The groups of one partition.
pub(super) struct Shard {
    partition: Arc<Partition>,
    config: GroupCoordinatorConfig,
    phase: Mutex<Phase>,
    loaded: watch::Sender<bool>,
    /// Transactions that ended while the shard was still reading: producer id, whether it was a commit.
    ended: Mutex<Vec<(i64, bool)>>,
    /// Wakes the task: something is under way, or a deadline came nearer.
    wake: Notify,
}

enum Phase {
    Loading,
    Open(Box<Open>),
    Closed(ErrorCode),
}

/// A shard that answers.
struct Open {
    machine: GroupShard,
    waiting: HashMap<RequestId, oneshot::Sender<Response>>,
    next_request: u64,
    in_flight: VecDeque<InFlight>,
    /// Deadline the task sleeps for.
    sleeps_until_ms: Option<i64>,
    /// The log failed: close as soon as the present call is over.
    broken: bool,
}

/// Records that the log took and has not made durable yet.
struct InFlight {
    last_offset: i64,
    ticket: Ticket,
    deferred: Vec<Reply>,
}

impl Shard {
    pub(super) fn new(partition: Arc<Partition>, config: GroupCoordinatorConfig) -> Self {
        Self {
            partition,
            config,
            phase: Mutex::new(Phase::Loading),
            loaded: watch::Sender::new(false),
            ended: Mutex::new(Vec::new()),
            wake: Notify::new(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.phase.lock(), Phase::Closed(_))
    }

    /// Waits until the shard has left the loading phase; false if that takes too long.
    pub(super) async fn wait_loaded(&self, patience: Duration) -> bool {
        if *self.loaded.borrow() {
            return true;
        }
        let mut loaded = self.loaded.subscribe();
        tokio::time::timeout(patience, loaded.wait_for(|loaded| *loaded)).await.is_ok()
    }

    /// Asks the state machine; `None` when the shard goes away before it has an answer.
    pub(super) async fn ask(&self, request: Request, now: Now) -> Option<Response> {
        self.begin_ask(request, now).await.ok()
    }

    /// Asks the state machine at once; what it answers comes later.
    pub(super) fn begin_ask(&self, request: Request, now: Now) -> oneshot::Receiver<Response> {
        let (sender, receiver) = oneshot::channel();
        let mut asked = Some((request, sender));
        let taken = self.with_open(now, |open, shard| {
            let Some((request, sender)) = asked.take() else { return };
            let id = RequestId(open.next_request);
            open.next_request += 1;
            open.waiting.insert(id, sender);
            let out = open.machine.handle(id, request, now);
            open.perform(out, &shard.partition, now);
        });
        if let (Err(error), Some((request, sender))) = (taken, asked) {
            let _ = sender.send(request.failed(error));
        }
        receiver
    }

    /// A producer's transaction ended; its marker in this partition is durable.
    pub(super) fn transaction_ended(&self, producer_id: i64, committed: bool) {
        match &mut *self.phase.lock() {
            Phase::Loading => self.ended.lock().push((producer_id, committed)),
            Phase::Open(open) => open.machine.transaction_ended(producer_id, committed),
            Phase::Closed(_) => {}
        }
    }

    /// The topics as they are from now on.
    pub(super) fn topics_changed(&self, topics: &Arc<dyn TopicCatalog>) {
        if let Phase::Open(open) = &mut *self.phase.lock() {
            open.machine.topics_changed(Arc::clone(topics));
        }
    }

    /// Forgets the offsets of deleted topics. (One that is still loading keeps them until they expire; an offset of
    /// another topic id is never given out.)
    pub(super) fn topics_deleted(&self, topics: &[String], now: Now) {
        let _ = self.with_open(now, |open, shard| {
            let out = open.machine.topics_deleted(topics, now);
            open.perform(out, &shard.partition, now);
        });
    }

    /// Runs `work` on the open state machine and wakes the task if there is something new to wait for.
    fn with_open(&self, now: Now, work: impl FnOnce(&mut Open, &Self)) -> Result<(), ErrorCode> {
        let mut phase = self.phase.lock();
        let open = match &mut *phase {
            Phase::Open(open) => open,
            Phase::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
            Phase::Closed(error) => return Err(*error),
        };
        let was_idle = open.in_flight.is_empty();
        work(open, self);
        let nearer = match (open.machine.next_deadline_ms(), open.sleeps_until_ms) {
            (Some(next), Some(sleeps_until)) => next < sleeps_until,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if (was_idle && !open.in_flight.is_empty()) || nearer {
            self.wake.notify_one();
        }
        if open.broken {
            Self::close_locked(&mut phase, ErrorCode::NotCoordinator, now);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Gives the groups up: everybody who waits is told `error`, and so is everybody who asks from now on.
    pub(super) fn close(&self, error: ErrorCode, now: Now) {
        Self::close_locked(&mut self.phase.lock(), error, now);
        self.loaded.send_replace(true);
        self.wake.notify_one();
    }

    fn close_locked(phase: &mut Phase, error: ErrorCode, now: Now) {
        if matches!(phase, Phase::Closed(_)) {
            return;
        }
        if let Phase::Open(mut open) = std::mem::replace(phase, Phase::Closed(error)) {
            let out = open.machine.unload(error, now);
            open.send(out.replies);
            for in_flight in std::mem::take(&mut open.in_flight) {
                let failed = |reply: Reply| Reply { to: reply.to, body: reply.body.failed(error) };
                open.send(in_flight.deferred.into_iter().map(failed).collect());
            }
        }
    }

    /// The shard's task: loads, then waits for durability and deadlines until the shard is closed.
    pub(super) async fn run(self: Arc<Self>, node: Arc<Node>, mut stop: watch::Receiver<bool>) {
        let groups = &node.groups;
        match self.load().await {
            Ok(mut machine) => {
                // What changes while this shard opens is told to it by whoever watches the topics.
                machine.topics_changed(Arc::new(Catalog(node.state())));
                self.begin(machine, groups.now());
                self.topics_changed(&(Arc::new(Catalog(node.state())) as Arc<dyn TopicCatalog>));
            }
            Err(error) => {
                tracing::error!(
                    topic = %self.partition.topic, partition = self.partition.index, %error,
                    "groups of this partition cannot be loaded and are offline"
                );
                self.close(ErrorCode::NotCoordinator, groups.now());
                return;
            }
        }
        let mut durability: OptionFuture<BoxFuture<'static, Result<(), LogError>>> = None.into();
        let mut waits = false;
        loop {
            let (awaited, deadline_ms) = {
                let mut phase = self.phase.lock();
                let Phase::Open(open) = &mut *phase else { return };
                open.sleeps_until_ms = open.machine.next_deadline_ms();
                (open.in_flight.front().map(|front| front.last_offset), open.sleeps_until_ms)
            };
            if let Some(offset) = awaited.filter(|_| !waits) {
                let partition = Arc::clone(&self.partition);
                durability = Some(async move { partition.durable(offset).await }.boxed()).into();
                waits = true;
            }
            let sleep = async {
                match deadline_ms {
                    Some(at) => {
                        let left = u64::try_from(at - groups.now().mono_ms).unwrap_or(0);
                        tokio::time::sleep(Duration::from_millis(left)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(durable) = &mut durability, if waits => {
                    waits = false;
                    match durable {
                        Ok(()) => self.durable(groups.now()),
                        Err(error) => {
                            tracing::error!(
                                topic = %self.partition.topic, partition = self.partition.index, %error,
                                "groups of this partition are offline"
                            );
                            self.close(ErrorCode::NotCoordinator, groups.now());
                        }
                    }
                }
                () = self.wake.notified() => {}
                () = sleep => self.tick(groups.now()),
                _ = stop.wait_for(|stop| *stop) => {
                    self.close(ErrorCode::CoordinatorNotAvailable, groups.now());
                }
            }
        }
    }

    async fn load(&self) -> Result<GroupShard, LogError> {
        let log = Arc::clone(self.partition.log()?);
        let config = self.config.clone();
        if log.durable_end() == log.log_start() {
            return Ok(GroupShard::new(config));
        }
        match tokio::task::spawn_blocking(move || load::load(&log, config)).await {
            Ok(loaded) => loaded,
            Err(error) => Err(LogError::Invalid(format!("loading was interrupted: {error}"))),
        }
    }

    fn begin(&self, mut machine: GroupShard, now: Now) {
        let out = machine.loaded(now);
        let mut open = Open {
            machine,
            waiting: HashMap::new(),
            next_request: 0,
            in_flight: VecDeque::new(),
            sleeps_until_ms: None,
            broken: false,
        };
        open.perform(out, &self.partition, now);
        let mut phase = self.phase.lock();
        for (producer_id, committed) in self.ended.lock().drain(..) {
            open.machine.transaction_ended(producer_id, committed);
        }
        if matches!(*phase, Phase::Loading) {
            *phase = Phase::Open(Box::new(open));
        }
        drop(phase);
        self.loaded.send_replace(true);
    }

    fn durable(&self, now: Now) {
        let Ok(log) = self.partition.log() else { return };
        let end = log.durable_end();
        let _ = self.with_open(now, |open, shard| {
            while open.in_flight.front().is_some_and(|front| front.last_offset < end)
                && let Some(done) = open.in_flight.pop_front()
            {
                open.send(done.deferred);
                let out = open.machine.durable(done.ticket, now);
                open.perform(out, &shard.partition, now);
            }
        });
    }

    fn tick(&self, now: Now) {
        let _ = self.with_open(now, |open, shard| {
            while let Some(out) = open.machine.tick(now) {
                open.perform(out, &shard.partition, now);
            }
        });
    }
}

impl Open {
    /// Does what the state machine asks for.
    fn perform(&mut self, mut out: Output, partition: &Partition, now: Now) {
        while let Some(ticket) = out.ticket {
            match append(partition, &out, now) {
                Ok(appended) => {
                    self.machine.accepted(appended.base_offset);
                    self.send(out.replies);
                    let deferred = out.deferred;
                    self.in_flight.push_back(InFlight {
                        last_offset: appended.last_offset,
                        ticket,
                        deferred,
                    });
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        topic = %partition.topic, partition = partition.index, %error,
                        "the log refused group records"
                    );
                    let (code, broken) = to_client(&error);
                    self.broken |= broken;
                    out = self.machine.refused(out, code, now);
                }
            }
        }
        self.send(out.replies);
        match self.in_flight.back_mut() {
            Some(last) => last.deferred.extend(out.deferred),
            None => self.send(out.deferred),
        }
    }

    fn send(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            if let Some(waiting) = self.waiting.remove(&reply.to) {
                // Whoever asked may have gone.
                let _ = waiting.send(reply.body);
            }
        }
    }
}

fn append(partition: &Partition, out: &Output, now: Now) -> Result<Appended, LogError> {
    let invalid = |error: kafka_codec::records::RecordError| LogError::Invalid(error.to_string());
    let mut batch = BatchBuilder::new(Compression::None);
    if let Some(producer) = out.producer {
        batch = batch.producer(producer.id, producer.epoch, -1).transactional();
    }
    for record in &out.records {
        batch
            .push(now.wall_ms, Some(&record.key), record.value.as_deref(), std::iter::empty())
            .map_err(invalid)?;
    }
    let bytes = batch.build().map_err(invalid)?;
    partition.log()?.append(AppendBatches::coordinator(bytes.into(), partition.leader_epoch()))
}

/// What the client is told, and whether the shard is at its end.
fn to_client(error: &LogError) -> (ErrorCode, bool) {
    match error {
        LogError::NoSpace { .. } => (ErrorCode::CoordinatorNotAvailable, false),
        LogError::TooLarge { .. } => (ErrorCode::UnknownServerError, false),
        LogError::Offline { .. } | LogError::Closed(_) | LogError::UnknownLog(_) => {
            (ErrorCode::NotCoordinator, true)
        }
        _ => (ErrorCode::UnknownServerError, false),
    }
}
