"""The simulation notices what it is there for: each test breaks the engine in one way until a schedule fails.

Slow: how many it takes is luck. See test_scenarios.py for what needs a moment of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from confluent_kafka import KafkaException, TopicPartition

from tidemill.engine.errors import Unsettled
from tidemill.engine.group import offsets
from tidemill.engine.group.membership import Lost, Membership
from tidemill.engine.kafka import errors, producer
from tidemill.engine.kafka.consumer import InputConsumer
from tidemill.engine.kafka.errors import TransactionAborted
from tidemill.engine.kafka.producer import PlainProducer
from tidemill.engine.restore.recovery import Recovery
from tidemill.engine.restore.requests import Requests
from tidemill.engine.runtime.bisection import Inquiry
from tidemill.engine.runtime.intake import Intake
from tidemill.engine.runtime.loop import Loop
from tidemill.engine.runtime.run_size import Limit
from tidemill.engine.runtime.task_executor import Work
from tidemill.engine.runtime.writer import Writer
from tidemill.state.store import Corrupt

from .driver import Violation, run

Break = Callable[[pytest.MonkeyPatch], None]
MOST = 3000
"""Schedules that are tried."""


def lost_membership_is_not_told(patch: pytest.MonkeyPatch) -> None:
    events = Membership.events
    patch.setattr(Membership, "events", lambda self: [one for one in events(self) if not isinstance(one, Lost)])


def offsets_are_read_though_a_transaction_is_open(patch: pytest.MonkeyPatch) -> None:
    fetch = offsets.fetch_offsets
    patch.setattr(offsets, "fetch_offsets", lambda group, wanted, stable: fetch(group, wanted, stable=False))


def an_answer_counts_though_its_request_was_taken_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Requests, "taken_back", lambda _self, _tasks: None)


def an_unknown_outcome_is_taken_for_an_abort(patch: pytest.MonkeyPatch) -> None:
    commit = Writer.commit

    def guessing(self: Writer, sealed: Any) -> Any:
        try:
            return commit(self, sealed)
        except Unsettled as failure:
            raise TransactionAborted(str(failure)) from failure

    patch.setattr(Writer, "commit", guessing)


def inputs_are_not_rewound_after_an_abort(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intake, "rewind", lambda _self, _offsets: None)


def a_partition_stays_paused_when_it_is_unassigned(patch: pytest.MonkeyPatch) -> None:
    def unassign(self: InputConsumer, keys: Iterable[tuple[str, int]]) -> None:
        keys = list(keys)
        self._consumer.incremental_unassign([TopicPartition(*key) for key in keys])
        self._paused.difference_update(keys)

    patch.setattr(InputConsumer, "unassign", unassign)


def the_first_run_of_a_task_is_long(patch: pytest.MonkeyPatch) -> None:
    """However slow its functions are, and each time that it comes back."""
    begin = Limit.__init__

    def eager(self: Limit, most: int) -> None:
        begin(self, most)
        self.records = min(256, most)

    patch.setattr(Limit, "__init__", eager)
    patch.setattr(Work, "forget", lambda self, task: self._runs.pop(task, None))


def offsets_are_committed_before_outputs_are_delivered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PlainProducer, "flush", lambda _self, _timeout: None)


def what_kafka_refuses_is_sent_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Inquiry, "without", lambda _self, outgoing: list(outgoing))


def being_fenced_in_a_callback_is_not_understood(patch: pytest.MonkeyPatch) -> None:
    for module in (errors, producer):
        patch.setattr(module, "CLIENT_FAILURES", (KafkaException,))


def damage_of_a_store_ends_the_process(patch: pytest.MonkeyPatch) -> None:
    def end(_self: object, failure: Corrupt) -> None:
        raise failure

    patch.setattr(Loop, "_damaged", end)
    patch.setattr(Recovery, "_restore_damaged", end)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "last"),
    [
        (damage_of_a_store_ends_the_process, 0),
        (what_kafka_refuses_is_sent_again, 9),
        (being_fenced_in_a_callback_is_not_understood, 544),
        (lost_membership_is_not_told, 213),
        (offsets_are_read_though_a_transaction_is_open, 1318),
        (an_answer_counts_though_its_request_was_taken_back, 62),
        (an_unknown_outcome_is_taken_for_an_abort, 913),
        (inputs_are_not_rewound_after_an_abort, 9),
        (a_partition_stays_paused_when_it_is_unassigned, 9),
        (the_first_run_of_a_task_is_long, 29),
        (offsets_are_committed_before_outputs_are_delivered, 3),
    ],
    ids=lambda value: value.__name__.replace("_", " ") if callable(value) else "",
)
def test_it_is_noticed_when(wrong: Break, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`last` is the seed in which it showed last."""
    wrong(monkeypatch)
    for seed in (last, *range(MOST)):
        try:
            run(seed)
        except (Violation, AssertionError):
            return
    pytest.fail(f"{MOST} schedules went well")
