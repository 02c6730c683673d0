import java.io.PrintWriter;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.jar.JarFile;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.Writable;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;

/**
 * Fills every generated message class of the given jars at random, in every version, and writes what Kafka encodes.
 *
 * Usage: Messages.java SEED ROUNDS OUTPUT JAR...
 * Lines: "random|tagged|default NAME VERSION HEX" ("tagged": with tagged fields that the schema does not know);
 * "metadata VERSION HEX", "group-key HEX", "group-value TYPE HEX": as they stand in logs; "no-default NAME VERSION".
 */
public class Messages {
    static final String[] PACKAGES = {
        "org/apache/kafka/common/message/",
        "org/apache/kafka/common/metadata/",
        "org/apache/kafka/coordinator/group/generated/",
        "org/apache/kafka/coordinator/transaction/generated/",
    };
    static final HexFormat HEX = HexFormat.of();

    final Random random;
    /** Whether the message being filled has got a tagged field that its schema does not know. */
    boolean unknownTags;

    Messages(long seed) {
        random = new Random(seed);
    }

    public static void main(String[] args) throws Exception {
        Messages messages = new Messages(Long.parseLong(args[0]));
        int rounds = Integer.parseInt(args[1]);
        TreeMap<String, Class<?>> classes = new TreeMap<>();
        for (int i = 3; i < args.length; i++) {
            collect(args[i], classes);
        }
        try (PrintWriter out = new PrintWriter(args[2])) {
            for (Class<?> type : classes.values()) {
                messages.compare(type, rounds, out);
            }
        }
        System.out.println(classes.size() + " message classes");
    }

    static void collect(String jar, Map<String, Class<?>> classes) throws Exception {
        try (JarFile file = new JarFile(jar)) {
            for (var entries = file.entries(); entries.hasMoreElements(); ) {
                String name = entries.nextElement().getName();
                for (String prefix : PACKAGES) {
                    boolean isClass = name.endsWith(".class") && !name.contains("$");
                    if (isClass && name.startsWith(prefix) && !name.contains("JsonConverter")) {
                        Class<?> type = Class.forName(name.substring(0, name.length() - 6).replace('/', '.'));
                        if (ApiMessage.class.isAssignableFrom(type) && !type.isInterface()) {
                            classes.put(type.getSimpleName(), type);
                        }
                    }
                }
            }
        }
    }

    void compare(Class<?> type, int rounds, PrintWriter out) throws Exception {
        String name = type.getSimpleName();
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        for (short version = 0; version < schemas.length; version++) {
            if (schemas[version] == null) {
                continue;
            }
            try {
                out.println("default " + name + " " + version + " " + encode(create(type), version));
            } catch (RuntimeException nullIsNotAllowedHere) {
                out.println("no-default " + name + " " + version);
            }
            for (int round = 0; round < rounds; round++) {
                unknownTags = false;
                Message message = create(type);
                fill(message, schemas[version]);
                String kind = unknownTags ? "tagged " : "random ";
                out.println(kind + name + " " + version + " " + encode(message, version));
                frame((ApiMessage) message, version, out);
            }
        }
    }

    static Message create(Class<?> type) throws Exception {
        return (Message) type.getDeclaredConstructor().newInstance();
    }

    static String encode(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException(message + " is shorter than it says");
        }
        return HEX.formatHex(buffer.array());
    }

    /** Records as they stand in the metadata and offsets topics, if the classes that write them are there. */
    void frame(ApiMessage message, short version, PrintWriter out) throws Exception {
        String owner = message.getClass().getPackageName();
        String name = message.getClass().getSimpleName();
        if (owner.equals("org.apache.kafka.common.metadata")) {
            Object serde = load("org.apache.kafka.metadata.MetadataRecordSerde").getField("INSTANCE").get(null);
            Object record = versioned(message, version);
            ObjectSerializationCache cache = new ObjectSerializationCache();
            int size = (int) serde.getClass()
                .getMethod("recordSize", Object.class, ObjectSerializationCache.class)
                .invoke(serde, record, cache);
            ByteBuffer buffer = ByteBuffer.allocate(size);
            serde.getClass()
                .getMethod("write", Object.class, ObjectSerializationCache.class, Writable.class)
                .invoke(serde, record, cache, new ByteBufferAccessor(buffer));
            out.println("metadata " + version + " " + HEX.formatHex(buffer.array()));
        } else if (owner.equals("org.apache.kafka.coordinator.group.generated")) {
            boolean isKey = name.endsWith("Key");
            ApiMessage key = isKey ? message : (ApiMessage) create(
                load(owner + "." + name.substring(0, name.length() - "Value".length()) + "Key"));
            Object value = isKey ? null : versioned(message, version);
            Object record = value == null
                ? load("org.apache.kafka.coordinator.common.runtime.CoordinatorRecord")
                    .getMethod("tombstone", ApiMessage.class).invoke(null, key)
                : load("org.apache.kafka.coordinator.common.runtime.CoordinatorRecord")
                    .getMethod("record", ApiMessage.class, value.getClass()).invoke(null, key, value);
            Object serde = load("org.apache.kafka.coordinator.group.GroupCoordinatorRecordSerde")
                .getDeclaredConstructor().newInstance();
            String method = isKey ? "serializeKey" : "serializeValue";
            byte[] bytes = (byte[]) serde.getClass().getMethod(method, Object.class).invoke(serde, record);
            out.println((isKey ? "group-key " : "group-value " + key.apiKey() + " ") + HEX.formatHex(bytes));
        }
    }

    static Class<?> load(String name) throws Exception {
        return Class.forName(name);
    }

    static Object versioned(ApiMessage message, short version) throws Exception {
        return load("org.apache.kafka.server.common.ApiMessageAndVersion")
            .getConstructor(ApiMessage.class, short.class)
            .newInstance(message, version);
    }

    /** Sets the fields that the schema of one version has; the others keep their defaults. */
    void fill(Message message, Schema schema) throws Exception {
        for (BoundField field : schema.fields()) {
            if (field.def.type instanceof TaggedFields tagged) {
                for (var known : tagged.fields().values()) {
                    if (random.nextBoolean()) {
                        set(message, known.name, known.type);
                    }
                }
                if (random.nextInt(8) == 0) {
                    for (int tag = 100; tag < 100 + random.nextInt(3); tag++) {
                        message.unknownTaggedFields().add(new RawTaggedField(tag, bytes(random.nextInt(5))));
                        unknownTags = true;
                    }
                }
            } else {
                set(message, field.def.name, field.def.type);
            }
        }
    }

    void set(Message message, String field, org.apache.kafka.common.protocol.types.Type type) throws Exception {
        String wanted = "set" + field.replace("_", "");
        for (Method method : message.getClass().getMethods()) {
            if (method.getName().toLowerCase(Locale.ROOT).equals(wanted) && method.getParameterCount() == 1) {
                method.invoke(message, value(type, method.getGenericParameterTypes()[0]));
                return;
            }
        }
        throw new IllegalStateException("no setter for " + field + " in " + message.getClass());
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    Object value(org.apache.kafka.common.protocol.types.Type type, Type java) throws Exception {
        if (type.isNullable() && random.nextInt(4) == 0) {
            return null;
        }
        if (type.isArray()) {
            var element = type.arrayElementType().orElseThrow();
            Collection collection;
            Type elementJava;
            if (java instanceof ParameterizedType list) {
                collection = new ArrayList<>();
                elementJava = list.getActualTypeArguments()[0];
            } else {
                // A collection of structs with keys, a class of its own.
                collection = (Collection) ((Class<?>) java).getDeclaredConstructor().newInstance();
                elementJava = ((ParameterizedType) ((Class<?>) java).getGenericSuperclass()).getActualTypeArguments()[0];
            }
            for (int i = random.nextInt(4); i > 0; i--) {
                collection.add(value(element, elementJava));
            }
            return collection;
        }
        Class<?> plain = (Class<?>) java;
        if (type instanceof Schema schema) {
            Message struct = create(plain);
            fill(struct, schema);
            return struct;
        }
        return switch (type.toString()) {
            case "BOOLEAN" -> random.nextBoolean();
            case "INT8" -> (byte) number(8);
            case "INT16" -> (short) number(16);
            case "UINT16" -> (int) number(32) & 0xffff;
            case "INT32" -> (int) number(32);
            case "UINT32" -> number(64) & 0xffffffffL;
            case "INT64" -> number(64);
            case "FLOAT64" -> random.nextGaussian();
            case "UUID" -> new Uuid(random.nextLong(), random.nextLong());
            default -> object(plain, type.toString());
        };
    }

    Object object(Class<?> plain, String type) throws Exception {
        if (plain == String.class) {
            return string();
        }
        if (plain == byte[].class) {
            return bytes(random.nextInt(20));
        }
        if (plain == ByteBuffer.class) {
            return ByteBuffer.wrap(bytes(random.nextInt(20)));
        }
        if (plain.getSimpleName().equals("BaseRecords")) {
            return load(plain.getPackageName() + ".MemoryRecords")
                .getMethod("readableRecords", ByteBuffer.class)
                .invoke(null, ByteBuffer.wrap(bytes(random.nextInt(60))));
        }
        throw new IllegalStateException("no value for " + type + " as " + plain);
    }

    /** Often small or extreme. */
    long number(int bits) {
        return switch (random.nextInt(4)) {
            case 0 -> random.nextInt(5) - 2;
            case 1 -> random.nextBoolean() ? -1L << (bits - 1) : (1L << (bits - 1)) - 1;
            default -> random.nextLong();
        };
    }

    String string() {
        StringBuilder text = new StringBuilder();
        int length = random.nextInt(20) == 0 ? 200 : random.nextInt(6);
        for (int i = 0; i < length; i++) {
            text.append(random.nextInt(10) == 0 ? "\u00e9\u4e16\ud83c\udf0a" : (char) ('a' + random.nextInt(26)));
        }
        return text.toString();
    }

    byte[] bytes(int length) {
        byte[] bytes = new byte[length];
        random.nextBytes(bytes);
        return bytes;
    }
}
