#!/usr/bin/env python3
"""Several `tributary serve --store kafka` side by side on one cluster, our own server and Apache Kafka, behind a balancer as
people have it: sessions move with their clients, nodes are killed under load.

  gateway_nodes.py --ours PATH [--kills N] [--only ours|apache]

Ends with `N passed, M failed`. Needs a Python with requirements.txt installed."""
import argparse, os, socket, threading, time
import paho.mqtt.client as mqtt
import real_kafka
from checks import WAIT, check, equal, finish, until
from gateways import OurKafka, client, end, payloads, publish_all, records, serve, subscribe

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
p.add_argument("--kills", type=int, default=2, help="how often a node is killed under load at each QoS")
p.add_argument("--only", choices=["ours", "apache"])
a = p.parse_args()
OURS = os.path.abspath(a.ours)


class Node:
    def __init__(self, bootstrap, name=None):
        self.bootstrap, self.name = bootstrap, name
        self.start()

    def start(self):
        # A port of its own each time: nobody comes back to a node by its address.
        args = ["--store", "kafka", "--bootstrap", self.bootstrap, "--mqtt", "127.0.0.1:0"]
        self.process, addresses = serve(OURS, *args, *(["--node-id", self.name] if self.name else []))
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


def vanish(c):
    """The connection breaks, and the client does not come back."""
    c.loop_stop()
    if c.socket():
        c.socket().close()


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

    def note(message):
        sent.append(message)
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
    stored = [value for _, value in records(bootstrap, topic, lambda found: {v for _, v in found} >= set(sent))]
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
        stored = [value for _, value in records(bootstrap, "wills", lambda found: len(found) >= len(gone))]
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


for kind, name, start in (("our server", "ours", lambda: OurKafka(OURS, "--set", "num.partitions=4")), ("Apache Kafka", "apache", real_kafka.RealKafka)):
    if a.only in (None, name):
        kafka = start()
        try:
            run(kind, kafka)
        finally:
            kafka.stop()

finish()
