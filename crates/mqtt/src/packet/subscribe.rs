//! SUBSCRIBE: from now on, and what is retained.

use std::sync::Arc;

use bytes::Bytes;
use client::door::StartAt;
use mqtt_codec::topic::SharedFilter;
use mqtt_codec::{Packet, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, Subscription as Asked};

use super::replay::{self, Replay};
use crate::auth::Access;
use crate::message::now_ms;
use crate::net::{Close, Connection};
use crate::subscriptions::Subscription;

impl Connection {
    pub(super) async fn handle_subscribe(&mut self, s: Subscribe) -> Result<(), Close> {
        // What this client published before must count as published before; what others published and had
        // acknowledged too.
        self.finish_steps().await?;
        self.broker.retained.settle().await;
        self.broker.exposed.settle().await;
        if let Some(nodes) = &self.broker.nodes {
            nodes.settle_retained().await;
        }
        let id = s.properties.subscription_identifier;
        let start = s.properties.user_properties.iter().rev().find(|u| u.name == replay::START);
        let start = start.map(|u| u.value.as_str());
        let slashes_max = self.broker.config.limits.max_topic_levels;
        if s.subscriptions.iter().any(|a| a.filter.bytes().filter(|b| *b == b'/').count() > slashes_max) {
            return Err(Close::error(ReasonCode::MalformedPacket, "topic filter with too many levels"));
        }
        let mut reasons = Vec::with_capacity(s.subscriptions.len());
        let mut retained: Vec<Arc<Subscription>> = Vec::new();
        let mut refused: Option<String> = None;
        for asked in &s.subscriptions {
            match self.subscribe(asked, id, start).await {
                Ok((granted, new)) => {
                    reasons.push(ReasonCode::granted(granted.qos));
                    let send = match asked.retain_handling {
                        RetainHandling::SendIfNew => new,
                        RetainHandling::DoNotSend => false,
                        RetainHandling::Send => true,
                    };
                    // A share group gets no retained messages.
                    if send && !granted.shared && self.broker.config.limits.retain_available {
                        retained.push(granted);
                    }
                }
                Err(reason) => {
                    refused.get_or_insert_with(|| format!("{}: {}", asked.filter, reason.name()));
                    reasons.push(reason);
                }
            }
        }
        self.no_local = self.session.consumer.has_no_local();
        self.shares = self.broker.hub.shares_of(&self.session.consumer);
        self.settle_groups(&s).await?;
        if self.session.is_persistent() {
            let parts = self.broker.store.whole(&mut self.session);
            if let Err(error) = self.broker.store.write(&self.session.client_id, parts).await {
                // The session in the log is the one of before: do not claim anything else.
                return Err(Close::storage(&error));
            }
        }
        let mut ack = SubAck::new(s.packet_id, reasons);
        let fits = |why: &String| 16 + why.len() + ack.reasons.len() <= self.packet_size_max;
        ack.properties.reason_string = refused.filter(|why| self.tells.reasons && fits(why));
        self.send(&Packet::SubAck(ack));
        for subscription in retained {
            let messages = self.broker.retained.matching(&subscription.filter);
            let waiting = self.session.consumer.retained_waiting();
            if waiting + messages.len() <= 2 * self.broker.config.limits.max_retained {
                self.session.consumer.push_retained(&subscription, messages);
            }
        }
        Ok(())
    }

    /// Where several nodes share the log, a group's beginning has to stand there before others may count on it.
    async fn settle_groups(&mut self, asked: &Subscribe) -> Result<(), Close> {
        let Some(nodes) = self.broker.nodes.clone() else { return Ok(()) };
        for group in &self.shares.clone() {
            if group.replays && self.session.is_persistent() {
                self.broker.store.write_group(group).await.map_err(|error| Close::storage(&error))?;
            } else if !group.replays && asked.subscriptions.iter().any(|a| a.filter.starts_with("$share/")) {
                nodes.settle_group(&group.name).await;
            }
        }
        Ok(())
    }

    async fn subscribe(
        &mut self,
        asked: &Asked,
        id: Option<u32>,
        start: Option<&str>,
    ) -> Result<(Arc<Subscription>, bool), ReasonCode> {
        // To MQTT 3 it is a filter like any other, which matches nothing.
        let shared = SharedFilter::parse(&asked.filter).filter(|_| self.version.is_v5());
        let replayed = Replay::parse(&asked.filter);
        let asked_filter = match (shared, replayed) {
            (Some(s), _) => s.filter,
            (None, Some(r)) => r.filter,
            (None, None) => asked.filter.as_str(),
        };
        let start = replayed.map(|r| r.start).or(start);
        let replay = start.map(|text| replay::start(text, now_ms()));
        if replay.is_some_and(|at| at.is_none() || shared.is_some() || !replay::is_replayable(asked_filter)) {
            return Err(self.failure(ReasonCode::TopicFilterInvalid));
        }
        let replay: Option<StartAt> = replay.flatten();
        let mount = self.listener.config.mount_point.as_deref().unwrap_or_default();
        let plain: Box<str> = format!("{mount}{asked_filter}").into();
        let filter: Box<str> = match (shared, replayed) {
            (Some(s), _) => format!("$share/{}/{plain}", s.group).into(),
            (None, Some(r)) => r.key(mount).into(),
            (None, None) => plain.clone(),
        };
        if !self.rights.allow(Access::Subscribe, &Bytes::copy_from_slice(plain.as_bytes())) {
            return Err(self.failure(ReasonCode::NotAuthorized));
        }
        if !self.log_allows(&plain, shared.is_some().then_some(&*filter)) {
            return Err(self.failure(ReasonCode::NotAuthorized));
        }
        let shared = shared.is_some();
        let consumer = self.session.consumer.clone();
        let mut old = consumer.subscription(&filter);
        if old.as_ref().is_some_and(|old| replay.is_some() || old.replays) {
            // A replay begins anew each time it is asked for.
            self.broker.hub.unsubscribe(&consumer, &filter);
            old = None;
        }
        if old.is_none() && consumer.subscription_count() >= self.broker.config.limits.max_subscriptions {
            return Err(self.failure(ReasonCode::QuotaExceeded));
        }
        if replay.is_some() && consumer.replays() >= self.broker.config.limits.max_replays {
            return Err(self.failure(ReasonCode::QuotaExceeded));
        }
        let new = old.is_none();
        // Replacing a subscription loses nothing: it goes on where the old one began.
        let starts = match old {
            Some(old) => old.starts.clone(),
            None => self.broker.hub.starts(&plain, replay).await.map_err(|error| {
                tracing::warn!(client = %self.name(), %error, "cannot subscribe");
                self.failure(ReasonCode::ImplementationSpecificError)
            })?,
        };
        let mut max_qos = QoS::from_u8(self.listener.config.max_qos).unwrap_or_default();
        if replay.is_some() {
            // After a kill some of it comes again.
            max_qos = max_qos.min(QoS::AtLeastOnce);
        }
        let subscription = Arc::new(Subscription {
            filter: plain,
            qos: asked.qos.min(max_qos),
            no_local: asked.no_local || self.is_bridge,
            retain_as_published: asked.retain_as_published || self.is_bridge,
            retain_handling: asked.retain_handling as u8,
            id,
            shared: shared || replay.is_some(),
            replays: replay.is_some(),
            starts,
        });
        let persistent = self.session.is_persistent();
        self.broker.hub.subscribe(&consumer, &filter, subscription.clone(), persistent);
        Ok((subscription, new))
    }

    /// Whether the log lets the client read anything that a filter may find. A filter that begins with a wildcard is
    /// granted, as a pattern subscription in Kafka is: it finds what may be read.
    fn log_allows(&mut self, plain: &str, group: Option<&str>) -> bool {
        let Some(kafka) = &mut self.rights.kafka else { return true };
        if group.is_some_and(|group| !kafka.may_join(group)) {
            return false;
        }
        if plain.starts_with('$') {
            return kafka.may_watch();
        }
        plain.starts_with(['+', '#'])
            || self.broker.hub.routes.named(plain).iter().any(|topic| kafka.may_read(topic))
    }

    /// A SUBACK reason: MQTT 3 knows only 0x80.
    fn failure(&self, reason: ReasonCode) -> ReasonCode {
        if self.version.is_v5() { reason } else { ReasonCode::UnspecifiedError }
    }
}
