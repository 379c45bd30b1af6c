"""Python source generated while a program is built.

With it the loop of a step makes no call per record.

The statements of a fold are put into the loop of its step, as `dataclasses` puts fields into `__init__`. The only text
that comes from a user is the name of a field, as a string literal or as a checked identifier. Tracebacks show the
generated lines; `tests/operators/golden` has examples of what is generated.

The template language has one construct, `<name>`, a part:

    alone on a line       replaced by statements, indented as the part is: lines as they are if the part is a tuple,
                          lines with parts of their own if it is a string; none if it is empty
    within a line         replaced by an expression
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, TypeAlias

__all__ = ["Parts", "define", "expanded"]

Parts: TypeAlias = Mapping[str, str | tuple[str, ...]]

PART: Final = re.compile(r"<([a-z_]+)>")

_numbers = count(1)


def expanded(template: str, parts: Parts) -> str:
    """Return the template with all parts replaced.

    The text of a part that is not a template itself is left as it is.
    """
    lines: list[str] = []
    for line in template.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        whole = PART.fullmatch(line.strip())
        if whole is None:
            lines.append(PART.sub(lambda part: str(parts[part[1]]), line))
        else:
            part = parts[whole[1]]
            statements = part if isinstance(part, tuple) else expanded(part, parts).splitlines()
            lines += [indent + statement for statement in statements]
    return "\n".join(lines)


def define(what: str, source: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Run the source, in which `names` are known, and return what it defines."""
    place = f"<tidemill: {what} {next(_numbers)}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    defined = dict(names)
    exec(compile(source, place, "exec"), defined)
    return defined
