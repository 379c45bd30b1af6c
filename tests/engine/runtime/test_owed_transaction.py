"""Tests that a live process ends its own open transaction, with or without tasks, since no other process does."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest

import tidemill as tm
from tidemill.engine.clock import SystemClock
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import CommitOutcomeUnknown
from tidemill.engine.kafka import producer
from tidemill.engine.kafka.producer import TransactionalProducer
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.runtime.kafka_io import KafkaIO
from tidemill.engine.runtime.loop import ProcessingLoop
from tidemill.engine.runtime.running_tasks import RunningTasks
from tidemill.engine.runtime.streams_producer import StreamsProducer
from tidemill.engine.runtime.task_manager import TaskManager
from tidemill.engine.savepoints.hold import Hold


class Stand:
    """A task executor without tasks, and the producers that it has created."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(producer, "Producer", lambda _options: MagicMock())
        app = tm.App("app")
        app.stream("in", key=tm.utf8, value=tm.int64).to("out")
        made = plan(partition(app.topology()), "app", {"in": 1, "out": 1}, {})
        self.made: list[str] = []
        self.writer = StreamsProducer(self._new, MagicMock(), lambda _task, _store: None, 1.0)
        membership, recovery, self.intake = MagicMock(), MagicMock(), MagicMock()
        membership.events.return_value = recovery.finished.return_value = []
        kafka = KafkaIO(self.intake, self.writer, membership)
        running = RunningTasks(self.intake, MagicMock(), MagicMock(), MagicMock())
        manager = TaskManager(made, kafka, recovery, running, MagicMock(), MagicMock(), MagicMock())
        executor, housekeeping, tables, clock = MagicMock(), MagicMock(), MagicMock(), SystemClock()
        parts = (kafka, manager, running, executor, housekeeping, tables, Hold(clock))
        self.loop = ProcessingLoop(Settings(app_id="app"), clock, MagicMock(), *parts)
        self.writer.begin_epoch(1, "p.1")

    def _new(self, process: str) -> TransactionalProducer:
        self.made.append(process)
        return TransactionalProducer({}, process)

    def open(self) -> None:
        """Begin a transaction."""
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


def test_a_transaction_of_unknown_outcome_is_ended_even_without_tasks(stand: Stand) -> None:
    stand.open()
    stand.turn(CommitOutcomeUnknown("whether it was committed is not known"))
    assert stand.made == ["p.1"]
    stand.turn()
    assert stand.made == ["p.1", "p.1"]
    assert not stand.writer.orphaned
    stand.turn()
    assert len(stand.made) == 2


def test_nothing_is_registered_for_an_epoch_that_has_ended(stand: Stand) -> None:
    stand.open()
    stand.writer.discard(abort=False)
    assert stand.writer.orphaned
    stand.writer.discard(abort=True)
    assert not stand.writer.orphaned
    stand.open()
    stand.writer.begin_epoch(2, "p.2")
    stand.turn()
    assert stand.made == ["p.1", "p.1"]
