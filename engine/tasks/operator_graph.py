"""The steps of one task, compiled to flat lists, and one walk of records through them.

Every output port of every node is a numbered slot; a walk fills slots in topological order, so that a batch passes each
step once, as a list. Inputs that meet are put back in order by the offset of the source record that caused them. Which
records come, and when, is the task's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeAlias

from ...operators.errors import RecordError
from ...operators.graph.calls import Calls
from ...operators.graph.input_copies import copying
from ...operators.graph.operator import Operator
from ...operators.graph.topology import Caches, Node, Repartition, Rows, Sink
from ...operators.graph.value_checks import trying
from ...operators.policy import ErrorPolicy
from ...operators.record import Outgoing, Record
from ...state.store import StateError
from ..counters import largest, summed
from ..dropped_records import Skips
from ..plan.plan import SubTopology
from .merging import gathered, in_one
from .shared_sinks import shared_sinks

__all__ = ["Graph", "Origin"]

Records = list[Any]
by_first = itemgetter(0)
FOREVER = 1 << 62
Asked: TypeAlias = Literal["tick", "advance", "collect"]


class Question(NamedTuple):
    """What a step is asked in a walk, beside its records.

    What the time means to it, by the wall clock or by watermarks, or what has come of the calls it makes.
    """

    method: Asked
    arguments: tuple[int | None, ...]


class Origin(NamedTuple):
    """Where the records of a walk come from, for messages."""

    task: str
    topic: str
    """The input, or in parentheses what a walk that has no input begins with."""
    partition: int
    asked: bool = False
    """True when steps were asked, so that a record may come from any input of its step."""


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
        "time",
        "topic",
        "topics",
    )

    def __init__(
        self, node: Node, operator: Operator, inputs: tuple[int, ...], output: int, topic: str | None, topics: str
    ) -> None:
        self.node = node
        self.operator, self.process = operator, copying(node, trying(node, operator.process))
        self.inputs, self.output = inputs, output
        self.ports = len(node.ports)
        self.topic = topic
        self.topics = topics
        """The inputs that its records come from."""
        asked: dict[Asked, Callable[..., Any]] = {
            "tick": operator.tick,
            "advance": operator.advance,
            "collect": operator.collect,
        }
        if node.watermark is None:
            del asked["advance"]
        self.asked = {method: call for method, call in asked.items() if operator.handles(method)}
        """The calls that the operator gets in a walk, beside its records."""
        self.oldest = operator.oldest_waiting if operator.handles("oldest_waiting") else None
        self.time = -1
        """What it was last told the time is, where it goes by watermarks."""

    @property
    def writes(self) -> bool:
        return isinstance(self.node, (Sink, Repartition))


class Graph:
    """The operators of one task.

    Where steps go by watermarks, each has a time of its own: that of the steps it reads from, less what their results
    may be behind, and not beyond the oldest record that waits in one of them.
    """

    def __init__(
        self,
        part: SubTopology,
        caches: Caches,
        policy: ErrorPolicy,
        calls: Calls,
        global_tables: Mapping[str, Rows],
        partition: int,
        skips: Skips,
    ) -> None:
        self._policy = policy
        self._skips = skips
        slots: dict[tuple[int, int], int] = {}
        for _, node in part.inputs:
            slots.setdefault((node.id, 0), len(slots))
        entries = frozenset(slots)
        steps: list[_Step] = []
        reached: list[frozenset[int]] = []
        origins: dict[int, frozenset[int]] = {slot: frozenset((node,)) for (node, _), slot in slots.items()}
        for node in part.nodes:
            inputs = tuple(slots[edge.node, edge.port] for edge in node.inputs)
            output = len(slots)
            writes = isinstance(node, (Sink, Repartition))
            sources = frozenset[int]().union(*(origins[slot] for slot in inputs))
            if not writes:
                for port in range(len(node.ports)):
                    slots[node.id, port] = output + port
                    origins[output + port] = sources
            mine: dict[str, Any] = {state.spec.name: caches[state.spec.name] for state in node.stores}
            mine.update((name, global_tables[name]) for name in node.reads)
            operator = node.build(mine)
            operator.attach(calls)
            operator.placed(partition)
            topics = " or ".join([topic for topic, source in part.inputs if source.id in sources])
            steps.append(_Step(node, operator, inputs, output, part.writes.get(node.id), topics))
            reached.append(sources)
        self._steps = steps
        self._width = len(slots)
        marked = {node.id for node in (*part.nodes, *(node for _, node in part.inputs)) if node.watermark is not None}
        self._times = [-1 if node in marked else FOREVER for node, _ in slots]
        """What the readers of a slot may be told the time is; no bound where it is not told."""
        self._clocks = [slot for (node, _), slot in slots.items() if node in marked and (node, 0) in entries]
        self.held = bool(self._clocks)
        """True when steps wait to be told the time, until records before them have been sent on."""
        self._entry = {node.id: slots[node.id, 0] for _, node in part.inputs}
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
        """Walks records of one source through all steps it reaches."""
        slots: list[Records | None] = [None] * self._width
        slots[self._entry[source]] = records
        return self._walk(self._ways[source], slots, now, origin, None)

    def tick(self, now: int, origin: Origin) -> list[Outgoing]:
        """Tells the steps that want to know what time it is, and walks what they answer."""
        return self._ask(Question("tick", (now,)), now, origin)

    def advance(self, time: int, offset: int, now: int, origin: Origin) -> list[Outgoing]:
        """Moves the time of the steps that have it from watermarks, and walks what they answer.

        Each is told as far as what is before it allows. `offset` is that of the record that moved it, -1 when none did.
        """
        for slot in self._clocks:
            self._times[slot] = time
        self.held = False
        return self._ask(Question("advance", (time, offset, now)), now, origin)

    def resume(self, time: int) -> None:
        """Takes up a time that the steps were told before they were rebuilt: they have done what it means to them."""
        for slot in self._clocks:
            self._times[slot] = time
        self.held = False
        for step in self._steps:
            self._reach(step)
            if not step.writes:
                self._pass_on(step)

    def collect(self, now: int, limit: int | None, origin: Origin) -> list[Outgoing]:
        """Walks what has come of the calls that steps have made, at most `limit` answers of a step."""
        return self._ask(Question("collect", (now, limit)), now, origin)

    @property
    def waiting(self) -> int:
        """How many records wait in steps for the answers to calls."""
        return sum(operator.waiting for operator in self._calling)

    @property
    def room(self) -> int | None:
        """How many records the steps that make calls can take, None when there is no such step."""
        rooms = (operator.room for operator in self._calling)
        return min((room for room in rooms if room is not None), default=None)

    def close(self) -> None:
        """Cancels the calls that steps have made."""
        for operator in self._calling:
            operator.close()

    def time_of(self, node: int) -> int:
        """The time of a step that goes by watermarks, such as a repartition's: nothing older comes to it any more."""
        return next(step.time for step in self._steps if step.node.id == node)

    def not_beyond_waiting(self, time: int) -> int:
        """A time, or that of the oldest record which waits in any step when that is older."""
        waiting = (step.oldest() for step in self._steps if step.oldest is not None)
        return min([time, *(oldest for oldest in waiting if oldest is not None)])

    def _ask(self, question: Question, now: int, origin: Origin) -> list[Outgoing]:
        if question.method not in self._asked:
            return []
        return self._walk(self._steps, [None] * self._width, now, origin, question)

    def drops(self) -> dict[tuple[str, str], int]:
        """Records that operators have dropped by themselves so far, by step and reason."""
        # a repartition may share the name of the step it serves
        counts = [(step.node.name, step.operator.drops) for step in self._steps]
        return summed(*({(name, why): count for why, count in drops.items() if count} for name, drops in counts))

    def lateness(self) -> dict[str, int]:
        """How far, in ms, records that were dropped as late were behind their step's time, the latest of each step."""
        ages = [(step.node.name, step.operator.lateness) for step in self._steps]
        return largest(*({name: age} for name, age in ages if age))

    def doubts(self) -> dict[str, str]:
        """What is to be said of times that steps have given to records, by step."""
        found = ((step.node.name, step.operator.doubt) for step in self._steps)
        return {name: doubt for name, doubt in found if doubt is not None}

    def misses(self) -> dict[str, int]:
        """Records that looked for a row and found none, by step."""
        counts = [(step.node.name, step.operator.misses) for step in self._steps]
        return summed(*({name: count} for name, count in counts if count))

    def _walk(
        self,
        steps: Sequence[_Step],
        slots: list[Records | None],
        now: int,
        origin: Origin,
        question: Question | None,
    ) -> list[Outgoing]:
        outgoing: list[Outgoing] = []
        delayed: list[tuple[int, _Step, Records]] = []
        advancing = question is not None and question.method == "advance"
        for step in steps:
            records = gathered(step.inputs, slots, tagged=step.node.tagged)
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
        """Moves the time of a step as far as its inputs have come; whether it moves on."""
        time = min(self._times[slot] for slot in step.inputs)
        if step.time < time < FOREVER:
            step.time = time
            return True
        return False

    def _pass_on(self, step: _Step) -> None:
        """Lets those who read from a step know how far time may have come for them."""
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
                return in_one(step.ports, [*parts, step.process(records, now)])
            except RecordError as error:
                failure = error

    def _answer(self, step: _Step, answer: Callable[[], Any], origin: Origin) -> Any:
        """The answer to a question. What failed meanwhile is not there any more when the step is asked again."""
        parts: list[Any] = []
        while True:
            try:
                return in_one(step.ports, [*parts, answer()])
            except RecordError as error:
                self._skip(error, step, origin)
                parts.append(error.done)

    def _skip(self, error: RecordError, step: _Step, origin: Origin) -> None:
        """Counts a record that failed; raises when the policy is to stop, or when it is not the record that failed."""
        if isinstance(error.__cause__, StateError):
            raise error.__cause__  # the store failed, not the record
        topic = step.topics if origin.asked and error.offset >= 0 else origin.topic
        error.at(topic, origin.partition, origin.task)
        if (step.node.policy or self._policy) is ErrorPolicy.FAIL:
            raise error
        self._skips.add(step.node.name, error.counted, error)

    def refuse(self, error: RecordError, origin: Origin) -> None:
        """What a step has written is refused: counts its record, or raises the error, by the step's policy."""
        self._skip(error, next(one for one in self._steps if one.node.name == error.step), origin)

    def _write(self, step: _Step, records: Records, now: int, origin: Origin, outgoing: list[Outgoing]) -> None:
        written: list[Outgoing] = self._call(step, records, now, origin)
        name = step.node.name
        outgoing += [Outgoing(step.topic or out.topic, out.rows, out.records, name) for out in written]

    def _write_shared(
        self, delayed: list[tuple[int, _Step, Records]], now: int, origin: Origin, outgoing: list[Outgoing]
    ) -> None:
        """Sinks that may write the same topic take turns by offset, so that their records interleave as they came."""
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
