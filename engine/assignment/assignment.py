"""Who runs which task: a pure function of what the members of the group say of themselves.

`assign` is called by the leader of a generation and its result goes to every member. It is deterministic, independent
of the order of members, sticky and balanced; it never gives a task to a member while another living one claims it.
How a task changes hands, one line a rebalance (a stateless or small one skips the first):

    owner A, target B without its state    A keeps it      B gets it as a warming standby
    owner A, target B caught up            A must release  B has it promised
    claimed by nobody                      B gets it, with the former owners it has to fence first

What is even is decided in `balance.py`, where copies stand in `standby.py`, which versions of the program run in
`rolling_upgrade.py`; nothing here knows a protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..ids import TaskId
from .balance import Board, Item
from .rolling_upgrade import Version, running
from .standby import Seat, place_standbys

__all__ = ["FORGOTTEN", "Member", "Memory", "Plan", "Policy", "Version", "assign", "coarse"]

FORGOTTEN = "?"
"""Stands in a chain of owners for processes that the group has no memory of."""

NOTHING = 1 << 62
"""The lag of a member that has no state of a task."""


@dataclass(frozen=True)
class Memory:
    """What the group must not forget: it travels to every member and back to the next leader."""

    generation: int = -1
    owners: Mapping[TaskId, tuple[str, ...]] = field(default_factory=dict[TaskId, "tuple[str, ...]"])
    """The owner's process ("" for none), then former owners' processes that nobody has fenced yet."""
    running: Mapping[int, str] = field(default_factory=dict[int, str])
    """The hash that runs now, by sub-topology."""
    weights: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    sizes: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    """The last figures known of each task, on the coarse scale: its owner may be dead, or between two owners."""


@dataclass(frozen=True)
class Member:
    """A member as it describes itself when it joins."""

    id: str
    process: str
    """Its incarnation: see `ids.py`."""
    node: str = ""
    """The machine it runs on: standbys go to other ones."""
    rack: str = ""
    generation: int = -1
    """The generation in which it was given what it owns."""
    owned: frozenset[TaskId] = frozenset()
    opening: Mapping[TaskId, tuple[str, ...]] = field(default_factory=dict[TaskId, "tuple[str, ...]"])
    """Owned tasks that it has not finished opening, and the former owners that it was told to fence."""
    standby: frozenset[TaskId] = frozenset()
    lags: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    """Changelog records that its local state of a task is behind; a task it has no state of is absent."""
    promised: frozenset[TaskId] = frozenset()
    """Tasks that it was told it gets as soon as their owner releases them."""
    warming: frozenset[TaskId] = frozenset()
    """Tasks that it was told will move to it once its copy is caught up."""
    knows: Mapping[int, Version] = field(default_factory=dict[int, Version])
    weights: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    sizes: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    """Bytes of state, of tasks it owns."""
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True)
class Policy:
    """What the application asks of the assignment."""

    standbys: int = 0
    least_gain: float = 0.05
    """A task is not moved for less than this share of the mean load of a member."""
    acceptable_lag: int = 10_000
    """A copy this many records behind, or fewer, counts as caught up."""
    small: int = 1 << 20
    """State of at most this many bytes is not worth warming up for."""
    warming_bytes: int = 1 << 40
    """A member warms up at most this many bytes at a time, but always at least one task."""
    near: Mapping[TaskId, frozenset[str]] = field(default_factory=dict[TaskId, "frozenset[str]"])
    """The racks of the leaders of what a task reads, where tasks are to run near them."""
    nearness: float = 0.5
    """What being near is worth, as a share of the mean load."""


@dataclass(frozen=True)
class Plan:
    """What a member is to do from this generation on."""

    active: frozenset[TaskId] = frozenset()
    standby: frozenset[TaskId] = frozenset()
    """Tasks to keep a copy of; `warming` is a part of them."""
    warming: frozenset[TaskId] = frozenset()
    """Tasks that will move here as soon as the copy is caught up."""
    promised: frozenset[TaskId] = frozenset()
    """Tasks that will move here as soon as their owner has released them."""
    fence: Mapping[TaskId, tuple[str, ...]] = field(default_factory=dict[TaskId, "tuple[str, ...]"])
    """Processes to fence before an active task is opened."""
    owners: Mapping[TaskId, str] = field(default_factory=dict[TaskId, str])
    """The process that has each task now."""
    memory: Memory = field(default_factory=Memory)
    pending: bool = False
    """True while some member has to release a task."""
    orphans: frozenset[TaskId] = frozenset()
    """Tasks that no living member can run: of what runs, and of what has run until this generation."""
    waiting: frozenset[int] = frozenset()
    """Sub-topologies that this member knows in another version than what runs."""
    note: str = ""


def assign(members: Iterable[Member], generation: int, policy: Policy | None = None) -> dict[str, Plan]:
    """The plan of each member, by member id, for the generation that begins."""
    return _Assignment(sorted(members, key=lambda member: member.id), generation, policy or Policy()).plans()


class _Assignment:
    """One run of `assign`: each method is one step, in the order of `plans`."""

    def __init__(self, members: list[Member], generation: int, policy: Policy) -> None:
        self.members = members
        self.generation = generation
        self.policy = policy
        self.coming = [m.promised | m.warming for m in members]
        self.living = {member.process for member in members}
        self.memory = max((m.memory for m in members), key=lambda memory: memory.generation, default=Memory())
        self.running = self._running()
        self.able = {
            part: [i for i, m in enumerate(members) if part in m.knows and m.knows[part].hash == text]
            for part, text in self.running.items()
        }
        self.owner = self._claims()
        self.tasks = self._tasks()
        self.weights = self._figures(self.memory.weights, (member.weights for member in members))
        self.sizes = self._figures(self.memory.sizes, (member.sizes for member in members))

    def plans(self) -> dict[str, Plan]:
        placed, wanted = self._spread()
        active: dict[TaskId, int] = {}
        releasing: set[TaskId] = set()
        warming: dict[TaskId, int] = {}
        promised: dict[TaskId, int] = {}
        budget: Counter[int] = Counter()
        for task in self.tasks:
            at, to = placed.get(task, -1), wanted.get(task, -1)
            if at < 0:
                continue
            if at == to or self._may_move(task, at, to):
                if task in self.owner and at != to:
                    releasing.add(task)
                    promised[task] = to
                else:
                    active[task] = to
                continue
            active[task] = at
            size = self._size(task)
            if not budget[to] or budget[to] + size <= self.policy.warming_bytes:
                budget[to] += size
                warming[task] = to
        standbys = self._standbys(active, {**warming, **promised})
        return self._written(active, releasing, warming, promised, standbys)

    def _running(self) -> dict[int, str]:
        """The hash that each sub-topology runs with. What members claim runs, whatever the group remembers."""
        claimed = [
            (part, member.knows[part].hash)
            for member in sorted(self.members, key=lambda member: (-member.generation, member.id))
            for part in sorted({task.subtopology for task in member.owned})
            if part in member.knows
        ]
        return running([member.knows for member in self.members], [*claimed, *sorted(self.memory.running.items())])

    def _claims(self) -> dict[TaskId, int]:
        """The living owner of each claimed task; the newest claim wins."""
        owner: dict[TaskId, int] = {}
        for index, member in enumerate(self.members):
            for task in member.owned:
                rival = owner.get(task)
                if rival is None or self.members[rival].generation < member.generation:
                    owner[task] = index
        return owner

    def _tasks(self) -> list[TaskId]:
        """All tasks there are. A task that no member can run is forgotten; a later owner fences what it finds of it."""
        found = set(self.owner) | {task for task in self.memory.owners if task.subtopology in self.able}
        for part, able in self.able.items():
            width = max(self.members[i].knows[part].partitions for i in able)
            found.update(TaskId(part, number) for number in range(width))
        return sorted(found)

    def _can_run(self, task: TaskId) -> list[int]:
        return [
            i
            for i in self.able.get(task.subtopology, ())
            if task.partition < self.members[i].knows[task.subtopology].partitions
        ]

    def _stateful(self, task: TaskId) -> bool:
        able = self.able.get(task.subtopology)
        return bool(able) and self.members[able[0]].knows[task.subtopology].stateful

    def _lag(self, task: TaskId, member: int) -> int:
        """How far a member is from being able to run a task at once."""
        who = self.members[member]
        if not self._stateful(task) or (task in who.owned and task not in who.opening):
            return 0
        lag = who.lags.get(task, NOTHING)
        return 0 if lag <= self.policy.acceptable_lag else lag

    def _size(self, task: TaskId) -> int:
        return self.sizes.get(task, self.policy.small + 1)

    def _may_move(self, task: TaskId, at: int, to: int) -> bool:
        """Whether little is lost by running the task at its target right away.

        A task that nobody runs goes where it runs soonest, however small its state is.
        """
        if self._lag(task, to) <= self._lag(task, at):
            return True
        return task in self.owner and self._size(task) <= self.policy.small

    def _figures(self, remembered: Mapping[TaskId, int], told: Iterable[Mapping[TaskId, int]]) -> dict[TaskId, int]:
        """What is known of tasks: what their owners tell, else what the group remembers; coarse, against noise."""
        fresh: dict[TaskId, int] = {}
        for figures in told:
            for task, figure in figures.items():
                fresh[task] = max(fresh.get(task, 0), coarse(figure))
        return {**remembered, **fresh}

    def _filled(self) -> dict[TaskId, int]:
        """The weights of all tasks; unknown ones are the mean of their sub-topology."""
        known = self.weights
        means: dict[int, list[int]] = {}
        for task, weight in known.items():
            means.setdefault(task.subtopology, []).append(weight)
        overall = sum(known.values()) // len(known) if known else 1
        default = {part: sum(values) // len(values) for part, values in means.items()}
        return {task: coarse(known.get(task, default.get(task.subtopology, overall))) for task in self.tasks}

    def _spread(self) -> tuple[dict[TaskId, int], dict[TaskId, int]]:
        """Where each task is placed if nothing is moved, and where it is wanted."""
        weights = self._filled()
        groups: dict[tuple[int, tuple[int, ...]], int] = {}
        items: list[Item] = []
        tasks: list[TaskId] = []
        mean = sum(weights.values()) / max(1, len(self.members))
        for task in self.tasks:
            able = self._can_run(task)
            owner = self.owner.get(task)
            if not able and owner is None:
                continue
            pinned = owner is not None and owner not in able
            group = groups.setdefault((task.subtopology, tuple(able)), len(groups))
            tasks.append(task)
            bias, near = self._bias(task, able, mean), self._near(task, able)
            items.append(Item(group, weights[task], able, bias, near, pinned=pinned))
        board = Board(items, len(self.members), self.policy.least_gain)
        for index, task in enumerate(tasks):
            if task in self.owner:
                board.put(index, self.owner[task])
        unowned = [i for i, task in enumerate(tasks) if task not in self.owner]
        for index in sorted(unowned, key=lambda i: (-items[i].weight, i)):
            board.put(index, board.lightest(index, self._readiest(tasks[index], items[index].allowed)))
        placed = dict(zip(tasks, board.place, strict=True))
        for index, task in enumerate(tasks):
            heirs = [i for i in items[index].allowed if task in self.coming[i]]
            if heirs and not items[index].pinned:
                board.put(index, min(heirs, key=lambda i: (self._lag(task, i), i)))
        board.improve(4 * len(tasks) + 16)
        return placed, dict(zip(tasks, board.place, strict=True))

    def _readiest(self, task: TaskId, able: Iterable[int]) -> list[int]:
        """Those of `able` that are to run the task: the ones it is promised to, else those that could soonest."""
        heirs = [i for i in able if task in self.members[i].promised]
        if heirs:
            return heirs
        lags = {i: self._lag(task, i) for i in able}
        best = min(lags.values(), default=0)
        return [i for i in able if lags[i] == best]

    def _near(self, task: TaskId, able: Iterable[int]) -> dict[int, int]:
        """Breaks ties between equal moves: first to where the task is coming, then to where its state is."""
        near: dict[int, int] = {}
        for i in able:
            if task in self.coming[i]:
                near[i] = 0
            elif task in self.members[i].standby:
                near[i] = 1
            elif task in self.members[i].lags:
                near[i] = 2
        return near

    def _bias(self, task: TaskId, able: Iterable[int], mean: float) -> dict[int, float]:
        racks = self.policy.near.get(task)
        if not racks:
            return {}
        return {i: self.policy.nearness * mean for i in able if self.members[i].rack in racks}

    def _standbys(self, active: Mapping[TaskId, int], heirs: Mapping[TaskId, int]) -> dict[TaskId, list[int]]:
        """Members that keep a copy of each task, those that it is about to move to among them."""
        if not self.policy.standbys:
            return {task: [member] for task, member in heirs.items()}
        seats = [Seat(m.node, m.rack, m.standby, frozenset(m.lags) | m.owned) for m in self.members]
        mains = {task: active.get(task, self.owner.get(task, -1)) for task in self.tasks if self._stateful(task)}
        able = {task: self._can_run(task) for task in mains}
        copies = place_standbys(seats, mains, able, heirs, self.policy.standbys)
        for task, member in heirs.items():
            copies.setdefault(task, [member])
        return copies

    def _former(self, task: TaskId) -> tuple[str, ...]:
        """Processes that may have left something open on a task and are to be fenced by its next owner."""
        owner = self.owner.get(task)
        if owner is not None:
            chain = self.members[owner].opening.get(task, ())
        else:
            chain = self.memory.owners.get(task, ())
            changed = self.memory.running.get(task.subtopology) != self.running.get(task.subtopology)
            if changed or task not in self.memory.owners or self.memory.generation < self.generation - 1:
                chain = (*chain, FORGOTTEN)
        return tuple(dict.fromkeys(p for p in chain if p and p not in self.living))

    def _left_behind(self) -> frozenset[TaskId]:
        """Tasks that ran until now, of sub-topologies that no member knows any more: said once, then forgotten."""
        return frozenset(
            task for task, chain in self.memory.owners.items() if chain[0] and task.subtopology not in self.able
        )

    def _written(
        self,
        active: Mapping[TaskId, int],
        releasing: set[TaskId],
        warming: Mapping[TaskId, int],
        promised: Mapping[TaskId, int],
        standbys: Mapping[TaskId, list[int]],
    ) -> dict[str, Plan]:
        names = [member.process for member in self.members]
        chains: dict[TaskId, tuple[str, ...]] = {}
        for task in self.tasks:
            holder = active.get(task, self.owner.get(task))
            chains[task] = ("" if holder is None else names[holder], *self._former(task))
        owners = {task: chain[0] for task, chain in chains.items() if chain[0]}
        orphans = frozenset(task for task in self.tasks if task not in owners) | self._left_behind()
        kept = self.able.keys() | {task.subtopology for task in chains}
        weights = {task: weight for task, weight in self.weights.items() if task.subtopology in kept}
        sizes = {task: size for task, size in self.sizes.items() if task.subtopology in kept}
        memory = Memory(self.generation, chains, self.running, weights, sizes)
        losers = any(self.owner.get(task) != i for i, m in enumerate(self.members) for task in m.owned)
        note = f"no living member can run {', '.join(map(str, sorted(orphans)))}" if orphans else ""
        plans: dict[str, Plan] = {}
        for index, member in enumerate(self.members):
            mine = frozenset(task for task, at in active.items() if at == index)
            plans[member.id] = Plan(
                active=mine,
                standby=frozenset(task for task, at in standbys.items() if index in at),
                warming=frozenset(task for task, at in warming.items() if at == index),
                promised=frozenset(task for task, at in promised.items() if at == index),
                fence={task: chains[task][1:] for task in sorted(mine) if len(chains[task]) > 1},
                owners=owners,
                memory=memory,
                pending=bool(releasing) or losers,
                orphans=orphans,
                waiting=frozenset(
                    part for part, version in member.knows.items() if self.running.get(part) != version.hash
                ),
                note=note,
            )
        return plans


def coarse(figure: int) -> int:
    """The next number of the form 2ⁿ or 3 · 2ⁿ, at least 1."""
    figure = max(1, figure)
    power = 1 << (figure - 1).bit_length()
    return power // 4 * 3 if power >= 4 and figure <= power // 4 * 3 else power
