#!/usr/bin/env python3
"""`tributary bridge` between Mosquitto or our MQTT broker and Apache Kafka (three brokers) or our Kafka, in all four mixes; and what
is lost or doubled when bridge, MQTT broker or one of the Kafka brokers are killed under load. Beside it what Mosquitto itself loses
when it is killed, with Mosquitto's own subscriber instead of the bridge.

  bridge.py --ours PATH [--all] [--rounds N] [--messages N] [--only TEXT]

Without `--all` each victim is killed in one mix only. `--rounds` kills for each (default 1). `--only` runs the checks with TEXT in
their names. Ends with `N passed, M failed`."""
import argparse, json, os, random, re, shutil, signal, subprocess, tempfile, time, urllib.request
import checks, real_kafka
from checks import WAIT, check, finish, until

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
p.add_argument("--rounds", type=int, default=1)
p.add_argument("--all", action="store_true", help="kill each victim in every mix")
p.add_argument("--messages", type=int, default=500, help="of each QoS in a round")
p.add_argument("--only", default="")
p.add_argument("--seed", type=int, default=None)
a = p.parse_args()
OURS = os.path.abspath(a.ours)
checks.only = a.only
random.seed(a.seed)


def run(command, inp=None, timeout=WAIT):
    r = subprocess.run(command, input=inp, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                       stdin=subprocess.DEVNULL if inp is None else None)
    if r.returncode:
        raise AssertionError("%s: exit %s\n%s" % (command, r.returncode, r.stderr.decode(errors="replace")))
    return r.stdout


PROCESSES = []
FOLDER = tempfile.mkdtemp(prefix="bridge-")


class Process:
    """A process that is started again with the same command and data after it was killed."""

    def __init__(self, name, command, ready):
        self.name, self.command, self.ready = name, command, ready
        self.log = os.path.join(FOLDER, name + ".log")
        self.process = None
        PROCESSES.append(self)
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        self.lines = []
        if self.ready:
            for line in self.process.stdout:
                self.lines.append(line.strip())
                if line.strip() == self.ready:
                    return
            raise AssertionError("%s did not start:\n%s" % (self.name, open(self.log).read()[-3000:]))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=30):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def accepts(port):
    import socket
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", int(port))) == 0


class Mosquitto:
    """Keeps sessions in a file that it writes after each change."""

    def __init__(self):
        self.port = str(real_kafka.free_port())
        data = os.path.join(FOLDER, "mosquitto")
        os.makedirs(data)
        os.chmod(data, 0o777)
        conf = os.path.join(FOLDER, "mosquitto.conf")
        with open(conf, "w") as f:
            f.write("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\npersistence true\npersistence_location %s/\n"
                    "autosave_on_changes true\nautosave_interval 1\nuser root\n" % (self.port, data))
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self.process = Process("mosquitto", [program, "-c", conf], None)
        until("Mosquitto listens", lambda: accepts(self.port))

    def kill(self):
        self.process.kill()

    def start(self):
        self.process.start()
        until("Mosquitto listens", lambda: accepts(self.port))


class Node:
    """Our server with fixed ports."""

    def __init__(self, name):
        self.port, kafka = str(real_kafka.free_port()), real_kafka.free_port()
        self.bootstrap = "127.0.0.1:%d" % kafka
        self.process = Process(name, [OURS, "serve", "--data", os.path.join(FOLDER, name), "--mqtt", "127.0.0.1:" + self.port, "--kafka",
                                      self.bootstrap, "--console", "off"], "ready")

    def kill(self):
        self.process.kill()

    def start(self):
        self.process.start()


class RealKafka:
    """Apache Kafka with three brokers, of which another one is killed each time."""

    def __init__(self):
        self.cluster = real_kafka.RealCluster()
        self.bootstrap, self.next = self.cluster.bootstrap, 0

    def kill(self):
        self.broker = self.cluster.ids[self.next % len(self.cluster.ids)]
        self.next += 1
        self.cluster.kill(self.broker)

    def start(self):
        # Down for as long as it takes until it is missed.
        time.sleep(4)
        self.cluster.start(self.broker)
        until("all replicas are in sync again", self.in_sync, 90)

    def in_sync(self):
        listed = json.loads(run(["kcat", "-L", "-J", "-b", self.bootstrap]))
        return all(len(p["isrs"]) == len(p["replicas"]) for t in listed["topics"] for p in t["partitions"])

    def stop(self):
        self.cluster.stop()


number = 0


class Bridge(Process):
    def __init__(self, mqtt, kafka, filter, topic, file=None):
        global number
        number += 1
        self.http = "127.0.0.1:%d" % real_kafka.free_port()
        what = ["--config", file] if file else ["--filter", filter, "--topic", topic]
        super().__init__("bridge-%d" % number, [OURS, "bridge", "--mqtt", "127.0.0.1:" + mqtt.port, "--kafka", kafka.bootstrap, "--name",
                                                "bridge-%d" % number, "--metrics", self.http, *what], "ready")

    def get(self, path):
        try:
            with urllib.request.urlopen("http://%s%s" % (self.http, path), timeout=5) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def metric(self, name):
        return sum(int(n) for n in re.findall(r"^tributary_bridge_%s{.*} (\d+)$" % name, self.get("/metrics"), re.M))


def records(kafka, topic):
    """(key, value, headers) of all committed records; none while Kafka does not know the topic, or a partition has no leader."""
    try:
        out = run(["kcat", "-C", "-b", kafka.bootstrap, "-t", topic, "-o", "beginning", "-e", "-q", "-J", "-X", "isolation.level=read_committed"])
    except AssertionError as error:
        if any(passing in str(error) for passing in ("Unknown topic or partition", "Leader not available", "transport failure", "Timed out")):
            return []
        raise
    rows = [json.loads(line) for line in out.decode().splitlines()]
    return [(r["key"], r["payload"], list(zip(r.get("headers", [])[::2], r.get("headers", [])[1::2]))) for r in rows]


def publish(mqtt, topic, text, qos, *more):
    run(["mosquitto_pub", "-V", "5", "-p", mqtt.port, "-t", topic, "-s", "-q", str(qos), *more], inp=text.encode())


MQTT = {"Mosquitto": Mosquitto, "our MQTT": lambda: Node("mqtt")}
KAFKA = {"Apache Kafka": RealKafka, "our Kafka": lambda: Node("kafka")}
started = {}


def server(kinds, name):
    if name not in started:
        started[name] = kinds[name]()
    return started[name]


LARGE = 200_000


def flow(mqtt, kafka, topic):
    run([OURS, "kafka-topics", "--bootstrap-server", kafka.bootstrap, "--create", "--topic", topic, "--config", "max.message.bytes=10000"])
    bridge = Bridge(mqtt, kafka, topic + "/#", topic)
    for qos in (0, 1, 2):
        publish(mqtt, topic + "/a", "at %d" % qos, qos, "-D", "PUBLISH", "user-property", "unit", "C", "-D", "PUBLISH", "content-type", "text/plain")
    # One that Kafka does not take, and one behind it.
    publish(mqtt, topic + "/large", "x" * LARGE, 1)
    publish(mqtt, topic + "/large", "y" * LARGE, 2)
    publish(mqtt, topic + "/b", "behind", 1)
    publish(mqtt, topic + "/b", "behind", 2)
    until("all is through", lambda: bridge.metric("delivered_total") + bridge.metric("dead_letters_total") == 7)
    headers = lambda qos: [("mqtt.qos", str(qos)), ("unit", "C"), ("mqtt.content-type", "text/plain")]
    expected = [(topic + "/a", "at %d" % qos, headers(qos)) for qos in (0, 1, 2)] + \
               [(topic + "/b", "behind", [("mqtt.qos", str(qos))]) for qos in (1, 2)]
    got = records(kafka, topic)
    assert sorted(got) == sorted(expected), got
    letters = records(kafka, topic + ".dead-letter")
    for qos, letter in (("1", "x"), ("2", "y")):
        parts = [value for key, value, h in letters if dict(h)["mqtt.qos"] == qos]
        assert "".join(parts) == letter * LARGE, "%d parts" % len(parts)
    assert bridge.get("/readyz") == "ready\n" and bridge.get("/healthz") == "ok\n"
    # While it is away the broker keeps what it subscribed to.
    assert bridge.stop() == 0
    publish(mqtt, topic + "/away", "while away", 1)
    publish(mqtt, topic + "/away", "while away", 2)
    bridge.start()
    until("what came meanwhile is through", lambda: len(records(kafka, topic)) == 7)
    assert bridge.stop() == 0


def both_ways(mqtt, kafka, topic):
    """Commands down, readings up, in one Kafka topic and under one filter: nothing goes round."""
    run([OURS, "kafka-topics", "--bootstrap-server", kafka.bootstrap, "--create", "--topic", topic])
    file = os.path.join(FOLDER, topic + ".toml")
    with open(file, "w") as f:
        f.write("""
            [mqtt]
            address = "from the command line"
            [kafka]
            bootstrap.servers = "from:1"
            [[route]]
            from = "mqtt"
            filter = "%s/#"
            topic = "%s"
            [[route]]
            from = "kafka"
            topic = "%s"
            filter = "%s/#"
            """ % (topic, topic, topic, topic))
    bridge = Bridge(mqtt, kafka, None, None, file)
    got = os.path.join(FOLDER, topic + ".out")
    with open(got, "w") as out:
        subscriber = subprocess.Popen(["mosquitto_sub", "-V", "5", "-p", mqtt.port, "-t", topic + "/#", "-q", "1", "-F", "%t %p %P"], stdout=out)
    commands = ["%s/d%d" % (topic, n) for n in range(50)]
    produce = lambda keys: run(["kcat", "-P", "-b", kafka.bootstrap, "-t", topic, "-K", "=", "-H", "unit=C"], inp="".join(k + "=on\n" for k in keys).encode())
    lines = lambda: [line.split() for line in open(got).read().splitlines()]
    # The subscriber stands when the first message comes; what was published before it stood has only the bridge.
    hellos = 0

    def stands():
        nonlocal hellos
        publish(mqtt, topic + "/up", "hello", 1)
        hellos += 1
        return lines()

    until("the subscriber stands", stands)
    produce(commands)
    until("every command is published", lambda: {l[0] for l in lines()} >= set(commands))
    assert bridge.stop() == 0
    produce([topic + "/later"])
    bridge.start()
    until("what came meanwhile is published", lambda: any(l[0] == topic + "/later" for l in lines()))
    until("all is acknowledged", lambda: bridge.metric("in_flight") == 0)
    published = [l[0] for l in lines() if l[0] != topic + "/up"]
    assert published == commands + [topic + "/later"], published
    assert all(l[1] == "on" and "unit:C" in l[2:] for l in lines() if l[0] != topic + "/up"), lines()
    # Neither came back: in Kafka are the commands and what was published, once.
    keys = [key for key, _, _ in records(kafka, topic)]
    assert sorted(k for k in keys if k != topic + "/up") == sorted(commands + [topic + "/later"]), keys
    assert keys.count(topic + "/up") == hellos
    assert bridge.stop() == 0
    subscriber.kill()
    subscriber.wait()


def quiet(measure):
    """Waits until a measure has stood still for ten seconds."""
    last, since = measure(), time.monotonic()
    while time.monotonic() < since + 10:
        time.sleep(0.2)
        now = measure()
        if now != last:
            last, since = now, time.monotonic()


def publish_over_kills(mqtt, topic, target):
    """Numbered messages at QoS 1 and 2 while `target` is killed and started again; answers which of each QoS the MQTT broker has
    acknowledged for sure. (mosquitto_pub gives up now and then when its broker is killed; nobody knows then what was acknowledged.)"""
    sent, acknowledged = 0, {1: set(), 2: set()}
    for _ in range(a.rounds):
        pubs = {}
        numbers = range(sent, sent + a.messages)
        lines = "".join("%d\n" % n for n in numbers).encode()
        sent += a.messages
        for qos in (1, 2):
            pubs[qos] = subprocess.Popen(["mosquitto_pub", "-p", mqtt.port, "-t", "%s/q%d" % (topic, qos), "-q", str(qos), "-l", "-c", "-i",
                                          "%s-pub-%d" % (topic, qos), "-V", "311"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rest = {1: lines, 2: lines}
        step = max(1, len(lines) // 20)
        kill_at = random.randrange(0, 20)
        for n in range(21):
            for qos, pub in pubs.items():
                piece, rest[qos] = rest[qos][:step], rest[qos][step:]
                try:
                    pub.stdin.write(piece)
                    pub.stdin.flush()
                except BrokenPipeError:
                    pass
            time.sleep(random.random() * 0.02)
            if n == kill_at:
                target.kill()
                time.sleep(random.random() * 0.3)
                target.start()
        for qos, pub in pubs.items():
            try:
                pub.stdin.close()
            except BrokenPipeError:
                pass
            if pub.wait(WAIT * 2) == 0:
                acknowledged[qos].update(numbers)
    return acknowledged


def compared(acknowledged, q1, q2):
    """Missing and doubled of each QoS, and both as text."""
    missing = [len(acknowledged[qos] - set(q)) for qos, q in ((1, q1), (2, q2))]
    doubled = [len(q) - len(set(q)) for q in (q1, q2)]
    counts = tuple(len(acknowledged[qos]) for qos in (1, 2))
    return missing, doubled, "%d kills, %d and %d messages acknowledged; missing %s, doubled %s (QoS 1, 2)" % (a.rounds, *counts, missing, doubled)


def kill_rounds(mqtt, kafka, topic, victim):
    """What is in Kafka, with the bridge, after `victim` was killed."""
    bridge = Bridge(mqtt, kafka, topic + "/#", topic)
    target = {"bridge": bridge, "MQTT": mqtt, "Kafka": kafka}[victim]
    strict = not (victim == "MQTT" and isinstance(mqtt, Mosquitto))
    acknowledged = publish_over_kills(mqtt, topic, target)

    def seen(qos):
        return [int(value) for key, value, _ in records(kafka, topic) if key == "%s/q%d" % (topic, qos)]

    def complete():
        return all(set(seen(qos)) >= acknowledged[qos] for qos in (1, 2))

    if strict:
        until("every message is in Kafka", complete, 90)
        # Nothing more comes: what is doubled would have come by now.
        until("nothing is in flight", lambda: bridge.metric("in_flight") == 0)
    else:
        quiet(lambda: len(seen(1)) + len(seen(2)))
    q1, q2 = seen(1), seen(2)
    missing, doubled, said = compared(acknowledged, q1, q2)
    firsts = list(dict.fromkeys(q1))
    if strict:
        assert missing == [0, 0], said
        assert doubled[1] == 0, said
        assert q2 == sorted(q2), "QoS 2 out of order; " + said
        assert firsts == sorted(firsts), "QoS 1 out of order; " + said
    assert bridge.stop() == 0
    return said


def mosquitto_alone(mqtt, topic):
    """The same with Mosquitto's subscriber, whose session Mosquitto keeps, and nothing else: what is missing Mosquitto has lost."""
    got = os.path.join(FOLDER, topic + ".out")
    with open(got, "w") as out:
        subscriber = subprocess.Popen(["mosquitto_sub", "-p", mqtt.port, "-c", "-i", topic + "-sub", "-q", "2", "-t", topic + "/#", "-F", "%t %p"], stdout=out)
    until("the subscription stands", lambda: publish(mqtt, topic + "/hello", "hello", 1) or open(got).read())
    acknowledged = publish_over_kills(mqtt, topic, mqtt)
    quiet(lambda: os.path.getsize(got))
    subscriber.kill()
    subscriber.wait()
    rows = [line.split() for line in open(got)]
    return compared(acknowledged, *([int(row[1]) for row in rows if row[0] == "%s/q%d" % (topic, qos)] for qos in (1, 2)))[2]


@check("kill -9 of MQTT, Mosquitto alone")
def _():
    return mosquitto_alone(server(MQTT, "Mosquitto"), "alone%d" % time.time_ns())


@check("over WebSocket")
def _():
    topic, kafka = "ws%d" % time.time_ns(), server(KAFKA, "our Kafka")
    mqtt, ws = real_kafka.free_port(), real_kafka.free_port()
    broker = Process("ws", [OURS, "serve", "--data", os.path.join(FOLDER, "ws"), "--mqtt", "127.0.0.1:%d" % mqtt, "--mqtt-ws", "127.0.0.1:%d" % ws,
                            "--kafka", "off", "--console", "off"], "ready")
    bridge = Process("bridge-ws", [OURS, "bridge", "--name", topic, "--mqtt", "ws://127.0.0.1:%d/mqtt" % ws, "--filter", topic + "/#", "--kafka",
                                   kafka.bootstrap, "--topic", topic], "ready")
    for n, size in enumerate((1, 1_000, 200_000)):
        run(["mosquitto_pub", "-p", str(mqtt), "-t", topic + "/a", "-q", "%d" % n, "-s"], inp=b"x" * size)
    until("all are through", lambda: sorted(len(value) for _, value, _ in records(kafka, topic)) == [1, 1_000, 200_000])
    assert bridge.stop() == 0 and broker.stop() == 0


@check("over mutual TLS")
def _():
    certs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../mqtt/tests/certs")
    tls, topic, kafka = real_kafka.free_port(), "tls%d" % time.time_ns(), server(KAFKA, "our Kafka")
    conf = os.path.join(FOLDER, "tls.conf")
    with open(conf, "w") as f:
        f.write("per_listener_settings true\nlistener %d 127.0.0.1\nallow_anonymous true\nlistener %d 127.0.0.1\ncafile %s/ca.pem\ncertfile %s/server.pem\n"
                "keyfile %s/server.key\nrequire_certificate true\nuse_identity_as_username true\n" % (real_kafka.free_port(), tls, *[certs] * 3))
    with open(conf) as f:
        plain = f.read().split()[3]
    broker = Process("tls", [OURS, "mosquitto", "-c", conf], "ready")
    file = os.path.join(FOLDER, topic + ".toml")
    with open(file, "w") as f:
        f.write("""
            [mqtt]
            address = "mqtts://localhost:%d"
            ca_file = "%s/ca.pem"
            cert_file = "%s/client.pem"
            key_file = "%s/client.key"
            [kafka]
            bootstrap.servers = "%s"
            [[route]]
            from = "mqtt"
            filter = "%s/#"
            topic = "%s"
            """ % (tls, certs, certs, certs, kafka.bootstrap, topic, topic))
    bridge = Process("bridge-tls", [OURS, "bridge", "--config", file], "ready")
    run(["mosquitto_pub", "-p", plain, "-t", topic + "/a", "-m", "over TLS", "-q", "2"])
    until("it is through", lambda: [value for _, value, _ in records(kafka, topic)] == ["over TLS"])
    assert bridge.stop() == 0 and broker.stop() == 0


for mqtt_name in MQTT:
    for kafka_name in KAFKA:
        mix = "%s to %s" % (mqtt_name, kafka_name)

        @check("flow, " + mix)
        def _():
            flow(server(MQTT, mqtt_name), server(KAFKA, kafka_name), "flow%d" % time.time_ns())

        @check("both ways, " + mix)
        def _():
            both_ways(server(MQTT, mqtt_name), server(KAFKA, kafka_name), "both%d" % time.time_ns())

        mixes = {"bridge": "Mosquitto to our Kafka", "MQTT": "our MQTT to our Kafka", "Kafka": "Mosquitto to Apache Kafka"}
        for victim in mixes:
            if not a.all and mixes[victim] != mix:
                continue

            @check("kill -9 of %s, %s" % (victim, mix))
            def _():
                topic = "kill%d" % time.time_ns()
                return kill_rounds(server(MQTT, mqtt_name), server(KAFKA, kafka_name), topic, victim)

for process in PROCESSES:
    process.kill()
if "Apache Kafka" in started:
    started["Apache Kafka"].stop()
shutil.rmtree(FOLDER, ignore_errors=True) if not checks.failed else print("logs in", FOLDER)
finish()
