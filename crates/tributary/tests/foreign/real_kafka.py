#!/usr/bin/env python3
"""Real Apache Kafka 4.3.1 from Maven: its jars (broker, tools, Streams, Connect, MirrorMaker), one KRaft node of it or a cluster,
its command-line tools, and our Java programs on its libraries.

As a module: `jars()`, `tool_command(cls, *args)`, `java_command(cls, *args)`, `RealKafka()` and `RealCluster()` (context managers
with `.bootstrap`).
As a program:
    real_kafka.py jars                     fetch the jars, print their folder
    real_kafka.py run [--brokers N] [--data DIR] [--set KEY=VALUE]...
                                           start a node or several, print `bootstrap HOST:PORT,…`, run until stdin ends or SIGTERM
    real_kafka.py tool CLASS [ARG...]      run one of Kafka's classes (e.g. org.apache.kafka.tools.TopicCommand)
    real_kafka.py java CLASS [ARG...]      run one of the programs in java/
Needs java, javac and mvn. Everything is kept under target/foreign/ of the repository (or $FOREIGN_DIR)."""
import atexit, base64, fcntl, os, re, shutil, signal, socket, subprocess, sys, tempfile, time, uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(HERE))))
DIR = os.environ.get("FOREIGN_DIR") or os.path.join(ROOT, "target", "foreign")
VERSION = "4.3.1"
LIB = os.path.join(DIR, "kafka-" + VERSION)
LOG4J = os.path.join(DIR, "log4j2.properties")
CDS = os.path.join(DIR, "kafka-%s.jsa" % VERSION)
POM = os.path.join(DIR, "kafka.installed")
CLASSES = os.path.join(DIR, "java")

# What bin/kafka-run-class.sh gives the tools: warnings and errors on stderr, nothing else.
LOG4J_TEXT = """rootLogger.level=WARN
rootLogger.appenderRef.e.ref=E
appender.e.type=Console
appender.e.name=E
appender.e.target=SYSTEM_ERR
appender.e.layout.type=PatternLayout
appender.e.layout.pattern=[%d] %p %m (%c)%n
"""


def jars():
    """Kafka's jars as a folder; fetched once, also when several tests ask at the same time."""
    os.makedirs(DIR, exist_ok=True)
    with open(os.path.join(DIR, "kafka.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(os.path.join(HERE, "pom.xml")) as f:
            wanted = f.read()
        if not os.path.isdir(LIB) or _text(POM) != wanted:
            for old in (LIB, CDS, CLASSES):
                shutil.rmtree(old, ignore_errors=True) if os.path.isdir(old) else os.path.exists(old) and os.remove(old)
            part = LIB + ".part"
            shutil.rmtree(part, ignore_errors=True)
            subprocess.run(["mvn", "-q", "-B", "-f", os.path.join(HERE, "pom.xml"), "-Dkafka.version=" + VERSION,
                            "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=" + part],
                           check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
            os.rename(part, LIB)
            with open(POM, "w") as f:
                f.write(wanted)
        if not os.path.exists(LOG4J):
            with open(LOG4J, "w") as f:
                f.write(LOG4J_TEXT)
        if not os.path.exists(CDS):  # a class archive: halves the start-up of each tool
            props = os.path.join(DIR, "archive.properties")
            with open(props, "w") as f:
                f.write("default.api.timeout.ms=1500\nrequest.timeout.ms=1000\n")
            subprocess.run(["java", "-XX:ArchiveClassesAtExit=" + CDS] + _options() + ["-cp", LIB + "/*",
                            "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", "127.0.0.1:1", "--list",
                            "--command-config", props],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return LIB


def _text(path):
    try:
        with open(path) as f:
            return f.read()
    except FileNotFoundError:
        return None


def java_command(cls, *args, heap="256M"):
    """The command line that runs one of the programs in java/, compiled when they or the jars have changed."""
    jars()
    names = sorted(os.listdir(os.path.join(HERE, "java")))
    sources = [os.path.join(HERE, "java", name) for name in names]
    wanted = (_text(POM) or "") + "".join(_text(source) for source in sources)
    stamp = os.path.join(CLASSES, "compiled")
    with open(os.path.join(DIR, "kafka.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _text(stamp) != wanted:
            shutil.rmtree(CLASSES, ignore_errors=True)
            subprocess.run(["javac", "-nowarn", "-d", CLASSES, "-cp", LIB + "/*"] + sources, check=True,
                           stdin=subprocess.DEVNULL, stdout=sys.stderr)
            with open(stamp, "w") as f:
                f.write(wanted)
    return ["java", "-Xmx" + heap] + _options() + ["-cp", CLASSES + os.pathsep + LIB + "/*", cls] + list(args)


def _options():
    return ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=" + LOG4J]


def tool_command(cls, *args, heap="256M"):
    """The command line that runs Kafka's class `cls`."""
    archive = ["-XX:SharedArchiveFile=" + CDS, "-Xshare:auto", "-Xlog:cds*=off"] if os.path.exists(CDS) else []
    return ["java", "-Xmx" + heap] + archive + _options() + ["-cp", LIB + "/*", cls] + list(args)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def new_uuid():
    """As Kafka writes them; one that no tool takes for a flag."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return "A" + text[1:] if text.startswith("-") else text


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def thread_states(pid):
    """Of a process, as the kernel writes them: T = stopped."""
    for thread in os.listdir("/proc/%d/task" % pid):
        yield _text("/proc/%d/task/%s/stat" % (pid, thread)).rsplit(")", 1)[1].split()[0]


class RealKafka:
    """One combined broker and controller on loopback, with id 1. `settings`: more lines of server.properties."""

    def __init__(self, data=None, settings=None, start_seconds=90):
        jars()
        self.own_data = data is None
        self.data = data or tempfile.mkdtemp(prefix="real-kafka-")
        self.port, controller = free_port(), free_port()
        self.bootstrap = "127.0.0.1:%d" % self.port
        properties = {
            "process.roles": "broker,controller", "node.id": "1", "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": "127.0.0.1:%d" % controller,
            "listeners": "PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d" % (self.bootstrap, controller),
            "advertised.listeners": "PLAINTEXT://" + self.bootstrap,
            "log.dirs": os.path.join(self.data, "log"), "num.partitions": "1",
            "offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "3",
            "transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1", "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }
        properties.update(settings or {})
        os.makedirs(self.data, exist_ok=True)
        config = os.path.join(self.data, "server.properties")
        with open(config, "w") as f:
            f.writelines("%s=%s\n" % kv for kv in properties.items())
        cluster = new_uuid()
        self.log = os.path.join(self.data, "node.out")
        with open(self.log, "wb") as out:
            if not os.path.exists(os.path.join(self.data, "log", "meta.properties")):
                subprocess.run(tool_command("kafka.tools.StorageTool", "format", "-t", cluster, "-c", config, "--standalone"),
                               check=True, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            self.process = subprocess.Popen(tool_command("kafka.Kafka", config, heap="512M"),
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        deadline = time.monotonic() + start_seconds
        while not accepts(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop(keep_data=True)
                raise SystemExit("real Kafka did not start:\n" + open(self.log, errors="replace").read()[-3000:])
            time.sleep(0.1)

    def stop(self, keep_data=False):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.own_data and not keep_data:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class RealCluster:
    """Combined brokers and controllers on loopback with ids from 1 on: topics have a replica on each, and take writes while at most
    one is away. `settings`: more lines of server.properties. `users` (names and passwords): the cluster has access control, and a
    second listener where they say who they are (SASL PLAIN), `.sasl`; who comes to the first may do everything."""

    def __init__(self, brokers=3, settings=None, users=None, heap="320M"):
        jars()
        self.data, self.heap = tempfile.mkdtemp(prefix="real-cluster-"), heap
        self.ids = list(range(1, brokers + 1))
        clients, controllers, named = ({n: free_port() for n in self.ids} for _ in range(3))
        self.clients, self.processes = clients, {}
        self.bootstrap = ",".join("127.0.0.1:%d" % clients[n] for n in self.ids)
        self.sasl = ",".join("127.0.0.1:%d" % named[n] for n in self.ids)
        copies, enough = str(min(3, brokers)), str(min(2, brokers))
        cluster = new_uuid()
        for n in self.ids:
            properties = {
                "process.roles": "broker,controller", "node.id": str(n), "controller.listener.names": "CONTROLLER",
                "controller.quorum.voters": ",".join("%d@127.0.0.1:%d" % (i, controllers[i]) for i in self.ids),
                "listeners": "PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d" % (clients[n], controllers[n]),
                "advertised.listeners": "PLAINTEXT://127.0.0.1:%d" % clients[n],
                "log.dirs": self._log_dir(n), "num.partitions": "1",
                "default.replication.factor": copies, "min.insync.replicas": enough,
                "offsets.topic.replication.factor": copies, "offsets.topic.num.partitions": "3",
                "transaction.state.log.replication.factor": copies, "transaction.state.log.min.isr": enough,
                "transaction.state.log.num.partitions": "3",
                "share.coordinator.state.topic.replication.factor": copies, "share.coordinator.state.topic.min.isr": enough,
                "group.initial.rebalance.delay.ms": "0",
                # A broker that was killed is missed after three seconds, not nine.
                "broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500",
            }
            if users:
                known = " ".join('user_%s="%s"' % user for user in users.items())
                for name in ("listeners", "advertised.listeners"):
                    properties[name] += ",NAMED://127.0.0.1:%d" % named[n]
                properties.update({
                    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,NAMED:SASL_PLAINTEXT",
                    "sasl.enabled.mechanisms": "PLAIN",
                    "listener.name.named.plain.sasl.jaas.config":
                        "org.apache.kafka.common.security.plain.PlainLoginModule required %s;" % known,
                    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                    "super.users": "User:ANONYMOUS",
                })
            properties.update(settings or {})
            os.makedirs(os.path.dirname(self._config(n)), exist_ok=True)
            with open(self._config(n), "w") as f:
                f.writelines("%s=%s\n" % kv for kv in properties.items())
        # A JVM only for the first: the others' directories differ from it in two lines.
        with open(self.log(1), "wb") as out:
            subprocess.run(tool_command("kafka.tools.StorageTool", "format", "-t", cluster, "-c", self._config(1)), check=True,
                           stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        for n in self.ids[1:]:
            shutil.copytree(self._log_dir(1), self._log_dir(n))
            name = os.path.join(self._log_dir(n), "meta.properties")
            text = re.sub(r"(?m)^node.id=.*$", "node.id=%d" % n, _text(name))
            with open(name, "w") as f:
                f.write(re.sub(r"(?m)^directory.id=.*$", "directory.id=" + new_uuid(), text))
        atexit.register(self.stop)
        for n in self.ids:
            self.launch(n)
        for n in self.ids:
            self.wait(n)

    def _config(self, n):
        return os.path.join(self.data, str(n), "server.properties")

    def _log_dir(self, n):
        return os.path.join(self.data, str(n), "log")

    def log(self, n):
        return os.path.join(self.data, "%d.out" % n)

    def launch(self, n):
        with open(self.log(n), "ab") as out:
            self.processes[n] = subprocess.Popen(tool_command("kafka.Kafka", self._config(n), heap=self.heap), stdin=subprocess.DEVNULL,
                                                 stdout=out, stderr=out, start_new_session=True)

    def wait(self, n, seconds=90):
        deadline = time.monotonic() + seconds
        while not accepts(self.clients[n]):
            if self.processes[n].poll() is not None or time.monotonic() > deadline:
                text = open(self.log(n), errors="replace").read()[-3000:]
                self.stop()
                raise SystemExit("broker %d of real Kafka did not start:\n%s" % (n, text))
            time.sleep(0.1)

    def kill(self, n):
        self.processes[n].kill()
        self.processes[n].wait()

    def start(self, n):
        self.launch(n)
        self.wait(n)

    def pause(self):
        """All brokers stand still, their connections stay open."""
        for process in self.processes.values():
            process.send_signal(signal.SIGSTOP)
        while any(state != "T" for process in self.processes.values() for state in thread_states(process.pid)):
            time.sleep(0.01)

    def resume(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)

    def stop(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def main(argv):
    if argv[:1] == ["jars"]:
        print(jars())
    elif argv[:1] == ["tool"]:
        jars()
        return subprocess.run(tool_command(*argv[1:])).returncode
    elif argv[:1] == ["java"]:
        return subprocess.run(java_command(*argv[1:], heap="512M")).returncode
    elif argv[:1] == ["run"]:
        data = argv[argv.index("--data") + 1] if "--data" in argv else None
        settings = dict(value.split("=", 1) for flag, value in zip(argv, argv[1:]) if flag == "--set")
        brokers = int(argv[argv.index("--brokers") + 1]) if "--brokers" in argv else 1
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with RealKafka(data, settings) if brokers == 1 else RealCluster(brokers, settings) as node:
            print("bootstrap " + node.bootstrap, flush=True)
            while sys.stdin.readline():
                pass
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
