use std::collections::BTreeMap;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn tables_are_sorted_and_their_defaults_valid() {
    for table in [topic_configs(), broker_configs()] {
        for pair in table.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
        for def in table {
            if let Some(default) = def.default {
                assert_eq!(def.check(default), Ok(()), "{}", def.name);
            }
        }
    }
    for def in topic_configs() {
        if let Some(synonym) = def.synonym {
            assert!(broker_config(synonym).is_some(), "{} refers to {synonym}", def.name);
        }
    }
}

#[test]
fn wrong_values_are_named_in_kafkas_words() {
    let check = |name: &str, value: &str| topic_config(name).unwrap().check(value).unwrap_err();
    assert_eq!(
        check("retention.ms", "abc"),
        "Invalid value abc for configuration retention.ms: Not a number of type LONG"
    );
    assert_eq!(
        check("cleanup.policy", "delete,bogus"),
        "Invalid value bogus for configuration cleanup.policy: String must be one of: compact, delete"
    );
    assert_eq!(
        check("segment.bytes", "1"),
        "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576"
    );
    assert_eq!(
        check("min.cleanable.dirty.ratio", "1.5"),
        "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"
    );
    assert_eq!(
        check("preallocate", "yes"),
        "Invalid value yes for configuration preallocate: Expected value to be either true or false"
    );
}

#[test]
fn retention_falls_back_through_minutes_and_hours() {
    let check = |fixed: &[(&str, &str)], topic: &[(&str, &str)], want: i64| {
        let broker = BrokerProperties { fixed: map(fixed), ..BrokerProperties::default() };
        assert_eq!(TopicConfig::of(&broker, &map(topic)).retention_ms, want, "{fixed:?} {topic:?}");
    };
    check(&[], &[], 604_800_000);
    check(&[("log.retention.hours", "1")], &[], 3_600_000);
    check(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")], &[], 120_000);
    check(&[("log.retention.ms", "5"), ("log.retention.minutes", "2")], &[], 5);
    check(&[("log.retention.hours", "-1")], &[], -1);
    check(&[("log.retention.ms", "5")], &[("retention.ms", "7")], 7);
}

#[test]
fn synonyms_list_the_winner_first() {
    let broker = BrokerProperties {
        fixed: map(&[("log.retention.hours", "1")]),
        dynamic_default: map(&[("log.retention.ms", "9")]),
        ..BrokerProperties::default()
    };
    let def = topic_config("retention.ms").unwrap();
    let effective = broker.effective_topic(def, &map(&[("retention.ms", "3")]));
    let seen: Vec<_> =
        effective.synonyms.iter().map(|s| (s.name.as_str(), s.value.as_deref().unwrap(), s.source)).collect();
    assert_eq!(
        seen,
        [
            ("retention.ms", "3", ConfigSource::Topic),
            ("log.retention.ms", "9", ConfigSource::DynamicDefaultBroker),
            ("log.retention.hours", "1", ConfigSource::StaticBroker),
            ("log.retention.hours", "168", ConfigSource::Default),
        ]
    );
    let inherited = broker.effective_topic(def, &BTreeMap::new());
    assert_eq!(
        (inherited.value.as_deref(), inherited.source),
        (Some("9"), ConfigSource::DynamicDefaultBroker)
    );
}

#[test]
fn levels_of_lz4_that_are_not_there_are_refused() {
    let def = topic_config("compression.lz4.level").unwrap();
    assert_eq!(refusal(def, "9"), None);
    assert!(refusal(def, "12").is_some_and(|why| why.contains("level of LZ4 here is 9")));
}

#[test]
fn with_write_caching_a_flush_interval_of_one_record_brings_the_sync_back() {
    let broker = BrokerProperties::default();
    let caches = |flush: &str| {
        let own = [("write.caching", "true"), ("flush.messages", flush)];
        TopicConfig::of(&broker, &own.map(|(k, v)| (k.to_owned(), v.to_owned())).into()).write_caching
    };
    assert!(caches("2") && caches("10000"));
    assert!(!caches("1"));
}

#[test]
fn tiered_storage_is_refused_not_ignored() {
    let def = topic_config("remote.storage.enable").unwrap();
    assert!(refusal(def, "true").is_some());
    assert_eq!(refusal(def, "false"), None);
}
