"""docs/reference/ is what the docstrings say, and has every public name once."""

from __future__ import annotations

import pytest

from .api import public_names
from .api_pages import FOLDER, PAGES, pages


def test_every_public_name_is_on_one_page() -> None:
    assert sorted(name for _, _, members in PAGES.values() for name in members) == sorted(public_names())


@pytest.mark.parametrize("name", [*(f"{page}.md" for page in PAGES), "README.md"])
def test_the_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == pages()[name], "run `make reference`"


def test_no_other_page_is_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*(f"{page}.md" for page in PAGES), "README.md"}
