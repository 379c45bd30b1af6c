"""A model of versioned stores: everything that was put, and which version is valid when."""

from __future__ import annotations

from typing import NamedTuple

from tidemill.operators.stores.versions import REFUSED, Version

HISTORY = 20


class Put(NamedTuple):
    key: str
    value: int | None
    time: int


class Versioned:
    """A versioned store that keeps every accepted version."""

    def __init__(self) -> None:
        self.newest = -1
        self.taken: dict[str, dict[int, int | None]] = {"k": {}, "l": {}}
        self.ended: dict[str, int | None] = {"k": None, "l": None}

    def put(self, put: Put) -> int | None:
        if put.time < self.newest - HISTORY:
            return REFUSED
        self.newest = max(self.newest, put.time)
        taken, newest = self.taken[put.key], max(self.taken[put.key], default=None)
        later = [time for time in taken if time > put.time]
        replaced = taken.get(put.time) if newest == put.time else None
        if replaced is not None and put.value is None and self.ended[put.key] != put.time:
            del taken[put.time]  # a tombstone adds no version
            return None
        if newest is not None and later == [newest]:
            self.ended[put.key] = newest  # a late version ends when the newest begins
        elif not later and (put.value is None or (newest not in (None, put.time) and taken[newest] is not None)):
            self.ended[put.key] = put.time
        taken[put.time] = put.value
        return min(later, default=None)

    def as_of(self, key: str, time: int) -> Version | None:
        known = self.taken[key]
        begun = max((at for at in known if at <= time), default=None)
        if begun is None or known[begun] is None or (time < self.newest - HISTORY and begun != max(known)):
            return None
        return Version(begun, known[begun])
