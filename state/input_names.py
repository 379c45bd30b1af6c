"""Names of inputs in positions and changelog records: topic, partition and topic id.

A topic that was deleted and created again has the same name and another id. Offsets of the old topic are meaningless in
the new one, so they have different names. Names without an id come from brokers that report none, or from versions of
Tidemill that did not keep it.
"""

from __future__ import annotations

from collections.abc import Mapping

from .topic_partition import TopicPartition

__all__ = ["committed_inputs", "input_name", "other_id"]


def input_name(key: TopicPartition, topic_id: str = "") -> str:
    """Return the name of an input partition."""
    topic, partition = key
    return f"{topic}:{partition}@{topic_id}" if topic_id else f"{topic}:{partition}"


def committed_inputs(offsets: Mapping[TopicPartition, int], topic_ids: Mapping[str, str]) -> dict[str, int]:
    """Return committed offsets by all names that a store may use: with and without topic id."""
    named = {input_name(key): at for key, at in offsets.items()}
    return named | {input_name(key, topic_ids.get(key[0], "")): at for key, at in offsets.items()}


def other_id(inputs: Mapping[str, int], key: TopicPartition, topic_id: str) -> str:
    """Return the id of another topic that a store has read as this input; "" if it is this one.

    If there are several, the one that it read last: names keep their order.
    """
    start = f"{input_name(key)}@"
    known = [name[len(start) :] for name in inputs if name.startswith(start)]
    return "" if not known or not topic_id or topic_id in known else known[-1]
