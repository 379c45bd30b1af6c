"""The steps of a foreign-key join, their stores, and the repartition topics between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from struct import Struct
from typing import Any

from ...state.cache import Codec
from ...state.codec import Placement, References
from ...state.keys import pack, unpack
from ..building.specs import StepContext, StepSpec, StepStore
from ..building.step import StepDefinition
from ..building.stored_rows import stored_rows
from ..building.stream_reference import Grouping, StreamReference, add_keyed, check_function, repartition
from ..errors import TopologyError
from ..graph.operator import Operator
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde, check_serde, is_exact
from ..serdes.inference import result_serde
from ..serdes.value_copies import Keeper
from ..stateless.to_stream import rows_of
from ..stores.entries import keyed_codec, keyed_view, serde_entry
from ..stores.placements import plain_placement
from ..stores.schema import shape, word
from .foreign_key import Resolved, ResponseJoin, Subscription, SubscriptionJoin, SubscriptionResponse, SubscriptionSend

__all__ = ["join_by_foreign_key"]

_SUBSCRIPTION = Struct(">Bi?")
SUBSCRIBERS = StoreView(
    visible=lambda place: False,
    rows=lambda place, entry: (StoreRow(place[1], columns={"foreign_key": place[0], "partition": entry[1]}),),
)

_PARTITION = Struct(">i")
_RESPONSE = Struct(">???")
_RESOLVED = Struct(">q??I")
VERSION = 16
"""The length of a version, in bytes."""


class SubscriptionSerde:
    """The serde of subscriptions, given the serde of the left keys."""

    def __init__(self, key: Serde[Any]) -> None:
        self._key = key

    def encode(self, value: Subscription, /) -> bytes:
        head = _SUBSCRIPTION.pack(value.kind, value.partition, value.version is not None)
        return head + (value.version or b"") + self._key.encode(value.key)

    def decode(self, data: bytes, /) -> Subscription:
        kind, partition, there = _SUBSCRIPTION.unpack_from(data)
        begin = _SUBSCRIPTION.size
        end = begin + VERSION if there else begin
        return Subscription(kind, partition, data[begin:end] if there else None, self._key.decode(data[end:]))


class ResponseSerde:
    """The serde of responses, given the serde of the right rows."""

    def __init__(self, row: Serde[Any]) -> None:
        self._row = row

    def encode(self, value: SubscriptionResponse, /) -> bytes:
        head = _RESPONSE.pack(value.quiet, value.version is not None, value.row is not None)
        return head + (value.version or b"") + (b"" if value.row is None else self._row.encode(value.row))

    def decode(self, data: bytes, /) -> SubscriptionResponse:
        quiet, versioned, there = _RESPONSE.unpack_from(data)
        begin = _RESPONSE.size
        end = begin + VERSION if versioned else begin
        version = data[begin:end] if versioned else None
        return SubscriptionResponse(quiet, version, self._row.decode(data[end:]) if there else None)


def join_by_foreign_key(
    left: StreamReference,
    right: StreamReference,
    on: Callable[[Any], Any],
    function: Callable[[Any, Any], Any],
    *,
    outer: bool,
    value: Serde[Any] | None,
) -> StreamReference:
    """Join two tables by a foreign key; with `outer`, keep left rows without a partner."""
    check_function(on, "join(on=)")
    check_function(function, "join()")
    if left.builder is not right.builder:
        raise TopologyError("a join: its inputs belong to different apps")
    result = check_serde(value, "join(value=): ") or result_serde(function)
    row, kept = left.value or auto, Keeper(result or auto)
    tried = Keeper(row).written
    foreign = right.key_serde()

    def subscribe(context: StepContext) -> Operator:
        return SubscriptionSend(context.name, on, foreign.encode, tried, left=outer)

    asked = left.add(StepSpec(kind="subscribe", operator=subscribe, asks="old"))
    asked = replace(asked, key=right.key, window=right.window)
    wanted = repartition(asked, value=SubscriptionSerde(left.key_serde()), hashed=_hashed(right))
    table = stored_rows(right, wanted)
    reads = () if table is None else (table,)
    match = add_keyed((Grouping(wanted), Grouping(rows_of(right))), _match(left, right, table), ("", ""), reads=reads)
    match = replace(match, key=left.key, window=left.window)
    answers = repartition(
        match, value=ResponseSerde(right.value or auto), partition=lambda record: record.value.partition
    )

    def resolve(context: StepContext) -> Operator:
        return ResponseJoin(
            context.name, context.cache, on, function, tried, kept, left=outer, updates=context.updates_out
        )

    store = StepStore(
        codec=_resolved_codec(left.key_serde(), row, result or auto),
        view=StoreView(from_value=lambda entry: entry.result, timestamp=lambda entry: entry.time),
        shape=shape("join", left.key_serde(), f"{word(row)} and {word(result or auto)}"),
    )
    spec = StepSpec(kind="join", operator=resolve, stores=(store,), tagged=True, gives=result or auto)
    joined = add_keyed((Grouping(rows_of(left)), Grouping(answers)), spec, ("", ""))
    for step, role in ((wanted.step, "subscriptions"), (match.step, "subscribers"), (answers.step, "responses")):
        step.made_for, step.role = joined.step, role
    return replace(joined, value=result)


def _match(left: StreamReference, right: StreamReference, table: StepDefinition | None) -> StepSpec:
    """Return the specification of the step that joins subscriptions with the right rows.

    It stores the rows itself, or reads them in the store of the step `table`.
    """
    key, foreign, row = left.key_serde(), right.key_serde(), right.value or auto

    subscribers = StepStore(
        codec=_subscriber_codec(foreign, key), view=SUBSCRIBERS, shape=shape("subscribers", foreign, word(key))
    )
    rows = StepStore(
        codec=keyed_codec(foreign, *serde_entry(row)),
        view=keyed_view(itemgetter(1)),
        shape=shape("rows", foreign, word(row)),
        suffix="rows",
    )
    row_of = None if table is None else table.spec.row_of

    def operator(context: StepContext) -> Operator:
        if row_of is None:
            own = context.caches["rows"]
            return SubscriptionJoin(context.name, context.cache, own, itemgetter(1), foreign.encode, own=own)
        return SubscriptionJoin(context.name, context.cache, context.rows[0], row_of, foreign.encode)

    if row_of is not None:
        return StepSpec(kind="match", operator=operator, stores=(subscribers,), tagged=True, spared=rows.suffix)
    return StepSpec(kind="match", operator=operator, stores=(subscribers, rows), tagged=True, keeps=(None, row))


def _hashed(table: StreamReference) -> Callable[[Any], bytes] | None:
    """Return the function for the bytes that decide a key's partition, if the keys are windowed."""
    if table.window is None:
        return None
    encode = (table.key or auto_key).encode

    def hashed(windowed: Any) -> bytes:
        return encode(windowed.key)

    return hashed


def _subscriber_codec(foreign: Serde[Any], key: Serde[Any]) -> Codec[Any, Any]:
    """Return the codec of (foreign key, left key) -> (version, partition)."""

    def decode_key(data: bytes) -> Any:
        outer, inner = unpack(data, bytes, bytes)
        return foreign.decode(outer), key.decode(inner)

    return Codec(
        lambda place: pack(foreign.encode(place[0]), key.encode(place[1])),
        decode_key,
        lambda entry: _PARTITION.pack(entry[1]) + entry[0],
        lambda data: (data[_PARTITION.size :], _PARTITION.unpack_from(data)[0]),
        is_exact(foreign) and is_exact(key),
        placement=Placement(
            lambda raw, value: unpack(raw, bytes, bytes)[0],
            getattr(foreign, "suffix", 0),
            references=References(
                lambda raw: unpack(raw, bytes, bytes)[1],
                getattr(key, "suffix", 0),
                lambda value: _PARTITION.unpack_from(value)[0],
                lambda value, partition: _PARTITION.pack(partition) + value[_PARTITION.size :],
            ),
        ),
    )


def _resolved_codec(key: Serde[Any], row: Serde[Any], result: Serde[Any]) -> Codec[Any, Any]:
    def encode(entry: Resolved) -> bytes:
        shown = b"" if entry.result is None else result.encode(entry.result)
        there = entry.row is not None
        head = _RESOLVED.pack(entry.time, entry.result is not None, there, len(shown))
        return head + shown + (entry.version or b"") + (row.encode(entry.row) if there else b"")

    def decode(data: bytes) -> Resolved:
        time, shown, there, length = _RESOLVED.unpack_from(data)
        middle = _RESOLVED.size + length
        found = result.decode(data[_RESOLVED.size : middle]) if shown else None
        if not there:
            return Resolved(time, found, None, None)
        return Resolved(time, found, data[middle : middle + VERSION], row.decode(data[middle + VERSION :]))

    return Codec(key.encode, key.decode, encode, decode, is_exact(key), placement=plain_placement(key))
