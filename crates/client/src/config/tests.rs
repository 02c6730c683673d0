//! Texts and defaults as Kafka 4.3.1's `ProducerConfig`, `ConsumerConfig` and `AdminClientConfig` give them.

use super::*;

fn properties(pairs: &[(&str, &str)]) -> Properties {
    let mut all = Properties::from([("bootstrap.servers".to_owned(), "127.0.0.1:9092".to_owned())]);
    all.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    all
}

fn producer(pairs: &[(&str, &str)]) -> Result<ProducerConfig, String> {
    ProducerConfig::from_properties(properties(pairs)).map_err(|e| e.to_string())
}

fn consumer(pairs: &[(&str, &str)]) -> Result<ConsumerConfig, String> {
    ConsumerConfig::from_properties(properties(pairs)).map_err(|e| e.to_string())
}

fn admin(pairs: &[(&str, &str)]) -> Result<AdminConfig, String> {
    AdminConfig::from_properties(properties(pairs)).map_err(|e| e.to_string())
}

#[test]
fn producer_refuses_with_kafkas_words() {
    let check =
        |pairs: &[(&str, &str)], text: &str| assert_eq!(producer(pairs).unwrap_err(), text, "{pairs:?}");
    check(&[("linger.ms", "x")], "Invalid value x for configuration linger.ms: Not a number of type LONG");
    check(&[("linger.ms", "-1")], "Invalid value -1 for configuration linger.ms: Value must be at least 0");
    check(&[("acks", "2")], "Invalid value 2 for configuration acks: String must be one of: all, -1, 0, 1");
    check(
        &[("compression.type", "br")],
        "Invalid value br for configuration compression.type: String must be one of: none, gzip, snappy, lz4, zstd",
    );
    check(
        &[("enable.idempotence", "maybe")],
        "Invalid value maybe for configuration enable.idempotence: Expected value to be either true or false",
    );
    check(
        &[("enable.idempotence", "true"), ("acks", "1")],
        "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence.",
    );
    check(
        &[("enable.idempotence", "true"), ("retries", "0")],
        "Must set retries to non-zero when using the idempotent producer.",
    );
    check(
        &[("max.in.flight.requests.per.connection", "6")],
        "To use the idempotent producer, max.in.flight.requests.per.connection must be set to at most 5. Current value is 6.",
    );
    check(
        &[("delivery.timeout.ms", "5")],
        "delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms",
    );
    check(
        &[("batch.size", "99999999999")],
        "Invalid value 99999999999 for configuration batch.size: Not a number of type INT",
    );
    check(
        &[("compression.gzip.level", "0")],
        "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
    );
    check(
        &[("compression.lz4.level", "99")],
        "Invalid value 99 for configuration compression.lz4.level: Value must be no more than 17",
    );
    check(
        &[("partitioner.class", "foo.Bar")],
        "Invalid value foo.Bar for configuration partitioner.class: Class foo.Bar could not be found.",
    );
    check(
        &[("security.protocol", "FOO")],
        "Invalid value FOO for configuration security.protocol: String must be one of (case insensitive): SASL_SSL, PLAINTEXT, SSL, SASL_PLAINTEXT",
    );
    check(
        &[("security.protocol", "SSH")],
        "Invalid value SSH for configuration security.protocol: String must be one of (case insensitive): SASL_SSL, \
         PLAINTEXT, SSL, SASL_PLAINTEXT",
    );
    check(&[("bootstrap.servers", "nohost")], "Invalid url in bootstrap.servers: nohost");
    check(&[("bootstrap.servers", "h:x")], "Invalid url in bootstrap.servers: h:x");
    check(&[("bootstrap.servers", "h:99999")], "Invalid port in bootstrap.servers: h:99999");
    check(
        &[("bootstrap.servers", "")],
        "Configuration 'bootstrap.servers' must not be empty. Valid values include: any non-empty value",
    );
    check(
        &[("buffer.memory", "")],
        "Invalid value  for configuration buffer.memory: Not a number of type LONG",
    );
    assert_eq!(
        ProducerConfig::from_properties(Properties::new()).unwrap_err().to_string(),
        "Missing required configuration \"bootstrap.servers\" which has no default value."
    );
}

#[test]
fn consumer_and_admin_refuse_with_kafkas_words() {
    let check =
        |pairs: &[(&str, &str)], text: &str| assert_eq!(consumer(pairs).unwrap_err(), text, "{pairs:?}");
    for value in ["foo", "by_duration:foo", "by_duration:-PT1H", "by_duration:P", "by_duration:PT"] {
        check(
            &[("auto.offset.reset", value)],
            &format!(
                "Invalid value {value} for configuration auto.offset.reset: Invalid value `{value}` for configuration auto.offset.reset. The value must be either 'earliest', 'latest', 'none' or of the format 'by_duration:<PnDTnHnMn.nS.>'."
            ),
        );
    }
    check(
        &[("isolation.level", "x")],
        "Invalid value x for configuration isolation.level: String must be one of: read_committed, read_uncommitted",
    );
    check(
        &[("group.id", "g"), ("heartbeat.interval.ms", "50000")],
        "Heartbeat must be set lower than the session timeout",
    );
    check(
        &[("enable.auto.commit", "true")],
        "enable.auto.commit cannot be set to true when default group id (null) is used.",
    );
    check(
        &[("group.instance.id", "")],
        "Invalid value  for configuration group.instance.id: String must be non-empty",
    );
    check(
        &[("max.poll.records", "0")],
        "Invalid value 0 for configuration max.poll.records: Value must be at least 1",
    );
    check(&[("group.id", " ")], "The configured group.id should not be an empty string or whitespace.");
    assert_eq!(
        admin(&[("request.timeout.ms", "1.5")]).unwrap_err(),
        "Invalid value 1.5 for configuration request.timeout.ms: Not a number of type INT"
    );
    assert_eq!(
        AdminConfig::from_properties(Properties::new()).unwrap_err().to_string(),
        "You must set either bootstrap.servers or bootstrap.controllers"
    );
}

#[test]
fn defaults_are_kafkas() {
    let p = producer(&[]).unwrap();
    assert_eq!((p.acks, p.idempotence, p.retries), (Acks::All, true, i32::MAX));
    assert_eq!((p.batch_size, p.buffer_memory, p.max_request_size), (16_384, 33_554_432, 1_048_576));
    assert_eq!((p.linger.as_millis(), p.delivery_timeout.as_millis()), (5, 120_000));
    assert!(p.client.client_id.starts_with("producer-"), "{}", p.client.client_id);
    let c = consumer(&[("group.id", "g")]).unwrap();
    assert_eq!(c.assignors, [AssignorKind::Range, AssignorKind::CooperativeSticky]);
    assert_eq!((c.session_timeout.as_millis(), c.heartbeat_interval.as_millis()), (45_000, 3_000));
    assert!(c.auto_commit && c.check_crcs);
    assert_eq!(c.offset_reset, OffsetReset::Latest);
    assert!(c.client.client_id.starts_with("consumer-g-"), "{}", c.client.client_id);
    assert!(!consumer(&[]).unwrap().auto_commit, "no group, no commit");
}

#[test]
fn idempotence_gives_way_when_it_was_not_asked_for() {
    assert!(!producer(&[("acks", "1")]).unwrap().idempotence);
    assert!(!producer(&[("retries", "0")]).unwrap().idempotence);
    assert!(!producer(&[("acks", "0"), ("max.in.flight.requests.per.connection", "9")]).unwrap().idempotence);
    assert!(producer(&[("acks", " all ")]).unwrap().idempotence);
}

#[test]
fn the_default_delivery_timeout_grows_with_its_parts() {
    let p = producer(&[("request.timeout.ms", "200000"), ("linger.ms", "100")]).unwrap();
    assert_eq!(p.delivery_timeout.as_millis(), 200_100);
}

#[test]
fn names_without_meaning_are_told() {
    let p =
        producer(&[("foo", "1"), ("key.serializer", "x"), ("ssl.protocol", "y"), ("group.id", "g")]).unwrap();
    assert_eq!(p.client.unknown, ["foo", "group.id"]);
    assert_eq!(p.client.ignored, ["key.serializer", "ssl.protocol"]);
    assert!(admin(&[("retries", "3")]).unwrap().client.unknown.is_empty());
}

#[test]
fn durations_are_iso_8601() {
    for (text, seconds) in [("P1D", 86_400.0), ("pt1h30m", 5_400.0), ("P2DT0.5S", 172_800.5), ("PT10S", 10.0)]
    {
        let c = consumer(&[("auto.offset.reset", &format!("by_duration:{text}"))]).unwrap();
        assert_eq!(c.offset_reset, OffsetReset::ByDuration(Duration::from_secs_f64(seconds)), "{text}");
    }
}
