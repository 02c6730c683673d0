//! The tools of Kafka, Confluent and Mosquitto under their own names.

use std::process::ExitCode;

pub mod kafka;
pub mod mosquitto;

/// A tool: takes its arguments without the program's name.
pub type Tool = fn(&[String]) -> ExitCode;

/// Every tool of this module by name.
pub const NAMES: &[(&str, Tool)] = &[
    ("confluent", kafka::confluent),
    ("kafka-acls", kafka::kafka_acls),
    ("kafka-broker-api-versions", kafka::kafka_broker_api_versions),
    ("kafka-client-metrics", kafka::kafka_client_metrics),
    ("kafka-cluster", kafka::kafka_cluster),
    ("kafka-configs", kafka::kafka_configs),
    ("kafka-console-consumer", kafka::kafka_console_consumer),
    ("kafka-console-producer", kafka::kafka_console_producer),
    ("kafka-console-share-consumer", kafka::kafka_console_share_consumer),
    ("kafka-consumer-groups", kafka::kafka_consumer_groups),
    ("kafka-consumer-perf-test", kafka::kafka_consumer_perf_test),
    ("kafka-delegation-tokens", kafka::kafka_delegation_tokens),
    ("kafka-delete-records", kafka::kafka_delete_records),
    ("kafka-dump-log", kafka::kafka_dump_log),
    ("kafka-e2e-latency", kafka::kafka_e2e_latency),
    ("kafka-features", kafka::kafka_features),
    ("kafka-get-offsets", kafka::kafka_get_offsets),
    ("kafka-groups", kafka::kafka_groups),
    ("kafka-jmx", kafka::kafka_jmx),
    ("kafka-leader-election", kafka::kafka_leader_election),
    ("kafka-log-dirs", kafka::kafka_log_dirs),
    ("kafka-metadata-quorum", kafka::kafka_metadata_quorum),
    ("kafka-preferred-replica-election", kafka::kafka_preferred_replica_election),
    ("kafka-producer-perf-test", kafka::kafka_producer_perf_test),
    ("kafka-reassign-partitions", kafka::kafka_reassign_partitions),
    ("kafka-replica-verification", kafka::kafka_replica_verification),
    ("kafka-run-class", kafka::kafka_run_class),
    ("kafka-server-stop", kafka::kafka_server_stop),
    ("kafka-share-consumer-perf-test", kafka::kafka_share_consumer_perf_test),
    ("kafka-share-groups", kafka::kafka_share_groups),
    ("kafka-storage", kafka::kafka_storage),
    ("kafka-streams-application-reset", kafka::kafka_streams_application_reset),
    ("kafka-topics", kafka::kafka_topics),
    ("kafka-transactions", kafka::kafka_transactions),
    ("kafka-verifiable-consumer", kafka::kafka_verifiable_consumer),
    ("kafka-verifiable-producer", kafka::kafka_verifiable_producer),
    ("kafka-verifiable-share-consumer", kafka::kafka_verifiable_share_consumer),
    ("mosquitto_ctrl", mosquitto::mosquitto_ctrl),
    ("mosquitto_passwd", mosquitto::mosquitto_passwd),
    ("mosquitto_pub", mosquitto::mosquitto_pub),
    ("mosquitto_rr", mosquitto::mosquitto_rr),
    ("mosquitto_sub", mosquitto::mosquitto_sub),
    ("zookeeper-server-start", kafka::zookeeper_server_start),
    ("zookeeper-server-stop", kafka::zookeeper_server_stop),
];

/// Names of the commands that start a broker from a Kafka or Mosquitto file; they are the binary's own, but
/// `links` links them too.
pub const SERVERS: &[&str] = &["kafka-server-start", "mosquitto"];

/// Our own tools, known by first argument only.
const OWN: &[(&str, Tool)] = &[("links", kafka::links)];

/// A command's name without the folder and the `.sh`, `.bat` or `.exe` that scripts and documents put there.
pub fn plain_name(name: &str) -> &str {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    [".sh", ".bat", ".exe"].iter().find_map(|suffix| file.strip_suffix(suffix)).unwrap_or(file)
}

/// The tool that `name` means, if it is one.
pub fn lookup(name: &str) -> Option<Tool> {
    let name = plain_name(name);
    NAMES.iter().chain(OWN).find(|(known, _)| *known == name).map(|(_, tool)| *tool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_and_without_suffix_and_folder() {
        for name in [
            "kafka-topics",
            "kafka-topics.sh",
            "kafka-topics.bat",
            "bin/kafka-topics.sh",
            ".\\bin\\windows\\kafka-topics.bat",
            "C:\\kafka\\kafka-topics.exe",
        ] {
            assert_eq!(plain_name(name), "kafka-topics");
            assert!(lookup(name).is_some(), "{name}");
        }
        assert!(lookup("kafka-topic").is_none());
        assert!(lookup("serve").is_none());
        assert!(NAMES.is_sorted_by_key(|(name, _)| *name));
    }
}
