// Node's client libraries, unchanged, against a node: kafkajs and MQTT.js.
//   node clients.mjs KAFKA_HOST:PORT MQTT_HOST:PORT      ends with `N passed, M failed`
import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import assert from 'node:assert/strict';
import path from 'node:path';

// The packages are installed under target/, not beside this file.
const require = createRequire(path.join(process.env.FOREIGN_NODE ?? process.cwd(), 'package.json'));
const { Kafka, logLevel, CompressionTypes } = require('kafkajs');
const mqtt = require('mqtt');

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

const tests = {
  async kafkajs_produces_and_consumes_in_a_group() {
    const topic = name('kjs');
    const admin = kafka.admin();
    const producer = kafka.producer({ idempotent: true });
    const consumer = kafka.consumer({ groupId: name('g') });
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
    const consumer = kafka.consumer({ groupId: name('g') });
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
