"""Several grouped streams into one aggregate: each has its own function of the accumulator and its value.

A value travels to the fold together with the number of its stream, and the fold's function is the choice among the
streams' functions. So whatever folds one stream folds several: by key, or by key and window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from ...state.cache import Codec, StateCache
from ..aggregates.fold import aggregating, of_fold
from ..building.draft import Asks, Settled
from ..building.flow import Flow, Grouping, keyed, keyed_step
from ..errors import RecordError
from ..graph.operator import Operator, OptionalCall
from ..graph.topology import Caches, Node
from ..record import Record
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..stores.entries import windowed_codec, windowed_view
from ..stores.schema import of_windows
from ..time.windows import TimeWindows
from .windows import CogroupWindows, cogroup_loop

__all__ = ["Cogrouping", "choosing", "cogroup_in_windows"]

Records = list[Record[Any, Any]]
Function = Callable[[Any, Any], Any]


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """A value and the number of the stream that it is of."""

    stream: int
    value: Any


def choosing(functions: Sequence[Function]) -> Function:
    """The function of an accumulator and a contribution."""

    def contribute(so_far: Any, contribution: Contribution) -> Any:
        return functions[contribution.stream](so_far, contribution.value)

    return contribute


class Contributing(Operator):
    """A fold of several streams. Null values reach it as values where `nulls` says so."""

    def __init__(self, fold: Operator, *, nulls: bool) -> None:
        self._fold = fold
        self._nulls = nulls
        self.drops = fold.drops

    def handles(self, call: OptionalCall) -> bool:
        """What the fold handles."""
        return super().handles(call) and self._fold.handles(call)

    def tick(self, now: int) -> Any:
        """Passes the call on to the fold."""
        return self._fold.tick(now)

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Passes the call on to the fold."""
        return self._fold.advance(time, offset, now)

    def oldest_waiting(self) -> int | None:
        """Passes the call on to the fold."""
        return self._fold.oldest_waiting()

    def process(self, records: list[tuple[int, Record[Any, Any]]], now: int) -> Any:
        nulls = self._nulls
        contributions = [
            Record(
                r.key,
                Contribution(stream, r.value) if nulls or r.value is not None else None,
                r.timestamp,
                r.headers,
                r.offset,
            )
            for stream, r in records
        ]
        try:
            return self._fold.process(contributions, now)
        except RecordError as error:
            error.record = records[error.index][1]
            raise
        finally:
            self.lateness = self._fold.lateness


class Cogrouping(Grouping):
    """Records of several groupings, to be worked on together by key."""

    def __init__(self, groupings: Sequence[Grouping], *, nulls: bool) -> None:
        super().__init__(replace(groupings[0].flow, value=None))
        self._groupings = groupings
        self._nulls = nulls

    def add(self, kind: str, make: Callable[[Flow], Callable[[Settled], Node]], *, asks: Asks = "new") -> Flow:
        """Adds a keyed step that reads all of them; gives the place after it."""

        def several(flows: tuple[Flow, ...]) -> Callable[[Settled], Node]:
            one = make(replace(flows[0], value=None))

            def node(settled: Settled) -> Node:
                made = one(settled)

                def build(caches: Caches) -> Operator:
                    return Contributing(made.build(caches), nulls=self._nulls)

                return replace(made, tagged=True, build=build)

            return node

        roles = [str(number) for number in range(1, len(self._groupings) + 1)]
        return keyed(self._groupings, kind, several, roles=roles, asks=asks)


def cogroup_in_windows(
    groupings: Sequence[Grouping], windows: TimeWindows, initial: Any, function: Function, serde: Serde[Any] | None
) -> Flow:
    """A fold of several groupings a key and window, with a result on every update."""
    folding = aggregating(initial, function, serde or auto)

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        loop = cogroup_loop(folding, windows, updates=settled.updates_out, watermarked=settled.watermark is not None)
        return lambda cache: CogroupWindows(settled.name, cache, loop, windows, len(groupings))

    def codec(flow: Flow) -> Codec[Any, Any]:
        return windowed_codec(flow.key_serde(), folding.keep, folding.restore)

    view = windowed_view(windows.end, folding.shown())
    flow = keyed_step(
        Cogrouping(groupings, nulls=True),
        "aggregate",
        codec,
        view,
        build,
        windows.grace,
        kept=f"{of_fold(folding, serde)} in {of_windows(windows)}",
        gives=serde or auto,
    )
    return replace(flow, value=serde, window=windows)
