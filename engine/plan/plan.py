"""The plan: sub-topologies, tasks and internal topics, from a topology and its topics.

Pure: the same arguments give the same plan, which is frozen and can be printed by stage. `partition` cuts the graph at
its repartitions (stage *partitioned*); `plan` adds the counts and the application's name (stage *physical*). Errors of
a program that depend on its topics are found here, before anything runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ...operators.errors import TopologyError
from ...operators.graph.topology import Node, OperatorState, Repartition, Source, Topology
from ...state.store import StoreSpec
from ..ids import TaskId
from ..watermarks.propagation import MarkTopics, mark_topics
from ..watermarks.records import mark_id
from .alignment import alignment
from .internal_topics import ANY_TIME, InternalTopic, KeptNames, changelog_topic, repartition_topic
from .source_topics import of_history, refuse_shared_topics, topics_of
from .union_find import UnionFind

__all__ = [
    "ANY_TIME",
    "InternalTopic",
    "KeptNames",
    "Partitioned",
    "Plan",
    "SubTopology",
    "Synopsis",
    "changelog_topic",
    "partition",
    "plan",
    "repartition_topic",
    "topics_of",
]


@dataclass(frozen=True)
class Synopsis:
    """A sub-topology without partition counts: nodes that run together, and their inputs.

    `reads` holds the ids of sources, and of repartitions that are read here; `nodes` the steps that run, in order,
    including sinks and the repartitions that are written here.
    """

    id: int
    reads: tuple[int, ...]
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Partitioned:
    """A topology cut into sub-topologies."""

    topology: Topology
    subtopologies: tuple[Synopsis, ...]
    kept: KeptNames = field(default_factory=KeptNames)

    def stored(self, state: OperatorState) -> OperatorState:
        """Return a store with the name under which it is kept."""
        kept = self.kept.stores.get(state.spec.name)
        return state if kept is None else replace(state, spec=StoreSpec(kept, state.spec.kind, True, state.spec.was))

    def repartition_topic(self, app_id: str, node: Repartition) -> str:
        """Return the topic of a repartition, by the name under which it is kept."""
        return repartition_topic(app_id, self.kept.repartitions.get(node.name, node.name))


@dataclass(frozen=True)
class SubTopology:
    """Steps that run together, in one task for each of `partitions`."""

    id: int
    inputs: tuple[tuple[str, Source | Repartition], ...]
    """The topics that are read, with the node that decodes each."""
    partitions: int
    topic_partitions: Mapping[str, int]
    nodes: tuple[Node, ...]
    stores: tuple[OperatorState, ...]
    """The stores, by the names under which they are kept."""
    writes: Mapping[int, str]
    """The repartition topics that are written, by node id."""
    changelogs: Mapping[str, str]
    """Changelog topics by store name, for stores that have one."""
    alignment: int | None = None
    """How many ms of event time its tasks may run apart without writing records to a repartition topic that are late
    for a step downstream; None if there is no limit."""
    marking: MarkTopics = field(default_factory=MarkTopics)
    """The topics on which its tasks receive and write marks."""
    histories: Mapping[str, str] = field(default_factory=dict[str, str])
    """The topics of histories that it reads, each with the topic that is read after it."""
    history_writers: Mapping[str, Repartition] = field(default_factory=dict[str, Repartition])
    """The nodes that write those topics."""
    reads: tuple[str, ...] = ()
    """The topics and patterns that it reads as written in the program, regardless of what the patterns match."""
    program_stores: tuple[OperatorState, ...] = ()
    """The stores of the whole program, its own first: a store may have belonged to another sub-topology before."""

    kept: Mapping[str, str] = field(default_factory=dict[str, str])
    """The names under which stores of renamed steps are kept, by present name."""

    @property
    def name(self) -> str:
        """The name: the first topic or pattern read, the same in all versions of a program."""
        return self.reads[0]

    @property
    def topics(self) -> frozenset[str]:
        """The topics that are read, and the changelogs."""
        return frozenset((*(topic for topic, _ in self.inputs), *self.changelogs.values()))

    @property
    def mark_id(self) -> int:
        """The id of this sub-topology in marks."""
        return mark_id(self.name)

    def tasks(self) -> tuple[TaskId, ...]:
        """Return the tasks, one per partition."""
        return tuple(TaskId(self.id, number) for number in range(self.partitions))

    def task_inputs(self, number: int) -> tuple[tuple[str, int], ...]:
        """Return the partitions that a task reads; topics with fewer partitions are left out."""
        return tuple((topic, number) for topic, _ in self.inputs if number < self.topic_partitions[topic])

    @property
    def fingerprint(self) -> str:
        """A hash of everything that members must agree on to run these tasks."""
        mine = {state.spec.name for node in self.nodes for state in node.stores}
        text = repr(
            (
                list(self.reads),
                [(node.name, node.kind, node.inputs, node.ports) for node in self.nodes],
                sorted(self.changelogs.items()),
                *((state.spec.name, state.migrations) for state in self.stores if state.migrations),
                *((node.name, store) for node in self.nodes for store in node.reads if store in mine),
                *(
                    (topic, "combined")
                    for topic, node in self.inputs
                    if isinstance(node, Repartition) and node.combined
                ),
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """A program as the runtime needs it."""

    app_id: str
    topology: Topology
    subtopologies: tuple[SubTopology, ...]
    internal: tuple[InternalTopic, ...]
    changelogs: bool = True

    def subtopology(self, task: TaskId) -> SubTopology:
        """Return the sub-topology of a task."""
        return self.subtopologies[task.subtopology]

    def inputs(self, task: TaskId) -> tuple[tuple[str, int], ...]:
        """Return the partitions that a task reads."""
        return self.subtopology(task).task_inputs(task.partition)

    def tasks(self) -> tuple[TaskId, ...]:
        """Return all tasks, in order."""
        return tuple(task for part in self.subtopologies for task in part.tasks())

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics that are read, including internal ones."""
        return tuple(topic for part in self.subtopologies for topic, _ in part.inputs)


def partition(topology: Topology) -> Partitioned:
    """Cut a topology into parts that run together: those connected without a repartition."""
    groups = UnionFind()
    readers: dict[object, object] = {}
    for node in topology.nodes:
        groups.add(node.id)
        if isinstance(node, Repartition):
            groups.add(("read", node.id))
            if node.history is not None:
                groups.join(("read", node.id), node.history.source)
        for edge in node.inputs:
            upstream = topology.node(edge.node)
            groups.join(node.id, ("read", upstream.id) if isinstance(upstream, Repartition) else upstream.id)
        if isinstance(node, Source):
            for topic in (*node.topics, *([f"pattern {node.pattern}"] if node.pattern else [])):
                if topic in readers:
                    raise TopologyError(
                        f"topic {topic!r} is read by two sources ({readers[topic]!r} and {node.name!r}); "
                        "read it once and use the resulting stream twice"
                    )
                readers[topic] = node.name
    parts: list[Synopsis] = []
    numbers: dict[object, int] = {}
    reads: list[list[int]] = []
    members: list[list[int]] = []
    in_tasks = [node for node in topology.nodes if not (isinstance(node, Source) and node.broadcast)]
    for node in sorted(in_tasks, key=of_history):  # so a history does not change the numbers of tasks
        keys: list[tuple[object, bool]] = [(node.id, isinstance(node, Source))]
        if isinstance(node, Repartition):
            if not node.inputs:
                keys.clear()  # it is written at the start
            keys.append((("read", node.id), True))
        for key, is_read in keys:
            root = groups.root(key)
            if root not in numbers:
                numbers[root] = len(reads)
                reads.append([])
                members.append([])
            (reads if is_read else members)[numbers[root]].append(node.id)
    for number, (read, inside) in enumerate(zip(reads, members, strict=True)):
        parts.append(Synopsis(number, tuple(read), tuple(inside)))
    return Partitioned(topology, tuple(parts))


def plan(
    partitioned: Partitioned,
    app_id: str,
    counts: Mapping[str, int],
    matches: Mapping[str, tuple[str, ...]] | None = None,
    *,
    changelogs: bool = True,
) -> Plan:
    """Make the plan from partition counts by topic, and the topics that each pattern matches.

    A repartition topic that exists keeps its number of partitions, even if its inputs have another one now. A
    sub-topology that reads only a pattern without matching topics has no tasks. Without `changelogs` no store has one.

    Raises TopologyError if topics that must be co-partitioned are not; the message has both, and the fix.
    """
    topology = partitioned.topology
    topics = {node.id: topics_of(node, matches or {}) for node in topology.sources}
    refuse_shared_topics(topology, topics)
    widths = _Widths(partitioned, app_id, counts, topics)
    parts: list[SubTopology] = []
    internal: list[InternalTopic] = []
    for synopsis in partitioned.subtopologies:
        inputs: list[tuple[str, Source | Repartition]] = []
        reads: list[str] = []
        histories: dict[str, str] = {}
        writers: dict[str, Repartition] = {}
        for node_id in synopsis.reads:
            node = topology.node(node_id)
            if isinstance(node, Repartition):
                name = partitioned.repartition_topic(app_id, node)
                internal.append(InternalTopic(name, "repartition", widths.of(name), node.name))
                reads.append(name)
                if node.history is None:
                    inputs.append((name, node))
                    continue
                source = topology.node(node.history.source)
                assert isinstance(source, Source)
                inputs.append((name, source))
                histories[name], writers[name] = source.topics[0], node
            elif isinstance(node, Source):
                inputs.extend((topic, node) for topic in topics[node_id])
                reads += [*node.topics, *(() if node.pattern is None else (f"/{node.pattern}/",))]
        nodes = tuple(topology.node(node_id) for node_id in synopsis.nodes)
        topic_partitions = {topic: widths.of(topic) for topic, _ in inputs}
        width = max(topic_partitions.values(), default=0)
        stores = tuple(partitioned.stored(state) for node in nodes for state in node.stores)
        logs = {s.spec.name: changelog_topic(app_id, s.spec.name) for s in stores if s.spec.changelog and changelogs}
        internal.extend(InternalTopic(name, "changelog", width, store) for store, name in logs.items())
        writes = {n.id: partitioned.repartition_topic(app_id, n) for n in nodes if isinstance(n, Repartition)}
        parts.append(
            SubTopology(
                synopsis.id,
                tuple(inputs),
                width,
                topic_partitions,
                nodes,
                stores,
                writes,
                logs,
                alignment(topology, nodes),
                histories=histories,
                history_writers=writers,
                reads=tuple(reads),
                kept=partitioned.kept.stores,
            )
        )
    found = mark_topics(parts)
    own_first = [sorted(parts, key=lambda other, part=part: other is not part) for part in parts]
    stores = [tuple(state for part in ordered for state in part.stores) for ordered in own_first]
    parts = [replace(p, marking=found[p.id], program_stores=s) for p, s in zip(parts, stores, strict=True)]
    return Plan(app_id, topology, tuple(parts), tuple(topic for topic in internal if topic.partitions), changelogs)


class _Widths:
    """Partition counts of all topics that are read; those of repartition topics are derived."""

    def __init__(
        self,
        partitioned: Partitioned,
        app_id: str,
        counts: Mapping[str, int],
        topics: Mapping[int, tuple[str, ...]],
    ) -> None:
        self._partitioned = partitioned
        self._topology = partitioned.topology
        self._app_id = app_id
        self._topics = topics
        self._counts = counts
        self._known: dict[str, int] = {}
        for names in topics.values():
            for name in names:
                if name not in counts:
                    raise TopologyError(f"topic {name!r} has no known partition count")
                self._known[name] = counts[name]
        self._part_of_write = {node_id: part for part in partitioned.subtopologies for node_id in part.nodes}
        self._histories = {
            node.history.source: [partitioned.repartition_topic(app_id, node)]
            for node in self._topology.nodes
            if isinstance(node, Repartition) and node.history is not None
        }
        self._together = self._copartitioned()
        for node in self._topology.nodes:
            if isinstance(node, Repartition) and node.partitions is not None:
                self._known[partitioned.repartition_topic(app_id, node)] = node.partitions
        for names in self._together.values():
            self._set_width(names)
        for node in self._topology.nodes:
            if isinstance(node, Repartition):
                self._width_of(node, ())

    def of(self, topic: str) -> int:
        """Return the partition count of a topic."""
        return self._known[topic]

    def _feeding(self, node: Node) -> list[str]:
        """Return the topics that feed a node without another repartition in between."""
        found: dict[str, None] = {}
        pending = [edge.node for edge in node.inputs]
        while pending:
            upstream = self._topology.node(pending.pop(0))
            if isinstance(upstream, Source):
                if not upstream.broadcast:
                    found.update(dict.fromkeys((*self._topics[upstream.id], *self._histories.get(upstream.id, ()))))
            elif isinstance(upstream, Repartition):
                found[self._partitioned.repartition_topic(self._app_id, upstream)] = None
            else:
                pending.extend(edge.node for edge in upstream.inputs)
        return list(found)

    def _copartitioned(self) -> dict[str, list[str]]:
        """Return the topics that must have equal partition counts, by step."""
        with_history = {
            node.name: [*self._topics[node.id], *self._histories[node.id]]
            for node in self._topology.sources
            if node.id in self._histories
        }
        return with_history | {node.name: self._feeding(node) for node in self._topology.nodes if node.keyed}

    def _set_width(self, names: Iterable[str]) -> None:
        fixed = [name for name in names if name in self._known]
        for other in fixed[1:]:
            if self._known[fixed[0]] != self._known[other]:
                step = next(step for step, group in self._together.items() if fixed[0] in group and other in group)
                raise TopologyError(
                    f"step {step!r} needs topics partitioned alike, but {fixed[0]!r} has {self._known[fixed[0]]} "
                    f"partitions and {other!r} has {self._known[other]}: records of one key would be in different "
                    f"tasks. Re-create one topic with as many partitions as the other, or put "
                    f".repartition(partitions={max(self._known[fixed[0]], self._known[other])}) between the topic "
                    "and the step"
                )

    def _width_of(self, node: Repartition, waiting: tuple[int, ...]) -> int:
        name = self._partitioned.repartition_topic(self._app_id, node)
        if name in self._known:
            return self._known[name]
        partners = [
            other for group in self._together.values() if name in group for other in group if other in self._known
        ]
        if partners:
            self._known[name] = self._known[partners[0]]
            for group in self._together.values():
                if name in group:
                    self._set_width(group)
            return self._known[name]
        part = self._part_of_write[node.id]
        width = self._counts.get(name, 0)
        for read in part.reads if not width else ():
            upstream = self._topology.node(read)
            if isinstance(upstream, Source):
                width = max(width, *(self._known[topic] for topic in self._topics[read]), 0)
            elif isinstance(upstream, Repartition) and read != node.id and read not in waiting:
                width = max(width, self._width_of(upstream, (*waiting, node.id)))
        self._known[name] = width
        for group in self._together.values():
            if name in group:
                self._set_width(group)
        return width
