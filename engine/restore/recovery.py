"""Opens tasks: fences former owners, brings their stores up to date, finds where their inputs go on.

Runs in a thread of its own with its own clients, so that running tasks never wait for a restore. What it has finished
is handed out as values by `finished`. The order in which a task is opened is a part of the guarantee:

    in the generation -> fence former owners -> declare it opened -> stable committed offsets -> changelog ends as an
    uncommitted reader sees them -> restore, reading committed, up to those ends -> READY

A standby is the same machinery left running: it follows the changelogs without an end. Promoted, it goes through the
same order and replays its tail only.

The ends come from an uncommitted reader because after a commit has returned its markers may not be on every partition
yet: the last stable offset could hide a transaction that is committed already.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from ...state.store import Corrupt, StateError, Store
from ..clock import Clock
from ..errors import Retryable, StateUnusable
from ..ids import TaskId
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.topics import Topics
from ..plan.plan import Plan
from ..threads import Thread
from .group_interface import Group
from .local_storage import Stores, open_or_wipe
from .opening import Closed, Opening, Progress, Ready, close_all
from .replay import Feeding, StartAgain
from .requests import Requests
from .standby_offsets import ask_what_is_committed
from .start_offsets import starting_offsets
from .topic_identity import take_up, tell_of_other_topics

__all__ = ["Recovery"]

LOG = logging.getLogger("tidemill.recovery")
Key = tuple[str, int]
PAUSE_MS = 200
STUCK_MS = 1000
COPIES_WAIT_MS = 500
"""How often it is asked whether what copies wait for was committed."""
PATIENCE_SECONDS = 3.0
OFFSETS_SECONDS = 1.0
"""How long committed offsets are waited for at a time: meanwhile nobody hears of other requests."""


class Recovery:
    """The thread that opens tasks."""

    def __init__(
        self,
        plan: Plan,
        group: Group,
        topics: Topics,
        reader: ChangelogReader,
        stores: Stores,
        clock: Clock,
        at_least_once: bool,
    ) -> None:
        self._plan = plan
        self._first = {topic: count for part in plan.parts for topic, count in part.topic_partitions.items()}
        """Partition counts when the process started."""
        self._group = group
        self._topics = topics
        self._at_least_once = at_least_once
        self._feeding = Feeding(reader, topics, clock, at_least_once)
        self._stores = stores
        self._clock = clock
        self._lock = threading.Lock()
        self._commands: deque[Callable[[], None]] = deque()
        self._requests = Requests()
        self._progress: dict[TaskId, Progress] = {}
        self._lags: dict[TaskId, int] = {}
        # Of the thread alone:
        self._asked: dict[TaskId, int] = {}
        """Requests to begin with, by their numbers."""
        self._standbys: frozenset[TaskId] = frozenset()
        self._handed: dict[TaskId, Mapping[str, Store]] = {}
        """Open stores of tasks that ran here until the last plan, or could not be taken up at the first try."""
        self._openings: dict[TaskId, Opening] = {}
        self._advanced = self._asked_for_copies = clock.monotonic()
        self._wake = threading.Event()
        self._closing = False
        self._thread = Thread("tidemill-recovery", lambda: self.run(self._wake.wait))

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def open(self, tasks: Iterable[TaskId]) -> None:
        """Opens tasks of which the group has made this process the owner."""
        self._command(partial(self._asked.update, self._requests.made(tasks)))

    def standby(self, tasks: Iterable[TaskId], stores: Mapping[TaskId, Mapping[str, Store]] | None = None) -> None:
        """Keeps copies of these tasks and of no others. Their stores must not be open here otherwise.

        `stores` are open ones of tasks that ran here until now; they become the recovery's to close. Once such a task
        has another owner, this process may be asked for a copy of it: so they stay open until the next call.
        """
        self._command(partial(self._keep, frozenset(tasks), stores or {}))

    def replan(self, plan: Plan) -> None:
        """Topics have gained partitions: what is asked for from now on is opened by this plan."""
        self._command(partial(setattr, self, "_plan", plan))

    def cancel(self, tasks: Iterable[TaskId]) -> None:
        """These tasks are not wanted any more; each is answered by a `Closed` when nothing of it is open."""
        unwanted = frozenset(tasks)
        if unwanted:
            self._requests.taken_back(unwanted)
            self._command(partial(self._cancel, unwanted))

    def finished(self) -> list[Ready | Closed]:
        """Tasks that were opened or closed since the last call. Raises what made the thread fail."""
        self._thread.check()
        return self._requests.answers()

    def lags(self) -> dict[TaskId, int]:
        """How many changelog records each task that is opened or copied is behind, as far as is known."""
        with self._lock:
            return dict(self._lags)

    def progress(self) -> tuple[Progress, ...]:
        """How far each task is that restores at the moment."""
        with self._lock:
            return tuple(self._progress.values())

    def close(self) -> None:
        """Stops the thread and closes what is open. A thread that waits for Kafka is not waited for."""
        self._closing = True
        self._wake.set()
        self._thread.join(PATIENCE_SECONDS)
        self._requests.close()

    def _command(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        self._wake.set()

    # In the thread

    def run(self, wait: Callable[[float], object]) -> None:
        """What the thread does until it is closed. `wait` is called with seconds when there is nothing to do.

        Nothing is raised here, where nobody would hear of it: the main thread is told.
        """
        try:
            while not self._closing:
                if self.idle:
                    wait(0.5)
                if not self._step():
                    break
            for opening in self._openings.values():
                close_all(opening.stores)
            for stores in self._handed.values():
                close_all(stores)
            self._openings.clear()
            self._feeding.close()
        except Exception as failure:
            self._requests.answer(failure)

    @property
    def idle(self) -> bool:
        """True while there is nothing to do until something is asked for."""
        return not (self._feeding or self._wake.is_set())

    def _step(self) -> bool:
        """Takes up what was asked for and feeds the stores a little; False when it failed for good.

        The main thread hears of a failure by `finished`.
        """
        self._wake.clear()
        try:
            while self._commands:
                self._commands.popleft()()
            try:
                self._begin()
                self._begin_standbys()
                self._feed()
            except Retryable as failure:
                LOG.warning("%s; trying again", failure)
                self._clock.sleep(PAUSE_MS)
                self._wake.set()
            except Corrupt as failure:
                self._restore_damaged(failure)
        except StateError as failure:
            self._requests.answer(StateUnusable(str(failure)))
        except BaseException as failure:  # the main thread raises it
            self._requests.answer(failure)
        else:
            return True
        return False

    def _keep(self, tasks: frozenset[TaskId], stores: Mapping[TaskId, Mapping[str, Store]]) -> None:
        self._standbys = tasks
        for task in self._handed.keys() - tasks - self._asked.keys():
            close_all(self._handed.pop(task))
        self._handed.update(stores)
        for task in [o.task for o in self._openings.values() if o.standby and o.task not in tasks | self._asked.keys()]:
            self._forget(task)

    def _cancel(self, tasks: frozenset[TaskId]) -> None:
        for task in tasks:
            self._asked.pop(task, None)
            opening = self._openings.get(task)
            if opening is not None and not opening.standby:
                self._forget(task)
            close_all(self._handed.pop(task, {}))
            self._requests.answer(Closed(task))

    def _forget(self, task: TaskId) -> None:
        self._close(self._openings.pop(task))
        with self._lock:
            self._progress.pop(task, None)

    def _set_aside(self, opening: Opening) -> None:
        """Keeps the stores open for the next try."""
        self._openings.pop(opening.task, None)
        self._feeding.remove(opening.task)
        if opening.stores:
            self._handed[opening.task] = opening.stores

    def _close(self, opening: Opening) -> None:
        self._feeding.remove(opening.task)
        close_all(opening.stores)

    def _begin(self) -> None:
        """Takes up the tasks that were asked for, all together: one question to a broker serves them all."""
        asked = {task: number for task, number in self._asked.items() if self._requests.wanted(task, number)}
        self._asked.clear()
        if not asked:
            return
        coming = {task: self._promoted(task, asked[task]) for task in sorted(asked)}
        generation = self._group.generation if self._at_least_once else -1
        try:
            self._group.opened(self._group.fence(coming).result())
            self._identify(coming.values())
            self._find_offsets(coming.values())
            self._take_up(coming.values(), generation)
        except (Retryable, Corrupt):
            for opening in coming.values():
                self._set_aside(opening)
            self._asked.update(asked)
            raise
        for opening in coming.values():
            self._finish_if_done(opening)

    def _promoted(self, task: TaskId, request: int) -> Opening:
        """A task to open; it takes over the stores of its standby, if there is one."""
        standby = self._openings.pop(task, None)
        if standby is None:
            return Opening(task, self._plan.part(task), request, stores=self._handed.pop(task, {}))
        self._feeding.remove(standby.task)
        return Opening(task, self._plan.part(task), request, stores=standby.stores)

    def _begin_standbys(self) -> None:
        missing = self._standbys - self._openings.keys() - self._asked.keys()
        copies = [
            Opening(task, self._plan.part(task), standby=True, stores=self._handed.pop(task, {}))
            for task in sorted(missing)
        ]
        try:
            self._identify(copies)
            if self._at_least_once:
                ask_what_is_committed(self._group, copies)
        except (Retryable, Corrupt):
            for opening in copies:
                self._set_aside(opening)
            raise
        self._take_up(copies)

    def _identify(self, openings: Iterable[Opening]) -> None:
        """Asks which topics these are: names may have come to be other topics'."""
        openings = list(openings)
        ids = self._topics.ids({topic for opening in openings for topic in opening.part.topics})
        for opening in openings:
            opening.topic_ids = {topic: ids[topic] for topic in opening.part.topics if topic in ids}

    def _take_up(self, openings: Iterable[Opening], generation: int = -1) -> None:
        """Opens the stores and begins to feed them. After a Retryable or Corrupt they are set aside."""
        openings = list(openings)
        if not openings:
            return
        try:
            for opening in openings:
                if not opening.stores:
                    opening.stores = open_or_wipe(self._stores, opening.task, opening.part)
                tell_of_other_topics(opening)
                self._openings[opening.task] = opening
            self._feeding.add(openings, generation)
        except (Retryable, Corrupt):
            for opening in openings:
                self._set_aside(opening)
            raise
        self._advanced = self._clock.monotonic()
        for opening in openings:
            self._report(opening)

    def _find_offsets(self, openings: Iterable[Opening]) -> None:
        openings = list(openings)
        keys = [key for opening in openings for key in opening.part.task_inputs(opening.task.partition)]
        try:
            committed = self._group.fetch_offsets(keys, OFFSETS_SECONDS)
        except Retryable:
            self._group.sweep()  # whose transaction is it that is open for so long?
            raise
        for opening in openings:
            fresh = take_up(self._plan.app_id, opening, committed, self._first)
            opening.offsets = {**opening.offsets, **starting_offsets(fresh, self._topics, self._clock.now())}
            opening.fresh = frozenset(fresh)

    def _feed(self) -> None:
        """Feeds the stores, and finishes tasks that are up to date."""
        if not self._feeding:
            return
        try:
            moved = self._feeding.step(0.1)
            self._go_on_with_copies()
        except StartAgain as failure:
            LOG.warning("%s; deciding again where the restores begin", failure)
            self._start_again()
            return
        now = self._clock.monotonic()
        if moved:
            self._advanced = now
        elif now - self._advanced > STUCK_MS:
            if self._feeding.restoring:
                self._group.sweep()
                self._feeding.say_what_waits()
            self._advanced = now
        for task, records in moved.items():
            opening = self._openings[task]
            opening.restored += records
            self._report(opening)
            self._finish_if_done(opening)
        with self._lock:
            self._lags = self._feeding.lags()

    def _go_on_with_copies(self) -> None:
        """Asks now and then whether what copies wait for was committed."""
        now = self._clock.monotonic()
        copies = [self._openings[task] for task in self._feeding.waiting()]
        if copies and now - self._asked_for_copies >= COPIES_WAIT_MS:
            self._asked_for_copies = now
            ask_what_is_committed(self._group, copies)
            for copy in copies:
                self._feeding.committed(copy)

    def _start_again(self) -> None:
        """Sets everything aside and takes it up again, as the stores are."""
        for opening in list(self._openings.values()):
            self._set_aside(opening)
            if not opening.standby:
                self._asked[opening.task] = opening.request
        self._clock.sleep(PAUSE_MS)
        self._wake.set()

    def _restore_damaged(self, failure: Corrupt) -> None:
        """Wipes the stores of the task in which damage was found, and takes all tasks up again."""
        if not failure.task:
            raise failure
        LOG.warning("%s; wiping it and restoring it from its changelog", failure)
        self._start_again()
        close_all(self._handed.pop(TaskId.parse(failure.task), {}))
        self._stores.wipe(failure.task)

    def _finish_if_done(self, opening: Opening) -> None:
        if opening.standby or not all(feed.done for feed in opening.feeds):
            return
        if opening.restored:
            for store in opening.stores.values():
                store.flush(wait=False)
        self._feeding.remove(opening.task)
        del self._openings[opening.task]
        LOG.info(
            "task %s is ready: %d changelog records replayed of %d offsets",
            opening.task,
            opening.restored,
            opening.log_size,
            extra={"task": str(opening.task), "replayed": opening.restored, "changelog": opening.log_size},
        )
        with self._lock:
            self._progress.pop(opening.task, None)
        self._requests.ready(opening.request, opening.ready())

    def _report(self, opening: Opening) -> None:
        if opening.standby:
            return
        left = sum(max(0, feed.target - feed.position) for feed in opening.feeds)
        with self._lock:
            self._progress[opening.task] = Progress(opening.task, max(0, opening.total - left), opening.total)
