"""A process's place in the group, for the loop's thread: values out, short calls in.

Runs a `Session` on an event loop in a thread of its own, so that heartbeats go out while the loop works. The rule for
commits through a rebalance is kept here: `sending_offsets` waits, within bounds, while our own JoinGroup is in flight,
and refuses work of an epoch that has ended. What to do with an event is for the loop to decide.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from ..assignment.assignment import FORGOTTEN, coarse
from ..errors import Fenced, Retryable
from ..ids import TaskId, transactional_id
from ..kafka.connections import Wire
from ..kafka.protocol import Partition
from . import offsets as group_offsets
from .background import Background
from .events import Assigned, Event, Failed, Former, Lost, MembershipSettings
from .fencing import fence
from .group_metadata import check_format, group_metadata
from .metadata.user_data import Part
from .offsets import confirm
from .orphans import sweep
from .session import Session
from .shared import State

__all__ = [
    "Assigned",
    "Event",
    "Failed",
    "Former",
    "Lost",
    "Membership",
    "MembershipSettings",
    "Part",
    "Status",
]

CHANGE = 0.3
"""When the weights of a process's tasks differ by this share from what the group knows, that is worth a review."""


@dataclass(frozen=True)
class Status:
    """How the membership is, for people and metrics."""

    phase: str
    """unjoined, joining, syncing, stable or closed."""
    generation: int
    epoch: int
    member_id: str
    leader: bool
    members: int
    trouble: str
    """Why Kafka does not answer, "" while it does."""


class Membership:
    """Membership in the group of one application. Methods may be called from any thread."""

    def __init__(
        self, settings: MembershipSettings, *, wire: Wire | None = None, background: Background | None = None
    ) -> None:
        """`wire` and `background` are what it uses to reach Kafka and to run beside the loop."""
        self._settings = settings
        self._background = background or Background("tidemill-membership")
        self._state = State(settings.process, self._background.condition(), self._background.now())
        self._session = Session(settings, self._state, wire or Wire(settings.connection()), self._background)

    # For the loop's turn

    def start(self) -> None:
        """Begins to join. Raises Fatal when the installed Kafka client cannot commit for this membership."""
        check_format()
        self.progress()
        self._background.start(self._live())

    def events(self) -> list[Event]:
        """What happened since the last call, oldest first; plans that a later one supersedes are left out.

        Raises what has ended the membership's thread, or a part of its work, unexpectedly.
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
                # What was released after this plan was made is not given by it any more.
                event = replace(event, plan=replace(event.plan, active=event.plan.active & owned), surplus=surplus)
            kept.append(event)
        return kept

    def wait(self, timeout: float) -> bool:
        """Sleeps until there is an event, at most `timeout` seconds. True when there is one."""
        with self._state.changed:
            return self._state.changed.wait_for(lambda: bool(self._state.events), timeout)

    def progress(self) -> None:
        """The loop's thread is alive. When this is not called for `max_poll_interval`, membership is given up."""
        self._state.progressed = self._background.now()

    def reachable(self, limit: int) -> None:
        """Raises Retryable when Kafka has not answered for longer than `limit` ms, whatever was asked of it."""
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
        """The process id of the present epoch."""
        with self._state.changed:
            return self._state.ownership.process

    # Tasks

    def owned(self) -> frozenset[TaskId]:
        """Tasks that no other member may be given: those to run and those still to be released."""
        with self._state.changed:
            return self._state.ownership.owned

    def release(self, tasks: Iterable[TaskId]) -> None:
        """These tasks are committed for the last time and closed: others may have them."""
        with self._state.changed:
            gone = self._state.ownership.release(tasks)
        if gone:
            self._background.soon(self._session.rejoin)

    def fence(self, tasks: Iterable[TaskId]) -> concurrent.futures.Future[Mapping[TaskId, tuple[str, ...]]]:
        """Ends what former owners of these newly assigned tasks have left open. Call `opened` some time after it.

        Returns at once. The future gives the former owners by task; it fails with Retryable or Fatal.
        """
        with self._state.changed:
            opening = self._state.ownership.opening
            chains = {task: opening[task] for task in tasks if task in opening}
        return self._background.submit(self._fence(chains))

    def sweep(self, timeout: float = 30.0) -> list[str]:
        """Fences processes of this application that have a transaction open and are not in the group."""
        if not self._settings.transactions:
            return []
        return self._background.result(sweep(self._session.wire, self._settings, self._state), timeout)

    def opened(self, fenced: Mapping[TaskId, tuple[str, ...]]) -> None:
        """These former owners are fenced: the group may forget them, unless there are others by now."""
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
        """Figures for the next assignment, each replacing what was given before.

        `lags`: changelog records that local state is behind, of all tasks that have any here (standbys, tasks being
        restored, what an earlier run left). `weights`: load of owned tasks. `sizes`: bytes of state of owned tasks.
        """
        acceptable = self._settings.policy.acceptable_lag
        with self._state.changed:
            state = self._state
            state.lags = state.lags if lags is None else dict(lags)
            state.weights = state.weights if weights is None else dict(weights)
            state.sizes = state.sizes if sizes is None else dict(sizes)
            ready = any(
                state.lags.get(task, acceptable + 1) <= acceptable < state.told_lags.get(task, acceptable + 1)
                for task in state.ownership.plan.warming
            )
            news = ready or self._load_has_changed()
        if news:
            self._background.soon(self._session.rejoin)

    def _load_has_changed(self) -> bool:
        """Whether the load is so different from what the group knows, and has known for so long, that it should assign
        anew."""
        state = self._state
        if self._background.now() - state.told_at < self._settings.review_interval / 1000:
            return False
        known = state.ownership.plan.memory.weights
        mine = {task: weight for task, weight in state.weights.items() if task in state.ownership.owned}
        changed = sum(abs(coarse(weight) - known.get(task, 0)) for task, weight in mine.items())
        return changed > CHANGE * sum(known.get(task, 0) for task in mine)

    def describe(self, parts: Iterable[Part]) -> None:
        """The topology as this process runs it now: topics have gained partitions, or their leaders have moved."""
        self._background.soon(self._session.describe, tuple(parts))

    # Commits

    @contextlib.contextmanager
    def sending_offsets(self, epoch: int) -> Generator[bytes]:
        """Around `send_offsets_to_transaction`, and nothing else: gives the group metadata to send with.

        Waits while a JoinGroup of ours is in flight, `hold` at most, and makes a join wait for it. Raises Fenced when
        the epoch in which the work was begun has ended.
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
        """The group metadata as it is now. Raises Fenced when the epoch has ended."""
        with self._state.changed:
            self._check(epoch)
            state = self._state
            return group_metadata(self._settings.group, state.generation, state.member, self._settings.instance_id)

    def commit_offsets(self, epoch: int, offsets: Mapping[Partition, tuple[int, str]], timeout: float = 30.0) -> None:
        """Commits (next offset, metadata) by (topic, partition), outside a transaction.

        Raises Fenced when this process no longer owns its tasks, Retryable when Kafka did not answer in time.
        """
        with self._state.changed:
            self._hold(epoch)
            self._state.sending += 1

        identity = partial(self._identity, epoch)
        try:
            deadline = self._background.now() + timeout
            session = self._session
            self._background.result(
                group_offsets.commit(session.wire, self._settings.group, offsets, identity, deadline), timeout
            )
        finally:
            self._sent()

    def confirm(self, epoch: int, timeout: float = 30.0) -> None:
        """Asks Kafka whether this process is a member still.

        Whoever removes it after this has returned fences what it has registered before. Raises Fenced when it was
        removed already or the epoch has ended, Retryable when Kafka did not answer in time.
        """
        deadline = self._background.now() + timeout
        asked = confirm(self._session.wire, self._settings.group, partial(self._identity, epoch), deadline)
        self._background.result(asked, timeout)

    def fetch_offsets(
        self, partitions: Iterable[Partition], timeout: float = 30.0
    ) -> dict[Partition, tuple[int, str] | None]:
        """Committed (offset, metadata) by (topic, partition), None where there is none.

        Waits while a transaction that commits any of them is open. Raises Retryable when it takes too long.
        """
        deadline = self._background.now() + timeout
        wire = self._session.wire
        return self._background.result(
            group_offsets.fetch(wire, self._settings.group, list(partitions), deadline), timeout
        )

    # Leaving

    def ask(self) -> None:
        """Asks the group at once whether there is something new, as somebody knows who has seen a member go."""
        self._background.soon(self._session.wake.set)

    def give_up(self, epoch: int, why: str) -> None:
        """The loop found itself fenced: this epoch ends now, another begins."""
        self._background.soon(self._session.give_up, epoch, why)

    def remove(self, member_id: str, timeout: float = 10.0) -> bool:
        """Takes a member that is known to be dead out of the group; harmless, if costly, when it lives."""
        return self._background.result(self._session.remove(member_id), timeout)

    def leave(self, timeout: float) -> None:
        """Leaves the group, after the last commit. A static member keeps its place for its restart."""
        if self._background.alive:
            with contextlib.suppress(Retryable):
                self._background.result(self._session.leave(), timeout)

    def close(self) -> None:
        """Ends the thread. Does not leave the group."""
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
        """Waits, with the lock held, for our own join; checks the epoch."""
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

    def _identity(self, epoch: int) -> group_offsets.Identity:
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
            await sweep(session.wire, settings, self._state)
        return chains
