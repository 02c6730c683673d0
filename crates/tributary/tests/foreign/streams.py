#!/usr/bin/env python3
"""Kafka Streams, unchanged (java/Streams.java), on a node of ours: words counted, a stream joined with a table, streams joined
within a window, windows counted; exactly once while the application and the node are killed in turn.

  streams.py --ours PATH      ends with `N passed, M failed`"""
import argparse, collections, os, re, sys, time, traceback

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec
import nodes, real_kafka
from nodes import equal, until

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
a = p.parse_args()
HOME = nodes.home("streams")
PARTITIONS, ROUNDS, EACH = 3, 6, 300
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
START = int(time.time()) // 60 * 60_000 - 7200_000  # the beginning of a minute, not so long ago that retention deletes it
OUTPUTS = ["counts", "joined", "paired", "windows"]

node = nodes.Node(a.ours, HOME, ["group.min.session.timeout.ms=1000", "group.initial.rebalance.delay.ms=0"])
admin = AdminClient({"bootstrap.servers": node.kafka})
topics = ["lines", "customers", "orders", "left", "right", "clicks"] + OUTPUTS
for f in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in topics]).values():
    f.result(nodes.WAIT)
# Idempotent: what it retries while the node is away is stored once.
producer = ck.Producer({"bootstrap.servers": node.kafka, "enable.idempotence": True, "linger.ms": 5})
errors = []


def send(topic, key, value, timestamp=START, partition=-1):
    producer.produce(topic, value, key, partition, timestamp=timestamp, on_delivery=lambda e, m: e and errors.append(e))


def flush():
    equal(producer.flush(nodes.WAIT), 0, "records not acknowledged")
    equal(errors, [], "errors of the producer")


def application(*more):
    command = real_kafka.java_command("Streams", node.kafka, "app", os.path.join(HOME, "state"), *more, heap="384M")
    return nodes.Program("the application", command, os.path.join(HOME, "app.log"))


def lines(round):
    """What a round counts: EACH lines of three words."""
    return [" ".join(WORDS[(round + i * k) % len(WORDS)] for k in (1, 3, 5)) for i in range(EACH)]


def counted(round):
    """How many records a round feeds."""
    return 5 * EACH + (10 if round == 0 else 0)


def feed(round):
    for i, line in enumerate(lines(round)):
        n = round * EACH + i
        send("lines", "line %d" % n, line, START + n)
        send("orders", "customer %d" % (n % 10), "order %d" % n, START + n)
        send("left", "key %d" % n, "left %d" % n, START + n)
        send("right", "key %d" % n, "right %d" % n, START + n)
        send("clicks", "page %d" % (n % 7), "x", START + 1000 * n)
    flush()


def committed():
    """How many records of the inputs the application has committed."""
    return sum(offset for (topic, _), offset in nodes.group_offsets(node.kafka, "app").items() if topic in topics)


def end_offsets(names):
    return nodes.end_offsets(node.kafka, [(t, n) for t in names for n in range(PARTITIONS)])


def read(topic):
    """Every committed record of a topic, as (key, value)."""
    consumer = ck.Consumer({"bootstrap.servers": node.kafka, "group.id": "verify", "enable.auto.commit": False,
                            "isolation.level": "read_committed", "enable.partition.eof": True})
    consumer.assign([ck.TopicPartition(topic, n, ck.OFFSET_BEGINNING) for n in range(PARTITIONS)])
    records, ends = [], set()

    def poll():
        for m in consumer.consume(1000, 1):
            if m.error() and m.error().code() == ck.KafkaError._PARTITION_EOF:
                ends.add(m.partition())
            elif not m.error():
                records.append((m.key().decode(), m.value().decode()))
        return len(ends) == PARTITIONS
    until(poll, "the end of " + topic)
    consumer.close()
    return records


def run():
    for i in range(10):
        send("customers", "customer %d" % i, "name %d" % i, START - 1000)
    flush()
    app = application()
    for round in range(ROUNDS):
        before = sum(counted(r) for r in range(round))
        feed(round)
        # Somewhere in the middle of the round's work:
        until(lambda: committed() >= before + counted(round) // 2, "progress in round %d" % round, [app])
        if round in (0, 3):
            app.kill()
            app = application()
        elif round in (1, 4):
            node.kill_and_start()
        elif round == 2:
            app.kill()
            node.kill_and_start()
            app = application()
    inputs = sum(counted(r) for r in range(ROUNDS))
    until(lambda: committed() == inputs, "all inputs to be processed", [app])
    return app


def every_count(topic, expected):
    """Each key was counted from one to what is expected, without gap or repetition."""
    seen = collections.defaultdict(list)
    for key, count in read(topic):
        seen[key].append(int(count))
    wrong = {key: seen[key] for key in set(seen) | set(expected) if seen[key] != list(range(1, expected[key] + 1))}
    equal(wrong, {}, "keys of %s that were counted wrongly" % topic)


def check(app):
    words = collections.Counter(word for round in range(ROUNDS) for line in lines(round) for word in line.split())
    # The inputs are done; what they became in the repartition topic is counted after that.
    until(lambda: sum(end_offsets(["counts"]).values()) >= sum(words.values()) and len(read("counts")) >= sum(words.values()),
          "all words to be counted", [app])
    app.close_input()
    assert "closed NOT_RUNNING" in app.output(), app.tail()
    every_count("counts", words)
    total = ROUNDS * EACH
    equal(sorted(read("joined")), sorted(("customer %d" % (n % 10), "order %d for name %d" % (n, n % 10)) for n in range(total)),
          "orders joined with customers")
    equal(sorted(read("paired")), sorted(("key %d" % n, "left %d+right %d" % (n, n)) for n in range(total)), "left paired with right")
    windows = collections.Counter("page %d@%d" % (n % 7, START + n // 60 * 60_000) for n in range(total))
    every_count("windows", windows)
    print("%d words, %d joined, %d paired, %d windows: exact" % (sum(words.values()), total, total, len(windows)), flush=True)


def internal_topics():
    names = [t for t in admin.list_topics(timeout=nodes.WAIT).topics if t.startswith("app-")]
    for pattern, settings in [(r"repartition$", {"cleanup.policy": "delete", "retention.ms": "-1"}),
                              (r"COUNT.*changelog$|AGGREGATE-STATE-STORE.*3-changelog$", {"cleanup.policy": "compact"})]:
        found = [n for n in names if re.search(pattern, n)]
        assert found, names
        resource = ConfigResource("topic", found[0])
        configs = admin.describe_configs([resource])[resource].result(nodes.WAIT)
        equal({key: configs[key].value for key in settings}, settings, found[0])
    repartition = next(n for n in names if n.endswith("repartition"))
    # What was counted is deleted from the repartition topic.
    asked = {ck.TopicPartition(repartition, n): OffsetSpec.earliest() for n in range(PARTITIONS)}
    assert sum(f.result(nodes.WAIT).offset for f in admin.list_offsets(asked).values()) > 0, "nothing purged"


def streams_protocol():
    """The groups of KIP-1071 are not ours: the application is told so, at once and by name."""
    app = application("group.protocol=streams")
    until(lambda: app.poll() is not None, "the application to give up")
    failed = re.search(r"^failed (.*)", app.output(), re.M)
    assert failed and "STREAMS" in failed[1].upper(), app.tail()
    print("group.protocol=streams:", failed[1], flush=True)


failed, began = 0, time.monotonic()
running = None
for step in (lambda: globals().update(running=run()), lambda: check(running), internal_topics, streams_protocol):
    try:
        step()
    except Exception:
        failed += 1
        traceback.print_exc()
        break
print("%d passed, %d failed" % (4 - failed if not failed else 0, failed), flush=True)
sys.exit(1 if failed else 0)
