"""Check records, stores and offsets of a program, without using the engine.

Reads the logs of the in-memory Kafka and the bytes of the stores; expected results are computed by loops over lists.
Each problem is described by a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

import tidemill as tm
from tidemill.engine.ids import TaskId
from tidemill.engine.plan.plan import Plan, SubTopology
from tidemill.engine.restore.opening import Ready
from tidemill.operators.serdes.keys import windowed_key
from tidemill.state.store import Store, unframe
from tidemill.state.topic_partition import TopicPartition

from .broker import Broker
from .log import Entry
from .programs import GAP, SEEN, Program, Step, decoded, refused_echo, refused_state
from .tables import STRANGER

__all__ = ["Check"]

SESSION_KEY = windowed_key(tm.utf8, tm.session(gap=f"{GAP}ms"))
Lists = dict[str, list[int]]


def writer_in(entry: Entry) -> tuple[int, int] | None:
    """Return the end of the changelog when the writer of a record opened the task, and the group generation."""
    for name, raw in entry.headers or ():
        if name == "tidemill-writer":
            since, generation = json.loads(raw[1:])
            return since, generation
    return None


def add_to_session(lists: Lists, gap: int, entry: Entry) -> None:
    """Add a record to its session, which may merge several sessions."""
    name, one = tm.utf8.decode(entry.key or b""), tm.int64.decode(entry.value or b"")
    start = end = entry.timestamp
    ones = [one]
    for other in list(lists):
        key, first, last = other.removeprefix("Windowed(key='").replace("'", "").replace(")", "").split(", ")
        began, ended = int(first.removeprefix("start=")), int(last.removeprefix("end="))
        if key == name and began - gap <= entry.timestamp <= ended + gap:
            start, end = min(start, began), max(end, ended)
            ones += lists.pop(other)
    lists[str(tm.Windowed(name, start, end))] = sorted(ones)


class Check:
    """Checks the results of a program in an in-memory Kafka."""

    def __init__(
        self, broker: Broker, program: Program, plan: Plan, *, exactly_once: bool, compacted: bool = True
    ) -> None:
        """`compacted`: changelogs may be compacted. With at-least-once, the remains of lost commits then count."""
        self._broker = broker
        self._program = program
        self._plan = plan
        self._exactly_once = exactly_once
        self._compacted = compacted
        self._done = False
        self.history: dict[TopicPartition, list[Entry]] = {}
        """Committed records seen so far of partitions whose processed records are deleted."""

    def _committed(self, key: TopicPartition) -> list[Entry]:
        """Return the committed records, including those whose markers have not arrived yet."""
        return self._broker.committed(key, self._broker.partition(key).end if self._done else None)

    # During the schedule

    def opened(self, ready: Ready) -> list[str]:
        """Return the problems of a task that is about to run."""
        subtopology = self._plan.subtopology(ready.task)
        step = self._step(subtopology)
        found = self._content(subtopology, step, ready.stores)
        expected = self._fold(step, ready.task.partition, ready.offsets)
        return [f"task {ready.task} opened: {text}" for text in self._compare(step, found, expected)]

    def remember(self) -> None:
        """Remember the records of partitions whose processed records are deleted."""
        for step in self._program.steps:
            for topic in step.reads:
                for number in range(len(self._broker.topics[topic])):
                    seen = self.history.setdefault((topic, number), [])
                    after = seen[-1].offset if seen else -1
                    log = self._broker.partition((topic, number))
                    seen.extend(log.read(max(after + 1, log.begin), log.stable, committed=True))

    # At the end

    def drained(self) -> bool:
        """Return whether all input is processed and committed, and no transaction is open.

        A program that counts by the wall clock always has an open transaction.
        """
        busy = [one for one in self._broker.transactions.open() if one.name != STRANGER] or self._broker.group.pending
        return not (busy and not self._program.beats) and self.offsets_reached()

    def offsets_reached(self) -> bool:
        """Return whether the committed offsets are the ends of all inputs, past markers and aborted records."""
        for step in self._program.steps:
            for key in self._keys(step):
                offset = self._broker.group.offsets.get(key, (-1, ""))[0]
                if offset < self._broker.partition(key).end:
                    return False
        return True

    def results(self, stores: Mapping[TaskId, Mapping[str, Store]]) -> list[str]:
        """Return the problems of the final state; `stores` are those of all tasks."""
        self._done = True
        self.remember()
        found: list[str] = []
        for step in self._program.steps:
            found += self._sessions(step) if step.gap else self._outputs(step)
        found += self._beats()
        found += self._echoes()
        for task in self._plan.tasks():
            subtopology = self._plan.subtopology(task)
            step = self._step(subtopology)
            offsets = {key: self._broker.group.offsets[key][0] for key in subtopology.task_inputs(task.partition)}
            expected = self._fold(step, task.partition, offsets)
            logged = self._logged(subtopology, step, task.partition) if self._plan.changelogs else expected
            found += [f"changelog of {task}: {text}" for text in self._compare(step, logged, expected)]
            if task in stores:
                kept = self._content(subtopology, step, stores[task])
                found += [f"store of {task}: {text}" for text in self._compare(step, kept, expected)]
            else:
                found.append(f"no process runs {task}")
        return found

    def rated(self, written: set[tuple[str, int | None]]) -> list[str]:
        """Return the problems of lookups in a global table that had these rows."""
        topic = self._program.rated
        found: list[tuple[str, int, int | None]] = []
        for number in range(len(self._broker.topics[topic])):
            entries = self._committed((topic, number))
            found += [(tm.utf8.decode(entry.key or b""), *decoded(entry.value or b"")) for entry in entries]
        ones = [one for _, one, _ in found]
        wanted = [tm.int64.decode(entry.value or b"") for key in self._keys(SEEN) for entry in self.history[key]]
        if sorted(ones) != sorted(wanted) if self._exactly_once else set(ones) != set(wanted):
            return [f"{topic}: {sorted(ones)} was written of {sorted(wanted)}"]
        return [
            f"{topic}: {one} found {rate} under {key}, which was never there"
            for key, one, rate in found
            if rate is not None and (key, rate) not in written
        ]

    def _sessions(self, step: Step) -> Iterator[str]:
        """Return the table that results from the outputs of a step with sessions."""
        if not (step.gap and self._exactly_once):
            return
        rows: Lists = {}
        for number in range(len(self._broker.topics[step.writes])):
            for entry in self._committed((step.writes, number)):
                key = str(SESSION_KEY.decode(entry.key or b""))
                if entry.value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = sorted(decoded(entry.value))
        wanted = {
            name: sorted(ones)
            for number in range(len(self._broker.topics[step.reads[0]]))
            for name, ones in self._fold(step, number, {(step.reads[0], number): 1 << 60}).items()
        }
        if rows != wanted:
            yield f"{step.writes}: {rows} was written, not {wanted}"

    def _outputs(self, step: Step) -> Iterator[str]:
        inputs: dict[str, list[int]] = {}
        for key in self._keys(step):
            for entry in self.history[key]:
                one = tm.int64.decode(entry.value or b"")
                if not self._counts(one):
                    continue
                inputs.setdefault(step.key(tm.utf8.decode(entry.key or b""), one), []).append(one)
        written: dict[str, list[list[int]]] = {}
        for number in range(len(self._broker.topics[step.writes])):
            for entry in self._committed((step.writes, number)):
                written.setdefault(tm.utf8.decode(entry.key or b""), []).append(decoded(entry.value or b"[]"))
        for key in sorted(inputs.keys() | written.keys()):
            lists, wanted = written.get(key, []), inputs.get(key, [])
            if not self._exactly_once:
                missing = set(wanted) - {one for so_far in lists for one in so_far}
                if missing:
                    yield f"{step.writes}, {key}: {sorted(missing)} were lost"
                continue
            if step.most:
                full = [wanted[at - at % step.most : at + 1] for at in range(len(wanted))]
                if lists != full:
                    yield f"{step.writes}, {key}: {lists} was written, not {full}"
                continue
            for length, so_far in enumerate(lists, 1):
                if len(so_far) != length or so_far[:-1] != (lists[length - 2] if length > 1 else []):
                    yield f"{step.writes}, {key}: output {length} is {so_far} after {lists[length - 2 : length - 1]}"
                    break
            last = lists[-1] if lists else []
            if sorted(last) != sorted(wanted):
                yield f"{step.writes}, {key}: {last} was written of {wanted}"

    def refused(self, topic: str, key: bytes | None, value: bytes | None) -> bool:
        """Return whether Kafka refuses an output record of a program that echoes its input."""
        if value is None:
            return False
        if topic == self._program.echo:
            return refused_echo(tm.int64.decode(value))
        subtopology = self._plan.subtopologies[0]
        step = self._step(subtopology)
        if topic != subtopology.changelogs.get(step.store):
            return False
        return any(
            refused_state(one)
            for lists in self._decoded(subtopology, step, [(key or b"", value)]).values()
            for one in lists
        )

    def _counts(self, one: int) -> bool:
        """Return whether an input record is included; one that leads to refused state is skipped."""
        return not (self._program.echo and self._plan.changelogs and refused_state(one))

    def _echoes(self) -> Iterator[str]:
        """Check that exactly the refused records are missing from the echoes."""
        topic = self._program.echo
        for number in range(len(self._broker.topics[topic]) if topic else 0):
            read = [tm.int64.decode(entry.value or b"") for entry in self.history[self._program.inputs[0], number]]
            wanted = [one for one in read if self._counts(one) and not refused_echo(one)]
            found = [tm.int64.decode(entry.value or b"") for entry in self._committed((topic, number))]
            if found != wanted if self._exactly_once else not set(wanted) <= set(found):
                yield f"{topic}, partition {number}: {found} was written of {wanted}"

    def _beats(self) -> Iterator[str]:
        """Check that no count is repeated: a zombie would do so."""
        if not (self._program.beats and self._exactly_once):
            return
        counts: dict[bytes, list[int]] = {}
        for number in range(len(self._broker.topics[self._program.beats])):
            for entry in self._committed((self._program.beats, number)):
                counts.setdefault(entry.key or b"", []).append(tm.int64.decode(entry.value or b""))
        for key, found in counts.items():
            if found != list(range(1, len(found) + 1)):
                yield f"{self._program.beats}, {key.decode()}: {found}"

    def _fold(self, step: Step, number: int, offsets: Mapping[TopicPartition, int]) -> Lists:
        """Return the expected contents of a step's store after its inputs are processed up to these offsets."""
        self.remember()
        lists: Lists = {}
        for topic in step.reads:
            for entry in self.history.get((topic, number), ()):
                if not self._counts(tm.int64.decode(entry.value or b"")):
                    continue
                if entry.offset < offsets.get((topic, number), 0) and step.gap:
                    add_to_session(lists, step.gap, entry)
                elif entry.offset < offsets.get((topic, number), 0):
                    rows = lists.setdefault(
                        step.key(tm.utf8.decode(entry.key or b""), tm.int64.decode(entry.value or b"")), []
                    )
                    rows.append(tm.int64.decode(entry.value or b""))
                    if len(rows) == step.most:
                        rows.clear()
        return lists

    def _compare(self, step: Step, found: Lists, expected: Lists) -> Iterator[str]:
        for key in sorted(found.keys() | expected.keys()):
            have, want = found.get(key, []), expected.get(key, [])
            if not self._exactly_once:
                fine = set(want) <= set(have) if self._compacted else set(want) == set(have)
            elif len(step.reads) > 1 or step.gap:
                fine = sorted(have) == sorted(want)
            else:
                fine = have == want
            if not fine:
                yield f"{step.store}[{key}] is {have}, should be {want}"

    def _content(self, subtopology: SubTopology, step: Step, stores: Mapping[str, Store]) -> Lists:
        state = next(state for state in subtopology.stores if state.spec.name == step.store)
        return self._decoded(subtopology, step, stores[state.spec.kind].scan(step.store, b"", None))

    def _logged(self, subtopology: SubTopology, step: Step, number: int) -> Lists:
        """Return the contents of a changelog, without what former owners of the task wrote."""
        rows: dict[bytes, bytes] = {}
        entries = self._committed((subtopology.changelogs[step.store], number))
        writers = {writer for entry in entries if (writer := writer_in(entry)) is not None}
        for entry in entries:
            mine = writer_in(entry)
            if mine is not None and any(mine < other and other[0] <= entry.offset for other in writers):
                continue
            if entry.value is None:
                rows.pop(entry.key or b"", None)
            else:
                rows[entry.key or b""] = entry.value
        return self._decoded(subtopology, step, rows.items())

    def _decoded(self, subtopology: SubTopology, step: Step, rows: Iterable[tuple[bytes, bytes]]) -> Lists:
        state = next(state for state in subtopology.stores if state.spec.name == step.store)
        view = state.view
        entries = [(state.codec.decode_key(key), state.codec.decode_value(unframe(value))) for key, value in rows]
        return {str(view.from_key(key)): view.from_value(value) for key, value in entries if view.visible(key)}

    def _keys(self, step: Step) -> list[TopicPartition]:
        return [(topic, number) for topic in step.reads for number in range(len(self._broker.topics[topic]))]

    def _step(self, subtopology: SubTopology) -> Step:
        names = {state.spec.name for state in subtopology.stores}
        return next(step for step in self._program.steps if step.store in names)
