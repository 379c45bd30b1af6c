"""Hands the inputs of an application over to its shadow: the command's side.

    both answer ─▶ the new version keeps up ─▶ it is held ─▶ the old one has read as far, and is held: at H
    ─▶ the new one runs to H, both empty their repartition topics ─▶ both are held
    ─▶ both commit that they stand still ─▶ one transaction: the old one is retired, the new one promoted

If anything goes wrong before the transaction, it is undone, and tried again until there is no time left. If the
command is killed, tasks that are held go on by themselves; those that stand still wait for another command, which finds
in the committed offsets what has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from secrets import randbits
from typing import Protocol

from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import CommitOutcomeUnknown, ConfigError, Fatal, Fenced, Retryable
from ..failpoints import hit
from ..savepoints.creation import GroupOffsets, PartitionEnds
from ..savepoints.cut import Broken, Complete, Incomplete
from ..snapshots.manifest import new_attempt
from ..snapshots.storage import Storage, StorageError
from .handover import (
    Pair,
    Stage,
    drained,
    inputs_of,
    refuse_different_inputs,
    refuse_reports,
    repartitions_of,
    stage_of,
    stood,
    switched,
    undone,
)
from .processes import CutoverFailed, Processes

__all__ = ["Cutover", "GroupTransactions", "Switched"]

POLL_MS = 20
WAIT_MS = 200
AGAIN_MS = 1_000
LOOK_MS = 20_000
"""How long the new version is held at the most, until the old one has read as far."""
HOLD_MS = 5_000
"""How long each other step may take, before the old version goes on."""
NEAR_MS = 2_000
"""The new version keeps up if it is where the old one was so long ago."""
SAY_MS = 1_000
UNDO_MS = 120_000
"""How long to wait, before it is undone, for the transaction of a process that stands still until others remove it."""
ANSWER_MS = 15_000
"""How long to wait for the new version to say that it goes on."""


class GroupTransactions(Protocol):
    """Commits the offsets of both groups in one transaction."""

    def take_over(self) -> None: ...
    def commit(self, groups: Mapping[str, Mapping[TopicPartition, tuple[int, str]]]) -> None: ...


@dataclass(frozen=True)
class Switched:
    """What has been done."""

    done: bool
    """Whether the new version has taken over: now, or in an earlier call."""
    earlier: bool = False
    undone: bool = False
    """Whether an interrupted cut-over was given up."""
    at: int = 0
    """When, in ms; 0 if it is not known."""
    pause_ms: int = 0
    """From when the old version was asked to stop until the new one went on."""
    answered: bool = True
    """Whether all processes of the new version have said that they go on."""
    positions: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    """The first input of each partition that is the new version's."""

    @property
    def ordered(self) -> list[tuple[TopicPartition, int]]:
        """The positions in order."""
        return sorted(self.positions.items())


class Cutover:
    """The cut-over between two applications."""

    def __init__(
        self,
        storage: Storage,
        old: str,
        new: str,
        groups: GroupOffsets,
        topics: PartitionEnds,
        transaction: GroupTransactions,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        """Set it up; `say` shows the progress as a line."""
        self._storage = storage
        self._names = old, new
        self._groups = groups
        self._topics = topics
        self._transaction = transaction
        self._clock = clock
        self._say = say
        self._both: tuple[Processes, ...] = ()
        self._attempt = ""

    def stage(self) -> Stage:
        """Return how far it is. Raises ConfigError if there is no such pair."""
        old, new = self._names
        stage = stage_of(old, new, Pair(self._groups.committed(old), self._groups.committed(new)))
        if stage == "other":
            raise ConfigError(
                f"{new} is not the shadow of {old}, or one of them has been cut over to another application. `tidemill "
                f"savepoint fork {old} NAME --as {new} --follow` makes a shadow"
            )
        return stage

    def undo(self) -> bool:
        """Have tasks that stand still go on as before; return whether there were any.

        Earlier commands cannot go on after that.
        """
        self._take_over()
        return self._undo()

    def check(self, timeout_ms: int) -> None:
        """Check that the two can be cut over.

        Raises ConfigError if they cannot, Fatal if they do not answer in time.
        """
        deadline = self._clock.monotonic() + timeout_ms
        self._begin()
        try:
            self._gather(deadline)
        except (CutoverFailed, StorageError) as failure:
            raise Fatal(str(failure)) from failure
        finally:
            self._end()

    def run(self, timeout_ms: int) -> Switched:
        """Switch, or finish what an interrupted command has begun.

        Raises ConfigError if the two cannot be cut over, Fatal if it takes longer than `timeout_ms`.
        """
        deadline = self._clock.monotonic() + timeout_ms
        self._take_over()
        if self.stage() == "switched":
            return Switched(done=True, earlier=True)
        if self._undo():
            self._say("an interrupted cut-over was undone")
        while True:
            try:
                return self._try(deadline)
            except KeyboardInterrupt:
                self._undo()
                raise
            except (CutoverFailed, Retryable, StorageError) as failure:
                self._undo()
                if self._clock.monotonic() + AGAIN_MS >= deadline:
                    self._clock.sleep(AGAIN_MS)
                    self._undo()  # a process may have begun to stand still after it was undone
                    old, new = self._names
                    raise Fatal(
                        f"there was no cut-over from {old} to {new} within {timeout_ms / 1000:g} s: {failure}. Both go "
                        "on as before; --timeout gives it longer"
                    ) from failure
                self._say(f"{failure}; trying again")
                self._clock.sleep(AGAIN_MS)

    # The steps

    def _take_over(self) -> None:
        """End the work of earlier commands, so that processes do not wait for them."""
        self._transaction.take_over()
        self._begin()
        for each in self._both:
            with suppress(StorageError):
                each.clear_earlier()

    def _try(self, deadline: int) -> Switched:
        self._begin()
        try:
            old, new = self._gather(deadline)
            self._keep_up(new, deadline)
            return self._switch(old, new)
        finally:
            self._end()

    def _begin(self) -> None:
        attempt = new_attempt(self._clock.now(), randbits(48))
        old, new = self._names
        self._attempt = attempt
        self._both = tuple(
            Processes(self._storage, application, other, attempt, self._groups, self._clock)
            for application, other in ((old, new), (new, old))
        )

    def _gather(self, deadline: int) -> tuple[Processes, Processes]:
        """Have all processes of both say which tasks they run, and refuse what cannot be cut over."""
        while True:
            found = [each.gather() for each in self._both]
            waiting = next((one for one in found if isinstance(one, Incomplete)), None)
            if waiting is None:
                break
            self._wait(waiting, deadline)
        for each in self._both:
            refuse_reports(each.application, each.gathered.values())
        old, new = self._both
        refuse_different_inputs(old.application, new.application, old.parts, new.parts)
        return old, new

    def _keep_up(self, new: Processes, deadline: int) -> None:
        """Wait until the new version is where the old one was a moment ago."""
        parts = self._both[0].parts
        topics = {topic for part in parts for topic in part.inputs} - repartitions_of(parts)
        while True:
            began = self._clock.monotonic()
            committed = self._groups.committed(self._names[0])
            wanted = {key: at for key, (at, _) in committed.items() if key[0] in topics}
            while isinstance(found := drained(wanted, {}, self._groups.committed(new.application)), Incomplete):
                self._wait(Incomplete(f"{new.application} is {found.why}"), deadline)
            if self._clock.monotonic() - began <= NEAR_MS:
                return

    def _switch(self, old: Processes, new: Processes) -> Switched:
        """Bring both to the same position, and change their roles."""
        new.hold(LOOK_MS)
        self._say(f"holding {new.application}")
        late = self._clock.monotonic() + LOOK_MS
        self._until(lambda: new.answered("held"), late)
        reached = inputs_of(new.offsets(), repartitions_of(new.parts))
        self._until(lambda: drained(reached, {}, self._groups.committed(old.application)), late)
        hit("during-cutover")
        began = self._clock.monotonic()
        old.hold(HOLD_MS)
        self._until(lambda: old.answered("held"), began + HOLD_MS)
        inputs = inputs_of(old.offsets(), repartitions_of(old.parts))
        if inputs.keys() != reached.keys() or any(reached[key] > at for key, at in inputs.items()):
            raise CutoverFailed(f"{old.application} and {new.application} do not read the same partitions now")
        self._say(f"{old.application} is held; {new.application} reads up to the same inputs")
        hit("during-cutover")
        self._drain(inputs)
        hit("during-cutover")
        held = [each.offsets() for each in self._both]
        for each in self._both:
            each.stand()
        self._until(lambda: self._stand_still(held), self._clock.monotonic() + HOLD_MS)
        hit("during-cutover")
        at = self._clock.now()
        self._change(at)
        hit("during-cutover")
        answered = False
        with suppress(StorageError, Retryable, CutoverFailed):
            self._until(lambda: new.answered("done"), self._clock.monotonic() + ANSWER_MS)
            answered = True
        return Switched(done=True, at=at, pause_ms=self._clock.monotonic() - began, answered=answered, positions=inputs)

    def _drain(self, inputs: Mapping[TopicPartition, int]) -> None:
        """Have both held where they have read these inputs and emptied their topics."""
        late = self._clock.monotonic() + HOLD_MS
        while True:
            for each in self._both:
                each.run(HOLD_MS, inputs)
            for each in self._both:
                self._until(partial(self._drained, each, inputs), late)
            for each in self._both:
                each.hold(HOLD_MS, inputs)
            for each in self._both:
                self._until(partial(each.answered, "held"), late)
            # A process may have written to the topic of one that was held before it.
            if all(isinstance(self._drained(each, inputs), Complete) for each in self._both):
                return

    def _drained(self, each: Processes, inputs: Mapping[TopicPartition, int]) -> Complete | Incomplete:
        committed = self._groups.committed(each.application)
        repartitions = repartitions_of(each.parts)
        ends = self._topics.ends([key for key in committed if key[0] in repartitions], committed=False)
        found = drained(inputs, ends, committed)
        each.check()
        return found if isinstance(found, Complete) else Incomplete(f"{each.application} is {found.why}")

    def _stand_still(self, held: Iterable[Mapping[TopicPartition, int]]) -> Complete | Incomplete | Broken:
        """Return whether all tasks of both have committed that they stand still."""
        for each, offsets in zip(self._both, held, strict=True):
            repartitions = repartitions_of(each.parts)
            ends = self._topics.ends([key for key in offsets if key[0] in repartitions], committed=False)
            found = stood(offsets, self._groups.committed(each.application), self._attempt, ends)
            if not isinstance(found, Complete):
                each.check()
                return found
        return Complete({})

    def _change(self, at: int) -> None:
        """Change the roles of both, in one transaction."""
        found = self._found(ANSWER_MS)
        old, new = self._names
        try:
            self._transaction.commit({old: switched(found.old, at), new: switched(found.new, at)})
        except Fenced as failure:
            raise Fatal(f"another command for {old} and {new} has taken over; see what it says") from failure
        except CommitOutcomeUnknown as failure:
            raise Fatal(
                f"{failure}. Call `tidemill cutover {old} {new}` again: it finds out, and goes on from there"
            ) from failure

    # Helpers

    def _found(self, patience_ms: int) -> Pair:
        """Return the committed offsets when no transaction with any is open."""
        began, (old, new) = self._clock.monotonic(), self._names
        while True:
            try:
                return Pair(self._groups.committed(old, stable=True), self._groups.committed(new, stable=True))
            except Retryable as failure:
                waited = self._clock.monotonic() - began
                if waited >= patience_ms:
                    raise
                if waited >= SAY_MS:
                    self._say(f"waiting: {failure}")
                self._clock.sleep(POLL_MS)

    def _undo(self) -> bool:
        """Have tasks that stand still go on as before."""
        found = self._found(UNDO_MS)
        back = {name: undone(committed) for name, committed in zip(self._names, (found.old, found.new), strict=True)}
        self._transaction.commit(back)
        return any(back.values())

    def _until(self, look: Callable[[], Complete | Incomplete | Broken], deadline: int) -> None:
        """Wait until something is so. Raises CutoverFailed if it cannot be or takes too long."""
        while True:
            found = look()
            match found:
                case Complete():
                    return
                case Broken(why):
                    raise CutoverFailed(why)
                case Incomplete(why):
                    if self._clock.monotonic() >= deadline:
                        raise CutoverFailed(f"it takes too long: {why}")
            self._pause(POLL_MS)

    def _wait(self, found: Incomplete, deadline: int) -> None:
        """Wait for something that no one is held for."""
        if self._clock.monotonic() >= deadline:
            raise CutoverFailed(found.why)
        self._say(f"waiting: {found.why}")
        self._pause(WAIT_MS)

    def _pause(self, ms: int) -> None:
        for each in self._both:
            each.beat()
        self._clock.sleep(ms)

    def _end(self) -> None:
        """Let the processes go on, as far as they do not stand still."""
        for each in self._both:
            with suppress(StorageError):
                each.end()
