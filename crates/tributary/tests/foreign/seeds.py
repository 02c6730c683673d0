#!/usr/bin/env python3
"""The commands that people have in their notes, as they stand there: names with .sh and .bat, --zookeeper, --broker-list,
`confluent local service start`. Only `localhost:9092` and mosquitto's port are replaced by those of the node under test.

  seeds.py --ours PATH      ends with `N passed, M failed`"""
import argparse, os, shutil, signal, socket, subprocess, sys, tempfile, traceback

p = argparse.ArgumentParser()
p.add_argument("--ours", required=True)
a = p.parse_args()
home = tempfile.mkdtemp(prefix="seeds-")
# A copy of its own: kafka-server-stop ends the brokers that run from its own file, and no others.
OURS = shutil.copy(os.path.abspath(a.ours), os.path.join(home, "tributary"))
passed, failed = 0, []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


KAFKA, MQTT = free_port(), free_port()
bin_ = os.path.join(home, "bin", "windows")
subprocess.run([OURS, "links", bin_], check=True, stdout=subprocess.DEVNULL)
for name in os.listdir(bin_):
    plain = name.split(".")[0]
    for suffix in (".bat", ".sh"):
        if not os.path.lexists(os.path.join(bin_, plain + suffix)):
            os.symlink(OURS, os.path.join(bin_, plain + suffix))
os.makedirs(os.path.join(home, "config"))
with open(os.path.join(home, "config", "server.properties"), "w") as f:
    f.write("broker.id=0\nlisteners=PLAINTEXT://localhost:%d\nnum.network.threads=3\nnum.io.threads=8\n"
            "socket.send.buffer.bytes=102400\nsocket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\n"
            "log.dirs=%s/kafka-logs\nnum.partitions=1\nnum.recovery.threads.per.data.dir=1\n"
            "offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n"
            "transaction.state.log.min.isr=1\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n"
            "log.retention.check.interval.ms=300000\nzookeeper.connect=localhost:2181\n"
            "zookeeper.connection.timeout.ms=18000\ngroup.initial.rebalance.delay.ms=0\ndelete.topic.enable=true\n"
            "mqtt=localhost:%d\n" % (KAFKA, home, MQTT))
with open(os.path.join(home, "config", "zookeeper.properties"), "w") as f:
    f.write("dataDir=/tmp/zookeeper\nclientPort=2181\nmaxClientCnxns=0\nadmin.enableServer=false\n")
env = {**os.environ, "PATH": bin_ + ":" + os.environ["PATH"], "HOME": home, "TMPDIR": home, "XDG_STATE_HOME": os.path.join(home, "state")}


def shell(command, inp="", expect=0, timeout=60):
    command = command.replace("localhost:9092", "localhost:%d" % KAFKA)
    r = subprocess.run(command, shell=True, cwd=home, env=env, input=inp, text=True, capture_output=True, timeout=timeout)
    assert r.returncode == expect, "%s: exit %s\n%s%s" % (command, r.returncode, r.stdout, r.stderr)
    return r.stdout


def check(name, function):
    global passed
    try:
        function()
        passed += 1
        print("pass", name, flush=True)
    except Exception:
        failed.append(name)
        print("FAIL", name, flush=True)
        traceback.print_exc()


def has(text, *parts):
    for part in parts:
        assert part in text, "%r is not in\n%s" % (part, text)


def consume(command, expected):
    """Runs a console consumer, which never ends by itself, until it printed what is expected; then Ctrl-C."""
    s = subprocess.Popen("exec " + command.replace("localhost:9092", "localhost:%d" % KAFKA), shell=True, cwd=home, env=env,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        got = [s.stdout.readline().rstrip("\n") for _ in expected]
        assert got == expected, got
        s.send_signal(signal.SIGINT)
        has(s.communicate(timeout=30)[1], "Processed a total of %d messages" % len(expected))
    finally:
        s.kill()
        s.wait()


server = subprocess.Popen("exec kafka-server-start.bat config/server.properties", shell=True, cwd=home, env=env,
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
for line in server.stdout:
    if line.strip() == "ready":
        break
check("zookeeper starts", lambda: [shell(c) for c in (
    "bin/windows/zookeeper-server-start.bat config/zookeeper.properties", "zookeeper-server-start.sh config/zookeeper.properties",
    "zookeeper-server-start config/zookeeper.properties")])
check("create through zookeeper", lambda: has(shell(
    "kafka-topics --zookeeper localhost:2181 --bootstrap-server localhost:9092 --create --topic MyfirstTopic1 --partitions 2 --replication-factor 1"),
    "Created topic MyfirstTopic1."))
check("create", lambda: has(shell("kafka-topics.sh --create --topic t1 --replication-factor 1 --partitions 3 --bootstrap-server localhost:9092"),
                            "Created topic t1."))
check("create with defaults", lambda: has(shell("bin/windows/kafka-topics.bat --create --topic user-topic --bootstrap-server localhost:9092"),
                                          "Created topic user-topic."))
check("create ten partitions", lambda: has(shell(
    "kafka-topics --create --bootstrap-server localhost:9092 --replication-factor 1 --partitions 10 --topic first-partitioned-topic"),
    "Created topic first-partitioned-topic."))
check("describe", lambda: has(shell("kafka-topics --describe --bootstrap-server localhost:9092 --topic first-partitioned-topic"),
                              "PartitionCount: 10", "Partition: 9"))
check("describe one", lambda: has(shell("bin/windows/kafka-topics.bat --describe --topic user-topic --bootstrap-server localhost:9092"),
                                  "PartitionCount: 1", "Leader:"))
check("list", lambda: has(shell("kafka-topics.bat --list --bootstrap-server localhost:9092"), "user-topic\n", "MyfirstTopic1\n"))
check("list with a cross", lambda: has(shell("kafka-topics --list --bootstrap-server localhost:9092"), "first-partitioned-topic"))
check("no arguments: the usage", lambda: shell("bin/windows/kafka-topics.bat", expect=1))
check("produce", lambda: shell("bin/windows/kafka-console-producer.bat --topic user-topic --bootstrap-server localhost:9092", "hello\nworld\n"))
check("produce by broker list", lambda: shell("kafka-console-producer --broker-list localhost:9092 --topic MyfirstTopic1", "one\n"))
check("consume from the beginning", lambda: consume(
    "bin/windows/kafka-console-consumer.bat --topic user-topic --from-beginning --bootstrap-server localhost:9092", ["hello", "world"]))
check("an MQTT publish is consumed", lambda: (
    shell("mosquitto_pub -h localhost -p %d -t kafka-topic -m msg" % MQTT),
    shell("mosquitto_pub \u2013h localhost -p %d \u2013t kafka-topic \u2013m msg" % MQTT),
    consume("kafka-console-consumer.bat --bootstrap-server localhost:9092 --topic kafka-topic --from-beginning ", ["msg", "msg"])))
check("delete", lambda: (shell("kafka-topics --delete --bootstrap-server localhost:9092 --topic user-topic"),
                         shell("kafka-topics --delete --bootstrap-server localhost:9092 --topic first-partitioned-topic                           ")))
check("kafka-server-stop", lambda: (shell("kafka-server-stop"), server.wait(30)))
check("nothing more to stop", lambda: has(shell("kafka-server-stop", expect=1), "No kafka server to stop"))
for words in ("local service", "local services"):
    if any(socket.socket().connect_ex(("127.0.0.1", port)) == 0 for port in (9092, 1883, 8080)):
        print("skip confluent %s: its fixed ports are in use on this machine" % words)
        continue
    check("confluent %s start, status, stop" % words, lambda: (
        shell("confluent %s start" % words), shell("confluent %s status" % words), shell("confluent %s stop" % words)))
server.kill()
server.wait()
shutil.rmtree(home, ignore_errors=True)
print("%d passed, %d failed" % (passed, len(failed)))
sys.exit(1 if failed else 0)
