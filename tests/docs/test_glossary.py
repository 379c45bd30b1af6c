"""What the glossary says of the code is so: the names exist in the files, and no term is defined twice."""

from __future__ import annotations

import re
from collections import Counter

from .snippets import ROOT

ROWS = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]*)\|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)


def missing(cell: str) -> list[str]:
    """The names of a cell that are not in the file they are followed by, and the files that do not exist."""
    found: list[str] = []
    names: list[str] = []
    for code in re.findall(r"`([^`]+)`", cell):
        if not code.endswith(".py"):
            names.append(code)
            continue
        path = ROOT / code
        text = path.read_text() if path.exists() else ""
        found += [f"{name} in {code}" for name in names if not re.search(rf"\b{name}\b", text)]
        found += [] if text else [code]
        names = []
    return [*found, *names]


def test_names_in_the_glossary_are_in_the_code() -> None:
    assert [name for _, cell in ROWS for name in missing(cell)] == []


def test_a_term_has_one_meaning() -> None:
    terms = Counter(term for cell, _ in ROWS for term in cell.split(", ") if cell != "term")
    assert len(terms) > 50
    assert [term for term, times in terms.items() if times > 1] == []


def test_a_name_that_is_not_there_is_found() -> None:
    assert missing("`TaskId`, `Nothing` in `engine/ids.py`") == ["Nothing in engine/ids.py"]
    assert missing("`engine/nothing.py`") == ["engine/nothing.py"]
    assert missing("`TaskId`") == ["TaskId"]
