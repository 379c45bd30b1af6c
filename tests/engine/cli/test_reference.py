"""The reference pages in docs/ are what the code says today."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.engine.cli import reference
from tidemill.engine.config.settings import SETTINGS
from tidemill.engine.serve.metrics import CATALOGUE

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == reference.PAGES[name](), (
        f"docs/{name} is out of date: python -m tidemill.engine.cli.reference docs"
    )


def test_every_setting_and_metric_is_on_its_page() -> None:
    settings, metrics = reference.settings_page(), reference.metrics_page()
    for name, setting in SETTINGS.items():
        assert f"### `{name}`" in settings
        assert setting.meaning in settings
    for name, described in CATALOGUE.items():
        assert f"| `{name}` | {described.type} |" in metrics
