//! UNSUBSCRIBE.

use bytes::Bytes;
use mqtt_codec::topic::SharedFilter;
use mqtt_codec::{Packet, ReasonCode, UnsubAck, Unsubscribe};

use super::replay::Replay;
use crate::auth::Access;
use crate::net::{Close, Connection};

impl Connection {
    pub(super) async fn handle_unsubscribe(&mut self, u: Unsubscribe) -> Result<(), Close> {
        self.finish_steps().await?;
        let consumer = self.session.consumer.clone();
        let mut any = false;
        let mut reasons = Vec::with_capacity(u.filters.len());
        for filter in &u.filters {
            let mount = self.listener.config.mount_point.as_deref().unwrap_or_default();
            let shared = SharedFilter::parse(filter).filter(|_| self.version.is_v5());
            let filter = match (shared, Replay::parse(filter)) {
                (Some(s), _) => format!("$share/{}/{mount}{}", s.group, s.filter),
                (None, Some(replay)) => replay.key(mount),
                (None, None) => format!("{mount}{filter}"),
            };
            let plain = shared.map_or_else(|| filter.clone(), |s| format!("{mount}{}", s.filter));
            if !self.rights.allow(Access::Unsubscribe, &Bytes::from(plain)) {
                reasons.push(ReasonCode::NotAuthorized);
                continue;
            }
            let gone = self.broker.hub.unsubscribe(&consumer, &filter);
            any |= gone;
            reasons.push(if gone { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted });
        }
        self.no_local = consumer.has_no_local();
        self.shares = self.broker.hub.shares_of(&consumer);
        if any && self.session.is_persistent() {
            let parts = self.broker.store.whole(&mut self.session);
            if let Err(error) = self.broker.store.write(&self.session.client_id, parts).await {
                return Err(Close::storage(&error));
            }
        }
        self.send(&Packet::UnsubAck(UnsubAck::new(u.packet_id, reasons)));
        Ok(())
    }
}
