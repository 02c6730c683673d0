import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * A Kafka Streams application as the tests run, kill and restart it: words counted, a stream joined with a table, two
 * streams joined within a window, and windows counted; all exactly once.
 *
 * <p>Streams HOST:PORT APPLICATION STATE_FOLDER [KEY=VALUE...]; says `running` when it is, ends with its standard input.
 */
public final class Streams {
    public static void main(String[] arguments) throws Exception {
        Properties configs = new Properties();
        configs.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        configs.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
        configs.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
        configs.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        configs.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        configs.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        configs.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "2");
        // Every update of a table is a record, so that a lost or doubled one shows.
        configs.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
        configs.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "100");
        configs.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, "1000");
        configs.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        // A killed instance is noticed soon.
        configs.put(StreamsConfig.consumerPrefix("session.timeout.ms"), "3000");
        configs.put(StreamsConfig.consumerPrefix("heartbeat.interval.ms"), "300");
        Arrays.stream(arguments).skip(3).map(a -> a.split("=", 2)).forEach(pair -> configs.put(pair[0], pair[1]));

        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream("lines");
        lines.flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word)
            .count()
            .toStream().mapValues(String::valueOf).to("counts");

        KTable<String, String> customers = builder.table("customers");
        builder.<String, String>stream("orders")
            .join(customers, (order, customer) -> order + " for " + customer)
            .to("joined");

        builder.<String, String>stream("left")
            .join(builder.<String, String>stream("right"), (left, right) -> left + "+" + right,
                JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofMinutes(1)))
            .to("paired");

        builder.stream("clicks", Consumed.with(Serdes.String(), Serdes.String()))
            .groupByKey(Grouped.as("clicks"))
            .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofMinutes(1)))
            .count()
            .toStream((window, count) -> window.key() + "@" + window.window().start())
            .mapValues(String::valueOf).to("windows");

        CountDownLatch failed = new CountDownLatch(1);
        KafkaStreams streams = new KafkaStreams(builder.build(), configs);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                System.out.println("running");
            }
        });
        streams.setUncaughtExceptionHandler(failure -> {
            Throwable cause = failure.getCause() == null ? failure : failure.getCause();
            System.out.println("failed " + cause);
            failed.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        Thread input = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    // until the end
                }
            } catch (java.io.IOException e) {
                // the end, too
            }
            failed.countDown();
        });
        input.setDaemon(true);
        input.start();
        failed.await();
        streams.close(Duration.ofSeconds(30));
        System.out.println("closed " + streams.state());
    }
}
