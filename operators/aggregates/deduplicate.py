"""The first record of its kind within a time: what is passed on, and for how long it is remembered.

A record is a duplicate when one of its key, and with the same `by`, was passed on whose event time is at most `within`
away, older or newer. Passed times are remembered until the step's time (its stream time, or its watermark where it has
one) is twice that beyond them, so a record may be late by `within` and is still told apart; one that is later than that
is passed on. Forgetting goes on little by little, by the index of `stores/expiring.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ...state.cache import Codec, StateCache
from ...state.key_equality import PLAIN, all_plain
from ...state.keys import pack, unpack
from ..building.draft import Settled
from ..building.flow import Flow, Grouping, check_function, keyed_step
from ..errors import cause_of, poison
from ..graph.operator import Operator
from ..graph.topology import StoreView
from ..record import Record
from ..serdes.auto import auto_key
from ..serdes.base import Serde, is_exact
from ..stores.expiring import CLOCK, Cache, Journal, Shelf, kept_value, slot_codec, visible
from ..time.durations import Duration, parse_duration

__all__ = ["Deduplicate", "deduplicated"]

Records = list[Record[Any, Any]]

ANY: Final = "any"
"""The kind of all records where kinds are not told apart."""


class Time:
    """The step's time, for its shelf."""

    key: Any = None
    state_time = -1


class Deduplicate(Operator):
    """Passes on the first record of a key and kind within a time."""

    def __init__(
        self,
        step: str,
        cache: Cache,
        key: Serde[Any],
        within: int,
        by: Callable[[Any], Any] | None,
        *,
        watermarked: bool,
    ) -> None:
        """When `watermarked` time is told."""
        self._step = step
        self._watermarked = watermarked
        self._cache = cache
        self._within = within
        self._by = by
        self._horizon = 2 * within + 1
        self._at = Time()
        self._journal = Journal()
        self.drops = {"null key": 0, "duplicate": 0}
        self._shelf = Shelf(cache, self._journal, self._at, key.encode, self._horizon, self.drops)

    def process(self, records: Records, now: int) -> Records:
        done: Records = []
        rest = iter(records)
        at = self._at
        began = self._begin()
        try:
            self._run(rest, done)
        except Exception as error:
            failure = poison(self._step, records, rest, done)
            raise failure from cause_of(failure, error)
        finally:
            self._journal.notes.clear()
            if at.state_time != began:
                self._cache.put(CLOCK, at.state_time)
        return done

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Moves time. By the wall clock it moves, and is kept, only where that forgets something."""
        before = self._begin()
        if time > before and (offset >= 0 or self._shelf.expires_by(time)):
            self._at.state_time = time
            self._shelf.sweep_between(before, time)
            self._journal.notes.clear()
            self._cache.put(CLOCK, time)
        return []

    def _begin(self) -> int:
        """Takes up the time as it is in the store."""
        time: int | None = self._cache[CLOCK]
        self._at.state_time = -1 if time is None else time
        return self._at.state_time

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        shelf, at, by, within, horizon = self._shelf, self._at, self._by, self._within, self._horizon
        notes, drops, emit, cache = self._journal.notes, self.drops, done.append, self._cache
        by_records = not self._watermarked
        for record in records:
            key, timestamp = record.key, record.timestamp
            if key is None:
                drops["null key"] += 1
                continue
            before = at.state_time
            if by_records and timestamp > before:
                at.state_time = timestamp
                shelf.sweep_between(before, timestamp)
                notes.clear()
            kind = ANY if by is None else by(record.value)
            if kind is None:
                emit(record)
                continue
            if kind.__class__ not in PLAIN and not all_plain((kind,)):
                cache.by_bytes()
            slot = key, kind
            forgotten = at.state_time - horizon
            passed: tuple[int, ...] = shelf.read(slot) or ()
            if any(other > forgotten and -within <= timestamp - other <= within for other in passed):
                drops["duplicate"] += 1
                continue
            if timestamp > forgotten:
                kept = tuple(sorted((*(other for other in passed if other > forgotten), timestamp)))
                shelf.write_until(slot, kept, kept[-1] + horizon)
                notes.clear()
            emit(record)


def passed_codec(key: Serde[Any], *, kinds: bool) -> Codec[Any, Any]:
    """How the passed times of a key and kind are stored. Without `kinds` there is one, written as True."""
    encode, decode = key.encode, key.decode
    one = auto_key.encode(True)

    def encode_slot(slot: Any) -> bytes:
        return pack(encode(slot[0]), auto_key.encode(slot[1]) if kinds else one)

    def decode_slot(data: bytes) -> Any:
        outer, kind = unpack(data, bytes, bytes)
        return decode(outer), auto_key.decode(kind) if kinds else ANY

    return slot_codec(encode_slot, decode_slot, exact=is_exact(key) and not kinds)


def deduplicated(grouping: Grouping, within: Duration, by: Callable[[Any], Any] | None) -> Flow:
    """Adds the step."""
    if by is not None:
        check_function(by, ".deduplicate(by=)")
    length = parse_duration(within, ".deduplicate(within=)", at_least=1)
    key = grouping.through().key_serde()

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        watermarked = settled.watermark is not None
        return lambda cache: Deduplicate(settled.name, cache, key, length, by, watermarked=watermarked)

    view = StoreView(from_value=kept_value, visible=visible)
    return keyed_step(
        grouping,
        "deduplicate",
        lambda flow: passed_codec(flow.key_serde(), kinds=by is not None),
        view,
        build,
        kept="one time" if by is None else "times of kinds",
    )
