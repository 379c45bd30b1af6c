"""Spreads weighted tasks over members: the arithmetic of the assignor, without any idea of claims or protocols.

Pure and deterministic. The quantity made small is the sum over members of (total load)² + Σ (load of each part)², so
that both the whole and each part are even; every step of `improve` lowers it, which is why it ends. A step that gains
less than `least` (a share of the mean load) is not taken: it would not be worth moving a task's state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Board", "Item"]

EPSILON = 1e-9


@dataclass(frozen=True)
class Item:
    """Something to place: `part` and `allowed` say where it may be, `weight` how heavy it is.

    `bias` is how much a place is liked beyond its load, in units of load, by member; `nearness` breaks ties (less is
    better). A `pinned` item counts where it is and is not moved.
    """

    part: int
    weight: int
    allowed: Sequence[int]
    bias: Mapping[int, float] = field(default_factory=dict[int, float])
    nearness: Callable[[int], int] = lambda member: 0
    pinned: bool = False


class Board:
    """Items on members, both by number, and the loads that follow."""

    def __init__(self, items: Sequence[Item], members: int, least: float) -> None:
        self._items = items
        self._least = least
        self._members = members
        self.place: list[int] = [-1] * len(items)
        parts = max((item.part for item in items), default=-1) + 1
        self._total = [0] * members
        self._loads = [[0] * members for _ in range(parts)]
        self._held: list[list[set[int]]] = [[set() for _ in range(members)] for _ in range(parts)]
        self._allowed: list[Sequence[int]] = [()] * parts
        weights = [0] * parts
        for item in items:
            self._allowed[item.part] = item.allowed
            weights[item.part] += item.weight
        self._threshold = [
            least * (sum(weights) / max(1, members) + weights[part] / max(1, len(self._allowed[part])))
            for part in range(parts)
        ]

    def put(self, item: int, member: int) -> None:
        """Places an item, taking it from where it is."""
        spec, old = self._items[item], self.place[item]
        if old >= 0:
            self._total[old] -= spec.weight
            self._loads[spec.part][old] -= spec.weight
            self._held[spec.part][old].discard(item)
        self.place[item] = member
        if member >= 0:
            self._total[member] += spec.weight
            self._loads[spec.part][member] += spec.weight
            self._held[spec.part][member].add(item)

    def lightest(self, item: int, candidates: Sequence[int]) -> int:
        """The candidate to which the item adds least; -1 when there is none."""
        spec = self._items[item]
        loads = self._loads[spec.part]
        return min(
            candidates,
            key=lambda m: (self._total[m] + loads[m] - spec.bias.get(m, 0.0), spec.nearness(m), m),
            default=-1,
        )

    def improve(self, steps: int) -> None:
        """Moves and swaps items while that gains enough, at most `steps` times."""
        for _ in range(steps):
            if not (self._move() or self._swap()):
                return

    def _move(self) -> bool:
        best: tuple[float, int, int, int] | None = None
        for part, allowed in enumerate(self._allowed):
            loads, total = self._loads[part], self._total
            if len(allowed) < 2:
                continue
            low = min(total[m] + loads[m] for m in allowed)
            for a in allowed:
                if not self._held[part][a] or (total[a] + loads[a] - low <= self._threshold[part] and not self._biased):
                    continue
                for choice in self._choices(part, a):
                    spec = self._items[choice]
                    targets = allowed if spec.bias else self._lowest(part, allowed, a)
                    for b in targets:
                        if b == a:
                            continue
                        gain = total[a] - total[b] + loads[a] - loads[b] - 2 * spec.weight
                        gain += spec.bias.get(b, 0.0) - spec.bias.get(a, 0.0)
                        if gain <= self._threshold[part] + EPSILON:
                            continue
                        key = (-gain * spec.weight, spec.nearness(b), choice, b)
                        if best is None or key < best:
                            best = key
        if best is None:
            return False
        self.put(best[2], best[3])
        return True

    @property
    def _biased(self) -> bool:
        return any(item.bias for item in self._items)

    def _lowest(self, part: int, allowed: Sequence[int], a: int) -> list[int]:
        """The members that a move from `a` should go to: those with the least load."""
        loads, total = self._loads[part], self._total
        low = min((total[m] + loads[m] for m in allowed if m != a), default=0)
        return [m for m in allowed if m != a and total[m] + loads[m] == low]

    def _choices(self, part: int, member: int) -> list[int]:
        """Items of a part on a member that may move."""
        return sorted(item for item in self._held[part][member] if not self._items[item].pinned)

    def _swap(self) -> bool:
        """Exchanges two items of two members where that evens out a part or a total that no single move can."""
        best: tuple[float, int, int, int, int, int] | None = None
        for part, allowed in enumerate(self._allowed):
            if len(allowed) < 2:
                continue
            loads = self._loads[part]
            order = sorted(allowed, key=lambda m: (loads[m], self._total[m], m))
            for a in order[-3:]:
                for b in order[:3]:
                    if loads[a] <= loads[b] or a == b:
                        continue
                    found = self._best_swap(part, a, b)
                    if found is not None and (best is None or found < best):
                        best = found
        if best is None:
            return False
        _, _, one, b, other, a = best
        self.put(one, b)
        self.put(other, a)
        return True

    def _best_swap(self, part: int, a: int, b: int) -> tuple[float, int, int, int, int, int] | None:
        best: tuple[float, int, int, int, int, int] | None = None
        for one in self._distinct(part, a, b):
            w = self._items[one].weight
            for elsewhere in range(len(self._allowed)):
                if a not in self._allowed[elsewhere]:
                    continue
                for other in self._distinct(elsewhere, b, a):
                    v = self._items[other].weight
                    gain = self._swap_gain(one, other, a, b)
                    if gain <= self._threshold[part] * max(w, v) + EPSILON:
                        continue
                    near = self._items[one].nearness(b) + self._items[other].nearness(a)
                    key = (-gain, near, one, b, other, a)
                    if best is None or key < best:
                        best = key
        return best

    def _distinct(self, part: int, member: int, target: int) -> list[int]:
        """One item of each weight: the one that is nearest to the target."""
        chosen: dict[int, int] = {}
        for item in self._choices(part, member):
            spec = self._items[item]
            seen = chosen.get(spec.weight)
            if seen is None or spec.nearness(target) < self._items[seen].nearness(target):
                chosen[spec.weight] = item
        return list(chosen.values())

    def _swap_gain(self, one: int, other: int, a: int, b: int) -> float:
        """By how much half the sum of squares falls when `one` goes from a to b and `other` from b to a."""
        x, y = self._items[one], self._items[other]
        total = self._total
        shift = x.weight - y.weight
        gain = float(shift * (total[a] - total[b] - shift))
        if x.part == y.part:
            loads = self._loads[x.part]
            gain += shift * (loads[a] - loads[b] - shift)
        else:
            first, second = self._loads[x.part], self._loads[y.part]
            gain += x.weight * (first[a] - first[b] - x.weight) + y.weight * (second[b] - second[a] - y.weight)
        gain += x.weight * (x.bias.get(b, 0.0) - x.bias.get(a, 0.0))
        gain += y.weight * (y.bias.get(a, 0.0) - y.bias.get(b, 0.0))
        return gain
