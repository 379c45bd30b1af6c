"""The files that are generated from the settings and metrics are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.engine.cli import reference
from tidemill.engine.config.settings import SETTINGS
from tidemill.engine.serve.metrics import CATALOGUE

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", reference.FILES)
def test_the_file_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text() == reference.FILES[path](), f"{path} is out of date: run `make reference`"


def test_every_setting_and_metric_is_on_its_page() -> None:
    settings, metrics = reference.settings_page(), reference.metrics_page()
    for name, setting in SETTINGS.items():
        assert f"### `{name}`" in settings
        assert setting.meaning in settings
    for name, described in CATALOGUE.items():
        assert f"| `{name}` | {described.type} |" in metrics
