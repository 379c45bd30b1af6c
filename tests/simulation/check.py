"""What must be true of the records, the stores and the offsets, found out without the engine's help.

Reads the in-memory Kafka's logs and the stores' bytes; the recomputation is a loop over lists. Each problem is a
sentence.
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

from .broker import Broker
from .log import Entry
from .programs import GAP, SEEN, Program, Step, decoded, refused_echo, refused_state
from .tables import STRANGER

__all__ = ["Check"]

Key = tuple[str, int]
SESSION_KEY = windowed_key(tm.utf8, tm.session(gap=f"{GAP}ms"))
Lists = dict[str, list[int]]


def writer_in(entry: Entry) -> tuple[int, int] | None:
    """Where the changelog ended when the writer of a record took the task over, and the group's generation."""
    for name, raw in entry.headers or ():
        if name == "tidemill-writer":
            since, generation = json.loads(raw[1:])
            return since, generation
    return None


def add_to_session(lists: Lists, gap: int, entry: Entry) -> None:
    """Adds a record to the session that it belongs to, which it may make of several."""
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
    """One program's results in one Kafka."""

    def __init__(
        self, broker: Broker, program: Program, plan: Plan, *, exactly_once: bool, compacted: bool = True
    ) -> None:
        """`compacted` is whether changelogs may be: at least once, what then is left of lost commits counts."""
        self._broker = broker
        self._program = program
        self._plan = plan
        self._exactly_once = exactly_once
        self._compacted = compacted
        self._done = False
        self.history: dict[Key, list[Entry]] = {}
        """Committed records of partitions whose beginning is deleted now and then, as far as they were seen."""

    def _committed(self, key: Key) -> list[Entry]:
        """What a reader of committed records sees or, when all is done, will see: markers may be on their way."""
        return self._broker.committed(key, self._broker.partition(key).end if self._done else None)

    # While it goes on

    def opened(self, ready: Ready) -> list[str]:
        """What is wrong with a task that is about to run."""
        part = self._plan.part(ready.task)
        step = self._step(part)
        found = self._content(part, step, ready.stores)
        expected = self._fold(step, ready.task.partition, ready.offsets)
        return [f"task {ready.task} opened: {text}" for text in self._compare(step, found, expected)]

    def remember(self) -> None:
        """Looks at the partitions whose records are deleted once they are processed."""
        for step in self._program.steps:
            for topic in step.reads:
                for number in range(len(self._broker.topics[topic])):
                    seen = self.history.setdefault((topic, number), [])
                    after = seen[-1].offset if seen else -1
                    log = self._broker.partition((topic, number))
                    seen.extend(log.read(max(after + 1, log.begin), log.stable, committed=True))

    # In the end

    def drained(self) -> bool:
        """True when every input record is processed and all is committed and settled.

        A program that counts by the wall clock always has something open.
        """
        busy = [one for one in self._broker.transactions.open() if one.name != STRANGER] or self._broker.group.pending
        return not (busy and not self._program.beats) and self.offsets_reached()

    def offsets_reached(self) -> bool:
        """True when the group's offsets are those of the ends of all inputs, markers and aborted records included."""
        for step in self._program.steps:
            for key in self._keys(step):
                offset = self._broker.group.offsets.get(key, (-1, ""))[0]
                if offset < self._broker.partition(key).end:
                    return False
        return True

    def results(self, stores: Mapping[TaskId, Mapping[str, Store]]) -> list[str]:
        """What is wrong when all is done; `stores` are those of all tasks."""
        self._done = True
        self.remember()
        found: list[str] = []
        for step in self._program.steps:
            found += self._sessions(step) if step.gap else self._outputs(step)
        found += self._beats()
        found += self._echoes()
        for task in self._plan.tasks():
            part = self._plan.part(task)
            step = self._step(part)
            offsets = {key: self._broker.group.offsets[key][0] for key in part.task_inputs(task.partition)}
            expected = self._fold(step, task.partition, offsets)
            logged = self._logged(part, step, task.partition)
            found += [f"changelog of {task}: {text}" for text in self._compare(step, logged, expected)]
            if task in stores:
                kept = self._content(part, step, stores[task])
                found += [f"store of {task}: {text}" for text in self._compare(step, kept, expected)]
            else:
                found.append(f"nobody runs {task}")
        return found

    def rated(self, written: set[tuple[str, int | None]]) -> list[str]:
        """What is wrong with what was looked up in a global table that had these rows."""
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
        """The table that the outputs of a step with sessions amount to."""
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
        """Whether Kafka refuses a record of a program that echoes, for what it is."""
        if value is None:
            return False
        if topic == self._program.echo:
            return refused_echo(tm.int64.decode(value))
        part = self._plan.parts[0]
        step = self._step(part)
        if topic != part.changelogs[step.store]:
            return False
        return any(
            refused_state(one) for lists in self._decoded(part, step, [(key or b"", value)]).values() for one in lists
        )

    def _counts(self, one: int) -> bool:
        """Whether an input record counts; one that leads to state that is refused is passed over."""
        return not (self._program.echo and refused_state(one))

    def _echoes(self) -> Iterator[str]:
        """All that is not refused is written, and nothing else is lost with what is."""
        topic = self._program.echo
        for number in range(len(self._broker.topics[topic]) if topic else 0):
            read = [tm.int64.decode(entry.value or b"") for entry in self.history[self._program.inputs[0], number]]
            wanted = [one for one in read if self._counts(one) and not refused_echo(one)]
            found = [tm.int64.decode(entry.value or b"") for entry in self._committed((topic, number))]
            if found != wanted if self._exactly_once else not set(wanted) <= set(found):
                yield f"{topic}, partition {number}: {found} was written of {wanted}"

    def _beats(self) -> Iterator[str]:
        """A process that lost its task without knowing would repeat a count."""
        if not (self._program.beats and self._exactly_once):
            return
        counts: dict[bytes, list[int]] = {}
        for number in range(len(self._broker.topics[self._program.beats])):
            for entry in self._committed((self._program.beats, number)):
                counts.setdefault(entry.key or b"", []).append(tm.int64.decode(entry.value or b""))
        for key, found in counts.items():
            if found != list(range(1, len(found) + 1)):
                yield f"{self._program.beats}, {key.decode()}: {found}"

    def _fold(self, step: Step, number: int, offsets: Mapping[Key, int]) -> Lists:
        """What a step's store must hold when its inputs are processed up to these offsets."""
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

    def _content(self, part: SubTopology, step: Step, stores: Mapping[str, Store]) -> Lists:
        state = next(state for state in part.stores if state.spec.name == step.store)
        return self._decoded(part, step, stores[state.spec.kind].scan(step.store, b"", None))

    def _logged(self, part: SubTopology, step: Step, number: int) -> Lists:
        """What a changelog holds, less what was written by somebody who was not the owner any more."""
        rows: dict[bytes, bytes] = {}
        entries = self._committed((part.changelogs[step.store], number))
        writers = {writer for entry in entries if (writer := writer_in(entry)) is not None}
        for entry in entries:
            mine = writer_in(entry)
            if mine is not None and any(mine < other and other[0] <= entry.offset for other in writers):
                continue
            if entry.value is None:
                rows.pop(entry.key or b"", None)
            else:
                rows[entry.key or b""] = entry.value
        return self._decoded(part, step, rows.items())

    def _decoded(self, part: SubTopology, step: Step, rows: Iterable[tuple[bytes, bytes]]) -> Lists:
        state = next(state for state in part.stores if state.spec.name == step.store)
        view = state.view
        entries = [(state.codec.decode_key(key), state.codec.decode_value(unframe(value))) for key, value in rows]
        return {str(view.from_key(key)): view.from_value(value) for key, value in entries if view.visible(key)}

    def _keys(self, step: Step) -> list[Key]:
        return [(topic, number) for topic in step.reads for number in range(len(self._broker.topics[topic]))]

    def _step(self, part: SubTopology) -> Step:
        names = {state.spec.name for state in part.stores}
        return next(step for step in self._program.steps if step.store in names)
