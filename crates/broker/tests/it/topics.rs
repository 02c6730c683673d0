//! Creating, describing, growing and deleting topics.

use kafka_codec::Uuid;
use kafka_codec::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_codec::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_codec::messages::delete_topics_request::DeleteTopicState;
use kafka_codec::messages::metadata_request::MetadataRequestTopic;
use kafka_codec::messages::*;

use crate::harness::{Client, TestBroker};

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    CreatableTopic {
        assignments: assignments
            .iter()
            .map(|(index, brokers)| CreatableReplicaAssignment {
                partition_index: *index,
                broker_ids: brokers.to_vec(),
                ..Default::default()
            })
            .collect(),
        ..topic(name, -1, -1)
    }
}

fn configured(name: &str, key: &str, value: Option<&str>) -> CreatableTopic {
    let config =
        CreatableTopicConfig { name: key.into(), value: value.map(str::to_owned), ..Default::default() };
    CreatableTopic { configs: vec![config], ..topic(name, 1, 1) }
}

async fn create(
    client: &mut Client,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> Vec<(String, i16, String)> {
    let request = CreateTopicsRequest { topics, validate_only, timeout_ms: 5000, ..Default::default() };
    let response = client.call(7, &request).await;
    response.topics.into_iter().map(|t| (t.name, t.error_code, t.error_message.unwrap_or_default())).collect()
}

#[tokio::test]
async fn refusals_are_kafkas() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    assert_eq!(client.create_topic("a.b", 1, &[]).await, 0);
    let long = "x".repeat(250);
    let cases = [
        (topic("a.b", 1, 1), 36, "Topic 'a.b' already exists."),
        (topic("a_b", 1, 1), 17, "Topic 'a_b' collides with existing topic: a.b"),
        (topic("", 1, 1), 17, "Topic name is invalid: the empty string is not allowed"),
        (topic("..", 1, 1), 17, "Topic name is invalid: '..' is not allowed"),
        (
            topic("bad name", 1, 1),
            17,
            "Topic name is invalid: 'bad name' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'",
        ),
        (
            topic("__cluster_metadata", 1, 1),
            42,
            "Creation of internal topic __cluster_metadata is prohibited.",
        ),
        (topic("t", 0, 1), 37, "Number of partitions was set to an invalid non-positive value."),
        (topic("t", 1, 0), 38, "Replication factor must be larger than 0, or -1 to use the default value."),
        (
            topic("t", 1, 2),
            38,
            "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be \
             reached because only 1 broker(s) are registered.",
        ),
        (
            CreatableTopic { num_partitions: 3, ..assigned("t", &[(0, &[1])]) },
            42,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (
            assigned("t", &[(0, &[7])]),
            39,
            "The manual partition assignment includes broker 7, but no such broker is registered.",
        ),
        (assigned("t", &[(1, &[1])]), 39, "partitions should be a consecutive 0-based integer sequence"),
        (configured("t", "no.such", Some("1")), 40, "Unknown topic config name: no.such"),
        (
            configured("t", "retention.ms", Some("abc")),
            40,
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            configured("t", "retention.ms", None),
            40,
            "Null value not supported for topic configs: retention.ms",
        ),
    ];
    for (topic, code, message) in cases {
        let name = topic.name.clone();
        assert_eq!(create(&mut client, vec![topic], false).await, [(name, code, message.to_owned())]);
    }
    let refused = create(&mut client, vec![topic(&long, 1, 1)], false).await;
    assert_eq!(refused[0].1, 17);
    assert!(refused[0].2.ends_with("is longer than the max allowed length 249"));
    let doubled =
        create(&mut client, vec![topic("d", 1, 1), topic("d", 2, 1), topic("e", 1, 1)], false).await;
    assert_eq!(doubled, [("d".into(), 42, "Duplicate topic name.".into()), ("e".into(), 0, String::new())]);
    assert_eq!(client.describe("t").await, None);
    assert_eq!(client.describe("d").await, None);
    assert_eq!(client.describe("e").await.map(|(_, partitions)| partitions), Some(1));
}

#[tokio::test]
async fn defaults_assignments_and_validation() {
    let broker = TestBroker::start(&[("num.partitions", "4")]).await;
    let mut client = broker.client().await;
    let request = CreateTopicsRequest {
        topics: vec![
            topic("d", -1, -1),
            assigned("m", &[(1, &[1]), (0, &[1])]),
            configured("c", "cleanup.policy", Some("compact")),
        ],
        ..Default::default()
    };
    let validated = client.call(7, &CreateTopicsRequest { validate_only: true, ..request.clone() }).await;
    assert!(validated.topics.iter().all(|t| t.error_code == 0 && t.topic_id == Uuid::ZERO));
    assert_eq!(client.describe("d").await, None, "only validated");
    let response = client.call(7, &request).await;
    let made: Vec<_> = response.topics.iter().map(|t| (t.num_partitions, t.replication_factor)).collect();
    assert_eq!(made, [(4, 1), (2, 1), (1, 1)]);
    let configs = response.topics[2].configs.as_ref().unwrap();
    let policy = configs.iter().find(|c| c.name == "cleanup.policy").unwrap();
    assert_eq!((policy.value.as_deref(), policy.config_source), (Some("compact"), 1));
    let (id, partitions) = client.describe("d").await.unwrap();
    assert_eq!((id, partitions), (response.topics[0].topic_id, 4));
}

#[tokio::test]
async fn topics_grow_but_never_shrink() {
    let broker = TestBroker::start(&[("max.partitions", "10")]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 2, &[]).await;
    let mut grow = async |name: &str, count, assignments: Option<Vec<Vec<i32>>>| {
        let assignments = assignments.map(|all| {
            all.into_iter()
                .map(|broker_ids| CreatePartitionsAssignment { broker_ids, ..Default::default() })
                .collect()
        });
        let topic = CreatePartitionsTopic { name: name.into(), count, assignments, ..Default::default() };
        let request = CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
        let result = client.call(3, &request).await.results.remove(0);
        (result.error_code, result.error_message.unwrap_or_default())
    };
    assert_eq!(grow("t", 4, None).await, (0, String::new()));
    assert_eq!(grow("t", 5, Some(vec![vec![1]])).await, (0, String::new()));
    assert_eq!(grow("t", 5, None).await, (37, "Topic already has 5 partition(s).".into()));
    assert_eq!(
        grow("t", 2, None).await,
        (37, "The topic t currently has 5 partition(s); 2 would not be an increase.".into())
    );
    assert_eq!(
        grow("t", 7, Some(vec![vec![1]])).await,
        (39, "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.".into())
    );
    assert_eq!(grow("none", 7, None).await.0, 3);
    assert_eq!(
        grow("t", 11, None).await,
        (44, "6 more partition(s) than the 5 there are would exceed max.partitions=10".into())
    );
    assert_eq!(client.describe("t").await.unwrap().1, 5);
}

#[tokio::test]
async fn deletion_by_name_and_by_id() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    for name in ["a", "b"] {
        client.create_topic(name, 1, &[]).await;
    }
    let (id, _) = client.describe("b").await.unwrap();
    let named = |name: &str| DeleteTopicState { name: Some(name.into()), ..Default::default() };
    let by_id = |topic_id| DeleteTopicState { name: None, topic_id, ..Default::default() };
    let request = DeleteTopicsRequest {
        topics: vec![named("a"), named("none"), by_id(id), by_id(Uuid([5; 16])), by_id(Uuid::ZERO)],
        ..Default::default()
    };
    let response = client.call(6, &request).await;
    let codes: Vec<_> = response.responses.iter().map(|r| r.error_code).collect();
    assert_eq!(codes, [0, 3, 0, 100, 42]);
    assert_eq!((client.describe("a").await, client.describe("b").await), (None, None));
    assert_eq!(client.create_topic("a", 1, &[]).await, 0, "the name is free again");
}

#[tokio::test]
async fn deletion_can_be_forbidden() {
    let broker = TestBroker::start(&[("delete.topic.enable", "false")]).await;
    let mut client = broker.client().await;
    client.create_topic("a", 1, &[]).await;
    let request = DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() };
    assert_eq!(client.call(5, &request).await.responses[0].error_code, 73);
    assert_eq!(client.call(1, &request).await.responses[0].error_code, 42);
    assert!(client.describe("a").await.is_some());
}

#[tokio::test]
async fn metadata_creates_topics_when_both_sides_allow_it() {
    let ask = |name: &str, allow: bool| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(name.into()), ..Default::default() }]),
        allow_auto_topic_creation: allow,
        ..Default::default()
    };
    let broker = TestBroker::start(&[("num.partitions", "3")]).await;
    let mut client = broker.client().await;
    assert_eq!(client.call(9, &ask("t", false)).await.topics[0].error_code, 3);
    let made = client.call(9, &ask("t", true)).await;
    assert_eq!((made.topics[0].error_code, made.topics[0].partitions.len()), (0, 3));
    assert_eq!(client.call(9, &ask("bad name", true)).await.topics[0].error_code, 17);
    assert_eq!(made.cluster_id.as_deref(), Some(broker.handle.cluster_id()));
    assert_eq!(made.brokers[0].port, i32::from(broker.address().port()));
    assert_eq!((made.controller_id, made.topics[0].partitions[0].leader_id), (1, 1));
    let unknown = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: None,
            topic_id: Uuid([3; 16]),
            ..Default::default()
        }]),
        ..Default::default()
    };
    assert_eq!(client.call(12, &unknown).await.topics[0].error_code, 100);

    let broker = TestBroker::start(&[("auto.create.topics.enable", "false")]).await;
    let mut client = broker.client().await;
    assert_eq!(client.call(9, &ask("t", true)).await.topics[0].error_code, 3);
}

/// Java's consumer asks for the topics of its assignment by id and leaves the name empty instead of null.
#[tokio::test]
async fn metadata_by_id_looks_at_no_name() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("t", 2, &[]).await;
    let named = |name: Option<&str>, topic_id: Uuid| MetadataRequestTopic {
        name: name.map(str::to_owned),
        topic_id,
        ..Default::default()
    };
    let ask =
        |topics: Vec<MetadataRequestTopic>| MetadataRequest { topics: Some(topics), ..Default::default() };
    let id = client.call(12, &ask(vec![named(Some("t"), Uuid::ZERO)])).await.topics[0].topic_id;
    for name in [None, Some(""), Some("another")] {
        let told = client.call(13, &ask(vec![named(name, id)])).await.topics.remove(0);
        assert_eq!((told.error_code, told.name.as_deref(), told.topic_id), (0, Some("t"), id));
        assert_eq!(told.partitions.len(), 2);
    }
    let unknown = Uuid([3; 16]);
    let mut told = client.call(13, &ask(vec![named(Some(""), unknown), named(Some("t"), Uuid::ZERO)])).await;
    let only = told.topics.remove(0);
    assert_eq!((only.error_code, only.name, only.topic_id), (100, None, unknown));
    assert!(told.topics.is_empty(), "a name beside an id is not asked for");
}

#[tokio::test]
async fn metadata_v0_takes_an_empty_list_for_all() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("a", 1, &[]).await;
    client.create_topic("b", 1, &[]).await;
    let none = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    assert_eq!(client.call(0, &none).await.topics.len(), 2);
    assert_eq!(client.call(1, &none).await.topics.len(), 0);
    let all = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(client.call(1, &all).await.topics.len(), 2);
}

#[tokio::test]
async fn topic_partitions_come_in_pages() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.client().await;
    client.create_topic("a", 3, &[]).await;
    client.create_topic("b", 2, &[]).await;
    let mut request = DescribeTopicPartitionsRequest { response_partition_limit: 2, ..Default::default() };
    let mut pages = Vec::new();
    loop {
        let response = client.call(0, &request).await;
        let page: Vec<_> = response
            .topics
            .iter()
            .flat_map(|t| {
                t.partitions.iter().map(|p| format!("{}-{}", t.name.as_deref().unwrap(), p.partition_index))
            })
            .collect();
        pages.push(page);
        let Some(cursor) = response.next_cursor else { break };
        request.cursor = Some(describe_topic_partitions_request::Cursor {
            topic_name: cursor.topic_name,
            partition_index: cursor.partition_index,
            ..Default::default()
        });
    }
    let want = [vec!["a-0", "a-1"], vec!["a-2", "b-0"], vec!["b-1"]];
    assert_eq!(pages, want);
}

#[tokio::test]
async fn each_listener_tells_its_own_address() {
    let broker = TestBroker::start(&[
        ("listeners", "PLAINTEXT://127.0.0.1:0,OUTSIDE://:0"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT"),
        ("advertised.listeners", "PLAINTEXT://broker.example:19092"),
    ])
    .await;
    let listeners = broker.handle.listeners();
    let mut first = Client::connect(listeners[0].address).await;
    let told = first.call(9, &MetadataRequest::default()).await.brokers.remove(0);
    assert_eq!((told.host.as_str(), told.port), ("broker.example", 19092));
    let outside = std::net::SocketAddr::from(([127, 0, 0, 1], listeners[1].address.port()));
    let mut second = Client::connect(outside).await;
    let told = second.call(1, &DescribeClusterRequest::default()).await.brokers.remove(0);
    assert_eq!(
        (told.host.as_str(), told.port),
        ("127.0.0.1", i32::from(outside.port())),
        "the address dialled"
    );
}
