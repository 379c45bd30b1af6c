"""Where a key lies: the rule by which records and state find their task. Pure.

Keys are placed by a hash modulo the number of partitions. With p of `old` and q of `new` partitions, a key can go from
p to q only if p and q are equal modulo the greatest common divisor of both numbers: 4 become 16 in a way that each new
task takes over from one old task, 16 become 3 in a way that each takes over from all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from typing import NamedTuple

from ..kafka.partitioners import PARTITIONERS

__all__ = ["Rule", "placed", "predecessors", "rules_for", "splits"]


class Rule(NamedTuple):
    """How the partition of an encoded key is chosen."""

    partitioner: str
    trimmed: bool
    """Whether the bytes of a window at the end of the key are left out."""


def rules_for(suffix: int, partitioners: Iterable[str]) -> frozenset[Rule]:
    """Return the rules that are possible for keys with so many bytes of a window at the end."""
    return frozenset(Rule(name, trimmed) for name in partitioners for trimmed in {False, suffix > 0})


def placed(rule: Rule, key: bytes, suffix: int, partitions: int) -> int:
    """Return the partition of a key."""
    return PARTITIONERS[rule.partitioner](key[:-suffix] if rule.trimmed else key, partitions)


def predecessors(number: int, old: int, new: int) -> range:
    """Return the tasks, of `old` ones, whose keys can be in the task `number` of `new` ones."""
    step = gcd(old, new)
    return range(number % step, old, step)


def splits(old: int, new: int) -> bool:
    """Return whether each new task takes over from one old task."""
    return new % old == 0
