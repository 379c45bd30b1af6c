"""Tables that all workers hold: `GlobalTable`.

Rows are written as those of other tables: into the task of the event, and its changelog. Each process also reads the
changelogs of all tasks, and keeps in memory what other processes have written. A row has the time at which it was
written, and the youngest row of a key is its value, wherever it was written; so all workers agree on it, and after a
restart too. A key that is deleted keeps a row without a value while another task has a row of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from struct import Struct
from typing import Any, Final

from ....operators.record import Batch
from ....state.store import unframe
from ...clock import SYSTEM
from ...kafka.consumer import InputConsumer
from ...threads import Thread
from .rows import ABSENT, IMPORTED
from .tables import TaskTableStore
from .work import TaskWork

__all__ = ["GlobalChangelogs", "GlobalTableStore"]

TIME: Final = Struct(">Q?")
"""When a row was written, in ms since 1970, and whether it has a value."""
BEGINNING: Final = -2
POLL_SECONDS: Final = 0.1
RECORDS: Final = 10_000


class GlobalTableStore(TaskTableStore):
    """The rows of a global table, of all tasks."""

    def __init__(self, table: Any, works: Callable[[], list[TaskWork]]) -> None:
        TaskTableStore.__init__(self, table, works)
        self._elsewhere: dict[int, dict[bytes, bytes]] = {}
        """Committed rows as they are in the changelogs, by partition; those of tasks of this process are not used."""

    # Rows with their time

    def encoded_value(self, value: Any) -> bytes:
        """Return a pair of time and value as bytes."""
        at, plain = value
        data = None if plain is ABSENT else self._encode_value(plain)
        return TIME.pack(at, data is not None) + (data or b"")

    def decoded_value(self, data: bytes) -> Any:
        """Return the pair of time and value with these bytes."""
        at, present = TIME.unpack_from(data)
        return at, TaskTableStore.decoded_value(self, data[TIME.size :]) if present else ABSENT

    def taken_over(
        self, key: bytes, value: bytes | None, at: int, current: Callable[[bytes], bytes | None]
    ) -> tuple[bytes, bytes | None]:
        """Return the row that a record of Faust's changelog makes."""
        row, data = TaskTableStore.taken_over(self, key, value, at, current)
        return row, None if data is None else TIME.pack(max(at, 0), True) + data

    def committed(self, batch: Batch) -> None:
        """Note committed rows."""
        rows = self._elsewhere.setdefault(batch.partition, {})
        for key, value in zip(batch.keys, batch.values, strict=True):
            if key is None or key == IMPORTED:
                continue
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = unframe(value)

    def _others(self) -> list[dict[bytes, bytes]]:
        here = {work.partition for work in self._works()}
        return [rows for partition, rows in self._elsewhere.items() if partition not in here]

    def _rows_of(self, data: bytes) -> Iterator[Any]:
        for work in self._works():
            row = work.tables[self._name].get(data)
            if row is not ABSENT:
                yield row
        for rows in self._others():
            if data in rows:
                yield self.decoded_value(rows[data])

    def _youngest(self, data: bytes) -> tuple[int, Any]:
        """Return when a key was last written, and its value, which may be `ABSENT`."""
        found: tuple[int, Any] = (0, ABSENT)
        for at, value in self._rows_of(data):
            if at > found[0]:
                found = at, value
        return found

    # The mapping

    def __getitem__(self, key: Any) -> Any:
        value = self._youngest(self.encoded(key))[1]
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        data = self.encoded(key)
        self.writable().put(data, (max(SYSTEM.now(), self._youngest(data)[0] + 1), value))

    def __delitem__(self, key: Any) -> None:
        self._delete(self.encoded(key))

    def __contains__(self, key: object) -> bool:
        return self._youngest(self.encoded(key))[1] is not ABSENT

    def clear(self) -> None:
        """Delete all rows."""
        for data in self._keys_in_use():
            self._delete(data)

    def keys_of(self, work: TaskWork) -> Iterator[Any]:
        """Return the keys of the rows in one task."""
        rows = work.tables[self._name].items()
        return (self.decoded_key(data) for data, (_, value) in rows if value is not ABSENT)

    def _delete(self, data: bytes) -> None:
        rows = self.writable()
        at = self._youngest(data)[0]
        if sum(1 for _ in self._rows_of(data)) > rows.has(data):
            rows.put(data, (max(SYSTEM.now(), at + 1), ABSENT))
        else:
            rows.delete(data)

    def _keys_in_use(self) -> list[bytes]:
        found: dict[bytes, None] = {}
        for work in self._works():
            found.update(dict.fromkeys(data for data, _ in work.tables[self._name].items()))
        for rows in self._others():
            found.update(dict.fromkeys(rows))
        return list(found)

    def _all(self) -> Iterator[tuple[Any, Any]]:
        for data in self._keys_in_use():
            value = self._youngest(data)[1]
            if value is not ABSENT:
                yield self.decoded_key(data), value


class GlobalChangelogs:
    """Reads all partitions of the changelogs of global tables, as long as the process runs."""

    def __init__(
        self,
        topics: Mapping[str, GlobalTableStore],
        partitions_of: Callable[[str], int],
        options: Mapping[str, Any],
        hand_over: Callable[..., Any],
    ) -> None:
        """Create it; `hand_over` calls a function with arguments in the thread of the event loop."""
        self._topics = dict(topics)
        self._partitions_of = partitions_of
        self._options = options
        self._hand_over = hand_over
        self._stopped = threading.Event()
        self._read = threading.Event()
        self._thread = Thread("tidemill-global-tables", self._run)
        if topics:
            self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether all rows were read that there were at the start."""
        return not self._topics or self._read.is_set()

    def check(self) -> None:
        """Raise the failure of the thread, if there is one."""
        self._thread.check()

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        if self._topics:
            self._thread.join()

    def _run(self) -> None:
        missing = {
            (topic, partition): BEGINNING for topic in self._topics for partition in range(self._wait_for(topic))
        }
        consumer = InputConsumer(self._options)
        try:
            consumer.assign(missing)
            while not self._stopped.is_set():
                polled = consumer.poll(RECORDS, POLL_SECONDS)
                for batch in polled.batches:
                    self._hand_over(self._topics[batch.topic].committed, batch)
                for key in polled.ends:
                    missing.pop(key, None)
                if not missing and not self._read.is_set():
                    self._hand_over(self._read.set)
        finally:
            consumer.close()

    def _wait_for(self, topic: str) -> int:
        """Return the number of partitions of a topic, which the engine creates at the start."""
        while not (count := self._partitions_of(topic)) and not self._stopped.wait(POLL_SECONDS):
            pass
        return count
