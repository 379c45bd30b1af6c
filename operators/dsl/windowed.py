"""`WindowedStream`: a grouped stream divided by event time."""

from __future__ import annotations

from typing import Any, Generic, Literal

from typing_extensions import TypeVar

from ..aggregates.fold import Fold
from ..building.stream_reference import Grouping, StreamReference
from ..record import Windowed
from ..serdes.base import Serde
from ..time.every import Every
from ..time.windows import Emit, Windows, emitting
from ..windows.steps import LateSink, windowed_fold
from .aggregations import StreamAggregations

__all__ = ["WindowedStream"]

K = TypeVar("K", default=Any)
V = TypeVar("V", default=Any)


class WindowedStream(StreamAggregations[Windowed[K], V], Generic[K, V]):
    """A grouped stream in windows. Keys of the results are `tm.Windowed(key, start, end)`.

    Example:
        >>> hours = orders.group_by_key().window(tm.tumbling("1h", grace="5m")).emit("close")
        >>> hours.aggregate(pieces=tm.sum("pieces")).to("pieces-per-hour")
    """

    def __init__(self, grouping: Grouping, windows: Windows, emit: Emit, late: LateSink | None = None) -> None:
        super().__init__(grouping)
        self._windows = windows
        self._emit = emit
        self._late = late

    def emit(
        self, when: Literal["update", "commit", "close"] | Every, *, expired: Literal["emit", "drop"] = "emit"
    ) -> WindowedStream[K, V]:
        """Set when results are sent: on every update or commit, once on close, or at intervals.

        Args:
            when: "update", the default, sends each change. "commit" sends, with each commit, the last result of each
                key and window that has changed since the one before, in the order of the last change. "close" sends the
                result of a window once, when it closes. `tm.every("5s")` sends the newest result of each window that
                has changed, at most once in 5 s of wall-clock time.
            expired: With "close": what happens to a window that one jump of time both closes and expires. Kafka Streams
                does not send it, as "drop".

        Raises:
            TopologyError: An argument is something else.

        Example:
            >>> final = orders.group_by_key().window(tm.tumbling("1h")).emit("close").count()
        """
        return WindowedStream(self.grouping, self._windows, emitting(when, expired), self._late)

    def late(self, *, to: str, key: Serde[Any] | None = None, value: Serde[Any] | None = None) -> WindowedStream[K, V]:
        """Write the records that are late for all their windows to a topic, unchanged.

        They still count as dropped.

        Args:
            to: The topic.
            key: The serde of the keys; without it, that of the grouped stream.
            value: The serde of the values; without it, that of the grouped stream.

        Example:
            >>> windows = orders.group_by_key().window(tm.tumbling("1h")).late(to="late-orders")
            >>> per_hour = windows.count()
        """
        return WindowedStream(self.grouping, self._windows, self._emit, LateSink(to, key, value))

    def _fold(self, kind: str, folding: Fold, serde: Serde[Any] | None) -> StreamReference:
        return windowed_fold(self.grouping, self._windows, self._emit, self._late, kind, folding, serde)
