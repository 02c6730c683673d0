#!/usr/bin/env python3
"""Kafka's own command-line tools and ours, side by side against one broker: same command, same output.

    kafka_tools.py --bootstrap HOST:PORT --ours PATH [--only REGEX]

A scenario is a list of steps. It is played twice at the same time, once with the originals (Maven, real_kafka.py) and
once with ours, each in names of its own (`@` in a step becomes a prefix of the side); then the outputs are compared
step by step: standard output, exit code, and standard error without Java's stack traces and its client's log lines.
What cannot be the same is normalised: prefixes, times, topic ids, member ids, the order of Java's hash maps (`sort`).

At the end: checks of what only ours does (old options, names with suffixes, links, server control).
The last line is `N passed, N failed`."""
import argparse, concurrent.futures, os, random, re, shutil, signal, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real_kafka

TOOLS = {
    "topics": ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    "produce": ("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    "consume": ("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    "groups": ("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    "offsets": ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    "configs": ("kafka-configs", "kafka.admin.ConfigCommand"),
    "delete": ("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
    "perf": ("kafka-producer-perf-test", "org.apache.kafka.tools.ProducerPerformance"),
    "perfread": ("kafka-consumer-perf-test", "org.apache.kafka.tools.ConsumerPerformance"),
    "acls": ("kafka-acls", "org.apache.kafka.tools.AclCommand"),
    "logdirs": ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    "versions": ("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
    "cluster": ("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
    "features": ("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
    "quorum": ("kafka-metadata-quorum", "org.apache.kafka.tools.MetadataQuorumCommand"),
    "elect": ("kafka-leader-election", "org.apache.kafka.tools.LeaderElectionCommand"),
    "allgroups": ("kafka-groups", "org.apache.kafka.tools.GroupsCommand"),
    "metrics": ("kafka-client-metrics", "org.apache.kafka.tools.ClientMetricsCommand"),
    "dump": ("kafka-dump-log", "org.apache.kafka.tools.DumpLogSegments"),
    "reassign": ("kafka-reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"),
    "storage": ("kafka-storage", "kafka.tools.StorageTool"),
    "vproduce": ("kafka-verifiable-producer", "org.apache.kafka.tools.VerifiableProducer"),
    "vconsume": ("kafka-verifiable-consumer", "org.apache.kafka.tools.VerifiableConsumer"),
    "txns": ("kafka-transactions", "org.apache.kafka.tools.TransactionsCommand"),
    "streams": ("kafka-streams-application-reset", "org.apache.kafka.tools.StreamsResetter"),
    "replicas": ("kafka-replica-verification", "org.apache.kafka.tools.ReplicaVerificationTool"),
    "tokens": ("kafka-delegation-tokens", "org.apache.kafka.tools.DelegationTokenCommand"),
    "shareread": ("kafka-console-share-consumer", "org.apache.kafka.tools.consumer.ConsoleShareConsumer"),
    "shares": ("kafka-share-groups", "org.apache.kafka.tools.consumer.group.ShareGroupCommand"),
    "vshare": ("kafka-verifiable-share-consumer", "org.apache.kafka.tools.VerifiableShareConsumer"),
    "perfshare": ("kafka-share-consumer-perf-test", "org.apache.kafka.tools.ShareConsumerPerformance"),
}
STEP_SECONDS = 90


class Step:
    """One command. `stdin`: its input. `sort`: compare output lines sorted. `only`: compare only lines with this in
    them. `stderr`: compare standard error too. `await_`: repeat until the output has this. `background`: leave it
    running until the scenario ends. `no_server`: without --bootstrap-server (which else comes first, or where the
    arguments say BOOTSTRAP). `drop`: lines with this are equal."""

    def __init__(self, tool, args="", stdin="", sort=False, only=None, stderr=True, await_=None, background=False,
                 no_server=False, drop=None):
        self.tool, self.args, self.stdin, self.sort, self.only = tool, args, stdin, sort, only
        self.stderr, self.await_, self.background, self.no_server = stderr, await_, background, no_server
        self.drop = drop

    def __str__(self):
        return ("%s %s" % (TOOLS[self.tool][0], self.args)).strip()


def topics(args="", **kw): return Step("topics", args, **kw)
def produce(args, stdin="", **kw): return Step("produce", args, stdin, **kw)
def consume(args, **kw): return Step("consume", args, **kw)
def groups(args="", **kw): return Step("groups", args, **kw)
def offsets(args="", **kw): return Step("offsets", args, **kw)
def configs(args="", **kw): return Step("configs", args, **kw)


def of(tool, *commands, **kw):
    """Steps of one tool. Commands that begin with `!` go without --bootstrap-server."""
    return [Step(tool, c.lstrip("!").strip(), no_server=c.startswith("!"), **kw) for c in commands]


# Reads everything of a small topic and ends.
def all_of(topic, count, more=""):
    return consume("--topic %s --from-beginning --max-messages %d --timeout-ms 30000 %s" % (topic, count, more))


FILES = {
    "plan1.csv": "@o,0,2\n@o,1,1\n",
    "plan2.csv": "@g,@o,0,2\n@h,@p,0,1\n",
    "reader.properties": "parse.key=true\nkey.separator=;\n",
    "producer.properties": "# comment\nclient.id = from-file\nacks=1\n",
    "consumer.properties": "auto.offset.reset=earliest\n",
    "formatter.properties": "print.key=true\nkey.separator= => \n",
    "before.json": '{"partitions": [{"topic": "@c", "partition": 0, "offset": 2}], "version": 1}',
    "twice.json": '{"partitions": [{"topic": "@c", "partition": 0, "offset": 2}, {"topic": "@c", "partition": 0, "offset": 1}]}',
    "add.properties": "retention.ms=7000\nmax.message.bytes=3000000\n",
    "server.properties": "node.id=1\nprocess.roles=broker,controller\ncontroller.quorum.voters=1@localhost:9093\nlisteners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\ncontroller.listener.names=CONTROLLER\nlog.dirs=F/nothing\n",
    "admin.properties": "client.id=tool\nrequest.timeout.ms=20000\n",
    "move.json": '{"version":1,"partitions":[{"topic":"@m","partition":0,"replicas":[1]}]}',
    "nobody.json": '{"version":1,"partitions":[{"topic":"@m","partition":0,"replicas":[77]}]}',
    "unknown.json": '{"version":1,"partitions":[{"topic":"@none","partition":0,"replicas":[1]}]}',
    "empty.json": '{"version":1,"partitions":[]}',
    "topics.json": '{"version":1,"topics":[{"topic":"@m"}]}',
    "elect.json": '{"partitions": [{"topic": "@e", "partition": 0}, {"topic": "@e", "partition": 7}]}',
    "streams.csv": "@in,0,1\n@in,1,9\n",
    "twice-elect.json": '{"partitions": [{"topic": "@e", "partition": 0}, {"topic": "@e", "partition": 0}]}',
}

DELIVERY = "--formatter-property print.offset=true --formatter-property print.delivery=true --formatter-property print.key=true"

# Scenarios that need more than every broker offers: a line of kafka-broker-api-versions.
NEEDS = {"share-groups": "ShareGroupHeartbeat(76): 1"}

SCENARIOS = {
    "command-lines-topics": [
        topics(no_server=True), topics("--help", no_server=True), topics("--version", no_server=True),
        topics("--nope", no_server=True), topics("--topic", no_server=True), topics("--list", no_server=True),
        topics("--list --create"), topics(), topics("--create"), topics("--li"),
        topics("--create --topic @a --topic @b"), topics("--create --topic @a --partitions x"),
        topics("--list --partitions 3"), topics("--list --if-exists"), topics("--describe --if-exists"),
        topics("--create --topic @q --under-replicated-partitions"), topics("--create --topic @q --exclude-internal"),
        topics("--describe --under-replicated-partitions --topics-with-overrides"),
        topics("--alter --topic @a"), topics("--delete"), topics("--delete --topic @a --if-not-exists"),
        topics("--create --topic @a --replica-assignment 1,1 --partitions 2"),
        topics("--list --command-config /nonexistent"), topics("--list --topic ["),
        topics("--alter --topic @a --config x=y", drop=r"Option combination"),
        topics("--list -topic @none extra operands"), topics("--list=ignored --topic=@none"),
    ],
    "command-lines-produce": [
        produce("", no_server=True), produce("--help", no_server=True), produce("--nope", no_server=True),
        produce("--version", no_server=True), produce(""), produce("--topic @a", no_server=True),
        produce("--topic @a --bootstrap-server bad", no_server=True), produce("--topic @a --batch-size abc", "x\n"),
        produce("--topic @a --property a=b --reader-property c=d"),
        produce("--topic @a --producer-property a=b --command-property c=d"),
        produce("--topic @a --producer.config F/x --command-config F/y"),
        produce("--topic @a --line-reader foo.Bar", "x\n"),
        produce("--topic @a --compression-codec foo", "x\n"), produce("--topic @a --request-required-acks 7", "x\n"),
        produce("--topic @a --producer-property linger.ms=abc", "x\n"),
        produce("--topic @a --reader-property headers.delimiter=,"),
        produce("--topic @a --reader-property null.marker=:"),
        produce("--topic @a --max-partition-memory-bytes 1000 --property parse.key=x --producer.config F/producer.properties"),
    ],
    "command-lines-consume": [
        consume("", no_server=True), consume("--help", no_server=True), consume("--nope", no_server=True),
        consume("--version", no_server=True), consume(""), consume("--topic @a", no_server=True),
        consume("--topic @a --include @b"), consume("--topic @a --offset 3"),
        consume("--topic @a --partition 0 --offset foo"), consume("--topic @a --partition 0 --offset -3"),
        consume("--topic @a --partition 0 --group g"), consume("--include @a --partition 0"),
        consume("--topic @a --partition 0 --from-beginning --offset 3"),
        consume("--topic @a --consumer-property x=y --command-property x=y"),
        consume("--topic @a --consumer.config F/a --command-config F/b"),
        consume("--topic @a --property x=y --formatter-property x=y"),
        consume("--topic @a --from-beginning --command-property auto.offset.reset=latest"),
        consume("--topic @a --formatter no.Such"), consume("--topic @a --isolation-level foo"),
        consume("--topic @a --max-messages 0 --from-beginning"),
    ],
    "command-lines-groups": [
        groups(no_server=True), groups("--help", no_server=True), groups("--nope", no_server=True),
        groups("--version", no_server=True), groups("--list", no_server=True), groups(), groups("--list --describe", drop="takes one of"),
        groups("--members"), groups("--list --members"), groups("--type --describe --all-groups"),
        groups("--list --state foo", drop=r"^Invalid state"), groups("--list --type share", drop=r"^Invalid types"),
        groups("--describe", drop="takes one of"), groups("--describe --group g --all-groups"),
        groups("--describe --group g --state x"), groups("--describe --group g --state --members"),
        groups("--reset-offsets --group g"), groups("--reset-offsets --group g --to-earliest"),
        groups("--reset-offsets --to-earliest --all-topics --dry-run", drop="takes one of"),
        groups("--reset-offsets --group g --all-topics --dry-run --execute"),
        groups("--reset-offsets --group g --to-earliest --to-offset 3 --all-topics --dry-run"),
        groups("--delete-offsets --group g", drop="takes the following"), groups("--delete", drop="takes one of"),
        groups("--delete --group g --topic t"), groups("--list --group g"), groups("--list --timeout x"),
        groups("--validate-regex a.*", no_server=True),
    ],
    "topics": [
        topics("--create --topic @a --partitions 3 --replication-factor 1 --config retention.ms=3600000 --config cleanup.policy=compact,delete"),
        topics("--create --topic @a"), topics("--create --topic @a --if-not-exists"),
        topics("--create --topic @x.y_z"), topics("--create --topic @x_y.z"), topics("--create --topic @b"),
        topics("--create --topic @rf --replication-factor 9", drop="Unable to replicate|Replication factor"),
        topics("--create --topic @rf --replication-factor 0"), topics("--create --topic @rf --partitions 0"),
        Step("topics", "--create --topic BADNAME"), topics("--create --topic @ass --replica-assignment 1,1"),
        topics("--create --topic @ass2 --replica-assignment 1:1"), topics("--create --topic @ass2 --replica-assignment 1,1:2"),
        topics("--create --topic @cf --config bogus"), topics("--create --topic @cf --config bogus=1"),
        topics("--create --topic @cf --config retention.ms=abc", stderr=False),
        topics("--create --topic @cf --config cleanup.policy=foo", stderr=False),
        topics("--create --topic @cf --config min.insync.replicas=0", stderr=False),
        topics("--list --topic @.*"), topics("--list --topic @a,@b"), topics("--list --exclude-internal --topic @a|@b|__consumer.*"),
        topics("--list", only="@"), topics("--list --topic @none"),
        topics("--describe --topic @a"), topics("--describe --topic @a|@ass", sort=True), topics("--describe --topic @none"),
        topics("--describe --topic @none --if-exists"), topics("--describe --topic-id abc"),
        topics("--describe --topic-id 6QPr4eXXRW-pmAuiLoZBQA"),
        topics("--describe --topic @a --topic-id AAAAAAAAAAAAAAAAAAAAAA"),
        topics("--describe --under-replicated-partitions", only="@"), topics("--describe --topic @a --partition-size-limit-per-response x"), topics("--describe --unavailable-partitions", only="@"),
        topics("--describe --at-min-isr-partitions --topic @.*", sort=True), topics("--describe --under-min-isr-partitions", only="@"),
        topics("--describe --topics-with-overrides --topic @a"), topics("--describe --topic @a --command-config F/admin.properties"),
        topics("--alter --topic @a --partitions 5"), topics("--alter --topic @a --partitions 2"), topics("--alter --topic @a --partitions 5"),
        topics("--alter --topic @none --partitions 5"), topics("--alter --topic @none --partitions 5 --if-exists"),
        topics("--alter --topic @b --partitions 3 --replica-assignment 1,1,1"), topics("--describe --topic @b"),
        topics("--delete --topic @none"), topics("--delete --topic @none --if-exists"), topics("--delete --topic @x.y_z"),
        topics("--delete --topic @ass --delete-config x"), topics("--delete --topic @.*"),
        topics("--list --topic @.*", await_=r"\A\s*\Z"),  # a broker may take its time
    ],
    "console": [
        topics("--create --topic @p"),
        produce("--topic @p", "a\nb\n\nc"), produce("--topic @p --property parse.key=true --property key.separator=:", "k1:v1\nk2:v2\n"),
        produce("--topic @p --reader-property parse.key=true --reader-property key.separator=;", "k3;v3\nbad\nk4;v4\n"),
        produce("--topic @p --reader-config F/reader.properties --reader-property ignore.error=true", "k5;v5\nbad5\nk6;v6\n"),
        produce("--topic @p --reader-property parse.key=true --reader-property parse.headers=true", "h1:v1,h2:v2\tk\tv\n"),
        produce("--topic @p --reader-property parse.key=true --reader-property parse.headers=true", "h1\tk\tv\n"),
        produce("--topic @p --reader-property parse.key=true --reader-property parse.headers=true --reader-property null.marker=NULL", "NULL\tNULL\tNULL\na:NULL\tk\tv\n"),
        produce("--topic @p --reader-property parse.headers=true --reader-property null.marker=NULL", "NULL:x\tv\n"),
        produce("--topic @p --command-property acks=1 --command-property client.id=foo", "p\n"),
        produce("--topic @p --command-config F/producer.properties", "file\n"),
        produce("--topic @p --compression-codec", "gz\n"), produce("--topic @p --compression-codec zstd", "zs\n"),
        produce("--topic @p --compression-codec lz4", "lz\n"), produce("--topic @p --compression-codec snappy", "sn\n"),
        produce("--topic @p --sync", "s1\ns2\n"), produce("--topic @p --request-required-acks 1 --timeout 10 --batch-size 100", "x\ny\n"),
        produce("--topic @p", "big " + "z" * 1200000 + "\n"), produce("--topic BADNAME", "x\n"),
        produce("--topic BADNAME --sync", "x\n"), produce("--topic @p", "crlf\r\nend\r"),
        consume("--topic @p --from-beginning --timeout-ms 6000"),
        all_of("@p", 26, "--formatter-property print.key=true --formatter-property print.timestamp=true --formatter-property print.partition=true --formatter-property print.offset=true --formatter-property print.headers=true"),
        all_of("@p", 3, "--property print.epoch=true --property print.delivery=true --property print.value=false"),
        all_of("@p", 3, "--formatter-property print.value=false"),
        all_of("@p", 14, "--formatter-property print.key=true --formatter-property key.separator=-> --formatter-property line.separator=; --formatter-property null.literal=NIL --formatter-property headers.separator=| --formatter-property print.headers=true"),
        all_of("@p", 9, "--formatter-config F/formatter.properties"),
        all_of("@p", 3, "--formatter org.apache.kafka.tools.consumer.LoggingMessageFormatter"),
        all_of("@p", 3, "--formatter org.apache.kafka.tools.consumer.NoOpMessageFormatter"),
        all_of("@p", 3, "--value-deserializer org.apache.kafka.common.serialization.StringDeserializer"),
        all_of("@p", 3, "--value-deserializer org.apache.kafka.common.serialization.IntegerDeserializer"),
        all_of("@p", 3, "--value-deserializer org.apache.kafka.common.serialization.LongDeserializer --skip-message-on-error"),
        all_of("@p", 3, "--value-deserializer no.such"),
        all_of("@p", 2, "--enable-systest-events"), all_of("@p", 3, "--isolation-level read_committed"),
        consume("--topic @p --partition 0 --offset 2 --max-messages 2"), consume("--topic @p --partition 0 --offset earliest --max-messages 2"),
        consume("--topic @p --partition 0 --from-beginning --max-messages 2"),
        consume("--topic @p --partition 0 --offset latest --timeout-ms 1000"), consume("--topic @p --partition 0 --timeout-ms 1000"),
        consume("--topic @p --partition 7 --offset 0 --timeout-ms 1500"), consume("--topic @p --partition 0 --offset 99999 --timeout-ms 1500"),
        consume("--topic @p --consumer.config F/consumer.properties --consumer-property group.id=@c --max-messages 3 --timeout-ms 30000"),
        consume("--topic @p --group @c --max-messages 3 --timeout-ms 30000"),
        consume("--include @[pq] --from-beginning --max-messages 3 --timeout-ms 30000"),
        consume("--include [ --from-beginning --max-messages 3", stderr=False), consume("--topic @missing --from-beginning --timeout-ms 1500"),
        consume("--topic @p --command-config /nonexistent", stderr=False),
        produce("--topic @auto", "made by producing\n"), all_of("@auto", 1),
    ],
    "groups": [
        topics("--create --topic @o --partitions 2"), topics("--create --topic @p"),
        produce("--topic @o --reader-property parse.key=true --reader-property key.separator=:", "".join("k:%d\n" % i for i in range(20))),
        produce("--topic @p", "".join("%d\n" % i for i in range(9))),
        consume("--topic @o --group @g --from-beginning --max-messages 20 --timeout-ms 30000"),
        consume("--topic @p --group @h --from-beginning --max-messages 5 --timeout-ms 30000"),
        groups("--list", only="@", sort=True), groups("--list --state", only="@", sort=True), groups("--list --type", only="@", sort=True),
        groups("--list --state --type classic", only="@", sort=True), groups("--list --state empty,Stable", only="@", sort=True),
        groups("--list --state stable", only="@", sort=True), groups("--list --type consumer", only="@"),
        groups("--describe --group @g"), groups("--describe --group @g --group @h"),
        groups("--describe --group @g --offsets --verbose"), groups("--describe --group @g --members"),
        groups("--describe --group @g --members --verbose"), groups("--describe --group @g --state"),
        groups("--describe --group @g --state --verbose"), groups("--describe --all-groups", only="@"),
        groups("--describe --group @none"), groups("--describe --group @none --members"), groups("--describe --group @none --state"),
        groups("--reset-offsets --group @g --to-earliest --topic @o", sort=True),
        groups("--reset-offsets --group @g --to-earliest --topic @o --dry-run", sort=True),
        groups("--reset-offsets --group @g --topic @o --dry-run", drop="requires one of the following"),
        groups("--reset-offsets --group @g --to-offset 3 --topic @o:0 --execute"), groups("--describe --group @g"),
        groups("--reset-offsets --group @g --to-offset 300 --topic @o --execute", sort=True),
        groups("--reset-offsets --group @g --to-offset -300 --topic @o --execute", sort=True),
        groups("--reset-offsets --group @g --shift-by -4 --topic @o --execute", sort=True),
        groups("--reset-offsets --group @g --shift-by 2 --topic @o:0,1 --execute", sort=True),
        groups("--reset-offsets --group @g --shift-by 1 --topic @p --execute"),
        groups("--reset-offsets --group @g --to-current --topic @o --dry-run", sort=True),
        groups("--reset-offsets --group @g --to-current --topic @p --dry-run"),
        groups("--reset-offsets --group @g --to-latest --all-topics --execute", sort=True),
        groups("--reset-offsets --group @g --to-datetime 2020-01-01T00:00:00.000 --all-topics --dry-run", sort=True),
        groups("--reset-offsets --group @g --to-datetime 2040-01-01T00:00:00.000 --all-topics --dry-run", sort=True),
        groups("--reset-offsets --group @g --to-datetime 2020-01-01T00:00:00.000+02:00 --all-topics --dry-run", sort=True),
        groups("--reset-offsets --group @g --to-datetime garbage --all-topics --dry-run"),
        groups("--reset-offsets --group @g --by-duration P1D --all-topics --dry-run", sort=True),
        groups("--reset-offsets --group @g --by-duration PT0S --all-topics --dry-run", sort=True),
        groups("--reset-offsets --group @g --by-duration foo --all-topics --dry-run"),
        groups("--reset-offsets --group @g --to-current --all-topics --export --dry-run", sort=True),
        groups("--reset-offsets --group @g --group @h --to-current --all-topics --export --dry-run", sort=True),
        groups("--reset-offsets --group @g --from-file F/plan1.csv --dry-run", sort=True),
        groups("--reset-offsets --group @g --group @h --from-file F/plan2.csv --dry-run", sort=True, stderr=False),
        groups("--reset-offsets --group @g --from-file F/none.csv --dry-run"),
        groups("--reset-offsets --group @g --to-earliest --topic @missing --dry-run"),
        groups("--reset-offsets --group @g --to-earliest --topic @o:9 --dry-run"),
        groups("--reset-offsets --group @g --to-earliest --topic @o:x --dry-run"),
        groups("--reset-offsets --group @g --to-earliest --topic @o:0:1 --dry-run"),
        groups("--reset-offsets --group @new --to-earliest --topic @o --execute", sort=True), groups("--describe --group @new"),
        consume("--topic @o --group @g --max-messages 1 --timeout-ms 2000"),
        groups("--delete-offsets --group @g --topic @o:0"), groups("--delete-offsets --group @g --topic @o"),
        groups("--delete-offsets --group @g --topic @missing"), groups("--delete-offsets --group @none --topic @o"),
        groups("--delete --group @h"), groups("--delete --group @none"), groups("--delete --group @none --group @new", sort=True),
        groups("--list", only="@", sort=True),
    ],
    "configs": [
        configs(no_server=True), configs("--help", no_server=True), configs("--nope", no_server=True), configs(),
        configs("--version", no_server=True), configs("--describe"), configs("--describe --alter"), configs("--describe --topic t", no_server=True),
        configs("--describe --topic t --entity-type topics"), configs("--describe --topic t --group g"),
        configs("--alter --topic t"), configs("--alter --entity-type topics"), configs("--alter --topic t --add-config bogus"),
        configs("--alter --entity-type foo --entity-name x --add-config a=b"), configs("--describe --broker x"),
        configs("--alter --topic t --add-config a=b --add-config-file F/add.properties"), configs("--describe --topic t --add-config a=b"),
        topics("--create --topic @c"), configs("--describe --topic @c"),
        configs("--alter --entity-type topics --entity-name @c --add-config max.message.bytes=2000000,retention.ms=1000"),
        configs("--describe --entity-type topics --entity-name @c"),
        configs("--alter --topic @c --add-config cleanup.policy=[compact,delete] --delete-config retention.ms"),
        configs("--describe --topic @c"), configs("--describe --topic @c --all"), configs("--describe --entity-type topics", only="@"),
        configs("--alter --topic @c --add-config no.such=1"), configs("--alter --topic @c --add-config cleanup.policy=bogus"),
        configs("--alter --topic @c --delete-config cleanup.policy,max.message.bytes"), configs("--describe --topic @c"),
        configs("--alter --topic @c --add-config-file F/add.properties"), topics("--describe --topic @c"),
        configs("--describe --topic @none"), configs("--alter --topic @none --add-config retention.ms=1"),
        configs("--describe --group @none"), configs("--describe --broker-defaults"), configs("--describe --broker 1"),
        produce("--topic @c", "1\n2\n3\n", stderr=False),
        Step("delete", no_server=True), Step("delete", "--help", no_server=True), Step("delete", ""),
        Step("delete", "--offset-json-file F/none.json"), Step("delete", "--offset-json-file F/twice.json"),
        topics("--create --topic @d"),
    ],
    "offsets-and-speed": [
        topics("--create --topic @s --partitions 12"), topics("--create --topic @t"), produce("--topic @t", "1\n2\n3\n"),
        offsets(no_server=True), offsets("--help", no_server=True), offsets("--nope", no_server=True),
        offsets("--topic @t", no_server=True), offsets("--topic @t"), offsets("--topic @t --time -2"),
        offsets("--topic @t --time earliest"), offsets("--topic @t --time max-timestamp", drop=r":0:\d$"), offsets("--topic @t --time foo"),
        offsets("--topic @t --time 1000"), offsets("--topic @t --time 99999999999999"), offsets("--topic @none"),
        offsets("--topic @s --partitions 1,10"), offsets("--topic @s --partitions x"), offsets("--topic @t --partitions 7"),
        offsets("--topic @s --topic-partitions @t"), offsets("--topic-partitions @s:2-5,@t:0,@s:11-"), offsets("--topic @s"),
        Step("perf", "--topic @t --num-records 2000 --record-size 100 --throughput -1 --command-property linger.ms=5 acks=all"),
        Step("perfread", "--topic @t --num-records 2000 --timeout 20000"),
        Step("perfread", "--topic @t --num-records 2000 --hide-header --group @perf --timeout 20000"),
        Step("perfread", "--topic @t --include @x --num-records 1"), Step("perfread", "--topic @t"),
    ],
    "acls": [
        *of("acls", "!", "!--help", "!--nope", "!--version", "", "--list --add", "--list --producer", "--add", "--add --producer",
            "--add --topic @t", "--add --idempotent --topic @t", "--add --consumer --topic @t", "!--list",
            "--add --producer --deny-principal User:x --topic @t", "--list --principal alice", "--remove --principal User:a --topic @t",
            "--add --topic @t --allow-principal alice", "--add --group @g --operation Write --allow-principal User:a",
            "--add --topic @t --resource-pattern-type any --allow-principal User:a", "--list --resource-pattern-type foo",
            drop=r"only supports operations|^\t[A-Z][A-Za-z]+ *$|^  +\t?[A-Z][A-Za-z]+ *$"),
        *of("acls", "--add --topic @t --allow-principal User:alice", "--add --topic @t --allow-principal User:alice",
            "--add --topic @t --operation Read --operation describeconfigs --allow-principal User:@bob --allow-host 10.0.0.1",
            "--add --topic @t --operation Read --operation DescribeConfigs --allow-principal User:@bob --allow-host 10.0.0.1 --allow-host 10.0.0.2 --deny-principal User:@eve",
            "--add --producer --topic @p --transactional-id @x --allow-principal User:@bob",
            "--add --consumer --topic @p --group @g --allow-principal User:@bob --resource-pattern-type prefixed",
            "--add --delegation-token @tok --operation Describe --allow-principal User:@bob", "--add --user-principal User:@eve --operation CreateTokens --allow-principal User:@bob",
            "--list --topic @t", "--list --topic @t --topic @p --group @g", "--list --topic @pqr --resource-pattern-type match",
            "--list --topic @p --resource-pattern-type any", "--list --topic @t --principal User:@bob --principal User:@nobody",
            "--list --transactional-id @x", "--list --delegation-token @tok", "--list --user-principal User:@eve",
            "--remove --topic @t --operation Read --allow-principal User:@bob --allow-host 10.0.0.1 --force", "--list --topic @t",
            "--remove --topic @t --force", "--list --topic @t", "--remove --producer --topic @p --transactional-id @x --allow-principal User:@bob --force",
            "--list --topic @p", "--list --group @g --resource-pattern-type prefixed", "--remove --topic @none --force",
            "--list --principal User:@bob", sort=True),
    ],
    "cluster": [
        topics("--create --topic @e --partitions 2"), produce("--topic @e", "1\n2\n3\n"),
        *of("logdirs", "!", "!--help", "!--nope", "!--version", "", "--describe --broker-list x", "--describe --broker-list 1,77"),
        *of("logdirs", "--describe --topic-list @e", "--describe --topic-list @none --broker-list 1", drop=r"\{"),
        *of("versions", "!", "!--help", "!--nope", "!--version", "", "--command-config F/admin.properties"),
        *of("cluster", "!", "!--help", "!cluster-id", "!cluster-id --help", "!nope", "!clust --nope", "!unregister -b x:1", "!unregister --id foo",
            "!cluster-id -b a:1 -C b:1", "cluster-id --bootstrap-server BOOTSTRAP", "list-endpoints -b BOOTSTRAP",
            "list-endpoints -b BOOTSTRAP --include-fenced-brokers", "cluster-id -b BOOTSTRAP -c F/admin.properties --config F/admin.properties",
            "cluster-id -b BOOTSTRAP --config F/admin.properties"),
        *of("cluster", "unregister -b BOOTSTRAP --id 77", stderr=False),
        *of("features", "!", "!--help", "!describe", "!upgrade --help", "!downgrade --help", "!disable --help", "!version-mapping", "!version-mapping --release-version 3.9",
            "!version-mapping --release-version foo", "!version-mapping --help", "!feature-dependencies --feature transaction.version=2 --feature metadata.version=20 --feature eligible.leader.replicas.version=1",
            "!feature-dependencies --feature foo=1", "!feature-dependencies --feature kraft.version=7", "!feature-dependencies --feature x", "!feature-dependencies",
            "--nope", "describe --node-id -1", "upgrade", "disable", "upgrade --feature x", "upgrade --feature x=y", "upgrade --feature foo.version=1 --dry-run",
            "upgrade --release-version 3.9 --feature a=1", "disable --feature a --feature a", "upgrade --release-version foo"),
        *of("features", "describe", "describe --node-id 1", drop=r"Epoch"),
        *of("quorum", "!", "!--help", "!describe --help", "!add-controller --help", "!remove-controller --help", "", "describe", "describe --status --replication",
            "describe --status --human-readable", "remove-controller -i x", "remove-controller -i -1 -d AAAAAAAAAAAAAAAAAAAAAA", "remove-controller -i 1 -d foo",
            "add-controller", "remove-controller -i 7 -d AAAAAAAAAAAAAAAAAAAAAQ --dry-run", "--command-config F/nothing describe --status"),
        *of("quorum", "describe --status", drop="HighWatermark"), *of("quorum", "describe --replication", "describe --replication --human-readable", drop="Leader|Observer"),
        *of("elect", "!", "!--help", "!--nope", "!--version", "", "--election-type preferred", "--election-type foo --all-topic-partitions", "--election-type preferred --topic @e",
            "--election-type preferred --partition 1 --all-topic-partitions", "--election-type preferred --topic @e --partition 0", "--election-type PREFERRED --topic @e --partition 7",
            "--election-type unclean --topic @e --partition 1", "--election-type preferred --path-to-json-file F/elect.json", "--election-type preferred --path-to-json-file F/none.json",
            "--election-type preferred --path-to-json-file F/twice-elect.json", "--election-type preferred --all-topic-partitions", drop=r"for partition(s .*,|: @)"),
        *of("metrics", "!", "!--help", "!--nope", "!--version", "!--list", "", "--list --describe", "--list --name x", "--alter", "--alter --name a --generate-name", "--alter --name a --interval x",
            "--delete", "--describe --interval 1", "--alter --name @m --interval 30000 --metrics a.,b. --match client_id=x", "--describe --name @m", "--alter --name @m --interval= --metrics c.",
            "--describe --name @m", "--describe --name @none", "--alter --name @bad --match foo=bar", "--delete --name @m", "--describe --name @m", sort=True),
    ],
    "client-metrics": [
        *of("configs", "--alter --entity-type client-metrics --entity-name @m --add-config interval.ms=2000,metrics=[a.,b.]",
            "--describe --entity-type client-metrics --entity-name @m", "--describe --entity-type client-metrics --entity-name @none",
            "--alter --entity-type client-metrics --entity-name @m --add-config interval.ms=5", "--alter --entity-type client-metrics --entity-name @m --add-config nope=5",
            "--alter --entity-type client-metrics --entity-name @m --delete-config interval.ms,metrics", sort=True),
    ],
    "reassign": [
        topics("--create --topic @m --partitions 2"),
        *of("reassign", "!", "!--help", "!--version", "", "--list --cancel", "!--list", "--execute", "--generate --topics-to-move-json-file F/topics.json",
            "--list --timeout 5", "--list --broker-list 1", "--list", "--verify --reassignment-json-file F/move.json --preserve-throttles",
            "--verify --reassignment-json-file F/move.json", "--execute --reassignment-json-file F/nobody.json", "--execute --reassignment-json-file F/empty.json",
            "--execute --reassignment-json-file F/unknown.json", "--cancel --reassignment-json-file F/move.json --preserve-throttles", "--execute --reassignment-json-file F/none.json"),
        *of("reassign", "--generate --topics-to-move-json-file F/topics.json --broker-list 1", "--execute --reassignment-json-file F/move.json",
            "--generate --topics-to-move-json-file F/topics.json --broker-list 1,1"),
    ],
    "storage": [
        *of("storage", "!", "!--help", "!info --help", "!nope", "!version-mapping", "!feature-dependencies --feature foo=1", "!info -c F/server.properties"),
    ],
    "verifiable": [
        topics("--create --topic @v"), *of("vproduce", "!--nope", "!--topic t"), *of("vconsume", "!--nope", "!--topic t"),
        *of("vproduce", "--topic @v --max-messages 3 --repeating-keys 2 --value-prefix 7", drop='"tool_data"'),
        *of("vconsume", "--topic @v --group-id @vg --max-messages 3 --verbose"),
    ],
    "transactions": [
        topics("--create --topic @x"), produce("--topic @x", "1\n2\n3\n"),
        *of("txns", "!", "!--help", "!--version", "!list", "!describe --help", "!abort --help", "!find-hanging --help", "!describe-producers --help", "!list --help", "!forceTerminateTransaction --help",
            "describe", "abort --topic @x --partition 0", "abort --topic @x --partition 0 --producer-id 1", "abort --topic @x --partition 0 --producer-id 1 --producer-epoch 1",
            "abort --topic @x --partition 0 --start-offset 1", "find-hanging", "find-hanging --broker-id 1 --partition 1",
            "find-hanging --topic @x", "find-hanging --topic @x --partition 0", "find-hanging --topic @none",
            "describe-producers --topic @x --partition 0 --broker-id 1", "describe --transactional-id @none", "list --transactional-id-pattern @none.*", drop=r"^\d+ +\t"),
        *of("txns", "list", "list --duration-filter 100000", only="@"),
    ],
    "streams-reset": [
        topics("--create --topic @in --partitions 2"), topics("--create --topic @app-store-changelog"), topics("--create --topic @app-out"),
        produce("--topic @in --reader-property parse.key=true --reader-property key.separator=:", "a:1\na:2\na:3\nb:4\nc:5\n"),
        consume("--topic @in --group @app --from-beginning --max-messages 5 --timeout-ms 30000", sort=True),
        *of("streams", "!", "!--help", "!--version", "!--input-topics @in", "--application-id @app --to-earliest --to-latest", sort=True),
        *of("streams", "--application-id @app --dry-run", "--application-id @app --input-topics @in --dry-run", "--application-id @app --input-topics @in,@none --shift-by -1",
            "--application-id @app --input-topics @in --intermediate-topics @app-out --to-offset 1", "--application-id @app --input-topics @in --from-file F/streams.csv --dry-run",
            "--application-id @app --input-topics @in --to-datetime 2100-01-01T00:00:00.000 --dry-run", "--application-id @app --input-topics @in --from-file F/none.csv",
            "--application-id @app --internal-topics @app-out", sort=True),
        groups("--describe --group @app", only="@in"),
        Step("streams", "--application-id @app --input-topics @in --by-duration P1D", sort=True), topics("--list", only="@"),
    ],
    "replica-verification": of("replicas", "!", "!--help", "!--topics-include x", "!--broker-list nowhere"),
    "delegation-tokens": of("tokens", "!", "!--help", "--describe --create", "--describe", "--create --command-config F/admin.properties", "--describe --command-config F/admin.properties",
        "--create --max-life-time-period -1 --renewer-principal User:a --command-config F/admin.properties", "--expire --hmac AAAA --expiry-time-period -1 --command-config F/admin.properties"),
    "command-lines-shares": [
        *of("shareread", "!", "!--help", "", "!--topic @a", "--topic @a --reject --release", "--topic @a --group a --command-property group.id=b"),
        *of("shares", "!", "!--help", "!--nope", "!--list", "--list --delete", "--describe", "--describe --group @a --members --offsets", "--delete", "--delete --group @a --all-groups",
            "--delete-offsets --group @a", "--reset-offsets --group @a --topic @a --to-latest", "--reset-offsets --group @a --execute --topic @a", "--list --group @a"),
        *of("vshare", "!", "!--help", "--topic @a"),
        *of("perfshare", "!", "!--help", "--topic @a", "--topic @a --num-records 1 --messages 1"),
    ],
    "share-groups": [
        topics("--create --topic @s"), configs("--alter --entity-type groups --entity-name @g --add-config share.auto.offset.reset=earliest"),
        configs("--alter --entity-type groups --entity-name @p --add-config share.auto.offset.reset=earliest"),
        produce("--topic @s --reader-property parse.key=true --reader-property key.separator=:", "a:1\nb:2\nc:3\nd:4\ne:5\n"),
        Step("shareread", "--topic @s --group @g --max-messages 3 --timeout-ms 30000 " + DELIVERY),
        Step("shares", "--describe --group @g", await_=r"@s +0 +3 +2"),
        Step("shareread", "--topic @s --group @g --max-messages 2 --timeout-ms 30000 --release " + DELIVERY),
        Step("shareread", "--topic @s --group @g --max-messages 1 --timeout-ms 30000 --reject " + DELIVERY),
        Step("shareread", "--topic @s --group @g --max-messages 1 --timeout-ms 30000 " + DELIVERY),
        Step("shareread", "--topic @s --group @g --timeout-ms 3000 " + DELIVERY),
        Step("shares", "--describe --group @g --verbose", await_=r"@s +0 +\S+ +5 +0"),
        *of("shares", "--describe --group @g --state", "--describe --group @g --members", "--describe --group @none",
            "--reset-offsets --group @g --topic @s --to-earliest --dry-run", "--reset-offsets --group @g --all-topics --to-earliest --execute", "--reset-offsets --group @g --topic @none --to-latest --execute",
            "--list --state nope", drop="Valid states are"),
        Step("shares", "--describe --group @g --state --verbose", drop=r"Empty +\d+ +\d+ +0"),
        *of("shares", "--list", "--list --state", "--list --state Empty", "--list --state Stable", only="@"),
        Step("vshare", "--bootstrap-server BOOTSTRAP --topic @s --group-id @g --max-messages 5 --verbose --acknowledgement-mode sync"),
        Step("vshare", "--bootstrap-server BOOTSTRAP --topic @s --group-id @v --max-messages 5 --offset-reset-strategy earliest --acknowledgement-mode async"),
        Step("perfshare", "--topic @s --group @p --num-records 5 --timeout 20000 --show-consumer-stats"),
        *of("shares", "--delete-offsets --group @g --topic @s", "--delete-offsets --group @g --topic @none", "--delete-offsets --group @none --topic @s", "--delete --group @g --group @none",
            "--delete --group @v", sort=True),
    ],
    "all-groups": [
        topics("--create --topic @g"), produce("--topic @g", "1\n2\n"), consume("--topic @g --group @one --from-beginning --max-messages 2 --timeout-ms 30000"),
        *of("allgroups", "!", "!--help", "!--nope", "!--version", "!--list", "", "--list --share --consumer", "--list --group-type foo", "--list --consumer --protocol x"),
        *of("allgroups", "--list", "--list --consumer", "--list --share", "--list --streams", "--list --group-type classic", "--list --group-type classic --protocol consumer",
            "--list --protocol consumer", "--list --group-type Share", only="@"),
    ],
    "live-group": [
        topics("--create --topic @l --partitions 2"),
        produce("--topic @l --reader-property parse.key=true --reader-property key.separator=:", "k:1\nk:2\nk:3\n"),
        consume("--topic @l --group @live --from-beginning", background=True),
        groups("--describe --group @live", await_=r"(?s)@l +0 .*@l +1 +\d", stderr=False),
        groups("--describe --group @live --state"), groups("--describe --group @live --members"),
        groups("--describe --group @live --members --verbose"), groups("--list --state", only="@"),
        groups("--reset-offsets --group @live --to-earliest --topic @l --execute"),
        groups("--delete-offsets --group @live --topic @l"), groups("--delete --group @live"),
    ],
}


class Side:
    """One of the two players of a scenario."""

    def __init__(self, name, command, bootstrap, prefix, folder):
        self.name, self.command, self.bootstrap, self.prefix, self.folder = name, command, bootstrap, prefix, folder
        os.makedirs(folder)
        for file, text in FILES.items():
            with open(os.path.join(folder, file), "w") as f:
                f.write(self.fill(text))

    def fill(self, text):
        return text.replace("1@localhost", "1\0localhost").replace("@", self.prefix).replace("\0", "@").replace("F/nothing", self.folder + "/nothing")

    def argv(self, step):
        args = [self.fill(a).replace("F/", self.folder + "/").replace("BADNAME", "bad name!") for a in step.args.split()]
        if "BOOTSTRAP" in args:
            return self.command(step.tool) + [self.bootstrap if a == "BOOTSTRAP" else a for a in args]
        return self.command(step.tool) + ([] if step.no_server else ["--bootstrap-server", self.bootstrap]) + args

    def play(self, steps):
        """The results (code, stdout, stderr) of each step."""
        results, background = [], []
        try:
            for step in steps:
                argv = self.argv(step)
                if step.background:
                    background.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                                       stderr=subprocess.DEVNULL, start_new_session=True))
                    results.append((0, "", ""))
                    continue
                deadline = time.monotonic() + STEP_SECONDS
                while True:
                    result = self.run(argv, step)
                    if not step.await_ or re.search(self.fill(step.await_), result[1]) or time.monotonic() > deadline:
                        break
                results.append(result)
        finally:
            for process in background:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        return results

    def run(self, argv, step):
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(self.fill(step.stdin).encode(), STEP_SECONDS)
            code = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            code = "no end after %d s" % STEP_SECONDS
        return code, self.normal(out, step), self.normal_errors(err, step)

    def normal(self, data, step):
        text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
        lines = text.split("\n")
        if step.only:
            # Columns are as wide as the widest line, which may be another scenario's: their widths say nothing here.
            lines = [re.sub(" {2,}", "  ", line) for line in lines if self.fill(step.only) in line]
        if step.drop:
            lines = [line if not re.search(step.drop, line) else "<%s>" % step.drop for line in lines]
        text = "\n".join(lines)
        text = re.sub(r"\nExample:\n.*", "\n" if step.no_server == "commands" else "", text, flags=re.S)  # our help ends with one
        text = re.sub(r"(?m)^(\tat |Caused by: |\t\.\.\. |\tSuppressed: ).*\n", "", text)  # Java's traces
        for pattern, with_ in [
            (re.escape(self.folder), "F"), (re.escape(self.prefix), "@"), (r"(CreateTime|LogAppendTime):\d+", r"\1:T"),
            (r"TopicId: (?!')\S+", "TopicId: I"), (r"console-consumer-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "console-consumer-UUID"),
            (r"perf-consumer-(\d{1,5}|NNNNN)\b(\) )? *", "perf-consumer-N"),
            (r'"timestamp":\d+', '"timestamp":T'), (r"metrics- .*", "metrics- SPEEDS"),
            # A Java map, in any order, and a set.
            (r'"topic":"([^"]*)","partition":(\d+)', r'"partition":\2,"topic":"\1"'),
            (r'"offsets":\[([\d,]+)\]', lambda m: '"offsets":%s' % sorted(map(int, m[1].split(",")))),
            # What the speed tests measure.
            (r"\d+\.\d+ records/sec.*", "SPEED"), (r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}, .*$", "SPEEDS"),
            (r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+\]", "[TIME]"), (r"console-consumer-\d{1,5}\b", "console-consumer-N"),
        ]:
            text = re.sub(pattern, with_, text)
        return "\n".join(sorted(line.lstrip(" ") for line in text.split("\n"))) if step.sort else text

    def normal_errors(self, data, step):
        text = self.normal(data, step)
        lines, skipping = [], False
        for line in text.split("\n"):
            # Java's traces, and what its client (not the tool) logs with the lines that belong to it.
            trace = line.startswith(("\tat ", "Caused by: ", "\t... ", "\tSuppressed: ")) or re.match(r" at \[Source", line)
            if re.match(r"\[TIME\] (WARN|ERROR|INFO)", line):
                skipping = not re.search(r"\((org\.apache\.kafka\.tools\.|org\.apache\.kafka\.clients\.producer\.internals\.Error)|^\[TIME\] ERROR (org|java|joptsimple)\S+: ", line)
            elif re.match(r"org\.apache\.kafka\.common\.errors\.", line) and skipping:
                continue
            elif line.startswith("The consumer rebalance protocol (KIP-848)"):
                continue
            else:
                skipping = False
            if not trace and not skipping:
                lines.append(line)
        return "\n".join(lines)


def compare(step, original, ours):
    """What differs, or nothing."""
    parts = [("exit code", original[0], ours[0]), ("stdout", original[1], ours[1])]
    if step.stderr:
        parts.append(("stderr", original[2], ours[2]))
    return [(what, a, b) for what, a, b in parts if a != b]


def show(what, original, ours):
    import difflib
    if what == "exit code":
        print("    exit code: original %s, ours %s" % (original, ours))
        return
    print("    %s:" % what)
    for line in list(difflib.unified_diff(original.split("\n"), ours.split("\n"), "original", "ours", lineterm="", n=1))[:24]:
        print("      " + line[:300])


class Count:
    passed = failed = 0

    @classmethod
    def add(cls, good, name):
        if good:
            cls.passed += 1
        else:
            cls.failed += 1
            print("FAIL %s" % name, flush=True)
        return good


def differential(a, work):
    def original(tool): return real_kafka.tool_command(TOOLS[tool][1])
    def ours(tool): return [a.ours, TOOLS[tool][0]]
    number = random.randrange(10 ** 6)
    offers = subprocess.run([a.ours, "kafka-broker-api-versions", "--bootstrap-server", a.bootstrap], capture_output=True, text=True, timeout=STEP_SECONDS).stdout
    jobs = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for index, (name, steps) in enumerate(SCENARIOS.items()):
            if a.only and not re.search(a.only, name):
                continue
            if NEEDS.get(name, "") not in offers:
                print("left out: %s, for which the broker does not offer %s" % (name, NEEDS[name]), flush=True)
                continue
            sides = [Side(s, c, a.bootstrap, "%s%06d%d-" % (s, number, index), os.path.join(work, name + s))
                     for s, c in (("j", original), ("r", ours))]
            jobs.append((name, steps, [pool.submit(side.play, steps) for side in sides]))
        for name, steps, futures in jobs:
            results = [future.result() for future in futures]
            for step, theirs, mine in zip(steps, *results):
                differences = compare(step, theirs, mine)
                if not Count.add(not differences, "%s: %s" % (name, step)):
                    for difference in differences:
                        show(*difference)


def own(a, work):
    """What the originals no longer have, or never had."""
    def run(argv, env=None, stdin="", timeout=STEP_SECONDS):
        p = subprocess.run(argv, input=stdin, text=True, capture_output=True, timeout=timeout, env={**os.environ, **(env or {})})
        return p.returncode, p.stdout, p.stderr

    def check(name, result, code=0, out="", err=""):
        good = result[0] == code and re.search(out, result[1], re.S) and re.search(err, result[2], re.S)
        if not Count.add(bool(good), "own: " + name):
            print("    %s\n    wanted code %s, stdout /%s/, stderr /%s/" % (result, code, out, err))

    # A file of its own, so that only brokers started here are found and stopped.
    binary = os.path.join(work, "tributary")
    shutil.copy(a.ours, binary)
    topic = "own%06d" % random.randrange(10 ** 6)
    zookeeper = ["--zookeeper", "localhost:2181"]
    env = {"KAFKA_BOOTSTRAP_SERVERS": a.bootstrap}
    note = r"^Note: no ZooKeeper is needed; talking to the broker at %s" % re.escape(a.bootstrap)
    check("--zookeeper creates", run([binary, "kafka-topics"] + zookeeper + ["--create", "--topic", topic, "--partitions", "2", "--replication-factor", "1"], env),
          0, "^Created topic %s.\n$" % topic, note)
    check("--broker-list produces", run([binary, "kafka-console-producer.sh", "--broker-list", a.bootstrap, "--topic", topic], stdin="hello\n"), 0, "^$", "^$")
    check("--zookeeper consumes", run([binary, "kafka-console-consumer.bat"] + zookeeper + ["--topic", topic, "--from-beginning", "--max-messages", "1"], env),
          0, "^hello\n$", note + ".*Processed a total of 1 messages\n$")
    check("names of another system", run([binary, ".\\bin\\windows\\kafka-topics.bat", "--bootstrap-server", a.bootstrap, "--list", "--topic", topic]), 0, "^%s\n$" % topic)
    check("zookeeper-server-start explains", run([binary, "zookeeper-server-start.sh", "config/zookeeper.properties"]), 0, "No ZooKeeper is needed")
    check("zookeeper-server-start without a file", run([binary, "zookeeper-server-start"]), 1, "^$", "^USAGE: zookeeper-server-start")
    check("zookeeper-server-stop", run([binary, "zookeeper-server-stop"]), 0, "^No zookeeper server to stop")
    check("kafka-server-stop with nothing to stop", run([binary, "kafka-server-stop"]), 1, "^No kafka server to stop\n$")
    links = os.path.join(work, "bin")
    check("links", run([binary, "links", links]), 0, r"^Wrote \d+ links")
    check("a link is the tool", run([os.path.join(links, "kafka-topics.sh"), "--version"]), 0, r"^4\.3\.1\n$")

    # A person at a terminal gets a prompt for each line; end of input (Ctrl-D) ends it.
    import pty
    terminal, child_side = pty.openpty()
    person = subprocess.Popen([binary, "kafka-console-producer", "--bootstrap-server", a.bootstrap, "--topic", topic],
                              stdin=child_side, stdout=child_side, stderr=subprocess.PIPE)
    os.close(child_side)
    seen = b""
    for typed in (b"typed\n", b"\x04"):
        prompts = seen.count(b">")
        while seen.count(b">") == prompts:
            seen += os.read(terminal, 1000)
        os.write(terminal, typed)
    err = person.stderr.read().decode()
    check("a prompt at a terminal", (person.wait(STEP_SECONDS), seen.decode().replace("\r", ""), err), 0, r"^>typed\n>", "^$")
    os.close(terminal)
    check("typed lines arrive", run([binary, "kafka-console-consumer", "--bootstrap-server", a.bootstrap, "--topic", topic, "--from-beginning", "--max-messages", "2"]), 0, "typed\n")

    # Ctrl-C: the count, and what was seen is committed.
    consumer = subprocess.Popen([binary, "kafka-console-consumer", "--bootstrap-server", a.bootstrap, "--topic", topic, "--from-beginning", "--group", topic],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = consumer.stdout.readline() + consumer.stdout.readline()
    consumer.send_signal(signal.SIGINT)
    out, err = consumer.communicate(timeout=STEP_SECONDS)
    check("Ctrl-C ends a consumer", (consumer.returncode, "".join(sorted((first + out).splitlines(True))), err), 130, "^hello\ntyped\n$", "^Processed a total of 2 messages\n$")
    described = run([binary, "kafka-consumer-groups", "--bootstrap-server", a.bootstrap, "--describe", "--group", topic])
    check("Ctrl-C commits", described, 0, r"%s +0 +(\d+) +\1 +0 .*%s +1 +(\d+) +\2 +0 " % (topic, topic))
    check("cleans up", run([binary, "kafka-topics", "--bootstrap-server", a.bootstrap, "--delete", "--topic", topic]), 0, "^$", "^$")

    # A broker in the background.
    here = {"CONFLUENT_CURRENT": os.path.join(work, "confluent")}
    local = [binary, "confluent", "local"]
    try:
        check("status before", run(local + ["services", "status"], here), 0, r"Kafka is \[DOWN\]")
        check("start", run(local + ["service", "start", "--", "--kafka", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--console", "off"], here), 0, r"Kafka is \[UP\]")
        check("start again", run(local + ["services", "start"], here), 0, r"Kafka is \[UP\]")
        check("status", run(local + ["services", "kafka", "status"], here), 0, r"Kafka is \[UP\]")
        check("stop", run(local + ["service", "stop"], here), 0, r"Kafka is \[DOWN\]")
        check("stop again", run(local + ["services", "stop"], here), 0, r"Kafka is \[DOWN\]")
        check("a start that fails", run(local + ["services", "start", "--", "--kafka", "no address"], here), 1, r"Kafka is \[DOWN\]", "did not start")
    finally:
        run(local + ["services", "stop"], here)
    properties = os.path.join(work, "server.properties")
    with open(properties, "w") as f:
        f.write("listeners=PLAINTEXT://127.0.0.1:0\nlog.dirs=%s\n" % os.path.join(work, "data"))
    server = subprocess.Popen([os.path.join(links, "kafka-server-start.sh"), properties], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if line.strip() == "ready":
                break
        threading.Thread(target=server.stdout.read, daemon=True).start()
        check("kafka-server-stop", run([binary, "kafka-server-stop.sh"]), 0, "^$", "^$")
        check("the server ends cleanly", (server.wait(STEP_SECONDS), "".join(lines), ""), 0, "ready")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bootstrap", required=True, help="HOST:PORT of the broker that both sides talk to")
    p.add_argument("--ours", required=True, help="the tributary binary")
    p.add_argument("--only", default="", help="scenarios whose name matches (own = what only ours does)")
    a = p.parse_args()
    a.ours = os.path.abspath(a.ours)
    real_kafka.jars()
    work = tempfile.mkdtemp(prefix="kafka-tools-")
    try:
        differential(a, work)
        if not a.only or re.search(a.only, "own"):
            own(a, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("%d passed, %d failed" % (Count.passed, Count.failed))
    return 1 if Count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
