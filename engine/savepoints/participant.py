"""The thread that takes part in savepoints and cut-overs for a process of the application.

It reads the messages of commands, and does what `participation.py` decides. While nothing is asked for, it looks every
`LOOK_MS`. The loop's thread tells which tasks run, and holds them when asked to (`hold.py`).

Of tasks that stand still in a cut-over, it reads the committed offsets until they say how the cut-over has ended. No
message counts for that.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...state.store import StateError, Store
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import Fenced, Retryable
from ..failpoints import hit
from ..ids import TaskId
from ..plan.plan import Plan
from ..plan.shadow_topics import effects_of, waiting_batches_of
from ..reminder import Reminder
from ..snapshots.bandwidth import Bandwidth
from ..snapshots.savepoint import SavepointFile, file_path
from ..snapshots.storage import Stopped, Storage, StorageError
from ..snapshots.taking import Overtaken, Subject, TaskSnapshots
from ..tasks.roles import role_of, why_standing
from ..threads import Thread
from .description import described
from .histories import histories_of
from .hold import HeldTask, Hold, HoldableTask
from .mailbox import Mailbox
from .member import Member
from .messages import Command, InputOffset, Report
from .participation import Action, Participation, ParticipationPhase, Seen, decide, failed
from .record_files import MemoryEntry, RecordFiles

__all__ = ["SavepointParticipant"]

LOG = logging.getLogger("tidemill.savepoints")
LOOK_MS = 2_000
BUSY_MS = 100
"""How often messages are read while a savepoint is made."""
SWITCHING_MS = 20
"""How often messages, and the offsets of tasks that stand still, are read in a cut-over."""
REMIND_MS = 10_000
OFFSETS_SECONDS = 2.0
TRIES = 3
"""How often the upload of a task's snapshot is tried."""
PATIENCE_SECONDS = 3.0
CONFIRM_SECONDS = 5.0


@dataclass(frozen=True)
class RunningNow:
    """What the loop runs."""

    version: int
    plan: Plan | None
    tasks: tuple[HoldableTask, ...]
    since: Mapping[TaskId, int]
    """The generation of the group when each task was first seen: a later owner has a later one."""


@dataclass
class LinkedTask:
    """A task whose files are linked, until they are uploaded."""

    held: HeldTask
    subject: Subject | None
    snapshots: TaskSnapshots | None
    position: Any
    began: int


class SavepointParticipant:
    """Takes part in savepoints for one process."""

    def __init__(
        self,
        storage: Storage,
        app_id: str,
        guarantee: str,
        keep: int,
        bandwidth: int | None,
        group: Member,
        scratch: Callable[[str], Path],
        clock: Clock,
        uploading: threading.Lock,
    ) -> None:
        """Set it up; the thread is started by `start`.

        `uploading` is held during uploads of snapshots.
        """
        self.hold = Hold(clock)
        self._storage = storage
        self._app_id = app_id
        self._guarantee = guarantee
        self._keep = keep
        self._bandwidth = Bandwidth(bandwidth, lambda: clock.monotonic() / 1000)
        self._group = group
        self._scratch = scratch
        self._clock = clock
        self._uploading = uploading
        self._running = RunningNow(0, None, (), {})
        self._closing = threading.Event()
        self._thread = Thread("tidemill-savepoints", self.run)
        # Of the thread alone:
        self._mailbox = Mailbox(storage, app_id)
        self._state = Participation()
        self._process = ""
        self._epoch = -1
        self._linked: list[LinkedTask] = []
        self._trouble = ""
        self._cutover = False
        self._reminder = Reminder(REMIND_MS)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread. It does not wait long for a call of the snapshot store."""
        self._closing.set()
        self._bandwidth.stop()
        self._thread.join(PATIENCE_SECONDS)

    # In the loop's thread

    @property
    def active(self) -> bool:
        return self._state.phase is not ParticipationPhase.IDLE

    def turn(self, plan: Plan, tasks: Iterable[HoldableTask]) -> None:
        self._thread.check()
        before, found = self._running, tuple(tasks)
        if before.plan is plan and len(before.tasks) == len(found) and all(map(_same, before.tasks, found)):
            return
        known = {task.id: task for task in before.tasks}
        generation = self._group.generation
        since = {task.id: before.since[task.id] if known.get(task.id) is task else generation for task in found}
        self._running = RunningNow(before.version + 1, plan, found, since)

    # In its own

    def run(self) -> None:
        """Take part until it is closed."""
        while not self._closing.wait(self._pause() / 1000):
            if keys := self.hold.standing():
                self._look_at_roles(keys)
            self.step()
        self.hold.release()

    def _pause(self) -> int:
        if self.hold.standing():
            return SWITCHING_MS
        if self._state.phase is ParticipationPhase.IDLE:
            return LOOK_MS
        return SWITCHING_MS if self._cutover else BUSY_MS

    def _look_at_roles(self, keys: Iterable[TopicPartition]) -> None:
        """Let tasks that stand still go on if the cut-over has ended."""
        try:
            committed = self._group.fetch_offsets(keys, OFFSETS_SECONDS)
        except (Retryable, Fenced) as failure:
            LOG.warning("%s; the tasks stand still meanwhile", failure)
            return
        role, now = role_of(found[1] for found in committed.values() if found is not None), self._clock.monotonic()
        if not role.standing:
            self.hold.resolve(role)
        elif self._reminder.due(now):
            LOG.warning("%s", why_standing(self._app_id, role))

    def step(self) -> None:
        """Read the messages, and do what is to be done."""
        try:
            commands = {
                attempt: (mail.number, mail.command)
                for attempt, mail in self._mailbox.look().items()
                if mail.command is not None
            }
            self._trouble = ""
        except StorageError as failure:
            if not self._trouble:
                LOG.warning("%s; no savepoint can be made meanwhile", failure)
            self._trouble = str(failure)
            return
        running, (status, why) = self._running, self.hold.status()
        if self._state.phase is ParticipationPhase.IDLE and running.plan is None:
            return
        seen = Seen(commands, running.version, status, why, self._clock.monotonic())
        self._state, action = decide(self._process, self._state, seen)
        _, command = commands.get(self._state.attempt, (0, None))
        self._cutover = command is not None and bool(command.cutover)
        try:
            self._do(action, running, commands)
        except (StorageError, StateError, Overtaken, Retryable, Fenced, OSError) as failure:
            self._fail(str(failure))
        except Stopped:
            self._fail("its task does not run there any more")

    def _do(self, action: Action, running: RunningNow, commands: Mapping[str, tuple[int, Command]]) -> None:
        match action:
            case Action.NOTHING:
                pass
            case Action.TELL_READY:
                self._tell_ready(running)
            case Action.TELL_FAILED:
                self._fail(self._state.why)
            case Action.HOLD:
                command = commands[self._state.attempt][1]
                self.hold.ask(command.hold_ms, rest=bool(command.ends), memory=not command.cutover)
            case Action.RUN:
                command = commands[self._state.attempt][1]
                ends = {(one.topic, one.partition): one.offset for one in command.ends}
                self.hold.run(ends, command.hold_ms)
            case Action.TELL_HELD:
                self._tell_held(self.hold.content())
            case Action.STAND:
                hit("during-stand")
                self.hold.stand(commands[self._state.attempt][1].cutover, self._state.attempt)
            case Action.TELL_DONE:
                self._tell(Report(self._process, "done", step=self._state.step))
            case Action.LINK:
                self._link()
            case Action.CONFIRM:
                self._confirm()
            case Action.SAVE:
                self._save()
            case Action.LET_GO:
                self._let_go()

    def _tell(self, report: Report) -> None:
        number = self._mailbox.report(self._state.attempt, report)
        self._state = replace(self._state, report=number)

    def _tell_ready(self, running: RunningNow) -> None:
        plan = running.plan
        assert plan is not None
        self._process, self._epoch = self._group.process, self._group.status.epoch
        self._tell(
            Report(
                self._process,
                "ready",
                tasks=sorted(str(task.id) for task in running.tasks),
                planned=[str(task) for task in plan.tasks()],
                subtopologies=[described(part) for part in plan.subtopologies],
                guarantee=self._guarantee,
                effects=effects_of(plan.topology) + waiting_batches_of(plan.topology) + histories_of(plan),
            )
        )
        for task in running.tasks:  # so that little is left to flush while the tasks are held
            if (store := task.stores.get("rocksdb")) is not None:
                store.flush()
        hit("during-cut")

    def _link(self) -> None:
        """Link the files of all stores while the tasks are held."""
        hit("during-cut")
        began = self._clock.monotonic()
        for held in self.hold.content():
            linked = LinkedTask(held, None, None, None, began)
            if held.store is not None:
                linked.subject = self._subject(held, held.store)
                linked.snapshots = TaskSnapshots(
                    self._storage,
                    self._app_id,
                    str(held.id),
                    self._keep,
                    self._clock,
                    self._bandwidth,
                    self._scratch(f"savepoint-{held.id}"),
                )
            self._linked.append(linked)
            if linked.snapshots is not None and linked.subject is not None:
                linked.position = linked.snapshots.link(linked.subject)
        self._tell_held([linked.held for linked in self._linked])

    def _tell_held(self, tasks: Iterable[HeldTask]) -> None:
        tasks = list(tasks)
        offsets = [
            InputOffset(topic, partition, at)
            for held in tasks
            for (topic, partition), at in sorted(held.offsets.items())
        ]
        names = [str(held.id) for held in tasks]
        self._tell(Report(self._process, "held", tasks=names, offsets=offsets, step=self._state.step))
        hit("during-cut")

    def _subject(self, held: HeldTask, store: Store) -> Subject:
        shapes = {state.spec.name: state.shape for state in held.subtopology.stores if state.spec.kind == "rocksdb"}

        def wanted() -> bool:
            mine = (task.stores.get("rocksdb") for task in self._running.tasks)
            return not self._closing.is_set() and any(one is store for one in mine)

        copied: Any = store
        generation = self._running.since.get(held.id, -1)
        return Subject(str(held.id), copied, shapes, held.subtopology.fingerprint, generation, wanted)

    def _confirm(self) -> None:
        """Tell that the tasks were held until their release.

        This process is still a member of the group then.
        """
        hit("during-cut")
        try:
            self._group.confirm(self._epoch, CONFIRM_SECONDS)
            status, why = self.hold.status()
        finally:
            self.hold.release()
        if status != "held":
            raise StorageError(why or "its tasks were not held until the release")
        self._tell(Report(self._process, "released"))

    def _save(self) -> None:
        """Upload what is linked, and tell the numbers of the snapshots."""
        snapshots: dict[str, int] = {}
        memory: dict[str, list[SavepointFile]] = {}
        size = 0
        for linked in self._linked:
            task = str(linked.held.id)
            if linked.snapshots is not None and linked.subject is not None:
                number, bytes_of = self._uploaded(linked.snapshots, linked.subject, linked)
                snapshots[task], size = number, size + bytes_of
            if linked.held.memory:
                memory[task] = self._saved_memory(task, linked.held)
                size += sum(file.size for file in memory[task])
        hit("during-cut")
        self._tell(Report(self._process, "done", snapshots=snapshots, memory=memory, size=size))
        LOG.info("the state of %d tasks is saved for a savepoint: %s bytes", len(self._linked), f"{size:,}")
        self._drop()

    def _uploaded(self, snapshots: TaskSnapshots, subject: Subject, linked: LinkedTask) -> tuple[int, int]:
        """Upload the linked files of one task; return the number and the bytes of the snapshot."""
        for tries in range(1, TRIES + 1):
            try:
                with self._uploading:
                    taken = snapshots.upload(subject, linked.position, linked.began)
                return taken.number, taken.size
            except Overtaken:
                if tries == TRIES:
                    raise
        raise AssertionError("unreachable")

    def _saved_memory(self, task: str, held: HeldTask) -> list[SavepointFile]:
        path, scratch = file_path(self._state.attempt, f"memory-{task}"), self._scratch(f"savepoint-memory-{task}")
        files = RecordFiles(self._storage, self._app_id, path, scratch, self._bandwidth.take)
        try:
            for entry in held.memory:
                files.append(MemoryEntry(*entry))
            return files.finish()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _fail(self, why: str) -> None:
        """Let the tasks go on, and say why this process has failed."""
        self._let_go()
        if self._state.phase is not ParticipationPhase.IDLE:
            self._state = failed(self._state, why)
        LOG.warning("savepoint attempt %s has failed here: %s", self._state.attempt, why)
        try:
            self._tell(Report(self._process, "failed", why))
        except StorageError as failure:
            LOG.warning("%s", failure)

    def _let_go(self) -> None:
        self.hold.release()
        self._drop()

    def _drop(self) -> None:
        """Remove what is linked."""
        for linked in self._linked:
            if linked.snapshots is not None:
                linked.snapshots.drop_link()
        self._linked = []


def _same(one: object, other: object) -> bool:
    return one is other
