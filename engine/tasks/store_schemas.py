"""The schemas of stores, kept in the metadata of committed offsets.

`s=` has, for each store of the program, eight digits that represent its name and the words of
`operators/stores/schema.py`. A program with many stores has `z=` instead: per store, four digits for the name and two
for the words.

There the schemas survive the loss of local state, and change with the offsets or not at all. Every task records those
of all stores: a `group_by` that is added or removed moves a store behind another topic, of which no offset is committed
yet. Metadata without schemas is from a version that did not keep them.

With `c=`, the ids of the changelogs of a task, metadata lists the stores that its version had. A changelog may outlive
its store: the topic stays when a step is removed, and when the step is there again, what was processed in between is
missing in it. So the rows of a changelog are taken only if the store is listed, or if nothing is known:

    the committed offsets of the task's inputs ...          the store
    are not there                                           may be taken
    one has metadata that may not list all stores           may be taken
    one lists the store                                     may be taken
    are there, and none of them lists it                    is unlisted: it begins empty, or the start is refused

One is enough, since a commit of which only some inputs have moved may leave out the others. Metadata lists all stores
if it has the id of its topic: versions that did not keep the one did not keep the other. Pure.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from string import ascii_letters, digits
from typing import Final

from ...operators.errors import TopologyError
from ...operators.graph.topology import OperatorState
from .topic_ids import MOST_STORES, changelogs_in, fields, id_in, short

__all__ = ["check_shapes", "shapes_metadata", "unlisted_stores"]

MOST: Final = 1_000
"""Characters: Kafka allows 4,096 bytes of metadata by default, of which the ids of topics may take 2,600."""
DIGITS: Final = digits + ascii_letters + "-_"
NAME, WORDS = 4, 2
"""Digits of 6 bits for the name of a store and for its schema, if there is no room for the words."""


def shapes_metadata(stores: Iterable[OperatorState]) -> str:
    """Return the schemas as metadata for a task's offsets.

    The last stores are left out if even the short form has no room.
    """
    known = {state.spec.name: state.shape for state in stores if state.shape}
    if not known:
        return ""
    text = ",".join(short(name) + words for name, words in known.items())
    if len(text) <= MOST:
        return f";s={text}"
    names = {name: digest(name, NAME) for name in known}
    alike = Counter(names.values())
    pieces = [one + digest(known[name], WORDS) for name, one in names.items() if alike[one] == 1]
    return f";z={''.join(pieces[: MOST // (NAME + WORDS)])}"


def check_shapes(task: str, stores: Iterable[OperatorState], metadata: str) -> None:
    """Raise TopologyError for a store with another schema than was committed with the offset."""
    was, digests = _shapes_in(metadata), _digests_in(metadata)
    for state in stores:
        name, now = state.spec.name, state.shape
        before, digested = was.get(short(name), now), digests.get(digest(name, NAME))
        if now and (before != now or digested not in (None, digest(now, WORDS))):
            held = "something else" if before == now else repr(before)
            raise TopologyError(
                f"store {name!r} of task {task} holds {held}, and is {now!r} in the program now: its content "
                "would be misread. Give the step another name, .named('...'), so that its store begins empty, or "
                "process all inputs again after 'tidemill reset'"
            )


def names_store(metadata: str, store: str) -> bool:
    """Return whether the metadata of an offset has the schema of a store."""
    return short(store) in _shapes_in(metadata) or digest(store, NAME) in _digests_in(metadata)


def names_too_few(metadata: str) -> bool:
    """Return whether the schemas of some stores may have had no room in metadata."""
    return len(_digests_in(metadata)) >= MOST // (NAME + WORDS)


def _shapes_in(metadata: str) -> dict[str, str]:
    return {text[:8]: text[8:] for text in fields(metadata).get("s", "").split(",") if text}


def _digests_in(metadata: str) -> dict[str, str]:
    pieces = fields(metadata).get("z", "")
    return {pieces[at : at + NAME]: pieces[at + NAME : at + NAME + WORDS] for at in range(0, len(pieces), NAME + WORDS)}


def unlisted_stores(stores: Iterable[str], committed: Collection[str]) -> frozenset[str]:
    """Return those of a task's stores that no committed offset of its inputs lists.

    `committed` has the metadata of all of them.
    """
    if not committed or not all(map(lists_all, committed)):
        return frozenset()
    return frozenset(store for store in stores if not any(lists(metadata, store) for metadata in committed))


def lists_all(metadata: str) -> bool:
    """Return whether metadata lists all stores that its program had."""
    return bool(id_in(metadata)) and len(changelogs_in(metadata)) < MOST_STORES and not names_too_few(metadata)


def lists(metadata: str, store: str) -> bool:
    """Return whether metadata lists a store."""
    return short(store) in changelogs_in(metadata) or names_store(metadata, store)


def digest(text: str, length: int) -> str:
    """Return digits that represent a text."""
    number = zlib.crc32(text.encode())
    return "".join(DIGITS[number >> 6 * place & 63] for place in range(length))
