"""From a topology and partition counts to sub-topologies, tasks and internal topics.

Pure: the same arguments give the same plan, which is frozen and can be printed by stage. `partition` cuts the graph at
its repartitions (stage *partitioned*); `plan` adds the counts and the application's name (stage *physical*). What is
wrong with a program in view of its topics is found here, before anything runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ...operators.errors import TopologyError
from ...operators.graph.topology import Node, OperatorState, Repartition, Source, Topology
from ...state.store import TOMBSTONES_KEPT_MS
from ..ids import TaskId
from ..watermarks.propagation import Marking, markings
from ..watermarks.records import told_as
from .alignment import alignment
from .union_find import Groups

__all__ = [
    "ANY_TIME",
    "InternalTopic",
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
    """A sub-topology before partitions are known: the nodes that run together, and what they read.

    `reads` holds the ids of sources and of repartitions whose reading half is here; `nodes` the steps that run, in
    order, with the writing halves of repartitions and the sinks among them.
    """

    id: int
    reads: tuple[int, ...]
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Partitioned:
    """A topology cut into sub-topologies."""

    topology: Topology
    parts: tuple[Synopsis, ...]


ANY_TIME: Mapping[str, str] = dict.fromkeys(
    ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms"), str((1 << 63) - 1)
)
"""An internal topic takes records of any event time. Kafka's default is an hour ahead at most; brokers before 3.6 have
neither setting, and no such bound."""


@dataclass(frozen=True)
class InternalTopic:
    """A topic the application makes for itself."""

    name: str
    kind: str
    """`repartition` or `changelog`."""
    partitions: int
    owner: str
    """The step or store it belongs to, for messages."""
    uncompacted: int = 0
    """For how long, in ms, a changelog keeps all records."""

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings on the broker."""
        if self.kind == "changelog":
            kept = {"min.compaction.lag.ms": str(self.uncompacted)} if self.uncompacted else {}
            return {"cleanup.policy": "compact", "delete.retention.ms": str(TOMBSTONES_KEPT_MS), **kept, **ANY_TIME}
        return {"cleanup.policy": "delete", "retention.ms": "-1", "message.timestamp.type": "CreateTime", **ANY_TIME}


@dataclass(frozen=True)
class SubTopology:
    """Steps that run together, once for each of `partitions`."""

    id: int
    inputs: tuple[tuple[str, Source | Repartition], ...]
    """Topics read and the node that decodes each."""
    partitions: int
    topic_partitions: Mapping[str, int]
    nodes: tuple[Node, ...]
    stores: tuple[OperatorState, ...]
    writes: Mapping[int, str]
    """Names of the topics that the writing halves of repartitions write, by node id."""
    changelogs: Mapping[str, str]
    """Changelog topics by store name, for stores that have one."""
    alignment: int | None = None
    """By how many ms of event time its tasks may run apart, so that what they write to a repartition topic is not late
    for a step behind it; None when that does not matter."""
    marking: Marking = field(default_factory=Marking)
    """Where its tasks are told the time, and where they tell it."""
    reads: tuple[str, ...] = ()
    """What it is written to read: topics and patterns, whatever these match at the moment."""
    program_stores: tuple[OperatorState, ...] = ()
    """The stores of the whole program, its own first: a store may have been another sub-topology's before."""

    @property
    def name(self) -> str:
        """The same in all versions of a program that read it."""
        return self.reads[0]

    @property
    def topics(self) -> frozenset[str]:
        """The topics that are read, and the changelogs."""
        return frozenset((*(topic for topic, _ in self.inputs), *self.changelogs.values()))

    @property
    def told_as(self) -> int:
        """How its tasks name it where they tell their time."""
        return told_as(self.name)

    def tasks(self) -> tuple[TaskId, ...]:
        """The tasks, one a partition."""
        return tuple(TaskId(self.id, number) for number in range(self.partitions))

    def task_inputs(self, number: int) -> tuple[tuple[str, int], ...]:
        """The partitions that the task with this number reads; topics with fewer partitions are left out."""
        return tuple((topic, number) for topic, _ in self.inputs if number < self.topic_partitions[topic])

    @property
    def fingerprint(self) -> str:
        """A hash of what a member must agree on to run these tasks."""
        text = repr(
            (
                list(self.reads),
                [(node.name, node.kind, node.inputs, node.ports) for node in self.nodes],
                sorted(self.changelogs.items()),
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """All that the runtime needs to know of a program."""

    app_id: str
    topology: Topology
    parts: tuple[SubTopology, ...]
    internal: tuple[InternalTopic, ...]

    def part(self, task: TaskId) -> SubTopology:
        """The sub-topology of a task."""
        return self.parts[task.subtopology]

    def inputs(self, task: TaskId) -> tuple[tuple[str, int], ...]:
        """The partitions that a task reads."""
        return self.part(task).task_inputs(task.partition)

    def tasks(self) -> tuple[TaskId, ...]:
        """All tasks, in order."""
        return tuple(task for part in self.parts for task in part.tasks())

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics read, the user's and the internal ones."""
        return tuple(topic for part in self.parts for topic, _ in part.inputs)


def partition(topology: Topology) -> Partitioned:
    """Cuts a topology into the parts that run together: those connected without a repartition between them."""
    groups = Groups()
    readers: dict[object, object] = {}
    for node in topology.nodes:
        groups.add(node.id)
        if isinstance(node, Repartition):
            groups.add(("read", node.id))
        for edge in node.inputs:
            upstream = topology.node(edge.node)
            groups.join(node.id, ("read", upstream.id) if isinstance(upstream, Repartition) else upstream.id)
        if isinstance(node, Source):
            for topic in (*node.topics, *([f"pattern {node.pattern}"] if node.pattern else [])):
                if topic in readers:
                    raise TopologyError(
                        f"topic {topic!r} is read by two sources ({readers[topic]!r} and {node.name!r}); "
                        "read it once and use the stream it gives twice"
                    )
                readers[topic] = node.name
    parts: list[Synopsis] = []
    numbers: dict[object, int] = {}
    reads: list[list[int]] = []
    members: list[list[int]] = []
    in_tasks = [node for node in topology.nodes if not (isinstance(node, Source) and node.broadcast)]
    for node in in_tasks:
        keys: list[tuple[object, bool]] = [(node.id, isinstance(node, Source))]
        if isinstance(node, Repartition):
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
) -> Plan:
    """Adds the world to a partitioned topology: partition counts by topic, and the topics each pattern matches.

    A repartition topic that exists keeps its number of partitions, whatever its inputs have by now. What reads a
    pattern that matches nothing has no tasks.

    Raises TopologyError when topics that must be partitioned alike are not, naming both and the fix.
    """
    topology = partitioned.topology
    topics = {node.id: topics_of(node, matches or {}) for node in topology.sources}
    _refuse_shared_topics(topology, topics)
    widths = _Widths(partitioned, app_id, counts, topics)
    parts: list[SubTopology] = []
    internal: list[InternalTopic] = []
    for synopsis in partitioned.parts:
        inputs: list[tuple[str, Source | Repartition]] = []
        reads: list[str] = []
        for node_id in synopsis.reads:
            node = topology.node(node_id)
            if isinstance(node, Repartition):
                name = repartition_topic(app_id, node)
                internal.append(InternalTopic(name, "repartition", widths.of(name), node.name))
                inputs.append((name, node))
                reads.append(name)
            elif isinstance(node, Source):
                inputs.extend((topic, node) for topic in topics[node_id])
                reads += [*node.topics, *(() if node.pattern is None else (f"/{node.pattern}/",))]
        nodes = tuple(topology.node(node_id) for node_id in synopsis.nodes)
        topic_partitions = {topic: widths.of(topic) for topic, _ in inputs}
        width = max(topic_partitions.values(), default=0)
        stores = tuple(state for node in nodes for state in node.stores)
        changelogs = {s.spec.name: changelog_topic(app_id, s.spec.name) for s in stores if s.spec.changelog}
        internal.extend(InternalTopic(name, "changelog", width, store) for store, name in changelogs.items())
        writes = {n.id: repartition_topic(app_id, n) for n in nodes if isinstance(n, Repartition)}
        parts.append(
            SubTopology(
                synopsis.id,
                tuple(inputs),
                width,
                topic_partitions,
                nodes,
                stores,
                writes,
                changelogs,
                alignment(topology, nodes),
                reads=tuple(reads),
            )
        )
    found = markings(parts)
    own_first = [sorted(parts, key=lambda other, part=part: other is not part) for part in parts]
    stores = [tuple(state for part in ordered for state in part.stores) for ordered in own_first]
    parts = [replace(p, marking=found[p.id], program_stores=s) for p, s in zip(parts, stores, strict=True)]
    return Plan(app_id, topology, tuple(parts), tuple(topic for topic in internal if topic.partitions))


def repartition_topic(app_id: str, node: Repartition) -> str:
    """The topic behind a repartition."""
    return f"{app_id}-{node.name}-repartition"


def changelog_topic(app_id: str, store: str) -> str:
    """The topic behind a store."""
    return f"{app_id}-{store}-changelog"


def topics_of(node: Source, matches: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """What a source reads, given the topics that each pattern matches."""
    if node.pattern is None:
        return node.topics
    return tuple(dict.fromkeys((*node.topics, *matches.get(node.pattern, ()))))


def _refuse_shared_topics(topology: Topology, topics: Mapping[int, tuple[str, ...]]) -> None:
    readers: dict[str, str] = {}
    for node_id, names in topics.items():
        for name in names:
            mine = topology.node(node_id).name
            if readers.setdefault(name, mine) != mine:
                raise TopologyError(
                    f"topic {name!r} is read by two sources ({readers[name]!r} and {mine!r}, one of them by a "
                    "pattern); narrow the pattern so that each topic is read once"
                )


class _Widths:
    """Partition counts of all topics read, those of repartition topics worked out from what they must match."""

    def __init__(
        self,
        partitioned: Partitioned,
        app_id: str,
        counts: Mapping[str, int],
        topics: Mapping[int, tuple[str, ...]],
    ) -> None:
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
        self._part_of_write = {node_id: part for part in partitioned.parts for node_id in part.nodes}
        self._together = self._copartitioned()
        for node in self._topology.nodes:
            if isinstance(node, Repartition) and node.partitions is not None:
                self._known[repartition_topic(app_id, node)] = node.partitions
        for names in self._together.values():
            self._settle(names)
        for node in self._topology.nodes:
            if isinstance(node, Repartition):
                self._width_of(node, ())

    def of(self, topic: str) -> int:
        """The partition count of a topic."""
        return self._known[topic]

    def _feeding(self, node: Node) -> list[str]:
        """The topics whose records reach a node without another repartition between."""
        found: dict[str, None] = {}
        pending = [edge.node for edge in node.inputs]
        while pending:
            upstream = self._topology.node(pending.pop(0))
            if isinstance(upstream, Source):
                if not upstream.broadcast:
                    found.update(dict.fromkeys(self._topics[upstream.id]))
            elif isinstance(upstream, Repartition):
                found[repartition_topic(self._app_id, upstream)] = None
            else:
                pending.extend(edge.node for edge in upstream.inputs)
        return list(found)

    def _copartitioned(self) -> dict[str, list[str]]:
        """For each keyed step, the topics that must have equal counts."""
        return {node.name: self._feeding(node) for node in self._topology.nodes if node.keyed}

    def _settle(self, names: Iterable[str]) -> None:
        fixed = [name for name in names if name in self._known]
        for other in fixed[1:]:
            if self._known[fixed[0]] != self._known[other]:
                step = next(step for step, group in self._together.items() if fixed[0] in group and other in group)
                raise TopologyError(
                    f"step {step!r} needs topics partitioned alike, but {fixed[0]!r} has {self._known[fixed[0]]} "
                    f"partitions and {other!r} has {self._known[other]}: records of one key would meet in different "
                    f"tasks. Re-create one topic with as many partitions as the other, or put "
                    f".repartition(partitions={max(self._known[fixed[0]], self._known[other])}) between the topic "
                    "and the step"
                )

    def _width_of(self, node: Repartition, waiting: tuple[int, ...]) -> int:
        name = repartition_topic(self._app_id, node)
        if name in self._known:
            return self._known[name]
        partners = [
            other for group in self._together.values() if name in group for other in group if other in self._known
        ]
        if partners:
            self._known[name] = self._known[partners[0]]
            for group in self._together.values():
                if name in group:
                    self._settle(group)
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
                self._settle(group)
        return width
