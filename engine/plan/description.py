"""Descriptions of a program: as text, as a Mermaid diagram, or as JSON.

There is one description per stage of planning: *logical* shows the steps as written, *partitioned* which steps run
together and where records pass through an internal topic, *physical* adds partition counts, tasks and changelogs. Pure:
from a frozen topology or plan to a string.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from ...operators.graph.topology import Node, Repartition, Sink, Source, Topology
from .plan import Partitioned, Plan

__all__ = ["TopologyDescription", "as_json", "as_mermaid", "as_text", "logical", "partitioned", "physical"]

INTERNAL: Final = "an internal topic"
CHOSEN: Final = "chosen by a function"


@dataclass(frozen=True)
class InputDescription:
    """An input of a step: another step, and one of its outputs if it has several."""

    step: int
    name: str
    port: str | None


@dataclass(frozen=True)
class StepDescription:
    """The description of a step."""

    id: int
    """Identifies the step: a step and the repartition before it may have the same name."""
    name: str
    kind: str
    inputs: tuple[InputDescription, ...]
    reads: tuple[str, ...]
    """Topics it reads."""
    looks_into: tuple[str, ...]
    """Global tables it reads."""
    rows_in: tuple[str, ...]
    """Stores of tables in the same task in which it finds their rows."""
    writes: str | None
    """The topic it writes, or what chooses it."""
    stores: tuple[str, ...]
    internal: bool
    """True for a repartition: a later step reads what it writes."""
    part: int | None
    """The sub-topology it runs in."""
    read_in: int | None
    """The sub-topology that reads what a repartition writes."""
    was: tuple[str, ...]
    """Its former names, if durable data is named after it."""


@dataclass(frozen=True)
class StoreDescription:
    """The description of a store."""

    name: str
    step: str
    shape: str
    """What it holds, in words; versions of a program with other words for a name are incompatible."""
    was: tuple[str, ...]
    """Its former names."""


@dataclass(frozen=True)
class SubTopologyDescription:
    """The description of a sub-topology."""

    id: int
    tasks: int | None
    topics: Mapping[str, int]
    """Partition counts of the topics it reads."""


@dataclass(frozen=True)
class TopologyDescription:
    """The description of a program at one stage of planning."""

    app: str
    stage: str
    steps: tuple[StepDescription, ...]
    parts: tuple[SubTopologyDescription, ...] = ()
    internal: Mapping[str, str] | None = None
    """Internal topics, with a description of each."""
    stores: tuple[StoreDescription, ...] = ()


def logical(app: str, topology: Topology) -> TopologyDescription:
    """Describe the steps as written."""
    steps = tuple(step_of(node, topology, {}, {}, {}) for node in topology.nodes)
    return TopologyDescription(app, "logical", steps, stores=stores_of(topology))


def partitioned(app: str, cut: Partitioned) -> TopologyDescription:
    """Describe which steps run together."""
    runs_in = {node: part.id for part in cut.subtopologies for node in part.nodes}
    read_in = {node: part.id for part in cut.subtopologies for node in part.reads}
    steps = tuple(step_of(node, cut.topology, runs_in, read_in, {}) for node in cut.topology.nodes)
    return TopologyDescription(
        app,
        "partitioned",
        steps,
        tuple(SubTopologyDescription(part.id, None, {}) for part in cut.subtopologies),
        stores=stores_of(cut.topology),
    )


def physical(plan: Plan) -> TopologyDescription:
    """Describe what will run, with the topics that exist."""
    runs_in = {node.id: part.id for part in plan.subtopologies for node in part.nodes}
    read_in = {node.id: part.id for part in plan.subtopologies for _, node in part.inputs}
    writes = {node: topic for part in plan.subtopologies for node, topic in part.writes.items()}
    steps = tuple(step_of(node, plan.topology, runs_in, read_in, writes) for node in plan.topology.nodes)
    parts = tuple(
        SubTopologyDescription(part.id, part.partitions, dict(part.topic_partitions)) for part in plan.subtopologies
    )
    internal = {topic.name: f"{topic.kind}, {plural(topic.partitions, 'partition')}" for topic in plan.internal}
    return TopologyDescription(plan.app_id, "physical", steps, parts, internal, stores_of(plan.topology))


def stores_of(topology: Topology) -> tuple[StoreDescription, ...]:
    """Describe the stores."""
    return tuple(
        StoreDescription(state.spec.name, node.name, state.shape, state.spec.was)
        for node in topology.nodes
        for state in node.stores
    )


def step_of(
    node: Node,
    topology: Topology,
    runs_in: Mapping[int, int],
    read_in: Mapping[int, int],
    writes: Mapping[int, str],
) -> StepDescription:
    """Describe a step."""
    inputs: list[InputDescription] = []
    for edge in node.inputs:
        upstream = topology.node(edge.node)
        port = upstream.ports[edge.port] if len(upstream.ports) > 1 else None
        inputs.append(InputDescription(upstream.id, upstream.name, port))
    reads: tuple[str, ...] = ()
    written: str | None = None
    match node:
        case Source():
            reads = node.topics if node.pattern is None else (*node.topics, f"/{node.pattern}/")
        case Sink() if node.topic is not None:
            written = node.topic if isinstance(node.topic, str) else CHOSEN
        case Repartition():
            written = writes.get(node.id, INTERNAL)
        case _:
            pass
    part = runs_in.get(node.id, read_in.get(node.id))
    there = read_in.get(node.id) if isinstance(node, Repartition) else None
    stores = tuple(state.spec.name for state in node.stores)
    shared = {state.spec.name for table in topology.global_tables for state in table.stores}
    return StepDescription(
        node.id,
        node.name,
        node.kind,
        tuple(inputs),
        reads,
        tuple(name for name in node.reads if name in shared),
        tuple(name for name in node.reads if name not in shared),
        written,
        stores,
        isinstance(node, Repartition),
        part,
        there,
        node.was,
    )


def as_text(picture: TopologyDescription) -> str:
    """Return a table of steps, grouped by sub-topology from the second stage on."""
    lines = [f"{picture.app} ({picture.stage})"]
    if not picture.parts:
        lines += ["", *table(picture.steps)]
    for part in picture.parts:
        title = f"sub-topology {part.id}"
        if part.tasks is not None:
            title += f": {plural(part.tasks, 'task')}, {part.id}_0 to {part.id}_{part.tasks - 1}"
        lines += ["", title]
        lines += [f"  reads {name} ({plural(count, 'partition')})" for name, count in part.topics.items()]
        lines += table([step for step in picture.steps if part.id in (step.part, step.read_in)], part.id)
    shared = [step for step in picture.steps if step.part is None]
    if picture.parts and shared:
        lines += ["", "global tables, whole in every process", *table(shared)]
    if picture.internal:
        lines += ["", "internal topics", *(f"  {name} ({what})" for name, what in picture.internal.items())]
    return "\n".join(lines)


def table(steps: Sequence[StepDescription], part: int | None = None) -> list[str]:
    """Return the columns name, kind, and inputs and outputs."""
    rows = [(step.name, step.kind, "  ".join(details(step, part))) for step in steps]
    names = max((len(name) for name, _, _ in rows), default=0)
    kinds = max((len(kind) for _, kind, _ in rows), default=0)
    return [f"  {name:<{names}}  {kind:<{kinds}}  {more}".rstrip() for name, kind, more in rows]


def details(step: StepDescription, part: int | None) -> Iterable[str]:
    """Yield the details of a step after its name and kind.

    A repartition has one line in the sub-topology that writes it, and one in the sub-topology that reads it.
    """
    if part is not None and step.read_in == part and step.part != part:
        yield f"<- {step.writes}, written by sub-topology {step.part}"
        return
    if step.reads:
        yield f"<- topic {', '.join(step.reads)}"
    if step.inputs:
        names = [found.name if found.port is None else f"{found.name}/{found.port}" for found in step.inputs]
        yield f"<- {', '.join(names)}"
    if step.looks_into:
        yield f"<- global table {', '.join(step.looks_into)}"
    if step.rows_in:
        yield f"<- rows in [{', '.join(step.rows_in)}]"
    if step.writes is not None:
        yield f"-> {step.writes}" if step.writes in (INTERNAL, CHOSEN) else f"-> topic {step.writes}"
    if step.stores:
        yield f"[{', '.join(step.stores)}]"


def as_mermaid(picture: TopologyDescription) -> str:
    """Return a flow chart in the Mermaid language, which GitHub and others render in Markdown."""
    lines = ["flowchart LR"]
    for part in picture.parts or (None,):
        indent = "    "
        if part is not None:
            tasks = "" if part.tasks is None else f", {plural(part.tasks, 'task')}"
            lines.append(f'    subgraph part{part.id}["sub-topology {part.id}{tasks}"]')
            indent = "        "
        lines += [f"{indent}{box(step)}" for step in picture.steps if part is None or step.part == part.id]
        if part is not None:
            lines.append("    end")
    lines += [f"    {box(step)}" for step in picture.steps if picture.parts and step.part is None]
    topics: dict[str, str] = {}
    edges: list[str] = []
    numbers = {step.name: step.id for step in picture.steps if not step.internal}
    for step in picture.steps:
        edges += [f"    s{numbers[name]} -.-> s{step.id}" for name in (*step.looks_into, *step.rows_in)]
        edges += [f"    {topic_id(topics, topic)} --> s{step.id}" for topic in step.reads]
        for upstream in step.inputs:
            arrow = "-->" if upstream.port is None else f'-- "{upstream.port}" -->'
            edges.append(f"    s{upstream.step} {arrow} s{step.id}")
        if step.writes is not None and not step.internal:
            edges.append(f"    s{step.id} --> {topic_id(topics, step.writes)}")
    lines += [f'    {name}[("{topic}")]' for topic, name in topics.items()]
    return "\n".join([*lines, *edges])


def box(step: StepDescription) -> str:
    """Return a node of the flow chart, with a shape by kind."""
    label = f"{step.name}<br/>{step.kind}" + (f"<br/>[{', '.join(step.stores)}]" if step.stores else "")
    if step.internal:
        return f's{step.id}[/"{label}<br/>{step.writes}"/]'
    return f's{step.id}["{label}"]'


def topic_id(topics: dict[str, str], topic: str) -> str:
    """Return the identifier of a topic, which is drawn once, even if several steps use it."""
    return topics.setdefault(topic, f"t{len(topics)}")


def as_json(picture: TopologyDescription) -> str:
    """Return the whole description as JSON."""

    def without_none(value: dict[str, Any]) -> dict[str, Any]:
        return {key: item for key, item in value.items() if item is not None}

    whole = without_none(asdict(picture))
    whole["steps"] = [without_none(step) for step in whole["steps"]]
    whole["parts"] = [without_none(part) for part in whole["parts"]]
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode()


def plural(number: int, what: str) -> str:
    """Return a number with its noun, as in "1 task" or "2 tasks"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
