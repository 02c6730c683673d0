//! Client quotas: kept, described, and felt.

use std::time::Instant;

use kafka_codec::ErrorCode;
use kafka_codec::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_codec::messages::describe_client_quotas_request::ComponentData;
use kafka_codec::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};

use crate::harness::{Client, Target, TestBroker, batch};

async fn set(client: &mut Client, entity: &[(&str, Option<&str>)], key: &str, value: Option<f64>) -> i16 {
    let part = |(kind, name): &(&str, Option<&str>)| EntityData {
        entity_type: (*kind).into(),
        entity_name: name.map(Into::into),
        ..EntityData::default()
    };
    let op = OpData {
        key: key.into(),
        value: value.unwrap_or_default(),
        remove: value.is_none(),
        ..OpData::default()
    };
    let request = AlterClientQuotasRequest {
        entries: vec![EntryData {
            entity: entity.iter().map(part).collect(),
            ops: vec![op],
            ..EntryData::default()
        }],
        ..AlterClientQuotasRequest::default()
    };
    client.call(1, &request).await.entries[0].error_code
}

async fn described(client: &mut Client, filter: &[(&str, i8, Option<&str>)], strict: bool) -> Vec<String> {
    let part = |(kind, match_type, name): &(&str, i8, Option<&str>)| ComponentData {
        entity_type: (*kind).into(),
        match_type: *match_type,
        r#match: name.map(Into::into),
        ..ComponentData::default()
    };
    let request = DescribeClientQuotasRequest {
        components: filter.iter().map(part).collect(),
        strict,
        ..DescribeClientQuotasRequest::default()
    };
    let response = client.call(1, &request).await;
    assert_eq!(response.error_code, 0);
    let line = |entry: kafka_codec::messages::describe_client_quotas_response::EntryData| {
        let entity: Vec<_> = entry
            .entity
            .iter()
            .map(|e| format!("{}={}", e.entity_type, e.entity_name.as_deref().unwrap_or("*")))
            .collect();
        let values: Vec<_> = entry.values.iter().map(|v| format!("{}={}", v.key, v.value)).collect();
        format!("{} {}", entity.join(","), values.join(","))
    };
    response.entries.unwrap().into_iter().map(line).collect()
}

#[tokio::test]
async fn quotas_are_kept_and_described() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    assert_eq!(set(&mut client, &[("user", Some("u"))], "producer_byte_rate", Some(1024.0)).await, 0);
    let pair = [("user", Some("u")), ("client-id", None)];
    assert_eq!(set(&mut client, &pair, "request_percentage", Some(12.5)).await, 0);
    assert_eq!(set(&mut client, &[("ip", Some("10.0.0.1"))], "connection_creation_rate", Some(5.0)).await, 0);
    let invalid = ErrorCode::InvalidRequest.code();
    for (entity, key, value) in [
        (&[("user", Some("u"))][..], "nonsense", 1.0),
        (&[("user", Some("u"))], "producer_byte_rate", 0.0),
        (&[("user", Some("u"))], "producer_byte_rate", 1.5),
        (&[("user", Some("u")), ("ip", None)], "connection_creation_rate", 1.0),
        (&[("ip", Some("nowhere"))], "connection_creation_rate", 1.0),
        (&[("group", Some("u"))], "producer_byte_rate", 1.0),
        (&[], "producer_byte_rate", 1.0),
    ] {
        assert_eq!(set(&mut client, entity, key, Some(value)).await, invalid, "{entity:?} {key} {value}");
    }
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, &[]).await;
    let mut client = broker.client().await;
    let all = described(&mut client, &[], false).await;
    assert_eq!(
        all,
        [
            "client-id=*,user=u request_percentage=12.5",
            "ip=10.0.0.1 connection_creation_rate=5",
            "user=u producer_byte_rate=1024"
        ]
    );
    let users = [("user", 2, None)];
    assert_eq!(described(&mut client, &users, false).await.len(), 2);
    assert_eq!(described(&mut client, &users, true).await, ["user=u producer_byte_rate=1024"]);
    assert_eq!(
        described(&mut client, &[("user", 0, Some("u")), ("client-id", 1, None)], true).await.len(),
        1
    );
    assert_eq!(set(&mut client, &[("user", Some("u"))], "producer_byte_rate", None).await, 0);
    assert_eq!(described(&mut client, &users, true).await.len(), 0);
}

#[tokio::test]
async fn who_produces_too_much_is_not_read_for_a_while() {
    let windows = [("quota.window.num", "2")];
    let broker = TestBroker::start(&windows).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("t", 1, &[]).await, 0);
    assert_eq!(
        set(&mut client, &[("client-id", Some("test"))], "producer_byte_rate", Some(10_000.0)).await,
        0
    );
    let mut other = broker.client().await;
    let large = "x".repeat(20_000);
    let began = Instant::now();
    assert_eq!(client.produce(&Target::new("t"), &batch(&[&large])).await, (0, 0));
    // Twice the rate of a second: the next request has to wait about a second.
    assert_eq!(client.produce(&Target::new("t"), &batch(&["a"])).await.0, 0);
    assert!(began.elapsed().as_millis() >= 900, "{:?}", began.elapsed());
    assert!(other.describe("t").await.is_some());
}

#[tokio::test]
async fn who_creates_too_many_partitions_is_refused() {
    let windows = [("controller.quota.window.num", "1")];
    let broker = TestBroker::start(&windows).await;
    let mut client = broker.client().await;
    let entity = [("client-id", Some("test"))];
    assert_eq!(set(&mut client, &entity, "controller_mutation_rate", Some(1.0)).await, 0);
    assert_eq!(client.create_topic("a", 1, &[]).await, 0);
    // The account may be overdrawn once.
    assert_eq!(client.create_topic("b", 2, &[]).await, 0);
    let mut other = broker.client().await;
    assert_eq!(other.create_topic("c", 1, &[]).await, ErrorCode::ThrottlingQuotaExceeded.code());
}
