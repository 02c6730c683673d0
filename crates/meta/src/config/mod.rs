//! Which configurations exist, and what holds where: one table for topics, one for the broker.

mod broker_table;
mod client_metrics_table;
mod definition;
mod duration;
mod effective;
mod group_table;
mod reference;
mod topic_table;

pub use definition::{ConfigDef, ConfigType, Update, Validator, split_list};
pub use duration::duration_ms;
pub use effective::{BrokerProperties, ConfigSource, Effective, Synonym, TopicConfig};
pub use reference::reference;

/// All topic configurations, sorted by name.
pub fn topic_configs() -> &'static [ConfigDef] {
    topic_table::TOPIC_CONFIGS
}

/// All broker configurations, sorted by name.
pub fn broker_configs() -> &'static [ConfigDef] {
    broker_table::BROKER_CONFIGS
}

/// All group configurations, sorted by name.
pub fn group_configs() -> &'static [ConfigDef] {
    group_table::GROUP_CONFIGS
}

/// All configurations of client metrics subscriptions, sorted by name.
pub fn client_metrics_configs() -> &'static [ConfigDef] {
    client_metrics_table::CLIENT_METRICS_CONFIGS
}

/// Looks a configuration of client metrics subscriptions up.
pub fn client_metrics_config(name: &str) -> Option<&'static ConfigDef> {
    find(client_metrics_configs(), name)
}

/// Looks a group configuration up.
pub fn group_config(name: &str) -> Option<&'static ConfigDef> {
    find(group_configs(), name)
}

/// Looks a topic configuration up.
pub fn topic_config(name: &str) -> Option<&'static ConfigDef> {
    find(topic_configs(), name)
}

/// Looks a broker configuration up.
pub fn broker_config(name: &str) -> Option<&'static ConfigDef> {
    find(broker_configs(), name)
}

/// Why a value that its key's definition allows cannot be granted by this broker, if so.
pub fn refusal(def: &ConfigDef, value: &str) -> Option<&'static str> {
    let on = value.trim().eq_ignore_ascii_case("true");
    match def.name {
        "remote.storage.enable" if on => Some(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log \
             storage.",
        ),
        "compression.lz4.level" if value.trim() != "9" => Some(
            "the only level of LZ4 here is 9, Kafka's default, which is LZ4's fast compressor; for smaller batches \
             there are zstd and gzip with all their levels",
        ),
        _ => None,
    }
}

fn find(table: &'static [ConfigDef], name: &str) -> Option<&'static ConfigDef> {
    table.binary_search_by(|def| def.name.cmp(name)).ok().and_then(|index| table.get(index))
}

#[cfg(test)]
mod tests;
