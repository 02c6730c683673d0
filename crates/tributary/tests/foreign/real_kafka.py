#!/usr/bin/env python3
"""Real Apache Kafka 4.3.1 from Maven: its jars (broker, tools, Streams, Connect, MirrorMaker), one KRaft node of it, its
command-line tools, and our Java programs on its libraries.

As a module: `jars()`, `tool_command(cls, *args)`, `java_command(cls, *args)`, `RealKafka()` (a context manager with `.bootstrap`).
As a program:
    real_kafka.py jars                     fetch the jars, print their folder
    real_kafka.py run [--data DIR] [--set KEY=VALUE]...
                                           start a node, print `bootstrap HOST:PORT`, run until stdin ends or SIGTERM
    real_kafka.py tool CLASS [ARG...]      run one of Kafka's classes (e.g. org.apache.kafka.tools.TopicCommand)
    real_kafka.py java CLASS [ARG...]      run one of the programs in java/
Needs java, javac and mvn. Everything is kept under target/foreign/ of the repository (or $FOREIGN_DIR)."""
import fcntl, os, shutil, signal, socket, subprocess, sys, tempfile, time, uuid, base64

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
    archive = ["-XX:SharedArchiveFile=" + CDS, "-Xshare:auto", "-Xlog:cds=off"] if os.path.exists(CDS) else []
    return ["java", "-Xmx" + heap] + archive + _options() + ["-cp", LIB + "/*", cls] + list(args)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if cluster.startswith("-"):
            cluster = "A" + cluster[1:]
        self.log = os.path.join(self.data, "node.out")
        with open(self.log, "wb") as out:
            if not os.path.exists(os.path.join(self.data, "log", "meta.properties")):
                subprocess.run(tool_command("kafka.tools.StorageTool", "format", "-t", cluster, "-c", config, "--standalone"),
                               check=True, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            self.process = subprocess.Popen(tool_command("kafka.Kafka", config, heap="512M"),
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        deadline = time.monotonic() + start_seconds
        while not self._accepts():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop(keep_data=True)
                raise SystemExit("real Kafka did not start:\n" + open(self.log, errors="replace").read()[-3000:])
            time.sleep(0.1)

    def _accepts(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

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
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with RealKafka(data, settings) as node:
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
