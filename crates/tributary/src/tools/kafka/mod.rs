//! Kafka's command-line tools, and Confluent's `local` commands: options, output, messages and exit codes of
//! Apache Kafka 4.3.1.

mod acls;
mod argparse;
mod broker_api_versions;
mod calendar;
mod client_entities;
mod client_metrics;
mod cluster;
mod config_names;
mod configs;
mod confluent;
mod console;
mod console_consumer;
mod console_producer;
mod console_share_consumer;
mod consumer_groups;
mod consumer_perf;
mod delegation_tokens;
mod delete_records;
mod dump_log;
mod e2e_latency;
mod feature_levels;
mod features;
mod formatter;
mod get_offsets;
mod groups;
mod leader_election;
mod line_reader;
mod links;
mod log_dirs;
mod metadata_quorum;
mod options;
mod processes;
mod producer_perf;
mod progress;
mod reassign;
mod replica_verification;
mod run;
mod run_class;
mod server_control;
mod share_consumer_perf;
mod share_groups;
mod signals;
mod storage;
mod streams_reset;
mod topics;
mod transactions;
mod usage;
mod verifiable;
mod verifiable_consumer;
mod verifiable_producer;
mod verifiable_share_consumer;

use std::process::ExitCode;

/// `kafka-topics`: create, list, describe, alter and delete topics.
pub fn kafka_topics(args: &[String]) -> ExitCode {
    run::block_on(topics::main(args))
}

/// `kafka-console-producer`: lines of standard input become records.
pub fn kafka_console_producer(args: &[String]) -> ExitCode {
    run::block_on(console_producer::main(args))
}

/// `kafka-console-consumer`: records on standard output.
pub fn kafka_console_consumer(args: &[String]) -> ExitCode {
    run::block_on(console_consumer::main(args))
}

/// `kafka-consumer-groups`: list, describe, reset and delete consumer groups.
pub fn kafka_consumer_groups(args: &[String]) -> ExitCode {
    run::block_on(consumer_groups::main(args))
}

/// `kafka-configs`: show and change configurations of topics, brokers and groups.
pub fn kafka_configs(args: &[String]) -> ExitCode {
    run::block_on(configs::main(args))
}

/// `kafka-delete-records`: drop the oldest records of partitions.
pub fn kafka_delete_records(args: &[String]) -> ExitCode {
    run::block_on(delete_records::main(args))
}

/// `kafka-get-offsets`: first, last or timed offsets of partitions.
pub fn kafka_get_offsets(args: &[String]) -> ExitCode {
    run::block_on(get_offsets::main(args))
}

/// `kafka-producer-perf-test`: how fast records are produced.
pub fn kafka_producer_perf_test(args: &[String]) -> ExitCode {
    run::block_on(producer_perf::main(args))
}

/// `kafka-consumer-perf-test`: how fast records are consumed.
pub fn kafka_consumer_perf_test(args: &[String]) -> ExitCode {
    run::block_on(consumer_perf::main(args))
}

/// `kafka-acls`: who may do what.
pub fn kafka_acls(args: &[String]) -> ExitCode {
    run::block_on(acls::main(args))
}

/// `kafka-broker-api-versions`: which APIs brokers offer.
pub fn kafka_broker_api_versions(args: &[String]) -> ExitCode {
    run::block_on(broker_api_versions::main(args))
}

/// `kafka-client-metrics`: which metrics clients push.
pub fn kafka_client_metrics(args: &[String]) -> ExitCode {
    run::block_on(client_metrics::main(args))
}

/// `kafka-cluster`: the cluster's id and endpoints.
pub fn kafka_cluster(args: &[String]) -> ExitCode {
    run::block_on(cluster::main(args))
}

/// `kafka-features`: feature levels.
pub fn kafka_features(args: &[String]) -> ExitCode {
    run::block_on(features::main(args))
}

/// `kafka-groups`: lists groups of all types.
pub fn kafka_groups(args: &[String]) -> ExitCode {
    run::block_on(groups::main(args))
}

/// `kafka-leader-election`: elects leaders.
pub fn kafka_leader_election(args: &[String]) -> ExitCode {
    run::block_on(leader_election::main(args))
}

/// `kafka-log-dirs`: what is in log directories.
pub fn kafka_log_dirs(args: &[String]) -> ExitCode {
    run::block_on(log_dirs::main(args))
}

/// `kafka-metadata-quorum`: who keeps the metadata.
pub fn kafka_metadata_quorum(args: &[String]) -> ExitCode {
    run::block_on(metadata_quorum::main(args))
}

/// `kafka-transactions`: transactions, and hanging ones.
pub fn kafka_transactions(args: &[String]) -> ExitCode {
    run::block_on(transactions::main(args))
}

/// `kafka-dump-log`: what stands in segments and indexes.
pub fn kafka_dump_log(args: &[String]) -> ExitCode {
    dump_log::main(args)
}

/// `kafka-reassign-partitions`: moves partitions.
pub fn kafka_reassign_partitions(args: &[String]) -> ExitCode {
    run::block_on(reassign::main(args))
}

/// `kafka-e2e-latency`: how long a record takes from a producer to a consumer.
pub fn kafka_e2e_latency(args: &[String]) -> ExitCode {
    run::block_on(e2e_latency::main(args))
}

/// `kafka-run-class`: the tools by the classes that notes and scripts name.
pub fn kafka_run_class(args: &[String]) -> ExitCode {
    run_class::main(args)
}

/// `kafka-preferred-replica-election` of Kafka before 2.4.
pub fn kafka_preferred_replica_election(args: &[String]) -> ExitCode {
    run::block_on(leader_election::main_of_older_name(args))
}

/// `kafka-jmx`: says where the figures are.
pub fn kafka_jmx(args: &[String]) -> ExitCode {
    server_control::kafka_jmx(args)
}

/// `kafka-storage`: identities of data directories.
pub fn kafka_storage(args: &[String]) -> ExitCode {
    storage::main(args)
}

/// `kafka-verifiable-consumer`: says what a member of a group is given, reads and commits.
pub fn kafka_verifiable_consumer(args: &[String]) -> ExitCode {
    run::block_on(verifiable_consumer::main(args))
}

/// `kafka-verifiable-producer`: says of every record what became of it.
pub fn kafka_verifiable_producer(args: &[String]) -> ExitCode {
    run::block_on(verifiable_producer::main(args))
}

/// `kafka-console-share-consumer`: records on standard output, as a member of a share group.
pub fn kafka_console_share_consumer(args: &[String]) -> ExitCode {
    run::block_on(console_share_consumer::main(args))
}

/// `kafka-share-consumer-perf-test`: how fast records are consumed in a share group.
pub fn kafka_share_consumer_perf_test(args: &[String]) -> ExitCode {
    run::block_on(share_consumer_perf::main(args))
}

/// `kafka-share-groups`: list, describe, reset and delete share groups.
pub fn kafka_share_groups(args: &[String]) -> ExitCode {
    run::block_on(share_groups::main(args))
}

/// `kafka-verifiable-share-consumer`: says what a member of a share group reads and acknowledges.
pub fn kafka_verifiable_share_consumer(args: &[String]) -> ExitCode {
    run::block_on(verifiable_share_consumer::main(args))
}

/// `kafka-streams-application-reset`: an application of Kafka Streams begins again.
pub fn kafka_streams_application_reset(args: &[String]) -> ExitCode {
    run::block_on(streams_reset::main(args))
}

/// `kafka-delegation-tokens`: create, renew, expire and describe delegation tokens.
pub fn kafka_delegation_tokens(args: &[String]) -> ExitCode {
    run::block_on(delegation_tokens::main(args))
}

/// `kafka-replica-verification`: whether all replicas hold the same.
pub fn kafka_replica_verification(args: &[String]) -> ExitCode {
    run::block_on(replica_verification::main(args))
}

/// `kafka-server-stop`: ends the brokers that run from this program.
pub fn kafka_server_stop(args: &[String]) -> ExitCode {
    server_control::kafka_server_stop(args)
}

/// `zookeeper-server-start`: says that there is nothing to start.
pub fn zookeeper_server_start(args: &[String]) -> ExitCode {
    server_control::zookeeper_server_start(args)
}

/// `zookeeper-server-stop`: says that there is nothing to stop.
pub fn zookeeper_server_stop(args: &[String]) -> ExitCode {
    server_control::zookeeper_server_stop(args)
}

/// `confluent local services start|stop|status`: a broker in the background.
pub fn confluent(args: &[String]) -> ExitCode {
    confluent::main(args)
}

/// `tributary links DIR`: a link for every tool.
pub fn links(args: &[String]) -> ExitCode {
    links::main(args)
}
