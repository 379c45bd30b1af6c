"""Tests of the commit: its order, and the meaning of each failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tidemill.engine.errors import CommitOutcomeUnknown, Fatal, Fenced, Retryable
from tidemill.engine.ids import TaskId
from tidemill.engine.kafka.errors import TransactionAborted
from tidemill.engine.runtime.checkpoint import AtLeastOnce, Checkpointer, ExactlyOnce
from tidemill.engine.tasks.task import PreparedCommit
from tidemill.state.changelog import ChangelogRecord
from tidemill.state.changes import Changes
from tidemill.state.store import Change, Position

T0, T1 = TaskId(0, 0), TaskId(0, 1)
WORK = [
    PreparedCommit(
        T0,
        {("in", 0): 7},
        Changes.of([Change("s", b"a", b"\1x"), Change("s", b"b", None), Change("m", b"c", b"\1y")]),
        99,
    ),
    PreparedCommit(T1, {("in", 1): 4}, Changes(), 50),
]


class Fake:
    """A producer and group with a journal of calls and injected failures."""

    def __init__(self, fails: Mapping[str, Exception] | None = None) -> None:
        self.journal: list[Any] = []
        self.open = False
        self._fails = fails or {}
        self._ends: dict[tuple[str, int], int] = {}

    def _note(self, name: str, *what: Any) -> None:
        self.journal.append((name, *what))
        if name in self._fails:
            raise self._fails[name]

    def changelog(self, topic: str, partition: int, records: Sequence[ChangelogRecord]) -> None:
        self._note("changelog", topic, partition, [(key, value) for key, value, _ in records])
        self.headers = [headers for _, _, headers in records]
        self._ends[topic, partition] = 100 + len(records)

    def ends(self) -> dict[tuple[str, int], int]:
        ends, self._ends = self._ends, {}
        return ends

    def begin(self) -> None:
        self._note("begin")

    def send_offsets(self, offsets: Mapping[tuple[str, int], tuple[int, str]], group: bytes, timeout: float) -> None:
        self._note("offsets", dict(offsets), group)

    def commit(self, timeout: float) -> None:
        self._note("commit")

    def abort(self, timeout: float) -> None:
        raise AssertionError("the caller aborts")

    def flush(self, timeout: float) -> None:
        self._note("flush")

    @contextmanager
    def sending_offsets(self, epoch: int) -> Iterator[bytes]:
        self._note("gate", epoch)
        yield b"metadata"
        self._note("gate opens")

    def commit_offsets(
        self, epoch: int, offsets: Mapping[tuple[str, int], tuple[int, str]], timeout: float = 1
    ) -> None:
        self._note("group offsets", epoch, dict(offsets))

    def confirm(self, epoch: int, timeout: float = 1) -> None:
        self._note("confirm", epoch)


def logs(task: TaskId, store: str) -> str | None:
    return None if store == "m" else f"app-{store}-changelog"


def exactly_once(fake: Fake) -> Checkpointer:
    return ExactlyOnce(fake, fake, 3, logs, 1.0)


def at_least_once(fake: Fake) -> Checkpointer:
    return AtLeastOnce(fake, fake, 3, logs, 1.0)


OFFSETS = {("in", 0): (7, "t=99"), ("in", 1): (4, "t=50")}
CHANGES = ("changelog", "app-s-changelog", 0, [(b"a", b"\1x"), (b"b", None)])


def test_exactly_once_commits_changes_and_offsets_in_one_transaction() -> None:
    fake = Fake()
    settled = exactly_once(fake).commit(WORK)
    assert fake.journal == [
        ("begin",),
        CHANGES,
        ("gate", 3),
        ("offsets", OFFSETS, b"metadata"),
        ("gate opens",),
        ("commit",),
    ]
    assert settled == {T0: Position({"s": 102}), T1: Position()}
    assert fake.headers == [None, None]


def test_at_least_once_delivers_everything_before_it_commits_offsets() -> None:
    fake = Fake()
    settled = at_least_once(fake).commit(WORK)
    assert fake.journal == [("confirm", 3), CHANGES, ("flush",), ("group offsets", 3, OFFSETS)]
    assert settled[T0] == Position({"s": 102})
    assert all(headers for headers in fake.headers), "changes say which inputs they stand for"


def test_a_transaction_without_offsets_would_not_be_fenced_and_is_not_committed() -> None:
    fake = Fake()
    with pytest.raises(CommitOutcomeUnknown, match="no offsets"):
        exactly_once(fake).commit([PreparedCommit(T0, {}, Changes.of([Change("s", b"a", b"\1")]), 0)])
    assert ("commit",) not in fake.journal


@pytest.mark.parametrize("step", ["begin", "changelog", "offsets", "commit"])
def test_an_unknown_outcome_is_never_guessed(step: str) -> None:
    with pytest.raises(CommitOutcomeUnknown):
        exactly_once(Fake({step: Retryable("no answer")})).commit(WORK)


@pytest.mark.parametrize("step", ["confirm", "changelog", "flush", "group offsets"])
def test_at_least_once_too(step: str) -> None:
    with pytest.raises(CommitOutcomeUnknown):
        at_least_once(Fake({step: Retryable("no answer")})).commit(WORK)


@pytest.mark.parametrize("failure", [Fenced("zombie"), TransactionAborted("abort me"), Fatal("no")])
@pytest.mark.parametrize("step", ["begin", "changelog", "gate", "offsets", "commit"])
def test_other_failures_are_raised_unchanged_and_no_call_follows(step: str, failure: Exception) -> None:
    fake = Fake({step: failure})
    with pytest.raises(type(failure)):
        exactly_once(fake).commit(WORK)
    assert fake.journal[-1][0] == step
