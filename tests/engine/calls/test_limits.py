"""Rate limits and circuit breakers of calls, shared by the tasks of a process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tidemill as tm
from tests.brokers.client import wait_for
from tests.support.patience import PATIENCE
from tidemill.engine.calls.async_calls import AsyncCallExecutor
from tidemill.engine.calls.call_limits import limiter
from tidemill.engine.calls.figures import CallFigures
from tidemill.operators.graph.calls import AsyncCall, AsyncCallOptions, CallResult
from tidemill.operators.time.rates import parse_rate


class Service:
    """Fails while it is down; knows when it was called."""

    def __init__(self) -> None:
        self.down = True
        self.made: list[Any] = []
        self.under_way = self.most = 0
        self.hold = 0.0

    async def __call__(self, value: Any) -> Any:
        self.made.append(value)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.hold)
        finally:
            self.under_way -= 1
        if self.down:
            raise ConnectionError("down")
        if value == "bad":
            raise ValueError(value)
        return value


@pytest.fixture
def calls() -> Iterator[AsyncCallExecutor]:
    made = AsyncCallExecutor()
    yield made
    made.close()


def options(*, retries: int = 0, rate: float | None = None, **breaker: Any) -> AsyncCallOptions:
    circuit = tm.CircuitBreaker(**breaker) if breaker else None
    return AsyncCallOptions(timeout=10_000, retries=retries, backoff=1, rate=rate, circuit_breaker=circuit)


def answers(line: Any, count: int) -> list[CallResult]:
    found: list[CallResult] = []

    def all_there() -> bool:
        found.extend(line.answers())
        return len(found) >= count

    wait_for(all_there, 60, f"{count} answers")
    return sorted(found, key=lambda answer: answer.number)


def is_open(calls: AsyncCallExecutor) -> Callable[[], bool]:
    return lambda: calls.figures.open_since["s"] is not None


@pytest.mark.slow
def test_calls_stop_after_failures_in_a_row_and_go_on_when_the_service_answers(
    calls: AsyncCallExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tidemill.calls")
    service = Service()
    line = calls.line("s", service, options(retries=1_000, failures=3, wait="300ms"))
    assert calls.figures.open_since == {"s": None}
    line.start(AsyncCall(number, number) for number in range(3))
    wait_for(is_open(calls), 60, "the circuit to open")
    line.start(AsyncCall(number, number) for number in range(3, 30))
    failed = calls.figures.failures["s"]
    assert failed == 3
    wait_for(lambda: calls.figures.failures["s"] >= failed + 2, 60, "two trials")
    assert len(service.made) <= failed + 4, "nothing but trials, one at a time"
    service.down = False
    assert [answer.value for answer in answers(line, 30)] == list(range(30))
    assert calls.figures.open_since == {"s": None}
    said = [record.getMessage() for record in caplog.records]
    assert "step 's': the circuit is open after 3 failed calls in a row: ConnectionError('down')" in said[0]
    assert "the circuit is closed again, after" in said[-1]


@pytest.mark.slow
def test_one_call_tries_the_service_and_the_others_wait_for_it(calls: AsyncCallExecutor) -> None:
    service = Service()
    line = calls.line("s", service, options(retries=3, failures=1, wait="100ms"))
    line.start([AsyncCall(0, 0)])
    wait_for(is_open(calls), 60, "the circuit to open")
    service.most, service.hold, service.down = 0, 0.2, False
    line.start(AsyncCall(number, number) for number in range(1, 10))
    wait_for(lambda: service.under_way == 1, 60, "the trial")
    assert service.most == 1
    assert len(answers(line, 10)) == 10
    assert service.most > 1


def test_a_cancelled_trial_says_nothing(calls: AsyncCallExecutor) -> None:
    """The task moves away in the middle; another one tries the service."""
    service = Service()
    one, other = (calls.line("s", service, options(retries=9, failures=1, wait="50ms")) for _ in range(2))
    one.start([AsyncCall(0, "one")])
    wait_for(is_open(calls), 60, "the circuit to open")
    service.down, service.hold = False, 60.0
    wait_for(lambda: service.under_way == 1, 60, "the trial")
    service.hold = 0.0
    one.close()
    wait_for(lambda: service.under_way == 0, 60, "its end")
    assert is_open(calls)()
    other.start([AsyncCall(1, "other")])
    assert answers(other, 1) == [CallResult(1, "other", None)]
    assert not is_open(calls)()


def test_a_circuit_without_tasks_is_not_shown(calls: AsyncCallExecutor) -> None:
    line = calls.line("s", Service(), options(failures=1, wait="1h"))
    line.start([AsyncCall(0, 0), AsyncCall(1, 1)])
    wait_for(is_open(calls), 60, "the circuit to open")
    line.close()
    assert calls.figures.open_since == {}
    assert calls.figures.failures["s"] >= 1


def test_attempts_that_began_before_it_opened_do_not_count(calls: AsyncCallExecutor) -> None:
    release = asyncio.Event()

    async def slow(value: str) -> str:
        if value == "fails":
            raise ConnectionError
        await release.wait()
        return value

    line = calls.line("s", slow, options(failures=1, wait="1h"))
    line.start([AsyncCall(0, "before"), AsyncCall(1, "fails")])
    wait_for(is_open(calls), 60, "the circuit to open")
    calls.post(release.set)
    assert [answer.value for answer in answers(line, 2)] == ["before", None]
    assert is_open(calls)()


def test_ignored_errors_are_answers(calls: AsyncCallExecutor) -> None:
    service = Service()
    service.down = False
    line = calls.line("s", service, options(failures=2, wait="1h", ignore=(ValueError,)))
    line.start(AsyncCall(number, "bad") for number in range(10))
    assert all(isinstance(answer.error, ValueError) for answer in answers(line, 10))
    assert not is_open(calls)()


def test_a_call_fails_after_its_retries_in_an_outage(calls: AsyncCallExecutor) -> None:
    service = Service()
    line = calls.line("s", service, options(retries=3, failures=2, wait="20ms"))
    line.start([AsyncCall(0, 0)])
    [answer] = answers(line, 1)
    assert isinstance(answer.error, ConnectionError)
    assert service.made == [0] * 4


def test_closing_ends_calls_that_wait_for_the_circuit_or_their_turn(calls: AsyncCallExecutor) -> None:
    service = Service()
    line = calls.line("s", service, options(retries=3, failures=1, wait="1h", rate=0.001))
    line.start(AsyncCall(number, number) for number in range(10))
    wait_for(lambda: len(service.made) == 1, 60, "the first call")
    began = time.monotonic()
    calls.close()
    assert time.monotonic() - began < 4 * PATIENCE, "the thread did not end by itself"


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 2])
def test_the_tasks_of_a_process_share_a_rate(calls: AsyncCallExecutor, retries: int) -> None:
    service = Service()
    service.down = False
    lines = [calls.line("s", service, options(retries=retries, rate=100)) for _ in range(2)]
    began = time.monotonic()
    for line in lines:
        line.start(AsyncCall(number, number) for number in range(30))
    for line in lines:
        answers(line, 30)
    assert time.monotonic() - began >= (60 - 5) / 100 * 0.99, "faster than 100 calls per second"


def test_few_calls_are_made_at_once() -> None:
    assert (limiter(1000).max_rate, limiter(1000).time_period) == (50, 0.05)
    assert (limiter(0.5).max_rate, limiter(0.5).time_period) == (1, 2)


def test_rates_are_text() -> None:
    assert [parse_rate(text, "r") for text in ("100/s", "30/m", "7200/h", "86400/d")] == [100, 0.5, 2, 1]


async def nothing(_value: Any) -> None: ...


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"rate_limit": "100"}, r"rate_limit=\): '100' is not a rate; write .* such as '100/s'"),
        ({"rate_limit": 100}, "100 is not a rate"),
        ({"rate_limit": "0/s"}, "'0/s' is not a rate"),
        ({"circuit_breaker": 5}, r"takes tm.CircuitBreaker\(failures=5, wait='30s'\) or None, not 5"),
    ],
)
def test_wrong_arguments_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(tm.TopologyError, match=complaint):
        tm.App("t").stream("a").map_async(nothing, **given)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"failures": 0}, "from 1 upward, not 0"),
        ({"failures": True}, "not True"),
        ({"wait": 0}, "at least"),
        ({"wait": "soon"}, "not a duration"),
        ({"ignore": ValueError}, "a tuple of exception types"),
        ({"ignore": (1,)}, "a tuple of exception types"),
        ({"ignore": (KeyboardInterrupt,)}, "a tuple of exception types"),
    ],
)
def test_wrong_circuit_breakers_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(tm.TopologyError, match=complaint):
        tm.CircuitBreaker(**given)


def test_figures_in_seconds() -> None:
    assert CallFigures({}, {"a": None, "b": 2_000}).seconds_open(5_000) == {"a": 0.0, "b": 3.0}


@pytest.mark.parametrize("journal", [False, True])
def test_a_program_with_both(journal: bool) -> None:
    failures = iter([ConnectionError("1"), ConnectionError("2")])

    async def flaky(value: int, *_call: Any) -> int:
        for failure in failures:
            raise failure
        return value * 10

    app = tm.App("t")
    breaker = tm.CircuitBreaker(failures=2, wait="50ms")
    given: Any = {"journal": journal, "retries": 2, "backoff": 1, "rate_limit": "1000/s", "circuit_breaker": breaker}
    app.stream("a", value=tm.json).map_async(flaky, value=tm.json, **given).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for value in range(5):
            driver.send("a", None, value)
        assert [record.value for record in driver.read("out")] == [0, 10, 20, 30, 40]
