//! Brings consumers, partitions and tails together.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use client::door::{Door, DoorError, StartAt, TopicImage, TopicPartition};
use futures_util::FutureExt;
use hashbrown::HashMap;
use mqtt_codec::QoS;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};

use super::consumer::{Consumer, QueueLimits, Wake};
use super::partition::{Partition, Partitions};
use super::share::ShareGroup;
use super::{pump, tail};
use crate::message::{Message, PartitionId};
use crate::route::Routes;
use crate::stats::Stats;
use crate::subscriptions::{Subscription, Subscriptions};

/// Everything delivery needs.
pub(crate) struct Hub {
    pub(crate) door: Arc<dyn Door>,
    pub(crate) routes: Routes,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) partitions: Partitions,
    pub(crate) stats: Arc<Stats>,
    topics: watch::Receiver<Arc<TopicImage>>,
    /// Consumers with a connection: those a new topic may concern.
    online: RwLock<HashMap<u64, Arc<Consumer>>>,
    stopped: watch::Sender<bool>,
    shares: Mutex<HashMap<Box<str>, Arc<ShareGroup>>>,
    share_limits: QueueLimits,
    /// Where several nodes share the log: told which group has got its first member, or lost its last. Whether it is
    /// served here is decided there.
    share_news: OnceLock<mpsc::UnboundedSender<Box<str>>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    pub(crate) fn new(
        door: Arc<dyn Door>,
        routes: Routes,
        stats: Arc<Stats>,
        share_limits: QueueLimits,
    ) -> Arc<Self> {
        let topics = door.topics();
        Arc::new(Self {
            door,
            routes,
            subscriptions: Subscriptions::default(),
            partitions: Partitions::default(),
            stats,
            topics,
            online: RwLock::default(),
            stopped: watch::channel(false).0,
            shares: Mutex::default(),
            share_limits,
            share_news: OnceLock::new(),
        })
    }

    /// From now on share groups are served when [`Hub::serve_group`] says so, and `news` hears of their members.
    pub(crate) fn leave_groups_to(&self, news: mpsc::UnboundedSender<Box<str>>) {
        let _ = self.share_news.set(news);
    }

    /// Somebody is there to take a group's messages.
    fn attended(self: &Arc<Self>, group: &Arc<ShareGroup>) {
        if !self.tell(group) {
            self.connect_known(&group.consumer);
        }
    }

    fn tell(&self, group: &ShareGroup) -> bool {
        let news = self.share_news.get().filter(|_| !group.replays);
        news.is_some_and(|news| news.send(group.name.clone()).is_ok())
    }

    /// Begins to serve a group, at these places or where its subscription begins.
    ///
    /// # Errors
    /// When the log cannot say where a partition ends.
    pub(crate) async fn serve_group(
        self: &Arc<Self>,
        group: &Arc<ShareGroup>,
        cursors: Option<Vec<(Arc<Partition>, i64)>>,
    ) -> Result<(), DoorError> {
        // Whatever it still holds of an earlier time others have had meanwhile.
        group.consumer.clear();
        for (partition, next) in cursors.into_iter().flatten() {
            group.consumer.restore_cursor(partition, next);
        }
        let starts = self.starting_points(&group.consumer);
        self.learn_ends(starts.values().map(|(p, _)| p), false).await?;
        self.connect_known(&group.consumer);
        group.wake();
        Ok(())
    }

    /// Serves a group no more.
    pub(crate) fn leave_group(&self, group: &ShareGroup) {
        if group.consumer.is_online() {
            self.disconnect(&group.consumer);
        }
    }

    /// The topics now.
    pub(crate) fn image(&self) -> Arc<TopicImage> {
        self.topics.borrow().clone()
    }

    /// Follows changes of the topics for ever: new partitions reach the consumers whose filters need them.
    pub(crate) async fn watch_topics(self: Arc<Self>) {
        let mut topics = self.topics.clone();
        let mut seen: Arc<TopicImage> = Arc::default();
        loop {
            let image = topics.borrow_and_update().clone();
            self.forget_deleted(&image);
            let news = news(&seen, &image);
            seen = image;
            let online: Vec<_> = self.online.read().values().cloned().collect();
            for consumer in online {
                if news.topics.is_empty() {
                    break;
                }
                for (_, subscription) in consumer.subscriptions() {
                    self.follow_filter(&consumer, &subscription, &news);
                }
            }
            if topics.changed().await.is_err() {
                return;
            }
        }
    }

    fn forget_deleted(self: &Arc<Self>, image: &TopicImage) {
        for name in self.partitions.names() {
            let there = image.get(&name.topic).is_some_and(|t| name.partition < t.partitions);
            if !there {
                let partition = self.partitions.get(&name);
                self.forget(&partition);
            }
        }
    }

    /// Partitions that may hold messages for a filter.
    pub(crate) fn partitions_of(&self, filter: &str, image: &TopicImage) -> Vec<Arc<Partition>> {
        let mut found = Vec::new();
        self.routes.followed(filter, image, &mut |topic| {
            for n in 0..topic.partitions {
                found.push(self.partitions.get(&TopicPartition::new(topic.name.clone(), n)));
            }
        });
        found
    }

    /// The starts of a subscription made now: the end of each partition its filter may concern, or what a replay asks
    /// for.
    ///
    /// # Errors
    /// When the log cannot say where it ends.
    pub(crate) async fn starts(
        &self,
        filter: &str,
        replay: Option<StartAt>,
    ) -> Result<Box<[(PartitionId, i64)]>, DoorError> {
        let partitions = self.partitions_of(filter, &self.image());
        self.learn_ends(partitions.iter(), true).await?;
        if let Some(at) = replay {
            let asked = partitions.iter().map(|p| self.start_of(p, at));
            return futures_util::future::join_all(asked).await.into_iter().collect();
        }
        Ok(partitions.iter().map(|p| (p.id, p.end())).filter(|(_, end)| *end > 0).collect())
    }

    async fn start_of(&self, partition: &Partition, at: StartAt) -> Result<(PartitionId, i64), DoorError> {
        let first = || self.door.offset_at(&partition.name, StartAt::Earliest);
        let start = match at {
            StartAt::Latest => Ok(partition.end()),
            StartAt::Offset(offset) => first().await.map(|first| offset.min(partition.end()).max(first)),
            other => self.door.offset_at(&partition.name, other).await,
        };
        match start {
            Ok(start) => Ok((partition.id, start)),
            // Deleted in this moment.
            Err(DoorError::UnknownTopic(_)) => Ok((partition.id, 0)),
            Err(e) => Err(e),
        }
    }

    /// Learns where partitions end; `exactly`: also where a tail tells it, a moment late.
    async fn learn_ends(
        &self,
        of: impl Iterator<Item = &Arc<Partition>>,
        exactly: bool,
    ) -> Result<(), DoorError> {
        // Where others append, too, the end that is known is not the end.
        let shared = self.door.nodes().is_some();
        let asks = of.map(|p| {
            let anew = shared && (exactly || !p.tail.lock().runs);
            p.learn_end(&*self.door, anew)
        });
        for result in futures_util::future::join_all(asks).await {
            match result {
                // Deleted in this moment: nothing to start from.
                Ok(()) | Err(DoorError::UnknownTopic(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Adds a subscription to an online consumer.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        consumer: &Arc<Consumer>,
        filter: &str,
        s: Arc<Subscription>,
        persistent: bool,
    ) {
        consumer.put_subscription(filter, s.clone());
        if s.shared {
            let group = self.share_group(consumer, filter, &s);
            if group.enter(consumer, true, persistent) {
                self.attended(&group);
            }
            return;
        }
        self.subscriptions.insert(consumer, s.clone());
        self.follow_filter(consumer, &s, &self.image());
    }

    /// The group of a shared filter; a new one starts where its first member's subscription does.
    fn share_group(&self, member: &Consumer, filter: &str, s: &Arc<Subscription>) -> Arc<ShareGroup> {
        let name = ShareGroup::name_of(member, filter, s);
        let mut shares = self.shares.lock();
        if let Some(group) = shares.get(&name) {
            return group.clone();
        }
        let consumer = if s.replays {
            Consumer::for_replay(member.client_id.clone(), self.share_limits)
        } else {
            Consumer::new(Bytes::new(), self.share_limits)
        };
        let subscription = Arc::new(Subscription {
            filter: s.filter.clone(),
            qos: QoS::ExactlyOnce,
            no_local: s.replays && s.no_local,
            retain_as_published: true,
            retain_handling: 0,
            id: None,
            shared: false,
            replays: false,
            starts: s.starts.clone(),
        });
        consumer.put_subscription(&s.filter, subscription.clone());
        self.subscriptions.insert(&consumer, subscription);
        let group = ShareGroup::new(name.clone(), filter, consumer);
        shares.insert(name, group.clone());
        group
    }

    /// The share groups that a consumer is a member of.
    pub(crate) fn shares_of(&self, consumer: &Consumer) -> Vec<Arc<ShareGroup>> {
        let shares = self.shares.lock();
        let names = consumer.subscriptions().into_iter().filter(|(_, s)| s.shared);
        names
            .filter_map(|(filter, s)| shares.get(&ShareGroup::name_of(consumer, &filter, &s)).cloned())
            .collect()
    }

    /// All share groups.
    pub(crate) fn shares(&self) -> Vec<Arc<ShareGroup>> {
        self.shares.lock().values().cloned().collect()
    }

    /// The share group with this name.
    pub(crate) fn share(&self, name: &str) -> Option<Arc<ShareGroup>> {
        self.shares.lock().get(name).cloned()
    }

    fn leave_share(&self, group: &Arc<ShareGroup>, consumer: &Consumer) {
        if group.pause(consumer) && group.consumer.is_online() {
            self.disconnect(&group.consumer);
        }
        let mut shares = self.shares.lock();
        if group.leave(consumer) {
            shares.remove(&group.name);
            drop(shares);
            group.note_end();
            self.remove(&group.consumer);
            self.tell(group);
        }
    }

    /// Adds the subscriptions of a session that was read from the log; it is offline.
    pub(crate) fn restore(&self, consumer: &Arc<Consumer>, filter: &str, s: Arc<Subscription>) {
        consumer.put_subscription(filter, s.clone());
        if s.shared {
            self.share_group(consumer, filter, &s).enter(consumer, false, true);
            return;
        }
        self.subscriptions.insert(consumer, s);
    }

    /// Removes a subscription; `false` when there was none.
    pub(crate) fn unsubscribe(self: &Arc<Self>, consumer: &Arc<Consumer>, filter: &str) -> bool {
        let Some(gone) = consumer.take_subscription(filter) else { return false };
        if gone.shared {
            if let Some(group) = self.share(&ShareGroup::name_of(consumer, filter, &gone)) {
                self.leave_share(&group, consumer);
            }
            return true;
        }
        self.subscriptions.remove(consumer, &gone.filter);
        let rest = consumer.subscriptions();
        let image = self.image();
        for partition in consumer.known_partitions() {
            let needed = image.get(&partition.name.topic).is_some_and(|topic| {
                rest.iter().any(|(_, s)| !s.shared && self.routes.follows(&s.filter, topic))
            });
            if !needed && consumer.unfollow(partition.id) {
                Self::leave(&partition);
            }
        }
        true
    }

    /// Connects a consumer: from now on tails and pump feed it.
    ///
    /// # Errors
    /// When the log cannot say where a partition ends; the consumer is offline then.
    pub(crate) async fn connect(self: &Arc<Self>, consumer: &Arc<Consumer>) -> Result<(), DoorError> {
        let groups = self.shares_of(consumer);
        for c in groups.iter().map(|g| &g.consumer).chain([consumer]) {
            let starts = self.starting_points(c);
            self.learn_ends(starts.values().map(|(p, _)| p), false).await?;
        }
        self.connect_known(consumer);
        for group in groups {
            if group.enter(consumer, true, false) {
                self.attended(&group);
            }
        }
        Ok(())
    }

    /// Connects a consumer when the ends of its partitions are known.
    fn connect_known(self: &Arc<Self>, consumer: &Arc<Consumer>) {
        consumer.go_online();
        self.online.write().insert(consumer.id, consumer.clone());
        for (partition, start) in self.starting_points(consumer).values() {
            // After a pause QoS 0 messages count from now on.
            let history = if consumer.replays { *start } else { partition.end() };
            self.follow(consumer, partition, *start, history);
        }
    }

    fn starting_points(&self, consumer: &Consumer) -> HashMap<PartitionId, (Arc<Partition>, i64)> {
        let image = self.image();
        // A partition met for the first time starts where the earliest of the subscriptions does.
        let mut starts: HashMap<PartitionId, (Arc<Partition>, i64)> = HashMap::new();
        for (_, s) in consumer.subscriptions().into_iter().filter(|(_, s)| !s.shared) {
            for partition in self.partitions_of(&s.filter, &image) {
                let start = s.start(partition.id);
                let known = starts.entry(partition.id).or_insert_with(|| (partition, start));
                known.1 = known.1.min(start);
            }
        }
        starts
    }

    /// Disconnects a consumer: what it had not taken is left to its cursors.
    pub(crate) fn disconnect(&self, consumer: &Arc<Consumer>) {
        self.online.write().remove(&consumer.id);
        for group in self.shares_of(consumer) {
            if group.pause(consumer) {
                self.leave_group(&group);
                self.tell(&group);
            }
        }
        for partition in consumer.go_offline() {
            Self::leave(&partition);
        }
        self.count_dropped(consumer);
    }

    /// Adds what was dropped for a consumer to the server's count.
    pub(super) fn count_dropped(&self, consumer: &Consumer) {
        let dropped = consumer.dropped.swap(0, Ordering::Relaxed);
        self.stats.publish_dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Ends a consumer that is disconnected.
    pub(crate) fn remove(&self, consumer: &Arc<Consumer>) {
        for group in self.shares_of(consumer) {
            self.leave_share(&group, consumer);
        }
        for (filter, s) in consumer.subscriptions() {
            consumer.take_subscription(&filter);
            if !s.shared {
                self.subscriptions.remove(consumer, &s.filter);
            }
        }
        consumer.clear();
    }

    fn follow_filter(
        self: &Arc<Self>,
        consumer: &Arc<Consumer>,
        subscription: &Subscription,
        image: &TopicImage,
    ) {
        if !consumer.is_online() || subscription.shared {
            return;
        }
        for partition in self.partitions_of(&subscription.filter, image) {
            let start = subscription.start(partition.id);
            self.follow(consumer, &partition, start, start);
        }
    }

    fn follow(
        self: &Arc<Self>,
        consumer: &Arc<Consumer>,
        partition: &Arc<Partition>,
        start: i64,
        history: i64,
    ) {
        self.enter(partition);
        let (joined, wake) = consumer.follow(partition, start, history);
        if !joined {
            Self::leave(partition);
        }
        if wake == Wake::Pump {
            self.start_pump(consumer);
        }
    }

    fn enter(self: &Arc<Self>, partition: &Arc<Partition>) {
        let mut slot = partition.tail.lock();
        slot.followers += 1;
        if slot.runs {
            return;
        }
        slot.runs = true;
        let mut from = partition.end().max(partition.position() + 1);
        partition.set_position(from - 1);
        let (hub, partition) = (self.clone(), partition.clone());
        self.spawn(async move {
            loop {
                let run = tail::run(hub.clone(), partition.clone(), from);
                if std::panic::AssertUnwindSafe(run).catch_unwind().await.is_ok() {
                    return;
                }
                tracing::error!(partition = %partition.name, offset = partition.position(),
                    "delivery of a record failed, going on after it");
                from = partition.position() + 1;
            }
        });
    }

    fn leave(partition: &Partition) {
        let mut slot = partition.tail.lock();
        slot.followers = slot.followers.saturating_sub(1);
    }

    /// Runs a task until it ends or the server stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut stopped = self.stopped.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                _ = stopped.wait_for(|s| *s) => {}
                () = task => {}
            }
        });
    }

    /// Ends all tasks of delivery.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// The partition is gone.
    pub(super) fn forget(&self, partition: &Arc<Partition>) {
        let current = self.partitions.forget(&partition.name);
        if current.is_some_and(|c| c.id == partition.id) && is_routed_name(partition) {
            tracing::info!(partition = %partition.name, "partition deleted");
        }
        for consumer in self.online.read().values() {
            if consumer.unfollow(partition.id) {
                Self::leave(partition);
            }
        }
    }

    /// A topic was deleted under a tail or pump; if it is there again, it is followed again.
    pub(super) fn topic_gone(self: &Arc<Self>, partition: &Arc<Partition>) {
        self.forget(partition);
        let image = self.image();
        let Some(topic) = image.get(&partition.name.topic) else { return };
        let again = TopicImage { topics: vec![topic.clone()] };
        let online: Vec<_> = self.online.read().values().cloned().collect();
        for consumer in online {
            for (_, subscription) in consumer.subscriptions() {
                self.follow_filter(&consumer, &subscription, &again);
            }
        }
    }

    pub(super) fn start_pump(self: &Arc<Self>, consumer: &Arc<Consumer>) {
        let epoch = consumer.epoch();
        self.spawn(pump::run(self.clone(), consumer.clone(), epoch));
    }

    /// Retention removed records that somebody had still to get.
    pub(super) fn count_lost(&self, partition: &TopicPartition, from: i64, to: i64) {
        self.stats.lost_to_retention.fetch_add(to.saturating_sub(from).max(0) as u64, Ordering::Relaxed);
        tracing::warn!(%partition, from, to, "retention removed records before they were delivered over MQTT");
    }

    /// Delivers a message that is not logged (`$SYS`) to those who are there.
    pub(crate) fn deliver_local(&self, message: &Arc<Message>) {
        for r in self.subscriptions.matching(message.topic()) {
            if !r.consumer.is_online() {
                continue;
            }
            let Some(delivery) = r.consumer.delivery(message, None, r.subscriptions.iter()) else { continue };
            if r.consumer.offer_local(delivery) == Wake::Reader {
                r.consumer.wake();
            }
        }
    }
}

/// Topics that are new or have grown.
fn news(before: &TopicImage, now: &TopicImage) -> TopicImage {
    let topics =
        now.topics.iter().filter(|t| before.get(&t.name).is_none_or(|b| b.partitions != t.partitions));
    TopicImage { topics: topics.cloned().collect() }
}

fn is_routed_name(partition: &Partition) -> bool {
    !partition.name.topic.starts_with("__")
}
