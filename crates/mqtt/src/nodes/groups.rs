//! Share groups on several nodes: of those that have members of a group there, the first to claim it serves it; the
//! others stand by.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::door::DoorError;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::{Nodes, RETRY};
use crate::broker::Broker;
use crate::deliver::{Consumer, ShareGroup};

/// What a group's claims have in place of a client id begins with this byte, which no UTF-8 has.
const MARK: u8 = 0xff;
/// How long a SUBACK waits until it is settled where the group begins.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// The share groups that this node has to do with.
#[derive(Debug, Default)]
pub(super) struct Groups {
    serving: Mutex<HashMap<Box<str>, Arc<ShareGroup>>>,
    /// Groups that another node served when this one began to wait: they go on where that one ended.
    waited: Mutex<HashSet<Box<str>>>,
    /// Groups being looked at; `true`: there is more news.
    busy: Mutex<HashMap<Box<str>, bool>>,
    changed: Notify,
}

fn unit(name: &str) -> Bytes {
    [&[MARK], name.as_bytes()].concat().into()
}

/// The group whose claims these are.
pub(super) fn name_of(unit: &[u8]) -> Option<&str> {
    unit.strip_prefix(&[MARK]).and_then(|name| std::str::from_utf8(name).ok())
}

impl Broker {
    /// Acts on news of groups' members, for ever.
    pub(crate) async fn follow_groups(
        self: Arc<Self>,
        nodes: Arc<Nodes>,
        mut news: mpsc::UnboundedReceiver<Box<str>>,
    ) {
        while let Some(name) = news.recv().await {
            self.look_at_group(&nodes, &name);
        }
    }

    /// Claims, serves or leaves a group, as its members and claims are now.
    pub(super) fn look_at_group(self: &Arc<Self>, nodes: &Arc<Nodes>, name: &str) {
        {
            let mut busy = nodes.groups.busy.lock();
            if let Some(again) = busy.get_mut(name) {
                *again = true;
                return;
            }
            busy.insert(name.into(), false);
        }
        let (broker, nodes, name) = (self.clone(), nodes.clone(), Box::<str>::from(name));
        self.hub.spawn(async move {
            loop {
                if let Err(error) = broker.settle_group(&nodes, &name).await {
                    tracing::warn!(group = %name, %error, "cannot settle who serves a share group, trying again");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                nodes.groups.changed.notify_waiters();
                let mut busy = nodes.groups.busy.lock();
                match busy.get_mut(&name) {
                    Some(again) if *again => *again = false,
                    _ => {
                        busy.remove(&name);
                        return;
                    }
                }
            }
        });
    }

    async fn settle_group(self: &Arc<Self>, nodes: &Nodes, name: &str) -> Result<(), DoorError> {
        let unit = unit(name);
        let group = self.hub.share(name).filter(|group| group.is_attended());
        let served = nodes.groups.serving.lock().get(name).cloned();
        if let Some(old) = served {
            if group.as_ref().is_some_and(|group| Arc::ptr_eq(group, &old)) {
                return Ok(());
            }
            self.leave_group(nodes, &unit, &old).await?;
        }
        let claims = nodes.written.lock().contains_key(&unit);
        let Some(group) = group else {
            if claims {
                nodes.groups.waited.lock().remove(name);
                nodes.written.lock().remove(&unit);
                nodes.append(nodes.claim_records(&unit, &nodes.me, None)).await?;
            }
            return Ok(());
        };
        if !claims {
            let written = nodes.append(nodes.claim_records(&unit, &nodes.me, Some(false))).await?;
            nodes.written.lock().insert(unit.clone(), written.first().copied().unwrap_or(-1));
            // It may have been read back before that was noted.
        }
        if nodes.owns(&unit) {
            return self.serve_group(nodes, &unit, &group).await;
        }
        let stands = nodes.table.lock().claims(&unit).is_some_and(|c| c.of(&nodes.me).is_some());
        if stands {
            nodes.groups.waited.lock().insert(name.into());
        }
        Ok(())
    }

    async fn serve_group(
        self: &Arc<Self>,
        nodes: &Nodes,
        unit: &Bytes,
        group: &Arc<ShareGroup>,
    ) -> Result<(), DoorError> {
        // The cursors stand in another partition than the claims.
        let read = futures_util::future::join_all(nodes.sessions.iter().map(|f| f.catch_up())).await;
        read.into_iter().collect::<Result<Vec<_>, _>>()?;
        if !nodes.owns(unit) {
            return Ok(());
        }
        let goes_on = nodes.groups.waited.lock().remove(&group.name);
        let cursors = {
            let table = nodes.table.lock();
            // What is left of a group that had ended says nothing of this one.
            let goes_on = goes_on || table.subscribes(&group.name);
            goes_on
                .then(|| table.parts(group.name.as_bytes()))
                .and_then(|parts| parts.group_cursors(&self.hub))
        };
        self.hub.serve_group(group, cursors).await?;
        if let Err(error) = nodes.append(self.store.group_records(group, true)).await {
            self.hub.leave_group(group);
            return Err(error);
        }
        nodes.groups.serving.lock().insert(group.name.clone(), group.clone());
        if !group.is_attended() {
            // Its members left meanwhile, and were told that it is not served.
            nodes.groups.busy.lock().insert(group.name.clone(), true);
        }
        Ok(())
    }

    async fn leave_group(
        self: &Arc<Self>,
        nodes: &Nodes,
        unit: &Bytes,
        group: &Arc<ShareGroup>,
    ) -> Result<(), DoorError> {
        self.hub.leave_group(group);
        nodes.groups.serving.lock().remove(&group.name);
        nodes.written.lock().remove(unit);
        let keep = group.is_persistent() || {
            let table = nodes.table.lock();
            let others = table.claims(unit).is_some_and(|claims| claims.others(&nodes.me));
            others || table.subscribes(&group.name)
        };
        let mut records = self.store.group_records(group, keep);
        records.extend(nodes.claim_records(unit, &nodes.me, None));
        nodes.append(records).await.map(drop)
    }
}

impl Nodes {
    /// Waits until it is settled where a share group goes on: this node serves it, or another one does.
    pub(crate) async fn settle_group(&self, name: &str) {
        let unit = unit(name);
        let settled = async {
            loop {
                let changed = self.groups.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.groups.serving.lock().contains_key(name) {
                    return;
                }
                let elsewhere = {
                    let table = self.table.lock();
                    let claims = table.claims(&unit);
                    let owner = claims.and_then(|c| c.owner()).is_some_and(|c| c.node != self.me);
                    owner && claims.is_some_and(|c| c.of(&self.me).is_some())
                };
                if elsewhere && !self.table.lock().parts(name.as_bytes()).is_empty() {
                    return;
                }
                let _ = tokio::time::timeout(LOOK, changed).await;
            }
        };
        if tokio::time::timeout(SETTLE, settled).await.is_err() {
            tracing::warn!(group = %name, "it is not settled in time which node serves a share group");
        }
    }

    /// Writes the cursors of a group, if it is served here.
    pub(crate) async fn checkpoint_group(&self, group: &Arc<ShareGroup>) -> Result<bool, DoorError> {
        let written = {
            // Held until the record has its place in the order: nothing of it may come behind the group's leaving.
            let serving = self.groups.serving.lock();
            if !serving.get(&group.name).is_some_and(|served| Arc::ptr_eq(served, group)) {
                return Ok(false);
            }
            self.store.write_group(group)
        };
        written.await.map(|()| true)
    }

    /// Waits until all groups are left.
    pub(crate) async fn until_groups_are_left(&self) {
        loop {
            let changed = self.groups.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.groups.serving.lock().is_empty() {
                return;
            }
            let _ = tokio::time::timeout(LOOK, changed).await;
        }
    }

    /// Sets the replays of a session on where they were.
    pub(super) fn restore_replays(&self, broker: &Broker, consumer: &Consumer) {
        for group in broker.hub.shares_of(consumer).into_iter().filter(|group| group.replays) {
            let parts = self.table.lock().parts(group.name.as_bytes());
            for (partition, next) in parts.group_cursors(&broker.hub).into_iter().flatten() {
                group.consumer.restore_cursor(partition, next);
            }
        }
    }
}
