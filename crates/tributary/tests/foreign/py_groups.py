#!/usr/bin/env python3
"""kafka-python, aiokafka and librdkafka, unchanged, against a node: groups whose members come and go, transactions,
administration and every codec.

  py_groups.py --kafka HOST:PORT [--only TEXT]      ends with `N passed, M failed`"""
import argparse, asyncio, os, threading, time, traceback, uuid
from concurrent.futures import ThreadPoolExecutor

import aiokafka
import confluent_kafka as ck
import kafka
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions as AioPartitions, NewTopic as AioTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource as AioResource, ConfigResourceType as AioResourceType
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic)
from kafka.admin import ConfigResource as KpResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError

p = argparse.ArgumentParser()
p.add_argument("--kafka", required=True)
p.add_argument("--only", default="")
a = p.parse_args()
WAIT = 60
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]
tests = []


def test(function):
    tests.append(function)
    return function


def equal(got, expected):
    assert got == expected, "got %.600r, expected %.600r" % (got, expected)


def name(what):
    return "%s-%s" % (what, uuid.uuid4().hex[:8])


def until(condition, what):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain for " + what
        time.sleep(0.02)


def refused(error, attempt):
    try:
        attempt()
    except error:
        return
    raise AssertionError("not refused")


def create(partitions=1, **config):
    topic, admin = name("t"), AdminClient({"bootstrap.servers": a.kafka})
    for f in admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
        f.result(WAIT)
    return topic


def produce(topic, values, partitions=1):
    producer = ck.Producer({"bootstrap.servers": a.kafka})
    for i, value in enumerate(values):
        producer.produce(topic, value, partition=i % partitions)
    equal(producer.flush(WAIT), 0)


def read(topic, n):
    """Committed values."""
    c = ck.Consumer({"bootstrap.servers": a.kafka, "group.id": name("read"), "auto.offset.reset": "earliest",
                     "isolation.level": "read_committed"})
    c.subscribe([topic])
    values = []

    def poll():
        values.extend(m.value() for m in c.consume(n, 0.2) if not m.error())
        return len(values) >= n
    until(poll, "%d records" % n)
    c.close()
    return values


# ---- librdkafka's administration

@test
def librdkafka_administers_groups_records_and_configs():
    topic, group, admin = create(2), name("g"), AdminClient({"bootstrap.servers": a.kafka})
    produce(topic, [b"x"] * 20, 2)
    for protocol in ("classic", "consumer"):
        c = ck.Consumer({"bootstrap.servers": a.kafka, "group.id": group, "auto.offset.reset": "earliest", "group.protocol": protocol})
        c.subscribe([topic])
        got = []
        until(lambda: got.extend(c.consume(20, 0.2)) or len(got) == 20, "20 records")
        c.commit(asynchronous=False)
        described = admin.describe_consumer_groups([group])[group].result(WAIT)
        equal((described.state, len(described.members)), (ck.ConsumerGroupState.STABLE, 1))
        equal(len(described.members[0].assignment.topic_partitions), 2)
        refused(ck.KafkaException, lambda: admin.delete_consumer_groups([group])[group].result(WAIT))
        c.close()

        def offsets():
            found = admin.list_consumer_group_offsets([ck.ConsumerGroupTopicPartitions(group)])[group].result(WAIT)
            return {tp.partition: tp.offset for tp in found.topic_partitions}
        equal(offsets(), {0: 10, 1: 10})
        altered = ck.ConsumerGroupTopicPartitions(group, [ck.TopicPartition(topic, 0, 3)])
        admin.alter_consumer_group_offsets([altered])[group].result(WAIT)
        equal(offsets(), {0: 3, 1: 10})
        listed = admin.list_consumer_groups().result(WAIT)
        assert group in [g.group_id for g in listed.valid] and not listed.errors
        admin.delete_consumer_groups([group])[group].result(WAIT)
        assert group not in [g.group_id for g in admin.list_consumer_groups().result(WAIT).valid]
    tp = ck.TopicPartition(topic, 0, 6)
    equal(admin.delete_records([tp])[tp].result(WAIT).low_watermark, 6)
    resource = ConfigResource("topic", topic, incremental_configs=[
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND)])
    admin.incremental_alter_configs([resource])[resource].result(WAIT)
    resource = ConfigResource("topic", topic)
    equal(admin.describe_configs([resource])[resource].result(WAIT)["cleanup.policy"].value, "delete,compact")


# ---- kafka-python

def kp_consumer(group, **more):
    return kafka.KafkaConsumer(bootstrap_servers=a.kafka, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
                               session_timeout_ms=10000, heartbeat_interval_ms=300, isolation_level="read_committed", **more)


@test
def kafka_python_every_codec():
    for codec in CODECS:
        topic, values = create(), [b"%d " % i + b"abc" * 20 for i in range(200)]
        pr = kafka.KafkaProducer(bootstrap_servers=a.kafka, acks="all", compression_type=codec, linger_ms=5)
        for value in values:
            pr.send(topic, value)
        pr.flush(WAIT)
        pr.close()
        c = kafka.KafkaConsumer(topic, bootstrap_servers=a.kafka, auto_offset_reset="earliest", group_id=None)
        got = []
        until(lambda: got.extend(r.value for rs in c.poll(200).values() for r in rs) or len(got) >= 200, "200 records")
        c.close()
        equal(got, values)


@test
def kafka_python_group_moves_partitions_and_keeps_offsets():
    topic, group, got = create(4), name("g"), []
    one, two = kp_consumer(group), kp_consumer(group)

    def poll(*consumers):
        for c in consumers:
            # Shorter polls than its joins take make this client forget what it was assigned.
            got.extend(r.value for rs in c.poll(500).values() for r in rs)
    one.subscribe([topic])
    until(lambda: poll(one) or len(one.assignment()) == 4, "the first to get all")
    two.subscribe([topic])
    # Each polls in a thread of its own: joining blocks until all have joined.
    stop = threading.Event()

    def loop(c):
        while not stop.is_set():
            poll(c)
    threads = [threading.Thread(target=loop, args=[c]) for c in (one, two)]
    for t in threads:
        t.start()
    until(lambda: (len(one.assignment()), len(two.assignment())) == (2, 2), "a share each")
    values = [b"%d" % i for i in range(100)]
    produce(topic, values, 4)
    until(lambda: len(got) >= 100, "100 records")
    stop.set()
    for t in threads:
        t.join()
    equal(sorted(got), sorted(values))
    one.commit()
    two.commit()
    one.close()
    until(lambda: poll(two) or len(two.assignment()) == 4, "the survivor to get all")
    equal(sum(two.committed(kafka.TopicPartition(topic, n)) for n in range(4)), 100)
    two.close()


@test
def kafka_python_transactions():
    source, target, group, tid = create(), create(), name("g"), name("tid")
    produce(source, [b"%d" % i for i in range(30)])
    make = lambda: kafka.KafkaProducer(bootstrap_servers=a.kafka, transactional_id=tid)
    pr, c = make(), kp_consumer(group)
    pr.init_transactions()
    c.subscribe([source])
    tp, expected = kafka.TopicPartition(source, 0), []
    for round in range(3):
        records = []
        until(lambda: records.extend(c.poll(200, max_records=10).get(tp, [])) or records, "records")
        pr.begin_transaction()
        for r in records:
            pr.send(target, r.value)
        pr.send_offsets_to_transaction({tp: kafka.OffsetAndMetadata(records[-1].offset + 1, "", -1)}, c.group_metadata())
        if round == 1:
            pr.abort_transaction()
        else:
            pr.commit_transaction()
            expected += [r.value for r in records]
            equal(c.committed(tp), records[-1].offset + 1)
    c.close()
    equal(read(target, len(expected)), expected)
    pr.begin_transaction()
    pr.send(target, b"zombie").get(WAIT)
    successor = make()
    successor.init_transactions()
    refused(KafkaError, pr.commit_transaction)
    successor.begin_transaction()
    successor.send(target, b"new")
    successor.commit_transaction()
    equal(read(target, len(expected) + 1), expected + [b"new"])
    successor.close()
    pr.close(0)


@test
def kafka_python_admin():
    admin, topic, group = KafkaAdminClient(bootstrap_servers=a.kafka), name("t"), name("g")
    admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1, "configs": {"retention.ms": "3600000"}}})
    refused(KafkaError, lambda: admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}}))
    admin.create_partitions({topic: 4})
    equal(len(admin.describe_topics([topic])[0]["partitions"]), 4)
    resource = KpResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "7200000"})
    admin.alter_configs([resource])
    assert "7200000" in repr(admin.describe_configs([KpResource(ConfigResourceType.TOPIC, topic)]))
    produce(topic, [b"x"] * 10)
    deleted = admin.delete_records({kafka.TopicPartition(topic, 0): 6})
    assert "6" in repr(deleted), deleted
    c = kp_consumer(group)
    c.subscribe([topic])
    until(lambda: c.poll(100), "records")
    c.commit()
    assert "Stable" in repr(admin.describe_groups([group])) or "STABLE" in repr(admin.describe_groups([group]))
    c.close()
    assert group in repr(admin.list_groups())
    assert "10" in repr(admin.list_group_offsets({group: None}))
    admin.delete_groups([group])
    assert group not in repr(admin.list_groups())
    admin.delete_topics([topic])
    assert topic not in admin.list_topics()
    admin.close()


# ---- aiokafka

@test
def aiokafka_every_codec():
    async def go():
        for codec in CODECS:
            topic, values = create(), [b"%d " % i + b"abc" * 20 for i in range(200)]
            async with aiokafka.AIOKafkaProducer(bootstrap_servers=a.kafka, compression_type=codec, linger_ms=5) as pr:
                await asyncio.gather(*[pr.send_and_wait(topic, value) for value in values])
            async with aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=a.kafka, auto_offset_reset="earliest") as c:
                got = [(await asyncio.wait_for(c.getone(), WAIT)).value for _ in values]
            equal(sorted(got), sorted(values))
    asyncio.run(go())


@test
def aiokafka_group_moves_partitions_and_keeps_offsets():
    async def go():
        topic, group, got = create(4), name("g"), []

        async def member():
            c = aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=a.kafka, group_id=group, auto_offset_reset="earliest",
                                          enable_auto_commit=False, session_timeout_ms=10000, heartbeat_interval_ms=200)
            await c.start()

            async def loop():
                while True:
                    for records in (await c.getmany(timeout_ms=100)).values():
                        got.extend(r.value for r in records)
                        await c.commit()
            return c, asyncio.create_task(loop())

        async def meet(condition, what):
            deadline = time.monotonic() + WAIT
            while not condition():
                assert time.monotonic() < deadline, "waited in vain for " + what
                await asyncio.sleep(0.02)

        async def leave(c, task):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await c.stop()
        one, polling_one = await member()
        await meet(lambda: len(one.assignment()) == 4, "the first to get all")
        two, polling_two = await member()
        await meet(lambda: (len(one.assignment()), len(two.assignment())) == (2, 2), "a share each")
        values = [b"%d" % i for i in range(100)]
        produce(topic, values, 4)
        await meet(lambda: len(got) >= 100, "100 records")
        equal(sorted(got), sorted(values))
        await leave(one, polling_one)
        await meet(lambda: len(two.assignment()) == 4, "the survivor to get all")
        equal(sum([await two.committed(aiokafka.TopicPartition(topic, n)) for n in range(4)]), 100)
        await leave(two, polling_two)
    asyncio.run(go())


@test
def aiokafka_is_fenced():
    topic, tid = create(), name("tid")

    async def go():
        make = lambda: aiokafka.AIOKafkaProducer(bootstrap_servers=a.kafka, transactional_id=tid)
        zombie, successor = make(), make()
        await zombie.start()
        await zombie.begin_transaction()
        await zombie.send_and_wait(topic, b"zombie")
        await successor.start()
        try:
            await zombie.commit_transaction()
            raise AssertionError("a fenced producer committed")
        except aiokafka.errors.KafkaError:
            pass
        async with successor.transaction():
            await successor.send_and_wait(topic, b"new")
        await successor.stop()
    asyncio.run(go())
    equal(read(topic, 1), [b"new"])


@test
def aiokafka_admin():
    async def go():
        admin, topic, group = AIOKafkaAdminClient(bootstrap_servers=a.kafka), name("t"), name("g")
        await admin.start()
        await admin.create_topics([AioTopic(topic, 2, 1, topic_configs={"retention.ms": "3600000"})])
        await admin.create_partitions({topic: AioPartitions(4)})
        equal(len((await admin.describe_topics([topic]))[0]["partitions"]), 4)
        resource = AioResource(AioResourceType.TOPIC, topic)
        assert "3600000" in repr(await admin.describe_configs([resource]))
        produce(topic, [b"x"] * 10)
        await admin.delete_records({aiokafka.TopicPartition(topic, 0): RecordsToDelete(before_offset=6)})
        async with aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=a.kafka, group_id=group, auto_offset_reset="earliest") as c:
            equal((await asyncio.wait_for(c.getone(), WAIT)).offset, 6)
            await c.commit()
            assert "Stable" in repr(await admin.describe_consumer_groups([group]))
        assert group in [g[0] for g in await admin.list_consumer_groups()]
        offsets = await admin.list_consumer_group_offsets(group)
        equal(offsets[aiokafka.TopicPartition(topic, 0)].offset, 7)
        await admin.delete_topics([topic])
        assert topic not in await admin.list_topics()
        await admin.close()
    asyncio.run(go())


def run(t):
    began = time.monotonic()
    try:
        t()
        print("pass %s %.1f" % (t.__name__, time.monotonic() - began), flush=True)
        return 0
    except BaseException:
        print("FAIL %s %.1f\n%s" % (t.__name__, time.monotonic() - began, traceback.format_exc()), flush=True)
        return 1


chosen = [t for t in tests if a.only in t.__name__]
with ThreadPoolExecutor(5) as pool:
    failed = sum(pool.map(run, chosen))
print("%d passed, %d failed" % (len(chosen) - failed, failed), flush=True)
# Clients of failed tests may still have threads.
os._exit(1 if failed else 0)
