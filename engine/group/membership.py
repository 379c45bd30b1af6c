"""The membership of a process in its group, as seen by the processing loop.

Runs a `Session` on an event loop in a background thread, so that heartbeats are sent while the loop works. The rule for
commits during a rebalance is enforced here: `sending_offsets` waits, up to a limit, while this member's own JoinGroup
is in flight, and rejects work of an epoch that has ended. The loop decides what to do about an event.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from ...state.topic_partition import TopicPartition
from ..assignment.assignment import FORGOTTEN, coarse
from ..errors import Fenced, Retryable
from ..ids import TaskId, transactional_id
from ..kafka.connections import BrokerConnections
from . import offsets as group_offsets
from .background import Background
from .events import Assigned, Event, Failed, Former, Lost, MembershipSettings
from .fencing import fence
from .group_metadata import check_format, group_metadata
from .membership_state import MembershipState
from .metadata.member_metadata import SubTopologyInfo
from .offsets import confirm
from .orphans import fence_orphans
from .session import Session

__all__ = [
    "Assigned",
    "Event",
    "Failed",
    "Former",
    "Lost",
    "Membership",
    "MembershipSettings",
    "Status",
    "SubTopologyInfo",
]

CHANGE = 0.3
"""The relative difference between the weights of a process's tasks and those that the group knows which is worth a
rebalance."""


@dataclass(frozen=True)
class Status:
    """The state of the membership, for the status page and metrics."""

    phase: str
    """unjoined, joining, syncing, stable or closed."""
    generation: int
    epoch: int
    member_id: str
    leader: bool
    members: int
    trouble: str
    """The reason why Kafka does not respond; "" while it does."""


class Membership:
    """Membership in the group of one application. Methods may be called from any thread."""

    def __init__(
        self,
        settings: MembershipSettings,
        *,
        wire: BrokerConnections | None = None,
        background: Background | None = None,
    ) -> None:
        """Take the connections to Kafka (`wire`) and the event loop (`background`), or make them."""
        self._settings = settings
        self._background = background or Background("tidemill-membership")
        self._state = MembershipState(settings.process, self._background.condition(), self._background.now())
        self._session = Session(
            settings, self._state, wire or BrokerConnections(settings.connection()), self._background
        )

    # For each iteration of the loop

    def start(self) -> None:
        """Start to join.

        Raises Fatal if the installed Kafka client cannot commit for this membership.
        """
        check_format()
        self.progress()
        self._background.start(self._live())

    def events(self) -> list[Event]:
        """Return the events since the last call, oldest first, without superseded plans.

        Raises the error that has ended the membership's thread, or a part of its work, unexpectedly.
        """
        self._background.check()
        with self._state.changed:
            events = list(self._state.events)
            self._state.events.clear()
            owned, surplus = self._state.ownership.owned, self._state.ownership.surplus
        kept: list[Event] = []
        for index, event in enumerate(events):
            if isinstance(event, Assigned):
                if any(isinstance(later, (Assigned, Lost)) for later in events[index + 1 :]):
                    continue
                # Tasks that were released after this plan was made are no longer assigned by it.
                event = replace(event, plan=replace(event.plan, active=event.plan.active & owned), surplus=surplus)
            kept.append(event)
        return kept

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for an event. Return whether there is one."""
        with self._state.changed:
            return self._state.changed.wait_for(lambda: bool(self._state.events), timeout)

    def progress(self) -> None:
        """Note that the loop makes progress.

        If this is not called for `max_poll_interval`, the member leaves the group.
        """
        self._state.progressed = self._background.now()

    def reachable(self, limit: int) -> None:
        """Raise Retryable if Kafka has not responded to any request for more than `limit` ms."""
        with self._state.changed:
            silent, trouble = self._state.silent(self._background.now()), self._state.trouble
        if silent * 1000 > limit:
            raise Retryable(f"Kafka has not answered for {silent:.0f} s, longer than retry_timeout: {trouble}")

    @property
    def status(self) -> Status:
        state = self._state
        with state.changed:
            return Status(
                state.phase,
                state.generation,
                state.ownership.epoch,
                state.member,
                state.leader,
                state.members,
                state.trouble,
            )

    @property
    def generation(self) -> int:
        """The newest generation of the group that this process is in."""
        with self._state.changed:
            return self._state.generation

    @property
    def process(self) -> str:
        """The process id of the current epoch."""
        with self._state.changed:
            return self._state.ownership.process

    # Tasks

    def owned(self) -> frozenset[TaskId]:
        """Return the tasks that no other member may get: those to run and those to be released."""
        with self._state.changed:
            return self._state.ownership.owned

    def release(self, tasks: Iterable[TaskId]) -> None:
        """Release tasks that are finally committed and closed: other members may get them."""
        with self._state.changed:
            gone = self._state.ownership.release(tasks)
        if gone:
            self._background.soon(self._session.rejoin)

    def fence(self, tasks: Iterable[TaskId]) -> concurrent.futures.Future[Mapping[TaskId, tuple[str, ...]]]:
        """Fence the former owners of these newly assigned tasks; call `opened` afterwards.

        Returns at once. The future gives the former owners by task; it fails with Retryable or Fatal.
        """
        with self._state.changed:
            opening = self._state.ownership.opening
            chains = {task: opening[task] for task in tasks if task in opening}
        return self._background.submit(self._fence(chains))

    def fence_orphans(self, timeout: float = 30.0) -> list[str]:
        """Fence processes of this application that have an open transaction but are not members."""
        if not self._settings.transactions:
            return []
        return self._background.result(fence_orphans(self._session.wire, self._settings, self._state), timeout)

    def opened(self, fenced: Mapping[TaskId, tuple[str, ...]]) -> None:
        """Note that these former owners are fenced.

        The group may then forget them, unless the task has other former owners by now.
        """
        with self._state.changed:
            own = self._state.ownership
            own.opened([task for task, chain in fenced.items() if own.opening.get(task) == chain])

    def report(
        self,
        *,
        lags: Mapping[TaskId, int] | None = None,
        weights: Mapping[TaskId, int] | None = None,
        sizes: Mapping[TaskId, int] | None = None,
    ) -> None:
        """Set the values for the next assignment, each replacing the previous ones.

        `lags`: changelog records that local state is behind, for all tasks with local state (standbys, tasks being
        restored, state of an earlier run). `weights`: load of owned tasks. `sizes`: bytes of state of owned tasks.
        """
        acceptable = self._settings.policy.acceptable_lag
        with self._state.changed:
            state = self._state
            state.lags = state.lags if lags is None else dict(lags)
            state.weights = state.weights if weights is None else dict(weights)
            state.sizes = state.sizes if sizes is None else dict(sizes)
            ready = any(
                state.lags.get(task, acceptable + 1) <= acceptable < state.reported_lags.get(task, acceptable + 1)
                for task in state.ownership.plan.warming
            )
            changed = ready or self._load_has_changed()
        if changed:
            self._background.soon(self._session.rejoin)

    def _load_has_changed(self) -> bool:
        """Return whether the load differs enough, for long enough, to ask for a rebalance."""
        state = self._state
        if self._background.now() - state.reported_at < self._settings.review_interval / 1000:
            return False
        known = state.ownership.plan.memory.weights
        mine = {task: weight for task, weight in state.weights.items() if task in state.ownership.owned}
        changed = sum(abs(coarse(weight) - known.get(task, 0)) for task, weight in mine.items())
        return changed > CHANGE * sum(known.get(task, 0) for task in mine)

    def describe(self, parts: Iterable[SubTopologyInfo]) -> None:
        """Update the topology of this process: new partitions of topics, or moved leaders."""
        self._background.soon(self._session.describe, tuple(parts))

    # Commits

    @contextlib.contextmanager
    def sending_offsets(self, epoch: int) -> Generator[bytes]:
        """Give the group metadata for `send_offsets_to_transaction`; wrap only that call.

        Waits at most `hold` while this member's own JoinGroup is in flight, and makes a join wait for it. Raises Fenced
        if the epoch in which the work was started has ended.
        """
        with self._state.changed:
            self._hold(epoch)
            state = self._state
            metadata = group_metadata(self._settings.group, state.generation, state.member, self._settings.instance_id)
            state.sending += 1
        try:
            yield metadata
        finally:
            self._sent()

    def group_metadata(self, epoch: int) -> bytes:
        """Return the current group metadata. Raise Fenced if the epoch has ended."""
        with self._state.changed:
            self._check(epoch)
            state = self._state
            return group_metadata(self._settings.group, state.generation, state.member, self._settings.instance_id)

    def commit_offsets(
        self, epoch: int, offsets: Mapping[TopicPartition, tuple[int, str]], timeout: float = 30.0
    ) -> None:
        """Commit (next offset, metadata) by (topic, partition), outside a transaction.

        Raises Fenced if this process no longer owns its tasks, Retryable if Kafka did not respond in time.
        """
        with self._state.changed:
            self._hold(epoch)
            self._state.sending += 1

        identity = partial(self._identity, epoch)
        try:
            deadline = self._background.now() + timeout
            session = self._session
            self._background.result(
                group_offsets.commit_directly(session.wire, self._settings.group, offsets, identity, deadline), timeout
            )
        finally:
            self._sent()

    def confirm(self, epoch: int, timeout: float = 30.0) -> None:
        """Ask Kafka whether this process is still a member.

        A member that removes it after this has returned fences what this process registered before. Raises Fenced if it
        was removed already or the epoch has ended, Retryable if Kafka did not respond in time.
        """
        deadline = self._background.now() + timeout
        asked = confirm(self._session.wire, self._settings.group, partial(self._identity, epoch), deadline)
        self._background.result(asked, timeout)

    def fetch_offsets(
        self, partitions: Iterable[TopicPartition], timeout: float = 30.0
    ) -> dict[TopicPartition, tuple[int, str] | None]:
        """Return the committed (offset, metadata) by (topic, partition), None if there is none.

        Waits while a transaction that commits any of them is open. Raises Retryable if that takes too long.
        """
        deadline = self._background.now() + timeout
        wire = self._session.wire
        return self._background.result(
            group_offsets.fetch_committed(wire, self._settings.group, list(partitions), deadline), timeout
        )

    # Leaving

    def ask(self) -> None:
        """Send a heartbeat at once, for example after the caller has seen a member leave."""
        self._background.soon(self._session.wake.set)

    def give_up(self, epoch: int, why: str) -> None:
        """End this epoch, because the loop has found itself fenced, and start another."""
        self._background.soon(self._session.give_up, epoch, why)

    def remove(self, member_id: str, timeout: float = 10.0) -> bool:
        """Remove a dead member from the group. For a living one this is safe, but costs a rebalance."""
        return self._background.result(self._session.remove(member_id), timeout)

    def leave(self, timeout: float) -> None:
        """Leave the group, after the last commit. A static member keeps its place for its restart."""
        if self._background.alive:
            with contextlib.suppress(Retryable):
                self._background.result(self._session.leave(), timeout)

    def close(self) -> None:
        """Stop the thread, without leaving the group."""
        if self._background.alive:
            self._background.soon(self._stop)
        self._background.join(5)

    # The thread

    async def _live(self) -> None:
        self._stopped = asyncio.Event()
        session = self._background.spawn(self._session.run())
        try:
            await self._stopped.wait()
        finally:
            session.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await session
            await self._session.close()

    def _stop(self) -> None:
        self._stopped.set()

    def _hold(self, epoch: int) -> None:
        """Wait, with the lock held, for this member's own join, and check the epoch."""
        state = self._state
        self._check_epoch(epoch)
        state.changed.wait_for(lambda: not state.joining or state.ownership.epoch != epoch, self._settings.hold / 1000)
        self._check(epoch)

    def _check_epoch(self, epoch: int) -> None:
        if self._state.ownership.epoch != epoch:
            raise Fenced(f"membership epoch {epoch} has ended: its work cannot be committed")

    def _check(self, epoch: int) -> None:
        self._check_epoch(epoch)
        if self._state.generation < 0:
            raise Fenced("this process is not a member of the group, so nothing can be committed")

    def _identity(self, epoch: int) -> group_offsets.MemberIdentity:
        with self._state.changed:
            self._check(epoch)
            return self._state.generation, self._state.member, self._settings.instance_id

    def _sent(self) -> None:
        with self._state.changed:
            self._state.sending -= 1
            last = self._state.sending == 0
        if last:
            self._background.soon(self._session.idle.set)

    async def _fence(self, chains: Mapping[TaskId, tuple[str, ...]]) -> Mapping[TaskId, tuple[str, ...]]:
        settings, session = self._settings, self._session
        processes = {process for chain in chains.values() for process in chain}
        if not settings.transactions:
            return chains
        names = sorted(transactional_id(settings.group, p) for p in processes if p != FORGOTTEN)
        await fence(session.wire, names, settings.transaction_timeout)
        if FORGOTTEN in processes:
            await fence_orphans(session.wire, settings, self._state)
        return chains
