"""Tests of coroutine functions on the event loop: timeouts, retries, cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tidemill.engine.calls.async_calls import AsyncCallExecutor, pause
from tidemill.operators.graph.calls import AsyncCall, AsyncCallOptions, CallResult

OPTIONS = AsyncCallOptions(timeout=10_000, retries=0, backoff=1)


@pytest.fixture
def calls() -> Iterator[AsyncCallExecutor]:
    made = AsyncCallExecutor()
    yield made
    made.close()


def answers(calls: AsyncCallExecutor, line: Any, count: int) -> list[CallResult]:
    found: list[CallResult] = []
    while len(found) < count:
        assert calls.wait(10), "no answer"
        found += line.answers()
    return found


def asked(calls: AsyncCallExecutor, function: Callable[[Any], Any], options: AsyncCallOptions = OPTIONS) -> CallResult:
    """The answer to one call."""
    line = calls.line("step", function, options)
    line.start([AsyncCall(7, "x")])
    [answer] = answers(calls, line, 1)
    return answer


def test_results_have_the_numbers_of_their_calls(calls: AsyncCallExecutor) -> None:
    async def later(value: int) -> int:
        await asyncio.sleep(0.002 * (5 - value))
        return value * 10

    line = calls.line("step", later, OPTIONS)
    line.start(AsyncCall(number, number) for number in range(5))
    assert sorted(answers(calls, line, 5)) == [CallResult(number, number * 10, None) for number in range(5)]


def test_an_error_is_a_result(calls: AsyncCallExecutor) -> None:
    async def fail(value: str) -> None:
        raise ValueError(value)

    answer = asked(calls, fail)
    assert (answer.number, repr(answer.error)) == (7, "ValueError('x')")


def test_a_call_has_a_time_limit_and_is_cancelled_then(calls: AsyncCallExecutor) -> None:
    cancelled: list[bool] = []

    async def hang(_value: str) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    answer = asked(calls, hang, AsyncCallOptions(timeout=5, retries=0, backoff=0))
    assert isinstance(answer.error, TimeoutError)
    assert "within 5 ms" in str(answer.error)
    assert cancelled == [True]


@pytest.mark.parametrize(("failures", "right"), [(0, True), (2, True), (3, False)])
def test_a_call_that_fails_is_retried(calls: AsyncCallExecutor, failures: int, right: bool) -> None:
    made: list[str] = []

    async def flaky(value: str) -> str:
        made.append(value)
        if len(made) <= failures:
            raise ConnectionError(str(len(made)))
        return value

    answer = asked(calls, flaky, AsyncCallOptions(timeout=1000, retries=2, backoff=1))
    assert len(made) == min(failures, 2) + 1
    assert answer == CallResult(7, "x", None) if right else repr(answer.error) == "ConnectionError('3')"


def test_pauses_double_up_to_a_limit() -> None:
    assert [pause(100, attempt, 0.0) for attempt in (0, 1, 2, 20, 5000 // 8)] == [100, 200, 400, 30_000, 30_000]
    assert pause(100, 0, 0.2) == pytest.approx(120)


def test_what_cannot_be_awaited_is_named(calls: AsyncCallExecutor) -> None:
    answer = asked(calls, str.upper)
    assert "'X', which cannot be awaited" in str(answer.error)


def test_a_function_that_cancels_itself_has_failed(calls: AsyncCallExecutor) -> None:
    async def give_up(_value: str) -> None:
        raise asyncio.CancelledError

    assert isinstance(asked(calls, give_up).error, asyncio.CancelledError)


def test_a_closed_line_cancels_its_calls_and_no_others(calls: AsyncCallExecutor) -> None:
    started, ended = threading.Semaphore(0), threading.Event()
    release: list[asyncio.Event] = []

    async def hang(value: str) -> str:
        started.release()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return value

    async def wait(value: str) -> str:
        release.append(asyncio.Event())
        started.release()
        await release[0].wait()
        return value

    one, other = calls.line("step", hang, OPTIONS), calls.line("step", wait, OPTIONS)
    one.start([AsyncCall(1, "a")])
    other.start([AsyncCall(2, "b")])
    assert started.acquire(timeout=10)
    assert started.acquire(timeout=10)
    one.close()
    assert ended.wait(10)
    calls.post(release[0].set)
    assert answers(calls, other, 1) == [CallResult(2, "b", None)]
    assert one.answers() == []


class Pool:
    """A function that has to be opened; the first time that fails."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def __aenter__(self) -> Pool:
        self.told.append("enter")
        if len(self.told) == 1:
            raise ConnectionError("not yet")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.told.append("exit")

    async def __call__(self, value: str) -> str:
        assert self.told[-1] == "enter"
        return value * 2


def test_a_context_manager_is_entered_before_its_first_call_and_exited_at_the_end() -> None:
    calls, pool = AsyncCallExecutor(), Pool()
    lines = [calls.line("step", pool, AsyncCallOptions(timeout=1000, retries=1, backoff=1)) for _ in range(2)]
    for number, line in enumerate(lines):
        line.start([AsyncCall(number, "x")])
        assert answers(calls, line, 1) == [CallResult(number, "xx", None)]
    calls.close()
    assert pool.told == ["enter", "enter", "exit"]


def test_the_end_cancels_everything() -> None:
    calls = AsyncCallExecutor()
    started, ended = threading.Event(), threading.Event()

    async def hang(_value: str) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    calls.line("step", hang, OPTIONS).start([AsyncCall(1, "a")])
    assert started.wait(10)
    calls.close()
    assert ended.is_set()
