"""The steps of `.map_async()` and `.map_batch()`, with the store of the waiting records."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..building.specs import StepContext, StepSpec, StepStore
from ..building.stream_reference import StreamReference, check_function
from ..errors import TopologyError
from ..graph.calls import AsyncCallOptions
from ..graph.circuit_breaker import CircuitBreaker
from ..graph.operator import Operator
from ..serdes.auto import auto
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..stores.schema import shape, word
from ..time.durations import Duration, parse_duration
from ..time.rates import parse_rate
from ..user_functions import unwrapped
from .async_map import AsyncMap
from .batch_map import BatchMap, WaitingBatchMap
from .frames import over_frames
from .journal import journal_codec, journal_view
from .journaled_map import JournaledMap
from .pending import pending_codec, pending_view

__all__ = ["map_async", "map_batch"]


def map_async(
    reference: StreamReference,
    function: Callable[..., Any],
    *,
    in_flight: int,
    timeout: Duration,
    retries: int,
    backoff: Duration,
    rate_limit: str | None,
    circuit_breaker: CircuitBreaker | None,
    ordered: bool,
    journal: bool,
    value: Serde[Any] | None,
) -> StreamReference:
    """Add a step that calls a coroutine function; `journal` commits results before sending them."""
    check_coroutine_function(function, ".map_async()")
    if journal:
        check_takes_call(function)
    check_count(in_flight, ".map_async(in_flight=)", 1)
    check_count(retries, ".map_async(retries=)", 0)
    options = AsyncCallOptions(
        parse_duration(timeout, ".map_async(timeout=)", at_least=1),
        retries,
        parse_duration(backoff, ".map_async(backoff=)"),
        None if rate_limit is None else parse_rate(rate_limit, ".map_async(rate_limit=)"),
        check_circuit_breaker(circuit_breaker),
    )

    def operator(context: StepContext) -> Operator:
        name, cache = context.name, context.cache
        if journal:
            results = serde or auto
            return JournaledMap(name, cache, function, waiting, results, options, in_flight=in_flight, ordered=ordered)
        return AsyncMap(name, cache, function, waiting, options, in_flight=in_flight, ordered=ordered)

    waiting = reference.value or auto
    serde = check_serde(value, ".map_async(value=): ") or result_serde(function)
    key = reference.key_serde()
    store = _journal(key, waiting, serde or auto) if journal else _pending(key, waiting)
    return replace(_waiting(reference, "map_async", operator, store, asynchronous=True), value=serde)


def map_batch(
    reference: StreamReference,
    function: Callable[[list[Any]], Any],
    *,
    max_size: int,
    max_wait: Duration,
    value: Serde[Any] | None,
) -> StreamReference:
    """Add a step that calls a function with many values; without `max_wait` it needs no store."""
    check_function(function, ".map_batch()")
    check_count(max_size, ".map_batch(max_size=)", 1)
    wait = parse_duration(max_wait, ".map_batch(max_wait=)")
    serde = check_serde(value, ".map_batch(value=): ") or result_serde(function, each=True)
    function = over_frames(function, getattr(reference.value, "model", None))
    if wait == 0:
        spec = StepSpec(kind="map_batch", operator=lambda context: BatchMap(context.name, function, max_size))
        return replace(reference.add(spec), value=serde)

    def operator(context: StepContext) -> Operator:
        return WaitingBatchMap(context.name, context.cache, function, reference.value or auto, max_size, wait)

    store = _pending(reference.key_serde(), reference.value or auto)
    return replace(_waiting(reference, "map_batch", operator, store), value=serde)


def _pending(key: Serde[Any], value: Serde[Any]) -> StepStore:
    """Return the store of records that wait."""
    return StepStore(codec=pending_codec(key, value), view=pending_view(), shape=shape("waiting", key, word(value)))


def _journal(key: Serde[Any], value: Serde[Any], result: Serde[Any]) -> StepStore:
    """Return the store of records that wait, with the results of their calls."""
    words = shape("journal", key, f"{word(value)}, {word(result)}")
    return StepStore(codec=journal_codec(key, value), view=journal_view(), shape=words)


def _waiting(
    reference: StreamReference,
    kind: str,
    operator: Callable[[StepContext], Operator],
    store: StepStore,
    *,
    asynchronous: bool = False,
) -> StreamReference:
    """Add a step with a store of the records that wait in it."""
    key, value = reference.key_serde(), reference.value or auto
    return reference.add(
        StepSpec(
            kind=kind,
            operator=operator,
            stores=(store,),
            keeps=(value,),
            keeps_keys=key if reference.rekeyed else None,
            asynchronous=asynchronous,
            sends_by="records" if asynchronous else "clock",
        )
    )


def check_coroutine_function(function: Callable[..., Any], what: str) -> None:
    """Raise TopologyError for a function that is certainly no coroutine function.

    Whether a lambda returns a coroutine is only known when it is called.
    """
    check_function(function, what, coroutines=True)
    inner = unwrapped(function)
    if inspect.isroutine(inner) and inner.__name__ != "<lambda>" and not inspect.iscoroutinefunction(inner):
        raise TopologyError(f"{what} takes a coroutine function (async def), and {inner.__name__!r} is a plain one")


def check_takes_call(function: Callable[..., Any]) -> None:
    """Raise TopologyError for a function that cannot get a value and a `CallContext`."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise TopologyError(
            "the function of .map_async(journal=True) gets the value and a CallContext: async def score(value, call)"
        ) from error
    except ValueError:
        return  # a function without a signature


def check_circuit_breaker(value: object) -> CircuitBreaker | None:
    """Return the circuit breaker or None; raise TopologyError for anything else."""
    if value is None or isinstance(value, CircuitBreaker):
        return value
    raise TopologyError(
        f".map_async(circuit_breaker=) takes tm.CircuitBreaker(failures=5, wait='30s') or None, not {value!r}"
    )


def check_count(value: object, what: str, at_least: int) -> None:
    """Raise TopologyError unless it is an int of at least `at_least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise TopologyError(f"{what} takes a whole number from {at_least} upward, not {value!r}")
