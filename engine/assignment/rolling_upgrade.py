"""The version of each sub-topology that runs while members have different programs.

This is the case during a rolling upgrade. At any time, a partition is read and a changelog written by one sub-topology,
in one version of it. Two versions therefore exclude each other if they are versions of the same sub-topology, or if
both read the same topic or write the same changelog: an upgrade may have moved a topic to another sub-topology. A
running version keeps running while a living member knows it. When its last member has gone, all versions that it
excluded start together. A version that no running version excludes runs at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["SubTopologyVersion", "running_versions"]

Variant = tuple[int, str]
"""A sub-topology and the hash of one version of it."""


@dataclass(frozen=True)
class SubTopologyVersion:
    """A version of a sub-topology: its tasks are assigned only to members with the same hash."""

    hash: str
    partitions: int
    stateful: bool = True
    holds: frozenset[str] = frozenset()
    """The resources that no other sub-topology may use at the same time: topics read and changelogs written."""


def running_versions(known: Sequence[Mapping[int, SubTopologyVersion]], before: Iterable[Variant]) -> dict[int, str]:
    """Return the running hash of each sub-topology, by number, without those that have to wait.

    `known` has the versions of each member. `before` has the versions that ran until now, the most certain first; each
    of them stays if a member knows it. Of new versions that exclude each other, those of the program with the most
    versions that stay are chosen, then those of the program that most members have.
    """
    programs = Counter(frozenset((subtopology, version.hash) for subtopology, version in one.items()) for one in known)
    holds: dict[Variant, set[str]] = {}
    for one in known:
        for subtopology, version in one.items():
            holds.setdefault((subtopology, version.hash), set()).update(version.holds)
    chosen: dict[int, str] = {}
    taken: set[str] = set()

    def take(variants: Iterable[Variant]) -> None:
        for variant in variants:
            subtopology, text = variant
            if variant in holds and subtopology not in chosen and taken.isdisjoint(holds[variant]):
                chosen[subtopology] = text
                taken.update(holds[variant])

    take(before)
    kept = set(chosen.items())
    for program in sorted(programs, key=lambda one: (-len(kept & one), -programs[one], sorted(one))):
        take(sorted(program))
    return dict(sorted(chosen.items()))
