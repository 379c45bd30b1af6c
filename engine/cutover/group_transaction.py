"""Commits the offsets of several groups in one transaction.

The transactional id is that of the pair of applications. Registering it fences each earlier command for them: what one
has begun is committed or aborted, and it cannot begin anything after that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...state.topic_partition import TopicPartition
from ..errors import CommitOutcomeUnknown, Retryable
from ..group.group_metadata import check_format, group_metadata
from ..kafka.producer import TransactionalProducer

__all__ = ["GroupTransaction"]

SECONDS = 15.0


class GroupTransaction:
    """Commits offsets of groups whose members do not commit them at that time."""

    def __init__(self, options: Mapping[str, Any], old: str, new: str) -> None:
        check_format()
        self._producer = TransactionalProducer(options, f"{old}-cutover-{new}")

    def take_over(self) -> None:
        """End the work of earlier commands. Raises Retryable or Fatal."""
        self._producer.init(SECONDS)

    def commit(self, groups: Mapping[str, Mapping[TopicPartition, tuple[int, str]]]) -> None:
        """Commit all or nothing, without anything for groups without offsets.

        Raises Fenced if a later command has taken over, CommitOutcomeUnknown or another error of the engine. After any
        error this object cannot be used any more.
        """
        wanted = {group: offsets for group, offsets in groups.items() if offsets}
        if not wanted:
            return
        try:
            self._producer.begin()
            for group, offsets in wanted.items():
                self._producer.send_offsets(offsets, group_metadata(group, -1, "", None), SECONDS)
            self._producer.commit(SECONDS)
        except Retryable as failure:
            raise CommitOutcomeUnknown(f"{failure}; it is unknown whether it was committed") from failure

    def close(self) -> None:
        """Close the connections; the next command ends a transaction that is open."""
        self._producer.close()
