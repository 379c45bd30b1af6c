"""Copy orders with Avro keys and values, and count them per key, with and without windows."""

import os

import msgspec

import tidemill as tm

topics = os.environ["TOPICS"]
later = os.environ.get("LATER") == "1"


class Key(msgspec.Struct, frozen=True):
    user: str


class Order(msgspec.Struct):
    item: str
    amount: int


class LaterOrder(msgspec.Struct):
    item: str
    amount: int
    currency: str = "EUR"


class ConflictingOrder(msgspec.Struct):
    item: str
    amount: int
    shop: str


Model = {"": Order, "1": LaterOrder, "2": ConflictingOrder}[os.environ.get("LATER", "")]
registry = tm.SchemaRegistry(os.environ["REGISTRY"])
app = tm.App("orders", on_error=tm.skip if os.environ.get("ON_ERROR") == "skip" else tm.fail)

key = registry.avro(Key)
orders = app.stream(f"{topics}-orders", key=key, value=registry.avro(Model))
if os.environ.get("WRITES", "1") == "1":
    orders.to(f"{topics}-copies", key=key, value=registry.avro(Model))
    windows = orders.group_by_key().window(tm.tumbling("1h")).count().named("windows")
    windows.to(f"{topics}-windows", value=registry.avro(schema='"long"'))
if os.environ.get("CHOSEN") == "1":
    orders.to(lambda record: f"{topics}-chosen", key=key, value=registry.avro(Model))
counts = orders.group_by_key().aggregate(count=tm.count(), amount=tm.sum("amount")).named("counts")
counts.to(f"{topics}-counts", key=tm.json, value=tm.json)

if __name__ == "__main__":
    app.main()
