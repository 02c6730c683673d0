"""Makes the fixture paho.tsv: what the Python package paho-mqtt (2.x) writes for known requests.

Run with a Python that has paho-mqtt:  python generate.py <directory of this file>
Columns: protocol level, sender, bytes in hexadecimal, description.
"""
import sys
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

LINES = []


def quoted(text):
    return f'"{text}"'


def properties(found):
    """The description of a properties object."""
    out = []
    words = {"SubscriptionIdentifier": "subscription-identifier"}
    for name, value in vars(found).items() if found else []:
        if name in ("packetType", "types", "names", "properties"):
            continue
        key = words.get(name) or "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")
        if name == "UserProperty":
            out += [f"user-property={quoted(n)}:{quoted(v)}" for n, v in value]
        elif isinstance(value, bytes):
            out.append(f"{key}={value.hex()}")
        elif isinstance(value, str):
            out.append(f"{key}={quoted(value)}")
        elif isinstance(value, list):
            out += [f"{key}={v}" for v in value]
        else:
            out.append(f"{key}={int(value)}")
    return "{" + " ".join(sorted(out)) + "}"


def props(packet, **values):
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Capture(mqtt.Client):
    """A client whose packets go nowhere but into `sent`."""

    def __init__(self, level, **options):
        super().__init__(mqtt.CallbackAPIVersion.VERSION2, protocol=level, **options)
        self.sent = []
        self._sock = self  # It writes only when there is a socket.

    def close(self):
        """The socket it takes itself for needs this."""

    def _packet_queue(self, command, packet, mid, qos, info=None):
        self.sent.append(bytes(packet))
        return mqtt.MQTT_ERR_SUCCESS


def note(client, level, text):
    LINES.append(f"{level}\tclient\t{client.sent.pop().hex()}\t{text}")


def tail(level, found):
    return f" properties={properties(found)}" if level == 5 else ""


def connects(level):
    for clean in (True, False):
        for user, password in ((None, None), ("user", None), ("user", "pass"), ("é", "")):
            for will in (None, ("w/t", b"gone", 1, True), ("w", b"", 2, False)):
                options = {} if level == 5 else {"clean_session": clean}
                client = Capture(level, client_id="id-1", **options)
                found = will_found = None
                if level == 5:
                    client._clean_start = clean
                    found = props(PacketTypes.CONNECT, SessionExpiryInterval=77, ReceiveMaximum=5,
                                  UserProperty=[("a", "1"), ("b", "2")])
                    client._connect_properties = found
                    will_found = props(PacketTypes.WILLMESSAGE, WillDelayInterval=9, ContentType="text",
                                       CorrelationData=b"\x00\x01")
                if user is not None:
                    client.username_pw_set(user, password)
                if will is not None:
                    client.will_set(*will, properties=will_found)
                client._send_connect(60)
                text = f'connect level={level} clean={int(clean)} keep-alive=60 client="id-1"'
                if will is not None:
                    topic, payload, qos, retain = will
                    text += f' will-topic="{topic}" will-payload={payload.hex()} will-qos={qos} will-retain={int(retain)}'
                    if level == 5:
                        text += f" will-properties={properties(will_found)}"
                if user is not None:
                    text += f' user="{user}"'
                if password is not None:
                    text += f" password={password.encode().hex()}"
                note(client, level, text + tail(level, found))


def publishes(level):
    client = Capture(level)
    for qos in (0, 1, 2):
        for topic, payload in (("t", b"hi"), ("a/ü/$b", b""), ("long", b"x" * 200), ("bin", bytes(range(256)))):
            for retain in (False, True):
                for dup in ((False, True) if qos else (False,)):
                    found = None
                    if level == 5:
                        found = props(PacketTypes.PUBLISH, PayloadFormatIndicator=1, MessageExpiryInterval=0,
                                      ResponseTopic="r", CorrelationData=b"\xff", TopicAlias=3,
                                      UserProperty=[("k", "v"), ("k", "w")])
                    client._send_publish(7, topic.encode(), payload, qos, retain, dup, None, found)
                    text = f'publish dup={int(dup)} qos={qos} retain={int(retain)} topic="{topic}"'
                    if qos:
                        text += " id=7"
                    note(client, level, text + f" payload={payload.hex()}" + tail(level, found))


def subscribes(level):
    client = Capture(level)
    for filters in ([("a/+", 1)], [("#", 0), ("$SYS/#", 2), ("x/y", 1)]):
        found = None
        if level == 5:
            found = props(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=300, UserProperty=[("k", "v")])
            topics = [(f.encode(), SubscribeOptions(q, noLocal=True, retainAsPublished=True, retainHandling=2))
                      for f, q in filters]
            items = " ".join(f'filter="{f}":{q}:112' for f, q in filters)
        else:
            topics = [(f.encode(), q) for f, q in filters]
            items = " ".join(f'filter="{f}":{q}' for f, q in filters)
        _, mid = client._send_subscribe(False, topics, found)
        note(client, level, f"subscribe id={mid} {items}" + tail(level, found))
        found = props(PacketTypes.UNSUBSCRIBE, UserProperty=[("k", "v")]) if level == 5 else None
        _, mid = client._send_unsubscribe(False, [f.encode() for f, _ in filters], found)
        items = " ".join(f'filter="{f}"' for f, _ in filters)
        note(client, level, f"unsubscribe id={mid} {items}" + tail(level, found))


def small(level):
    client = Capture(level)
    for name in ("puback", "pubrec", "pubrel", "pubcomp"):
        getattr(client, f"_send_{name}")(258)
        note(client, level, f"{name} id=258" + (" reason=0" if level == 5 else "") + tail(level, None))
    client._send_pingreq()
    note(client, level, "pingreq")
    client._send_disconnect()
    note(client, level, "disconnect" + (" reason=0" if level == 5 else "") + tail(level, None))
    if level == 5:
        found = props(PacketTypes.DISCONNECT, SessionExpiryInterval=3, ReasonString="bye")
        client._send_disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=4), found)
        note(client, level, "disconnect reason=4" + tail(level, found))


for LEVEL in (3, 4, 5):
    connects(LEVEL)
    publishes(LEVEL)
    subscribes(LEVEL)
    small(LEVEL)
Path(sys.argv[1], "paho.tsv").write_text("\n".join(dict.fromkeys(LINES)) + "\n")
