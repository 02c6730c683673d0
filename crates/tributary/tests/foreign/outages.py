#!/usr/bin/env python3
"""What gateway and bridge do when Apache Kafka (three brokers) is away, and when it or the MQTT broker refuses a message.

  outages.py --ours PATH [--away SECONDS] [--all] [--only TEXT]

All brokers stand still for `--away` seconds (10) under load: nothing acknowledged is missing after, and memory is bounded
meanwhile. Then: topics that are deleted, records that are too large, not authorized, not enough replicas, a backlog over a restart,
and the rights that docs/gateway.md and docs/bridge.md list, one less each time. Ends with `N passed, M failed`. Needs a Python with
requirements.txt installed."""
import argparse, atexit, os, re, shutil, signal, socket, struct, subprocess, sys, tempfile, threading, time
import confluent_kafka
import paho.mqtt.client as mqtt
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, NewTopic,
                                   ResourcePatternType, ResourceType)
from paho.mqtt.properties import Properties
import checks, real_kafka
from checks import WAIT, check, equal, finish, until

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
p.add_argument("--away", type=float, default=10)
p.add_argument("--all", action="store_true", help="also what takes long")
p.add_argument("--only", default="")
a = p.parse_args()
OURS = os.path.abspath(a.ours)
FOLDER = tempfile.mkdtemp(prefix="outages-")
PROCESSES = []
checks.only = a.only


class Process:
    """One of our programs, or Mosquitto; `refused` holds what it said when it did not start."""

    def __init__(self, name, command, ready="ready"):
        self.log, self.command, self.ready = os.path.join(FOLDER, name + ".log"), command, ready
        PROCESSES.append(self)
        self.start()

    def start(self):
        self.refused, self.addresses = None, {}
        with open(self.log, "ab") as log:
            began = log.tell()
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        if not self.ready:
            return
        too_long = threading.Timer(WAIT, self.process.kill)
        too_long.start()
        for line in self.process.stdout:
            words = line.split()
            if words[:1] == ["listening"]:
                self.addresses[words[1]] = words[2]
            if words == [self.ready]:
                too_long.cancel()
                return
        self.process.wait(WAIT)
        too_long.cancel()
        with open(self.log) as log:
            log.seek(began)
            self.refused = log.read()

    def said(self):
        with open(self.log) as log:
            return log.read()

    def memory_mb(self):
        with open("/proc/%d/status" % self.process.pid) as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(WAIT)


def file(name, text):
    path = os.path.join(FOLDER, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def named(user):
    return "\n".join(["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", "sasl.jaas.config=org.apache.kafka.common.security.plain."
                      "PlainLoginModule required username=\"%s\" password=\"secret\";" % user, ""])


def gateway(name, bootstrap, properties="", more=()):
    port = real_kafka.free_port()
    process = Process(name, [OURS, "serve", "--console", "off", "--store", "kafka", "--bootstrap", bootstrap, "--store-config",
                             file(name + ".properties", properties), "--mqtt", "127.0.0.1:%d" % port, "--node-id", name, *more])
    process.port = port
    return process


def mosquitto(name, more=""):
    port = real_kafka.free_port()
    data = os.path.join(FOLDER, name)
    os.makedirs(data)
    conf = file(name + ".conf", "listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\npersistence true\nuser root\n"
                "persistence_location %s/\n%s" % (port, data, more))
    process = Process(name, [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", conf], None)
    process.port = port
    until("Mosquitto listens", lambda: real_kafka.accepts(port))
    return process


def bridge(name, broker, cluster, routes, more="", start=True):
    http = "127.0.0.1:%d" % real_kafka.free_port()
    toml = file(name + ".toml", "name = \"%s\"\nmetrics = \"%s\"\n[mqtt]\naddress = \"127.0.0.1:%d\"\n[kafka]\nbootstrap.servers = \"%s\"\n%s\n%s"
                % (name, http, broker.port, cluster, more, routes))
    process = Process(name, [OURS, "bridge", "--quiet", "--config", toml])
    process.http = http
    return process


def get(process, path):
    import urllib.error, urllib.request
    try:
        with urllib.request.urlopen("http://%s%s" % (process.http, path), timeout=5) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def metric(process, name):
    return sum(int(n) for n in re.findall(r"^tributary_bridge_%s{.*} (\d+)$" % name, get(process, "/metrics"), re.M))


class Refused(Exception):
    """CONNACK with an error."""


class Client:
    """paho with what it has got and been told; MQTT 5 unless `version` says otherwise."""

    def __init__(self, port, client_id, clean=True, version=mqtt.MQTTv5):
        self.answers, self.got, self.lost = {}, [], 0
        v5 = version == mqtt.MQTTv5
        self.c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, **({} if v5 else {"clean_session": clean}))
        # The receive maximum that our server and Mosquitto give to those who do not ask.
        self.c.max_inflight_messages_set(20)
        self.c.reconnect_delay_set(1, 1)
        connected, self.subscribed = threading.Event(), threading.Event()
        reasons = []
        self.c.on_connect = lambda _c, _u, _flags, reason, _properties: reasons.append(reason) or connected.set()
        self.c.on_subscribe = lambda *_: self.subscribed.set()
        self.c.on_message = lambda _c, _u, m: self.got.append((m.topic, m.payload.decode()))
        self.c.on_publish = lambda _c, _u, mid, reason, properties: self.answers.__setitem__(mid, (reason, properties))
        self.c.on_disconnect = self._disconnected
        properties = None
        if v5:
            properties = Properties(mqtt.PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            properties.RequestProblemInformation = 1
        # Longer than any outage here: see docs/gateway.md.
        self.c.connect("127.0.0.1", port, keepalive=300, **({"clean_start": clean, "properties": properties} if v5 else {}))
        self.c.loop_start()
        if not connected.wait(WAIT):
            raise AssertionError("%s: no CONNACK" % client_id)
        if reasons[0].is_failure:
            self.end()
            raise Refused(str(reasons[0]))

    def _disconnected(self, *_):
        self.lost += 1

    def subscribe(self, filter, qos):
        self.subscribed.clear()
        self.c.subscribe(filter, qos)
        if not self.subscribed.wait(WAIT):
            raise AssertionError("no SUBACK")

    def send(self, topic, payload, qos=1, retain=False):
        return self.c.publish(topic, payload, qos=qos, retain=retain).mid

    def publish(self, topic, payload, qos=1, retain=False):
        """The reason code and reason string of the answer."""
        mid = self.send(topic, payload, qos, retain)
        until("an answer for %s" % topic, lambda: mid in self.answers)
        reason, properties = self.answers[mid]
        return reason.value, getattr(properties, "ReasonString", "") if properties else ""

    def end(self):
        self.c.disconnect()
        self.c.loop_stop()


class Flood(threading.Thread):
    """MQTT 3.1.1 with nothing between: as many messages of QoS 1 as the socket takes."""

    def __init__(self, port, name, topic, count, size):
        super().__init__(daemon=True)
        self.count, self.acknowledged, self.sent, self.problem = count, 0, 0, None
        self.topic, self.pad = topic.encode(), b"." * size
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT)
        name = name.encode()
        head = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(name)) + name
        self.socket.sendall(b"\x10" + bytes([len(head)]) + head)
        equal(self.socket.recv(4), b"\x20\x02\x00\x00")
        self.socket.settimeout(None)
        threading.Thread(target=self.read, daemon=True).start()

    def run(self):
        try:
            for n in range(self.count):
                body = struct.pack(">H", len(self.topic)) + self.topic + struct.pack(">H", n % 65535 + 1) + b"%d:" % n + self.pad
                length, left = b"", len(body)
                while True:
                    left, low = divmod(left, 128)
                    length += bytes([low | (0x80 if left else 0)])
                    if not left:
                        break
                self.socket.sendall(b"\x32" + length + body)
                self.sent += 1
        except OSError as error:
            self.problem = error

    def read(self):
        pending = b""
        while True:
            try:
                more = self.socket.recv(65536)
            except OSError:
                return
            if not more:
                self.problem = "closed by the server"
                return
            pending += more
            while len(pending) >= 4:
                equal(pending[:2], b"\x40\x02")
                pending = pending[4:]
                self.acknowledged += 1


def values(topic, bootstrap=None, enough=1, seconds=WAIT):
    """Values that a read_committed consumer sees, at least `enough`, and what comes within a second after."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap or CLUSTER.bootstrap, "group.id": "reader-%d" % time.time_ns(),
                                         "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
    consumer.subscribe([topic])
    found, deadline, quiet = [], time.monotonic() + seconds, 0
    while time.monotonic() < deadline and quiet < 3:
        message = consumer.poll(0.4)
        if message is None:
            quiet = quiet + 1 if len(found) >= enough else 0
        elif message.error() is None:
            found.append(message)
    consumer.close()
    return found


def texts(messages):
    return [m.value().decode() for m in messages]


def header(message, name):
    return dict(message.headers() or []).get(name, b"").decode()


def wait_for(futures):
    for future in futures.values():
        future.result(WAIT)


def create(topic, **config):
    wait_for(ADMIN.create_topics([NewTopic(topic, 1, 3, config={k.replace("_", "."): v for k, v in config.items()})]))


def delete(topic):
    wait_for(ADMIN.delete_topics([topic], operation_timeout=WAIT))


def topics_gone(*names):
    def gone():
        there = set(names) & set(ADMIN.list_topics(timeout=WAIT).topics)
        for name in there:
            try:
                delete(name)
            except confluent_kafka.KafkaException:
                # Gone by now; or not quite there: a program that was killed may have asked for it just before.
                pass
        return not there
    until("the topics are gone", gone)


GATEWAY_RIGHTS = [
    (ResourceType.TOPIC, "plant", ResourcePatternType.LITERAL, AclOperation.READ),
    (ResourceType.TOPIC, "plant", ResourcePatternType.LITERAL, AclOperation.WRITE),
    (ResourceType.TOPIC, "plant", ResourcePatternType.LITERAL, AclOperation.CREATE),
    (ResourceType.TOPIC, "__mqtt_", ResourcePatternType.PREFIXED, AclOperation.CREATE),
    (ResourceType.TOPIC, "__mqtt_", ResourcePatternType.PREFIXED, AclOperation.READ),
    (ResourceType.TOPIC, "__mqtt_", ResourcePatternType.PREFIXED, AclOperation.WRITE),
    (ResourceType.TRANSACTIONAL_ID, "tributary-mqtt", ResourcePatternType.PREFIXED, AclOperation.WRITE),
]
BRIDGE_RIGHTS = [
    (ResourceType.TOPIC, "plant", ResourcePatternType.LITERAL, AclOperation.WRITE),
    (ResourceType.TOPIC, "plant.dead-letter", ResourcePatternType.LITERAL, AclOperation.CREATE),
    (ResourceType.TOPIC, "plant.dead-letter", ResourcePatternType.LITERAL, AclOperation.WRITE),
    (ResourceType.TOPIC, "tributary-bridge-state", ResourcePatternType.LITERAL, AclOperation.CREATE),
    (ResourceType.TOPIC, "tributary-bridge-state", ResourcePatternType.LITERAL, AclOperation.READ),
    (ResourceType.TOPIC, "tributary-bridge-state", ResourcePatternType.LITERAL, AclOperation.WRITE),
    (ResourceType.TRANSACTIONAL_ID, "acl-bridge", ResourcePatternType.PREFIXED, AclOperation.WRITE),
    (ResourceType.TOPIC, "orders", ResourcePatternType.LITERAL, AclOperation.READ),
    (ResourceType.GROUP, "acl-bridge", ResourcePatternType.PREFIXED, AclOperation.READ),
]


def rights(user, wanted):
    """These, and no others."""
    everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, "User:" + user, None, AclOperation.ANY, AclPermissionType.ANY)
    wait_for(ADMIN.delete_acls([everything]))
    bindings = [AclBinding(kind, name, pattern, "User:" + user, "*", operation, AclPermissionType.ALLOW) for kind, name, pattern, operation in wanted]
    if bindings:
        wait_for(ADMIN.create_acls(bindings))


@atexit.register
def stop_all():
    for process in PROCESSES:
        if process.process.poll() is None:
            process.kill()


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
CLUSTER = real_kafka.RealCluster(3, {"auto.create.topics.enable": "false"}, users={"gateway": "secret", "bridge": "secret"})
ADMIN = AdminClient({"bootstrap.servers": CLUSTER.bootstrap})


@check("Kafka away for %g s under load" % a.away)
def _():
    create("flood"), create("sent"), create("through")
    node, broker = gateway("away", CLUSTER.bootstrap), mosquitto("away-mosquitto")
    link = bridge("away-bridge", broker, CLUSTER.bootstrap, """
        [[route]]
        from = "mqtt"
        filter = "through/#"
        topic = "through"
        buffer_bytes = 8000000
        """)
    watcher, careful = Client(node.port, "watcher", clean=False), Client(node.port, "careful", clean=False)
    watcher.subscribe("sent/#", 2)
    feeder = Client(broker.port, "feeder", clean=False)
    equal(careful.publish("sent/a", "before", 2)[0], 0)
    equal(feeder.publish("through/a", "before", 2)[0], 0)
    until("all are through", lambda: metric(link, "delivered_total") == 1)
    # (Who connects while the cluster is away waits for its CONNACK.)
    floods = [Flood(node.port, "flood-%d" % n, "flood/%d" % n, 300, 100_000) for n in range(8)]
    before = {process: process.memory_mb() for process in (node, link)}
    most = dict(before)
    CLUSTER.pause()
    began = time.monotonic()
    try:
        # 240 MB to the gateway, 60 MB to Mosquitto.
        for flood in floods:
            flood.start()
        mids = [careful.send("sent/a", "%d" % n, 2) for n in range(50)]
        for n in range(300):
            feeder.send("through/a", "%d:" % n + "." * 200_000, 1 + n % 2)
        while time.monotonic() < began + a.away:
            for process in most:
                most[process] = max(most[process], process.memory_mb())
            time.sleep(0.1)
        acknowledged = sum(flood.acknowledged for flood in floods)
        equal(acknowledged, 0)
        sent = sum(flood.sent for flood in floods)
        if sent > 2000:
            raise AssertionError("publishers are not slowed: %d of 2400 messages were taken" % sent)
        equal([flood.problem for flood in floods], [None] * 8)
        equal([mid for mid in mids if mid in careful.answers], [])
        equal(careful.lost + watcher.lost, 0)
        if a.away >= 20:
            equal(get(link, "/readyz") == "ready\n", False)
    finally:
        CLUSTER.resume()
    until("every publisher has its acks", lambda: all(flood.acknowledged == 300 for flood in floods), 180)
    until("QoS 2 too", lambda: all(mid in careful.answers for mid in mids))
    equal({careful.answers[mid][0].value for mid in mids}, {0})
    until("the bridge has delivered all", lambda: metric(link, "delivered_total") == 301, 180)
    stored = [m.value().split(b":")[0].decode() + m.key().decode() for m in values("flood", enough=2400)]
    for n in range(8):
        own = [value for value in stored if value.endswith("flood/%d" % n)]
        equal(own, ["%dflood/%d" % (i, n) for i in range(300)])
    equal(texts(values("sent", enough=51)), ["before"] + ["%d" % n for n in range(50)])
    until("the subscriber has all", lambda: len(watcher.got) >= 51)
    equal([text for _, text in watcher.got], ["before"] + ["%d" % n for n in range(50)])
    through = [m.value().split(b":")[0].decode() for m in values("through", enough=301)]
    equal(sorted(through), sorted(["before"] + ["%d" % n for n in range(300)]))
    for client in (watcher, careful, feeder):
        client.end()
    grown = {process: most[process] - before[process] for process in most}
    said = "of 240 MB %d MB were taken; the gateway grew by %d MB, the bridge by %d MB" % (sent / 10, grown[node], grown[link])
    # Debug builds and malloc's slack included.
    if grown[node] > 250 or grown[link] > 100:
        raise AssertionError(said)
    equal([process.stop() for process in (node, link)], [0, 0])
    broker.kill()
    return said


@check("gateway: a record that is too large is refused, the next is not")
def _():
    node, small = gateway("large", CLUSTER.bootstrap), "small-%d" % time.time_ns()
    create(small, max_message_bytes="10000")
    c = Client(node.port, "large")
    code, why = c.publish(small + "/a", "x" * 20_000, 1)
    equal(code, 0x97)
    if small not in why or "large" not in why:
        raise AssertionError(why)
    # paho does not tell what PUBREC says.
    c.publish(small + "/a", "x" * 20_000, 2)
    for qos in (1, 2):
        equal(c.publish(small + "/a", "fits", qos)[0] & 0x80, 0)
    equal(c.lost, 0)
    equal(texts(values(small, enough=2)), ["fits", "fits"])
    c.end()
    equal(node.stop(), 0)


@check("gateway: what an MQTT 3 client cannot be told becomes a dead letter, and nothing waits for it")
def _():
    node, small = gateway("letters", CLUSTER.bootstrap), "old-%d" % time.time_ns()
    create(small, max_message_bytes="10000")
    for clean in (True, False):
        c = Client(node.port, "letters", clean, version=mqtt.MQTTv311)
        for qos in (1, 2):
            c.publish(small + "/a", "%d" % qos * 20_000, qos)
            c.publish(small + "/a", "behind", qos)
        c.publish(small + "/r", "r" * 20_000, 1, retain=True)
        equal(c.lost, 0)
        c.end()
    equal(texts(values(small, enough=4)), ["behind"] * 4)
    letters = values(small + ".dead-letter", enough=6)
    equal(sorted(texts(letters)), sorted(["1" * 20_000, "2" * 20_000, "r" * 20_000] * 2))
    equal({m.key().decode() for m in letters}, {small + "/a", small + "/r"})
    equal({header(m, "tributary.topic") for m in letters}, {small})
    equal(node.stop(), 0)
    return header(letters[0], "tributary.error")


@check("gateway: a topic that is deleted underneath is made again, and followed")
def _():
    node, topic = gateway("deleted", CLUSTER.bootstrap), "deleted-%d" % time.time_ns()
    c = Client(node.port, "deleted")
    c.subscribe(topic + "/#", 1)
    equal(c.publish(topic + "/a", "old", 1)[0] & 0x80, 0)
    until("it came", lambda: c.got)
    delete(topic)
    # Refused, or held up, until the gateway knows; never lost with an ack, never the end of the connection.
    until("a message is accepted again", lambda: c.publish(topic + "/a", "new", 1)[0] & 0x80 == 0)
    until("subscribers go on", lambda: c.got[-1] == (topic + "/a", "new"))
    equal(set(texts(values(topic))), {"new"})
    equal(c.lost, 0)
    c.end()
    equal(node.stop(), 0)


@check("gateway: not enough replicas: refused after delivery.timeout.ms, nobody else waits")
def _():
    strict = "strict-%d" % time.time_ns()
    create(strict, min_insync_replicas="3")
    node = gateway("replicas", CLUSTER.bootstrap, "delivery.timeout.ms=4000\nrequest.timeout.ms=2000\n")
    stuck, other = Client(node.port, "stuck"), Client(node.port, "other")
    equal(stuck.publish(strict + "/a", "before")[0] & 0x80, 0)
    CLUSTER.kill(3)
    try:
        until("the broker is missed", lambda: len(ADMIN.list_topics(strict, WAIT).topics[strict].partitions[0].isrs) == 2)
        equal(other.publish("sent/b", "warm")[0] & 0x80, 0)
        mid = stuck.send(strict + "/a", "stuck")
        accepted = 0
        while mid not in stuck.answers:
            equal(other.publish("sent/b", "meanwhile")[0] & 0x80, 0)
            accepted += 1
        reason, properties = stuck.answers[mid]
        equal(reason.value, 0x97)
        if accepted < 2:
            raise AssertionError("the others waited, too")
        why = properties.ReasonString
    finally:
        CLUSTER.start(3)
    until("the broker is back", lambda: len(ADMIN.list_topics(strict, WAIT).topics[strict].partitions[0].isrs) == 3)
    equal(stuck.publish(strict + "/a", "after")[0] & 0x80, 0)
    equal(stuck.lost + other.lost, 0)
    for c in (stuck, other):
        c.end()
    equal(node.stop(), 0)
    return "%r; %d messages of others meanwhile" % (why, accepted)


@check("gateway: a backlog in Kafka and a subscriber that comes late over a restart")
def _():
    create("backlog")
    node = gateway("late", CLUSTER.bootstrap)
    c = Client(node.port, "late", clean=False)
    c.subscribe("backlog/#", 1)
    c.end()
    node.kill()
    producer = confluent_kafka.Producer({"bootstrap.servers": CLUSTER.bootstrap})
    for n in range(3000):
        producer.produce("backlog", key="backlog/a", value="%d" % n)
    equal(producer.flush(WAIT), 0)
    node.start()
    time.sleep(1)
    c = Client(node.port, "late", clean=False)
    until("the backlog comes", lambda: len(c.got) >= 3000)
    equal([text for _, text in c.got], ["%d" % n for n in range(3000)])
    c.end()
    equal(node.stop(), 0)


@check("an all-in-one node's topics are copied to the cluster, and go on")
def _():
    topics_gone("plant", "__mqtt_nodes", "__mqtt_sessions", "__mqtt_retained")
    mqtt_port, kafka = real_kafka.free_port(), "127.0.0.1:%d" % real_kafka.free_port()
    node = Process("all-in-one", [OURS, "serve", "--console", "off", "--data", os.path.join(FOLDER, "all-in-one"), "--mqtt",
                                  "127.0.0.1:%d" % mqtt_port, "--kafka", kafka])
    c = Client(mqtt_port, "before")
    for n in range(20):
        equal(c.publish("plant/%d" % (n % 3), "%d" % n, 1 + n % 2, retain=n >= 17)[0] & 0x80, 0)
    c.end()
    # As MirrorMaker does, with IdentityReplicationPolicy; its own run is in mirror.py.
    create("plant")
    wait_for(ADMIN.create_topics([NewTopic("__mqtt_retained", 4, 3, config={"cleanup.policy": "compact"})]))
    producer = confluent_kafka.Producer({"bootstrap.servers": CLUSTER.bootstrap})
    for topic, count in (("plant", 20), ("__mqtt_retained", 3)):
        for m in values(topic, kafka, count):
            producer.produce(topic, m.value(), m.key(), m.partition(), timestamp=m.timestamp()[1], headers=m.headers())
    equal(producer.flush(WAIT), 0)
    equal(node.stop(), 0)
    node = gateway("moved", CLUSTER.bootstrap)
    c = Client(node.port, "after", clean=False)
    c.subscribe("plant/#", 2)
    until("the retained messages come", lambda: len(c.got) == 3)
    equal(sorted(c.got), sorted(("plant/%d" % (n % 3), "%d" % n) for n in (17, 18, 19)))
    for n in range(20, 30):
        equal(c.publish("plant/%d" % (n % 3), "%d" % n, 1 + n % 2)[0] & 0x80, 0)
    until("it goes on", lambda: len(c.got) == 13)
    c.end()
    equal(texts(values("plant", enough=30)), ["%d" % n for n in range(30)])
    equal(node.stop(), 0)


@check("a bridge is replaced by a gateway on what it has written")
def _():
    topics_gone("readings")
    create("readings")
    broker = mosquitto("replaced-mosquitto")
    link = bridge("replaced", broker, CLUSTER.bootstrap, "[[route]]\nfrom = \"mqtt\"\nfilter = \"sensors/#\"\ntopic = \"readings\"\n")
    c = Client(broker.port, "before")
    for n in range(20):
        c.publish("sensors/%d" % (n % 3), "%d" % n, 1, retain=n >= 17)
    until("the bridge has delivered all", lambda: metric(link, "delivered_total") == 20)
    node = gateway("replacing", CLUSTER.bootstrap, more=["--set", "mqtt.route.readings = sensors/# -> readings"])
    # The command of docs/bridge.md.
    subprocess.run(["sh", "-c", "mosquitto_sub -p {0} -t '#' --retained-only -W 2 -F %t | sort -u | while read -r t; do "
                    "mosquitto_sub -p {0} -t \"$t\" --retained-only -C 1 -N | mosquitto_pub -p {1} -t \"$t\" -r -q 1 -s; done"
                    .format(broker.port, node.port)], check=True, timeout=WAIT)
    c.end()
    c = Client(node.port, "after")
    c.subscribe("sensors/#", 1)
    until("the retained messages come", lambda: len(c.got) == 3)
    equal(sorted(c.got), sorted(("sensors/%d" % (n % 3), "%d" % n) for n in (17, 18, 19)))
    for n in range(20, 30):
        equal(c.publish("sensors/%d" % (n % 3), "%d" % n, 1)[0] & 0x80, 0)
    until("it goes on", lambda: len(c.got) == 13)
    found = values("readings", enough=33)
    keys = {}
    for m in found:
        keys.setdefault(m.key().decode(), []).append(int(m.value()))
    # Each MQTT topic in its order, the retained message once more in between.
    equal(keys, {"sensors/%d" % k: [n for n in range(20) if n % 3 == k] + [n for n in (17, 18, 19) if n % 3 == k] +
                 [n for n in range(20, 30) if n % 3 == k] for k in range(3)})
    c.end()
    equal([link.stop(), node.stop()], [0, 0])
    broker.kill()


def gateway_works(node):
    """None, or what went wrong, in the words of the gateway."""
    try:
        c = Client(node.port, "acl-%d" % time.time_ns(), clean=False)
    except Refused:
        return node.said()
    try:
        c.subscribe("plant/#", 2)
        for qos in (1, 2):
            code, why = c.publish("plant/a", "%d" % qos, qos, retain=qos == 2)
            if code & 0x80:
                return "%#x %s" % (code, why)
        deadline = time.monotonic() + 8
        while len(c.got) < 2:
            if time.monotonic() > deadline or "uthoriz" in node.said():
                return "nothing comes: " + node.said()[-2000:]
            time.sleep(0.02)
        return None
    finally:
        c.end()


@check("gateway: the rights that docs/gateway.md lists are enough, and each is needed")
def _():
    for missing in [None] + GATEWAY_RIGHTS:
        topics_gone("plant", "__mqtt_nodes", "__mqtt_sessions", "__mqtt_retained")
        rights("gateway", [right for right in GATEWAY_RIGHTS if right != missing])
        node = gateway("acl-%d" % time.time_ns(), CLUSTER.sasl, named("gateway"))
        why = node.refused if node.refused is not None else gateway_works(node)
        if why is None:
            # It reads what it has written.
            node.kill()
            node.start()
            why = node.refused if node.refused is not None else gateway_works(node)
        if node.refused is None:
            node.kill()
        what = "all rights" if missing is None else "without %s on %s" % (missing[3].name, missing[1])
        if (why is None) != (missing is None):
            raise AssertionError("%s: %s" % (what, why))
        if why and "uthoriz" not in why:
            raise AssertionError("%s is not told clearly: %s" % (what, why))
        print("   %s: %s" % (what, "works" if why is None else why.strip().splitlines()[-1][:200]), flush=True)


@check("bridge: deleted (--all), too large, not authorized become dead letters, and nothing waits for them")
def _():
    create("plant2"), create("small2", max_message_bytes="10000"), create("gone2"), create("secret2")
    rights("bridge", BRIDGE_RIGHTS + [(ResourceType.TOPIC, name, ResourcePatternType.PREFIXED, operation) for name in ("plant2", "small2", "gone2", "secret2.")
                                      for operation in (AclOperation.WRITE, AclOperation.CREATE)])
    broker = mosquitto("poison-mosquitto")
    login = "\n".join("\"%s\" = '%s'" % tuple(line.split("=", 1)) for line in named("bridge").split("\n") if line)
    link = bridge("acl-bridge-poison", broker, CLUSTER.sasl, """
        [[route]]
        from = "mqtt"
        filter = ["plant2/#", "small2/#", "gone2/#", "secret2/#"]
        """, login)
    if link.refused is not None:
        raise AssertionError(link.refused)
    feeder = Client(broker.port, "feeder", clean=False)
    for qos in (1, 2):
        feeder.publish("gone2/a", "there", qos)
    until("all are through", lambda: metric(link, "delivered_total") == 2)
    delete("gone2")
    # That a topic is gone is believed after half a minute.
    gone = (1, 2) if a.all else ()
    for qos in (1, 2):
        feeder.publish("small2/a", "x" * 20_000, qos)
        feeder.publish("secret2/a", "secret", qos)
        if qos in gone:
            feeder.publish("gone2/a", "gone", qos)
        feeder.publish("plant2/a", "behind", qos)
    until("nothing waits", lambda: metric(link, "delivered_total") + metric(link, "dead_letters_total") == 8 + len(gone), 150)
    equal(texts(values("plant2", enough=2)), ["behind"] * 2)
    for topic, value, count in (("small2", "x" * 20_000, 2), ("secret2", "secret", 2), ("gone2", "gone", len(gone))):
        if not count:
            continue
        letters = values(topic + ".dead-letter", enough=count)
        equal(texts(letters), [value] * count)
        print("   %s: %s" % (topic, header(letters[0], "tributary.error")), flush=True)
    feeder.end()
    equal(link.stop(), 0)
    broker.kill()


@check("bridge: what the MQTT broker refuses becomes a dead letter, and nothing waits for it")
def _():
    create("orders2")
    acl = file("orders.acl", "topic readwrite #\ntopic deny orders2/secret\n")
    broker = mosquitto("orders-mosquitto", "acl_file %s\nmax_packet_size 50000\n" % acl)
    link = bridge("orders-bridge", broker, CLUSTER.bootstrap, """
        [[route]]
        from = "kafka"
        topic = "orders2"
        """)
    listener = Client(broker.port, "listener")
    listener.subscribe("orders2/#", 1)
    producer = confluent_kafka.Producer({"bootstrap.servers": CLUSTER.bootstrap})
    for key, value in (("orders2/secret", "secret"), ("orders2/a", "y" * 60_000), ("orders2/a", "behind")):
        producer.produce("orders2", key=key, value=value, headers={"unit": "C"})
    equal(producer.flush(WAIT), 0)
    until("nothing waits", lambda: metric(link, "dead_letters_total") == 2 and metric(link, "delivered_total") == 1)
    until("what is behind comes", lambda: listener.got)
    equal(listener.got, [("orders2/a", "behind")])
    letters = values("orders2.dead-letter", enough=2)
    equal(sorted((m.key().decode(), m.value().decode()) for m in letters), [("orders2/a", "y" * 60_000), ("orders2/secret", "secret")])
    equal({header(m, "unit") for m in letters}, {"C"})
    equal({header(m, "tributary.topic") for m in letters}, {"orders2"})
    equal({header(m, "tributary.offset") for m in letters}, {"0", "1"})
    # Its offsets are committed: nothing comes again.
    equal(link.stop(), 0)
    link.start()
    producer.produce("orders2", key="orders2/a", value="later")
    equal(producer.flush(WAIT), 0)
    until("it goes on", lambda: len(listener.got) == 2)
    equal(listener.got, [("orders2/a", "behind"), ("orders2/a", "later")])
    equal(metric(link, "dead_letters_total"), 0)
    listener.end()
    equal(link.stop(), 0)
    broker.kill()
    return "; ".join(sorted(header(m, "tributary.error") for m in letters))


@check("bridge: a backlog in Kafka and a subscriber that comes late over restarts")
def _():
    create("late2")
    broker = mosquitto("late-mosquitto")
    route = "[[route]]\nfrom = \"kafka\"\ntopic = \"late2\"\n"
    listener = Client(broker.port, "late", clean=False)
    listener.subscribe("late2/#", 1)
    listener.end()
    producer = confluent_kafka.Producer({"bootstrap.servers": CLUSTER.bootstrap})
    for n in range(3000):
        producer.produce("late2", key="late2/a", value="%d" % n)
    equal(producer.flush(WAIT), 0)
    link = bridge("late-bridge", broker, CLUSTER.bootstrap, route)
    until("some are through", lambda: metric(link, "delivered_total") > 100)
    link.kill()
    link.start()
    until("all are through", lambda: metric(link, "in_flight") == 0 and metric(link, "delivered_total") > 0)
    listener = Client(broker.port, "late", clean=False)
    until("the backlog comes", lambda: {text for _, text in listener.got} == {"%d" % n for n in range(3000)})
    first = list(dict.fromkeys(text for _, text in listener.got))
    equal(first, ["%d" % n for n in range(3000)])
    listener.end()
    equal(link.stop(), 0)
    broker.kill()
    return "%d doubled by the kill" % (len(listener.got) - 3000)


def bridge_works(link, broker):
    feeder, listener = Client(broker.port, "acl-feeder", clean=False), Client(broker.port, "acl-listener")
    try:
        listener.subscribe("down/#", 1)
        for qos in (1, 2):
            feeder.publish("up/a", "%d" % qos, qos)
        feeder.publish("up/a", "x" * 20_000, 1)
        producer = confluent_kafka.Producer({"bootstrap.servers": CLUSTER.bootstrap})
        producer.produce("orders", key="down/a", value="down")
        producer.flush(WAIT)
        deadline = time.monotonic() + 15
        while not (metric(link, "dead_letters_total") == 1 and listener.got and metric(link, "delivered_total") == 3):
            if link.process.poll() is not None or time.monotonic() > deadline or "uthoriz" in link.said():
                return link.said()
            time.sleep(0.05)
        return None
    except OSError:
        link.process.wait(WAIT)
        return link.said()
    finally:
        feeder.end()
        listener.end()


@check("bridge: the rights that docs/bridge.md lists are enough, and each is needed")
def _():
    login = "\n".join("\"%s\" = '%s'" % tuple(line.split("=", 1)) for line in named("bridge").split("\n") if line)
    for number, missing in enumerate([None] + BRIDGE_RIGHTS):
        topics_gone("plant", "plant.dead-letter", "tributary-bridge-state", "orders")
        create("plant", max_message_bytes="10000"), create("orders")
        rights("bridge", [right for right in BRIDGE_RIGHTS if right != missing])
        broker = mosquitto("acl-mosquitto-%d" % number)
        link = bridge("acl-bridge-%d" % number, broker, CLUSTER.sasl, """
            [[route]]
            from = "mqtt"
            filter = "up/#"
            topic = "plant"
            [[route]]
            from = "kafka"
            topic = "orders"
            filter = "down/#"
            """, login)
        why = link.refused if link.refused is not None else bridge_works(link, broker)
        if why is None:
            # It reads what it has written.
            equal(link.stop(), 0)
            link.start()
            why = link.refused if link.refused is not None else bridge_works(link, broker)
        link.kill()
        broker.kill()
        what = "all rights" if missing is None else "without %s on %s" % (missing[3].name, missing[1])
        if (why is None) != (missing is None):
            raise AssertionError("%s: %s" % (what, why))
        if why and "uthoriz" not in why:
            raise AssertionError("%s is not told clearly: %s" % (what, why))
        line = "works" if why is None else next(l for l in reversed(why.strip().splitlines()) if "uthoriz" in l)
        print("   %s: %s" % (what, line[:250]), flush=True)


stop_all()
shutil.rmtree(FOLDER, ignore_errors=True) if not checks.failed else print("logs in", FOLDER)
finish()
