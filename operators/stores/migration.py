"""Migrations: functions from a stored value to its present form, applied when it is read.

A value that is written says how many migrations it has had, so none is applied twice or left out, wherever the value
has been since: on a disk, in a changelog, in a snapshot or a savepoint.

    entry without migrations:   8 bytes of time, value        |   other entries of a step: the first bit is set
    entry with migrations:      7F, their number, 8 bytes of time, value
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from ...state.cache import Codec
from ...state.store import NewerFormat
from ..errors import TopologyError
from ..serdes.base import Serde
from ..serdes.old_values import old_value, taking
from ..user_functions import is_coroutine_function
from .entries import MIGRATED

__all__ = ["Migration", "checked_migrations", "migrating"]

Migration = Callable[[Any], Any]
MOST: Final = 255
TIME: Final = 8
OTHER: Final = 0x80
"""Entries whose first byte is at least this are a step's own."""
VERSIONED: Final = 1
"""Bytes of a stored value before its encoded form."""


def checked_migrations(migrate: object, step: str) -> tuple[Migration, ...]:
    """Return the functions of `migrate=`. Raises TopologyError."""
    if migrate is None:
        return ()
    functions: tuple[Any, ...] = tuple(cast("Any", migrate)) if isinstance(migrate, (list, tuple)) else (migrate,)
    for function in functions:
        if not callable(function) or is_coroutine_function(function):
            raise TopologyError(
                f".named({step!r}, migrate=) takes a plain function from the old value to the new one, or a list of "
                f"such, the oldest first, not {function!r}"
            )
    if len(functions) > MOST:
        raise TopologyError(f".named({step!r}, migrate=) takes up to {MOST} functions, not {len(functions)}")
    return functions


def migrating(codec: Codec[Any, Any], serde: Serde[Any], functions: Sequence[Migration], store: str) -> Codec[Any, Any]:
    """Return the codec of entries with a value of `serde`, which is migrated when it is read."""
    old, steps, count = old_value(serde), [taking(function) for function in functions], len(functions)
    mark, encode, decode = bytes((MIGRATED, count)), codec.encode_value, codec.decode_value

    def encode_value(entry: Any) -> bytes:
        raw = encode(entry)
        return raw if raw[0] >= OTHER else mark + raw

    def decode_value(raw: bytes) -> Any:
        done = 0
        if raw[0] >= OTHER:
            return decode(raw)
        if raw[0] == MIGRATED:
            done, raw = raw[1], raw[2:]
        if done > count:
            raise NewerFormat(
                f"store {store!r} has a value that had {done} migrations, and the program has {count}: a later version "
                "wrote it. Functions stay in migrate= as long as the application lives; start that version again"
            )
        return decode(raw if done == count else migrated(raw, done))

    def migrated(raw: bytes, done: int) -> bytes:
        value: Any = None
        try:
            value = old(raw[TIME:])
            for function in steps[done:]:
                value = function(value)
            if value is None:
                raise ValueError("it returned None, and cannot delete the key")
            return raw[:TIME] + serde.encode(value)
        except Exception as error:
            raise TopologyError(
                f"store {store!r}: migrate= fails for the stored value {value!r}: {type(error).__name__}: {error}"
            ) from error

    windows = codec.windows
    if windows is not None:
        encode_column = windows.encode_values

        def encode_values(entries: list[Any]) -> list[bytes | None]:
            return [None if raw is None else raw[:VERSIONED] + mark + raw[VERSIONED:] for raw in encode_column(entries)]

        windows = replace(windows, encode_values=encode_values)
    return replace(codec, encode_value=encode_value, decode_value=decode_value, windows=windows)
