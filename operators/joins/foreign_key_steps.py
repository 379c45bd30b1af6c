"""The wiring of a join by foreign key: its three steps, the two topics between them, and what is kept and sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from struct import Struct
from typing import Any

from ...state.cache import Codec
from ...state.keys import pack, unpack
from ..building.draft import Settled
from ..building.flow import Flow, Grouping, check_function, keyed, plain_step
from ..errors import TopologyError
from ..graph.codecs import Encoder, RepartitionWriter
from ..graph.operator import Operator
from ..graph.topology import Caches, Node, OperatorState, Repartition, StoreView
from ..record import Record
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde, check_serde, is_exact
from ..serdes.inference import result_serde
from ..serdes.value_copies import Keeper
from ..stateless.to_stream import rows_of
from ..stores.entries import guarded, keyed_codec, keyed_view, serde_entry
from ..stores.schema import shape, word
from .foreign_key import Match, Resolve, Resolved, Response, Subscribe, Subscription

__all__ = ["join_by_foreign_key"]

_SUBSCRIPTION = Struct(">Bi?")
HIDDEN = StoreView(visible=lambda place: False)

_PARTITION = Struct(">i")
_RESPONSE = Struct(">???")
_RESOLVED = Struct(">q??I")
VERSION = 16
"""Bytes of a version."""


class SubscriptionSerde:
    """Subscriptions of left rows with keys of this serde."""

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
    """Responses with right rows of this serde."""

    def __init__(self, row: Serde[Any]) -> None:
        self._row = row

    def encode(self, value: Response, /) -> bytes:
        head = _RESPONSE.pack(value.quiet, value.version is not None, value.row is not None)
        return head + (value.version or b"") + (b"" if value.row is None else self._row.encode(value.row))

    def decode(self, data: bytes, /) -> Response:
        quiet, versioned, there = _RESPONSE.unpack_from(data)
        begin = _RESPONSE.size
        end = begin + VERSION if versioned else begin
        version = data[begin:end] if versioned else None
        return Response(quiet, version, self._row.decode(data[end:]) if there else None)


def join_by_foreign_key(
    left: Flow,
    right: Flow,
    on: Callable[[Any], Any],
    function: Callable[[Any, Any], Any],
    *,
    outer: bool,
    value: Serde[Any] | None,
) -> Flow:
    """A table joined with another by a key found in its rows; `outer` rows need no partner."""
    check_function(on, "join(on=)")
    check_function(function, "join()")
    if left.draft is not right.draft:
        raise TopologyError("a join: one of its inputs is of another program")
    result = check_serde(value, "join(value=): ") or result_serde(function)
    row, kept = left.value or auto, Keeper(result or auto)
    tried = Keeper(row).written
    foreign = right.key_serde()

    def subscribe(settled: Settled) -> Operator:
        return Subscribe(settled.name, on, foreign.encode, tried, left=outer)

    asked = left.to(plain_step(left, "subscribe", subscribe, asks="old"))
    asked = replace(asked, key=right.key, window=right.window)
    wanted = _topic(asked, SubscriptionSerde(left.key_serde()), hashed=_hashed(right))
    match = keyed((Grouping(wanted), Grouping(rows_of(right))), "match", _match(left, right), roles=("", ""))
    match = replace(match, key=left.key, window=left.window)
    answers = _topic(match, ResponseSerde(right.value or auto), partition=lambda record: record.value.partition)

    def resolve(settled: Settled) -> Node:
        codec = guarded(_resolved_codec(left.key_serde(), row, result or auto), settled.name)
        view = StoreView(from_value=lambda entry: entry.result, timestamp=lambda entry: entry.time)

        def build(caches: Caches) -> Operator:
            cache = caches[settled.name]
            return Resolve(settled.name, cache, on, function, tried, kept, left=outer, updates=settled.updates_out)

        words = shape("join", left.key_serde(), f"{word(row)} and {word(result or auto)}")
        node = _node(settled, "join", build, OperatorState(settled.spec(), codec, view, words))
        return replace(node, gives=result or auto)

    joined = keyed((Grouping(rows_of(left)), Grouping(answers)), "join", lambda _flows: resolve, roles=("", ""))
    for step, role in ((wanted.step, "subscriptions"), (match.step, "subscribers"), (answers.step, "responses")):
        step.made_for, step.role = joined.step, role
    return replace(joined, value=result)


def _match(left: Flow, right: Flow) -> Callable[[tuple[Flow, ...]], Callable[[Settled], Node]]:
    """The step beside the right table."""
    foreign, row = right.key_serde(), right.value or auto

    def node(settled: Settled) -> Node:
        wanted, rows = settled.spec(), settled.spec("rows")

        def build(caches: Caches) -> Operator:
            return Match(settled.name, caches[wanted.name], caches[rows.name], foreign.encode)

        key = left.key_serde()
        node = _node(
            settled,
            "match",
            build,
            OperatorState(
                wanted,
                guarded(_subscriber_codec(foreign, key), wanted.name),
                HIDDEN,
                shape("subscribers", foreign, word(key)),
            ),
            OperatorState(
                rows,
                guarded(keyed_codec(foreign, *serde_entry(row)), rows.name),
                keyed_view(itemgetter(1)),
                shape("rows", foreign, word(row)),
            ),
        )
        return replace(node, keeps=(None, row))

    return lambda _flows: node


def _node(settled: Settled, kind: str, build: Callable[[Caches], Operator], *states: OperatorState) -> Node:
    return Node(settled.id, settled.name, kind, settled.inputs, build=build, stores=states, keyed=True, tagged=True)


def _topic(
    flow: Flow,
    value: Serde[Any],
    *,
    hashed: Callable[[Any], bytes] | None = None,
    partition: Callable[[Record[Any, Any]], int] | None = None,
) -> Flow:
    """Through an internal topic, to the partition of the bytes that `hashed` gives for a key or to the one given."""
    key = flow.key_serde()

    def make(settled: Settled) -> Node:
        def build(_caches: Caches) -> Operator:
            return RepartitionWriter(settled.name, Encoder(key, value, hashed=hashed, partition=partition), None)

        return Repartition(settled.id, settled.name, "repartition", settled.inputs, build=build, key=key, value=value)

    step = flow.draft.add("repartition", (flow.input,), make, durable=True)
    return replace(flow.to(step), value=value)


def _hashed(table: Flow) -> Callable[[Any], bytes] | None:
    """What decides the partition of a table's keys, where those are windowed."""
    if table.window is None:
        return None
    encode = (table.key or auto_key).encode

    def hashed(windowed: Any) -> bytes:
        return encode(windowed.key)

    return hashed


def _subscriber_codec(foreign: Serde[Any], key: Serde[Any]) -> Codec[Any, Any]:
    """(foreign key, left key) -> (version, partition)."""

    def decode_key(data: bytes) -> Any:
        outer, inner = unpack(data, bytes, bytes)
        return foreign.decode(outer), key.decode(inner)

    return Codec(
        lambda place: pack(foreign.encode(place[0]), key.encode(place[1])),
        decode_key,
        lambda entry: _PARTITION.pack(entry[1]) + entry[0],
        lambda data: (data[_PARTITION.size :], _PARTITION.unpack_from(data)[0]),
        is_exact(foreign) and is_exact(key),
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

    return Codec(key.encode, key.decode, encode, decode, is_exact(key))
