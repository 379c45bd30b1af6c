"""What a task knows of its changelogs when it writes them at least once: who it is in them, and where they end.

Nothing fences a producer without transactions, so two kinds of records lie in such a changelog that do not count: those
of a commit that was lost, whose inputs were processed again, and those of a process that stood still and wrote after
another one had taken over. A restore recognises both by the records' headers. After it, the task writes the affected
keys again with its first commit, so that the last record of each key is right; and it notices records that are not its
own by the offsets of those that are. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ...state.store import Change, Writer

__all__ = ["Authorship"]


@dataclass
class Authorship:
    """One task's, by store."""

    writers: Mapping[str, Writer] = field(default_factory=dict[str, Writer])
    """What its records say of who wrote them."""
    ends: dict[str, int] = field(default_factory=dict[str, int])
    """Where each changelog ends if nobody else writes to it."""
    unsure: Mapping[str, Collection[bytes]] = field(default_factory=dict[str, Collection[bytes]])
    """The keys whose last records do not count."""

    def repairs(self, changes: Iterable[Change], stored: Callable[[str, bytes], bytes | None]) -> list[Change]:
        """What is to be written beside these changes so that the last record of each key counts."""
        if not self.unsure:
            return []
        written = {(change.store, change.key) for change in changes}
        return [
            Change(store, key, stored(store, key))
            for store, keys in self.unsure.items()
            for key in keys
            if (store, key) not in written
        ]

    def wrote(self, stores: Iterable[str]) -> dict[str, Writer]:
        """Who it is in the changelogs of these stores, to which it has written."""
        return {store: self.writers[store] for store in stores if store in self.writers}

    def settled(self, ends: Mapping[str, int]) -> None:
        """A commit has succeeded, after which the changelogs that it wrote to end there."""
        self.ends.update(ends)
        self.unsure = {}
