"""Tests of `tidemill status`: its output, and how it reads a coordinator's response."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tidemill.engine.cli.admin import show, status_json
from tidemill.engine.cli.local_state import worker_numbers
from tidemill.engine.config.settings import Settings
from tidemill.engine.group.inspect import (
    DescribedMember,
    GroupDescription,
    MemberDescription,
    describe_group,
    member_of,
)
from tidemill.engine.group.metadata.member_metadata import SubscriptionInfo, subscription
from tidemill.engine.kafka.encoding import RequestWriter, ResponseReader
from tidemill.engine.restore.progress_file import RestoringTask
from tidemill.state.directory import StateDirectory


def test_what_is_restored_on_this_machine_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    view = GroupDescription("Stable", ())
    restoring = [(3, RestoringTask("0_1", 400_000, 1_000_000, 50_000.0, 0, 0.0))]
    show("shop", view, {}, {}, restoring)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "worker 3 on this machine restores task 0_1: 400,000 of 1,000,000 changelog records, 50,000/s, about 12 s to go"
    )
    [shown] = status_json("shop", view, {}, {}, restoring)["restoring"]
    assert (shown["worker"], shown["task"], shown["seconds_left"]) == (3, "0_1", 12.0)


def test_status_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    member = MemberDescription("m-1", None, "10.0.0.1", "0123456789", ("0_0", "1_0"), (), ("1_1",), "box-1")
    view = GroupDescription("Stable", (member,))
    lags = {("views", 0): 1_000, ("views", 1): 5, ("other", 0): 0}
    show("shop", view, lags, {"m-1": 3, "m-2": 4})
    text = capsys.readouterr().out
    assert "shop: Stable, 1 member, lag 1,005\n" in text
    assert re.search(r"box-1 +10\.0\.0\.1 +01234567 +3 +0_0 1_0 +1_1", text)
    assert re.search(r"views +2 +1,005 +1,000", text)
    show("shop", GroupDescription("Dead", ()), {}, {})
    assert "there is no such group" in capsys.readouterr().out
    whole = status_json("shop", view, lags, {"m-1": 3})
    assert whole["members"][0]["active"] == ("0_0", "1_0")
    assert (whole["members"][0]["node"], whole["members"][0]["worker"]) == ("box-1", 3)
    assert whole["lag"][0] == {"topic": "other", "partition": 0, "lag": 0}


def test_the_response_of_a_coordinator_is_read() -> None:
    w = RequestWriter().int32(0).int32(1).int16(0).string("shop").string("Stable").string("consumer").string("tidemill")
    w.int32(1).string("m-1").string(None).string("client").string("/10.0.0.1").bytes(b"meta").bytes(b"task").int32(-1)
    found = describe_group("shop").read(ResponseReader(w.done()))
    assert (found.error, found.state) == (0, "Stable")
    assert found.members == (DescribedMember("m-1", None, "10.0.0.1", b"meta", b"task"),)


def test_a_member_without_tasks_yet() -> None:
    metadata = subscription([], SubscriptionInfo("p-1", []), b"")
    assert member_of(DescribedMember("m", "i", "h", metadata, b"")) == MemberDescription(
        "m", "i", "h", "p-1", (), (), ()
    )


def test_a_member_during_a_rebalance() -> None:
    """Kafka returns neither its metadata nor its assignment until all members have joined."""
    assert member_of(DescribedMember("m", None, "h", b"", b"")) == MemberDescription("m", None, "h", "", (), (), ())


def test_workers_on_this_machine_are_known_by_their_member_ids(tmp_path: Path) -> None:
    settings = Settings(app_id="shop", state_dir=tmp_path)
    for number in (0, 2):
        with StateDirectory(tmp_path / "shop" / f"worker-{number}", "shop") as directory:
            directory.remember(f"process-{number}", f"m-{number}")
    (tmp_path / "shop" / "worker-1").mkdir()
    assert worker_numbers(settings) == {"m-0": 0, "m-2": 2}
