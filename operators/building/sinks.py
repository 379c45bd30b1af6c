"""The steps of `.to()` and `.sink()`: serdes, and the bytes that decide the partition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ..errors import TopologyError
from ..graph.codecs import Encoder, SinkWriter
from ..graph.operator import Operator
from ..graph.topology import check_name
from ..record import Record
from ..schemas.serde import RegistrySerde, in_topic
from ..serdes.auto import auto_key
from ..serdes.base import Serde, check_serde, float64, int64, raw, utf8, uuid
from ..serdes.inference import Annotated
from ..serdes.json import json
from ..serdes.keys import SessionKey, WindowedKey, plain_key, windowed_key
from .specs import SinkSpec, StepContext
from .step import StepDefinition
from .stream_reference import StreamReference, check_function

__all__ = ["effect", "sink"]


def sink(
    reference: StreamReference,
    topic: str | Callable[[Record[Any, Any]], str],
    key: Serde[Any] | None,
    value: Serde[Any] | None,
    partition: Callable[[Record[Any, Any]], int] | None,
    headers: Callable[[Record[Any, Any]], Any] | None,
) -> StepDefinition:
    """Add a sink that writes a topic, or the topics that a function chooses."""
    shown = topic if isinstance(topic, str) else "a function's topics"
    if not (isinstance(topic, str) or callable(topic)):
        raise TopologyError(f".to() takes a topic or a function that returns one for a record, not {topic!r}")
    if isinstance(topic, str):
        check_name(topic, "topic")
    given = check_serde(key, f"the key of .to({shown!r}): ")
    value_serde: Serde[Any] = check_serde(value, f"the value of .to({shown!r}): ") or written_only(reference.value)
    key_serde: Serde[Any] = given or reference.key or plain_key
    hashed: Callable[[Any], bytes] | None = None
    suffix = 0
    if reference.window is not None:
        inner: Serde[Any] = reference.key or plain_key
        if given is None or given in INNER or isinstance(given, RegistrySerde):
            key_serde = windowed = windowed_key(given or inner, reference.window)
            suffix = windowed.suffix
        else:
            encode = inner.encode

            def hashed_key(windowed: Any) -> bytes:
                return encode(windowed.key)

            hashed = hashed_key
    for function, what in ((partition, "partition="), (headers, "headers=")):
        if function is not None:
            check_function(function, f".to({shown!r}, {what})")

    def encoder_of(name: str | None) -> Encoder:
        keys, values = key_in_topic(key_serde, name), in_topic(value_serde, name, "value")
        return Encoder(keys, values, hashed=hashed, suffix=suffix, partition=partition, headers=headers)

    fixed = topic if isinstance(topic, str) else None
    encoder = encoder_of(fixed)
    differing = fixed is None and (encoder.key is not key_serde or encoder.value is not value_serde)

    def operator(context: StepContext) -> Operator:
        return SinkWriter(context.name, topic, encoder, encoder_of if differing else None)

    spec = SinkSpec(
        operator=operator,
        topic=topic,
        key=encoder.key,
        value=encoder.value,
        calls=callable(topic) or partition is not None or headers is not None,
        default_name=f"to-{topic}" if isinstance(topic, str) else None,
    )
    return reference.add(spec).step


def key_in_topic(serde: Serde[Any], topic: str | None) -> Serde[Any]:
    """Return the form of a key serde in a topic, also inside of a windowed key."""
    of: Any = serde
    if not isinstance(of, (WindowedKey, SessionKey)):
        return in_topic(serde, topic, "key")
    windowed: Any = cast("Any", of)
    inner = in_topic(windowed.inner, topic, "key")
    return serde if inner is windowed.inner else windowed.of(inner)


def written_only(serde: Serde[Any] | None) -> Serde[Any]:
    """Return the serde for a topic that the program does not read."""
    return serde.unchecked if isinstance(serde, Annotated) else serde or json


INNER = (utf8, raw, int64, float64, uuid, plain_key, auto_key)
"""Serdes that can only be meant for the key inside a windowed key, not for the windowed key."""


def effect(reference: StreamReference, kind: str, make: Callable[[str], Operator]) -> StepDefinition:
    """Add a sink that calls a user function; `make` gets the name of the step."""
    return reference.add(SinkSpec(kind=kind, operator=lambda context: make(context.name))).step
