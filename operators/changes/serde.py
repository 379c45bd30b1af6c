"""The serdes of Debezium's topics.

Like a serde of a registry, each is one thing in a topic of Debezium and another everywhere else: stores, changelogs and
repartition topics have keys and rows in the local form, whose bytes follow from the value alone. The key of a topic may
have its schema in it, so equal keys need not have equal bytes there, nor be where another program's equal keys are: a
keyed step gets such a topic through a repartition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from ..errors import TopologyError
from ..schemas.local import local_value
from ..schemas.schema import Schemas
from ..schemas.subjects import Role
from ..schemas.wire import TopicSerde, WireOptions
from ..serdes.auto import auto
from ..serdes.base import Serde, is_closed
from .avro_changes import AvroChanges
from .change import RowChange
from .json_changes import JsonChanges
from .rows import RowModel
from .writing import change_writer

__all__ = ["Debezium", "DebeziumRows", "Topical", "as_rows"]

T = TypeVar("T", default=Any)


class Topical:
    """The serde of one topic in JSON."""

    closed = True

    def __init__(
        self, local: Serde[Any], decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], *, nulls: bool = True
    ) -> None:
        """Prepare it; `local` is the form in stores.

        Without `nulls`, a source leaves out records with a null value.
        """
        self.local = local
        self.decode = decode
        self.encode = encode
        self.without_nulls = not nulls

    def __repr__(self) -> str:
        return repr(self.local)


class ChangesInTopic(TopicSerde):
    """The serde of one topic of changes in Avro."""

    without_nulls = True


class Debezium(Generic[T]):
    """The serde of changes, made by `tm.debezium`; a table gets its rows instead."""

    typed = False

    def __init__(self, model: Any, schemas: Schemas | None, placeholder: str | None, title: str) -> None:
        self.title = title
        self.schemas = schemas
        self.placeholder = placeholder
        self.row_model = RowModel(model, title)
        self.closed = is_closed(auto)
        self.encode: Callable[[RowChange[T]], bytes] = auto.encode
        self.decode: Callable[[bytes], RowChange[T]] = auto.decode

    def as_key(self) -> Serde[Any]:
        """Raise TopologyError: rows are values."""
        raise TopologyError(f"{self!r} is a serde of values: keys of Debezium are read by tm.debezium_key")

    def in_topic(self, topic: str | None, role: Role) -> Serde[Any]:
        """Return the serde of a topic."""
        if self.schemas is None:
            reader = JsonChanges(self.row_model, self.placeholder)
            return Topical(self, reader.change, change_writer(self.row_model, self.title), nulls=False)
        form = AvroChanges(self.row_model, self.title, self.placeholder, as_rows=False)
        return ChangesInTopic(form, self.schemas, WireOptions(), self, topic, role)

    def rows(self) -> DebeziumRows[T]:
        """Return the serde of the rows."""
        return DebeziumRows(self)

    def __repr__(self) -> str:
        return self.title


class DebeziumRows(Generic[T]):
    """The serde of the rows that changes leave: None for a deletion."""

    def __init__(self, changes: Debezium[T]) -> None:
        local = local_value(changes.row_model.model)
        self.model = changes.row_model.model
        self.closed = is_closed(local)
        self.typed: bool = getattr(local, "typed", False)
        self.encode: Callable[[T], bytes] = local.encode
        self.decode: Callable[[bytes], T] = local.decode
        self._changes = changes

    def in_topic(self, topic: str | None, role: Role) -> Serde[Any]:
        """Return the serde of a topic."""
        of = self._changes
        if of.schemas is None:
            reader = JsonChanges(of.row_model, of.placeholder)
            return Topical(self, reader.row, change_writer(of.row_model, of.title))
        form = AvroChanges(of.row_model, of.title, of.placeholder, as_rows=True)
        return TopicSerde(form, of.schemas, WireOptions(), self, topic, role)

    def __repr__(self) -> str:
        return repr(self._changes)


def as_rows(value: Serde[Any] | None) -> Serde[Any] | None:
    """Return the serde by which a table reads a topic: of changes, that of their rows."""
    return cast("Debezium[Any]", value).rows() if isinstance(value, Debezium) else value
