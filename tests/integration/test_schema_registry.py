"""Programs with a real schema registry and a real Kafka: outages, schema evolution, conflicts, other clients."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import orjson
import pytest
from confluent_kafka.schema_registry import (
    ConfigCompatibilityLevel,
    Schema,
    SchemaRegistryClient,
    ServerConfig,
    topic_subject_name_strategy,
)
from confluent_kafka.schema_registry import avro as confluent_avro
from confluent_kafka.serialization import MessageField, SerializationContext

import tidemill as tm
from tests.brokers import client
from tests.brokers.client import Row
from tests.brokers.registry import Registry

from .program import Life, Program
from .stage import Stage

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket"),  # of clients, which have no close method
]

KEY = {"type": "record", "name": "UserKey", "namespace": "shop", "fields": [{"name": "user", "type": "string"}]}
ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [{"name": "item", "type": "string"}, {"name": "amount", "type": "int"}],
}
LATER = {**ORDER, "fields": [*ORDER["fields"], {"name": "note", "type": ["null", "string"], "default": None}]}
LATER_KEY = {**KEY, "fields": [*KEY["fields"], {"name": "tenant", "type": "string", "default": "main"}]}

AvroSerializer: Any = confluent_avro.AvroSerializer  # its type annotations are wrong
AvroDeserializer: Any = confluent_avro.AvroDeserializer
STRATEGY = {"subject.name.strategy": topic_subject_name_strategy}


class Producer:
    """Writes records with Confluent's serializers."""

    def __init__(self, stage: Stage, url: str) -> None:
        self.stage = stage
        self.client = SchemaRegistryClient({"url": url})

    def bytes_of(self, topic: str, role: Any, schema: object, value: object) -> bytes:
        serializer = AvroSerializer(self.client, json.dumps(schema), conf=STRATEGY)
        made = serializer(value, SerializationContext(self.stage.name(topic), role))
        assert made is not None
        return made

    def row(self, user: str, amount: int, *, key: object = KEY, value: object = ORDER, partition: int = -1) -> Row:
        whole = {"user": user, "tenant": "main"}
        order = {"item": "pen", "amount": amount, "note": None}
        return Row(
            self.bytes_of("orders", MessageField.KEY, key, whole),
            self.bytes_of("orders", MessageField.VALUE, value, order),
            partition,
        )

    def read(self, topic: str) -> list[Any]:
        """Return the values of a topic, read by Confluent's deserializer."""
        read = AvroDeserializer(self.client, conf=STRATEGY)
        context = SerializationContext(self.stage.name(topic), MessageField.VALUE)
        return [read(row.value, context) for row in self.stage.read(topic)]


def program(stage: Stage, registry: Registry, partitions: int = 2, **variables: str) -> Program:
    stage.topics("orders", "copies", "windows", "counts", partitions=partitions)
    return again(stage, registry, **variables)


def again(stage: Stage, registry: Registry, **variables: str) -> Program:
    return stage.program(
        "avro_orders.py",
        variables={"REGISTRY": registry.url, **variables},
        commit_interval="100ms",
        session_timeout="6s",
        web=0,
    )


def counts(stage: Stage) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for row in stage.read("counts"):
        value = orjson.loads(row.value or b"null")
        found[orjson.loads(row.key or b"null")["user"]] = value["count"], value["amount"]
    return found


def wait_for_counts(stage: Stage, wanted: dict[str, tuple[int, int]], timeout: float = 60) -> None:
    client.wait_for(lambda: counts(stage) == wanted, timeout, f"{wanted}")


def metric(life: Life, name: str) -> float:
    address = life.wait_for(r"http://127\.0\.0\.1:\d+")[0]
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])


def test_records_are_compatible_with_other_serializers_in_both_directions(stage: Stage, registry: Registry) -> None:
    """Keys written with two schemas, in any partitions, are one key, counted exactly once."""
    life_of = program(stage, registry)
    producer = Producer(stage, registry.url)
    rows = [producer.row("ann", n, partition=0) for n in (1, 2)]
    rows += [producer.row("ann", 3, key=LATER_KEY, value=LATER, partition=1), producer.row("bob", 5, partition=1)]
    stage.send("orders", rows)
    assert len({row.key for row in rows}) == 3, "one key of ann has different bytes"
    life = life_of.start()
    wait_for_counts(stage, {"ann": (3, 6), "bob": (1, 5)})
    stage.wait_for_rows("windows", 4)
    assert sorted(producer.read("copies"), key=lambda order: order["amount"]) == [
        {"item": "pen", "amount": n} for n in (1, 2, 3, 5)
    ]
    assert sorted(producer.read("windows")) == [1, 1, 2, 3]
    inner = [row.key for name in stage.internal() for row in client.read(stage.broker, name)]
    assert inner
    assert not {row.key for row in rows} & {*inner}, "keys of internal topics have no schema ids"
    life.kill()
    stage.send("orders", [producer.row("ann", 4, partition=1)])
    life = life_of.start()
    wait_for_counts(stage, {"ann": (4, 10), "bob": (1, 5)})
    assert life.stop() == 0


def test_no_record_is_lost_while_the_registry_is_down(stage: Stage, own_registry: Registry) -> None:
    """It is killed while records with new schemas arrive; the program stays in its group, and reads them later."""
    producer = Producer(stage, own_registry.url)
    life = program(stage, own_registry).start()
    stage.send("orders", [producer.row("ann", 1)])
    wait_for_counts(stage, {"ann": (1, 1)})
    unknown = [producer.row("ann", 2, value=LATER), producer.row("bob", 3, value=LATER)]
    own_registry.kill()
    stage.send("orders", [*unknown, unknown[0]])
    life.wait_for("Records that need a schema of it wait")
    client.wait_for(lambda: metric(life, "tidemill_held_partitions") > 0, 20, "records to be held")
    assert metric(life, "tidemill_schema_registry_up{") == 0
    time.sleep(8)  # longer than the session timeout of the group
    assert life.alive()
    assert metric(life, "tidemill_losses_total") == 0
    assert counts(stage) == {"ann": (1, 1)}
    own_registry.start()
    wait_for_counts(stage, {"ann": (3, 5), "bob": (1, 3)})
    life.wait_for("answers again")
    assert metric(life, "tidemill_schema_registry_up{") == 1
    client.wait_for(lambda: metric(life, "tidemill_held_partitions") == 0, 10, "nothing to be held")
    assert life.stop() == 0


def test_a_registry_that_hangs_does_not_block_records_with_known_schemas(stage: Stage, own_registry: Registry) -> None:
    producer = Producer(stage, own_registry.url)
    life = program(stage, own_registry).start()
    known, new = producer.row("ann", 1), producer.row("bob", 2, value=LATER)
    stage.send("orders", [known])
    wait_for_counts(stage, {"ann": (1, 1)})
    own_registry.pause()
    stage.send("orders", [known] * 5)
    wait_for_counts(stage, {"ann": (6, 6)}, 20)
    stage.send("orders", [new])
    client.wait_for(lambda: metric(life, "tidemill_held_partitions") == 1, 20, "the record to be held")
    assert life.stop() == 0, "a stop does not wait for the registry"
    own_registry.resume()
    life = stage._programs[0].start()
    wait_for_counts(stage, {"ann": (6, 6), "bob": (1, 2)})
    assert life.stop() == 0


def test_a_program_starts_before_its_registry(stage: Stage, own_registry: Registry) -> None:
    producer = Producer(stage, own_registry.url)
    life_of = program(stage, own_registry)
    stage.send("orders", [producer.row("ann", 1)])
    own_registry.kill()
    life = life_of.start()
    life.wait_for("The program starts once it does")
    own_registry.start()
    wait_for_counts(stage, {"ann": (1, 1)})
    assert life.stop() == 0


def test_a_topic_that_a_function_chooses_waits_for_its_schema(stage: Stage, own_registry: Registry) -> None:
    """What was processed before is rolled back and repeated: no record is lost or duplicated."""
    producer = Producer(stage, own_registry.url)
    stage.topics("chosen")
    life = program(stage, own_registry, partitions=1, CHOSEN="1").start()
    life.wait_for("task 0_0 is ready")
    by_id = SchemaRegistryClient({"url": own_registry.url})
    rows = [producer.row("ann", n) for n in (1, 2, 3)]
    own_registry.kill()
    stage.send("orders", rows)
    life.wait_for("cannot write now|needs? a schema")
    time.sleep(2)
    assert not stage.read("chosen")
    assert life.alive()
    own_registry.start()
    wait_for_counts(stage, {"ann": (3, 6)})
    assert len(stage.wait_for_rows("chosen", 3)) == 3
    assert [order["amount"] for order in producer.read("copies")] == [1, 2, 3]
    assert by_id.get_latest_version(f"{stage.name('chosen')}-value").version == 1
    assert life.stop() == 0


def test_a_schema_conflict_is_refused_with_the_name_of_the_field(stage: Stage, registry: Registry) -> None:
    life = program(stage, registry).start()
    life.wait_for("joining the group")
    assert life.stop() == 0
    subject = f"{stage.name('copies')}-value"
    SchemaRegistryClient({"url": registry.url}).set_config(
        subject, ServerConfig(compatibility=ConfigCompatibilityLevel.BACKWARD)
    )
    life = again(stage, registry, LATER="2").start()
    assert life.exit() == 2
    assert f"the latest one of the subject '{subject}'" in life.log
    assert "the field 'shop' has no default in this program" in life.log
    assert "give it a default" in life.log


def test_an_application_with_state_can_evolve_its_schema(stage: Stage, registry: Registry) -> None:
    """The next version of the program has an additional field, and uses the state of the previous version."""
    producer = Producer(stage, registry.url)
    life = program(stage, registry).start()
    stage.send("orders", [producer.row("ann", 1)])
    wait_for_counts(stage, {"ann": (1, 1)})
    assert life.stop() == 0
    life = again(stage, registry, LATER="1").start()
    stage.send("orders", [producer.row("ann", 2)])
    wait_for_counts(stage, {"ann": (2, 3)})
    stage.wait_for_rows("copies", 2)
    assert producer.read("copies") == [
        {"item": "pen", "amount": 1},
        {"item": "pen", "amount": 2, "currency": "EUR"},
    ]
    assert life.stop() == 0


def test_an_unknown_schema_is_an_error_of_the_record(stage: Stage, registry: Registry) -> None:
    producer = Producer(stage, registry.url)
    good = producer.row("ann", 1)
    bad = Row(good.key, b"\x00\x7f\xff\xff\xff" + (good.value or b"")[5:])
    life = program(stage, registry, partitions=1).start()
    stage.send("orders", [good, bad, good])
    assert life.exit() == 1
    assert "was written by the schema with the id 2147483647" in life.log
    assert "offset 1" in life.log
    life = again(stage, registry, ON_ERROR="skip").start()
    wait_for_counts(stage, {"ann": (2, 2)})
    assert life.stop() == 0


def test_references_are_resolved(registry: Registry, app_id: str) -> None:
    city = {"name": "city", "type": "string"}
    name = f"{app_id.replace('-', '_')}.Address"
    address = {"type": "record", "name": name, "fields": [city]}
    SchemaRegistryClient({"url": registry.url}).register_schema(
        f"{app_id}-address", Schema(json.dumps(address), "AVRO")
    )
    customer = {"type": "record", "name": "Customer", "fields": [{"name": "home", "type": name}]}
    with_address = tm.SchemaRegistry(registry.url).avro(
        schema=customer, references={name: (f"{app_id}-address", 1, json.dumps(address))}
    )
    data = with_address.in_topic(app_id, "value").encode({"home": {"city": "Ulm"}})
    plain = tm.SchemaRegistry(registry.url).avro().in_topic(app_id, "value")
    assert plain.decode(data) == {"home": {"city": "Ulm"}}
