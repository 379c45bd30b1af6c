"""The first record of each kind within a time, and how long it is remembered.

A record is a duplicate when one of its key, and with the same `by`, was passed on whose event time is at most `within`
away, older or newer. Passed times are remembered until the step's time (its stream time, or its watermark where it has
one) is twice that beyond them, so a record may be late by `within` and is still told apart; one that is later than that
is passed on. Forgetting goes on little by little, by the index of `stores/expiring.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ...state.cache import Codec
from ...state.key_equality import PLAIN, all_plain
from ...state.keys import pack, unpack
from ..building.specs import StepContext, StepSpec, StepStore
from ..building.stream_reference import Grouping, StreamReference, check_function
from ..graph.operator import Operator
from ..graph.record_loop import RecordLoop, Records
from ..record import Record
from ..serdes.auto import auto_key
from ..serdes.base import Serde, is_exact
from ..stores.expiring import STREAM_TIME, Cache, ExpiringStore, UndoLog, expiring_view, slot_codec
from ..stores.schema import shape
from ..time.durations import Duration, parse_duration

__all__ = ["Deduplicate", "deduplicated"]

ANY: Final = "any"
"""The kind of all records where kinds are not told apart."""


class Time:
    """The step's time, for its store."""

    key: Any = None
    state_time = -1


class Deduplicate(RecordLoop):
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
        """Set up the step; if `watermarked`, time comes from `advance`."""
        super().__init__(step)
        self._watermarked = watermarked
        self._cache = cache
        self._within = within
        self._by = by
        self._forget_after = 2 * within + 1
        self._at = Time()
        self._time_before = -1
        self._undo_log = UndoLog()
        self.drops = {"null key": 0, "duplicate": 0}
        self._expiring = ExpiringStore(cache, self._undo_log, self._at, key.encode, self._forget_after, self.drops)

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Move time. By the wall clock it moves, and is kept, only where that forgets something."""
        self._begin(now)
        before = self._time_before
        if time > before and (offset >= 0 or self._expiring.expires_by(time)):
            self._at.state_time = time
            self._expiring.expire_between(before, time)
            self._end()
        return []

    def _begin(self, now: int) -> None:
        time: int | None = self._cache[STREAM_TIME]
        self._at.state_time = self._time_before = -1 if time is None else time

    def _end(self) -> None:
        self._undo_log.notes.clear()
        if self._at.state_time != self._time_before:
            self._cache.put(STREAM_TIME, self._at.state_time)

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        expiring, at, by, within, forget_after = self._expiring, self._at, self._by, self._within, self._forget_after
        notes, drops, emit, cache = self._undo_log.notes, self.drops, done.append, self._cache
        by_records = not self._watermarked
        for record in records:
            key, timestamp = record.key, record.timestamp
            if key is None:
                drops["null key"] += 1
                continue
            before = at.state_time
            if by_records and timestamp > before:
                at.state_time = timestamp
                expiring.expire_between(before, timestamp)
                notes.clear()
            kind = ANY if by is None else by(record.value)
            if kind is None:
                emit(record)
                continue
            if kind.__class__ not in PLAIN and not all_plain((kind,)):
                cache.by_bytes()
            slot = key, kind
            forgotten = at.state_time - forget_after
            passed: tuple[int, ...] = expiring.read(slot) or ()
            if any(other > forgotten and -within <= timestamp - other <= within for other in passed):
                drops["duplicate"] += 1
                continue
            if timestamp > forgotten:
                kept = tuple(sorted((*(other for other in passed if other > forgotten), timestamp)))
                expiring.write_until(slot, kept, kept[-1] + forget_after)
                notes.clear()
            emit(record)


def passed_codec(key: Serde[Any], *, kinds: bool) -> Codec[Any, Any]:
    """Return the codec of the passed times of a key and kind.

    Without `kinds` there is one, written as True.
    """
    encode, decode = key.encode, key.decode
    one = auto_key.encode(True)

    def encode_slot(slot: Any) -> bytes:
        return pack(encode(slot[0]), auto_key.encode(slot[1]) if kinds else one)

    def decode_slot(data: bytes) -> Any:
        outer, kind = unpack(data, bytes, bytes)
        return decode(outer), auto_key.decode(kind) if kinds else ANY

    def key_in(slot: bytes) -> bytes:
        return unpack(slot, bytes, bytes)[0]

    return slot_codec(key, encode_slot, decode_slot, key_in, exact=is_exact(key) and not kinds)


def deduplicated(grouping: Grouping, within: Duration, by: Callable[[Any], Any] | None) -> StreamReference:
    """Add the step."""
    if by is not None:
        check_function(by, ".deduplicate(by=)")
    length = parse_duration(within, ".deduplicate(within=)", at_least=1)
    key = grouping.through().key_serde()

    def operator(context: StepContext) -> Operator:
        return Deduplicate(context.name, context.cache, key, length, by, watermarked=context.watermarked)

    store = StepStore(
        codec=passed_codec(key, kinds=by is not None),
        view=expiring_view(lambda slot: (slot[0], {} if by is None else {"kind": slot[1]})),
        shape=shape("deduplicate", key, "one time" if by is None else "times of kinds"),
    )
    return grouping.add(StepSpec(kind="deduplicate", operator=operator, stores=(store,), passes_on=True))
