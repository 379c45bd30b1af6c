"""The stores that a program had when it last committed offsets of a task's inputs. Pure.

Metadata of an offset lists them: `c=` those of the task that have a changelog, `s=` or `z=` all of the program, since a
store may have been in another task. A changelog may outlive its store: the topic stays when a step is removed, and when
the step is there again, what was processed in between is missing in it. So the rows of a changelog are taken only if
the store is listed, or if nothing is known:

    the committed offsets of the task's inputs ...          the store
    are not there                                           may be taken
    one has metadata that may not list all stores           may be taken
    one lists the store                                     may be taken
    are there, and none of them lists it                    is unlisted: it begins empty, or the start is refused

One is enough, since a commit before the first record of a version may leave out inputs that have not moved. Metadata
lists all stores if it has the id of its topic: versions that did not keep the one did not keep the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .store_schemas import names_store, names_too_few
from .topic_ids import MOST_STORES, changelogs_in, id_in, short

__all__ = ["unlisted_stores"]


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
