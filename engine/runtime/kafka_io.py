"""The connections of the main thread of a process to Kafka."""

from __future__ import annotations

from dataclasses import dataclass

from ..group.membership import Membership
from ..topics.topic_watcher import TopicWatcher
from .intake import Intake
from .streams_producer import StreamsProducer

__all__ = ["KafkaIO"]


@dataclass(frozen=True)
class KafkaIO:
    """Input, output, group membership and topics."""

    intake: Intake
    writer: StreamsProducer
    membership: Membership
    watch: TopicWatcher | None = None
    """None if the topics do not change."""
