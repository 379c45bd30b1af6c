"""Shows a program to people: as text, as a Mermaid diagram, or as JSON.

The same picture at each stage of planning: *logical* is what was written, *partitioned* says which steps run together
and where records go through an internal topic, *physical* adds the partition counts, tasks and changelogs. Pure: from a
frozen topology or plan to a string.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from ...operators.graph.topology import Node, Repartition, Sink, Source, Topology
from .plan import Partitioned, Plan

__all__ = ["Picture", "as_json", "as_mermaid", "as_text", "logical", "partitioned", "physical"]

INTERNAL: Final = "an internal topic"
CHOSEN: Final = "chosen by a function"


@dataclass(frozen=True)
class From:
    """Where a step's records come from: another step, and which of its outputs if it has several."""

    step: int
    name: str
    port: str | None


@dataclass(frozen=True)
class Step:
    """A step as people see it."""

    id: int
    """A step and the repartition before it may have the same name."""
    name: str
    kind: str
    inputs: tuple[From, ...]
    reads: tuple[str, ...]
    """Topics it reads."""
    looks_into: tuple[str, ...]
    """Global tables it reads."""
    writes: str | None
    """The topic it writes, or what chooses it."""
    stores: tuple[str, ...]
    internal: bool
    """True for a repartition: what it writes is read again further on."""
    part: int | None
    """The sub-topology it runs in."""
    read_in: int | None
    """The sub-topology that reads what a repartition writes."""


@dataclass(frozen=True)
class Part:
    """A sub-topology as people see it."""

    id: int
    tasks: int | None
    topics: Mapping[str, int]
    """Partition counts of the topics it reads."""


@dataclass(frozen=True)
class Picture:
    """A program at one stage."""

    app: str
    stage: str
    steps: tuple[Step, ...]
    parts: tuple[Part, ...] = ()
    internal: Mapping[str, str] | None = None
    """Internal topics and what each is."""


def logical(app: str, topology: Topology) -> Picture:
    """What was written."""
    return Picture(app, "logical", tuple(step_of(node, topology, {}, {}, {}) for node in topology.nodes))


def partitioned(app: str, cut: Partitioned) -> Picture:
    """Which steps run together."""
    runs_in = {node: part.id for part in cut.parts for node in part.nodes}
    read_in = {node: part.id for part in cut.parts for node in part.reads}
    steps = tuple(step_of(node, cut.topology, runs_in, read_in, {}) for node in cut.topology.nodes)
    return Picture(app, "partitioned", steps, tuple(Part(part.id, None, {}) for part in cut.parts))


def physical(plan: Plan) -> Picture:
    """What will run, in view of the topics that there are."""
    runs_in = {node.id: part.id for part in plan.parts for node in part.nodes}
    read_in = {node.id: part.id for part in plan.parts for _, node in part.inputs}
    writes = {node: topic for part in plan.parts for node, topic in part.writes.items()}
    steps = tuple(step_of(node, plan.topology, runs_in, read_in, writes) for node in plan.topology.nodes)
    parts = tuple(Part(part.id, part.partitions, dict(part.topic_partitions)) for part in plan.parts)
    internal = {topic.name: f"{topic.kind}, {counted(topic.partitions, 'partition')}" for topic in plan.internal}
    return Picture(plan.app_id, "physical", steps, parts, internal)


def step_of(
    node: Node,
    topology: Topology,
    runs_in: Mapping[int, int],
    read_in: Mapping[int, int],
    writes: Mapping[int, str],
) -> Step:
    """A node as people see it."""
    inputs: list[From] = []
    for edge in node.inputs:
        upstream = topology.node(edge.node)
        port = upstream.ports[edge.port] if len(upstream.ports) > 1 else None
        inputs.append(From(upstream.id, upstream.name, port))
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
    return Step(
        node.id,
        node.name,
        node.kind,
        tuple(inputs),
        reads,
        node.reads,
        written,
        stores,
        isinstance(node, Repartition),
        part,
        there,
    )


def as_text(picture: Picture) -> str:
    """A table of steps, by sub-topology from the second stage on."""
    lines = [f"{picture.app} ({picture.stage})"]
    if not picture.parts:
        lines += ["", *table(picture.steps)]
    for part in picture.parts:
        title = f"sub-topology {part.id}"
        if part.tasks is not None:
            title += f": {counted(part.tasks, 'task')}, {part.id}_0 to {part.id}_{part.tasks - 1}"
        lines += ["", title]
        lines += [f"  reads {name} ({counted(count, 'partition')})" for name, count in part.topics.items()]
        lines += table([step for step in picture.steps if part.id in (step.part, step.read_in)], part.id)
    shared = [step for step in picture.steps if step.part is None]
    if picture.parts and shared:
        lines += ["", "global tables, whole in every process", *table(shared)]
    if picture.internal:
        lines += ["", "internal topics", *(f"  {name} ({what})" for name, what in picture.internal.items())]
    return "\n".join(lines)


def table(steps: Sequence[Step], part: int | None = None) -> list[str]:
    """Name, kind, and where records come from and go to, in columns."""
    rows = [(step.name, step.kind, "  ".join(details(step, part))) for step in steps]
    names = max((len(name) for name, _, _ in rows), default=0)
    kinds = max((len(kind) for _, kind, _ in rows), default=0)
    return [f"  {name:<{names}}  {kind:<{kinds}}  {more}".rstrip() for name, kind, more in rows]


def details(step: Step, part: int | None) -> Iterable[str]:
    """What a line says besides name and kind. A repartition has a line in the part it is written in and the one it is
    read in."""
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
    if step.writes is not None:
        yield f"-> {step.writes}" if step.writes in (INTERNAL, CHOSEN) else f"-> topic {step.writes}"
    if step.stores:
        yield f"[{', '.join(step.stores)}]"


def as_mermaid(picture: Picture) -> str:
    """A flow chart in Mermaid's language, as Markdown pages on GitHub and elsewhere draw it."""
    lines = ["flowchart LR"]
    for part in picture.parts or (None,):
        indent = "    "
        if part is not None:
            tasks = "" if part.tasks is None else f", {counted(part.tasks, 'task')}"
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
        edges += [f"    s{numbers[name]} -.-> s{step.id}" for name in step.looks_into]
        edges += [f"    {topic_id(topics, topic)} --> s{step.id}" for topic in step.reads]
        for upstream in step.inputs:
            arrow = "-->" if upstream.port is None else f'-- "{upstream.port}" -->'
            edges.append(f"    s{upstream.step} {arrow} s{step.id}")
        if step.writes is not None and not step.internal:
            edges.append(f"    s{step.id} --> {topic_id(topics, step.writes)}")
    lines += [f'    {name}[("{topic}")]' for topic, name in topics.items()]
    return "\n".join([*lines, *edges])


def box(step: Step) -> str:
    """A node of the flow chart: its shape says what it is."""
    label = f"{step.name}<br/>{step.kind}" + (f"<br/>[{', '.join(step.stores)}]" if step.stores else "")
    if step.internal:
        return f's{step.id}[/"{label}<br/>{step.writes}"/]'
    return f's{step.id}["{label}"]'


def topic_id(topics: dict[str, str], topic: str) -> str:
    """The identifier of a topic, which is drawn once however many steps use it."""
    return topics.setdefault(topic, f"t{len(topics)}")


def as_json(picture: Picture) -> str:
    """Everything, for programs."""

    def without_none(value: dict[str, Any]) -> dict[str, Any]:
        return {key: item for key, item in value.items() if item is not None}

    whole = without_none(asdict(picture))
    whole["steps"] = [without_none(step) for step in whole["steps"]]
    whole["parts"] = [without_none(part) for part in whole["parts"]]
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode()


def counted(number: int, what: str) -> str:
    """ "1 task", "2 tasks"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
