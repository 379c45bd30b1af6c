"""What a resharding of an application will do, found out before anything is changed.

Its state is read from a savepoint, which may be made here, of an application that is stopped. Everything that can be
refused is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits

import msgspec

from ...operators.graph.topology import Topology
from ...state.topic_partition import TopicPartition
from ..clock import SYSTEM
from ..errors import ConfigError
from ..group.inspect import GroupInspector
from ..kafka.changelog_reader import ChangelogReader
from ..kafka.partitioners import MURMUR2
from ..kafka.topics import Topics
from ..plan.plan import Plan
from ..savepoints.description import described
from ..savepoints.key_samples import explaining, sampled_keys
from ..savepoints.translation import problems
from ..snapshots.savepoint import Savepoint, SavepointInput
from ..snapshots.storage import Storage
from .moving import MovedStore, Resharding, Surveyed
from .parts import Part, parts_of, refused
from .planning import check_widths, plan_as_it_ran, plan_with, same_widths
from .positions import moved_inputs
from .stopped import StoppedApplication
from .unread import refuse_unread, waiting_partitions

__all__ = [
    "ReshardRequest",
    "ReshardWork",
    "as_stopped",
    "outlined",
    "planned",
    "prepared",
    "refuse",
    "with_the_number",
]


@dataclass(frozen=True)
class ReshardRequest:
    """What is asked for, and the application."""

    app_id: str
    guarantee: str
    topology: Topology
    storage: Storage
    groups: GroupInspector
    topics: Topics
    reader: Callable[[], ChangelogReader]
    """Makes a new reader of committed records."""
    partitions: int
    partitioners: Sequence[str]
    scratch: Path
    say: Callable[[str], None]


class ReshardWork(msgspec.Struct, frozen=True):
    """What will be done."""

    base: str
    """The savepoint that is taken; "" if the one with the new number is there already."""
    plan: Plan
    parts: Sequence[Part]
    notes: Sequence[str]
    stores: Sequence[MovedStore]
    moving: Resharding | None = None
    surveyed: Surveyed | None = None
    inputs: Sequence[SavepointInput] = ()
    made: Savepoint | None = None
    """The savepoint with the new number, if a command before has made it."""

    def moved(self, name: str) -> ReshardWork:
        """Return the work with the savepoint that has the new number.

        It is made if it is not there yet. Raises as `Resharding.run` does.
        """
        if self.made is not None:
            return self
        assert self.moving is not None
        assert self.surveyed is not None
        made, stores = self.moving.run(name, randbits(48), self.surveyed, self.inputs)
        return msgspec.structs.replace(self, made=made, stores=stores)


def outlined(request: ReshardRequest, name: str) -> tuple[Plan, Savepoint]:
    """Return the plan of the application as it is, and a savepoint of it without content.

    Raises ConfigError if it has no state.
    """
    ran = plan_as_it_ran(request.topology, request.app_id, request.topics.partitions())
    if not ran.changelogs:
        raise ConfigError(f"{request.app_id} has no changelogs")
    parts = [described(part) for part in ran.subtopologies]
    return ran, Savepoint(name, request.app_id, "", "", 0, "", parts, [], [], [])


def as_stopped(request: ReshardRequest, name: str, storage: Storage) -> Savepoint:
    """Make a savepoint of an application that is stopped, in a store.

    Raises ConfigError if it could not be resharded.
    """
    ran, outline = outlined(request, name)
    planned(request, outline)
    stopped = StoppedApplication(
        ran,
        request.groups,
        request.topics,
        request.reader,
        request.guarantee,
        request.scratch / "stopped",
        SYSTEM,
        request.say,
    )
    return stopped.savepoint(storage, name, randbits(48))


def prepared(request: ReshardRequest, one: Savepoint, storage: Storage) -> ReshardWork:
    """Return what will be done with a savepoint of a store.

    Raises ConfigError if it cannot be done.
    """
    app_id, topics = request.app_id, request.topics
    made, parts, notes = planned(request, one)
    moving = Resharding(storage, one, parts, request.scratch / "moving", SYSTEM, request.say)
    refuse(app_id, refused(parts, moving.flights.waiting()))
    sources = sorted({topic for part in parts for topic in part.sources})
    ids = topics.ids(sources)
    keys = [
        (topic, number)
        for part in parts
        for topic in part.sources
        for number in range(part.now.topic_partitions[topic])
    ]
    begins, ends = topics.begins(keys), topics.ends(keys, committed=True)
    inputs = moved_inputs(one, parts, begins, ids)
    skeleton = msgspec.structs.replace(
        one, subtopologies=[described(part) for part in made.subtopologies], inputs=inputs, in_flight=[]
    )
    refuse(app_id, problems(skeleton, made, ids, begins, ends))
    surveyed = moving.survey(_preferred(request, parts, begins, ends))
    positions = {(it.topic, it.partition): it.offset for it in one.inputs}
    waiting = [key for key in waiting_partitions(parts) if key in positions]
    partitioners = {number: rules.partitioner for number, rules in surveyed.rules.items()}
    refuse_unread(parts, partitioners, {key: positions[key] for key in waiting}, ends, request.reader())
    return ReshardWork(one.name, made, parts, notes, surveyed.stores, moving, surveyed, inputs)


def with_the_number(request: ReshardRequest, one: Savepoint) -> ReshardWork | None:
    """Return what is left to do with a savepoint that has the new number.

    None if it has another one.
    """
    made = plan_with(request.topology, one, request.app_id, request.topics.partitions(), request.partitions)
    return ReshardWork("", made, parts_of(one, made), (), (), made=one) if same_widths(one, made) else None


def planned(request: ReshardRequest, one: Savepoint) -> tuple[Plan, Sequence[Part], list[str]]:
    """Return the new plan, its parts, and remarks. Raises ConfigError or TopologyError."""
    made = plan_with(request.topology, one, request.app_id, request.topics.partitions(), request.partitions)
    parts = parts_of(one, made, request.partitioners)
    notes = check_widths(parts, request.partitions)
    refuse(request.app_id, refused(parts, {}))
    return made, parts, notes


def refuse(app_id: str, found: Sequence[str]) -> None:
    """Raise ConfigError if there are problems."""
    if found:
        raise ConfigError(f"{app_id} cannot be resharded:\n" + "\n".join(f"- {problem}" for problem in found))


def _preferred(
    request: ReshardRequest,
    parts: Sequence[Part],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> dict[int, str]:
    """Return the partitioners that explain where the keys of input topics lie, by sub-topology."""
    found: dict[int, str] = {}
    for part in parts:
        keys = [(topic, number) for topic in part.sources for number in range(part.old)]
        if not (part.moves and part.stores and part.old > 1 and len(part.partitioners) > 1):
            continue
        mine = [key for key in keys if key in begins]
        sample = sampled_keys(request.reader(), {key: begins[key] for key in mine}, ends)
        possible = [name for name in explaining(sample, part.old) if name in part.partitioners]
        found[part.id] = possible[0] if possible else MURMUR2
    return found
