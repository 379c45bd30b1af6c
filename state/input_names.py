"""How positions and changelog records name an input: topic, partition and, where it is known, the topic's id.

A topic that was deleted and created again has the same name and another id. Offsets of the old one say nothing about
the new one, so they have different names. Names without an id are of versions of Tidemill that did not keep it.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["committed_inputs", "input_name", "other_id"]

Key = tuple[str, int]


def input_name(key: Key, topic_id: str = "") -> str:
    """The name of an input partition."""
    topic, partition = key
    return f"{topic}:{partition}@{topic_id}" if topic_id else f"{topic}:{partition}"


def committed_inputs(offsets: Mapping[Key, int], topic_ids: Mapping[str, str]) -> dict[str, int]:
    """Committed offsets by the names that a store may know their inputs by: with the topic's id, and without one."""
    named = {input_name(key): at for key, at in offsets.items()}
    return named | {input_name(key, topic_ids.get(key[0], "")): at for key, at in offsets.items()}


def other_id(inputs: Mapping[str, int], key: Key, topic_id: str) -> str:
    """The id of the topic that a store has read as this input, when it is another one; "" when it is this one.

    The one that it has read last: names keep their order.
    """
    start = f"{input_name(key)}@"
    known = [name[len(start) :] for name in inputs if name.startswith(start)]
    return "" if not known or not topic_id or topic_id in known else known[-1]
