//! Client metrics (KIP-714): subscriptions, what clients are asked for, and what becomes of what they push.

use kafka_codec::messages::*;
use kafka_codec::records::{Compression, DecodedBatch, compress};
use kafka_codec::{ErrorCode, Uuid};

use crate::configs::{alter, describe};
use crate::harness::{Client, Fetch, PATIENCE, TestBroker};

const CLIENT_METRICS: i8 = 16;
const TOPIC: &str = "__client_telemetry";

async fn subscribe(client: &mut Client, name: &str, configs: &[(&str, &str)]) -> (i16, String) {
    let changes: Vec<_> = configs.iter().map(|(key, value)| (*key, 0, Some(*value))).collect();
    alter(client, CLIENT_METRICS, name, &changes).await
}

async fn ask(client: &mut Client, id: Uuid) -> GetTelemetrySubscriptionsResponse {
    let request = GetTelemetrySubscriptionsRequest {
        client_instance_id: id,
        ..GetTelemetrySubscriptionsRequest::default()
    };
    client.call(0, &request).await
}

fn push(asked: &GetTelemetrySubscriptionsResponse, metrics: &[u8]) -> PushTelemetryRequest {
    PushTelemetryRequest {
        client_instance_id: asked.client_instance_id,
        subscription_id: asked.subscription_id,
        metrics: metrics.to_vec().into(),
        ..PushTelemetryRequest::default()
    }
}

async fn pushed(client: &mut Client, request: &PushTelemetryRequest) -> ErrorCode {
    ErrorCode::from_wire(client.call(0, request).await.error_code)
}

async fn introduce(client: &mut Client, name: &str, version: &str) {
    let request = ApiVersionsRequest {
        client_software_name: name.into(),
        client_software_version: version.into(),
        ..ApiVersionsRequest::default()
    };
    client.call(3, &request).await;
}

#[tokio::test]
async fn subscriptions_are_kept_listed_and_described() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let ok = (0, String::new());
    let settings = [("interval.ms", "1000"), ("metrics", "b., a.,b."), ("match", "client_id=x.*")];
    assert_eq!(subscribe(&mut client, "s", &settings).await, ok);
    assert_eq!(
        subscribe(&mut client, "s", &[("interval.ms", "99")]).await,
        (
            42,
            "Invalid value 99 for interval.ms, interval must be between 100 and 3600000 (1 hour)".to_owned()
        )
    );
    assert_eq!(
        subscribe(&mut client, "s", &[("match", "name=x")]).await,
        (40, "Illegal client matching pattern: name=x".to_owned())
    );
    assert_eq!(
        alter(&mut client, CLIENT_METRICS, "s", &[("metrics", 2, Some("c."))]).await,
        (40, "Can't APPEND to key metrics because its type is not LIST.".to_owned())
    );
    let broker = TestBroker::start_in(broker.stop().await, &[]).await;
    let mut client = broker.client().await;
    let all = client.call(0, &ListConfigResourcesRequest::default()).await;
    let names: Vec<_> = all.config_resources.iter().map(|resource| resource.resource_name.as_str()).collect();
    assert_eq!(names, ["s"], "after a restart, too");
    let metrics = describe(&mut client, CLIENT_METRICS, "s", "metrics").await.unwrap();
    assert_eq!(metrics, (Some("b.,a.".to_owned()), 7, vec!["metrics=b.,a.".to_owned()]), "each word once");
    let other = describe(&mut client, CLIENT_METRICS, "none", "interval.ms").await.unwrap();
    assert_eq!(other, (Some("300000".to_owned()), 5, Vec::new()));
    let deletions = [("interval.ms", 1, None), ("metrics", 1, None), ("match", 1, None)];
    assert_eq!(alter(&mut client, CLIENT_METRICS, "s", &deletions).await, ok);
    let all = client.call(0, &ListConfigResourcesRequest::default()).await;
    assert!(all.config_resources.is_empty(), "nothing is left of it");
}

#[tokio::test]
async fn clients_are_asked_for_what_subscriptions_that_match_them_want() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    introduce(&mut client, "apache-kafka-java", "4.3.1").await;
    let nothing = ask(&mut client, Uuid::ZERO).await;
    assert_eq!((nothing.push_interval_ms, nothing.requested_metrics), (300_000, Vec::new()));
    assert!(!nothing.client_instance_id.is_zero(), "an id all the same");
    assert_eq!(nothing.accepted_compression_types, [4, 3, 1, 2]);
    assert_eq!((nothing.telemetry_max_bytes, nothing.delta_temporality), (1_048_576, true));

    let id = nothing.client_instance_id;
    subscribe(&mut client, "java", &[("metrics", "b.,a."), ("match", "client_software_name=apache-.*")])
        .await;
    subscribe(&mut client, "other", &[("metrics", "c."), ("match", "client_software_name=rdkafka")]).await;
    subscribe(&mut client, "own", &[("metrics", "d."), ("interval.ms", "5000"), ("match", "client_id=test")])
        .await;
    let asked = ask(&mut client, id).await;
    assert_eq!(asked.error_code, 0, "not too early: it is another subscription");
    assert_eq!(asked.client_instance_id, id);
    assert_eq!(asked.requested_metrics, ["a.", "b.", "d."]);
    assert_eq!(asked.push_interval_ms, 5_000, "the shortest");
    subscribe(&mut client, "all", &[("metrics", "*")]).await;
    let everything = ask(&mut client, id).await;
    assert_eq!(everything.requested_metrics, ["*"]);
    assert_ne!(everything.subscription_id, asked.subscription_id);
}

#[tokio::test]
async fn pushes_are_checked_as_kafka_does() {
    let broker = TestBroker::start(&[("telemetry.max.bytes", "100")]).await;
    let mut client = broker.client().await;
    subscribe(&mut client, "s", &[("metrics", "*"), ("interval.ms", "3600000")]).await;
    let asked = ask(&mut client, Uuid::ZERO).await;
    let again = ask(&mut client, asked.client_instance_id).await;
    assert_eq!(again.error_code, ErrorCode::ThrottlingQuotaExceeded.code());

    let good = push(&asked, b"otlp");
    assert_eq!(pushed(&mut client, &good).await, ErrorCode::None, "the first may come at once");
    assert_eq!(pushed(&mut client, &good).await, ErrorCode::ThrottlingQuotaExceeded);
    let last = PushTelemetryRequest { terminating: true, ..good.clone() };
    assert_eq!(pushed(&mut client, &last).await, ErrorCode::None, "the last one may come early");
    assert_eq!(pushed(&mut client, &last).await, ErrorCode::InvalidRequest, "there is one last one");

    let asked = ask(&mut client, Uuid::ZERO).await;
    let unknown =
        PushTelemetryRequest { subscription_id: asked.subscription_id ^ 1, ..push(&asked, b"otlp") };
    assert_eq!(pushed(&mut client, &unknown).await, ErrorCode::UnknownSubscriptionId);
    assert_eq!(ask(&mut client, asked.client_instance_id).await.error_code, 0, "it may ask again at once");

    let asked = ask(&mut client, Uuid::ZERO).await;
    assert_eq!(pushed(&mut client, &push(&asked, &[0; 101])).await, ErrorCode::TelemetryTooLarge);
    let asked = ask(&mut client, Uuid::ZERO).await;
    let odd = PushTelemetryRequest { compression_type: 9, ..push(&asked, b"otlp") };
    assert_eq!(pushed(&mut client, &odd).await, ErrorCode::UnsupportedCompressionType);
    let asked = ask(&mut client, Uuid::ZERO).await;
    let broken = PushTelemetryRequest { compression_type: 4, ..push(&asked, b"not zstd") };
    assert_eq!(pushed(&mut client, &broken).await, ErrorCode::InvalidRecord);
    let asked = ask(&mut client, Uuid::ZERO).await;
    let mut bomb = Vec::new();
    compress(Compression::Zstd, None, &[0; 10_000], &mut bomb).unwrap();
    let bomb = PushTelemetryRequest { compression_type: 4, ..push(&asked, &bomb) };
    assert_eq!(pushed(&mut client, &bomb).await, ErrorCode::InvalidRecord, "too much comes out of it");
    let nobody = PushTelemetryRequest { client_instance_id: Uuid::ZERO, ..good };
    assert_eq!(pushed(&mut client, &nobody).await, ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn a_client_that_went_is_forgotten() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    let id = ask(&mut client, Uuid::ZERO).await.client_instance_id;
    drop(client);
    let welcome = async {
        loop {
            let mut client = broker.client().await;
            if ask(&mut client, id).await.error_code == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, welcome).await.expect("the broker still waits for its interval");
}

#[tokio::test]
async fn what_is_pushed_becomes_records() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    introduce(&mut client, "librdkafka", "2.15.0").await;
    subscribe(&mut client, "s", &[("metrics", "*")]).await;
    let asked = ask(&mut client, Uuid::ZERO).await;
    let mut zipped = Vec::new();
    compress(Compression::Zstd, None, b"otlp", &mut zipped).unwrap();
    let request = PushTelemetryRequest { compression_type: 4, ..push(&asked, &zipped) };
    assert_eq!(pushed(&mut client, &request).await, ErrorCode::None);
    let fetched = client.fetch(&Fetch::new(TOPIC, 0)).await;
    let batch = DecodedBatch::decode(&fetched.records, 1 << 20).unwrap();
    let record = batch.records().next().unwrap().unwrap();
    assert_eq!(record.key, Some(asked.client_instance_id.to_string().as_bytes()));
    assert_eq!(record.value, Some(&b"otlp"[..]), "as it was before the client compressed it");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers: Vec<_> = record
        .headers
        .map(|(name, value)| format!("{}={}", text(name), text(value.unwrap_or_default())))
        .filter(|header| !header.starts_with("client_source_port="))
        .collect();
    assert_eq!(
        headers,
        [
            "principal=User:ANONYMOUS",
            "client_id=test",
            "client_software_name=librdkafka",
            "client_software_version=2.15.0",
            "client_source_address=127.0.0.1",
            "terminating=false",
        ]
    );
}
