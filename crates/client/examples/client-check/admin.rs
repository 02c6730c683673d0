//! Topics, configurations, cluster.

use std::time::Duration;

use client::admin::{
    AlterConfigOp, ConfigResource, ConfigSource, CreateTopicsOptions, IsolationLevel, NewPartitions,
    NewTopic, OffsetSpec, Target,
};
use client::{Admin, TopicPartition};
use kafka_codec::ErrorCode;
use kafka_codec::messages::MetadataRequest;

use crate::harness::{Checks, Outcome};
use crate::{expect, expect_eq};

pub async fn run(checks: &Checks) {
    checks.check("admin topics", |name| topics(checks, name)).await;
    checks.check("admin topic errors", |name| topic_errors(checks, name)).await;
    checks.check("admin partitions", |name| partitions(checks, name)).await;
    checks.check("admin configs", |name| configs(checks, name)).await;
    checks.check("admin cluster", |_| cluster(checks)).await;
}

/// Creates one topic and waits until every broker would tell of it.
pub async fn create_topic(admin: &Admin, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Outcome {
    let mut topic = NewTopic::new(name, Some(partitions), None);
    topic.configs = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    for (_, created) in admin.create_topics(&[topic], CreateTopicsOptions::default()).await? {
        created?;
    }
    // The leaders may hear of the topic later than the controller's answer comes.
    let all: Vec<_> = (0..partitions).map(|p| (TopicPartition::new(name, p), OffsetSpec::Latest)).collect();
    for _ in 0..200 {
        let ends = admin.list_offsets(&all, IsolationLevel::ReadUncommitted).await?;
        if ends.iter().all(|(_, end)| end.is_ok()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Err(format!("no leaders for {name}").into())
}

async fn topics(checks: &Checks, name: String) -> Outcome {
    let admin = checks.admin()?;
    let topic = NewTopic::new(name.as_str(), Some(3), Some(1));
    let only_validate = CreateTopicsOptions { validate_only: true };
    for (_, created) in admin.create_topics(std::slice::from_ref(&topic), only_validate).await? {
        created?;
    }
    expect!(!admin.list_topics(true).await?.iter().any(|t| t.name == name), "validate_only created a topic");
    let created = admin.create_topics(&[topic], CreateTopicsOptions::default()).await?;
    expect_eq!(created.len(), 1);
    let (created_name, created) = &created[0];
    let created = created.as_ref().map_err(Clone::clone)?;
    expect_eq!((created_name, created.partitions, created.replication_factor), (&name, 3, 1));

    let listed = admin.list_topics(false).await?;
    let listed = listed.iter().find(|t| t.name == name).ok_or("the new topic is not listed")?;
    expect_eq!((listed.id, listed.internal), (created.id, false));

    let described = admin.describe_topics(std::slice::from_ref(&name)).await?;
    let described = described[0].1.as_ref().map_err(Clone::clone)?;
    expect_eq!((described.id, described.partitions.len()), (created.id, 3));
    for (index, p) in (0..).zip(&described.partitions) {
        let leader = p.leader.as_ref().ok_or("no leader")?;
        expect_eq!(p.partition, index);
        expect!(leader.port > 0 && p.replicas == [leader.clone()] && p.isr == p.replicas, "{p:?}");
    }
    let all = admin.describe_all_topics(false).await?;
    let same = all.iter().find(|t| t.name == name).ok_or("the new topic is not among all")?;
    expect_eq!(same.partitions.len(), 3);

    admin.delete_topics(std::slice::from_ref(&name)).await?.remove(0).1?;
    // (A real broker hears of it from its controller a moment after the answer.)
    for _ in 0..1_500 {
        if !admin.list_topics(true).await?.iter().any(|t| t.name == name) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("still listed after deletion".into())
}

async fn topic_errors(checks: &Checks, name: String) -> Outcome {
    let admin = checks.admin()?;
    create_topic(&admin, &name, 1, &[]).await?;
    let asked = [
        NewTopic::new(name.as_str(), Some(1), None),
        NewTopic::new("no/slashes", Some(1), None),
        NewTopic::new(format!("{name}-0"), Some(0), None),
        NewTopic::new(format!("{name}-1"), Some(1), Some(99)),
    ];
    let answers = admin.create_topics(&asked, CreateTopicsOptions::default()).await?;
    let codes: Vec<_> = answers.iter().map(|(_, r)| r.as_ref().err().and_then(client::Error::code)).collect();
    expect_eq!(
        codes,
        [
            ErrorCode::TopicAlreadyExists,
            ErrorCode::InvalidTopicException,
            ErrorCode::InvalidPartitions,
            ErrorCode::InvalidReplicationFactor
        ]
        .map(Some)
    );
    let exists = answers[0].1.as_ref().err().map(ToString::to_string).unwrap_or_default();
    expect_eq!(exists, format!("Topic '{name}' already exists."));

    let missing = format!("{name}-missing");
    let described = admin.describe_topics(std::slice::from_ref(&missing)).await?.remove(0).1;
    expect_eq!(described.err().and_then(|e| e.code()), Some(ErrorCode::UnknownTopicOrPartition));
    let deleted = admin.delete_topics(std::slice::from_ref(&missing)).await?.remove(0).1;
    expect_eq!(deleted.err().and_then(|e| e.code()), Some(ErrorCode::UnknownTopicOrPartition));
    let offsets = [(TopicPartition::new(missing.as_str(), 0), OffsetSpec::Latest)];
    let offsets = admin.list_offsets(&offsets, IsolationLevel::ReadUncommitted).await?.remove(0).1;
    expect_eq!(offsets.err().and_then(|e| e.code()), Some(ErrorCode::UnknownTopicOrPartition));
    admin.delete_topics(&[name]).await?.remove(0).1?;
    Ok(())
}

async fn partitions(checks: &Checks, name: String) -> Outcome {
    let admin = checks.admin()?;
    create_topic(&admin, &name, 2, &[]).await?;
    let grow = |total_count| [(name.clone(), NewPartitions { total_count, assignments: None })];
    admin.create_partitions(&grow(5), true).await?.remove(0).1?;
    admin.create_partitions(&grow(4), false).await?.remove(0).1?;
    let described = admin.describe_topics(std::slice::from_ref(&name)).await?.remove(0).1?;
    expect_eq!(described.partitions.len(), 4);
    let shrink = admin.create_partitions(&grow(3), false).await?.remove(0).1;
    expect_eq!(shrink.err().and_then(|e| e.code()), Some(ErrorCode::InvalidPartitions));
    let all: Vec<_> = (0..4).map(|p| (TopicPartition::new(name.as_str(), p), OffsetSpec::Latest)).collect();
    for (_, end) in admin.list_offsets(&all, IsolationLevel::ReadCommitted).await? {
        expect_eq!(end?.offset, 0);
    }
    admin.delete_topics(&[name]).await?.remove(0).1?;
    Ok(())
}

async fn configs(checks: &Checks, name: String) -> Outcome {
    let admin = checks.admin()?;
    create_topic(&admin, &name, 1, &[("cleanup.policy", "compact")]).await?;
    let resource = ConfigResource::topic(name.as_str());
    let read = async |key: &str| -> Result<_, client::Error> {
        let entries = admin.describe_configs(std::slice::from_ref(&resource), false).await?.remove(0).1?;
        Ok(entries.into_iter().find(|e| e.name == key).map(|e| (e.value, e.source)))
    };
    let own = |value: &str| Some((Some(value.to_owned()), ConfigSource::DynamicTopic));
    expect_eq!(read("cleanup.policy").await?, own("compact"));
    let change = async |op: AlterConfigOp, validate: bool| {
        admin.incremental_alter_configs(&[(resource.clone(), vec![op])], validate).await?.remove(0).1
    };
    let set = |k: &str, v: &str| AlterConfigOp::Set(k.to_owned(), v.to_owned());
    change(set("retention.ms", "60000"), true).await?;
    expect!(read("retention.ms").await? != own("60000"), "validate_only changed a value");
    change(set("retention.ms", "60000"), false).await?;
    expect_eq!(read("retention.ms").await?, own("60000"));
    change(AlterConfigOp::Append("cleanup.policy".to_owned(), "delete".to_owned()), false).await?;
    expect_eq!(read("cleanup.policy").await?, own("compact,delete"));
    change(AlterConfigOp::Subtract("cleanup.policy".to_owned(), "compact".to_owned()), false).await?;
    expect_eq!(read("cleanup.policy").await?, own("delete"));
    change(AlterConfigOp::Delete("retention.ms".to_owned()), false).await?;
    expect!(read("retention.ms").await?.is_some_and(|(_, s)| s != ConfigSource::DynamicTopic), "not deleted");
    let refused = change(set("retention.ms", "soon"), false).await;
    expect_eq!(refused.err().and_then(|e| e.code()), Some(ErrorCode::InvalidConfig));
    let missing = ConfigResource::topic(format!("{name}-missing"));
    let missing = admin.describe_configs(&[missing], false).await?.remove(0).1;
    expect_eq!(missing.err().and_then(|e| e.code()), Some(ErrorCode::UnknownTopicOrPartition));
    admin.delete_topics(&[name]).await?.remove(0).1?;
    Ok(())
}

async fn cluster(checks: &Checks) -> Outcome {
    let admin = checks.admin()?;
    let cluster = admin.describe_cluster().await?;
    expect!(cluster.cluster_id.as_ref().is_some_and(|id| !id.is_empty()), "no cluster id");
    let controller = cluster.controller.ok_or("no controller")?;
    expect!(cluster.nodes.contains(&controller), "the controller is not among the nodes");
    for (node, versions) in admin.api_versions().await? {
        expect!(versions?.api_keys.len() > 20, "node {} offers too little", node.id);
    }
    let raw = admin.send_to(Target::Broker(controller.id), MetadataRequest::default()).await?;
    expect_eq!(raw.brokers.len(), cluster.nodes.len());
    let dirs = admin.describe_log_dirs(&[controller.id]).await?.remove(0).1?;
    expect!(dirs.iter().all(|d| !d.path.is_empty() && d.error.is_none()) && !dirs.is_empty(), "{dirs:?}");
    expect_eq!(admin.list_reassignments(None).await?.len(), 0);
    Ok(())
}
