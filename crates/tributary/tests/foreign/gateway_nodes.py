#!/usr/bin/env python3
"""Several `tributary serve --store kafka` side by side on one cluster, our own server and Apache Kafka, behind a balancer as
people have it: sessions move with their clients, nodes are killed under load.

  gateway_nodes.py --ours PATH [--kills N] [--only ours|apache]

Ends with `N passed, M failed`. Needs a Python with requirements.txt installed."""
import argparse, os, shutil, socket, subprocess, sys, tempfile, threading, time, traceback
import confluent_kafka
import paho.mqtt.client as mqtt
import real_kafka

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
p.add_argument("--kills", type=int, default=2, help="how often a node is killed under load at each QoS")
p.add_argument("--only", choices=["ours", "apache"])
a = p.parse_args()
OURS = os.path.abspath(a.ours)
WAIT = 90
passed, failed = 0, []


def check(name):
    def run(function):
        global passed
        began = time.monotonic()
        try:
            function()
            passed += 1
            print("pass %s (%.1f s)" % (name, time.monotonic() - began), flush=True)
        except Exception:
            failed.append(name)
            print("FAIL", name, flush=True)
            traceback.print_exc()
        return function
    return run


def equal(got, expected):
    if got != expected:
        raise AssertionError("got %r\nexpected %r" % (got, expected))


def until(what, holds):
    deadline = time.monotonic() + WAIT
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError("timeout: " + what)
        time.sleep(0.02)


def serve(*args):
    """The process, and what it listens on."""
    process = subprocess.Popen([OURS, "serve", "--console", "off", *args], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    addresses = {}
    for line in process.stdout:
        words = line.split()
        if words and words[0] == "listening":
            addresses[words[1]] = words[2]
        if words == ["ready"]:
            return process, addresses
    raise SystemExit("the node did not start")


class OurKafka:
    """Our own server as the cluster."""

    def __init__(self):
        self.data = tempfile.mkdtemp(prefix="gateway-nodes-")
        self.process, addresses = serve("--mqtt", "off", "--kafka", "127.0.0.1:0", "--data", self.data + "/d", "--set", "num.partitions=4")
        self.bootstrap = addresses["kafka"]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.data, ignore_errors=True)


class Node:
    def __init__(self, bootstrap, name=None):
        self.bootstrap, self.name = bootstrap, name
        self.start()

    def start(self):
        # A port of its own each time: nobody comes back to a node by its address.
        args = ["--store", "kafka", "--bootstrap", self.bootstrap, "--mqtt", "127.0.0.1:0"]
        self.process, addresses = serve(*args, *(["--node-id", self.name] if self.name else []))
        self.port = int(addresses["mqtt"].rsplit(":", 1)[1])
        self.alive = True

    def kill(self):
        self.alive = False
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.alive = False
        self.process.terminate()
        equal(self.process.wait(30), 0)


class Balancer:
    """Hands every connection to the next node that is there."""

    def __init__(self, nodes):
        self.nodes, self.turn = nodes, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        for _ in self.nodes:
            self.turn += 1
            node = self.nodes[self.turn % len(self.nodes)]
            if not node.alive:
                continue
            try:
                server = socket.create_connection(("127.0.0.1", node.port))
            except OSError:
                continue
            threading.Thread(target=pipe, args=(server, client), daemon=True).start()
            pipe(client, server)
            return
        client.close()


def pipe(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for s in (source, sink):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        s.close()


def client(port, client_id, clean=False, on_message=None, will=None, version=mqtt.MQTTv311):
    """A connected client that comes back by itself."""
    args = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
    c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, **args)
    c.reconnect_delay_set(1, 1)
    c.connected = threading.Event()
    c.on_connect = lambda _c, _u, _f, reason, _p: None if reason.is_failure else c.connected.set()
    c.on_disconnect = lambda *_: c.connected.clear()
    if on_message:
        c.on_message = on_message
    if will:
        c.will_set(*will, qos=1)
    c.connect("127.0.0.1", port, keepalive=20)
    c.loop_start()
    if not c.connected.wait(WAIT):
        raise AssertionError("%s: no CONNACK" % client_id)
    return c


def end(*clients):
    for c in clients:
        c.disconnect()
        c.loop_stop()


def vanish(c):
    """The connection breaks, and the client does not come back."""
    c.loop_stop()
    if c.socket():
        c.socket().close()


def subscribe(c, topic_filter, qos):
    done = threading.Event()
    c.on_subscribe = lambda *_: done.set()
    c.subscribe(topic_filter, qos)
    if not done.wait(WAIT):
        raise AssertionError("no SUBACK")


def payloads(into):
    return lambda _c, _u, m: into.append(m.payload.decode())


def publish_all(c, topic, messages, qos, each=lambda: None):
    """One after the other, each until it is acknowledged; paho keeps what is published while it is not connected."""
    acknowledged = set()
    c.on_publish = lambda _c, _u, mid, _reason, _properties: acknowledged.add(mid)
    for message in messages:
        info = c.publish(topic, message, qos=qos)
        until("%s is acknowledged" % message, lambda: info.mid in acknowledged)
        acknowledged.discard(info.mid)
        each()


def records(bootstrap, topic, enough):
    """What a read_committed consumer sees, until `enough` says so of the list, and nothing more comes."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "reader-%d" % time.time_ns(),
                                         "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
    consumer.subscribe([topic])
    found, deadline, quiet = [], time.monotonic() + WAIT, 0
    while time.monotonic() < deadline and quiet < 3:
        message = consumer.poll(0.3)
        if message is None:
            quiet = quiet + 1 if enough(found) else 0
        elif message.error() is None:
            found.append(message.value().decode())
    consumer.close()
    return found


def kill_rounds(nodes, balancer, bootstrap, qos):
    topic, total = "moves%d" % qos, 60 * (1 + a.kills)
    received = []
    listener = client(balancer.port, "listener-%d" % qos, on_message=payloads(received))
    subscribe(listener, topic + "/#", qos)
    sender = client(balancer.port, "sender-%d" % qos)
    sent = []

    def killer():
        for n in range(a.kills):
            mark = 60 * n + 30
            while len(sent) < mark and not stop.is_set():
                time.sleep(0.01)
            node = nodes[n % len(nodes)]
            node.kill()
            node.start()

    def note():
        sent.append("%d" % len(sent))
        if len(sent) % 25 == 0:
            # Away from a node that lives.
            sender.socket().shutdown(socket.SHUT_RDWR) if sender.socket() else None

    stop = threading.Event()
    thread = threading.Thread(target=killer)
    thread.start()
    try:
        publish_all(sender, topic + "/a", ["%d" % n for n in range(total)], qos, note)
    finally:
        stop.set()
        thread.join()
    stored = records(bootstrap, topic, lambda found: set(found) >= set(sent))
    until("the subscriber has all", lambda: set(received) >= set(sent))
    if qos == 2:
        equal(stored, sent)
        equal(received, sent)
    else:
        equal(list(dict.fromkeys(stored)), sent)
        equal(list(dict.fromkeys(received)), sent)
    end(sender, listener)


def run(kind, kafka):
    bootstrap = kafka.bootstrap
    nodes = [Node(bootstrap, "one"), Node(bootstrap, "two"), Node(bootstrap)]
    balancer = Balancer(nodes)

    @check("%s: what one node takes in the others give out, retained messages too" % kind)
    def _():
        received = [[] for _ in nodes]
        displays = [client(n.port, "display-%d" % i, True, payloads(received[i])) for i, n in enumerate(nodes)]
        for d in displays:
            subscribe(d, "site/#", 1)
        for i, n in enumerate(nodes):
            c = client(n.port, "device", True)
            publish_all(c, "site/%d" % i, ["%d-%d" % (i, qos) for qos in (1, 2)], 1)
            c.publish("state/%d" % i, "on", qos=1, retain=True).wait_for_publish(WAIT)
            end(c)
        everything = sorted("%d-%d" % (i, qos) for i in range(len(nodes)) for qos in (1, 2))
        for got in received:
            until("everybody gets everything", lambda: sorted(got) == everything)
        retained = []
        late = client(nodes[0].port, "late", True, payloads(retained))
        subscribe(late, "state/#", 0)
        until("the retained messages come", lambda: len(retained) == len(nodes))
        end(late, *displays)

    @check("%s: a session moves with its client" % kind)
    def _():
        received, ids = [], []
        c = client(nodes[0].port, "mover")
        subscribe(c, "news/#", 2)
        writer = client(nodes[1].port, "writer", True)
        for n in range(9):
            end(c)
            publish_all(writer, "news/a", ["%d" % n], n % 3 or 1)
            c = client(nodes[n % len(nodes)].port, "mover", on_message=payloads(received))
            until("message %d comes" % n, lambda: len(received) > n)
        equal(received, ["%d" % n for n in range(9)])
        # While it is connected elsewhere, as a second device with the same name.
        c.reconnect_delay_set(600, 600)
        other = client(nodes[0].port, "mover", on_message=payloads(ids))
        until("the first one is disconnected", lambda: not c.is_connected())
        publish_all(writer, "news/a", ["after"], 2)
        until("the second one has it", lambda: ids == ["after"])
        c.loop_stop()
        end(other, writer)

    for qos in (1, 2):
        @check("%s: nothing is lost%s over %d kills at QoS %d" % (kind, " or doubled" if qos == 2 else "", a.kills, qos))
        def _():
            kill_rounds(nodes, balancer, bootstrap, qos)

    @check("%s: the wills of a killed node's clients come, once" % kind)
    def _():
        received = []
        watcher = client(nodes[0].port, "watcher", True, payloads(received))
        subscribe(watcher, "wills/#", 1)
        gone = [client(nodes[2].port, "gone-%d" % n, will=("wills/a", "%d" % n)) for n in range(10)]
        stays = client(nodes[1].port, "stays", will=("wills/a", "stays"))
        nodes[2].kill()
        for c in gone:
            vanish(c)
        until("all wills are there", lambda: len(received) >= len(gone))
        end(stays)
        stored = records(bootstrap, "wills", lambda found: len(found) >= len(gone))
        equal(sorted(stored), ["%d" % n for n in range(10)])
        equal(sorted(received), sorted(stored))
        nodes[2].start()
        end(watcher)

    @check("%s: a share group spans the nodes: each message goes to one member, also when a node dies" % kind)
    def _():
        received = [[] for _ in nodes]
        members = []
        for i in range(len(nodes)):
            c = client(balancer.port, "member-%d" % i, on_message=payloads(received[i]), version=mqtt.MQTTv5)
            subscribe(c, "$share/g/jobs/#", 1)
            members.append(c)
        writer = client(balancer.port, "foreman", True)
        publish_all(writer, "jobs/a", ["%d" % n for n in range(60)], 1)
        until("all is done", lambda: sum(map(len, received)) >= 60)
        equal(sorted(sum(received, []), key=int), ["%d" % n for n in range(60)])
        nodes[0].kill()
        publish_all(writer, "jobs/a", ["%d" % n for n in range(60, 120)], 1)
        until("all is done", lambda: len(set(sum(received, []))) >= 120)
        nodes[0].start()
        end(writer, *members)

    @check("%s: the nodes stop cleanly, one after the other" % kind)
    def _():
        received = []
        c = client(balancer.port, "last", on_message=payloads(received))
        subscribe(c, "late/#", 1)
        writer = client(balancer.port, "last-writer")
        for n, node in enumerate(nodes[:-1]):
            node.stop()
            publish_all(writer, "late/a", ["%d" % n], 1)
            until("it goes on", lambda: len(received) > n)
        end(c, writer)
        nodes[-1].stop()


for kind, name, start in (("our server", "ours", OurKafka), ("Apache Kafka", "apache", real_kafka.RealKafka)):
    if a.only in (None, name):
        kafka = start()
        try:
            run(kind, kafka)
        finally:
            kafka.stop()

print("%d passed, %d failed" % (passed, len(failed)))
sys.exit(1 if failed else 0)
