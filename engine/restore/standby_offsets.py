"""What copies are told of commits, under at-least-once: how far the inputs of their tasks are committed.

A copy applies what was committed and no more. Were it to take over with more, it would count inputs twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...state.input_names import committed_inputs
from .group_interface import Group
from .opening import Opening

__all__ = ["ask_what_is_committed"]

Key = tuple[str, int]
NOTHING = -1
SECONDS = 1.0
"""How long the answer is waited for: meanwhile nobody hears of other requests."""


def ask_what_is_committed(group: Group, copies: Iterable[Opening]) -> None:
    """Brings the committed inputs of copies up to date. Raises Retryable."""
    copies = list(copies)
    keys = {copy.task: copy.part.task_inputs(copy.task.partition) for copy in copies}
    found: Mapping[Key, tuple[int, str] | None] = {}
    if keys:
        found = group.fetch_offsets({key for inputs in keys.values() for key in inputs}, SECONDS)
    for copy in copies:
        offsets = {key: one[0] if (one := found.get(key)) is not None else NOTHING for key in keys[copy.task]}
        copy.covered = committed_inputs(offsets, copy.topic_ids)
