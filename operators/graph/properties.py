"""The properties of steps, as data: what depends on neither a step's name nor its place.

A wiring function states them in a specification (`building/specs.py`), and the node that is made from it has the same
properties, so that the planner and the tasks read what the wiring states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ..record import Record
from ..serdes.base import Serde
from ..time.event_time import TimeFunction
from .history import SourceHistory
from .target import Target

__all__ = ["RepartitionProperties", "SinkProperties", "SourceProperties", "StepProperties", "TargetProperties"]


@dataclass(frozen=True, kw_only=True)
class StepProperties:
    """The properties that all steps have."""

    kind: str
    ports: tuple[str, ...] = ("",)
    """The names of the outputs."""
    keyed: bool = False
    """Whether records of one key must meet in one task: the input topics must be copartitioned."""
    tagged: bool = False
    """Whether the operator receives `(slot, Record)` pairs; slot is the index of the input."""
    passive: tuple[bool, ...] = ()
    """For each input, whether the operator gets no records from it, because it reads the store that they changed.

    Empty if it gets the records of all inputs.
    """
    calls: bool = True
    """False if the step calls no user function with a value."""
    asynchronous: bool = False
    """Whether the step calls a coroutine function; then its operator handles `collect`."""
    holds: bool = True
    """False if no value in its stores is part of a result."""
    passes_on: bool = False
    """Whether each value it sends is one that it received or stored."""
    keeps: tuple[Serde[Any] | None, ...] = ()
    """For each input, the serde of the values that it stores; None or missing if it stores none."""
    keeps_keys: Serde[Any] | None = None
    """The serde with which it stores keys that have not been serialized before."""
    gives: Serde[Any] | None = None
    """A serde that can encode all of its results, if one is known."""
    disorder: int | None = None
    """The disorder of its input, in ms, beyond which records are dropped as late; None: never."""
    combines: bool = False
    """Whether it combines the records for a repartition topic, and has the name of that repartition."""
    in_order: bool = False
    """Whether a backlog is processed in order of event time: for a stream with a table."""
    behind: int = 0
    """How many ms its results may be older than its time; downstream time is that much less."""
    sends_by: Literal["records", "time", "clock"] = "records"
    """What causes its results: records only, or also event time, or also the wall clock (or either of them)."""


@dataclass(frozen=True, kw_only=True)
class SourceProperties:
    """The properties of a source; `start` is where a group without committed offsets begins."""

    topics: tuple[str, ...] = ()
    pattern: str | None = None
    key: Serde[Any] | None = None
    value: Serde[Any] | None = None
    timestamp: TimeFunction | None = None
    """Returns the event time; without it, the record's own timestamp is used."""
    partition_time: bool = False
    """Whether a record without a valid time gets the newest time of its partition so far."""
    start: str | datetime = "earliest"
    broadcast: bool = False
    """True for a global table: every process reads all partitions into one store."""


@dataclass(frozen=True, kw_only=True)
class SinkProperties:
    """The properties of a sink: a topic, or a function for it; None for a user function."""

    topic: str | Callable[[Record[Any, Any]], str] | None = None
    key: Serde[Any] | None = None
    value: Serde[Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RepartitionProperties:
    """The properties of a repartition topic."""

    key: Serde[Any] | None = None
    value: Serde[Any] | None = None
    partitions: int | None = None
    combined: bool = False
    """Whether its records are combined before they are written."""
    history: SourceHistory | None = None
    """The history that it writes: then a source reads the topic, before its own."""


@dataclass(frozen=True, kw_only=True)
class TargetProperties:
    """The properties of a sink that writes to a target."""

    target: Target
