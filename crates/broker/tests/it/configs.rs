//! Describing and altering configurations.

use kafka_codec::messages::*;

use crate::harness::{Client, Target, TestBroker, batch};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub async fn describe(
    client: &mut Client,
    kind: i8,
    name: &str,
    key: &str,
) -> Option<(Option<String>, i8, Vec<String>)> {
    let request = DescribeConfigsRequest {
        resources: vec![describe_configs_request::DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: Some(vec![key.into()]),
            ..Default::default()
        }],
        include_synonyms: true,
        ..Default::default()
    };
    let mut result = client.call(4, &request).await.results.remove(0);
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    let entry = result.configs.pop()?;
    let synonyms =
        entry.synonyms.iter().map(|s| format!("{}={}", s.name, s.value.as_deref().unwrap_or("null")));
    Some((entry.value, entry.config_source, synonyms.collect()))
}

pub async fn alter(
    client: &mut Client,
    kind: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> (i16, String) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![incremental_alter_configs_request::AlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: changes
                .iter()
                .map(|(key, op, value)| incremental_alter_configs_request::AlterableConfig {
                    name: (*key).into(),
                    config_operation: *op,
                    value: value.map(str::to_owned),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let result = client.call(1, &request).await.responses.remove(0);
    (result.error_code, result.error_message.unwrap_or_default())
}

#[tokio::test]
async fn topics_inherit_override_and_go_back() {
    let broker = TestBroker::start(&[("log.retention.hours", "1")]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[("retention.ms", "5000")]).await;
    let ok = (0, String::new());
    let (value, source, synonyms) = describe(&mut client, TOPIC, "t", "retention.ms").await.unwrap();
    assert_eq!((value.as_deref(), source), (Some("5000"), 1));
    assert_eq!(synonyms, ["retention.ms=5000", "log.retention.hours=1", "log.retention.hours=168"]);
    assert_eq!(alter(&mut client, TOPIC, "t", &[("retention.ms", 1, None)]).await, ok);
    let (value, source, _) = describe(&mut client, TOPIC, "t", "retention.ms").await.unwrap();
    assert_eq!((value.as_deref(), source), (Some("3600000"), 4));
    assert_eq!(alter(&mut client, TOPIC, "t", &[("cleanup.policy", 2, Some("compact"))]).await, ok);
    let (value, ..) = describe(&mut client, TOPIC, "t", "cleanup.policy").await.unwrap();
    assert_eq!(value.as_deref(), Some("delete,compact"));
    assert_eq!(alter(&mut client, TOPIC, "t", &[("cleanup.policy", 3, Some("delete"))]).await, ok);
    let (value, ..) = describe(&mut client, TOPIC, "t", "cleanup.policy").await.unwrap();
    assert_eq!(value.as_deref(), Some("compact"));
    assert_eq!(client.produce(&Target::new("t"), &batch(&["keyless"])).await.0, 87, "in force at once");
}

#[tokio::test]
async fn refusals_are_kafkas() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    let cases = [
        (TOPIC, "none", ("retention.ms", 0, Some("1")), 3, "The topic 'none' does not exist."),
        (TOPIC, "t", ("bogus", 0, Some("1")), 40, "Unknown topic config name: bogus"),
        (
            TOPIC,
            "t",
            ("retention.ms", 2, Some("1")),
            40,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            TOPIC,
            "t",
            ("min.insync.replicas", 0, Some("0")),
            40,
            "Invalid value 0 for configuration min.insync.replicas: Value must be at least 1",
        ),
        (TOPIC, "t", ("retention.ms", 0, None), 42, "Null value not supported for : retention.ms"),
        (TOPIC, "t", ("retention.ms", 9, Some("1")), 42, "Unknown config operation: 9"),
        (
            BROKER,
            "7",
            ("log.cleaner.threads", 0, Some("1")),
            42,
            "Unexpected broker id, expected 1 or empty string, but received 7",
        ),
        (BROKER, "", ("node.id", 0, Some("2")), 42, "Cannot update these configs dynamically: Set(node.id)"),
        (99, "t", ("x", 0, Some("1")), 42, "Unsupported resource type: 99"),
    ];
    for (kind, name, change, code, message) in cases {
        assert_eq!(alter(&mut client, kind, name, &[change]).await, (code, message.to_owned()));
    }
    let twice = [("retention.ms", 0, Some("1")), ("retention.ms", 0, Some("2"))];
    assert_eq!(alter(&mut client, TOPIC, "t", &twice).await.0, 42);
    let unchanged = describe(&mut client, TOPIC, "t", "retention.ms").await.unwrap();
    assert_eq!(unchanged.0.as_deref(), Some("604800000"));
}

#[tokio::test]
async fn broker_settings_change_while_running_and_outlive_a_restart() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[]).await;
    let change = [("message.max.bytes", 0, Some("300"))];
    assert_eq!(alter(&mut client, BROKER, "", &change).await, (0, String::new()));
    let large = batch(&["x".repeat(1000).as_str()]);
    assert_eq!(client.produce(&Target::new("t"), &large).await.0, 10, "in force at once");
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, &[]).await;
    let mut client = broker.client().await;
    assert_eq!(client.produce(&Target::new("t"), &large).await.0, 10, "and after a restart");
    let (value, source, synonyms) = describe(&mut client, TOPIC, "t", "max.message.bytes").await.unwrap();
    assert_eq!((value.as_deref(), source), (Some("300"), 3));
    assert_eq!(synonyms, ["message.max.bytes=300", "message.max.bytes=1048588"]);
    let listed = describe(&mut client, BROKER, "", "message.max.bytes").await.unwrap();
    assert_eq!(listed.0.as_deref(), Some("300"));
    let whole = describe(&mut client, BROKER, "1", "log.retention.hours").await.unwrap();
    assert_eq!((whole.0.as_deref(), whole.1), (Some("168"), 5));
}

#[tokio::test]
async fn the_old_way_replaces_everything() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 1, &[("retention.ms", "5000"), ("segment.ms", "7000")]).await;
    let request = AlterConfigsRequest {
        resources: vec![alter_configs_request::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs: vec![alter_configs_request::AlterableConfig {
                name: "segment.ms".into(),
                value: Some("8000".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let validated = AlterConfigsRequest { validate_only: true, ..request.clone() };
    assert_eq!(client.call(2, &validated).await.responses[0].error_code, 0);
    assert_eq!(describe(&mut client, TOPIC, "t", "segment.ms").await.unwrap().0.as_deref(), Some("7000"));
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 0);
    assert_eq!(describe(&mut client, TOPIC, "t", "segment.ms").await.unwrap().0.as_deref(), Some("8000"));
    let retention = describe(&mut client, TOPIC, "t", "retention.ms").await.unwrap();
    assert_eq!((retention.0.as_deref(), retention.1), (Some("604800000"), 5));
}
