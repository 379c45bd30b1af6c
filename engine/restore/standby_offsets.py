"""Committed input offsets for standbys, under at-least-once.

A standby applies only committed changes. If it took over with more, the task would process inputs twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...state.input_names import committed_inputs
from ...state.topic_partition import TopicPartition
from ..watermarks.row_positions import positions_in
from ..watermarks.watermarks import seen_in
from .opening import Opening
from .recovery_group import RecoveryGroup

__all__ = ["update_committed_inputs"]

NOTHING = -1
SECONDS = 1.0
"""Timeout of the query; the recovery thread handles no other requests meanwhile."""


def update_committed_inputs(group: RecoveryGroup, copies: Iterable[Opening]) -> None:
    """Update the committed inputs of standbys. Raises Retryable."""
    copies = list(copies)
    keys = {copy.task: copy.subtopology.task_inputs(copy.task.partition) for copy in copies}
    found: Mapping[TopicPartition, tuple[int, str] | None] = {}
    if keys:
        found = group.fetch_offsets({key for inputs in keys.values() for key in inputs}, SECONDS)
    for copy in copies:
        known = {key: found.get(key) or (NOTHING, "") for key in keys[copy.task]}
        offsets = {key: offset for key, (offset, _) in known.items()}
        positions = positions_in(offsets, {key: seen_in(metadata) for key, (_, metadata) in known.items()})
        copy.covered = committed_inputs(positions, copy.topic_ids)
