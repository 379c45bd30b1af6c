"""Tests of calls with a deadline: their result, their error, and the timeout if they do not return."""

from __future__ import annotations

import threading
import time

import pytest

from tests.support.patience import PATIENCE
from tidemill.engine.errors import Retryable
from tidemill.engine.kafka.deadline import call_with_deadline


def test_the_result_of_the_call() -> None:
    assert call_with_deadline(lambda: 7, 5, "count") == 7


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("its own")])
def test_the_error_of_the_call(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        call_with_deadline(fail, 5, "fail")


def test_a_call_that_does_not_return_is_given_up() -> None:
    never = threading.Event()
    began = time.monotonic()
    with pytest.raises(Retryable, match="could not wait: the Kafka client did not return within"):
        call_with_deadline(never.wait, 0.1, "wait")
    assert time.monotonic() - began < 5 * PATIENCE
    never.set()
