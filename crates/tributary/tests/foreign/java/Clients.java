import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.FenceProducersOptions;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** kafka-clients, unchanged, against a broker. Clients HOST:PORT [ONLY]; ends with `N passed, M failed`. */
public final class Clients {
    private static final Duration WAIT = Duration.ofSeconds(60);
    private static final Duration POLL = Duration.ofMillis(50);
    /** An hour ago: what is much older, retention deletes. */
    private static final long BASE = System.currentTimeMillis() - 3_600_000;
    private static String bootstrap;

    private interface Check {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        String only = arguments.length > 1 ? arguments[1] : "";
        Map<String, Check> checks = new LinkedHashMap<>();
        for (String protocol : List.of("classic", "consumer")) {
            checks.put(protocol + " group", () -> group(protocol, Map.of()));
            checks.put(protocol + " group subscribed by pattern", () -> pattern(protocol));
            checks.put(protocol + " static member", () -> staticMember(protocol));
            checks.put(protocol + " group: exactly once through transactions", () -> exactlyOnce(protocol));
            checks.put(protocol + " group in admin", () -> groupAdmin(protocol));
        }
        for (String assignor : List.of("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor")) {
            checks.put("classic group, " + assignor, () -> group("classic",
                Map.of("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor)));
        }
        checks.put("consumer group, range", () -> group("consumer", Map.of("group.remote.assignor", "range")));
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            checks.put("codec " + codec, () -> codec(codec));
        }
        checks.put("offsets by time, seek, pause", Clients::positions);
        checks.put("transactions: commit, abort, fence", Clients::transactions);
        checks.put("transactions: last stable offset and timeout", Clients::stableOffset);
        checks.put("admin of topics", Clients::topicAdmin);

        ExecutorService threads = Executors.newFixedThreadPool(6); // most of a check is waiting
        Map<String, Future<String>> verdicts = new LinkedHashMap<>();
        checks.forEach((name, check) -> {
            if (name.contains(only)) {
                verdicts.put(name, threads.submit(() -> verdict(name, check)));
            }
        });
        int failed = 0;
        for (Map.Entry<String, Future<String>> verdict : verdicts.entrySet()) {
            String failure = verdict.getValue().get();
            failed += failure == null ? 0 : 1;
        }
        System.out.println((verdicts.size() - failed) + " passed, " + failed + " failed");
        // Clients of failed checks may still have threads.
        Runtime.getRuntime().halt(failed == 0 ? 0 : 1);
    }

    private static String verdict(String name, Check check) {
        long began = System.nanoTime();
        try {
            check.run();
            System.out.printf("pass java %s %.1f%n", name, (System.nanoTime() - began) / 1e9);
            return null;
        } catch (Throwable failure) {
            System.out.printf("FAIL java %s %.1f%n", name, (System.nanoTime() - began) / 1e9);
            failure.printStackTrace(System.out);
            return String.valueOf(failure);
        }
    }

    // ---- what checks are made of

    private static String name(String what) {
        return what + "-" + UUID.randomUUID().toString().substring(0, 8);
    }

    private static void equal(Object got, Object expected, String what) {
        if (!expected.equals(got)) {
            throw new AssertionError(what + ": got " + got + ", expected " + expected);
        }
    }

    private static void until(String what, BooleanSupplier condition) {
        long deadline = System.nanoTime() + WAIT.toNanos();
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("waited in vain for " + what);
            }
            try {
                Thread.sleep(20);
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        }
    }

    /** What a future of an Admin holds. */
    private static <T> T get(org.apache.kafka.common.KafkaFuture<T> future) {
        try {
            return future.get();
        } catch (ExecutionException e) {
            throw new AssertionError(e.getCause());
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    private static void refused(Class<? extends Exception> error, String what, Callable<?> attempt) throws Exception {
        try {
            attempt.call();
        } catch (AssertionError | ExecutionException e) {
            if (error.isInstance(e.getCause())) {
                return;
            }
            throw new AssertionError(what, e.getCause());
        } catch (Exception e) {
            if (error.isInstance(e) || error.isInstance(e.getCause())) {
                return;
            }
            throw new AssertionError(what, e);
        }
        throw new AssertionError(what + " was not refused");
    }

    private static Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    private static String topic(int partitions, Map<String, String> configs) {
        String topic = name("java");
        try (Admin admin = admin()) {
            get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all());
        }
        return topic;
    }

    private static KafkaProducer<String, String> producer(Map<String, String> configs) {
        Properties all = new Properties();
        all.put("bootstrap.servers", bootstrap);
        all.putAll(configs);
        return new KafkaProducer<>(all, new StringSerializer(), new StringSerializer());
    }

    private static KafkaProducer<String, String> transactional(String id) {
        KafkaProducer<String, String> producer = producer(Map.of("transactional.id", id, "transaction.timeout.ms", "20000"));
        producer.initTransactions();
        return producer;
    }

    private static KafkaConsumer<String, String> consumer(String group, String protocol, Map<String, String> configs) {
        Properties all = new Properties();
        all.put("bootstrap.servers", bootstrap);
        all.put("auto.offset.reset", "earliest");
        all.put("enable.auto.commit", "false");
        all.put("isolation.level", "read_committed");
        all.put("group.id", group);
        all.put("group.protocol", protocol);
        if (protocol.equals("classic")) {
            all.put("session.timeout.ms", "10000");
            all.put("heartbeat.interval.ms", "200");
        }
        all.putAll(configs);
        return new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
    }

    private static List<String> values(String what, int n) {
        return IntStream.range(0, n).mapToObj(i -> what + " " + i + " " + "abc".repeat(20)).collect(Collectors.toList());
    }

    private static void send(KafkaProducer<String, String> producer, String topic, Collection<String> values) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (String value : values) {
            sent.add(producer.send(new ProducerRecord<>(topic, value, value)));
        }
        producer.flush();
        for (Future<RecordMetadata> one : sent) {
            one.get();
        }
    }

    private static void produce(String topic, Collection<String> values) throws Exception {
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            send(producer, topic, values);
        }
    }

    /** The committed records of a topic, until there are `n`. */
    private static List<String> read(String topic, int n) {
        try (KafkaConsumer<String, String> consumer = consumer(name("read"), "classic", Map.of())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(p -> new TopicPartition(topic, p.partition())).collect(Collectors.toList());
            consumer.assign(partitions);
            List<String> got = new ArrayList<>();
            until(n + " records", () -> {
                consumer.poll(POLL).forEach(r -> got.add(r.value()));
                return got.size() >= n;
            });
            return got;
        }
    }

    private static void same(List<String> got, Collection<String> expected, String what) {
        List<String> a = new ArrayList<>(got);
        List<String> b = new ArrayList<>(expected);
        Collections.sort(a);
        Collections.sort(b);
        if (!a.equals(b)) {
            Set<String> missing = new HashSet<>(b);
            missing.removeAll(a);
            throw new AssertionError(what + ": " + a.size() + " instead of " + b.size() + ", missing " + missing.size());
        }
    }

    private static long committed(String group, String topic) {
        try (Admin admin = admin()) {
            return get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).entrySet().stream()
                .filter(e -> e.getKey().topic().equals(topic)).mapToLong(e -> e.getValue().offset()).sum();
        }
    }

    // ---- the checks

    private static void codec(String codec) throws Exception {
        for (String acks : List.of("all", "1", "0")) {
            String topic = topic(3, Map.of());
            List<String> values = values(codec, 300);
            Map<String, String> configs = new HashMap<>(Map.of("compression.type", codec, "acks", acks, "linger.ms", "5"));
            if (!acks.equals("all")) {
                configs.put("enable.idempotence", "false");
            }
            try (KafkaProducer<String, String> producer = producer(configs)) {
                send(producer, topic, values);
            }
            same(read(topic, values.size()), values, codec + " acks=" + acks);
        }
        // Stored in this codec whatever the producer says, and read back whole.
        String topic = topic(1, Map.of("compression.type", codec.equals("none") ? "uncompressed" : codec));
        List<String> values = values(codec, 300);
        try (KafkaProducer<String, String> producer = producer(Map.of("compression.type", codec.equals("lz4") ? "gzip" : "lz4"))) {
            send(producer, topic, values);
        }
        same(read(topic, values.size()), values, "stored as " + codec);
    }

    private static void group(String protocol, Map<String, String> configs) throws Exception {
        String topic = topic(4, Map.of());
        String group = name("group");
        List<String> values = values("group", 200);
        List<String> got = new ArrayList<>();
        KafkaConsumer<String, String> two = consumer(group, protocol, configs);
        try (KafkaConsumer<String, String> one = consumer(group, protocol, configs); two) {
            one.subscribe(List.of(topic));
            until("the first to get all", () -> one.poll(POLL).isEmpty() && one.assignment().size() == 4);
            two.subscribe(List.of(topic));
            until("a share each", () -> one.poll(POLL).isEmpty() && two.poll(POLL).isEmpty()
                && one.assignment().size() == 2 && two.assignment().size() == 2);
            produce(topic, values);
            until("200 records", () -> {
                one.poll(POLL).forEach(r -> got.add(r.value()));
                two.poll(POLL).forEach(r -> got.add(r.value()));
                return got.size() >= values.size();
            });
            same(got, values, "records of both");
            one.commitSync();
            two.commitSync();
            one.close();
            until("the survivor to get all", () -> two.poll(POLL).isEmpty() && two.assignment().size() == 4);
        }
        equal(committed(group, topic), 200L, "committed");
        // What was committed survives: a new member reads only what came after.
        List<String> more = values("more", 20);
        produce(topic, more);
        try (KafkaConsumer<String, String> three = consumer(group, protocol, configs)) {
            three.subscribe(List.of(topic));
            List<String> after = new ArrayList<>();
            until("20 more records", () -> {
                three.poll(POLL).forEach(r -> after.add(r.value()));
                return after.size() >= more.size();
            });
            same(after, more, "records after the commits");
        }
    }

    private static void pattern(String protocol) throws Exception {
        String prefix = name("pattern");
        try (Admin admin = admin(); KafkaConsumer<String, String> consumer = consumer(name("group"), protocol, Map.of("metadata.max.age.ms", "200"))) {
            get(admin.createTopics(List.of(new NewTopic(prefix + ".a", 2, (short) 1))).all());
            if (protocol.equals("consumer")) {
                consumer.subscribe(new SubscriptionPattern(prefix + "\\..*"));
            } else {
                consumer.subscribe(java.util.regex.Pattern.compile(prefix + "\\..*"));
            }
            until("the first topic", () -> consumer.poll(POLL).isEmpty() && consumer.assignment().size() == 2);
            get(admin.createTopics(List.of(new NewTopic(prefix + ".b", 3, (short) 1))).all());
            until("the second topic", () -> consumer.poll(POLL).isEmpty() && consumer.assignment().size() == 5);
        }
    }

    private static void staticMember(String protocol) throws Exception {
        String topic = topic(4, Map.of());
        String group = name("group");
        KafkaConsumer<String, String> two = consumer(group, protocol, Map.of("group.instance.id", "two"));
        try (two; Admin admin = admin()) {
            Set<TopicPartition> had = new HashSet<>();
            String[] member = new String[1];
            try (KafkaConsumer<String, String> one = consumer(group, protocol, Map.of("group.instance.id", "one"))) {
                one.subscribe(List.of(topic));
                two.subscribe(List.of(topic));
                until("a share each", () -> one.poll(POLL).isEmpty() && two.poll(POLL).isEmpty()
                    && one.assignment().size() == 2 && two.assignment().size() == 2);
                had.addAll(one.assignment());
            }
            // A static member that closes does not leave: its partitions wait for it.
            ConsumerGroupDescription described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
            equal(described.members().size(), 2, "members while one is away");
            try (KafkaConsumer<String, String> again = consumer(group, protocol, Map.of("group.instance.id", "one"))) {
                again.subscribe(List.of(topic));
                until("its partitions back", () -> again.poll(POLL).isEmpty() && two.poll(POLL).isEmpty() && again.assignment().equals(had));
            }
            get(admin.removeMembersFromConsumerGroup(group,
                new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")))).all());
            until("the survivor to get all", () -> two.poll(POLL).isEmpty() && two.assignment().size() == 4);
        }
    }

    private static void exactlyOnce(String protocol) throws Exception {
        String source = topic(2, Map.of());
        String target = topic(2, Map.of());
        String group = name("group");
        String id = name("transactional");
        List<String> values = values("once", 200);
        produce(source, values);
        int done = 0;
        for (int life = 0; done < values.size(); life++) {
            KafkaProducer<String, String> producer = transactional(id);
            try (KafkaConsumer<String, String> consumer = consumer(group, protocol, Map.of("max.poll.records", "40")); producer) {
                consumer.subscribe(List.of(source));
                long deadline = System.nanoTime() + WAIT.toNanos();
                while (done < values.size()) {
                    if (System.nanoTime() > deadline) {
                        throw new AssertionError("transformed " + done);
                    }
                    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                    List<ConsumerRecord<String, String>> records = new ArrayList<>();
                    consumer.poll(POLL).forEach(records::add);
                    if (records.isEmpty()) {
                        continue;
                    }
                    producer.beginTransaction();
                    for (ConsumerRecord<String, String> record : records) {
                        producer.send(new ProducerRecord<>(target, record.key(), record.value()));
                        offsets.put(new TopicPartition(source, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                    }
                    producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
                    if (life == 0 && done >= 80) {
                        producer.abortTransaction();
                        break;
                    }
                    producer.commitTransaction();
                    done += records.size();
                }
                if (life > 0) {
                    // Offsets of a group that the member is no longer in are refused.
                    var metadata = consumer.groupMetadata();
                    consumer.close();
                    producer.beginTransaction();
                    refused(CommitFailedException.class, "offsets of a member that left", () -> {
                        producer.sendOffsetsToTransaction(Map.of(new TopicPartition(source, 0), new OffsetAndMetadata(0)), metadata);
                        return null;
                    });
                    producer.abortTransaction();
                }
            }
        }
        same(read(target, values.size()), values, "transformed");
        equal(committed(group, source), (long) values.size(), "committed");
    }

    private static void transactions() throws Exception {
        String topic = topic(2, Map.of());
        String id = name("transactional");
        List<String> expected = new ArrayList<>();
        try (KafkaProducer<String, String> producer = transactional(id); Admin admin = admin()) {
            for (int round = 0; round < 6; round++) {
                List<String> values = values("round " + round, 10);
                producer.beginTransaction();
                send(producer, topic, values);
                var described = get(admin.describeTransactions(List.of(id)).description(id));
                equal(described.state(), TransactionState.ONGOING, "state");
                equal(described.topicPartitions().isEmpty(), false, "no partitions in the transaction");
                if (round % 2 == 0) {
                    producer.commitTransaction();
                    expected.addAll(values);
                } else {
                    producer.abortTransaction();
                }
            }
            same(read(topic, expected.size()), expected, "committed");
            producer.beginTransaction();
            send(producer, topic, List.of("zombie"));
            try (KafkaProducer<String, String> successor = transactional(id)) {
                successor.beginTransaction();
                send(successor, topic, List.of("new"));
                refused(ProducerFencedException.class, "the commit of a fenced producer", () -> {
                    producer.commitTransaction();
                    return null;
                });
                successor.commitTransaction();
                expected.add("new");
                // Fenced by an administrator, too.
                get(admin.fenceProducers(List.of(id), new FenceProducersOptions()).all());
                successor.beginTransaction();
                try {
                    send(successor, topic, List.of("fenced"));
                    successor.commitTransaction();
                    throw new AssertionError("a fenced producer committed");
                } catch (ExecutionException | ProducerFencedException | InvalidProducerEpochException e) {
                    // as it should
                }
            } catch (ProducerFencedException e) {
                // closing it
            }
            same(read(topic, expected.size()), expected, "committed");
        }
    }

    private static void stableOffset() throws Exception {
        String topic = topic(1, Map.of());
        String id = name("transactional");
        TopicPartition partition = new TopicPartition(topic, 0);
        KafkaProducer<String, String> hanging = producer(Map.of("transactional.id", id, "transaction.timeout.ms", "3000",
            "delivery.timeout.ms", "3000", "request.timeout.ms", "2000", "linger.ms", "0"));
        try (Admin admin = admin()) {
            hanging.initTransactions();
            hanging.beginTransaction();
            send(hanging, topic, List.of("open"));
            produce(topic, List.of("after"));
            ListOffsetsOptions stable = new ListOffsetsOptions(IsolationLevel.READ_COMMITTED);
            equal(get(admin.listOffsets(Map.of(partition, OffsetSpec.latest()), stable).partitionResult(partition)).offset(), 0L, "last stable offset");
            equal(get(admin.listOffsets(Map.of(partition, OffsetSpec.latest())).partitionResult(partition)).offset(), 2L, "end offset");
            var producers = get(admin.describeProducers(List.of(partition)).partitionResult(partition)).activeProducers();
            equal(producers.stream().anyMatch(p -> p.currentTransactionStartOffset().orElse(-1) == 0), true, "open transaction described");
            // The coordinator ends what its owner does not.
            until("the abort of the transaction", () ->
                get(admin.listOffsets(Map.of(partition, OffsetSpec.latest()), stable).partitionResult(partition)).offset() == 3L);
            same(read(topic, 1), List.of("after"), "committed");
        }
        hanging.close(Duration.ZERO);
    }

    private static void positions() throws Exception {
        String topic = topic(1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> producer = producer(Map.of())) {
            for (int i = 0; i < 100; i++) {
                producer.send(new ProducerRecord<>(topic, 0, BASE + i, null, "v" + i));
            }
        }
        for (String protocol : List.of("classic", "consumer")) {
            try (KafkaConsumer<String, String> consumer = consumer(name("group"), protocol, Map.of())) {
                equal(consumer.offsetsForTimes(Map.of(partition, BASE + 50)).get(partition).offset(), 50L, "by time");
                equal(consumer.beginningOffsets(List.of(partition)).get(partition), 0L, "beginning");
                equal(consumer.endOffsets(List.of(partition)).get(partition), 100L, "end");
                consumer.assign(List.of(partition));
                consumer.seek(partition, 95);
                List<String> got = new ArrayList<>();
                until("five records", () -> {
                    consumer.poll(POLL).forEach(r -> got.add(r.value()));
                    return got.size() >= 5;
                });
                equal(got, List.of("v95", "v96", "v97", "v98", "v99"), "after a seek");
                consumer.seek(partition, 5000);
                until("a reset", () -> consumer.poll(POLL).count() > 0);
                consumer.commitSync(Map.of(partition, new OffsetAndMetadata(42, java.util.Optional.of(0), "note")));
                OffsetAndMetadata committed = consumer.committed(Set.of(partition)).get(partition);
                equal(committed.offset() + committed.metadata(), "42note", "committed");
                equal(committed.leaderEpoch(), java.util.Optional.of(0), "epoch of the commit");
            }
        }
    }

    private static void topicAdmin() throws Exception {
        String topic = topic(2, Map.of("retention.ms", "3600000"));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try (Admin admin = admin()) {
            refused(TopicExistsException.class, "a second creation", () -> admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get());
            refused(InvalidConfigurationException.class, "an unknown configuration",
                () -> admin.createTopics(List.of(new NewTopic(name("x"), 1, (short) 1).configs(Map.of("no.such", "1")))).all().get());
            var described = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
            equal(described.partitions().size(), 2, "partitions");
            equal(get(admin.describeTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(described.topicId()))).allTopicIds())
                .get(described.topicId()).name(), topic, "name of the id");
            ConfigEntry retention = get(admin.describeConfigs(List.of(resource)).all()).get(resource).get("retention.ms");
            equal(retention.value(), "3600000", "retention.ms");
            equal(retention.source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
            get(admin.incrementalAlterConfigs(Map.of(resource, List.of(
                new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE),
                new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND)))).all());
            var config = get(admin.describeConfigs(List.of(resource)).all()).get(resource);
            equal(config.get("retention.ms").value(), "604800000", "retention.ms");
            equal(config.get("cleanup.policy").value(), "delete,compact", "cleanup.policy");
            get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all());
            equal(get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size(), 4, "partitions");
            TopicPartition partition = new TopicPartition(topic, 0);
            try (KafkaProducer<String, String> producer = producer(Map.of())) {
                for (int i = 0; i < 10; i++) {
                    producer.send(new ProducerRecord<>(topic, 0, BASE + i, "k", "v" + i));
                }
            }
            for (Map.Entry<OffsetSpec, Long> one : Map.of(OffsetSpec.earliest(), 0L, OffsetSpec.latest(), 10L, OffsetSpec.maxTimestamp(), 9L,
                OffsetSpec.forTimestamp(BASE + 4), 4L, OffsetSpec.earliestLocal(), 0L).entrySet()) {
                equal(get(admin.listOffsets(Map.of(partition, one.getKey())).partitionResult(partition)).offset(), one.getValue(), one.getKey().getClass().getSimpleName());
            }
            equal(get(admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(6))).lowWatermarks().get(partition)).lowWatermark(), 6L, "low watermark");
            int broker = get(admin.describeCluster().controller()).id();
            var replicas = get(admin.describeLogDirs(List.of(broker)).allDescriptions()).get(broker).values().stream()
                .flatMap(d -> d.replicaInfos().keySet().stream()).filter(p -> p.topic().equals(topic)).count();
            equal(replicas, 4L, "replicas in log directories");
            get(admin.describeFeatures().featureMetadata());
            get(admin.describeMetadataQuorum().quorumInfo());
            get(admin.deleteTopics(List.of(topic)).all());
            refused(UnknownTopicOrPartitionException.class, "a deleted topic", () -> admin.describeTopics(List.of(topic)).allTopicNames().get());
        }
    }

    private static void groupAdmin(String protocol) throws Exception {
        String topic = topic(2, Map.of());
        String group = name("group");
        TopicPartition partition = new TopicPartition(topic, 0);
        produce(topic, values("v", 20));
        try (Admin admin = admin()) {
            try (KafkaConsumer<String, String> consumer = consumer(group, protocol, Map.of())) {
                consumer.subscribe(List.of(topic));
                List<String> got = new ArrayList<>();
                until("20 records", () -> {
                    consumer.poll(POLL).forEach(r -> got.add(r.value()));
                    return got.size() >= 20;
                });
                consumer.commitSync();
                ConsumerGroupDescription described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
                equal(described.groupState(), GroupState.STABLE, "state");
                equal(described.type().toString(), protocol.equals("classic") ? "Classic" : "Consumer", "type");
                equal(described.members().iterator().next().assignment().topicPartitions().size(), 2, "assigned");
                GroupListing listed = get(admin.listGroups().all()).stream().filter(g -> g.groupId().equals(group)).findFirst().orElseThrow();
                equal(listed.groupState().orElseThrow(), GroupState.STABLE, "listed state");
                refused(GroupNotEmptyException.class, "deleting a group with members", () -> admin.deleteConsumerGroups(List.of(group)).all().get());
            }
            equal(committed(group, topic), 20L, "committed");
            get(admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(1))).all());
            equal(get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(partition).offset(), 1L, "altered");
            get(admin.deleteConsumerGroupOffsets(group, Set.of(partition)).all());
            equal(get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).containsKey(partition), false, "a deleted offset");
            get(admin.deleteConsumerGroups(List.of(group)).all());
            refused(GroupIdNotFoundException.class, "a deleted group", () -> admin.deleteConsumerGroups(List.of(group)).all().get());
        }
    }
}
