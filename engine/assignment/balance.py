"""Balancing of weighted tasks over members, independent of ownership and protocols.

Pure and deterministic. The function to minimize is half the sum over members of (total load)² + Σ (load of each part)²,
less the biases, so that both the total and each part become balanced. Each step of `improve` lowers it, which is why
`improve` terminates. A step that gains less than `least`, a share of the mean load, is not taken: it does not justify
moving a task's state.

With r(m) = total load of m + its load of part p - bias: moving weight w of part p from a to b gains w(r(a) - r(b) -
2w).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["LoadDistribution", "WeightedTask"]

EPSILON = 1e-9
FAR = 9
"""The nearness of a member for which an item has none."""
EXTREMES = 3
"""Swaps are searched between this many of the most and the least loaded members of a part."""

Kind = tuple[int, int, tuple[tuple[int, float], ...]]
"""Part, weight and biases: items of the same kind are interchangeable, except for their nearness."""


@dataclass(frozen=True)
class WeightedTask:
    """An item to place on a member: a task, or anything else with a weight.

    Items of one part have the same `allowed` members. `bias` is how much a member is preferred regardless of its load,
    in units of load. `near` breaks ties between equal moves: the lowest number wins. A `pinned` item stays where it is.
    """

    subtopology: int
    weight: int
    allowed: Sequence[int]
    bias: Mapping[int, float] = field(default_factory=dict[int, float])
    near: Mapping[int, int] = field(default_factory=dict[int, int])
    pinned: bool = False

    @property
    def kind(self) -> Kind:
        return self.subtopology, self.weight, tuple(sorted(self.bias.items()))


class LoadDistribution:
    """The placement of items on members, both by number, with the resulting loads."""

    def __init__(self, items: Sequence[WeightedTask], members: int, least: float) -> None:
        self.place: list[int] = [-1] * len(items)
        self._items = items
        self._kinds = [item.kind for item in items]
        parts = max((item.subtopology for item in items), default=-1) + 1
        self._total = [0] * members
        self._loads = [[0] * members for _ in range(parts)]
        self._held: list[dict[Kind, set[int]]] = [{} for _ in range(members)]
        """Movable items by member and kind."""
        self._allowed: list[Sequence[int]] = [()] * parts
        self._kinds_of: list[dict[Kind, None]] = [{} for _ in range(parts)]
        for item, kind in zip(items, self._kinds, strict=True):
            self._allowed[item.subtopology] = item.allowed
            self._kinds_of[item.subtopology][kind] = None
        self._least = least * sum(item.weight for item in items) / max(1, members) + EPSILON

    def put(self, item: int, member: int) -> None:
        """Place an item on a member, and remove it from its present one."""
        spec, kind, old = self._items[item], self._kinds[item], self.place[item]
        loads = self._loads[spec.subtopology]
        if old >= 0:
            self._total[old] -= spec.weight
            loads[old] -= spec.weight
            held = self._held[old].get(kind)
            if held is not None:
                held.discard(item)
        self.place[item] = member
        if member >= 0:
            self._total[member] += spec.weight
            loads[member] += spec.weight
            if not spec.pinned:
                self._held[member].setdefault(kind, set()).add(item)

    def lightest(self, item: int, candidates: Sequence[int]) -> int:
        """Return the candidate to which the item adds the least load; -1 if there is none."""
        spec = self._items[item]
        loads, total, bias, near = self._loads[spec.subtopology], self._total, spec.bias, spec.near
        return min(
            candidates,
            key=lambda m: (total[m] + loads[m] - bias.get(m, 0.0), near.get(m, FAR), m),
            default=-1,
        )

    def improve(self, steps: int) -> None:
        """Move and swap items while that gains enough, at most `steps` times."""
        for _ in range(steps):
            if not (self._move() or self._swap() or self._trade()):
                return

    def _move(self) -> bool:
        """Make the move that gains most; return False if none gains enough."""
        best, moves = 0.0, list[tuple[Kind, list[int], list[int]]]()
        for subtopology, kinds in enumerate(self._kinds_of):
            allowed, least = self._allowed[subtopology], self._least
            if len(allowed) < 2:
                continue
            for kind in kinds:
                weight, pull = kind[1], self._pull(kind)
                low = min(pull[m] for m in allowed)
                high = max((pull[m] for m in allowed if self._held[m].get(kind)), default=low)
                gain = high - low - 2 * weight
                if gain <= least or gain * weight < best:
                    continue
                if gain * weight > best:
                    best, moves = gain * weight, []
                sources = [m for m in allowed if pull[m] == high and self._held[m].get(kind)]
                moves.append((kind, sources, [m for m in allowed if pull[m] == low]))
        chosen = min((self._nearest(*move) for move in moves), default=None)
        if chosen is None:
            return False
        self.put(chosen[1], chosen[2])
        return True

    def _pull(self, kind: Kind) -> dict[int, float]:
        """Return the load that counts against a kind of item on each allowed member."""
        subtopology, _, bias = kind
        loads, total = self._loads[subtopology], self._total
        pull: dict[int, float] = {m: total[m] + loads[m] for m in self._allowed[subtopology]}
        for member, amount in bias:
            pull[member] -= amount
        return pull

    def _nearest(self, kind: Kind, sources: Sequence[int], targets: Sequence[int]) -> tuple[int, int, int]:
        """Return (nearness, item, target) of the nearest of several equal moves."""
        wanted = set(targets)
        best: tuple[int, int, int] | None = None
        for source in sources:
            for item in self._held[source][kind]:
                near = self._items[item].near
                for member in wanted.intersection(near):
                    key = (near[member], item, member)
                    best = key if best is None else min(best, key)
        if best is not None and best[0] < FAR:
            return best
        return FAR, min(self._held[sources[0]][kind]), targets[0]

    def _swap(self) -> bool:
        """Swap two items of two members where that balances more than any single move."""
        best = min(
            (swap for subtopology in range(len(self._allowed)) for swap in self._swaps(subtopology)), default=None
        )
        if best is None:
            return False
        _, one, b, other, a = best
        self.put(one, b)
        self.put(other, a)
        return True

    def _swaps(self, subtopology: int) -> Iterator[tuple[float, int, int, int, int]]:
        """Yield swaps that gain enough: (-gain, item, its new member, other item, its new member).

        The first item is one of this part.
        """
        loads, total, least = self._loads[subtopology], self._total, self._least
        order = sorted(self._allowed[subtopology], key=lambda m: (loads[m], total[m], m))
        for a in order[-EXTREMES:]:
            for b in order[:EXTREMES]:
                if loads[a] <= loads[b]:
                    continue
                for kind in [k for k, held in self._held[a].items() if held and k[0] == subtopology]:
                    for other in [k for k, held in self._held[b].items() if held and a in self._allowed[k[0]]]:
                        gain = self._swap_gain(kind, other, a, b)
                        if gain > least * max(kind[1], other[1]):
                            yield -gain, self._pick(kind, a, b), b, self._pick(other, b, a), a

    def _trade(self) -> bool:
        """Exchange two items of equal weight, each preferred where the other is; no load changes."""
        best = min(
            (trade for subtopology in range(len(self._allowed)) for trade in self._trades(subtopology)), default=None
        )
        if best is None:
            return False
        _, one, b, other, a = best
        self.put(one, b)
        self.put(other, a)
        return True

    def _trades(self, subtopology: int) -> Iterator[tuple[float, int, int, int, int]]:
        """Yield one exchange that gains enough per pair of kinds of a part, in the form of `_swaps`."""
        kinds = self._kinds_of[subtopology]
        for kind in [kind for kind in kinds if kind[2]]:
            liked = dict(kind[2])
            holders = sorted((liked.get(m, 0.0), m) for m in self._allowed[subtopology] if self._held[m].get(kind))
            if not holders:
                continue
            _, a = holders[0]
            for other in [other for other in kinds if other[1] == kind[1] and other != kind]:
                takers = [(-liked[b], b) for b in liked if b != a and self._held[b].get(other)]
                if not takers:
                    continue
                _, b = min(takers)
                gain = self._swap_gain(kind, other, a, b)
                if gain > self._least * kind[1]:
                    yield -gain, self._pick(kind, a, b), b, self._pick(other, b, a), a

    def _pick(self, kind: Kind, source: int, target: int) -> int:
        """Return the item of a kind that is nearest to its new member."""
        return min(self._held[source][kind], key=lambda item: (self._items[item].near.get(target, FAR), item))

    def _swap_gain(self, one: Kind, other: Kind, a: int, b: int) -> float:
        """Return the gain of moving an item of kind `one` from a to b, and one of `other` back."""
        (p, w, liked), (q, v, liked_too), total = one, other, self._total
        shift = w - v
        gain = float(shift * (total[a] - total[b] - shift))
        if p == q:
            gain += shift * (self._loads[p][a] - self._loads[p][b] - shift)
        else:
            gain += w * (self._loads[p][a] - self._loads[p][b] - w) + v * (self._loads[q][b] - self._loads[q][a] - v)
        first, second = dict(liked), dict(liked_too)
        gain += w * (first.get(b, 0.0) - first.get(a, 0.0))
        gain += v * (second.get(a, 0.0) - second.get(b, 0.0))
        return gain
