//! PUBLISH from a client: into the log, then PUBACK or PUBREC.

use std::sync::Arc;

use bytes::Bytes;
use client::door::{Ack, DoorError, Record, TopicPartition};
use mqtt_codec::{PacketId, PropertiesBuf, Property, Publish, QoS, ReasonCode};

use crate::auth::{Access, Source};
use crate::broker::owned;
use crate::config::AckLevel;
use crate::dead_letter::DeadLetters;
use crate::dynsec;
use crate::message::{Message, PartitionId, Position, Publication, now_ms};
use crate::net::{Close, Connection, Sent, Step};
use crate::session::Step2;
use crate::session::store::SessionStore;
use crate::stats::Stats;

/// Where topics begin that commands are sent to.
const CONTROL: &[u8] = b"$CONTROL/";
const NO_RIGHT: &str = "no right to publish to this topic";

impl Connection {
    pub(super) async fn handle_publish(&mut self, p: Publish) -> Result<(), Close> {
        Stats::add(&self.broker.stats.publish_received, 1);
        Stats::add(&self.broker.stats.publish_bytes_received, p.payload.len());
        if p.qos.as_u8() > self.listener.config.max_qos {
            return Err(Close::error(ReasonCode::QosNotSupported, "PUBLISH with a QoS that is switched off"));
        }
        if p.retain && !self.broker.config.limits.retain_available {
            return Err(Close::error(ReasonCode::RetainNotSupported, "retained messages are switched off"));
        }
        let topic = self.topic_of(&p)?;
        if let Some(id) = p.packet_id {
            if p.qos == QoS::ExactlyOnce {
                match self.session.inbound.publish(id) {
                    Step2::Store => {}
                    Step2::Again => {
                        // In its turn behind what is under way.
                        let level = AckLevel::default();
                        let sent = Sent { id: Some(id), qos: p.qos, matched: true, level };
                        self.later(std::future::ready(Step::Published { sent, result: Ok(None) }));
                        return Ok(());
                    }
                    Step2::Wait => return Ok(()),
                    Step2::TooOften => return Err(Close::protocol("the same QoS 2 PUBLISH again and again")),
                }
            }
            self.receiving += 1;
            if self.version.is_v5() && self.receiving > usize::from(self.receive_maximum) {
                return Err(Close::error(
                    ReasonCode::ReceiveMaximumExceeded,
                    "more publishes than the receive maximum",
                ));
            }
        }
        if is_bridge_state(&topic)
            && self.rights.allow(Access::Write, &topic)
            && self.rights.kafka.as_mut().is_none_or(|k| k.may_bridge())
        {
            self.publish_bridge_state(p, topic);
            return Ok(());
        }
        if topic.starts_with(CONTROL) && self.control(&p, &topic) {
            return Ok(());
        }
        if let Some((reason, why)) = self.refusal(&p, &topic) {
            self.later_refused(p.packet_id, p.qos, reason, why);
            return Ok(());
        }
        self.store(p, topic).await
    }

    /// The topic with alias and mount point resolved.
    fn topic_of(&mut self, p: &Publish) -> Result<Bytes, Close> {
        let mut topic = p.topic.bytes().clone();
        if let Some(alias) = p.properties.properties().topic_alias() {
            let at = usize::from(alias.wrapping_sub(1));
            if alias == 0 || alias > self.listener.config.max_topic_alias {
                return Err(Close::error(ReasonCode::TopicAliasInvalid, "topic alias out of range"));
            }
            if self.aliases.len() <= at {
                self.aliases.resize(at + 1, Bytes::new());
            }
            let known = self.aliases.get_mut(at).ok_or_else(|| Close::protocol("topic alias"))?;
            if topic.is_empty() {
                topic = known.clone();
            } else {
                *known = Bytes::copy_from_slice(&topic);
            }
            if topic.is_empty() {
                return Err(Close::protocol("PUBLISH with a topic alias that was not set"));
            }
        }
        if let Some(link) = &self.link {
            topic = link.local_name(&topic);
        }
        if let Some(mount) = &self.listener.config.mount_point {
            topic = [mount.as_bytes(), &topic].concat().into();
        }
        if topic.iter().filter(|b| **b == b'/').count() > self.broker.config.limits.max_topic_levels {
            return Err(Close::protocol("topic with too many levels"));
        }
        Ok(topic)
    }

    /// Why a publish that breaks no rule of the protocol is not accepted.
    fn refusal(&mut self, p: &Publish, topic: &Bytes) -> Option<(ReasonCode, &'static str)> {
        if !self.rights.allow(Access::Write, topic) {
            return Some((ReasonCode::NotAuthorized, NO_RIGHT));
        }
        if topic.starts_with(b"$") {
            return Some((ReasonCode::NotAuthorized, "topics that begin with $ are the server's own"));
        }
        if self.broker.config.message_size_limit.is_some_and(|max| p.payload.len() > max) {
            return Some((ReasonCode::PacketTooLarge, "the payload is over message_size_limit"));
        }
        None
    }

    /// The state of a bridge, which the bridge itself publishes under `$SYS`: kept and delivered here, not logged.
    fn publish_bridge_state(&mut self, p: Publish, topic: Bytes) {
        let retain = p.retain;
        let message = Arc::new(Message {
            publication: owned(&Publication {
                topic,
                payload: p.payload,
                qos: p.qos,
                retain,
                properties: forwarded(p.properties),
                expiry_s: None,
                client: None,
                source: None,
            }),
            stored_ms: now_ms(),
            position: None,
        });
        let matched = self.broker.hub.subscriptions.any_match(message.topic());
        self.broker.hub.deliver_local(&message);
        if retain {
            let kept = (!message.publication.payload.is_empty()).then(|| message.clone());
            let at = Position { partition: PartitionId::NONE, offset: message.stored_ms };
            self.broker.retained.apply(message.publication.topic.clone(), kept, at);
        }
        let sent = Sent { id: p.packet_id, qos: p.qos, matched, level: AckLevel::default() };
        self.later(std::future::ready(Step::Published { sent, result: Ok(None) }));
    }

    /// Commands to dynamic security; `false` = this is none that may be given.
    fn control(&mut self, p: &Publish, topic: &Bytes) -> bool {
        if **topic != *dynsec::REQUEST_TOPIC.as_bytes() || !self.rights.allow(Access::Write, topic) {
            return false;
        }
        let security = self.listener.security.load_full();
        let Some(dynamic) = security.authorizer.as_ref().and_then(|a| a.control()).cloned() else {
            return false;
        };
        let (broker, payload) = (self.broker.clone(), Bytes::copy_from_slice(&p.payload));
        let user = self.rights.login().user_name.clone().unwrap_or_default();
        let admin = format!("{}/{user}", self.name());
        let sent = Sent { id: p.packet_id, qos: p.qos, matched: true, level: AckLevel::default() };
        self.later(async move {
            // Files and hashes take their time.
            let answer = tokio::task::spawn_blocking(move || dynamic.control(&payload, &admin)).await;
            let result = match answer {
                Ok(answer) => {
                    broker.tell(dynsec::RESPONSE_TOPIC, answer.payload);
                    // Apart from this connection, which may be one of them.
                    let kicks = broker.clone();
                    broker.hub.spawn(async move { kicks.kick_users(&answer.kicks).await });
                    Ok(None)
                }
                Err(_) => Err(DoorError::Unavailable("the commands were not carried out".to_owned())),
            };
            Step::Published { sent, result }
        });
        true
    }

    async fn store(&mut self, p: Publish, topic: Bytes) -> Result<(), Close> {
        let has_source = p.retain && self.broker.config.check_retain_source;
        let publication = Publication {
            source: if has_source { Source::of(self.rights.login()) } else { None },
            payload: p.payload,
            qos: p.qos,
            retain: p.retain,
            expiry_s: expiry(&p.properties),
            properties: forwarded(p.properties),
            client: self.no_local.then(|| self.session.client_id.clone()),
            topic,
        };
        let Ok(name) = std::str::from_utf8(&publication.topic) else { return Err(Close::protocol("topic")) };
        let keeps = !self.version.is_v5()
            && p.qos != QoS::AtMostOnce
            && self.broker.config.dead_letters != DeadLetters::Off;
        let located = match self.located(&publication.topic, name) {
            Some(l) => Ok(l),
            None if self.may_create(name) => {
                // Rare, and large: it shall not make every connection larger.
                Box::pin(self.broker.locate(name)).await
            }
            None => {
                self.later_refused(p.packet_id, p.qos, ReasonCode::NotAuthorized, NO_RIGHT);
                return Ok(());
            }
        };
        let to = match located {
            Ok(to) => to,
            Err(error) if keeps => {
                let (broker, topic) = (Arc::clone(&self.broker), self.broker.hub.routes.target(name).topic);
                let state = self.inbound_state(p.packet_id, p.qos);
                let sent = Sent { id: p.packet_id, qos: p.qos, matched: true, level: AckLevel::default() };
                self.later(async move {
                    let kept = broker.keep_refused(&publication, &topic, error, state).await;
                    Step::Published { sent, result: kept.map(|_| None) }
                });
                return Ok(());
            }
            Err(error) => {
                self.later_failed(p.packet_id, p.qos, error);
                return Ok(());
            }
        };
        if let Some(kafka) = &mut self.rights.kafka
            && !kafka.may_write(&to.partition.name.topic)
        {
            self.later_refused(p.packet_id, p.qos, ReasonCode::NotAuthorized, NO_RIGHT);
            return Ok(());
        }
        if to.retains(&publication) && !self.broker.may_retain(&publication) {
            let why = "there are as many retained messages as may be";
            self.later_refused(p.packet_id, p.qos, ReasonCode::QuotaExceeded, why);
            return Ok(());
        }
        // Who subscribes at another node is not known here.
        let matched = !self.version.is_v5()
            || p.qos != QoS::AtLeastOnce
            || self.broker.nodes.is_some()
            || std::str::from_utf8(&publication.topic)
                .is_ok_and(|t| self.broker.hub.subscriptions.any_match(t));
        let with = self.inbound_state(p.packet_id, p.qos);
        let in_memory = to.level == AckLevel::Memory && p.qos == QoS::AtLeastOnce;
        let ack = if p.qos == QoS::AtMostOnce || in_memory { Ack::Leader } else { Ack::All };
        let sent = Sent { id: p.packet_id, qos: p.qos, matched, level: to.level };
        if !to.retains(&publication) && with.is_empty() {
            let record = to.record_of(&publication);
            self.gather(&to.partition, ack, record, sent, Some(publication).filter(|_| keeps));
            return Ok(());
        }
        // After what was gathered before.
        self.flush();
        let bytes = self.broker.stats.begin_bytes(publication.payload.len());
        let state = if keeps { with.clone() } else { Vec::new() };
        let written = self.broker.append(&publication, &to, ack, with);
        let (partition, broker) = (to.partition, Arc::clone(&self.broker));
        self.later(async move {
            let mut result = written.await;
            if let (true, Err(error)) = (keeps, &result) {
                let topic = &partition.name.topic;
                result = broker.keep_refused(&publication, topic, error.clone(), state).await;
            }
            let result = result.map(|offset| Some((partition, offset)));
            drop(bytes);
            Step::Published { sent, result }
        });
        Ok(())
    }

    /// What says in the log that a QoS 2 message was taken: written together with it.
    fn inbound_state(&self, id: Option<PacketId>, qos: QoS) -> Vec<(TopicPartition, Record)> {
        match id {
            Some(id) if qos == QoS::ExactlyOnce && self.session.is_persistent() => {
                let part = SessionStore::inbound(&self.session, id);
                self.broker.store.records(&self.session.client_id, vec![part])
            }
            _ => Vec::new(),
        }
    }

    /// Whether the Kafka topic that a message goes to may be made on this client's account, where it is not there. Those
    /// of explicit routes are the operator's.
    fn may_create(&mut self, topic: &str) -> bool {
        let Some(kafka) = &mut self.rights.kafka else { return true };
        let target = self.broker.hub.routes.target(topic);
        kafka.may_write(&target.topic) && (target.explicit || kafka.may_create(&target.topic))
    }

    fn later_refused(&mut self, id: Option<PacketId>, qos: QoS, reason: ReasonCode, why: &'static str) {
        self.later(std::future::ready(Step::Refused { id, qos, reason, why }));
    }

    fn later_failed(&mut self, id: Option<PacketId>, qos: QoS, error: DoorError) {
        let sent = Sent { id, qos, matched: true, level: AckLevel::default() };
        self.later(std::future::ready(Step::Published { sent, result: Err(error) }));
    }
}

fn is_bridge_state(topic: &[u8]) -> bool {
    topic
        .strip_prefix(b"$SYS/broker/connection/")
        .and_then(|t| t.strip_suffix(b"/state"))
        .is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
}

fn expiry(properties: &PropertiesBuf) -> Option<u32> {
    properties.iter().find_map(|p| match p {
        Property::MessageExpiryInterval(s) => Some(s),
        _ => None,
    })
}

/// The properties that are passed on.
fn forwarded(properties: PropertiesBuf) -> PropertiesBuf {
    let passed = |p: &Property<'_>| {
        matches!(
            p,
            Property::PayloadFormatIndicator(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::UserProperty(..)
        )
    };
    if properties.iter().all(|p| passed(&p)) {
        return properties;
    }
    PropertiesBuf::from_properties(properties.iter().filter(passed)).unwrap_or_default()
}
