"""Carries out the state changes of tasks: assignment, revocation, opening, reopening.

`task_states.py` decides on the changes and defines the states; this module carries them out. New assignments and topic
changes need a commit before running tasks are closed, and only the loop commits. So the caller gets the changes,
commits if there are tasks to close, and calls back to carry the changes out. If the commit fails, they are computed
again in the next turn.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ...state.store import CorruptStore
from ...state.topic_partition import TopicPartition
from ..errors import Fatal
from ..failpoints import hit
from ..group.membership import Assigned, Failed, Lost
from ..group.metadata.subtopology_info import describe_waiting, subtopology_infos
from ..ids import TaskId
from ..kafka.errors import acting
from ..plan.plan import Plan
from ..restore.local_storage import ProcessIdentity
from ..restore.opening import Closed, Ready
from ..restore.recovery import Recovery
from ..restore.task_factory import TaskEnvironment, create_task
from ..serve.stats import Stats
from ..tasks.roles import Role, why_retired
from ..tasks.task import Task
from ..topics.topic_watcher import TopicsSnapshot
from .kafka_io import KafkaIO
from .running_tasks import RunningTasks
from .task_states import TaskChanges, TaskStates

__all__ = ["TaskManager"]

LOG = logging.getLogger("tidemill.loop")


class TaskManager:
    """Opens, starts, reopens, closes and releases the tasks of a process."""

    def __init__(
        self,
        plan: Plan,
        kafka: KafkaIO,
        recovery: Recovery,
        running: RunningTasks,
        identity: ProcessIdentity,
        environment: TaskEnvironment,
        stats: Stats,
        *,
        batch: bool = False,
    ) -> None:
        """Create it; a `batch` does not go on from histories to topics."""
        self.plan = plan
        self._batch = batch
        self._writer = kafka.writer
        self._membership = kafka.membership
        self._watch = kafka.watch
        self._recovery = recovery
        self._running = running
        self._identity = identity
        self._environment = environment
        self._stats = stats
        self._states = TaskStates()
        self._assignment: Assigned | None = None
        """The latest assignment, until it is carried out."""
        self._seen: TopicsSnapshot | None = None
        """The latest topic changes, until they are carried out."""

    @property
    def opening(self) -> bool:
        """Whether any task is being opened."""
        return bool(self._states.opening)

    # Events of the group

    def take_events(self) -> None:
        """Handle the events of the group. Raises the failure that ended the membership."""
        with acting("handle events of the group"):  # each is delivered once
            for event in self._membership.events():
                match event:
                    case Assigned():
                        self._assignment = event
                    case Lost():
                        self._lost(event)
                    case Failed():
                        raise event.error

    def assignment(self) -> TaskChanges | None:
        """Return the changes of a new assignment, for `assign`; None if there is none."""
        event = self._assignment
        if event is None:
            return None
        self._writer.begin_epoch(event.epoch, event.process)
        self._identity.remember(event.member_id, event.process)
        self._stats.assigned(len(self.plan.tasks()))
        return self._states.assigned(event.plan.active, event.surplus)

    def assign(self, changes: TaskChanges) -> None:
        """Carry out an assignment, after the tasks to close are committed.

        Standbys are set after the tasks to open, which take over the stores of their standbys.
        """
        event, self._assignment = self._assignment, None
        assert event is not None
        handed = self._running.release_stores(changes.close)
        if changes.close:
            self._running.close(changes.close)
        hit("inside-rebalance")
        self._carry_out(changes)
        self._recovery.standby(event.plan.standby, handed)
        plan = event.plan
        parts = [f"{len(plan.active)} tasks"]
        parts += [f"{len(changes.close)} handed over"] if changes.close else []
        parts += [f"{len(changes.open)} to open"] if changes.open else []
        parts += [f"{len(plan.standby)} standbys"] if plan.standby else []
        LOG.info("generation %d: %s", event.generation, ", ".join(parts))
        if waits := describe_waiting(plan, self.plan):
            LOG.warning("%s", waits)

    def _lost(self, event: Lost) -> None:
        LOG.warning("membership lost: %s; dropping uncommitted work and rejoining", event.why)
        self._stats.lost()
        self._drop_all()

    # Changes of topics

    def topic_changes(self) -> TaskChanges | None:
        """Return the changes due to new topics and partitions, for `follow_topics`, or None.

        Tasks that get new inputs are reopened; others are not affected.
        """
        seen = self._seen = (self._watch and self._watch.take_change()) or self._seen
        if seen is None:
            return None
        self._recovery.replan(seen.plan)
        tasks = self._running.by_id.values()
        fed = [task.id for task in tasks if not same_inputs(task, seen.inputs(task.id))]
        if seen.plan is not self.plan:
            self._carry_out(self._states.reopen(self._states.opening))
        self.plan = seen.plan
        if any(task.topics.differ(task.inputs, seen.ids, seen.gone) for task in tasks):
            self.recover_all()  # records read from a recreated topic are not committed
            fed = []
        return self._states.reopen(fed)

    def follow_topics(self, changes: TaskChanges) -> None:
        """Carry out changes of topics, after the tasks to close are committed."""
        seen, self._seen = self._seen, None
        assert seen is not None
        if changes.close:
            self._running.close(changes.close)
        self._carry_out(changes)
        self._membership.describe(subtopology_infos(seen.plan, seen.racks))

    def hand_overs(self) -> TaskChanges | None:
        """Return the changes for tasks whose history has ended, for `hand_over`, or None."""
        ended = [task.id for task in self._running.by_id.values() if task.time.histories.ended(task.committed())]
        return self._states.reopen(ended) if ended and not self._batch else None

    def hand_over(self, changes: TaskChanges) -> None:
        """Carry out the changes, after the tasks are committed."""
        LOG.info("the history of tasks %s has ended: they read the topic now", ", ".join(map(str, changes.close)))
        hit("during-hand-over")
        self._running.close(changes.close)
        self._carry_out(changes)

    # Results of recovery

    def start_opened(self) -> None:
        """Start the tasks that recovery has opened, and release those that it has closed."""
        with acting("start tasks"):  # each result is returned once
            for answer in self._recovery.finished():
                match answer:
                    case Ready():
                        self._start(answer)
                    case Closed():
                        self._carry_out(self._states.closed(answer.task, answer.opening))
        opening = self._states.opening
        self._stats.recovering(len(opening), self._recovery.progress() if opening else ())

    def _start(self, ready: Ready) -> None:
        self._carry_out(self._states.ready(ready.task, ready.opening))
        self._stats.ready(ready.restored)
        try:
            task = create_task(ready, self.plan.subtopology(ready.task), self._environment)
        except CorruptStore as failure:
            ready.close()
            self.damaged(failure)
            return
        self._running.start(task)

    # Cut-overs

    def resolve(self, role: Role) -> None:
        """Let the tasks go on in this role, after a cut-over is done or undone.

        Raises Fatal if another application has taken the place of this one.
        """
        if role.retired:
            raise Fatal(why_retired(self.plan.app_id, role))
        self._environment.role.now = role
        for task in self._running.by_id.values():
            task.role = role
        LOG.info("a cut-over has ended: %s %s", self.plan.app_id, role.in_words)

    # Failures

    def give_up(self, why: str) -> None:
        """End this membership epoch, after another member has taken over its tasks."""
        self._drop_all()
        self._membership.give_up(self._writer.epoch, why)

    def damaged(self, failure: CorruptStore) -> None:
        """Wipe a corrupt store and reopen all tasks."""
        LOG.warning("%s; wiping it and restoring it from its changelog", failure)
        self.recover_all(failure.task)

    def recover_all(self, *corrupt: str) -> None:
        """Drop all running tasks, and reopen them from the last commit.

        So are the tasks with corrupt stores, which are wiped. A new producer ends the transaction that may be open.
        """
        changes = self._states.reopen({*self._states.running, *map(TaskId.parse, corrupt)})
        self._running.close_all()
        self._identity.wipe(*corrupt)
        self._writer.discard(abort=False)
        self._carry_out(changes)

    def _drop_all(self) -> None:
        self._carry_out(self._states.lost())
        self._recovery.standby(())
        self._assignment = None
        self._running.close_all()
        self._writer.discard(abort=True)  # the new owners may not know that there is a transaction to fence

    def _carry_out(self, changes: TaskChanges) -> None:
        """Carry out all changes except closing running tasks, which the callers do."""
        self._states = changes.after
        if changes.release:
            self._membership.release(changes.release)
        if changes.cancel:
            self._recovery.cancel(changes.cancel)
        if changes.open:
            self._recovery.open(changes.open)


def same_inputs(task: Task, inputs: Iterable[TopicPartition]) -> bool:
    """Return whether a task has these inputs; of a history and the topic after it, it has one."""
    pairs = task.subtopology.histories
    either = {*pairs, *pairs.values()}
    return [key for key in task.inputs if key[0] not in either] == [key for key in inputs if key[0] not in either]
