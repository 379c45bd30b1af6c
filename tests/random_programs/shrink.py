"""Shrink a failing program, as long as it fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import tidemill as tm
from tests.random_programs.check import Violation, check
from tests.random_programs.program import Line, Program, Send

__all__ = ["shrink"]

T = TypeVar("T")
MOST = 400
"""Programs that are tried."""


def shrink(violation: Violation, seed: int, fails: Callable[[Program, int], None] = check) -> Violation:
    """The violation of a smaller program."""
    tried = 0
    smaller = True
    while smaller and tried < MOST:
        smaller = False
        for program in candidates(violation.program):
            tried += 1
            if tried >= MOST:
                break
            found = fault(program, seed, fails)
            if found is not None and found.way == violation.way:
                violation, smaller = found, True
                break
    return violation


def fault(program: Program, seed: int, fails: Callable[[Program, int], None]) -> Violation | None:
    """Return the violation of a program; None if it has none, or cannot be built."""
    try:
        tm.testing.TopologyDriver(program.app()).close()
    except Exception:
        return None
    try:
        fails(program, seed)
    except Violation as violation:
        return violation
    return None


def candidates(program: Program) -> Iterator[Program]:
    """Smaller programs, those first that are smaller by much."""
    for lines in shorter(program.lines):
        yield program.having(lines=lines)
    for events in without(program.events):
        yield program.having(events=events)
    for at, event in enumerate(program.events):
        if isinstance(event, Send) and event.value not in (b"1", None):
            yield program.having(events=(*program.events[:at], event._replace(value=b"1"), *program.events[at + 1 :]))


def shorter(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Without a line and all that needs it, or with its input in its place."""
    for at, line in enumerate(lines):
        gone = {line.name} if line.name else set[str]()
        left = list(lines[:at])
        for other in lines[at + 1 :]:
            if any(other.uses(name) for name in gone):
                gone |= {other.name} if other.name else set()
            else:
                left.append(other)
        yield left
        for source in lines[:at]:
            if line.name and source.name and line.uses(source.name):
                rest = [other.with_other(line.name, source.name) for other in lines[at + 1 :]]
                yield [*lines[:at], *rest]


def without(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """Without ever smaller parts."""
    size = max(len(items) // 2, 1)
    while size:
        for at in range(0, len(items), size):
            yield (*items[:at], *items[at + size :])
        size //= 2
