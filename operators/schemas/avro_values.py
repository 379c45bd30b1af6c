"""Values of a program to data of Avro, and back.

Data is what fastavro writes: dicts for records, texts for enums, and in a union of several records the pair of a name
and the data. Objects of models become such data by the schema, and objects again by the types of the model. Only what
needs a conversion gets one.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from operator import attrgetter
from typing import Any, Final, cast, get_args, get_origin

import msgspec
from typing_extensions import is_typeddict

from .avro_types import UNIONS, record_name
from .models import fields_of, is_model, is_pydantic, plain_type

__all__ = ["by_position", "has_record_union", "reading", "writing"]

Convert = Callable[[Any], Any]
TIMESTAMPS: Final = frozenset({"timestamp-millis", "timestamp-micros", "timestamp-nanos"})
HINTS: Final = {
    bool: ("boolean",),
    int: ("long", "int"),
    float: ("double", "float"),
    str: ("string",),
    bytes: ("bytes",),
}
"""The types of Avro that are written for a type of Python where a union has several."""


def writing(schema: Any) -> Convert:
    """Return the function from values to the data of a schema."""
    return _Writing().of(schema) or _unchanged


def _unchanged(value: Any) -> Any:
    return value


def _aware(value: Any) -> Any:
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        raise ValueError(
            f"{value!r} has no time zone, so it is no point in time: give it one, such as datetime.timezone.utc"
        )
    return value


def _symbol(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


class _Writing:
    """The conversions of one schema, with its named types."""

    def __init__(self) -> None:
        self._named: dict[str, Convert | None] = {}
        self._open: dict[str, Convert] = {}

    def of(self, schema: Any, namespace: str = "") -> Convert | None:
        """Return the conversion of a schema, None if values are written as they are."""
        if isinstance(schema, list):
            return self._union(cast("list[Any]", schema), namespace)
        if isinstance(schema, str):
            name = full_name(schema, namespace)
            if name in self._open:
                return _later(self._open, name)
            return self._named.get(name, self._named.get(schema))
        kind = schema["type"]
        if schema.get("logicalType") in TIMESTAMPS:
            return _aware
        if kind == "enum":
            self._named[full_name(schema["name"], schema.get("namespace", namespace))] = _symbol
            return _symbol
        if kind == "array":
            return _listed(self.of(schema["items"], namespace))
        if kind == "map":
            inner = self.of(schema["values"], namespace)
            return inner and (lambda value: {name: inner(item) for name, item in value.items()})
        if kind in ("record", "error"):
            return self._record(schema, namespace)
        return self.of(kind, namespace) if isinstance(kind, (dict, list)) else None

    def _record(self, schema: Any, namespace: str) -> Convert:
        name = full_name(schema["name"], schema.get("namespace", namespace))
        within = name.rpartition(".")[0]
        self._open[name] = _unchanged  # until it is known: it may be inside itself
        parts = [(each["name"], self.of(each["type"], within)) for each in schema["fields"]]
        convert = self._open[name] = _record([(field, part) for field, part in parts if part is not None])
        self._named[name] = convert
        return convert

    def _union(self, branches: list[Any], namespace: str) -> Convert | None:
        parts = [(branch, self.of(branch, namespace)) for branch in branches if branch != "null"]
        if not parts:
            return None
        if len(parts) == 1:
            only = parts[0][1]
            return only and (lambda value: None if value is None else only(value))
        return _union(parts, namespace)


def _later(known: Mapping[Any, Convert], name: Any) -> Convert:
    """Return a conversion that is looked up when it is used."""

    def convert(value: Any) -> Any:
        return known[name](value)

    return convert


def full_name(name: str, namespace: str | None) -> str:
    """Return a name with its namespace."""
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _listed(inner: Convert | None) -> Convert:
    if inner is None:
        return list
    return lambda value: [inner(item) for item in value]


def _record(parts: list[tuple[str, Convert]]) -> Convert:
    takers: dict[type, Convert] = {dict: dict if parts else _unchanged}

    def convert(value: Any) -> Any:
        cls = value.__class__
        take = takers.get(cls)
        if take is None:
            take = takers[cls] = _taker(cls)
        data = take(value)
        for name, part in parts:
            if name in data:
                data[name] = part(data[name])
        return data

    return convert


def _taker(cls: Any) -> Convert:
    """Return the function from an object to a dict of its fields, which may be changed."""
    if issubclass(cls, dict) or not is_model(cls):
        return dict
    fields = fields_of(cls)
    names, attributes = [each.name for each in fields], [each.attribute for each in fields]
    if len(fields) < 2:
        return lambda value: {each.name: getattr(value, each.attribute) for each in fields}
    take = attrgetter(*attributes)
    return lambda value: dict(zip(names, take(value), strict=True))


def _union(parts: list[tuple[Any, Convert | None]], namespace: str) -> Convert:
    records: dict[str, tuple[str, Convert]] = {}
    hints: dict[type, str] = {}
    array: Convert | None = None
    for branch, part in parts:
        about: dict[str, Any] = {"type": branch, "name": branch} if isinstance(branch, str) else branch
        kind: Any = about["type"]
        if kind in ("record", "error") or (isinstance(branch, str) and part is not None and part is not _symbol):
            name = full_name(about["name"], _space(branch, namespace))
            records[name.rpartition(".")[2]] = name, part or _unchanged
        elif kind == "array":
            array = part
        for cls, names in HINTS.items():
            if isinstance(branch, str) and branch in names:
                hints[cls] = branch

    def convert(value: Any) -> Any:
        cls = value.__class__
        if value is None or cls is tuple:
            return value
        if cls in hints:
            return hints[cls], value
        if is_model(cls):
            found = records.get(record_name(cls))
            if found is None:
                raise ValueError(f"the union has the records {', '.join(records)}, and no {record_name(cls)}")
            return found[0], found[1](value)
        if isinstance(value, (list, set, frozenset)) and array is not None:
            return array(value)
        return _aware(_symbol(value))

    return convert


def _space(branch: Any, namespace: str) -> str:
    return namespace if isinstance(branch, str) else branch.get("namespace", namespace)


def has_record_union(annotation: Any) -> bool:
    """Return whether a type has a union of several models in it."""
    return _has(annotation, _is_record_union)


def by_position(annotation: Any) -> bool:
    """Return whether a type has a named tuple in it, which msgspec takes for a list."""
    return _has(annotation, lambda kind: isinstance(kind, type) and issubclass(kind, tuple) and is_model(kind))


def _is_record_union(kind: Any) -> bool:
    return get_origin(kind) in UNIONS and sum(is_model(plain_type(each)[0]) for each in get_args(kind)) > 1


def _has(annotation: Any, wanted: Callable[[Any], bool], seen: frozenset[Any] = frozenset()) -> bool:
    """Return whether a type, or a part of it, is one that is wanted."""
    kind, _ = plain_type(annotation)
    if wanted(kind):
        return True
    if is_model(kind):
        return kind not in seen and any(_has(each.type, wanted, seen | {kind}) for each in fields_of(kind))
    return any(_has(each, wanted, seen) for each in get_args(kind))


def _apart(annotation: Any) -> bool:
    """Return whether msgspec cannot convert to a type by itself."""
    return has_record_union(annotation) or by_position(annotation)


def reading(model: Any) -> Convert:
    """Return the function from data to values of a type."""
    if _apart(model):
        return _Reading().of(model)
    if is_pydantic(model):
        return model.model_validate
    return partial(msgspec.convert, type=model, dec_hook=_pydantic_part)


def _pydantic_part(cls: Any, data: Any) -> Any:
    if is_pydantic(cls):
        return cls.model_validate(data)
    raise NotImplementedError(f"no conversion to {cls!r}")


class _Reading:
    """The conversions to a type that msgspec cannot convert to by itself."""

    def __init__(self) -> None:
        self._known: dict[Any, Convert] = {}

    def of(self, annotation: Any) -> Convert:
        kind, _ = plain_type(annotation)
        origin, arguments = get_origin(kind), get_args(kind)
        if not _apart(kind) and not is_pydantic(kind):
            return _unchanged if kind in HINTS else partial(msgspec.convert, type=kind, dec_hook=_pydantic_part)
        if origin in UNIONS:
            return self._union(arguments)
        if is_model(kind):
            return self._model(kind)
        inner = self.of(arguments[-1] if origin in (dict, Mapping) else arguments[0])
        if origin in (dict, Mapping):
            return lambda data: {name: inner(item) for name, item in data.items()}
        make: Any = list if origin is Sequence else set if origin is Set else origin
        return lambda data: make(map(inner, data))

    def _union(self, arguments: tuple[Any, ...]) -> Convert:
        models = {record_name(cls): self.of(cls) for each in arguments if is_model(cls := plain_type(each)[0])}
        rest = tuple(each for each in arguments if not is_model(plain_type(each)[0]))
        other = msgspec.convert

        def convert(data: Any) -> Any:
            if data.__class__ is tuple:
                name, fields = data
                return models[name.rpartition(".")[2]](fields)
            if data.__class__ is dict and len(models) == 1:
                return next(iter(models.values()))(data)
            kind: Any = rest[0]
            for each in rest[1:]:
                kind |= each
            return other(data, type=kind)

        return convert

    def _model(self, cls: Any) -> Convert:
        if cls in self._known:
            return _later(self._known, cls)
        self._known[cls] = _unchanged
        fields = [(each.name, each.attribute, self.of(each.type)) for each in fields_of(cls)]
        make: Any = cls.model_validate if is_pydantic(cls) else dict if is_typeddict(cls) else partial(_made, cls)

        def convert(data: Any) -> Any:
            return make({attribute: part(data[name]) for name, attribute, part in fields if name in data})

        self._known[cls] = convert
        return convert


def _made(cls: Any, fields: dict[str, Any]) -> Any:
    return cls(**fields)
