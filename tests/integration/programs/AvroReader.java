import io.apicurio.registry.serde.avro.AvroKafkaDeserializer;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Prints records of Avro as Apicurio's deserializer reads them. Arguments: broker, registry, topic, kind of the ids,
 * number of records.
 */
public class AvroReader {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("auto.offset.reset", "earliest");
        settings.put("isolation.level", "read_committed");
        settings.put("key.deserializer", StringDeserializer.class);
        settings.put("value.deserializer", AvroKafkaDeserializer.class);
        settings.put("apicurio.registry.url", arguments[1]);
        settings.put("apicurio.registry.use-id", arguments[3]);
        int left = Integer.parseInt(arguments[4]);
        try (KafkaConsumer<String, GenericRecord> consumer = new KafkaConsumer<>(settings)) {
            TopicPartition partition = new TopicPartition(arguments[2], 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            while (left > 0) {
                for (ConsumerRecord<String, GenericRecord> record : consumer.poll(Duration.ofSeconds(1))) {
                    System.out.println(record.value());
                    left--;
                }
            }
        }
    }
}
