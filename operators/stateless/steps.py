"""From `.map_async()` and `.map_batch()` to a step: the checks of what they are given, and the store of what waits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ..building.draft import Settled
from ..building.flow import Flow, check_function, plain_step
from ..errors import TopologyError
from ..graph.calls import CallOptions
from ..graph.operator import Operator
from ..graph.topology import Caches, Node, OperatorState
from ..serdes.auto import auto
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..stores.entries import guarded
from ..stores.schema import shape, word
from ..time.durations import Duration, parse_duration
from .async_map import AsyncMap
from .batch_map import BatchMap, WaitingBatchMap
from .pending import pending_codec, pending_view

__all__ = ["map_async", "map_batch"]


def map_async(
    flow: Flow,
    function: Callable[[Any], Any],
    *,
    in_flight: int,
    timeout: Duration,
    retries: int,
    backoff: Duration,
    ordered: bool,
    value: Serde[Any] | None,
) -> Flow:
    """A step that calls a coroutine function."""
    check_coroutine_function(function, ".map_async()")
    check_count(in_flight, ".map_async(in_flight=)", 1)
    check_count(retries, ".map_async(retries=)", 0)
    options = CallOptions(
        parse_duration(timeout, ".map_async(timeout=)", at_least=1),
        retries,
        parse_duration(backoff, ".map_async(backoff=)"),
    )

    def build(settled: Settled, caches: Caches) -> Operator:
        cache = caches[settled.name]
        return AsyncMap(settled.name, cache, function, waiting, options, in_flight=in_flight, ordered=ordered)

    waiting = flow.value or auto
    serde = check_serde(value, ".map_async(value=): ") or result_serde(function)
    return replace(_waiting(flow, "map_async", build), value=serde)


def map_batch(
    flow: Flow,
    function: Callable[[list[Any]], Any],
    *,
    max_size: int,
    max_wait: Duration,
    value: Serde[Any] | None,
) -> Flow:
    """A step that calls a function with many values; without `max_wait` it needs no store."""
    check_function(function, ".map_batch()")
    check_count(max_size, ".map_batch(max_size=)", 1)
    wait = parse_duration(max_wait, ".map_batch(max_wait=)")
    serde = check_serde(value, ".map_batch(value=): ") or result_serde(function, each=True)
    if wait == 0:
        step = plain_step(flow, "map_batch", lambda settled: BatchMap(settled.name, function, max_size))
        return replace(flow.to(step), value=serde)

    def build(settled: Settled, caches: Caches) -> Operator:
        return WaitingBatchMap(settled.name, caches[settled.name], function, flow.value or auto, max_size, wait)

    return replace(_waiting(flow, "map_batch", build), value=serde)


def _waiting(flow: Flow, kind: str, build: Callable[[Settled, Caches], Operator]) -> Flow:
    """A step with a store of the records that wait in it."""
    key, value = flow.key_serde(), flow.value or auto
    codec, words = pending_codec(key, value), shape("waiting", key, word(value))

    def make(settled: Settled) -> Node:
        return Node(
            settled.id,
            settled.name,
            kind,
            settled.inputs,
            build=partial(build, settled),
            stores=(OperatorState(settled.spec(), guarded(codec, settled.name), pending_view(), words),),
            keeps=(value,),
            keeps_keys=key if flow.rekeyed else None,
        )

    return flow.to(flow.draft.add(kind, (flow.input,), make, durable=True))


def check_coroutine_function(function: Callable[..., Any], what: str) -> None:
    """Raises TopologyError for what is certainly none; whether a lambda gives a coroutine shows when it is called."""
    check_function(function, what, coroutines=True)
    inner: Any = function
    while isinstance(inner, partial):
        inner = inner.func
    if inspect.isroutine(inner) and inner.__name__ != "<lambda>" and not inspect.iscoroutinefunction(inner):
        raise TopologyError(f"{what} takes a coroutine function (async def), and {inner.__name__!r} is a plain one")


def check_count(value: object, what: str, at_least: int) -> None:
    """Raises TopologyError unless it is a whole number, and not too small."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise TopologyError(f"{what} takes a whole number from {at_least} upward, not {value!r}")
