#!/usr/bin/env python3
"""Runs the same commands with our mosquitto_pub, mosquitto_sub and mosquitto_rr and with Mosquitto's own, and
compares standard output, standard error, exit codes and the bytes they send.

    mosquitto_tools.py OURS ORIGINALS HOST:PORT [-k WORDS] [-v]

OURS and ORIGINALS are directories that hold the three programs (`tributary links DIR` makes the first). At
HOST:PORT an MQTT broker listens that allows anonymous clients. Needs only Python's standard library. Prints one line
for each failure and `N passed, N failed` at the end; exits with 1 when something failed.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TIMEOUT_S = 30
WORKERS = 6
TESTS = []


class Result:
    """What a run left behind, in comparable form."""

    def __init__(self, code, out, err, wire=None):
        self.code, self.out, self.err, self.wire = code, out, err, wire

    def key(self):
        return (self.code, self.out, self.err, self.wire)

    def __repr__(self):
        wire = f"\n     wire {self.wire}" if self.wire is not None else ""
        return f"exit {self.code}\n     out  {self.out!r}\n     err  {self.err!r}{wire}"


class Side:
    """One of the two sets of tools, and what it works against."""

    def __init__(self, directory, originals, host, port):
        self.directory, self.originals, self.host, self.port = directory, originals, host, port
        self.home = tempfile.mkdtemp(prefix="mosquitto-tools-")

    def command(self, tool, args, port=None, original=False):
        directory = self.originals if original else self.directory
        where = ["-h", self.host if port is None else "127.0.0.1", "-p", str(port or self.port)]
        return [str(Path(directory) / tool)] + ([] if port == 0 else where) + list(args)

    def environment(self, extra=None):
        kept = {k: v for k, v in os.environ.items() if k not in ("XDG_CONFIG_HOME", "TZ")}
        return {**kept, "HOME": self.home, **(extra or {})}

    def start(self, tool, args, port=None, stdin=None, env=None, original=False):
        return subprocess.Popen(
            self.command(tool, args, port, original),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(env),
        )

    def run(self, tool, args, port=None, stdin=None, env=None, original=False):
        process = self.start(tool, args, port, stdin, env, original)
        return finish(process, stdin)

    def publish(self, *args, stdin=None):
        """Publishes with Mosquitto's own tool, so that both sides are fed alike."""
        done = self.run("mosquitto_pub", args, stdin=stdin, original=True)
        assert done.code == 0, f"feeding failed: {done}"


def finish(process, stdin=None):
    try:
        out, err = process.communicate(stdin, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return Result("hangs", out, err)
    return Result(process.returncode, out, err)


def test(f):
    TESTS.append(f)
    return f


def independent(f):
    """Marks a test that does not use the common broker: such tests run side by side."""
    f.independent = True
    return f


def table(prefix, mark=lambda f: f):
    """A test for each row that the generator function yields: a name and a function of a side."""

    def add(generator):
        for name, function in generator():
            function.__name__ = f"{prefix}: {name}"
            TESTS.append(mark(function))
        return generator

    return add


# Command lines that fail before any connection is made.

BAD_LINES = {
    "mosquitto_pub": [
        "", "-t a", "-m b", "--bogus", "-q", "-q 3 -t a -m b", "-k 4", "-k 70000", "-k x", "-t a/# -m b", "-t a+b -m b",
        "-m a -n", "-n -l", "-s -f x", "-f", "-m", "-t", "-h", "-p", "-p -1", "-p 65536", "-i a -I b", "-I a -i b",
        "-u", "-P", "-V 4", "-V", "-v", "-C 1", "-W 1", "-F x", "-R", "-N", "-E", "-T a", "-U a", "-e a", "-c -t a -m b",
        "-c -V 5 -t a -m b", "-x 1y", "-x -2", "-x 4294967296", "-x", "-x -1 -V 5 -t a -m b", "--will-payload x -t a -m b",
        "--will-retain -t a -m b", "--will-topic a/#", "--will-qos 3", "--will-qos", "--will-topic", "-L http://x/y",
        "-L mqtt://x", "-L", "-D", "-D publish", "-D publish content-type", "-D nothing content-type x",
        "-D publish nothing x", "-D connect content-type x", "-D publish subscription-identifier 1",
        "-D publish topic-alias 70000", "-D publish payload-format-indicator 300", "-D publish user-property a",
        "-D puback reason-string x", "-D auth reason-string x", "-t a -m b -D connect receive-maximum 0",
        "-t a -m b -D publish content-type a -D publish content-type b", "-t a -m b -D connect maximum-packet-size 0",
        "-t a -m b -V 5 -x 5 -D connect session-expiry-interval 6", "--repeat 0", "--repeat", "--repeat-delay -1",
        "-M 0", "-M", "-A", "--unix", "--cafile", "--proxy", "-t a -f /nonexistent", "-i  -t a -m b",
        "-t a -m b -P secret",
    ],
    "mosquitto_sub": [
        "", "-t a#", "-t a/#/b", "-t +a", "-C 0 -t a", "-C x", "-C", "-W 0 -t a", "-W", "-m x", "-f x", "-l", "-n", "-r",
        "--repeat 1", "-F %z", "-F %", "-F %5", "-F @", "-F \\q", "-F \\", "-F", "-T a#", "-U +a", "-T", "-U",
        "-R --retained-only -t a", "--random-filter 0", "--random-filter", "-c -t a", "-t", "-D subscribe content-type x",
        "-D subscribe subscription-identifier x -D connect content-type a",
    ],
    "mosquitto_rr": ["", "-t a -m b", "-t a -e b", "-e a/#", "-e", "-l", "-C 1", "-r", "-t a -e b -m c -D publish response-topic d"],
}


@table("bad command line", independent)
def bad_lines():
    for tool, lines in BAD_LINES.items():
        for line in lines:
            def check(side, tool=tool, line=line):
                done = side.run(tool, line.split(" ") if line else [], port=0)
                # The usage that follows some errors is worded by each on its own.
                done.out = b""
                return done

            yield f"{tool} {line}", check


@test
@independent
def help_and_version_exit_with_1(side):
    codes = []
    for tool in BAD_LINES:
        for option in ("--help", "--version"):
            done = side.run(tool, [option], port=0)
            assert done.out.startswith(tool.encode()), done
            codes.append((done.code, done.err))
    return Result(0, codes, "")


@test
@independent
def help_names_every_option_of_the_original(side):
    for tool in BAD_LINES:
        original = side.run(tool, ["--help"], port=0, original=True).out.decode()
        text = side.run(tool, ["--help"], port=0).out.decode()
        for option in re.findall(r"^ (--?[a-zA-Z0-9-]+) :", original, re.M):
            assert re.search(rf"(^|[ ,(]){option}\b", text, re.M), f"{tool} --help does not name {option}"
    return Result(0, "", "")


# Servers that cannot be reached.


@table("no server", independent)
def no_server():
    rows = {
        "refused": ["-h", "127.0.0.1", "-p", "1"],
        "unknown host": ["-h", "host.invalid"],
        "no socket": ["--unix", "/nonexistent/socket"],
        "quiet": ["-h", "127.0.0.1", "-p", "1", "--quiet"],
        "bind address": ["-h", "127.0.0.1", "-p", "1", "-A", "127.0.0.1"],
        "version 3 with properties": ["-D", "connect", "receive-maximum", "5", "-V", "311"],
    }
    for name, args in rows.items():
        for tool, more in (("mosquitto_pub", ["-m", "x"]), ("mosquitto_sub", []), ("mosquitto_rr", ["-m", "x", "-e", "r"])):
            yield f"{tool} {name}", lambda side, tool=tool, args=args, more=more: side.run(
                tool, args + ["-t", "a"] + more, port=0
            )


# A broker of our own, which records what it is sent and answers as it is told.


class FakeBroker:
    """Answers each packet with what `answer(connection number, packet)` gives: bytes, or None to close."""

    def __init__(self, answer):
        self.answer = answer
        self.packets = []
        self.open = 0
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        number = 0
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.changed:
                self.open += 1
            with connection:
                self.converse(number, connection)
            with self.changed:
                self.open -= 1
                self.changed.notify_all()
            number += 1

    def converse(self, number, connection):
        stream = connection.makefile("rb")
        while True:
            try:
                packet = read_packet(stream)
                if packet is None:
                    return
                self.note(packet)
                answer = self.answer(number, packet)
                if answer is None:
                    return
                connection.sendall(answer)
            except OSError:
                return

    def note(self, what):
        with self.changed:
            self.packets.append(what)
            self.changed.notify_all()

    def wait_for(self, condition):
        """Waits until the recorded packets fulfil a condition."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self.packets), TIMEOUT_S), self.packets

    def wire(self):
        """Everything that came, when no connection is open any more."""
        with self.changed:
            self.changed.wait_for(lambda: self.open == 0, TIMEOUT_S)
            return [p.hex() for p in self.packets]

    def close(self):
        # Wakes the thread first: one that still waits would take another listener's connections.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(TIMEOUT_S)
        self.listener.close()


def read_packet(stream):
    head = stream.read(1)
    if not head:
        return None
    length, shift = 0, 0
    while True:
        byte = stream.read(1)
        if not byte:
            return None
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    body = stream.read(length)
    return head + body if len(body) == length else None


def kind(packet):
    return packet[0] >> 4


def packet_id(publish):
    """The packet identifier of a QoS 1 or 2 PUBLISH with a short remaining length."""
    topic = int.from_bytes(publish[2:4], "big")
    return publish[4 + topic : 6 + topic]


def body_id(packet):
    return packet[2:4]


def polite(v5=False, after_suback=b""):
    """The answers of a well-behaved broker."""

    def answer(_, packet):
        rc = b"\x00" if v5 else b""
        match kind(packet):
            case 1:
                return b"\x20\x03\x00\x00\x00" if v5 else b"\x20\x02\x00\x00"
            case 3:
                qos = packet[0] >> 1 & 3
                if qos == 0:
                    return b""
                return (b"\x40\x02", b"\x50\x02")[qos - 1] + packet_id(packet)
            case 5:
                return b"\x62\x02" + body_id(packet)
            case 6:
                return b"\x70\x02" + body_id(packet)
            case 8:
                return b"\x90" + bytes([3 + len(rc)]) + body_id(packet) + rc + b"\x00" + after_suback
            case 10:
                return b"\xb0" + (b"\x04" if v5 else b"\x02") + body_id(packet) + (b"\x00\x00" if v5 else b"")
            case 12:
                return b"\xd0\x00"
            case 14:
                return None
        return b""

    return answer


def with_fake(answer, tool, args, stdin=None, during=None):
    """A test that runs a tool against a fake broker and compares the bytes too."""

    def check(side):
        broker = FakeBroker(answer)
        try:
            process = side.start(tool, args, port=broker.port, stdin=stdin)
            if during:
                during(broker, process)
            done = finish(process, stdin)
            done.wire = broker.wire()
            return done
        finally:
            broker.close()

    return check


def in_any_order(check):
    """Lines are read while acknowledgements come: which is first is chance."""

    def sorted_check(side):
        done = check(side)
        done.out, done.wire = sorted(done.out.splitlines()), sorted(done.wire)
        return done

    return sorted_check


VERSIONS = [("31", False), ("311", False), ("5", True)]


@table("bytes", independent)
def bytes_sent():
    for version, v5 in VERSIONS:
        common = ["-V", version, "-t", "a/b", "-i", "me", "-d"]
        for qos in "012":
            yield f"pub -V {version} -q {qos}", with_fake(
                polite(v5), "mosquitto_pub", common + ["-q", qos, "-m", "hello"]
            )
        yield f"pub -V {version} will, user", with_fake(
            polite(v5),
            "mosquitto_pub",
            common
            + "-n -r -u user -P pass -k 77 --will-topic w/t --will-payload gone --will-qos 2 --will-retain -c".split(),
        )
        yield f"pub -V {version} repeat", with_fake(
            polite(v5), "mosquitto_pub", common + "-m x -q 1 --repeat 3 --repeat-delay 0.01".split()
        )
        for qos in "012":
            yield f"pub -V {version} lines at QoS {qos}", in_any_order(
                with_fake(polite(v5), "mosquitto_pub", common + ["-l", "-q", qos], stdin=b"one\n\nthree\nlast")
            )
        yield f"pub -V {version} no lines", with_fake(polite(v5), "mosquitto_pub", common + ["-l"], stdin=b"")
        yield f"sub -V {version}", with_fake(
            polite(v5, b"\x30\x06\x00\x01t" + (b"\x00hi" if v5 else b"hi!")),
            "mosquitto_sub",
            common + "-t second/# -U old -q 2 -C 1 -v".split(),
        )
        yield f"sub -V {version} -E", with_fake(polite(v5), "mosquitto_sub", common + ["-E"])
        two = b"\x34\x08\x00\x01t\x00\x07" + (b"\x00hi" if v5 else b"hi!")
        yield f"sub -V {version} QoS 2", with_fake(polite(v5, two), "mosquitto_sub", common + ["-C", "1", "-q", "2"])
        one = b"\x32\x08\x00\x01t\x00\x07" + (b"\x00hi" if v5 else b"hi!")
        yield f"sub -V {version} acknowledges only what it shows", with_fake(
            polite(v5, one + one.replace(b"\x00\x07", b"\x00\x08")), "mosquitto_sub", common + ["-C", "1", "-q", "1"]
        )
    five = ["-V", "5", "-t", "a", "-i", "me"]
    yield "sub options of 5", with_fake(
        polite(True), "mosquitto_sub", five + "-R --retain-as-published -E -x 60 -c -D subscribe subscription-identifier 9".split()
    )
    yield "pub properties", with_fake(
        polite(True),
        "mosquitto_pub",
        five
        + "-m x -D publish content-type text -D publish user-property a b -D publish message-expiry-interval 9 "
        "-D publish response-topic r -D publish correlation-data cd -D publish payload-format-indicator 1 "
        "-D disconnect session-expiry-interval 3".split(),
    )
    yield "pub topic alias", with_fake(
        polite(True), "mosquitto_pub", five + "-m x --repeat 3 -q 1 -D publish topic-alias 4".split()
    )
    yield "rr", with_fake(
        polite(True, b"\x30\x06\x00\x01r\x00ok"), "mosquitto_rr", ["-t", "a", "-e", "r", "-m", "x", "-i", "me", "-W", "5"]
    )
    yield "sub with -C asks for no more", with_fake(polite(True), "mosquitto_sub", five + ["-C", "3", "-E"])


@table("refusals", independent)
def refusals():
    for code in (1, 2, 3, 4, 5):
        answer = lambda _, __, code=code: b"\x20\x02\x00" + bytes([code])
        for tool, args in (("mosquitto_pub", ["-m", "x"]), ("mosquitto_pub", ["-l"]), ("mosquitto_sub", [])):
            check = with_fake(answer, tool, ["-t", "a"] + args, stdin=b"x\n")

            def quiet_wire(side, check=check):
                done = check(side)
                done.wire = None  # Whether a DISCONNECT is still sent depends on time.
                return done

            yield f"{tool} {args} code {code}", quiet_wire
    for code in (0x80, 0x84, 0x86, 0x87, 0x95, 0x9F):
        answer = lambda _, __, code=code: b"\x20\x03\x00" + bytes([code]) + b"\x00"
        for tool, args in (("mosquitto_pub", ["-m", "x"]), ("mosquitto_sub", []), ("mosquitto_rr", ["-m", "x", "-e", "r"])):
            check = with_fake(answer, tool, ["-V", "5", "-t", "a"] + args)

            def quiet_wire(side, check=check):
                done = check(side)
                done.wire = None
                return done

            yield f"{tool} {args} reason {code:#x}", quiet_wire


def then(first, *later):
    """Answers the first packets from a list (by type), everything else politely."""

    def answer(number, packet):
        for condition, reply in (first, *later):
            if condition(number, packet):
                return reply(packet) if callable(reply) else reply
        return polite(False)(number, packet)

    return answer


@test
@independent
def pub_tells_of_a_lost_connection(side):
    answer = then((lambda _, p: kind(p) == 3, None))
    return with_fake(answer, "mosquitto_pub", "-t a -m x -q 1 -i me".split())(side)


@test
@independent
def pub_tells_of_a_failed_publish(side):
    def answer(number, packet):
        if kind(packet) == 3:
            return b"\x40\x0a" + packet_id(packet) + b"\x87\x06\x1f\x00\x03why"
        return polite(True)(number, packet)

    return with_fake(answer, "mosquitto_pub", "-V 5 -t a -m x -q 1 -i me".split())(side)


@test
@independent
def pub_stops_when_the_server_disconnects(side):
    def answer(number, packet):
        return b"\xe0\x02\x8b\x00" if kind(packet) == 3 else polite(True)(number, packet)

    return with_fake(answer, "mosquitto_pub", "-V 5 -t a -m x -q 1 -i me -d".split())(side)


@test
@independent
def sub_ends_when_the_server_disconnects(side):
    def answer(number, packet):
        return b"\xe0\x02\x8e\x00" if kind(packet) == 8 else polite(True)(number, packet)

    return with_fake(answer, "mosquitto_sub", "-V 5 -t a -i me -d".split())(side)


@test
@independent
def sub_connects_again(side):
    answer = then(
        (lambda n, p: kind(p) == 8 and n < 2, None),
        (lambda n, p: kind(p) == 8, lambda p: b"\x90\x03" + body_id(p) + b"\x00" + b"\x30\x05\x00\x01thi"),
    )
    return with_fake(answer, "mosquitto_sub", "-t a -C 1 -i me".split())(side)


@test
@independent
def sub_gives_up_when_denied(side):
    answer = then((lambda _, p: kind(p) == 8, lambda p: b"\x90\x03" + body_id(p) + b"\x80"))
    return with_fake(answer, "mosquitto_sub", "-t a -i me".split())(side)


@test
@independent
def pub_lines_survive_a_lost_connection(side):
    """QoS 1: what was not acknowledged is sent again with DUP."""
    answer = then((lambda n, p: kind(p) == 3 and n == 0, None))
    return with_fake(answer, "mosquitto_pub", "-t a -l -q 1 -i me".split(), stdin=b"one\n")(side)


@test
@independent
def pub_qos_2_goes_on_after_a_lost_connection(side):
    answer = then((lambda n, p: kind(p) == 6 and n == 0, None))
    return with_fake(answer, "mosquitto_pub", "-t a -l -q 2 -i me".split(), stdin=b"one\n")(side)


@test
@independent
def keep_alive_pings(side):
    def during(broker, process):
        broker.wait_for(lambda packets: any(kind(p) == 12 for p in packets))
        time.sleep(0.2)  # The original hangs when interrupted while it writes.
        process.send_signal(signal.SIGTERM)

    return with_fake(polite(), "mosquitto_sub", "-t a -k 5 -i me".split(), during=during)(side)


@test
@independent
def a_second_missing_answer_to_a_ping_connects_again(side):
    """No answer to PINGREQ: the connection is dropped and made anew."""
    answer = then((lambda n, p: kind(p) == 12, b""))

    def during(broker, process):
        broker.wait_for(lambda packets: sum(kind(p) == 8 for p in packets) == 2)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)

    return with_fake(answer, "mosquitto_sub", "-t a -k 5 -i me".split(), during=during)(side)


def interrupted(number):
    def during(broker, process):
        broker.wait_for(lambda packets: any(kind(p) == 8 for p in packets))
        # The SUBACK is on its way; the answer to PINGREQ or the exit does not depend on it.
        time.sleep(0.2)
        process.send_signal(number)

    return during


@table("signals", independent)
def signals():
    for version, v5 in VERSIONS:
        for name in ("SIGINT", "SIGTERM"):
            yield f"sub -V {version} {name}", with_fake(
                polite(v5), "mosquitto_sub", ["-V", version, "-t", "a", "-i", "me"], during=interrupted(getattr(signal, name))
            )
        yield f"sub -V {version} -W", with_fake(
            polite(v5), "mosquitto_sub", ["-V", version, "-t", "a", "-i", "me", "-W", "1"]
        )
    silent = lambda _, __: b""
    yield "sub -W without CONNACK", with_fake(silent, "mosquitto_sub", "-t a -W 1 -i me".split())

    def kill_when_connecting(broker, process):
        broker.wait_for(lambda packets: bool(packets))
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)

    yield "sub SIGTERM without CONNACK", with_fake(silent, "mosquitto_sub", "-t a -i me".split(), during=kill_when_connecting)
    yield "pub SIGTERM", with_fake(silent, "mosquitto_pub", "-t a -m x -i me".split(), during=kill_when_connecting)
    yield "rr -W", with_fake(polite(True), "mosquitto_rr", "-t a -e r -m x -W 1 -i me".split())


# Against the real broker: what is sent, queued in a session and shown.

FORMATS = [
    "%p", "%t %q %r %l", "%x", "%X", "%10p|", "%-10p|", "%010p|", "%3p|", "%20t|", "%-20t|", "%.3t|", "%8.3t|", "%5l|%-5l|%05l|",
    "%4x|", "%20x|", "%-20x|", "%%", "\\t|\\n|\\\\|\\a|\\e|\\0|\\r|\\v", "@@", "@Y", "@y@C@G@Z@z", "@Q", "a b", "%-p|", "%-x|",
]
PAYLOADS = [b"hello", b"", b"\x00\x01\xff", b'{"a": [1, 2.50, null], "b": {"c": "\\u00e9"}}', "grüße".encode(), b'q"u\\o\x01\n']


def session(side, args, feed, name="difftest-session", more=()):
    """Subscribes in a persistent session, goes away, lets `feed` publish, and comes back to show what is queued."""
    same = ["-i", name, "-c", "-q", "2", "-t", "difftest/s/#"] + list(more)
    prepared = side.run("mosquitto_sub", same + ["-E"])
    assert prepared.code == 0, prepared
    feed()
    done = side.run("mosquitto_sub", same + ["-W", "10"] + args)
    forget(side, name)
    return done


def forget(side, name):
    """Ends a persistent session."""
    side.run("mosquitto_sub", ["-i", name, "-t", "difftest/none", "-E"], original=True)


SHOWN = [[], ["-v"], ["-N"], ["-v", "-N"]] + [
    ["-F", format] + more for format in ("%j", "%J") for more in ([], ["--pretty"])
] + [["-F", format] for format in FORMATS]


@table("show")
def shown():
    for args in SHOWN:
        def check(side, args=args):
            def feed():
                for payload in PAYLOADS:
                    given = ["-s"] if payload else ["-n"]
                    side.publish("-t", "difftest/s/abc", "-q", "1", *given, stdin=payload)

            done = session(side, ["-C", str(len(PAYLOADS))] + args, feed)
            stamp = rb'"tst":(\t?)"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z[+-]\d{4}"'
            done.out = re.sub(stamp, rb'"tst":\1"T"', done.out)
            return done

        yield " ".join(args), check


@test
def properties_are_shown(side):
    given = (
        "-D publish content-type text/plain -D publish response-topic re -D publish correlation-data cd "
        "-D publish user-property a 1 -D publish user-property b 2 -D publish payload-format-indicator 1"
    ).split()
    formats = "%C|%R|%D|%P|%F|%A|%S|%12C|%-12C|%3F|%03F|%5A|%5S|"
    done = session(
        side,
        ["-C", "2", "-F", formats],
        lambda: [
            side.publish("-V", "5", "-t", "difftest/s/p", "-q", "1", "-m", "x", *given),
            side.publish("-t", "difftest/s/p", "-q", "1", "-m", "without"),
        ],
        more=["-V", "5", "-D", "subscribe", "subscription-identifier", "42"],
    )
    return done


@test
def properties_are_shown_as_json(side):
    given = "-D publish content-type text -D publish user-property a 1 -D publish user-property a 2 -D publish response-topic r".split()

    def feed():
        side.publish("-V", "5", "-t", "difftest/s/p", "-q", "2", "-m", "5", *given)

    done = session(side, ["-C", "1", "-F", "%J", "--pretty"], feed, more=["-V", "5"])
    done.out = re.sub(rb'"tst":\t"[^"]*"', b'"tst":\t"T"', done.out)
    # The order of the properties is the server's.
    done.out = sorted(done.out.split(b"\n"))
    return done


@test
def times_are_shown_in_the_zone(side):
    """The moments differ, the forms must not."""
    name = "difftest-session"
    same = ["-i", name, "-c", "-q", "2", "-t", "difftest/s/#"]
    side.run("mosquitto_sub", same + ["-E"])
    shown = []
    for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "XYZ-3:30", "Nowhere/Nothing", ""):
        side.publish("-t", "difftest/s/x", "-q", "1", "-m", "x")
        form = "%I @z @Z @H @a @b @j @U @c @x @p"
        done = side.run("mosquitto_sub", same + ["-C", "1", "-W", "10", "-F", form], env={"TZ": zone})
        shown.append((zone, done.code, re.sub(rb"\d\d:\d\d:\d\d", b"TIME", done.out)))
    forget(side, name)
    return Result(0, shown, "")


@test
def filters_and_counts(side):
    def feed():
        for topic in ("a", "b", "c/d", "a", "e"):
            side.publish("-t", f"difftest/s/{topic}", "-q", "1", "-m", f"on {topic}")

    return session(side, ["-C", "3", "-v", "-T", "difftest/s/a", "-T", "+/+/c/#", "-T", "x"], feed)


def without_retained(f):
    def check(side):
        topics = ["difftest/r/1", "difftest/r/2", "difftest/r/3"]
        try:
            for topic in topics[:2]:
                side.publish("-t", topic, "-r", "-q", "1", "-m", f"kept {topic}")
            return f(side)
        finally:
            for topic in topics:
                side.publish("-t", topic, "-r", "-q", "1", "-n")

    check.__name__ = f.__name__
    return check


@test
@without_retained
def retained_messages(side):
    done = side.run("mosquitto_sub", "-t difftest/r/+ -C 2 -W 10 -v".split())
    done.out = sorted(done.out.splitlines())
    return done


@test
@without_retained
def retain_flag_is_shown(side):
    return side.run("mosquitto_sub", ["-t", "difftest/r/1", "-C", "1", "-W", "10", "-F", "%r %p"])


@test
@without_retained
def retained_messages_left_out(side):
    return side.run("mosquitto_sub", "-t difftest/r/+ -R -W 1 -v".split())


@test
@without_retained
def retained_messages_are_published(side):
    done = side.run("mosquitto_pub", "-t difftest/r/3 -r -q 2 -m new".split())
    kept = side.run("mosquitto_sub", "-t difftest/r/3 -C 1 -W 10".split(), original=True)
    return Result(done.code, kept.out, done.err)


@test
@without_retained
def retained_only_ends_at_the_first_other_message(side):
    """A live message must come: it is published until the tool ends."""
    process = side.start("mosquitto_sub", "-t difftest/r/# --retained-only -W 15".split())
    while process.poll() is None:
        side.publish("-t", "difftest/r/live", "-m", "live")
    done = finish(process)
    done.out = sorted(done.out.splitlines())
    return done


@test
@without_retained
def retained_messages_are_removed(side):
    """Mosquitto 2.0.11 never ends here with -C; so the time ends it, and what is left is compared."""
    side.run("mosquitto_sub", "-t difftest/r/# --remove-retained -W 2".split())
    left = side.run("mosquitto_sub", "-t difftest/r/# -W 1 -v".split(), original=True)
    return left


@table("publish")
def published():
    rows = {
        "QoS 0": ["-q", "0", "-m", "x"],
        "QoS 1": ["-q", "1", "-m", "x"],
        "QoS 2": ["-q", "2", "-m", "x"],
        "nothing": ["-n"],
        "version 5": ["-V", "5", "-q", "2", "-m", "x"],
        "version 3.1": ["-V", "31", "-q", "2", "-m", "x"],
        "repeated": ["-m", "x", "-q", "1", "--repeat", "3"],
        "repeated slowly": ["-m", "x", "-q", "2", "--repeat", "3", "--repeat-delay", "0.05"],
        "100 KB": ["-q", "1", "-m", "y" * 100_000],
        "few in flight": ["-q", "2", "-M", "1", "-m", "x", "--repeat", "5"],
        "URL": None,
    }
    for name, args in rows.items():
        def check(side, args=args):
            done = None

            def feed():
                nonlocal done
                if args is None:
                    url = f"mqtt://{side.host}:{side.port}/difftest/s/url"
                    done = side.run("mosquitto_pub", ["-L", url, "-q", "1", "-m", "x"], port=0)
                else:
                    done = side.run("mosquitto_pub", ["-t", "difftest/s/p"] + args)
                side.publish("-t", "difftest/s/end", "-q", "1", "-m", "end")

            expected = 2 if args is None or "--repeat" not in args else 1 + int(args[args.index("--repeat") + 1])
            got = session(side, ["-C", str(expected), "-F", "%t %q %r %l %p"], feed)
            return Result((done.code, got.code), (done.out, got.out), (done.err, got.err))

        yield name, check


@table("publish input")
def published_input():
    many = b"".join(b"line %d\n" % i for i in range(500))
    for name, args, stdin, count in [
        ("-s", ["-s"], b"all\nof\nit\x00\xff", 1),
        ("-l", ["-l"], b"one\ntwo\n\nfour", 4),
        ("-l many", ["-l"], many, 500),
        ("-l many at QoS 2", ["-l", "-q", "2"], many, 500),
        ("-l a long line", ["-l"], b"z" * 5000 + b"\nend\n", 2),
    ]:
        def check(side, args=args, stdin=stdin, count=count):
            done = None

            def feed():
                nonlocal done
                qos = [] if "-q" in args else ["-q", "1"]
                done = side.run("mosquitto_pub", ["-t", "difftest/s/p"] + qos + args, stdin=stdin)

            got = session(side, ["-C", str(count), "-F", "%l %p"], feed)
            return Result((done.code, got.code), (done.out, got.out), (done.err, got.err))

        yield name, check


@test
@independent
def publish_an_empty_input(side):
    return side.run("mosquitto_pub", ["-t", "difftest/x", "-s"], stdin=b"")


@test
def publish_a_file(side):
    path = Path(side.home) / "payload"
    path.write_bytes(b"from a file\n\x00")
    done = None

    def feed():
        nonlocal done
        done = side.run("mosquitto_pub", ["-t", "difftest/s/f", "-q", "1", "-f", str(path)])

    got = session(side, ["-C", "1"], feed)
    return Result((done.code, got.code), (done.out, got.out), (done.err, got.err))


@test
def option_files_are_read(side):
    config = Path(side.home) / ".config"
    config.mkdir(exist_ok=True)
    (config / "mosquitto_pub").write_text("# a comment\n-t difftest/s/from file\n-q 1\n\n-m words with spaces\n")
    try:
        done = None

        def feed():
            nonlocal done
            done = side.run("mosquitto_pub", [])

        # The feeder would read the file too; nothing else publishes here.
        got = session(side, ["-C", "1", "-v"], feed)
        bad = (config / "mosquitto_pub").write_text("--bogus\n") and side.run("mosquitto_pub", ["-t", "a", "-m", "b"])
        return Result((done.code, got.code, bad.code), (done.out, got.out, bad.out), (done.err, got.err, bad.err))
    finally:
        (config / "mosquitto_pub").unlink()


def start_with_will(side, args):
    """A subscriber with a will, once it has shown that it is there: it gets a retained message first."""
    will = "--will-topic difftest/s/will --will-payload gone --will-qos 1".split()
    side.publish("-t", "difftest/will/there", "-r", "-q", "1", "-m", "there")
    try:
        sub = side.start("mosquitto_sub", args + ["-i", "difftest-will", "-t", "difftest/will/there"] + will)
        assert sub.stdout.readline() == b"there\n"
        return sub
    finally:
        side.publish("-t", "difftest/will/there", "-r", "-q", "1", "-n")


@test
def a_will_is_published_when_interrupted(side):
    """SIGTERM: MQTT 5 tells the server to publish the will."""

    def feed():
        sub = start_with_will(side, ["-V", "5"])
        sub.send_signal(signal.SIGTERM)
        finish(sub)

    return session(side, ["-C", "1", "-v"], feed)


@test
def an_interrupted_subscriber_of_3_1_1_leaves_no_will(side):
    def feed():
        sub = start_with_will(side, [])
        sub.send_signal(signal.SIGINT)
        done = finish(sub)
        assert done.code == 0, done
        side.publish("-t", "difftest/s/end", "-q", "1", "-m", "end")

    return session(side, ["-C", "1", "-v"], feed)


@test
def request_and_response(side):
    """The answer comes from a subscriber that is there first, as a retained message."""
    side.publish("-t", "difftest/rr/answer", "-r", "-q", "1", "-m", "42")
    try:
        args = "-t difftest/rr/question -e difftest/rr/answer -m what -W 10 -q 1".split()
        return side.run("mosquitto_rr", args)
    finally:
        side.publish("-t", "difftest/rr/answer", "-r", "-q", "1", "-n")


@test
def request_without_response(side):
    return side.run("mosquitto_rr", "-t difftest/rr/question -e difftest/rr/silence -m what -W 1".split())


@test
def timeout_of_a_subscription(side):
    return side.run("mosquitto_sub", "-t difftest/nothing -W 1".split())


class Done:
    """A result that is there."""

    def __init__(self, value):
        self.value = value

    def result(self):
        return self.value


def compare(check, ours, original):
    """Runs a test on both sides; gives a description of the difference, or None."""
    try:
        expected = check(original)
        got = check(ours)
    except (AssertionError, OSError) as error:
        return f"     {type(error).__name__}: {error}"
    # The original closes its socket with bytes unread, so that the DISCONNECT it wrote may be lost on the way.
    if expected.wire is not None and got.wire and got.wire[:-1] == expected.wire and got.wire[-1].startswith("e0"):
        got.wire = expected.wire
    if got.key() == expected.key():
        return None
    return f"     original: {expected}\n     ours:     {got}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", help="directory with our tools")
    parser.add_argument("originals", help="directory with Mosquitto's own")
    parser.add_argument("broker", help="host:port of an MQTT broker")
    parser.add_argument("-k", metavar="WORDS", default="", help="only tests whose name holds WORDS")
    parser.add_argument("-v", action="store_true", help="name each test")
    args = parser.parse_args()
    host, _, port = args.broker.rpartition(":")
    ours = Side(Path(args.ours).resolve(), args.originals, host, int(port))
    original = Side(args.originals, args.originals, host, int(port))
    chosen = [check for check in TESTS if args.k in check.__name__]
    beside = [check for check in chosen if getattr(check, "independent", False)]
    passed = failed = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        differences = [(check, pool.submit(compare, check, ours, original)) for check in beside]
        for check in chosen:
            if check not in beside:
                differences.append((check, Done(compare(check, ours, original))))
        for check, difference in differences:
            difference = difference.result()
            if difference is None:
                passed += 1
                if args.v:
                    print(f"ok   {check.__name__}", flush=True)
            else:
                failed += 1
                print(f"FAIL {check.__name__}\n{difference}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
