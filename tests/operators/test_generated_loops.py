"""Tests of the code generated for folds: golden files, and user-defined names that equal parts of a template."""

from __future__ import annotations

from typing import Any

import pytest

import tidemill as tm
from tests.support.golden import FOLDER, GENERATED, body_of, generated
from tidemill.operators.aggregates.generated import expanded


@pytest.mark.parametrize("name", GENERATED)
def test_the_golden_file_has_what_is_generated(name: str) -> None:
    golden = FOLDER / f"{name}.py"
    assert body_of(golden.read_text()) == body_of(generated(name)), "look at the change, and write it by: make golden"


def test_each_golden_file_is_compared() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {*GENERATED, "names"}


def test_parts_of_templates() -> None:
    template = "if <test>:\n    <body>\n<nothing>\n<macro>"
    parts = {"test": "a < b", "body": ("one", "  two <test>"), "nothing": (), "macro": "while 1:\n    <body>"}
    assert expanded(template, parts) == "if a < b:\n    one\n      two <test>\nwhile 1:\n    one\n      two <test>"
    with pytest.raises(KeyError, match="other"):
        expanded("<other>", parts)


def test_a_field_may_be_named_as_a_part_of_a_template() -> None:
    app = tm.App("test")
    columns: dict[str, Any] = {"<show>": tm.sum("<entry>"), "<update>": tm.count()}
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().aggregate(**columns).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", {"<entry>": 2}, 0)
        driver.send("a", "k", {"<entry>": 3}, 0)
        assert [record.value for record in driver.read("out")][-1] == {"<show>": 5, "<update>": 2}
