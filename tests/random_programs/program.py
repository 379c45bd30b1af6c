"""A random program as a value: the lines of its text, and its events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import tidemill as tm
from tests.random_programs import vocabulary

__all__ = ["Advance", "Event", "Line", "Program", "Send"]

NAMES = {**{name: each for name, each in vars(vocabulary).items() if not name.startswith("_")}, "tm": tm}


class Send(NamedTuple):
    """A record in an input topic, as bytes."""

    topic: str
    key: bytes | None
    value: bytes | None
    timestamp: int


class Advance(NamedTuple):
    """The wall clock advances."""

    ms: int


Event = Send | Advance


class Line(NamedTuple):
    """`name = text`; a line without a name is a sink."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name} = {self.text}" if self.name else self.text

    def uses(self, name: str) -> bool:
        return re.search(_variable(name), self.text) is not None

    def with_other(self, name: str, other: str) -> Line:
        return self._replace(text=re.sub(_variable(name), other, self.text))


def _variable(name: str) -> str:
    return rf'(?<!["-])\b{name}\b(?!")'


@dataclass(frozen=True)
class Program:
    """The program and the events of a seed."""

    lines: tuple[Line, ...]
    events: tuple[Event, ...]

    def app(self) -> tm.App:
        """The program, built."""
        app = tm.App("p", on_error=tm.skip)
        scope: dict[str, Any] = {**NAMES, "app": app}
        for line in self.lines:
            exec(str(line), scope)
        return app

    def having(self, lines: Iterable[Line] | None = None, events: Iterable[Event] | None = None) -> Program:
        """The same with other lines or events."""
        return Program(self.lines if lines is None else tuple(lines), self.events if events is None else tuple(events))

    def text(self) -> str:
        """The program as one that can be run."""
        lines = [
            "import tidemill as tm",
            "from tests.random_programs.program import *",
            "from tests.random_programs.vocabulary import *",
            "",
            'app = tm.App("p", on_error=tm.skip)',
            *map(str, self.lines),
            "",
            "events = [",
            *(f"    {event}," for event in self.events),
            "]",
        ]
        return "\n".join(lines)
