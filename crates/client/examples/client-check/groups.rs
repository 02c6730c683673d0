//! Consumer groups: sharing, rebalances, commits, administration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::admin::{ListGroupsOptions, NewPartitions};
use client::consumer::RebalanceListener;
use client::{Consumer, Error, OffsetAndMetadata, ProducerRecord, TopicPartition};
use futures_util::future::BoxFuture;
use kafka_codec::ErrorCode;
use tokio::task::JoinHandle;

use crate::admin::create_topic;
use crate::consumer::{consumer, fill, take, values};
use crate::harness::{Checks, Outcome};
use crate::producer::producer;
use crate::{expect, expect_eq};

/// In front of an assignor of the coordinator's, in place of a strategy of the members'.
const CONSUMER_PROTOCOL: &str = "consumer:";

pub async fn run(checks: &Checks) {
    checks.check("group one member", |name| one_member(checks, name)).await;
    for assignor in ["range", "roundrobin", "sticky", "cooperative-sticky", "range,cooperative-sticky"] {
        checks.check(&format!("group shares by {assignor}"), |name| shares(checks, name, assignor)).await;
    }
    for assignor in ["uniform", "range"] {
        let by_heartbeats = format!("{CONSUMER_PROTOCOL}{assignor}");
        checks
            .check(&format!("group of heartbeats shares by {assignor}"), |name| {
                shares(checks, name, &by_heartbeats)
            })
            .await;
    }
    for assignor in ["cooperative-sticky", "consumer:uniform"] {
        checks
            .check(&format!("group of {assignor} hands over without stopping"), |name| {
                hands_over(checks, name, assignor)
            })
            .await;
    }
    checks.check("group of a pattern", |name| pattern(checks, name)).await;
    checks.check("group of a growing topic", |name| growth(checks, name)).await;
    checks.check("group static member", |name| static_member(checks, name)).await;
    checks.check("group unsubscribes", |name| unsubscribes(checks, name)).await;
    checks.check("group administration", |name| administration(checks, name)).await;
}

async fn one_member(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 3, &[]).await?;
    for partition in 0..3 {
        fill(checks, &name, partition, 20).await?;
    }
    let properties =
        [("group.id", name.as_str()), ("auto.offset.reset", "earliest"), ("max.poll.records", "10")];
    let mut first = consumer(checks, &properties)?;
    first.subscribe(&[&name], None)?;
    let got = take(&mut first, 30).await?;
    expect_eq!(first.assignment().len(), 3);
    expect_eq!(first.subscription(), std::slice::from_ref(&name));
    let me = first.group_metadata().ok_or("no group")?;
    expect!(me.generation >= 0 && !me.member_id.is_empty(), "{me:?}");
    // Closing commits what was handed out.
    first.close(Duration::from_secs(10)).await?;
    let mut second = consumer(checks, &properties)?;
    second.subscribe(&[&name], None)?;
    let rest = take(&mut second, 60 - got.len()).await?;
    let all: BTreeSet<_> = got.iter().chain(&rest).map(|r| (r.partition, r.offset)).collect();
    expect_eq!(all.len(), 60);
    expect_eq!(got.len() + rest.len(), 60);
    second.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// What the members of a group have done so far.
#[derive(Default)]
struct Log {
    records: Vec<(i32, i64)>,
    assignments: BTreeMap<String, Vec<TopicPartition>>,
    revoked: BTreeMap<String, usize>,
}

struct Listener(String, Arc<Mutex<Log>>);

impl RebalanceListener for Listener {
    fn revoked<'a>(
        &'a mut self,
        consumer: &'a mut Consumer,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // What Java's listeners usually do.
            let _ = consumer.commit().await;
            let mut log = self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *log.revoked.entry(self.0.clone()).or_default() += partitions.len();
        })
    }

    fn assigned<'a>(&'a mut self, _: &'a mut Consumer, _: &'a [TopicPartition]) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// A member that polls in a task of its own until it is told to stop.
struct Member {
    stop: tokio::sync::watch::Sender<bool>,
    task: JoinHandle<Result<(), Error>>,
}

impl Member {
    fn start(
        checks: &Checks,
        member: &str,
        topic: &str,
        assignor: &str,
        log: &Arc<Mutex<Log>>,
    ) -> Result<Self, Error> {
        let mut properties =
            vec![("group.id", topic), ("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")];
        match assignor.strip_prefix(CONSUMER_PROTOCOL) {
            Some(remote) => {
                properties.extend([("group.protocol", "consumer"), ("group.remote.assignor", remote)])
            }
            None => properties.extend([
                ("partition.assignment.strategy", assignor),
                ("heartbeat.interval.ms", "100"),
                ("session.timeout.ms", "10000"),
            ]),
        }
        let mut consumer = consumer(checks, &properties)?;
        let listener = Listener(member.to_owned(), Arc::clone(log));
        consumer.subscribe(&[topic], Some(Box::new(listener)))?;
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let (member, log) = (member.to_owned(), Arc::clone(log));
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    records = consumer.poll(Duration::from_millis(100)) => {
                        let records = records?;
                        let mut log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        log.records.extend(records.iter().map(|r| (r.partition, r.offset)));
                        log.assignments.insert(member.clone(), consumer.assignment());
                    }
                    _ = stopped.wait_for(|stop| *stop) => break,
                }
            }
            consumer.commit().await?;
            consumer.close(Duration::from_secs(10)).await?;
            log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).assignments.remove(&member);
            Ok(())
        });
        Ok(Self { stop, task })
    }

    async fn stop(self) -> Outcome {
        self.stop.send_replace(true);
        self.task.await??;
        Ok(())
    }
}

/// Waits until a look at the log finds what it looks for.
async fn until(log: &Arc<Mutex<Log>>, what: &str, holds: impl Fn(&Log) -> bool) -> Outcome {
    for _ in 0..1_500 {
        if holds(&log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    Err(format!("never: {what}; assignments {:?}, {} records", log.assignments, log.records.len()).into())
}

/// Every member has its share and every partition one owner.
fn balanced(log: &Log, members: usize, partitions: usize) -> bool {
    let all: BTreeSet<_> = log.assignments.values().flatten().collect();
    let sizes = || log.assignments.values().map(Vec::len);
    log.assignments.len() == members
        && all.len() == partitions
        && sizes().sum::<usize>() == partitions
        && sizes().all(|n| n >= partitions / members)
}

async fn shares(checks: &Checks, name: String, assignor: &str) -> Outcome {
    create_topic(&checks.admin()?, &name, 6, &[]).await?;
    let log = Arc::default();
    let a = Member::start(checks, "a", &name, assignor, &log)?;
    until(&log, "one member has all", |log| balanced(log, 1, 6)).await?;
    let b = Member::start(checks, "b", &name, assignor, &log)?;
    until(&log, "two members share", |log| balanced(log, 2, 6)).await?;
    let producer = producer(checks, &[])?;
    for n in 0..600 {
        drop(producer.send(ProducerRecord::new(name.as_str(), n.to_string()).partition(n % 6)).await?);
    }
    producer.flush().await?;
    until(&log, "600 records", |log| log.records.len() >= 600).await?;
    let c = Member::start(checks, "c", &name, assignor, &log)?;
    until(&log, "three members share", |log| balanced(log, 3, 6)).await?;
    a.stop().await?;
    until(&log, "the two left share", |log| balanced(log, 2, 6)).await?;
    b.stop().await?;
    c.stop().await?;
    let log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let distinct: BTreeSet<_> = log.records.iter().collect();
    // Committed at every revocation, so nothing comes twice.
    expect_eq!((log.records.len(), distinct.len()), (600, 600));
    Ok(())
}

async fn hands_over(checks: &Checks, name: String, assignor: &str) -> Outcome {
    create_topic(&checks.admin()?, &name, 4, &[]).await?;
    let log = Arc::default();
    let a = Member::start(checks, "a", &name, assignor, &log)?;
    until(&log, "one member has all", |log| balanced(log, 1, 4)).await?;
    let b = Member::start(checks, "b", &name, assignor, &log)?;
    until(&log, "two members share", |log| balanced(log, 2, 4)).await?;
    {
        let log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        expect_eq!(log.revoked.get("a"), Some(&2), "a gives up two of four, not all");
    }
    a.stop().await?;
    b.stop().await?;
    Ok(())
}

async fn pattern(checks: &Checks, name: String) -> Outcome {
    let admin = checks.admin()?;
    create_topic(&admin, &format!("{name}-one"), 1, &[]).await?;
    create_topic(&admin, &format!("other-{name}"), 1, &[]).await?;
    let properties =
        [("group.id", name.as_str()), ("auto.offset.reset", "earliest"), ("metadata.max.age.ms", "300")];
    let mut consumer = consumer(checks, &properties)?;
    consumer.subscribe_pattern(regex::Regex::new(&format!("{name}-.*"))?, None)?;
    fill(checks, &format!("{name}-one"), 0, 5).await?;
    fill(checks, &format!("other-{name}"), 0, 5).await?;
    let got = take(&mut consumer, 5).await?;
    expect!(got.iter().all(|r| *r.topic == *format!("{name}-one")), "another topic was read");
    create_topic(&admin, &format!("{name}-two"), 1, &[]).await?;
    fill(checks, &format!("{name}-two"), 0, 5).await?;
    let got = take(&mut consumer, 5).await?;
    expect!(got.iter().all(|r| *r.topic == *format!("{name}-two")), "records came twice");
    consumer.close(Duration::from_secs(10)).await?;
    Ok(())
}

async fn growth(checks: &Checks, name: String) -> Outcome {
    let admin = checks.admin()?;
    create_topic(&admin, &name, 1, &[]).await?;
    let properties =
        [("group.id", name.as_str()), ("auto.offset.reset", "earliest"), ("metadata.max.age.ms", "300")];
    let mut consumer = consumer(checks, &properties)?;
    consumer.subscribe(&[&name], None)?;
    fill(checks, &name, 0, 5).await?;
    expect_eq!(take(&mut consumer, 5).await?.len(), 5);
    let grow = [(name.clone(), NewPartitions { total_count: 3, assignments: None })];
    admin.create_partitions(&grow, false).await?.remove(0).1?;
    fill(checks, &name, 2, 5).await?;
    let got = take(&mut consumer, 5).await?;
    expect!(got.iter().all(|r| r.partition == 2), "records came twice");
    consumer.close(Duration::from_secs(10)).await?;
    Ok(())
}

async fn static_member(checks: &Checks, name: String) -> Outcome {
    create_topic(&checks.admin()?, &name, 2, &[]).await?;
    fill(checks, &name, 0, 10).await?;
    let properties = [
        ("group.id", name.as_str()),
        ("group.instance.id", "me"),
        ("auto.offset.reset", "earliest"),
        ("max.poll.records", "4"),
    ];
    let mut first = consumer(checks, &properties)?;
    first.subscribe(&[&name], None)?;
    expect_eq!(take(&mut first, 4).await?.len(), 4);
    first.close(Duration::from_secs(10)).await?;
    let members = checks.admin()?.describe_groups(std::slice::from_ref(&name)).await?.remove(0).1?.members;
    expect_eq!(members.len(), 1, "a static member stays when it closes");
    expect_eq!(members[0].group_instance_id.as_deref(), Some("me"));
    let mut second = consumer(checks, &properties)?;
    second.subscribe(&[&name], None)?;
    let rest: Vec<_> = take(&mut second, 6).await?;
    expect_eq!(values(&rest), (4..10).map(|n| n.to_string()).collect::<Vec<_>>());
    second.close(Duration::from_secs(10)).await?;
    let removed = checks.admin()?.remove_members(&name, Some(&["me".to_owned()]), "done").await?;
    for (_, removed) in removed {
        removed?;
    }
    Ok(())
}

async fn unsubscribes(checks: &Checks, name: String) -> Outcome {
    let other = format!("{name}-other");
    create_topic(&checks.admin()?, &name, 1, &[]).await?;
    create_topic(&checks.admin()?, &other, 1, &[]).await?;
    fill(checks, &name, 0, 3).await?;
    fill(checks, &other, 0, 3).await?;
    let mut consumer = consumer(checks, &[("group.id", name.as_str()), ("auto.offset.reset", "earliest")])?;
    consumer.subscribe(&[&name], None)?;
    expect_eq!(take(&mut consumer, 3).await?.len(), 3);
    let refused = consumer.assign(&[TopicPartition::new(other.as_str(), 0)]);
    expect!(matches!(refused, Err(Error::Illegal(_))), "assign while subscribed");
    // Another subscription replaces the first.
    consumer.subscribe(&[&other], None)?;
    let got = take(&mut consumer, 3).await?;
    expect!(got.iter().all(|r| *r.topic == *other), "the old topic was read");
    consumer.unsubscribe().await?;
    expect!(consumer.assignment().is_empty(), "still assigned");
    let members = checks.admin()?.describe_groups(std::slice::from_ref(&name)).await?.remove(0).1?.members;
    expect_eq!(members.len(), 0);
    consumer.assign(&[TopicPartition::new(name.as_str(), 0)])?;
    consumer.seek_to_beginning(&[])?;
    expect_eq!(take(&mut consumer, 3).await?.len(), 3);
    consumer.close(Duration::from_secs(10)).await?;
    Ok(())
}

async fn administration(checks: &Checks, name: String) -> Outcome {
    let admin = checks.admin()?;
    create_topic(&admin, &name, 2, &[]).await?;
    fill(checks, &name, 0, 10).await?;
    let mut consumer = consumer(
        checks,
        &[("group.id", name.as_str()), ("auto.offset.reset", "earliest"), ("client.id", "me")],
    )?;
    consumer.subscribe(&[&name], None)?;
    take(&mut consumer, 10).await?;
    consumer.commit().await?;
    let listed = admin.list_groups(&ListGroupsOptions::default()).await?;
    let listed = listed.into_iter().find(|g| g.group_id == name).ok_or("the group is not listed")?;
    expect_eq!((listed.protocol_type.as_str(), listed.state.as_deref()), ("consumer", Some("Stable")));
    let empty = ListGroupsOptions { states: vec!["Empty".to_owned()], ..ListGroupsOptions::default() };
    expect!(!admin.list_groups(&empty).await?.iter().any(|g| g.group_id == name), "listed as empty");
    let described = admin.describe_groups(std::slice::from_ref(&name)).await?.remove(0).1?;
    expect_eq!((described.state.as_str(), described.assignor.as_str()), ("Stable", "range"));
    let member = &described.members[0];
    expect_eq!(member.client_id, "me");
    let both = [TopicPartition::new(name.as_str(), 0), TopicPartition::new(name.as_str(), 1)];
    expect_eq!(member.assignment, both);
    let code = |outcome: Result<(), Error>| outcome.err().and_then(|e| e.code());
    let refused = admin.delete_groups(std::slice::from_ref(&name)).await?.remove(0).1;
    expect_eq!(code(refused), Some(ErrorCode::NonEmptyGroup));
    let offsets = BTreeMap::from([(both[0].clone(), OffsetAndMetadata::new(3))]);
    let refused = admin.alter_group_offsets(&name, &offsets).await?.remove(0).1;
    expect_eq!(code(refused), Some(ErrorCode::UnknownMemberId));
    let refused = admin.delete_group_offsets(&name, &both[..1]).await?.remove(0).1;
    expect_eq!(code(refused), Some(ErrorCode::GroupSubscribedToTopic));
    consumer.close(Duration::from_secs(10)).await?;

    admin.alter_group_offsets(&name, &offsets).await?.remove(0).1?;
    let committed = admin.list_group_offsets(&name, Some(&both)).await?;
    let committed =
        |partition: &TopicPartition| committed.get(partition).and_then(|c| c.clone().ok()).flatten();
    expect_eq!(committed(&both[0]).map(|c| c.offset), Some(3));
    admin.delete_group_offsets(&name, &both[..1]).await?.remove(0).1?;
    let left = admin.list_group_offsets(&name, None).await?;
    expect!(!left.contains_key(&both[0]), "{left:?}");
    admin.delete_groups(std::slice::from_ref(&name)).await?.remove(0).1?;
    let gone = admin.describe_groups(std::slice::from_ref(&name)).await?.remove(0).1;
    let gone = gone.map(|g| g.state).map_err(|e| e.code());
    expect!(
        matches!(&gone, Err(Some(ErrorCode::GroupIdNotFound))) || matches!(&gone, Ok(s) if s == "Dead"),
        "{gone:?}"
    );
    let missing = admin.delete_groups(std::slice::from_ref(&name)).await?.remove(0).1;
    expect_eq!(code(missing), Some(ErrorCode::GroupIdNotFound));
    Ok(())
}
