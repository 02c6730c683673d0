#!/usr/bin/env python3
"""MQTT with a Kafka cluster as its only storage: `tributary serve --store kafka`, on Apache Kafka with three brokers and on our own
server.

  gateway.py --ours PATH [--kills N] [--door PROGRAM]

Publishes and subscribes with paho and Debian's tools, reads with Kafka's client, kills the gateway and one of the brokers under
load. `--door` is a program that holds the door to its promises on the brokers of DOOR_BOOTSTRAP. Ends with `N passed, M failed`.
Needs a Python with requirements.txt installed."""
import argparse, os, subprocess, threading, time
import confluent_kafka, confluent_kafka.admin
import real_kafka
from checks import WAIT, check, equal, finish, until
from gateways import OurKafka, client, end, payloads, publish_all, records, serve, subscribe

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
p.add_argument("--kills", type=int, default=2, help="how often the gateway, and a broker, are killed under load at each QoS")
p.add_argument("--door", default="")
a = p.parse_args()
OURS = os.path.abspath(a.ours)


class Gateway:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.port = real_kafka.free_port()
        self.start()

    def start(self):
        self.process, _ = serve(OURS, "--store", "kafka", "--bootstrap", self.bootstrap, "--mqtt", "127.0.0.1:%d" % self.port,
                                "--node-id", "gateway")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        equal(self.process.wait(30), 0)


def publish(c, topic, payload, qos, retain=False):
    c.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(WAIT)


class OneOfThree:
    """A broker of the cluster, another one each time."""

    def __init__(self, cluster):
        self.cluster, self.next = cluster, 0

    def kill(self):
        self.broker = self.cluster.ids[self.next % len(self.cluster.ids)]
        self.next += 1
        self.cluster.kill(self.broker)

    def start(self):
        # Down for as long as it takes until it is missed.
        time.sleep(4)
        self.cluster.start(self.broker)
        until("all replicas are in sync again", lambda: in_sync(self.cluster))


def in_sync(cluster):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": cluster.bootstrap})
    topics = admin.list_topics(timeout=WAIT).topics.values()
    return all(len(p.isrs) == len(p.replicas) for topic in topics for p in topic.partitions.values())


def kill_rounds(gateway, bootstrap, qos, victim, name):
    """Publishes one message after the other, each until it is acknowledged, while the victim is killed; whoever subscribed
    before gets them in order. The subscriber's session lasts over the kills too."""
    topic, total = "kills-%s-%d" % (name, qos), 150 * max(1, a.kills)
    received = []
    listener = client(gateway.port, "listener-%s-%d" % (name, qos), on_message=payloads(received))
    subscribe(listener, topic + "/#", qos)
    sender = client(gateway.port, "sender-%s-%d" % (name, qos))
    stop = threading.Event()

    def killer():
        for _ in range(a.kills):
            mark = len(sent) + 40
            while len(sent) < mark and not stop.is_set():
                time.sleep(0.01)
            victim.kill()
            victim.start()

    sent = []
    thread = threading.Thread(target=killer)
    thread.start()
    try:
        publish_all(sender, topic + "/a", ["%d" % i for i in range(total)], qos, sent.append)
    finally:
        stop.set()
        thread.join()
    stored = [value for _, value in records(bootstrap, topic, lambda found: {v for _, v in found} >= set(sent))]
    in_order = list(dict.fromkeys(stored))
    equal(in_order, sent)
    until("the subscriber has all", lambda: set(received) >= set(sent))
    if qos == 2:
        equal(stored, sent)
        equal(received, sent)
    else:
        equal(list(dict.fromkeys(received)), sent)
    end(sender, listener)


def run(kind, kafka):
    bootstrap = kafka.bootstrap
    gateway = Gateway(bootstrap)

    @check("%s: what devices publish at every QoS is in the cluster" % kind)
    def _():
        c = client(gateway.port, "device", clean=True)
        for qos in (0, 1, 2):
            publish(c, "sensors/%d/temp" % qos, "at %d" % qos, qos)
        end(c)
        found = records(bootstrap, "sensors", lambda found: len(found) >= 3)
        equal(sorted(found), [("sensors/%d/temp" % qos, "at %d" % qos) for qos in (0, 1, 2)])

    @check("%s: what a Kafka client produces reaches subscribers" % kind)
    def _():
        received = []
        c = client(gateway.port, "display", clean=True, on_message=lambda _c, _u, m: received.append((m.topic, m.payload.decode())))
        subscribe(c, "sensors/#", 1)
        producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
        for i in range(20):
            producer.produce("sensors", key="sensors/k", value="%d" % i)
        equal(producer.flush(WAIT), 0)
        until("all are received", lambda: len(received) >= 20)
        equal(received, [("sensors/k", "%d" % i) for i in range(20)])
        end(c)

    @check("%s: sessions and retained messages outlive the gateway" % kind)
    def _():
        c = client(gateway.port, "sleeper")
        subscribe(c, "news/#", 1)
        end(c)
        c = client(gateway.port, "writer", clean=True)
        for i in range(50):
            publish(c, "news/a", "%d" % i, 1)
        publish(c, "state/lamp", "on", 1, retain=True)
        end(c)
        gateway.kill()
        gateway.start()
        received = []
        c = client(gateway.port, "sleeper", on_message=payloads(received))
        until("the session brings what came meanwhile", lambda: len(received) >= 50)
        equal(received, ["%d" % i for i in range(50)])
        end(c)
        retained = []
        c = client(gateway.port, "late", clean=True, on_message=lambda _c, _u, m: retained.append((m.payload.decode(), m.retain)))
        subscribe(c, "state/#", 1)
        until("the retained message comes", lambda: retained)
        equal(retained, [("on", True)])
        end(c)

    victims = {"the gateway": gateway}
    if isinstance(kafka, real_kafka.RealCluster):
        victims["one broker of three"] = OneOfThree(kafka)
    for name, victim in victims.items():
        for qos in (1, 2):
            @check("%s: nothing is lost%s over %d kills of %s at QoS %d" % (kind, " or doubled" if qos == 2 else "", a.kills, name, qos))
            def _():
                kill_rounds(gateway, bootstrap, qos, victim, name.split()[1])

    if isinstance(kafka, real_kafka.RealCluster):
        @check("%s: what the gateway keeps has three replicas, and two are enough to write" % kind)
        def _():
            admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
            topics = [t for t in admin.list_topics(timeout=WAIT).topics.values() if t.topic.startswith("__mqtt_")]
            equal(sorted(t.topic for t in topics), ["__mqtt_nodes", "__mqtt_retained", "__mqtt_sessions"])
            equal({len(p.replicas) for t in topics for p in t.partitions.values()}, {3})
            resources = [confluent_kafka.admin.ConfigResource("TOPIC", t.topic) for t in topics]
            answers = admin.describe_configs(resources).values()
            equal([answer.result(WAIT)["min.insync.replicas"].value for answer in answers], ["2", "2", "2"])

        if a.door:
            @check("%s: the door keeps its promises" % kind)
            def _():
                environment = dict(os.environ, DOOR_BOOTSTRAP=bootstrap)
                subprocess.run([a.door, "door::cluster", "--ignored"], env=environment, check=True)

    @check("%s: the gateway stops cleanly" % kind)
    def _():
        gateway.stop()


for kind, start in (("our server", lambda: OurKafka(OURS)), ("Apache Kafka, three brokers", real_kafka.RealCluster)):
    kafka = start()
    try:
        run(kind, kafka)
    finally:
        kafka.stop()

finish()
