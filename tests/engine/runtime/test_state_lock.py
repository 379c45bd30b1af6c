"""Tests of the lock of a state directory: wait if its owner is stopping, otherwise refuse at once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tidemill.engine.clock import ManualClock
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import StateUnusable
from tidemill.engine.restore.stores import TaskStores
from tidemill.engine.runtime.state_lock import claim_with_retry
from tidemill.engine.topics.startup import StopRequested


class Holder(ManualClock):
    """Hold the lock of the directory, and release it at a time of this clock."""

    def __init__(self, directory: Path, gone_at: int) -> None:
        super().__init__()
        self.settings = Settings(app_id="a", state_dir=directory)
        self.stores = TaskStores(self.settings)
        self.gone_at = self.monotonic() + gone_at
        self.slept = 0

    def sleep(self, ms: int) -> None:
        super().sleep(ms)
        self.slept += ms
        if self.monotonic() >= self.gone_at:
            self.stores.__exit__(None, None, None)

    def claim(self, stop_timeout: int = 25_000, stop_after: int = 1_000_000) -> TaskStores:
        return claim_with_retry(lambda: TaskStores(self.settings), stop_timeout, self, lambda: self.slept > stop_after)


def test_an_owner_that_is_stopping_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    holder = Holder(tmp_path, 20_000)
    holder.stores.stopping()
    with caplog.at_level(logging.INFO, "tidemill"):
        holder.claim().__exit__(None, None, None)
    assert holder.slept == 20_000
    assert "which is stopping; waiting for up to 27s" in caplog.text
    assert len(caplog.records) == 1


def test_a_running_owner_leads_to_a_refusal_at_once(tmp_path: Path) -> None:
    holder = Holder(tmp_path, 20_000)
    with pytest.raises(StateUnusable, match="is in use by process"):
        holder.claim()
    assert holder.slept == 0


def test_an_owner_that_does_not_stop_in_time_leads_to_a_refusal(tmp_path: Path) -> None:
    holder = Holder(tmp_path, 1_000_000)
    holder.stores.stopping()
    with pytest.raises(StateUnusable, match="is in use by process"):
        holder.claim(stop_timeout=3_000)
    assert holder.slept == 5_000


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    holder = Holder(tmp_path, 1_000_000)
    holder.stores.stopping()
    with pytest.raises(StopRequested):
        holder.claim(stop_after=2_000)


def test_the_next_owner_is_not_considered_stopping(tmp_path: Path) -> None:
    holder = Holder(tmp_path, 100)
    holder.stores.stopping()
    second = holder.claim()
    with pytest.raises(StateUnusable, match="is in use by process"):
        holder.claim()
    second.__exit__(None, None, None)
