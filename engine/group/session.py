"""A member of the group, living on its own event loop: joins, syncs, sends heartbeats, notices what ends it.

    UNJOINED -> JOINING -> SYNCING -> STABLE      the plan of a generation is delivered on entering STABLE
        ^          ^___________________|          a rebalance takes nothing away
        |______________________________|          membership lost: the epoch ends, all tasks with it
    any -> CLOSED                                 left, closed, or refused for good

Everything that two threads touch is in `shared.py`. Which tasks go where is decided in
`assignment/assignment.py`; what a member owns, in `assignment/ownership.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from typing_extensions import TypeVar

from ..errors import Retryable, TidemillError
from ..ids import transactional_id
from ..kafka.connections import Wire
from ..kafka.encoding import Broken, Request
from ..kafka.protocol import Code, Joined, heartbeat, leave_group, name_of, sync_group
from .background import Background
from .events import Assigned, Failed, Lost, MembershipSettings
from .fencing import fence
from .leader import Led, lead, too_large, warn_of_size
from .liveness import Peers
from .member_removal import MOVED, Burying
from .metadata.user_data import Part, decode_plan
from .orphans import tidy
from .refusals import refusal
from .self_report import join_request, parts_on_wire
from .shared import State
from .static_membership import Place

__all__ = ["Session"]

log = logging.getLogger(__name__)

T = TypeVar("T")

PENDING_SECONDS = 0.1
"""Between heartbeats while somebody has to release a task."""
BACKOFF_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0)


class Session:
    """The protocol side of a membership. All methods run on its event loop."""

    def __init__(self, settings: MembershipSettings, state: State, wire: Wire, background: Background) -> None:
        self.settings = settings
        self.parts = settings.parts
        self.state = state
        self.wire = wire
        self.wake = asyncio.Event()
        self.idle = asyncio.Event()
        """Set when no commit of offsets is under way."""
        self.idle.set()
        self.peers = Peers(settings.process, self.wake, background.spawn)
        self._background = background
        self._burying = Burying(settings.group, wire, self.peers, self.wake, background)
        self._shared = b""
        self._turn = 0
        self._rejoin = False
        self._failures = 0
        self._closing = False
        self._begun = False
        self._place = Place(state.progressed)

    async def run(self) -> None:
        """Is a member until told to end, or refused for good."""
        works = (self._burying.run(), tidy(self.wire, self.settings, self.state))
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
        """Closes all connections, after `run` has ended."""
        await self.peers.close()
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
            except Broken as failure:
                log.debug("user data of another kind: %s", failure)
                self._fail(refusal(Code.INCONSISTENT_PROTOCOL, self.settings.group, "work in the group", self.settings))

    def rejoin(self) -> None:
        """Asks for a rebalance, with something new to say."""
        self._turn += 1
        self._rejoin = True
        self.wake.set()

    async def leave(self) -> None:
        """Leaves the group; a static member only stops, and keeps its place until its session ends."""
        self._closing = True
        self.wake.set()
        with self.state.changed:
            member, self.state.generation = self.state.member, -1
        if member and self.settings.instance_id is None:
            await self._ask(leave_group(self.settings.group, [(member, None)]), 5.0, "aside")
        self.peers.farewell()

    async def remove(self, member: str) -> bool:
        """Takes a dead member out of the group. False when it was not in it."""
        return await self._burying.remove(member)

    def describe(self, parts: tuple[Part, ...]) -> None:
        """Another view of the topology. The group assigns anew when there is something in it that it goes by: of where
        partitions' leaders are, only its own leader's view counts."""
        before, self.parts = self.parts, parts
        moved = self.state.leader and [part.near for part in before] != [part.near for part in parts]
        if moved or parts_on_wire(before) != parts_on_wire(parts):
            self.rejoin()

    def give_up(self, epoch: int, why: str) -> None:
        """The epoch ends, unless it has already; the old member leaves the group."""
        member, generation = self.state.member, self.state.generation
        if self.state.ownership.epoch != epoch:
            return
        self.lose(why)
        self.rejoin()
        if member and self.settings.instance_id is not None:
            self._place.doubt = (generation, member)
        elif member:
            self._burying.soon(member)

    async def _begin(self) -> None:
        """Before the first join: the process that this one replaces leaves the group and is fenced."""
        former = self.settings.former
        if former is None or self._begun:
            return
        if former.member_id and self.settings.instance_id is None:
            await self._burying.remove(former.member_id)
        if self.settings.transactions and former.process:
            name = transactional_id(self.settings.group, former.process)
            await fence(self.wire, [name], self.settings.transaction_timeout)
        self._begun = True

    async def _generation(self) -> None:
        """From one join to the need for the next."""
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
        """A process whose main thread hangs stays out of the group until it moves again."""
        while self._hung() and not self._closing:
            await self._sleep(0.1)

    def _hung(self) -> bool:
        silent = asyncio.get_running_loop().time() - self.state.progressed
        return silent * 1000 > self.settings.max_poll_interval

    async def _ask_for_place(self) -> None:
        """A static member that was fenced asks whether another process has its place, before it takes that back."""
        doubt = self._place.doubt
        if doubt is not None:
            code = await self._ask(heartbeat(self.settings.group, *doubt, self.settings.instance_id), 5.0, "group")
            if code in (*MOVED, Code.FENCED_INSTANCE):
                self._refused(code, "stay in the group")
            self._place.doubt = None

    # Joining

    async def _join(self) -> Joined | None:
        state, settings = self.state, self.settings
        if settings.watch_peers:
            await self.peers.listen(await self.wire.local_host(await self.wire.coordinator(settings.group), "group"))
        await self._let_commits_finish()
        epoch = state.ownership.epoch
        request = join_request(settings, state, self.parts, self.peers.address, self._turn, self._shared)
        try:
            joined = await self._ask(request, settings.rebalance_timeout / 1000 + 10, "group")
        except BaseException:
            with state.changed:
                state.joining = False
                state.changed.notify_all()
            raise
        code = joined.error
        with state.changed:  # in one step: whoever waits to send offsets must not go on with the old generation
            state.joining = False
            if code == Code.NONE and state.ownership.epoch == epoch:
                state.member, state.generation = joined.member, joined.generation
                state.leader = joined.leader == joined.member
            state.changed.notify_all()
        if state.ownership.epoch != epoch:
            return None  # given up meanwhile: what was joined for is void
        if code == Code.NONE:
            return joined
        if code == Code.MEMBER_ID_REQUIRED:
            state.member = joined.member
            self.settings.remember(joined.member, state.ownership.process)
            return None
        self._refused(code, "join the group")
        return None

    async def _let_commits_finish(self) -> None:
        """The second half of the rule for commits: a join waits for offsets that are being sent."""
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

    async def _sync(self, joined: Joined) -> bool:
        group, instance = self.settings.group, self.settings.instance_id
        led = await self._lead(joined) if joined.leader == joined.member and joined.members else None
        if led is not None:
            # Whether or not it reaches anybody: what this generation may have given must not be forgotten.
            self._shared = led.shared
            log.info("generation %d of group %s: %d members", joined.generation, group, len(led.assignments))
            warn_of_size(group, led)
        assignments: Mapping[str, bytes] = {} if led is None else led.assignments
        request = sync_group(group, joined.generation, joined.member, instance, assignments)
        synced = await self._ask(request, self.settings.rebalance_timeout / 1000 + 10, "group")
        if synced.error in (Code.REBALANCE_IN_PROGRESS, Code.ILLEGAL_GENERATION):
            return False
        if synced.error in (Code.SERVER_ERROR, Code.MESSAGE_TOO_LARGE):
            raise too_large(group, led)
        if synced.error != Code.NONE:
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
            self.peers.watch(received.seats)
        if received.process != own.process:
            # A static member that was restarted has the place of its former self. The group does not know yet which
            # process this is, nor what is new in its program.
            self.rejoin()
        return True

    async def _lead(self, joined: Joined) -> Led:
        """Decides for all, in a thread: meanwhile commits go on, and the group hears that this process lives."""
        settings = self.settings
        work = asyncio.get_running_loop().run_in_executor(None, lead, joined, settings.policy, self.parts)
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
        patience = max(1.0, min(10.0, settings.session_timeout / 3000))
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
                code = await self._ask(request, patience, "group")
            except Retryable as failure:
                await self._after(failure)
                continue
            self._failures = 0
            if code == Code.NONE:
                continue
            if code in (Code.REBALANCE_IN_PROGRESS, Code.ILLEGAL_GENERATION):
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
            "%s: one batch takes longer than max_poll_interval, as when a function of yours hangs. The tasks go to "
            "other members, and what is not committed is processed again. Make the function faster or raise the "
            "setting",
            why,
        )
        member = self.state.member
        self.lose(why)
        with contextlib.suppress(Retryable):
            await self._ask(leave_group(self.settings.group, [(member, self.settings.instance_id)]), 5.0, "aside")

    # Endings

    def lose(self, why: str) -> None:
        """The epoch ends; the member goes on as a new one."""
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
        """The group refuses this process, which leaves it before it ends."""
        self._closing = True
        state = self.state
        with state.changed:
            state.generation = -1
            state.joining = False
            state.events.append(Failed(state.ownership.epoch, error))
            state.changed.notify_all()

    def _refused(self, code: int, doing: str) -> None:
        """What an error code of the group's coordinator means, wherever it is met."""
        group = self.settings.group
        if code in MOVED:
            self.wire.forget(group)
            raise Retryable(f"group {group!r}: its coordinator moves or loads ({name_of(code)})")
        if code == Code.REBALANCE_IN_PROGRESS:
            return
        now = asyncio.get_running_loop().time()
        if code == Code.FENCED_INSTANCE and self._place.may_take_back(now):
            self.lose("its place was given to another process with the same instance id")
            return
        if code in (Code.UNKNOWN_MEMBER, Code.ILLEGAL_GENERATION):
            self.lose(f"Kafka no longer knows this member ({name_of(code)})")
            return
        raise refusal(code, group, doing, self.settings)

    async def _after(self, failure: Retryable) -> None:
        """Waits a little after a failure, longer after several."""
        self.state.failed(str(failure), asyncio.get_running_loop().time())
        self.wire.forget(self.settings.group)
        level = min(self._failures, len(BACKOFF_SECONDS) - 1)
        if self._failures % 10 == 0:
            log.warning("group %s: %s; trying again", self.settings.group, failure)
        self._failures += 1
        await asyncio.sleep(BACKOFF_SECONDS[level])

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, or until somebody wakes this."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.wake.wait(), seconds)
        self.wake.clear()

    async def _ask(self, request: Request[T], seconds: float, lane: str) -> T:
        broker = await self.wire.coordinator(self.settings.group)
        answer = await self.wire.send(broker, request, seconds, lane)
        self.state.answered()
        return answer

    def _phase(self, phase: str) -> None:
        with self.state.changed:
            self.state.phase = phase
            self.state.changed.notify_all()
