//! `kafka-replica-verification`: whether all replicas of topics hold the same batches.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use bytes::Bytes;
use client::admin::{IsolationLevel, OffsetSpec, Target};
use client::{Admin, AdminConfig, TopicPartition};
use futures_util::future::try_join_all;
use kafka_codec::Uuid;
use kafka_codec::messages::FetchRequest;
use kafka_codec::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use kafka_codec::records::Batches;

use super::calendar;
use super::options::{Flag, HELP, Options, VERSION};
use super::run::{self, Failure, Stop};
use super::signals::Signals;
use super::topics::topic_pattern;

const LOGGER: &str = "org.apache.kafka.tools.ReplicaVerificationTool";
const DATE: &str = "yyyy-MM-dd HH:mm:ss,SSS";
/// Replica id of a reader that may read from followers, too.
const DEBUGGING_CONSUMER: i32 = -2;

const FLAGS: &[Flag] = &[
    HELP,
    VERSION,
    Flag::text(
        "broker-list",
        "hostname:port,...,hostname:port",
        "REQUIRED: The list of hostname and port of the server to connect to.",
    ),
    Flag::integer("fetch-size", "bytes", "The fetch size of each request.").or("1048576"),
    Flag::integer("max-wait-ms", "ms", "The max amount of time each fetch request waits.").or("1000"),
    Flag::text("topics-include", "Java regex (String)", "List of topics to verify replica consistency.")
        .or(".*"),
    Flag::long("time", "timestamp/-1(latest)/-2(earliest)", "Timestamp for getting the initial offsets.")
        .or("-1"),
    Flag::long("report-interval-ms", "ms", "The reporting interval.").or("30000"),
    // The other tools' name for it.
    Flag::text("bootstrap-server", "", "").hidden(),
];

/// Runs the tool.
pub async fn main(args: &[String]) -> ExitCode {
    run::log_warn("This tool is deprecated and may be removed in a future major release.", LOGGER);
    let outcome = match Options::parse(FLAGS, args) {
        Ok(options) => verify(&options).await,
        Err(error) => Err(Failure::from(error).into()),
    };
    run::finish(outcome, FLAGS, run::trace)
}

/// What one replica answered for one partition.
#[derive(Debug)]
struct Answer {
    broker: i32,
    high_watermark: i64,
    records: Bytes,
}

/// The partitions, where their replicas are, and how far they were compared.
struct Work {
    admin: Admin,
    ids: BTreeMap<String, Uuid>,
    brokers: BTreeMap<i32, BTreeSet<TopicPartition>>,
    offsets: BTreeMap<TopicPartition, i64>,
    fetch_bytes: i32,
    max_wait_ms: i32,
}

/// Where the comparison is furthest behind.
struct Lag {
    records: i64,
    partition: Option<TopicPartition>,
    offset: i64,
}

fn now() -> String {
    calendar::format(run::now_ms(), DATE)
}

async fn verify(options: &Options) -> Result<(), Stop> {
    run::help_or_version(
        options,
        "Validate that all replicas for a set of topics have the same data.",
        "kafka-replica-verification --broker-list localhost:9092 --topics-include sensors --time -2",
    )?;
    if !run::has_bootstrap_server(options) {
        run::require(options, &["broker-list"])?;
    }
    let brokers = run::bootstrap_server(options)?.unwrap_or_default();
    run::check_brokers(&brokers)?;
    let mut signals = Signals::new()?;
    let interval_ms = options.number::<i64>("report-interval-ms")?.unwrap_or(30_000);
    let mut work = Work::prepare(options, &brokers).await?;
    println!("{}: verification process is started", now());
    let compared = tokio::select! {
        code = signals.next() => Err(Stop::Exit(code)),
        compared = work.run(interval_ms) => compared,
    };
    work.admin.close().await;
    compared
}

impl Work {
    async fn prepare(options: &Options, brokers: &str) -> Result<Self, Stop> {
        let include = options.value("topics-include")?.unwrap_or(".*");
        let pattern = topic_pattern(include).map_err(|_| {
            Failure::new("java.lang.RuntimeException", format!("{include} is an invalid regex"))
        })?;
        let admin = Admin::new(AdminConfig::new(brokers).map_err(Failure::from)?).map_err(Failure::from)?;
        let topics = admin.list_topics(true).await.map_err(Failure::execution)?;
        let names: Vec<String> =
            topics.into_iter().map(|topic| topic.name).filter(|name| pattern.is_match(name)).collect();
        if names.is_empty() {
            run::log_error(
                "No topics found. [topics-include] if specified, is either filtering out all topics or there is no topic.",
                LOGGER,
            );
            return Err(Stop::Exit(1));
        }
        let (mut ids, mut by_broker) = (BTreeMap::new(), BTreeMap::<i32, BTreeSet<_>>::new());
        let mut wanted = Vec::new();
        let spec = match options.number::<i64>("time")?.unwrap_or(-1) {
            -1 => OffsetSpec::Latest,
            -2 => OffsetSpec::Earliest,
            time_ms => OffsetSpec::Timestamp(time_ms),
        };
        for (name, topic) in admin.describe_topics(&names).await.map_err(Failure::execution)? {
            let topic = topic.map_err(Failure::execution)?;
            ids.insert(name.clone(), topic.id);
            for info in topic.partitions {
                let partition = TopicPartition::new(name.as_str(), info.partition);
                for replica in info.replicas {
                    by_broker.entry(replica.id).or_default().insert(partition.clone());
                }
                wanted.push((partition, spec));
            }
        }
        let mut offsets = BTreeMap::new();
        let found = admin.list_offsets(&wanted, IsolationLevel::ReadUncommitted).await;
        for (partition, found) in found.map_err(Failure::execution)? {
            offsets.insert(partition, found.map_err(Failure::execution)?.offset.max(0));
        }
        Ok(Self {
            admin,
            ids,
            brokers: by_broker,
            offsets,
            fetch_bytes: options.number::<i32>("fetch-size")?.unwrap_or(1 << 20),
            max_wait_ms: options.number::<i32>("max-wait-ms")?.unwrap_or(1000),
        })
    }

    /// Compares for ever, or until replicas do not agree.
    async fn run(&mut self, interval_ms: i64) -> Result<(), Stop> {
        let mut reported_ms = 0;
        loop {
            let fetches = self.brokers.keys().map(|broker| self.fetch(*broker));
            let mut answers: BTreeMap<TopicPartition, Vec<Answer>> = BTreeMap::new();
            for (partition, answer) in try_join_all(fetches).await?.into_iter().flatten() {
                answers.entry(partition).or_default().push(answer);
            }
            let lag = self.compare(&answers)?;
            let now_ms = run::now_ms();
            if now_ms - reported_ms > interval_ms {
                println!(
                    "{}: max lag is {} for partition {} at offset {} among {} partitions",
                    now(),
                    lag.records,
                    lag.partition.as_ref().map_or_else(|| "null".to_owned(), ToString::to_string),
                    lag.offset,
                    self.offsets.len()
                );
                reported_ms = now_ms;
            }
        }
    }

    /// One fetch of all partitions that a broker has replicas of.
    async fn fetch(&self, broker: i32) -> Result<Vec<(TopicPartition, Answer)>, Failure> {
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for partition in self.brokers.get(&broker).into_iter().flatten() {
            topics.entry(&partition.topic).or_default().push(FetchPartition {
                partition: partition.partition,
                fetch_offset: self.offsets.get(partition).copied().unwrap_or_default(),
                partition_max_bytes: self.fetch_bytes,
                ..FetchPartition::default()
            });
        }
        let id = |name: &str| self.ids.get(name).copied().unwrap_or_default();
        let names: BTreeMap<Uuid, &str> = self.ids.iter().map(|(name, id)| (*id, name.as_str())).collect();
        let request = FetchRequest {
            replica_state: ReplicaState { replica_id: DEBUGGING_CONSUMER, ..ReplicaState::default() },
            max_wait_ms: self.max_wait_ms,
            min_bytes: 1,
            topics: topics
                .into_iter()
                .map(|(name, partitions)| FetchTopic {
                    topic: name.to_owned(),
                    topic_id: id(name),
                    partitions,
                    ..FetchTopic::default()
                })
                .collect(),
            session_epoch: -1,
            ..FetchRequest::default()
        };
        let response = self.admin.send_to(Target::Broker(broker), request).await?;
        let mut answers = Vec::new();
        for topic in response.responses {
            let name = names.get(&topic.topic_id).copied().unwrap_or(&topic.topic);
            for told in topic.partitions {
                answers.push((
                    TopicPartition::new(name, told.partition_index),
                    Answer {
                        broker,
                        high_watermark: told.high_watermark,
                        records: told.records.unwrap_or_default(),
                    },
                ));
            }
        }
        Ok(answers)
    }

    /// Compares what the replicas answered, batch by batch up to the high watermark.
    fn compare(&mut self, answers: &BTreeMap<TopicPartition, Vec<Answer>>) -> Result<Lag, Stop> {
        let mut most = Lag { records: -1, partition: None, offset: -1 };
        for (partition, answers) in answers {
            let (next, problem) = agreed(answers);
            for line in problem.unmatched {
                println!("{}: partition {partition} {line}", now());
            }
            if let Some(line) = problem.offsets {
                println!("{}: partition {partition}: {line}", now());
                return Err(Stop::Exit(1));
            }
            let offset = self.offsets.entry(partition.clone()).or_default();
            *offset = next.unwrap_or(*offset);
            let high_watermark = answers.iter().map(|answer| answer.high_watermark).max().unwrap_or(-1);
            if high_watermark - *offset > most.records {
                most = Lag {
                    records: high_watermark - *offset,
                    partition: Some(partition.clone()),
                    offset: *offset,
                };
            }
        }
        Ok(most)
    }
}

/// Where replicas do not agree.
#[derive(Debug, Default, PartialEq, Eq)]
struct Problem {
    /// Batches with other bytes.
    unmatched: Vec<String>,
    /// A batch that ends elsewhere: nothing behind it can be compared.
    offsets: Option<String>,
}

/// Offset behind the last batch that all replicas have.
fn agreed(answers: &[Answer]) -> (Option<i64>, Problem) {
    let mut problem = Problem::default();
    let mut next = None;
    let mut replicas: Vec<_> = answers.iter().map(|answer| (answer, Batches::new(&answer.records))).collect();
    loop {
        let mut first: Option<(i32, i64, i64, u32)> = None;
        for (answer, batches) in &mut replicas {
            let Some(Ok(batch)) = batches.next() else { return (next, problem) };
            let header = batch.header;
            let last = header.last_offset();
            if last >= answer.high_watermark {
                return (next, problem);
            }
            let Some((broker, offset, _, crc)) = first else {
                first = Some((answer.broker, last, header.next_offset(), header.crc));
                continue;
            };
            if offset != last {
                problem.offsets = Some(format!(
                    "replica {broker}'s offset {offset} doesn't match replica {}'s offset {last}",
                    answer.broker
                ));
                return (next, problem);
            }
            if crc != header.crc {
                problem.unmatched.push(format!(
                    "has unmatched checksum at offset {last}; replica {broker}'s checksum {crc}; replica {}'s checksum {}",
                    answer.broker, header.crc
                ));
            }
        }
        match first {
            Some((.., behind, _)) => next = Some(behind),
            None => return (next, problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_codec::records::{BatchBuilder, Compression};

    use super::*;

    fn answer(broker: i32, high_watermark: i64, batches: &[(i64, &[&str])]) -> Answer {
        let mut records = Vec::new();
        for (base, values) in batches {
            let mut builder = BatchBuilder::new(Compression::None).base_offset(*base);
            for value in *values {
                builder.push(1, None, Some(value.as_bytes()), std::iter::empty()).expect("fits");
            }
            records.extend(builder.build().expect("fits"));
        }
        Answer { broker, high_watermark, records: records.into() }
    }

    #[test]
    fn replicas_are_compared_up_to_the_high_watermark() {
        let one = answer(1, 3, &[(0, &["a", "b"]), (2, &["c"]), (3, &["d"])]);
        let two = answer(2, 3, &[(0, &["a", "b"]), (2, &["c"])]);
        assert_eq!(agreed(&[one, two]), (Some(3), Problem::default()));
        let alone = answer(1, 2, &[(0, &["a", "b"])]);
        assert_eq!(agreed(&[alone]), (Some(2), Problem::default()));
    }

    #[test]
    fn differences_are_told() {
        let one = answer(1, 9, &[(0, &["a"]), (1, &["b"])]);
        let two = answer(2, 9, &[(0, &["x"]), (1, &["b", "c"])]);
        let (next, problem) = agreed(&[one, two]);
        assert_eq!(next, Some(1));
        assert!(
            problem.unmatched[0].starts_with("has unmatched checksum at offset 0; replica 1's checksum ")
        );
        assert_eq!(
            problem.offsets.as_deref(),
            Some("replica 1's offset 1 doesn't match replica 2's offset 2")
        );
    }
}
