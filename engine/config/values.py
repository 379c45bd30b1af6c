"""The kinds of values a setting can have: how each is parsed, refused and shown.

A kind converts a value in Python, TOML or text to the form that the engine uses (durations to int milliseconds, sizes
to int bytes) or raises ConfigError with the correct form. The settings are defined in `settings.py`, their sources in
`sources.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ...operators.suggest import did_you_mean
from ...operators.time.durations import format_duration, parse_duration
from ..errors import ConfigError
from .sizes import format_size, parse_size
from .snapshot_urls import checked_url, missing_package
from .worker_bounds import WorkerBounds

__all__ = [
    "Kind",
    "boolean",
    "bounds",
    "brokers",
    "choice",
    "duration",
    "flag",
    "fraction",
    "host",
    "integer",
    "name",
    "optional",
    "options",
    "path",
    "size",
    "snapshot_url",
    "workers",
]

HOST_AND_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
RANGE: Final = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")
MOST_WORKERS: Final = 1024
LEGAL_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,120}")


@dataclass(frozen=True)
class Kind:
    """One kind of value."""

    words: str
    """A description of the values, for the reference page."""
    metavar: str
    """The placeholder in a command's help."""
    parse: Callable[[object, str], Any]
    """Converts a value, given the setting's name with which messages begin, to the form that the engine uses."""
    show: Callable[[Any], str] = str
    """Formats a parsed value as a user writes it."""
    from_text: Callable[[str], object] = str
    """Converts text, from a variable or the command line, to a value to parse."""
    accepts: str = "str"
    """The Python type of the values that `App(...)` accepts, as in `arguments.py`."""
    is_flag: bool = False
    """Whether the option takes no value, and means true."""


def duration(at_least: int = 0) -> Kind:
    """Return the kind of a length of time, as int milliseconds."""
    return Kind(
        'duration: `"500ms"`, `"10s"`, `"1m30s"`, or an int of milliseconds',
        "DURATION",
        lambda value, what: parse_duration(value, what, at_least=at_least, error=ConfigError),
        format_duration,
        accepts="Duration",
    )


def size(at_least: int = 0) -> Kind:
    """Return the kind of an amount of bytes."""
    return Kind(
        'size: `"64MiB"`, `"1GiB"`, or an int of bytes',
        "SIZE",
        lambda value, what: parse_size(value, what, at_least=at_least),
        format_size,
        accepts="Size",
    )


def integer(at_least: int, at_most: int | None = None, *, special: Mapping[int, str] | None = None) -> Kind:
    """Return the kind of an integer; `special` names values with a special meaning."""

    def parse(value: object, what: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"{what}: {value!r} is not a whole number")
        if special and value in special:
            return value
        if value < at_least or (at_most is not None and value > at_most):
            most = "" if at_most is None else f" and at most {at_most}"
            raise ConfigError(f"{what}: {value} is out of range: it must be at least {at_least}{most}")
        return value

    return Kind("whole number", "N", parse, from_text=number_or_text, accepts="int")


def fraction() -> Kind:
    """Return the kind of a number between 0 and 1."""

    def parse(value: object, what: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{what}: {value!r} is not a number such as 0.05")
        if not 0 <= value <= 1:
            raise ConfigError(f"{what}: {value} is out of range: it must be at least 0 and at most 1")
        return float(value)

    return Kind("number between 0 and 1", "SHARE", parse, lambda value: f"{value:g}", decimal_or_text, "float")


def boolean() -> Kind:
    """Return the kind of true or false."""

    def parse(value: object, what: str) -> bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{what}: {value!r} is neither true nor false")
        return value

    return Kind(
        "`true` or `false`",
        "true|false",
        parse,
        lambda value: "true" if value else "false",
        lambda text: {"true": True, "false": False}.get(text, text),
        accepts="bool",
    )


def flag() -> Kind:
    """Return the kind of true or false whose option takes no value."""
    return replace(boolean(), is_flag=True)


def workers() -> Kind:
    """Return the kind of a number of processes, or "auto" for as many as are useful."""
    plain = integer(1, MOST_WORKERS)

    def parse(value: object, what: str) -> int | str:
        if value == "auto":
            return "auto"
        if isinstance(value, str):
            raise ConfigError(f"{what}: {value!r} is not a number of processes; write a whole number or 'auto'")
        return plain.parse(value, what)

    return Kind('whole number, or `"auto"`', "N|auto", parse, str, number_or_text, 'int | Literal["auto"]')


def bounds() -> Kind:
    """Return the kind of a minimum and a maximum, such as `2:6`."""

    def parse(value: object, what: str) -> WorkerBounds:
        found = RANGE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ConfigError(
                f"{what}: {value!r} is not a minimum and a maximum number of processes; write for example '1:4'"
            )
        least, most = int(found[1]), int(found[2])
        if not 1 <= least <= most <= MOST_WORKERS:
            raise ConfigError(
                f"{what}: {value!r} is out of range: at least 1, at most {MOST_WORKERS}, and the lower number first"
            )
        return WorkerBounds(least, most)

    return Kind('`"MIN:MAX"`, two whole numbers', "MIN:MAX", parse)


def choice(*values: str) -> Kind:
    """Return the kind of one of a few words."""

    def parse(value: object, what: str) -> str:
        if value not in values:
            raise ConfigError(
                f"{what}: {value!r} is not one of {', '.join(values)}{did_you_mean(str(value), values, listing=False)}"
            )
        return str(value)

    quoted = [f'"{value}"' for value in values]
    words = "one of " + ", ".join(f"`{value}`" for value in quoted)
    return Kind(words, "|".join(values), parse, accepts=f"Literal[{', '.join(quoted)}]")


def path() -> Kind:
    """Return the kind of a directory or file; `~` is the user's home."""

    def parse(value: object, what: str) -> Path:
        if not isinstance(value, (str, Path)) or not str(value):
            raise ConfigError(f"{what}: {value!r} is not a path")
        return Path(value).expanduser()

    return Kind("path", "PATH", parse, accepts="str | Path")


def name() -> Kind:
    """Return the kind of a word that can be part of a topic name."""

    def parse(value: object, what: str) -> str:
        if not isinstance(value, str) or not LEGAL_NAME.fullmatch(value) or value in (".", ".."):
            raise ConfigError(
                f"{what}: {value!r} is not usable as a name: it may have letters, digits, '.', '_' and '-' only, "
                "120 at most"
            )
        return value

    return Kind("name: letters, digits, `.`, `_` and `-`", "NAME", parse)


def brokers() -> Kind:
    """Return the kind of one or more `host:port`, separated by commas."""

    def parse(value: object, what: str) -> str:
        if not isinstance(value, str):
            raise ConfigError(f"{what}: {value!r} is not text such as 'localhost:9092'")
        for part in value.split(","):
            if not HOST_AND_PORT.fullmatch(part.strip()):
                host = part.strip().rpartition("://")[2] or "localhost"
                right = host if HOST_AND_PORT.fullmatch(host) else f"{host.partition(':')[0] or 'localhost'}:9092"
                raise ConfigError(f"{what}: {part!r} is not host:port; write {right!r}")
        return ",".join(part.strip() for part in value.split(","))

    return Kind("`host:port`, several separated by commas", "HOST:PORT,...", parse)


def host() -> Kind:
    """Return the kind of a host name or an address to bind."""

    def parse(value: object, what: str) -> str:
        if not isinstance(value, str) or not HOST.fullmatch(value):
            raise ConfigError(f"{what}: {value!r} is not a host; write '127.0.0.1' or '0.0.0.0', and the port apart")
        return value

    return Kind("host name or address", "HOST", parse)


def snapshot_url() -> Kind:
    """Return the kind of a snapshot URL, for which the needed packages must be installed."""

    def parse(value: object, what: str) -> str:
        url = checked_url(value, what)
        missing = missing_package(url)
        if missing:
            raise ConfigError(f"{what}: {missing}")
        return url

    return Kind("URL: `file://`, `s3://`, `gs://`, `abfs://` or `hdfs://`", "URL", parse)


def optional(kind: Kind) -> Kind:
    """Return a kind that is also optional: None in Python, "off" as text."""
    return Kind(
        f'{kind.words}; None or `"off"` for none',
        kind.metavar,
        lambda value, what: None if value is None or value == "off" else kind.parse(value, what),
        lambda value: "off" if value is None else kind.show(value),
        kind.from_text,
        f"{kind.accepts} | None",
    )


def options() -> Kind:
    """Return the kind of names and values; numbers and booleans become text."""

    def parse(value: object, what: str) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{what}: {value!r} is not a table of names and values")
        found: dict[str, str] = {}
        for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(key, str) or not isinstance(item, (str, int, float)):
                raise ConfigError(f"{what}: {key!r}: {item!r} is not a name and its value (text or a number)")
            found[key] = str(item).lower() if isinstance(item, bool) else str(item)
        return found

    return Kind(
        "table of names and values",
        "NAME=VALUE",
        parse,
        lambda value: "none" if not value else str(value),
        accepts="Mapping[str, str | int | float | bool]",
    )


def number_or_text(text: str) -> object:
    """Return the int that `text` is, or the text, so that a message can show it."""
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text


def decimal_or_text(text: str) -> object:
    """Return the number that `text` is, or the text, so that a message can show it."""
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text) else text
