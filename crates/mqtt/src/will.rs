//! The end of connections and sessions: wills, expiry, takeover.

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::door::{Record, TopicPartition};

use crate::auth::{Login, Rights};
use crate::broker::Broker;
use crate::message::now_ms;
use crate::session::record::Key;
use crate::session::store::SessionStore;
use crate::session::{Seat, Session, Will};

/// How a connection ended, as far as its session is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// DISCONNECT: no will.
    Cleanly,
    /// Anything else: the will is due.
    Badly,
    /// Another connection took the session over; that one decides about the will.
    TakenOver,
}

impl Broker {
    /// Ends a connection's part: the session goes back to its seat, or ends.
    pub(crate) async fn leave(self: &Arc<Self>, seat: &Arc<Seat>, mut session: Box<Session>, how: Ended) {
        self.hub.disconnect(&session.consumer);
        if how == Ended::Cleanly {
            session.will = None;
        }
        let now = Instant::now();
        session.disconnected_ms = Some(now_ms());
        let lifetime = session.lifetime(self.config.limits.persistent_client_expiration);
        session.ends = lifetime.and_then(|l| now.checked_add(l));
        session.will_due = None;
        session.taken_over = how == Ended::TakenOver;
        if how == Ended::Badly
            && let Some(will) = &session.will
        {
            session.will_due = now.checked_add(will_delay(will.delay_s, lifetime));
        }
        session.outbound.hand_over_shared();
        if !session.is_persistent() {
            // Only its will is left of it.
            session.outbound.give_back_shared();
            self.hub.remove(&session.consumer);
            session.ends = session.will_due.max(session.ends);
        }
        if how == Ended::TakenOver {
            seat.session.lock().replace(session);
            return;
        }
        let will_waits = session.stored && session.will_due.is_some_and(|at| at > now);
        if session.is_persistent() || will_waits {
            let parts = self.store.whole(&mut session);
            if let Err(error) = self.store.write(&session.client_id, parts).await {
                tracing::error!(client = %show(&session.client_id), %error, "cannot save a session");
                session.dirty = true;
            }
        }
        self.settle(seat, session).await;
    }

    /// Does what is due for a session without a connection, and keeps the rest for later.
    async fn settle(self: &Arc<Self>, seat: &Arc<Seat>, mut session: Box<Session>) {
        let now = Instant::now();
        let ends = session.ends.is_some_and(|at| at <= now);
        let due = session.will_due.take_if(|at| *at <= now).is_some();
        if due && let Some(will) = session.will.take() {
            let parts = || {
                if !session.stored {
                    return Vec::new();
                }
                let parts = if ends { SessionStore::end(&session) } else { vec![self.store.base(&session)] };
                self.store.records(&session.client_id, parts)
            };
            let stored = self.publish_will(&session, &will, parts).await;
            session.stored &= !(ends && stored);
        }
        if ends {
            self.end(session, None).await;
            if let Some(nodes) = &self.nodes {
                nodes.release(&seat.client_id).await;
            }
            return;
        }
        let next = [session.will_due, session.ends].into_iter().flatten().min();
        self.timers.set(&session.client_id, next);
        seat.session.lock().replace(session);
    }

    /// Ends a session that has no connection. `instead` is written in place of its tombstone.
    pub(crate) async fn end(
        self: &Arc<Self>,
        mut session: Box<Session>,
        instead: Option<(Key, Option<bytes::Bytes>)>,
    ) {
        session.outbound.give_back_shared();
        self.hub.remove(&session.consumer);
        self.timers.set(&session.client_id, None);
        let mut parts = if session.stored { SessionStore::end(&session) } else { Vec::new() };
        if let Some(part) = instead {
            parts.retain(|(key, _)| *key != part.0);
            parts.push(part);
        }
        if parts.is_empty() {
            return;
        }
        if let Err(error) = self.store.write(&session.client_id, parts).await {
            // It comes back at the next start, with its end long past, and ends then.
            tracing::warn!(client = %show(&session.client_id), %error, "cannot remove a session from the log");
        }
    }

    /// Publishes the will of a session that another connection is about to end or to go on with.
    pub(crate) async fn publish_will_now(self: &Arc<Self>, session: &mut Session) {
        session.will_due = None;
        if let Some(will) = session.will.take() {
            let parts = || {
                if !session.stored {
                    return Vec::new();
                }
                self.store.records(&session.client_id, vec![self.store.base(session)])
            };
            self.publish_will(session, &will, parts).await;
        }
    }

    /// Publishes a will, if its client still has the right to; answers whether `with` is in the log.
    async fn publish_will(
        self: &Arc<Self>,
        session: &Session,
        will: &Will,
        with: impl Fn() -> Vec<(TopicPartition, Record)>,
    ) -> bool {
        let may = |login: Arc<Login>| self.may_publish(&mut Rights::new(login), &will.publication);
        if session.login.clone().is_none_or(may) {
            return self.publish_until_stored(&will.publication, with).await;
        }
        tracing::info!(client = %show(&session.client_id), "a will is not published: the right to has gone");
        let records = with();
        records.is_empty() || self.hub.door.append_atomic(records).await.is_ok()
    }

    /// Serves alarms for ever.
    pub(crate) async fn run_timers(self: Arc<Self>) {
        loop {
            let client_id = self.timers.next().await;
            let broker = self.clone();
            // One slow log must not hold up the alarms of others.
            self.hub.spawn(async move { broker.alarm(client_id).await });
        }
    }

    async fn alarm(self: Arc<Self>, client_id: bytes::Bytes) {
        let Some(seat) = self.registry.find(&client_id) else { return };
        let state = seat.state.lock().await;
        if state.live.as_ref().is_some_and(|l| !*l.ended.borrow()) {
            return;
        }
        let taken = seat.session.lock().take();
        if let Some(session) = taken {
            let expires = session.ends.is_some_and(|at| at <= Instant::now());
            if expires {
                crate::stats::Stats::add(&self.stats.expired, 1);
                tracing::info!(client = %show(&client_id), "session expired");
            }
            self.settle(&seat, session).await;
        }
        drop(state);
        self.registry.remove_if_empty(&seat);
    }

    /// Takes over the sessions read at start. One that was connected when the server stopped is treated as if
    /// its connection had broken now; one that was not has waited as long as the clock says.
    // Sessions are boxed wherever they go: they move through many futures.
    #[allow(clippy::vec_box)]
    pub(crate) fn adopt(self: &Arc<Self>, sessions: Vec<Box<Session>>) {
        let mut broken = Vec::new();
        for session in sessions {
            let client_id = session.client_id.clone();
            // The clock of its expiry must not start anew with every restart.
            broken.extend(self.take_in(session).map(|base| (client_id, base)));
        }
        let broker = self.clone();
        self.hub.spawn(async move {
            for (client_id, base) in broken {
                let Some(seat) = broker.registry.find(&client_id) else { continue };
                // Whoever has connected since has written a newer one.
                let _state = seat.state.lock().await;
                let away = seat.session.lock().is_some();
                if away && let Err(error) = broker.store.write(&client_id, vec![base]).await {
                    tracing::warn!(client = %show(&client_id), %error, "cannot save a session");
                }
            }
        });
    }

    /// Puts a session that was read from the log on its seat; answers its own record when that has changed.
    pub(crate) fn take_in(
        self: &Arc<Self>,
        mut session: Box<Session>,
    ) -> Option<(Key, Option<bytes::Bytes>)> {
        let was_connected = session.disconnected_ms.is_none();
        session.disconnected_ms.get_or_insert_with(now_ms);
        self.plan_end(&mut session);
        if !session.is_persistent() {
            session.ends = session.will_due.max(session.ends);
        }
        let base = was_connected.then(|| self.store.base(&session));
        let next = [session.will_due, session.ends].into_iter().flatten().min();
        self.timers.set(&session.client_id, next);
        let seat = self.registry.seat(&session.client_id);
        seat.session.lock().replace(session);
        base
    }

    /// Works out when a session that was read from the log ends and its will is due, if it has no connection.
    pub(crate) fn plan_end(&self, session: &mut Session) {
        let Some(since) = session.disconnected_ms else { return };
        let now = Instant::now();
        let waited = Duration::from_millis(u64::try_from(now_ms().saturating_sub(since)).unwrap_or(0));
        let due = |after: Duration| now.checked_add(after.saturating_sub(waited));
        let lifetime = session.lifetime(self.config.limits.persistent_client_expiration);
        session.ends = lifetime.and_then(due);
        session.will_due = session.will.as_ref().and_then(|will| due(will_delay(will.delay_s, lifetime)));
    }
}

/// The will comes when its delay is over or the session ends, whichever is first; but where the session ends with
/// its connection the delay still counts, as with Mosquitto, so that a client that is back soon is not mourned.
fn will_delay(delay_s: u32, lifetime: Option<Duration>) -> Duration {
    let delay = Duration::from_secs(u64::from(delay_s));
    match lifetime {
        Some(lifetime) if !lifetime.is_zero() => delay.min(lifetime),
        _ => delay,
    }
}

/// A client id for people to read, cut to what a line of a log can bear.
pub(crate) fn show(client_id: &[u8]) -> String {
    const SHOWN_MAX: usize = 80;
    let text = String::from_utf8_lossy(client_id);
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}
