"""How a task that is opened stands to its input topics: is each the one that the committed offset and the state are of?

A topic is its id. For one that is named in the program another id is an error, which says what can be done. A pattern
reads whatever topics there are: one that is gone is not read, and one that was created again is read as a new one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

from ...operators.graph.topology import Repartition, Source
from ...state.input_names import other_id
from ..errors import Retryable
from ..tasks.store_schemas import check_shapes
from ..tasks.topic_ids import id_in, lost_store
from ..topics.changes import by_pattern
from ..topics.errors import created_again
from ..watermarks.watermarks import seen_in
from .opening import Opening

__all__ = ["standing", "take_up", "tell_of_other_topics"]

LOG = logging.getLogger("tidemill.recovery")
Key = tuple[str, int]


def take_up(
    app_id: str, opening: Opening, committed: Mapping[Key, tuple[int, str] | None], first: Mapping[str, int]
) -> dict[Key, Source | None]:
    """Goes on from the committed offsets of a task's inputs. Gives the inputs that have none, with the source that says
    where they begin, None for the beginning. `first` are the partition counts when the process started.

    Raises TopologyError for a store that was something else before, Fatal or Retryable as `standing` does.
    """
    sources = dict(opening.part.inputs)
    offsets: dict[Key, int] = {}
    fresh: dict[Key, Source | None] = {}
    for key in opening.part.task_inputs(opening.task.partition):
        found = committed.get(key)
        node = sources[key[0]]
        is_now = standing(app_id, node, key, opening, None if found is None else found[1])
        if is_now == "gone":
            continue
        if is_now == "new":
            fresh[key] = None
        elif found is None:
            # What was added in mid-run is read from its beginning, wherever the source begins otherwise.
            added = key[1] >= first.get(key[0], 0)
            fresh[key] = node if isinstance(node, Source) and not added else None
        else:
            offsets[key], metadata = found
            check_shapes(str(opening.task), opening.part.program_stores, metadata)
            opening.stream_time = max(opening.stream_time, _stream_time(metadata))
            opening.seen[key] = seen_in(metadata)
    opening.offsets = offsets
    return fresh


def _stream_time(metadata: str) -> int:
    """The stream time in an offset's metadata; -1 when there is none."""
    name, _, number = metadata.partition(";")[0].partition("=")
    return int(number) if name == "t" and number.lstrip("-").isdecimal() else -1


def standing(
    app_id: str, node: Source | Repartition, key: Key, opening: Opening, metadata: str | None
) -> Literal["same", "new", "gone"]:
    """Whether an input is what its committed offset is of, by the offset's metadata; None without one.

    Raises Fatal for another topic under a name that the program has, Retryable for one that does not exist.
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
    store = lost_store(metadata, opening.part.changelogs, ids)
    if store is not None:
        changelog = opening.part.changelogs[store]
        raise created_again(app_id, "changelog", changelog, "", ids[changelog])
    return "same"


def tell_of_other_topics(opening: Opening) -> None:
    """Warns of inputs without a committed offset that the local state has read as other topics.

    Kafka drops the committed offsets of a topic with the topic, so that is how one looks that was created again while
    the program did not run. Nothing of it was read: it begins where its source begins, and the state is kept.
    """
    for key in sorted(opening.fresh):
        found = opening.topic_ids.get(key[0], "")
        for store in opening.stores.values():
            known = other_id(store.position().inputs, key, found)
            if known:
                LOG.warning(
                    "task %s: topic %r was deleted and created again (its id was %s and is %s now): partition %d is "
                    "read from where its source begins, with the state that was built from the old topic",
                    opening.task,
                    key[0],
                    known,
                    found,
                    key[1],
                )
                break
