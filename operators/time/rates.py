"""Rates: from text such as "100/s" to a number per second."""

from __future__ import annotations

import re
from typing import Final

from ..errors import TopologyError

__all__ = ["parse_rate"]

SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
FORM: Final = re.compile(rf"([1-9][0-9]*)/([{''.join(SECONDS)}])")


def parse_rate(value: object, what: str) -> float:
    """Return the number per second that text like "100/s", "30/m" or "500/h" says.

    Raises TopologyError, naming `what`, for anything else.

    >>> parse_rate("30/m", "the rate")
    0.5
    """
    found = FORM.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise TopologyError(
            f"{what}: {value!r} is not a rate; write a whole number per s, m, h or d, such as '100/s' or '30/m'"
        )
    return int(found[1]) / SECONDS[found[2]]
