#!/usr/bin/env python3
"""Compares our broker, started with a Mosquitto file, with Mosquitto itself: answers of dynamic security and its tool,
and bridges between the two.

    mosquitto_broker.py TRIBUTARY [ORIGINALS]

ORIGINALS holds Mosquitto's own programs (/usr/bin). Needs only Python's standard library and Debian's mosquitto. Prints one
line for each failure and `N passed, N failed` at the end; exits with 1 when something failed.
"""

import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRIBUTARY = sys.argv[1]
ORIGINALS = Path(sys.argv[2] if len(sys.argv) > 2 else "/usr/bin")
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
PLUGIN = next(iter(glob.glob("/usr/lib/*/mosquitto_dynamic_security.so")), None)
PATIENCE_S = 30
BOTH = ("mosquitto", "tributary")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """One of the two, with a file of its own."""

    def __init__(self, kind, folder, lines, port=None):
        self.kind, self.folder, self.port = kind, Path(folder), port or free_port()
        self.folder.mkdir(exist_ok=True)
        conf = self.folder / "mosquitto.conf"
        user = ["user root"] if os.geteuid() == 0 else []
        keep = ["persistence true", f"persistence_location {self.folder}/"]
        conf.write_text("\n".join([f"listener {self.port} 127.0.0.1", *user, *keep, *lines]) + "\n")
        command = [MOSQUITTO] if kind == "mosquitto" else [TRIBUTARY, "mosquitto"]
        self.log = open(self.folder / "log", "a")
        self.process = subprocess.Popen([*command, "-c", str(conf)], stdout=self.log, stderr=self.log)
        wait(lambda: connects(self.port), f"{kind} does not listen", self.process)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def kill(self):
        self.process.kill()
        self.process.wait()


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def wait(done, what, process=None):
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert process is None or process.poll() is None, f"{what}: it has ended"
        assert time.monotonic() < end, what
        time.sleep(0.05)


def tool(kind, name, *args):
    command = [str(ORIGINALS / name)] if kind == "mosquitto" else [TRIBUTARY, name]
    done = subprocess.run([*command, *map(str, args)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


# --- dynamic security ------------------------------------------------------------------------------------------------

# The group of clients without a name is never deleted here: Mosquitto 2.0.11 would crash.
COMMANDS = """
getDefaultACLAccess
listClients
listRoles
createRole reader
createRole reader
addRoleACL reader subscribePattern a/# allow 5
addRoleACL reader subscribePattern a/# allow 5
addRoleACL reader publishClientReceive a/# allow
addRoleACL reader publishClientSend b/+ deny 2
addRoleACL reader wrong a allow
addRoleACL nobody publishClientSend a allow
addRoleACL reader publishClientSend a/#/b allow
createRole writer
getRole reader
getRole nobody
listRoles 1 1
createGroup things
addGroupRole things reader 3
addGroupRole things reader 3
addGroupRole things nobody
createClient u1 -p pw -c only-this
createClient u2 -p pw
createClient u2 -p pw
addGroupClient things u1 7
addGroupClient things u1 7
addGroupClient nothing u1
addGroupClient things nobody
addClientRole u2 writer
addClientRole u2 reader 9
addClientRole u2 nobody
getClient u1
getClient u2
getClient nobody
getGroup things
listGroups
disableClient u2
getClient u2
enableClient u2
setClientId u1
getClient u1
setClientPassword u1 other
getAnonymousGroup
setAnonymousGroup things
setAnonymousGroup nothing
getAnonymousGroup
removeClientRole u2 writer
removeGroupClient things u1
removeGroupRole things reader
removeRoleACL reader publishClientSend b/+
removeRoleACL reader publishClientSend b/+
getRole reader
deleteRole reader
deleteClient u2
deleteClient u2
createGroup others
setAnonymousGroup others
deleteGroup things
listClients
listGroups
listRoles
createClient
nonsense
getClient a b
""".strip().splitlines()


def dynamic_security(scratch, report):
    if PLUGIN is None:
        return print("Mosquitto's plugin is not installed: dynamic security is not compared")
    answers = {}
    for broker_kind in BOTH:
        for tool_kind in BOTH:
            folder = scratch / f"dynsec-{broker_kind}-{tool_kind}"
            folder.mkdir()
            file = folder / "dynsec.json"
            code, _, err = tool(tool_kind, "mosquitto_ctrl", "dynsec", "init", file, "admin", "secret")
            assert (code, err) == (0, ""), err
            lines = [f"plugin {PLUGIN}", f"plugin_opt_config_file {file}"]
            broker = Broker(broker_kind, folder, lines)
            login = ["-h", "127.0.0.1", "-p", broker.port, "-u", "admin", "-P", "secret"]
            answers[broker_kind, tool_kind] = [tool(tool_kind, "mosquitto_ctrl", *login, "dynsec", *c.split()) for c in COMMANDS]
            wrong = tool(tool_kind, "mosquitto_ctrl", *login[:-1], "wrong", "dynsec", "listClients")
            answers[broker_kind, tool_kind].append(wrong)
            broker.stop()
            # Each reads what the other has written.
            other = BOTH[1 - BOTH.index(broker_kind)]
            broker = Broker(other, folder, lines, broker.port)
            again = tool("mosquitto", "mosquitto_ctrl", *login, "dynsec", "getClient", "u1")
            report(f"{other} reads the file of {broker_kind}", again[1], "Username: u1\nClientid:\n")
            broker.stop()
    expected = answers["mosquitto", "mosquitto"]
    for (broker_kind, tool_kind), got in answers.items():
        for command, answer, wanted in zip([*COMMANDS, "a wrong password"], got, expected):
            report(f"{command} ({tool_kind}'s tool, {broker_kind}'s broker)", answer, wanted)


# --- bridges ---------------------------------------------------------------------------------------------------------


def collect(broker, topic, count):
    """Starts to take messages."""
    command = [str(ORIGINALS / "mosquitto_sub"), "-h", "127.0.0.1", "-p", str(broker.port), "-q", "2", "-t", topic]
    command += ["-C", str(count), "-W", str(PATIENCE_S), "-i", f"collector-{topic[:3]}", "-c"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def subscribed(broker, topic):
    """A persistent session there, which the collector takes up."""
    done = tool("mosquitto", "mosquitto_sub", "-h", "127.0.0.1", "-p", broker.port, "-q", "2", "-t", topic, "-E", "-i", f"collector-{topic[:3]}", "-c")
    assert done[0] == 0, done


def publish(broker, topic, texts):
    process = subprocess.run(
        [str(ORIGINALS / "mosquitto_pub"), "-h", "127.0.0.1", "-p", str(broker.port), "-q", "2", "-t", topic, "-l"],
        input="".join(f"{t}\n" for t in texts), text=True, timeout=PATIENCE_S, capture_output=True,
    )
    assert process.returncode == 0, process.stderr


def bridged(near, far, version, scratch, report):
    name = f"bridge {near} -> {far}, {version}"
    folder = scratch / f"{near}-{far}-{version}"
    folder.mkdir()
    core = Broker(far, folder / "core", ["allow_anonymous true"])
    lines = [
        "allow_anonymous true", "connection b", f"address 127.0.0.1:{core.port}", "remote_clientid edge", "restart_timeout 1",
        f"bridge_protocol_version {version}", "topic up/# out 2 \"\" from-edge/", "topic down/# in 2",
    ]
    if near == "tributary" and version == "mqttv50":
        lines.append("bridge_session_expiry_interval 3600")
    edge = Broker(near, folder / "edge", lines)
    subscribed(core, "from-edge/#")
    subscribed(edge, "down/#")
    state = tool("mosquitto", "mosquitto_sub", "-h", "127.0.0.1", "-p", core.port, "-t", "$SYS/broker/connection/edge/state", "-W", PATIENCE_S, "-C", 1)
    report(f"{name}: its state", state[1], "1\n")
    # What is retained there comes as soon as the bridge has subscribed.
    tool("mosquitto", "mosquitto_pub", "-h", "127.0.0.1", "-p", core.port, "-t", "down/ready", "-r", "-m", "ready")
    ready = tool("mosquitto", "mosquitto_sub", "-h", "127.0.0.1", "-p", edge.port, "-t", "down/ready", "-W", PATIENCE_S, "-C", 1)
    report(f"{name}: it has subscribed", ready[1], "ready\n")
    texts = [str(n) for n in range(30)]
    publish(edge, "up/x", texts[:10])
    if far == "tributary":
        core.kill()
    else:
        core.stop()
    publish(edge, "up/x", texts[10:20])
    core = Broker(far, folder / "core", ["allow_anonymous true"], core.port)
    publish(edge, "up/x", texts[20:])
    out, _ = collect(core, "from-edge/#", 30).communicate(timeout=60)
    report(f"{name}: up, with the other side away", out.split(), texts)
    if near == "tributary":
        # Mosquitto's version 5 bridges lose what comes while they are away, and a killed Mosquitto what it had.
        publish(core, "down/x", texts[:5])
        edge.kill()
        publish(core, "down/x", texts[5:10])
        edge = Broker(near, folder / "edge", lines, edge.port)
        out, _ = collect(edge, "down/#", 11).communicate(timeout=60)
        report(f"{name}: down, with this side killed", [t for t in out.split() if t != "ready"], texts[:10])
    edge.stop()
    core.stop()


# --- $SYS --------------------------------------------------------------------------------------------------------------


def sys_names(scratch, report):
    """Each name of Mosquitto's is here, too; ours has a few more, of what Mosquitto does not have."""
    brokers = [Broker(kind, scratch / f"sys-{kind}", ["allow_anonymous true", "sys_interval 1"]) for kind in BOTH]
    watching = [
        subprocess.Popen([str(ORIGINALS / "mosquitto_sub"), "-p", str(b.port), "-t", "$SYS/#", "-W", "4", "-F", "%t"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for b in brokers
    ]
    theirs, ours = [set(w.communicate(timeout=PATIENCE_S)[0].splitlines()) for w in watching]
    report("$SYS: what Mosquitto has", theirs - ours, set())
    report("$SYS: what is our own", ours - theirs, {"$SYS/broker/publish/messages/lost-to-retention"})
    for b in brokers:
        b.stop()


def main():
    counts = {True: 0, False: 0}

    def report(what, got, wanted):
        ok = wanted == got or (isinstance(wanted, str) and isinstance(got, str) and what.endswith("'s file") and got.startswith(wanted))
        if "reads the file" in what:
            ok = got.startswith(wanted)
        counts[ok] += 1
        if not ok:
            print(f"FAIL {what}\n     got    {got!r}\n     wanted {wanted!r}")

    scratch = Path(tempfile.mkdtemp(prefix="mosquitto-broker-"))
    try:
        sys_names(scratch, report)
        dynamic_security(scratch, report)
        for near, far in [("tributary", "mosquitto"), ("mosquitto", "tributary"), ("tributary", "tributary")]:
            for version in ["mqttv311", "mqttv50"] if near == "tributary" else ["mqttv311"]:
                bridged(near, far, version, scratch, report)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{counts[True]} passed, {counts[False]} failed")
    return 1 if counts[False] else 0


if __name__ == "__main__":
    sys.exit(main())
