"""The check that committed offsets and state belong to the present input topics.

It is made when a task is opened. A topic is identified by its id. For a topic named in the program another id is an
error, whose message says what can be done. A pattern reads all topics that exist: a deleted topic is not read, and a
recreated one is read as a new topic.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Literal

from ...operators.graph.topology import Repartition, Source
from ...operators.history.end_marker import BEGINNING
from ...state.input_names import other_id
from ...state.topic_partition import TopicPartition
from ..errors import Fatal, Retryable
from ..kafka.topics import Topics
from ..plan.plan import Plan
from ..tasks.history_inputs import inputs_now
from ..tasks.roles import role_of, why_standing
from ..tasks.snapshot_marks import committed_mark
from ..tasks.store_schemas import check_shapes, unlisted_stores
from ..tasks.topic_ids import id_in, lost_store, unfinished_in
from ..topics.changes import by_pattern
from ..topics.errors import created_again
from ..watermarks.watermarks import seen_in
from .opening import Opening

__all__ = ["identify", "is_same_topic", "refuse_unfinished", "resume_from_committed", "warn_of_replaced_topics"]

LOG = logging.getLogger("tidemill.recovery")


def identify(topics: Topics, openings: Iterable[Opening]) -> None:
    """Query the ids of the topics, since a topic may have been recreated under its name."""
    openings = list(openings)
    ids = topics.ids({topic for opening in openings for topic in opening.subtopology.topics})
    for opening in openings:
        opening.topic_ids = {topic: ids[topic] for topic in opening.subtopology.topics if topic in ids}


def resume_from_committed(
    plan: Plan,
    opening: Opening,
    committed: Mapping[TopicPartition, tuple[int, str] | None],
    first: Mapping[str, int],
    *,
    batch: bool = False,
) -> dict[TopicPartition, Source | int | None]:
    """Set the committed offsets of a task's inputs, and return the inputs without one.

    Each returned input has the source that defines its start, its start, or None to read from the beginning. `first`
    are the partition counts when the process started. A `batch` reads histories, and not the topics after them. Raises
    TopologyError for a store that had another definition before, Fatal if the state of a savepoint is not complete,
    Retryable during a cut-over, Fatal or Retryable as `is_same_topic` does, ConfigError or TopologyError as
    `committed_mark` does.
    """
    sources = dict(opening.subtopology.inputs)
    offsets: dict[TopicPartition, int] = {}
    fresh: dict[TopicPartition, Source | int | None] = {}
    inputs = opening.subtopology.task_inputs(opening.task.partition)
    marked = {key: found[1] for key in inputs if (found := committed.get(key)) is not None}
    refuse_unfinished(plan.app_id, marked.values())
    opening.role = role_of(marked.values())
    if opening.role.standing:
        raise Retryable(why_standing(plan.app_id, opening.role))
    mark = committed_mark(str(opening.task), opening.subtopology, marked, changelogs=plan.changelogs)
    opening.mark = None if plan.changelogs else mark
    opening.unlisted = unlisted_stores(opening.subtopology.changelogs, marked.values())
    histories = opening.subtopology.histories
    now, begin = inputs_now(inputs, histories, marked, batch=batch)
    for key in inputs:
        found = committed.get(key)
        if key not in now:
            opening.stream_time = max(opening.stream_time, -1 if found is None else _stream_time(found[1]))
            continue
        node = sources[key[0]]
        is_now = is_same_topic(plan.app_id, node, key, opening, None if found is None else found[1])
        if is_now == "gone":
            continue
        if is_now == "new":
            fresh[key] = None
        elif key in begin:
            history = seen_in(marked[begin[key]])
            opening.seen[key] = history._replace(begins=None, rows=None)
            fresh[key] = None if history.begins == BEGINNING else history.begins
        elif found is None:
            # A partition added during the run is read from its beginning, whatever the start of the source.
            added = key[1] >= first.get(key[0], 0)
            fresh[key] = node if isinstance(node, Source) and not (added or key[0] in histories) else None
        else:
            offsets[key], metadata = found
            check_shapes(str(opening.task), opening.subtopology.program_stores, metadata)
            opening.stream_time = max(opening.stream_time, _stream_time(metadata))
            opening.seen[key] = seen_in(metadata)
    opening.offsets = offsets
    return fresh


def refuse_unfinished(app_id: str, metadata: Iterable[str]) -> None:
    """Raise Fatal if committed offsets say that the state of a savepoint is not complete."""
    for savepoint in filter(None, map(unfinished_in, metadata)):
        raise Fatal(
            f"the state of savepoint {savepoint!r} has not been written completely to the topics of {app_id}: the "
            "command was interrupted. Call `tidemill savepoint restore`, `fork` or `tidemill reshard` again as before, "
            "or `tidemill reset` to process the inputs from their beginning"
        )


def _stream_time(metadata: str) -> int:
    """Return the stream time in the metadata of an offset, or -1 if there is none."""
    name, _, number = metadata.partition(";")[0].partition("=")
    return int(number) if name == "t" and number.lstrip("-").isdecimal() else -1


def is_same_topic(
    app_id: str, node: Source | Repartition, key: TopicPartition, opening: Opening, metadata: str | None
) -> Literal["same", "new", "gone"]:
    """Compare an input with the metadata of its committed offset; None if it has none.

    Raises Fatal if a topic that the program names was recreated, Retryable if it does not exist.
    """
    topic, ids = key[0], opening.topic_ids
    kind = "repartition" if isinstance(node, Repartition) else "input"
    found = ids.get(topic)
    if found is None:
        if by_pattern(node, topic):
            return "gone"
        raise Retryable(f"task {opening.task} cannot be opened: the {kind} topic {topic!r} does not exist")
    if metadata is None:
        return "same"
    known = id_in(metadata)
    if known and found and known != found:
        if not by_pattern(node, topic):
            raise created_again(app_id, kind, topic, known, found)
        LOG.warning(
            "task %s: topic %r was deleted and created again (its id was %s and is %s now): partition %d is read from "
            "its beginning",
            opening.task,
            topic,
            known,
            found,
            key[1],
        )
        return "new"
    store = lost_store(metadata, opening.subtopology.changelogs, ids)
    if store is not None:
        changelog = opening.subtopology.changelogs[store]
        raise created_again(app_id, "changelog", changelog, "", ids[changelog])
    return "same"


def warn_of_replaced_topics(opening: Opening) -> None:
    """Warn about inputs without committed offsets whose local state is of a former topic.

    Kafka deletes the committed offsets of a topic with the topic, so this is the case of a topic that was recreated
    while the program did not run. None of it was read: it is read from the start of its source, and the state is kept.
    """
    for key in sorted(opening.fresh):
        found = opening.topic_ids.get(key[0], "")
        for store in opening.stores.values():
            known = other_id(store.position().inputs, key, found)
            if known:
                LOG.warning(
                    "task %s: topic %r was deleted and created again (its id was %s and is %s now): partition %d is "
                    "read from the start of its source, with the state that was built from the old topic",
                    opening.task,
                    key[0],
                    known,
                    found,
                    key[1],
                )
                break
