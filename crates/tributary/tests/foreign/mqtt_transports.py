#!/usr/bin/env python3
"""TLS, WebSocket, users and rights between Mosquitto's own programs and ours, and with paho-mqtt.

    mqtt_transports.py TRIBUTARY

TRIBUTARY is our program. Mosquitto's broker and tools are Debian's. Prints one line for each check and ends with 1 when
one failed.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

HERE = Path(__file__).resolve().parent
CERTS = HERE.parents[2] / "mqtt" / "tests" / "certs"
BROKER = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
FAILED = []


def check(what, right, more=""):
    print(f"{'ok  ' if right else 'FAIL'} {what}{'' if right else f' {more}'}", flush=True)
    if not right:
        FAILED.append(what)


def run(*args):
    return subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until_open(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nobody listens on {port}")


def both_brokers(tributary, home):
    """A Mosquitto file for TLS with users, rights, client certificates and WebSocket, read by both brokers."""
    users, rights = home / "users", home / "rights"
    subprocess.run(["mosquitto_passwd", "-c", "-b", users, "alice", "secret"], check=True)
    subprocess.run([tributary, "mosquitto_passwd", "-b", users, "bob", "secret"], check=True)
    rights.write_text("user alice\ntopic a/#\nuser bob\ntopic read a/#\nuser device 1\ntopic a/#\n")
    for name, command in (("Mosquitto", [BROKER]), ("ours", [tributary, "mosquitto"])):
        tls, mutual, ws = free_port(), free_port(), free_port()
        files = f"cafile {CERTS}/ca.pem\ncertfile {CERTS}/server.pem\nkeyfile {CERTS}/server.key\n"
        conf = home / f"{name}.conf"
        conf.write_text(
            f"password_file {users}\nacl_file {rights}\nuser {'root' if os.geteuid() == 0 else 'mosquitto'}\n"
            f"listener {tls} 127.0.0.1\n{files}"
            f"listener {mutual} 127.0.0.1\n{files}require_certificate true\nuse_identity_as_username true\n"
            f"crlfile {CERTS}/crl.pem\n"
            f"listener {ws} 127.0.0.1\nprotocol websockets\n"
        )
        with open(home / f"{name}.log", "w") as log:
            broker = subprocess.Popen([*command, "-c", conf], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            for port in (tls, mutual, ws):
                until_open(port)
            yield name, tls, mutual, ws
        finally:
            broker.terminate()
            broker.wait(20)


def tools(kind, tributary):
    return lambda tool, *args: run(*([tributary] if kind == "our" else []), tool, *map(str, args))


def tls_users_and_rights(name, kind, tool, tls, mutual):
    label = f"{kind} tools, {name}:"
    server = ("-p", tls, "--cafile", CERTS / "ca.pem")
    alice, bob = ("-u", "alice", "-P", "secret"), ("-u", "bob", "-P", "secret")
    topic = f"a/{kind}"
    sent = tool("mosquitto_pub", *server, *alice, "-t", topic, "-m", "hello", "-q", "1", "-r")
    check(f"{label} publish over TLS with a password", sent.returncode == 0, sent.stderr)
    got = tool("mosquitto_sub", *server, *bob, "-t", topic, "-C", "1", "-W", "5")
    check(f"{label} the reader reads", got.stdout == "hello\n", got.stderr)
    denied = tool("mosquitto_pub", *server, *bob, "-V", "5", "-t", topic, "-m", "no", "-q", "1")
    check(f"{label} and may not write", "Not authorized" in denied.stderr, denied.stderr)
    wrong = tool("mosquitto_pub", *server, "-u", "alice", "-P", "x", "-t", topic, "-m", "no")
    check(f"{label} a wrong password", wrong.returncode == 5 and "not authorised" in wrong.stderr, wrong.stderr)
    stranger = tool("mosquitto_pub", "-p", tls, "--cafile", CERTS / "other-ca.pem", *alice, "-t", topic, "-m", "no")
    check(f"{label} an unknown authority", "A TLS error occurred." in stranger.stderr, stranger.stderr)
    server = ("-p", mutual, "--cafile", CERTS / "ca.pem")

    def with_certificate(who):
        identity = ("--cert", CERTS / f"{who}.pem", "--key", CERTS / f"{who}.key")
        return tool("mosquitto_sub", *server, *identity, "-t", topic, "-C", "1", "-W", "3")

    got = with_certificate("client")
    check(f"{label} a certificate as user name", got.stdout == "hello\n", got.stderr)
    for who in ("revoked", "stranger"):
        got = with_certificate(who)
        check(f"{label} the certificate {who} is refused", got.stdout == "" and got.returncode != 0, got.stderr)


def paho_over(name, transport, port):
    """paho-mqtt publishes and gets its message back."""
    arrived = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, "", protocol=paho.MQTTv5, transport=transport)
    client.username_pw_set("alice", "secret")
    if transport == "tcp":
        client.tls_set(ca_certs=str(CERTS / "ca.pem"))
    payload = os.urandom(100_000)
    client.on_connect = lambda c, *_: c.subscribe("a/paho", 1)
    client.on_subscribe = lambda c, *_: c.publish("a/paho", payload, 1)
    client.on_message = lambda c, _, m: arrived.set() if m.payload == payload else None
    client.connect("localhost" if transport == "tcp" else "127.0.0.1", port)
    client.loop_start()
    check(f"paho-mqtt, {name}: {'TLS' if transport == 'tcp' else 'WebSocket'}", arrived.wait(15))
    client.disconnect()
    client.loop_stop()


def main():
    tributary = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        for name, tls, mutual, ws in both_brokers(tributary, Path(home)):
            for kind in ("Mosquitto's", "our"):
                tls_users_and_rights(name, kind, tools(kind, tributary), tls, mutual)
            got = run(tributary, "mosquitto_sub", "-p", str(ws), "--ws", "-u", "bob", "-P", "secret", "-t", "a/our",
                      "-C", "1", "-W", "5")
            check(f"our tools, {name}: WebSocket", got.stdout == "hello\n", got.stderr)
            paho_over(name, "tcp", tls)
            paho_over(name, "websockets", ws)
    print(f"{len(FAILED)} failed")
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
