#!/usr/bin/env python3
"""Measures Tributary beside Apache Kafka and Mosquitto in one run and writes docs/benchmarks.md.

  bench.py --tributary PATH --load PATH --kafka-load PATH --forwarder PATH [--rounds 3] [--only NAME,...] [--output FILE]

Costs are CPU-seconds (user + system, from /proc) of the server processes, since wall time on a shared machine says
little; every figure is the median of the rounds, and ours and theirs alternate within each round."""
import argparse, json, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time
import real_kafka

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")
p = argparse.ArgumentParser()
for name in ("tributary", "load", "kafka-load", "forwarder"):
    p.add_argument("--" + name, required=True)
p.add_argument("--rounds", type=int, default=3)
p.add_argument("--only", default="")
p.add_argument("--output", default="")
p.add_argument("--scale", type=float, default=1.0, help="multiplies message counts")
a = p.parse_args()


def note(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    return real_kafka.free_port()


def cpu_seconds(pid):
    fields = open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open("/proc/%d/status" % pid).read()).group(1)) / 1024


class Server:
    """A server process; `cost` is what it has used since the last call of `begin`."""

    def __init__(self, command, ready=None, port=None):
        self.dir = tempfile.mkdtemp(prefix="bench-")
        self.log = open(os.path.join(self.dir, "log"), "wb")
        self.command, self.ready, self.port = [c.replace("{dir}", self.dir) for c in command], ready, port
        self.launch()

    def launch(self, wait=True):
        ready, port, command = self.ready, self.port, self.command
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE if ready and wait else self.log, stderr=self.log)
        self.pid, self.lines = self.process.pid, []
        self.base = 0
        if not wait:
            return
        if ready:
            for line in self.process.stdout:
                self.lines.append(line.decode().strip())
                if self.lines[-1] == ready:
                    break
            else:
                raise SystemExit("server did not start: " + " ".join(command))
        if port:
            deadline = time.monotonic() + 60
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit("server did not start: " + " ".join(command))
                time.sleep(0.002)
        self.start_ms = (time.perf_counter() - began) * 1000

    def address(self, what):
        return next(l.split()[2] for l in self.lines if l.startswith("listening %s " % what))

    def begin(self):
        self.base = cpu_seconds(self.pid)

    def cost(self):
        return cpu_seconds(self.pid) - self.base

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def tributary(*more):
    return Server([a.tributary, "serve", "--data", "{dir}/data", "--mqtt", "127.0.0.1:0", "--kafka", "127.0.0.1:0",
                   "--console", "off", *more], ready="ready")


class Kafka(Server):
    """Apache Kafka as its own start script runs it: default settings, 1 GiB heap, G1."""

    def __init__(self):
        real_kafka.jars()
        port, controller = free_port(), free_port()
        data = tempfile.mkdtemp(prefix="bench-kafka-")
        config = os.path.join(data, "server.properties")
        with open(config, "w") as f:
            f.write("process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n"
                    "controller.quorum.bootstrap.servers=127.0.0.1:%d\n"
                    "listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d\n"
                    "advertised.listeners=PLAINTEXT://127.0.0.1:%d\nlog.dirs=%s/log\n"
                    "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n"
                    "transaction.state.log.min.isr=1\n" % (controller, port, controller, port, data))
        subprocess.run(real_kafka.tool_command("kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c",
                                               config, "--standalone"), check=True, stdout=subprocess.DEVNULL)
        super().__init__(["java", "-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
                          "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
                          "-Dlog4j2.configurationFile=" + real_kafka.LOG4J, "-cp", real_kafka.LIB + "/*", "kafka.Kafka", config],
                         port=port)
        self.data = data

    def address(self, what):
        return "127.0.0.1:%d" % self.port

    def stop(self):
        super().stop()
        shutil.rmtree(self.data, ignore_errors=True)


def mosquitto(*lines):
    port = free_port()
    conf = tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False)
    conf.write("listener %d 127.0.0.1\nallow_anonymous true\n%s\n" % (port, "\n".join(lines)))
    conf.close()
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    server = Server([program, "-c", conf.name], port=port)
    server.address = lambda what: "127.0.0.1:%d" % port
    return server


def load(*args):
    out = subprocess.run([a.load, *map(str, args)], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)


def kafka_load(server, mode, *args):
    out = subprocess.run([a.kafka_load, mode, "--kafka", server.address("kafka"), *map(str, args)], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(out)


def java_tool(cls, *args):
    command = real_kafka.tool_command(cls, *args, heap="1G")
    command = [c for c in command if "TieredStop" not in c]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, text=True).stdout


def create_topic(address, topic, partitions=1):
    java_tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", address, "--create", "--topic", topic,
              "--partitions", str(partitions), "--replication-factor", "1")


def median(rows, key):
    return statistics.median(r[key] for r in rows)


def count(n):
    return max(1000, int(n * a.scale))


# ---- each measure: a function of a started pair, answering {figure: value}

def kafka_produce_consume(server, batch):
    """1 KiB records by Kafka's own perf tools, acks=all."""
    records, topic, address = count(1_000_000), "perf-%d" % time.time_ns(), server.address("kafka")
    create_topic(address, topic)
    server.begin()
    out = java_tool("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", str(records),
                    "--record-size", "1024", "--throughput", "-1", "--producer-props", "bootstrap.servers=" + address,
                    "acks=all", "batch.size=%d" % batch, "linger.ms=5")
    produce = server.cost()
    rate = float(re.findall(r"([\d.]+) records/sec", out)[-1])
    server.begin()
    java_tool("org.apache.kafka.tools.ConsumerPerformance", "--topic", topic, "--bootstrap-server", address,
              "--num-records", str(records), "--timeout", "60000")
    consume = server.cost()
    gb = records * 1024 / 1e9
    return {"produce CPU-s/GB": produce / gb, "produce records/s": rate, "consume CPU-s/GB": consume / gb}


def raw_topic(server, partitions, caching):
    """A topic of its own; ours acknowledges from the page cache, as Kafka does, when `caching`."""
    topic = "raw-%d" % time.time_ns()
    config = ["--config", "write.caching=true"] if caching and not isinstance(server, Kafka) else []
    kafka_load(server, "create", "--topic", topic, "--partitions", partitions, *config)
    return topic


def raw_produce(server, caching, requests, batch, record=1024, partitions=1, connections=1, in_flight=5, compression="none", rate=0):
    topic = raw_topic(server, partitions, caching)
    args = ["--topic", topic, "--partitions", partitions, "--connections", connections, "--in-flight", in_flight, "--batch-bytes", batch,
            "--record-bytes", record, "--compression", compression, "--rate", rate]
    kafka_load(server, "produce", *args, "--requests", max(connections, count(requests) // 10))  # warms the JVM and the cache
    server.begin()
    r = kafka_load(server, "produce", *args, "--requests", count(requests))
    cost = server.cost()
    return {"CPU-s per payload GB": cost / r["payload_gb"], "CPU us per request": cost / r["requests"] * 1e6,
            "requests/s": r["per_second"], "p50 ms": r["p50_ms"], "p99 ms": r["p99_ms"]}


def raw_fetch(server, caching):
    topic = raw_topic(server, 1, caching)
    kafka_load(server, "produce", "--topic", topic, "--batch-bytes", 1000000, "--requests", count(1500), "--in-flight", 5)
    kafka_load(server, "fetch", "--topic", topic)
    server.begin()
    gb = sum(kafka_load(server, "fetch", "--topic", topic)["wire_gb"] for _ in range(4))
    return {"CPU-s per wire GB": server.cost() / gb}


def raw_tail(server, caching):
    topic = raw_topic(server, 1, caching)
    kafka_load(server, "tail", "--topic", topic, "--messages", count(2000))
    topic = raw_topic(server, 1, caching)
    server.begin()
    r = kafka_load(server, "tail", "--topic", topic, "--messages", count(10_000))
    return {"p50 ms": r["p50_ms"], "p99 ms": r["p99_ms"], "CPU-s per million": server.cost() / r["messages"] * 1e6}


def raw_transactions(server, caching, rate, transactions):
    topic = raw_topic(server, 8, caching)
    args = ["--topic", topic, "--partitions", 8, "--connections", 8, "--rate", rate]
    kafka_load(server, "transact", *args, "--messages", count(transactions) // 4)
    server.begin()
    r = kafka_load(server, "transact", *args, "--messages", count(transactions))
    return {"transactions/s": r["per_second"], "p50 ms": r["p50_ms"], "p99 ms": r["p99_ms"],
            "CPU us per transaction": server.cost() / r["messages"] * 1e6}


def raw_partitions(server, caching):
    server.begin()
    began = time.perf_counter()
    topic = raw_topic(server, 2000, caching)
    kafka_load(server, "produce", "--topic", topic, "--partitions", 2000, "--batch-bytes", 100, "--record-bytes", 100, "--requests", 2000,
               "--in-flight", 5)
    return {"seconds": time.perf_counter() - began, "CPU-s": server.cost()}


def raw_idle(server, _caching):
    connections = min(5000, count(5000))
    before = rss_mb(server.pid)
    process = subprocess.Popen([a.kafka_load, "idle", "--kafka", server.address("kafka"), "--connections", str(connections),
                                "--seconds", "2"], stdout=subprocess.PIPE)
    process.stdout.readline()
    each = (rss_mb(server.pid) - before) * 1024 / connections
    process.wait()
    return {"RSS KiB for each connection": each}


class Fixed(Server):
    """Tributary on a port that is known before it listens."""

    def __init__(self):
        self.at = "127.0.0.1:%d" % free_port()
        super().__init__([a.tributary, "serve", "--data", "{dir}/data", "--mqtt", "127.0.0.1:0", "--kafka", self.at, "--console", "off"],
                         ready="ready")

    def address(self, what):
        return self.at


def first_ms(server, *more):
    """From exec to the first acknowledged record."""
    began = time.perf_counter()
    server.launch(wait=False)
    kafka_load(server, "first", "--topic", "first", *more)
    return (time.perf_counter() - began) * 1000


def raw_start(server):
    """From exec to the first acknowledged record: of an empty node, and with 1 GB behind it that was not closed."""
    server.kill()
    for directory in (os.path.join(server.dir, "data"), getattr(server, "data", None)):
        if directory and isinstance(server, Fixed):
            shutil.rmtree(directory, ignore_errors=True)
    empty = first_ms(server, "--create", "true")
    time.sleep(1)
    idle = rss_mb(server.pid)
    topic = raw_topic(server, 1, False)
    kafka_load(server, "produce", "--topic", topic, "--batch-bytes", 1000000, "--requests", count(1000), "--in-flight", 5)
    server.kill()
    loaded = first_ms(server)
    return {"empty, ms": empty, "1 GB after kill -9, ms": loaded, "idle RSS MB": idle}


def handles(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def threads(pid):
    return len(os.listdir("/proc/%d/task" % pid))


def raw_many(server):
    """10,000 partitions that each take a record, and 5,000 idle connections; then how it answers, and starts again."""
    partitions, connections = count(10_000), count(5000)
    began = time.perf_counter()
    topic = raw_topic(server, partitions, False)
    created = time.perf_counter() - began
    kafka_load(server, "produce", "--topic", topic, "--partitions", partitions, "--batch-bytes", 100, "--record-bytes", 100, "--requests",
               partitions, "--in-flight", 20)
    filled = time.perf_counter() - began - created
    before = rss_mb(server.pid)
    idle = subprocess.Popen([a.kafka_load, "idle", "--kafka", server.address("kafka"), "--connections", str(connections), "--seconds", "8"],
                            stdout=subprocess.PIPE)
    idle.stdout.readline()
    after, open_handles, running = rss_mb(server.pid), handles(server.pid), threads(server.pid)
    r = kafka_load(server, "produce", "--topic", topic, "--partitions", partitions, "--batch-bytes", 100, "--record-bytes", 100,
                   "--requests", count(3000))
    idle.wait()
    kafka_load(server, "first", "--topic", "first", "--create", "true")
    server.kill()
    return {"created s": created, "a record for each s": filled, "RSS MB": before, "with 5,000 connections, RSS MB": after,
            "file handles": open_handles, "threads": running, "request p50 ms": r["p50_ms"], "p99 ms": r["p99_ms"],
            "start after kill -9, ms": first_ms(server)}


def mqtt_load(server, qos, subscribers, messages, publishers=1, size=64, rate=0):
    server.begin()
    r = load("pubsub", "--mqtt", server.address("mqtt"), "--messages", count(messages), "--qos", qos, "--publishers", publishers,
             "--subscribers", subscribers, "--size", size, "--rate", rate, "--in-flight", 20 if qos else 100)
    deliveries = max(1, r["delivered"])
    latency = {"p50 ms": r["p50_ms"], "p99 ms": r["p99_ms"]} if rate else {}
    return {"CPU-s per million deliveries": server.cost() / deliveries * 1e6, "deliveries/s": r["per_second"],
            "delivered of expected": r["delivered"] / r["expected"], **latency}


class Fleet:
    """The `fleet` program; a line of figures for each of its steps."""

    def __init__(self, mode, server, **options):
        program = os.path.join(os.path.dirname(a.load), "fleet")
        more = [str(part) for name, value in options.items() for part in ("--" + name, value)]
        self.process = subprocess.Popen([program, mode, "--mqtt", server.address("mqtt"), *more], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def step(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def mqtt_idle(server):
    n, before = count(5000), rss_mb(server.pid)
    fleet = Fleet("idle", server, count=n)
    rate = fleet.step()["per_second"]
    each = (rss_mb(server.pid) - before) * 1024 / n
    fleet.end()
    return {"RSS KiB for each connection": each, "connects/s, one after the other": rate}


def mqtt_filters(server):
    n, messages, before = count(50_000), count(100_000), rss_mb(server.pid)
    fleet = Fleet("filters", server, count=n, messages=messages)
    fleet.step()
    each = (rss_mb(server.pid) - before) * 1024 * 1024 / n
    server.begin()
    r = fleet.step()
    cost = server.cost()
    fleet.end()
    return {"RSS bytes for each subscription": each, "CPU-s per million deliveries": cost / max(1, r["delivered"]) * 1e6,
            "deliveries/s": r["per_second"], "delivered of expected": r["delivered"] / r["expected"]}


def mqtt_retained(server):
    n, before = count(100_000), rss_mb(server.pid)
    fleet = Fleet("retained", server, count=n)
    fleet.step()
    each = (rss_mb(server.pid) - before) * 1024 * 1024 / n
    server.begin()
    r = fleet.step()
    cost = server.cost()
    fleet.end()
    return {"RSS bytes for each message": each, "CPU-s per million deliveries": cost / max(1, r["delivered"]) * 1e6,
            "deliveries/s": r["per_second"], "delivered of expected": r["delivered"] / r["expected"]}


def mqtt_offline(server):
    sessions, messages = 200, count(20_000)
    fleet = Fleet("offline", server, count=sessions, messages=messages)
    fleet.step()
    before = rss_mb(server.pid)
    server.begin()
    fleet.step()
    cost, grown = server.cost(), rss_mb(server.pid) - before
    r = fleet.step()
    fleet.end()
    return {"RSS MB grown": grown, "CPU us for each message and session": cost / messages / sessions * 1e6,
            "drained/s": r["per_second"], "drained of expected": r["delivered"] / r["expected"]}


class Relay:
    """Mosquitto, a plain forwarder, Kafka."""
    mosquitto_lines = ()

    def forward(self, mqtt, kafka):
        return Server([a.forwarder, mqtt, "load/#", kafka, "load"], ready="ready")

    def __init__(self):
        self.kafka = Kafka()
        self.mosquitto = mosquitto(*self.mosquitto_lines)
        create_topic(self.kafka.address("kafka"), "load")
        self.forwarder = self.forward(self.mosquitto.address("mqtt"), self.kafka.address("kafka"))
        self.all = [self.kafka, self.mosquitto, self.forwarder]

    def address(self, what):
        return (self.mosquitto if what == "mqtt" else self.kafka).address(what)

    def begin(self):
        for s in self.all:
            s.begin()

    def cost(self):
        return sum(s.cost() for s in self.all)

    def rss(self):
        return sum(rss_mb(s.pid) for s in self.all)

    def stop(self):
        for s in reversed(self.all):
            s.stop()


class Bridged(Relay):
    """The same with our bridge for the forwarder."""

    def forward(self, mqtt, kafka):
        return Server([a.tributary, "bridge", "--mqtt", mqtt, "--filter", "load/#", "--kafka", kafka, "--topic", "load", "--quiet"],
                      ready="ready")


def told_to_keep(relay):
    """With a Mosquitto that drops nothing, and does not wait for an acknowledgement after every 20 messages."""
    return type("Kept" + relay.__name__, (relay,), {"mosquitto_lines": ("max_queued_messages 0", "max_inflight_messages 0")})


def bridge_load(server, *args):
    r = relay_load(server, *args)
    messages = count(args[1])
    r["CPU-s per million, forwarder alone"] = server.forwarder.cost() / messages * 1e6
    r["with Mosquitto"] = (server.forwarder.cost() + server.mosquitto.cost()) / messages * 1e6
    r["RSS MB"] = rss_mb(server.forwarder.pid)
    return r


def relay_load(server, rate, messages, publishers):
    server.begin()
    r = load("relay", "--mqtt", server.address("mqtt"), "--kafka", server.address("kafka"), "--topic", "load", "--messages",
             count(messages), "--rate", rate, "--qos", 1, "--publishers", publishers, "--in-flight", 500 if not rate else 20, "--size", 100)
    rss = server.rss() if isinstance(server, Relay) else rss_mb(server.pid)
    return {"p50 ms": r["p50_ms"], "p99 ms": r["p99_ms"], "messages/s": r["per_second"],
            "CPU-s per million": server.cost() / max(1, r["delivered"]) * 1e6,
            "PUBACKed, never delivered": r["acknowledged"] - r["delivered"], "RSS MB": rss}


def startup(_):
    """From exec to the first PUBACK of a durable message; then idle memory."""
    began = time.perf_counter()
    server = tributary()
    load("pubsub", "--mqtt", server.address("mqtt"), "--messages", 1, "--qos", 1)
    first = (time.perf_counter() - began) * 1000
    time.sleep(1)
    rss = rss_mb(server.pid)
    start = server.start_ms
    server.stop()
    return {"ready ms": start, "first delivery ms (client included)": first, "idle RSS MB": rss}


def startup_kafka(_):
    server = Kafka()
    time.sleep(1)
    rss, start = rss_mb(server.pid), server.start_ms
    server.stop()
    return {"ready ms": start, "first delivery ms (client included)": float("nan"), "idle RSS MB": rss}


def relay_pair(function):
    def ours():
        server = tributary()
        create_topic(server.address("kafka"), "load")
        return server
    return [("Tributary, durable", ours, function), ("Mosquitto + Go forwarder + Kafka, nothing synced", Relay, function)]


def bridge_pair(function, variant=lambda relay: relay):
    return [("Mosquitto + `tributary bridge` + Kafka", variant(Bridged), function),
            ("Mosquitto + Go forwarder + Kafka", variant(Relay), function)]


def pair(function, theirs, name):
    return [("Tributary, durable", tributary, function), (name, theirs, function)]


def mqtt(function, *args, **kw):
    """Ours and Mosquitto both acknowledging from memory (ours from the page cache), and ours durable."""
    run = lambda server: function(server, *args, **kw)
    return [("Tributary, `mqtt.ack=memory`", lambda: tributary("--set", "mqtt.ack=memory"), run),
            ("Mosquitto, nothing stored", lambda: mosquitto("max_queued_messages 0"), run), ("Tributary, durable", tributary, run)]


def raw(function, *args, **kw):
    """Ours and Kafka both acknowledging from the page cache, and ours durable."""
    return [("Tributary, `write.caching`", tributary, lambda s: function(s, True, *args, **kw)),
            ("Apache Kafka, nothing synced", Kafka, lambda s: function(s, True, *args, **kw)),
            ("Tributary, durable", tributary, lambda s: function(s, False, *args, **kw))]


class Nothing:
    def stop(self):
        pass


MEASURES = {
    "start": ("Start-up and idle memory", [("Tributary", Nothing, startup), ("Apache Kafka", Nothing, startup_kafka)]),
    "kafka-16k": ("Kafka: 1 KiB records, 16 KiB batches, acks=all",
                  pair(lambda s: kafka_produce_consume(s, 16384), Kafka, "Apache Kafka, nothing synced")),
    "kafka-1m": ("Kafka: 1 KiB records, 1 MB batches, acks=all",
                 pair(lambda s: kafka_produce_consume(s, 1000000), Kafka, "Apache Kafka, nothing synced")),
    "raw-1m": ("Raw produce: 1 KiB records, 1 MB batches, 5 in flight", raw(raw_produce, 1500, 1_000_000)),
    "raw-16k": ("Raw produce: 1 KiB records, 16 KiB batches, 5 in flight", raw(raw_produce, 60_000, 16_384)),
    "raw-lz4": ("Raw produce: 100 B records, 256 KiB batches with lz4, 6 partitions",
                raw(raw_produce, 6_000, 262_144, record=100, partitions=6, compression="lz4")),
    "raw-1": ("Raw produce: one 100 B record a request, one in flight", raw(raw_produce, 30_000, 100, record=100, in_flight=1)),
    "raw-16": ("Raw produce: one 100 B record a request, 16 connections with one in flight each",
               raw(raw_produce, 200_000, 100, record=100, connections=16, in_flight=1)),
    "raw-1000": ("Raw produce: one 100 B record a request, 1,000 connections with one in flight each, 100 partitions",
                 raw(raw_produce, 200_000, 100, record=100, partitions=100, connections=1000, in_flight=1)),
    "raw-1000-paced": ("Raw produce: one 100 B record a request, 1,000 connections, 100 partitions, 10,000 requests a second",
                       raw(raw_produce, 100_000, 100, record=100, partitions=100, connections=1000, in_flight=1, rate=10_000)),
    "raw-txn": ("Transactions of one record each, 8 producers, 1,000 a second", raw(raw_transactions, 1000, 10_000)),
    "raw-txn-max": ("Transactions of one record each, 8 producers, as fast as they are answered", raw(raw_transactions, 0, 20_000)),
    "raw-fetch": ("Raw fetch from the page cache", raw(raw_fetch)),
    "raw-tail": ("One producer at 1,000 records a second, one consumer, acks=all", raw(raw_tail)),
    "raw-partitions": ("2,000 partitions created, each takes a record", raw(raw_partitions)),
    "raw-start": ("From exec to the first acknowledged record, acks=all",
                  [("Tributary, durable", Fixed, raw_start), ("Apache Kafka, nothing synced", Kafka, raw_start)]),
    "raw-many": ("10,000 partitions and 5,000 idle connections, acks=all",
                 [("Tributary, durable", Fixed, raw_many), ("Apache Kafka, nothing synced", Kafka, raw_many)]),
    "raw-idle": ("Idle Kafka connections", raw(raw_idle)),
    "mqtt-qos0": ("MQTT 1 to 1, 64 B, QoS 0", mqtt(mqtt_load, 0, 1, 300_000)),
    "mqtt-qos1": ("MQTT 1 to 1, 64 B, QoS 1, 20 in flight", mqtt(mqtt_load, 1, 1, 100_000)),
    "mqtt-qos2": ("MQTT 1 to 1, 64 B, QoS 2, 20 in flight", mqtt(mqtt_load, 2, 1, 50_000)),
    "mqtt-1k": ("MQTT 1 to 1, 1 KiB, QoS 1, 20 in flight", mqtt(mqtt_load, 1, 1, 100_000, size=1024)),
    "mqtt-1000": ("MQTT 1 to 1, QoS 1, 1,000 messages a second", mqtt(mqtt_load, 1, 1, 5_000, rate=1000)),
    "mqtt-fanout": ("MQTT 1 to 500, 64 B, QoS 0", mqtt(mqtt_load, 0, 500, 2_000)),
    "mqtt-fanout1": ("MQTT 1 to 500, 64 B, QoS 1", mqtt(mqtt_load, 1, 500, 1_000)),
    "mqtt-fanin": ("MQTT 500 to 1, 64 B, QoS 1", mqtt(mqtt_load, 1, 1, 100_000, publishers=500)),
    "mqtt-idle": ("MQTT, idle connections", mqtt(mqtt_idle)),
    "mqtt-filters": ("MQTT, 50,000 wildcard filters of one client, one publisher with QoS 1", mqtt(mqtt_filters)),
    "mqtt-retained": ("MQTT, 100,000 retained messages to one `#` subscriber, QoS 0", mqtt(mqtt_retained)),
    "mqtt-offline": ("MQTT, 20,000 QoS 1 messages for each of 200 sessions that are away", mqtt(mqtt_offline)),
    "relay-1000": ("MQTT QoS 1 to a Kafka consumer, 1,000 messages a second", relay_pair(lambda s: relay_load(s, 1000, 15_000, 4))),
    "bridge-1000": ("MQTT QoS 1 to a Kafka consumer through Mosquitto, a forwarder and Kafka, 1,000 messages a second",
                    bridge_pair(lambda s: bridge_load(s, 1000, 15_000, 4))),
    "bridge-max": ("MQTT QoS 1 to a Kafka consumer through Mosquitto, a forwarder and Kafka, as fast as it goes",
                   bridge_pair(lambda s: bridge_load(s, 0, 300_000, 4))),
    "bridge-kept": ("The same with a Mosquitto that is told to drop nothing and to keep more than 20 messages on their way",
                    bridge_pair(lambda s: bridge_load(s, 0, 300_000, 4), told_to_keep)),
    "relay-max": ("MQTT QoS 1 to a Kafka consumer, as fast as it goes", relay_pair(lambda s: relay_load(s, 0, 300_000, 4))),
}


def main():
    only = [n for n in a.only.split(",") if n]
    text = ["# Benchmarks", "", "Written by `cargo xtask bench` (%d rounds, medians; ours and theirs in turn within one run)." % a.rounds,
            "CPU-seconds are of the server processes, user and system. The load generator, Kafka's perf tools and the servers share",
            "the machine's %d cores." % os.cpu_count(), ""]
    java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()[0]
    version = subprocess.run([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-h"], capture_output=True, text=True).stdout.splitlines()[0]
    text += ["Versions: Tributary %s; Apache Kafka %s on %s; %s; forwarder: paho.mqtt.golang, franz-go." % (
        subprocess.run([a.tributary, "--version"], capture_output=True, text=True).stdout.split()[-1], real_kafka.VERSION, java, version), ""]
    for name, (title, subjects) in MEASURES.items():
        if only and name not in only:
            continue
        results = {label: [] for label, _, _ in subjects}
        for round_ in range(a.rounds):
            for label, start, measure in subjects:
                server = start()
                try:
                    results[label].append(measure(server))
                    note("%s, round %d, %s: %s" % (name, round_ + 1, label, {k: round(v, 3) for k, v in results[label][-1].items()}))
                finally:
                    server.stop()
        figures = list(next(iter(results.values()))[0])
        text += ["## " + title, "", "| | " + " | ".join(figures) + " |", "|---|" + "---|" * len(figures)]
        medians = {label: [median(rows, f) for f in figures] for label, rows in results.items()}
        for label, values in medians.items():
            text.append("| %s | %s |" % (label, " | ".join("%.3g" % v if v < 1000 else "{:,.0f}".format(v) for v in values)))
        ours, theirs = list(medians.values())[:2]
        text.append("| ratio, ours to theirs | %s |" % " | ".join("%.2f" % (o / t) if t else "" for o, t in zip(ours, theirs)))
        text += ["", "`cargo xtask bench %s`" % name, ""]
    output = "\n".join(text)
    if a.output:
        with open(a.output, "w") as f:
            f.write(output)
    print(output)


main()
