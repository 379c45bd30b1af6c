"""The join of two streams: records with the same key and event times close to each other.

The second record of a pair finds the first; the result has the larger timestamp of the two. A record of an outer side
that finds no match is emitted alone when its window has closed. The rules, peculiar ones included, are those of Kafka
Streams (`KStreamKStreamJoin`), verified by its recorded cases:

    stream time is that of both sides, and records without a key or a value move it too
    the records of a side are kept relative to its own newest record or, with a watermark, to stream time
    an unmatched record whose window has passed, not counting the grace, is emitted at once
    waiting records are emitted before the results of the record that moved time, which must not be late

If the function fails for a match, only that result is missing: the record has its other results, and matches later
records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ...state.window_cache import WindowCache
from ..errors import DeferredError, RecordError, raise_record_error
from ..graph.record_loop import RecordLoop, Records
from ..record import Record
from ..serdes.value_copies import with_copies
from ..time.join_windows import JoinWindow
from .join_window_store import TIMES_KEY, JoinWindowStore
from .outer_join_buffer import LEFT, NOTHING, RIGHT, OuterJoinBuffer
from .table_join import How

__all__ = ["StreamJoin"]


class JoinSide(NamedTuple):
    """The role of a record that arrives on one of the two inputs."""

    mine: JoinWindowStore
    other: JoinWindowStore
    side: int
    back: int
    """How much older a match may be."""
    ahead: int
    """How much newer a match may be."""
    outer: bool
    """Whether records without a match are emitted."""
    joined: Callable[[Any, Any], Any]
    """The function from the record's value and the other's to the result."""


class StreamJoin(RecordLoop):
    """A join of two streams; input 0 is the left one."""

    def __init__(
        self,
        step: str,
        sides: tuple[WindowCache, WindowCache],
        outer_join_buffer: OuterJoinBuffer | None,
        window: JoinWindow,
        function: Callable[[Any, Any], Any],
        how: How,
        *,
        watermarked: bool,
    ) -> None:
        super().__init__(step)
        self._watermarked = watermarked
        self._clock = sides[0]
        self._window = window
        self._function = function = with_copies(function)
        self._outer_join_buffer = outer_join_buffer
        self._left, self._right = (JoinWindowStore(side, window, by_records=not watermarked) for side in sides)

        def reversed_function(mine: Any, other: Any) -> Any:
            return function(other, mine)

        self._roles = (
            JoinSide(self._left, self._right, LEFT, window.before, window.after, how != "inner", function),
            JoinSide(
                self._right,
                self._left,
                RIGHT,
                window.after,
                window.before,
                how == "outer",
                reversed_function,
            ),
        )
        self._time = -1
        self._times_before: tuple[int, ...] = ()
        self._failed: list[tuple[Record[Any, Any], Exception]] = []
        """Failures of further matches of the last record: each is reported separately."""
        self.drops = {"null key": 0, "null value": 0}

    def process(self, records: Sequence[Any], now: int) -> Records:
        """Report the remaining failed matches of the last record, then process the records of a run."""
        if self._failed:
            record, error = self._failed.pop(0)
            raise RecordError(self._step, -1, record, []) from error
        return super().process(records, now)

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Move stream time, and emit the unmatched records of windows that have closed.

        By the wall clock, time moves and is stored only if there is such a record.
        """
        done: Records = []
        self._begin(now)
        outer_join_buffer, window = self._outer_join_buffer, self._window
        reach = min(window.before, window.after) + window.grace
        if time > self._time and (
            offset >= 0 or (outer_join_buffer is not None and outer_join_buffer.oldest + reach < time)
        ):
            self._time = time
            self._left.reach(time)
            self._right.reach(time)
        try:
            if outer_join_buffer is not None and outer_join_buffer.oldest + reach < self._time:
                self._give_up(outer_join_buffer, offset, done)
        except DeferredError as error:
            raise_record_error(error, self._step, done)
        finally:
            self._end()
        return done

    def _begin(self, now: int) -> None:
        times = self._times_before = self._clock[TIMES_KEY] or (-1, -1, -1, NOTHING)
        self._time, left, right, oldest = times
        self._left.begin(left)
        self._right.begin(right)
        if self._outer_join_buffer is not None:
            self._outer_join_buffer.oldest = oldest

    def _end(self) -> None:
        oldest = NOTHING if self._outer_join_buffer is None else self._outer_join_buffer.oldest
        times = self._time, self._left.newest, self._right.newest, oldest
        if times != self._times_before:
            self._clock.put(TIMES_KEY, times)

    def _run(self, records: Iterator[tuple[int, Record[Any, Any]]], done: Records) -> None:
        roles, drops, outer_join_buffer, emit = self._roles, self.drops, self._outer_join_buffer, done.append
        grace, by_records = self._window.grace, not self._watermarked
        for slot, record in records:
            mine, other, side, back, ahead, outer, joined = roles[slot]
            key, value, timestamp = record.key, record.value, record.timestamp
            time = self._time
            if key is None or value is None:
                if outer and value is not None:
                    emit(Record(None, joined(value, None), timestamp, record.headers, record.offset))
                else:
                    drops["null key" if key is None else "null value"] += 1
                if timestamp > time and by_records:
                    self._time = timestamp
                continue
            times, values = other.between(key, timestamp - back, timestamp + ahead, late=timestamp < other.newest)
            passed = outer and not times and timestamp + ahead < time
            if passed:
                sent_times, values = [timestamp], [None]
            else:
                sent_times = times
            failures: Sequence[Exception] = ()
            try:
                results = [joined(value, match) for match in values]
            except Exception:
                sent_times, results, failures = _one_by_one(joined, value, sent_times, values)
            if timestamp >= time and by_records:
                self._time = timestamp
                if outer_join_buffer is not None and outer_join_buffer.oldest + ahead + grace < timestamp:
                    self._give_up(outer_join_buffer, record.offset, done)
            headers, offset = record.headers, record.offset
            for result, at in zip(results, sent_times, strict=True):
                emit(Record(key, result, max(timestamp, at), headers, offset))
            if outer_join_buffer is not None:
                for at in times:
                    outer_join_buffer.matched(1 - side, at, key)
                if outer and not times and not passed:
                    outer_join_buffer.add(side, timestamp, key, value)
            mine.add(key, timestamp, value)
            if failures:
                self._failed = [(record, failure) for failure in failures[1:]]
                raise failures[0]

    def _give_up(self, outer_join_buffer: OuterJoinBuffer, offset: int, done: Records) -> None:
        """Emit the records of windows that have closed; remove a record even if the function fails."""
        window, function = self._window, self._function
        right_before = self._time - window.before - window.grace
        left_before = self._time - window.after - window.grace
        newest: int | None = None
        for waiting, (side, values) in outer_join_buffer.given_up(right_before, left_before):
            newest = waiting.timestamp
            for place, value in enumerate(values):
                try:
                    result = function(value, None) if side == LEFT else function(None, value)
                except Exception as error:
                    outer_join_buffer.keep(waiting, values[place + 1 :])
                    record = Record(waiting.key, value, newest, (), offset)
                    raise DeferredError(record, "join", before_record=True) from error
                done.append(Record(waiting.key, result, newest, (), offset))
            outer_join_buffer.keep(waiting, [])
        if self._watermarked:
            outer_join_buffer.first_waits()
        else:
            outer_join_buffer.looked(newest)


def _one_by_one(
    joined: Callable[[Any, Any], Any], value: Any, times: list[int], matches: list[Any]
) -> tuple[list[int], list[Any], list[Exception]]:
    """Return times and results of the matches that succeed, and the errors of the others."""
    kept: list[int] = []
    results: list[Any] = []
    failures: list[Exception] = []
    for time, match in zip(times, matches, strict=True):
        try:
            result = joined(value, match)
        except Exception as error:
            failures.append(error)
        else:
            kept.append(time)
            results.append(result)
    return kept, results, failures
