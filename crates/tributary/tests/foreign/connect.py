#!/usr/bin/env python3
"""Kafka Connect, unchanged, on a node of ours: a distributed worker with exactly-once sources, its file connectors driven
through its REST interface, while the worker and the node are killed.

  connect.py --ours PATH      ends with `N passed, M failed`"""
import argparse, json, os, sys, traceback, urllib.error, urllib.request

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic
import nodes, real_kafka
from nodes import equal, until

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
a = p.parse_args()
HOME = nodes.home("connect")
SOURCE, SINK = os.path.join(HOME, "source.txt"), os.path.join(HOME, "sink.txt")
REST = "http://127.0.0.1:%d" % nodes.free_port()

node = nodes.Node(a.ours, HOME, ["group.min.session.timeout.ms=1000", "group.initial.rebalance.delay.ms=0"])
admin = AdminClient({"bootstrap.servers": node.kafka})
PROPERTIES = os.path.join(HOME, "worker.properties")
with open(PROPERTIES, "w") as f:
    f.writelines("%s=%s\n" % pair for pair in {
        "bootstrap.servers": node.kafka, "group.id": "connect", "listeners": REST, "plugin.discovery": "service_load",
        "plugin.path": os.path.join(HOME, "plugins"), "exactly.once.source.support": "enabled",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
        "config.storage.topic": "connect-configs", "config.storage.replication.factor": 1,
        "offset.storage.topic": "connect-offsets", "offset.storage.replication.factor": 1, "offset.storage.partitions": 3,
        "status.storage.topic": "connect-status", "status.storage.replication.factor": 1, "status.storage.partitions": 2,
        "offset.flush.interval.ms": 200, "session.timeout.ms": 3000, "heartbeat.interval.ms": 300,
        "scheduled.rebalance.max.delay.ms": 500,
    }.items())
os.mkdir(os.path.join(HOME, "plugins"))


def worker():
    command = real_kafka.tool_command("org.apache.kafka.connect.cli.ConnectDistributed", PROPERTIES, heap="512M")
    return nodes.Program("the worker", command, os.path.join(HOME, "worker.log"))


def rest(method, path, body=None):
    """The answer, or None while there is none to be had (starting, rebalancing)."""
    request = urllib.request.Request(REST + path, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "{}")
    except urllib.error.HTTPError as e:
        if e.code in (404, 409, 500, 503):
            return None
        raise AssertionError("%s %s: %d %s" % (method, path, e.code, e.read()))
    except OSError:
        return None


def running(connector, connect):
    def all_run():
        status = rest("GET", "/connectors/%s/status" % connector)
        states = [status["connector"]["state"]] + [t["state"] for t in status["tasks"]] if status else []
        assert "FAILED" not in states, status
        return len(states) == 2 and set(states) == {"RUNNING"}
    until(all_run, connector + " to run", [connect])


def create(connector, config, connect):
    until(lambda: rest("PUT", "/connectors/%s/config" % connector, config), "the connector to be taken", [connect])
    running(connector, connect)


def write(first, last):
    with open(SOURCE, "a") as f:
        f.writelines("line %d\n" % n for n in range(first, last))
    return ["line %d" % n for n in range(last)]


def stored():
    """The committed records of the topic in their order."""
    consumer = ck.Consumer({"bootstrap.servers": node.kafka, "group.id": "verify", "enable.auto.commit": False,
                            "isolation.level": "read_committed", "enable.partition.eof": True})
    consumer.assign([ck.TopicPartition("lines", 0, ck.OFFSET_BEGINNING)])
    values, ended = [], []

    def poll():
        for m in consumer.consume(5000, 1):
            ended.append(m) if m.error() else values.append(m.value().decode())
        return ended
    until(poll, "the end of the topic")
    consumer.close()
    return values


def stable_end():
    """The offset up to which all transactions have ended; each takes one besides its lines."""
    return nodes.end_offsets(node.kafka, [("lines", 0)])["lines", 0]


def sunk():
    with open(SINK) as f:
        return f.read().splitlines()


def drained(connect):
    """The sink has committed all that the topic has."""
    def caught_up():
        # What follows the last line is the end of its transaction.
        return nodes.group_offsets(node.kafka, "connect-sink").get(("lines", 0)) == stable_end() - 1
    until(caught_up, "the sink to commit", [connect])


def run():
    for f in admin.create_topics([NewTopic("lines", 1, 1)]).values():
        f.result(nodes.WAIT)
    lines = write(0, 60_000)
    connect = worker()
    create("source", {"connector.class": "FileStreamSource", "tasks.max": "1", "file": SOURCE, "topic": "lines",
                      "exactly.once.support": "required", "transaction.boundary": "poll"}, connect)
    until(lambda: stable_end() >= 500, "first lines", [connect])
    connect.kill()
    cut, ended = len(stored()), stable_end()
    connect = worker()
    until(lambda: stable_end() > ended + 500, "more lines", [connect])
    node.kill_and_start()
    after = stable_end()
    assert cut < after < len(lines), "the kills came too late: %d, %d" % (cut, after)
    until(lambda: len(stored()) >= len(lines), "all lines", [connect])
    equal(stored(), lines, "lines in the topic")
    print("source: %d lines, each once, over a kill of the worker at %d and one of the node" % (len(lines), cut), flush=True)

    create("sink", {"connector.class": "FileStreamSink", "tasks.max": "1", "file": SINK, "topics": "lines",
                    "consumer.override.isolation.level": "read_committed"}, connect)
    drained(connect)
    equal(sunk(), lines, "lines in the sink")
    connect.kill()
    lines = write(60_000, 62_000)
    connect = worker()
    running("source", connect)
    running("sink", connect)
    until(lambda: len(stored()) >= len(lines), "the rest of the lines", [connect])
    drained(connect)
    equal(stored(), lines, "lines in the topic")
    equal(sunk(), lines, "lines in the sink")
    equal(rest("GET", "/connectors/source/offsets")["offsets"][0]["partition"], {"filename": SOURCE}, "offset of the source")
    until(lambda: rest("PUT", "/connectors/sink/stop") is not None, "the sink to be stopped", [connect])
    equal(sorted(rest("GET", "/connectors")), ["sink", "source"], "connectors")
    for connector in ("sink", "source"):
        until(lambda: rest("DELETE", "/connectors/" + connector) is not None, "the connector to be deleted", [connect])
    until(lambda: rest("GET", "/connectors") == [], "no connectors", [connect])
    connect.stop()
    print("sink: %d lines, each once" % len(lines), flush=True)


try:
    run()
    print("2 passed, 0 failed")
except Exception:
    traceback.print_exc()
    print("0 passed, 1 failed")
    sys.exit(1)
