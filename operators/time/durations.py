"""Durations: from text such as "1h30m" to whole milliseconds, and back.

Text is "500ms", "10s", "1m", "1h30m", "2d", "1w": units from the largest to the smallest, each at most once, the last
number possibly with a fraction. An int is milliseconds; a `timedelta` is itself. Everything else is rejected with a
suggestion of the closest valid form. Windows and settings use the same forms; this module depends on neither.
"""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from decimal import Decimal
from typing import Final, TypeAlias

from ..errors import TidemillError, TopologyError

__all__ = ["Duration", "format_duration", "parse_duration", "rough_duration"]

Duration: TypeAlias = str | int | timedelta
"""The types of a duration in arguments."""

UNITS: Final = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

STRICT: Final = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+(?:\.[0-9]+)?){unit}(?![a-z]))?" for unit in UNITS))

LOOSE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")

WORDS: Final = {
    word: unit
    for unit, words in {
        "w": "w wk wks week weeks",
        "d": "d day days",
        "h": "h hr hrs hour hours",
        "m": "m min mins minute minutes",
        "s": "s sec secs second seconds",
        "ms": "ms msec msecs milli millis millisecond milliseconds",
    }.items()
    for word in words.split()
}

LONGEST: Final = 100_000 * UNITS["d"]
"""About 270 years: anything longer is a mistake, and could overflow a sum in 64 bits."""


def parse_duration(
    value: Duration | object,
    what: str = "the duration",
    *,
    at_least: int = 0,
    error: type[TidemillError] = TopologyError,
) -> int:
    """Return `value` in milliseconds; raise `error`, naming `what`, if it is invalid.

    >>> parse_duration("1h30m")
    5400000
    """
    match value:
        case bool() | float():
            raise error(f"{what}: {value!r} is not a duration; write text with a unit, such as {after_float(value)!r}")
        case int():
            ms = value
        case timedelta():
            ms, rest = divmod(value, timedelta(milliseconds=1))
            if rest:
                raise error(f"{what}: {value!r} is not a whole number of milliseconds")
        case str():
            ms = from_text(value, what, error)
        case _:
            raise error(
                f"{what}: {value!r} is not a duration; write text such as '10s', an int (milliseconds) or a timedelta"
            )
    if ms < at_least:
        least = "must not be negative" if at_least == 0 else f"must be at least {format_duration(at_least)!r}"
        raise error(f"{what}: {value!r} {least}")
    if ms > LONGEST:
        raise error(f"{what}: {value!r} is longer than {format_duration(LONGEST)!r}, the most there is")
    return ms


def format_duration(ms: int) -> str:
    """Return the shortest valid form of `ms`; the inverse of `parse_duration`.

    >>> format_duration(5_400_000)
    '1h30m'
    """
    parts: list[str] = []
    for unit, size in UNITS.items():
        if unit == "w" and ms % size:
            continue  # 10 days read better as "10d" than as "1w3d"
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def rough_duration(ms: int) -> str:
    """Return `ms` for display: the two largest units, rounded up.

    >>> rough_duration(12_345_678)
    '3h26m'
    """
    sizes = [size for unit, size in UNITS.items() if unit != "w"]
    for size, below in itertools.pairwise(sizes):
        if ms >= size:
            return format_duration(-(-ms // below) * below)
    return format_duration(ms)


def from_text(text: str, what: str, error: type[TidemillError]) -> int:
    """Return the milliseconds of `text` in its only valid form."""
    found = STRICT.fullmatch(text)
    if text == "0":
        return 0
    if found is None or not text:
        raise error(f"{what}: {text!r} is not a duration; {advice(text)}")
    given = [(unit, number) for unit, number in found.groupdict().items() if number is not None]
    total = sum((Decimal(number) * UNITS[unit] for unit, number in given), Decimal(0))
    if any("." in number for _, number in given[:-1]) or total != int(total):
        raise error(f"{what}: {text!r} is not a duration; write {format_duration(max(round(total), 1))!r}")
    return int(total)


def advice(text: str) -> str:
    """Return a suggestion of a valid form of `text`."""
    plain = text.strip().lower().removeprefix("pt").replace(",", " ").replace(" and ", " ")
    parts = LOOSE.findall(plain)
    if parts and not LOOSE.sub("", plain).strip():
        if len(parts) == 1 and not parts[0][1]:
            number = parts[0][0]
            return f"it has no unit: write '{number}ms', '{number}s' or '{number}m'"
        units = [WORDS.get(word) for _, word in parts]
        if None not in units:
            total = sum(Decimal(number) * UNITS[unit] for (number, _), unit in zip(parts, units, strict=True) if unit)
            return f"write {format_duration(round(total))!r}"
    return "write a number and a unit of ms, s, m, h, d or w, such as '500ms', '10s' or '1h30m'"


def after_float(value: float) -> str:
    """Return the duration that a float of seconds was probably meant to be."""
    try:
        return format_duration(max(round(value * 1000), 1))
    except (OverflowError, ValueError):
        return "10s"
