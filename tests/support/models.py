"""Data classes that tests serialize by reference, so they must be importable from a module."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, NamedTuple

import msgspec


class Frozen(msgspec.Struct, frozen=True):
    a: Any
    b: Any = 5


class Open(msgspec.Struct):
    a: Any
    items: list[Any] = []


class KeywordOnly(msgspec.Struct, kw_only=True, rename="camel"):
    long_name: Any


@dataclasses.dataclass
class Plain:
    a: Any
    b: Any = dataclasses.field(default_factory=list)
    derived: Any = dataclasses.field(init=False, default=None)

    def __post_init__(self) -> None:
        self.derived = ("derived", self.a)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: Any


class Pair(NamedTuple):
    left: Any
    right: Any


class Colour(enum.Enum):
    RED = "r"
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Word(str, enum.Enum):
    YES = "yes"


class Outer:
    class Inner(msgspec.Struct, frozen=True):
        a: Any
