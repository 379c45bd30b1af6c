"""Python source made while a program is built: what lets a step's loop run without calls of its own.

A fold's statements are put into the loop of the step that runs them, as `dataclasses` puts fields into `__init__`. The
only text that comes from a user is a field's name, as a string literal or as a checked identifier. Tracebacks show the
generated lines.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

__all__ = ["define", "expanded"]

_numbers = count(1)


def expanded(template: str, blocks: Mapping[str, Iterable[str]]) -> str:
    """The template with each line that is `<name>` replaced by the lines of that name, indented as it was."""
    lines: list[str] = []
    for line in template.splitlines():
        word = line.strip()
        if word.startswith("<") and word.endswith(">"):
            indent = line[: len(line) - len(word)]
            lines += [indent + replacement for replacement in blocks[word[1:-1]]]
        else:
            lines.append(line)
    return "\n".join(lines)


def define(what: str, source: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the source, in which `names` are known; gives what it defines."""
    place = f"<tidemill: {what} {next(_numbers)}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    defined = dict(names)
    exec(compile(source, place, "exec"), defined)
    return defined
