// Makes the fixtures of the npm package mqtt-packet. Run it in a directory where `npm install mqtt-packet` was run:
//   node <this file> <directory of this file>
// It writes mqtt-packet.tsv (packets it encodes, with what it decodes them to) and mqtt-packet-reads-ours.tsv (what
// it makes of ours.tsv, which `TRIBUTARY_BLESS=1 cargo test -p mqtt-codec --test it foreign` writes).
// Columns: protocol level, sender, bytes in hexadecimal, description.
import { createRequire } from 'node:module'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const mqtt = createRequire(join(process.cwd(), 'package.json'))('mqtt-packet')
const directory = process.argv[2]

const words = { maximumQoS: 'maximum-qos', subscriptionIdentifiersAvailable: 'subscription-identifier-available' }
const spell = (key) => words[key] ?? key.replace(/[A-Z]/g, (c) => '-' + c.toLowerCase())

function value (v) {
  if (Buffer.isBuffer(v)) return v.toString('hex')
  if (typeof v === 'string') return `"${v}"`
  return String(Number(v))
}

function properties (list) {
  const out = []
  for (const [key, v] of Object.entries(list ?? {})) {
    if (key === 'userProperties') {
      for (const [name, values] of Object.entries(v)) {
        for (const one of [values].flat()) out.push(`user-property="${name}":"${one}"`)
      }
    } else {
      for (const one of [v].flat()) out.push(`${spell(key)}=${value(one)}`)
    }
  }
  return `{${out.sort().join(' ')}}`
}

function describe (p, version) {
  const v5 = version === 5
  const out = [p.cmd]
  const add = (key, v) => out.push(`${key}=${value(v)}`)
  switch (p.cmd) {
    case 'connect':
      add('level', p.protocolVersion)
      add('clean', p.clean)
      add('keep-alive', p.keepalive)
      add('client', p.clientId)
      if (p.will) {
        add('will-topic', p.will.topic)
        add('will-payload', p.will.payload)
        add('will-qos', p.will.qos)
        add('will-retain', p.will.retain)
        if (v5) out.push('will-properties=' + properties(p.will.properties))
      }
      if (p.username !== undefined) add('user', p.username.toString())
      if (p.password !== undefined) add('password', p.password)
      break
    case 'connack':
      add('session', p.sessionPresent)
      add('reason', v5 ? p.reasonCode : p.returnCode)
      break
    case 'publish':
      add('dup', p.dup)
      add('qos', p.qos)
      add('retain', p.retain)
      add('topic', p.topic)
      if (p.messageId !== undefined) add('id', p.messageId)
      add('payload', p.payload)
      break
    case 'subscribe':
      add('id', p.messageId)
      for (const s of p.subscriptions) {
        const options = v5 ? `:${Number(s.nl)}${Number(s.rap)}${s.rh}` : ''
        out.push(`filter="${s.topic}":${s.qos}${options}`)
      }
      break
    case 'unsubscribe':
      add('id', p.messageId)
      for (const filter of p.unsubscriptions) add('filter', filter)
      break
    case 'suback':
    case 'unsuback':
      add('id', p.messageId)
      for (const code of p.granted ?? []) add('reason', code)
      break
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      add('id', p.messageId)
      if (v5) add('reason', p.reasonCode ?? 0)
      break
    case 'disconnect':
    case 'auth':
      if (v5) add('reason', p.reasonCode ?? 0)
      break
  }
  if (v5 && !p.cmd.startsWith('ping')) out.push('properties=' + properties(p.properties))
  return out.join(' ')
}

function decode (bytes, version) {
  const parser = mqtt.parser({ protocolVersion: version })
  let found
  parser.on('packet', (p) => { found = p })
  parser.on('error', (e) => { throw e })
  parser.parse(bytes)
  if (!found) throw new Error('not a whole packet: ' + bytes.toString('hex'))
  return found
}

// A small generator of our own, so that the fixture can be made again.
let seed = 12345
const random = (n) => { seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff; return (seed >> 8) % n }
const maybe = (make) => random(2) ? make() : undefined
const text = () => ['', 'a', 'sensor-17', 'été 温度', 'x'.repeat(130)][random(5)]
const name = () => ['a', 'a/b', '/', '$x/y', 'été/温度', 'long/'.repeat(30)][random(6)]
const filter = () => ['#', '+', 'a/+/c', '/#', '+//#', '$share/g/a/#', 'a b'][random(7)]
const binary = () => Buffer.from(Array.from({ length: random(20) }, () => random(256)))
const user = () => maybe(() => ({ n: text(), m: ['1', text()] }))
const id = () => 1 + random(65535)
const drop = (o) => { for (const k of Object.keys(o)) if (o[k] === undefined) delete o[k]; return o }
const qos = () => random(3)

function make (cmd, version) {
  const v5 = version === 5
  const give = (make) => v5 ? drop(make()) : undefined
  const ackProperties = () => give(() => ({ reasonString: maybe(text), userProperties: user() }))
  switch (cmd) {
    case 'connect': {
      const willQos = qos()
      const will = maybe(() => drop({
        topic: name(), payload: Buffer.concat([binary(), Buffer.from('w')]), qos: willQos, retain: !!random(2),
        properties: give(() => ({
          willDelayInterval: maybe(() => random(100000)), payloadFormatIndicator: maybe(() => !!random(2)),
          messageExpiryInterval: maybe(() => random(100000)), contentType: maybe(text), responseTopic: maybe(name),
          correlationData: maybe(binary), userProperties: user()
        }))
      }))
      const username = maybe(() => 'u' + text())
      return drop({
        cmd, protocolId: version === 3 ? 'MQIsdp' : 'MQTT', protocolVersion: version, clean: true,
        clientId: 'c' + text(), keepalive: random(65536), will, username,
        password: username && maybe(() => Buffer.concat([binary(), Buffer.from('p')])),
        properties: give(() => {
          const method = maybe(text)
          return {
            sessionExpiryInterval: maybe(() => random(4294967296)), receiveMaximum: maybe(id),
            maximumPacketSize: maybe(id), topicAliasMaximum: maybe(id), requestResponseInformation: maybe(() => !!random(2)),
            requestProblemInformation: maybe(() => !!random(2)), userProperties: user(), authenticationMethod: method,
            authenticationData: method && maybe(binary)
          }
        })
      })
    }
    case 'connack': {
      const refused = random(2)
      const code = v5 ? [0x80, 0x87, 0x9f][random(3)] : 1 + random(5)
      const method = maybe(text)
      return drop({
        cmd, sessionPresent: !refused && version > 3 && !!random(2), [v5 ? 'reasonCode' : 'returnCode']: refused ? code : 0,
        properties: give(() => ({
          sessionExpiryInterval: maybe(id), receiveMaximum: maybe(id), maximumQoS: maybe(() => random(2)),
          retainAvailable: maybe(() => !!random(2)), maximumPacketSize: maybe(id), assignedClientIdentifier: maybe(text),
          topicAliasMaximum: maybe(id), reasonString: maybe(text), userProperties: user(),
          wildcardSubscriptionAvailable: maybe(() => !!random(2)),
          subscriptionIdentifiersAvailable: maybe(() => !!random(2)),
          sharedSubscriptionAvailable: maybe(() => !!random(2)), serverKeepAlive: maybe(id),
          responseInformation: maybe(text), serverReference: maybe(text), authenticationMethod: method,
          authenticationData: method && maybe(binary)
        }))
      })
    }
    case 'publish': {
      const q = qos()
      return drop({
        cmd, qos: q, dup: q > 0 && !!random(2), retain: !!random(2), topic: name(), payload: binary(),
        messageId: q ? id() : undefined,
        properties: give(() => ({
          payloadFormatIndicator: maybe(() => !!random(2)), messageExpiryInterval: maybe(id), topicAlias: maybe(id),
          responseTopic: maybe(name), correlationData: maybe(binary), userProperties: user(), contentType: maybe(text)
        }))
      })
    }
    case 'puback': case 'pubrec':
      return drop({ cmd, messageId: id(), reasonCode: v5 ? [0, 0x10, 0x87][random(3)] : undefined, properties: ackProperties() })
    case 'pubrel': case 'pubcomp':
      return drop({ cmd, messageId: id(), reasonCode: v5 ? [0, 0x92][random(2)] : undefined, properties: ackProperties() })
    case 'subscribe': {
      const one = () => {
        const topic = filter()
        return drop({
          topic, qos: qos(), nl: v5 ? !topic.startsWith('$share') && !!random(2) : undefined,
          rap: v5 ? !!random(2) : undefined, rh: v5 ? random(3) : undefined
        })
      }
      return drop({
        cmd, messageId: id(), subscriptions: Array.from({ length: 1 + random(3) }, one),
        properties: give(() => ({ subscriptionIdentifier: maybe(() => 1 + random(268435455)), userProperties: user() }))
      })
    }
    case 'unsubscribe':
      return drop({
        cmd, messageId: id(), unsubscriptions: Array.from({ length: 1 + random(3) }, filter),
        properties: give(() => ({ userProperties: user() }))
      })
    case 'suback':
      return drop({ cmd, messageId: id(), granted: Array.from({ length: 1 + random(4) }, () => [0, 1, 2, 128][random(4)]), properties: ackProperties() })
    case 'unsuback':
      return drop({ cmd, messageId: id(), granted: v5 ? Array.from({ length: 1 + random(4) }, () => [0, 17, 135][random(3)]) : undefined, properties: ackProperties() })
    case 'disconnect':
      return drop({
        cmd, reasonCode: v5 ? [0, 4, 0x82][random(3)] : undefined,
        properties: give(() => ({ sessionExpiryInterval: maybe(id), reasonString: maybe(text), userProperties: user() }))
      })
    case 'auth':
      return { cmd, reasonCode: 0x18, properties: drop({ authenticationMethod: 'm' + text(), authenticationData: maybe(binary), reasonString: maybe(text), userProperties: user() }) }
    default:
      return { cmd }
  }
}

const kinds = {
  client: ['connect', 'publish', 'puback', 'pubrec', 'pubrel', 'pubcomp', 'subscribe', 'unsubscribe', 'pingreq', 'disconnect', 'auth'],
  server: ['connack', 'publish', 'suback', 'unsuback', 'pingresp', 'puback', 'pubrec', 'pubrel', 'pubcomp']
}
const lines = new Set()
for (const version of [3, 4, 5]) {
  for (const [side, list] of Object.entries(kinds)) {
    for (const cmd of list) {
      if (cmd === 'auth' && version < 5) continue
      for (let i = 0; i < (version === 5 ? 12 : 4); i++) {
        const packet = make(cmd, version)
        const bytes = mqtt.generate(packet, { protocolVersion: version })
        lines.add([version, side, bytes.toString('hex'), describe(decode(bytes, version), version)].join('\t'))
      }
    }
  }
}
writeFileSync(join(directory, 'mqtt-packet.tsv'), [...lines].join('\n') + '\n')

const read = readFileSync(join(directory, 'ours.tsv'), 'utf8').trimEnd().split('\n').map((line) => {
  const [version, side, hex] = line.split('\t')
  return [version, side, hex, describe(decode(Buffer.from(hex, 'hex'), Number(version)), Number(version))].join('\t')
})
writeFileSync(join(directory, 'mqtt-packet-reads-ours.tsv'), read.join('\n') + '\n')
