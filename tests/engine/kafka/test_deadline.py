"""Calls that may never return: what they give, what they raise, and what happens when they do neither."""

from __future__ import annotations

import threading
import time

import pytest

from tidemill.engine.errors import Retryable
from tidemill.engine.kafka.deadline import bounded


def test_what_the_call_gives() -> None:
    assert bounded(lambda: 7, 5, "count") == 7


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("its own")])
def test_what_the_call_raises(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        bounded(fail, 5, "fail")


def test_a_call_that_does_not_return_is_given_up() -> None:
    never = threading.Event()
    began = time.monotonic()
    with pytest.raises(Retryable, match="could not wait: the Kafka client did not come back within"):
        bounded(never.wait, 0.1, "wait")
    assert time.monotonic() - began < 5
    never.set()
