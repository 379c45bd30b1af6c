"""Checks of what user functions return besides values: records, headers, topics, partitions.

Kafka or its client would reject the same values, but later and without reference to the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from operator import index
from typing import Any, Final, cast

from ..record import Record
from ..time.event_time import LATEST

__all__ = ["given_headers", "given_partition", "given_record", "given_topic"]

TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def given_record(given: Any, offset: int, what: str) -> Record[Any, Any]:
    """Return a record from a function, with the offset of its cause, after checking it.

    Raises TypeError or ValueError for anything else. `what` names the function in the message.
    """
    if type(given) is not Record:
        raise TypeError(f"{what} must return a tidemill.Record, not {given!r}")
    record = cast("Record[Any, Any]", given)
    time = record.timestamp
    if type(time) is not int:
        raise TypeError(
            f"{what} gave a record with timestamp {time!r}: an event time is an int of milliseconds since 1970"
        )
    if not 0 <= time <= LATEST:
        raise ValueError(f"{what} gave a record with timestamp {time}: event times are from 0 to the year 9999")
    headers = tuple(given_headers(record.headers)) if record.headers else ()
    if record.offset == offset and headers == record.headers:
        return record
    return Record(record.key, record.value, time, headers, offset)


def given_headers(headers: Any) -> list[tuple[str, bytes | None]]:
    """Return headers from a mapping or pairs; values are bytes, text (as UTF-8) or None."""
    pairs = cast("Iterable[tuple[Any, Any]]", headers.items() if isinstance(headers, Mapping) else headers)
    return [(_name(name), _content(name, content)) for name, content in pairs]


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of a header is text, not {name!r}")
    return name


def _content(name: str, content: Any) -> bytes | None:
    if content is None or isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, (bytearray, memoryview)):
        return bytes(cast("bytes", content))
    raise TypeError(
        f"the value of a header is text, bytes or None, and that of {name!r} is {content!r}, of type "
        f"{type(content).__name__}: write a number as str(...)"
    )


def given_partition(partition: Any) -> int:
    """Return a partition number after checking it."""
    try:
        number = index(partition)
    except TypeError:
        number = -1
    if number < 0 or isinstance(partition, bool):
        raise ValueError(f"the partition function gave {partition!r}: a partition is an int of 0 or more")
    return number


def given_topic(topic: Any) -> str:
    """Return a topic name after checking it."""
    if not isinstance(topic, str) or not TOPIC.fullmatch(topic) or topic in (".", ".."):
        raise ValueError(
            f"the topic function gave {topic!r}, not the name of a topic (1 to 249 letters, digits, '.', '_', '-')"
        )
    return topic
