"""`HoldingWindowedFold`: a fold per key and window whose results are made at the commit.

As `HoldingFold`, per window: the results of a window that expires before the commit are made when it does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import count
from operator import itemgetter
from typing import Any

from ...state.window_cache import WindowCache
from ..aggregates.fold import FoldLoop
from ..aggregates.holding import NOTHING_WAITS, Change
from ..graph.operator import OptionalCall
from ..record import Record, Windowed
from ..stores.entries import Entry
from ..time.windows import FixedWindows
from .window_operator import WindowConfig
from .windowed import WindowedFold

__all__ = ["HoldingWindowedFold"]

Result = tuple[int, Record[Any, Any]]

_number: Callable[[Result], int] = itemgetter(0)


class HoldingWindowedFold(WindowedFold):
    """A fold per key and window that sends the last result of each with the commit."""

    def __init__(
        self,
        config: WindowConfig,
        cache: WindowCache,
        windows: FixedWindows,
        loop: FoldLoop,
        shown: Callable[[Entry], Any],
    ) -> None:
        super().__init__(config, cache, windows, loop)
        self._shown = shown
        self.held: defaultdict[int, dict[Any, Change]] = defaultdict(dict)
        """The last change of each key since the last commit, by the start of its window."""
        self.number = count().__next__
        """Returns the number of the next change."""
        self.oldest = NOTHING_WAITS
        """The event time of the oldest result since the last commit."""
        self._expired: list[Result] = []
        """The results of windows that have expired since the last commit, with the numbers of their changes."""

    def handles(self, call: OptionalCall) -> bool:
        """Results wait for the commit."""
        return call in ("oldest_waiting", "before_commit") or super().handles(call)

    def before_commit(self, now: int) -> Any:
        """Return the last result per key and window, in the order of the last change."""
        results = self._expired
        for start in self.held:
            results += self._results(start)
        self.held.clear()
        self._expired = []
        self.oldest = NOTHING_WAITS
        results.sort(key=_number)
        sent = [record for _, record in results]
        return [sent, []] if self._config.late else sent

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest result since the last commit."""
        return self.oldest if self.held or self._expired else None

    def _forget(self, first: int, after: int) -> None:
        for start in [start for start in self.held if first <= start < after]:
            self._expired += self._results(start)
            del self.held[start]
        super()._forget(first, after)

    def _results(self, start: int) -> list[Result]:
        """Return the results of the keys that have changed in a window."""
        find, shown, end = self._cache.page(start).find, self._shown, self._windows.end(start)
        return [
            (number, Record(Windowed(key, start, end), shown(entry), entry[0], headers, offset))
            for key, (number, headers, offset) in self.held[start].items()
            for entry in (find(key),)
        ]
