"""`Combine`: records of a key become one before they are written to a repartition topic.

The results of an aggregate with `.emit("commit")` are those at the commits, so it makes no difference whether it gets
the records of a key one by one or as partial aggregates. One of these has, in their order, what the aggregate needs of
some consecutive records of a key in this task: it stands for them at the place of the last one. So the aggregate comes
to the same result as if these records had come one after the other.

Nothing is lost or added on the way: the sum of a column is not added up here, since the sum of floating point numbers
depends on the order of additions; its numbers are collected. A record that cannot be combined for certain, or that
fails, is sent as it is, after all that is held, and the aggregate deals with it as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from ..errors import RecordError
from ..graph.combined import COMBINED, Partial
from ..graph.operator import Operator
from ..graph.record_loop import Records
from ..record import Record
from ..serdes.auto import auto_key
from ..serdes.base import Serde, column_decoder, column_encoder, is_exact
from ..serdes.json import Json
from .fold import Fold
from .generated import define, expanded
from .holding import NOTHING_WAITS

__all__ = ["MOST", "Combine", "CombineLoop", "combine_loop"]

MOST: Final = 10_000
"""Records are combined until there are so many: that bounds the memory, and the size of a combined record."""

CombineLoop = Callable[..., None]

LOOP = """\
def loop(
    step: Combine, records: Records, keys: list[Any], values: list[Any], done: Records
) -> None:
    held, number, oldest = step.held, step.number, step.oldest
    plain, place_of, entry_of = step.plain, step.place_of, step.held.get
    for record, key, value in zip(records, keys, values, strict=True):
        number += 1
        timestamp = record.timestamp
        try:
            if key is None or value is None:
                raise ValueError
            place = key if key.__class__ in plain else place_of(key)
            <read>
        except Exception:
            done += step.flush()
            done.append(Record(key, record.value, timestamp, record.headers, record.offset))
            oldest = step.oldest
            continue
        entry = entry_of(place)
        if entry is None:
            <start>
            newest = timestamp
        else:
            _, _, _, _, newest, <slots> = entry
            if newest < timestamp:
                newest = timestamp
        <collect>
        held[place] = (number, key, record.headers, record.offset, newest, <slots>)
        if timestamp < oldest:
            oldest = timestamp
    step.number, step.oldest = number, oldest
"""


def combine_loop(fold: Fold) -> CombineLoop:
    """Return the loop that combines records for a fold that allows it."""
    combining = fold.combining
    assert combining is not None
    parts: dict[str, str | tuple[str, ...]] = {
        "read": combining.read,
        "start": tuple(f"{slot} = {first}" for slot, first in zip(fold.slots, fold.start, strict=True)),
        "slots": ", ".join(fold.slots),
        "collect": combining.collect,
    }
    return define("combine", expanded(LOOP, parts), {**fold.known(), "Record": Record})["loop"]


class Combine(Operator):
    """The step before a repartition topic that combines its records until the commit."""

    def __init__(
        self,
        step: str,
        loop: CombineLoop,
        by: Callable[[Any], Any] | None,
        key: Serde[Any],
        value: Serde[Any] | None,
    ) -> None:
        """Combine by the key that `by` returns, or that of the record.

        `key` is the serde of keys in the topic. `value` is that of the values, None if the topic does not change what
        the aggregate gets to see.
        """
        self._step, self._loop, self._by = step, loop, by
        self._key = key
        self._topic = None if value is None else (column_encoder(value), column_decoder(value))
        self.plain: frozenset[type] = frozenset()
        """Classes of keys that are equal if, and only if, their bytes are, and equal to no key of another class."""
        if is_exact(key):
            self.plain = frozenset({str, int})
        elif key is auto_key or isinstance(key, Json):
            self.plain = frozenset({str})
        self.held: dict[Any, tuple[Any, ...]] = {}
        """For each key the number, key, headers and offset of its last record, the newest event time, and the slots."""
        self.number = 0
        self.oldest = NOTHING_WAITS
        """The least event time of the records that are held."""
        self._combined = 0

    def process(self, records: Records, now: int) -> Records:
        """Combine the records; return those that cannot be."""
        keys: list[Any] = []
        failure: Exception | None = None
        if (by := self._by) is None:
            keys = [record.key for record in records]
        else:
            try:
                for record in records:
                    keys.append(by(record.value))
            except Exception as error:
                failure = error
        done: Records = []
        self._combine(records if failure is None else records[: len(keys)], keys, done)
        if failure is not None:
            place = len(keys)
            raise RecordError(self._step, place, records[place], done, doing="write") from failure
        return done

    def before_commit(self, now: int) -> Records:
        """Return the combined records, in the order of the last record of each."""
        return self.flush()

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest record that is held."""
        return self.oldest if self.held else None

    def flush(self) -> Records:
        """Return what is held; nothing is held afterwards."""
        entries = sorted(self.held.values(), key=itemgetter(0))
        self.held.clear()
        self.oldest = NOTHING_WAITS
        self._combined = 0
        return [
            Record(key, Partial(tuple(slots)), newest, (*headers, COMBINED), offset)
            for _, key, headers, offset, newest, *slots in entries
        ]

    def place_of(self, key: Any) -> Any:
        """Return what stands for a key.

        Two keys have the same if, and only if, they have the same bytes.
        """
        raw = self._key.encode(key)
        if (again := self._key.decode(raw)).__class__ in self.plain:
            return again
        return raw

    def _combine(self, records: Records, keys: list[Any], done: Records) -> None:
        values = self._values(records)
        begin = 0
        while begin < len(keys):
            end = min(len(keys), begin + MOST - self._combined)
            part = slice(begin, end)
            self._combined += end - begin
            if end - begin == len(keys):
                self._loop(self, records, keys, values, done)
            else:
                self._loop(self, records[part], keys[part], values[part], done)
            if self._combined >= MOST:
                done += self.flush()
            begin = end

    def _values(self, records: Records) -> list[Any]:
        """Return the values as the aggregate would read them in the topic.

        None stands for one that the topic cannot hold.
        """
        values = [record.value for record in records]
        if self._topic is None:
            return values
        encode, decode = self._topic
        try:
            return decode(encode(values))
        except Exception:
            return [self._alone(value) for value in values]

    def _alone(self, value: Any) -> Any:
        assert self._topic is not None
        encode, decode = self._topic
        try:
            return decode(encode([value]))[0]
        except Exception:
            return None
