"""A living process ends what it has left open itself, whether or not it has a task: nobody else does."""

from __future__ import annotations

from inspect import signature
from typing import Any
from unittest.mock import MagicMock

import pytest

import tidemill as tm
from tidemill.engine.clock import SystemClock
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import Unsettled
from tidemill.engine.kafka import producer
from tidemill.engine.kafka.producer import TransactionalProducer
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.runtime.loop import Loop
from tidemill.engine.runtime.writer import Writer


class Stand:
    """A loop without tasks, and the producers that it has made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(producer, "Producer", lambda _options: MagicMock())
        app = tm.App("app")
        app.stream("in", key=tm.utf8, value=tm.int64).to("out")
        made = plan(partition(app.topology()), "app", {"in": 1, "out": 1}, {})
        self.made: list[str] = []
        self.writer = Writer(self._new, MagicMock(), lambda _task, _store: None, 1.0)
        stubs: dict[str, Any] = {name: MagicMock() for name in signature(Loop).parameters}
        stubs |= {"plan": made, "settings": Settings(app_id="app"), "clock": SystemClock(), "watch": None}
        stubs["membership"].events.return_value = stubs["recovery"].finished.return_value = []
        self.intake = stubs["intake"]
        self.loop = Loop(**{**stubs, "writer": self.writer})
        self.writer.begin_epoch(1, "p.1")

    def _new(self, process: str) -> TransactionalProducer:
        self.made.append(process)
        return TransactionalProducer({}, process)

    def open(self) -> None:
        """A transaction is under way."""
        self.writer.ensure()
        made = self.writer._producer
        assert isinstance(made, TransactionalProducer)
        made.begin()

    def turn(self, fails: Exception | None = None) -> None:
        self.intake.receive.side_effect = fails
        self.intake.receive.return_value = {}
        self.loop.run_once()


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(monkeypatch)


def test_a_transaction_of_unknown_fate_is_ended_though_there_is_no_task(stand: Stand) -> None:
    stand.open()
    stand.turn(Unsettled("whether it was committed is not known"))
    assert stand.made == ["p.1"]
    stand.turn()
    assert stand.made == ["p.1", "p.1"]
    assert not stand.writer.owes
    stand.turn()
    assert len(stand.made) == 2


def test_nothing_is_registered_for_an_epoch_that_has_ended(stand: Stand) -> None:
    stand.open()
    stand.writer.discard(abort=False)
    assert stand.writer.owes
    stand.writer.discard(abort=True)
    assert not stand.writer.owes
    stand.open()
    stand.writer.begin_epoch(2, "p.2")
    stand.turn()
    assert stand.made == ["p.1", "p.1"]
