#!/usr/bin/env python3
"""MirrorMaker 2, unchanged, between Apache Kafka and a node of ours, in both directions at once: topics with their
configurations, records, and the offsets of consumer groups, translated.

  mirror.py --ours PATH      ends with `N passed, M failed`"""
import argparse, os, sys, traceback

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
import nodes, real_kafka
from nodes import equal, until

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
a = p.parse_args()
HOME = nodes.home("mirror")
RECORDS, READ, PARTITIONS = 600, 250, 3

node = nodes.Node(a.ours, HOME, ["group.initial.rebalance.delay.ms=0"])
kafka = real_kafka.RealKafka(os.path.join(HOME, "kafka"))
CLUSTERS = {"ours": node.kafka, "theirs": kafka.bootstrap}
OTHER = {"ours": "theirs", "theirs": "ours"}
PROPERTIES = os.path.join(HOME, "mirror.properties")
with open(PROPERTIES, "w") as f:
    f.writelines("%s=%s\n" % pair for pair in {
        "clusters": "ours,theirs", "ours.bootstrap.servers": node.kafka, "theirs.bootstrap.servers": kafka.bootstrap,
        "ours->theirs.enabled": "true", "theirs->ours.enabled": "true", "topics": "mirrored.*", "groups": "readers.*",
        "replication.factor": 1, "checkpoints.topic.replication.factor": 1, "heartbeats.topic.replication.factor": 1,
        "offset-syncs.topic.replication.factor": 1, "offset.storage.replication.factor": 1,
        "status.storage.replication.factor": 1, "config.storage.replication.factor": 1,
        "sync.group.offsets.enabled": "true", "sync.group.offsets.interval.seconds": 1, "emit.checkpoints.interval.seconds": 1,
        "emit.heartbeats.interval.seconds": 1, "refresh.topics.interval.seconds": 1, "refresh.groups.interval.seconds": 1,
        "sync.topic.configs.interval.seconds": 1, "offset.lag.max": 0,
        "ours.offset.flush.interval.ms": 500, "theirs.offset.flush.interval.ms": 500,
        "consumer.auto.offset.reset": "earliest", "consumer.metadata.max.age.ms": 1000,
    }.items())


def admin(cluster):
    return AdminClient({"bootstrap.servers": CLUSTERS[cluster]})


admins = {cluster: admin(cluster) for cluster in CLUSTERS}


def produce(cluster, first, last):
    producer = ck.Producer({"bootstrap.servers": CLUSTERS[cluster], "enable.idempotence": True, "compression.type": "lz4"})
    for n in range(first, last):
        producer.produce("mirrored", "%s %d" % (cluster, n), "key %d" % n, n % PARTITIONS, headers=[("n", b"%d" % n)])
    equal(producer.flush(nodes.WAIT), 0, "records not acknowledged")


def consume(cluster, topic, group, n):
    """The next `n` records as (partition, key, value, headers), committed."""
    consumer = ck.Consumer({"bootstrap.servers": CLUSTERS[cluster], "group.id": group, "auto.offset.reset": "earliest",
                            "enable.auto.commit": False})
    consumer.subscribe([topic])
    records = []

    def poll():
        for m in consumer.consume(n - len(records), 0.5):
            if m.error():
                # A topic that is not there yet.
                assert m.error().code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART, m.error()
            else:
                records.append((m.partition(), m.key(), m.value(), tuple(m.headers() or ())))
        return len(records) >= n
    until(poll, "%d records of %s" % (n, topic))
    consumer.commit(asynchronous=False)
    consumer.close()
    return records


def expected(cluster, first, last):
    return sorted((n % PARTITIONS, b"key %d" % n, b"%s %d" % (cluster.encode(), n), (("n", b"%d" % n),)) for n in range(first, last))


def committed(cluster, group, topic):
    found = nodes.group_offsets(CLUSTERS[cluster], group)
    return {n: offset for (t, n), offset in found.items() if t == topic}


def mirror():
    command = real_kafka.tool_command("org.apache.kafka.connect.mirror.MirrorMaker", PROPERTIES, heap="512M")
    return nodes.Program("MirrorMaker", command, os.path.join(HOME, "mirror.log"))


def run():
    for cluster in CLUSTERS:
        config = {"retention.ms": "7200000", "max.message.bytes": "500000", "cleanup.policy": "compact,delete"}
        for f in admins[cluster].create_topics([NewTopic("mirrored", PARTITIONS, 1, config=config)]).values():
            f.result(nodes.WAIT)
    for cluster in CLUSTERS:
        until(lambda: "mirrored" in admins[cluster].list_topics(timeout=nodes.WAIT).topics, "the topic")
        produce(cluster, 0, RECORDS)
    maker = mirror()
    for cluster in CLUSTERS:
        copy, there = cluster + ".mirrored", OTHER[cluster]
        until(lambda: copy in admins[there].list_topics(timeout=nodes.WAIT).topics, "the topic to be mirrored", [maker])
        equal(len(admins[there].list_topics(copy, timeout=nodes.WAIT).topics[copy].partitions), PARTITIONS, "partitions of the copy")
        equal(sorted(consume(there, copy, "check", RECORDS)), expected(cluster, 0, RECORDS), "records of " + copy)
        resource = ConfigResource("topic", copy)

        def setting(key):
            return admins[there].describe_configs([resource])[resource].result(nodes.WAIT)[key].value
        for key, value in {"retention.ms": "7200000", "max.message.bytes": "500000", "cleanup.policy": "compact,delete"}.items():
            until(lambda: setting(key) == value, "%s of the copy" % key, [maker])
    # A group that has read all there has read all here. One that has read a part goes on here, missing nothing; MirrorMaker keeps
    # fewer pairs of offsets the longer ago they were, so that some records come again.
    for cluster in CLUSTERS:
        copy, there, done, part = cluster + ".mirrored", OTHER[cluster], "readers-done-" + cluster, "readers-part-" + cluster
        consume(cluster, "mirrored", done, RECORDS)
        before = consume(cluster, "mirrored", part, READ)
        at = committed(cluster, part, "mirrored")
        equal(sum(at.values()), READ, "committed at the source")
        until(lambda: committed(there, done, copy) == {n: RECORDS // PARTITIONS for n in range(PARTITIONS)},
              "the offsets of the group that is done", [maker])
        found = until(lambda: committed(there, part, copy), "the offsets of the group that has read a part", [maker])
        assert all(0 < found[n] <= at[n] for n in found), (found, at)
        after = consume(there, copy, part, RECORDS - sum(found.values()))
        equal(set(before + after), set(expected(cluster, 0, RECORDS)), "records of the group on both sides")
    # A killed MirrorMaker goes on; so do a killed node, new records and changed configurations.
    maker.kill()
    for cluster in CLUSTERS:
        produce(cluster, RECORDS, 2 * RECORDS)
    maker = mirror()
    until(lambda: sum(nodes.end_offsets(kafka.bootstrap, [("ours.mirrored", n) for n in range(PARTITIONS)]).values()) > RECORDS, "the copy to go on", [maker])
    node.kill_and_start()
    for cluster in CLUSTERS:
        copy, there = cluster + ".mirrored", OTHER[cluster]
        # At least once: what was under way at the kill may come twice, nothing is missing.
        until(lambda: set(everything(there, copy)) == set(expected(cluster, 0, 2 * RECORDS)), "all records of " + copy, [maker])
    for cluster in CLUSTERS:
        doubled = len(everything(OTHER[cluster], cluster + ".mirrored")) - 2 * RECORDS
        print("%s -> %s: %d records, configurations and offsets complete; %d came twice over the kills"
              % (cluster, OTHER[cluster], 2 * RECORDS, doubled), flush=True)
    maker.stop()


def everything(cluster, topic):
    consumer = ck.Consumer({"bootstrap.servers": CLUSTERS[cluster], "group.id": "verify", "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([ck.TopicPartition(topic, n, ck.OFFSET_BEGINNING) for n in range(PARTITIONS)])
    records, ends = [], set()

    def poll():
        for m in consumer.consume(1000, 1):
            if not m.error():
                records.append((m.partition(), m.key(), m.value(), tuple(m.headers() or ())))
            elif m.error().code() == ck.KafkaError._PARTITION_EOF:
                ends.add(m.partition())
        return len(ends) == PARTITIONS
    until(poll, "the end of " + topic)
    consumer.close()
    return records


failed = 0
try:
    run()
except Exception:
    failed = 1
    traceback.print_exc()
kafka.stop()
print("%d passed, %d failed" % (1 - failed, failed), flush=True)
sys.exit(failed)
