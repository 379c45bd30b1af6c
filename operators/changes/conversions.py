"""From what Debezium writes for a column to what a field of a model wants.

The schema in the record decides what a number or text means; without one, what is declared with the field does:
`Annotated[datetime, msgspec.Meta(extra={"debezium": "MicroTimestamp"})]`. A field of another type gets the column as it
is: an int for a time gets the number.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, cast, get_args, get_origin

import msgspec

from ..errors import TopologyError
from ..schemas.avro_types import UNIONS
from ..schemas.models import fields_of, is_model, plain_type
from . import meanings
from .columns import SchemaColumn

__all__ = ["Convert", "OPEN", "conversion", "declared", "undeclared"]

Convert = Callable[[Any], Any]
OPEN: Final[Any] = Any
LISTS: Final = (list, set, frozenset, tuple)


def leaves(annotation: Any) -> frozenset[Any]:
    """Return the types that a value may have, of a union all."""
    kind, _ = plain_type(annotation)
    if get_origin(kind) in UNIONS:
        return frozenset(leaf for each in get_args(kind) for leaf in leaves(each))
    origin = get_origin(kind)
    return frozenset({OPEN if kind in (Any, object) else origin or kind})


def _part(annotation: Any, place: int) -> Any:
    """Return the type of the items of a list, or of the values of a dict."""
    kind, _ = plain_type(annotation)
    for each in get_args(kind) if get_origin(kind) in UNIONS else (kind,):
        arguments = [argument for argument in get_args(plain_type(each)[0]) if argument is not ...]
        if get_origin(plain_type(each)[0]) in (*LISTS, dict, Mapping) and len(arguments) > place:
            return arguments[place]
    return OPEN


def _model(annotation: Any) -> Any:
    kind, _ = plain_type(annotation)
    found = [each for each in (get_args(kind) if get_origin(kind) in UNIONS else (kind,)) if is_model(each)]
    return found[0] if found else None


def conversion(column: SchemaColumn, target: Any, about: tuple[Any, ...] = ()) -> Convert | None:
    """Return what makes a value of a type out of a column; None if it stays as it is."""
    wanted, name = leaves(target), column.meaning or ""
    any_type = OPEN in wanted
    if name in meanings.TIMESTAMPS:
        unit, aware = meanings.TIMESTAMPS[name]
        zoned = aware or any(getattr(each, "tz", None) for each in about)
        return meanings.timestamp_of(unit, aware=zoned) if any_type or dt.datetime in wanted else None
    if name in meanings.DATES:
        return meanings.date_of if any_type or dt.date in wanted else None
    if name in meanings.TIMES:
        return _time(meanings.TIMES[name], wanted)
    if name in meanings.DURATIONS:
        return meanings.duration_of(meanings.DURATIONS[name]) if any_type or dt.timedelta in wanted else None
    if name == meanings.INTERVAL:
        return meanings.interval_of if dt.timedelta in wanted else None
    for names, kind in (
        (meanings.TEXT_TIMESTAMPS, dt.datetime),
        (meanings.TEXT_TIMES, dt.time),
        (meanings.TEXT_DATES, dt.date),
    ):
        if name in names:
            return meanings.parsed(kind) if any_type or kind in wanted else None
    if name in meanings.DECIMALS:
        return _decimal(meanings.base64_decimal(column.scale or 0), wanted)
    if name == meanings.VARIABLE:
        return _decimal(meanings.variable_decimal, wanted)
    if name in meanings.UUID:
        return meanings.uuid_of if any_type or uuid.UUID in wanted else None
    if name == meanings.JSON:
        return None if any_type or str in wanted else msgspec.json.decode
    if name == meanings.ENUM_SET and wanted & {*LISTS}:
        return lambda value: value.split(",") if value else []
    return _structural(column, target, wanted)


def _structural(column: SchemaColumn, target: Any, wanted: frozenset[Any]) -> Convert | None:
    match column.type:
        case "int8" | "int16" | "int32" if bool in wanted and int not in wanted:
            return _truth  # BOOLEAN of MySQL
        case "string" if _is_structure(wanted):
            return msgspec.json.decode  # JSON of MariaDB
        case "bytes":
            return meanings.binary if OPEN in wanted or bytes in wanted else None
        case "array" if column.items is not None:
            inner = conversion(column.items, _part(target, 0))
            return inner and (lambda value: [None if item is None else inner(item) for item in value])
        case "map" if column.items is not None:
            inner = conversion(column.items, _part(target, 1))
            return inner and (lambda value: {key: None if item is None else inner(item) for key, item in value.items()})
        case "struct":
            return _struct(column, _model(target))
        case _:
            return None


def _struct(column: SchemaColumn, model: Any) -> Convert | None:
    types = {each.name: (each.type, each.about) for each in fields_of(model)} if model is not None else {}
    parts: list[tuple[str, Convert]] = []
    for name, each in column.fields.items():
        part = conversion(each, *types.get(name, (OPEN, ())))
        if part is not None:
            parts.append((name, part))
    return in_place(parts) if parts else None


def in_place(parts: list[tuple[str, Convert]]) -> Convert:
    """Return what converts some fields of a dict, where they are not null."""

    def convert(data: Any) -> Any:
        for name, part in parts:
            value = data.get(name)
            if value is not None:
                try:
                    data[name] = part(value)
                except (ValueError, TypeError, ArithmeticError, msgspec.ValidationError) as error:
                    raise ValueError(f"the column {name!r}: {error}") from error
        return data

    return convert


def _time(unit: int, wanted: frozenset[Any]) -> Convert | None:
    if dt.timedelta in wanted:
        return meanings.duration_of(unit)
    if dt.time in wanted:
        return meanings.time_of(unit)
    if OPEN not in wanted:
        return None
    time, duration = meanings.time_of(unit), meanings.duration_of(unit)

    def convert(value: Any) -> Any:
        try:
            return time(value)
        except ValueError:
            return duration(value)

    return convert


def _decimal(convert: Callable[[Any], decimal.Decimal], wanted: frozenset[Any]) -> Convert | None:
    if OPEN in wanted or decimal.Decimal in wanted:
        return convert
    if float in wanted:
        return lambda value: float(convert(value))
    if str in wanted:
        return lambda value: str(convert(value))
    if int in wanted:
        return lambda value: _whole(convert(value))
    return None


def _truth(value: Any) -> Any:
    return value == 1 if value in (0, 1) else value


def _whole(value: decimal.Decimal) -> int:
    if value != int(value):
        raise ValueError(f"{value} is no int: declare the field as Decimal or float")
    return int(value)


def declared(field: str, about: tuple[Any, ...], title: str) -> SchemaColumn | None:
    """Return the column that is declared with a field, None if there is none.

    Raises TopologyError for an unknown type.
    """
    for each in about:
        extra = getattr(each, "extra", None)
        if isinstance(extra, Mapping) and "debezium" in extra:
            given = cast("Mapping[str, Any]", extra)
            name = meanings.full_meaning(str(given["debezium"]))
            if name is None:
                raise TopologyError(
                    f"{title}: the field {field!r} is declared as {given['debezium']!r}, which is no type of Debezium "
                    "with a meaning: write one such as 'MicroTimestamp', 'Time' or 'Decimal'"
                )
            if name in meanings.DECIMALS and not isinstance(given.get("scale"), int):
                raise TopologyError(
                    f"{title}: the field {field!r} is a Decimal in bytes, whose 'scale' is declared too"
                )
            return SchemaColumn("any", name, given.get("scale"))
    return None


def undeclared(target: Any) -> Convert | None:
    """Return the conversion of a column of which neither schema nor model tell the meaning."""
    wanted = leaves(target)
    if OPEN in wanted or str in wanted:
        return None
    if dt.date in wanted and dt.datetime not in wanted:
        return meanings.date_of
    if wanted & {dt.datetime, dt.time, dt.timedelta} and not wanted & {int, float}:
        return _unknown_unit(dt.timedelta in wanted)
    if decimal.Decimal in wanted:
        return _text_decimal
    if bool in wanted and not wanted & {int, float}:
        return _truth
    if not wanted & {int, float, bool, bytes, uuid.UUID} and _is_structure(wanted):
        return lambda value: msgspec.json.decode(value) if isinstance(value, str) else value
    return None


def _is_structure(wanted: frozenset[Any]) -> bool:
    kinds = wanted - {type(None)}
    return all(kind in (*LISTS, dict, Mapping) or is_model(kind) for kind in kinds)


def _unknown_unit(duration: bool) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, int):
            raise ValueError(
                f"the number {value} may be milli-, micro- or nanoseconds, and the record has no schema that tells: "
                "declare the type with the field, as Annotated[..., msgspec.Meta(extra={'debezium': 'MicroTimestamp'})]"
            )
        return meanings.interval_of(value) if duration and isinstance(value, str) else value

    return convert


def _text_decimal(value: Any) -> Any:
    if isinstance(value, dict):
        return meanings.variable_decimal(value)
    try:
        return decimal.Decimal(str(value))
    except decimal.InvalidOperation:
        raise ValueError(
            f"{value!r} is no number, so it is the bytes of one, and the record has no schema that tells the digits "
            "after the point: declare them with the field, as Annotated[Decimal, msgspec.Meta(extra={'debezium': "
            "'Decimal', 'scale': 2})], or set decimal.handling.mode=string in the connector"
        ) from None
