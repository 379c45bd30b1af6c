"""What `tidemill status` shows, and what it reads from a coordinator's answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tidemill.engine.cli.admin import as_json, show
from tidemill.engine.cli.local_state import workers
from tidemill.engine.config.settings import Settings
from tidemill.engine.group.inspect import Member, RawMember, View, describe_group, member_of
from tidemill.engine.group.metadata.user_data import Report, subscription
from tidemill.engine.kafka.encoding import Reader, Writer
from tidemill.state.directory import StateDirectory


def test_status_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    member = Member("m-1", None, "10.0.0.1", "0123456789", ("0_0", "1_0"), (), ("1_1",), "box-1")
    view = View("Stable", (member,))
    lags = {("views", 0): 1_000, ("views", 1): 5, ("other", 0): 0}
    show("shop", view, lags, {"m-1": 3, "m-2": 4})
    text = capsys.readouterr().out
    assert "shop: Stable, 1 member, lag 1,005\n" in text
    assert re.search(r"box-1 +10\.0\.0\.1 +01234567 +3 +0_0 1_0 +1_1", text)
    assert re.search(r"views +2 +1,005 +1,000", text)
    show("shop", View("Dead", ()), {}, {})
    assert "there is no such group" in capsys.readouterr().out
    whole = as_json("shop", view, lags, {"m-1": 3})
    assert whole["members"][0]["active"] == ("0_0", "1_0")
    assert (whole["members"][0]["node"], whole["members"][0]["worker"]) == ("box-1", 3)
    assert whole["lag"][0] == {"topic": "other", "partition": 0, "lag": 0}


def test_the_answer_of_a_coordinator_is_read() -> None:
    w = Writer().int32(0).int32(1).int16(0).string("shop").string("Stable").string("consumer").string("tidemill")
    w.int32(1).string("m-1").string(None).string("client").string("/10.0.0.1").bytes(b"meta").bytes(b"task").int32(-1)
    found = describe_group("shop").read(Reader(w.done()))
    assert (found.error, found.state) == (0, "Stable")
    assert found.members == (RawMember("m-1", None, "10.0.0.1", b"meta", b"task"),)


def test_a_member_without_tasks_yet() -> None:
    metadata = subscription([], Report("p-1", []), b"")
    assert member_of(RawMember("m", "i", "h", metadata, b"")) == Member("m", "i", "h", "p-1", (), (), ())


def test_a_member_during_a_rebalance() -> None:
    """Kafka tells neither what it said nor what it has, until all have joined."""
    assert member_of(RawMember("m", None, "h", b"", b"")) == Member("m", None, "h", "", (), (), ())


def test_workers_on_this_machine_are_known_by_their_member_ids(tmp_path: Path) -> None:
    settings = Settings(app_id="shop", state_dir=tmp_path)
    for number in (0, 2):
        with StateDirectory(tmp_path / "shop" / f"worker-{number}", "shop") as directory:
            directory.remember(f"process-{number}", f"m-{number}")
    (tmp_path / "shop" / "worker-1").mkdir()
    assert workers(settings) == {"m-0": 0, "m-2": 2}
