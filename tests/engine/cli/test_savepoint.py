"""`tidemill savepoint list|show|delete` on a directory, and what each command refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tidemill.engine.cli.main import cli
from tidemill.engine.cli.run import execute
from tidemill.engine.snapshots.savepoint import (
    InFlight,
    Savepoint,
    SavepointFile,
    SavepointInput,
    SavepointSubTopology,
    SavepointTask,
    encode,
    path_of,
)

PARTS = [SavepointSubTopology(0, "views", "f", 1, ["views"], {"totals": "count"}, {"totals": "t"}, {"app-r": "r"})]
FILE = SavepointFile("files/a/r-0-0", 5, "00", 3)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for created, name in ((2_000, "second"), (1_000, "first")):
        inputs = [SavepointInput("views", 0, 1_234, ""), SavepointInput("app-r", 0, 5, "")]
        flying = [InFlight("app-r", 0, 5, 9, [FILE])]
        tasks = [SavepointTask("0_0", 7)]
        one = Savepoint(name, "app", "1", "a", created, "exactly_once", PARTS, tasks, inputs, flying, 12_345)
        path = tmp_path / path_of("app", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(one))
    file = tmp_path / "app/savepoints" / FILE.path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"12345")
    return tmp_path


def run(store: Path, *arguments: str) -> int:
    return execute(cli, ["savepoint", *arguments, "--snapshots", f"file://{store}"], "tidemill")


def test_the_oldest_is_listed_first(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "list", "app") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "first", "second"]
    assert "1970-01-01 00:00:01 UTC" in lines[1]
    assert "12,345" in lines[1]
    assert run(store, "list", "app", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["first", "second"]
    assert run(store, "list", "other") == 0
    assert "other has no savepoints" in capsys.readouterr().out


def test_one_is_shown_with_positions_and_what_is_in_flight(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "show", "app", "first") == 0
    shown = capsys.readouterr().out
    assert "1 task, 12,345 bytes, 3 records in flight" in shown
    assert "totals" in shown
    assert "1,234" in shown
    assert run(store, "show", "app", "first", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["snapshots"] == {"0_0": 7}
    assert found["inputs"][0] == {"topic": "views", "partition": 0, "offset": 1_234}


def test_one_is_deleted_with_its_own_files(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "delete", "app", "first", "--dry-run") == 0
    assert (store / path_of("app", "first")).exists()
    assert run(store, "delete", "app", "first", "--yes") == 0
    assert not (store / path_of("app", "first")).exists()
    assert not (store / "app/savepoints" / FILE.path).exists()
    assert (store / path_of("app", "second")).exists()
    capsys.readouterr()
    assert run(store, "delete", "app", "first", "--json") == 2
    assert "app has no savepoint 'first'" in capsys.readouterr().err


def test_what_is_refused_says_what_to_do(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "show", "app", "../x") == 2
    assert "cannot be the name of a savepoint" in capsys.readouterr().err
    assert execute(cli, ["savepoint", "list", "app"], "tidemill") == 2
    assert "has none: give the application the setting snapshots" in capsys.readouterr().err
    (store / path_of("app", "first")).write_bytes(b"{}")
    assert run(store, "list", "app") == 3
    assert "savepoint first of app cannot be used" in capsys.readouterr().err
