"""The plan of an application as it ran, and with another number of partitions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...operators.graph.topology import Repartition, Topology
from ..errors import ConfigError
from ..plan.kept_names import with_kept_names
from ..plan.partition_growth import built_before, matches_of, refuse_misfits
from ..plan.plan import Plan, partition, plan
from ..savepoints.translation import internal_topics, kept_as_in
from ..snapshots.savepoint import Savepoint
from .parts import Part

__all__ = ["check_widths", "plan_as_it_ran", "plan_with", "same_widths"]


def plan_as_it_ran(topology: Topology, app_id: str, counts: Mapping[str, int]) -> Plan:
    """Return the plan of the state that there is, by the partitions of its changelogs.

    Partitions that were added to input topics since are left out. Raises ConfigError or TopologyError if the state is
    not that of the program.
    """
    cut = with_kept_names(partition(topology), app_id, counts)
    matches = matches_of(cut, app_id, counts)
    before = dict(counts)
    built = built_before(cut, app_id, counts, matches)
    refuse_misfits(
        (state for state in built if max(counts.get(it, 0) for it in state.topics) < state.partitions), counts
    )
    for state in built:
        for topic in state.topics:
            if topic in before:
                before[topic] = min(before[topic], state.partitions)
    found = plan(cut, app_id, before, matches)
    for part in found.subtopologies:
        for store, topic in part.changelogs.items():
            if counts.get(topic) != part.partitions:
                has = f"has {counts[topic]} partitions" if topic in counts else "does not exist"
                raise ConfigError(
                    f"the changelog {topic!r} of store {store!r} {has}, and its sub-topology has {part.partitions} "
                    "tasks: the state is not that of this program. Start the program once, as it is, and stop it"
                )
    return found


def plan_with(topology: Topology, base: Savepoint, app_id: str, existing: Mapping[str, int], partitions: int) -> Plan:
    """Return the plan in which repartition topics have so many partitions.

    Input topics have as many as they have. Raises ConfigError if the savepoint is of another program, TopologyError if
    topics that must have equal numbers do not.
    """
    cut = kept_as_in(base, partition(topology), app_id)
    internal = internal_topics(base)
    counts = {topic: count for topic, count in existing.items() if topic not in internal}
    for node in topology.nodes:
        if isinstance(node, Repartition):
            counts[cut.repartition_topic(app_id, node)] = partitions
    missing = {topic for source in topology.sources for topic in source.topics} - counts.keys()
    if missing:
        raise ConfigError(f"these input topics do not exist: {', '.join(sorted(missing))}")
    made = plan(cut, app_id, counts, matches_of(cut, app_id, counts))
    old = {part.id: part for part in base.subtopologies}
    for part in made.subtopologies:
        known = old.pop(part.id, None)
        if known is None or set(known.stores) != {state.spec.name for state in part.stores} or known.name != part.name:
            raise ConfigError(
                f"the state is of another version of the program: sub-topology {part.id} is not what it was. Use the "
                "version that ran last; the program can change afterwards"
            )
    if old:
        raise ConfigError(
            f"the state is of another version of the program, which had {len(base.subtopologies)} sub-topologies: use "
            "the version that ran last; the program can change afterwards"
        )
    return made


def check_widths(parts: Sequence[Part], partitions: int) -> list[str]:
    """Return remarks about what keeps its number of partitions.

    Raises ConfigError if the number cannot be reached, or nothing would change.
    """
    notes: list[str] = []
    for part in parts:
        if not part.stores or part.new == partitions:
            continue
        if part.sources:
            has = f"has {part.new} partitions"
            named = " and ".join(map(repr, part.sources))
            if part.moves:
                raise ConfigError(
                    f"sub-topology {part.id} reads the input topic {named}, which {has}, and keeps state by key: it "
                    f"would have {part.new} tasks instead of {part.old}. Call the command with --partitions "
                    f"{part.new}, or give the topic {partitions} partitions first, if that is more"
                )
            notes.append(
                f"sub-topology {part.id} keeps {part.old} tasks: it reads the input topic {named}, which {has}. "
                + (
                    f"Add partitions to the topic first, if its state is to have {partitions}"
                    if partitions > part.old
                    else "Topics cannot lose partitions; .repartition() after the source would allow fewer tasks"
                )
            )
        else:
            notes.append(f"sub-topology {part.id} keeps {part.old} tasks: the program gives that number itself")
    if not any(part.moves and part.stores for part in parts):
        raise ConfigError("\n".join([f"nothing would change: no state would have {partitions} partitions", *notes]))
    return notes


def same_widths(savepoint: Savepoint, made: Plan) -> bool:
    """Return whether a savepoint has the numbers of tasks of a plan."""
    return {part.id: part.partitions for part in savepoint.subtopologies} == {
        part.id: part.partitions for part in made.subtopologies
    }
