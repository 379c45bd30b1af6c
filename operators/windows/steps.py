"""From an aggregate of windows to a step with a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...state.cache import Codec, StateCache
from ..aggregates.fold import Fold, Loop, of_fold
from ..building.draft import Settled
from ..building.flow import Flow, Grouping, keyed_step
from ..building.sinks import sink
from ..errors import TopologyError
from ..graph.operator import Operator
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..stores.entries import session_codec, session_view, windowed_codec, windowed_view
from ..stores.schema import of_windows
from ..time.windows import Emit, SessionWindows, SlidingWindows, Windows, results_behind
from .sessions import SessionFold, session_loop
from .sliding import SlidingFold, sliding_loop
from .windowed import WindowedFold, windowed_loop
from .windowing import Making

__all__ = ["Late", "windowed_fold"]


@dataclass(frozen=True)
class Late:
    """Where records go that are late."""

    topic: str
    key: Serde[Any] | None
    value: Serde[Any] | None


def windowed_fold(
    grouping: Grouping,
    windows: Windows,
    emit: Emit,
    late: Late | None,
    kind: str,
    folding: Fold,
    value: Serde[Any] | None,
) -> Flow:
    """A fold a key and window."""
    if grouping.flow.window is not None:
        raise TopologyError("the keys are windows already: group by something else before opening windows again")
    shown = folding.shown()
    if isinstance(windows, SessionWindows):
        windows = replace(windows, overwritten=emit.drop_expired)
    sessions = isinstance(windows, SessionWindows)
    if sessions and folding.merge is None:
        raise TopologyError(
            "sessions that a record connects become one, and so must their aggregates: " + folding.cannot_merge
        )

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        updates, wanted, watermarked = settled.updates_out, late is not None, settled.watermark is not None
        loop: Loop
        operator: Callable[[Making, StateCache[Any, Any]], Operator]
        if isinstance(windows, SessionWindows):
            loop = session_loop(folding, windows, emit, updates=updates, late=wanted, watermarked=watermarked)
            operator = partial(SessionFold, windows=windows)
        elif isinstance(windows, SlidingWindows):
            loop = sliding_loop(folding, windows, emit, updates=updates, late=wanted, watermarked=watermarked)
            operator = partial(SlidingFold, windows=windows, watermarked=watermarked)
        else:
            loop = windowed_loop(folding, windows, emit, updates=updates, late=wanted, watermarked=watermarked)
            operator = partial(WindowedFold, windows=windows)
        making = Making(settled.name, loop, shown, emit, updates, wanted)
        return lambda cache: operator(making, cache)

    def codec(flow: Flow) -> Codec[Any, Any]:
        make = session_codec if sessions else windowed_codec
        return make(flow.key_serde(), folding.keep, folding.restore)

    view = session_view(shown) if isinstance(windows, SessionWindows) else windowed_view(windows.end, shown)
    ports = ("",) if late is None else ("", "late")
    flow = keyed_step(
        grouping,
        kind,
        codec,
        view,
        build,
        windows.grace,
        ports,
        behind=results_behind(windows, emit),
        holds=folding.holds,
        kept=f"{of_fold(folding, value)} in {of_windows(windows)}",
        gives=value or auto,
    )
    if late is not None:
        sink(replace(flow, port=1), late.topic, late.key, late.value, None, None)
    return replace(flow, value=value, window=windows)
