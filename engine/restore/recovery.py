"""Opens tasks: fences former owners, restores stores, and finds the start offsets of inputs.

Runs in a separate thread with its own clients, so that running tasks never wait for a restore. `finished` returns the
results as values. The order of the steps to open a task is part of the exactly-once guarantee:

    in the generation -> fence former owners -> declare it opened -> stable committed offsets -> a snapshot, if any ->
    changelog ends as an uncommitted reader sees them -> restore, reading committed, up to those ends -> Ready

A standby is a restore that keeps running: it follows the changelogs without an end. When it is promoted, it goes
through the same steps and replays only the tail.

The ends are queried with read-uncommitted isolation: when a commit returns, its markers may not be on every partition
yet, so the last stable offset could hide a transaction that is already committed.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from ...state.store import CorruptStore, StateError, Store
from ..clock import Clock
from ..errors import Retryable, StateUnusable
from ..ids import TaskId
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.topics import Topics
from ..plan.plan import Plan
from ..snapshots.downloads import DownloadSource
from ..threads import Thread
from .local_storage import Stores, open_or_wipe
from .opening import Closed, Opening, Progress, Ready, close_all
from .progress_file import NAME, ProgressFile
from .record_filter import refuse_old_rows
from .recovery_group import RecoveryGroup
from .replay import Replay, ReplayRestart
from .requests import Requests
from .restore_status import RestoreStatus
from .snapshot_restore import fetching
from .standby_offsets import update_committed_inputs
from .start_offsets import starting_offsets
from .topic_identity import identify, resume_from_committed, warn_of_replaced_topics

__all__ = ["Recovery"]

LOG = logging.getLogger("tidemill.recovery")
PAUSE_MS = 200
STUCK_MS = 1000
COPIES_WAIT_MS = 500
"""How often committed offsets are queried for standbys that wait for a commit."""
JOIN_SECONDS = 3.0
OFFSETS_SECONDS = 1.0
"""Timeout of a query of committed offsets; the thread handles no other requests meanwhile."""


class Recovery:
    """The thread that opens tasks."""

    def __init__(
        self,
        plan: Plan,
        group: RecoveryGroup,
        topics: Topics,
        reader: ChangelogReader,
        stores: Stores,
        clock: Clock,
        at_least_once: bool,
        snapshots: DownloadSource | None = None,
        *,
        batch: bool = False,
    ) -> None:
        self._plan = plan
        self._first = {
            topic: count for subtopology in plan.subtopologies for topic, count in subtopology.topic_partitions.items()
        }
        """Partition counts when the process started."""
        self._group = group
        self._topics = topics
        self._at_least_once = at_least_once
        self._batch = batch
        self._replay = Replay(reader, topics, clock, at_least_once)
        self._wake = threading.Event()
        self._fetching = fetching(plan, snapshots, topics, stores, clock, self._wake.set)
        self._stores = stores
        self._clock = clock
        self._status = RestoreStatus()
        self._shown = ProgressFile(stores.scratch(NAME), clock)
        self._commands: deque[Callable[[], None]] = deque()
        self._requests = Requests()
        # Used by the recovery thread only:
        self._asked: dict[TaskId, int] = {}
        """Tasks whose opening has not started, with the numbers of their openings."""
        self._standbys: frozenset[TaskId] = frozenset()
        self._handed: dict[TaskId, Mapping[str, Store]] = {}
        """Open stores of tasks that ran here before, or whose opening is to be retried."""
        self._openings: dict[TaskId, Opening] = {}
        self._advanced = self._asked_for_copies = clock.monotonic()
        self._closing = False
        self._thread = Thread("tidemill-recovery", lambda: self.run(self._wake.wait))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def open(self, openings: Mapping[TaskId, int]) -> None:
        """Open tasks that the group has assigned to this process. Opening numbers are unique."""
        self._command(partial(self._asked.update, openings))

    def standby(self, tasks: Iterable[TaskId], stores: Mapping[TaskId, Mapping[str, Store]] | None = None) -> None:
        """Maintain standbys of exactly these tasks.

        Their stores must not be open elsewhere in this process. `stores` are open stores of tasks that ran here until
        now; recovery closes them from now on. Once such a task has another owner, this process may become its standby,
        so they stay open until the next call.
        """
        self._command(partial(self._keep, frozenset(tasks), stores or {}))

    def replan(self, plan: Plan) -> None:
        """Use another plan, after topics have gained partitions, for tasks opened from now on."""
        self._command(partial(setattr, self, "_plan", plan))

    def cancel(self, openings: Mapping[TaskId, int]) -> None:
        """Cancel openings; `finished` returns a `Closed` for each when nothing of it is open."""
        if openings:
            self._requests.cancel(openings.values())
            self._command(partial(self._cancel, openings))

    def finished(self) -> list[Ready | Closed]:
        """Return the tasks opened or closed since the last call. Raises the failure of the thread."""
        self._thread.check()
        return self._requests.answers()

    def lags(self) -> dict[TaskId, int]:
        """Return the known changelog lag, in records, of each task being restored or followed."""
        return {**self._status.lags(), **self._fetching.lags}

    def progress(self) -> tuple[Progress, ...]:
        """Return the progress of each task that is being restored."""
        return self._status.progress()

    def close(self) -> None:
        """Stop the thread and close all stores. Does not wait for a thread that is blocked on Kafka."""
        self._closing = True
        self._wake.set()
        self._thread.join(JOIN_SECONDS)
        self._requests.close()

    def _command(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        self._wake.set()

    # In the thread

    def run(self, wait: Callable[[float], object]) -> None:
        """Run the thread until it is closed; call `wait` with seconds when there is nothing to do.

        Failures are not raised in this thread but passed to the main thread.
        """
        try:
            while not self._closing:
                if self.idle:
                    wait(0.5)
                if not self._step():
                    break
            for stores in [*(opening.stores for opening in self._openings.values()), *self._handed.values()]:
                close_all(stores)
            self._openings.clear()
            self._fetching.close()
            self._replay.close()
        except Exception as failure:
            self._requests.failed(failure)

    @property
    def idle(self) -> bool:
        """True while there is nothing to do until the next request."""
        return not (self._replay or self._wake.is_set())

    def _step(self) -> bool:
        """Handle requests and continue the replays; return False after a fatal failure.

        `finished` raises the failure in the main thread.
        """
        self._wake.clear()
        try:
            while self._commands:
                self._commands.popleft()()
            try:
                self._begin()
                self._begin_standbys()
                self._go_on_with_fetched()
                self._start_replay()
            except Retryable as failure:
                self._status.trouble(failure, self._clock.monotonic())
                self._clock.sleep(PAUSE_MS)
                self._wake.set()
            except CorruptStore as failure:
                self._restore_damaged(failure)
        except StateError as failure:
            self._requests.failed(StateUnusable(str(failure)))
        except BaseException as failure:  # the main thread raises it
            self._requests.failed(failure)
        else:
            self._shown.update(self._status.progress())
            return True
        return False

    def _keep(self, tasks: frozenset[TaskId], stores: Mapping[TaskId, Mapping[str, Store]]) -> None:
        self._standbys = tasks
        for task in self._handed.keys() - tasks - self._asked.keys():
            self._fetching.drop(task)
            close_all(self._handed.pop(task))
        self._handed.update(stores)
        for task in [o.task for o in self._openings.values() if o.standby and o.task not in tasks | self._asked.keys()]:
            self._forget(task)

    def _cancel(self, openings: Mapping[TaskId, int]) -> None:
        for task, number in openings.items():
            self._asked.pop(task, None)
            opening = self._openings.get(task)
            if opening is not None and not opening.standby:
                self._forget(task)
            if task not in self._openings:
                self._fetching.drop(task)
            close_all(self._handed.pop(task, {}))
            self._requests.closed(task, number)

    def _forget(self, task: TaskId) -> None:
        self._replay.remove(task)
        self._fetching.drop(task)
        close_all(self._openings.pop(task).stores)
        self._status.forget(task)

    def _set_aside(self, opening: Opening) -> None:
        """Remove an opening but keep its stores open for the retry."""
        self._openings.pop(opening.task, None)
        self._replay.remove(opening.task)
        if opening.stores:
            self._handed[opening.task] = opening.stores

    def _begin(self) -> None:
        """Start opening all requested tasks together; each broker request serves all of them."""
        asked = {task: number for task, number in self._asked.items() if self._requests.wanted(number)}
        self._asked.clear()
        if not asked:
            return
        coming = {task: self._promoted(task, asked[task]) for task in sorted(asked)}
        try:
            self._group.opened(self._group.fence(coming).result())
            identify(self._topics, coming.values())
            self._find_offsets(coming.values())
            self._take_up(coming.values())
        except (Retryable, CorruptStore):
            for opening in coming.values():
                self._set_aside(opening)
            self._asked.update(asked)
            raise
        for opening in coming.values():
            self._finish_if_done(opening)

    def _promoted(self, task: TaskId, number: int) -> Opening:
        """Return the opening of a task, with the stores of its standby if there is one."""
        standby = self._openings.pop(task, None)
        self._replay.remove(task)
        stores = self._handed.pop(task, {}) if standby is None else standby.stores
        generation = self._group.generation if self._at_least_once else -1
        return Opening(task, self._plan.subtopology(task), number, stores=stores, generation=generation)

    def _begin_standbys(self) -> None:
        missing = self._standbys - self._openings.keys() - self._asked.keys()
        copies = [
            Opening(task, self._plan.subtopology(task), standby=True, stores=self._handed.pop(task, {}))
            for task in sorted(missing)
        ]
        try:
            identify(self._topics, copies)
            if self._at_least_once:
                update_committed_inputs(self._group, copies)
        except (Retryable, CorruptStore):
            for opening in copies:
                self._set_aside(opening)
            raise
        self._take_up(copies)

    def _take_up(self, openings: Iterable[Opening]) -> None:
        """Open the stores and start their replays; set them aside after Retryable or CorruptStore."""
        openings = list(openings)
        if not openings:
            return
        try:
            for opening in openings:
                if not opening.stores:
                    opening.stores = open_or_wipe(self._stores, opening.task, opening.subtopology)
                warn_of_replaced_topics(opening)
                self._openings[opening.task] = opening
            self._fetching.begin(openings)
            self._replay.add([opening for opening in openings if not opening.fetching])
        except (Retryable, CorruptStore):
            for opening in openings:
                self._set_aside(opening)
            raise
        self._advanced = self._clock.monotonic()
        for opening in openings:
            self._status.report(opening)

    def _go_on_with_fetched(self) -> None:
        """Replace stores by downloaded snapshots, and replay the remaining changelog records."""
        for opening, path in self._fetching.arrived(list(self._openings.values())):
            if path is not None:
                close_all(opening.stores)
                opening.stores = {}
                self._stores.install(opening.task, path)
            try:
                self._take_up([opening])
            except (Retryable, CorruptStore):
                if not opening.standby:
                    self._asked[opening.task] = opening.number
                raise
            self._finish_if_done(opening)
        self._fetching.follow(self._openings.values())
        self._fetching.report(self._openings.values(), self._status)

    def _find_offsets(self, openings: Collection[Opening]) -> None:
        keys = [key for opening in openings for key in opening.subtopology.task_inputs(opening.task.partition)]
        try:
            committed = self._group.fetch_offsets(keys, OFFSETS_SECONDS)
        except Retryable:
            self._group.fence_orphans()  # an orphaned transaction may keep the offsets unstable
            raise
        for opening in openings:
            fresh = resume_from_committed(self._plan, opening, committed, self._first, batch=self._batch)
            opening.offsets = {**opening.offsets, **starting_offsets(fresh, self._topics, self._clock.now())}
            opening.fresh = frozenset(fresh)

    def _start_replay(self) -> None:
        """Continue the replays, and finish tasks that are up to date."""
        if not self._replay:
            return
        try:
            moved = self._replay.step(0.1)
            self._go_on_with_copies()
        except ReplayRestart as failure:
            LOG.warning("%s; determining the starts of the restores again", failure)
            self._start_again()
            return
        now = self._clock.monotonic()
        if moved:
            self._advanced = now
        elif now - self._advanced > STUCK_MS:
            if self._replay.restoring:
                self._group.fence_orphans()
                self._replay.warn_of_open_transactions()
            self._advanced = now
        for task, records in moved.items():
            opening = self._openings[task]
            opening.restored += records
            self._status.report(opening)
            self._finish_if_done(opening)
        self._status.lag(self._replay.lags())

    def _go_on_with_copies(self) -> None:
        """Query committed offsets periodically for standbys that wait for a commit."""
        now = self._clock.monotonic()
        copies = [self._openings[task] for task in self._replay.waiting()]
        if copies and now - self._asked_for_copies >= COPIES_WAIT_MS:
            self._asked_for_copies = now
            update_committed_inputs(self._group, copies)
            for copy in copies:
                self._replay.committed(copy)

    def _start_again(self) -> None:
        """Restart all openings from the present state of their stores."""
        for opening in list(self._openings.values()):
            self._set_aside(opening)
            if not opening.standby:
                self._asked[opening.task] = opening.number
        self._clock.sleep(PAUSE_MS)
        self._wake.set()

    def _restore_damaged(self, failure: CorruptStore) -> None:
        """Wipe the stores of the task with the corrupt store, and restart all openings."""
        if not failure.task:
            raise failure
        LOG.warning("%s; wiping it and restoring it from its changelog", failure)
        self._start_again()
        close_all(self._handed.pop(TaskId.parse(failure.task), {}))
        self._stores.wipe(failure.task)

    def _finish_if_done(self, opening: Opening) -> None:
        if opening.standby or opening.fetching or not all(cursor.done for cursor in opening.cursors):
            return
        refuse_old_rows(self._plan.app_id, opening)
        opening.settle()
        self._replay.remove(opening.task)
        del self._openings[opening.task]
        figures = {"task": str(opening.task), "replayed": opening.restored, "changelog": opening.log_size}
        LOG.info("task %s is ready: %s", opening.task, opening.origin, extra=figures)
        self._status.forget(opening.task)
        self._requests.ready(opening.ready())
