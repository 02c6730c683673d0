#!/usr/bin/env python3
"""Share groups with Apache Kafka's own share consumer and tools against us: every record to one of several consumers,
released and rejected ones, a consumer that is killed, the node killed with SIGKILL in between, offsets shown, reset and
deleted, settings of the group.

  share_groups.py --ours PATH

Ends with `N passed, M failed`."""
import argparse, os, shutil, signal, subprocess, sys, tempfile, time
import real_kafka

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
a = p.parse_args()
OURS = os.path.abspath(a.ours)
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleShareConsumer"
VERIFIABLE = "org.apache.kafka.tools.VerifiableShareConsumer"
GROUPS = "org.apache.kafka.tools.consumer.group.ShareGroupCommand"
RECORDS = 300
passed, failed = 0, []


def run(cls, *args, inp=None, timeout=120):
    r = subprocess.run(real_kafka.tool_command(cls, *args), input=inp, text=True, timeout=timeout,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return r.returncode, r.stdout, r.stderr


def tool(cls, *args, **more):
    code, out, err = run(cls, *args, **more)
    if code != 0:
        raise AssertionError("%s %s: exit %s\n%s%s" % (cls, " ".join(args), code, out[-3000:], err[-3000:]))
    return out


class Node:
    def __init__(self, data, kafka="127.0.0.1:0"):
        self.process = subprocess.Popen(
            [OURS, "serve", "--data", data, "--mqtt", "off", "--kafka", kafka, "--console", "off",
             "--set", "group.share.min.record.lock.duration.ms=1000",
             "--set", "group.share.min.heartbeat.interval.ms=500",
             "--set", "group.share.heartbeat.interval.ms=500"],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.kafka = None
        for line in self.process.stdout:
            words = line.split()
            if words[:2] == ["listening", "kafka"]:
                self.kafka = words[2]
            if words == ["ready"]:
                return
        raise SystemExit("the node did not start")

    def stop(self, how):
        self.process.send_signal(how)
        self.process.wait(30)


def check(name):
    def wrap(work):
        global passed
        try:
            work()
            passed += 1
            print("ok   " + name, flush=True)
        except Exception as e:
            failed.append(name)
            print("FAIL %s: %s" % (name, e), flush=True)
        return work
    return wrap


def expect(condition, *what):
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


def configure(node, group, *configs):
    tool("kafka.admin.ConfigCommand", "--bootstrap-server", node.kafka, "--alter", "--entity-type", "groups",
         "--entity-name", group, "--add-config", ",".join(configs))


def produce(node, topic, lines):
    tool("org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", node.kafka, "--topic", topic,
         inp="".join(line + "\n" for line in lines))


def consumer(node, topic, group, *args):
    return subprocess.Popen(real_kafka.tool_command(CONSUMER, "--bootstrap-server", node.kafka, "--topic", topic,
                                                    "--group", group, *args),
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)


def describe(node, group, *how):
    return tool(GROUPS, "--bootstrap-server", node.kafka, "--describe", "--group", group, *how)


def offsets(node, group):
    """Partition → start offset and lag, as words."""
    rows = [line.split() for line in describe(node, group, "--offsets").splitlines()]
    return {row[2]: row[3:] for row in rows if len(row) >= 4 and row[0] == group}


real_kafka.jars()
data = tempfile.mkdtemp(prefix="share-groups-")
node = Node(data)
try:
    values = ["value %d" % n for n in range(RECORDS)]
    tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", node.kafka, "--create", "--topic", "work",
         "--partitions", "3")

    @check("three consumers share all records, each once")
    def _():
        configure(node, "g", "share.auto.offset.reset=earliest")
        produce(node, "work", values)
        crew = [consumer(node, "work", "g", "--timeout-ms", "8000") for _ in range(3)]
        got = [worker.communicate(timeout=90)[0].splitlines() for worker in crew]
        together = sorted(line for lines in got for line in lines)
        expect(together == sorted(values), len(together), "records instead of", RECORDS)

    @check("groups, offsets and lag as kafka-share-groups shows them")
    def _():
        listed = tool(GROUPS, "--bootstrap-server", node.kafka, "--list")
        expect(listed.split() == ["g"], listed)
        rows = offsets(node, "g")
        expect(len(rows) == 3 and sum(int(row[0]) for row in rows.values()) == RECORDS, rows)
        state = describe(node, "g", "--state")
        expect("Empty" in state, state)

    @check("a running member is shown, and guards its group")
    def _():
        member = consumer(node, "work", "g")
        try:
            deadline = time.monotonic() + 30
            shown = ""
            while "work:" not in shown and time.monotonic() < deadline:
                shown = describe(node, "g", "--members")
            expect("work:" in shown, shown)
            code, out, err = run(GROUPS, "--bootstrap-server", node.kafka, "--delete", "--group", "g")
            expect("not empty" in (out + err).lower(), code, out, err)
        finally:
            member.terminate()
            member.communicate(timeout=30)

    @check("offsets are reset, and the records come again")
    def _():
        out = tool(GROUPS, "--bootstrap-server", node.kafka, "--reset-offsets", "--group", "g", "--topic", "work",
                   "--to-earliest", "--execute")
        expect(out.count("work") == 3, out)
        again = consumer(node, "work", "g", "--timeout-ms", "8000").communicate(timeout=60)[0].splitlines()
        expect(sorted(again) == sorted(values), len(again))

    @check("what is rejected does not come again, what is released does until its limit")
    def _():
        tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", node.kafka, "--create", "--topic", "bad")
        configure(node, "h", "share.auto.offset.reset=earliest", "share.delivery.count.limit=3")
        produce(node, "bad", ["one", "two"])
        got = consumer(node, "bad", "h", "--reject", "--timeout-ms", "6000").communicate(timeout=60)[0].split()
        expect(sorted(got) == ["one", "two"], got)
        produce(node, "bad", ["three"])
        got = consumer(node, "bad", "h", "--release", "--timeout-ms", "8000").communicate(timeout=60)[0].split()
        expect(got == ["three"] * 3, got)
        expect(offsets(node, "h")["0"][0] == "3", offsets(node, "h"))

    @check("a consumer that is killed gives back what it had")
    def _():
        tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", node.kafka, "--create", "--topic", "left")
        configure(node, "k", "share.auto.offset.reset=earliest")
        produce(node, "left", ["a%d" % n for n in range(10)])
        doomed = subprocess.Popen(
            real_kafka.tool_command(VERIFIABLE, "--bootstrap-server", node.kafka, "--topic", "left", "--group-id", "k",
                                    "--acknowledgement-mode", "sync"),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        for line in doomed.stdout:
            if "records_consumed" in line or "offsets_acknowledged" in line:
                break
        doomed.kill()
        doomed.wait(30)
        produce(node, "left", ["b%d" % n for n in range(10)])
        got = consumer(node, "left", "k", "--timeout-ms", "8000").communicate(timeout=60)[0].split()
        expect({"b%d" % n for n in range(10)} <= set(got) and len(got) == len(set(got)), got)
        expect(offsets(node, "k")["0"][0] == "20", offsets(node, "k"))

    @check("what was accepted stays accepted over SIGKILL, and the rest comes")
    def _():
        global node
        more = ["more %d" % n for n in range(RECORDS)]
        produce(node, "work", more)
        first = consumer(node, "work", "g", "--max-messages", "50").communicate(timeout=60)[0].splitlines()
        expect(len(first) == 50, len(first))
        node.stop(signal.SIGKILL)
        node = Node(data, node.kafka)
        rest = consumer(node, "work", "g", "--timeout-ms", "8000").communicate(timeout=60)[0].splitlines()
        expect(set(first) | set(rest) == set(more), "lost", sorted(set(more) - set(first) - set(rest))[:5])
        expect(not set(first) & set(rest), "again", sorted(set(first) & set(rest))[:5])

    @check("offsets and groups are deleted")
    def _():
        out = tool(GROUPS, "--bootstrap-server", node.kafka, "--delete-offsets", "--group", "g", "--topic", "work")
        expect("Successful" in out, out)
        out = tool(GROUPS, "--bootstrap-server", node.kafka, "--delete", "--group", "g")
        expect("success" in out.lower(), out)
        listed = tool(GROUPS, "--bootstrap-server", node.kafka, "--list")
        expect(sorted(listed.split()) == ["h", "k"], listed)

finally:
    node.stop(signal.SIGTERM)
    shutil.rmtree(data, ignore_errors=True)
print("%d passed, %d failed" % (passed, len(failed)))
sys.exit(1 if failed else 0)
