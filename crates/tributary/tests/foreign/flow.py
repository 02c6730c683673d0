#!/usr/bin/env python3
"""The mission's flow in every mix: what any MQTT client publishes, any Kafka consumer prints, and back.

  flow.py --ours PATH

Starts one node. Publishers: Debian's mosquitto_pub, ours. Consumers: Kafka's console consumer, kcat, ours. Producers:
Kafka's console producer, kcat, ours. Subscribers: Debian's mosquitto_sub, ours. Ends with `N passed, M failed`."""
import argparse, glob, os, shutil, signal, subprocess, tempfile, time
import real_kafka
from checks import WAIT, check, equal, finish

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
a = p.parse_args()
OURS = os.path.abspath(a.ours)


def run(command, inp=None, timeout=WAIT, status=0):
    r = subprocess.run(command, input=inp, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                       stdin=subprocess.DEVNULL if inp is None else None)
    if r.returncode != status:
        raise AssertionError("%s: exit %s\n%s%s" % (command, r.returncode, r.stdout, r.stderr))
    return r.stdout


class Node:
    def __init__(self, *more):
        self.data = tempfile.mkdtemp(prefix="flow-")
        self.process = subprocess.Popen([OURS, "serve", "--data", self.data + "/d", "--mqtt", "127.0.0.1:0", "--kafka", "127.0.0.1:0",
                                         "--console", "off", *more], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            words = line.split()
            if words[:2] == ["listening", "mqtt"]:
                self.mqtt = words[2].split(":")[1]
            if words[:2] == ["listening", "kafka"]:
                self.kafka = words[2]
            if words == ["ready"]:
                return
        raise SystemExit("the node did not start")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        shutil.rmtree(self.data, ignore_errors=True)


node = Node()
PORT, KAFKA = node.mqtt, node.kafka
PUBLISHERS = {"Debian's mosquitto_pub": ["mosquitto_pub"], "our mosquitto_pub": [OURS, "mosquitto_pub"]}
SUBSCRIBERS = {"Debian's mosquitto_sub": ["mosquitto_sub"], "our mosquitto_sub": [OURS, "mosquitto_sub"]}
JAVA_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
JAVA_PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
real_kafka.jars()


def consumer(kind, topic, n, *more):
    if kind == "kcat":
        return ["kcat", "-C", "-b", KAFKA, "-t", topic, "-o", "beginning", "-c", str(n), "-q"]
    args = ["--bootstrap-server", KAFKA, "--topic", topic, "--from-beginning", "--max-messages", str(n), "--timeout-ms",
            "30000", *more]
    return real_kafka.tool_command(JAVA_CONSUMER, *args) if kind == "Kafka's" else [OURS, "kafka-console-consumer", *args]


def producer(kind, topic):
    if kind == "kcat":
        return ["kcat", "-P", "-b", KAFKA, "-t", topic]
    args = ["--bootstrap-server", KAFKA, "--topic", topic]
    return real_kafka.tool_command(JAVA_PRODUCER, *args) if kind == "Kafka's" else [OURS, "kafka-console-producer", *args]


def subscribe(program, topic_filter, n, *more):
    """Starts a subscriber and waits until the broker has taken its subscription (a retained marker comes back)."""
    marker = "ready/%d" % time.time_ns()
    run(["mosquitto_pub", "-p", PORT, "-t", marker, "-m", "x", "-r", "-q", "1"])
    s = subprocess.Popen([*program, "-p", PORT, "-t", marker, "-t", topic_filter, "-C", str(n + 1), "-W", str(WAIT), *more],
                         stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    s.stdout.readline()
    return s


def lines_of(process):
    out, _ = process.communicate(timeout=WAIT)
    return out.splitlines()


# --- MQTT to Kafka: every publisher at every QoS to every consumer
sent = []
subscribers = {name: subscribe(program, "sensors/#", 2 * 3, "-q", "2") for name, program in SUBSCRIBERS.items()}
for name, program in PUBLISHERS.items():
    for qos in "012":
        @check("%s publishes at QoS %s" % (name, qos))
        def _():
            message = "%s at %s" % (name, qos)
            run([*program, "-h", "127.0.0.1", "-p", PORT, "-t", "sensors/1/temp", "-m", message, "-q", qos])
            sent.append(message)

for name, process in subscribers.items():
    @check("%s received all" % name)
    def _():
        equal(lines_of(process), sent)

for kind in ["Kafka's", "our", "kcat"]:
    @check("%s consumer prints all from the beginning" % kind)
    def _():
        equal(run(consumer(kind, "sensors", len(sent))).splitlines(), sent)

for kind in ["Kafka's", "our"]:
    @check("%s console consumer prints keys" % kind)
    def _():
        out = run(consumer(kind, "sensors", 1, "--formatter-property", "print.key=true"))
        equal(out.splitlines()[0], "sensors/1/temp\t" + sent[0])

for name, command in {"Kafka's": real_kafka.tool_command("org.apache.kafka.tools.TopicCommand"), "our": [OURS, "kafka-topics"]}.items():
    @check("%s kafka-topics lists the topic" % name)
    def _():
        names = run([*command, "--list", "--bootstrap-server", KAFKA]).splitlines()
        assert "sensors" in names, names

# --- Kafka to MQTT
for kind in ["Kafka's", "our", "kcat"]:
    for name, program in SUBSCRIBERS.items():
        @check("%s producer reaches %s" % (kind, name))
        def _():
            topic = "down%d" % time.time_ns()
            s = subscribe(program, topic, 2, "-q", "1")
            run(producer(kind, topic), inp="one\ntwo\n")
            equal(lines_of(s), ["one", "two"])


# --- groups
def group_consumer(kind, group):
    args = ["--bootstrap-server", KAFKA, "--topic", "shared", "--group", group, "--from-beginning", "--timeout-ms", "10000"]
    command = real_kafka.tool_command(JAVA_CONSUMER, *args) if kind == "Kafka's" else [OURS, "kafka-console-consumer", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)


def members(group):
    out = subprocess.run([OURS, "kafka-consumer-groups", "--bootstrap-server", KAFKA, "--describe", "--group", group, "--members"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    rows = [l.split() for l in out.splitlines() if l.startswith(group)]
    return [int(r[-1]) for r in rows]


run([OURS, "kafka-topics", "--bootstrap-server", KAFKA, "--create", "--topic", "shared", "--partitions", "4"])
for first, second in [("our", "our"), ("Kafka's", "our")]:
    @check("two consumers of one group (%s, %s) share the partitions; another group sees all" % (first, second))
    def _():
        group = "g%d" % time.time_ns()
        pair = [group_consumer(first, group), group_consumer(second, group)]
        deadline = time.monotonic() + 40
        while sorted(members(group)) != [2, 2]:
            if time.monotonic() > deadline:
                raise AssertionError("partitions of the two: %s" % members(group))
            time.sleep(0.2)
        words = ["k%d:%s-%d" % (n, group, n) for n in range(40)]
        run([OURS, "kafka-console-producer", "--bootstrap-server", KAFKA, "--topic", "shared", "--property", "parse.key=true",
             "--property", "key.separator=:"], inp="\n".join(words) + "\n")
        shares = [[l for l in lines_of(c) if l.startswith(group)] for c in pair]
        equal(sorted(shares[0] + shares[1]), sorted(w.split(":")[1] for w in words))
        assert all(shares), "one of the two got nothing"
        alone = [l for l in lines_of(group_consumer("our", group + "-other")) if l.startswith(group)]
        equal(len(alone), 40)

# --- the log itself, read by Kafka's own tool
@check("kafka-dump-log finds our segments valid")
def _():
    files = ",".join(sorted(glob.glob(node.data + "/d/s*-*/*.log")))
    out = run(real_kafka.tool_command("org.apache.kafka.tools.DumpLogSegments", "--deep-iteration", "--print-data-log", "--files", files))
    assert "isvalid: true" in out and "isvalid: false" not in out, out[-2000:]
    assert sent[0] in out, out[-2000:]

# --- names people know
@check("the tools work through links with .sh and .bat")
def _():
    folder = os.path.join(node.data, "bin")
    run([OURS, "links", folder])
    for name in ["kafka-topics.sh", "kafka-topics.bat", "kafka-topics"]:
        if os.path.lexists(os.path.join(folder, name)):
            out = run([os.path.join(folder, name), "--list", "--bootstrap-server", KAFKA])
            assert "sensors" in out.splitlines(), out
        assert "sensors" in run([OURS, name, "--list", "--bootstrap-server", KAFKA]).splitlines()


node.stop()
finish()
