"""Which version of each sub-topology runs in a group whose members know different programs, as in a rolling upgrade.

A partition that is read and a changelog that is written belong to one sub-topology at a time, in one version of it. So
two versions exclude each other when they are of the same sub-topology, or when both read a topic or write a changelog:
an upgrade may have moved a topic to another sub-topology. What runs goes on while anybody living knows it; what it
excludes begins, all at once, when the last of them has gone. What is excluded by nothing that runs, runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Version", "running"]

Variant = tuple[int, str]
"""A sub-topology and the hash of one version of it."""


@dataclass(frozen=True)
class Version:
    """A sub-topology as one member knows it: tasks go only to members that know the same hash."""

    hash: str
    partitions: int
    stateful: bool = True
    holds: frozenset[str] = frozenset()
    """What no other sub-topology may use at the same time: the topics it reads and the changelogs it writes."""


def running(known: Sequence[Mapping[int, Version]], before: Iterable[Variant]) -> dict[int, str]:
    """The hash that each sub-topology runs with, by its number; one that has to wait is left out.

    `known` is what each member knows. `before` is what ran until now, what is surest first; each of it goes on if a
    member knows it. Of new versions that exclude each other, those of the program that has most of what goes on run,
    then those of the program that most members have.
    """
    programs = Counter(frozenset((part, version.hash) for part, version in one.items()) for one in known)
    holds: dict[Variant, set[str]] = {}
    for one in known:
        for part, version in one.items():
            holds.setdefault((part, version.hash), set()).update(version.holds)
    chosen: dict[int, str] = {}
    taken: set[str] = set()

    def take(variants: Iterable[Variant]) -> None:
        for variant in variants:
            part, text = variant
            if variant in holds and part not in chosen and taken.isdisjoint(holds[variant]):
                chosen[part] = text
                taken.update(holds[variant])

    take(before)
    kept = set(chosen.items())
    for program in sorted(programs, key=lambda one: (-len(kept & one), -programs[one], sorted(one))):
        take(sorted(program))
    return dict(sorted(chosen.items()))
