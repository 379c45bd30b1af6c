"""`tm.debezium` and `tm.debezium_key`."""

from __future__ import annotations

from typing import Any, Literal, Protocol, overload

from typing_extensions import TypeVar

from ..schemas.schema import Schemas
from .flattened import Flattened
from .keys import DebeziumKey
from .rows import PLACEHOLDER
from .serde import Debezium

__all__ = ["debezium", "debezium_key"]

T = TypeVar("T", default=Any)


class HasSchemas(Protocol):
    """A `tm.SchemaRegistry`."""

    @property
    def schemas(self) -> Schemas: ...


@overload
def debezium(
    model: type[T],
    /,
    *,
    registry: HasSchemas | None = None,
    flattened: Literal[False] = False,
    placeholder: str | None = PLACEHOLDER,
) -> Debezium[T]: ...
@overload
def debezium(
    model: type[T], /, *, registry: HasSchemas | None = None, flattened: bool, placeholder: str | None = PLACEHOLDER
) -> Flattened[T]: ...
@overload
def debezium(
    model: Any = Any,
    /,
    *,
    registry: HasSchemas | None = None,
    flattened: Literal[False] = False,
    placeholder: str | None = PLACEHOLDER,
) -> Debezium[Any]: ...
@overload
def debezium(
    model: Any = Any,
    /,
    *,
    registry: HasSchemas | None = None,
    flattened: bool,
    placeholder: str | None = PLACEHOLDER,
) -> Flattened[Any]: ...
def debezium(
    model: Any = Any,
    /,
    *,
    registry: HasSchemas | None = None,
    flattened: bool = False,
    placeholder: str | None = PLACEHOLDER,
) -> Debezium[Any] | Flattened[Any]:
    """Return the serde of the changes of a database's table, as Debezium writes them.

    A table gets the rows: `after`, and no row after a deletion and for a tombstone. A stream gets each `tm.RowChange`,
    without the tombstones. The columns are those of the schema in the record, if it has one: times, dates, decimals and
    UUIDs become values of Python where the model wants them.

    Args:
        model: The class of the rows: a msgspec struct, a dataclass, a TypedDict, a NamedTuple or a pydantic model;
            without it rows are dicts.
        registry: The schema registry of records in Avro. Without it they are JSON, with a schema in each record
            (`schemas.enable`) or without.
        flattened: Whether the records are rows without an envelope, as Debezium's `ExtractNewRecordState` makes them. A
            stream gets rows then, and None for a deletion.
        placeholder: What stands for a large value that did not change (`unavailable.value.placeholder`). It is an error
            of the record in a table; None takes it for a value.

    Raises:
        TopologyError: The model is no class of rows.

    Example:
        >>> import msgspec
        >>> class Customer(msgspec.Struct):
        ...     name: str
        >>> rows = app.table("shop.customers", key=tm.debezium_key(int), value=tm.debezium(Customer)).named("rows")
        >>> with tm.testing.TopologyDriver(app) as driver:
        ...     driver.send("shop.customers", key=7, value=tm.RowChange("c", after=Customer("Ann")), timestamp=1)
        ...     driver.store("rows").get(7)
        Customer(name='Ann')
    """
    shown = "" if model is Any else getattr(model, "__name__", str(model))
    title = f"debezium({shown}{', ' * bool(shown and flattened)}{'flattened=True' if flattened else ''})"
    schemas = None if registry is None else registry.schemas
    return (Flattened if flattened else Debezium)(model, schemas, placeholder, title)


@overload
def debezium_key(model: type[T], /, *, registry: HasSchemas | None = None, field: str = "id") -> DebeziumKey[T]: ...
@overload
def debezium_key(model: Any = Any, /, *, registry: HasSchemas | None = None, field: str = "id") -> DebeziumKey[Any]: ...
def debezium_key(model: Any = Any, /, *, registry: HasSchemas | None = None, field: str = "id") -> DebeziumKey[Any]:
    """Return the serde of the keys of Debezium's records: the columns of the primary key.

    A key of one column is its value, whatever the column is called. Steps with state get the topic through a
    repartition, by the value of the key alone, so that it meets equal keys of other topics.

    Args:
        model: The type of the only column, such as int, str or uuid.UUID, or a frozen class with the columns; without
            it keys are dicts.
        registry: The schema registry of keys in Avro; without it they are JSON.
        field: The name of the only column, for keys that the program writes.

    Raises:
        TopologyError: The model is a class without a hash.

    Example:
        >>> changes = app.stream("shop.customers", key=tm.debezium_key(int), value=tm.debezium())
        >>> changes.map(lambda change: change.op).to("operations")
        >>> with tm.testing.TopologyDriver(app) as driver:
        ...     driver.send("shop.customers", key=7, value=tm.RowChange("c", after={"name": "Ann"}), timestamp=1)
        ...     driver.read("operations")[0].value
        'c'
    """
    title = f"debezium_key({'' if model is Any else getattr(model, '__name__', str(model))})"
    return DebeziumKey(model, None if registry is None else registry.schemas, field, title)
