"""Names in Avro schemas: references, and records that a model calls otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

__all__ = ["aligned", "self_contained"]

RECORDS: Final = ("record", "error")
NAMED: Final = (*RECORDS, "enum", "fixed")


def self_contained(schema: Any, referred: Mapping[str, Any]) -> Any:
    """Return a schema with each type that it refers to written out where it is first used."""
    if not referred:
        return schema
    return _written_out(schema, dict(referred), "")


def _written_out(schema: Any, left: dict[str, Any], namespace: str) -> Any:
    if isinstance(schema, str):
        full = schema if "." in schema or not namespace else f"{namespace}.{schema}"
        for name in (full, schema):
            if name in left:
                return _written_out(left.pop(name), left, "")
        return schema
    if isinstance(schema, list):
        return [_written_out(branch, left, namespace) for branch in cast("list[Any]", schema)]
    made = dict(schema)
    if made["type"] in NAMED:
        name: str = made["name"]
        namespace = name.rpartition(".")[0] or made.get("namespace", namespace)
        left.pop(name if "." in name or not namespace else f"{namespace}.{name}", None)
    if made["type"] in RECORDS:
        made["fields"] = [{**each, "type": _written_out(each["type"], left, namespace)} for each in made["fields"]]
    for part in ("items", "values"):
        if part in made:
            made[part] = _written_out(made[part], left, namespace)
    if isinstance(made["type"], (dict, list)):
        made["type"] = _written_out(made["type"], left, namespace)
    return made


def aligned(own: Any, written: Any) -> Any:
    """Return a model's schema with the writer's names of its records and enums.

    A class of the program need not be called as the record of another program, and Avro compares names. Records in a
    union of several keep their names, by which they are told apart.
    """
    names: dict[str, str] = {}
    _pair(own, written, names, {})
    return _renamed(own, names) if names else own


def _full(schema: Mapping[str, Any]) -> str:
    space = schema.get("namespace")
    return f"{space}.{schema['name']}" if space and "." not in schema["name"] else schema["name"]


def _branches(schema: Any) -> list[Any]:
    return [each for each in (cast("list[Any]", schema) if isinstance(schema, list) else [schema]) if each != "null"]


def _pair(own: Any, written: Any, names: dict[str, str], known: dict[str, Any]) -> None:
    """Collect the names of what stands at the same place in both."""
    ones, others = _branches(own), _branches(written)
    if len(ones) != 1 or len(others) != 1:
        return
    one, other = ones[0], others[0]
    if isinstance(other, str):
        other = known.get(other, other)
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return
    mine, theirs = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
    if theirs["type"] in NAMED:
        known[_full(theirs)] = theirs
    if mine["type"] != theirs["type"]:
        return
    if mine["type"] in NAMED:
        names.setdefault(_full(mine), _full(theirs).rpartition(".")[2])
    if mine["type"] in RECORDS:
        there = {each["name"]: each["type"] for each in theirs["fields"]}
        for each in mine["fields"]:
            if each["name"] in there:
                _pair(each["type"], there[each["name"]], names, known)
    for part in ("items", "values"):
        if part in mine and part in theirs:
            _pair(mine[part], theirs[part], names, known)


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, str):
        return names.get(schema, schema)
    if isinstance(schema, list):
        return [_renamed(branch, names) for branch in cast("list[Any]", schema)]
    made: dict[str, Any] = dict(schema)
    if made["type"] in NAMED:
        full = _full(made)
        if full in names:
            made["name"] = names[full]
            made.pop("namespace", None)
    if made["type"] in RECORDS:
        made["fields"] = [{**each, "type": _renamed(each["type"], names)} for each in made["fields"]]
    for part in ("items", "values"):
        if part in made:
            made[part] = _renamed(made[part], names)
    return made
