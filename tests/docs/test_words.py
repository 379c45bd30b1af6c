"""Prose, comments and messages do not use words that have a plainer or more precise equivalent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("state", "operators", "engine", "examples", "bench", "docs", "deploy", "docker", ".ci")
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".java", ".xml"}
EXCLUDED = ROOT / "bench" / "results"
"""Reports of past measurements, which are not edited."""

BANNED = {
    r"whoever|whomever|somebody|someone|anybody|anyone|nobody|everybody": "name the component",
    r"people": "name users, operators or the component",
    r"anew|afresh": "again",
    r"mend|mends|mended|mending": "fix, recover or restore",
    r"hopeless|hopelessly|in vain": "state the condition",
    r"at hand|to be had": "available",
    r"for the eye": "for display",
    r"last words": "the end of the log",
    r"put up with|puts up with": "accept or tolerate",
    r"for ever": "forever",
    r"time-out|time-outs": "timeout",
    r"look-up|look-ups": "lookup",
    r"very": "omit it",
}
PATTERN = re.compile(
    "|".join(f"(?P<w{number}>\\b(?:{words})\\b)" for number, words in enumerate(BANNED)), re.IGNORECASE
)
ADVICE = list(BANNED.values())
DATA = re.compile(r"""["'`(]people\b|\bpeople[.=]|\bpeople = """)
"""The example table `people` in docs/tables.md."""


def files() -> Iterator[Path]:
    """Yield the files with prose, comments or messages."""
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES)
    yield from (path for path in ROOT.iterdir() if path.suffix in SUFFIXES)
    yield from (ROOT / "Makefile", ROOT / "docker" / "Dockerfile", ROOT / ".ci" / "run")


def banned(text: str) -> list[tuple[int, str]]:
    """Return the line and the problem of each banned word."""
    if PATTERN.search(DATA.sub("", text)) is None:
        return []
    return [
        (number, f"{match.group()!r}: {ADVICE[int((match.lastgroup or 'w0')[1:])]}")
        for number, line in enumerate(text.splitlines(), 1)
        for match in PATTERN.finditer(DATA.sub("", line))
    ]


def test_no_file_uses_a_banned_word() -> None:
    paths = [path for path in files() if EXCLUDED not in path.parents]
    assert len(paths) > 500
    found = [
        f"{path.relative_to(ROOT)}:{line}: {problem}" for path in paths for line, problem in banned(path.read_text())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# Whoever opens it first", "'Whoever': name the component"),
        ("made anew at each start", "'anew': again"),
        ("the session time-out", "'time-out': timeout"),
        ("its last words", "'last words': the end of the log"),
    ],
)
def test_a_banned_word_is_found(text: str, problem: str) -> None:
    assert banned("x\n" + text) == [(2, problem)]


def test_other_words_are_not_found() -> None:
    assert not banned("every recommendation, amended; connect_timeout; cannot mend_x")
