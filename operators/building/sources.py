"""The step of `app.stream()` and `app.table()`: a source, after checking its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ..errors import TopologyError
from ..graph.topology import check_name
from ..schemas.serde import in_topic
from ..serdes.base import Serde, check_serde, raw
from ..serdes.hashable import check_key_serde
from ..time.durations import parse_duration
from ..time.event_time import TimeFunction, check_time_function
from .specs import SourceSpec
from .stream_reference import StreamReference
from .topology_builder import TopologyBuilder

__all__ = ["OnInvalid", "Pattern", "source"]

OnInvalid = Literal["skip", "partition_time"]


@dataclass(frozen=True)
class Pattern:
    """A regular expression for topic names, made by `tm.pattern`.

    Example:
        >>> tm.pattern("logs-.*").regex
        'logs-.*'
    """

    regex: str


def source(
    builder: TopologyBuilder,
    topics: str | Sequence[str] | Pattern,
    key: Serde[Any] | None,
    value: Serde[Any] | None,
    timestamp: TimeFunction | None,
    start: str | datetime,
    on_invalid: OnInvalid = "skip",
    *,
    suffix: str = "",
) -> StreamReference:
    """Add a source named after its topics plus the suffix; the default serde is bytes."""
    regex = topics.regex if isinstance(topics, Pattern) else None
    names = () if isinstance(topics, Pattern) else (topics,) if isinstance(topics, str) else tuple(topics)
    if regex is None and not names:
        raise TopologyError("a source needs at least one topic")
    for topic in names:
        check_name(topic, "topic")
    shown = "-".join(names) or "pattern"
    check_start(start, shown)
    if timestamp is not None:
        check_time_function(timestamp, f"the source {shown!r}: timestamp=")
    if on_invalid not in ("skip", "partition_time"):
        raise TopologyError(f"the source {shown!r}: on_invalid= is 'skip' or 'partition_time', not {on_invalid!r}")
    key_serde = check_key_serde(key, f"the key of source {shown!r}: ") or raw
    value_serde = check_serde(value, f"the value of source {shown!r}: ") or raw
    first = names[0] if names else None
    spec = SourceSpec(
        topics=names,
        pattern=regex,
        key=in_topic(key_serde, first, "key"),
        value=in_topic(value_serde, first, "value"),
        timestamp=timestamp,
        partition_time=on_invalid == "partition_time",
        start=start,
        default_name=shown + suffix,
    )
    # Records of one key are in several partitions if their producers have written it by several schemas.
    scattered: bool = getattr(key_serde, "scattered", False)
    return StreamReference(builder, builder.add(spec), key=key_serde, value=value_serde, rekeyed=scattered)


def check_start(start: object, source: str) -> None:
    """Raise TopologyError unless `start` is a position for a group without committed offsets."""
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise TopologyError(f"the start of source {source!r}: {start!r} has no time zone")
        return
    if start in ("earliest", "latest"):
        return
    if isinstance(start, str) and start.endswith(" ago"):
        parse_duration(start.removesuffix(" ago"), f"the start of source {source!r}")
        return
    raise TopologyError(
        f"the start of source {source!r}: {start!r} is none of 'earliest', 'latest', '24h ago' and a datetime"
    )
