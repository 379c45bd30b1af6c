"""The group protocol of one member: join, sync, heartbeats, loss of membership.

    UNJOINED -> JOINING -> SYNCING -> STABLE      the plan of a generation is delivered on entering STABLE
        ^          ^___________________|          a rebalance takes nothing away
        |______________________________|          membership lost: the epoch ends, all tasks with it
    any -> CLOSED                                 left, closed, or refused permanently

State that two threads use is in `membership_state.py`. `assignment/assignment.py` decides which tasks go where,
`assignment/ownership.py` what a member owns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from typing_extensions import TypeVar

from ..errors import Retryable, TidemillError
from ..ids import transactional_id
from ..kafka.connections import BrokerConnections
from ..kafka.encoding import ProtocolError, Request
from ..kafka.protocol import ErrorCode, JoinGroupResponse, error_name, heartbeat, leave_group, sync_group
from .background import Background
from .coordinator import MOVED
from .events import Assigned, Failed, Lost, MembershipSettings
from .fencing import fence
from .leader import GroupAssignment, perform_assignment, too_large, warn_of_size
from .liveness import LivenessMonitor
from .member_removal import MemberRemover
from .membership_state import MembershipState
from .metadata.member_metadata import SubTopologyInfo, decode_plan
from .orphans import fence_orphans_periodically
from .refusals import group_error
from .self_report import join_request, subtopology_data
from .static_membership import StaticMembership

__all__ = ["Session"]

log = logging.getLogger(__name__)

T = TypeVar("T")

PENDING_SECONDS = 0.1
"""The time between heartbeats while a member has to release a task."""
BACKOFF_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0)


class Session:
    """The protocol side of a membership. All methods run on its event loop."""

    def __init__(
        self, settings: MembershipSettings, state: MembershipState, wire: BrokerConnections, background: Background
    ) -> None:
        self.settings = settings
        self.parts = settings.parts
        self.state = state
        self.wire = wire
        self.wake = asyncio.Event()
        self.idle = asyncio.Event()
        """Set while no offset commit is in flight."""
        self.idle.set()
        self.monitor = LivenessMonitor(settings.process, self.wake, background.spawn)
        self._background = background
        self._remover = MemberRemover(settings.group, wire, self.monitor, self.wake, background)
        self._shared = b""
        self._turn = 0
        self._rejoin = False
        self._failures = 0
        self._closing = False
        self._begun = False
        self._place = StaticMembership(state.progressed)

    async def run(self) -> None:
        """Stay a member until stopped, or refused permanently."""
        works = (self._remover.run(), fence_orphans_periodically(self.wire, self.settings, self.state))
        beside = [self._background.spawn(work) for work in works]
        try:
            await self._live()
        except asyncio.CancelledError:
            pass
        finally:
            for task in beside:
                task.cancel()
        self._phase("closed")

    async def close(self) -> None:
        """Close all connections, after `run` has ended."""
        await self.monitor.close()
        await self.wire.close()

    async def _live(self) -> None:
        while not self._closing:
            try:
                await self._begin()
                while not self._closing:
                    await self._generation()
                    self._failures = 0
            except Retryable as failure:
                await self._after(failure)
            except TidemillError as failure:
                self._fail(failure)
            except ProtocolError as failure:
                log.debug("member metadata cannot be decoded: %s", failure)
                code = ErrorCode.INCONSISTENT_PROTOCOL
                self._fail(group_error(code, self.settings.group, "work in the group", self.settings))

    def rejoin(self) -> None:
        """Ask for a rebalance, with new metadata."""
        self._turn += 1
        self._rejoin = True
        self.wake.set()

    async def leave(self) -> None:
        """Leave the group; a static member only stops, and keeps its place until its session ends."""
        self._closing = True
        self.wake.set()
        with self.state.changed:
            member, self.state.generation = self.state.member, -1
        if member and self.settings.instance_id is None:
            await self._ask(leave_group(self.settings.group, [(member, None)]), 5.0, "aside")
        self.monitor.announce_leave()

    async def remove(self, member: str) -> bool:
        """Remove a dead member from the group. Return False if it was not a member."""
        return await self._remover.remove(member)

    def describe(self, parts: tuple[SubTopologyInfo, ...]) -> None:
        """Replace the topology, and ask for a rebalance if the assignment depends on the change."""
        before, self.parts = self.parts, parts
        moved = self.state.leader and [part.near for part in before] != [part.near for part in parts]
        if moved or subtopology_data(before) != subtopology_data(parts):
            self.rejoin()

    def give_up(self, epoch: int, why: str) -> None:
        """End the epoch, unless it has ended already, and make the old member leave the group."""
        member, generation = self.state.member, self.state.generation
        if self.state.ownership.epoch != epoch:
            return
        self.lose(why)
        self.rejoin()
        if member and self.settings.instance_id is not None:
            self._place.doubt = (generation, member)
        elif member:
            self._remover.soon(member)

    async def _begin(self) -> None:
        """Remove and fence the process that this one replaces, before the first join."""
        former = self.settings.former
        if former is None or self._begun:
            return
        if former.member_id and self.settings.instance_id is None:
            await self._remover.remove(former.member_id)
        if self.settings.transactions and former.process:
            name = transactional_id(self.settings.group, former.process)
            await fence(self.wire, [name], self.settings.transaction_timeout)
        self._begun = True

    async def _generation(self) -> None:
        """Run one generation, from its join to the need for the next."""
        await self._while_silent()
        await self._ask_for_place()
        self._rejoin = False
        self._phase("joining")
        joined = await self._join()
        if joined is None:
            return
        self._phase("syncing")
        if await self._sync(joined):
            self._phase("stable")
            await self._stay()

    async def _while_silent(self) -> None:
        """Stay out of the group while the main thread hangs."""
        while self._hung() and not self._closing:
            await self._sleep(0.1)

    def _hung(self) -> bool:
        silent = asyncio.get_running_loop().time() - self.state.progressed
        return silent * 1000 > self.settings.max_poll_interval

    async def _ask_for_place(self) -> None:
        """Check, as a fenced static member, whether another process has the place."""
        doubt = self._place.doubt
        if doubt is not None:
            code = await self._ask(heartbeat(self.settings.group, *doubt, self.settings.instance_id), 5.0, "group")
            if code in (*MOVED, ErrorCode.FENCED_INSTANCE):
                self._refused(code, "stay in the group")
            self._place.doubt = None

    # Joining

    async def _join(self) -> JoinGroupResponse | None:
        state, settings = self.state, self.settings
        if settings.watch_peers:
            await self.monitor.listen(await self.wire.local_host(await self.wire.coordinator(settings.group), "group"))
        await self._let_commits_finish()
        epoch = state.ownership.epoch
        request = join_request(settings, state, self.parts, self.monitor.address, self._turn, self._shared)
        try:
            joined = await self._ask(request, settings.rebalance_timeout / 1000 + 10, "group")
        except BaseException:
            with state.changed:
                state.joining = False
                state.changed.notify_all()
            raise
        code = joined.error
        with state.changed:  # atomic: a thread that waits to send offsets must not continue with the old generation
            state.joining = False
            if code == ErrorCode.NONE and state.ownership.epoch == epoch:
                state.member, state.generation = joined.member, joined.generation
                state.leader = joined.leader == joined.member
            state.changed.notify_all()
        if state.ownership.epoch != epoch:
            return None  # given up meanwhile: the join is void
        if code == ErrorCode.NONE:
            return joined
        if code == ErrorCode.MEMBER_ID_REQUIRED:
            state.member = joined.member
            self.settings.remember(joined.member, state.ownership.process)
            return None
        self._refused(code, "join the group")
        return None

    async def _let_commits_finish(self) -> None:
        """Wait for offsets that are being sent: the other half of the rule for commits."""
        deadline = asyncio.get_running_loop().time() + self.settings.rebalance_timeout / 4000
        while True:
            with self.state.changed:
                late = asyncio.get_running_loop().time() > deadline
                if not self.state.sending or late or self._closing:
                    self.state.joining = True
                    return
                self.idle.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.idle.wait(), 0.25)

    # Syncing

    async def _sync(self, joined: JoinGroupResponse) -> bool:
        group, instance = self.settings.group, self.settings.instance_id
        led = await self._lead(joined) if joined.leader == joined.member and joined.members else None
        if led is not None:
            # Kept even if the plan reaches no member: its assignments must not be forgotten.
            self._shared = led.shared
            log.info("generation %d of group %s: %d members", joined.generation, group, len(led.assignments))
            warn_of_size(group, led)
        assignments: Mapping[str, bytes] = {} if led is None else led.assignments
        request = sync_group(group, joined.generation, joined.member, instance, assignments)
        synced = await self._ask(request, self.settings.rebalance_timeout / 1000 + 10, "group")
        if synced.error in (ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION):
            return False
        if synced.error in (ErrorCode.SERVER_ERROR, ErrorCode.MESSAGE_TOO_LARGE):
            raise too_large(group, led)
        if synced.error != ErrorCode.NONE:
            self._refused(synced.error, "get its part of the work")
            return False
        received = decode_plan(synced.assignment, self.parts)
        self._shared = received.shared
        state = self.state
        if state.member != joined.member:
            return False  # given up meanwhile
        with state.changed:
            own = state.ownership
            plan = own.assigned(joined.generation, received.plan)
            state.members = received.members
            state.events.append(Assigned(joined.generation, own.epoch, plan, own.process, joined.member))
            state.changed.notify_all()
        if self.settings.watch_peers:
            self.monitor.watch(received.seats)
        if received.process != own.process:
            # A restarted static member has the place of its earlier process. The group does not know the new process
            # yet, nor changes of its program.
            self.rejoin()
        return True

    async def _lead(self, joined: JoinGroupResponse) -> GroupAssignment:
        """Decide the assignment in a thread; commits and heartbeats continue meanwhile."""
        settings = self.settings
        work = asyncio.get_running_loop().run_in_executor(None, perform_assignment, joined, settings.policy, self.parts)
        while True:
            done, _ = await asyncio.wait({work}, timeout=settings.heartbeat_interval / 1000)
            if done:
                return work.result()
            request = heartbeat(settings.group, joined.generation, joined.member, settings.instance_id)
            with contextlib.suppress(Retryable):
                await self._ask(request, settings.heartbeat_interval / 1000, "group")

    # Staying

    async def _stay(self) -> None:
        settings, state = self.settings, self.state
        beat = settings.heartbeat_interval / 1000
        timeout = max(1.0, min(10.0, settings.session_timeout / 3000))
        while not (self._rejoin or self._closing):
            pending = state.ownership.plan.pending
            await self._sleep(min(beat, PENDING_SECONDS) if pending else beat)
            if self._rejoin or self._closing:
                return
            if self._hung():
                await self._give_up_hung()
                return
            request = heartbeat(settings.group, state.generation, state.member, settings.instance_id)
            try:
                code = await self._ask(request, timeout, "group")
            except Retryable as failure:
                await self._after(failure)
                continue
            self._failures = 0
            if code == ErrorCode.NONE:
                continue
            if code in (ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION):
                return
            try:
                self._refused(code, "stay in the group")
            except Retryable as failure:
                await self._after(failure)
                continue
            return

    async def _give_up_hung(self) -> None:
        why = f"the main thread made no progress for {self.settings.max_poll_interval / 1000:g} s"
        log.error(
            "%s: processing a batch takes longer than max_poll_interval, as when a user function hangs. The tasks move "
            "to other members, which process uncommitted input again. Make processing faster, or raise the setting",
            why,
        )
        member = self.state.member
        self.lose(why)
        with contextlib.suppress(Retryable):
            await self._ask(leave_group(self.settings.group, [(member, self.settings.instance_id)]), 5.0, "aside")

    # Endings

    def lose(self, why: str) -> None:
        """End the epoch; the process rejoins as a new member."""
        state = self.state
        with state.changed:
            given = state.ownership.generation >= 0 and not self._closing
            state.member, state.generation = "", -1
            state.joining = False
            if given:
                state.events.append(Lost(state.ownership.lose(), why))
            state.changed.notify_all()
        if given:
            log.warning("membership of group %s lost: %s", self.settings.group, why)

    def _fail(self, error: TidemillError) -> None:
        """Report that the group refuses this process; the loop leaves the group before it ends."""
        self._closing = True
        state = self.state
        with state.changed:
            state.generation = -1
            state.joining = False
            state.events.append(Failed(state.ownership.epoch, error))
            state.changed.notify_all()

    def _refused(self, code: int, doing: str) -> None:
        """Handle an error code of the group's coordinator, for any request."""
        group = self.settings.group
        if code in MOVED:
            self.wire.forget(group)
            raise Retryable(f"group {group!r}: its coordinator is moving or loading ({error_name(code)})")
        if code == ErrorCode.REBALANCE_IN_PROGRESS:
            return
        now = asyncio.get_running_loop().time()
        if code == ErrorCode.FENCED_INSTANCE and self._place.may_take_back(now):
            self.lose("its place was given to another process with the same instance id")
            return
        if code in (ErrorCode.UNKNOWN_MEMBER, ErrorCode.ILLEGAL_GENERATION):
            self.lose(f"Kafka no longer knows this member ({error_name(code)})")
            return
        raise group_error(code, group, doing, self.settings)

    async def _after(self, failure: Retryable) -> None:
        """Wait a little after a failure, and longer after several."""
        self.state.failed(str(failure), asyncio.get_running_loop().time())
        self.wire.forget(self.settings.group)
        if self._failures % 10 == 0:
            log.warning("group %s: %s; trying again", self.settings.group, failure)
        self._failures += 1
        await asyncio.sleep(BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS)) - 1])

    async def _sleep(self, seconds: float) -> None:
        """Sleep until `wake` is set, at most for `seconds`."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.wake.wait(), seconds)
        self.wake.clear()

    async def _ask(self, request: Request[T], seconds: float, lane: str) -> T:
        answer = await self.wire.send(await self.wire.coordinator(self.settings.group), request, seconds, lane)
        self.state.answered()
        return answer

    def _phase(self, phase: str) -> None:
        with self.state.changed:
            self.state.phase = phase
            self.state.changed.notify_all()
