//! `kafka-run-class`: Kafka's tools by the names of their classes, old and new.

use std::process::ExitCode;

/// Classes by their last name, and the tools they are.
const CLASSES: &[(&str, &str)] = &[
    ("AclCommand", "kafka-acls"),
    ("BrokerApiVersionsCommand", "kafka-broker-api-versions"),
    ("ClientMetricsCommand", "kafka-client-metrics"),
    ("ClusterTool", "kafka-cluster"),
    ("ConfigCommand", "kafka-configs"),
    ("ConsoleConsumer", "kafka-console-consumer"),
    ("ConsoleProducer", "kafka-console-producer"),
    ("ConsoleShareConsumer", "kafka-console-share-consumer"),
    ("ConsumerGroupCommand", "kafka-consumer-groups"),
    ("ConsumerPerformance", "kafka-consumer-perf-test"),
    ("DelegationTokenCommand", "kafka-delegation-tokens"),
    ("DeleteRecordsCommand", "kafka-delete-records"),
    ("DumpLogSegments", "kafka-dump-log"),
    ("EndToEndLatency", "kafka-e2e-latency"),
    ("FeatureCommand", "kafka-features"),
    ("GetOffsetShell", "kafka-get-offsets"),
    ("GroupsCommand", "kafka-groups"),
    ("JmxTool", "kafka-jmx"),
    ("LeaderElectionCommand", "kafka-leader-election"),
    ("LogDirsCommand", "kafka-log-dirs"),
    ("MetadataQuorumCommand", "kafka-metadata-quorum"),
    ("PreferredReplicaLeaderElectionCommand", "kafka-preferred-replica-election"),
    ("ProducerPerformance", "kafka-producer-perf-test"),
    ("ReassignPartitionsCommand", "kafka-reassign-partitions"),
    ("ReplicaVerificationTool", "kafka-replica-verification"),
    ("ShareConsumerPerformance", "kafka-share-consumer-perf-test"),
    ("ShareGroupCommand", "kafka-share-groups"),
    ("StorageTool", "kafka-storage"),
    ("StreamsResetter", "kafka-streams-application-reset"),
    ("TopicCommand", "kafka-topics"),
    ("TransactionsCommand", "kafka-transactions"),
    ("VerifiableConsumer", "kafka-verifiable-consumer"),
    ("VerifiableProducer", "kafka-verifiable-producer"),
    ("VerifiableShareConsumer", "kafka-verifiable-share-consumer"),
];

const USAGE: &str = "\
USAGE: kafka-run-class classname [opts]

Example:
  kafka-run-class kafka.tools.GetOffsetShell --bootstrap-server localhost:9092 --topic sensors";

/// Runs the tool that the first argument names.
pub fn main(args: &[String]) -> ExitCode {
    let Some((class, rest)) = args.split_first().filter(|(class, _)| *class != "--help") else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let short = class.rsplit('.').next().unwrap_or_default();
    let name = CLASSES.iter().find(|(known, _)| *known == short).map(|(_, name)| *name);
    match name.and_then(crate::tools::lookup) {
        Some(tool) => tool(rest),
        None => {
            eprintln!("Error: Could not find or load main class {class}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_tools() {
        for (class, name) in CLASSES {
            assert!(crate::tools::lookup(name).is_some(), "{class}");
        }
        assert!(CLASSES.is_sorted());
    }
}
