"""What tests of `tributary serve --store kafka` have in common: our own server as the cluster, clients of gateways, and what is in
the cluster in the end."""
import shutil, subprocess, tempfile, threading, time
import confluent_kafka
import paho.mqtt.client as mqtt
from checks import WAIT, until


def serve(ours, *args):
    """The process, and what it listens on."""
    process = subprocess.Popen([ours, "serve", "--console", "off", *args], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
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

    def __init__(self, ours, *more):
        self.data = tempfile.mkdtemp(prefix="gateways-")
        self.process, addresses = serve(ours, "--mqtt", "off", "--kafka", "127.0.0.1:0", "--data", self.data + "/d", *more)
        self.bootstrap = addresses["kafka"]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.data, ignore_errors=True)


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


def subscribe(c, topic_filter, qos):
    done = threading.Event()
    c.on_subscribe = lambda *_: done.set()
    c.subscribe(topic_filter, qos)
    if not done.wait(WAIT):
        raise AssertionError("no SUBACK")


def payloads(into):
    return lambda _c, _u, m: into.append(m.payload.decode())


def publish_all(c, topic, messages, qos, each=lambda _message: None):
    """One after the other, each until it is acknowledged; paho keeps what is published while it is not connected, but its `info`
    refuses to wait for that."""
    acknowledged = set()
    c.on_publish = lambda _c, _u, mid, _reason, _properties: acknowledged.add(mid)
    for message in messages:
        info = c.publish(topic, message, qos=qos)
        until("%s is acknowledged" % message, lambda: info.mid in acknowledged)
        acknowledged.discard(info.mid)
        each(message)


def records(bootstrap, topic, enough):
    """What a read_committed consumer sees: (key, value), until `enough` says so of the list, and nothing more comes."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "reader-%d" % time.time_ns(),
                                         "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
    consumer.subscribe([topic])
    found, deadline, quiet = [], time.monotonic() + WAIT, 0
    while time.monotonic() < deadline and quiet < 3:
        message = consumer.poll(0.3)
        if message is None:
            quiet = quiet + 1 if enough(found) else 0
        elif message.error() is None:
            found.append(((message.key() or b"").decode(), message.value().decode()))
    consumer.close()
    return found
