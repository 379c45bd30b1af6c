"""Every decision has the same form and is in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .snippets import ROOT

FOLDER = ROOT / "docs" / "decisions"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
LINK = r"\[\d{3}\]\(\d{3}-[a-z0-9-]+\.md\)"
STATUS = re.compile(
    rf"Status: (accepted(, superseded in part by {LINK})?|superseded by {LINK}) · Date: \d{{4}}-\d\d-\d\d"
)
PARTS = ("**Decision.**", "**Consequences.**", "**Instead of**")


def faults(name: str, text: str) -> list[str]:
    """The ways in which a decision lacks the form that all have."""
    lines = text.splitlines()
    found: list[str] = []
    if not re.fullmatch(rf"# {name[:3]} [^ ].*", lines[0]):
        found.append("the first line is not '# NUMBER Title' with the number of the file")
    if len(lines) < 3 or not STATUS.fullmatch(lines[2]):
        found.append("the third line is not 'Status: ... · Date: YYYY-MM-DD'")
    places = [text.find(f"\n\n{part}") for part in PARTS]
    if -1 in places or places != sorted(places):
        found.append(f"no paragraphs {', '.join(PARTS)}, in this order")
    return found


@pytest.mark.parametrize("page", PAGES, ids=[path.name[:3] for path in PAGES])
def test_a_decision_has_the_form(page: Path) -> None:
    assert faults(page.name, page.read_text()) == []


def test_every_decision_is_in_the_index_under_its_title() -> None:
    titles = {path.name: path.read_text().splitlines()[0].removeprefix(f"# {path.name[:3]} ") for path in PAGES}
    rows = re.findall(r"^\| (\d{3}) \| \[(.+?)\]\((\S+?)\) \| .+ \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for _, _, name in rows) == sorted(titles)
    assert {name: title for _, title, name in rows} == titles
    assert all(name.startswith(number) for number, _, name in rows)


def test_a_decision_in_another_form_is_found() -> None:
    status = "Status: accepted · Date: 2026-01-02"
    good = f"# 001 Title\n\n{status}\n\n**Decision.** a\n\n**Consequences.** b\n\n**Instead of** c\n"
    assert faults("001-title.md", good) == []
    assert len(faults("002-title.md", good)) == 1
    assert len(faults("001-title.md", good.replace("accepted", "proposed"))) == 1
    assert len(faults("001-title.md", good.replace("**Decision.**", "**Why.**"))) == 1
