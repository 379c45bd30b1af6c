"""Tests of the thread of a sink: retries while a target is unavailable, retry timeout, and log messages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import tidemill as tm
from tidemill.engine.clock import SYSTEM
from tidemill.engine.errors import Fatal, Fenced
from tidemill.engine.targets.figures import TargetFigures
from tidemill.engine.targets.retries import gives_up, pause, says_so
from tidemill.engine.targets.target_threads import TargetThreads


class Scripted(tm.Target):
    """Calls a function at each write."""

    def __init__(self, does: Callable[[], None]) -> None:
        self.does = does
        self.written: list[int] = []
        self.sessions: list[str] = []

    def open(self, task: tm.TargetTask, epoch: str) -> tm.TargetSession:
        self.sessions.append(epoch)
        outer = self

        class Session(tm.TargetSession):
            def position(self) -> int | None:
                return None

            def write(self, records: Sequence[tm.Record[Any, Any]], position: int) -> None:
                outer.does()
                outer.written += [record.value for record in records]

            def close(self) -> None:
                outer.sessions.append("closed")

        return Session()


def raising(*errors: Exception) -> Callable[[], None]:
    left = list(errors)

    def does() -> None:
        if left:
            raise left.pop(0)

    return does


def outcome(writer: Any) -> Any:
    deadline = time.monotonic() + 20
    while (found := writer.outcome()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def begun(target: tm.Target, retry_timeout: int = 60_000) -> tuple[TargetThreads, Any]:
    threads = TargetThreads("app", SYSTEM, retry_timeout)
    return threads, threads.writer(target, "sink", "topic", "id", 0)


RECORD = tm.Record("k", 1, 5, (), 0)


def test_writes_to_an_unavailable_target_are_retried(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tidemill.targets")
    target = Scripted(raising(tm.TargetUnavailable("down"), tm.TargetUnavailable("down")))
    threads, writer = begun(target)
    writer.write([RECORD], 1)
    assert outcome(writer) == {}
    assert target.written == [1]
    mine = [record for record in caplog.records if record.name == "tidemill.targets"]
    assert [record.levelname for record in mine] == ["WARNING", "INFO"]
    assert "step 'sink', topic 'topic', partition 0: the target is unavailable: down" in mine[0].getMessage()
    assert threads.figures == TargetFigures(written={"sink": 1}, failures={"sink": 2})
    writer.close()
    threads.close()
    assert target.sessions[-1] == "closed"


def test_it_gives_up_after_the_retry_timeout() -> None:
    threads, writer = begun(Scripted(raising(*[tm.TargetUnavailable("down")] * 50)), retry_timeout=300)
    writer.write([RECORD], 1)
    with pytest.raises(Fatal, match=r"unavailable for 0 s \(retry_timeout\): down"):
        outcome(writer)
    threads.close()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (tm.TargetFenced("another"), Fenced),
        (tm.ConfigError("no such column"), tm.ConfigError),
        (ZeroDivisionError("in the target"), Fatal),
    ],
)
def test_other_failures_end_the_writes(error: Exception, raised: type[Exception]) -> None:
    threads, writer = begun(Scripted(raising(error)))
    writer.write([RECORD], 1)
    with pytest.raises(raised, match=str(error)):
        outcome(writer)
    threads.close()


def test_a_writer_that_is_closed_stops_trying() -> None:
    threads, writer = begun(Scripted(raising(*[tm.TargetUnavailable("down")] * 500)))
    writer.write([RECORD], 1)
    time.sleep(0.3)
    writer.close()
    threads.close()
    assert not writer.thread.alive
    assert threads.figures.unavailable == {}


def test_the_next_writer_of_a_task_waits_for_the_former_one() -> None:
    going = threading.Event()

    def waits() -> None:
        going.wait(20)

    target = Scripted(waits)
    threads, first = begun(target)
    first.write([RECORD], 1)
    while not target.sessions:
        time.sleep(0.005)
    first.close()
    second = threads.writer(target, "sink", "topic", "id", 0)
    second.write([RECORD], 1)
    time.sleep(0.1)
    assert len(target.sessions) == 1
    going.set()
    assert outcome(second) == {}
    assert target.sessions[1] == "closed"
    assert target.sessions[0] != target.sessions[2]
    second.close()
    threads.close()


def test_when_attempts_are_made() -> None:
    assert [pause(n) for n in (1, 2, 3, 10, 99)] == [100, 200, 400, 5_000, 5_000]
    assert (gives_up(0, 299, 300), gives_up(0, 300, 300)) == (False, True)
    assert (says_so(None, 5), says_so(5, 30_004), says_so(5, 30_005)) == (True, False, True)


def test_the_figures() -> None:
    figures = TargetFigures().failed("a", 0, 1_000).failed("a", 1, 3_000).failed("a", 0, 4_000).wrote("b", 5)
    assert figures.seconds_unavailable(5_000) == {"a": 4.0, "b": 0.0}
    assert figures.available("a", 0).seconds_unavailable(5_000) == {"a": 2.0, "b": 0.0}
    assert figures.failures == {"a": 3}
