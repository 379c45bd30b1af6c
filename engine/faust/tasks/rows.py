"""The rows of one table in one task, as agents read and write them.

They have all changes that are not committed, and belong to the thread of the event loop. A change is kept here until
the commit that has it has succeeded, which is known when the next harvest is taken: after a commit that failed, the
task gets new rows. What is not here is read from the task's store, which has committed rows only.

Values that cannot be changed in place are kept as they are, and encoded once per commit. Others are kept encoded, so
that what an agent does to a value it has read is not a change of the table, as with Faust's RocksDB store.

                set, delete             harvest               next harvest
    known ────────────────────▶ dirty ──────────▶ held ────────────────────────▶ known
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ....state.store import StoredRows

__all__ = ["ABSENT", "IMPORTED", "FaustRows"]

UNCHANGEABLE: Final = frozenset((int, float, str, bool, bytes, type(None)))
ABSENT: Final = object()
"""In place of the value of a key that the table does not have."""
IMPORTED: Final = b"\x00imported"
"""The key under which the store of a table keeps how far Faust's changelog was taken over; it is no row."""


class EncodedValue:
    """The value of a row as bytes."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Live:
    """A value that changes in place, such as a set: it is encoded when it is harvested."""

    __slots__ = ("current",)

    def __init__(self, current: Callable[[], Any]) -> None:
        self.current = current


class FaustRows:
    """The rows of one table in one task."""

    __slots__ = ("_decode", "_dirty", "_encode", "_held", "_known", "_limit", "_stored", "objects")

    def __init__(
        self,
        stored: StoredRows,
        encode: Callable[[Any], bytes | None],
        decode: Callable[[bytes], Any],
        limit: int,
    ) -> None:
        """Create them empty; `limit` is the number of rows that may stay here without need."""
        self._stored = stored
        self._encode = encode
        self._decode = decode
        self._limit = limit
        self._known: dict[bytes, Any] = {}
        self._dirty: dict[bytes, None] = {}
        self._held: dict[bytes, None] = {}
        self.objects: dict[bytes, Any] = {}
        """Objects that change their row in place, such as sets, by key."""

    @property
    def dirty(self) -> bool:
        """Whether there are changes for the next harvest."""
        return bool(self._dirty)

    def get(self, key: bytes) -> Any:
        """Return the value of a row, `ABSENT` if there is none."""
        value = self._known.get(key, self)
        if value is self:
            value = self._read(key)
        if value.__class__ is EncodedValue:
            return self._decode(value.data)
        return value.current() if value.__class__ is Live else value

    def has(self, key: bytes) -> bool:
        """Return whether there is a row."""
        value = self._known.get(key, self)
        return (self._read(key) if value is self else value) is not ABSENT

    def put(self, key: bytes, value: Any) -> None:
        """Write a row."""
        if value.__class__ not in UNCHANGEABLE:
            data = self._encode(value)
            value = ABSENT if data is None else EncodedValue(data)
        self._known[key] = value
        self._dirty[key] = None

    def put_live(self, key: bytes, current: Callable[[], Any]) -> None:
        """Write a row whose value is what `current` returns when it is harvested."""
        self._known[key] = Live(current)
        self._dirty[key] = None

    def delete(self, key: bytes) -> None:
        """Delete a row, if there is one."""
        self._known[key] = ABSENT
        self._dirty[key] = None

    def items(self) -> Iterator[tuple[bytes, Any]]:
        """Return the rows; those written meanwhile may or may not appear."""
        written = [*self._held, *(key for key in self._dirty if key not in self._held)]
        seen = frozenset((IMPORTED, *written))
        for key, data in self._stored.items():
            if key not in seen:
                yield key, self._decode(data)
        for key in written:
            value = self.get(key)
            if value is not ABSENT:
                yield key, value

    def take_changes(self) -> dict[bytes, bytes | None]:
        """Return the changes since the last call, whose commit has succeeded."""
        known, encode = self._known, self._encode
        changes: dict[bytes, bytes | None] = {}
        for key in self._dirty:
            value = known[key]
            if value is ABSENT:
                changes[key] = None
            elif value.__class__ is EncodedValue:
                changes[key] = value.data
            else:
                changes[key] = encode(value.current() if value.__class__ is Live else value)
        self._held = self._dirty
        self._dirty = {}
        if len(known) > self._limit:
            self._known = {key: known[key] for key in self._held}
            self.objects = {key: item for key, item in self.objects.items() if key in self._held}
        return changes

    def _read(self, key: bytes) -> Any:
        data = self._stored.get(key)
        if data is None:
            value: Any = ABSENT
        else:
            value = self._decode(data)
            if value.__class__ not in UNCHANGEABLE:
                value = EncodedValue(data)
        self._known[key] = value
        return value
