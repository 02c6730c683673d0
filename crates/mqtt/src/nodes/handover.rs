//! Sessions on their way from node to node.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt_codec::ReasonCode;
use tokio::sync::mpsc;

use super::{BEAT, Nodes, RETRY};
use crate::broker::Broker;
use crate::packet::connect::{Refused, TAKEOVER_TIMEOUT};
use crate::session::store;
use crate::session::{Live, Seat, Session};
use crate::will::show;

/// Claims in one append.
const BATCH: usize = 500;
/// How long what a dead node left may take to be settled.
const SETTLED: Duration = Duration::from_secs(30);

impl Broker {
    /// Makes this node the owner of a client's session, and answers what there is of it. The caller holds the seat.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        nodes: &Nodes,
        seat: &Seat,
    ) -> Result<Option<Box<Session>>, Refused> {
        let client_id = &seat.client_id;
        let claiming = nodes.begin_claim(client_id).await;
        let written =
            nodes.hub.door.append_atomic(nodes.claim_records(client_id, &nodes.me, Some(true))).await;
        let offset = match written.as_deref() {
            Ok(offsets) => offsets.first().copied().unwrap_or(-1),
            Err(error) => {
                tracing::warn!(client = %show(client_id), %error, "cannot claim a session");
                nodes.take_back(client_id).await;
                return Err(Refused::new(ReasonCode::ServerUnavailable, "the session cannot be claimed"));
            }
        };
        nodes.written.lock().insert(client_id.clone(), offset);
        match tokio::time::timeout(TAKEOVER_TIMEOUT, nodes.first(client_id, offset)).await {
            Ok(true) => {}
            Ok(false) => {
                nodes.written.lock().remove(client_id);
                return Err(Refused::new(ReasonCode::ServerBusy, "a later connection takes this session"));
            }
            Err(_) => {
                nodes.take_back(client_id).await;
                let why = "the node with the session has not let go of it";
                return Err(Refused::new(ReasonCode::ServerBusy, why));
            }
        }
        nodes.mine.lock().insert(client_id.clone());
        drop(claiming);
        let parts = nodes.table.lock().parts(client_id);
        let mut session = store::restore(&self.hub, self.queue_limits, client_id.clone(), parts);
        if let Some(session) = &mut session {
            self.plan_end(session);
            nodes.restore_replays(self, &session.consumer);
        }
        Ok(session)
    }

    /// Acts on news of claims, for ever.
    pub(crate) async fn follow_claims(
        self: Arc<Self>,
        nodes: Arc<Nodes>,
        mut news: mpsc::UnboundedReceiver<Bytes>,
    ) {
        while let Some(client_id) = news.recv().await {
            match super::groups::name_of(&client_id) {
                Some(name) => self.look_at_group(&nodes, name),
                None => self.look_at(&nodes, &client_id),
            }
        }
    }

    /// Gives way to who waits for a session that is ours, or begins to look after one that has become ours.
    pub(crate) fn look_at(self: &Arc<Self>, nodes: &Arc<Nodes>, client_id: &Bytes) {
        let mine = nodes.has(client_id);
        let wanted = nodes.table.lock().claims(client_id).is_some_and(|c| c.wanted().is_some());
        let owned = nodes.owns(client_id);
        let (broker, nodes, client_id) = (self.clone(), nodes.clone(), client_id.clone());
        if mine && wanted {
            if nodes.giving.lock().insert(client_id.clone()) {
                self.hub.spawn(async move {
                    broker.give_way(&nodes, &client_id).await;
                    nodes.giving.lock().remove(&client_id);
                    broker.look_at(&nodes, &client_id);
                });
            }
        } else if !mine && owned && !nodes.claiming.lock().contains(&client_id) {
            self.hub.spawn(async move { broker.look_after(&nodes, &client_id).await });
        }
    }

    /// Lets go of a session that a client of another node waits for.
    async fn give_way(self: &Arc<Self>, nodes: &Nodes, client_id: &Bytes) {
        loop {
            let seat = self.registry.seat(client_id);
            let mut state = seat.state.lock().await;
            if let Some(live) = state.live.take() {
                let Live { kick, mut ended, login } = live;
                let _ = kick.send(ReasonCode::SessionTakenOver);
                if tokio::time::timeout(TAKEOVER_TIMEOUT, ended.wait_for(|e| *e)).await.is_err() {
                    let (kick, _) = tokio::sync::oneshot::channel();
                    state.live = Some(Live { kick, ended, login });
                    drop(state);
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            if !nodes.mine.lock().remove(client_id) {
                // It ended by itself.
                return;
            }
            nodes.written.lock().remove(client_id);
            self.timers.set(client_id, None);
            let session = seat.session.lock().take();
            let mut parts = Vec::new();
            let mut replays = Vec::new();
            if let Some(mut session) = session {
                if session.taken_over {
                    session.disconnected_ms = None;
                }
                if session.is_persistent() {
                    parts = self.store.whole(&mut session);
                } else if session.stored {
                    parts.push(self.store.base(&session));
                }
                session.outbound.give_back_shared();
                let groups = self.hub.shares_of(&session.consumer);
                replays.extend(
                    groups.iter().filter(|g| g.replays).flat_map(|g| self.store.group_records(g, true)),
                );
                self.hub.remove(&session.consumer);
            }
            let mut records = self.store.records(client_id, parts);
            records.extend(replays);
            let claims = nodes.table.lock().claims(client_id).cloned().unwrap_or_default();
            for node in claims.giving_way() {
                records.extend(nodes.claim_records(client_id, &node, None));
            }
            match nodes.append(records).await {
                Ok(_) => tracing::info!(client = %show(client_id), "a session goes to another node"),
                Err(error) => {
                    tracing::error!(client = %show(client_id), %error, "cannot let go of a session");
                }
            }
            drop(state);
            self.registry.remove_if_empty(&seat);
            return;
        }
    }

    /// Takes a session that no connection waits for: its will, its end and its share of groups.
    async fn look_after(self: &Arc<Self>, nodes: &Arc<Nodes>, client_id: &Bytes) {
        let seat = self.registry.seat(client_id);
        let state = seat.state.lock().await;
        if nodes.claiming.lock().contains(client_id)
            || !nodes.owns(client_id)
            || !nodes.mine.lock().insert(client_id.clone())
        {
            return;
        }
        let parts = nodes.table.lock().parts(client_id);
        match store::restore(&self.hub, self.queue_limits, client_id.clone(), parts) {
            Some(session) => {
                nodes.restore_replays(self, &session.consumer);
                let base = self.take_in(session);
                if let Some(base) = base
                    && let Err(error) = self.store.write(client_id, vec![base]).await
                {
                    tracing::warn!(client = %show(client_id), %error, "cannot save a session");
                }
            }
            None => nodes.release(client_id).await,
        }
        drop(state);
        self.registry.remove_if_empty(&seat);
        self.look_at(nodes, client_id);
    }

    /// Takes up the sessions that an earlier run under this node's name had.
    pub(crate) async fn resume_own(self: &Arc<Self>, nodes: &Arc<Nodes>) {
        let own = nodes.table.lock().claimed_by(&nodes.me);
        for client_id in own {
            if super::groups::name_of(&client_id).is_some() {
                nodes.take_back(&client_id).await;
                continue;
            }
            // All of the log has been read.
            let first = {
                let table = nodes.table.lock();
                let owner = table.claims(&client_id).and_then(|c| c.owner());
                owner.filter(|c| c.node == nodes.me).map(|c| c.offset)
            };
            if let Some(offset) = first {
                nodes.written.lock().insert(client_id.clone(), offset);
                self.look_after(nodes, &client_id).await;
            } else {
                nodes.take_back(&client_id).await;
            }
        }
    }

    /// Does what one of the living has to do for the dead, for ever.
    pub(crate) async fn look_after_the_dead(self: Arc<Self>, nodes: Arc<Nodes>) {
        let mut every = tokio::time::interval(BEAT);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            nodes.meet_claimants(false);
            let claimants = nodes.table.lock().nodes();
            let dead: Vec<_> = {
                let members = nodes.members.lock();
                if !members.is_first() {
                    continue;
                }
                claimants.into_iter().filter(|node| members.is_dead(node)).collect()
            };
            for node in dead {
                let settled = tokio::time::timeout(SETTLED, nodes.replace(&node)).await;
                match settled {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%node, %error, "cannot look after a dead node's sessions yet");
                    }
                    Err(_) => tracing::warn!(%node, "what a dead node left is not settled yet"),
                }
            }
            loop {
                let adopted = nodes.adopt().await;
                match adopted {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%error, "cannot claim sessions that nobody has");
                        break;
                    }
                }
            }
        }
    }
}

impl Nodes {
    /// Takes the place of a dead node and its claims away: from then on its sessions are whose claim is next.
    async fn replace(&self, node: &Arc<str>) -> Result<(), client::door::DoorError> {
        tracing::warn!(%node, "a node is dead: others take its sessions");
        let place = self.place.replace(node).await?;
        // All that it wrote is decided now.
        let read = futures_util::future::join_all(self.sessions.iter().map(|f| f.catch_up())).await;
        read.into_iter().collect::<Result<Vec<_>, _>>()?;
        let clients = self.table.lock().claimed_by(node);
        for batch in clients.chunks(BATCH) {
            let records = batch.iter().flat_map(|client_id| self.claim_records(client_id, node, None));
            place.append_atomic(records.collect()).await?;
        }
        // Should it be alive, it learns so that it is not taken for that.
        self.say(node, None).await?;
        self.members.lock().apply(node, None);
        let read = futures_util::future::join_all(self.sessions.iter().map(|f| f.catch_up())).await;
        read.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
    }

    /// Claims some of the sessions that nobody has; `true` when there may be more.
    async fn adopt(&self) -> Result<bool, client::door::DoorError> {
        let orphans = self.table.lock().orphans(BATCH);
        let claiming: Vec<_> = orphans.iter().filter_map(|c| self.try_begin_claim(c)).collect();
        if claiming.is_empty() {
            return Ok(false);
        }
        let records = claiming.iter().flat_map(|c| self.claim_records(&c.1, &self.me, Some(false)));
        let offsets = self.append(records.collect()).await?;
        let written = claiming.iter().map(|c| c.1.clone()).zip(offsets);
        self.written.lock().extend(written);
        let read = futures_util::future::join_all(self.sessions.iter().map(|f| f.catch_up())).await;
        read.into_iter().collect::<Result<Vec<_>, _>>()?;
        let clients: Vec<_> = claiming.iter().map(|c| c.1.clone()).collect();
        drop(claiming);
        // They were not looked at while they were being claimed.
        clients.into_iter().for_each(|c| drop(self.news.send(c)));
        Ok(orphans.len() == BATCH)
    }
}
