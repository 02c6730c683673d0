//! Settings of one consumer or share group: its own if it has any, kept within the broker's limits.

use coordinator::GroupSettings;
use meta::ConfigResourceKind;

use crate::metadata::State;

/// Settings of the consumer group `group`.
pub(crate) fn consumer(state: &State, group: &str) -> GroupSettings {
    of(state, group, "consumer")
}

/// Settings of the share group `group`, as far as its members are concerned.
pub(crate) fn share(state: &State, group: &str) -> GroupSettings {
    of(state, group, "share")
}

fn of(state: &State, group: &str, kind: &str) -> GroupSettings {
    GroupSettings {
        session_timeout_ms: number(state, group, kind, "session.timeout.ms"),
        heartbeat_interval_ms: number(state, group, kind, "heartbeat.interval.ms"),
        assignment_interval_ms: number(state, group, kind, "assignment.interval.ms"),
    }
}

/// The group's own `KIND.NAME`, within the broker's `group.KIND.min.NAME` and `group.KIND.max.NAME`, or else the
/// broker's `group.KIND.NAME`.
pub(crate) fn number(state: &State, group: &str, kind: &str, name: &str) -> i32 {
    let broker = |name: String| state.properties.int(&name);
    let configs = state.image.configs(ConfigResourceKind::Group, group);
    let own = configs.get(&format!("{kind}.{name}")).and_then(|text| text.trim().parse::<i32>().ok());
    match own {
        Some(own) => {
            let least = broker(format!("group.{kind}.min.{name}"));
            let most = broker(format!("group.{kind}.max.{name}"));
            own.min(most).max(least)
        }
        None => broker(format!("group.{kind}.{name}")),
    }
}
