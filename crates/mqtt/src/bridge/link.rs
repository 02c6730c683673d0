//! What a bridge's connection does otherwise than a client's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mqtt_codec::{ConnAck, QoS, topic};

use super::{BridgeConfig, BridgeStart, BridgeTopic};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Link {
    config: Arc<BridgeConfig>,
    /// Highest QoS that the other broker takes.
    max_qos: QoS,
    /// The other broker keeps retained messages.
    retains: bool,
    ping_at: Option<Instant>,
    /// When the last message went through.
    moved: Instant,
}

impl Link {
    /// A connection that the other broker has accepted in these words.
    pub(crate) fn new(config: Arc<BridgeConfig>, connack: &ConnAck) -> Self {
        let p = &connack.properties;
        let max_qos = p.maximum_qos.unwrap_or(QoS::ExactlyOnce);
        let retains = config.outgoing_retain && p.retain_available.unwrap_or(true);
        let now = Instant::now();
        let mut link = Self { config, max_qos, retains, ping_at: None, moved: now };
        link.plan_ping(now);
        link
    }

    fn plan_ping(&mut self, now: Instant) {
        self.ping_at = now.checked_add(Duration::from_secs(u64::from(self.config.keep_alive)));
    }

    /// A message went through, in whichever direction.
    pub(crate) fn moved(&mut self) {
        self.moved = Instant::now();
    }

    fn idle_at(&self) -> Option<Instant> {
        let lazy = self.config.start == BridgeStart::Lazy;
        lazy.then(|| self.moved.checked_add(self.config.idle_timeout)).flatten()
    }

    /// When there is something to do.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        [self.ping_at, self.idle_at()].into_iter().flatten().min()
    }

    /// Whether it has been without a message for as long as it may.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.idle_at().is_some_and(|at| at <= now)
    }

    /// Whether a PINGREQ is due; plans the next one.
    pub(crate) fn pings(&mut self, now: Instant) -> bool {
        let due = self.ping_at.is_some_and(|at| at <= now);
        if due {
            self.plan_ping(now);
        }
        due
    }

    /// The QoS as far as the other broker has it.
    pub(crate) fn granted(&self, asked: QoS) -> QoS {
        asked.min(self.max_qos)
    }

    /// This broker's name for a topic of the other one.
    pub(crate) fn local_name(&self, name: &Bytes) -> Bytes {
        let text = std::str::from_utf8(name).unwrap_or_default();
        let comes = |t: &&BridgeTopic| t.comes_in() && t.is_renamed() && topic::matches(&t.remote(), text);
        let rule = self.config.topics.iter().find(comes);
        rule.map_or_else(|| name.clone(), |t| renamed(text, &t.remote_prefix, &t.local_prefix))
    }

    /// Name and RETAIN of what goes to the other broker.
    pub(crate) fn outgoing(&self, text: &str, retain: bool) -> (Bytes, bool) {
        let goes = |t: &&BridgeTopic| t.goes_out() && t.is_renamed() && topic::matches(&t.local(), text);
        let rule = self.config.topics.iter().find(goes);
        let as_it_is = || Bytes::copy_from_slice(text.as_bytes());
        let name = rule.map_or_else(as_it_is, |t| renamed(text, &t.local_prefix, &t.remote_prefix));
        (name, retain && self.retains)
    }
}

fn renamed(text: &str, from: &str, to: &str) -> Bytes {
    let rest = text.strip_prefix(from).unwrap_or(text);
    Bytes::from(format!("{to}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::super::BridgeDirection;
    use super::*;
    use mqtt_codec::ReasonCode;

    #[test]
    fn topics_change_their_names_both_ways() {
        let mut config = BridgeConfig::new("b");
        for (filter, direction, local, remote) in [
            ("plain/#", BridgeDirection::Both, "", ""),
            ("#", BridgeDirection::In, "local/topic/", "remote/topic/"),
            ("ic/+", BridgeDirection::Both, "local4/top", "remote4/tip"),
            ("clients/total", BridgeDirection::In, "test/org", "$SYS/broker/"),
            ("", BridgeDirection::Out, "whole/local", "whole/remote"),
        ] {
            config.topics.push(BridgeTopic {
                filter: filter.into(),
                direction,
                qos: Default::default(),
                local_prefix: local.into(),
                remote_prefix: remote.into(),
            });
        }
        let link = Link::new(Arc::new(config), &ConnAck::new(ReasonCode::Success));
        for (remote, local) in [
            ("remote/topic/some/t", "local/topic/some/t"),
            ("remote4/tipic/x", "local4/topic/x"),
            ("$SYS/broker/clients/total", "test/orgclients/total"),
            ("plain/x", "plain/x"),
            ("other", "other"),
        ] {
            assert_eq!(link.local_name(&Bytes::from(remote)), local);
        }
        for (local, remote) in [
            ("local4/topic/x", "remote4/tipic/x"),
            ("whole/local", "whole/remote"),
            ("local/topic/x", "local/topic/x"),
            ("plain/x", "plain/x"),
        ] {
            assert_eq!(link.outgoing(local, true).0, remote);
        }
    }

    #[test]
    fn what_the_other_broker_cannot_do_is_not_asked_of_it() {
        let mut connack = ConnAck::new(ReasonCode::Success);
        connack.properties.maximum_qos = Some(QoS::AtLeastOnce);
        connack.properties.retain_available = Some(false);
        let link = Link::new(Arc::new(BridgeConfig::new("b")), &connack);
        assert_eq!(link.granted(QoS::ExactlyOnce), QoS::AtLeastOnce);
        assert!(!link.outgoing("t", true).1);
    }
}
