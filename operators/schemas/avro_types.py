"""The Avro schema of a model, from the types of its fields.

    None null · bool boolean · int long · float double · str string · bytes bytes · a model: a record
    list, set, tuple of one type: array · dict[str, T]: map · Enum of texts: enum · A | B: union
    datetime: timestamp-micros · date: date · time: time-micros · UUID: uuid · Decimal: decimal

A field's default becomes the default of the schema, so that records written without the field can be read. Anything
else is declared with the field: `Annotated[int, msgspec.Meta(extra={"avro": "int"})]`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import re
import types
import uuid
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final, Literal, Union, cast, get_args, get_origin

from ..errors import TopologyError
from .models import MISSING, ModelField, fields_of, is_model, plain_type

__all__ = ["UNIONS", "avro_schema", "record_name"]

UNIONS: Final = (Union, types.UnionType)
ATOMS: Final[dict[Any, Any]] = {
    None: "null",
    type(None): "null",
    bool: "boolean",
    int: "long",
    float: "double",
    str: "string",
    bytes: "bytes",
    dt.datetime: {"type": "long", "logicalType": "timestamp-micros"},
    dt.date: {"type": "int", "logicalType": "date"},
    dt.time: {"type": "long", "logicalType": "time-micros"},
    uuid.UUID: {"type": "string", "logicalType": "uuid"},
}
LISTS: Final = (list, set, frozenset, Sequence, Set)
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def record_name(cls: Any) -> str:
    """Return the name of a class as a name of Avro."""
    return re.sub(r"\W+", "_", cls.__name__).strip("_")


def avro_schema(model: Any, namespace: str | None, serde: str) -> Any:
    """Return the schema of a type as JSON; raise TopologyError if Avro has none for it.

    `serde` is named in messages.
    """
    return _Deriving(namespace, serde).of(model, (), record_name(model) if isinstance(model, type) else str(model))


class _Deriving:
    """A derivation; a class that is met again is referred to by its name."""

    def __init__(self, namespace: str | None, serde: str) -> None:
        self._namespace = namespace
        self._serde = serde
        self._named: dict[str, Any] = {}

    def of(self, annotation: Any, about: tuple[Any, ...], place: str) -> Any:
        """Return the schema of a type; `place` says where it stands."""
        kind, more = plain_type(annotation)
        about = (*about, *more)
        given = _declared(about, "avro")
        if given is not None:
            return given
        if kind is decimal.Decimal:
            return self._decimal(about, place)
        try:
            if kind in ATOMS:
                return ATOMS[kind]
        except TypeError:  # not hashable, so no type of ours
            pass
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in UNIONS:
            return [self.of(each, (), place) for each in arguments]
        if origin is Literal and all(isinstance(each, str) for each in arguments):
            return "string"
        if origin in LISTS and len(arguments) == 1:
            return {"type": "array", "items": self.of(arguments[0], (), place)}
        if origin is tuple and arguments and {*arguments[1:]} <= {arguments[0], ...}:
            return {"type": "array", "items": self.of(arguments[0], (), place)}
        if origin in (dict, Mapping) and arguments[0] is str:
            return {"type": "map", "values": self.of(arguments[1], (), place)}
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return self._enum(kind, place)
        if is_model(kind):
            return self._record(kind)
        unknown: Any = cast("Any", kind)
        shown: str = getattr(unknown, "__name__", None) or str(unknown)
        raise TopologyError(
            f"{self._serde}: {place} is of type {shown}, for which Avro has no type "
            "of its own: use another type, declare the Avro type with Annotated[..., "
            "msgspec.Meta(extra={'avro': ...})], or give the whole schema with schema="
        )

    def _decimal(self, about: tuple[Any, ...], place: str) -> Any:
        precision, scale = _declared(about, "precision", "max_digits"), _declared(about, "scale", "decimal_places")
        if precision is None:
            raise TopologyError(
                f"{self._serde}: {place} is a Decimal, and Avro has to know its digits: declare it as "
                "Annotated[Decimal, msgspec.Meta(extra={'precision': 10, 'scale': 2})], or in a pydantic model with "
                "Field(max_digits=10, decimal_places=2)"
            )
        return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale or 0}

    def _enum(self, kind: type[enum.Enum], place: str) -> Any:
        symbols: list[Any] = [member.value for member in kind]
        if not all(isinstance(symbol, str) and NAME.fullmatch(symbol) for symbol in symbols):
            raise TopologyError(
                f"{self._serde}: {place} is the enum {kind.__name__}, whose values are not all names of Avro (letters, "
                "digits and '_'): declare the field as text or number"
            )

        def make(name: dict[str, str]) -> Any:
            return {"type": "enum", **name, "symbols": symbols}

        return self._once(kind, make)

    def _record(self, kind: Any) -> Any:
        def make(name: dict[str, str]) -> Any:
            shown = name["name"]
            return {"type": "record", **name, "fields": [self._field(each, shown) for each in fields_of(kind)]}

        return self._once(kind, make)

    def _once(self, kind: Any, make: Any) -> Any:
        name = record_name(kind)
        full = f"{self._namespace}.{name}" if self._namespace else name
        if full in self._named:
            if self._named[full] is not kind:
                raise TopologyError(f"{self._serde}: two classes of the model are called {name}; rename one of them")
            return full
        self._named[full] = kind
        return make({"name": name, "namespace": self._namespace} if self._namespace else {"name": name})

    def _field(self, each: ModelField, record: str) -> Any:
        if not NAME.fullmatch(each.name):
            raise TopologyError(f"{self._serde}: the field {each.name!r} of {record} is no name that Avro allows")
        made: Any = self.of(each.type, each.about, f"the field {each.name!r} of {record}")
        if each.optional:
            made = ["null", *(made if isinstance(made, list) else [made])]
            return {"name": each.name, "type": made, "default": None}
        if each.default is MISSING:
            return {"name": each.name, "type": made}
        if isinstance(made, list):
            made = _first(cast("list[Any]", made), each)
        default = _json(each.default, made)
        return {"name": each.name, "type": made} | ({} if default is MISSING else {"default": default})


def _first(union: list[Any], each: ModelField) -> list[Any]:
    """Return a union with the branch of the default in front, where Avro wants it."""
    branches = get_args(plain_type(each.type)[0])
    for place, branch in enumerate(branches):
        kind = plain_type(branch)[0]
        if (
            kind is None
            or (isinstance(kind, type) and type(each.default) is kind)
            or (kind is type(None) and each.default is None)
        ):
            return [union[place], *union[:place], *union[place + 1 :]]
    return union


def _declared(about: tuple[Any, ...], name: str, attribute: str | None = None) -> Any:
    """Return what is declared under a name, in `extra` of msgspec's Meta or as an attribute."""
    for each in about:
        extra = getattr(each, "extra", None)
        if isinstance(extra, Mapping) and name in extra:
            return cast("Mapping[str, Any]", extra)[name]
        if attribute is not None and getattr(each, attribute, None) is not None:
            return getattr(each, attribute)
    return None


def _json(default: Any, schema: Any) -> Any:
    """Return a default as a schema has it; MISSING for one that it cannot have."""
    if isinstance(schema, list):
        schema = cast("list[Any]", schema)[0]
    logical: str = cast("dict[str, Any]", schema).get("logicalType", "") if isinstance(schema, dict) else ""
    match default:
        case enum.Enum():
            return default.value
        case None | bool() | str():
            return default
        case int() | float():
            return float(default) if schema in ("double", "float") else default
        case bytes():
            return default.decode("latin-1")
        case uuid.UUID():
            return str(default)
        case decimal.Decimal() if logical == "decimal":
            scale: int = cast("dict[str, Any]", schema)["scale"]
            unscaled = int(default.scaleb(scale))
            return unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True).decode("latin-1")
        case dt.datetime() if logical == "timestamp-micros" and default.tzinfo is not None:
            return (default - EPOCH) // dt.timedelta(microseconds=1)
        case dt.date() if logical == "date":
            return (default - EPOCH.date()).days
        case list() | tuple() | set() | frozenset():
            items = [_json(item, cast("dict[str, Any]", schema)["items"]) for item in cast("list[Any]", default)]
            return MISSING if MISSING in items else items
        case dict():
            values = {
                name: _json(item, cast("dict[str, Any]", schema)["values"])
                for name, item in cast("dict[str, Any]", default).items()
            }
            return MISSING if MISSING in values.values() else values
        case _:
            return MISSING
