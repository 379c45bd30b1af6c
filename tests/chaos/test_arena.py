"""Test that broker faults do not overlap, however slow the machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from tests.brokers import client

from .arena import Arena
from .schedule import SLOTS, Act


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A fake of three brokers, as observed by the arena."""
    seen: dict[str, Any] = {"whole": True}

    def nobody(*_: object) -> int:
        raise TimeoutError

    monkeypatch.setattr(client, "create_topic", lambda *_args, **_more: None)
    monkeypatch.setattr(client, "whole", lambda *_: seen["whole"])
    monkeypatch.setattr(client, "coordinator", nobody)
    return seen


def test_brokers_recover_before_the_next_fault(cluster: dict[str, Any], tmp_path: Path) -> None:
    kafka = MagicMock(
        nodes=[MagicMock(bootstrap=f"broker:{number}") for number in range(3)], ways=[MagicMock()] * SLOTS
    )
    arena = Arena(kafka, "app", tmp_path, {}, lambda _line: None)
    [first, *_] = kafka.nodes

    def do(what: str, *, fault: bool = True) -> None:
        arena.do(Act(1.0, what, how="coordinator", fault=fault))
        arena.calm_brokers()

    do("broker-kill")
    first.kill.assert_called_once()
    do("broker-back", fault=False)
    kafka.wait_ready.assert_called_once()
    assert len(arena.recoveries) == 1
    cluster["whole"] = False
    do("broker-kill")
    do("broker-back", fault=False)
    first.kill.assert_called_once()
    assert (arena.done, arena.left_out) == ({"broker-kill": 1}, {"broker-kill": 1})
    assert len(arena.recoveries) == 1
    arena.close()
