"""A store remembers what it is, beside the committed offsets: `s=`, for each store of the program eight digits that
stand for its name and the words of `operators/shapes.py`.

There it is known when the local state is lost, and changes with it or not at all. Every task says it of all stores: a
`group_by` that is added or removed moves a store behind another topic, of which no offset is committed yet. Metadata
without it is of a version that did not keep it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..operators.errors import TopologyError
from ..operators.topology import OperatorState
from .topic_ids import fields, short

__all__ = ["check_shapes", "shapes_metadata"]

MOST = 1_000
"""Characters: Kafka takes 4,096 bytes of metadata by default, of which ids of topics may take 2,600."""


def shapes_metadata(stores: Iterable[OperatorState]) -> str:
    """What is added to the metadata of a task's offsets; the last stores are left out when there is no room."""
    known: list[str] = []
    size = 0
    for state in stores:
        text = short(state.spec.name) + state.shape
        size += len(text) + 1
        if state.shape and size <= MOST:
            known.append(text)
    return f";s={','.join(known)}" if known else ""


def check_shapes(task: str, stores: Iterable[OperatorState], metadata: str) -> None:
    """Raises TopologyError for a store that was something else when the offset was committed."""
    was = {text[:8]: text[8:] for text in fields(metadata).get("s", "").split(",") if text}
    for state in stores:
        name, now = state.spec.name, state.shape
        before = was.get(short(name), now)
        if now and before != now:
            raise TopologyError(
                f"store {name!r} of task {task} holds {before!r}, and is {now!r} in the program now: what is in it "
                "would be misread. Give the step another name, .named('...'), under which it begins empty, or put "
                "the application back to its beginning with 'tidemill reset'"
            )
