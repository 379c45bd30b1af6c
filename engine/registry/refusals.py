"""The messages for schemas that cannot be written with: which field, and what to do."""

from __future__ import annotations

import json
from typing import Any

from ...operators.schemas.compatibility import differences
from ...operators.schemas.schema import RegisteredSchema, Schema

__all__ = ["conflict", "key_conflict", "not_registered", "nothing_registered"]


def nothing_registered(subject: str, url: str) -> str:
    """Return the message for a subject without a schema."""
    return (
        f"the schema registry at {url} has no schema under the subject {subject!r}, and the program writes with the "
        "latest one: register it first, or give a model or schema= to register"
    )


def not_registered(subject: str, url: str) -> str:
    """Return the message for a schema that the program may not register."""
    return (
        f"the schema registry at {url} does not have the schema of this program under the subject {subject!r}, and "
        "register=False: register it first, or write with the latest one by latest=True"
    )


def key_conflict(subject: str, before: RegisteredSchema, schema: Schema) -> str:
    """Return the message for a schema of keys that would get another id."""
    return (
        f"the schema of the keys under the subject {subject!r} has changed since version with id {before.id}"
        f"{_list(_found(before.schema, schema))}. A new schema gives every key other bytes: the same key would go to "
        "another partition, and a compacted topic would keep both. Keep the schema of the keys, write to a new topic, "
        "or register the schema yourself if the topic has no keys that matter"
    )


def conflict(subject: str, before: RegisteredSchema | None, schema: Schema, answer: str) -> str:
    """Return the message for a schema that does not fit those before it."""
    found = [] if before is None else _found(before.schema, schema)
    advice = "" if found else ". Make the change one that the compatibility of the subject allows"
    return (
        f"the schema of this program does not fit the latest one of the subject {subject!r}{_list(found)}{advice}. The "
        f"registry answers: {answer[:500]}"
    )


def _list(found: list[str]) -> str:
    return f": {'; '.join(found[:5])}" if found else ""


def _found(before: Schema, schema: Schema) -> list[str]:
    """Return what differs, by field, for readers of older and of newer records."""
    if not before.kind == schema.kind == "AVRO":
        return []
    old, new = _parsed(before), _parsed(schema)
    latest = "the latest schema"
    found = differences(old, new, writer=latest)
    return found or differences(new, old, writer="this program", reader=latest)


def _parsed(schema: Schema) -> Any:
    try:
        return json.loads(schema.text)
    except ValueError:
        return None
