package bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.triggers.CountTrigger;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.producer.ProducerRecord;

/** The jobs of the benchmark in Flink, in one process. Arguments are name=value; see bench/engines.py. */
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
    }

    public static final class Totals {
        public long count;
        public double total;
    }

    /** A result with its key, and the start of its window if it has one. */
    public static final class Total {
        public String key;
        public long start;
        public long count;
        public double total;
    }

    /** Running totals per key. */
    private static final class Running extends KeyedProcessFunction<String, Event, Total> {
        private transient ValueState<Totals> totals;

        @Override
        public void open(OpenContext context) {
            totals = getRuntimeContext().getState(new ValueStateDescriptor<>("totals", Totals.class));
        }

        @Override
        public void processElement(Event e, Context context, Collector<Total> out) throws IOException {
            Totals so_far = totals.value();
            if (so_far == null) {
                so_far = new Totals();
            }
            so_far.count++;
            so_far.total += e.amount;
            totals.update(so_far);
            Total t = new Total();
            t.key = context.getCurrentKey();
            t.count = so_far.count;
            t.total = so_far.total;
            out.collect(t);
        }
    }

    private static final class Adding implements AggregateFunction<Event, Totals, Totals> {
        @Override
        public Totals createAccumulator() {
            return new Totals();
        }

        @Override
        public Totals add(Event e, Totals totals) {
            totals.count++;
            totals.total += e.amount;
            return totals;
        }

        @Override
        public Totals getResult(Totals totals) {
            return totals;
        }

        @Override
        public Totals merge(Totals one, Totals other) {
            one.count += other.count;
            one.total += other.total;
            return one;
        }
    }

    private static final class OfWindow extends ProcessWindowFunction<Totals, Total, String, TimeWindow> {
        @Override
        public void process(String key, Context context, Iterable<Totals> found, Collector<Total> out) {
            Totals totals = found.iterator().next();
            Total t = new Total();
            t.key = key;
            t.start = context.window().getStart();
            t.count = totals.count;
            t.total = totals.total;
            out.collect(t);
        }
    }

    private static final class Decoder implements DeserializationSchema<Event> {
        @Override
        public Event deserialize(byte[] data) throws IOException {
            return JSON.readValue(data, Event.class);
        }

        @Override
        public boolean isEndOfStream(Event e) {
            return false;
        }

        @Override
        public TypeInformation<Event> getProducedType() {
            return TypeInformation.of(Event.class);
        }
    }

    private static byte[] written(Object value) {
        try {
            return JSON.writeValueAsBytes(value);
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private static <T> KafkaSink<T> sink(Map<String, String> settings, KafkaRecordSerializationSchema<T> rows) {
        Properties producer = new Properties();
        producer.put("transaction.timeout.ms", "60000");
        return KafkaSink.<T>builder()
            .setBootstrapServers(settings.get("broker"))
            .setKafkaProducerConfig(producer)
            .setDeliveryGuarantee(
                settings.get("guarantee").equals("exactly_once")
                    ? DeliveryGuarantee.EXACTLY_ONCE : DeliveryGuarantee.AT_LEAST_ONCE)
            .setTransactionalIdPrefix(settings.get("app"))
            .setRecordSerializer(rows)
            .build();
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> settings = new HashMap<>();
        for (String argument : arguments) {
            int at = argument.indexOf('=');
            settings.put(argument.substring(0, at), argument.substring(at + 1));
        }
        Configuration configuration = new Configuration();
        configuration.set(StateBackendOptions.STATE_BACKEND, "rocksdb");
        configuration.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
        configuration.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        configuration.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + settings.get("state_dir"));
        configuration.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(256));
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, configuration);
        environment.setRuntimeMode(RuntimeExecutionMode.STREAMING);
        environment.enableCheckpointing(Long.parseLong(settings.get("commit_ms")), CheckpointingMode.EXACTLY_ONCE);
        environment.getConfig().enableObjectReuse();

        String output = settings.get("output");
        KafkaSource<Event> source = KafkaSource.<Event>builder()
            .setBootstrapServers(settings.get("broker"))
            .setTopics(settings.get("input"))
            .setGroupId(settings.get("app"))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setValueOnlyDeserializer(new Decoder())
            .build();
        WatermarkStrategy<Event> times = settings.get("job").equals("J3")
            ? WatermarkStrategy.<Event>forBoundedOutOfOrderness(Duration.ofSeconds(5))
                .withTimestampAssigner((e, taken) -> e.ts)
            : WatermarkStrategy.noWatermarks();
        DataStream<Event> events = environment.fromSource(source, times, "events");
        KafkaRecordSerializationSchema<Total> rows = (t, context, timestamp) -> {
            Map<String, Object> row = new HashMap<>();
            row.put("count", t.count);
            row.put("total", t.total);
            if (t.start != 0) {
                row.put("start", t.start);
            }
            return new ProducerRecord<>(output, t.key.getBytes(), written(row));
        };
        switch (settings.get("job")) {
            case "J1" -> events
                .filter(e -> !e.kind.equals("cart"))
                .map(e -> {
                    Priced p = new Priced();
                    p.user = e.user;
                    p.amount = e.amount;
                    p.ts = e.ts;
                    p.kind = e.kind;
                    p.note = e.note;
                    p.gross = e.amount * 1.2;
                    return p;
                })
                .returns(Priced.class)
                .sinkTo(sink(settings, (p, context, timestamp) ->
                    new ProducerRecord<>(output, p.user.getBytes(), written(p))));
            case "J2" -> events.keyBy(e -> e.user).process(new Running()).sinkTo(sink(settings, rows));
            case "J3" -> events
                .keyBy(e -> e.user)
                .window(TumblingEventTimeWindows.of(Duration.ofMinutes(1)))
                .allowedLateness(Duration.ofSeconds(10))
                .trigger(CountTrigger.of(1))
                .aggregate(new Adding(), new OfWindow())
                .sinkTo(sink(settings, rows));
            case "J4" -> {
                KeyedStream<Event, String> kinds = events.keyBy(e -> e.kind + e.user.charAt(5));
                kinds.process(new Running()).sinkTo(sink(settings, rows));
            }
            default -> throw new IllegalArgumentException("unknown job " + settings.get("job"));
        }
        environment.execute(settings.get("app"));
    }
}
