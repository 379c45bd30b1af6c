"""Why two Avro schemas do not fit: the field, and what to change.

The rules are those of Avro's schema resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

__all__ = ["differences", "unreadable"]

PROMOTIONS: Final = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def differences(written: Any, read: Any, *, writer: str = "the writer", reader: str = "this program") -> list[str]:
    """Return why data of one schema cannot be read by another, one line per field."""
    return list(_record(written, read, "", writer, reader))


def unreadable(written: Any, read: Any, error: str) -> str:
    """Return the message for data that cannot be read; `error` stands in for unknown fields."""
    found = differences(written, read)
    return f"the schema of the record cannot be read: {'; '.join(found[:3]) or error[:200]}"


def _record(written: Any, read: Any, place: str, writer: str, reader: str) -> Iterator[str]:
    theirs, mine = _fields(written), _fields(read)
    if theirs is None or mine is None:
        return
    for name, each in mine.items():
        shown = f"{place}{name}"
        if name not in theirs:
            if "default" not in each:
                yield f"the field {shown!r} has no default in {reader} and is missing in {writer}: give it a default"
            continue
        yield from _types(theirs[name]["type"], each["type"], shown, writer, reader)


def _types(written: Any, read: Any, place: str, writer: str, reader: str) -> Iterator[str]:
    ones, others = _branches(written), _branches(read)
    for one in ones:
        fitting = [other for other in others if _fits(one, other)]
        if not fitting:
            advice = "allow None there" if one == "null" else f"make it {_shown(one)}, or a union that has it"
            yield f"the field {place!r} is {_shown(read)} in {reader} and {_shown(written)} in {writer}: {advice}"
            return
        if len(fitting) == 1:
            yield from _inner(one, fitting[0], place, writer, reader)


def _inner(written: Any, read: Any, place: str, writer: str, reader: str) -> Iterator[str]:
    if not (isinstance(written, dict) and isinstance(read, dict)):
        return
    one, other = cast("dict[str, Any]", written), cast("dict[str, Any]", read)
    if one["type"] == "enum" == other["type"] and "default" not in other:
        missing = [symbol for symbol in one["symbols"] if symbol not in other["symbols"]]
        if missing:
            yield f"the enum at {place!r} lacks {', '.join(missing)} in {reader}, which {writer} has: add them"
    yield from _record(one, other, f"{place}.", writer, reader)
    for part in ("items", "values"):
        if part in one and part in other:
            yield from _types(one[part], other[part], f"{place}[]", writer, reader)


def _fields(schema: Any) -> dict[str, Mapping[str, Any]] | None:
    if isinstance(schema, dict) and cast("dict[str, Any]", schema)["type"] in ("record", "error"):
        return {each["name"]: each for each in cast("dict[str, Any]", schema)["fields"]}
    return None


def _branches(schema: Any) -> list[Any]:
    return cast("list[Any]", schema) if isinstance(schema, list) else [schema]


def _kind(schema: Any) -> str:
    return cast("dict[str, Any]", schema)["type"] if isinstance(schema, dict) else schema


def _fits(written: Any, read: Any) -> bool:
    one, other = _kind(written), _kind(read)
    return one == other or other in PROMOTIONS.get(one, ()) or "." in f"{one}{other}" or not {one, other} <= KNOWN


KNOWN: Final = {
    *("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
    *("record", "error", "enum", "array", "map", "fixed"),
}
"""Anything else is the name of a type that stands elsewhere in the schema."""


def _shown(schema: Any) -> str:
    if isinstance(schema, list):
        return " or ".join(map(_shown, cast("list[Any]", schema)))
    if isinstance(schema, dict):
        made = cast("dict[str, Any]", schema)
        logical, name = made.get("logicalType"), made.get("name")
        return f"{made['type']} {name}" if name else f"{made['type']} ({logical})" if logical else str(made["type"])
    return str(schema)
