"""A group coordinator: classic protocol, generations, sessions, and offsets inside and outside of transactions.

Responses are codes and values; their delivery is simulated elsewhere. A JoinGroup is answered when all members have
joined, a SyncGroup when the leader has sent it, so both take a callback. Which commits are accepted is as in Kafka:

    state of the group                        generation sent   in a transaction   outside
    preparing, own join missing or pending    old               accepted           accepted
    completing (joined, before the sync)      old               22                 22
    completing                                new               accepted           27
    stable                                    old               22                 22
    stable                                    new               accepted           accepted
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tidemill.state.topic_partition import TopicPartition

from .log import Transaction

__all__ = ["Group", "Member"]

Answer = Callable[..., None]
NONE, MOVED, ILLEGAL, UNKNOWN, REBALANCING, NEEDS_ID, FENCED, UNSTABLE = 0, 16, 22, 25, 27, 79, 82, 88


class Member:
    """The state of a member at the coordinator."""

    __slots__ = (
        "assignment",
        "awaits_join",
        "awaits_sync",
        "described",
        "id",
        "instance",
        "rebalance",
        "seen",
        "session",
    )

    def __init__(self, name: str, instance: str | None, session: int, rebalance: int) -> None:
        self.id = name
        self.instance = instance
        self.session = session
        self.rebalance = rebalance
        self.described = b""
        self.assignment = b""
        self.awaits_join: Answer | None = None
        self.awaits_sync: Answer | None = None
        self.seen = 0


class Group:
    """One group. `later` runs a callback after some ms of virtual time."""

    def __init__(self, now: Callable[[], int], later: Callable[[int, Callable[[], None]], None]) -> None:
        self._now = now
        self._later = later
        self.state = "empty"
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.promised: set[str] = set()
        """Member ids that were assigned and have not joined yet."""
        self.leader = ""
        self.offsets: dict[TopicPartition, tuple[int, str]] = {}
        self.pending: dict[Transaction, dict[TopicPartition, tuple[int, str]]] = {}
        self.problems: list[str] = []
        """Violations that only two simultaneous owners of a partition can cause."""
        self._names = 0
        self._round = 0
        self._written: tuple[int, str, tuple[Member, ...]] = (0, "", ())
        """Generation, leader and members, as persisted for a new coordinator."""

    # Members

    def join(
        self, name: str, instance: str | None, session: int, rebalance: int, described: bytes, answer: Answer
    ) -> None:
        """`answer(code, generation, leader, member, members)`."""
        if instance is not None and self._refused(name, instance):
            answer(FENCED, -1, "", name, [])
            return
        if instance is not None and not name:
            name, settled = self._seated(instance, session, rebalance, described, answer)
            if settled:
                return
        if not name:
            self._names += 1
            name = f"member-{self._names}"
            self.promised.add(name)
            self._later(session, lambda: self._break_promise(name))
            answer(NEEDS_ID, -1, "", name, [])
            return
        member = self.members.get(name)
        if member is None:
            if name not in self.promised:
                answer(UNKNOWN, -1, "", name, [])
                return
            self.promised.discard(name)
            member = self.members[name] = Member(name, None, session, rebalance)
            member.seen = self._now()
            self._watch(member)
        else:
            same = member.described == described
            settled = self.state == "completing" or (self.state == "stable" and name != self.leader)
            if settled and same:
                member.seen = self._now()
                self._tell(member, answer)
                return
        member.described, member.rebalance, member.seen = described, rebalance, self._now()
        member.awaits_join = answer
        self._prepare()

    def sync(
        self, generation: int, name: str, instance: str | None, assignments: Mapping[str, bytes], answer: Answer
    ) -> None:
        """`answer(code, assignment)`."""
        code = self._known(generation, name, instance)
        if code or self.state == "preparing":
            answer(code or REBALANCING, b"")
            return
        member = self.members[name]
        member.seen = self._now()
        if self.state == "stable":
            answer(NONE, member.assignment)
            return
        member.awaits_sync = answer
        if name == self.leader:
            self.state = "stable"
            self._written = (generation, name, tuple(self.members.values()))
            for other in self.members.values():
                other.assignment = assignments.get(other.id, b"")
                waiting, other.awaits_sync = other.awaits_sync, None
                if waiting is not None:
                    other.seen = self._now()
                    waiting(NONE, other.assignment)

    def heartbeat(self, generation: int, name: str, instance: str | None) -> int:
        code = self._known(generation, name, instance)
        if code:
            return code
        self.members[name].seen = self._now()
        return REBALANCING if self.state == "preparing" else NONE

    def leave(self, name: str) -> int:
        """Remove a member. Any client may send this for any member."""
        if name in self.promised:
            self.promised.discard(name)
            self._complete()
            return NONE
        if name not in self.members:
            return UNKNOWN
        self._remove(name)
        return NONE

    def move(self) -> None:
        """Move the coordinator: it only knows the last generation with assignments."""
        for member in list(self.members.values()):
            joining, syncing = member.awaits_join, member.awaits_sync
            member.awaits_join = member.awaits_sync = None
            if joining is not None:
                joining(MOVED, -1, "", member.id, [])
            if syncing is not None:
                syncing(MOVED, b"")
        self.promised.clear()
        self._round += 1
        self.generation, self.leader, written = self._written
        self.members = {}
        for one in written:
            member = self.members[one.id] = Member(one.id, one.instance, one.session, one.rebalance)
            member.described, member.assignment, member.seen = one.described, one.assignment, self._now()
            self._watch(member)
        self.state = "stable" if self.members else "empty"

    # Offsets

    def commit(
        self, generation: int, name: str, instance: str | None, offsets: Mapping[TopicPartition, tuple[int, str]]
    ) -> int:
        """Commit outside of a transaction."""
        code = self._known(generation, name, instance)
        if code:
            return code
        self.members[name].seen = self._now()
        if self.state == "completing":
            return REBALANCING
        self.offsets.update(offsets)
        return NONE

    def commit_in(
        self, transaction: Transaction, generation: int, name: str, offsets: Mapping[TopicPartition, tuple[int, str]]
    ) -> int:
        """Commit inside a transaction: takes effect when the marker arrives."""
        code = self._known(generation, name)
        if code:
            return code
        for other, theirs in self.pending.items():
            both = sorted(theirs.keys() & offsets.keys())
            if both and other.name != transaction.name:
                self.problems.append(f"{other.name} and {transaction.name} both commit {both}")
        self.pending.setdefault(transaction, {}).update(offsets)
        return NONE

    def landed(self, transaction: Transaction) -> None:
        """Apply the marker of a transaction to the group's offsets."""
        offsets = self.pending.pop(transaction, {})
        if transaction.decided == "commit":
            for key, (offset, _) in offsets.items():
                before = self.offsets.get(key, (0, ""))[0]
                if offset < before:
                    self.problems.append(f"{transaction.name} commits {key} up to {offset} after {before}")
            self.offsets.update(offsets)

    def fetch(self, partitions: list[TopicPartition], *, stable: bool) -> dict[TopicPartition, tuple[int, str, int]]:
        """Return (offset, metadata, code) per partition."""
        unsettled = {key for offsets in self.pending.values() for key in offsets} if stable else set[TopicPartition]()
        found: dict[TopicPartition, tuple[int, str, int]] = {}
        for key in partitions:
            if key in unsettled:
                found[key] = (-1, "", UNSTABLE)
            else:
                found[key] = (*self.offsets.get(key, (-1, "")), NONE)
        return found

    # Generations

    def _refused(self, name: str, instance: str) -> bool:
        """Return whether another process has taken over this static member."""
        return bool(name) and any(one.instance == instance and one.id != name for one in self.members.values())

    def _seated(
        self, instance: str, session: int, rebalance: int, described: bytes, answer: Answer
    ) -> tuple[str, bool]:
        """Join a static member: return its new id, and whether it was answered with its previous assignment.

        The process that had this instance id gets an error at its next request.
        """
        self._names += 1
        name = f"member-{self._names}"
        before = next((one for one in self.members.values() if one.instance == instance), None)
        member = Member(name, instance, session, rebalance)
        member.seen = self._now()  # its metadata has changed, so a rebalance is necessary
        if before is None:
            self.members[name] = member
            self._watch(member)
            return name, False
        member.assignment = before.assignment
        self.members = {one.id: one for one in (member if old is before else old for old in self.members.values())}
        for waiting, nothing in ((before.awaits_join, (-1, "", before.id, [])), (before.awaits_sync, (b"",))):
            if waiting is not None:
                waiting(FENCED, *nothing)
        leads = self.leader == before.id
        self._watch(member)
        if self.state == "stable":
            member.described = described
            answer(NONE, self.generation, self.leader, name, [])
        if leads:
            self.leader = name
        if self.state == "stable":
            self._written = (self.generation, self.leader, tuple(self.members.values()))
            return name, True
        return name, False

    def _known(self, generation: int, name: str, instance: str | None = None) -> int:
        if instance is not None and self._refused(name, instance):
            return FENCED
        if name not in self.members:
            return UNKNOWN
        return NONE if generation == self.generation else ILLEGAL

    def _tell(self, member: Member, answer: Answer) -> None:
        listed: list[Any] = []
        if member.id == self.leader:
            listed = [(one.id, one.described) for one in self.members.values()]
        answer(NONE, self.generation, self.leader, member.id, listed)

    def _prepare(self) -> None:
        if self.state != "preparing":
            self.state = "preparing"
            self._round += 1
            this = self._round
            for member in self.members.values():
                waiting, member.awaits_sync = member.awaits_sync, None
                if waiting is not None:
                    waiting(REBALANCING, b"")
            longest = max(member.rebalance for member in self.members.values())
            self._later(longest, lambda: self._give_up_waiting(this))
        self._complete()

    def _give_up_waiting(self, this: int) -> None:
        if self.state == "preparing" and self._round == this:
            self.promised.clear()
            for name in [one.id for one in self.members.values() if one.awaits_join is None]:
                del self.members[name]
            self._complete()

    def _complete(self) -> None:
        """Start the next generation if all members have joined."""
        if self.state != "preparing":
            return
        if self.promised or any(one.awaits_join is None for one in self.members.values()):
            return
        if not self.members:
            self._empty()
            return
        self.generation += 1
        self.state = "completing"
        this = self.generation
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        for member in self.members.values():
            waiting, member.awaits_join = member.awaits_join, None
            member.seen = self._now()
            assert waiting is not None
            self._tell(member, waiting)
        longest = max(member.rebalance for member in self.members.values())
        self._later(longest, lambda: self._expect_sync(this))

    def _expect_sync(self, generation: int) -> None:
        """Remove the members that have not synced."""
        if self.state == "completing" and self.generation == generation:
            for name in [one.id for one in self.members.values() if one.awaits_sync is None]:
                self._remove(name)

    def _break_promise(self, name: str) -> None:
        if name in self.promised:
            self.promised.discard(name)
            self._complete()

    def _remove(self, name: str) -> None:
        member = self.members.pop(name)
        if member.awaits_join is not None:
            member.awaits_join(UNKNOWN, -1, "", name, [])
        if member.awaits_sync is not None:
            member.awaits_sync(UNKNOWN, b"")
        if self.state == "preparing":
            self._complete()
        elif self.members:
            self._prepare()
        else:
            self._empty()

    def _empty(self) -> None:
        self.generation += 1
        self.state = "empty"
        self._written = (self.generation, "", ())

    def _watch(self, member: Member) -> None:
        """Remove a member that has sent nothing for its session timeout."""
        if self.members.get(member.id) is not member:
            return
        waiting = member.awaits_join is not None or member.awaits_sync is not None
        left = member.seen + member.session - self._now()
        if left <= 0 and not waiting:
            self._remove(member.id)
        else:
            self._later(max(1, left if left > 0 else member.session), lambda: self._watch(member))
