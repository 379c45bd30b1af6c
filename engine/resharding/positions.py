"""The positions of the new tasks: offsets of their inputs, and their times. Pure.

A partition of a topic of the user keeps its offset, and a new one is read from its beginning. Repartition topics will
be new ones. A task that takes over from several has the newest of their times: results that were sent once are not sent
again. Watermarks received from other tasks are left out, since those tasks send theirs when they start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...operators.graph.topology import Repartition
from ...state.topic_partition import TopicPartition
from ..snapshots.savepoint import Savepoint, SavepointInput
from ..tasks.topic_ids import fields, fields_text
from .parts import Part
from .rules import predecessors

__all__ = ["moved_inputs"]

TIMES = ("t", "n", "a", "w")
"""Fields of metadata: the stream time, the newest time and the last arrival of the input, the watermark."""
OF_THE_INPUT = ("n", "a")
DROPPED = ("p", "i", "c", "d", "x")
OWN = ("h",)
"""What is of one partition only: where its topic begins behind a history."""


def moved_inputs(
    savepoint: Savepoint, parts: Iterable[Part], begins: Mapping[TopicPartition, int], ids: Mapping[str, str]
) -> list[SavepointInput]:
    """Return the positions of all tasks; `begins` and `ids` are those of the topics of the user."""
    known = {(one.topic, one.partition): one for one in savepoint.inputs}
    found: list[SavepointInput] = []
    for part in parts:
        for topic, node in part.now.inputs:
            internal = isinstance(node, Repartition)
            for number in range(part.now.topic_partitions[topic]):
                old = [
                    one
                    for task in predecessors(number, part.old, part.new)
                    if (one := known.get((topic, task))) is not None
                ]
                mine = known.get((topic, number))
                if internal or mine is None:
                    times = OF_THE_INPUT if internal else ()
                    offset = 0 if internal else begins.get((topic, number), 0)
                    topic_id = "" if internal else ids.get(topic, "")
                    found.append(SavepointInput(topic, number, offset, merged(old, ("t", "w", *times)), topic_id))
                else:
                    text = overlaid(mine, merged(old, ("t", "w")) if part.moves else "")
                    found.append(SavepointInput(topic, number, mine.offset, text, mine.topic_id))
    return found


def merged(inputs: Sequence[SavepointInput], names: Iterable[str]) -> str:
    """Return metadata with the newest of the named times, and the rest of the first input."""
    if not inputs:
        return ""
    every = [fields(one.metadata) for one in inputs]
    wanted = [*names]
    result: dict[str, str] = {}
    for name, text in every[0].items():
        if name in TIMES:
            continue
        if name not in (*DROPPED, *OWN):
            result[name] = text
    times = {
        name: str(max(int(each[name]) for each in every if name in each))
        for name in TIMES
        if name in wanted and any(name in each for each in every)
    }
    return fields_text({**times, **result})


def overlaid(mine: SavepointInput, times: str) -> str:
    """Return the metadata of an input with the times of its task."""
    own = {name: text for name, text in fields(mine.metadata).items() if name not in DROPPED}
    return fields_text({**own, **{name: text for name, text in fields(times).items() if name in TIMES}})
