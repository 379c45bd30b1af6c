"""From `.to()` and `.sink()` to a step: the serdes of what is written, and what decides its partition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import TopologyError
from ..graph.codecs import Encoder, SinkWriter
from ..graph.operator import Operator
from ..graph.topology import Caches, Node, Sink, check_name
from ..record import Record
from ..serdes.auto import auto_key
from ..serdes.base import Serde, check_serde, float64, int64, raw, utf8, uuid
from ..serdes.inference import Annotated
from ..serdes.json import json
from ..serdes.keys import plain_key, windowed_key
from .draft import Settled, Step
from .flow import Flow, check_function

__all__ = ["effect", "sink"]


def sink(
    flow: Flow,
    topic: str | Callable[[Record[Any, Any]], str],
    key: Serde[Any] | None,
    value: Serde[Any] | None,
    partition: Callable[[Record[Any, Any]], int] | None,
    headers: Callable[[Record[Any, Any]], Any] | None,
) -> Step:
    """Writes a topic."""
    shown = topic if isinstance(topic, str) else "a function's topics"
    if not (isinstance(topic, str) or callable(topic)):
        raise TopologyError(f".to() takes a topic or a function that gives one for a record, not {topic!r}")
    if isinstance(topic, str):
        check_name(topic, "topic")
    given = check_serde(key, f"the key of .to({shown!r}): ")
    value_serde: Serde[Any] = check_serde(value, f"the value of .to({shown!r}): ") or written_only(flow.value)
    key_serde: Serde[Any] = given or flow.key or plain_key
    hashed: Callable[[Any], bytes] | None = None
    if flow.window is not None:
        inner: Serde[Any] = flow.key or plain_key
        if given is None or given in INNER:
            inner = given or inner
            key_serde = windowed_key(inner, flow.window)
        encode = inner.encode

        def hashed_key(windowed: Any) -> bytes:
            return encode(windowed.key)

        hashed = hashed_key
    for function, what in ((partition, "partition="), (headers, "headers=")):
        if function is not None:
            check_function(function, f".to({shown!r}, {what})")

    def make(settled: Settled) -> Node:
        def build(_caches: Caches) -> Operator:
            encoder = Encoder(key_serde, value_serde, hashed=hashed, partition=partition, headers=headers)
            return SinkWriter(settled.name, topic, encoder)

        return Sink(
            settled.id,
            settled.name,
            "sink",
            settled.inputs,
            build=build,
            topic=topic,
            key=key_serde,
            value=value_serde,
            calls=callable(topic) or partition is not None or headers is not None,
        )

    default = f"to-{topic}" if isinstance(topic, str) else None
    return flow.draft.add("sink", (flow.input,), make, default=default)


def written_only(serde: Serde[Any] | None) -> Serde[Any]:
    """The serde for a topic that the program does not read."""
    return serde.unchecked if isinstance(serde, Annotated) else serde or json


INNER = (utf8, raw, int64, float64, uuid, plain_key, auto_key)
"""Serdes that can only be meant for the key in a window, not for the key and window together."""


def effect(flow: Flow, kind: str, build: Callable[[str], Operator]) -> Step:
    """A sink that is a function of the user's."""

    def make(settled: Settled) -> Node:
        return Sink(settled.id, settled.name, "sink", settled.inputs, build=lambda _caches: build(settled.name))

    return flow.draft.add(kind, (flow.input,), make)
