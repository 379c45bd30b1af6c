"""Parsing and formatting of sizes: "64MiB", "1.5GiB", "500kB", or an int of bytes."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, TypeAlias

from ..errors import ConfigError

__all__ = ["Size", "format_size", "parse_size"]

Size: TypeAlias = str | int
"""The types that a caller may pass for a size."""

BINARY: Final = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
DECIMAL: Final = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3}
UNITS: Final = {**BINARY, **DECIMAL, "B": 1}

STRICT: Final = re.compile(rf"([0-9]+(?:\.[0-9]+)?)({'|'.join(UNITS)})")
LOOSE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)i?(?:b|bytes?)?", re.IGNORECASE)


def parse_size(value: Size | object, what: str = "the size", *, at_least: int = 0) -> int:
    """Return the bytes of `value`; raise ConfigError if it is not a size.

    `what` begins the message.

    >>> parse_size("64MiB")
    67108864
    """
    match value:
        case str():
            found = STRICT.fullmatch(value)
            if found is None:
                raise ConfigError(f"{what}: {value!r} is not a size; {advice(value)}")
            exact = Decimal(found[1]) * UNITS[found[2]]
            size = int(exact)
            if exact != size:
                raise ConfigError(f"{what}: {value!r} is not a whole number of bytes")
        case int() if not isinstance(value, bool):
            size = value
        case _:
            raise ConfigError(f"{what}: {value!r} is not a size; write text such as '64MiB' or an int (bytes)")
    if size < at_least:
        raise ConfigError(f"{what}: {value!r} is less than the minimum, {format_size(at_least)!r}")
    return size


def format_size(size: int) -> str:
    """Return the shortest exact form of `size`; the inverse of `parse_size`.

    >>> format_size(67_108_864)
    '64MiB'
    """
    for units in (BINARY, DECIMAL):
        for unit, factor in units.items():
            if size and size % factor == 0:
                return f"{size // factor}{unit}"
    return f"{size}B"


def advice(text: str) -> str:
    """Return what to write instead of `text`, as far as it can be guessed."""
    found = LOOSE.fullmatch(text.strip())
    if found is None:
        return "write a number and a unit, such as '64MiB' or '1GiB'"
    number, letter = found[1], found[2].upper()
    return f"write '{number}{letter}iB'" if letter else f"write '{number}B' or '{number}MiB'"
