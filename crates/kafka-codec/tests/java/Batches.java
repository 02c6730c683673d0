import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Random;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;

/**
 * Record batches, error codes, API versions and ids as Kafka's own classes have them.
 *
 * Usage: Batches.java write SEED ROUNDS OUTPUT | Batches.java check INPUT
 * "write" writes lines "batch CODEC HEX TEXT", "marker COMMIT HEX", "error …", "api …", "uuid HEX TEXT";
 * "check" reads lines "batch CODEC HEX TEXT" that another program wrote and compares content with text.
 */
public class Batches {
    static final HexFormat HEX = HexFormat.of();
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};

    public static void main(String[] args) throws Exception {
        if (args[0].equals("write")) {
            write(new Random(Long.parseLong(args[1])), Integer.parseInt(args[2]), args[3]);
        } else {
            check(Path.of(args[1]));
        }
    }

    static void write(Random random, int rounds, String output) throws Exception {
        try (PrintWriter out = new PrintWriter(output, StandardCharsets.UTF_8)) {
            for (int round = 0; round < rounds; round++) {
                for (String codec : CODECS) {
                    ByteBuffer batch = batch(random, codec);
                    out.println("batch " + codec + " " + hex(batch) + " " + describe(batch));
                }
                marker(random, out);
                Uuid id = new Uuid(random.nextLong(), random.nextLong());
                ByteBuffer bits = ByteBuffer.allocate(16);
                bits.putLong(id.getMostSignificantBits()).putLong(id.getLeastSignificantBits());
                out.println("uuid " + HEX.formatHex(bits.array()) + " " + id);
            }
            for (Errors error : Errors.values()) {
                boolean retriable = error.exception() instanceof RetriableException;
                String message = error == Errors.NONE ? "NONE" : error.message();
                out.println("error " + error.code() + " " + error.name() + " " + retriable + " " + message);
            }
            for (ApiKeys key : ApiKeys.values()) {
                if (key.hasValidVersion()) {
                    short first = key.messageType.lowestSupportedVersion();
                    short stable = key.messageType.highestSupportedVersion(false);
                    out.print("api " + key.id + " " + key.name + " " + first + " " + stable);
                    for (short v = first; v <= stable; v++) {
                        out.print(" " + key.requestHeaderVersion(v) + key.responseHeaderVersion(v));
                    }
                    out.println();
                }
            }
        }
    }

    static ByteBuffer batch(Random random, String codec) {
        boolean hasProducer = random.nextBoolean();
        boolean transactional = hasProducer && random.nextBoolean();
        boolean appendTime = random.nextInt(4) == 0;
        MemoryRecordsBuilder builder = MemoryRecords.builder(
            ByteBuffer.allocate(1024),
            RecordBatch.MAGIC_VALUE_V2,
            Compression.of(codec).build(),
            appendTime ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME,
            random.nextInt(1000),
            appendTime ? 1_700_000_000_000L : RecordBatch.NO_TIMESTAMP,
            hasProducer ? random.nextInt(1000) : RecordBatch.NO_PRODUCER_ID,
            hasProducer ? (short) random.nextInt(100) : RecordBatch.NO_PRODUCER_EPOCH,
            hasProducer ? random.nextInt(1000) : RecordBatch.NO_SEQUENCE,
            transactional,
            false,
            random.nextInt(100));
        // Now and then more than a block of every codec.
        int length = random.nextInt(10) == 0 ? 60_000 : 200;
        for (int i = 1 + random.nextInt(10); i > 0; i--) {
            Header[] headers = new Header[random.nextInt(3)];
            for (int h = 0; h < headers.length; h++) {
                headers[h] = new RecordHeader("h" + random.nextInt(10), bytes(random, 10));
            }
            builder.append(1_700_000_000_000L + random.nextInt(1000), bytes(random, 20), bytes(random, length), headers);
        }
        return builder.build().buffer();
    }

    static byte[] bytes(Random random, int max) {
        if (random.nextInt(5) == 0) {
            return null;
        }
        byte[] bytes = new byte[random.nextInt(max)];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) (random.nextInt(3) == 0 ? random.nextInt() : 'a');
        }
        return bytes;
    }

    static void marker(Random random, PrintWriter out) {
        boolean commit = random.nextBoolean();
        long producer = random.nextInt(1000);
        short epoch = (short) random.nextInt(100);
        int coordinator = random.nextInt(100);
        long timestamp = 1_700_000_000_000L + random.nextInt(1000);
        EndTransactionMarker marker = new EndTransactionMarker(
            commit ? ControlRecordType.COMMIT : ControlRecordType.ABORT, coordinator);
        ByteBuffer batch = MemoryRecords.withEndTransactionMarker(0L, timestamp, -1, producer, epoch, marker).buffer();
        out.println("marker " + commit + " " + producer + " " + epoch + " " + coordinator + " " + timestamp + " " + hex(batch));
    }

    static String hex(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return HEX.formatHex(bytes);
    }

    static String hexOrNull(ByteBuffer buffer) {
        return buffer == null ? "null" : "x" + hex(buffer);
    }

    /** All that a reader sees of a batch, as text. */
    static String describe(ByteBuffer bytes) {
        StringBuilder text = new StringBuilder();
        for (MutableRecordBatch batch : MemoryRecords.readableRecords(bytes.duplicate()).batches()) {
            batch.ensureValid();
            text.append(batch.baseOffset()).append(' ').append(batch.lastOffset()).append(' ');
            text.append(batch.partitionLeaderEpoch()).append(' ').append(batch.maxTimestamp()).append(' ');
            text.append(batch.producerId()).append(' ').append(batch.producerEpoch()).append(' ');
            text.append(batch.baseSequence()).append(' ').append(batch.lastSequence()).append(' ');
            text.append(batch.isTransactional()).append(' ').append(batch.isControlBatch()).append(' ');
            text.append(batch.timestampType() == TimestampType.LOG_APPEND_TIME);
            for (Record record : batch) {
                record.ensureValid();
                text.append(" | ").append(record.offset()).append(' ').append(record.timestamp()).append(' ');
                text.append(hexOrNull(record.key())).append(' ').append(hexOrNull(record.value()));
                for (Header header : record.headers()) {
                    text.append(' ').append(header.key()).append('=');
                    text.append(header.value() == null ? "null" : "x" + HEX.formatHex(header.value()));
                }
            }
        }
        return text.toString();
    }

    static void check(Path input) throws Exception {
        int batches = 0;
        for (String line : Files.readAllLines(input)) {
            String[] words = line.split(" ", 4);
            String seen = describe(ByteBuffer.wrap(HEX.parseHex(words[2])));
            if (!seen.equals(words[3])) {
                System.err.println(words[1] + " batch: Kafka reads\n  " + seen + "\nwhere we wrote\n  " + words[3]);
                System.exit(1);
            }
            batches++;
        }
        System.out.println("Kafka reads " + batches + " batches of ours as we wrote them");
    }
}
