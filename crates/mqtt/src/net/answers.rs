//! What was put under way and has ended: acknowledgements, in the order of what they acknowledge.

use std::sync::Arc;

use client::door::DoorError;
use mqtt_codec::{AckProperties, PacketId, PacketType, QoS, ReasonCode, UserProperty};

use super::close::Close;
use super::connection::Connection;
use super::gathered::{Sent, settle_published};
use super::under_way::UnderWay;
use crate::broker::reason_of;
use crate::config::AckLevel;
use crate::deliver::Partition;
use crate::packet::connect;
use crate::session::Session;
use crate::stats::Stats;

/// Something that was under way and has ended.
#[derive(Debug)]
pub(crate) enum Step {
    /// A publish is in the log, or not.
    Published { sent: Sent, result: Result<Option<(Arc<Partition>, i64)>, DoorError> },
    /// Publishes that were gathered are in the log, or not.
    AllPublished { partition: Arc<Partition>, publishes: Vec<Sent>, results: Vec<Result<i64, DoorError>> },
    /// A publish was not accepted.
    Refused { id: Option<PacketId>, qos: QoS, reason: ReasonCode, why: &'static str },
    /// The release of an inbound QoS 2 publish is in the log, or not.
    Released { id: PacketId, result: Result<(), DoorError> },
    /// PUBREL for something unknown.
    Unreleased { id: PacketId, reason: ReasonCode },
    /// The slot of an outbound QoS 2 publish is in the log, or not.
    SlotStored { id: PacketId, result: Result<(), DoorError> },
    /// The PUBREC of an outbound QoS 2 publish is in the log, or not.
    ReleaseStored { id: PacketId, result: Result<(), DoorError> },
}

impl Connection {
    pub(super) fn step(&mut self, step: Step) -> Result<(), Close> {
        if let Step::AllPublished { partition, publishes, results } = step {
            return self.all_published(&partition, publishes, results);
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        match step {
            Step::AllPublished { .. } => Ok(()),
            Step::Published { sent, result } => {
                let at = result.as_ref().map(|at| at.as_ref().map(|(p, offset)| (&**p, *offset)));
                self.published(sent, at.map_err(Clone::clone))
            }
            Step::Refused { id, qos, reason, why } => self.refused(id, qos, reason, why),
            Step::Released { id, result } => match result {
                Ok(()) => {
                    self.session.inbound.released(id);
                    self.receiving = self.receiving.saturating_sub(1);
                    self.send_ack(PacketType::PubComp, id, ReasonCode::Success);
                    Ok(())
                }
                Err(e) => {
                    self.session.inbound.release_failed(id);
                    Err(Close::storage(&e))
                }
            },
            Step::Unreleased { id, reason } => {
                self.send_ack(PacketType::PubComp, id, reason);
                Ok(())
            }
            Step::SlotStored { id, result } => {
                result.map_err(|e| Close::storage(&e))?;
                let origin = self.session.outbound.stored(id).map(|e| e.origin.clone());
                if let Some(origin) = origin {
                    self.send_publish(Some(id), &origin, false);
                }
                Ok(())
            }
            Step::ReleaseStored { id, result } => {
                result.map_err(|e| Close::storage(&e))?;
                if self.session.outbound.release_stored(id) {
                    self.send_pubrel(id, ReasonCode::Success);
                }
                Ok(())
            }
        }
    }

    pub(super) fn published(
        &mut self,
        sent: Sent,
        result: Result<Option<(&Partition, i64)>, DoorError>,
    ) -> Result<(), Close> {
        let Sent { id, qos, matched, level } = sent;
        let Some(id) = id else {
            if let Err(error) = result {
                Stats::add(&self.broker.stats.publish_dropped, 1);
                tracing::warn!(client = %self.name(), %error, "a QoS 0 message was dropped");
            }
            return Ok(());
        };
        let at = match result {
            Ok(at) => at,
            Err(error) => return self.not_stored(id, qos, &error),
        };
        let properties = match at.filter(|_| self.tells.position) {
            Some((partition, offset)) => coordinates(partition, offset, level),
            None => AckProperties::default(),
        };
        if qos == QoS::ExactlyOnce {
            self.session.inbound.stored(id, true);
            self.send_ack_with(PacketType::PubRec, id, ReasonCode::Success, properties);
        } else {
            self.receiving = self.receiving.saturating_sub(1);
            let reason = if matched { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
            self.send_ack_with(PacketType::PubAck, id, reason, properties);
        }
        Ok(())
    }

    fn not_stored(&mut self, id: PacketId, qos: QoS, error: &DoorError) -> Result<(), Close> {
        tracing::warn!(client = %self.name(), %error, "a message was not accepted");
        let reason = reason_of(error);
        if !self.version.is_v5() {
            // MQTT 3 has no way to say no: better no answer than a false one.
            self.forget_refused(id, qos);
            return Err(Close::Error(reason, format!("a message was not accepted: {error}")));
        }
        self.refused(Some(id), qos, reason, &error.to_string())
    }

    fn forget_refused(&mut self, id: PacketId, qos: QoS) {
        self.receiving = self.receiving.saturating_sub(1);
        if qos == QoS::ExactlyOnce {
            self.session.inbound.stored(id, false);
        }
    }

    fn refused(
        &mut self,
        id: Option<PacketId>,
        qos: QoS,
        reason: ReasonCode,
        why: &str,
    ) -> Result<(), Close> {
        Stats::add(&self.broker.stats.publish_dropped, 1);
        let Some(id) = id else { return Ok(()) };
        if self.version.is_v5() || qos == QoS::AtLeastOnce {
            self.forget_refused(id, qos);
        } else {
            // An MQTT 3 client goes through with the whole exchange.
            self.session.inbound.stored(id, true);
        }
        let packet = if qos == QoS::ExactlyOnce { PacketType::PubRec } else { PacketType::PubAck };
        let reason_string = self.tells.reasons.then(|| why.to_owned());
        self.send_ack_with(packet, id, reason, AckProperties { reason_string, ..AckProperties::default() });
        Ok(())
    }
}

/// Takes note of how everything under way ended.
pub(super) async fn settle_steps(session: &mut Session, mut under_way: UnderWay) {
    while let Some(step) = under_way.next().await {
        match step {
            Step::Published { sent, result } => settle_published(session, sent, result.is_ok()),
            Step::AllPublished { publishes, results, .. } => {
                for (sent, result) in publishes.into_iter().zip(results) {
                    settle_published(session, sent, result.is_ok());
                }
            }
            Step::Refused { id: Some(id), qos: QoS::ExactlyOnce, .. } => session.inbound.stored(id, false),
            Step::Released { id, result: Ok(()) } => session.inbound.released(id),
            Step::Released { id, .. } => session.inbound.release_failed(id),
            _ => {}
        }
    }
    session.inbound.forget_unstored();
}

/// Where a record stands and what its ack means.
fn coordinates(partition: &Partition, offset: i64, level: AckLevel) -> AckProperties {
    let level = match level {
        AckLevel::Fsync => "fsync",
        AckLevel::Memory => "memory",
    };
    let user_properties = vec![
        UserProperty::new(connect::POSITION, format!("{}-{offset}", partition.name)),
        UserProperty::new("mqtt.ack", level),
    ];
    AckProperties { reason_string: None, user_properties }
}
