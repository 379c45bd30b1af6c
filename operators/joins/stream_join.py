"""The join of two streams: records of one key whose event times are near each other.

Whichever record comes second finds the first; the result has the larger of both times. With an outer side, a record of
that side that found nothing comes out alone, when its window has closed. The rules, odd ones included, are those of
Kafka Streams (`KStreamKStreamJoin`), as its recorded cases show them:

    stream time is that of both sides, moved by records without a key or a value too
    a side is seen as far back as its own newest record says, or, behind a watermark, as time does
    an unmatched record whose window has passed, not counting the grace, comes out at once
    those that waited come out before the results of the record that moved time, which must not be a late one

Where the function fails for a match, that result alone is missing: the record has its other results, and can be matched
by those that come later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import length_hint
from typing import Any, NamedTuple, TypeAlias

from ...state.cache import StateCache
from ..errors import RecordError, cause_of, poison
from ..graph.operator import Operator
from ..record import Record
from ..serdes.value_copies import with_copies
from ..time.join_windows import JoinWindow
from .sides import CLOCK, Side
from .table_join import How
from .unmatched import LEFT, NOTHING, RIGHT, Unmatched

__all__ = ["StreamJoin"]

Records: TypeAlias = list[Record[Any, Any]]
Pairs: TypeAlias = list[tuple[int, Record[Any, Any]]]


class Role(NamedTuple):
    """What a record does that comes from one of the two inputs."""

    mine: Side
    other: Side
    side: int
    back: int
    """How much older a match may be."""
    ahead: int
    """How much newer."""
    outer: bool
    """True when it comes out without a match too."""
    joined: Callable[[Any, Any], Any]
    """From its value and the other's to the result."""


class UnmatchedFailed(Exception):
    """The function failed for a record that comes out alone."""

    def __init__(self, record: Record[Any, Any]) -> None:
        super().__init__(record)
        self.record = record


class StreamJoin(Operator):
    """A join of two streams. Input 0 is the left one."""

    def __init__(
        self,
        step: str,
        sides: tuple[StateCache[Any, Any], StateCache[Any, Any]],
        unmatched: Unmatched | None,
        window: JoinWindow,
        function: Callable[[Any, Any], Any],
        how: How,
        *,
        watermarked: bool,
    ) -> None:
        self._step = step
        self._watermarked = watermarked
        self._clock = sides[0]
        self._window = window
        self._function = function = with_copies(function)
        self._unmatched = unmatched
        self._left, self._right = (Side(side, window, by_records=not watermarked) for side in sides)

        def reversed_function(mine: Any, other: Any) -> Any:
            return function(other, mine)

        self._roles = (
            Role(self._left, self._right, LEFT, window.before, window.after, how != "inner", function),
            Role(
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
        self._failed: list[tuple[Record[Any, Any], Exception]] = []
        """Further matches of the last record for which the function failed: each is reported by itself."""
        self.drops = {"null key": 0, "null value": 0}

    def process(self, records: Pairs, now: int) -> Records:
        if self._failed:
            record, error = self._failed.pop(0)
            raise RecordError(self._step, -1, record, []) from error
        done: Records = []
        rest = iter(records)
        began = self._begin()
        try:
            self._run(rest, done)
        except UnmatchedFailed as failed:
            index = len(records) - length_hint(rest) - 2  # the record at hand is tried again
            raise RecordError(self._step, index, failed.record, done, doing="join") from failed.__cause__
        except Exception as error:
            failure = poison(self._step, [record for _, record in records], rest, done)
            raise failure from cause_of(failure, error)
        finally:
            times = self._times()
            if times != began:
                self._clock.put(CLOCK, times)
        return done

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Moves stream time. By the wall clock it moves, and is kept, only where a record waits in vain."""
        done: Records = []
        began = self._begin()
        unmatched, window = self._unmatched, self._window
        reach = min(window.before, window.after) + window.grace
        if time > self._time and (offset >= 0 or (unmatched is not None and unmatched.oldest + reach < time)):
            self._time = time
            self._left.reach(time)
            self._right.reach(time)
        try:
            if unmatched is not None and unmatched.oldest + reach < self._time:
                self._give_up(unmatched, offset, done)
        except UnmatchedFailed as failed:
            raise RecordError(self._step, -1, failed.record, done, doing="join") from failed.__cause__
        finally:
            times = self._times()
            if times != began:
                self._clock.put(CLOCK, times)
        return done

    def _begin(self) -> tuple[int, ...]:
        """Takes up the times as they are in the store."""
        times = self._clock[CLOCK] or (-1, -1, -1, NOTHING)
        self._time, left, right, oldest = times
        self._left.begin(left)
        self._right.begin(right)
        if self._unmatched is not None:
            self._unmatched.oldest = oldest
        return times

    def _times(self) -> tuple[int, ...]:
        oldest = NOTHING if self._unmatched is None else self._unmatched.oldest
        return self._time, self._left.newest, self._right.newest, oldest

    def _run(self, pairs: Iterator[tuple[int, Record[Any, Any]]], done: Records) -> None:
        roles, drops, unmatched, emit = self._roles, self.drops, self._unmatched, done.append
        grace, by_records = self._window.grace, not self._watermarked
        for slot, record in pairs:
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
                if unmatched is not None and unmatched.oldest + ahead + grace < timestamp:
                    self._give_up(unmatched, record.offset, done)
            headers, offset = record.headers, record.offset
            for result, at in zip(results, sent_times, strict=True):
                emit(Record(key, result, max(timestamp, at), headers, offset))
            if unmatched is not None:
                for at in times:
                    unmatched.matched(1 - side, at, key)
                if outer and not times and not passed:
                    unmatched.add(side, timestamp, key, value)
            mine.add(key, timestamp, value)
            if failures:
                self._failed = [(record, failure) for failure in failures[1:]]
                raise failures[0]

    def _give_up(self, unmatched: Unmatched, offset: int, done: Records) -> None:
        """Sends the records whose windows have closed alone. One for which the function fails waits no more."""
        window, function = self._window, self._function
        right_before = self._time - window.before - window.grace
        left_before = self._time - window.after - window.grace
        newest: int | None = None
        for waiting, (side, values) in unmatched.given_up(right_before, left_before):
            newest = waiting.timestamp
            for place, value in enumerate(values):
                try:
                    result = function(value, None) if side == LEFT else function(None, value)
                except Exception as error:
                    unmatched.keep(waiting, values[place + 1 :])
                    raise UnmatchedFailed(Record(waiting.key, value, newest, (), offset)) from error
                done.append(Record(waiting.key, result, newest, (), offset))
            unmatched.keep(waiting, [])
        if self._watermarked:
            unmatched.first_waits()
        else:
            unmatched.looked(newest)


def _one_by_one(
    joined: Callable[[Any, Any], Any], value: Any, times: list[int], matches: list[Any]
) -> tuple[list[int], list[Any], list[Exception]]:
    """Times and results of the matches for which the function does not fail, and why it fails for the others."""
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
