//! What value holds: a topic's own, else the broker's running one, else `server.properties`, else the default.

use std::collections::BTreeMap;

use super::definition::{ConfigDef, ConfigType};
use super::{broker_config, split_list, topic_config};

/// Where a value comes from (the numbers are DescribeConfigs' own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on this broker while running.
    DynamicBroker,
    /// Set on all brokers while running.
    DynamicDefaultBroker,
    /// From `server.properties`.
    StaticBroker,
    /// Built in.
    Default,
    /// Set on the group.
    Group,
    /// Set on the client metrics subscription.
    ClientMetrics,
}

impl ConfigSource {
    /// The number that DescribeConfigs uses for it.
    pub fn wire(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::Group => 8,
            Self::ClientMetrics => 7,
        }
    }
}

/// One place a value could come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// Key there.
    pub name: String,
    /// Value there, as given.
    pub value: Option<String>,
    /// Which place.
    pub source: ConfigSource,
}

/// The value that holds, and all places that have one, the winning one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Value in the topic's (or broker's) own unit; `None` = null.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// All places, the winning one first.
    pub synonyms: Vec<Synonym>,
}

/// The broker's settings from all places.
#[derive(Clone, Debug, Default)]
pub struct BrokerProperties {
    /// `server.properties`, flags, environment.
    pub fixed: BTreeMap<String, String>,
    /// Set on this broker while running.
    pub dynamic: BTreeMap<String, String>,
    /// Set on all brokers while running.
    pub dynamic_default: BTreeMap<String, String>,
}

/// How many milliseconds one unit of a key is, for keys that stand in for one in milliseconds.
fn unit_ms(name: &str) -> Option<i64> {
    match name {
        "log.retention.minutes" => Some(60_000),
        "log.retention.hours" | "log.roll.hours" | "log.roll.jitter.hours" => Some(3_600_000),
        _ => None,
    }
}

/// Keys that may stand in for a broker key, most specific first, the key itself leading.
fn broker_synonyms(name: &str) -> &'static [&'static str] {
    match name {
        "log.retention.ms" => &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
        "log.retention.minutes" => &["log.retention.minutes", "log.retention.hours"],
        "log.roll.ms" => &["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" => &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        "log.flush.interval.ms" => &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        "log.dirs" => &["log.dirs", "log.dir"],
        "node.id" => &["node.id", "broker.id"],
        _ => &[],
    }
}

impl BrokerProperties {
    /// All places that give `name` a value, the winning one first; values as given there.
    fn places(&self, name: &str) -> Vec<Synonym> {
        let one = [name];
        let names = match broker_synonyms(name) {
            [] => &one[..],
            several => several,
        };
        let mut places = Vec::new();
        for (map, source) in [
            (&self.dynamic, ConfigSource::DynamicBroker),
            (&self.dynamic_default, ConfigSource::DynamicDefaultBroker),
            (&self.fixed, ConfigSource::StaticBroker),
        ] {
            for key in names {
                if let Some(value) = map.get(*key) {
                    places.push(Synonym { name: (*key).to_owned(), value: Some(value.clone()), source });
                }
            }
        }
        for key in names {
            if let Some(default) = broker_config(key).and_then(|def| def.default) {
                places.push(Synonym {
                    name: (*key).to_owned(),
                    value: Some(default.to_owned()),
                    source: ConfigSource::Default,
                });
            }
        }
        places
    }

    /// The value of a broker key. As in Kafka the value shown for `log.retention.ms` and its like is the key's
    /// own (null when only the coarser key is set).
    pub fn effective(&self, def: &ConfigDef) -> Effective {
        let synonyms = self.places(def.name);
        match synonyms.iter().find(|place| place.name == def.name) {
            Some(own) => Effective { value: own.value.clone(), source: own.source, synonyms },
            None => Effective {
                value: None,
                source: synonyms.first().map_or(ConfigSource::Default, |place| place.source),
                synonyms,
            },
        }
    }

    /// The value of a broker key, with coarser units turned into milliseconds for `…ms` keys; `None` = null.
    pub fn value(&self, name: &str) -> Option<String> {
        let winner = self.places(name).into_iter().next()?;
        let value = winner.value?;
        if winner.name != name
            && let Some(unit) = unit_ms(&winner.name)
        {
            let count: i64 = value.trim().parse().ok()?;
            return Some(if count < 0 { -1 } else { count.saturating_mul(unit) }.to_string());
        }
        Some(value)
    }

    /// A whole-number setting; the built-in default when the value is not a number.
    pub fn long(&self, name: &str) -> i64 {
        let given = self.value(name).and_then(|value| value.trim().parse().ok());
        let default = || broker_config(name).and_then(|def| def.default).and_then(|text| text.parse().ok());
        given.or_else(default).unwrap_or(0)
    }

    /// A whole-number setting, cut to 32 bit.
    pub fn int(&self, name: &str) -> i32 {
        let long = self.long(name);
        i32::try_from(long).unwrap_or(if long < 0 { i32::MIN } else { i32::MAX })
    }

    /// A yes-or-no setting.
    pub fn flag(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// A text setting; `None` = null.
    pub fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(|value| value.trim().to_owned())
    }

    /// The value of a group key, given what is set on the group.
    pub fn effective_group(&self, def: &ConfigDef, own: &BTreeMap<String, String>) -> Effective {
        let mut synonyms = Vec::new();
        if let Some(value) = own.get(def.name) {
            let value = Some(value.clone());
            synonyms.push(Synonym { name: def.name.to_owned(), value, source: ConfigSource::Group });
        }
        synonyms.extend(def.synonym.map(|broker_key| self.places(broker_key)).unwrap_or_default());
        match synonyms.first() {
            Some(winner) => Effective { value: winner.value.clone(), source: winner.source, synonyms },
            None => {
                let value = def.default.map(str::to_owned);
                Effective { value, source: ConfigSource::Default, synonyms }
            }
        }
    }

    /// The value of a key of client metrics, given what is set on the subscription: of a list each word once.
    pub fn effective_client_metrics(def: &ConfigDef, own: &BTreeMap<String, String>) -> Effective {
        let normal = |value: &String| match def.kind {
            ConfigType::List => {
                let mut words: Vec<&str> = Vec::new();
                for word in split_list(value) {
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                words.join(",")
            }
            _ => value.trim().to_owned(),
        };
        match own.get(def.name).map(normal) {
            Some(value) => {
                let source = ConfigSource::ClientMetrics;
                let synonym = Synonym { name: def.name.to_owned(), value: Some(value.clone()), source };
                Effective { value: Some(value), source, synonyms: vec![synonym] }
            }
            None => {
                let value = def.default.map(str::to_owned);
                Effective { value, source: ConfigSource::Default, synonyms: Vec::new() }
            }
        }
    }

    /// The value of a topic key, given what is set on the topic.
    pub fn effective_topic(&self, def: &ConfigDef, overrides: &BTreeMap<String, String>) -> Effective {
        let mut synonyms = Vec::new();
        if let Some(value) = overrides.get(def.name) {
            synonyms.push(Synonym {
                name: def.name.to_owned(),
                value: Some(value.clone()),
                source: ConfigSource::Topic,
            });
        }
        let inherited = match def.synonym {
            Some(broker_key) => {
                synonyms.extend(self.places(broker_key));
                self.value(broker_key)
            }
            None => {
                let default = def.default.map(str::to_owned);
                synonyms.push(Synonym {
                    name: def.name.to_owned(),
                    value: default.clone(),
                    source: ConfigSource::Default,
                });
                default
            }
        };
        let value = match overrides.get(def.name) {
            Some(value) => Some(value.clone()),
            None => inherited.or_else(|| def.default.map(str::to_owned)),
        };
        let source = synonyms.first().map_or(ConfigSource::Default, |place| place.source);
        Effective { value, source, synonyms }
    }
}

/// A topic's settings as numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` has `delete`.
    pub delete: bool,
    /// `cleanup.policy` has `compact`.
    pub compact: bool,
    /// `segment.bytes`.
    pub segment_bytes: i32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: i32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: i32,
    /// `retention.ms`, -1 = no limit.
    pub retention_ms: i64,
    /// `retention.bytes`, -1 = no limit.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `max.message.bytes`.
    pub max_message_bytes: i32,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `compression.type`: a codec's name, `uncompressed`, or `producer`.
    pub compression_type: String,
    /// `compression.gzip.level`, -1 = the codec's own.
    pub compression_gzip_level: i32,
    /// `compression.zstd.level`.
    pub compression_zstd_level: i32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `write.caching`.
    pub write_caching: bool,
}

impl TopicConfig {
    /// Works out a topic's settings.
    pub fn of(broker: &BrokerProperties, overrides: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| {
            let def = topic_config(name)?;
            match (overrides.get(name), def.synonym) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(broker_key)) => {
                    broker.value(broker_key).or_else(|| def.default.map(str::to_owned))
                }
                (None, None) => def.default.map(str::to_owned),
            }
        };
        let long = |name: &str| text(name).and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or(0);
        let int = |name: &str| i32::try_from(long(name)).unwrap_or(i32::MAX);
        let signed = |name: &str| long(name).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        let flag = |name: &str| text(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let policy = text("cleanup.policy").unwrap_or_default();
        Self {
            delete: split_list(&policy).any(|word| word == "delete"),
            compact: split_list(&policy).any(|word| word == "compact"),
            segment_bytes: int("segment.bytes"),
            segment_ms: long("segment.ms"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_index_bytes: int("segment.index.bytes"),
            index_interval_bytes: int("index.interval.bytes"),
            retention_ms: long("retention.ms"),
            retention_bytes: long("retention.bytes"),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            delete_retention_ms: long("delete.retention.ms"),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio")
                .and_then(|value| value.trim().parse().ok())
                .unwrap_or(0.5),
            max_message_bytes: int("max.message.bytes"),
            log_append_time: text("message.timestamp.type").as_deref() == Some("LogAppendTime"),
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            min_insync_replicas: int("min.insync.replicas"),
            compression_type: text("compression.type").unwrap_or_default().trim().to_owned(),
            compression_gzip_level: signed("compression.gzip.level"),
            compression_zstd_level: signed("compression.zstd.level"),
            preallocate: flag("preallocate"),
            // A sync for each record is what every other topic has.
            write_caching: flag("write.caching") && long("flush.messages") != 1,
        }
    }
}
