"""The main loop of a process: poll, route, process, produce, commit.

The loop owns the consumer and the producer, and is the only one to commit. The decisions are elsewhere: which tasks run
here in `task_manager.py`, what runs next in `task_executor.py`, when to pause and to commit in `tasks/flow_control.py`.
Failures are handled by their meaning:

    TransactionAborted       abort, discard, rewind, continue with the same tasks; for `retry_timeout` without a commit
    RecordRejected           the same, in small slices, until the record is found: the policy of its step decides
    SnapshotsLate            drop all tasks without a commit, create a new producer, recover; as often as it happens
    CommitOutcomeUnknown     drop all tasks without a commit, create a new producer, recover; for `retry_timeout` too
    Fenced, Lost (an event)  the same; the membership rejoins by itself
    CorruptStore             the same, after the corrupt stores of that task are wiped
    Retryable                nothing has changed: retry, until `retry_timeout` has passed without success
    anything else            discard uncommitted work and stop
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from ...operators.record import Outgoing
from ...state.store import CorruptStore, StateError
from ..clock import Clock
from ..config.settings import Settings
from ..errors import (
    CommitOutcomeUnknown,
    Fenced,
    RecordRejected,
    Retryable,
    SnapshotsLate,
    StateUnusable,
    TidemillError,
)
from ..failpoints import hit
from ..ids import TaskId
from ..kafka.errors import OffsetGone, TransactionAborted, acting
from ..restore.global_tables import GlobalTables
from ..savepoints.hold import Ended, Hold, Limit, Stand, Turn
from ..serve.stats import Stats
from ..tasks.flow_control import commit_due, turn_ends
from ..tasks.prepared_commit import PreparedCommit
from ..tasks.task import Task
from .bisection import RejectedRecordSearch, of_row
from .checkpoint import CommittedPositions
from .housekeeping import Housekeeping
from .kafka_io import KafkaIO
from .retry import RetryDeadline
from .running_tasks import RunningTasks
from .snapshot_commits import SnapshotCommits
from .task_executor import TaskExecutor
from .task_manager import TaskManager

__all__ = ["ProcessingLoop"]

LOG = logging.getLogger("tidemill.loop")
POLL_SECONDS = 0.05
BATCH_COMMIT_MS = 100
"""How often a batch commits at the end of its inputs, if its interval is longer."""
WAIT_MS = 10
"""How often a commit looks whether its snapshots are stored."""
CALLING_SECONDS = 0.002
"""The same while asynchronous calls are pending, whose results do not arrive by polling."""


class ProcessingLoop:
    """The main loop of one process."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        stats: Stats,
        kafka: KafkaIO,
        manager: TaskManager,
        running: RunningTasks,
        executor: TaskExecutor,
        housekeeping: Housekeeping,
        tables: GlobalTables,
        hold: Hold,
        snapshots: SnapshotCommits | None = None,
    ) -> None:
        """Create it; `snapshots` is where stores have no changelogs."""
        self._settings = settings
        self._clock = clock
        self._stats = stats
        self._intake = kafka.intake
        self._writer = kafka.writer
        self._membership = kafka.membership
        self._watch = kafka.watch
        self._manager = manager
        self._running = running
        self._executor = executor
        self._housekeeping = housekeeping
        self._tables = tables
        self._hold = hold
        self._snapshots = snapshots
        self._interval = settings.interval
        self._has_calls = manager.plan.topology.has_asynchronous_calls
        self._search = RejectedRecordSearch()
        self._working: Task | None = None
        """The task whose output was produced last."""
        self._last_commit = clock.monotonic()
        self._retry_deadline = RetryDeadline(clock, settings.retry_timeout)
        apart = settings.retry_timeout + 2 * settings.transaction_limit
        self._rollback_deadline = RetryDeadline(clock, settings.retry_timeout, apart)
        """Limits repeated rollbacks; only a commit counts as a success."""

    @property
    def tasks(self) -> Mapping[TaskId, Task]:
        """The running tasks."""
        return self._running.by_id

    def run(self, stopping: Callable[[], bool]) -> bool:
        """Run until stopped, then commit and close the tasks; return whether that commit succeeded."""
        try:
            while not stopping():
                self.run_once()
            return self._finish()
        except StateError as failure:
            raise StateUnusable(str(failure)) from failure
        finally:
            self._running.close_all()
            self._writer.discard(abort=True)
            self._intake.close()

    def _finish(self) -> bool:
        """Make the last commit. If it is refused, the next owners of the tasks repeat the work."""
        try:
            self._commit()
        except (Fenced, TransactionAborted, RecordRejected, SnapshotsLate) as failure:
            LOG.warning(
                "%s; processing since the last commit is rolled back, and repeated after the next start", failure
            )
            return False
        except CorruptStore as failure:
            LOG.warning("%s; the next start restores missing changes from the changelog", failure)
            return False
        return True

    def run_once(self) -> None:
        """Take one turn. Raises Retryable after Kafka has been unavailable for `retry_timeout`."""
        self._membership.reachable(self._settings.retry_timeout)
        self._alive()
        try:
            self._try_turn()
        except CorruptStore as failure:
            self._manager.damaged(failure)

    def _alive(self) -> None:
        """Report that the main thread makes progress, and the state of its tasks."""
        self._membership.progress()
        self._stats.turn(self.tasks.values(), self._intake.log_end, self._clock.now())

    def _turn(self) -> None:
        self._rearrange()
        began = self._clock.monotonic()
        self._receive()
        received = self._clock.monotonic()
        if (not self._hold.busy or self._may_run()) and self._tables.ready(self._stats):
            self._process()
        else:
            self._executor.more = False
        self._stats.spent(received - began, self._clock.monotonic() - received)
        now = self._clock.monotonic()
        with acting("read"):
            self._intake.apply_flow_control()
            self._intake.restart_stalled(now)
        if self._commit_due(now):
            self._commit()
        if self._settings.batch:
            self._housekeeping.ended(self._running.at_end)
        self._housekeeping.turn(self._manager.plan, self.tasks)

    def _try_turn(self) -> None:
        """Take a turn and handle its failure."""
        try:
            self._turn()
            self._retry_deadline.succeeded()
        except RecordRejected as failure:
            self._search.refused(failure, self._working)
            self._roll_back(failure)
        except TransactionAborted as failure:
            self._roll_back(failure)
            self._membership.ask()  # a new generation of the group may be the cause
            self._rollback_deadline.failed(failure)
        except Fenced as failure:
            LOG.warning("%s; giving up this membership", failure)
            self._manager.give_up(str(failure))
        except SnapshotsLate as failure:
            LOG.warning("%s; recovering from the last commit", failure)
            self._manager.recover_all()
        except CommitOutcomeUnknown as failure:
            LOG.warning("%s; dropping uncommitted work and recovering", failure)
            self._manager.recover_all()
            self._rollback_deadline.failed(failure)
        except Retryable as failure:
            self._retry_deadline.failed(failure)

    def _rearrange(self) -> None:
        """Apply new assignments and topic changes. The work of tasks is committed before they close."""
        self._manager.take_events()
        if (changes := self._manager.assignment()) is not None:
            if changes.close:
                self._commit()
            self._manager.assign(changes)
        if (changes := self._manager.topic_changes()) is not None:
            if changes.close:
                self._commit()
            self._manager.follow_topics(changes)
        if (changes := self._manager.hand_overs()) is not None:
            self._commit()
            self._manager.hand_over(changes)
        if self._manager.opening or self._writer.orphaned:
            self._writer.ensure()
        self._manager.start_opened()

    # Records

    def _receive(self) -> None:
        with acting("read"):  # records received before a failure are not received again
            try:
                ends = self._intake.receive(self._settings.max_batch, 0 if self._executor.more else self._wait())
            except OffsetGone as failure:
                # Other members may own these tasks by now, and may have deleted processed records.
                self._membership.confirm(self._writer.epoch)
                if self._watch is None or not self._watch.replaced(failure.topic):
                    raise
                self._manager.recover_all()
                return
        if self._intake.gone() and self._watch is not None:
            self._watch.check_soon()
        self._stats.ended(ends)
        self._stats.held = self._intake.held

    def _wait(self) -> float:
        """Return how many seconds to wait for records when there is no other work."""
        if self._has_calls and self._running.calling:
            return CALLING_SECONDS
        if not self._pending():
            return POLL_SECONDS
        left = self._interval - (self._clock.monotonic() - self._last_commit)
        return min(POLL_SECONDS, max(0.0, left / 1000))

    def _process(self) -> None:
        self._alive()
        if self.tasks:
            self._writer.ensure()
        until = turn_ends(self._clock.monotonic(), self._last_commit, self._interval)
        with acting("process records"):  # from here on state changes
            for task, outgoing in self._executor.turn(self.tasks, until, self._search):
                self._hand_over(task, outgoing)
                self._alive()
            self._writer.poll()

    def _may_run(self) -> bool:
        """Hold the tasks as a savepoint or a cut-over needs it; return whether they may run."""
        tasks = self.tasks.values()
        match self._hold.next(tasks, resting=not self._hold.rests or self.resting()):
            case Turn.RUN:
                return True
            case Turn.REACH:
                if self._hold.rests:
                    self._settle()
                self._commit()
                self._hold.reached(tasks)
            case Limit(ends):
                self._commit()
                self._running.limit(ends)
                self._hold.limited(ends)
            case Stand(other, attempt):
                self._running.stand(other, attempt)
                try:
                    self._commit()
                except BaseException:
                    self._running.stand_no_more()
                    raise
                self._hold.stood(tasks)
            case Ended(role):
                self._manager.resolve(role)
            case Turn.WAIT:
                pass
        return False

    def _settle(self) -> None:
        """Bring all tasks exactly to the time of what they have read."""
        now = self._clock.now()
        self._writer.ensure()
        with acting("process records"):
            for task in self.tasks.values():
                self._hand_over(task, task.tick(now, settle=True))

    def _hand_over(self, task: Task, outgoing: list[Outgoing]) -> None:
        self._produce(task, outgoing)
        if self._search.open:
            self._commit()

    def _produce(self, task: Task, outgoing: list[Outgoing]) -> None:
        self._working = task
        if outgoing:
            outgoing = self._search.without(outgoing)
            refused = self._writer.produce(outgoing, one_by_one=self._search.one_by_one)
            for failure in refused:
                task.refuse(of_row(failure))
            self._stats.produced(sum([len(out.rows) for out in outgoing]) - len(refused))

    # Commits

    def _pending(self) -> bool:
        return self._writer.pending or self._running.dirty

    def resting(self) -> bool:
        """Return whether all that can be processed now is processed and committed."""
        return not (self._manager.opening or self._running.calling or self._pending()) and self._running.at_end

    def _commit_due(self, now: int) -> bool:
        pending = self._pending()
        if self._hold.ends and self._running.at_end:
            return pending
        if self._settings.batch and self._running.at_end:
            return pending and now - self._last_commit >= BATCH_COMMIT_MS
        dirty = self._running.dirty_bytes if pending else 0
        return commit_due(now - self._last_commit, self._interval, dirty, self._settings.cache_bytes, pending)

    def _commit(self) -> None:
        """Commit. This is the only commit path, for every reason."""
        began = self._clock.monotonic()
        if self._pending():
            self._writer.ensure()
            self._send_waiting()
            as_of, prepared = self._clock.now(), [task.prepare_commit() for task in self.tasks.values()]
            prepared, positions = self._made(prepared)
            hit("after-commit-before-settle")
            for index, work in enumerate(prepared):
                if index == len(prepared) // 2:
                    hit("during-settle")
                self.tasks[work.task].complete_commit(positions[work.task], as_of, work.mark)
            self._rollback_deadline.succeeded()
            self._search.committed()
            share = self._settings.cache_bytes // max(1, len(self.tasks))
            for task in self.tasks.values():
                task.trim(share)
            self._stats.committed(self._clock.monotonic() - began, prepared)
        self._last_commit = self._clock.monotonic()
        self._housekeeping.committed(self.tasks)

    def _send_waiting(self) -> None:
        """Send the results that have waited for this commit."""
        with acting("process records"):
            for task in self.tasks.values():
                if outgoing := task.before_commit(self._clock.now()):
                    self._produce(task, outgoing)
                    self._alive()

    def _made(self, prepared: list[PreparedCommit]) -> tuple[list[PreparedCommit], CommittedPositions]:
        """Make the prepared commits durable; without changelogs, snapshots of them first."""
        snapshots = self._snapshots
        if snapshots is None:
            return prepared, self._writer.commit(prepared)
        try:
            snapshots.begin(prepared, self.tasks, self._writer.process)
            while (secured := snapshots.secured(*self._writer.left())) is None:
                if self._membership.status.epoch != self._writer.epoch:
                    raise Fenced("the membership was lost while the commit waited for its snapshots")
                self._clock.sleep(WAIT_MS)
                self._alive()
                self._writer.poll()
            positions = self._writer.commit(secured)
        except BaseException:
            snapshots.abandon()
            raise
        snapshots.committed()
        return secured, positions

    def _roll_back(self, failure: TidemillError) -> None:
        """Roll back to the last commit, keeping the tasks if possible."""
        LOG.warning("%s; aborted, reading again from the last commit", failure)
        self._stats.aborted()
        if self._watch is not None:
            self._watch.check_soon()  # a deleted topic may be the cause
        try:
            again = self._writer.abort()
        except (Fenced, Retryable, TransactionAborted) as worse:
            LOG.warning("%s; recovering with a new producer", worse)
            again = False
        if not again or any(task.ahead for task in self.tasks.values()):
            self._manager.recover_all()
            return
        for task in self.tasks.values():
            self._intake.rewind(task.discard())
