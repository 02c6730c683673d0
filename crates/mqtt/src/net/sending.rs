//! What goes out: deliveries as window and output have room, and packets.

use std::sync::Arc;

use mqtt_codec::{
    Ack, AckProperties, Disconnect, Packet, PacketId, PacketType, Property, PublishHead, QoS, ReasonCode,
};

use super::aliases::Alias;
use super::answers::Step;
use super::connection::Connection;
use super::listener::Listener;
use crate::auth::{Access, Source};
use crate::deliver::{Delivery, ShareGroup};
use crate::message::now_ms;
use crate::session::record::SlotState;
use crate::session::{Next, Origin};
use crate::stats::Stats;

/// Deliveries taken from the queue at a time.
const TAKE: usize = 256;

impl Connection {
    /// Moves deliveries from the queue to the output, as far as output and window have room. Answers whether it
    /// ended for want of room in the output.
    pub(super) fn take_deliveries(&mut self) -> bool {
        let mut more = true;
        while !self.output.is_full() {
            let mut deliveries = std::mem::take(&mut self.deliveries);
            self.session.consumer.take(TAKE, self.session.outbound.room(), &mut deliveries);
            let taken = deliveries.len();
            let now = now_ms();
            for delivery in deliveries.drain(..) {
                self.deliver(delivery, None, now);
            }
            self.deliveries = deliveries;
            if taken < TAKE {
                more = false;
                break;
            }
        }
        for at in 0..self.shares.len() {
            let Some(group) = self.shares.get(at).cloned() else { break };
            if self.output.is_full() {
                group.decline(&self.session.consumer);
                more = true;
                continue;
            }
            let mut deliveries = std::mem::take(&mut self.deliveries);
            group.take(&self.session.consumer, self.session.outbound.room(), &mut deliveries);
            for delivery in deliveries.drain(..) {
                self.deliver_shared(delivery, &group);
            }
            self.deliveries = deliveries;
        }
        more
    }

    /// Sends what was taken from a share group, as this member's own subscription says.
    fn deliver_shared(&mut self, mut delivery: Delivery, group: &Arc<ShareGroup>) {
        let Some(own) = self.session.consumer.subscription(&group.filter) else {
            group.give_back(vec![delivery]);
            return;
        };
        let taken = delivery.message.position.filter(|_| delivery.qos != QoS::AtMostOnce);
        delivery.qos = delivery.qos.min(own.qos);
        delivery.retain &= own.retain_as_published;
        delivery.subscription_ids = own.id.into_iter().collect();
        let acknowledged = delivery.qos != QoS::AtMostOnce;
        let under_way = self.session.outbound.len();
        self.deliver(delivery, acknowledged.then(|| group.clone()), now_ms());
        // Sent with QoS 0, or dropped: nothing will be acknowledged.
        let over = !acknowledged || self.session.outbound.len() == under_way;
        if let Some(at) = taken.filter(|_| over) {
            group.done(at);
        }
    }

    fn deliver(&mut self, mut delivery: Delivery, share: Option<Arc<ShareGroup>>, now_ms: i64) {
        if let Some(link) = &self.link {
            delivery.qos = link.granted(delivery.qos);
        }
        if !self.may_get(&delivery) {
            if delivery.qos != QoS::AtMostOnce {
                self.session.dirty = true;
                // As with Mosquitto what was queued while the client was away has used up a packet identifier.
                if delivery.message.stored_ms < self.since_ms && !delivery.from_retained {
                    self.session.outbound.skip_id();
                }
            }
            return;
        }
        if delivery.qos == QoS::AtMostOnce {
            self.send_publish(None, &delivery.into(), false);
            return;
        }
        self.session.dirty = true;
        if delivery.message.life_left(now_ms).is_none() || self.is_too_large(&delivery) {
            // As with Mosquitto it has used up its packet identifier.
            if !delivery.from_retained {
                self.session.outbound.skip_id();
            }
            Stats::add(&self.broker.stats.publish_dropped, 1);
            return;
        }
        let origin = Origin { share, ..Origin::from(delivery) };
        let durable = self.session.is_persistent() && origin.position.is_some();
        let (id, next) = self.session.outbound.admit(origin.clone(), durable);
        match next {
            Next::Send => self.send_publish(Some(id), &origin, false),
            Next::Store(slot) => self.store_slot(id, slot, &origin),
        }
    }

    fn may_get(&mut self, delivery: &Delivery) -> bool {
        let topic = &delivery.message.publication.topic;
        if !self.rights.allow(Access::Read, topic) {
            return false;
        }
        let source = delivery.message.publication.source.as_deref().filter(|_| delivery.from_retained);
        let broker = &self.broker;
        if broker.config.check_retain_source
            && let Some(source) = source.and_then(Source::parse)
            && !source.may_write(&broker.listeners, delivery.message.topic())
        {
            return false;
        }
        let Some(kafka) = &mut self.rights.kafka else { return true };
        let hub = &self.broker.hub;
        match delivery.message.position {
            None => kafka.may_watch(),
            Some(_) if delivery.from_retained => {
                kafka.may_read(&hub.routes.target(delivery.message.topic()).topic)
            }
            Some(at) => hub.partitions.by_id(at.partition).is_some_and(|p| kafka.may_read(&p.name.topic)),
        }
    }

    /// Writes a QoS 2 delivery's packet identifier; PUBLISH follows.
    pub(super) fn store_slot(&mut self, id: PacketId, slot: u16, origin: &Origin) {
        let part = self.broker.store.slot(&mut self.session, slot, id, origin, SlotState::Publish);
        let Some(part) = part else {
            self.session.outbound.give_up(id);
            return;
        };
        let written = self.broker.store.write(&self.session.client_id, vec![part]);
        self.later(async move { Step::SlotStored { id, result: written.await } });
    }

    fn is_too_large(&self, d: &Delivery) -> bool {
        let p = &d.message.publication;
        let least = p.topic.len() + p.payload.len() + p.properties.properties().as_bytes().len();
        // The exact length is looked at only where it can matter.
        least + 32 + 5 * d.subscription_ids.len() > self.packet_size_max
            && self.head_len(d).is_none_or(|len| len > self.packet_size_max)
    }

    fn head_len(&self, d: &Delivery) -> Option<usize> {
        let p = &d.message.publication;
        let topic = self.unmounted(d.message.topic());
        let alias = self.outgoing_aliases.of(topic.as_bytes());
        let extra = extra_properties(&d.subscription_ids, p.expiry_s, alias);
        let head = PublishHead {
            dup: false,
            qos: d.qos,
            retain: d.retain,
            topic: if matches!(alias, Alias::Known(_)) { "" } else { topic },
            packet_id: (d.qos != QoS::AtMostOnce).then_some(PacketId::MIN),
            properties: p.properties.properties(),
            extra: &extra,
        };
        head.packet_len(self.version, p.payload.len()).ok()
    }

    fn unmounted<'t>(&self, topic: &'t str) -> &'t str {
        unmounted(&self.listener, topic)
    }

    /// Writes PUBLISH. One that cannot be sent (expired, too large) is left out and counts as delivered.
    pub(super) fn send_publish(&mut self, id: Option<PacketId>, origin: &Origin, dup: bool) {
        let Some(message) = &origin.message else { return };
        let p = &message.publication;
        let left = message.life_left(now_ms());
        // What was sent before is sent again even when it has expired since: the exchange has to end.
        let expiry = left.unwrap_or(dup.then_some(0));
        let mount = self.listener.clone();
        let remote = self.link.as_ref().map(|l| l.outgoing(message.topic(), origin.retain));
        let (topic, retain) = match &remote {
            Some((name, retain)) => (std::str::from_utf8(name).unwrap_or_default(), *retain),
            None => (unmounted(&mount, message.topic()), origin.retain),
        };
        let alias = self.outgoing_aliases.of(topic.as_bytes());
        let fits = {
            let extra = extra_properties(&origin.subscription_ids, expiry, alias);
            let head = PublishHead {
                dup,
                qos: if id.is_some() { origin.qos } else { QoS::AtMostOnce },
                retain,
                topic: if matches!(alias, Alias::Known(_)) { "" } else { topic },
                packet_id: id,
                properties: p.properties.properties(),
                extra: &extra,
            };
            let too_large = self.packet_size_max < usize::MAX
                && head.packet_len(self.version, p.payload.len()).is_ok_and(|len| len > self.packet_size_max);
            (left.is_some() || dup)
                && !too_large
                && head.encode(self.version, p.payload.len(), self.output.encode_to()).is_ok()
        };
        if !fits {
            Stats::add(&self.broker.stats.publish_dropped, 1);
            if let Some(id) = id {
                self.session.outbound.give_up(id);
            }
            return;
        }
        self.outgoing_aliases.sent(topic.as_bytes(), alias);
        if let Some(link) = &mut self.link {
            link.moved();
        }
        self.output.put_payload(&p.payload);
        Stats::add(&self.broker.stats.packets_sent, 1);
        Stats::add(&self.broker.stats.publish_sent, 1);
        Stats::add(&self.broker.stats.publish_bytes_sent, p.payload.len());
    }

    /// Writes PUBREL.
    pub(crate) fn send_pubrel(&mut self, id: PacketId, reason: ReasonCode) {
        self.send_ack(PacketType::PubRel, id, reason);
    }

    /// Writes one of the four acknowledgements.
    pub(crate) fn send_ack(&mut self, packet: PacketType, id: PacketId, reason: ReasonCode) {
        self.send_ack_with(packet, id, reason, AckProperties::default());
    }

    /// Writes one of the four acknowledgements, with properties as far as the client wants and can take them.
    pub(crate) fn send_ack_with(
        &mut self,
        packet: PacketType,
        id: PacketId,
        reason: ReasonCode,
        properties: AckProperties,
    ) {
        Stats::add(&self.broker.stats.packets_sent, 1);
        if self.version.is_v5() && !reason.allowed_in(packet) {
            // "Packet too large" is none of PUBACK's reasons, but what Mosquitto says, and clients understand it.
            let [high, low] = id.get().to_be_bytes();
            self.output.encode_to().extend_from_slice(&[(packet as u8) << 4, 3, high, low, reason.as_u8()]);
            return;
        }
        let mut ack = Ack::with_reason(id, reason);
        if self.tells.problems && ack_bytes_max(&properties) <= self.packet_size_max {
            ack.properties = properties;
        }
        if let Err(error) = ack.encode(packet, self.version, self.output.encode_to()) {
            tracing::error!(client = %self.name(), %packet, %error, "cannot write an acknowledgement");
        }
    }

    /// Writes any packet.
    pub(crate) fn send(&mut self, packet: &Packet) {
        Stats::add(&self.broker.stats.packets_sent, 1);
        if let Err(error) = packet.encode(self.version, self.output.encode_to()) {
            tracing::error!(client = %self.name(), packet = %packet.packet_type(), %error, "cannot write a packet");
        }
    }

    pub(super) fn send_disconnect(&mut self, reason: ReasonCode, why: String) {
        let mut packet = Disconnect::new(reason);
        if let (ReasonCode::ServerShuttingDown, Some(other)) = (reason, &self.broker.config.redirect) {
            packet.reason = ReasonCode::UseAnotherServer;
            packet.properties.server_reference = Some(other.reference.clone());
        }
        let fits = 12 + why.len() <= self.packet_size_max;
        packet.properties.reason_string = Some(why).filter(|_| self.tells.reasons && fits);
        self.send(&Packet::Disconnect(packet));
    }
}

/// At least what an acknowledgement with these properties takes.
fn ack_bytes_max(properties: &AckProperties) -> usize {
    let users = properties.user_properties.iter().map(|u| 5 + u.name.len() + u.value.len());
    let reason = properties.reason_string.as_ref().map_or(0, |s| 3 + s.len());
    12 + reason + users.sum::<usize>()
}

/// A topic as the clients of a listener know it.
fn unmounted<'t>(listener: &Listener, topic: &'t str) -> &'t str {
    let mount = listener.config.mount_point.as_deref();
    mount.and_then(|m| topic.strip_prefix(m)).filter(|t| !t.is_empty()).unwrap_or(topic)
}

fn extra_properties(subscription_ids: &[u32], expiry: Option<u32>, alias: Alias) -> Vec<Property<'static>> {
    let ids = subscription_ids.iter().map(|id| Property::SubscriptionIdentifier(*id));
    let alias = alias.number().map(Property::TopicAlias);
    ids.chain(expiry.map(Property::MessageExpiryInterval)).chain(alias).collect()
}
