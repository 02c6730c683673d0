#!/usr/bin/env python3
"""Compacted topics as Apache Kafka's own tools see them: filled by its producer in every codec, compacted by us, its
kafka-dump-log finds segments, indexes and checksums valid, its consumer reads the newest value of each key, also after
a kill of the node.

  compaction.py --ours PATH

Ends with `N passed, M failed`."""
import argparse, glob, os, random, shutil, signal, subprocess, sys, tempfile, time
import real_kafka

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
a = p.parse_args()
OURS = os.path.abspath(a.ours)
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
KEYS = 20
RECORDS = 700
passed, failed = 0, []


def tool(cls, *args, inp=None):
    r = subprocess.run(real_kafka.tool_command(cls, *args), input=inp, text=True, timeout=120,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if r.returncode != 0:
        raise AssertionError("%s: exit %s\n%s%s" % (cls, r.returncode, r.stdout[-3000:], r.stderr[-3000:]))
    return r.stdout


class Node:
    def __init__(self, data):
        self.process = subprocess.Popen(
            [OURS, "serve", "--data", data, "--mqtt", "off", "--kafka", "127.0.0.1:0", "--console", "off",
             "--set", "log.cleaner.backoff.ms=100"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
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


def cleaned_to(data, topic):
    try:
        lines = open(os.path.join(data, "cleaner-offset-checkpoint")).read().splitlines()
    except FileNotFoundError:
        return 0
    return max([int(w[2]) for w in map(str.split, lines[2:]) if w[0] == topic] or [0])


def newest(bootstrap, topic):
    out = tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", topic,
               "--from-beginning", "--timeout-ms", "8000", "--formatter-property", "print.key=true")
    pairs = [line.split("\t", 1) for line in out.splitlines() if "\t" in line]
    return len(pairs), dict(pairs)


def one(node, data, codec):
    topic = "compacted-" + codec
    tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", node.kafka, "--create", "--topic", topic,
         "--config", "cleanup.policy=compact", "--config", "segment.bytes=1048576", "--config", "min.cleanable.dirty.ratio=0.01")
    draw = random.Random(codec)
    values, lines = {}, []
    for i in range(RECORDS):
        key = "key-%d" % draw.randrange(KEYS)
        values[key] = "%d-%s" % (i, draw.randbytes(2500).hex())
        lines.append("%s\t%s\n" % (key, values[key]))
    tool("org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", node.kafka, "--topic", topic, "--compression-codec", codec,
         "--reader-property", "parse.key=true", inp="".join(lines))
    folder = os.path.join(data, topic + "-0")

    def open_segment():
        return int(os.path.basename(max(glob.glob(folder + "/*.log")))[:20])

    # Everything before the open segment: until then the cleaner may still be at work.
    deadline = time.monotonic() + 60
    while open_segment() == 0 or cleaned_to(data, topic) != open_segment():
        if time.monotonic() > deadline:
            raise AssertionError("not compacted")
        time.sleep(0.1)
    files = sorted(glob.glob(folder + "/*.log"))
    out = tool("org.apache.kafka.tools.DumpLogSegments", "--deep-iteration", "--files", ",".join(files[:-1]))
    if "isvalid: true" not in out or "isvalid: false" in out or "invalid" in out.lower().replace("isvalid", ""):
        raise AssertionError("kafka-dump-log: " + out[-3000:])
    wanted = {"none": "compresscodec: none"}.get(codec, "compresscodec: " + codec)
    if wanted not in out.lower():
        raise AssertionError("the codec changed: " + out[-3000:])
    indexes = [f for f in sorted(glob.glob(folder + "/*index")) if os.path.getsize(f)]
    sane = tool("org.apache.kafka.tools.DumpLogSegments", "--index-sanity-check", "--files", ",".join(indexes))
    if "passed sanity check" not in sane:
        raise AssertionError("indexes: " + sane[-3000:])
    count, found = newest(node.kafka, topic)
    if found != values:
        raise AssertionError("%s: the newest values differ" % topic)
    if count >= RECORDS:
        raise AssertionError("%s: nothing was taken out" % topic)
    return topic, values


def main():
    global passed
    real_kafka.jars()
    data = tempfile.mkdtemp(prefix="compaction-")
    node = Node(data)
    try:
        filled = []
        for codec in CODECS:
            try:
                filled.append(one(node, data, codec))
                passed += 1
                print("pass compaction of", codec, flush=True)
            except Exception as e:
                failed.append(codec)
                print("FAIL compaction of", codec, e, flush=True)
        node.stop(signal.SIGKILL)
        node = Node(data)
        for topic, values in filled:
            if newest(node.kafka, topic)[1] == values:
                passed += 1
                print("pass", topic, "after a kill", flush=True)
            else:
                failed.append(topic)
                print("FAIL", topic, "after a kill", flush=True)
    finally:
        node.stop(signal.SIGTERM)
        shutil.rmtree(data, ignore_errors=True)
    print("%d passed, %d failed" % (passed, len(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
