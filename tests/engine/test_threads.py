"""Tests that errors of other threads are raised in the main thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine

import pytest

from tidemill.engine.errors import Fatal, Retryable
from tidemill.engine.group.background import Background
from tidemill.engine.threads import Thread

SECONDS = 5.0


def fails(failure: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise failure

    return body


def ended(body: Callable[[], None]) -> Thread:
    thread = Thread("tests", body)
    thread.start()
    thread.join(SECONDS)
    return thread


def test_a_threads_failure_is_logged_at_once_and_raised_whenever_it_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    thread = ended(fails(ValueError("odd")))
    assert [(record.levelno, record.exc_info is not None) for record in caplog.records] == [(logging.CRITICAL, True)]
    for _ in range(2):
        with pytest.raises(ValueError, match="odd") as caught:
            thread.check()
        assert any(entry.name == "body" for entry in caught.traceback)


def test_a_thread_that_runs_or_has_ended_without_an_error_raises_nothing() -> None:
    thread = Thread("tests", lambda: None)
    thread.check()
    thread.join()
    thread.start()
    thread.join(SECONDS)
    thread.check()
    assert not thread.alive


def test_no_call_succeeds_after_a_thread_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Fatal, match="away") as caught:
        ended(fails(Retryable("the broker is away"))).check()
    assert isinstance(caught.value.__cause__, Retryable)
    assert not caplog.records, "the main thread reports it"


def beside(
    begin: Callable[[Background], None] = lambda _background: None,
    also: Callable[[Background], Coroutine[object, object, None]] | None = None,
) -> None:
    """Raise the error that was detected on an event loop."""
    background = Background("tests")

    async def main() -> None:
        if also is not None:
            await also(background)
        await asyncio.sleep(SECONDS)

    background.start(main())
    begin(background)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        background.check()
        time.sleep(0.01)


async def wrong() -> None:
    raise ValueError("odd")


def test_what_fails_on_the_event_loop_of_the_membership_is_raised_in_the_main_thread() -> None:
    async def spawned(background: Background) -> None:
        task = background.spawn(wrong())
        await asyncio.wait({task})

    async def main_fails(_background: Background) -> None:
        await wrong()

    with pytest.raises(ValueError, match="odd"):
        beside(lambda background: background.soon(fails(ValueError("odd"))))
    with pytest.raises(ValueError, match="odd"):
        beside(also=spawned)
    with pytest.raises(ValueError, match="odd"):
        beside(also=main_fails)
