"""Cogroup: several grouped streams with their own aggregators, one accumulator per key.

A value is passed to the fold together with the number of its stream, and the function of the fold selects among the
aggregators of the streams. So every operator that folds one stream can fold several: by key, or by key and window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from ..aggregates.fold import aggregating, of_fold
from ..building.specs import EmitOnCommit, StepContext, StepSpec, StepStore
from ..building.stream_reference import Grouping, StreamReference, add_keyed, copartitioned
from ..errors import RecordError
from ..graph.operator import Operator, OptionalCall
from ..record import Record
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..stores.entries import windowed_codec, windowed_view
from ..stores.schema import of_windows, shape
from ..time.windows import TimeWindows
from .windows import CogroupWindows

__all__ = ["Cogrouping", "choosing", "cogroup_in_windows"]

Records = list[Record[Any, Any]]
Function = Callable[[Any, Any], Any]


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """A value with the number of its stream."""

    stream: int
    value: Any


def choosing(functions: Sequence[Function]) -> Function:
    """Return the function of an accumulator and a contribution."""

    def contribute(so_far: Any, contribution: Contribution) -> Any:
        return functions[contribution.stream](so_far, contribution.value)

    return contribute


class CogroupFold(Operator):
    """A fold of several streams; with `nulls`, it receives null values as values."""

    def __init__(self, fold: Operator, *, nulls: bool) -> None:
        self._fold = fold
        self._nulls = nulls
        self.drops = fold.drops

    def handles(self, call: OptionalCall) -> bool:
        """Return whether the fold handles the call."""
        return super().handles(call) and self._fold.handles(call)

    def tick(self, now: int) -> Any:
        """Call the fold."""
        return self._fold.tick(now)

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Call the fold."""
        return self._fold.advance(time, offset, now)

    def oldest_waiting(self) -> int | None:
        """Call the fold."""
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
    """The records of several groupings, to be processed together by key."""

    def __init__(self, groupings: Sequence[Grouping], *, nulls: bool) -> None:
        super().__init__(replace(groupings[0].reference, value=None))
        self._groupings = groupings
        self._nulls = nulls

    def through(self) -> StreamReference:
        """Return the place at which all records of a key are in one task, for the first stream."""
        return replace(copartitioned(self._groupings, "cogroup")[0], value=None)

    def add(self, spec: StepSpec) -> StreamReference:
        """Add a keyed step that reads all groupings; return the place after it."""

        def operator(context: StepContext) -> Operator:
            return CogroupFold(spec.operator(context), nulls=self._nulls)

        roles = [str(number) for number in range(1, len(self._groupings) + 1)]
        return add_keyed(self._groupings, replace(spec, tagged=True, operator=operator), roles)


def cogroup_in_windows(
    groupings: Sequence[Grouping],
    windows: TimeWindows,
    initial: Any,
    function: Function,
    serde: Serde[Any] | None,
    *,
    on_commit: bool,
) -> StreamReference:
    """Add a fold of several groupings per key and window, with a result on every update."""
    folding = aggregating(initial, function, serde or auto)
    functions = folding.functions()

    def operator(context: StepContext) -> Operator:
        return CogroupWindows(
            context.name,
            context.cache,
            functions,
            windows,
            len(groupings),
            updates=context.updates_out,
            watermarked=context.watermarked,
        )

    grouping = Cogrouping(groupings, nulls=True)
    key = grouping.through().key_serde()
    store = StepStore(
        codec=windowed_codec(key, folding.keep, folding.restore),
        view=windowed_view(windows.end, functions.shown),
        shape=shape("aggregate", key, f"{of_fold(folding, serde)} in {of_windows(windows)}"),
    )
    spec = StepSpec(
        kind="aggregate",
        operator=operator,
        stores=(store,),
        disorder=windows.grace,
        holds=folding.holds,
        gives=serde or auto,
        on_commit=EmitOnCommit(key=key, windowed=True, withdraws=folding.deletes) if on_commit else None,
    )
    return replace(grouping.add(spec), value=serde, window=windows)
