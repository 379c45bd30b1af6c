"""From an aggregate of windows to a step with a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from ...state.cache import Codec
from ..aggregates.fold import Fold, of_fold
from ..building.sinks import sink
from ..building.specs import EmitOnCommit, StepContext, StepSpec, StepStore
from ..building.stream_reference import Grouping, StreamReference
from ..errors import TopologyError
from ..graph.operator import Operator
from ..graph.topology import StoreView
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..stores.entries import BOOKS, session_codec, session_view, sliding_codec, windowed_codec, windowed_view
from ..stores.loading import window_loading
from ..stores.schema import of_windows, shape
from ..time.windows import Emit, SessionWindows, SlidingWindows, Windows, results_behind
from .holding import HoldingWindowedFold
from .sessions import SessionFold
from .sliding import SlidingFold
from .window_operator import WindowConfig
from .windowed import WindowedFold, windowed_loop

__all__ = ["LateSink", "windowed_fold"]


@dataclass(frozen=True)
class LateSink:
    """Where records go that are late."""

    topic: str
    key: Serde[Any] | None
    value: Serde[Any] | None


def windowed_fold(
    grouping: Grouping,
    windows: Windows,
    emit: Emit,
    late: LateSink | None,
    kind: str,
    folding: Fold,
    value: Serde[Any] | None,
) -> StreamReference:
    """Return a fold per key and window."""
    if grouping.reference.window is not None:
        raise TopologyError("the keys are windows already: group by something else before opening windows again")
    functions = folding.functions(show=emit.on_update)
    shown = functions.shown
    if isinstance(windows, SessionWindows):
        windows = replace(windows, overwritten=emit.drop_expired)
        if folding.merge is None:
            raise TopologyError(
                "sessions that a record connects become one, and so must their aggregates: " + folding.cannot_merge
            )
    loop = cache(partial(windowed_loop, folding, emit=emit))

    def operator(context: StepContext) -> Operator:
        updates, watermarked = context.updates_out, context.watermarked
        config = WindowConfig(context.name, functions, emit, updates, late is not None, watermarked)
        if isinstance(windows, SessionWindows):
            return SessionFold(config, context.cache, windows)
        if isinstance(windows, SlidingWindows):
            return SlidingFold(config, context.cache, windows)
        columns = context.written and emit.on_update and late is None and not updates
        made = loop(windows=windows, updates=updates, watermarked=watermarked, columns=columns)
        return WindowedFold(config, context.cache, windows, made, columns=columns)

    def holding(context: StepContext) -> Operator:
        assert not isinstance(windows, (SessionWindows, SlidingWindows))
        config = WindowConfig(context.name, functions, emit, False, late is not None, context.watermarked)
        made = loop(windows=windows, updates=False, watermarked=context.watermarked, holding=True)
        return HoldingWindowedFold(config, context.cache, windows, made, shown)

    def view(*, watermarked: bool) -> StoreView:
        loading = window_loading(key, windows, folding.load, watermarked=watermarked)
        if isinstance(windows, SessionWindows):
            return session_view(shown, loading)
        return windowed_view(windows.end, shown, loading)

    can_hold = folding.always_shows and not isinstance(windows, (SessionWindows, SlidingWindows))
    withdraws = folding.deletes or isinstance(windows, SessionWindows)  # a session that grows is another one
    key = grouping.through().key_serde()
    store = StepStore(
        codec=_codec(windows, emit, folding, key),
        view=view(watermarked=False),
        watermarked_view=view(watermarked=True),
        shape=shape(kind, key, f"{of_fold(folding, value)} in {of_windows(windows)}"),
        value=folding.value,
    )
    waiting = EmitOnCommit(key=key, windowed=True, withdraws=withdraws, holding=holding if can_hold else None)
    spec = StepSpec(
        kind=kind,
        operator=operator,
        ports=("",) if late is None else ("", "late"),
        stores=(store,),
        disorder=windows.grace,
        behind=results_behind(windows, emit),
        sends_by="time" if emit.on_close else "records" if emit.every is None else "clock",
        calls=kind != "count",
        holds=folding.holds,
        gives=value or auto,
        on_commit=waiting if emit.on_commit else None,
    )
    reference = grouping.add(spec)
    if late is not None:
        sink(replace(reference, port=1), late.topic, late.key, late.value, None, None)
    return replace(reference, value=value, window=windows)


def _codec(windows: Windows, emit: Emit, folding: Fold, key: Serde[Any]) -> Codec[Any, Any]:
    """Return the codec of the store for a kind of windows."""
    if isinstance(windows, SessionWindows):
        return session_codec(key, folding.keep, folding.restore)
    if isinstance(windows, SlidingWindows):
        codec = sliding_codec(key, folding.keep, folding.restore)
        return _sent_once(codec, lambda time: time - windows.span) if emit.on_close else codec
    codec = windowed_codec(key, folding.keep, folding.restore, folding.keep_column)
    return _sent_once(codec, windows.closed_before) if emit.on_close else codec


def _sent_once(codec: Codec[Any, Any], closed_before: Callable[[int], int]) -> Codec[Any, Any]:
    """Return the codec for windows whose results are sent once, as stream time passes."""

    def unsent(slot: Any, time: int) -> bool:
        return slot[0] > BOOKS and slot[0] >= closed_before(time)

    assert codec.placement is not None
    return replace(codec, placement=replace(codec.placement, unsent=unsent))
