//! Settings of one share group: its own if it has any, kept within the broker's limits; and of the state topic.

use coordinator::share::ShareLimits;
use meta::ConfigResourceKind;
use meta::config::BrokerProperties;
use meta::controller::NewTopic;

use super::SHARE_STATE_TOPIC;
use super::reset::Reset;
use crate::groups::settings::number;
use crate::metadata::State;

/// Settings of a share group's records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShareSettings {
    /// Limits.
    pub(crate) limits: ShareLimits,
    /// Records of aborted transactions are not handed out.
    pub(crate) committed: bool,
    /// Where a group begins.
    pub(crate) reset: Reset,
}

/// Settings of the share group `group`.
pub(crate) fn of(state: &State, group: &str) -> ShareSettings {
    let configs = state.image.configs(ConfigResourceKind::Group, group);
    let own = |name: &str| configs.get(name).map(|text| text.trim());
    let number = |name: &str| number(state, group, "share", name);
    ShareSettings {
        limits: ShareLimits {
            in_flight_max: i64::from(number("partition.max.record.locks")),
            deliveries_max: i16::try_from(number("delivery.count.limit")).unwrap_or(i16::MAX),
            lock_ms: i64::from(number("record.lock.duration.ms")),
            may_renew: own("share.renew.acknowledge.enable")
                .is_none_or(|text| text.eq_ignore_ascii_case("true")),
        },
        committed: own("share.isolation.level") == Some("read_committed"),
        reset: own("share.auto.offset.reset").and_then(Reset::parse).unwrap_or(Reset::Latest),
    }
}

/// The state topic as it is made. It is not compacted: an update does not replace the one before it.
pub(super) fn state_topic(properties: &BrokerProperties) -> NewTopic {
    let config = |key: &str, value: String| (key.to_owned(), Some(value));
    NewTopic {
        name: SHARE_STATE_TOPIC.to_owned(),
        partitions: properties.int("share.coordinator.state.topic.num.partitions").max(1),
        replication_factor: 1,
        assignments: Vec::new(),
        configs: vec![
            config("cleanup.policy", "delete".to_owned()),
            config("compression.type", "producer".to_owned()),
            config("retention.ms", "-1".to_owned()),
            config(
                "segment.bytes",
                properties.int("share.coordinator.state.topic.segment.bytes").to_string(),
            ),
        ],
    }
}
