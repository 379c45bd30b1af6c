import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes orders as Avro. Arguments: broker, registry, topic, format: "confluent", or "globalId" or "contentId" for
 * Apicurio's own with ids of this kind, and "headers" after it for ids in headers.
 */
public class AvroWriter {
    static final String SCHEMA = """
        {"type": "record", "name": "Order", "namespace": "shop", "fields": [
            {"name": "item", "type": "string"},
            {"name": "amount", "type": "int"},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "note", "type": ["null", "string"], "default": null}]}""";

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("key.serializer", StringSerializer.class);
        settings.put("value.serializer", AvroKafkaSerializer.class);
        settings.put("apicurio.registry.url", arguments[1]);
        settings.put("apicurio.registry.auto-register", true);
        settings.put("apicurio.registry.artifact-resolver-strategy", "io.apicurio.registry.serde.strategy.TopicIdStrategy");
        boolean confluent = arguments[3].equals("confluent");
        if (confluent) {
            settings.put("apicurio.registry.id-handler", "io.apicurio.registry.serde.Legacy4ByteIdHandler");
        }
        settings.put("apicurio.registry.use-id", confluent ? "contentId" : arguments[3]);
        settings.put("apicurio.registry.headers.enabled", arguments.length > 4);
        Schema schema = new Schema.Parser().parse(SCHEMA);
        try (KafkaProducer<String, GenericRecord> producer = new KafkaProducer<>(settings)) {
            for (int amount = 1; amount <= 3; amount++) {
                GenericRecord order = new GenericData.Record(schema);
                order.put("item", "tea");
                order.put("amount", amount);
                order.put("price", java.nio.ByteBuffer.wrap(java.math.BigInteger.valueOf(250 * amount).toByteArray()));
                order.put("at", 1700000000000L + amount);
                order.put("tags", List.of("a", "b"));
                order.put("note", amount == 2 ? "two" : null);
                producer.send(new ProducerRecord<>(arguments[2], "ann", order)).get();
            }
            producer.send(new ProducerRecord<>(arguments[2], "bob", null)).get();
        }
    }
}
