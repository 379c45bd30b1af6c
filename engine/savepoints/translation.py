"""What a savepoint means to an application that starts from it. Pure.

Which topics get its content, which offsets are committed, and what does not fit.

The application is the one that the savepoint is of, or another one with a name and internal topics of its own. Offsets
are committed with the same metadata (stream time, watermarks, schemas of stores), but with the ids that topics have
now, and with the names of sub-topologies that read internal topics as they are now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...operators.graph.topology import Repartition
from ...state.topic_partition import TopicPartition
from ..plan.kept_names import with_kept_names
from ..plan.plan import Partitioned, Plan, SubTopology
from ..snapshots.savepoint import Savepoint, SavepointSubTopology
from ..tasks.roles import ACTIVE, Role, with_role
from ..tasks.topic_ids import TopicIds, fields, fields_text
from ..watermarks.records import mark_id, renamed

__all__ = [
    "Content",
    "internal_topics",
    "kept_as_in",
    "mark_ids",
    "partition_counts",
    "problems",
    "remarks",
    "renamed_topic",
    "to_commit",
    "to_fill",
]


@dataclass(frozen=True)
class Content:
    """A store of the savepoint, and the changelog topic that gets its entries."""

    store: str
    task: str
    partition: int
    topic: str


def renamed_topic(savepoint: Savepoint, topic: str, app_id: str) -> str:
    """Return the name of a topic for an application: internal topics begin with its id."""
    return app_id + topic.removeprefix(savepoint.application) if topic in internal_topics(savepoint) else topic


def internal_topics(savepoint: Savepoint) -> frozenset[str]:
    """Return the internal topics of the application that the savepoint is of."""
    parts = savepoint.subtopologies
    return frozenset(topic for part in parts for topic in (*part.changelogs.values(), *part.writes))


def kept_as_in(savepoint: Savepoint, partitioned: Partitioned, app_id: str) -> Partitioned:
    """Return a partitioned topology in which renamed steps keep the names of the savepoint."""
    topics = {renamed_topic(savepoint, topic, app_id) for topic in internal_topics(savepoint)}
    return with_kept_names(partitioned, app_id, topics)


def partition_counts(savepoint: Savepoint, existing: Mapping[str, int], app_id: str) -> dict[str, int]:
    """Return the partition counts to plan with.

    These are those of the topics that exist, but repartition topics have as many partitions as in the savepoint.
    """
    internal = {renamed_topic(savepoint, topic, app_id) for topic in internal_topics(savepoint)}
    counts = {topic: count for topic, count in existing.items() if topic not in internal}
    for position in savepoint.inputs:
        if position.topic in internal_topics(savepoint):
            name = renamed_topic(savepoint, position.topic, app_id)
            counts[name] = max(counts.get(name, 0), position.partition + 1)
    return counts


def mark_ids(savepoint: Savepoint, app_id: str) -> dict[int, int]:
    """Return the ids of sub-topologies in marks of the application, by those in the savepoint."""
    names = {part.name: renamed_topic(savepoint, part.name, app_id) for part in savepoint.subtopologies}
    return {mark_id(name): mark_id(new) for name, new in names.items()}


def problems(
    savepoint: Savepoint,
    plan: Plan,
    ids: Mapping[str, str],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> list[str]:
    """Return why a program cannot start from a savepoint, nothing if it can.

    `ids`, `begins` and `ends` are those of its input topics that exist.
    """
    return [
        *_unlike_stores(savepoint, plan),
        *_unlike_topics(savepoint, plan),
        *_gone_records(savepoint, plan, ids, begins, ends),
    ]


def _unlike_stores(savepoint: Savepoint, plan: Plan) -> Iterable[str]:
    places = {state.spec.name: (part, state) for part in plan.subtopologies for state in part.stores}
    spared = {name for node in plan.topology.nodes for name in node.spared}
    for part in savepoint.subtopologies:
        for store, shape in part.stores.items():
            found = places.get(store)
            if found is None and store in spared:
                continue  # the rows are in another store, which the savepoint has
            if found is None:
                yield (
                    f"the savepoint has a store {store!r}, which the program does not have: name the step as before "
                    "with .named(...), or give it the former name"
                )
                continue
            now, state = found
            if shape and state.shape and shape != state.shape:
                yield f"store {store!r} holds {shape!r} in the savepoint, and is {state.shape!r} in the program"
            if store not in now.changelogs or store not in part.changelogs:
                yield f"store {store!r} has no changelog, by which its content could be given to the application"
            if part.partitions != now.partitions:
                yield (
                    f"store {store!r} is in {part.partitions} tasks in the savepoint, and the program has "
                    f"{now.partitions}: records of a key would be in another task. Start from it with `tidemill "
                    f"reshard APP --partitions {now.partitions} --from {savepoint.name}`"
                )


def _unlike_topics(savepoint: Savepoint, plan: Plan) -> Iterable[str]:
    read = {topic: count for part in plan.subtopologies for topic, count in part.topic_partitions.items()}
    for flight in savepoint.in_flight:
        name = renamed_topic(savepoint, flight.topic, plan.app_id)
        if flight.records and flight.partition >= read.get(name, 0):
            yield (
                f"the savepoint has {flight.records} records in flight in partition {flight.partition} of the "
                f"repartition topic {flight.topic!r}, which the program does not read as {name!r}"
            )


def _gone_records(
    savepoint: Savepoint,
    plan: Plan,
    ids: Mapping[str, str],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> Iterable[str]:
    internal, read = internal_topics(savepoint), set(plan.topics)
    for position in savepoint.inputs:
        key = (position.topic, position.partition)
        if position.topic in internal or position.topic not in read:
            continue
        found = ids.get(position.topic)
        if found is None:
            yield f"the input topic {position.topic!r} does not exist"
        elif found and position.topic_id and found != position.topic_id:
            yield (
                f"the input topic {position.topic!r} was deleted and created again since the savepoint: its id was "
                f"{position.topic_id} and is {found} now"
            )
        elif not begins.get(key, 0) <= position.offset <= ends.get(key, position.offset):
            yield (
                f"topic {position.topic!r}, partition {position.partition} has offsets {begins[key]} to {ends[key]}, "
                f"and the savepoint is at {position.offset}: the records after it are gone"
            )


def remarks(savepoint: Savepoint, plan: Plan, outputs: Iterable[str]) -> list[str]:
    """Return what a user may not expect; `outputs` are the output topics that the program names."""
    internal, read = internal_topics(savepoint), set(plan.topics)
    known = {position.topic for position in savepoint.inputs}
    new = sorted(
        topic
        for part in plan.subtopologies
        for topic, node in part.inputs
        if not isinstance(node, Repartition) and topic not in known
    )
    return [
        *(f"topic {topic} is not in the savepoint: it is read from the start of its source" for topic in new),
        *(
            f"topic {topic} is in the savepoint, and the program does not read it"
            for topic in sorted(known - read - internal)
        ),
        *(
            f"topic {topic} is written and read by the program: what was written to it after the savepoint is still "
            "there, and is read"
            for topic in sorted(read & set(outputs))
        ),
    ]


def to_fill(savepoint: Savepoint, plan: Plan) -> list[Content]:
    """Return the stores that the program has, with the changelogs that get their entries."""
    topics = {store: topic for part in plan.subtopologies for store, topic in part.changelogs.items()}
    parts = {part.id: part for part in savepoint.subtopologies}
    found: list[Content] = []
    for task in savepoint.tasks:
        number, _, partition = task.task.partition("_")
        part: SavepointSubTopology = parts[int(number)]
        filled = [store for store in part.stores if store in topics]
        found += [Content(store, task.task, int(partition), topics[store]) for store in filled]
    return found


def to_commit(
    savepoint: Savepoint, plan: Plan, ids: Mapping[str, str], role: Role = ACTIVE
) -> dict[TopicPartition, tuple[int, str]]:
    """Return the offsets to commit with their metadata.

    `ids` are those of all topics of the plan, `role` is that of the application from now on. Repartition topics are
    new, and begin with what is in flight.
    """
    readers: dict[str, SubTopology] = {topic: part for part in plan.subtopologies for topic, _ in part.inputs}
    marks, internal = mark_ids(savepoint, plan.app_id), internal_topics(savepoint)
    found: dict[TopicPartition, tuple[int, str]] = {}
    for position in savepoint.inputs:
        topic = renamed_topic(savepoint, position.topic, plan.app_id)
        part = readers.get(topic)
        if part is None or position.partition >= part.topic_partitions[topic]:
            continue
        known = {name: text for name, text in fields(position.metadata).items() if name not in ("i", "c")}
        if "p" in known:
            known["p"] = renamed(known["p"], marks)
        metadata = fields_text(known) + TopicIds(ids, part.changelogs).metadata(topic)
        at = 0 if position.topic in internal else position.offset
        found[topic, position.partition] = (at, with_role(metadata, role))
    return found
