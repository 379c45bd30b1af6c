"""The one `while` of a process: poll, route, process, produce, commit.

The loop owns the consumer, the producer and the running tasks, and it alone commits. It decides nothing itself: which
tasks are ours comes from the membership, what to run next from the tasks' buffers, when to pause and to commit from
`tasks/flow_control.py`. What may go wrong is handled by what it means:

    TransactionAborted       abort, discard, rewind, go on with the same tasks; until `retry_timeout` without a commit
    Refused                  the same, in small cuts, until the record to blame is found: its step's policy decides
    Unsettled                drop all tasks without a commit, a new producer, recover; until then too
    Fenced, Lost (an event)  the same; the membership joins again by itself
    Corrupt                  the same, after the damaged store of that task was wiped
    Retryable                nothing has moved: try again, until `retry_timeout` has passed without success
    anything else            discard what is not committed and stop
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from ...operators.graph.calls import Calls
from ...operators.policy import ErrorPolicy
from ...operators.record import Outgoing
from ...state.store import Corrupt, StateError, Store
from ..clock import Clock
from ..config.settings import Settings
from ..errors import Fenced, Refused, Retryable, StateUnusable, TidemillError, Unsettled
from ..failpoints import hit
from ..group.membership import Assigned, Failed, Lost, Membership
from ..group.metadata.subtopology_info import parts_of, what_waits
from ..ids import TaskId
from ..kafka.errors import OffsetGone, TransactionAborted, acting
from ..plan.plan import Plan
from ..restore.global_tables import GlobalTables
from ..restore.local_storage import Identity
from ..restore.opening import Closed, Ready
from ..restore.recovery import Recovery
from ..restore.task_factory import started
from ..serve.stats import Stats
from ..tasks.flow_control import commit_due, turn_ends
from ..tasks.task import Task
from ..topics.watcher import Seen, Watch
from .bisection import Inquiry, of_row
from .garbage_collection import Collecting
from .housekeeping import Flushing, Purging
from .intake import Intake
from .reports import Reports
from .retry import Patience
from .task_executor import Work
from .writer import Writer

__all__ = ["Loop"]

LOG = logging.getLogger("tidemill.loop")
Key = tuple[str, int]
POLL_SECONDS = 0.05
CALLING_SECONDS = 0.002
"""The same while calls are under way, whose answers come by another way."""


class Loop:
    """The running part of one process."""

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        intake: Intake,
        writer: Writer,
        membership: Membership,
        recovery: Recovery,
        identity: Identity,
        purge: Callable[[Mapping[Key, int]], None],
        clock: Clock,
        stats: Stats,
        policy: ErrorPolicy,
        calls: Calls,
        tables: GlobalTables,
        watch: Watch | None = None,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._intake = intake
        self._writer = writer
        self._interval = settings.commit_interval
        self._membership = membership
        self._recovery = recovery
        self._identity = identity
        self._purging = Purging(purge, clock, settings.purge_interval)
        self._flushing = Flushing(clock)
        self._collecting = Collecting(clock)
        self._clock = clock
        self._stats = stats
        self._policy = policy
        self._calls = calls
        self._watch = watch
        self._tables = tables
        self._seen: Seen | None = None
        """News of the topics that are not taken up yet."""
        self._tasks: dict[TaskId, Task] = {}
        self._assignment: Assigned | None = None
        """A plan that is not carried out yet."""
        self._leaving: set[TaskId] = set()
        """Tasks that were being opened and are given back when they are closed."""
        self._wanted: set[TaskId] = set()
        """Tasks that are being opened."""
        self._reports = Reports(membership, recovery, stats, clock)
        self._work = Work(clock, self._reports, settings.idle, settings.max_batch)
        self._inquiry = Inquiry()
        self._working: Task | None = None
        """Whose work was handed over last."""
        self._last_commit = clock.monotonic()
        self._patience = Patience(clock, settings.retry_timeout)
        apart = settings.retry_timeout + 2 * settings.transaction_timeout
        self._setbacks = Patience(clock, settings.retry_timeout, apart)
        """With work that is undone again and again; only a commit is a success."""

    @property
    def tasks(self) -> Mapping[TaskId, Task]:
        """The running tasks."""
        return self._tasks

    def run(self, stopping: Callable[[], bool]) -> bool:
        """Runs until told to stop; then commits and closes the tasks. False when the last commit was refused."""
        try:
            while not stopping():
                self.run_once()
            return self._finish()
        except StateError as failure:
            raise StateUnusable(str(failure)) from failure
        finally:
            self._drop(self._tasks)
            self._writer.discard(abort=True)
            self._intake.close()

    def _finish(self) -> bool:
        """The last commit. What is refused is undone, and processed again by the next owner of its task."""
        try:
            self._commit()
        except (Fenced, TransactionAborted, Refused) as failure:
            LOG.warning(
                "%s; what was processed since the last commit is undone, for the next start to do again", failure
            )
            return False
        except Corrupt as failure:
            LOG.warning("%s; the next start restores what is missing there from the changelog", failure)
            return False
        return True

    def run_once(self) -> None:
        """One turn. Raises Retryable when Kafka has been away for `retry_timeout`, whoever has noticed."""
        self._membership.reachable(self._settings.retry_timeout)
        self._alive()
        try:
            self._guarded(self._turn)
        except Corrupt as failure:
            self._damaged(failure)

    def _alive(self) -> None:
        """The main thread makes progress, and this is how its tasks stand."""
        self._membership.progress()
        self._stats.turn(self._tasks.values(), self._intake.log_end, self._clock.now())

    def _turn(self) -> None:
        with acting("take news of the group in"):  # told once
            for event in self._membership.events():
                match event:
                    case Assigned():
                        self._assignment = event
                    case Lost():
                        self._lost(event)
                    case Failed():
                        raise event.error
        if self._assignment is not None:
            self._assigned(self._assignment)
            self._assignment = None
        self._look_around()
        if self._wanted or self._writer.owes:
            self._writer.ensure()
        with acting("start tasks"):  # given once
            for finished in self._recovery.finished():
                match finished:
                    case Ready():
                        self._start(finished)
                    case Closed():
                        self._closed(finished.task)
        self._stats.recovering(len(self._wanted), self._recovery.progress() if self._wanted else ())
        began = self._clock.monotonic()
        self._receive()
        received = self._clock.monotonic()
        if self._tables.ready(self._stats):
            self._process()
        else:
            self._work.more = False
        self._stats.spent(received - began, self._clock.monotonic() - received)
        now = self._clock.monotonic()
        with acting("read"):
            self._intake.operate_valves()
            self._intake.restart_stalled(now)
        pending = self._pending()
        dirty = sum(task.dirty_bytes for task in self._tasks.values())
        if commit_due(now - self._last_commit, self._interval, dirty, self._settings.cache_bytes, pending):
            self._commit()
        self._purging.turn(self._plan, self._tasks.values())
        self._reports.turn(self._tasks)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Runs a step and does what its failure calls for."""
        try:
            step()
            self._patience.succeeded()
        except Refused as failure:
            self._inquiry.refused(failure, self._working)
            self._roll_back(failure)
        except TransactionAborted as failure:
            self._roll_back(failure)
            self._membership.ask()  # it may be because the group has gone on
            self._setbacks.failed(failure)
        except Fenced as failure:
            LOG.warning("%s; giving up this membership", failure)
            self._give_up(str(failure))
        except Unsettled as failure:
            LOG.warning("%s; dropping what is not committed and recovering", failure)
            self._recover_all()
            self._setbacks.failed(failure)
        except Retryable as failure:
            self._patience.failed(failure)

    # Tasks come and go

    def _assigned(self, event: Assigned) -> None:
        plan = event.plan
        self._writer.begin_epoch(event.epoch, event.process)
        self._identity.remember(event.member_id, event.process)
        self._stats.assigned(len(self._plan.tasks()))
        leaving = [task for task in self._tasks if task not in plan.active]
        unwanted = self._wanted - plan.active
        untouched = event.surplus - self._tasks.keys() - self._wanted - self._leaving
        handed: dict[TaskId, Mapping[str, Store]] = {}
        if leaving:
            self._commit()
            handed = {task: self._tasks[task].give_stores() for task in leaving}
            self._drop(leaving)
        hit("inside-rebalance")
        self._membership.release([*leaving, *untouched])
        self._wanted -= unwanted
        self._leaving = (self._leaving | unwanted) - plan.active  # what is given again is not given back
        self._recovery.cancel(unwanted)
        coming = set(plan.active) - self._tasks.keys() - self._wanted
        if coming:
            self._open(coming)
        self._recovery.standby(plan.standby, handed)  # after what is opened: that takes over the stores of its copy
        parts = [f"{len(plan.active)} tasks"]
        parts += [f"{len(leaving)} handed over"] if leaving else []
        parts += [f"{len(coming)} to open"] if coming else []
        parts += [f"{len(plan.standby)} standbys"] if plan.standby else []
        LOG.info("generation %d: %s", event.generation, ", ".join(parts))
        if waits := what_waits(plan, self._plan):
            LOG.warning("%s", waits)

    def _look_around(self) -> None:
        """Where there are more partitions or topics, tasks that get new inputs begin again; others do not notice."""
        seen = self._seen = (self._watch and self._watch.news()) or self._seen
        if seen is None:
            return
        self._recovery.replan(seen.plan)
        fed = [task.id for task in self._tasks.values() if task.inputs != seen.inputs(task.id)]
        if seen.plan is not self._plan:
            self._recovery.cancel(self._wanted)
            self._recovery.open(self._wanted)
        self._plan = seen.plan
        if any(task.topics.differ(task.inputs, seen.ids, seen.gone) for task in self._tasks.values()):
            self._recover_all()  # what was read of another topic is not committed
        elif fed:
            self._commit()
            self._drop(fed)
            self._open(set(fed))
        self._membership.describe(parts_of(seen.plan, seen.racks))
        self._seen = None

    def _open(self, tasks: set[TaskId]) -> None:
        self._wanted |= tasks
        self._recovery.open(tasks)

    def _lost(self, event: Lost) -> None:
        LOG.warning("membership lost: %s; dropping what is not committed and joining again", event.why)
        self._stats.lost()
        self._drop_all()

    def _give_up(self, why: str) -> None:
        """Somebody has taken over what is ours: ends this epoch of the membership."""
        self._drop_all()
        self._membership.give_up(self._writer.epoch, why)

    def _drop_all(self) -> None:
        self._recovery.cancel(self._wanted)
        self._recovery.standby(())
        self._wanted.clear()
        self._leaving.clear()
        self._assignment = None
        self._drop(self._tasks)
        self._writer.discard(abort=True)  # whoever has our tasks now may not know that there is something to fence

    def _damaged(self, failure: Corrupt) -> None:
        LOG.warning("%s; wiping it and restoring it from its changelog", failure)
        self._recover_all(failure.task)

    def _recover_all(self, *corrupt: str) -> None:
        """Drops every task and opens it again from what is committed; a new producer settles what is open."""
        again = {*self._tasks, *map(TaskId.parse, corrupt)}
        self._drop(self._tasks)
        self._identity.wipe(*corrupt)
        self._writer.discard(abort=False)
        if again:
            self._open(again)

    def _start(self, ready: Ready) -> None:
        """A recovered task begins to run."""
        self._wanted.discard(ready.task)
        self._stats.ready(ready.restored)
        try:
            task = started(ready, self._plan.part(ready.task), self._policy, self._calls, self._tables.rows)
        except Corrupt as failure:
            ready.close()
            self._damaged(failure)
            return
        self._tasks[ready.task] = task
        self._intake.begin(task)

    def _closed(self, task: TaskId) -> None:
        """Nothing of an unwanted task is open any more: others may have it."""
        if task in self._leaving:
            self._leaving.discard(task)
            self._membership.release([task])

    def _drop(self, tasks: Iterable[TaskId]) -> None:
        """Closes tasks as their stores are: what is not committed is lost to them."""
        tasks = list(tasks)
        self._intake.end([self._tasks[task] for task in tasks])
        for task in tasks:
            self._stats.closed(self._tasks[task])
            try:
                self._tasks.pop(task).close()
            except StateError as failure:  # nothing is lost, and it must not hide why the task is closed
                LOG.warning("task %s: %s; its next start replays more of its changelog", task, failure)
            self._work.forget(task)
            self._flushing.forget(task)

    # Records

    def _receive(self) -> None:
        with acting("read"):  # what was received before a failure is not received again
            try:
                ends = self._intake.receive(self._settings.max_batch, 0 if self._work.more else self._wait())
            except OffsetGone as failure:
                # Others may have these tasks by now, and have deleted what is processed.
                self._membership.confirm(self._writer.epoch)
                if self._watch is None or not self._watch.replaced(failure.topic):
                    raise
                self._recover_all()
                return
        if self._intake.gone() and self._watch is not None:
            self._watch.hurry()
        self._stats.ended(ends)

    def _wait(self) -> float:
        """Seconds to wait for records when nothing else is to be done."""
        if any(task.calling for task in self._tasks.values()):
            return CALLING_SECONDS
        if not self._pending():
            return POLL_SECONDS
        left = self._interval - (self._clock.monotonic() - self._last_commit)
        return min(POLL_SECONDS, max(0.0, left / 1000))

    def _process(self) -> None:
        self._alive()
        if self._tasks:
            self._writer.ensure()
        until = turn_ends(self._clock.monotonic(), self._last_commit, self._interval)
        with acting("process records"):  # from here on something moves
            for task, outgoing in self._work.turn(self._tasks, until, self._inquiry):
                self._hand_over(task, outgoing)
                self._alive()
            self._writer.poll()

    def _hand_over(self, task: Task, outgoing: list[Outgoing]) -> None:
        self._working = task
        if outgoing:
            outgoing = self._inquiry.without(outgoing)
            refused = self._writer.produce(outgoing, one_by_one=self._inquiry.one_by_one)
            for failure in refused:
                task.refuse(of_row(failure))
            self._stats.produced(sum([len(out.rows) for out in outgoing]) - len(refused))
        if self._inquiry.open:
            self._commit()

    # Commits

    def _pending(self) -> bool:
        return self._writer.pending or any(task.dirty for task in self._tasks.values())

    def _commit(self) -> None:
        """The one commit path. The same for every reason."""
        began = self._clock.monotonic()
        if self._pending():
            self._writer.ensure()
            as_of, sealed = self._clock.now(), [task.seal() for task in self._tasks.values()]
            settled = self._writer.commit(sealed)
            hit("after-commit-before-settle")
            for index, work in enumerate(sealed):
                if index == len(sealed) // 2:
                    hit("during-settle")
                self._tasks[work.task].settle(settled[work.task], as_of)
            self._setbacks.succeeded()
            self._inquiry.committed()
            share = self._settings.cache_bytes // max(1, len(self._tasks))
            for task in self._tasks.values():
                task.trim(share)
            self._stats.committed(self._clock.monotonic() - began, sealed)
        self._last_commit = self._clock.monotonic()
        self._flushing.turn(self._tasks.values())
        self._collecting.turn()

    def _roll_back(self, failure: TidemillError) -> None:
        """Back to the last commit, with the same tasks where that is possible."""
        LOG.warning("%s; aborted, reading again from the last commit", failure)
        self._stats.aborted()
        if self._watch is not None:
            self._watch.hurry()  # it may be for a topic that is gone
        try:
            again = self._writer.abort()
        except (Fenced, Retryable, TransactionAborted) as worse:
            LOG.warning("%s; recovering with a new producer", worse)
            again = False
        if not again:
            self._recover_all()
            return
        for task in self._tasks.values():
            self._intake.rewind(task.discard())
