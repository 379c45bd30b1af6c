"""The code blocks of README.md and docs/, as values. How a block is marked says what is done with it:

    ```python             a program of its own: run
    ```python continued   run after the blocks before it, back to the last one that stands alone, in their namespace
    ```python views.py    run, and is the file that commands on the page mean by that name
    ```python example     in the reference: run as the example of the docstring that it is generated from
    ```python signature   in the reference: how something is called
    ```console            commands after `$ `: their targets, options and files must exist; the other lines are output
    ```toml               a settings file: loaded
    ```text  ```mermaid   for the eye

Any other mark, or none, is an error: a block that nothing checks must say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(.*)$")
GENERATED = {"example", "signature", "peer"}
"""Marks of blocks that are not programs of their own."""
LANGUAGES = {"python", "java", "console", "toml", "text", "mermaid"}


@dataclass(frozen=True)
class Snippet:
    """A code block: where it begins, its language, the rest of its mark, its text."""

    page: Path
    line: int
    language: str
    mark: str
    text: str

    @property
    def place(self) -> str:
        """A readable form for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """README.md and everything in docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets(page: Path) -> Iterator[Snippet]:
    """The blocks of a page, in order. Raises ValueError for one that is not closed."""
    begin, indent, mark, lines = 0, "", "", list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        found = FENCE.match(line)
        if found and not begin:
            begin, indent, mark, lines = number, found[1], found[2].strip(), []
        elif found and not found[2]:
            language, _, rest = mark.partition(" ")
            yield Snippet(page, begin, language, rest, "\n".join(lines) + "\n")
            begin = 0
        elif begin:
            lines.append(line.removeprefix(indent))
    if begin:
        raise ValueError(f"{page}: the block that begins in line {begin} is not closed")


def programs(page: Path) -> list[list[Snippet]]:
    """The Python blocks of a page: each that stands alone, with those that continue it."""
    groups: list[list[Snippet]] = []
    for snippet in snippets(page):
        if snippet.language == "python" and snippet.mark not in GENERATED:
            if snippet.mark == "continued" and groups:
                groups[-1].append(snippet)
            else:
                groups.append([snippet])
    return groups


def files(page: Path) -> dict[str, str]:
    """The blocks of a page that are files, by name."""
    return {snippet.mark: snippet.text for snippet in snippets(page) if snippet.mark.endswith(".py")}


def commands(page: Path) -> list[tuple[Snippet, str]]:
    """The commands in the console blocks of a page; a line that ends with a backslash continues in the next one."""
    found: list[tuple[Snippet, str]] = []
    for snippet in snippets(page):
        if snippet.language == "console":
            text = snippet.text.replace("\\\n", " ")
            found += [(snippet, line[2:].strip()) for line in text.splitlines() if line.startswith("$ ")]
    return found
