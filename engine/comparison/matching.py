"""Matches the outputs of two applications for one sink. Pure.

Outputs belong together by their key and timestamp; the order in which a topic has them does not matter, since it
depends on how the partitions of the inputs were read. Equal ones are matched as soon as both are there. What is left
is judged when both applications are known to have written all that they will write for the input up to then: outputs
of a key and timestamp on both sides are different, the others are missing on the other side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...operators.record import Headers

__all__ = ["Difference", "Output", "SinkMatching"]


class Output(NamedTuple):
    """A record of an output topic, or of its shadow."""

    partition: int
    offset: int
    key: bytes | None
    timestamp: int
    value: bytes | None
    headers: Headers = ()

    @property
    def content(self) -> tuple[object, ...]:
        """What must be equal besides key and timestamp."""
        return self.partition, self.value, self.headers


class Difference(NamedTuple):
    """An example: what each application has written, None for nothing."""

    old: Output | None
    new: Output | None


Waiting = tuple[list[Output], list[Output]]


@dataclass
class SinkMatching:
    """The outputs of one sink so far."""

    most: int = 5
    """How many examples of each kind are kept."""
    equal: int = 0
    different: int = 0
    missing: tuple[int, int] = (0, 0)
    """What only the new one has written, and what only the old one has: missing in the old, missing in the new."""
    examples: dict[str, list[Difference]] = field(default_factory=dict[str, list[Difference]])
    """By kind: different, missing in the new one, missing in the old one."""
    _waiting: dict[tuple[bytes | None, int], Waiting] = field(default_factory=dict[tuple["bytes | None", int], Waiting])

    def add(self, side: int, outputs: Iterable[Output]) -> None:
        """Add outputs of the old application (0) or the new one (1), in the order of each partition."""
        for output in outputs:
            place = output.key, output.timestamp
            waiting = self._waiting.get(place)
            if waiting is None:
                waiting = self._waiting[place] = ([], [])
            others = waiting[1 - side]
            same = next((index for index, other in enumerate(others) if other.content == output.content), None)
            if same is None:
                waiting[side].append(output)
                continue
            del others[same]
            self.equal += 1
            if not waiting[0] and not waiting[1]:
                del self._waiting[place]

    @property
    def pending(self) -> int:
        """The number of outputs that wait for those of the other application."""
        return sum(len(old) + len(new) for old, new in self._waiting.values())

    def judge(self, bounds: Sequence[Mapping[int, int]]) -> None:
        """Judge the outputs before these offsets, by partition, of the old and the new application."""

        def due(side: int, output: Output) -> bool:
            return output.offset < bounds[side].get(output.partition, 0)

        for place, (old, new) in list(self._waiting.items()):
            left: Waiting = ([], [])
            for one, other in zip(old, new, strict=False):
                if due(0, one) or due(1, other):
                    self.different += 1
                    self._note("different", Difference(one, other))
                else:
                    left[0].append(one)
                    left[1].append(other)
            paired = min(len(old), len(new))
            for side, outputs in enumerate((old[paired:], new[paired:])):
                for output in outputs:
                    if due(side, output):
                        self._missing(side, output)
                    else:
                        left[side].append(output)
            if left[0] or left[1]:
                self._waiting[place] = left
            else:
                del self._waiting[place]

    def _missing(self, side: int, output: Output) -> None:
        in_old, in_new = self.missing
        if side == 0:
            self.missing = in_old, in_new + 1
            self._note("missing in new", Difference(output, None))
        else:
            self.missing = in_old + 1, in_new
            self._note("missing in old", Difference(None, output))

    def _note(self, kind: str, example: Difference) -> None:
        known = self.examples.setdefault(kind, [])
        if len(known) < self.most:
            known.append(example)
