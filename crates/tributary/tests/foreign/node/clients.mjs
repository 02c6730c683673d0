// Node's client libraries, unchanged, against a node: kafkajs and MQTT.js.
//   node clients.mjs KAFKA_HOST:PORT MQTT_HOST:PORT      ends with `N passed, M failed`
import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import assert from 'node:assert/strict';
import path from 'node:path';

// The packages are installed under target/, not beside this file.
const require = createRequire(path.join(process.env.FOREIGN_NODE ?? process.cwd(), 'package.json'));
const { Kafka, logLevel, CompressionTypes, CompressionCodecs } = require('kafkajs');
const mqtt = require('mqtt');
const snappy = require('snappyjs');
const lz4 = require('lz4js');
const zstd = require('@bokuweb/zstd-wasm');

// kafkajs brings gzip alone and takes the other codecs from its user.
const codec = (compress, decompress) => () => ({
  compress: async (encoder) => Buffer.from(compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(decompress(buffer)),
});
CompressionCodecs[CompressionTypes.Snappy] = codec((b) => snappy.compress(b), (b) => snappy.uncompress(b));
CompressionCodecs[CompressionTypes.LZ4] = codec((b) => lz4.compress(b), (b) => lz4.decompress(b));
CompressionCodecs[CompressionTypes.ZSTD] = codec((b) => zstd.compress(b, 3), (b) => zstd.decompress(b));
await zstd.init();

const [kafkaAddress, mqttAddress] = process.argv.slice(2);
const kafka = new Kafka({ clientId: 'node', brokers: [kafkaAddress], logLevel: logLevel.NOTHING });
const name = (what) => `${what}-${randomUUID().slice(0, 8)}`;
const WAIT = 40_000;

async function until(condition, what) {
  const deadline = Date.now() + WAIT;
  while (!condition()) {
    assert(Date.now() < deadline, `waited in vain for ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}

async function withClients(clients, run) {
  try {
    for (const c of clients) await c.connect();
    return await run();
  } finally {
    for (const c of clients) await c.disconnect();
  }
}

// The committed values of a topic, once there are `n`.
async function records(topic, n) {
  const consumer = kafka.consumer({ maxWaitTimeInMs: 100, groupId: name('read'), readUncommitted: false });
  return withClients([consumer], async () => {
    const got = [];
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({ eachMessage: async ({ message }) => { got.push(`${message.value}`); } });
    await until(() => got.length >= n, `${n} messages of ${topic}`);
    return got;
  });
}

const tests = {
  async kafkajs_produces_and_consumes_in_a_group() {
    const topic = name('kjs');
    const admin = kafka.admin();
    const producer = kafka.producer({ idempotent: true });
    const consumer = kafka.consumer({ maxWaitTimeInMs: 100, groupId: name('g') });
    await withClients([admin, producer, consumer], async () => {
      assert.equal(await admin.createTopics({ topics: [{ topic, numPartitions: 3 }] }), true);
      const messages = Array.from({ length: 100 }, (_, i) => ({ key: `k${i % 5}`, value: `${i}`, headers: { h: `${i}` } }));
      await producer.send({ topic, messages: messages.slice(0, 50), acks: -1 });
      await producer.send({ topic, messages: messages.slice(50), acks: -1, compression: CompressionTypes.GZIP });
      const got = [];
      await consumer.subscribe({ topics: [topic], fromBeginning: true });
      await consumer.run({ eachMessage: async ({ message }) => got.push(Number(message.value)) });
      await until(() => got.length === 100, '100 messages');
      assert.deepEqual(got.sort((a, b) => a - b), messages.map((_, i) => i));
    });
  },

  async kafkajs_every_codec() {
    for (const [title, compression] of Object.entries(CompressionTypes)) {
      const topic = name('codec');
      const producer = kafka.producer();
      await withClients([producer], async () => {
        const messages = Array.from({ length: 100 }, (_, i) => ({ value: `${title} ${i} ${'abc'.repeat(50)}` }));
        await producer.send({ topic, messages, compression });
        const got = await records(topic, 100);
        assert.deepEqual(got.sort(), messages.map((m) => m.value).sort());
      });
    }
  },

  async kafkajs_group_moves_partitions_and_keeps_offsets() {
    const topic = name('grp');
    const groupId = name('group');
    const admin = kafka.admin();
    const producer = kafka.producer();
    const got = [];
    const member = async () => {
      const consumer = kafka.consumer({ maxWaitTimeInMs: 100, groupId, sessionTimeout: 10000, heartbeatInterval: 200, rebalanceTimeout: 5000 });
      const m = { consumer, owned: 0 };
      consumer.on(consumer.events.GROUP_JOIN, (e) => { m.owned = (e.payload.memberAssignment[topic] ?? []).length; });
      await consumer.connect();
      await consumer.subscribe({ topics: [topic], fromBeginning: true });
      await consumer.run({ autoCommitThreshold: 1, eachMessage: async ({ message }) => { got.push(`${message.value}`); } });
      return m;
    };
    await withClients([admin, producer], async () => {
      await admin.createTopics({ topics: [{ topic, numPartitions: 4 }] });
      const one = await member();
      await until(() => one.owned === 4, 'the first to get all');
      const two = await member();
      await until(() => one.owned === 2 && two.owned === 2, 'a share each');
      const values = Array.from({ length: 100 }, (_, i) => `v${i}`);
      await producer.send({ topic, messages: values.map((value, i) => ({ value, partition: i % 4 })) });
      await until(() => got.length >= 100, '100 messages');
      await one.consumer.disconnect();
      await until(() => two.owned === 4, 'the survivor to get all');
      await two.consumer.disconnect();
      assert.deepEqual([...got].sort(), values.sort());
      await producer.send({ topic, messages: [{ value: 'more', partition: 3 }] });
      const three = await member();
      await until(() => got.length >= 101, 'what came after the commits');
      assert.equal(got[100], 'more');
      await three.consumer.disconnect();
      const offsets = await admin.fetchOffsets({ groupId, topics: [topic] });
      assert.equal(offsets[0].partitions.reduce((sum, p) => sum + Number(p.offset), 0), 101);
    });
  },

  async kafkajs_transactions() {
    const topic = name('txn');
    const groupId = name('g');
    const transactionalId = name('tid');
    const make = () => kafka.producer({ transactionalId, maxInFlightRequests: 1, idempotent: true });
    const producer = make();
    const admin = kafka.admin();
    const committed = async () => (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset;
    await withClients([admin, producer], async () => {
      await admin.createTopics({ topics: [{ topic }] });
      const expected = [];
      for (let round = 1; round <= 4; round += 1) {
        const transaction = await producer.transaction();
        await transaction.send({ topic, messages: [{ value: `${round}` }] });
        await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic, partitions: [{ partition: 0, offset: `${round}` }] }] });
        if (round % 2 === 1) {
          await transaction.commit();
          expected.push(`${round}`);
        } else {
          await transaction.abort();
        }
        assert.equal(await committed(), expected.at(-1));
      }
      assert.deepEqual(await records(topic, expected.length), expected);
      const zombie = await producer.transaction();
      await zombie.send({ topic, messages: [{ value: 'zombie' }] });
      const successor = make();
      await withClients([successor], async () => {
        const transaction = await successor.transaction();
        await transaction.send({ topic, messages: [{ value: 'new' }] });
        await assert.rejects(zombie.commit());
        await transaction.commit();
      });
      assert.deepEqual(await records(topic, 3), [...expected, 'new']);
    });
  },

  async kafkajs_administers_groups_and_records() {
    const topic = name('gadm');
    const groupId = name('group');
    const base = Date.now() - 3_600_000; // what is much older, retention deletes
    const admin = kafka.admin();
    const producer = kafka.producer();
    const consumer = kafka.consumer({ maxWaitTimeInMs: 100, groupId });
    await withClients([admin, producer], async () => {
      await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
      await producer.send({ topic, messages: Array.from({ length: 10 }, (_, i) => ({ value: `${i}`, timestamp: `${base + i}` })) });
      await withClients([consumer], async () => {
        const got = [];
        await consumer.subscribe({ topics: [topic], fromBeginning: true });
        await consumer.run({ eachMessage: async ({ message }) => got.push(message) });
        await until(() => got.length === 10, '10 messages');
        const described = (await admin.describeGroups([groupId])).groups[0];
        assert.deepEqual([described.state, described.members.length], ['Stable', 1]);
        await assert.rejects(admin.deleteGroups([groupId]));
      });
      const offset = async () => (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset;
      assert.equal(await offset(), '10');
      await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '2' }] });
      assert.equal(await offset(), '2');
      assert.equal((await admin.fetchTopicOffsetsByTimestamp(topic, base + 4))[0].offset, '4');
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] });
      assert.deepEqual((await admin.fetchTopicOffsets(topic)).map((o) => [o.low, o.high]), [['6', '10']]);
      assert((await admin.listGroups()).groups.some((g) => g.groupId === groupId));
      assert.deepEqual((await admin.deleteGroups([groupId])).map((g) => g.errorCode), [0]);
      assert(!(await admin.listGroups()).groups.some((g) => g.groupId === groupId));
      const cluster = await admin.describeCluster();
      assert.equal(cluster.controller, cluster.brokers[0].nodeId);
    });
  },

  async kafkajs_admin() {
    const topic = name('adm');
    const admin = kafka.admin();
    await withClients([admin], async () => {
      await admin.createTopics({ topics: [{ topic, numPartitions: 2, configEntries: [{ name: 'retention.ms', value: '1000000' }] }] });
      const described = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: 2, name: topic }] });
      assert.equal(described.resources[0].configEntries.find((e) => e.configName === 'retention.ms').configValue, '1000000');
      assert.deepEqual((await admin.fetchTopicOffsets(topic)).map((o) => o.offset), ['0', '0']);
      await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] });
      await admin.deleteTopics({ topics: [topic] });
      assert(!(await admin.listTopics()).includes(topic));
    });
  },

  async mqttjs_every_qos_and_both_versions() {
    for (const protocolVersion of [4, 5]) {
      const base = name('mjs');
      const url = `mqtt://${mqttAddress}`;
      const s = await mqtt.connectAsync(url, { protocolVersion });
      const p = await mqtt.connectAsync(url, { protocolVersion });
      const got = [];
      s.on('message', (topic, payload, packet) => got.push({ qos: packet.qos, text: `${topic} ${payload}` }));
      await s.subscribeAsync(`${base}/+`, { qos: 2 });
      const sent = [];
      for (let i = 0; i < 30; i += 1) {
        await p.publishAsync(`${base}/x`, `${i}`, { qos: i % 3 });
        sent.push({ qos: i % 3, text: `${base}/x ${i}` });
      }
      await until(() => got.length === 30, '30 messages');
      // A client hands on a QoS 2 message when its exchange is complete, so order holds for each QoS.
      for (const qos of [0, 1, 2]) assert.deepEqual(got.filter((m) => m.qos === qos), sent.filter((m) => m.qos === qos));
      await s.endAsync();
      await p.endAsync();
    }
  },

  async mqttjs_publishes_and_kafkajs_consumes() {
    const base = name('both');
    const p = await mqtt.connectAsync(`mqtt://${mqttAddress}`, { protocolVersion: 5 });
    await p.publishAsync(`${base}/a/b`, 'payload', { qos: 1, properties: { userProperties: { site: 'north' } } });
    await p.endAsync();
    const consumer = kafka.consumer({ maxWaitTimeInMs: 100, groupId: name('g') });
    await withClients([consumer], async () => {
      const got = [];
      await consumer.subscribe({ topics: [base], fromBeginning: true });
      await consumer.run({ eachMessage: async ({ message }) => got.push(message) });
      await until(() => got.length === 1, 'the record');
      assert.equal(got[0].key.toString(), `${base}/a/b`);
      assert.equal(got[0].value.toString(), 'payload');
      assert(Object.values(got[0].headers).some((v) => v.toString() === 'north'), 'the user property is a header');
    });
  },
};

let failed = 0;
for (const [title, run] of Object.entries(tests)) {
  try {
    await run();
    console.log('pass', title);
  } catch (e) {
    failed += 1;
    console.log('FAIL', title);
    console.log(e);
  }
}
console.log(`${Object.keys(tests).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
