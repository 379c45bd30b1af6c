"""Number of examples and seeds: all in `make test`; a tenth and the first seeds in `make test-fast`.

`make properties` tries ten times as many, other ones each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

__all__ = ["ALL", "FAST", "MORE", "every", "examples", "seeds"]

ALL, FAST, MORE = 100, 10, 1_000
"""Examples per test that does not name a number, by profile."""
FEWEST = 3
"""Examples per test in a profile that tries fewer, if the test does not ask for fewer itself."""


def examples(number: int, **more: Any) -> settings:
    """Return settings with `number` examples, scaled by profile, but at least `FEWEST`."""
    return settings(max_examples=max(min(number, FEWEST), number * settings().max_examples // ALL), **more)


def seeds(number: int, fast: int) -> list[Any]:
    """Return the seeds from 0, those from `fast` on marked as slow."""
    return [*range(fast), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(fast, number))]


def every(number: int, cases: Iterable[Any]) -> list[Any]:
    """Return the cases; all but the first of every `number` are marked as slow."""
    slow = pytest.mark.slow
    return [case if place % number == 0 else pytest.param(case, marks=slow) for place, case in enumerate(cases)]
