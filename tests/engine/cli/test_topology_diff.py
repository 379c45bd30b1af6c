"""`tidemill topology --diff` between programs, files, snapshots and state directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.bucket import Bucket
from tests.support.state_dirs import take_snapshots, write_state
from tidemill.engine.cli import target
from tidemill.engine.cli.main import cli
from tidemill.engine.cli.run import RunnableProgram
from tidemill.engine.errors import ConfigError
from tidemill.testing import TopologyDriver

PROGRAM = """
import tidemill as tm

app = tm.App("shop")
orders = app.stream("orders", key=tm.utf8, value=tm.json)
{steps}
"""
OLD = "orders.group_by_key().count().named('totals')"
RENAMED = "orders.group_by_key().count().named('sums', was='totals')"
OTHER = "orders.group_by_key().window(tm.tumbling('1m')).count().named('totals')"
NONE = "orders.group_by_key().count().named('others')"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, steps in (("old", OLD), ("renamed", RENAMED), ("other", OTHER), ("none", NONE)):
        Path(f"shop_{name}.py").write_text(PROGRAM.format(steps=steps))


def diff(*arguments: str) -> tuple[int, str]:
    ran = CliRunner().invoke(cli, ["topology", "--diff", *arguments], standalone_mode=False)
    if ran.exception is not None:
        raise ran.exception
    return ran.return_value, ran.output


def state() -> None:
    app: Any = target.find("shop_old.py", RunnableProgram)
    with TopologyDriver(app) as driver:
        driver.send("orders", key="a", value=1, timestamp=1)
        write_state(driver, Path("tidemill-state/shop/worker-0"))
        bucket = Bucket()
        take_snapshots(driver, Path("tidemill-state/shop/worker-0"), bucket)
    for path, content in bucket.content.items():
        place = Path("backup") / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def test_programs() -> None:
    assert diff("shop_old.py", "shop_renamed.py:app") == (0, "renamed       store        totals -> sums\n")
    assert diff("shop_old.py", "shop_old.py") == (0, "kept          store        totals\n")
    code, text = diff("shop_old.py", "shop_other.py")
    assert code == 2
    assert text == (
        "incompatible  store        totals  it holds 'count by utf8 of numbers' and would hold "
        "'count by utf8 of numbers in windows': give the step another name, or reset\n"
    )
    assert diff("shop_old.py", "shop_none.py")[0] == 1
    code, text = diff("shop_old.py", "shop_none.py", "--json")
    assert code == 1
    assert [(change["name"], change["status"]) for change in json.loads(text)] == [
        ("others", "new"),
        ("totals", "dropped"),
    ]


def test_files() -> None:
    for name in ("old", "renamed"):
        ran = CliRunner().invoke(cli, ["topology", f"shop_{name}.py", "--format", "json"], standalone_mode=False)
        Path(f"{name}.json").write_text(ran.output)
    assert diff("old.json", "renamed.json") == (0, "renamed       store        totals -> sums\n")
    assert diff("renamed.json", "old.json")[0] == 1
    Path("broken.json").write_text("{}")
    with pytest.raises(ConfigError, match="must be what `tidemill topology --format json` has written"):
        diff("broken.json", "shop_old.py")


def test_state() -> None:
    state()
    url = Path("backup").absolute().as_uri()
    for place in (url, "backup", "local", "tidemill-state"):
        assert diff(place, "shop_renamed.py") == (0, "renamed       store        totals -> sums\n")
        assert diff(place, "shop_none.py")[0] == 1
    assert diff(url, "shop_other.py")[0] == 2
    assert diff("local", "shop_other.py")[0] == 0, "a directory does not say what its stores hold"
    assert diff("local", url, "--app-id", "shop")[0] == 0
    with pytest.raises(ConfigError, match="name the application with --app-id"):
        diff("local", url)


def test_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match="give two versions"):
        diff("shop_old.py")
    with pytest.raises(ConfigError, match="give one program"):
        CliRunner().invoke(cli, ["topology", "a.py", "b.py"], standalone_mode=False, catch_exceptions=False)
