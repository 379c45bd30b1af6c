"""The assignor: which member runs which task, as a pure function of the members' states.

The leader of a generation calls `assign` and sends the result to all members. The result is deterministic, independent
of the order of members, sticky and balanced. A task is never assigned to a member while another living member owns it.
A task moves in these steps, one per rebalance (a task that is stateless or small skips the first):

    owner A, target B without its state    A keeps it      B gets it as a warm-up
    owner A, target B caught up            A must release  B is promised the task
    no owner                               B gets it, with the former owners to fence first

`balance.py` decides what is balanced, `standby.py` where standbys are placed, and `rolling_upgrade.py` which versions
of the program run. Nothing here depends on a protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..ids import TaskId
from .balance import LoadDistribution, WeightedTask
from .rolling_upgrade import SubTopologyVersion, running_versions
from .standby import StandbyCandidate, place_standbys

__all__ = [
    "FORGOTTEN",
    "AssignmentPolicy",
    "MemberAssignment",
    "MemberState",
    "SharedState",
    "SubTopologyVersion",
    "assign",
    "coarse",
]

FORGOTTEN = "?"
"""A placeholder, in a chain of owners, for processes that the shared state has no record of."""

NOTHING = 1 << 62
"""The lag of a member without state of a task."""


@dataclass(frozen=True)
class SharedState:
    """The state that the group must keep, passed from one leader to the next by the members."""

    generation: int = -1
    owners: Mapping[TaskId, tuple[str, ...]] = field(default_factory=dict[TaskId, "tuple[str, ...]"])
    """The owner's process ("" if there is none), then the processes of former owners that are not fenced yet."""
    running: Mapping[int, str] = field(default_factory=dict[int, str])
    """The hash of the running version, by sub-topology."""
    weights: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    sizes: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    """The last known values of each task, rounded by `coarse`: its owner may be dead, or the task between two
    owners."""


@dataclass(frozen=True)
class MemberState:
    """The state of a member, as the member reports it when it joins."""

    id: str
    process: str
    """Its process id with the epoch: see `ids.py`."""
    node: str = ""
    """The machine it runs on: standbys are placed on other machines."""
    rack: str = ""
    generation: int = -1
    """The generation in which it was assigned the tasks it owns."""
    owned: frozenset[TaskId] = frozenset()
    opening: Mapping[TaskId, tuple[str, ...]] = field(default_factory=dict[TaskId, "tuple[str, ...]"])
    """Owned tasks that are not open yet, and the former owners that this member was told to fence."""
    standby: frozenset[TaskId] = frozenset()
    lags: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    """Changelog records that its local state of a task is behind; tasks without local state are absent."""
    promised: frozenset[TaskId] = frozenset()
    """Tasks that were promised to it: it gets them as soon as their owner releases them."""
    warming: frozenset[TaskId] = frozenset()
    """Tasks that it warms up: they move to it when its copy has caught up."""
    knows: Mapping[int, SubTopologyVersion] = field(default_factory=dict[int, SubTopologyVersion])
    weights: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    sizes: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    """Bytes of state of the tasks it owns."""
    memory: SharedState = field(default_factory=SharedState)


@dataclass(frozen=True)
class AssignmentPolicy:
    """The configuration of the assignor."""

    standbys: int = 0
    least_gain: float = 0.05
    """The minimum gain for which a task is moved, as a share of the mean load of a member."""
    acceptable_lag: int = 10_000
    """A copy that is at most this many records behind counts as caught up."""
    small: int = 1 << 20
    """A task with at most this many bytes of state moves without a warm-up."""
    warming_bytes: int = 1 << 40
    """The limit of bytes that a member warms up at a time, except for a single task. A task of unknown size is over
    it."""
    near: Mapping[TaskId, frozenset[str]] = field(default_factory=dict[TaskId, "frozenset[str]"])
    """The racks of the leaders of each task's partitions, if tasks should run near them."""
    nearness: float = 0.5
    """The value of running a task near its leaders, as a share of the mean load."""


@dataclass(frozen=True)
class MemberAssignment:
    """The assignment of a member, in force from this generation on."""

    active: frozenset[TaskId] = frozenset()
    standby: frozenset[TaskId] = frozenset()
    """Tasks to keep a copy of, including those in `warming`."""
    warming: frozenset[TaskId] = frozenset()
    """Tasks that move to this member when its copy has caught up."""
    promised: frozenset[TaskId] = frozenset()
    """Tasks that move to this member as soon as their owner has released them."""
    fence: Mapping[TaskId, tuple[str, ...]] = field(default_factory=dict[TaskId, "tuple[str, ...]"])
    """Processes to fence before an active task is opened."""
    owners: Mapping[TaskId, str] = field(default_factory=dict[TaskId, str])
    """The process that owns each task now."""
    memory: SharedState = field(default_factory=SharedState)
    pending: bool = False
    """True while a member still has to release a task."""
    orphans: frozenset[TaskId] = frozenset()
    """Tasks that no living member can run: of the running versions, and of those that ran until this generation."""
    waiting: frozenset[int] = frozenset()
    """Sub-topologies that this member knows in another version than the running one."""
    note: str = ""


def assign(
    members: Iterable[MemberState], generation: int, policy: AssignmentPolicy | None = None
) -> dict[str, MemberAssignment]:
    """Return the assignment of each member, by member id, for a new generation."""
    return _Assignor(sorted(members, key=lambda member: member.id), generation, policy or AssignmentPolicy()).plans()


class _Assignor:
    """One call of `assign`; the methods are its steps, in the order of `plans`."""

    def __init__(self, members: list[MemberState], generation: int, policy: AssignmentPolicy) -> None:
        self.members = members
        self.generation = generation
        self.policy = policy
        self.coming = [m.promised | m.warming for m in members]
        self.living = {member.process for member in members}
        self.memory = max((m.memory for m in members), key=lambda memory: memory.generation, default=SharedState())
        self.running = self._running()
        self.able = {
            part: [i for i, m in enumerate(members) if part in m.knows and m.knows[part].hash == text]
            for part, text in self.running.items()
        }
        self.owner = self._claims()
        self.tasks = self._tasks()
        self.weights = self._figures(self.memory.weights, (member.weights for member in members))
        self.sizes = self._figures(self.memory.sizes, (member.sizes for member in members))

    def plans(self) -> dict[str, MemberAssignment]:
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
            size = self.sizes.get(task, self.policy.warming_bytes + 1)
            if not budget[to] or budget[to] + size <= self.policy.warming_bytes:
                budget[to] += size
                warming[task] = to
        standbys = self._standbys(active, {**warming, **promised})
        return self._written(active, releasing, warming, promised, standbys)

    def _running(self) -> dict[int, str]:
        """Return the running hash of each sub-topology: what members own comes first."""
        claimed = [
            (part, member.knows[part].hash)
            for member in sorted(self.members, key=lambda member: (-member.generation, member.id))
            for part in sorted({task.subtopology for task in member.owned})
            if part in member.knows
        ]
        return running_versions(
            [member.knows for member in self.members], [*claimed, *sorted(self.memory.running.items())]
        )

    def _claims(self) -> dict[TaskId, int]:
        """Return the living owner of each owned task; the owner with the newest generation wins."""
        owner: dict[TaskId, int] = {}
        for index, member in enumerate(self.members):
            for task in member.owned:
                rival = owner.get(task)
                if rival is None or self.members[rival].generation < member.generation:
                    owner[task] = index
        return owner

    def _tasks(self) -> list[TaskId]:
        """Return all tasks except those that no member can run; a later owner fences what is open."""
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
        """Return the lag of a member for a task; 0 if the member can run the task at once."""
        state = self.members[member]
        if not self._stateful(task) or (task in state.owned and task not in state.opening):
            return 0
        lag = state.lags.get(task, NOTHING)
        return 0 if lag <= self.policy.acceptable_lag else lag

    def _may_move(self, task: TaskId, at: int, to: int) -> bool:
        """Return whether moving the task to its target without a warm-up delays it little.

        A task without an owner goes where it can start first, even if its state is small.
        """
        if self._lag(task, to) <= self._lag(task, at):
            return True
        small = task in self.sizes and self.sizes[task] <= self.policy.small
        return small and task in self.owner

    def _figures(self, remembered: Mapping[TaskId, int], reports: Iterable[Mapping[TaskId, int]]) -> dict[TaskId, int]:
        """Return the reported value per task, rounded against noise, or else the remembered one."""
        fresh: dict[TaskId, int] = {}
        for figures in reports:
            for task, figure in figures.items():
                fresh[task] = max(fresh.get(task, 0), coarse(figure))
        return {**remembered, **fresh}

    def _filled(self) -> dict[TaskId, int]:
        """Return the weights of all tasks; an unknown weight is the mean of its sub-topology."""
        known = self.weights
        means: dict[int, list[int]] = {}
        for task, weight in known.items():
            means.setdefault(task.subtopology, []).append(weight)
        overall = sum(known.values()) // len(known) if known else 1
        default = {part: sum(values) // len(values) for part, values in means.items()}
        return {task: coarse(known.get(task, default.get(task.subtopology, overall))) for task in self.tasks}

    def _spread(self) -> tuple[dict[TaskId, int], dict[TaskId, int]]:
        """Return the placement of each task without any move, and the balanced placement."""
        weights = self._filled()
        groups: dict[tuple[int, tuple[int, ...]], int] = {}
        items: list[WeightedTask] = []
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
            items.append(WeightedTask(group, weights[task], able, bias, near, pinned=pinned))
        board = LoadDistribution(items, len(self.members), self.policy.least_gain)
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
        """Return the members to consider for a task: those it is promised to, else the readiest."""
        heirs = [i for i in able if task in self.members[i].promised]
        if heirs:
            return heirs
        lags = {i: self._lag(task, i) for i in able}
        best = min(lags.values(), default=0)
        return [i for i in able if lags[i] == best]

    def _near(self, task: TaskId, able: Iterable[int]) -> dict[int, int]:
        """Rank members for equal moves: those that the task is moving to, then those with its state."""
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
        """Return the members that keep a copy of each task, including the member it is moving to."""
        if not self.policy.standbys:
            return {task: [member] for task, member in heirs.items()}
        candidates = [StandbyCandidate(m.node, m.rack, m.standby, frozenset(m.lags) | m.owned) for m in self.members]
        mains = {task: active.get(task, self.owner.get(task, -1)) for task in self.tasks if self._stateful(task)}
        able = {task: self._can_run(task) for task in mains}
        copies = place_standbys(candidates, mains, able, heirs, self.policy.standbys)
        for task, member in heirs.items():
            copies.setdefault(task, [member])
        return copies

    def _former(self, task: TaskId) -> tuple[str, ...]:
        """Return the processes that may have left a transaction open on a task, to be fenced."""
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
        """Return tasks that ran until now, of sub-topologies that no member knows any more."""
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
    ) -> dict[str, MemberAssignment]:
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
        memory = SharedState(self.generation, chains, self.running, weights, sizes)
        losers = any(self.owner.get(task) != i for i, m in enumerate(self.members) for task in m.owned)
        note = f"no living member can run {', '.join(map(str, sorted(orphans)))}" if orphans else ""
        plans: dict[str, MemberAssignment] = {}
        for index, member in enumerate(self.members):
            mine = frozenset(task for task, at in active.items() if at == index)
            plans[member.id] = MemberAssignment(
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
    """Round up to the next number of the form 2ⁿ or 3 · 2ⁿ, at least 1."""
    figure = max(1, figure)
    power = 1 << (figure - 1).bit_length()
    return power // 4 * 3 if power >= 4 and figure <= power // 4 * 3 else power
