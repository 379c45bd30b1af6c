package bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

/** The jobs of the benchmark in Kafka Streams. Arguments are name=value; see bench/engines.py. */
public final class Jobs {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static final class Event {
        public String user;
        public double amount;
        public long ts;
        public String kind;
        public String note;
    }

    public static final class Priced {
        public String user;
        public double amount;
        public long ts;
        public String kind;
        public String note;
        public double gross;

        static Priced of(Event e) {
            Priced p = new Priced();
            p.user = e.user;
            p.amount = e.amount;
            p.ts = e.ts;
            p.kind = e.kind;
            p.note = e.note;
            p.gross = e.amount * 1.2;
            return p;
        }
    }

    public static final class Totals {
        public long count;
        public double total;

        Totals add(Event e) {
            count++;
            total += e.amount;
            return this;
        }

        Totals add(Totals other) {
            count += other.count;
            total += other.total;
            return this;
        }
    }

    public static final class Bought {
        public String user;
        public long viewed;
        public long bought;
        public double amount;

        static Bought of(Event view, Event buy) {
            Bought b = new Bought();
            b.user = buy.user;
            b.viewed = view.ts;
            b.bought = buy.ts;
            b.amount = buy.amount;
            return b;
        }
    }

    /** Totals and the newest note: about 100 bytes per key, including the overhead of the store. */
    public static final class Profile {
        public long count;
        public double total;
        public String note;

        Profile add(Event e) {
            count++;
            total += e.amount;
            note = e.note;
            return this;
        }
    }

    private static <T> Serde<T> json(Class<T> type) {
        Serializer<T> serializer = (topic, value) -> {
            try {
                return value == null ? null : JSON.writeValueAsBytes(value);
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        };
        Deserializer<T> deserializer = (topic, data) -> {
            try {
                return data == null ? null : JSON.readValue(data, type);
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        };
        return Serdes.serdeFrom(serializer, deserializer);
    }

    private static void build(StreamsBuilder builder, String job, String input, String output) {
        KStream<String, Event> events = builder.stream(input, Consumed.with(Serdes.String(), json(Event.class)));
        Produced<String, Totals> produced = Produced.with(Serdes.String(), json(Totals.class));
        switch (job) {
            case "J1" -> events
                .filter((user, e) -> !e.kind.equals("cart"))
                .mapValues(Priced::of)
                .to(output, Produced.with(Serdes.String(), json(Priced.class)));
            case "J2" -> events
                .groupByKey()
                .aggregate(
                    Totals::new,
                    (user, e, totals) -> totals.add(e),
                    Materialized.<String, Totals, KeyValueStore<Bytes, byte[]>>as("totals")
                        .withKeySerde(Serdes.String()).withValueSerde(json(Totals.class)))
                .toStream()
                .to(output, produced);
            case "J3" -> events
                .groupByKey()
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), Duration.ofSeconds(10)))
                .aggregate(
                    Totals::new,
                    (user, e, totals) -> totals.add(e),
                    Materialized.<String, Totals, WindowStore<Bytes, byte[]>>as("totals")
                        .withKeySerde(Serdes.String()).withValueSerde(json(Totals.class)))
                .toStream()
                .to(output, Produced.with(WindowedSerdes.timeWindowedSerdeFrom(String.class, 60_000L), json(Totals.class)));
            case "J4" -> events
                .groupBy((user, e) -> e.kind + e.user.charAt(5), Grouped.with("kinds", Serdes.String(), json(Event.class)))
                .aggregate(
                    Totals::new,
                    (key, e, totals) -> totals.add(e),
                    Materialized.<String, Totals, KeyValueStore<Bytes, byte[]>>as("totals")
                        .withKeySerde(Serdes.String()).withValueSerde(json(Totals.class)))
                .toStream()
                .to(output, produced);
            case "J5" -> events
                .groupByKey()
                .windowedBy(SessionWindows.ofInactivityGapAndGrace(Duration.ofSeconds(20), Duration.ofSeconds(10)))
                .aggregate(
                    Totals::new,
                    (user, e, totals) -> totals.add(e),
                    (user, one, other) -> one.add(other),
                    Materialized.<String, Totals, SessionStore<Bytes, byte[]>>as("totals")
                        .withKeySerde(Serdes.String()).withValueSerde(json(Totals.class)))
                .toStream()
                .to(output, Produced.with(WindowedSerdes.sessionWindowedSerdeFrom(String.class), json(Totals.class)));
            case "J6" -> events
                .groupByKey()
                .windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(10)))
                .aggregate(
                    Totals::new,
                    (user, e, totals) -> new Totals().add(totals).add(e), // windows share what they begin with
                    Materialized.<String, Totals, WindowStore<Bytes, byte[]>>as("totals")
                        .withKeySerde(Serdes.String()).withValueSerde(json(Totals.class)))
                .toStream()
                .to(output, Produced.with(WindowedSerdes.timeWindowedSerdeFrom(String.class, 10_000L), json(Totals.class)));
            case "J7" -> events
                .filter((user, e) -> e.kind.equals("view"))
                .join(
                    events.filter((user, e) -> e.kind.equals("buy")),
                    Bought::of,
                    JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(10)),
                    StreamJoined.with(Serdes.String(), json(Event.class), json(Event.class)).withStoreName("bought"))
                .to(output, Produced.with(Serdes.String(), json(Bought.class)));
            case "profiles" -> events
                .groupByKey()
                .aggregate(
                    Profile::new,
                    (user, e, profile) -> profile.add(e),
                    Materialized.<String, Profile, KeyValueStore<Bytes, byte[]>>as("profiles")
                        .withKeySerde(Serdes.String()).withValueSerde(json(Profile.class)))
                .toStream()
                .to(output, Produced.with(Serdes.String(), json(Profile.class)));
            default -> throw new IllegalArgumentException("unknown job " + job);
        }
    }

    /** Prints the number of replayed records to standard output, one line per store partition. */
    private static final class Restored implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long from, long to) {}

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long end, long count) {}

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long total) {
            System.out.println("{\"replayed\": " + total + "}");
            System.out.flush();
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        Map<String, String> settings = new HashMap<>();
        for (String argument : arguments) {
            int at = argument.indexOf('=');
            settings.put(argument.substring(0, at), argument.substring(at + 1));
        }
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, settings.get("app"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.get("broker"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, settings.get("state_dir"));
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        properties.put(
            StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
            settings.get("guarantee").equals("exactly_once") ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Long.parseLong(settings.get("commit_ms")));
        properties.put(
            StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG,
            settings.get("outputs").equals("update") ? 0L : 10L * 1024 * 1024);
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        if (settings.containsKey("session_ms")) {
            int session = Integer.parseInt(settings.get("session_ms"));
            properties.put(StreamsConfig.mainConsumerPrefix("session.timeout.ms"), session);
            properties.put(StreamsConfig.mainConsumerPrefix("heartbeat.interval.ms"), session / 6);
        }
        settings.forEach((name, value) -> {
            if (name.startsWith("kafka.")) {
                properties.put(name.substring("kafka.".length()), value);
            }
        });

        StreamsBuilder builder = new StreamsBuilder();
        build(builder, settings.get("job"), settings.get("input"), settings.get("output"));
        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        streams.setGlobalStateRestoreListener(new Restored());
        CountDownLatch stopped = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            System.exit(1);
            return null;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(Duration.ofSeconds(10));
            stopped.countDown();
        }));
        streams.start();
        stopped.await();
    }
}
