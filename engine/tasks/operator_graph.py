"""The steps of one task, compiled to flat lists, and the walk of records through them.

Every output port of every node is a numbered slot; a walk fills slots in topological order, so that a batch passes each
step once, as a list. Merged inputs are put back in the order of the source offsets that caused them. The task decides
which records come, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeAlias

from ...operators.errors import RecordError
from ...operators.graph.calls import CallExecutor
from ...operators.graph.input_copies import copying
from ...operators.graph.operator import Operator
from ...operators.graph.topology import Caches, Node, Repartition, Rows, Sink
from ...operators.graph.value_checks import trying
from ...operators.policy import ErrorPolicy
from ...operators.record import Outgoing, Record
from ...state.store import StateError
from ..counters import largest, summed
from ..dropped_records import SkippedRecords
from ..errors import CommitOutcomeUnknown, Retryable
from ..plan.plan import SubTopology
from .merging import concatenated, merged_inputs
from .shared_sinks import shared_sinks
from .task_targets import TaskTargets

__all__ = ["OperatorGraph", "Origin"]

Records = list[Any]
Slots = Mapping[tuple[int, int], int]
by_first = itemgetter(0)
FOREVER = 1 << 62
Asked: TypeAlias = Literal["tick", "advance", "collect", "before_commit"]


class OperatorCall(NamedTuple):
    """A call of a step in a walk, besides processing its records.

    It tells the step the time, by the wall clock or by watermarks, or collects the results of its asynchronous calls or
    those that wait for the commit.
    """

    method: Asked
    arguments: tuple[int | None, ...]


class Origin(NamedTuple):
    """The origin of a walk's records, for messages."""

    task: str
    topic: str  # the input, or what starts a walk without input, in parentheses
    partition: int
    asked: bool = False  # True if the walk calls steps, so that a record may come from any input of its step


class _Step:
    """A node at work: its operator and the slots it reads and fills."""

    __slots__ = (
        "asked",
        "inputs",
        "node",
        "oldest",
        "operator",
        "output",
        "ports",
        "process",
        "taken",
        "time",
        "topic",
        "topics",
    )

    def __init__(
        self, node: Node, operator: Operator, slots: Slots, output: int, topic: str | None, topics: str
    ) -> None:
        self.node = node
        self.operator, self.process = operator, copying(node, trying(node, operator.process))
        self.inputs = tuple(slots[edge] for edge in node.inputs)
        self.taken = tuple(slots[edge] for edge in node.active)
        """The slots whose records it takes; all its inputs allow its time."""
        self.output, self.ports = output, len(node.ports)
        self.topic = topic
        self.topics = topics
        """The input topics of its records."""
        asked: dict[Asked, Callable[..., Any]] = {"tick": operator.tick, "advance": operator.advance}
        asked |= {"collect": operator.collect, "before_commit": operator.before_commit}
        if node.watermark is None:
            del asked["advance"]
        self.asked = {method: call for method, call in asked.items() if operator.handles(method)}
        """The methods to call in a walk, besides `process`."""
        self.oldest = operator.oldest_waiting if operator.handles("oldest_waiting") else None
        self.time = -1
        """The watermark that it was last given, if it has one."""

    @property
    def writes(self) -> bool:
        return isinstance(self.node, (Sink, Repartition))


class OperatorGraph:
    """The operators of one task. Steps with watermarks each have a time.

    It is the least time of the steps they read from, minus how far the results of those may be behind, and at most that
    of the oldest record waiting in one of them.
    """

    def __init__(
        self,
        subtopology: SubTopology,
        caches: Caches,
        policy: ErrorPolicy,
        calls: CallExecutor,
        global_tables: Mapping[str, Rows],
        partition: int,
        skips: SkippedRecords,
        targets: TaskTargets,
    ) -> None:
        self._policy, self._skips = policy, skips
        slots: dict[tuple[int, int], int] = {}
        names = (state.spec.name for node in subtopology.nodes for state in node.stores)
        stores = {**global_tables, **{name: caches[subtopology.kept.get(name, name)] for name in names}}
        for _, node in subtopology.inputs:
            slots.setdefault((node.id, 0), len(slots))
        entries = frozenset(slots)
        steps: list[_Step] = []
        reached: list[frozenset[int]] = []
        origins: dict[int, frozenset[int]] = {slot: frozenset((node,)) for (node, _), slot in slots.items()}
        for node in subtopology.nodes:
            output = len(slots)
            writes = isinstance(node, (Sink, Repartition))
            sources = frozenset[int]().union(*(origins[slots[edge]] for edge in node.inputs))
            if not writes:
                for port in range(len(node.ports)):
                    slots[node.id, port] = output + port
                    origins[output + port] = sources
            operator = node.build(stores)
            operator.attach(calls)
            operator.placed(partition)
            targets.connect(node, operator, subtopology, partition)
            topics = " or ".join([topic for topic, source in subtopology.inputs if source.id in sources])
            steps.append(_Step(node, operator, slots, output, subtopology.writes.get(node.id), topics))
            reached.append(sources)
        self._steps = steps
        self._width = len(slots)
        marked = {
            node.id
            for node in (*subtopology.nodes, *(node for _, node in subtopology.inputs))
            if node.watermark is not None
        }
        self._times = [-1 if node in marked else FOREVER for node, _ in slots]
        """The watermark that each slot gives its readers; FOREVER if it has none."""
        self._clocks = [slot for (node, _), slot in slots.items() if node in marked and (node, 0) in entries]
        self.held = bool(self._clocks)
        """True if a step's watermark is held back until records in a step before it have been sent on."""
        self._entry = {node.id: slots[node.id, 0] for _, node in subtopology.inputs}
        self._shared = shared_sinks(step.node for step in steps)
        self._ways = {
            node: tuple(step for step, sources in zip(steps, reached, strict=True) if node in sources)
            for node in self._entry
        }
        self._asked = {method for step in steps for method in step.asked}
        if any(step.writes and step.node.watermark is not None for step in steps):
            self._asked.add("advance")
        self._calling = tuple(step.operator for step in steps if "collect" in step.asked)

    def run(self, source: int, records: list[Record[Any, Any]], now: int, origin: Origin) -> list[Outgoing]:
        """Walk records of one source through all steps it reaches."""
        slots: list[Records | None] = [None] * self._width
        slots[self._entry[source]] = records
        return self._walk(self._ways[source], slots, now, origin, None)

    def tick(self, now: int, origin: Origin) -> list[Outgoing]:
        """Call `tick` of the steps that have it, and walk the results."""
        return self._ask(OperatorCall("tick", (now,)), now, origin)

    def advance(self, time: int, offset: int, now: int, origin: Origin) -> list[Outgoing]:
        """Advance the watermark of the steps that have one, and walk the results.

        Each step advances as far as the steps before it allow. `offset` is that of the record that advanced the
        watermark, -1 if it was not a record.
        """
        for slot in self._clocks:
            self._times[slot] = time
        self.held = False
        return self._ask(OperatorCall("advance", (time, offset, now)), now, origin)

    def resume(self, time: int) -> None:
        """Set the watermark that the steps had before they were rebuilt, without calling them."""
        for slot in self._clocks:
            self._times[slot] = time
        self.held = False
        for step in self._steps:
            self._reach(step)
            if not step.writes:
                self._pass_on(step)

    def collect(self, now: int, limit: int | None, origin: Origin) -> list[Outgoing]:
        """Walk the results of asynchronous calls, at most `limit` per step."""
        return self._ask(OperatorCall("collect", (now, limit)), now, origin)

    def before_commit(self, now: int, origin: Origin) -> list[Outgoing]:
        """Walk the results that wait for the commit."""
        return self._ask(OperatorCall("before_commit", (now,)), now, origin)

    @property
    def waiting(self) -> int:
        """The number of records that wait in steps for asynchronous calls."""
        return sum(operator.waiting for operator in self._calling)

    @property
    def room(self) -> int | None:
        """The number of records that the steps with calls can take, None without such a step."""
        rooms = (operator.room for operator in self._calling)
        return min((room for room in rooms if room is not None), default=None)

    @property
    def unwritten(self) -> int | None:
        """The offset of the first record that is not in the targets of all steps yet."""
        return min((at for operator in self._calling if (at := operator.unwritten) is not None), default=None)

    def close(self) -> None:
        """Cancel the asynchronous calls of all steps."""
        for operator in self._calling:
            operator.close()

    def time_of(self, node: int) -> int:
        """Return the time of a step with watermarks, such as a repartition: no older record follows."""
        return next(step.time for step in self._steps if step.node.id == node)

    def not_beyond_waiting(self, time: int) -> int:
        """Return the lesser of `time` and the time of the oldest record waiting in any step."""
        waiting = (step.oldest() for step in self._steps if step.oldest is not None)
        return min([time, *(oldest for oldest in waiting if oldest is not None)])

    def _ask(self, question: OperatorCall, now: int, origin: Origin) -> list[Outgoing]:
        if question.method not in self._asked:
            return []
        return self._walk(self._steps, [None] * self._width, now, origin, question)

    def drops(self) -> dict[tuple[str, str], int]:
        """Return the records that operators themselves have dropped so far, by step and reason."""
        # a repartition may have the same name as the step it serves
        counts = [(step.node.name, step.operator.drops) for step in self._steps]
        return summed(*({(name, why): count for why, count in drops.items() if count} for name, drops in counts))

    def lateness(self) -> dict[str, int]:
        """Return how far behind its step's time the latest dropped record was, in ms, by step."""
        ages = [(step.node.name, step.operator.lateness) for step in self._steps]
        return largest(*({name: age} for name, age in ages if age))

    def doubts(self) -> dict[str, str]:
        """Return the warnings about timestamps that steps have assigned, by step."""
        found = ((step.node.name, step.operator.doubt) for step in self._steps)
        return {name: doubt for name, doubt in found if doubt is not None}

    def misses(self) -> dict[str, int]:
        """Return the number of lookups that found no row, by step."""
        counts = [(step.node.name, step.operator.misses) for step in self._steps]
        return summed(*({name: count} for name, count in counts if count))

    def _walk(
        self,
        steps: Sequence[_Step],
        slots: list[Records | None],
        now: int,
        origin: Origin,
        question: OperatorCall | None,
    ) -> list[Outgoing]:
        outgoing: list[Outgoing] = []
        delayed: list[tuple[int, _Step, Records]] = []
        advancing = question is not None and question.method == "advance"
        for step in steps:
            records = merged_inputs(step.taken, slots, tagged=step.node.tagged)
            if step.writes:
                if advancing:
                    self._reach(step)
                if records:
                    group = self._shared.get(step.node.id)
                    if group is None:
                        self._write(step, records, now, origin, outgoing)
                    else:
                        delayed.append((group, step, records))
                continue
            if records:
                self._fill(step, slots, self._call(step, records, now, origin))
            if question is not None and (not advancing or self._reach(step)):
                method = step.asked.get(question.method)
                if method is not None:
                    arguments = (step.time, *question.arguments[1:]) if advancing else question.arguments
                    self._fill(step, slots, self._answer(step, partial(method, *arguments), origin))
            if advancing:
                self._pass_on(step)
        if delayed:
            self._write_shared(delayed, now, origin, outgoing)
        return outgoing

    def _reach(self, step: _Step) -> bool:
        """Advance the time of a step as far as its inputs allow; return whether it advanced."""
        time = min(self._times[slot] for slot in step.inputs)
        if step.time < time < FOREVER:
            step.time = time
            return True
        return False

    def _pass_on(self, step: _Step) -> None:
        """Update the time that the readers of a step's output may reach."""
        if step.node.watermark is None:
            return
        time = step.time - step.node.behind
        oldest = None if step.oldest is None else step.oldest()
        if oldest is not None and oldest < time:
            time = oldest
            self.held = True
        for port in range(step.ports):
            slot = step.output + port
            self._times[slot] = max(self._times[slot], time, -1)

    @staticmethod
    def _fill(step: _Step, slots: list[Records | None], results: Any) -> None:
        if step.ports == 1:
            before = slots[step.output]
            slots[step.output] = before + results if before else results
            return
        for port, records in enumerate(results):
            before = slots[step.output + port]
            slots[step.output + port] = before + records if before else records

    def _call(self, step: _Step, records: Records, now: int, origin: Origin) -> Any:
        try:
            return step.process(records, now)
        except RecordError as error:
            failure = error
        parts: list[Any] = []
        while True:
            self._skip(failure, step, origin)
            parts.append(failure.done)
            records = records[failure.index + 1 :]
            try:
                return concatenated(step.ports, [*parts, step.process(records, now)])
            except RecordError as error:
                failure = error

    def _answer(self, step: _Step, answer: Callable[[], Any], origin: Origin) -> Any:
        """Return the results of a call, without the records that failed.

        A record that failed is gone when the step is called again.
        """
        parts: list[Any] = []
        while True:
            try:
                return concatenated(step.ports, [*parts, answer()])
            except RecordError as error:
                self._skip(error, step, origin)
                parts.append(error.done)

    def _skip(self, error: RecordError, step: _Step, origin: Origin) -> None:
        """Count a record that failed; raise the error under `fail`, or if the store failed instead."""
        if isinstance(error.__cause__, StateError):
            raise error.__cause__  # the store failed, not the record
        topic = step.topics if origin.asked and error.offset >= 0 else origin.topic
        error.at(topic, origin.partition, origin.task)
        if (step.node.policy or self._policy) is ErrorPolicy.FAIL:
            raise error
        self._skips.add(step.node.name, error.counted, error)

    def refuse(self, error: RecordError, origin: Origin) -> None:
        """Count the record of an output that Kafka rejects, or raise the error, by the policy."""
        self._skip(error, next(one for one in self._steps if one.node.name == error.step), origin)

    def _write(self, step: _Step, records: Records, now: int, origin: Origin, outgoing: list[Outgoing]) -> None:
        try:
            written: list[Outgoing] = self._call(step, records, now, origin)
        except Retryable as failure:  # the steps before have processed the records
            raise CommitOutcomeUnknown(f"step {step.node.name!r} cannot write now: {failure}") from failure
        name = step.node.name
        outgoing += [Outgoing(step.topic or out.topic, out.rows, out.records, name) for out in written]

    def _write_shared(
        self, delayed: list[tuple[int, _Step, Records]], now: int, origin: Origin, outgoing: list[Outgoing]
    ) -> None:
        """Write to sinks that may share a topic in order of offset, so that records interleave."""
        for group in sorted({number for number, _, _ in delayed}):
            members = [(step, records) for number, step, records in delayed if number == group]
            if len(members) == 1:
                self._write(*members[0], now, origin, outgoing)
                continue
            queue = [(record.offset, step, record) for step, records in members for record in records]
            queue.sort(key=by_first)
            start = 0
            for index in range(1, len(queue) + 1):
                if index == len(queue) or queue[index][1] is not queue[start][1]:
                    stretch = [record for _, _, record in queue[start:index]]
                    self._write(queue[start][1], stretch, now, origin, outgoing)
                    start = index
