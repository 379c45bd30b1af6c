"""Which topics offsets and state are of, by id: a topic that is deleted and created again keeps its name only.

The ids stand in the metadata of committed offsets: `i=` the id of the input, `c=` for each store of the task four bytes
that stand for its name and four for its changelog's id. Metadata without them is of a version that did not keep ids.
Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["TopicIds", "accepted", "id_in", "lost_store", "restarted"]

MOST_STORES = 150
"""How many changelogs are named: Kafka takes 4,096 bytes of metadata by default."""


@dataclass(frozen=True)
class TopicIds:
    """The ids of what a task reads and writes its state to; "" for what brokers give no id of."""

    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    changelogs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Changelog topics by store."""

    def metadata(self, topic: str) -> str:
        """What is added to the metadata of an offset in a topic."""
        topic_id = self.ids.get(topic, "")
        stores = ",".join(
            f"{short(store)}{short(changelog_id)}"
            for store, changelog in sorted(self.changelogs.items())[:MOST_STORES]
            if (changelog_id := self.ids.get(changelog, ""))
        )
        return (f";i={topic_id}" if topic_id else "") + (f";c={stores}" if stores else "")

    def differ(self, inputs: Iterable[tuple[str, int]], now: Mapping[str, str], gone: Collection[str]) -> bool:
        """Whether one of the inputs is of a topic that is gone, or another one by now."""
        known = self.ids
        return any(
            topic in gone or (known.get(topic) and now.get(topic) and known[topic] != now[topic]) for topic, _ in inputs
        )


def short(text: str) -> str:
    """Eight hexadecimal digits that stand for a text."""
    return f"{zlib.crc32(text.encode()):08x}"


def fields(metadata: str) -> dict[str, str]:
    """The parts of an offset's metadata by name."""
    pairs = [part.partition("=") for part in metadata.split(";") if part]
    return {name: text for name, _, text in pairs}


def id_in(metadata: str) -> str:
    """The id of the topic that an offset is of; "" when it is not known."""
    return fields(metadata).get("i", "")


def lost_store(metadata: str, changelogs: Mapping[str, str], ids: Mapping[str, str]) -> str | None:
    """A store whose changelog is not the one that was committed with an offset; None when there is none."""
    named = {one[:8]: one[8:] for one in fields(metadata).get("c", "").split(",") if one}
    for store, topic in changelogs.items():
        known, found = named.get(short(store)), ids.get(topic, "")
        if known and found and known != short(found):
            return store
    return None


def accepted(metadata: str, store: str) -> str:
    """The metadata of an offset without what it says of a store's changelog: whatever there is now is right."""
    known = fields(metadata)
    kept = [one for one in known.get("c", "").split(",") if one and not one.startswith(short(store))]
    known.pop("c", None)
    return ";".join(f"{name}={text}" for name, text in (known | ({"c": ",".join(kept)} if kept else {})).items())


def restarted(metadata: str, topic_id: str) -> str:
    """The metadata of an offset at the beginning of a topic that has replaced the one that was read: the time of the
    task goes on, what was seen of the old topic is forgotten."""
    known = fields(metadata)
    kept = {name: known[name] for name in ("t", "c") if name in known}
    return ";".join(f"{name}={text}" for name, text in (kept | ({"i": topic_id} if topic_id else {})).items())
