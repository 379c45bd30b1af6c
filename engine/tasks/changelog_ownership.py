"""What a task knows about its changelogs under at-least-once: its writer ids and their ends.

Without transactions, nothing fences a producer, so a changelog may contain two kinds of invalid records: those of a
lost commit, after which its inputs were processed again, and those that a zombie wrote after another process had taken
over. A restore recognises both by the records' headers. After it, the task writes the affected keys again with its
first commit, so that the last record of each key is right; and it detects records of other writers by the offsets of
its own. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ...state.changes import Changes
from ...state.store import Change, WriterId

__all__ = ["ChangelogOwnership"]


@dataclass
class ChangelogOwnership:
    """The writer ids and ends of one task's changelogs, by store."""

    writers: Mapping[str, WriterId] = field(default_factory=dict[str, WriterId])
    """The writer id that its records carry."""
    ends: dict[str, int] = field(default_factory=dict[str, int])
    """The end of each changelog, if no other process writes to it."""
    unsure: Mapping[str, Collection[bytes]] = field(default_factory=dict[str, Collection[bytes]])
    """The keys with a last record that is invalid."""

    def repairs(self, changes: Iterable[Change], stored: Callable[[str, bytes], bytes | None]) -> Changes:
        """Return the changes to add to `changes` so that the last record of each key is valid."""
        if not self.unsure:
            return Changes()
        written = {(change.store, change.key) for change in changes}
        return Changes.of(
            Change(store, key, stored(store, key))
            for store, keys in self.unsure.items()
            for key in keys
            if (store, key) not in written
        )

    def wrote(self, stores: Iterable[str]) -> dict[str, WriterId]:
        """Return the writer ids for the changelogs of these stores, to which the task has written."""
        return {store: self.writers[store] for store in stores if store in self.writers}

    def commit_completed(self, ends: Mapping[str, int]) -> None:
        """Note that a commit has succeeded, and where the changelogs that it wrote to end now."""
        self.ends.update(ends)
        self.unsure = {}
