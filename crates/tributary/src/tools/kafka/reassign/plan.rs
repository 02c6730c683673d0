//! Reassignments as files: what moves where, and a plan that spreads topics over brokers.

use std::collections::{BTreeMap, BTreeSet};

use client::TopicPartition;
use client::admin::{Node, ReplicaPlace};
use serde::{Deserialize, Serialize};

use super::super::run::Failure;

const OPERATION: &str = "org.apache.kafka.tools.AdminOperationException";
const FAILED: &str = "org.apache.kafka.tools.AdminCommandFailedException";
/// Stands for a log directory that the broker chooses.
const ANY: &str = "any";

/// Replicas by partition, in the order of the file or of the partitions.
pub type Replicas = Vec<(TopicPartition, Vec<i32>)>;

/// What `--reassignment-json-file` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Replicas of each partition.
    pub replicas: Replicas,
    /// Log directories of those replicas that name one.
    pub places: Vec<ReplicaPlace>,
}

#[derive(Serialize, Deserialize)]
struct File {
    #[serde(default = "first_version")]
    version: i32,
    #[serde(default)]
    partitions: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_dirs: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Topics {
    #[serde(default = "first_version")]
    version: i32,
    #[serde(default)]
    topics: Vec<Topic>,
}

#[derive(Deserialize)]
struct Topic {
    topic: String,
}

fn first_version() -> i32 {
    1
}

fn failed(message: impl Into<String>) -> Failure {
    Failure::new(FAILED, message)
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::new(OPERATION, format!("The input string is not a valid JSON: {error}"))
}

fn check_version(version: i32) -> Result<(), Failure> {
    match version {
        1 => Ok(()),
        other => Err(Failure::new(OPERATION, format!("Not supported version field value {other}"))),
    }
}

/// Values that occur more than once, ascending.
fn repeated<T: Ord + Clone>(values: &[T]) -> Vec<T> {
    let mut seen = BTreeSet::new();
    let again: BTreeSet<T> = values.iter().filter(|value| !seen.insert(*value)).cloned().collect();
    again.into_iter().collect()
}

/// Values with `separator` between them.
pub fn joined<T: ToString>(values: impl IntoIterator<Item = T>, separator: &str) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(separator)
}

impl Plan {
    /// Reads a reassignment file.
    ///
    /// # Errors
    /// No JSON, another version, lists of different lengths.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let file: File = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        check_version(file.version)?;
        let mut plan = Self::default();
        for entry in file.partitions {
            let partition = TopicPartition::new(entry.topic, entry.partition);
            if let Some(dirs) = entry.log_dirs {
                if dirs.len() != entry.replicas.len() {
                    return Err(failed(format!(
                        "Size of replicas list {:?} is different from size of log dirs list [{}] for partition \
                         {partition}",
                        entry.replicas,
                        dirs.join(", ")
                    )));
                }
                let named = entry.replicas.iter().zip(dirs).filter(|(_, dir)| dir != ANY);
                plan.places.extend(named.map(|(broker, dir)| (partition.clone(), *broker, dir)));
            }
            plan.replicas.push((partition, entry.replicas));
        }
        Ok(plan)
    }

    /// Checks that it can be executed.
    ///
    /// # Errors
    /// Empty lists, repeated partitions or brokers.
    pub fn check(&self) -> Result<(), Failure> {
        if self.replicas.is_empty() {
            return Err(failed("Partition reassignment list cannot be empty"));
        }
        if self.replicas.iter().any(|(_, replicas)| replicas.is_empty()) {
            return Err(failed("Partition replica list cannot be empty"));
        }
        let partitions: Vec<_> = self.replicas.iter().map(|(partition, _)| partition.clone()).collect();
        let twice = repeated(&partitions);
        if !twice.is_empty() {
            let twice = joined(twice, ",");
            return Err(failed(format!(
                "Partition reassignment contains duplicate topic partitions: {twice}"
            )));
        }
        let of = |(partition, replicas): &(TopicPartition, Vec<i32>)| {
            let twice = repeated(replicas);
            (!twice.is_empty())
                .then(|| format!("{partition} contains multiple entries for {}", joined(twice, ",")))
        };
        let twice: Vec<_> = self.replicas.iter().filter_map(of).collect();
        match twice.is_empty() {
            true => Ok(()),
            false => Err(failed(format!(
                "Partition replica lists may not contain duplicate entries: {}",
                twice.join(". ")
            ))),
        }
    }
}

/// A reassignment file of these replicas; `dir` gives the log directory of each, `any` where nobody knows.
///
/// # Errors
/// None that a list of names and numbers can have.
pub fn to_json(
    replicas: &Replicas,
    dir: impl Fn(&TopicPartition, i32) -> Option<String>,
) -> Result<String, Failure> {
    let mut sorted: Vec<_> = replicas.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    let entry = |(partition, replicas): &(TopicPartition, Vec<i32>)| Entry {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        replicas: replicas.clone(),
        log_dirs: Some(
            replicas.iter().map(|id| dir(partition, *id).unwrap_or_else(|| ANY.to_owned())).collect(),
        ),
    };
    let file = File { version: 1, partitions: sorted.into_iter().map(entry).collect() };
    serde_json::to_string(&file).map_err(|error| Failure::kafka(error.to_string()))
}

/// Reads `--topics-to-move-json-file`.
///
/// # Errors
/// No JSON, another version, repeated topics.
pub fn topics(text: &str) -> Result<Vec<String>, Failure> {
    let file: Topics = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => unreadable(&error),
        _ => Failure::new(OPERATION, "The input string is not a valid JSON"),
    })?;
    check_version(file.version)?;
    let names: Vec<String> = file.topics.into_iter().map(|topic| topic.topic).collect();
    match repeated(&names) {
        twice if twice.is_empty() => Ok(names),
        twice => Err(failed(format!(
            "List of topics to reassign contains duplicate entries: [{}]",
            twice.join(", ")
        ))),
    }
}

/// Reads `--broker-list`.
///
/// # Errors
/// No number, repeated brokers.
pub fn broker_list(text: &str) -> Result<Vec<i32>, Failure> {
    let number = |id: &str| {
        id.parse().map_err(|_| {
            Failure::new("java.lang.NumberFormatException", format!("For input string: \"{id}\""))
        })
    };
    let ids: Vec<i32> = text.split(',').map(number).collect::<Result<_, _>>()?;
    match repeated(&ids) {
        twice if twice.is_empty() => Ok(ids),
        twice => Err(failed(format!("Broker list contains duplicate entries: {twice:?}"))),
    }
}

/// Spreads topics with their counts of partitions and replicas over brokers: neighbours in the order are of
/// different racks where there are several, and each topic begins where `random` says.
///
/// # Errors
/// More replicas than brokers, racks of only some brokers.
pub fn spread(
    topics: &BTreeMap<String, (usize, usize)>,
    brokers: &[Node],
    by_rack: bool,
    mut random: impl FnMut(u32) -> Result<u32, Failure>,
) -> Result<Replicas, Failure> {
    let rackless = brokers.iter().filter(|broker| broker.rack.is_none()).count();
    if by_rack && rackless != 0 && rackless != brokers.len() {
        return Err(Failure::new(
            OPERATION,
            "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica \
             assignment without rack information.",
        ));
    }
    let mut racks: BTreeMap<Option<&str>, Vec<i32>> = BTreeMap::new();
    for broker in brokers {
        let rack = broker.rack.as_deref().filter(|_| by_rack);
        racks.entry(rack).or_default().push(broker.id);
    }
    let deepest = racks.values().map(Vec::len).max().unwrap_or_default();
    let order: Vec<i32> =
        (0..deepest).flat_map(|at| racks.values().filter_map(move |rack| rack.get(at)).copied()).collect();
    let mut plan = Vec::new();
    for (topic, (partitions, factor)) in topics {
        if *factor > order.len() || order.is_empty() {
            let exception = "org.apache.kafka.common.errors.InvalidReplicationFactorException";
            return Err(Failure::new(
                exception,
                format!(
                    "The target replication factor of {factor} cannot be reached because only {} broker(s) are \
                     registered or some brokers have all their log directories cordoned.",
                    order.len()
                ),
            ));
        }
        let start = random(u32::try_from(order.len()).unwrap_or(1))? as usize;
        for partition in 0..*partitions {
            let replicas =
                order.iter().cycle().skip((start + partition) % order.len()).take(*factor).copied();
            let index = i32::try_from(partition).unwrap_or(i32::MAX);
            plan.push((TopicPartition::new(topic.as_str(), index), replicas.collect()));
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Plan::parse(text).and_then(|plan| plan.check()).expect_err("refused").message
    }

    #[test]
    fn files_are_read_and_written() {
        let text = r#"{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1,2],"log_dirs":["any","/d"]}]}"#;
        let plan = Plan::parse(text).expect("a plan");
        let partition = TopicPartition::new("a", 0);
        assert_eq!(plan.places, [(partition.clone(), 2, "/d".to_owned())]);
        let dir = |_: &TopicPartition, id| (id == 2).then(|| "/d".to_owned());
        assert_eq!(to_json(&plan.replicas, dir).expect("json"), text);
        assert!(Plan::parse(r#"{"partitions":[]}"#).is_ok());
    }

    #[test]
    fn wrong_files_are_refused() {
        assert_eq!(message("{}"), "Partition reassignment list cannot be empty");
        assert_eq!(
            message(r#"{"partitions":[{"topic":"a","partition":0,"replicas":[]}]}"#),
            "Partition replica list cannot be empty"
        );
        assert_eq!(
            message(r#"{"partitions":[{"topic":"a","partition":0,"replicas":[1,1]}]}"#),
            "Partition replica lists may not contain duplicate entries: a-0 contains multiple entries for 1"
        );
        assert_eq!(message(r#"{"version":3}"#), "Not supported version field value 3");
        assert_eq!(
            message(r#"{"partitions":[{"topic":"a","partition":0,"replicas":[1,2],"log_dirs":["x"]}]}"#),
            "Size of replicas list [1, 2] is different from size of log dirs list [x] for partition a-0"
        );
        assert_eq!(
            broker_list("1,2,1").map_err(|e| e.message),
            Err("Broker list contains duplicate entries: [1]".into())
        );
    }

    #[test]
    fn plans_spread_over_racks() {
        let node =
            |id, rack: Option<&str>| Node { id, host: String::new(), port: 0, rack: rack.map(str::to_owned) };
        let brokers = [node(1, Some("a")), node(2, Some("a")), node(3, Some("b")), node(4, Some("b"))];
        let topics = BTreeMap::from([("t".to_owned(), (8, 2))]);
        let plan = spread(&topics, &brokers, true, |_| Ok(1)).expect("a plan");
        let rack = |id: i32| if id <= 2 { 'a' } else { 'b' };
        for (partition, replicas) in &plan {
            assert_ne!(rack(replicas[0]), rack(replicas[1]), "{partition}: {replicas:?}");
        }
        for id in 1..=4 {
            assert_eq!(plan.iter().filter(|(_, replicas)| replicas[0] == id).count(), 2, "leaders are even");
        }
        assert!(spread(&topics, &brokers[..1], true, |_| Ok(0)).is_err());
        assert!(spread(&topics, &[node(1, None), node(2, Some("a"))], true, |_| Ok(0)).is_err());
        assert!(spread(&topics, &[node(1, None), node(2, Some("a"))], false, |_| Ok(0)).is_ok());
    }
}
