"""Rows of a database as objects of a model."""

from __future__ import annotations

import base64
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec

from ..errors import TopologyError
from ..schemas.avro_values import reading
from ..schemas.models import fields_of, is_model
from .columns import SchemaColumn
from .conversions import OPEN, Convert, conversion, declared, in_place, undeclared
from .meanings import DECIMALS

__all__ = ["PLACEHOLDER", "RowModel", "RowReader", "unavailable"]

PLACEHOLDER: Final = "__debezium_unavailable_value"
"""What stands for a value that PostgreSQL does not send (`unavailable.value.placeholder`)."""
DECODE: Final = msgspec.json.Decoder().decode
DECODE_EXACT: Final = msgspec.json.Decoder(float_hook=Decimal).decode


class RowReader:
    """The reader of rows with known columns."""

    def __init__(self, model: RowModel, convert: Convert | None, *, exact: bool) -> None:
        """Prepare it; with `exact`, numbers of JSON may be decimals, and are not read as floats."""
        self._convert = convert
        self._make = model.make
        self._exact = exact

    def columns(self, raw: Any) -> dict[str, Any]:
        """Return the columns of a row, given as JSON or as a dict; raise ValueError if it is none."""
        data = raw
        if isinstance(raw, msgspec.Raw):
            data = DECODE_EXACT(raw) if self._exact else DECODE(raw)
        if data.__class__ is not dict:
            raise ValueError(f"the row is {data!r}, and no object with columns")
        return data if self._convert is None else self._convert(data)

    def __call__(self, raw: Any) -> Any:
        return self._make(self.columns(raw))

    def of(self, columns: dict[str, Any]) -> Any:
        """Return the row with columns that are read already."""
        return self._make(columns)


class RowModel:
    """How rows become objects of a model, or dicts."""

    def __init__(self, model: Any, title: str) -> None:
        """Prepare it; `title` names the serde in messages."""
        if model is not Any and not is_model(model):
            raise TopologyError(
                f"{title} takes the class of the rows: a msgspec struct, a dataclass, a TypedDict, a NamedTuple or a "
                f"pydantic model, not {model!r}"
            )
        self.model = model
        self.make: Callable[[Any], Any] = _same if model is Any else reading(model)
        self._title = title
        try:
            self._fields = {} if model is Any else {each.name: (each.type, each.about) for each in fields_of(model)}
        except NameError as error:
            raise TopologyError(
                f"{title}: an annotation cannot be resolved, {error}: move the classes to the module"
            ) from error
        self.declared: dict[str, SchemaColumn] = {}
        for name, (_, about) in self._fields.items():
            column = declared(name, about, title)
            if column is not None:
                self.declared[name] = column
        self.plain = self._plain()

    def _plain(self) -> RowReader:
        """Return the reader of rows without a schema."""
        parts: list[tuple[str, Convert]] = []
        for name, (kind, about) in self._fields.items():
            column = self.declared.get(name)
            part = undeclared(kind) if column is None else conversion(column, kind, about)
            if part is not None:
                parts.append((name, part))
        return RowReader(self, in_place(parts) if parts else None, exact=False)

    def reader(self, row: SchemaColumn) -> RowReader:
        """Return the reader of rows with the columns of a schema."""
        parts: list[tuple[str, Convert]] = []
        exact = any(each.meaning in DECIMALS for each in row.fields.values())
        for name, column in row.fields.items():
            kind, about = self._fields.get(name, (OPEN, ()))
            if self.model is not Any and name not in self._fields:
                continue
            part = conversion(column, kind, about)
            if part is None and exact and column.type in ("float", "double"):
                part = float
            if part is not None:
                parts.append((name, part))
        return RowReader(self, in_place(parts) if parts else None, exact=exact)


def _same(value: Any) -> Any:
    return value


def unavailable(columns: dict[str, Any], placeholder: str) -> tuple[str, ...]:
    """Return the columns with the placeholder of a value that is not known."""
    raw = placeholder.encode()
    forms: tuple[Any, ...] = (placeholder, raw, base64.b64encode(raw).decode())
    lists: tuple[Any, ...] = ([placeholder], [raw], list(raw), {placeholder: placeholder})
    return tuple(
        name
        for name, value in columns.items()
        if (value.__class__ in (str, bytes) and value in forms) or (value.__class__ in (list, dict) and value in lists)
    )
