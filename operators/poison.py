"""The error for a record on which a step's loop stopped, and the cause where it is the key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import length_hint
from typing import Any

from .errors import RecordError
from .record import Record

__all__ = ["cause_of", "poison"]


def poison(step: str, records: Sequence[Record[Any, Any]], rest: Iterator[Any], done: Any) -> RecordError:
    """The error for the record before `rest`, which is what is left of the iterator over `records`.

    Called while the exception is handled, which goes on if it came before the first record: then none is to blame.
    """
    index = len(records) - length_hint(rest) - 1
    if index < 0:
        raise  # noqa: PLE0704
    return RecordError(step, index, records[index], done)


def cause_of(failure: RecordError, error: Exception) -> Exception:
    """The error itself, or one that says more when the record's key can be no key of a keyed step."""
    try:
        hash(failure.key)
    except TypeError:
        return TypeError(
            f"the key is a {type(failure.key).__name__}, which can be changed in place, so nothing can be kept under "
            "it: use text, a number, a tuple or a frozen struct as the key"
        )
    return error
