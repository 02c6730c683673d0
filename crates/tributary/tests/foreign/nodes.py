"""What tests of whole applications need: a node of ours that can be killed and started again on the same addresses,
programs that are killed with the test, and waiting for a state."""
import atexit, os, shutil, signal, socket, subprocess, sys, tempfile, time

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

WAIT = 240
# What a client hears of a node that is being killed and started.
AWAY = {ck.KafkaError._TRANSPORT, ck.KafkaError._TIMED_OUT, ck.KafkaError._ALL_BROKERS_DOWN, ck.KafkaError.COORDINATOR_NOT_AVAILABLE,
        ck.KafkaError.COORDINATOR_LOAD_IN_PROGRESS, ck.KafkaError.NOT_COORDINATOR, ck.KafkaError.LEADER_NOT_AVAILABLE}
_started = []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(condition, what, programs=()):
    """Waits until `condition` answers something true, and returns that."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            found = condition()
        except ck.KafkaException as e:
            if e.args[0].code() not in AWAY:
                raise
            found = None
        if found:
            return found
        for program in programs:
            if program.poll() is not None:
                raise AssertionError("%s ended while waiting for %s:\n%s" % (program.name, what, program.tail()))
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain for %s\n%s" % (what, "\n".join(p.name + ":\n" + p.tail() for p in programs)))
        time.sleep(0.05)


def equal(got, expected, what):
    assert got == expected, "%s: got %.2000r, expected %.2000r" % (what, got, expected)


def group_offsets(bootstrap, group):
    """What a group has committed, as {(topic, partition): offset}. By a client of its own: one whose broker was killed may wait
    for that group's coordinator for ever."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = admin.list_consumer_group_offsets([ck.ConsumerGroupTopicPartitions(group)])[group].result(WAIT)
    return {(tp.topic, tp.partition): tp.offset for tp in found.topic_partitions if tp.offset >= 0}


def end_offsets(bootstrap, partitions):
    """The last stable offsets of (topic, partition)s; by a client of its own, too."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    asked = {ck.TopicPartition(topic, n): ck.admin.OffsetSpec.latest() for topic, n in partitions}
    found = admin.list_offsets(asked, isolation_level=ck.IsolationLevel.READ_COMMITTED)
    return {(tp.topic, tp.partition): f.result(WAIT).offset for tp, f in found.items()}


class Program:
    """A process whose output goes to a file; killed when the test ends."""

    def __init__(self, name, command, log):
        self.name, self.log = name, log
        self.start_of_output = os.path.getsize(log) if os.path.exists(log) else 0
        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out)
        _started.append(self)

    def poll(self):
        return self.process.poll()

    def output(self):
        with open(self.log, errors="replace") as f:
            f.seek(self.start_of_output)
            return f.read()

    def tail(self):
        return self.output()[-3000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close_input(self):
        """For a program that ends with its standard input."""
        self.process.stdin.close()
        self.process.wait(WAIT)

    def stop(self):
        self.process.terminate()
        self.process.wait(WAIT)


class Node:
    """A node of ours."""

    def __init__(self, binary, home, settings=()):
        self.home, self.kafka = home, "127.0.0.1:%d" % free_port()
        self.command = [os.path.abspath(binary), "serve", "--console", "off", "--mqtt", "off", "--kafka", self.kafka,
                        "--data", os.path.join(home, "data")]
        for setting in settings:
            self.command += ["--set", setting]
        self.start()

    def start(self):
        self.program = Program("the node", self.command, os.path.join(self.home, "node.log"))
        until(lambda: "ready\n" in self.program.output(), "the node to start", [self.program])

    def kill_and_start(self):
        self.program.kill()
        self.start()


def home(name):
    """A folder for the test, removed when it ends."""
    path = tempfile.mkdtemp(prefix=name + "-")
    atexit.register(shutil.rmtree, path, True)
    return path


def _end_all():
    for program in _started:
        if program.poll() is None:
            program.process.kill()
            program.process.wait()


atexit.register(_end_all)  # before the folders go
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
