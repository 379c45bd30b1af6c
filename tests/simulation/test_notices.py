"""Test that the simulation detects faults: each test breaks the engine in one way until a schedule fails.

Slow, since the number of schedules is random. Faults that need one particular interleaving are in test_scenarios.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from confluent_kafka import KafkaException, TopicPartition

from tidemill.engine.group import offsets
from tidemill.engine.group.membership import Lost, Membership
from tidemill.engine.kafka import errors, producer
from tidemill.engine.kafka.consumer import InputConsumer
from tidemill.engine.kafka.producer import PlainProducer
from tidemill.engine.restore.recovery import Recovery
from tidemill.engine.restore.requests import Requests
from tidemill.engine.runtime.bisection import RejectedRecordSearch
from tidemill.engine.runtime.intake import Intake
from tidemill.engine.runtime.run_limit import RunLimit
from tidemill.engine.runtime.task_executor import TaskExecutor
from tidemill.engine.runtime.task_manager import TaskManager
from tidemill.state.store import CorruptStore

from .driver import Violation, run

Break = Callable[[pytest.MonkeyPatch], None]
MOST = 2000
"""The number of schedules that are tried: about 2 minutes. A fault that needs more gets a scenario of its own."""


def lost_membership_is_not_told(patch: pytest.MonkeyPatch) -> None:
    events = Membership.events
    patch.setattr(Membership, "events", lambda self: [one for one in events(self) if not isinstance(one, Lost)])


def offsets_are_read_though_a_transaction_is_open(patch: pytest.MonkeyPatch) -> None:
    fetch = offsets.fetch_offsets
    patch.setattr(offsets, "fetch_offsets", lambda group, wanted, stable: fetch(group, wanted, stable=False))


def a_task_becomes_ready_though_its_opening_was_cancelled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Requests, "cancel", lambda _self, _openings: None)


def inputs_are_not_rewound_after_an_abort(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intake, "rewind", lambda _self, _offsets: None)


def a_partition_stays_paused_when_it_is_unassigned(patch: pytest.MonkeyPatch) -> None:
    def unassign(self: InputConsumer, keys: Iterable[tuple[str, int]]) -> None:
        keys = list(keys)
        self._consumer.incremental_unassign([TopicPartition(*key) for key in keys])
        self._paused.difference_update(keys)

    patch.setattr(InputConsumer, "unassign", unassign)


def the_first_run_of_a_task_is_long(patch: pytest.MonkeyPatch) -> None:
    """However slow its functions are, and each time that the task is opened again."""
    begin = RunLimit.__init__

    def eager(self: RunLimit, most: int) -> None:
        begin(self, most)
        self.records = min(256, most)

    patch.setattr(RunLimit, "__init__", eager)
    patch.setattr(TaskExecutor, "forget", lambda self, task: self._runs.pop(task, None))


def offsets_are_committed_before_outputs_are_delivered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PlainProducer, "flush", lambda _self, _timeout: None)


def what_kafka_refuses_is_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RejectedRecordSearch, "without", lambda _self, outgoing: list(outgoing))


def being_fenced_in_a_callback_is_not_understood(patch: pytest.MonkeyPatch) -> None:
    for module in (errors, producer):
        patch.setattr(module, "CLIENT_FAILURES", (KafkaException,))


def damage_of_a_store_ends_the_process(patch: pytest.MonkeyPatch) -> None:
    def end(_self: object, failure: CorruptStore) -> None:
        raise failure

    patch.setattr(TaskManager, "damaged", end)
    patch.setattr(Recovery, "_restore_damaged", end)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("wrong", "last"),
    [
        (damage_of_a_store_ends_the_process, 0),
        (what_kafka_refuses_is_sent_again, 9),
        (being_fenced_in_a_callback_is_not_understood, 544),
        (lost_membership_is_not_told, 747),
        (offsets_are_read_though_a_transaction_is_open, 1318),
        (a_task_becomes_ready_though_its_opening_was_cancelled, 62),
        (inputs_are_not_rewound_after_an_abort, 9),
        (a_partition_stays_paused_when_it_is_unassigned, 9),
        (the_first_run_of_a_task_is_long, 29),
        (offsets_are_committed_before_outputs_are_delivered, 3),
    ],
    ids=lambda value: value.__name__.replace("_", " ") if callable(value) else "",
)
def test_it_is_noticed_when(wrong: Break, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`last` is the seed in which the fault was detected last."""
    wrong(monkeypatch)
    for seed in (last, *range(MOST)):
        try:
            run(seed)
        except (Violation, AssertionError):
            return
    pytest.fail(f"{MOST} schedules passed")
