"""Nodes: made here only, from a specification and what the builder has resolved."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from ...state.store import StoreSpec
from ..errors import TopologyError
from ..graph.operator import Operator
from ..graph.record_cache import RecordCache
from ..graph.topology import Caches, Input, Node, OperatorState, Repartition, Sink, Source, TargetNode
from ..policy import ErrorPolicy
from ..record import Windowed
from ..serdes.base import is_exact
from ..stores.entries import guarded
from ..stores.migration import Migration, migrating
from ..time.watermark import Watermark
from .specs import (
    EmitOnCommit,
    RepartitionSpec,
    SinkSpec,
    SourceSpec,
    StepContext,
    StepSpec,
    StepStore,
    TargetSpec,
    own_name,
)

__all__ = ["ResolvedStep", "StoreKind", "node_of"]

StoreKind = Literal["rocksdb", "memory"]

NODES: Final[dict[type[StepSpec], type[Node]]] = {
    StepSpec: Node,
    SourceSpec: Source,
    SinkSpec: Sink,
    RepartitionSpec: Repartition,
    TargetSpec: TargetNode,
}
RESOLVED: Final = {"ports", "stores", "spared"}
"""Fields that specifications and nodes both have, with different contents."""


@dataclass(frozen=True, kw_only=True)
class ResolvedStep:
    """What is known about a step once the program is complete."""

    id: int
    name: str
    was: tuple[str, ...]
    """Its former names, if durable data is named after it."""
    migrations: tuple[Migration, ...]
    """What is done with stored values of earlier versions, the oldest first."""
    inputs: tuple[Input, ...]
    sides: tuple[str, ...]
    """The side outputs that are read."""
    reads: tuple[str, ...]
    """The names of the stores of other steps that it reads."""
    migrated: int
    """The number of migrations that the rows in those stores have had when they are read."""
    store: StoreKind
    """The kind of its stores."""
    updates_in: bool
    updates_out: bool
    combined: bool
    written: bool
    policy: ErrorPolicy | None
    watermark: Watermark | None


def node_of(spec: StepSpec, step: ResolvedStep) -> Node:
    """Return the node of a step; properties of both types are copied."""
    kind = NODES[type(spec)]
    if len(step.migrations) > step.migrated and not any(store.value is not None for store in spec.stores):
        raise TopologyError(
            f".named({step.name!r}, migrate=): {why_not(spec)}. Values that can be migrated are those of reduce, of "
            "aggregate with a function, of tables, and the rows that a join of a stream with a table keeps"
        )
    shared = {field.name for field in fields(spec)} & {field.name for field in fields(kind)}

    def build(caches: Caches) -> Operator:
        context = _context(spec, step, caches)
        return spec.operator(context) if spec.on_commit is None else _cached(spec, spec.on_commit, context)

    return kind(
        **{name: getattr(spec, name) for name in shared - RESOLVED},
        id=step.id,
        name=step.name,
        was=step.was,
        inputs=step.inputs,
        build=build,
        ports=(*spec.ports, *step.sides),
        stores=tuple(_state(store, step) for store in spec.stores),
        reads=step.reads,
        spared=() if spec.spared is None else tuple(own_name(name, spec.spared) for name in (step.name, *step.was)),
        policy=step.policy,
        watermark=step.watermark,
    )


def why_not(spec: StepSpec) -> str:
    """Return why the state of a step cannot be migrated."""
    if any(spec.passive):
        return f"this step, a {spec.kind}, reads the rows of its table: give the table these functions"
    if not spec.stores:
        return f"this step, a {spec.kind}, keeps no state"
    if spec.kind == "process":
        return "the state of a processor is declared in its class; declare one with another name, and read the old one"
    if spec.kind in ("aggregate", "count"):
        return "a count or a column keeps what Tidemill makes of it; add a column with another name"
    return f"this step, a {spec.kind}, keeps more than a value per key"


def _cached(spec: StepSpec, emit: EmitOnCommit, context: StepContext) -> Operator:
    """Return the operator of a step that sends the last result per key with each commit."""
    wanted = context.updates_out
    if emit.holding is not None and not wanted and is_exact(emit.key):
        return emit.holding(context)
    inner = replace(context, updates_out=wanted or emit.withdraws, written=False)
    encode = emit.key.encode

    def of_window(key: Windowed[Any]) -> tuple[bytes, int, int]:
        return encode(key.key), key.start, key.end

    identity = None if is_exact(emit.key) else of_window if emit.windowed else encode
    ports = len(spec.ports) + len(context.sides)
    return RecordCache(spec.operator(inner), ports, identity, updates_in=inner.updates_out, updates_out=wanted)


def _context(spec: StepSpec, step: ResolvedStep, caches: Caches) -> StepContext:
    return StepContext(
        name=step.name,
        caches={store.suffix: caches[store.name(step.name)] for store in spec.stores},
        rows=tuple(caches[name] for name in step.reads),
        sides=step.sides,
        updates_in=step.updates_in,
        updates_out=step.updates_out,
        combined=step.combined,
        written=step.written,
        watermarked=step.watermark is not None,
    )


def _state(store: StepStore, step: ResolvedStep) -> OperatorState:
    name = store.name(step.name)
    view = store.view if step.watermark is None else store.watermarked_view or store.view
    was = tuple(former for old in step.was if (former := store.name(old)) != name)
    spec = StoreSpec(name, step.store, store.changelog, was)
    codec = guarded(store.codec, name)
    if step.migrations and store.value is not None:
        codec = migrating(codec, store.value, step.migrations, name)
    return OperatorState(spec, codec, view, store.shape, len(step.migrations), store.begins_with)
