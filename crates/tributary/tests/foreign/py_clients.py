#!/usr/bin/env python3
"""Python's client libraries, unchanged, against a node: confluent-kafka (librdkafka), kafka-python, aiokafka, paho-mqtt.

  py_clients.py --kafka HOST:PORT --mqtt HOST:PORT      ends with `N passed, M failed`"""
import argparse, asyncio, os, sys, threading, time, traceback, uuid

import aiokafka
import confluent_kafka as ck
import kafka
import kafka.admin
import paho.mqtt.client as paho
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

p = argparse.ArgumentParser()
p.add_argument("--kafka", required=True)
p.add_argument("--mqtt", required=True)
p.add_argument("--only", default="")
a = p.parse_args()
MQTT_HOST, MQTT_PORT = a.mqtt.rsplit(":", 1)
WAIT = 40
tests = []


def test(function):
    tests.append(function)
    return function


def equal(got, expected):
    assert got == expected, "got %r, expected %r" % (got, expected)


def name(what):
    return "%s-%s" % (what, uuid.uuid4().hex[:8])


def until(condition, what):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain for " + what
        time.sleep(0.05)


def admin():
    return AdminClient({"bootstrap.servers": a.kafka})


def create(topic, partitions=1, **config):
    ad = admin()  # kept until the answers are there: they fail when it goes
    for f in ad.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
        f.result(WAIT)
    return topic


def read(topic, n, **more):
    c = ck.Consumer({"bootstrap.servers": a.kafka, "group.id": name("g"), "auto.offset.reset": "earliest", **more})
    c.subscribe([topic])
    out, deadline = [], time.monotonic() + WAIT
    while len(out) < n and time.monotonic() < deadline:
        m = c.poll(0.5)
        if m is not None:
            assert not m.error(), m.error()
            out.append(m)
    c.close()
    return out


# ---- librdkafka

@test
def librdkafka_every_compression_and_acks():
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        for acks in ["0", "1", "all"]:
            topic = create(name("codec"))
            pr = ck.Producer({"bootstrap.servers": a.kafka, "compression.type": codec, "acks": acks, "linger.ms": 5})
            errors = []
            for i in range(200):
                pr.produce(topic, ("value %d " % i) * 20, key=str(i), headers=[("h", b"%d" % i)],
                           on_delivery=lambda e, m: e and errors.append(e))
            equal(pr.flush(WAIT), 0)
            equal(errors, [])
            got = read(topic, 200)
            equal([m.key() for m in got], [b"%d" % i for i in range(200)])
            equal(got[7].headers(), [("h", b"7")])
            equal([m.offset() for m in got], list(range(200)))


@test
def librdkafka_idempotent_producer():
    topic = create(name("idem"), 3)
    pr = ck.Producer({"bootstrap.servers": a.kafka, "enable.idempotence": True, "linger.ms": 0})
    done = []
    for i in range(1000):
        pr.produce(topic, str(i), key=str(i % 10), on_delivery=lambda e, m: done.append(e))
    equal(pr.flush(WAIT), 0)
    equal(set(done), {None})
    values = {}
    for m in read(topic, 1000):
        values.setdefault(m.key(), []).append(int(m.value()))
    assert all(v == sorted(v) for v in values.values()), "order per key"
    equal(sorted(sum(values.values(), [])), list(range(1000)))


@test
def librdkafka_group_moves_partitions_and_keeps_offsets():
    classic = [{"partition.assignment.strategy": strategy, "session.timeout.ms": 6000}
               for strategy in ["range", "cooperative-sticky"]]
    for protocol in classic + [{"group.protocol": "consumer"}, {"group.protocol": "consumer", "group.remote.assignor": "range"}]:
        topic, group = create(name("grp"), 4), name("group")
        conf = {"bootstrap.servers": a.kafka, "group.id": group, "auto.offset.reset": "earliest", **protocol}
        one, two = ck.Consumer(conf), ck.Consumer(conf)
        one.subscribe([topic])
        until(lambda: one.poll(0.1) is None and len(one.assignment()) == 4, "the first to get all")
        two.subscribe([topic])
        until(lambda: one.poll(0.1) is None and two.poll(0.1) is None and (len(one.assignment()), len(two.assignment())) == (2, 2),
              "a share each")
        pr = ck.Producer({"bootstrap.servers": a.kafka})
        for i in range(100):
            pr.produce(topic, str(i), partition=i % 4)
        pr.flush(WAIT)
        got = {one: [], two: []}

        def poll():
            for c in (one, two):
                m = c.poll(0.05)
                if m is not None:
                    assert not m.error(), m.error()
                    got[c].append(int(m.value()))
            return len(got[one]) + len(got[two]) >= 100
        until(poll, "100 messages")
        equal(sorted(got[one] + got[two]), list(range(100)))
        one.commit(asynchronous=False)
        two.commit(asynchronous=False)
        one.close()
        until(lambda: two.poll(0.1) is None and len(two.assignment()) == 4, "the survivor to get all")
        equal(sum(tp.offset for tp in two.committed([ck.TopicPartition(topic, i) for i in range(4)])), 100)
        two.close()


@test
def librdkafka_consumer_protocol_mixes_with_classic_members():
    topic, group = create(name("mix"), 4), name("group")
    common = {"bootstrap.servers": a.kafka, "group.id": group, "auto.offset.reset": "earliest"}
    classic = {**common, "partition.assignment.strategy": "range", "session.timeout.ms": 6000}
    consumer = {**common, "group.protocol": "consumer"}
    one, two = ck.Consumer(classic), ck.Consumer(consumer)
    one.subscribe([topic])
    until(lambda: one.poll(0.1) is None and len(one.assignment()) == 4, "the classic member to get all")
    two.subscribe(["^" + topic + ".*"])
    until(lambda: one.poll(0.1) is None and two.poll(0.1) is None and (len(one.assignment()), len(two.assignment())) == (2, 2),
          "a share each")
    ad = admin()  # kept until the answer is there
    described = ad.describe_consumer_groups([group])[group].result(WAIT)
    equal(len(described.members), 2)
    pr = ck.Producer({"bootstrap.servers": a.kafka})
    for i in range(40):
        pr.produce(topic, str(i), partition=i % 4)
    pr.flush(WAIT)
    got = []

    def poll():
        for c in (one, two):
            m = c.poll(0.05)
            if m is not None:
                assert not m.error(), m.error()
                got.append(int(m.value()))
        return len(got) >= 40
    until(poll, "40 messages")
    equal(sorted(got), list(range(40)))
    two.commit(asynchronous=False)
    one.commit(asynchronous=False)
    two.close()
    until(lambda: one.poll(0.1) is None and len(one.assignment()) == 4, "the classic member to get all again")
    equal(sum(tp.offset for tp in one.committed([ck.TopicPartition(topic, i) for i in range(4)])), 40)
    one.close()
    three = ck.Consumer(consumer)
    three.subscribe([topic])
    until(lambda: three.poll(0.1) is None and len(three.assignment()) == 4, "a new member to get all")
    equal(sum(tp.offset for tp in three.committed(three.assignment())), 40)
    three.close()


@test
def librdkafka_admin():
    ad, topic = admin(), create(name("adm"), 2, **{"retention.ms": "3600000"})
    md = ad.list_topics(topic, timeout=WAIT)
    equal(sorted(md.topics[topic].partitions), [0, 1])
    ad.create_partitions([NewPartitions(topic, 5)])[topic].result(WAIT)
    until(lambda: len(ad.list_topics(topic, timeout=WAIT).topics[topic].partitions) == 5, "five partitions")
    resource = ConfigResource("topic", topic)
    configs = ad.describe_configs([resource])[resource].result(WAIT)
    equal(configs["retention.ms"].value, "3600000")
    pr = ck.Producer({"bootstrap.servers": a.kafka})
    now = int(time.time() * 1000)
    pr.produce(topic, "x", partition=0, timestamp=now - 1000)
    pr.produce(topic, "y", partition=0, timestamp=now)
    pr.flush(WAIT)
    tp = ck.TopicPartition(topic, 0)
    for spec, offset in [(OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 2), (OffsetSpec.for_timestamp(now - 500), 1)]:
        equal(ad.list_offsets({tp: spec})[tp].result(WAIT).offset, offset)
    try:
        create(topic)
        raise AssertionError("created twice")
    except ck.KafkaException as e:
        equal(e.args[0].code(), ck.KafkaError.TOPIC_ALREADY_EXISTS)
    ad.delete_topics([topic])[topic].result(WAIT)
    until(lambda: topic not in ad.list_topics(timeout=WAIT).topics, "the topic to go")


# ---- transactions: the protocol of before KIP-890, which librdkafka and aiokafka speak

def committed(topic, n):
    return sorted(m.value() for m in read(topic, n, **{"isolation.level": "read_committed"}))


@test
def librdkafka_transactions_commit_abort_and_fence():
    topic, tid = create(name("txn"), 2), name("tid")
    pr = ck.Producer({"bootstrap.servers": a.kafka, "transactional.id": tid})
    pr.init_transactions(WAIT)
    for round in range(6):
        pr.begin_transaction()
        for i in range(10):
            pr.produce(topic, b"%d.%d" % (round, i), partition=i % 2)
        if round % 2 == 0:
            pr.commit_transaction(WAIT)
        else:
            pr.flush(WAIT)
            pr.abort_transaction(WAIT)
    equal(committed(topic, 30), sorted(b"%d.%d" % (r, i) for r in (0, 2, 4) for i in range(10)))
    pr.begin_transaction()
    pr.produce(topic, b"zombie")
    pr.flush(WAIT)
    successor = ck.Producer({"bootstrap.servers": a.kafka, "transactional.id": tid})
    successor.init_transactions(WAIT)
    try:
        pr.commit_transaction(WAIT)
        raise AssertionError("a fenced producer committed")
    except ck.KafkaException as error:
        assert error.args[0].fatal(), error
    successor.begin_transaction()
    successor.produce(topic, b"new")
    successor.commit_transaction(WAIT)
    assert b"zombie" not in committed(topic, 31)


@test
def librdkafka_consumes_transforms_and_produces_once():
    source, target, group, tid = create(name("in")), create(name("out")), name("g"), name("tid")
    plain = ck.Producer({"bootstrap.servers": a.kafka})
    for i in range(100):
        plain.produce(source, b"%d" % i)
    plain.flush(WAIT)
    done, life = 0, 0
    while done < 100:
        life += 1
        pr = ck.Producer({"bootstrap.servers": a.kafka, "transactional.id": tid})
        pr.init_transactions(WAIT)
        c = ck.Consumer({"bootstrap.servers": a.kafka, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "isolation.level": "read_committed"})
        c.subscribe([source])
        while done < 100:
            records = c.consume(20, 5)
            if not records:
                continue
            pr.begin_transaction()
            for m in records:
                pr.produce(target, m.value())
            pr.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), WAIT)
            if life == 1 and done >= 40:
                pr.abort_transaction(WAIT)
                break
            pr.commit_transaction(WAIT)
            done += len(records)
        c.close()
    equal(committed(target, 100), sorted(b"%d" % i for i in range(100)))


@test
def aiokafka_transactions():
    topic, group = create(name("aiotxn")), name("g")

    async def go():
        pr = aiokafka.AIOKafkaProducer(bootstrap_servers=a.kafka, transactional_id=name("tid"))
        await pr.start()
        async with pr.transaction():
            await pr.send_and_wait(topic, b"kept")
            await pr.send_offsets_to_transaction({aiokafka.TopicPartition(topic, 0): 7}, group)
        try:
            async with pr.transaction():
                await pr.send_and_wait(topic, b"dropped")
                raise ValueError
        except ValueError:
            pass
        await pr.stop()
        c = aiokafka.AIOKafkaConsumer(bootstrap_servers=a.kafka, group_id=group, isolation_level="read_committed",
                                      auto_offset_reset="earliest")
        c.assign([aiokafka.TopicPartition(topic, 0)])
        await c.start()
        equal(await c.committed(aiokafka.TopicPartition(topic, 0)), 7)
        await c.stop()

    asyncio.run(go())
    equal(committed(topic, 1), [b"kept"])


# ---- kafka-python (pure Python) and aiokafka: other versions of the same APIs

@test
def kafka_python_produces_and_consumes():
    topic = create(name("kp"), 2)
    pr = kafka.KafkaProducer(bootstrap_servers=a.kafka, acks="all", compression_type="gzip")
    for i in range(100):
        pr.send(topic, str(i).encode(), key=b"k%d" % (i % 3))
    pr.flush(WAIT)
    pr.close()
    c = kafka.KafkaConsumer(topic, bootstrap_servers=a.kafka, group_id=name("g"), auto_offset_reset="earliest", consumer_timeout_ms=15000)
    got = []
    for m in c:
        got.append(int(m.value))
        if len(got) == 100:
            break
    c.commit()
    equal(sorted(got), list(range(100)))
    equal(sum(c.committed(kafka.TopicPartition(topic, i)) or 0 for i in range(2)), 100)
    c.close()


@test
def aiokafka_produces_and_consumes_in_a_group():
    async def go():
        topic = create(name("aio"), 2)
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=a.kafka, acks="all", enable_idempotence=True) as pr:
            await asyncio.gather(*[pr.send_and_wait(topic, str(i).encode(), key=b"%d" % i) for i in range(50)])
        async with aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=a.kafka, group_id=name("g"), auto_offset_reset="earliest") as c:
            got = [int((await asyncio.wait_for(c.getone(), WAIT)).value) for _ in range(50)]
            await c.commit()
        equal(sorted(got), list(range(50)))
    asyncio.run(go())


# ---- paho-mqtt

class Client:
    """A paho client that remembers what it received."""

    def __init__(self, client_id="", version=paho.MQTTv5, expiry=None, clean=True, will=None):
        if version == paho.MQTTv5:
            self.c = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=version)
        else:
            self.c = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=clean, protocol=version)
        self.messages, self.connected, self.acked, self.subscribed = [], threading.Event(), set(), set()
        self.c.on_message = lambda c, u, m: self.messages.append(m)
        self.c.on_connect = lambda *x: self.connected.set()
        self.c.on_publish = lambda c, u, mid, *x: self.acked.add(mid)
        self.c.on_subscribe = lambda c, u, mid, *x: self.subscribed.add(mid)
        if will:
            self.c.will_set(*will)
        kw = {}
        if version == paho.MQTTv5:
            kw["clean_start"] = clean
            if expiry is not None:
                kw["properties"] = Properties(PacketTypes.CONNECT)
                kw["properties"].SessionExpiryInterval = expiry
        self.c.connect(MQTT_HOST, int(MQTT_PORT), 30, **kw)
        self.c.loop_start()
        assert self.connected.wait(WAIT), "no CONNACK"

    def subscribe(self, topic, qos):
        _, mid = self.c.subscribe(topic, qos)
        until(lambda: mid in self.subscribed, "SUBACK")

    def publish(self, topic, payload, qos, retain=False, properties=None):
        info = self.c.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(WAIT)
        assert info.is_published(), "not acknowledged"

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


@test
def paho_every_qos_and_version_into_kafka():
    for version in (paho.MQTTv31, paho.MQTTv311, paho.MQTTv5):
        base = name("paho")
        s, pub = Client(name("s"), version), Client(name("p"), version)
        s.subscribe(base + "/#", 2)
        for i in range(60):
            pub.publish("%s/d%d" % (base, i % 3), str(i), i % 3)
        until(lambda: len(s.messages) == 60, "60 messages")
        for d in range(3):
            got = [int(m.payload) for m in s.messages if m.topic.endswith("d%d" % d)]
            equal(got, [i for i in range(60) if i % 3 == d])
        got = read(base, 60)
        equal(sorted(int(m.value()) for m in got), list(range(60)))
        equal({m.key().decode() for m in got}, {"%s/d%d" % (base, d) for d in range(3)})
        s.close()
        pub.close()


@test
def paho_properties_become_headers_and_come_back():
    base = name("props")
    s, pub = Client(name("s")), Client(name("p"))
    s.subscribe(base + "/x", 1)
    pr = Properties(PacketTypes.PUBLISH)
    pr.UserProperty = [("a", "1"), ("a", "2"), ("b", "\u00e9")]
    pr.ContentType, pr.ResponseTopic, pr.CorrelationData, pr.MessageExpiryInterval = "text/plain", "re/ply", b"\x00\x01", 3600
    pub.publish(base + "/x", "hello", 1, properties=pr)
    until(lambda: s.messages, "the message")
    got = s.messages[0].properties
    equal(got.UserProperty, pr.UserProperty)
    equal((got.ContentType, got.ResponseTopic, got.CorrelationData), (pr.ContentType, pr.ResponseTopic, pr.CorrelationData))
    assert 0 < got.MessageExpiryInterval <= 3600
    assert len(read(base, 1)[0].headers()) >= 6
    s.close()
    pub.close()


@test
def paho_persistent_session_gets_what_it_missed():
    for version in (paho.MQTTv311, paho.MQTTv5):
        base, who = name("sess"), name("c")
        kw = {"expiry": 3600} if version == paho.MQTTv5 else {}
        s = Client(who, version, clean=False, **kw)
        s.subscribe(base + "/#", 2)
        s.close()
        pub = Client(name("p"), version)
        for i in range(300):
            pub.publish(base + "/x", str(i), 1 + i % 2)
        s = Client(who, version, clean=False, **kw)
        until(lambda: len(s.messages) >= 300, "what it missed")
        # A client hands on a QoS 2 message when its exchange is complete, so order holds for each QoS.
        for qos in (1, 2):
            equal([int(m.payload) for m in s.messages if m.qos == qos], [i for i in range(300) if 1 + i % 2 == qos])
        s.close()
        pub.close()


@test
def paho_retained_and_will():
    base = name("ret")
    pub = Client(name("p"))
    pub.publish(base + "/state", "on", 1, retain=True)
    late = Client(name("s"))
    late.subscribe(base + "/#", 1)
    until(lambda: late.messages, "the retained message")
    equal((late.messages[0].payload, late.messages[0].retain), (b"on", True))
    dying = Client(name("d"), will=(base + "/will", "gone", 1, False))
    dying.c.socket().shutdown(2)
    dying.c.loop_stop()
    until(lambda: len(late.messages) == 2, "the will")
    equal(late.messages[1].payload, b"gone")
    pub.publish(base + "/state", "", 1, retain=True)
    fresh = Client(name("s"))
    fresh.subscribe(base + "/#", 1)
    pub.publish(base + "/mark", "m", 1)
    until(lambda: fresh.messages, "the mark")
    equal(fresh.messages[0].payload, b"m")
    for c in (pub, late, fresh):
        c.close()


@test
def kafka_records_reach_mqtt():
    base = create(name("down"))
    s = Client(name("s"))
    s.subscribe("%s/#" % base, 1)
    pr = ck.Producer({"bootstrap.servers": a.kafka})
    pr.produce(base, "keyed", key=base + "/room/1")
    pr.produce(base, "bare")
    pr.produce(base, "other", key="not/under/it")
    pr.flush(WAIT)
    until(lambda: len(s.messages) == 3, "three messages")
    equal([(m.topic, m.payload) for m in s.messages], [(base + "/room/1", b"keyed"), (base, b"bare"), (base, b"other")])
    s.close()


failed = 0
chosen = [t for t in tests if a.only in t.__name__]
for t in chosen:
    began = time.monotonic()
    try:
        t()
        print("pass %s %.1f" % (t.__name__, time.monotonic() - began), flush=True)
    except Exception:
        failed += 1
        print("FAIL %s %.1f" % (t.__name__, time.monotonic() - began), flush=True)
        traceback.print_exc()
print("%d passed, %d failed" % (len(chosen) - failed, failed), flush=True)
# Clients of failed tests may still have threads.
os._exit(1 if failed else 0)
