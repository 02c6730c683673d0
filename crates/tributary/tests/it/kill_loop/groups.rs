//! Consumer groups that ride over kills: two members each, one of which leaves and comes back, so that partitions
//! change hands; every commit, and what is told of it later, is noted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::{
    Admin, AdminConfig, Consumer, ConsumerConfig, ConsumerRecord, OffsetAndMetadata, TopicPartition,
};
use testkit::history::{GroupOffset, Op, Outcome, Partition, Process, Read, Value};

use super::{Drivers, KAFKA_PARTITIONS, KAFKA_TOPIC};

/// The groups with their protocols.
pub const GROUPS: [(&str, &str); 2] = [("kill-classic", "classic"), ("kill-modern", "consumer")];
/// Polls of a restless member between joining and leaving.
const STAY_POLLS: usize = 60;

fn consumer(drivers: &Drivers, group: &str, protocol: &str) -> Consumer {
    let mut own = vec![
        ("group.id", group),
        ("group.protocol", protocol),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("max.poll.records", "200"),
    ];
    if protocol == "classic" {
        own.push(("session.timeout.ms", "10000"));
        own.push(("heartbeat.interval.ms", "500"));
    }
    let properties = drivers.properties(&own);
    Consumer::new(ConsumerConfig::from_properties(properties).expect("config")).expect("consumer")
}

/// One member: reads, notes what it read, commits, notes the commit. A `restless` one leaves and joins again.
pub async fn run(drivers: Drivers, process: Process, (group, protocol): (&str, &str), restless: bool) {
    while !drivers.stopping() {
        let mut member = Member {
            drivers: drivers.clone(),
            process,
            group: group.into(),
            consumer: consumer(&drivers, group, protocol),
            next: HashMap::new(),
        };
        member.consumer.subscribe(&[KAFKA_TOPIC], None).expect("subscribed");
        let stay = if restless { STAY_POLLS } else { usize::MAX };
        for _ in 0..stay {
            if drivers.stopping() {
                break;
            }
            member.round().await;
        }
        let _ = member.consumer.close(Duration::from_secs(10)).await;
    }
}

struct Member {
    drivers: Drivers,
    process: Process,
    group: Arc<str>,
    consumer: Consumer,
    /// Where the next record of each partition must stand while the partition is held.
    next: HashMap<i32, i64>,
}

impl Member {
    async fn round(&mut self) {
        let before = self.consumer.assignment();
        let records = match self.consumer.poll(Duration::from_millis(50)).await {
            Ok(records) => records,
            // The node is away, or the member is no longer one: the next poll joins again.
            Err(_) => return tokio::time::sleep(Duration::from_millis(10)).await,
        };
        if self.consumer.assignment() != before {
            self.next.clear();
        }
        self.note(&records);
        self.commit(&records).await;
    }

    fn note(&mut self, records: &[ConsumerRecord]) {
        let mut reads: BTreeMap<i32, Vec<(i64, Value)>> = BTreeMap::new();
        for record in records {
            let value = record.value.as_deref().and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
            reads.entry(record.partition).or_default().push((record.offset, value.expect("a value")));
        }
        for (index, read) in reads {
            let (Some((first, _)), Some((last, _))) = (read.first(), read.last()) else { continue };
            let from = self.next.insert(index, last + 1).unwrap_or(*first);
            let op = Op::Read(Read { partition: Partition::new(KAFKA_TOPIC, index), from });
            let id = self.drivers.recorder.begin(self.process, op);
            self.drivers.recorder.end(id, Outcome::Records(read));
        }
    }

    async fn commit(&mut self, records: &[ConsumerRecord]) {
        let mut offsets: BTreeMap<TopicPartition, OffsetAndMetadata> = BTreeMap::new();
        for record in records {
            let partition = TopicPartition::new(record.topic.clone(), record.partition);
            offsets.insert(partition, OffsetAndMetadata::new(record.offset + 1));
        }
        let noted: Vec<_> = offsets
            .iter()
            .map(|(of, offset)| self.drivers.recorder.begin(self.process, self.op(of, Some(offset.offset))))
            .collect();
        if !noted.is_empty() && self.consumer.commit_offsets(&offsets).await.is_ok() {
            noted.into_iter().for_each(|id| self.drivers.recorder.sent(id, None));
        }
    }

    fn op(&self, of: &TopicPartition, offset: Option<i64>) -> Op {
        let partition = Partition::new(of.topic.clone(), of.partition);
        Op::GroupOffset(GroupOffset { group: self.group.clone(), partition, offset })
    }
}

/// Asks for the committed offsets of all groups until told to stop, and once more after that.
pub async fn watch(drivers: Drivers, process: Process) {
    let admin = Admin::new(AdminConfig::new(&drivers.kafka.to_string()).expect("config")).expect("admin");
    loop {
        let last = drivers.stopping();
        for (group, _) in GROUPS {
            ask(&drivers, &admin, process, group, last).await;
        }
        if last {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    admin.close().await;
}

async fn ask(drivers: &Drivers, admin: &Admin, process: Process, group: &str, must: bool) {
    let partitions: Vec<TopicPartition> =
        (0..KAFKA_PARTITIONS).map(|index| TopicPartition::new(KAFKA_TOPIC, index)).collect();
    let begin = |of: &TopicPartition| {
        let partition = Partition::new(of.topic.clone(), of.partition);
        let op = GroupOffset { group: group.into(), partition, offset: None };
        drivers.recorder.begin(process, Op::GroupOffset(op))
    };
    let ids: Vec<_> = partitions.iter().map(begin).collect();
    match admin.list_group_offsets(group, Some(&partitions)).await {
        Ok(told) => {
            for (of, id) in partitions.iter().zip(ids) {
                match told.get(of) {
                    Some(Ok(offset)) => drivers.recorder.sent(id, offset.as_ref().map(|o| o.offset)),
                    Some(Err(e)) => assert!(!must, "{group}: {e}"),
                    None => drivers.recorder.sent(id, None),
                }
            }
        }
        Err(e) => assert!(!must, "{group}: {e}"),
    }
}
