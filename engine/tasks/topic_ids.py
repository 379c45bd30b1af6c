"""The topics that offsets and state belong to, by id.

A topic that is deleted and created again has the same name but another id. The ids are in the metadata of committed
offsets: `i=` the id of the input, `c=` for each store of the task four bytes that represent its name and four for its
changelog's id. Metadata without them is from a version that did not keep ids. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

__all__ = [
    "TopicIds",
    "accepted",
    "changelogs_in",
    "fields",
    "fields_text",
    "id_in",
    "lost_store",
    "restarted",
    "short",
    "unfinished",
    "unfinished_in",
]

MOST_STORES = 150
"""The maximum number of changelogs in metadata: Kafka allows 4,096 bytes of it by default."""


@dataclass(frozen=True)
class TopicIds:
    """The ids of a task's input and changelog topics; "" if brokers report none."""

    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    changelogs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Changelog topics by store."""

    def metadata(self, topic: str) -> str:
        """Return what is added to the metadata of an offset in a topic."""
        topic_id = self.ids.get(topic, "")
        stores = ",".join(
            f"{short(store)}{short(changelog_id)}"
            for store, changelog in sorted(self.changelogs.items())[:MOST_STORES]
            if (changelog_id := self.ids.get(changelog, ""))
        )
        return (f";i={topic_id}" if topic_id else "") + (f";c={stores}" if stores else "")

    def differ(self, inputs: Iterable[tuple[str, int]], now: Mapping[str, str], gone: Collection[str]) -> bool:
        """Return whether the topic of an input is gone or has been replaced by another one."""
        known = self.ids
        return any(
            topic in gone or (known.get(topic) and now.get(topic) and known[topic] != now[topic]) for topic, _ in inputs
        )


def short(text: str) -> str:
    """Return eight hexadecimal digits that represent a text."""
    return f"{zlib.crc32(text.encode()):08x}"


def fields(metadata: str) -> dict[str, str]:
    """Return the parts of an offset's metadata by name."""
    pairs = [part.partition("=") for part in metadata.split(";") if part]
    return {name: text for name, _, text in pairs}


def fields_text(parts: Mapping[str, str]) -> str:
    """Return metadata with these parts."""
    return ";".join(f"{name}={text}" for name, text in parts.items())


def unfinished(savepoint: str) -> str:
    """Return the metadata of an offset while the state of a savepoint is being written."""
    return f"x={savepoint}"


def unfinished_in(metadata: str) -> str:
    """Return the savepoint whose state has not been written completely; "" if that is not so."""
    return fields(metadata).get("x", "")


def id_in(metadata: str) -> str:
    """Return the id of the topic that an offset belongs to; "" if it is not known."""
    return fields(metadata).get("i", "")


def changelogs_in(metadata: str) -> dict[str, str]:
    """Return the digits of the changelog ids in metadata, by those of the stores.

    They are "" for a store whose changelog may be any topic.
    """
    return {one[:8]: one[8:] for one in fields(metadata).get("c", "").split(",") if one}


def lost_store(metadata: str, changelogs: Mapping[str, str], ids: Mapping[str, str]) -> str | None:
    """Return a store with another changelog topic than was committed with an offset, or None."""
    named = changelogs_in(metadata)
    for store, topic in changelogs.items():
        known, found = named.get(short(store)), ids.get(topic, "")
        if known and found and known != short(found):
            return store
    return None


def accepted(metadata: str, store: str) -> str:
    """Return the metadata of an offset with a store whose changelog may be any topic.

    Metadata without ids says nothing of stores, and stays as it is.
    """
    if not id_in(metadata):
        return metadata
    named = changelogs_in(metadata) | {short(store): ""}
    return fields_text(fields(metadata) | {"c": ",".join(name + topic_id for name, topic_id in named.items())})


def restarted(metadata: str, topic_id: str) -> str:
    """Return the metadata of an offset at the beginning of a re-created topic.

    The time of the task and the role are kept, the progress of the old topic is dropped.
    """
    known = fields(metadata)
    kept = {name: known[name] for name in ("t", "c", "d", "b") if name in known}
    return fields_text(kept | ({"i": topic_id} if topic_id else {}))
