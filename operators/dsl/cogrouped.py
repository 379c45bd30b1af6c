"""Several grouped streams that are aggregated together: `Cogrouped` and `WindowedCogrouped`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal

from typing_extensions import TypeVar

from ..building.stream_reference import Grouping, check_function
from ..cogroup.cogroup import Cogrouping, choosing, cogroup_in_windows
from ..errors import TopologyError
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..time.every import Every
from ..time.windows import Emit, SlidingWindows, TimeWindows, Windows, emitting, emitting_rows
from . import grouped as groups
from . import table as tables
from .windowed import WindowedStream

__all__ = ["Cogrouped", "WindowedCogrouped"]

K = TypeVar("K", default=Any)
V2 = TypeVar("V2", default=Any)
A = TypeVar("A", default=Any)


class Cogrouped(Generic[K, A]):
    """Several grouped streams to be aggregated into one result of type A per key.

    Example:
        >>> ordered, paid = orders.group_by_key(), payments.group_by_key()
        >>> both = ordered.cogroup(lambda n, order: n + 1, (paid, lambda n, payment: n + 1))
        >>> events = both.aggregate(0, value=tm.int64)
    """

    def __init__(
        self,
        groupings: tuple[Grouping, ...],
        functions: tuple[Callable[[Any, Any], Any], ...],
        emit: Literal["update", "commit"] = "update",
    ) -> None:
        self._groupings = groupings
        self._functions = functions
        self._emit: Literal["update", "commit"] = emit

    def cogroup(self, grouped: groups.Grouped[K, V2], function: Callable[[A, V2], A | None]) -> Cogrouped[K, A]:
        """Add a grouped stream and its function of the common result.

        Args:
            grouped: Another stream, grouped by the same key.
            function: Gets the result so far and a value of that stream; None deletes the result.

        Raises:
            TopologyError: It is not a grouped stream.

        Example:
            >>> cogrouped = orders.group_by_key().cogroup(lambda n, order: n + 1)
            >>> events = cogrouped.cogroup(payments.group_by_key(), lambda n, payment: n + 1).aggregate(0)
        """
        if not isinstance(grouped, groups.Grouped):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f".cogroup() takes a grouped stream, as from stream.group_by(...), not {grouped!r}")
        check_function(function, ".cogroup()")
        return Cogrouped((*self._groupings, grouped.grouping), (*self._functions, function), self._emit)

    def emit(self, when: Literal["update", "commit"]) -> Cogrouped[K, A]:
        """Set when results are sent: on every update, or the last one per key with each commit.

        Args:
            when: "update" or "commit", as for `Grouped.emit`.

        Raises:
            TopologyError: It is something else.

        Example:
            >>> cogrouped = orders.group_by_key().cogroup(lambda n, order: n + 1)
            >>> sizes = cogrouped.emit("commit").aggregate(0, value=tm.int64)
        """
        return Cogrouped(self._groupings, self._functions, "commit" if emitting_rows(when) else "update")

    def window(self, windows: Windows) -> WindowedCogrouped[K, A]:
        """Divides the records of each key into windows of event time.

        Args:
            windows: What `tm.tumbling`, `tm.hopping`, `tm.calendar`, `tm.sliding` or `tm.session` returns.

        Raises:
            TopologyError: It is something else.

        Example:
            >>> cogrouped = orders.group_by_key().cogroup(lambda n, order: n + 1)
            >>> per_hour = cogrouped.window(tm.tumbling("1h")).aggregate(0)
        """
        if not isinstance(windows, Windows):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f"cogrouped streams take windows such as tm.tumbling('1m'), not {windows!r}")
        return WindowedCogrouped(self._groupings, self._functions, windows, Emit(on_commit=self._emit == "commit"))

    def aggregate(self, initial: Callable[[], A] | A, /, *, value: Serde[A] | None = None) -> tables.Table[K, A]:
        """Aggregate the streams into one result per key.

        Args:
            initial: The result before the first value, called if it can be.
            value: The serde of the results.

        Example:
            >>> ordered, paid = orders.group_by_key(), payments.group_by_key()
            >>> cogrouped = ordered.cogroup(lambda seen, order: [*seen, order["item"]])
            >>> events = cogrouped.cogroup(paid, lambda seen, payment: [*seen, "paid"]).aggregate(list, value=tm.json)
        """
        together = groups.Grouped[K, Any](Cogrouping(self._groupings, nulls=False)).emit(self._emit)
        serde = check_serde(value, ".aggregate(value=): ") or result_serde(self._functions[0])
        return together.aggregate(initial, choosing(self._functions), value=serde)


class WindowedCogrouped(Generic[K, A]):
    """Several grouped streams to be aggregated into one result of type A per key and window.

    Example:
        >>> both = orders.group_by_key().cogroup(lambda n, o: n + 1, (payments.group_by_key(), lambda n, p: n + 1))
        >>> both.window(tm.tumbling("1h")).aggregate(0).to("events-per-hour", value=tm.int64)
    """

    def __init__(
        self,
        groupings: tuple[Grouping, ...],
        functions: tuple[Callable[[Any, Any], Any], ...],
        windows: Windows,
        emit: Emit,
    ) -> None:
        self._groupings = groupings
        self._functions = functions
        self._windows = windows
        self._emit = emit

    def emit(self, when: Literal["update", "commit", "close"] | Every) -> WindowedCogrouped[K, A]:
        """Set when results are sent: on every update or commit, once on close, or at intervals.

        Args:
            when: "update", "commit", "close" or `tm.every("5s")`, as for `WindowedStream.emit`.

        Example:
            >>> windows = orders.group_by_key().cogroup(lambda n, order: n + 1).window(tm.tumbling("1h"))
            >>> final = windows.emit("close").aggregate(0)
        """
        return WindowedCogrouped(self._groupings, self._functions, self._windows, emitting(when))

    def aggregate(
        self,
        initial: Callable[[], A] | A,
        /,
        *,
        merge: Callable[[A, A], A | None] | None = None,
        value: Serde[A] | None = None,
    ) -> tables.WindowedTable[K, A]:
        """Aggregate the streams into one result per key and window.

        In tumbling and hopping windows with results on every update, a record is late when its own stream has closed
        its window, as in Kafka Streams; otherwise when the streams together have.

        Args:
            initial: The result before the first value, called if it can be.
            merge: For session windows: makes one result of two.
            value: The serde of the results.

        Raises:
            TopologyError: Session windows have no `merge`.

        Example:
            >>> visits = orders.group_by_key().cogroup(lambda n, order: n + 1).window(tm.session(gap="30m"))
            >>> sizes = visits.aggregate(0, merge=lambda a, b: a + b, value=tm.int64)
        """
        function = choosing(self._functions)
        serde = check_serde(value, ".aggregate(value=): ") or result_serde(self._functions[0])
        windows = self._windows
        if self._emit.on_update and isinstance(windows, TimeWindows):
            return tables.WindowedTable(
                cogroup_in_windows(self._groupings, windows, initial, function, serde, on_commit=self._emit.on_commit)
            )
        together = Cogrouping(self._groupings, nulls=not isinstance(windows, SlidingWindows))
        stream = WindowedStream[K, Any](together, windows, self._emit)
        return stream.aggregate(initial, function, merge=merge, value=serde)
