"""Model test of the cut-over: each input is in the output of exactly one version, whatever is killed when.

The model is two applications with one task per partition. A task has an owner; it processes one input at a time and
commits it with its role, atomically. The decisions, and the roles in committed offsets, are the real ones. Owners may
be killed, replaced without knowing it, and slow to do what they are asked for; commands may be killed, and stand still
while a later one takes over.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.examples import seeds
from tidemill.engine.cutover.handover import (
    Pair,
    drained,
    inputs_of,
    refuse_different_inputs,
    refuse_reports,
    repartitions_of,
    stage_of,
    stood,
    switched,
    undone,
)
from tidemill.engine.errors import ConfigError
from tidemill.engine.savepoints.cut import Broken, Complete, Incomplete
from tidemill.engine.savepoints.messages import Report
from tidemill.engine.snapshots.savepoint import SavepointSubTopology
from tidemill.engine.tasks.roles import ACTIVE, Role, role_in

WIDTH = 3
OLD, NEW = "views", "views-2"
SHADOW = Role(OLD, "base")
Key = tuple[str, int]


class Owner:
    """A process with one task. It may have been replaced without knowing it."""

    def __init__(self, world: World, app: str, key: Key) -> None:
        self.world, self.app, self.key = world, app, key
        self.role = ACTIVE
        self.position: int | None = None
        self.limit: int | None = None
        self.asked = ""
        """The attempt in which it is to stand still."""

    @property
    def mine(self) -> bool:
        return self.world.owners[self.app, self.key] is self

    def step(self) -> None:
        """Take one step: read what is committed if that decides, or process and commit one input."""
        offset, metadata = self.world.committed[self.app][self.key]
        role = role_in(metadata)
        if self.position is None or self.role.standing:
            if role.standing:
                return
            self.position, self.role, self.limit = offset, role, None
        if role.retired and self.role.retired:
            return
        if self.asked:
            attempt, self.asked = self.asked, ""
            if self.position == self.limit or self.world.chance.random() < 0.05:  # or elsewhere, by mistake
                self.commit(self.position, self.role.stands(NEW if self.app == OLD else OLD, attempt), [])
            return
        if self.position < self.world.ends[self.key] and (self.limit is None or self.position < self.limit):
            real = [] if self.role.shadow else [(self.key, self.position)]
            self.commit(self.position + 1, self.role, real)

    def commit(self, position: int, role: Role, real: list[tuple[Key, int]]) -> None:
        """Commit, unless another owner has taken over."""
        if not self.mine:
            self.position = None  # fenced: it is no owner any more
            self.world.zombies.remove(self)
            return
        self.position, self.role = position, role
        self.world.committed[self.app][self.key] = position, "t=1" + role.metadata
        for one in real:
            self.world.outputs[one] += 1


class World:
    """Kafka: the committed offsets, the outputs, and who owns what."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        keys = [("in", number) for number in range(WIDTH)]
        self.ends = dict.fromkeys(keys, 5)
        self.committed: dict[str, dict[Key, tuple[int, str]]] = {
            app: dict.fromkeys(keys, (0, "t=1" + role.metadata)) for app, role in ROLES.items()
        }
        self.outputs = Counter[tuple[Key, int]]()
        self.zombies: list[Owner] = []
        self.owners: dict[tuple[str, Key], Owner] = {}
        self.owners = {(app, key): Owner(self, app, key) for app in ROLES for key in keys}
        self.commands = 0
        """The number of the last command: earlier ones are fenced."""

    def pair(self) -> Pair:
        return Pair(dict(self.committed[OLD]), dict(self.committed[NEW]))

    def transaction(self, command: int, old: dict[Key, tuple[int, str]], new: dict[Key, tuple[int, str]]) -> bool:
        """Commit offsets of both, unless a later command has taken over."""
        if command != self.commands:
            return False
        self.committed[OLD].update(old)
        self.committed[NEW].update(new)
        return True

    def replace(self, app: str, key: Key, *, alive: bool) -> None:
        if alive:
            self.zombies.append(self.owners[app, key])
        self.owners[app, key] = Owner(self, app, key)


ROLES = {OLD: ACTIVE, NEW: SHADOW}


def command(world: World) -> Iterator[None]:
    """The steps of the command; between any two it may stand still, or be killed."""
    world.commands += 1
    number = world.commands
    while True:
        found = world.pair()
        if stage_of(OLD, NEW, found) == "switched":
            return
        if not world.transaction(number, undone(found.old), undone(found.new)):
            return
        yield
        attempt = f"a{number}-{world.chance.randrange(10**9)}"
        asked = list(world.owners.values())
        ends = {
            key: max(world.committed[app][key][0] for app in ROLES) + world.chance.randrange(2)
            for key in world.committed[OLD]
        }
        for owner in asked:
            if owner.position is not None and owner.position <= ends[owner.key]:
                owner.limit = ends[owner.key]
        yield
        if any(isinstance(drained(ends, {}, world.committed[app]), Incomplete) for app in ROLES):
            yield
        for owner in asked:
            if world.chance.random() < 0.98:
                owner.asked = attempt
        for _ in range(world.chance.randrange(1, 12)):
            yield
            found = world.pair()
            looks = [stood(ends, committed, attempt, {}) for committed in (found.old, found.new)]
            if all(isinstance(one, Complete) for one in looks):
                yield
                world.transaction(number, switched(found.old, 7), switched(found.new, 7))
                return
            if any(isinstance(one, Broken) for one in looks) and world.chance.random() < 0.5:
                break
        for owner in asked:  # the hold ends after its time
            owner.limit = None
        yield


def live(seed: int, *, faults: bool) -> World:
    chance = random.Random(seed)
    world = World(chance)
    commands: list[Iterator[None]] = []
    for turn in range(600):
        for owner in [*world.owners.values(), *world.zombies]:
            if chance.random() < 0.6:
                owner.step()
        if turn % 40 == 20:
            commands.append(command(world))
        for one in list(commands):
            if chance.random() < 0.7 and next(one, "done") == "done":
                commands.remove(one)
        if turn < 500 and chance.random() < 0.3:
            world.ends[chance.choice(list(world.ends))] += 1
        if not faults:
            continue
        if chance.random() < 0.03:
            app, key = chance.choice(list(world.owners))
            world.replace(app, key, alive=chance.random() < 0.5)
        if commands and chance.random() < 0.05:
            commands.remove(chance.choice(commands))
    last = [command(world)]
    for _ in range(3_000):
        for owner in world.owners.values():
            owner.step()
        if last and next(last[0], "done") == "done":
            last.clear()
    return world


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("seed", seeds(40, fast=15))
def test_each_input_is_in_the_output_of_exactly_one_version(seed: int, faults: bool) -> None:
    world = live(seed, faults=faults)
    assert stage_of(OLD, NEW, world.pair()) == "switched"
    assert {role_in(text).retired for _, text in world.committed[OLD].values()} == {True}
    assert {role_in(text).promoted for _, text in world.committed[NEW].values()} == {True}
    wanted = {((topic, number), at) for (topic, number), end in world.ends.items() for at in range(end)}
    assert world.outputs == Counter(wanted)


def test_the_stage_is_read_from_committed_offsets() -> None:
    def offsets(role: Role) -> dict[Key, tuple[int, str]]:
        return {("in", 0): (5, "t=1;i=x" + role.metadata)}

    active, shadow = offsets(ACTIVE), offsets(SHADOW)
    assert stage_of(OLD, NEW, Pair(active, shadow)) == "ready"
    assert stage_of(OLD, NEW, Pair(active, active)) == "other"
    assert stage_of(OLD, NEW, Pair(active, offsets(Role("sales", "base")))) == "other"
    leaving, arriving = offsets(ACTIVE.stands(NEW, "a1")), offsets(SHADOW.stands(OLD, "a1"))
    assert stage_of(OLD, NEW, Pair(leaving, shadow)) == stage_of(OLD, NEW, Pair(active, arriving)) == "standing"
    assert undone(leaving) == {("in", 0): (5, "t=1;i=x")}
    assert undone(arriving) == shadow
    assert undone(active) == undone(shadow) == {}
    done = Pair(switched(leaving, 7), switched(arriving, 7))
    assert stage_of(OLD, NEW, done) == "switched"
    assert stage_of(OLD, "views-3", done) == "other"


def test_tasks_stand_still_where_they_were_held_and_nothing_is_left() -> None:
    held = {("in", 0): 5, ("re", 0): 9}
    stands = "t=1" + ACTIVE.stands(NEW, "a1").metadata
    assert stood(held, {("in", 0): (5, stands), ("re", 0): (9, stands)}, "a1", {("re", 0): 9}) == Complete({})
    assert isinstance(stood(held, {("in", 0): (5, stands), ("re", 0): (9, "t=1")}, "a1", {}), Incomplete)
    assert isinstance(stood(held, {("in", 0): (5, stands), ("re", 0): (9, stands)}, "a2", {}), Incomplete)
    assert isinstance(stood(held, {("in", 0): (6, stands), ("re", 0): (9, stands)}, "a1", {}), Broken)
    assert isinstance(stood(held, {("in", 0): (5, stands)}, "a1", {}), Broken)
    assert isinstance(stood(held, {("in", 0): (5, stands), ("re", 0): (9, stands)}, "a1", {("re", 0): 10}), Broken)


def sub_topology(inputs: list[str], writes: dict[str, str]) -> SavepointSubTopology:
    return SavepointSubTopology(0, inputs[0], "f", 1, inputs, {"s": ""}, {"s": "app-s-changelog"}, writes)


def test_what_cannot_be_cut_over_is_refused_by_name() -> None:
    parts = [sub_topology(["in"], {"app-re": "count"}), sub_topology(["app-re"], {})]
    good = Report("p", "ready", subtopologies=parts, guarantee="exactly_once")
    refuse_reports("app", [good])
    assert repartitions_of(parts) == {"app-re"}
    assert inputs_of({("in", 0): 1, ("app-re", 0): 2}, {"app-re"}) == {("in", 0): 1}
    for report, why in (
        (Report("p", "ready", guarantee="at_least_once"), "at_least_once"),
        (Report("p", "ready", guarantee="exactly_once", effects=["step 'x' writes to a target"]), "step 'x' writes"),
        (
            Report(
                "p",
                "ready",
                guarantee="exactly_once",
                subtopologies=[SavepointSubTopology(0, "in", "f", 1, ["in"], {"s": ""}, {}, {})],
            ),
            "durability",
        ),
    ):
        with pytest.raises(ConfigError, match=why):
            refuse_reports("app", [good, report])
    refuse_different_inputs(OLD, NEW, parts, [sub_topology(["in"], {})])
    for other in (["in", "more"], ["other"]):
        with pytest.raises(ConfigError, match=r"and views(-2)? does not"):
            refuse_different_inputs(OLD, NEW, parts, [sub_topology(other, {})])
